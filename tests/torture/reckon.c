// SPDX-License-Identifier: Apache-2.0
/*
 * core/reckoning against a second reading of section 6, "Time": random lives of a box, in which its
 * clock is set, runs on, is suspended, loses its time server, hears the city, and starts again.
 *
 *   reckon SEED HISTORIES
 *
 * The model keeps no state: it looks at the whole life each time. Beside it, what must hold whatever
 * happens: the reckoning lags behind the truth and never falls, and a start goes on from what was
 * on disk. Prints the number of readings compared; what differs, and exit status 1.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/reckoning.h"

#define STEPS 60
#define HOUR  3600u
#define DAY   86400u
#define YEAR  (365u * DAY)

enum what { READING, LEARNT, SAW, FORGOT };

struct moment {
	enum what what;
	struct clock_reading reading; /* boottime: always; realtime: or the iat */
};

struct life { /* since the agent started */
	uint64_t floor, boottime;
	struct moment moments[STEPS * 3];
	size_t n;
};

/* --- the model -------------------------------------------------------------------------------- */

/* The best that any word of the root gives. */
static uint64_t model_reckoned(const struct life *l, uint64_t boottime)
{
	uint64_t best = l->floor + (boottime - l->boottime);

	for (size_t i = 0; i < l->n; i++) {
		const struct moment *m = &l->moments[i];
		uint64_t then = m->reading.realtime + (boottime - m->reading.boottime);

		if (m->what == LEARNT && then > best)
			best = then;
	}
	return best;
}

static bool is_step(const struct clock_reading *a, const struct clock_reading *b)
{
	int64_t real = (int64_t)(b->realtime - a->realtime);

	return llabs(real - (int64_t)(b->boottime - a->boottime)) > 300;
}

/* The system said so, for the first time or again, and nothing stepped since. *ret_ever: it once
 * did. */
static bool model_trusts(const struct life *l, bool *ret_ever)
{
	const struct clock_reading *last = NULL;
	bool trusts = false;

	*ret_ever = false;
	for (size_t i = 0; i < l->n; i++) {
		const struct clock_reading *r = &l->moments[i].reading;

		if (l->moments[i].what != READING)
			continue;
		if (last && is_step(last, r))
			trusts = false;
		if (r->ntp && (!last || !last->ntp))
			trusts = *ret_ever = true;
		last = r;
	}
	return trusts;
}

static uint64_t model_newest(const struct life *l)
{
	uint64_t newest = 0;

	for (size_t i = 0; i < l->n; i++) {
		if (l->moments[i].what == FORGOT)
			newest = 0;
		if (l->moments[i].what == SAW && l->moments[i].reading.realtime > newest)
			newest = l->moments[i].reading.realtime;
	}
	return newest;
}

/* Of the last moment, which is a reading. */
static struct time_verdict model(const struct life *l)
{
	const struct clock_reading *r = &l->moments[l->n - 1].reading;
	uint64_t reckoned = model_reckoned(l, r->boottime);
	struct time_verdict v = {.now = reckoned};
	bool ever;

	if (!model_trusts(l, &ever))
		v.problem = ever ? CLOCK_STEPPED : CLOCK_NOT_SYNCHRONISED;
	else if (r->realtime > reckoned + 3 * DAY && r->realtime > model_newest(l) + 3 * DAY)
		v.problem = CLOCK_AHEAD;
	else if (r->realtime + HOUR < reckoned)
		v.problem = CLOCK_BEHIND;
	else
		v = (struct time_verdict){r->realtime, true, CLOCK_FINE};
	return v;
}

/* --- lives ------------------------------------------------------------------------------------ */

static uint64_t state;

static uint64_t rnd(uint64_t below)
{
	/* splitmix64: any generator with a seed would do */
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return (z ^ (z >> 31)) % below;
}

struct box {
	struct life life;
	struct reckoning r;
	uint64_t truth, boottime, realtime, disk;
	bool ntp;
};

/* Around the limits more often than anywhere else. */
static uint64_t distance(void)
{
	static const uint32_t limits[] = {3, 120, 300, HOUR, DAY, 3 * DAY, 30 * DAY, 10 * YEAR};

	return limits[rnd(8)] + rnd(5) - (rnd(2) ? rnd(3) : 0);
}

static void note(struct box *b, enum what what, uint64_t time)
{
	b->life.moments[b->life.n++] = (struct moment){what, {time, b->boottime, b->ntp}};
}

static void start(struct box *b, uint64_t floor)
{
	b->life = (struct life){.floor = floor, .boottime = b->boottime};
	reckoning_init(&b->r, floor, b->boottime);
}

static void pass(struct box *b, uint64_t seconds)
{
	b->truth += seconds;
	b->boottime += seconds;
	b->realtime += seconds;
}

static void city_speaks(struct box *b, bool root)
{
	/* signed a moment or a month ago; somebody else may sign years ahead */
	uint64_t iat = b->truth - (rnd(3) ? rnd(60) : rnd(40 * DAY));

	if (root) {
		reckoning_learn(&b->r, iat, b->boottime);
		note(b, LEARNT, iat);
		return;
	}
	if (rnd(8) == 0)
		iat = b->truth + distance();
	if (rnd(6) == 0) {
		reckoning_forget_seen(&b->r);
		note(b, FORGOT, 0);
	}
	reckoning_saw(&b->r, iat);
	note(b, SAW, iat);
}

static void restart(struct box *b, bool machine)
{
	if (machine) {
		b->truth += rnd(4) ? rnd(HOUR) : rnd(YEAR); /* off, unseen */
		b->boottime = rnd(100);
		b->realtime = rnd(2) ? rnd(100) : b->truth + distance() - distance();
		b->ntp = false;
	}
	start(b, b->disk);
}

static void happen(struct box *b)
{
	switch (rnd(9)) {
	case 0: /* the network sets the clock, right or not */
		b->realtime = b->truth;
		if (rnd(3) == 0)
			b->realtime += rnd(2) ? distance() : -distance();
		b->ntp = true;
		break;
	case 1: /* somebody sets it */
		b->realtime += rnd(2) ? distance() : -distance();
		b->ntp = b->ntp && rnd(4) == 0; /* as seen by a slow observer */
		break;
	case 2:
		b->ntp = !b->ntp;
		break;
	case 3:
		city_speaks(b, true);
		break;
	case 4:
		city_speaks(b, false);
		break;
	case 5:
		b->disk = reckoning_reckoned(&b->r, b->boottime); /* hourly */
		break;
	case 6:
		if (rnd(3) == 0)
			restart(b, rnd(2));
		break;
	default:
		pass(b, rnd(4) ? rnd(300) : distance());
	}
}

/* The text of what is wrong, or NULL. */
static const char *look(struct box *b)
{
	struct clock_reading reading = {b->realtime, b->boottime, b->ntp};
	struct time_verdict v = reckoning_read(&b->r, &reading), wanted;
	uint64_t reckoned = reckoning_reckoned(&b->r, b->boottime);

	note(b, READING, b->realtime);
	wanted = model(&b->life);
	if (v.problem != wanted.problem || v.synchronised != wanted.synchronised)
		return "another problem than the model's";
	if (v.now != wanted.now)
		return "another time than the model's";
	if (reckoned > b->truth)
		return "the reckoning leads";
	if (reckoned < b->disk)
		return "the reckoning fell behind what was on disk";
	if (!v.synchronised && v.now != reckoned)
		return "a clock that is not believed is gone by";
	return NULL;
}

static size_t live(uint64_t seed)
{
	struct box *b = calloc(1, sizeof(*b));
	uint64_t floor = 0;

	if (!b)
		abort();
	state = seed;
	b->truth = 50 * (uint64_t)YEAR + rnd(YEAR);
	b->boottime = rnd(1000);
	b->realtime = rnd(2) ? b->truth : 0;
	b->disk = b->truth - rnd(100 * DAY);
	start(b, b->disk);
	for (size_t i = 0; i < STEPS; i++) {
		const char *wrong;
		uint64_t before = b->r.floor;

		happen(b);
		wrong = look(b);
		floor = b->life.n == 1 ? b->r.floor : floor; /* started anew */
		if (!wrong && (b->r.floor < floor || (b->life.n > 1 && b->r.floor < before)))
			wrong = "the floor fell";
		floor = b->r.floor;
		if (wrong) {
			printf("history %llu, step %zu: %s\n", (unsigned long long)seed, i, wrong);
			exit(1);
		}
	}
	free(b);
	return STEPS;
}

int main(int argc, char **argv)
{
	uint64_t seed, n, readings = 0;

	if (argc != 3) {
		fputs("reckon SEED HISTORIES\n", stderr);
		return 2;
	}
	seed = strtoull(argv[1], NULL, 10);
	n = strtoull(argv[2], NULL, 10);
	for (uint64_t i = 0; i < n; i++)
		readings += live(seed * 1000000007 + i);
	printf("%llu readings\n", (unsigned long long)readings);
	return 0;
}
