/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's face on the bus: objects whose properties come and go, as gdbus serves them. sd-bus
 * vtables cannot leave a property out, so the calls are served here from our own tables. Changes are
 * collected and sent before the next message or at the end of the turn, in the order they happened.
 */
#include "sim/radio.h"

#include <errno.h>
#include <stdlib.h>

#define PROPERTIES     "org.freedesktop.DBus.Properties"
#define INTROSPECTABLE "org.freedesktop.DBus.Introspectable"
#define MANAGER	       "org.freedesktop.DBus.ObjectManager"
#define DBUS_ERROR     "org.freedesktop.DBus.Error."

static struct object *object_find(struct radio *r, const char *path)
{
	struct object *o;

	TAILQ_FOREACH(o, &r->objects, entry)
	if (!strcmp(o->path, path))
		return o;
	return NULL;
}

static const struct property *property_find(const struct interface *iface, const char *name)
{
	for (const struct property *p = iface->properties; p && p->name; p++)
		if (!strcmp(p->name, name))
			return p;
	return NULL;
}

static const struct interface *interface_find(struct object *o, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(o->ifaces) && o->ifaces[i]; i++)
		if (!strcmp(o->ifaces[i]->name, name))
			return o->ifaces[i];
	return NULL;
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

static int append_value(sd_bus_message *m, struct object *o, const struct property *p)
{
	int r = sd_bus_message_open_container(m, 'v', p->sig);

	if (r >= 0)
		r = p->get(o, m);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

/* a{sv}; with dirty: only what changed and still exists */
static int append_properties(sd_bus_message *m, struct object *o, const struct interface *iface,
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
			r = append_value(m, o, p);
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
static int append_interfaces(sd_bus_message *m, struct object *o)
{
	int r = sd_bus_message_open_container(m, 'a', "{sa{sv}}");

	if (r >= 0)
		r = append_empty_interface(m, INTROSPECTABLE);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(o->ifaces) && o->ifaces[i]; i++) {
		r = sd_bus_message_open_container(m, 'e', "sa{sv}");
		if (r >= 0)
			r = get_string(m, o->ifaces[i]->name);
		if (r >= 0)
			r = append_properties(m, o, o->ifaces[i], NULL);
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
		r = append_interfaces(m, o);
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
		r = append_properties(m, o, iface, &dirty);
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
		const struct property *p = property_find(o->ifaces[i], property);

		if (!p || strcmp(o->ifaces[i]->name, iface))
			continue;
		o->dirty[i] |= 1u << (p - o->ifaces[i]->properties);
		object_queue(o);
	}
}

/* --- answers ------------------------------------------------------------------------------------- */

int answer(struct radio *r, sd_bus_message *m)
{
	bus_flush(r);
	return sd_bus_reply_method_return(m, NULL);
}

int refuse(struct radio *r, sd_bus_message *m, const char *error, const char *text)
{
	cleanup(freep) char *name = NULL;

	bus_flush(r);
	if (!strchr(error, '.') && asprintf(&name, "org.bluez.Error.%s", error) < 0)
		return -ENOMEM;
	return sd_bus_reply_method_errorf(m, name ? name : error, "%s", text);
}

static int unknown(struct radio *r, sd_bus_message *m, bool object)
{
	cleanup(freep) char *text = NULL;
	const char *sig = sd_bus_message_get_signature(m, true);
	const char *iface = sd_bus_message_get_interface(m);

	if (asprintf(&text,
		     "Method \"%s\" with signature \"%s\" on interface \"%s\" doesn't exist\n",
		     sd_bus_message_get_member(m), sig ? sig : "", iface ? iface : "(null)") < 0)
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
	i = interface_find(o, iface);
	if (!i)
		return refuse(o->radio, m, DBUS_ERROR "InvalidArgs", "No such interface");
	p = property_find(i, name);
	if (!p || (p->exists && !p->exists(o)))
		return refuse(o->radio, m, DBUS_ERROR "InvalidArgs", "No such property");
	r = sd_bus_message_new_method_return(m, &reply);
	if (r >= 0)
		r = append_value(reply, o, p);
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
	i = interface_find(o, iface);
	if (!i)
		return refuse(o->radio, m, DBUS_ERROR "InvalidArgs", "No such interface");
	r = sd_bus_message_new_method_return(m, &reply);
	if (r >= 0)
		r = append_properties(reply, o, i, NULL);
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
	i = interface_find(o, iface);
	if (!i)
		return refuse(o->radio, m, DBUS_ERROR "InvalidArgs", "No such interface");
	p = property_find(i, name);
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
	TAILQ_FOREACH(o, &r->objects, entry)
	{
		if (rc < 0)
			return rc;
		if (!o->ifaces[0])
			continue;
		rc = sd_bus_message_open_container(reply, 'e', "oa{sa{sv}}");
		if (rc >= 0)
			rc = sd_bus_message_append_basic(reply, 'o', o->path);
		if (rc >= 0)
			rc = append_interfaces(reply, o);
		if (rc >= 0)
			rc = sd_bus_message_close_container(reply);
	}
	if (rc >= 0)
		rc = sd_bus_message_close_container(reply);
	return rc < 0 ? rc : sd_bus_send(NULL, reply, NULL);
}

/* --- introspection: for busctl and the curious ---------------------------------------------------- */

static void describe_args(FILE *f, const char *sigs, const char *direction)
{
	for (const char *s = sigs; s && *s;) {
		size_t n = strspn(s, "a"), depth = 0;

		do {
			depth += s[n] == '{' || s[n] == '(';
			depth -= s[n] == '}' || s[n] == ')';
			n++;
		} while (depth && s[n]);
		fprintf(f, "<arg type=\"%.*s\" direction=\"%s\"/>", (int)n, s, direction);
		s += n;
	}
}

static void describe_interface(FILE *f, const struct interface *iface)
{
	fprintf(f, "<interface name=\"%s\">", iface->name);
	for (const struct method *x = iface->methods; x && x->name; x++) {
		fprintf(f, "<method name=\"%s\">", x->name);
		describe_args(f, x->in, "in");
		describe_args(f, x->out, "out");
		fprintf(f, "</method>");
	}
	for (const struct property *p = iface->properties; p && p->name; p++)
		fprintf(f, "<property name=\"%s\" type=\"%s\" access=\"%s\"/>", p->name, p->sig,
			p->set ? "readwrite" : "read");
	fprintf(f, "</interface>");
}

static void describe_children(FILE *f, struct radio *r, const char *path)
{
	size_t len = path[1] ? strlen(path) : 0, seen_len = 0;
	const char *seen = NULL;
	struct object *o;

	TAILQ_FOREACH(o, &r->objects, entry)
	{
		const char *rest = o->path + len;
		size_t n;

		if (strncmp(o->path, path, len) || rest[0] != '/' || !rest[1])
			continue;
		n = strcspn(++rest, "/");
		if (seen && n == seen_len && !strncmp(seen, rest, n))
			continue;
		seen = rest;
		seen_len = n;
		fprintf(f, "<node name=\"%.*s\"/>", (int)n, rest);
	}
}

static int introspect(struct radio *r, struct object *o, sd_bus_message *m)
{
	cleanup(freep) char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	int rc;

	if (!f)
		return -ENOMEM;
	fprintf(f,
		"<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\" "
		"\"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>");
	for (size_t i = 0; o && i < ARRAY_SIZE(o->ifaces) && o->ifaces[i]; i++)
		describe_interface(f, o->ifaces[i]);
	describe_children(f, r, sd_bus_message_get_path(m));
	fprintf(f, "</node>");
	rc = fclose(f);
	return rc ? -ENOMEM : sd_bus_reply_method_return(m, "s", text);
}

/* --- dispatch ------------------------------------------------------------------------------------- */

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
		rc = introspect(r, o, m);
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

/* A client left the bus: its discovery, adverts, applications and subscriptions end; links do not. */
static int on_owner_changed(sd_bus_message *m, void *user, sd_bus_error *err)
{
	struct radio *r = user;
	const char *name, *from, *to;
	struct adapter *a;

	if (sd_bus_message_read(m, "sss", &name, &from, &to) < 0 || name[0] != ':' || to[0])
		return 0;
	TAILQ_FOREACH(a, &r->adapters, entry)
	{
		struct device *d;

		discovery_gone(a, name);
		advert_gone(a, name, false);
		app_gone(a, name);
		TAILQ_FOREACH(d, &a->devices, entry)
		client_gone(d, name);
	}
	return 0;
}

int bus_match_changes(struct radio *r, const char *owner, const char *path, bool below,
		      sd_bus_message_handler_t fn, void *user, sd_bus_slot **ret)
{
	cleanup(freep) char *rule = NULL;
	int rc;

	if (asprintf(&rule,
		     "type='signal',sender='%s',interface='" PROPERTIES
		     "',member='PropertiesChanged',"
		     "%s='%s'",
		     owner, below ? "path_namespace" : "path", path) < 0)
		return -ENOMEM;
	rc = sd_bus_add_match_async(r->bus, ret, rule, fn, NULL, user);
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
	if (rc >= 0 && !r->flush) {
		rc = sd_event_add_defer(r->event, &r->flush, on_flush, r);
		if (rc >= 0)
			rc = sd_event_source_set_enabled(r->flush, SD_EVENT_OFF);
	}
	return rc;
}

/* As a crash: nothing more is said. The caller has taken everything that holds a slot down. */
void bus_close(struct radio *r)
{
	sd_bus_detach_event(r->bus);
	sd_bus_close(r->bus);
	r->bus = sd_bus_unref(r->bus);
}
