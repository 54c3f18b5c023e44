// SPDX-License-Identifier: Apache-2.0
/* Topics, words of events, lists of problems. The JSON is in message-state.c and message-event.c.
 */
#include "message.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
	const char *word;
	enum topic_kind kind;
} gateway_topics[] = {
	{"document", TOPIC_DOCUMENT},
	{"authorize", TOPIC_AUTHORIZE},
	{"replay", TOPIC_REPLAY},
	{"presence", TOPIC_PRESENCE},
	{"state", TOPIC_STATE},
	{"health", TOPIC_HEALTH},
	{"lock", TOPIC_LOCK},
	{"event", TOPIC_EVENT},
	{"certificate", TOPIC_CERTIFICATE},
	{"request", TOPIC_REQUEST},
};

/* The next segment of a topic, and what is behind it (data NULL: it was the last). */
static struct span segment(struct span *rest)
{
	const uint8_t *slash = rest->data ? memchr(rest->data, '/', rest->len) : NULL;
	struct span first = rest->data ? *rest : (struct span){0};

	if (!slash) {
		*rest = (struct span){0};
		return first;
	}
	first.len = (size_t)(slash - first.data);
	*rest = span_of(slash + 1, rest->len - first.len - 1);
	return first;
}

static bool is_kid(struct span text)
{
	if (text.len != 2 * DIGEST_LEN)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (!strchr("0123456789abcdef", text.data[i]))
			return false;
	}
	return true;
}

static void copy(char *ret, struct span text)
{
	memcpy(ret, text.data, text.len);
	ret[text.len] = '\0';
}

static void parse_city(struct span rest, struct topic *ret)
{
	struct span kind = segment(&rest), name = segment(&rest);

	if (rest.data)
		return;
	if (span_is(kind, "policy") && !name.data) {
		ret->kind = TOPIC_CITY_POLICY;
	} else if (span_is(kind, "keys") && name.data && is_kid(name)) {
		ret->kind = TOPIC_CITY_KEYS;
		copy(ret->name, name);
	} else if (span_is(kind, "list") && name.data && id_valid(name) && !span_is(name, "keys") &&
		   !span_is(name, "policy")) {
		ret->kind = TOPIC_CITY_LIST;
		copy(ret->name, name);
	}
}

static void parse_gateway(struct span rest, struct topic *ret)
{
	struct span gateway = segment(&rest), word = segment(&rest), name = segment(&rest);

	if (rest.data || !word.data || !id_valid(gateway))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(gateway_topics); i++) {
		enum topic_kind kind = gateway_topics[i].kind;

		if (!span_is(word, gateway_topics[i].word))
			continue;
		if (kind == TOPIC_LOCK ? !name.data || !id_valid(name) : name.data != NULL)
			return;
		ret->kind = kind;
		copy(ret->gateway, gateway);
		if (name.data)
			copy(ret->name, name);
	}
}

void topic_parse(const char *root, const char *text, struct topic *ret)
{
	size_t len = strlen(root);
	struct span rest;

	*ret = (struct topic){.kind = TOPIC_OTHER};
	if (strncmp(text, root, len) != 0 || text[len] != '/')
		return;
	rest = span_str(text + len + 1);
	if (strncmp(text + len, "/city/", 6) == 0) {
		segment(&rest);
		parse_city(rest, ret);
	} else if (strncmp(text + len, "/gw/", 4) == 0) {
		segment(&rest);
		parse_gateway(rest, ret);
	}
}

void topic_encode(const char *root, const struct topic *topic, char ret[static TOPIC_MAX])
{
	ret[0] = '\0';
	switch (topic->kind) {
	case TOPIC_OTHER:
		return;
	case TOPIC_CITY_KEYS:
		snprintf(ret, TOPIC_MAX, "%s/city/keys/%s", root, topic->name);
		return;
	case TOPIC_CITY_POLICY:
		snprintf(ret, TOPIC_MAX, "%s/city/policy", root);
		return;
	case TOPIC_CITY_LIST:
		snprintf(ret, TOPIC_MAX, "%s/city/list/%s", root, topic->name);
		return;
	case TOPIC_LOCK:
		snprintf(ret, TOPIC_MAX, "%s/gw/%s/lock/%s", root, topic->gateway, topic->name);
		return;
	case TOPIC_DOCUMENT:
	case TOPIC_AUTHORIZE:
	case TOPIC_REPLAY:
	case TOPIC_CERTIFICATE:
	case TOPIC_PRESENCE:
	case TOPIC_STATE:
	case TOPIC_HEALTH:
	case TOPIC_EVENT:
	case TOPIC_REQUEST:
		break;
	}
	for (size_t i = 0; i < ARRAY_SIZE(gateway_topics); i++) {
		if (gateway_topics[i].kind == topic->kind)
			snprintf(ret, TOPIC_MAX, "%s/gw/%s/%s", root, topic->gateway,
				 gateway_topics[i].word);
	}
}

void problem_add(struct problems *problems, const char *code, const char *format, ...)
{
	struct problem *problem;
	va_list args;

	if (problems->n == PROBLEMS_MAX)
		return;
	problem = &problems->list[problems->n++];
	*problem = (struct problem){0};
	snprintf(problem->code, sizeof(problem->code), "%s", code);
	va_start(args, format);
	vsnprintf(problem->detail, sizeof(problem->detail), format, args);
	va_end(args);
}

const char *event_type_word(enum event_type type)
{
	switch (type) {
	case EVENT_STARTED:
		return "gateway.started";
	case EVENT_AUTHORIZATION_ACCEPTED:
		return "authorization.accepted";
	case EVENT_AUTHORIZATION_REFUSED:
		return "authorization.refused";
	case EVENT_AUTHORIZATION_OUTCOME:
		return "authorization.outcome";
	case EVENT_DOCUMENT_APPLIED:
		return "document.applied";
	case EVENT_DOCUMENT_REFUSED:
		return "document.refused";
	case EVENT_DOCUMENT_COPY:
		return "document.copy";
	case EVENT_LOCK_RECEIPT:
		return "lock.receipt";
	case EVENT_LOCK_REACHABLE:
		return "lock.reachable";
	case EVENT_LOCK_UNREACHABLE:
		return "lock.unreachable";
	case EVENT_RADIO_RECOVERY:
		return "radio.recovery";
	case EVENT_CLOCK:
		return "clock.changed";
	case EVENT_DROPPED:
		return "events.dropped";
	case EVENT_TYPES:
		break;
	}
	return "";
}
