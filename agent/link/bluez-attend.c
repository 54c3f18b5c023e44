/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose signals the bus brings us. In a block of flats nearly all adverts are other people's, and a
 * match rule cannot tell them by what they carry, only by the device's path. So:
 *
 *   WIDE    one rule for all devices, and one for each of those that we attend to
 *   NARROW  only the latter; new devices are told of as ever, by InterfacesAdded
 *
 * NARROW is a pause in listening to others, never longer than narrow_ms, and only while all we attend
 * to are heard and every link has a rule of its own. A rule is in force when the next call of ours
 * reaches anybody: before a device's own rule is relied on, WIDE has lasted for wide_ms.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "link/bluez-internal.h"
#include "link/bluez-link.h"

static bool is_wide(const struct bluez *b)
{
	return b->attention.all;
}

static bool attended(const struct bluez *b, const struct bluez_device *device)
{
	for (size_t i = 0; i < b->attention.n; i++)
		if (strcmp(b->attention.addresses[i], device->address) == 0)
			return true;
	return false;
}

/* --- may others be left aside? --- */

static bool is_heard(struct bluez *b, const char *address)
{
	const struct bluez_device *device = bluez_device_find(b, address);
	uint64_t patience = (uint64_t)(b->options.wide_ms + b->options.narrow_ms) * 1000;

	return device && device->path && device->own && device->heard_us &&
	       bluez_now(b) - device->heard_us < patience;
}

static bool may_narrow(struct bluez *b)
{
	const struct bluez_link *link;

	if (b->attention.n == 0 || !b->up || !b->synced)
		return false;
	TAILQ_FOREACH(link, &b->links, entry)
	if (link->device && !link->device->own)
		return false;
	for (size_t i = 0; i < b->attention.n; i++)
		if (!is_heard(b, b->attention.addresses[i]))
			return false;
	return true;
}

/* --- the rules --- */

static void on_own(struct DBusMessage *signal, void *user)
{
	struct bluez *b = user;

	if (!is_wide(b)) /* else it comes by the other rule */
		bluez_objects_changed(signal, b);
}

static int on_turn(sd_event_source *source, uint64_t usec, void *user);

void bluez_attend_widen(struct bluez *b)
{
	const struct bus_match match = {
		.from = b->daemon, .interface = DBUS_INTERFACE_PROPERTIES, .arg0 = BLUEZ_DEVICE};

	/* Without memory it stays as it is, until the timer comes back here. */
	if (!is_wide(b))
		(void)bus_subscribe(b->bus, &match, bluez_objects_changed, b, &b->attention.all);
	if (b->attention.n)
		bluez_timer(b, &b->attention.turn, b->options.wide_ms, on_turn, b);
	else
		bluez_timer_stop(b->attention.turn);
}

static int on_turn(sd_event_source *source, uint64_t usec, void *user)
{
	struct bluez *b = user;

	if (!is_wide(b) || !may_narrow(b)) {
		bluez_attend_widen(b);
		return 0;
	}
	bus_unsubscribe(b->attention.all);
	b->attention.all = NULL;
	bluez_timer(b, &b->attention.turn, b->options.narrow_ms, on_turn, b);
	return 0;
}

static void listen_to(struct bluez *b, struct bluez_device *device)
{
	const struct bus_match match = {
		.from = b->daemon,
		.path_namespace = device->path,
		.interface = DBUS_INTERFACE_PROPERTIES,
		.arg0 = BLUEZ_DEVICE,
	};

	if (device->path && !device->own) /* without memory it is not left to its own rule */
		(void)bus_subscribe(b->bus, &match, on_own, b, &device->own);
}

/* --- */

bool bluez_attend_device(struct bluez *b, struct bluez_device *device)
{
	bool was_narrow = !is_wide(b);

	if (device->own || !attended(b, device))
		return false;
	listen_to(b, device);
	bluez_attend_widen(b);
	return was_narrow;
}

void bluez_attend_no_more(struct bluez_device *device)
{
	bus_unsubscribe(device->own);
	device->own = NULL;
	device->heard_us = 0;
}

void bluez_attend_link(struct bluez *b, const struct bluez_device *device)
{
	if (!device->own)
		bluez_attend_widen(b);
}

static int copy(const char *const *addresses, size_t n, char (**ret)[BLUEZ_ADDRESS_SIZE])
{
	*ret = calloc(n ? n : 1, sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (strlen(addresses[i]) < BLUEZ_ADDRESS_SIZE)
			memcpy((*ret)[i], addresses[i], strlen(addresses[i]));
	return 0;
}

int bluez_attend(struct bluez *b, const char *const *addresses, size_t n)
{
	char(*list)[BLUEZ_ADDRESS_SIZE];
	struct bluez_device *device;
	int r = copy(addresses, n, &list);

	if (r < 0)
		return r;
	free(b->attention.addresses);
	b->attention.addresses = list;
	b->attention.n = n;
	for (device = LIST_FIRST(&b->devices); device; device = LIST_NEXT(device, entry)) {
		if (attended(b, device))
			listen_to(b, device);
		else
			bluez_attend_no_more(device);
	}
	bluez_attend_widen(b);
	return 0;
}

void bluez_attend_free(struct bluez *b)
{
	bus_unsubscribe(b->attention.all);
	sd_event_source_disable_unref(b->attention.turn);
	free(b->attention.addresses);
}
