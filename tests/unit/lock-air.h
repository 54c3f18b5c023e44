/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What tests of a session (agent/lock.c) share: the air between it and a lock, and what it said
 * upwards. The lock at the other end is in lock-peer.h, what moves it all in lock-fixture.h.
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
