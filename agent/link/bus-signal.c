/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals, and who owns a name.
 *
 * Subscriptions are walked while callbacks add and remove some: one removed meanwhile is marked
 * dead and swept afterwards, one added meanwhile does not see the present message.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/span.h"
#include "link/bus-internal.h"

struct bus_name {
	struct bus *bus;
	struct bus_name *next, **link;
	char *name;
	char *owner;
	bool known;
	struct bus_sub *changes;
	struct bus_call *asking;
	void (*changed)(const char *owner, void *user);
	void *user;
};

struct bus_sub {
	struct bus *bus;
	struct bus_sub *next;
	uint64_t serial;
	bool dead;
	bool from_daemon; /* only the bus itself can bear that sender */
	struct bus_name *from;
	char *path, *interface, *member, *arg0;
	char *rule;
	void (*signal)(struct DBusMessage *signal, void *user);
	void *user;
};

/* --- subscriptions --------------------------------------------------------------------- */

static bool in_namespace(const char *path, const char *namespace)
{
	size_t len = strlen(namespace);

	if (!path || strncmp(path, namespace, len) != 0)
		return false;
	return len == 1 || path[len] == '/' || path[len] == '\0';
}

static bool first_argument_is(DBusMessage *message, const char *text)
{
	DBusMessageIter iter;
	const char *arg0;

	if (!dbus_message_iter_init(message, &iter) ||
	    dbus_message_iter_get_arg_type(&iter) != DBUS_TYPE_STRING)
		return false;
	dbus_message_iter_get_basic(&iter, &arg0);
	return strcmp(arg0, text) == 0;
}

static bool matches(const struct bus_sub *sub, DBusMessage *message)
{
	const char *sender = dbus_message_get_sender(message);

	if (sub->member && !dbus_message_has_member(message, sub->member))
		return false;
	if (sub->interface && !dbus_message_has_interface(message, sub->interface))
		return false;
	if (sub->from && (!sub->from->owner || !sender || strcmp(sender, sub->from->owner) != 0))
		return false;
	if (sub->from_daemon && (!sender || strcmp(sender, DBUS_SERVICE_DBUS) != 0))
		return false;
	if (sub->path && !in_namespace(dbus_message_get_path(message), sub->path))
		return false;
	return !sub->arg0 || first_argument_is(message, sub->arg0);
}

static void sub_free(struct bus_sub *sub)
{
	free(sub->path);
	free(sub->interface);
	free(sub->member);
	free(sub->arg0);
	free(sub->rule);
	free(sub);
}

static void sweep(struct bus *bus)
{
	struct bus_sub **at = &bus->subs;

	while (*at) {
		struct bus_sub *sub = *at;

		if (!sub->dead) {
			at = &sub->next;
			continue;
		}
		*at = sub->next;
		sub_free(sub);
	}
	bus->subs_end = at;
	bus->dead_subs = false;
}

void bus_deliver(struct bus *bus, DBusMessage *signal)
{
	uint64_t newest = bus->serial;

	bus->walking++;
	for (struct bus_sub *sub = bus->subs; sub && sub->serial <= newest; sub = sub->next)
		if (!sub->dead && matches(sub, signal))
			sub->signal(signal, sub->user);
	bus->walking--;
	if (!bus->walking && bus->dead_subs)
		sweep(bus);
}

static char *copy(const char *text, bool *failed)
{
	char *s = text ? strdup(text) : NULL;

	*failed |= text && !s;
	return s;
}

static char *make_rule(const struct bus_sub *sub)
{
	const char *sender = sub->from_daemon ? DBUS_SERVICE_DBUS
			     : sub->from      ? sub->from->name
					      : NULL;
	const char *parts[][2] = {{"sender", sender},
				  {"path_namespace", sub->path},
				  {"interface", sub->interface},
				  {"member", sub->member},
				  {"arg0", sub->arg0}};
	cleanup(freep) char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	fputs("type='signal'", out);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (parts[i][1])
			fprintf(out, ",%s='%s'", parts[i][0], parts[i][1]);
	if (fclose(out) != 0)
		return NULL;
	return steal(text);
}

static int subscribe(struct bus *bus, const struct bus_match *match, bool from_daemon,
		     void (*signal)(struct DBusMessage *, void *), void *user, struct bus_sub **ret)
{
	bool failed = false;
	struct bus_sub *sub;

	if (bus->lost)
		return -ENOTCONN;
	sub = calloc(1, sizeof(*sub));
	if (!sub)
		return -ENOMEM;
	*sub = (struct bus_sub){
		.bus = bus,
		.from_daemon = from_daemon,
		.from = match->from,
		.path = copy(match->path_namespace, &failed),
		.interface = copy(match->interface, &failed),
		.member = copy(match->member, &failed),
		.arg0 = copy(match->arg0, &failed),
		.signal = signal,
		.user = user,
	};
	sub->rule = make_rule(sub);
	if (failed || !sub->rule) {
		sub_free(sub);
		return -ENOMEM;
	}
	/* With an error argument this would block for the answer. */
	dbus_bus_add_match(bus->connection, sub->rule, NULL);
	sub->serial = ++bus->serial;
	*bus->subs_end = sub;
	bus->subs_end = &sub->next;
	*ret = sub;
	return 0;
}

int bus_subscribe(struct bus *bus, const struct bus_match *match,
		  void (*signal)(struct DBusMessage *signal, void *user), void *user,
		  struct bus_sub **ret)
{
	return subscribe(bus, match, false, signal, user, ret);
}

void bus_unsubscribe(struct bus_sub *sub)
{
	struct bus *bus;

	if (!sub)
		return;
	bus = sub->bus;
	if (!bus->lost)
		dbus_bus_remove_match(bus->connection, sub->rule, NULL);
	sub->dead = true;
	bus->dead_subs = true;
	if (!bus->walking)
		sweep(bus);
}

/* --- names ----------------------------------------------------------------------------- */

static void set_owner(struct bus_name *name, const char *owner)
{
	bool same = name->known &&
		    (owner && name->owner ? strcmp(owner, name->owner) == 0 : owner == name->owner);
	char *next;

	if (same)
		return;
	/* Without memory: as if nobody owned it. Signals are then ignored, not trusted. */
	next = owner ? strdup(owner) : NULL;
	free(name->owner);
	name->owner = next;
	name->known = true;
	/* Last: the watch may be freed in there. */
	name->changed(next, name->user);
}

static void on_owner_changed(DBusMessage *signal, void *user)
{
	struct bus_name *name = user;
	const char *subject, *old, *new;

	if (dbus_message_get_args(signal, NULL, DBUS_TYPE_STRING, &subject, DBUS_TYPE_STRING, &old,
				  DBUS_TYPE_STRING, &new, DBUS_TYPE_INVALID) &&
	    strcmp(subject, name->name) == 0)
		set_owner(name, *new ? new : NULL);
}

static void on_owner(DBusMessage *reply, void *user)
{
	const char *owner;

	if (!message_is_return(reply) ||
	    !dbus_message_get_args(reply, NULL, DBUS_TYPE_STRING, &owner, DBUS_TYPE_INVALID))
		owner = NULL;
	/* In order with the signals: the daemon answered after it had added our match. */
	set_owner(user, owner);
}

int bus_watch_name(struct bus *bus, const char *well_known,
		   void (*changed)(const char *owner, void *user), void *user,
		   struct bus_name **ret)
{
	struct bus_match match = {
		.interface = DBUS_INTERFACE_DBUS, .member = "NameOwnerChanged", .arg0 = well_known};
	cleanup(message_unrefp) DBusMessage *ask = dbus_message_new_method_call(
		DBUS_SERVICE_DBUS, DBUS_PATH_DBUS, DBUS_INTERFACE_DBUS, "GetNameOwner");
	struct bus_name *name;
	int r;

	if (!ask ||
	    !dbus_message_append_args(ask, DBUS_TYPE_STRING, &well_known, DBUS_TYPE_INVALID))
		return -ENOMEM;
	name = calloc(1, sizeof(*name));
	if (!name)
		return -ENOMEM;
	name->bus = bus;
	name->changed = changed;
	name->user = user;
	list_add(bus->names, name);
	name->name = strdup(well_known);
	r = name->name ? 0 : -ENOMEM;
	if (r == 0)
		r = subscribe(bus, &match, true, on_owner_changed, name, &name->changes);
	if (r == 0)
		r = bus_call(bus, ask, BUS_TIMEOUT_DEFAULT, on_owner, name, &name->asking);
	if (r < 0) {
		bus_unwatch_name(name);
		return r;
	}
	*ret = name;
	return 0;
}

void bus_unwatch_name(struct bus_name *name)
{
	if (!name)
		return;
	bus_call_cancel(name->asking);
	bus_unsubscribe(name->changes);
	list_remove(name);
	free(name->owner);
	free(name->name);
	free(name);
}

void bus_free_signals(struct bus *bus)
{
	struct bus_name *name, *next;

	for (name = bus->names; name; name = next) {
		next = name->next;
		bus_unwatch_name(name);
	}
	while (bus->subs)
		bus_unsubscribe(bus->subs);
}
