// SPDX-License-Identifier: Apache-2.0
/*
 * The city's documents: judged by core/trust, in force at once, and on disk before anybody says that
 * they are held. And what comes for this gateway alone: readers, claims, releases.
 */
#include "gateway-private.h"

/* --- taking in ---------------------------------------------------------------------------------- */

/* After damage: is everything back that keeps a revoked credential out? */
static void maybe_healed(struct gateway *gw)
{
	if (!gw->damaged || gw->homeless || !trust_keys(gw->trust) || gw->trust->nlists == 0 ||
	    !gw->trust->policy_held.document)
		return;
	if (gateway_stored(gw, store_put_value(gw->store, "damaged", span_str("0")), "healing") < 0)
		return;
	gw->damaged = false;
	log_fact(LOG_NOTICE, "the city's documents are back after damage to the store", NULL);
	gateway_state_changed(gw, false);
}

static void tell(struct gateway *gw, int verdict, const struct trust_change *change)
{
	struct event event = {
		.type = verdict == 0 ? EVENT_DOCUMENT_APPLIED : EVENT_DOCUMENT_REFUSED,
		.reason = (enum reason)verdict,
		.has_document = change->kind != TOKEN_KINDS,
		.document_kind = change->kind,
		.document = {.iat = change->iat},
	};
	const char *kind = change->kind == TOKEN_KINDS ? "" : token_kind_word(change->kind);

	memcpy(event.document.digest, change->digest, DIGEST_LEN);
	snprintf(event.document.name, sizeof(event.document.name), "%s",
		 change->name[0] ? change->name : kind);
	log_fact(verdict == 0 ? LOG_INFO : LOG_WARNING,
		 verdict == 0 ? "document applied" : "document refused", "DOCUMENT",
		 event.document.name, "REASON", reason_word(event.reason), NULL);
	if (verdict == 0)
		gw->counters.documents_applied++;
	else
		gw->counters.documents_refused++;
	(void)gateway_event(gw, &event);
}

/* What `state` may claim to hold. */
static void mark_durable(struct gateway *gw)
{
	gw->ndurable = gw->homeless ? 0 : trust_applied(gw->trust, gw->durable);
	maybe_healed(gw);
	gateway_state_changed(gw, true);
}

/* 0: what is in force is on disk, this change and whatever could not be written before it. */
static int write_down(struct gateway *gw, const struct trust_change *change)
{
	int r = gw->undurable ? gateway_keep_all(gw) : gateway_keep(gw, change);

	gw->undurable = r < 0;
	return gateway_stored(gw, r, "document");
}

void gateway_documents_again(struct gateway *gw)
{
	static const struct trust_change all = {.kind = TOKEN_KEYS};

	if (!gw->undurable || write_down(gw, &all) < 0)
		return;
	mark_durable(gw);
	for (size_t i = 0; i < gw->ndurable; i++)
		gateway_time_learn(
			gw, strcmp(gw->durable[i].name, "keys") == 0 ? TOKEN_KEYS : TOKEN_LIST,
			gw->durable[i].iat);
}

/* true: keys were applied, so that others may be tried again. */
static bool took(struct gateway *gw, int verdict, const struct trust_change *change)
{
	if (verdict < 0) {
		log_fact(LOG_ERR, "out of memory for a document", NULL);
		return false;
	}
	if (change->kept && change->kind == TOKEN_KEYS)
		(void)gateway_stored(gw, gateway_keep_pending(gw), "pending keys");
	if (verdict != 0 || !change->applied) {
		if (verdict != 0)
			tell(gw, verdict, change);
		return false;
	}
	/* In force at once, whatever the disk says: the locks' frames point into what was
	 * replaced, and a revocation must not wait. */
	gateway_locks_documents(gw);
	if (change->kind != TOKEN_LIST)
		gateway_readers_check(gw);
	if (write_down(gw, change) == 0) {
		mark_durable(gw);
		gateway_time_learn(gw, change->kind, change->iat);
		tell(gw, verdict, change);
	}
	return change->kind == TOKEN_KEYS;
}

int gateway_document(struct gateway *gw, const struct trust_topic *topic, struct span payload)
{
	struct trust_change change;
	int first = trust_offer(gw->trust, payload, topic, &change), verdict = first;
	bool again = took(gw, verdict, &change);

	while (again && trust_retry(gw->trust, &verdict, &change) > 0)
		(void)took(gw, verdict, &change);
	if (again)
		(void)gateway_stored(gw, gateway_keep_pending(gw), "pending keys");
	return first < 0 ? REASON_LOCK_ERROR : first;
}

/* --- for one gateway ---------------------------------------------------------------------------- */

static void refuse(struct gateway *gw, enum token_kind kind, const struct token *token, int reason)
{
	struct trust_change change = {.kind = kind, .iat = token ? token->iat : 0};

	if (token)
		memcpy(change.digest, token->digest, DIGEST_LEN);
	tell(gw, reason, &change);
}

static int reader_document(struct gateway *gw, struct span payload)
{
	struct token token = {0};
	int r = gateway_reader_take(gw, payload, &token);

	if (r < 0)
		r = REASON_LOCK_ERROR;
	if (r != 0)
		refuse(gw, TOKEN_AUTHORIZATION, &token, r);
	return r;
}

/* The root that would sign the next keys, as the lock itself judges a release. */
static int verify_release(const struct gateway *gw, const struct cose_sign1 *cose)
{
	if (gw->trust->nchain)
		return keyset_verify(&gw->trust->keyset, cose, ROLE_ROOT);
	if (!span_equal(cose->kid, SPAN(gw->trust->anchor.kid)))
		return REASON_UNKNOWN_KEY;
	return key_verify(&gw->trust->anchor, cose);
}

/* A claim is signed by the root key that it names: ours, or the lock would obey a stranger. */
static int verify_claim(const struct gateway *gw, const struct token *token)
{
	if (!span_equal(token->cose.kid, SPAN(token->key.kid)) ||
	    !gateway_our_root(gw, token->key.kid))
		return REASON_UNKNOWN_KEY;
	return key_verify(&token->key, &token->cose);
}

static int forward(struct gateway *gw, struct span payload, const struct token *token,
		   struct gateway_own *ret)
{
	struct gateway_lock *gl = gateway_lock_find(gw, token->aud);
	int r = token->kind == TOKEN_CLAIM ? verify_claim(gw, token)
					   : verify_release(gw, &token->cose);

	if (r == 0 && !gl)
		r = REASON_WRONG_LOCK;
	if (r == 0 && lock_forward(gl->lock, payload) < 0)
		r = REASON_BUSY;
	if (r < 0)
		r = REASON_LOCK_ERROR;
	if (r != 0)
		refuse(gw, token->kind, token, r);
	else
		ret->lock = gl;
	return r;
}

void gateway_forwarded(struct gateway_lock *gl, const struct lock_forwarded *forwarded)
{
	struct token token = {.kind = forwarded->kind};

	log_fact(LOG_NOTICE, forwarded->kind == TOKEN_CLAIM ? "claim answered" : "release answered",
		 "LOCK", gl->config.id, "OUTCOME", outcome_word(forwarded->outcome), "REASON",
		 reason_word(forwarded->reason), NULL);
	/* A receipt is an event of its own. */
	memcpy(token.digest, forwarded->digest, DIGEST_LEN);
	if (forwarded->receipt.len == 0)
		refuse(gl->gw, forwarded->kind, &token, forwarded->reason);
	gateway_door_forwarded(gl, forwarded);
}

static int trusted(struct gateway *gw, struct span payload)
{
	struct trust_topic any = {.any = true};
	uint64_t applied = gw->counters.documents_applied;
	int r = gateway_document(gw, &any, payload);

	/* Who sends what changes nothing has not heard what is held: a broker may lose `state`. */
	if (gw->counters.documents_applied == applied)
		gateway_state_changed(gw, false);
	return r;
}

static int take(struct gateway *gw, struct span payload, struct gateway_own *ret)
{
	struct token token;
	int r;

	switch (ret->kind) {
	case TOKEN_KEYS:
	case TOKEN_POLICY:
	case TOKEN_LIST:
		return trusted(gw, payload);
	case TOKEN_AUTHORIZATION:
		return reader_document(gw, payload);
	case TOKEN_CLAIM:
	case TOKEN_RELEASE:
		r = token_parse(payload, &token);
		memcpy(ret->digest, token.digest, DIGEST_LEN);
		if (r == 0)
			return forward(gw, payload, &token, ret);
		refuse(gw, token.kind, &token, r);
		return r;
	case TOKEN_PRESENTATION:
	case TOKEN_RECEIPT:
	case TOKEN_KINDS:
		break;
	}
	refuse(gw, TOKEN_KINDS, NULL, REASON_WRONG_ROLE);
	return REASON_WRONG_ROLE;
}

int gateway_take_document(struct gateway *gw, struct span payload, struct gateway_own *ret)
{
	struct cose_sign1 cose;

	*ret = (struct gateway_own){.kind = TOKEN_KINDS};
	if (cose_parse(payload, &cose) != 0) {
		refuse(gw, TOKEN_KINDS, NULL, REASON_MALFORMED);
		return REASON_MALFORMED;
	}
	ret->kind = token_kind_of(&cose);
	return take(gw, payload, ret);
}

void gateway_own_document(struct gateway *gw, struct span payload)
{
	struct gateway_own own;

	(void)gateway_take_document(gw, payload, &own);
}
