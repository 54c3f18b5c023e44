// SPDX-License-Identifier: Apache-2.0
/* The lock of the one that serves. See serving.h. */
#include "desk/serving.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/span.h"

static int open_lock(const struct desk *desk, int flags)
{
	cleanup(freep) char *path = NULL;
	int fd;

	if (asprintf(&path, "%s/serve.lock", desk->dir) < 0)
		return -ENOMEM;
	fd = open(path, flags | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

/* Two of them would take the session from each other at the broker, for ever. */
int serving_begin(const struct desk *desk)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = open_lock(desk, O_RDWR | O_CREAT), r;

	if (fd < 0)
		return fd;
	/* held by the open file, which is never closed: until the process ends, however it ends */
	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	r = errno == EACCES || errno == EAGAIN ? -EWOULDBLOCK : -errno;
	close(fd);
	return r;
}

/* Asks without taking it: a `serve` that starts meanwhile must not be turned away. */
bool serving_elsewhere(const struct desk *desk)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = open_lock(desk, O_RDWR);
	bool held;

	if (fd < 0)
		return false;
	held = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
	close(fd);
	return held;
}
