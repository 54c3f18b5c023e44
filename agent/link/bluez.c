/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bluetoothd coming and going, adapters and their power.
 *
 *   nobody owns org.bluez -> ask the bus to start it, ever more seldom
 *   somebody does         -> one GetManagedObjects, pick the adapter, switch it on: up
 *   owner changes         -> forget everything, links close, from the start
 *   adapter goes, or off  -> down, links close; another one, or on again
 */
#include "link/bluez.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "link/bluez-internal.h"

#define SYNC_MS 15000u

/* --- time --- */

uint64_t bluez_now(const struct bluez *b)
{
	uint64_t usec = 0;

	sd_event_now(b->event, CLOCK_MONOTONIC, &usec);
	return usec;
}

int bluez_timer(struct bluez *b, sd_event_source **source, unsigned ms, sd_event_time_handler_t fn,
		void *user)
{
	uint64_t accuracy = ms >= 1000 ? 100000 : 5000;
	int r;

	if (!*source)
		return sd_event_add_time_relative(b->event, source, CLOCK_MONOTONIC,
						  (uint64_t)ms * 1000, accuracy, fn, user);
	r = sd_event_source_set_time_relative(*source, (uint64_t)ms * 1000);
	if (r >= 0)
		r = sd_event_source_set_time_accuracy(*source, accuracy);
	if (r >= 0)
		r = sd_event_source_set_enabled(*source, SD_EVENT_ONESHOT);
	return r;
}

void bluez_timer_stop(sd_event_source *source)
{
	if (source)
		sd_event_source_set_enabled(source, SD_EVENT_OFF);
}

unsigned bluez_back_off(unsigned first_ms, unsigned tries, unsigned limit)
{
	unsigned factor = tries < 16 ? 1u << tries : limit;
	unsigned ms = first_ms * (factor < limit ? factor : limit);
	unsigned random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = 0;
	return ms + random % (ms / 2 + 1);
}

/* --- up and down --- */

static void tell(struct bluez *b, bool up, const char *detail)
{
	const char *path = b->adapter ? b->adapter->path : "";
	const char *slash = strrchr(path, '/');

	if (b->told && b->up == up && strcmp(b->detail, detail) == 0)
		return;
	b->told = true;
	b->up = up;
	snprintf(b->detail, sizeof(b->detail), "%s", detail);
	b->ops->adapter(up, slash ? slash + 1 : path, b->detail, b->user);
}

static void go_down(struct bluez *b, const char *detail)
{
	char copy[BLUEZ_DETAIL_SIZE];

	snprintf(copy, sizeof(copy), "%s", detail);
	if (b->up)
		b->counters.adapter_losses++;
	b->up = false;
	bus_call_cancel(b->power);
	bluez_scan_reset(b);
	bluez_links_adapter_down(b, copy);
	tell(b, false, copy);
}

static void go_up(struct bluez *b)
{
	b->retries = 0;
	b->cycling = false;
	bluez_timer_stop(b->retry);
	tell(b, true, "powered");
	bluez_scan_update(b);
	bluez_links_pump(b);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *user);

static void try_later(struct bluez *b)
{
	bluez_timer(b, &b->retry, bluez_back_off(b->options.retry_ms, b->retries++, 30), on_retry,
		    b);
}

/* --- power --- */

int bluez_set_powered(struct bluez *b, bool on,
		      void (*reply)(struct DBusMessage *reply, void *user), struct bus_call **slot)
{
	cleanup(message_unrefp) DBusMessage *set =
		bluez_message(b->adapter->path, DBUS_INTERFACE_PROPERTIES, "Set");
	const char *interface = BLUEZ_ADAPTER, *property = "Powered";
	DBusMessageIter args, variant;
	dbus_bool_t value = on;

	if (!set)
		return -ENOMEM;
	dbus_message_iter_init_append(set, &args);
	if (!dbus_message_iter_append_basic(&args, DBUS_TYPE_STRING, &interface) ||
	    !dbus_message_iter_append_basic(&args, DBUS_TYPE_STRING, &property) ||
	    !dbus_message_iter_open_container(&args, DBUS_TYPE_VARIANT, "b", &variant) ||
	    !dbus_message_iter_append_basic(&variant, DBUS_TYPE_BOOLEAN, &value) ||
	    !dbus_message_iter_close_container(&args, &variant))
		return -ENOMEM;
	return bus_call(b->bus, set, SYNC_MS, reply, b, slot);
}

static void on_power(struct DBusMessage *reply, void *user)
{
	struct bluez *b = user;
	char text[BLUEZ_DETAIL_SIZE - 32], detail[BLUEZ_DETAIL_SIZE];

	/* When it worked, the signal of the property says so; rfkill and dead hardware end here. */
	if (message_is_error(reply)) {
		bluez_error_text(reply, text, sizeof(text));
		snprintf(detail, sizeof(detail), "cannot be switched on: %s", text);
		tell(b, false, detail);
	}
	if (!b->up)
		try_later(b);
}

/* Whatever is the next step towards up. */
static void advance(struct bluez *b)
{
	char detail[BLUEZ_DETAIL_SIZE];

	if (!b->adapter) {
		snprintf(detail, sizeof(detail), "no Bluetooth adapter%s%s",
			 b->adapter_name ? " " : "", b->adapter_name ? b->adapter_name : "");
		tell(b, false, detail);
	} else if (b->adapter->powered) {
		if (!b->up)
			go_up(b);
	} else if (!b->power && bluez_set_powered(b, true, on_power, &b->power) < 0) {
		try_later(b);
	}
}

/* --- adapters --- */

bool bluez_is_below(const struct bluez *b, const char *path)
{
	size_t len = b->adapter ? strlen(b->adapter->path) : 0;

	return len && strncmp(path, b->adapter->path, len) == 0 && path[len] == '/';
}

static bool is_wanted(const struct bluez *b, const char *path)
{
	const char *slash = strrchr(path, '/');

	return !b->adapter_name || (slash && strcmp(slash + 1, b->adapter_name) == 0);
}

static void choose(struct bluez *b)
{
	struct bluez_adapter *adapter;

	b->adapter = NULL;
	LIST_FOREACH(adapter, &b->adapters, entry)
	if (is_wanted(b, adapter->path) &&
	    (!b->adapter || strverscmp(adapter->path, b->adapter->path) < 0))
		b->adapter = adapter;
}

static struct bluez_adapter *adapter_find(struct bluez *b, const char *path)
{
	struct bluez_adapter *adapter;

	LIST_FOREACH(adapter, &b->adapters, entry)
	if (strcmp(adapter->path, path) == 0)
		return adapter;
	return NULL;
}

static void adapter_free(struct bluez_adapter *adapter)
{
	LIST_REMOVE(adapter, entry);
	free(adapter->path);
	free(adapter);
}

static void adapters_free(struct bluez *b)
{
	struct bluez_adapter *adapter = LIST_FIRST(&b->adapters), *next;

	for (; adapter; adapter = next) {
		next = LIST_NEXT(adapter, entry);
		adapter_free(adapter);
	}
	b->adapter = NULL;
}

static void synchronize(struct bluez *b);

void bluez_adapter_added(struct bluez *b, const char *path, bool powered)
{
	struct bluez_adapter *adapter = adapter_find(b, path);
	bool had = b->adapter;

	if (adapter) {
		bluez_adapter_powered(b, path, powered);
		return;
	}
	adapter = calloc(1, sizeof(*adapter));
	if (adapter)
		adapter->path = strdup(path);
	if (!adapter || !adapter->path) {
		free(adapter);
		return;
	}
	adapter->powered = powered;
	LIST_INSERT_HEAD(&b->adapters, adapter, entry);
	if (b->loading || !had)
		choose(b);
	/* What lies below it was announced, if at all, while we did not listen. */
	if (!b->loading && !had && b->adapter)
		synchronize(b);
}

void bluez_adapter_removed(struct bluez *b, const char *path)
{
	struct bluez_adapter *adapter = adapter_find(b, path);
	bool ours = adapter && adapter == b->adapter;

	if (ours) {
		go_down(b, "the adapter was removed");
		bluez_objects_forget(b);
	}
	if (adapter)
		adapter_free(adapter);
	if (!ours)
		return;
	choose(b);
	if (b->adapter)
		synchronize(b);
}

void bluez_adapter_powered(struct bluez *b, const char *path, bool powered)
{
	struct bluez_adapter *adapter = adapter_find(b, path);

	if (!adapter || adapter->powered == powered)
		return;
	adapter->powered = powered;
	if (adapter != b->adapter || !b->synced || b->loading)
		return;
	if (powered) {
		advance(b);
		return;
	}
	go_down(b, b->cycling ? "switched off to recover" : "the adapter was switched off");
	try_later(b);
}

/* --- bluetoothd --- */

/* BlueZ keeps the links of a client that died, also those that it was still making; a lock takes one
 * connection at a time. */
void bluez_cut_leftover(struct bluez *b, const struct bluez_device *device)
{
	if (!device->connected || !device->ours || device->link)
		return;
	b->counters.leftovers++;
	bluez_tell(b, device->path, BLUEZ_DEVICE, "Disconnect");
}

static void cut_leftovers(struct bluez *b)
{
	struct bluez_device *device;

	for (device = LIST_FIRST(&b->devices); device; device = LIST_NEXT(device, entry))
		bluez_cut_leftover(b, device);
}

static void on_objects(struct DBusMessage *reply, void *user)
{
	struct bluez *b = user;
	char text[BLUEZ_DETAIL_SIZE];

	if (!bluez_objects_load(b, reply)) {
		bluez_error_text(reply, text, sizeof(text));
		tell(b, false, text);
		try_later(b);
		return;
	}
	b->synced = true;
	if (!b->cut && b->adapter) {
		b->cut = true;
		cut_leftovers(b);
	}
	advance(b);
}

static void synchronize(struct bluez *b)
{
	bus_call_cancel(b->sync);
	if (bluez_call(b, "/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", SYNC_MS,
		       on_objects, b, &b->sync) < 0)
		try_later(b);
}

static void on_started(struct DBusMessage *reply, void *user)
{
	struct bluez *b = user;

	if (!b->present)
		try_later(b);
}

/* Debian's unit has no Restart=: once dead, bluetoothd stays down until somebody calls for it. */
static void start_daemon(struct bluez *b)
{
	cleanup(message_unrefp) DBusMessage *start = dbus_message_new_method_call(
		DBUS_SERVICE_DBUS, DBUS_PATH_DBUS, DBUS_INTERFACE_DBUS, "StartServiceByName");
	const char *name = BLUEZ_SERVICE;
	dbus_uint32_t flags = 0;

	if (b->sync)
		return;
	if (!start ||
	    !dbus_message_append_args(start, DBUS_TYPE_STRING, &name, DBUS_TYPE_UINT32, &flags,
				      DBUS_TYPE_INVALID) ||
	    bus_call(b->bus, start, BUS_TIMEOUT_DEFAULT, on_started, b, &b->sync) < 0)
		try_later(b);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *user)
{
	struct bluez *b = user;

	if (!b->present)
		start_daemon(b);
	else if (!b->synced)
		synchronize(b);
	else
		advance(b);
	return 0;
}

static void forget_daemon(struct bluez *b)
{
	go_down(b, "bluetoothd is not running");
	bus_call_cancel(b->sync);
	b->synced = false;
	bluez_objects_forget(b);
	adapters_free(b);
}

static void on_daemon(const char *owner, void *user)
{
	struct bluez *b = user;

	if (b->present)
		b->counters.daemon_restarts++;
	/* Also when one owner follows another at once: it is another process. */
	if (b->present || !owner)
		forget_daemon(b);
	b->present = owner;
	b->retries = 0;
	bluez_timer_stop(b->retry);
	if (owner)
		synchronize(b);
	else
		start_daemon(b);
}

/* --- life --- */

static void fill(unsigned *option, unsigned value)
{
	if (!*option)
		*option = value;
}

static int set_options(struct bluez *b, const struct bluez_options *options)
{
	struct bluez_options *o = &b->options;

	*o = *options;
	fill(&o->max_links, 2);
	fill(&o->silent_after_ms, 90000);
	fill(&o->attempt_ms, 20000);
	fill(&o->connect_ms, 60000);
	fill(&o->attempts, 4);
	fill(&o->table_ms, 2000);
	fill(&o->operation_ms, 10000);
	fill(&o->back_off_ms, 250);
	fill(&o->retry_ms, 1000);
	if (!options->service)
		return -EINVAL;
	b->service = strdup(options->service);
	b->adapter_name = options->adapter ? strdup(options->adapter) : NULL;
	if (!b->service || (options->adapter && !b->adapter_name))
		return -ENOMEM;
	return 0;
}

int bluez_new(sd_event *event, struct bus *bus, const struct bluez_options *options,
	      const struct bluez_ops *ops, void *user, struct bluez **ret)
{
	cleanup(bluez_freep) struct bluez *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	b->event = sd_event_ref(event);
	b->bus = bus;
	b->ops = ops;
	b->scan.patience = 1;
	b->user = user;
	TAILQ_INIT(&b->links);
	r = set_options(b, options);
	if (r == 0)
		r = bus_watch_name(bus, BLUEZ_SERVICE, on_daemon, b, &b->daemon);
	if (r == 0)
		r = bluez_objects_watch(b);
	if (r < 0)
		return r;
	*ret = steal(b);
	return 0;
}

void bluez_free(struct bluez *b)
{
	if (!b)
		return;
	bluez_links_free(b);
	bluez_scan_free(b);
	bluez_objects_free(b);
	bus_unwatch_name(b->daemon);
	bus_call_cancel(b->sync);
	bus_call_cancel(b->power);
	sd_event_source_disable_unref(b->retry);
	adapters_free(b);
	free(b->service);
	free(b->adapter_name);
	sd_event_unref(b->event);
	free(b);
}

void bluez_freep(struct bluez **b)
{
	bluez_free(*b);
}

bool bluez_is_up(const struct bluez *b)
{
	return b->up;
}

bool bluez_is_scanning(const struct bluez *b)
{
	return b->scan.state == SCAN_ON;
}

const struct bluez_counters *bluez_counters(const struct bluez *b)
{
	return &b->counters;
}

int bluez_rssi(const struct bluez *b, const char *address)
{
	const struct bluez_device *device;

	LIST_FOREACH(device, &b->devices, entry)
	if (strcmp(device->address, address) == 0)
		return device->rssi;
	return BLUEZ_RSSI_UNKNOWN;
}
