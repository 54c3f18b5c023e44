/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A desk restored from a backup (contract section 6): a document by its own key that it does not
 * know is taken over, so that a restore un-revokes nobody: every status but 0 of a list, the policy
 * as it is, and the iat, above which the desk signs from then on.
 */
#include "desk/desk.h"

enum takeover {
	TAKEOVER_KNOWN,	  /* ours, and in the registry already */
	TAKEOVER_DONE,	  /* ours, taken over now */
	TAKEOVER_FOREIGN, /* not signed by a key of this desk, or no document at all */
	TAKEOVER_DROPPED, /* by a key that this desk has dropped: it counts for nothing */
	TAKEOVER_LOCKED,  /* keys by our root that name keys which this desk does not have: it was
			     restored from before a rotation, and must not sign */
	TAKEOVER_AHEAD, /* ours, a policy or list, dated over a day ahead: what this desk forgot it
			     signed before now. The key is stolen, or this desk's clock is wrong. Not
			     taken over: a thief would say for ever who is revoked. */
};

#define TAKEOVER_AHEAD_S 86400

/* An enum takeover, or < 0. In one transaction; taken over and refused ones are in the log or
 * alarms. */
int takeover(const struct desk *desk, struct span document, uint64_t now);
