// SPDX-License-Identifier: Apache-2.0
/*
 * The bounded pull decoder: every declared length is held against the bytes that are left before it
 * is used, nothing recurses, and the work is linear in the input but for the search for duplicate
 * keys, which CBOR_KEYS_MAX bounds. cbor-check.c: cbor_well_formed; cbor-encode.c: the writer.
 */
#include "core/cbor-head.h"

void cbor_reader_init(struct cbor_reader *r, struct span input)
{
	*r = (struct cbor_reader){.next = input.data, .end = input.data};
	if (input.len > 0)
		r->end = input.data + input.len;
}

void cbor_fail(struct cbor_reader *r)
{
	r->failed = true;
}

bool cbor_done(const struct cbor_reader *r)
{
	return !r->failed && r->next == r->end;
}

static size_t bytes_left(const struct cbor_reader *r)
{
	return (size_t)(r->end - r->next);
}

/* Can what the head declares stand within `rest` bytes? Each item takes at least one. */
static bool head_fits(const struct cbor_head *h, size_t rest)
{
	switch (h->major) {
	case CBOR_MAJOR_UINT:
	case CBOR_MAJOR_NINT:
		return true;
	case CBOR_MAJOR_BYTES:
	case CBOR_MAJOR_TEXT:
	case CBOR_MAJOR_ARRAY:
		return h->arg <= rest;
	case CBOR_MAJOR_MAP:
		return h->arg <= rest / 2;
	case CBOR_MAJOR_TAG:
		return rest > 0;
	case CBOR_MAJOR_SIMPLE:
		return true;
	}
	return false;
}

/* RFC 8949 section 3. Additional information 28 to 30 is reserved, 31 is indefinite length. */
static bool read_head(const struct cbor_reader *r, struct cbor_head *ret, const uint8_t **ret_next)
{
	const uint8_t *p = r->next;
	uint8_t info;
	size_t more;

	if (p == r->end)
		return false;
	ret->major = (enum cbor_major)(*p >> 5);
	info = *p++ & 31;
	/* Floats and every simple value but three are outside the profile. */
	if (ret->major == CBOR_MAJOR_SIMPLE && (info < CBOR_FALSE || info > CBOR_NULL_))
		return false;
	if (info > 27)
		return false;
	ret->arg = info;
	if (info >= 24) {
		more = (size_t)1 << (info - 24);
		if ((size_t)(r->end - p) < more)
			return false;
		ret->arg = 0;
		while (more-- > 0)
			ret->arg = ret->arg << 8 | *p++;
	}
	*ret_next = p;
	return head_fits(ret, (size_t)(r->end - p));
}

bool cbor_head_take(struct cbor_reader *r, struct cbor_head *ret)
{
	const uint8_t *next;

	if (r->failed || !read_head(r, ret, &next)) {
		*ret = (struct cbor_head){0};
		r->failed = true;
		return false;
	}
	r->next = next;
	return true;
}

struct span cbor_head_string(struct cbor_reader *r, const struct cbor_head *h)
{
	struct span s = {r->next, (size_t)h->arg};

	r->next += h->arg;
	return s;
}

enum cbor_type cbor_peek(const struct cbor_reader *r)
{
	struct cbor_head h;
	const uint8_t *next;

	if (r->failed || !read_head(r, &h, &next))
		return CBOR_NOTHING;
	switch (h.major) {
	case CBOR_MAJOR_UINT:
		return CBOR_UINT;
	case CBOR_MAJOR_NINT:
		return CBOR_NINT;
	case CBOR_MAJOR_BYTES:
		return CBOR_BYTES;
	case CBOR_MAJOR_TEXT:
		return CBOR_TEXT;
	case CBOR_MAJOR_ARRAY:
		return CBOR_ARRAY;
	case CBOR_MAJOR_MAP:
		return CBOR_MAP;
	case CBOR_MAJOR_TAG:
		return CBOR_TAG;
	case CBOR_MAJOR_SIMPLE:
		return h.arg == CBOR_NULL_ ? CBOR_NULL : CBOR_BOOL;
	}
	return CBOR_NOTHING;
}

/* The argument of a head that must be of one major type; 0 and a sticky error if it is not. */
static uint64_t take(struct cbor_reader *r, enum cbor_major major)
{
	struct cbor_head h;

	if (!cbor_head_take(r, &h))
		return 0;
	if (h.major != major) {
		r->failed = true;
		return 0;
	}
	return h.arg;
}

uint64_t cbor_uint(struct cbor_reader *r)
{
	return take(r, CBOR_MAJOR_UINT);
}

int64_t cbor_int(struct cbor_reader *r)
{
	struct cbor_head h;

	if (!cbor_head_take(r, &h))
		return 0;
	if ((h.major != CBOR_MAJOR_UINT && h.major != CBOR_MAJOR_NINT) || h.arg > INT64_MAX) {
		r->failed = true;
		return 0;
	}
	return h.major == CBOR_MAJOR_UINT ? (int64_t)h.arg : -1 - (int64_t)h.arg;
}

bool cbor_bool(struct cbor_reader *r)
{
	uint64_t value = take(r, CBOR_MAJOR_SIMPLE);

	if (value != CBOR_FALSE && value != CBOR_TRUE)
		r->failed = true;
	return !r->failed && value == CBOR_TRUE;
}

void cbor_null(struct cbor_reader *r)
{
	if (take(r, CBOR_MAJOR_SIMPLE) != CBOR_NULL_)
		r->failed = true;
}

static struct span take_string(struct cbor_reader *r, enum cbor_major major)
{
	struct cbor_head h;

	if (!cbor_head_take(r, &h))
		return (struct span){0};
	if (h.major != major) {
		r->failed = true;
		return (struct span){0};
	}
	return cbor_head_string(r, &h);
}

struct span cbor_bytes(struct cbor_reader *r)
{
	return take_string(r, CBOR_MAJOR_BYTES);
}

struct span cbor_text(struct cbor_reader *r)
{
	return take_string(r, CBOR_MAJOR_TEXT);
}

uint64_t cbor_tag(struct cbor_reader *r)
{
	return take(r, CBOR_MAJOR_TAG);
}

static size_t enter(struct cbor_reader *r, enum cbor_major major)
{
	uint64_t n = take(r, major);

	if (r->depth == CBOR_DEPTH_MAX)
		r->failed = true;
	if (r->failed)
		return 0;
	r->depth++;
	return (size_t)n;
}

size_t cbor_enter_array(struct cbor_reader *r)
{
	return enter(r, CBOR_MAJOR_ARRAY);
}

size_t cbor_enter_map(struct cbor_reader *r)
{
	return enter(r, CBOR_MAJOR_MAP);
}

void cbor_leave(struct cbor_reader *r)
{
	if (r->depth > 0)
		r->depth--;
	else
		r->failed = true;
}

struct span cbor_skip(struct cbor_reader *r)
{
	const uint8_t *start = r->next;
	uint64_t pending = 1; /* cannot wrap: each head adds at most what is left of the input */
	struct cbor_head h;

	while (pending > 0) {
		if (!cbor_head_take(r, &h))
			return (struct span){0};
		pending--;
		switch (h.major) {
		case CBOR_MAJOR_BYTES:
		case CBOR_MAJOR_TEXT:
			cbor_head_string(r, &h);
			break;
		case CBOR_MAJOR_ARRAY:
			pending += h.arg;
			break;
		case CBOR_MAJOR_MAP:
			pending += 2 * h.arg;
			break;
		case CBOR_MAJOR_TAG:
			pending++;
			break;
		case CBOR_MAJOR_UINT:
		case CBOR_MAJOR_NINT:
		case CBOR_MAJOR_SIMPLE:
			break;
		}
		if (pending > bytes_left(r)) {
			r->failed = true;
			return (struct span){0};
		}
	}
	return span_of(start, r->next - start);
}
