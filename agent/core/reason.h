/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Why something was refused or failed: one closed vocabulary for gateway, lock and desk
 * (contract sections 2, 4 and 7). The word is what goes on the wire.
 *
 * A function that decides returns 0 for yes, > 0 an enum reason, < 0 -errno ("could not tell").
 */
#include <stddef.h>

enum reason {
	REASON_NONE = 0,
	/* the document itself: shared by documents and authorizations */
	REASON_MALFORMED,
	REASON_UNKNOWN_KEY,
	REASON_WRONG_ROLE,
	REASON_BAD_SIGNATURE,
	/* documents only */
	REASON_OLDER,
	REASON_CONFLICT,
	REASON_TOO_LARGE,
	REASON_WRONG_TOPIC,
	/* authorizations, in the order of section 4 */
	REASON_WRONG_LOCK,
	REASON_RETAINED,
	REASON_REPLAYED,
	REASON_LIFETIME_TOO_LONG,
	REASON_NOT_YET_VALID,
	REASON_EXPIRED,
	REASON_CUT_OFF,
	REASON_NO_LIST,
	REASON_REVOKED,
	REASON_SUSPENDED,
	REASON_POSTURE_PIN,
	REASON_POSTURE_APP,
	REASON_POSTURE_STALE,
	REASON_PRESENTATION_MISSING,
	REASON_PRESENTATION_BAD,
	REASON_STALE_CHALLENGE,
	REASON_BUSY,
	/* failures: the decision was yes, the door did not follow */
	REASON_UNREACHABLE,
	REASON_TIMEOUT,
	REASON_JAMMED,
	REASON_LOCK_REFUSED,
	REASON_LOCK_ERROR,
	REASON_LOW_BATTERY,
	/* a lock's short answers and its ownership, section 7 */
	REASON_FRAME_GAP,
	REASON_NOT_OWNED,
	REASON_TRY_LATER,
	REASON_NOT_A_READER,
	REASON_COUNT_,
};

/* "revoked", "no-list", ...; "" for REASON_NONE; never NULL. */
const char *reason_word(enum reason reason);
/* REASON_NONE for "" and REASON_COUNT_ for a word that is not ours. */
enum reason reason_parse(const char *word, size_t len);
