// SPDX-License-Identifier: Apache-2.0
/* Frames: cut, joined again, and everything that can go wrong between. */
#include "unit/vectors.h"

#include "core/frame.h"

static uint8_t document[144 * 1024], joined[144 * 1024];

static void join(size_t len, size_t max)
{
	struct frame_joiner j;
	struct frame_cutter c;
	uint8_t frame[FRAME_MAX];
	size_t n, frames = 0;
	unsigned code;

	frame_cut(&c, span_of(document, len));
	frame_joiner_init(&j, joined, len);
	while ((n = frame_next(&c, max, frame)) > 0) {
		enum frame_event event;

		assert_true(n <= max && n >= 2 && frame[0] != 0xff);
		assert_int_equal(frame[0] & 0x3f, frames % 64);
		assert_int_equal((frame[0] & 0x80) != 0, frames == 0);
		event = frame_take(&j, span_of(frame, n), &code);
		frames++;
		if (frame_is_last(&c))
			assert_int_equal(event, FRAME_COMPLETE);
		else
			assert_int_equal(event, FRAME_MORE);
	}
	assert_true(frame_is_last(&c));
	assert_int_equal(j.len, len);
	assert_memory_equal(joined, document, len);
	assert_int_equal(frames, len + 4 <= max - 1 ? 1 : (len + 4 + max - 2) / (max - 1));
	assert_int_equal(frame_next(&c, max, frame), 0);
}

static void any_document_survives_cutting_and_joining(void **state)
{
	static const size_t maxima[] = {8, 20, 182, 244, FRAME_MAX};

	for (size_t m = 0; m < ARRAY_SIZE(maxima); m++)
		for (size_t len = 1; len < 1100; len += len < 20 ? 1 : 7)
			join(len, maxima[m]);
	join(sizeof(document), 20);
	join(sizeof(document), FRAME_MAX);
	join(FRAME_MAX - 5, FRAME_MAX);
	join(FRAME_MAX - 4, FRAME_MAX);
}

static void a_first_frame_is_these_bytes(void **state)
{
	struct frame_cutter c;
	uint8_t frame[FRAME_MAX];

	frame_cut(&c, span_str("abcdefgh"));
	assert_int_equal(frame_next(&c, 8, frame), 8);
	assert_memory_equal(frame, "\x80\x08\0\0\0abc", 8);
	assert_false(frame_is_last(&c));
	assert_int_equal(frame_next(&c, 8, frame), 6);
	assert_memory_equal(frame,
			    "\x41"
			    "defgh",
			    6);
	assert_true(frame_is_last(&c));
	frame_cut(&c, span_of(document, 0));
	assert_int_equal(frame_next(&c, 8, frame), 0);
	frame_cut(&c, span_str("abc"));
	assert_int_equal(frame_next(&c, 5, frame), 0); /* no room for a byte of it */
	assert_int_equal(frame_next(&c, 9999, frame), 8);
	assert_int_equal(frame[0], 0xc0);
}

/* A run of frames in hex into a joiner of 8 bytes, and what the last of them does. */
struct run {
	const char *what;
	const char *frames[5];
	enum frame_event event;
	unsigned code;
};

static void every_fault_has_its_code(void **state)
{
	static const struct run runs[] = {
		{"one frame", {"c003000000616263"}, FRAME_COMPLETE, 0},
		{"two frames", {"80030000006162", "4163"}, FRAME_COMPLETE, 0},
		{"the first of two", {"80030000006162"}, FRAME_MORE, 0},
		{"an empty write", {""}, FRAME_ERROR, FRAME_MALFORMED},
		{"no first frame", {"4163"}, FRAME_ERROR, FRAME_GAP},
		{"a frame missing", {"80030000006162", "4263"}, FRAME_ERROR, FRAME_GAP},
		{"a frame twice", {"80040000006162", "0163", "0163"}, FRAME_ERROR, FRAME_GAP},
		{"more after a fault", {"80030000006162", "4263", "4163"}, FRAME_ERROR, FRAME_GAP},
		{"afresh after a fault",
		 {"80030000006162", "4263", "c00100000061"},
		 FRAME_COMPLETE,
		 0},
		{"more after the end", {"c003000000616263", "4163"}, FRAME_ERROR, FRAME_GAP},
		{"a first frame cuts in",
		 {"80080000006162", "c003000000616263"},
		 FRAME_COMPLETE,
		 0},
		{"and what it cut is gone",
		 {"80080000006162", "c003000000616263", "0163"},
		 FRAME_ERROR,
		 FRAME_GAP},
		{"first with a number", {"c103000000616263"}, FRAME_ERROR, FRAME_MALFORMED},
		{"short head", {"80030000"}, FRAME_ERROR, FRAME_MALFORMED},
		{"head without bytes", {"8003000000"}, FRAME_ERROR, FRAME_MALFORMED},
		{"last head without bytes", {"c000000000"}, FRAME_ERROR, FRAME_MALFORMED},
		{"total of nothing", {"c00000000061"}, FRAME_ERROR, FRAME_MALFORMED},
		{"a frame without bytes", {"80030000006162", "01"}, FRAME_ERROR, FRAME_MALFORMED},
		{"total of nine", {"800900000061"}, FRAME_ERROR, FRAME_TOO_LARGE},
		{"total of 4 GiB", {"80ffffffff61"}, FRAME_ERROR, FRAME_TOO_LARGE},
		{"total of eight", {"800800000061"}, FRAME_MORE, 0},
		{"more than the total", {"800300000061626364"}, FRAME_ERROR, FRAME_MALFORMED},
		{"last with more", {"80030000006162", "416364"}, FRAME_ERROR, FRAME_MALFORMED},
		{"last too early", {"80030000006162", "01"}, FRAME_ERROR, FRAME_MALFORMED},
		{"last with less", {"80040000006162", "4163"}, FRAME_ERROR, FRAME_MALFORMED},
		{"full but not last", {"8003000000616263"}, FRAME_ERROR, FRAME_MALFORMED},
		{"a short answer", {"ff04"}, FRAME_SHORT, 4},
		{"a code of a later version", {"ff63"}, FRAME_SHORT, 0x63},
		{"half a short answer", {"ff"}, FRAME_ERROR, FRAME_MALFORMED},
		{"a long short answer", {"ff0400"}, FRAME_ERROR, FRAME_MALFORMED},
		{"a short answer between", {"80030000006162", "ff00", "4163"}, FRAME_COMPLETE, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		uint8_t *buf = malloc(8);
		struct frame_joiner j;
		enum frame_event event = FRAME_MORE;
		unsigned code = 0;

		assert_non_null(buf);
		frame_joiner_init(&j, buf, 8);
		for (size_t k = 0; k < 5 && runs[i].frames[k]; k++) {
			struct span s = vectors_hex(runs[i].frames[k]);

			event = frame_take(&j, s, &code);
			vectors_free(s);
		}
		if (event != runs[i].event || code != runs[i].code)
			fail_msg("%s: %d, %u", runs[i].what, event, code);
		if (event == FRAME_COMPLETE)
			assert_memory_equal(buf, "abc", j.len);
		free(buf);
	}
}

static void a_frame_of_511_bytes_is_malformed(void **state)
{
	struct frame_joiner j;
	uint8_t frame[FRAME_MAX + 1] = {0xc0, 0xfa, 0x01};
	unsigned code;

	frame_joiner_init(&j, joined, sizeof(joined));
	assert_int_equal(frame_take(&j, SPAN(frame), &code), FRAME_ERROR);
	assert_int_equal(code, FRAME_MALFORMED);
	frame[1] = 0xf9; /* 505 bytes behind a head of 5: 510 */
	assert_int_equal(frame_take(&j, span_of(frame, FRAME_MAX), &code), FRAME_COMPLETE);
}

static void the_number_goes_round_at_64_and_a_whole_round_missing_is_seen_at_the_end(void **state)
{
	struct frame_cutter c;
	struct frame_joiner j;
	uint8_t frame[FRAME_MAX];
	enum frame_event event = FRAME_MORE;
	unsigned code;
	size_t n, i = 0;

	frame_cut(&c, span_of(document, 200 * 7));
	frame_joiner_init(&j, joined, sizeof(joined));
	while ((n = frame_next(&c, 8, frame)) > 0) {
		/* frames 10 to 73: exactly 64 */
		if (i < 10 || i >= 74)
			event = frame_take(&j, span_of(frame, n), &code);
		i++;
	}
	assert_int_equal(event, FRAME_ERROR);
	assert_int_equal(code, FRAME_MALFORMED);
}

static void a_short_answer_is_two_bytes(void **state)
{
	uint8_t bytes[2];

	for (unsigned code = 0; code < FRAME_CODES_; code++) {
		struct frame_joiner j;
		unsigned got = 99;

		frame_short(code, bytes);
		frame_joiner_init(&j, joined, 8);
		assert_int_equal(frame_take(&j, SPAN(bytes), &got), FRAME_SHORT);
		assert_int_equal(got, code);
	}
	assert_int_equal(FRAME_NOT_A_READER, 9);
}

static int setup(void **state)
{
	for (size_t i = 0; i < sizeof(document); i++)
		document[i] = (uint8_t)(i * 31 + i / 251);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_document_survives_cutting_and_joining),
		cmocka_unit_test(a_first_frame_is_these_bytes),
		cmocka_unit_test(every_fault_has_its_code),
		cmocka_unit_test(a_frame_of_511_bytes_is_malformed),
		cmocka_unit_test(
			the_number_goes_round_at_64_and_a_whole_round_missing_is_seen_at_the_end),
		cmocka_unit_test(a_short_answer_is_two_bytes),
	};

	return cmocka_run_group_tests_name("frame", tests, setup, NULL);
}
