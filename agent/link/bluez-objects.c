/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What BlueZ says about its objects, and what of it concerns us.
 *
 * In a block of flats most signals are about other people's gadgets, and anybody can send more. A
 * device enters the table only if its service data or UUIDs name our service, or if a link seeks its
 * address; all others cost a walk over the message and no memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "link/bluez-internal.h"
#include "link/bluez-link.h"

#define OBJECT_MANAGER "org.freedesktop.DBus.ObjectManager"

/* What a set of properties of one device says. */
struct news {
	const char *address, *address_type;
	bool has_connected, connected, has_resolved, resolved;
	bool heard, has_rssi, has_data, uuid;
	int16_t rssi;
	struct span data;
};

/* --- properties of a device --- */

static void find_service_data(struct bluez *b, DBusMessageIter *value, struct news *news)
{
	DBusMessageIter dict, bytes;
	const char *key;

	if (dbus_message_iter_get_arg_type(value) != DBUS_TYPE_ARRAY ||
	    dbus_message_iter_get_element_type(value) != DBUS_TYPE_DICT_ENTRY)
		return;
	dbus_message_iter_recurse(value, &dict);
	while (bluez_next_property(&dict, &key, &bytes))
		if (strcmp(key, b->service) == 0 && bluez_get_bytes(&bytes, &news->data))
			news->has_data = true;
}

static void find_uuid(struct bluez *b, DBusMessageIter *value, struct news *news)
{
	DBusMessageIter array;
	const char *uuid;

	if (dbus_message_iter_get_arg_type(value) != DBUS_TYPE_ARRAY)
		return;
	dbus_message_iter_recurse(value, &array);
	while (bluez_get_text(&array, &uuid)) {
		news->uuid |= strcmp(uuid, b->service) == 0;
		dbus_message_iter_next(&array);
	}
}

static void read_news(struct bluez *b, DBusMessageIter *dict, struct news *news)
{
	DBusMessageIter value;
	const char *key;

	*news = (struct news){0};
	while (bluez_next_property(dict, &key, &value)) {
		if (strcmp(key, "RSSI") == 0) {
			news->heard = true;
			if (dbus_message_iter_get_arg_type(&value) != DBUS_TYPE_INT16)
				continue;
			dbus_message_iter_get_basic(&value, &news->rssi);
			news->has_rssi = true;
		} else if (strcmp(key, "ServiceData") == 0) {
			news->heard = true;
			find_service_data(b, &value, news);
		} else if (strcmp(key, "ManufacturerData") == 0) {
			news->heard = true;
		} else if (strcmp(key, "UUIDs") == 0) {
			find_uuid(b, &value, news);
		} else if (strcmp(key, "Connected") == 0) {
			news->has_connected = bluez_get_bool(&value, &news->connected);
		} else if (strcmp(key, "ServicesResolved") == 0) {
			news->has_resolved = bluez_get_bool(&value, &news->resolved);
		} else if (strcmp(key, "Address") == 0) {
			bluez_get_text(&value, &news->address);
		} else if (strcmp(key, "AddressType") == 0) {
			bluez_get_text(&value, &news->address_type);
		}
	}
}

static void tell_advert(struct bluez *b, struct bluez_device *device)
{
	struct bluez_advert advert = {
		.address = device->address,
		.random_address = device->random,
		.rssi = device->rssi,
		.data = span_of(device->data, device->data_len),
	};

	b->counters.adverts++;
	b->ops->advert(&advert, b->user);
}

static void apply(struct bluez *b, struct bluez_device *device, const struct news *news, bool moved)
{
	bool heard = news->heard && !b->loading;

	moved |= (news->has_connected && news->connected != device->connected) ||
		 (news->has_resolved && news->resolved != device->resolved);
	/* 5.66 may answer Connect and resolve the services, and never say Connected=true (seen under
	 * load); Connected=false it says always. */
	if (news->has_resolved && news->resolved && !news->has_connected)
		device->connected = true;
	device->ours |= news->has_data || news->uuid;
	if (news->address_type)
		device->random = strcmp(news->address_type, "random") == 0;
	if (news->has_connected)
		device->connected = news->connected;
	if (news->has_resolved)
		device->resolved = news->resolved;
	if (news->has_rssi)
		device->rssi = news->rssi;
	if (news->has_data && news->data.len <= BLUEZ_DATA_MAX) {
		device->has_data = true;
		device->data_len = news->data.len;
		if (news->data.len)
			memcpy(device->data, news->data.data, news->data.len);
	}
	if (heard)
		device->seen = ++b->serial;
	if (moved && device->link)
		bluez_link_device_changed(device->link);
	else if (b->cut && !b->loading && news->has_connected && news->connected)
		bluez_cut_leftover(b, device);
	/* Last: a good deal may happen in there. */
	if (heard && device->has_data)
		tell_advert(b, device);
}

static void device_added(struct bluez *b, const char *path, DBusMessageIter *dict)
{
	struct bluez_device *device;
	struct news news;

	read_news(b, dict, &news);
	if (news.heard && !b->loading)
		bluez_scan_heard(b);
	if (!bluez_is_below(b, path) || !news.address ||
	    strlen(news.address) != BLUEZ_ADDRESS_SIZE - 1)
		return;
	device = bluez_device_find(b, news.address);
	if (!device && !news.has_data && !news.uuid && !(b->loading && news.connected)) {
		b->counters.foreign++;
		return;
	}
	device = bluez_device_present(b, news.address, path);
	if (device)
		apply(b, device, &news, true);
}

static void on_properties(struct DBusMessage *reply, void *user)
{
	struct bluez_lookup *lookup = user;
	DBusMessageIter args, dict;

	if (message_is_error(reply) || !dbus_message_iter_init(reply, &args) ||
	    dbus_message_iter_get_arg_type(&args) != DBUS_TYPE_ARRAY)
		return;
	dbus_message_iter_recurse(&args, &dict);
	device_added(lookup->bluez, lookup->path, &dict);
}

static void look_up(struct bluez *b, const char *path)
{
	const char *interface = BLUEZ_DEVICE;
	struct bluez_lookup *lookup = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(b->lookups); i++) {
		if (!b->lookups[i].call)
			lookup = &b->lookups[i];
		else if (strcmp(b->lookups[i].path, path) == 0)
			return;
	}
	if (!lookup || strlen(path) >= sizeof(lookup->path))
		return; /* its next advert tries again */
	cleanup(message_unrefp) DBusMessage *call =
		bluez_message(path, DBUS_INTERFACE_PROPERTIES, "GetAll");
	if (!call ||
	    !dbus_message_append_args(call, DBUS_TYPE_STRING, &interface, DBUS_TYPE_INVALID))
		return;
	lookup->bluez = b;
	memcpy(lookup->path, path, strlen(path) + 1);
	bus_call(b->bus, call, BLUEZ_CALL_MS, on_properties, lookup, &lookup->call);
}

/* --- the GATT table --- */

static unsigned flag_of(const char *name)
{
	static const struct {
		const char *name;
		unsigned flag;
	} flags[] = {
		{"read", CHR_READ},	    {"write", CHR_WRITE},
		{"notify", CHR_NOTIFY},	    {"write-without-response", CHR_COMMAND},
		{"indicate", CHR_INDICATE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (strcmp(name, flags[i].name) == 0)
			return flags[i].flag;
	return 0;
}

static void read_object(struct bluez_object *object, DBusMessageIter *dict)
{
	DBusMessageIter value, array;
	const char *key, *text;
	uint16_t mtu;

	while (bluez_next_property(dict, &key, &value)) {
		if (strcmp(key, "UUID") == 0 && bluez_get_text(&value, &text) &&
		    strlen(text) < BLUEZ_UUID_SIZE) {
			memcpy(object->uuid, text, strlen(text) + 1);
		} else if (strcmp(key, "MTU") == 0 &&
			   dbus_message_iter_get_arg_type(&value) == DBUS_TYPE_UINT16) {
			dbus_message_iter_get_basic(&value, &mtu);
			object->mtu = mtu;
		} else if (strcmp(key, "Flags") == 0 &&
			   dbus_message_iter_get_arg_type(&value) == DBUS_TYPE_ARRAY) {
			dbus_message_iter_recurse(&value, &array);
			for (; bluez_get_text(&array, &text); dbus_message_iter_next(&array))
				object->flags |= flag_of(text);
		}
	}
}

static void gatt_added(struct bluez *b, const char *path, bool is_service, DBusMessageIter *dict)
{
	struct bluez_device *device = bluez_device_above(b, path);
	struct bluez_object *object;

	if (!device || device->n_objects >= BLUEZ_OBJECTS_MAX)
		return;
	LIST_FOREACH(object, &device->objects, entry)
	if (strcmp(object->path, path) == 0)
		return;
	object = calloc(1, sizeof(*object));
	if (!object)
		return;
	object->path = strdup(path);
	if (!object->path) {
		free(object);
		return;
	}
	object->is_service = is_service;
	read_object(object, dict);
	if (is_service && strcmp(object->uuid, b->service) == 0)
		device->ours = true;
	LIST_INSERT_HEAD(&device->objects, object, entry);
	device->n_objects++;
	if (device->link)
		bluez_link_table_changed(device->link);
}

static void gatt_removed(struct bluez *b, const char *path)
{
	struct bluez_device *device = bluez_device_above(b, path);
	struct bluez_object *object;

	if (!device)
		return;
	for (object = LIST_FIRST(&device->objects); object; object = LIST_NEXT(object, entry)) {
		if (strcmp(object->path, path) != 0)
			continue;
		LIST_REMOVE(object, entry);
		device->n_objects--;
		free(object->path);
		free(object);
		break;
	}
	if (device->link)
		bluez_link_object_gone(device->link, path);
}

/* --- signals --- */

enum pass {
	PASS_ADAPTERS = 1,
	PASS_DEVICES = 2,
	PASS_GATT = 4,
	PASS_ALL = 7,
};

/* interfaces: a{sa{sv}} */
static void load_object(struct bluez *b, const char *path, DBusMessageIter *interfaces,
			unsigned pass)
{
	DBusMessageIter entry, dict, value;
	const char *name, *key;
	bool powered;

	for (; dbus_message_iter_get_arg_type(interfaces) == DBUS_TYPE_DICT_ENTRY;
	     dbus_message_iter_next(interfaces)) {
		dbus_message_iter_recurse(interfaces, &entry);
		if (!bluez_get_text(&entry, &name) || !dbus_message_iter_next(&entry) ||
		    dbus_message_iter_get_arg_type(&entry) != DBUS_TYPE_ARRAY)
			continue;
		dbus_message_iter_recurse(&entry, &dict);
		if ((pass & PASS_ADAPTERS) && strcmp(name, BLUEZ_ADAPTER) == 0) {
			powered = false;
			while (bluez_next_property(&dict, &key, &value))
				if (strcmp(key, "Powered") == 0)
					bluez_get_bool(&value, &powered);
			bluez_adapter_added(b, path, powered);
		} else if ((pass & PASS_DEVICES) && strcmp(name, BLUEZ_DEVICE) == 0) {
			device_added(b, path, &dict);
		} else if ((pass & PASS_GATT) && strcmp(name, BLUEZ_GATT_SVC) == 0) {
			gatt_added(b, path, true, &dict);
		} else if ((pass & PASS_GATT) && strcmp(name, BLUEZ_GATT_CHR) == 0) {
			gatt_added(b, path, false, &dict);
		}
	}
}

static void load_pass(struct bluez *b, DBusMessageIter objects, unsigned pass)
{
	DBusMessageIter entry, interfaces;
	const char *path;

	for (; dbus_message_iter_get_arg_type(&objects) == DBUS_TYPE_DICT_ENTRY;
	     dbus_message_iter_next(&objects)) {
		dbus_message_iter_recurse(&objects, &entry);
		if (!bluez_get_text(&entry, &path) || !dbus_message_iter_next(&entry) ||
		    dbus_message_iter_get_arg_type(&entry) != DBUS_TYPE_ARRAY)
			continue;
		dbus_message_iter_recurse(&entry, &interfaces);
		load_object(b, path, &interfaces, pass);
	}
}

bool bluez_objects_load(struct bluez *b, DBusMessage *reply)
{
	DBusMessageIter args, objects;

	if (message_is_error(reply) || !dbus_message_iter_init(reply, &args) ||
	    dbus_message_iter_get_arg_type(&args) != DBUS_TYPE_ARRAY)
		return false;
	dbus_message_iter_recurse(&args, &objects);
	b->loading = true;
	/* The dictionary is in no order: what lies below needs what lies above. */
	load_pass(b, objects, PASS_ADAPTERS);
	load_pass(b, objects, PASS_DEVICES);
	load_pass(b, objects, PASS_GATT);
	b->loading = false;
	bluez_devices_prune(b);
	return true;
}

static void on_added(struct DBusMessage *signal, void *user)
{
	DBusMessageIter args, interfaces;
	const char *path;

	if (!dbus_message_iter_init(signal, &args) || !bluez_get_text(&args, &path) ||
	    !dbus_message_iter_next(&args) ||
	    dbus_message_iter_get_arg_type(&args) != DBUS_TYPE_ARRAY)
		return;
	dbus_message_iter_recurse(&args, &interfaces);
	load_object(user, path, &interfaces, PASS_ALL);
}

static void on_removed(struct DBusMessage *signal, void *user)
{
	struct bluez *b = user;
	DBusMessageIter args, names;
	const char *path, *name;
	struct bluez_device *device;

	if (!dbus_message_iter_init(signal, &args) || !bluez_get_text(&args, &path) ||
	    !dbus_message_iter_next(&args) ||
	    dbus_message_iter_get_arg_type(&args) != DBUS_TYPE_ARRAY)
		return;
	dbus_message_iter_recurse(&args, &names);
	for (; bluez_get_text(&names, &name); dbus_message_iter_next(&names)) {
		if (strcmp(name, BLUEZ_ADAPTER) == 0) {
			bluez_adapter_removed(b, path);
		} else if (strcmp(name, BLUEZ_DEVICE) == 0) {
			device = bluez_device_at(b, path);
			if (device)
				bluez_device_absent(b, device);
		} else if (strcmp(name, BLUEZ_GATT_SVC) == 0 || strcmp(name, BLUEZ_GATT_CHR) == 0) {
			gatt_removed(b, path);
		}
	}
}

static void device_changed(struct bluez *b, const char *path, DBusMessageIter *dict)
{
	struct bluez_device *device = bluez_device_at(b, path);
	struct news news;

	read_news(b, dict, &news);
	if (news.heard)
		bluez_scan_heard(b);
	if (device)
		apply(b, device, &news, false);
	else if (news.has_data && bluez_is_below(b, path))
		look_up(b, path);
	else
		b->counters.foreign++;
}

static void adapter_changed(struct bluez *b, const char *path, DBusMessageIter *dict)
{
	DBusMessageIter value;
	const char *key;
	bool powered;

	while (bluez_next_property(dict, &key, &value))
		if (strcmp(key, "Powered") == 0 && bluez_get_bool(&value, &powered))
			bluez_adapter_powered(b, path, powered);
}

static void chr_changed(struct bluez *b, const char *path, DBusMessageIter *dict)
{
	struct bluez_device *device = bluez_device_above(b, path);
	DBusMessageIter value;
	struct span bytes;
	const char *key;

	while (bluez_next_property(dict, &key, &value))
		if (device && device->link && strcmp(key, "Value") == 0 &&
		    bluez_get_bytes(&value, &bytes))
			gatt_value_changed(device->link, path, bytes);
}

static void on_changed(struct DBusMessage *signal, void *user)
{
	const char *path = dbus_message_get_path(signal);
	DBusMessageIter args, dict;
	const char *name;

	if (!path || !dbus_message_iter_init(signal, &args) || !bluez_get_text(&args, &name) ||
	    !dbus_message_iter_next(&args) ||
	    dbus_message_iter_get_arg_type(&args) != DBUS_TYPE_ARRAY)
		return;
	dbus_message_iter_recurse(&args, &dict);
	if (strcmp(name, BLUEZ_DEVICE) == 0)
		device_changed(user, path, &dict);
	else if (strcmp(name, BLUEZ_ADAPTER) == 0)
		adapter_changed(user, path, &dict);
	else
		chr_changed(user, path, &dict);
}

int bluez_objects_watch(struct bluez *b)
{
	const struct bus_match matches[] = {
		{.from = b->daemon, .interface = OBJECT_MANAGER, .member = "InterfacesAdded"},
		{.from = b->daemon, .interface = OBJECT_MANAGER, .member = "InterfacesRemoved"},
		{.from = b->daemon, .interface = DBUS_INTERFACE_PROPERTIES, .arg0 = BLUEZ_ADAPTER},
		{.from = b->daemon, .interface = DBUS_INTERFACE_PROPERTIES, .arg0 = BLUEZ_DEVICE},
		{.from = b->daemon, .interface = DBUS_INTERFACE_PROPERTIES, .arg0 = BLUEZ_GATT_CHR},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(matches); i++)
		r = bus_subscribe(b->bus, &matches[i],
				  i == 0   ? on_added
				  : i == 1 ? on_removed
					   : on_changed,
				  b, &b->subs[i]);
	return r;
}

void bluez_objects_forget(struct bluez *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(b->lookups); i++)
		bus_call_cancel(b->lookups[i].call);
	bluez_devices_forget(b);
}

void bluez_objects_free(struct bluez *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(b->subs); i++)
		bus_unsubscribe(b->subs[i]);
	for (size_t i = 0; i < ARRAY_SIZE(b->lookups); i++)
		bus_call_cancel(b->lookups[i].call);
	bluez_devices_free(b);
}
