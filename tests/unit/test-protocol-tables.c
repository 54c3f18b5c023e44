// SPDX-License-Identifier: Apache-2.0
/* The tables of docs/protocol.md name what the code has: kinds, claims, words, numbers. */
#include "driver/open.h"
#include "message.h"
#include "unit/protocol-doc.h"

static struct doc doc;
static struct doc_row rows[DOC_ROWS];

/* --- kinds and claims --------------------------------------------------------------------------- */

static void every_kind_has_the_typ_the_tags_and_the_cap_of_the_table(void **state)
{
	size_t n = doc_table(&doc, "kinds", rows);
	char cap[16];

	assert_int_equal(n, TOKEN_KINDS);
	for (size_t i = 0; i < n; i++) {
		enum token_kind kind = (enum token_kind)i;

		assert_string_equal(rows[i].cells[0], token_kind_word(kind));
		assert_string_equal(rows[i].cells[1], token_typ(kind));
		assert_string_equal(rows[i].cells[3], token_has_cwt_tag(kind) ? "61, 18" : "18");
		snprintf(cap, sizeof(cap), "%zu", token_max(kind));
		assert_string_equal(rows[i].cells[4], cap);
	}
}

static const struct {
	const char *word;
	enum claim bit;
} claims[] = {
	{"iss", CLAIM_ISS},	    {"sub", CLAIM_SUB},
	{"aud", CLAIM_AUD},	    {"exp", CLAIM_EXP},
	{"nbf", CLAIM_NBF},	    {"iat", CLAIM_IAT},
	{"cti", CLAIM_CTI},	    {"cnf", CLAIM_CNF},
	{"scope", CLAIM_SCOPE},	    {"cnonce", CLAIM_CNONCE},
	{"status", CLAIM_STATUS},   {"ttl", CLAIM_TTL},
	{"keys", CLAIM_KEYS},	    {"status_list", CLAIM_STATUS_LIST},
	{"posture", CLAIM_POSTURE}, {"policy", CLAIM_POLICY},
	{"result", CLAIM_RESULT},   {"changed", CLAIM_CHANGED},
	{"key", CLAIM_KEY},
};

static unsigned claims_of(const char *cell)
{
	char copy[400], *rest = copy, *word;
	unsigned bits = 0;

	strcpy(copy, cell);
	while ((word = strsep(&rest, " ")) != NULL) {
		size_t i = 0;

		if (!word[0])
			continue;
		while (i < ARRAY_SIZE(claims) && strcmp(claims[i].word, word) != 0)
			i++;
		if (i == ARRAY_SIZE(claims))
			fail_msg("no claim is called %s", word);
		bits |= claims[i].bit;
	}
	return bits;
}

/* Values that are good in every kind. */
static struct token all_claims(const char *kind)
{
	static const uint8_t cti[CTI_LEN], challenge[CHALLENGE_LEN];
	struct token t = {.kind = TOKEN_KINDS,
			  .iss = span_str("lock-1"),
			  .sub = span_str("https://city.example/lists/staff"),
			  .aud = span_str("lock-1"),
			  .exp = 2000,
			  .nbf = 1000,
			  .iat = 1000,
			  .cti = SPAN(cti),
			  .cnonce = SPAN(challenge),
			  .scope = strstr(kind, "read") ? SCOPE_READ : SCOPE_UNLOCK,
			  .status_uri = span_str("https://city.example/lists/staff"),
			  .ttl = 60,
			  .bits = 2,
			  .lst = span_str("x"),
			  .changed = 900};

	for (int k = 0; k < TOKEN_KINDS; k++) {
		const char *word = token_kind_word((enum token_kind)k);

		if (strncmp(kind, word, strlen(word)) == 0 &&
		    (kind[strlen(word)] == ' ' || kind[strlen(word)] == '\0'))
			t.kind = (enum token_kind)k;
	}
	assert_int_not_equal(t.kind, TOKEN_KINDS);
	return t;
}

static void expect(struct token *t, unsigned has, bool good, const char *kind, const char *claim)
{
	t->has = has;
	if ((token_check(t) == 0) != good)
		fail_msg("%s %s %s: the table says the opposite", kind, good ? "with" : "and",
			 claim);
}

static void every_kind_needs_and_may_have_the_claims_of_the_table(void **state)
{
	size_t n = doc_table(&doc, "claims", rows);
	unsigned kinds = 0;

	for (size_t i = 0; i < n; i++) {
		struct token t = all_claims(rows[i].cells[0]);
		unsigned needs = claims_of(rows[i].cells[1]), may = claims_of(rows[i].cells[2]);
		const char *kind = rows[i].cells[0];

		kinds |= 1u << t.kind;
		expect(&t, needs, true, kind, "what it needs");
		expect(&t, needs | may, true, kind, "all that it may have");
		for (size_t c = 0; c < ARRAY_SIZE(claims); c++) {
			unsigned bit = claims[c].bit;

			if (needs & bit)
				expect(&t, needs & ~bit, false, kind, claims[c].word);
			else
				expect(&t, needs | bit, (may & bit) != 0, kind, claims[c].word);
		}
	}
	assert_int_equal(n, TOKEN_KINDS + 2); /* three authorizations */
	assert_int_equal(kinds, (1u << TOKEN_KINDS) - 1);
}

/* --- words -------------------------------------------------------------------------------------- */

/* Fails for what is not a reason; marks each once. */
static enum reason mark(bool seen[static REASON_COUNT_], const char *word)
{
	enum reason reason = reason_parse(word, strlen(word));

	if (reason == REASON_COUNT_ || reason == REASON_NONE)
		fail_msg("no reason is called %s", word);
	if (seen[reason])
		fail_msg("%s stands twice", word);
	seen[reason] = true;
	return reason;
}

static void every_reason_stands_once_and_those_of_the_decision_in_its_order(void **state)
{
	bool seen[REASON_COUNT_] = {false};
	size_t n = doc_table(&doc, "decision", rows);
	enum reason before = REASON_NONE;
	char step = '1';

	for (size_t i = 0; i < n; i++) {
		enum reason reason = mark(seen, rows[i].cells[1]);

		assert_true(reason > before);
		assert_true(rows[i].cells[0][0] >= step);
		step = rows[i].cells[0][0];
		before = reason;
	}
	n = doc_table(&doc, "other-reasons", rows);
	for (size_t i = 0; i < n; i++)
		mark(seen, rows[i].cells[0]);
	for (int i = 1; i < REASON_COUNT_; i++)
		if (!seen[i])
			fail_msg("%s is not in the document", reason_word((enum reason)i));
}

static void every_short_answer_has_the_word_of_the_table(void **state)
{
	size_t n = doc_table(&doc, "short-answers", rows);

	assert_int_equal(n, FRAME_CODES_);
	assert_string_equal(rows[0].cells[1], "go-on");
	assert_int_equal(open_short_reason(0), REASON_NONE);
	for (unsigned i = 1; i < n; i++) {
		assert_int_equal(strtoul(rows[i].cells[0], NULL, 10), i);
		assert_string_equal(rows[i].cells[1], reason_word(open_short_reason(i)));
	}
}

static void every_outcome_is_in_the_table(void **state)
{
	size_t n = doc_table(&doc, "outcomes", rows);

	assert_int_equal(n, OUTCOME_HEAD);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(rows[i].cells[0], outcome_word((enum outcome)(i + 1)));
}

/* --- numbers ------------------------------------------------------------------------------------ */

static const struct {
	const char *what;
	uint64_t value;
} limits[] = {
	{"list, inflated, bytes", LIST_BYTES_MAX},
	{"lists", TRUST_LISTS},
	{"roots in a chain", TRUST_CHAIN},
	{"keys in a keys document", KEYS_MAX},
	{"lifetime of a read authorization, seconds", READ_LIFETIME_MAX},
	{"apps in a policy", POLICY_APPS_MAX},
	{"length of an app's name", POLICY_APP_LEN},
	{"entries of cut_off", POLICY_CUT_OFFS_MAX},
	{"frame, bytes", FRAME_MAX},
	{"info, bytes", INFO_MAX},
	{"least max of a lock, bytes", INFO_BYTES_MIN},
	{"correlation data, bytes", CORRELATION_MAX},
	{"leeway of nbf, seconds", CLOCK_NBF_LEEWAY},
	{"step of a clock, seconds", CLOCK_STEP_MAX},
	{"clock ahead, seconds", CLOCK_AHEAD_MAX},
	{"clock behind, seconds", CLOCK_BEHIND_MAX},
};

static void the_limits_are_those_of_the_code(void **state)
{
	size_t n = doc_table(&doc, "limits", rows);
	char value[24];

	assert_int_equal(n, ARRAY_SIZE(limits));
	for (size_t i = 0; i < n; i++) {
		assert_string_equal(rows[i].cells[0], limits[i].what);
		snprintf(value, sizeof(value), "%llu", (unsigned long long)limits[i].value);
		assert_string_equal(rows[i].cells[1], value);
	}
}

static void the_policy_without_a_document_is_that_of_the_table(void **state)
{
	struct policy policy;
	char want[7][24];
	static const char *const names[] = {"apps",	      "cut_off",      "max_relay",
					    "require_pin",    "max_lifetime", "report_manual",
					    "posture_max_age"};
	size_t n = doc_table(&doc, "policy", rows);

	policy_default(&policy);
	assert_int_equal(policy.napps + policy.ncut_offs, 0);
	strcpy(want[0], "[]");
	strcpy(want[1], "{}");
	snprintf(want[2], 24, "%llu", (unsigned long long)policy.max_relay);
	strcpy(want[3], policy.require_pin ? "true" : "false");
	snprintf(want[4], 24, "%llu", (unsigned long long)policy.max_lifetime);
	strcpy(want[5], policy.report_manual ? "true" : "false");
	snprintf(want[6], 24, "%llu", (unsigned long long)policy.posture_max_age);
	assert_int_equal(n, 7);
	for (size_t i = 0; i < n; i++) {
		assert_string_equal(rows[i].cells[0], names[i]);
		assert_string_equal(rows[i].cells[1], want[i]);
	}
}

/* --- places ------------------------------------------------------------------------------------- */

static void put(char *text, size_t cap, const char *hole, const char *with)
{
	char *at = strstr(text, hole), rest[128];

	if (!at)
		return;
	snprintf(rest, sizeof(rest), "%s", at + strlen(hole));
	snprintf(at, cap - (size_t)(at - text), "%s%s", with, rest);
}

static void every_topic_is_in_the_table(void **state)
{
	size_t n = doc_table(&doc, "topics", rows);
	unsigned kinds = 0;
	char text[512];

	for (size_t i = 0; i < n; i++) {
		struct topic topic;

		snprintf(text, sizeof(text), "lockbridge/%.200s", rows[i].cells[0]);
		put(text, sizeof(text), "<root kid>", "0123456789abcdef");
		put(text, sizeof(text), "<name>", "staff");
		put(text, sizeof(text), "<gw>", "gw-1");
		put(text, sizeof(text), "<lock>", "lock-1");
		topic_parse("lockbridge", text, &topic);
		if (topic.kind == TOPIC_OTHER)
			fail_msg("%s is no topic", text);
		assert_string_equal(rows[i].cells[1],
				    topic.kind >= TOPIC_PRESENCE ? "gateway" : "city");
		kinds |= 1u << topic.kind;
	}
	assert_int_equal(kinds, (1u << (TOPIC_REQUEST + 1)) - 2);
}

static void the_service_and_its_characteristics_are_in_the_document(void **state)
{
	static const struct {
		const char *uuid, *number, *name;
	} chrs[] = {{OPEN_INFO, "2", "info"},
		    {OPEN_INBOX, "3", "inbox"},
		    {OPEN_OUTBOX, "4", "outbox"},
		    {OPEN_STATE, "5", "state"}};
	size_t n = doc_table(&doc, "characteristics", rows);

	assert_non_null(strstr(doc.text, "`" OPEN_SERVICE "`"));
	assert_int_equal(n, ARRAY_SIZE(chrs));
	for (size_t i = 0; i < n; i++) {
		char uuid[64];

		snprintf(uuid, sizeof(uuid), "2ff9000%.4s-f488-4501-a0b4-1a1753dee155",
			 rows[i].cells[0]);
		assert_string_equal(uuid, chrs[i].uuid);
		assert_string_equal(rows[i].cells[1], chrs[i].name);
	}
}

static int open_doc(void **state)
{
	doc_load(&doc);
	return 0;
}

static int close_doc(void **state)
{
	free(doc.text);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_has_the_typ_the_tags_and_the_cap_of_the_table),
		cmocka_unit_test(every_kind_needs_and_may_have_the_claims_of_the_table),
		cmocka_unit_test(every_reason_stands_once_and_those_of_the_decision_in_its_order),
		cmocka_unit_test(every_short_answer_has_the_word_of_the_table),
		cmocka_unit_test(every_outcome_is_in_the_table),
		cmocka_unit_test(the_limits_are_those_of_the_code),
		cmocka_unit_test(the_policy_without_a_document_is_that_of_the_table),
		cmocka_unit_test(every_topic_is_in_the_table),
		cmocka_unit_test(the_service_and_its_characteristics_are_in_the_document),
	};

	return cmocka_run_group_tests(tests, open_doc, close_doc);
}
