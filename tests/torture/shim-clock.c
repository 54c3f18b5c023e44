// SPDX-License-Identifier: Apache-2.0
/*
 * Another time for one program (LD_PRELOAD). The file named by LOCKBRIDGE_CLOCK holds by how much
 * CLOCK_REALTIME and CLOCK_BOOTTIME differ from the machine's; the test writes it while the program
 * runs. CLOCK_MONOTONIC is the machine's own, so that waits last as long as they last; a suspend is
 * BOOTTIME and REALTIME moved together, a step is REALTIME moved alone.
 *
 * The file, 32 bytes, numbers of 64 bits as the machine writes them: a generation (odd while it is
 * being written), milliseconds to add to REALTIME, to BOOTTIME, and how often REALTIME was set.
 * A thread looks at it every few milliseconds: it arms the program's timers anew for the moved
 * clocks, and ends reads of those with TFD_TIMER_CANCEL_ON_SET with ECANCELED, as the kernel does
 * when the clock is set (timerfd_create(2)).
 *
 * tests/torture/boxclock.py writes the file.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define TIMERS 1024
#define MS     INT64_C(1000000)
#define SECOND INT64_C(1000000000)

struct shared {
	_Atomic uint64_t generation;
	_Atomic int64_t realtime_ms, boottime_ms;
	_Atomic uint64_t sets;
};

struct offsets {
	uint64_t generation, sets;
	int64_t realtime, boottime; /* ns */
};

struct timer { /* by descriptor */
	bool ours, armed, cancel_on_set;
	atomic_bool cancelled; /* the next read says ECANCELED */
	clockid_t clock;
	int64_t at; /* on the program's clock, ns */
	int64_t interval;
};

static const struct shared *shared;
static struct timer timers[TIMERS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool watching;

static int real_time(clockid_t id, struct timespec *ts)
{
	return (int)syscall(SYS_clock_gettime, id, ts);
}

static struct offsets offsets(void)
{
	struct offsets o = {0};

	if (!shared)
		return o;
	for (;;) {
		o.generation = atomic_load(&shared->generation);
		o.realtime = atomic_load(&shared->realtime_ms) * MS;
		o.boottime = atomic_load(&shared->boottime_ms) * MS;
		o.sets = atomic_load(&shared->sets);
		if (o.generation % 2 == 0 && o.generation == atomic_load(&shared->generation))
			return o;
		sched_yield();
	}
}

static int64_t offset_of(const struct offsets *o, clockid_t id)
{
	switch (id) {
	case CLOCK_REALTIME:
	case CLOCK_REALTIME_COARSE:
	case CLOCK_REALTIME_ALARM:
	case CLOCK_TAI:
		return o->realtime;
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM:
		return o->boottime;
	default:
		return 0;
	}
}

static struct timespec from_ns(int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / SECOND, .tv_nsec = ns % SECOND};

	if (ts.tv_nsec < 0) {
		ts.tv_nsec += SECOND;
		ts.tv_sec--;
	}
	return ts;
}

static int64_t to_ns(const struct timespec *ts)
{
	return ts->tv_sec > INT64_MAX / SECOND - 1 ? INT64_MAX : ts->tv_sec * SECOND + ts->tv_nsec;
}

/* --- clocks ----------------------------------------------------------------------------------- */

int clock_gettime(clockid_t id, struct timespec *ts)
{
	struct offsets o = offsets();
	int64_t offset = offset_of(&o, id);
	int r = real_time(id, ts);

	if (r == 0 && offset)
		*ts = from_ns(to_ns(ts) + offset);
	return r;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;
	int r = clock_gettime(CLOCK_REALTIME, &ts);

	if (r == 0)
		*tv = (struct timeval){ts.tv_sec, ts.tv_nsec / 1000};
	return r;
}

time_t time(time_t *ret)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (ret)
		*ret = ts.tv_sec;
	return ts.tv_sec;
}

/* --- timers ----------------------------------------------------------------------------------- */

static int set_real(int fd, int64_t at, int64_t interval)
{
	struct itimerspec spec = {.it_value = from_ns(at), .it_interval = from_ns(interval)};

	return (int)syscall(SYS_timerfd_settime, fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* Where it is on the machine's clock; what is over by then ends at once. Called with the mutex. */
static int arm(int fd, const struct offsets *o)
{
	const struct timer *t = &timers[fd];
	int64_t at = 0;

	/* decades away must not wrap */
	if (t->armed && __builtin_sub_overflow(t->at, offset_of(o, t->clock), &at))
		at = INT64_MAX;
	if (t->armed && at < 1)
		at = 1;
	return set_real(fd, at, t->interval);
}

static void clock_was_set(int fd)
{
	atomic_store(&timers[fd].cancelled, true);
	set_real(fd, 1, 0);
}

static void *watch(void *user)
{
	struct offsets before = offsets();
	const struct timespec pause = {.tv_nsec = 3 * MS};

	for (;;) {
		struct offsets now;

		syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &pause, NULL);
		now = offsets();
		if (now.generation == before.generation)
			continue;
		pthread_mutex_lock(&mutex);
		for (int fd = 0; fd < TIMERS; fd++) {
			if (!timers[fd].ours || !timers[fd].armed)
				continue;
			if (timers[fd].cancel_on_set && now.sets != before.sets)
				clock_was_set(fd);
			else if (!atomic_load(&timers[fd].cancelled))
				arm(fd, &now);
		}
		pthread_mutex_unlock(&mutex);
		before = now;
	}
	return NULL;
}

/* Signals are the program's own business. */
static void start_watching(void)
{
	sigset_t all, before;
	pthread_t thread;

	if (watching || !shared)
		return;
	watching = true;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, watch, NULL) == 0)
		pthread_detach(thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int timerfd_create(clockid_t id, int flags)
{
	int fd = (int)syscall(SYS_timerfd_create, id, flags);
	const struct offsets unit = {.realtime = 1, .boottime = 1};

	if (fd < 0 || fd >= TIMERS)
		return fd;
	pthread_mutex_lock(&mutex);
	timers[fd] = (struct timer){.clock = id, .ours = shared && offset_of(&unit, id)};
	if (timers[fd].ours)
		start_watching();
	pthread_mutex_unlock(&mutex);
	return fd;
}

/* The old value is nobody's question here. */
int timerfd_settime(int fd, int flags, const struct itimerspec *value, struct itimerspec *old)
{
	struct offsets o;
	struct timer *t;
	int r;

	if (fd < 0 || fd >= TIMERS || !timers[fd].ours)
		return (int)syscall(SYS_timerfd_settime, fd, flags, value, old);
	pthread_mutex_lock(&mutex);
	t = &timers[fd];
	o = offsets();
	t->at = to_ns(&value->it_value);
	t->armed = t->at != 0;
	t->interval = to_ns(&value->it_interval);
	t->cancel_on_set = flags & TFD_TIMER_CANCEL_ON_SET;
	atomic_store(&t->cancelled, false);
	if (t->armed && !(flags & TFD_TIMER_ABSTIME)) {
		struct timespec now;

		clock_gettime(t->clock, &now);
		t->at += to_ns(&now);
	}
	r = arm(fd, &o);
	pthread_mutex_unlock(&mutex);
	return r;
}

ssize_t read(int fd, void *buffer, size_t len)
{
	ssize_t r = syscall(SYS_read, fd, buffer, len);

	if (r > 0 && fd >= 0 && fd < TIMERS && timers[fd].ours &&
	    atomic_exchange(&timers[fd].cancelled, false)) {
		errno = ECANCELED;
		return -1;
	}
	return r;
}

int close(int fd)
{
	if (fd >= 0 && fd < TIMERS && timers[fd].ours) {
		pthread_mutex_lock(&mutex);
		timers[fd] = (struct timer){0};
		pthread_mutex_unlock(&mutex);
	}
	return (int)syscall(SYS_close, fd);
}

__attribute__((constructor)) static void find(void)
{
	const char *path = getenv("LOCKBRIDGE_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(*shared), PROT_READ, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		shared = map;
	syscall(SYS_close, fd);
}
