// SPDX-License-Identifier: Apache-2.0
/*
 * The least that a program can pay for hearing foreign devices: takes BlueZ's signals off the bus and
 * looks at nothing but the path.
 *
 *   adverts COUNT   says "ready", then, after COUNT signals of the devices that radio-sim's flood
 *                   makes, how much processor time they took, as JSON; ended by SIGTERM before
 */
#include <dbus/dbus.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FOREIGN "/dev_C0_5E_"

static const char *const rules[] = {
	"type='signal',sender='org.bluez',interface='org.freedesktop.DBus.Properties',"
	"arg0='org.bluez.Device1'",
	"type='signal',sender='org.bluez',interface='org.freedesktop.DBus.ObjectManager'",
};

static double cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int fail(const DBusError *error)
{
	fprintf(stderr, "adverts: the bus: %s\n", error->message);
	return EXIT_FAILURE;
}

static bool is_foreign(DBusMessage *message)
{
	const char *path = dbus_message_get_path(message);

	return dbus_message_get_type(message) == DBUS_MESSAGE_TYPE_SIGNAL && path &&
	       strstr(path, FOREIGN);
}

/* Takes signals until `count` were foreign; 0, or -1: the bus is gone. */
static int take(DBusConnection *bus, unsigned long count)
{
	DBusMessage *message;

	while (count) {
		message = dbus_connection_pop_message(bus);
		if (!message && !dbus_connection_read_write(bus, -1))
			return -1;
		if (!message)
			continue;
		count -= is_foreign(message);
		dbus_message_unref(message);
	}
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long count = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	DBusError error = DBUS_ERROR_INIT;
	DBusConnection *bus;
	double began;

	if (count == 0) {
		fprintf(stderr, "Usage: adverts COUNT\n");
		return 2;
	}
	bus = dbus_bus_get_private(DBUS_BUS_SYSTEM, &error);
	if (!bus)
		return fail(&error);
	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		dbus_bus_add_match(bus, rules[i], &error);
		if (dbus_error_is_set(&error))
			return fail(&error);
	}
	puts("ready");
	fflush(stdout);
	if (take(bus, 1) == 0) { /* what came before is not counted */
		began = cpu_us();
		if (take(bus, count) == 0) {
			printf("{\"signals\": %lu, \"cpu_us\": %.0f}\n", count, cpu_us() - began);
			return EXIT_SUCCESS;
		}
	}
	fprintf(stderr, "adverts: the bus is gone\n");
	return EXIT_FAILURE;
}
