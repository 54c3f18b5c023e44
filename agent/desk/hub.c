// SPDX-License-Identifier: Apache-2.0
/* Signing, publishing, pushing, filing: the desk's work on its brokers. See hub.h. */
#include "desk/hub.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "desk/behind.h"
#include "desk/certificates.h"
#include "desk/fleet.h"
#include "desk/serving.h"
#include "desk/sign.h"

#define TICK_US	       1000000
#define UNHEARD_WAIT_S 600

struct hub {
	const struct desk *desk;
	struct hub_ops ops;
	void *user;
	sd_event *event;
	sd_event_source *tick;
	struct session *session;
	struct survey *survey;
	struct filing *filing;
	struct current current;
	struct hub_gateway *gateways; /* sorted by id */
	size_t ngateways;
	bool serves;   /* it is the hub of `serve` */
	bool looks_on; /* another process serves: it files, pushes and asks */
	bool signed_;
	uint64_t ready_at; /* when the brokers had settled first */
	char trouble[KEYRING_ERROR_CAP];
};

static void say(struct hub *hub, const char *words)
{
	if (!strcmp(hub->trouble, words))
		return;
	snprintf(hub->trouble, sizeof(hub->trouble), "%s", words);
	if (*words && hub->ops.trouble)
		hub->ops.trouble(words, hub->user);
}

static void say_registry(struct hub *hub)
{
	say(hub, db_error(hub->desk->db));
}

/* --- gateways --------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
	return strcmp(a, ((const struct hub_gateway *)b)->id);
}

static struct hub_gateway *find(struct hub *hub, const char *id)
{
	if (hub->ngateways == 0)
		return NULL;
	return bsearch(id, hub->gateways, hub->ngateways, sizeof(*hub->gateways), by_id);
}

static int add_gateway(const char *id, void *user)
{
	struct hub *hub = user;
	struct hub_gateway *list;

	if (find(hub, id))
		return 0;
	list = reallocarray(hub->gateways, hub->ngateways + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	hub->gateways = list;
	list = &list[hub->ngateways++];
	*list = (struct hub_gateway){0};
	snprintf(list->id, sizeof(list->id), "%s", id);
	return 0;
}

/* It holds documents, as far as the registry knows. */
static int note_filed(struct hub *hub)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < hub->ngateways; i++) {
		struct hub_gateway *g = &hub->gateways[i];

		if (!g->looked_up)
			r = gateway_has_state(hub->desk->db, g->id);
		if (!g->looked_up && r >= 0)
			g->spoke_once = r > 0;
		g->looked_up = true;
	}
	return r < 0 ? r : 0;
}

/* Gateways are added to the registry while this runs; gateway_each gives them in the order that
 * find() needs. */
static int load_gateways(struct hub *hub)
{
	struct hub fresh = {.ngateways = 0};
	int r = gateway_each(hub->desk->db, add_gateway, &fresh);

	for (size_t i = 0; r == 0 && i < fresh.ngateways; i++) {
		struct hub_gateway *known = find(hub, fresh.gateways[i].id);

		if (!known)
			continue;
		fresh.gateways[i] = *known;
		known->state = NULL;
	}
	if (r < 0) {
		free(fresh.gateways);
		return r;
	}
	for (size_t i = 0; i < hub->ngateways; i++)
		free(hub->gateways[i].state);
	free(hub->gateways);
	hub->gateways = fresh.gateways;
	hub->ngateways = fresh.ngateways;
	return note_filed(hub);
}

/* Also one that was added or enrolled a moment ago: what it says first must not be missed. */
static struct hub_gateway *find_in_registry(struct hub *hub, const char *id)
{
	struct hub_gateway *g = find(hub, id);
	struct enrolled enrolled;

	if (g || enrolled_find(hub->desk->db, id, &enrolled) < 0 || enrolled.revoked)
		return g;
	return load_gateways(hub) < 0 ? NULL : find(hub, id);
}

/* --- work ------------------------------------------------------------------------------------- */

static bool settled(const struct hub *hub)
{
	size_t online = session_online(hub->session);

	return online > 0 && session_settled(hub->session) == online;
}

/*
 * The brokers have lost what this gateway said, so nobody knows which list it holds. If this
 * registry was restored from a backup, it may be one that the desk has forgotten, and a new list
 * would take its place: what the gateway has to say is waited for. Not for ever: a box that is gone
 * must not hold up revocations.
 */
static bool all_heard(struct hub *hub, uint64_t now, char words[static KEYRING_ERROR_CAP])
{
	if (hub->ready_at + UNHEARD_WAIT_S <= now)
		return true;
	for (size_t i = 0; i < hub->ngateways; i++) {
		const struct hub_gateway *g = &hub->gateways[i];

		if (!g->spoke_once || g->state)
			continue;
		snprintf(words, KEYRING_ERROR_CAP,
			 "no broker knows what gateway %s holds, which may be a newer list than "
			 "this registry has: it is waited for, up to %d minutes",
			 g->id, UNHEARD_WAIT_S / 60);
		return false;
	}
	return true;
}

static void sign_what_is_due(struct hub *hub, uint64_t now)
{
	char error[KEYRING_ERROR_CAP] = "";
	const char *words;
	int r;

	hub->signed_ = false;
	if (!all_heard(hub, now, error)) {
		say(hub, error);
		return;
	}
	if (!survey_clear(hub->survey, &words)) {
		say(hub, words);
		return;
	}
	r = sign_due(hub->desk, now, error);
	hub->signed_ = r >= 0;
	say(hub, r >= 0 || error[0] ? error : db_error(hub->desk->db));
}

/* `serve` may have come, or gone. */
static int share_work(struct hub *hub)
{
	bool looks_on = !hub->serves && serving_elsewhere(hub->desk);
	int r = looks_on && !hub->looks_on ? filing_flush(hub->filing) : 0;

	hub->looks_on = looks_on;
	return r;
}

static int work(struct hub *hub, uint64_t now)
{
	/* What is published must be on disk: signing has a transaction of its own. */
	int r = filing_flush(hub->filing);

	if (r == 0)
		r = share_work(hub);
	if (r == 0)
		r = load_gateways(hub);
	if (r < 0)
		return r;
	survey_ask(hub->survey, now);
	sign_what_is_due(hub, now);
	if (r >= 0)
		r = current_load(hub->desk->db, &hub->current);
	/* A desk that may not sign does not overwrite what it may not know either. */
	if (r >= 0 && hub->signed_)
		r = survey_publish(hub->survey, &hub->current, now);
	for (size_t i = 0; r >= 0 && !hub->looks_on && i < hub->ngateways; i++) {
		struct hub_gateway *g = &hub->gateways[i];

		if (hub->signed_)
			behind_push(hub->session, &hub->current, g, now);
		r = behind_ask(hub->desk->db, hub->session, hub->ready_at, g, now);
	}
	return r < 0 ? r : 0;
}

void hub_work(struct hub *hub)
{
	bool ready = settled(hub);

	if (ready && !hub->ready_at)
		hub->ready_at = desk_now();
	if (ready && work(hub, desk_now()) < 0)
		say_registry(hub);
	if (hub->ops.worked)
		hub->ops.worked(ready, hub->user);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *user)
{
	sd_event_source_set_time_relative(source, TICK_US);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	hub_work(user);
	return 0;
}

/* --- what comes ------------------------------------------------------------------------------- */

static void on_filed(const char *gateway, const struct filed *filed, void *user)
{
	struct hub *hub = user;

	if (filed->event.copy.len > 0 &&
	    survey_copy(hub->survey, gateway, filed->event.copy, desk_now()) < 0)
		say_registry(hub);
	if (hub->ops.filed)
		hub->ops.filed(gateway, filed, hub->user);
}

/* What one broker kept, when another one of the set passed on what the gateway said since. A live one
 * counts always: a store put back from a copy says less than before, and is to be seen. */
static bool is_outdated(const struct hub_gateway *g, const struct message_state *state)
{
	if (!g->state || strcmp(g->state->stream, state->stream) != 0)
		return false;
	return state->seq < g->state->seq ||
	       (state->seq == g->state->seq && state->time < g->state->time);
}

static bool is_newer(const struct hub_gateway *g, const struct message_state *state)
{
	return !g->state || strcmp(g->state->stream, state->stream) != 0 ||
	       state->seq > g->state->seq || state->time > g->state->time;
}

static int file_state(struct hub *hub, const struct hub_gateway *g, struct span payload)
{
	int r;

	if (hub->looks_on)
		return 0;
	r = filing_begin(hub->filing);
	return r < 0 ? r : gateway_put_state(hub->desk->db, g->id, payload, desk_now());
}

/* The word may have changed, or which broker's counts. */
static int note_presence(struct hub *hub, struct hub_gateway *g)
{
	const char *word = presence_word(&g->heard);
	int r;

	if (!strcmp(g->presence, word))
		return 0;
	snprintf(g->presence, sizeof(g->presence), "%s", word);
	if (hub->looks_on)
		return 0;
	r = filing_begin(hub->filing);
	return r < 0 ? r
		     : gateway_put_presence(hub->desk->db, g->id, span_str(g->presence),
					    desk_now());
}

static void take_state(struct hub *hub, struct hub_gateway *g, const struct mqtt_message *m,
		       size_t broker)
{
	cleanup(freep) struct message_state *state = malloc(sizeof(*state));
	bool outdated;

	if (!state || message_state_parse(m->payload, state) != 0)
		return;
	outdated = is_outdated(g, state);
	if (m->retain && outdated)
		return;
	/* what the same broker kept, or two keep, tells nothing of where it is */
	if (!outdated && (!m->retain || is_newer(g, state)))
		presence_at_home(&g->heard, broker);
	free(g->state);
	g->state = steal(state);
	if (file_state(hub, g, m->payload) < 0 ||
	    survey_state(hub->survey, g->id, g->state, desk_now()) < 0 || note_presence(hub, g) < 0)
		say_registry(hub);
	if (hub->ops.gateway)
		hub->ops.gateway(g, hub->user);
}

static void take_presence(struct hub *hub, struct hub_gateway *g, const struct mqtt_message *m,
			  size_t broker)
{
	if (!presence_heard(&g->heard, broker, m->payload))
		return;
	if (note_presence(hub, g) < 0)
		say_registry(hub);
	if (hub->ops.gateway)
		hub->ops.gateway(g, hub->user);
}

/* No gateway speaks for another one's locks. */
static bool serves(const struct hub *hub, const char *gateway, const char *lock)
{
	struct lock_row row;

	if (lock_find(hub->desk->db, lock, &row) < 0)
		return false;
	for (size_t i = 0; i < row.ngateways; i++)
		if (!strcmp(row.gateways[i], gateway))
			return true;
	return false;
}

static void take_lock(struct hub *hub, const struct topic *topic, const struct mqtt_message *m)
{
	cleanup(freep) struct message_lock *state = malloc(sizeof(*state));

	if (!state || message_lock_parse(m->payload, state) != 0 ||
	    !serves(hub, topic->gateway, topic->name))
		return;
	if (!hub->looks_on &&
	    (filing_begin(hub->filing) < 0 ||
	     lock_put_state(hub->desk->db, topic->name, m->payload, desk_now()) < 0))
		say_registry(hub);
	if (hub->ops.lock)
		hub->ops.lock(topic->gateway, topic->name, state, hub->user);
}

static int take_event(struct hub *hub, const char *gateway, struct span payload)
{
	cleanup(filed_deinit) struct filed filed = {0};
	int r;

	if (!hub->looks_on)
		return filing_event(hub->filing, gateway, payload, desk_now());
	r = event_read(hub->desk->db, payload, &filed);
	if (r == 0)
		on_filed(gateway, &filed, hub);
	return r;
}

static void on_message(const struct topic *topic, const struct mqtt_message *m, size_t broker,
		       void *user)
{
	struct hub *hub = user;
	struct hub_gateway *g = topic->gateway[0] ? find_in_registry(hub, topic->gateway) : NULL;
	int r = 0;

	switch (topic->kind) {
	case TOPIC_CITY_KEYS:
	case TOPIC_CITY_POLICY:
	case TOPIC_CITY_LIST:
		r = survey_city(hub->survey, broker, m, desk_now());
		break;
	case TOPIC_STATE:
		if (g)
			take_state(hub, g, m, broker);
		break;
	case TOPIC_PRESENCE:
		if (g)
			take_presence(hub, g, m, broker);
		break;
	case TOPIC_LOCK:
		if (g)
			take_lock(hub, topic, m);
		break;
	case TOPIC_EVENT:
		if (g)
			r = take_event(hub, topic->gateway, m->payload);
		break;
	case TOPIC_REQUEST:
		if (hub->ops.request && !m->retain)
			hub->ops.request(topic->gateway, m->payload, hub->user);
		break;
	default:
		break;
	}
	if (r < 0)
		say_registry(hub);
}

static void on_online(size_t broker, void *user)
{
	struct hub *hub = user;

	survey_forget(hub->survey, broker);
}

static void on_settled(size_t broker, void *user)
{
	hub_work(user);
}

static const struct session_ops session_ops = {
	.online = on_online,
	.settled = on_settled,
	.message = on_message,
};

/* --- life ------------------------------------------------------------------------------------- */

/* Who looks on needs the documents, and what proves that they came: a fleet's retained messages take
 * their time. */
static int subscribe_all(struct hub *hub)
{
	struct session *s = hub->session;
	int r = session_subscribe_city(s);

	if (r == 0 && !hub->looks_on)
		r = session_subscribe(s, TOPIC_PRESENCE, "+", NULL);
	if (r == 0)
		r = session_subscribe(s, TOPIC_EVENT, "+", NULL);
	if (r == 0 && !hub->looks_on)
		r = session_subscribe(s, TOPIC_LOCK, "+", "+");
	if (r == 0)
		r = session_subscribe(s, TOPIC_STATE, "+", NULL);
	if (r == 0 && hub->ops.request)
		r = session_subscribe(s, TOPIC_REQUEST, "+", NULL);
	return r;
}

int hub_new(sd_event *event, const struct desk *desk, const struct session_options *options,
	    const struct hub_ops *ops, void *user, struct hub **ret)
{
	cleanup(hub_freep) struct hub *hub = calloc(1, sizeof(*hub));
	int r;

	if (!hub)
		return -ENOMEM;
	hub->desk = desk;
	hub->ops = *ops;
	hub->user = user;
	hub->event = sd_event_ref(event);
	hub->serves = options->client_id != NULL;
	r = session_new(event, desk, options, &session_ops, hub, &hub->session);
	if (r == 0)
		r = survey_new(desk, hub->session, &hub->survey);
	if (r == 0)
		r = filing_new(event, desk->db, on_filed, hub, &hub->filing);
	if (r == 0)
		r = load_gateways(hub);
	if (r == 0)
		r = share_work(hub);
	if (r == 0)
		r = subscribe_all(hub);
	if (r < 0)
		return r;
	*ret = steal(hub);
	return 0;
}

void hub_free(struct hub *hub)
{
	if (!hub)
		return;
	sd_event_source_disable_unref(hub->tick);
	filing_free(hub->filing);
	session_free(hub->session);
	survey_free(hub->survey);
	current_deinit(&hub->current);
	for (size_t i = 0; i < hub->ngateways; i++)
		free(hub->gateways[i].state);
	free(hub->gateways);
	sd_event_unref(hub->event);
	free(hub);
}

void hub_freep(struct hub **hub)
{
	hub_free(*hub);
}

int hub_start(struct hub *hub)
{
	int r = sd_event_add_time_relative(hub->event, &hub->tick, CLOCK_MONOTONIC, TICK_US, 50000,
					   on_tick, hub);

	return r < 0 ? r : session_start(hub->session);
}

void hub_close(struct hub **hub)
{
	if (!*hub)
		return;
	(*hub)->tick = sd_event_source_disable_unref((*hub)->tick);
	filing_flush((*hub)->filing);
	session_close(&(*hub)->session);
	hub_free(steal(*hub));
}

int hub_flush(struct hub *hub)
{
	return filing_flush(hub->filing);
}

struct session *hub_session(struct hub *hub)
{
	return hub->session;
}

const struct current *hub_current(const struct hub *hub)
{
	return &hub->current;
}

size_t hub_gateways(const struct hub *hub, const struct hub_gateway **ret)
{
	*ret = hub->gateways;
	return hub->ngateways;
}

bool hub_signed(const struct hub *hub)
{
	return hub->signed_;
}

const char *hub_trouble(const struct hub *hub)
{
	return hub->trouble[0] ? hub->trouble : session_trouble(hub->session);
}
