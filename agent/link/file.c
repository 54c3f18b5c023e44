// SPDX-License-Identifier: Apache-2.0
/* Small files. See file.h. */
#include "link/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* malloc'd; NULL: no memory. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
}

int file_sync_folder(const char *path)
{
	cleanup(freep) char *folder = folder_of(path);
	cleanup(closep) int fd = -1;

	if (!folder)
		return -ENOMEM;
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int file_folder_writable(const char *path)
{
	cleanup(freep) char *folder = folder_of(path);

	if (!folder)
		return -ENOMEM;
	return access(folder, W_OK | X_OK) < 0 ? -errno : 0;
}

DIR *file_open_folder(const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	cleanup(freep) char *folder = folder_of(path);

	*ret_name = slash ? slash + 1 : path;
	return folder ? opendir(folder) : NULL;
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

int file_rename(const char *from, const char *to)
{
	if (rename(from, to) < 0)
		return -errno;
	return file_sync_folder(to);
}

int file_write(const char *path, struct span bytes, mode_t mode)
{
	cleanup(freep) char *temporary = NULL;
	cleanup(closep) int fd = -1;
	int r;

	if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
		temporary = NULL;
		return -ENOMEM;
	}
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = write_all(fd, bytes);
	if (r == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
		r = -errno;
	if (r == 0)
		r = file_rename(temporary, path);
	if (r < 0)
		unlink(temporary);
	return r;
}

int file_read(const char *path, void *ret, size_t cap, size_t *ret_len)
{
	cleanup(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	uint8_t beyond;

	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t n = len < cap ? read(fd, (uint8_t *)ret + len, cap - len)
				      : read(fd, &beyond, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		if (len == cap)
			return -EFBIG;
		len += (size_t)n;
	}
	*ret_len = len;
	return 0;
}
