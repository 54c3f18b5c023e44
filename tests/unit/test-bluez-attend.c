/* SPDX-License-Identifier: Apache-2.0 */
/* bluez while it attends to some devices: what others say stays on the bus, and nothing gets lost. */
#include "bluez-fixture.h"

#include "link/bluez-internal.h"

static bool narrow(const struct world *w)
{
	return !w->bluez->attention.all;
}

/* Both locks are attended to, and heard: the others are left aside, first for narrow_ms. */
static void attend(struct world *w, unsigned wide_ms, unsigned narrow_ms)
{
	const char *const both[] = {w->address[1], w->address[2]};

	w->options.wide_ms = wide_ms;
	w->options.narrow_ms = narrow_ms;
	restart_bluez(w);
	assert_int_equal(bluez_attend(w->bluez, both, 2), 0);
	assert_false(narrow(w));
	until(w->event, narrow(w));
	assert_true(w->seen[1].count && w->seen[2].count);
}

static void run_for(struct world *w, unsigned ms)
{
	for (uint64_t end = now_ms() + ms; now_ms() < end;)
		sd_event_run(w->event, 10000);
}

static void foreign_adverts_stay_on_the_bus(void **state)
{
	struct world *w = *state;
	uint64_t before;

	radio(w, "flood 20 500");
	attend(w, 100, 20000);
	run_for(w, 50); /* what was on its way */
	before = bluez_counters(w->bluez)->foreign;
	w->seen[1].count = w->seen[2].count = 0;
	until(w->event, w->seen[1].count > 4 && w->seen[2].count > 4);
	assert_int_equal(bluez_counters(w->bluez)->foreign, before);
	assert_true(narrow(w));
}

static void others_are_listened_to_from_time_to_time(void **state)
{
	struct world *w = *state;
	uint64_t before;

	radio(w, "flood 20 500");
	attend(w, 100, 200);
	before = bluez_counters(w->bluez)->foreign;
	until(w->event, bluez_counters(w->bluez)->foreign > before + 10);
	until(w->event, narrow(w));
}

static void everybody_is_heard_where_nobody_is_attended_to(void **state)
{
	struct world *w = *state;

	attend(w, 50, 20000);
	assert_int_equal(bluez_attend(w->bluez, NULL, 0), 0);
	assert_false(narrow(w));
	run_for(w, 200);
	assert_false(narrow(w));
	radio(w, "flood 20 500");
	until(w->event, bluez_counters(w->bluez)->foreign > 50);
}

static void a_lock_that_is_not_heard_keeps_the_ears_open(void **state)
{
	struct world *w = *state;

	attend(w, 50, 200);
	radio(w, "silent hci2 on");
	run_for(w, 600);
	assert_false(narrow(w));
	run_for(w, 300);
	assert_false(narrow(w));
	radio(w, "silent hci2 off");
	until(w->event, narrow(w));
}

static void an_address_that_nobody_has_keeps_the_ears_open(void **state)
{
	struct world *w = *state;
	const char *const more[] = {w->address[1], "00:11:22:33:44:55"};

	attend(w, 50, 20000);
	assert_int_equal(bluez_attend(w->bluez, more, 2), 0);
	run_for(w, 300);
	assert_false(narrow(w));
}

static void a_link_is_made_and_lost_with_the_ears_shut(void **state)
{
	struct world *w = *state;

	attend(w, 50, 20000);
	connect_first(w);
	assert_true(narrow(w));
	radio(w, "drop-link hci1");
	until(w->event, w->a.closed);
	assert_int_equal(w->a.reason, BLUEZ_LOST);
	connect_first(w);
	bluez_disconnect(w->a.link);
	until(w->event, w->a.closed);
}

static void a_link_to_another_device_opens_them(void **state)
{
	struct world *w = *state;
	const char *const first[] = {w->address[1]};

	attend(w, 50, 20000);
	assert_int_equal(bluez_attend(w->bluez, first, 1), 0);
	until(w->event, narrow(w));
	assert_int_equal(link_to(w, 2, &w->b, false), 0);
	assert_false(narrow(w));
	until(w->event, w->b.ready || w->b.closed);
	assert_int_equal(w->b.ready, 1);
	run_for(w, 300);
	assert_false(narrow(w)); /* as long as the link stands */
	bluez_disconnect(w->b.link);
	until(w->event, w->b.closed && narrow(w));
}

static void a_device_forgotten_by_bluez_is_listened_to_again(void **state)
{
	struct world *w = *state;

	attend(w, 50, 20000);
	radio(w, "restart 50");
	until(w->event, w->downs);
	assert_false(narrow(w));
	until(w->event, w->up);
	locks_again(w);
	w->seen[1].count = w->seen[2].count = 0;
	until(w->event, narrow(w) && w->seen[1].count && w->seen[2].count);
	connect_first(w);
}

static void silence_is_noticed_with_the_ears_shut(void **state)
{
	struct world *w = *state;

	w->options.silent_after_ms = 900;
	attend(w, 50, 20000);
	assert_int_equal(w->bluez->options.narrow_ms, 300);
	radio(w, "scan-silent hci0 scan");
	until(w->event, w->rungs[BLUEZ_RUNG_SCAN]);
	until(w->event, w->rungs[BLUEZ_RUNG_NONE]);
}

int main(void)
{
#define t(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		t(foreign_adverts_stay_on_the_bus),
		t(others_are_listened_to_from_time_to_time),
		t(everybody_is_heard_where_nobody_is_attended_to),
		t(a_lock_that_is_not_heard_keeps_the_ears_open),
		t(an_address_that_nobody_has_keeps_the_ears_open),
		t(a_link_is_made_and_lost_with_the_ears_shut),
		t(a_link_to_another_device_opens_them),
		t(a_device_forgotten_by_bluez_is_listened_to_again),
		t(silence_is_noticed_with_the_ears_shut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
