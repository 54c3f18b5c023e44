/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A damaged store tells: it is never read as one that holds less. Bits are flipped and pages are
 * lost all over the file, by a fixed seed; each time the store must either refuse, or hold exactly
 * what was put in.
 */
#include "store-content.h"

#define FLIPS 700
#define PAGE  4096

struct file {
	uint8_t *bytes;
	size_t len;
};

struct files {
	char dir[64], path[128], wal[128], error[600];
	struct file db;		/* whole, closed, of version 2 */
	struct file older;	/* the same of version 1, with fewer authorizations */
	struct file log, below; /* a write-ahead log after a crash, and the file that it belongs to
				 */
	unsigned refused, sound;
};

static struct file read_file(const char *path)
{
	FILE *in = fopen(path, "re");
	struct file file = {0};

	assert_non_null(in);
	assert_int_equal(fseek(in, 0, SEEK_END), 0);
	file.len = (size_t)ftell(in);
	rewind(in);
	file.bytes = malloc(file.len + 1);
	assert_int_equal(fread(file.bytes, 1, file.len, in), file.len);
	fclose(in);
	return file;
}

static void write_file(const char *path, const uint8_t *bytes, size_t len)
{
	FILE *out = fopen(path, "we");

	assert_non_null(out);
	assert_int_equal(fwrite(bytes, 1, len, out), len);
	assert_int_equal(fclose(out), 0);
}

static struct store *must_open(struct files *f)
{
	struct store_options options = content_options(f->path, f->error, sizeof(f->error));
	struct store *store = NULL;

	if (store_open(&options, &store) != 0)
		fail_msg("%s", f->error);
	return store;
}

static int setup(void **state)
{
	struct files *f = calloc(1, sizeof(*f));
	struct store *store;

	assert_int_equal(crypto_init(), 0);
	fixture_dir(f->dir);
	snprintf(f->path, sizeof(f->path), "%s/store.db", f->dir);
	snprintf(f->wal, sizeof(f->wal), "%s/store.db-wal", f->dir);
	store = must_open(f);
	content_put(store, 1);
	store_close(store);
	f->older = read_file(f->path);
	store = must_open(f);
	for (unsigned i = 0; i < ARRAY_SIZE(content_documents); i++)
		assert_int_equal(content_put_document(store, i, 2), 0);
	for (unsigned i = CONTENT_AUTHS; i < 2 * CONTENT_AUTHS; i++)
		assert_int_equal(content_accept(store, i), 0);
	f->log = read_file(f->wal);
	f->below = read_file(f->path);
	store_close(store);
	f->db = read_file(f->path);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct files *f = *state;

	fixture_dir_remove(f->dir);
	free(f->db.bytes);
	free(f->older.bytes);
	free(f->log.bytes);
	free(f->below.bytes);
	free(f);
	return 0;
}

/* Opens what lies there; what is the kind of damage, for the message. */
static void judge(struct files *f, const char *what, size_t where)
{
	struct store_options options = content_options(f->path, f->error, sizeof(f->error));
	cleanup(store_closep) struct store *store = NULL;
	const char *why = "";
	int r;

	f->error[0] = '\0';
	r = store_open(&options, &store);
	if (r == -EBADMSG) {
		assert_int_not_equal(f->error[0], '\0');
		f->refused++;
		return;
	}
	if (r != 0)
		fail_msg("%s at %zu: open gives %d: %s", what, where, r, f->error);
	r = content_check(store, 2, 2 * CONTENT_AUTHS, &why);
	if (r == 1)
		fail_msg("%s at %zu: not noticed: %s", what, where, why);
	if (r != 0 && r != -EBADMSG)
		fail_msg("%s at %zu: reading gives %d: %s", what, where, r, store_error(store));
	if (r == 0)
		f->sound++;
	else
		f->refused++;
}

static void put_back(struct files *f, const uint8_t *bytes, size_t len)
{
	unlink(f->wal);
	write_file(f->path, bytes, len);
}

static uint32_t next_random(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

static void a_flipped_bit_is_noticed_or_harmless(void **state)
{
	struct files *f = *state;
	uint32_t x = 20240229;

	for (int i = 0; i < FLIPS; i++) {
		size_t at = next_random(&x) % f->db.len;
		uint8_t bit = (uint8_t)(1U << next_random(&x) % 8);

		f->db.bytes[at] ^= bit;
		put_back(f, f->db.bytes, f->db.len);
		f->db.bytes[at] ^= bit;
		judge(f, "a flipped bit", at);
	}
	print_message("%u refused, %u harmless\n", f->refused, f->sound);
	/* most of the file is content: a check that never refuses would show here */
	assert_in_range(f->refused, FLIPS / 4, FLIPS);
	assert_in_range(f->sound, 1, FLIPS);
}

static void every_bit_of_the_headers_counts_or_is_harmless(void **state)
{
	struct files *f = *state;

	for (size_t page = 0; page < f->db.len / PAGE; page++) {
		/* what a page's header says of its cells */
		for (size_t i = page ? 0 : 100; i < (page ? 12U : 112U); i++) {
			f->db.bytes[page * PAGE + i] ^= 0x41;
			put_back(f, f->db.bytes, f->db.len);
			f->db.bytes[page * PAGE + i] ^= 0x41;
			judge(f, "a page header", page * PAGE + i);
		}
	}
	assert_true(f->refused > 0);
}

static void a_file_cut_short_is_noticed(void **state)
{
	struct files *f = *state;
	uint32_t x = 99;

	for (size_t len = 0; len < f->db.len; len += PAGE) {
		put_back(f, f->db.bytes, len);
		judge(f, "cut at a page", len);
	}
	for (int i = 0; i < 50; i++) {
		size_t len = next_random(&x) % f->db.len;

		put_back(f, f->db.bytes, len);
		judge(f, "cut", len);
	}
	assert_int_equal(f->sound, 0);
}

static void a_page_that_was_lost_is_noticed(void **state)
{
	struct files *f = *state;
	uint8_t *copy = malloc(f->db.len);

	for (size_t page = 0; page < f->db.len / PAGE; page++) {
		memcpy(copy, f->db.bytes, f->db.len);
		memset(copy + page * PAGE, 0, PAGE);
		put_back(f, copy, f->db.len);
		judge(f, "a page of zeros", page);
	}
	free(copy);
	assert_true(f->refused > f->sound);
}

/* A write that the disk promised and did not do. */
static void a_page_of_before_is_noticed(void **state)
{
	struct files *f = *state;
	uint8_t *copy = malloc(f->db.len);
	unsigned differ = 0;

	for (size_t page = 0; page < f->older.len / PAGE && page < f->db.len / PAGE; page++) {
		if (memcmp(f->older.bytes + page * PAGE, f->db.bytes + page * PAGE, PAGE) == 0)
			continue;
		differ++;
		memcpy(copy, f->db.bytes, f->db.len);
		memcpy(copy + page * PAGE, f->older.bytes + page * PAGE, PAGE);
		put_back(f, copy, f->db.len);
		judge(f, "an older page", page);
	}
	free(copy);
	assert_true(differ > 3);
	assert_true(f->refused > 0);
}

static void must_be_told_at_the_start(struct files *f, size_t at)
{
	struct store_options options = content_options(f->path, f->error, sizeof(f->error));
	cleanup(store_closep) struct store *store = NULL;

	f->db.bytes[at] ^= 0x04;
	put_back(f, f->db.bytes, f->db.len);
	f->db.bytes[at] ^= 0x04;
	if (store_open(&options, &store) == -EBADMSG) {
		f->refused++;
		return;
	}
	assert_non_null(store);
	if (content_put_document(store, 3, 3) != 0 || content_put_document(store, 2, 3) != 0)
		fail_msg("%zu: only the first write tells: %s", at, store_error(store));
	f->sound++;
}

/* An index that does not fit its table, a header that says "read only". */
static void damage_is_told_at_the_start_and_not_by_the_first_write(void **state)
{
	struct files *f = *state;

	must_be_told_at_the_start(f, 18);
	assert_int_equal(f->refused, 1);
	for (size_t page = 0; page < f->db.len / PAGE; page++) {
		if (f->db.bytes[page * PAGE] != 10) /* the leaf of an index */
			continue;
		for (size_t at = PAGE - 150; at < PAGE; at++)
			must_be_told_at_the_start(f, page * PAGE + at);
	}
	assert_true(f->refused > 100);
}

/* A crash leaves a log. What was acknowledged is in it or in the file; a damaged log may lose the
 * latest authorizations (the lock's challenge stands behind them), never bring back an older
 * document. */
static void damage_to_the_log_brings_no_older_document_back(void **state)
{
	struct files *f = *state;
	uint32_t x = 7;

	for (int i = 0; i < 200; i++) {
		struct store_options options = content_options(f->path, f->error, sizeof(f->error));
		cleanup(store_closep) struct store *store = NULL;
		size_t at = next_random(&x) % f->log.len;
		const char *why = "";
		int r;

		if (i > 0)
			f->log.bytes[at] ^= 0x10;
		write_file(f->path, f->below.bytes, f->below.len);
		write_file(f->wal, f->log.bytes, i < 180 ? f->log.len : at);
		if (i > 0)
			f->log.bytes[at] ^= 0x10;
		r = store_open(&options, &store);
		if (r == -EBADMSG) {
			f->refused++;
			continue;
		}
		if (r != 0)
			fail_msg("log at %zu: open gives %d: %s", at, r, f->error);
		r = content_documents_check(store, 2, &why);
		if (r != 0)
			fail_msg("log at %zu: %d %s", at, r, why);
		/* whole, when nothing was done to it */
		if (i == 0)
			assert_int_equal(content_check(store, 2, 2 * CONTENT_AUTHS, &why), 0);
		f->sound++;
	}
	assert_true(f->sound > 0);
}

static void a_missing_log_brings_no_older_document_back(void **state)
{
	struct files *f = *state;
	const char *why = "";
	struct store *store;

	put_back(f, f->below.bytes, f->below.len);
	store = must_open(f);
	assert_int_equal(content_documents_check(store, 2, &why), 0);
	store_close(store);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(a_flipped_bit_is_noticed_or_harmless),
		test(every_bit_of_the_headers_counts_or_is_harmless),
		test(a_file_cut_short_is_noticed),
		test(a_page_that_was_lost_is_noticed),
		test(a_page_of_before_is_noticed),
		test(damage_is_told_at_the_start_and_not_by_the_first_write),
		test(damage_to_the_log_brings_no_older_document_back),
		test(a_missing_log_brings_no_older_document_back),
	};

	return cmocka_run_group_tests_name("store-damage", tests, NULL, NULL);
}
