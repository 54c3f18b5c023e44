/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The set of brokers that the city publishes to (one per district, say), kept in the registry as
 * JSON: [{"host", "port", "ca", "cert", "key", "user", "password-file"}, ...].
 */
#include "link/db.h"
#include "link/mqtt.h"

struct brokers {
	struct mqtt_broker list[MQTT_BROKERS_MAX]; /* strings owned */
	size_t n;
};
void brokers_deinit(struct brokers *brokers);
/* -ENOENT: none set; -EBADMSG. */
int brokers_load(struct db *db, struct brokers *ret);
int brokers_save(struct db *db, const struct brokers *brokers);
/* HOST, HOST:PORT or [V6]:PORT, appended. NULL, or what is wrong. */
const char *brokers_add(struct brokers *brokers, const char *text);
/* Of the last one: "ca", "cert", "key", "user" or "password-file". */
const char *brokers_set(struct brokers *brokers, const char *name, const char *value);
