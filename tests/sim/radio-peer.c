/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What org.bluez.Device1 shows of a peer, and how an advert changes it.
 */
#include "sim/radio.h"

#include <stdlib.h>

#define DEVICE "org.bluez.Device1"

/* Without DuplicateData an RSSI that moved less is not reported. */
enum { RSSI_STEP = 8 };

static int get_address(struct object *o, sd_bus_message *m)
{
	const uint8_t *p = ((struct device *)o->user)->addr;
	char text[18];

	snprintf(text, sizeof(text), "%02X:%02X:%02X:%02X:%02X:%02X", p[0], p[1], p[2], p[3], p[4],
		 p[5]);
	return get_string(m, text);
}

static int get_address_type(struct object *o, sd_bus_message *m)
{
	return get_string(m, ((struct device *)o->user)->random ? "random" : "public");
}

static bool has_name(struct object *o)
{
	return ((struct device *)o->user)->seen.name[0];
}

static int get_name(struct object *o, sd_bus_message *m)
{
	return get_string(m, ((struct device *)o->user)->seen.name);
}

static int get_alias(struct object *o, sd_bus_message *m)
{
	struct device *d = o->user;
	const uint8_t *p = d->addr;
	char text[18];

	if (d->alias[0] || d->seen.name[0])
		return get_string(m, d->alias[0] ? d->alias : d->seen.name);
	snprintf(text, sizeof(text), "%02X-%02X-%02X-%02X-%02X-%02X", p[0], p[1], p[2], p[3], p[4],
		 p[5]);
	return get_string(m, text);
}

static int set_alias(struct object *o, sd_bus_message *m)
{
	struct device *d = o->user;
	const char *alias;
	int r = sd_bus_message_read(m, "s", &alias);

	if (r < 0)
		return r;
	snprintf(d->alias, sizeof(d->alias), "%s", alias);
	object_changed(o, DEVICE, "Alias");
	return answer(o->radio, m);
}

static bool has_appearance(struct object *o)
{
	return ((struct device *)o->user)->seen.has_appearance;
}

static int get_appearance(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append_basic(m, 'q', &((struct device *)o->user)->seen.appearance);
}

static int get_false(struct object *o, sd_bus_message *m)
{
	return get_bool(m, false);
}

static int get_trusted(struct object *o, sd_bus_message *m)
{
	return get_bool(m, ((struct device *)o->user)->trusted);
}

static int get_blocked(struct object *o, sd_bus_message *m)
{
	return get_bool(m, ((struct device *)o->user)->blocked);
}

static int get_connected(struct object *o, sd_bus_message *m)
{
	return get_bool(m, ((struct device *)o->user)->connected);
}

static int get_resolved(struct object *o, sd_bus_message *m)
{
	return get_bool(m, ((struct device *)o->user)->resolved);
}

static bool has_rssi(struct object *o)
{
	return ((struct device *)o->user)->rssi != 0;
}

static int get_rssi(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append_basic(m, 'n', &((struct device *)o->user)->rssi);
}

static int get_adapter(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append_basic(m, 'o', ((struct device *)o->user)->adapter->path);
}

static int get_uuids(struct object *o, sd_bus_message *m)
{
	struct device *d = o->user;
	struct rservice *s;
	int r = sd_bus_message_open_container(m, 'a', "s");

	for (unsigned i = 0; r >= 0 && i < d->seen.uuids; i++)
		r = get_string(m, d->seen.uuid[i]);
	for (each(s, &d->services)) {
		bool twice = false;

		for (unsigned i = 0; i < d->seen.uuids; i++)
			twice = twice || !strcmp(d->seen.uuid[i], s->uuid);
		if (r >= 0 && !twice)
			r = get_string(m, s->uuid);
	}
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static bool has_services(struct object *o)
{
	return ((struct device *)o->user)->seen.services;
}

static bool has_makers(struct object *o)
{
	return ((struct device *)o->user)->seen.makers;
}

static int append_fields(sd_bus_message *m, const struct field *f, unsigned n, bool uuid)
{
	int r = sd_bus_message_open_container(m, 'a', uuid ? "{sv}" : "{qv}");

	for (unsigned i = 0; r >= 0 && i < n; i++) {
		r = sd_bus_message_open_container(m, 'e', uuid ? "sv" : "qv");
		if (r >= 0)
			r = uuid ? get_string(m, f[i].uuid)
				 : sd_bus_message_append_basic(m, 'q', &f[i].company);
		if (r >= 0)
			r = sd_bus_message_open_container(m, 'v', "ay");
		if (r >= 0)
			r = sd_bus_message_append_array(m, 'y', f[i].data, f[i].len);
		if (r >= 0)
			r = sd_bus_message_close_container(m);
		if (r >= 0)
			r = sd_bus_message_close_container(m);
	}
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int get_services(struct object *o, sd_bus_message *m)
{
	struct device *d = o->user;

	return append_fields(m, d->seen.service, d->seen.services, true);
}

static int get_makers(struct object *o, sd_bus_message *m)
{
	struct device *d = o->user;

	return append_fields(m, d->seen.maker, d->seen.makers, false);
}

static bool has_flags(struct object *o)
{
	return ((struct device *)o->user)->seen.has_flags;
}

static int get_flags(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append_array(m, 'y', &((struct device *)o->user)->seen.flags, 1);
}

static int set_trusted(struct object *o, sd_bus_message *m)
{
	struct device *d = o->user;
	int on, r = sd_bus_message_read(m, "b", &on);

	if (r < 0)
		return r;
	d->trusted = on;
	object_changed(o, DEVICE, "Trusted");
	return answer(o->radio, m);
}

static int set_blocked(struct object *o, sd_bus_message *m)
{
	struct device *d = o->user;
	int on, r = sd_bus_message_read(m, "b", &on);

	if (r < 0)
		return r;
	d->blocked = on;
	if (on && d->link)
		link_drop(d->link);
	object_changed(o, DEVICE, "Blocked");
	return answer(o->radio, m);
}

const struct property peer_properties[] = {
	{"Address", "s", get_address, NULL, NULL},
	{"AddressType", "s", get_address_type, NULL, NULL},
	{"Name", "s", get_name, has_name, NULL},
	{"Alias", "s", get_alias, NULL, set_alias},
	{"Appearance", "q", get_appearance, has_appearance, NULL},
	{"Paired", "b", get_false, NULL, NULL},
	{"Trusted", "b", get_trusted, NULL, set_trusted},
	{"Blocked", "b", get_blocked, NULL, set_blocked},
	{"LegacyPairing", "b", get_false, NULL, NULL},
	{"RSSI", "n", get_rssi, has_rssi, NULL},
	{"Connected", "b", get_connected, NULL, NULL},
	{"UUIDs", "as", get_uuids, NULL, NULL},
	{"Adapter", "o", get_adapter, NULL, NULL},
	{"ManufacturerData", "a{qv}", get_makers, has_makers, NULL},
	{"ServiceData", "a{sv}", get_services, has_services, NULL},
	{"ServicesResolved", "b", get_resolved, NULL, NULL},
	{"AdvertisingFlags", "ay", get_flags, has_flags, NULL},
	{},
};

void device_uuids_changed(struct device *d)
{
	object_changed(d->obj, DEVICE, "UUIDs");
}

/* --- what was heard ------------------------------------------------------------- */

void device_forget_signal(struct device *d)
{
	if (!d->rssi)
		return;
	d->rssi = 0;
	object_changed(d->obj, DEVICE, "RSSI");
}

static bool same_field(const struct field *a, const struct field *b)
{
	return a->company == b->company && !strcmp(a->uuid, b->uuid);
}

static bool merge_fields(struct field *to, unsigned *n, const struct field *from, unsigned count)
{
	bool changed = false;

	for (unsigned i = 0; i < count; i++) {
		unsigned k = 0;

		while (k < *n && !same_field(&to[k], &from[i]))
			k++;
		if (k == RADIO_FIELDS || (k < *n && !memcmp(&to[k], &from[i], sizeof(to[k]))))
			continue;
		*n += k == *n;
		to[k] = from[i];
		changed = true;
	}
	return changed;
}

static bool merge_uuids(struct advert_data *to, const struct advert_data *from)
{
	bool changed = false;

	for (unsigned i = 0; i < from->uuids; i++) {
		unsigned k = 0;

		while (k < to->uuids && strcmp(to->uuid[k], from->uuid[i]) != 0)
			k++;
		if (k < to->uuids || k == RADIO_UUIDS)
			continue;
		memcpy(to->uuid[to->uuids++], from->uuid[i], UUID_SIZE);
		changed = true;
	}
	return changed;
}

void device_seen(struct device *d, const struct advert_data *data, int rssi, bool duplicate)
{
	struct advert_data *to = &d->seen;

	if (!d->rssi || duplicate || abs(d->rssi - rssi) >= RSSI_STEP) {
		d->rssi = (int16_t)rssi;
		object_changed(d->obj, DEVICE, "RSSI");
	}
	if (data->has_flags && (!to->has_flags || to->flags != data->flags)) {
		to->has_flags = true;
		to->flags = data->flags;
		object_changed(d->obj, DEVICE, "AdvertisingFlags");
	}
	if (data->name[0] && strcmp(to->name, data->name) != 0) {
		memcpy(to->name, data->name, sizeof(to->name));
		object_changed(d->obj, DEVICE, "Name");
		object_changed(d->obj, DEVICE, "Alias");
	}
	if (data->has_appearance && (!to->has_appearance || to->appearance != data->appearance)) {
		to->has_appearance = true;
		to->appearance = data->appearance;
		object_changed(d->obj, DEVICE, "Appearance");
	}
	if (merge_uuids(to, data))
		object_changed(d->obj, DEVICE, "UUIDs");
	if (duplicate) /* as the daemon: what is not in this advert is forgotten */
		to->services = data->services ? 0 : to->services,
		to->makers = data->makers ? 0 : to->makers;
	if (merge_fields(to->service, &to->services, data->service, data->services))
		object_changed(d->obj, DEVICE, "ServiceData");
	if (merge_fields(to->maker, &to->makers, data->maker, data->makers))
		object_changed(d->obj, DEVICE, "ManufacturerData");
	bus_flush(d->adapter->radio);
}
