/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * radio-sim: bluetoothd 5.66 and its radios, on a private bus. What a client can see over D-Bus is
 * here; what it cannot see (HCI, L2CAP, SMP) is reduced to delays and faults.
 *
 *   board    a radio: what stays when the daemon restarts (address, faults, counters)
 *   adapter  /org/bluez/hciN, the daemon's view of a board
 *   device   /org/bluez/hciN/dev_..., one peer as one adapter sees it
 *   link     two devices that stand for each other: end 0 is the central's, end 1 the peripheral's
 *   op       one ATT request or command on its way over a link
 *   app      a client's GATT application: the table that the other end reads
 *   rchar    a characteristic of that table as the other end's D-Bus object
 *
 * Everything belongs to struct radio; what is under an adapter goes when the adapter goes.
 */
#include <stdio.h>
#include <sys/queue.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "core/span.h"

/* for (each(x, head)): over a list that does not change meanwhile */
#define each(x, head)                                                                              \
	(x) = TAILQ_FIRST(head);                                                                   \
	(x);                                                                                       \
	(x) = TAILQ_NEXT(x, entry)

enum {
	RADIO_BOARDS = 64,
	RADIO_VALUE = 512, /* longest attribute value (Core 5.3 Vol 3 Part F 3.2.9) */
	RADIO_WRITE = 510, /* longest write that the server of 5.66 takes, measured */
	RADIO_FIELDS = 8,
	RADIO_UUIDS = 14,
	UUID_SIZE = 37,
};

/* ATT error codes (Core 5.3 Vol 3 Part F 3.4.1.1), as far as they occur */
enum {
	ATT_READ_NOT_PERMITTED = 0x02,
	ATT_WRITE_NOT_PERMITTED = 0x03,
	ATT_INVALID_HANDLE = 0x01,
	ATT_NOT_SUPPORTED = 0x06,
	ATT_INVALID_OFFSET = 0x07,
	ATT_AUTHORIZATION = 0x08,
	ATT_INVALID_LENGTH = 0x0d,
	ATT_UNLIKELY = 0x0e,
	ATT_APPLICATION = 0x80,
	ATT_IN_PROGRESS = 0xfe,
};

/* Characteristic properties, in the bits of the specification (Vol 3 Part G 3.3.1.1) */
enum {
	PROP_READ = 0x02,
	PROP_COMMAND = 0x04,
	PROP_WRITE = 0x08,
	PROP_NOTIFY = 0x10,
	PROP_INDICATE = 0x20,
};

#define LOCK_SERVICE "2ff90001-f488-4501-a0b4-1a1753dee155" /* what `flood` and `spoof` imitate */

struct radio;
struct adapter;
struct device;
struct link;
struct op;
struct app;
struct gchr;
struct object;

/* --- radio.c: settings, time, chance -------------------------------------------- */

struct range {
	uint32_t min, max; /* microseconds */
};

struct settings {
	struct range connect, resolve, resolve_again, read, write, command, notify, disconnect,
		power;
	uint32_t mtu, interval_ms, connect_timeout_ms, temporary_ms, att_timeout_ms, app_timeout_ms,
		supervision_ms, retransmit_ms, max_links, peripheral_links, packet_us, byte_ns,
		connect_waits, connect_needs_scan, always_temporary, connected_unsaid, bearers,
		service_allowed;
	int32_t rssi;
};

struct stats {
	uint64_t adverts, reports, connects, refused, disconnects, reads, writes, commands,
		notifications, subscribes, sent, received, scan_ms, connected_ms;
};

/* What goes wrong at a step; see radio-trip.c. */
enum trip {
	TRIP_NONE,
	TRIP_ERROR,  /* the connect fails, the request is refused, the packet is ignored */
	TRIP_DROP,   /* the link ends, and the packet was not heard */
	TRIP_SILENT, /* the peer hangs from here on, its link stays */
	TRIP_VANISH, /* out of range from here on */
	TRIP_GARBLE, /* other bytes than were meant */
	TRIPS,
};

/* What lets a scanner hear again; each includes those below it. */
enum cure {
	CURE_NONE,
	CURE_SCAN,
	CURE_POWER,
	CURE_SERVICE,
	CURES,
};

struct board {
	int index; /* -1: no such radio */
	uint8_t addr[6];
	bool present, silent, away, scan_silent, stale;
	enum cure cure; /* of scan_silent */
	int loss, refuse, fail_writes;
	enum trip trip;
	uint32_t steps, trip_at; /* since the trip was set */
	bool sprung;
	uint32_t interval_ms;	   /* 0: the setting */
	int8_t rssi[RADIO_BOARDS]; /* as the others hear it; 0: the setting */
	struct stats stats;
};

TAILQ_HEAD(object_list, object);
TAILQ_HEAD(adapter_list, adapter);
TAILQ_HEAD(link_list, link);

struct radio {
	sd_event *event;
	sd_bus *bus; /* NULL while the daemon is "down" */
	sd_bus *service;
	uint64_t service_calls;
	struct settings set;
	uint64_t random;
	struct board boards[RADIO_BOARDS];
	struct object_list objects, pending;
	sd_event_source *flush, *kick, *reborn, *flood;
	struct adapter_list adapters;
	struct link_list links;
	uint32_t flood_size, flood_rate, flood_next;
	bool flood_ours;
	FILE *log;
	struct control_socket *control;
};

uint64_t radio_now(struct radio *r);
uint32_t radio_random(struct radio *r, uint32_t bound);
uint64_t radio_draw(struct radio *r, struct range range);
/* One shot, in usec from now; *src is replaced (its old timer is dropped). */
int radio_after(struct radio *r, uint64_t usec, sd_event_time_handler_t fn, void *user,
		sd_event_source **src);
int radio_setting(struct radio *r, const char *name, const char *value);
int radio_latency(struct radio *r, const char *name, uint32_t min_us, uint32_t max_us);
struct board *radio_board(struct radio *r, const char *name);
struct board *radio_board_at(struct radio *r, const uint8_t addr[6]);
int radio_up(struct radio *r);
void radio_down(struct radio *r);
int radio_restart(struct radio *r, uint64_t usec);
void radio_log(struct radio *r, const char *what, struct link *l, int side, const char *uuid,
	       const void *data, size_t len);

/* --- radio-trip.c, radio-service.c ----------------------------------------------- */

int trip_arm(struct board *b, uint32_t at, const char *action);
/* One step between two boards; what is to go wrong. */
enum trip trip_step(struct radio *r, struct board *one, struct board *other);
int service_open(struct radio *r);
void service_close(struct radio *r);

/* --- radio-object.c, radio-introspect.c ----------------------------------------- */

/* Objects with optional properties, as gdbus has them. */

struct method {
	const char *name, *in, *out;
	int (*call)(struct object *o, sd_bus_message *m); /* answers, or keeps a reference of m */
};

struct property {
	const char *name, *sig;
	int (*get)(struct object *o, sd_bus_message *reply);
	bool (*exists)(struct object *o);
	int (*set)(struct object *o, sd_bus_message *m); /* m stands at the value; answers it */
};

struct interface {
	const char *name;
	const struct method *methods;
	const struct property *properties;
};

struct object {
	TAILQ_ENTRY(object) entry, waiting;
	struct radio *radio;
	char *path;
	void *user;
	const struct interface *ifaces[4];
	uint32_t dirty[4];
	bool announced, queued;
};

int object_init(struct radio *r);
int object_add(struct radio *r, const char *path, void *user, const struct interface *a,
	       const struct interface *b, const struct interface *c, struct object **ret);
void object_remove(struct object *o);
void object_changed(struct object *o, const char *iface, const char *property);
struct object *object_find(struct radio *r, const char *path);
const struct interface *object_interface(struct object *o, const char *name);
const struct property *object_property(const struct interface *iface, const char *name);
int object_append(sd_bus_message *m, struct object *o); /* a{sa{sv}} */
/* a{sv}; dirty (may be NULL): only these bits */
int object_append_properties(sd_bus_message *m, struct object *o, const struct interface *iface,
			     const uint32_t *dirty);
int object_append_value(sd_bus_message *m, struct object *o, const struct property *p);
int object_introspect(struct radio *r, struct object *o, sd_bus_message *m);
/* asprintf that gives NULL when it fails. */
char *format(const char *text, ...) __attribute__((format(printf, 1, 2)));
int get_string(sd_bus_message *m, const char *s);
int get_bool(sd_bus_message *m, bool b);
void bus_flush(struct radio *r);

/* --- radio-bus.c ---------------------------------------------------------------- */

int bus_open(struct radio *r);
void bus_close(struct radio *r);
/* What is pending goes out first. Neither drops a reference. */
int answer(struct radio *r, sd_bus_message *m);
int refuse(struct radio *r, sd_bus_message *m, const char *error, const char *text);
int bus_match_changes(struct radio *r, const char *owner, const char *path, bool below,
		      sd_bus_message_handler_t fn, void *user, sd_bus_slot **ret);

/* --- radio-adapter.c, radio-discovery.c ----------------------------------------- */

struct filter {
	bool set, duplicate, discoverable;
	int rssi; /* 127: none */
	int pathloss;
	char transport[8];
	char pattern[32];
	unsigned uuids;
	char uuid[RADIO_UUIDS][UUID_SIZE];
};

struct session {
	TAILQ_ENTRY(session) entry;
	char *owner;
	bool scanning; /* false: a filter waiting for StartDiscovery */
	struct filter filter;
};

TAILQ_HEAD(device_list, device);
TAILQ_HEAD(advert_list, advert);
TAILQ_HEAD(app_list, app);

struct adapter {
	TAILQ_ENTRY(adapter) entry;
	struct radio *radio;
	struct board *board;
	struct object *obj;
	char path[24], alias[64];
	bool powered, powering, discovering, discoverable, pairable;
	uint32_t discoverable_timeout, pairable_timeout;
	uint64_t scan_since;
	TAILQ_HEAD(session_list, session) sessions;
	struct device_list devices;
	struct advert_list adverts;
	struct app_list apps;
	uint16_t next_handle;
	sd_event_source *power;
	sd_bus_message *power_reply;
};

struct advert_data;
int adapter_new(struct radio *r, struct board *b, struct adapter **ret);
void adapter_free(struct adapter *a, bool orderly);
struct adapter *adapter_of(struct radio *r, const struct board *b);
void adapter_power(struct adapter *a, bool on);
int discovery_start(struct object *o, sd_bus_message *m);
int discovery_stop(struct object *o, sd_bus_message *m);
int discovery_filter(struct object *o, sd_bus_message *m);
int discovery_filters(struct object *o, sd_bus_message *m);
void discovery_gone(struct adapter *a, const char *owner); /* NULL: everybody */
bool discovery_any(struct radio *r);
void discovery_cured(struct board *b, enum cure by);
/* An advert by (addr) was heard by every scanner but the sender; board NULL: a foreign device. */
void discovery_report(struct radio *r, struct board *from, const uint8_t addr[6], bool random,
		      const struct advert_data *data);

/* --- radio-device.c, radio-peer.c ----------------------------------------------- */

struct field {
	char uuid[UUID_SIZE];
	uint16_t company;
	uint8_t len, data[31];
};

struct advert_data {
	bool connectable, has_appearance, has_flags;
	uint8_t flags;
	uint16_t appearance;
	char name[32];
	unsigned uuids, services, makers;
	char uuid[RADIO_UUIDS][UUID_SIZE];
	struct field service[RADIO_FIELDS], maker[RADIO_FIELDS];
};

TAILQ_HEAD(rservice_list, rservice);

struct device {
	TAILQ_ENTRY(device) entry;
	struct adapter *adapter;
	struct object *obj;
	uint8_t addr[6];
	bool random, connected, resolved, trusted, blocked, temporary;
	int16_t rssi; /* 0: not heard in this discovery */
	char alias[64];
	struct advert_data seen;
	sd_event_source *expire, *timeout, *attempt, *disconnect;
	sd_bus_message *connect, *disconnects[8];
	unsigned waiting; /* in disconnects */
	struct link *link;
	int side;
	struct rservice_list services;
	bool known; /* its table was read before: resolving is quicker */
};

extern const struct property peer_properties[];
struct device *device_find(struct adapter *a, const uint8_t addr[6]);
int device_get(struct adapter *a, const uint8_t addr[6], bool random, struct device **ret);
void device_free(struct device *d);
void device_seen(struct device *d, const struct advert_data *data, int rssi, bool duplicate);
void device_forget_signal(struct device *d);
void device_linger(struct device *d);
void device_up(struct device *d, struct link *l, int side);
void device_down(struct device *d);
void device_resolved(struct device *d);
void device_connected(struct device *d, const char *error); /* answers a pending Connect */
void device_retry(struct device *d);
int device_request_disconnect(struct device *d, sd_bus_message *m);
int device_remove(struct device *d, sd_bus_message *m);
void device_uuids_changed(struct device *d);

/* --- radio-link.c --------------------------------------------------------------- */

TAILQ_HEAD(op_list, op);

struct link {
	TAILQ_ENTRY(link) entry;
	struct radio *radio;
	struct device *end[2];
	uint64_t since, busy[2]; /* busy[i]: when the last packet sent by end i arrives */
	bool dead[2];		 /* the ATT bearer of end i timed out */
	sd_event_source *resolve[2], *lost, *air_timer[2];
	sd_event_source *cut;		 /* a trip ends it: nothing more is heard */
	struct op_list queue[2], flying; /* not yet sent; all others */
	struct op_list air[2];		 /* of flying: packets sent by that end, in order */
	struct op *current[2];
};

/* 0 started, 1 the peer cannot be reached now, 2 no link free */
int link_attempt(struct device *d);
void link_drop(struct link *l);
void link_cut(struct link *l); /* from within one of its packets */
void link_drop_all(struct adapter *a);
void link_kick(struct radio *r);  /* something changed that pending connections may wait for */
void link_check(struct radio *r); /* a board went away or came back: supervision */
void link_table_changed(struct adapter *a);
unsigned link_count(struct adapter *a, int side); /* side 0: as central */
static inline struct board *link_board(struct link *l, int side)
{
	return l->end[side]->adapter->board;
}

/* --- radio-att.c ---------------------------------------------------------------- */

enum op_kind {
	OP_READ,
	OP_WRITE,
	OP_COMMAND,
	OP_CCC,
	OP_NOTIFY,
};

struct op {
	TAILQ_ENTRY(op) entry;
	struct link *link;
	int side; /* who sent it */
	enum op_kind kind;
	uint16_t handle, offset;
	size_t len;
	uint8_t data[RADIO_VALUE];
	uint64_t started, due;
	int ecode, airborne; /* airborne: -1, or who sends the packet that is on its way */
	bool answered;
	sd_event_source *deadline, *app_deadline;
	sd_bus_slot *call;
	struct gchr *chr; /* at the server, while its application is asked */
	TAILQ_ENTRY(op) asked, aloft;
	void (*done)(struct op *op,
		     void *user); /* result in ecode, data, len; NULL: nobody waits */
	void *user;
};

/* Fails with -ENOTCONN without a usable bearer. *ret may be NULL for what nobody cancels. */
int att_submit(struct link *l, int side, enum op_kind kind, uint16_t handle, uint16_t offset,
	       const void *data, size_t len, void (*done)(struct op *, void *), void *user,
	       struct op **ret);
void att_forget(struct op *op); /* the asker is gone; the op goes on without it */
void att_answer(struct op *op, int ecode, const void *data, size_t len);
void att_link_gone(struct link *l);

/* --- radio-manager.c, radio-app.c, radio-server.c ------------------------------- */

struct gdesc {
	TAILQ_ENTRY(gdesc) entry;
	uint16_t handle;
	uint32_t flags;
	char uuid[UUID_SIZE], *path;
};

struct gchr {
	TAILQ_ENTRY(gchr) entry;
	struct app *app;
	uint16_t handle; /* declaration; the value is the next */
	uint8_t props;
	bool wants_write_fd, wants_notify_fd, asked_write_fd;
	char uuid[UUID_SIZE], *path;
	TAILQ_HEAD(gdesc_list, gdesc) descs;
	int write_fd, notify_fd;
	sd_event_source *notify_io, *write_io;
	sd_bus_slot *acquire;
	unsigned subscribers;
	struct link *subscribed[16];
	struct op_list asked;
};

struct gservice {
	TAILQ_ENTRY(gservice) entry;
	uint16_t handle, end;
	bool primary;
	char uuid[UUID_SIZE], *path;
	TAILQ_HEAD(gchr_list, gchr) chrs;
};

struct app {
	TAILQ_ENTRY(app) entry;
	struct adapter *adapter;
	char *owner, *root;
	TAILQ_HEAD(gservice_list, gservice) services;
	bool live;
	sd_bus_message *reg;
	sd_bus_slot *call, *changes;
};

extern const struct interface gatt_manager;
int app_parse(struct app *app, sd_bus_message *m); /* the reply of GetManagedObjects */
void app_free(struct app *app);
void app_gone(struct adapter *a, const char *owner); /* NULL: all */
int server_builtin(struct adapter *a);
void server_handle(struct op *op); /* arrived at the other end: ask the application */
void server_link_gone(struct link *l);
void server_notify(struct gchr *c, const void *data, size_t len);
void server_chr_free(struct gchr *c);
struct gchr *server_find(struct adapter *a, uint16_t handle, struct gdesc **desc);

/* --- radio-client.c: the peer's table as objects -------------------------------- */

struct rservice {
	TAILQ_ENTRY(rservice) entry;
	struct device *device;
	struct object *obj;
	uint16_t handle;
	bool primary;
	char uuid[UUID_SIZE];
	TAILQ_HEAD(rchar_list, rchar) chars;
};

/* One ReadValue or WriteValue on its way; same-offset reads share it. */
struct access {
	struct op *read, *write;
	sd_bus_message *readers[8], *writer;
	unsigned waiting;
	uint16_t offset;
	size_t fill, len;
	bool cached;
	uint8_t buffer[RADIO_VALUE], value[RADIO_VALUE]; /* being read; the Value property */
};

struct subscriber {
	TAILQ_ENTRY(subscriber) entry;
	char *owner;
	bool registered;
	sd_bus_message *start; /* StartNotify, until the peer answered */
};

struct rchar {
	TAILQ_ENTRY(rchar) entry;
	struct rservice *service;
	struct object *obj;
	uint16_t handle;
	uint8_t props;
	bool notifying, ccc_on;
	char uuid[UUID_SIZE];
	struct access access;
	struct op *ccc;
	TAILQ_HEAD(subscriber_list, subscriber) subscribers;
	int write_fd, notify_fd;
	bool acquiring;		 /* AcquireNotify under way or done */
	sd_bus_message *acquire; /* AcquireNotify, until the peer answered */
	sd_event_source *write_io, *notify_io;
	TAILQ_HEAD(rdesc_list, rdesc) descs;
};

struct rdesc {
	TAILQ_ENTRY(rdesc) entry;
	struct rchar *chr;
	struct object *obj;
	uint16_t handle;
	char uuid[UUID_SIZE];
	struct access access;
};

int client_sync(struct device *d); /* make the objects equal to the peer's table */
void client_clear(struct device *d);
struct link *client_bearer(struct rchar *c); /* NULL: not connected */

/* --- radio-access.c: ReadValue and WriteValue ----------------------------------- */

extern const struct method desc_methods[];
int chr_read(struct object *o, sd_bus_message *m);
int chr_write(struct object *o, sd_bus_message *m);
void access_clear(struct access *x);
/* Answers by the table of ATT errors; 0: success is not answered here. */
int refuse_att(struct radio *r, sd_bus_message *m, int ecode);

/* --- radio-notify.c: subscriptions and sockets ---------------------------------- */

int chr_start_notify(struct object *o, sd_bus_message *m);
int chr_stop_notify(struct object *o, sd_bus_message *m);
int chr_acquire_notify(struct object *o, sd_bus_message *m);
int chr_acquire_write(struct object *o, sd_bus_message *m);
void notify_clear(struct rchar *c);
void client_ready(struct device *d); /* resolved: subscribe again for who still wants it */
void client_link_gone(struct device *d);
void client_gone(struct device *d, const char *owner);
void client_notified(struct device *d, uint16_t handle, const void *data, size_t len);

/* --- radio-uuid.c --------------------------------------------------------------- */

/* "180f", "0x180f" or the long form -> 36 lower-case characters. */
int uuid_canonical(const char *text, char ret[UUID_SIZE]);
bool uuid_is_short(const char *uuid); /* 16 bits on the air */

/* --- radio-advert.c ------------------------------------------------------------- */

struct advert {
	TAILQ_ENTRY(advert) entry;
	struct adapter *adapter;
	char *owner, *path;
	bool live;
	struct advert_data data;
	sd_bus_message *reg;
	sd_bus_slot *call, *changes;
	sd_event_source *timer;
};

extern const struct interface advert_manager;
void advert_gone(struct adapter *a, const char *owner, bool release);
bool advert_connectable(struct adapter *a);
void advert_wake(struct radio *r); /* scanning or power changed: arm or stop the timers */
/* One advert, with service data of ours, from a board's address. */
int advert_spoof(struct radio *r, struct board *b, const uint8_t *bytes, size_t len);
void advert_flood(struct radio *r);

/* --- radio-control.c ------------------------------------------------------------ */

int control_open(struct radio *r, const char *path);
