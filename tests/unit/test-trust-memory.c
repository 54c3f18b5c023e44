// SPDX-License-Identifier: Apache-2.0
/*
 * Without memory nothing changes: every allocation of every kind of offer fails once, and what is in
 * force is afterwards what it was. Not under a sanitizer that brings its own malloc.
 */
#include "unit/trust-fixture.h"

#include <errno.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
	__has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OWN_MALLOC 0
#else
#define OWN_MALLOC 1
#endif

static unsigned fail_at, allocations; /* fail_at 0: never */

#if OWN_MALLOC
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t m);

void *malloc(size_t n)
{
	return ++allocations == fail_at ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t m)
{
	return ++allocations == fail_at ? NULL : __libc_calloc(n, m);
}
#endif

/* All that an offer may change. */
struct snapshot {
	size_t nchain, nlists, npending;
	uint8_t root[DIGEST_LEN];
	struct applied applied[APPLIED_MAX];
	size_t napplied;
	struct policy policy;
	const void *documents[2 + 2 * TRUST_LISTS + TRUST_CHAIN];
	const void *lists[TRUST_LISTS];
	struct trust_pending pending[TRUST_PENDING];
};

static void take(struct snapshot *s)
{
	size_t n = 0;

	memset(s, 0, sizeof(*s));
	s->nchain = trust->nchain;
	s->nlists = trust->nlists;
	s->npending = trust->npending;
	memcpy(s->root, trust_root_kid(trust), DIGEST_LEN);
	s->napplied = trust_applied(trust, s->applied);
	s->policy = trust->policy;
	s->documents[n++] = trust->policy_held.document;
	s->documents[n++] = trust->policy_held.under;
	for (size_t i = 0; i < trust->nlists; i++) {
		s->documents[n++] = trust->lists[i].held.document;
		s->documents[n++] = trust->lists[i].held.under;
		s->lists[i] = trust->lists[i].list;
	}
	for (size_t i = 0; i < trust->nchain; i++)
		s->documents[n++] = trust->chain[i].document;
	memcpy(s->pending, trust->pending, sizeof(s->pending));
}

static void assert_unchanged(const struct snapshot *before)
{
	static struct snapshot now;

	take(&now);
	assert_memory_equal(now.documents, before->documents, sizeof(now.documents));
	assert_memory_equal(now.lists, before->lists, sizeof(now.lists));
	assert_memory_equal(now.pending, before->pending, sizeof(now.pending));
	assert_memory_equal(now.root, before->root, sizeof(now.root));
	assert_memory_equal(&now.policy, &before->policy, sizeof(now.policy));
	assert_int_equal(now.napplied, before->napplied);
	assert_memory_equal(now.applied, before->applied, sizeof(now.applied));
}

typedef int (*attempt_fn)(struct span document, struct span under);

static int by_offer(struct span document, struct span under)
{
	return trust_offer(trust, document, &anywhere, &change);
}

static int by_restore(struct span document, struct span under)
{
	return trust_restore(trust, document, under, &change);
}

static int by_retry(struct span document, struct span under)
{
	int verdict = -EIO, r = trust_retry(trust, &verdict, &change);

	return r < 0 ? r : verdict;
}

/* Fails the first, the second, ... allocation until none is left to fail; the number of them. */
static unsigned starve(attempt_fn attempt, struct span document, struct span under, int want)
{
	static struct snapshot before;
	unsigned n;
	int r;

	for (n = 1;; n++) {
		take(&before);
		allocations = 0;
		fail_at = n;
		r = attempt(document, under);
		fail_at = 0;
		if (allocations < n)
			break;
		assert_int_equal(r, -ENOMEM);
		assert_unchanged(&before);
	}
	assert_int_equal(r, want);
	return n - 1;
}

static void without_memory_every_offer_leaves_everything_as_it_was(void **state)
{
	struct signer fresh = sign_signer(51);
	struct span keys = sign_city_keys(&city, &city.root, T, &city.root);
	struct span list = list_revoking(7, T, &city.revoke);
	struct span bury = keys_with(&fresh, &city.root, T + 1, &city.root);
	struct span none = {0};

	if (!OWN_MALLOC)
		skip();
	/* one to verify, one to keep */
	assert_true(starve(by_offer, keys, none, 0) >= 2);
	assert_true(starve(by_offer, policy_at(T, 5, &city.policy), none, 0) >= 2);
	/* zlib's own as well */
	assert_true(starve(by_offer, list, none, 0) >= 4);
	assert_true(starve(by_offer, list_at(T + 1, &city.revoke), none, 0) >= 4);
	/* a document by a stranger, to be kept aside */
	assert_int_equal(starve(by_offer, list_at(T, &fresh), none, REASON_UNKNOWN_KEY), 1);
	/* a keys document that buries the list's signer: its own copy and the old one's */
	assert_true(starve(by_offer, bury, none, 0) >= 3);
	assert_non_null(trust->lists[0].held.under);
	assert_int_equal(trust->npending, 1);
	assert_true(starve(by_retry, none, none, 0) >= 3);
	assert_int_equal(trust->npending, 0);
	assert_null(trust->lists[0].held.under);
}

static void without_memory_a_document_is_not_restored_by_half(void **state)
{
	struct signer fresh = sign_signer(51);
	struct span keys = sign_city_keys(&city, &city.root, T, &city.root);
	struct span bury = keys_with(&fresh, &city.root, T + 1, &city.root);
	struct span none = {0};

	if (!OWN_MALLOC)
		skip();
	assert_true(starve(by_restore, bury, none, 0) >= 2);
	assert_true(starve(by_restore, list_revoking(7, T, &city.revoke), keys, 0) >= 5);
	assert_int_equal(status_of(7), STATUS_REVOKED);
	assert_non_null(trust->lists[0].held.under);
}

static void without_memory_there_is_no_trust(void **state)
{
	struct trust *none = NULL;

	if (!OWN_MALLOC)
		skip();
	allocations = 0;
	fail_at = 1;
	assert_int_equal(trust_new(LIST_BYTES_MAX, &none), -ENOMEM);
	fail_at = 0;
	assert_null(none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(without_memory_every_offer_leaves_everything_as_it_was),
		TEST(without_memory_a_document_is_not_restored_by_half),
		TEST(without_memory_there_is_no_trust),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
