/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a disk may hold after its power was cut: see power-disk.h.
 *
 * Of what was not synced, each sector (512 or 4096 bytes) has, independently of all others, what it had
 * after any number of the writes to it; one may be torn, or lost as a whole. A file's length is any
 * that it had since; a file is cut short wholly or not at all. Where it got longer and the bytes did
 * not come, there are zeros or, seldom, what had been on the disk there. Changes of names: those up to
 * some moment, or any of them, each whole. Sectors without a write stay.
 */
#include "power-disk.h"

#include <dirent.h>

#define CUT_CHANGES 4096 /* without a sync, to one thing */

enum cut_kind {
	CUT_NOTHING_CAME, /* of what was not synced */
	CUT_ALL_CAME,
	CUT_UP_TO_A_MOMENT, /* in the order in which it was done */
	CUT_ANY,
	CUT_KINDS,
};

struct cut {
	enum cut_kind kind;
	uint64_t moment;
	unsigned percent;
	size_t sector;
	bool names_in_order, torn, destroyed, garbage;
	struct chance *chance;
};

static struct cut cut_draw(struct chance *chance)
{
	static const unsigned percents[] = {10, 50, 90};
	struct cut cut = {
		.kind = (enum cut_kind)chance_of(chance, CUT_KINDS + 2),
		.percent = percents[chance_of(chance, 3)],
		.sector = chance_percent(chance, 50) ? 512 : 4096,
		.names_in_order = chance_percent(chance, 50),
		.torn = chance_percent(chance, 50),
		.destroyed = chance_percent(chance, 40),
		.garbage = chance_percent(chance, 20),
		.chance = chance,
	};
	uint64_t oldest = disk.clock;

	if (cut.kind > CUT_ANY)
		cut.kind = CUT_ANY;
	for (int i = 0; i < disk.nfiles; i++)
		if (disk.files[i].n && disk.files[i].changes[0].when < oldest)
			oldest = disk.files[i].changes[0].when;
	cut.moment = oldest + chance_next(chance) % (disk.clock - oldest + 1);
	return cut;
}

/* Does this change come, in a place where it stands by itself? */
static bool cut_comes(const struct cut *cut, uint64_t when)
{
	switch (cut->kind) {
	case CUT_NOTHING_CAME:
		return false;
	case CUT_ALL_CAME:
		return true;
	case CUT_UP_TO_A_MOMENT:
		return when <= cut->moment;
	case CUT_ANY:
	case CUT_KINDS:
		break;
	}
	return chance_percent(cut->chance, cut->percent);
}

/* One of the moments 0 to n, where whens are those of n changes to the same thing. */
static size_t cut_version(const struct cut *cut, const uint64_t *whens, size_t n)
{
	size_t came = 0;

	switch (cut->kind) {
	case CUT_NOTHING_CAME:
		return 0;
	case CUT_ALL_CAME:
		return n;
	case CUT_UP_TO_A_MOMENT:
		while (came < n && whens[came] <= cut->moment)
			came++;
		return came;
	case CUT_ANY:
	case CUT_KINDS:
		break;
	}
	return chance_percent(cut->chance, cut->percent) ? n
							 : chance_of(cut->chance, (unsigned)n + 1);
}

/* The change's part of the bytes from..to of the image. */
static void cut_lay(uint8_t *image, const struct disk_change *c, size_t from, size_t to)
{
	if (c->at > from)
		from = c->at;
	if (c->bytes && c->at + c->len < to)
		to = c->at + c->len;
	if (from >= to)
		return;
	if (c->bytes)
		memcpy(image + from, c->bytes + (from - c->at), to - from);
	else
		memset(image + from, 0, to - from);
}

static bool cut_writes(const struct disk_change *c, size_t from, size_t to)
{
	return c->bytes && c->at < to && c->at + c->len > from;
}

/* A card that loses its power while it writes a sector may lose all of that, also what stood there. */
static void cut_destroy(const struct cut *cut, uint8_t *image, size_t from, size_t to)
{
	while (from < to)
		image[from++] = (uint8_t)chance_next(cut->chance);
}

/* lens: so many of the file's changes have had their part in its length. */
static void cut_sector(const struct cut *cut, const struct disk_file *f, size_t lens,
		       uint8_t *image, size_t from, size_t to)
{
	uint64_t whens[CUT_CHANGES];
	size_t n = 0, came, i;

	for (i = 0; i < f->n; i++)
		if (cut_writes(&f->changes[i], from, to) && n < CUT_CHANGES)
			whens[n++] = f->changes[i].when;
	came = n ? cut_version(cut, whens, n) : 0;
	for (n = i = 0; i < f->n; i++) {
		if (!f->changes[i].bytes && i < lens)
			cut_lay(image, &f->changes[i], from, to);
		if (!cut_writes(&f->changes[i], from, to))
			continue;
		if (n++ < came) {
			cut_lay(image, &f->changes[i], from, to);
		} else if (n == came + 1 && cut->torn && chance_percent(cut->chance, 10)) {
			size_t middle = from + chance_of(cut->chance, (unsigned)(to - from));
			bool front = chance_percent(cut->chance, 50);

			cut_lay(image, &f->changes[i], front ? from : middle, front ? middle : to);
		}
	}
	if (came < n && cut->destroyed && chance_percent(cut->chance, 20))
		cut_destroy(cut, image, from, to);
}

/* What the file holds now; malloc'd. */
static uint8_t *cut_file(const struct cut *cut, const struct disk_file *f, size_t *ret_len)
{
	size_t most = f->sure_len, len = f->sure_len, came;
	uint64_t *whens = calloc(f->n + 1, sizeof(*whens));
	uint8_t *image;

	if (!whens)
		disk_die("memory");
	for (size_t i = 0; i < f->n; i++) {
		len = disk_len_after(&f->changes[i], len);
		whens[i] = f->changes[i].when;
		if (len > most)
			most = len;
	}
	came = cut_version(cut, whens, f->n);
	free(whens);
	*ret_len = f->sure_len;
	for (size_t i = 0; i < came; i++)
		*ret_len = disk_len_after(&f->changes[i], *ret_len);
	image = calloc(1, most + 1);
	if (!image)
		disk_die("memory");
	memcpy(image, f->sure, f->sure_len);
	for (size_t i = f->sure_len; cut->garbage && i < most; i++)
		image[i] = (uint8_t)chance_next(cut->chance);
	for (size_t at = 0; f->n && at < most; at += cut->sector)
		cut_sector(cut, f, came, image, at,
			   at + cut->sector < most ? at + cut->sector : most);
	return image;
}

/* names: as after the cut. */
static void cut_names(const struct cut *cut, struct disk_name *names, int *n)
{
	uint64_t whens[CUT_CHANGES];
	size_t came, i;

	*n = disk.nnames;
	memcpy(names, disk.names, sizeof(disk.names));
	if (cut->names_in_order) {
		for (i = 0; i < disk.nacts && i < CUT_CHANGES; i++)
			whens[i] = disk.acts[i].when;
		came = cut_version(cut, whens, i);
		for (i = 0; i < came; i++)
			disk_apply_act(names, n, &disk.acts[i]);
		return;
	}
	for (i = 0; i < disk.nacts; i++)
		if (cut_comes(cut, disk.acts[i].when))
			disk_apply_act(names, n, &disk.acts[i]);
}

/* --- a disk's lives --- */

static void disk_forget(void)
{
	for (int i = 0; i < disk.nfiles; i++) {
		disk_forget_changes(&disk.files[i]);
		free(disk.files[i].changes);
		free(disk.files[i].sure);
		close(disk.files[i].hold);
	}
	disk.nfiles = disk.nnames = 0;
	disk.nacts = 0;
	disk.on = false;
}

/* From now on dir, which is empty. */
static void disk_start(const char *dir)
{
	struct stat st;

	disk_forget();
	if (!realpath(dir, disk.dir) || stat(disk.dir, &st) < 0)
		disk_die(dir);
	disk.dir_len = strlen(disk.dir);
	disk.dir_number = st.st_ino;
	disk.dead = false;
	disk.on = true;
}

/* A folder of files. */
static void disk_remove(const char *dir)
{
	DIR *folder = opendir(dir);
	struct dirent *entry;

	while (folder && (entry = readdir(folder)))
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(folder), entry->d_name, 0);
	if (folder)
		closedir(folder);
	unlinkat(AT_FDCWD, dir, AT_REMOVEDIR);
}

/* A file of shared memory may be there still, with anything in it. */
static void cut_memory(struct chance *chance, const char *log)
{
	char path[PATH_MAX + DISK_NAME + 2];
	uint8_t bytes[512];
	size_t len = strlen(log);
	ssize_t done = 0;
	int fd;

	if (len < 5 || strcmp(log + len - 4, "-wal") != 0 || !chance_percent(chance, 30))
		return;
	snprintf(path, sizeof(path), "%s/%.*s-shm", disk.dir, (int)len - 4, log);
	fd = openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)chance_next(chance);
	for (int i = 0; i < 64; i++)
		done += pwritev64(fd, &(struct iovec){bytes, sizeof(bytes)}, 1, done);
	close(fd);
}

/* The files as the cut left them go into the empty folder `to`, which is the disk from now on. */
static void disk_cut(struct chance *chance, const char *to)
{
	static struct disk_name names[DISK_NAMES];
	struct cut cut = cut_draw(chance);
	struct {
		uint8_t *bytes;
		size_t len;
	} kept[DISK_NAMES];
	char path[PATH_MAX + DISK_NAME + 2];
	int n, fd;

	cut_names(&cut, names, &n);
	for (int i = 0; i < n; i++) {
		kept[i].bytes = NULL;
		if (names[i].file >= 0)
			kept[i].bytes = cut_file(&cut, &disk.files[names[i].file], &kept[i].len);
	}
	disk_start(to);
	for (int i = 0; i < n; i++) {
		int file;

		if (!kept[i].bytes)
			continue;
		snprintf(path, sizeof(path), "%s/%.*s", disk.dir, DISK_NAME - 1, names[i].name);
		fd = openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || pwritev64(fd, &(struct iovec){kept[i].bytes, kept[i].len}, 1, 0) !=
				      (ssize_t)kept[i].len)
			disk_die(path);
		close(fd);
		file = disk_add_file(path);
		disk.files[file].sure = kept[i].bytes;
		disk.files[file].sure_len = kept[i].len;
		disk_set_name(disk.names, &disk.nnames, names[i].name, file);
		cut_memory(chance, names[i].name);
	}
}
