/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which broker, and when. A round tries the brokers in order of preference;
 * after a round in vain comes a pause. The pause starts small again only after a connection that
 * held for a while, so that two clients with one client id do not throw each other out for ever at full speed.
 *
 * On a less preferred broker, the ones before it are tried beside the connection that stands; it is
 * given up only when a better one is up.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "link/mqtt-private.h"

#define RENEWED "the connection is made anew"

static void try_next(struct mqtt *m);

uint64_t choice_now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void note(struct mqtt *m, size_t broker, const char *reason)
{
	const struct mqtt_broker *b = &m->settings.brokers[broker];

	snprintf(m->stats.last_error, sizeof(m->stats.last_error), "%.80s:%u: %s", b->host, b->port,
		 reason);
}

static void note_attempt(struct mqtt *m, const struct conn *c)
{
	m->stats.attempt_began = c ? conn_began(c) : 0;
	m->stats.attempt_reached = c && conn_reached(c);
}

/* c: NULL, if it did not come to an attempt. */
static void note_failure(struct mqtt *m, const struct conn *c, size_t broker, const char *reason)
{
	note_attempt(m, c);
	m->stats.failures++;
	note(m, broker, reason);
	if (m->ops->failed)
		m->ops->failed(broker, reason, m->user);
}

/* --- connections are freed from a defer source: never inside their own ops --- */

static void tidy_soon(struct mqtt *m)
{
	sd_event_source_set_enabled(m->tidy, SD_EVENT_ONESHOT);
}

static int on_tidy(sd_event_source *source, void *user)
{
	struct mqtt *m = user;

	for (size_t i = 0; i < CONNS_MAX; i++) {
		uint64_t in, out;

		if (!m->conns[i] || !conn_is_dead(m->conns[i]) || conn_hangs(m->conns[i]))
			continue;
		conn_bytes(m->conns[i], &in, &out);
		m->bytes_in += in;
		m->bytes_out += out;
		conn_free(steal(m->conns[i]));
	}
	if (m->mode == STOPPING && !m->current) {
		m->mode = IDLE;
		sd_event_source_set_enabled(m->stop, SD_EVENT_OFF);
		if (m->ops->stopped)
			m->ops->stopped(m->user);
	}
	return 0;
}

static unsigned hanging(const struct mqtt *m, size_t broker)
{
	unsigned n = 0;

	for (size_t i = 0; i < CONNS_MAX; i++)
		if (m->conns[i] && conn_hangs(m->conns[i]) && conn_broker(m->conns[i]) == broker)
			n++;
	return n;
}

/* --- the choice --- */

static void on_up(struct conn *c, bool session_present, void *user)
{
	struct mqtt *m = user;
	struct conn *old;

	if (c == m->better) {
		m->better = NULL;
		old = m->current;
		m->current = c;
		conn_close(old);
		mqtt_go_offline(m, conn_broker(c) == conn_broker(old)
					   ? RENEWED
					   : "a preferred broker answers again");
	}
	note_attempt(m, c);
	if (m->mode == RUNNING)
		mqtt_go_online(m, session_present);
}

static void pause_then_retry(struct mqtt *m)
{
	const struct mqtt_options *o = &m->settings.options;
	uint64_t ms = o->backoff_min_ms;

	for (unsigned i = 0; i < m->rounds && ms < o->backoff_max_ms; i++)
		ms *= 2;
	if (ms > o->backoff_max_ms)
		ms = o->backoff_max_ms;
	m->rounds++;
	m->next_broker = 0;
	ms = ms / 2 + arc4random_uniform((uint32_t)ms + 1);
	sd_event_source_set_time_relative(m->retry, ms * 1000);
	sd_event_source_set_enabled(m->retry, SD_EVENT_ONESHOT);
}

static int connect_to(struct mqtt *m, size_t broker, struct conn **ret);

static void try_better(struct mqtt *m, size_t broker)
{
	m->better_at = choice_now(CLOCK_MONOTONIC);
	for (; broker < conn_broker(m->current); broker++)
		if (connect_to(m, broker, &m->better) == 0)
			return;
}

static void better_failed(struct mqtt *m, const char *reason)
{
	struct conn *c = steal(m->better);

	note_failure(m, c, conn_broker(c), reason);
	if (m->online && m->mode == RUNNING)
		try_better(m, conn_broker(c) + 1);
}

/* After the connection that counted has ended, whatever it was. */
static void carry_on(struct mqtt *m, bool was_online)
{
	if (m->mode != RUNNING || m->current)
		return;
	if (m->better)
		m->current = steal(m->better);
	else if (was_online)
		pause_then_retry(m);
	else
		try_next(m);
}

static void on_down(struct conn *c, const char *reason, void *user)
{
	struct mqtt *m = user;
	bool was_online = m->online;

	tidy_soon(m);
	if (c == m->better) {
		better_failed(m, reason);
		return;
	}
	if (c != m->current)
		return;
	m->current = NULL;
	m->next_broker = conn_broker(c) + 1;
	if (was_online && m->better && conn_broker(m->better) == conn_broker(c)) {
		/* The broker ends the old one itself, perhaps before we know of the new one: one
		 * client id, one connection. */
		mqtt_go_offline(m, RENEWED);
	} else if (was_online) {
		if (m->mode == RUNNING) {
			m->stats.drops++;
			note(m, conn_broker(c), reason);
		}
		mqtt_go_offline(m, reason);
	} else {
		note_failure(m, c, conn_broker(c), reason);
	}
	carry_on(m, was_online);
}

static void on_ended(struct conn *c, void *user)
{
	tidy_soon(user);
}

static void on_tick(struct conn *c, void *user)
{
	struct mqtt *m = user;
	const struct mqtt_options *o = &m->settings.options;
	uint64_t now = choice_now(CLOCK_MONOTONIC);

	if (c != m->current || m->mode != RUNNING)
		return;
	mqtt_subscribe_due(m, now);
	if (flights_overdue(&m->flights, now)) {
		conn_drop(c);
		on_down(c, "timed out: the broker does not acknowledge", m);
	} else if (m->tiny) {
		conn_drop(c);
		on_down(c, "the broker takes no packet as large as a subscription", m);
	} else if (m->refresh && !m->better && !m->flights.n) {
		m->refresh = false;
		(void)connect_to(m, conn_broker(c), &m->better);
	} else if (conn_broker(c) > 0 && !m->better && !m->flights.n &&
		   now - m->better_at >= o->preferred_retry_s * UINT64_C(1000000)) {
		try_better(m, 0);
	}
}

static const struct conn_ops conn_ops = {
	.up = on_up,
	.down = on_down,
	.published = mqtt_on_published,
	.subscribed = mqtt_on_subscribed,
	.message = mqtt_on_message,
	.tick = on_tick,
	.ended = on_ended,
};

/* A failure is noted here; then the caller turns to the next broker. */
static int connect_to(struct mqtt *m, size_t broker, struct conn **ret)
{
	size_t i = 0;
	int r = -ENOBUFS;

	if (hanging(m, broker) >= HANGING_PER_BROKER) {
		note_failure(m, NULL, broker, "timed out: earlier attempts still hang");
		return -EBUSY;
	}
	while (i < CONNS_MAX && m->conns[i])
		i++;
	if (i < CONNS_MAX)
		r = conn_open(m->event, &m->settings.options, broker, &conn_ops, m, &m->conns[i]);
	if (r < 0)
		note_failure(m, NULL, broker, "out of memory or threads");
	else
		*ret = m->conns[i];
	return r;
}

static void try_next(struct mqtt *m)
{
	while (m->mode == RUNNING && m->next_broker < m->settings.options.n_brokers)
		if (connect_to(m, m->next_broker++, &m->current) == 0)
			return;
	if (m->mode == RUNNING)
		pause_then_retry(m);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *user)
{
	struct mqtt *m = user;

	if (m->mode == RUNNING && !m->current)
		try_next(m);
	return 0;
}

static int on_stop_timer(sd_event_source *source, uint64_t usec, void *user)
{
	struct mqtt *m = user;
	struct conn *c = m->current;

	if (!c)
		return 0;
	if (conn_is_up(c)) {
		sd_event_source_set_time_relative(source, m->settings.options.stop_timeout_ms *
								  UINT64_C(250));
		sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
		conn_close(c);
	} else {
		conn_drop(c);
		on_down(c, "stopped", m);
	}
	return 0;
}

int choice_init(struct mqtt *m)
{
	int r;

	r = sd_event_add_time(m->event, &m->retry, CLOCK_MONOTONIC, 0, 1000, on_retry, m);
	if (r < 0)
		return r;
	r = sd_event_source_set_enabled(m->retry, SD_EVENT_OFF);
	if (r < 0)
		return r;
	r = sd_event_add_time(m->event, &m->stop, CLOCK_MONOTONIC, 0, 1000, on_stop_timer, m);
	if (r < 0)
		return r;
	r = sd_event_source_set_enabled(m->stop, SD_EVENT_OFF);
	if (r < 0)
		return r;
	r = sd_event_add_defer(m->event, &m->tidy, on_tidy, m);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(m->tidy, SD_EVENT_OFF);
}

void choice_deinit(struct mqtt *m)
{
	for (size_t i = 0; i < CONNS_MAX; i++)
		conn_free(m->conns[i]);
	sd_event_source_disable_unref(m->retry);
	sd_event_source_disable_unref(m->stop);
	sd_event_source_disable_unref(m->tidy);
}

void choice_begin(struct mqtt *m)
{
	m->mode = RUNNING;
	m->rounds = 0;
	m->next_broker = 0;
	sd_event_source_set_time_relative(m->retry, 0);
	sd_event_source_set_enabled(m->retry, SD_EVENT_ONESHOT);
}

void choice_stop(struct mqtt *m)
{
	m->mode = STOPPING;
	sd_event_source_set_enabled(m->retry, SD_EVENT_OFF);
	if (m->better)
		conn_drop(steal(m->better));
	if (m->current && !m->online)
		conn_drop(steal(m->current));
	tidy_soon(m);
	if (!m->current)
		return;
	sd_event_source_set_time_relative(m->stop,
					  m->settings.options.stop_timeout_ms * UINT64_C(750));
	sd_event_source_set_enabled(m->stop, SD_EVENT_ONESHOT);
}
