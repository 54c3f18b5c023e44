/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Diagnostic notation (RFC 8949 section 8, RFC 8610 appendix G) of a document or a GATT value, with
 * the names of the labels as comments; what is embedded in a COSE_Sign1 is shown as << >>. Bytes
 * must be well-formed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/cbor.h"
#include "core/crypto.h"

#define DIAG_WIDTH 96

enum diag_is {
	DIAG_PLAIN,
	DIAG_MESSAGE, /* the array of a COSE_Sign1 */
	DIAG_HEADER,
	DIAG_CLAIMS,
	DIAG_CNF,
	DIAG_KEY,
	DIAG_KEYS,
};

static const struct {
	enum diag_is in;
	int64_t label;
	const char *name;
	enum diag_is value;
} diag_labels[] = {
	{DIAG_HEADER, 1, "alg", DIAG_PLAIN},
	{DIAG_HEADER, 4, "kid", DIAG_PLAIN},
	{DIAG_HEADER, 16, "typ", DIAG_PLAIN},
	{DIAG_CLAIMS, 1, "iss", DIAG_PLAIN},
	{DIAG_CLAIMS, 2, "sub", DIAG_PLAIN},
	{DIAG_CLAIMS, 3, "aud", DIAG_PLAIN},
	{DIAG_CLAIMS, 4, "exp", DIAG_PLAIN},
	{DIAG_CLAIMS, 5, "nbf", DIAG_PLAIN},
	{DIAG_CLAIMS, 6, "iat", DIAG_PLAIN},
	{DIAG_CLAIMS, 7, "cti", DIAG_PLAIN},
	{DIAG_CLAIMS, 8, "cnf", DIAG_CNF},
	{DIAG_CLAIMS, 9, "scope", DIAG_PLAIN},
	{DIAG_CLAIMS, 39, "cnonce", DIAG_PLAIN},
	{DIAG_CLAIMS, 65533, "status_list", DIAG_PLAIN},
	{DIAG_CLAIMS, 65534, "ttl", DIAG_PLAIN},
	{DIAG_CLAIMS, 65535, "status", DIAG_PLAIN},
	{DIAG_CLAIMS, -70001, "posture", DIAG_PLAIN},
	{DIAG_CLAIMS, -70002, "keys", DIAG_KEYS},
	{DIAG_CLAIMS, -70003, "policy", DIAG_PLAIN},
	{DIAG_CLAIMS, -70004, "result", DIAG_PLAIN},
	{DIAG_CLAIMS, -70005, "changed", DIAG_PLAIN},
	{DIAG_CLAIMS, -70006, "key", DIAG_KEY},
	{DIAG_CNF, 1, "COSE_Key", DIAG_KEY},
	{DIAG_KEY, 1, "kty", DIAG_PLAIN},
	{DIAG_KEY, 2, "kid", DIAG_PLAIN},
	{DIAG_KEY, 3, "alg", DIAG_PLAIN},
	{DIAG_KEY, -1, "crv", DIAG_PLAIN},
	{DIAG_KEY, -2, "x", DIAG_PLAIN},
	{DIAG_KEY, -70010, "roles", DIAG_PLAIN},
};

static void diag_item(FILE *f, struct span item, enum diag_is is, unsigned depth, bool wrap);

static inline char *diag_inline(struct span item, enum diag_is is)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	diag_item(f, item, is, 0, false);
	fclose(f);
	return text;
}

static inline void diag_indent(FILE *f, unsigned depth)
{
	fprintf(f, "%*s", (int)(2 * depth), "");
}

static inline void diag_bytes(FILE *f, struct span s, unsigned depth, bool wrap)
{
	fputs("h'", f);
	for (size_t i = 0; i < s.len; i++) {
		if (wrap && s.len > 40 && i % 32 == 0) {
			fputc('\n', f);
			diag_indent(f, depth + 1);
		}
		fprintf(f, "%02x", s.data[i]);
	}
	fputc('\'', f);
}

static inline enum diag_is diag_label(FILE *f, struct cbor_reader *r, enum diag_is in)
{
	struct span text;
	int64_t label;

	if (cbor_peek(r) == CBOR_TEXT) {
		text = cbor_text(r);
		fprintf(f, "\"%.*s\": ", (int)text.len, (const char *)text.data);
		return DIAG_PLAIN;
	}
	label = cbor_int(r);
	for (size_t i = 0; i < ARRAY_SIZE(diag_labels); i++) {
		if (diag_labels[i].in != in || diag_labels[i].label != label)
			continue;
		fprintf(f, "/ %s / %lld: ", diag_labels[i].name, (long long)label);
		return diag_labels[i].value;
	}
	fprintf(f, "%lld: ", (long long)label);
	return DIAG_PLAIN;
}

static inline void diag_member(FILE *f, struct cbor_reader *r, enum diag_is is, bool map, size_t i,
			       unsigned depth, bool wrap)
{
	enum diag_is value = is == DIAG_KEYS ? DIAG_KEY : DIAG_PLAIN;
	struct span item;

	if (map)
		value = diag_label(f, r, is);
	if (is != DIAG_MESSAGE || i == 1 || i == 3) {
		diag_item(f, cbor_skip(r), value, depth, wrap);
		return;
	}
	item = cbor_bytes(r);
	fputs("<<", f);
	diag_item(f, item, i == 0 ? DIAG_HEADER : DIAG_CLAIMS, depth, wrap);
	fputs(">>", f);
}

/* wrap: on lines of their own, unless all fit on one. */
static inline void diag_members(FILE *f, struct cbor_reader *r, enum diag_is is, bool map,
				unsigned depth, bool wrap)
{
	size_t n = map ? cbor_enter_map(r) : cbor_enter_array(r);

	fputc(map ? '{' : '[', f);
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			fputs(wrap ? "," : ", ", f);
		if (wrap) {
			fputc('\n', f);
			diag_indent(f, depth + 1);
		}
		diag_member(f, r, is, map, i, depth + 1, wrap);
	}
	if (wrap && n > 0) {
		fputc('\n', f);
		diag_indent(f, depth);
	}
	fputc(map ? '}' : ']', f);
}

static inline bool diag_fits(struct span item, enum diag_is is, unsigned depth)
{
	char *text = diag_inline(item, is);
	bool fits = strlen(text) + 2 * depth + 16 <= DIAG_WIDTH;

	free(text);
	return fits;
}

static inline void diag_item(FILE *f, struct span item, enum diag_is is, unsigned depth, bool wrap)
{
	struct cbor_reader r;
	struct span s;
	uint64_t tag;

	cbor_reader_init(&r, item);
	switch (cbor_peek(&r)) {
	case CBOR_UINT:
		fprintf(f, "%llu", (unsigned long long)cbor_uint(&r));
		return;
	case CBOR_NINT:
		fprintf(f, "%lld", (long long)cbor_int(&r));
		return;
	case CBOR_BYTES:
		diag_bytes(f, cbor_bytes(&r), depth, wrap);
		return;
	case CBOR_TEXT:
		s = cbor_text(&r);
		fprintf(f, "\"%.*s\"", (int)s.len, (const char *)s.data);
		return;
	case CBOR_ARRAY:
	case CBOR_MAP:
		wrap = wrap && !diag_fits(item, is, depth);
		diag_members(f, &r, is, cbor_peek(&r) == CBOR_MAP, depth, wrap);
		return;
	case CBOR_TAG:
		tag = cbor_tag(&r);
		fprintf(f, "%llu(", (unsigned long long)tag);
		diag_item(f, cbor_skip(&r), tag == 18 ? DIAG_MESSAGE : DIAG_PLAIN, depth, wrap);
		fputc(')', f);
		return;
	case CBOR_BOOL:
		fputs(cbor_bool(&r) ? "true" : "false", f);
		return;
	case CBOR_NULL:
		fputs("null", f);
		return;
	case CBOR_NOTHING:
		return;
	}
}

/* malloc'd, with a line break at its end. */
static inline char *diag_text(struct span item)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	diag_item(f, item, DIAG_PLAIN, 0, true);
	fputc('\n', f);
	fclose(f);
	return text;
}
