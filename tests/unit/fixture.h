/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What tests of the outside world need: a directory that goes away, a free port, a mosquitto of our
 * own, and turning an event loop until something has happened. Everything fails the test by itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

static inline uint64_t fixture_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Turns the loop until the condition holds, at most ms; the value is the condition. */
#define fixture_until(event, ms, condition)                                                        \
	({                                                                                         \
		uint64_t end_ = fixture_now_ms() + (ms);                                           \
		while (!(condition) && fixture_now_ms() < end_)                                    \
			assert_true(sd_event_run(event, 10000) >= 0);                              \
		(bool)(condition);                                                                 \
	})

/* Turns the loop for ms. */
static inline void fixture_turn(sd_event *event, unsigned ms)
{
	(void)fixture_until(event, ms, false);
}

/* --- files --- */

static inline void fixture_dir(char path[64])
{
	strcpy(path, "/tmp/lockbridge-test-XXXXXX");
	assert_non_null(mkdtemp(path));
}

static inline int fixture_remove_one(const char *path, const struct stat *st, int type,
				     struct FTW *ftw)
{
	return remove(path);
}

static inline void fixture_dir_remove(const char *path)
{
	if (path[0])
		nftw(path, fixture_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void fixture_write(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* Runs a shell command in dir, quietly; fails the test if the command fails. */
static inline void fixture_shell(const char *dir, const char *command)
{
	char line[2048];
	int n;

	n = snprintf(line, sizeof(line), "cd %s && { %s; } >>shell.log 2>&1", dir, command);
	assert_in_range(n, 1, sizeof(line) - 1);
	assert_int_equal(system(line), 0);
}

/* --- sockets on loopback --- */

/* A socket bound to a free port. */
static inline int fixture_bind(int type, uint16_t *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

static inline uint16_t fixture_free_port(void)
{
	uint16_t port;

	close(fixture_bind(SOCK_STREAM, &port));
	return port;
}

static inline int fixture_connect(uint16_t port, int flags)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				.sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	assert_true(fd >= 0);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EINPROGRESS)
		return fd;
	close(fd);
	return -1;
}

/* Run by qemu-user: slower by much, and not all of a kernel. */
static inline bool fixture_emulated(void)
{
	return getenv("LOCKBRIDGE_EMULATOR") != NULL;
}

/* --- a mosquitto of our own --- */

struct fixture_broker {
	pid_t pid; /* 0: not running */
	uint16_t port;
	char dir[64];
};

static inline pid_t fixture_spawn(const char *log, const char *const argv[])
{
	pid_t parent = getpid(), pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent || fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
			_exit(126);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	return pid;
}

/*
 * Starts it on b->port (0: a free one), with `more` lines of configuration that belong to the
 * listener; returns when it accepts connections.
 */
static inline void fixture_broker_start(struct fixture_broker *b, const char *more)
{
	char conf[4096], path[256], log[256];
	int fd = -1;

	if (!b->dir[0])
		fixture_dir(b->dir);
	if (!b->port)
		b->port = fixture_free_port();
	snprintf(conf, sizeof(conf),
		 "user root\npersistence false\nlog_dest stderr\nlog_type all\nlistener %u "
		 "127.0.0.1\n"
		 "allow_anonymous true\n%s\n",
		 b->port, more ? more : "");
	fixture_write(b->dir, "mosquitto.conf", conf);
	snprintf(path, sizeof(path), "%s/mosquitto.conf", b->dir);
	snprintf(log, sizeof(log), "%s/mosquitto.log", b->dir);
	b->pid = fixture_spawn(log, (const char *[]){"/usr/sbin/mosquitto", "-c", path, NULL});
	for (unsigned i = 0; fd < 0 && i < 500; i++) {
		assert_int_equal(waitpid(b->pid, NULL, WNOHANG), 0);
		usleep(10000);
		fd = fixture_connect(b->port, 0);
	}
	assert_true(fd >= 0);
	close(fd);
}

static inline void fixture_broker_kill(struct fixture_broker *b)
{
	if (!b->pid)
		return;
	kill(b->pid, SIGKILL);
	waitpid(b->pid, NULL, 0);
	b->pid = 0;
}

static inline void fixture_broker_end(struct fixture_broker *b)
{
	fixture_broker_kill(b);
	fixture_dir_remove(b->dir);
	*b = (struct fixture_broker){0};
}

/* --- the largest gap of a loop, by a timer of 10 ms in it --- */

struct fixture_gap {
	sd_event_source *source;
	uint64_t last, largest; /* us */
	unsigned ticks;
};

static inline int fixture_gap_tick(sd_event_source *source, uint64_t usec, void *user)
{
	struct fixture_gap *gap = user;
	struct timespec ts;
	uint64_t now;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
	if (gap->last && now - gap->last > gap->largest)
		gap->largest = now - gap->last;
	gap->last = now;
	gap->ticks++;
	return sd_event_source_set_time(source, now + 10000);
}

static inline void fixture_gap_start(struct fixture_gap *gap, sd_event *event)
{
	*gap = (struct fixture_gap){0};
	assert_true(sd_event_add_time(event, &gap->source, CLOCK_MONOTONIC, 0, 1, fixture_gap_tick,
				      gap) >= 0);
	assert_true(sd_event_source_set_enabled(gap->source, SD_EVENT_ON) >= 0);
}

/* Ends it, prints the largest gap, and holds it against a generous bound: the loop went on. */
static inline void fixture_gap_end(struct fixture_gap *gap, const char *what)
{
	gap->source = sd_event_source_disable_unref(gap->source);
	print_message("largest gap of the loop, %s: %.1f ms (%u ticks)\n", what,
		      (double)gap->largest / 1000, gap->ticks);
	assert_true(gap->ticks > 2);
	assert_true(gap->largest < 500000);
}
