// SPDX-License-Identifier: Apache-2.0
/* Receipts and event streams as the desk files them: once, in any order, and nothing forged. */
#include "core/gate.h"
#include "desk-fixture.h"
#include "desk/confirm.h"
#include "desk/events.h"
#include "desk/filing.h"

#define STREAM "00112233445566778899aabbccddeeff"

/* --- helpers ---------------------------------------------------------------------------------- */

static int file(struct desk_fixture *f, const struct desk_receipt *r, bool *ret_new)
{
	uint8_t bytes[TOKEN_SMALL_MAX];
	struct receipt receipt;
	size_t len = desk_receipt(r, bytes);

	return receipt_file(f->desk.db, span_of(bytes, len), "gw-1", NOW, &receipt, ret_new);
}

static int64_t alarms(struct desk_fixture *f, const char *kind)
{
	cleanup(db_end) struct db_query q =
		db_query(f->desk.db, "SELECT count(*) FROM alarm WHERE kind = ?");

	db_bind_text(&q, kind);
	assert_int_equal(db_step(&q), 1);
	return db_int(&q, 0);
}

static struct applied applied_of(const struct document *d, const char *name)
{
	struct applied a = {.iat = d->iat};

	snprintf(a.name, sizeof(a.name), "%s", name);
	memcpy(a.digest, d->digest, DIGEST_LEN);
	return a;
}

/* A chain of events that a gateway would write. */
struct stream {
	uint64_t seq;
	uint8_t prev[SHA256_LEN];
};

static char *next_event(struct stream *s, struct event e)
{
	char *text;

	strcpy(e.stream, STREAM);
	e.seq = ++s->seq;
	memcpy(e.prev, s->prev, SHA256_LEN);
	e.time = NOW;
	text = event_encode(&e);
	assert_non_null(text);
	crypto_sha256(span_str(text), s->prev);
	return text;
}

static int take(struct desk_fixture *f, const char *gateway, const char *text, bool *ret_new)
{
	cleanup(filed_deinit) struct filed filed = {0};
	int r = event_file(f->desk.db, gateway, span_str(text), NOW, &filed);

	*ret_new = filed.is_new;
	return r;
}

static struct message_state state_of(uint64_t seq, uint64_t oldest)
{
	struct message_state s = {.seq = seq, .oldest = oldest, .stream = STREAM};

	return s;
}

/* --- receipts --------------------------------------------------------------------------------- */

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

static struct authorization relayed(struct desk_fixture *f, const struct phone *phone)
{
	static const uint8_t challenge[CHALLENGE_LEN] = {1};
	struct authorization_request request = {.phone = phone,
						.lock = "lock-1",
						.scope = SCOPE_UNLOCK,
						.now = NOW,
						.lifetime = 60,
						.challenge = challenge};
	struct authorization a;

	must(authorization_sign(&f->desk, &request, &a, f->error));
	return a;
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

/* --- proof ------------------------------------------------------------------------------------ */

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

/* --- streams ---------------------------------------------------------------------------------- */

static void events_are_filed_once_in_any_order(void **state)
{
	struct desk_fixture *f = *state;
	struct stream s = {0};
	char *events[4];
	static const int order[] = {2, 0, 3, 1, 2, 0};
	static const bool expected[] = {true, true, true, true, false, false};
	uint64_t from;
	struct message_state at;
	bool is_new;

	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		events[i] = next_event(
			&s, (struct event){.type = EVENT_LOCK_REACHABLE, .lock = "lock-1"});
	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		must(take(f, "gw-1", events[order[i]], &is_new));
		assert_int_equal(is_new, expected[i]);
	}
	at = state_of(4, 1);
	assert_int_equal(stream_missing(f->desk.db, "gw-1", &at, NOW, &from), 0);
	assert_int_equal(alarms(f, "event-chain"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		free(events[i]);
}

static void a_gap_is_asked_for_from_its_beginning(void **state)
{
	struct desk_fixture *f = *state;
	struct stream s = {0};
	struct message_state at;
	uint64_t from = 0;
	bool is_new;

	for (unsigned i = 1; i <= 5; i++) {
		cleanup(freep) char *text =
			next_event(&s, (struct event){.type = EVENT_LOCK_REACHABLE});

		if (i != 3)
			must(take(f, "gw-1", text, &is_new));
	}
	at = state_of(5, 1);
	assert_int_equal(stream_missing(f->desk.db, "gw-1", &at, NOW, &from), 1);
	assert_int_equal(from, 3);
}

static void what_no_gateway_keeps_any_more_is_an_alarm_and_not_waited_for(void **state)
{
	struct desk_fixture *f = *state;
	struct stream s = {0};
	struct message_state at;
	uint64_t from;
	bool is_new;

	for (unsigned i = 1; i <= 6; i++) {
		cleanup(freep) char *text =
			next_event(&s, (struct event){.type = EVENT_LOCK_REACHABLE});

		if (i == 1 || i > 4)
			must(take(f, "gw-1", text, &is_new));
	}
	at = state_of(6, 5);
	assert_int_equal(stream_missing(f->desk.db, "gw-1", &at, NOW, &from), 0);
	assert_int_equal(alarms(f, "events-lost"), 1);
	assert_int_equal(stream_missing(f->desk.db, "gw-1", &at, NOW, &from), 0);
	assert_int_equal(alarms(f, "events-lost"), 1);
}

static void a_changed_event_breaks_the_chain(void **state)
{
	struct desk_fixture *f = *state;
	struct stream s = {0}, forged = {0};
	bool is_new;
	char *one = next_event(&s, (struct event){.type = EVENT_LOCK_REACHABLE, .lock = "lock-1"});
	char *two = next_event(&s, (struct event){.type = EVENT_LOCK_REACHABLE, .lock = "lock-1"});
	char *other = next_event(&forged,
				 (struct event){.type = EVENT_LOCK_UNREACHABLE, .lock = "lock-1"});

	must(take(f, "gw-1", other, &is_new));
	must(take(f, "gw-1", two, &is_new));
	assert_int_equal(alarms(f, "event-chain"), 1);
	/* the true first one comes: its number is taken by another */
	must(take(f, "gw-1", one, &is_new));
	assert_false(is_new);
	assert_int_equal(alarms(f, "event-fork"), 1);
	free(one);
	free(two);
	free(other);
}

static void a_stream_that_another_gateway_goes_on_with_is_an_alarm(void **state)
{
	struct desk_fixture *f = *state;
	struct stream s = {0};
	char *one = next_event(&s, (struct event){.type = EVENT_STARTED});
	char *two = next_event(&s, (struct event){.type = EVENT_STARTED});
	struct message_state at = state_of(1, 1);
	uint64_t from;
	bool is_new;

	must(gateway_add(f->desk.db, "gw-2", NOW));
	must(take(f, "gw-1", one, &is_new));
	/* the copy says what it holds, before it has anything to tell */
	assert_int_equal(stream_missing(f->desk.db, "gw-2", &at, NOW, &from), 0);
	assert_int_equal(alarms(f, "stream-moved"), 1);
	must(take(f, "gw-2", two, &is_new));
	assert_int_equal(alarms(f, "stream-moved"), 1);
	free(one);
	free(two);
}

static void trimmed_events_are_not_filed_again_and_the_chain_goes_on(void **state)
{
	struct desk_fixture *f = *state;
	struct stream s = {0}, forged = {0};
	char *events[4];
	bool is_new;

	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		events[i] = next_event(&s, (struct event){.type = EVENT_LOCK_REACHABLE});
	for (size_t i = 0; i < 3; i++)
		must(take(f, "gw-1", events[i], &is_new));
	must(events_trim(f->desk.db, NOW + 1));
	must(take(f, "gw-1", events[0], &is_new));
	assert_false(is_new);
	must(take(f, "gw-1", events[3], &is_new));
	assert_true(is_new);
	assert_int_equal(alarms(f, "event-chain"), 0);
	/* what follows is still checked against the last */
	forged.seq = 4;
	free(events[0]);
	events[0] = next_event(&forged, (struct event){.type = EVENT_LOCK_REACHABLE});
	must(take(f, "gw-1", events[0], &is_new));
	assert_int_equal(alarms(f, "event-chain"), 1);
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		free(events[i]);
}

static void rubbish_and_strangers_are_not_filed(void **state)
{
	struct desk_fixture *f = *state;
	struct stream s = {0};
	char *one = next_event(&s, (struct event){.type = EVENT_STARTED});
	bool is_new;

	assert_int_equal(take(f, "gw-9", one, &is_new), REASON_WRONG_TOPIC);
	assert_int_equal(take(f, "gw-1", "{\"seq\":1}", &is_new), REASON_MALFORMED);
	assert_int_equal(take(f, "gw-1", "", &is_new), REASON_MALFORMED);
	assert_int_equal(alarms(f, "event-malformed"), 1);
	free(one);
}

static void an_event_brings_its_receipt_and_the_outcome(void **state)
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
	struct event e = {.type = EVENT_AUTHORIZATION_OUTCOME,
			  .lock = "lock-1",
			  .has_cti = true,
			  .outcome = OUTCOME_DONE};
	uint8_t bytes[TOKEN_SMALL_MAX];
	struct stream s = {0};
	struct issued issued;
	struct filed filed;
	char *text;

	memcpy(e.cti, a.cti, CTI_LEN);
	e.receipt = span_of(bytes, desk_receipt(&r, bytes));
	text = next_event(&s, e);
	must(event_file(f->desk.db, "gw-1", span_str(text), NOW, &filed));
	assert_true(filed.is_new && filed.has_receipt && filed.receipt_is_new);
	must(issued_find(f->desk.db, SPAN(a.cti), &issued));
	assert_string_equal(issued.outcome, "done");
	assert_true(issued.proven);
	filed_deinit(&filed);
	free(text);
}

static void a_strangers_event_costs_the_batch_nothing(void **state)
{
	struct desk_fixture *f = *state;
	cleanup(db_rollbackp) struct db *batch = NULL;
	struct stream s = {0};
	cleanup(freep) char *first = next_event(&s, (struct event){.type = EVENT_STARTED});
	cleanup(freep) char *second = next_event(&s, (struct event){.type = EVENT_STARTED});
	bool is_new;

	must(db_begin(f->desk.db, &batch));
	must(take(f, "gw-1", first, &is_new));
	assert_true(is_new);
	assert_int_equal(take(f, "gw-9", second, &is_new), REASON_WRONG_TOPIC);
	must(take(f, "gw-1", second, &is_new));
	assert_true(is_new);
	must(db_commit(&batch));
	must(take(f, "gw-1", first, &is_new));
	assert_false(is_new);
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
		test(a_lock_counts_by_its_receipt_with_the_highest_n),
		test(a_receipt_counts_before_it_is_filed),
		test(a_lock_that_was_released_has_nothing_to_prove_until_it_is_claimed_again),
		test(a_removed_locks_name_is_not_for_other_hardware),
		test(a_digest_that_the_desk_did_not_sign_proves_nothing),
		test(a_gateway_counts_by_its_state),
		test(events_are_filed_once_in_any_order),
		test(a_gap_is_asked_for_from_its_beginning),
		test(what_no_gateway_keeps_any_more_is_an_alarm_and_not_waited_for),
		test(a_changed_event_breaks_the_chain),
		test(a_stream_that_another_gateway_goes_on_with_is_an_alarm),
		test(trimmed_events_are_not_filed_again_and_the_chain_goes_on),
		test(rubbish_and_strangers_are_not_filed),
		test(a_strangers_event_costs_the_batch_nothing),
		test(an_event_brings_its_receipt_and_the_outcome),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
