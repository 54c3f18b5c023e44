/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What time it is, when the clock may be wrong (contract section 6). Pure: every reading is passed
 * in.
 *
 * now = the synchronised clock, else floor + elapsed CLOCK_BOOTTIME since the floor was learned.
 * Reckoned time only lags: it judges exp, never nbf.
 */
#include "core/span.h"

#define CLOCK_STEP_MAX	 300	     /* seconds against CLOCK_BOOTTIME */
#define CLOCK_AHEAD_MAX	 (3 * 86400) /* beyond both reckoning and newest document: a problem */
#define CLOCK_NBF_LEEWAY 120
/* A synchronised clock behind the reckoning by less is believed: a fast crystal gains up to an hour
 * a year while nothing corrects it, and the reckoning keeps that gain. */
#define CLOCK_BEHIND_MAX 3600

struct clock_reading {
	uint64_t realtime; /* CLOCK_REALTIME, seconds */
	uint64_t boottime; /* CLOCK_BOOTTIME, seconds */
	bool ntp;	   /* what the system says now: NTPSynchronized */
};

enum clock_problem {
	CLOCK_FINE,
	CLOCK_NOT_SYNCHRONISED, /* the system has not said so since boot */
	CLOCK_STEPPED,		/* jumped since it said so */
	CLOCK_AHEAD,		/* over three days ahead of reckoning and newest document */
	CLOCK_BEHIND,		/* synchronised, but far behind the reckoning, which wins */
};

struct reckoning {
	uint64_t floor; /* newest root-signed iat, at least the build's and the enrolment's time */
	uint64_t floor_boot; /* boottime when it was learned */
	uint64_t newest;     /* iat of the newest document in force */
	bool begun;	     /* there was a reading */
	bool said;	     /* the system said "synchronised" since boot, and no step since */
	bool ntp_before;     /* the last reading's ntp, to see a fresh false -> true after a step */
	bool stepped;	     /* a step took said away */
	int64_t offset;	     /* realtime - boottime at the last reading */
};

struct time_verdict {
	uint64_t now;
	bool synchronised;
	enum clock_problem problem;
};

/* floor: the greatest of the build's time, the enrolment's and what was persisted. Where it was
 * persisted, the newest document's iat is given by reckoning_saw when it is read back. */
void reckoning_init(struct reckoning *r, uint64_t floor, uint64_t boottime);
/* A root-signed iat raises the floor; it never falls. true if it rose. */
bool reckoning_learn(struct reckoning *r, uint64_t root_iat, uint64_t boottime);
/* Any document's iat: only for the "ahead" rule. */
void reckoning_saw(struct reckoning *r, uint64_t iat);
/* Before all documents in force are told by reckoning_saw anew: a dropped key may have signed years
 * ahead, and vouches for nothing any more. */
void reckoning_forget_seen(struct reckoning *r);
/*
 * Takes a reading in (keeps said, stepped, offset) and judges it. Often enough that a step is seen
 * before ntp turns true again: on TFD_TIMER_CANCEL_ON_SET and before every decision.
 */
struct time_verdict reckoning_read(struct reckoning *r, const struct clock_reading *reading);
/* floor + elapsed, for the hourly write. */
uint64_t reckoning_reckoned(const struct reckoning *r, uint64_t boottime);
const char *clock_problem_word(
	enum clock_problem problem); /* "clock-not-synchronised", "clock-stepped", "clock-ahead",
					"clock-behind"; "" for CLOCK_FINE */
