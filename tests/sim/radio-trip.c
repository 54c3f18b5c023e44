/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fault at the n-th step of a dialogue. Steps are what crosses the air to or from a board: a
 * connection coming about, its services being read, then each packet of ATT, answers too.
 */
#include "sim/radio.h"

#include <errno.h>

static const char *const actions[TRIPS] = {
	[TRIP_NONE] = "off",	  [TRIP_ERROR] = "error",   [TRIP_DROP] = "drop",
	[TRIP_SILENT] = "silent", [TRIP_VANISH] = "vanish", [TRIP_GARBLE] = "garble",
};

int trip_arm(struct board *b, uint32_t at, const char *action)
{
	for (int i = 0; i < TRIPS; i++) {
		if (strcmp(action, actions[i]) != 0)
			continue;
		b->trip = (enum trip)i;
		b->trip_at = at;
		b->steps = 0;
		b->sprung = false;
		return 0;
	}
	return -EINVAL;
}

static enum trip step(struct radio *r, struct board *b)
{
	enum trip trip = b->trip;

	b->steps++;
	if (trip == TRIP_NONE || b->steps != b->trip_at)
		return TRIP_NONE;
	b->trip = TRIP_NONE;
	b->sprung = true;
	if (trip == TRIP_SILENT)
		b->silent = true;
	if (trip == TRIP_VANISH)
		b->away = true;
	if (trip == TRIP_SILENT || trip == TRIP_VANISH)
		link_check(r);
	return trip;
}

enum trip trip_step(struct radio *r, struct board *one, struct board *other)
{
	enum trip a = step(r, one), b = step(r, other);

	return a != TRIP_NONE ? a : b;
}
