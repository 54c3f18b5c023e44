/* SPDX-License-Identifier: Apache-2.0 */
/*
 * radio-sim as its clients see it: a private bus, the program itself, a peripheral in a process of its
 * own (so that it can be stopped and killed), and this process as the central.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "core/span.h"

#define SERVICE "2ff90001-f488-4501-a0b4-1a1753dee155"
#define INFO	"2ff90002-f488-4501-a0b4-1a1753dee155"
#define INBOX	"2ff90003-f488-4501-a0b4-1a1753dee155"
#define OUTBOX	"2ff90004-f488-4501-a0b4-1a1753dee155"
#define SLOW	"2ff90009-f488-4501-a0b4-1a1753dee155"
#define CHR	"org.bluez.GattCharacteristic1"
#define DEVICE	"org.bluez.Device1"
#define ADAPTER "org.bluez.Adapter1"
#define CENTRAL "/org/bluez/hci0"
#define LOCK	"/org/bluez/hci0/dev_00_AA_01_00_00_01"

/* --- the peripheral -------------------------------------------------------------------------------- */

struct attr {
	const char *path, *uuid, *flags[3];
	uint8_t value[512];
	size_t len;
};

static struct attr attrs[] = {
	{"/lock/s/info", INFO, {"read"}, {0}, 300},
	{"/lock/s/inbox", INBOX, {"write", "write-without-response"}, {0}, 0},
	{"/lock/s/outbox", OUTBOX, {"notify"}, {0}, 0},
	{"/lock/s/slow", SLOW, {"write"}, {0}, 0},
};

static int get_uuid(sd_bus *bus, const char *path, const char *iface, const char *p,
		    sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "s", user ? ((struct attr *)user)->uuid : SERVICE);
}

static int get_true(sd_bus *bus, const char *path, const char *iface, const char *p,
		    sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "b", 1);
}

static int get_service(sd_bus *bus, const char *path, const char *iface, const char *p,
		       sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "o", "/lock/s");
}

static int get_flags(sd_bus *bus, const char *path, const char *iface, const char *p,
		     sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append_strv(m, (char **)((struct attr *)user)->flags);
}

static int get_value(sd_bus *bus, const char *path, const char *iface, const char *p,
		     sd_bus_message *m, void *user, sd_bus_error *e)
{
	struct attr *a = user;

	return sd_bus_message_append_array(m, 'y', a->value, a->len);
}

static uint16_t offset_of(sd_bus_message *m)
{
	uint16_t offset = 0;

	sd_bus_message_enter_container(m, 'a', "{sv}");
	while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
		const char *key;

		sd_bus_message_read(m, "s", &key);
		if (!strcmp(key, "offset"))
			sd_bus_message_read(m, "v", "q", &offset);
		else
			sd_bus_message_skip(m, "v");
		sd_bus_message_exit_container(m);
	}
	return offset;
}

static int on_read_value(sd_bus_message *m, void *user, sd_bus_error *e)
{
	struct attr *a = user;
	uint16_t offset = offset_of(m);
	sd_bus_message *reply;
	int r;

	if (offset > a->len)
		return sd_bus_reply_method_errorf(m, "org.bluez.Error.InvalidOffset", "no");
	sd_bus_message_new_method_return(m, &reply);
	sd_bus_message_append_array(reply, 'y', a->value + offset, a->len - offset);
	r = sd_bus_send(NULL, reply, NULL);
	sd_bus_message_unref(reply);
	return r;
}

/* What is written into the inbox comes back out of the outbox. */
static int on_write_value(sd_bus_message *m, void *user, sd_bus_error *e)
{
	struct attr *a = user, *out = &attrs[2];
	const void *data;
	int r = sd_bus_message_read_array(m, 'y', &data, &a->len);

	if (r < 0)
		return r;
	memcpy(a->value, data, a->len);
	r = sd_bus_reply_method_return(m, NULL);
	if (a != &attrs[1])
		return r;
	memcpy(out->value, a->value, a->len);
	out->len = a->len;
	return sd_bus_emit_properties_changed(sd_bus_message_get_bus(m), out->path, CHR, "Value",
					      NULL);
}

static int on_nothing(sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_reply_method_return(m, NULL);
}

static const sd_bus_vtable service_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("UUID", "s", get_uuid, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Primary", "b", get_true, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable chr_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("UUID", "s", get_uuid, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Service", "o", get_service, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Flags", "as", get_flags, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Value", "ay", get_value, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_METHOD("ReadValue", "a{sv}", "ay", on_read_value, 0),
	SD_BUS_METHOD("WriteValue", "aya{sv}", NULL, on_write_value, 0),
	SD_BUS_METHOD("StartNotify", NULL, NULL, on_nothing, 0),
	SD_BUS_METHOD("StopNotify", NULL, NULL, on_nothing, 0),
	SD_BUS_VTABLE_END,
};

static int get_type(sd_bus *bus, const char *path, const char *iface, const char *p,
		    sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "s", "peripheral");
}

static int get_data(sd_bus *bus, const char *path, const char *iface, const char *p,
		    sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "a{sv}", 1, SERVICE, "ay", 8, 1, 0, 7, 7, 0xaa, 0xbb, 0xcc,
				     0xdd);
}

static int get_too_much(sd_bus *bus, const char *path, const char *iface, const char *p,
			sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "as", 1, SERVICE);
}

static const sd_bus_vtable advert_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Type", "s", get_type, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("ServiceData", "a{sv}", get_data, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Discoverable", "b", get_true, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_METHOD("Release", NULL, NULL, on_nothing, 0),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable fat_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Type", "s", get_type, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("ServiceData", "a{sv}", get_data, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("ServiceUUIDs", "as", get_too_much, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_VTABLE_END,
};

static int on_registered(sd_bus_message *m, void *user, sd_bus_error *e)
{
	char c = sd_bus_message_is_method_error(m, NULL) ? 'E' : 'R';

	return write(*(int *)user, &c, 1) == 1 ? 0 : -EIO;
}

static void peripheral(int ready, const char *adapter)
{
	sd_bus *bus;
	int r = sd_bus_open_system(&bus);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < sizeof(attrs[0].value); i++)
		attrs[0].value[i] = (uint8_t)i;
	r = r < 0 ? r : sd_bus_add_object_manager(bus, NULL, "/lock");
	r = r < 0 ? r
		  : sd_bus_add_object_vtable(bus, NULL, "/lock/s", "org.bluez.GattService1",
					     service_vtable, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(attrs); i++)
		r = r < 0 ? r
			  : sd_bus_add_object_vtable(bus, NULL, attrs[i].path, CHR, chr_vtable,
						     &attrs[i]);
	r = r < 0 ? r
		  : sd_bus_add_object_vtable(bus, NULL, "/adv", "org.bluez.LEAdvertisement1",
					     advert_vtable, NULL);
	r = r < 0 ? r
		  : sd_bus_add_object_vtable(bus, NULL, "/fat", "org.bluez.LEAdvertisement1",
					     fat_vtable, NULL);
	r = r < 0 ? r
		  : sd_bus_call_method_async(bus, NULL, "org.bluez", adapter,
					     "org.bluez.GattManager1", "RegisterApplication",
					     on_registered, &ready, "oa{sv}", "/lock", 0);
	r = r < 0 ? r
		  : sd_bus_call_method_async(
			    bus, NULL, "org.bluez", adapter, "org.bluez.LEAdvertisingManager1",
			    "RegisterAdvertisement", on_registered, &ready, "oa{sv}", "/adv", 0);
	r = r < 0 ? r
		  : sd_bus_call_method_async(
			    bus, NULL, "org.bluez", adapter, "org.bluez.LEAdvertisingManager1",
			    "RegisterAdvertisement", on_registered, &ready, "oa{sv}", "/fat", 0);
	while (r >= 0) {
		r = sd_bus_process(bus, NULL);
		if (r == 0)
			r = sd_bus_wait(bus, UINT64_MAX);
	}
	_exit(1);
}

/* --- the world ------------------------------------------------------------------------------------- */

struct world {
	char dir[32], control[64];
	pid_t daemon, radio, lock;
	int ctl;
	sd_bus *bus;
	char answers[4];
	unsigned changed, removed; /* of what signals() follows */
	uint8_t value[512];
	size_t len;
};

static char program[512];

static pid_t spawn(int *out, char *const argv[])
{
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], 1);
		close(fds[0]);
		close(fds[1]);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(fds[1]);
	*out = fds[0];
	return pid;
}

static void first_line(int fd, char *line, size_t size)
{
	FILE *f = fdopen(fd, "r");

	assert_non_null(f);
	assert_non_null(fgets(line, (int)size, f));
	line[strcspn(line, "\n")] = '\0';
	fclose(f);
}

static const char bus_config[] =
	"<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" "
	"\"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">"
	"<busconfig><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth><policy "
	"context=\"default\">"
	"<allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\" eavesdrop=\"true\"/>"
	"<allow eavesdrop=\"true\"/></policy></busconfig>\n";

static void start_bus(struct world *w)
{
	char path[80], line[256];
	FILE *f;
	int out;

	snprintf(path, sizeof(path), "%s/bus.conf", w->dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, bus_config, w->dir);
	fclose(f);
	memmove(path + strlen("--config-file="), path, strlen(path) + 1);
	memcpy(path, "--config-file=", strlen("--config-file="));
	w->daemon =
		spawn(&out, (char *[]){"dbus-daemon", path, "--nofork", "--print-address", NULL});
	first_line(out, line, sizeof(line));
	setenv("DBUS_SYSTEM_BUS_ADDRESS", line, 1);
}

static void start_radio(struct world *w)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char line[64];
	int out;

	snprintf(w->control, sizeof(w->control), "%s/control", w->dir);
	w->radio = spawn(&out,
			 (char *[]){program, "--control", w->control, "--adapters", "3",
				    "--latency", "disconnect=50:60", "--set", "interval=50", NULL});
	first_line(out, line, sizeof(line));
	assert_string_equal(line, "ready");
	w->ctl = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", w->control);
	assert_int_equal(connect(w->ctl, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

static void start_lock(struct world *w)
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

static void stop(pid_t *pid)
{
	if (*pid <= 0)
		return;
	kill(*pid, SIGKILL);
	waitpid(*pid, NULL, 0);
	*pid = 0;
}

/* Tells the radio; the answer must be "ok". */
static void tell(struct world *w, const char *command)
{
	char line[4096];
	ssize_t n;

	assert_int_equal(dprintf(w->ctl, "%s\n", command), strlen(command) + 1);
	n = read(w->ctl, line, sizeof(line) - 1);
	assert_true(n > 0);
	line[n] = '\0';
	if (strncmp(line, "ok", 2) != 0)
		fail_msg("%s: %s", command, line);
}

static int on_signal(sd_bus_message *m, void *user, sd_bus_error *e)
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

static sd_bus *open_bus(struct world *w)
{
	sd_bus *bus;

	assert_true(sd_bus_open_system(&bus) >= 0);
	if (w) {
		assert_true(sd_bus_match_signal(bus, NULL, "org.bluez", NULL, NULL, NULL, on_signal,
						w) >= 0);
	}
	return bus;
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (access(program, X_OK) != 0) {
		free(w);
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	strcpy(w->dir, "/tmp/test-radio-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	start_bus(w);
	start_radio(w);
	start_lock(w);
	w->bus = open_bus(w);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	char path[80];

	if (!w)
		return 0;
	sd_bus_flush_close_unref(w->bus);
	close(w->ctl);
	stop(&w->lock);
	kill(w->radio, SIGTERM);
	waitpid(w->radio, NULL, 0);
	stop(&w->daemon);
	snprintf(path, sizeof(path), "%s/bus.conf", w->dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/bus", w->dir);
	unlink(path);
	rmdir(w->dir);
	free(w);
	return 0;
}

static struct world *world(void **state)
{
	if (!*state) {
		print_message("%s is not built\n", program);
		skip();
	}
	return *state;
}

/* --- asking ---------------------------------------------------------------------------------------- */

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Lets signals in for `ms`, or until *count reaches `goal`. */
static void pass(struct world *w, uint64_t ms, const unsigned *count, unsigned goal)
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

static bool flag(sd_bus *bus, const char *path, const char *iface, const char *name)
{
	int value = 0;

	sd_bus_get_property_trivial(bus, "org.bluez", path, iface, name, NULL, 'b', &value);
	return value;
}

static void wait_flag(struct world *w, const char *path, const char *iface, const char *name,
		      bool want)
{
	for (int i = 0; i < 600 && flag(w->bus, path, iface, name) != want; i++)
		pass(w, 5, NULL, 0);
	assert_int_equal(flag(w->bus, path, iface, name), want);
}

static bool exists(sd_bus *bus, const char *path, const char *iface)
{
	return !strcmp(
		call(bus, path, "org.freedesktop.DBus.Properties", "GetAll", NULL, "s", iface),
		"ok");
}

static void discover(struct world *w, sd_bus *bus)
{
	assert_string_equal(call(bus, CENTRAL, ADAPTER, "SetDiscoveryFilter", NULL, "a{sv}", 2,
				 "Transport", "s", "le", "DuplicateData", "b", 1),
			    "ok");
	assert_string_equal(call(bus, CENTRAL, ADAPTER, "StartDiscovery", NULL, NULL), "ok");
	for (int i = 0; i < 400 && !exists(bus, LOCK, DEVICE); i++)
		pass(w, 5, NULL, 0);
}

static void connect_lock(struct world *w)
{
	discover(w, w->bus);
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
	wait_flag(w, LOCK, DEVICE, "ServicesResolved", true);
}

static const char *find_chr(struct world *w, const char *uuid)
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
	fail_msg("no characteristic %s", uuid);
	return NULL;
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

/* --- tests ----------------------------------------------------------------------------------------- */

static void oversized_advert_is_refused(void **state)
{
	assert_memory_equal(world(state)->answers, "RRE", 3);
}

static void advert_is_heard_with_its_service_data_and_forgotten(void **state)
{
	struct world *w = world(state);
	sd_bus_message *m = NULL;
	int16_t rssi = 0;
	const char *uuid;
	const void *data;
	size_t len;

	tell(w, "set temporary 300");
	tell(w, "rssi hci1 -71");
	discover(w, w->bus);
	assert_true(sd_bus_get_property_trivial(w->bus, "org.bluez", LOCK, DEVICE, "RSSI", NULL,
						'n', &rssi) >= 0);
	assert_int_equal(rssi, -71);
	assert_true(sd_bus_get_property(w->bus, "org.bluez", LOCK, DEVICE, "ServiceData", NULL, &m,
					"a{sv}") >= 0);
	sd_bus_message_enter_container(m, 'a', "{sv}");
	sd_bus_message_enter_container(m, 'e', "sv");
	assert_true(sd_bus_message_read(m, "s", &uuid) > 0);
	assert_string_equal(uuid, SERVICE);
	sd_bus_message_enter_container(m, 'v', "ay");
	assert_true(sd_bus_message_read_array(m, 'y', &data, &len) > 0);
	assert_int_equal(len, 8);
	sd_bus_message_unref(m);
	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "StopDiscovery", NULL, NULL), "ok");
	assert_true(sd_bus_get_property_trivial(w->bus, "org.bluez", LOCK, DEVICE, "RSSI", NULL,
						'n', &rssi) < 0);
	pass(w, 600, NULL, 0);
	assert_false(exists(w->bus, LOCK, DEVICE));
	assert_non_null(strstr(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "UnknownObject"));
}

static void uuid_filter_ignores_service_data_but_filters_are_merged(void **state)
{
	struct world *w = world(state);
	sd_bus *other = open_bus(NULL);

	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "SetDiscoveryFilter", NULL, "a{sv}", 1,
				 "UUIDs", "as", 1, SERVICE),
			    "ok");
	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "StartDiscovery", NULL, NULL), "ok");
	pass(w, 300, NULL, 0);
	assert_true(exists(w->bus, LOCK, DEVICE)); /* an object, but nothing is reported of it */
	assert_true(sd_bus_get_property_trivial(w->bus, "org.bluez", LOCK, DEVICE, "RSSI", NULL,
						'n', &(int16_t){0}) < 0);
	assert_string_equal(call(other, CENTRAL, ADAPTER, "StartDiscovery", NULL, NULL), "ok");
	pass(w, 300, NULL, 0);
	assert_true(sd_bus_get_property_trivial(w->bus, "org.bluez", LOCK, DEVICE, "RSSI", NULL,
						'n', &(int16_t){0}) >= 0);
	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "StopDiscovery", NULL, NULL), "ok");
	assert_true(flag(w->bus, CENTRAL, ADAPTER, "Discovering"));
	sd_bus_flush_close_unref(other);
	wait_flag(w, CENTRAL, ADAPTER, "Discovering", false);
	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "StopDiscovery", NULL, NULL),
			    "Failed: No discovery started");
}

static void values_are_read_written_and_notified(void **state)
{
	struct world *w = world(state);
	char inbox[128], outbox[128];
	sd_bus_message *m = NULL;
	const uint8_t *data;
	size_t len;

	connect_lock(w);
	assert_string_equal(call(w->bus, find_chr(w, INFO), CHR, "ReadValue", &m, "a{sv}", 0),
			    "ok");
	assert_true(sd_bus_message_read_array(m, 'y', (const void **)&data, &len) > 0);
	assert_int_equal(len, 300);
	assert_int_equal(data[299], 299 % 256);
	sd_bus_message_unref(m);
	strcpy(inbox, find_chr(w, INBOX));
	strcpy(outbox, find_chr(w, OUTBOX));
	assert_string_equal(call(w->bus, outbox, CHR, "StartNotify", NULL, NULL), "ok");
	assert_true(flag(w->bus, outbox, CHR, "Notifying"));
	pass(w, 100, NULL, 0); /* the read changed Value too */
	w->changed = 0;
	assert_string_equal(write_value(w->bus, inbox, 510, NULL), "ok");
	pass(w, 1000, &w->changed, 1);
	assert_int_equal(w->changed, 1);
	assert_int_equal(w->len, 510);
	assert_int_equal(w->value[509], 0x5a);
	assert_string_equal(write_value(w->bus, inbox, 511, "request"),
			    "InvalidArguments: Invalid Length");
	assert_string_equal(write_value(w->bus, inbox, 511, "command"), "ok"); /* and lost */
	pass(w, 200, NULL, 0);
	assert_int_equal(w->changed, 1);
	assert_string_equal(write_value(w->bus, outbox, 1, "command"),
			    "ok"); /* a wrong flag, lost too */
	assert_string_equal(write_value(w->bus, outbox, 1, NULL),
			    "NotSupported: Operation is not supported");
	assert_string_equal(write_value(w->bus, find_chr(w, INFO), 1, "request"),
			    "NotPermitted: Write not permitted");
}

static void long_values_are_read_in_pieces(void **state)
{
	struct world *w = world(state);
	sd_bus_message *m = NULL;
	const uint8_t *data;
	size_t len;

	tell(w, "set mtu 23");
	tell(w, "latency read 1 2");
	connect_lock(w);
	assert_string_equal(call(w->bus, find_chr(w, INFO), CHR, "ReadValue", &m, "a{sv}", 0),
			    "ok");
	assert_true(sd_bus_message_read_array(m, 'y', (const void **)&data, &len) > 0);
	assert_int_equal(len, 300);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(data[i], i % 256);
	sd_bus_message_unref(m);
	assert_string_equal(call(w->bus, find_chr(w, INFO), CHR, "ReadValue", NULL, "a{sv}", 1,
				 "offset", "q", 400),
			    "InvalidArguments: Invalid offset");
}

static void sockets_carry_writes_and_notifications(void **state)
{
	struct world *w = world(state);
	char inbox[128], outbox[128];
	sd_bus_message *in = NULL, *out = NULL;
	int wfd, nfd;
	uint16_t mtu;
	uint8_t data[600] = {0xff, 2};
	struct pollfd p;

	connect_lock(w);
	strcpy(inbox, find_chr(w, INBOX));
	strcpy(outbox, find_chr(w, OUTBOX));
	assert_string_equal(call(w->bus, inbox, CHR, "AcquireWrite", &in, "a{sv}", 0), "ok");
	assert_true(sd_bus_message_read(in, "hq", &wfd, &mtu) > 0);
	assert_int_equal(mtu, 517);
	assert_string_equal(call(w->bus, inbox, CHR, "AcquireWrite", NULL, "a{sv}", 0),
			    "NotPermitted: Write acquired");
	assert_string_equal(write_value(w->bus, inbox, 1, NULL), "NotPermitted: Write acquired");
	assert_string_equal(call(w->bus, outbox, CHR, "AcquireWrite", NULL, "a{sv}", 0),
			    "NotSupported: Operation is not supported");
	assert_string_equal(call(w->bus, outbox, CHR, "AcquireNotify", &out, "a{sv}", 0), "ok");
	assert_true(sd_bus_message_read(out, "hq", &nfd, &mtu) > 0);
	for (int i = 0; i < 100; i++) {
		data[2] = (uint8_t)i;
		assert_int_equal(send(wfd, data, 244, 0), 244);
	}
	p = (struct pollfd){.fd = nfd, .events = POLLIN};
	for (int i = 0; i < 100; i++) {
		assert_int_equal(poll(&p, 1, 2000), 1);
		assert_int_equal(recv(nfd, data, sizeof(data), 0), 244);
		assert_int_equal(data[2], i); /* none lost, in order */
	}
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Disconnect", NULL, NULL), "ok");
	assert_int_equal(recv(nfd, data, sizeof(data), 0), 0);
	sd_bus_message_unref(in);
	sd_bus_message_unref(out);
	assert_false(flag(w->bus, LOCK, DEVICE, "Connected"));
	assert_string_equal(write_value(w->bus, inbox, 1, NULL), "Failed: Not connected");
}

static void peripheral_sees_the_central_and_may_disconnect_it(void **state)
{
	struct world *w = world(state);
	const char *seen = "/org/bluez/hci1/dev_00_AA_01_00_00_00";

	connect_lock(w);
	assert_true(flag(w->bus, seen, DEVICE, "Connected"));
	assert_string_equal(call(w->bus, seen, DEVICE, "Disconnect", NULL, NULL), "ok");
	assert_false(flag(w->bus, LOCK, DEVICE, "Connected"));
	assert_false(flag(w->bus, LOCK, DEVICE, "ServicesResolved"));
	tell(w, "set temporary 200");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Disconnect", NULL, NULL), "ok");
	pass(w, 400, NULL, 0);
	assert_false(exists(w->bus, seen, DEVICE)); /* only met */
	assert_true(exists(w->bus, LOCK, DEVICE));  /* connected on request: stays */
}

static void subscription_outlives_a_reconnection(void **state)
{
	struct world *w = world(state);
	char outbox[128];

	connect_lock(w);
	strcpy(outbox, find_chr(w, OUTBOX));
	assert_string_equal(call(w->bus, outbox, CHR, "StartNotify", NULL, NULL), "ok");
	tell(w, "drop-link hci1");
	wait_flag(w, LOCK, DEVICE, "Connected", false);
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
	wait_flag(w, LOCK, DEVICE, "ServicesResolved", true);
	pass(w, 100, NULL, 0);
	w->changed = 0;
	assert_string_equal(write_value(w->bus, find_chr(w, INBOX), 5, "command"), "ok");
	pass(w, 1000, &w->changed, 1);
	assert_int_equal(w->changed, 1);
}

static void absent_device_is_waited_for(void **state)
{
	struct world *w = world(state);
	sd_bus *other = open_bus(NULL);
	sd_bus_slot *slot = NULL;
	uint64_t start;

	discover(w, w->bus);
	tell(w, "vanish hci1");
	tell(w, "set connect-timeout 600");
	assert_true(sd_bus_call_method_async(other, &slot, "org.bluez", LOCK, DEVICE, "Connect",
					     on_registered, NULL, NULL) >= 0);
	assert_true(sd_bus_flush(other) >= 0);
	pass(w, 50, NULL, 0);
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL),
			    "Failed: Operation already in progress");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Disconnect", NULL, NULL), "ok");
	start = now_ms();
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL),
			    "Failed: le-connection-abort-by-local");
	assert_in_range(now_ms() - start, 550, 1500);
	sd_bus_slot_unref(slot);
	sd_bus_flush_close_unref(other);
	tell(w, "set connect-timeout 40000");
	tell(w, "appear hci1");
	tell(w, "refuse connect hci1 1");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL),
			    "Failed: le-connection-abort-by-local");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
}

static void silent_peer_stays_connected_and_its_writes_fail_late(void **state)
{
	struct world *w = world(state);
	char slow[128];
	uint64_t start;

	tell(w, "set att-timeout 400");
	connect_lock(w);
	strcpy(slow, find_chr(w, SLOW));
	tell(w, "fail write hci1 1");
	assert_string_equal(write_value(w->bus, slow, 3, NULL),
			    "Failed: Operation failed with ATT error: 0x0e");
	assert_string_equal(write_value(w->bus, slow, 3, NULL), "ok");
	tell(w, "silent hci1 on");
	start = now_ms();
	assert_string_equal(write_value(w->bus, slow, 3, NULL),
			    "Failed: Operation failed with ATT error: 0x0e");
	assert_in_range(now_ms() - start, 390, 900);
	assert_true(flag(w->bus, LOCK, DEVICE, "Connected"));
	assert_string_equal(write_value(w->bus, slow, 3, NULL), "Failed: Not connected");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Disconnect", NULL, NULL), "ok");
	tell(w, "silent hci1 off");
	tell(w, "set supervision 200");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
	tell(w, "vanish hci1");
	wait_flag(w, LOCK, DEVICE, "Connected", false);
}

static void frozen_application_fails_the_write_and_keeps_the_link(void **state)
{
	struct world *w = world(state);
	char slow[128];
	uint64_t start;

	tell(w, "set app-timeout 300");
	connect_lock(w);
	strcpy(slow, find_chr(w, SLOW));
	kill(w->lock, SIGSTOP);
	start = now_ms();
	assert_string_equal(write_value(w->bus, slow, 3, NULL),
			    "Failed: Operation failed with ATT error: 0x0e");
	assert_in_range(now_ms() - start, 290, 900);
	assert_true(flag(w->bus, LOCK, DEVICE, "Connected"));
	kill(w->lock, SIGCONT);
	assert_string_equal(write_value(w->bus, slow, 3, NULL), "ok");
}

static void killed_application_takes_its_services_along(void **state)
{
	struct world *w = world(state);
	char slow[128], again[128];

	connect_lock(w);
	strcpy(slow, find_chr(w, SLOW));
	w->removed = 0;
	stop(&w->lock);
	pass(w, 1000, &w->removed, 6);
	assert_true(w->removed >= 6);
	assert_non_null(strstr(write_value(w->bus, slow, 3, NULL), "UnknownObject"));
	assert_true(flag(w->bus, LOCK, DEVICE, "Connected"));
	start_lock(w);
	pass(w, 300, NULL, 0);
	strcpy(again, find_chr(w, SLOW));
	assert_string_not_equal(again, slow); /* handles only grow */
	assert_string_equal(write_value(w->bus, again, 3, NULL), "ok");
}

static void adapter_off_and_gone(void **state)
{
	struct world *w = world(state);
	char slow[128];

	connect_lock(w);
	strcpy(slow, find_chr(w, SLOW));
	tell(w, "power hci0 off");
	assert_false(flag(w->bus, CENTRAL, ADAPTER, "Discovering"));
	assert_false(flag(w->bus, LOCK, DEVICE, "Connected"));
	assert_string_equal(write_value(w->bus, slow, 3, NULL), "Failed: Not connected");
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL),
			    "Failed: Input/output error");
	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "StartDiscovery", NULL, NULL),
			    "NotReady: Resource Not Ready");
	tell(w, "adapter remove hci0");
	assert_non_null(strstr(call(w->bus, CENTRAL, ADAPTER, "StartDiscovery", NULL, NULL),
			       "UnknownObject"));
	assert_non_null(strstr(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "UnknownObject"));
	tell(w, "adapter add hci0");
	connect_lock(w);
}

static void restart_forgets_everything_without_a_word(void **state)
{
	struct world *w = world(state);

	connect_lock(w);
	w->removed = 0;
	tell(w, "restart 200");
	assert_non_null(
		strstr(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ServiceUnknown"));
	for (int i = 0; i < 200 && !exists(w->bus, CENTRAL, ADAPTER); i++)
		pass(w, 10, NULL, 0);
	assert_int_equal(w->removed, 0);
	assert_true(exists(w->bus, CENTRAL, ADAPTER));
	assert_false(exists(w->bus, LOCK, DEVICE));
	stop(&w->lock);
	start_lock(w);
	connect_lock(w);
	assert_string_equal(write_value(w->bus, find_chr(w, SLOW), 3, NULL), "ok");
}

static void stale_table_and_silent_scanner(void **state)
{
	struct world *w = world(state);

	tell(w, "stale hci1 on");
	connect_lock(w);
	assert_false(exists(w->bus, LOCK "/service000a", "org.bluez.GattService1"));
	assert_string_equal(call(w->bus, CENTRAL, ADAPTER, "RemoveDevice", NULL, "o", LOCK), "ok");
	assert_false(exists(w->bus, LOCK, DEVICE));
	tell(w, "stale hci1 off");
	tell(w, "scan-silent hci0 on");
	pass(w, 300, NULL, 0);
	assert_false(exists(w->bus, LOCK, DEVICE));
	assert_true(flag(w->bus, CENTRAL, ADAPTER, "Discovering"));
	tell(w, "scan-silent hci0 off");
	pass(w, 300, NULL, 0);
	assert_true(exists(w->bus, LOCK, DEVICE));
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Connect", NULL, NULL), "ok");
	wait_flag(w, LOCK, DEVICE, "ServicesResolved", true);
	assert_true(exists(w->bus, LOCK "/service000a", "org.bluez.GattService1"));
}

static void one_peripheral_serves_one_central(void **state)
{
	struct world *w = world(state);
	const char *other = "/org/bluez/hci2/dev_00_AA_01_00_00_01";

	connect_lock(w);
	assert_string_equal(call(w->bus, "/org/bluez/hci2", ADAPTER, "StartDiscovery", NULL, NULL),
			    "ok");
	pass(w, 300, NULL, 0);
	assert_false(exists(w->bus, other, DEVICE)); /* connected: not on the air */
	assert_string_equal(call(w->bus, LOCK, DEVICE, "Disconnect", NULL, NULL), "ok");
	pass(w, 300, NULL, 0);
	assert_string_equal(call(w->bus, other, DEVICE, "Connect", NULL, NULL), "ok");
}

int main(int argc, char **argv)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(oversized_advert_is_refused),
		T(advert_is_heard_with_its_service_data_and_forgotten),
		T(uuid_filter_ignores_service_data_but_filters_are_merged),
		T(values_are_read_written_and_notified),
		T(long_values_are_read_in_pieces),
		T(sockets_carry_writes_and_notifications),
		T(peripheral_sees_the_central_and_may_disconnect_it),
		T(subscription_outlives_a_reconnection),
		T(absent_device_is_waited_for),
		T(silent_peer_stays_connected_and_its_writes_fail_late),
		T(frozen_application_fails_the_write_and_keeps_the_link),
		T(killed_application_takes_its_services_along),
		T(adapter_off_and_gone),
		T(restart_forgets_everything_without_a_word),
		T(stale_table_and_silent_scanner),
		T(one_peripheral_serves_one_central),
	};
	char self[400];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return 1;
	self[n] = '\0';
	snprintf(program, sizeof(program), "%s/../radio-sim", dirname(self));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
