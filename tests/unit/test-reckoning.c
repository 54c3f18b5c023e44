// SPDX-License-Identifier: Apache-2.0
/* Contract section 6, "Time": each row is a life of one box, told in readings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/reckoning.h"

#define T    1800000000ULL /* the truth when the story begins; boot time is 100 then */
#define DAY  86400ULL
#define HOUR 3600ULL

enum act { READ, LEARN, SAW, FORGET };

struct step {
	enum act act;
	uint64_t realtime; /* or the iat */
	uint64_t boottime;
	bool ntp;
	uint64_t now; /* expected */
	enum clock_problem problem;
};

struct story {
	const char *name;
	uint64_t floor; /* at boot time 100 */
	struct step steps[8];
	size_t nsteps;
};

#define STORY(...)                                                                                 \
	.steps = {__VA_ARGS__}, .nsteps = sizeof((struct step[]){__VA_ARGS__}) / sizeof(struct step)

static const struct story stories[] = {
	{"no RTC: 1970 is not believed, the floor is", T - DAY,
	 STORY({READ, 5, 100, false, T - DAY, CLOCK_NOT_SYNCHRONISED},
	       {READ, 65, 160, false, T - DAY + 60, CLOCK_NOT_SYNCHRONISED})},
	{"no RTC, then the first synchronisation steps by 57 years", T - DAY,
	 STORY({READ, 5, 100, false, T - DAY, CLOCK_NOT_SYNCHRONISED},
	       {READ, T + 10, 110, true, T + 10, CLOCK_FINE},
	       {READ, T + 20, 120, true, T + 20, CLOCK_FINE})},
	{"the step is seen one reading before the system says so", T - DAY,
	 STORY({READ, 5, 100, false, T - DAY, CLOCK_NOT_SYNCHRONISED},
	       {READ, T + 10, 110, false, T - DAY + 10, CLOCK_NOT_SYNCHRONISED},
	       {READ, T + 11, 111, true, T + 11, CLOCK_FINE})},
	{"an RTC that is right is not believed before the system says so", T - DAY,
	 STORY({READ, T, 100, false, T - DAY, CLOCK_NOT_SYNCHRONISED},
	       {READ, T + 1, 101, true, T + 1, CLOCK_FINE})},
	{"NTP out of reach for 72 hours: its word stands", T - DAY,
	 STORY({READ, T, 100, true, T, CLOCK_FINE},
	       {READ, T + HOUR, 100 + HOUR, false, T + HOUR, CLOCK_FINE},
	       {READ, T + 72 * HOUR + 20, 100 + 72 * HOUR, false, T + 72 * HOUR + 20, CLOCK_FINE},
	       {READ, T + 73 * HOUR, 100 + 73 * HOUR, true, T + 73 * HOUR, CLOCK_FINE})},
	{"NTP lies by a day ahead: within three days it is believed", T - HOUR,
	 STORY({READ, T + DAY, 100, true, T + DAY, CLOCK_FINE})},
	{"NTP lies by a day back: the floor wins", T - HOUR,
	 STORY({READ, T - DAY, 100, true, T - HOUR, CLOCK_BEHIND},
	       {READ, T - DAY + 50, 150, true, T - HOUR + 50, CLOCK_BEHIND})},
	{"the box is a little behind the desk that signed: no problem", T,
	 STORY({READ, T - 20, 100, true, T - 20, CLOCK_FINE})},
	{"a crystal that gained 50 minutes in a year does not outvote NTP", T + 3000,
	 STORY({READ, T, 100, true, T, CLOCK_FINE})},
	{"ten years ahead is a problem, not the truth", T - DAY,
	 STORY({READ, T + 3650 * DAY, 100, true, T - DAY, CLOCK_AHEAD},
	       {READ, T + 3650 * DAY + 30, 130, true, T - DAY + 30, CLOCK_AHEAD})},
	{"three days ahead of the reckoning exactly is not over three days", T - 3 * DAY,
	 STORY({READ, T, 100, true, T, CLOCK_FINE})},
	{"three days and a second are", T - 3 * DAY - 1,
	 STORY({READ, T, 100, true, T - 3 * DAY - 1, CLOCK_AHEAD})},
	{"three days ahead of what has elapsed by now, too", T - 3 * DAY,
	 STORY({READ, T + 100, 200, true, T + 100, CLOCK_FINE})},
	{"a second over is over, though the newest document is older still", T - 3 * DAY,
	 STORY({READ, T + 101, 200, true, T - 3 * DAY + 100, CLOCK_AHEAD})},
	{"three days ahead of the newest document exactly, far ahead of the reckoning",
	 T - 30 * DAY,
	 STORY({SAW, T - 3 * DAY, 0, 0, 0, 0}, {READ, T, 100, true, T, CLOCK_FINE},
	       {READ, T + 1, 101, true, T - 30 * DAY + 1, CLOCK_AHEAD})},
	{"an hour behind exactly is believed, a second more is not", T,
	 STORY({READ, T - HOUR, 100, true, T - HOUR, CLOCK_FINE},
	       {READ, T - HOUR, 101, true, T + 1, CLOCK_BEHIND})},
	{"a box off for ten days: ahead until a new document vouches", T - 10 * DAY,
	 STORY({READ, T, 100, true, T - 10 * DAY, CLOCK_AHEAD}, {SAW, T - HOUR, 0, 0, 0, 0},
	       {READ, T + 5, 105, true, T + 5, CLOCK_FINE})},
	{"a clock years ahead stays a problem with new documents", T - DAY,
	 STORY({SAW, T, 0, 0, 0, 0}, {READ, T + 3650 * DAY, 100, true, T - DAY, CLOCK_AHEAD})},
	{"what a thief signed years ahead vouches for nothing once it is forgotten", T - DAY,
	 STORY({SAW, T + 3650 * DAY, 0, 0, 0, 0},
	       {READ, T + 3650 * DAY, 100, true, T + 3650 * DAY, CLOCK_FINE},
	       {FORGET, 0, 0, 0, 0, 0}, {SAW, T, 0, 0, 0, 0},
	       {READ, T + 3650 * DAY + 30, 130, true, T - DAY + 30, CLOCK_AHEAD})},
	{"a jump ahead after synchronisation: reckoned from there on", T - HOUR,
	 STORY({READ, T, 100, true, T, CLOCK_FINE},
	       {READ, T + 301 + 10, 110, true, T - HOUR + 10, CLOCK_STEPPED},
	       {READ, T + 301 + 20, 120, true, T - HOUR + 20, CLOCK_STEPPED})},
	{"a jump back as well", T - HOUR,
	 STORY({READ, T, 100, true, T, CLOCK_FINE},
	       {READ, T - 301 + 10, 110, true, T - HOUR + 10, CLOCK_STEPPED})},
	{"five minutes exactly are no step", T - HOUR,
	 STORY({READ, T, 100, true, T, CLOCK_FINE}, {READ, T + 310, 110, true, T + 310, CLOCK_FINE},
	       {READ, T + 20, 120, true, T + 20, CLOCK_FINE})},
	{"a step and then a fresh synchronisation", T - HOUR,
	 STORY({READ, T, 100, true, T, CLOCK_FINE},
	       {READ, T + DAY, 110, false, T - HOUR + 10, CLOCK_STEPPED},
	       {READ, T + 20, 120, false, T - HOUR + 20, CLOCK_STEPPED},
	       {READ, T + 30, 130, true, T + 30, CLOCK_FINE},
	       {READ, T + 40, 140, true, T + 40, CLOCK_FINE})},
	{"a step that is itself the fresh synchronisation", T - HOUR,
	 STORY({READ, T, 100, true, T, CLOCK_FINE}, {READ, T + 10, 110, false, T + 10, CLOCK_FINE},
	       {READ, T + 620, 120, true, T + 620, CLOCK_FINE})},
	{"jumping there and back does not restore the word", T - HOUR,
	 STORY({READ, T, 100, true, T, CLOCK_FINE},
	       {READ, T + DAY, 101, true, T - HOUR + 1, CLOCK_STEPPED},
	       {READ, T + 2, 102, true, T - HOUR + 2, CLOCK_STEPPED})},
	{"a step before any synchronisation is just no synchronisation", T - HOUR,
	 STORY({READ, T, 100, false, T - HOUR, CLOCK_NOT_SYNCHRONISED},
	       {READ, T + DAY, 110, false, T - HOUR + 10, CLOCK_NOT_SYNCHRONISED})},
	{"a suspend of eight hours counts in boot time: no step", T - HOUR,
	 STORY({READ, T, 100, true, T, CLOCK_FINE},
	       {READ, T + 8 * HOUR, 100 + 8 * HOUR, false, T + 8 * HOUR, CLOCK_FINE})},
	{"a suspend without a synchronised clock", T - HOUR,
	 STORY({READ, 5, 100, false, T - HOUR, CLOCK_NOT_SYNCHRONISED},
	       {READ, 5 + 8 * HOUR, 100 + 8 * HOUR, false, T + 7 * HOUR, CLOCK_NOT_SYNCHRONISED})},
	{"a restored backup lags, and the next root document mends it", T - 60 * DAY,
	 STORY({READ, 5, 100, false, T - 60 * DAY, CLOCK_NOT_SYNCHRONISED},
	       {LEARN, T - 2 * DAY, 130, 0, true, 0},
	       {READ, 45, 140, false, T - 2 * DAY + 10, CLOCK_NOT_SYNCHRONISED})},
	{"an older root document does not set the floor back", T - DAY,
	 STORY({LEARN, T - 30 * DAY, 110, 0, false, 0},
	       {READ, 5, 120, false, T - DAY + 20, CLOCK_NOT_SYNCHRONISED})},
	{"one between floor and reckoning does not set the reckoning back", T,
	 STORY({LEARN, T + 50, 1100, 0, false, 0},
	       {READ, 5, 1200, false, T + 1100, CLOCK_NOT_SYNCHRONISED})},
	{"a boot time that runs backwards elapses nothing", T,
	 STORY({READ, 5, 40, false, T, CLOCK_NOT_SYNCHRONISED})},
	{"the ends of the number line do not wrap", UINT64_MAX - 5,
	 STORY({READ, 0, 200, false, UINT64_MAX, CLOCK_NOT_SYNCHRONISED},
	       {READ, UINT64_MAX, 0, true, UINT64_MAX, CLOCK_FINE},
	       {READ, 0, UINT64_MAX, true, UINT64_MAX, CLOCK_BEHIND})},
};

static void check(const struct story *story)
{
	struct reckoning r;

	reckoning_init(&r, story->floor, 100);
	for (size_t i = 0; i < story->nsteps; i++) {
		const struct step *s = &story->steps[i];
		struct clock_reading reading = {s->realtime, s->boottime, s->ntp};
		struct time_verdict v;

		switch (s->act) {
		case LEARN:
			if (reckoning_learn(&r, s->realtime, s->boottime) != (bool)s->now)
				fail_msg("%s: step %zu: learnt otherwise", story->name, i);
			break;
		case SAW:
			reckoning_saw(&r, s->realtime);
			break;
		case FORGET:
			reckoning_forget_seen(&r);
			break;
		case READ:
			v = reckoning_read(&r, &reading);
			if (v.now != s->now || v.problem != s->problem ||
			    v.synchronised != (s->problem == CLOCK_FINE))
				fail_msg("%s: step %zu: now %lld from the expected, problem '%s', "
					 "expected '%s'",
					 story->name, i, (long long)(v.now - s->now),
					 clock_problem_word(v.problem),
					 clock_problem_word(s->problem));
			break;
		}
	}
}

static void each_story_of_a_clock_ends_as_the_contract_says(void **state)
{
	for (size_t i = 0; i < sizeof(stories) / sizeof(stories[0]); i++)
		check(&stories[i]);
}

/* What is persisted hourly is the next life's floor. */
static void a_restart_goes_on_from_the_persisted_reckoning(void **state)
{
	struct clock_reading boot = {.realtime = 3, .boottime = 7};
	struct reckoning before, after;
	uint64_t persisted;

	reckoning_init(&before, T, 100);
	persisted = reckoning_reckoned(&before, 100 + 5 * HOUR);
	assert_int_equal(persisted, T + 5 * HOUR);
	reckoning_init(&after, persisted, 7);
	assert_int_equal(reckoning_read(&after, &boot).now, T + 5 * HOUR);
}

static void every_problem_has_a_word(void **state)
{
	assert_string_equal(clock_problem_word(CLOCK_FINE), "");
	assert_string_equal(clock_problem_word(CLOCK_NOT_SYNCHRONISED), "clock-not-synchronised");
	assert_string_equal(clock_problem_word(CLOCK_STEPPED), "clock-stepped");
	assert_string_equal(clock_problem_word(CLOCK_AHEAD), "clock-ahead");
	assert_string_equal(clock_problem_word(CLOCK_BEHIND), "clock-behind");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_story_of_a_clock_ends_as_the_contract_says),
		cmocka_unit_test(a_restart_goes_on_from_the_persisted_reckoning),
		cmocka_unit_test(every_problem_has_a_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
