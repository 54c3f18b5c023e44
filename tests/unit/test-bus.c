/* SPDX-License-Identifier: Apache-2.0 */
/* bus against a real dbus-daemon: two connections of one process in one loop. */
#include "private-bus.h"

#include <dbus/dbus.h>
#include <errno.h>

#include "core/span.h"
#include "link/bus.h"

#define PATH  "/org/lockbridge/test"
#define FACE  "org.lockbridge.Test"
#define FLOOD 5000u

struct fixture {
	struct private_bus daemon;
	sd_event *event;
	struct bus *a, *b;
	unsigned lost;
	/* what came */
	unsigned replies, errors;
	char error[64], text[64];
	unsigned signals, out_of_order;
	bool known;
	unsigned changes;
	char owner[64];
	int named;
	unsigned names;
	DBusMessage *kept; /* a call that waits for its answer */
	struct bus_call *slot;
	struct bus_sub *sub, *other;
	struct bus_name *name;
	struct bus_value value;
	unsigned values;
	unsigned ticks;
	uint64_t last_tick, largest_gap;
};

static void on_lost(void *user)
{
	struct fixture *f = user;

	f->lost++;
}
static const struct bus_ops ops = {.lost = on_lost};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	private_bus_start(&f->daemon);
	assert_true(sd_event_new(&f->event) >= 0);
	assert_int_equal(bus_open(f->event, f->daemon.address, &ops, f, &f->a), 0);
	assert_int_equal(bus_open(f->event, f->daemon.address, &ops, f, &f->b), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->kept)
		dbus_message_unref(f->kept);
	bus_close(f->a);
	bus_close(f->b);
	sd_event_unref(f->event);
	private_bus_stop(&f->daemon);
	free(f);
	return 0;
}

static void on_reply(DBusMessage *reply, void *user)
{
	struct fixture *f = user;
	const char *text = "";

	f->replies++;
	assert_null(f->slot);
	if (dbus_message_get_type(reply) == DBUS_MESSAGE_TYPE_ERROR) {
		f->errors++;
		snprintf(f->error, sizeof(f->error), "%s", dbus_message_get_error_name(reply));
		return;
	}
	if (dbus_message_get_args(reply, NULL, DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID))
		snprintf(f->text, sizeof(f->text), "%s", text);
}

/* The far end: Echo answers at once, Keep later, anything else is not understood. */
static bool on_call(DBusMessage *call, void *user)
{
	struct fixture *f = user;
	DBusMessage *reply;
	const char *text = "echo";

	if (dbus_message_is_method_call(call, FACE, "Keep")) {
		f->kept = dbus_message_ref(call);
		return true;
	}
	if (!dbus_message_is_method_call(call, FACE, "Echo"))
		return false;
	reply = dbus_message_new_method_return(call);
	dbus_message_append_args(reply, DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID);
	assert_int_equal(bus_send(f->b, reply), 0);
	dbus_message_unref(reply);
	return true;
}

static int call(struct fixture *f, const char *member, unsigned timeout_ms)
{
	DBusMessage *m = dbus_message_new_method_call(bus_unique_name(f->b), PATH, FACE, member);
	int r = bus_call(f->a, m, timeout_ms, on_reply, f, &f->slot);

	dbus_message_unref(m);
	return r;
}

static void export_far_end(struct fixture *f, struct bus_object **object)
{
	assert_int_equal(bus_export(f->b, PATH, on_call, f, object), 0);
}

/* --- calls ----------------------------------------------------------------------------- */

static void call_is_answered(void **state)
{
	struct fixture *f = *state;
	struct bus_object *object, *second;

	export_far_end(f, &object);
	assert_int_equal(bus_export(f->b, PATH, on_call, f, &second), -EEXIST);
	assert_int_equal(call(f, "Echo", 5000), 0);
	assert_non_null(f->slot);
	until(f->event, f->replies);
	assert_int_equal(f->errors, 0);
	assert_string_equal(f->text, "echo");

	assert_int_equal(call(f, "Nonsense", 5000), 0);
	until(f->event, f->replies == 2);
	assert_string_equal(f->error, DBUS_ERROR_UNKNOWN_METHOD);

	bus_unexport(object);
	assert_int_equal(call(f, "Echo", 5000), 0);
	until(f->event, f->replies == 3);
	assert_int_equal(f->errors, 2);
}

static void answer_may_come_later(void **state)
{
	struct fixture *f = *state;
	struct bus_object *object;
	DBusMessage *reply;
	const char *text = "late";

	export_far_end(f, &object);
	assert_int_equal(call(f, "Keep", 5000), 0);
	until(f->event, f->kept);
	assert_int_equal(f->replies, 0);
	reply = dbus_message_new_method_return(f->kept);
	dbus_message_append_args(reply, DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID);
	assert_int_equal(bus_send(f->b, reply), 0);
	dbus_message_unref(reply);
	until(f->event, f->replies);
	assert_string_equal(f->text, "late");
}

static void silent_peer_times_out(void **state)
{
	struct fixture *f = *state;
	struct bus_object *object;
	uint64_t start = now_ms();

	export_far_end(f, &object);
	assert_int_equal(call(f, "Keep", 300), 0);
	until(f->event, f->replies);
	assert_string_equal(f->error, DBUS_ERROR_NO_REPLY);
	assert_in_range(now_ms() - start, 290, 5000);
}

static void cancelled_call_is_never_answered(void **state)
{
	struct fixture *f = *state;
	struct bus_object *object;

	export_far_end(f, &object);
	assert_int_equal(call(f, "Echo", 5000), 0);
	bus_call_cancel(f->slot);
	assert_null(f->slot);
	/* The next answer comes behind the one that nobody awaits any more. */
	assert_int_equal(call(f, "Nonsense", 5000), 0);
	until(f->event, f->replies);
	assert_int_equal(f->replies, 1);
	assert_int_equal(f->errors, 1);
}

/* --- names ----------------------------------------------------------------------------- */

static void on_named(int r, void *user)
{
	struct fixture *f = user;

	f->named = r;
	f->names++;
}

static void on_changed(const char *owner, void *user)
{
	struct fixture *f = user;

	f->changes++;
	snprintf(f->owner, sizeof(f->owner), "%s", owner ? owner : "");
}

static void name_has_one_owner(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(bus_own_name(f->a, FACE, on_named, f, NULL), 0);
	until(f->event, f->names == 1);
	assert_int_equal(f->named, 0);
	assert_int_equal(bus_own_name(f->b, FACE, on_named, f, NULL), 0);
	until(f->event, f->names == 2);
	assert_int_equal(f->named, -EEXIST);
}

static void owner_is_watched(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(bus_watch_name(f->a, FACE, on_changed, f, &f->name), 0);
	assert_int_equal(f->changes, 0);
	until(f->event, f->changes == 1);
	assert_string_equal(f->owner, "");
	assert_int_equal(bus_own_name(f->b, FACE, on_named, f, NULL), 0);
	until(f->event, f->changes == 2);
	assert_string_equal(f->owner, bus_unique_name(f->b));
	bus_close(f->b);
	f->b = NULL;
	until(f->event, f->changes == 3);
	assert_string_equal(f->owner, "");
	bus_unwatch_name(f->name);
}

/* --- signals --------------------------------------------------------------------------- */

static void on_signal(DBusMessage *signal, void *user)
{
	struct fixture *f = user;
	dbus_uint32_t n = 0;

	assert_true(dbus_message_get_args(signal, NULL, DBUS_TYPE_UINT32, &n, DBUS_TYPE_INVALID));
	if (n != f->signals)
		f->out_of_order++;
	f->signals++;
}

static void emit(struct bus *bus, const char *destination, const char *path, dbus_uint32_t n,
		 size_t filler)
{
	DBusMessage *signal = dbus_message_new_signal(path, FACE, "Tick");
	uint8_t *bytes = calloc(1, filler + 1);

	dbus_message_set_destination(signal, destination);
	dbus_message_append_args(signal, DBUS_TYPE_UINT32, &n, DBUS_TYPE_ARRAY, DBUS_TYPE_BYTE,
				 &bytes, (int)filler, DBUS_TYPE_INVALID);
	assert_int_equal(bus_send(bus, signal), 0);
	dbus_message_unref(signal);
	free(bytes);
}

static void signal_of_a_stranger_is_ignored(void **state)
{
	struct fixture *f = *state;
	struct bus_match match = {.interface = FACE, .member = "Tick", .path_namespace = PATH};
	struct bus *stranger = NULL;

	assert_int_equal(bus_open(f->event, f->daemon.address, &ops, f, &stranger), 0);
	assert_int_equal(bus_watch_name(f->a, FACE, on_changed, f, &f->name), 0);
	match.from = f->name;
	assert_int_equal(bus_subscribe(f->a, &match, on_signal, f, &f->sub), 0);
	assert_int_equal(bus_own_name(f->b, FACE, on_named, f, NULL), 0);
	until(f->event, f->changes == 2);
	emit(stranger, bus_unique_name(f->a), PATH, 77, 0);
	/* The stranger leaves behind its signal, so seeing it go means that the signal came. */
	bus_close(stranger);
	emit(f->b, NULL, PATH "/below", 0, 0);
	emit(f->b, NULL, PATH "elsewhere", 99, 0);
	emit(f->b, NULL, PATH, 1, 0);
	until(f->event, f->signals == 2);
	assert_int_equal(f->out_of_order, 0);
	bus_unsubscribe(f->sub);
	bus_unwatch_name(f->name);
}

static void on_replacing(DBusMessage *signal, void *user)
{
	struct fixture *f = user;
	struct bus_match match = {.interface = FACE};

	/* Remove both, add one: the new one must not see this message. */
	bus_unsubscribe(f->sub);
	bus_unsubscribe(f->other);
	f->other = NULL;
	f->known = true;
	assert_int_equal(bus_subscribe(f->a, &match, on_signal, f, &f->sub), 0);
}

static void on_never(DBusMessage *signal, void *user)
{
	fail_msg("a removed subscription fired");
}

static void subscriptions_change_inside_a_callback(void **state)
{
	struct fixture *f = *state;
	struct bus_match match = {.interface = FACE};

	assert_int_equal(bus_subscribe(f->a, &match, on_replacing, f, &f->sub), 0);
	assert_int_equal(bus_subscribe(f->a, &match, on_never, f, &f->other), 0);
	/* AddMatch is not awaited: a round trip on the same connection comes behind it. */
	assert_int_equal(bus_own_name(f->a, FACE, on_named, f, NULL), 0);
	until(f->event, f->names);
	emit(f->b, NULL, PATH, 5, 0);
	until(f->event, f->known);
	assert_int_equal(f->signals, 0);
	assert_int_equal(bus_own_name(f->a, FACE, on_named, f, NULL), 0);
	until(f->event, f->names == 2);
	emit(f->b, NULL, PATH, 0, 0);
	until(f->event, f->signals == 1);
	assert_int_equal(f->out_of_order, 0);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *user)
{
	struct fixture *f = user;
	uint64_t now = now_ms();

	if (f->last_tick && now - f->last_tick > f->largest_gap)
		f->largest_gap = now - f->last_tick;
	f->last_tick = now;
	f->ticks++;
	sd_event_source_set_time_relative(source, 5000);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

/* Far more than the socket holds is sent without a turn of the loop: libdbus then switches the
 * write watch on, beside the read watch. Everything arrives, in order, and a timer keeps its pace.
 */
static void back_pressure_loses_nothing(void **state)
{
	struct fixture *f = *state;
	struct bus_match match = {.interface = FACE};
	sd_event_source *timer = NULL;

	assert_int_equal(bus_subscribe(f->a, &match, on_signal, f, &f->sub), 0);
	assert_int_equal(bus_own_name(f->a, FACE, on_named, f, NULL), 0);
	until(f->event, f->names);
	for (unsigned n = 0; n < FLOOD; n++)
		emit(f->b, NULL, PATH, n, 2048);
	assert_true(sd_event_add_time_relative(f->event, &timer, CLOCK_MONOTONIC, 5000, 1, on_tick,
					       f) >= 0);
	until(f->event, f->signals == FLOOD);
	assert_int_equal(f->out_of_order, 0);
	assert_int_equal(f->lost, 0);
	assert_true(f->ticks > 1);
	assert_in_range(f->largest_gap, 0, 500);
	sd_event_source_disable_unref(timer);
}

/* --- properties ------------------------------------------------------------------------ */

static bool on_get(DBusMessage *get, void *user)
{
	struct fixture *f = user;
	DBusMessage *reply = dbus_message_new_method_return(get);
	DBusMessageIter iter, inner;
	const char *face, *property;
	dbus_bool_t yes = TRUE;
	const char *text = "hci0";
	dbus_int16_t rssi = -70;
	char type[2] = {0};
	const void *value;

	assert_true(dbus_message_is_method_call(get, DBUS_INTERFACE_PROPERTIES, "Get"));
	assert_true(dbus_message_get_args(get, NULL, DBUS_TYPE_STRING, &face, DBUS_TYPE_STRING,
					  &property, DBUS_TYPE_INVALID));
	type[0] = property[0];
	value = type[0] == 'b' ? (const void *)&yes : type[0] == 'n' ? (const void *)&rssi : &text;
	dbus_message_iter_init_append(reply, &iter);
	dbus_message_iter_open_container(&iter, DBUS_TYPE_VARIANT, type, &inner);
	dbus_message_iter_append_basic(&inner, type[0], value);
	dbus_message_iter_close_container(&iter, &inner);
	assert_int_equal(bus_send(f->b, reply), 0);
	dbus_message_unref(reply);
	return true;
}

static void on_value(const struct bus_value *value, void *user)
{
	struct fixture *f = user;

	f->value = *value;
	f->values++;
	snprintf(f->text, sizeof(f->text), "%s", value->s ? value->s : "");
	snprintf(f->error, sizeof(f->error), "%s", value->error ? value->error : "");
}

static void ask(struct fixture *f, const char *destination, const char *path, const char *property)
{
	unsigned before = f->values;

	assert_int_equal(
		bus_get_property(f->a, destination, path, FACE, property, on_value, f, &f->slot),
		0);
	until(f->event, f->values > before);
	assert_null(f->slot);
}

static void property_is_read(void **state)
{
	struct fixture *f = *state;
	const char *b = bus_unique_name(f->b);
	struct bus_object *object;

	assert_int_equal(bus_export(f->b, PATH, on_get, f, &object), 0);
	ask(f, b, PATH, "b");
	assert_int_equal(f->value.type, 'b');
	assert_true(f->value.b);
	ask(f, b, PATH, "n");
	assert_int_equal(f->value.type, 'i');
	assert_int_equal(f->value.i, -70);
	ask(f, b, PATH, "s");
	assert_int_equal(f->value.type, 's');
	assert_string_equal(f->text, "hci0");
	ask(f, "org.lockbridge.Nobody", PATH, "s");
	assert_int_equal(f->value.type, 0);
	assert_string_equal(f->error, DBUS_ERROR_SERVICE_UNKNOWN);
}

/* --- the connection -------------------------------------------------------------------- */

static void loss_of_the_bus_is_told_once(void **state)
{
	struct fixture *f = *state;
	struct bus_object *object;

	export_far_end(f, &object);
	assert_int_equal(call(f, "Keep", 60000), 0);
	until(f->event, f->kept);
	private_end(&f->daemon.pid, SIGKILL);
	until(f->event, f->lost == 2 && f->replies == 1);
	assert_int_equal(f->errors, 1);
	assert_int_equal(call(f, "Echo", 1000), -ENOTCONN);
	assert_null(f->slot);
	assert_int_equal(bus_own_name(f->a, FACE, on_named, f, NULL), -ENOTCONN);
	/* Nothing is left that would wake the loop. */
	assert_int_equal(sd_event_run(f->event, 50000), 0);
	assert_int_equal(f->lost, 2);
}

static void absent_bus_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct bus *none = NULL;

	assert_int_equal(bus_open(f->event, "unix:path=/nonexistent/bus", &ops, f, &none), -ENOENT);
	assert_int_equal(bus_open(f->event, "rubbish", &ops, f, &none), -EINVAL);
	assert_null(none);
}

static void environment_names_the_system_bus(void **state)
{
	struct fixture *f = *state;
	struct bus *c = NULL;

	assert_int_equal(setenv("DBUS_SYSTEM_BUS_ADDRESS", f->daemon.address, 1), 0);
	assert_int_equal(bus_open(f->event, NULL, &ops, f, &c), 0);
	unsetenv("DBUS_SYSTEM_BUS_ADDRESS");
	assert_string_not_equal(bus_unique_name(c), bus_unique_name(f->a));
	bus_close(c);
}

static void closing_drops_what_is_pending(void **state)
{
	struct fixture *f = *state;
	struct bus_match match = {.interface = FACE};
	struct bus_object *object;

	export_far_end(f, &object);
	assert_int_equal(bus_subscribe(f->a, &match, on_signal, f, &f->sub), 0);
	assert_int_equal(bus_watch_name(f->a, FACE, on_changed, f, &f->name), 0);
	assert_int_equal(call(f, "Keep", 5000), 0);
	bus_close(f->a);
	f->a = NULL;
	assert_null(f->slot);
	until(f->event, f->kept);
	assert_int_equal(f->replies, 0);
	assert_int_equal(f->changes, 0);
}

int main(void)
{
#define t(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		t(call_is_answered),
		t(answer_may_come_later),
		t(silent_peer_times_out),
		t(cancelled_call_is_never_answered),
		t(name_has_one_owner),
		t(owner_is_watched),
		t(signal_of_a_stranger_is_ignored),
		t(subscriptions_change_inside_a_callback),
		t(back_pressure_loses_nothing),
		t(property_is_read),
		t(loss_of_the_bus_is_told_once),
		t(absent_bus_is_an_error),
		t(environment_names_the_system_bus),
		t(closing_drops_what_is_pending),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
