// SPDX-License-Identifier: Apache-2.0
/*
 * The daemon: options, signals, the loop, and what systemd is told. No policy: that is gateway.c's.
 * Without a configuration it waits for the enrolment, and says so: a box that is not enrolled yet is
 * not broken.
 */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "gateway.h"
#include "log.h"

#define DEFAULT_CONFIG "/etc/lockbridge/lockbridge.conf"
#define NOT_ENROLLED                                                                               \
	"not enrolled: run lockbridgectl request GATEWAY, take it to the desk, then "              \
	"lockbridgectl enrol FILE"

struct daemon {
	sd_event *event;
	struct gateway *gateway;
	bool stopping;
};

static int usage(FILE *to, int code)
{
	fprintf(to,
		"Usage: lockbridged [--config FILE] [--check]\n"
		"The lockbridge agent: from the city's broker to the locks of one residence.\n\n"
		"  --config FILE  read FILE (" DEFAULT_CONFIG ")\n"
		"  --check        only read the configuration, and say what is wrong with it\n"
		"  --version      print the version\n"
		"  --help         print this\n\n"
		"SIGHUP reads the configuration again, SIGTERM ends. Without FILE it waits, until\n"
		"lockbridgectl enrol has written it.\n");
	return code;
}

static void on_finished(int code, void *user)
{
	struct daemon *daemon = user;

	sd_event_exit(daemon->event, code);
}

static void on_status(const char *line, void *user)
{
	sd_notifyf(0, "STATUS=%s", line);
}

static uint64_t monotonic_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *user)
{
	struct daemon *daemon = user;

	if (daemon->stopping) /* asked twice: at once */
		return sd_event_exit(daemon->event, EXIT_SUCCESS);
	daemon->stopping = true;
	log_fact(LOG_NOTICE, "stopping", NULL);
	sd_notify(0, "STOPPING=1");
	gateway_stop(daemon->gateway);
	return 0;
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *user)
{
	struct daemon *daemon = user;
	char error[1024];
	int r;

	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)monotonic_us());
	r = gateway_reload(daemon->gateway, error, sizeof(error));
	if (r < 0)
		log_fact(LOG_ERR, "configuration refused, the old one stays", "DETAIL", error,
			 NULL);
	else
		log_fact(LOG_NOTICE, "configuration reloaded", NULL);
	sd_notify(0, "READY=1");
	return 0;
}

/* Not sd_event_loop(): how long one turn keeps everybody else waiting is worth knowing. */
static int loop(struct daemon *daemon)
{
	int code = EXIT_FAILURE;

	while (sd_event_get_state(daemon->event) != SD_EVENT_FINISHED) {
		uint64_t began;
		int r = sd_event_prepare(daemon->event);

		if (r == 0)
			r = sd_event_wait(daemon->event, UINT64_MAX);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		began = monotonic_us();
		r = sd_event_dispatch(daemon->event);
		if (r < 0)
			return r;
		gateway_turn(daemon->gateway, monotonic_us() - began);
	}
	return sd_event_get_exit_code(daemon->event, &code) < 0 ? EXIT_FAILURE : code;
}

static int block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	return sigprocmask(SIG_BLOCK, &set, NULL);
}

/* --- before enrolment ---------------------------------------------------------------------------- */

#define ENROLLED 1 /* how the loop ends; 0: asked to stop */

static bool lacks(const char *config)
{
	return access(config, F_OK) < 0 && errno == ENOENT;
}

static int on_stop_waiting(sd_event_source *source, const struct signalfd_siginfo *info, void *user)
{
	sd_notify(0, "STOPPING=1");
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int on_reload_waiting(sd_event_source *source, const struct signalfd_siginfo *info,
			     void *user)
{
	const char *config = user;

	if (!lacks(config))
		return sd_event_exit(sd_event_source_get_event(source), ENROLLED);
	sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)monotonic_us());
	sd_notify(0, "READY=1\nSTATUS=" NOT_ENROLLED);
	return 0;
}

/* 0: asked to stop; ENROLLED; or -errno. */
static int wait_for_enrolment(const char *config)
{
	sd_event *event = NULL;
	int r = sd_event_default(&event);

	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGTERM, on_stop_waiting, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGINT, on_stop_waiting, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGHUP, on_reload_waiting, (void *)config);
	if (r >= 0)
		r = sd_event_set_watchdog(event, true);
	if (r >= 0) {
		log_fact(LOG_NOTICE, NOT_ENROLLED, NULL);
		sd_notify(0, "READY=1\nSTATUS=" NOT_ENROLLED);
		r = sd_event_loop(event);
	}
	sd_event_unref(event);
	return r;
}

/* --- */

static int bridge(const char *config)
{
	static const struct gateway_ops ops = {.finished = on_finished, .status = on_status};
	struct daemon daemon = {0};
	char error[1024] = "";
	int r = sd_event_default(&daemon.event);

	if (r >= 0)
		r = gateway_new(daemon.event, config, &ops, &daemon, error, sizeof(error),
				&daemon.gateway);
	if (r >= 0)
		r = sd_event_add_signal(daemon.event, NULL, SIGTERM, on_stop, &daemon);
	if (r >= 0)
		r = sd_event_add_signal(daemon.event, NULL, SIGINT, on_stop, &daemon);
	if (r >= 0)
		r = sd_event_add_signal(daemon.event, NULL, SIGHUP, on_reload, &daemon);
	if (r >= 0)
		r = sd_event_set_watchdog(daemon.event, true);
	if (r < 0) {
		log_fact(LOG_ERR, error[0] ? error : strerror(-r), NULL);
		sd_notifyf(0, "STATUS=%s", error[0] ? error : strerror(-r));
		r = EXIT_FAILURE;
	} else {
		log_fact(LOG_INFO, "ready", "VERSION", LOCKBRIDGE_VERSION, NULL);
		sd_notify(0, "READY=1");
		gateway_started(daemon.gateway);
		r = loop(&daemon);
		if (r != 0)
			sd_notify(0, "STATUS=ended by an error; the journal has it");
	}
	gateway_free(daemon.gateway);
	sd_event_unref(daemon.event);
	return r < 0 ? EXIT_FAILURE : r;
}

/*
 * One arena: the connector thread would keep a heap of its own. And what is large and short-lived, a
 * list as it came and unpacked, goes back to the system when it is freed; without a fixed threshold the
 * first such piece would teach the allocator to keep all that follow.
 */
static void keep_small(void)
{
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 64 * 1024);
	mallopt(M_TRIM_THRESHOLD, 64 * 1024);
}

static int run(const char *config)
{
	keep_small();
	if (block_signals() < 0)
		return EXIT_FAILURE;
	if (lacks(config)) {
		int r = wait_for_enrolment(config);

		if (r == 0)
			return EXIT_SUCCESS;
		log_fact(r < 0 ? LOG_ERR : LOG_NOTICE, r < 0 ? strerror(-r) : "enrolled", NULL);
		/* Credentials are handed over when the service starts: it must start again. */
		if (r < 0 || getenv("CREDENTIALS_DIRECTORY"))
			return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	}
	return bridge(config);
}

static int check(const char *path)
{
	static struct config config;
	char error[1024];

	if (config_load(path, &config, error, sizeof(error)) < 0) {
		fprintf(stderr, "%s\n", error);
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check", no_argument, NULL, 'k'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *config = DEFAULT_CONFIG;
	bool only_check = false;
	int option;

	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) >= 0) {
		switch (option) {
		case 'c':
			config = optarg;
			break;
		case 'k':
			only_check = true;
			break;
		case 'v':
			puts("lockbridged " LOCKBRIDGE_VERSION);
			return EXIT_SUCCESS;
		case 'h':
			return usage(stdout, EXIT_SUCCESS);
		default:
			return usage(stderr, 2);
		}
	}
	if (optind < argc)
		return usage(stderr, 2);
	return only_check ? check(config) : run(config);
}
