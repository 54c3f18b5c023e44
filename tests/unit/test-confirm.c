// SPDX-License-Identifier: Apache-2.0
/* What counts as proof that a document is in force: a lock's signature, a gateway's state. */
#include "filing-fixture.h"

#include "desk/confirm.h"

static struct applied applied_of(const struct document *d, const char *name)
{
	struct applied a = {.iat = d->iat};

	snprintf(a.name, sizeof(a.name), "%s", name);
	memcpy(a.digest, d->digest, DIGEST_LEN);
	return a;
}

static void expect_counts(const struct confirm *c, size_t locks, size_t gateways)
{
	struct confirm_counts counts;

	confirm_counts(c, &counts);
	assert_int_equal(counts.locks, locks);
	assert_int_equal(counts.gateways, gateways);
}

static void a_lock_counts_by_its_receipt_with_the_highest_n(void **state)
{
	struct desk_fixture *f = *state;
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL);
	struct confirm_target target = {.slot = LIST_SLOT, .nindexes = 1, .bad = true};
	cleanup(confirm_freep) struct confirm *c = NULL;
	struct document before = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE), after;
	struct desk_receipt r = {
		.lock = "lock-1", .signer = &f->lock, .outcome = OUTCOME_APPLIED, .napplied = 1};
	bool is_new;

	target.indexes[0] = phone.idx;
	must(credential_set(f->desk.db, phone.idx, STATUS_REVOKED, NOW));
	assert_int_equal(sign_list(&f->desk, NOW, false, f->error), 1);
	after = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE);
	must(confirm_new(f->desk.db, &target, &c));
	expect_counts(c, 0, 0);

	/* the newer receipt comes first, then an older one: order of arrival is nothing */
	r.n = 2;
	r.applied[0] = applied_of(&after, "phones");
	must(file(f, &r, &is_new));
	must(confirm_locks(c));
	expect_counts(c, 1, 0);
	r.n = 1;
	r.applied[0] = applied_of(&before, "phones");
	must(file(f, &r, &is_new));
	must(confirm_locks(c));
	expect_counts(c, 1, 0);
	/* what the lock says later counts, also when it is worse */
	r.n = 3;
	must(file(f, &r, &is_new));
	must(confirm_locks(c));
	expect_counts(c, 0, 0);
	document_deinit(&before);
	document_deinit(&after);
}

static void a_receipt_counts_before_it_is_filed(void **state)
{
	struct desk_fixture *f = *state;
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL);
	struct confirm_target target = {.slot = LIST_SLOT, .nindexes = 1, .bad = true};
	cleanup(confirm_freep) struct confirm *c = NULL;
	struct document before = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE), after;
	struct desk_receipt r = {.lock = "lock-1",
				 .signer = &f->lock,
				 .n = 5,
				 .outcome = OUTCOME_APPLIED,
				 .napplied = 1};
	uint8_t bytes[TOKEN_SMALL_MAX];
	struct receipt good;
	bool is_new;

	target.indexes[0] = phone.idx;
	must(credential_set(f->desk.db, phone.idx, STATUS_REVOKED, NOW));
	assert_int_equal(sign_list(&f->desk, NOW, false, f->error), 1);
	after = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE);
	must(confirm_new(f->desk.db, &target, &c));
	assert_int_equal(confirm_filed(c), 1);
	r.applied[0] = applied_of(&after, "phones");
	must(receipt_read(f->desk.db, span_of(bytes, desk_receipt(&r, bytes)), &good));
	must(confirm_receipt(c, &good));
	expect_counts(c, 1, 0);
	assert_int_equal(confirm_filed(c), 0);

	/* an older one is filed meanwhile, or comes late: order of arrival is nothing here either */
	r.n = 4;
	r.applied[0] = applied_of(&before, "phones");
	must(file(f, &r, &is_new));
	must(confirm_locks(c));
	expect_counts(c, 1, 0);
	must(receipt_read(f->desk.db, span_of(bytes, desk_receipt(&r, bytes)), &good));
	must(confirm_receipt(c, &good));
	expect_counts(c, 1, 0);
	assert_int_equal(confirm_filed(c), 0);

	r.n = 5;
	r.applied[0] = applied_of(&after, "phones");
	must(file(f, &r, &is_new));
	assert_int_equal(confirm_filed(c), 1);
	expect_counts(c, 1, 0);
	/* what is filed with a higher number counts, also when it is worse */
	r.n = 6;
	r.applied[0] = applied_of(&before, "phones");
	must(file(f, &r, &is_new));
	must(confirm_locks(c));
	expect_counts(c, 0, 0);
	document_deinit(&before);
	document_deinit(&after);
}

static void a_lock_that_was_released_has_nothing_to_prove_until_it_is_claimed_again(void **state)
{
	struct desk_fixture *f = *state;
	struct confirm_target target = {.slot = LIST_SLOT, .nindexes = 1, .bad = true};
	cleanup(confirm_freep) struct confirm *before = NULL;
	cleanup(confirm_freep) struct confirm *after = NULL;
	cleanup(confirm_freep) struct confirm *again = NULL;
	struct desk_receipt r = {
		.lock = "lock-1", .signer = &f->lock, .n = 7, .outcome = OUTCOME_CLAIMED};
	struct confirm_counts counts;
	bool is_new;

	must(file(f, &r, &is_new));
	assert_int_equal(receipt_released(f->desk.db, "lock-1"), 0);
	must(confirm_new(f->desk.db, &target, &before));
	confirm_counts(before, &counts);
	assert_int_equal(counts.locks_of, 1);

	/* released while a revocation is followed: done with it, too */
	r.n = 8;
	r.outcome = OUTCOME_RELEASED;
	must(file(f, &r, &is_new));
	assert_int_equal(receipt_released(f->desk.db, "lock-1"), 1);
	must(confirm_locks(before));
	expect_counts(before, 1, 0);
	must(confirm_new(f->desk.db, &target, &after));
	confirm_counts(after, &counts);
	assert_int_equal(counts.locks_of, 0);

	r.n = 9;
	r.outcome = OUTCOME_CLAIMED;
	must(file(f, &r, &is_new));
	assert_int_equal(receipt_released(f->desk.db, "lock-1"), 0);
	must(confirm_new(f->desk.db, &target, &again));
	confirm_counts(again, &counts);
	assert_int_equal(counts.locks_of, 1);
	assert_int_equal(receipt_released(f->desk.db, "lock-9"), 0);
}

static void a_removed_locks_name_is_not_for_other_hardware(void **state)
{
	struct desk_fixture *f = *state;
	struct desk_receipt r = {
		.lock = "lock-1", .signer = &f->lock, .n = 7, .outcome = OUTCOME_APPLIED};
	struct lock_row row;
	struct signer other;
	bool is_new;

	signer_from_seed((uint8_t[SEED_LEN]){9}, &other);
	assert_int_equal(receipt_fits(f->desk.db, "lock-1", other.pub), 1); /* nothing filed yet */
	must(file(f, &r, &is_new));
	must(lock_remove(f->desk.db, "lock-1"));
	assert_int_equal(lock_find(f->desk.db, "lock-1", &row), -ENOENT);
	assert_int_equal(lock_remove(f->desk.db, "lock-1"), -ENOENT);
	assert_int_equal(receipt_fits(f->desk.db, "lock-1", other.pub), 0);
	assert_int_equal(receipt_fits(f->desk.db, "lock-1", f->lock.pub), 1);
	desk_fixture_add_lock(f, "lock-1", &f->lock); /* it was found again */
	assert_int_equal(receipt_released(f->desk.db, "lock-1"), 0);
}

static void a_digest_that_the_desk_did_not_sign_proves_nothing(void **state)
{
	struct desk_fixture *f = *state;
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL);
	struct confirm_target target = {.slot = LIST_SLOT, .nindexes = 1, .bad = true};
	cleanup(confirm_freep) struct confirm *c = NULL;
	struct document after;
	struct desk_receipt r = {.lock = "lock-1",
				 .signer = &f->lock,
				 .n = 1,
				 .outcome = OUTCOME_APPLIED,
				 .napplied = 1};
	bool is_new;

	target.indexes[0] = phone.idx;
	must(credential_set(f->desk.db, phone.idx, STATUS_REVOKED, NOW));
	assert_int_equal(sign_list(&f->desk, NOW, false, f->error), 1);
	after = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE);
	must(confirm_new(f->desk.db, &target, &c));
	r.applied[0] = applied_of(&after, "phones");
	r.applied[0].digest[0] ^= 1;
	must(file(f, &r, &is_new));
	must(confirm_locks(c));
	expect_counts(c, 0, 0);
	/* the right digest under a wrong time, or another name */
	r.n = 2;
	r.applied[0] = applied_of(&after, "phones");
	r.applied[0].iat++;
	must(file(f, &r, &is_new));
	must(confirm_locks(c));
	expect_counts(c, 0, 0);
	r.n = 3;
	r.applied[0] = applied_of(&after, "other");
	must(file(f, &r, &is_new));
	must(confirm_locks(c));
	expect_counts(c, 0, 0);
	r.n = 4;
	r.applied[0] = applied_of(&after, "phones");
	must(file(f, &r, &is_new));
	must(confirm_locks(c));
	expect_counts(c, 1, 0);
	document_deinit(&after);
}

static void a_gateway_counts_by_its_state(void **state)
{
	struct desk_fixture *f = *state;
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL);
	struct confirm_target target = {.slot = LIST_SLOT, .nindexes = 1, .bad = true};
	cleanup(confirm_freep) struct confirm *c = NULL;
	struct document before = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE), after;
	struct message_state *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	target.indexes[0] = phone.idx;
	must(credential_set(f->desk.db, phone.idx, STATUS_SUSPENDED, NOW));
	assert_int_equal(sign_list(&f->desk, NOW, false, f->error), 1);
	after = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE);
	must(confirm_new(f->desk.db, &target, &c));
	s->ndocuments = 1;
	s->documents[0] =
		(struct message_document){.is = applied_of(&before, "phones"), .list = true};
	must(confirm_gateway(c, "gw-1", s));
	expect_counts(c, 0, 0);
	s->documents[0].is = applied_of(&after, "phones");
	must(confirm_gateway(c, "gw-1", s));
	expect_counts(c, 0, 1);
	must(confirm_gateway(c, "gw-9", s));
	expect_counts(c, 0, 1);
	document_deinit(&before);
	document_deinit(&after);
	free(s);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, desk_fixture_setup, desk_fixture_teardown)
	const struct CMUnitTest tests[] = {
		test(a_lock_counts_by_its_receipt_with_the_highest_n),
		test(a_receipt_counts_before_it_is_filed),
		test(a_lock_that_was_released_has_nothing_to_prove_until_it_is_claimed_again),
		test(a_removed_locks_name_is_not_for_other_hardware),
		test(a_digest_that_the_desk_did_not_sign_proves_nothing),
		test(a_gateway_counts_by_its_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
