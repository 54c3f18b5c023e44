// SPDX-License-Identifier: Apache-2.0
/*
 * Between the sessions and BlueZ: which advert is whose, links and their words, and the search for
 * locks whose address is not configured (each unknown device of our kind is asked for its info,
 * once).
 */
#include "gateway-private.h"

#define STRANGER_MS	86400000u /* a neighbour's lock is not asked again for so long */
#define PROBE_FAILED_MS 60000u

static const struct bluez_profile profile = {
	.service = OPEN_SERVICE,
	.chrs =
		{
			[LOCK_INFO] = {OPEN_INFO, 0},
			[LOCK_INBOX] = {OPEN_INBOX, BLUEZ_COMMAND},
			[LOCK_OUTBOX] = {OPEN_OUTBOX, BLUEZ_SUBSCRIBE},
			[LOCK_STATE] = {OPEN_STATE, BLUEZ_OPTIONAL},
		},
};

/* Without a channel for commands: requests, one after another. */
static const struct bluez_profile confirmed = {
	.service = OPEN_SERVICE,
	.chrs =
		{
			[LOCK_INFO] = {OPEN_INFO, 0},
			[LOCK_INBOX] = {OPEN_INBOX, 0},
			[LOCK_OUTBOX] = {OPEN_OUTBOX, BLUEZ_SUBSCRIBE},
			[LOCK_STATE] = {OPEN_STATE, BLUEZ_OPTIONAL},
		},
};

/* --- links of sessions -------------------------------------------------------------------------- */

static void on_ready(struct bluez_link *link, unsigned frame, void *user)
{
	struct gateway_lock *gl = user;

	if (!gl->lock)
		return;
	gl->ready = true;
	lock_set_time(gl->lock, gateway_time(gl->gw).now);
	lock_connected(gl->lock, frame);
}

static void on_read(struct bluez_link *link, unsigned chr, int r, struct span value, void *user)
{
	struct gateway_lock *gl = user;

	if (!gl->lock)
		return;
	lock_value(gl->lock, (enum lock_chr)chr, r, value);
}

static void on_written(struct bluez_link *link, unsigned chr, enum bluez_sent sent, void *user)
{
	struct gateway_lock *gl = user;

	if (!gl->lock)
		return;
	switch (sent) {
	case BLUEZ_SENT:
		lock_written(gl->lock, LOCK_SENT);
		return;
	case BLUEZ_NOT_SENT:
		lock_written(gl->lock, LOCK_NOT_SENT);
		return;
	case BLUEZ_UNKNOWN:
		lock_written(gl->lock, LOCK_MAYBE_SENT);
		return;
	}
}

static void on_subscribed(struct bluez_link *link, unsigned chr, int r, void *user)
{
}

static void on_notified(struct bluez_link *link, unsigned chr, struct span value, void *user)
{
	struct gateway_lock *gl = user;

	if (!gl->lock)
		return;
	lock_notified(gl->lock, (enum lock_chr)chr, value);
}

static enum lock_end end_of(enum bluez_reason reason)
{
	switch (reason) {
	case BLUEZ_CLOSED:
		return LOCK_CLOSED;
	case BLUEZ_UNREACHABLE:
		return LOCK_UNREACHABLE;
	case BLUEZ_TIMEOUT:
	case BLUEZ_LOST:
		return LOCK_LOST;
	case BLUEZ_ADAPTER_DOWN:
		return LOCK_RADIO_DOWN;
	case BLUEZ_PROTOCOL:
		return LOCK_PROTOCOL;
	case BLUEZ_PREEMPTED:
		return LOCK_PREEMPTED;
	case BLUEZ_REASONS:
		break;
	}
	return LOCK_LOST;
}

static void left(struct gateway_lock *gl)
{
	struct gateway_lock **at = &gl->gw->leaving;

	while (*at && *at != gl)
		at = &(*at)->next;
	if (*at)
		*at = gl->next;
	gateway_lock_free(gl);
}

static void on_closed(struct bluez_link *link, enum bluez_reason reason, const char *detail,
		      void *user)
{
	struct gateway_lock *gl = user;

	gl->link = NULL;
	gl->ready = false;
	if (!gl->lock) {
		left(gl);
		return;
	}
	log_fact(reason == BLUEZ_CLOSED ? LOG_DEBUG : LOG_INFO, "connection to lock ended", "LOCK",
		 gl->config.id, "REASON", bluez_reason_text(reason), "DETAIL", detail, NULL);
	lock_disconnected(gl->lock, end_of(reason), detail ? detail : "");
}

static const struct bluez_link_ops link_ops = {
	.ready = on_ready,
	.read_done = on_read,
	.write_done = on_written,
	.subscribed = on_subscribed,
	.notified = on_notified,
	.closed = on_closed,
};

/* --- what sessions ask -------------------------------------------------------------------------- */

static int held(const struct gateway *gw)
{
	int ready = gw->probe && gw->probe_ready;

	for (size_t i = 0; i < gw->nlocks; i++)
		ready += gw->locks[i]->ready;
	return ready;
}

/* For a command: with all links taken, one that carries no command gives way. */
static void make_room(struct gateway_lock *gl)
{
	struct gateway *gw = gl->gw;

	if (held(gw) < gw->config.links_max)
		return;
	if (gw->probe && gw->probe_ready) {
		bluez_disconnect(gw->probe);
		return;
	}
	for (size_t i = 0; i < gw->nlocks; i++) {
		if (gw->locks[i] != gl && gw->locks[i]->ready && lock_yield(gw->locks[i]->lock))
			return;
	}
}

/* For a claim or release: tries that others make would keep it waiting longer than the button
 * does. A command is no such other. */
static void go_before_others(struct gateway_lock *gl)
{
	struct gateway *gw = gl->gw;

	make_room(gl);
	if (gw->probe && !gw->probe_ready)
		bluez_disconnect(gw->probe);
	for (size_t i = 0; i < gw->nlocks; i++) {
		struct gateway_lock *other = gw->locks[i];

		if (other != gl && other->link && !other->ready && !lock_hurries(other->lock))
			(void)lock_yield(other->lock);
	}
}

static int radio_connect(bool urgent, void *user)
{
	struct gateway_lock *gl = user;
	int r;

	if (!gl->address[0])
		return -EAGAIN;
	if (urgent)
		make_room(gl);
	else if (lock_hurries(gl->lock))
		go_before_others(gl);
	r = bluez_connect(gl->gw->bluez, gl->address, gl->confirmed ? &confirmed : &profile, urgent,
			  &link_ops, gl, &gl->link);
	if (r < 0 && r != -ENETDOWN && r != -EEXIST)
		log_fact(LOG_WARNING, "cannot connect", "LOCK", gl->config.id, "DETAIL",
			 strerror(-r), NULL);
	return r;
}

static int radio_read(enum lock_chr chr, void *user)
{
	struct gateway_lock *gl = user;

	return gl->link ? bluez_read(gl->link, chr) : -ENOTCONN;
}

static int radio_write(struct span frame, void *user)
{
	struct gateway_lock *gl = user;

	return gl->link ? bluez_write(gl->link, LOCK_INBOX, frame, gl->confirmed) : -ENOTCONN;
}

static void radio_confirm(void *user)
{
	struct gateway_lock *gl = user;

	gl->confirmed = true;
	log_fact(LOG_NOTICE, "frames overtook one another, each is confirmed from now on", "LOCK",
		 gl->config.id, NULL);
}

static void radio_drop(void *user)
{
	struct gateway_lock *gl = user;

	if (gl->link)
		bluez_drop_writes(gl->link);
}

static int radio_subscribe(enum lock_chr chr, void *user)
{
	struct gateway_lock *gl = user;

	return gl->link ? bluez_subscribe(gl->link, chr) : -ENOTCONN;
}

static void radio_disconnect(void *user)
{
	struct gateway_lock *gl = user;

	if (gl->link)
		bluez_disconnect(gl->link);
}

const struct lock_radio gateway_lock_radio = {
	.connect = radio_connect,
	.read = radio_read,
	.write = radio_write,
	.confirm = radio_confirm,
	.drop_writes = radio_drop,
	.subscribe = radio_subscribe,
	.disconnect = radio_disconnect,
};

void gateway_radio_release(struct gateway_lock *gl)
{
	if (!gl->link) {
		gateway_lock_free(gl);
		return;
	}
	gl->alarm = sd_event_source_disable_unref(gl->alarm);
	lock_free(steal(gl->lock));
	gl->next = gl->gw->leaving;
	gl->gw->leaving = gl;
	bluez_disconnect(gl->link); /* on_closed() frees it */
}

/* --- looking for locks -------------------------------------------------------------------------- */

static void note_stranger(struct gateway *gw, const char *address, uint64_t until_ms)
{
	size_t at = gw->nstrangers;

	for (size_t i = 0; i < gw->nstrangers; i++) {
		if (strcmp(gw->strangers[i].address, address) == 0)
			at = i;
	}
	if (at == GATEWAY_STRANGERS) {
		memmove(&gw->strangers[0], &gw->strangers[1],
			(GATEWAY_STRANGERS - 1) * sizeof(gw->strangers[0]));
		at--;
	} else if (at == gw->nstrangers) {
		gw->nstrangers++;
	}
	snprintf(gw->strangers[at].address, BLUEZ_ADDRESS_SIZE, "%s", address);
	gw->strangers[at].until_ms = until_ms;
}

static bool is_stranger(const struct gateway *gw, const char *address)
{
	for (size_t i = 0; i < gw->nstrangers; i++) {
		if (strcmp(gw->strangers[i].address, address) == 0)
			return clock_boot_ms() < gw->strangers[i].until_ms;
	}
	return false;
}

static void on_probe_ready(struct bluez_link *link, unsigned frame, void *user)
{
	struct gateway *gw = user;

	gw->probe_ready = true;
	if (bluez_read(link, LOCK_INFO) < 0)
		bluez_disconnect(link);
}

/* Info is unsigned: a lie here only costs the first receipt, which will not verify. */
static void on_probe_read(struct bluez_link *link, unsigned chr, int r, struct span value,
			  void *user)
{
	struct gateway *gw = user;
	struct info info;

	if (r == 0 && info_parse(value, &info) == 0) {
		note_stranger(gw, gw->probing, clock_boot_ms() + STRANGER_MS);
		gateway_scan_info(gw, gw->probing, &info);
		for (size_t i = 0; i < gw->nlocks; i++) {
			struct gateway_lock *gl = gw->locks[i];

			if (!gl->config.address[0] && strcmp(gl->config.id, info.id) == 0 &&
			    memcmp(gl->config.key, info.key, PUBLIC_LEN) == 0)
				snprintf(gw->found, sizeof(gw->found), "%s", gl->config.id);
		}
	}
	bluez_disconnect(link);
}

static void on_probe_written(struct bluez_link *link, unsigned chr, enum bluez_sent sent,
			     void *user)
{
}

static void on_probe_notified(struct bluez_link *link, unsigned chr, struct span value, void *user)
{
}

static void on_probe_closed(struct bluez_link *link, enum bluez_reason reason, const char *detail,
			    void *user)
{
	struct gateway *gw = user;
	struct gateway_lock *gl;

	gw->probe = NULL;
	if (!gw->found[0]) {
		/* one that gave way to somebody's unlock is no failure */
		if (reason != BLUEZ_PREEMPTED && !is_stranger(gw, gw->probing))
			note_stranger(gw, gw->probing, clock_boot_ms() + PROBE_FAILED_MS);
		return;
	}
	gl = gateway_lock_find(gw, span_str(gw->found));
	gw->found[0] = 0;
	if (gl)
		gateway_lock_found(gl, gw->probing);
}

static const struct bluez_link_ops probe_ops = {
	.ready = on_probe_ready,
	.read_done = on_probe_read,
	.write_done = on_probe_written,
	.subscribed = on_subscribed,
	.notified = on_probe_notified,
	.closed = on_probe_closed,
};

int gateway_probe(struct gateway *gw, const char *address)
{
	int r;

	if (gw->probe)
		return -EBUSY;
	snprintf(gw->probing, sizeof(gw->probing), "%s", address);
	gw->found[0] = 0;
	gw->probe_ready = false;
	r = bluez_connect(gw->bluez, address, &profile, false, &probe_ops, gw, &gw->probe);
	if (r < 0)
		gw->probe = NULL;
	return r;
}

/* A lock that is new in the configuration may be one of them. */
void gateway_strangers_forget(struct gateway *gw)
{
	gw->nstrangers = 0;
}

static void search(struct gateway *gw, const char *address)
{
	bool searching = false;

	for (size_t i = 0; i < gw->nlocks; i++)
		searching |= !gw->locks[i]->address[0];
	if (searching && !is_stranger(gw, address))
		(void)gateway_probe(gw, address);
}

/* --- the radio itself --------------------------------------------------------------------------- */

static void on_adapter(bool up, const char *name, const char *detail, void *user)
{
	struct gateway *gw = user;

	gw->radio_up = up;
	snprintf(gw->adapter, sizeof(gw->adapter), "%s", name ? name : "");
	snprintf(gw->radio_words, sizeof(gw->radio_words), "%s", detail ? detail : "");
	log_fact(up ? LOG_INFO : LOG_WARNING, up ? "radio is up" : "radio is down", "ADAPTER",
		 gw->adapter, "DETAIL", gw->radio_words, NULL);
	gateway_state_changed(gw, false);
	for (size_t i = 0; up && i < gw->nlocks; i++)
		lock_radio_up(gw->locks[i]->lock);
}

static void on_advert(const struct bluez_advert *heard, void *user)
{
	struct gateway *gw = user;
	struct advert advert;

	if (!advert_parse(heard->data, &advert))
		return;
	gateway_scan_heard(gw, heard, &advert);
	for (size_t i = 0; i < gw->nlocks; i++) {
		if (strcmp(gw->locks[i]->address, heard->address) != 0)
			continue;
		lock_set_time(gw->locks[i]->lock, gateway_time(gw).now);
		lock_advert(gw->locks[i]->lock, &advert, heard->rssi);
		return;
	}
	search(gw, heard->address);
}

static void on_recovery(enum bluez_rung rung, bool failed, const char *detail, void *user)
{
	static const char *const words[BLUEZ_RUNGS] = {
		[BLUEZ_RUNG_NONE] = "heard again",
		[BLUEZ_RUNG_SCAN] = "scan restarted",
		[BLUEZ_RUNG_POWER] = "adapter off and on",
		[BLUEZ_RUNG_SERVICE] = "bluetooth service restarted",
		[BLUEZ_RUNG_HUMAN] = "nothing helped",
	};
	struct gateway *gw = user;
	struct event event = {.type = EVENT_RADIO_RECOVERY};

	gw->rung = rung;
	if (rung != BLUEZ_RUNG_NONE && !failed)
		gw->recoveries++;
	snprintf(event.detail, sizeof(event.detail), "%s%s", words[rung],
		 failed ? ": refused" : "");
	log_fact(rung == BLUEZ_RUNG_NONE ? LOG_INFO : LOG_WARNING, "radio recovery", "RUNG",
		 words[rung], "DETAIL", detail, NULL);
	(void)gateway_event(gw, &event);
	gateway_state_changed(gw, false);
}

int gateway_radio_start(struct gateway *gw)
{
	static const struct bluez_ops ops = {
		.adapter = on_adapter,
		.advert = on_advert,
		.recovery = on_recovery,
	};
	struct bluez_options options = {
		.adapter = gw->config.adapter[0] ? gw->config.adapter : NULL,
		.service = OPEN_SERVICE,
		.scan_while_connecting = !gw->config.stop_scan_to_connect,
		.max_links = (unsigned)gw->config.links_max,
		.silent_after_ms = (unsigned)gw->config.silent_s * 1000,
	};

	return bluez_new(gw->event, gw->bus, &options, &ops, gw, &gw->bluez);
}
