/* SPDX-License-Identifier: Apache-2.0 */
/*
 * radio-sim as its clients see it: both sides of GATT.
 */
#include "radio-fixture.h"

#include <poll.h>

static void values_are_read_written_and_notified(void **state)
{
	struct world *w = world(state);
	char inbox[128], outbox[128];
	sd_bus_message *m = NULL;
	const uint8_t *data;
	size_t len;

	connect_lock(w);
	assert_string_equal(call(w->bus, find_chr(w, INFO), CHR, "ReadValue", &m, "a{sv}", 0),
			    "ok");
	assert_true(sd_bus_message_read_array(m, 'y', (const void **)&data, &len) > 0);
	assert_int_equal(len, 300);
	assert_int_equal(data[299], 299 % 256);
	sd_bus_message_unref(m);
	strcpy(inbox, find_chr(w, INBOX));
	strcpy(outbox, find_chr(w, OUTBOX));
	assert_string_equal(call(w->bus, outbox, CHR, "StartNotify", NULL, NULL), "ok");
	assert_true(flag(w->bus, outbox, CHR, "Notifying"));
	pass(w, 100, NULL, 0); /* the read changed Value too */
	w->changed = 0;
	assert_string_equal(write_value(w->bus, inbox, 510, NULL), "ok");
	pass(w, 10000, &w->changed, 1);
	assert_int_equal(w->changed, 1);
	assert_int_equal(w->len, 510);
	assert_int_equal(w->value[509], 0x5a);
	assert_string_equal(write_value(w->bus, inbox, 511, "request"),
			    "InvalidArguments: Invalid Length");
	assert_string_equal(write_value(w->bus, inbox, 511, "command"), "ok"); /* and lost */
	assert_string_equal(write_value(w->bus, inbox, 7, "command"), "ok");
	pass(w, 10000, &w->changed, 2);
	assert_int_equal(w->changed, 2);
	assert_int_equal(w->len, 7);
	assert_string_equal(write_value(w->bus, outbox, 1, "command"),
			    "ok"); /* a wrong flag, lost too */
	assert_string_equal(write_value(w->bus, outbox, 1, NULL),
			    "NotSupported: Operation is not supported");
	assert_string_equal(write_value(w->bus, find_chr(w, INFO), 1, "request"),
			    "NotPermitted: Write not permitted");
}

static void long_values_are_read_in_pieces(void **state)
{
	struct world *w = world(state);
	sd_bus_message *m = NULL;
	const uint8_t *data;
	size_t len;

	tell(w, "set mtu 23");
	tell(w, "latency read 1 2");
	connect_lock(w);
	assert_string_equal(call(w->bus, find_chr(w, INFO), CHR, "ReadValue", &m, "a{sv}", 0),
			    "ok");
	assert_true(sd_bus_message_read_array(m, 'y', (const void **)&data, &len) > 0);
	assert_int_equal(len, 300);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(data[i], i % 256);
	sd_bus_message_unref(m);
	assert_string_equal(call(w->bus, find_chr(w, INFO), CHR, "ReadValue", NULL, "a{sv}", 1,
				 "offset", "q", 400),
			    "InvalidArguments: Invalid offset");
}

static void sockets_carry_writes_and_notifications(void **state)
{
	struct world *w = world(state);
	char inbox[128], outbox[128];
	sd_bus_message *in = NULL, *out = NULL;
	int wfd, nfd;
	uint16_t mtu;
	uint8_t data[600] = {0xff, 2};
	struct pollfd p;

	connect_lock(w);
	strcpy(inbox, find_chr(w, INBOX));
	strcpy(outbox, find_chr(w, OUTBOX));
	assert_string_equal(call(w->bus, inbox, CHR, "AcquireWrite", &in, "a{sv}", 0), "ok");
	assert_true(sd_bus_message_read(in, "hq", &wfd, &mtu) > 0);
	assert_int_equal(mtu, 517);
	assert_string_equal(call(w->bus, inbox, CHR, "AcquireWrite", NULL, "a{sv}", 0),
			    "NotPermitted: Write acquired");
	assert_string_equal(write_value(w->bus, inbox, 1, NULL), "NotPermitted: Write acquired");
	assert_string_equal(call(w->bus, outbox, CHR, "AcquireWrite", NULL, "a{sv}", 0),
			    "NotSupported: Operation is not supported");
	assert_string_equal(call(w->bus, outbox, CHR, "AcquireNotify", &out, "a{sv}", 0), "ok");
	assert_true(sd_bus_message_read(out, "hq", &nfd, &mtu) > 0);
	for (int i = 0; i < 100; i++) {
		data[2] = (uint8_t)i;
		assert_int_equal(send(wfd, data, 244, 0), 244);
	}
	p = (struct pollfd){.fd = nfd, .events = POLLIN};
	for (int i = 0; i < 100; i++) {
		assert_int_equal(poll(&p, 1, 2000), 1);
		assert_int_equal(recv(nfd, data, sizeof(data), 0), 244);
		assert_int_equal(data[2], i); /* none lost, in order */
	}
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Disconnect", NULL, NULL), "ok");
	assert_int_equal(recv(nfd, data, sizeof(data), 0), 0);
	sd_bus_message_unref(in);
	sd_bus_message_unref(out);
	assert_false(flag(w->bus, LOCK, DEVICE, "Connected"));
	assert_string_equal(write_value(w->bus, inbox, 1, NULL), "Failed: Not connected");
}

static void subscription_outlives_a_reconnection(void **state)
{
	struct world *w = world(state);
	char outbox[128];

	connect_lock(w);
	strcpy(outbox, find_chr(w, OUTBOX));
	assert_string_equal(call(w->bus, outbox, CHR, "StartNotify", NULL, NULL), "ok");
	tell(w, "drop-link hci1");
	wait_flag(w, LOCK, DEVICE, "Connected", false);
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
	wait_flag(w, LOCK, DEVICE, "ServicesResolved", true);
	pass(w, 100, NULL, 0);
	w->changed = 0;
	assert_string_equal(write_value(w->bus, find_chr(w, INBOX), 5, "command"), "ok");
	pass(w, 10000, &w->changed, 1);
	assert_int_equal(w->changed, 1);
}

static void frozen_application_fails_the_write_and_keeps_the_link(void **state)
{
	struct world *w = world(state);
	char slow[128];
	uint64_t start;

	tell(w, "set app-timeout 300");
	connect_lock(w);
	strcpy(slow, find_chr(w, SLOW));
	kill(w->lock, SIGSTOP);
	start = now_ms();
	assert_string_equal(write_value(w->bus, slow, 3, NULL),
			    "Failed: Operation failed with ATT error: 0x0e");
	assert_in_range(now_ms() - start, 290, 5000);
	assert_true(flag(w->bus, LOCK, DEVICE, "Connected"));
	kill(w->lock, SIGCONT);
	assert_string_equal(write_value(w->bus, slow, 3, NULL), "ok");
}

static void killed_application_takes_its_services_along(void **state)
{
	struct world *w = world(state);
	char slow[128], again[128];

	connect_lock(w);
	strcpy(slow, find_chr(w, SLOW));
	w->removed = 0;
	private_end(&w->lock, SIGKILL);
	pass(w, 10000, &w->removed, 6);
	assert_true(w->removed >= 6);
	assert_non_null(strstr(write_value(w->bus, slow, 3, NULL), "UnknownObject"));
	assert_true(flag(w->bus, LOCK, DEVICE, "Connected"));
	start_lock(w);
	strcpy(again, await_chr(w, SLOW));
	assert_string_not_equal(again, slow); /* handles only grow */
	assert_string_equal(write_value(w->bus, again, 3, NULL), "ok");
}

static void application_may_take_sockets_too(void **state)
{
	struct world *w = world(state);
	char path[128];

	connect_lock(w);
	strcpy(path, find_chr(w, PIPE));
	assert_string_equal(call(w->bus, path, CHR, "StartNotify", NULL, NULL), "ok");
	pass(w, 100, NULL, 0);
	w->changed = 0;
	for (int i = 0; i < 5; i++)
		assert_string_equal(write_value(w->bus, path, 100, NULL), "ok");
	pass(w, 10000, &w->changed, 5);
	assert_int_equal(w->changed, 5);
	assert_int_equal(w->len, 100);
}

static void two_subscribers_are_two_signals(void **state)
{
	struct world *w = world(state);
	sd_bus *other = open_bus(NULL);
	char outbox[128];

	connect_lock(w);
	strcpy(outbox, find_chr(w, OUTBOX));
	assert_string_equal(call(w->bus, outbox, CHR, "StartNotify", NULL, NULL), "ok");
	assert_string_equal(call(other, outbox, CHR, "StartNotify", NULL, NULL), "ok");
	assert_string_equal(call(other, outbox, CHR, "AcquireNotify", NULL, "a{sv}", 0),
			    "InProgress: In Progress");
	w->changed = 0;
	assert_string_equal(write_value(w->bus, find_chr(w, INBOX), 5, NULL), "ok");
	pass(w, 10000, &w->changed, 2);
	barrier(w);
	assert_int_equal(w->changed, 2);
	sd_bus_flush_close_unref(other);
	pass(w, 100, NULL, 0);
	assert_true(flag(w->bus, outbox, CHR, "Notifying")); /* of the first, still */
	w->changed = 0;
	assert_string_equal(write_value(w->bus, find_chr(w, INBOX), 5, NULL), "ok");
	pass(w, 10000, &w->changed, 1);
	barrier(w);
	assert_int_equal(w->changed, 1);
	assert_string_equal(call(w->bus, outbox, CHR, "StopNotify", NULL, NULL), "ok");
	assert_false(flag(w->bus, outbox, CHR, "Notifying"));
	assert_string_equal(call(w->bus, outbox, CHR, "StopNotify", NULL, NULL),
			    "Failed: No notify session started");
}

static void what_was_said_is_logged_and_counted(void **state)
{
	struct world *w = world(state);
	char command[128], line[2048], want[64];
	FILE *f;

	snprintf(command, sizeof(command), "log %s/log", w->on.dir);
	tell(w, command);
	connect_lock(w);
	assert_string_equal(write_value(w->bus, find_chr(w, SLOW), 3, NULL), "ok");
	assert_string_equal(call(w->bus, find_chr(w, INFO), CHR, "ReadValue", NULL, "a{sv}", 0),
			    "ok");
	tell(w, "log off");
	f = fopen(command + strlen("log "), "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	assert_string_equal(strchr(line, ' '), " leaves hci0 hci1 - 5a5a5a\n");
	assert_non_null(fgets(line, sizeof(line), f));
	assert_string_equal(strchr(line, ' '), " write hci0 hci1 " SLOW " 5a5a5a\n");
	assert_non_null(fgets(line, sizeof(line), f));
	snprintf(want, sizeof(want), " read hci1 hci0 " INFO " 0001");
	assert_memory_equal(strchr(line, ' '), want, strlen(want));
	fclose(f);
	unlink(command + strlen("log "));
	assert_non_null(strstr(ask(w, "stats"),
			       "\"connects\":1,\"refused\":0,\"disconnects\":0,\"reads\":1,"
			       "\"writes\":1,\"commands\":0,\"notifications\":0,\"subscribes\":0,"
			       "\"bytes_sent\":3,\"bytes_received\":300"));
}

/* Connect, tables, then packets each way: the count begins with the order. */
static void a_fault_comes_at_its_step(void **state)
{
	struct world *w = world(state);
	char slow[128];

	discover(w, w->bus);
	tell(w, "trip hci1 1 error");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL),
			    "Failed: le-connection-abort-by-local");
	tell(w, "trip hci1 2 drop");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
	wait_flag(w, LOCK, DEVICE, "Connected", false);
	assert_false(flag(w->bus, LOCK, DEVICE, "ServicesResolved"));
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
	wait_flag(w, LOCK, DEVICE, "ServicesResolved", true);
	strcpy(slow, find_chr(w, SLOW));
	tell(w, "trip hci1 1 error");
	assert_string_equal(write_value(w->bus, slow, 3, NULL),
			    "Failed: Operation failed with ATT error: 0x0e");
	assert_string_equal(write_value(w->bus, slow, 3, NULL), "ok"); /* once */
	tell(w, "trip hci1 2 drop");				       /* the answer is not heard */
	assert_string_equal(write_value(w->bus, slow, 3, NULL),
			    "Failed: Operation failed with ATT error: 0x0e");
	wait_flag(w, LOCK, DEVICE, "Connected", false);
}

static void lost_packets_come_late_but_come(void **state)
{
	struct world *w = world(state);

	connect_lock(w);
	assert_string_equal(call(w->bus, find_chr(w, OUTBOX), CHR, "StartNotify", NULL, NULL),
			    "ok");
	tell(w, "loss hci1 50");
	pass(w, 100, NULL, 0);
	w->changed = 0;
	for (int i = 0; i < 20; i++)
		assert_string_equal(write_value(w->bus, find_chr(w, INBOX), 5, "command"), "ok");
	pass(w, 20000, &w->changed, 20);
	assert_int_equal(w->changed, 20);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(values_are_read_written_and_notified),
		T(long_values_are_read_in_pieces),
		T(sockets_carry_writes_and_notifications),
		T(subscription_outlives_a_reconnection),
		T(frozen_application_fails_the_write_and_keeps_the_link),
		T(killed_application_takes_its_services_along),
		T(application_may_take_sockets_too),
		T(two_subscribers_are_two_signals),
		T(what_was_said_is_logged_and_counted),
		T(a_fault_comes_at_its_step),
		T(lost_packets_come_late_but_come),
	};

	return find_program() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
