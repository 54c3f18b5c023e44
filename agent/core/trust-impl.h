/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the files of trust share: trust.c (life, entry, look-ups), trust-keys.c (the chain),
 * trust-issued.c (policy and lists), trust-pending.c (what waits for its key). */
#include "core/trust.h"

struct offer {
	struct trust *trust;
	struct span document;
	struct span under; /* trust_restore; else data NULL */
	struct token token;
	struct trust_change *change;
	bool final; /* out: unknown-key for good, not to be kept aside */
};

/* 0, a reason or -ENOMEM; on 0 change->applied says whether anything changed. */
int trust_keys_offer(struct offer *o);
int trust_policy_offer(struct offer *o);
int trust_list_offer(struct offer *o);

/* One per kind and name; 0 or -ENOMEM. */
int trust_pending_keep(struct trust *trust, const struct offer *o);
void trust_pending_remove(struct trust *trust, size_t i);

/* The root that signs the next keys document. */
const struct key *trust_root(const struct trust *trust);
/* Position in the chain of the document that this root signed, -1. */
int trust_chain_index(const struct trust *trust, struct span root_kid);
enum role trust_role_of(enum token_kind kind);
bool trust_named(const struct keyset *set, struct span kid, enum role role);
/* May the offered one replace what is held? 0 (*ret_same: it is what is held), REASON_OLDER,
 * REASON_CONFLICT. */
int trust_version(const struct held *held, const struct token *token, bool *ret_same);

/* An owned copy of the document and what is known of it. 0 or -ENOMEM. */
int held_init(struct held *held, const struct offer *o, const struct key *signer);
void held_deinit(struct held *held);
/* Is this the very payload that is held, by the same signer? */
bool held_is(const struct held *held, const struct token *token);
int held_verify(const struct held *held, const struct cose_sign1 *message);
/* A copy on the heap; NULL without memory. */
uint8_t *trust_dup(struct span bytes);
