// SPDX-License-Identifier: Apache-2.0
/* One lock's session: an authorization's way, and what no lock may make of it. */
#include "lock-fixture.h"

static void first_contact_reads_info_and_brings_all_documents(void **state)
{
	struct air *a = *state;
	struct message_lock now;

	air_city_documents(a);
	air_advert(a, 1);
	air_turn(a);
	assert_int_equal(a->connects, 1);
	assert_int_equal(a->documents[TOKEN_KEYS], 1);
	assert_int_equal(a->documents[TOKEN_POLICY], 1);
	assert_int_equal(a->documents[TOKEN_LIST], 1);
	lock_fill(a->lock, &now);
	assert_true(now.current);
	assert_true(now.has_challenge);
	assert_memory_equal(now.challenge, a->info.challenge, CHALLENGE_LEN);
	assert_int_equal(now.n, 3);
	assert_int_equal(a->receipts, 3);
	air_wait(a, 200);
	assert_true(a->up); /* more documents may be on their way */
	air_wait(a, 200);
	assert_false(a->up); /* but a phone may be waiting */
}

static void after_a_command_the_link_is_kept_for_the_next(void **state)
{
	struct air *a = *state;

	air_settle(a);
	air_unlock(a);
	air_turn(a);
	assert_int_equal(a->outcome, OUTCOME_DONE);
	air_wait(a, 1900);
	assert_true(a->up);
	air_wait(a, 200);
	assert_false(a->up);
	lock_set_linger(a->lock, 500); /* a reloaded configuration */
	air_unlock(a);
	air_turn(a);
	assert_int_equal(a->outcomes, 2);
	air_wait(a, 400);
	assert_true(a->up);
	air_wait(a, 200);
	assert_false(a->up);
}

static void an_opening_right_after_our_visit_is_fetched(void **state)
{
	struct air *a = *state;

	air_settle(a);
	air_unlock(a);
	air_turn(a);
	air_wait(a, 3000);
	assert_false(a->up);
	assert_int_equal(a->connects, 1);
	air_advert(a, 1);
	air_wait(a, 60000);
	assert_int_equal(a->connects, 1); /* our own doing is no news */
	air_advert(a, 2); /* the first after the next visit, too: somebody was there */
	air_wait(a, 3000);
	assert_int_equal(a->connects, 2);
	air_advert(a, 3);
	air_wait(a, 60000);
	assert_int_equal(a->connects, 3);
}

static void a_day_without_changes_needs_no_connection(void **state)
{
	struct air *a = *state;

	air_settle(a);
	for (unsigned minute = 0; minute < 24 * 60; minute++) {
		air_advert(a, 1);
		air_wait(a, 60000);
	}
	assert_int_equal(a->connects, 0);
}

static void a_warm_unlock_is_one_connection_and_few_operations(void **state)
{
	struct air *a = *state;

	a->frame = FRAME_MAX;
	air_settle(a);
	air_unlock(a);
	assert_int_equal(a->connects, 1);
	assert_true(a->urgent);
	air_turn(a);
	assert_int_equal(a->outcomes, 1);
	assert_int_equal(a->outcome, OUTCOME_DONE);
	assert_true(a->with_receipt);
	assert_int_equal(a->moves, 1);
	air_wait(a, 30000);
	assert_int_equal(a->connects, 1);
	assert_in_range(a->operations, 1, 4);
	assert_int_equal(a->reads, 0);
	assert_int_equal(a->receipts, 3); /* the outcome's own rides on the outcome */
}

static void nothing_is_sent_before_the_commit(void **state)
{
	struct air *a = *state;
	struct lock_command command;

	air_settle(a);
	command = air_command(a);
	assert_int_equal(lock_command(a->lock, &command, 30000), 0);
	air_turn(a);
	assert_true(a->up);
	assert_int_equal(a->rechecks, 0);
	assert_int_equal(a->operations, 0);
	assert_int_equal(lock_command(a->lock, &command, 30000), -EBUSY);
	lock_commit(a->lock);
	air_turn(a);
	assert_int_equal(a->outcome, OUTCOME_DONE);
}

static void an_abandoned_command_never_happened(void **state)
{
	struct air *a = *state;
	struct lock_command command;

	air_settle(a);
	command = air_command(a);
	assert_int_equal(lock_command(a->lock, &command, 30000), 0);
	lock_abandon(a->lock);
	air_wait(a, 60000);
	assert_int_equal(a->outcomes, 0);
	assert_int_equal(a->moves, 0);
	assert_false(lock_busy(a->lock));
}

static void what_was_revoked_while_connecting_is_not_sent(void **state)
{
	struct air *a = *state;

	air_settle(a);
	air_unlock(a);
	a->verdict = REASON_REVOKED;
	air_turn(a);
	assert_int_equal(a->rechecks, 1);
	assert_int_equal(a->outcome, OUTCOME_FAILED);
	assert_int_equal(a->reason, REASON_REVOKED);
	assert_int_equal(a->documents[TOKEN_AUTHORIZATION], 0);
	assert_int_equal(a->operations, 0);
}

static void an_unlock_cuts_into_a_list_transfer(void **state)
{
	struct air *a = *state;

	air_settle(a);
	a->hold_writes = true;
	air_trust(a, air_long_list(a));
	air_turn(a);
	assert_int_equal(a->nframes, 8); /* the window */
	assert_int_equal(a->drops, 0);
	air_write_one(a);
	air_unlock(a);
	assert_int_equal(a->drops, 1);
	a->hold_writes = false;
	air_turn(a);
	assert_int_equal(a->outcome, OUTCOME_DONE);
	assert_int_equal(a->connects, 1);	       /* on the link of the transfer */
	assert_int_equal(a->documents[TOKEN_LIST], 2); /* which began again, and came through */
	assert_int_equal(a->info.applied[2].iat, SIGN_NOW);
}

static void no_more_than_a_burst_of_a_list_is_ahead_of_an_unlock(void **state)
{
	struct air *a = *state;
	uint64_t before;

	air_settle(a);
	a->hold_reads = true;
	before = lock_counters(a->lock)->bytes_out;
	air_trust(a, air_long_list(a));
	air_turn(a); /* the radio took all that it was given: how much is in its queues? */
	assert_int_equal(a->nframes, 0);
	assert_in_range(lock_counters(a->lock)->bytes_out - before, 1, 8 * 200);
	air_unlock(a);
	air_turn(a);
	assert_int_equal(a->outcome, OUTCOME_DONE); /* waits for no barrier */
	a->hold_reads = false;
	air_turn(a);
	assert_int_equal(a->info.applied[2].iat, SIGN_NOW);
}

/* As over bluetoothd with Enhanced ATT on both sides. */
static void frames_that_overtake_one_another_are_confirmed_from_then_on(void **state)
{
	struct air *a = *state;

	a->overtakes = true;
	a->frame = 100;
	air_city_documents(a);
	air_advert(a, 1);
	for (unsigned s = 0; s < 12; s++) {
		air_wait(a, 1000);
		air_advert(a, 1);
	}
	assert_int_equal(a->confirms, 1);
	assert_int_equal(a->connects, 2);
	assert_int_equal(lock_counters(a->lock)->gaps, 1);
	assert_int_equal(a->receipts, 3);
	air_unlock(a);
	air_turn(a);
	assert_int_equal(a->outcome, OUTCOME_DONE);
	assert_int_equal(a->moves, 1);
}

static void an_answer_still_owed_is_not_the_unlocks(void **state)
{
	struct air *a = *state;
	struct policy policy;
	struct token t;
	struct span document;
	struct result r = {.outcome = OUTCOME_APPLIED};

	air_settle(a);
	policy_default(&policy);
	policy.max_relay = 30;
	document = sign_policy(&policy, SIGN_NOW, &a->city.policy);
	assert_int_equal(token_parse(document, &t), 0);
	a->fault = AIR_SILENT; /* for the moment: its answer comes late */
	air_trust(a, document);
	air_turn(a);
	assert_int_equal(a->documents[TOKEN_POLICY], 2);
	air_unlock(a);
	a->fault = AIR_HONEST;
	air_say(a, air_make(a, SPAN(t.digest), &r, true), false);
	assert_int_equal(a->outcomes, 0);
	air_turn(a);
	assert_int_equal(a->outcomes, 1);
	assert_int_equal(a->outcome, OUTCOME_DONE);
	assert_false(air_problem(a, "lock-rubbish"));
}

struct lie {
	enum air_fault fault;
	enum frame_code code;
	enum outcome outcome;
	enum reason reason;
	const char *problem;
	bool moved;
};

static void no_lie_of_the_lock_becomes_a_wrong_outcome(void **state)
{
	static const struct lie lies[] = {
		{AIR_SILENT, 0, OUTCOME_UNKNOWN, REASON_TIMEOUT, "lock-silent", true},
		{AIR_RUBBISH, 0, OUTCOME_UNKNOWN, REASON_LOCK_ERROR, "lock-rubbish", true},
		{AIR_HALF, 0, OUTCOME_UNKNOWN, REASON_TIMEOUT, "lock-silent", true},
		{AIR_FLOOD, 0, OUTCOME_UNKNOWN, REASON_LOCK_ERROR, "lock-rubbish", true},
		{AIR_FOREIGN_KEY, 0, OUTCOME_UNKNOWN, REASON_LOCK_ERROR, "lock-rubbish", true},
		{AIR_FOREIGN_CTI, 0, OUTCOME_UNKNOWN, REASON_LOCK_ERROR, "lock-rubbish", true},
		{AIR_OTHER_LOCK, 0, OUTCOME_UNKNOWN, REASON_LOCK_ERROR, "lock-rubbish", true},
		{AIR_SHORT, FRAME_UNKNOWN_KEY, OUTCOME_UNKNOWN, REASON_UNKNOWN_KEY, NULL, false},
		{AIR_SHORT, FRAME_TRY_LATER, OUTCOME_UNKNOWN, REASON_TRY_LATER, NULL, false},
		{AIR_REFUSES, 0, OUTCOME_FAILED, REASON_STALE_CHALLENGE, NULL, false},
		{AIR_FAILS_TO_MOVE, 0, OUTCOME_FAILED, REASON_JAMMED, NULL, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		struct air *a;
		void *fresh;

		air_new(&fresh);
		a = fresh;
		air_settle(a);
		a->fault = lies[i].fault;
		a->code = lies[i].code;
		air_unlock(a);
		air_wait(a, 16000);
		assert_int_equal(a->outcomes, 1);
		assert_int_equal(a->outcome, lies[i].outcome);
		assert_int_equal(a->reason, lies[i].reason);
		if (lies[i].problem)
			assert_true(air_problem(a, lies[i].problem));
		a->fault = AIR_HONEST;
		air_wait(a, 120000);
		assert_int_equal(a->outcomes, 1);
		assert_int_equal(a->documents[TOKEN_AUTHORIZATION], 1); /* never sent again */
		assert_int_equal(a->moves, lies[i].moved ? 1 : 0);
		air_free(&fresh);
	}
}

static void a_receipt_told_twice_counts_once(void **state)
{
	struct air *a = *state;

	a->fault = AIR_TWICE;
	air_settle(a);
	air_unlock(a);
	air_wait(a, 30000);
	assert_int_equal(a->outcomes, 1);
	assert_int_equal(a->outcome, OUTCOME_DONE);
	assert_int_equal(a->receipts, 3);
	assert_false(air_problem(a, "lock-rubbish"));
}

static void a_lock_that_cannot_be_reached_fails_in_time(void **state)
{
	struct air *a = *state;

	air_settle(a);
	a->absent = true;
	air_unlock(a);
	for (unsigned i = 0; i < 3; i++) {
		air_wait(a, 8000);
		assert_true(a->connecting);
		air_close(a, LOCK_UNREACHABLE);
	}
	assert_int_equal(a->outcomes, 0);
	assert_in_range(a->connects, 3, 4); /* nothing was sent: it may be tried again */
	air_wait(a, 30000);
	assert_int_equal(a->outcomes, 1);
	assert_int_equal(a->outcome, OUTCOME_FAILED);
	assert_int_equal(a->reason, REASON_UNREACHABLE);
	assert_int_equal(a->documents[TOKEN_AUTHORIZATION], 0);
}

struct cut {
	size_t frames; /* that left before the link broke */
	enum outcome outcome;
	unsigned sent;
};

static void what_a_broken_link_means_depends_on_the_last_frame(void **state)
{
	static const struct cut cuts[] = {
		{0, OUTCOME_DONE, 1}, /* not a byte left: connected again */
		{1, OUTCOME_FAILED, 0},
		{2, OUTCOME_FAILED, 0},
		{99, OUTCOME_UNKNOWN, 1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		struct air *a;
		void *fresh;

		air_new(&fresh);
		a = fresh;
		a->frame = 100;
		air_settle(a);
		a->hold_writes = true;
		air_unlock(a);
		air_turn(a);
		assert_in_range(a->nframes, 3, 8);
		a->fault = AIR_SILENT;
		for (size_t n = 0; n < cuts[i].frames && a->nframes; n++)
			air_write_one(a);
		a->fault = AIR_HONEST;
		air_close(a, LOCK_LOST);
		a->hold_writes = false;
		air_wait(a, 5000);
		assert_int_equal(a->outcomes, 1);
		assert_int_equal(a->outcome, cuts[i].outcome);
		assert_int_equal(a->documents[TOKEN_AUTHORIZATION], cuts[i].sent);
		air_free(&fresh);
	}
}

static void an_unlock_does_not_start_on_a_link_about_to_end(void **state)
{
	struct air *a = *state;

	air_settle(a);
	a->fault = AIR_SILENT;
	air_trust(a, sign_list(&(struct sign_list){.iat = SIGN_NOW}, &a->city.revoke));
	air_turn(a);
	assert_true(a->up);
	a->fault = AIR_HONEST;
	a->now += 80000; /* the lock may end it at any moment now */
	air_unlock(a);
	air_turn(a);
	assert_int_equal(a->connects, 2);
	assert_int_equal(a->outcome, OUTCOME_DONE);
	assert_int_equal(a->documents[TOKEN_AUTHORIZATION], 1);
}

static void an_unlock_does_not_queue_behind_a_visit(void **state)
{
	struct air *a = *state;

	air_settle(a);
	a->absent = true;
	air_trust(a, sign_list(&(struct sign_list){.iat = SIGN_NOW}, &a->city.revoke));
	assert_true(a->connecting);
	assert_false(a->urgent);
	air_unlock(a);
	air_wait(a, 2000);
	assert_true(a->connecting);
	assert_true(a->urgent);
	a->absent = false;
	air_turn(a);
	assert_int_equal(a->outcome, OUTCOME_DONE);
}

static void a_link_gives_way_to_another_locks_command_but_not_its_own(void **state)
{
	struct air *a = *state;

	air_settle(a);
	assert_false(lock_yield(a->lock));
	a->hold_writes = true;
	air_unlock(a);
	air_turn(a);
	assert_false(lock_yield(a->lock));
	a->hold_writes = false;
	air_turn(a);
	assert_int_equal(a->outcome, OUTCOME_DONE);
	assert_true(lock_yield(a->lock)); /* lingering only */
}

int main(void)
{
#define one(test) cmocka_unit_test_setup_teardown(test, air_new, air_free)
	const struct CMUnitTest tests[] = {
		one(first_contact_reads_info_and_brings_all_documents),
		one(after_a_command_the_link_is_kept_for_the_next),
		one(an_opening_right_after_our_visit_is_fetched),
		one(a_day_without_changes_needs_no_connection),
		one(a_warm_unlock_is_one_connection_and_few_operations),
		one(nothing_is_sent_before_the_commit),
		one(an_abandoned_command_never_happened),
		one(what_was_revoked_while_connecting_is_not_sent),
		one(an_unlock_cuts_into_a_list_transfer),
		one(no_more_than_a_burst_of_a_list_is_ahead_of_an_unlock),
		one(frames_that_overtake_one_another_are_confirmed_from_then_on),
		one(an_answer_still_owed_is_not_the_unlocks),
		cmocka_unit_test(no_lie_of_the_lock_becomes_a_wrong_outcome),
		one(a_receipt_told_twice_counts_once),
		one(a_lock_that_cannot_be_reached_fails_in_time),
		cmocka_unit_test(what_a_broken_link_means_depends_on_the_last_frame),
		one(an_unlock_does_not_start_on_a_link_about_to_end),
		one(an_unlock_does_not_queue_behind_a_visit),
		one(a_link_gives_way_to_another_locks_command_but_not_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
