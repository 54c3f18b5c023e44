/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an address to a link that is ready, and its end.
 *
 *   SEEKING -> WAITING -> [turn: CLEARING, QUIETING, CONNECTING, RESOLVING, SETUP] -> READY
 *        ^        ^---- PAUSING <- CLEARING <- a try failed                           |
 *        '- BlueZ forgot the device                          CLOSING -> ENDED <-------'
 *
 * The way to READY is in bluez-try.c; here are turns, and the end. Only the defer source `end`
 * reports closed() and frees, so no link dies inside a callback.
 */
#include "link/bluez-link.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool link_has_turn(const struct bluez_link *link)
{
	return link->bluez->turn == link;
}

void link_release_turn(struct bluez_link *link)
{
	if (link_has_turn(link))
		link->bluez->turn = NULL;
}

void link_set_detail(struct bluez_link *link, enum bluez_reason reason, const char *detail)
{
	link->reason = reason;
	if (detail != link->detail)
		snprintf(link->detail, sizeof(link->detail), "%s", detail);
}

const char *bluez_reason_text(enum bluez_reason reason)
{
	static const char *const words[BLUEZ_REASONS] = {
		[BLUEZ_CLOSED] = "closed",
		[BLUEZ_UNREACHABLE] = "unreachable",
		[BLUEZ_TIMEOUT] = "timeout",
		[BLUEZ_LOST] = "lost",
		[BLUEZ_ADAPTER_DOWN] = "adapter-down",
		[BLUEZ_PROTOCOL] = "protocol",
		[BLUEZ_PREEMPTED] = "preempted",
	};

	return reason < BLUEZ_REASONS ? words[reason] : "unknown";
}

/* --- the end --- */

void link_end(struct bluez_link *link)
{
	bluez_timer_stop(link->wait);
	bus_call_cancel(link->call);
	link->state = LINK_ENDED;
	sd_event_source_set_enabled(link->end, SD_EVENT_ONESHOT);
}

static void link_free(struct bluez_link *link)
{
	gatt_unbind(link);
	bus_call_cancel(link->call);
	sd_event_source_disable_unref(link->total);
	sd_event_source_disable_unref(link->attempt);
	sd_event_source_disable_unref(link->wait);
	sd_event_source_disable_unref(link->end);
	sd_event_source_disable_unref(link->pump);
	sd_event_source_disable_unref(link->stuck);
	sd_event_source_disable_unref(link->again);
	free(link);
}

static int on_end(sd_event_source *source, void *user)
{
	struct bluez_link *link = user;
	struct bluez *b = link->bluez;

	gatt_drain(link);
	gatt_report_all(link);
	TAILQ_REMOVE(&b->links, link, entry);
	bluez_device_unlink(b, link->device);
	link->device = NULL;
	b->counters.closed[link->reason]++;
	link->ops->closed(link, link->reason, link->detail, link->user);
	link_free(link);
	bluez_scan_update(b);
	bluez_links_pump(b);
	return 0;
}

static void on_let_go(struct DBusMessage *reply, void *user)
{
	struct bluez_link *link = user;

	link->cleared = true;
	if (message_is_error(reply) || !link->device->connected)
		link_end(link);
	/* else: `wait` runs, or Connected changes */
}

void link_close(struct bluez_link *link, enum bluez_reason reason, const char *detail)
{
	struct bluez *b = link->bluez;
	bool held;

	if (link->state >= LINK_CLOSING)
		return; /* also from within closed(), when there is no device any more */
	held = link->device->connected || (link_has_turn(link) && !link->cleared);
	link_set_detail(link, reason, detail);
	link_release_turn(link);
	bus_call_cancel(link->call);
	bluez_timer_stop(link->total);
	bluez_timer_stop(link->attempt);
	bluez_timer_stop(link->wait);
	link->state = LINK_CLOSING;
	link->cleared = false;
	if (!b->up || reason == BLUEZ_ADAPTER_DOWN || !link->device->path || !held ||
	    bluez_call(b, link->device->path, BLUEZ_DEVICE, "Disconnect", BLUEZ_CALL_MS, on_let_go,
		       link, &link->call) < 0 ||
	    bluez_timer(b, &link->wait, BLUEZ_CALL_MS + LINK_LINGER_MS, link_on_wait, link) < 0)
		link_end(link);
	bluez_scan_update(b);
}

static int on_total(sd_event_source *source, uint64_t usec, void *user)
{
	struct bluez_link *link = user;

	if (link->state == LINK_SEEKING)
		link_close(link, BLUEZ_UNREACHABLE, "not seen");
	else if (link->detail[0])
		link_close(link, link->reason, link->detail);
	else
		link_close(link, BLUEZ_UNREACHABLE,
			   link_has_turn(link) ? "no connection in time" : "its turn never came");
	bluez_links_pump(link->bluez);
	return 0;
}

/* --- turns --- */

static struct bluez_link *next_link(struct bluez *b)
{
	struct bluez_link *link, *first = NULL;

	for (link = TAILQ_FIRST(&b->links); link; link = TAILQ_NEXT(link, entry)) {
		if (link->state != LINK_WAITING)
			continue;
		if (link->urgent)
			return link;
		if (!first)
			first = link;
	}
	return first;
}

static unsigned count_held(const struct bluez *b)
{
	const struct bluez_link *link;
	unsigned n = 0;

	TAILQ_FOREACH(link, &b->links, entry)
	n += link->state == LINK_READY || (link->state == LINK_CLOSING && link->device->connected);
	return n;
}

void bluez_links_pump(struct bluez *b)
{
	struct bluez_link *next;

	if (!b->up)
		return;
	next = next_link(b);
	if (b->turn && next && next->urgent && !b->turn->urgent)
		link_close(b->turn, BLUEZ_PREEMPTED, "gave way to an urgent one");
	if (b->turn) {
		if (b->turn->state == LINK_QUIETING && bluez_scan_is_quiet(b))
			link_connect_now(b->turn);
		return;
	}
	if (next && count_held(b) < b->options.max_links) {
		b->turn = next;
		link_try(next);
	}
}

bool bluez_links_pause_scan(const struct bluez *b)
{
	return b->turn && b->turn->state >= LINK_QUIETING && b->turn->state <= LINK_SETUP;
}

bool bluez_links_any_ready(const struct bluez *b)
{
	const struct bluez_link *link;

	TAILQ_FOREACH(link, &b->links, entry)
	if (link->state == LINK_READY)
		return true;
	return false;
}

void bluez_links_adapter_down(struct bluez *b, const char *detail)
{
	struct bluez_link *link;

	for (link = TAILQ_FIRST(&b->links); link; link = TAILQ_NEXT(link, entry)) {
		/* The end of a channel may overtake the signal that says why. */
		if (link->state >= LINK_CLOSING && link->reason == BLUEZ_LOST)
			link_set_detail(link, BLUEZ_ADAPTER_DOWN, detail);
		if (link->state == LINK_CLOSING)
			link_end(link);
		else
			link_close(link, BLUEZ_ADAPTER_DOWN, detail);
	}
}

/* --- life --- */

static bool is_address(const char *address)
{
	for (unsigned i = 0; i < BLUEZ_ADDRESS_SIZE - 1; i++) {
		bool fits = i % 3 == 2
				    ? address[i] == ':'
				    : isxdigit((unsigned char)address[i]) && !islower(address[i]);

		if (!fits)
			return false;
	}
	return address[BLUEZ_ADDRESS_SIZE - 1] == '\0';
}

static int link_sources(struct bluez_link *link)
{
	struct bluez *b = link->bluez;
	int r = sd_event_add_defer(b->event, &link->end, on_end, link);

	if (r >= 0)
		r = sd_event_source_set_enabled(link->end, SD_EVENT_OFF);
	if (r >= 0)
		r = write_init(link);
	if (r >= 0)
		r = bluez_timer(b, &link->total, b->options.connect_ms, on_total, link);
	return r < 0 ? r : 0;
}

int bluez_connect(struct bluez *b, const char *address, const struct bluez_profile *profile,
		  bool urgent, const struct bluez_link_ops *ops, void *user,
		  struct bluez_link **ret)
{
	struct bluez_device *device;
	struct bluez_link *link;
	int r;

	if (!is_address(address) || !profile->service)
		return -EINVAL;
	if (!b->up)
		return -ENETDOWN;
	device = bluez_device_get(b, address);
	if (!device)
		return -ENOBUFS;
	if (device->link)
		return -EEXIST;
	link = calloc(1, sizeof(*link));
	if (link) {
		link->bluez = b;
		link->profile = *profile;
		link->urgent = urgent;
		link->ops = ops;
		link->user = user;
		link->reason = BLUEZ_UNREACHABLE;
		memcpy(link->address, address, BLUEZ_ADDRESS_SIZE);
	}
	r = link ? link_sources(link) : -ENOMEM;
	if (r < 0) {
		bluez_device_unlink(b, device);
		if (link)
			link_free(link);
		return r;
	}
	link->device = device;
	device->link = link;
	device->wanted = true;
	link->state = device->path ? LINK_WAITING : LINK_SEEKING;
	TAILQ_INSERT_TAIL(&b->links, link, entry);
	bluez_links_pump(b);
	*ret = link;
	return 0;
}

void bluez_disconnect(struct bluez_link *link)
{
	link_close(link, BLUEZ_CLOSED, "closed by us");
	bluez_links_pump(link->bluez);
}

const char *bluez_link_address(const struct bluez_link *link)
{
	return link->address;
}

void bluez_links_free(struct bluez *b)
{
	struct bluez_link *link;

	while ((link = TAILQ_FIRST(&b->links))) {
		TAILQ_REMOVE(&b->links, link, entry);
		link->device->link = NULL;
		if (link->device->path && (link->device->connected || link_has_turn(link)))
			bluez_tell(b, link->device->path, BLUEZ_DEVICE, "Disconnect");
		link_free(link);
	}
	b->turn = NULL;
}
