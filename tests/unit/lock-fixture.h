/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A session (agent/lock.c) with a radio and a lock at the other end that a test moves by hand: time
 * stands still until air_wait(), and nothing happens before air_turn(). The lock at the other end
 * keeps to the contract unless told how not to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>

#include "lock.h"
#include "sign.h"

#define AIR_FRAMES   128
#define AIR_RECEIPTS 80

enum air_fault {
	AIR_HONEST,
	AIR_SILENT,	   /* takes everything, says nothing */
	AIR_SHORT,	   /* answers authorizations by a short answer */
	AIR_RUBBISH,	   /* bytes that are no frame */
	AIR_HALF,	   /* the first half of a receipt */
	AIR_FLOOD,	   /* frames without end */
	AIR_FOREIGN_KEY,   /* a receipt that somebody else signed */
	AIR_FOREIGN_CTI,   /* a receipt about something else */
	AIR_OTHER_LOCK,	   /* a receipt in another lock's name */
	AIR_REFUSES,	   /* outcome refused */
	AIR_TWICE,	   /* each receipt two times */
	AIR_FAILS_TO_MOVE, /* outcome failed, jammed */
	AIR_SPOILT,	   /* documents come spoilt: a short answer */
};

struct air {
	struct city city;
	struct trust *trust;
	struct lock *lock;
	uint64_t now, alarm;

	/* the radio */
	bool connecting, up, closing, urgent, absent, hold_writes, hold_reads;
	bool overtakes; /* frames, as long as they need not be confirmed */
	unsigned connects, closes, reads, drops, operations, confirms;
	bool reading[4];
	struct {
		uint8_t bytes[FRAME_MAX];
		size_t len;
	} frames[AIR_FRAMES];
	size_t nframes, written;
	size_t frame;

	/* the lock */
	enum air_fault fault;
	struct frame_joiner joiner;
	uint8_t inbox[TOKEN_LIST_MAX];
	struct info info;
	struct span kept[AIR_RECEIPTS];
	uint64_t n, lost;	     /* receipts up to `lost` are gone */
	uint64_t overtaken, dropped; /* told after the log's end; left out once */
	bool reader, denies, hidden_tail, button, no_battery;
	uint8_t reader_cti[CTI_LEN];
	unsigned documents[TOKEN_KINDS], sinces, moves;
	enum frame_code code;

	/* what went up */
	int verdict;
	unsigned keeps, rechecks, outcomes, receipts, completes, tests, strangers, reachables,
		forwardeds;
	struct lock_forwarded forwarded; /* its receipt is gone */
	enum outcome outcome;
	enum reason reason;
	bool with_receipt, gap;
	uint64_t receipt_n[AIR_RECEIPTS * 2];
	struct lock_test_result test;
};

static uint64_t air_now(void *user)
{
	return ((struct air *)user)->now;
}

static void air_alarm(uint64_t at, void *user)
{
	((struct air *)user)->alarm = at;
}

static int air_recheck(const struct lock_command *command, void *user)
{
	struct air *a = user;

	a->rechecks++;
	return a->verdict;
}

static void air_outcome(const struct lock_command *command, enum outcome outcome,
			enum reason reason, struct span receipt, const struct result *result,
			void *user)
{
	struct air *a = user;

	a->outcomes++;
	a->outcome = outcome;
	a->reason = reason;
	a->with_receipt = receipt.len > 0;
	assert_int_equal(a->with_receipt, result != NULL);
}

static void air_receipt(const struct token *token, struct span document,
			const struct result *result, void *user)
{
	struct air *a = user;

	if (result->has_n)
		a->receipt_n[a->receipts++] = result->n;
}

static void air_complete(bool gap, void *user)
{
	struct air *a = user;

	a->completes++;
	a->gap = gap;
}

static void air_nothing(void *user)
{
}

static void air_keep(void *user)
{
	((struct air *)user)->keeps++;
}

static void air_reachable(bool yes, void *user)
{
	((struct air *)user)->reachables++;
}

static void air_tested(const struct lock_test_result *result, void *user)
{
	struct air *a = user;

	a->tests++;
	a->test = *result;
}

static void air_forwarded(const struct lock_forwarded *forwarded, void *user)
{
	struct air *a = user;

	a->forwardeds++;
	a->forwarded = *forwarded;
}

static void air_stranger(const char *why, void *user)
{
	((struct air *)user)->strangers++;
}

static int air_connect(bool urgent, void *user)
{
	struct air *a = user;

	assert_false(a->connecting || a->up || a->closing);
	a->connecting = true;
	a->urgent = urgent;
	a->connects++;
	return 0;
}

static int air_read(enum lock_chr chr, void *user)
{
	struct air *a = user;

	assert_true(a->up);
	assert_false(a->reading[chr]); /* BlueZ: one at a time */
	a->reading[chr] = true;
	a->reads++;
	a->operations++;
	return 0;
}

static int air_write(struct span frame, void *user)
{
	struct air *a = user;

	assert_true(a->up);
	assert_in_range(frame.len, 1, a->frame);
	assert_in_range(a->nframes, 0, 63); /* what a link keeps waiting */
	memcpy(a->frames[a->nframes].bytes, frame.data, frame.len);
	a->frames[a->nframes++].len = frame.len;
	a->operations++;
	return 0;
}

static void air_confirm(void *user)
{
	((struct air *)user)->confirms++;
}

static void air_drop(void *user)
{
	struct air *a = user;

	a->drops++;
	a->written = a->nframes; /* each is answered "not sent" in the next turn */
}

static int air_subscribe(enum lock_chr chr, void *user)
{
	((struct air *)user)->operations++;
	return 0;
}

static void air_disconnect(void *user)
{
	struct air *a = user;

	a->closing = true;
}

static const struct lock_radio air_radio = {
	.connect = air_connect,
	.confirm = air_confirm,
	.read = air_read,
	.write = air_write,
	.drop_writes = air_drop,
	.subscribe = air_subscribe,
	.disconnect = air_disconnect,
};

static const struct lock_ops air_ops = {
	.now_ms = air_now,
	.alarm = air_alarm,
	.recheck = air_recheck,
	.outcome = air_outcome,
	.receipt = air_receipt,
	.log_complete = air_complete,
	.changed = air_nothing,
	.keep = air_keep,
	.reachable = air_reachable,
	.tested = air_tested,
	.forwarded = air_forwarded,
	.stranger = air_stranger,
};

/* --- the lock at the other end ------------------------------------------------------------------ */

static void air_say(struct air *a, struct span document, bool half)
{
	uint8_t frame[FRAME_MAX];
	struct frame_cutter c;
	size_t n;

	frame_cut(&c, document);
	while ((n = frame_next(&c, half ? 64 : 200, frame)) > 0 && a->up) {
		lock_notified(a->lock, LOCK_OUTBOX, span_of(frame, n));
		if (half)
			return;
	}
}

static void air_code(struct air *a, unsigned code)
{
	uint8_t bytes[2];

	if (a->fault == AIR_SILENT)
		return;
	frame_short(code, bytes);
	lock_notified(a->lock, LOCK_OUTBOX, SPAN(bytes));
}

static struct span air_make(struct air *a, struct span cti, struct result *r, bool kept)
{
	const struct signer *by = a->fault == AIR_FOREIGN_KEY ? &a->city.stranger : &a->city.lock;
	uint8_t other[CTI_LEN] = {0xee};
	struct span document;

	r->bolt = BOLT_LOCKED;
	r->has_battery = !a->no_battery;
	r->battery = 80;
	r->boot = 1;
	memcpy(r->challenge, a->info.challenge, CHALLENGE_LEN);
	memcpy(r->applied, a->info.applied, sizeof(r->applied));
	r->napplied = a->info.napplied;
	if (kept) {
		r->has_n = true;
		r->n = ++a->n;
	}
	document = sign_receipt(a->fault == AIR_OTHER_LOCK ? "lock-2" : SIGN_LOCK, SIGN_NOW,
				a->fault == AIR_FOREIGN_CTI ? SPAN(other) : cti, r, by);
	if (kept)
		a->kept[r->n] = document;
	return document;
}

static void air_answer(struct air *a, struct span document)
{
	static const uint8_t junk[] = {0x05, 1, 2, 3};

	switch (a->fault) {
	case AIR_SILENT:
		return;
	case AIR_RUBBISH:
		lock_notified(a->lock, LOCK_OUTBOX, SPAN(junk));
		return;
	case AIR_HALF:
		air_say(a, document, true);
		return;
	case AIR_FLOOD:
		for (unsigned i = 0; i < 3000 && a->up && !a->closing; i++)
			air_say(a, document, true);
		return;
	case AIR_TWICE:
		air_say(a, document, false);
		break;
	case AIR_HONEST:
	case AIR_SHORT:
	case AIR_FOREIGN_KEY:
	case AIR_FOREIGN_CTI:
	case AIR_OTHER_LOCK:
	case AIR_REFUSES:
	case AIR_FAILS_TO_MOVE:
	case AIR_SPOILT:
		break;
	}
	air_say(a, document, false);
}

static void air_hold(struct air *a, const struct token *t)
{
	struct result r = {.outcome = OUTCOME_APPLIED};
	struct applied *at = NULL;
	struct span name =
		t->kind == TOKEN_LIST ? list_name(t->sub) : span_str(token_kind_word(t->kind));

	if (a->fault == AIR_SPOILT) {
		air_code(a, a->code);
		return;
	}
	for (size_t i = 0; i < a->info.napplied; i++) {
		if (span_is(name, a->info.applied[i].name))
			at = &a->info.applied[i];
	}
	if (a->fault == AIR_REFUSES) {
		r.outcome = OUTCOME_REFUSED;
		r.reason = REASON_OLDER;
	} else if (!at) {
		at = &a->info.applied[a->info.napplied++];
		memcpy(at->name, name.data, name.len);
	}
	if (a->fault != AIR_REFUSES) {
		at->iat = t->iat;
		memcpy(at->digest, t->digest, DIGEST_LEN);
	}
	air_answer(a, air_make(a, SPAN(t->digest), &r, a->fault != AIR_REFUSES));
}

static void air_move(struct air *a, const struct token *t)
{
	struct result r = {.outcome = OUTCOME_DONE};

	if (a->fault == AIR_SHORT) {
		air_code(a, a->code);
		return;
	}
	if (a->fault == AIR_REFUSES) {
		r.outcome = OUTCOME_REFUSED;
		r.reason = REASON_STALE_CHALLENGE;
	} else if (a->fault == AIR_FAILS_TO_MOVE) {
		r.outcome = OUTCOME_FAILED;
		r.reason = REASON_JAMMED;
	} else {
		a->moves++;
	}
	a->info.challenge[0]++;
	a->info.nonce[0]++;
	air_answer(a, air_make(a, t->cti, &r, a->fault != AIR_REFUSES));
}

/* Claim and release; what obeys somebody, or nobody, answers as firmware does. */
static void air_own(struct air *a, const struct token *t)
{
	struct result r = {.outcome = OUTCOME_CLAIMED};

	if (t->kind == TOKEN_RELEASE && !a->info.owned) {
		air_code(a, FRAME_NOT_OWNED);
		return;
	}
	if (t->kind == TOKEN_CLAIM && (a->info.owned || !a->button)) {
		air_code(a, FRAME_TRY_LATER);
		return;
	}
	a->info.owned = t->kind == TOKEN_CLAIM;
	if (a->info.owned) {
		memcpy(a->info.owner, t->key.kid, DIGEST_LEN);
	} else {
		r.outcome = OUTCOME_RELEASED;
		a->info.napplied = 0;
	}
	air_answer(a, air_make(a, SPAN(t->digest), &r, true));
}

static void air_tell(struct air *a, uint64_t since)
{
	struct result head = {.outcome = OUTCOME_HEAD, .has_last = true};
	uint64_t last = a->n;

	a->sinces++;
	for (uint64_t n = since + 1; n <= a->n - a->hidden_tail; n++) {
		if (n > a->lost && n != a->overtaken && n != a->dropped && a->up)
			air_answer(a, a->kept[n]);
	}
	head.last = last;
	air_answer(a, air_make(a, (struct span){0}, &head, false));
	if (a->overtaken > since && a->up)
		air_answer(a, a->kept[a->overtaken]);
	a->dropped = 0;
}

static void air_document(struct air *a, struct span document)
{
	struct result r = {.outcome = OUTCOME_DONE};
	struct token t;
	uint64_t since;

	if (since_parse(document, &since)) {
		if (a->reader)
			air_tell(a, since);
		else
			air_code(a, FRAME_NOT_A_READER);
		return;
	}
	assert_int_equal(token_parse(document, &t), 0);
	a->documents[t.kind]++;
	if (a->fault == AIR_SPOILT && t.scope == SCOPE_READ) {
		air_code(a, a->code);
	} else if (t.kind == TOKEN_AUTHORIZATION && t.scope == SCOPE_READ) {
		memcpy(a->reader_cti, t.cti.data, CTI_LEN);
		air_code(a, FRAME_GO_ON);
	} else if (t.kind == TOKEN_AUTHORIZATION) {
		air_move(a, &t);
	} else if (t.kind == TOKEN_PRESENTATION) {
		a->reader = !a->denies && span_equal(t.cnonce, SPAN(a->info.nonce)) &&
			    cose_verify(&t.cose, a->city.reader.pub) == 0;
		if (!a->reader) {
			r.outcome = OUTCOME_REFUSED;
			r.reason = REASON_STALE_CHALLENGE;
		}
		air_answer(a, air_make(a, SPAN(a->reader_cti), &r, false));
	} else if (t.kind == TOKEN_CLAIM || t.kind == TOKEN_RELEASE) {
		air_own(a, &t);
	} else {
		air_hold(a, &t);
	}
}

/* --- moving it ---------------------------------------------------------------------------------- */

static void air_write_one(struct air *a)
{
	size_t len = a->frames[0].len;
	uint8_t frame[FRAME_MAX];
	bool dropped = a->written > 0;
	enum frame_event event;
	unsigned code;

	if (a->overtakes && !a->confirms && !dropped && a->nframes > 1) {
		typeof(a->frames[0]) first = a->frames[0];

		a->frames[0] = a->frames[1];
		a->frames[1] = first;
		len = a->frames[0].len;
	}

	memcpy(frame, a->frames[0].bytes, len);
	memmove(&a->frames[0], &a->frames[1], --a->nframes * sizeof(a->frames[0]));
	if (dropped) {
		a->written--;
		lock_written(a->lock, LOCK_NOT_SENT);
		return;
	}
	lock_written(a->lock, LOCK_SENT);
	event = frame_take(&a->joiner, span_of(frame, len), &code);
	if (event == FRAME_COMPLETE)
		air_document(a, sign_keep(span_of(a->joiner.buf, a->joiner.len)));
	else if (event == FRAME_ERROR && a->overtakes)
		air_code(a, code);
}

static void air_close(struct air *a, enum lock_end end)
{
	while (a->nframes) {
		a->written = a->nframes;
		air_write_one(a);
	}
	a->connecting = a->up = a->closing = a->reader = false;
	a->info.nonce[1]++;
	memset(a->reading, 0, sizeof(a->reading));
	a->closes++;
	lock_disconnected(a->lock, end, "");
}

static bool air_step(struct air *a)
{
	uint8_t value[INFO_MAX];
	int n;

	if (a->closing) {
		air_close(a, LOCK_CLOSED);
		return true;
	}
	if (a->connecting && !a->absent) {
		a->connecting = false;
		a->up = true;
		frame_joiner_init(&a->joiner, a->inbox, sizeof(a->inbox));
		lock_connected(a->lock, (unsigned)a->frame);
		return true;
	}
	if (a->reading[LOCK_INFO]) {
		a->reading[LOCK_INFO] = false;
		n = info_encode(&a->info, value, sizeof(value));
		lock_value(a->lock, LOCK_INFO, 0, span_of(value, (size_t)n));
		return true;
	}
	if (a->reading[LOCK_STATE] && !a->hold_reads) {
		a->reading[LOCK_STATE] = false;
		lock_value(a->lock, LOCK_STATE, 0, span_of("", 0));
		return true;
	}
	if (a->nframes && (a->written || !a->hold_writes)) {
		air_write_one(a);
		return true;
	}
	return false;
}

static void air_turn(struct air *a)
{
	for (unsigned i = 0; i < 5000 && air_step(a); i++)
		;
}

/* Lets time pass, alarms and all. */
static void air_wait(struct air *a, uint64_t ms)
{
	uint64_t end = a->now + ms;

	air_turn(a);
	while (a->alarm && a->alarm <= end) {
		a->now = a->alarm > a->now ? a->alarm : a->now;
		a->alarm = 0;
		lock_alarm(a->lock);
		air_turn(a);
	}
	a->now = end;
}

static void air_advert(struct air *a, uint8_t random)
{
	struct advert advert = {
		.profile = 1, .unowned = !a->info.owned, .random = {random, random}};

	applied_hash(a->info.applied, a->info.napplied, advert.applied);
	lock_advert(a->lock, &advert, -60);
}

static int air_new(void **state)
{
	struct air *a = calloc(1, sizeof(*a));
	struct key root;
	struct lock_options options = {.id = SIGN_LOCK, .linger_ms = 2000};

	sign_must(a);
	a->city = city_new();
	root = sign_key(&a->city.root, ROLE_ROOT);
	a->now = 1000000;
	a->frame = 200;
	sign_must(trust_new(LIST_BYTES_MAX, &a->trust) == 0);
	trust_anchor(a->trust, &root);
	strcpy(a->info.id, SIGN_LOCK);
	a->info.profile = 1;
	a->info.owned = true;
	a->info.max = LIST_BYTES_MAX;
	memcpy(a->info.key, a->city.lock.pub, PUBLIC_LEN);
	memcpy(a->info.owner, a->city.root.kid, DIGEST_LEN);
	memset(a->info.challenge, 0xc0, CHALLENGE_LEN);
	options.key = a->city.lock.pub;
	options.trust = a->trust;
	options.reader = &a->city.reader;
	sign_must(lock_new(&options, NULL, &air_radio, &air_ops, a, &a->lock) == 0);
	*state = a;
	return 0;
}

static int air_free(void **state)
{
	struct air *a = *state;

	lock_free(a->lock);
	trust_free(a->trust);
	free(a);
	sign_forget();
	return 0;
}

static void air_trust(struct air *a, struct span document)
{
	struct trust_topic any = {.any = true};
	struct trust_change change;

	assert_int_equal(trust_offer(a->trust, document, &any, &change), 0);
	assert_true(change.applied);
	lock_documents_changed(a->lock);
}

static void air_city_documents(struct air *a)
{
	struct policy policy;

	policy_default(&policy);
	air_trust(a, sign_city_keys(&a->city, &a->city.root, SIGN_NOW - 1000, &a->city.root));
	air_trust(a, sign_policy(&policy, SIGN_NOW - 1000, &a->city.policy));
	air_trust(a, sign_list(&(struct sign_list){.iat = SIGN_NOW - 1000}, &a->city.revoke));
}

/* One that does not shrink much when packed: dozens of frames. */
__attribute__((unused)) static struct span air_long_list(struct air *a)
{
	static struct sign_entry set[20000];
	uint32_t random = 1;

	for (size_t i = 0; i < ARRAY_SIZE(set); i++) {
		random = random * 1664525 + 1013904223;
		set[i] = (struct sign_entry){random >> 16, 1 + (random >> 15) % 2};
	}
	return sign_list(
		&(struct sign_list){
			.iat = SIGN_NOW, .entries = 65536, .set = set, .nset = ARRAY_SIZE(set)},
		&a->city.revoke);
}

__attribute__((unused)) static void air_reader(struct air *a)
{
	struct sign_auth auth = sign_reader(&a->city);

	memset(auth.cti, 0x5e, sizeof(auth.cti));
	assert_int_equal(lock_set_reader(a->lock, sign_auth(&auth, &a->city.authorize)), 0);
	air_wait(a, 10000);
}

/* Known, current, at rest; the link is let go. */
static void air_settle(struct air *a)
{
	air_city_documents(a);
	air_advert(a, 1);
	air_wait(a, 10000);
	assert_false(a->up);
	air_advert(a, 1);
	air_wait(a, 10000);
	assert_false(a->up);
	a->operations = a->connects = a->reads = 0;
}

static struct lock_command air_command(struct air *a)
{
	struct sign_auth auth = sign_relayed(&a->city);
	struct lock_command command = {.scope = SCOPE_UNLOCK, .exp = auth.exp};
	struct span document;

	memcpy(auth.cnonce, a->info.challenge, CHALLENGE_LEN);
	document = sign_auth(&auth, &a->city.authorize);
	memcpy(command.cti, auth.cti, CTI_LEN);
	memcpy(command.document, document.data, document.len);
	command.len = document.len;
	return command;
}

__attribute__((unused)) static void air_unlock(struct air *a)
{
	struct lock_command command = air_command(a);

	assert_int_equal(lock_command(a->lock, &command, 30000), 0);
	lock_commit(a->lock);
}

static bool air_problem(struct air *a, const char *code)
{
	struct message_lock now;

	lock_fill(a->lock, &now);
	for (size_t i = 0; i < now.problems.n; i++) {
		if (strcmp(now.problems.list[i].code, code) == 0)
			return true;
	}
	return false;
}
