/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/link/mqtt against a real mosquitto: what goes over a connection, and what becomes of rows.
 * Name resolution, TLS and brokers that hang are in test-mqtt-trouble.c.
 */
#include "link/mqtt-flight.h"
#include "mqtt-client.h"

/* b listens to the topic, a is connected. */
static void two_clients(struct test *t, const char *topic, unsigned flags)
{
	fixture_broker_start(&t->broker, NULL);
	client_connect(&t->b, t->event, "listener", t->broker.port);
	client_subscribe(&t->b, topic, flags);
	client_connect(&t->a, t->event, "sender", t->broker.port);
}

static void a_publish_is_acked_by_its_row(void **state)
{
	struct test *t = *state;
	struct mqtt_stats stats;

	two_clients(t, "x/#", 0);
	assert_int_equal(client_publish(&t->a, "x/1", "one", 7), 0);
	assert_true(mqtt_in_flight(t->a.mqtt, 7));
	assert_int_equal(client_publish(&t->a, "x/1", "one", 7), -EALREADY);
	assert_true(fixture_until(t->event, 5000, t->a.n_acked == 1 && t->b.n_heard == 1));
	assert_int_equal(t->a.acked[7], 1);
	assert_string_equal(t->b.heard[0].topic, "x/1");
	assert_memory_equal(t->b.heard[0].payload, "one", 3);
	assert_int_equal(t->b.heard[0].qos, 1);
	assert_false(t->b.heard[0].retain);
	assert_false(t->b.heard[0].has_expiry);

	mqtt_stats(t->a.mqtt, &stats);
	assert_true(stats.online);
	assert_int_equal(stats.connects, 1);
	assert_int_equal(stats.messages_out, 1);
	assert_int_equal(stats.acked, 1);
	assert_int_equal(stats.in_flight, 0);
	if (!fixture_emulated()) { /* qemu-user passes no TCP_INFO on */
		assert_in_range(stats.bytes_out, 30, 300);
		assert_in_range(stats.bytes_in, 8, 200);
	}
	assert_string_equal(stats.last_error, "");
}

static void what_cannot_be_published_is_refused_at_once(void **state)
{
	struct test *t = *state;
	static const uint8_t big[MQTT_PAYLOAD_MAX + 1];
	const struct mqtt_publish large = {.topic = "x", .payload = SPAN(big), .qos = 1};
	const struct mqtt_publish qos2 = {.topic = "x", .qos = 2}, qos0 = {.topic = "x"};

	fixture_broker_start(&t->broker, NULL);
	client_init(&t->a, t->event, "sender", t->broker.port);
	client_start(&t->a);
	assert_int_equal(client_publish(&t->a, "x", "early", 1), -ENOTCONN);
	assert_int_equal(mqtt_room(t->a.mqtt), 0);
	client_wait_online(&t->a);
	assert_int_equal(mqtt_room(t->a.mqtt), 16);
	assert_int_equal(mqtt_publish(t->a.mqtt, &large, 1), -EMSGSIZE);
	assert_int_equal(mqtt_publish(t->a.mqtt, &qos2, 1), -EINVAL);
	assert_int_equal(mqtt_publish(t->a.mqtt, &qos0, 1), -EINVAL);
	assert_int_equal(client_publish(&t->a, "x/#", "wildcard", 1), -EINVAL);
	assert_int_equal(client_publish(&t->a, "x", "negative", -1), -EINVAL);
	assert_int_equal(mqtt_subscribe(t->a.mqtt, "x/#/y", 1, 0), -EINVAL);
	assert_false(mqtt_in_flight(t->a.mqtt, 1));
	assert_int_equal(mqtt_publish(t->a.mqtt, &qos0, 0), 0);
}

static void options_that_cannot_work_are_refused(void **state)
{
	struct test *t = *state;
	struct mqtt *m = NULL;
	struct mqtt_broker broker = {.host = "localhost", .cert_file = "/x"};
	struct mqtt_options o = {.brokers = &broker, .n_brokers = 1, .client_id = "a"};

	assert_int_equal(mqtt_new(t->event, &o, &client_ops, NULL, &m),
			 -EINVAL); /* a certificate alone */
	broker.cert_file = NULL;
	o.keepalive_s = 4;
	assert_int_equal(mqtt_new(t->event, &o, &client_ops, NULL, &m), -EINVAL);
	o.keepalive_s = 5;
	o.client_id = "";
	assert_int_equal(mqtt_new(t->event, &o, &client_ops, NULL, &m), -EINVAL);
	o.client_id = "a";
	o.n_brokers = 0;
	assert_int_equal(mqtt_new(t->event, &o, &client_ops, NULL, &m), -EINVAL);
	o.n_brokers = 1;
	assert_null(m);
	assert_int_equal(mqtt_new(t->event, &o, &client_ops, NULL, &m), 0);
	mqtt_free(m);
}

static void a_live_retained_publish_is_seen_as_retained(void **state)
{
	struct test *t = *state;
	struct mqtt_publish p = {
		.topic = "gw/1/authorize", .payload = span_str("old"), .qos = 1, .retain = true};

	fixture_broker_start(&t->broker, NULL);
	client_connect(&t->a, t->event, "sender", t->broker.port);
	assert_int_equal(mqtt_publish(t->a.mqtt, &p, 1), 0);
	assert_true(fixture_until(t->event, 5000, t->a.n_acked == 1));
	client_connect(&t->b, t->event, "gateway", t->broker.port);
	client_subscribe(&t->b, "gw/1/authorize",
			 MQTT_SEND_RETAIN_NEVER | MQTT_RETAIN_AS_PUBLISHED);
	p.payload = span_str("live");
	assert_int_equal(mqtt_publish(t->a.mqtt, &p, 2), 0);
	p.retain = false;
	p.payload = span_str("proper");
	assert_int_equal(mqtt_publish(t->a.mqtt, &p, 3), 0);
	assert_true(fixture_until(t->event, 5000, t->b.n_heard == 2));
	assert_memory_equal(t->b.heard[0].payload, "live", 4); /* what the broker kept never came */
	assert_true(t->b.heard[0].retain);
	assert_memory_equal(t->b.heard[1].payload, "proper", 6);
	assert_false(t->b.heard[1].retain);
}

static void what_the_broker_keeps_comes_with_a_plain_subscription(void **state)
{
	struct test *t = *state;
	const struct mqtt_publish p = {
		.topic = "city/policy", .payload = span_str("kept"), .qos = 1, .retain = true};

	fixture_broker_start(&t->broker, NULL);
	client_connect(&t->a, t->event, "sender", t->broker.port);
	assert_int_equal(mqtt_publish(t->a.mqtt, &p, 1), 0);
	assert_true(fixture_until(t->event, 5000, t->a.n_acked == 1));
	client_init(&t->b, t->event, "gateway", t->broker.port);
	client_start(&t->b);
	assert_int_equal(mqtt_subscribe(t->b.mqtt, "city/#", 1, 0), 0); /* before it is online */
	assert_true(fixture_until(t->event, 5000, t->b.n_heard == 1));
	assert_true(t->b.heard[0].retain);
	assert_int_equal(t->b.before_online, 0);
}

static void properties_make_the_round_trip(void **state)
{
	struct test *t = *state;
	uint8_t correlation[64];
	struct mqtt_publish p = {.topic = "x",
				 .payload = span_str("p"),
				 .qos = 1,
				 .expiry_s = 60,
				 .correlation = SPAN(correlation),
				 .content_type = "application/cose",
				 .response_topic = "city/answer"};
	uint8_t too_long[65];

	for (size_t i = 0; i < sizeof(correlation); i++)
		correlation[i] = (uint8_t)(i * 5);
	two_clients(t, "x", 0);
	assert_int_equal(mqtt_publish(t->a.mqtt, &p, 1), 0);
	assert_true(fixture_until(t->event, 5000, t->b.n_heard == 1));
	assert_true(t->b.heard[0].has_expiry);
	assert_in_range(t->b.heard[0].expiry_s, 55, 60);
	assert_int_equal(t->b.heard[0].correlation_len, 64);
	assert_memory_equal(t->b.heard[0].correlation, correlation, 64);
	assert_string_equal(t->b.heard[0].content_type, "application/cose");
	assert_string_equal(t->b.heard[0].response_topic, "city/answer");
	memset(too_long, 1, sizeof(too_long));
	p.correlation = SPAN(too_long);
	assert_int_equal(mqtt_publish(t->a.mqtt, &p, 2), -EINVAL);
}

static void the_will_comes_when_the_client_dies(void **state)
{
	struct test *t = *state;
	const struct mqtt_publish will = {
		.topic = "gw/a/presence", .payload = span_str("offline"), .qos = 1, .retain = true};

	fixture_broker_start(&t->broker, NULL);
	client_connect(&t->b, t->event, "listener", t->broker.port);
	client_subscribe(&t->b, "gw/+/presence", MQTT_RETAIN_AS_PUBLISHED);
	client_init(&t->a, t->event, "sender", t->broker.port);
	t->a.options.will = &will;
	client_start(&t->a);
	client_wait_online(&t->a);
	client_free(&t->a);
	assert_true(fixture_until(t->event, 5000, t->b.n_heard == 1));
	assert_memory_equal(t->b.heard[0].payload, "offline", 7);
	assert_true(t->b.heard[0].retain);
}

static void a_stop_says_goodbye_and_sets_off_no_will(void **state)
{
	struct test *t = *state;
	const struct mqtt_publish will = {.topic = "x", .payload = span_str("will"), .qos = 1};
	const struct mqtt_publish last = {.topic = "x", .payload = span_str("goodbye"), .qos = 1};

	fixture_broker_start(&t->broker, NULL);
	client_connect(&t->b, t->event, "listener", t->broker.port);
	client_subscribe(&t->b, "x", 0);
	client_init(&t->a, t->event, "sender", t->broker.port);
	t->a.options.will = &will;
	client_start(&t->a);
	client_wait_online(&t->a);
	assert_int_equal(client_publish(&t->a, "x", "row", 5), 0);
	mqtt_stop(t->a.mqtt, &last);
	assert_int_equal(t->a.stopped, 0);
	assert_int_equal(client_publish(&t->a, "x", "late", 6), -ENOTCONN);
	assert_true(fixture_until(t->event, 5000, t->a.stopped == 1));
	assert_int_equal(t->a.acked[5], 1);
	assert_int_equal(t->a.offline, 1);
	fixture_turn(t->event, 200);
	assert_int_equal(t->b.n_heard, 2);
	assert_memory_equal(t->b.heard[1].payload, "goodbye", 7);

	assert_int_equal(mqtt_start(t->a.mqtt), 0); /* and again */
	client_wait_online(&t->a);
	assert_int_equal(t->a.online, 2);
}

static void a_stop_is_bounded_when_the_broker_is_silent(void **state)
{
	struct test *t = *state;
	uint64_t began;

	fixture_broker_start(&t->broker, NULL);
	client_init(&t->a, t->event, "sender", t->broker.port);
	t->a.options.stop_timeout_ms = 400;
	client_start(&t->a);
	client_wait_online(&t->a);
	kill(t->broker.pid, SIGSTOP);
	assert_int_equal(client_publish(&t->a, "x", "never answered", 3), 0);
	began = fixture_now_ms();
	mqtt_stop(t->a.mqtt, NULL);
	assert_true(fixture_until(t->event, 5000, t->a.stopped == 1));
	assert_in_range(fixture_now_ms() - began, 250, 1500);
	assert_int_equal(t->a.lost[3], 1);
}

static void a_stop_while_offline_is_told_from_the_loop(void **state)
{
	struct test *t = *state;

	client_init(&t->a, t->event, "sender", fixture_free_port());
	client_start(&t->a);
	assert_true(fixture_until(t->event, 5000, t->a.failed > 0));
	mqtt_stop(t->a.mqtt, NULL);
	assert_int_equal(t->a.stopped, 0);
	assert_true(fixture_until(t->event, 5000, t->a.stopped == 1));
	assert_int_equal(t->a.offline, 0);
}

static void resend(struct client *c, int64_t row)
{
	/* Not now: offline. The rule says when online. */
	assert_int_equal(client_publish(c, "x/again", "again", row), -ENOTCONN);
	assert_false(mqtt_in_flight(c->mqtt, row));
}

static void rows_in_flight_are_neither_lost_nor_doubled_when_the_broker_dies(void **state)
{
	struct test *t = *state;

	fixture_broker_start(&t->broker, NULL);
	client_connect(&t->a, t->event, "sender", t->broker.port);
	t->a.when_lost = resend;
	kill(t->broker.pid, SIGSTOP); /* takes nothing in any more */
	for (int64_t row = 1; row <= 10; row++)
		assert_int_equal(client_publish(&t->a, "x/1", "first time", row), 0);
	fixture_broker_kill(&t->broker);
	assert_true(fixture_until(t->event, 5000, t->a.offline == 1));
	assert_int_equal(t->a.n_lost, 10);
	assert_int_equal(t->a.n_acked, 0);

	fixture_broker_start(&t->broker, NULL);
	client_connect(&t->b, t->event, "listener", t->broker.port);
	client_subscribe(&t->b, "x/#", 0);
	client_wait_online(&t->a);
	fixture_turn(t->event, 200);
	assert_int_equal(t->b.n_heard, 0); /* nobody sends them behind our back */
	for (int64_t row = 1; row <= 10; row++)
		assert_int_equal(client_publish(&t->a, "x/2", "second time", row), 0);
	assert_true(fixture_until(t->event, 5000, t->a.n_acked == 10));
	fixture_turn(t->event, 200);
	assert_int_equal(t->b.n_heard, 10);
	for (int64_t row = 1; row <= 10; row++) {
		assert_int_equal(t->a.acked[row], 1);
		assert_int_equal(t->a.lost[row], 1);
	}
	assert_int_equal(t->a.online, 2);
}

static void a_broker_that_only_pauses_costs_nothing(void **state)
{
	struct test *t = *state;

	two_clients(t, "x/#", 0);
	kill(t->broker.pid, SIGSTOP);
	for (int64_t row = 1; row <= 16; row++)
		assert_int_equal(client_publish(&t->a, "x/1", "text", row), 0);
	assert_int_equal(mqtt_room(t->a.mqtt), 0);
	assert_int_equal(client_publish(&t->a, "x/1", "text", 17), -ENOBUFS);
	assert_int_equal(client_publish(&t->a, "x/state", "no row", 0),
			 0); /* rows do not crowd it out */
	fixture_turn(t->event, 300);
	kill(t->broker.pid, SIGCONT);
	assert_true(fixture_until(t->event, 5000, t->a.n_acked == 16 && t->b.n_heard == 17));
	assert_int_equal(t->a.n_lost, 0);
	assert_int_equal(t->a.offline, 0);
}

static void a_broker_that_acknowledges_nothing_is_left(void **state)
{
	struct test *t = *state;
	struct mqtt_stats stats;

	fixture_broker_start(&t->broker, NULL);
	client_init(&t->a, t->event, "sender", t->broker.port);
	t->a.options.ack_timeout_ms = 500;
	client_start(&t->a);
	client_wait_online(&t->a);
	kill(t->broker.pid, SIGSTOP);
	assert_int_equal(client_publish(&t->a, "x", "text", 4), 0);
	assert_true(fixture_until(t->event, 5000, t->a.offline == 1));
	assert_string_equal(t->a.offline_reason, "timed out: the broker does not acknowledge");
	assert_int_equal(t->a.lost[4], 1);
	mqtt_stats(t->a.mqtt, &stats);
	assert_int_equal(stats.drops, 1);
	kill(t->broker.pid, SIGCONT);
	assert_true(fixture_until(t->event, 10000, t->a.online == 2));
}

static void three_states(struct client *c)
{
	assert_int_equal(client_publish(c, "x/presence", "online", 0), 0);
	assert_int_equal(client_publish(c, "x/state", "{}", 0), 0);
	assert_int_equal(client_publish(c, "x/lock", "{}", 0), 0);
}

static void a_session_survives_and_subscriptions_are_renewed(void **state)
{
	struct test *t = *state;

	fixture_broker_start(&t->broker, NULL);
	client_init(&t->b, t->event, "gateway", t->broker.port);
	t->b.options.clean_start = false;
	t->b.options.session_expiry_s = 3600;
	t->b.when_online = three_states;
	client_start(&t->b);
	assert_true(mqtt_subscribe(t->b.mqtt, "x/#", 1, 0) >= 0);
	assert_true(fixture_until(t->event, 5000, t->b.subscribed == 1 && t->b.n_heard == 3));
	assert_false(t->b.session_present);
	client_free(&t->b);

	client_connect(&t->a, t->event, "sender", t->broker.port);
	assert_int_equal(client_publish(&t->a, "x/1", "while away", 1), 0);
	assert_true(fixture_until(t->event, 5000, t->a.n_acked == 1));

	client_init(&t->b, t->event, "gateway", t->broker.port);
	t->b.options.clean_start = false;
	t->b.options.session_expiry_s = 3600;
	client_start(&t->b);
	assert_true(mqtt_subscribe(t->b.mqtt, "x/#", 1, 0) >= 0);
	assert_true(fixture_until(t->event, 5000, t->b.subscribed == 1 && t->b.n_heard == 1));
	assert_true(t->b.session_present);
	assert_int_equal(t->b.before_online,
			 0); /* though the message was right behind the CONNACK */
	assert_memory_equal(t->b.heard[0].payload, "while away", 10);
}

static void a_message_too_large_is_dropped_and_counted(void **state)
{
	struct test *t = *state;
	static uint8_t body[MQTT_PAYLOAD_MAX + 1000];
	const struct mqtt_publish p = {.topic = "x", .payload = SPAN(body), .qos = 1};

	fixture_broker_start(&t->broker, NULL);
	client_init(&t->a, t->event, "sender", t->broker.port);
	t->a.options.max_payload = 1024 * 1024;
	client_start(&t->a);
	client_wait_online(&t->a);
	client_connect(&t->b, t->event, "listener", t->broker.port);
	client_subscribe(&t->b, "x", 0);
	assert_int_equal(mqtt_publish(t->a.mqtt, &p, 1), 0);
	assert_int_equal(client_publish(&t->a, "x", "small", 2), 0);
	assert_true(fixture_until(t->event, 10000, t->b.n_heard == 1 && t->b.oversized == 1));
	assert_int_equal(t->b.oversized_len, sizeof(body));
	assert_memory_equal(t->b.heard[0].payload, "small", 5);
}

/* The library's own look is a byte or two late, and an assertion behind it ends the program. */
static void a_publish_near_the_brokers_limit_is_sent_or_refused(void **state)
{
	struct test *t = *state;
	char text[400];
	int64_t row = 0;
	unsigned sent = 0;

	memset(text, 'x', sizeof(text));
	fixture_broker_start(&t->broker, "max_packet_size 300\n");
	client_connect(&t->a, t->event, "sender", t->broker.port);
	for (size_t i = 0; i < 120; i++) {
		const struct mqtt_publish publish = {
			.topic = "x/1",
			.payload = span_of(text, 250 + i / 2),
			.qos = 1,
			.content_type = i % 2 ? "application/json" : NULL,
		};
		int r = mqtt_publish(t->a.mqtt, &publish, ++row);

		assert_true(r == 0 || r == -EMSGSIZE);
		sent += r == 0;
		assert_true(fixture_until(t->event, 5000, t->a.n_acked == sent));
	}
	assert_in_range(sent, 20, 100);
	assert_int_equal(t->a.offline, 0);
}

/* Others' PUBACKs prove nothing for it. */
static void a_publish_without_its_puback_is_overdue(void **state)
{
	struct flights flights = {0};
	struct flight taken;

	for (uint16_t mid = 1; mid <= 3; mid++)
		flights_add(&flights, mid, mid, 10, mid * 100u);
	assert_true(flights_take(&flights, 1, &taken) && flights_take(&flights, 3, &taken));
	assert_false(flights_overdue(&flights, 199));
	assert_true(flights_overdue(&flights, 200));
	assert_true(flights_take(&flights, 2, &taken));
	assert_false(flights_overdue(&flights, 1000));
}

static void a_publish_that_the_broker_forbids_is_rejected_with_its_reason(void **state)
{
	struct test *t = *state;
	char path[128], more[256];

	fixture_dir(t->broker.dir);
	fixture_write(t->broker.dir, "acl", "topic read #\ntopic readwrite gw/a/#\n");
	snprintf(path, sizeof(path), "%s/acl", t->broker.dir);
	snprintf(more, sizeof(more), "acl_file %s", path);
	fixture_broker_start(&t->broker, more);
	client_connect(&t->a, t->event, "a", t->broker.port);
	assert_int_equal(client_publish(&t->a, "gw/b/event", "not mine", 1), 0);
	assert_int_equal(client_publish(&t->a, "gw/a/event", "mine", 2), 0);
	assert_true(fixture_until(t->event, 5000, t->a.n_acked == 1 && t->a.n_rejected == 1));
	assert_int_equal(t->a.rejected[1], 1);
	assert_int_equal(t->a.acked[2], 1);
	assert_int_equal(t->a.reject_reason, 0x87);
	assert_false(mqtt_in_flight(t->a.mqtt, 1));
}

static void many_rows_pass_through_the_window_in_order(void **state)
{
	struct test *t = *state;
	int64_t next = 1;
	char text[16];

	two_clients(t, "x", 0);
	while (t->a.n_acked < 400 && next < ROWS) {
		while (next <= 400 && mqtt_room(t->a.mqtt)) {
			snprintf(text, sizeof(text), "%d", (int)next);
			assert_int_equal(client_publish(&t->a, "x", text, next), 0);
			next++;
		}
		assert_true(sd_event_run(t->event, 1000000) > 0);
	}
	assert_true(fixture_until(t->event, 5000, t->b.n_heard == 400));
	for (int i = 0; i < 400; i++)
		assert_int_equal(atoi((char *)t->b.heard[i].payload), i + 1);
}

static void two_clients_with_one_id_do_not_fight_at_full_speed(void **state)
{
	struct test *t = *state;
	unsigned fights;

	fixture_broker_start(&t->broker, NULL);
	client_init(&t->a, t->event, "same", t->broker.port);
	client_init(&t->b, t->event, "same", t->broker.port);
	t->a.options.backoff_max_ms = t->b.options.backoff_max_ms = 1000;
	client_start(&t->a);
	client_start(&t->b);
	assert_true(fixture_until(t->event, 5000, t->a.offline > 0 || t->b.offline > 0));
	/* mosquitto 2.0.11 closes without a word; a broker that says 0x8e is quoted. */
	fixture_turn(t->event, 2000);
	fights = t->a.online + t->b.online;
	assert_in_range(fights, 3, 20); /* at the smallest pause all the time: some 100 */
}

static void stop_in_online(struct client *c)
{
	mqtt_stop(c->mqtt, NULL);
}

static void publish_in_message(struct client *c)
{
	if (c->n_heard < 50)
		assert_int_equal(client_publish(c, "x", "again", (int64_t)c->n_heard), 0);
}

static void ops_may_call_back(void **state)
{
	struct test *t = *state;

	fixture_broker_start(&t->broker, NULL);
	client_connect(&t->a, t->event, "echo", t->broker.port);
	client_subscribe(&t->a, "x", 0);
	t->a.when_heard = publish_in_message;
	assert_int_equal(client_publish(&t->a, "x", "first", 100), 0);
	assert_true(fixture_until(t->event, 10000, t->a.n_heard == 50 && t->a.n_acked == 50));

	client_init(&t->b, t->event, "brief", t->broker.port);
	t->b.when_online = stop_in_online;
	client_start(&t->b);
	assert_true(fixture_until(t->event, 5000, t->b.stopped == 1));
	assert_int_equal(t->b.online, 1);
	assert_int_equal(t->b.offline, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_publish_is_acked_by_its_row),
		TEST(what_cannot_be_published_is_refused_at_once),
		TEST(options_that_cannot_work_are_refused),
		TEST(a_live_retained_publish_is_seen_as_retained),
		TEST(what_the_broker_keeps_comes_with_a_plain_subscription),
		TEST(properties_make_the_round_trip),
		TEST(the_will_comes_when_the_client_dies),
		TEST(a_stop_says_goodbye_and_sets_off_no_will),
		TEST(a_stop_is_bounded_when_the_broker_is_silent),
		TEST(a_stop_while_offline_is_told_from_the_loop),
		TEST(rows_in_flight_are_neither_lost_nor_doubled_when_the_broker_dies),
		TEST(a_broker_that_only_pauses_costs_nothing),
		TEST(a_broker_that_acknowledges_nothing_is_left),
		TEST(a_session_survives_and_subscriptions_are_renewed),
		TEST(a_message_too_large_is_dropped_and_counted),
		TEST(a_publish_near_the_brokers_limit_is_sent_or_refused),
		TEST(a_publish_without_its_puback_is_overdue),
		TEST(a_publish_that_the_broker_forbids_is_rejected_with_its_reason),
		TEST(many_rows_pass_through_the_window_in_order),
		TEST(two_clients_with_one_id_do_not_fight_at_full_speed),
		TEST(ops_may_call_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
