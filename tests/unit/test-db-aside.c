/* SPDX-License-Identifier: Apache-2.0 */
/* db-aside: damaged files are kept, but not without end, and never the newest one lost. */
#include "fixture.h"

#include <sys/stat.h>

#include "core/span.h"
#include "link/db-aside.h"

struct folder {
	char dir[64], path[128];
};

static int setup(void **state)
{
	struct folder *f = calloc(1, sizeof(*f));

	fixture_dir(f->dir);
	snprintf(f->path, sizeof(f->path), "%s/store.db", f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct folder *f = *state;

	(void)chmod(f->dir, 0700);
	fixture_dir_remove(f->dir);
	free(f);
	return 0;
}

static bool there(const struct folder *f, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	return access(path, F_OK) == 0;
}

static void expect_content(const struct folder *f, const char *name, const char *text)
{
	char path[256], is[64] = "";
	FILE *in;

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	in = fopen(path, "re");
	if (!in)
		fail_msg("%s is not there", name);
	assert_non_null(fgets(is, sizeof(is), in));
	fclose(in);
	assert_string_equal(is, text);
}

static void a_store_goes_aside_with_its_log(void **state)
{
	struct folder *f = *state;

	assert_int_equal(db_aside_any(f->path), 0);
	fixture_write(f->dir, "store.db", "bad");
	fixture_write(f->dir, "store.db-wal", "log");
	assert_int_equal(db_aside(f->path, 17), 0);
	assert_false(there(f, "store.db") || there(f, "store.db-wal"));
	expect_content(f, "store.db.damaged-17", "bad");
	expect_content(f, "store.db.damaged-17-wal", "log");
	assert_int_equal(db_aside_any(f->path), 1);
}

static void the_newest_stay_and_no_more(void **state)
{
	struct folder *f = *state;
	char name[64], text[16];

	for (int i = 1; i <= 20; i++) {
		snprintf(text, sizeof(text), "%d", i);
		fixture_write(f->dir, "store.db", text);
		if (i % 2)
			fixture_write(f->dir, "store.db-wal", text);
		assert_int_equal(db_aside(f->path, 100 + (uint64_t)i), 0);
		for (int k = 1; k <= i; k++) {
			snprintf(name, sizeof(name), "store.db.damaged-%d", 100 + k);
			assert_int_equal(there(f, name), k > i - DB_ASIDE_KEPT);
			strcat(name, "-wal");
			assert_int_equal(there(f, name), k % 2 && k > i - DB_ASIDE_KEPT);
		}
	}
}

/* Two in one second, and a clock that fell back to 1970: what is put aside last is the newest. */
static void nothing_is_written_over_whatever_the_clock_says(void **state)
{
	static const uint64_t clock[] = {1900000000, 1900000000, 5, 0, 1900000001};
	struct folder *f = *state;
	char name[64], text[16];

	for (size_t i = 0; i < ARRAY_SIZE(clock); i++) {
		snprintf(text, sizeof(text), "%zu", i);
		fixture_write(f->dir, "store.db", text);
		assert_int_equal(db_aside(f->path, clock[i]), 0);
		snprintf(name, sizeof(name), "store.db.damaged-%zu", 1900000000 + i);
		expect_content(f, name, text);
	}
	expect_content(f, "store.db.damaged-1900000002", "2");
	assert_false(there(f, "store.db.damaged-1900000001"));
}

static void what_has_another_name_stays(void **state)
{
	static const char *const others[] = {
		"store.db.damaged-",
		"store.db.damaged-1.txt",
		"store.db.damaged-x",
		"other.db.damaged-1",
		"store.db.damaged-1-old",
		"store.db.damaged",
		"store.db.replaced-1",
		"store.db.backup",
		"desk.db",
		"store.db.damaged-0000-wa",
		"store.dbx.damaged-1",
		"store.db.damaged-9999999999999999999",
	};
	struct folder *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		fixture_write(f->dir, others[i], "mine");
	assert_int_equal(db_aside_any(f->path), 0);
	for (uint64_t i = 0; i < 2 * DB_ASIDE_KEPT; i++) {
		fixture_write(f->dir, "store.db", "bad");
		assert_int_equal(db_aside(f->path, 100 + i), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		expect_content(f, others[i], "mine");
}

/* As a crash between the two leaves it: the log follows, and nothing else is touched. */
static void a_log_alone_goes_aside_too(void **state)
{
	struct folder *f = *state;

	fixture_write(f->dir, "store.db.damaged-7", "bad");
	fixture_write(f->dir, "store.db-wal", "log");
	assert_int_equal(db_aside(f->path, 7), 0);
	expect_content(f, "store.db.damaged-7", "bad");
	expect_content(f, "store.db.damaged-8-wal", "log");
}

static void a_folder_that_cannot_be_listed_says_so(void **state)
{
	struct folder *f = *state;
	int status;
	pid_t pid;

	fixture_write(f->dir, "store.db.damaged-7", "bad");
	assert_int_equal(chmod(f->dir, 0), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
			_exit(2);
		_exit(db_aside_any(f->path) == -EACCES && db_aside(f->path, 8) == -EACCES ? 0 : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_store_goes_aside_with_its_log),
		test(the_newest_stay_and_no_more),
		test(nothing_is_written_over_whatever_the_clock_says),
		test(what_has_another_name_stays),
		test(a_log_alone_goes_aside_too),
		test(a_folder_that_cannot_be_listed_says_so),
	};

	return cmocka_run_group_tests_name("db-aside", tests, NULL, NULL);
}
