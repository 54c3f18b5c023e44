/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A folder with a database that has one table, for tests of db. */
#include "fixture.h"

#include "core/span.h"
#include "link/db.h"

static const char *const one[] = {"CREATE TABLE thing(id INTEGER PRIMARY KEY, name TEXT UNIQUE,"
				  " bytes BLOB)"};

struct files {
	char dir[64], path[128], error[600];
	struct db_options options;
};

static inline int setup(void **state)
{
	struct files *f = calloc(1, sizeof(*f));

	fixture_dir(f->dir);
	snprintf(f->path, sizeof(f->path), "%s/test.db", f->dir);
	f->options = (struct db_options){
		.path = f->path,
		.application_id = 0x74657374,
		.migrations = one,
		.nmigrations = 1,
		.exclusive = true,
		.error = f->error,
		.error_cap = sizeof(f->error),
	};
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct files *f = *state;

	fixture_dir_remove(f->dir);
	free(f);
	return 0;
}

static inline struct db *must_open(struct files *f)
{
	struct db *db = NULL;

	if (db_open(&f->options, &db) != 0)
		fail_msg("%s", f->error);
	return db;
}

static inline int put(struct db *db, int64_t id, const char *name)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "INSERT INTO thing(id, name) VALUES(?, ?)");

	db_bind_int(&q, id);
	db_bind_text(&q, name);
	return db_run(&q);
}

static inline int64_t count(struct db *db)
{
	cleanup(db_end) struct db_query q = db_query(db, "SELECT count(*) FROM thing");

	assert_int_equal(db_step(&q), 1);
	return db_int(&q, 0);
}

static inline int count_files(const char *dir)
{
	char line[128];
	FILE *out;
	int n = -1;

	snprintf(line, sizeof(line), "ls -A %s | wc -l", dir);
	out = popen(line, "re");
	assert_non_null(out);
	assert_int_equal(fscanf(out, "%d", &n), 1);
	pclose(out);
	return n;
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
