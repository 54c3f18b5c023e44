/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Shared by the tests of mqtt: a client that writes down what it was told, and the surroundings of a
 * test, among them listeners and brokers that misbehave.
 */
#include <sys/epoll.h>

#include "fixture.h"
#include "link/mqtt.h"

#define ROWS	 512
#define MESSAGES 512

struct heard {
	char topic[64];
	uint8_t payload[64]; /* its beginning */
	size_t len;
	int qos;
	bool retain, has_expiry;
	uint32_t expiry_s;
	uint8_t correlation[64];
	size_t correlation_len;
	char response_topic[64], content_type[64];
};

struct client {
	sd_event *event;
	struct mqtt *mqtt;
	struct mqtt_broker brokers[4];
	struct mqtt_options options;
	size_t broker;
	bool session_present;
	unsigned online, offline, failed, stopped, oversized, subscribed, before_online;
	char offline_reason[160], failed_reason[160];
	size_t failed_broker;
	uint8_t acked[ROWS], rejected[ROWS], lost[ROWS]; /* how often each row was named */
	unsigned n_acked, n_rejected, n_lost;
	uint8_t reject_reason, subscribe_code;
	size_t oversized_len;
	struct heard heard[MESSAGES];
	unsigned n_heard;
	void (*when_online)(struct client *c);
	void (*when_lost)(struct client *c, int64_t row);
	void (*when_heard)(struct client *c);
};

static inline void client_online(size_t broker, bool session_present, void *user)
{
	struct client *c = user;

	assert_true(mqtt_online(c->mqtt));
	c->online++;
	c->broker = broker;
	c->session_present = session_present;
	if (c->when_online)
		c->when_online(c);
}

static inline void client_offline(const char *reason, void *user)
{
	struct client *c = user;

	assert_false(mqtt_online(c->mqtt));
	c->offline++;
	assert_int_equal(c->offline, c->online);
	snprintf(c->offline_reason, sizeof(c->offline_reason), "%s", reason);
}

static inline void client_failed(size_t broker, const char *reason, void *user)
{
	struct client *c = user;

	c->failed++;
	c->failed_broker = broker;
	snprintf(c->failed_reason, sizeof(c->failed_reason), "%s", reason);
}

static inline void client_message(const struct mqtt_message *m, void *user)
{
	struct client *c = user;
	struct heard *h = &c->heard[c->n_heard++ % MESSAGES];

	c->before_online += c->online == 0;
	*h = (struct heard){.len = m->payload.len,
			    .qos = m->qos,
			    .retain = m->retain,
			    .has_expiry = m->has_expiry,
			    .expiry_s = m->expiry_s,
			    .correlation_len = m->correlation.len};
	snprintf(h->topic, sizeof(h->topic), "%s", m->topic);
	memcpy(h->payload, m->payload.data ? m->payload.data : (const uint8_t *)"",
	       m->payload.len < sizeof(h->payload) ? m->payload.len : sizeof(h->payload));
	assert_in_range(m->correlation.len, 0, sizeof(h->correlation));
	if (m->correlation.len)
		memcpy(h->correlation, m->correlation.data, m->correlation.len);
	snprintf(h->response_topic, sizeof(h->response_topic), "%s",
		 m->response_topic ? m->response_topic : "");
	snprintf(h->content_type, sizeof(h->content_type), "%s",
		 m->content_type ? m->content_type : "");
	if (c->when_heard)
		c->when_heard(c);
}

static inline void client_acked(int64_t row, void *user)
{
	struct client *c = user;

	assert_in_range(row, 1, ROWS - 1);
	c->acked[row]++;
	c->n_acked++;
	assert_false(mqtt_in_flight(c->mqtt, row));
}

static inline void client_rejected(int64_t row, uint8_t reason, void *user)
{
	struct client *c = user;

	assert_in_range(row, 1, ROWS - 1);
	c->rejected[row]++;
	c->n_rejected++;
	c->reject_reason = reason;
}

static inline void client_lost(int64_t row, void *user)
{
	struct client *c = user;

	assert_in_range(row, 1, ROWS - 1);
	c->lost[row]++;
	c->n_lost++;
	if (c->when_lost)
		c->when_lost(c, row);
}

static inline void client_subscribed(int subscription, uint8_t code, void *user)
{
	struct client *c = user;

	c->subscribed++;
	c->subscribe_code = code;
}

static inline void client_oversized(const char *topic, size_t len, void *user)
{
	struct client *c = user;

	c->oversized++;
	c->oversized_len = len;
}

static inline void client_stopped(void *user)
{
	struct client *c = user;

	c->stopped++;
}

static const struct mqtt_ops client_ops = {
	.online = client_online,
	.offline = client_offline,
	.failed = client_failed,
	.message = client_message,
	.acked = client_acked,
	.rejected = client_rejected,
	.lost = client_lost,
	.subscribed = client_subscribed,
	.oversized = client_oversized,
	.stopped = client_stopped,
};

/* One broker on loopback, quick pauses. Change c->options, then client_start(). */
static inline void client_init(struct client *c, sd_event *event, const char *id, uint16_t port)
{
	*c = (struct client){.event = event};
	c->brokers[0] = (struct mqtt_broker){.host = "127.0.0.1", .port = port};
	c->options = (struct mqtt_options){.n_brokers = 1,
					   .client_id = id,
					   .keepalive_s = 30,
					   .clean_start = true,
					   .backoff_min_ms = 20,
					   .backoff_max_ms = 100,
					   .connect_timeout_ms = 3000};
}

static inline void client_start(struct client *c)
{
	c->options.brokers = c->brokers;
	assert_int_equal(mqtt_new(c->event, &c->options, &client_ops, c, &c->mqtt), 0);
	assert_int_equal(mqtt_start(c->mqtt), 0);
	assert_int_equal(mqtt_start(c->mqtt), -EBUSY);
}

static inline void client_free(struct client *c)
{
	mqtt_free(c->mqtt);
	c->mqtt = NULL;
}

static inline void client_wait_online(struct client *c)
{
	if (!fixture_until(c->event, 10000, mqtt_online(c->mqtt)))
		fail_msg("not online: %s", c->failed_reason);
}

static inline void client_connect(struct client *c, sd_event *event, const char *id, uint16_t port)
{
	client_init(c, event, id, port);
	client_start(c);
	client_wait_online(c);
}

/* Subscribes, and waits for the answer. */
static inline void client_subscribe(struct client *c, const char *topic, unsigned flags)
{
	unsigned before = c->subscribed;

	assert_true(mqtt_subscribe(c->mqtt, topic, 1, flags) >= 0);
	assert_true(fixture_until(c->event, 5000, c->subscribed > before));
	assert_int_equal(c->subscribe_code, 1);
}

static inline int client_publish(struct client *c, const char *topic, const char *text, int64_t row)
{
	return mqtt_publish(
		c->mqtt,
		&(struct mqtt_publish){.topic = topic, .payload = span_str(text), .qos = 1}, row);
}

struct test {
	sd_event *event;
	struct fixture_broker broker, second;
	struct client a, b;
	struct fixture_gap gap;
	char dir[64];
	int fds[8];
	unsigned n_fds;
	sd_event_source *fake;
};

static inline int set_up(void **state)
{
	struct test *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	assert_true(sd_event_new(&t->event) >= 0);
	fixture_dir(t->dir);
	*state = t;
	return 0;
}

static inline int tear_down(void **state)
{
	struct test *t = *state;

	client_free(&t->a);
	client_free(&t->b);
	sd_event_source_disable_unref(t->fake);
	sd_event_source_disable_unref(t->gap.source);
	fixture_broker_end(&t->broker);
	fixture_broker_end(&t->second);
	for (unsigned i = 0; i < t->n_fds; i++)
		close(t->fds[i]);
	fixture_dir_remove(t->dir);
	sd_event_unref(t->event);
	free(t);
	return 0;
}

static inline char *in_dir(struct test *t, const char *name, char path[128])
{
	snprintf(path, 128, "%s/%s", t->dir, name);
	return path;
}

/* A listener of which nobody ever accepts: the kernel completes the connection, and that is all. */
static inline uint16_t silent_listener(struct test *t, int backlog)
{
	uint16_t port;
	int fd = fixture_bind(SOCK_STREAM, &port);

	assert_int_equal(listen(fd, backlog), 0);
	t->fds[t->n_fds++] = fd;
	return port;
}

static inline void start_and_fail(struct test *t, const char *reason)
{
	fixture_gap_start(&t->gap, t->event);
	client_start(&t->a);
	assert_true(fixture_until(t->event, 10000, t->a.failed >= 1));
	assert_string_equal(t->a.failed_reason, reason);
	assert_int_equal(t->a.online, 0);
}

/* For what takes an attempt that got far enough: on a busy machine an earlier one may run out of time
 * before it does. */
static inline void start_and_fail_in_time(struct test *t, const char *reason)
{
	fixture_gap_start(&t->gap, t->event);
	client_start(&t->a);
	assert_true(fixture_until(t->event, 30000, strcmp(t->a.failed_reason, reason) == 0));
	assert_int_equal(t->a.online, 0);
}

/* --- a broker made of bytes --- */

struct fake {
	struct test *t;
	const uint8_t *answer;
	size_t len;
	bool reset;
	unsigned connects;
};

static inline int on_fake_connect(sd_event_source *source, int fd, uint32_t revents, void *user)
{
	struct fake *f = user;
	const struct linger hard = {.l_onoff = 1};
	uint8_t hello[512];
	int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	assert_true(client >= 0);
	f->connects++;
	assert_true(read(client, hello, sizeof(hello)) > 0);
	if (f->len)
		assert_int_equal(write(client, f->answer, f->len), f->len);
	if (f->reset)
		setsockopt(client, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	else
		usleep(20000);
	close(client);
	return 0;
}

static inline uint16_t fake_broker(struct test *t, struct fake *f)
{
	uint16_t port = silent_listener(t, 16);

	f->t = t;
	assert_true(sd_event_add_io(t->event, &t->fake, t->fds[t->n_fds - 1], EPOLLIN,
				    on_fake_connect, f) >= 0);
	return port;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
