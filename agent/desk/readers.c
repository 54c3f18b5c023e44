// SPDX-License-Identifier: Apache-2.0
/* Reader authorizations. See readers.h. */
#include "desk/readers.h"

#include <errno.h>

#include "desk/fleet.h"
#include "desk/issued.h"

/* 1: this gateway serves this lock, says the registry. */
static int is_served(struct db *db, const char *gateway, const char *lock)
{
	cleanup(db_end) struct db_query q =
		db_query_kept(db, "SELECT 1 FROM lock_gateway WHERE gateway = ? AND lock = ?");

	db_bind_text(&q, gateway);
	db_bind_text(&q, lock);
	return db_step(&q);
}

/* 1: a new one is due. */
static int is_due(struct db *db, const struct hub_gateway *g, const char *lock, bool held,
		  uint64_t now)
{
	cleanup(db_end) struct db_query q = db_query_kept(
		db, "SELECT pub, exp, sent, kid = (SELECT kid FROM key WHERE role = 'authorize'"
		    " AND dropped IS NULL) FROM reader WHERE gateway = ? AND lock = ?");
	int r;

	db_bind_text(&q, g->id);
	db_bind_text(&q, lock);
	r = db_step(&q);
	if (r <= 0)
		return r < 0 ? r : 1;
	if (!span_equal(db_blob(&q, 0), SPAN(g->state->reader)) || !db_int(&q, 3))
		return 1;
	if (db_uint(&q, 1) < now + READER_RENEW_S)
		return db_uint(&q, 2) + READER_AGAIN_S <= now;
	return !held && db_uint(&q, 2) + READER_AGAIN_S <= now;
}

static bool holds(const struct message_state *state, const char *lock)
{
	for (size_t i = 0; i < state->nreaders; i++)
		if (!strcmp(state->readers[i], lock))
			return true;
	return false;
}

static int send_one(const struct desk *desk, struct session *session, const struct hub_gateway *g,
		    const char *lock, uint64_t now)
{
	char error[KEYRING_ERROR_CAP];
	struct authorization a;
	int r = authorization_sign_reader(desk, g->id, lock, g->state->reader, now, &a, error);

	return r < 0 ? r
		     : session_send_gateway(session, TOPIC_DOCUMENT, g->id,
					    span_of(a.bytes, a.len));
}

int readers_serve(const struct desk *desk, struct session *session,
		  const struct hub_gateway *gateway, uint64_t now)
{
	int n = 0, r;

	if (!gateway->state || !strcmp(gateway->presence, "offline"))
		return 0;
	for (size_t i = 0; i < gateway->state->nlocks; i++) {
		const char *lock = gateway->state->locks[i];

		r = is_served(desk->db, gateway->id, lock);
		if (r > 0)
			r = is_due(desk->db, gateway, lock, holds(gateway->state, lock), now);
		if (r > 0) {
			r = send_one(desk, session, gateway, lock, now);
			n++;
		}
		if (r < 0)
			return r;
	}
	return n;
}

int readers_expire(struct db *db, const char *lock)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "UPDATE reader SET exp = 0, sent = 0 WHERE ?1 IN (lock, '*')");

	db_bind_text(&q, lock);
	return db_run(&q);
}
