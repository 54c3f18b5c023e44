/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Answers: one JSON value, printed as it is with --json, else as words or a table. Members whose
 * name begins with "_" are for tables alone.
 */
#include <jansson.h>

#include "desk/desk.h"

struct show_column {
	const char *name;   /* of the member */
	const char *header; /* NULL: ends the list */
};

/* An array of objects, one per line; takes the array over. Empty: the words. */
void show_rows(const struct desk *desk, const struct show_column *columns, json_t *rows,
	       const char *empty);
/* One object, or the words; takes the object over. */
void show_answer(const struct desk *desk, json_t *object, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Local time, "2025-06-15 10:00:00"; "" for 0. */
#define SHOW_TIME_CAP 32
const char *show_time(uint64_t seconds, char ret[static SHOW_TIME_CAP]);
json_t *show_hex(struct span bytes);
json_t *show_base64url(struct span bytes);
/* "8h", "30m", "90s", "7d", "3600": seconds. false: not a duration. */
bool show_parse_duration(const char *text, uint64_t *ret);
