/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The box's clocks: CLOCK_REALTIME, CLOCK_BOOTTIME, and whether the system says that the time is
 * synchronised (NTPSynchronized of org.freedesktop.timedate1: timesyncd and chrony alike). What
 * follows from a reading is core/reckoning.h's business.
 *
 * timedate1 sends no signal when the property changes: it is asked at start, after each step of the
 * clock, every CLOCK_ASK_SOON_S until it says yes, and every CLOCK_ASK_S from then on. Without an
 * answer the time is not synchronised. A step is noticed at once (TFD_TIMER_CANCEL_ON_SET), and takes
 * the last answer back: the next yes is a fresh one.
 */
#include <systemd/sd-event.h>

#include "core/reckoning.h"

#define CLOCK_ASK_S	 300
#define CLOCK_ASK_SOON_S 5

struct bus;
struct clock;

struct clock_ops {
	/* ntp became another, the first answer came, or the clock was set: read anew. From the
	 * loop. */
	void (*changed)(void *user);
};

/* bus may be NULL: never synchronised. It must outlive the clock. 0 or -errno. */
int clock_new(sd_event *event, struct bus *bus, const struct clock_ops *ops, void *user,
	      struct clock **ret);
void clock_free(struct clock *clock);
void clock_freep(struct clock **clock);

/* Now; ntp is the last answer. */
struct clock_reading clock_read(const struct clock *clock);
/* An answer came since clock_new (be it an error): before that, ntp false means "not asked yet". */
bool clock_asked(const struct clock *clock);
/* How often the clock was set since clock_new. */
uint64_t clock_steps(const struct clock *clock);
/* CLOCK_BOOTTIME in milliseconds, for durations. */
uint64_t clock_boot_ms(void);
