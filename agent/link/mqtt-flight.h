/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The QoS 1 publishes of one connection that the broker has not answered yet, in order. Part of
 * mqtt. */
#include "link/mqtt.h"

struct flight {
	uint16_t mid;
	int64_t row; /* 0: nobody asks */
	size_t len;
	uint64_t due; /* us: without an answer by then the connection counts as lost */
};

struct flights {
	unsigned n, rows;
	size_t bytes;
	struct flight list[MQTT_IN_FLIGHT_MAX];
};

bool flights_has_row(const struct flights *f, int64_t row);
bool flights_fits(const struct flights *f, size_t len);
/* Only if it fits. */
void flights_add(struct flights *f, uint16_t mid, int64_t row, size_t len, uint64_t due);

/* Is one of them without an answer past its time? */
bool flights_overdue(const struct flights *f, uint64_t now);

/* False if there is none of that number: a QoS 0 publish. */
bool flights_take(struct flights *f, uint16_t mid, struct flight *ret);
