/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Shared by db.c (the file, transactions) and db-query.c (statements). */
#include "link/db-file.h"
#include "link/db.h"

#define DB_KEPT 24

struct db_kept {
	const char *sql; /* the caller's, and constant; NULL: free */
	struct sqlite3_stmt *stmt;
	bool used;
};

struct db {
	struct sqlite3 *handle;
	char *path;
	bool is_new;
	unsigned depth; /* of nested transactions */
	bool doomed;	/* an inner one was rolled back */
	bool hurry;
	char error[DB_WORDS_CAP];
	struct db_kept kept[DB_KEPT];
};

void db_set_error(struct db *db, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Of the call that just failed on the connection: its -errno, and error in words. */
int db_fail(struct db *db, int code);
/* Ends what is kept; none is in use. */
void db_query_forget(struct db *db);
