// SPDX-License-Identifier: Apache-2.0
/*
 * The store: opening, values, locks. Documents are in store-document.c, authorizations in
 * store-auth.c, events in store-event.c.
 *
 * Documents and values (the clock's floor, the reader's seed) are few and small in number: one
 * manifest, a hash over the checksums of them all, is written with each change, so that a row that
 * went missing shows.
 */
#include "link/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "link/db-memory.h"
#include "link/store-rows.h"

#define APPLICATION_ID 0x6c6b6264 /* "lkbd" */
#define VALUE_MAX      4096
#define HEAD_LEN       (4 * 8 + SHA256_LEN)

static const char *const migrations[] = {
	"CREATE TABLE value(key TEXT PRIMARY KEY NOT NULL, content BLOB NOT NULL,"
	" sum BLOB NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE document(slot TEXT PRIMARY KEY NOT NULL, ord INTEGER NOT NULL,"
	" content BLOB NOT NULL, under BLOB NOT NULL, sum BLOB NOT NULL);"
	"CREATE TABLE authorization(cti BLOB PRIMARY KEY NOT NULL, lock TEXT NOT NULL,"
	" exp INTEGER NOT NULL, phase INTEGER NOT NULL, first TEXT NOT NULL,"
	" scope INTEGER NOT NULL, correlation BLOB NOT NULL, sum BLOB NOT NULL) WITHOUT ROWID;"
	/* no index that a decision rests on */
	/* acked is not in the checksum: flipped, it makes a gap that the city sees and asks for */
	"CREATE TABLE event(seq INTEGER PRIMARY KEY NOT NULL, time INTEGER NOT NULL,"
	" acked INTEGER NOT NULL, correlation BLOB NOT NULL, payload BLOB NOT NULL,"
	" sum BLOB NOT NULL);"
	"CREATE INDEX event_open ON event(seq) WHERE acked = 0;"
	"CREATE TABLE lock(id TEXT PRIMARY KEY NOT NULL, state BLOB NOT NULL,"
	" sum BLOB NOT NULL) WITHOUT ROWID;",
};

struct span row_number(uint64_t value, uint8_t buf[static 8])
{
	for (int i = 0; i < 8; i++)
		buf[i] = (uint8_t)(value >> (56 - 8 * i));
	return span_of(buf, 8);
}

static uint64_t number_at(const uint8_t *bytes)
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | bytes[i];
	return value;
}

/* Each field goes in behind its length, so that no two rows hash alike. */
void row_sum(enum row_kind kind, const struct span *fields, size_t n,
	     uint8_t ret[static ROW_SUM_LEN])
{
	uint8_t lengths[ROW_FIELDS_MAX][8], tag = (uint8_t)kind, hash[SHA256_LEN];
	struct span pieces[2 * ROW_FIELDS_MAX + 1] = {span_of(&tag, 1)};
	size_t k = 1;

	for (size_t i = 0; i < n && i < ROW_FIELDS_MAX; i++) {
		pieces[k++] = row_number(fields[i].len, lengths[i]);
		pieces[k++] = fields[i];
	}
	crypto_sha256_of(pieces, k, hash);
	memcpy(ret, hash, ROW_SUM_LEN);
}

const char *store_error(const struct store *store)
{
	return db_error(store->db);
}

const char *store_stream(const struct store *store)
{
	return store->stream;
}

/* --- values --- */

static void pair_sum(enum row_kind kind, const char *key, struct span content,
		     uint8_t ret[static ROW_SUM_LEN])
{
	const struct span fields[] = {span_str(key), content};

	row_sum(kind, fields, ARRAY_SIZE(fields), ret);
}

static int put_value(struct db *db, const char *key, struct span value)
{
	cleanup(db_end) struct db_query q = db_query_kept(
		db, "INSERT OR REPLACE INTO value(key, content, sum) VALUES(?, ?, ?)");
	uint8_t sum[ROW_SUM_LEN];

	pair_sum(ROW_VALUE, key, value, sum);
	db_bind_text(&q, key);
	db_bind_blob(&q, value.len ? value : span_of("", 0));
	db_bind_blob(&q, SPAN(sum));
	return db_run(&q);
}

static int get_value(struct db *db, const char *key, void *ret, size_t cap, size_t *ret_len)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT content, sum FROM value WHERE key = ?");
	uint8_t sum[ROW_SUM_LEN];
	struct span value;
	int r;

	db_bind_text(&q, key);
	r = db_step(&q);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	value = db_blob(&q, 0);
	pair_sum(ROW_VALUE, key, value, sum);
	if (!span_equal(db_blob(&q, 1), SPAN(sum)))
		return db_damaged(db, "the value \"%s\"", key);
	if (value.len > cap)
		return -ENOSPC;
	memcpy(ret, value.data, value.len);
	*ret_len = value.len;
	return 0;
}

/* Of a row that a whole store has. */
static int get_own_value(struct db *db, const char *key, void *ret, size_t len)
{
	size_t n = 0;
	int r = get_value(db, key, ret, len, &n);

	if (r == -ENOENT || r == -ENOSPC || (r == 0 && n != len))
		return db_damaged(db, "the value \"%s\" is missing", key);
	return r;
}

static int put_head(struct db *db, const struct store_head *head)
{
	uint8_t bytes[HEAD_LEN];

	row_number(head->next, bytes);
	row_number(head->events, bytes + 8);
	row_number(head->bytes, bytes + 16);
	row_number(head->authorizations, bytes + 24);
	memcpy(bytes + 32, head->prev, SHA256_LEN);
	return put_value(db, "head", SPAN(bytes));
}

int store_put_head(struct store *store, const struct store_head *head)
{
	return put_head(store->db, head);
}

static int get_head(struct store *s)
{
	uint8_t bytes[HEAD_LEN] = {0};
	int r = get_own_value(s->db, "head", bytes, sizeof(bytes));

	if (r < 0)
		return r;
	s->head.next = number_at(bytes);
	s->head.events = number_at(bytes + 8);
	s->head.bytes = number_at(bytes + 16);
	s->head.authorizations = number_at(bytes + 24);
	memcpy(s->head.prev, bytes + 32, SHA256_LEN);
	return 0;
}

/* --- the manifest --- */

static int manifest_hash(struct db *db, uint8_t ret[static SHA256_LEN])
{
	cleanup(db_end) struct db_query q = db_query(
		db, "SELECT 'd', slot, sum FROM document UNION ALL"
		    " SELECT 'v', key, sum FROM value WHERE key NOT IN ('head', 'manifest')"
		    " ORDER BY 1, 2");
	int r;

	memset(ret, 0, SHA256_LEN);
	while ((r = db_step(&q)) > 0) {
		struct span name = span_str(db_text(&q, 1));
		uint8_t len[8];
		const struct span pieces[] = {span_of(ret, SHA256_LEN), span_str(db_text(&q, 0)),
					      row_number(name.len, len), name, db_blob(&q, 2)};

		crypto_sha256_of(pieces, ARRAY_SIZE(pieces), ret);
	}
	return r;
}

static int put_manifest(struct db *db)
{
	uint8_t hash[SHA256_LEN];
	int r = manifest_hash(db, hash);

	return r < 0 ? r : put_value(db, "manifest", SPAN(hash));
}

int store_check_manifest(struct db *db)
{
	uint8_t is[SHA256_LEN], should[SHA256_LEN];
	int r = get_own_value(db, "manifest", should, sizeof(should));

	if (r == 0)
		r = manifest_hash(db, is);
	if (r < 0)
		return r;
	if (memcmp(is, should, SHA256_LEN) != 0)
		return db_damaged(db, "a document or a value went missing or was changed");
	return 0;
}

/* Into the file at once: damage to the write-ahead log must not bring an older document back. If
 * that fails the change is safe in the log, and the next one tries again. */
static void settle(struct store *s)
{
	(void)db_checkpoint(s->db);
}

/* Ends a change of a document or value: with the manifest, unless a larger one ends it. */
int store_seal(struct store *s, struct db **tx)
{
	int r = s->tx ? 0 : put_manifest(s->db);

	if (r == 0)
		r = db_commit(tx);
	if (r == 0 && !s->tx)
		settle(s);
	return r;
}

int store_begin(struct store *s, struct store **ret_tx)
{
	int r = s->tx ? -EINVAL : db_begin(s->db, &s->tx);

	if (r == 0)
		*ret_tx = s;
	return r;
}

int store_commit(struct store **tx)
{
	struct store *s = steal(*tx);
	cleanup(db_rollbackp) struct db *outer = steal(s->tx);

	return store_seal(s, &outer);
}

void store_rollbackp(struct store **tx)
{
	if (*tx)
		db_rollbackp(&(*tx)->tx);
	*tx = NULL;
}

int store_put_value(struct store *s, const char *key, struct span value)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	int r;

	if (strcmp(key, "stream") == 0 || strcmp(key, "head") == 0 ||
	    strcmp(key, "manifest") == 0 || value.len > VALUE_MAX)
		return -EINVAL;
	r = db_begin(s->db, &tx);
	if (r == 0)
		r = put_value(s->db, key, value);
	return r == 0 ? store_seal(s, &tx) : r;
}

int store_get_value(struct store *s, const char *key, void *ret, size_t cap, size_t *ret_len)
{
	return get_value(s->db, key, ret, cap, ret_len);
}

/* --- locks --- */

/* The state as bytes: fixed places, then the applied map. */
#define LOCK_FIXED (8 + 1 + CHALLENGE_LEN + 1 + 1 + 1 + 8)

int store_put_lock(struct store *s, const char *lock, const struct store_lock *state)
{
	cleanup(db_end) struct db_query q =
		db_query_kept(s->db, "INSERT OR REPLACE INTO lock(id, state, sum) VALUES(?, ?, ?)");
	uint8_t bytes[LOCK_FIXED + sizeof(state->applied)], sum[ROW_SUM_LEN], *p = bytes;

	if (state->applied_len > sizeof(state->applied))
		return -EINVAL;
	row_number(state->n, p);
	p += 8;
	*p++ = state->has_challenge;
	memcpy(p, state->challenge, CHALLENGE_LEN);
	p += CHALLENGE_LEN;
	*p++ = state->bolt;
	*p++ = state->has_battery;
	*p++ = state->battery;
	row_number(state->seen, p);
	p += 8;
	memcpy(p, state->applied, state->applied_len);
	p += state->applied_len;
	pair_sum(ROW_LOCK, lock, span_of(bytes, (size_t)(p - bytes)), sum);
	db_bind_text(&q, lock);
	db_bind_blob(&q, span_of(bytes, (size_t)(p - bytes)));
	db_bind_blob(&q, SPAN(sum));
	return db_run(&q);
}

int store_get_lock(struct store *s, const char *lock, struct store_lock *ret)
{
	cleanup(db_end) struct db_query q =
		db_query(s->db, "SELECT state, sum FROM lock WHERE id = ?");
	uint8_t sum[ROW_SUM_LEN];
	const uint8_t *p;
	struct span state;
	int r;

	db_bind_text(&q, lock);
	r = db_step(&q);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	state = db_blob(&q, 0);
	pair_sum(ROW_LOCK, lock, state, sum);
	if (!span_equal(db_blob(&q, 1), SPAN(sum)) || state.len < LOCK_FIXED ||
	    state.len > LOCK_FIXED + sizeof(ret->applied))
		return db_damaged(s->db, "the state of the lock \"%s\"", lock);
	*ret = (struct store_lock){0};
	p = state.data;
	ret->n = number_at(p);
	ret->has_challenge = p[8];
	memcpy(ret->challenge, p + 9, CHALLENGE_LEN);
	p += 9 + CHALLENGE_LEN;
	ret->bolt = p[0];
	ret->has_battery = p[1];
	ret->battery = p[2];
	ret->seen = number_at(p + 3);
	ret->applied_len = state.len - LOCK_FIXED;
	memcpy(ret->applied, state.data + LOCK_FIXED, ret->applied_len);
	return 0;
}

int store_delete_lock(struct store *s, const char *lock)
{
	cleanup(db_end) struct db_query q = db_query(s->db, "DELETE FROM lock WHERE id = ?");
	int r;

	db_bind_text(&q, lock);
	r = db_run(&q);
	return r == 0 && db_changes(s->db) == 0 ? -ENOENT : r;
}

/* --- opening --- */

static int init(struct db *db, void *user)
{
	const struct store_head head = {.next = 1};
	const struct store_options *options = user;
	uint8_t stream[16];
	int r;

	crypto_random(stream, sizeof(stream));
	r = put_value(db, "stream", SPAN(stream));
	if (r == 0)
		r = put_head(db, &head);
	if (r == 0 && options->damaged)
		r = put_value(db, "damaged", span_str("1"));
	return r == 0 ? put_manifest(db) : r;
}

/* Tables of a key and its content. */
static int check_pairs(struct db *db)
{
	static const struct {
		enum row_kind kind;
		const char *sql, *what;
	} tables[] = {
		{ROW_VALUE, "SELECT key, content, sum FROM value", "value"},
		{ROW_LOCK, "SELECT id, state, sum FROM lock", "state of the lock"},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(tables); i++) {
		cleanup(db_end) struct db_query q = db_query(db, tables[i].sql);

		while ((r = db_step(&q)) > 0) {
			uint8_t sum[ROW_SUM_LEN];

			pair_sum(tables[i].kind, db_text(&q, 0), db_blob(&q, 1), sum);
			if (!span_equal(db_blob(&q, 2), SPAN(sum)))
				return db_damaged(db, "the %s \"%s\"", tables[i].what,
						  db_text(&q, 0));
		}
	}
	return r;
}

static int check(struct store *s)
{
	uint8_t stream[16];
	int r = check_pairs(s->db);

	if (r == 0)
		r = store_check_documents(s->db);
	if (r == 0)
		r = store_check_manifest(s->db);
	if (r == 0)
		r = get_own_value(s->db, "stream", stream, sizeof(stream));
	if (r == 0)
		r = get_head(s);
	if (r == 0)
		r = store_check_events(s);
	if (r == 0)
		r = store_check_authorizations(s);
	if (r == 0)
		hex_encode(SPAN(stream), s->stream, sizeof(s->stream));
	return r;
}

int store_open(const struct store_options *options, struct store **ret)
{
	cleanup(store_closep) struct store *s = calloc(1, sizeof(*s));
	const struct db_options db_options = {
		.path = options->path,
		.application_id = APPLICATION_ID,
		.migrations = migrations,
		.nmigrations = ARRAY_SIZE(migrations),
		.init = init,
		.user = (void *)(uintptr_t)options,
		.exclusive = true,
		.error = options->error,
		.error_cap = options->error_cap,
	};
	int r;

	if (!s)
		return -ENOMEM;
	db_memory_init();
	s->options = *options;
	s->options.path = NULL;
	s->options.error = NULL;
	r = db_open(&db_options, &s->db);
	if (r < 0)
		return r;
	r = check(s);
	if (r < 0) {
		if (options->error && options->error_cap)
			snprintf(options->error, options->error_cap, "%s", db_error(s->db));
		return r;
	}
	settle(s);
	*ret = steal(s);
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	db_close(s->db);
	free(s);
}

void store_rest(struct store *s)
{
	db_rest(s->db);
}

void store_closep(struct store **s)
{
	store_close(*s);
}
