// SPDX-License-Identifier: Apache-2.0
/*
 * Policy and lists: issued by a key that the keys document in force names, or, when read back from
 * disk, that the keys document kept beside it named.
 */
#include "core/trust-impl.h"

#include <errno.h>
#include <stdlib.h>

struct issuer {
	struct key key;
	bool alive;		       /* named by the keys document in force */
	uint8_t under_pub[PUBLIC_LEN]; /* not alive: of the root that signed o->under */
};

/* The next root, or one that left the chain. */
static const struct key *root_once(const struct trust *trust, struct span kid)
{
	if (span_equal(kid, SPAN(trust_root(trust)->kid)))
		return trust_root(trust);
	for (size_t i = 0; i < trust->nformer; i++)
		if (span_equal(kid, SPAN(trust->former[i].kid)))
			return &trust->former[i];
	return NULL;
}

/* A keys document that is in force no longer proves who signed, if one of our roots signed it. */
static int keyset_under(const struct offer *o, struct issuer *ret_issuer, struct keyset *ret)
{
	const struct trust *trust = o->trust;
	const struct key *root;
	struct key in_chain;
	struct token t;
	int place, r;

	r = token_parse(o->under, &t);
	if (r != 0)
		return r;
	if (t.kind != TOKEN_KEYS)
		return REASON_WRONG_ROLE;
	place = trust_chain_index(trust, t.cose.kid);
	root = place >= 0 ? NULL : root_once(trust, t.cose.kid);
	if (place >= 0) {
		key_init(&in_chain, trust->chain[place].pub, ROLE_ROOT);
		root = &in_chain;
	}
	r = root ? key_verify(root, &t.cose) : REASON_UNKNOWN_KEY;
	if (r != 0)
		return r;
	memcpy(ret_issuer->under_pub, root->pub, PUBLIC_LEN);
	return keyset_parse(t.keys, ret);
}

static int verify(const struct offer *o, struct issuer *ret)
{
	const struct cose_sign1 *cose = &o->token.cose;
	enum role role = trust_role_of(o->token.kind);
	const struct keyset *set = &o->trust->keyset;
	struct keyset under;
	int r;

	ret->alive = true;
	if (o->under.data && !trust_named(set, cose->kid, role)) {
		r = keyset_under(o, ret, &under);
		if (r != 0)
			return r;
		set = &under;
		ret->alive = false;
	}
	r = keyset_verify(set, cose, role);
	if (r != 0)
		return r;
	ret->key = *keyset_find(set, cose->kid);
	return 0;
}

/*
 * Signature and version against what is held. 0 with *ret_same: nothing is to be done. What is in
 * force comes again with every connection to the broker: quiet, also when its signer is dead.
 */
static int judge(const struct offer *o, const struct held *held, struct issuer *ret, bool *ret_same)
{
	int r;

	*ret_same = held_is(held, &o->token);
	if (*ret_same &&
	    !trust_named(&o->trust->keyset, SPAN(held->kid), trust_role_of(o->token.kind)))
		return held_verify(held, &o->token.cose);
	r = verify(o, ret);
	if (r != 0 || *ret_same)
		return r;
	if (held->document && !trust_signer_alive(o->trust, o->token.kind, held) && ret->alive)
		return 0;
	return trust_version(held, &o->token, ret_same);
}

static int make_held(const struct offer *o, const struct issuer *issuer, struct held *ret)
{
	int r = held_init(ret, o, &issuer->key);

	if (r < 0 || issuer->alive)
		return r;
	ret->under = trust_dup(o->under);
	ret->under_len = o->under.len;
	memcpy(ret->under_pub, issuer->under_pub, PUBLIC_LEN);
	if (!ret->under) {
		held_deinit(ret);
		return -ENOMEM;
	}
	return 0;
}

int trust_policy_offer(struct offer *o)
{
	struct trust *trust = o->trust;
	struct issuer issuer;
	struct policy policy;
	struct held held;
	bool same;
	int r;

	r = policy_parse(o->token.policy, &policy);
	if (r != 0)
		return r;
	r = judge(o, &trust->policy_held, &issuer, &same);
	if (r != 0 || same)
		return r;
	r = make_held(o, &issuer, &held);
	if (r < 0)
		return r;
	held_deinit(&trust->policy_held);
	trust->policy_held = held;
	trust->policy = policy;
	o->change->applied = true;
	return 0;
}

static struct trust_list *list_at(struct trust *trust, struct span uri)
{
	for (size_t i = 0; i < trust->nlists; i++)
		if (span_is(uri, trust->lists[i].uri))
			return &trust->lists[i];
	return NULL;
}

/* A place for a list that is new here. */
static int list_room(const struct offer *o)
{
	if (trust_list_by_name(o->trust, span_str(o->change->name)))
		return REASON_CONFLICT;
	return o->trust->nlists == TRUST_LISTS ? REASON_TOO_LARGE : 0;
}

static int list_prepare(const struct offer *o, const struct issuer *issuer, struct trust_list *ret)
{
	cleanup(freep) struct status_list *list = malloc(sizeof(*list));
	int r;

	if (!list)
		return -ENOMEM;
	r = status_list_inflate(o->token.lst, o->token.bits, o->trust->max, list);
	if (r != 0)
		return r;
	*ret = (struct trust_list){.ttl = o->token.has & CLAIM_TTL ? o->token.ttl : 0};
	memcpy(ret->name, o->change->name, sizeof(ret->name));
	memcpy(ret->uri, o->token.sub.data, o->token.sub.len);
	r = make_held(o, issuer, &ret->held);
	if (r < 0)
		return r;
	ret->list = steal(list);
	return 0;
}

int trust_list_offer(struct offer *o)
{
	static const struct held none;
	struct trust *trust = o->trust;
	struct trust_list *place = list_at(trust, o->token.sub);
	struct trust_list list;
	struct issuer issuer;
	bool same;
	int r;

	r = judge(o, place ? &place->held : &none, &issuer, &same);
	if (r != 0 || same)
		return r;
	r = place ? 0 : list_room(o);
	if (r != 0)
		return r;
	r = list_prepare(o, &issuer, &list);
	if (r != 0)
		return r;
	if (!place) {
		place = &trust->lists[trust->nlists++];
	} else {
		held_deinit(&place->held);
		free(place->list);
	}
	*place = list;
	o->change->applied = true;
	return 0;
}
