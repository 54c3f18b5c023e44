// SPDX-License-Identifier: Apache-2.0
/* Cutting a document into frames, and putting frames together again (contract section 7). */
#include "core/frame.h"

enum { BIT_FIRST = 0x80, BIT_LAST = 0x40, NUMBER_MASK = 0x3f, SHORT_MARK = 0xff };
enum { HEAD = 1, FIRST_HEAD = HEAD + 4 };

void frame_cut(struct frame_cutter *c, struct span document)
{
	*c = (struct frame_cutter){.rest = document, .whole = document};
}

size_t frame_next(struct frame_cutter *c, size_t max, uint8_t ret[static FRAME_MAX])
{
	size_t head = c->begun ? HEAD : FIRST_HEAD, n;

	if (c->begun && c->rest.len == 0)
		return 0;
	if (max > FRAME_MAX)
		max = FRAME_MAX;
	if (max <= head || c->whole.len == 0 || c->whole.len > UINT32_MAX)
		return 0;
	ret[0] = (uint8_t)c->number;
	if (!c->begun) {
		ret[0] = BIT_FIRST;
		for (size_t i = 0; i < 4; i++)
			ret[HEAD + i] = (uint8_t)(c->whole.len >> 8 * i);
	}
	n = c->rest.len < max - head ? c->rest.len : max - head;
	memcpy(ret + head, c->rest.data, n);
	c->rest = span_of(c->rest.data + n, c->rest.len - n);
	if (c->rest.len == 0)
		ret[0] |= BIT_LAST;
	c->begun = true;
	c->number = (c->number + 1) & NUMBER_MASK;
	return head + n;
}

bool frame_is_last(const struct frame_cutter *c)
{
	return c->begun && c->rest.len == 0;
}

void frame_joiner_init(struct frame_joiner *j, void *buf, size_t cap)
{
	*j = (struct frame_joiner){.buf = buf, .cap = cap};
}

static enum frame_event give_up(struct frame_joiner *j, enum frame_code code, unsigned *ret_code)
{
	j->open = false;
	j->len = 0;
	*ret_code = code;
	return FRAME_ERROR;
}

/* A first frame: whatever was unfinished is forgotten. */
static enum frame_code begin(struct frame_joiner *j, struct span *frame)
{
	uint32_t total = 0;

	if ((frame->data[0] & NUMBER_MASK) != 0 || frame->len <= FIRST_HEAD)
		return FRAME_MALFORMED;
	for (size_t i = 4; i > 0; i--)
		total = total << 8 | frame->data[i];
	if (total > j->cap)
		return FRAME_TOO_LARGE;
	*frame = span_of(frame->data + FIRST_HEAD, frame->len - FIRST_HEAD);
	j->total = total;
	j->len = 0;
	j->next = 1;
	j->open = true;
	return FRAME_GO_ON;
}

static enum frame_code go_on(struct frame_joiner *j, struct span *frame)
{
	if (!j->open || (frame->data[0] & NUMBER_MASK) != j->next)
		return FRAME_GAP;
	if (frame->len <= HEAD)
		return FRAME_MALFORMED;
	*frame = span_of(frame->data + HEAD, frame->len - HEAD);
	j->next = (j->next + 1) & NUMBER_MASK;
	return FRAME_GO_ON;
}

enum frame_event frame_take(struct frame_joiner *j, struct span frame, unsigned *ret_code)
{
	enum frame_code code;
	uint8_t head;

	*ret_code = FRAME_GO_ON;
	if (frame.len == 0 || frame.len > FRAME_MAX)
		return give_up(j, FRAME_MALFORMED, ret_code);
	head = frame.data[0];
	if (head == SHORT_MARK) {
		if (frame.len != 2)
			return give_up(j, FRAME_MALFORMED, ret_code);
		*ret_code = frame.data[1];
		return FRAME_SHORT;
	}
	code = head & BIT_FIRST ? begin(j, &frame) : go_on(j, &frame);
	if (code != FRAME_GO_ON)
		return give_up(j, code, ret_code);
	/* The last frame, and only the last, fills the total. */
	if (frame.len > j->total - j->len ||
	    (frame.len == j->total - j->len) != ((head & BIT_LAST) != 0))
		return give_up(j, FRAME_MALFORMED, ret_code);
	memcpy(j->buf + j->len, frame.data, frame.len);
	j->len += frame.len;
	if (!(head & BIT_LAST))
		return FRAME_MORE;
	j->open = false;
	return FRAME_COMPLETE;
}

void frame_short(unsigned code, uint8_t ret[static 2])
{
	ret[0] = SHORT_MARK;
	ret[1] = (uint8_t)code;
}
