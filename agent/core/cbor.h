/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * CBOR (RFC 8949) as the contract allows it: a bounded pull decoder without heap, and a
 * deterministic encoder (section 4.2.1).
 *
 * Decoder: definite lengths only, no floats, no simple values but false, true and null, no
 * duplicate keys, depth at most 8, nothing behind the end. Integers longer than needed and unsorted
 * maps are accepted. The first error sticks: later reads give zero, one check at the end.
 * Nothing is ever allocated from a declared length; a declared length beyond the input is an error
 * at once.
 */
#include "core/span.h"

#define CBOR_DEPTH_MAX 8
/* Keys of all maps that are open at one moment; more is not well-formed. It bounds the search for
 * duplicates: the worst input of 144 KiB costs milliseconds. */
#define CBOR_KEYS_MAX 256

enum cbor_type {
	CBOR_UINT,
	CBOR_NINT,
	CBOR_BYTES,
	CBOR_TEXT,
	CBOR_ARRAY,
	CBOR_MAP,
	CBOR_TAG,
	CBOR_BOOL,
	CBOR_NULL,
	CBOR_NOTHING, /* end of input or error */
};

struct cbor_reader {
	const uint8_t *next, *end;
	bool failed;
	unsigned depth; /* of enclosing arrays and maps; kept by enter and leave */
};

void cbor_reader_init(struct cbor_reader *r, struct span input);
/* The whole input is exactly one well-formed item of the profile (checks depth, duplicates, UTF-8
 * of text). Map keys are integers or text, equal by value, not by bytes. A tag counts as a level of
 * depth. The readers below never leave the input, but do not check these again: on untrusted input
 * call this first. */
bool cbor_well_formed(struct span input);
enum cbor_type cbor_peek(const struct cbor_reader *r);
uint64_t cbor_uint(struct cbor_reader *r);
/* -2^63 .. 2^63-1; outside: error. */
int64_t cbor_int(struct cbor_reader *r);
bool cbor_bool(struct cbor_reader *r);
void cbor_null(struct cbor_reader *r);
struct span cbor_bytes(struct cbor_reader *r);
struct span cbor_text(struct cbor_reader *r);
uint64_t cbor_tag(struct cbor_reader *r);
/* The number of items (pairs for a map) that follow. Each enter is matched by cbor_leave. */
size_t cbor_enter_array(struct cbor_reader *r);
size_t cbor_enter_map(struct cbor_reader *r);
void cbor_leave(struct cbor_reader *r);
/* Steps over one whole item and returns its bytes. */
struct span cbor_skip(struct cbor_reader *r);
void cbor_fail(struct cbor_reader *r);
/* No error, and nothing left. */
bool cbor_done(const struct cbor_reader *r);

/*
 * Encoder into a caller's buffer. Too small: failed sticks, len goes on counting what is needed.
 * Maps: the caller writes pairs in deterministic order (bytewise by encoded key); helpers in
 * token.c do; cbor_put_sorted_map sorts pairs that were encoded apart.
 */
struct cbor_writer {
	uint8_t *buf;
	size_t cap, len;
	bool failed;
};

void cbor_writer_init(struct cbor_writer *w, void *buf, size_t cap);
void cbor_put_uint(struct cbor_writer *w, uint64_t value);
void cbor_put_int(struct cbor_writer *w, int64_t value);
void cbor_put_bool(struct cbor_writer *w, bool value);
void cbor_put_null(struct cbor_writer *w);
void cbor_put_bytes(struct cbor_writer *w, struct span bytes);
void cbor_put_text(struct cbor_writer *w, struct span text);
void cbor_put_tag(struct cbor_writer *w, uint64_t tag);
void cbor_put_array(struct cbor_writer *w, size_t items);
void cbor_put_map(struct cbor_writer *w, size_t pairs);
void cbor_put_raw(struct cbor_writer *w, struct span encoded);
struct cbor_pair {
	struct span key, value; /* each one encoded item */
};
/* Sorts pairs in place. */
void cbor_put_sorted_map(struct cbor_writer *w, struct cbor_pair *pairs, size_t n);
