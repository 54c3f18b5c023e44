/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A DBusWatch becomes an io source, a DBusTimeout a timer, and "there are messages to dispatch" a
 * defer source that takes one message per turn, so that a flood of adverts shares the loop fairly.
 *
 * libdbus keeps a read and a write watch on one descriptor, and epoll takes a descriptor once. It
 * shows only when back-pressure turns the write watch on. So the write watch lives on a duplicate.
 */
#include "link/bus-loop.h"

#include <dbus/dbus.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "core/span.h"

struct bus_loop {
	sd_event *event;
	DBusConnection *connection;
	sd_event_source *dispatch;
	bool broken; /* a watch could not be switched: the connection would hang silently */
};

static void give_up(struct bus_loop *loop)
{
	/* libdbus is in the middle of something: close from the defer source. */
	loop->broken = true;
	sd_event_source_set_enabled(loop->dispatch, SD_EVENT_ON);
}

/* --- watches --------------------------------------------------------------------------- */

static uint32_t watch_events(DBusWatch *watch)
{
	unsigned flags = dbus_watch_get_flags(watch);

	return (flags & DBUS_WATCH_READABLE ? EPOLLIN : 0) |
	       (flags & DBUS_WATCH_WRITABLE ? EPOLLOUT : 0);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	DBusWatch *watch = userdata;
	unsigned flags = 0;

	if (events & EPOLLIN)
		flags |= DBUS_WATCH_READABLE;
	if (events & EPOLLOUT)
		flags |= DBUS_WATCH_WRITABLE;
	if (events & EPOLLHUP)
		flags |= DBUS_WATCH_HANGUP;
	if (events & EPOLLERR)
		flags |= DBUS_WATCH_ERROR;
	/* May remove the watch, and with it the source. false: no memory, level-triggered again. */
	dbus_watch_handle(watch, flags);
	return 0;
}

static dbus_bool_t add_watch(DBusWatch *watch, void *data)
{
	struct bus_loop *loop = data;
	sd_event_source *source = NULL;
	int fd = dbus_watch_get_unix_fd(watch);
	bool own = dbus_watch_get_flags(watch) & DBUS_WATCH_WRITABLE;
	int r;

	if (own) {
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			return FALSE;
	}
	r = sd_event_add_io(loop->event, &source, fd, watch_events(watch), on_io, watch);
	if (r < 0) {
		if (own)
			close(fd);
		return FALSE;
	}
	if (own)
		sd_event_source_set_io_fd_own(source, 1);
	r = sd_event_source_set_enabled(source,
					dbus_watch_get_enabled(watch) ? SD_EVENT_ON : SD_EVENT_OFF);
	if (r < 0) {
		sd_event_source_disable_unref(source);
		return FALSE;
	}
	sd_event_source_set_description(source, own ? "bus-write" : "bus-read");
	dbus_watch_set_data(watch, source, NULL);
	return TRUE;
}

static void remove_watch(DBusWatch *watch, void *data)
{
	sd_event_source *source = dbus_watch_get_data(watch);

	dbus_watch_set_data(watch, NULL, NULL);
	sd_event_source_disable_unref(source);
}

static void toggle_watch(DBusWatch *watch, void *data)
{
	sd_event_source *source = dbus_watch_get_data(watch);

	if (!source)
		return;
	if (sd_event_source_set_enabled(source, dbus_watch_get_enabled(watch) ? SD_EVENT_ON
									      : SD_EVENT_OFF) < 0)
		give_up(data);
}

/* --- timeouts -------------------------------------------------------------------------- */

static int arm(sd_event_source *source, DBusTimeout *timeout)
{
	int r;

	if (!dbus_timeout_get_enabled(timeout))
		return sd_event_source_set_enabled(source, SD_EVENT_OFF);
	r = sd_event_source_set_time_relative(source,
					      (uint64_t)dbus_timeout_get_interval(timeout) * 1000);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	DBusTimeout *timeout = userdata;

	/* libdbus's timeouts repeat until removed; handling may remove this one. */
	arm(source, timeout);
	dbus_timeout_handle(timeout);
	return 0;
}

static dbus_bool_t add_timeout(DBusTimeout *timeout, void *data)
{
	struct bus_loop *loop = data;
	sd_event_source *source = NULL;

	if (sd_event_add_time_relative(loop->event, &source, CLOCK_MONOTONIC, 0, 0, on_time,
				       timeout) < 0)
		return FALSE;
	if (arm(source, timeout) < 0) {
		sd_event_source_disable_unref(source);
		return FALSE;
	}
	sd_event_source_set_description(source, "bus-timeout");
	dbus_timeout_set_data(timeout, source, NULL);
	return TRUE;
}

static void remove_timeout(DBusTimeout *timeout, void *data)
{
	sd_event_source *source = dbus_timeout_get_data(timeout);

	dbus_timeout_set_data(timeout, NULL, NULL);
	sd_event_source_disable_unref(source);
}

static void toggle_timeout(DBusTimeout *timeout, void *data)
{
	sd_event_source *source = dbus_timeout_get_data(timeout);

	if (source && arm(source, timeout) < 0)
		give_up(data);
}

/* --- dispatch -------------------------------------------------------------------------- */

static int on_dispatch(sd_event_source *source, void *userdata)
{
	struct bus_loop *loop = userdata;

	if (loop->broken && dbus_connection_get_is_connected(loop->connection))
		dbus_connection_close(loop->connection);
	if (dbus_connection_dispatch(loop->connection) == DBUS_DISPATCH_COMPLETE)
		sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return 0;
}

/* Runs with libdbus half way through: never dispatch in here. */
static void on_dispatch_status(DBusConnection *connection, DBusDispatchStatus status, void *data)
{
	struct bus_loop *loop = data;

	if (status != DBUS_DISPATCH_COMPLETE)
		sd_event_source_set_enabled(loop->dispatch, SD_EVENT_ON);
}

int bus_loop_new(sd_event *event, struct DBusConnection *connection, struct bus_loop **ret)
{
	struct bus_loop *loop = calloc(1, sizeof(*loop));
	int r;

	if (!loop)
		return -ENOMEM;
	loop->event = sd_event_ref(event);
	loop->connection = connection;
	r = sd_event_add_defer(event, &loop->dispatch, on_dispatch, loop);
	if (r >= 0) {
		sd_event_source_set_description(loop->dispatch, "bus-dispatch");
		/* The first turn finds out whether the Hello left something behind. */
		r = sd_event_source_set_enabled(loop->dispatch, SD_EVENT_ON);
	}
	dbus_connection_set_dispatch_status_function(connection, on_dispatch_status, loop, NULL);
	if (r >= 0 &&
	    (!dbus_connection_set_watch_functions(connection, add_watch, remove_watch, toggle_watch,
						  loop, NULL) ||
	     !dbus_connection_set_timeout_functions(connection, add_timeout, remove_timeout,
						    toggle_timeout, loop, NULL)))
		r = -ENOMEM;
	if (r < 0) {
		bus_loop_free(loop);
		return r;
	}
	*ret = loop;
	return 0;
}

void bus_loop_free(struct bus_loop *loop)
{
	if (!loop)
		return;
	dbus_connection_set_dispatch_status_function(loop->connection, NULL, NULL, NULL);
	/* Removes what is there, through remove_watch() and remove_timeout(). */
	(void)!dbus_connection_set_watch_functions(loop->connection, NULL, NULL, NULL, NULL, NULL);
	(void)!dbus_connection_set_timeout_functions(loop->connection, NULL, NULL, NULL, NULL,
						     NULL);
	sd_event_source_disable_unref(loop->dispatch);
	sd_event_unref(loop->event);
	free(loop);
}
