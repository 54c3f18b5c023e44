// SPDX-License-Identifier: Apache-2.0
/*
 * SQLite: opening and checking the file, statements, transactions. See db.h.
 */
#include "link/db-private.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "link/db-memory.h"

#define WAL_PAGES_MAX	256 /* 1 MiB: then it goes into the file, */
#define WAL_PAGES_HURRY 512 /* or at the latest then */

void db_set_error(struct db *db, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(db->error, sizeof(db->error), format, args);
	va_end(args);
}

int db_damaged(struct db *db, const char *format, ...)
{
	char what[256];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	db_set_error(db, "%s: the file is damaged: %s", db->path, what);
	return -EBADMSG;
}

static int from_open(int error)
{
	switch (error) {
	case EDQUOT:
		return -ENOSPC;
	case EPERM:
		return -EACCES;
	case ENOSPC:
	case EROFS:
	case EACCES:
	case ENOENT:
	case ENOTDIR:
	case ENOMEM:
	case EMFILE:
	case ENFILE:
		return -error;
	default:
		return -EIO;
	}
}

static int error_of(sqlite3 *handle, int code)
{
	switch (code & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL:
		return -EBUSY;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	case SQLITE_TOOBIG:
		return -EFBIG;
	case SQLITE_RANGE:
	case SQLITE_MISUSE:
		return -EINVAL;
	case SQLITE_CANTOPEN:
		return from_open(sqlite3_system_errno(handle));
	case SQLITE_IOERR:
		if (code == SQLITE_IOERR_SHORT_READ || code == SQLITE_IOERR_DATA ||
		    code == SQLITE_IOERR_CORRUPTFS)
			return -EBADMSG;
		return -EIO;
	default:
		/* CORRUPT, NOTADB; and ERROR: a table is missing that the version promises */
		return -EBADMSG;
	}
}

/* Of the call that just failed. SQLite keeps the system's errno only for failures to open. */
int db_fail(struct db *db, int code)
{
	int r = error_of(db->handle, code), system = sqlite3_system_errno(db->handle);
	bool open = (code & 0xff) == SQLITE_CANTOPEN && system;

	if (r == -EROFS) { /* said of files that are not ours, too */
		system = -db_file_writable(db->path);
		open = system != 0;
		r = open ? from_open(system) : r;
	}
	db_set_error(db, "%s: %s%s%s%s", db->path, sqlite3_errmsg(db->handle), open ? ": " : "",
		     open ? strerror(system) : "", db_file_hint(open ? system : -r));
	return r;
}

const char *db_error(const struct db *db)
{
	return db->error;
}

bool db_is_new(const struct db *db)
{
	return db->is_new;
}

void db_close(struct db *db)
{
	if (!db)
		return;
	db_query_forget(db);
	sqlite3_close_v2(db->handle);
	free(db->path);
	free(db);
}

void db_closep(struct db **db)
{
	db_close(*db);
}

/* --- without parameters ---------------------------------------------------------------------- */

int db_exec(struct db *db, const char *sql)
{
	int code = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);

	return code == SQLITE_OK ? 0 : db_fail(db, code);
}

int64_t db_changes(const struct db *db)
{
	return sqlite3_changes64(db->handle);
}

int64_t db_last_id(const struct db *db)
{
	return sqlite3_last_insert_rowid(db->handle);
}

static int one_int(struct db *db, const char *sql, int64_t *ret)
{
	cleanup(db_end) struct db_query q = db_query(db, sql);
	int r = db_step(&q);

	if (r < 0)
		return r;
	*ret = r > 0 ? db_int(&q, 0) : 0;
	return 0;
}

/* --- transactions --------------------------------------------------------------------------- */

int db_begin(struct db *db, struct db **ret_tx)
{
	int r;

	if (db->depth == 0) {
		r = db_exec(db, "BEGIN IMMEDIATE");
		if (r < 0)
			return r;
		db->doomed = false;
	}
	db->depth++;
	*ret_tx = db;
	return 0;
}

int db_commit(struct db **tx)
{
	struct db *db = *tx;
	int r;

	if (db->doomed) {
		db_rollbackp(tx);
		db_set_error(db, "%s: a part of the transaction was undone", db->path);
		return -ECANCELED;
	}
	if (db->depth == 1) {
		r = db_exec(db, "COMMIT");
		if (r < 0) {
			db_rollbackp(tx);
			return r;
		}
	}
	db->depth--;
	*tx = NULL;
	return 0;
}

void db_rollbackp(struct db **tx)
{
	struct db *db = *tx;

	if (!db)
		return;
	*tx = NULL;
	db->doomed = true;
	if (--db->depth > 0)
		return;
	/* A full disk or an I/O error rolled back by itself already. db->error keeps the cause. */
	if (!sqlite3_get_autocommit(db->handle))
		sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
}

int db_lazy(struct db *db, bool lazy)
{
	return db_exec(db, lazy ? "PRAGMA synchronous=NORMAL" : "PRAGMA synchronous=FULL");
}

void db_rest(struct db *db)
{
	db_memory_release(db->handle);
}

struct db *db_hurry(struct db *db)
{
	db->hurry = true;
	return db;
}

void db_hurry_end(struct db **hurried)
{
	(*hurried)->hurry = false;
}

int db_checkpoint(struct db *db)
{
	cleanup(db_end) struct db_query q = db_query(db, "PRAGMA wal_checkpoint(TRUNCATE)");
	int r = db_step(&q);

	if (r < 0)
		return r;
	return r > 0 && db_int(&q, 0) != 0 ? -EBUSY : 0;
}

int db_used(struct db *db, uint64_t *ret)
{
	int64_t pages, unused, size;
	int r = one_int(db, "PRAGMA page_count", &pages);

	if (r == 0)
		r = one_int(db, "PRAGMA freelist_count", &unused);
	if (r == 0)
		r = one_int(db, "PRAGMA page_size", &size);
	if (r < 0)
		return r;
	*ret = pages > unused ? (uint64_t)(pages - unused) * (uint64_t)size : 0;
	return 0;
}

/* --- opening -------------------------------------------------------------------------------- */

/* quick_check does not compare an index with its table: the damage would show at the first write. */
static int check_integrity(struct db *db, bool thorough)
{
	cleanup(db_end) struct db_query q =
		db_query(db, thorough ? "PRAGMA integrity_check(1)" : "PRAGMA quick_check(1)");
	int r = db_step(&q);

	if (r < 0)
		return r;
	if (r > 0 && strcmp(db_text(&q, 0), "ok") == 0)
		return 0;
	return db_damaged(db, "%s", db_text(&q, 0));
}

static int check_identity(struct db *db, const struct db_options *options, int64_t *ret_version)
{
	int64_t id;
	int r = one_int(db, "PRAGMA application_id", &id);

	if (r == 0)
		r = one_int(db, "PRAGMA user_version", ret_version);
	if (r < 0)
		return r;
	if (id != options->application_id) {
		db_set_error(db, "%s: the file is damaged, or belongs to another program",
			     db->path);
		return -EBADMSG;
	}
	if (*ret_version < 1 || (uint64_t)*ret_version > options->nmigrations) {
		db_set_error(db,
			     "%s: version %lld of the content is not known here (1 to %zu are): a "
			     "later version of this program wrote it, or it is damaged",
			     db->path, (long long)*ret_version, options->nmigrations);
		return -EBADMSG;
	}
	return 0;
}

static int migrate(struct db *db, const struct db_options *options, size_t from)
{
	for (size_t i = from; i < options->nmigrations; i++) {
		cleanup(db_rollbackp) struct db *tx = NULL;
		char version[64];
		int64_t now = 0;
		int r = db_begin(db, &tx);

		/* another process may have been here since we looked */
		if (r == 0)
			r = one_int(db, "PRAGMA user_version", &now);
		if (r < 0)
			return r;
		if ((size_t)now > i)
			continue;
		snprintf(version, sizeof(version), "PRAGMA user_version=%zu", i + 1);
		r = db_exec(db, options->migrations[i]);
		if (r == 0)
			r = db_exec(db, version);
		if (r == 0)
			r = db_commit(&tx);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * A write-ahead log that was moved into the file but kept is a danger: damage in its middle makes
 * SQLite lay older pages over newer ones. So it is emptied whenever it was moved.
 */
static int on_commit(void *user, sqlite3 *handle, const char *name, int pages)
{
	const struct db *db = user;

	/* A failure is no loss: the next commit tries again. */
	if (pages >= (db->hurry ? WAL_PAGES_HURRY : WAL_PAGES_MAX))
		sqlite3_wal_checkpoint_v2(handle, name, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	return SQLITE_OK;
}

static int connect_to(struct db *db, const char *path, const struct db_options *options)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
		    SQLITE_OPEN_URI;
	cleanup(freep) char *uri = db_file_uri(path);
	int code = uri ? sqlite3_open_v2(uri, &db->handle, flags, NULL) : SQLITE_NOMEM;
	int r;

	if (!db->handle)
		return -ENOMEM;
	if (code != SQLITE_OK)
		return db_fail(db, code);
	sqlite3_busy_timeout(db->handle, (int)options->busy_ms);
	sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_limit(db->handle, SQLITE_LIMIT_ATTACHED, 0);
	/* exclusive comes before the first access: then no shared memory file is needed */
	r = options->exclusive ? db_exec(db, "PRAGMA locking_mode=EXCLUSIVE") : 0;
	if (r == 0)
		r = db_exec(db, "PRAGMA cell_size_check=ON; PRAGMA foreign_keys=ON;"
				"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL");
	if (options->exclusive) { /* others would be in the way: SQLite's own ways there */
		sqlite3_wal_hook(db->handle, on_commit, db);
		db_memory_bound(db->handle);
	}
	return r;
}

/* SQLite opens what it may not write, and says so only at the first write. */
static int check_writable(struct db *db)
{
	int error;

	if (sqlite3_db_readonly(db->handle, "main") == 0)
		return 0;
	error = -db_file_writable(db->path);
	if (error == 0)
		return db_damaged(db, "its format is none that can be written");
	db_set_error(db, "%s: cannot be written: %s%s", db->path, strerror(error),
		     db_file_hint(error));
	return from_open(error);
}

static int fill(struct db *db, const struct db_options *options)
{
	char identity[64];
	int r;

	snprintf(identity, sizeof(identity), "PRAGMA application_id=%ld",
		 (long)options->application_id);
	r = db_exec(db, identity);
	if (r == 0)
		r = migrate(db, options, 0);
	return r == 0 && options->init ? options->init(db, options->user) : r;
}

/* The file appears under its name only when it is whole, whenever the power fails. */
static int create(struct db *db, const struct db_options *options)
{
	cleanup(db_making_end) struct db_making making = {0};
	int r = db_file_make(options->path, &making, db->error);

	if (r < 0)
		return r;
	r = connect_to(db, making.path, options);
	if (r == 0)
		r = fill(db, options);
	if (r == 0)
		r = db_checkpoint(db);
	db_query_forget(db);
	sqlite3_close_v2(db->handle); /* the last one: takes the write-ahead log away */
	db->handle = NULL;
	if (r < 0)
		return r;
	r = db_file_made(&making, options->path, db->error);
	db->is_new = r == 0;
	return r < 0 ? r : 0;
}

static int open_in_memory(struct db *db, const struct db_options *options)
{
	int r = connect_to(db, ":memory:", options);

	return r < 0 ? r : fill(db, options);
}

static int open_checked(struct db *db, const struct db_options *options)
{
	int64_t version = 0;
	int r;

	db_file_sweep(db->path);
	r = db_file_look(db->path, db->error);
	if (r > 0)
		r = create(db, options);
	if (r < 0)
		return r;
	r = connect_to(db, db->path, options);
	if (r == 0)
		r = check_writable(db);
	if (r == 0)
		r = check_identity(db, options, &version);
	if (r == 0)
		r = check_integrity(db, options->exclusive);
	if (r == 0)
		r = migrate(db, options, (size_t)version);
	return r;
}

int db_open(const struct db_options *options, struct db **ret)
{
	cleanup(db_closep) struct db *db = calloc(1, sizeof(*db));
	int r = -ENOMEM;

	if (db)
		db->path = strdup(options->path ? options->path : "memory");
	if (db && db->path)
		r = options->path ? open_checked(db, options) : open_in_memory(db, options);
	if (r == 0) {
		*ret = steal(db);
		return 0;
	}
	if (options->error && options->error_cap)
		snprintf(options->error, options->error_cap, "%s",
			 db && db->error[0] ? db->error : strerror(-r));
	return r;
}
