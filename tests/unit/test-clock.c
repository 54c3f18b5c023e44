/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock against a timedate1 of the test's own on a real bus. Setting the clock would make the
 * kernel forget that it is synchronised, on the machine of whoever runs this: so the timer that
 * notices is an eventfd here. With LOCKBRIDGE_SET_CLOCK=1 in the environment, as root, the clock is
 * really set, to the time that it has.
 */
#include "private-bus.h"

#include <dbus/dbus.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "core/span.h"
#include "link/bus.h"
#include "link/clock.h"

#define NAME "org.freedesktop.timedate1"
#define PATH "/org/freedesktop/timedate1"

struct fixture {
	struct private_bus daemon;
	sd_event *event;
	struct bus *bus, *server;
	struct bus_object *object;
	struct bus_call *slot;
	struct clock *clock;
	unsigned changed, asked;
	int owned; /* 1: not yet; else what own_name said */
	bool answer, wrong_type, silent;
	DBusMessage *held; /* with silent: the call that waits */
};

/* --- the timer: these stand before the C library's --- */

static int fake_fd = -1;
static unsigned armed;

int timerfd_create(clockid_t id, int flags)
{
	if (id != CLOCK_REALTIME || getenv("LOCKBRIDGE_SET_CLOCK"))
		return (int)syscall(SYS_timerfd_create, id, flags);
	fake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	armed = 0;
	return fake_fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	if (fd != fake_fd)
		return (int)syscall(SYS_timerfd_settime, fd, flags, new, old);
	assert_int_equal(flags, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET);
	/* decades away */
	assert_true(new->it_value.tv_sec > time(NULL) + 1000000000);
	armed++;
	return 0;
}

static void set_the_clock(void)
{
	uint64_t one = 1;
	struct timespec now;

	if (fake_fd >= 0) {
		assert_int_equal(write(fake_fd, &one, sizeof(one)), sizeof(one));
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	assert_int_equal(clock_settime(CLOCK_REALTIME, &now), 0);
}

/* --- */

static void on_lost(void *user)
{
}
static const struct bus_ops bus_ops = {.lost = on_lost};

static void on_changed(void *user)
{
	struct fixture *f = user;

	f->changed++;
}
static const struct clock_ops clock_ops = {.changed = on_changed};

static void reply(struct fixture *f, DBusMessage *call, bool answer)
{
	const char *type = f->wrong_type ? "s" : "b", *text = "yes";
	DBusMessage *message = dbus_message_new_method_return(call);
	DBusMessageIter iter, value;
	dbus_bool_t yes = answer;

	dbus_message_iter_init_append(message, &iter);
	dbus_message_iter_open_container(&iter, DBUS_TYPE_VARIANT, type, &value);
	if (f->wrong_type)
		dbus_message_iter_append_basic(&value, DBUS_TYPE_STRING, &text);
	else
		dbus_message_iter_append_basic(&value, DBUS_TYPE_BOOLEAN, &yes);
	dbus_message_iter_close_container(&iter, &value);
	assert_int_equal(bus_send(f->server, message), 0);
	dbus_message_unref(message);
}

/* org.freedesktop.DBus.Properties.Get of NTPSynchronized. */
static bool on_call(struct DBusMessage *call, void *user)
{
	struct fixture *f = user;
	const char *face = "", *property = "";

	if (!dbus_message_is_method_call(call, "org.freedesktop.DBus.Properties", "Get"))
		return false;
	assert_true(dbus_message_get_args(call, NULL, DBUS_TYPE_STRING, &face, DBUS_TYPE_STRING,
					  &property, DBUS_TYPE_INVALID));
	assert_string_equal(face, NAME);
	assert_string_equal(property, "NTPSynchronized");
	f->asked++;
	if (f->silent && !f->held)
		f->held = dbus_message_ref(call);
	else if (!f->silent)
		reply(f, call, f->answer);
	return true;
}

static void on_owned(int r, void *user)
{
	struct fixture *f = user;

	f->owned = r;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	private_bus_start(&f->daemon);
	assert_true(sd_event_new(&f->event) >= 0);
	assert_int_equal(bus_open(f->event, f->daemon.address, &bus_ops, f, &f->bus), 0);
	assert_int_equal(bus_open(f->event, f->daemon.address, &bus_ops, f, &f->server), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	clock_free(f->clock);
	fake_fd = -1;
	if (f->held)
		dbus_message_unref(f->held);
	bus_unexport(f->object);
	bus_closep(&f->bus);
	bus_closep(&f->server);
	sd_event_unref(f->event);
	private_bus_stop(&f->daemon);
	free(f);
	return 0;
}

static void start_timedate(struct fixture *f)
{
	f->owned = 1;
	assert_int_equal(bus_export(f->server, PATH, on_call, f, &f->object), 0);
	assert_int_equal(bus_own_name(f->server, NAME, on_owned, f, &f->slot), 0);
	until(f->event, f->owned != 1);
	assert_int_equal(f->owned, 0);
}

static void start_clock(struct fixture *f)
{
	assert_int_equal(clock_new(f->event, f->bus, &clock_ops, f, &f->clock), 0);
	assert_int_equal(f->changed, 0); /* not from inside */
}

static void a_reading_is_the_systems_time(void **state)
{
	struct fixture *f = *state;
	struct clock_reading reading;
	struct timespec real, boot;
	uint64_t ms;

	assert_int_equal(clock_new(f->event, NULL, &clock_ops, f, &f->clock), 0);
	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	reading = clock_read(f->clock);
	assert_in_range(reading.realtime, (uint64_t)real.tv_sec, (uint64_t)real.tv_sec + 5);
	assert_in_range(reading.boottime, (uint64_t)boot.tv_sec, (uint64_t)boot.tv_sec + 5);
	assert_false(reading.ntp);
	ms = clock_boot_ms();
	assert_in_range(ms / 1000, reading.boottime, reading.boottime + 5);
}

static void without_timedate_it_is_not_synchronised(void **state)
{
	struct fixture *f = *state;

	start_clock(f);
	assert_false(clock_asked(f->clock));
	until(f->event, f->changed == 1);
	assert_true(clock_asked(f->clock));
	assert_false(clock_read(f->clock).ntp);
}

static void start_both(struct fixture *f)
{
	start_timedate(f);
	start_clock(f);
	until(f->event, f->changed == 1);
}

static void what_timedate_says_is_told_once(void **state)
{
	struct fixture *f = *state;

	f->answer = true;
	start_both(f);
	assert_true(clock_read(f->clock).ntp);
	assert_int_equal(f->asked, 1);
}

static void no_is_asked_again_soon(void **state)
{
	struct fixture *f = *state;
	uint64_t begin = now_ms();

	start_both(f);
	assert_false(clock_read(f->clock).ntp);
	f->answer = true;
	until(f->event, f->changed == 2);
	assert_true(clock_read(f->clock).ntp);
	assert_int_equal(f->asked, 2);
	/* not by asking all the time */
	assert_true(now_ms() - begin > 1000 * (CLOCK_ASK_SOON_S - 1));
}

static void an_answer_of_another_type_is_a_no(void **state)
{
	struct fixture *f = *state;

	f->wrong_type = true;
	start_both(f);
	assert_false(clock_read(f->clock).ntp);
}

static void it_can_be_freed_while_the_question_is_on_its_way(void **state)
{
	struct fixture *f = *state;

	f->silent = true;
	start_timedate(f);
	start_clock(f);
	until(f->event, f->asked == 1);
	clock_free(f->clock);
	f->clock = NULL;
	for (int i = 0; i < 20; i++)
		sd_event_run(f->event, 10000);
	assert_int_equal(f->changed, 0);
}

static void a_step_is_noticed_at_once_and_asked_about(void **state)
{
	struct fixture *f = *state;
	uint64_t begin;

	f->answer = true;
	start_both(f);
	f->answer = false;
	begin = now_ms();
	set_the_clock();
	until(f->event, clock_steps(f->clock) > 0);
	assert_true(now_ms() - begin < 2000);
	assert_true(f->changed >= 2);
	until(f->event, f->asked == 2);
	assert_false(clock_read(f->clock).ntp);
	/* and the next one too */
	set_the_clock();
	until(f->event, clock_steps(f->clock) > 1);
	if (fake_fd >= 0)
		assert_int_equal(armed, 3);
}

/* timesyncd sets the clock and says "synchronised" in one system call: nobody ever sees a no. */
static void a_yes_after_a_step_is_a_fresh_one(void **state)
{
	struct fixture *f = *state;

	f->answer = true;
	start_both(f);
	assert_true(clock_read(f->clock).ntp);
	set_the_clock();
	until(f->event, f->changed == 2);
	assert_false(clock_read(f->clock).ntp);
	until(f->event, f->changed == 3);
	assert_true(clock_read(f->clock).ntp);
	assert_int_equal(f->asked, 2);
}

static void an_answer_from_before_a_step_does_not_count(void **state)
{
	struct fixture *f = *state;

	f->silent = true;
	start_timedate(f);
	start_clock(f);
	until(f->event, f->held);
	set_the_clock();
	until(f->event, clock_steps(f->clock) > 0);
	f->silent = false;
	reply(f, f->held, true);
	until(f->event, clock_asked(f->clock));
	assert_false(clock_read(f->clock).ntp);
	assert_int_equal(f->asked, 2);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_reading_is_the_systems_time),
		test(without_timedate_it_is_not_synchronised),
		test(what_timedate_says_is_told_once),
		test(no_is_asked_again_soon),
		test(an_answer_of_another_type_is_a_no),
		test(it_can_be_freed_while_the_question_is_on_its_way),
		test(a_step_is_noticed_at_once_and_asked_about),
		test(a_yes_after_a_step_is_a_fresh_one),
		test(an_answer_from_before_a_step_does_not_count),
	};

	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
