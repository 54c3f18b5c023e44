// SPDX-License-Identifier: Apache-2.0
/* The reader against RFC 8949 Appendix F.1 and the profile's own limits; the writer against both.
 */
#include "unit/vectors.h"

#include "core/cbor.h"

#include <time.h>

static bool well_formed(const char *hex)
{
	struct span s = vectors_hex(hex);
	bool good = cbor_well_formed(s);

	vectors_free(s);
	return good;
}

static void everything_in_appendix_f_is_refused(void **state)
{
	json_t *root = vectors_load("rfc8949_appendix_f_not_well_formed.json"), *list, *hex;
	const char *group;
	size_t i, seen = 0;

	json_object_foreach(json_object_get(root, "cases"), group, list)
	{
		json_array_foreach(list, i, hex)
		{
			if (well_formed(json_string_value(hex)))
				fail_msg("%s: %s", group, json_string_value(hex));
			seen++;
		}
	}
	json_decref(root);
	assert_true(seen > 80);
}

static void what_the_profile_leaves_out_is_refused(void **state)
{
	static const struct {
		const char *why;
		const char *hex[8];
	} bad[] = {
		{"nothing at all", {""}},
		{"something behind the end", {"0000", "8000", "a0f6"}},
		{"floats", {"f93c00", "fa3f800000", "fb3ff0000000000000"}},
		{"other simple values", {"f7", "e0", "f0", "f820", "f8ff"}},
		{"false, true, null at length", {"f814", "f815", "f816"}},
		{"indefinite lengths",
		 {"9f00ff", "bf0000ff", "5f4100ff", "7f6161ff", "9fff", "bfff"}},
		{"one key twice", {"a200000000", "a220002000", "a2616100616100", "a3010002000100"}},
		{"one key in two lengths",
		 {"a20000180000", "a2000019000000", "a22000380000", "a261610078016100",
		  "a21a00000001000100"}},
		{"keys neither number nor text",
		 {"a1410000", "a1800000", "a1f500", "a1c00000", "a1a000"}},
		{"not UTF-8: bytes",
		 {"61ff", "6180", "62c328", "61c3", "63e28228", "62e282", "6484908080"}},
		{"not UTF-8: overlong", {"62c080", "62c1bf", "63e080af", "64f08080af"}},
		{"not UTF-8: range", {"63eda080", "63edbfbf", "64f4908080", "64f5808080"}},
		{"not UTF-8 in a key", {"a161ff00"}},
		{"lengths beyond the input",
		 {"9a07ffffff", "9bffffffffffffffff", "bb8000000000000000", "bbffffffffffffffff",
		  "5bffffffffffffffff", "7bffffffffffffffff", "bb7fffffffffffffff"}},
		{"nine deep",
		 {"818181818181818180", "c0c0c0c0c0c0c0c0c000",
		  "a100a100a100a100a100a100a100a100a0", "c1818181818181818100"}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		for (size_t k = 0; k < 8 && bad[i].hex[k]; k++)
			if (well_formed(bad[i].hex[k]))
				fail_msg("%s: %s", bad[i].why, bad[i].hex[k]);
}

static void what_common_encoders_write_is_accepted(void **state)
{
	static const char *const good[] = {
		"00",
		"1800",
		"190000",
		"1a00000000",
		"1b0000000000000000",
		"1bffffffffffffffff",
		"20",
		"3bffffffffffffffff",
		"40",
		"60",
		"80",
		"a0",
		"f4",
		"f5",
		"f6",
		"5800",
		"7800",
		"9800",
		"b800",
		"9b0000000000000001f6",
		"a3020001006161f5", /* unsorted */
		"a200002000",
		"a20000613000", /* 0 and -1, 0 and "0" are two keys */
		"a261610062616100",
		"82a10000a10000", /* the same key in two maps */
		"a200a1000001a10000",
		"8181818181818180",
		"c0c0c0c0c0c0c0c000",
		"62c3a5",
		"63e282ac",
		"64f0908080",
		"64f48fbfbf",
		"63ed9fbf",
		"63ee8080",
		"6100",
		"d83dd28440a040f6",
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		if (!well_formed(good[i]))
			fail_msg("%s", good[i]);
}

static void values_are_read_at_their_limits(void **state)
{
	static const struct {
		const char *hex;
		int64_t value;
		bool good;
	} cases[] = {
		{"00", 0, true},
		{"17", 23, true},
		{"1818", 24, true},
		{"1a000f4240", 1000000, true},
		{"1b7fffffffffffffff", INT64_MAX, true},
		{"1b8000000000000000", 0, false},
		{"20", -1, true},
		{"3a00011170", -70001, true},
		{"3b7fffffffffffffff", INT64_MIN, true},
		{"3b8000000000000000", 0, false},
		{"60", 0, false},
		{"f4", 0, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct span s = vectors_hex(cases[i].hex);
		struct cbor_reader r;

		cbor_reader_init(&r, s);
		assert_int_equal(cbor_int(&r), cases[i].value);
		assert_int_equal(cbor_done(&r), cases[i].good);
		vectors_free(s);
	}
}

/* {1: -2, "a": [true, null, h'0102', "x"], 61: 61("y")} */
static const char sample[] = "a30121616184f5f64201026178183dd83d6179";

static void a_document_is_pulled_item_by_item(void **state)
{
	struct span s = vectors_hex(sample);
	struct cbor_reader r;

	assert_true(cbor_well_formed(s));
	cbor_reader_init(&r, s);
	assert_int_equal(cbor_peek(&r), CBOR_MAP);
	assert_int_equal(cbor_enter_map(&r), 3);
	assert_int_equal(cbor_peek(&r), CBOR_UINT);
	assert_int_equal(cbor_uint(&r), 1);
	assert_int_equal(cbor_peek(&r), CBOR_NINT);
	assert_int_equal(cbor_int(&r), -2);
	assert_int_equal(cbor_peek(&r), CBOR_TEXT);
	assert_true(span_is(cbor_text(&r), "a"));
	assert_int_equal(cbor_peek(&r), CBOR_ARRAY);
	assert_int_equal(cbor_enter_array(&r), 4);
	assert_int_equal(cbor_peek(&r), CBOR_BOOL);
	assert_true(cbor_bool(&r));
	assert_int_equal(cbor_peek(&r), CBOR_NULL);
	cbor_null(&r);
	assert_int_equal(cbor_peek(&r), CBOR_BYTES);
	assert_true(span_equal(cbor_bytes(&r), span_of("\x01\x02", 2)));
	assert_true(span_is(cbor_text(&r), "x"));
	cbor_leave(&r);
	assert_int_equal(cbor_uint(&r), 61);
	assert_int_equal(cbor_peek(&r), CBOR_TAG);
	assert_false(cbor_done(&r));
	assert_int_equal(cbor_tag(&r), 61);
	assert_true(span_is(cbor_text(&r), "y"));
	cbor_leave(&r);
	assert_int_equal(cbor_peek(&r), CBOR_NOTHING);
	assert_true(cbor_done(&r));
	vectors_free(s);
}

static void false_is_not_true_and_null_is_neither(void **state)
{
	static const struct {
		const char *byte;
		bool value, good, null;
	} cases[] = {
		{"\xf4", false, true, false},
		{"\xf5", true, true, false},
		{"\xf6", false, false, true},
		{"\x01", false, false, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cbor_reader r;

		cbor_reader_init(&r, span_of(cases[i].byte, 1));
		assert_int_equal(cbor_bool(&r), cases[i].value);
		assert_int_equal(cbor_done(&r), cases[i].good);
		cbor_reader_init(&r, span_of(cases[i].byte, 1));
		cbor_null(&r);
		assert_int_equal(cbor_done(&r), cases[i].null);
	}
}

static void the_first_error_sticks_and_later_reads_give_zero(void **state)
{
	struct span s = vectors_hex("83010203");
	struct cbor_reader r;

	cbor_reader_init(&r, s);
	assert_int_equal(cbor_enter_array(&r), 3);
	assert_int_equal(cbor_text(&r).len, 0);
	assert_int_equal(cbor_uint(&r), 0);
	assert_int_equal(cbor_int(&r), 0);
	assert_false(cbor_bool(&r));
	assert_null(cbor_bytes(&r).data);
	assert_null(cbor_skip(&r).data);
	assert_int_equal(cbor_tag(&r), 0);
	assert_int_equal(cbor_enter_map(&r), 0);
	assert_int_equal(cbor_enter_array(&r), 0);
	assert_int_equal(cbor_peek(&r), CBOR_NOTHING);
	assert_false(cbor_done(&r));
	vectors_free(s);
}

static void a_whole_item_is_skipped_and_handed_out(void **state)
{
	struct span s = vectors_hex(sample), item;
	struct cbor_reader r;

	cbor_reader_init(&r, s);
	item = cbor_skip(&r);
	assert_true(span_equal(item, s));
	assert_true(cbor_done(&r));
	for (size_t n = 0; n < s.len; n++) {
		uint8_t *copy = malloc(n ? n : 1);

		assert_non_null(copy);
		memcpy(copy, s.data, n);
		cbor_reader_init(&r, span_of(copy, n));
		cbor_skip(&r);
		assert_false(cbor_done(&r));
		assert_false(cbor_well_formed(span_of(copy, n)));
		free(copy);
	}
	vectors_free(s);
}

static void entering_stops_at_the_depth_and_leaving_at_the_top(void **state)
{
	struct span s = vectors_hex("818181818181818180");
	struct cbor_reader r;

	cbor_reader_init(&r, s);
	for (int i = 0; i < CBOR_DEPTH_MAX; i++)
		assert_int_equal(cbor_enter_array(&r), 1);
	assert_int_equal(cbor_enter_array(&r), 0);
	assert_true(r.failed);
	cbor_reader_init(&r, s);
	cbor_leave(&r);
	assert_true(r.failed);
	vectors_free(s);
}

static double cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void hostile_maps_of_144_kib_cost_milliseconds_and_the_257th_key_is_refused(void **state)
{
	static uint8_t buf[144 * 1024];
	struct cbor_writer w;
	double start;

	/* As many full maps of alike keys as fit: the dearest that still is well-formed. */
	cbor_writer_init(&w, buf, sizeof(buf));
	cbor_put_array(&w, 140);
	for (int m = 0; m < 140; m++) {
		cbor_put_map(&w, CBOR_KEYS_MAX);
		for (unsigned k = 0; k < CBOR_KEYS_MAX; k++) {
			uint8_t key[2] = {(uint8_t)('a' + k / 16), (uint8_t)('a' + k % 16)};

			cbor_put_text(&w, SPAN(key));
			cbor_put_null(&w);
		}
	}
	assert_false(w.failed);
	start = cpu_ms();
	assert_true(cbor_well_formed(span_of(buf, w.len)));
	start = cpu_ms() - start;
	print_message("[          ] %zu bytes of maps: %.1f ms\n", w.len, start);
	assert_true(start <
		    1000); /* of CPU, under sanitizers: a search without bound takes longer */

	cbor_writer_init(&w, buf, sizeof(buf));
	cbor_put_map(&w, CBOR_KEYS_MAX + 1);
	for (int k = 0; k <= CBOR_KEYS_MAX; k++) {
		cbor_put_int(&w, k);
		cbor_put_int(&w, k);
	}
	assert_false(cbor_well_formed(span_of(buf, w.len)));
}

static void the_writer_takes_the_shortest_form(void **state)
{
	/* RFC 8949 Appendix A */
	static const struct {
		int64_t value;
		const char *hex;
	} cases[] = {
		{0, "00"},
		{23, "17"},
		{24, "1818"},
		{255, "18ff"},
		{256, "190100"},
		{65535, "19ffff"},
		{65536, "1a00010000"},
		{4294967295, "1affffffff"},
		{1000000000000, "1b000000e8d4a51000"},
		{INT64_MAX, "1b7fffffffffffffff"},
		{-1, "20"},
		{-24, "37"},
		{-25, "3818"},
		{-1000, "3903e7"},
		{-70001, "3a00011170"},
		{INT64_MIN, "3b7fffffffffffffff"},
	};
	char hex[HEX_CAP(9)];
	uint8_t buf[9];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cbor_writer w;

		cbor_writer_init(&w, buf, sizeof(buf));
		cbor_put_int(&w, cases[i].value);
		assert_false(w.failed);
		hex_encode(span_of(buf, w.len), hex, sizeof(hex));
		assert_string_equal(hex, cases[i].hex);
	}
}

static void write_sample(struct cbor_writer *w)
{
	cbor_put_map(w, 3);
	cbor_put_uint(w, 1);
	cbor_put_int(w, -2);
	cbor_put_text(w, span_str("a"));
	cbor_put_array(w, 4);
	cbor_put_bool(w, true);
	cbor_put_null(w);
	cbor_put_bytes(w, span_of("\x01\x02", 2));
	cbor_put_text(w, span_str("x"));
	cbor_put_uint(w, 61);
	cbor_put_tag(w, 61);
	cbor_put_text(w, span_str("y"));
}

static void a_buffer_too_small_fails_and_says_what_was_needed(void **state)
{
	struct span want = vectors_hex(sample);
	struct cbor_writer w;

	for (size_t cap = 0; cap <= want.len; cap++) {
		uint8_t *buf = malloc(cap ? cap : 1);

		assert_non_null(buf);
		cbor_writer_init(&w, buf, cap);
		write_sample(&w);
		assert_int_equal(w.len, want.len);
		assert_int_equal(w.failed, cap < want.len);
		if (!w.failed)
			assert_memory_equal(buf, want.data, want.len);
		free(buf);
	}
	vectors_free(want);
}

static void a_map_is_sorted_bytewise_by_encoded_key(void **state)
{
	/* The example of RFC 8949 section 4.2.1: 10, 100, -1, "z", "aa" (and [100], [-1], false,
	 * which are not keys of the profile) */
	static const char *const keys[] = {"626161", "617a", "20", "1864", "0a"};
	struct cbor_pair pairs[ARRAY_SIZE(keys)];
	struct cbor_writer w;
	uint8_t buf[64];
	char hex[HEX_CAP(64)];

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		pairs[i] = (struct cbor_pair){vectors_hex(keys[i]), span_of("\xf6", 1)};
	cbor_writer_init(&w, buf, sizeof(buf));
	cbor_put_sorted_map(&w, pairs, ARRAY_SIZE(keys));
	hex_encode(span_of(buf, w.len), hex, sizeof(hex));
	assert_string_equal(hex, "a50af61864f620f6617af6626161f6");
	assert_true(cbor_well_formed(span_of(buf, w.len)));
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		vectors_free(pairs[i].key);
	cbor_writer_init(&w, buf, sizeof(buf));
	cbor_put_sorted_map(&w, NULL, 0);
	assert_int_equal(w.len, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_in_appendix_f_is_refused),
		cmocka_unit_test(what_the_profile_leaves_out_is_refused),
		cmocka_unit_test(what_common_encoders_write_is_accepted),
		cmocka_unit_test(values_are_read_at_their_limits),
		cmocka_unit_test(a_document_is_pulled_item_by_item),
		cmocka_unit_test(false_is_not_true_and_null_is_neither),
		cmocka_unit_test(the_first_error_sticks_and_later_reads_give_zero),
		cmocka_unit_test(a_whole_item_is_skipped_and_handed_out),
		cmocka_unit_test(entering_stops_at_the_depth_and_leaving_at_the_top),
		cmocka_unit_test(
			hostile_maps_of_144_kib_cost_milliseconds_and_the_257th_key_is_refused),
		cmocka_unit_test(the_writer_takes_the_shortest_form),
		cmocka_unit_test(a_buffer_too_small_fails_and_says_what_was_needed),
		cmocka_unit_test(a_map_is_sorted_bytewise_by_encoded_key),
	};

	return cmocka_run_group_tests_name("cbor", tests, NULL, NULL);
}
