// SPDX-License-Identifier: Apache-2.0
/*
 * A day in a minute, for one program (LD_PRELOAD): from a moment on, each of its clocks runs so many
 * times as fast, and its timers are due so much earlier. LOCKBRIDGE_DAY is "BEGIN SPEED": CLOCK_MONOTONIC
 * in nanoseconds, and the factor. Before BEGIN time is as it is, so that a program may start in peace;
 * programs with the same words live in the same time.
 *
 * Only what sd-event, libmosquitto and SQLite ask for time: clock_gettime, gettimeofday, time, and
 * timers by timerfd. Time-outs of epoll and poll stay the machine's own.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define CLOCKS 12
#define TIMERS 1024
#define SECOND INT64_C(1000000000)

static int64_t begin[CLOCKS]; /* on each clock, ns */
static int64_t speed = 1;
static clockid_t clock_of[TIMERS]; /* by descriptor */

static int64_t ns_of(const struct timespec *ts)
{
	return ts->tv_sec * SECOND + ts->tv_nsec;
}

static struct timespec timespec_of(int64_t ns)
{
	return (struct timespec){.tv_sec = ns / SECOND, .tv_nsec = ns % SECOND};
}

static int64_t real_ns(clockid_t id)
{
	struct timespec ts = {0};

	syscall(SYS_clock_gettime, id, &ts);
	return ns_of(&ts);
}

static bool counts(clockid_t id)
{
	switch (id) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_COARSE:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM:
		return true;
	default:
		return false; /* a processor's time */
	}
}

__attribute__((constructor)) static void arrive(void)
{
	const char *words = getenv("LOCKBRIDGE_DAY");
	long long at, factor;
	int64_t left;

	if (!words || sscanf(words, "%lld %lld", &at, &factor) != 2 || factor < 1) {
		fprintf(stderr, "shim-day: LOCKBRIDGE_DAY is not BEGIN SPEED\n");
		_exit(1);
	}
	left = at - real_ns(CLOCK_MONOTONIC);
	for (clockid_t id = 0; id < CLOCKS; id++)
		if (counts(id))
			begin[id] = real_ns(id) + left;
	speed = factor;
}

static int64_t shown(clockid_t id, int64_t real)
{
	return real <= begin[id] ? real : begin[id] + (real - begin[id]) * speed;
}

static int64_t real_of(clockid_t id, int64_t shown_ns)
{
	return shown_ns <= begin[id] ? shown_ns : begin[id] + (shown_ns - begin[id]) / speed;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, id, ts);

	if (r == 0 && id >= 0 && id < CLOCKS && counts(id))
		*ts = timespec_of(shown(id, ns_of(ts)));
	return r;
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	*tv = (struct timeval){.tv_sec = ts.tv_sec, .tv_usec = ts.tv_nsec / 1000};
	return 0;
}

time_t time(time_t *ret)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (ret)
		*ret = ts.tv_sec;
	return ts.tv_sec;
}

int timerfd_create(int id, int flags)
{
	int fd = (int)syscall(SYS_timerfd_create, id, flags);

	if (fd >= 0 && fd < TIMERS)
		clock_of[fd] = id;
	return fd;
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	clockid_t id = fd >= 0 && fd < TIMERS ? clock_of[fd] : CLOCK_MONOTONIC;
	struct itimerspec real = *new;
	int64_t at = ns_of(&new->it_value);

	/* "Never", as sd-event asks for to learn of a clock that is set, does not fit into ns. */
	if (at == 0 || new->it_value.tv_sec > INT64_MAX / SECOND / 2)
		return (int)syscall(SYS_timerfd_settime, fd, flags, new, old);
	if (!(flags & TFD_TIMER_ABSTIME))
		at += shown(id, real_ns(id));
	real.it_value = timespec_of(real_of(id, at));
	real.it_interval = timespec_of(ns_of(&new->it_interval) / speed);
	return (int)syscall(SYS_timerfd_settime, fd, flags | TFD_TIMER_ABSTIME, &real, old);
}
