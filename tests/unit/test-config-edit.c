/* SPDX-License-Identifier: Apache-2.0 */
/* config: writing a whole file, and one lock into or out of a file that a person wrote. */
#include "fixture.h"

#include "core/crypto.h"
#include "link/config.h"

#define KEY_1 "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
#define KEY_2 "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="
#define KEY_3 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define A     "{ id = \"a\"; key = \"" KEY_1 "\"; }"
#define B     "{ id = \"b\"; key = \"" KEY_2 "\"; }"
#define C     "{ id = \"c\"; key = \"" KEY_3 "\"; }"
#define HEAD                                                                                       \
	"gateway = \"gw-1\";\nroot_key_file = \"/etc/root.pem\";\nbrokers = ( { host = \"b\"; } "  \
	");\n"

static struct config_lock lock_of(const char *id, const char *key)
{
	struct config_lock lock;

	memset(&lock, 0xee, sizeof(lock)); /* what stands behind the texts is not looked at */
	strcpy(lock.id, id);
	strcpy(lock.address, "");
	strcpy(lock.driver, "");
	assert_int_equal(base64_decode(span_str(key), lock.key, PUBLIC_LEN), PUBLIC_LEN);
	return lock;
}

/* "": refused, and error says why. */
static char *add(const char *text, const char *id, const char *key, char error[static 512])
{
	struct config_lock lock = lock_of(id, key);
	char *ret = NULL;
	int r = config_add_lock("c.conf", span_str(text), &lock, &ret, error, 512);

	assert_true((r == 0) == (ret != NULL));
	return ret;
}

static char *take(const char *text, const char *id, char error[static 512])
{
	char *ret = NULL;
	int r = config_remove_lock("c.conf", span_str(text), id, &ret, error, 512);

	assert_true((r == 0) == (ret != NULL));
	return ret;
}

static const struct {
	const char *before, *after; /* c goes in; behind HEAD */
} additions[] = {
	/* no list yet */
	{"", "\nlocks = (\n  " C "\n);\n"},
	{"# locks = (\n", "# locks = (\n\nlocks = (\n  " C "\n);\n"},
	{"/* locks = ( { } ) */ adapter = \"locks = (\"",
	 "/* locks = ( { } ) */ adapter = \"locks = (\"\n\nlocks = (\n  " C "\n);\n"},
	/* empty ones */
	{"locks = ();", "locks = (\n  " C "\n);"},
	{"locks:(\n);\n", "locks:(\n  " C "\n);\n"},
	{"locks = ( # none ) yet\n\t);", "locks = ( # none ) yet\n  " C "\n\t);"},
	{"locks = ( /* ) */ );", "locks = ( /* ) */ \n  " C "\n);"},
	/* behind the others */
	{"locks = ( " A " );", "locks = ( " A ",\n  " C " );"},
	{"locks = (\n  " A "\n);\n", "locks = (\n  " A ",\n  " C "\n);\n"},
	{"locks = (\n\t" A ", # front door\n\t" B " # the { cellar\n);\n",
	 "locks = (\n\t" A ", # front door\n\t" B ", # the { cellar\n\t" C "\n);\n"},
	{"locks = (\r\n  " A "\r\n);\r\n", "locks = (\r\n  " A ",\r\n  " C "\r\n);\r\n"},
	{"locks = ( " A " /* ( */ // (\n # )\n ); # locks = (\n",
	 "locks = ( " A ", /* ( */ // (\n  " C "\n # )\n ); # locks = (\n"},
	{"locks # one\n /* two */ = # ( three\n ( " A ");",
	 "locks # one\n /* two */ = # ( three\n ( " A ",\n  " C ");"},
	{"locks = ( { id = \"a\"; // }\n key = \"" KEY_1 "\" /* } ) */ } )",
	 "locks = ( { id = \"a\"; // }\n key = \"" KEY_1 "\" /* } ) */ },\n  " C " )"},
	{"adapter = \"\\\"locks = (\"; locks = ( " A " ); log_level = \"info\"",
	 "adapter = \"\\\"locks = (\"; locks = ( " A ",\n  " C " ); log_level = \"info\""},
};

static void a_lock_goes_in_and_nothing_else_changes(void **state)
{
	char error[512], before[2048], after[2048];

	for (size_t i = 0; i < ARRAY_SIZE(additions); i++) {
		cleanup(freep) char *got = NULL, *back = NULL;

		snprintf(before, sizeof(before), HEAD "%s", additions[i].before);
		snprintf(after, sizeof(after), HEAD "%s", additions[i].after);
		got = add(before, "c", KEY_3, error);
		if (!got)
			fail_msg("%s: %s", additions[i].before, error);
		assert_string_equal(got, after);
		/* and out again: what it says is what it said before */
		back = take(got, "c", error);
		if (!back)
			fail_msg("%s: %s", got, error);
	}
}

static const struct {
	const char *before, *out, *after;
} removals[] = {
	{"locks = ( " A " );", "a", "locks = (  );"},
	{"locks = (\n  " A "\n);", "a", "locks = (\n);"},
	{"locks = (\n  " A ",\n  " B "\n);", "a", "locks = (\n  " B "\n);"},
	{"locks = (\n  " A ",\n  " B "\n);", "b", "locks = (\n  " A "\n);"},
	{"locks = ( " A ", " B ", " C " );", "b", "locks = ( " A ",  " C " );"},
	{"locks = ( " A ", " B ", " C " );", "c", "locks = ( " A ", " B "  );"},
	{"locks = (\r\n  " A ",\r\n  " B "\r\n);", "a", "locks = (\r\n  " B "\r\n);"},
	/* remarks are somebody's: they stay */
	{"locks = (\n  " A ", # front\n  # back:\n  " B " # , b\n);", "a",
	 "locks = (\n   # front\n  # back:\n  " B " # , b\n);"},
	{"locks = (\n  " A " /* , */\n , # x\n  " B "\n);", "a",
	 "locks = (\n   /* , */\n  # x\n  " B "\n);"},
	{"locks = (\n  " A "\n , # x\n  " B "\n);", "b", "locks = (\n  " A "\n  # x\n);"},
	{"locks = ( { id /* = \"b\" */ = \"a\"; key = \"" KEY_1 "\"; }, " B " );", "a",
	 "locks = (  " B " );"},
};

static void a_lock_comes_out_and_nothing_else_changes(void **state)
{
	char error[512], before[2048], after[2048];

	for (size_t i = 0; i < ARRAY_SIZE(removals); i++) {
		cleanup(freep) char *got = NULL;

		snprintf(before, sizeof(before), HEAD "%s\nadapter = \"}\";", removals[i].before);
		snprintf(after, sizeof(after), HEAD "%s\nadapter = \"}\";", removals[i].after);
		got = take(before, removals[i].out, error);
		if (!got)
			fail_msg("%s: %s", removals[i].before, error);
		assert_string_equal(got, after);
	}
}

static void an_address_and_a_driver_go_in_with_it(void **state)
{
	struct config_lock lock = lock_of("c", KEY_3);
	cleanup(freep) char *text = NULL;
	struct config config;
	char error[512];

	strcpy(lock.address, "AA:BB:CC:DD:EE:FF");
	strcpy(lock.driver, "open");
	assert_int_equal(config_add_lock("c.conf", span_str(HEAD), &lock, &text, error, 512), 0);
	assert_int_equal(config_parse("c.conf", span_str(text), &config, error, 512), 0);
	assert_int_equal(config.nlocks, 1);
	assert_string_equal(config.locks[0].address, "AA:BB:CC:DD:EE:FF");
	assert_memory_equal(config.locks[0].key, lock.key, PUBLIC_LEN);
	/* what the parser would refuse is not written */
	strcpy(lock.address, "nonsense");
	freep(&text);
	text = NULL;
	assert_int_equal(config_add_lock("c.conf", span_str(HEAD), &lock, &text, error, 512),
			 -EINVAL);
}

static void what_cannot_be_done_is_said(void **state)
{
	struct config_lock lock = lock_of("a", KEY_3);
	char error[512], *ret = NULL;
	const char *one = HEAD "locks = ( " A " );";

	assert_int_equal(config_add_lock("c.conf", span_str(one), &lock, &ret, error, 512),
			 -EEXIST);
	assert_string_equal(error, "c.conf: locks[0]: \"a\" is there already; nothing was changed");
	lock = lock_of("z", KEY_1);
	assert_int_equal(config_add_lock("c.conf", span_str(one), &lock, &ret, error, 512),
			 -EEXIST);
	assert_string_equal(
		error,
		"c.conf: locks[0]: \"a\" is there already, with this key; nothing was changed");
	assert_int_equal(config_remove_lock("c.conf", span_str(one), "b", &ret, error, 512),
			 -ENOENT);
	assert_string_equal(error, "c.conf: locks: there is no \"b\"; nothing was changed");
	assert_int_equal(config_remove_lock("c.conf", span_str(""), "b", &ret, error, 512),
			 -EINVAL);
	assert_string_equal(error, "c.conf: gateway: is missing; add it");
	assert_int_equal(config_add_lock("c.conf", span_str("locks = ("), &lock, &ret, error, 512),
			 -EINVAL);
	assert_null(ret);
}

static void the_list_fills_up_to_its_bound_and_empties_again(void **state)
{
	cleanup(freep) char *text = strdup(HEAD);
	char error[512], id[16], key[BASE64_CAP(PUBLIC_LEN)];
	uint8_t bytes[PUBLIC_LEN] = {0};

	for (unsigned i = 0; i < CONFIG_LOCKS; i++) {
		char *more;

		bytes[0] = (uint8_t)i;
		base64_encode(SPAN(bytes), key, sizeof(key));
		snprintf(id, sizeof(id), "lock-%u", i);
		more = add(text, id, key, error);
		if (!more)
			fail_msg("%s", error);
		free(text);
		text = more;
	}
	assert_null(add(text, "one-more", KEY_1, error));
	assert_string_equal(error, "c.conf: locks: are 64, which is the most; take one out");
	for (unsigned i = 0; i < CONFIG_LOCKS; i++) {
		char *less;

		snprintf(id, sizeof(id), "lock-%u", i % 2 ? i - 1 : i + 1);
		less = take(text, id, error);
		if (!less)
			fail_msg("%s", error);
		free(text);
		text = less;
	}
	assert_string_equal(text, HEAD "\nlocks = (\n);\n");
}

/* --- a whole file --- */

static struct config enrolled(void)
{
	struct config c;

	config_defaults(&c);
	strcpy(c.gateway, "gw-17");
	strcpy(c.root_key_file, "/etc/lockbridge/root.pub.pem");
	c.enrolled = 1790000000;
	strcpy(c.brokers[0].host, "mqtt.city.example");
	c.brokers[0].port = 8883;
	strcpy(c.brokers[0].ca, "/etc/lockbridge/broker-ca.pem");
	strcpy(c.brokers[0].certificate, "/var/lib/lockbridge/gateway.pem");
	strcpy(c.brokers[0].key, "gateway.key");
	c.nbrokers = 1;
	return c;
}

static void assert_round(const struct config *config)
{
	cleanup(freep) char *text = config_encode(config);
	struct config got;
	char error[512];

	assert_non_null(text);
	if (config_parse("c.conf", span_str(text), &got, error, sizeof(error)) < 0)
		fail_msg("%s\n%s", error, text);
	assert_memory_equal(&got, config, sizeof(got));
}

static void what_is_written_is_parsed_the_same(void **state)
{
	struct config c = enrolled();

	assert_round(&c);
	c.brokers[1] = c.brokers[0];
	strcpy(c.brokers[1].host, "a \"quoted\\\" # name // /* */ {");
	strcpy(c.brokers[1].username, "u\\");
	strcpy(c.brokers[1].password_file, "word");
	c.brokers[1].port = 1;
	c.nbrokers = 2;
	strcpy(c.locks[0].id, "lock-1");
	strcpy(c.locks[0].driver, "open");
	strcpy(c.locks[1].id, "lock-2");
	strcpy(c.locks[1].driver, "open");
	strcpy(c.locks[1].address, "AA:BB:CC:DD:EE:FF");
	memset(c.locks[1].key, 0xff, PUBLIC_LEN);
	c.nlocks = 2;
	assert_round(&c);
	strcpy(c.adapter, "hci1");
	c.stop_scan_to_connect = false;
	c.links_max = 3;
	c.silent_s = 1;
	c.linger_s = 0;
	c.event_keep_s = 60;
	c.event_bytes_max = UINT64_C(1) << 40;
	c.health_s = 5;
	c.backoff_min_ms = 10;
	c.backoff_max_ms = 3600000;
	c.preferred_retry_s = 1;
	memcpy(c.log_level, "debug", 6);
	memset(c.state_dir, 0, sizeof(c.state_dir));
	strcpy(c.state_dir, "/s");
	assert_round(&c);
}

static void a_written_file_takes_and_gives_locks(void **state)
{
	struct config c = enrolled();
	cleanup(freep) char *text = config_encode(&c), *with = NULL, *again = NULL;
	char error[512];

	with = add(text, "c", KEY_3, error);
	if (!with)
		fail_msg("%s", error);
	again = take(with, "c", error);
	assert_string_equal(again, text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_lock_goes_in_and_nothing_else_changes),
		cmocka_unit_test(a_lock_comes_out_and_nothing_else_changes),
		cmocka_unit_test(an_address_and_a_driver_go_in_with_it),
		cmocka_unit_test(what_cannot_be_done_is_said),
		cmocka_unit_test(the_list_fills_up_to_its_bound_and_empties_again),
		cmocka_unit_test(what_is_written_is_parsed_the_same),
		cmocka_unit_test(a_written_file_takes_and_gives_locks),
	};

	return cmocka_run_group_tests_name("config-edit", tests, NULL, NULL);
}
