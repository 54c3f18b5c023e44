/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Documents over GATT in frames (contract section 7): one byte (bit 7 first, bit 6 last, bits 0-5
 * number from 0, mod 64), in a first frame then a 4-byte little-endian total length, then the
 * bytes. At most 510 bytes each. A first frame ends whatever was unfinished. Short answers: ff
 * <code>. (No frame begins with ff: first and last and number 63 cannot be, since a first frame has
 * number 0.) Each frame carries at least one byte of the document; a frame that is empty, too long,
 * or disagrees with the total is malformed; one out of turn is a gap.
 */
#include "core/span.h"

#define FRAME_MAX 510

enum frame_code {
	FRAME_GO_ON,
	FRAME_GAP,
	FRAME_TOO_LARGE,
	FRAME_MALFORMED,
	FRAME_UNKNOWN_KEY,
	FRAME_WRONG_ROLE,
	FRAME_BAD_SIGNATURE,
	FRAME_NOT_OWNED,
	FRAME_TRY_LATER,
	FRAME_NOT_A_READER,
	FRAME_CODES_,
};

/* Cuts a document: frame_next until it gives 0. The document must outlive it. */
struct frame_cutter {
	struct span rest, whole;
	unsigned number;
	bool begun;
};
void frame_cut(struct frame_cutter *c, struct span document);
/* The next frame of at most max (<= FRAME_MAX, >= 8) bytes; its length, 0 at the end (and for an
 * empty document). */
size_t frame_next(struct frame_cutter *c, size_t max, uint8_t ret[static FRAME_MAX]);
bool frame_is_last(const struct frame_cutter *c); /* nothing is left after the frame just given */

/* Puts frames together in the caller's buffer. */
struct frame_joiner {
	uint8_t *buf;
	size_t cap, len, total;
	unsigned next;
	bool open;
};
enum frame_event {
	FRAME_MORE,	/* taken, not complete */
	FRAME_COMPLETE, /* buf[0..len) is a document */
	FRAME_SHORT,	/* a short answer: *ret_code */
	FRAME_ERROR, /* *ret_code: FRAME_GAP, FRAME_TOO_LARGE or FRAME_MALFORMED; the joiner waits
			for a first frame */
};
void frame_joiner_init(struct frame_joiner *j, void *buf, size_t cap);
enum frame_event frame_take(struct frame_joiner *j, struct span frame, unsigned *ret_code);
void frame_short(unsigned code, uint8_t ret[static 2]);
