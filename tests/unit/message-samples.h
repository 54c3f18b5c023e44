/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Messages with every member filled, for the tests of message. */
#include "fixture.h"

#include "message.h"

#define STREAM "5f0c3a9be1d24c7788a6b0d2f4e19c35"

static inline void fill(void *bytes, size_t len, uint8_t from)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)bytes)[i] = (uint8_t)(from + i);
}

static inline struct applied applied_of(const char *name, uint64_t iat)
{
	struct applied applied = {.iat = iat};

	strcpy(applied.name, name);
	fill(applied.digest, DIGEST_LEN, (uint8_t)iat);
	return applied;
}

static inline struct message_state full_state(void)
{
	struct message_state s = {
		.version = "1.2.3-4",
		.time = 1800000000,
		.boot = "0d6e5a2b8f3c4e1f9a7b6c5d4e3f2a1b",
		.stream = STREAM,
		.seq = 99,
		.oldest = 12,
		.clock = {.now = 1800000001, .problem = CLOCK_STEPPED},
		.floor = 1799999999,
		.opens = {.relayed = "no-list",
			  .relayed_until = 1800000061,
			  .door_until = 1800043201,
			  .early = true},
		.root = "0123456789abcdef",
		.ndocuments = APPLIED_MAX,
		.adapter = "hci0",
		.radio_up = true,
		.recoveries = 3,
		.nlocks = MESSAGE_LOCKS,
		.nreaders = 1,
		.readers = {"lock-0"},
		.outbox = 7,
		.certificate = {.serial = "0123456789abcdef0123456789abcdef01234567",
				.not_after = 1700000000,
				.days = -1158},
	};
	static const char *const names[] = {"keys", "policy", "staff", "a", "b", "c"};

	fill(s.reader, PUBLIC_LEN, 1);
	for (size_t i = 0; i < APPLIED_MAX; i++) {
		s.documents[i] = (struct message_document){.is = applied_of(names[i], 1700 + i),
							   .list = i > 1,
							   .exp = 1900 + i,
							   .changed = i > 1 ? 1600 : 0};
	}
	for (unsigned i = 0; i < MESSAGE_LOCKS; i++)
		snprintf(s.locks[i], sizeof(s.locks[i]), "lock-%u", i % 100);
	for (int i = 0; i < PROBLEMS_MAX + 3; i++)
		problem_add(&s.problems, "no-list", "number %d", i);
	return s;
}

static uint8_t receipt[TOKEN_SMALL_MAX], copy[TOKEN_DOCUMENT_MAX], correlation[CORRELATION_MAX];

static inline struct event full_event(enum event_type type)
{
	struct event e = {
		.stream = STREAM,
		.seq = 5,
		.time = 1800000000,
		.synchronised = true,
		.type = type,
		.lock = "lock-1",
		.has_cti = true,
		.scope = SCOPE_UNLATCH,
		.outcome = OUTCOME_FAILED,
		.reason = REASON_JAMMED,
		.first = "pending",
		.has_challenge = true,
		.correlation = SPAN(correlation),
		.receipt = SPAN(receipt),
		.has_document = true,
		.document_kind = TOKEN_LIST,
		.document = applied_of("staff", 1700),
		.copy = SPAN(copy),
		.count = 3,
		.detail = "words, \"quoted\", with \\ and é",
	};

	fill(receipt, sizeof(receipt), 1);
	fill(copy, sizeof(copy), 2);
	fill(correlation, sizeof(correlation), 3);
	fill(e.prev, SHA256_LEN, 4);
	fill(e.cti, CTI_LEN, 5);
	fill(e.challenge, CHALLENGE_LEN, 6);
	return e;
}
