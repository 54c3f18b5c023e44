/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Small files, written so that a crash leaves the old one or the new one. */
#include <dirent.h>
#include <sys/types.h>

#include "core/span.h"

/* Through a temporary file in the same folder, synced, then renamed; the folder synced. */
int file_write(const char *path, struct span bytes, mode_t mode);
/* The whole file; -EFBIG if it is longer than cap. */
int file_read(const char *path, void *ret, size_t cap, size_t *ret_len);
/* rename, and the folder synced. */
int file_rename(const char *from, const char *to);
/* The folder that path is in, open to be listed; *ret_name: path without it. NULL: errno tells why. */
DIR *file_open_folder(const char *path, const char **ret_name);
/* The same: fsync, and whether this process may make files there. 0 or -errno. */
int file_sync_folder(const char *path);
int file_folder_writable(const char *path);
