// SPDX-License-Identifier: Apache-2.0
/*
 * clock-sim: org.freedesktop.timedate1 on a private bus, as far as it says whether the clock is
 * synchronised (systemd 252, org.freedesktop.timedate1(5)).
 *
 *   clock-sim [--control SOCKET]
 *
 * Control: `synchronised yes|no [PID]`: for everybody, or what this process is told from then on, so
 * that several boxes can share a bus. Prints "ready". The bus is the system bus, or
 * DBUS_SYSTEM_BUS_ADDRESS.
 */
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-bus.h>

#include "sim/sim-control.h"

#define PATH "/org/freedesktop/timedate1"
#define NAME "org.freedesktop.timedate1"

#define BOXES_MAX 64

struct box {
	pid_t pid;
	bool synchronised;
};

struct sim {
	sd_bus *bus;
	bool synchronised;
	struct box boxes[BOXES_MAX];
	size_t next; /* place to take; those not taken yet have pid 0 */
};

static struct box *find(struct sim *sim, pid_t pid)
{
	for (size_t i = 0; i < BOXES_MAX; i++)
		if (sim->boxes[i].pid == pid)
			return &sim->boxes[i];
	return NULL;
}

static int get_synchronised(sd_bus *bus, const char *path, const char *interface, const char *name,
			    sd_bus_message *reply, void *user, sd_bus_error *error)
{
	sd_bus_message *call = sd_bus_get_current_message(bus);
	struct sim *sim = user;
	sd_bus_creds *creds = NULL;
	struct box *box = NULL;
	pid_t pid = 0;

	if (sim->next && sd_bus_query_sender_creds(call, SD_BUS_CREDS_PID, &creds) >= 0 &&
	    sd_bus_creds_get_pid(creds, &pid) >= 0)
		box = find(sim, pid);
	sd_bus_creds_unref(creds);
	return sd_bus_message_append(reply, "b", box ? box->synchronised : sim->synchronised);
}

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("NTPSynchronized", "b", get_synchronised, 0, 0),
	SD_BUS_VTABLE_END,
};

static char *on_control(char *line, char **error, void *user)
{
	struct sim *sim = user;
	char word[4], end;
	struct box *box;
	int pid = 0, n = sscanf(line, "synchronised %3s %d %c", word, &pid, &end);
	bool yes = n > 0 && strcmp(word, "yes") == 0;

	if (n < 1 || n > 2 || (!yes && strcmp(word, "no") != 0)) {
		*error = strdup("synchronised yes|no [PID]");
	} else if (n == 1) {
		sim->synchronised = yes;
	} else {
		box = find(sim, pid);
		if (!box) /* the oldest gives way: it is long gone */
			box = &sim->boxes[sim->next++ % BOXES_MAX];
		*box = (struct box){pid, yes};
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"control", required_argument, NULL, 'c'}, {0}};
	struct control_socket *socket = NULL;
	struct sim sim = {.synchronised = true};
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
