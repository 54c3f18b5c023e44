// SPDX-License-Identifier: Apache-2.0
/*
 * The city's documents: judged by core/trust, on disk before anybody says that they are held,
 * verified again when read back. A slot's order keeps keys before what they name.
 */
#include "gateway-private.h"

#define ORDER_POLICY  100
#define ORDER_LIST    101
#define ORDER_PENDING 200
#define ORDER_READER  300
#define SLOT_MAX      (ID_MAX + 32)

static bool starts(const char *slot, const char *prefix)
{
	return strncmp(slot, prefix, strlen(prefix)) == 0;
}

/* --- to disk ------------------------------------------------------------------------------------ */

static int put(struct gateway *gw, const char *slot, int order, const struct held *held)
{
	return store_put_document(gw->store, slot, order, span_of(held->document, held->len),
				  span_of(held->under, held->under_len));
}

struct slots {
	char names[TRUST_CHAIN * 2 + 4][SLOT_MAX];
	size_t n;
	const char *prefix;
};

static int collect(const char *slot, struct span document, struct span under, void *user)
{
	struct slots *slots = user;

	if (starts(slot, slots->prefix) && slots->n < ARRAY_SIZE(slots->names) &&
	    strlen(slot) < SLOT_MAX)
		strcpy(slots->names[slots->n++], slot);
	return 0;
}

/* Removes what is stored under prefix and is not among `keep`. */
static int prune(struct gateway *gw, const char *prefix, const struct slots *keep)
{
	struct slots stored = {.prefix = prefix};
	int r = store_each_document(gw->store, collect, &stored);

	for (size_t i = 0; i < stored.n && r >= 0; i++) {
		bool kept = false;

		for (size_t k = 0; k < keep->n; k++)
			kept |= strcmp(keep->names[k], stored.names[i]) == 0;
		if (!kept)
			r = store_delete_document(gw->store, stored.names[i]);
	}
	return r;
}

static int put_policy(struct gateway *gw)
{
	return gw->trust->policy_held.document
		       ? put(gw, "policy", ORDER_POLICY, &gw->trust->policy_held)
		       : 0;
}

static int put_list(struct gateway *gw, const struct trust_list *list)
{
	char slot[SLOT_MAX];

	snprintf(slot, sizeof(slot), "list/%s", list->name);
	return put(gw, slot, ORDER_LIST, &list->held);
}

/*
 * New keys may cut the chain, move its anchor, and bury the signers of policy and lists, which are
 * then kept with the keys that named them. Those first: a crash in between must leave each document
 * with what proves it.
 */
static int put_keys(struct gateway *gw)
{
	struct slots keep = {.n = 0};
	int r = put_policy(gw);

	for (size_t i = 0; i < gw->trust->nlists && r >= 0; i++)
		r = put_list(gw, &gw->trust->lists[i]);
	for (size_t i = 0; i < gw->trust->nchain && r >= 0; i++) {
		char *slot = keep.names[keep.n++];

		strcpy(slot, "keys/");
		hex_encode(SPAN(gw->trust->chain[i].kid), slot + 5, SLOT_MAX - 5);
		r = put(gw, slot, (int)i, &gw->trust->chain[i]);
	}
	if (r >= 0)
		r = store_put_value(gw->store, "anchor", SPAN(gw->trust->anchor.pub));
	return r < 0 ? r : prune(gw, "keys/", &keep);
}

/* Keys that wait for the root that signs them: only those are on disk. */
static int put_pending(struct gateway *gw)
{
	struct slots keep = {.n = 0};
	int r = 0;

	for (size_t i = 0; i < gw->trust->npending && r >= 0; i++) {
		const struct trust_pending *p = &gw->trust->pending[i];
		char *slot = keep.names[keep.n];

		if (p->kind != TOKEN_KEYS || keep.n == ARRAY_SIZE(keep.names))
			continue;
		keep.n++;
		snprintf(slot, SLOT_MAX, "pending/%s", p->name);
		r = store_put_document(gw->store, slot, ORDER_PENDING, span_of(p->document, p->len),
				       span_of(NULL, 0));
	}
	return r < 0 ? r : prune(gw, "pending/", &keep);
}

static int put_change(struct gateway *gw, const struct trust_change *change)
{
	const struct trust_list *list;

	switch (change->kind) {
	case TOKEN_KEYS:
		return put_keys(gw);
	case TOKEN_POLICY:
		return put_policy(gw);
	case TOKEN_LIST:
		list = trust_list_by_name(gw->trust, span_str(change->name));
		return list ? put_list(gw, list) : -ENOENT;
	case TOKEN_AUTHORIZATION:
	case TOKEN_PRESENTATION:
	case TOKEN_CLAIM:
	case TOKEN_RELEASE:
	case TOKEN_RECEIPT:
	case TOKEN_KINDS:
		break;
	}
	return -EINVAL;
}

/* --- from disk ---------------------------------------------------------------------------------- */

struct restoring {
	struct gateway *gw;
	bool damaged;
};

static int restore_one(const char *slot, struct span document, struct span under, void *user)
{
	struct restoring *restoring = user;
	struct trust *trust = restoring->gw->trust;
	struct trust_topic any = {.any = true};
	struct trust_change change;
	int r;

	if (starts(slot, "reader/"))
		return 0;
	if (starts(slot, "pending/"))
		r = trust_offer(trust, document, &any, &change);
	else
		r = trust_restore(trust, document, under, &change);
	if (r < 0)
		return r;
	if (r > 0 && !starts(slot, "pending/"))
		restoring->damaged = true;
	return 0;
}

/* Enrolled anew with another root: what the old one signed is of no use, and no damage. */
static int other_root(struct gateway *gw)
{
	static const char *const prefixes[] = {"keys/", "policy", "list/", "pending/", "reader/"};
	struct slots none = {.n = 0};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(prefixes) && r >= 0; i++)
		r = prune(gw, prefixes[i], &none);
	if (r >= 0)
		r = store_put_value(gw->store, "anchor", SPAN(gw->config.root_key));
	return r < 0 ? r : store_put_value(gw->store, "root", SPAN(gw->config.root_key));
}

static int find_anchor(struct gateway *gw, struct key *ret)
{
	uint8_t pub[PUBLIC_LEN];
	size_t len = 0;
	int r = store_get_value(gw->store, "root", pub, sizeof(pub), &len);

	if (r < 0 && r != -ENOENT)
		return r;
	if (r == -ENOENT || len != PUBLIC_LEN ||
	    memcmp(pub, gw->config.root_key, PUBLIC_LEN) != 0) {
		r = other_root(gw);
		if (r < 0)
			return r;
	}
	r = store_get_value(gw->store, "anchor", pub, sizeof(pub), &len);
	if (r < 0 || len != PUBLIC_LEN)
		return -EBADMSG;
	key_init(ret, pub, ROLE_ROOT);
	return 0;
}

int gateway_documents_restore(struct gateway *gw)
{
	struct restoring restoring = {.gw = gw};
	struct key anchor;
	int r;

	if (!gw->trust) {
		r = trust_new(LIST_BYTES_MAX, &gw->trust);
		if (r < 0)
			return r;
	}
	r = find_anchor(gw, &anchor);
	if (r < 0)
		return r;
	trust_anchor(gw->trust, &anchor);
	r = store_each_document(gw->store, restore_one, &restoring);
	if (r < 0)
		return r;
	gw->ndurable = trust_applied(gw->trust, gw->durable);
	return restoring.damaged ? -EBADMSG : 0;
}

/* --- taking in ---------------------------------------------------------------------------------- */

/* After damage: is everything back that keeps a revoked credential out? */
static void maybe_healed(struct gateway *gw)
{
	if (!gw->damaged || !trust_keys(gw->trust) || gw->trust->nlists == 0 ||
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
	if (!gw->undurable)
		gw->ndurable = trust_applied(gw->trust, gw->durable);
}

void gateway_documents_again(struct gateway *gw)
{
	if (!gw->undurable || gateway_stored(gw, put_keys(gw), "documents") < 0)
		return;
	gw->undurable = false;
	mark_durable(gw);
	gateway_state_changed(gw, true);
}

static int drop_reader(const char *slot, struct span document, struct span under, void *user);

/* true: keys were applied, so that others may be tried again. */
static bool took(struct gateway *gw, int verdict, const struct trust_change *change)
{
	int r = 0;

	if (verdict < 0) {
		log_fact(LOG_ERR, "out of memory for a document", NULL);
		return false;
	}
	if (change->kept && change->kind == TOKEN_KEYS)
		(void)gateway_stored(gw, put_pending(gw), "pending keys");
	if (verdict == 0 && !change->applied)
		return false;
	if (verdict == 0) {
		r = gateway_stored(gw, put_change(gw, change), "document");
		gw->undurable |= r < 0;
	}
	/* The locks' frames point into what was replaced, whatever the disk said. */
	if (verdict == 0)
		gateway_locks_documents(gw);
	if (r < 0)
		return false; /* in force, but `state` does not claim it: gateway_documents_again() */
	mark_durable(gw);
	tell(gw, verdict, change);
	if (verdict != 0)
		return false;
	gateway_time_learn(gw, change->kind, change->iat);
	if (change->kind !=
	    TOKEN_LIST) /* a changed lock or a dropped key: `state` asks for new ones */
		(void)store_each_document(gw->store, drop_reader, gw);
	maybe_healed(gw);
	gateway_state_changed(gw, true);
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
		(void)gateway_stored(gw, put_pending(gw), "pending keys");
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

/* A reader's authorization for this gateway's own key, judged as of now. */
static int judge_reader(struct gateway *gw, struct span document, struct gate_output *ret)
{
	struct gate_lock locks[CONFIG_LOCKS];
	struct gate_input in = {.authorization = document};
	int r;

	gateway_gate_input(gw, &in, locks);
	r = gate_decide_reader(&in, gw->reader.kid, ret);
	ret->lock = NULL; /* it pointed into locks */
	return r;
}

static int reader_document(struct gateway *gw, struct span payload)
{
	struct gate_output out = {0};
	struct gateway_lock *gl;
	char slot[SLOT_MAX];
	int r = judge_reader(gw, payload, &out);

	if (r != 0) {
		refuse(gw, TOKEN_AUTHORIZATION, &out.token, r < 0 ? REASON_LOCK_ERROR : r);
		return r < 0 ? REASON_LOCK_ERROR : r;
	}
	gl = gateway_lock_find(gw, out.token.aud);
	if (!gl || out.token.iat < gl->reader_iat)
		return 0;
	snprintf(slot, sizeof(slot), "reader/%s", gl->config.id);
	if (gateway_stored(
		    gw,
		    store_put_document(gw->store, slot, ORDER_READER, payload, span_of(NULL, 0)),
		    "reader") < 0)
		return REASON_LOCK_ERROR;
	gl->reader_iat = out.token.iat;
	gl->reader_exp = out.token.exp;
	log_fact(LOG_INFO, "may read the lock's log", "LOCK", gl->config.id, NULL);
	if (lock_set_reader(gl->lock, payload) < 0)
		log_fact(LOG_ERR, "read authorization cannot be used", "LOCK", gl->config.id, NULL);
	gateway_state_changed(gw, false);
	return 0;
}

static int restore_reader(const char *slot, struct span document, struct span under, void *user)
{
	struct gateway *gw = user;
	struct gate_output out = {0};
	struct gateway_lock *gl;

	if (!starts(slot, "reader/"))
		return 0;
	if (judge_reader(gw, document, &out) != 0)
		return 0; /* out of time: the city sends a new one when `state` lacks it */
	gl = gateway_lock_find(gw, out.token.aud);
	if (!gl || gl->reader_exp)
		return 0;
	gl->reader_iat = out.token.iat;
	gl->reader_exp = out.token.exp;
	(void)lock_set_reader(gl->lock, document);
	return 0;
}

void gateway_documents_readers(struct gateway *gw)
{
	(void)store_each_document(gw->store, restore_reader, gw);
}

static int drop_reader(const char *slot, struct span document, struct span under, void *user)
{
	struct gateway *gw = user;
	struct gate_output out = {0};
	struct gateway_lock *gl;

	if (!starts(slot, "reader/"))
		return 0;
	gl = gateway_lock_find(gw, span_str(slot + strlen("reader/")));
	if (!gl || !gl->reader_exp || judge_reader(gw, document, &out) == 0)
		return 0;
	gl->reader_exp = 0;
	(void)lock_set_reader(gl->lock, span_of(NULL, 0));
	return 0;
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

	return gateway_document(gw, &any, payload);
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
