/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a put promised is there after kill -9, after a power cut, and after a full or broken disk.
 *
 * This program's own pwrite and fdatasync stand before the C library's, for SQLite too: they let a
 * disk fail, and remember of each file what it held when it was last synced. A power cut is: those
 * bytes, and nothing that was written since.
 */
#include "store-content.h"

#include <sys/syscall.h>
#include <sys/uio.h>

/* --- the disk --- */

static int disk_error; /* errno of every write and sync; 0: a good disk */
static bool recording;
static unsigned syncs;
static char synced_dir[64]; /* copies of the files as last synced */
static off_t log_synced;    /* the write-ahead log's length then */
static unsigned shared;	    /* writes to a sector of it that has synced bytes */

static void remember(int fd)
{
	char link[64], path[256], to[400], buf[65536];
	ssize_t n = -1;
	off_t at = 0;
	int copy;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return;
	path[n] = '\0';
	if (!strrchr(path, '/') || strstr(path, "store.db") == NULL)
		return;
	snprintf(to, sizeof(to), "%s%s", synced_dir, strrchr(path, '/'));
	copy = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	while (copy >= 0 && (n = pread(fd, buf, sizeof(buf), at)) > 0) {
		const struct iovec what = {.iov_base = buf, .iov_len = (size_t)n};

		/* not through our own pwrite */
		if (pwritev64(copy, &what, 1, at) != n)
			abort();
		at += n;
	}
	close(copy);
}

#define SECTOR 4096

static bool is_log(int fd)
{
	char link[64], path[256];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path));
	return n > 4 && memcmp(path + n - 4, "-wal", 4) == 0;
}

static int sync_file(int fd, long call)
{
	struct stat st;

	int r;

	if (disk_error) {
		errno = disk_error;
		return -1;
	}
	r = (int)syscall(call, fd);
	if (is_log(fd) && fstat(fd, &st) == 0)
		log_synced = st.st_size;
	if (recording) {
		syncs++;
		remember(fd);
	}
	return r;
}

int fdatasync(int fd)
{
	return sync_file(fd, SYS_fdatasync);
}

int fsync(int fd)
{
	return sync_file(fd, SYS_fsync);
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at)
{
	const struct iovec what = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};

	if (disk_error) {
		errno = disk_error;
		return -1;
	}
	if (is_log(fd)) {
		if (at == 0) /* begun anew */
			log_synced = 0;
		else if (log_synced > SECTOR && at / SECTOR <= (log_synced - 1) / SECTOR)
			shared++;
	}
	return pwritev64(fd, &what, 1, at);
}

/* The symbol pwrite, of a library built without large files: for the compiler pwrite is pwrite64. */
ssize_t plain_pwrite(int fd, const void *bytes, size_t n, long at) __asm__("pwrite");
ssize_t plain_pwrite(int fd, const void *bytes, size_t n, long at)
{
	return pwrite64(fd, bytes, n, at);
}

/* --- */

struct files {
	char dir[64], path[128], error[600];
	struct store *store;
};

static struct store *open_at(struct files *f, const char *path)
{
	struct store_options options = content_options(path, f->error, sizeof(f->error));
	struct store *store = NULL;

	if (store_open(&options, &store) != 0)
		fail_msg("%s", f->error);
	return store;
}

static int setup(void **state)
{
	struct files *f = calloc(1, sizeof(*f));

	assert_int_equal(crypto_init(), 0);
	fixture_dir(f->dir);
	fixture_dir(synced_dir);
	snprintf(f->path, sizeof(f->path), "%s/store.db", f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct files *f = *state;

	disk_error = 0;
	recording = false;
	store_close(f->store);
	fixture_dir_remove(f->dir);
	fixture_dir_remove(synced_dir);
	free(f);
	return 0;
}

/* Accepts until it is killed; says each number when store_accept has returned. */
static void accept_for_ever(struct files *f, unsigned from, int say)
{
	struct store_options options = content_options(f->path, f->error, sizeof(f->error));
	struct store *store = NULL;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (store_open(&options, &store) != 0)
		_exit(3);
	for (unsigned i = from;; i++) {
		if (content_accept(store, i) != 0)
			_exit(4);
		if (write(say, &i, sizeof(i)) != sizeof(i))
			_exit(5);
		/* documents and dropping in between: a kill may fall into a checkpoint */
		if (i % 16 == 0 && content_put_document(store, 3, 1) != 0)
			_exit(6);
	}
}

static void what_was_acknowledged_survives_kill_9(void **state)
{
	struct files *f = *state;
	uint64_t end = fixture_now_ms() + 4000;
	unsigned total = 0, kills = 0;
	uint32_t x = 12345;

	f->store = open_at(f, f->path);
	for (unsigned i = 0; i < ARRAY_SIZE(content_documents); i++)
		assert_int_equal(content_put_document(f->store, i, 1), 0);
	assert_int_equal(store_put_value(f->store, "floor", span_str("1800000000")), 0);
	/* longer only where a slow machine got too little done */
	while (fixture_now_ms() < end ||
	       ((kills <= 10 || total <= kills) && fixture_now_ms() < end + 60000)) {
		unsigned last = total, status;
		const char *why = "";
		int say[2], r;
		pid_t pid;

		store_close(f->store);
		f->store = NULL;
		assert_int_equal(pipe2(say, O_CLOEXEC), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			accept_for_ever(f, total, say[1]);
		close(say[1]);
		x = x * 1103515245 + 12345;
		usleep(5000 + x / 65536 % 60000);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, (int *)&status, 0), pid);
		assert_true(WIFSIGNALED(status));
		while (read(say[0], &last, sizeof(last)) == sizeof(last))
			total = last + 1;
		close(say[0]);
		kills++;

		f->store = open_at(f, f->path);
		r = content_check(f->store, 1, total, &why);
		if (r != 0)
			fail_msg("after %u kills and %u accepted: %d %s", kills, total, r, why);
		/* one more may be there: written, but not said any more */
		if (content_accept(f->store, total) != -EEXIST)
			assert_int_equal(content_check(f->store, 1, total + 1, &why), 0);
		total++;
	}
	print_message("%u kills, %u accepted\n", kills, total);
	assert_true(kills > 10 && total > kills);
}

static void power_cut(struct files *f, unsigned version, unsigned auths)
{
	char dir[64], path[128];
	struct store *after;
	const char *why = "";
	char line[300];
	int r;

	fixture_dir(dir);
	snprintf(path, sizeof(path), "%s/store.db", dir);
	snprintf(line, sizeof(line), "cp %s/store.db* .", synced_dir);
	fixture_shell(dir, line);
	recording = false;
	after = open_at(f, path);
	r = content_check(after, version, auths, &why);
	if (r != 0)
		fail_msg("after %u: %d %s", auths, r, why);
	store_close(after);
	recording = true;
	fixture_dir_remove(dir);
}

static void what_was_acknowledged_survives_a_power_cut(void **state)
{
	struct files *f = *state;
	unsigned before, auths = 0;

	f->store = open_at(f, f->path);
	recording = true;
	content_put(f->store, 1);
	power_cut(f, 1, auths = CONTENT_AUTHS);
	for (unsigned i = 0; i < ARRAY_SIZE(content_documents); i++) {
		before = syncs;
		assert_int_equal(content_put_document(f->store, i, 2), 0);
		assert_true(syncs > before);
	}
	power_cut(f, 2, auths);
	for (unsigned i = 0; i < 40; i++) {
		before = syncs;
		assert_int_equal(content_accept(f->store, auths), 0);
		/* one fsync; one more for the head of a log that was emptied */
		assert_in_range(syncs, before + 1, before + (i == 0 ? 2 : 1));
		power_cut(f, 2, ++auths);
	}
	/* over the point where the log is moved into the file */
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(content_accept(f->store, auths++), 0);
		if (i % 10 == 0)
			power_cut(f, 2, auths);
	}
}

/* A card may lose all of the sector that it writes when the power goes. */
static void what_is_acknowledged_shares_no_sector_with_what_comes_next(void **state)
{
	struct files *f = *state;

	f->store = open_at(f, f->path);
	content_put(f->store, 1);
	shared = 0;
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(content_accept(f->store, CONTENT_AUTHS + i), 0);
	assert_true(log_synced > SECTOR);
	assert_int_equal(shared, 0);
}

static void a_new_store_is_whole_or_absent_after_a_power_cut(void **state)
{
	struct files *f = *state;
	const char *why = "";

	/* what a crash in the making leaves behind has another name, and bothers nobody */
	fixture_write(f->dir, "store.db.AbCdEf", "half");
	f->store = open_at(f, f->path);
	content_put(f->store, 1);
	assert_int_equal(content_check(f->store, 1, CONTENT_AUTHS, &why), 0);
}

static void a_disk_that_fails_loses_nothing(void **state)
{
	static const struct {
		int error, r;
		const char *words;
	} cases[] = {
		{ENOSPC, -ENOSPC, "make room on that file system"},
		{EIO, -EIO, "disk I/O error; look into the system's log"},
	};
	struct files *f = *state;
	unsigned auths = CONTENT_AUTHS;
	const char *why = "";

	f->store = open_at(f, f->path);
	content_put(f->store, 1);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t prev[SHA256_LEN];
		uint64_t seq, again;

		store_event_next(f->store, &seq, prev);
		disk_error = cases[i].error;
		assert_int_equal(content_accept(f->store, auths), cases[i].r);
		assert_int_equal(store_event(f->store, seq, "{}", (struct span){0}, CONTENT_NOW),
				 cases[i].r);
		assert_int_equal(content_put_document(f->store, 3, 2), cases[i].r);
		assert_int_equal(store_put_value(f->store, "floor", span_str("9")), cases[i].r);
		if (!strstr(store_error(f->store), cases[i].words))
			fail_msg("%s", store_error(f->store));
		/* still to be read, and as it was */
		assert_int_equal(content_check(f->store, 1, auths, &why), 0);
		store_event_next(f->store, &again, prev);
		assert_true(again == seq);
		disk_error = 0;
		assert_int_equal(content_accept(f->store, auths), 0);
		auths++;
	}
	store_close(f->store);
	f->store = open_at(f, f->path);
	assert_int_equal(content_check(f->store, 1, auths, &why), 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(what_was_acknowledged_survives_kill_9),
		test(what_was_acknowledged_survives_a_power_cut),
		test(what_is_acknowledged_shares_no_sector_with_what_comes_next),
		test(a_new_store_is_whole_or_absent_after_a_power_cut),
		test(a_disk_that_fails_loses_nothing),
	};

	return cmocka_run_group_tests_name("store-power", tests, NULL, NULL);
}
