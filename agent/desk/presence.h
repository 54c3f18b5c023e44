/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Is a gateway online, when several brokers of a set speak of it? What counts is the word of the one that
 * its newest state came by, its home: a broker that it has left keeps "online" for ever, or publishes
 * the will of a connection that was given up, late.
 */
#include <stdbool.h>

#include "core/span.h"
#include "link/mqtt.h"

struct presence {
	unsigned home;			  /* broker + 1; 0: not known yet */
	const char *by[MQTT_BROKERS_MAX]; /* constants; NULL: it said nothing */
};

/* false: neither "online" nor "offline". */
bool presence_heard(struct presence *p, size_t broker, struct span word);
/* A state came by this broker that is not older than what was known. */
void presence_at_home(struct presence *p, size_t broker);
/* "" unknown. A constant. */
const char *presence_word(const struct presence *p);
