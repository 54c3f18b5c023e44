// SPDX-License-Identifier: Apache-2.0
/*
 * Contract section 6, "Time". Three clocks are weighed: CLOCK_REALTIME, believed only while the
 * system's word for it stands; CLOCK_BOOTTIME, which counts through suspend and is never set; and
 * the floor, which the city's root signed. Reckoned time only lags.
 */
#include "core/reckoning.h"

static uint64_t add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void reckoning_init(struct reckoning *r, uint64_t floor, uint64_t boottime)
{
	*r = (struct reckoning){.floor = floor, .floor_boot = boottime, .newest = floor};
}

uint64_t reckoning_reckoned(const struct reckoning *r, uint64_t boottime)
{
	/* A boot time that ran backwards is no boot time of ours: nothing has elapsed. */
	return add(r->floor, boottime > r->floor_boot ? boottime - r->floor_boot : 0);
}

bool reckoning_learn(struct reckoning *r, uint64_t root_iat, uint64_t boottime)
{
	/* Against what has elapsed as well: an iat between floor and reckoning would set us back.
	 */
	if (root_iat <= reckoning_reckoned(r, boottime))
		return false;
	r->floor = root_iat;
	r->floor_boot = boottime;
	return true;
}

void reckoning_saw(struct reckoning *r, uint64_t iat)
{
	if (iat > r->newest)
		r->newest = iat;
}

void reckoning_forget_seen(struct reckoning *r)
{
	r->newest = r->floor;
}

/*
 * Does the system's word stand? It stands once given, also while NTP is out of reach: the crystal
 * loses seconds, not minutes. A step withdraws it, until the system says it afresh: that reading
 * may itself be the step, since the first synchronisation usually is one.
 */
static void weigh(struct reckoning *r, const struct clock_reading *reading)
{
	/* Unsigned on purpose: the difference of two offsets is right modulo 2^64. */
	uint64_t offset = reading->realtime - reading->boottime;
	int64_t moved = (int64_t)(offset - (uint64_t)r->offset);

	if (r->begun && (moved > CLOCK_STEP_MAX || moved < -CLOCK_STEP_MAX)) {
		r->stepped = r->stepped || r->said;
		r->said = false;
	}
	if (reading->ntp && !r->ntp_before) {
		r->said = true;
		r->stepped = false;
	}
	r->begun = true;
	r->ntp_before = reading->ntp;
	r->offset = (int64_t)offset;
}

static enum clock_problem judge(const struct reckoning *r, const struct clock_reading *reading)
{
	uint64_t reckoned = reckoning_reckoned(r, reading->boottime);

	if (!r->said)
		return r->stepped ? CLOCK_STEPPED : CLOCK_NOT_SYNCHRONISED;
	if (reading->realtime > add(reckoned, CLOCK_AHEAD_MAX) &&
	    reading->realtime > add(r->newest, CLOCK_AHEAD_MAX))
		return CLOCK_AHEAD;
	if (reckoned > reading->realtime && reckoned - reading->realtime > CLOCK_BEHIND_MAX)
		return CLOCK_BEHIND;
	return CLOCK_FINE;
}

struct time_verdict reckoning_read(struct reckoning *r, const struct clock_reading *reading)
{
	struct time_verdict v;

	weigh(r, reading);
	v.problem = judge(r, reading);
	v.synchronised = v.problem == CLOCK_FINE;
	v.now = v.synchronised ? reading->realtime : reckoning_reckoned(r, reading->boottime);
	return v;
}

const char *clock_problem_word(enum clock_problem problem)
{
	switch (problem) {
	case CLOCK_FINE:
		return "";
	case CLOCK_NOT_SYNCHRONISED:
		return "clock-not-synchronised";
	case CLOCK_STEPPED:
		return "clock-stepped";
	case CLOCK_AHEAD:
		return "clock-ahead";
	case CLOCK_BEHIND:
		return "clock-behind";
	}
	return "";
}
