/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * An MQTT 5 client on sd-event, over libmosquitto. Keeps one connection to the first broker of a
 * list that answers, for ever: no error is final, and nothing here blocks the loop. Name
 * resolution, TCP connect and reading of the TLS files happen in a short-lived thread; every op is
 * called from the loop.
 *
 * One connection, one library handle, one life: a connection that ended is never revived. What this
 * means for QoS 1 publishes is the rule of rows below. TLS files and the password file are read
 * anew at each attempt, so that a renewed (or withdrawn) certificate counts from the next connect
 * on.
 *
 * Rows. A QoS 1 publish may carry a row > 0 (of an outbox). From the moment mqtt_publish() returned
 * 0 the row is in flight, until exactly one of these ops names it: acked     the broker has it
 *   rejected  the broker refused it, for good as far as this connection can know
 *   lost      the connection ended first: nobody here will send it again. The broker may or may not
 *             have it. Publish it again when online; receivers tell doubles by their number.
 * `lost` comes for each such row in order of publishing, right before `offline`. A row must not be
 * published again while it is in flight (-EALREADY). Row 0: nobody asks, nobody is told; for what
 * is published anew at every connect anyway.
 *
 * Order at each connect: every remembered subscription is sent, then `online` is called; whatever
 * the op publishes reaches the broker behind the SUBSCRIBEs. No `message` comes before `online`.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "core/span.h"

#define MQTT_BROKERS_MAX       8
#define MQTT_SUBSCRIPTIONS_MAX 16
#define MQTT_IN_FLIGHT_MAX     128		  /* QoS 1 publishes, rows and others together */
#define MQTT_QUEUE_MAX	       (4u * 1024 * 1024) /* payload bytes of those */
#define MQTT_PAYLOAD_MAX       (160u * 1024)	  /* default of max_payload */
#define MQTT_CORRELATION_MAX   64

struct mqtt;

struct mqtt_broker {
	const char *host;
	uint16_t port;		   /* 0: 8883 with TLS, 1883 without */
	const char *ca_file;	   /* PEM; NULL: no TLS. With TLS the chain and host name are always
				      checked */
	const char *cert_file;	   /* PEM; both or none */
	const char *key_file;	   /* PEM, without passphrase */
	const char *user;	   /* NULL: none */
	const char *password_file; /* its first line; NULL: none */
};

struct mqtt_publish {
	const char *topic;
	struct span payload;
	int qos; /* 0 or 1 */
	bool retain;
	uint32_t expiry_s;	    /* 0: none */
	struct span correlation;    /* empty: none */
	const char *content_type;   /* NULL: none */
	const char *response_topic; /* NULL: none */
};

/*
 * Zero means the default in brackets. Everything is copied by mqtt_new().
 *
 * A pause between rounds of attempts doubles from backoff_min_ms to backoff_max_ms, and is by chance
 * 0.5 to 1.5 of that; it starts small again after a connection that stood for 10 s.
 *
 * A publish without its PUBACK after ack_timeout_ms (and 1 ms per byte in flight before it) makes the
 * connection count as lost; others' PUBACKs prove nothing for it. A subscription that was refused, or not
 * answered, is sent again after ack_timeout_ms, doubling to 16 times that.
 *
 * On a less preferred broker those before it are tried every preferred_retry_s, beside the connection
 * that stands and only while nothing is in flight; when one answers, `offline` and `online` follow each
 * other at once.
 */
struct mqtt_options {
	const struct mqtt_broker *brokers; /* in order of preference, 1 to MQTT_BROKERS_MAX */
	size_t n_brokers;
	const char *client_id;
	unsigned keepalive_s;		 /* [30] at least 5 */
	uint32_t session_expiry_s;	 /* 0: the session ends with the connection */
	bool clean_start;		 /* at every connect */
	uint16_t receive_maximum;	 /* [8] messages unacknowledged by us at once */
	unsigned rows_maximum;		 /* [16] rows in flight at once */
	size_t max_payload;		 /* [MQTT_PAYLOAD_MAX] larger ones go to `oversized` */
	unsigned backoff_min_ms;	 /* [1000] */
	unsigned backoff_max_ms;	 /* [60000] */
	unsigned connect_timeout_ms;	 /* [20000] from the name to the CONNACK */
	unsigned ack_timeout_ms;	 /* [60000] */
	unsigned stop_timeout_ms;	 /* [2000] for what is in flight, and the DISCONNECT */
	unsigned preferred_retry_s;	 /* [900] */
	const struct mqtt_publish *will; /* NULL: none; topic, payload, qos, retain count */
};

/* All spans and strings live only during the call. */
struct mqtt_message {
	const char *topic;
	struct span payload;
	int qos;
	bool retain; /* kept by the broker, or (RETAIN_AS_PUBLISHED) published so */
	bool has_expiry;
	uint32_t expiry_s; /* what is left of it, if has_expiry */
	struct span correlation;
	const char *response_topic; /* NULL: none */
	const char *content_type;   /* NULL: none */
};

/*
 * Any may be NULL. Never called before mqtt_start() has returned, nor from inside another mqtt_
 * call. Ops may call everything here but mqtt_free().
 */
struct mqtt_ops {
	void (*online)(size_t broker, bool session_present, void *user);
	/* Was online, no longer is. The reason is in words for people. */
	void (*offline)(const char *reason, void *user);
	/* One attempt at one broker failed; the next comes by itself. Also while online: see preferred_retry_s. */
	void (*failed)(size_t broker, const char *reason, void *user);
	void (*message)(const struct mqtt_message *msg, void *user);
	void (*acked)(int64_t row, void *user);
	void (*rejected)(int64_t row, uint8_t reason, void *user); /* MQTT 5 reason code, >= 0x80 */
	void (*lost)(int64_t row, void *user);
	/* code: the QoS granted, or a reason code >= 0x80. A granted one proves nothing (many
	 * brokers). */
	void (*subscribed)(int subscription, uint8_t code, void *user);
	void (*oversized)(const char *topic, size_t len, void *user); /* a message was dropped */
	void (*stopped)(void *user);
};

enum mqtt_subscribe_flags {
	MQTT_RETAIN_AS_PUBLISHED = 1 << 0,
	MQTT_SEND_RETAIN_NEVER = 1 << 1,
	MQTT_SEND_RETAIN_NEW = 1 << 2, /* only with a new subscription */
	MQTT_NO_LOCAL = 1 << 3,
};

struct mqtt_stats {
	bool online;
	size_t broker;	       /* index, valid if online */
	uint64_t online_since; /* CLOCK_BOOTTIME, us; 0 if not online */
	uint64_t connects;     /* CONNACKs with success */
	uint64_t failures;     /* attempts that failed */
	uint64_t drops;	       /* connections lost */
	uint64_t messages_in;
	uint64_t messages_out; /* publishes handed over */
	uint64_t acked, rejected, lost;
	uint64_t oversized;
	uint64_t bytes_in, bytes_out; /* of TCP payload, TLS and all */
	unsigned in_flight;
	/* Of the attempt that `online` or `failed` told of last: CLOCK_BOOTTIME, us, before it read
	 * any file; and whether somebody answered there, so that a failure lies between the two of
	 * us: TLS, certificates, login. */
	uint64_t attempt_began;
	bool attempt_reached;
	unsigned hanging;     /* connector threads given up that have not ended yet */
	char last_error[160]; /* in words for a service desk; "" if none yet. Kept while online */
};

/* -EINVAL: options that cannot work (the files are not looked at: that is `failed`). */
int mqtt_new(sd_event *event, const struct mqtt_options *options, const struct mqtt_ops *ops,
	     void *user, struct mqtt **ret);

/* Not from inside an op. Ends a connection without DISCONNECT: the will fires. No op is called. */
void mqtt_free(struct mqtt *m);
void mqtt_freep(struct mqtt **m);

/* Starts to connect; -EBUSY if started already. */
int mqtt_start(struct mqtt *m);

/*
 * Publishes `last` (may be NULL), waits for what is in flight, sends DISCONNECT (no will), all
 * within stop_timeout_ms; then `offline` if it was online, and `stopped`, never before this call
 * has returned. Messages may still arrive meanwhile. mqtt_start() is possible again after
 * `stopped`.
 */
void mqtt_stop(struct mqtt *m, const struct mqtt_publish *last);

/*
 * 0: handed over. -ENOTCONN: not online. -EMSGSIZE: larger than the broker or max_payload takes.
 * -ENOBUFS: too much in flight, try after the next `acked`. -EALREADY: that row is in flight.
 * -EOPNOTSUPP: the broker takes no retained messages or no QoS 1. -EINVAL: topic, QoS or row.
 */
int mqtt_publish(struct mqtt *m, const struct mqtt_publish *publish, int64_t row);

/*
 * Makes the connection to the same broker anew as soon as nothing is in flight, once: beside the one
 * that stands, which is given up only when the new one is up (`offline` and `online` follow each
 * other at once) and stays if it fails (`failed`). Forgotten when the connection ends otherwise.
 * -ENOTCONN: not online.
 */
int mqtt_refresh(struct mqtt *m);

bool mqtt_online(const struct mqtt *m);
bool mqtt_in_flight(const struct mqtt *m, int64_t row);

/* How many rows mqtt_publish() would take now; 0 when not online. */
unsigned mqtt_room(const struct mqtt *m);

/*
 * Remembered, and sent now if online, and at every connect. Returns the subscription's number (>=
 * 0) for `subscribed`; -ENOBUFS beyond MQTT_SUBSCRIPTIONS_MAX. The same topic again replaces QoS
 * and flags.
 */
int mqtt_subscribe(struct mqtt *m, const char *topic, int qos, unsigned flags);

void mqtt_stats(const struct mqtt *m, struct mqtt_stats *ret);
