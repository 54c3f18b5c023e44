// SPDX-License-Identifier: Apache-2.0
/* What happened, for people. See words.h. */
#include "desk/words.h"

#include <inttypes.h>
#include <stdio.h>

static const char *const reasons[REASON_COUNT_] = {
	[REASON_NONE] = "",
	[REASON_MALFORMED] = "the document is not well-formed",
	[REASON_UNKNOWN_KEY] = "it is signed by a key that the fleet does not know (any more)",
	[REASON_WRONG_ROLE] = "it is signed by a key of another role",
	[REASON_BAD_SIGNATURE] = "the signature is wrong",
	[REASON_OLDER] = "a newer one is in force",
	[REASON_CONFLICT] = "another one with the same time is in force",
	[REASON_TOO_LARGE] = "it is too large",
	[REASON_WRONG_TOPIC] = "it came on the wrong topic",
	[REASON_WRONG_LOCK] = "it is for another lock",
	[REASON_RETAINED] = "the broker had kept it: an authorization must not be retained",
	[REASON_REPLAYED] = "it was used before",
	[REASON_LIFETIME_TOO_LONG] = "it is valid for longer than the policy allows",
	[REASON_NOT_YET_VALID] = "it is not valid yet: are the clocks right?",
	[REASON_EXPIRED] = "it has expired",
	[REASON_CUT_OFF] = "the lock was changed after it was issued",
	[REASON_NO_LIST] = "there is no revocation list yet, and without one nothing opens",
	[REASON_REVOKED] = "the phone is revoked",
	[REASON_SUSPENDED] = "the phone is suspended",
	[REASON_POSTURE_PIN] = "the phone has no PIN",
	[REASON_POSTURE_APP] = "the phone's app is not an allowed one",
	[REASON_POSTURE_STALE] = "the phone was not checked recently",
	[REASON_PRESENTATION_MISSING] = "it is for presenting at the door",
	[REASON_PRESENTATION_BAD] = "the phone did not prove that it holds its key",
	[REASON_STALE_CHALLENGE] = "the lock has moved on meanwhile: try again",
	[REASON_BUSY] = "the lock is busy with another authorization: try again",
	[REASON_UNREACHABLE] = "the gateway cannot reach the lock by radio",
	[REASON_TIMEOUT] = "the lock did not answer in time",
	[REASON_JAMMED] = "the bolt is jammed",
	[REASON_LOCK_REFUSED] = "the lock refused",
	[REASON_LOCK_ERROR] = "the lock reports a fault",
	[REASON_LOW_BATTERY] = "the lock's battery is too low",
	[REASON_FRAME_GAP] = "a part was lost on the radio",
	[REASON_NOT_OWNED] = "the lock belongs to nobody yet",
	[REASON_TRY_LATER] = "the lock asks to try later",
	[REASON_NOT_A_READER] = "the gateway has no read authorization for the lock",
};

const char *words_reason(enum reason reason)
{
	return (unsigned)reason < REASON_COUNT_ && reasons[reason] ? reasons[reason] : "";
}

static const char *verb(enum scope scope)
{
	switch (scope) {
	case SCOPE_LOCK:
		return "lock";
	case SCOPE_UNLATCH:
		return "unlatch";
	default:
		return "unlock";
	}
}

static void receipt_words(const struct receipt *c, char ret[static WORDS_CAP])
{
	const struct result *r = &c->result;
	const char *because = words_reason(r->reason);

	if (c->has_cti)
		snprintf(ret, WORDS_CAP, "%s: %s%s%s, bolt %s%s%s", c->lock,
			 r->via == VIA_DOOR ? "at the door: " : "relayed: ",
			 outcome_word(r->outcome), r->has_n ? "" : " (nothing moved)",
			 bolt_word(r->bolt), *because ? ": " : "", because);
	else
		snprintf(ret, WORDS_CAP, "%s: %s%s%s", c->lock, outcome_word(r->outcome),
			 *because ? ": " : "", because);
}

const char *words_event(const struct event *e, const struct receipt *receipt,
			char ret[static WORDS_CAP])
{
	const char *because = words_reason(e->reason);

	switch (e->type) {
	case EVENT_STARTED:
		snprintf(ret, WORDS_CAP, "the gateway started (%.100s)", e->detail);
		break;
	case EVENT_AUTHORIZATION_ACCEPTED:
		snprintf(ret, WORDS_CAP, "%s: %s accepted, on its way", e->lock, verb(e->scope));
		break;
	case EVENT_AUTHORIZATION_REFUSED:
		snprintf(ret, WORDS_CAP, "%s: %s refused: %s", e->lock, verb(e->scope), because);
		break;
	case EVENT_AUTHORIZATION_OUTCOME:
		snprintf(ret, WORDS_CAP, "%s: %s %s%s%s", e->lock, verb(e->scope),
			 outcome_word(e->outcome), *because ? ": " : "", because);
		break;
	case EVENT_DOCUMENT_APPLIED:
	case EVENT_DOCUMENT_REFUSED:
		snprintf(ret, WORDS_CAP, "%s %s of %" PRIu64 " %s%s%s",
			 token_kind_word(e->document_kind), e->document.name, e->document.iat,
			 e->type == EVENT_DOCUMENT_APPLIED ? "in force" : "refused",
			 *because ? ": " : "", because);
		break;
	case EVENT_DOCUMENT_COPY:
		snprintf(ret, WORDS_CAP, "sent a copy of a document");
		break;
	case EVENT_LOCK_RECEIPT:
		if (receipt)
			receipt_words(receipt, ret);
		else
			snprintf(ret, WORDS_CAP, "%s: a receipt that is not believed", e->lock);
		break;
	case EVENT_LOCK_REACHABLE:
		snprintf(ret, WORDS_CAP, "%s: in reach again", e->lock);
		break;
	case EVENT_LOCK_UNREACHABLE:
		snprintf(ret, WORDS_CAP, "%s: out of reach", e->lock);
		break;
	case EVENT_RADIO_RECOVERY:
		snprintf(ret, WORDS_CAP, "the radio needed help: %.100s", e->detail);
		break;
	case EVENT_CLOCK:
		snprintf(ret, WORDS_CAP, "clock: %.100s", e->detail);
		break;
	case EVENT_DROPPED:
		snprintf(ret, WORDS_CAP, "%" PRIu64 " events were dropped for want of room",
			 e->count);
		break;
	default:
		snprintf(ret, WORDS_CAP, "%s", event_type_word(e->type));
	}
	return ret;
}
