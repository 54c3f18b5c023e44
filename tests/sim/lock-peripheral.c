// SPDX-License-Identifier: Apache-2.0
/*
 * The lock's radio side over sd-bus. BlueZ 5.66, doc/gatt-api.txt and doc/advertising-api.txt: the
 * application's objects are fetched by GetManagedObjects, notifications are changes of Value.
 * One central at a time: a second one is disconnected.
 */
#include "sim/lock-peripheral.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define BLUEZ	   "org.bluez"
#define RETRY_USEC 500000

enum { CHR_INFO = 2, CHR_INBOX, CHR_OUTBOX, CHR_STATE, CHR_END };

struct chr {
	struct peripheral *p;
	unsigned number;
	char path[96];
	bool notifying;
	uint8_t value[FRAME_MAX];
	size_t len;
	sd_bus_slot *slot;
};

struct peripheral {
	sd_event *event;
	sd_bus *bus;
	struct firmware *firmware;
	char adapter[32]; /* object path */
	char root[64], service[80], advert_root[64];
	char device[96]; /* the central, "" when nobody is connected */
	struct chr chrs[CHR_END];
	unsigned adverts;
	bool has_application, frozen;
	unsigned has_adverts; /* how many are registered */
	bool application_pending, advert_pending;
	sd_event_source *retry;
	sd_bus_slot *slots[12];
	size_t nslots;
};

static void try_register(struct peripheral *p);

/* --- GATT application
 * -------------------------------------------------------------------------------- */

static void uuid_of(unsigned number, char ret[static 37])
{
	snprintf(ret, 37, "2ff9%04x-f488-4501-a0b4-1a1753dee155", number);
}

static int get_service_uuid(sd_bus *bus, const char *path, const char *interface,
			    const char *property, sd_bus_message *reply, void *user,
			    sd_bus_error *error)
{
	char uuid[37];

	uuid_of(1, uuid);
	return sd_bus_message_append(reply, "s", uuid);
}

static int get_true(sd_bus *bus, const char *path, const char *interface, const char *property,
		    sd_bus_message *reply, void *user, sd_bus_error *error)
{
	return sd_bus_message_append(reply, "b", 1);
}

static int get_chr_uuid(sd_bus *bus, const char *path, const char *interface, const char *property,
			sd_bus_message *reply, void *user, sd_bus_error *error)
{
	struct chr *c = user;
	char uuid[37];

	uuid_of(c->number, uuid);
	return sd_bus_message_append(reply, "s", uuid);
}

static int get_chr_service(sd_bus *bus, const char *path, const char *interface,
			   const char *property, sd_bus_message *reply, void *user,
			   sd_bus_error *error)
{
	struct chr *c = user;

	return sd_bus_message_append(reply, "o", c->p->service);
}

static int get_chr_flags(sd_bus *bus, const char *path, const char *interface, const char *property,
			 sd_bus_message *reply, void *user, sd_bus_error *error)
{
	struct chr *c = user;

	switch (c->number) {
	case CHR_INFO:
		return sd_bus_message_append(reply, "as", 1, "read");
	case CHR_INBOX:
		return sd_bus_message_append(reply, "as", 2, "write", "write-without-response");
	case CHR_OUTBOX:
		return sd_bus_message_append(reply, "as", 1, "notify");
	default:
		return sd_bus_message_append(reply, "as", 2, "read", "notify");
	}
}

static int get_chr_value(sd_bus *bus, const char *path, const char *interface, const char *property,
			 sd_bus_message *reply, void *user, sd_bus_error *error)
{
	struct chr *c = user;

	return sd_bus_message_append_array(reply, 'y', c->value, c->len);
}

static int get_chr_notifying(sd_bus *bus, const char *path, const char *interface,
			     const char *property, sd_bus_message *reply, void *user,
			     sd_bus_error *error)
{
	struct chr *c = user;

	return sd_bus_message_append(reply, "b", (int)c->notifying);
}

struct gatt_options {
	const char *device;
	uint16_t mtu, offset;
};

static int read_options(sd_bus_message *m, struct gatt_options *ret)
{
	const char *key;
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");

	*ret = (struct gatt_options){.device = "", .mtu = 23};
	if (r < 0)
		return r;
	while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = sd_bus_message_read(m, "s", &key);
		if (r < 0)
			return r;
		if (strcmp(key, "device") == 0)
			r = sd_bus_message_read(m, "v", "o", &ret->device);
		else if (strcmp(key, "mtu") == 0)
			r = sd_bus_message_read(m, "v", "q", &ret->mtu);
		else if (strcmp(key, "offset") == 0)
			r = sd_bus_message_read(m, "v", "q", &ret->offset);
		else
			r = sd_bus_message_skip(m, "v");
		if (r < 0)
			return r;
		r = sd_bus_message_exit_container(m);
		if (r < 0)
			return r;
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

static void send_away(struct peripheral *p, const char *device)
{
	sd_bus_call_method_async(p->bus, NULL, BLUEZ, device, "org.bluez.Device1", "Disconnect",
				 NULL, NULL, "");
}

/* The one central. false: somebody else has the lock's attention. */
static bool greet(struct peripheral *p, const char *device)
{
	if (p->device[0] && strcmp(p->device, device) != 0) {
		send_away(p, device);
		return false;
	}
	if (!p->device[0]) {
		snprintf(p->device, sizeof(p->device), "%s", device);
		firmware_connected(p->firmware);
	}
	return true;
}

static int on_read(sd_bus_message *m, void *user, sd_bus_error *error)
{
	struct chr *c = user;
	struct peripheral *p = c->p;
	cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	uint8_t value[INFO_MAX];
	struct gatt_options o;
	int len, r = read_options(m, &o);

	if (r < 0)
		return r;
	if (p->frozen)
		return 1;
	if (!greet(p, o.device))
		return sd_bus_reply_method_errorf(m, "org.bluez.Error.NotPermitted", "Busy");
	if (c->number == CHR_INFO)
		len = firmware_info(p->firmware, value, sizeof(value));
	else
		len = firmware_state(p->firmware, value, sizeof(value));
	if (len < 0)
		return len;
	if (o.offset > len)
		return sd_bus_reply_method_errorf(m, "org.bluez.Error.InvalidOffset", "Offset");
	r = sd_bus_message_new_method_return(m, &reply);
	if (r >= 0)
		r = sd_bus_message_append_array(reply, 'y', value + o.offset,
						(size_t)len - o.offset);
	return r < 0 ? r : sd_bus_send(p->bus, reply, NULL);
}

static int on_write(sd_bus_message *m, void *user, sd_bus_error *error)
{
	struct chr *c = user;
	struct peripheral *p = c->p;
	struct gatt_options o;
	const void *bytes;
	uint8_t frame[FRAME_MAX];
	size_t len;
	int r = sd_bus_message_read_array(m, 'y', &bytes, &len);

	if (r >= 0)
		r = read_options(m, &o);
	if (r < 0)
		return r;
	if (p->frozen)
		return 1;
	if (!greet(p, o.device))
		return sd_bus_reply_method_errorf(m, "org.bluez.Error.NotPermitted", "Busy");
	if (len > sizeof(frame))
		return sd_bus_reply_method_errorf(m, "org.bluez.Error.InvalidValueLength",
						  "A frame is at most %d bytes", FRAME_MAX);
	memcpy(frame, bytes, len);
	r = sd_bus_reply_method_return(m, "");
	firmware_written(p->firmware, span_of(frame, len), o.mtu > 3 ? o.mtu - 3u : 20u);
	return r;
}

static int on_start_notify(sd_bus_message *m, void *user, sd_bus_error *error)
{
	struct chr *c = user;

	if (c->p->frozen)
		return 1;
	c->notifying = true;
	return sd_bus_reply_method_return(m, "");
}

static int on_stop_notify(sd_bus_message *m, void *user, sd_bus_error *error)
{
	struct chr *c = user;

	c->notifying = false;
	return sd_bus_reply_method_return(m, "");
}

static const sd_bus_vtable service_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("UUID", "s", get_service_uuid, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Primary", "b", get_true, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable chr_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("UUID", "s", get_chr_uuid, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Service", "o", get_chr_service, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Flags", "as", get_chr_flags, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Value", "ay", get_chr_value, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Notifying", "b", get_chr_notifying, 0, 0),
	SD_BUS_METHOD("ReadValue", "a{sv}", "ay", on_read, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("WriteValue", "aya{sv}", "", on_write, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("StartNotify", "", "", on_start_notify, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("StopNotify", "", "", on_stop_notify, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static void notify(struct chr *c, struct span value)
{
	if (c->p->frozen || value.len > sizeof(c->value))
		return;
	memcpy(c->value, value.data, value.len);
	c->len = value.len;
	sd_bus_emit_properties_changed(c->p->bus, c->path, "org.bluez.GattCharacteristic1", "Value",
				       NULL);
}

/* --- advertisement
 * ----------------------------------------------------------------------------------- */

static int get_advert_type(sd_bus *bus, const char *path, const char *interface,
			   const char *property, sd_bus_message *reply, void *user,
			   sd_bus_error *error)
{
	return sd_bus_message_append(reply, "s", "peripheral");
}

static int get_advert_data(sd_bus *bus, const char *path, const char *interface,
			   const char *property, sd_bus_message *reply, void *user,
			   sd_bus_error *error)
{
	struct peripheral *p = user;
	uint8_t data[ADVERT_LEN];
	char uuid[37];
	int r;

	uuid_of(1, uuid);
	firmware_advert(p->firmware, data);
	if ((r = sd_bus_message_open_container(reply, 'a', "{sv}")) < 0 ||
	    (r = sd_bus_message_open_container(reply, 'e', "sv")) < 0 ||
	    (r = sd_bus_message_append(reply, "s", uuid)) < 0 ||
	    (r = sd_bus_message_open_container(reply, 'v', "ay")) < 0 ||
	    (r = sd_bus_message_append_array(reply, 'y', data, sizeof(data))) < 0 ||
	    (r = sd_bus_message_close_container(reply)) < 0 ||
	    (r = sd_bus_message_close_container(reply)) < 0)
		return r;
	return sd_bus_message_close_container(reply);
}

static int get_advert_duration(sd_bus *bus, const char *path, const char *interface,
			       const char *property, sd_bus_message *reply, void *user,
			       sd_bus_error *error)
{
	struct peripheral *p = user;

	return sd_bus_message_append(reply, "q", (uint16_t)(p->adverts > 1));
}

static int on_advert_release(sd_bus_message *m, void *user, sd_bus_error *error)
{
	struct peripheral *p = user;

	p->has_adverts = 0;
	return sd_bus_reply_method_return(m, "");
}

static const sd_bus_vtable advert_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Type", "s", get_advert_type, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("ServiceData", "a{sv}", get_advert_data, 0,
			SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Discoverable", "b", get_true, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Duration", "q", get_advert_duration, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_METHOD("Release", "", "", on_advert_release, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static void advert_path(const struct peripheral *p, unsigned i, char ret[static 80])
{
	snprintf(ret, 80, "%s/%u", p->advert_root, i);
}

/* --- upward from the firmware
 * ------------------------------------------------------------------------ */

static void on_firmware_send(struct span frame, void *user)
{
	struct peripheral *p = user;

	notify(&p->chrs[CHR_OUTBOX], frame);
}

static void on_firmware_state(void *user)
{
	struct peripheral *p = user;
	uint32_t n = firmware_state_counter(p->firmware);
	uint8_t counter[4] = {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16),
			      (uint8_t)(n >> 24)};

	if (p->chrs[CHR_STATE].notifying)
		notify(&p->chrs[CHR_STATE], SPAN(counter));
}

static void on_firmware_disconnect(void *user)
{
	struct peripheral *p = user;

	if (p->device[0])
		send_away(p, p->device);
}

static void on_firmware_advert(void *user)
{
	struct peripheral *p = user;
	char path[80];
	unsigned i;

	for (i = 0; i < p->adverts; i++) {
		advert_path(p, i, path);
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
		advert_path(p, p->has_adverts, path);
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
		greet(p, path);
	} else if (connected == 0 && strcmp(path, p->device) == 0) {
		p->device[0] = '\0';
		firmware_disconnected(p->firmware);
	}
	return 0;
}

/* --- life
 * -------------------------------------------------------------------------------------------- */

static sd_bus_slot **next_slot(struct peripheral *p)
{
	return &p->slots[p->nslots++];
}

static int add_objects(struct peripheral *p)
{
	char path[80];
	unsigned i;
	int r = sd_bus_add_object_manager(p->bus, next_slot(p), p->root);

	if (r >= 0)
		r = sd_bus_add_object_vtable(p->bus, next_slot(p), p->service,
					     "org.bluez.GattService1", service_vtable, p);
	for (i = CHR_INFO; i < CHR_END && r >= 0; i++) {
		struct chr *c = &p->chrs[i];

		c->p = p;
		c->number = i;
		snprintf(c->path, sizeof(c->path), "%s/char%u", p->service, i);
		r = sd_bus_add_object_vtable(p->bus, &c->slot, c->path,
					     "org.bluez.GattCharacteristic1", chr_vtable, c);
	}
	for (i = 0; i < p->adverts && r >= 0; i++) {
		advert_path(p, i, path);
		r = sd_bus_add_object_vtable(p->bus, next_slot(p), path,
					     "org.bluez.LEAdvertisement1", advert_vtable, p);
	}
	return r;
}

static int add_matches(struct peripheral *p)
{
	int r = sd_bus_add_match_async(p->bus, next_slot(p),
				       "type='signal',sender='org.freedesktop.DBus',member="
				       "'NameOwnerChanged',arg0='" BLUEZ "'",
				       on_owner, NULL, p);
	if (r >= 0)
		r = sd_bus_match_signal_async(p->bus, next_slot(p), BLUEZ, "/",
					      "org.freedesktop.DBus.ObjectManager",
					      "InterfacesAdded", on_interfaces, NULL, p);
	if (r >= 0)
		r = sd_bus_match_signal_async(p->bus, next_slot(p), BLUEZ, "/",
					      "org.freedesktop.DBus.ObjectManager",
					      "InterfacesRemoved", on_interfaces, NULL, p);
	if (r >= 0)
		r = sd_bus_add_match_async(p->bus, next_slot(p),
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
		r = add_objects(p);
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
