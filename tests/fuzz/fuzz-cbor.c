// SPDX-License-Identifier: Apache-2.0
/*
 * cbor_well_formed on anything, and the pull readers on what it let through: a walk over it must
 * end exactly at its end, and writing it again the shortest way must be stable.
 */
#include "core/cbor.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool truth)
{
	if (!truth)
		abort();
}

static void copy(struct cbor_reader *r, struct cbor_writer *w)
{
	size_t n;

	switch (cbor_peek(r)) {
	case CBOR_UINT:
		cbor_put_uint(w, cbor_uint(r));
		break;
	case CBOR_NINT:
		/* what int64_t cannot hold was well-formed; the reader says so by failing */
		cbor_put_int(w, cbor_int(r));
		break;
	case CBOR_BYTES:
		cbor_put_bytes(w, cbor_bytes(r));
		break;
	case CBOR_TEXT:
		cbor_put_text(w, cbor_text(r));
		break;
	case CBOR_ARRAY:
		n = cbor_enter_array(r);
		cbor_put_array(w, n);
		for (size_t i = 0; i < n && !r->failed; i++)
			copy(r, w);
		cbor_leave(r);
		break;
	case CBOR_MAP:
		n = cbor_enter_map(r);
		cbor_put_map(w, n);
		for (size_t i = 0; i < 2 * n && !r->failed; i++)
			copy(r, w);
		cbor_leave(r);
		break;
	case CBOR_TAG:
		cbor_put_tag(w, cbor_tag(r));
		copy(r, w);
		break;
	case CBOR_BOOL:
		cbor_put_bool(w, cbor_bool(r));
		break;
	case CBOR_NULL:
		cbor_null(r);
		cbor_put_null(w);
		break;
	case CBOR_NOTHING:
		must(r->failed);
		break;
	}
}

/* Readers that nobody checked before must stay inside the input, whatever they are asked. */
static void read_at_random(struct span input)
{
	struct cbor_reader r;

	cbor_reader_init(&r, input);
	for (size_t i = 0; i < input.len && !r.failed; i++) {
		switch (input.data[input.len - 1 - i] % 9) {
		case 0:
			cbor_uint(&r);
			break;
		case 1:
			cbor_int(&r);
			break;
		case 2:
			cbor_bytes(&r);
			break;
		case 3:
			cbor_text(&r);
			break;
		case 4:
			cbor_enter_array(&r);
			break;
		case 5:
			cbor_enter_map(&r);
			break;
		case 6:
			cbor_tag(&r);
			break;
		case 7:
			cbor_leave(&r);
			break;
		default:
			cbor_skip(&r);
		}
		must(r.next <= r.end);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct span input = span_of(data, len), item;
	struct cbor_reader r;
	struct cbor_writer w;
	uint8_t *buf;

	read_at_random(input);
	cbor_reader_init(&r, input);
	item = cbor_skip(&r);
	if (!cbor_well_formed(input))
		return 0;
	must(span_equal(item, input) && cbor_done(&r));
	/* the shortest form is never longer */
	buf = malloc(len);
	must(buf != NULL);
	cbor_writer_init(&w, buf, len);
	cbor_reader_init(&r, input);
	copy(&r, &w);
	if (!r.failed) {
		must(cbor_done(&r) && !w.failed && w.len <= len);
		must(cbor_well_formed(span_of(buf, w.len)));
	}
	free(buf);
	return 0;
}
