// SPDX-License-Identifier: Apache-2.0
/*
 * The floor beneath the agent: a bare relay from libmosquitto to libdbus. No check, no signature, no
 * disk, one lock. What comes on gw/GW/authorize is cut into frames and written to the lock's inbox;
 * each frame of its outbox is published as it came.
 *
 *   relay PORT GW ADAPTER ADDRESS [--sockets] [--ca FILE]
 *
 * --sockets: over AcquireWrite and AcquireNotify, as the agent does; else WriteValue and the signal of
 * StartNotify. Writes "ready" when the lock is connected, "gone" when it is not any more.
 */
#include <dbus/dbus.h>
#include <mosquitto.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/frame.h"
#include "driver/open.h"

#define BLUEZ	 "org.bluez"
#define CHR	 "org.bluez.GattCharacteristic1"
#define DEVICE	 "org.bluez.Device1"
#define CALL_MS	 60000
#define PAUSE_MS 50 /* while the lock is not to be had */

struct relay {
	DBusConnection *bus;
	struct mosquitto *mosq;
	char adapter[32], device[80], inbox[160], outbox[160], from[160], to[160];
	bool sockets, subscribed, linked;
	int write_fd, notify_fd;
	size_t frame; /* bytes of one write */
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "relay: %s: %s\n", what, why);
	exit(EXIT_FAILURE);
}

static void say(const char *word)
{
	puts(word);
	fflush(stdout);
}

/* --- calls that may wait: while connecting only ---------------------------------------------------- */

static DBusMessage *message(const char *path, const char *interface, const char *member)
{
	DBusMessage *m = dbus_message_new_method_call(BLUEZ, path, interface, member);

	if (!m)
		die(member, "no memory");
	return m;
}

/* NULL: refused. Takes m. */
static DBusMessage *ask(struct relay *r, DBusMessage *m)
{
	DBusMessage *reply = dbus_connection_send_with_reply_and_block(r->bus, m, CALL_MS, NULL);

	dbus_message_unref(m);
	if (!reply && !dbus_connection_get_is_connected(r->bus))
		die("bus", "lost");
	return reply;
}

static bool tell(struct relay *r, DBusMessage *m)
{
	DBusMessage *reply = ask(r, m);

	if (!reply)
		return false;
	dbus_message_unref(reply);
	return true;
}

static void append_options(DBusMessageIter *args, const char *name, const char *value)
{
	DBusMessageIter dict, entry, variant;

	dbus_message_iter_open_container(args, DBUS_TYPE_ARRAY, "{sv}", &dict);
	if (name) {
		dbus_message_iter_open_container(&dict, DBUS_TYPE_DICT_ENTRY, NULL, &entry);
		dbus_message_iter_append_basic(&entry, DBUS_TYPE_STRING, &name);
		dbus_message_iter_open_container(&entry, DBUS_TYPE_VARIANT, "s", &variant);
		dbus_message_iter_append_basic(&variant, DBUS_TYPE_STRING, &value);
		dbus_message_iter_close_container(&entry, &variant);
		dbus_message_iter_close_container(&dict, &entry);
	}
	dbus_message_iter_close_container(args, &dict);
}

static bool resolved(struct relay *r)
{
	const char *interface = DEVICE, *name = "ServicesResolved";
	DBusMessage *m = message(r->device, DBUS_INTERFACE_PROPERTIES, "Get"), *reply;
	DBusMessageIter args, variant;
	dbus_bool_t yes = FALSE;

	dbus_message_append_args(m, DBUS_TYPE_STRING, &interface, DBUS_TYPE_STRING, &name,
				 DBUS_TYPE_INVALID);
	reply = ask(r, m);
	if (!reply)
		return false;
	dbus_message_iter_init(reply, &args);
	dbus_message_iter_recurse(&args, &variant);
	dbus_message_iter_get_basic(&variant, &yes);
	dbus_message_unref(reply);
	return yes;
}

/* The UUID among the properties of one object's interfaces; "": it is no characteristic. */
static const char *uuid_of(DBusMessageIter *interfaces)
{
	DBusMessageIter interface, properties, property, variant;
	const char *name = "", *uuid = "";

	for (; dbus_message_iter_get_arg_type(interfaces) == DBUS_TYPE_DICT_ENTRY;
	     dbus_message_iter_next(interfaces)) {
		dbus_message_iter_recurse(interfaces, &interface);
		dbus_message_iter_get_basic(&interface, &name);
		if (strcmp(name, CHR) != 0)
			continue;
		dbus_message_iter_next(&interface);
		dbus_message_iter_recurse(&interface, &properties);
		for (; dbus_message_iter_get_arg_type(&properties) == DBUS_TYPE_DICT_ENTRY;
		     dbus_message_iter_next(&properties)) {
			dbus_message_iter_recurse(&properties, &property);
			dbus_message_iter_get_basic(&property, &name);
			dbus_message_iter_next(&property);
			dbus_message_iter_recurse(&property, &variant);
			if (strcmp(name, "UUID") == 0)
				dbus_message_iter_get_basic(&variant, &uuid);
		}
	}
	return uuid;
}

static bool find_characteristics(struct relay *r)
{
	DBusMessage *reply =
		ask(r, message("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"));
	DBusMessageIter args, objects, object, interfaces;

	r->inbox[0] = r->outbox[0] = '\0';
	if (!reply)
		return false;
	dbus_message_iter_init(reply, &args);
	dbus_message_iter_recurse(&args, &objects);
	for (; dbus_message_iter_get_arg_type(&objects) == DBUS_TYPE_DICT_ENTRY;
	     dbus_message_iter_next(&objects)) {
		const char *path, *uuid;

		dbus_message_iter_recurse(&objects, &object);
		dbus_message_iter_get_basic(&object, &path);
		if (strncmp(path, r->device, strlen(r->device)) != 0)
			continue;
		dbus_message_iter_next(&object);
		dbus_message_iter_recurse(&object, &interfaces);
		uuid = uuid_of(&interfaces);
		if (strcmp(uuid, OPEN_INBOX) == 0)
			snprintf(r->inbox, sizeof(r->inbox), "%s", path);
		if (strcmp(uuid, OPEN_OUTBOX) == 0)
			snprintf(r->outbox, sizeof(r->outbox), "%s", path);
	}
	dbus_message_unref(reply);
	return r->inbox[0] && r->outbox[0];
}

static int acquire(struct relay *r, const char *path, const char *member)
{
	DBusMessage *m = message(path, CHR, member), *reply;
	DBusMessageIter args;
	dbus_uint16_t mtu = 0;
	int fd = -1;

	dbus_message_iter_init_append(m, &args);
	append_options(&args, NULL, NULL);
	reply = ask(r, m);
	if (!reply || !dbus_message_get_args(reply, NULL, DBUS_TYPE_UNIX_FD, &fd, DBUS_TYPE_UINT16,
					     &mtu, DBUS_TYPE_INVALID))
		return -1;
	dbus_message_unref(reply);
	r->frame = mtu - 3u < FRAME_MAX ? mtu - 3u : FRAME_MAX;
	return fd;
}

static bool subscribe(struct relay *r)
{
	r->frame = FRAME_MAX;
	if (!r->sockets)
		return tell(r, message(r->outbox, CHR, "StartNotify"));
	r->write_fd = acquire(r, r->inbox, "AcquireWrite");
	r->notify_fd = acquire(r, r->outbox, "AcquireNotify");
	return r->write_fd >= 0 && r->notify_fd >= 0;
}

static void match(struct relay *r, const char *path)
{
	char rule[320];

	snprintf(rule, sizeof(rule),
		 "type='signal',sender='" BLUEZ "',interface='" DBUS_INTERFACE_PROPERTIES
		 "',path='%s'",
		 path);
	dbus_bus_add_match(r->bus, rule, NULL);
}

static void pause_ms(unsigned ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	nanosleep(&t, NULL);
}

/* Until the lock is connected. What else comes waits. */
static void connect_lock(struct relay *r)
{
	static bool matched;

	tell(r, message(r->adapter, "org.bluez.Adapter1", "StartDiscovery"));
	while (!tell(r, message(r->device, DEVICE, "Connect")))
		pause_ms(PAUSE_MS);
	tell(r, message(r->adapter, "org.bluez.Adapter1", "StopDiscovery"));
	while (!resolved(r))
		pause_ms(PAUSE_MS);
	if (!find_characteristics(r) || !subscribe(r)) {
		tell(r, message(r->device, DEVICE, "Disconnect"));
		return;
	}
	if (!matched) {
		match(r, r->device);
		match(r, r->outbox);
		matched = true;
	}
	r->linked = true;
	say("ready");
}

static void link_gone(struct relay *r)
{
	if (!r->linked)
		return;
	r->linked = false;
	if (r->sockets) {
		close(r->write_fd);
		close(r->notify_fd);
	}
	say("gone");
}

/* --- the relay ------------------------------------------------------------------------------------- */

static void write_value(struct relay *r, const uint8_t *frame, size_t n, bool last)
{
	DBusMessage *m = message(r->inbox, CHR, "WriteValue");
	DBusMessageIter args, bytes;

	dbus_message_iter_init_append(m, &args);
	dbus_message_iter_open_container(&args, DBUS_TYPE_ARRAY, "y", &bytes);
	dbus_message_iter_append_fixed_array(&bytes, DBUS_TYPE_BYTE, &frame, (int)n);
	dbus_message_iter_close_container(&args, &bytes);
	append_options(&args, "type", "command");
	if (!last) { /* BlueZ takes one at a time */
		tell(r, m);
		return;
	}
	dbus_message_set_no_reply(m, TRUE);
	dbus_connection_send(r->bus, m, NULL);
	dbus_connection_flush(r->bus);
	dbus_message_unref(m);
}

static void on_message(struct mosquitto *mosq, void *user, const struct mosquitto_message *m)
{
	struct relay *r = user;
	struct frame_cutter cutter;
	uint8_t frame[FRAME_MAX];
	size_t n;

	frame_cut(&cutter, span_of(m->payload, (size_t)m->payloadlen));
	while (r->linked && (n = frame_next(&cutter, r->frame, frame)) > 0) {
		if (!r->sockets)
			write_value(r, frame, n, frame_is_last(&cutter));
		else if (send(r->write_fd, frame, n, MSG_NOSIGNAL) < 0)
			link_gone(r);
	}
}

static void publish(struct relay *r, const void *data, size_t len)
{
	mosquitto_publish(r->mosq, NULL, r->to, (int)len, data, 1, false);
}

static void on_property(struct relay *r, const char *path, const char *name, DBusMessageIter *value)
{
	DBusMessageIter bytes;
	dbus_bool_t yes = TRUE;
	const uint8_t *data;
	int n;

	if (strcmp(path, r->device) == 0 && strcmp(name, "Connected") == 0) {
		dbus_message_iter_get_basic(value, &yes);
		if (!yes)
			link_gone(r);
	}
	if (r->sockets || strcmp(path, r->outbox) != 0 || strcmp(name, "Value") != 0)
		return;
	dbus_message_iter_recurse(value, &bytes);
	dbus_message_iter_get_fixed_array(&bytes, &data, &n);
	publish(r, data, (size_t)n);
}

static DBusHandlerResult on_signal(DBusConnection *bus, DBusMessage *m, void *user)
{
	DBusMessageIter args, properties, property, value;
	const char *name;

	if (!dbus_message_is_signal(m, DBUS_INTERFACE_PROPERTIES, "PropertiesChanged"))
		return DBUS_HANDLER_RESULT_NOT_YET_HANDLED;
	dbus_message_iter_init(m, &args);
	dbus_message_iter_next(&args);
	dbus_message_iter_recurse(&args, &properties);
	for (; dbus_message_iter_get_arg_type(&properties) == DBUS_TYPE_DICT_ENTRY;
	     dbus_message_iter_next(&properties)) {
		dbus_message_iter_recurse(&properties, &property);
		dbus_message_iter_get_basic(&property, &name);
		dbus_message_iter_next(&property);
		dbus_message_iter_recurse(&property, &value);
		on_property(user, dbus_message_get_path(m), name, &value);
	}
	return DBUS_HANDLER_RESULT_HANDLED;
}

static void on_notification(struct relay *r)
{
	uint8_t frame[FRAME_MAX + 2];
	ssize_t n = recv(r->notify_fd, frame, sizeof(frame), MSG_DONTWAIT);

	if (n > 0)
		publish(r, frame, (size_t)n);
	else
		link_gone(r);
}

static void on_connect(struct mosquitto *mosq, void *user, int rc)
{
	const struct relay *r = user;

	if (rc || mosquitto_subscribe(mosq, NULL, r->from, 1))
		die("broker", "it refused");
}

static void on_subscribe(struct mosquitto *mosq, void *user, int mid, int n, const int *granted)
{
	struct relay *r = user;

	r->subscribed = true;
}

/* --- start ----------------------------------------------------------------------------------------- */

static void open_bus(struct relay *r)
{
	r->bus = dbus_bus_get_private(DBUS_BUS_SYSTEM, NULL);
	if (!r->bus || !dbus_connection_add_filter(r->bus, on_signal, r, NULL))
		die("bus", "no connection; is DBUS_SYSTEM_BUS_ADDRESS right?");
	dbus_connection_set_exit_on_disconnect(r->bus, FALSE);
}

static void open_broker(struct relay *r, const char *port, const char *gateway, const char *ca)
{
	int rc;

	mosquitto_lib_init();
	r->mosq = mosquitto_new(gateway, true, r);
	if (!r->mosq)
		die("broker", "no memory");
	mosquitto_int_option(r->mosq, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
	mosquitto_int_option(r->mosq, MOSQ_OPT_TCP_NODELAY, 1);
	mosquitto_connect_callback_set(r->mosq, on_connect);
	mosquitto_subscribe_callback_set(r->mosq, on_subscribe);
	mosquitto_message_callback_set(r->mosq, on_message);
	if (ca && mosquitto_tls_set(r->mosq, ca, NULL, NULL, NULL, NULL))
		die(ca, "no file of certificates");
	rc = mosquitto_connect(r->mosq, "127.0.0.1", atoi(port), 60);
	if (rc)
		die("broker", mosquitto_strerror(rc));
}

static void turn(struct relay *r)
{
	struct pollfd fds[] = {
		{.fd = mosquitto_socket(r->mosq), .events = POLLIN},
		{.events = POLLIN},
		{.fd = r->linked && r->sockets ? r->notify_fd : -1, .events = POLLIN},
	};
	int rc = MOSQ_ERR_SUCCESS;

	dbus_connection_get_unix_fd(r->bus, &fds[1].fd);
	if (mosquitto_want_write(r->mosq))
		fds[0].events |= POLLOUT;
	poll(fds, 3, 1000);
	if (fds[0].revents & (POLLIN | POLLHUP | POLLERR))
		rc = mosquitto_loop_read(r->mosq, 1);
	if (fds[2].revents)
		on_notification(r);
	if (fds[1].revents)
		dbus_connection_read_write(r->bus, 0);
	while (dbus_connection_dispatch(r->bus) == DBUS_DISPATCH_DATA_REMAINS)
		;
	if (!rc && mosquitto_want_write(r->mosq))
		rc = mosquitto_loop_write(r->mosq, 1);
	if (!rc)
		rc = mosquitto_loop_misc(r->mosq);
	if (rc)
		die("broker", mosquitto_strerror(rc));
	if (!dbus_connection_get_is_connected(r->bus))
		die("bus", "lost");
	if (r->subscribed && !r->linked)
		connect_lock(r);
}

int main(int argc, char **argv)
{
	struct relay r = {.write_fd = -1, .notify_fd = -1};
	const char *ca = NULL;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = 5; i < argc; i++) {
		if (strcmp(argv[i], "--sockets") == 0)
			r.sockets = true;
		else if (strcmp(argv[i], "--ca") == 0 && i + 1 < argc)
			ca = argv[++i];
		else
			die(argv[i], "what is this?");
	}
	if (argc < 5)
		die("usage", "relay PORT GW ADAPTER ADDRESS [--sockets] [--ca FILE]");
	snprintf(r.adapter, sizeof(r.adapter), "/org/bluez/%s", argv[3]);
	snprintf(r.device, sizeof(r.device), "%s/dev_%s", r.adapter, argv[4]);
	for (char *c = r.device; *c; c++)
		*c = *c == ':' ? '_' : *c;
	snprintf(r.from, sizeof(r.from), "lockbridge/gw/%s/authorize", argv[2]);
	snprintf(r.to, sizeof(r.to), "lockbridge/gw/%s/event", argv[2]);
	open_bus(&r);
	open_broker(&r, argv[1], argv[2], ca);
	for (;;)
		turn(&r);
}
