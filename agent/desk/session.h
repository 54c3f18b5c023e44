/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The desk on its set of brokers: one MQTT client each, what is sent goes to all, what any says is
 * heard. A message waits for its broker's PUBACK, and is sent again on the next connection, unless
 * it may be lost (an authorization is never sent twice).
 *
 * `settled` tells that the retained messages of a broker have come: every subscription is granted
 * and nothing more arrived for a moment. There is no surer sign in MQTT.
 */
#include <systemd/sd-event.h>

#include "desk/desk.h"
#include "link/mqtt.h"
#include "message.h"

struct session;

struct session_ops { /* any may be NULL; none may free the session */
	void (*online)(size_t broker, void *user);
	void (*settled)(size_t broker, void *user);
	void (*message)(const struct topic *topic, const struct mqtt_message *message,
			size_t broker, void *user);
	void (*failed)(size_t broker, void *user); /* one attempt to connect */
	void (*offline)(size_t broker, const char *reason, void *user);
};

struct session_options {
	const char *client_id; /* NULL: a random one, and no session is kept */
	uint32_t expiry_s;
};

/* -ENOENT: no broker is set. */
int session_new(sd_event *event, const struct desk *desk, const struct session_options *options,
		const struct session_ops *ops, void *user, struct session **ret);
void session_free(struct session *s);
void session_freep(struct session **s);
/* Below the root topic; gateway and name may be "+". kind TOPIC_CITY_*: use session_subscribe_city.
 */
int session_subscribe(struct session *s, enum topic_kind kind, const char *gateway,
		      const char *name);
int session_subscribe_city(struct session *s);
int session_start(struct session *s);
/* Says goodbye to the brokers, and frees; runs the loop for at most a second. Not from an op. */
void session_close(struct session **s);

struct session_message {
	struct topic topic;
	struct span payload; /* copied */
	bool retain;
	bool once; /* never sent again on another connection */
	uint32_t expiry_s;
	struct span correlation;
};
/* Queues for every broker. */
int session_send(struct session *s, const struct session_message *message);
/* A document into its slot under city/. */
int session_send_city(struct session *s, const char *slot, struct span document);
/* gw/<gateway>/<kind> */
int session_send_gateway(struct session *s, enum topic_kind kind, const char *gateway,
			 struct span payload);

size_t session_brokers(const struct session *s);
size_t session_online(const struct session *s);	 /* how many */
size_t session_settled(const struct session *s); /* how many */
/* Each broker has settled or did not answer: nothing is known later that is not new. */
bool session_all_told(const struct session *s);
size_t session_waiting(const struct session *s); /* messages without PUBACK, of brokers online */
/* Why the first that is not online is not; "". */
const char *session_trouble(const struct session *s);
const char *session_root(const struct session *s);
