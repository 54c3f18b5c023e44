/* SPDX-License-Identifier: Apache-2.0 */
/*
 * org.bluez.Adapter1: properties, power, removal of devices. Discovery is next door.
 */
#include "sim/radio.h"

#include <errno.h>
#include <stdlib.h>

#define ADAPTER "org.bluez.Adapter1"

static int get_address(struct object *o, sd_bus_message *m)
{
	struct adapter *a = o->user;
	const uint8_t *p = a->board->addr;
	char text[18];

	snprintf(text, sizeof(text), "%02X:%02X:%02X:%02X:%02X:%02X", p[0], p[1], p[2], p[3], p[4],
		 p[5]);
	return get_string(m, text);
}

static int get_address_type(struct object *o, sd_bus_message *m)
{
	return get_string(m, "public");
}

static int get_name(struct object *o, sd_bus_message *m)
{
	return get_string(m, "radio");
}

static int get_alias(struct object *o, sd_bus_message *m)
{
	struct adapter *a = o->user;

	return get_string(m, a->alias[0] ? a->alias : "radio");
}

static int set_alias(struct object *o, sd_bus_message *m)
{
	struct adapter *a = o->user;
	const char *alias;
	int r = sd_bus_message_read(m, "s", &alias);

	if (r < 0)
		return r;
	snprintf(a->alias, sizeof(a->alias), "%s", alias);
	object_changed(o, ADAPTER, "Alias");
	return answer(o->radio, m);
}

static int get_class(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append(m, "u", 0);
}

static int get_powered(struct object *o, sd_bus_message *m)
{
	return get_bool(m, ((struct adapter *)o->user)->powered);
}

static int get_discoverable(struct object *o, sd_bus_message *m)
{
	return get_bool(m, ((struct adapter *)o->user)->discoverable);
}

static int get_pairable(struct object *o, sd_bus_message *m)
{
	return get_bool(m, ((struct adapter *)o->user)->pairable);
}

static int get_discoverable_timeout(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append(m, "u", ((struct adapter *)o->user)->discoverable_timeout);
}

static int get_pairable_timeout(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append(m, "u", ((struct adapter *)o->user)->pairable_timeout);
}

static int get_discovering(struct object *o, sd_bus_message *m)
{
	return get_bool(m, ((struct adapter *)o->user)->discovering);
}

static int get_uuids(struct object *o, sd_bus_message *m)
{
	struct adapter *a = o->user;
	struct app *app;
	int r = sd_bus_message_open_container(m, 'a', "s");

	for (each(app, &a->apps)) {
		struct gservice *s;

		for (each(s, &app->services))
			if (r >= 0 && app->live)
				r = get_string(m, s->uuid);
	}
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int get_modalias(struct object *o, sd_bus_message *m)
{
	return get_string(m, "usb:v1D6Bp0246d0542");
}

static int get_roles(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append(m, "as", 3, "central", "peripheral", "central-peripheral");
}

/* --- power ---------------------------------------------------------------------- */

static void take_power(struct adapter *a)
{
	struct device *d;

	discovery_gone(a, NULL);
	for (each(d, &a->devices))
		device_connected(d, "le-connection-abort-by-local");
	link_drop_all(a);
}

void adapter_power(struct adapter *a, bool on)
{
	if (a->powered == on)
		return;
	a->powered = on;
	if (!on) {
		take_power(a);
		discovery_cured(a->board, CURE_POWER);
	}
	object_changed(a->obj, ADAPTER, "Powered");
	advert_wake(a->radio);
	link_kick(a->radio);
}

static int on_power(sd_event_source *s, uint64_t usec, void *user)
{
	struct adapter *a = user;

	a->power = sd_event_source_disable_unref(a->power);
	adapter_power(a, a->powering);
	if (a->power_reply)
		answer(a->radio, a->power_reply);
	a->power_reply = sd_bus_message_unref(a->power_reply);
	return 0;
}

static int set_powered(struct object *o, sd_bus_message *m)
{
	struct adapter *a = o->user;
	int on, r = sd_bus_message_read(m, "b", &on);

	if (r < 0)
		return r;
	if (a->power_reply)
		return refuse(o->radio, m, "Busy", "");
	if (a->powered == !!on)
		return answer(o->radio, m);
	a->powering = on;
	a->power_reply = sd_bus_message_ref(m);
	return radio_after(o->radio, radio_draw(o->radio, o->radio->set.power), on_power, a,
			   &a->power);
}

static int set_discoverable(struct object *o, sd_bus_message *m)
{
	struct adapter *a = o->user;
	int on, r = sd_bus_message_read(m, "b", &on);

	if (r < 0)
		return r;
	if (!a->powered)
		return refuse(o->radio, m, "Failed", "Not Powered");
	a->discoverable = on;
	object_changed(o, ADAPTER, "Discoverable");
	return answer(o->radio, m);
}

static int set_pairable(struct object *o, sd_bus_message *m)
{
	struct adapter *a = o->user;
	int on, r = sd_bus_message_read(m, "b", &on);

	if (r < 0)
		return r;
	a->pairable = on;
	object_changed(o, ADAPTER, "Pairable");
	return answer(o->radio, m);
}

static int set_discoverable_timeout(struct object *o, sd_bus_message *m)
{
	int r = sd_bus_message_read(m, "u", &((struct adapter *)o->user)->discoverable_timeout);

	object_changed(o, ADAPTER, "DiscoverableTimeout");
	return r < 0 ? r : answer(o->radio, m);
}

static int set_pairable_timeout(struct object *o, sd_bus_message *m)
{
	int r = sd_bus_message_read(m, "u", &((struct adapter *)o->user)->pairable_timeout);

	object_changed(o, ADAPTER, "PairableTimeout");
	return r < 0 ? r : answer(o->radio, m);
}

static int remove_device(struct object *o, sd_bus_message *m)
{
	struct adapter *a = o->user;
	const char *path;
	struct device *d;
	int r = sd_bus_message_read(m, "o", &path);

	if (r < 0)
		return r;
	for (each(d, &a->devices))
		if (!strcmp(d->obj->path, path))
			return device_remove(d, m);
	return refuse(o->radio, m, "DoesNotExist", "Does Not Exist");
}

static const struct method methods[] = {
	{"StartDiscovery", "", "", discovery_start},
	{"SetDiscoveryFilter", "a{sv}", "", discovery_filter},
	{"StopDiscovery", "", "", discovery_stop},
	{"RemoveDevice", "o", "", remove_device},
	{"GetDiscoveryFilters", "", "as", discovery_filters},
	{},
};

static const struct property properties[] = {
	{"Address", "s", get_address, NULL, NULL},
	{"AddressType", "s", get_address_type, NULL, NULL},
	{"Name", "s", get_name, NULL, NULL},
	{"Alias", "s", get_alias, NULL, set_alias},
	{"Class", "u", get_class, NULL, NULL},
	{"Powered", "b", get_powered, NULL, set_powered},
	{"Discoverable", "b", get_discoverable, NULL, set_discoverable},
	{"DiscoverableTimeout", "u", get_discoverable_timeout, NULL, set_discoverable_timeout},
	{"Pairable", "b", get_pairable, NULL, set_pairable},
	{"PairableTimeout", "u", get_pairable_timeout, NULL, set_pairable_timeout},
	{"Discovering", "b", get_discovering, NULL, NULL},
	{"UUIDs", "as", get_uuids, NULL, NULL},
	{"Modalias", "s", get_modalias, NULL, NULL},
	{"Roles", "as", get_roles, NULL, NULL},
	{},
};

static const struct interface adapter_interface = {ADAPTER, methods, properties};

/* --- coming and going ----------------------------------------------------------- */

int adapter_new(struct radio *r, struct board *b, struct adapter **ret)
{
	struct adapter *a = calloc(1, sizeof(*a));
	int rc;

	if (!a)
		return -ENOMEM;
	a->radio = r;
	a->board = b;
	a->powered = true;
	a->discoverable_timeout = 180;
	a->next_handle = 1;
	snprintf(a->path, sizeof(a->path), "/org/bluez/hci%d", b->index);
	TAILQ_INIT(&a->sessions);
	TAILQ_INIT(&a->devices);
	TAILQ_INIT(&a->adverts);
	TAILQ_INIT(&a->apps);
	rc = object_add(r, a->path, a, &adapter_interface, &gatt_manager, &advert_manager, &a->obj);
	if (rc < 0) {
		free(a);
		return rc;
	}
	TAILQ_INSERT_TAIL(&r->adapters, a, entry);
	rc = server_builtin(a);
	if (rc < 0) {
		adapter_free(a, false);
		return rc;
	}
	*ret = a;
	return 0;
}

/* orderly: the radio was pulled and the daemon tells; else the daemon itself is gone. */
void adapter_free(struct adapter *a, bool orderly)
{
	struct radio *r = a->radio;
	struct device *d;

	if (orderly)
		adapter_power(a, false);
	discovery_gone(a, NULL);
	link_drop_all(a);
	if (orderly)
		bus_flush(r);
	advert_gone(a, NULL, orderly);
	while ((d = TAILQ_FIRST(&a->devices)))
		device_free(d);
	app_gone(a, NULL);
	TAILQ_REMOVE(&r->adapters, a, entry);
	object_remove(a->obj);
	sd_event_source_disable_unref(a->power);
	sd_bus_message_unref(a->power_reply);
	free(a);
}

struct adapter *adapter_of(struct radio *r, const struct board *b)
{
	struct adapter *a;

	for (each(a, &r->adapters))
		if (a->board == b)
			return a;
	return NULL;
}
