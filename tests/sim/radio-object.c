/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects on the bus whose properties come and go, as gdbus serves them. sd-bus vtables cannot
 * leave a property out, so the objects are our own tables. Changes are collected and sent before
 * the next message or at the end of the turn, in the order they happened.
 */
#include "sim/radio.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#define PROPERTIES     "org.freedesktop.DBus.Properties"
#define INTROSPECTABLE "org.freedesktop.DBus.Introspectable"
#define MANAGER	       "org.freedesktop.DBus.ObjectManager"

struct object *object_find(struct radio *r, const char *path)
{
	struct object *o;

	for (each(o, &r->objects))
		if (!strcmp(o->path, path))
			return o;
	return NULL;
}

const struct property *object_property(const struct interface *iface, const char *name)
{
	for (const struct property *p = iface->properties; p && p->name; p++)
		if (!strcmp(p->name, name))
			return p;
	return NULL;
}

const struct interface *object_interface(struct object *o, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(o->ifaces) && o->ifaces[i]; i++)
		if (!strcmp(o->ifaces[i]->name, name))
			return o->ifaces[i];
	return NULL;
}

char *format(const char *text, ...)
{
	char *ret = NULL;
	va_list ap;
	int n;

	va_start(ap, text);
	n = vasprintf(&ret, text, ap);
	va_end(ap);
	return n < 0 ? NULL : ret;
}

int get_string(sd_bus_message *m, const char *s)
{
	return sd_bus_message_append_basic(m, 's', s);
}

int get_bool(sd_bus_message *m, bool b)
{
	int value = b;

	return sd_bus_message_append_basic(m, 'b', &value);
}

int object_append_value(sd_bus_message *m, struct object *o, const struct property *p)
{
	int r = sd_bus_message_open_container(m, 'v', p->sig);

	if (r >= 0)
		r = p->get(o, m);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

/* a{sv}; with dirty: only what changed and still exists */
int object_append_properties(sd_bus_message *m, struct object *o, const struct interface *iface,
			     const uint32_t *dirty)
{
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	for (const struct property *p = iface->properties; r >= 0 && p && p->name; p++) {
		if (dirty && !(*dirty & (1u << (p - iface->properties))))
			continue;
		if (p->exists && !p->exists(o))
			continue;
		r = sd_bus_message_open_container(m, 'e', "sv");
		if (r >= 0)
			r = get_string(m, p->name);
		if (r >= 0)
			r = object_append_value(m, o, p);
		if (r >= 0)
			r = sd_bus_message_close_container(m);
	}
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_empty_interface(sd_bus_message *m, const char *name)
{
	return sd_bus_message_append(m, "{sa{sv}}", name, 0);
}

/* a{sa{sv}} */
int object_append(sd_bus_message *m, struct object *o)
{
	int r = sd_bus_message_open_container(m, 'a', "{sa{sv}}");

	if (r >= 0)
		r = append_empty_interface(m, INTROSPECTABLE);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(o->ifaces) && o->ifaces[i]; i++) {
		r = sd_bus_message_open_container(m, 'e', "sa{sv}");
		if (r >= 0)
			r = get_string(m, o->ifaces[i]->name);
		if (r >= 0)
			r = object_append_properties(m, o, o->ifaces[i], NULL);
		if (r >= 0)
			r = sd_bus_message_close_container(m);
	}
	if (r >= 0)
		r = append_empty_interface(m, PROPERTIES);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int send_added(struct object *o)
{
	cleanup(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r;

	r = sd_bus_message_new_signal(o->radio->bus, &m, "/", MANAGER, "InterfacesAdded");
	if (r >= 0)
		r = sd_bus_message_append_basic(m, 'o', o->path);
	if (r >= 0)
		r = object_append(m, o);
	return r < 0 ? r : sd_bus_send(o->radio->bus, m, NULL);
}

static int send_changed(struct object *o, const struct interface *iface, uint32_t dirty)
{
	cleanup(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r;

	r = sd_bus_message_new_signal(o->radio->bus, &m, o->path, PROPERTIES, "PropertiesChanged");
	if (r >= 0)
		r = get_string(m, iface->name);
	if (r >= 0)
		r = object_append_properties(m, o, iface, &dirty);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "s");
	for (const struct property *p = iface->properties; r >= 0 && p->name; p++)
		if ((dirty & (1u << (p - iface->properties))) && p->exists && !p->exists(o))
			r = get_string(m, p->name);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? r : sd_bus_send(o->radio->bus, m, NULL);
}

static int send_removed(struct object *o)
{
	cleanup(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r;

	r = sd_bus_message_new_signal(o->radio->bus, &m, "/", MANAGER, "InterfacesRemoved");
	if (r >= 0)
		r = sd_bus_message_append_basic(m, 'o', o->path);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'a', "s");
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(o->ifaces) && o->ifaces[i]; i++)
		r = get_string(m, o->ifaces[i]->name);
	if (r >= 0)
		r = sd_bus_message_append(m, "ss", PROPERTIES, INTROSPECTABLE);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? r : sd_bus_send(o->radio->bus, m, NULL);
}

void bus_flush(struct radio *r)
{
	struct object *o;

	while ((o = TAILQ_FIRST(&r->pending))) {
		TAILQ_REMOVE(&r->pending, o, waiting);
		o->queued = false;
		if (r->bus && !o->announced && o->ifaces[0])
			send_added(o);
		else if (r->bus)
			for (size_t i = 0; i < ARRAY_SIZE(o->ifaces) && o->ifaces[i]; i++)
				if (o->dirty[i])
					send_changed(o, o->ifaces[i], o->dirty[i]);
		o->announced = true;
		memset(o->dirty, 0, sizeof(o->dirty));
	}
}

static int on_flush(sd_event_source *s, void *user)
{
	bus_flush(user);
	return 0;
}

static void object_queue(struct object *o)
{
	struct radio *r = o->radio;

	if (o->queued)
		return;
	o->queued = true;
	TAILQ_INSERT_TAIL(&r->pending, o, waiting);
	sd_event_source_set_enabled(r->flush, SD_EVENT_ONESHOT);
}

int object_add(struct radio *r, const char *path, void *user, const struct interface *a,
	       const struct interface *b, const struct interface *c, struct object **ret)
{
	struct object *o = calloc(1, sizeof(*o));

	if (!o || !(o->path = strdup(path))) {
		free(o);
		return -ENOMEM;
	}
	o->radio = r;
	o->user = user;
	o->ifaces[0] = a;
	o->ifaces[1] = b;
	o->ifaces[2] = c;
	TAILQ_INSERT_TAIL(&r->objects, o, entry);
	object_queue(o);
	*ret = o;
	return 0;
}

void object_remove(struct object *o)
{
	struct radio *r;

	if (!o)
		return;
	r = o->radio;
	if (o->queued)
		TAILQ_REMOVE(&r->pending, o, waiting);
	TAILQ_REMOVE(&r->objects, o, entry);
	if (r->bus && o->announced) {
		bus_flush(r);
		send_removed(o);
	}
	free(o->path);
	free(o);
}

void object_changed(struct object *o, const char *iface, const char *property)
{
	for (size_t i = 0; o && i < ARRAY_SIZE(o->ifaces) && o->ifaces[i]; i++) {
		const struct property *p = object_property(o->ifaces[i], property);

		if (!p || strcmp(o->ifaces[i]->name, iface))
			continue;
		o->dirty[i] |= 1u << (p - o->ifaces[i]->properties);
		object_queue(o);
	}
}

int object_init(struct radio *r)
{
	int rc = r->flush ? 0 : sd_event_add_defer(r->event, &r->flush, on_flush, r);

	return rc < 0 ? rc : sd_event_source_set_enabled(r->flush, SD_EVENT_OFF);
}
