/* SPDX-License-Identifier: Apache-2.0 */
/* db: what a crash left of a file that was being made goes, and nothing else. */
#include "db-fixture.h"

static bool beside(const struct files *f, const char *tail)
{
	char path[200];

	snprintf(path, sizeof(path), "%s%s", f->path, tail);
	return access(path, F_OK) == 0;
}

/* Each place at which a file that is made can be when its maker dies. */
static void what_a_crash_left_of_making_is_gone_at_the_next_start(void **state)
{
	static const char *const left[] = {".making-a1B2c3",	     ".making-a1B2c3-wal",
					   ".making-zzzzzz",	     ".making-000000",
					   ".making-000000-journal", ".making-000000-shm"};
	struct files *f = *state;
	char name[64];

	for (int there = 0; there < 2; there++) { /* a first start, and one that finds its file */
		for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
			snprintf(name, sizeof(name), "test.db%s", left[i]);
			fixture_write(f->dir, name, i ? "half" : "");
		}
		db_close(must_open(f));
		assert_int_equal(count_files(f->dir), 1);
	}
}

static void what_has_another_name_is_not_taken_for_a_left_over(void **state)
{
	static const char *const names[] = {
		"test.db.backup",	  "test.db.a1B2c3",	    "test.db.making-",
		"test.db.making-a1B2c",	  "test.db.making-a1B2c34", "test.db.making-a1B2-3",
		"other.db.making-a1B2c3", "making-a1B2c3",	    "test.db.damaged-100000",
	};
	struct files *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		fixture_write(f->dir, names[i], "mine");
	fixture_shell(f->dir, "mkdir test.db.making-folder && ln -s other.db.making-a1B2c3 "
			      "test.db.making-symlnk && rm shell.log");
	db_close(must_open(f));
	assert_int_equal(count_files(f->dir), ARRAY_SIZE(names) + 3);
}

/* Named already, the other name not yet removed: one file, and it is not to be lost. */
static void a_crash_after_the_naming_loses_nothing(void **state)
{
	struct files *f = *state;
	struct db *db = must_open(f);

	assert_int_equal(put(db, 1, "kept"), 0);
	db_close(db);
	fixture_shell(f->dir, "ln test.db test.db.making-a1B2c3 && rm shell.log");
	db = must_open(f);
	assert_int_equal(count(db), 1);
	assert_false(beside(f, ".making-a1B2c3"));
	db_close(db);
}

struct second {
	const struct files *f;
	int r, is_new, files;
};

/* While the first is still being made: another one is made, named, and the first is left alone. */
static int start_a_second(struct db *db, void *user)
{
	struct second *s = user;
	struct db_options options = s->f->options;
	int status;
	pid_t pid;

	s->files = count_files(s->f->dir);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct db *other = NULL;

		if (db_open(&options, &other) != 0)
			_exit(2);
		status = db_is_new(other) ? 0 : 3;
		db_close(other);
		_exit(status);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	s->r = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	s->files = count_files(s->f->dir) - s->files;
	return 0;
}

static void what_another_process_makes_is_left_to_it(void **state)
{
	struct files *f = *state;
	struct second second = {.f = f};
	struct db_options options = f->options;
	struct db *db = NULL;

	f->options.exclusive = options.exclusive = false; /* as the desk's registry */
	options.init = start_a_second;
	options.user = &second;
	if (db_open(&options, &db) != 0)
		fail_msg("%s", f->error);
	assert_int_equal(second.r, 0);
	assert_int_equal(second.files,
			 1); /* the second's, under its name; the first's still there */
	assert_false(db_is_new(db));
	assert_int_equal(put(db, 1, "a"), 0);
	db_close(db);
	assert_int_equal(count_files(f->dir), 1);
}

static int die(struct db *db, void *user)
{
	_exit(0);
}

static void one_that_died_while_it_made_a_file_leaves_nothing_for_long(void **state)
{
	struct files *f = *state;
	struct db_options options = f->options;
	struct db *db = NULL;
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		options.init = die;
		(void)db_open(&options, &db);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(count_files(f->dir) > 0);
	assert_false(beside(f, ""));
	db = must_open(f);
	assert_true(db_is_new(db));
	db_close(db);
	assert_int_equal(count_files(f->dir), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(what_a_crash_left_of_making_is_gone_at_the_next_start),
		test(what_has_another_name_is_not_taken_for_a_left_over),
		test(a_crash_after_the_naming_loses_nothing),
		test(what_another_process_makes_is_left_to_it),
		test(one_that_died_while_it_made_a_file_leaves_nothing_for_long),
	};

	return cmocka_run_group_tests_name("db-making", tests, NULL, NULL);
}
