/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the two halves of mqtt share: mqtt-choice.c decides which connection there is, mqtt.c what
 * goes over it.
 */
#include "link/mqtt-conn.h"
#include "link/mqtt-flight.h"
#include "link/mqtt-settings.h"

#define HANGING_PER_BROKER 2
#define CONNS_MAX	   (MQTT_BROKERS_MAX * HANGING_PER_BROKER + 8)

enum mode { IDLE, RUNNING, STOPPING };

struct subscription {
	char *topic;
	int qos;
	unsigned flags;
	uint16_t mid;  /* of the SUBSCRIBE without answer; 0: none */
	uint64_t due;  /* us: when it is sent again; 0: granted */
	unsigned sent; /* how often on this connection */
};

struct mqtt {
	sd_event *event;
	struct settings settings;
	const struct mqtt_ops *ops;
	void *user;
	enum mode mode;
	bool online;
	bool refresh;		       /* wanted */
	bool tiny;		       /* the broker takes no packet as large as a subscription */
	struct conn *current;	       /* the one that counts, or is to; of conns */
	struct conn *better;	       /* to a preferred broker, beside it; of conns */
	struct conn *conns[CONNS_MAX]; /* all of them, with the dead and the hanging */
	sd_event_source *retry, *tidy, *stop;
	size_t next_broker;
	unsigned rounds; /* in vain, since a connection held */
	uint64_t up_at, better_at;
	struct flights flights;
	struct subscription subscriptions[MQTT_SUBSCRIPTIONS_MAX];
	size_t n_subscriptions;
	struct mqtt_stats stats;
	uint64_t bytes_in, bytes_out; /* of connections that are gone */
};

uint64_t choice_now(clockid_t clock);

int choice_init(struct mqtt *m);    /* adds the event sources */
void choice_deinit(struct mqtt *m); /* frees connections; a thread that runs is left to itself */
void choice_begin(struct mqtt *m);  /* RUNNING: to the first broker, from the loop */
/* STOPPING: drops all but a connection that is up, and bounds how long that one may take. */
void choice_stop(struct mqtt *m);

/* mqtt.c, called by choice */
void mqtt_go_online(struct mqtt *m, bool session_present);
void mqtt_go_offline(struct mqtt *m, const char *reason);
/* Sends again what was refused or had no answer. */
void mqtt_subscribe_due(struct mqtt *m, uint64_t now);
void mqtt_on_published(struct conn *c, uint16_t mid, uint8_t reason, void *user);
void mqtt_on_subscribed(struct conn *c, uint16_t mid, uint8_t code, void *user);
void mqtt_on_message(struct conn *c, const struct mqtt_message *msg, void *user);
