// SPDX-License-Identifier: Apache-2.0
/* Writes claims in the order of their encodings, and signs. */
#include "core/token-labels.h"
#include "core/token.h"

#include <errno.h>
#include <stdlib.h>

static void put_text(struct cbor_writer *w, int64_t label, struct span text)
{
	cbor_put_int(w, label);
	cbor_put_text(w, text);
}

static void put_uint(struct cbor_writer *w, int64_t label, uint64_t value)
{
	cbor_put_int(w, label);
	cbor_put_uint(w, value);
}

static void put_bytes(struct cbor_writer *w, int64_t label, struct span bytes)
{
	cbor_put_int(w, label);
	cbor_put_bytes(w, bytes);
}

static void put_raw(struct cbor_writer *w, int64_t label, struct span item)
{
	cbor_put_int(w, label);
	cbor_put_raw(w, item);
}

static void put_cnf(struct cbor_writer *w, const struct key *cnf)
{
	struct key key = *cnf;

	key.roles = 0;
	cbor_put_int(w, LABEL_CNF);
	cbor_put_map(w, 1);
	cbor_put_int(w, CNF_COSE_KEY);
	key_put(w, &key);
}

static void put_status(struct cbor_writer *w, const struct token *t)
{
	cbor_put_int(w, LABEL_STATUS);
	cbor_put_map(w, 1);
	cbor_put_text(w, span_str("status_list"));
	cbor_put_map(w, 2);
	cbor_put_text(w, span_str("idx"));
	cbor_put_uint(w, t->status_idx);
	cbor_put_text(w, span_str("uri"));
	cbor_put_text(w, t->status_uri);
}

static void put_status_list(struct cbor_writer *w, const struct token *t)
{
	cbor_put_int(w, LABEL_STATUS_LIST);
	cbor_put_map(w, 2);
	cbor_put_text(w, span_str("lst"));
	cbor_put_bytes(w, t->lst);
	cbor_put_text(w, span_str("bits"));
	cbor_put_uint(w, t->bits);
}

static void put_posture(struct cbor_writer *w, const struct posture *p)
{
	cbor_put_int(w, LABEL_POSTURE);
	cbor_put_map(w, (size_t)p->has_pin + !!p->app.data + !!p->platform.data + p->has_checked);
	if (p->app.data) {
		cbor_put_text(w, span_str("app"));
		cbor_put_text(w, p->app);
	}
	if (p->has_pin) {
		cbor_put_text(w, span_str("pin"));
		cbor_put_bool(w, p->pin);
	}
	if (p->has_checked) {
		cbor_put_text(w, span_str("checked"));
		cbor_put_uint(w, p->checked);
	}
	if (p->platform.data) {
		cbor_put_text(w, span_str("platform"));
		cbor_put_text(w, p->platform);
	}
}

static void put_standard(struct cbor_writer *w, const struct token *t)
{
	if (t->has & CLAIM_ISS)
		put_text(w, LABEL_ISS, t->iss);
	if (t->has & CLAIM_SUB)
		put_text(w, LABEL_SUB, t->sub);
	if (t->has & CLAIM_AUD)
		put_text(w, LABEL_AUD, t->aud);
	if (t->has & CLAIM_EXP)
		put_uint(w, LABEL_EXP, t->exp);
	if (t->has & CLAIM_NBF)
		put_uint(w, LABEL_NBF, t->nbf);
	if (t->has & CLAIM_IAT)
		put_uint(w, LABEL_IAT, t->iat);
	if (t->has & CLAIM_CTI)
		put_bytes(w, LABEL_CTI, t->cti);
	if (t->has & CLAIM_CNF)
		put_cnf(w, &t->cnf);
	if (t->has & CLAIM_SCOPE)
		put_text(w, LABEL_SCOPE, span_str(scope_word(t->scope)));
	if (t->has & CLAIM_CNONCE)
		put_bytes(w, LABEL_CNONCE, t->cnonce);
}

static void put_private(struct cbor_writer *w, const struct token *t)
{
	if (t->has & CLAIM_STATUS_LIST)
		put_status_list(w, t);
	if (t->has & CLAIM_TTL)
		put_uint(w, LABEL_TTL, t->ttl);
	if (t->has & CLAIM_STATUS)
		put_status(w, t);
	if (t->has & CLAIM_POSTURE)
		put_posture(w, &t->posture);
	if (t->has & CLAIM_KEYS)
		put_raw(w, LABEL_KEYS, t->keys);
	if (t->has & CLAIM_POLICY)
		put_raw(w, LABEL_POLICY, t->policy);
	if (t->has & CLAIM_RESULT)
		put_raw(w, LABEL_RESULT, t->result);
	if (t->has & CLAIM_CHANGED)
		put_uint(w, LABEL_CHANGED, t->changed);
	if (t->has & CLAIM_KEY) {
		cbor_put_int(w, LABEL_KEY);
		key_put(w, &t->key);
	}
}

static void put_claims(struct cbor_writer *w, const struct token *t)
{
	cbor_put_map(w, (size_t)__builtin_popcount(t->has));
	put_standard(w, t);
	put_private(w, t);
}

int token_sign(const struct token *token, const struct signer *signer, uint8_t *ret, size_t cap)
{
	cleanup(freep) uint8_t *payload = NULL;
	struct cbor_writer w;
	size_t max = token_max(token->kind);

	if (token_check(token) != 0)
		return -EINVAL;
	payload = malloc(max);
	if (!payload)
		return -ENOMEM;
	cbor_writer_init(&w, payload, max);
	put_claims(&w, token);
	if (w.failed)
		return -ENOSPC;
	/* The caller's items go in as they are: what a reader would refuse is not signed. */
	if (!cbor_well_formed(span_of(payload, w.len)))
		return -EINVAL;
	return cose_sign(signer, token_typ(token->kind), token_has_cwt_tag(token->kind),
			 span_of(payload, w.len), ret, cap < max ? cap : max);
}
