/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One connection, from the attempt to its end: the dial, then the library's handle on sd-event.
 * Knows nothing of rows, back-off or other brokers. Part of mqtt.
 *
 * Ops come from the loop, never from inside a call made here. `down` comes once, and is the last
 * one but for `ended`; `message` comes from inside the library, the others not. No op may free the
 * connection.
 */
#include "link/mqtt.h"

struct conn;

struct conn_ops {
	void (*up)(struct conn *c, bool session_present, void *user);
	void (*down)(struct conn *c, const char *reason, void *user);
	void (*published)(struct conn *c, uint16_t mid, uint8_t reason, void *user);
	void (*subscribed)(struct conn *c, uint16_t mid, uint8_t code, void *user);
	void (*message)(struct conn *c, const struct mqtt_message *msg, void *user);
	void (*tick)(struct conn *c, void *user); /* about once a second while up */
	void (*ended)(struct conn *c,
		      void *user); /* the thread of a connection given up has ended */
};

int conn_open(sd_event *event, const struct mqtt_options *options, size_t broker,
	      const struct conn_ops *ops, void *user, struct conn **ret);
void conn_free(struct conn *c);

size_t conn_broker(const struct conn *c);
uint64_t conn_began(const struct conn *c); /* CLOCK_BOOTTIME, us: before any file was read */
/* Somebody answered there, or it did not come so far because our own TLS files are not usable. */
bool conn_reached(const struct conn *c);
bool conn_is_up(const struct conn *c);

/* Given up while its thread still runs: cannot be reused, frees itself of the thread with `ended`.
 */
bool conn_hangs(const struct conn *c);
bool conn_is_dead(const struct conn *c);
bool conn_has_thread(const struct conn *c);

/* As mqtt_publish(), mqtt_subscribe(); *mid is what `published`, `subscribed` will name. */
int conn_publish(struct conn *c, const struct mqtt_publish *publish, uint16_t *mid);
int conn_subscribe(struct conn *c, const char *topic, int qos, unsigned flags, uint16_t *mid);

/* DISCONNECT; `down` follows. */
void conn_close(struct conn *c);

/* Drops it at once, without DISCONNECT and without `down`. */
void conn_drop(struct conn *c);

void conn_bytes(const struct conn *c, uint64_t *in, uint64_t *out);
