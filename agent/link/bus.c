/* SPDX-License-Identifier: Apache-2.0 */
/* The connection itself, from Hello to its loss, and the objects that we export on it. */
#include "link/bus.h"

#include <dbus/dbus.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/span.h"
#include "link/bus-internal.h"
#include "link/bus-loop.h"

#define SYSTEM_BUS   "unix:path=/run/dbus/system_bus_socket"
#define RECEIVED_MAX (4 << 20) /* unread messages, bytes: beyond it the socket is left alone */

struct bus_object {
	struct bus *bus;
	struct bus_object *next, **link;
	char *path;
	bool (*call)(struct DBusMessage *call, void *user);
	void *user;
};

static DBusHandlerResult on_message(DBusConnection *connection, DBusMessage *message, void *user)
{
	struct bus *bus = user;

	if (dbus_message_get_type(message) != DBUS_MESSAGE_TYPE_SIGNAL)
		return DBUS_HANDLER_RESULT_NOT_YET_HANDLED;
	/* Made by libdbus itself; it throws out any peer that sends one. */
	if (dbus_message_is_signal(message, DBUS_INTERFACE_LOCAL, "Disconnected")) {
		if (!bus->lost) {
			bus->lost = true;
			bus_fail_calls(bus);
			bus->ops->lost(bus->user);
		}
		return DBUS_HANDLER_RESULT_HANDLED;
	}
	bus_deliver(bus, message);
	return DBUS_HANDLER_RESULT_HANDLED;
}

static int error_to_errno(const DBusError *error)
{
	if (dbus_error_has_name(error, DBUS_ERROR_NO_MEMORY))
		return -ENOMEM;
	if (dbus_error_has_name(error, DBUS_ERROR_ACCESS_DENIED) ||
	    dbus_error_has_name(error, DBUS_ERROR_AUTH_FAILED))
		return -EACCES;
	if (dbus_error_has_name(error, DBUS_ERROR_FILE_NOT_FOUND))
		return -ENOENT;
	if (dbus_error_has_name(error, DBUS_ERROR_BAD_ADDRESS))
		return -EINVAL;
	return -ECONNREFUSED;
}

static int connect_bus(struct bus *bus, const char *address)
{
	DBusError error = DBUS_ERROR_INIT;
	int r = 0;

	/* Private: a shared one could be closed, or dispatched, by a library. */
	bus->connection = dbus_connection_open_private(address, &error);
	if (bus->connection) {
		dbus_connection_set_exit_on_disconnect(bus->connection, FALSE);
		dbus_connection_set_max_received_size(bus->connection, RECEIVED_MAX);
		dbus_bus_register(bus->connection, &error);
	}
	if (dbus_error_is_set(&error))
		r = error_to_errno(&error);
	dbus_error_free(&error);
	return r;
}

int bus_open(sd_event *event, const char *address, const struct bus_ops *ops, void *user,
	     struct bus **ret)
{
	cleanup(bus_closep) struct bus *bus = calloc(1, sizeof(*bus));
	int r;

	if (!bus)
		return -ENOMEM;
	bus->ops = ops;
	bus->user = user;
	bus->subs_end = &bus->subs;
	if (!address)
		address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");
	r = connect_bus(bus, address && *address ? address : SYSTEM_BUS);
	if (r < 0)
		return r;
	bus->filtered = dbus_connection_add_filter(bus->connection, on_message, bus, NULL);
	if (!bus->filtered)
		return -ENOMEM;
	r = bus_loop_new(event, bus->connection, &bus->loop);
	if (r < 0)
		return r;
	*ret = steal(bus);
	return 0;
}

void bus_close(struct bus *bus)
{
	struct bus_object *object, *next;

	if (!bus)
		return;
	bus_drop_calls(bus);
	bus_free_signals(bus);
	for (object = bus->objects; object; object = next) {
		next = object->next;
		bus_unexport(object);
	}
	bus_loop_free(bus->loop);
	if (bus->filtered)
		dbus_connection_remove_filter(bus->connection, on_message, bus);
	if (bus->connection) {
		dbus_connection_close(bus->connection);
		dbus_connection_unref(bus->connection);
	}
	free(bus);
}

void bus_closep(struct bus **bus)
{
	bus_close(*bus);
}

const char *bus_unique_name(const struct bus *bus)
{
	return dbus_bus_get_unique_name(bus->connection);
}

int bus_send(struct bus *bus, struct DBusMessage *message)
{
	if (bus->lost)
		return -ENOTCONN;
	return dbus_connection_send(bus->connection, message, NULL) ? 0 : -ENOMEM;
}

/* --- objects --------------------------------------------------------------------------- */

static DBusHandlerResult on_call(DBusConnection *connection, DBusMessage *message, void *user)
{
	struct bus_object *object = user;

	if (dbus_message_get_type(message) != DBUS_MESSAGE_TYPE_METHOD_CALL)
		return DBUS_HANDLER_RESULT_NOT_YET_HANDLED;
	/* The object may be unexported in there. */
	return object->call(message, object->user) ? DBUS_HANDLER_RESULT_HANDLED
						   : DBUS_HANDLER_RESULT_NOT_YET_HANDLED;
}

int bus_export(struct bus *bus, const char *path,
	       bool (*call)(struct DBusMessage *call, void *user), void *user,
	       struct bus_object **ret)
{
	static const DBusObjectPathVTable vtable = {.message_function = on_call};
	DBusError error = DBUS_ERROR_INIT;
	struct bus_object *object = calloc(1, sizeof(*object));
	int r = 0;

	if (!object)
		return -ENOMEM;
	object->bus = bus;
	object->call = call;
	object->user = user;
	object->path = strdup(path);
	if (!object->path) {
		r = -ENOMEM;
	} else if (!dbus_connection_try_register_object_path(bus->connection, path, &vtable, object,
							     &error)) {
		r = dbus_error_has_name(&error, DBUS_ERROR_OBJECT_PATH_IN_USE) ? -EEXIST : -ENOMEM;
		dbus_error_free(&error);
	}
	if (r < 0) {
		free(object->path);
		free(object);
		return r;
	}
	list_add(bus->objects, object);
	*ret = object;
	return 0;
}

void bus_unexport(struct bus_object *object)
{
	if (!object)
		return;
	dbus_connection_unregister_object_path(object->bus->connection, object->path);
	list_remove(object);
	free(object->path);
	free(object);
}
