/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What cbor.c and cbor-check.c share: one item's head. Not for other modules. */
#include "core/cbor.h"

/* RFC 8949 section 3.1 */
enum cbor_major {
	CBOR_MAJOR_UINT,
	CBOR_MAJOR_NINT,
	CBOR_MAJOR_BYTES,
	CBOR_MAJOR_TEXT,
	CBOR_MAJOR_ARRAY,
	CBOR_MAJOR_MAP,
	CBOR_MAJOR_TAG,
	CBOR_MAJOR_SIMPLE,
};

enum { CBOR_FALSE = 20, CBOR_TRUE = 21, CBOR_NULL_ = 22 };

struct cbor_head {
	enum cbor_major major;
	uint64_t arg;
};

/* Steps over one head whose declared bytes or items can stand in what is left; false: failed. */
bool cbor_head_take(struct cbor_reader *r, struct cbor_head *ret);
/* The bytes of the string whose head was just taken. */
struct span cbor_head_string(struct cbor_reader *r, const struct cbor_head *h);
