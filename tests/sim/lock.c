// SPDX-License-Identifier: Apache-2.0
/*
 * lock-sim: simulated BLE door locks, many per process, each on an adapter of its own.
 *
 *   lock-sim --state DIR [--control SOCKET] [--owner ROOT.pem] [--max BYTES] [--motor MS]
 * [--adverts N]
 *            --lock ID=hciN [--lock ID=hciN ...]
 *
 * Prints {"id", "key", "adapter"} per lock on stdout, a line each, then "ready" once all are
 * registered with BlueZ for the first time. The bus is the system bus, or DBUS_SYSTEM_BUS_ADDRESS.
 * Control, a line each: `ID report`, `ID jam on|off`, `ID broken on|off`, `ID motor MS`, `ID
 * battery N`, `ID hand lock|unlock`, `ID door open|closed`, `ID button [SECONDS ago]`, `ID freeze
 * on|off`, `ID fault none|rubbish|half|nothing|much|foreign|other|twice [N]`.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/pem.h"
#include "sim/lock-peripheral.h"
#include "sim/sim-control.h"

#define LOCKS_MAX 64

struct sim {
	sd_event *event;
	sd_bus *bus;
	struct {
		char id[ID_MAX + 1];
		char adapter[17];
		char dir[400];
		struct peripheral *peripheral;
	} locks[LOCKS_MAX];
	size_t n;
	bool ready;
};

static char *fail(char **error, const char *text)
{
	*error = strdup(text);
	return NULL;
}

static char *on_control(char *line, char **error, void *user)
{
	struct sim *sim = user;
	char *rest = line, *id = strsep(&rest, " "), *verb = strsep(&rest, " ");
	struct peripheral *p = NULL;
	size_t i;

	for (i = 0; i < sim->n; i++)
		if (strcmp(sim->locks[i].id, id) == 0)
			p = sim->locks[i].peripheral;
	if (!p || !verb)
		return fail(error, p ? "what is the command?" : "no such lock");
	if (strcmp(verb, "report") == 0)
		return firmware_report(peripheral_firmware(p));
	if (strcmp(verb, "freeze") == 0) {
		peripheral_freeze(p, rest && strcmp(rest, "on") == 0);
		return NULL;
	}
	if (firmware_command(peripheral_firmware(p), verb, rest ?: "") < 0)
		return fail(error, "no such command");
	return NULL;
}

/* Looks whether all are registered, until they are. */
static int on_look(sd_event_source *source, uint64_t usec, void *user)
{
	struct sim *sim = user;
	size_t i, there = 0;

	for (i = 0; i < sim->n; i++)
		there += peripheral_registered(sim->locks[i].peripheral);
	if (there == sim->n) {
		puts("ready");
		fflush(stdout);
		return 0;
	}
	sd_event_source_set_time_relative(source, 20000);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int read_root(const char *path, struct key *ret)
{
	char text[512];
	uint8_t pub[PUBLIC_LEN];
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return -errno;
	n = fread(text, 1, sizeof(text), f);
	fclose(f);
	if (pem_parse_public(span_of(text, n), pub) < 0)
		return -EINVAL;
	key_init(ret, pub, ROLE_ROOT);
	return 0;
}

static int add_lock(struct sim *sim, const char *text)
{
	const char *eq = strchr(text, '=');

	if (!eq || sim->n == LOCKS_MAX || !id_valid(span_of(text, (size_t)(eq - text))))
		return -EINVAL;
	snprintf(sim->locks[sim->n].id, sizeof(sim->locks[0].id), "%.*s", (int)(eq - text), text);
	snprintf(sim->locks[sim->n].adapter, sizeof(sim->locks[0].adapter), "%s", eq + 1);
	sim->n++;
	return 0;
}

static int start_lock(struct sim *sim, size_t i, struct firmware_options *firmware,
		      unsigned adverts, const char *state)
{
	struct peripheral_options options = {(unsigned)i, sim->locks[i].adapter, adverts};
	char key[BASE64_CAP(PUBLIC_LEN)];
	int r;

	snprintf(sim->locks[i].dir, sizeof(sim->locks[i].dir), "%.300s/%.32s", state,
		 sim->locks[i].id);
	firmware->id = sim->locks[i].id;
	firmware->dir = sim->locks[i].dir;
	r = peripheral_new(sim->event, sim->bus, &options, firmware, &sim->locks[i].peripheral);
	if (r < 0) {
		fprintf(stderr, "lock-sim: %s: %s\n", sim->locks[i].dir, strerror(-r));
		return r;
	}
	base64_encode(
		span_of(firmware_public(peripheral_firmware(sim->locks[i].peripheral)), PUBLIC_LEN),
		key, sizeof(key));
	printf("{\"id\":\"%s\",\"key\":\"%s\",\"adapter\":\"%s\"}\n", sim->locks[i].id, key,
	       sim->locks[i].adapter);
	return 0;
}

static int usage(void)
{
	fputs("usage: lock-sim --state DIR --lock ID=hciN ... [--control SOCKET] [--owner "
	      "ROOT.pem]\n"
	      "                [--max BYTES] [--motor MS] [--adverts N]\n",
	      stderr);
	return 2;
}

static int run(struct sim *sim, const char *state, const char *control,
	       struct firmware_options *firmware, unsigned adverts)
{
	struct control_socket *socket = NULL;
	sd_event_source *look = NULL;
	size_t i;
	int r;

	mkdir(state, 0700);
	for (i = 0, r = 0; i < sim->n && r >= 0; i++)
		r = start_lock(sim, i, firmware, adverts, state);
	if (r >= 0 && control)
		r = control_socket_open(sim->event, control, on_control, sim, &socket);
	fflush(stdout);
	if (r >= 0)
		r = sd_event_add_time_relative(sim->event, &look, CLOCK_MONOTONIC, 0, 0, on_look,
					       sim);
	if (r >= 0)
		r = sd_event_loop(sim->event);
	sd_event_source_disable_unref(look);
	control_socket_close(socket);
	for (i = 0; i < sim->n; i++)
		peripheral_free(sim->locks[i].peripheral);
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"state", required_argument, NULL, 's'},
		{"control", required_argument, NULL, 'c'},
		{"owner", required_argument, NULL, 'o'},
		{"lock", required_argument, NULL, 'l'},
		{"max", required_argument, NULL, 'm'},
		{"motor", required_argument, NULL, 't'},
		{"adverts", required_argument, NULL, 'a'},
		{0},
	};
	struct firmware_options firmware = {.motor_ms = 300};
	const char *state = NULL, *control = NULL;
	static struct sim sim;
	unsigned adverts = 1;
	struct key owner;
	sigset_t set;
	int c, r = 0;

	if (crypto_init() < 0)
		return 1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 's')
			state = optarg;
		else if (c == 'c')
			control = optarg;
		else if (c == 'o') {
			r = read_root(optarg, &owner);
			firmware.owner = &owner;
		} else if (c == 'l')
			r = add_lock(&sim, optarg);
		else if (c == 'm')
			firmware.max = strtoul(optarg, NULL, 10);
		else if (c == 't')
			firmware.motor_ms = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'a')
			adverts = (unsigned)strtoul(optarg, NULL, 10);
		else
			return usage();
		if (r < 0) {
			fprintf(stderr, "lock-sim: %s: %s\n", optarg, strerror(-r));
			return 1;
		}
	}
	if (!state || !sim.n)
		return usage();
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r = sd_event_default(&sim.event);
	if (r >= 0)
		r = sd_bus_open_system(&sim.bus);
	if (r >= 0)
		r = sd_bus_attach_event(sim.bus, sim.event, 0);
	if (r >= 0) {
		sd_event_add_signal(sim.event, NULL, SIGTERM, NULL, NULL);
		sd_event_add_signal(sim.event, NULL, SIGINT, NULL, NULL);
		r = run(&sim, state, control, &firmware, adverts);
	}
	if (r < 0)
		fprintf(stderr, "lock-sim: %s\n", strerror(-r));
	sd_bus_flush_close_unref(sim.bus);
	sd_event_unref(sim.event);
	return r < 0;
}
