// SPDX-License-Identifier: Apache-2.0
/* Receipts as the desk files them: once, from whichever gateway, and nothing forged. */
#include "filing-fixture.h"

static void a_receipt_is_filed_once_from_whichever_gateway(void **state)
{
	struct desk_fixture *f = *state;
	struct desk_receipt r = {
		.lock = "lock-1", .signer = &f->lock, .n = 1, .outcome = OUTCOME_APPLIED};
	bool is_new;

	must(file(f, &r, &is_new));
	assert_true(is_new);
	must(file(f, &r, &is_new));
	assert_false(is_new);
	assert_int_equal(alarms(f, "receipt-fork"), 0);
}

static void the_same_n_with_other_bytes_is_an_alarm(void **state)
{
	struct desk_fixture *f = *state;
	struct desk_receipt r = {
		.lock = "lock-1", .signer = &f->lock, .n = 1, .outcome = OUTCOME_APPLIED};
	bool is_new;

	must(file(f, &r, &is_new));
	r.iat = NOW + 1;
	must(file(f, &r, &is_new));
	assert_int_equal(alarms(f, "receipt-fork"), 1);
}

static void a_gap_is_counted_until_it_is_filled(void **state)
{
	struct desk_fixture *f = *state;
	struct desk_receipt r = {
		.lock = "lock-1", .signer = &f->lock, .n = 1, .outcome = OUTCOME_APPLIED};
	uint64_t missing, highest;
	bool is_new;

	must(receipt_gaps(f->desk.db, "lock-1", &missing, &highest));
	assert_int_equal(missing, 0);
	must(file(f, &r, &is_new));
	r.n = 4;
	must(file(f, &r, &is_new));
	must(receipt_gaps(f->desk.db, "lock-1", &missing, &highest));
	assert_int_equal(missing, 2);
	assert_int_equal(highest, 4);
	r.n = 3;
	must(file(f, &r, &is_new));
	r.n = 2;
	must(file(f, &r, &is_new));
	must(receipt_gaps(f->desk.db, "lock-1", &missing, &highest));
	assert_int_equal(missing, 0);
}

static void a_receipt_by_another_key_is_not_believed(void **state)
{
	struct desk_fixture *f = *state;
	struct signer thief;
	const uint8_t seed[SEED_LEN] = {99};
	struct desk_receipt r = {
		.lock = "lock-1", .signer = &thief, .n = 1, .outcome = OUTCOME_DONE};
	struct receipt newest;
	bool is_new;

	signer_from_seed(seed, &thief);
	assert_int_equal(file(f, &r, &is_new), REASON_UNKNOWN_KEY);
	/* another lock's key, and that lock is known: not for this one */
	desk_fixture_add_lock(f, "lock-2", &thief);
	assert_int_equal(file(f, &r, &is_new), REASON_UNKNOWN_KEY);
	r.lock = "lock-9";
	assert_int_equal(file(f, &r, &is_new), REASON_WRONG_LOCK);
	assert_true(alarms(f, "receipt-refused") >= 2);
	assert_int_equal(receipt_newest(f->desk.db, "lock-1", &newest), -ENOENT);
}

static void a_receipt_with_one_bit_changed_is_not_believed(void **state)
{
	struct desk_fixture *f = *state;
	struct desk_receipt r = {
		.lock = "lock-1", .signer = &f->lock, .n = 1, .outcome = OUTCOME_DONE};
	uint8_t bytes[TOKEN_SMALL_MAX];
	size_t len = desk_receipt(&r, bytes);
	struct receipt receipt;
	bool is_new;

	for (size_t i = 0; i < len; i++) {
		bytes[i] ^= 4;
		assert_true(receipt_file(f->desk.db, span_of(bytes, len), "gw-1", NOW, &receipt,
					 &is_new) > 0);
		assert_false(is_new);
		bytes[i] ^= 4;
	}
	assert_int_equal(
		receipt_file(f->desk.db, span_of(bytes, len), "gw-1", NOW, &receipt, &is_new), 0);
}

static void what_the_lock_signed_outweighs_what_the_gateway_said(void **state)
{
	struct desk_fixture *f = *state;
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL);
	struct authorization a = relayed(f, &phone);
	struct desk_receipt r = {.lock = "lock-1",
				 .signer = &f->lock,
				 .n = 1,
				 .outcome = OUTCOME_DONE,
				 .via = VIA_RELAY,
				 .cti = SPAN(a.cti)};
	struct issued issued;
	bool is_new;

	must(issued_outcome(f->desk.db, SPAN(a.cti), "failed", "timeout", NOW, false));
	must(issued_find(f->desk.db, SPAN(a.cti), &issued));
	assert_string_equal(issued.outcome, "failed");
	assert_false(issued.proven);
	must(file(f, &r, &is_new));
	must(issued_find(f->desk.db, SPAN(a.cti), &issued));
	assert_string_equal(issued.outcome, "done");
	assert_true(issued.proven);
	/* and a duplicate that was refused later changes nothing */
	must(issued_outcome(f->desk.db, SPAN(a.cti), "refused", "replayed", NOW, false));
	must(issued_outcome(f->desk.db, SPAN(a.cti), "unknown", "", NOW, true));
	must(issued_find(f->desk.db, SPAN(a.cti), &issued));
	assert_string_equal(issued.outcome, "done");
}

static void unknown_becomes_what_a_later_receipt_says(void **state)
{
	struct desk_fixture *f = *state;
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL);
	struct authorization a = relayed(f, &phone);
	struct desk_receipt r = {.lock = "lock-1",
				 .signer = &f->lock,
				 .n = 1,
				 .outcome = OUTCOME_FAILED,
				 .via = VIA_RELAY,
				 .cti = SPAN(a.cti)};
	struct issued issued;
	bool is_new;

	must(issued_outcome(f->desk.db, SPAN(a.cti), "unknown", "", NOW, false));
	must(file(f, &r, &is_new));
	must(issued_find(f->desk.db, SPAN(a.cti), &issued));
	assert_string_equal(issued.outcome, "failed");
}

static void an_opening_that_the_desk_did_not_sign_is_an_alarm(void **state)
{
	struct desk_fixture *f = *state;
	const uint8_t cti[CTI_LEN] = {5};
	struct desk_receipt r = {.lock = "lock-1",
				 .signer = &f->lock,
				 .n = 1,
				 .outcome = OUTCOME_DONE,
				 .via = VIA_DOOR,
				 .cti = SPAN(cti)};
	bool is_new;

	must(file(f, &r, &is_new));
	assert_int_equal(alarms(f, "opened-by-unknown"), 1);
}

static void the_answer_to_a_reader_is_no_opening(void **state)
{
	struct desk_fixture *f = *state;
	const uint8_t cti[CTI_LEN] = {5};
	struct desk_receipt r = {.lock = "lock-1",
				 .signer = &f->lock,
				 .outcome = OUTCOME_DONE,
				 .via = VIA_DOOR,
				 .cti = SPAN(cti)};
	bool is_new;

	must(file(f, &r, &is_new));
	assert_int_equal(alarms(f, "opened-by-unknown"), 0);
}

static void an_opening_after_the_revocation_is_an_alarm(void **state)
{
	struct desk_fixture *f = *state;
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL);
	struct authorization a = relayed(f, &phone);
	struct desk_receipt r = {.lock = "lock-1",
				 .signer = &f->lock,
				 .n = 1,
				 .outcome = OUTCOME_DONE,
				 .via = VIA_RELAY,
				 .cti = SPAN(a.cti),
				 .iat = NOW + 10};
	bool is_new;

	must(file(f, &r, &is_new));
	assert_int_equal(alarms(f, "opened-when-revoked"), 0);
	must(credential_set(f->desk.db, phone.idx, STATUS_REVOKED, NOW + 20));
	r.n = 2;
	r.iat = NOW + 21;
	must(file(f, &r, &is_new));
	assert_int_equal(alarms(f, "opened-when-revoked"), 1);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, desk_fixture_setup, desk_fixture_teardown)
	const struct CMUnitTest tests[] = {
		test(a_receipt_is_filed_once_from_whichever_gateway),
		test(the_same_n_with_other_bytes_is_an_alarm),
		test(a_gap_is_counted_until_it_is_filled),
		test(a_receipt_by_another_key_is_not_believed),
		test(a_receipt_with_one_bit_changed_is_not_believed),
		test(what_the_lock_signed_outweighs_what_the_gateway_said),
		test(unknown_becomes_what_a_later_receipt_says),
		test(an_opening_that_the_desk_did_not_sign_is_an_alarm),
		test(the_answer_to_a_reader_is_no_opening),
		test(an_opening_after_the_revocation_is_an_alarm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
