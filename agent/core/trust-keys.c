// SPDX-License-Identifier: Apache-2.0
/*
 * The chain of keys documents. Each names the root that signs the next; a new one may bury the
 * signers of policy and lists, which stay in force under the document that named them.
 */
#include "core/trust-impl.h"

#include <errno.h>
#include <stdlib.h>

/* Who must have signed it: the root whose turn it is, or one that had its turn (its last document
 * comes again with every connection to the broker). */
static int verify(const struct offer *o, int place)
{
	const struct trust *trust = o->trust;
	const struct cose_sign1 *cose = &o->token.cose;
	const struct key *root = trust_root(trust);

	if (span_equal(cose->kid, SPAN(root->kid)))
		return key_verify(root, cose);
	if (place >= 0)
		return held_verify(&trust->chain[place], cose);
	return keyset_find(&trust->keyset, cose->kid) ? REASON_WRONG_ROLE : REASON_UNKNOWN_KEY;
}

/* --- who dies, who lives again -----------------------------------------------------------------
 */

struct burial {
	struct held *held;
	enum role role;
	uint8_t *under; /* owned until committed */
};

struct burials {
	struct burial all[1 + TRUST_LISTS];
	size_t n;
};

static void burials_deinit(struct burials *b)
{
	for (size_t i = 0; i < b->n; i++)
		free(b->all[i].under);
}

static void burials_list(struct burials *b, struct trust *trust)
{
	*b = (struct burials){0};
	if (trust->policy_held.document)
		b->all[b->n++] = (struct burial){.held = &trust->policy_held, .role = ROLE_POLICY};
	for (size_t i = 0; i < trust->nlists; i++)
		b->all[b->n++] =
			(struct burial){.held = &trust->lists[i].held, .role = ROLE_REVOKE};
}

/* Copies the keys document in force for each held one whose signer dies with the next set. */
static int burials_prepare(struct burials *b, const struct trust *trust, const struct keyset *next)
{
	const struct held *keys = trust_keys(trust);

	for (size_t i = 0; i < b->n; i++) {
		struct burial *one = &b->all[i];

		if (one->held->under || trust_named(next, SPAN(one->held->kid), one->role))
			continue;
		one->under = trust_dup(span_of(keys->document, keys->len));
		if (!one->under)
			return -ENOMEM;
	}
	return 0;
}

static void burials_commit(struct burials *b, const struct keyset *next, const struct held *keys)
{
	for (size_t i = 0; i < b->n; i++) {
		struct burial *one = &b->all[i];

		if (one->under) {
			one->held->under = steal(one->under);
			one->held->under_len = keys->len;
			memcpy(one->held->under_pub, keys->pub, PUBLIC_LEN);
		} else if (trust_named(next, SPAN(one->held->kid), one->role)) {
			free(one->held->under);
			one->held->under = NULL;
			one->held->under_len = 0;
		}
	}
}

/* --- taking it in ------------------------------------------------------------------------------
 */

/* Whoever signed the second document becomes the anchor: the first is no longer there to prove it,
 * so the caller persists the anchor with the chain. */
static void drop_oldest(struct trust *trust, struct trust_change *change)
{
	held_deinit(&trust->chain[0]);
	trust->nchain--;
	memmove(&trust->chain[0], &trust->chain[1], trust->nchain * sizeof(trust->chain[0]));
	key_init(&trust->anchor, trust->chain[0].pub, ROLE_ROOT);
	change->anchor_moved = true;
}

/* place: where its signer stands already. What came after that root named it again falls away. */
static void place_in_chain(struct trust *trust, int place, struct held *held,
			   struct trust_change *change)
{
	if (place >= 0)
		while (trust->nchain > (size_t)place)
			held_deinit(&trust->chain[--trust->nchain]);
	if (trust->nchain == TRUST_CHAIN)
		drop_oldest(trust, change);
	trust->chain[trust->nchain++] = *held;
}

static int apply(struct offer *o, int place, const struct keyset *next)
{
	struct trust *trust = o->trust;
	cleanup(burials_deinit) struct burials b;
	struct held held;
	int r;

	burials_list(&b, trust);
	r = burials_prepare(&b, trust, next);
	if (r < 0)
		return r;
	r = held_init(&held, o, trust_root(trust));
	if (r < 0)
		return r;
	burials_commit(&b, next, trust_keys(trust));
	place_in_chain(trust, place, &held, o->change);
	keyset_copy(&trust->keyset, next);
	o->change->applied = true;
	return 0;
}

int trust_keys_offer(struct offer *o)
{
	struct trust *trust = o->trust;
	int place = trust_chain_index(trust, o->token.cose.kid);
	struct keyset next;
	bool same;
	int r;

	r = keyset_parse(o->token.keys, &next);
	if (r != 0)
		return r;
	r = verify(o, place);
	if (r != 0)
		return r;
	if (place >= 0) {
		r = trust_version(&trust->chain[place], &o->token, &same);
		if (r != 0 || same)
			return r;
	}
	if (!span_equal(o->token.cose.kid, SPAN(trust_root(trust)->kid))) {
		o->final = true; /* handed over: it signs nothing more */
		return REASON_UNKNOWN_KEY;
	}
	return apply(o, place, &next);
}
