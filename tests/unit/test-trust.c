// SPDX-License-Identifier: Apache-2.0
/* Contract section 2, "Versions" and "A document by a kid not yet known". */
#include "unit/trust-fixture.h"

/* --- the plain way ----------------------------------------------------------------------------- */

static void keys_then_policy_then_list_are_applied(void **state)
{
	struct applied applied[APPLIED_MAX];
	struct sign_entry entry = {7, STATUS_SUSPENDED};
	struct span list = sign_list(
		&(struct sign_list){
			.iat = T + 2, .changed = T + 1, .ttl = 60, .set = &entry, .nset = 1},
		&city.revoke);

	assert_null(trust_keys(trust));
	assert_memory_equal(trust_root_kid(trust), city.root.kid, DIGEST_LEN);
	apply_city();
	assert_int_equal(change.kind, TOKEN_KEYS);
	assert_int_equal(change.iat, T);
	assert_memory_equal(change.kid, city.root.kid, DIGEST_LEN);
	assert_applied(policy_at(T + 1, 30, &city.policy));
	assert_int_equal(trust->policy.max_relay, 30);
	assert_applied(list);
	assert_string_equal(change.name, "staff");
	assert_int_equal(change.held->changed, T + 1);
	assert_int_equal(change.held->exp, T + 2 + 7 * 86400);
	assert_int_equal(trust->lists[0].ttl, 60);
	assert_int_equal(status_of(7), STATUS_SUSPENDED);
	assert_int_equal(status_of(8), STATUS_VALID);
	assert_null(trust_find_list(trust, span_str("https://city.example/list/staf")));
	assert_non_null(trust_list_by_name(trust, span_str("staff")));

	assert_int_equal(trust_applied(trust, applied), 3);
	assert_string_equal(applied[0].name, "keys");
	assert_string_equal(applied[1].name, "policy");
	assert_string_equal(applied[2].name, "staff");
	assert_int_equal(applied[2].iat, T + 2);
	assert_memory_equal(applied[2].digest, change.digest, DIGEST_LEN);
}

static void nobodys_lock_takes_nothing(void **state)
{
	trust_clear(trust);
	assert_null(trust_root_kid(trust));
	assert_int_equal(offer(sign_city_keys(&city, &city.root, T, &city.root)), REASON_NOT_OWNED);
	assert_int_equal(trust->npending, 0);
}

static void a_release_forgets_everything(void **state)
{
	apply_city();
	assert_applied(list_at(T, &city.revoke));
	assert_applied(policy_at(T, 1, &city.policy));
	assert_kept(policy_at(T + 1, 1, &city.stranger));
	trust_clear(trust);
	assert_int_equal(trust->nchain + trust->nlists + trust->npending, 0);
	assert_int_equal(trust->policy.max_relay, 60);
	assert_false(trust->anchored);
	assert_int_equal(trust->max, LIST_BYTES_MAX);
}

/* --- refusals ---------------------------------------------------------------------------------- */

static void what_others_sign_is_refused_by_the_first_words_of_section_4(void **state)
{
	struct span keys = sign_city_keys(&city, &city.root, T + 1, &city.root);
	struct sign_auth auth = sign_relayed(&city);

	apply_city();
	assert_int_equal(offer((struct span){0}), REASON_MALFORMED);
	assert_int_equal(offer(span_of(keys.data, keys.len - 1)), REASON_MALFORMED);
	assert_int_equal(offer(sign_spoil(keys)), REASON_BAD_SIGNATURE);
	assert_int_equal(offer(sign_spoil(list_at(T, &city.revoke))), REASON_BAD_SIGNATURE);
	assert_int_equal(offer(list_at(T, &city.policy)), REASON_WRONG_ROLE);
	assert_int_equal(offer(list_at(T, &city.root)), REASON_WRONG_ROLE);
	assert_int_equal(offer(policy_at(T, 1, &city.revoke)), REASON_WRONG_ROLE);
	assert_int_equal(offer(sign_city_keys(&city, &city.root, T + 1, &city.policy)),
			 REASON_WRONG_ROLE);
	assert_int_equal(offer(sign_auth(&auth, &city.authorize)), REASON_WRONG_ROLE);
	assert_int_equal(offer(sign_claim(SIGN_LOCK, T, &city.root)), REASON_WRONG_ROLE);
	assert_int_equal(trust->npending, 0);
	assert_int_equal(trust->nchain, 1);
	assert_int_equal(trust->nlists, 0);
	assert_null(trust->policy_held.document);
}

static void an_algorithm_other_than_the_keys_is_a_bad_signature(void **state)
{
	struct token t;
	struct span doc = sign_city_keys(&city, &city.root, T, &city.root);

	assert_int_equal(token_parse(doc, &t), 0);
	assert_int_equal(
		offer(sign_cose(-7, NULL, token_typ(TOKEN_KEYS), true, t.cose.payload, &city.root)),
		REASON_BAD_SIGNATURE);
	/* what today's libraries write */
	assert_applied(sign_cose(COSE_EDDSA, NULL, token_typ(TOKEN_KEYS), true, t.cose.payload,
				 &city.root));
}

static void a_topic_promises_kind_and_name(void **state)
{
	struct span keys = sign_city_keys(&city, &city.root, T + 1, &city.root);
	struct span list = list_at(T, &city.revoke);
	struct trust_topic keys_topic = {.kind = TOKEN_KEYS};
	struct trust_topic policy_topic = {.kind = TOKEN_POLICY};
	struct trust_topic list_topic = {.kind = TOKEN_LIST, .name = "staff"};
	struct trust_topic other_list = {.kind = TOKEN_LIST, .name = "guests"};
	struct sign_auth auth = sign_relayed(&city);
	const struct {
		struct span document;
		const struct trust_topic *topic;
		int want;
	} cases[] = {
		{list, &other_list, REASON_WRONG_TOPIC},
		{list, &policy_topic, REASON_WRONG_TOPIC},
		{list, &keys_topic, REASON_WRONG_TOPIC},
		{keys, &list_topic, REASON_WRONG_TOPIC},
		{sign_auth(&auth, &city.authorize), &policy_topic, REASON_WRONG_TOPIC},
		/* said before the signer is looked at, and so never kept under a wrong name */
		{list_at(T, &city.stranger), &other_list, REASON_WRONG_TOPIC},
		{list, &list_topic, 0},
		{policy_at(T, 1, &city.policy), &policy_topic, 0},
		{keys, &keys_topic, 0},
	};

	apply_city();
	hex_encode(SPAN(city.stranger.kid), keys_topic.name, sizeof(keys_topic.name));
	assert_int_equal(trust_offer(trust, keys, &keys_topic, &change), REASON_WRONG_TOPIC);
	hex_encode(SPAN(city.root.kid), keys_topic.name, sizeof(keys_topic.name));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(trust_offer(trust, cases[i].document, cases[i].topic, &change),
				 cases[i].want);
		assert_int_equal(change.applied, cases[i].want == 0);
	}
	assert_int_equal(trust->npending, 0);
}

/* --- versions ---------------------------------------------------------------------------------- */

static void versions_rise_strictly_per_kind(void **state)
{
	apply_city();
	assert_applied(policy_at(T, 10, &city.policy));
	assert_quiet(policy_at(T, 10, &city.policy));
	assert_int_equal(offer(policy_at(T, 11, &city.policy)), REASON_CONFLICT);
	assert_int_equal(offer(policy_at(T - 1, 12, &city.policy)), REASON_OLDER);
	assert_non_null(change.held);
	assert_int_equal(change.held->iat, T);
	assert_int_equal(change.iat, T - 1);
	assert_int_equal(trust->policy.max_relay, 10);
	assert_applied(policy_at(T + 1, 13, &city.policy));
	assert_int_equal(trust->policy.max_relay, 13);

	assert_quiet(sign_city_keys(&city, &city.root, T, &city.root));
	assert_int_equal(offer(keys_with(&city.stranger, &city.root, T, &city.root)),
			 REASON_CONFLICT);
	assert_int_equal(offer(sign_city_keys(&city, &city.root, T - 1, &city.root)), REASON_OLDER);
	assert_applied(sign_city_keys(&city, &city.root, T + 1, &city.root));
	assert_int_equal(trust->nchain, 1);
}

static void versions_of_lists_rise_per_uri(void **state)
{
	struct span other = sign_list(
		&(struct sign_list){.uri = "https://city.example/list/guests", .iat = T - 100},
		&city.revoke);

	apply_city();
	assert_applied(list_revoking(7, T, &city.revoke));
	assert_applied(other);
	assert_quiet(list_revoking(7, T, &city.revoke));
	assert_int_equal(offer(list_at(T, &city.revoke)), REASON_CONFLICT);
	assert_int_equal(offer(list_at(T - 1, &city.revoke)), REASON_OLDER);
	assert_int_equal(status_of(7), STATUS_REVOKED);
	assert_applied(list_at(T + 1, &city.revoke));
	assert_int_equal(status_of(7), STATUS_VALID);
	assert_int_equal(trust->nlists, 2);
}

static void a_fifth_list_is_refused_and_the_four_stay(void **state)
{
	char uri[] = "https://city.example/list/0";

	apply_city();
	for (int i = 0; i < TRUST_LISTS + 1; i++) {
		struct sign_list l = {.uri = uri, .iat = T};

		uri[sizeof(uri) - 2] = (char)('0' + i);
		if (i < TRUST_LISTS)
			assert_applied(sign_list(&l, &city.revoke));
		else
			assert_int_equal(offer(sign_list(&l, &city.revoke)), REASON_TOO_LARGE);
	}
	assert_int_equal(trust->nlists, TRUST_LISTS);
	assert_null(change.held);
	/* those that are known still go on */
	uri[sizeof(uri) - 2] = '2';
	assert_applied(sign_list(&(struct sign_list){.uri = uri, .iat = T + 1}, &city.revoke));
}

static void one_lists_name_cannot_be_taken_by_another_uri(void **state)
{
	apply_city();
	assert_applied(list_revoking(7, T, &city.revoke));
	assert_int_equal(offer(sign_list(&(struct sign_list){.uri = "https://else.example/staff",
							     .iat = T + 5},
					 &city.revoke)),
			 REASON_CONFLICT);
	assert_int_equal(status_of(7), STATUS_REVOKED);
}

static void a_list_larger_than_a_lock_can_hold_leaves_the_old_one(void **state)
{
	struct key root = sign_key(&city.root, ROLE_ROOT);
	struct sign_list fits = {.iat = T + 1, .bits = 1, .entries = 16384 * 8};
	struct sign_list over = {.iat = T + 2, .bits = 1, .entries = 16385 * 8};

	trust_free(trust);
	assert_int_equal(trust_new(16384, &trust), 0);
	trust_anchor(trust, &root);
	apply_city();
	assert_applied(list_revoking(7, T, &city.revoke));
	assert_int_equal(offer(sign_list(&over, &city.revoke)), REASON_TOO_LARGE);
	assert_int_equal(status_of(7), STATUS_REVOKED);
	assert_int_equal(change.held->iat, T);
	assert_applied(sign_list(&fits, &city.revoke));
	assert_int_equal(status_list_entries(trust->lists[0].list), 16384 * 8);
}

/* Nor does a stranger make a lock keep aside what it could never hold. */
static void what_is_packed_larger_than_a_lock_can_hold_is_not_even_kept(void **state)
{
	static struct status_list noise;
	struct key root = sign_key(&city.root, ROLE_ROOT);
	struct sign_list l = {.iat = T};
	uint64_t x = 1;

	assert_int_equal(status_list_init(&noise, 8, 20000), 0);
	for (size_t i = 0; i < 20000; i++, x = x * 6364136223846793005ULL + 1)
		noise.bytes[i] = (uint8_t)(x >> 56);
	trust_free(trust);
	assert_int_equal(trust_new(16384, &trust), 0);
	trust_anchor(trust, &root);
	apply_city();
	assert_int_equal(offer(sign_list_of(&noise, &l, &city.stranger)), REASON_TOO_LARGE);
	assert_int_equal(change.kind, TOKEN_KINDS);
	assert_int_equal(trust->npending, 0);
}

/* It is kept as a string, and would be found under a shorter name. */
static void a_list_with_a_nul_in_its_uri_is_malformed(void **state)
{
	struct token t;

	apply_city();
	assert_int_equal(token_parse(list_at(T, &city.revoke), &t), 0);
	t.sub = span_of("https://city.example/a\0b/staff", 30);
	assert_int_equal(offer(sign_token(&t, &city.revoke)), REASON_MALFORMED);
	assert_int_equal(trust->nlists, 0);
}

static void what_does_not_inflate_leaves_the_old_one(void **state)
{
	struct token t;

	apply_city();
	assert_applied(list_revoking(7, T, &city.revoke));
	assert_int_equal(token_parse(list_at(T + 1, &city.revoke), &t), 0);
	t.lst.len--;
	assert_int_equal(offer(sign_token(&t, &city.revoke)), REASON_MALFORMED);
	assert_int_equal(status_of(7), STATUS_REVOKED);
}

/* --- documents that come before their keys ----------------------------------------------------- */

static void documents_before_their_keys_are_kept_and_tried_again(void **state)
{
	struct signer young = sign_signer(50);

	make_roots();
	assert_kept(list_revoking(7, T, &young));
	assert_kept(policy_at(T, 5, &city.policy));
	assert_kept(keys_with(&young, &roots[1], T, &roots[1]));
	assert_int_equal(trust->npending, 3);
	assert_int_equal(retry_all(), 0);
	/* the anchor's document frees the policy, and the next keys, and those free the list */
	assert_applied(links[0]);
	assert_int_equal(retry_all(), 3);
	assert_int_equal(trust->npending, 0);
	assert_int_equal(trust->nchain, 2);
	assert_int_equal(trust->policy.max_relay, 5);
	assert_int_equal(status_of(7), STATUS_REVOKED);
}

static void the_last_per_topic_is_kept(void **state)
{
	struct signer young = sign_signer(50);
	int verdict;

	apply_city();
	assert_kept(list_revoking(1, T, &young));
	assert_kept(list_revoking(2, T + 1, &young));
	assert_kept(list_revoking(2, T + 1, &young));
	assert_int_equal(trust->npending, 1);
	assert_applied(keys_with(&young, &city.root, T + 1, &city.root));
	assert_int_equal(trust_retry(trust, &verdict, &change), 1);
	assert_int_equal(verdict, 0);
	assert_int_equal(status_of(1), STATUS_VALID);
	assert_int_equal(status_of(2), STATUS_REVOKED);
	assert_int_equal(trust_retry(trust, &verdict, &change), 0);
}

static void what_is_kept_is_judged_when_its_keys_come(void **state)
{
	struct signer young = sign_signer(50);
	int verdict;

	apply_city();
	assert_applied(list_revoking(7, T, &city.revoke));
	assert_kept(sign_spoil(list_at(T + 1, &young)));
	assert_kept(policy_at(T, 5, &young));
	assert_applied(keys_with(&young, &city.root, T + 1, &city.root));
	/* young may sign lists, not policy */
	assert_int_equal(trust_retry(trust, &verdict, &change), 1);
	assert_int_equal(change.kind, TOKEN_POLICY);
	assert_int_equal(verdict, REASON_WRONG_ROLE);
	assert_int_equal(trust_retry(trust, &verdict, &change), 1);
	assert_int_equal(change.kind, TOKEN_LIST);
	assert_int_equal(verdict, REASON_BAD_SIGNATURE);
	assert_int_equal(trust_retry(trust, &verdict, &change), 0);
	assert_int_equal(status_of(7), STATUS_REVOKED);
}

static void a_flood_of_strangers_is_bounded_and_displaces_only_its_kind(void **state)
{
	char uri[64];

	apply_city();
	assert_kept(policy_at(T, 5, &city.stranger));
	for (unsigned i = 0; i < 40; i++) {
		struct signer s = sign_signer((uint8_t)(150 + i));

		snprintf(uri, sizeof(uri), "https://city.example/list/l%u", i);
		assert_kept(sign_list(&(struct sign_list){.uri = uri, .iat = T}, &s));
		assert_kept(sign_city_keys(&city, &city.root, T, &s));
	}
	assert_int_equal(trust->npending, TRUST_PENDING);
	assert_int_equal(trust->pending[0].kind, TOKEN_POLICY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(keys_then_policy_then_list_are_applied),
		TEST(nobodys_lock_takes_nothing),
		TEST(a_release_forgets_everything),
		TEST(what_others_sign_is_refused_by_the_first_words_of_section_4),
		TEST(an_algorithm_other_than_the_keys_is_a_bad_signature),
		TEST(a_topic_promises_kind_and_name),
		TEST(versions_rise_strictly_per_kind),
		TEST(versions_of_lists_rise_per_uri),
		TEST(a_fifth_list_is_refused_and_the_four_stay),
		TEST(one_lists_name_cannot_be_taken_by_another_uri),
		TEST(a_list_larger_than_a_lock_can_hold_leaves_the_old_one),
		TEST(what_is_packed_larger_than_a_lock_can_hold_is_not_even_kept),
		TEST(a_list_with_a_nul_in_its_uri_is_malformed),
		TEST(what_does_not_inflate_leaves_the_old_one),
		TEST(documents_before_their_keys_are_kept_and_tried_again),
		TEST(the_last_per_topic_is_kept),
		TEST(what_is_kept_is_judged_when_its_keys_come),
		TEST(a_flood_of_strangers_is_bounded_and_displaces_only_its_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
