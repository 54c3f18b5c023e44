/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * radio-sim on a private bus with a peripheral on hci1, and how the central asks: hci0, this
 * process.
 */
#include "private-bus.h"
#include "radio-peripheral.h"

#include <libgen.h>
#include <sys/socket.h>
#include <sys/un.h>

#define DEVICE	"org.bluez.Device1"
#define ADAPTER "org.bluez.Adapter1"
#define CENTRAL "/org/bluez/hci0"
#define LOCK	"/org/bluez/hci0/dev_00_AA_01_00_00_01"

struct world {
	struct private_bus on;
	char control[64];
	pid_t radio, lock;
	int ctl;
	sd_bus *bus;
	char answers[4];
	unsigned changed, removed; /* of what signals() follows */
	uint8_t value[512];
	size_t len;
};

static char program[512];

static inline void start_radio(struct world *w)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const char *argv[] = {program,	   "--control",	       w->control, "--adapters",  "3",
			      "--latency", "disconnect=50:60", "--set",	   "interval=50", NULL};

	snprintf(w->control, sizeof(w->control), "%s/control", w->on.dir);
	w->radio = private_spawn(argv, 1);
	w->ctl = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", w->control);
	for (int i = 0; i < 1000 && connect(w->ctl, (struct sockaddr *)&addr, sizeof(addr)) < 0;
	     i++)
		usleep(10000);
}

static inline void start_lock(struct world *w)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	w->lock = fork();
	assert_true(w->lock >= 0);
	if (!w->lock)
		peripheral(fds[1], "/org/bluez/hci1");
	close(fds[1]);
	for (int i = 0; i < 3; i++)
		assert_int_equal(read(fds[0], &w->answers[i], 1), 1);
	close(fds[0]);
}

/* What the radio answers to a command of its control socket; it must be "ok ...". */
static inline const char *ask(struct world *w, const char *command)
{
	static char line[4096];
	ssize_t n;

	assert_int_equal(dprintf(w->ctl, "%s\n", command), strlen(command) + 1);
	n = read(w->ctl, line, sizeof(line) - 1);
	assert_true(n > 0);
	line[n] = '\0';
	if (strncmp(line, "ok", 2) != 0)
		fail_msg("%s: %s", command, line);
	return line;
}

static inline void tell(struct world *w, const char *command)
{
	ask(w, command);
}

static inline int on_signal(sd_bus_message *m, void *user, sd_bus_error *e)
{
	struct world *w = user;
	const char *iface, *key;

	if (sd_bus_message_is_signal(m, NULL, "InterfacesRemoved")) {
		w->removed++;
		return 0;
	}
	if (sd_bus_message_read(m, "s", &iface) < 0 || strcmp(iface, CHR) != 0)
		return 0;
	sd_bus_message_enter_container(m, 'a', "{sv}");
	while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
		const void *data;
		size_t len;

		sd_bus_message_read(m, "s", &key);
		if (!strcmp(key, "Value") && sd_bus_message_enter_container(m, 'v', "ay") > 0) {
			sd_bus_message_read_array(m, 'y', &data, &len);
			memcpy(w->value, data, len);
			w->len = len;
			w->changed++;
			sd_bus_message_exit_container(m);
		} else {
			sd_bus_message_skip(m, "v");
		}
		sd_bus_message_exit_container(m);
	}
	return 0;
}

static inline sd_bus *open_bus(struct world *w)
{
	sd_bus *bus;

	assert_true(sd_bus_open_system(&bus) >= 0);
	if (w) {
		assert_true(sd_bus_match_signal(bus, NULL, "org.bluez", NULL, NULL, NULL, on_signal,
						w) >= 0);
	}
	return bus;
}

static inline int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (access(program, X_OK) != 0) {
		free(w);
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	private_bus_start(&w->on);
	setenv("DBUS_SYSTEM_BUS_ADDRESS", w->on.address, 1);
	start_radio(w);
	start_lock(w);
	w->bus = open_bus(w);
	*state = w;
	return 0;
}

static inline int tear_down(void **state)
{
	struct world *w = *state;
	int status = -1;

	if (!w)
		return 0;
	sd_bus_flush_close_unref(w->bus);
	shutdown(w->ctl, SHUT_WR);
	assert_int_equal(read(w->ctl, &status, 1), 0); /* the simulator has let go of it */
	close(w->ctl);
	private_end(&w->lock, SIGKILL);
	kill(w->radio, SIGTERM);
	waitpid(w->radio, &status, 0);
	private_bus_stop(&w->on);
	free(w);
	return status; /* a leak or a crash of the simulator is a failure of the test */
}

static struct world *world(void **state)
{
	if (!*state) {
		print_message("%s is not built\n", program);
		skip();
	}
	return *state;
}

/* --- asking --- */

/* Lets signals in for `ms`, or until *count reaches `goal`. */
static inline void pass(struct world *w, uint64_t ms, const unsigned *count, unsigned goal)
{
	uint64_t end = now_ms() + ms;

	while (now_ms() < end && !(count && *count >= goal))
		if (sd_bus_process(w->bus, NULL) == 0)
			sd_bus_wait(w->bus, 5000);
}

/* "ok", or "Error: text" */
static const char *call(sd_bus *bus, const char *path, const char *iface, const char *member,
			sd_bus_message **reply, const char *types, ...)
{
	static char text[256];
	sd_bus_error e = SD_BUS_ERROR_NULL;
	sd_bus_message *m = NULL, *got = NULL;
	va_list ap;
	int r;

	assert_true(sd_bus_message_new_method_call(bus, &m, "org.bluez", path, iface, member) >= 0);
	va_start(ap, types);
	assert_true(!types || sd_bus_message_appendv(m, types, ap) >= 0);
	va_end(ap);
	r = sd_bus_call(bus, m, 60000000, &e, &got);
	snprintf(text, sizeof(text), "ok");
	if (r < 0) {
		const char *name = strrchr(e.name, '.');

		snprintf(text, sizeof(text), "%s: %s", name ? name + 1 : e.name, e.message);
	}
	if (reply)
		*reply = got;
	else
		sd_bus_message_unref(got);
	sd_bus_error_free(&e);
	sd_bus_message_unref(m);
	return text;
}

static inline bool flag(sd_bus *bus, const char *path, const char *iface, const char *name)
{
	int value = 0;

	sd_bus_get_property_trivial(bus, "org.bluez", path, iface, name, NULL, 'b', &value);
	return value;
}

static inline void wait_flag(struct world *w, const char *path, const char *iface, const char *name,
			     bool want)
{
	for (int i = 0; i < 600 && flag(w->bus, path, iface, name) != want; i++)
		pass(w, 5, NULL, 0);
	assert_int_equal(flag(w->bus, path, iface, name), want);
}

static inline bool exists(sd_bus *bus, const char *path, const char *iface)
{
	return !strcmp(
		call(bus, path, "org.freedesktop.DBus.Properties", "GetAll", NULL, "s", iface),
		"ok");
}

/* The object comes, or goes, within ten seconds. */
static inline bool becomes(struct world *w, const char *path, const char *iface, bool there)
{
	uint64_t end = now_ms() + 10000;

	while (now_ms() < end && exists(w->bus, path, iface) != there)
		pass(w, 20, NULL, 0);
	return exists(w->bus, path, iface) == there;
}

/* What the daemon said before now has been counted. */
static inline void barrier(struct world *w)
{
	(void)flag(w->bus, CENTRAL, ADAPTER, "Powered");
	while (sd_bus_process(w->bus, NULL) > 0)
		;
}

/* A signal strength is known, that is, an advert was reported, within ten seconds. */
static inline bool heard(struct world *w, const char *path)
{
	uint64_t end = now_ms() + 10000;
	int16_t rssi;

	while (now_ms() < end) {
		if (sd_bus_get_property_trivial(w->bus, "org.bluez", path, DEVICE, "RSSI", NULL,
						'n', &rssi) >= 0)
			return true;
		pass(w, 5, NULL, 0);
	}
	return false;
}

static inline void discover(struct world *w, sd_bus *bus)
{
	assert_string_equal(call(bus, CENTRAL, ADAPTER, "SetDiscoveryFilter", NULL, "a{sv}", 2,
				 "Transport", "s", "le", "DuplicateData", "b", 1),
			    "ok");
	assert_string_equal(call(bus, CENTRAL, ADAPTER, "StartDiscovery", NULL, NULL), "ok");
	for (int i = 0; i < 400 && !exists(bus, LOCK, DEVICE); i++)
		pass(w, 5, NULL, 0);
}

static inline void connect_lock(struct world *w)
{
	discover(w, w->bus);
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
	wait_flag(w, LOCK, DEVICE, "ServicesResolved", true);
}

static const char *try_chr(struct world *w, const char *uuid)
{
	static char path[128];

	for (unsigned s = 1; s < 64; s++)
		for (unsigned c = s + 1; c < s + 16; c++) {
			char *got = NULL;
			bool hit;

			snprintf(path, sizeof(path), LOCK "/service%04x/char%04x", s, c);
			if (sd_bus_get_property_string(w->bus, "org.bluez", path, CHR, "UUID", NULL,
						       &got) < 0)
				continue;
			hit = !strcmp(got, uuid);
			free(got);
			if (hit)
				return path;
		}
	return NULL;
}

static inline const char *find_chr(struct world *w, const char *uuid)
{
	const char *path = try_chr(w, uuid);

	if (!path)
		fail_msg("no characteristic %s", uuid);
	return path;
}

/* It comes within ten seconds. */
static inline const char *await_chr(struct world *w, const char *uuid)
{
	uint64_t end = now_ms() + 10000;

	while (!try_chr(w, uuid) && now_ms() < end)
		pass(w, 20, NULL, 0);
	return find_chr(w, uuid);
}

static const char *write_value(sd_bus *bus, const char *path, size_t len, const char *type)
{
	static char text[256];
	uint8_t data[600];
	sd_bus_error e = SD_BUS_ERROR_NULL;
	sd_bus_message *m = NULL;

	memset(data, 0x5a, sizeof(data));
	assert_true(sd_bus_message_new_method_call(bus, &m, "org.bluez", path, CHR, "WriteValue") >=
		    0);
	assert_true(sd_bus_message_append_array(m, 'y', data, len) >= 0);
	assert_true(sd_bus_message_append(m, "a{sv}", type ? 1 : 0, "type", "s", type) >= 0);
	snprintf(text, sizeof(text), "ok");
	if (sd_bus_call(bus, m, 60000000, &e, NULL) < 0)
		snprintf(text, sizeof(text), "%s: %s", strrchr(e.name, '.') + 1, e.message);
	sd_bus_error_free(&e);
	sd_bus_message_unref(m);
	return text;
}

/* radio-sim lies one directory above the tests. */
static inline int find_program(void)
{
	char self[400];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return -1;
	self[n] = '\0';
	snprintf(program, sizeof(program), "%s/../radio-sim", dirname(self));
	return 0;
}
