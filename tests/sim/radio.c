/* SPDX-License-Identifier: Apache-2.0 */
/*
 * radio-sim: a stand-in for bluetoothd 5.66 with N radios, on the bus of DBUS_SYSTEM_BUS_ADDRESS.
 *
 *   radio-sim [--adapters N] [--control PATH] [--seed N] [--set NAME=VALUE]...
 *             [--latency NAME=MIN:MAX]...
 *
 * Clients see the BlueZ API and nothing else; faults and settings come by the control socket, whose
 * commands radio-control.c lists. Delays are the ones measured with the real daemon in a virtual
 * machine. Writes "ready" to standard output once org.bluez is on the bus.
 *
 * Not modelled: pairing and encryption (such flags are refused), BR/EDR, an advert's Timeout and
 * Duration, air time shared by several links of one radio, the write that crashes 5.66.
 */
#include "sim/radio.h"
#include "sim/sim-control.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

/* Milliseconds after the name until a restarted daemon has its adapters again. */
enum { ADAPTERS_AFTER_MS = 100 };

static const struct settings defaults = {
	.connect = {25000, 41000},
	.resolve = {90000, 110000},
	.resolve_again = {30000, 50000},
	.read = {17000, 26000},
	.write = {19000, 21000},
	.command = {8000, 12000},
	.notify = {10000, 20000},
	.disconnect = {1800000, 2800000},
	.power = {5000, 20000},
	.mtu = 517,
	.interval_ms = 250,
	.connect_timeout_ms = 40000,
	.temporary_ms = 30000,
	.att_timeout_ms = 30000,
	.app_timeout_ms = 5000,
	.supervision_ms = 4000,
	.retransmit_ms = 30,
	.bearers = 1,
	.service_allowed = 1,
	.max_links = 4,
	.peripheral_links = 1,
	.packet_us = 2200,
	.byte_ns = 3900,
	.rssi = -60,
};

static const struct {
	const char *name;
	size_t offset;
} numbers[] =
	{
		{"mtu", offsetof(struct settings, mtu)},
		{"interval", offsetof(struct settings, interval_ms)},
		{"connect-timeout", offsetof(struct settings, connect_timeout_ms)},
		{"temporary", offsetof(struct settings, temporary_ms)},
		{"att-timeout", offsetof(struct settings, att_timeout_ms)},
		{"app-timeout", offsetof(struct settings, app_timeout_ms)},
		{"supervision", offsetof(struct settings, supervision_ms)},
		{"retransmit", offsetof(struct settings, retransmit_ms)},
		{"max-links", offsetof(struct settings, max_links)},
		{"peripheral-links", offsetof(struct settings, peripheral_links)},
		{"packet-us", offsetof(struct settings, packet_us)},
		{"byte-ns", offsetof(struct settings, byte_ns)},
		{"connect-waits", offsetof(struct settings, connect_waits)},
		{"connect-needs-scan", offsetof(struct settings, connect_needs_scan)},
		{"always-temporary", offsetof(struct settings, always_temporary)},
		{"bearers", offsetof(struct settings, bearers)},
		{"service-allowed", offsetof(struct settings, service_allowed)},
		{"connected-unsaid", offsetof(struct settings, connected_unsaid)},
		{"rssi", offsetof(struct settings, rssi)},
},
  ranges[] = {
	  {"connect", offsetof(struct settings, connect)},
	  {"resolve", offsetof(struct settings, resolve)},
	  {"resolve-again", offsetof(struct settings, resolve_again)},
	  {"read", offsetof(struct settings, read)},
	  {"write", offsetof(struct settings, write)},
	  {"command", offsetof(struct settings, command)},
	  {"notify", offsetof(struct settings, notify)},
	  {"disconnect", offsetof(struct settings, disconnect)},
	  {"power", offsetof(struct settings, power)},
};

int radio_setting(struct radio *r, const char *name, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		char *end;
		long n = strtol(value, &end, 0);

		if (strcmp(numbers[i].name, name) != 0)
			continue;
		if (end == value || *end || n < -127 || n > 100000000)
			return -EINVAL;
		*(int32_t *)((char *)&r->set + numbers[i].offset) = (int32_t)n;
		return 0;
	}
	return -ENOENT;
}

int radio_latency(struct radio *r, const char *name, uint32_t min_us, uint32_t max_us)
{
	for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
		if (strcmp(ranges[i].name, name) != 0)
			continue;
		if (max_us < min_us)
			return -EINVAL;
		*(struct range *)((char *)&r->set + ranges[i].offset) =
			(struct range){min_us, max_us};
		return 0;
	}
	return -ENOENT;
}

uint64_t radio_now(struct radio *r)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* xorshift64*: with --seed a run can be repeated */
uint32_t radio_random(struct radio *r, uint32_t bound)
{
	r->random ^= r->random >> 12;
	r->random ^= r->random << 25;
	r->random ^= r->random >> 27;
	return bound ? (uint32_t)((r->random * 0x2545f4914f6cdd1dULL) >> 32) % bound : 0;
}

uint64_t radio_draw(struct radio *r, struct range range)
{
	return range.min + radio_random(r, range.max - range.min + 1);
}

int radio_after(struct radio *r, uint64_t usec, sd_event_time_handler_t fn, void *user,
		sd_event_source **src)
{
	*src = sd_event_source_disable_unref(*src);
	return sd_event_add_time_relative(r->event, src, CLOCK_MONOTONIC, usec, 1, fn, user);
}

struct board *radio_board(struct radio *r, const char *name)
{
	char *end;
	unsigned long n;

	if (strncmp(name, "hci", 3) != 0 || name[3] < '0' || name[3] > '9')
		return NULL;
	n = strtoul(name + 3, &end, 10);
	return *end || n >= RADIO_BOARDS ? NULL : &r->boards[n];
}

struct board *radio_board_at(struct radio *r, const uint8_t addr[6])
{
	for (size_t i = 0; i < RADIO_BOARDS; i++)
		if (r->boards[i].present && !memcmp(r->boards[i].addr, addr, 6))
			return &r->boards[i];
	return NULL;
}

void radio_log(struct radio *r, const char *what, struct link *l, int side, const char *uuid,
	       const void *data, size_t len)
{
	const uint8_t *p = data;

	if (!r->log)
		return;
	fprintf(r->log, "%llu %s hci%d hci%d %s ", (unsigned long long)radio_now(r), what,
		link_board(l, side)->index, link_board(l, !side)->index, uuid);
	for (size_t i = 0; i < len; i++)
		fprintf(r->log, "%02x", p[i]);
	fputc('\n', r->log);
	fflush(r->log);
}

static void add_adapters(struct radio *r)
{
	for (size_t i = 0; i < RADIO_BOARDS; i++) {
		struct adapter *a;

		if (r->boards[i].present)
			adapter_new(r, &r->boards[i], &a);
	}
}

static int on_adapters(sd_event_source *s, void *user)
{
	add_adapters(user);
	return 0;
}

static int on_adapters_late(sd_event_source *s, uint64_t usec, void *user)
{
	return on_adapters(s, user);
}

int radio_up(struct radio *r)
{
	struct object *bluez;
	int rc = bus_open(r);

	if (rc >= 0)
		rc = object_add(r, "/org/bluez", r, NULL, NULL, NULL, &bluez);
	if (rc >= 0)
		rc = sd_bus_request_name(r->bus, "org.bluez", 0);
	return rc;
}

static int on_reborn(sd_event_source *s, uint64_t usec, void *user)
{
	struct radio *r = user;
	int rc = radio_up(r);

	if (rc < 0)
		return sd_event_exit(r->event, rc);
	return radio_after(r, ADAPTERS_AFTER_MS * 1000, on_adapters_late, r, &r->reborn);
}

/* As kill -9: nobody is told, no object is taken back; everything is forgotten. */
void radio_down(struct radio *r)
{
	struct adapter *a;
	struct object *o;
	sd_bus *bus = sd_bus_ref(r->bus);

	bus_close(r);
	while ((a = TAILQ_FIRST(&r->adapters)))
		adapter_free(a, false);
	while ((o = TAILQ_FIRST(&r->objects)))
		object_remove(o);
	sd_bus_unref(bus);
}

int radio_restart(struct radio *r, uint64_t usec)
{
	if (!r->bus)
		return -EALREADY;
	radio_down(r);
	for (size_t i = 0; i < RADIO_BOARDS; i++)
		discovery_cured(&r->boards[i], CURE_SERVICE);
	return radio_after(r, usec, on_reborn, r, &r->reborn);
}

static void init_board(struct radio *r, int i, bool present)
{
	static const uint8_t prefix[] = {0x00, 0xaa, 0x01, 0x00, 0x00};

	memcpy(r->boards[i].addr, prefix, sizeof(prefix));
	r->boards[i].addr[5] = (uint8_t)i;
	r->boards[i].index = i;
	r->boards[i].present = present;
}

static int pair_option(char *arg, char **value)
{
	*value = strchr(arg, '=');
	if (!*value)
		return -EINVAL;
	*(*value)++ = '\0';
	return 0;
}

static int option(struct radio *r, int c, char *arg, const char **control, long *adapters)
{
	char *value;
	unsigned min, max;

	switch (c) {
	case 'a':
		*adapters = strtol(arg, NULL, 10);
		return *adapters < 1 || *adapters > RADIO_BOARDS ? -EINVAL : 0;
	case 'c':
		*control = arg;
		return 0;
	case 'r':
		r->random = strtoull(arg, NULL, 0) | 1;
		return 0;
	case 's':
		return pair_option(arg, &value) < 0 ? -EINVAL : radio_setting(r, arg, value);
	case 'l':
		if (pair_option(arg, &value) < 0 || sscanf(value, "%u:%u", &min, &max) != 2)
			return -EINVAL;
		return radio_latency(r, arg, min * 1000, max * 1000);
	default:
		return -EINVAL;
	}
}

static int parse(struct radio *r, int argc, char **argv, const char **control)
{
	static const struct option options[] = {
		{"adapters", required_argument, NULL, 'a'},
		{"control", required_argument, NULL, 'c'},
		{"seed", required_argument, NULL, 'r'},
		{"set", required_argument, NULL, 's'},
		{"latency", required_argument, NULL, 'l'},
		{},
	};
	long adapters = 2;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		int rc = option(r, c, optarg, control, &adapters);

		if (rc < 0) {
			fprintf(stderr, "radio-sim: bad option or value: %s\n", argv[optind - 1]);
			return rc;
		}
	}
	for (int i = 0; i < RADIO_BOARDS; i++)
		init_board(r, i, i < adapters);
	return 0;
}

static int run(struct radio *r, const char *control)
{
	int rc = radio_up(r);

	if (rc < 0) {
		fprintf(stderr, "radio-sim: no bus: %s\n", strerror(-rc));
		return rc;
	}
	add_adapters(r);
	rc = service_open(r);
	if (rc < 0)
		fprintf(stderr, "radio-sim: no systemd here: %s\n", strerror(-rc));
	if (control && (rc = control_open(r, control)) < 0) {
		fprintf(stderr, "radio-sim: %s: %s\n", control, strerror(-rc));
		return rc;
	}
	bus_flush(r);
	puts("ready");
	fflush(stdout);
	return sd_event_loop(r->event);
}

int main(int argc, char **argv)
{
	struct radio r = {.set = defaults, .random = 1};
	const char *control = NULL;
	sigset_t mask;
	int rc;

	TAILQ_INIT(&r.objects);
	TAILQ_INIT(&r.pending);
	TAILQ_INIT(&r.adapters);
	TAILQ_INIT(&r.links);
	if (getrandom(&r.random, sizeof(r.random), 0) < 0)
		return EXIT_FAILURE;
	r.random |= 1;
	if (parse(&r, argc, argv, &control) < 0)
		return 2;
	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signal(SIGPIPE, SIG_IGN);
	rc = sd_event_new(&r.event);
	if (rc >= 0)
		rc = sd_event_add_signal(r.event, NULL, SIGTERM, NULL, NULL);
	if (rc >= 0)
		rc = sd_event_add_signal(r.event, NULL, SIGINT, NULL, NULL);
	if (rc >= 0)
		rc = run(&r, control);
	if (r.bus)
		radio_down(&r);
	service_close(&r);
	control_socket_close(r.control);
	if (r.log)
		fclose(r.log);
	sd_event_source_disable_unref(r.flush);
	sd_event_source_disable_unref(r.kick);
	sd_event_source_disable_unref(r.reborn);
	sd_event_source_disable_unref(r.flood);
	sd_event_unref(r.event);
	return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
