/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One private libdbus connection on sd-event. Everything is asynchronous but bus_open(), which
 * authenticates and says Hello, and so belongs before the loop starts.
 *
 * No callback fires before the call that registered it has returned. A callback may register, call,
 * cancel and unsubscribe whatever it likes, its own registration too, but must not bus_close().
 * Errors: 0 or -errno. Only bus*.c, bluez*.c and control.c see <dbus/dbus.h>; a message is opaque
 * to everybody else.
 */
#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

struct DBusMessage;
struct bus;
struct bus_call;
struct bus_name;
struct bus_sub;
struct bus_object;

#define BUS_TIMEOUT_DEFAULT 25000u /* ms */

struct bus_ops {
	/* The connection broke, once. Pending calls get an error reply each, before or after. There
	 * is no way back: end the loop, exit non-zero, let systemd start the daemon again. */
	void (*lost)(void *user);
};

/* address NULL: $DBUS_SYSTEM_BUS_ADDRESS, else the system bus. Blocks for a few round trips. */
int bus_open(sd_event *event, const char *address, const struct bus_ops *ops, void *user,
	     struct bus **ret);
/* Pending calls are dropped without a reply; slots are cleared, subscriptions are freed. What was
 * sent in the turn before is flushed as far as the socket takes it. */
void bus_close(struct bus *bus);
void bus_closep(struct bus **bus);

/* ":1.42" */
const char *bus_unique_name(const struct bus *bus);

/*
 * A method call. `call` is borrowed. The reply is a method return or an error (also: made up here
 * after timeout_ms, or when the bus is lost) and borrowed; it fires exactly once unless cancelled.
 * slot (may be NULL) is set to the call and back to NULL before the reply fires: it must live so
 * long.
 */
int bus_call(struct bus *bus, struct DBusMessage *call, unsigned timeout_ms,
	     void (*reply)(struct DBusMessage *reply, void *user), void *user,
	     struct bus_call **slot);
/* The same with a user pointer of the call's own: drop(user) when it ends without a reply. */
int bus_call_owning(struct bus *bus, struct DBusMessage *call, unsigned timeout_ms,
		    void (*reply)(struct DBusMessage *reply, void *user), void (*drop)(void *user),
		    void *user);
/* NULL is fine. Clears the slot; the reply never fires. The called side is not told. */
void bus_call_cancel(struct bus_call *call);
/* A signal or a reply. Borrowed. */
int bus_send(struct bus *bus, struct DBusMessage *message);

/*
 * Who owns a well-known name: changed(owner) fires once soon after, and at each change; NULL:
 * nobody. A caller that must start it calls a method: the bus activates what it can.
 */
int bus_watch_name(struct bus *bus, const char *name,
		   void (*changed)(const char *owner, void *user), void *user,
		   struct bus_name **ret);
void bus_unwatch_name(struct bus_name *name);

/*
 * Signals. With `from` only those sent by the present owner of that watched name pass: anybody on
 * the system bus can send us a signal with any content. `from` must outlive the subscription. The
 * others may be NULL. The message is borrowed.
 */
struct bus_match {
	struct bus_name *from;
	const char *path_namespace;
	const char *interface;
	const char *member;
	const char *arg0;
};
int bus_subscribe(struct bus *bus, const struct bus_match *match,
		  void (*signal)(struct DBusMessage *signal, void *user), void *user,
		  struct bus_sub **ret);
void bus_unsubscribe(struct bus_sub *sub); /* NULL is fine */

/* A property of a basic type, for those who do not include dbus.h. */
struct bus_value {
	char type; /* 'b', 'i' (any integer), 'd', 's' (also o, g); 0: none, error names why */
	bool b;
	int64_t i;
	double d;
	const char *s;	   /* borrowed */
	const char *error; /* D-Bus error name, borrowed; NULL unless type is 0 */
};
int bus_get_property(struct bus *bus, const char *destination, const char *path,
		     const char *interface, const char *property,
		     void (*value)(const struct bus_value *value, void *user), void *user,
		     struct bus_call **slot);

/* done: 0 it is ours, -EEXIST somebody else's, other -errno. Never queues for the name. */
int bus_own_name(struct bus *bus, const char *name, void (*done)(int r, void *user), void *user,
		 struct bus_call **slot);

/* Method calls to `path`; to be answered by bus_send(), now or later. The call is borrowed (keep a
 * reference). false: not understood here, libdbus answers UnknownMethod. */
int bus_export(struct bus *bus, const char *path,
	       bool (*call)(struct DBusMessage *call, void *user), void *user,
	       struct bus_object **ret);
void bus_unexport(struct bus_object *object); /* NULL is fine */
