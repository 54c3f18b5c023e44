/* SPDX-License-Identifier: Apache-2.0 */
/*
 * org.bluez.LEAdvertisingManager1: adverts that clients register, and their going on air: while
 * anybody scans, each at its interval. Nothing is timed when nobody listens.
 *
 * A peripheral that is connected to as many centrals as it can be is off the air, as small
 * controllers are.
 */
#include "sim/radio.h"

#include <errno.h>
#include <stdlib.h>

#define ADVERT	"org.bluez.LEAdvertisement1"
#define MANAGER "org.bluez.LEAdvertisingManager1"

enum {
	INSTANCES = 5,
	AD_MAX = 31,	  /* legacy advert */
	DELAY_US = 10000, /* advDelay: up to 10 ms at random */
};

/* --- reading the client's properties -------------------------------------------- */

static int read_strings(sd_bus_message *m, struct advert_data *d)
{
	const char *text;
	int r = sd_bus_message_enter_container(m, 'a', "s");

	d->uuids = 0;
	while (r >= 0 && (r = sd_bus_message_read(m, "s", &text)) > 0)
		if (d->uuids == RADIO_UUIDS || uuid_canonical(text, d->uuid[d->uuids++]) < 0)
			return -EINVAL;
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_field(sd_bus_message *m, struct field *f, bool uuid)
{
	const char *text;
	const void *data;
	size_t len;
	int r = uuid ? sd_bus_message_read(m, "s", &text)
		     : sd_bus_message_read(m, "q", &f->company);

	if (r >= 0 && uuid)
		r = uuid_canonical(text, f->uuid);
	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'v', "ay");
	if (r >= 0)
		r = sd_bus_message_read_array(m, 'y', &data, &len);
	if (r < 0)
		return r;
	if (len > sizeof(f->data))
		return -EMSGSIZE;
	memcpy(f->data, data, len);
	f->len = (uint8_t)len;
	return sd_bus_message_exit_container(m);
}

static int read_fields(sd_bus_message *m, struct field *f, unsigned *n, bool uuid)
{
	int r = sd_bus_message_enter_container(m, 'a', uuid ? "{sv}" : "{qv}");

	*n = 0;
	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', uuid ? "sv" : "qv")) > 0) {
		if (*n == RADIO_FIELDS)
			return -EMSGSIZE;
		f[*n] = (struct field){};
		r = read_field(m, &f[(*n)++], uuid);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_property(sd_bus_message *m, const char *key, struct advert_data *d)
{
	const char *text;
	int r, on;

	if (!strcmp(key, "Type")) {
		r = sd_bus_message_read(m, "s", &text);
		if (r < 0 || (strcmp(text, "peripheral") != 0 && strcmp(text, "broadcast") != 0))
			return -EINVAL;
		d->connectable = !strcmp(text, "peripheral");
		return r;
	}
	if (!strcmp(key, "ServiceUUIDs"))
		return read_strings(m, d);
	if (!strcmp(key, "ServiceData"))
		return read_fields(m, d->service, &d->services, true);
	if (!strcmp(key, "ManufacturerData"))
		return read_fields(m, d->maker, &d->makers, false);
	if (!strcmp(key, "LocalName")) {
		r = sd_bus_message_read(m, "s", &text);
		if (r >= 0)
			snprintf(d->name, sizeof(d->name), "%s", text);
		return r;
	}
	if (!strcmp(key, "Appearance")) {
		d->has_appearance = true;
		return sd_bus_message_read(m, "q", &d->appearance);
	}
	if (!strcmp(key, "Discoverable")) {
		r = sd_bus_message_read(m, "b", &on);
		d->has_flags = on;
		d->flags = on ? 0x06 : 0;
		return r;
	}
	return sd_bus_message_skip(m, NULL);
}

static int read_properties(sd_bus_message *m, struct advert_data *d)
{
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		const char *key, *sig;

		r = sd_bus_message_read(m, "s", &key);
		if (r >= 0)
			r = sd_bus_message_peek_type(m, NULL, &sig);
		if (r >= 0)
			r = sd_bus_message_enter_container(m, 'v', sig);
		if (r >= 0)
			r = read_property(m, key, d);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* Bytes on the air (CSS part A 1): the name goes into the scan response. */
static size_t size_of(const struct advert_data *d)
{
	size_t n = d->has_flags ? 3 : 0, shorts = 0, longs = 0;

	for (unsigned i = 0; i < d->uuids; i++)
		*(uuid_is_short(d->uuid[i]) ? &shorts : &longs) += 1;
	n += shorts ? 2 + 2 * shorts : 0;
	n += longs ? 2 + 16 * longs : 0;
	for (unsigned i = 0; i < d->services; i++)
		n += 2 + (uuid_is_short(d->service[i].uuid) ? 2u : 16u) + d->service[i].len;
	for (unsigned i = 0; i < d->makers; i++)
		n += 4u + d->maker[i].len;
	return n + (d->has_appearance ? 4 : 0);
}

/* --- on the air ----------------------------------------------------------------- */

static bool on_air(struct adapter *a)
{
	return a->powered && !a->board->silent && !a->board->away &&
	       link_count(a, 1) < a->radio->set.peripheral_links;
}

bool advert_connectable(struct adapter *a)
{
	struct advert *v;

	for (each(v, &a->adverts))
		if (v->live && v->data.connectable && on_air(a))
			return true;
	return false;
}

static int on_interval(sd_event_source *s, uint64_t usec, void *user);

static void schedule(struct advert *v, uint64_t wait)
{
	radio_after(v->adapter->radio, wait + radio_random(v->adapter->radio, DELAY_US),
		    on_interval, v, &v->timer);
}

static int on_interval(sd_event_source *s, uint64_t usec, void *user)
{
	struct advert *v = user;
	struct adapter *a = v->adapter;
	struct radio *r = a->radio;
	struct advert_data data = v->data;

	schedule(v, 1000ULL * (a->board->interval_ms ? a->board->interval_ms : r->set.interval_ms));
	if (!data.has_flags && data.connectable && a->discoverable) {
		data.has_flags = true;
		data.flags = 0x06;
	}
	a->board->stats.adverts++;
	discovery_report(r, a->board, a->board->addr, false, &data);
	return 0;
}

static int on_flood(sd_event_source *s, uint64_t usec, void *user);

void advert_wake(struct radio *r)
{
	bool heard = discovery_any(r);
	struct adapter *a;
	struct advert *v;

	for (each(a, &r->adapters))
		for (each(v, &a->adverts)) {
			if (!v->live || !heard || !on_air(a))
				v->timer = sd_event_source_disable_unref(v->timer);
			else if (!v->timer)
				schedule(v, radio_random(r, 1000 * r->set.interval_ms));
		}
	if (!r->flood_rate || !heard)
		r->flood = sd_event_source_disable_unref(r->flood);
	else if (!r->flood)
		radio_after(r, 1000000 / r->flood_rate, on_flood, r, &r->flood);
}

/* Service data as a lock of ours has it. */
static void lock_data(struct advert_data *d, const uint8_t *bytes, size_t len)
{
	d->services = 1;
	snprintf(d->service[0].uuid, UUID_SIZE, "%s", LOCK_SERVICE);
	d->service[0].len = (uint8_t)len;
	memcpy(d->service[0].data, bytes, len);
}

int advert_spoof(struct radio *r, struct board *b, const uint8_t *bytes, size_t len)
{
	struct advert_data data = {.connectable = true, .has_flags = true, .flags = 0x06};

	if (len > AD_MAX - 18 - 3)
		return -EMSGSIZE;
	lock_data(&data, bytes, len);
	discovery_report(r, b, b->addr, false, &data);
	return 0;
}

/* Foreign devices with random addresses, each heard in its turn. */
static int on_flood(sd_event_source *s, uint64_t usec, void *user)
{
	struct radio *r = user;
	uint32_t n = r->flood_next++ % r->flood_size;
	struct advert_data data = {.connectable = true, .has_flags = true, .flags = 0x06};
	uint8_t bytes[12];
	uint8_t addr[6] = {
		0xc0, 0x5e, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)radio_random(r, 256);
	if (r->flood_ours) {
		bytes[0] = 1; /* the profile; no flags, and any bytes */
		bytes[1] = 0;
		lock_data(&data, bytes, 8);
	} else {
		data.makers = 1;
		data.maker[0].company = 0xffff;
		data.maker[0].len = sizeof(bytes);
		memcpy(data.maker[0].data, bytes, sizeof(bytes));
	}
	discovery_report(r, NULL, addr, true, &data);
	return radio_after(r, 1000000 / r->flood_rate, on_flood, r, &r->flood);
}

/* --- the manager ---------------------------------------------------------------- */

static void instances_changed(struct adapter *a)
{
	object_changed(a->obj, MANAGER, "ActiveInstances");
	object_changed(a->obj, MANAGER, "SupportedInstances");
}

static void advert_free(struct advert *v)
{
	TAILQ_REMOVE(&v->adapter->adverts, v, entry);
	sd_bus_slot_unref(v->call);
	sd_bus_slot_unref(v->changes);
	sd_bus_message_unref(v->reg);
	sd_event_source_disable_unref(v->timer);
	free(v->owner);
	free(v->path);
	free(v);
}

static int on_changed(sd_bus_message *m, void *user, sd_bus_error *err)
{
	struct advert *v = user;
	struct advert_data d = v->data;
	const char *iface;

	if (sd_bus_message_read(m, "s", &iface) < 0 || strcmp(iface, ADVERT) != 0)
		return 0;
	if (read_properties(m, &d) >= 0 && size_of(&d) <= AD_MAX)
		v->data = d; /* else the last good one stays on the air */
	if (v->timer)
		schedule(v, 0); /* a new instance starts at once */
	return 0;
}

static int on_properties(sd_bus_message *m, void *user, sd_bus_error *err)
{
	struct advert *v = user;
	struct adapter *a = v->adapter;
	struct radio *r = a->radio;
	const char *text = "Failed to parse advertisement.";
	int rc = -EINVAL;

	v->call = sd_bus_slot_unref(v->call);
	if (!sd_bus_message_is_method_error(m, NULL))
		rc = read_properties(m, &v->data);
	if (rc >= 0 && (size_of(&v->data) > AD_MAX || !a->powered)) {
		text = "Failed to register advertisement";
		rc = -EINVAL;
	}
	if (rc >= 0)
		rc = bus_match_changes(r, v->owner, v->path, false, on_changed, v, &v->changes);
	if (rc < 0) {
		refuse(r, v->reg, "Failed", text);
		advert_free(v);
		return 0;
	}
	v->live = true;
	instances_changed(a);
	answer(r, v->reg);
	v->reg = sd_bus_message_unref(v->reg);
	advert_wake(r);
	link_kick(r);
	return 0;
}

static unsigned advert_count(struct adapter *a)
{
	struct advert *v;
	unsigned n = 0;

	for (each(v, &a->adverts))
		n++;
	return n;
}

static struct advert *advert_find(struct adapter *a, const char *owner, const char *path)
{
	struct advert *v;

	for (each(v, &a->adverts))
		if (!strcmp(v->owner, owner) && !strcmp(v->path, path))
			return v;
	return NULL;
}

static int register_advert(struct object *o, sd_bus_message *m)
{
	struct adapter *a = o->user;
	const char *path, *owner = sd_bus_message_get_sender(m);
	struct advert *v;
	int r = sd_bus_message_read(m, "o", &path);

	if (r < 0)
		return r;
	if (advert_find(a, owner, path))
		return refuse(o->radio, m, "AlreadyExists", "Already Exists");
	if (advert_count(a) >= INSTANCES)
		return refuse(o->radio, m, "NotPermitted", "Maximum advertisements reached");
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->adapter = a;
	TAILQ_INSERT_TAIL(&a->adverts, v, entry);
	v->owner = strdup(owner);
	v->path = strdup(path);
	v->reg = sd_bus_message_ref(m);
	r = v->owner && v->path ? 0 : -ENOMEM;
	if (r >= 0)
		r = sd_bus_call_method_async(o->radio->bus, &v->call, owner, path,
					     "org.freedesktop.DBus.Properties", "GetAll",
					     on_properties, v, "s", ADVERT);
	if (r < 0)
		advert_free(v);
	return r;
}

static int unregister_advert(struct object *o, sd_bus_message *m)
{
	struct adapter *a = o->user;
	const char *path;
	struct advert *v;
	int r = sd_bus_message_read(m, "o", &path);

	if (r < 0)
		return r;
	v = advert_find(a, sd_bus_message_get_sender(m), path);
	if (!v)
		return refuse(o->radio, m, "DoesNotExist", "Does Not Exist");
	advert_free(v);
	instances_changed(a);
	return answer(o->radio, m);
}

void advert_gone(struct adapter *a, const char *owner, bool release)
{
	struct advert *v = TAILQ_FIRST(&a->adverts);
	bool any = false;

	while (v) {
		struct advert *next = TAILQ_NEXT(v, entry);

		if (!owner || !strcmp(v->owner, owner)) {
			if (release && v->live && a->radio->bus)
				sd_bus_call_method_async(a->radio->bus, NULL, v->owner, v->path,
							 ADVERT, "Release", NULL, NULL, NULL);
			advert_free(v);
			any = true;
		}
		v = next;
	}
	if (any)
		instances_changed(a);
}

static int get_active(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append(m, "y", (uint8_t)advert_count(o->user));
}

static int get_supported(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append(m, "y", (uint8_t)(INSTANCES - advert_count(o->user)));
}

static int get_includes(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append(m, "as", 3, "tx-power", "appearance", "local-name");
}

static const struct method methods[] = {
	{"RegisterAdvertisement", "oa{sv}", "", register_advert},
	{"UnregisterAdvertisement", "o", "", unregister_advert},
	{},
};

static const struct property properties[] = {
	{"ActiveInstances", "y", get_active, NULL, NULL},
	{"SupportedInstances", "y", get_supported, NULL, NULL},
	{"SupportedIncludes", "as", get_includes, NULL, NULL},
	{},
};

const struct interface advert_manager = {MANAGER, methods, properties};
