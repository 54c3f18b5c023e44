/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the files of bluez share.
 *
 *   bluez.c          life, bluetoothd coming and going, adapters and their power
 *   bluez-message.c  D-Bus messages as BlueZ wants them
 *   bluez-objects.c  what BlueZ says about its objects
 *   bluez-device.c   the table of devices of our own kind
 *   bluez-scan.c     discovery, and the ladder when it falls silent
 *   bluez-link.c     links: turns and the end
 *   bluez-try.c      from an address to a link that is ready
 *   bluez-gatt.c     reads and notifications on it
 *   bluez-write.c    writes
 */
#include <dbus/dbus.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "core/span.h"
#include "link/bluez.h"
#include "link/bus.h"

#define BLUEZ_SERVICE  "org.bluez"
#define BLUEZ_ADAPTER  "org.bluez.Adapter1"
#define BLUEZ_DEVICE   "org.bluez.Device1"
#define BLUEZ_GATT_SVC "org.bluez.GattService1"
#define BLUEZ_GATT_CHR "org.bluez.GattCharacteristic1"

enum {
	BLUEZ_DEVICES_MAX = 128, /* of our kind; a passer-by can imitate any number */
	BLUEZ_OBJECTS_MAX = 128, /* in one device's GATT table */
	BLUEZ_DATA_MAX = 27,	 /* service data in one legacy advert: 31 - 4 */
	BLUEZ_UUID_SIZE = 37,
	BLUEZ_PATH_SIZE = 64,  /* of a device: /org/bluez/hci0/dev_00_11_22_33_44_55 */
	BLUEZ_VALUE_MAX = 512, /* Core 5.3 Vol 3 Part F 3.2.9 */
	BLUEZ_DETAIL_SIZE = 160,
	BLUEZ_CALL_MS = 5000, /* for what BlueZ answers by itself */
};

enum {
	CHR_READ = 1,
	CHR_WRITE = 2,
	CHR_COMMAND = 4,
	CHR_NOTIFY = 8,
	CHR_INDICATE = 16,
};

/* A service or characteristic of a device. */
struct bluez_object {
	LIST_ENTRY(bluez_object) entry;
	char *path;
	char uuid[BLUEZ_UUID_SIZE];
	bool is_service;
	unsigned flags;
	unsigned mtu; /* 0: BlueZ does not say */
};

struct bluez_device {
	LIST_ENTRY(bluez_device) entry;
	char address[BLUEZ_ADDRESS_SIZE];
	const char *path; /* NULL: BlueZ does not know it now; kept for a link that seeks it */
	char path_bytes[BLUEZ_PATH_SIZE];
	bool random, ours, connected, resolved;
	bool wanted; /* somebody connected to it: imitators give way first */
	int rssi;
	bool has_data;
	uint8_t data[BLUEZ_DATA_MAX];
	size_t data_len;
	uint64_t seen;		 /* serial of the advert, for eviction */
	struct bluez_link *link; /* at most one */
	LIST_HEAD(bluez_objects, bluez_object) objects;
	unsigned n_objects;
};

struct bluez_adapter {
	LIST_ENTRY(bluez_adapter) entry;
	char *path;
	bool powered;
};

enum scan_state {
	SCAN_OFF,
	SCAN_FILTER, /* SetDiscoveryFilter called */
	SCAN_START,
	SCAN_ON,
	SCAN_STOP,
};

struct bluez_scan {
	enum scan_state state;
	bool again;  /* the ladder wants it stopped and started */
	bool failed; /* a pause before the next try */
	struct bus_call *call;
	sd_event_source *retry, *silence;
	unsigned retries;
	/* the ladder */
	uint64_t spent,
		since; /* us: silence before, and CLOCK_MONOTONIC from when on; 0: not scanning */
	enum bluez_rung rung;
	unsigned patience; /* silent_after_ms times this */
	struct bus_call *climb;
};

/* GetAll of a device that BlueZ knew before it turned out to be ours. */
struct bluez_lookup {
	struct bluez *bluez;
	struct bus_call *call;
	char path[BLUEZ_PATH_SIZE];
};

struct bluez {
	sd_event *event;
	struct bus *bus;
	struct bluez_options options; /* defaults filled in; strings are ours */
	char *adapter_name, *service;
	const struct bluez_ops *ops;
	void *user;
	struct bluez_counters counters;

	struct bus_name *daemon;
	struct bus_sub *subs[5];
	bool present; /* bluetoothd owns its name */
	bool synced;
	bool loading; /* in bluez_objects_load() */
	struct bus_call *sync, *power;
	sd_event_source *retry; /* bluetoothd or power */
	unsigned retries;
	LIST_HEAD(bluez_adapters, bluez_adapter) adapters;
	struct bluez_adapter *adapter;	/* the one in use */
	bool up, told;			/* as told upward, and whether at all */
	char detail[BLUEZ_DETAIL_SIZE]; /* as told */
	bool cut;			/* the left-overs of an earlier life are cut */
	bool cycling;			/* the ladder is switching the adapter off and on */

	LIST_HEAD(bluez_devices, bluez_device) devices;
	unsigned n_devices;
	uint64_t serial;
	struct bluez_lookup lookups[4];

	struct bluez_scan scan;

	TAILQ_HEAD(bluez_links, bluez_link) links; /* oldest first */
	struct bluez_link *turn;		   /* who is connecting */
};

static inline void message_unrefp(DBusMessage **message)
{
	if (*message)
		dbus_message_unref(*message);
}

static inline bool message_is_error(DBusMessage *message)
{
	return dbus_message_get_type(message) == DBUS_MESSAGE_TYPE_ERROR;
}

/* --- bluez.c --------------------------------------------------------------------------- */

void bluez_adapter_added(struct bluez *b, const char *path, bool powered);
void bluez_adapter_removed(struct bluez *b, const char *path);
void bluez_adapter_powered(struct bluez *b, const char *path, bool powered);
/* Is this an object below the adapter in use? */
bool bluez_is_below(const struct bluez *b, const char *path);
int bluez_set_powered(struct bluez *b, bool on,
		      void (*reply)(struct DBusMessage *reply, void *user), struct bus_call **slot);
uint64_t bluez_now(const struct bluez *b);
/* One shot; *source is made or set anew. 0 switches it off. */
int bluez_timer(struct bluez *b, sd_event_source **source, unsigned ms, sd_event_time_handler_t fn,
		void *user);
void bluez_timer_stop(sd_event_source *source);
/* first, first*2, ... at most first*limit, plus up to half of it at random */
unsigned bluez_back_off(unsigned first_ms, unsigned tries, unsigned limit);

/* --- bluez-message.c ------------------------------------------------------------------- */

/* To org.bluez; does not start it. NULL: no memory. */
DBusMessage *bluez_message(const char *path, const char *interface, const char *member);
/* a{sv}, empty or with one text */
bool bluez_append_options(DBusMessageIter *args, const char *key, const char *text);
/* Calls a method without arguments. */
int bluez_call(struct bluez *b, const char *path, const char *interface, const char *member,
	       unsigned timeout_ms, void (*reply)(struct DBusMessage *reply, void *user),
	       void *user, struct bus_call **slot);
/* A call whose answer is of no interest. */
void bluez_tell(struct bluez *b, const char *path, const char *interface, const char *member);
/* Walks an a{sv}: false at the end. value stands inside the variant. */
bool bluez_next_property(DBusMessageIter *dict, const char **key, DBusMessageIter *value);
bool bluez_get_text(DBusMessageIter *value, const char **text);
bool bluez_get_bool(DBusMessageIter *value, bool *ret);
bool bluez_get_bytes(DBusMessageIter *value, struct span *ret);
/* "org.bluez.Error.Failed: text", shortened */
void bluez_error_text(DBusMessage *error, char *text, size_t size);
/* The call never reached the object: it, or bluetoothd, is not there. */
bool bluez_error_is_absent(DBusMessage *error);

/* --- bluez-objects.c ------------------------------------------------------------------- */

int bluez_objects_watch(struct bluez *b);
void bluez_objects_free(struct bluez *b);
/* The reply of GetManagedObjects; false: not one. */
bool bluez_objects_load(struct bluez *b, DBusMessage *reply);
void bluez_objects_forget(struct bluez *b); /* all but what links hold */

/* --- bluez-device.c --- */

struct bluez_device *bluez_device_find(struct bluez *b, const char *address);
struct bluez_device *bluez_device_at(struct bluez *b, const char *path);
/* Whose GATT object is it? */
struct bluez_device *bluez_device_above(struct bluez *b, const char *path);
/* NULL: no memory, or no room */
struct bluez_device *bluez_device_get(struct bluez *b, const char *address);
/* The same, and BlueZ has it at path. */
struct bluez_device *bluez_device_present(struct bluez *b, const char *address, const char *path);
/* BlueZ does not know it (any more); freed unless a link holds it. */
void bluez_device_absent(struct bluez *b, struct bluez_device *device);
void bluez_devices_forget(struct bluez *b);
void bluez_devices_prune(struct bluez *b); /* those that are not ours */
void bluez_devices_free(struct bluez *b);
void bluez_device_unlink(struct bluez *b, struct bluez_device *device);

/* --- bluez-scan.c ---------------------------------------------------------------------- */

/* Brings discovery in line with what is wanted now. */
void bluez_scan_update(struct bluez *b);
/* The adapter or bluetoothd went: nothing is running, nothing is pending. */
void bluez_scan_reset(struct bluez *b);
void bluez_scan_heard(struct bluez *b); /* an advert, anybody's */
/* Ends a connection to a device of our kind that no link of ours asked for. */
void bluez_cut_leftover(struct bluez *b, const struct bluez_device *device);
void bluez_scan_free(struct bluez *b);
/* May a link connect now? */
bool bluez_scan_is_quiet(const struct bluez *b);

/* --- bluez-link.c ---------------------------------------------------------------------- */

void bluez_links_pump(struct bluez *b); /* who may go on */
void bluez_links_adapter_down(struct bluez *b, const char *detail);
bool bluez_links_pause_scan(const struct bluez *b);
bool bluez_links_any_ready(const struct bluez *b);
void bluez_links_free(struct bluez *b);
void bluez_link_device_changed(struct bluez_link *link); /* connected, resolved, path */
void bluez_link_table_changed(struct bluez_link *link);
void bluez_link_object_gone(struct bluez_link *link, const char *path);
