/* SPDX-License-Identifier: Apache-2.0 */
/* A session against somebody on the air who cannot sign: he delays, and that is all. */
#include "lock-fixture.h"

/* Adverts as they are, for so long. */
static void listen(struct air *a, unsigned minutes)
{
	for (unsigned i = 0; i < minutes * 6; i++) {
		air_advert(a, 1);
		air_wait(a, 10000);
	}
}

static void a_list_refused_without_a_signature_is_offered_again(void **state)
{
	static const unsigned codes[] = {FRAME_MALFORMED,  FRAME_BAD_SIGNATURE, FRAME_TOO_LARGE,
					 FRAME_WRONG_ROLE, FRAME_UNKNOWN_KEY,	FRAME_NOT_OWNED};
	struct air *a = *state;
	struct message_lock now;

	air_settle(a);
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		a->fault = AIR_SPOILT;
		a->code = codes[i];
		air_trust(a, sign_list(&(struct sign_list){.iat = SIGN_NOW + i}, &a->city.revoke));
		listen(a, 1);
		assert_true(air_problem(a, "lock-refuses-document"));
		a->fault = AIR_HONEST;
		listen(a, 3);
		lock_fill(a->lock, &now);
		assert_true(now.current);
		assert_false(air_problem(a, "lock-refuses-document"));
	}
}

static void who_refuses_always_is_asked_ever_more_seldom(void **state)
{
	struct air *a = *state;
	unsigned before;

	air_settle(a);
	a->fault = AIR_SPOILT;
	a->code = FRAME_MALFORMED;
	before = a->documents[TOKEN_LIST];
	air_trust(a, sign_list(&(struct sign_list){.iat = SIGN_NOW}, &a->city.revoke));
	listen(a, 24 * 60);
	assert_in_range(a->documents[TOKEN_LIST] - before, 20, 40);
}

static void a_reader_refused_without_a_signature_comes_again(void **state)
{
	struct air *a = *state;

	air_settle(a);
	air_reader(a);
	a->fault = AIR_SPOILT;
	a->code = FRAME_MALFORMED;
	lock_fetch(a->lock, 0);
	listen(a, 1);
	assert_true(air_problem(a, "lock-refuses-reader"));
	assert_int_equal(a->completes, 0);
	a->fault = AIR_HONEST;
	listen(a, 2);
	assert_int_equal(a->completes, 1);
	assert_false(air_problem(a, "lock-refuses-reader"));
	a->fault = AIR_SPOILT;
	a->connects = 0;
	lock_fetch(a->lock, 0);
	listen(a, 60);
	assert_in_range(a->connects, 8, 13);
}

static void a_lock_that_hangs_is_visited_ever_more_seldom(void **state)
{
	struct air *a = *state;

	air_settle(a);
	a->hold_writes = true;
	air_trust(a, sign_list(&(struct sign_list){.iat = SIGN_NOW}, &a->city.revoke));
	listen(a, 60);
	assert_in_range(a->connects, 10, 25);
	a->hold_writes = false;
	listen(a, 10);
	assert_false(air_problem(a, "lock-silent"));
}

/* Two voices with one address: each advert differs from the one before. */
static void imitated_adverts_wear_neither_disk_nor_battery(void **state)
{
	struct air *a = *state;
	struct advert lie = {.profile = 1};

	air_settle(a);
	a->keeps = 0;
	for (unsigned i = 0; i < 36000; i++) {
		lie.random[0] = (uint8_t)i;
		lie.random[1] = (uint8_t)(i >> 8);
		if (i % 2)
			applied_hash(a->info.applied, a->info.napplied, lie.applied);
		else
			memset(lie.applied, (int)i, sizeof(lie.applied));
		lie.random[0] &= (uint8_t)~1; /* a pair of them agrees in what is random */
		lock_advert(a->lock, &lie, -60);
		air_wait(a, 100);
	}
	assert_in_range(a->connects, 1, 25);
	assert_in_range(a->keeps, 1, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_list_refused_without_a_signature_is_offered_again,
						air_new, air_free),
		cmocka_unit_test_setup_teardown(who_refuses_always_is_asked_ever_more_seldom,
						air_new, air_free),
		cmocka_unit_test_setup_teardown(a_reader_refused_without_a_signature_comes_again,
						air_new, air_free),
		cmocka_unit_test_setup_teardown(a_lock_that_hangs_is_visited_ever_more_seldom,
						air_new, air_free),
		cmocka_unit_test_setup_teardown(imitated_adverts_wear_neither_disk_nor_battery,
						air_new, air_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
