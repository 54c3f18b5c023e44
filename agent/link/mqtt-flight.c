/* SPDX-License-Identifier: Apache-2.0 */
/* A short list: MQTT_IN_FLIGHT_MAX entries, searched from the front, where answers are found. */
#include "link/mqtt-flight.h"

bool flights_has_row(const struct flights *f, int64_t row)
{
	for (unsigned i = 0; i < f->n; i++)
		if (f->list[i].row == row)
			return true;
	return false;
}

bool flights_fits(const struct flights *f, size_t len)
{
	return f->n < MQTT_IN_FLIGHT_MAX && len <= MQTT_QUEUE_MAX - f->bytes;
}

void flights_add(struct flights *f, uint16_t mid, int64_t row, size_t len, uint64_t due)
{
	f->list[f->n++] = (struct flight){.mid = mid, .row = row, .len = len, .due = due};
	f->bytes += len;
	f->rows += row != 0;
}

bool flights_overdue(const struct flights *f, uint64_t now)
{
	for (unsigned i = 0; i < f->n; i++)
		if (now >= f->list[i].due)
			return true;
	return false;
}

bool flights_take(struct flights *f, uint16_t mid, struct flight *ret)
{
	for (unsigned i = 0; i < f->n; i++) {
		if (f->list[i].mid != mid)
			continue;
		*ret = f->list[i];
		f->n--;
		f->bytes -= ret->len;
		f->rows -= ret->row != 0;
		memmove(&f->list[i], &f->list[i + 1], (f->n - i) * sizeof(*f->list));
		return true;
	}
	return false;
}
