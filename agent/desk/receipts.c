// SPDX-License-Identifier: Apache-2.0
/* Receipts: read, verified, filed. See receipts.h. */
#include "desk/receipts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "desk/fleet.h"
#include "desk/issued.h"
#include "desk/registry.h"

/* --- reading ---------------------------------------------------------------------------------- */

static int receipt_from(const struct token *t, struct receipt *ret)
{
	*ret = (struct receipt){.iat = t->iat};
	snprintf(ret->lock, sizeof(ret->lock), "%.*s", (int)t->iss.len, (const char *)t->iss.data);
	if (t->has & CLAIM_CTI) {
		ret->has_cti = t->cti.len == CTI_LEN;
		ret->has_digest = t->cti.len == DIGEST_LEN;
		memcpy(ret->has_cti ? ret->cti : ret->digest, t->cti.data, t->cti.len);
	}
	return result_parse(t->result, &ret->result);
}

int receipt_read(struct db *db, struct span bytes, struct receipt *ret)
{
	struct keyset keys = {.n = 1};
	struct lock_row lock;
	struct token t;
	int r = token_parse(bytes, &t);

	if (r != 0)
		return r;
	if (t.kind != TOKEN_RECEIPT)
		return REASON_WRONG_ROLE;
	r = receipt_from(&t, ret);
	if (r != 0)
		return r;
	r = lock_find(db, ret->lock, &lock);
	if (r < 0)
		return r == -ENOENT ? REASON_WRONG_LOCK : r;
	key_init(&keys.keys[0], lock.pub, ROLE_ROOT);
	return keyset_verify(&keys, &t.cose, ROLE_ROOT);
}

/* --- filing ----------------------------------------------------------------------------------- */

/* 1: new, 0: filed before; a fork is new, and an alarm. */
static int put(struct db *db, struct span bytes, const struct receipt *c, const char *gateway,
	       uint64_t now)
{
	cleanup(db_end) struct db_query q = db_query_kept(
		db,
		"INSERT INTO receipt (lock, n, sha, bytes, cti, outcome, reason, via, iat, gateway,"
		" filed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING");
	cleanup(db_end) struct db_query others =
		db_query_kept(db, "SELECT count(*) FROM receipt WHERE lock = ? AND n = ?");
	uint8_t sha[SHA256_LEN];
	int r;

	crypto_sha256(bytes, sha);
	db_bind_text(&q, c->lock);
	db_bind_uint(&q, c->result.n);
	db_bind_blob(&q, SPAN(sha));
	db_bind_blob(&q, bytes);
	db_bind_blob(&q, c->has_cti ? SPAN(c->cti) : (struct span){0});
	db_bind_text(&q, outcome_word(c->result.outcome));
	db_bind_text(&q, reason_word(c->result.reason));
	db_bind_text(&q, via_word(c->result.via));
	db_bind_uint(&q, c->iat);
	db_bind_text(&q, gateway);
	db_bind_uint(&q, now);
	r = db_run(&q);
	if (r < 0 || db_changes(db) == 0)
		return r;
	db_bind_text(&others, c->lock);
	db_bind_uint(&others, c->result.n);
	r = db_step(&others);
	if (r > 0 && db_int(&others, 0) > 1)
		r = alarm_raise(db, now, "receipt-fork", c->lock,
				"two receipts with n %" PRIu64
				": the lock's memory was set back, or its key is held twice",
				c->result.n);
	return r < 0 ? r : 1;
}

/* A door that opened by what the desk did not sign, or for a phone that was revoked before. */
static int check_opening(struct db *db, const struct receipt *c, const struct issued *issued,
			 bool known, uint64_t now)
{
	cleanup(db_end) struct db_query q = db_query(
		db, "SELECT 1 FROM credential WHERE idx = ? AND status <> 0 AND changed < ?");
	char cti[HEX_CAP(CTI_LEN)];
	int r;

	hex_encode(SPAN(c->cti), cti, sizeof(cti));
	if (!known)
		return alarm_raise(db, now, "opened-by-unknown", c->lock,
				   "authorization %s was not signed by this desk", cti);
	db_bind_uint(&q, issued->idx);
	db_bind_uint(&q, c->iat);
	r = db_step(&q);
	if (r > 0)
		r = alarm_raise(db, now, "opened-when-revoked", c->lock,
				"phone %s, authorization %s, receipt %" PRIu64, issued->phone, cti,
				c->result.n);
	return r;
}

static int tell_authorization(struct db *db, const struct receipt *c, uint64_t now)
{
	struct issued issued;
	bool known;
	int r;

	if (!c->has_cti || c->result.outcome > OUTCOME_REFUSED)
		return 0;
	r = issued_find(db, SPAN(c->cti), &issued);
	if (r < 0 && r != -ENOENT)
		return r;
	known = r == 0;
	if (known && !issued.door)
		r = issued_outcome(db, SPAN(c->cti), outcome_word(c->result.outcome),
				   reason_word(c->result.reason), now, true);
	/* Without a number nothing moved: that is the answer to a reader. */
	if (c->result.outcome == OUTCOME_DONE && c->result.has_n && (r == 0 || r == -ENOENT))
		r = check_opening(db, c, &issued, known, now);
	return r < 0 && r != -ENOENT ? r : 0;
}

int receipt_file(struct db *db, struct span bytes, const char *gateway, uint64_t now,
		 struct receipt *ret, bool *ret_new)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	int verdict, r;

	*ret_new = false;
	r = db_begin(db, &tx);
	if (r < 0)
		return r;
	verdict = receipt_read(db, bytes, ret);
	if (verdict < 0)
		return verdict;
	if (verdict > 0) {
		r = alarm_raise(db, now, "receipt-refused", gateway, "a receipt is %s",
				reason_word((enum reason)verdict));
	} else {
		r = tell_authorization(db, ret, now);
		if (r == 0 && ret->result.has_n) {
			r = put(db, bytes, ret, gateway, now);
			*ret_new = r > 0;
		}
	}
	if (r < 0)
		return r;
	r = db_commit(&tx);
	return r < 0 ? r : verdict;
}

/* --- asking ----------------------------------------------------------------------------------- */

int receipt_newest(struct db *db, const char *lock, struct receipt *ret)
{
	cleanup(db_end) struct db_query q = db_query_kept(
		db, "SELECT bytes FROM receipt WHERE lock = ? ORDER BY n DESC, filed DESC LIMIT 1");
	struct token t;
	int r;

	db_bind_text(&q, lock);
	r = db_step(&q);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	if (token_parse(db_blob(&q, 0), &t) != 0 || t.kind != TOKEN_RECEIPT ||
	    receipt_from(&t, ret) != 0)
		return -EBADMSG;
	return 0;
}

bool receipt_frees(const struct receipt *receipt)
{
	return receipt->result.outcome == OUTCOME_RELEASED;
}

int receipt_released(struct db *db, const char *lock)
{
	struct receipt newest;
	int r = receipt_newest(db, lock, &newest);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return receipt_frees(&newest);
}

int receipt_fits(struct db *db, const char *lock, const uint8_t pub[static PUBLIC_LEN])
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT bytes FROM receipt WHERE lock = ? ORDER BY n DESC LIMIT 1");
	struct token t;
	int r;

	db_bind_text(&q, lock);
	r = db_step(&q);
	if (r <= 0)
		return r < 0 ? r : 1;
	return token_parse(db_blob(&q, 0), &t) == 0 && cose_verify(&t.cose, pub) == 0;
}

int receipt_gaps(struct db *db, const char *lock, uint64_t *ret_missing, uint64_t *ret_highest)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT count(DISTINCT n), coalesce(min(n), 1), coalesce(max(n), 0)"
			     " FROM receipt WHERE lock = ?");
	int r;

	db_bind_text(&q, lock);
	r = db_step(&q);
	if (r < 0)
		return r;
	*ret_highest = db_uint(&q, 2);
	*ret_missing = *ret_highest + 1 - db_uint(&q, 1) - db_uint(&q, 0);
	return 0;
}
