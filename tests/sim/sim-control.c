// SPDX-License-Identifier: Apache-2.0
#include "sim/sim-control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/span.h"

#define LINE_CAP 1024

struct control_socket {
	sd_event *event;
	sd_event_source *listener;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	control_fn fn;
	void *user;
	LIST_HEAD(callers, caller) callers;
};

struct caller {
	LIST_ENTRY(caller) entry;
	struct control_socket *socket;
	sd_event_source *source;
	size_t len;
	char buf[LINE_CAP];
};

static void hang_up(struct caller *c)
{
	int fd = sd_event_source_get_io_fd(c->source);

	LIST_REMOVE(c, entry);
	sd_event_source_disable_unref(c->source);
	close(fd);
	free(c);
}

/* Answers are short, and the caller waits for each: a blocking write is no danger here. */
static void answer(int fd, char *line, struct control_socket *s)
{
	cleanup(freep) char *error = NULL;
	cleanup(freep) char *text = s->fn(line, &error, s->user);

	if (error)
		dprintf(fd, "error %s\n", error);
	else if (text)
		dprintf(fd, "ok %s\n", text);
	else
		dprintf(fd, "ok\n");
}

static int on_caller(sd_event_source *source, int fd, uint32_t events, void *user)
{
	struct caller *c = user;
	ssize_t n = read(fd, c->buf + c->len, sizeof(c->buf) - 1 - c->len);
	char *end;

	if (n <= 0) {
		hang_up(c);
		return 0;
	}
	c->len += (size_t)n;
	c->buf[c->len] = '\0';
	while ((end = strchr(c->buf, '\n'))) {
		*end = '\0';
		answer(fd, c->buf, c->socket);
		c->len -= (size_t)(end + 1 - c->buf);
		memmove(c->buf, end + 1, c->len + 1);
	}
	if (c->len == sizeof(c->buf) - 1)
		hang_up(c);
	return 0;
}

static int on_listen(sd_event_source *source, int fd, uint32_t events, void *user)
{
	struct control_socket *s = user;
	struct caller *c = calloc(1, sizeof(*c));
	int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	if (conn < 0 || !c) {
		free(c);
		if (conn >= 0)
			close(conn);
		return 0;
	}
	c->socket = s;
	if (sd_event_add_io(s->event, &c->source, conn, EPOLLIN, on_caller, c) < 0) {
		close(conn);
		free(c);
		return 0;
	}
	LIST_INSERT_HEAD(&s->callers, c, entry);
	return 0;
}

int control_socket_open(sd_event *event, const char *path, control_fn fn, void *user,
			struct control_socket **ret)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct control_socket *s;
	int fd, r;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	memcpy(address.sun_path, path, strlen(path));
	memcpy(s->path, address.sun_path, sizeof(s->path));
	s->event = sd_event_ref(event);
	s->fn = fn;
	s->user = user;
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r = fd < 0 ? -errno : 0;
	if (r == 0 &&
	    (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0))
		r = -errno;
	if (r == 0)
		r = sd_event_add_io(event, &s->listener, fd, EPOLLIN, on_listen, s);
	if (r < 0) {
		if (fd >= 0)
			close(fd);
		sd_event_unref(s->event);
		free(s);
		return r;
	}
	sd_event_source_set_io_fd_own(s->listener, true);
	*ret = s;
	return 0;
}

void control_socket_close(struct control_socket *s)
{
	if (!s)
		return;
	while (!LIST_EMPTY(&s->callers))
		hang_up(LIST_FIRST(&s->callers));
	sd_event_source_disable_unref(s->listener);
	sd_event_unref(s->event);
	unlink(s->path);
	free(s);
}
