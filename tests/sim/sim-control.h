/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A simulator's control socket: a unix stream socket, one command per line, one line back:
 * "ok[ TEXT]" or "error TEXT". For tests and for hands (`socat - UNIX:PATH`).
 */
#include <systemd/sd-event.h>

struct control_socket;

/* line: without its end. Returns malloc'd text of the answer (NULL: just "ok"), or sets *error
 * (malloc'd). */
typedef char *(*control_fn)(char *line, char **error, void *user);

int control_socket_open(sd_event *event, const char *path, control_fn fn, void *user,
			struct control_socket **ret);
void control_socket_close(struct control_socket *socket);
