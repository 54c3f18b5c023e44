/* SPDX-License-Identifier: Apache-2.0 */
/*
 * radio-sim as its clients see it: discovery, links, faults.
 */
#include "radio-fixture.h"

static void oversized_advert_is_refused(void **state)
{
	assert_memory_equal(world(state)->answers, "RRE", 3);
}

static void advert_is_heard_with_its_service_data_and_forgotten(void **state)
{
	struct world *w = world(state);
	sd_bus_message *m = NULL;
	int16_t rssi = 0;
	const char *uuid;
	const void *data;
	size_t len;

	tell(w, "set temporary 300");
	tell(w, "rssi hci1 -71");
	discover(w, w->bus);
	assert_true(sd_bus_get_property_trivial(w->bus, "org.bluez", LOCK, DEVICE, "RSSI", NULL,
						'n', &rssi) >= 0);
	assert_int_equal(rssi, -71);
	assert_true(sd_bus_get_property(w->bus, "org.bluez", LOCK, DEVICE, "ServiceData", NULL, &m,
					"a{sv}") >= 0);
	sd_bus_message_enter_container(m, 'a', "{sv}");
	sd_bus_message_enter_container(m, 'e', "sv");
	assert_true(sd_bus_message_read(m, "s", &uuid) > 0);
	assert_string_equal(uuid, SERVICE);
	sd_bus_message_enter_container(m, 'v', "ay");
	assert_true(sd_bus_message_read_array(m, 'y', &data, &len) > 0);
	assert_int_equal(len, 8);
	sd_bus_message_unref(m);
	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "StopDiscovery", NULL, NULL), "ok");
	assert_true(sd_bus_get_property_trivial(w->bus, "org.bluez", LOCK, DEVICE, "RSSI", NULL,
						'n', &rssi) < 0);
	assert_true(becomes(w, LOCK, DEVICE, false));
	assert_non_null(strstr(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "UnknownObject"));
}

static void uuid_filter_ignores_service_data_but_filters_are_merged(void **state)
{
	struct world *w = world(state);
	sd_bus *other = open_bus(NULL);

	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "SetDiscoveryFilter", NULL, "a{sv}", 1,
				 "UUIDs", "as", 1, SERVICE),
			    "ok");
	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "StartDiscovery", NULL, NULL), "ok");
	assert_true(becomes(w, LOCK, DEVICE, true)); /* an object, but nothing is reported of it */
	assert_true(sd_bus_get_property_trivial(w->bus, "org.bluez", LOCK, DEVICE, "RSSI", NULL,
						'n', &(int16_t){0}) < 0);
	assert_string_equal(call(other, CENTRAL, ADAPTER, "StartDiscovery", NULL, NULL), "ok");
	assert_true(heard(w, LOCK));
	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "StopDiscovery", NULL, NULL), "ok");
	assert_true(flag(w->bus, CENTRAL, ADAPTER, "Discovering"));
	sd_bus_flush_close_unref(other);
	wait_flag(w, CENTRAL, ADAPTER, "Discovering", false);
	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "StopDiscovery", NULL, NULL),
			    "Failed: No discovery started");
}

static void peripheral_sees_the_central_and_may_disconnect_it(void **state)
{
	struct world *w = world(state);
	const char *seen = "/org/bluez/hci1/dev_00_AA_01_00_00_00";

	connect_lock(w);
	assert_true(flag(w->bus, seen, DEVICE, "Connected"));
	assert_string_equal(call(w->bus, seen, DEVICE, "Disconnect", NULL, NULL), "ok");
	assert_false(flag(w->bus, LOCK, DEVICE, "Connected"));
	assert_false(flag(w->bus, LOCK, DEVICE, "ServicesResolved"));
	tell(w, "set temporary 200");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Disconnect", NULL, NULL), "ok");
	assert_true(becomes(w, seen, DEVICE, false)); /* only met */
	assert_true(exists(w->bus, LOCK, DEVICE));    /* connected on request: stays */
}

static void absent_device_is_waited_for(void **state)
{
	struct world *w = world(state);
	sd_bus *other = open_bus(NULL);
	sd_bus_slot *slot = NULL;
	uint64_t start;

	discover(w, w->bus);
	tell(w, "vanish hci1");
	tell(w, "set connect-timeout 600");
	assert_true(sd_bus_call_method_async(other, &slot, "org.bluez", LOCK, DEVICE, "Connect",
					     on_registered, NULL, NULL) >= 0);
	(void)flag(other, LOCK, DEVICE, "Connected"); /* behind it, so it is under way */
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL),
			    "Failed: Operation already in progress");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Disconnect", NULL, NULL), "ok");
	start = now_ms();
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL),
			    "Failed: le-connection-abort-by-local");
	assert_in_range(now_ms() - start, 550, 5000);
	sd_bus_slot_unref(slot);
	sd_bus_flush_close_unref(other);
	tell(w, "set connect-timeout 40000");
	tell(w, "appear hci1");
	tell(w, "refuse connect hci1 1");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL),
			    "Failed: le-connection-abort-by-local");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
}

static void silent_peer_stays_connected_and_its_writes_fail_late(void **state)
{
	struct world *w = world(state);
	char slow[128];
	uint64_t start;

	tell(w, "set att-timeout 400");
	connect_lock(w);
	strcpy(slow, find_chr(w, SLOW));
	tell(w, "fail write hci1 1");
	assert_string_equal(write_value(w->bus, slow, 3, NULL),
			    "Failed: Operation failed with ATT error: 0x0e");
	assert_string_equal(write_value(w->bus, slow, 3, NULL), "ok");
	tell(w, "silent hci1 on");
	start = now_ms();
	assert_string_equal(write_value(w->bus, slow, 3, NULL),
			    "Failed: Operation failed with ATT error: 0x0e");
	assert_in_range(now_ms() - start, 390, 5000);
	assert_true(flag(w->bus, LOCK, DEVICE, "Connected"));
	assert_string_equal(write_value(w->bus, slow, 3, NULL), "Failed: Not connected");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Disconnect", NULL, NULL), "ok");
	tell(w, "silent hci1 off");
	tell(w, "set supervision 200");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
	tell(w, "vanish hci1");
	wait_flag(w, LOCK, DEVICE, "Connected", false);
}

static void adapter_off_and_gone(void **state)
{
	struct world *w = world(state);
	char slow[128];

	connect_lock(w);
	strcpy(slow, find_chr(w, SLOW));
	tell(w, "power hci0 off");
	assert_false(flag(w->bus, CENTRAL, ADAPTER, "Discovering"));
	assert_false(flag(w->bus, LOCK, DEVICE, "Connected"));
	assert_string_equal(write_value(w->bus, slow, 3, NULL), "Failed: Not connected");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL),
			    "Failed: Input/output error");
	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "StartDiscovery", NULL, NULL),
			    "NotReady: Resource Not Ready");
	tell(w, "adapter remove hci0");
	assert_non_null(strstr(call(w->bus, CENTRAL, ADAPTER, "StartDiscovery", NULL, NULL),
			       "UnknownObject"));
	assert_non_null(strstr(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "UnknownObject"));
	tell(w, "adapter add hci0");
	connect_lock(w);
}

static void restart_forgets_everything_without_a_word(void **state)
{
	struct world *w = world(state);

	connect_lock(w);
	w->removed = 0;
	tell(w, "restart 200");
	assert_non_null(
		strstr(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ServiceUnknown"));
	for (int i = 0; i < 200 && !exists(w->bus, CENTRAL, ADAPTER); i++)
		pass(w, 10, NULL, 0);
	assert_int_equal(w->removed, 0);
	assert_true(exists(w->bus, CENTRAL, ADAPTER));
	assert_false(exists(w->bus, LOCK, DEVICE));
	private_end(&w->lock, SIGKILL);
	start_lock(w);
	connect_lock(w);
	assert_string_equal(write_value(w->bus, find_chr(w, SLOW), 3, NULL), "ok");
}

static void stale_table_and_silent_scanner(void **state)
{
	struct world *w = world(state);

	tell(w, "stale hci1 on");
	connect_lock(w);
	assert_false(exists(w->bus, LOCK "/service000a", "org.bluez.GattService1"));
	/* silent first: an advert heard in between would bring the device back at once */
	tell(w, "scan-silent hci0 on");
	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "RemoveDevice", NULL, "o", LOCK), "ok");
	assert_false(exists(w->bus, LOCK, DEVICE));
	tell(w, "stale hci1 off");
	/* what another hears is in the air for all */
	assert_string_equal(call(w->bus, "/org/bluez/hci2", ADAPTER, "StartDiscovery", NULL, NULL),
			    "ok");
	assert_true(heard(w, "/org/bluez/hci2/dev_00_AA_01_00_00_01"));
	assert_false(exists(w->bus, LOCK, DEVICE));
	assert_true(flag(w->bus, CENTRAL, ADAPTER, "Discovering"));
	tell(w, "scan-silent hci0 off");
	assert_true(becomes(w, LOCK, DEVICE, true));
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
	wait_flag(w, LOCK, DEVICE, "ServicesResolved", true);
	assert_true(exists(w->bus, LOCK "/service000a", "org.bluez.GattService1"));
}

static void one_peripheral_serves_one_central(void **state)
{
	struct world *w = world(state);
	const char *other = "/org/bluez/hci2/dev_00_AA_01_00_00_01";

	connect_lock(w);
	assert_string_equal(call(w->bus, "/org/bluez/hci2", ADAPTER, "StartDiscovery", NULL, NULL),
			    "ok");
	pass(w, 300, NULL, 0);
	assert_false(exists(w->bus, other, DEVICE)); /* connected: not on the air */
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Disconnect", NULL, NULL), "ok");
	assert_true(becomes(w, other, DEVICE, true));
	assert_string_equal(call(w->bus, other, DEVICE, "Connect", NULL, NULL), "ok");
}

static void link_of_a_dead_client_stays(void **state)
{
	struct world *w = world(state);
	sd_bus *other = open_bus(NULL);

	discover(w, other);
	assert_string_equal(call(other, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
	sd_bus_flush_close_unref(other);
	wait_flag(w, CENTRAL, ADAPTER, "Discovering", false); /* all that ends has ended */
	assert_true(flag(w->bus, LOCK, DEVICE, "Connected"));
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Disconnect", NULL, NULL), "ok");
}

static void limits_of_links_and_of_new_kernels(void **state)
{
	struct world *w = world(state);

	discover(w, w->bus);
	tell(w, "set max-links 0");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL),
			    "Failed: le-connection-abort-by-local");
	tell(w, "set max-links 4");
	tell(w, "set connect-needs-scan 1");
	tell(w, "set connect-timeout 300");
	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "StopDiscovery", NULL, NULL), "ok");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL),
			    "Failed: le-connection-abort-by-local");
	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "StartDiscovery", NULL, NULL), "ok");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
}

static void foreign_devices_come_in_floods(void **state)
{
	struct world *w = world(state);

	tell(w, "flood 40 400");
	tell(w, "set temporary 500");
	discover(w, w->bus);
	assert_true(becomes(w, "/org/bluez/hci0/dev_C0_5E_00_00_00_27", DEVICE, true));
	tell(w, "flood 0 0");
	assert_true(becomes(w, "/org/bluez/hci0/dev_C0_5E_00_00_00_27", DEVICE, false));
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(oversized_advert_is_refused),
		T(advert_is_heard_with_its_service_data_and_forgotten),
		T(uuid_filter_ignores_service_data_but_filters_are_merged),
		T(peripheral_sees_the_central_and_may_disconnect_it),
		T(absent_device_is_waited_for),
		T(silent_peer_stays_connected_and_its_writes_fail_late),
		T(adapter_off_and_gone),
		T(restart_forgets_everything_without_a_word),
		T(stale_table_and_silent_scanner),
		T(one_peripheral_serves_one_central),
		T(link_of_a_dead_client_stays),
		T(limits_of_links_and_of_new_kernels),
		T(foreign_devices_come_in_floods),
	};

	return find_program() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
