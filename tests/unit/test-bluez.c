/* SPDX-License-Identifier: Apache-2.0 */
/* Adapter, adverts, daemon and recovery of bluez, against radio-sim. */
#include "bluez-fixture.h"

#include <sys/resource.h>

static uint64_t cpu_us(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000 +
	       (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static void adapter_is_switched_on_and_adverts_come(void **state)
{
	struct world *w = *state;

	assert_string_equal(w->detail, "hci0 powered");
	until(w->event, w->seen[1].count > 2 && w->seen[2].count > 2);
	assert_int_equal(w->seen[1].rssi, -60);
	assert_int_equal(w->seen[1].len, 8);
	assert_memory_equal(w->seen[1].data, w->locks[0].data, 8);
	assert_memory_equal(w->seen[2].data, w->locks[1].data, 8);
	assert_int_equal(bluez_rssi(w->bluez, w->address[1]), -60);
	assert_int_equal(bluez_rssi(w->bluez, "00:11:22:33:44:55"), BLUEZ_RSSI_UNKNOWN);
	assert_true(bluez_is_scanning(w->bluez));
	assert_int_equal(w->ups, 1);
}

static void changed_advert_is_heard(void **state)
{
	struct world *w = *state;

	until(w->event, w->seen[1].count);
	radio(w, "rssi hci1 -81");
	w->locks[0].data[3] = 99;
	sd_bus_emit_properties_changed(w->locks[0].bus, "/adv", "org.bluez.LEAdvertisement1",
				       "ServiceData", NULL);
	until(w->event, w->seen[1].data[3] == 99 && w->seen[1].rssi == -81);
}

static void absent_adapter_is_told(void **state)
{
	struct world *w = *state;

	w->options.adapter = "hci9";
	assert_int_equal(bluez_new(w->event, w->bus, &w->options, &bluez_ops, w, &w->bluez), 0);
	until(w->event, w->downs);
	assert_string_equal(w->detail, " no Bluetooth adapter hci9");
	assert_int_equal(link_to(w, 1, &w->a, false), -ENETDOWN);
}

static void first_adapter_is_taken(void **state)
{
	struct world *w = *state;

	w->options.adapter = NULL;
	start_bluez(w);
	assert_string_equal(w->detail, "hci0 powered");
}

static void adapter_pulled_and_back(void **state)
{
	struct world *w = *state;

	connect_first(w);
	radio(w, "adapter remove hci0");
	until(w->event, !w->up && w->a.closed);
	assert_true(w->a.reason == BLUEZ_ADAPTER_DOWN || w->a.reason == BLUEZ_LOST);
	assert_int_equal(link_to(w, 1, &w->b, false), -ENETDOWN);
	w->seen[1].count = 0;
	radio(w, "adapter add hci0");
	until(w->event, w->up && w->seen[1].count);
	connect_first(w);
	assert_int_equal(bluez_counters(w->bluez)->adapter_losses, 1);
}

static void adapter_switched_off_is_switched_on(void **state)
{
	struct world *w = *state;

	connect_first(w);
	w->seen[1].count = 0;
	radio(w, "power hci0 off");
	until(w->event, w->a.closed && w->ups == 2 && w->seen[1].count);
	assert_true(w->a.reason == BLUEZ_ADAPTER_DOWN || w->a.reason == BLUEZ_LOST);
	connect_first(w);
}

static void locks_again(struct world *w)
{
	for (unsigned i = 0; i < 2; i++) {
		w->locks[i].registered = 0;
		power_on(w, i + 1);
		assert_true(peripheral_register(&w->locks[i]) >= 0);
	}
}

static void daemon_restart_is_survived(void **state)
{
	struct world *w = *state;

	connect_first(w);
	/* The write is at the lock, its answer is not: nobody knows. The second was never begun. */
	w->locks[0].mute = true;
	assert_int_equal(bluez_write(w->a.link, CONFIRM, span_str("first"), true), 0);
	assert_int_equal(bluez_write(w->a.link, CONFIRM, span_str("second"), true), 0);
	until(w->event, w->locks[0].attributes[CONFIRM].writes);
	radio(w, "restart 300");
	until(w->event, !w->up && w->a.closed);
	assert_int_equal(w->a.reason, BLUEZ_ADAPTER_DOWN);
	assert_int_equal(w->a.sent[BLUEZ_UNKNOWN], 1);
	assert_int_equal(w->a.sent[BLUEZ_NOT_SENT], 1);
	w->locks[0].mute = false;
	until(w->event, w->up);
	assert_int_equal(bluez_counters(w->bluez)->daemon_restarts, 1);
	locks_again(w);
	w->seen[1].count = 0;
	connect_first(w);
}

static void daemon_may_come_later(void **state)
{
	struct world *w = *state;

	radio(w, "restart 400");
	assert_int_equal(bluez_new(w->event, w->bus, &w->options, &bluez_ops, w, &w->bluez), 0);
	until(w->event, w->downs);
	until(w->event, w->up);
}

/* A client that died leaves its connection behind; the lock would wait 30 s. */
static void leftover_link_is_cut_at_start(void **state)
{
	struct world *w = *state;
	struct bus *bus = NULL;

	connect_first(w);
	/* The first one stands for a dead client: BlueZ tells links of no client from another. */
	assert_int_equal(bus_open(w->event, w->on.address, &bus_ops, w, &bus), 0);
	assert_true(connected(w, 1));
	{
		struct bluez *second = NULL;

		w->up = false;
		assert_int_equal(bluez_new(w->event, bus, &w->options, &bluez_ops, w, &second), 0);
		until(w->event, bluez_counters(second)->leftovers == 1);
		until(w->event, w->a.closed);
		assert_false(connected(w, 1));
		bluez_free(second);
	}
	bus_close(bus);
}

/* It may have died while it was connecting: then the connection comes up after the start. */
static void leftover_link_that_comes_late_is_cut(void **state)
{
	struct world *w = *state;
	struct bus *bus = NULL;
	struct bluez *dead = NULL;

	until(w->event, w->seen[1].count);
	assert_int_equal(bus_open(w->event, w->on.address, &bus_ops, w, &bus), 0);
	w->up = false;
	assert_int_equal(bluez_new(w->event, bus, &w->options, &bluez_ops, w, &dead), 0);
	until(w->event, w->up);
	w->b = (struct told){.world = w};
	assert_int_equal(
		bluez_connect(dead, w->address[1], &profile, false, &link_ops, &w->b, &w->b.link),
		0);
	until(w->event, bluez_counters(w->bluez)->leftovers > 0);
	bluez_free(dead);
	bus_close(bus);
	until(w->event, !connected(w, 1));
	connect_first(w);
}

static void freed_links_are_disconnected(void **state)
{
	struct world *w = *state;

	connect_first(w);
	bluez_free(w->bluez);
	w->bluez = NULL;
	assert_int_equal(w->a.closed, 0);
	until(w->event, !connected(w, 1));
}

static void loss_of_the_bus_leaves_no_dangling_link(void **state)
{
	struct world *w = *state;

	connect_first(w);
	assert_int_equal(bluez_read(w->a.link, INFO), 0);
	private_end(&w->on.pid, SIGKILL);
	until(w->event, w->lost);
	bluez_free(w->bluez);
	w->bluez = NULL;
	assert_int_equal(w->a.closed, 0);
}

/* Ten thousand foreign adverts: ours come through, and none of theirs is kept. */
static void foreign_flood_is_cheap(void **state)
{
	struct world *w = *state;
	uint64_t before, foreign, spent;

	until(w->event, w->seen[1].count);
	radio(w, "flood 500 3000");
	until(w->event, bluez_counters(w->bluez)->foreign > 100);
	before = cpu_us();
	foreign = bluez_counters(w->bluez)->foreign;
	w->seen[1].count = 0;
	until(w->event, bluez_counters(w->bluez)->foreign - foreign > 3000);
	spent = cpu_us() - before;
	print_message("%.1f us of CPU per foreign signal\n",
		      (double)spent / (double)(bluez_counters(w->bluez)->foreign - foreign));
	assert_true(w->seen[1].count > 0);
	assert_int_equal(w->strangers, 0);
	assert_int_equal(bluez_counters(w->bluez)->devices_dropped, 0);
	connect_first(w);
}

/* Anybody on the system bus can send such a signal. */
static void forged_advert_is_ignored(void **state)
{
	struct world *w = *state;
	sd_bus_message *m = NULL;
	const char *unique;

	until(w->event, w->seen[1].count);
	unique = bus_unique_name(w->bus);
	assert_true(sd_bus_message_new_signal(w->probe, &m, "/",
					      "org.freedesktop.DBus.ObjectManager",
					      "InterfacesAdded") >= 0);
	assert_true(sd_bus_message_append(m, "oa{sa{sv}}", "/org/bluez/hci0/dev_66", 1,
					  "org.bluez.Device1", 3, "Address", "s",
					  "66:66:66:66:66:66", "RSSI", "n", -20, "ServiceData",
					  "a{sv}", 1, SERVICE, "ay", 2, 6, 6) >= 0);
	assert_true(sd_bus_send_to(w->probe, m, unique, NULL) >= 0);
	sd_bus_message_unref(m);
	sd_bus_flush(w->probe);
	w->seen[1].count = 0;
	until(w->event, w->seen[1].count > 3);
	assert_int_equal(w->strangers, 0);
}

/* Many who claim to be ours fill the table, not the memory; a connect finds a place. */
static void imitators_fill_a_bounded_table(void **state)
{
	struct world *w = *state;
	struct bluez_link *links[140];
	unsigned n = 0;

	w->a.world = w;
	for (; n < ARRAY_SIZE(links); n++) {
		char address[BLUEZ_ADDRESS_SIZE];

		snprintf(address, sizeof(address), "66:66:66:66:66:%02X", n);
		if (bluez_connect(w->bluez, address, &profile, false, &link_ops, &w->a, &links[n]) <
		    0)
			break;
	}
	assert_in_range(n, 100, 128);
	assert_int_equal(bluez_connect(w->bluez, "66:66:66:66:66:FF", &profile, false, &link_ops,
				       &w->a, &w->a.link),
			 -ENOBUFS);
}

/* They cannot push out a lock: its table is known, and the next unlock does not look for it anew. */
static void imitators_give_way_to_a_lock_that_was_connected(void **state)
{
	struct world *w = *state;

	connect_first(w);
	bluez_disconnect(w->a.link);
	until(w->event, w->a.closed);
	w->a = (struct told){.world = w};
	radio(w, "interval hci1 60000"); /* it is hardly heard, they are all the time */
	radio(w, "flood 600 2000 ours");
	until(w->event, bluez_counters(w->bluez)->devices_dropped > 300);
	radio(w, "flood 0 0");
	assert_int_equal(link_to(w, 1, &w->a, true), 0);
	until(w->event, w->a.ready || w->a.closed);
	assert_int_equal(w->a.ready, 1);
	assert_int_equal(bluez_counters(w->bluez)->stale_tables, 0);
}

/* Everything is tried, in order, and the ladder is left when adverts come again. */
static void silent_scanner_climbs_the_ladder(void **state)
{
	struct world *w = *state;

	w->options.silent_after_ms = 300;
	restart_bluez(w);
	until(w->event, w->seen[1].count);
	radio(w, "set service-allowed 0");
	radio(w, "scan-silent hci0 on");
	until(w->event, w->rungs[BLUEZ_RUNG_SCAN] == 1);
	assert_int_equal(w->rungs[BLUEZ_RUNG_POWER], 0);
	until(w->event, w->rungs[BLUEZ_RUNG_POWER] == 1);
	until(w->event, !w->up);
	until(w->event, w->up);
	until(w->event, w->refused[BLUEZ_RUNG_SERVICE] == 1); /* polkit says no: told */
	assert_non_null(strstr(w->recovery, "bluetooth.service could not be restarted"));
	until(w->event, w->rungs[BLUEZ_RUNG_HUMAN] == 1);
	assert_int_equal(bluez_counters(w->bluez)->rung[BLUEZ_RUNG_SERVICE], 1);
	radio(w, "scan-silent hci0 off");
	until(w->event, w->rungs[BLUEZ_RUNG_NONE] == 1);
	assert_int_equal(bluez_counters(w->bluez)->rung[BLUEZ_RUNG_SCAN], 1);
}

/* The third rung is systemd's: the daemon goes and comes back, and is heard again. */
static void silent_scanner_is_cured_by_a_restart_of_the_service(void **state)
{
	struct world *w = *state;

	w->options.silent_after_ms = 300;
	restart_bluez(w);
	until(w->event, w->seen[1].count);
	radio(w, "scan-silent hci0 service");
	until(w->event, w->rungs[BLUEZ_RUNG_SERVICE] == 1);
	until(w->event, !w->up);
	until(w->event, w->up);
	locks_again(w);
	until(w->event, w->rungs[BLUEZ_RUNG_NONE] == 1);
	assert_int_equal(w->rungs[BLUEZ_RUNG_SERVICE], 1);
	assert_int_equal(w->refused[BLUEZ_RUNG_SERVICE], 0);
	assert_int_equal(bluez_counters(w->bluez)->daemon_restarts, 1);
}

static void no_rung_cuts_a_link_that_works(void **state)
{
	struct world *w = *state;
	uint64_t end;

	w->options.silent_after_ms = 200;
	restart_bluez(w);
	connect_first(w);
	radio(w, "scan-silent hci0 on");
	for (end = now_ms() + 1000; now_ms() < end;) {
		unsigned reads = w->a.reads;

		assert_int_equal(bluez_read(w->a.link, INFO), 0);
		until(w->event, w->a.reads > reads);
	}
	assert_int_equal(bluez_counters(w->bluez)->rung[BLUEZ_RUNG_SCAN], 0);
	assert_int_equal(w->a.closed, 0);
}

/* Kernels that connect only while discovering: the switch. */
static void scanning_may_go_on_while_connecting(void **state)
{
	struct world *w = *state;

	w->options.scan_while_connecting = true;
	restart_bluez(w);
	radio(w, "set connect-needs-scan 1");
	connect_first(w);
}

static void idle_client_is_woken_by_adverts_alone(void **state)
{
	struct world *w = *state;
	unsigned turns = 0;
	uint64_t end;

	until(w->event, w->seen[1].count);
	radio(w, "vanish hci1");
	radio(w, "vanish hci2");
	/* What was on its way arrives; then nothing at all happens. */
	for (end = now_ms() + 300; now_ms() < end;)
		sd_event_run(w->event, 50000);
	for (end = now_ms() + 1000; now_ms() < end;)
		turns += sd_event_run(w->event, 1000000) > 0;
	assert_in_range(turns, 0, 5);
}

int main(void)
{
#define t(name)	   cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define bare(name) cmocka_unit_test_setup_teardown(name, set_up_radio, tear_down)
	const struct CMUnitTest tests[] = {
		t(adapter_is_switched_on_and_adverts_come),
		t(changed_advert_is_heard),
		bare(absent_adapter_is_told),
		bare(first_adapter_is_taken),
		t(adapter_pulled_and_back),
		t(adapter_switched_off_is_switched_on),
		t(daemon_restart_is_survived),
		bare(daemon_may_come_later),
		t(leftover_link_is_cut_at_start),
		t(leftover_link_that_comes_late_is_cut),
		t(freed_links_are_disconnected),
		t(loss_of_the_bus_leaves_no_dangling_link),
		t(foreign_flood_is_cheap),
		t(forged_advert_is_ignored),
		t(imitators_fill_a_bounded_table),
		t(imitators_give_way_to_a_lock_that_was_connected),
		t(silent_scanner_climbs_the_ladder),
		t(silent_scanner_is_cured_by_a_restart_of_the_service),
		t(no_rung_cuts_a_link_that_works),
		t(scanning_may_go_on_while_connecting),
		t(idle_client_is_woken_by_adverts_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
