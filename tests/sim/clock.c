// SPDX-License-Identifier: Apache-2.0
/*
 * clock-sim: org.freedesktop.timedate1 on a private bus, as far as it says whether the clock is
 * synchronised (systemd 252, org.freedesktop.timedate1(5)).
 *
 *   clock-sim [--control SOCKET]
 *
 * Control: `synchronised yes|no`. Prints "ready". The bus is the system bus, or
 * DBUS_SYSTEM_BUS_ADDRESS.
 */
#include <getopt.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-bus.h>

#include "sim/sim-control.h"

#define PATH "/org/freedesktop/timedate1"
#define NAME "org.freedesktop.timedate1"

struct sim {
	sd_bus *bus;
	int synchronised;
};

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("NTPSynchronized", "b", NULL, offsetof(struct sim, synchronised), 0),
	SD_BUS_VTABLE_END,
};

static char *on_control(char *line, char **error, void *user)
{
	struct sim *sim = user;

	if (strcmp(line, "synchronised yes") == 0)
		sim->synchronised = 1;
	else if (strcmp(line, "synchronised no") == 0)
		sim->synchronised = 0;
	else
		*error = strdup("synchronised yes|no");
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"control", required_argument, NULL, 'c'}, {0}};
	struct control_socket *socket = NULL;
	struct sim sim = {.synchronised = 1};
	const char *control = NULL;
	sd_event *event = NULL;
	sigset_t set;
	int c, r;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c != 'c')
			return 2;
		control = optarg;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r = sd_event_default(&event);
	if (r >= 0)
		r = sd_bus_open_system(&sim.bus);
	if (r >= 0)
		r = sd_bus_attach_event(sim.bus, event, 0);
	if (r >= 0)
		r = sd_bus_add_object_vtable(sim.bus, NULL, PATH, NAME, vtable, &sim);
	if (r >= 0)
		r = sd_bus_request_name(sim.bus, NAME, 0);
	if (r >= 0 && control)
		r = control_socket_open(event, control, on_control, &sim, &socket);
	if (r >= 0) {
		sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
		sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
		puts("ready");
		fflush(stdout);
		r = sd_event_loop(event);
	}
	if (r < 0)
		fprintf(stderr, "clock-sim: %s\n", strerror(-r));
	control_socket_close(socket);
	sd_bus_flush_close_unref(sim.bus);
	sd_event_unref(event);
	return r < 0;
}
