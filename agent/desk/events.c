// SPDX-License-Identifier: Apache-2.0
/* Event streams: filed, chained, gaps found. See events.h. */
#include "desk/events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "desk/fleet.h"
#include "desk/issued.h"
#include "desk/registry.h"

void filed_deinit(struct filed *filed)
{
	event_deinit(&filed->event);
}

/* --- streams ---------------------------------------------------------------------------------- */

static int stream_open(struct db *db, const char *gateway, const char *stream, uint64_t now)
{
	cleanup(db_end) struct db_query add = db_query_kept(
		db,
		"INSERT INTO stream (id, gateway, first) VALUES (?, ?, ?) ON CONFLICT DO NOTHING");
	cleanup(db_end) struct db_query owner =
		db_query_kept(db, "SELECT gateway FROM stream WHERE id = ?");
	int r;

	db_bind_text(&add, stream);
	db_bind_text(&add, gateway);
	db_bind_uint(&add, now);
	r = db_run(&add);
	if (r < 0)
		return r;
	db_bind_text(&owner, stream);
	r = db_step(&owner);
	if (r > 0 && strcmp(db_text(&owner, 0), gateway) != 0)
		r = alarm_raise(db, now, "stream-moved", gateway,
				"stream %s belongs to gateway %s: a box was copied", stream,
				db_text(&owner, 0));
	return r < 0 ? r : 0;
}

/* 1: a row, with its hash and what it says of the one before. */
static int look_at(struct db_query *q, const char *stream, uint64_t seq,
		   uint8_t ret_sha[static SHA256_LEN], uint8_t ret_prev[static SHA256_LEN])
{
	int r;

	db_again(q);
	db_bind_text(q, stream);
	db_bind_uint(q, seq);
	r = db_step(q);
	if (r <= 0)
		return r;
	if (db_blob(q, 0).len != SHA256_LEN || db_blob(q, 1).len != SHA256_LEN)
		return -EBADMSG;
	memcpy(ret_sha, db_blob(q, 0).data, SHA256_LEN);
	memcpy(ret_prev, db_blob(q, 1).data, SHA256_LEN);
	return 1;
}

static int set_whole(struct db *db, const char *stream, uint64_t whole, uint64_t lost)
{
	cleanup(db_end) struct db_query q =
		db_query_kept(db, "UPDATE stream SET whole = ?, lost = lost + ? WHERE id = ?");

	db_bind_uint(&q, whole);
	db_bind_uint(&q, lost);
	db_bind_text(&q, stream);
	return db_run(&q);
}

/* Walks on from what was whole, checking each link. */
static int stream_extend(struct db *db, const char *gateway, const char *stream, uint64_t whole,
			 uint64_t now)
{
	cleanup(db_end) struct db_query q =
		db_query_kept(db, "SELECT sha, prev FROM event WHERE stream = ? AND seq = ?");
	uint8_t before[SHA256_LEN] = {0}, sha[SHA256_LEN], prev[SHA256_LEN];
	uint64_t from = whole;
	bool has_before = whole == 0;
	int r;

	if (whole > 0) {
		r = look_at(&q, stream, whole, before, prev);
		if (r < 0)
			return r;
		has_before = r > 0;
	}
	while ((r = look_at(&q, stream, whole + 1, sha, prev)) > 0) {
		whole++;
		if (has_before && memcmp(prev, before, SHA256_LEN) != 0)
			r = alarm_raise(db, now, "event-chain", gateway,
					"event %" PRIu64 " of stream %s does not follow the one "
					"before: one of them was changed",
					whole, stream);
		if (r < 0)
			return r;
		memcpy(before, sha, SHA256_LEN);
		has_before = true;
	}
	if (r < 0 || whole == from)
		return r;
	return set_whole(db, stream, whole, 0);
}

static int stream_whole(struct db *db, const char *stream, uint64_t *ret)
{
	cleanup(db_end) struct db_query q =
		db_query_kept(db, "SELECT whole FROM stream WHERE id = ?");
	int r;

	db_bind_text(&q, stream);
	r = db_step(&q);
	*ret = r > 0 ? db_uint(&q, 0) : 0;
	return r < 0 ? r : 0;
}

static int stream_newest(struct db *db, const char *stream, uint64_t *ret)
{
	cleanup(db_end) struct db_query q =
		db_query_kept(db, "SELECT coalesce(max(seq), 0) FROM event WHERE stream = ?");
	int r;

	db_bind_text(&q, stream);
	r = db_step(&q);
	*ret = r > 0 ? db_uint(&q, 0) : 0;
	return r < 0 ? r : 0;
}

/* 1: all is here, and under this gateway, as nearly always: no transaction is needed to see that. */
static int stream_complete(struct db *db, const char *gateway, const struct message_state *state,
			   uint64_t *ret_from)
{
	cleanup(db_end) struct db_query q =
		db_query_kept(db, "SELECT whole FROM stream WHERE id = ? AND gateway = ?");
	uint64_t whole, newest;
	int r;

	db_bind_text(&q, state->stream);
	db_bind_text(&q, gateway);
	r = db_step(&q);
	if (r <= 0)
		return r;
	whole = db_uint(&q, 0);
	if (whole == 0 || whole < state->seq || state->oldest > whole + 1)
		return 0;
	r = stream_newest(db, state->stream, &newest);
	*ret_from = whole + 1;
	return r < 0 ? r : newest <= whole;
}

int stream_missing(struct db *db, const char *gateway, const struct message_state *state,
		   uint64_t now, uint64_t *ret_from)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	uint64_t whole = 0, newest = 0;
	int r = stream_complete(db, gateway, state, ret_from);

	if (r != 0)
		return r < 0 ? r : 0;
	r = db_begin(db, &tx);
	if (r == 0)
		r = stream_open(db, gateway, state->stream, now);
	if (r == 0)
		r = stream_whole(db, state->stream, &whole);
	if (r == 0)
		r = stream_newest(db, state->stream, &newest);
	if (r < 0)
		return r;
	/* An older state, retained, says nothing about what came after it. */
	if (state->oldest > whole + 1 && state->seq >= newest) {
		r = alarm_raise(db, now, "events-lost", gateway,
				"events %" PRIu64 " to %" PRIu64 " of stream %s are kept no longer",
				whole + 1, state->oldest - 1, state->stream);
		if (r >= 0)
			r = set_whole(db, state->stream, state->oldest - 1,
				      state->oldest - 1 - whole);
		if (r == 0)
			r = stream_extend(db, gateway, state->stream, state->oldest - 1, now);
		if (r == 0)
			r = stream_whole(db, state->stream, &whole);
	}
	if (r >= 0)
		r = db_commit(&tx);
	if (r < 0)
		return r;
	*ret_from = whole + 1;
	return state->seq > whole || newest > whole;
}

/* --- filing ----------------------------------------------------------------------------------- */

int events_trim(struct db *db, uint64_t before)
{
	/* the last of the whole part stays: the next is checked against it */
	cleanup(db_end) struct db_query q = db_query(
		db, "DELETE FROM event WHERE filed < ?"
		    " AND seq < (SELECT whole FROM stream WHERE stream.id = event.stream)");

	db_bind_uint(&q, before);
	return db_run(&q);
}

/* 1: filed before, or another one has its number (alarmed; the first one stays). */
static int is_filed(struct db *db, const char *gateway, const struct event *e,
		    const uint8_t sha[static SHA256_LEN], uint64_t now)
{
	cleanup(db_end) struct db_query q =
		db_query_kept(db, "SELECT sha, prev FROM event WHERE stream = ? AND seq = ?");
	uint8_t old[SHA256_LEN], prev[SHA256_LEN];
	int r = look_at(&q, e->stream, e->seq, old, prev);
	uint64_t whole;

	if (r == 0) {
		/* filed, and trimmed since */
		r = stream_whole(db, e->stream, &whole);
		return r < 0 ? r : e->seq <= whole;
	}
	if (r < 0 || memcmp(old, sha, SHA256_LEN) == 0)
		return r;
	r = alarm_raise(db, now, "event-fork", gateway,
			"two events with number %" PRIu64 " in stream %s", e->seq, e->stream);
	return r < 0 ? r : 1;
}

static int put(struct db *db, const char *gateway, const struct event *e, struct span payload,
	       const uint8_t sha[static SHA256_LEN], uint64_t now)
{
	cleanup(db_end) struct db_query q = db_query_kept(
		db, "INSERT INTO event (stream, seq, gateway, time, type, lock, cti, payload, sha,"
		    " prev, filed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
	cleanup(freep) char *text = strndup((const char *)payload.data, payload.len);

	if (!text)
		return -ENOMEM;
	db_bind_text(&q, e->stream);
	db_bind_uint(&q, e->seq);
	db_bind_text(&q, gateway);
	db_bind_uint(&q, e->time);
	db_bind_text(&q, event_type_word(e->type));
	db_bind_text(&q, e->lock[0] ? e->lock : NULL);
	db_bind_blob(&q, e->has_cti ? SPAN(e->cti) : (struct span){0});
	db_bind_text(&q, text);
	db_bind_blob(&q, span_of(sha, SHA256_LEN));
	db_bind_blob(&q, SPAN(e->prev));
	db_bind_uint(&q, now);
	return db_run(&q);
}

/* What the gateway says; a receipt, which the lock signed, is worth more. */
static int tell_authorization(struct db *db, const struct event *e, uint64_t now)
{
	if (!e->has_cti)
		return 0;
	switch (e->type) {
	case EVENT_AUTHORIZATION_ACCEPTED:
		return issued_accepted(db, SPAN(e->cti), e->time);
	case EVENT_AUTHORIZATION_REFUSED:
		/* a duplicate was refused: what the first did stands */
		if (e->reason == REASON_REPLAYED)
			return 0;
		return issued_outcome(db, SPAN(e->cti), "refused", reason_word(e->reason), now,
				      false);
	case EVENT_AUTHORIZATION_OUTCOME:
		return issued_outcome(db, SPAN(e->cti), outcome_word(e->outcome),
				      reason_word(e->reason), now, false);
	default:
		return 0;
	}
}

static int file_new(struct db *db, const char *gateway, struct span payload,
		    const uint8_t sha[static SHA256_LEN], uint64_t now, struct filed *f)
{
	const char *stream = f->event.stream;
	uint64_t whole;
	int r = stream_open(db, gateway, stream, now);

	if (r == 0)
		r = put(db, gateway, &f->event, payload, sha, now);
	if (r == 0)
		r = stream_whole(db, stream, &whole);
	if (r == 0)
		r = stream_extend(db, gateway, stream, whole, now);
	return r == 0 ? tell_authorization(db, &f->event, now) : r;
}

int event_read(struct db *db, struct span payload, struct filed *ret)
{
	int r;

	*ret = (struct filed){0};
	r = event_parse(payload, &ret->event);
	if (r != 0)
		return r == -EINVAL ? REASON_MALFORMED : r;
	if (ret->event.receipt.len == 0)
		return 0;
	r = receipt_read(db, ret->event.receipt, &ret->receipt);
	ret->has_receipt = r == 0;
	return r < 0 ? r : 0;
}

int event_file(struct db *db, const char *gateway, struct span payload, uint64_t now,
	       struct filed *ret)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	uint8_t sha[SHA256_LEN];
	int r = db_begin(db, &tx);

	*ret = (struct filed){0};
	if (r == 0)
		r = gateway_known(db, gateway);
	if (r < 0)
		return r;
	if (r == 0) {
		/* not by a rollback: it would take along what a batch holds already */
		r = db_commit(&tx);
		return r < 0 ? r : REASON_WRONG_TOPIC;
	}
	r = event_parse(payload, &ret->event);
	if (r == -EINVAL) {
		r = alarm_raise(db, now, "event-malformed", gateway, "it sends what is no event");
		if (r >= 0)
			r = db_commit(&tx);
		return r < 0 ? r : REASON_MALFORMED;
	}
	crypto_sha256(payload, sha);
	if (r == 0)
		r = is_filed(db, gateway, &ret->event, sha, now);
	ret->is_new = r == 0;
	if (r == 0)
		r = file_new(db, gateway, payload, sha, now, ret);
	if (r >= 0 && ret->event.receipt.len > 0) {
		r = receipt_file(db, ret->event.receipt, gateway, now, &ret->receipt,
				 &ret->receipt_is_new);
		ret->has_receipt = r == 0;
	}
	return r < 0 ? r : db_commit(&tx);
}
