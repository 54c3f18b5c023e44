/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links between two adapters: coming about, service discovery at both ends, supervision, the end.
 */
#include "sim/radio.h"

#include <errno.h>
#include <stdlib.h>

static bool on_air(const struct adapter *a)
{
	return a->powered && !a->board->silent && !a->board->away;
}

unsigned link_count(struct adapter *a, int side)
{
	struct link *l;
	unsigned n = 0;

	for (each(l, &a->radio->links))
		n += l->end[side]->adapter == a;
	return n;
}

static bool linked(struct adapter *a, struct adapter *b)
{
	struct link *l;

	for (each(l, &a->radio->links))
		if ((l->end[0]->adapter == a && l->end[1]->adapter == b) ||
		    (l->end[0]->adapter == b && l->end[1]->adapter == a))
			return true;
	return false;
}

static struct adapter *peer_of(struct device *d)
{
	struct board *b = radio_board_at(d->adapter->radio, d->addr);

	return b ? adapter_of(d->adapter->radio, b) : NULL;
}

static bool reachable(struct device *d, struct adapter *peer)
{
	if (d->adapter->radio->set.connect_needs_scan && !d->adapter->discovering)
		return false;
	return peer && peer != d->adapter && on_air(d->adapter) && on_air(peer) &&
	       advert_connectable(peer) && !linked(d->adapter, peer);
}

/* --- service discovery ---------------------------------------------------------- */

static int on_resolved(sd_event_source *s, uint64_t usec, void *user)
{
	struct device *d = user;
	struct link *l = d->link;
	struct radio *r = l->radio;

	l->resolve[d->side] = sd_event_source_disable_unref(l->resolve[d->side]);
	switch (d->side == 0 ? trip_step(r, link_board(l, 0), link_board(l, 1)) : TRIP_NONE) {
	case TRIP_ERROR:
		return 0; /* 5.66 keeps the link and says nothing */
	case TRIP_DROP:
		link_cut(l);
		return 0;
	case TRIP_NONE:
	case TRIP_SILENT:
	case TRIP_VANISH:
	case TRIP_GARBLE:
	case TRIPS:
		break;
	}
	if (link_board(l, !d->side)->silent || link_board(l, d->side)->silent ||
	    link_board(l, !d->side)->away || link_board(l, d->side)->away)
		return 0; /* nothing came back: never resolved */
	if (client_sync(d) < 0)
		return 0;
	d->known = true;
	if (!d->resolved)
		device_resolved(d);
	client_ready(d);
	bus_flush(l->radio);
	return 0;
}

static void resolve(struct device *d)
{
	struct radio *r = d->adapter->radio;
	struct range range = d->known ? r->set.resolve_again : r->set.resolve;

	radio_after(r, radio_draw(r, range), on_resolved, d, &d->link->resolve[d->side]);
}

/* Service Changed: who is connected reads the table again. */
void link_table_changed(struct adapter *a)
{
	struct link *l;

	for (each(l, &a->radio->links))
		for (int i = 0; i < 2; i++)
			if (l->end[!i]->adapter == a && !l->resolve[i])
				resolve(l->end[i]);
}

/* --- coming about --------------------------------------------------------------- */

static int link_new(struct device *central, struct adapter *peer)
{
	struct radio *r = peer->radio;
	struct link *l = calloc(1, sizeof(*l));
	int rc;

	if (!l)
		return -ENOMEM;
	rc = device_get(peer, central->adapter->board->addr, false, &l->end[1]);
	if (rc < 0) {
		free(l);
		return rc;
	}
	l->radio = r;
	l->end[0] = central;
	l->since = l->busy[0] = l->busy[1] = radio_now(r);
	TAILQ_INIT(&l->queue[0]);
	TAILQ_INIT(&l->queue[1]);
	TAILQ_INIT(&l->air[0]);
	TAILQ_INIT(&l->air[1]);
	TAILQ_INIT(&l->flying);
	TAILQ_INSERT_TAIL(&r->links, l, entry);
	central->adapter->board->stats.connects++;
	peer->board->stats.connects++;
	for (int i = 0; i < 2; i++) {
		device_up(l->end[i], l, i);
		resolve(l->end[i]);
	}
	advert_wake(r);
	bus_flush(r);
	return 0;
}

static bool chance(struct radio *r, int percent)
{
	return percent > 0 && radio_random(r, 100) < (uint32_t)percent;
}

static int on_attempt(sd_event_source *s, uint64_t usec, void *user)
{
	struct device *d = user;
	struct adapter *peer = peer_of(d);
	struct board *b = peer ? peer->board : NULL;

	enum trip trip = TRIP_NONE;
	int rc;

	d->attempt = sd_event_source_disable_unref(d->attempt);
	if (reachable(d, peer))
		trip = trip_step(d->adapter->radio, d->adapter->board, b);
	if (!reachable(d, peer))
		return 0; /* goes on waiting for an advert, until its timeout */
	if (trip == TRIP_ERROR) {
		device_connected(d, "le-connection-abort-by-local");
		return 0;
	}
	if (b->refuse > 0 || chance(d->adapter->radio, b->loss + d->adapter->board->loss)) {
		b->refuse -= b->refuse > 0;
		device_connected(d, "le-connection-abort-by-local");
		return 0;
	}
	rc = link_new(d, peer);
	if (rc >= 0 && trip == TRIP_DROP)
		link_cut(d->link);
	return rc;
}

int link_attempt(struct device *d)
{
	struct radio *r = d->adapter->radio;
	struct adapter *peer = peer_of(d);
	uint64_t wait = radio_draw(r, r->set.connect);

	if (link_count(d->adapter, 0) >= r->set.max_links)
		return 2;
	if (!reachable(d, peer))
		return 1;
	if (r->set.connect_waits)
		wait += radio_random(r, 1000 * (peer->board->interval_ms ? peer->board->interval_ms
									 : r->set.interval_ms));
	return radio_after(r, wait, on_attempt, d, &d->attempt) < 0 ? 2 : 0;
}

static int on_kick(sd_event_source *s, void *user)
{
	struct radio *r = user;
	struct adapter *a;
	struct device *d;

	for (each(a, &r->adapters))
		for (each(d, &a->devices))
			device_retry(d);
	return 0;
}

void link_kick(struct radio *r)
{
	if (!r->kick)
		sd_event_add_defer(r->event, &r->kick, on_kick, r);
	sd_event_source_set_enabled(r->kick, SD_EVENT_ONESHOT);
}

/* --- the end -------------------------------------------------------------------- */

void link_drop(struct link *l)
{
	struct radio *r = l->radio;
	struct device *end[2] = {l->end[0], l->end[1]};
	uint64_t ms = (radio_now(r) - l->since) / 1000;

	TAILQ_REMOVE(&r->links, l, entry);
	for (int i = 0; i < 2; i++) {
		struct board *b = link_board(l, i);

		l->resolve[i] = sd_event_source_disable_unref(l->resolve[i]);
		b->stats.disconnects++;
		b->stats.connected_ms += ms;
		end[i]->link = NULL;
	}
	sd_event_source_disable_unref(l->lost);
	sd_event_source_disable_unref(l->cut);
	server_link_gone(l);
	att_link_gone(l);
	free(l);
	device_down(end[0]);
	device_down(end[1]);
	advert_wake(r);
	link_kick(r);
	bus_flush(r);
}

void link_drop_all(struct adapter *a)
{
	struct link *l = TAILQ_FIRST(&a->radio->links);

	while (l) {
		if (l->end[0]->adapter == a || l->end[1]->adapter == a) {
			link_drop(l);
			l = TAILQ_FIRST(&a->radio->links);
		} else {
			l = TAILQ_NEXT(l, entry);
		}
	}
}

static int on_lost(sd_event_source *s, uint64_t usec, void *user)
{
	link_drop(user);
	return 0;
}

void link_cut(struct link *l)
{
	if (!l->cut)
		radio_after(l->radio, 0, on_lost, l, &l->cut);
}

void link_check(struct radio *r)
{
	struct link *l;

	for (each(l, &r->links)) {
		bool away = link_board(l, 0)->away || link_board(l, 1)->away;

		if (away && !l->lost)
			radio_after(r, r->set.supervision_ms * 1000ULL, on_lost, l, &l->lost);
		else if (!away)
			l->lost = sd_event_source_disable_unref(l->lost);
	}
	advert_wake(r);
	link_kick(r);
}
