/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A disk whose power can be cut at any call.
 *
 * The program that includes this has open, write, pwrite, ftruncate, fsync, fdatasync, link, unlink,
 * rename and mkostemp of its own, in SQLite's calls too. The files in disk.dir are real ones, and what
 * the running program sees; beside each stand the bytes that are sure to be there after a cut, and
 * every change since the last sync, in order. Names are changes of the folder, sure with its fsync.
 *
 * At the call with the number cut_at the power goes: that call and all later ones fail with EIO, so
 * that the program unwinds without having got anything else done. What is on the disk then is for
 * power-cut.h. Shared memory (-shm) is memory: nothing of it is kept.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define DISK_NAME  96
#define DISK_FILES 256
#define DISK_NAMES 256

/* --- chance: splitmix64 --- */

struct chance {
	uint64_t state;
};

static inline uint64_t chance_next(struct chance *c)
{
	uint64_t z = (c->state += 0x9e3779b97f4a7c15U);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
	return z ^ (z >> 31);
}

/* 0 to n - 1 */
static inline unsigned chance_of(struct chance *c, unsigned n)
{
	return n ? (unsigned)(chance_next(c) % n) : 0;
}

static inline bool chance_percent(struct chance *c, unsigned percent)
{
	return chance_of(c, 100) < percent;
}

/* --- what is kept beside the files --- */

struct disk_change { /* a write, or (bytes NULL) a new length */
	uint64_t when;
	size_t at, len;
	uint8_t *bytes;
};

struct disk_file {
	ino_t number;
	int hold; /* open, so that its number is not given to another */
	uint8_t *sure;
	size_t sure_len;
	struct disk_change *changes;
	size_t n, cap;
};

struct disk_name {
	char name[DISK_NAME];
	int file; /* index; -1: none */
};

/* from "": a new name. to "": a name goes. Both: rename, one step. */
struct disk_act {
	uint64_t when;
	char from[DISK_NAME], to[DISK_NAME];
	int file;
};

static struct disk {
	bool on, dead;
	unsigned lies_percent; /* of its syncs that do nothing */
	uint64_t calls, cut_at;
	char dir[PATH_MAX];
	size_t dir_len;
	ino_t dir_number;
	struct disk_file files[DISK_FILES];
	int nfiles;
	struct disk_name names[DISK_NAMES];
	int nnames;
	struct disk_act *acts;
	size_t nacts, acts_cap;
	uint64_t clock, syncs, ignored;
	unsigned temporaries;
	struct chance chance, random; /* random: what the program itself is given */
} disk;

static void disk_die(const char *what)
{
	fprintf(stderr, "power-disk: %s: %s\n", what, strerror(errno));
	abort();
}

static void *disk_more(void *list, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return list;
	*cap = *cap ? 2 * *cap : 64;
	list = realloc(list, *cap * size);
	if (!list)
		disk_die("memory");
	return list;
}

/* The name within our folder; NULL: elsewhere. */
static const char *disk_name_of(const char *path)
{
	const char *name;

	if (!disk.on || strncmp(path, disk.dir, disk.dir_len) != 0 || path[disk.dir_len] != '/')
		return NULL;
	name = path + disk.dir_len + 1;
	if (!*name || strchr(name, '/') || strlen(name) >= DISK_NAME)
		return NULL;
	return name;
}

static bool disk_is_memory(const char *name)
{
	size_t len = strlen(name);

	return len > 4 && strcmp(name + len - 4, "-shm") == 0;
}

static int disk_find(ino_t number)
{
	for (int i = 0; i < disk.nfiles; i++)
		if (disk.files[i].number == number)
			return i;
	return -1;
}

static int disk_find_name(const char *name)
{
	char path[PATH_MAX + DISK_NAME];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", disk.dir, name);
	return lstat(path, &st) < 0 ? -1 : disk_find(st.st_ino);
}

static int disk_find_fd(int fd)
{
	struct stat st;

	return !disk.on || fstat(fd, &st) < 0 ? -1 : disk_find(st.st_ino);
}

static int disk_add_file(const char *path)
{
	struct disk_file *f = &disk.files[disk.nfiles];
	struct stat st;

	if (disk.nfiles == DISK_FILES) {
		errno = EMFILE;
		disk_die("too many files in one life");
	}
	*f = (struct disk_file){.hold = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC)};
	if (f->hold < 0 || fstat(f->hold, &st) < 0)
		disk_die(path);
	f->number = st.st_ino;
	return disk.nfiles++;
}

static void disk_add_act(const char *from, const char *to, int file)
{
	struct disk_act *a;

	disk.acts = disk_more(disk.acts, disk.nacts, &disk.acts_cap, sizeof(*disk.acts));
	a = &disk.acts[disk.nacts++];
	*a = (struct disk_act){.when = ++disk.clock, .file = file};
	snprintf(a->from, sizeof(a->from), "%s", from);
	snprintf(a->to, sizeof(a->to), "%s", to);
}

static void disk_add_change(struct disk_file *f, size_t at, const void *bytes, size_t len)
{
	struct disk_change *c;

	f->changes = disk_more(f->changes, f->n, &f->cap, sizeof(*f->changes));
	c = &f->changes[f->n++];
	*c = (struct disk_change){.when = ++disk.clock, .at = at, .len = len};
	if (!bytes)
		return;
	c->bytes = malloc(len ? len : 1);
	if (!c->bytes)
		disk_die("memory");
	memcpy(c->bytes, bytes, len);
}

static size_t disk_len_after(const struct disk_change *c, size_t len)
{
	if (!c->bytes)
		return c->at;
	return c->at + c->len > len ? c->at + c->len : len;
}

static void disk_forget_changes(struct disk_file *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->changes[i].bytes);
	f->n = 0;
}

static void disk_settle_file(struct disk_file *f)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct disk_change *c = &f->changes[i];
		size_t len = disk_len_after(c, f->sure_len);

		if (len > f->sure_len) {
			f->sure = realloc(f->sure, len);
			if (!f->sure)
				disk_die("memory");
			memset(f->sure + f->sure_len, 0, len - f->sure_len);
		}
		f->sure_len = len;
		if (c->bytes)
			memcpy(f->sure + c->at, c->bytes, c->len);
	}
	disk_forget_changes(f);
}

static void disk_set_name(struct disk_name *names, int *n, const char *name, int file)
{
	int i = 0;

	while (i < *n && strcmp(names[i].name, name) != 0)
		i++;
	if (i == *n) {
		if (i == DISK_NAMES)
			disk_die("too many names");
		snprintf(names[(*n)++].name, DISK_NAME, "%s", name);
	}
	names[i].file = file;
}

static void disk_apply_act(struct disk_name *names, int *n, const struct disk_act *a)
{
	if (a->from[0])
		disk_set_name(names, n, a->from, -1);
	if (a->to[0])
		disk_set_name(names, n, a->to, a->file);
}

static void disk_settle_folder(void)
{
	for (size_t i = 0; i < disk.nacts; i++)
		disk_apply_act(disk.names, &disk.nnames, &disk.acts[i]);
	disk.nacts = 0;
}

/* --- the calls --- */

enum disk_turn { DISK_GO, DISK_LAST, DISK_DEAD };

/* LAST: what this call does is on its way when the power goes. */
static enum disk_turn disk_turn(void)
{
	if (disk.dead)
		return DISK_DEAD;
	if (++disk.calls != disk.cut_at)
		return DISK_GO;
	disk.dead = true;
	return DISK_LAST;
}

static int disk_fail(void)
{
	errno = EIO;
	return -1;
}

static ssize_t disk_write(int fd, const void *bytes, size_t n, off64_t at)
{
	const struct iovec what = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
	int file = disk_find_fd(fd);
	enum disk_turn turn = file < 0 ? DISK_GO : disk_turn();

	if (turn == DISK_DEAD)
		return disk_fail();
	if (file >= 0)
		disk_add_change(&disk.files[file], (size_t)at, bytes, n);
	return turn == DISK_LAST ? disk_fail() : pwritev64(fd, &what, 1, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at)
{
	return disk_write(fd, bytes, n, at);
}

/* With 64-bit offsets the compiler's pwrite is pwrite64, its ftruncate ftruncate64, and so on: the
 * symbols of a library built without are these. */
ssize_t plain_pwrite(int fd, const void *bytes, size_t n, long at) __asm__("pwrite");
ssize_t plain_pwrite(int fd, const void *bytes, size_t n, long at)
{
	return disk_write(fd, bytes, n, at);
}

ssize_t write(int fd, const void *bytes, size_t n)
{
	const struct iovec what = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
	off64_t at;
	ssize_t done;

	if (disk_find_fd(fd) < 0)
		return writev(fd, &what, 1);
	at = lseek(fd, 0, SEEK_CUR);
	done = disk_write(fd, bytes, n, at);
	if (done > 0)
		lseek(fd, at + done, SEEK_SET);
	return done;
}

static int disk_truncate(int fd, off64_t len)
{
	static int (*real)(int, off64_t);
	int file = disk_find_fd(fd);
	enum disk_turn turn = file < 0 ? DISK_GO : disk_turn();

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "ftruncate64");
	if (turn == DISK_DEAD)
		return disk_fail();
	if (file >= 0)
		disk_add_change(&disk.files[file], (size_t)len, NULL, 0);
	return turn == DISK_LAST ? disk_fail() : real(fd, len);
}

int ftruncate64(int fd, off64_t len)
{
	return disk_truncate(fd, len);
}

int plain_ftruncate(int fd, long len) __asm__("ftruncate");
int plain_ftruncate(int fd, long len)
{
	return disk_truncate(fd, len);
}

static int disk_sync(int fd)
{
	struct stat st;
	bool folder;
	int file;

	if (!disk.on || fstat(fd, &st) < 0)
		return 0;
	folder = st.st_ino == disk.dir_number;
	file = disk_find(st.st_ino);
	if (!folder && file < 0)
		return 0;
	if (disk_turn() != DISK_GO)
		return disk_fail();
	disk.syncs++;
	if (chance_percent(&disk.chance, disk.lies_percent)) {
		disk.ignored++;
		return 0;
	}
	if (folder)
		disk_settle_folder();
	else
		disk_settle_file(&disk.files[file]);
	return 0;
}

int fsync(int fd)
{
	return disk_sync(fd);
}

int fdatasync(int fd)
{
	return disk_sync(fd);
}

static int disk_open(const char *path, int flags, mode_t mode)
{
	const char *name = disk_name_of(path);
	enum disk_turn turn = DISK_GO;
	bool is_new;
	int fd;

	if (!name || disk_is_memory(name) || !(flags & (O_CREAT | O_TRUNC)))
		return openat(AT_FDCWD, path, flags, mode);
	is_new = faccessat(AT_FDCWD, path, F_OK, 0) < 0;
	if (is_new || flags & O_TRUNC)
		turn = disk_turn();
	if (turn == DISK_DEAD)
		return disk_fail();
	fd = openat(AT_FDCWD, path, flags, mode);
	if (fd < 0)
		return fd;
	if (is_new)
		disk_add_act("", name, disk_add_file(path));
	else if (flags & O_TRUNC)
		disk_add_change(&disk.files[disk_find_fd(fd)], 0, NULL, 0);
	if (turn == DISK_GO)
		return fd;
	close(fd);
	return disk_fail();
}

#define disk_open_with_mode(path, flags)                                                           \
	({                                                                                         \
		mode_t mode_ = 0;                                                                  \
		va_list args_;                                                                     \
		va_start(args_, flags);                                                            \
		if ((flags)&O_CREAT)                                                               \
			mode_ = va_arg(args_, mode_t);                                             \
		va_end(args_);                                                                     \
		disk_open(path, flags, mode_);                                                     \
	})

int open64(const char *path, int flags, ...)
{
	return disk_open_with_mode(path, flags);
}

int plain_open(const char *path, int flags, ...) __asm__("open");
int plain_open(const char *path, int flags, ...)
{
	return disk_open_with_mode(path, flags);
}

/* Names that a seed gives again. */
int mkostemp64(char *pattern, int flags)
{
	char *tail = pattern + strlen(pattern) - 6;
	int fd;

	do {
		snprintf(tail, 7, "%06u", disk.temporaries++ % 1000000);
		fd = disk_open(pattern, flags | O_RDWR | O_CREAT | O_EXCL, 0600);
	} while (fd < 0 && errno == EEXIST);
	return fd;
}

int plain_mkostemp(char *pattern, int flags) __asm__("mkostemp");
int plain_mkostemp(char *pattern, int flags)
{
	return mkostemp64(pattern, flags);
}

int unlink(const char *path)
{
	const char *name = disk_name_of(path);
	enum disk_turn turn;

	if (!name || disk_is_memory(name) || disk_find_name(name) < 0)
		return unlinkat(AT_FDCWD, path, 0);
	turn = disk_turn();
	if (turn == DISK_DEAD)
		return disk_fail();
	disk_add_act(name, "", -1);
	return turn == DISK_LAST ? disk_fail() : unlinkat(AT_FDCWD, path, 0);
}

int rename(const char *from, const char *to)
{
	const char *name = disk_name_of(from), *other = disk_name_of(to);
	int file = name ? disk_find_name(name) : -1;
	enum disk_turn turn;

	if (file < 0 || !other)
		return renameat(AT_FDCWD, from, AT_FDCWD, to);
	turn = disk_turn();
	if (turn == DISK_DEAD)
		return disk_fail();
	disk_add_act(name, other, file);
	return turn == DISK_LAST ? disk_fail() : renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int link(const char *from, const char *to)
{
	const char *name = disk_name_of(from), *other = disk_name_of(to);
	int file = name ? disk_find_name(name) : -1;
	enum disk_turn turn;

	if (file < 0 || !other || faccessat(AT_FDCWD, to, F_OK, 0) == 0)
		return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
	turn = disk_turn();
	if (turn == DISK_DEAD)
		return disk_fail();
	disk_add_act("", other, file);
	return turn == DISK_LAST ? disk_fail() : linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* What a program draws is the seed's too. */
ssize_t getrandom(void *ret, size_t n, unsigned flags)
{
	uint8_t *bytes = ret;

	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)(chance_next(&disk.random) >> 32);
	return (ssize_t)n;
}
