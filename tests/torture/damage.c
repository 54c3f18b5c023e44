// SPDX-License-Identifier: Apache-2.0
/*
 * Damages a store in every way that bytes allow, thousands of times a second: each byte of the file
 * and of its write-ahead log changed, each length cut to, pages zeroed, swapped, and those of an
 * older copy. After each, the store must refuse, or hold exactly what was put in; and what it holds
 * must be fit to go on with.
 *
 *	damage FOLDER KIND SEED TRIES SECONDS
 *
 * KIND: flip, log, cut, pages. At most so many TRIES, of places in an order that leaps about, so that the
 * first are a fair sample; 0: each place once. SECONDS: not longer than that. Prints "tries
 * refused sound late lost" and exits with 1 after the first broken promise, which it names on
 * stderr. late: refused at the first write, and by the next start. lost: of a damaged log, the newest
 * authorizations are gone, with no older document in force (the lock's challenge stands behind them).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core/crypto.h"
#include "link/store.h"

#define PAGE	 4096u
#define NOW	 1800000000u
#define AUTHS	 3u	  /* in the file; as many again in the log */
#define LEAP	 1000003u /* a prime: no length here has it as a factor */
#define LIST_LEN 12000u

static const struct {
	const char *slot;
	int order;
	size_t len, under;
} documents[] = {
	{"keys/0011223344556677", 0, 300, 0},
	{"policy", 100, 150, 300},
	{"list/staff", 101, LIST_LEN, 0},
	{"reader/lock-1", 300, 250, 0},
};

struct file {
	uint8_t *bytes;
	size_t len;
};

struct bench {
	char path[256], wal[256], error[600];
	struct file older, db, below, log; /* log: after a crash, with the file below it */
	unsigned long max;		   /* tries; 0: no end */
	time_t until;
	unsigned long tries, refused, sound, late, lost;
};

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void must(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", what, strerror(-r));
		exit(2);
	}
}

/* Reproducible, and no two alike. */
static void fill(uint8_t *ret, size_t len, unsigned which)
{
	uint32_t x = 2463534242u + which * 7919u;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		ret[i] = (uint8_t)x;
	}
}

/* --- content ------------------------------------------------------------------------------------ */

static int put_document(struct store *store, size_t i, unsigned version)
{
	uint8_t bytes[LIST_LEN], under[300];

	fill(bytes, documents[i].len, (unsigned)i + 100 * version);
	fill(under, documents[i].under, (unsigned)i + 50);
	return store_put_document(store, documents[i].slot, documents[i].order,
				  span_of(bytes, documents[i].len),
				  span_of(under, documents[i].under));
}

static int accept_one(struct store *store, unsigned number)
{
	struct store_authorization auth = {
		.lock = "lock-1",
		.exp = NOW + number,
		.phase = STORE_ACCEPTED,
		.first = "pending",
		.scope = SCOPE_UNLOCK,
	};
	uint8_t prev[SHA256_LEN];
	char event[128];
	uint64_t seq;

	fill(auth.cti, CTI_LEN, 1000 + number);
	(void)store_event_next(store, &seq, prev);
	snprintf(event, sizeof(event), "{\"seq\":%llu,\"prev\":\"%02x%02x\"}",
		 (unsigned long long)seq, prev[0], prev[1]);
	return store_accept(store, &auth, event);
}

struct seen {
	unsigned documents, newest;
	bool wrong;
};

static int see_document(const char *slot, struct span document, struct span under, void *user)
{
	uint8_t newer[LIST_LEN], below[300];
	struct seen *seen = user;

	for (size_t i = 0; i < ARRAY_SIZE(documents); i++) {
		if (strcmp(slot, documents[i].slot) != 0)
			continue;
		fill(newer, documents[i].len, (unsigned)i + 200);
		fill(below, documents[i].under, (unsigned)i + 50);
		seen->documents++;
		seen->newest += span_equal(document, span_of(newer, documents[i].len)) &&
				span_equal(under, span_of(below, documents[i].under));
		return 0;
	}
	seen->wrong = true;
	return 0;
}

static unsigned count_auths(struct store *store, bool *ret_wrong)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 2 * AUTHS; i++) {
		struct store_authorization found;
		uint8_t cti[CTI_LEN];
		int r;

		fill(cti, CTI_LEN, 1000 + i);
		r = store_find(store, cti, &found);
		if (r == 0 && n == i)
			n++;
		else if (r == 0)
			*ret_wrong = true; /* one before it is missing */
		if (r == 0 && (found.exp != NOW + i || found.phase != STORE_ACCEPTED))
			*ret_wrong = true;
	}
	return n;
}

/* --- files -------------------------------------------------------------------------------------- */

static struct file read_file(const char *path)
{
	FILE *in = fopen(path, "re");
	struct file file = {0};

	if (!in || fseek(in, 0, SEEK_END) < 0)
		die(path);
	file.len = (size_t)ftell(in);
	rewind(in);
	file.bytes = malloc(file.len + 1);
	if (!file.bytes || fread(file.bytes, 1, file.len, in) != file.len)
		die(path);
	fclose(in);
	return file;
}

static void write_file(const char *path, const uint8_t *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
		die(path);
	close(fd);
}

static int open_store(struct bench *b, struct store **ret)
{
	const struct store_options options = {
		.path = b->path,
		.event_bytes_max = 1 << 24,
		.event_keep_s = 1000000,
		.error = b->error,
		.error_cap = sizeof(b->error),
	};

	b->error[0] = 0;
	return store_open(&options, ret);
}

static void build(struct bench *b)
{
	cleanup(store_closep) struct store *store = NULL;

	must(open_store(b, &store), "a new store");
	for (size_t i = 0; i < ARRAY_SIZE(documents); i++)
		must(put_document(store, i, 1), "document");
	must(store_put_value(store, "floor", span_str("1800000000")), "value");
	store_close(steal(store));
	b->older = read_file(b->path);
	must(open_store(b, &store), "again");
	for (size_t i = 0; i < ARRAY_SIZE(documents); i++)
		must(put_document(store, i, 2), "document");
	for (unsigned i = 0; i < AUTHS; i++)
		must(accept_one(store, i), "authorization");
	must(store_put_value(store, "floor", span_str("1800000001")), "value");
	b->below = read_file(b->path);
	for (unsigned i = AUTHS; i < 2 * AUTHS; i++)
		must(accept_one(store, i), "authorization");
	b->log = read_file(b->wal);
	store_close(steal(store));
	b->db = read_file(b->path);
}

/* --- the verdict -------------------------------------------------------------------------------- */

static void broken(const struct bench *b, const char *what, size_t at, const char *how)
{
	fprintf(stderr, "%s at %zu: %s (%s)\n", what, at, how, b->error);
	exit(1);
}

/* What a sound store takes. 0, or -EBADMSG. */
static int go_on(struct store *store)
{
	int r = put_document(store, 2, 3);

	if (r == 0)
		r = accept_one(store, 500);
	if (r == 0)
		r = store_put_value(store, "floor", span_str("9"));
	return r;
}

static void judge(struct bench *b, const char *what, size_t at, bool log)
{
	cleanup(store_closep) struct store *store = NULL;
	struct seen seen = {0};
	char shown[600];
	bool wrong = false;
	unsigned auths;
	int r = open_store(b, &store);

	b->tries++;
	alarm(30);
	if (r == -EBADMSG) {
		if (!b->error[0])
			broken(b, what, at, "refused without a word");
		b->refused++;
		return;
	}
	if (r < 0)
		broken(b, what, at, strerror(-r));
	r = store_each_document(store, see_document, &seen);
	auths = count_auths(store, &wrong);
	if (r < 0 || wrong || seen.wrong)
		broken(b, what, at, "opened, and its content cannot be read or is another");
	if (seen.documents != ARRAY_SIZE(documents) || seen.newest != seen.documents)
		broken(b, what, at, "an older document, or one less, without a word");
	if (auths < (log ? AUTHS : 2 * AUTHS))
		broken(b, what, at, "an authorization is forgotten without a word");
	b->lost += auths < 2 * AUTHS;
	r = go_on(store);
	if (r < 0)
		snprintf(b->error, sizeof(b->error), "%s", store_error(store));
	store_close(steal(store));
	if (r == 0) {
		b->sound++;
		return;
	}
	if (r != -EBADMSG)
		broken(b, what, at, "a sound store cannot be written");
	b->late++;
	snprintf(shown, sizeof(shown), "%s", b->error);
	if (open_store(b, &store) != -EBADMSG) {
		snprintf(b->error, sizeof(b->error), "%s", shown);
		broken(b, what, at, "the damage shows when writing, and never at a start");
	}
}

static void lay(struct bench *b, const struct file *db, const struct file *log)
{
	unlink(b->wal);
	write_file(b->path, db->bytes, db->len);
	if (log)
		write_file(b->wal, log->bytes, log->len);
}

static uint32_t chance(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

/* The i-th place of len: each once, in leaps. */
static size_t leap(size_t i, size_t len, uint32_t seed)
{
	return (size_t)((i * (uint64_t)LEAP + seed) % len);
}

static bool goes_on(const struct bench *b, size_t i, size_t len)
{
	return i < len && (b->max == 0 || b->tries < b->max) && time(NULL) < b->until;
}

static void flip(struct bench *b, struct file *file, bool log, uint32_t seed)
{
	uint32_t x = seed;

	for (size_t i = 0; goes_on(b, i, file->len); i++) {
		size_t at = leap(i, file->len, seed);
		uint8_t change = (uint8_t)(chance(&x) % 255 + 1);

		file->bytes[at] ^= change;
		lay(b, log ? &b->below : file, log ? file : NULL);
		file->bytes[at] ^= change;
		judge(b, log ? "a byte of the log changed" : "a byte changed", at, log);
	}
}

static void cut(struct bench *b, uint32_t seed)
{
	size_t all = b->db.len + b->log.len;

	for (size_t i = 0; goes_on(b, i, all); i++) {
		size_t len = leap(i, all, seed);

		if (len < b->db.len) {
			lay(b, &(struct file){b->db.bytes, len}, NULL);
			judge(b, "cut", len, false);
		} else {
			len -= b->db.len;
			lay(b, &b->below, &(struct file){b->log.bytes, len});
			judge(b, "the log cut", len, true);
		}
	}
}

static void pages(struct bench *b)
{
	size_t n = b->db.len / PAGE;
	struct file copy = {malloc(b->db.len), b->db.len};

	if (!copy.bytes)
		die("memory");
	for (size_t i = 0; i < n; i++) {
		memcpy(copy.bytes, b->db.bytes, copy.len);
		memset(copy.bytes + i * PAGE, 0, PAGE);
		lay(b, &copy, NULL);
		judge(b, "a page of zeros", i, false);
		if ((i + 1) * PAGE <= b->older.len) {
			memcpy(copy.bytes + i * PAGE, b->older.bytes + i * PAGE, PAGE);
			lay(b, &copy, NULL);
			judge(b, "a page of before", i, false);
		}
		for (size_t k = 0; k < n && goes_on(b, k, n); k++) {
			memcpy(copy.bytes, b->db.bytes, copy.len);
			memcpy(copy.bytes + i * PAGE, b->db.bytes + k * PAGE, PAGE);
			memcpy(copy.bytes + k * PAGE, b->db.bytes + i * PAGE, PAGE);
			lay(b, &copy, NULL);
			judge(b, "pages swapped", i * n + k, false);
		}
	}
	free(copy.bytes);
}

int main(int argc, char **argv)
{
	static struct bench bench;
	struct bench *b = &bench;
	uint32_t seed;

	if (argc != 6) {
		fprintf(stderr, "Usage: damage FOLDER flip|log|cut|pages SEED TRIES SECONDS\n");
		return 2;
	}
	seed = (uint32_t)strtoul(argv[3], NULL, 10) * 2654435761u + 1;
	b->max = strtoul(argv[4], NULL, 10);
	b->until = time(NULL) + strtol(argv[5], NULL, 10);
	must(crypto_init(), "crypto");
	snprintf(b->path, sizeof(b->path), "%s/store.db", argv[1]);
	snprintf(b->wal, sizeof(b->wal), "%s/store.db-wal", argv[1]);
	build(b);
	if (strcmp(argv[2], "flip") == 0)
		flip(b, &b->db, false, seed);
	else if (strcmp(argv[2], "log") == 0)
		flip(b, &b->log, true, seed);
	else if (strcmp(argv[2], "cut") == 0)
		cut(b, seed);
	else if (strcmp(argv[2], "pages") == 0)
		pages(b);
	else
		return 2;
	printf("%lu %lu %lu %lu %lu\n", b->tries, b->refused, b->sound, b->late, b->lost);
	return 0;
}
