// SPDX-License-Identifier: Apache-2.0
/*
 * Topics in and out (contract section 3). Whatever the broker may have lost is said anew at every
 * connect; what it sends is judged by topic here, and by signature further on.
 */
#include "gateway-private.h"

#define SESSION_S (3u * 86400)

void gateway_topic(const struct gateway *gw, enum topic_kind kind, const char *name,
		   char ret[static TOPIC_MAX])
{
	struct topic topic = {.kind = kind};

	snprintf(topic.gateway, sizeof(topic.gateway), "%s", gw->config.gateway);
	snprintf(topic.name, sizeof(topic.name), "%s", name);
	topic_encode(gw->config.root_topic, &topic, ret);
}

static void on_online(size_t broker, bool session_present, void *user)
{
	struct gateway *gw = user;

	gw->was_online = true;
	gateway_certificate_online(gw, broker);
	log_fact(LOG_INFO, "broker connected", "BROKER", gw->config.brokers[broker].host, NULL);
	gateway_report_online(gw);
	gateway_outbox_online(gw);
}

static void on_offline(const char *reason, void *user)
{
	struct gateway *gw = user;

	gw->was_online = false;
	log_fact(LOG_WARNING, "broker disconnected", "REASON", reason, NULL);
	gateway_state_changed(gw, false);
}

static void on_failed(size_t broker, const char *reason, void *user)
{
	struct gateway *gw = user;

	log_fact(LOG_NOTICE, "cannot connect to broker", "BROKER", gw->config.brokers[broker].host,
		 "REASON", reason, NULL);
	gateway_certificate_failed(gw, broker);
}

static void city_document(struct gateway *gw, const struct topic *topic, enum token_kind kind,
			  struct span payload)
{
	struct trust_topic promise = {.kind = kind};

	if (payload.len == 0)
		return; /* an empty message under city/ changes nothing */
	snprintf(promise.name, sizeof(promise.name), "%.*s", (int)sizeof(promise.name) - 1,
		 topic->name);
	gateway_document(gw, &promise, payload);
}

static void on_message(const struct mqtt_message *message, void *user)
{
	struct gateway *gw = user;
	struct topic topic;

	topic_parse(gw->config.root_topic, message->topic, &topic);
	if (topic.gateway[0] && strcmp(topic.gateway, gw->config.gateway) != 0)
		return;
	switch (topic.kind) {
	case TOPIC_CITY_KEYS:
		city_document(gw, &topic, TOKEN_KEYS, message->payload);
		return;
	case TOPIC_CITY_POLICY:
		city_document(gw, &topic, TOKEN_POLICY, message->payload);
		return;
	case TOPIC_CITY_LIST:
		city_document(gw, &topic, TOKEN_LIST, message->payload);
		return;
	case TOPIC_DOCUMENT:
		if (message->payload.len > 0)
			gateway_own_document(gw, message->payload);
		return;
	case TOPIC_AUTHORIZE:
		if (message->payload.len > 0)
			gateway_authorize(gw, message);
		return;
	case TOPIC_REPLAY:
		gateway_replay(gw, message->payload);
		return;
	case TOPIC_CERTIFICATE:
		if (message->payload.len > 0)
			gateway_certificate_offered(gw, message->payload);
		return;
	case TOPIC_OTHER:
	case TOPIC_PRESENCE:
	case TOPIC_STATE:
	case TOPIC_HEALTH:
	case TOPIC_LOCK:
	case TOPIC_EVENT:
	case TOPIC_REQUEST:
		return;
	}
}

static void on_acked(int64_t row, void *user)
{
	gateway_outbox_acked(user, row);
}

static void on_rejected(int64_t row, uint8_t reason, void *user)
{
	gateway_outbox_rejected(user, row, reason);
}

static void on_lost(int64_t row, void *user)
{
	gateway_outbox_lost(user, row);
}

static void on_subscribed(int subscription, uint8_t code, void *user)
{
	if (code >= 0x80)
		log_fact(LOG_ERR, "the broker refused a subscription", NULL);
}

static void on_oversized(const char *topic, size_t len, void *user)
{
	struct gateway *gw = user;
	struct event event = {.type = EVENT_DOCUMENT_REFUSED, .reason = REASON_TOO_LARGE};
	struct topic parsed;

	log_fact(LOG_WARNING, "a message was too large and dropped", NULL);
	topic_parse(gw->config.root_topic, topic, &parsed);
	if (parsed.kind == TOPIC_CERTIFICATE) {
		gateway_certificate_oversized(gw);
		return;
	}
	if (parsed.kind == TOPIC_AUTHORIZE) {
		event.type = EVENT_AUTHORIZATION_REFUSED;
		event.reason = REASON_MALFORMED;
	}
	(void)gateway_event(gw, &event);
}

/* Not from inside the op: a library handle outlives its own callback. */
static int on_renew(sd_event_source *source, void *user)
{
	struct gateway *gw = user;

	sd_event_source_disable_unref(source);
	if (gw->stopping) {
		gw->ops->finished(EXIT_SUCCESS, gw->user);
		return 0;
	}
	mqtt_free(steal(gw->mqtt));
	gw->mqtt_stopping = gw->mqtt_renew = gw->was_online = false;
	if (gateway_broker_start(gw) < 0)
		gateway_fatal(gw, "out of memory for a new broker connection");
	return 0;
}

static void on_stopped(void *user)
{
	struct gateway *gw = user;
	sd_event_source *source;

	if (gw->stopping || !gw->mqtt_renew) {
		gw->ops->finished(EXIT_SUCCESS, gw->user);
		return;
	}
	if (sd_event_add_defer(gw->event, &source, on_renew, gw) < 0)
		gateway_fatal(gw, "out of memory for a new broker connection");
}

static const char *or_null(const char *text)
{
	return text[0] ? text : NULL;
}

static size_t brokers(const struct config *config, struct mqtt_broker ret[static CONFIG_BROKERS])
{
	for (size_t i = 0; i < config->nbrokers; i++) {
		const struct config_broker *b = &config->brokers[i];

		ret[i] = (struct mqtt_broker){
			.host = b->host,
			.port = (uint16_t)b->port,
			.ca_file = or_null(b->ca),
			.cert_file = or_null(b->certificate),
			.key_file = or_null(b->key),
			.user = or_null(b->username),
			.password_file = or_null(b->password_file),
		};
	}
	return config->nbrokers;
}

static int subscribe(struct gateway *gw)
{
	static const struct {
		enum topic_kind kind;
		unsigned flags;
	} all[] = {
		{TOPIC_CITY_KEYS, 0},
		{TOPIC_CITY_POLICY, 0},
		{TOPIC_CITY_LIST, 0},
		{TOPIC_DOCUMENT, 0},
		{TOPIC_REPLAY, MQTT_SEND_RETAIN_NEVER},
		{TOPIC_CERTIFICATE, MQTT_SEND_RETAIN_NEVER},
		/* Last, so that a reconnect brings the newest documents first. */
		{TOPIC_AUTHORIZE, MQTT_SEND_RETAIN_NEVER | MQTT_RETAIN_AS_PUBLISHED},
	};
	char topic[TOPIC_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct topic filter = {.kind = all[i].kind, .name = "+"};
		int r;

		snprintf(filter.gateway, sizeof(filter.gateway), "%s", gw->config.gateway);
		topic_encode(gw->config.root_topic, &filter, topic);
		r = mqtt_subscribe(gw->mqtt, topic, 1, all[i].flags);
		if (r < 0)
			return r;
	}
	return 0;
}

int gateway_broker_start(struct gateway *gw)
{
	static const struct mqtt_ops ops = {
		.online = on_online,
		.offline = on_offline,
		.failed = on_failed,
		.message = on_message,
		.acked = on_acked,
		.rejected = on_rejected,
		.lost = on_lost,
		.subscribed = on_subscribed,
		.oversized = on_oversized,
		.stopped = on_stopped,
	};
	struct mqtt_broker list[CONFIG_BROKERS];
	char presence[TOPIC_MAX];
	struct mqtt_publish will = {
		.topic = presence,
		.payload = span_str(MESSAGE_OFFLINE),
		.qos = 1,
		.retain = true,
	};
	struct mqtt_options options = {
		.brokers = list,
		.n_brokers = brokers(&gw->config, list),
		.client_id = gw->config.gateway,
		.session_expiry_s = SESSION_S,
		.max_payload = GATEWAY_PAYLOAD_MAX,
		.backoff_min_ms = (unsigned)gw->config.backoff_min_ms,
		.backoff_max_ms = (unsigned)gw->config.backoff_max_ms,
		.preferred_retry_s = (unsigned)gw->config.preferred_retry_s,
		.will = &will,
	};
	int r;

	gateway_topic(gw, TOPIC_PRESENCE, "", presence);
	r = mqtt_new(gw->event, &options, &ops, gw, &gw->mqtt);
	if (r == 0)
		r = subscribe(gw);
	return r < 0 ? r : mqtt_start(gw->mqtt);
}
