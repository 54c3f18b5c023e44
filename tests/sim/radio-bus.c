/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's place on the bus: calls find their object, answers go out behind what is pending,
 * clients that leave are noticed.
 */
#include "sim/radio.h"

#include <errno.h>

#define PROPERTIES     "org.freedesktop.DBus.Properties"
#define INTROSPECTABLE "org.freedesktop.DBus.Introspectable"
#define MANAGER	       "org.freedesktop.DBus.ObjectManager"
#define DBUS_ERROR     "org.freedesktop.DBus.Error."

/* --- answers -------------------------------------------------------------------- */

int answer(struct radio *r, sd_bus_message *m)
{
	bus_flush(r);
	return sd_bus_reply_method_return(m, NULL);
}

int refuse(struct radio *r, sd_bus_message *m, const char *error, const char *text)
{
	cleanup(freep) char *name =
		format("%s%s", strchr(error, '.') ? "" : "org.bluez.Error.", error);

	bus_flush(r);
	return name ? sd_bus_reply_method_errorf(m, name, "%s", text) : -ENOMEM;
}

static int unknown(struct radio *r, sd_bus_message *m, bool object)
{
	const char *sig = sd_bus_message_get_signature(m, true);
	const char *iface = sd_bus_message_get_interface(m);
	cleanup(freep) char *text =
		format("Method \"%s\" with signature \"%s\" on interface \"%s\" doesn't exist\n",
		       sd_bus_message_get_member(m), sig ? sig : "", iface ? iface : "(null)");

	if (!text)
		return -ENOMEM;
	return refuse(r, m, object ? DBUS_ERROR "UnknownMethod" : DBUS_ERROR "UnknownObject", text);
}

static int properties_get(struct object *o, sd_bus_message *m)
{
	cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const char *iface, *name;
	const struct interface *i;
	const struct property *p;
	int r = sd_bus_message_read(m, "ss", &iface, &name);

	if (r < 0)
		return r;
	i = object_interface(o, iface);
	if (!i)
		return refuse(o->radio, m, DBUS_ERROR "InvalidArgs", "No such interface");
	p = object_property(i, name);
	if (!p || (p->exists && !p->exists(o)))
		return refuse(o->radio, m, DBUS_ERROR "InvalidArgs", "No such property");
	r = sd_bus_message_new_method_return(m, &reply);
	if (r >= 0)
		r = object_append_value(reply, o, p);
	if (r < 0)
		return r;
	bus_flush(o->radio);
	return sd_bus_send(NULL, reply, NULL);
}

static int properties_get_all(struct object *o, sd_bus_message *m)
{
	cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	const char *iface;
	const struct interface *i;
	int r = sd_bus_message_read(m, "s", &iface);

	if (r < 0)
		return r;
	i = object_interface(o, iface);
	if (!i)
		return refuse(o->radio, m, DBUS_ERROR "InvalidArgs", "No such interface");
	r = sd_bus_message_new_method_return(m, &reply);
	if (r >= 0)
		r = object_append_properties(reply, o, i, NULL);
	if (r < 0)
		return r;
	bus_flush(o->radio);
	return sd_bus_send(NULL, reply, NULL);
}

static int properties_set(struct object *o, sd_bus_message *m)
{
	const char *iface, *name, *sig;
	const struct interface *i;
	const struct property *p;
	char type;
	int r = sd_bus_message_read(m, "ss", &iface, &name);

	if (r < 0)
		return r;
	i = object_interface(o, iface);
	if (!i)
		return refuse(o->radio, m, DBUS_ERROR "InvalidArgs", "No such interface");
	p = object_property(i, name);
	if (!p || (p->exists && !p->exists(o)))
		return refuse(o->radio, m, DBUS_ERROR "UnknownProperty", "No such property");
	if (!p->set)
		return refuse(o->radio, m, DBUS_ERROR "PropertyReadOnly",
			      "Property is not writable");
	r = sd_bus_message_peek_type(m, &type, &sig);
	if (r < 0 || type != 'v' || strcmp(sig, p->sig) != 0)
		return refuse(o->radio, m, DBUS_ERROR "InvalidSignature", "Invalid signature");
	r = sd_bus_message_enter_container(m, 'v', sig);
	return r < 0 ? r : p->set(o, m);
}

static int managed_objects(struct radio *r, sd_bus_message *m)
{
	cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
	struct object *o;
	int rc = sd_bus_message_new_method_return(m, &reply);

	bus_flush(r); /* what was announced must not come after the answer that has it */
	if (rc >= 0)
		rc = sd_bus_message_open_container(reply, 'a', "{oa{sa{sv}}}");
	for (each(o, &r->objects)) {
		if (rc < 0)
			return rc;
		if (!o->ifaces[0])
			continue;
		rc = sd_bus_message_open_container(reply, 'e', "oa{sa{sv}}");
		if (rc >= 0)
			rc = sd_bus_message_append_basic(reply, 'o', o->path);
		if (rc >= 0)
			rc = object_append(reply, o);
		if (rc >= 0)
			rc = sd_bus_message_close_container(reply);
	}
	if (rc >= 0)
		rc = sd_bus_message_close_container(reply);
	return rc < 0 ? rc : sd_bus_send(NULL, reply, NULL);
}

/* --- dispatch ------------------------------------------------------------------- */

static int call_object(struct object *o, sd_bus_message *m)
{
	const char *iface = sd_bus_message_get_interface(m), *member = sd_bus_message_get_member(m);

	for (size_t i = 0; i < ARRAY_SIZE(o->ifaces) && o->ifaces[i]; i++) {
		if (iface && strcmp(iface, o->ifaces[i]->name) != 0)
			continue;
		for (const struct method *x = o->ifaces[i]->methods; x && x->name; x++)
			if (!strcmp(x->name, member) && sd_bus_message_has_signature(m, x->in))
				return x->call(o, m);
	}
	return unknown(o->radio, m, true);
}

static int on_call(sd_bus_message *m, void *user, sd_bus_error *err)
{
	struct radio *r = user;
	struct object *o = object_find(r, sd_bus_message_get_path(m));
	int rc;

	if (sd_bus_message_is_method_call(m, INTROSPECTABLE, "Introspect"))
		rc = object_introspect(r, o, m);
	else if (sd_bus_message_is_method_call(m, MANAGER, "GetManagedObjects") &&
		 !strcmp(sd_bus_message_get_path(m), "/"))
		rc = managed_objects(r, m);
	else if (!o)
		rc = unknown(r, m, false);
	else if (sd_bus_message_is_method_call(m, PROPERTIES, "Get"))
		rc = properties_get(o, m);
	else if (sd_bus_message_is_method_call(m, PROPERTIES, "GetAll"))
		rc = properties_get_all(o, m);
	else if (sd_bus_message_is_method_call(m, PROPERTIES, "Set"))
		rc = properties_set(o, m);
	else
		rc = call_object(o, m);
	return rc < 0 ? rc : 1;
}

/* A client left: its discovery, adverts, applications and subscriptions end; links do not. */
static int on_owner_changed(sd_bus_message *m, void *user, sd_bus_error *err)
{
	struct radio *r = user;
	const char *name, *from, *to;
	struct adapter *a;

	if (sd_bus_message_read(m, "sss", &name, &from, &to) < 0 || name[0] != ':' || to[0])
		return 0;
	for (each(a, &r->adapters)) {
		struct device *d;

		discovery_gone(a, name);
		advert_gone(a, name, false);
		app_gone(a, name);
		for (each(d, &a->devices))
			client_gone(d, name);
	}
	return 0;
}

int bus_match_changes(struct radio *r, const char *owner, const char *path, bool below,
		      sd_bus_message_handler_t fn, void *user, sd_bus_slot **ret)
{
	cleanup(freep) char *rule = format(
		"type='signal',sender='%s',interface='%s',member='PropertiesChanged',%s='%s'",
		owner, PROPERTIES, below ? "path_namespace" : "path", path);
	int rc = rule ? sd_bus_add_match_async(r->bus, ret, rule, fn, NULL, user) : -ENOMEM;

	return rc < 0 ? rc : 0;
}

int bus_open(struct radio *r)
{
	int rc = sd_bus_open_system(&r->bus);

	if (rc >= 0)
		rc = sd_bus_attach_event(r->bus, r->event, SD_EVENT_PRIORITY_NORMAL);
	if (rc >= 0)
		rc = sd_bus_set_exit_on_disconnect(r->bus, true);
	if (rc >= 0)
		rc = sd_bus_add_fallback(r->bus, NULL, "/", on_call, r);
	if (rc >= 0)
		rc = sd_bus_match_signal(r->bus, NULL, "org.freedesktop.DBus",
					 "/org/freedesktop/DBus", "org.freedesktop.DBus",
					 "NameOwnerChanged", on_owner_changed, r);
	if (rc >= 0)
		rc = object_init(r);
	return rc;
}

/* As a crash: nothing more is said. The caller has taken everything that holds a slot down. */
void bus_close(struct radio *r)
{
	sd_bus_detach_event(r->bus);
	sd_bus_close(r->bus);
	r->bus = sd_bus_unref(r->bus);
}
