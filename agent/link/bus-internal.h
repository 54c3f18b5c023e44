/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the files of bus share: bus.c the connection, bus-call.c calls, bus-signal.c signals, names.
 */
#include <dbus/dbus.h>
#include <stdbool.h>
#include <stdint.h>

#include "link/bus.h"

struct bus_loop;

struct bus {
	DBusConnection *connection;
	struct bus_loop *loop;
	const struct bus_ops *ops;
	void *user;
	struct bus_call *calls;
	struct bus_name *names;
	struct bus_sub *subs, **subs_end; /* oldest first */
	struct bus_object *objects;
	uint64_t serial; /* of the newest subscription */
	unsigned walking;
	bool dead_subs;
	bool filtered; /* libdbus aborts when a filter is removed that was never added */
	bool lost;
};

/* An intrusive list with a back link: insert at the head, remove without a walk. */
#define list_add(head, item)                                                                       \
	do {                                                                                       \
		(item)->next = (head);                                                             \
		(item)->link = &(head);                                                            \
		if (head)                                                                          \
			(head)->link = &(item)->next;                                              \
		(head) = (item);                                                                   \
	} while (0)
#define list_remove(item)                                                                          \
	do {                                                                                       \
		*(item)->link = (item)->next;                                                      \
		if ((item)->next)                                                                  \
			(item)->next->link = (item)->link;                                         \
	} while (0)

static inline void message_unrefp(DBusMessage **message)
{
	if (*message)
		dbus_message_unref(*message);
}

/* Ask before get_args(): the text of an error reads like a result of type string. */
static inline bool message_is_return(DBusMessage *message)
{
	return dbus_message_get_type(message) == DBUS_MESSAGE_TYPE_METHOD_RETURN;
}

/* bus-call.c: an error reply to each call that waits */
void bus_fail_calls(struct bus *bus);
void bus_drop_calls(struct bus *bus);

/* bus-signal.c */
void bus_deliver(struct bus *bus, DBusMessage *signal);
void bus_free_signals(struct bus *bus);
