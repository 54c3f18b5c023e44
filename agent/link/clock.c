// SPDX-License-Identifier: Apache-2.0
/* See clock.h. timerfd_create(2) for steps, org.freedesktop.timedate1(5) for the synchronisation.
 */
#include "link/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "link/bus.h"

#define TIMEDATE "org.freedesktop.timedate1"

struct clock {
	struct bus *bus;
	const struct clock_ops *ops;
	void *user;
	sd_event_source *step, *poll;
	struct bus_call *call; /* the question on its way; NULL: none */
	bool again;	       /* the clock was set meanwhile: the answer may be from before */
	int fd;
	bool ntp, asked;
	uint64_t steps;
};

static uint64_t read_ms(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec < 0 ? 0 : (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t clock_boot_ms(void)
{
	return read_ms(CLOCK_BOOTTIME);
}

struct clock_reading clock_read(const struct clock *c)
{
	return (struct clock_reading){
		.realtime = read_ms(CLOCK_REALTIME) / 1000,
		.boottime = read_ms(CLOCK_BOOTTIME) / 1000,
		.ntp = c->ntp,
	};
}

bool clock_asked(const struct clock *c)
{
	return c->asked;
}

uint64_t clock_steps(const struct clock *c)
{
	return c->steps;
}

/* --- asking --- */

static int ask_in(struct clock *c, uint64_t seconds)
{
	int r = sd_event_source_set_time_relative(c->poll, seconds * 1000000);

	return r < 0 ? r : sd_event_source_set_enabled(c->poll, SD_EVENT_ONESHOT);
}

static void on_answer(const struct bus_value *value, void *user)
{
	struct clock *c = user;
	bool ntp = value->type == 'b' && value->b;
	bool news = !c->asked || ntp != c->ntp;

	if (c->again) {
		c->again = false;
		ask_in(c, 0);
		return;
	}
	c->asked = true;
	c->ntp = ntp;
	ask_in(c, ntp ? CLOCK_ASK_S : CLOCK_ASK_SOON_S);
	if (news)
		c->ops->changed(c->user);
}

static int on_poll(sd_event_source *source, uint64_t usec, void *user)
{
	struct clock *c = user;
	int r = -EALREADY;

	if (!c->call)
		r = bus_get_property(c->bus, TIMEDATE, "/org/freedesktop/timedate1", TIMEDATE,
				     "NTPSynchronized", on_answer, c, &c->call);
	if (r < 0)
		ask_in(c, CLOCK_ASK_SOON_S);
	return 0;
}

/* --- steps --- */

/* Far away, so that it ends only by the clock being set. */
static int arm(int fd)
{
	const struct itimerspec never = {.it_value.tv_sec = INT32_MAX * INT64_C(4)};

	return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0
		       ? -errno
		       : 0;
}

static int on_step(sd_event_source *source, int fd, uint32_t events, void *user)
{
	struct clock *c = user;
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0 && errno == EAGAIN)
		return 0;
	/* ECANCELED: the clock was set. Armed anew before anything is read, so that none is missed.
	 */
	arm(fd);
	c->steps++;
	/* The kernel forgets with the step that it was synchronised. Whoever sets it right may say so
	 * in the same system call, long before timedate1 is asked: an answer from now on is a fresh
	 * word, also if it was yes before. */
	c->ntp = false;
	if (c->bus) {
		c->again = c->call != NULL;
		ask_in(c, 0);
	}
	c->ops->changed(c->user);
	return 0;
}

int clock_new(sd_event *event, struct bus *bus, const struct clock_ops *ops, void *user,
	      struct clock **ret)
{
	cleanup(clock_freep) struct clock *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->bus = bus;
	c->ops = ops;
	c->user = user;
	c->fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (c->fd < 0)
		return -errno;
	r = arm(c->fd);
	if (r == 0)
		r = sd_event_add_io(event, &c->step, c->fd, EPOLLIN, on_step, c);
	if (r >= 0 && bus)
		r = sd_event_add_time_relative(event, &c->poll, CLOCK_BOOTTIME, 0, 1000000, on_poll,
					       c);
	if (r < 0)
		return r;
	*ret = steal(c);
	return 0;
}

void clock_free(struct clock *c)
{
	if (!c)
		return;
	bus_call_cancel(c->call);
	sd_event_source_disable_unref(c->step);
	sd_event_source_disable_unref(c->poll);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

void clock_freep(struct clock **c)
{
	clock_free(*c);
}
