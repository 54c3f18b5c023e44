/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The files of a box that is enrolled, looked at from outside: what keeps the agent from starting, or
 * from being let in. */
#include "ctl/box.h"

#include <jansson.h>

/* Is there a lockbridge.conf? Also true if that cannot be told. */
bool files_enrolled(const struct box *box);
/* Appends a problem for each thing that is wrong, as the agent's Diagnose words them: code, detail,
 * cause, next. What we may not read is not judged. */
void files_check(const struct box *box, uint64_t now, json_t *problems);
/* One problem more; false: out of memory. */
bool files_add(json_t *problems, const char *code, const char *detail, const char *cause,
	       const char *next);
