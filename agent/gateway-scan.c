// SPDX-License-Identifier: Apache-2.0
/*
 * Which locks are on air: what their adverts said a moment ago, and what their info says, read over
 * a short connection as the search for locks does (gateway-radio.c). None of it is signed: it finds
 * a lock and shows what to compare; only receipts prove.
 *
 * A scan is somebody looking around. It connects to nothing while a command waits for any lock, or
 * where the last free link would be taken.
 */
#include <jansson.h>

#include "gateway-private.h"

#define SCAN_RECENT_MS 10000u  /* heard so long ago: is there */
#define SCAN_GRACE_MS  15000u  /* beyond the time asked for, while infos are read */
#define SCAN_INFO_MS   300000u /* an info is believed so long, if the advert did not change */
#define SCAN_TRIES     2u
#define SCAN_TICK_US   200000u

/* --- what is heard ------------------------------------------------------------------------------ */

static struct gateway_heard *find(struct gateway *gw, const char *address)
{
	for (size_t i = 0; i < gw->nheard; i++) {
		if (strcmp(gw->heard[i].address, address) == 0)
			return &gw->heard[i];
	}
	return NULL;
}

static struct gateway_heard *slot(struct gateway *gw)
{
	struct gateway_heard *oldest = &gw->heard[0];

	if (gw->nheard < GATEWAY_HEARD)
		return &gw->heard[gw->nheard++];
	for (size_t i = 1; i < gw->nheard; i++) {
		if (gw->heard[i].heard_ms < oldest->heard_ms)
			oldest = &gw->heard[i];
	}
	return oldest;
}

void gateway_scan_heard(struct gateway *gw, const struct bluez_advert *heard,
			const struct advert *advert)
{
	struct gateway_heard *h = find(gw, heard->address);

	if (!h) {
		h = slot(gw);
		*h = (struct gateway_heard){0};
		snprintf(h->address, sizeof(h->address), "%s", heard->address);
	}
	h->heard_ms = clock_boot_ms();
	h->rssi = heard->rssi;
	h->advert = *advert;
}

/* The advert has moved on since, in more than the button: what it holds, or whom it obeys. */
static bool stale(const struct gateway_heard *h)
{
	return clock_boot_ms() - h->info_ms > SCAN_INFO_MS ||
	       h->advert.unowned != h->at_info.unowned ||
	       memcmp(h->advert.random, h->at_info.random, sizeof(h->advert.random)) != 0 ||
	       memcmp(h->advert.applied, h->at_info.applied, sizeof(h->advert.applied)) != 0;
}

void gateway_scan_info(struct gateway *gw, const char *address, const struct info *info)
{
	struct gateway_heard *h = find(gw, address);

	if (!h)
		return;
	h->info = *info;
	h->info_ms = clock_boot_ms();
	h->has_info = true;
	h->at_info = h->advert;
}

const char *gateway_scan_address(struct gateway *gw, const struct config_lock *lock)
{
	for (size_t i = 0; i < gw->nheard; i++) {
		const struct gateway_heard *h = &gw->heard[i];

		if (h->has_info && !stale(h) && strcmp(h->info.id, lock->id) == 0 &&
		    memcmp(h->info.key, lock->key, PUBLIC_LEN) == 0)
			return h->address;
	}
	return NULL;
}

/* --- the answer --------------------------------------------------------------------------------- */

static const struct gateway_lock *session_at(const struct gateway *gw, const char *address)
{
	for (size_t i = 0; i < gw->nlocks; i++) {
		if (strcmp(gw->locks[i]->address, address) == 0)
			return gw->locks[i];
	}
	return NULL;
}

bool gateway_our_root(const struct gateway *gw, const uint8_t kid[static DIGEST_LEN])
{
	const uint8_t *next = trust_root_kid(gw->trust);

	return (next && memcmp(next, kid, DIGEST_LEN) == 0) ||
	       trust_keys_by(gw->trust, span_of(kid, DIGEST_LEN));
}

static void put_owner(const struct gateway *gw, json_t *row, bool owned, const uint8_t *owner)
{
	char kid[HEX_CAP(DIGEST_LEN)];

	hex_encode(span_of(owner, DIGEST_LEN), kid, sizeof(kid));
	(void)json_object_set_new(row, "owner", owned ? json_string(kid) : json_null());
	(void)json_object_set_new(row, "ours", json_boolean(owned && gateway_our_root(gw, owner)));
}

static void put_identity(json_t *row, const char *id, const uint8_t *key, bool configured)
{
	char text[BASE64_CAP(PUBLIC_LEN)];

	base64_encode(span_of(key, PUBLIC_LEN), text, sizeof(text));
	(void)json_object_set_new(row, "id", json_string(id));
	(void)json_object_set_new(row, "key", json_string(text));
	(void)json_object_set_new(row, "configured", json_boolean(configured));
}

static bool is_configured(struct gateway *gw, const struct info *info)
{
	const struct gateway_lock *gl = gateway_lock_find(gw, span_str(info->id));

	return gl && memcmp(gl->config.key, info->key, PUBLIC_LEN) == 0;
}

static json_t *row(struct gateway *gw, const struct gateway_heard *h)
{
	const struct gateway_lock *gl = session_at(gw, h->address);
	json_t *row = json_pack("{s:s,s:b,s:b}", "address", h->address, "unowned",
				h->advert.unowned, "attention", h->advert.attention);
	uint8_t owner[DIGEST_LEN];
	int owned;

	if (!row)
		return NULL;
	if (h->rssi != BLUEZ_RSSI_UNKNOWN)
		(void)json_object_set_new(row, "rssi", json_integer(h->rssi));
	if (gl) {
		put_identity(row, gl->config.id, gl->config.key, true);
		owned = lock_owner(gl->lock, owner);
		if (owned >= 0)
			put_owner(gw, row, owned, owner);
	} else if (h->has_info && !stale(h)) {
		put_identity(row, h->info.id, h->info.key, is_configured(gw, &h->info));
		put_owner(gw, row, h->info.owned, h->info.owner);
	} else {
		(void)json_object_set_new(row, "configured", json_false());
	}
	return row;
}

static bool is_there(const struct gateway *gw, const struct gateway_heard *h)
{
	return h->heard_ms + SCAN_RECENT_MS >= gw->scan.since_ms;
}

/* The nearest first: somebody stands before it. */
static int by_signal(const void *a, const void *b)
{
	const struct gateway_heard *const *x = a, *const *y = b;
	int signal = ((*x)->rssi < (*y)->rssi) - ((*x)->rssi > (*y)->rssi);

	return signal ? signal : strcmp((*x)->address, (*y)->address);
}

static void answer(struct gateway *gw, struct control_task *task)
{
	const struct gateway_heard *sorted[GATEWAY_HEARD] = {NULL};
	json_t *rows = json_array();
	cleanup(freep) char *text = NULL;
	size_t n = 0;

	for (size_t i = 0; i < gw->nheard; i++) {
		if (is_there(gw, &gw->heard[i]))
			sorted[n++] = &gw->heard[i];
	}
	qsort(sorted, n, sizeof(sorted[0]), by_signal);
	for (size_t i = 0; rows && i < n; i++)
		(void)json_array_append_new(rows, row(gw, sorted[i]));
	text = rows ? json_dumps(rows, JSON_COMPACT) : NULL;
	json_decref(rows);
	control_task_done(task, text, "out of memory");
}

/* --- looking around ----------------------------------------------------------------------------- */

static void stop(struct gateway *gw)
{
	gw->scan.task = NULL;
	gw->scan.timer = sd_event_source_disable_unref(gw->scan.timer);
}

/* An unlock is on its way, or would have to wait for a link. */
static bool must_wait(const struct gateway *gw)
{
	int links = 0;

	for (size_t i = 0; i < gw->nlocks; i++) {
		if (lock_busy(gw->locks[i]->lock) || lock_hurries(gw->locks[i]->lock))
			return true;
		links += gw->locks[i]->ready;
	}
	return links > 0 && links + 1 >= gw->config.links_max;
}

static bool lacks_info(const struct gateway *gw, const struct gateway_heard *h)
{
	return is_there(gw, h) && !session_at(gw, h->address) && (!h->has_info || stale(h)) &&
	       h->scan == gw->scan.number && h->tries < SCAN_TRIES;
}

/* true: somebody is still to be asked. */
static bool ask_next(struct gateway *gw)
{
	bool left = gw->probe != NULL;

	for (size_t i = 0; i < gw->nheard; i++) {
		struct gateway_heard *h = &gw->heard[i];

		if (h->scan != gw->scan.number) {
			h->scan = gw->scan.number;
			h->tries = 0;
		}
		if (!lacks_info(gw, h))
			continue;
		if (must_wait(gw) || gateway_probe(gw, h->address) < 0)
			return true;
		h->tries++;
		return true;
	}
	return left;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *user)
{
	struct gateway *gw = user;
	uint64_t now = clock_boot_ms();
	bool left = ask_next(gw);

	if (now >= gw->scan.until_ms && (!left || now >= gw->scan.until_ms + SCAN_GRACE_MS)) {
		struct control_task *task = gw->scan.task;

		stop(gw);
		answer(gw, task);
		return 0;
	}
	sd_event_source_set_time_relative(source, SCAN_TICK_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int gateway_scan(struct gateway *gw, uint32_t seconds, struct control_task *task)
{
	int r;

	if (seconds > CONTROL_SCAN_MAX)
		return -EINVAL;
	if (!gw->radio_up)
		return -ENETDOWN;
	if (gw->scan.task && seconds > 0)
		return -EBUSY;
	if (!gw->scan.task)
		gw->scan.since_ms = clock_boot_ms();
	if (seconds == 0) {
		answer(gw, task);
		return 0;
	}
	r = sd_event_add_time_relative(gw->event, &gw->scan.timer, CLOCK_MONOTONIC, SCAN_TICK_US,
				       1000, on_tick, gw);
	if (r < 0)
		return r;
	gw->scan.number++;
	gw->scan.until_ms = gw->scan.since_ms + seconds * 1000;
	gw->scan.task = task;
	return 0;
}

void gateway_scan_cancel(struct gateway *gw, const struct control_task *task)
{
	if (gw->scan.task == task)
		stop(gw);
}
