/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The desk's registry: one SQLite file, desk.db, and the only place where person ids and phone
 * numbers are. This file has its schema, settings, the append-only log of acts, and alarms; the
 * tables of people, fleet, issued authorizations, documents, events and receipts have files of
 * their own.
 *
 * `serve` and one-shot commands use the file at the same time: an act is one transaction, and
 * filing the same thing twice changes nothing. Errors as in link/db.h.
 */
#include "link/db.h"

#define SETTING_CAP 16384

/* Creates desk.db (-EEXIST if it is there), or opens it (-ENOENT if it is not). error gets the
 * words. */
int registry_create(const char *dir, char *error, size_t error_cap, struct db **ret);
int registry_open(const char *dir, char *error, size_t error_cap, struct db **ret);

/* -ENOENT: not set. */
int setting_get(struct db *db, const char *name, char *ret, size_t cap);
int setting_put(struct db *db, const char *name, const char *value);
/* The default if it is not set, or no number. */
uint64_t setting_uint(struct db *db, const char *name, uint64_t otherwise);

/* One act. Everything but operator and act may be NULL; phone and person are pseudonyms. detail:
 * JSON, without a person's data. */
struct act {
	uint64_t time;
	const char *operator;
	const char *act; /* "revoke", "staff.add", ... */
	const char *person, *phone, *lock, *gateway;
	struct span cti;
	const char *detail;
};
int act_log(struct db *db, const struct act *act);

/* What a person should look into. The same kind, subject and detail are raised once. 1: new. */
int alarm_raise(struct db *db, uint64_t now, const char *kind, const char *subject,
		const char *format, ...) __attribute__((format(printf, 5, 6)));
