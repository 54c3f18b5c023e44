/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A thin hold on SQLite, for the gateway's store and the desk's registry: one connection, WAL,
 * synchronous=FULL (a commit is on disk when it returns), checked when opened. The only user of
 * sqlite3.h.
 *
 * Errors: -EBADMSG the file is damaged, not ours, or of a later version; -ENOENT its folder is
 * missing; -EEXIST a constraint; -EBUSY another process holds it; -ENOSPC, -EROFS, -EACCES, -EIO as
 * the disk says; -ENOMEM. db_error has the words. Nothing here logs.
 */
#include "core/span.h"

struct db;
struct sqlite3_stmt;

struct db_options {
	/* Its folder must exist; the file is created with mode 0600. NULL: in memory, for as long as
	 * it is open. */
	const char *path;
	int32_t application_id;
	/* Each is run once, in a transaction of its own with the number it raises user_version to.
	 * Append only: what was released never changes. */
	const char *const *migrations;
	size_t nmigrations;
	/* What a new file holds from the start: called once, after the migrations, before the file
	 * has its name. May be NULL. */
	int (*init)(struct db *db, void *user);
	void *user;
	bool exclusive;	  /* hold the file against every other process until closed; indexes are
			     checked, too */
	unsigned busy_ms; /* not exclusive: how long a write waits for another process; blocks */
	char *error;	  /* may be NULL: where the words go when db_open fails */
	size_t error_cap;
};

/*
 * A file is made under another name and appears complete: an empty one is damage, and so is a
 * missing one whose write-ahead log is there.
 */
int db_open(const struct db_options *options, struct db **ret);
void db_close(struct db *db);
void db_closep(struct db **db);
/* Why the last call failed, in words; "" before the first failure. */
const char *db_error(const struct db *db);
/* For content that is wrong though SQLite read it: keeps the words for db_error. -EBADMSG. */
int db_damaged(struct db *db, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* true: db_open made the file. */
bool db_is_new(const struct db *db);

/*
 * One statement:
 *
 *	cleanup(db_end) struct db_query q = db_query(db, "SELECT id, name FROM lock WHERE n > ?");
 *
 *	db_bind_int(&q, 7);
 *	while ((r = db_step(&q)) > 0)
 *		show(db_int(&q, 0), db_text(&q, 1));
 *	if (r < 0)
 *		return r;
 *
 * Parameters are bound in order, the first error sticks until db_step tells. What is bound or read
 * as text or bytes is borrowed: bound until db_end, read until the next db_step or db_end.
 */
struct db_query {
	struct db *db;
	struct sqlite3_stmt *stmt;
	int bound; /* parameters so far */
	int error; /* 0 or the first -errno */
	struct db_kept *kept;
};
struct db_query db_query(struct db *db, const char *sql);
/* The same for one of a few that come again and again: read by SQLite once. sql lives as long as db. */
struct db_query db_query_kept(struct db *db, const char *sql);
void db_end(struct db_query *q);
void db_bind_int(struct db_query *q, int64_t value);
void db_bind_uint(struct db_query *q, uint64_t value);	  /* above INT64_MAX: error -ERANGE */
void db_bind_text(struct db_query *q, const char *text);  /* NULL: SQL NULL */
void db_bind_blob(struct db_query *q, struct span bytes); /* data NULL: SQL NULL */
void db_bind_null(struct db_query *q);
/* 1: a row; 0: done; < 0. */
int db_step(struct db_query *q);
/* To the end, any rows ignored. 0 or < 0. */
int db_run(struct db_query *q);
/* Back to the start, nothing bound: the same statement again. */
void db_again(struct db_query *q);

/* Columns of the present row, from 0. */
int64_t db_int(struct db_query *q, int column);
uint64_t db_uint(struct db_query *q, int column);    /* negative: 0 */
const char *db_text(struct db_query *q, int column); /* "" for NULL */
struct span db_blob(struct db_query *q, int column); /* data NULL for NULL */
bool db_is_null(struct db_query *q, int column);

/* Statements without parameters or rows, separated by semicolons. */
int db_exec(struct db *db, const char *sql);
/* Rows that the last INSERT, UPDATE or DELETE touched; the rowid of the last INSERT. */
int64_t db_changes(const struct db *db);
int64_t db_last_id(const struct db *db);

/*
 * A transaction, undone unless committed:
 *
 *	cleanup(db_rollbackp) struct db *tx = NULL;
 *
 *	r = db_begin(db, &tx);
 *	...
 *	return db_commit(&tx);
 *
 * They nest: only the outermost commit writes, and an inner rollback undoes all (the outer commit
 * then returns -ECANCELED).
 */
int db_begin(struct db *db, struct db **ret_tx);
int db_commit(struct db **tx);
void db_rollbackp(struct db **tx);

/* lazy: commits from now on are whole, but on disk only with the next one that is not lazy. For
 * what may be lost without harm. Outside transactions. */
int db_lazy(struct db *db, bool lazy);
/*
 * cleanup(db_hurry_end) struct db *hurried = db_hurry(db): somebody waits for what is committed until then.
 * To move the log into the file takes several syncs: that is left to a commit for which nobody waits.
 */
struct db *db_hurry(struct db *db);
void db_hurry_end(struct db **hurried);
/* Moves everything from the write-ahead log into the file, and syncs it. -EBUSY: a reader is in
 * the way; nothing is lost. */
int db_checkpoint(struct db *db);
/* Gives back the memory that it keeps only to be quick; between statements. */
void db_rest(struct db *db);
/* Bytes of the file that hold content (free pages left out). */
int db_used(struct db *db, uint64_t *ret);
