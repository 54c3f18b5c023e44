// SPDX-License-Identifier: Apache-2.0
/* See db-aside.h. */
#include "link/db-aside.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "link/file.h"

#define MIDDLE	   ".damaged-"
#define DIGITS_MAX 18 /* what a person may have named so stays */

static const char *const tails[] = {"", "-wal", "-shm"};

/* "store.db.damaged-17-wal", of "store.db": 17. 0: another name. */
static uint64_t number_of(const char *name, const char *base)
{
	size_t len = strlen(base), digits;

	if (strncmp(name, base, len) != 0 || strncmp(name + len, MIDDLE, strlen(MIDDLE)) != 0)
		return 0;
	name += len + strlen(MIDDLE);
	digits = strspn(name, "0123456789");
	for (size_t i = 0; i < ARRAY_SIZE(tails); i++) {
		if (digits <= DIGITS_MAX && strcmp(name + digits, tails[i]) == 0)
			return strtoull(name, NULL, 10);
	}
	return 0;
}

/* --- the folder -------------------------------------------------------------------------------- */

struct folder {
	DIR *dir;
	const char *base; /* in the caller's path */
};

static void folder_close(struct folder *f)
{
	if (f->dir)
		closedir(f->dir);
}

/* The number of the next copy's file, its name in *ret_name; 0: no more. */
static uint64_t folder_next(struct folder *f, const char **ret_name)
{
	const struct dirent *entry;

	while ((entry = readdir(f->dir))) {
		uint64_t number = number_of(entry->d_name, f->base);

		*ret_name = entry->d_name;
		if (number > 0)
			return number;
	}
	return 0;
}

/* The highest numbers, falling; 0 behind the last. */
static void newest(struct folder *f, uint64_t ret[static DB_ASIDE_KEPT])
{
	const char *name;
	uint64_t number;

	memset(ret, 0, DB_ASIDE_KEPT * sizeof(ret[0]));
	rewinddir(f->dir);
	while ((number = folder_next(f, &name)) > 0) {
		for (size_t i = 0; i < DB_ASIDE_KEPT && number != ret[i]; i++) {
			uint64_t was = ret[i];

			if (number < was)
				continue;
			ret[i] = number;
			number = was;
		}
	}
}

static void remove_older(struct folder *f, uint64_t than)
{
	const char *name;
	uint64_t number;

	rewinddir(f->dir);
	while ((number = folder_next(f, &name)) > 0) {
		if (number < than)
			(void)unlinkat(dirfd(f->dir), name, 0);
	}
}

/* --- moving ------------------------------------------------------------------------------------ */

/* malloc'd; NULL: no memory. */
static char *name_aside(const char *path, uint64_t number, const char *tail)
{
	char *name;

	if (asprintf(&name, "%s" MIDDLE "%" PRIu64 "%s", path, number, tail) < 0)
		return NULL;
	return name;
}

static int move(const char *path, uint64_t number, const char *tail)
{
	cleanup(freep) char *to = name_aside(path, number, tail);
	cleanup(freep) char *from = NULL;

	if (asprintf(&from, "%s%s", path, tail) < 0) {
		from = NULL;
		return -ENOMEM;
	}
	if (!to)
		return -ENOMEM;
	return rename(from, to) < 0 && errno != ENOENT ? -errno : 0;
}

int db_aside(const char *path, uint64_t now)
{
	cleanup(folder_close) struct folder f = {0};
	uint64_t kept[DB_ASIDE_KEPT] = {0};
	int r;

	f.dir = file_open_folder(path, &f.base);
	if (f.dir)
		newest(&f, kept);
	else if (errno == ENOMEM)
		return -ENOMEM;
	if (now <= kept[0])
		now = kept[0] + 1;
	for (size_t i = 0; i < ARRAY_SIZE(tails); i++) {
		r = move(path, now, tails[i]);
		if (r < 0)
			return r;
	}
	/* Nothing older goes before this one is there to stay. */
	if (!f.dir || file_sync_folder(path) < 0)
		return 0;
	newest(&f, kept);
	remove_older(&f, kept[DB_ASIDE_KEPT - 1]);
	return 0;
}

int db_aside_any(const char *path)
{
	cleanup(folder_close) struct folder f = {0};
	const char *name;

	f.dir = file_open_folder(path, &f.base);
	return f.dir ? folder_next(&f, &name) > 0 : -errno;
}
