/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What every part of the desk is handed: its folder, its registry, who is acting, and how to
 * answer.
 */
#include "link/db.h"

/* Exit statuses of the program. */
enum desk_exit {
	DESK_DONE = 0,
	DESK_REFUSED = 1, /* or failed */
	DESK_USAGE = 2,
	DESK_UNKNOWN = 3,   /* the bolt may have moved, or not */
	DESK_NO_ANSWER = 4, /* nobody answered in time, or not all did */
};

struct desk {
	const char *dir;
	const char *operator;
	bool json;
	bool reveal; /* persons and phone numbers in answers of log, watch and reports */
	struct db *db;
};

/* Seconds since 1970. */
uint64_t desk_now(void);
/* What went wrong, on stderr, or as {"error"} on stdout with --json. Returns status. */
int desk_fail(const struct desk *desk, enum desk_exit status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same for an error number of the registry or of a signing function. */
int desk_fail_errno(const struct desk *desk, int r, const char *what);
/* One act by this operator; see act_log. detail: JSON text or NULL. */
struct act;
int desk_log(const struct desk *desk, struct act act);
