// SPDX-License-Identifier: Apache-2.0
/* One lock's session: claims and releases, and how the one who waits learns what became of them. */
#include "lock-fixture.h"

/* A lock that obeys nobody, met before, its link let go. */
static void air_unowned(struct air *a)
{
	a->info.owned = false;
	air_city_documents(a);
	air_advert(a, 1);
	air_wait(a, 10000);
	assert_false(a->up);
	assert_true(air_problem(a, "lock-unowned"));
	a->connects = a->operations = 0;
}

static struct span air_claim(struct air *a)
{
	return sign_claim(SIGN_LOCK, SIGN_NOW, &a->city.root);
}

static struct span air_release(struct air *a)
{
	return sign_release(SIGN_LOCK, SIGN_NOW, &a->city.root);
}

static void a_claim_is_told_with_its_receipt_and_the_owner(void **state)
{
	struct air *a = *state;
	uint8_t owner[DIGEST_LEN];
	struct token claim;

	assert_int_equal(lock_owner(a->lock, owner), -ENODATA);
	air_unowned(a);
	assert_int_equal(lock_owner(a->lock, owner), 0);
	a->button = true;
	assert_int_equal(token_parse(air_claim(a), &claim), 0);
	assert_int_equal(lock_forward(a->lock, air_claim(a)), 0);
	air_turn(a);
	assert_int_equal(a->forwardeds, 1);
	assert_int_equal(a->forwarded.kind, TOKEN_CLAIM);
	assert_int_equal(a->forwarded.outcome, OUTCOME_CLAIMED);
	assert_memory_equal(a->forwarded.digest, claim.digest, DIGEST_LEN);
	assert_true(a->forwarded.receipt.len > 0);
	assert_true(a->forwarded.has_owner && a->forwarded.owned);
	assert_memory_equal(a->forwarded.owner, a->city.root.kid, DIGEST_LEN);
	assert_int_equal(lock_owner(a->lock, owner), 1);
	assert_memory_equal(owner, a->city.root.kid, DIGEST_LEN);
	assert_int_equal(a->documents[TOKEN_LIST], 1); /* and on it goes, on the same link */
	assert_int_equal(a->connects, 1);
	air_wait(a, 60000);
	assert_int_equal(a->forwardeds, 1);
	assert_int_equal(a->documents[TOKEN_CLAIM], 1);
}

static void a_claim_without_the_button_is_refused_once_and_not_tried_for_ever(void **state)
{
	struct air *a = *state;

	air_unowned(a);
	assert_int_equal(lock_forward(a->lock, air_claim(a)), 0);
	air_turn(a);
	assert_int_equal(a->forwardeds, 1);
	assert_int_equal(a->forwarded.outcome, OUTCOME_REFUSED);
	assert_int_equal(a->forwarded.reason, REASON_TRY_LATER);
	assert_int_equal(a->forwarded.receipt.len, 0);
	assert_true(a->forwarded.has_owner && !a->forwarded.owned);
	assert_false(air_problem(a, "lock-refuses-document"));
	for (unsigned i = 0; i < 60; i++) {
		air_advert(a, 1);
		air_wait(a, 10000);
	}
	assert_int_equal(a->documents[TOKEN_CLAIM], 1);
	assert_int_equal(a->connects, 1);
}

static void a_claim_whose_answer_was_lost_is_told_by_the_owner_that_info_names(void **state)
{
	struct air *a = *state;

	air_unowned(a);
	a->button = true;
	a->fault = AIR_SILENT;
	assert_int_equal(lock_forward(a->lock, air_claim(a)), 0);
	air_turn(a);
	assert_true(a->info.owned);
	assert_int_equal(a->forwardeds, 0);
	a->fault = AIR_HONEST;
	air_close(a, LOCK_LOST);
	air_advert(a, 1);
	air_wait(a, 10000);
	assert_int_equal(a->documents[TOKEN_CLAIM], 2);
	assert_int_equal(a->forwardeds, 1);
	assert_int_equal(a->forwarded.outcome, OUTCOME_REFUSED);
	assert_int_equal(a->forwarded.reason, REASON_TRY_LATER);
	assert_true(a->forwarded.owned);
	assert_memory_equal(a->forwarded.owner, a->city.root.kid, DIGEST_LEN);
}

static void a_lock_that_never_answers_is_given_up(void **state)
{
	struct air *a = *state;

	air_unowned(a);
	a->button = true;
	a->fault = AIR_SILENT;
	assert_int_equal(lock_forward(a->lock, air_claim(a)), 0);
	for (unsigned i = 0; i < 60; i++) {
		air_advert(a, 1);
		air_wait(a, 10000);
	}
	assert_int_equal(a->forwardeds, 1);
	assert_int_equal(a->forwarded.outcome, OUTCOME_UNKNOWN);
	assert_int_equal(a->forwarded.reason, REASON_TIMEOUT);
	assert_in_range(a->documents[TOKEN_CLAIM], 1, 5);
}

static void an_unlock_goes_first_and_the_release_follows(void **state)
{
	struct air *a = *state;

	air_settle(a);
	a->hold_writes = true;
	assert_int_equal(lock_forward(a->lock, air_release(a)), 0);
	air_turn(a);
	assert_int_equal(a->documents[TOKEN_RELEASE], 0);
	air_unlock(a);
	a->hold_writes = false;
	air_turn(a);
	assert_int_equal(a->outcome, OUTCOME_DONE);
	assert_int_equal(a->moves, 1);
	assert_int_equal(a->forwardeds, 1);
	assert_int_equal(a->forwarded.outcome, OUTCOME_RELEASED);
	assert_true(a->forwarded.has_owner && !a->forwarded.owned);
	assert_int_equal(a->documents[TOKEN_RELEASE], 1);
}

/* The release is with the lock, its answer on the way, and the answer to the unlock behind it. */
static void an_answer_that_a_command_overtook_is_not_lost(void **state)
{
	struct air *a = *state;
	struct span receipt;
	struct result released = {.outcome = OUTCOME_RELEASED};
	struct token release;

	air_settle(a);
	a->fault = AIR_SILENT;
	assert_int_equal(lock_forward(a->lock, air_release(a)), 0);
	air_turn(a);
	assert_int_equal(a->documents[TOKEN_RELEASE], 1);
	a->info.owned = true; /* stay with it for the unlock */
	a->fault = AIR_HONEST;
	a->hold_writes = true;
	air_unlock(a);
	assert_int_equal(token_parse(air_release(a), &release), 0);
	receipt = air_make(a, SPAN(release.digest), &released, true);
	air_say(a, receipt, false);
	a->hold_writes = false;
	air_turn(a);
	assert_int_equal(a->outcome, OUTCOME_DONE);
	assert_int_equal(a->forwardeds, 1);
	assert_int_equal(a->forwarded.outcome, OUTCOME_RELEASED);
	assert_int_equal(a->documents[TOKEN_RELEASE], 1);
}

static void a_release_cuts_into_a_list_on_its_way(void **state)
{
	struct air *a = *state;

	air_settle(a);
	a->hold_reads = true; /* a barrier keeps the rest of the list back */
	air_trust(a, air_long_list(a));
	air_advert(a, 1);
	air_turn(a);
	assert_true(a->up);
	assert_int_equal(lock_forward(a->lock, air_release(a)), 0);
	air_turn(a);
	assert_int_equal(a->forwardeds, 1);
	assert_int_equal(a->forwarded.outcome, OUTCOME_RELEASED);
	a->hold_reads = false;
	air_wait(a, 10000);
	assert_int_equal(a->documents[TOKEN_LIST], 1); /* of air_settle(): nobody obeys any more */
}

static void a_lock_that_is_not_heard_is_not_called_and_a_dropped_one_never(void **state)
{
	struct air *a = *state;
	struct token claim;

	air_unowned(a);
	a->button = true;
	air_wait(a, 120000);
	assert_int_equal(token_parse(air_claim(a), &claim), 0);
	assert_int_equal(lock_forward(a->lock, air_claim(a)), 0);
	assert_true(lock_hurries(a->lock));
	air_wait(a, 120000);
	assert_int_equal(a->connects, 0);
	lock_forward_drop(a->lock, claim.digest);
	assert_false(lock_hurries(a->lock));
	air_advert(a, 1);
	air_wait(a, 10000);
	assert_int_equal(a->documents[TOKEN_CLAIM], 0);
	assert_int_equal(lock_forward(a->lock, air_claim(a)), 0);
	air_wait(a, 10000);
	assert_int_equal(a->documents[TOKEN_CLAIM], 1);
	assert_int_equal(a->forwardeds, 1);
}

static void one_that_is_dropped_half_sent_ends_quietly(void **state)
{
	struct air *a = *state;
	struct token release;

	air_settle(a);
	a->hold_writes = true;
	a->frame = 20;
	assert_int_equal(lock_forward(a->lock, air_release(a)), 0);
	air_turn(a);
	assert_int_equal(token_parse(air_release(a), &release), 0);
	lock_forward_drop(a->lock, release.digest);
	a->hold_writes = false;
	air_unlock(a);
	air_turn(a);
	assert_int_equal(a->outcome, OUTCOME_DONE);
	assert_int_equal(a->forwardeds, 0);
	assert_int_equal(a->documents[TOKEN_RELEASE], 0);
}

static void two_wait_and_a_third_is_busy(void **state)
{
	struct air *a = *state;

	air_settle(a);
	a->absent = true;
	assert_int_equal(lock_forward(a->lock, air_claim(a)), 0);
	assert_int_equal(lock_forward(a->lock, air_release(a)), 0);
	assert_int_equal(lock_forward(a->lock, air_release(a)), -EBUSY);
	a->absent = false;
	air_turn(a);
	assert_int_equal(a->forwardeds, 2); /* the claim refused, the release done */
	assert_int_equal(a->forwarded.outcome, OUTCOME_RELEASED);
}

/* Undone at the door before it held anything: only the flag tells. */
static void a_claim_undone_by_the_button_shows(void **state)
{
	struct air *a = *state;
	uint8_t owner[DIGEST_LEN];

	air_settle(a);
	assert_int_equal(lock_owner(a->lock, owner), 1);
	a->info.owned = false;
	air_advert(a, 1); /* what it holds, and its random bytes, as before */
	a->info.napplied = 0;
	air_wait(a, 10000);
	assert_int_equal(lock_owner(a->lock, owner), 0);
	assert_true(air_problem(a, "lock-unowned"));
}

int main(void)
{
#define one(name) cmocka_unit_test_setup_teardown(name, air_new, air_free)
	const struct CMUnitTest tests[] = {
		one(a_claim_is_told_with_its_receipt_and_the_owner),
		one(a_claim_without_the_button_is_refused_once_and_not_tried_for_ever),
		one(a_claim_whose_answer_was_lost_is_told_by_the_owner_that_info_names),
		one(a_lock_that_never_answers_is_given_up),
		one(an_unlock_goes_first_and_the_release_follows),
		one(an_answer_that_a_command_overtook_is_not_lost),
		one(a_release_cuts_into_a_list_on_its_way),
		one(a_lock_that_is_not_heard_is_not_called_and_a_dropped_one_never),
		one(one_that_is_dropped_half_sent_ends_quietly),
		one(two_wait_and_a_third_is_busy),
		one(a_claim_undone_by_the_button_shows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
