/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topics and JSON from the broker. The first byte chooses the parser. What is taken must come out of
 * the encoder in a form that is taken again, and then stays the same.
 */
#include <stdlib.h>
#include <string.h>

#include "core/crypto.h"
#include "message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
	if (!ok)
		abort();
}

static void fuzz_topic(struct span text)
{
	char *copy = strndup((const char *)text.data, text.len), again[TOPIC_MAX];
	struct topic topic;

	topic_parse("r", copy, &topic);
	topic_encode("r", &topic, again);
	if (topic.kind != TOPIC_OTHER)
		must(strcmp(copy, again) == 0);
	free(copy);
}

/* parse, encode, parse, encode: the two texts agree. */
#define THERE_AND_BACK(type, parse, encode)                                                        \
	do {                                                                                       \
		static type value;                                                                 \
		char *one, *two;                                                                   \
		if (parse(text, &value) != 0)                                                      \
			break;                                                                     \
		one = encode(&value);                                                              \
		must(one != NULL);                                                                 \
		must(parse(span_str(one), &value) == 0);                                           \
		two = encode(&value);                                                              \
		must(two &&strcmp(one, two) == 0);                                                 \
		free(one);                                                                         \
		free(two);                                                                         \
	} while (0)

static void fuzz_event(struct span text)
{
	struct event event, again;
	char *one, *two;

	if (event_parse(text, &event) != 0)
		return;
	/* an event, a reason or a role of tomorrow has no word of ours */
	one = event.type < EVENT_TYPES ? event_encode(&event) : NULL;
	if (one) {
		must(event_parse(span_str(one), &again) == 0);
		two = event_encode(&again);
		must(two && strcmp(one, two) == 0);
		free(two);
		event_deinit(&again);
	}
	free(one);
	event_deinit(&event);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text;

	if (size == 0)
		return 0;
	text = span_of(data + 1, size - 1);
	switch (data[0] % 6) {
	case 0:
		fuzz_topic(text);
		break;
	case 1:
		THERE_AND_BACK(struct message_state, message_state_parse, message_state_encode);
		break;
	case 2:
		THERE_AND_BACK(struct message_lock, message_lock_parse, message_lock_encode);
		break;
	case 3:
		THERE_AND_BACK(struct message_health, message_health_parse, message_health_encode);
		break;
	case 4:
		THERE_AND_BACK(struct message_replay, message_replay_parse, message_replay_encode);
		break;
	default:
		fuzz_event(text);
		break;
	}
	return 0;
}
