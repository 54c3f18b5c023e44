// SPDX-License-Identifier: Apache-2.0
/* Event streams as the desk files them: once, in any order, and no gap or change unseen. */
#include "filing-fixture.h"

#include "desk/events.h"
#include "desk/filing.h"

#define STREAM "00112233445566778899aabbccddeeff"

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
