/* SPDX-License-Identifier: Apache-2.0 */
/* db: a file that appears whole, that tells when it is damaged, and that belongs to one. */
#include "db-fixture.h"

static const char *const two[] = {one[0], "ALTER TABLE thing ADD COLUMN more INTEGER"};
static const char *const broken[] = {one[0], "CREATE TABLE half(x); CREATE NONSENSE"};

static void a_new_file_is_private_and_alone(void **state)
{
	struct files *f = *state;
	struct db *db = must_open(f);
	struct stat st;

	assert_true(db_is_new(db));
	db_close(db);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(count_files(f->dir), 1);
	db = must_open(f);
	assert_false(db_is_new(db));
	db_close(db);
}

static void a_path_may_have_any_character(void **state)
{
	static const char *const names[] = {"a?b.db", "a%3fb.db", "a#b.db", "a b:&.db",
					    "\303\245.db"};
	struct files *f = *state;
	char path[160];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct db *db;

		/* two slashes would begin a host's name in a URI */
		snprintf(path, sizeof(path), "/%s/%s", f->dir, names[i]);
		f->options.path = path;
		db = must_open(f);
		assert_int_equal(put(db, 1, names[i]), 0);
		db_close(db);
		assert_int_equal(access(path, F_OK), 0);
		db = must_open(f);
		assert_int_equal(count(db), 1);
		db_close(db);
		unlink(path);
		assert_int_equal(count_files(f->dir), 0);
	}
}

static void what_is_bound_comes_back(void **state)
{
	static const uint8_t bytes[] = {0, 1, 0, 255};
	struct db *db = must_open(*state);
	struct db_query q = db_query(db, "INSERT INTO thing VALUES(?, ?, ?)");

	db_bind_uint(&q, INT64_MAX);
	db_bind_text(&q, "é");
	db_bind_blob(&q, SPAN(bytes));
	assert_int_equal(db_run(&q), 0);
	db_again(&q);
	db_bind_int(&q, -5);
	db_bind_text(&q, NULL);
	db_bind_blob(&q, span_of("", 0));
	assert_int_equal(db_run(&q), 0);
	assert_int_equal(db_last_id(db), -5);
	assert_int_equal(db_changes(db), 1);
	db_end(&q);

	q = db_query(db, "SELECT id, name, bytes FROM thing ORDER BY id DESC");
	assert_int_equal(db_step(&q), 1);
	assert_true(db_uint(&q, 0) == INT64_MAX);
	assert_string_equal(db_text(&q, 1), "é");
	assert_true(span_equal(db_blob(&q, 2), SPAN(bytes)));
	assert_int_equal(db_step(&q), 1);
	assert_int_equal(db_int(&q, 0), -5);
	assert_int_equal(db_uint(&q, 0), 0);
	assert_true(db_is_null(&q, 1));
	assert_string_equal(db_text(&q, 1), "");
	assert_false(db_is_null(&q, 2));
	assert_non_null(db_blob(&q, 2).data);
	assert_int_equal(db_blob(&q, 2).len, 0);
	assert_int_equal(db_step(&q), 0);
	db_end(&q);
	db_close(db);
}

static void the_first_error_sticks(void **state)
{
	struct db *db = must_open(*state);
	struct db_query q = db_query(db, "INSERT INTO thing(id, name) VALUES(?, ?)");

	db_bind_uint(&q, (uint64_t)INT64_MAX + 1);
	db_bind_text(&q, "x");
	assert_int_equal(db_step(&q), -ERANGE);
	assert_int_equal(db_run(&q), -ERANGE);
	db_again(&q);
	for (int i = 0; i < 3; i++)
		db_bind_int(&q, i);
	assert_int_equal(db_run(&q), -EINVAL); /* one too many */
	db_end(&q);
	q = db_query(db, "SELECT x FROM nowhere");
	db_bind_int(&q, 1);
	assert_int_equal(db_step(&q), -EBADMSG);
	assert_non_null(strstr(db_error(db), "nowhere"));
	db_end(&q);
	assert_int_equal(count(db), 0);
	db_close(db);
}

static void a_constraint_is_eexist(void **state)
{
	struct db *db = must_open(*state);

	assert_int_equal(put(db, 1, "a"), 0);
	assert_int_equal(put(db, 1, "b"), -EEXIST);
	assert_int_equal(put(db, 2, "a"), -EEXIST);
	assert_int_equal(count(db), 1);
	db_close(db);
}

static int put_two(struct db *db, bool second)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	int r = db_begin(db, &tx);

	if (r == 0)
		r = put(db, 1, "a");
	if (r == 0 && !second)
		return -EINTR;
	if (r == 0)
		r = put(db, 2, "b");
	return r < 0 ? r : db_commit(&tx);
}

static void a_transaction_is_whole_or_nothing(void **state)
{
	struct db *db = must_open(*state);

	assert_int_equal(put_two(db, false), -EINTR);
	assert_int_equal(count(db), 0);
	assert_int_equal(put_two(db, true), 0);
	assert_int_equal(count(db), 2);
	db_close(db);
}

static void an_inner_rollback_undoes_the_outer(void **state)
{
	struct db *db = must_open(*state), *tx = NULL;

	assert_int_equal(db_begin(db, &tx), 0);
	assert_int_equal(put(db, 9, "outer"), 0);
	assert_int_equal(put_two(db, false), -EINTR);
	assert_int_equal(db_commit(&tx), -ECANCELED);
	assert_null(tx);
	assert_int_equal(count(db), 0);
	assert_int_equal(db_begin(db, &tx), 0);
	assert_int_equal(put_two(db, true), 0);
	assert_int_equal(db_commit(&tx), 0);
	assert_int_equal(count(db), 2);
	db_close(db);
}

static void one_process_holds_an_exclusive_file(void **state)
{
	struct files *f = *state;
	struct db *db = must_open(f), *other = NULL;

	assert_int_equal(put(db, 1, "a"), 0);
	assert_int_equal(db_open(&f->options, &other), -EBUSY);
	assert_null(other);
	assert_non_null(strstr(f->error, "test.db"));
	db_close(db);
	other = must_open(f);
	assert_int_equal(count(other), 1);
	db_close(other);
}

static void two_share_a_file_that_is_not_exclusive(void **state)
{
	struct files *f = *state;
	struct db *a, *b;

	f->options.exclusive = false;
	f->options.busy_ms = 100;
	a = must_open(f);
	b = must_open(f);
	assert_int_equal(put(a, 1, "a"), 0);
	assert_int_equal(put(b, 2, "b"), 0);
	assert_int_equal(count(a), 2);
	db_close(a);
	db_close(b);
}

static void a_file_is_migrated_once(void **state)
{
	struct files *f = *state;
	struct db *db = must_open(f);

	assert_int_equal(put(db, 1, "a"), 0);
	db_close(db);
	f->options.migrations = two;
	f->options.nmigrations = 2;
	for (int i = 0; i < 2; i++) {
		db = must_open(f);
		assert_int_equal(db_exec(db, "UPDATE thing SET more = 1"), 0);
		assert_int_equal(count(db), 1);
		db_close(db);
	}
	/* and the program of before does not touch it */
	f->options.nmigrations = 1;
	assert_int_equal(db_open(&f->options, &db), -EBADMSG);
	assert_non_null(strstr(f->error, "later version"));
}

static void a_migration_that_fails_changes_nothing(void **state)
{
	struct files *f = *state;
	struct db *db = must_open(f), *none = NULL;

	assert_int_equal(put(db, 1, "a"), 0);
	db_close(db);
	f->options.migrations = broken;
	f->options.nmigrations = 2;
	assert_int_equal(db_open(&f->options, &none), -EBADMSG);
	assert_null(none);
	f->options.migrations = one;
	f->options.nmigrations = 1;
	db = must_open(f);
	assert_int_equal(count(db), 1);
	assert_int_equal(db_exec(db, "SELECT x FROM half"), -EBADMSG);
	db_close(db);
}

static int init_ok(struct db *db, void *user)
{
	++*(int *)user;
	return put(db, 7, "from the start");
}

static int init_fails(struct db *db, void *user)
{
	put(db, 7, "never seen");
	return -EIO;
}

static void a_new_file_has_its_first_content_or_is_not_there(void **state)
{
	struct files *f = *state;
	struct db *db = NULL;
	int calls = 0;

	f->options.user = &calls;
	f->options.init = init_fails;
	assert_int_equal(db_open(&f->options, &db), -EIO);
	assert_int_equal(count_files(f->dir), 0);
	f->options.init = init_ok;
	for (int i = 0; i < 2; i++) {
		db = must_open(f);
		assert_int_equal(count(db), 1);
		db_close(db);
	}
	assert_int_equal(calls, 1);
}

static void what_is_no_store_of_ours_is_refused(void **state)
{
	struct files *f = *state;
	struct db *db = NULL;
	char other[160];

	fixture_write(f->dir, "test.db", "");
	assert_int_equal(db_open(&f->options, &db), -EBADMSG);
	assert_non_null(strstr(f->error, "empty"));
	fixture_write(f->dir, "test.db", "this is a text, and long enough to be read as a header");
	assert_int_equal(db_open(&f->options, &db), -EBADMSG);
	assert_int_equal(unlink(f->path), 0);

	f->options.application_id++;
	db_close(must_open(f));
	f->options.application_id--;
	assert_int_equal(db_open(&f->options, &db), -EBADMSG);
	assert_non_null(strstr(f->error, "another program"));

	/* the file is gone, its log is not */
	assert_int_equal(unlink(f->path), 0);
	snprintf(other, sizeof(other), "test.db-wal");
	fixture_write(f->dir, other, "left over");
	assert_int_equal(db_open(&f->options, &db), -EBADMSG);
	assert_non_null(strstr(f->error, "write-ahead log"));
}

static void a_place_that_cannot_be_used_is_named(void **state)
{
	static const struct {
		const char *path;
		int r;
		const char *words;
	} cases[] = {
		{"missing/test.db", -ENOENT, "its folder does not exist: create it"},
		{"file/test.db", -ENOTDIR, "not a folder: correct the path"},
		{"folder", -EBADMSG, "is not a file"},
		{"loop", -ELOOP, "Too many levels"},
	};
	struct files *f = *state;
	struct db *db = NULL;

	fixture_write(f->dir, "file", "x");
	fixture_shell(f->dir, "mkdir folder && ln -s loop loop");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(f->path, sizeof(f->path), "%s/%s", f->dir, cases[i].path);
		assert_int_equal(db_open(&f->options, &db), cases[i].r);
		assert_null(db);
		if (!strstr(f->error, cases[i].words) || !strstr(f->error, cases[i].path))
			fail_msg("%s", f->error);
	}
}

static void a_program_that_may_not_write_says_so(void **state)
{
	struct files *f = *state;
	struct db *db = NULL;
	int status;
	pid_t pid;

	assert_int_equal(chmod(f->dir, 0555), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
			_exit(2);
		if (db_open(&f->options, &db) != -EACCES)
			_exit(3);
		_exit(strstr(f->error, "give the folder and the file to the user") ? 0 : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(chmod(f->dir, 0755), 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void the_log_is_emptied_when_it_was_moved(void **state)
{
	struct files *f = *state;
	struct db *db = must_open(f);
	char wal[160];
	struct stat st;
	uint64_t used = 0, more = 0;
	off_t largest = 0;

	snprintf(wal, sizeof(wal), "%s-wal", f->path);
	assert_int_equal(db_used(db, &used), 0);
	for (int i = 0; i < 600; i++) {
		char name[1200];

		memset(name, 'x', sizeof(name));
		snprintf(name + sizeof(name) - 16, 16, "%d", i);
		assert_int_equal(put(db, i, name), 0);
		assert_int_equal(stat(wal, &st), 0);
		largest = st.st_size > largest ? st.st_size : largest;
	}
	assert_in_range(largest, 1, 3 * 1024 * 1024);
	assert_int_equal(db_checkpoint(db), 0);
	assert_int_equal(stat(wal, &st), 0);
	assert_int_equal(st.st_size, 0);
	assert_int_equal(db_used(db, &more), 0);
	assert_true(more > used);
	db_close(db);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_new_file_is_private_and_alone),
		test(a_path_may_have_any_character),
		test(what_is_bound_comes_back),
		test(the_first_error_sticks),
		test(a_constraint_is_eexist),
		test(a_transaction_is_whole_or_nothing),
		test(an_inner_rollback_undoes_the_outer),
		test(one_process_holds_an_exclusive_file),
		test(two_share_a_file_that_is_not_exclusive),
		test(a_file_is_migrated_once),
		test(a_migration_that_fails_changes_nothing),
		test(a_new_file_has_its_first_content_or_is_not_there),
		test(what_is_no_store_of_ours_is_refused),
		test(a_place_that_cannot_be_used_is_named),
		test(a_program_that_may_not_write_says_so),
		test(the_log_is_emptied_when_it_was_moved),
	};

	return cmocka_run_group_tests_name("db", tests, NULL, NULL);
}
