// SPDX-License-Identifier: Apache-2.0
/*
 * One session per configured lock: what it knows comes from disk and goes there, what it says goes
 * to events and topics.
 */
#include "gateway-private.h"

struct gateway_lock *gateway_lock_find(struct gateway *gw, struct span id)
{
	for (size_t i = 0; i < gw->nlocks; i++) {
		if (span_is(id, gw->locks[i]->config.id))
			return gw->locks[i];
	}
	return NULL;
}

void gateway_locks_documents(struct gateway *gw)
{
	for (size_t i = 0; i < gw->nlocks; i++)
		lock_documents_changed(gw->locks[i]->lock);
}

/* --- ops ---------------------------------------------------------------------------------------- */

static uint64_t on_now(void *user)
{
	return clock_boot_ms();
}

static int on_alarm_due(sd_event_source *source, uint64_t usec, void *user)
{
	struct gateway_lock *gl = user;

	lock_set_time(gl->lock, gateway_time(gl->gw).now);
	lock_alarm(gl->lock);
	return 0;
}

static void on_alarm(uint64_t at_ms, void *user)
{
	struct gateway_lock *gl = user;

	if (at_ms == 0) {
		sd_event_source_set_enabled(gl->alarm, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time(gl->alarm, at_ms * 1000);
	sd_event_source_set_enabled(gl->alarm, SD_EVENT_ONESHOT);
}

static int on_recheck(const struct lock_command *command, void *user)
{
	return gateway_recheck(user, command);
}

static void on_outcome(const struct lock_command *command, enum outcome outcome, enum reason reason,
		       struct span receipt, const struct result *result, void *user)
{
	gateway_outcome(user, command, outcome, reason, receipt, result);
}

static void on_receipt(const struct token *token, struct span document, const struct result *result,
		       void *user)
{
	struct gateway_lock *gl = user;
	struct event event = {
		.type = EVENT_LOCK_RECEIPT,
		.outcome = result->outcome,
		.reason = result->reason,
		.receipt = document,
	};

	gl->gw->counters.receipts++;
	if (gateway_resolve(gl, token, document, result))
		return;
	snprintf(event.lock, sizeof(event.lock), "%s", gl->config.id);
	if (token->cti.len == CTI_LEN) {
		event.has_cti = true;
		memcpy(event.cti, token->cti.data, CTI_LEN);
	}
	log_fact(LOG_INFO, "receipt", "LOCK", gl->config.id, "OUTCOME",
		 outcome_word(result->outcome), "REASON", reason_word(result->reason), NULL);
	(void)gateway_event(gl->gw, &event);
}

static void on_log_complete(bool gap, void *user)
{
	gateway_log_complete(user, gap);
}

static void on_changed(void *user)
{
	gateway_lock_changed(user);
}

void gateway_lock_keep(struct gateway_lock *gl)
{
	struct lock_stored stored;
	struct store_lock row = {0};
	struct info info = {.profile = OPEN_PROFILE, .max = INFO_BYTES_MIN};
	char key[ID_MAX + 16];
	int n;

	/* What says "filed up to n" must not be on disk before what was filed. */
	if (gl->gw->nunsaid)
		return;
	lock_stored(gl->lock, &stored);
	row.n = stored.n;
	row.has_challenge = stored.has_challenge;
	memcpy(row.challenge, stored.challenge, CHALLENGE_LEN);
	row.bolt = (uint8_t)stored.bolt;
	row.has_battery = stored.has_battery;
	row.battery = stored.battery;
	row.seen = stored.seen;
	/* The applied map in the shape of info: the one encoder there is for it alone. */
	snprintf(info.id, sizeof(info.id), "%s", gl->config.id);
	memcpy(info.applied, stored.applied, sizeof(info.applied));
	info.napplied = stored.napplied;
	n = info_encode(&info, row.applied, sizeof(row.applied));
	row.applied_len = n > 0 ? (size_t)n : 0;
	(void)gateway_stored(gl->gw, store_put_lock(gl->gw->store, gl->config.id, &row), "lock");
	if (!stored.has_advert || memcmp(gl->advert, stored.advert, sizeof(gl->advert)) == 0)
		return;
	snprintf(key, sizeof(key), "advert/%s", gl->config.id);
	if (gateway_stored(gl->gw, store_put_value(gl->gw->store, key, SPAN(stored.advert)),
			   "advert") == 0)
		memcpy(gl->advert, stored.advert, sizeof(gl->advert));
}

static void on_keep(void *user)
{
	gateway_lock_keep(user);
}

static void on_reachable(bool yes, void *user)
{
	struct gateway_lock *gl = user;
	struct event event = {.type = yes ? EVENT_LOCK_REACHABLE : EVENT_LOCK_UNREACHABLE};

	snprintf(event.lock, sizeof(event.lock), "%s", gl->config.id);
	log_fact(yes ? LOG_INFO : LOG_WARNING, yes ? "lock is in reach" : "lock is out of reach",
		 "LOCK", gl->config.id, NULL);
	(void)gateway_event(gl->gw, &event);
	gateway_lock_changed(gl);
}

static void on_tested(const struct lock_test_result *result, void *user)
{
	struct gateway_lock *gl = user;
	struct control_task *test = steal(gl->test);
	struct message_lock now;
	char json[256];

	if (!test)
		return;
	if (!result->ok) {
		control_task_done(test, NULL, result->why ? result->why : "no answer");
		return;
	}
	lock_fill(gl->lock, &now);
	snprintf(json, sizeof(json),
		 "{\"lock\":\"%s\",\"signal\":%d,\"connect_ms\":%u,\"round_trip_ms\":%u}",
		 gl->config.id, now.has_rssi ? now.rssi : 0, result->connect_ms,
		 result->round_trip_ms);
	control_task_done(test, json, NULL);
}

static void on_stranger(const char *why, void *user)
{
	struct gateway_lock *gl = user;

	log_fact(LOG_WARNING, "another device under this lock's address", "LOCK", gl->config.id,
		 "DETAIL", why, NULL);
	if (!gl->config.address[0])
		gl->address[0] = 0; /* look for it anew */
}

static void on_forwarded(const struct lock_forwarded *forwarded, void *user)
{
	gateway_forwarded(user, forwarded);
}

static const struct lock_ops ops = {
	.now_ms = on_now,
	.alarm = on_alarm,
	.recheck = on_recheck,
	.outcome = on_outcome,
	.receipt = on_receipt,
	.log_complete = on_log_complete,
	.changed = on_changed,
	.keep = on_keep,
	.reachable = on_reachable,
	.tested = on_tested,
	.forwarded = on_forwarded,
	.stranger = on_stranger,
};

/* --- life --------------------------------------------------------------------------------------- */

/* A row that cannot be read costs a visit, nothing else: nothing here opens or refuses. */
static bool load(struct gateway_lock *gl, struct lock_stored *ret)
{
	struct gateway *gw = gl->gw;
	struct store_lock row;
	struct info info;
	char key[ID_MAX + 16];
	size_t len;

	memset(ret, 0, sizeof(*ret));
	if (store_get_lock(gw->store, gl->config.id, &row) < 0)
		return false;
	ret->n = row.n;
	ret->has_challenge = row.has_challenge;
	memcpy(ret->challenge, row.challenge, CHALLENGE_LEN);
	ret->bolt = (enum bolt)row.bolt;
	ret->has_battery = row.has_battery;
	ret->battery = row.battery;
	ret->seen = row.seen;
	if (info_parse(span_of(row.applied, row.applied_len), &info) == 0) {
		memcpy(ret->applied, info.applied, sizeof(ret->applied));
		ret->napplied = info.napplied;
	}
	snprintf(key, sizeof(key), "advert/%s", gl->config.id);
	ret->has_advert =
		store_get_value(gw->store, key, ret->advert, sizeof(ret->advert), &len) == 0 &&
		len == sizeof(ret->advert);
	memcpy(gl->advert, ret->advert, sizeof(gl->advert));
	return true;
}

static void load_address(struct gateway_lock *gl)
{
	const char *met = gateway_scan_address(gl->gw, &gl->config);
	char key[ID_MAX + 16];
	size_t len;

	if (gl->config.address[0] || met) {
		snprintf(gl->address, sizeof(gl->address), "%s",
			 gl->config.address[0] ? gl->config.address : met);
		return;
	}
	snprintf(key, sizeof(key), "address/%s", gl->config.id);
	if (store_get_value(gl->gw->store, key, gl->address, sizeof(gl->address) - 1, &len) == 0)
		gl->address[len] = 0;
	else
		gl->address[0] = 0;
}

void gateway_lock_found(struct gateway_lock *gl, const char *address)
{
	char key[ID_MAX + 16];

	snprintf(gl->address, sizeof(gl->address), "%s", address);
	snprintf(key, sizeof(key), "address/%s", gl->config.id);
	(void)gateway_stored(gl->gw, store_put_value(gl->gw->store, key, span_str(address)),
			     "address");
	log_fact(LOG_INFO, "lock found", "LOCK", gl->config.id, NULL);
	lock_radio_up(gl->lock);
}

static int add(struct gateway *gw, const struct config_lock *config)
{
	struct gateway_lock *gl = calloc(1, sizeof(*gl));
	struct lock_stored stored;
	struct lock_options options = {
		.trust = gw->trust,
		.reader = &gw->reader,
		.linger_ms = (unsigned)gw->config.linger_s * 1000,
	};
	bool met;
	int r;

	if (!gl)
		return -ENOMEM;
	gl->gw = gw;
	gl->config = *config;
	load_address(gl);
	if (!gl->address[0])
		gateway_strangers_forget(gw);
	met = load(gl, &stored);
	options.id = gl->config.id;
	options.key = gl->config.key;
	r = sd_event_add_time(gw->event, &gl->alarm, CLOCK_BOOTTIME, 0, 1000, on_alarm_due, gl);
	if (r >= 0)
		r = sd_event_source_set_enabled(gl->alarm, SD_EVENT_OFF);
	if (r >= 0)
		r = lock_new(&options, met ? &stored : NULL, &gateway_lock_radio, &ops, gl,
			     &gl->lock);
	if (r < 0) {
		gateway_lock_free(gl);
		return r;
	}
	gw->locks[gw->nlocks++] = gl;
	gateway_lock_changed(gl);
	return 0;
}

void gateway_lock_free(struct gateway_lock *gl)
{
	if (!gl)
		return;
	sd_event_source_disable_unref(gl->alarm);
	lock_free(gl->lock);
	free(gl);
}

static void drop(struct gateway *gw, size_t i)
{
	struct gateway_lock *gl = gw->locks[i];

	if (gl->test)
		control_task_done(steal(gl->test), NULL, "the lock was removed");
	gateway_door_removed(gl);
	gw->locks[i] = gw->locks[--gw->nlocks];
	gateway_radio_release(gl);
}

static const struct config_lock *configured(const struct gateway *gw, const char *id)
{
	for (size_t i = 0; i < gw->config.nlocks; i++) {
		if (strcmp(gw->config.locks[i].id, id) == 0)
			return &gw->config.locks[i];
	}
	return NULL;
}

/*
 * A lock's topic is retained: it must be cleared also when the lock was taken out of the
 * configuration while the agent, or the broker, was away. So the ids whose topics there are stay on
 * disk until then.
 */
static void note_gone(struct gateway *gw, const char *id, size_t len)
{
	if (len == 0 || len > ID_MAX || gw->ngone == CONFIG_LOCKS)
		return;
	for (size_t i = 0; i < gw->ngone; i++) {
		if (strlen(gw->gone[i]) == len && memcmp(gw->gone[i], id, len) == 0)
			return;
	}
	memcpy(gw->gone[gw->ngone], id, len);
	gw->gone[gw->ngone++][len] = 0;
}

#define NAMES_MAX ((size_t)2 * CONFIG_LOCKS * (ID_MAX + 1))

static bool names_stored(struct gateway *gw, struct span names)
{
	cleanup(freep) char *text = malloc(NAMES_MAX);
	size_t len;

	return text && store_get_value(gw->store, "locks", text, NAMES_MAX, &len) == 0 &&
	       span_equal(names, span_of(text, len));
}

static void store_names(struct gateway *gw)
{
	cleanup(freep) char *text = malloc(NAMES_MAX);
	size_t len = 0;

	if (!text)
		return;
	for (size_t i = 0; i < gw->config.nlocks; i++)
		len += (size_t)sprintf(text + len, "%s ", gw->config.locks[i].id);
	for (size_t i = 0; i < gw->ngone; i++)
		len += (size_t)sprintf(text + len, "%s ", gw->gone[i]);
	if (names_stored(gw, span_of(text, len))) /* as at most starts: no fsync for nothing */
		return;
	(void)gateway_stored(gw, store_put_value(gw->store, "locks", span_of(text, len)), "locks");
}

static void find_gone(struct gateway *gw)
{
	cleanup(freep) char *text = malloc(NAMES_MAX + 1);
	char *save = NULL;
	size_t len;

	if (!text || store_get_value(gw->store, "locks", text, NAMES_MAX, &len) < 0)
		return;
	text[len] = 0;
	for (char *id = strtok_r(text, " ", &save); id; id = strtok_r(NULL, " ", &save)) {
		if (!configured(gw, id))
			note_gone(gw, id, strlen(id));
	}
}

/* One that is configured again has a topic again. */
static void forget_returned(struct gateway *gw)
{
	for (size_t i = gw->ngone; i-- > 0;) {
		if (configured(gw, gw->gone[i]))
			memmove(gw->gone[i], gw->gone[--gw->ngone], sizeof(gw->gone[0]));
	}
}

void gateway_locks_cleared(struct gateway *gw)
{
	store_names(gw);
}

static void remove_gone(struct gateway *gw)
{
	for (size_t i = gw->nlocks; i-- > 0;) {
		struct gateway_lock *gl = gw->locks[i];
		const struct config_lock *now = configured(gw, gl->config.id);
		char id[ID_MAX + 1];

		if (now && memcmp(now, &gl->config, sizeof(*now)) == 0)
			continue;
		memcpy(id, gl->config.id, sizeof(id));
		if (!now || memcmp(now->key, gl->config.key, PUBLIC_LEN) != 0) {
			char slot[ID_MAX + 16];

			/* Another lock under the same name starts from nothing. */
			(void)store_delete_lock(gw->store, id);
			snprintf(slot, sizeof(slot), "reader/%s", id);
			(void)store_delete_document(gw->store, slot);
		}
		drop(gw, i);
		if (!now) {
			note_gone(gw, id, strlen(id));
			log_fact(LOG_NOTICE, "lock removed", "LOCK", id, NULL);
		}
	}
}

int gateway_locks_sync(struct gateway *gw)
{
	int r = 0;

	if (gw->nlocks == 0)
		find_gone(gw);
	remove_gone(gw);
	forget_returned(gw);
	store_names(gw);
	if (gw->ngone)
		gateway_state_changed(gw, false);
	for (size_t i = 0; i < gw->config.nlocks && r >= 0; i++) {
		if (!gateway_lock_find(gw, span_str(gw->config.locks[i].id)))
			r = add(gw, &gw->config.locks[i]);
	}
	for (size_t i = 0; i < gw->nlocks; i++)
		lock_set_linger(gw->locks[i]->lock, (unsigned)gw->config.linger_s * 1000);
	if (r < 0)
		return r;
	gateway_readers_restore(gw);
	return 0;
}
