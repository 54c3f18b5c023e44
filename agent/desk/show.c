// SPDX-License-Identifier: Apache-2.0
/* Tables, words and JSON. See show.h. */
#include "desk/show.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/crypto.h"

#define COLUMNS_MAX 16

static void print_json(json_t *value)
{
	json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
	putchar('\n');
	fflush(stdout);
	json_decref(value);
}

/* A member as a table shows it, malloc'd. */
static char *cell(const json_t *row, const char *name)
{
	const json_t *v = json_object_get(row, name);
	char *text = NULL;
	size_t i;
	json_t *item;

	if (json_is_string(v))
		return strdup(json_string_value(v));
	if (json_is_integer(v))
		return asprintf(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(v)) < 0 ? NULL
											   : text;
	if (json_is_boolean(v))
		return strdup(json_is_true(v) ? "yes" : "no");
	if (!json_is_array(v))
		return strdup("");
	text = strdup("");
	json_array_foreach(v, i, item)
	{
		char *longer;

		if (asprintf(&longer, "%s%s%s", text ? text : "", i ? "," : "",
			     json_is_string(item) ? json_string_value(item) : "?") < 0)
			longer = NULL;
		free(text);
		text = longer;
	}
	return text;
}

/* Characters, not bytes, of UTF-8. */
static size_t width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

static void print_padded(const char *text, size_t to, bool last)
{
	fputs(text, stdout);
	for (size_t n = width(text); !last && n < to + 2; n++)
		putchar(' ');
	if (last)
		putchar('\n');
}

static void print_table(const struct show_column *columns, const json_t *rows)
{
	size_t widths[COLUMNS_MAX] = {0}, n = 0, i;
	json_t *row;

	for (; n < COLUMNS_MAX && columns[n].header; n++)
		widths[n] = width(columns[n].header);
	json_array_foreach(rows, i, row) for (size_t c = 0; c < n; c++)
	{
		cleanup(freep) char *text = cell(row, columns[c].name);

		if (text && width(text) > widths[c])
			widths[c] = width(text);
	}
	for (size_t c = 0; c < n; c++)
		print_padded(columns[c].header, widths[c], c + 1 == n);
	json_array_foreach(rows, i, row) for (size_t c = 0; c < n; c++)
	{
		cleanup(freep) char *text = cell(row, columns[c].name);

		print_padded(text ? text : "", widths[c], c + 1 == n);
	}
}

static void drop_table_members(json_t *rows)
{
	json_t *row, *value;
	const char *name;
	size_t i;
	void *next;

	json_array_foreach(rows, i, row)
		json_object_foreach_safe(row, next, name, value) if (name[0] == '_')
			json_object_del(row, name);
}

void show_rows(const struct desk *desk, const struct show_column *columns, json_t *rows,
	       const char *empty)
{
	if (desk->json) {
		drop_table_members(rows);
		print_json(rows);
		return;
	}
	if (json_array_size(rows) > 0)
		print_table(columns, rows);
	else
		puts(empty);
	json_decref(rows);
}

void show_answer(const struct desk *desk, json_t *object, const char *format, ...)
{
	va_list args;

	if (desk->json) {
		print_json(object);
		return;
	}
	json_decref(object);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

const char *show_time(uint64_t seconds, char ret[static SHOW_TIME_CAP])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	ret[0] = '\0';
	if (seconds && localtime_r(&t, &tm))
		strftime(ret, SHOW_TIME_CAP, "%Y-%m-%d %H:%M:%S", &tm);
	return ret;
}

json_t *show_hex(struct span bytes)
{
	cleanup(freep) char *text = malloc(HEX_CAP(bytes.len));

	if (!text || hex_encode(bytes, text, HEX_CAP(bytes.len)) < 0)
		return json_null();
	return json_string(text);
}

json_t *show_base64url(struct span bytes)
{
	cleanup(freep) char *text = malloc(BASE64_CAP(bytes.len));

	if (!text || base64url_encode(bytes, text, BASE64_CAP(bytes.len)) < 0)
		return json_null();
	return json_string(text);
}

bool show_parse_duration(const char *text, uint64_t *ret)
{
	unsigned long long value;
	uint64_t unit = 1;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (*end == 'm')
		unit = 60;
	else if (*end == 'h')
		unit = 3600;
	else if (*end == 'd')
		unit = 86400;
	else if (*end != 's' && *end != '\0')
		return false;
	if (errno || (*end && end[1]) || value > 100ULL * 366 * 86400 / unit)
		return false;
	*ret = value * unit;
	return true;
}
