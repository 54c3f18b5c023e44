// SPDX-License-Identifier: Apache-2.0
/*
 * Events: numbered without gaps, each naming the hash of the one before, kept until the broker has
 * them and for the retention time.
 */
#include <errno.h>
#include <inttypes.h>

#include "link/store-rows.h"

#define TRIM_BATCH 256 /* events dropped in one transaction */

static void event_sum(uint64_t seq, uint64_t time, struct span correlation, struct span payload,
		      uint8_t ret[static ROW_SUM_LEN])
{
	uint8_t a[8], b[8];
	const struct span fields[] = {row_number(seq, a), row_number(time, b), correlation,
				      payload};

	row_sum(ROW_EVENT, fields, ARRAY_SIZE(fields), ret);
}

int store_add_event(struct store *s, struct store_head *head, const char *payload,
		    struct span correlation)
{
	cleanup(db_end) struct db_query q = db_query_kept(
		s->db, "INSERT INTO event(seq, time, acked, correlation, payload, sum)"
		       " VALUES(?, ?, 0, ?, ?, ?)");
	struct span bytes = span_str(payload);
	uint8_t sum[ROW_SUM_LEN];

	if (!correlation.data)
		correlation = span_of("", 0);
	event_sum(head->next, s->now, correlation, bytes, sum);
	db_bind_uint(&q, head->next);
	db_bind_uint(&q, s->now);
	db_bind_blob(&q, correlation);
	db_bind_blob(&q, bytes);
	db_bind_blob(&q, SPAN(sum));
	head->next++;
	head->events++;
	head->bytes += bytes.len;
	crypto_sha256(bytes, head->prev);
	return db_run(&q);
}

int store_event_next(struct store *s, uint64_t *ret_seq, uint8_t ret_prev[static SHA256_LEN])
{
	*ret_seq = s->head.next;
	memcpy(ret_prev, s->head.prev, SHA256_LEN);
	return 0;
}

int store_event(struct store *s, uint64_t seq, const char *payload, struct span correlation,
		uint64_t now)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	struct store_head head = s->head;
	int r;

	if (seq != head.next)
		return -EINVAL;
	s->now = now;
	r = db_begin(s->db, &tx);
	if (r == 0)
		r = store_add_event(s, &head, payload, correlation);
	if (r == 0)
		r = store_put_head(s, &head);
	if (r == 0)
		r = db_commit(&tx);
	if (r == 0)
		s->head = head;
	return r;
}

int store_each_event(struct store *s, uint64_t from, size_t limit, bool only_open,
		     store_event_fn fn, void *user)
{
	cleanup(db_end) struct db_query q = db_query_kept(
		s->db, only_open ? "SELECT seq, time, acked, correlation, payload, sum FROM event"
				   " WHERE acked = 0 AND seq >= ? ORDER BY seq LIMIT ?"
				 : "SELECT seq, time, acked, correlation, payload, sum FROM event"
				   " WHERE seq >= ? ORDER BY seq LIMIT ?");
	int r;

	db_bind_uint(&q, from);
	db_bind_int(&q, limit > INT32_MAX ? INT32_MAX : (int64_t)limit);
	while ((r = db_step(&q)) > 0) {
		struct store_row row = {
			.seq = db_uint(&q, 0),
			.correlation = db_blob(&q, 3),
			.payload = db_blob(&q, 4),
			.acked = db_int(&q, 2) != 0,
		};
		uint8_t sum[ROW_SUM_LEN];

		event_sum(row.seq, db_uint(&q, 1), row.correlation, row.payload, sum);
		if (!span_equal(db_blob(&q, 5), SPAN(sum)))
			return db_damaged(s->db, "event %" PRIu64, row.seq);
		r = fn(&row, user);
		if (r != 0)
			return r < 0 ? r : 0;
	}
	return r;
}

int store_acked(struct store *s, uint64_t seq)
{
	cleanup(db_hurry_end) struct db *hurried =
		db_hurry(s->db); /* a receipt may be on its way */
	cleanup(db_end) struct db_query q =
		db_query_kept(s->db, "UPDATE event SET acked = 1 WHERE seq = ?");
	int r = db_lazy(s->db, true), full;

	if (r < 0)
		return r;
	db_bind_uint(&q, seq);
	r = db_run(&q);
	full = db_lazy(s->db, false);
	if (r < 0 || full < 0)
		return r < 0 ? r : full;
	return db_changes(s->db) == 0 ? -ENOENT : 0;
}

int64_t store_replay(struct store *s, uint64_t from)
{
	cleanup(db_end) struct db_query q =
		db_query(s->db, "UPDATE event SET acked = 0 WHERE seq >= ? AND acked <> 0");
	int r;

	if (from > INT64_MAX)
		return 0;
	db_bind_uint(&q, from);
	r = db_run(&q);
	return r < 0 ? r : db_changes(s->db);
}

int store_event_stats(struct store *s, uint64_t *ret_oldest, uint64_t *ret_newest,
		      uint64_t *ret_open)
{
	cleanup(db_end) struct db_query q =
		db_query(s->db, "SELECT (SELECT min(seq) FROM event),"
				" (SELECT count(*) FROM event WHERE acked = 0)");
	int r = db_step(&q);

	if (r < 0)
		return r;
	*ret_oldest = db_uint(&q, 0);
	*ret_newest = s->head.next - 1;
	*ret_open = db_uint(&q, 1);
	return 0;
}

int store_check_events(struct store *s)
{
	cleanup(db_end) struct db_query q = db_query(
		s->db, "SELECT seq, time, correlation, payload, sum FROM event ORDER BY seq");
	uint64_t n = 0, bytes = 0, last = 0;
	int r;

	while ((r = db_step(&q)) > 0) {
		struct span payload = db_blob(&q, 3);
		uint8_t sum[ROW_SUM_LEN];

		last = db_uint(&q, 0);
		event_sum(last, db_uint(&q, 1), db_blob(&q, 2), payload, sum);
		if (!span_equal(db_blob(&q, 4), SPAN(sum)))
			return db_damaged(s->db, "event %" PRIu64, last);
		if (last == s->head.next - 1) {
			uint8_t hash[SHA256_LEN];

			crypto_sha256(payload, hash);
			if (memcmp(hash, s->head.prev, SHA256_LEN) != 0)
				return db_damaged(s->db, "the newest event is another");
		}
		n++;
		bytes += payload.len;
		if (db_uint(&q, 1) > s->now)
			s->now = db_uint(&q, 1);
	}
	if (r < 0)
		return r;
	if (n != s->head.events || bytes != s->head.bytes || last >= s->head.next)
		return db_damaged(s->db,
				  "%" PRIu64 " events are there, and there should be %" PRIu64, n,
				  s->head.events);
	return 0;
}

/* --- dropping --- */

/* Deletes up to TRIM_BATCH of what the query finds until done(head). The number, or < 0. */
static int64_t drop(struct store *s, const char *find, uint64_t before, uint64_t bytes_max)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	cleanup(db_end) struct db_query q = db_query(s->db, find);
	cleanup(db_end) struct db_query gone = db_query(s->db, "DELETE FROM event WHERE seq = ?");
	uint64_t seqs[TRIM_BATCH], bytes[TRIM_BATCH];
	struct store_head head = s->head;
	size_t n = 0;
	int r = db_begin(s->db, &tx);

	if (r < 0)
		return r;
	db_bind_uint(&q, before);
	db_bind_int(&q, TRIM_BATCH);
	while (n < TRIM_BATCH && (r = db_step(&q)) > 0) {
		seqs[n] = db_uint(&q, 0);
		bytes[n++] = db_uint(&q, 1);
	}
	if (r < 0)
		return r;
	db_end(&q);
	for (size_t i = 0; i < n; i++) {
		if (head.bytes <= bytes_max) {
			n = i;
			break;
		}
		db_bind_uint(&gone, seqs[i]);
		r = db_run(&gone);
		if (r < 0)
			return r;
		db_again(&gone);
		head.events--;
		head.bytes -= bytes[i];
	}
	if (n == 0)
		return 0;
	r = store_put_head(s, &head);
	if (r == 0)
		r = db_commit(&tx);
	if (r < 0)
		return r;
	s->head = head;
	return (int64_t)n;
}

static int64_t drop_all(struct store *s, const char *find, uint64_t before, uint64_t bytes_max)
{
	int64_t n, sum = 0;

	while ((n = drop(s, find, before, bytes_max)) > 0)
		sum += n;
	return n < 0 ? n : sum;
}

#define FIND "SELECT seq, length(payload) FROM event WHERE "

int store_trim(struct store *s, uint64_t now, uint64_t *ret_dropped)
{
	uint64_t keep = s->options.event_keep_s, max = s->options.event_bytes_max;
	int64_t n;

	*ret_dropped = 0;
	s->now = now;
	n = drop_all(s, FIND "acked <> 0 AND time < ? ORDER BY seq LIMIT ?",
		     now > keep ? now - keep : 0, 0);
	if (n >= 0)
		n = drop_all(s, FIND "acked <> 0 AND seq < ? ORDER BY seq LIMIT ?", s->head.next,
			     max);
	if (n >= 0)
		n = drop_all(s, FIND "seq < ? ORDER BY seq LIMIT ?", s->head.next, max);
	if (n < 0)
		return (int)n;
	*ret_dropped = (uint64_t)n;
	return 0;
}
