/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A real dbus-daemon of the test's own, in a directory of its own; dies with the test. And waiting:
 * until(event, condition, &x) turns the loop until the condition holds, and fails after 20 s.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

struct private_bus {
	char dir[32];
	char address[64];
	pid_t pid;
};

/* What was built for another machine (it has a path) runs in the emulator that its tests run in. */
static inline void private_exec(const char *const argv[])
{
	const char *emulator = getenv("LOCKBRIDGE_EMULATOR");
	const char *longer[32] = {emulator};

	if (!emulator || !strchr(argv[0], '/')) {
		execvp(argv[0], (char *const *)argv);
		return;
	}
	for (int i = 0; argv[i] && i < 30; i++)
		longer[i + 1] = argv[i];
	execvp(emulator, (char *const *)longer);
}

static inline pid_t private_spawn(const char *const argv[], int keep_fd)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	for (int fd = 3; fd < 256; fd++)
		if (fd != keep_fd)
			close(fd);
	private_exec(argv);
	_exit(127);
}

static inline void private_end(pid_t *pid, int sig)
{
	if (*pid <= 0)
		return;
	kill(*pid, sig);
	waitpid(*pid, NULL, 0);
	*pid = 0;
}

static inline void private_bus_start(struct private_bus *bus)
{
	char config[64], option[80], print[32];
	const char *argv[] = {"dbus-daemon", "--nofork", option, print, NULL};
	int ready[2];
	char line[256];
	FILE *out;

	strcpy(bus->dir, "/tmp/lb-bus-XXXXXX");
	assert_non_null(mkdtemp(bus->dir));
	snprintf(config, sizeof(config), "%s/conf", bus->dir);
	snprintf(bus->address, sizeof(bus->address), "unix:path=%s/bus", bus->dir);
	out = fopen(config, "w");
	assert_non_null(out);
	fprintf(out,
		"<busconfig><listen>%s</listen>"
		"<policy context='default'><allow user='*'/><allow own='*'/>"
		"<allow send_destination='*'/><allow send_type='signal'/>"
		"<allow receive_sender='*'/></policy></busconfig>\n",
		bus->address);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(pipe(ready), 0);
	snprintf(option, sizeof(option), "--config-file=%s", config);
	snprintf(print, sizeof(print), "--print-address=%d", ready[1]);
	bus->pid = private_spawn(argv, ready[1]);
	close(ready[1]);
	/* The address line comes when it listens. */
	assert_true(read(ready[0], line, sizeof(line)) > 0);
	close(ready[0]);
}

static inline void private_bus_stop(struct private_bus *bus)
{
	char path[64];

	private_end(&bus->pid, SIGTERM);
	snprintf(path, sizeof(path), "%s/conf", bus->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/bus", bus->dir);
	unlink(path);
	rmdir(bus->dir);
}

static inline uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

#define UNTIL_MS 20000
#define until(event, condition)                                                                    \
	do {                                                                                       \
		uint64_t until_end_ = now_ms() + UNTIL_MS;                                         \
		while (!(condition)) {                                                             \
			if (now_ms() > until_end_)                                                 \
				fail_msg("never happened: %s", #condition);                        \
			assert_true(sd_event_run((event), 100000) >= 0);                           \
		}                                                                                  \
	} while (0)
