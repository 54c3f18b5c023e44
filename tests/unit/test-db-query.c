/* SPDX-License-Identifier: Apache-2.0 */
/* db: statements that are kept answer like those that are not. */
#include "db-fixture.h"

#define BY_ID "SELECT name FROM thing WHERE id >= ? ORDER BY id"

static struct db *filled(struct files *f)
{
	struct db *db = must_open(f);

	assert_int_equal(put(db, 1, "one"), 0);
	assert_int_equal(put(db, 2, "two"), 0);
	assert_int_equal(put(db, 3, "three"), 0);
	return db;
}

static void first_is(struct db *db, int64_t from, const char *name)
{
	cleanup(db_end) struct db_query q = db_query_kept(db, BY_ID);

	db_bind_int(&q, from);
	assert_int_equal(db_step(&q), 1);
	assert_string_equal(db_text(&q, 0), name);
}

static void kept_statement_begins_anew_each_time(void **state)
{
	struct db *db = filled(*state);
	struct db_query q;

	for (int i = 0; i < 100; i++) {
		first_is(db, 1, "one"); /* left half read */
		first_is(db, 3, "three");
	}
	q = db_query_kept(db, BY_ID); /* nothing is bound from before */
	assert_int_equal(db_step(&q), 0);
	db_end(&q);
	db_close(db);
}

static void kept_statement_in_use_is_no_obstacle(void **state)
{
	struct db *db = filled(*state);
	struct db_query outer = db_query_kept(db, BY_ID);

	db_bind_int(&outer, 1);
	assert_int_equal(db_step(&outer), 1);
	first_is(db, 2, "two");
	first_is(db, 3, "three");
	assert_int_equal(db_step(&outer), 1);
	assert_string_equal(db_text(&outer, 0), "two");
	db_end(&outer);
	first_is(db, 1, "one");
	db_close(db);
}

/* A reader that was forgotten would keep the write-ahead log for ever. */
static void kept_statement_holds_nothing_back(void **state)
{
	struct files *f = *state;
	struct db *db = filled(f);

	first_is(db, 1, "one");
	assert_int_equal(db_checkpoint(db), 0);
	assert_int_equal(db_exec(db, "ALTER TABLE thing RENAME TO other"), 0);
	assert_int_equal(db_exec(db, "ALTER TABLE other RENAME TO thing"), 0);
	first_is(db, 2, "two");
	db_close(db);
	assert_int_equal(count_files(f->dir), 1); /* the log went with the last connection */
}

static void kept_insert_that_failed_works_again(void **state)
{
	struct db *db = filled(*state);

	for (int i = 0; i < 3; i++) {
		struct db_query q = db_query_kept(db, "INSERT INTO thing(id, name) VALUES(?, ?)");

		db_bind_int(&q, i == 1 ? 2 : 10 + i); /* 2 is taken */
		db_bind_text(&q, i == 0 ? "ten" : "twelve");
		assert_int_equal(db_run(&q), i == 1 ? -EEXIST : 0);
		db_end(&q);
	}
	assert_int_equal(count(db), 5);
	db_close(db);
}

static void more_statements_than_places_work(void **state)
{
	static const char *const more[] = {
		"SELECT 10, ?", "SELECT 11, ?", "SELECT 12, ?", "SELECT 13, ?",
		"SELECT 14, ?", "SELECT 15, ?", "SELECT 16, ?", "SELECT 17, ?",
		"SELECT 18, ?", "SELECT 19, ?", "SELECT 20, ?", "SELECT 21, ?",
	};
	struct db *db = filled(*state);

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(more); i++) {
			cleanup(db_end) struct db_query q = db_query_kept(db, more[i]);

			db_bind_int(&q, round);
			assert_int_equal(db_step(&q), 1);
			assert_int_equal(db_int(&q, 0), 10 + i);
			assert_int_equal(db_int(&q, 1), round);
		}
	}
	db_close(db);
}

static void kept_nonsense_is_refused_each_time(void **state)
{
	struct db *db = filled(*state);

	for (int i = 0; i < 3; i++) {
		cleanup(db_end) struct db_query q = db_query_kept(db, "SELECT nothing FROM here");

		assert_true(db_step(&q) < 0);
	}
	first_is(db, 1, "one");
	db_close(db);
}

/* --- the log and who waits ----------------------------------------------------------------------------- */

static off_t log_size(const struct files *f)
{
	char path[140];
	struct stat st;

	snprintf(path, sizeof(path), "%s-wal", f->path);
	return stat(path, &st) < 0 ? 0 : st.st_size;
}

/* A page at least, each. */
static void fill_log(struct files *f, struct db *db, int64_t from, int64_t n)
{
	static const uint8_t bytes[4096];

	for (int64_t i = from; i < from + n; i++) {
		cleanup(db_end) struct db_query q =
			db_query_kept(db, "INSERT INTO thing(id, bytes) VALUES(?, ?)");

		db_bind_int(&q, i);
		db_bind_blob(&q, SPAN(bytes));
		assert_int_equal(db_run(&q), 0);
	}
}

static void hurried_commit_leaves_the_log_to_the_next(void **state)
{
	struct files *f = *state;
	struct db *db = filled(f), *hurried = db_hurry(db);
	off_t size;

	for (int64_t i = 10; log_size(f) < 260 * 4096; i++)
		fill_log(f, db, i, 1);
	size = log_size(f);
	fill_log(f, db, 5000, 1);
	assert_true(log_size(f) > size);
	db_hurry_end(&hurried);
	fill_log(f, db, 5001, 1);
	assert_int_equal(log_size(f), 0);
	assert_int_equal(db_checkpoint(db), 0);
	db_close(db);
}

static void hurry_has_an_end(void **state)
{
	struct files *f = *state;
	struct db *db = filled(f), *hurried = db_hurry(db);
	off_t most = 0, size = 1;

	for (int64_t i = 10; size > 0 && i < 2000; i++) {
		fill_log(f, db, i, 1);
		size = log_size(f);
		most = size > most ? size : most;
	}
	assert_int_equal(size, 0);
	assert_in_range(most, 500 * 4096, 530 * 4136);
	db_hurry_end(&hurried);
	db_close(db);
}

int main(void)
{
#define t(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		t(kept_statement_begins_anew_each_time),
		t(kept_statement_in_use_is_no_obstacle),
		t(kept_statement_holds_nothing_back),
		t(kept_insert_that_failed_works_again),
		t(more_statements_than_places_work),
		t(kept_nonsense_is_refused_each_time),
		t(hurried_commit_leaves_the_log_to_the_next),
		t(hurry_has_an_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
