/* SPDX-License-Identifier: Apache-2.0 */
/* Method calls and what is made of them: a property of a basic type, a bus name of our own. */
#include <errno.h>
#include <stdlib.h>

#include "core/span.h"
#include "link/bus-internal.h"

struct bus_call {
	struct bus *bus;
	struct bus_call *next, **link;
	struct bus_call **slot;
	DBusPendingCall *pending;
	void (*finish)(const struct bus_call *call, DBusMessage *reply);
	/* one of these, for finish */
	void (*reply)(struct DBusMessage *reply, void *user);
	void (*value)(const struct bus_value *value, void *user);
	void (*done)(int r, void *user);
	void (*drop)(void *user); /* may be NULL */
	void *user;
};

static void call_free(struct bus_call *call)
{
	if (call->slot)
		*call->slot = NULL;
	list_remove(call);
	dbus_pending_call_unref(call->pending);
	free(call);
}

static void forget(struct bus_call *call)
{
	dbus_pending_call_cancel(call->pending);
	call_free(call);
}

static void on_reply(DBusPendingCall *pending, void *user)
{
	struct bus_call *call = user;
	struct bus_call copy = *call;
	cleanup(message_unrefp) DBusMessage *reply = dbus_pending_call_steal_reply(pending);

	/* First free, then tell: whoever is told may call again into the same slot. */
	call_free(call);
	if (reply)
		copy.finish(&copy, reply);
}

/* Sends `message`; call is a template with finish, its function and user. */
static int start(struct bus *bus, DBusMessage *message, unsigned timeout_ms,
		 const struct bus_call *template, struct bus_call **slot)
{
	DBusPendingCall *pending = NULL;
	struct bus_call *call;

	if (bus->lost)
		return -ENOTCONN;
	call = malloc(sizeof(*call));
	if (!call)
		return -ENOMEM;
	*call = *template;
	if (!dbus_connection_send_with_reply(bus->connection, message, &pending, (int)timeout_ms)) {
		free(call);
		return -ENOMEM;
	}
	if (!pending) { /* not connected any more; lost() is on its way */
		free(call);
		return -ENOTCONN;
	}
	call->bus = bus;
	call->pending = pending;
	call->slot = slot;
	if (slot)
		*slot = call;
	list_add(bus->calls, call);
	if (!dbus_pending_call_set_notify(pending, on_reply, call, NULL)) {
		forget(call);
		return -ENOMEM;
	}
	return 0;
}

static void finish_call(const struct bus_call *call, DBusMessage *reply)
{
	call->reply(reply, call->user);
}

int bus_call(struct bus *bus, struct DBusMessage *message, unsigned timeout_ms,
	     void (*reply)(struct DBusMessage *reply, void *user), void *user,
	     struct bus_call **slot)
{
	struct bus_call template = {.finish = finish_call, .reply = reply, .user = user};

	return start(bus, message, timeout_ms, &template, slot);
}

int bus_call_owning(struct bus *bus, struct DBusMessage *message, unsigned timeout_ms,
		    void (*reply)(struct DBusMessage *reply, void *user), void (*drop)(void *user),
		    void *user)
{
	struct bus_call template = {
		.finish = finish_call, .reply = reply, .drop = drop, .user = user};

	return start(bus, message, timeout_ms, &template, NULL);
}

void bus_call_cancel(struct bus_call *call)
{
	void (*drop)(void *) = call ? call->drop : NULL;
	void *user = call ? call->user : NULL;

	if (call)
		forget(call);
	if (drop)
		drop(user);
}

/* libdbus 1.14 forgets pending calls when the connection breaks, without a word to them. */
void bus_fail_calls(struct bus *bus)
{
	cleanup(message_unrefp) DBusMessage *error = dbus_message_new(DBUS_MESSAGE_TYPE_ERROR);
	struct bus_call copy;

	if (error && !dbus_message_set_error_name(error, DBUS_ERROR_DISCONNECTED))
		return;
	/* From the head each time: what is told may cancel any other call. */
	while (error && bus->calls) {
		copy = *bus->calls; /* NOLINT(clang-analyzer-unix.Malloc): forget() unlinks */
		forget(bus->calls);
		copy.finish(&copy, error);
	}
}

void bus_drop_calls(struct bus *bus)
{
	struct bus_call *call, *next;

	for (call = bus->calls; call; call = next) {
		next = call->next;
		bus_call_cancel(call);
	}
}

/* --- properties ------------------------------------------------------------------------ */

static void read_value(DBusMessageIter *iter, struct bus_value *value)
{
	DBusBasicValue basic;
	int type = dbus_message_iter_get_arg_type(iter);

	if (!dbus_type_is_basic(type) || type == DBUS_TYPE_UNIX_FD)
		return;
	dbus_message_iter_get_basic(iter, &basic);
	value->type = 'i';
	switch (type) {
	case DBUS_TYPE_BOOLEAN:
		value->type = 'b';
		value->b = basic.bool_val;
		break;
	case DBUS_TYPE_BYTE:
		value->i = basic.byt;
		break;
	case DBUS_TYPE_INT16:
		value->i = basic.i16;
		break;
	case DBUS_TYPE_UINT16:
		value->i = basic.u16;
		break;
	case DBUS_TYPE_INT32:
		value->i = basic.i32;
		break;
	case DBUS_TYPE_UINT32:
		value->i = basic.u32;
		break;
	case DBUS_TYPE_INT64:
		value->i = basic.i64;
		break;
	case DBUS_TYPE_UINT64:
		value->i = basic.u64 > INT64_MAX ? INT64_MAX : (int64_t)basic.u64;
		break;
	case DBUS_TYPE_DOUBLE:
		value->type = 'd';
		value->d = basic.dbl;
		break;
	default:
		value->type = 's';
		value->s = basic.str;
	}
}

static void finish_property(const struct bus_call *call, DBusMessage *reply)
{
	struct bus_value value = {0};
	DBusMessageIter iter, inner;

	if (dbus_message_get_type(reply) == DBUS_MESSAGE_TYPE_ERROR) {
		value.error = dbus_message_get_error_name(reply);
	} else if (dbus_message_iter_init(reply, &iter) &&
		   dbus_message_iter_get_arg_type(&iter) == DBUS_TYPE_VARIANT) {
		dbus_message_iter_recurse(&iter, &inner);
		read_value(&inner, &value);
	}
	if (!value.type && !value.error)
		value.error = DBUS_ERROR_INVALID_SIGNATURE;
	call->value(&value, call->user);
}

int bus_get_property(struct bus *bus, const char *destination, const char *path,
		     const char *interface, const char *property,
		     void (*value)(const struct bus_value *value, void *user), void *user,
		     struct bus_call **slot)
{
	struct bus_call template = {.finish = finish_property, .value = value, .user = user};
	cleanup(message_unrefp) DBusMessage *get =
		dbus_message_new_method_call(destination, path, DBUS_INTERFACE_PROPERTIES, "Get");

	if (!get || !dbus_message_append_args(get, DBUS_TYPE_STRING, &interface, DBUS_TYPE_STRING,
					      &property, DBUS_TYPE_INVALID))
		return -ENOMEM;
	return start(bus, get, BUS_TIMEOUT_DEFAULT, &template, slot);
}

/* --- a name of our own ----------------------------------------------------------------- */

static void finish_name(const struct bus_call *call, DBusMessage *reply)
{
	dbus_uint32_t result = 0;
	int r = -EIO;

	if (dbus_message_is_error(reply, DBUS_ERROR_ACCESS_DENIED))
		r = -EACCES;
	else if (message_is_return(reply) &&
		 dbus_message_get_args(reply, NULL, DBUS_TYPE_UINT32, &result, DBUS_TYPE_INVALID))
		r = result == DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER ||
				    result == DBUS_REQUEST_NAME_REPLY_ALREADY_OWNER
			    ? 0
			    : -EEXIST;
	call->done(r, call->user);
}

int bus_own_name(struct bus *bus, const char *name, void (*done)(int r, void *user), void *user,
		 struct bus_call **slot)
{
	struct bus_call template = {.finish = finish_name, .done = done, .user = user};
	cleanup(message_unrefp) DBusMessage *request = dbus_message_new_method_call(
		DBUS_SERVICE_DBUS, DBUS_PATH_DBUS, DBUS_INTERFACE_DBUS, "RequestName");
	dbus_uint32_t flags = DBUS_NAME_FLAG_DO_NOT_QUEUE;

	if (!request || !dbus_message_append_args(request, DBUS_TYPE_STRING, &name,
						  DBUS_TYPE_UINT32, &flags, DBUS_TYPE_INVALID))
		return -ENOMEM;
	return start(bus, request, BUS_TIMEOUT_DEFAULT, &template, slot);
}
