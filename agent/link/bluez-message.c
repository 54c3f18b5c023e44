/* SPDX-License-Identifier: Apache-2.0 */
/* D-Bus messages as BlueZ wants them, and reading its answers without trusting their types. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "link/bluez-internal.h"

DBusMessage *bluez_message(const char *path, const char *interface, const char *member)
{
	DBusMessage *message = dbus_message_new_method_call(BLUEZ_SERVICE, path, interface, member);

	if (message)
		dbus_message_set_auto_start(message, FALSE);
	return message;
}

bool bluez_append_options(DBusMessageIter *args, const char *key, const char *text)
{
	DBusMessageIter dict, entry, variant;

	if (!dbus_message_iter_open_container(args, DBUS_TYPE_ARRAY, "{sv}", &dict))
		return false;
	if (key && (!dbus_message_iter_open_container(&dict, DBUS_TYPE_DICT_ENTRY, NULL, &entry) ||
		    !dbus_message_iter_append_basic(&entry, DBUS_TYPE_STRING, &key) ||
		    !dbus_message_iter_open_container(&entry, DBUS_TYPE_VARIANT, "s", &variant) ||
		    !dbus_message_iter_append_basic(&variant, DBUS_TYPE_STRING, &text) ||
		    !dbus_message_iter_close_container(&entry, &variant) ||
		    !dbus_message_iter_close_container(&dict, &entry)))
		return false;
	return dbus_message_iter_close_container(args, &dict);
}

int bluez_call(struct bluez *b, const char *path, const char *interface, const char *member,
	       unsigned timeout_ms, void (*reply)(struct DBusMessage *reply, void *user),
	       void *user, struct bus_call **slot)
{
	cleanup(message_unrefp) DBusMessage *call = bluez_message(path, interface, member);

	if (!call)
		return -ENOMEM;
	return bus_call(b->bus, call, timeout_ms, reply, user, slot);
}

void bluez_tell(struct bluez *b, const char *path, const char *interface, const char *member)
{
	cleanup(message_unrefp) DBusMessage *call = bluez_message(path, interface, member);

	if (!call)
		return;
	dbus_message_set_no_reply(call, TRUE);
	bus_send(b->bus, call);
}

bool bluez_next_property(DBusMessageIter *dict, const char **key, DBusMessageIter *value)
{
	DBusMessageIter entry;

	while (dbus_message_iter_get_arg_type(dict) == DBUS_TYPE_DICT_ENTRY) {
		dbus_message_iter_recurse(dict, &entry);
		dbus_message_iter_next(dict);
		if (dbus_message_iter_get_arg_type(&entry) != DBUS_TYPE_STRING)
			continue;
		dbus_message_iter_get_basic(&entry, key);
		dbus_message_iter_next(&entry);
		if (dbus_message_iter_get_arg_type(&entry) != DBUS_TYPE_VARIANT)
			continue;
		dbus_message_iter_recurse(&entry, value);
		return true;
	}
	return false;
}

bool bluez_get_text(DBusMessageIter *value, const char **text)
{
	int type = dbus_message_iter_get_arg_type(value);

	if (type != DBUS_TYPE_STRING && type != DBUS_TYPE_OBJECT_PATH)
		return false;
	dbus_message_iter_get_basic(value, text);
	return true;
}

bool bluez_get_bool(DBusMessageIter *value, bool *ret)
{
	dbus_bool_t b;

	if (dbus_message_iter_get_arg_type(value) != DBUS_TYPE_BOOLEAN)
		return false;
	dbus_message_iter_get_basic(value, &b);
	*ret = b;
	return true;
}

bool bluez_get_bytes(DBusMessageIter *value, struct span *ret)
{
	DBusMessageIter array;
	int len = 0;

	if (dbus_message_iter_get_arg_type(value) != DBUS_TYPE_ARRAY ||
	    dbus_message_iter_get_element_type(value) != DBUS_TYPE_BYTE)
		return false;
	dbus_message_iter_recurse(value, &array);
	dbus_message_iter_get_fixed_array(&array, &ret->data, &len);
	ret->len = (size_t)len;
	return true;
}

void bluez_error_text(DBusMessage *error, char *text, size_t size)
{
	const char *name = dbus_message_get_error_name(error);
	const char *words = "";
	DBusMessageIter iter;

	if (dbus_message_iter_init(error, &iter))
		bluez_get_text(&iter, &words);
	snprintf(text, size, "%s%s%s", name ? name : "error", *words ? ": " : "", words);
}

bool bluez_error_is_absent(DBusMessage *error)
{
	static const char *const names[] = {
		DBUS_ERROR_UNKNOWN_OBJECT,    DBUS_ERROR_UNKNOWN_METHOD,
		DBUS_ERROR_UNKNOWN_INTERFACE, DBUS_ERROR_SERVICE_UNKNOWN,
		DBUS_ERROR_NAME_HAS_NO_OWNER,
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (dbus_message_is_error(error, names[i]))
			return true;
	return false;
}
