/* SPDX-License-Identifier: Apache-2.0 */
/* bluez while another client uses the same bluetoothd, and what it falls back to. */
#include "bluez-fixture.h"

#include "link/bluez-internal.h"

struct other {
	unsigned done, failed;
	sd_bus_message *kept; /* an acquired channel lives as long as its message */
};

static void other_done(struct other *o)
{
	sd_bus_message_unref(o->kept);
}

static int on_other(sd_bus_message *m, void *user, sd_bus_error *e)
{
	struct other *o = user;
	const sd_bus_error *error = sd_bus_message_get_error(m);

	o->done++;
	o->failed += error != NULL;
	sd_bus_message_unref(o->kept);
	o->kept = sd_bus_message_ref(m);
	return 0;
}

/* The other client sits on the first lock's connection to the bus: it is a client like any other. */
static void other_call(struct world *w, struct other *o, const char *path, const char *face,
		       const char *member, const char *types, ...)
{
	sd_bus_message *m = NULL;
	va_list ap;

	assert_true(sd_bus_message_new_method_call(w->locks[1].bus, &m, "org.bluez", path, face,
						   member) >= 0);
	va_start(ap, types);
	assert_true(!types || sd_bus_message_appendv(m, types, ap) >= 0);
	va_end(ap);
	assert_true(sd_bus_call_async(w->locks[1].bus, NULL, m, on_other, o, 0) >= 0);
	sd_bus_message_unref(m);
}

static void device_path(struct world *w, char path[64])
{
	snprintf(path, 64, "/org/bluez/hci0/dev_%s", w->address[1]);
	for (char *c = path; *c; c++)
		*c = *c == ':' ? '_' : *c;
}

/* Where a characteristic is in the client's view: its number is BlueZ's business. */
static void chr_path(struct world *w, unsigned chr, char path[96])
{
	struct bluez_device *device = bluez_device_find(w->bluez, w->address[1]);
	struct bluez_object *object;

	assert_non_null(device);
	LIST_FOREACH(object, &device->objects, entry)
	if (strcmp(object->uuid, peripheral_table[chr].uuid) == 0) {
		snprintf(path, 96, "%s", object->path);
		return;
	}
	fail_msg("no such characteristic");
}

/* "Operation already in progress": Disconnect cancels it, and the next try is ours. */
static void connect_of_another_is_cancelled(void **state)
{
	struct world *w = *state;
	cleanup(other_done) struct other other = {0};
	char path[64];

	until(w->event, w->seen[1].count);
	device_path(w, path);
	radio(w, "latency connect 5000 5000");
	other_call(w, &other, path, BLUEZ_DEVICE, "Connect", NULL);
	/* Its Connect is pending when it got an answer to something behind it. */
	until(w->event, w->seen[1].count > 2);
	radio(w, "latency connect 25 41");
	assert_int_equal(link_to(w, 1, &w->a, false), 0);
	until(w->event, w->a.ready || w->a.closed);
	assert_int_equal(w->a.ready, 1);
	assert_int_equal(other.failed, 1);
	assert_true(bluez_counters(w->bluez)->connect_failed >= 1);
}

/* Connect would be answered at once, on a link that somebody else uses: it is cut first. */
static void link_of_another_is_not_taken_over(void **state)
{
	struct world *w = *state;
	cleanup(other_done) struct other other = {0};
	char path[64];

	until(w->event, w->seen[1].count);
	device_path(w, path);
	other_call(w, &other, path, BLUEZ_DEVICE, "Connect", NULL);
	until(w->event, other.done);
	assert_int_equal(other.failed, 0);
	until(w->event, bluez_device_find(w->bluez, w->address[1])->connected);
	assert_int_equal(link_to(w, 1, &w->a, false), 0);
	until(w->event, !bluez_device_find(w->bluez, w->address[1])->connected);
	until(w->event, w->a.ready || w->a.closed);
	assert_int_equal(w->a.ready, 1);
	assert_int_equal(bluez_counters(w->bluez)->connects, 1);
}

static void write_waits_for_the_write_of_another(void **state)
{
	struct world *w = *state;
	cleanup(other_done) struct other other = {0};
	char path[96];

	connect_first(w);
	chr_path(w, CONFIRM, path);
	radio(w, "latency write 400 400");
	other_call(w, &other, path, BLUEZ_GATT_CHR, "WriteValue", "aya{sv}", 2, 1, 2, 0);
	until(w->event, w->seen[2].count > 3);
	assert_int_equal(bluez_write(w->a.link, CONFIRM, span_str("mine"), true), 0);
	until(w->event, w->a.writes);
	assert_int_equal(w->a.sent[BLUEZ_SENT], 1);
	assert_int_equal(w->locks[0].attributes[CONFIRM].writes, 2);
	assert_memory_equal(w->locks[0].attributes[CONFIRM].value, "mine", 4);
}

static void endless_write_of_another_is_a_time_out(void **state)
{
	struct world *w = *state;
	cleanup(other_done) struct other other = {0};
	char path[96];

	connect_first(w);
	chr_path(w, CONFIRM, path);
	radio(w, "latency write 60000 60000");
	other_call(w, &other, path, BLUEZ_GATT_CHR, "WriteValue", "aya{sv}", 2, 1, 2, 0);
	until(w->event, w->seen[2].count > 3);
	assert_int_equal(bluez_write(w->a.link, CONFIRM, span_str("mine"), true), 0);
	until(w->event, w->a.closed);
	assert_int_equal(w->a.reason, BLUEZ_TIMEOUT);
	assert_int_equal(w->a.sent[BLUEZ_NOT_SENT], 1);
}

/* NotPermitted, "Notify acquired" */
static void notifications_held_by_another_are_refused(void **state)
{
	struct bluez_profile quiet = profile;
	struct world *w = *state;
	cleanup(other_done) struct other other = {0};
	char path[96];

	until(w->event, w->seen[1].count);
	quiet.chrs[OUTBOX].flags = 0;
	w->a = (struct told){.world = w};
	assert_int_equal(
		bluez_connect(w->bluez, w->address[1], &quiet, false, &link_ops, &w->a, &w->a.link),
		0);
	until(w->event, w->a.ready);
	chr_path(w, OUTBOX, path);
	other_call(w, &other, path, BLUEZ_GATT_CHR, "AcquireNotify", "a{sv}", 0);
	until(w->event, other.done);
	assert_int_equal(other.failed, 0);
	assert_int_equal(bluez_subscribe(w->a.link, OUTBOX), 0);
	until(w->event, w->a.subscriptions);
	assert_int_equal(w->a.subscribed_r, -EIO);
	assert_int_equal(w->a.closed, 0);
}

static void command_goes_without_a_channel_too(void **state)
{
	struct bluez_profile plain = profile;
	struct world *w = *state;

	until(w->event, w->seen[1].count);
	plain.chrs[INBOX].flags = 0;
	w->a = (struct told){.world = w};
	assert_int_equal(
		bluez_connect(w->bluez, w->address[1], &plain, false, &link_ops, &w->a, &w->a.link),
		0);
	until(w->event, w->a.ready);
	assert_int_equal(bluez_write(w->a.link, INBOX, span_str("command"), false), 0);
	assert_int_equal(bluez_write(w->a.link, INBOX, span_str("request"), true), 0);
	/* the notification may overtake the answer to the write */
	until(w->event, w->a.notes == 2 && w->a.sent[BLUEZ_SENT] == 2);
	assert_memory_equal(w->a.note, "request", 7);
}

/* AcquireWrite of another on our link: NotPermitted, "Write acquired". Surely not sent. */
static void write_channel_of_another_is_respected(void **state)
{
	struct bluez_profile plain = profile;
	struct world *w = *state;
	cleanup(other_done) struct other other = {0};
	char path[96];

	until(w->event, w->seen[1].count);
	plain.chrs[INBOX].flags = 0;
	w->a = (struct told){.world = w};
	assert_int_equal(
		bluez_connect(w->bluez, w->address[1], &plain, false, &link_ops, &w->a, &w->a.link),
		0);
	until(w->event, w->a.ready);
	chr_path(w, INBOX, path);
	other_call(w, &other, path, BLUEZ_GATT_CHR, "AcquireWrite", "a{sv}", 0);
	until(w->event, other.done);
	assert_int_equal(other.failed, 0);
	assert_int_equal(bluez_write(w->a.link, INBOX, span_str("command"), false), 0);
	until(w->event, w->a.writes);
	assert_int_equal(w->a.sent[BLUEZ_NOT_SENT], 1);
	assert_int_equal(w->locks[0].attributes[INBOX].writes, 0);
}

/* The filters of all clients are merged: what another asks for comes to us, and is not taken. */
static void discovery_of_another_does_no_harm(void **state)
{
	struct world *w = *state;
	cleanup(other_done) struct other other = {0};

	other_call(w, &other, "/org/bluez/hci0", BLUEZ_ADAPTER, "StartDiscovery", NULL);
	until(w->event, other.done);
	connect_first(w);
	bluez_disconnect(w->a.link);
	until(w->event, w->a.closed);
	w->seen[1].count = 0;
	until(w->event, w->seen[1].count > 2);
	assert_true(bluez_is_scanning(w->bluez));
}

/* A device that BlueZ knew before it advertised our service. */
static void device_that_becomes_ours_is_looked_up(void **state)
{
	struct world *w = *state;
	struct bluez_device *device;
	char path[64];

	until(w->event, w->seen[1].count);
	device = bluez_device_find(w->bluez, w->address[1]);
	bluez_device_absent(w->bluez, device); /* as if it had been foreign */
	assert_null(bluez_device_find(w->bluez, w->address[1]));
	w->seen[1].count = 0;
	until(w->event, w->seen[1].count);
	assert_int_equal(w->seen[1].rssi, -60);
	device_path(w, path);
	assert_string_equal(bluez_device_find(w->bluez, w->address[1])->path, path);
}

int main(void)
{
#define t(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		t(connect_of_another_is_cancelled),
		t(link_of_another_is_not_taken_over),
		t(write_waits_for_the_write_of_another),
		t(endless_write_of_another_is_a_time_out),
		t(notifications_held_by_another_are_refused),
		t(command_goes_without_a_channel_too),
		t(write_channel_of_another_is_respected),
		t(discovery_of_another_does_no_harm),
		t(device_that_becomes_ours_is_looked_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
