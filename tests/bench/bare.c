// SPDX-License-Identifier: Apache-2.0
/*
 * The least that a gateway can weigh: the same libraries connected to the same bus and broker over
 * TLS, and nothing else. No documents, no store, no locks.
 *
 *   bare HOST PORT CA CERTIFICATE KEY ID   says "ready" once it is on both; ended by a signal
 */
#include <dbus/dbus.h>
#include <mosquitto.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

static void on_connect(struct mosquitto *mosq, void *user, int rc)
{
	if (rc != 0) {
		fprintf(stderr, "bare: the broker: %s\n", mosquitto_connack_string(rc));
		exit(EXIT_FAILURE);
	}
	puts("ready");
	fflush(stdout);
}

static DBusConnection *open_bus(void)
{
	DBusError error = DBUS_ERROR_INIT;
	DBusConnection *bus = dbus_bus_get_private(DBUS_BUS_SYSTEM, &error);

	if (!bus)
		fprintf(stderr, "bare: the bus: %s\n", error.message);
	return bus;
}

static struct mosquitto *open_broker(char **argv)
{
	struct mosquitto *mosq;
	int rc;

	mosquitto_lib_init();
	mosq = mosquitto_new(argv[6], true, NULL);
	if (!mosq)
		return NULL;
	mosquitto_connect_callback_set(mosq, on_connect);
	rc = mosquitto_tls_set(mosq, argv[3], NULL, argv[4], argv[5], NULL);
	if (!rc)
		rc = mosquitto_connect(mosq, argv[1], atoi(argv[2]), 30);
	if (!rc)
		return mosq;
	fprintf(stderr, "bare: the broker: %s\n", mosquitto_strerror(rc));
	return NULL;
}

int main(int argc, char **argv)
{
	struct mosquitto *mosq;
	DBusConnection *bus;
	int rc = 0;

	if (argc != 7) {
		fprintf(stderr, "Usage: bare HOST PORT CA CERTIFICATE KEY ID\n");
		return 2;
	}
	bus = open_bus();
	mosq = open_broker(argv);
	if (!bus || !mosq)
		return EXIT_FAILURE;
	while (!rc) /* once a second: it is to be idle, not quick */
		rc = mosquitto_loop(mosq, 1000, 1);
	fprintf(stderr, "bare: the broker: %s\n", mosquitto_strerror(rc));
	return EXIT_FAILURE;
}
