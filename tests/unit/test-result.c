// SPDX-License-Identifier: Apache-2.0
/* What a lock says: results, info, state, since, adverts. */
#include "unit/vectors.h"

#include "core/result.h"

#include <errno.h>

static struct result full_result(void)
{
	struct result t = {
		.outcome = OUTCOME_REFUSED,
		.reason = REASON_REVOKED,
		.via = VIA_DOOR,
		.bolt = BOLT_LOCKED,
		.has_battery = true,
		.battery = 87,
		.challenge = "chalenge",
		.boot = 3,
		.napplied = 3,
		.has_n = true,
		.n = 1234567,
	};

	strcpy(t.applied[0].name, "policy");
	t.applied[0].iat = 1800000000;
	strcpy(t.applied[1].name, "staff");
	t.applied[1].iat = 1800000001;
	memset(t.applied[1].digest, 0xab, DIGEST_LEN);
	strcpy(t.applied[2].name, "keys");
	return t;
}

static struct span put(const struct result *t, uint8_t *buf, size_t cap)
{
	struct cbor_writer w;

	cbor_writer_init(&w, buf, cap);
	result_put(&w, t);
	assert_false(w.failed);
	assert_true(cbor_well_formed(span_of(buf, w.len)));
	return span_of(buf, w.len);
}

static void a_result_is_written_and_read_back(void **state)
{
	struct result in = full_result(), out;
	uint8_t buf[512];

	assert_int_equal(result_parse(put(&in, buf, sizeof(buf)), &out), 0);
	assert_int_equal(out.outcome, in.outcome);
	assert_int_equal(out.reason, in.reason);
	assert_int_equal(out.via, in.via);
	assert_int_equal(out.bolt, in.bolt);
	assert_true(out.has_battery && out.has_n && !out.has_last);
	assert_int_equal(out.battery, 87);
	assert_int_equal(out.boot, 3);
	assert_int_equal(out.n, 1234567);
	assert_memory_equal(out.challenge, in.challenge, CHALLENGE_LEN);
	assert_int_equal(out.napplied, 3);
	/* keys, staff, policy: in the order of their encodings */
	assert_string_equal(out.applied[0].name, "keys");
	assert_string_equal(out.applied[1].name, "staff");
	assert_int_equal(out.applied[1].iat, 1800000001);
	assert_memory_equal(out.applied[1].digest, in.applied[1].digest, DIGEST_LEN);
	assert_string_equal(out.applied[2].name, "policy");
}

static void the_least_result_is_these_bytes(void **state)
{
	struct result in = {.outcome = OUTCOME_DONE, .bolt = BOLT_UNLOCKED, .boot = 1}, out;
	char hex[512];
	uint8_t buf[128];
	struct span s = put(&in, buf, sizeof(buf));

	hex_encode(s, hex, sizeof(hex));
	assert_string_equal(hex, "a5"
				 "64626f6c74"
				 "68756e6c6f636b6564"
				 "64626f6f74"
				 "01"
				 "676170706c696564"
				 "a0"
				 "676f7574636f6d65"
				 "64646f6e65"
				 "696368616c6c656e6765"
				 "480000000000000000");
	assert_int_equal(result_parse(s, &out), 0);
	assert_int_equal(out.via, VIA_NONE);
	assert_int_equal(out.reason, REASON_NONE);
	assert_false(out.has_battery || out.has_n || out.has_last);
}

static void last_stands_in_a_head_and_only_there(void **state)
{
	struct result t = full_result(), out;
	uint8_t buf[512];

	t.has_last = true;
	t.last = 9;
	assert_int_equal(result_parse(put(&t, buf, sizeof(buf)), &out), REASON_MALFORMED);
	t.outcome = OUTCOME_HEAD;
	assert_int_equal(result_parse(put(&t, buf, sizeof(buf)), &out), 0);
	assert_int_equal(out.last, 9);
	t.has_last = false;
	assert_int_equal(result_parse(put(&t, buf, sizeof(buf)), &out), REASON_MALFORMED);
}

/* The least result as pairs, so that one can be left out, changed or added. */
struct pair {
	const char *key, *value;
};
static const struct pair least[] = {
	{"64626f6c74", "68756e6c6f636b6564"},
	{"64626f6f74", "01"},
	{"676170706c696564", "a0"},
	{"676f7574636f6d65", "64646f6e65"},
	{"696368616c6c656e6765", "480000000000000000"},
};

static int parse_with(int without, const char *key, const char *value, struct result *ret)
{
	char hex[1024] = "";
	struct span s;
	size_t n = 0;
	int reason;

	for (size_t i = 0; i < ARRAY_SIZE(least); i++) {
		if ((int)i == without)
			continue;
		strcat(hex, least[i].key);
		strcat(hex, least[i].value);
		n++;
	}
	if (key) {
		strcat(hex, key);
		strcat(hex, value);
		n++;
	}
	memmove(hex + 2, hex, strlen(hex) + 1);
	hex[0] = 'a';
	hex[1] = "0123456789abcdef"[n];
	s = vectors_hex(hex);
	if (!cbor_well_formed(s))
		fail_msg("not well-formed: %s", hex);
	reason = result_parse(s, ret);
	vectors_free(s);
	return reason;
}

static void nothing_that_must_be_there_may_be_missing(void **state)
{
	struct result out;

	assert_int_equal(parse_with(-1, NULL, NULL, &out), 0);
	for (int i = 0; i < (int)ARRAY_SIZE(least); i++)
		assert_int_equal(parse_with(i, NULL, NULL, &out), REASON_MALFORMED);
}

static void values_of_a_result_are_judged(void **state)
{
	static const struct {
		const char *what;
		int without;
		const char *key, *value;
		bool good;
	} cases[] = {
		{"a member of a later version", -1, "656c61746572", "81a0", true},
		{"a member named by a number", -1, "01", "00", true},
		{"a bolt of a later version", 0, "64626f6c74", "64616a6172", true},
		{"bolt as a number", 0, "64626f6c74", "00", false},
		{"boot negative", 1, "64626f6f74", "20", false},
		{"boot too big", 1, "64626f6f74", "1b8000000000000000", false},
		{"an outcome of a later version", 3, "676f7574636f6d65", "656d65727279", false},
		{"an empty outcome", 3, "676f7574636f6d65", "60", false},
		{"a challenge of seven", 4, "696368616c6c656e6765", "4700000000000000", false},
		{"reason as a number", -1, "66726561736f6e", "01", false},
		{"battery 100", -1, "6762617474657279", "1864", true},
		{"battery 101", -1, "6762617474657279", "1865", false},
		{"n negative", -1, "616e", "20", false},
		{"n too big", -1, "616e", "1bffffffffffffffff", false},
		{"applied with one", 2, "676170706c696564", "a1646b6579738201480000000000000000",
		 true},
		{"applied of three parts", 2, "676170706c696564",
		 "a1646b657973830148000000000000000000", false},
		{"applied of one part", 2, "676170706c696564", "a1646b6579738101", false},
		{"a digest of seven", 2, "676170706c696564", "a1646b65797382014700000000000000",
		 false},
		{"a name in capitals", 2, "676170706c696564", "a1644b4559538201480000000000000000",
		 false},
		{"a name by number", 2, "676170706c696564", "a1018201480000000000000000", false},
		{"applied no map", 2, "676170706c696564", "80", false},
		{"applied far in time", 2, "676170706c696564",
		 "a1646b657973821b7fffffffffffffff480000000000000000", false},
		{"seven applied", 2, "676170706c696564",
		 "a7616182014800000000000000006162820148000000000000000061638201480000000000000000"
		 "616482014800000000000000006165820148000000000000000061668201480000000000000000"
		 "61678201480000000000000000",
		 false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct result out;
		int reason = parse_with(cases[i].without, cases[i].key, cases[i].value, &out);

		if (reason != (cases[i].good ? 0 : REASON_MALFORMED))
			fail_msg("%s: %d", cases[i].what, reason);
	}
}

static void words_of_a_later_version_read_as_the_nearest(void **state)
{
	struct result out;

	assert_int_equal(parse_with(0, "64626f6c74", "64616a6172", &out), 0);
	assert_int_equal(out.bolt, BOLT_UNKNOWN);
	assert_int_equal(parse_with(-1, "66726561736f6e", "657469726564", &out), 0);
	assert_int_equal(out.reason, REASON_LOCK_ERROR);
	assert_int_equal(parse_with(-1, "66726561736f6e", "60", &out), 0);
	assert_int_equal(out.reason, REASON_NONE);
	assert_int_equal(parse_with(-1, "63766961", "636d6f6f", &out), 0);
	assert_int_equal(out.via, VIA_NONE);
}

static void words_read_back(void **state)
{
	for (unsigned i = OUTCOME_DONE; i <= OUTCOME_HEAD; i++) {
		assert_true(strlen(outcome_word((enum outcome)i)) >= 4);
		assert_int_equal(outcome_parse(span_str(outcome_word((enum outcome)i))), i);
	}
	for (unsigned i = BOLT_UNKNOWN; i <= BOLT_JAMMED; i++)
		assert_int_equal(bolt_parse(span_str(bolt_word((enum bolt)i))), i);
	for (unsigned i = VIA_NONE; i <= VIA_DOOR; i++)
		assert_int_equal(via_parse(span_str(via_word((enum via)i))), i);
	assert_int_equal(outcome_parse(span_str("")), OUTCOME_NONE);
}

/* The longest that a lock can say: it must fit a receipt, and info one ATT read of 510 bytes. */
static void the_longest_result_fits_a_receipt_and_the_longest_info_a_read(void **state)
{
	static const char id[] = "12345678901234567890123456789012";
	struct result t = full_result(), out;
	struct info info = {.profile = 1, .owned = true, .max = UINT32_MAX}, back;
	struct signer signer;
	struct token token = {.kind = TOKEN_RECEIPT,
			      .has = CLAIM_ISS | CLAIM_IAT | CLAIM_CTI | CLAIM_RESULT,
			      .iss = span_str(id),
			      .iat = TIME_MAX,
			      .cti = span_of("0123456789abcdef", 16)};
	uint8_t buf[1024], document[TOKEN_SMALL_MAX];
	int len;

	signer_from_seed((const uint8_t[SEED_LEN]){1}, &signer);
	t.reason = REASON_PRESENTATION_MISSING;
	t.n = t.boot = t.last = INT64_MAX;
	t.has_last = true;
	t.outcome = OUTCOME_HEAD;
	t.bolt = BOLT_UNLOCKED;
	t.napplied = APPLIED_MAX;
	for (int i = 0; i < APPLIED_MAX; i++) {
		memcpy(t.applied[i].name, id, sizeof(id));
		t.applied[i].name[0] = (char)('a' + i);
		t.applied[i].iat = UINT32_MAX;
	}
	strcpy(t.applied[4].name, "policy");
	strcpy(t.applied[5].name, "keys");
	token.result = put(&t, buf, sizeof(buf));
	len = token_sign(&token, &signer, document, sizeof(document));
	assert_true(len > 0);
	assert_int_equal(result_parse(token.result, &out), 0);

	memcpy(info.id, id, sizeof(id));
	memcpy(info.applied, t.applied, sizeof(t.applied));
	info.napplied = APPLIED_MAX;
	len = info_encode(&info, buf, sizeof(buf));
	assert_true(len > 0 && len <= INFO_MAX);
	print_message("[          ] longest info: %d bytes\n", len);
	assert_int_equal(info_parse(span_of(buf, len), &back), 0);
	assert_string_equal(back.id, id);
	assert_int_equal(back.napplied, APPLIED_MAX);
}

static struct info some_info(void)
{
	struct info t = {.id = "lock-1",
			 .profile = 1,
			 .key = {1, 2, 3},
			 .owned = true,
			 .owner = {9, 8, 7},
			 .max = 16384,
			 .napplied = 1,
			 .challenge = "87654321",
			 .nonce = "once4all"};

	strcpy(t.applied[0].name, "keys");
	t.applied[0].iat = 1800000000;
	return t;
}

static void an_info_is_written_and_read_back(void **state)
{
	struct info in = some_info(), out;
	uint8_t buf[INFO_MAX];

	for (int owned = 0; owned <= 1; owned++) {
		int len;

		in.owned = owned;
		len = info_encode(&in, buf, sizeof(buf));
		assert_true(len > 0);
		assert_int_equal(info_encode(&in, buf, (size_t)len - 1), -ENOSPC);
		info_encode(&in, buf, (size_t)len);
		assert_int_equal(info_parse(span_of(buf, len), &out), 0);
		assert_string_equal(out.id, "lock-1");
		assert_int_equal(out.profile, 1);
		assert_memory_equal(out.key, in.key, PUBLIC_LEN);
		assert_int_equal(out.owned, owned);
		if (owned)
			assert_memory_equal(out.owner, in.owner, DIGEST_LEN);
		assert_int_equal(out.max, 16384);
		assert_int_equal(out.napplied, 1);
		assert_string_equal(out.applied[0].name, "keys");
		assert_memory_equal(out.challenge, "87654321", CHALLENGE_LEN);
		assert_memory_equal(out.nonce, "once4all", CHALLENGE_LEN);
		for (int n = 0; n < len; n++)
			assert_int_equal(info_parse(span_of(buf, n), &out), REASON_MALFORMED);
	}
}

/* A later version's member in its place: info of a lock that was made before there were nonces. */
static void a_lock_without_a_nonce_shows_its_challenge(void **state)
{
	struct info in = some_info(), out;
	uint8_t buf[INFO_MAX], *name;
	int len = info_encode(&in, buf, sizeof(buf));

	name = memmem(buf, (size_t)len, "nonce", 5);
	assert_non_null(name);
	memcpy(name, "other", 5);
	assert_int_equal(info_parse(span_of(buf, (size_t)len), &out), 0);
	assert_memory_equal(out.nonce, "87654321", CHALLENGE_LEN);
	memcpy(name, "nonce", 5);
	name[5] = 0x47; /* seven bytes */
	memmove(name + 13, name + 14, (size_t)(buf + len - name) - 14);
	assert_int_equal(info_parse(span_of(buf, (size_t)len - 1), &out), REASON_MALFORMED);
}

static void an_info_outside_the_contract_is_malformed(void **state)
{
	struct info good = some_info(), bad[3] = {good, good, good}, out;
	uint8_t buf[INFO_MAX + 64];

	bad[0].max = 16383;
	bad[1].profile = 0;
	strcpy(bad[2].id, "Lock 1");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int len = info_encode(&bad[i], buf, sizeof(buf));

		assert_true(len > 0);
		assert_int_equal(info_parse(span_of(buf, len), &out), REASON_MALFORMED);
	}
	assert_int_equal(info_parse(span_of("\xa0", 1), &out), REASON_MALFORMED);
	assert_int_equal(info_parse(span_of("rubbish", 7), &out), REASON_MALFORMED);
	/* an owner of seven bytes is not "nobody" */
	{
		int len = info_encode(&good, buf, sizeof(buf));
		uint8_t *owner = memmem(buf, (size_t)len, "\x48\x09\x08\x07", 4);

		assert_non_null(owner);
		owner[0] = 0x47;
		memmove(owner + 8, owner + 9, (size_t)(buf + len - (owner + 9)));
		assert_true(cbor_well_formed(span_of(buf, len - 1)));
		assert_int_equal(info_parse(span_of(buf, len - 1), &out), REASON_MALFORMED);
	}
	good.napplied = APPLIED_MAX + 1;
	assert_int_equal(info_encode(&good, buf, sizeof(buf)), -ENOSPC);
}

static void the_hash_of_what_is_applied_does_not_hang_on_its_order(void **state)
{
	struct result t = full_result();
	struct applied turned[3] = {t.applied[2], t.applied[1], t.applied[0]};
	uint8_t a[4], b[4], empty[4], hash[SHA256_LEN];

	applied_hash(t.applied, 3, a);
	applied_hash(turned, 3, b);
	assert_memory_equal(a, b, 4);
	turned[1].iat++;
	applied_hash(turned, 3, b);
	assert_memory_not_equal(a, b, 4);
	/* SHA-256 of the single byte a0 */
	applied_hash(NULL, 0, empty);
	crypto_sha256(span_of("\xa0", 1), hash);
	assert_memory_equal(empty, hash, 4);
}

static void the_state_of_a_lock_is_for_readers(void **state)
{
	struct lock_state in = {
		.present = true, .bolt = BOLT_MOVING, .has_battery = true, .battery = 5};
	struct lock_state out;
	uint8_t buf[64];
	int len = lock_state_encode(&in, buf, sizeof(buf));

	assert_true(len > 0);
	assert_int_equal(lock_state_parse(span_of(buf, len), &out), 0);
	assert_true(out.present && out.has_battery);
	assert_int_equal(out.bolt, BOLT_MOVING);
	assert_int_equal(out.battery, 5);
	assert_int_equal(lock_state_encode(&in, buf, (size_t)len - 1), -ENOSPC);
	in.present = false;
	assert_int_equal(lock_state_encode(&in, buf, sizeof(buf)), 0);
	assert_int_equal(lock_state_parse(span_of(buf, 0), &out), 0);
	assert_false(out.present);
	assert_int_equal(lock_state_parse(span_of("\xa0", 1), &out), REASON_MALFORMED);
	assert_int_equal(lock_state_parse(span_of("\xff", 1), &out), REASON_MALFORMED);
	assert_int_equal(lock_state_parse(span_of("\xa1\x64"
						  "bolt\x01",
						  7),
					  &out),
			 REASON_MALFORMED);
}

static void since_carries_one_number_and_nothing_else(void **state)
{
	static const uint64_t values[] = {0, 23, 24, 70000, INT64_MAX};
	static const char *const bad[] = {"",
					  "a0",
					  "a16573696e6365",
					  "a16573696e636520",
					  "a16573696e63656130",
					  "a16573696e6365f6",
					  "a26573696e636501616101",
					  "a16573696e63650100",
					  "a1616101",
					  "8201",
					  "a16573696e63651b8000000000000000"};
	uint8_t buf[32];
	uint64_t n;

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		int len = since_encode(values[i], buf, sizeof(buf));

		assert_true(len > 0);
		assert_true(since_parse(span_of(buf, len), &n));
		assert_int_equal(n, values[i]);
		assert_int_equal(since_encode(values[i], buf, (size_t)len - 1), -ENOSPC);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct span s = vectors_hex(bad[i]);

		if (since_parse(s, &n))
			fail_msg("%s", bad[i]);
		vectors_free(s);
	}
}

static void an_advert_is_eight_bytes(void **state)
{
	struct advert in = {
		.profile = 1, .attention = true, .random = {5, 6}, .applied = {1, 2, 3, 4}};
	struct advert out;
	uint8_t buf[ADVERT_LEN + 1] = {0};

	advert_encode(&in, buf);
	assert_memory_equal(buf, "\x01\x02\x05\x06\x01\x02\x03\x04", ADVERT_LEN);
	assert_true(advert_parse(span_of(buf, ADVERT_LEN), &out));
	assert_true(out.attention && !out.unowned);
	assert_int_equal(out.profile, 1);
	assert_memory_equal(out.random, in.random, 2);
	assert_memory_equal(out.applied, in.applied, 4);
	in.unowned = true;
	in.attention = false;
	advert_encode(&in, buf);
	assert_int_equal(buf[1], 1);
	buf[1] = 0xf1; /* flags of a later version */
	assert_true(advert_parse(span_of(buf, ADVERT_LEN), &out));
	assert_true(out.unowned && !out.attention);
	assert_false(advert_parse(span_of(buf, ADVERT_LEN - 1), &out));
	assert_false(advert_parse(span_of(buf, ADVERT_LEN + 1), &out));
	assert_false(advert_parse((struct span){0}, &out));
}

static int setup(void **state)
{
	return crypto_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_result_is_written_and_read_back),
		cmocka_unit_test(the_least_result_is_these_bytes),
		cmocka_unit_test(last_stands_in_a_head_and_only_there),
		cmocka_unit_test(nothing_that_must_be_there_may_be_missing),
		cmocka_unit_test(values_of_a_result_are_judged),
		cmocka_unit_test(words_of_a_later_version_read_as_the_nearest),
		cmocka_unit_test(words_read_back),
		cmocka_unit_test(the_longest_result_fits_a_receipt_and_the_longest_info_a_read),
		cmocka_unit_test(an_info_is_written_and_read_back),
		cmocka_unit_test(a_lock_without_a_nonce_shows_its_challenge),
		cmocka_unit_test(an_info_outside_the_contract_is_malformed),
		cmocka_unit_test(the_hash_of_what_is_applied_does_not_hang_on_its_order),
		cmocka_unit_test(the_state_of_a_lock_is_for_readers),
		cmocka_unit_test(since_carries_one_number_and_nothing_else),
		cmocka_unit_test(an_advert_is_eight_bytes),
	};

	return cmocka_run_group_tests_name("result", tests, setup, NULL);
}
