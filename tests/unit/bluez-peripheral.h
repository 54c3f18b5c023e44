/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Small GATT peripherals in the test's own process and loop, over sd-bus: a text to read, an inbox
 * whose writes come back out of the outbox, one that only indicates, one that only takes responses.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "core/span.h"

#define SERVICE "2ff90001-f488-4501-a0b4-1a1753dee155"
#define CHR	"org.bluez.GattCharacteristic1"

#define FAREWELLS 12u

enum { INFO, INBOX, OUTBOX, STATE, CONFIRM, CHRS };

static const struct {
	const char *name, *uuid, *flags[3];
} peripheral_table[CHRS] = {
	[INFO] = {"info", "2ff90002-f488-4501-a0b4-1a1753dee155", {"read"}},
	[INBOX] = {"inbox",
		   "2ff90003-f488-4501-a0b4-1a1753dee155",
		   {"write", "write-without-response"}},
	[OUTBOX] = {"outbox", "2ff90004-f488-4501-a0b4-1a1753dee155", {"notify"}},
	[STATE] = {"state", "2ff90005-f488-4501-a0b4-1a1753dee155", {"read", "indicate"}},
	[CONFIRM] = {"confirm", "2ff90006-f488-4501-a0b4-1a1753dee155", {"write"}},
};

struct peripheral;

struct attribute {
	struct peripheral *peripheral;
	unsigned index;
	char path[48];
	uint8_t value[512];
	size_t len;
	unsigned writes;
};

struct peripheral {
	sd_bus *bus;
	char adapter[24], service[40], central[64];
	struct attribute attributes[CHRS];
	uint8_t data[8]; /* in the advert */
	unsigned registered, failed;
	bool mute; /* does not answer */
	bool bye;  /* answers the next write FAREWELLS times, and disconnects */
};

static inline int get_uuid(sd_bus *bus, const char *path, const char *face, const char *property,
			   sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "s",
				     peripheral_table[((struct attribute *)user)->index].uuid);
}

static inline int get_service_uuid(sd_bus *bus, const char *path, const char *face,
				   const char *property, sd_bus_message *m, void *user,
				   sd_bus_error *e)
{
	return sd_bus_message_append(m, "s", SERVICE);
}

static inline int get_true(sd_bus *bus, const char *path, const char *face, const char *property,
			   sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "b", 1);
}

static inline int get_service(sd_bus *bus, const char *path, const char *face, const char *property,
			      sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "o", ((struct attribute *)user)->peripheral->service);
}

static inline int get_flags(sd_bus *bus, const char *path, const char *face, const char *property,
			    sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append_strv(
		m, (char **)peripheral_table[((struct attribute *)user)->index].flags);
}

static inline int get_value(sd_bus *bus, const char *path, const char *face, const char *property,
			    sd_bus_message *m, void *user, sd_bus_error *e)
{
	struct attribute *a = user;

	return sd_bus_message_append_array(m, 'y', a->value, a->len);
}

static inline void peripheral_notify(struct peripheral *p, unsigned index, struct span value)
{
	struct attribute *a = &p->attributes[index];

	memcpy(a->value, value.data, value.len);
	a->len = value.len;
	sd_bus_emit_properties_changed(p->bus, a->path, CHR, "Value", NULL);
}

static inline void read_options(struct peripheral *p, sd_bus_message *m, uint16_t *offset)
{
	const char *key, *device;

	sd_bus_message_enter_container(m, 'a', "{sv}");
	while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
		sd_bus_message_read(m, "s", &key);
		if (strcmp(key, "offset") == 0) {
			sd_bus_message_read(m, "v", "q", offset);
		} else if (strcmp(key, "device") == 0) {
			sd_bus_message_read(m, "v", "o", &device);
			snprintf(p->central, sizeof(p->central), "%s", device);
		} else {
			sd_bus_message_skip(m, "v");
		}
		sd_bus_message_exit_container(m);
	}
}

static inline int on_read_value(sd_bus_message *m, void *user, sd_bus_error *e)
{
	struct attribute *a = user;
	sd_bus_message *reply = NULL;
	uint16_t offset = 0;
	int r;

	read_options(a->peripheral, m, &offset);
	if (a->peripheral->mute)
		return 1;
	if (offset > a->len)
		return sd_bus_reply_method_errorf(m, "org.bluez.Error.InvalidOffset", "no");
	sd_bus_message_new_method_return(m, &reply);
	sd_bus_message_append_array(reply, 'y', a->value + offset, a->len - offset);
	r = sd_bus_send(NULL, reply, NULL);
	sd_bus_message_unref(reply);
	return r;
}

static inline int on_write_value(sd_bus_message *m, void *user, sd_bus_error *e)
{
	struct attribute *a = user;
	struct peripheral *p = a->peripheral;
	const void *data;
	uint16_t offset;
	size_t len;

	sd_bus_message_read_array(m, 'y', &data, &len);
	memcpy(a->value, data, len);
	a->len = len;
	a->writes++;
	read_options(p, m, &offset);
	if (p->mute)
		return 1;
	sd_bus_reply_method_return(m, NULL);
	for (unsigned i = 0; a->index == INBOX && i < (p->bye ? FAREWELLS : 1); i++)
		peripheral_notify(p, OUTBOX, span_of(a->value, len));
	if (p->bye)
		sd_bus_call_method_async(p->bus, NULL, "org.bluez", p->central, "org.bluez.Device1",
					 "Disconnect", NULL, NULL, NULL);
	return 1;
}

static inline int on_nothing(sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_reply_method_return(m, NULL);
}

static const sd_bus_vtable service_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("UUID", "s", get_service_uuid, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Primary", "b", get_true, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable chr_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("UUID", "s", get_uuid, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Service", "o", get_service, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Flags", "as", get_flags, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Value", "ay", get_value, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_METHOD("ReadValue", "a{sv}", "ay", on_read_value, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("WriteValue", "aya{sv}", NULL, on_write_value, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("StartNotify", NULL, NULL, on_nothing, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("StopNotify", NULL, NULL, on_nothing, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Confirm", NULL, NULL, on_nothing, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static inline int get_type(sd_bus *bus, const char *path, const char *face, const char *property,
			   sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "s", "peripheral");
}

static inline int get_data(sd_bus *bus, const char *path, const char *face, const char *property,
			   sd_bus_message *m, void *user, sd_bus_error *e)
{
	const uint8_t *d = ((struct peripheral *)user)->data;

	return sd_bus_message_append(m, "a{sv}", 1, SERVICE, "ay", 8, d[0], d[1], d[2], d[3], d[4],
				     d[5], d[6], d[7]);
}

static const sd_bus_vtable advert_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Type", "s", get_type, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("ServiceData", "a{sv}", get_data, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Discoverable", "b", get_true, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_METHOD("Release", NULL, NULL, on_nothing, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static inline int on_registered(sd_bus_message *m, void *user, sd_bus_error *e)
{
	struct peripheral *p = user;

	if (sd_bus_message_is_method_error(m, NULL))
		p->failed++;
	else
		p->registered++;
	return 0;
}

/* Both registrations; `registered` says when they are done. */
static inline int peripheral_register(struct peripheral *p)
{
	int r = sd_bus_call_method_async(p->bus, NULL, "org.bluez", p->adapter,
					 "org.bluez.GattManager1", "RegisterApplication",
					 on_registered, p, "oa{sv}", "/lock", 0);

	return r < 0 ? r
		     : sd_bus_call_method_async(p->bus, NULL, "org.bluez", p->adapter,
						"org.bluez.LEAdvertisingManager1",
						"RegisterAdvertisement", on_registered, p, "oa{sv}",
						"/adv", 0);
}

static inline int peripheral_start(struct peripheral *p, sd_event *event, const char *address,
				   unsigned adapter)
{
	int r;

	memcpy(p->data, (uint8_t[]){1, 0, 7, 7, 0xaa, 0xbb, 0xcc, (uint8_t)adapter}, 8);
	snprintf(p->adapter, sizeof(p->adapter), "/org/bluez/hci%u", adapter);
	snprintf(p->service, sizeof(p->service), "/lock/s");
	r = sd_bus_new(&p->bus);
	r = r < 0 ? r : sd_bus_set_address(p->bus, address);
	r = r < 0 ? r : sd_bus_set_bus_client(p->bus, 1);
	r = r < 0 ? r : sd_bus_start(p->bus);
	r = r < 0 ? r : sd_bus_attach_event(p->bus, event, 0);
	r = r < 0 ? r : sd_bus_add_object_manager(p->bus, NULL, "/lock");
	r = r < 0 ? r
		  : sd_bus_add_object_vtable(p->bus, NULL, p->service, "org.bluez.GattService1",
					     service_vtable, p);
	for (unsigned i = 0; i < CHRS && r >= 0; i++) {
		struct attribute *a = &p->attributes[i];

		a->peripheral = p;
		a->index = i;
		a->len = (size_t)snprintf((char *)a->value, sizeof(a->value), "%s %u",
					  peripheral_table[i].name, adapter);
		snprintf(a->path, sizeof(a->path), "%s/%s", p->service, peripheral_table[i].name);
		r = sd_bus_add_object_vtable(p->bus, NULL, a->path, CHR, chr_vtable, a);
	}
	r = r < 0 ? r
		  : sd_bus_add_object_vtable(p->bus, NULL, "/adv", "org.bluez.LEAdvertisement1",
					     advert_vtable, p);
	return r < 0 ? r : peripheral_register(p);
}

static inline void peripheral_stop(struct peripheral *p)
{
	p->bus = sd_bus_flush_close_unref(p->bus);
}
