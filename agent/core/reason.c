// SPDX-License-Identifier: Apache-2.0
/* The closed vocabulary of refusals and failures, as the words that stand on the wire. */
#include "core/reason.h"

#include <string.h>

static const char *const words[REASON_COUNT_] = {
	[REASON_NONE] = "",
	[REASON_MALFORMED] = "malformed",
	[REASON_UNKNOWN_KEY] = "unknown-key",
	[REASON_WRONG_ROLE] = "wrong-role",
	[REASON_BAD_SIGNATURE] = "bad-signature",
	[REASON_OLDER] = "older",
	[REASON_CONFLICT] = "conflict",
	[REASON_TOO_LARGE] = "too-large",
	[REASON_WRONG_TOPIC] = "wrong-topic",
	[REASON_WRONG_LOCK] = "wrong-lock",
	[REASON_RETAINED] = "retained",
	[REASON_REPLAYED] = "replayed",
	[REASON_LIFETIME_TOO_LONG] = "lifetime-too-long",
	[REASON_NOT_YET_VALID] = "not-yet-valid",
	[REASON_EXPIRED] = "expired",
	[REASON_CUT_OFF] = "cut-off",
	[REASON_NO_LIST] = "no-list",
	[REASON_REVOKED] = "revoked",
	[REASON_SUSPENDED] = "suspended",
	[REASON_POSTURE_PIN] = "posture-pin",
	[REASON_POSTURE_APP] = "posture-app",
	[REASON_POSTURE_STALE] = "posture-stale",
	[REASON_PRESENTATION_MISSING] = "presentation-missing",
	[REASON_PRESENTATION_BAD] = "presentation-bad",
	[REASON_STALE_CHALLENGE] = "stale-challenge",
	[REASON_BUSY] = "busy",
	[REASON_UNREACHABLE] = "unreachable",
	[REASON_TIMEOUT] = "timeout",
	[REASON_JAMMED] = "jammed",
	[REASON_LOCK_REFUSED] = "lock-refused",
	[REASON_LOCK_ERROR] = "lock-error",
	[REASON_LOW_BATTERY] = "low-battery",
	[REASON_FRAME_GAP] = "frame-gap",
	[REASON_NOT_OWNED] = "not-owned",
	[REASON_TRY_LATER] = "try-later",
	[REASON_NOT_A_READER] = "not-a-reader",
};

const char *reason_word(enum reason reason)
{
	if ((unsigned)reason >= REASON_COUNT_)
		return "";
	return words[reason];
}

enum reason reason_parse(const char *word, size_t len)
{
	for (unsigned i = 0; i < REASON_COUNT_; i++)
		if (strlen(words[i]) == len && (len == 0 || memcmp(words[i], word, len) == 0))
			return (enum reason)i;
	return REASON_COUNT_;
}
