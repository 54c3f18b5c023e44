// SPDX-License-Identifier: Apache-2.0
/*
 * What bluetoothd asks a lock: the objects of its GATT application, reads, writes, notifications, and
 * what its advertisements carry (BlueZ 5.66, doc/gatt-api.txt and doc/advertising-api.txt).
 */
#include "sim/lock-peripheral-private.h"

#include <errno.h>
#include <stdio.h>

#define BLUEZ "org.bluez"

/* --- GATT application
 * -------------------------------------------------------------------------------- */

void lock_uuid(unsigned number, char ret[static LOCK_UUID_CAP])
{
	snprintf(ret, LOCK_UUID_CAP, "2ff9%04x-f488-4501-a0b4-1a1753dee155", number);
}

static int get_service_uuid(sd_bus *bus, const char *path, const char *interface,
			    const char *property, sd_bus_message *reply, void *user,
			    sd_bus_error *error)
{
	char uuid[LOCK_UUID_CAP];

	lock_uuid(1, uuid);
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
	char uuid[LOCK_UUID_CAP];

	lock_uuid(c->number, uuid);
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

void peripheral_send_away(struct peripheral *p, const char *device)
{
	sd_bus_call_method_async(p->bus, NULL, BLUEZ, device, "org.bluez.Device1", "Disconnect",
				 NULL, NULL, "");
}

bool peripheral_greet(struct peripheral *p, const char *device)
{
	if (p->device[0] && strcmp(p->device, device) != 0) {
		peripheral_send_away(p, device);
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
	if (!peripheral_greet(p, o.device))
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
	if (!peripheral_greet(p, o.device))
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

void peripheral_notify(struct chr *c, struct span value)
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
	char uuid[LOCK_UUID_CAP];
	int r;

	lock_uuid(1, uuid);
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

void peripheral_advert_path(const struct peripheral *p, unsigned i, char ret[static 80])
{
	snprintf(ret, 80, "%s/%u", p->advert_root, i);
}

int peripheral_add_gatt(struct peripheral *p)
{
	unsigned i;
	int r = sd_bus_add_object_manager(p->bus, peripheral_slot(p), p->root);

	if (r >= 0)
		r = sd_bus_add_object_vtable(p->bus, peripheral_slot(p), p->service,
					     "org.bluez.GattService1", service_vtable, p);
	for (i = CHR_INFO; i < CHR_END && r >= 0; i++) {
		struct chr *c = &p->chrs[i];

		c->p = p;
		c->number = i;
		snprintf(c->path, sizeof(c->path), "%s/char%u", p->service, i);
		r = sd_bus_add_object_vtable(p->bus, &c->slot, c->path,
					     "org.bluez.GattCharacteristic1", chr_vtable, c);
	}
	return r;
}

int peripheral_add_adverts(struct peripheral *p)
{
	char path[80];
	unsigned i;
	int r = 0;

	for (i = 0; i < p->adverts && r >= 0; i++) {
		peripheral_advert_path(p, i, path);
		r = sd_bus_add_object_vtable(p->bus, peripheral_slot(p), path,
					     "org.bluez.LEAdvertisement1", advert_vtable, p);
	}
	return r;
}
