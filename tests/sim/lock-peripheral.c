// SPDX-License-Identifier: Apache-2.0
/*
 * The lock's radio side over sd-bus: registers application and advertisements with BlueZ, again
 * whenever bluetoothd or the adapter comes back; follows who is connected. One central at a time: a
 * second one is disconnected.
 */
#include "sim/lock-peripheral-private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define BLUEZ	   "org.bluez"
#define RETRY_USEC 500000

static void try_register(struct peripheral *p);

/* --- upward from the firmware
 * ------------------------------------------------------------------------ */

static void on_firmware_send(struct span frame, void *user)
{
	struct peripheral *p = user;

	peripheral_notify(&p->chrs[CHR_OUTBOX], frame);
}

static void on_firmware_state(void *user)
{
	struct peripheral *p = user;
	uint32_t n = firmware_state_counter(p->firmware);
	uint8_t counter[4] = {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16),
			      (uint8_t)(n >> 24)};

	if (p->chrs[CHR_STATE].notifying)
		peripheral_notify(&p->chrs[CHR_STATE], SPAN(counter));
}

static void on_firmware_disconnect(void *user)
{
	struct peripheral *p = user;

	if (p->device[0])
		peripheral_send_away(p, p->device);
}

static void on_firmware_advert(void *user)
{
	struct peripheral *p = user;
	char path[80];
	unsigned i;

	for (i = 0; i < p->adverts; i++) {
		peripheral_advert_path(p, i, path);
		sd_bus_emit_properties_changed(p->bus, path, "org.bluez.LEAdvertisement1",
					       "ServiceData", NULL);
	}
}

static const struct firmware_ops firmware_ops = {
	.send = on_firmware_send,
	.state = on_firmware_state,
	.disconnect = on_firmware_disconnect,
	.advert = on_firmware_advert,
};

/* --- registration
 * ------------------------------------------------------------------------------------ */

static int on_retry(sd_event_source *source, uint64_t usec, void *user)
{
	try_register(user);
	return 0;
}

static void retry_later(struct peripheral *p)
{
	if (!p->retry &&
	    sd_event_add_time(p->event, &p->retry, CLOCK_MONOTONIC, 0, 1000, on_retry, p) < 0)
		return;
	sd_event_source_set_time_relative(p->retry, RETRY_USEC);
	sd_event_source_set_enabled(p->retry, SD_EVENT_ONESHOT);
}

static bool succeeded(struct peripheral *p, sd_bus_message *reply)
{
	const sd_bus_error *e = sd_bus_message_get_error(reply);

	if (!e || strcmp(e->name, "org.bluez.Error.AlreadyExists") == 0)
		return true;
	fprintf(stderr, "lock-sim: %s: %s: %s\n", p->adapter, e->name, e->message);
	return false;
}

static int on_application(sd_bus_message *reply, void *user, sd_bus_error *error)
{
	struct peripheral *p = user;

	p->application_pending = false;
	p->has_application = succeeded(p, reply);
	if (p->has_application)
		try_register(p);
	else
		retry_later(p);
	return 0;
}

static int on_advertised(sd_bus_message *reply, void *user, sd_bus_error *error)
{
	struct peripheral *p = user;

	p->advert_pending = false;
	if (succeeded(p, reply))
		p->has_adverts++;
	if (p->has_adverts >= p->adverts)
		return 0;
	if (succeeded(p, reply))
		try_register(p);
	else
		retry_later(p);
	return 0;
}

/* Power, application, advertisements, in this order; each reply leads to the next step. */
static void try_register(struct peripheral *p)
{
	char path[80];

	if (!p->has_application && !p->application_pending) {
		sd_bus_call_method_async(p->bus, NULL, BLUEZ, p->adapter,
					 "org.freedesktop.DBus.Properties", "Set", NULL, NULL,
					 "ssv", "org.bluez.Adapter1", "Powered", "b", 1);
		p->application_pending =
			sd_bus_call_method_async(p->bus, NULL, BLUEZ, p->adapter,
						 "org.bluez.GattManager1", "RegisterApplication",
						 on_application, p, "oa{sv}", p->root, 0) >= 0;
	} else if (p->has_application && p->has_adverts < p->adverts && !p->advert_pending) {
		peripheral_advert_path(p, p->has_adverts, path);
		p->advert_pending = sd_bus_call_method_async(p->bus, NULL, BLUEZ, p->adapter,
							     "org.bluez.LEAdvertisingManager1",
							     "RegisterAdvertisement", on_advertised,
							     p, "oa{sv}", path, 0) >= 0;
	}
}

static void forget_registration(struct peripheral *p)
{
	size_t i;

	p->has_application = false;
	p->has_adverts = 0;
	for (i = CHR_INFO; i < CHR_END; i++)
		p->chrs[i].notifying = false;
	if (p->device[0]) {
		p->device[0] = '\0';
		firmware_disconnected(p->firmware);
	}
}

static int on_owner(sd_bus_message *m, void *user, sd_bus_error *error)
{
	struct peripheral *p = user;
	const char *name, *before, *after;

	if (sd_bus_message_read(m, "sss", &name, &before, &after) < 0)
		return 0;
	forget_registration(p);
	if (after[0])
		try_register(p);
	return 0;
}

static int on_interfaces(sd_bus_message *m, void *user, sd_bus_error *error)
{
	struct peripheral *p = user;
	const char *path;

	if (sd_bus_message_read(m, "o", &path) < 0 || strcmp(path, p->adapter) != 0)
		return 0;
	forget_registration(p);
	if (strcmp(sd_bus_message_get_member(m), "InterfacesAdded") == 0)
		try_register(p);
	return 0;
}

/* Connected of a Device1 below our adapter: a central came or went. */
static int on_device(sd_bus_message *m, void *user, sd_bus_error *error)
{
	struct peripheral *p = user;
	const char *path = sd_bus_message_get_path(m), *interface, *key;
	size_t len = strlen(p->adapter);
	int connected = -1;

	if (strncmp(path, p->adapter, len) != 0 || path[len] != '/' ||
	    sd_bus_message_read(m, "s", &interface) < 0 ||
	    sd_bus_message_enter_container(m, 'a', "{sv}") < 0)
		return 0;
	while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
		if (sd_bus_message_read(m, "s", &key) < 0)
			return 0;
		if (strcmp(key, "Connected") == 0)
			sd_bus_message_read(m, "v", "b", &connected);
		else
			sd_bus_message_skip(m, "v");
		sd_bus_message_exit_container(m);
	}
	if (connected == 1) {
		peripheral_greet(p, path);
	} else if (connected == 0 && strcmp(path, p->device) == 0) {
		p->device[0] = '\0';
		firmware_disconnected(p->firmware);
	}
	return 0;
}

/* --- life
 * -------------------------------------------------------------------------------------------- */

sd_bus_slot **peripheral_slot(struct peripheral *p)
{
	return &p->slots[p->nslots++];
}

static int add_matches(struct peripheral *p)
{
	int r = sd_bus_add_match_async(p->bus, peripheral_slot(p),
				       "type='signal',sender='org.freedesktop.DBus',member="
				       "'NameOwnerChanged',arg0='" BLUEZ "'",
				       on_owner, NULL, p);
	if (r >= 0)
		r = sd_bus_match_signal_async(p->bus, peripheral_slot(p), BLUEZ, "/",
					      "org.freedesktop.DBus.ObjectManager",
					      "InterfacesAdded", on_interfaces, NULL, p);
	if (r >= 0)
		r = sd_bus_match_signal_async(p->bus, peripheral_slot(p), BLUEZ, "/",
					      "org.freedesktop.DBus.ObjectManager",
					      "InterfacesRemoved", on_interfaces, NULL, p);
	if (r >= 0)
		r = sd_bus_add_match_async(p->bus, peripheral_slot(p),
					   "type='signal',sender='" BLUEZ
					   "',interface='org.freedesktop.DBus.Properties',member="
					   "'PropertiesChanged',arg0='org.bluez.Device1'",
					   on_device, NULL, p);
	return r;
}

int peripheral_new(sd_event *event, sd_bus *bus, const struct peripheral_options *options,
		   const struct firmware_options *firmware, struct peripheral **ret)
{
	struct peripheral *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->event = sd_event_ref(event);
	p->bus = sd_bus_ref(bus);
	p->adverts = options->adverts > 2 ? 2 : options->adverts ?: 1;
	snprintf(p->adapter, sizeof(p->adapter), "/org/bluez/%.16s", options->adapter);
	snprintf(p->root, sizeof(p->root), "/org/lockbridge/sim/lock%u", options->number);
	snprintf(p->service, sizeof(p->service), "%s/service0", p->root);
	snprintf(p->advert_root, sizeof(p->advert_root), "/org/lockbridge/sim/advert%u",
		 options->number);
	r = firmware_new(event, firmware, &firmware_ops, p, &p->firmware);
	if (r >= 0)
		r = peripheral_add_gatt(p);
	if (r >= 0)
		r = peripheral_add_adverts(p);
	if (r >= 0)
		r = add_matches(p);
	if (r < 0) {
		peripheral_free(p);
		return r;
	}
	try_register(p);
	*ret = p;
	return 0;
}

void peripheral_free(struct peripheral *p)
{
	size_t i;

	if (!p)
		return;
	for (i = 0; i < p->nslots; i++)
		sd_bus_slot_unref(p->slots[i]);
	for (i = CHR_INFO; i < CHR_END; i++)
		sd_bus_slot_unref(p->chrs[i].slot);
	sd_event_source_disable_unref(p->retry);
	firmware_free(p->firmware);
	sd_bus_unref(p->bus);
	sd_event_unref(p->event);
	free(p);
}

struct firmware *peripheral_firmware(struct peripheral *p)
{
	return p->firmware;
}

bool peripheral_registered(const struct peripheral *p)
{
	return p->has_application && p->has_adverts >= p->adverts;
}

void peripheral_freeze(struct peripheral *p, bool frozen)
{
	p->frozen = frozen;
}
