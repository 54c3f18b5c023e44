// SPDX-License-Identifier: Apache-2.0
/*
 * Statements. To read one costs SQLite more than to run it: what each door needs is kept, and only reset.
 */
#include "link/db-private.h"

#include <errno.h>
#include <sqlite3.h>

struct db_query db_query(struct db *db, const char *sql)
{
	struct db_query q = {.db = db};
	int code = sqlite3_prepare_v2(db->handle, sql, -1, &q.stmt, NULL);

	if (code != SQLITE_OK)
		q.error = db_fail(db, code);
	return q;
}

/* In use twice at once: the second one is not kept. */
static struct db_kept *find_kept(struct db *db, const char *sql)
{
	for (size_t i = 0; i < DB_KEPT; i++) {
		struct db_kept *kept = &db->kept[i];

		if (!kept->sql || strcmp(kept->sql, sql) == 0)
			return kept->used ? NULL : kept;
	}
	return NULL;
}

struct db_query db_query_kept(struct db *db, const char *sql)
{
	struct db_kept *kept = find_kept(db, sql);
	struct db_query q = {.db = db};
	int code = SQLITE_OK;

	if (!kept)
		return db_query(db, sql);
	if (!kept->stmt)
		code = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT,
					  &kept->stmt, NULL);
	if (code != SQLITE_OK) {
		q.error = db_fail(db, code);
		return q;
	}
	kept->sql = sql;
	kept->used = true;
	q.stmt = kept->stmt;
	q.kept = kept;
	return q;
}

void db_query_forget(struct db *db)
{
	for (size_t i = 0; i < DB_KEPT; i++) {
		sqlite3_finalize(db->kept[i].stmt);
		db->kept[i] = (struct db_kept){0};
	}
}

void db_end(struct db_query *q)
{
	if (q->kept) {
		/* What was bound is the caller's, and goes with him. */
		sqlite3_reset(q->stmt);
		sqlite3_clear_bindings(q->stmt);
		q->kept->used = false;
		q->kept = NULL;
	} else {
		sqlite3_finalize(q->stmt);
	}
	q->stmt = NULL;
}

static void bound(struct db_query *q, int code)
{
	if (code != SQLITE_OK)
		q->error = db_fail(q->db, code);
}

void db_bind_int(struct db_query *q, int64_t value)
{
	if (q->error == 0)
		bound(q, sqlite3_bind_int64(q->stmt, ++q->bound, value));
}

void db_bind_uint(struct db_query *q, uint64_t value)
{
	if (value > INT64_MAX && q->error == 0) {
		db_set_error(q->db, "%s: a number is too large to keep", q->db->path);
		q->error = -ERANGE;
	}
	db_bind_int(q, (int64_t)value);
}

void db_bind_text(struct db_query *q, const char *text)
{
	if (q->error == 0)
		bound(q, sqlite3_bind_text(q->stmt, ++q->bound, text, -1, SQLITE_STATIC));
}

void db_bind_blob(struct db_query *q, struct span bytes)
{
	if (q->error == 0)
		bound(q, sqlite3_bind_blob64(q->stmt, ++q->bound, bytes.data, bytes.len,
					     SQLITE_STATIC));
}

void db_bind_null(struct db_query *q)
{
	if (q->error == 0)
		bound(q, sqlite3_bind_null(q->stmt, ++q->bound));
}

int db_step(struct db_query *q)
{
	int code;

	if (q->error < 0)
		return q->error;
	code = sqlite3_step(q->stmt);
	if (code == SQLITE_ROW)
		return 1;
	if (code == SQLITE_DONE)
		return 0;
	q->error = db_fail(q->db, code);
	return q->error;
}

int db_run(struct db_query *q)
{
	int r;

	do
		r = db_step(q);
	while (r > 0);
	return r;
}

void db_again(struct db_query *q)
{
	if (!q->stmt)
		return;
	sqlite3_reset(q->stmt);
	sqlite3_clear_bindings(q->stmt);
	q->bound = 0;
	q->error = 0;
}

int64_t db_int(struct db_query *q, int column)
{
	return sqlite3_column_int64(q->stmt, column);
}

uint64_t db_uint(struct db_query *q, int column)
{
	int64_t value = sqlite3_column_int64(q->stmt, column);

	return value < 0 ? 0 : (uint64_t)value;
}

const char *db_text(struct db_query *q, int column)
{
	const unsigned char *text = sqlite3_column_text(q->stmt, column);

	return text ? (const char *)text : "";
}

struct span db_blob(struct db_query *q, int column)
{
	/* the pointer first: asking for it may convert the value */
	const void *data = sqlite3_column_blob(q->stmt, column);
	size_t len = (size_t)sqlite3_column_bytes(q->stmt, column);

	/* SQLite gives NULL for an empty value as well */
	if (!data && sqlite3_column_type(q->stmt, column) != SQLITE_NULL)
		return span_of("", 0);
	return span_of(data, len);
}

bool db_is_null(struct db_query *q, int column)
{
	return sqlite3_column_type(q->stmt, column) == SQLITE_NULL;
}
