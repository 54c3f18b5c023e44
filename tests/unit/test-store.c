/* SPDX-License-Identifier: Apache-2.0 */
/* store: what a gateway must not forget. Damage and power cuts are in test-store-damage.c. */
#include "fixture.h"

#include "core/crypto.h"
#include "link/store.h"

#define NOW 1800000000U

struct files {
	char dir[64], path[128], error[600];
	struct store_options options;
	struct store *store;
};

static void reopen(struct files *f)
{
	store_close(f->store);
	f->store = NULL;
	if (store_open(&f->options, &f->store) != 0)
		fail_msg("%s", f->error);
}

static int setup(void **state)
{
	struct files *f = calloc(1, sizeof(*f));

	assert_int_equal(crypto_init(), 0);
	fixture_dir(f->dir);
	snprintf(f->path, sizeof(f->path), "%s/store.db", f->dir);
	f->options = (struct store_options){
		.path = f->path,
		.event_bytes_max = 1 << 20,
		.event_keep_s = 1000,
		.error = f->error,
		.error_cap = sizeof(f->error),
	};
	reopen(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct files *f = *state;

	store_close(f->store);
	fixture_dir_remove(f->dir);
	free(f);
	return 0;
}

/* --- values and documents --- */

static void values_are_kept(void **state)
{
	struct files *f = *state;
	uint8_t buf[64];
	size_t len = 99;

	assert_int_equal(store_get_value(f->store, "floor", buf, sizeof(buf), &len), -ENOENT);
	assert_int_equal(store_put_value(f->store, "floor", span_str("123")), 0);
	assert_int_equal(store_put_value(f->store, "floor", span_str("45678")), 0);
	assert_int_equal(store_put_value(f->store, "empty", span_str("")), 0);
	reopen(f);
	assert_int_equal(store_get_value(f->store, "floor", buf, sizeof(buf), &len), 0);
	assert_true(span_is(span_of(buf, len), "45678"));
	assert_int_equal(store_get_value(f->store, "empty", buf, sizeof(buf), &len), 0);
	assert_int_equal(len, 0);
	assert_int_equal(store_get_value(f->store, "floor", buf, 4, &len), -ENOSPC);
}

static void the_stores_own_values_are_its_own(void **state)
{
	struct files *f = *state;

	assert_int_equal(store_put_value(f->store, "stream", span_str("x")), -EINVAL);
	assert_int_equal(store_put_value(f->store, "head", span_str("x")), -EINVAL);
	assert_int_equal(store_put_value(f->store, "manifest", span_str("x")), -EINVAL);
}

static void a_stream_is_random_and_stays(void **state)
{
	struct files *f = *state;
	char first[33];

	assert_int_equal(strlen(store_stream(f->store)), 32);
	strcpy(first, store_stream(f->store));
	reopen(f);
	assert_string_equal(store_stream(f->store), first);
	store_close(f->store);
	f->store = NULL;
	assert_int_equal(unlink(f->path), 0);
	reopen(f);
	assert_string_not_equal(store_stream(f->store), first);
}

struct seen {
	char text[512];
	int stop;
};

static int see_document(const char *slot, struct span document, struct span under, void *user)
{
	struct seen *seen = user;
	size_t len = strlen(seen->text);

	snprintf(seen->text + len, sizeof(seen->text) - len, "%s=%.*s/%.*s ", slot,
		 (int)document.len, (const char *)document.data, (int)under.len,
		 (const char *)under.data);
	return seen->stop;
}

static void documents_come_back_in_order(void **state)
{
	struct files *f = *state;
	struct seen seen = {0};

	assert_int_equal(store_put_document(f->store, "policy", 2, span_str("P"), span_str("U")),
			 0);
	assert_int_equal(
		store_put_document(f->store, "list/staff", 3, span_str("L"), (struct span){0}), 0);
	assert_int_equal(store_put_document(f->store, "keys/b", 1, span_str("KB"), span_str("")),
			 0);
	assert_int_equal(store_put_document(f->store, "keys/a", 0, span_str("KA"), span_str("")),
			 0);
	assert_int_equal(
		store_put_document(f->store, "list/staff", 3, span_str("L2"), span_str("")), 0);
	assert_int_equal(store_put_document(f->store, "pending/x", 9, span_str("?"), span_str("")),
			 0);
	assert_int_equal(store_delete_document(f->store, "pending/x"), 0);
	assert_int_equal(store_delete_document(f->store, "pending/x"), -ENOENT);
	reopen(f);
	assert_int_equal(store_each_document(f->store, see_document, &seen), 0);
	assert_string_equal(seen.text, "keys/a=KA/ keys/b=KB/ policy=P/U list/staff=L2/ ");
	seen = (struct seen){.stop = -EINTR};
	assert_int_equal(store_each_document(f->store, see_document, &seen), -EINTR);
	assert_string_equal(seen.text, "keys/a=KA/ ");
}

static void documents_of_one_kind_are_read_alone(void **state)
{
	struct files *f = *state;
	struct seen seen = {0};
	const struct span none = span_str("");

	assert_int_equal(store_put_document(f->store, "reader/b", 2, span_str("B"), none), 0);
	assert_int_equal(store_put_document(f->store, "readers", 0, span_str("X"), none), 0);
	assert_int_equal(store_put_document(f->store, "list/reader/", 0, span_str("L"), none), 0);
	assert_int_equal(store_put_document(f->store, "reader/a", 1, span_str("A"), none), 0);
	assert_int_equal(store_each_document_of(f->store, "reader/", see_document, &seen), 0);
	assert_string_equal(seen.text, "reader/a=A/ reader/b=B/ ");
}

static void the_largest_document_fits(void **state)
{
	struct files *f = *state;
	static uint8_t large[TOKEN_LIST_MAX];

	for (int i = 0; i < 4; i++) {
		char slot[32];

		snprintf(slot, sizeof(slot), "list/%d", i);
		crypto_random(large, sizeof(large));
		assert_int_equal(
			store_put_document(f->store, slot, 3, SPAN(large), (struct span){0}), 0);
	}
	reopen(f);
}

/* --- authorizations and events --- */

static struct store_authorization auth_of(uint8_t number)
{
	struct store_authorization auth = {
		.lock = "lock-1",
		.exp = NOW + 60U + number,
		.phase = STORE_ACCEPTED,
		.first = "pending",
		.scope = SCOPE_UNLOCK,
		.correlation = {1, 2, 3},
		.correlation_len = 3,
	};

	memset(auth.cti, number, CTI_LEN);
	return auth;
}

static void changes_of_one_transaction_are_all_there_or_none(void **state)
{
	struct files *f = *state;
	struct store *tx = NULL, *inner = NULL;
	struct seen seen = {0};
	uint8_t buf[4];
	size_t len;

	assert_int_equal(store_put_document(f->store, "keys/a", 0, span_str("A"), span_str("")), 0);
	assert_int_equal(store_begin(f->store, &tx), 0);
	assert_int_equal(store_begin(f->store, &inner), -EINVAL);
	assert_int_equal(store_delete_documents(f->store, "keys/"), 0);
	assert_int_equal(store_put_document(f->store, "keys/b", 0, span_str("B"), span_str("")), 0);
	assert_int_equal(store_put_value(f->store, "anchor", span_str("b")), 0);
	store_rollbackp(&tx); /* a crash would do no less */
	reopen(f);
	assert_int_equal(store_each_document(f->store, see_document, &seen), 0);
	assert_string_equal(seen.text, "keys/a=A/ ");
	assert_int_equal(store_get_value(f->store, "anchor", buf, sizeof(buf), &len), -ENOENT);

	assert_int_equal(store_begin(f->store, &tx), 0);
	assert_int_equal(store_delete_documents(f->store, "keys/"), 0);
	assert_int_equal(store_delete_documents(f->store, "keys/"), 0);
	assert_int_equal(store_put_document(f->store, "keys/b", 0, span_str("B"), span_str("")), 0);
	assert_int_equal(store_put_document(f->store, "key", 0, span_str("K"), span_str("")), 0);
	assert_int_equal(store_put_value(f->store, "anchor", span_str("b")), 0);
	assert_int_equal(store_commit(&tx), 0);
	assert_null(tx);
	reopen(f);
	seen.text[0] = 0;
	assert_int_equal(store_each_document(f->store, see_document, &seen), 0);
	assert_string_equal(seen.text, "key=K/ keys/b=B/ ");
	assert_int_equal(store_get_value(f->store, "anchor", buf, sizeof(buf), &len), 0);
}

static void a_new_store_knows_that_it_follows_a_damaged_one(void **state)
{
	struct files *f = *state;
	uint8_t flag;
	size_t len;

	assert_int_equal(store_get_value(f->store, "damaged", &flag, 1, &len), -ENOENT);
	f->options.damaged = true;
	reopen(f); /* not a new one */
	assert_int_equal(store_get_value(f->store, "damaged", &flag, 1, &len), -ENOENT);
	store_close(f->store);
	f->store = NULL;
	assert_int_equal(unlink(f->path), 0);
	reopen(f);
	assert_int_equal(store_get_value(f->store, "damaged", &flag, 1, &len), 0);
	assert_int_equal(flag, '1');
}

static void a_store_without_a_disk_lives_in_memory(void **state)
{
	struct files *f = *state;
	struct store_options options = f->options;
	cleanup(store_closep) struct store *store = NULL;
	struct seen seen = {0};
	uint8_t prev[SHA256_LEN];
	uint64_t seq;

	options.path = NULL;
	assert_int_equal(store_open(&options, &store), 0);
	assert_string_not_equal(store_stream(store), store_stream(f->store));
	assert_int_equal(store_put_document(store, "policy", 2, span_str("P"), span_str("U")), 0);
	assert_int_equal(store_each_document(store, see_document, &seen), 0);
	assert_string_equal(seen.text, "policy=P/U ");
	assert_int_equal(store_event_next(store, &seq, prev), 0);
	assert_int_equal(store_event(store, seq, "{}", (struct span){0}, 5), 0);
}

static void a_cti_is_taken_once(void **state)
{
	struct files *f = *state;
	struct store_authorization auth = auth_of(1), other = auth_of(1), found;
	uint64_t oldest, newest, open;

	assert_int_equal(store_find(f->store, auth.cti, &found), -ENOENT);
	assert_int_equal(store_accept(f->store, &auth, "{\"accepted\"}"), 0);
	strcpy(other.lock, "lock-2");
	assert_int_equal(store_accept(f->store, &other, "{\"again\"}"), -EEXIST);
	reopen(f);
	assert_int_equal(store_accept(f->store, &other, "{\"again\"}"), -EEXIST);
	assert_int_equal(store_find(f->store, auth.cti, &found), 0);
	assert_memory_equal(&found, &auth, sizeof(auth));
	/* and no event says otherwise */
	assert_int_equal(store_event_stats(f->store, &oldest, &newest, &open), 0);
	assert_int_equal(newest, 1);
	assert_int_equal(open, 1);
}

static void a_phase_moves_with_its_event(void **state)
{
	struct files *f = *state;
	struct store_authorization auth = auth_of(1), found;
	uint64_t oldest, newest, open;

	assert_int_equal(store_phase(f->store, auth.cti, STORE_UNKNOWN, NULL, NULL), -ENOENT);
	assert_int_equal(store_accept(f->store, &auth, NULL), 0);
	assert_int_equal(store_phase(f->store, auth.cti, STORE_UNKNOWN, NULL, NULL), 0);
	assert_int_equal(store_find(f->store, auth.cti, &found), 0);
	assert_int_equal(found.phase, STORE_UNKNOWN);
	assert_string_equal(found.first, "pending");
	assert_int_equal(
		store_phase(f->store, auth.cti, STORE_DONE, "a word that is too long", "{}"),
		-EINVAL);
	assert_int_equal(store_phase(f->store, auth.cti, STORE_DONE, "failed", "{}"), 0);
	reopen(f);
	assert_int_equal(store_find(f->store, auth.cti, &found), 0);
	assert_int_equal(found.phase, STORE_DONE);
	assert_string_equal(found.first, "failed");
	assert_int_equal(found.exp, auth.exp);
	assert_int_equal(store_event_stats(f->store, &oldest, &newest, &open), 0);
	assert_int_equal(newest, 1);
}

struct closing {
	struct store *store;
	int n;
};

static int make_unknown(const struct store_authorization *auth, void *user)
{
	struct closing *c = user;

	c->n++;
	return store_phase(c->store, auth->cti, STORE_UNKNOWN, "unknown", "{}");
}

static void open_ones_are_found_at_start_and_may_be_changed(void **state)
{
	static const enum store_phase phases[] = {STORE_ACCEPTED, STORE_DONE, STORE_ACCEPTED,
						  STORE_UNKNOWN};
	struct files *f = *state;
	struct closing c;

	for (uint8_t i = 0; i < ARRAY_SIZE(phases); i++) {
		struct store_authorization auth = auth_of(i);

		auth.phase = phases[i];
		assert_int_equal(store_accept(f->store, &auth, NULL), 0);
	}
	reopen(f);
	c = (struct closing){.store = f->store};
	assert_int_equal(store_each_open(f->store, make_unknown, &c), 0);
	assert_int_equal(c.n, 3);
}

static void old_ctis_are_forgotten_but_none_that_is_open(void **state)
{
	static const enum store_phase phases[] = {STORE_ACCEPTED, STORE_ACCEPTED, STORE_UNKNOWN,
						  STORE_DONE};
	struct files *f = *state;
	struct store_authorization found;

	for (uint8_t i = 0; i < 8; i++) {
		struct store_authorization auth = auth_of(i);

		auth.phase = phases[i % 4];
		assert_int_equal(store_accept(f->store, &auth, NULL), 0);
	}
	assert_int_equal(store_forget(f->store, NOW), 0);
	/* 0 to 5 are older: of them 2 and 3 are closed */
	assert_int_equal(store_forget(f->store, NOW + 60 + 6), 2);
	for (uint8_t i = 0; i < 8; i++) {
		struct store_authorization auth = auth_of(i);

		assert_int_equal(store_find(f->store, auth.cti, &found),
				 i == 2 || i == 3 ? -ENOENT : 0);
	}
	reopen(f);
}

static void put_event(struct files *f, uint64_t now, size_t len)
{
	char payload[4096];
	uint8_t prev[SHA256_LEN];
	uint64_t seq;

	assert_int_equal(store_event_next(f->store, &seq, prev), 0);
	assert_in_range(len, 32, sizeof(payload) - 1);
	memset(payload, '.', len);
	payload[len] = '\0';
	payload[snprintf(payload, sizeof(payload), "{\"seq\":%u}", (unsigned)seq)] = '.';
	assert_int_equal(store_event(f->store, seq, payload, span_str("corr"), now), 0);
}

struct chain {
	uint64_t first, next;
	size_t n, stop;
	uint8_t prev[SHA256_LEN];
};

static int follow(const struct store_row *row, void *user)
{
	struct chain *c = user;

	if (c->n == 0)
		c->first = row->seq;
	else
		assert_int_equal(row->seq, c->next);
	c->next = row->seq + 1;
	c->n++;
	crypto_sha256(row->payload, c->prev);
	return c->stop && c->n == c->stop;
}

static struct chain events(struct files *f, uint64_t from, size_t limit, bool open, size_t stop)
{
	struct chain c = {.stop = stop};

	assert_int_equal(store_each_event(f->store, from, limit, open, follow, &c), 0);
	return c;
}

static void events_are_numbered_and_chained(void **state)
{
	static const uint8_t zeros[SHA256_LEN];
	struct files *f = *state;
	uint8_t prev[SHA256_LEN];
	struct chain c;
	uint64_t seq;

	assert_int_equal(store_event_next(f->store, &seq, prev), 0);
	assert_int_equal(seq, 1);
	assert_memory_equal(prev, zeros, SHA256_LEN);
	assert_int_equal(store_event(f->store, 2, "{}", (struct span){0}, NOW), -EINVAL);
	for (int i = 0; i < 10; i++) {
		put_event(f, NOW, 40);
		c = events(f, 0, 100, false, 0);
		assert_int_equal(store_event_next(f->store, &seq, prev), 0);
		assert_int_equal(seq, c.next);
		assert_memory_equal(prev, c.prev, SHA256_LEN);
		if (i == 5)
			reopen(f);
	}
	assert_int_equal(c.n, 10);
	assert_int_equal(events(f, 4, 3, false, 0).n, 3);
	assert_int_equal(events(f, 4, 3, false, 0).first, 4);
	assert_int_equal(events(f, 0, 100, false, 2).n, 2);
	assert_int_equal(events(f, 11, 100, false, 0).n, 0);
}

static void acknowledged_events_are_not_sent_again_but_on_replay(void **state)
{
	struct files *f = *state;
	uint64_t oldest, newest, open;

	for (int i = 0; i < 6; i++)
		put_event(f, NOW, 40);
	for (uint64_t seq = 1; seq <= 4; seq++)
		assert_int_equal(store_acked(f->store, seq), 0);
	assert_int_equal(store_acked(f->store, 7), -ENOENT);
	reopen(f);
	assert_int_equal(events(f, 0, 100, true, 0).first, 5);
	assert_int_equal(store_event_stats(f->store, &oldest, &newest, &open), 0);
	assert_int_equal(oldest, 1);
	assert_int_equal(newest, 6);
	assert_int_equal(open, 2);
	assert_int_equal(store_replay(f->store, 3), 2);
	assert_int_equal(events(f, 0, 100, true, 0).first, 3);
	assert_int_equal(events(f, 0, 100, true, 0).n, 4);
	assert_int_equal(store_replay(f->store, UINT64_MAX), 0);
	assert_int_equal(store_replay(f->store, 0), 2);
}

static void acknowledged_events_stay_for_their_time(void **state)
{
	struct files *f = *state;
	uint64_t dropped = 99;

	for (int i = 0; i < 6; i++)
		put_event(f, NOW + (uint64_t)i * 100, 40);
	for (uint64_t seq = 1; seq <= 3; seq++)
		assert_int_equal(store_acked(f->store, seq), 0);
	assert_int_equal(store_trim(f->store, NOW + 1000, &dropped), 0);
	assert_int_equal(dropped, 0);
	assert_int_equal(events(f, 0, 100, false, 0).first, 1);
	assert_int_equal(store_trim(f->store, NOW + 1101, &dropped), 0);
	assert_int_equal(events(f, 0, 100, false, 0).first, 3);
	assert_int_equal(store_trim(f->store, NOW + 1000000, &dropped), 0);
	assert_int_equal(dropped, 0);
	/* 4 to 6 have no PUBACK: time alone drops none of them */
	assert_int_equal(events(f, 0, 100, false, 0).first, 4);
	assert_int_equal(events(f, 0, 100, false, 0).n, 3);
	reopen(f);
	assert_int_equal(store_trim(f->store, 5, &dropped), 0);
	assert_int_equal(events(f, 0, 100, false, 0).n, 3);
}

static void the_disk_bound_drops_the_oldest_and_counts_them(void **state)
{
	struct files *f = *state;
	uint64_t dropped = 99, oldest, newest, open, seq;
	uint8_t prev[SHA256_LEN];

	f->options.event_bytes_max = 10000;
	reopen(f);
	for (int i = 0; i < 30; i++)
		put_event(f, NOW, 1000);
	for (uint64_t i = 3; i <= 7; i++)
		assert_int_equal(store_acked(f->store, i), 0);
	assert_int_equal(store_trim(f->store, NOW, &dropped), 0);
	/* 20 have to go: the 5 that the city has, then the oldest 15 */
	assert_int_equal(dropped, 15);
	assert_int_equal(store_event_stats(f->store, &oldest, &newest, &open), 0);
	assert_int_equal(oldest, 21);
	assert_int_equal(newest, 30);
	assert_int_equal(open, 10);
	assert_int_equal(store_trim(f->store, NOW, &dropped), 0);
	assert_int_equal(dropped, 0);
	reopen(f);
	/* the numbers go on, also when all are gone */
	f->options.event_bytes_max = 1;
	reopen(f);
	assert_int_equal(store_trim(f->store, NOW, &dropped), 0);
	assert_int_equal(dropped, 10);
	reopen(f);
	assert_int_equal(store_event_next(f->store, &seq, prev), 0);
	assert_int_equal(seq, 31);
	put_event(f, NOW, 50);
	assert_int_equal(events(f, 0, 10, true, 0).first, 31);
}

static void thousands_are_dropped_in_bounded_steps(void **state)
{
	struct files *f = *state;
	uint64_t dropped;

	f->options.event_bytes_max = 4000;
	reopen(f);
	for (int i = 0; i < 600; i++)
		put_event(f, NOW, 40);
	assert_int_equal(store_trim(f->store, NOW, &dropped), 0);
	assert_int_equal(dropped, 500);
	assert_int_equal(events(f, 0, 1000, false, 0).n, 100);
	reopen(f);
}

/* --- locks --- */

static void the_state_of_a_lock_is_kept(void **state)
{
	struct files *f = *state;
	struct store_lock lock = {
		.n = 77,
		.has_challenge = true,
		.challenge = {1, 2, 3, 4, 5, 6, 7, 8},
		.bolt = 3,
		.has_battery = true,
		.battery = 55,
		.seen = NOW,
		.applied = {9, 8, 7},
		.applied_len = 3,
	};
	struct store_lock back, empty = {0};

	assert_int_equal(store_get_lock(f->store, "lock-1", &back), -ENOENT);
	assert_int_equal(store_put_lock(f->store, "lock-1", &lock), 0);
	assert_int_equal(store_put_lock(f->store, "lock-2", &empty), 0);
	reopen(f);
	assert_int_equal(store_get_lock(f->store, "lock-1", &back), 0);
	assert_memory_equal(&back, &lock, sizeof(lock));
	assert_int_equal(store_get_lock(f->store, "lock-2", &back), 0);
	assert_memory_equal(&back, &empty, sizeof(lock));
	memset(lock.applied, 0xaa, sizeof(lock.applied));
	lock.applied_len = sizeof(lock.applied);
	assert_int_equal(store_put_lock(f->store, "lock-1", &lock), 0);
	assert_int_equal(store_get_lock(f->store, "lock-1", &back), 0);
	assert_memory_equal(&back, &lock, sizeof(lock));
	lock.applied_len++;
	assert_int_equal(store_put_lock(f->store, "lock-1", &lock), -EINVAL);
	assert_int_equal(store_delete_lock(f->store, "lock-1"), 0);
	assert_int_equal(store_delete_lock(f->store, "lock-1"), -ENOENT);
	assert_int_equal(store_get_lock(f->store, "lock-1", &back), -ENOENT);
}

static void two_agents_cannot_share_a_store(void **state)
{
	struct files *f = *state;
	struct store *other = NULL;

	assert_int_equal(store_open(&f->options, &other), -EBUSY);
	assert_null(other);
	assert_non_null(strstr(f->error, "store.db"));
}

static void a_store_that_cannot_be_made_says_why(void **state)
{
	struct files *f = *state;
	struct store *other = NULL;

	snprintf(f->path, sizeof(f->path), "%s/missing/store.db", f->dir);
	assert_int_equal(store_open(&f->options, &other), -ENOENT);
	assert_non_null(strstr(f->error, "its folder does not exist: create it"));
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(values_are_kept),
		test(the_stores_own_values_are_its_own),
		test(a_stream_is_random_and_stays),
		test(documents_come_back_in_order),
		test(documents_of_one_kind_are_read_alone),
		test(the_largest_document_fits),
		test(changes_of_one_transaction_are_all_there_or_none),
		test(a_new_store_knows_that_it_follows_a_damaged_one),
		test(a_store_without_a_disk_lives_in_memory),
		test(a_cti_is_taken_once),
		test(a_phase_moves_with_its_event),
		test(open_ones_are_found_at_start_and_may_be_changed),
		test(old_ctis_are_forgotten_but_none_that_is_open),
		test(events_are_numbered_and_chained),
		test(acknowledged_events_are_not_sent_again_but_on_replay),
		test(acknowledged_events_stay_for_their_time),
		test(the_disk_bound_drops_the_oldest_and_counts_them),
		test(thousands_are_dropped_in_bounded_steps),
		test(the_state_of_a_lock_is_kept),
		test(two_agents_cannot_share_a_store),
		test(a_store_that_cannot_be_made_says_why),
	};

	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
