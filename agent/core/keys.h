/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Keys and who may sign what (contract section 2, claim -70002; RFC 9053 section 7.2 OKP keys).
 * A key record names its algorithm, and a document's header must agree with it.
 */
#include "core/cbor.h"
#include "core/cose.h"

#define KEYS_MAX 32

enum role { /* bits */
	    ROLE_ROOT = 1,
	    ROLE_POLICY = 2,
	    ROLE_REVOKE = 4,
	    ROLE_AUTHORIZE = 8,
};

struct key {
	uint8_t pub[PUBLIC_LEN];
	uint8_t kid[DIGEST_LEN];
	int64_t alg;	/* COSE_ED25519; -8 in a record means the same key type */
	unsigned roles; /* of enum role */
};

struct keyset {
	struct key keys[KEYS_MAX];
	size_t n;
	const struct key *
		root; /* the one that signs the next keys document; points into keys: keyset_copy */
};

/* kid is derived. */
void key_init(struct key *key, const uint8_t pub[static PUBLIC_LEN], unsigned roles);
/* COSE_Key: {1: 1, 2: kid, 3: alg, -1: 6, -2: x[, -70010: roles]}; roles are the words root,
 * policy, revoke, authorize. 2 and 3 may be missing; a kid that is not the key's own is an error,
 * and so is a private key (-4). Members and roles that are not known are skipped: a later
 * version's. alg -8 reads as COSE_ED25519. The input must have passed cbor_well_formed. 0,
 * REASON_MALFORMED; 1000 = well-formed, but of a type or algorithm that we do not know (skipped in
 * a keys document, malformed elsewhere). */
#define KEY_OF_OTHER_TYPE 1000
int key_read(struct cbor_reader *r, struct key *ret);
void key_put(struct cbor_writer *w, const struct key *key);
/* The claim's array. Exactly one root, no kid twice, at most KEYS_MAX. 0 or REASON_MALFORMED. */
int keyset_parse(struct span claim, struct keyset *ret);
/* Not by assignment: root points into the set. */
void keyset_copy(struct keyset *ret, const struct keyset *set);
void keyset_put(struct cbor_writer *w, const struct key *keys, size_t n);
const struct key *keyset_find(const struct keyset *set, struct span kid);
/* Does the message's alg fit the key record? (-8 and -19 for Ed25519.) */
bool key_takes_alg(const struct key *key, int64_t alg);
/* alg and signature against one key. 0, REASON_BAD_SIGNATURE or -ENOMEM. */
int key_verify(const struct key *key, const struct cose_sign1 *message);
/* The three checks every signed document passes, in order: REASON_UNKNOWN_KEY, REASON_WRONG_ROLE,
 * REASON_BAD_SIGNATURE (also: alg). 0, a reason or -ENOMEM. */
int keyset_verify(const struct keyset *set, const struct cose_sign1 *message, enum role role);
