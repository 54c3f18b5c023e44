/* SPDX-License-Identifier: Apache-2.0 */
/* message: what a broker, or whoever writes through it, could send. */
#include "message-samples.h"

#include "core/crypto.h"

static int parse_any(int which, struct span text)
{
	static struct message_state s;
	static struct message_lock l;
	static struct message_health h;
	struct message_replay replay;
	struct event event;
	int r;

	switch (which) {
	case 0:
		return message_state_parse(text, &s);
	case 1:
		return message_lock_parse(text, &l);
	case 2:
		return message_health_parse(text, &h);
	case 3:
		return message_replay_parse(text, &replay);
	default:
		r = event_parse(text, &event);
		if (r == 0)
			event_deinit(&event);
		return r;
	}
}
#define PARSERS 5

static char *valid_text(int which)
{
	struct message_state s = full_state();
	struct message_lock l = {.enforces = "lock", .has_battery = true, .has_rssi = true};
	struct message_health h = {.has_temperature = true};
	struct message_replay replay = {.stream = STREAM};
	struct event event = full_event(EVENT_AUTHORIZATION_OUTCOME);

	event.copy.len = 100;
	l.napplied = 1;
	l.applied[0] = applied_of("keys", 1);
	switch (which) {
	case 0:
		return message_state_encode(&s);
	case 1:
		return message_lock_encode(&l);
	case 2:
		return message_health_encode(&h);
	case 3:
		return message_replay_encode(&replay);
	default:
		return event_encode(&event);
	}
}

static void hostile_text_is_invalid(void **state)
{
	static const char *const hostile[] = {
		"",
		" ",
		"{",
		"}",
		"[]",
		"[{}]",
		"null",
		"1",
		"\"x\"",
		"{}",
		"{}{}",
		"{\"a\"}",
		"{\"seq\":\"1\"}",
		"{\"a\":\"\\u0000\"}",
		"{\"a\":1e999}",
		"{\"a\":\"\xff\"}",
		"{\"a\":99999999999999999999}",
		"{\"\":1,\"\":1}",
		"{\"\\ud800\":1}",
	};
	size_t huge = MESSAGE_TEXT_MAX + 1;
	char *text = malloc(huge);

	for (int which = 0; which < PARSERS; which++) {
		for (size_t i = 0; i < ARRAY_SIZE(hostile); i++)
			assert_int_equal(parse_any(which, span_str(hostile[i])), -EINVAL);
		memset(text, '[', huge);
		assert_int_equal(parse_any(which, span_of(text, huge - 1)), -EINVAL);
		for (size_t i = 0; i + 5 <= huge - 1; i += 5)
			memcpy(text + i, "{\"a\":", 5);
		assert_int_equal(parse_any(which, span_of(text, huge - 1)), -EINVAL);
		memset(text, ' ', huge);
		assert_int_equal(parse_any(which, span_of(text, huge)), -EINVAL);
	}
	free(text);
}

/* Each byte of a good message lost or changed: nothing is read beyond the end, and the parser says
 * yes or no, not something else. */
static void a_mutilated_message_is_no_danger(void **state)
{
	static const char bytes[] = {'\0', '"', '}', '0', '-', 'x', '\xff'};

	for (int which = 0; which < PARSERS; which++) {
		cleanup(freep) char *text = valid_text(which);
		size_t len = strlen(text);

		assert_int_equal(parse_any(which, span_of(text, len)), 0);
		for (size_t i = 0; i < len; i++) {
			/* an allocation of exactly that size */
			cleanup(freep) char *cut = malloc(i ? i : 1);
			char was = text[i];
			int r;

			memcpy(cut, text, i);
			assert_int_equal(parse_any(which, span_of(cut, i)), -EINVAL);
			text[i] = bytes[i % sizeof(bytes)];
			r = parse_any(which, span_of(text, len));
			assert_true(r == 0 || r == -EINVAL);
			text[i] = was;
		}
	}
}

/* Replaces the first `from` in a good message; it must become invalid. */
static const struct {
	int which;
	const char *from, *to;
} wrong[] = {
	{0, "\"seq\":99", "\"seq\":-1"},
	{0, "\"seq\":99", "\"seq\":9.9"},
	{0, "\"seq\":99", "\"seq\":\"99\""},
	{0, "\"seq\":99", "\"sex\":99"},
	{0, "\"seq\":99", "\"seq\":99,\"seq\":99"},
	{0, STREAM, "5f0c3a9be1d24c7788a6b0d2f4e19c3"},
	{0, STREAM, "5F0c3a9be1d24c7788a6b0d2f4e19c35"},
	{0, "\"up\":true", "\"up\":1"},
	{0, "\"lock-0\"", "\"Lock-0\""},
	{0, "\"lock-0\"", "7"},
	{0, "[\"lock-0\"", "[\"x\",\"lock-0\""}, /* one too many */
	{0, "\"hci0\"", "\"a-name-that-is-too-long\""},
	{0, "\"hci0\"", "\"\\u001b[31m\""},
	{0, "\"keys\"", "\"Keys\""},
	{0, "{\"adapter\"", "[{\"adapter\""},
	{0, "\"serial\":\"0", "\"serial\":\"A"},
	{0, "\"serial\":\"0", "\"serial\":\"00"}, /* 41 digits */
	{0, "0123456789abcdef0123456789abcdef01234567", ""},
	{0, "\"not_after\":1", "\"not_after\":-1"},
	{0, "\"days\":-1158", "\"days\":1.5"},
	{0, "\"certificate\":{", "\"certificate\":[],\"x\":{"},
	{1, "\"battery\":0", "\"battery\":101"},
	{1, "\"rssi\":0", "\"rssi\":-129"},
	{1, "\"rssi\":0", "\"rssi\":128"},
	{1, "\"rssi\":0", "\"rssi\":null"},
	{1, "\"applied\":{", "\"applied\":{\"A\":{\"iat\":1,\"digest\":\"0011223344556677\"},"},
	{1, "\"applied\":{", "\"applied\":{\"a\":{\"iat\":1,\"digest\":\"00112233445566\"},"},
	{1, "\"lock\"", "\"somebody\""},
	{2, "\"counters\":{}", "\"counters\":{\"a-name-of-forty-characters-is-too-long-by-1\":1}"},
	{2, "\"counters\":{}", "\"counters\":{\"a\":\"1\"}"},
	{2, "\"temperature_mc\":0", "\"temperature_mc\":-273151"},
	{3, "\"from\":0", "\"from\":0,\"document\":\"keys\""},
	{3, "\"from\":0", "\"fro\":0"},
	{3, "\"stream\":\"" STREAM "\"", "\"document\":\"list/\""},
	{3, "\"stream\":\"" STREAM "\"", "\"document\":\"list/A\""},
	{3, "\"stream\":\"" STREAM "\"", "\"document\":\"city\""},
	{3, "\"stream\":\"" STREAM "\"", "\"document\":5"},
	{4, "\"prev\":\"04", "\"prev\":\""},
	{4, "\"prev\":\"04", "\"prev\":\"0g"},
	{4, "\"lock-1\"", "\"lock/1\""},
	{4, "\"cti\":\"05", "\"cti\":\"0505"},
	{4, "\"scope\":\"unlatch\"", "\"scope\":1"},
	{4, "\"first\":\"pending\"", "\"first\":\"a word that is too long\""},
	{4, "\"correlation\":\"", "\"correlation\":\"00"}, /* 65 bytes */
	{4, "\"receipt\":\"", "\"receipt\":\"AAAA"},	   /* beyond 1 KiB */
	{4, "\"receipt\":\"", "\"receipt\":\"=AAA"},
	{4, "\"copy\":\"", "\"copy\":\"+/AA"}, /* base64, not base64url */
	{4, "\"kind\":\"list\"", "\"kind\":0"},
	{4, "\"count\":3", "\"count\":-3"},
};

static void what_is_out_of_bounds_is_invalid(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		cleanup(freep) char *text = valid_text(wrong[i].which), *changed = NULL;
		char *at = strstr(text, wrong[i].from);

		if (!at)
			fail_msg("%zu: no %s in %s", i, wrong[i].from, text);
		assert_true(asprintf(&changed, "%.*s%s%s", (int)(at - text), text, wrong[i].to,
				     at + strlen(wrong[i].from)) > 0);
		if (parse_any(wrong[i].which, span_str(changed)) != -EINVAL)
			fail_msg("%zu taken: %s", i, changed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_text_is_invalid),
		cmocka_unit_test(a_mutilated_message_is_no_danger),
		cmocka_unit_test(what_is_out_of_bounds_is_invalid),
	};

	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("message-hostile", tests, NULL, NULL);
}
