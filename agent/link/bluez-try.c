/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One try after another, until a link is ready.
 *
 * What failed, and why, is judged by Device1.Connected, never by the text of an error: every failed
 * try ends with Disconnect, which also cancels a Connect that BlueZ still has pending.
 */
#include <errno.h>
#include <string.h>

#include "link/bluez-link.h"

/* --- a try and its failure --- */

static void pause_or_close(struct bluez_link *link)
{
	struct bluez *b = link->bluez;

	link_release_turn(link);
	if (link->attempts >= b->options.attempts) {
		link_close(link, link->reason, link->detail);
	} else {
		link->state = LINK_PAUSING;
		bluez_timer(b, &link->wait,
			    bluez_back_off(b->options.back_off_ms, link->attempts - 1, 4),
			    link_on_wait, link);
	}
	bluez_scan_update(b);
	bluez_links_pump(b);
}

/* BlueZ forgot the device before it was connected: no try, but scan until it is seen again. */
static void vanished(struct bluez_link *link)
{
	bus_call_cancel(link->call);
	bluez_timer_stop(link->attempt);
	bluez_timer_stop(link->wait);
	if (link_has_turn(link))
		link->attempts--;
	link_release_turn(link);
	link->state = LINK_SEEKING;
	bluez_scan_update(link->bluez);
	bluez_links_pump(link->bluez);
}

static void quiet(struct bluez_link *link)
{
	link->state = LINK_QUIETING;
	bluez_scan_update(link->bluez);
	bluez_links_pump(link->bluez);
}

static void cleared(struct bluez_link *link)
{
	bluez_timer_stop(link->wait);
	bus_call_cancel(link->call);
	link->cleared = true;
	link->forget = false;
	if (link->failed)
		pause_or_close(link);
	else if (link->device->path)
		quiet(link);
	else
		vanished(link);
}

static void on_forgotten(struct DBusMessage *reply, void *user)
{
	struct bluez_link *link = user;

	/* A fresh discovery makes a fresh object, with a fresh table. */
	if (link->device->path && !message_is_error(reply))
		bluez_device_absent(link->bluez, link->device); /* comes back to cleared() */
	else
		cleared(link);
}

static void forget(struct bluez_link *link)
{
	struct bluez *b = link->bluez;
	const char *path = link->device->path;
	cleanup(message_unrefp) DBusMessage *remove =
		bluez_message(b->adapter->path, BLUEZ_ADAPTER, "RemoveDevice");

	if (!remove ||
	    !dbus_message_append_args(remove, DBUS_TYPE_OBJECT_PATH, &path, DBUS_TYPE_INVALID) ||
	    bus_call(b->bus, remove, BLUEZ_CALL_MS, on_forgotten, link, &link->call) < 0)
		cleared(link);
}

static void disconnected(struct bluez_link *link)
{
	bluez_timer_stop(link->wait);
	if (link->forget && link->device->path && !link->call)
		forget(link);
	else if (!link->call)
		cleared(link);
}

static void on_disconnected(struct DBusMessage *reply, void *user)
{
	struct bluez_link *link = user;

	link->cleared = true;
	if (message_is_error(reply) || !link->device->connected)
		disconnected(link);
}

static void clear(struct bluez_link *link)
{
	struct bluez *b = link->bluez;

	link->state = LINK_CLEARING;
	link->cleared = false;
	if (!link->device->path ||
	    bluez_call(b, link->device->path, BLUEZ_DEVICE, "Disconnect", BLUEZ_CALL_MS,
		       on_disconnected, link, &link->call) < 0 ||
	    bluez_timer(b, &link->wait, BLUEZ_CALL_MS + LINK_LINGER_MS, link_on_wait, link) < 0)
		cleared(link);
}

static void fail(struct bluez_link *link, enum bluez_reason reason, const char *detail)
{
	struct bluez *b = link->bluez;

	b->counters.connect_failed++;
	link_set_detail(link, reason, detail);
	bus_call_cancel(link->call);
	gatt_unbind(link);
	bluez_timer_stop(link->attempt);
	bluez_timer_stop(link->wait);
	link->failed = true;
	clear(link);
}

static void check_table(struct bluez_link *link)
{
	struct bluez *b = link->bluez;
	int r;

	if (!link->device->connected || !link->device->resolved)
		return;
	r = gatt_bind(link);
	if (r == -ENOENT) {
		if (!link->table_due)
			bluez_timer(b, &link->wait, b->options.table_ms, link_on_wait, link);
		link->table_due = true;
		return;
	}
	bluez_timer_stop(link->wait);
	if (r < 0) {
		fail(link, BLUEZ_PROTOCOL, "no memory for the table");
		return;
	}
	link->state = LINK_SETUP;
	gatt_setup(link);
}

static void on_connected(struct DBusMessage *reply, void *user)
{
	struct bluez_link *link = user;
	char text[BLUEZ_DETAIL_SIZE];

	if (message_is_error(reply) && bluez_error_is_absent(reply)) {
		bluez_device_absent(link->bluez, link->device); /* comes back to vanished() */
		return;
	}
	if (message_is_error(reply) &&
	    !dbus_message_is_error(reply, "org.bluez.Error.AlreadyConnected")) {
		bluez_error_text(reply, text, sizeof(text));
		fail(link, BLUEZ_UNREACHABLE, text);
		return;
	}
	link->state = LINK_RESOLVING;
	link->table_due = false;
	check_table(link);
}

void link_connect_now(struct bluez_link *link)
{
	struct bluez *b = link->bluez;

	link->state = LINK_CONNECTING;
	link->cleared = false;
	if (bluez_call(b, link->device->path, BLUEZ_DEVICE, "Connect", b->options.attempt_ms + 1000,
		       on_connected, link, &link->call) < 0)
		fail(link, BLUEZ_UNREACHABLE, "no memory for a call");
}

void link_setup_done(struct bluez_link *link, enum bluez_reason reason, const char *detail)
{
	struct bluez *b = link->bluez;

	if (link->state != LINK_SETUP)
		return;
	if (reason != BLUEZ_CLOSED) {
		fail(link, reason, detail);
		return;
	}
	link_release_turn(link);
	bluez_timer_stop(link->total);
	bluez_timer_stop(link->attempt);
	link->state = LINK_READY;
	b->counters.connected++;
	bluez_scan_update(b);
	bluez_links_pump(b);
	gatt_listen(link);
	link->ops->ready(link, link->frame, link->user);
}

static int on_attempt(sd_event_source *source, uint64_t usec, void *user)
{
	struct bluez_link *link = user;

	if (link->state == LINK_RESOLVING)
		fail(link, BLUEZ_TIMEOUT, "connected, but its services were not resolved in time");
	else if (link->state == LINK_SETUP)
		fail(link, BLUEZ_TIMEOUT, "connected, but notifications did not start in time");
	else if (link_has_turn(link) && !link->failed)
		fail(link, BLUEZ_UNREACHABLE, "no connection in time");
	return 0;
}

int link_on_wait(sd_event_source *source, uint64_t usec, void *user)
{
	struct bluez_link *link = user;
	struct bluez *b = link->bluez;

	switch (link->state) {
	case LINK_PAUSING:
		link->state = link->device->path ? LINK_WAITING : LINK_SEEKING;
		bluez_links_pump(b);
		break;
	case LINK_CLEARING:
		bus_call_cancel(link->call);
		disconnected(link);
		break;
	case LINK_RESOLVING:
		b->counters.stale_tables++;
		link->forget = true;
		fail(link, BLUEZ_PROTOCOL, "connected, but without the wanted characteristics");
		break;
	case LINK_CLOSING:
		link_end(link);
		break;
	case LINK_SEEKING:
	case LINK_WAITING:
	case LINK_QUIETING:
	case LINK_CONNECTING:
	case LINK_SETUP:
	case LINK_READY:
	case LINK_ENDED:
		break;
	}
	return 0;
}

void link_try(struct bluez_link *link)
{
	struct bluez *b = link->bluez;

	b->counters.connects++;
	link->attempts++;
	link->failed = link->forget = link->table_due = false;
	link->cleared = true;
	bluez_timer(b, &link->attempt, b->options.attempt_ms, on_attempt, link);
	/* Held by an earlier life, or by another client: Connect would be answered at once, and
	 * nobody knows what is going on over that link. */
	if (link->device->connected)
		clear(link);
	else
		quiet(link);
}

/* --- what the table tells --- */

void bluez_link_device_changed(struct bluez_link *link)
{
	struct bluez_device *device = link->device;

	switch (link->state) {
	case LINK_SEEKING:
		if (!device->path)
			break;
		link->state = LINK_WAITING;
		bluez_links_pump(link->bluez);
		break;
	case LINK_WAITING:
		if (!device->path)
			vanished(link);
		break;
	case LINK_CLEARING:
		if (!device->path)
			cleared(link);
		else if (link->cleared && !device->connected)
			disconnected(link);
		break;
	case LINK_QUIETING:
	case LINK_CONNECTING:
		if (!device->path)
			vanished(link);
		break;
	case LINK_RESOLVING:
	case LINK_SETUP:
		if (!device->path || !device->connected)
			fail(link, BLUEZ_UNREACHABLE, "connected, and dropped at once");
		else if (link->state == LINK_RESOLVING)
			check_table(link);
		break;
	case LINK_READY:
		if (!device->path || !device->connected)
			link_close(link, BLUEZ_LOST, "the connection was lost");
		bluez_links_pump(link->bluez);
		break;
	case LINK_CLOSING:
		if (!device->path || (link->cleared && !device->connected))
			link_end(link);
		break;
	case LINK_PAUSING:
	case LINK_ENDED:
		break;
	}
}

void bluez_link_table_changed(struct bluez_link *link)
{
	if (link->state == LINK_RESOLVING)
		check_table(link);
}

void bluez_link_object_gone(struct bluez_link *link, const char *path)
{
	bool bound = false;

	for (unsigned i = 0; i < link->n_chrs; i++)
		bound |= link->chrs[i].path && strcmp(link->chrs[i].path, path) == 0;
	if (!bound)
		return;
	/* The lock's application died, or its table changed under us: the connection alone is of no
	 * use. */
	if (link->state == LINK_SETUP)
		fail(link, BLUEZ_PROTOCOL, "its characteristics vanished");
	else if (link->state == LINK_READY)
		link_close(link, BLUEZ_LOST, "its characteristics vanished");
}
