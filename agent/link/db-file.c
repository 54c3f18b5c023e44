// SPDX-License-Identifier: Apache-2.0
/* See db-file.h. */
#include "link/db-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "link/file.h"

const char *db_file_hint(int error)
{
	switch (error) {
	case ENOENT:
		return "; its folder does not exist: create it";
	case EACCES:
	case EPERM:
		return "; give the folder and the file to the user that this program runs as";
	case ENOTDIR:
		return "; a part of the path is not a folder: correct the path";
	case ENOSPC:
	case EDQUOT:
		return "; make room on that file system";
	case EBUSY:
		return "; another process has it open: end that one first";
	case EIO:
		return "; look into the system's log: the disk or card may be failing";
	case EROFS:
		return "; mount that file system writable";
	default:
		return "";
	}
}

static int fail(const char *path, const char *what, int error, char words[static DB_WORDS_CAP])
{
	snprintf(words, DB_WORDS_CAP, "%s: %s: %s%s", path, what, strerror(error),
		 db_file_hint(error));
	return -error;
}

int db_file_look(const char *path, char words[static DB_WORDS_CAP])
{
	cleanup(freep) char *wal = NULL;
	struct stat st;

	if (stat(path, &st) == 0) {
		if (S_ISREG(st.st_mode) && st.st_size > 0)
			return 0;
		snprintf(words, DB_WORDS_CAP, "%s: %s", path,
			 S_ISREG(st.st_mode) ? "the file is damaged: it is empty"
					     : "is not a file");
		return -EBADMSG;
	}
	if (errno != ENOENT)
		return fail(path, "cannot look at the file", errno, words);
	if (asprintf(&wal, "%s-wal", path) < 0) {
		wal = NULL;
		return -ENOMEM;
	}
	if (stat(wal, &st) == 0 && st.st_size > 0) {
		snprintf(words, DB_WORDS_CAP,
			 "%s: damaged: the file is missing, but its write-ahead log is there",
			 path);
		return -EBADMSG;
	}
	return 1;
}

char *db_file_uri(const char *path)
{
	static const char tail[] = "?psow=0";
	char *uri = malloc(sizeof("file://") + 3 * strlen(path) + sizeof(tail)), *to;

	if (!uri)
		return NULL;
	/* what follows two slashes would be a host */
	to = stpcpy(uri, *path == '/' ? "file://" : "file:");
	for (; *path; path++) {
		if (*path == '%' || *path == '?' || *path == '#')
			to += sprintf(to, "%%%02X", (unsigned char)*path);
		else
			*to++ = *path;
	}
	strcpy(to, tail);
	return uri;
}

int db_file_writable(const char *path)
{
	return access(path, W_OK) < 0 ? -errno : file_folder_writable(path);
}

/* --- making ------------------------------------------------------------------------------------ */

#define MIDDLE	     ".making-"
#define CHANCE	     6 /* characters of mkostemp */
#define MAKING_TRIES 20

static const char *const logs[] = {"-wal", "-shm", "-journal"};

/* The file last: its logs alone would never be found again. */
static void remove_all(int folder, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(logs); i++) {
		cleanup(freep) char *beside = NULL;

		if (asprintf(&beside, "%s%s", name, logs[i]) < 0)
			beside = NULL;
		if (beside)
			(void)unlinkat(folder, beside, 0);
	}
	(void)unlinkat(folder, name, 0);
}

void db_making_end(struct db_making *making)
{
	if (!making->path)
		return;
	remove_all(AT_FDCWD, making->path);
	close(making->fd);
	free(steal(making->path));
}

/* false: somebody who sweeps was quicker, and it is gone or about to go. Where there are no locks
 * nobody sweeps. */
static bool hold(int fd)
{
	struct stat st;

	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno != EWOULDBLOCK;
	return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

/* 1: not this time. */
static int make_one(const char *path, struct db_making *ret)
{
	cleanup(freep) char *name = NULL;
	int fd;

	if (asprintf(&name, "%s" MIDDLE "XXXXXX", path) < 0) {
		name = NULL;
		return -ENOMEM;
	}
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (!hold(fd)) {
		close(fd);
		return 1;
	}
	*ret = (struct db_making){steal(name), fd};
	return 0;
}

int db_file_make(const char *path, struct db_making *ret, char words[static DB_WORDS_CAP])
{
	int r = 1;

	for (int tries = 0; r > 0 && tries < MAKING_TRIES; tries++)
		r = make_one(path, ret);
	if (r > 0)
		r = -EBUSY;
	return r < 0 ? fail(path, "cannot create the file", -r, words) : 0;
}

int db_file_made(struct db_making *making, const char *path, char words[static DB_WORDS_CAP])
{
	/* link, not rename: it replaces nothing */
	int r = link(making->path, path) < 0 ? -errno : 0;

	db_making_end(making);
	if (r == -EEXIST)
		return 1;
	if (r < 0)
		return fail(path, "cannot name the file", -r, words);
	r = file_sync_folder(path);
	return r < 0 ? fail(path, "cannot sync the folder", -r, words) : 0;
}

/* --- what crashes left ------------------------------------------------------------------------- */

static bool is_chance(const char *text, size_t len)
{
	return len == CHANCE && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					     "0123456789") >= CHANCE;
}

/* "desk.db.making-a8Xk2p", of "desk.db". */
static bool is_making(const char *name, const char *base)
{
	size_t len = strlen(base), middle = strlen(MIDDLE);

	return strncmp(name, base, len) == 0 && strncmp(name + len, MIDDLE, middle) == 0 &&
	       is_chance(name + len + middle, strlen(name + len + middle));
}

/*
 * A crash after link() leaves two names of one file. That one is not opened here: to close it would
 * take along the locks that this process may have on it.
 */
static bool is_named(int folder, const struct stat *st, const char *base)
{
	struct stat named;

	return st->st_nlink > 1 && fstatat(folder, base, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       named.st_ino == st->st_ino && named.st_dev == st->st_dev;
}

static void sweep_one(int folder, const char *name, const char *base)
{
	struct stat st;
	int fd;

	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return;
	if (is_named(folder, &st, base)) {
		(void)unlinkat(folder, name, 0);
		return;
	}
	fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		remove_all(folder, name);
	close(fd);
}

void db_file_sweep(const char *path)
{
	const struct dirent *entry;
	const char *base;
	DIR *dir = file_open_folder(path, &base);

	while (dir && (entry = readdir(dir))) {
		if (is_making(entry->d_name, base))
			sweep_one(dirfd(dir), entry->d_name, base);
	}
	if (dir)
		closedir(dir);
}
