// SPDX-License-Identifier: Apache-2.0
/* Tokens read: their form, and each value. */
#include "unit/token-fixture.h"

/* --- form ------------------------------------------------------------------------------------ */
static void each_claim_is_needed_allowed_or_superfluous_as_the_table_says(void **state)
{
	struct token t;

	for (size_t v = 0; v < ARRAY_SIZE(variants); v++) {
		const struct variant *x = &variants[v];

		assert_int_equal(parse_variant(x, x->needs, false, &t), 0);
		assert_int_equal(t.kind, x->kind);
		assert_int_equal(t.has, x->needs);
		assert_int_equal(parse_variant(x, x->needs | x->may, false, &t), 0);
		for (size_t i = 0; i < ARRAY_SIZE(claims); i++) {
			unsigned bit = claims[i].bit;
			int want = x->may & bit ? 0 : REASON_MALFORMED;
			int got = parse_variant(x, x->needs ^ bit, false, &t);

			if (got != want)
				fail_msg("%s, claim %lld: %d", x->typ, (long long)claims[i].label,
					 got);
		}
	}
}

static void an_authorization_with_challenge_and_phone_key_is_malformed(void **state)
{
	struct token t;
	unsigned has = AUTHORIZATION | CLAIM_CNONCE | CLAIM_CNF | CLAIM_STATUS;

	assert_int_equal(parse_variant(&variants[3], has, false, &t), REASON_MALFORMED);
	assert_int_equal(parse_variant(&variants[3], has | CLAIM_SUB, false, &t), REASON_MALFORMED);
	assert_int_equal(parse_variant(&variants[3], AUTHORIZATION | CLAIM_STATUS, false, &t),
			 REASON_MALFORMED);
}

static void unsorted_maps_and_longer_integers_are_accepted_and_verify(void **state)
{
	struct token t;

	for (size_t v = 0; v < ARRAY_SIZE(variants); v++) {
		const struct variant *x = &variants[v];

		assert_int_equal(parse_variant(x, x->needs | x->may, true, &t), 0);
		assert_int_equal(t.kind, x->kind);
		assert_int_equal(t.cose.alg, COSE_EDDSA);
		assert_int_equal(cose_verify(&t.cose, signer.pub), 0);
		if (t.has & CLAIM_IAT)
			assert_int_equal(t.iat, NOW);
	}
}

static void every_claim_is_read_as_it_was_written(void **state)
{
	struct token t;

	for (int odd = 0; odd <= 1; odd++) {
		assert_int_equal(
			parse_variant(&variants[3], variants[3].needs | variants[3].may, odd, &t),
			0);
		assert_true(span_is(t.iss, "ernas-stad-17"));
		assert_true(span_is(t.sub, URI));
		assert_true(span_is(t.aud, "lock-1"));
		assert_int_equal(t.exp, NOW + 60);
		assert_int_equal(t.nbf, NOW - 5);
		assert_true(span_is(t.cti, "0123456789abcdef"));
		assert_true(span_is(t.cnonce, "87654321"));
		assert_int_equal(t.scope, SCOPE_UNLOCK);
		assert_int_equal(t.status_idx, 4711);
		assert_true(span_is(t.status_uri, URI));
		assert_true(t.posture.has_pin && t.posture.pin && t.posture.has_checked);
		assert_int_equal(t.posture.checked, NOW - 60);
		assert_true(span_is(t.posture.app, "se.example.app"));
		assert_true(span_is(t.posture.platform, "android"));

		assert_int_equal(
			parse_variant(&variants[2], variants[2].needs | CLAIM_CHANGED, odd, &t), 0);
		assert_int_equal(t.ttl, 3600);
		assert_int_equal(t.bits, 2);
		assert_true(span_is(t.lst, "zlib"));
		assert_int_equal(t.changed, NOW - 1000);

		assert_int_equal(parse_variant(&variants[5], variants[5].needs, odd, &t), 0);
		assert_memory_equal(t.cnf.pub, phone.pub, PUBLIC_LEN);
		assert_memory_equal(t.cnf.kid, phone.kid, DIGEST_LEN);
		assert_int_equal(t.scope, SCOPE_UNLATCH);
		assert_int_equal(parse_variant(&variants[8], variants[8].needs, odd, &t), 0);
		assert_memory_equal(t.key.pub, phone.pub, PUBLIC_LEN);
	}
	assert_int_equal(parse_variant(&variants[2], variants[2].needs, false, &t), 0);
	assert_int_equal(t.changed, NOW); /* a list that does not say changed with its iat */
}

static void the_outer_tag_must_be_that_of_the_kind(void **state)
{
	struct token t;

	for (size_t v = 0; v < ARRAY_SIZE(variants); v++) {
		struct variant wrong = variants[v];

		wrong.cwt_tag = !wrong.cwt_tag;
		assert_int_equal(parse_variant(&wrong, wrong.needs, false, &t), REASON_MALFORMED);
		assert_int_equal(parse_variant(&wrong, wrong.needs, true, &t), REASON_MALFORMED);
	}
}

static void a_typ_of_no_kind_is_malformed(void **state)
{
	static const char *const typs[] = {"",
					   "lockbridge-keys",
					   "lockbridge-key+cwt",
					   "Lockbridge-keys+cwt",
					   "application/",
					   "application/application/lockbridge-keys+cwt"};
	struct variant v = variants[0];
	struct token t;

	for (size_t i = 0; i < ARRAY_SIZE(typs); i++) {
		v.typ = typs[i];
		assert_int_equal(parse_variant(&v, v.needs, true, &t), REASON_MALFORMED);
	}
}

/* --- values ---------------------------------------------------------------------------------- */
static void set_aud(struct token *t, const char *s)
{
	t->aud = span_str(s);
}

static void values_outside_the_contract_are_malformed(void **state)
{
	static const char long_id[] = "123456789012345678901234567890123";
	struct token t;
	char uri[URI_MAX + 2];

	memset(uri, 'a', sizeof(uri));
	memcpy(uri, "https://", 8);
	t = relayed();
	assert_int_equal(token_check(&t), 0);
#define BAD(change)                                                                                \
	do {                                                                                       \
		t = base;                                                                          \
		change;                                                                            \
		if (token_check(&t) != REASON_MALFORMED)                                           \
			fail_msg("%s", #change);                                                   \
	} while (0)
#define GOOD(change)                                                                               \
	do {                                                                                       \
		t = base;                                                                          \
		change;                                                                            \
		if (token_check(&t) != 0)                                                          \
			fail_msg("%s", #change);                                                   \
	} while (0)
	struct token base = relayed();

	BAD(t.exp = t.iat);
	BAD(t.exp = t.iat - 1);
	BAD(t.nbf = t.exp + 1);
	GOOD(t.nbf = t.exp);
	BAD(t.exp = TIME_MAX + 1);
	GOOD(t.exp = TIME_MAX);
	BAD((t.iat = UINT64_MAX - 1, t.exp = UINT64_MAX));
	BAD(t.posture.checked = TIME_MAX + 1);
	BAD(set_aud(&t, ""));
	BAD(set_aud(&t, long_id));
	GOOD(set_aud(&t, long_id + 1));
	BAD(set_aud(&t, "Lock"));
	BAD(set_aud(&t, "lock_1"));
	BAD(set_aud(&t, "l\xc3\xa5s"));
	BAD(t.aud.len = 0);
	BAD(t.iss.len = 0);
	BAD(t.sub.len = 0);
	BAD(t.status_uri.len = 0);
	BAD(t.status_uri = span_of(uri, URI_MAX + 1));
	GOOD(t.status_uri = span_of(uri, URI_MAX));
	BAD(t.cti.len = 15);
	BAD(t.cti.len = 8);
	BAD(t.cnonce.len = 7);
	BAD(t.scope = SCOPE_NONE);
	BAD(t.kind = TOKEN_KINDS);
	BAD(t.kind = TOKEN_RELEASE);
	GOOD(t.posture = (struct posture){0});

	base = list();
	GOOD((void)0);
	BAD(t.sub = span_str("https://city.example/list/keys"));
	BAD(t.sub = span_str("https://city.example/list/policy"));
	BAD(t.sub = span_str("https://city.example/list/"));
	BAD(t.sub = span_str("https://city.example/list/Staff"));
	BAD(t.ttl = 0);
	BAD(t.bits = 0);
	BAD(t.bits = 3);
	BAD(t.lst.len = 0);
	BAD(t.changed = t.iat + 1);
#undef BAD
#undef GOOD
}

static void a_receipt_may_carry_the_digest_of_a_document(void **state)
{
	struct token t = {
		.kind = TOKEN_RECEIPT,
		.has = CLAIM_ISS | CLAIM_IAT | CLAIM_RESULT | CLAIM_CTI,
		.iss = span_str("lock-1"),
		.iat = NOW,
		.result = span_of("\xa0", 1),
		.cti = span_of("0123456789abcdef", 16),
	};

	assert_int_equal(token_check(&t), 0);
	t.cti.len = 8;
	assert_int_equal(token_check(&t), 0);
	t.cti.len = 9;
	assert_int_equal(token_check(&t), REASON_MALFORMED);
	t.cti.len = 16;
	t.iss = span_str("Not A Lock");
	assert_int_equal(token_check(&t), REASON_MALFORMED);
}

/* One claim whose value is of the wrong shape, in an otherwise good authorization or list. */
static void values_of_the_wrong_shape_are_malformed(void **state)
{
	static const struct {
		const char *what, *hex;
		bool not_cbor; /* refused before the claims are looked at */
	} cases[] = {
		{"iss as bytes", "a1014161"},
		{"aud as an array", "a10381656c6f636b31"},
		{"exp negative", "a10420"},
		{"iat with tag 1", "a106c11a6b49d200"},
		{"iat as text", "a1066131"},
		{"cti as text", "a1077030313233343536373839616263646566"},
		{"cnf empty", "a108a0"},
		{"cnf with a kid", "a108a1034100"},
		{"cnf with two members", "a108a201a0034100"},
		{"cnf of another type", "a108a101a10102"},
		{"scope as a number", "a10901"},
		{"status without idx", "a119ffffa16b7374617475735f6c697374a1637572696161"},
		{"status with more",
		 "a119ffffa16b7374617475735f6c697374a3637572696161636964780062616100"},
		{"status of another kind", "a119ffffa16161a0"},
		{"status beside another",
		 "a119ffffa26b7374617475735f6c697374a26375726961616369647800616100"},
		{"posture pin as number", "a13a00011170a16370696e01"},
		{"posture with number keys", "a13a00011170a10001"},
		{"a claim of nobody", "a1182a00"},
		{"a private claim of nobody", "a13a0001117600"},
		{"a claim named by text", "a1636973736161"},
		{"no map", "80"},
		{"a float inside", "a13a00011172a16161f93c00", true},
		{"a claim twice", "a20601180601", true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct span s = vectors_hex(cases[i].hex);
		struct token t = {0};

		if (cbor_well_formed(s) == cases[i].not_cbor)
			fail_msg("%s: well-formed?", cases[i].what);
		if (token_read_claims(s, &t) != REASON_MALFORMED)
			fail_msg("%s", cases[i].what);
		vectors_free(s);
	}
}

/* Around a key that is good in itself. */
static void a_confirmation_is_one_key_of_ours_under_label_1(void **state)
{
	static const struct {
		const char *before, *after;
		int reason;
	} cases[] = {
		{"a108a101", "", 0},
		{"a108a102", "", REASON_MALFORMED},
		{"a108a103", "", REASON_MALFORMED},
		{"a108a201", "034100", REASON_MALFORMED},
		{"a10881", "", REASON_MALFORMED},
		{"a13a00011175", "", 0},
		{"a13a0001117581", "", REASON_MALFORMED},
	};
	static const uint8_t other[] = {0xa2, 1, 2, 0x20, 1}; /* {1: 2, -1: 1}: P-256 */
	uint8_t body[256];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (int theirs = 0; theirs <= 1; theirs++) {
			struct odd o = {.odd = false};
			struct token t = {0};
			uint8_t hex[16];
			int n = hex_decode(span_str(cases[i].before), hex, sizeof(hex));

			cbor_writer_init(&o.w, body, sizeof(body));
			cbor_put_raw(&o.w, span_of(hex, n));
			if (theirs)
				cbor_put_raw(&o.w, SPAN(other));
			else
				cose_key(&o, &phone);
			n = hex_decode(span_str(cases[i].after), hex, sizeof(hex));
			cbor_put_raw(&o.w, span_of(hex, n));
			assert_true(cbor_well_formed(span_of(body, o.w.len)));
			assert_int_equal(token_read_claims(span_of(body, o.w.len), &t),
					 theirs ? REASON_MALFORMED : cases[i].reason);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_claim_is_needed_allowed_or_superfluous_as_the_table_says),
		cmocka_unit_test(an_authorization_with_challenge_and_phone_key_is_malformed),
		cmocka_unit_test(unsorted_maps_and_longer_integers_are_accepted_and_verify),
		cmocka_unit_test(every_claim_is_read_as_it_was_written),
		cmocka_unit_test(the_outer_tag_must_be_that_of_the_kind),
		cmocka_unit_test(a_typ_of_no_kind_is_malformed),
		cmocka_unit_test(values_outside_the_contract_are_malformed),
		cmocka_unit_test(a_receipt_may_carry_the_digest_of_a_document),
		cmocka_unit_test(values_of_the_wrong_shape_are_malformed),
		cmocka_unit_test(a_confirmation_is_one_key_of_ours_under_label_1),
	};

	return cmocka_run_group_tests_name("token", tests, setup, NULL);
}
