// SPDX-License-Identifier: Apache-2.0
/*
 * Files put in their place in two steps. See install.h. Temporary names are fixed (PATH.tmp), so that
 * what a killed run left is found and overwritten by the next one. The folder may belong to the
 * agent's user, whom we do not trust: nothing here follows a symbolic link in it.
 */
#include "ctl/install.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "link/file.h"

#define TEMPORARY ".tmp"
#define KEPT	  ".keep" /* a second name of what is there, until it gets its own */

static void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static int failed(const char *path, int error, char words[static INSTALL_WORDS_CAP])
{
	const char *hint = "";

	if (error == ENOSPC || error == EDQUOT)
		hint = "; make room (journalctl --vacuum-size=50M frees some), then do it again";
	else if (error == EROFS)
		hint = "; make the file system writable, then do it again";
	else if (error == EACCES || error == EPERM)
		hint = "; run it as root";
	else if (error == ENOENT || error == ENOTDIR)
		hint = "; its folder is missing: install the package lockbridge";
	snprintf(words, INSTALL_WORDS_CAP, "cannot write %s: %s%s", path, strerror(error), hint);
	return -error;
}

static int beside(const char *path, const char *suffix, char **ret)
{
	if (asprintf(ret, "%s%s", path, suffix) < 0) {
		*ret = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int write_all(int fd, struct span bytes)
{
	while (bytes.len > 0) {
		ssize_t n = write(fd, bytes.data, bytes.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes = span_of(bytes.data + n, bytes.len - (size_t)n);
	}
	return 0;
}

/* The second name of what is there now: taken early, because a full disk may have no room for it. */
static int name_old(const struct install_file *file)
{
	cleanup(freep) char *kept = NULL;
	int r = beside(file->path, KEPT, &kept);

	if (r < 0)
		return r;
	if (unlink(kept) < 0 && errno != ENOENT) /* a killed run's */
		return -errno;
	if (!file->old)
		return 0;
	return link(file->path, kept) < 0 && errno != ENOENT ? -errno : 0;
}

static int write_temporary(const struct install_file *file)
{
	cleanup(closep) int fd = -1;
	int r;

	if (unlink(file->temporary) < 0 && errno != ENOENT)
		return -errno;
	fd = open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = write_all(fd, file->bytes);
	if (r < 0)
		return r;
	/* the mode last: a change of owner takes bits away */
	if (fchown(fd, file->uid, file->gid) < 0 || fchmod(fd, file->mode) < 0 || fsync(fd) < 0)
		return -errno;
	return 0;
}

int install_stage(struct install_file *file, char words[static INSTALL_WORDS_CAP])
{
	int r = beside(file->path, TEMPORARY, &file->temporary);

	if (r == 0)
		r = write_temporary(file);
	if (r == 0)
		r = name_old(file);
	if (r == 0)
		return 0;
	install_drop(file);
	return failed(file->path, -r, words);
}

int install_commit(struct install_file *file, char words[static INSTALL_WORDS_CAP])
{
	cleanup(freep) char *kept = NULL, *old = NULL;
	int r = 0;

	if (file->old) {
		r = beside(file->path, KEPT, &kept);
		if (r == 0)
			r = beside(file->path, file->old, &old);
		if (r == 0 && rename(kept, old) < 0 && errno != ENOENT)
			r = -errno;
		/* rename() does nothing where both names are the same file's already */
		if (r == 0 && unlink(kept) < 0 && errno != ENOENT)
			r = -errno;
	}
	if (r == 0)
		r = file_rename(file->temporary, file->path);
	if (r < 0)
		return failed(file->path, -r, words);
	freep(&file->temporary);
	file->temporary = NULL;
	return 0;
}

int install_link(struct install_file *file, char words[static INSTALL_WORDS_CAP])
{
	int r = 0;

	if (link(file->temporary, file->path) < 0 && errno != EEXIST)
		return failed(file->path, errno, words);
	if (unlink(file->temporary) < 0)
		return failed(file->temporary, errno, words);
	freep(&file->temporary);
	file->temporary = NULL;
	r = file_sync_folder(file->path);
	return r < 0 ? failed(file->path, -r, words) : 0;
}

void install_drop(struct install_file *file)
{
	cleanup(freep) char *kept = NULL;

	if (!file->temporary)
		return;
	unlink(file->temporary);
	if (file->old && beside(file->path, KEPT, &kept) == 0)
		unlink(kept);
	freep(&file->temporary);
	file->temporary = NULL;
}

int install_replace(const char *path, struct span bytes, char words[static INSTALL_WORDS_CAP])
{
	struct install_file file = {.path = path, .bytes = bytes};
	struct stat st;
	int r;

	if (stat(path, &st) < 0)
		return failed(path, errno, words);
	file.mode = st.st_mode & 07777;
	file.uid = st.st_uid;
	file.gid = st.st_gid;
	r = install_stage(&file, words);
	if (r == 0)
		r = install_commit(&file, words);
	install_drop(&file);
	return r;
}
