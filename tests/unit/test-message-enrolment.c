/* SPDX-License-Identifier: Apache-2.0 */
/* message-enrolment: what a box accepts as its enrolment file, and the words for what it does not. */
#include "fixture.h"

#include <jansson.h>

#include "core/crypto.h"
#include "message-enrolment.h"

#define PEM(what)                                                                                  \
	"-----BEGIN " what "-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg==\n-----END " what       \
	"-----\n"

static struct enrolment sample(void)
{
	struct enrolment e = {
		.gateway = "gw-17",
		.issued = 1790000000,
		.root_topic = "lockbridge",
		.root_key = (char *)PEM("PUBLIC KEY"),
		.broker_ca = (char *)PEM("CERTIFICATE") PEM("CERTIFICATE"),
		.certificate = (char *)PEM("CERTIFICATE"),
		.brokers = {{"mqtt.city.example", 8883}, {"2001:db8::1", 1}},
		.nbrokers = 2,
		.locks = {{.id = "lock-1"}, {.id = "lock-2"}},
		.nlocks = 2,
	};

	memset(e.locks[0].key, 1, PUBLIC_LEN);
	memset(e.locks[1].key, 0xfe, PUBLIC_LEN);
	return e;
}

static char *sample_text(void)
{
	struct enrolment e = sample();
	char *text = enrolment_encode(&e);

	assert_non_null(text);
	return text;
}

static int parse(struct span text, char error[static 256])
{
	struct enrolment e;
	int r;

	strcpy(error, "not filled");
	r = enrolment_parse(text, &e, error, 256);
	if (r == 0)
		enrolment_deinit(&e);
	else
		assert_string_not_equal(error, "not filled");
	return r;
}

static void what_is_written_is_read_again(void **state)
{
	cleanup(freep) char *text = sample_text(), *again = NULL;
	struct enrolment e, want = sample();
	char error[256];

	assert_int_equal(enrolment_parse(span_str(text), &e, error, sizeof(error)), 0);
	assert_string_equal(e.gateway, want.gateway);
	assert_int_equal(e.issued, want.issued);
	assert_string_equal(e.root_topic, want.root_topic);
	assert_string_equal(e.root_key, want.root_key);
	assert_string_equal(e.broker_ca, want.broker_ca);
	assert_string_equal(e.certificate, want.certificate);
	assert_int_equal(e.nbrokers, 2);
	assert_string_equal(e.brokers[1].host, "2001:db8::1");
	assert_int_equal(e.brokers[0].port, 8883);
	assert_int_equal(e.nlocks, 2);
	assert_string_equal(e.locks[1].id, "lock-2");
	assert_memory_equal(e.locks[1].key, want.locks[1].key, PUBLIC_LEN);
	again = enrolment_encode(&e);
	assert_string_equal(again, text);
	assert_int_equal(text[strlen(text) - 1], '\n');
	enrolment_deinit(&e);
}

/* Mail programs and people: other blanks, other line breaks, another order of the members. */
static void another_layout_is_the_same_file(void **state)
{
	cleanup(freep) char *text = sample_text(), *flat = NULL, *crlf = NULL;
	json_t *object = json_loads(text, 0, NULL);
	size_t n = 0;
	char error[256];

	flat = json_dumps(object, JSON_SORT_KEYS | JSON_ENSURE_ASCII | JSON_ESCAPE_SLASH);
	assert_int_equal(parse(span_str(flat), error), 0);
	crlf = malloc(2 * strlen(text) + 1);
	for (const char *c = text; *c; c++) {
		if (*c == '\n')
			crlf[n++] = '\r';
		crlf[n++] = *c;
	}
	assert_int_equal(parse(span_of(crlf, n), error), 0);
	json_decref(object);
}

/* The checksum as message-enrolment.h words it, by other means than the encoder's. */
static void the_checksum_is_that_of_the_compact_sorted_object(void **state)
{
	static const char sorted[] =
		"{\"broker_ca\":\"B\",\"brokers\":[{\"host\":\"h\",\"port\":1}],"
		"\"certificate\":\"C\",\"gateway\":\"g\",\"issued\":5,"
		"\"lockbridge-enrolment\":1,\"locks\":[],\"root_key\":\"R\",\"root_topic\":\"t\"";
	struct enrolment e = {.gateway = "g",
			      .issued = 5,
			      .root_topic = "t",
			      .root_key = (char *)"R",
			      .broker_ca = (char *)"B",
			      .certificate = (char *)"C",
			      .brokers = {{"h", 1}},
			      .nbrokers = 1};
	cleanup(freep) char *ours = enrolment_encode(&e);
	char text[600], hex[HEX_CAP(SHA256_LEN)], error[256];
	uint8_t sum[SHA256_LEN];

	snprintf(text, sizeof(text), "%s}", sorted);
	crypto_sha256(span_str(text), sum);
	hex_encode(SPAN(sum), hex, sizeof(hex));
	snprintf(text, sizeof(text), "%s,\"checksum\":\"%s\"}", sorted, hex);
	if (parse(span_str(text), error) != 0)
		fail_msg("%s", error);
	assert_non_null(strstr(ours, hex));
}

static void no_damaged_byte_goes_unnoticed(void **state)
{
	cleanup(freep) char *text = sample_text();
	size_t len = strlen(text);
	char error[256];

	for (size_t i = 0; i < len; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			text[i] ^= (char)(1 << bit);
			if (parse(span_of(text, len), error) == 0)
				fail_msg("byte %zu, bit %u", i, bit);
			text[i] ^= (char)(1 << bit);
		}
	}
	for (size_t cut = 0; cut + 1 < len; cut++)
		assert_int_not_equal(parse(span_of(text, cut), error), 0);
	assert_int_equal(parse(span_of(text, len), error), 0);
}

static void damage_is_told_from_a_foreign_file(void **state)
{
	cleanup(freep) char *text = sample_text();
	char error[256];

	assert_int_equal(parse(span_of(text, strlen(text) - 40), error), -EBADMSG);
	assert_non_null(strstr(error, "damaged"));
	assert_non_null(strstr(error, "cut off"));
	memcpy(strstr(text, "gw-17"), "gw-18", 5);
	assert_int_equal(parse(span_str(text), error), -EBADMSG);
	assert_non_null(strstr(error, "checksum does not fit"));
	assert_non_null(strstr(error, "from the city's desk anew"));
}

static void what_is_no_enrolment_file_is_called_so(void **state)
{
	static const char *const foreign[] = {
		"",
		" ",
		"null",
		"1",
		"[]",
		"{}",
		"[\"lockbridge-enrolment\"]",
		"{\"gateway\":\"gw-1\"}",
		"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
		"gateway = \"gw-1\";\n",
		"{\"lockbridge-enrolment\":\"1\"}",
		"{\"lockbridge-enrolment\":0}",
		"{\"lockbridge-enrolment\":-1}",
		"{\"lockbridge-enrolment\":1.0}",
		"{\"lockbridge-enrolment\":true}",
		"{\"lockbridge-enrolment\":null}",
	};
	char error[256];

	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++) {
		if (parse(span_str(foreign[i]), error) != -EINVAL)
			fail_msg("%s", foreign[i]);
		assert_non_null(strstr(error, "this is no enrolment file"));
		assert_non_null(strstr(error, "the city's desk"));
	}
	assert_int_equal(parse(span_of("\0\0\0", 3), error), -EINVAL);
	assert_int_equal(parse(span_of("{}\0", 3), error), -EINVAL);
}

static void a_later_version_asks_for_a_newer_package(void **state)
{
	char error[256];

	assert_int_equal(parse(span_str("{\"lockbridge-enrolment\":2,\"new\":[]}"), error),
			 -EOPNOTSUPP);
	assert_non_null(strstr(error, "version 2"));
	assert_non_null(strstr(error, "install the newer lockbridge"));
}

static void a_file_that_is_too_large_is_not_read(void **state)
{
	cleanup(freep) char *text = sample_text(), *large = malloc(ENROLMENT_MAX + 1);
	size_t len = strlen(text);
	char error[256];

	memset(large, ' ', ENROLMENT_MAX + 1);
	memcpy(large, text, len);
	assert_int_equal(parse(span_of(large, ENROLMENT_MAX), error), 0);
	assert_int_equal(parse(span_of(large, ENROLMENT_MAX + 1), error), -EINVAL);
}

/* A file whose checksum fits, with one member changed. */
static char *with(const char *member, json_t *value)
{
	cleanup(freep) char *text = sample_text(), *compact = NULL;
	json_t *object = json_loads(text, 0, NULL);
	char hex[HEX_CAP(SHA256_LEN)], *ret;
	uint8_t sum[SHA256_LEN];

	json_object_del(object, "checksum");
	if (value)
		json_object_set_new(object, member, value);
	else
		json_object_del(object, member);
	compact = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
	crypto_sha256(span_str(compact), sum);
	hex_encode(SPAN(sum), hex, sizeof(hex));
	json_object_set_new(object, "checksum", json_string(hex));
	ret = json_dumps(object, 0);
	json_decref(object);
	return ret;
}

static void each_member_is_needed(void **state)
{
	static const char *const members[] = {"gateway",   "issued",	  "root_topic", "root_key",
					      "broker_ca", "certificate", "brokers",	"locks"};
	char error[256];

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		cleanup(freep) char *without = with(members[i], NULL);
		cleanup(freep) char *null = with(members[i], json_null());

		assert_int_equal(parse(span_str(without), error), -EINVAL);
		assert_memory_equal(error, members[i], strlen(members[i]));
		assert_int_equal(parse(span_str(null), error), -EINVAL);
		assert_memory_equal(error, members[i], strlen(members[i]));
	}
}

static void wrong_shapes_are_named(void **state)
{
	static const struct {
		const char *member, *value, *named;
	} cases[] = {
		{"gateway", "\"\"", "gateway is"},
		{"gateway", "\"Gw\"", "gateway is"},
		{"gateway", "\"../../etc\"", "gateway is"},
		{"gateway", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"", "gateway is"},
		{"gateway", "17", "gateway is"},
		{"issued", "-1", "issued is"},
		{"issued", "\"1\"", "issued is"},
		{"issued", "1.5", "issued is"},
		{"root_topic", "\"\"", "root_topic is"},
		{"root_topic", "\"a\\nb\"", "root_topic is"},
		{"root_key", "\"\"", "root_key is"},
		{"root_key", "\"\\u001b[2J\"", "root_key is"},
		{"certificate", "[]", "certificate is"},
		{"certificate", "\"\xc3\xa9\"", "certificate is"},
		{"broker_ca", "{}", "broker_ca is"},
		{"brokers", "[]", "brokers is"},
		{"brokers", "{}", "brokers is"},
		{"brokers", "[1]", "brokers[0].host is"},
		{"brokers", "[{\"host\":\"a\",\"port\":1},{\"port\":1}]", "brokers[1].host is"},
		{"brokers", "[{\"host\":\"a b\",\"port\":1}]", "brokers[0].host is"},
		{"brokers", "[{\"host\":\"a\\\"b\",\"port\":1}]", "brokers[0].host is"},
		{"brokers", "[{\"host\":\"a\"}]", "brokers[0].port is"},
		{"brokers", "[{\"host\":\"a\",\"port\":0}]", "brokers[0].port is"},
		{"brokers", "[{\"host\":\"a\",\"port\":65536}]", "brokers[0].port is"},
		{"brokers", "[1,1,1,1,1,1,1,1,1]", "brokers is"},
		{"locks", "[{}]", "locks[0].id is"},
		{"locks", "[{\"id\":\"l\",\"key\":\"AAAA\"}]", "locks[0].key is"},
		{"locks", "\"\"", "locks is"},
	};
	char error[256];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup(freep) char *text =
			with(cases[i].member, json_loads(cases[i].value, JSON_DECODE_ANY, NULL));

		if (parse(span_str(text), error) != -EINVAL ||
		    strncmp(error, cases[i].named, strlen(cases[i].named)) != 0)
			fail_msg("%s %s: %s", cases[i].member, cases[i].value, error);
	}
}

static void bounds_are_kept(void **state)
{
	static struct enrolment e;
	static struct enrolment back;
	cleanup(freep) char *text = NULL;
	json_t *many = json_array();
	char error[256];

	e = sample();
	e.nbrokers = CONFIG_BROKERS;
	e.nlocks = CONFIG_LOCKS;
	for (size_t i = 0; i < CONFIG_BROKERS; i++) {
		memset(e.brokers[i].host, 'h', sizeof(e.brokers[i].host) - 1);
		e.brokers[i].port = 65535;
	}
	for (size_t i = 0; i < CONFIG_LOCKS; i++)
		snprintf(e.locks[i].id, sizeof(e.locks[i].id), "lock-%027zu", i);
	text = enrolment_encode(&e);
	assert_int_equal(enrolment_parse(span_str(text), &back, error, sizeof(error)), 0);
	assert_int_equal(back.nlocks, CONFIG_LOCKS);
	assert_int_equal(strlen(back.brokers[7].host), 255);
	enrolment_deinit(&back);
	for (size_t i = 0; i <= CONFIG_LOCKS; i++)
		json_array_append_new(many, json_object());
	freep(&text);
	text = with("locks", many);
	assert_int_equal(parse(span_str(text), error), -EINVAL);
	assert_memory_equal(error, "locks is", 8);
}

static void a_member_twice_is_refused_and_an_unknown_one_is_not(void **state)
{
	cleanup(freep) char *text = sample_text(), *twice = NULL, *more = NULL;
	char error[256];

	assert_true(asprintf(&twice, "{\"gateway\":\"gw-18\",%s", text + 1) > 0);
	assert_int_equal(parse(span_str(twice), error), -EBADMSG);
	more = with("note", json_string("of a later desk"));
	assert_int_equal(parse(span_str(more), error), 0);
}

/* Nothing is written by a failure, and errors fit into what they are given. */
static void a_failure_leaves_the_result_alone(void **state)
{
	struct enrolment e = {.gateway = "before"};
	char error[8] = "";

	assert_int_equal(enrolment_parse(span_str("{}"), &e, error, sizeof(error)), -EINVAL);
	assert_string_equal(e.gateway, "before");
	assert_int_equal(strlen(error), sizeof(error) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read_again),
		cmocka_unit_test(another_layout_is_the_same_file),
		cmocka_unit_test(the_checksum_is_that_of_the_compact_sorted_object),
		cmocka_unit_test(no_damaged_byte_goes_unnoticed),
		cmocka_unit_test(damage_is_told_from_a_foreign_file),
		cmocka_unit_test(what_is_no_enrolment_file_is_called_so),
		cmocka_unit_test(a_later_version_asks_for_a_newer_package),
		cmocka_unit_test(a_file_that_is_too_large_is_not_read),
		cmocka_unit_test(each_member_is_needed),
		cmocka_unit_test(wrong_shapes_are_named),
		cmocka_unit_test(bounds_are_kept),
		cmocka_unit_test(a_member_twice_is_refused_and_an_unknown_one_is_not),
		cmocka_unit_test(a_failure_leaves_the_result_alone),
	};

	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("message-enrolment", tests, NULL, NULL);
}
