/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The "open" lock's protocol (contract section 7): what its characteristics carry, in both
 * directions. Pure: bytes in, bytes out; time, radio and disk are the caller's.
 *
 * Everything that a lock says is untrusted until its receipt verifies with the configured key:
 * info, state and short answers steer what is sent next, and never become an outcome.
 */
#include "core/frame.h"
#include "core/result.h"
#include "core/trust.h"

#define OPEN_SERVICE "2ff90001-f488-4501-a0b4-1a1753dee155"
#define OPEN_INFO    "2ff90002-f488-4501-a0b4-1a1753dee155"
#define OPEN_INBOX   "2ff90003-f488-4501-a0b4-1a1753dee155"
#define OPEN_OUTBOX  "2ff90004-f488-4501-a0b4-1a1753dee155"
#define OPEN_STATE   "2ff90005-f488-4501-a0b4-1a1753dee155"
#define OPEN_PROFILE 1

/* One connection's protocol state; embedded in the caller. */
struct open {
	char id[ID_MAX + 1];
	uint8_t key[PUBLIC_LEN];
	size_t frame; /* bytes of one write */
	struct frame_joiner in;
	struct frame_cutter out;
	uint8_t buf[TOKEN_SMALL_MAX];
};

void open_init(struct open *open, const char *id, const uint8_t key[static PUBLIC_LEN]);
/* A new connection: forgets what was half said. frame: bytes of one write, at least 8. */
void open_begin(struct open *open, size_t frame);

/* To the lock. The document must outlive the sending; a new one ends an unfinished one. */
void open_send(struct open *open, struct span document);
/* The next frame's length, 0: all given. *ret_last: nothing follows it. */
size_t open_next(struct open *open, uint8_t ret[static FRAME_MAX], bool *ret_last);
/* The presentation of the gateway as a reader. The length, or -errno. */
int open_present(const struct signer *reader, const char *lock,
		 const uint8_t nonce[static CHALLENGE_LEN], struct span cti, uint8_t *ret,
		 size_t cap);

/* From the lock. */
enum open_said {
	OPEN_MORE,    /* a frame of something longer */
	OPEN_SHORT,   /* code */
	OPEN_RECEIPT, /* verified: typ, signature by the configured key, iss; token and result */
	OPEN_RUBBISH, /* anything else; why in words */
};
struct open_answer {
	unsigned code; /* of enum frame_code, or beyond */
	struct span document;
	struct token token; /* points into struct open, until the next call */
	struct result result;
	const char *why;
};
enum open_said open_take(struct open *open, struct span notification, struct open_answer *ret);
/* 0; REASON_MALFORMED; REASON_WRONG_LOCK: well-formed, but another id, key or profile. */
int open_info(const struct open *open, struct span value, struct info *ret);
/* Why a short answer refused; REASON_NONE for "go on". */
enum reason open_short_reason(unsigned code);

/*
 * What a lock lacks (section 7, "Current", "Chain").
 */
struct open_holds { /* as its info or its last receipt said */
	bool has_owner;
	uint8_t owner[DIGEST_LEN];
	uint64_t max; /* bytes of any document, inflated; 0: not known */
	struct applied applied[APPLIED_MAX];
	size_t napplied;
	/* digests of documents that it refused; they are not offered again */
	uint8_t refused[8][DIGEST_LEN];
	size_t nrefused;
};
struct open_push {
	enum token_kind kind;
	struct span document; /* points into the trust */
	uint8_t digest[DIGEST_LEN];
};
enum open_need {
	OPEN_NOTHING,
	OPEN_PUSH,	    /* *ret is next */
	OPEN_ASK_INFO,	    /* its owner must be known first */
	OPEN_FOREIGN_OWNER, /* obeys a root that is not in our chain */
};
/* exact: also documents that were only signed again (for a connection that is there anyway). */
enum open_need open_lacks(const struct trust *trust, const struct open_holds *holds, bool exact,
			  struct open_push *ret);
bool open_current(const struct trust *trust, const struct open_holds *holds);
const struct applied *open_find(const struct open_holds *holds, const char *name);
