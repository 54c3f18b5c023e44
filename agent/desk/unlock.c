// SPDX-License-Identifier: Apache-2.0
/* One relayed authorization. See unlock.h. */
#include "desk/unlock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "desk/issued.h"
#include "desk/registry.h"
#include "desk/session.h"

#define BROKER_S     10
#define CORRELATION  16
#define ATTEMPTS_MAX 2
#define OTHERS_S     2 /* for brokers that neither answer nor refuse, once one has settled */

struct way { /* one of the lock's gateways */
	char presence[8];
	bool has_lock;
	struct message_lock lock;
};

struct unlock {
	const struct desk *desk;
	const struct unlock_request *q;
	struct unlock_answer *answer;
	char *error;
	sd_event *event;
	sd_event_source *timer, *others;
	struct session *session;
	struct way ways[LOCK_GATEWAYS_MAX];
	size_t way; /* the one taken */
	bool sent, accepted, over;
	uint64_t sent_at; /* ms */
	struct authorization authorization;
	uint8_t correlation[CORRELATION];
	int failed; /* -errno that ended it */
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void end(struct unlock *u, enum unlock_end how)
{
	u->answer->end = how;
	u->answer->ms = u->sent ? now_ms() - u->sent_at : 0;
	u->over = true;
}

static void fail(struct unlock *u, int r)
{
	u->failed = r;
	u->over = true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *user)
{
	struct unlock *u = user;

	if (!u->sent) {
		snprintf(u->answer->words, sizeof(u->answer->words), "%s",
			 session_trouble(u->session));
		end(u, UNLOCK_NO_BROKER);
	} else {
		end(u, u->accepted ? UNLOCK_UNKNOWN : UNLOCK_NO_ANSWER);
	}
	return 0;
}

static int wait_for(struct unlock *u, uint64_t seconds)
{
	int r;

	if (!u->timer)
		return sd_event_add_time_relative(u->event, &u->timer, CLOCK_MONOTONIC,
						  seconds * 1000000, 1000, on_timer, u);
	r = sd_event_source_set_time_relative(u->timer, seconds * 1000000);
	return r < 0 ? r : sd_event_source_set_enabled(u->timer, SD_EVENT_ONESHOT);
}

/* --- sending ---------------------------------------------------------------------------------- */

/* Signed, filed and logged before it leaves. */
static int sign(struct unlock *u, const uint8_t *challenge)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	const char *gateway = u->q->lock.gateways[u->way];
	struct authorization_request request = {
		.phone = &u->q->phone,
		.lock = u->q->lock.id,
		.scope = u->q->scope,
		.now = desk_now(),
		.challenge = challenge,
		.gateway = gateway,
		.correlation = SPAN(u->correlation),
	};
	struct policy policy = {0};
	int r = db_begin(u->desk->db, &tx);

	if (r == 0)
		r = sign_policy_now(u->desk->db, &policy);
	if (r < 0)
		return r;
	request.lifetime = policy.max_relay;
	crypto_random(u->correlation, sizeof(u->correlation));
	r = authorization_sign(u->desk, &request, &u->authorization, u->error);
	if (r == 0)
		r = desk_log(u->desk, (struct act){.act = scope_word(u->q->scope),
						   .person = u->q->phone.person,
						   .phone = u->q->phone.label,
						   .lock = u->q->lock.id,
						   .gateway = gateway,
						   .cti = SPAN(u->authorization.cti)});
	return r < 0 ? r : db_commit(&tx);
}

static void send_through(struct unlock *u, size_t way, const uint8_t *challenge)
{
	static const uint8_t none[CHALLENGE_LEN];
	struct session_message m = {.topic.kind = TOPIC_AUTHORIZE, .once = true};
	uint64_t now;
	int r;

	u->way = way;
	/* A challenge that is not known is stale for certain: the answer brings the present one. */
	r = sign(u, challenge ? challenge : none);
	if (r < 0) {
		fail(u, r);
		return;
	}
	now = desk_now();
	snprintf(m.topic.gateway, sizeof(m.topic.gateway), "%s", u->q->lock.gateways[way]);
	m.payload = span_of(u->authorization.bytes, u->authorization.len);
	m.expiry_s = u->authorization.exp > now ? (uint32_t)(u->authorization.exp - now) : 1;
	m.correlation = SPAN(u->correlation);
	u->answer->attempts++;
	u->answer->reason = REASON_NONE;
	u->answer->exp = u->authorization.exp;
	memcpy(u->answer->cti, u->authorization.cti, CTI_LEN);
	memcpy(u->answer->gateway, m.topic.gateway, sizeof(m.topic.gateway));
	if (!u->sent)
		u->sent_at = now_ms();
	u->sent = true;
	r = session_send(u->session, &m);
	if (r == 0)
		r = wait_for(u, UNLOCK_ANSWER_S);
	if (r < 0)
		fail(u, r);
}

/* --- choosing the gateway --------------------------------------------------------------------- */

static const uint8_t *challenge_of(const struct way *w)
{
	return w->has_lock && w->lock.has_challenge ? w->lock.challenge : NULL;
}

/* Higher is better; order of preference decides between equals. */
static int merit(const struct way *w)
{
	return 8 * (strcmp(w->presence, "offline") != 0) + 4 * !strcmp(w->presence, "online") +
	       2 * (w->has_lock && w->lock.reachable) + (challenge_of(w) != NULL);
}

/*
 * settled: nothing better is going to come. With several brokers that is so when each has told what it
 * keeps: the first to answer may be one that the gateway has left.
 */
static void choose(struct unlock *u, bool settled)
{
	size_t best = 0;

	if (u->sent || u->over)
		return;
	for (size_t i = 1; i < u->q->lock.ngateways; i++)
		if (merit(&u->ways[i]) > merit(&u->ways[best]))
			best = i;
	if (merit(&u->ways[0]) == 15 && (settled || session_brokers(u->session) == 1)) {
		send_through(u, 0, challenge_of(&u->ways[0]));
		return;
	}
	if (!settled)
		return;
	if (!strcmp(u->ways[best].presence, "offline") && !u->q->anyway) {
		memcpy(u->answer->gateway, u->q->lock.gateways[best], ID_MAX + 1);
		end(u, UNLOCK_OFFLINE);
		return;
	}
	send_through(u, best, challenge_of(&u->ways[best]));
}

/* --- answers ---------------------------------------------------------------------------------- */

static void on_accepted(struct unlock *u)
{
	int r;

	if (u->accepted)
		return;
	u->accepted = true;
	u->answer->accepted_ms = now_ms() - u->sent_at;
	r = wait_for(u, u->q->wait_s);
	if (r < 0)
		fail(u, r);
}

static void on_refused(struct unlock *u, const struct event *e)
{
	u->answer->reason = e->reason;
	if (e->reason == REASON_STALE_CHALLENGE && e->has_challenge &&
	    u->answer->attempts < ATTEMPTS_MAX) {
		u->accepted = false;
		send_through(u, u->way, e->challenge);
		return;
	}
	end(u, UNLOCK_REFUSED);
}

/* Once accepted, what is refused is what somebody repeated on the way, perhaps retained. The first
 * one's outcome is still to come. */
static void on_refusal(struct unlock *u, const struct event *e)
{
	if (u->accepted)
		return;
	if (e->reason == REASON_REPLAYED && strcmp(e->first, "refused") != 0)
		on_accepted(u);
	else
		on_refused(u, e);
}

static void on_outcome(struct unlock *u, const struct filed *f)
{
	const struct way *w = &u->ways[u->way];
	bool gateway_enforces = w->has_lock && !strcmp(w->lock.enforces, "gateway");

	u->answer->reason = f->event.reason;
	u->answer->proven = f->has_receipt && f->receipt.has_cti &&
			    !memcmp(f->receipt.cti, u->authorization.cti, CTI_LEN) &&
			    f->receipt.result.outcome == f->event.outcome;
	if (u->answer->proven)
		u->answer->receipt = f->receipt;
	if (f->event.reason == REASON_STALE_CHALLENGE)
		on_refused(u, &f->event);
	else if (f->event.outcome == OUTCOME_DONE)
		end(u, u->answer->proven || gateway_enforces ? UNLOCK_DONE : UNLOCK_UNPROVEN);
	else if (f->event.outcome == OUTCOME_FAILED)
		end(u, UNLOCK_FAILED);
	else
		end(u, UNLOCK_UNKNOWN);
}

static void on_event(struct unlock *u, const char *gateway, struct span payload)
{
	cleanup(filed_deinit) struct filed f = {0};
	int r = event_file(u->desk->db, gateway, payload, desk_now(), &f);

	if (r < 0)
		fail(u, r);
	if (r != 0 || !u->sent || u->over || !f.event.has_cti ||
	    memcmp(f.event.cti, u->authorization.cti, CTI_LEN) != 0)
		return;
	switch (f.event.type) {
	case EVENT_AUTHORIZATION_ACCEPTED:
		on_accepted(u);
		break;
	case EVENT_AUTHORIZATION_REFUSED:
		on_refusal(u, &f.event);
		break;
	case EVENT_AUTHORIZATION_OUTCOME:
		on_outcome(u, &f);
		break;
	default:
		break;
	}
}

static struct way *way_of(struct unlock *u, const char *gateway)
{
	for (size_t i = 0; i < u->q->lock.ngateways; i++)
		if (!strcmp(u->q->lock.gateways[i], gateway))
			return &u->ways[i];
	return NULL;
}

static void on_message(const struct topic *topic, const struct mqtt_message *m, size_t broker,
		       void *user)
{
	struct unlock *u = user;
	struct way *w = way_of(u, topic->gateway);
	struct message_lock lock;

	if (!w)
		return;
	switch (topic->kind) {
	case TOPIC_PRESENCE:
		/* An "online" of another broker of the set counts more than an old "offline". */
		if (strcmp(w->presence, "online") != 0)
			snprintf(w->presence, sizeof(w->presence), "%.*s", (int)m->payload.len,
				 (const char *)m->payload.data);
		choose(u, false);
		break;
	case TOPIC_LOCK:
		if (message_lock_parse(m->payload, &lock) != 0)
			break;
		/* kept by a broker that the gateway has left */
		if (m->retain && w->has_lock && lock.seen < w->lock.seen)
			break;
		w->lock = lock;
		w->has_lock = true;
		choose(u, false);
		break;
	case TOPIC_EVENT:
		on_event(u, topic->gateway, m->payload);
		break;
	default:
		break;
	}
}

static int on_others(sd_event_source *source, uint64_t usec, void *user)
{
	struct unlock *u = user;

	if (session_settled(u->session) > 0)
		choose(u, true);
	return 0;
}

static void on_settled(size_t broker, void *user)
{
	struct unlock *u = user;

	if (session_all_told(u->session))
		choose(u, true);
	else if (!u->others &&
		 sd_event_add_time_relative(u->event, &u->others, CLOCK_MONOTONIC,
					    OTHERS_S * 1000000, 1000, on_others, u) < 0)
		fail(u, -ENOMEM);
}

static void on_failed(size_t broker, void *user)
{
	struct unlock *u = user;

	if (session_settled(u->session) > 0 && session_all_told(u->session))
		choose(u, true);
}

static const struct session_ops session_ops = {
	.message = on_message,
	.settled = on_settled,
	.failed = on_failed,
};

static int subscribe(struct unlock *u)
{
	int r = 0;

	/* Events first: nothing that answers may be missed. */
	for (size_t i = 0; r == 0 && i < u->q->lock.ngateways; i++) {
		const char *gateway = u->q->lock.gateways[i];

		r = session_subscribe(u->session, TOPIC_EVENT, gateway, NULL);
		if (r == 0)
			r = session_subscribe(u->session, TOPIC_PRESENCE, gateway, NULL);
		if (r == 0)
			r = session_subscribe(u->session, TOPIC_LOCK, gateway, u->q->lock.id);
	}
	return r;
}

static int run(struct unlock *u)
{
	const struct session_options options = {0};
	int r = sd_event_new(&u->event);

	if (r >= 0)
		r = session_new(u->event, u->desk, &options, &session_ops, u, &u->session);
	if (r >= 0)
		r = subscribe(u);
	if (r >= 0)
		r = wait_for(u, BROKER_S);
	if (r >= 0)
		r = session_start(u->session);
	while (r >= 0 && !u->over)
		r = sd_event_run(u->event, UINT64_MAX);
	return r < 0 ? r : u->failed;
}

int unlock_run(const struct desk *desk, const struct unlock_request *request,
	       struct unlock_answer *ret, char error[static 256])
{
	cleanup(freep) struct unlock *u = calloc(1, sizeof(*u));
	int r;

	*ret = (struct unlock_answer){0};
	if (!u)
		return -ENOMEM;
	u->desk = desk;
	u->q = request;
	u->answer = ret;
	u->error = error;
	r = run(u);
	session_close(&u->session);
	sd_event_source_disable_unref(u->timer);
	sd_event_source_disable_unref(u->others);
	sd_event_unref(u->event);
	return r;
}
