/* SPDX-License-Identifier: Apache-2.0 */
/* message: topics, every JSON message there and back, and the documentation. */
#include "message-samples.h"

#include "core/crypto.h"
#include "problem.h"

/* --- topics --- */

static const struct {
	const char *text;
	struct topic topic;
} topics[] = {
	{"r/city/keys/0123456789abcdef", {TOPIC_CITY_KEYS, "", "0123456789abcdef"}},
	{"r/city/policy", {TOPIC_CITY_POLICY, "", ""}},
	{"r/city/list/staff-2", {TOPIC_CITY_LIST, "", "staff-2"}},
	{"r/gw/gw-1/document", {TOPIC_DOCUMENT, "gw-1", ""}},
	{"r/gw/gw-1/authorize", {TOPIC_AUTHORIZE, "gw-1", ""}},
	{"r/gw/gw-1/replay", {TOPIC_REPLAY, "gw-1", ""}},
	{"r/gw/gw-1/presence", {TOPIC_PRESENCE, "gw-1", ""}},
	{"r/gw/gw-1/state", {TOPIC_STATE, "gw-1", ""}},
	{"r/gw/gw-1/health", {TOPIC_HEALTH, "gw-1", ""}},
	{"r/gw/gw-1/event", {TOPIC_EVENT, "gw-1", ""}},
	{"r/gw/gw-1/certificate", {TOPIC_CERTIFICATE, "gw-1", ""}},
	{"r/gw/gw-1/request", {TOPIC_REQUEST, "gw-1", ""}},
	{"r/gw/gw-1/lock/12345678901234567890123456789012",
	 {TOPIC_LOCK, "gw-1", "12345678901234567890123456789012"}},
};

static void a_topic_goes_there_and_back(void **state)
{
	char root[ROOT_TOPIC_MAX], text[TOPIC_MAX], longest[TOPIC_MAX];

	memset(root, 'r', sizeof(root));
	root[sizeof(root) - 1] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(topics); i++) {
		struct topic topic;

		memset(&topic, 0x55, sizeof(topic));
		topic_parse("r", topics[i].text, &topic);
		assert_int_equal(topic.kind, topics[i].topic.kind);
		assert_string_equal(topic.gateway, topics[i].topic.gateway);
		assert_string_equal(topic.name, topics[i].topic.name);
		topic_encode("r", &topic, text);
		assert_string_equal(text, topics[i].text);
		/* and below the longest root */
		snprintf(longest, sizeof(longest), "%s%s", root, topics[i].text + 1);
		topic_encode(root, &topic, text);
		assert_string_equal(text, longest);
	}
}

static void a_foreign_topic_is_other(void **state)
{
	static const char *const foreign[] = {
		"",
		"r",
		"r/",
		"x/city/policy",
		"rcity/policy",
		"r/city",
		"r/city/",
		"r/city/policy/",
		"r/city/policy/x",
		"r/city/keys",
		"r/city/keys/",
		"r/city/keys/0123456789ABCDEF",
		"r/city/keys/0123456789abcde",
		"r/city/keys/0123456789abcdef0",
		"r/city/keys/0123456789abcdef/x",
		"r/city/list",
		"r/city/list/",
		"r/city/list/keys",
		"r/city/list/policy",
		"r/city/list/Staff",
		"r/city/list/a/b",
		"r/city/list/123456789012345678901234567890123",
		"r/gw",
		"r/gw/",
		"r/gw/gw-1",
		"r/gw/gw-1/",
		"r/gw//state",
		"r/gw/GW/state",
		"r/gw/+/state",
		"r/gw/gw-1/status",
		"r/gw/gw-1/state/",
		"r/gw/gw-1/state/x",
		"r/gw/gw-1/request/x",
		"r/gw/gw-1/certificates",
		"r/gw/gw-1/lock",
		"r/gw/gw-1/lock/",
		"r/gw/gw-1/lock/L",
		"r/gw/gw-1/lock/l/x",
		"r/gw/gw-1/lock/#",
		"r/gw/123456789012345678901234567890123/state",
		"/r/city/policy",
	};

	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++) {
		struct topic topic;

		topic_parse("r", foreign[i], &topic);
		if (topic.kind != TOPIC_OTHER)
			fail_msg("taken: %s", foreign[i]);
	}
}

static void filters_can_be_made(void **state)
{
	const struct topic any = {TOPIC_LOCK, "+", "+"}, other = {.kind = TOPIC_OTHER};
	char text[TOPIC_MAX];

	topic_encode("a/b", &any, text);
	assert_string_equal(text, "a/b/gw/+/lock/+");
	topic_encode("a/b", &other, text);
	assert_string_equal(text, "");
}

/* --- there and back --- */

static void a_state_goes_there_and_back(void **state)
{
	struct message_state s = full_state(), back, empty = {.stream = STREAM}, all[2];

	all[0] = s;
	all[1] = empty;
	assert_int_equal(s.problems.n, PROBLEMS_MAX);
	for (size_t i = 0; i < 2; i++) {
		cleanup(freep) char *text = message_state_encode(&all[i]), *again = NULL;

		assert_non_null(text);
		memset(&back, 0x55, sizeof(back));
		assert_int_equal(message_state_parse(span_str(text), &back), 0);
		again = message_state_encode(&back);
		assert_string_equal(again, text);
		assert_int_equal(back.nlocks, all[i].nlocks);
		assert_int_equal(back.ndocuments, all[i].ndocuments);
		assert_int_equal(back.problems.n, all[i].problems.n);
		assert_int_equal(back.clock.problem, all[i].clock.problem);
		assert_memory_equal(back.reader, all[i].reader, PUBLIC_LEN);
		assert_int_equal(back.documents[5].list, all[i].documents[5].list);
		assert_int_equal(back.documents[5].changed, all[i].documents[5].changed);
		assert_string_equal(back.certificate.serial, all[i].certificate.serial);
		assert_int_equal(back.certificate.not_after, all[i].certificate.not_after);
		assert_int_equal(back.certificate.days, all[i].certificate.days);
		assert_int_equal(!!strstr(text, "\"certificate\""), !!all[i].certificate.serial[0]);
	}
}

static void a_lock_goes_there_and_back(void **state)
{
	struct message_lock all[] = {
		{.enforces = "lock"},
		{.enforces = "gateway",
		 .bolt = BOLT_JAMMED,
		 .has_battery = true,
		 .battery = 100,
		 .has_rssi = true,
		 .rssi = -128,
		 .reachable = true,
		 .seen = 1800000000,
		 .has_challenge = true,
		 .current = true,
		 .n = INT64_MAX,
		 .napplied = 2},
	};

	fill(all[1].challenge, CHALLENGE_LEN, 5);
	all[1].applied[0] = applied_of("keys", 1700);
	all[1].applied[1] = applied_of("staff", 1701);
	problem_add(&all[1].problems, "lock-jammed", "%s", "");
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		cleanup(freep) char *text = message_lock_encode(&all[i]), *again = NULL;
		struct message_lock back;

		assert_non_null(text);
		memset(&back, 0x55, sizeof(back));
		assert_int_equal(message_lock_parse(span_str(text), &back), 0);
		again = message_lock_encode(&back);
		assert_string_equal(again, text);
		assert_int_equal(back.rssi, all[i].rssi);
		assert_int_equal(back.bolt, all[i].bolt);
		assert_true(back.n == all[i].n);
		assert_int_equal(back.napplied, all[i].napplied);
		assert_string_equal(back.applied[1].name, all[i].applied[1].name);
		assert_memory_equal(back.challenge, all[i].challenge, CHALLENGE_LEN);
	}
}

static void health_goes_there_and_back(void **state)
{
	struct message_health all[] = {{.time = 1},
				       {.has_temperature = true, .temperature_mc = -40000}};

	for (size_t i = 0; i < ARRAY_SIZE(all[1].counters); i++) {
		snprintf(all[1].counters[i].name, sizeof(all[1].counters[i].name), "counter-%zu",
			 i);
		all[1].counters[i].value = i;
	}
	all[1].ncounters = ARRAY_SIZE(all[1].counters);
	all[1].counters[0].value = UINT64_MAX; /* becomes INT64_MAX */
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		cleanup(freep) char *text = message_health_encode(&all[i]), *again = NULL;
		struct message_health back;

		assert_non_null(text);
		assert_int_equal(message_health_parse(span_str(text), &back), 0);
		again = message_health_encode(&back);
		assert_string_equal(again, text);
		assert_int_equal(back.temperature_mc, all[i].temperature_mc);
		assert_int_equal(back.ncounters, all[i].ncounters);
	}
}

static void a_replay_goes_there_and_back(void **state)
{
	struct message_replay events = {.stream = STREAM, .from = 17}, document, back;
	cleanup(freep) char *one = message_replay_encode(&events), *two = NULL;

	assert_string_equal(one, "{\"stream\":\"" STREAM "\",\"from\":17}");
	assert_int_equal(message_replay_parse(span_str(one), &back), 0);
	assert_memory_equal(&back, &events, sizeof(back));
	document = (struct message_replay){.document = "list/12345678901234567890123456789012"};
	two = message_replay_encode(&document);
	assert_int_equal(message_replay_parse(span_str(two), &back), 0);
	assert_memory_equal(&back, &document, sizeof(back));
}

static void every_event_goes_there_and_back(void **state)
{
	for (int type = 0; type < EVENT_TYPES; type++) {
		struct event full = full_event((enum event_type)type);
		struct event least = {.stream = STREAM, .type = (enum event_type)type};
		const struct event *all[] = {&full, &least};

		assert_true(event_type_word((enum event_type)type)[0]);
		for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
			cleanup(freep) char *text = event_encode(all[i]), *again = NULL;
			cleanup(event_deinit) struct event back;

			assert_non_null(text);
			memset(&back, 0x55, sizeof(back));
			assert_int_equal(event_parse(span_str(text), &back), 0);
			again = event_encode(&back);
			assert_string_equal(again, text);
			assert_int_equal(back.type, type);
			assert_true(span_equal(back.receipt, all[i]->receipt));
			assert_true(span_equal(back.copy, all[i]->copy));
			assert_true(span_equal(back.correlation, all[i]->correlation));
			assert_string_equal(back.detail, all[i]->detail);
			assert_memory_equal(back.prev, all[i]->prev, SHA256_LEN);
		}
	}
}

static void what_could_not_be_read_of_a_document_is_left_out(void **state)
{
	struct event e = {.stream = STREAM,
			  .type = EVENT_DOCUMENT_REFUSED,
			  .reason = REASON_MALFORMED,
			  .has_document = true,
			  .document_kind = TOKEN_KINDS},
		     back;
	cleanup(freep) char *text = event_encode(&e);

	assert_non_null(strstr(text, "\"document\":{}"));
	assert_int_equal(event_parse(span_str(text), &back), 0);
	assert_true(back.has_document);
	assert_int_equal(back.document_kind, TOKEN_KINDS);
	event_deinit(&back);
}

static void a_reader_of_today_takes_an_event_of_tomorrow(void **state)
{
	static const char text[] =
		"{\"stream\":\"" STREAM "\",\"seq\":1,\"prev\":\"00000000000000000000000000000000"
		"00000000000000000000000000000000\",\"time\":1,\"synchronised\":false,"
		"\"type\":\"lock.sings\",\"reason\":\"tired\",\"outcome\":\"half\",\"scope\":"
		"\"dance\","
		"\"new\":{\"a\":[1.5,null]}}";
	struct event event;

	assert_int_equal(event_parse(span_str(text), &event), 0);
	assert_int_equal(event.type, EVENT_TYPES);
	assert_int_equal(event.reason, REASON_COUNT_);
	assert_int_equal(event.outcome, OUTCOME_NONE);
	assert_int_equal(event.scope, SCOPE_NONE);
	assert_null(event_encode(&event)); /* we do not say what we do not understand */
	event_deinit(&event);
}

static void words_of_others_cannot_break_a_message(void **state)
{
	static const struct {
		const char *detail, *json;
	} cases[] = {
		{"bad \xff utf-8", "bad ? utf-8"},
		{"cut \xc3", "cut ?"},
		{"a\nline \x1b[31m red", "a?line ?[31m red"},
		{"c1 \xc2\x9b"
		 "31m",
		 "c1 ??31m"},
		{"del \x7f", "del ?"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct event e = {.stream = STREAM, .type = EVENT_CLOCK}, back;
		cleanup(freep) char *text = NULL;

		strcpy(e.detail, cases[i].detail);
		strcpy(e.lock, "No Id");
		text = event_encode(&e);
		assert_non_null(text);
		assert_int_equal(event_parse(span_str(text), &back), 0);
		assert_string_equal(back.detail, cases[i].json);
		assert_string_equal(back.lock, "");
		event_deinit(&back);
	}
}

/* --- the documentation --- */

static char *read_docs(void)
{
	FILE *in = fopen("docs/protocol.md", "re");
	char *text = NULL;
	size_t cap = 0;

	assert_non_null(in);
	assert_true(getdelim(&text, &cap, '\0', in) > 0);
	fclose(in);
	return text;
}

static char *encode_again(const char *kind, struct span text, uint64_t *seq, uint8_t *prev)
{
	static struct message_state s;
	static struct message_lock l;
	static struct message_health h;
	struct message_replay replay;
	struct event event;
	char *again;

	if (strcmp(kind, "state") == 0)
		return message_state_parse(text, &s) ? NULL : message_state_encode(&s);
	if (strcmp(kind, "lock") == 0)
		return message_lock_parse(text, &l) ? NULL : message_lock_encode(&l);
	if (strcmp(kind, "health") == 0)
		return message_health_parse(text, &h) ? NULL : message_health_encode(&h);
	if (strcmp(kind, "replay") == 0)
		return message_replay_parse(text, &replay) ? NULL : message_replay_encode(&replay);
	if (strncmp(kind, "event ", 6) != 0 || event_parse(text, &event) != 0)
		return NULL;
	assert_string_equal(event_type_word(event.type), kind + 6);
	/* the examples are one chain */
	if (*seq) {
		assert_int_equal(event.seq, *seq + 1);
		assert_memory_equal(event.prev, prev, SHA256_LEN);
	}
	*seq = event.seq;
	crypto_sha256(text, prev);
	again = event_encode(&event);
	event_deinit(&event);
	return again;
}

static void every_example_in_the_documentation_is_true(void **state)
{
	static const char mark[] = "<!-- example ", fence[] = " -->\n```json\n";
	cleanup(freep) char *docs = read_docs();
	char seen[4096] = " ";
	uint8_t prev[SHA256_LEN];
	uint64_t seq = 0;
	int n = 0;

	for (char *at = strstr(docs, mark); at; at = strstr(at, mark)) {
		char *kind = at + strlen(mark), *end = strstr(kind, fence), *text, *stop;
		cleanup(freep) char *again = NULL;

		assert_non_null(end);
		*end = '\0';
		text = end + strlen(fence);
		stop = strstr(text, "\n```");
		assert_non_null(stop);
		*stop = '\0';
		again = encode_again(kind, span_str(text), &seq, prev);
		if (!again)
			fail_msg("no valid %s: %s", kind, text);
		assert_string_equal(again, text);
		assert_true(strlen(seen) + strlen(kind) + 3 < sizeof(seen));
		strcat(strcat(seen, kind), "\n ");
		at = stop + 1;
		n++;
	}
	print_message("%d examples\n", n);
	for (int type = 0; type < EVENT_TYPES; type++) {
		char want[80];

		snprintf(want, sizeof(want), " event %s\n", event_type_word((enum event_type)type));
		if (!strstr(seen, want))
			fail_msg("no example of%s", want);
	}
	assert_non_null(strstr(seen, " state\n"));
	assert_non_null(strstr(seen, " lock\n"));
	assert_non_null(strstr(seen, " health\n"));
	assert_non_null(strstr(seen, " replay\n"));
}

static void every_problem_is_in_the_documentation_word_for_word(void **state)
{
	cleanup(freep) char *docs = read_docs();
	const struct problem_text *p;
	struct problem fits;
	size_t i;

	for (i = 0; (p = problem_text_at(i)); i++) {
		cleanup(freep) char *row = NULL;

		assert_true(asprintf(&row, "\n| `%s` | %s | %s |\n", p->code, p->cause, p->next) >
			    0);
		if (!strstr(docs, row))
			fail_msg("not in the documentation: %s", row);
		assert_ptr_equal(problem_text(p->code), p); /* and no code twice */
		assert_true(strlen(p->code) < sizeof(fits.code));
	}
	assert_true(i > 20);
	assert_null(problem_text("no-such-problem"));
	/* the clock's words come from the core */
	for (int c = CLOCK_NOT_SYNCHRONISED; c <= CLOCK_BEHIND; c++)
		assert_non_null(problem_text(clock_problem_word((enum clock_problem)c)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_topic_goes_there_and_back),
		cmocka_unit_test(a_foreign_topic_is_other),
		cmocka_unit_test(filters_can_be_made),
		cmocka_unit_test(a_state_goes_there_and_back),
		cmocka_unit_test(a_lock_goes_there_and_back),
		cmocka_unit_test(health_goes_there_and_back),
		cmocka_unit_test(a_replay_goes_there_and_back),
		cmocka_unit_test(every_event_goes_there_and_back),
		cmocka_unit_test(what_could_not_be_read_of_a_document_is_left_out),
		cmocka_unit_test(a_reader_of_today_takes_an_event_of_tomorrow),
		cmocka_unit_test(words_of_others_cannot_break_a_message),
		cmocka_unit_test(every_example_in_the_documentation_is_true),
		cmocka_unit_test(every_problem_is_in_the_documentation_word_for_word),
	};

	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
