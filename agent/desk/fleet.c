// SPDX-License-Identifier: Apache-2.0
/* Gateways and locks. See fleet.h. */
#include "desk/fleet.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "message.h"

int gateway_add(struct db *db, const char *id, uint64_t now)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "INSERT INTO gateway (id, added) VALUES (?, ?)");

	db_bind_text(&q, id);
	db_bind_uint(&q, now);
	return db_run(&q);
}

int gateway_known(struct db *db, const char *id)
{
	cleanup(db_end) struct db_query q = db_query_kept(db, "SELECT 1 FROM gateway WHERE id = ?");

	db_bind_text(&q, id);
	return db_step(&q);
}

int gateway_each(struct db *db, int (*fn)(const char *id, void *user), void *user)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT id FROM gateway WHERE revoked IS NULL ORDER BY id");
	int r;

	while ((r = db_step(&q)) > 0) {
		r = fn(db_text(&q, 0), user);
		if (r < 0)
			return r;
	}
	return r;
}

/* value: NUL-free text; sql sets it, its time, for an id. */
static int put_text(struct db *db, const char *sql, const char *id, struct span text, uint64_t now)
{
	cleanup(db_end) struct db_query q = db_query_kept(db, sql);
	cleanup(freep) char *copy = strndup((const char *)text.data, text.len);

	if (!copy)
		return -ENOMEM;
	db_bind_text(&q, copy);
	db_bind_uint(&q, now);
	db_bind_text(&q, id);
	return db_run(&q);
}

int gateway_put_state(struct db *db, const char *id, struct span json, uint64_t now)
{
	return put_text(db, "UPDATE gateway SET state = ?, state_at = ? WHERE id = ?", id, json,
			now);
}

int gateway_has_state(struct db *db, const char *id)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT 1 FROM gateway WHERE id = ? AND state IS NOT NULL");

	db_bind_text(&q, id);
	return db_step(&q);
}

int gateway_put_presence(struct db *db, const char *id, struct span word, uint64_t now)
{
	return put_text(db, "UPDATE gateway SET presence = ?, presence_at = ? WHERE id = ?", id,
			word, now);
}

int lock_put_state(struct db *db, const char *id, struct span json, uint64_t now)
{
	return put_text(db, "UPDATE lock SET state = ?, state_at = ? WHERE id = ?", id, json, now);
}

int lock_add(struct db *db, const struct lock_row *lock, uint64_t now)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	cleanup(db_end) struct db_query add =
		db_query(db, "INSERT INTO lock (id, pub, added) VALUES (?, ?, ?)");
	cleanup(db_end) struct db_query link =
		db_query(db, "INSERT INTO lock_gateway (lock, gateway, rank) VALUES (?, ?, ?)");
	int r = db_begin(db, &tx);

	if (r < 0)
		return r;
	db_bind_text(&add, lock->id);
	db_bind_blob(&add, SPAN(lock->pub));
	db_bind_uint(&add, now);
	r = db_run(&add);
	for (size_t i = 0; r == 0 && i < lock->ngateways; i++) {
		r = gateway_known(db, lock->gateways[i]);
		if (r <= 0)
			return r < 0 ? r : -ENOENT;
		db_again(&link);
		db_bind_text(&link, lock->id);
		db_bind_text(&link, lock->gateways[i]);
		db_bind_uint(&link, i);
		r = db_run(&link);
	}
	return r < 0 ? r : db_commit(&tx);
}

int lock_remove(struct db *db, const char *id)
{
	static const char *const sql[] = {
		"DELETE FROM lock_gateway WHERE lock = ?",
		"DELETE FROM reader WHERE lock = ?",
		"DELETE FROM lock WHERE id = ?",
	};
	cleanup(db_rollbackp) struct db *tx = NULL;
	int r = db_begin(db, &tx);

	for (size_t i = 0; i < ARRAY_SIZE(sql) && r == 0; i++) {
		cleanup(db_end) struct db_query q = db_query(db, sql[i]);

		db_bind_text(&q, id);
		r = db_run(&q);
	}
	if (r == 0 && db_changes(db) == 0)
		r = -ENOENT;
	return r < 0 ? r : db_commit(&tx);
}

int lock_said_unowned(struct db *db, const char *id)
{
	cleanup(db_end) struct db_query q = db_query(db, "SELECT state FROM lock WHERE id = ?");
	cleanup(freep) struct message_lock *said = malloc(sizeof(*said));
	int r;

	db_bind_text(&q, id);
	r = db_step(&q);
	if (r <= 0 || db_is_null(&q, 0))
		return r < 0 ? r : 0;
	if (!said || message_lock_parse(span_str(db_text(&q, 0)), said) != 0)
		return said ? 0 : -ENOMEM;
	for (size_t i = 0; i < said->problems.n; i++)
		if (!strcmp(said->problems.list[i].code, "lock-unowned"))
			return 1;
	return 0;
}

static int read_gateways(struct db *db, struct lock_row *lock)
{
	cleanup(db_end) struct db_query q = db_query_kept(
		db, "SELECT gateway FROM lock_gateway JOIN gateway ON gateway.id = gateway"
		    " WHERE lock = ? AND revoked IS NULL ORDER BY rank");
	int r;

	db_bind_text(&q, lock->id);
	while ((r = db_step(&q)) > 0 && lock->ngateways < LOCK_GATEWAYS_MAX)
		snprintf(lock->gateways[lock->ngateways++], ID_MAX + 1, "%s", db_text(&q, 0));
	return r < 0 ? r : 0;
}

static int lock_from(struct db *db, struct db_query *q, struct lock_row *ret)
{
	struct span pub = db_blob(q, 1);

	if (pub.len != PUBLIC_LEN)
		return -EBADMSG;
	*ret = (struct lock_row){.added = db_uint(q, 2)};
	snprintf(ret->id, sizeof(ret->id), "%s", db_text(q, 0));
	memcpy(ret->pub, pub.data, PUBLIC_LEN);
	return read_gateways(db, ret);
}

int lock_find(struct db *db, const char *id, struct lock_row *ret)
{
	cleanup(db_end) struct db_query q =
		db_query_kept(db, "SELECT id, pub, added FROM lock WHERE id = ?");
	int r;

	db_bind_text(&q, id);
	r = db_step(&q);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return lock_from(db, &q, ret);
}

int lock_each(struct db *db, int (*fn)(const struct lock_row *lock, void *user), void *user)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT id, pub, added FROM lock ORDER BY id");
	struct lock_row lock;
	int r;

	while ((r = db_step(&q)) > 0) {
		r = lock_from(db, &q, &lock);
		if (r == 0)
			r = fn(&lock, user);
		if (r < 0)
			return r;
	}
	return r;
}
