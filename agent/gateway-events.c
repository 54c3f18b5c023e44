// SPDX-License-Identifier: Apache-2.0
/*
 * The event stream: numbered, chained, on disk until the broker's PUBACK and for the retention time
 * after it. Rows go out in order; one that is in flight is never published again.
 */
#include "gateway-private.h"

#define FETCH		16u
#define STUCK_PAUSE_MAX 32u /* healths */

char *gateway_event_encode(struct gateway *gw, struct event *event)
{
	struct time_verdict time = gateway_time(gw);

	if (store_event_next(gw->store, &event->seq, event->prev) < 0)
		return NULL;
	snprintf(event->stream, sizeof(event->stream), "%s", store_stream(gw->store));
	event->time = time.now;
	event->synchronised = time.synchronised;
	return event_encode(event);
}

void gateway_event_stored(struct gateway *gw, const char *text)
{
	gateway_outbox(gw);
	if (gw->control)
		(void)control_event(gw->control, text);
}

static int write_event(struct gateway *gw, struct event *event)
{
	cleanup(freep) char *text = gateway_event_encode(gw, event);
	int r = text ? store_event(gw->store, event->seq, text, event->correlation, event->time)
		     : -ENOMEM;

	r = gateway_stored(gw, r, "event");
	if (r < 0)
		return r;
	gateway_event_stored(gw, text);
	return 0;
}

int gateway_event(struct gateway *gw, struct event *event)
{
	int r = -EAGAIN;

	gateway_unsaid_flush(gw);
	if (gw->nunsaid == 0)
		r = write_event(gw, event);
	if (r < 0)
		(void)gateway_unsaid_event(gw, event);
	return r;
}

/*
 * A number that is not on disk would be given twice, after a restart: so what goes out without a
 * disk has a stream of its own, which ends with the connection. The broker has it, or nobody.
 */
void gateway_event_aside(struct gateway *gw, struct event *event)
{
	struct time_verdict time = gateway_time(gw);
	cleanup(freep) char *text = NULL;
	char topic[TOPIC_MAX];
	struct mqtt_publish publish = {
		.topic = topic,
		.qos = 1,
		.correlation = event->correlation,
		.content_type = "application/json",
	};
	uint8_t random[16];

	if (!gw->aside_stream[0]) {
		crypto_random(random, sizeof(random));
		hex_encode(SPAN(random), gw->aside_stream, sizeof(gw->aside_stream));
		gw->aside_seq = 0;
		memset(gw->aside_prev, 0, sizeof(gw->aside_prev));
	}
	memcpy(event->stream, gw->aside_stream, sizeof(event->stream));
	memcpy(event->prev, gw->aside_prev, sizeof(event->prev));
	event->seq = gw->aside_seq + 1;
	event->time = time.now;
	event->synchronised = time.synchronised;
	text = event_encode(event);
	if (!text || !gw->mqtt)
		return;
	gateway_topic(gw, TOPIC_EVENT, "", topic);
	publish.payload = span_str(text);
	if (mqtt_publish(gw->mqtt, &publish, 0) < 0)
		return;
	gw->aside_seq++;
	crypto_sha256(publish.payload, gw->aside_prev);
}

void gateway_event_now(struct gateway *gw, struct event *event)
{
	if (write_event(gw, event) < 0)
		gateway_event_aside(gw, event);
}

/* --- the way out -------------------------------------------------------------------------------- */

static int send_row(const struct store_row *row, void *user)
{
	struct gateway *gw = user;
	char topic[TOPIC_MAX];
	struct mqtt_publish publish = {
		.topic = topic,
		.payload = row->payload,
		.qos = 1,
		.correlation = row->correlation,
		.content_type = "application/json",
	};
	int r;

	gateway_topic(gw, TOPIC_EVENT, "", topic);
	r = mqtt_publish(gw->mqtt, &publish, (int64_t)row->seq);
	if (r < 0 && r != -EALREADY && r != -EMSGSIZE)
		return 1; /* room comes with the next PUBACK, or the next connection */
	if (r == -EMSGSIZE) {
		/* No later try can do better with this broker; it stays on disk, for a replay. */
		log_fact(LOG_ERR, "an event is larger than the broker takes", NULL);
	}
	gw->sent_up_to = row->seq;
	return 0;
}

void gateway_outbox(struct gateway *gw)
{
	unsigned room;
	int r;

	if (!gw->mqtt || !gw->was_online)
		return;
	room = mqtt_room(gw->mqtt);
	if (room == 0)
		return;
	r = store_each_event(gw->store, gw->sent_up_to + 1, room < FETCH ? room : FETCH, true,
			     send_row, gw);
	if (r < 0)
		(void)gateway_stored(gw, r, "outbox");
}

void gateway_outbox_online(struct gateway *gw)
{
	gw->sent_up_to = gw->unacked = 0;
	gw->outbox_stuck = false;
	gw->stuck_pause = 1;
	/* What was sent aside and got lost with the old connection must leave no gap. */
	gw->aside_stream[0] = 0;
	gateway_outbox(gw);
}

void gateway_outbox_acked(struct gateway *gw, int64_t row)
{
	int r = store_acked(gw->store, (uint64_t)row);

	if (r != -ENOENT)
		(void)gateway_stored(gw, r, "outbox");
	if (r < 0 && r != -ENOENT && (!gw->unacked || (uint64_t)row < gw->unacked))
		gw->unacked = (uint64_t)row;
	gateway_outbox(gw);
	if (gw->outbox_shown && (uint64_t)row == gw->sent_up_to)
		gateway_state_changed(gw, false); /* drained */
}

void gateway_outbox_again(struct gateway *gw)
{
	if (!gw->outbox_stuck || ++gw->stuck_for < gw->stuck_pause)
		return;
	gw->outbox_stuck = false;
	if (gw->stuck_pause < STUCK_PAUSE_MAX)
		gw->stuck_pause *= 2;
	gw->sent_up_to = 0;
	gateway_outbox(gw);
}

/* The broker has them, the disk does not say so: sent once more, for another PUBACK. */
void gateway_outbox_unacked(struct gateway *gw)
{
	if (!gw->unacked)
		return;
	gateway_outbox_lost(gw, (int64_t)gw->unacked);
	gw->unacked = 0;
	gateway_outbox(gw);
}

void gateway_outbox_rejected(struct gateway *gw, int64_t row, uint8_t reason)
{
	char word[8];

	snprintf(word, sizeof(word), "0x%02x", reason);
	log_fact(LOG_WARNING, "the broker refused an event; it is tried again later", "REASON",
		 word, NULL);
	gw->counters.events_rejected++;
	if (!gw->outbox_stuck)
		gw->stuck_for = 0;
	gw->outbox_stuck = true;
	gateway_state_changed(gw, false);
	gateway_outbox(gw);
}

void gateway_outbox_lost(struct gateway *gw, int64_t row)
{
	if ((uint64_t)row <= gw->sent_up_to)
		gw->sent_up_to = (uint64_t)row - 1;
}

void gateway_trim(struct gateway *gw)
{
	struct event event = {.type = EVENT_DROPPED};

	if (gateway_stored(gw, store_trim(gw->store, gateway_time(gw).now, &event.count),
			   "trimming events") < 0 ||
	    event.count == 0)
		return;
	log_fact(LOG_ERR, "events had to be dropped: the disk bound is reached", NULL);
	(void)gateway_event(gw, &event);
}

/* --- replay ------------------------------------------------------------------------------------- */

static const struct held *find_held(struct gateway *gw, const char *what, enum token_kind *ret_kind,
				    const char **ret_name)
{
	const struct trust_list *list;

	*ret_name = what;
	if (strcmp(what, "keys") == 0) {
		*ret_kind = TOKEN_KEYS;
		return trust_keys(gw->trust);
	}
	if (strcmp(what, "policy") == 0) {
		*ret_kind = TOKEN_POLICY;
		return gw->trust->policy_held.document ? &gw->trust->policy_held : NULL;
	}
	if (strncmp(what, "list/", 5) != 0)
		return NULL;
	*ret_kind = TOKEN_LIST;
	*ret_name = what + 5;
	list = trust_list_by_name(gw->trust, span_str(what + 5));
	return list ? &list->held : NULL;
}

static void send_copy(struct gateway *gw, const char *what)
{
	struct event event = {.type = EVENT_DOCUMENT_COPY, .has_document = true};
	const char *name;
	const struct held *held = find_held(gw, what, &event.document_kind, &name);

	if (!held) {
		log_fact(LOG_NOTICE, "asked for a document that is not held", NULL);
		return;
	}
	snprintf(event.document.name, sizeof(event.document.name), "%.*s", ID_MAX, name);
	event.document.iat = held->iat;
	memcpy(event.document.digest, held->digest, DIGEST_LEN);
	event.copy = span_of(held->document, held->len);
	(void)gateway_event(gw, &event);
}

void gateway_replay(struct gateway *gw, struct span payload)
{
	struct message_replay replay;
	int64_t n;

	if (message_replay_parse(payload, &replay) != 0) {
		log_fact(LOG_NOTICE, "a replay request that cannot be read", NULL);
		return;
	}
	if (replay.document[0])
		send_copy(gw, replay.document);
	if (!replay.stream[0])
		return;
	if (strcmp(replay.stream, store_stream(gw->store)) != 0) {
		/* The city does not know of this store: what said so was lost on its way. */
		log_fact(LOG_NOTICE, "a replay request for another stream", NULL);
		gateway_state_changed(gw, false);
		return;
	}
	n = store_replay(gw->store, replay.from);
	if (gateway_stored(gw, n < 0 ? (int)n : 0, "replay") < 0)
		return;
	if (replay.from <= gw->sent_up_to)
		gw->sent_up_to = replay.from ? replay.from - 1 : 0;
	gateway_outbox(gw);
}
