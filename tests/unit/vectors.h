/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Published vectors for the unit tests: $LOCKBRIDGE_VECTORS, or tests/vectors from the top folder.
 */
#include "core/crypto.h"

#include <jansson.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>

#include <cmocka.h>

/* The whole file; the caller gives it back with json_decref. */
static inline json_t *vectors_load(const char *name)
{
	const char *dir = getenv("LOCKBRIDGE_VECTORS");
	char path[512];
	json_error_t error;
	json_t *root;

	snprintf(path, sizeof(path), "%s/%s", dir ? dir : "tests/vectors", name);
	root = json_load_file(path, 0, &error);
	if (!root)
		fail_msg("%s: %s", path, error.text);
	return root;
}

/* Hex into a fresh buffer of exactly its size, so that a sanitizer sees one byte too many. */
static inline struct span vectors_hex(const char *hex)
{
	size_t n = strlen(hex) / 2;
	uint8_t *bytes = malloc(n ? n : 1);

	assert_non_null(bytes);
	assert_int_equal(hex_decode(span_str(hex), bytes, n), n);
	return span_of(bytes, n);
}

static inline void vectors_free(struct span s)
{
	free((void *)s.data);
}
