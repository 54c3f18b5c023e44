// SPDX-License-Identifier: Apache-2.0
/* The writer: shortest heads, definite lengths (RFC 8949 section 4.2.1). */
#include "core/cbor-head.h"

#include <stdlib.h>

void cbor_writer_init(struct cbor_writer *w, void *buf, size_t cap)
{
	*w = (struct cbor_writer){.buf = buf, .cap = cap};
}

void cbor_put_raw(struct cbor_writer *w, struct span encoded)
{
	/* len counts on beyond cap, so that the caller learns what was needed. */
	if (w->len > w->cap || encoded.len > w->cap - w->len)
		w->failed = true;
	else if (encoded.len > 0)
		memcpy(w->buf + w->len, encoded.data, encoded.len);
	w->len += encoded.len;
}

static void put_head(struct cbor_writer *w, enum cbor_major major, uint64_t arg)
{
	uint8_t head[9];
	size_t more;

	if (arg < 24)
		more = 0;
	else if (arg <= UINT8_MAX)
		more = 1;
	else if (arg <= UINT16_MAX)
		more = 2;
	else if (arg <= UINT32_MAX)
		more = 4;
	else
		more = 8;
	head[0] = (uint8_t)(major << 5);
	if (more == 0)
		head[0] |= (uint8_t)arg;
	else
		head[0] |= (uint8_t)(24 + __builtin_ctz((unsigned)more));
	for (size_t i = more; i > 0; i--, arg >>= 8)
		head[i] = (uint8_t)arg;
	cbor_put_raw(w, span_of(head, 1 + more));
}

void cbor_put_uint(struct cbor_writer *w, uint64_t value)
{
	put_head(w, CBOR_MAJOR_UINT, value);
}

void cbor_put_int(struct cbor_writer *w, int64_t value)
{
	if (value >= 0)
		put_head(w, CBOR_MAJOR_UINT, (uint64_t)value);
	else
		put_head(w, CBOR_MAJOR_NINT, (uint64_t)(-1 - value));
}

void cbor_put_bool(struct cbor_writer *w, bool value)
{
	put_head(w, CBOR_MAJOR_SIMPLE, value ? CBOR_TRUE : CBOR_FALSE);
}

void cbor_put_null(struct cbor_writer *w)
{
	put_head(w, CBOR_MAJOR_SIMPLE, CBOR_NULL_);
}

void cbor_put_bytes(struct cbor_writer *w, struct span bytes)
{
	put_head(w, CBOR_MAJOR_BYTES, bytes.len);
	cbor_put_raw(w, bytes);
}

void cbor_put_text(struct cbor_writer *w, struct span text)
{
	put_head(w, CBOR_MAJOR_TEXT, text.len);
	cbor_put_raw(w, text);
}

void cbor_put_tag(struct cbor_writer *w, uint64_t tag)
{
	put_head(w, CBOR_MAJOR_TAG, tag);
}

void cbor_put_array(struct cbor_writer *w, size_t items)
{
	put_head(w, CBOR_MAJOR_ARRAY, items);
}

void cbor_put_map(struct cbor_writer *w, size_t pairs)
{
	put_head(w, CBOR_MAJOR_MAP, pairs);
}

/* Bytewise by encoded key. Two encoded items are never prefixes of one another. */
static int by_key(const void *a, const void *b)
{
	const struct cbor_pair *x = a, *y = b;
	size_t n = x->key.len < y->key.len ? x->key.len : y->key.len;

	return n > 0 ? memcmp(x->key.data, y->key.data, n) : 0;
}

void cbor_put_sorted_map(struct cbor_writer *w, struct cbor_pair *pairs, size_t n)
{
	if (n > 1)
		qsort(pairs, n, sizeof(*pairs), by_key);
	cbor_put_map(w, n);
	for (size_t i = 0; i < n; i++) {
		cbor_put_raw(w, pairs[i].key);
		cbor_put_raw(w, pairs[i].value);
	}
}
