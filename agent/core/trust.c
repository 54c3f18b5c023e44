// SPDX-License-Identifier: Apache-2.0
/*
 * The documents in force: life, the way in, and look-ups. What each kind asks of a successor is in
 * trust-keys.c and trust-issued.c; every one of them prepares whatever can fail before it changes
 * anything, so that lack of memory leaves all as it was.
 */
#include "core/trust-impl.h"

#include <errno.h>
#include <stdlib.h>

int trust_new(size_t max, struct trust **ret)
{
	struct trust *trust = calloc(1, sizeof(*trust));

	if (!trust)
		return -ENOMEM;
	trust->max = max;
	policy_default(&trust->policy);
	*ret = trust;
	return 0;
}

void trust_clear(struct trust *trust)
{
	size_t i;

	for (i = 0; i < trust->nchain; i++)
		held_deinit(&trust->chain[i]);
	held_deinit(&trust->policy_held);
	for (i = 0; i < trust->nlists; i++) {
		held_deinit(&trust->lists[i].held);
		free(trust->lists[i].list);
	}
	for (i = 0; i < trust->npending; i++)
		free(trust->pending[i].document);
	*trust = (struct trust){.max = trust->max};
	policy_default(&trust->policy);
}

void trust_free(struct trust *trust)
{
	if (!trust)
		return;
	trust_clear(trust);
	free(trust);
}

void trust_freep(struct trust **trust)
{
	trust_free(*trust);
}

void trust_anchor(struct trust *trust, const struct key *root)
{
	struct key anchor = *root; /* may be trust's own */

	trust_clear(trust);
	trust->anchor = anchor;
	trust->anchored = true;
}

/* --- the way in --------------------------------------------------------------------------------
 */

static int check_topic(const struct trust_topic *topic, const struct offer *o)
{
	char kid[HEX_CAP(DIGEST_LEN)];

	if (topic->any)
		return 0;
	if (o->token.kind != topic->kind)
		return REASON_WRONG_TOPIC;
	switch (o->token.kind) {
	case TOKEN_KEYS:
		hex_encode(SPAN(o->change->kid), kid, sizeof(kid));
		return strcmp(kid, topic->name) == 0 ? 0 : REASON_WRONG_TOPIC;
	case TOKEN_LIST:
		return strcmp(o->change->name, topic->name) == 0 ? 0 : REASON_WRONG_TOPIC;
	default:
		return 0;
	}
}

/* token_parse has seen that the name is there; a URI is kept here as a string. */
static int list_form(struct offer *o)
{
	struct span uri = o->token.sub, name = list_name(uri);

	if (memchr(uri.data, 0, uri.len))
		return REASON_MALFORMED;
	memcpy(o->change->name, name.data, name.len);
	return 0;
}

/* What can be said of a document before its signature. */
static int examine(struct offer *o, const struct trust_topic *topic)
{
	const struct token *t = &o->token;
	int r;

	/* Deflate adds at most an eighth to what it cannot make smaller: 128 KiB come in 144. */
	if (o->document.len > o->trust->max + o->trust->max / 8)
		return REASON_TOO_LARGE;
	r = token_parse(o->document, &o->token);
	if (r != 0)
		return r;
	o->change->kind = t->kind;
	o->change->iat = t->iat;
	memcpy(o->change->digest, t->digest, DIGEST_LEN);
	memcpy(o->change->kid, t->cose.kid.data, DIGEST_LEN);
	if (t->kind == TOKEN_LIST) {
		r = list_form(o);
		if (r != 0)
			return r;
	}
	return check_topic(topic, o);
}

static int offer(struct offer *o)
{
	switch (o->token.kind) {
	case TOKEN_KEYS:
		return trust_keys_offer(o);
	case TOKEN_POLICY:
		return trust_policy_offer(o);
	case TOKEN_LIST:
		return trust_list_offer(o);
	default:
		return REASON_WRONG_ROLE;
	}
}

static const struct held *held_of(const struct trust *trust, const struct trust_change *change)
{
	const struct trust_list *list;

	switch (change->kind) {
	case TOKEN_KEYS:
		return trust_keys(trust);
	case TOKEN_POLICY:
		return trust->policy_held.document ? &trust->policy_held : NULL;
	case TOKEN_LIST:
		list = trust_list_by_name(trust, span_str(change->name));
		return list ? &list->held : NULL;
	default:
		return NULL;
	}
}

static int take(struct offer *o, const struct trust_topic *topic, bool keep)
{
	int r;

	*o->change = (struct trust_change){.kind = TOKEN_KINDS};
	if (!o->trust->anchored)
		return REASON_NOT_OWNED;
	r = examine(o, topic);
	if (r == 0)
		r = offer(o);
	if (r == REASON_UNKNOWN_KEY && keep && !o->final) {
		if (trust_pending_keep(o->trust, o) < 0)
			return -ENOMEM;
		o->change->kept = true;
	}
	o->change->held = held_of(o->trust, o->change);
	return r;
}

int trust_offer(struct trust *trust, struct span document, const struct trust_topic *topic,
		struct trust_change *ret)
{
	struct offer o = {.trust = trust, .document = document, .change = ret};

	return take(&o, topic, true);
}

int trust_restore(struct trust *trust, struct span document, struct span under,
		  struct trust_change *ret)
{
	struct offer o = {.trust = trust, .document = document, .under = under, .change = ret};
	struct trust_topic any = {.any = true};

	return take(&o, &any, false);
}

static const struct held *held_at(const struct trust *trust, size_t i)
{
	return i == 0 ? &trust->policy_held : &trust->lists[i - 1].held;
}

size_t trust_former(const struct trust *trust, uint8_t ret[static TRUST_FORMER][PUBLIC_LEN])
{
	size_t n = 0;

	for (size_t i = 0; i < 1 + trust->nlists; i++) {
		const struct held *held = held_at(trust, i);
		size_t k = 0;

		while (k < n && memcmp(ret[k], held->under_pub, PUBLIC_LEN) != 0)
			k++;
		if (held->under && k == n)
			memcpy(ret[n++], held->under_pub, PUBLIC_LEN);
	}
	return n;
}

void trust_restore_former(struct trust *trust, const uint8_t pub[static PUBLIC_LEN])
{
	if (trust->nformer < TRUST_FORMER)
		key_init(&trust->former[trust->nformer++], pub, ROLE_ROOT);
}

/* Keys first: they may bring others to life, and bury some. */
static bool next_to_try(const struct trust *trust, size_t *ret)
{
	static const enum token_kind order[] = {TOKEN_KEYS, TOKEN_POLICY, TOKEN_LIST};
	size_t i, k;

	for (k = 0; k < ARRAY_SIZE(order); k++)
		for (i = 0; i < trust->npending; i++)
			if (trust->pending[i].kind == order[k] &&
			    keyset_find(&trust->keyset, SPAN(trust->pending[i].kid))) {
				*ret = i;
				return true;
			}
	return false;
}

int trust_retry(struct trust *trust, int *ret_verdict, struct trust_change *ret_change)
{
	struct trust_topic any = {.any = true};
	struct offer o = {.trust = trust, .change = ret_change};
	size_t i;
	int r;

	if (!next_to_try(trust, &i))
		return 0;
	o.document = span_of(trust->pending[i].document, trust->pending[i].len);
	r = take(&o, &any, false);
	if (r < 0)
		return r;
	trust_pending_remove(trust, i);
	*ret_verdict = r;
	return 1;
}

/* --- versions ----------------------------------------------------------------------------------
 */

enum role trust_role_of(enum token_kind kind)
{
	switch (kind) {
	case TOKEN_KEYS:
		return ROLE_ROOT;
	case TOKEN_POLICY:
		return ROLE_POLICY;
	case TOKEN_LIST:
		return ROLE_REVOKE;
	default:
		return ROLE_AUTHORIZE;
	}
}

bool trust_named(const struct keyset *set, struct span kid, enum role role)
{
	const struct key *key = keyset_find(set, kid);

	return key && key->roles & role;
}

int trust_version(const struct held *held, const struct token *token, bool *ret_same)
{
	*ret_same = false;
	if (!held->document || token->iat > held->iat)
		return 0;
	if (token->iat < held->iat)
		return REASON_OLDER;
	if (memcmp(token->digest, held->digest, DIGEST_LEN) != 0)
		return REASON_CONFLICT;
	*ret_same = true;
	return 0;
}

/* --- what is held ------------------------------------------------------------------------------
 */

uint8_t *trust_dup(struct span bytes)
{
	uint8_t *copy = malloc(bytes.len);

	if (copy)
		memcpy(copy, bytes.data, bytes.len);
	return copy;
}

int held_init(struct held *held, const struct offer *o, const struct key *signer)
{
	const struct token *t = &o->token;

	*held = (struct held){.len = o->document.len, .iat = t->iat, .changed = t->iat};
	held->document = trust_dup(o->document);
	if (!held->document)
		return -ENOMEM;
	if (t->has & CLAIM_EXP)
		held->exp = t->exp;
	if (t->kind == TOKEN_LIST)
		held->changed = t->changed;
	memcpy(held->digest, t->digest, DIGEST_LEN);
	memcpy(held->kid, signer->kid, DIGEST_LEN);
	memcpy(held->pub, signer->pub, PUBLIC_LEN);
	return 0;
}

void held_deinit(struct held *held)
{
	free(held->document);
	free(held->under);
	*held = (struct held){0};
}

bool held_is(const struct held *held, const struct token *token)
{
	return held->document && span_equal(token->cose.kid, SPAN(held->kid)) &&
	       memcmp(token->digest, held->digest, DIGEST_LEN) == 0;
}

int held_verify(const struct held *held, const struct cose_sign1 *message)
{
	struct key key;

	key_init(&key, held->pub, 0);
	return key_verify(&key, message);
}

/* --- look-ups ----------------------------------------------------------------------------------
 */

bool trust_signer_alive(const struct trust *trust, enum token_kind kind, const struct held *held)
{
	return trust_named(&trust->keyset, SPAN(held->kid), trust_role_of(kind));
}

const struct trust_list *trust_find_list(const struct trust *trust, struct span uri)
{
	for (size_t i = 0; i < trust->nlists; i++)
		if (span_is(uri, trust->lists[i].uri))
			return &trust->lists[i];
	return NULL;
}

const struct trust_list *trust_list_by_name(const struct trust *trust, struct span name)
{
	for (size_t i = 0; i < trust->nlists; i++)
		if (span_is(name, trust->lists[i].name))
			return &trust->lists[i];
	return NULL;
}

static void put_applied(struct applied *ret, const char *name, const struct held *held)
{
	*ret = (struct applied){.iat = held->iat};
	memcpy(ret->name, name, strlen(name));
	memcpy(ret->digest, held->digest, DIGEST_LEN);
}

size_t trust_applied(const struct trust *trust, struct applied ret[static APPLIED_MAX])
{
	size_t n = 0;

	_Static_assert(2 + TRUST_LISTS <= APPLIED_MAX, "what is in force fits a receipt");
	if (trust->nchain > 0)
		put_applied(&ret[n++], "keys", trust_keys(trust));
	if (trust->policy_held.document)
		put_applied(&ret[n++], "policy", &trust->policy_held);
	for (size_t i = 0; i < trust->nlists; i++)
		put_applied(&ret[n++], trust->lists[i].name, &trust->lists[i].held);
	return n;
}

const struct held *trust_keys(const struct trust *trust)
{
	return trust->nchain > 0 ? &trust->chain[trust->nchain - 1] : NULL;
}

int trust_chain_index(const struct trust *trust, struct span root_kid)
{
	for (size_t i = 0; i < trust->nchain; i++)
		if (span_equal(root_kid, SPAN(trust->chain[i].kid)))
			return (int)i;
	return -1;
}

const struct held *trust_keys_by(const struct trust *trust, struct span root_kid)
{
	int i = trust_chain_index(trust, root_kid);

	return i < 0 ? NULL : &trust->chain[i];
}

const struct key *trust_root(const struct trust *trust)
{
	return trust->nchain > 0 ? trust->keyset.root : &trust->anchor;
}

const uint8_t *trust_root_kid(const struct trust *trust)
{
	return trust->anchored ? trust_root(trust)->kid : NULL;
}
