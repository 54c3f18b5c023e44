// SPDX-License-Identifier: Apache-2.0
/* One MQTT client per broker, and a queue each. See session.h. */
#include "desk/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/crypto.h"
#include "desk/brokers.h"
#include "desk/registry.h"

#define QUIET_US       (150 * 1000ULL)	/* without a message: the retained ones have come */
#define SETTLE_US      (5000 * 1000ULL) /* a broker that never falls silent has settled too */
#define STOP_US	       (1000 * 1000ULL)
#define ROWS	       64
#define RECEIVE_MAX    1000
#define BACKOFF_MS     250
#define BACKOFF_MAX_MS 10000

struct item {
	struct item *next;
	int64_t row;
	bool in_flight, retain, once;
	char topic[TOPIC_MAX];
	uint32_t expiry_s;
	uint8_t correlation[CORRELATION_MAX];
	size_t correlation_len;
	size_t len;
	uint8_t payload[];
};

struct link {
	struct session *session;
	size_t index;
	struct mqtt *mqtt;
	struct item *first, *last;
	sd_event_source *quiet;
	uint64_t online_at; /* us */
	int subscriptions;
	unsigned answered; /* a bit each */
	bool settled, tried;
	char trouble[256];
};

struct session {
	struct session_ops ops;
	void *user;
	sd_event *event;
	char root[ROOT_TOPIC_MAX + 1];
	size_t stopped;
	int64_t rows;
	size_t n;
	struct link links[MQTT_BROKERS_MAX];
};

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* --- queue ------------------------------------------------------------------------------------ */

static void drop_row(struct link *l, int64_t row)
{
	struct item *before = NULL, *item = l->first;

	while (item && item->row != row) {
		before = item;
		item = item->next;
	}
	if (!item)
		return;
	if (before)
		before->next = item->next;
	else
		l->first = item->next;
	if (l->last == item)
		l->last = before;
	free(item);
}

static void pump(struct link *l)
{
	struct item *next;

	for (struct item *i = l->first; i && mqtt_room(l->mqtt) > 0; i = next) {
		const struct mqtt_publish publish = {
			.topic = i->topic,
			.payload = span_of(i->payload, i->len),
			.qos = 1,
			.retain = i->retain,
			.expiry_s = i->expiry_s,
			.correlation = span_of(i->correlation, i->correlation_len),
		};
		int r;

		next = i->next;
		if (i->in_flight)
			continue;
		r = mqtt_publish(l->mqtt, &publish, i->row);
		if (r == -ENOBUFS || r == -ENOTCONN)
			return;
		if (r == 0) {
			i->in_flight = true;
			continue;
		}
		snprintf(l->trouble, sizeof(l->trouble), "the broker cannot take %s: %s", i->topic,
			 strerror(-r));
		drop_row(l, i->row);
	}
}

static void on_acked(int64_t row, void *user)
{
	struct link *l = user;

	drop_row(l, row);
	pump(l);
}

static void on_rejected(int64_t row, uint8_t reason, void *user)
{
	struct link *l = user;

	snprintf(l->trouble, sizeof(l->trouble), "the broker refused a message (0x%02x)", reason);
	on_acked(row, user);
}

static void on_lost(int64_t row, void *user)
{
	struct link *l = user;

	for (struct item *i = l->first; i; i = i->next) {
		if (i->row != row)
			continue;
		i->in_flight = false;
		if (i->once)
			drop_row(l, row);
		return;
	}
}

/* --- settling --------------------------------------------------------------------------------- */

static int on_quiet(sd_event_source *source, uint64_t usec, void *user)
{
	struct link *l = user;

	if (l->settled || !mqtt_online(l->mqtt))
		return 0;
	l->settled = true;
	if (l->session->ops.settled)
		l->session->ops.settled(l->index, l->session->user);
	return 0;
}

/* A message or a grant came: wait for silence from here on, but not for ever. */
static void not_yet_quiet(struct link *l)
{
	uint64_t now = now_us(), until = now + QUIET_US;

	if (l->settled || l->answered != (1u << l->subscriptions) - 1)
		return;
	if (until > l->online_at + SETTLE_US)
		until = l->online_at + SETTLE_US;
	if (l->quiet) {
		sd_event_source_set_time(l->quiet, until);
		sd_event_source_set_enabled(l->quiet, SD_EVENT_ONESHOT);
		return;
	}
	sd_event_add_time(l->session->event, &l->quiet, CLOCK_MONOTONIC, until, 10000, on_quiet, l);
}

static void on_subscribed(int subscription, uint8_t code, void *user)
{
	struct link *l = user;

	if (code >= 0x80)
		snprintf(l->trouble, sizeof(l->trouble),
			 "the broker refused a subscription (0x%02x)", code);
	l->answered |= 1u << subscription; /* may come once more: it is asked again when refused */
	not_yet_quiet(l);
}

/* --- connection ------------------------------------------------------------------------------- */

static void on_online(size_t broker, bool session_present, void *user)
{
	struct link *l = user;

	l->trouble[0] = '\0';
	l->settled = false;
	l->tried = true;
	l->answered = 0;
	l->online_at = now_us();
	not_yet_quiet(l);
	if (l->session->ops.online)
		l->session->ops.online(l->index, l->session->user);
	pump(l);
}

static void on_offline(const char *reason, void *user)
{
	struct link *l = user;

	snprintf(l->trouble, sizeof(l->trouble), "%s", reason);
	l->settled = false;
	if (l->session->ops.offline)
		l->session->ops.offline(l->index, reason, l->session->user);
}

static void on_failed(size_t broker, const char *reason, void *user)
{
	struct link *l = user;

	snprintf(l->trouble, sizeof(l->trouble), "%s", reason);
	l->tried = true;
	if (l->session->ops.failed)
		l->session->ops.failed(l->index, l->session->user);
}

static void on_message(const struct mqtt_message *message, void *user)
{
	struct link *l = user;
	struct topic topic;

	not_yet_quiet(l);
	topic_parse(l->session->root, message->topic, &topic);
	if (topic.kind != TOPIC_OTHER && l->session->ops.message)
		l->session->ops.message(&topic, message, l->index, l->session->user);
}

static void on_stopped(void *user)
{
	struct link *l = user;

	l->session->stopped++;
}

static const struct mqtt_ops link_ops = {
	.online = on_online,
	.offline = on_offline,
	.failed = on_failed,
	.message = on_message,
	.acked = on_acked,
	.rejected = on_rejected,
	.lost = on_lost,
	.subscribed = on_subscribed,
	.stopped = on_stopped,
};

static int link_init(struct session *s, struct link *l, const struct mqtt_broker *broker,
		     const struct session_options *options)
{
	uint8_t random[8];
	char id[64];
	struct mqtt_options o = {
		.brokers = broker,
		.n_brokers = 1,
		.client_id = options->client_id,
		.session_expiry_s = options->expiry_s,
		.clean_start = !options->client_id,
		.receive_maximum = RECEIVE_MAX,
		.rows_maximum = ROWS,
		.backoff_min_ms = BACKOFF_MS,
		.backoff_max_ms = BACKOFF_MAX_MS,
	};

	if (!options->client_id) {
		crypto_random(random, sizeof(random));
		memcpy(id, "desk-", 5);
		hex_encode(SPAN(random), id + 5, sizeof(id) - 5);
		o.client_id = id;
	}
	l->session = s;
	l->index = s->n;
	return mqtt_new(s->event, &o, &link_ops, l, &l->mqtt);
}

int session_new(sd_event *event, const struct desk *desk, const struct session_options *options,
		const struct session_ops *ops, void *user, struct session **ret)
{
	cleanup(session_freep) struct session *s = calloc(1, sizeof(*s));
	struct brokers brokers;
	int r;

	if (!s)
		return -ENOMEM;
	s->ops = *ops;
	s->user = user;
	s->event = sd_event_ref(event);
	if (setting_get(desk->db, "root-topic", s->root, sizeof(s->root)) < 0)
		snprintf(s->root, sizeof(s->root), "lockbridge");
	r = brokers_load(desk->db, &brokers);
	if (r < 0)
		return r;
	for (; s->n < brokers.n; s->n++) {
		r = link_init(s, &s->links[s->n], &brokers.list[s->n], options);
		if (r < 0)
			return r;
	}
	*ret = steal(s);
	return 0;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++) {
		mqtt_free(s->links[i].mqtt);
		sd_event_source_disable_unref(s->links[i].quiet);
		while (s->links[i].first)
			drop_row(&s->links[i], s->links[i].first->row);
	}
	sd_event_unref(s->event);
	free(s);
}

void session_freep(struct session **s)
{
	session_free(*s);
}

int session_start(struct session *s)
{
	for (size_t i = 0; i < s->n; i++) {
		int r = mqtt_start(s->links[i].mqtt);

		if (r < 0)
			return r;
	}
	return 0;
}

void session_close(struct session **sp)
{
	struct session *s = steal(*sp);
	uint64_t until = now_us() + STOP_US;

	if (!s)
		return;
	s->ops = (struct session_ops){0};
	for (size_t i = 0; i < s->n; i++)
		mqtt_stop(s->links[i].mqtt, NULL);
	while (s->stopped < s->n && now_us() < until)
		if (sd_event_run(s->event, 50000) < 0)
			break;
	session_free(s);
}

/* --- topics ----------------------------------------------------------------------------------- */

static int subscribe(struct session *s, const char *filter)
{
	for (size_t i = 0; i < s->n; i++) {
		int r = mqtt_subscribe(s->links[i].mqtt, filter, 1, 0);

		if (r < 0)
			return r;
		if (r >= s->links[i].subscriptions)
			s->links[i].subscriptions = r + 1;
	}
	return 0;
}

int session_subscribe(struct session *s, enum topic_kind kind, const char *gateway,
		      const char *name)
{
	struct topic topic = {.kind = kind};
	char filter[TOPIC_MAX];

	snprintf(topic.gateway, sizeof(topic.gateway), "%s", gateway);
	snprintf(topic.name, sizeof(topic.name), "%s", name ? name : "");
	topic_encode(s->root, &topic, filter);
	return subscribe(s, filter);
}

int session_subscribe_city(struct session *s)
{
	char filter[TOPIC_MAX];

	snprintf(filter, sizeof(filter), "%s/city/#", s->root);
	return subscribe(s, filter);
}

static bool says(const struct item *i, const char *topic, const struct session_message *m)
{
	return !strcmp(i->topic, topic) && i->retain == m->retain && i->len == m->payload.len &&
	       i->correlation_len == 0 && m->correlation.len == 0 &&
	       (i->len == 0 || memcmp(i->payload, m->payload.data, i->len) == 0);
}

/* A broker may be away for weeks, and who is behind on it is sent the same again and again: that waits
 * once. Of what is retained the newest is enough. */
static bool waits_already(struct link *l, const char *topic, const struct session_message *m)
{
	struct item *next;

	for (struct item *i = l->first; i; i = next) {
		next = i->next;
		if (i->in_flight)
			continue;
		if (says(i, topic, m))
			return true;
		if (i->retain && m->retain && !strcmp(i->topic, topic))
			drop_row(l, i->row);
	}
	return false;
}

static int queue(struct session *s, struct link *l, const char *topic,
		 const struct session_message *m)
{
	struct item *i = calloc(1, sizeof(*i) + m->payload.len);

	if (!i)
		return -ENOMEM;
	i->row = ++s->rows;
	i->retain = m->retain;
	i->once = m->once;
	i->expiry_s = m->expiry_s;
	snprintf(i->topic, sizeof(i->topic), "%s", topic);
	i->correlation_len = m->correlation.len;
	if (m->correlation.len)
		memcpy(i->correlation, m->correlation.data, m->correlation.len);
	i->len = m->payload.len;
	if (m->payload.len)
		memcpy(i->payload, m->payload.data, m->payload.len);
	if (l->last)
		l->last->next = i;
	else
		l->first = i;
	l->last = i;
	pump(l);
	return 0;
}

static int send_to_all(struct session *s, const char *topic, const struct session_message *m)
{
	if (m->correlation.len > CORRELATION_MAX)
		return -EINVAL;
	for (size_t i = 0; i < s->n; i++) {
		/* What may be lost does not wait for a broker that is away. */
		struct link *l = &s->links[i];
		bool online = mqtt_online(l->mqtt);
		int r = !online && (m->once || waits_already(l, topic, m)) ? 0
									   : queue(s, l, topic, m);

		if (r < 0)
			return r;
	}
	return 0;
}

int session_send(struct session *s, const struct session_message *message)
{
	char topic[TOPIC_MAX];

	topic_encode(s->root, &message->topic, topic);
	return send_to_all(s, topic, message);
}

int session_send_city(struct session *s, const char *slot, struct span document)
{
	const struct session_message m = {.payload = document, .retain = true};
	char topic[TOPIC_MAX];

	snprintf(topic, sizeof(topic), "%s/city/%s", s->root, slot);
	return send_to_all(s, topic, &m);
}

int session_send_gateway(struct session *s, enum topic_kind kind, const char *gateway,
			 struct span payload)
{
	struct session_message m = {.topic.kind = kind, .payload = payload};

	snprintf(m.topic.gateway, sizeof(m.topic.gateway), "%s", gateway);
	return session_send(s, &m);
}

/* --- asking ----------------------------------------------------------------------------------- */

size_t session_brokers(const struct session *s)
{
	return s->n;
}

size_t session_online(const struct session *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		n += mqtt_online(s->links[i].mqtt);
	return n;
}

size_t session_settled(const struct session *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		n += mqtt_online(s->links[i].mqtt) && s->links[i].settled;
	return n;
}

bool session_all_told(const struct session *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (!s->links[i].tried || (mqtt_online(s->links[i].mqtt) && !s->links[i].settled))
			return false;
	return true;
}

size_t session_waiting(const struct session *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		if (mqtt_online(s->links[i].mqtt))
			for (const struct item *k = s->links[i].first; k; k = k->next)
				n++;
	return n;
}

const char *session_trouble(const struct session *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->links[i].trouble[0])
			return s->links[i].trouble;
	return "";
}

const char *session_root(const struct session *s)
{
	return s->root;
}
