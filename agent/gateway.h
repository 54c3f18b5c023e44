/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The composition root: the only module that knows all the others. Store, documents, decision,
 * locks, broker, radio, clock and control interface meet here, each concern in a file of its own
 * (gateway-*.c, sharing gateway-private.h).
 */
#include <systemd/sd-event.h>

#include "link/config.h"

struct gateway;

struct gateway_ops {
	/* The loop is to end: code for exit(3). After gateway_stop(), or because the bus was lost.
	 */
	void (*finished)(int code, void *user);
	/* One line for `systemctl status`. */
	void (*status)(const char *line, void *user);
};

/* Opens store and bus (blocking, before the loop) and starts everything else. error: in words. */
int gateway_new(sd_event *event, const char *config_path, const struct gateway_ops *ops, void *user,
		char *error, size_t error_cap, struct gateway **ret);
/* Once, before the loop: says so to the city, on disk first. Apart, because whoever waits for this
 * process need not wait for the disk. */
void gateway_started(struct gateway *gw);
void gateway_free(struct gateway *gw);
void gateway_freep(struct gateway **gw);

/* Reads the configuration again. 0, or -errno and error in words (file, line, setting): then the
 * old one stays. */
int gateway_reload(struct gateway *gw, char *error, size_t error_cap);
/* Says goodbye to broker and locks; finished() follows. */
void gateway_stop(struct gateway *gw);
/* How long one turn of the loop kept everybody else waiting. */
void gateway_turn(struct gateway *gw, uint64_t usec);
