/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * BlueZ as a phone needs it: find a lock's advert, connect, read, write, hear. One thing at a time,
 * so blocking calls with a deadline; over sd-bus.
 */
#include <systemd/sd-bus.h>

#include "core/span.h"

struct phone_radio {
	sd_bus *bus;
	char adapter[32]; /* object path */
	char device[96];  /* the one we are connected to, or try */
	char chr[6][160]; /* object paths by the N of the contract: 2 info .. 5 state */
	sd_bus_slot *slot;
	struct { /* notifications of the outbox that were not taken yet */
		uint8_t bytes[512];
		size_t len;
	} heard[256];
	size_t head, tail;
	uint64_t deadline; /* CLOCK_MONOTONIC, usec */
};

int phone_open(struct phone_radio *radio, const char *adapter, unsigned timeout_s);
void phone_close(struct phone_radio *radio);
/* A device that advertises our service data, not among tried; address NULL: any. 0 or -ETIMEDOUT.
 */
int phone_find(struct phone_radio *radio, const char *address, char tried[][96], size_t ntried);
/* Connects and waits for the characteristics; notifications of the outbox are on. */
int phone_connect(struct phone_radio *radio);
int phone_read(struct phone_radio *radio, unsigned chr, uint8_t *ret, size_t cap); /* length */
int phone_write(struct phone_radio *radio, struct span frame); /* to the inbox */
/* The next notification: its length, -ETIMEDOUT. */
int phone_hear(struct phone_radio *radio, uint8_t *ret, size_t cap);
void phone_disconnect(struct phone_radio *radio);
