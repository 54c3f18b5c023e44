/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client's GATT application: read from its GetManagedObjects, numbered as the daemon numbers it
 * (handles only grow until the daemon restarts, so a registration anew has new paths at the peer).
 */
#include "sim/radio.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* One object of the reply, as far as it matters */
struct found {
	char *path, *parent; /* parent: the Service or Characteristic property */
	char uuid[UUID_SIZE];
	bool primary, wants_write_fd, wants_notify_fd;
	uint32_t flags;
};

static void found_clear(struct found *f)
{
	free(f->path);
	free(f->parent);
	*f = (struct found){};
}

static int flag_of(const char *name)
{
	static const struct {
		const char *name;
		uint8_t bit;
	} flags[] = {
		{"read", PROP_READ},
		{"write", PROP_WRITE},
		{"write-without-response", PROP_COMMAND},
		{"notify", PROP_NOTIFY},
		{"indicate", PROP_INDICATE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (!strcmp(flags[i].name, name))
			return flags[i].bit;
	return -EINVAL; /* encryption and signing are not modelled: better refused than ignored */
}

static int read_flags(sd_bus_message *m, uint32_t *ret)
{
	const char *name;
	int r = sd_bus_message_enter_container(m, 'a', "s");

	while (r >= 0 && (r = sd_bus_message_read(m, "s", &name)) > 0) {
		int bit = flag_of(name);

		if (bit < 0)
			return bit;
		*ret |= (uint32_t)bit;
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_property(sd_bus_message *m, const char *key, struct found *f)
{
	const char *text;
	int r, on;

	if (!strcmp(key, "UUID")) {
		r = sd_bus_message_read(m, "s", &text);
		return r < 0 ? r : uuid_canonical(text, f->uuid);
	}
	if (!strcmp(key, "Service") || !strcmp(key, "Characteristic")) {
		r = sd_bus_message_read(m, "o", &text);
		if (r < 0)
			return r;
		free(f->parent);
		f->parent = strdup(text);
		return f->parent ? 0 : -ENOMEM;
	}
	if (!strcmp(key, "Primary")) {
		r = sd_bus_message_read(m, "b", &on);
		f->primary = on;
		return r;
	}
	if (!strcmp(key, "Flags"))
		return read_flags(m, &f->flags);
	f->wants_write_fd = f->wants_write_fd || !strcmp(key, "WriteAcquired");
	f->wants_notify_fd = f->wants_notify_fd || !strcmp(key, "NotifyAcquired");
	return sd_bus_message_skip(m, NULL);
}

static int read_properties(sd_bus_message *m, struct found *f)
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
			r = read_property(m, key, f);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* --- the three kinds of objects ------------------------------------------------- */

static int add_service(struct app *app, struct found *f)
{
	struct gservice *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	TAILQ_INIT(&s->chrs);
	memcpy(s->uuid, f->uuid, UUID_SIZE);
	s->primary = f->primary;
	s->path = steal(f->path);
	TAILQ_INSERT_TAIL(&app->services, s, entry);
	return s->uuid[0] ? 0 : -EINVAL;
}

static struct gservice *service_at(struct app *app, const char *path)
{
	struct gservice *s;

	for (each(s, &app->services))
		if (path && !strcmp(s->path, path))
			return s;
	return NULL;
}

static struct gchr *chr_at(struct app *app, const char *path)
{
	struct gservice *s;
	struct gchr *c;

	for (each(s, &app->services))
		for (each(c, &s->chrs))
			if (path && !strcmp(c->path, path))
				return c;
	return NULL;
}

static int add_chr(struct app *app, struct found *f)
{
	struct gservice *s = service_at(app, f->parent);
	struct gchr *c = s && f->uuid[0] ? calloc(1, sizeof(*c)) : NULL;

	if (!c)
		return -EINVAL;
	c->app = app;
	c->props = (uint8_t)f->flags;
	c->wants_write_fd = f->wants_write_fd;
	c->wants_notify_fd = f->wants_notify_fd;
	c->write_fd = c->notify_fd = -1;
	c->path = steal(f->path);
	memcpy(c->uuid, f->uuid, UUID_SIZE);
	TAILQ_INIT(&c->descs);
	TAILQ_INIT(&c->asked);
	TAILQ_INSERT_TAIL(&s->chrs, c, entry);
	return 0;
}

static int add_desc(struct app *app, struct found *f)
{
	struct gchr *c = chr_at(app, f->parent);
	struct gdesc *d = c && f->uuid[0] ? calloc(1, sizeof(*d)) : NULL;

	if (!d)
		return -EINVAL;
	memcpy(d->uuid, f->uuid, UUID_SIZE);
	d->flags = f->flags;
	d->path = steal(f->path);
	TAILQ_INSERT_TAIL(&c->descs, d, entry);
	return 0;
}

static int read_object(sd_bus_message *m, struct app *app, const char *wanted,
		       int (*add)(struct app *, struct found *))
{
	const char *path, *iface;
	int r = sd_bus_message_read(m, "o", &path);

	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'a', "{sa{sv}}");
	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
		cleanup(found_clear) struct found f = {};

		r = sd_bus_message_read(m, "s", &iface);
		if (r >= 0 && strcmp(iface, wanted) != 0)
			r = sd_bus_message_skip(m, "a{sv}");
		else if (r >= 0) {
			f.path = strdup(path);
			r = f.path ? read_properties(m, &f) : -ENOMEM;
			if (r >= 0)
				r = add(app, &f);
		}
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* Parents before children, whatever the order in the reply: one pass per kind. */
static int pass(sd_bus_message *m, struct app *app, const char *wanted,
		int (*add)(struct app *, struct found *))
{
	int r = sd_bus_message_rewind(m, true);

	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'a', "{oa{sa{sv}}}");
	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "oa{sa{sv}}")) > 0) {
		r = read_object(m, app, wanted, add);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r;
}

static int number(struct app *app)
{
	struct adapter *a = app->adapter;
	struct gservice *s;
	struct gchr *c;
	struct gdesc *d;
	uint32_t next = a->next_handle;

	for (each(s, &app->services)) {
		s->handle = (uint16_t)next++;
		for (each(c, &s->chrs)) {
			c->handle = (uint16_t)next;
			next += c->props & (PROP_NOTIFY | PROP_INDICATE) ? 3 : 2;
			for (each(d, &c->descs))
				d->handle = (uint16_t)next++;
		}
		s->end = (uint16_t)(next - 1);
	}
	if (next > 0xffff)
		return -ENOSPC;
	a->next_handle = (uint16_t)next;
	return 0;
}

/* 1: no object in it */
int app_parse(struct app *app, sd_bus_message *m)
{
	int r = pass(m, app, "org.bluez.GattService1", add_service);

	if (r >= 0)
		r = pass(m, app, "org.bluez.GattCharacteristic1", add_chr);
	if (r >= 0)
		r = pass(m, app, "org.bluez.GattDescriptor1", add_desc);
	if (r < 0)
		return r;
	return TAILQ_EMPTY(&app->services) ? 1 : number(app);
}

static void service_free(struct gservice *s)
{
	struct gchr *c;

	while ((c = TAILQ_FIRST(&s->chrs))) {
		struct gdesc *d;

		while ((d = TAILQ_FIRST(&c->descs))) {
			TAILQ_REMOVE(&c->descs, d, entry);
			free(d->path);
			free(d);
		}
		TAILQ_REMOVE(&s->chrs, c, entry);
		server_chr_free(c);
	}
	free(s->path);
	free(s);
}

void app_free(struct app *app)
{
	struct adapter *a = app->adapter;
	struct gservice *s;
	bool live = app->live;

	TAILQ_REMOVE(&a->apps, app, entry);
	sd_bus_slot_unref(app->call);
	sd_bus_slot_unref(app->changes);
	sd_bus_message_unref(app->reg);
	while ((s = TAILQ_FIRST(&app->services))) {
		TAILQ_REMOVE(&app->services, s, entry);
		service_free(s);
	}
	free(app->owner);
	free(app->root);
	free(app);
	if (live) {
		object_changed(a->obj, "org.bluez.Adapter1", "UUIDs");
		link_table_changed(a);
	}
}

static int add_builtin(struct app *app, const char *service, const char *chr, uint8_t props)
{
	cleanup(found_clear) struct found s = {.primary = true, .path = format("%s", service)};
	cleanup(found_clear) struct found c = {.flags = props, .path = format("%s", chr)};
	int r = 0;

	c.parent = format("%s", service);
	if (!s.path || !c.path || !c.parent)
		return -ENOMEM;
	if (!service_at(app, service)) {
		r = uuid_canonical(service, s.uuid);
		if (r >= 0)
			r = add_service(app, &s);
	}
	if (r >= 0)
		r = uuid_canonical(chr, c.uuid);
	return r < 0 ? r : add_chr(app, &c);
}

/* The daemon's own: GAP, which is not shown to clients, and GATT with Service Changed. */
int server_builtin(struct adapter *a)
{
	struct app *app = calloc(1, sizeof(*app));
	int r;

	if (!app)
		return -ENOMEM;
	app->adapter = a;
	app->live = true;
	TAILQ_INIT(&app->services);
	TAILQ_INSERT_TAIL(&a->apps, app, entry);
	r = add_builtin(app, "1800", "2a00", PROP_READ);
	if (r >= 0)
		r = add_builtin(app, "1800", "2a01", PROP_READ);
	if (r >= 0)
		r = add_builtin(app, "1801", "2a05", PROP_INDICATE);
	return r < 0 ? r : number(app);
}
