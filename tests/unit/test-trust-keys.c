// SPDX-License-Identifier: Apache-2.0
/* Contract section 2, "keys" and "A kid that is no longer named", and what comes back from disk. */
#include "unit/trust-fixture.h"

/* --- the chain of roots ------------------------------------------------------------------------ */

static void a_box_that_slept_through_one_root_change_is_walked_along(void **state)
{
	make_roots();
	assert_applied(links[0]);
	assert_applied(links[1]);
	assert_int_equal(trust->nchain, 2);
	assert_memory_equal(trust_root_kid(trust), roots[2].kid, DIGEST_LEN);
	/* the two stay, for locks that slept */
	assert_ptr_equal(trust_keys_by(trust, SPAN(roots[0].kid)), &trust->chain[0]);
	assert_ptr_equal(trust_keys_by(trust, SPAN(roots[1].kid)), trust_keys(trust));
	assert_null(trust_keys_by(trust, SPAN(roots[2].kid)));
}

static void three_root_changes_in_any_order_end_the_same(void **state)
{
	static const int orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1},
					{1, 3, 0, 2}, {3, 0, 1, 2}, {1, 2, 3, 0}};
	struct key root = sign_key(&city.root, ROLE_ROOT);

	make_roots();
	for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
		unsigned applied = 0;

		trust_anchor(trust, &root); /* forgets the round before */
		assert_int_equal(trust->nchain + trust->npending, 0);
		for (size_t k = 0; k < 4; k++) {
			int r = offer(links[orders[i][k]]);

			assert_true(r == 0 || (r == REASON_UNKNOWN_KEY && change.kept));
			applied += change.applied;
			applied += retry_all();
		}
		assert_int_equal(applied, 4);
		assert_int_equal(trust->nchain, 4);
		assert_int_equal(trust->npending, 0);
		assert_memory_equal(trust_root_kid(trust), roots[4].kid, DIGEST_LEN);
	}
}

static void only_the_next_root_signs_successors(void **state)
{
	make_roots();
	assert_applied(links[0]);
	/* the same again, and older ones, as a broker may serve them */
	assert_quiet(links[0]);
	assert_int_equal(offer(sign_city_keys(&city, &roots[1], T - 1, &roots[0])), REASON_OLDER);
	assert_int_equal(offer(sign_city_keys(&city, &city.root, T, &roots[0])), REASON_CONFLICT);
	/* newer ones by who handed over: refused, and for good */
	assert_int_equal(offer(sign_city_keys(&city, &city.root, T + 1, &roots[0])),
			 REASON_UNKNOWN_KEY);
	assert_false(change.kept);
	assert_int_equal(offer(sign_spoil(links[0])), REASON_BAD_SIGNATURE);
	assert_int_equal(trust->nchain, 1);
	assert_applied(links[1]);
	/* still true further down the chain */
	assert_quiet(links[0]);
	assert_int_equal(offer(sign_city_keys(&city, &city.root, T + 1, &roots[0])),
			 REASON_UNKNOWN_KEY);
	assert_false(change.kept);
	assert_int_equal(trust->nchain, 2);
}

static void a_root_that_still_is_the_root_replaces_its_own_document(void **state)
{
	make_roots();
	assert_applied(links[0]);
	assert_applied(sign_city_keys(&city, &roots[1], T, &roots[1]));
	assert_applied(sign_city_keys(&city, &roots[1], T + 1, &roots[1]));
	assert_int_equal(trust->nchain, 2);
	assert_applied(sign_city_keys(&city, &roots[2], T + 2, &roots[1]));
	assert_int_equal(trust->nchain, 2);
	assert_applied(links[2]);
	assert_int_equal(trust->nchain, 3);
}

static void the_seventeenth_root_makes_the_oldest_go_and_the_anchor_move(void **state)
{
	struct trust *after;
	struct key anchor;

	make_roots();
	for (int i = 0; i < TRUST_CHAIN; i++) {
		assert_applied(links[i]);
		assert_false(change.anchor_moved);
	}
	assert_memory_equal(trust->anchor.kid, roots[0].kid, DIGEST_LEN);
	for (int i = TRUST_CHAIN; i < ROOTS - 1; i++) {
		assert_applied(links[i]);
		assert_true(change.anchor_moved);
		assert_int_equal(trust->nchain, TRUST_CHAIN);
		assert_memory_equal(trust->anchor.kid, trust->chain[0].kid, DIGEST_LEN);
		assert_memory_equal(trust->anchor.kid, roots[i - TRUST_CHAIN + 1].kid, DIGEST_LEN);
	}
	/* what was persisted, chain and anchor, is verified again */
	anchor = trust->anchor;
	assert_int_equal(trust_new(LIST_BYTES_MAX, &after), 0);
	trust_anchor(after, &anchor);
	for (size_t i = 0; i < trust->nchain; i++) {
		const struct held *h = &trust->chain[i];

		assert_int_equal(trust_restore(after, span_of(h->document, h->len),
					       (struct span){0}, &change),
				 0);
	}
	assert_int_equal(after->nchain, TRUST_CHAIN);
	assert_memory_equal(trust_root_kid(after), trust_root_kid(trust), DIGEST_LEN);
	trust_free(after);
}

static void a_root_that_is_named_again_cuts_the_chain_back(void **state)
{
	struct span again, b;

	make_roots();
	b = sign_city_keys(&city, &roots[0], T + 1, &roots[1]);
	again = sign_city_keys(&city, &roots[0], T + 2, &roots[0]);
	assert_applied(links[0]);
	assert_applied(b);
	/* its old document does not come back to life, whatever "newer whatever its iat" says */
	assert_quiet(links[0]);
	assert_int_equal(offer(sign_city_keys(&city, &roots[1], T - 9, &roots[0])), REASON_OLDER);
	assert_int_equal(trust->nchain, 2);
	assert_applied(again);
	assert_int_equal(trust->nchain, 1);
	assert_memory_equal(trust_root_kid(trust), roots[0].kid, DIGEST_LEN);
}

/* --- dead signers ------------------------------------------------------------------------------ */

static void a_stolen_key_that_jumped_ahead_in_time_blocks_nobody(void **state)
{
	struct signer fresh = sign_signer(51);
	struct span jumped = list_revoking(7, T + 1000000, &city.revoke);
	struct span keys1 = sign_city_keys(&city, &city.root, T, &city.root);

	assert_applied(keys1);
	assert_applied(jumped);
	assert_int_equal(offer(list_revoking(8, T + 1, &city.revoke)), REASON_OLDER);
	/* the city drops the key */
	assert_applied(keys_with(&fresh, &city.root, T + 1, &city.root));
	assert_false(trust_signer_alive(trust, TOKEN_LIST, &trust->lists[0].held));
	/* there is no moment without a list */
	assert_int_equal(status_of(7), STATUS_REVOKED);
	assert_true(span_equal(span_of(trust->lists[0].held.under, trust->lists[0].held.under_len),
			       keys1));
	/* as the broker serves it again at each connection */
	assert_quiet(jumped);
	assert_int_equal(offer(sign_spoil(jumped)), REASON_BAD_SIGNATURE);
	assert_int_equal(trust->npending, 0);
	/* the thief's further documents */
	assert_int_equal(offer(list_at(T + 2000000, &city.revoke)), REASON_UNKNOWN_KEY);
	assert_int_equal(status_of(7), STATUS_REVOKED);
	/* the next by a living kid, whatever its iat */
	assert_applied(list_revoking(9, T - 5, &fresh));
	assert_int_equal(status_of(9), STATUS_REVOKED);
	assert_int_equal(status_of(7), STATUS_VALID);
	assert_null(trust->lists[0].held.under);
	/* and from there on versions rise again */
	assert_int_equal(offer(list_at(T - 6, &fresh)), REASON_OLDER);
}

static void a_key_that_lost_its_role_is_as_dead_as_one_that_is_gone(void **state)
{
	struct key keys[] = {sign_key(&city.root, ROLE_ROOT),
			     sign_key(&city.revoke, ROLE_AUTHORIZE),
			     sign_key(&city.policy, ROLE_POLICY | ROLE_REVOKE)};
	struct span list = list_revoking(7, T + 9, &city.revoke);

	apply_city();
	assert_applied(list);
	assert_applied(sign_keys(keys, ARRAY_SIZE(keys), T + 1, &city.root));
	assert_non_null(trust->lists[0].held.under);
	assert_quiet(list);
	assert_int_equal(offer(list_at(T + 10, &city.revoke)), REASON_WRONG_ROLE);
	assert_applied(list_at(T, &city.policy));
}

static void the_same_words_signed_again_by_a_living_kid_replace_the_dead_ones(void **state)
{
	struct signer fresh = sign_signer(51);
	uint8_t digest[DIGEST_LEN];

	apply_city();
	assert_applied(list_revoking(7, T, &city.revoke));
	memcpy(digest, change.digest, sizeof(digest));
	assert_applied(keys_with(&fresh, &city.root, T + 1, &city.root));
	assert_applied(list_revoking(7, T, &fresh));
	assert_memory_equal(change.digest, digest, sizeof(digest));
	assert_true(trust_signer_alive(trust, TOKEN_LIST, change.held));
}

static void under_is_the_last_keys_document_that_named_the_signer(void **state)
{
	struct signer fresh = sign_signer(51), later = sign_signer(52);
	struct span keys2 = keys_with(&city.revoke, &city.root, T + 1, &city.root);
	const struct held *list = &trust->lists[0].held, *policy = &trust->policy_held;

	apply_city();
	assert_applied(list_revoking(7, T, &city.revoke));
	assert_applied(policy_at(T, 5, &city.policy));
	assert_applied(keys2);
	assert_null(list->under);
	assert_applied(keys_with(&fresh, &city.root, T + 2, &city.root));
	assert_true(span_equal(span_of(list->under, list->under_len), keys2));
	assert_null(policy->under); /* its signer lives on */
	assert_applied(keys_with(&later, &city.root, T + 3, &city.root));
	assert_true(span_equal(span_of(list->under, list->under_len), keys2));
	/* named once more: alive */
	assert_applied(keys_with(&city.revoke, &city.root, T + 4, &city.root));
	assert_null(list->under);
	assert_int_equal(offer(list_at(T - 1, &city.revoke)), REASON_OLDER);
}

/* --- back from disk ---------------------------------------------------------------------------- */

static int give_back(struct trust *to, const struct held *h)
{
	struct span under = h->under ? span_of(h->under, h->under_len) : (struct span){0};

	return trust_restore(to, span_of(h->document, h->len), under, &change);
}

static struct trust *fresh_trust(void)
{
	struct trust *t;

	assert_int_equal(trust_new(LIST_BYTES_MAX, &t), 0);
	trust_anchor(t, &trust->anchor);
	return t;
}

static void everything_comes_back_from_disk_with_the_dead_signers_documents(void **state)
{
	struct signer fresh = sign_signer(51);
	struct applied before[APPLIED_MAX], after[APPLIED_MAX];
	cleanup(trust_freep) struct trust *again = NULL;

	make_roots();
	assert_applied(links[0]);
	assert_applied(list_revoking(7, T + 1000000, &city.revoke));
	assert_applied(policy_at(T, 5, &city.policy));
	assert_applied(keys_with(&fresh, &roots[2], T, &roots[1]));
	again = fresh_trust();
	for (size_t i = 0; i < trust->nchain; i++)
		assert_int_equal(give_back(again, &trust->chain[i]), 0);
	assert_int_equal(give_back(again, &trust->policy_held), 0);
	assert_int_equal(give_back(again, &trust->lists[0].held), 0);
	assert_int_equal(trust_applied(trust, before), 3);
	assert_int_equal(trust_applied(again, after), 3);
	for (int i = 0; i < 3; i++) {
		assert_string_equal(before[i].name, after[i].name);
		assert_int_equal(before[i].iat, after[i].iat);
		assert_memory_equal(before[i].digest, after[i].digest, DIGEST_LEN);
	}
	assert_int_equal(status_list_get(again->lists[0].list, 7), STATUS_REVOKED);
	assert_int_equal(again->lists[0].held.under_len, trust->lists[0].held.under_len);
	assert_memory_equal(again->lists[0].held.under, trust->lists[0].held.under,
			    again->lists[0].held.under_len);
	/* and it goes on as it would have */
	assert_int_equal(trust_offer(again, list_at(T - 5, &fresh), &anywhere, &change), 0);
	assert_true(change.applied);
}

/* Any bit of what is stored, keys beside it included. */
static void a_tampered_document_is_refused_when_read_back(void **state)
{
	struct signer fresh = sign_signer(51);
	const struct held *list = &trust->lists[0].held;
	struct span document, under;

	apply_city();
	assert_applied(list_revoking(7, T, &city.revoke));
	assert_applied(keys_with(&fresh, &city.root, T + 1, &city.root));
	document = sign_keep(span_of(list->document, list->len));
	under = sign_keep(span_of(list->under, list->under_len));
	for (size_t i = 0; i < document.len + under.len; i += 3) {
		cleanup(trust_freep) struct trust *again = fresh_trust();
		uint8_t *byte = (uint8_t *)(i < document.len ? document.data + i
							     : under.data + i - document.len);
		int r;

		assert_int_equal(give_back(again, trust_keys(trust)), 0);
		*byte ^= 0x10;
		r = trust_restore(again, document, under, &change);
		assert_true(r > 0);
		assert_int_equal(again->nlists, 0);
		assert_int_equal(again->npending, 0);
		*byte ^= 0x10;
	}
}

static void a_list_is_not_restored_under_keys_that_no_root_of_ours_signed(void **state)
{
	struct signer thief = sign_signer(60);
	struct span under = keys_with(&thief, &city.root, T, &thief);
	struct span list = list_at(T, &thief);

	apply_city();
	assert_int_equal(trust_restore(trust, list, under, &change), REASON_UNKNOWN_KEY);
	assert_int_equal(trust_restore(trust, list, (struct span){0}, &change), REASON_UNKNOWN_KEY);
	/* another kind of document beside it */
	assert_int_equal(trust_restore(trust, list, policy_at(T, 1, &city.policy), &change),
			 REASON_WRONG_ROLE);
	assert_int_equal(trust->nlists + trust->npending, 0);
}

/* A root that has not signed anything in force yet may have signed what a cut chain no longer has. */
static void keys_beside_a_document_are_verified_whoever_of_our_roots_signed_them(void **state)
{
	struct signer old = sign_signer(61);
	struct span by_next, list = list_at(T, &old);

	make_roots();
	assert_applied(links[0]);
	by_next = keys_with(&old, &roots[1], T, &roots[1]);
	assert_int_equal(trust_restore(trust, list, sign_spoil(by_next), &change),
			 REASON_BAD_SIGNATURE);
	assert_int_equal(trust->nlists, 0);
	assert_int_equal(trust_restore(trust, list, by_next, &change), 0);
	assert_true(change.applied);
}

static void assert_list_comes_back(void)
{
	uint8_t former[TRUST_FORMER][PUBLIC_LEN];
	cleanup(trust_freep) struct trust *again = fresh_trust();
	size_t n = trust_former(trust, former);

	assert_int_equal(n, 1);
	trust_restore_former(again, former[0]);
	for (size_t i = 0; i < trust->nchain; i++)
		assert_int_equal(give_back(again, &trust->chain[i]), 0);
	assert_int_equal(give_back(again, &trust->lists[0].held), 0);
	assert_int_equal(status_list_get(again->lists[0].list, 7), STATUS_REVOKED);
	assert_memory_equal(again->lists[0].held.under_pub, trust->lists[0].held.under_pub,
			    PUBLIC_LEN);
}

static void a_list_is_restored_though_the_root_of_its_keys_fell_out_of_the_chain(void **state)
{
	struct signer dead = sign_signer(61);

	make_roots();
	assert_applied(keys_with(&dead, &roots[1], T, &roots[0]));
	assert_applied(list_revoking(7, T, &dead));
	for (int i = 1; i < ROOTS - 1; i++)
		assert_applied(links[i]);
	assert_int_equal(trust->nchain, TRUST_CHAIN);
	assert_null(trust_keys_by(trust, SPAN(roots[0].kid)));
	assert_list_comes_back();
}

static void a_list_is_restored_though_its_root_was_cut_away(void **state)
{
	struct signer dead = sign_signer(61);

	make_roots();
	assert_applied(links[0]);
	assert_applied(keys_with(&dead, &roots[0], T, &roots[1]));
	assert_applied(list_revoking(7, T, &dead));
	/* the first root is named again, and with its next document the second is gone */
	assert_applied(sign_city_keys(&city, &roots[0], T + 1, &roots[0]));
	assert_int_equal(trust->nchain, 1);
	assert_list_comes_back();
}

static void a_chain_with_a_missing_link_is_damage(void **state)
{
	make_roots();
	assert_int_equal(trust_restore(trust, links[1], (struct span){0}, &change),
			 REASON_UNKNOWN_KEY);
	assert_false(change.kept);
	assert_int_equal(trust->npending, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_box_that_slept_through_one_root_change_is_walked_along),
		TEST(three_root_changes_in_any_order_end_the_same),
		TEST(only_the_next_root_signs_successors),
		TEST(a_root_that_still_is_the_root_replaces_its_own_document),
		TEST(the_seventeenth_root_makes_the_oldest_go_and_the_anchor_move),
		TEST(a_root_that_is_named_again_cuts_the_chain_back),
		TEST(a_stolen_key_that_jumped_ahead_in_time_blocks_nobody),
		TEST(a_key_that_lost_its_role_is_as_dead_as_one_that_is_gone),
		TEST(the_same_words_signed_again_by_a_living_kid_replace_the_dead_ones),
		TEST(under_is_the_last_keys_document_that_named_the_signer),
		TEST(everything_comes_back_from_disk_with_the_dead_signers_documents),
		TEST(a_tampered_document_is_refused_when_read_back),
		TEST(a_list_is_not_restored_under_keys_that_no_root_of_ours_signed),
		TEST(keys_beside_a_document_are_verified_whoever_of_our_roots_signed_them),
		TEST(a_list_is_restored_though_the_root_of_its_keys_fell_out_of_the_chain),
		TEST(a_list_is_restored_though_its_root_was_cut_away),
		TEST(a_chain_with_a_missing_link_is_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
