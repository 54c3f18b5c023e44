// SPDX-License-Identifier: Apache-2.0
/* Schema, settings, log and alarms of desk.db. See registry.h. */
#include "desk/registry.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define APPLICATION_ID 0x4c42444b /* "LBDK" */
#define BUSY_MS	       10000

/* Times: seconds since 1970. */
static const char schema_1[] =
	"CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"

	/* The desk's own keys, also those dropped; private parts are in keys/<role>.pem. */
	"CREATE TABLE key (kid BLOB PRIMARY KEY, role TEXT NOT NULL, pub BLOB NOT NULL,"
	"  made INTEGER NOT NULL, dropped INTEGER) STRICT;"
	"CREATE UNIQUE INDEX key_in_use ON key (role) WHERE dropped IS NULL;"

	"CREATE TABLE person (id INTEGER PRIMARY KEY, number TEXT NOT NULL UNIQUE,"
	"  pseudonym TEXT NOT NULL UNIQUE, added INTEGER NOT NULL) STRICT;"
	/* An index outlives its phone until every authorization that named it has expired. */
	"CREATE TABLE credential (idx INTEGER PRIMARY KEY, status INTEGER NOT NULL DEFAULT 0,"
	"  until INTEGER NOT NULL DEFAULT 0, changed INTEGER NOT NULL DEFAULT 0) STRICT;"
	"CREATE TABLE phone (id INTEGER PRIMARY KEY, number TEXT NOT NULL UNIQUE,"
	"  person INTEGER NOT NULL REFERENCES person (id), label TEXT NOT NULL UNIQUE,"
	"  idx INTEGER NOT NULL UNIQUE REFERENCES credential (idx), pub BLOB,"
	"  pin INTEGER, app TEXT, platform TEXT, checked INTEGER, added INTEGER NOT NULL) STRICT;"

	"CREATE TABLE gateway (id TEXT PRIMARY KEY, added INTEGER NOT NULL, presence TEXT,"
	"  presence_at INTEGER, state TEXT, state_at INTEGER) STRICT;"
	"CREATE TABLE lock (id TEXT PRIMARY KEY, pub BLOB NOT NULL, added INTEGER NOT NULL,"
	"  state TEXT, state_at INTEGER) STRICT;"
	"CREATE TABLE lock_gateway (lock TEXT NOT NULL REFERENCES lock (id),"
	"  gateway TEXT NOT NULL REFERENCES gateway (id), rank INTEGER NOT NULL,"
	"  PRIMARY KEY (lock, gateway)) STRICT;"

	/* Every document ever signed, or taken over: what a receipt names is looked up here. */
	"CREATE TABLE document (id INTEGER PRIMARY KEY, slot TEXT NOT NULL, iat INTEGER NOT NULL,"
	"  exp INTEGER NOT NULL, changed INTEGER NOT NULL, digest BLOB NOT NULL, kid BLOB NOT NULL,"
	"  bytes BLOB NOT NULL, taken_over INTEGER NOT NULL DEFAULT 0,"
	"  UNIQUE (slot, digest)) STRICT;"
	"CREATE INDEX document_newest ON document (slot, kid, iat);"
	/* Digests that an operator declared not to be the desk's, or whose signature was foreign. */
	"CREATE TABLE foreign_document (digest BLOB PRIMARY KEY, noted INTEGER NOT NULL,"
	"  why TEXT NOT NULL) STRICT;"

	"CREATE TABLE issued (cti BLOB PRIMARY KEY, kid BLOB NOT NULL, phone TEXT NOT NULL,"
	"  person TEXT NOT NULL, idx INTEGER NOT NULL, lock TEXT NOT NULL, gateway TEXT,"
	"  scope TEXT NOT NULL, via TEXT NOT NULL, iat INTEGER NOT NULL, exp INTEGER NOT NULL,"
	"  correlation BLOB, accepted INTEGER, outcome TEXT, reason TEXT, outcome_at INTEGER,"
	"  proven INTEGER NOT NULL DEFAULT 0) STRICT;"
	"CREATE INDEX issued_lock ON issued (lock, exp);"
	"CREATE INDEX issued_idx ON issued (idx, exp);"
	"CREATE TABLE reader (gateway TEXT NOT NULL, lock TEXT NOT NULL, pub BLOB NOT NULL,"
	"  kid BLOB NOT NULL, exp INTEGER NOT NULL, sent INTEGER NOT NULL,"
	"  PRIMARY KEY (gateway, lock)) STRICT;"

	"CREATE TABLE event (stream TEXT NOT NULL, seq INTEGER NOT NULL, gateway TEXT NOT NULL,"
	"  time INTEGER NOT NULL, type TEXT NOT NULL, lock TEXT, cti BLOB, payload TEXT NOT NULL,"
	"  sha BLOB NOT NULL, prev BLOB NOT NULL, filed INTEGER NOT NULL,"
	"  PRIMARY KEY (stream, seq)) STRICT, WITHOUT ROWID;"
	"CREATE INDEX event_filed ON event (filed);"
	"CREATE TABLE stream (id TEXT PRIMARY KEY, gateway TEXT NOT NULL, first INTEGER NOT NULL,"
	"  whole INTEGER NOT NULL DEFAULT 0, lost INTEGER NOT NULL DEFAULT 0) STRICT;"
	"CREATE TABLE receipt (lock TEXT NOT NULL, n INTEGER NOT NULL, sha BLOB NOT NULL,"
	"  bytes BLOB NOT NULL, cti BLOB, outcome TEXT NOT NULL, reason TEXT NOT NULL,"
	"  via TEXT NOT NULL, iat INTEGER NOT NULL, gateway TEXT NOT NULL, filed INTEGER NOT NULL,"
	"  PRIMARY KEY (lock, n, sha)) STRICT;"
	"CREATE INDEX receipt_cti ON receipt (cti);"

	"CREATE TABLE alarm (id INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind TEXT NOT NULL,"
	"  subject TEXT NOT NULL, detail TEXT NOT NULL, UNIQUE (kind, subject, detail)) STRICT;"
	"CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL,"
	"  operator TEXT NOT NULL, act TEXT NOT NULL, person TEXT, phone TEXT, lock TEXT,"
	"  gateway TEXT, cti BLOB, detail TEXT) STRICT;"
	"CREATE TRIGGER log_keeps BEFORE UPDATE ON log BEGIN"
	"  SELECT RAISE(ABORT, 'the log is append-only'); END;"
	"CREATE TRIGGER log_stays BEFORE DELETE ON log BEGIN"
	"  SELECT RAISE(ABORT, 'the log is append-only'); END;";

/* Gateways' client certificates. A gateway's key is what it enrolled with, as SHA-256 of its
 * SubjectPublicKeyInfo; without one it was never enrolled. Of a certificate that a revocation list
 * named and the registry has forgotten, gateway and pem are empty. */
static const char schema_2[] =
	"ALTER TABLE gateway ADD COLUMN key BLOB;"
	"ALTER TABLE gateway ADD COLUMN revoked INTEGER;"
	"CREATE TABLE certificate (serial TEXT PRIMARY KEY, gateway TEXT NOT NULL, key BLOB,"
	"  issued INTEGER NOT NULL, not_after INTEGER NOT NULL, revoked_at INTEGER,"
	"  pem TEXT NOT NULL) STRICT;"
	"CREATE INDEX certificate_gateway ON certificate (gateway, not_after);"
	"CREATE INDEX certificate_key ON certificate (key);";

static const char *const migrations[] = {schema_1, schema_2};

static int open_at(const char *path, char *error, size_t error_cap, struct db **ret)
{
	const struct db_options options = {
		.path = path,
		.application_id = APPLICATION_ID,
		.migrations = migrations,
		.nmigrations = ARRAY_SIZE(migrations),
		.busy_ms = BUSY_MS,
		.error = error,
		.error_cap = error_cap,
	};
	cleanup(db_closep) struct db *db = NULL;
	int r = db_open(&options, &db);

	if (r < 0)
		return r;
	r = db_exec(db, "PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON");
	if (r < 0)
		return r;
	*ret = steal(db);
	return 0;
}

int registry_create(const char *dir, char *error, size_t error_cap, struct db **ret)
{
	cleanup(freep) char *path = NULL;

	if (asprintf(&path, "%s/desk.db", dir) < 0)
		return -ENOMEM;
	if (access(path, F_OK) == 0) {
		snprintf(error, error_cap, "%s exists already", path);
		return -EEXIST;
	}
	return open_at(path, error, error_cap, ret);
}

/* db_open makes a file that is missing: a registry that vanished is no fresh start. */
int registry_open(const char *dir, char *error, size_t error_cap, struct db **ret)
{
	cleanup(freep) char *path = NULL;

	if (asprintf(&path, "%s/desk.db", dir) < 0)
		return -ENOMEM;
	if (access(path, F_OK) < 0) {
		snprintf(error, error_cap, "%s: no registry there; make one by 'init'", path);
		return -ENOENT;
	}
	return open_at(path, error, error_cap, ret);
}

/* --- settings ------------------------------------------------------------------------------- */

int setting_get(struct db *db, const char *name, char *ret, size_t cap)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT value FROM setting WHERE name = ?");
	int r;

	db_bind_text(&q, name);
	r = db_step(&q);
	if (r < 0)
		return r;
	if (r == 0)
		return -ENOENT;
	if ((size_t)snprintf(ret, cap, "%s", db_text(&q, 0)) >= cap)
		return -ENOSPC;
	return 0;
}

int setting_put(struct db *db, const char *name, const char *value)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "INSERT INTO setting (name, value) VALUES (?, ?)"
			     " ON CONFLICT (name) DO UPDATE SET value = excluded.value");

	db_bind_text(&q, name);
	db_bind_text(&q, value);
	return db_run(&q);
}

uint64_t setting_uint(struct db *db, const char *name, uint64_t otherwise)
{
	char text[32], *end;
	unsigned long long value;

	if (setting_get(db, name, text, sizeof(text)) < 0)
		return otherwise;
	value = strtoull(text, &end, 10);
	return *text && !*end ? value : otherwise;
}

/* --- log and alarms ------------------------------------------------------------------------- */

int act_log(struct db *db, const struct act *act)
{
	cleanup(db_end) struct db_query q = db_query(
		db,
		"INSERT INTO log (time, operator, act, person, phone, lock, gateway, cti, detail)"
		" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");

	db_bind_uint(&q, act->time);
	db_bind_text(&q, act->operator);
	db_bind_text(&q, act->act);
	db_bind_text(&q, act->person);
	db_bind_text(&q, act->phone);
	db_bind_text(&q, act->lock);
	db_bind_text(&q, act->gateway);
	db_bind_blob(&q, act->cti);
	db_bind_text(&q, act->detail);
	return db_run(&q);
}

int alarm_raise(struct db *db, uint64_t now, const char *kind, const char *subject,
		const char *format, ...)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "INSERT INTO alarm (time, kind, subject, detail) VALUES (?, ?, ?, ?)"
			     " ON CONFLICT DO NOTHING");
	char detail[512];
	va_list args;
	int r;

	va_start(args, format);
	vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);
	db_bind_uint(&q, now);
	db_bind_text(&q, kind);
	db_bind_text(&q, subject);
	db_bind_text(&q, detail);
	r = db_run(&q);
	return r < 0 ? r : db_changes(db) > 0;
}
