// SPDX-License-Identifier: Apache-2.0
/*
 * docs/protocol.md says the truth: its examples are what the code signs and reads, its tables are
 * what the code does. PROTOCOL_WRITE=1 rewrites the examples (not the tables).
 */
#include "core/gate.h"
#include "message.h"
#include "unit/protocol-diag.h"
#include "unit/protocol-values.h"

static struct doc doc;
static struct story story;
static struct doc_row rows[DOC_ROWS];

/* The example as the document has it. */
static struct example from_doc(const struct example *e)
{
	struct span bytes = doc_hex(&doc, e->name, 0);
	struct example ret = {e->name, e->signer, sign_keep(bytes)};

	free((void *)bytes.data);
	return ret;
}

/* --- the examples ------------------------------------------------------------------------------- */

static void each_example_is_signed_again_to_the_same_bytes(void **state)
{
	for (size_t i = 0; i < story.n; i++) {
		char *text = doc_hex_text(&story.examples[i].bytes, 1);

		doc_expect(&doc, "example", story.examples[i].name, text);
		free(text);
	}
}

static void each_document_verifies_with_its_documented_key_only(void **state)
{
	size_t signed_ones = 0;

	for (size_t i = 0; i < story.n; i++) {
		struct example e = from_doc(&story.examples[i]);
		struct key key, other;
		struct token t;

		if (!e.signer)
			continue;
		signed_ones++;
		key_init(&key, story_signer(&story, e.signer)->pub, 0);
		key_init(&other, sign_signer(99).pub, 0);
		assert_int_equal(token_parse(e.bytes, &t), 0);
		assert_true(span_equal(t.cose.kid, SPAN(key.kid)));
		assert_int_equal(key_verify(&key, &t.cose), 0);
		assert_int_equal(key_verify(&other, &t.cose), REASON_BAD_SIGNATURE);
		assert_int_equal(token_parse(sign_spoil(e.bytes), &t), 0);
		assert_int_equal(key_verify(&key, &t.cose), REASON_BAD_SIGNATURE);
	}
	assert_int_equal(signed_ones, 15);
}

static void each_example_says_what_its_values_say(void **state)
{
	for (size_t i = 0; i < story.n; i++) {
		struct example e = from_doc(&story.examples[i]);
		char *text = values_of(&story, &e);

		doc_expect(&doc, "values", e.name, text);
		free(text);
	}
}

static void the_diagnostic_notation_is_that_of_the_bytes(void **state)
{
	for (size_t i = 0; i < story.n; i++) {
		struct example e = from_doc(&story.examples[i]);
		char *text;

		if (strncmp(e.name, "advert", 6) == 0)
			continue; /* no CBOR */
		assert_true(cbor_well_formed(e.bytes));
		text = diag_text(e.bytes);
		doc_expect(&doc, "diagnostic", e.name, text);
		free(text);
	}
}

static void the_bytes_that_are_signed_are_those_of_the_example(void **state)
{
	struct example covered = from_doc(story_find(&story, "signed"));
	struct example e = from_doc(story_find(&story, "presentation"));
	struct token t;

	assert_int_equal(token_parse(e.bytes, &t), 0);
	assert_int_equal(t.cose.signature.len, SIGNATURE_LEN);
	assert_true(crypto_verify(story.phone.pub, covered.bytes, t.cose.signature.data));
}

static void the_packet_holds_the_advert_and_the_service(void **state)
{
	struct example packet = from_doc(story_find(&story, "advert-packet"));
	struct example advert = from_doc(story_find(&story, "advert"));

	assert_int_equal(packet.bytes.len, 29);
	assert_int_equal(advert.bytes.len, ADVERT_LEN);
	assert_memory_equal(packet.bytes.data + 21, advert.bytes.data, ADVERT_LEN);
}

static void the_frames_are_those_of_the_presentation(void **state)
{
	struct span document = story_find(&story, "presentation")->bytes, frames[8], whole;
	uint8_t bytes[8][FRAME_MAX], buf[TOKEN_SMALL_MAX];
	struct frame_joiner j;
	struct frame_cutter c;
	size_t n = 0, len;
	unsigned code;
	char *text;

	frame_cut(&c, document);
	while (n < 8 && (len = frame_next(&c, STORY_FRAME, bytes[n])) > 0) {
		frames[n] = span_of(bytes[n], len);
		n++;
	}
	assert_in_range(n, 3, 7);
	text = doc_hex_text(frames, n);
	doc_expect(&doc, "example", "frames", text);
	free(text);
	frame_joiner_init(&j, buf, sizeof(buf));
	for (size_t i = 0; i < n; i++) {
		whole = doc_hex(&doc, "frames", i);
		assert_int_equal(frame_take(&j, whole, &code),
				 i + 1 == n ? FRAME_COMPLETE : FRAME_MORE);
		free((void *)whole.data);
	}
	assert_true(span_equal(span_of(buf, j.len), document));
}

/* --- the worked decisions ----------------------------------------------------------------------- */

static struct trust *trust_of_examples(bool with_list)
{
	static const char *const names[] = {"keys", "policy", "list"};
	const struct trust_topic any = {.any = true};
	struct key root = sign_key(&story.root, ROLE_ROOT);
	struct trust_change change;
	struct trust *trust;

	assert_int_equal(trust_new(LIST_BYTES_MAX, &trust), 0);
	trust_anchor(trust, &root);
	for (size_t i = 0; i < (with_list ? 3 : 2); i++)
		assert_int_equal(trust_offer(trust, from_doc(story_find(&story, names[i])).bytes,
					     &any, &change),
				 0);
	return trust;
}

static const char *const circumstances[] = {
	"retained", "seen before",   "no list",	     "next challenge",	      "next connection",
	"busy",	    "claimed later", "presentation", "clock not synchronised"};

static bool so(const char *cell, const char *word)
{
	return strstr(cell, word) != NULL;
}

/* Every word of the cell is one of those above. */
static void check_words(const char *cell)
{
	size_t left = strlen(cell);

	for (size_t i = 0; i < ARRAY_SIZE(circumstances); i++)
		if (so(cell, circumstances[i]))
			left -= strlen(circumstances[i]);
	for (const char *p = cell; *p; p++)
		left -= *p == ',' ? 2 : 0;
	if (left != 0)
		fail_msg("unknown circumstances: %s", cell);
}

static struct span presentation_for(const char *authorization)
{
	bool reads = strcmp(authorization, "authorization-read") == 0;

	return from_doc(story_find(&story, reads ? "presentation-read" : "presentation")).bytes;
}

static void present_challenge(const char *authorization, struct gate_lock *ret)
{
	ret->has_challenge = true;
	if (strcmp(authorization, "authorization-relayed") == 0)
		memcpy(ret->challenge, story.relay_challenge, CHALLENGE_LEN);
	else if (strcmp(authorization, "authorization-door") == 0)
		memcpy(ret->nonce, story.door_nonce, CHALLENGE_LEN);
	else
		memcpy(ret->nonce, story.reader_nonce, CHALLENGE_LEN);
}

/* authorization | asked | at | circumstances | answer */
static int decide_row(const struct doc_row *row)
{
	const char *name = row->cells[0], *how = row->cells[3];
	cleanup(trust_freep) struct trust *trust = trust_of_examples(!so(how, "no list"));
	struct gate_lock lock = {.id = STORY_LOCK,
				 .busy = so(how, "busy"),
				 .claimed = so(how, "claimed later") ? STORY_RELEASE : STORY_CLAIM};
	struct gate_input in = {.authorization = from_doc(story_find(&story, name)).bytes,
				.retained = so(how, "retained"),
				.seen = so(how, "seen before"),
				.trust = trust,
				.locks = &lock,
				.nlocks = 1};
	struct gate_output out;

	check_words(how);
	assert_true(strcmp(row->cells[1], "gateway") == 0 || strcmp(row->cells[1], "lock") == 0);
	in.side = strcmp(row->cells[1], "lock") == 0 ? GATE_LOCK : GATE_GATEWAY;
	in.time.now = strtoull(row->cells[2], NULL, 10);
	in.time.synchronised = in.side == GATE_GATEWAY && !so(how, "clock not synchronised");
	present_challenge(name, &lock);
	if (so(how, "next challenge"))
		lock.challenge[0] ^= 0xff;
	if (so(how, "next connection"))
		lock.nonce[0] ^= 0xff;
	if (so(how, "presentation"))
		in.presentation = presentation_for(name);
	if (in.side == GATE_LOCK && strcmp(name, "authorization-read") == 0)
		return gate_decide_reader(&in, NULL, &out);
	return gate_decide(&in, &out);
}

static void the_decisions_of_the_table_are_those_of_the_gate(void **state)
{
	size_t n = doc_table(&doc, "decisions", rows);

	for (size_t i = 0; i < n; i++) {
		int r = decide_row(&rows[i]);
		const char *answer = r == 0 ? "yes" : reason_word((enum reason)r);

		if (strcmp(answer, rows[i].cells[4]) != 0)
			fail_msg("%s at the %s, %s, %s: %s, says the gate", rows[i].cells[0],
				 rows[i].cells[1], rows[i].cells[2], rows[i].cells[3], answer);
	}
	assert_true(n >= 15);
}

/* offered | answer: a gateway that knows nothing but the root is offered these, one after another */
static void the_offers_of_the_table_are_answered_so(void **state)
{
	const struct trust_topic any = {.any = true};
	struct key root = sign_key(&story.root, ROLE_ROOT);
	cleanup(trust_freep) struct trust *trust = NULL;
	struct trust_change change;
	size_t n = doc_table(&doc, "offers", rows);
	char answer[80];

	assert_int_equal(trust_new(LIST_BYTES_MAX, &trust), 0);
	trust_anchor(trust, &root);
	for (size_t i = 0; i < n; i++) {
		struct example e = from_doc(story_find(&story, rows[i].cells[0]));
		int verdict = trust_offer(trust, e.bytes, &any, &change), more = 0, again;

		if (verdict == 0)
			snprintf(answer, sizeof(answer), "%s",
				 change.applied ? "applied" : "held already");
		else
			snprintf(answer, sizeof(answer), "%s%s", reason_word((enum reason)verdict),
				 change.kept ? ", kept" : "");
		while (verdict == 0 && trust_retry(trust, &again, &change) > 0)
			more += again == 0 && change.applied;
		if (more > 0)
			snprintf(answer + strlen(answer), sizeof(answer) - strlen(answer),
				 ", and %d kept", more);
		assert_string_equal(answer, rows[i].cells[1]);
	}
	assert_true(n >= 6);
}

/* --- life --------------------------------------------------------------------------------------- */

static int open_doc(void **state)
{
	doc_load(&doc);
	story_tell(&story, &doc);
	return 0;
}

static int close_doc(void **state)
{
	doc_save(&doc);
	free(doc.text);
	sign_forget();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_example_is_signed_again_to_the_same_bytes),
		cmocka_unit_test(the_frames_are_those_of_the_presentation),
		cmocka_unit_test(each_document_verifies_with_its_documented_key_only),
		cmocka_unit_test(each_example_says_what_its_values_say),
		cmocka_unit_test(the_diagnostic_notation_is_that_of_the_bytes),
		cmocka_unit_test(the_bytes_that_are_signed_are_those_of_the_example),
		cmocka_unit_test(the_packet_holds_the_advert_and_the_service),
		cmocka_unit_test(the_decisions_of_the_table_are_those_of_the_gate),
		cmocka_unit_test(the_offers_of_the_table_are_answered_so),
	};

	return cmocka_run_group_tests(tests, open_doc, close_doc);
}
