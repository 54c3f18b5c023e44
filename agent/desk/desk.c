// SPDX-License-Identifier: Apache-2.0
/* The little that every command shares. See desk.h. */
#include "desk/desk.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "desk/registry.h"

uint64_t desk_now(void)
{
	return (uint64_t)time(NULL);
}

int desk_fail(const struct desk *desk, enum desk_exit status, const char *format, ...)
{
	cleanup(freep) char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	if (desk->json) {
		json_t *answer = json_pack("{s:s?}", "error", text);

		json_dumpf(answer, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(answer);
	} else {
		fprintf(stderr, "lockbridge-desk: %s\n", text ? text : "out of memory");
	}
	return status;
}

int desk_fail_errno(const struct desk *desk, int r, const char *what)
{
	const char *words = desk->db ? db_error(desk->db) : "";

	if (r == -ENOMEM || !*words)
		words = strerror(-r);
	return desk_fail(desk, DESK_REFUSED, "%s: %s", what, words);
}

int desk_log(const struct desk *desk, struct act act)
{
	act.operator= desk->operator;
	if (act.time == 0)
		act.time = desk_now();
	return act_log(desk->db, &act);
}
