/* SPDX-License-Identifier: Apache-2.0 */
/* Copying and checking of options: what cannot work is refused before anything is tried. */
#include "link/mqtt-settings.h"

#include <errno.h>
#include <mosquitto.h>
#include <stdlib.h>

#define KEEPALIVE_MIN 5
#define PAYLOAD_LIMIT (64u * 1024 * 1024)

static bool broker_is_valid(const struct mqtt_broker *b)
{
	if (!b->host || !b->host[0])
		return false;
	if (!b->cert_file != !b->key_file || (b->cert_file && !b->ca_file))
		return false;
	return b->user || !b->password_file;
}

static bool will_is_valid(const struct mqtt_publish *will)
{
	return will->topic && mosquitto_pub_topic_check(will->topic) == MOSQ_ERR_SUCCESS &&
	       will->qos >= 0 && will->qos <= 1 && will->payload.len <= UINT16_MAX;
}

static bool options_are_valid(const struct mqtt_options *o)
{
	if (!o->brokers || o->n_brokers < 1 || o->n_brokers > MQTT_BROKERS_MAX)
		return false;
	for (size_t i = 0; i < o->n_brokers; i++)
		if (!broker_is_valid(&o->brokers[i]))
			return false;
	if (!o->client_id || !o->client_id[0] || (o->will && !will_is_valid(o->will)))
		return false;
	if (o->keepalive_s && (o->keepalive_s < KEEPALIVE_MIN || o->keepalive_s > UINT16_MAX))
		return false;
	return o->rows_maximum <= MQTT_IN_FLIGHT_MAX && o->max_payload <= PAYLOAD_LIMIT;
}

/* *s is a borrowed string that becomes an owned one. */
static int own(const char **s)
{
	if (!*s)
		return 0;
	*s = strdup(*s);
	return *s ? 0 : -ENOMEM;
}

static int own_broker(struct mqtt_broker *b)
{
	int r = 0;

	r |= own(&b->host);
	r |= own(&b->ca_file);
	r |= own(&b->cert_file);
	r |= own(&b->key_file);
	r |= own(&b->user);
	r |= own(&b->password_file);
	if (!b->port)
		b->port = b->ca_file ? 8883 : 1883;
	return r ? -ENOMEM : 0;
}

static int own_will(struct settings *s, const struct mqtt_publish *from)
{
	uint8_t *payload;

	s->will = (struct mqtt_publish){.qos = from->qos, .retain = from->retain};
	s->options.will = &s->will;
	s->will.topic = strdup(from->topic);
	payload = malloc(from->payload.len + 1);
	if (payload && from->payload.len)
		memcpy(payload, from->payload.data, from->payload.len);
	s->will.payload.data = payload;
	s->will.payload.len = from->payload.len;
	return s->will.topic && payload ? 0 : -ENOMEM;
}

static void fill_in(struct mqtt_options *o)
{
#define OR(field, value) (o->field = o->field ? o->field : (value))
	OR(keepalive_s, 30);
	OR(receive_maximum, 8);
	OR(rows_maximum, 16);
	OR(max_payload, MQTT_PAYLOAD_MAX);
	OR(backoff_min_ms, 1000);
	OR(backoff_max_ms, 60000);
	OR(connect_timeout_ms, 20000);
	OR(ack_timeout_ms, 60000);
	OR(stop_timeout_ms, 2000);
	OR(preferred_retry_s, 900);
#undef OR
	if (o->backoff_max_ms < o->backoff_min_ms)
		o->backoff_max_ms = o->backoff_min_ms;
}

int settings_copy(struct settings *s, const struct mqtt_options *from)
{
	int r = 0;

	*s = (struct settings){0};
	if (!options_are_valid(from))
		return -EINVAL;
	s->options = *from;
	s->options.brokers = s->brokers;
	s->options.will = NULL;
	for (size_t i = 0; i < from->n_brokers; i++) {
		s->brokers[i] = from->brokers[i];
		r |= own_broker(&s->brokers[i]);
	}
	r |= own(&s->options.client_id);
	if (from->will)
		r |= own_will(s, from->will);
	fill_in(&s->options);
	return r ? -ENOMEM : 0;
}

void settings_deinit(struct settings *s)
{
	for (size_t i = 0; i < s->options.n_brokers; i++) {
		struct mqtt_broker *b = &s->brokers[i];

		free((char *)b->host);
		free((char *)b->ca_file);
		free((char *)b->cert_file);
		free((char *)b->key_file);
		free((char *)b->user);
		free((char *)b->password_file);
	}
	free((char *)s->options.client_id);
	free((char *)s->will.topic);
	free((uint8_t *)s->will.payload.data);
}
