// SPDX-License-Identifier: Apache-2.0
/* Authorizations: each cti once, on disk before the first byte goes to the lock. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "link/store-rows.h"

#define COLUMNS "cti, lock, exp, phase, first, scope, correlation, sum"

static void auth_sum(const struct store_authorization *auth, uint8_t ret[static ROW_SUM_LEN])
{
	uint8_t exp[8], phase[8], scope[8];
	const struct span fields[] = {
		SPAN(auth->cti),
		span_str(auth->lock),
		row_number(auth->exp, exp),
		row_number(auth->phase, phase),
		span_str(auth->first),
		row_number(auth->scope, scope),
		span_of(auth->correlation, auth->correlation_len),
	};

	row_sum(ROW_AUTHORIZATION, fields, ARRAY_SIZE(fields), ret);
}

static int write_auth(struct store *s, const char *sql, const struct store_authorization *auth)
{
	cleanup(db_end) struct db_query q = db_query_kept(s->db, sql);
	uint8_t sum[ROW_SUM_LEN];

	auth_sum(auth, sum);
	db_bind_blob(&q, SPAN(auth->cti));
	db_bind_text(&q, auth->lock);
	db_bind_uint(&q, auth->exp);
	db_bind_int(&q, auth->phase);
	db_bind_text(&q, auth->first);
	db_bind_int(&q, auth->scope);
	db_bind_blob(&q, span_of(auth->correlation, auth->correlation_len));
	db_bind_blob(&q, SPAN(sum));
	return db_run(&q);
}

static bool text_fits(const char *text, char *ret, size_t cap)
{
	size_t len = strlen(text);

	if (len >= cap)
		return false;
	memcpy(ret, text, len + 1);
	return true;
}

/* The present row of COLUMNS. */
static int read_auth(struct store *s, struct db_query *q, struct store_authorization *ret)
{
	struct span cti = db_blob(q, 0), correlation = db_blob(q, 6);
	uint8_t sum[ROW_SUM_LEN];

	*ret = (struct store_authorization){
		.exp = db_uint(q, 2),
		.phase = (enum store_phase)db_int(q, 3),
		.scope = (enum scope)db_int(q, 5),
	};
	if (cti.len == CTI_LEN && correlation.len <= sizeof(ret->correlation) &&
	    text_fits(db_text(q, 1), ret->lock, sizeof(ret->lock)) &&
	    text_fits(db_text(q, 4), ret->first, sizeof(ret->first))) {
		memcpy(ret->cti, cti.data, CTI_LEN);
		memcpy(ret->correlation, correlation.data, correlation.len);
		ret->correlation_len = correlation.len;
		auth_sum(ret, sum);
		if (span_equal(db_blob(q, 7), SPAN(sum)))
			return 0;
	}
	return db_damaged(s->db, "an authorization's row");
}

int store_find(struct store *s, const uint8_t cti[static CTI_LEN], struct store_authorization *ret)
{
	cleanup(db_end) struct db_query q =
		db_query_kept(s->db, "SELECT " COLUMNS " FROM authorization WHERE cti = ?");
	struct store_authorization auth;
	int r;

	db_bind_blob(&q, span_of(cti, CTI_LEN));
	r = db_step(&q);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	r = read_auth(s, &q, &auth);
	if (r < 0)
		return r;
	*ret = auth;
	return 0;
}

static int add_event(struct store *s, struct store_head *head, const char *event,
		     const struct store_authorization *auth)
{
	if (!event)
		return 0;
	return store_add_event(s, head, event, span_of(auth->correlation, auth->correlation_len));
}

int store_accept(struct store *s, const struct store_authorization *auth, const char *event)
{
	cleanup(db_hurry_end) struct db *hurried = db_hurry(s->db);
	cleanup(db_rollbackp) struct db *tx = NULL;
	struct store_head head = s->head;
	struct store_authorization before;
	int r;

	if (auth->correlation_len > sizeof(auth->correlation))
		return -EINVAL;
	r = store_find(s, auth->cti, &before);
	if (r != -ENOENT)
		return r < 0 ? r : -EEXIST;
	r = db_begin(s->db, &tx);
	if (r == 0)
		r = write_auth(s,
			       "INSERT INTO authorization(" COLUMNS ")"
			       " VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
			       auth);
	if (r == 0)
		r = add_event(s, &head, event, auth);
	head.authorizations++;
	if (r == 0)
		r = store_put_head(s, &head);
	if (r == 0)
		r = db_commit(&tx);
	if (r == 0)
		s->head = head;
	return r;
}

int store_phase(struct store *s, const uint8_t cti[static CTI_LEN], enum store_phase phase,
		const char *first, const char *event)
{
	cleanup(db_hurry_end) struct db *hurried = db_hurry(s->db);
	cleanup(db_rollbackp) struct db *tx = NULL;
	struct store_head head = s->head;
	struct store_authorization auth;
	int r = store_find(s, cti, &auth);

	if (r < 0)
		return r;
	auth.phase = phase;
	if (first && !text_fits(first, auth.first, sizeof(auth.first)))
		return -EINVAL;
	r = db_begin(s->db, &tx);
	if (r == 0)
		r = write_auth(s,
			       "REPLACE INTO authorization(" COLUMNS ")"
			       " VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
			       &auth);
	if (r == 0)
		r = add_event(s, &head, event, &auth);
	if (r == 0 && event)
		r = store_put_head(s, &head);
	if (r == 0)
		r = db_commit(&tx);
	if (r == 0)
		s->head = head;
	return r;
}

/* All at once, so that the caller may change what it is given. */
static int read_open(struct store *s, struct store_authorization **ret, size_t *ret_n,
		     bool *ret_damaged)
{
	cleanup(db_end) struct db_query q =
		db_query(s->db, "SELECT " COLUMNS " FROM authorization WHERE phase <> ?"
				" ORDER BY exp, cti");
	cleanup(freep) struct store_authorization *list = NULL;
	size_t n = 0;
	int r;

	db_bind_int(&q, STORE_DONE);
	while ((r = db_step(&q)) > 0) {
		struct store_authorization *more = realloc(list, (n + 1) * sizeof(*list));

		if (!more)
			return -ENOMEM;
		list = more;
		if (read_auth(s, &q, &list[n]) == 0)
			n++;
		else
			*ret_damaged = true;
	}
	if (r < 0)
		return r;
	*ret = steal(list);
	*ret_n = n;
	return 0;
}

int store_each_open(struct store *s, store_authorization_fn fn, void *user)
{
	cleanup(freep) struct store_authorization *list = NULL;
	bool damaged = false;
	size_t n;
	int r = read_open(s, &list, &n, &damaged);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		r = fn(&list[i], user);
		if (r < 0)
			return r;
	}
	return damaged ? db_damaged(s->db, "an authorization's row") : 0;
}

int store_forget(struct store *s, uint64_t before)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	cleanup(db_end) struct db_query q =
		db_query(s->db, "DELETE FROM authorization WHERE exp < ? AND phase <> ?");
	struct store_head head = s->head;
	int64_t n;
	int r = db_begin(s->db, &tx);

	if (r < 0)
		return r;
	db_bind_uint(&q, before);
	db_bind_int(&q, STORE_ACCEPTED);
	r = db_run(&q);
	n = db_changes(s->db);
	if (r < 0 || n == 0)
		return r;
	head.authorizations -=
		(uint64_t)n < head.authorizations ? (uint64_t)n : head.authorizations;
	r = store_put_head(s, &head);
	if (r == 0)
		r = db_commit(&tx);
	if (r < 0)
		return r;
	s->head = head;
	return n > INT32_MAX ? INT32_MAX : (int)n;
}

int store_check_authorizations(struct store *s)
{
	cleanup(db_end) struct db_query q =
		db_query(s->db, "SELECT " COLUMNS " FROM authorization");
	struct store_authorization auth;
	uint64_t n = 0;
	int r;

	while ((r = db_step(&q)) > 0) {
		r = read_auth(s, &q, &auth);
		if (r < 0)
			return r;
		n++;
	}
	if (r == 0 && n != s->head.authorizations)
		return db_damaged(
			s->db, "%" PRIu64 " authorizations are there, and there should be %" PRIu64,
			n, s->head.authorizations);
	return r;
}
