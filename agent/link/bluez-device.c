/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The devices of our own kind. The table is bounded, for anybody can imitate any number of them: the
 * one heard longest ago without a link gives way, those first that nobody ever connected to.
 */
#include <stdlib.h>
#include <string.h>

#include "link/bluez-internal.h"

static void objects_clear(struct bluez_device *device)
{
	struct bluez_object *object;

	while ((object = LIST_FIRST(&device->objects))) {
		LIST_REMOVE(object, entry);
		free(object->path);
		free(object);
	}
	device->n_objects = 0;
}

static void device_free(struct bluez *b, struct bluez_device *device)
{
	LIST_REMOVE(device, entry);
	b->n_devices--;
	objects_clear(device);
	free(device);
}

struct bluez_device *bluez_device_find(struct bluez *b, const char *address)
{
	struct bluez_device *device;

	LIST_FOREACH(device, &b->devices, entry)
	if (strcmp(device->address, address) == 0)
		return device;
	return NULL;
}

struct bluez_device *bluez_device_at(struct bluez *b, const char *path)
{
	struct bluez_device *device;

	LIST_FOREACH(device, &b->devices, entry)
	if (device->path && strcmp(device->path, path) == 0)
		return device;
	return NULL;
}

struct bluez_device *bluez_device_above(struct bluez *b, const char *path)
{
	struct bluez_device *device;

	for (device = LIST_FIRST(&b->devices); device; device = LIST_NEXT(device, entry)) {
		size_t len = device->path ? strlen(device->path) : 0;

		if (len && strncmp(path, device->path, len) == 0 && path[len] == '/')
			return device;
	}
	return NULL;
}

static bool goes_before(const struct bluez_device *a, const struct bluez_device *b)
{
	return a->wanted != b->wanted ? !a->wanted : a->seen < b->seen;
}

static void make_room(struct bluez *b)
{
	struct bluez_device *device, *oldest = NULL;

	if (b->n_devices < BLUEZ_DEVICES_MAX)
		return;
	LIST_FOREACH(device, &b->devices, entry)
	if (!device->link && (!oldest || goes_before(device, oldest)))
		oldest = device;
	if (!oldest)
		return;
	b->counters.devices_dropped++;
	device_free(b, oldest);
}

struct bluez_device *bluez_device_get(struct bluez *b, const char *address)
{
	struct bluez_device *device = bluez_device_find(b, address);

	if (device)
		return device;
	make_room(b);
	if (b->n_devices >= BLUEZ_DEVICES_MAX)
		return NULL;
	device = calloc(1, sizeof(*device));
	if (!device)
		return NULL;
	memcpy(device->address, address, BLUEZ_ADDRESS_SIZE);
	device->rssi = BLUEZ_RSSI_UNKNOWN;
	device->seen = ++b->serial;
	LIST_INSERT_HEAD(&b->devices, device, entry);
	b->n_devices++;
	return device;
}

struct bluez_device *bluez_device_present(struct bluez *b, const char *address, const char *path)
{
	size_t size = strlen(path) + 1;
	struct bluez_device *device = size <= BLUEZ_PATH_SIZE ? bluez_device_get(b, address) : NULL;

	if (!device)
		return NULL;
	memcpy(device->path_bytes, path, size);
	device->path = device->path_bytes;
	return device;
}

void bluez_device_absent(struct bluez *b, struct bluez_device *device)
{
	objects_clear(device);
	device->path = NULL;
	device->connected = device->resolved = false;
	if (device->link)
		bluez_link_device_changed(device->link);
	else
		device_free(b, device);
}

void bluez_device_unlink(struct bluez *b, struct bluez_device *device)
{
	device->link = NULL;
	if (!device->path)
		device_free(b, device);
}

void bluez_devices_forget(struct bluez *b)
{
	struct bluez_device *device = LIST_FIRST(&b->devices), *next;

	for (; device; device = next) {
		next = LIST_NEXT(device, entry);
		bluez_device_absent(b, device);
	}
}

void bluez_devices_prune(struct bluez *b)
{
	struct bluez_device *device, *next;

	for (device = LIST_FIRST(&b->devices); device; device = next) {
		next = LIST_NEXT(device, entry);
		if (!device->ours && !device->link)
			device_free(b, device);
	}
}

void bluez_devices_free(struct bluez *b)
{
	struct bluez_device *device = LIST_FIRST(&b->devices), *next;

	for (; device; device = next) {
		next = LIST_NEXT(device, entry);
		device_free(b, device);
	}
}
