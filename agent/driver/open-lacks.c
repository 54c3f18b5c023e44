// SPDX-License-Identifier: Apache-2.0
/*
 * What a lock lacks of what the gateway holds, and in which order it can take it: first the chain
 * of keys from its owner on, then policy and lists. A document whose signer the newest keys no
 * longer name must go before those keys do, or the lock can never verify it (section 2, "kid").
 */
#include "driver/open.h"

const struct applied *open_find(const struct open_holds *holds, const char *name)
{
	for (size_t i = 0; i < holds->napplied; i++) {
		if (strcmp(holds->applied[i].name, name) == 0)
			return &holds->applied[i];
	}
	return NULL;
}

static bool same(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, DIGEST_LEN) == 0;
}

static bool was_refused(const struct open_holds *holds, const uint8_t *digest)
{
	for (size_t i = 0; i < holds->nrefused; i++) {
		if (same(holds->refused[i], digest))
			return true;
	}
	return false;
}

static bool has(const struct open_holds *holds, const char *name, const uint8_t *digest)
{
	const struct applied *a = open_find(holds, name);

	return a && same(a->digest, digest);
}

/* Section 7, "Current": changed <= iat <= the gateway's own. */
static bool list_current(const struct open_holds *holds, const struct trust_list *list)
{
	const struct applied *a = open_find(holds, list->name);

	return a && list->held.changed <= a->iat && a->iat <= list->held.iat;
}

/*
 * Is there a reason to bring it? By iat alone the lock may seem to be ahead when its document's
 * signer is dead (section 2, "kid"): so it is offered once, and a lock that is ahead says so.
 */
static bool list_wanted(const struct open_holds *holds, const struct trust_list *list, bool exact)
{
	const struct applied *a = open_find(holds, list->name);

	if (!a)
		return true;
	if (same(a->digest, list->held.digest))
		return false;
	return exact || a->iat < list->held.changed || a->iat >= list->held.iat;
}

static bool policy_wanted(const struct trust *trust, const struct open_holds *holds)
{
	return !has(holds, "policy", trust->policy_held.digest);
}

bool open_current(const struct trust *trust, const struct open_holds *holds)
{
	const struct held *keys = trust_keys(trust);

	if (!keys || !has(holds, "keys", keys->digest))
		return false;
	if (trust->policy_held.document && !has(holds, "policy", trust->policy_held.digest))
		return false;
	for (size_t i = 0; i < trust->nlists; i++) {
		if (!list_current(holds, &trust->lists[i]))
			return false;
	}
	return true;
}

static enum open_need push(enum token_kind kind, const struct held *held, struct open_push *ret)
{
	*ret = (struct open_push){
		.kind = kind,
		.document = span_of(held->document, held->len),
	};
	memcpy(ret->digest, held->digest, DIGEST_LEN);
	return OPEN_PUSH;
}

/* The keys document that named a dead signer, and with it the last moment to bring this one. */
static bool under_is_in_force(const struct open_holds *holds, const struct held *held)
{
	struct token under;

	return held->under && token_parse(span_of(held->under, held->under_len), &under) == 0 &&
	       has(holds, "keys", under.digest);
}

static bool fits(const struct open_holds *holds, const struct trust_list *list)
{
	return holds->max == 0 || list->list->len <= holds->max;
}

/* Policy and lists that the lock can take now. dead: those whose signer is no longer named. */
static enum open_need others(const struct trust *trust, const struct open_holds *holds, bool exact,
			     bool dead, struct open_push *ret)
{
	const struct held *held = &trust->policy_held;

	if (held->document && policy_wanted(trust, holds) && !was_refused(holds, held->digest) &&
	    trust_signer_alive(trust, TOKEN_POLICY, held) != dead &&
	    (!dead || under_is_in_force(holds, held)))
		return push(TOKEN_POLICY, held, ret);
	for (size_t i = 0; i < trust->nlists; i++) {
		const struct trust_list *list = &trust->lists[i];

		held = &list->held;
		if (!list_wanted(holds, list, exact) || was_refused(holds, held->digest) ||
		    !fits(holds, list))
			continue;
		if (trust_signer_alive(trust, TOKEN_LIST, held) != dead &&
		    (!dead || under_is_in_force(holds, held)))
			return push(TOKEN_LIST, held, ret);
	}
	return OPEN_NOTHING;
}

static bool in_chain(const struct trust *trust, const uint8_t *digest)
{
	for (size_t i = 0; i < trust->nchain; i++) {
		if (same(trust->chain[i].digest, digest))
			return true;
	}
	return false;
}

/* The keys document that the lock's owner signed, of our chain. */
static enum open_need keys(const struct trust *trust, const struct open_holds *holds,
			   struct open_push *ret)
{
	const struct held *newest = trust_keys(trust);
	const struct applied *a = open_find(holds, "keys");

	if (!newest || has(holds, "keys", newest->digest))
		return OPEN_NOTHING;
	if (!holds->has_owner)
		return OPEN_ASK_INFO;
	for (size_t i = trust->nchain; i-- > 0;) {
		const struct held *held = &trust->chain[i];

		if (!same(held->kid, holds->owner))
			continue;
		if (was_refused(holds, held->digest) || (a && same(a->digest, held->digest)))
			return OPEN_NOTHING;
		/* One that the same root signed later: of its own documents the iat rises. */
		if (a && !in_chain(trust, a->digest) && a->iat >= held->iat)
			return OPEN_NOTHING;
		return push(TOKEN_KEYS, held, ret);
	}
	/* The root that signs next: the lock may be ahead of us, which is no fault. */
	return same(trust_root_kid(trust), holds->owner) ? OPEN_NOTHING : OPEN_FOREIGN_OWNER;
}

enum open_need open_lacks(const struct trust *trust, const struct open_holds *holds, bool exact,
			  struct open_push *ret)
{
	enum open_need need;

	if (!trust_keys(trust))
		return OPEN_NOTHING;
	need = others(trust, holds, exact, true, ret);
	if (need != OPEN_NOTHING)
		return need;
	need = keys(trust, holds, ret);
	if (need != OPEN_NOTHING)
		return need;
	return others(trust, holds, exact, false, ret);
}
