/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The documents in force, and what may replace them (contract section 2, "Versions", "keys",
 * "kid"). The same rules in gateway, lock and desk. Pure: the caller keeps the bytes on disk and
 * gives them back at start, see trust_restore.
 *
 * - Keys: a chain with one document per root, at most 16. The one in force names exactly one root,
 *   who signs the next. A successor by that root is newer whatever its iat, but a root's own
 *   documents rise. A root that handed over signs nothing more.
 * - Policy, lists (by URI, at most 4): iat rises, unless the signer of what is in force is no
 * longer named with its role; then one by a living kid is taken whatever its iat.
 * - Lower: REASON_OLDER; equal with another digest: REASON_CONFLICT; equal with the same: quiet.
 *   What is in force is quiet also after its signer died.
 * - Signed by a kid that is not named: REASON_UNKNOWN_KEY, and kept aside (the last per topic),
 *   tried again whenever the keys change.
 * - A document whose signer is named no longer stays in force, kept with the keys document that
 *   named it.
 * - REASON_TOO_LARGE: over the caps, over max, or a fifth list. REASON_CONFLICT also: another
 *   list's name under a new URI (topics and receipts know lists by name).
 */
#include "core/policy.h"
#include "core/result.h"
#include "core/revocation.h"

#define TRUST_LISTS  4
#define TRUST_CHAIN  16
#define TRUST_FORMER (1 + TRUST_LISTS)
/* Kept aside: per kind as many as there may be topics; beyond it the oldest of the kind goes. */
#define TRUST_PENDING (TRUST_CHAIN + 1 + TRUST_LISTS)
/* keys: root kid in hex; list: its name; policy: "" */
#define TRUST_NAME_CAP (ID_MAX + 1)

/* One document in force. The bytes are owned (malloc). */
struct held {
	uint8_t *document; /* NULL: none */
	size_t len;
	uint64_t iat, exp; /* exp 0: none */
	uint64_t changed;  /* lists; others: iat */
	uint8_t digest[DIGEST_LEN];
	uint8_t kid[DIGEST_LEN]; /* of the signer */
	uint8_t pub[PUBLIC_LEN]; /* the signer's key */
	/* Once the signer is named no longer: the last keys document that did (owned). Else NULL.
	 */
	uint8_t *under;
	size_t under_len;
	uint8_t under_pub[PUBLIC_LEN]; /* the root that signed it */
};

struct trust_list {
	char name[ID_MAX + 1];
	char uri[URI_MAX + 1];
	uint64_t ttl;
	struct held held;
	struct status_list *list; /* owned */
};

struct trust_pending {
	enum token_kind kind;
	char name[TRUST_NAME_CAP];
	uint8_t kid[DIGEST_LEN]; /* whom it waits for */
	uint8_t *document;
	size_t len;
};

struct trust {
	struct key anchor; /* the enrolled root; moves when a 17th makes the oldest go */
	bool anchored;	   /* false: a lock that nobody owns */
	size_t max;	   /* bytes of any document, inflated */
	struct held chain[TRUST_CHAIN]; /* keys documents, one per root, oldest first */
	size_t nchain;
	struct keyset keyset;		 /* of the last in chain; empty before the first */
	struct key former[TRUST_FORMER]; /* given back by trust_restore_former */
	size_t nformer;
	struct policy policy; /* the default until one comes */
	struct held policy_held;
	struct trust_list lists[TRUST_LISTS];
	size_t nlists;
	struct trust_pending pending[TRUST_PENDING];
	size_t npending;
};

/* What an offer did; filled for every verdict as far as known, for events. */
struct trust_change {
	enum token_kind kind;
	char name[ID_MAX + 1]; /* list name, else "" */
	uint64_t iat;
	uint8_t digest[DIGEST_LEN];
	uint8_t kid[DIGEST_LEN];
	bool applied;		 /* false with verdict 0: the same is in force already */
	bool kept;		 /* with REASON_UNKNOWN_KEY: kept aside */
	bool anchor_moved;	 /* trust->anchor is another: to be persisted */
	const struct held *held; /* what is in force now of this kind and name, or NULL */
};

/* max: LIST_BYTES_MAX for a gateway, a lock's own for a lock. 0 or -ENOMEM. */
int trust_new(size_t max, struct trust **ret);
void trust_free(struct trust *trust);
void trust_freep(struct trust **trust);
/* Sets the enrolled root and forgets every document. */
void trust_anchor(struct trust *trust, const struct key *root);
/* Forgets owner and documents (release). */
void trust_clear(struct trust *trust);

/*
 * Where a document came from: the MQTT topic promises a kind and a name, "document" topic and GATT
 * promise nothing.
 */
struct trust_topic {
	bool any;
	enum token_kind kind; /* TOKEN_KEYS, TOKEN_POLICY or TOKEN_LIST */
	char name[TRUST_NAME_CAP];
};

/*
 * Takes a keys, policy or list document. 0 (see ret->applied), a reason, or -ENOMEM (nothing
 * changed). Of another kind: REASON_WRONG_ROLE, or REASON_WRONG_TOPIC where the topic promised one
 * of the three. Nobody's lock: REASON_NOT_OWNED.
 */
int trust_offer(struct trust *trust, struct span document, const struct trust_topic *topic,
		struct trust_change *ret);
/*
 * After a keys document was applied, until it gives 0: tries what was kept aside, one at a time.
 * 1: one was taken off (*ret_verdict and *ret_change as from trust_offer); 0: nothing more to try;
 * -ENOMEM: it is still aside.
 */
int trust_retry(struct trust *trust, int *ret_verdict, struct trust_change *ret_change);

/*
 * Gives a stored document back, verified again; never kept aside. First the chain, oldest first,
 * then policy and lists with their held.under. Anything but 0 is damage, not absence. Documents
 * kept aside are then offered with trust_offer.
 *
 * After a keys document was applied the caller writes, in one transaction, the whole chain, anchor,
 * trust_former and each held.under: an earlier root that is named again cuts the chain back to its place, and
 * a 17th root makes the oldest go, whose follower becomes the anchor. Whoever slept through more
 * than 16 roots is claimed anew.
 */
int trust_restore(struct trust *trust, struct span document, struct span under,
		  struct trust_change *ret);
/*
 * The roots that signed what is kept as held.under: they may have left the chain since. Trusted
 * as the anchor is, and kept beside it; given back before the first trust_restore. The
 * number.
 */
size_t trust_former(const struct trust *trust, uint8_t ret[static TRUST_FORMER][PUBLIC_LEN]);
void trust_restore_former(struct trust *trust, const uint8_t pub[static PUBLIC_LEN]);

/* Does the keyset in force name this held document's signer with the role of its kind? */
bool trust_signer_alive(const struct trust *trust, enum token_kind kind, const struct held *held);
const struct trust_list *trust_find_list(const struct trust *trust, struct span uri);
const struct trust_list *trust_list_by_name(const struct trust *trust, struct span name);
/* What is in force as the applied map of receipts and info: the number, at most APPLIED_MAX. */
size_t trust_applied(const struct trust *trust, struct applied ret[static APPLIED_MAX]);
/* The keys document in force, or NULL. */
const struct held *trust_keys(const struct trust *trust);
/* The keys document that this root signed, for a lock that names it as owner; NULL if not in the
 * chain. */
const struct held *trust_keys_by(const struct trust *trust, struct span root_kid);
/* Kid of the root that signs the next keys document: the anchor before the first; NULL without. */
const uint8_t *trust_root_kid(const struct trust *trust);
