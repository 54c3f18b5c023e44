/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The set of brokers that the city publishes to (one per district, say), kept in the registry as
 * JSON: [{"host", "port", "ca", "cert", "key", "user", "password-file", "public"}, ...].
 */
#include "link/db.h"
#include "link/mqtt.h"

#define BROKER_FIELDS	7 /* host, and the six that have names */
#define BROKER_TEXT_CAP 256

struct brokers {
	struct mqtt_broker list[MQTT_BROKERS_MAX]; /* points into text: do not copy */
	size_t n;
	/* HOST:PORT that gateways reach it under; NULL: the same as the desk */
	const char *public[MQTT_BROKERS_MAX];
	char text[MQTT_BROKERS_MAX][BROKER_FIELDS][BROKER_TEXT_CAP];
};
/* -ENOENT: none set; -EBADMSG. */
int brokers_load(struct db *db, struct brokers *ret);
int brokers_save(struct db *db, struct brokers *brokers);
/* HOST, HOST:PORT or [V6]:PORT, appended. NULL, or what is wrong. */
const char *brokers_add(struct brokers *brokers, const char *text);
/* Of broker i: "ca", "cert", "key", "user", "password-file" or "public". */
const char *brokers_set(struct brokers *brokers, size_t i, const char *name, const char *value);

struct brokers_place {
	char host[BROKER_TEXT_CAP];
	uint16_t port; /* never 0 */
};
/* Where gateways find broker i, over TLS. */
struct brokers_place brokers_public(const struct brokers *brokers, size_t i);
