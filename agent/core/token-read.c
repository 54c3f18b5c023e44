// SPDX-License-Identifier: Apache-2.0
/* Reads a document into struct token: outer form, size, claims, and then token_check. */
#include "core/token-labels.h"
#include "core/token.h"

static struct key read_key(struct cbor_reader *r)
{
	struct key key = {0};

	if (key_read(r, &key) != 0)
		cbor_fail(r);
	return key;
}

/* {1: COSE_Key}: no other way of confirmation is ours, and roles say nothing here. */
static struct key read_cnf(struct cbor_reader *r)
{
	struct key key;

	if (cbor_enter_map(r) != 1 || cbor_int(r) != CNF_COSE_KEY)
		cbor_fail(r);
	key = read_key(r);
	cbor_leave(r);
	key.roles = 0;
	return key;
}

/* {"status_list": {"idx", "uri"}}, nothing else. */
static void read_status(struct cbor_reader *r, struct token *t)
{
	if (cbor_enter_map(r) != 1 || !span_is(cbor_text(r), "status_list") ||
	    cbor_enter_map(r) != 2)
		cbor_fail(r);
	for (int i = 0; i < 2; i++) {
		struct span member = cbor_text(r);

		if (span_is(member, "idx"))
			t->status_idx = cbor_uint(r);
		else if (span_is(member, "uri"))
			t->status_uri = cbor_text(r);
		else
			cbor_fail(r);
	}
	cbor_leave(r);
	cbor_leave(r);
}

/* {"bits", "lst"}; the standard's "aggregation_uri" and what comes later are skipped. */
static void read_status_list(struct cbor_reader *r, struct token *t)
{
	size_t n = cbor_enter_map(r);

	for (size_t i = 0; i < n && !r->failed; i++) {
		struct span member = cbor_text(r);

		if (span_is(member, "bits")) {
			uint64_t bits = cbor_uint(r);

			t->bits = bits <= 8 ? (unsigned)bits : 0;
		} else if (span_is(member, "lst")) {
			t->lst = cbor_bytes(r);
		} else {
			cbor_skip(r);
		}
	}
	cbor_leave(r);
}

static struct posture read_posture(struct cbor_reader *r)
{
	size_t n = cbor_enter_map(r);
	struct posture p = {0};

	for (size_t i = 0; i < n && !r->failed; i++) {
		struct span member = cbor_text(r);

		if (span_is(member, "pin")) {
			p.pin = cbor_bool(r);
			p.has_pin = true;
		} else if (span_is(member, "app")) {
			p.app = cbor_text(r);
		} else if (span_is(member, "platform")) {
			p.platform = cbor_text(r);
		} else if (span_is(member, "checked")) {
			p.checked = cbor_uint(r);
			p.has_checked = true;
		} else {
			cbor_skip(r);
		}
	}
	cbor_leave(r);
	return p;
}

/* The claims of RFC 8392; 0: not one of these. */
static unsigned read_standard(struct cbor_reader *r, int64_t label, struct token *t)
{
	switch (label) {
	case LABEL_ISS:
		t->iss = cbor_text(r);
		return CLAIM_ISS;
	case LABEL_SUB:
		t->sub = cbor_text(r);
		return CLAIM_SUB;
	case LABEL_AUD:
		t->aud = cbor_text(r);
		return CLAIM_AUD;
	case LABEL_EXP:
		t->exp = cbor_uint(r);
		return CLAIM_EXP;
	case LABEL_NBF:
		t->nbf = cbor_uint(r);
		return CLAIM_NBF;
	case LABEL_IAT:
		t->iat = cbor_uint(r);
		return CLAIM_IAT;
	case LABEL_CTI:
		t->cti = cbor_bytes(r);
		return CLAIM_CTI;
	case LABEL_CNF:
		t->cnf = read_cnf(r);
		return CLAIM_CNF;
	case LABEL_SCOPE:
		t->scope = scope_parse(cbor_text(r));
		return CLAIM_SCOPE;
	case LABEL_CNONCE:
		t->cnonce = cbor_bytes(r);
		return CLAIM_CNONCE;
	default:
		return 0;
	}
}

/* Those of the status list, and the private ones; 0: not one of these. */
static unsigned read_private(struct cbor_reader *r, int64_t label, struct token *t)
{
	switch (label) {
	case LABEL_STATUS_LIST:
		read_status_list(r, t);
		return CLAIM_STATUS_LIST;
	case LABEL_TTL:
		t->ttl = cbor_uint(r);
		return CLAIM_TTL;
	case LABEL_STATUS:
		read_status(r, t);
		return CLAIM_STATUS;
	case LABEL_POSTURE:
		t->posture = read_posture(r);
		return CLAIM_POSTURE;
	case LABEL_KEYS:
		t->keys = cbor_skip(r);
		return CLAIM_KEYS;
	case LABEL_POLICY:
		t->policy = cbor_skip(r);
		return CLAIM_POLICY;
	case LABEL_RESULT:
		t->result = cbor_skip(r);
		return CLAIM_RESULT;
	case LABEL_CHANGED:
		t->changed = cbor_uint(r);
		return CLAIM_CHANGED;
	case LABEL_KEY:
		t->key = read_key(r);
		return CLAIM_KEY;
	default:
		return 0;
	}
}

int token_read_claims(struct span payload, struct token *t)
{
	struct cbor_reader r;
	size_t n;

	if (!cbor_well_formed(payload))
		return REASON_MALFORMED;
	cbor_reader_init(&r, payload);
	n = cbor_enter_map(&r);
	for (size_t i = 0; i < n && !r.failed; i++) {
		int64_t label = cbor_int(&r);
		unsigned claim = read_standard(&r, label, t);

		if (claim == 0)
			claim = read_private(&r, label, t);
		/* A claim that no kind allows is superfluous in each. */
		if (claim == 0 || r.failed)
			return REASON_MALFORMED;
		t->has |= claim;
	}
	cbor_leave(&r);
	return cbor_done(&r) ? 0 : REASON_MALFORMED;
}

int token_parse(struct span document, struct token *ret)
{
	int reason;

	*ret = (struct token){.kind = TOKEN_KINDS};
	reason = cose_parse(document, &ret->cose);
	if (reason != 0)
		return reason;
	crypto_digest(ret->cose.payload, ret->digest);
	ret->kind = token_kind_of(&ret->cose);
	if (ret->kind == TOKEN_KINDS || ret->cose.cwt_tag != token_has_cwt_tag(ret->kind))
		return REASON_MALFORMED;
	if (document.len > token_max(ret->kind))
		return token_max(ret->kind) == TOKEN_SMALL_MAX ? REASON_MALFORMED
							       : REASON_TOO_LARGE;
	reason = token_read_claims(ret->cose.payload, ret);
	if (reason != 0)
		return reason;
	reason = token_check(ret);
	if (reason != 0)
		return reason;
	if (ret->kind == TOKEN_LIST && !(ret->has & CLAIM_CHANGED))
		ret->changed = ret->iat;
	return 0;
}
