/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes over the connection that stands: rows, subscriptions, messages. Which connection that
 * is, is decided in mqtt-choice.c.
 */
#include "link/mqtt.h"

#include <errno.h>
#include <mosquitto.h>
#include <stdlib.h>
#include <time.h>

#include "link/mqtt-private.h"

#define HELD_MAX_MS	  10000u
#define SUBSCRIBE_DOUBLED 4 /* a subscription's pause, at most so often */

/* --- rows and subscriptions --- */

void mqtt_on_published(struct conn *c, uint16_t mid, uint8_t reason, void *user)
{
	struct mqtt *m = user;
	struct flight f;

	if (c != m->current || !flights_take(&m->flights, mid, &f))
		return;
	if (reason < 0x80)
		m->stats.acked++;
	else
		m->stats.rejected++;
	if (f.row && reason < 0x80 && m->ops->acked)
		m->ops->acked(f.row, m->user);
	if (f.row && reason >= 0x80 && m->ops->rejected)
		m->ops->rejected(f.row, reason, m->user);
	if (m->mode == STOPPING && !m->flights.n && m->current)
		conn_close(m->current);
}

void mqtt_on_subscribed(struct conn *c, uint16_t mid, uint8_t code, void *user)
{
	struct mqtt *m = user;

	for (size_t i = 0; c == m->current && i < m->n_subscriptions; i++) {
		if (m->subscriptions[i].mid != mid)
			continue;
		m->subscriptions[i].mid = 0;
		if (code < 0x80)
			m->subscriptions[i].due = 0;
		if (m->ops->subscribed)
			m->ops->subscribed((int)i, code, m->user);
		return;
	}
}

void mqtt_on_message(struct conn *c, const struct mqtt_message *msg, void *user)
{
	struct mqtt *m = user;

	/* Of a connection on its way out as well: the library has acknowledged them already. */
	m->stats.messages_in++;
	if (msg->payload.len > m->settings.options.max_payload) {
		m->stats.oversized++;
		if (m->ops->oversized)
			m->ops->oversized(msg->topic, msg->payload.len, m->user);
	} else if (m->ops->message) {
		m->ops->message(msg, m->user);
	}
}

static int send_subscription(struct mqtt *m, struct subscription *s)
{
	unsigned pauses = s->sent < SUBSCRIBE_DOUBLED ? s->sent : SUBSCRIBE_DOUBLED;
	uint64_t pause = (uint64_t)m->settings.options.ack_timeout_ms << pauses;
	int r;

	s->mid = 0;
	s->due = choice_now(CLOCK_MONOTONIC) + pause * 1000;
	s->sent++;
	r = conn_subscribe(m->current, s->topic, s->qos, s->flags, &s->mid);
	m->tiny |= r == -EMSGSIZE;
	return r;
}

void mqtt_subscribe_due(struct mqtt *m, uint64_t now)
{
	for (size_t i = 0; m->online && i < m->n_subscriptions; i++)
		if (m->subscriptions[i].due && now >= m->subscriptions[i].due)
			send_subscription(m, &m->subscriptions[i]);
}

/* --- on and off --- */

void mqtt_go_online(struct mqtt *m, bool session_present)
{
	size_t broker = conn_broker(m->current);

	m->online = true;
	m->refresh = m->tiny = false;
	m->up_at = m->better_at = choice_now(CLOCK_MONOTONIC);
	m->stats.connects++;
	m->stats.broker = broker;
	m->stats.online_since = choice_now(CLOCK_BOOTTIME);
	for (size_t i = 0; i < m->n_subscriptions; i++) {
		m->subscriptions[i].sent = 0;
		send_subscription(m, &m->subscriptions[i]);
	}
	if (m->ops->online)
		m->ops->online(broker, session_present, m->user);
}

/* A connection that stood for so long has held. */
static uint64_t held_usec(const struct mqtt *m)
{
	unsigned ms = m->settings.options.backoff_max_ms;

	return (ms < HELD_MAX_MS ? ms : HELD_MAX_MS) * UINT64_C(1000);
}

void mqtt_go_offline(struct mqtt *m, const char *reason)
{
	struct flights gone = m->flights;

	if (choice_now(CLOCK_MONOTONIC) - m->up_at >= held_usec(m))
		m->rounds = 0;
	m->online = false;
	m->flights = (struct flights){0};
	for (unsigned i = 0; i < gone.n; i++) {
		if (!gone.list[i].row)
			continue;
		m->stats.lost++;
		if (m->ops->lost)
			m->ops->lost(gone.list[i].row, m->user);
	}
	if (m->ops->offline)
		m->ops->offline(reason, m->user);
}

/* --- from above --- */

int mqtt_new(sd_event *event, const struct mqtt_options *options, const struct mqtt_ops *ops,
	     void *user, struct mqtt **ret)
{
	cleanup(mqtt_freep) struct mqtt *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	mosquitto_lib_init();
	m->event = sd_event_ref(event);
	m->ops = ops;
	m->user = user;
	r = settings_copy(&m->settings, options);
	if (r < 0)
		return r;
	r = choice_init(m);
	if (r < 0)
		return r;
	*ret = steal(m);
	return 0;
}

void mqtt_free(struct mqtt *m)
{
	bool orphans = false;

	if (!m)
		return;
	for (size_t i = 0; i < CONNS_MAX; i++)
		orphans = orphans || (m->conns[i] && conn_has_thread(m->conns[i]));
	choice_deinit(m);
	for (size_t i = 0; i < m->n_subscriptions; i++)
		free(m->subscriptions[i].topic);
	settings_deinit(&m->settings);
	sd_event_unref(m->event);
	free(m);
	/* A thread left behind still uses the library. */
	if (!orphans)
		mosquitto_lib_cleanup();
}

void mqtt_freep(struct mqtt **m)
{
	mqtt_free(*m);
}

int mqtt_start(struct mqtt *m)
{
	if (m->mode != IDLE)
		return -EBUSY;
	choice_begin(m);
	return 0;
}

void mqtt_stop(struct mqtt *m, const struct mqtt_publish *last)
{
	if (m->mode == STOPPING)
		return;
	if (m->online && last)
		mqtt_publish(m, last, 0);
	choice_stop(m);
	if (m->current && !m->flights.n)
		conn_close(m->current);
}

static int check_publish(const struct mqtt *m, const struct mqtt_publish *p, int64_t row)
{
	if (!p->topic || p->qos < 0 || p->qos > 1 || row < 0 || (row && p->qos == 0) ||
	    p->correlation.len > MQTT_CORRELATION_MAX)
		return -EINVAL;
	if (!m->online || m->mode != RUNNING)
		return -ENOTCONN;
	if (p->payload.len > m->settings.options.max_payload)
		return -EMSGSIZE;
	if (row && flights_has_row(&m->flights, row))
		return -EALREADY;
	if (p->qos == 0)
		return 0;
	if (row && m->flights.rows >= m->settings.options.rows_maximum)
		return -ENOBUFS;
	return flights_fits(&m->flights, p->payload.len) ? 0 : -ENOBUFS;
}

int mqtt_publish(struct mqtt *m, const struct mqtt_publish *p, int64_t row)
{
	uint64_t patience;
	uint16_t mid;
	int r;

	r = check_publish(m, p, row);
	if (r < 0)
		return r;
	r = conn_publish(m->current, p, &mid);
	if (r < 0)
		return r;
	m->stats.messages_out++;
	if (p->qos == 0)
		return 0;
	patience = m->settings.options.ack_timeout_ms + m->flights.bytes + p->payload.len;
	flights_add(&m->flights, mid, row, p->payload.len,
		    choice_now(CLOCK_MONOTONIC) + patience * 1000);
	return 0;
}

int mqtt_refresh(struct mqtt *m)
{
	if (!m->online || m->mode != RUNNING)
		return -ENOTCONN;
	m->refresh = true;
	return 0;
}

bool mqtt_online(const struct mqtt *m)
{
	return m->online;
}

bool mqtt_in_flight(const struct mqtt *m, int64_t row)
{
	return row && flights_has_row(&m->flights, row);
}

unsigned mqtt_room(const struct mqtt *m)
{
	unsigned rows = m->settings.options.rows_maximum - m->flights.rows;
	unsigned all = MQTT_IN_FLIGHT_MAX - m->flights.n;

	if (!m->online || m->mode != RUNNING)
		return 0;
	return rows < all ? rows : all;
}

static int remember(struct mqtt *m, const char *topic)
{
	size_t i = 0;

	while (i < m->n_subscriptions && strcmp(m->subscriptions[i].topic, topic) != 0)
		i++;
	if (i < m->n_subscriptions)
		return (int)i;
	if (i == MQTT_SUBSCRIPTIONS_MAX)
		return -ENOBUFS;
	m->subscriptions[i].topic = strdup(topic);
	if (!m->subscriptions[i].topic)
		return -ENOMEM;
	m->n_subscriptions++;
	return (int)i;
}

int mqtt_subscribe(struct mqtt *m, const char *topic, int qos, unsigned flags)
{
	int i;

	if (qos < 0 || qos > 2 || mosquitto_sub_topic_check(topic) != MOSQ_ERR_SUCCESS)
		return -EINVAL;
	i = remember(m, topic);
	if (i < 0)
		return i;
	m->subscriptions[i].qos = qos;
	m->subscriptions[i].flags = flags;
	m->subscriptions[i].sent = 0;
	if (m->online)
		send_subscription(m, &m->subscriptions[i]);
	return i;
}

void mqtt_stats(const struct mqtt *m, struct mqtt_stats *ret)
{
	*ret = m->stats;
	ret->online = m->online;
	if (!m->online)
		ret->online_since = 0;
	ret->in_flight = m->flights.n;
	ret->bytes_in = m->bytes_in;
	ret->bytes_out = m->bytes_out;
	for (size_t i = 0; i < CONNS_MAX; i++) {
		uint64_t in, out;

		if (!m->conns[i])
			continue;
		ret->hanging += conn_hangs(m->conns[i]);
		conn_bytes(m->conns[i], &in, &out);
		ret->bytes_in += in;
		ret->bytes_out += out;
	}
}
