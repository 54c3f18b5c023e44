/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What a lock's receipt says (contract section 7, claim -70004), for reading and for writing. */
#include "core/token.h"

#define APPLIED_MAX 6 /* keys, policy, four lists */

enum outcome {
	OUTCOME_NONE,
	OUTCOME_DONE,
	OUTCOME_FAILED,
	OUTCOME_UNKNOWN,
	OUTCOME_REFUSED,
	OUTCOME_APPLIED,
	OUTCOME_HELD, /* the lock has this document already, or a newer one (reason older) */
	OUTCOME_CLAIMED,
	OUTCOME_RELEASED,
	OUTCOME_HEAD, /* ends the answer to {"since": n} */
};

enum bolt { BOLT_UNKNOWN, BOLT_LOCKED, BOLT_UNLOCKED, BOLT_MOVING, BOLT_JAMMED };
enum via { VIA_NONE, VIA_RELAY, VIA_DOOR };

struct applied { /* "keys", "policy" or a list's name */
	char name[ID_MAX + 1];
	uint64_t iat;
	uint8_t digest[DIGEST_LEN];
};

struct result {
	enum outcome outcome;
	enum reason reason; /* REASON_NONE: not written */
	enum via via;
	enum bolt bolt;
	bool has_battery;
	uint8_t battery; /* percent */
	uint8_t challenge[CHALLENGE_LEN];
	uint64_t boot; /* how often the lock has started */
	struct applied applied[APPLIED_MAX];
	size_t napplied;
	bool has_n;
	uint64_t n; /* the kept counter */
	bool has_last;
	uint64_t last; /* head only: the highest n */
};

/*
 * 0 or REASON_MALFORMED. outcome, bolt, challenge, boot and applied must be there, and last in a
 * head and only there. Keys of the map that are not known are skipped; a reason that is not known
 * reads as lock-error, a bolt as unknown, a via as none; an outcome that is not known is malformed.
 */
int result_parse(struct span claim, struct result *ret);
/* One encoded item into w, deterministic. */
void result_put(struct cbor_writer *w, const struct result *result);
const char *outcome_word(enum outcome outcome);
enum outcome outcome_parse(struct span word);
const char *bolt_word(enum bolt bolt);
enum bolt bolt_parse(struct span word); /* BOLT_UNKNOWN for others */
const char *via_word(enum via via);
enum via via_parse(struct span word); /* VIA_NONE for others */

/* Parts of result and info. After cbor_well_formed; failure sticks in the reader or the writer. */
size_t applied_read(struct cbor_reader *r, struct applied ret[static APPLIED_MAX]);
void applied_put(struct cbor_writer *w, const struct applied *applied, size_t n);
bool percent_read(struct cbor_reader *r, uint8_t *ret);
bool challenge_read(struct cbor_reader *r, uint8_t ret[static CHALLENGE_LEN]);

/* The info characteristic. */
struct info {
	char id[ID_MAX + 1];
	unsigned profile;
	uint8_t key[PUBLIC_LEN];
	bool owned;
	uint8_t owner[DIGEST_LEN]; /* root kid */
	uint64_t max;		   /* bytes of any document, inflated */
	struct applied applied[APPLIED_MAX];
	size_t napplied;
	uint8_t challenge[CHALLENGE_LEN];
	uint8_t nonce[CHALLENGE_LEN]; /* a lock that shows none: its challenge */
};
int info_parse(struct span value, struct info *ret);		    /* 0 or REASON_MALFORMED */
int info_encode(const struct info *info, uint8_t *ret, size_t cap); /* length or -ENOSPC */
#define INFO_MAX       512	   /* a longer value is malformed: it would not fit one ATT read */
#define INFO_BYTES_MIN (16 * 1024) /* the least that max may say */
/* First 4 bytes of SHA-256 over the encoded applied map, as in the advert. */
void applied_hash(const struct applied *applied, size_t n, uint8_t ret[static 4]);
/* The state characteristic: {"bolt", "battery"}; empty for who is no reader (present false). */
struct lock_state {
	bool present;
	enum bolt bolt;
	bool has_battery;
	uint8_t battery;
};
int lock_state_parse(struct span value, struct lock_state *ret);
int lock_state_encode(const struct lock_state *state, uint8_t *ret, size_t cap);
/* {"since": n}, n at most 2^63-1 and nothing beside it */
int since_encode(uint64_t n, uint8_t *ret, size_t cap);
bool since_parse(struct span value, uint64_t *ret_n);
/* The advert's service data, 8 bytes: profile, flags (bit 0 unowned, bit 1 attention), random,
 * hash. Other flags are ignored. */
struct advert {
	unsigned profile;
	bool unowned, attention;
	uint8_t random[2];
	uint8_t applied[4];
};
#define ADVERT_LEN 8
bool advert_parse(struct span data, struct advert *ret);
void advert_encode(const struct advert *advert, uint8_t ret[static ADVERT_LEN]);
