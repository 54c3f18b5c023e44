// SPDX-License-Identifier: Apache-2.0
/* The list against the draft's published vectors, and against everything that is no list. */
#include "unit/vectors.h"

#include "core/cbor.h"
#include "core/revocation.h"

#include <errno.h>
#include <zlib.h>

static struct status_list list, other;
static uint8_t raw[2 * LIST_BYTES_MAX + 1], packed[3 * LIST_BYTES_MAX];

/* {"bits", "lst"} as the draft writes it */
static void read_published(struct span cbor, unsigned *ret_bits, struct span *ret_lst)
{
	struct cbor_reader r;
	size_t n;

	assert_true(cbor_well_formed(cbor));
	cbor_reader_init(&r, cbor);
	for (n = cbor_enter_map(&r); n > 0; n--) {
		if (span_is(cbor_text(&r), "bits"))
			*ret_bits = (unsigned)cbor_uint(&r);
		else
			*ret_lst = cbor_bytes(&r);
	}
	cbor_leave(&r);
	assert_true(cbor_done(&r));
}

/* Counts what the list at hand says, entry by entry; first: the index of its entry 0. */
static size_t count_expected(json_t *expected, size_t first)
{
	size_t named = 0;
	char name[24];

	for (size_t i = 0; i < status_list_entries(&list); i++) {
		unsigned status = status_list_get(&list, i);
		json_t *e;

		snprintf(name, sizeof(name), "%zu", first + i);
		e = json_object_get(expected, name);
		assert_int_equal(status, e ? json_integer_value(e) : 0);
		named += e != NULL;
	}
	return named;
}

/* 2^20 entries of 2 bits are twice our cap: refused, and then read in halves. */
static size_t halves_expected(json_t *expected, unsigned bits, struct span lst)
{
	uLongf len = sizeof(raw);
	size_t named = 0;

	assert_int_equal(uncompress(raw, &len, lst.data, lst.len), Z_OK);
	for (size_t at = 0; at < len; at += LIST_BYTES_MAX) {
		list.bits = bits;
		list.len = LIST_BYTES_MAX;
		memcpy(list.bytes, raw + at, LIST_BYTES_MAX);
		named += count_expected(expected, at * 8 / bits);
	}
	return named;
}

static void every_status_of_the_published_lists_is_as_published(void **state)
{
	json_t *file = vectors_load("token-status-list.json"), *vector;
	size_t i, checked = 0;

	json_array_foreach(json_object_get(file, "lists"), i, vector)
	{
		json_t *expected = json_object_get(vector, "expected");
		struct span cbor =
			vectors_hex(json_string_value(json_object_get(vector, "cbor_hex")));
		size_t entries = (size_t)json_integer_value(json_object_get(vector, "entries"));
		struct span lst = {0};
		unsigned bits = 0;
		bool fits;
		int r;

		read_published(cbor, &bits, &lst);
		fits = entries * bits / 8 <= LIST_BYTES_MAX;
		r = status_list_inflate(lst, bits, LIST_BYTES_MAX, &list);
		assert_int_equal(r, fits ? 0 : REASON_TOO_LARGE);
		if (fits)
			assert_int_equal(status_list_entries(&list), entries);
		if (expected && fits)
			assert_int_equal(count_expected(expected, 0), json_object_size(expected));
		else if (expected)
			assert_int_equal(halves_expected(expected, bits, lst),
					 json_object_size(expected));
		checked += json_object_size(expected);
		vectors_free(cbor);
	}
	assert_int_equal(checked, 22);
	json_decref(file);
}

static void the_short_published_lists_have_the_published_bytes(void **state)
{
	json_t *file = vectors_load("token-status-list.json"), *vector;
	size_t i, checked = 0;

	json_array_foreach(json_object_get(file, "lists"), i, vector)
	{
		const char *hex = json_string_value(json_object_get(vector, "raw_hex"));
		struct span cbor, want, lst = {0};
		unsigned bits = 0;

		if (!hex)
			continue;
		cbor = vectors_hex(json_string_value(json_object_get(vector, "cbor_hex")));
		want = vectors_hex(hex);
		read_published(cbor, &bits, &lst);
		assert_int_equal(status_list_inflate(lst, bits, LIST_BYTES_MAX, &list), 0);
		assert_true(span_equal(span_of(list.bytes, list.len), want));
		vectors_free(cbor);
		vectors_free(want);
		checked++;
	}
	assert_int_equal(checked, 2);
	json_decref(file);
}

static void what_is_set_is_read_back_in_every_width(void **state)
{
	static const unsigned widths[] = {1, 2, 4, 8};

	for (size_t w = 0; w < ARRAY_SIZE(widths); w++) {
		unsigned bits = widths[w], mask = (1U << bits) - 1;
		int len;

		assert_int_equal(status_list_init(&list, bits, 1000), 0);
		assert_int_equal(status_list_entries(&list), 1000);
		for (size_t i = 0; i < 1000; i++)
			assert_int_equal(status_list_set(&list, i, (unsigned)(i * 7) & mask), 0);
		/* overwriting leaves the neighbours alone */
		assert_int_equal(status_list_set(&list, 500, mask), 0);
		assert_int_equal(status_list_set(&list, 500, 0), 0);
		len = status_list_deflate(&list, packed, sizeof(packed));
		assert_true(len > 0);
		assert_int_equal(status_list_inflate(span_of(packed, len), bits, 1000, &other), 0);
		assert_int_equal(other.len, list.len);
		for (size_t i = 0; i < 1000; i++)
			assert_int_equal(status_list_get(&other, i), i == 500 ? 0 : (i * 7 & mask));
	}
}

static void an_index_outside_the_list_is_revoked(void **state)
{
	assert_int_equal(status_list_init(&list, 2, 1024), 0);
	assert_int_equal(status_list_get(&list, 1023), STATUS_VALID);
	assert_int_equal(status_list_get(&list, 1024), STATUS_REVOKED);
	assert_int_equal(status_list_get(&list, UINT64_MAX), STATUS_REVOKED);
	assert_int_equal(status_list_set(&list, 1024, 1), -ERANGE);
	assert_int_equal(status_list_set(&list, UINT64_MAX, 1), -ERANGE);
	assert_int_equal(status_list_set(&list, 0, 4), -ERANGE);
	/* entries are rounded up to a whole byte */
	assert_int_equal(status_list_init(&list, 1, 9), 0);
	assert_int_equal(status_list_entries(&list), 16);
}

static void a_list_without_entries_revokes_everybody(void **state)
{
	int len;

	assert_int_equal(status_list_init(&list, 1, 0), 0);
	len = status_list_deflate(&list, packed, sizeof(packed));
	assert_int_equal(status_list_inflate(span_of(packed, len), 1, LIST_BYTES_MAX, &other), 0);
	assert_int_equal(status_list_entries(&other), 0);
	assert_int_equal(status_list_get(&other, 0), STATUS_REVOKED);
}

static void widths_that_are_not_of_the_standard_are_refused(void **state)
{
	static const unsigned wrong[] = {0, 3, 5, 6, 7, 9, 16, 1U << 31};
	int len;

	assert_int_equal(status_list_init(&list, 1, 8), 0);
	len = status_list_deflate(&list, packed, sizeof(packed));
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(
			status_list_inflate(span_of(packed, len), wrong[i], LIST_BYTES_MAX, &other),
			REASON_MALFORMED);
		assert_int_equal(status_list_init(&other, wrong[i], 8), -EINVAL);
	}
	assert_int_equal(status_list_init(&other, 1, 8 * LIST_BYTES_MAX), 0);
	assert_int_equal(status_list_init(&other, 1, 8 * LIST_BYTES_MAX + 1), -EINVAL);
	assert_int_equal(status_list_init(&other, 8, SIZE_MAX), -EINVAL);
}

/* Bytes that do not get smaller: the worst case for every bound. */
static void noise(size_t len)
{
	uint64_t x = 88172645463325252ULL;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		raw[i] = (uint8_t)x;
	}
}

static size_t pack(size_t len)
{
	uLongf n = sizeof(packed);

	assert_int_equal(compress2(packed, &n, raw, len, 9), Z_OK);
	return n;
}

static void the_bound_is_exact(void **state)
{
	static const size_t bounds[] = {1, 100, 16 * 1024, LIST_BYTES_MAX};

	noise(sizeof(raw));
	for (size_t i = 0; i < ARRAY_SIZE(bounds); i++) {
		size_t max = bounds[i], n = pack(max);

		assert_int_equal(status_list_inflate(span_of(packed, n), 1, max, &other), 0);
		assert_int_equal(other.len, max);
		assert_memory_equal(other.bytes, raw, max);
		n = pack(max + 1);
		assert_int_equal(status_list_inflate(span_of(packed, n), 1, max, &other),
				 REASON_TOO_LARGE);
	}
	/* max beyond the buffer is the buffer */
	assert_int_equal(
		status_list_inflate(span_of(packed, pack(LIST_BYTES_MAX + 1)), 1, SIZE_MAX, &other),
		REASON_TOO_LARGE);
}

static void a_bomb_of_zeros_is_too_large(void **state)
{
	size_t n;

	memset(raw, 0, sizeof(raw));
	n = pack(sizeof(raw));
	assert_true(n < 1024);
	assert_int_equal(status_list_inflate(span_of(packed, n), 1, LIST_BYTES_MAX, &other),
			 REASON_TOO_LARGE);
}

static void every_truncation_and_every_addition_is_malformed(void **state)
{
	size_t n;

	noise(300);
	n = pack(300);
	for (size_t cut = 0; cut < n; cut++) {
		uint8_t *exact = malloc(cut ? cut : 1);

		assert_non_null(exact);
		memcpy(exact, packed, cut);
		assert_int_equal(status_list_inflate(span_of(exact, cut), 1, 300, &other),
				 REASON_MALFORMED);
		free(exact);
	}
	packed[n] = 0;
	assert_int_equal(status_list_inflate(span_of(packed, n + 1), 1, 300, &other),
			 REASON_MALFORMED);
}

static void other_wrappings_of_deflate_are_malformed(void **state)
{
	static const int windows[] = {-15, 15 + 16}; /* raw deflate; gzip */

	noise(64);
	for (size_t i = 0; i < ARRAY_SIZE(windows); i++) {
		z_stream z = {.next_in = raw,
			      .avail_in = 64,
			      .next_out = packed,
			      .avail_out = sizeof(packed)};

		assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, windows[i], 8, Z_DEFAULT_STRATEGY),
				 Z_OK);
		assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
		assert_int_equal(status_list_inflate(span_of(packed, z.total_out), 1, 64, &other),
				 REASON_MALFORMED);
		deflateEnd(&z);
	}
}

static void a_stream_that_asks_for_a_dictionary_is_malformed(void **state)
{
	z_stream z = {
		.next_in = raw, .avail_in = 64, .next_out = packed, .avail_out = sizeof(packed)};

	assert_int_equal(deflateInit(&z, 9), Z_OK);
	assert_int_equal(deflateSetDictionary(&z, (const Bytef *)"abcd", 4), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(status_list_inflate(span_of(packed, z.total_out), 1, 64, &other),
			 REASON_MALFORMED);
	deflateEnd(&z);
}

static void a_buffer_too_small_for_packing_is_said(void **state)
{
	assert_int_equal(status_list_init(&list, 1, 1024), 0);
	assert_int_equal(status_list_deflate(&list, packed, 4), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_status_of_the_published_lists_is_as_published),
		cmocka_unit_test(the_short_published_lists_have_the_published_bytes),
		cmocka_unit_test(what_is_set_is_read_back_in_every_width),
		cmocka_unit_test(an_index_outside_the_list_is_revoked),
		cmocka_unit_test(a_list_without_entries_revokes_everybody),
		cmocka_unit_test(widths_that_are_not_of_the_standard_are_refused),
		cmocka_unit_test(the_bound_is_exact),
		cmocka_unit_test(a_bomb_of_zeros_is_too_large),
		cmocka_unit_test(every_truncation_and_every_addition_is_malformed),
		cmocka_unit_test(other_wrappings_of_deflate_are_malformed),
		cmocka_unit_test(a_stream_that_asks_for_a_dictionary_is_malformed),
		cmocka_unit_test(a_buffer_too_small_for_packing_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
