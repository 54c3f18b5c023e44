/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A store with known content, and the question whether all of it is still there. */
#include "fixture.h"

#include "core/crypto.h"
#include "link/store.h"

#define CONTENT_NOW    1800000000U
#define CONTENT_AUTHS  20
#define CONTENT_EVENTS 30 /* besides those of the authorizations */

static const struct {
	const char *slot;
	int order;
	size_t len, under;
} content_documents[] = {
	{"keys/0011223344556677", 0, 300, 0},
	{"keys/8899aabbccddeeff", 1, 300, 0},
	{"policy", 2, 150, 300},
	{"list/staff", 3, 20000, 0},
	{"list/partners", 3, 700, 300},
	{"pending/list/other", 9, 100, 0},
	{"reader/lock-1", 10, 250, 0},
};

/* Reproducible, and no two alike. */
static inline void content_bytes(uint8_t *ret, size_t len, unsigned which)
{
	uint32_t x = 2463534242U + which * 7919U;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		ret[i] = (uint8_t)x;
	}
}

static inline struct store_options content_options(const char *path, char *error, size_t cap)
{
	return (struct store_options){
		.path = path,
		.event_bytes_max = 1 << 24,
		.event_keep_s = 1000000,
		.error = error,
		.error_cap = cap,
	};
}

static inline struct store_authorization content_auth(unsigned number)
{
	struct store_authorization auth = {
		.lock = "lock-1",
		.exp = CONTENT_NOW + 60 + number,
		.phase = STORE_ACCEPTED,
		.first = "pending",
		.scope = SCOPE_UNLOCK,
	};

	content_bytes(auth.cti, CTI_LEN, 1000 + number);
	return auth;
}

static inline int content_accept(struct store *store, unsigned number)
{
	struct store_authorization auth = content_auth(number);
	uint8_t prev[SHA256_LEN];
	char event[256];
	uint64_t seq;

	store_event_next(store, &seq, prev);
	snprintf(event, sizeof(event), "{\"seq\":%llu,\"prev\":\"%02x%02x\",\"number\":%u}",
		 (unsigned long long)seq, prev[0], prev[1], number);
	return store_accept(store, &auth, event);
}

static inline int content_put_document(struct store *store, unsigned i, unsigned version)
{
	uint8_t bytes[20000], under[300];

	content_bytes(bytes, content_documents[i].len, i + 100 * version);
	content_bytes(under, content_documents[i].under, i + 50);
	return store_put_document(store, content_documents[i].slot, content_documents[i].order,
				  span_of(bytes, content_documents[i].len),
				  span_of(under, content_documents[i].under));
}

static inline void content_put(struct store *store, unsigned version)
{
	struct store_lock lock = {.n = 7, .seen = CONTENT_NOW};

	for (unsigned i = 0; i < ARRAY_SIZE(content_documents); i++)
		assert_int_equal(content_put_document(store, i, version), 0);
	assert_int_equal(store_put_value(store, "floor", span_str("1800000000")), 0);
	assert_int_equal(store_put_value(store, "reader", span_str("0123456789abcdef")), 0);
	assert_int_equal(store_put_lock(store, "lock-1", &lock), 0);
	for (unsigned i = 0; i < CONTENT_AUTHS; i++)
		assert_int_equal(content_accept(store, i), 0);
	for (unsigned i = 0; i < CONTENT_EVENTS; i++) {
		uint8_t prev[SHA256_LEN];
		char payload[700];
		uint64_t seq;

		store_event_next(store, &seq, prev);
		memset(payload, 'x', sizeof(payload));
		payload[20 * (i + 1)] = '\0';
		assert_int_equal(store_event(store, seq, payload, span_str("corr"), CONTENT_NOW),
				 0);
	}
}

struct content_seen {
	unsigned documents, version;
	bool wrong;
	uint64_t events;
	uint8_t prev[SHA256_LEN];
};

static inline int content_see_document(const char *slot, struct span document, struct span under,
				       void *user)
{
	uint8_t bytes[20000], below[300];
	struct content_seen *seen = user;
	unsigned i = 0;

	while (i < ARRAY_SIZE(content_documents) && strcmp(content_documents[i].slot, slot) != 0)
		i++;
	if (i == ARRAY_SIZE(content_documents)) {
		seen->wrong = true;
		return 0;
	}
	content_bytes(bytes, content_documents[i].len, i + 100 * seen->version);
	content_bytes(below, content_documents[i].under, i + 50);
	if (!span_equal(document, span_of(bytes, content_documents[i].len)) ||
	    !span_equal(under, span_of(below, content_documents[i].under)))
		seen->wrong = true;
	seen->documents++;
	return 0;
}

static inline int content_see_event(const struct store_row *row, void *user)
{
	struct content_seen *seen = user;

	seen->events++;
	if (row->seq != seen->events)
		seen->wrong = true;
	crypto_sha256(row->payload, seen->prev);
	return 0;
}

/* 0: all there and as it was; -EBADMSG: the store says that it is damaged; 1: less, or other,
 * without a word: what must never be. why: of the 1. */
static inline int content_documents_check(struct store *store, unsigned version, const char **why)
{
	struct content_seen seen = {.version = version};
	int r = store_each_document(store, content_see_document, &seen);

	if (seen.wrong || r > 0) {
		*why = "a document that is another";
		return 1;
	}
	if (r < 0)
		return r;
	if (seen.documents == ARRAY_SIZE(content_documents))
		return 0;
	*why = "fewer documents";
	return 1;
}

static inline int content_check(struct store *store, unsigned version, unsigned auths,
				const char **why)
{
	struct content_seen seen = {0};
	uint8_t floor[10], prev[SHA256_LEN];
	uint64_t next;
	size_t len;
	int r = content_documents_check(store, version, why);

	if (r != 0)
		return r;
	r = store_get_value(store, "floor", floor, sizeof(floor), &len);
	if (r == -EBADMSG)
		return r;
	*why = "the floor";
	if (r < 0 || !span_is(span_of(floor, len), "1800000000"))
		return 1;
	for (unsigned i = 0; i < auths; i++) {
		struct store_authorization auth = content_auth(i), found;

		r = store_find(store, auth.cti, &found);
		if (r == -EBADMSG)
			return r;
		*why = "an authorization";
		if (r < 0 || found.exp != auth.exp || found.phase != auth.phase)
			return 1;
	}
	r = store_each_event(store, 0, 10000, false, content_see_event, &seen);
	if (r < 0)
		return r;
	*why = "the events";
	store_event_next(store, &next, prev);
	return seen.wrong || seen.events != next - 1 || memcmp(seen.prev, prev, SHA256_LEN) != 0;
}
