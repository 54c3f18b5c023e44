// SPDX-License-Identifier: Apache-2.0
/* One lock's session besides authorizations: its log, documents, hints, tests. */
#include "lock-fixture.h"

/* Something happens at the door: a kept receipt, a new challenge, another advert. */
static void air_at_the_door(struct air *a)
{
	struct result r = {.outcome = OUTCOME_DONE, .via = VIA_DOOR};
	uint8_t cti[CTI_LEN] = {(uint8_t)a->n, 0xd0};

	a->info.challenge[1]++;
	air_make(a, SPAN(cti), &r, true);
}

/* The log was read, and so many receipts have come since that nobody fetched. */
static void opened_at_the_door(struct air *a, unsigned times)
{
	air_settle(a);
	air_reader(a);
	for (unsigned i = 0; i < times; i++)
		air_at_the_door(a);
	a->receipts = 0;
}

static void an_opening_at_the_door_is_fetched_once(void **state)
{
	struct air *a = *state;
	struct message_lock now;

	air_settle(a);
	air_reader(a);
	air_wait(a, 60000);
	a->receipts = a->connects = 0;
	air_at_the_door(a);
	air_advert(a, 2);
	air_wait(a, 10000);
	assert_int_equal(a->connects, 1);
	assert_int_equal(a->receipts, 1);
	assert_int_equal(a->receipt_n[0], 4);
	assert_int_equal(a->sinces, 1);
	assert_int_equal(a->completes, 1);
	assert_false(a->gap);
	lock_fill(a->lock, &now);
	assert_int_equal(now.n, 4);
	assert_memory_equal(now.challenge, a->info.challenge, CHALLENGE_LEN);
	air_advert(a, 2);
	air_wait(a, 10000);
	assert_int_equal(a->connects, 1);
}

static void what_the_log_said_is_not_read_again(void **state)
{
	struct air *a = *state;

	opened_at_the_door(a, 0);
	for (unsigned i = 0; i < 2; i++) {
		a->no_battery = i == 1; /* then its state may know more */
		air_at_the_door(a);
		a->operations = a->reads = a->receipts = 0;
		air_advert(a, (uint8_t)(2 + i));
		air_wait(a, 10000);
		assert_int_equal(a->receipts, 1);
		assert_int_equal(a->reads, 1 + i);
		/* no subscription: frames for the reader (2), the presentation, the question */
		assert_int_equal(a->operations, 5 + i);
	}
}

static void without_a_read_authorization_a_hint_still_brings_the_challenge(void **state)
{
	struct air *a = *state;
	uint8_t challenge[CHALLENGE_LEN];

	air_settle(a);
	assert_true(lock_challenge(a->lock, challenge));
	air_at_the_door(a);
	a->absent = true;
	air_advert(a, 2);
	assert_false(lock_challenge(a->lock, challenge)); /* it may have changed */
	a->absent = false;
	air_wait(a, 10000);
	assert_int_equal(a->sinces, 0);
	assert_true(lock_challenge(a->lock, challenge));
	assert_memory_equal(challenge, a->info.challenge, CHALLENGE_LEN);
}

static void an_advert_that_cries_wolf_is_believed_ever_more_seldom(void **state)
{
	struct air *a = *state;

	air_settle(a);
	for (unsigned i = 0; i < 600; i++) {
		air_advert(a, (uint8_t)(i + 10));
		air_wait(a, 6000);
	}
	assert_in_range(a->connects, 2, 25); /* in an hour */
}

static void an_unknown_outcome_is_looked_for_in_the_log(void **state)
{
	struct air *a = *state;

	air_settle(a);
	air_reader(a);
	a->fault = AIR_SILENT;
	air_unlock(a);
	air_wait(a, 15100);
	assert_int_equal(a->outcome, OUTCOME_UNKNOWN);
	a->fault = AIR_HONEST;
	a->receipts = 0;
	air_wait(a, 20000);
	assert_int_equal(a->receipts, 1);
	assert_int_equal(a->receipt_n[0], a->n);
	assert_int_equal(a->completes, 1);
}

static void receipts_gone_from_the_lock_are_a_gap_and_no_end(void **state)
{
	struct air *a = *state;
	struct message_lock now;

	opened_at_the_door(a, 5);
	a->lost = 6;
	air_advert(a, 3);
	air_wait(a, 60000);
	assert_int_equal(a->receipts, 2); /* 7 and 8, and each once */
	assert_true(a->gap);
	assert_true(air_problem(a, "lock-log-gap"));
	lock_fill(a->lock, &now);
	assert_int_equal(now.n, 8);
}

static void a_full_log_that_lost_its_oldest_is_told_once(void **state)
{
	struct air *a = *state;

	air_settle(a);
	air_reader(a);
	while (a->n < 70)
		air_at_the_door(a);
	a->lost = 6; /* as many as a lock does not keep */
	a->receipts = 0;
	air_advert(a, 3);
	air_wait(a, 10000);
	assert_int_equal(a->receipts, 64);
	assert_true(a->gap);
	assert_int_equal(a->sinces, 1);
}

static void what_was_overtaken_on_the_air_is_no_gap(void **state)
{
	struct air *a = *state;
	struct message_lock now;

	opened_at_the_door(a, 5);
	a->overtaken = 4;
	air_advert(a, 3);
	air_wait(a, 60000);
	assert_int_equal(a->receipts, 5);
	assert_false(a->gap);
	assert_false(air_problem(a, "lock-log-gap"));
	assert_false(air_problem(a, "lock-rubbish"));
	lock_fill(a->lock, &now);
	assert_int_equal(now.n, 8);
}

static void what_was_missing_once_is_asked_for_again(void **state)
{
	struct air *a = *state;

	opened_at_the_door(a, 5);
	a->dropped = 5;
	air_advert(a, 3);
	air_wait(a, 60000);
	assert_int_equal(a->receipts, 5);
	assert_int_equal(a->sinces, 2);
	assert_false(a->gap);
	assert_false(air_problem(a, "lock-log-gap"));
}

static void a_receipt_that_is_still_being_made_is_no_gap(void **state)
{
	struct air *a = *state;

	opened_at_the_door(a, 1);
	a->hidden_tail = true; /* its motor still moves */
	air_advert(a, 3);
	air_wait(a, 2000);
	assert_int_equal(a->completes, 0);
	assert_int_equal(a->receipts, 0);
	a->hidden_tail = false;
	air_wait(a, 20000);
	assert_int_equal(a->completes, 1);
	assert_int_equal(a->receipts, 1);
	assert_false(a->gap);
	assert_false(air_problem(a, "lock-log-gap"));
}

static void an_unlock_cuts_into_the_log_and_nothing_is_lost_or_doubled(void **state)
{
	struct air *a = *state;
	bool seen[AIR_RECEIPTS] = {0};

	opened_at_the_door(a, 5);
	a->hold_writes = true;
	air_advert(a, 3);
	air_turn(a);
	while (a->sinces == 0) { /* up to the first answer of the log */
		air_write_one(a);
		if (a->sinces == 0)
			air_turn(a);
	}
	air_unlock(a);
	a->hold_writes = false;
	air_wait(a, 60000);
	assert_int_equal(a->outcome, OUTCOME_DONE);
	for (unsigned i = 0; i < a->receipts; i++) {
		assert_false(seen[a->receipt_n[i]]);
		seen[a->receipt_n[i]] = true;
	}
	for (unsigned n = 4; n <= 8; n++)
		assert_true(seen[n]);
	assert_false(seen[9]); /* the unlock's own rode on its outcome */
}

/* Each connection has one of its own. */
static void a_reader_presents_the_nonce_of_this_moment(void **state)
{
	struct air *a = *state;

	air_settle(a);
	air_reader(a);
	for (unsigned i = 1; i <= 3; i++) {
		lock_fetch(a->lock, 0);
		air_wait(a, 10000);
		assert_int_equal(a->documents[TOKEN_PRESENTATION], i);
		assert_int_equal(a->completes, i);
	}
	assert_false(air_problem(a, "lock-refuses-reader"));
}

static void an_unlock_between_info_and_presentation_makes_another_look_needed(void **state)
{
	struct air *a = *state;

	opened_at_the_door(a, 1);
	a->hold_writes = true;
	air_advert(a, 3);
	air_turn(a);
	assert_true(a->nframes > 0); /* info was read, the authorization to read is on its way */
	air_unlock(a);
	a->hold_writes = false;
	air_wait(a, 60000);
	assert_int_equal(a->outcome, OUTCOME_DONE);
	assert_int_equal(a->receipts, 1);
	assert_int_equal(a->documents[TOKEN_PRESENTATION], 1);
	assert_false(air_problem(a, "lock-refuses-reader"));
}

static void a_nonce_from_before_the_execution_is_not_presented(void **state)
{
	struct air *a = *state;

	opened_at_the_door(a, 1);
	air_advert(a, 3);
	while (!a->reading[LOCK_INFO])
		assert_true(air_step(a));
	air_unlock(a); /* and info is answered before it */
	air_wait(a, 60000);
	assert_int_equal(a->outcome, OUTCOME_DONE);
	assert_int_equal(a->receipts, 1);
	assert_int_equal(a->documents[TOKEN_PRESENTATION], 1);
}

static void a_reader_with_an_old_nonce_tries_once_more(void **state)
{
	struct air *a = *state;

	air_settle(a);
	air_reader(a);
	lock_fetch(a->lock, 0);
	a->hold_writes = true;
	air_wait(a, 2000);
	assert_true(a->nframes > 0);
	a->info.nonce[2]++; /* whatever its firmware meant by that */
	a->hold_writes = false;
	air_wait(a, 10000);
	assert_int_equal(a->documents[TOKEN_PRESENTATION], 2);
	assert_int_equal(a->completes, 1);
	assert_false(air_problem(a, "lock-refuses-reader"));
}

static void a_refused_reader_does_not_wear_the_battery(void **state)
{
	struct air *a = *state;
	unsigned connects;

	air_settle(a);
	air_reader(a);
	a->denies = true;
	lock_fetch(a->lock, 0);
	air_advert(a, 1);
	air_wait(a, 10000);
	assert_true(air_problem(a, "lock-refuses-reader"));
	connects = a->connects;
	for (unsigned minute = 0; minute < 60; minute++) {
		air_advert(a, 1);
		air_wait(a, 60000);
	}
	assert_in_range(a->connects - connects, 0, 7);
}

/* --- documents ---------------------------------------------------------------------------------- */

static void a_document_only_signed_again_waits_for_a_connection(void **state)
{
	struct air *a = *state;
	struct sign_list again = {.iat = SIGN_NOW, .changed = SIGN_NOW - 1000};
	struct message_lock now;

	air_settle(a);
	air_trust(a, sign_list(&again, &a->city.revoke));
	air_wait(a, 60000);
	assert_int_equal(a->connects, 0);
	lock_fill(a->lock, &now);
	assert_true(now.current);
	air_advert(a, 1);
	air_unlock(a);
	air_wait(a, 10000);
	assert_int_equal(a->connects, 1);
	assert_int_equal(a->documents[TOKEN_LIST], 2); /* it rode along */
}

static void a_revocation_brings_a_connection_at_once(void **state)
{
	struct air *a = *state;

	air_settle(a);
	air_trust(a, sign_list(&(struct sign_list){.iat = SIGN_NOW}, &a->city.revoke));
	assert_int_equal(a->connects, 1);
	air_turn(a);
	assert_int_equal(a->documents[TOKEN_LIST], 2);
	assert_int_equal(a->reads, 0);
}

static void a_lock_that_slept_is_walked_along_the_chain(void **state)
{
	struct air *a = *state;
	struct signer second = sign_signer(21), third = sign_signer(22);
	struct message_lock now;

	air_settle(a);
	air_trust(a, sign_city_keys(&a->city, &second, SIGN_NOW - 500, &a->city.root));
	air_trust(a, sign_city_keys(&a->city, &third, SIGN_NOW - 400, &second));
	for (unsigned i = 0; i < 40 && a->up + a->connecting + a->nframes; i++) {
		/* The lock's owner follows the keys that it takes. */
		if (a->documents[TOKEN_KEYS] == 2)
			memcpy(a->info.owner, second.kid, DIGEST_LEN);
		if (a->documents[TOKEN_KEYS] == 3)
			memcpy(a->info.owner, third.kid, DIGEST_LEN);
		if (!air_step(a))
			break;
	}
	assert_int_equal(a->documents[TOKEN_KEYS], 3);
	lock_fill(a->lock, &now);
	assert_true(now.current);
}

static void keys_whose_answer_a_command_overtook_are_followed_too(void **state)
{
	struct air *a = *state;
	struct signer second = sign_signer(21), third = sign_signer(22);
	struct result r = {.outcome = OUTCOME_APPLIED};
	struct span document = sign_city_keys(&a->city, &second, SIGN_NOW - 500, &a->city.root);
	struct token t;

	air_settle(a);
	assert_int_equal(token_parse(document, &t), 0);
	a->fault = AIR_SILENT; /* for the moment: its answer comes late */
	air_trust(a, document);
	air_turn(a);
	assert_int_equal(a->documents[TOKEN_KEYS], 2);
	memcpy(a->info.owner, second.kid, DIGEST_LEN);
	air_unlock(a);
	a->fault = AIR_HONEST;
	air_say(a, air_make(a, SPAN(t.digest), &r, true), false);
	air_wait(a, 10000);
	assert_int_equal(a->outcome, OUTCOME_DONE);
	air_trust(a, sign_city_keys(&a->city, &third, SIGN_NOW - 400, &second));
	air_wait(a, 10000);
	assert_int_equal(a->documents[TOKEN_KEYS], 3);
}

static void a_document_that_is_refused_is_not_pressed(void **state)
{
	struct air *a = *state;
	unsigned connects;

	air_settle(a);
	a->fault = AIR_REFUSES;
	air_trust(a, sign_list(&(struct sign_list){.iat = SIGN_NOW}, &a->city.revoke));
	air_wait(a, 10000);
	assert_true(air_problem(a, "lock-refuses-document"));
	connects = a->connects;
	for (unsigned minute = 0; minute < 60; minute++) {
		air_advert(a, 1);
		air_wait(a, 60000);
	}
	assert_int_equal(a->connects, connects);
	assert_int_equal(a->documents[TOKEN_LIST], 2);
}

static void another_owner_is_a_problem_and_gets_nothing(void **state)
{
	struct air *a = *state;

	memcpy(a->info.owner, a->city.stranger.kid, DIGEST_LEN);
	air_city_documents(a);
	air_advert(a, 1);
	air_wait(a, 10000);
	assert_true(air_problem(a, "lock-foreign-owner"));
	assert_int_equal(a->documents[TOKEN_KEYS], 0);
}

static void an_unowned_lock_is_a_problem_and_a_claim_is_forwarded(void **state)
{
	struct air *a = *state;

	a->info.owned = false;
	air_city_documents(a);
	air_advert(a, 1);
	air_wait(a, 10000);
	assert_true(air_problem(a, "lock-unowned"));
	assert_int_equal(a->documents[TOKEN_KEYS], 0);
	a->button = true;
	assert_int_equal(lock_forward(a->lock, sign_claim(SIGN_LOCK, SIGN_NOW, &a->city.root)), 0);
	air_wait(a, 10000);
	assert_int_equal(a->documents[TOKEN_CLAIM], 1);
	assert_int_equal(a->documents[TOKEN_KEYS], 1);
	assert_false(air_problem(a, "lock-unowned"));
}

static void documents_replaced_under_way_are_sent_from_the_start(void **state)
{
	struct air *a = *state;

	air_settle(a);
	a->hold_writes = true;
	air_trust(a, air_long_list(a));
	air_turn(a);
	assert_int_equal(a->nframes, 8);
	/* What the frames point into is freed here. */
	air_trust(a, sign_list(&(struct sign_list){.iat = SIGN_NOW + 1}, &a->city.revoke));
	a->hold_writes = false;
	air_turn(a);
	assert_int_equal(a->info.applied[2].iat, SIGN_NOW + 1);
	assert_int_equal(a->documents[TOKEN_LIST], 2);
}

/* --- the rest ----------------------------------------------------------------------------------- */

static void a_test_measures_and_moves_nothing(void **state)
{
	struct air *a = *state;

	air_settle(a);
	a->absent = true;
	assert_int_equal(lock_test(a->lock), 0);
	assert_int_equal(lock_test(a->lock), -16);
	air_wait(a, 40);
	a->absent = false;
	air_step(a);
	a->now += 25;
	air_turn(a);
	assert_int_equal(a->tests, 1);
	assert_true(a->test.ok);
	assert_int_equal(a->test.connect_ms, 40);
	assert_int_equal(a->test.round_trip_ms, 25);
	assert_int_equal(a->moves, 0);
	assert_int_equal(lock_test(a->lock), 0);
	air_turn(a);
	assert_int_equal(a->tests, 2);
	assert_int_equal(a->test.connect_ms, 0);
}

static void a_test_of_an_absent_lock_ends(void **state)
{
	struct air *a = *state;

	air_settle(a);
	a->absent = true;
	assert_int_equal(lock_test(a->lock), 0);
	air_wait(a, 70000);
	assert_int_equal(a->tests, 1);
	assert_false(a->test.ok);
}

static void silence_is_told_after_a_while_and_once(void **state)
{
	struct air *a = *state;

	air_settle(a);
	a->reachables = 0;
	air_wait(a, 70000);
	assert_int_equal(a->reachables, 0);
	air_wait(a, 200000);
	assert_int_equal(a->reachables, 1);
	assert_true(air_problem(a, "lock-unreachable"));
	air_advert(a, 1);
	assert_int_equal(a->reachables, 2);
	assert_false(air_problem(a, "lock-unreachable"));
	assert_int_equal(a->connects, 0);
}

static void another_device_in_its_place_is_told_apart(void **state)
{
	struct air *a = *state;

	memcpy(a->info.key, a->city.stranger.pub, PUBLIC_LEN);
	air_city_documents(a);
	air_advert(a, 1);
	air_wait(a, 5000);
	assert_true(a->strangers > 0);
	assert_true(air_problem(a, "lock-stranger"));
	assert_int_equal(a->documents[TOKEN_KEYS], 0);
}

static void what_is_stored_makes_a_visit_at_start_needless(void **state)
{
	struct air *a = *state;
	struct lock_options options = {.id = SIGN_LOCK,
				       .key = a->city.lock.pub,
				       .trust = a->trust,
				       .reader = &a->city.reader,
				       .linger_ms = 2000};
	struct lock_stored stored;
	uint8_t challenge[CHALLENGE_LEN];

	air_settle(a);
	lock_stored(a->lock, &stored);
	lock_free(a->lock);
	a->alarm = 0;
	assert_int_equal(lock_new(&options, &stored, &air_radio, &air_ops, a, &a->lock), 0);
	assert_false(lock_challenge(a->lock, challenge)); /* until an advert agrees */
	air_advert(a, 1);
	air_wait(a, 60000);
	assert_int_equal(a->connects, 0);
	assert_true(lock_challenge(a->lock, challenge));
	air_at_the_door(a);
	air_advert(a, 9);
	air_wait(a, 10000);
	assert_int_equal(a->connects, 1);
}

int main(void)
{
#define one(test) cmocka_unit_test_setup_teardown(test, air_new, air_free)
	const struct CMUnitTest tests[] = {
		one(an_opening_at_the_door_is_fetched_once),
		one(what_the_log_said_is_not_read_again),
		one(without_a_read_authorization_a_hint_still_brings_the_challenge),
		one(an_advert_that_cries_wolf_is_believed_ever_more_seldom),
		one(an_unknown_outcome_is_looked_for_in_the_log),
		one(receipts_gone_from_the_lock_are_a_gap_and_no_end),
		one(a_full_log_that_lost_its_oldest_is_told_once),
		one(what_was_overtaken_on_the_air_is_no_gap),
		one(what_was_missing_once_is_asked_for_again),
		one(a_receipt_that_is_still_being_made_is_no_gap),
		one(an_unlock_cuts_into_the_log_and_nothing_is_lost_or_doubled),
		one(a_reader_presents_the_nonce_of_this_moment),
		one(an_unlock_between_info_and_presentation_makes_another_look_needed),
		one(a_nonce_from_before_the_execution_is_not_presented),
		one(a_reader_with_an_old_nonce_tries_once_more),
		one(a_refused_reader_does_not_wear_the_battery),
		one(a_document_only_signed_again_waits_for_a_connection),
		one(a_revocation_brings_a_connection_at_once),
		one(a_lock_that_slept_is_walked_along_the_chain),
		one(keys_whose_answer_a_command_overtook_are_followed_too),
		one(a_document_that_is_refused_is_not_pressed),
		one(another_owner_is_a_problem_and_gets_nothing),
		one(an_unowned_lock_is_a_problem_and_a_claim_is_forwarded),
		one(documents_replaced_under_way_are_sent_from_the_start),
		one(a_test_measures_and_moves_nothing),
		one(a_test_of_an_absent_lock_ends),
		one(silence_is_told_after_a_while_and_once),
		one(another_device_in_its_place_is_told_apart),
		one(what_is_stored_makes_a_visit_at_start_needless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
