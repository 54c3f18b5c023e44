/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One library handle and the short-lived thread that connects it: mosquitto_connect() resolves
 * names and connects with blocking calls, whatever it is called. Part of mqtt.
 *
 * While the thread runs, the handle is its own. It ends by writing the eventfd; dial_result() then
 * hands the handle to the loop. A dial that is freed while its thread runs belongs to the thread
 * from then on, which frees it when the blocking call returns: nobody waits for it.
 */
#include "link/mqtt.h"

struct mosquitto;
struct dial;

/* Largest packet, in bytes, that the broker is told we take: enough for a message that is too large to be
 * reported rather than dropped in silence. */
#define DIAL_PACKET_MAX(options) (2 * (options)->max_payload + 64u * 1024)

/*
 * Callbacks of the library get the struct dial as their object; set them between dial_new() and
 * dial_start(). `user` is for dial_user().
 */
int dial_new(const struct mqtt_options *options, const struct mqtt_broker *broker, void *user,
	     struct dial **ret);
int dial_start(struct dial *d);
void dial_freep(struct dial **d);

/* Readable when the thread has ended; belongs to the dial. */
int dial_event_fd(const struct dial *d);

/* After the thread has ended: 0 and connected (CONNECT is on its way), or > 0 and *reason in words.
 */
int dial_result(struct dial *d, const char **reason);

/* Somebody answered there, or our own files stood in the way. Behind dial_result(). */
bool dial_reached(const struct dial *d);

/* A whole packet came since this was asked last. Not while the thread runs. */
bool dial_heard(struct dial *d);

/* Not while the thread runs. */
struct mosquitto *dial_handle(struct dial *d);
void *dial_user(struct dial *d);
const char *dial_complaint(const struct dial *d); /* of the library, about TLS; "" if none */
