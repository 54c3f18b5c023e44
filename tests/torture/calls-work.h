/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The part of calls.c that fails: opens a store and works on it, some rounds of all that an agent
 * does with one. What it is about to do, and what became of it, goes to standard output, a line each:
 *
 *   try 0 WHAT NUMBER EVENT
 *   did RESULT WHAT NUMBER EVENT
 *
 * WHAT: open, list, event, auth1 (accepted), auth4 (done), lock, floor. EVENT: what was numbered, or -.
 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "core/crypto.h"
#include "link/store.h"

#define ROUNDS	 3
#define LIST_LEN 9000 /* more than two pages */

static void list_bytes(uint64_t version, uint8_t ret[static LIST_LEN])
{
	for (size_t i = 0; i < LIST_LEN; i += 8)
		memcpy(ret + i, &version, 8);
}

static void make_cti(uint64_t i, uint8_t ret[static CTI_LEN])
{
	memset(ret, 0xc7, CTI_LEN);
	memcpy(ret, &i, sizeof(i));
}

static void make_event(struct store *store, const char *what, char ret[static 128],
		       uint64_t *ret_seq)
{
	uint8_t prev[SHA256_LEN];
	char hex[HEX_CAP(SHA256_LEN)];

	store_event_next(store, ret_seq, prev);
	hex_encode(SPAN(prev), hex, sizeof(hex));
	snprintf(ret, 128, "%" PRIu64 ":%s:%s", *ret_seq, hex, what);
}

/* One write each, so that nothing waits in a buffer when the process ends. */
static void tell(const char *what, const char *event, int r, bool over)
{
	char line[256];
	int len = over ? snprintf(line, sizeof(line), "did %d %s %s\n", r, what, event)
		       : snprintf(line, sizeof(line), "try 0 %s %s\n", what, event);

	if (write(STDOUT_FILENO, line, (size_t)len) != len)
		_exit(4);
}

static void put_list(struct store *store, uint64_t version)
{
	static uint8_t bytes[LIST_LEN];
	char what[64];

	snprintf(what, sizeof(what), "list %" PRIu64, version);
	list_bytes(version, bytes);
	tell(what, "-", 0, false);
	tell(what, "-",
	     store_put_document(store, "list/staff", 101, SPAN(bytes), span_str("under")), true);
}

static void put_event(struct store *store, uint64_t now)
{
	char event[128];
	uint64_t seq;

	make_event(store, "event", event, &seq);
	tell("event 0", event, 0, false);
	tell("event 0", event, store_event(store, seq, event, span_of(NULL, 0), now), true);
	(void)store_acked(store, seq);
}

static void put_auth(struct store *store, uint64_t i, enum store_phase phase)
{
	struct store_authorization auth = {.lock = "lock-1", .exp = 2000, .phase = phase};
	char event[128], what[64];
	uint64_t seq;
	int r;

	snprintf(what, sizeof(what), "auth%d %" PRIu64, (int)phase, i);
	make_cti(i, auth.cti);
	strcpy(auth.first, "pending");
	make_event(store, what, event, &seq);
	tell(what, event, 0, false);
	if (phase == STORE_ACCEPTED)
		r = store_accept(store, &auth, event);
	else
		r = store_phase(store, auth.cti, phase, "done", event);
	tell(what, event, r, true);
}

static void put_numbers(struct store *store, uint64_t n)
{
	struct store_lock lock = {.n = n};
	char what[64];

	snprintf(what, sizeof(what), "lock %" PRIu64, n);
	tell(what, "-", 0, false);
	tell(what, "-", store_put_lock(store, "lock-1", &lock), true);
	snprintf(what, sizeof(what), "floor %" PRIu64, n);
	tell(what, "-", 0, false);
	tell(what, "-", store_put_value(store, "floor", span_of(&n, sizeof(n))), true);
}

/* from: the first number that no earlier child used. */
static int work(const char *path, uint64_t from, bool abandon)
{
	char error[512] = "";
	const struct store_options options = {.path = path,
					      .event_bytes_max = 1 << 20,
					      .event_keep_s = 1000,
					      .error = error,
					      .error_cap = sizeof(error)};
	struct store *store;
	uint64_t dropped;
	int r;

	tell("open 0", "-", 0, false);
	r = store_open(&options, &store);
	tell("open 0", r < 0 ? error : store_stream(store), r, true);
	if (r < 0)
		return 3;
	for (uint64_t i = from; i < from + ROUNDS; i++) {
		put_list(store, i);
		put_event(store, 100 + i);
		put_auth(store, i, STORE_ACCEPTED);
		put_auth(store, i, STORE_DONE);
		put_numbers(store, i);
	}
	(void)store_forget(store, 1000);
	(void)store_trim(store, 100 + from, &dropped);
	if (abandon)
		_exit(0); /* as if killed: the log stays */
	store_close(store);
	return 0;
}
