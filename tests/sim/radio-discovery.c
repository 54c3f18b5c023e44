/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Discovery: one session and one filter per client, merged as the daemon merges them: whoever scans
 * hears what anybody asked for. Filters look at UUID lists, never at service data.
 */
#include "sim/radio.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

enum { NO_LEVEL = 127 };

static const struct filter no_filter = {
	.rssi = NO_LEVEL, .pathloss = NO_LEVEL, .transport = "auto"};

static struct session *session_find(struct adapter *a, const char *owner)
{
	struct session *s;

	for (each(s, &a->sessions))
		if (!strcmp(s->owner, owner))
			return s;
	return NULL;
}

static int session_get(struct adapter *a, const char *owner, struct session **ret)
{
	struct session *s = session_find(a, owner);

	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s || !(s->owner = strdup(owner))) {
			free(s);
			return -ENOMEM;
		}
		s->filter = no_filter;
		TAILQ_INSERT_TAIL(&a->sessions, s, entry);
	}
	*ret = s;
	return 0;
}

static void session_free(struct adapter *a, struct session *s)
{
	TAILQ_REMOVE(&a->sessions, s, entry);
	free(s->owner);
	free(s);
}

static bool anybody(struct adapter *a)
{
	struct session *s;

	for (each(s, &a->sessions))
		if (s->scanning)
			return true;
	return false;
}

static void scan_changed(struct adapter *a)
{
	bool now = a->powered && anybody(a);
	struct device *d;

	if (now == a->discovering)
		return;
	a->discovering = now;
	if (now) {
		a->scan_since = radio_now(a->radio);
	} else {
		a->board->stats.scan_ms += (radio_now(a->radio) - a->scan_since) / 1000;
		for (each(d, &a->devices))
			device_forget_signal(d);
	}
	object_changed(a->obj, "org.bluez.Adapter1", "Discovering");
	advert_wake(a->radio);
	link_kick(a->radio);
}

void discovery_gone(struct adapter *a, const char *owner)
{
	struct session *s = TAILQ_FIRST(&a->sessions);

	while (s) {
		struct session *next = TAILQ_NEXT(s, entry);

		if (!owner || !strcmp(s->owner, owner))
			session_free(a, s);
		s = next;
	}
	scan_changed(a);
}

int discovery_start(struct object *o, sd_bus_message *m)
{
	struct adapter *a = o->user;
	struct session *s;
	int r;

	if (!a->powered)
		return refuse(o->radio, m, "NotReady", "Resource Not Ready");
	r = session_get(a, sd_bus_message_get_sender(m), &s);
	if (r < 0)
		return r;
	if (s->scanning)
		return refuse(o->radio, m, "InProgress", "In Progress");
	s->scanning = true;
	scan_changed(a);
	return answer(o->radio, m);
}

int discovery_stop(struct object *o, sd_bus_message *m)
{
	struct adapter *a = o->user;
	struct session *s = session_find(a, sd_bus_message_get_sender(m));

	if (!a->powered)
		return refuse(o->radio, m, "NotReady", "Resource Not Ready");
	if (!s || !s->scanning)
		return refuse(o->radio, m, "Failed", "No discovery started");
	session_free(a, s);
	discovery_cured(a->board, CURE_SCAN);
	scan_changed(a);
	return answer(o->radio, m);
}

int discovery_filters(struct object *o, sd_bus_message *m)
{
	return sd_bus_reply_method_return(m, "as", 7, "UUIDs", "RSSI", "Pathloss", "Transport",
					  "DuplicateData", "Discoverable", "Pattern");
}

static int read_uuids(sd_bus_message *m, struct filter *f)
{
	const char *text;
	int r = sd_bus_message_enter_container(m, 'v', "as");

	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'a', "s");
	while (r >= 0 && (r = sd_bus_message_read(m, "s", &text)) > 0)
		if (f->uuids == RADIO_UUIDS || uuid_canonical(text, f->uuid[f->uuids++]) < 0)
			return -EINVAL;
	if (r >= 0)
		r = sd_bus_message_exit_container(m);
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_flag(sd_bus_message *m, bool *ret)
{
	int value, r = sd_bus_message_read(m, "v", "b", &value);

	*ret = r >= 0 && value;
	return r;
}

static int read_text(sd_bus_message *m, char *ret, size_t size)
{
	const char *text;
	int r = sd_bus_message_read(m, "v", "s", &text);

	if (r >= 0 && (size_t)snprintf(ret, size, "%s", text) >= size)
		return -EINVAL;
	return r;
}

static int read_entry(sd_bus_message *m, const char *key, struct filter *f)
{
	int16_t rssi;
	uint16_t pathloss;
	int r;

	if (!strcasecmp(key, "UUIDs"))
		return read_uuids(m, f);
	if (!strcasecmp(key, "DuplicateData"))
		return read_flag(m, &f->duplicate);
	if (!strcasecmp(key, "Discoverable"))
		return read_flag(m, &f->discoverable);
	if (!strcasecmp(key, "Pattern"))
		return read_text(m, f->pattern, sizeof(f->pattern));
	if (!strcasecmp(key, "RSSI")) {
		r = sd_bus_message_read(m, "v", "n", &rssi);
		f->rssi = rssi;
		return r >= 0 && (rssi > 20 || rssi < -127) ? -EINVAL : r;
	}
	if (!strcasecmp(key, "Pathloss")) {
		r = sd_bus_message_read(m, "v", "q", &pathloss);
		f->pathloss = pathloss;
		return r >= 0 && pathloss > 137 ? -EINVAL : r;
	}
	if (!strcasecmp(key, "Transport")) {
		r = read_text(m, f->transport, sizeof(f->transport));
		if (r >= 0 && strcmp(f->transport, "auto") != 0 &&
		    strcmp(f->transport, "le") != 0 && strcmp(f->transport, "bredr") != 0)
			return -EINVAL;
		return r;
	}
	return -EINVAL;
}

static int read_filter(sd_bus_message *m, struct filter *f)
{
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		const char *key;

		r = sd_bus_message_read(m, "s", &key);
		if (r >= 0)
			r = read_entry(m, key, f);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
		f->set = true;
	}
	if (r >= 0 && f->rssi != NO_LEVEL && f->pathloss != NO_LEVEL)
		return -EINVAL;
	return r;
}

int discovery_filter(struct object *o, sd_bus_message *m)
{
	struct adapter *a = o->user;
	struct filter f = no_filter;
	struct session *s;
	int r;

	if (!a->powered)
		return refuse(o->radio, m, "NotReady", "Resource Not Ready");
	if (read_filter(m, &f) < 0)
		return refuse(o->radio, m, "InvalidArguments", "Invalid arguments in method call");
	r = session_get(a, sd_bus_message_get_sender(m), &s);
	if (r < 0)
		return r;
	s->filter = f;
	return answer(o->radio, m);
}

/* --- what is heard -------------------------------------------------------------- */

static bool hears(struct adapter *a)
{
	struct board *b = a->board;

	return a->powered && a->discovering && !b->scan_silent && !b->silent && !b->away;
}

void discovery_cured(struct board *b, enum cure by)
{
	if (b->cure == CURE_NONE || by < b->cure)
		return;
	b->scan_silent = false;
	b->cure = CURE_NONE;
}

bool discovery_any(struct radio *r)
{
	struct adapter *a;

	for (each(a, &r->adapters))
		if (hears(a))
			return true;
	return false;
}

static bool filter_takes(const struct filter *f, const struct advert_data *data, int rssi)
{
	bool match = !f->uuids;

	if (!strcmp(f->transport, "bredr"))
		return false;
	for (unsigned i = 0; i < f->uuids && !match; i++)
		for (unsigned k = 0; k < data->uuids && !match; k++)
			match = !strcmp(f->uuid[i], data->uuid[k]);
	/* a path loss filter needs a transmit power in the advert: ours carry none */
	return match && f->pathloss == NO_LEVEL && (f->rssi == NO_LEVEL || rssi > f->rssi);
}

static bool pattern_takes(const struct filter *f, const struct advert_data *data, const char *addr)
{
	size_t n = strlen(f->pattern);

	return !n || !strncmp(data->name, f->pattern, n) || !strncasecmp(addr, f->pattern, n);
}

struct merged {
	bool filtered, duplicate, takes, discoverable;
};

static struct merged merge(struct adapter *a, const struct advert_data *data, const char *addr,
			   int rssi)
{
	struct merged m = {};
	struct session *s;
	bool pattern = true, asked = false;

	for (each(s, &a->sessions)) {
		if (!s->scanning)
			continue;
		if (s->filter.set && s->filter.pattern[0]) {
			pattern = asked ? pattern || pattern_takes(&s->filter, data, addr)
					: pattern_takes(&s->filter, data, addr);
			asked = true;
		}
		m.filtered = m.filtered || s->filter.set;
		m.duplicate = m.duplicate || s->filter.duplicate;
		m.takes = m.takes || !s->filter.set || filter_takes(&s->filter, data, rssi);
	}
	m.discoverable = (m.filtered || (data->flags & 0x03)) && pattern;
	return m;
}

static int level(struct radio *r, struct board *from, struct board *at)
{
	return from && from->rssi[at->index] ? from->rssi[at->index] : r->set.rssi;
}

static void hear(struct adapter *a, struct board *from, const uint8_t addr[6], bool random,
		 const struct advert_data *data)
{
	int rssi = level(a->radio, from, a->board);
	struct device *d = device_find(a, addr);
	struct merged m;
	char text[18];

	snprintf(text, sizeof(text), "%02X:%02X:%02X:%02X:%02X:%02X", addr[0], addr[1], addr[2],
		 addr[3], addr[4], addr[5]);
	m = merge(a, data, text, rssi);
	if (!d && (!m.discoverable || device_get(a, addr, random, &d) < 0))
		return;
	device_linger(d);
	if (!m.discoverable || (m.filtered && !m.takes))
		return;
	a->board->stats.reports++;
	device_seen(d, data, rssi, m.duplicate);
}

void discovery_report(struct radio *r, struct board *from, const uint8_t addr[6], bool random,
		      const struct advert_data *data)
{
	struct adapter *a;

	for (each(a, &r->adapters)) {
		if (a->board == from || !hears(a))
			continue;
		if (radio_random(r, 100) < (uint32_t)(a->board->loss + (from ? from->loss : 0)))
			continue;
		hear(a, from, addr, random, data);
	}
}
