/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A trust with the city's root as its anchor, and what the tests of trust say of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/trust.h"
#include "unit/sign.h"

#define T SIGN_NOW

static struct city city;
static struct trust *trust;
static struct trust_change change;
static const struct trust_topic anywhere = {.any = true};

static inline int setup(void **state)
{
	struct key root;

	city = city_new();
	root = sign_key(&city.root, ROLE_ROOT);
	assert_int_equal(trust_new(LIST_BYTES_MAX, &trust), 0);
	trust_anchor(trust, &root);
	return 0;
}

static inline int teardown(void **state)
{
	trust_free(trust);
	trust = NULL;
	sign_forget();
	return 0;
}

static inline int offer(struct span document)
{
	return trust_offer(trust, document, &anywhere, &change);
}

static inline void assert_applied(struct span document)
{
	assert_int_equal(offer(document), 0);
	assert_true(change.applied);
	assert_non_null(change.held);
	assert_true(span_equal(span_of(change.held->document, change.held->len), document));
}

static inline void assert_quiet(struct span document)
{
	assert_int_equal(offer(document), 0);
	assert_false(change.applied);
	assert_non_null(change.held);
}

static inline void assert_kept(struct span document)
{
	assert_int_equal(offer(document), REASON_UNKNOWN_KEY);
	assert_true(change.kept);
	assert_false(change.applied);
}

/* Keys where one signer of lists stands for all issuers; root: who signs the next. */
static inline struct span keys_with(const struct signer *revoke, const struct signer *next_root,
				    uint64_t iat, const struct signer *by)
{
	struct key keys[] = {sign_key(next_root, ROLE_ROOT), sign_key(revoke, ROLE_REVOKE),
			     sign_key(&city.policy, ROLE_POLICY),
			     sign_key(&city.authorize, ROLE_AUTHORIZE)};

	return sign_keys(keys, ARRAY_SIZE(keys), iat, by);
}

static inline struct span list_at(uint64_t iat, const struct signer *by)
{
	return sign_list(&(struct sign_list){.iat = iat}, by);
}

static inline struct span list_revoking(uint64_t idx, uint64_t iat, const struct signer *by)
{
	struct sign_entry entry = {idx, STATUS_REVOKED};

	return sign_list(&(struct sign_list){.iat = iat, .set = &entry, .nset = 1}, by);
}

static inline unsigned status_of(uint64_t idx)
{
	const struct trust_list *list = trust_find_list(trust, span_str(SIGN_URI));

	assert_non_null(list);
	return status_list_get(list->list, idx);
}

static inline struct span policy_at(uint64_t iat, uint64_t max_relay, const struct signer *by)
{
	struct policy p;

	policy_default(&p);
	p.max_relay = max_relay;
	return sign_policy(&p, iat, by);
}

static inline void apply_city(void)
{
	assert_applied(sign_city_keys(&city, &city.root, T, &city.root));
}

#define ROOTS 21
static struct signer roots[ROOTS];
static struct span links[ROOTS]; /* links[i]: signed by root i, names root i + 1 */

/* Each with an iat lower than the one before: a successor by the next root is newer all the same. */
static inline void make_roots(void)
{
	roots[0] = city.root;
	for (uint8_t i = 1; i < ROOTS; i++)
		roots[i] = sign_signer((uint8_t)(100 + i));
	for (int i = 0; i + 1 < ROOTS; i++)
		links[i] = sign_city_keys(&city, &roots[i + 1], T - (unsigned)i, &roots[i]);
}

/* Tries what is kept aside; gives the number taken off, each with verdict 0. */
static inline unsigned retry_all(void)
{
	unsigned n = 0;
	int verdict, r;

	while ((r = trust_retry(trust, &verdict, &change)) == 1) {
		assert_int_equal(verdict, 0);
		assert_true(change.applied);
		assert_non_null(change.held);
		n++;
	}
	assert_int_equal(r, 0);
	return n;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
