/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * docs/protocol.md as a test reads it: $LOCKBRIDGE_DOCS, or docs from the top folder.
 *
 *	<!-- example: NAME -->	the fenced block that follows is hex; white space means nothing, an
 *				empty line parts frames
 *	<!-- diagnostic: NAME -->, <!-- values: NAME -->	what these bytes are, in words
 *	<!-- table: NAME -->	the rows of the table that follows; a cell's back-ticks mean nothing
 *
 * PROTOCOL_WRITE=1 rewrites the fenced blocks instead of comparing them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "core/crypto.h"

#define DOC_CELLS 8
#define DOC_ROWS  64

struct doc {
	char path[512];
	char *text; /* owned */
	bool changed;
};

struct doc_row {
	char cells[DOC_CELLS][400];
};

static inline bool doc_writes(void)
{
	return getenv("PROTOCOL_WRITE") != NULL;
}

static inline void doc_load(struct doc *doc)
{
	const char *dir = getenv("LOCKBRIDGE_DOCS");
	size_t len;
	FILE *f;

	snprintf(doc->path, sizeof(doc->path), "%s/protocol.md", dir ? dir : "docs");
	f = fopen(doc->path, "re");
	if (!f)
		fail_msg("%s cannot be read", doc->path);
	doc->text = NULL;
	len = 0;
	assert_true(getdelim(&doc->text, &len, 0, f) > 0);
	fclose(f);
	doc->changed = false;
}

static inline void doc_save(struct doc *doc)
{
	FILE *f;

	if (!doc->changed)
		return;
	f = fopen(doc->path, "we");
	assert_non_null(f);
	assert_true(fputs(doc->text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* Where the line after <!-- KIND: NAME --> begins. Each stands once. */
static inline const char *doc_mark(const struct doc *doc, const char *kind, const char *name)
{
	char mark[128];
	const char *at;

	snprintf(mark, sizeof(mark), "\n<!-- %s: %s -->\n", kind, name);
	at = strstr(doc->text, mark);
	if (!at)
		fail_msg("%s has no line <!-- %s: %s -->", doc->path, kind, name);
	at += strlen(mark);
	if (strstr(at, mark))
		fail_msg("%s has <!-- %s: %s --> twice", doc->path, kind, name);
	return at;
}

/* What stands between the fences. */
static inline struct span doc_block(const struct doc *doc, const char *kind, const char *name)
{
	const char *at = doc_mark(doc, kind, name), *begin, *end;

	if (strncmp(at, "```", 3) != 0)
		fail_msg("%s: no fenced block after <!-- %s: %s -->", doc->path, kind, name);
	begin = strchr(at, '\n') + 1;
	end = strncmp(begin, "```", 3) == 0 ? begin : strstr(begin, "\n```");
	if (!end)
		fail_msg("%s: <!-- %s: %s --> has no end", doc->path, kind, name);
	return span_of(begin, (size_t)(end - begin) + (end > begin));
}

static inline void doc_replace(struct doc *doc, const char *kind, const char *name,
			       const char *content)
{
	struct span old = doc_block(doc, kind, name);
	size_t before = (size_t)((const char *)old.data - doc->text);
	char *text;

	if (asprintf(&text, "%.*s%s%s", (int)before, doc->text, content,
		     doc->text + before + old.len) < 0)
		fail_msg("out of memory");
	free(doc->text);
	doc->text = text;
	doc->changed = true;
}

/* Compares, or writes where PROTOCOL_WRITE says so. */
static inline void doc_expect(struct doc *doc, const char *kind, const char *name,
			      const char *content)
{
	struct span block = doc_block(doc, kind, name);

	if (span_is(block, content))
		return;
	if (!doc_writes())
		fail_msg("%s of %s in %s:\n%.*s\nshould be:\n%s", kind, name, doc->path,
			 (int)block.len, (const char *)block.data, content);
	doc_replace(doc, kind, name, content);
}

/* The bytes of an example, malloc'd to their exact length, or of its n-th frame; len 0: none. */
static inline struct span doc_hex(const struct doc *doc, const char *name, size_t part)
{
	struct span block = doc_block(doc, "example", name);
	char *digits = malloc(block.len + 1);
	uint8_t *bytes;
	size_t n = 0, at = 0;
	int len;

	assert_non_null(digits);
	for (size_t i = 0; i < block.len; i++) {
		if (block.data[i] != '\n')
			digits[n++] = (char)block.data[i];
		else if (i + 1 < block.len && block.data[i + 1] == '\n' && at++ == part)
			break;
		else if (i + 1 < block.len && block.data[i + 1] == '\n')
			n = 0;
	}
	if (at < part)
		n = 0;
	bytes = malloc(n / 2 + 1);
	assert_non_null(bytes);
	len = hex_decode(span_of(digits, n), bytes, n / 2);
	if (len < 0)
		fail_msg("example %s is not hex", name);
	free(digits);
	bytes = realloc(bytes, len ? (size_t)len : 1);
	assert_non_null(bytes);
	return span_of(bytes, (size_t)len);
}

/* As doc_hex reads it, malloc'd: 32 bytes a line. */
static inline char *doc_hex_text(const struct span *parts, size_t n)
{
	char *text = NULL, line[65];
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	for (size_t p = 0; p < n; p++) {
		if (p > 0)
			fputc('\n', f);
		for (size_t i = 0; i < parts[p].len; i += 32) {
			size_t rest = parts[p].len - i;

			hex_encode(span_of(parts[p].data + i, rest < 32 ? rest : 32), line,
				   sizeof(line));
			fprintf(f, "%s\n", line);
		}
	}
	fclose(f);
	return text;
}

/* --- tables --- */

static inline void doc_cells(const char *line, size_t len, struct doc_row *ret)
{
	size_t cell = 0, n = 0;

	memset(ret, 0, sizeof(*ret));
	for (size_t i = 1; i < len && cell < DOC_CELLS; i++) {
		char c = line[i];
		bool last = n + 1 == sizeof(ret->cells[0]);

		if (c == '|') {
			while (n > 0 && ret->cells[cell][n - 1] == ' ')
				ret->cells[cell][--n] = '\0';
			cell++;
			n = 0;
		} else if (c != '`' && !last && (c != ' ' || n > 0)) {
			ret->cells[cell][n++] = c;
		}
	}
}

/* The rows below the head; how many. */
static inline size_t doc_table(const struct doc *doc, const char *name,
			       struct doc_row ret[static DOC_ROWS])
{
	const char *at = doc_mark(doc, "table", name);
	size_t n = 0, line = 0;

	for (; *at == '|'; line++) {
		size_t len = strcspn(at, "\n");

		if (line >= 2) {
			assert_true(n < DOC_ROWS);
			doc_cells(at, len, &ret[n++]);
		}
		at += len + (at[len] == '\n');
	}
	if (n == 0)
		fail_msg("%s: the table %s has no rows", doc->path, name);
	return n;
}
