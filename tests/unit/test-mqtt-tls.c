/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/link/mqtt over TLS: what is trusted and what is not, files that change or are wrong, handshakes
 * that hang or break off. The certificates are made anew by openssl in each test.
 */
#include <sys/resource.h>

#include "mqtt-client.h"

static void make_ca(struct test *t, const char *name)
{
	char line[512];

	snprintf(line, sizeof(line),
		 "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
		 "-subj /CN=ca-%1$s -keyout %1$s.key -out %1$s.pem",
		 name);
	fixture_shell(t->dir, line);
}

static void make_cert(struct test *t, const char *ca, const char *name, const char *host)
{
	char line[1024];

	snprintf(line, sizeof(line),
		 "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=%1$s "
		 "-keyout %1$s.key -out %1$s.csr && echo subjectAltName=DNS:%3$s > %1$s.ext && "
		 "openssl x509 -req -in %1$s.csr -CA %2$s.pem -CAkey %2$s.key -CAcreateserial "
		 "-days 2 "
		 "-extfile %1$s.ext -out %1$s.pem",
		 name, ca, host);
	fixture_shell(t->dir, line);
}

/* A broker with TLS: certificate `server` by CA `ca`, clients by CA `clients` (NULL: none wanted). */
static void tls_broker(struct test *t, const char *host, const char *clients)
{
	char more[1024], client_ca[256] = "";

	make_ca(t, "ca");
	make_cert(t, "ca", "server", host);
	if (clients)
		snprintf(client_ca, sizeof(client_ca),
			 "cafile %s/%s.pem\nrequire_certificate true\n", t->dir, clients);
	snprintf(more, sizeof(more), "certfile %1$s/server.pem\nkeyfile %1$s/server.key\n%2$s",
		 t->dir, client_ca);
	fixture_broker_start(&t->broker, more);
}

static void a_tls_handshake_that_hangs_is_left(void **state)
{
	struct test *t = *state;
	char ca[128];

	make_ca(t, "ca");
	client_init(&t->a, t->event, "a", silent_listener(t, 16));
	t->a.brokers[0].ca_file = in_dir(t, "ca.pem", ca);
	t->a.options.connect_timeout_ms = fixture_emulated() ? 4000 : 300;
	start_and_fail_in_time(t, "timed out: connected, but the broker does not answer");
	assert_true(fixture_until(t->event, 30000, t->a.failed >= 3));
	fixture_gap_end(&t->gap, "TLS hangs");
}

static void a_wrong_ca_is_reported_and_the_right_one_picked_up(void **state)
{
	struct test *t = *state;
	char trusted[128];

	tls_broker(t, "localhost", NULL);
	make_ca(t, "other");
	fixture_shell(t->dir, "cp other.pem trusted.pem");
	client_init(&t->a, t->event, "a", t->broker.port);
	t->a.brokers[0].host = "localhost";
	t->a.brokers[0].ca_file = in_dir(t, "trusted.pem", trusted);
	start_and_fail(t,
		       "certificate not trusted (wrong CA, expired, or this box's clock is wrong)");
	assert_true(fixture_until(t->event, 5000, t->a.failed >= 3));
	fixture_gap_end(&t->gap, "wrong CA");
	fixture_shell(t->dir, "cp ca.pem trusted.pem");
	client_wait_online(&t->a);
	client_subscribe(&t->a, "x", 0);
	assert_int_equal(client_publish(&t->a, "x", "over TLS", 1), 0);
	assert_true(fixture_until(t->event, 5000, t->a.n_acked == 1 && t->a.n_heard == 1));

	/* And back: trust that was withdrawn does not live on. */
	fixture_shell(t->dir, "cp other.pem trusted.pem");
	t->a.failed = 0;
	fixture_broker_kill(&t->broker);
	tls_broker(t, "localhost", NULL);
	fixture_shell(t->dir, "cp other.pem trusted.pem");
	assert_true(fixture_until(t->event, 5000, t->a.failed >= 2));
	assert_int_equal(t->a.online, 1);
}

static void a_certificate_for_another_host_is_refused(void **state)
{
	struct test *t = *state;
	char ca[128];

	tls_broker(t, "elsewhere.example", NULL);
	client_init(&t->a, t->event, "a", t->broker.port);
	t->a.brokers[0].host = "localhost";
	t->a.brokers[0].ca_file = in_dir(t, "ca.pem", ca);
	start_and_fail(t, "certificate is for another host name");
}

static void a_client_certificate_opens_the_door(void **state)
{
	struct test *t = *state;
	char ca[128], cert[128], key[128];

	make_ca(t, "fleet");
	make_cert(t, "fleet", "gateway-1", "gateway-1");
	tls_broker(t, "localhost", "fleet");
	client_init(&t->a, t->event, "a", t->broker.port);
	t->a.brokers[0].host = "localhost";
	t->a.brokers[0].ca_file = in_dir(t, "ca.pem", ca);
	client_init(&t->b, t->event, "b", t->broker.port);
	t->b.brokers[0] = t->a.brokers[0];
	client_start(&t->a);
	/* A quick broker resets before its alert is read; of some attempts one gets to read it. */
	assert_true(fixture_until(
		t->event, 10000,
		strcmp(t->a.failed_reason, "refused: the broker wants a client certificate") == 0));
	t->b.brokers[0].cert_file = in_dir(t, "gateway-1.pem", cert);
	t->b.brokers[0].key_file = in_dir(t, "gateway-1.key", key);
	client_start(&t->b);
	client_wait_online(&t->b);
	assert_int_equal(t->a.online, 0);
}

static void files_that_are_missing_or_wrong_are_named(void **state)
{
	struct test *t = *state;
	static const struct {
		const char *ca, *cert, *key, *reason;
	} cases[] = {
		{"none.pem", NULL, NULL, "CA file cannot be read"},
		{"ca.pem", "none.pem", "a.key", "certificate file cannot be read"},
		{"ca.pem", "a.pem", "none.key", "key file cannot be read"},
		{"rubbish.pem", NULL, NULL, "CA file not usable"},
		{"ca.pem", "rubbish.pem", "a.key", "certificate file not usable"},
		{"ca.pem", "a.pem", "rubbish.pem", "key file not usable"},
		{"ca.pem", "a.pem", "locked.key", "key file not usable"},
		{"ca.pem", "a.pem", "b.key", "certificate and key do not belong together"},
	};
	char ca[128], cert[128], key[128];

	make_ca(t, "ca");
	make_cert(t, "ca", "a", "a");
	make_cert(t, "ca", "b", "b");
	fixture_write(t->dir, "rubbish.pem", "nothing\n");
	fixture_shell(t->dir, "openssl ec -in a.key -aes128 -passout pass:secret -out locked.key");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		client_init(&t->a, t->event, "a", silent_listener(t, 16));
		t->a.brokers[0].ca_file = in_dir(t, cases[i].ca, ca);
		t->a.brokers[0].cert_file = cases[i].cert ? in_dir(t, cases[i].cert, cert) : NULL;
		t->a.brokers[0].key_file = cases[i].key ? in_dir(t, cases[i].key, key) : NULL;
		start_and_fail(t, cases[i].reason);
		t->gap.source = sd_event_source_disable_unref(t->gap.source);
		client_free(&t->a);
		close(t->fds[--t->n_fds]);
	}
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec / 1e6 +
	       (double)u.ru_stime.tv_sec + (double)u.ru_stime.tv_usec / 1e6;
}

static void a_peer_that_closes_or_resets_during_tls_does_not_spin(void **state)
{
	struct test *t = *state;
	struct fake fake = {0};
	char ca[128];
	double before;

	make_ca(t, "ca");
	client_init(&t->a, t->event, "a", fake_broker(t, &fake));
	t->a.brokers[0].ca_file = in_dir(t, "ca.pem", ca);
	t->a.options.backoff_max_ms = 20;
	t->a.options.connect_timeout_ms = 1500;
	before = cpu_seconds();
	client_start(&t->a);
	assert_true(fixture_until(t->event, 10000, t->a.failed >= 10));
	print_message("closed during TLS: %s\n", t->a.failed_reason);
	fake.reset = true;
	t->a.failed = 0;
	assert_true(fixture_until(t->event, 10000, t->a.failed >= 10));
	print_message("reset during TLS: %s; %.2f s of CPU\n", t->a.failed_reason,
		      cpu_seconds() - before);
	assert_true(cpu_seconds() - before < 1.5);
}

static void large_messages_over_tls_come_whole_and_at_once(void **state)
{
	struct test *t = *state;
	static uint8_t body[140 * 1024];
	const struct mqtt_publish p = {.topic = "x", .payload = SPAN(body), .qos = 1};
	uint64_t began;
	char ca[128];

	tls_broker(t, "localhost", NULL);
	client_init(&t->a, t->event, "a", t->broker.port);
	t->a.brokers[0].host = "localhost";
	t->a.brokers[0].ca_file = in_dir(t, "ca.pem", ca);
	client_start(&t->a);
	client_wait_online(&t->a);
	client_subscribe(&t->a, "x", 0);
	began = fixture_now_ms();
	for (int64_t row = 1; row <= 16; row++)
		assert_int_equal(mqtt_publish(t->a.mqtt, &p, row), 0);
	assert_true(fixture_until(t->event, 10000, t->a.n_heard == 16 && t->a.n_acked == 16));
	print_message("16 messages of 140 KiB to the broker and back over TLS: %u ms\n",
		      (unsigned)(fixture_now_ms() - began));
	for (int i = 0; i < 16; i++)
		assert_int_equal(t->a.heard[i].len, sizeof(body));
}

static void start_with_certificate(struct test *t, struct client *c, const char *id)
{
	static char paths[2][3][128]; /* as long as the client */
	char(*path)[128] = paths[c == &t->b], name[64];

	client_init(c, t->event, id, t->broker.port);
	c->brokers[0].host = "localhost";
	c->brokers[0].ca_file = in_dir(t, "ca.pem", path[0]);
	snprintf(name, sizeof(name), "%s.pem", id);
	c->brokers[0].cert_file = in_dir(t, name, path[1]);
	snprintf(name, sizeof(name), "%s.key", id);
	c->brokers[0].key_file = in_dir(t, name, path[2]);
	c->options.clean_start = false;
	c->options.session_expiry_s = 60;
	client_start(c);
	client_wait_online(c);
}

static void a_refresh_tries_new_files_beside_the_connection_that_stands(void **state)
{
	struct test *t = *state;
	struct mqtt_stats before, after;

	make_ca(t, "fleet");
	make_ca(t, "foreign");
	make_cert(t, "fleet", "one", "one");
	make_cert(t, "fleet", "two", "two");
	make_cert(t, "foreign", "bad", "bad");
	tls_broker(t, "localhost", "fleet");
	start_with_certificate(t, &t->a, "one");
	start_with_certificate(t, &t->b, "two");
	client_subscribe(&t->a, "x", 0);
	mqtt_stats(t->a.mqtt, &before);
	assert_true(before.attempt_reached);

	fixture_shell(t->dir, "cp bad.pem one.pem && cp bad.key one.key");
	assert_int_equal(mqtt_refresh(t->a.mqtt), 0);
	assert_true(fixture_until(t->event, 10000, t->a.failed == 1));
	assert_int_equal(t->a.offline, 0);
	mqtt_stats(t->a.mqtt, &after);
	assert_true(after.attempt_reached);
	assert_true(after.attempt_began > before.attempt_began);
	assert_int_equal(client_publish(&t->b, "x", "still here", 0), 0);
	assert_true(fixture_until(t->event, 5000, t->a.n_heard == 1));

	make_cert(t, "fleet", "one", "one");
	assert_int_equal(mqtt_refresh(t->a.mqtt), 0);
	for (int i = 0; t->a.online < 2; i++) {
		/* what comes meanwhile is neither lost nor the reason to wait */
		assert_int_equal(client_publish(&t->b, "x", "meanwhile", 0), 0);
		fixture_turn(t->event, 20);
		assert_true(i < 400);
	}
	assert_int_equal(t->a.offline, 1);
	assert_string_equal(t->a.offline_reason, "the connection is made anew");
	assert_true(fixture_until(t->event, 5000, t->a.n_heard > 1));
	mqtt_stats(t->a.mqtt, &after);
	assert_int_equal(after.drops, 0);
	assert_int_equal(after.connects, 2);
	assert_true(after.attempt_reached);
	/* the old one is gone, and throws nobody out */
	fixture_turn(t->event, 1500);
	assert_int_equal(t->a.online, 2);
	assert_int_equal(t->a.failed, 1);
}

static void a_refresh_waits_until_nothing_is_in_flight_and_ends_with_the_connection(void **state)
{
	struct test *t = *state;
	struct mqtt_stats stats;

	fixture_broker_start(&t->broker, "");
	client_connect(&t->a, t->event, "a", t->broker.port);
	kill(t->broker.pid, SIGSTOP);
	assert_int_equal(client_publish(&t->a, "x", "held up", 1), 0);
	assert_int_equal(mqtt_refresh(t->a.mqtt), 0);
	fixture_turn(t->event, 2500);
	mqtt_stats(t->a.mqtt, &stats);
	assert_int_equal(stats.in_flight, 1);
	assert_int_equal(t->a.failed + t->a.offline, 0);
	kill(t->broker.pid, SIGCONT);
	assert_true(fixture_until(t->event, 5000, t->a.online == 2));
	assert_int_equal(t->a.acked[1], 1);
	assert_int_equal(t->a.n_lost, 0);

	assert_int_equal(mqtt_refresh(t->a.mqtt), 0);
	fixture_broker_kill(&t->broker);
	assert_true(fixture_until(t->event, 5000, t->a.offline == 2 && t->a.failed > 0));
	assert_int_equal(mqtt_refresh(t->a.mqtt), -ENOTCONN);
	mqtt_stats(t->a.mqtt, &stats);
	assert_false(stats.attempt_reached); /* nobody listens there */
	fixture_broker_start(&t->broker, "");
	client_wait_online(&t->a);
	fixture_turn(t->event, 1500);
	assert_int_equal(t->a.online, 3);
}

static void files_that_are_not_usable_count_as_reached(void **state)
{
	struct test *t = *state;
	struct mqtt_stats stats;
	char ca[128];

	fixture_write(t->dir, "rubbish.pem", "nothing\n");
	client_init(&t->a, t->event, "a", silent_listener(t, 16));
	t->a.brokers[0].ca_file = in_dir(t, "rubbish.pem", ca);
	start_and_fail(t, "CA file not usable");
	mqtt_stats(t->a.mqtt, &stats);
	assert_true(stats.attempt_reached);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_tls_handshake_that_hangs_is_left),
		TEST(a_wrong_ca_is_reported_and_the_right_one_picked_up),
		TEST(a_certificate_for_another_host_is_refused),
		TEST(a_client_certificate_opens_the_door),
		TEST(files_that_are_missing_or_wrong_are_named),
		TEST(a_peer_that_closes_or_resets_during_tls_does_not_spin),
		TEST(large_messages_over_tls_come_whole_and_at_once),
		TEST(a_refresh_tries_new_files_beside_the_connection_that_stands),
		TEST(a_refresh_waits_until_nothing_is_in_flight_and_ends_with_the_connection),
		TEST(files_that_are_not_usable_count_as_reached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
