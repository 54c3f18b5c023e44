// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/cbor.h"
#include "core/policy.h"

static struct policy policy, back;
static uint8_t buf[TOKEN_MEDIUM_MAX];

static struct span encoded(const struct policy *p)
{
	struct cbor_writer w;

	cbor_writer_init(&w, buf, sizeof(buf));
	policy_put(&w, p);
	assert_false(w.failed);
	return span_of(buf, w.len);
}

static void assert_same(const struct policy *a, const struct policy *b)
{
	assert_int_equal(a->require_pin, b->require_pin);
	assert_int_equal(a->posture_max_age, b->posture_max_age);
	assert_int_equal(a->max_relay, b->max_relay);
	assert_int_equal(a->max_lifetime, b->max_lifetime);
	assert_int_equal(a->report_manual, b->report_manual);
	assert_int_equal(a->napps, b->napps);
	for (size_t i = 0; i < a->napps; i++)
		assert_string_equal(a->apps[i], b->apps[i]);
	assert_int_equal(a->ncut_offs, b->ncut_offs);
	for (size_t i = 0; i < a->ncut_offs; i++)
		assert_int_equal(policy_cut_off(a, span_str(a->cut_offs[i].lock)),
				 policy_cut_off(b, span_str(a->cut_offs[i].lock)));
}

static void the_default_is_the_contracts(void **state)
{
	policy_default(&policy);
	assert_true(policy.require_pin);
	assert_int_equal(policy.napps, 0);
	assert_int_equal(policy.posture_max_age, 86400);
	assert_int_equal(policy.max_relay, 60);
	assert_int_equal(policy.max_lifetime, 43200);
	assert_int_equal(policy.ncut_offs, 0);
	assert_false(policy.report_manual);
}

static void what_is_missing_keeps_the_default(void **state)
{
	static const uint8_t empty[] = {0xa0};

	memset(&policy, 0xff, sizeof(policy));
	assert_int_equal(policy_parse(SPAN(empty), &policy), 0);
	policy_default(&back);
	assert_same(&policy, &back);
}

static void what_is_written_is_read_back(void **state)
{
	policy = (struct policy){.require_pin = false,
				 .apps = {"se.city.app", "b"},
				 .napps = 2,
				 .posture_max_age = 1,
				 .max_relay = 1ULL << 40,
				 .max_lifetime = 0,
				 .cut_offs = {{"lock-22", 5}, {"*", 7}, {"lock-1", UINT64_MAX}},
				 .ncut_offs = 3,
				 .report_manual = true};
	assert_int_equal(policy_parse(encoded(&policy), &back), 0);
	assert_same(&policy, &back);
}

static void the_fullest_policy_fits_a_document(void **state)
{
	policy_default(&policy);
	policy.napps = POLICY_APPS_MAX;
	for (size_t i = 0; i < POLICY_APPS_MAX; i++) {
		memset(policy.apps[i], 'a', POLICY_APP_LEN);
		policy.apps[i][0] = (char)('!' + i);
	}
	policy.ncut_offs = POLICY_CUT_OFFS_MAX;
	for (size_t i = 0; i < POLICY_CUT_OFFS_MAX; i++) {
		memset(policy.cut_offs[i].lock, 'l', ID_MAX);
		policy.cut_offs[i].lock[0] = (char)('a' + i % 16);
		policy.cut_offs[i].lock[1] = (char)('a' + i / 16);
		policy.cut_offs[i].time = 1ULL << 31;
	}
	assert_true(encoded(&policy).len + COSE_OVERHEAD + 64 <= TOKEN_MEDIUM_MAX);
	assert_int_equal(policy_parse(encoded(&policy), &back), 0);
	assert_same(&policy, &back);
}

/* RFC 8949 section 4.2.1, checked on the bytes. */
static void writing_is_deterministic(void **state)
{
	static const char want[] = "\xa7"
				   "\x64"
				   "apps\x80"
				   "\x67"
				   "cut_off\xa3\x61*\x07\x61"
				   "b\x06\x62"
				   "aa\x05"
				   "\x69max_relay\x18\x3c"
				   "\x6brequire_pin\xf5"
				   "\x6cmax_lifetime\x19\xa8\xc0"
				   "\x6dreport_manual\xf4"
				   "\x6fposture_max_age\x1a\x00\x01\x51\x80";

	policy_default(&policy);
	policy.cut_offs[0] = (struct cut_off){"aa", 5};
	policy.cut_offs[1] = (struct cut_off){"b", 6};
	policy.cut_offs[2] = (struct cut_off){"*", 7};
	policy.ncut_offs = 3;
	assert_true(span_equal(encoded(&policy), span_of(want, sizeof(want) - 1)));
}

static void members_of_a_later_version_are_skipped(void **state)
{
	/* {"quiet_hours": [22, {"a": h''}], "max_relay": 30} */
	static const char later[] = "\xa2\x6bquiet_hours\x82\x16\xa1\x61"
				    "a\x40\x69max_relay\x18\x1e";

	assert_int_equal(policy_parse(span_of(later, sizeof(later) - 1), &policy), 0);
	assert_int_equal(policy.max_relay, 30);
}

#define BYTES(text)                                                                                \
	{                                                                                          \
		(text), sizeof(text) - 1                                                           \
	}

static void what_cannot_be_read_as_meant_is_malformed(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} bad[] = {
		BYTES(""),
		BYTES("\x80"),			  /* no map */
		BYTES("\xa0\x00"),		  /* something behind it */
		BYTES("\xa1\x01\x02"),		  /* a key that is no text */
		BYTES("\xa1\x6brequire_pin\x01"), /* 1 for true */
		BYTES("\xa1\x6brequire_pin\xf6"), /* null */
		BYTES("\xa1\x69max_relay\x20"),	  /* negative */
		BYTES("\xa1\x69max_relay\x61"
		      "9"),					 /* text */
		BYTES("\xa2\x69max_relay\x01\x69max_relay\x02"), /* twice */
		BYTES("\xa1\x64"
		      "apps\x61"
		      "a"), /* text for an array */
		BYTES("\xa1\x64"
		      "apps\x81\x60"), /* an empty name */
		BYTES("\xa1\x64"
		      "apps\x81\x63"
		      "a\0b"), /* a NUL: would be read as "a" */
		BYTES("\xa1\x64"
		      "apps\x81\x01"), /* a number */
		BYTES("\xa1\x67"
		      "cut_off\x80"), /* no map */
		BYTES("\xa1\x67"
		      "cut_off\xa1\x62**\x01"), /* neither a lock nor all */
		BYTES("\xa1\x67"
		      "cut_off\xa1\x66Lock-1\x01"), /* capitals are no id */
		BYTES("\xa1\x67"
		      "cut_off\xa1\x61*\x20"), /* negative */
		BYTES("\xa1\x67"
		      "cut_off\xa2\x61*\x01\x61*\x02"), /* twice */
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(policy_parse(span_of(bad[i].text, bad[i].len), &policy),
				 REASON_MALFORMED);
}

static void too_many_entries_are_malformed(void **state)
{
	struct cbor_writer w;
	uint8_t name[POLICY_APP_LEN + 1];

	cbor_writer_init(&w, buf, sizeof(buf));
	cbor_put_map(&w, 1);
	cbor_put_text(&w, span_str("apps"));
	cbor_put_array(&w, POLICY_APPS_MAX + 1);
	for (size_t i = 0; i < POLICY_APPS_MAX + 1; i++)
		cbor_put_text(&w, span_str("a"));
	assert_int_equal(policy_parse(span_of(buf, w.len), &policy), REASON_MALFORMED);

	cbor_writer_init(&w, buf, sizeof(buf));
	cbor_put_map(&w, 1);
	cbor_put_text(&w, span_str("cut_off"));
	cbor_put_map(&w, POLICY_CUT_OFFS_MAX + 1);
	for (unsigned i = 0; i < POLICY_CUT_OFFS_MAX + 1; i++) {
		char lock[3] = {(char)('a' + i % 16), (char)('a' + i / 16), 0};

		cbor_put_text(&w, span_str(lock));
		cbor_put_uint(&w, i);
	}
	assert_int_equal(policy_parse(span_of(buf, w.len), &policy), REASON_MALFORMED);

	memset(name, 'a', sizeof(name));
	cbor_writer_init(&w, buf, sizeof(buf));
	cbor_put_map(&w, 1);
	cbor_put_text(&w, span_str("apps"));
	cbor_put_array(&w, 1);
	cbor_put_text(&w, SPAN(name));
	assert_int_equal(policy_parse(span_of(buf, w.len), &policy), REASON_MALFORMED);
}

static void every_truncation_is_malformed(void **state)
{
	struct span whole;

	policy_default(&policy);
	policy.napps = 1;
	strcpy(policy.apps[0], "se.city.app");
	policy.cut_offs[policy.ncut_offs++] = (struct cut_off){"*", 7};
	whole = encoded(&policy);
	for (size_t n = 0; n < whole.len; n++)
		assert_int_equal(policy_parse(span_of(whole.data, n), &back), REASON_MALFORMED);
}

static void a_cut_off_is_the_later_of_the_locks_own_and_that_of_all(void **state)
{
	policy_default(&policy);
	assert_int_equal(policy_cut_off(&policy, span_str("a")), 0);
	policy.cut_offs[0] = (struct cut_off){"a", 5};
	policy.cut_offs[1] = (struct cut_off){"*", 7};
	policy.cut_offs[2] = (struct cut_off){"b", 9};
	policy.ncut_offs = 3;
	assert_int_equal(policy_cut_off(&policy, span_str("a")), 7);
	assert_int_equal(policy_cut_off(&policy, span_str("b")), 9);
	assert_int_equal(policy_cut_off(&policy, span_str("c")), 7);
}

static void an_empty_list_of_apps_allows_any(void **state)
{
	policy_default(&policy);
	assert_true(policy_app_allowed(&policy, span_str("x")));
	assert_true(policy_app_allowed(&policy, (struct span){0}));
	strcpy(policy.apps[policy.napps++], "se.city.app");
	assert_true(policy_app_allowed(&policy, span_str("se.city.app")));
	assert_false(policy_app_allowed(&policy, span_str("se.city.ap")));
	assert_false(policy_app_allowed(&policy, span_str("se.city.app2")));
	assert_false(policy_app_allowed(&policy, span_of("se.city.app\0x", 13)));
	assert_false(policy_app_allowed(&policy, (struct span){0}));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_default_is_the_contracts),
		cmocka_unit_test(what_is_missing_keeps_the_default),
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(the_fullest_policy_fits_a_document),
		cmocka_unit_test(writing_is_deterministic),
		cmocka_unit_test(members_of_a_later_version_are_skipped),
		cmocka_unit_test(what_cannot_be_read_as_meant_is_malformed),
		cmocka_unit_test(too_many_entries_are_malformed),
		cmocka_unit_test(every_truncation_is_malformed),
		cmocka_unit_test(a_cut_off_is_the_later_of_the_locks_own_and_that_of_all),
		cmocka_unit_test(an_empty_list_of_apps_allows_any),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
