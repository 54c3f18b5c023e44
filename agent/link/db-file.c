// SPDX-License-Identifier: Apache-2.0
/* See db-file.h. */
#include "link/db-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
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

int db_file_temporary(const char *path, char **ret, char words[static DB_WORDS_CAP])
{
	cleanup(freep) char *temporary = NULL;
	int fd;

	if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
		temporary = NULL;
		return -ENOMEM;
	}
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return fail(path, "cannot create the file", errno, words);
	close(fd);
	*ret = steal(temporary);
	return 0;
}

int db_file_writable(const char *path)
{
	return access(path, W_OK) < 0 ? -errno : file_folder_writable(path);
}

int db_file_name(const char *temporary, const char *path, char words[static DB_WORDS_CAP])
{
	/* link, not rename: it replaces nothing */
	int r = link(temporary, path) < 0 ? -errno : 0;

	unlink(temporary);
	if (r == -EEXIST)
		return 1;
	if (r < 0)
		return fail(path, "cannot name the file", -r, words);
	r = file_sync_folder(path);
	return r < 0 ? fail(path, "cannot sync the folder", -r, words) : 0;
}
