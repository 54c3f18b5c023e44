// SPDX-License-Identifier: Apache-2.0
/*
 * What the city sees without asking: presence, state, health, one topic per lock. Changes are
 * gathered for a moment, so that a burst is one message; a new document is told at once, since the
 * city waits for it with a progress bar.
 */
#include "gateway-private.h"

#define GATHER_US    200000
#define OUTBOX_LARGE 1000
#define READER_SPARE 86400u /* a read authorization about to expire counts as none */

static bool publish(struct gateway *gw, const char *topic, struct span payload, int qos,
		    bool retain)
{
	struct mqtt_publish message = {
		.topic = topic,
		.payload = payload,
		.qos = qos,
		.retain = retain,
		.content_type = payload.len ? "application/json" : NULL,
	};
	int r = mqtt_publish(gw->mqtt, &message, 0);

	if (r == -EMSGSIZE || r == -EOPNOTSUPP)
		log_fact(LOG_ERR, "the broker cannot take a message", "TOPIC", topic, "DETAIL",
			 strerror(-r), NULL);
	return r == 0 || r == -EMSGSIZE || r == -EOPNOTSUPP;
}

/* --- problems ----------------------------------------------------------------------------------- */

static void document_problems(struct gateway *gw, uint64_t now, struct problems *ret)
{
	const struct trust *trust = gw->trust;
	const struct held *keys = trust_keys(trust);

	if (!keys)
		problem_add(ret, "no-keys", "no keys document yet");
	else if (keys->exp && keys->exp <= now)
		problem_add(ret, "keys-expired", "expired");
	if (keys && !trust->policy_held.document)
		problem_add(ret, "no-policy", "the default policy is in force");
	else if (trust->policy_held.exp && trust->policy_held.exp <= now)
		problem_add(ret, "policy-expired", "expired");
	if (trust->nlists == 0)
		problem_add(ret, "no-list",
			    "no revocation list: nothing opens through this gateway");
	for (size_t i = 0; i < trust->nlists; i++) {
		if (trust->lists[i].held.exp && trust->lists[i].held.exp <= now)
			problem_add(ret, "list-expired", "list %s", trust->lists[i].name);
	}
	if (trust->npending)
		problem_add(ret, "document-pending", "%zu signed by a key not known yet",
			    trust->npending);
}

static void put_time(uint64_t time, char ret[static 32])
{
	time_t t = (time_t)time;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(ret, 32, "%Y-%m-%d %H:%M:%SZ", &tm) == 0)
		ret[0] = 0;
}

static void clock_problem(struct gateway *gw, struct problems *ret)
{
	struct time_verdict time = gateway_time(gw);
	struct message_opens opens;
	char now[32], until[32];

	gateway_opens(gw, &time, &opens);
	put_time(time.now, now);
	put_time(opens.door_until, until);
	problem_add(ret, clock_problem_word(gw->clock_problem),
		    "reckons with %s: what is signed now opens, at the door until %s; no begin is "
		    "judged",
		    now, until);
}

static void box_problems(struct gateway *gw, struct problems *ret)
{
	if (gw->damaged)
		problem_add(ret, "store-damaged", "waiting for the city's keys, policy and list");
	if (gw->store_trouble)
		problem_add(ret, gateway_store_problem(gw), "%s%s", gw->store_words,
			    gw->undurable ? "; a document waits for it" : "");
	if (gw->clock_told && gw->clock_problem != CLOCK_FINE)
		clock_problem(gw, ret);
	if (!gw->radio_up)
		problem_add(ret, gw->adapter[0] ? "adapter-off" : "adapter-missing", "%s",
			    gw->radio_words);
	else if (gw->rung != BLUEZ_RUNG_NONE)
		problem_add(ret, "radio-silent", "no advert is heard");
}

void gateway_problems(struct gateway *gw, struct problems *ret)
{
	uint64_t oldest, newest, open = 0;

	document_problems(gw, gateway_time(gw).now, ret);
	box_problems(gw, ret);
	gateway_certificate_problems(gw, gateway_time(gw).now, ret);
	if (store_event_stats(gw->store, &oldest, &newest, &open) == 0 && open > OUTBOX_LARGE)
		problem_add(ret, "outbox-large", "%llu events wait", (unsigned long long)open);
}

/* --- state -------------------------------------------------------------------------------------- */

static uint64_t expiry_of(const struct gateway *gw, const char *name, uint64_t *ret_changed,
			  bool *ret_list)
{
	const struct trust_list *list;

	if (strcmp(name, "keys") == 0)
		return trust_keys(gw->trust) ? trust_keys(gw->trust)->exp : 0;
	if (strcmp(name, "policy") == 0)
		return gw->trust->policy_held.exp;
	list = trust_list_by_name(gw->trust, span_str(name));
	*ret_list = true;
	if (!list)
		return 0;
	*ret_changed = list->held.changed;
	return list->held.exp;
}

static bool reads(const struct gateway_lock *gl, uint64_t now)
{
	uint64_t life = gl->reader_exp > gl->reader_iat ? gl->reader_exp - gl->reader_iat : 0;
	uint64_t spare = life / 2 < READER_SPARE ? life / 2 : READER_SPARE;

	return gl->reader_exp > now + spare;
}

static void fill_locks(struct gateway *gw, struct message_state *ret)
{
	for (size_t i = 0; i < gw->nlocks && ret->nlocks < MESSAGE_LOCKS; i++) {
		const struct gateway_lock *gl = gw->locks[i];

		memcpy(ret->locks[ret->nlocks++], gl->config.id, sizeof(gl->config.id));
		if (reads(gl, ret->time))
			memcpy(ret->readers[ret->nreaders++], gl->config.id, sizeof(gl->config.id));
	}
}

void gateway_fill_state(struct gateway *gw, struct message_state *ret)
{
	const uint8_t *root = trust_root_kid(gw->trust);

	memset(ret, 0, sizeof(*ret));
	snprintf(ret->version, sizeof(ret->version), "%s", LOCKBRIDGE_VERSION);
	ret->clock = gateway_time(gw);
	ret->time = ret->clock.now;
	ret->floor = gw->reckoning.floor;
	gateway_opens(gw, &ret->clock, &ret->opens);
	memcpy(ret->boot, gw->boot, sizeof(ret->boot));
	snprintf(ret->stream, sizeof(ret->stream), "%s", store_stream(gw->store));
	(void)store_event_stats(gw->store, &ret->oldest, &ret->seq, &ret->outbox);
	memcpy(ret->reader, gw->reader.pub, PUBLIC_LEN);
	if (root)
		hex_encode(span_of(root, DIGEST_LEN), ret->root, sizeof(ret->root));
	for (size_t i = 0; i < gw->ndurable; i++) {
		struct message_document *d = &ret->documents[ret->ndocuments++];

		d->is = gw->durable[i];
		d->exp = expiry_of(gw, d->is.name, &d->changed, &d->list);
	}
	snprintf(ret->adapter, sizeof(ret->adapter), "%s", gw->adapter);
	ret->radio_up = gw->radio_up;
	ret->recoveries = gw->recoveries;
	fill_locks(gw, ret);
	gateway_certificate_fill(gw, ret->time, &ret->certificate);
	gateway_problems(gw, &ret->problems);
}

static bool publish_state(struct gateway *gw)
{
	cleanup(freep) struct message_state *state = malloc(sizeof(*state));
	cleanup(freep) char *text = NULL;
	char topic[TOPIC_MAX];

	if (!state)
		return false;
	gateway_fill_state(gw, state);
	text = message_state_encode(state);
	if (!text)
		return false;
	gw->outbox_shown = state->outbox;
	gateway_topic(gw, TOPIC_STATE, "", topic);
	return publish(gw, topic, span_str(text), 1, true);
}

/* --- locks -------------------------------------------------------------------------------------- */

void gateway_fill_lock(struct gateway_lock *gl, struct message_lock *ret)
{
	lock_fill(gl->lock, ret);
	snprintf(ret->enforces, sizeof(ret->enforces), "lock");
	if (!ret->current && ret->has_challenge && trust_keys(gl->gw->trust))
		problem_add(&ret->problems, "lock-behind", "lacks the newest documents");
	if (!gl->reader_exp)
		problem_add(&ret->problems, "reader-missing", "its log cannot be read");
}

static bool publish_lock(struct gateway_lock *gl)
{
	cleanup(freep) struct message_lock *now = malloc(sizeof(*now));
	cleanup(freep) char *text = NULL;
	char topic[TOPIC_MAX];

	if (!now)
		return false;
	gateway_fill_lock(gl, now);
	text = message_lock_encode(now);
	if (!text)
		return false;
	gateway_topic(gl->gw, TOPIC_LOCK, gl->config.id, topic);
	return publish(gl->gw, topic, span_str(text), 1, true);
}

static void clear_gone(struct gateway *gw)
{
	char topic[TOPIC_MAX];

	while (gw->ngone) {
		gateway_topic(gw, TOPIC_LOCK, gw->gone[gw->ngone - 1], topic);
		if (!publish(gw, topic, span_of(NULL, 0), 1, true))
			return;
		gw->ngone--;
	}
	gateway_locks_cleared(gw);
}

/* --- when --------------------------------------------------------------------------------------- */

static void arm(struct gateway *gw, uint64_t usec)
{
	sd_event_source_set_time_relative(gw->report, usec);
	sd_event_source_set_enabled(gw->report, SD_EVENT_ONESHOT);
	gw->report_soon = true;
}

static void tell_service(struct gateway *gw)
{
	size_t reachable = 0;
	char line[200];

	for (size_t i = 0; i < gw->nlocks; i++) {
		struct message_lock now;

		lock_fill(gw->locks[i]->lock, &now);
		reachable += now.reachable;
	}
	snprintf(line, sizeof(line), "broker %s, radio %s, %zu of %zu locks in reach",
		 gw->was_online ? "connected" : "not connected", gw->radio_up ? "up" : "down",
		 reachable, gw->nlocks);
	gw->ops->status(line, gw->user);
}

static int on_report(sd_event_source *source, uint64_t usec, void *user)
{
	struct gateway *gw = user;
	bool left = false;

	gw->report_soon = false;
	tell_service(gw);
	if (!gw->was_online)
		return 0; /* everything is said anew at the next connect */
	if (gw->state_dirty && publish_state(gw))
		gw->state_dirty = false;
	if (gw->ngone)
		clear_gone(gw);
	left = gw->state_dirty || gw->ngone;
	for (size_t i = 0; i < gw->nlocks; i++) {
		struct gateway_lock *gl = gw->locks[i];

		if (gl->dirty && publish_lock(gl))
			gl->dirty = false;
		left |= gl->dirty;
	}
	if (left)
		arm(gw, GATHER_US); /* no room for now */
	return 0;
}

void gateway_state_changed(struct gateway *gw, bool at_once)
{
	gw->state_dirty = true;
	if (at_once && gw->was_online && publish_state(gw))
		gw->state_dirty = false;
	else if (gw->report && !gw->report_soon)
		arm(gw, GATHER_US);
}

void gateway_lock_changed(struct gateway_lock *gl)
{
	struct gateway *gw = gl->gw;

	gl->dirty = true;
	if (gw->report && !gw->report_soon)
		arm(gw, GATHER_US);
}

static void publish_online(struct gateway *gw, int qos)
{
	char topic[TOPIC_MAX];
	struct mqtt_publish online = {
		.topic = topic,
		.payload = span_str(MESSAGE_ONLINE),
		.qos = qos,
		.retain = true,
	};

	gateway_topic(gw, TOPIC_PRESENCE, "", topic);
	(void)mqtt_publish(gw->mqtt, &online, 0);
}

void gateway_report_online(struct gateway *gw)
{
	publish_online(gw, 1);
	gw->state_dirty = true;
	for (size_t i = 0; i < gw->nlocks; i++)
		gw->locks[i]->dirty = true;
	(void)on_report(gw->report, 0, gw);
}

static int on_health(sd_event_source *source, uint64_t usec, void *user)
{
	struct gateway *gw = user;
	cleanup(freep) struct message_health *health = malloc(sizeof(*health));
	cleanup(freep) char *text = NULL;
	char topic[TOPIC_MAX];

	sd_event_source_set_time_relative(source, (uint64_t)gw->config.health_s * 1000000);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	gateway_outbox_again(gw);
	gateway_rest(gw);
	/* The will of an earlier connection may have come after it. QoS 0: said again soon, and a
	 * change of connection waits for what is in flight. */
	if (gw->was_online)
		publish_online(gw, 0);
	if (health && gw->was_online) {
		gateway_fill_health(gw, health);
		text = message_health_encode(health);
		gateway_topic(gw, TOPIC_HEALTH, "", topic);
		if (text)
			(void)publish(gw, topic, span_str(text), 0, false);
	}
	return 0;
}

int gateway_report_start(struct gateway *gw)
{
	int r = sd_event_add_time_relative(gw->event, &gw->report, CLOCK_MONOTONIC, GATHER_US,
					   20000, on_report, gw);

	if (r < 0)
		return r;
	gw->report_soon = true;
	return sd_event_add_time_relative(gw->event, &gw->health, CLOCK_MONOTONIC,
					  (uint64_t)gw->config.health_s * 1000000, 1000000,
					  on_health, gw);
}
