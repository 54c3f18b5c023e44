// SPDX-License-Identifier: Apache-2.0
/*
 * lockbridgectl lock release: the city lets a lock go. The lock's own receipt, `released`, comes
 * first; then it leaves the configuration. A lock that is out of reach stays as it is.
 */
#include <string.h>

#include "ctl/door.h"

#define AGAIN "Nothing was changed.\nNext: "

/* 1: in reach, 0: configured and not in reach, < 0: not ours. */
static int in_reach(struct door *door, const char *lock)
{
	json_t *locks = door_ask(door, &(struct control_question){.method = "Locks"});
	const json_t *row;
	int found = -1;
	size_t i;

	json_array_foreach(locks, i, row)
	{
		if (strcmp(door_text(row, "id"), lock) == 0)
			found = door_yes(row, "reachable");
	}
	if (locks && found < 0)
		door_wrong(door,
			   "%s is none of the locks of %s. " AGAIN
			   "lockbridgectl locks shows which it has.",
			   lock, door->gateway);
	if (found == 0)
		door_wrong(door,
			   "%s is out of reach. " AGAIN "see that it has power, then do it again.",
			   lock);
	json_decref(locks);
	return found;
}

static int refused(struct door *door, const char *lock, const char *reason)
{
	if (strcmp(reason, "unknown-key") == 0 || strcmp(reason, "wrong-role") == 0 ||
	    strcmp(reason, "bad-signature") == 0)
		return door_wrong(door,
				  "The release of %s is not by the root that it obeys (%s). " AGAIN
				  "make it anew at the desk: lockbridge-desk lock release %s --out "
				  "FILE.",
				  lock, reason, lock);
	if (strcmp(reason, "older") == 0)
		return door_wrong(door,
				  "The release of %s is older than its claim. " AGAIN
				  "make it anew at the desk: lockbridge-desk lock release %s --out "
				  "FILE.",
				  lock, lock);
	if (strcmp(reason, "timeout") == 0)
		return door_wrong(door,
				  "%s gave no answer: it may be free, or not. Next: do it again.",
				  lock);
	return door_wrong(door, "%s was not released: %s. Nothing was changed.", lock, reason);
}

/* 1: with its receipt, 0: it was free already. */
static int hand_over(struct door *door, const struct door_document *document)
{
	const char *lock = document->lock;
	json_t *said;
	bool is_free;
	int r;

	door_say(door, "Releasing %s ...", lock);
	said = door_hand_over(door, document);
	if (!said)
		return -1;
	/* An answer that was lost on the way, and the second try found a lock that obeys nobody. */
	is_free = json_is_null(json_object_get(said, "owner"));
	r = strcmp(door_text(said, "outcome"), "released") == 0;
	if (!r && !is_free)
		r = refused(door, lock, door_text(said, "reason"));
	json_decref(said);
	return r;
}

static int done(const struct door *door, const char *lock, bool receipt)
{
	json_t *answer;

	if (door->ctl->json) {
		answer = json_pack("{s:s,s:s,s:b}", "lock", lock, "outcome", "released", "receipt",
				   receipt);
		json_dumpf(answer, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(answer);
		return CTL_FINE;
	}
	printf("%s is free: it obeys nobody, holds no document, and is out of the configuration. "
	       "Whoever presses its button can claim it.\n",
	       lock);
	if (!receipt)
		printf("It was free already, so there is no receipt for the desk: take it out "
		       "there, too (lockbridge-desk lock remove %s).\n",
		       lock);
	return CTL_FINE;
}

int door_release(struct door *door, const struct door_options *options)
{
	struct door_document document;
	int r = door_may_write(door);

	if (r == 0)
		r = door_read(door, options->file, TOKEN_RELEASE, &document);
	if (r < 0 || in_reach(door, document.lock) <= 0)
		return door_fail(door);
	r = hand_over(door, &document);
	if (r < 0)
		return door_fail(door);
	door_go_on(door);
	if (door_remove(door, document.lock) < 0) {
		door_say(door, "%s is free, but:", document.lock);
		return door_fail(door);
	}
	return done(door, document.lock, r);
}
