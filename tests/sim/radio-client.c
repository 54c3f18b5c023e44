/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GattService1, GattCharacteristic1, GattDescriptor1 under a device: the peer's table as the
 * client's side of the daemon shows it. The objects stay when the link goes (the table is cached)
 * and are compared with the peer's at each resolution.
 */
#include "sim/radio.h"

#include <errno.h>
#include <stdlib.h>

#define GAP "00001800-0000-1000-8000-00805f9b34fb"
#define CCC "00002902-0000-1000-8000-00805f9b34fb"

struct link *client_bearer(struct rchar *c)
{
	struct device *d = c->service->device;

	return d->link && !d->link->dead[d->side] ? d->link : NULL;
}

/* --- services ------------------------------------------------------------------- */

static int service_uuid(struct object *o, sd_bus_message *m)
{
	return get_string(m, ((struct rservice *)o->user)->uuid);
}

static int service_device(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append_basic(m, 'o', ((struct rservice *)o->user)->device->obj->path);
}

static int service_primary(struct object *o, sd_bus_message *m)
{
	return get_bool(m, ((struct rservice *)o->user)->primary);
}

static int service_includes(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append(m, "ao", 0);
}

static const struct property service_properties[] = {
	{"UUID", "s", service_uuid, NULL, NULL},
	{"Device", "o", service_device, NULL, NULL},
	{"Primary", "b", service_primary, NULL, NULL},
	{"Includes", "ao", service_includes, NULL, NULL},
	{},
};

static const struct interface service_interface = {"org.bluez.GattService1", NULL,
						   service_properties};

/* --- characteristics ------------------------------------------------------------ */

static int chr_uuid(struct object *o, sd_bus_message *m)
{
	return get_string(m, ((struct rchar *)o->user)->uuid);
}

static int chr_service(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append_basic(m, 'o', ((struct rchar *)o->user)->service->obj->path);
}

static bool chr_has_value(struct object *o)
{
	return ((struct rchar *)o->user)->access.cached;
}

static int chr_value(struct object *o, sd_bus_message *m)
{
	struct access *x = &((struct rchar *)o->user)->access;

	return sd_bus_message_append_array(m, 'y', x->value, x->len);
}

static bool chr_has_notify(struct object *o)
{
	return ((struct rchar *)o->user)->props & (PROP_NOTIFY | PROP_INDICATE);
}

static int chr_notifying(struct object *o, sd_bus_message *m)
{
	return get_bool(m, ((struct rchar *)o->user)->notifying);
}

static int chr_flags(struct object *o, sd_bus_message *m)
{
	static const struct {
		uint8_t bit;
		const char *name;
	} flags[] = {
		{PROP_READ, "read"},	     {PROP_COMMAND, "write-without-response"},
		{PROP_WRITE, "write"},	     {PROP_NOTIFY, "notify"},
		{PROP_INDICATE, "indicate"},
	};
	struct rchar *c = o->user;
	int r = sd_bus_message_open_container(m, 'a', "s");

	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(flags); i++)
		if (c->props & flags[i].bit)
			r = get_string(m, flags[i].name);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static bool chr_has_command(struct object *o)
{
	return ((struct rchar *)o->user)->props & PROP_COMMAND;
}

static int chr_write_acquired(struct object *o, sd_bus_message *m)
{
	return get_bool(m, ((struct rchar *)o->user)->write_fd >= 0);
}

static bool chr_can_notify(struct object *o)
{
	return ((struct rchar *)o->user)->props & PROP_NOTIFY;
}

static int chr_notify_acquired(struct object *o, sd_bus_message *m)
{
	return get_bool(m, ((struct rchar *)o->user)->notify_fd >= 0);
}

static bool chr_has_mtu(struct object *o)
{
	return client_bearer(o->user);
}

static int chr_mtu(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append(m, "q", (uint16_t)o->radio->set.mtu);
}

static const struct property chr_properties[] = {
	{"UUID", "s", chr_uuid, NULL, NULL},
	{"Service", "o", chr_service, NULL, NULL},
	{"Value", "ay", chr_value, chr_has_value, NULL},
	{"Notifying", "b", chr_notifying, chr_has_notify, NULL},
	{"Flags", "as", chr_flags, NULL, NULL},
	{"WriteAcquired", "b", chr_write_acquired, chr_has_command, NULL},
	{"NotifyAcquired", "b", chr_notify_acquired, chr_can_notify, NULL},
	{"MTU", "q", chr_mtu, chr_has_mtu, NULL},
	{},
};

static const struct method chr_methods[] = {
	{"ReadValue", "a{sv}", "ay", chr_read},
	{"WriteValue", "aya{sv}", "", chr_write},
	{"AcquireWrite", "a{sv}", "hq", chr_acquire_write},
	{"AcquireNotify", "a{sv}", "hq", chr_acquire_notify},
	{"StartNotify", "", "", chr_start_notify},
	{"StopNotify", "", "", chr_stop_notify},
	{},
};

static const struct interface chr_interface = {"org.bluez.GattCharacteristic1", chr_methods,
					       chr_properties};

/* --- descriptors ---------------------------------------------------------------- */

static int desc_uuid(struct object *o, sd_bus_message *m)
{
	return get_string(m, ((struct rdesc *)o->user)->uuid);
}

static int desc_chr(struct object *o, sd_bus_message *m)
{
	return sd_bus_message_append_basic(m, 'o', ((struct rdesc *)o->user)->chr->obj->path);
}

static bool desc_has_value(struct object *o)
{
	return ((struct rdesc *)o->user)->access.cached;
}

static int desc_value(struct object *o, sd_bus_message *m)
{
	struct access *x = &((struct rdesc *)o->user)->access;

	return sd_bus_message_append_array(m, 'y', x->value, x->len);
}

static const struct property desc_properties[] = {
	{"UUID", "s", desc_uuid, NULL, NULL},
	{"Characteristic", "o", desc_chr, NULL, NULL},
	{"Value", "ay", desc_value, desc_has_value, NULL},
	{},
};

static const struct interface desc_interface = {"org.bluez.GattDescriptor1", desc_methods,
						desc_properties};

/* --- building ------------------------------------------------------------------- */

static int add_desc(struct rchar *c, uint16_t handle, const char *uuid)
{
	struct rdesc *d = calloc(1, sizeof(*d));
	cleanup(freep) char *path = format("%s/desc%04x", c->obj->path, handle);
	int r;

	if (!d || !path) {
		free(d);
		return -ENOMEM;
	}
	d->chr = c;
	d->handle = handle;
	memcpy(d->uuid, uuid, UUID_SIZE);
	r = object_add(c->obj->radio, path, d, &desc_interface, NULL, NULL, &d->obj);
	if (r < 0)
		free(d);
	else
		TAILQ_INSERT_TAIL(&c->descs, d, entry);
	return r;
}

static int add_char(struct rservice *s, struct gchr *from)
{
	struct rchar *c = calloc(1, sizeof(*c));
	cleanup(freep) char *path = format("%s/char%04x", s->obj->path, from->handle);
	struct gdesc *d;
	int r;

	if (!c || !path) {
		free(c);
		return -ENOMEM;
	}
	c->service = s;
	c->handle = from->handle;
	c->props = from->props;
	c->write_fd = c->notify_fd = -1;
	memcpy(c->uuid, from->uuid, UUID_SIZE);
	TAILQ_INIT(&c->subscribers);
	TAILQ_INIT(&c->descs);
	r = object_add(s->obj->radio, path, c, &chr_interface, NULL, NULL, &c->obj);
	if (r < 0) {
		free(c);
		return r;
	}
	TAILQ_INSERT_TAIL(&s->chars, c, entry);
	if (c->props & (PROP_NOTIFY | PROP_INDICATE))
		r = add_desc(c, (uint16_t)(c->handle + 2), CCC);
	for (each(d, &from->descs))
		if (r >= 0)
			r = add_desc(c, d->handle, d->uuid);
	return r;
}

static int add_service(struct device *d, struct gservice *from)
{
	struct rservice *s = calloc(1, sizeof(*s));
	cleanup(freep) char *path = format("%s/service%04x", d->obj->path, from->handle);
	struct gchr *c;
	int r;

	if (!s || !path) {
		free(s);
		return -ENOMEM;
	}
	s->device = d;
	s->handle = from->handle;
	s->primary = from->primary;
	memcpy(s->uuid, from->uuid, UUID_SIZE);
	TAILQ_INIT(&s->chars);
	r = object_add(d->obj->radio, path, s, &service_interface, NULL, NULL, &s->obj);
	if (r < 0) {
		free(s);
		return r;
	}
	TAILQ_INSERT_TAIL(&d->services, s, entry);
	for (each(c, &from->chrs))
		if (r >= 0)
			r = add_char(s, c);
	return r;
}

static void remove_service(struct rservice *s)
{
	struct rchar *c;
	struct rdesc *d;

	while ((c = TAILQ_FIRST(&s->chars))) {
		while ((d = TAILQ_FIRST(&c->descs))) {
			TAILQ_REMOVE(&c->descs, d, entry);
			access_clear(&d->access);
			object_remove(d->obj);
			free(d);
		}
		TAILQ_REMOVE(&s->chars, c, entry);
		access_clear(&c->access);
		notify_clear(c);
		object_remove(c->obj);
		free(c);
	}
	TAILQ_REMOVE(&s->device->services, s, entry);
	object_remove(s->obj);
	free(s);
}

void client_clear(struct device *d)
{
	struct rservice *s;

	while ((s = TAILQ_FIRST(&d->services)))
		remove_service(s);
}

static bool offers(struct adapter *peer, const struct rservice *want)
{
	struct app *app;
	struct gservice *s;

	for (each(app, &peer->apps))
		for (each(s, &app->services))
			if (app->live && s->handle == want->handle && !strcmp(s->uuid, want->uuid))
				return true;
	return false;
}

static bool shows(struct device *d, const struct gservice *want)
{
	struct rservice *s;

	for (each(s, &d->services))
		if (s->handle == want->handle)
			return true;
	return false;
}

int client_sync(struct device *d)
{
	struct adapter *peer = d->link->end[!d->side]->adapter;
	struct rservice *s, *next;
	struct gservice *g;
	struct app *app;
	int r = 0;

	for (s = TAILQ_FIRST(&d->services); s; s = next) {
		next = TAILQ_NEXT(s, entry);
		if (peer->board->stale || !offers(peer, s)) {
			remove_service(s);
			device_uuids_changed(d);
		}
	}
	if (peer->board->stale)
		return 0;
	for (each(app, &peer->apps))
		for (each(g, &app->services)) {
			if (r < 0 || !app->live || !strcmp(g->uuid, GAP) || shows(d, g))
				continue;
			r = add_service(d, g);
			device_uuids_changed(d);
		}
	bus_flush(d->adapter->radio);
	return r;
}
