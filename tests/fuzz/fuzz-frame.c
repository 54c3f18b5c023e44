// SPDX-License-Identifier: Apache-2.0
/*
 * A stream of frames, each led by a byte for its length, into a small joiner: no write outside its
 * buffer, no state that lies. And the input as a document, cut and joined again.
 */
#include "core/frame.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool truth)
{
	if (!truth)
		abort();
}

static void take_stream(struct span s)
{
	const size_t cap = 64;
	uint8_t *buf = malloc(cap);
	struct frame_joiner j;

	must(buf != NULL);
	frame_joiner_init(&j, buf, cap);
	while (s.len > 0) {
		size_t n = s.data[0] < s.len - 1 ? s.data[0] : s.len - 1;
		unsigned code = 99;
		enum frame_event event = frame_take(&j, span_of(s.data + 1, n), &code);

		must(j.len <= cap);
		must(!j.open || j.len < j.total);
		if (event == FRAME_COMPLETE)
			must(j.len == j.total && j.len > 0 && !j.open);
		if (event == FRAME_ERROR)
			must(!j.open && code >= FRAME_GAP && code <= FRAME_MALFORMED);
		if (event == FRAME_MORE)
			must(j.open);
		s = span_of(s.data + 1 + n, s.len - 1 - n);
	}
	free(buf);
}

static void cut_and_join(struct span document, size_t max)
{
	uint8_t frame[FRAME_MAX], *buf = malloc(document.len);
	enum frame_event event = FRAME_MORE;
	struct frame_cutter c;
	struct frame_joiner j;
	unsigned code;
	size_t n;

	must(buf != NULL);
	frame_cut(&c, document);
	frame_joiner_init(&j, buf, document.len);
	while ((n = frame_next(&c, max, frame)) > 0) {
		must(event == FRAME_MORE && n <= max);
		event = frame_take(&j, span_of(frame, n), &code);
	}
	must(event == FRAME_COMPLETE && span_equal(span_of(buf, j.len), document));
	free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	take_stream(span_of(data, len));
	if (len > 1)
		cut_and_join(span_of(data + 1, len - 1), 8 + data[0] * 2 % (FRAME_MAX - 7));
	return 0;
}
