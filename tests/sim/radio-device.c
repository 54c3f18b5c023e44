/* SPDX-License-Identifier: Apache-2.0 */
/*
 * org.bluez.Device1: what one adapter knows of one peer, its life, Connect and Disconnect.
 *
 * A device that was only heard goes when it was silent for TemporaryTimeout; Connect makes it stay
 * (setting always-temporary: it goes all the same).
 */
#include "sim/radio.h"

#include <errno.h>
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
	TAILQ_FOREACH(s, &d->services, entry)
	{
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

/* --- Connect ------------------------------------------------------------------------------------- */

void device_connected(struct device *d, const char *error)
{
	d->timeout = sd_event_source_disable_unref(d->timeout);
	d->attempt = sd_event_source_disable_unref(d->attempt);
	if (!d->connect)
		return;
	if (error)
		refuse(d->adapter->radio, d->connect, "Failed", error);
	else
		answer(d->adapter->radio, d->connect);
	d->connect = sd_bus_message_unref(d->connect);
	if (error)
		d->adapter->board->stats.refused++;
	device_linger(d);
}

static int on_connect_timeout(sd_event_source *s, uint64_t usec, void *user)
{
	device_connected(user, "le-connection-abort-by-local");
	return 0;
}

void device_retry(struct device *d)
{
	if (!d->connect || d->attempt || d->link)
		return;
	if (link_attempt(d) == 2)
		device_connected(d, "le-connection-abort-by-local");
}

static int connect_device(struct object *o, sd_bus_message *m)
{
	struct device *d = o->user;
	struct radio *r = o->radio;
	int rc;

	if (d->blocked)
		return refuse(r, m, "Failed", "Connection refused");
	if (d->connect)
		return refuse(r, m, "Failed", "Operation already in progress");
	if (d->connected)
		return answer(r, m);
	if (!d->adapter->powered)
		return refuse(r, m, "Failed", "Input/output error");
	if (!r->set.always_temporary)
		d->temporary = false;
	d->connect = sd_bus_message_ref(m);
	d->expire = sd_event_source_disable_unref(d->expire);
	rc = radio_after(r, r->set.connect_timeout_ms * 1000ULL, on_connect_timeout, d,
			 &d->timeout);
	if (rc >= 0)
		device_retry(d);
	return rc;
}

/* --- Disconnect: the daemon waits two seconds for profiles before it takes the link down ---------- */

static int on_disconnect(sd_event_source *s, uint64_t usec, void *user)
{
	struct device *d = user;

	d->disconnect = sd_event_source_disable_unref(d->disconnect);
	if (d->link)
		link_drop(d->link);
	return 0;
}

int device_request_disconnect(struct device *d, sd_bus_message *m)
{
	struct radio *r = d->adapter->radio;

	if (d->connect)
		device_connected(d, "br-connection-canceled");
	if (!d->connected)
		return answer(r, m);
	if (d->waiting == ARRAY_SIZE(d->disconnects))
		return refuse(r, m, "Failed", "Operation already in progress");
	d->disconnects[d->waiting++] = sd_bus_message_ref(m);
	if (d->disconnect)
		return 0;
	return radio_after(r, radio_draw(r, r->set.disconnect), on_disconnect, d, &d->disconnect);
}

static int disconnect_device(struct object *o, sd_bus_message *m)
{
	return device_request_disconnect(o->user, m);
}

/* RemoveDevice */
int device_remove(struct device *d, sd_bus_message *m)
{
	struct radio *r = d->adapter->radio;

	d->temporary = true;
	if (d->connected)
		return device_request_disconnect(d, m);
	device_connected(d, "br-connection-canceled");
	device_free(d);
	return answer(r, m);
}

static int not_here(struct object *o, sd_bus_message *m)
{
	return refuse(o->radio, m, "NotAvailable", "Operation currently not available");
}

static const struct method methods[] = {
	{"Disconnect", "", "", disconnect_device},
	{"Connect", "", "", connect_device},
	{"ConnectProfile", "s", "", not_here},
	{"DisconnectProfile", "s", "", not_here},
	{"Pair", "", "", not_here},
	{"CancelPairing", "", "", not_here},
	{},
};

static const struct property properties[] = {
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

static const struct interface device_interface = {DEVICE, methods, properties};

/* --- life ---------------------------------------------------------------------------------------- */

struct device *device_find(struct adapter *a, const uint8_t addr[6])
{
	struct device *d;

	TAILQ_FOREACH(d, &a->devices, entry)
	if (!memcmp(d->addr, addr, 6))
		return d;
	return NULL;
}

static int on_expire(sd_event_source *s, uint64_t usec, void *user)
{
	device_free(user);
	return 0;
}

void device_linger(struct device *d)
{
	struct radio *r = d->adapter->radio;

	if (d->temporary && !d->connected && !d->connect)
		radio_after(r, r->set.temporary_ms * 1000ULL, on_expire, d, &d->expire);
}

int device_get(struct adapter *a, const uint8_t addr[6], bool random, struct device **ret)
{
	struct device *d = device_find(a, addr);
	char path[64];
	int r;

	if (d) {
		*ret = d;
		return 0;
	}
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->adapter = a;
	d->random = random;
	d->temporary = true;
	memcpy(d->addr, addr, 6);
	TAILQ_INIT(&d->services);
	snprintf(path, sizeof(path), "%s/dev_%02X_%02X_%02X_%02X_%02X_%02X", a->path, addr[0],
		 addr[1], addr[2], addr[3], addr[4], addr[5]);
	r = object_add(a->radio, path, d, &device_interface, NULL, NULL, &d->obj);
	if (r < 0) {
		free(d);
		return r;
	}
	TAILQ_INSERT_TAIL(&a->devices, d, entry);
	device_linger(d);
	*ret = d;
	return 0;
}

/* Answers who waits for the end of the link; says whether one of them wants the device removed. */
static bool answer_disconnects(struct device *d)
{
	bool remove = false;

	for (unsigned i = 0; i < d->waiting; i++) {
		remove = remove ||
			 !strcmp(sd_bus_message_get_member(d->disconnects[i]), "RemoveDevice");
		answer(d->adapter->radio, d->disconnects[i]);
		sd_bus_message_unref(d->disconnects[i]);
	}
	d->waiting = 0;
	return remove;
}

void device_free(struct device *d)
{
	answer_disconnects(d); /* before the link: device_down() would free d for a RemoveDevice */
	if (d->link)
		link_drop(d->link);
	device_connected(d, "br-connection-canceled");
	client_clear(d);
	TAILQ_REMOVE(&d->adapter->devices, d, entry);
	object_remove(d->obj);
	sd_event_source_disable_unref(d->expire);
	sd_event_source_disable_unref(d->disconnect);
	free(d);
}

void device_up(struct device *d, struct link *l, int side)
{
	d->link = l;
	d->side = side;
	d->connected = true;
	d->expire = sd_event_source_disable_unref(d->expire);
	object_changed(d->obj, DEVICE, "Connected");
	device_connected(d, NULL);
}

void device_resolved(struct device *d)
{
	d->resolved = true;
	object_changed(d->obj, DEVICE, "ServicesResolved");
	bus_flush(d->adapter->radio);
}

/*
 * The link is gone. Who asked for it is answered between the two changes, as the daemon does: the
 * answer to Disconnect comes before Connected=false. May free d: RemoveDevice was waiting for this.
 */
void device_down(struct device *d)
{
	bool remove;

	d->link = NULL;
	if (d->resolved)
		object_changed(d->obj, DEVICE, "ServicesResolved");
	d->resolved = false;
	d->disconnect = sd_event_source_disable_unref(d->disconnect);
	client_link_gone(d);
	remove = answer_disconnects(d);
	d->connected = false;
	object_changed(d->obj, DEVICE, "Connected");
	if (remove)
		device_free(d);
	else
		device_linger(d);
}

void device_uuids_changed(struct device *d)
{
	object_changed(d->obj, DEVICE, "UUIDs");
}

/* --- what was heard ------------------------------------------------------------------------------- */

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
