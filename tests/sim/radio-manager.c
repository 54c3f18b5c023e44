/* SPDX-License-Identifier: Apache-2.0 */
/*
 * org.bluez.GattManager1: applications come, signal new values, and go.
 */
#include "sim/radio.h"

#include <errno.h>
#include <stdlib.h>

#define CHR "org.bluez.GattCharacteristic1"

static int on_app_changed(sd_bus_message *m, void *user, sd_bus_error *err)
{
	struct app *app = user;
	const char *path = sd_bus_message_get_path(m), *iface, *key;
	struct gservice *s;
	struct gchr *c;
	const void *data = NULL;
	size_t len = 0;
	bool found = false;
	int r = sd_bus_message_read(m, "s", &iface);

	if (r < 0 || strcmp(iface, CHR) != 0)
		return 0;
	r = sd_bus_message_enter_container(m, 'a', "{sv}");
	while (r >= 0 && !found && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = sd_bus_message_read(m, "s", &key);
		if (r >= 0 && strcmp(key, "Value") != 0)
			r = sd_bus_message_skip(m, "v");
		else if (r >= 0 && (r = sd_bus_message_enter_container(m, 'v', "ay")) >= 0) {
			r = sd_bus_message_read_array(m, 'y', &data, &len);
			found = r >= 0;
			if (r >= 0)
				r = sd_bus_message_exit_container(m);
		}
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	if (!found)
		return 0;
	for (each(s, &app->services))
		for (each(c, &s->chrs))
			if (!strcmp(c->path, path))
				server_notify(c, data, len);
	return 0;
}

static int on_objects(sd_bus_message *m, void *user, sd_bus_error *err)
{
	struct app *app = user;
	struct adapter *a = app->adapter;
	int r;

	app->call = sd_bus_slot_unref(app->call);
	r = sd_bus_message_is_method_error(m, NULL) ? 1 : app_parse(app, m);
	if (r >= 0 && !r)
		r = bus_match_changes(a->radio, app->owner, app->root, true, on_app_changed, app,
				      &app->changes);
	if (r) {
		refuse(a->radio, app->reg, "Failed",
		       r > 0 ? "No object received" : "Failed to create entry in database");
		app_free(app);
		return 0;
	}
	app->live = true;
	object_changed(a->obj, "org.bluez.Adapter1", "UUIDs");
	answer(a->radio, app->reg);
	app->reg = sd_bus_message_unref(app->reg);
	link_table_changed(a);
	return 0;
}

static struct app *app_find(struct adapter *a, const char *owner, const char *root)
{
	struct app *app;

	for (each(app, &a->apps))
		if (app->owner && !strcmp(app->owner, owner) && !strcmp(app->root, root))
			return app;
	return NULL;
}

static int register_app(struct object *o, sd_bus_message *m)
{
	struct adapter *a = o->user;
	const char *root, *owner = sd_bus_message_get_sender(m);
	struct app *app;
	int r = sd_bus_message_read(m, "o", &root);

	if (r < 0)
		return r;
	if (app_find(a, owner, root))
		return refuse(o->radio, m, "AlreadyExists", "Already Exists");
	app = calloc(1, sizeof(*app));
	if (!app)
		return -ENOMEM;
	app->adapter = a;
	TAILQ_INIT(&app->services);
	TAILQ_INSERT_TAIL(&a->apps, app, entry);
	app->owner = strdup(owner);
	app->root = strdup(root);
	app->reg = sd_bus_message_ref(m);
	r = app->owner && app->root ? 0 : -ENOMEM;
	if (r >= 0)
		r = sd_bus_call_method_async(o->radio->bus, &app->call, owner, root,
					     "org.freedesktop.DBus.ObjectManager",
					     "GetManagedObjects", on_objects, app, NULL);
	if (r < 0)
		app_free(app);
	return r;
}

static int unregister_app(struct object *o, sd_bus_message *m)
{
	struct adapter *a = o->user;
	const char *root;
	struct app *app;
	int r = sd_bus_message_read(m, "o", &root);

	if (r < 0)
		return r;
	app = app_find(a, sd_bus_message_get_sender(m), root);
	if (!app)
		return refuse(o->radio, m, "DoesNotExist", "Does Not Exist");
	app_free(app);
	return answer(o->radio, m);
}

void app_gone(struct adapter *a, const char *owner)
{
	struct app *app = TAILQ_FIRST(&a->apps);

	while (app) {
		struct app *next = TAILQ_NEXT(app, entry);

		if (!owner || (app->owner && !strcmp(app->owner, owner)))
			app_free(app);
		app = next;
	}
}

static const struct method methods[] = {
	{"RegisterApplication", "oa{sv}", "", register_app},
	{"UnregisterApplication", "o", "", unregister_app},
	{},
};

const struct interface gatt_manager = {"org.bluez.GattManager1", methods, NULL};
