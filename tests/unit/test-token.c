// SPDX-License-Identifier: Apache-2.0
/*
 * Tokens. The payloads here come from a writer of the test's own, which can sort maps the other way
 * round and write integers longer than needed, so that token-encode.c does not vouch for itself.
 */
#include "unit/vectors.h"

#include "core/cbor.h"
#include "core/token.h"

#include <errno.h>
#include <zlib.h>

enum { NOW = 1800000000 };
#define URI "https://city.example/list/staff"

static struct signer signer;
static struct key phone;

/* --- the test's own writer ------------------------------------------------------------------- */
struct odd {
	struct cbor_writer w;
	bool odd; /* eight-byte heads, maps from the last pair to the first */
};

static void head(struct odd *o, unsigned major, uint64_t arg)
{
	uint8_t b[9] = {(uint8_t)(major << 5 | 27)};

	for (int i = 8; i > 0; i--, arg >>= 8)
		b[i] = (uint8_t)arg;
	cbor_put_raw(&o->w, SPAN(b));
}

static void integer(struct odd *o, int64_t v)
{
	if (!o->odd)
		cbor_put_int(&o->w, v);
	else if (v >= 0)
		head(o, 0, (uint64_t)v);
	else
		head(o, 1, (uint64_t)(-1 - v));
}

static void string(struct odd *o, unsigned major, struct span s)
{
	if (o->odd) {
		head(o, major, s.len);
		cbor_put_raw(&o->w, s);
	} else if (major == 2) {
		cbor_put_bytes(&o->w, s);
	} else {
		cbor_put_text(&o->w, s);
	}
}

static void text(struct odd *o, const char *s)
{
	string(o, 3, span_str(s));
}

static void many(struct odd *o, unsigned major, size_t n)
{
	if (o->odd)
		head(o, major, n);
	else if (major == 4)
		cbor_put_array(&o->w, n);
	else
		cbor_put_map(&o->w, n);
}

static void cose_key(struct odd *o, const struct key *key)
{
	many(o, 5, 5);
	integer(o, -2);
	string(o, 2, SPAN(key->pub));
	integer(o, -1);
	integer(o, 6);
	integer(o, 3);
	integer(o, COSE_EDDSA);
	integer(o, 2);
	string(o, 2, SPAN(key->kid));
	integer(o, 1);
	integer(o, 1);
}

static const struct {
	unsigned bit;
	int64_t label;
} claims[] = {
	{CLAIM_ISS, 1},
	{CLAIM_SUB, 2},
	{CLAIM_AUD, 3},
	{CLAIM_EXP, 4},
	{CLAIM_NBF, 5},
	{CLAIM_IAT, 6},
	{CLAIM_CTI, 7},
	{CLAIM_CNF, 8},
	{CLAIM_SCOPE, 9},
	{CLAIM_CNONCE, 39},
	{CLAIM_STATUS_LIST, 65533},
	{CLAIM_TTL, 65534},
	{CLAIM_STATUS, 65535},
	{CLAIM_POSTURE, -70001},
	{CLAIM_KEYS, -70002},
	{CLAIM_POLICY, -70003},
	{CLAIM_RESULT, -70004},
	{CLAIM_CHANGED, -70005},
	{CLAIM_KEY, -70006},
};

/* What the contract's table says of each kind; authorization in its three shapes. */
static const struct variant {
	const char *typ;
	enum token_kind kind;
	const char *scope;
	bool cwt_tag;
	unsigned needs, may;
} variants[] = {
	{"lockbridge-keys+cwt", TOKEN_KEYS, NULL, true, CLAIM_IAT | CLAIM_KEYS,
	 CLAIM_ISS | CLAIM_EXP},
	{"lockbridge-policy+cwt", TOKEN_POLICY, NULL, true, CLAIM_IAT | CLAIM_POLICY,
	 CLAIM_ISS | CLAIM_EXP},
	{"statuslist+cwt", TOKEN_LIST, NULL, false,
	 CLAIM_SUB | CLAIM_IAT | CLAIM_EXP | CLAIM_TTL | CLAIM_STATUS_LIST,
	 CLAIM_ISS | CLAIM_CHANGED},
#define AUTHORIZATION                                                                              \
	(CLAIM_ISS | CLAIM_AUD | CLAIM_IAT | CLAIM_NBF | CLAIM_EXP | CLAIM_CTI | CLAIM_SCOPE)
	{"lockbridge-authorization+cwt", TOKEN_AUTHORIZATION, "unlock", true,
	 AUTHORIZATION | CLAIM_CNONCE | CLAIM_SUB | CLAIM_STATUS, CLAIM_POSTURE},
	{"lockbridge-authorization+cwt", TOKEN_AUTHORIZATION, "lock", true,
	 AUTHORIZATION | CLAIM_CNONCE | CLAIM_SUB | CLAIM_STATUS, CLAIM_POSTURE},
	{"lockbridge-authorization+cwt", TOKEN_AUTHORIZATION, "unlatch", true,
	 AUTHORIZATION | CLAIM_CNF | CLAIM_STATUS, 0},
	{"lockbridge-authorization+cwt", TOKEN_AUTHORIZATION, "read", true,
	 AUTHORIZATION | CLAIM_CNF, 0},
	{"lockbridge-presentation+cwt", TOKEN_PRESENTATION, NULL, true,
	 CLAIM_AUD | CLAIM_CNONCE | CLAIM_CTI, 0},
	{"lockbridge-claim+cwt", TOKEN_CLAIM, NULL, true, CLAIM_AUD | CLAIM_IAT | CLAIM_KEY,
	 CLAIM_ISS | CLAIM_EXP},
	{"lockbridge-release+cwt", TOKEN_RELEASE, NULL, true, CLAIM_AUD | CLAIM_IAT,
	 CLAIM_ISS | CLAIM_EXP},
	{"lockbridge-receipt+cwt", TOKEN_RECEIPT, NULL, true, CLAIM_ISS | CLAIM_IAT | CLAIM_RESULT,
	 CLAIM_CTI},
};

static void status(struct odd *o)
{
	many(o, 5, 1);
	text(o, "status_list");
	many(o, 5, 2);
	text(o, "uri");
	text(o, URI);
	text(o, "idx");
	integer(o, 4711);
}

static void status_list(struct odd *o)
{
	many(o, 5, 3);
	text(o, "aggregation_uri");
	text(o, "https://city.example/lists");
	text(o, "bits");
	integer(o, 2);
	text(o, "lst");
	string(o, 2, span_str("zlib"));
}

static void posture(struct odd *o)
{
	many(o, 5, 5);
	text(o, "platform");
	text(o, "android");
	text(o, "checked");
	integer(o, NOW - 60);
	text(o, "pin");
	cbor_put_bool(&o->w, true);
	text(o, "later");
	many(o, 4, 0);
	text(o, "app");
	text(o, "se.example.app");
}

static void value(struct odd *o, unsigned bit, const char *scope)
{
	switch (bit) {
	case CLAIM_ISS:
		return text(o, "ernas-stad-17");
	case CLAIM_SUB:
		return text(o, URI);
	case CLAIM_AUD:
		return text(o, "lock-1");
	case CLAIM_EXP:
		return integer(o, NOW + 60);
	case CLAIM_NBF:
		return integer(o, NOW - 5);
	case CLAIM_IAT:
		return integer(o, NOW);
	case CLAIM_CTI:
		return string(o, 2, span_of("0123456789abcdef", 16));
	case CLAIM_CNF:
		many(o, 5, 1);
		integer(o, 1);
		return cose_key(o, &phone);
	case CLAIM_SCOPE:
		return text(o, scope ? scope : "unlock");
	case CLAIM_CNONCE:
		return string(o, 2, span_of("87654321", 8));
	case CLAIM_STATUS:
		return status(o);
	case CLAIM_TTL:
		return integer(o, 3600);
	case CLAIM_STATUS_LIST:
		return status_list(o);
	case CLAIM_POSTURE:
		return posture(o);
	case CLAIM_KEYS:
		many(o, 4, 1);
		return cose_key(o, &phone);
	case CLAIM_POLICY:
	case CLAIM_RESULT:
		return many(o, 5, 0);
	case CLAIM_CHANGED:
		return integer(o, NOW - 1000);
	case CLAIM_KEY:
		return cose_key(o, &phone);
	default:
		fail_msg("claim %x", bit);
	}
}

static struct span payload(unsigned has, const char *scope, bool odd, uint8_t *buf, size_t cap)
{
	struct odd o = {.odd = odd};

	cbor_writer_init(&o.w, buf, cap);
	many(&o, 5, (size_t)__builtin_popcount(has));
	for (size_t i = 0; i < ARRAY_SIZE(claims); i++) {
		size_t k = odd ? ARRAY_SIZE(claims) - 1 - i : i;

		if (!(has & claims[k].bit))
			continue;
		integer(&o, claims[k].label);
		value(&o, claims[k].bit, scope);
	}
	assert_false(o.w.failed);
	return span_of(buf, o.w.len);
}

/* A whole document with odd heads everywhere; typ with or without its prefix. */
static struct span odd_document(const char *typ, bool cwt_tag, struct span body, uint8_t *buf,
				size_t cap)
{
	uint8_t header[256], tbs[2048], signature[SIGNATURE_LEN];
	struct odd p = {.odd = true}, o = {.odd = true};
	struct cbor_writer s;

	cbor_writer_init(&p.w, header, sizeof(header));
	many(&p, 5, 3);
	integer(&p, 16);
	text(&p, typ);
	integer(&p, 4);
	string(&p, 2, SPAN(signer.kid));
	integer(&p, 1);
	integer(&p, COSE_EDDSA);
	assert_false(p.w.failed);

	/* RFC 9052 section 4.4: the structure that is signed is always written the shortest way */
	cbor_writer_init(&s, tbs, sizeof(tbs));
	cbor_put_array(&s, 4);
	cbor_put_text(&s, span_str("Signature1"));
	cbor_put_bytes(&s, span_of(header, p.w.len));
	cbor_put_bytes(&s, span_str(""));
	cbor_put_bytes(&s, body);
	assert_false(s.failed);
	signer_sign(&signer, span_of(tbs, s.len), signature);

	cbor_writer_init(&o.w, buf, cap);
	if (cwt_tag)
		head(&o, 6, 61);
	head(&o, 6, 18);
	many(&o, 4, 4);
	string(&o, 2, span_of(header, p.w.len));
	many(&o, 5, 0);
	string(&o, 2, body);
	string(&o, 2, SPAN(signature));
	assert_false(o.w.failed);
	return span_of(buf, o.w.len);
}

static int parse_variant(const struct variant *v, unsigned has, bool odd, struct token *ret)
{
	static uint8_t body[1024], buf[2048];
	struct span p = payload(has, v->scope, odd, body, sizeof(body));
	char typ[80];
	int len;

	snprintf(typ, sizeof(typ), "application/%s", v->typ);
	if (odd)
		return token_parse(odd_document(v->typ, v->cwt_tag, p, buf, sizeof(buf)), ret);
	len = cose_sign(&signer, typ, v->cwt_tag, p, buf, sizeof(buf));
	assert_true(len > 0);
	return token_parse(span_of(buf, len), ret);
}

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
static struct token relayed(void)
{
	return (struct token){
		.kind = TOKEN_AUTHORIZATION,
		.has = variants[3].needs | CLAIM_POSTURE,
		.iss = span_str("city"),
		.sub = span_str("p-77"),
		.aud = span_str("lock-1"),
		.iat = NOW,
		.nbf = NOW,
		.exp = NOW + 60,
		.cti = span_str("0123456789abcdef"),
		.cnonce = span_str("87654321"),
		.scope = SCOPE_UNLOCK,
		.status_idx = 7,
		.status_uri = span_str(URI),
		.posture = {.has_pin = true, .pin = true},
	};
}

static struct token list(void)
{
	return (struct token){
		.kind = TOKEN_LIST,
		.has = variants[2].needs | CLAIM_CHANGED,
		.sub = span_str(URI),
		.iat = NOW,
		.exp = NOW + 86400,
		.ttl = 3600,
		.bits = 2,
		.lst = span_str("x"),
		.changed = NOW,
	};
}

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

/* --- signing --------------------------------------------------------------------------------- */
static void what_is_signed_is_read_back_and_deterministic(void **state)
{
	struct token in[] = {relayed(), list()}, out;
	uint8_t buf[1024], again[1024];

	for (size_t i = 0; i < ARRAY_SIZE(in); i++) {
		int len = token_sign(&in[i], &signer, buf, sizeof(buf));

		assert_true(len > 0);
		assert_int_equal(token_sign(&in[i], &signer, again, (size_t)len), len);
		assert_memory_equal(buf, again, (size_t)len);
		assert_int_equal(token_sign(&in[i], &signer, again, (size_t)len - 1), -ENOSPC);
		assert_int_equal(token_parse(span_of(buf, len), &out), 0);
		assert_int_equal(out.kind, in[i].kind);
		assert_int_equal(out.has, in[i].has);
		assert_int_equal(out.exp, in[i].exp);
		assert_true(span_is(out.cose.typ, token_typ(in[i].kind)));
		assert_int_equal(cose_verify(&out.cose, signer.pub), 0);
		in[i].has |= CLAIM_TTL;
		in[i].has ^= CLAIM_IAT;
		assert_int_equal(token_sign(&in[i], &signer, again, sizeof(again)), -EINVAL);
	}
}

/* Keys of each map ascend bytewise by their encodings: RFC 8949 section 4.2.1. */
static void check_sorted(struct cbor_reader *r)
{
	struct span before = {0}, key;
	size_t n;

	switch (cbor_peek(r)) {
	case CBOR_MAP:
		n = cbor_enter_map(r);
		for (size_t i = 0; i < n; i++) {
			key = cbor_skip(r);
			if (before.data) {
				size_t len = key.len < before.len ? key.len : before.len;

				assert_true(memcmp(before.data, key.data, len) < 0);
			}
			before = key;
			check_sorted(r);
		}
		cbor_leave(r);
		break;
	case CBOR_ARRAY:
		n = cbor_enter_array(r);
		for (size_t i = 0; i < n; i++)
			check_sorted(r);
		cbor_leave(r);
		break;
	case CBOR_TAG:
		cbor_tag(r);
		check_sorted(r);
		break;
	default:
		cbor_skip(r);
	}
	assert_false(r->failed);
}

static void every_map_that_is_written_is_sorted(void **state)
{
	struct posture all = {.has_pin = true,
			      .app = span_str("a"),
			      .platform = span_str("ios"),
			      .has_checked = true,
			      .checked = NOW};
	struct token at_door = relayed(), in[4] = {relayed(), list()};
	uint8_t buf[1024], keys[512];
	struct cbor_writer w;
	struct cbor_reader r;
	struct token out;

	in[0].posture = all;
	at_door.has = variants[5].needs;
	at_door.cnf = phone;
	in[2] = at_door;
	cbor_writer_init(&w, keys, sizeof(keys));
	phone.roles = ROLE_ROOT | ROLE_AUTHORIZE;
	keyset_put(&w, &phone, 1);
	in[3] = (struct token){.kind = TOKEN_KEYS,
			       .has = CLAIM_IAT | CLAIM_KEYS,
			       .iat = NOW,
			       .keys = span_of(keys, w.len)};
	for (size_t i = 0; i < ARRAY_SIZE(in); i++) {
		int len = token_sign(&in[i], &signer, buf, sizeof(buf));

		assert_true(len > 0);
		cbor_reader_init(&r, span_of(buf, len));
		check_sorted(&r);
		assert_int_equal(token_parse(span_of(buf, len), &out), 0);
		cbor_reader_init(&r, out.cose.payload);
		check_sorted(&r);
		cbor_reader_init(&r, out.cose.protected_);
		check_sorted(&r);
		if (out.has & CLAIM_CNF)
			assert_int_equal(out.cnf.roles, 0);
	}
	phone.roles = 0;
}

static void each_kind_has_its_cap(void **state)
{
	static uint8_t buf[TOKEN_LIST_MAX + COSE_OVERHEAD], lst[TOKEN_LIST_MAX];
	struct token t = list(), out;
	int len;

	memset(lst, 0x5a, sizeof(lst));
	t.lst = span_of(lst, TOKEN_LIST_MAX - 400);
	len = token_sign(&t, &signer, buf, sizeof(buf));
	assert_true(len > 0 && len <= TOKEN_LIST_MAX);
	t.lst.len += (size_t)(TOKEN_LIST_MAX - len);
	assert_int_equal(token_sign(&t, &signer, buf, sizeof(buf)), TOKEN_LIST_MAX);
	assert_int_equal(token_parse(span_of(buf, TOKEN_LIST_MAX), &out), 0);
	t.lst.len++;
	assert_int_equal(token_sign(&t, &signer, buf, sizeof(buf)), -ENOSPC);
	for (unsigned kind = 0; kind < TOKEN_KINDS; kind++) {
		size_t max = token_max((enum token_kind)kind);
		int want = max == TOKEN_SMALL_MAX ? REASON_MALFORMED : REASON_TOO_LARGE;

		len = cose_sign(&signer, token_typ((enum token_kind)kind),
				token_has_cwt_tag((enum token_kind)kind), span_of(lst, max), buf,
				sizeof(buf));
		assert_true((size_t)len > max);
		assert_int_equal(token_parse(span_of(buf, len), &out), want);
		assert_int_equal(out.kind, kind);
	}
}

static void every_truncation_is_refused(void **state)
{
	struct token t = relayed(), out;
	uint8_t buf[1024];
	int len = token_sign(&t, &signer, buf, sizeof(buf));

	for (int n = 0; n < len; n++) {
		uint8_t *copy = malloc(n ? (size_t)n : 1);

		assert_non_null(copy);
		memcpy(copy, buf, (size_t)n);
		assert_int_equal(token_parse(span_of(copy, n), &out), REASON_MALFORMED);
		assert_int_equal(out.kind, TOKEN_KINDS);
		free(copy);
	}
}

/* --- published documents ----------------------------------------------------------------------- */
static struct span payload_of(struct span document)
{
	struct cbor_reader r;
	struct span p;

	cbor_reader_init(&r, document);
	assert_int_equal(cbor_tag(&r), 18);
	cbor_enter_array(&r);
	cbor_skip(&r);
	cbor_skip(&r);
	p = cbor_bytes(&r);
	assert_false(r.failed);
	return p;
}

static void the_published_status_list_token_is_read(void **state)
{
	json_t *root = vectors_load("token-status-list.json"), *tokens;
	struct span document, referenced;
	struct token t = {.kind = TOKEN_LIST}, r = {0};
	uint8_t raw[16];
	uLongf len = sizeof(raw);

	tokens = json_object_get(root, "tokens");
	document = vectors_hex(
		json_string_value(json_object_get(tokens, "status_list_token_cwt_hex")));
	/* its kid stands in the unprotected header: not of our profile */
	assert_int_equal(token_parse(document, &r), REASON_MALFORMED);
	assert_int_equal(token_read_claims(payload_of(document), &t), 0);
	assert_int_equal(token_check(&t), 0);
	assert_true(span_is(t.sub, "https://example.com/statuslists/1"));
	assert_true(span_is(list_name(t.sub), "1"));
	assert_int_equal(t.iat, 1686920170);
	assert_int_equal(t.exp, 2291720170);
	assert_int_equal(t.ttl, 43200);
	assert_int_equal(t.bits, 1);
	assert_int_equal(uncompress(raw, &len, t.lst.data, t.lst.len), Z_OK);
	assert_int_equal(len, 2);
	assert_memory_equal(raw, "\xb9\xa3", 2);

	referenced =
		vectors_hex(json_string_value(json_object_get(tokens, "referenced_token_cwt_hex")));
	r = (struct token){0};
	assert_int_equal(token_read_claims(payload_of(referenced), &r), 0);
	assert_int_equal(r.has, CLAIM_SUB | CLAIM_ISS | CLAIM_IAT | CLAIM_EXP | CLAIM_STATUS);
	assert_true(span_is(r.sub, "12345"));
	assert_int_equal(r.status_idx, 0);
	assert_true(span_is(r.status_uri, "https://example.com/statuslists/1"));
	vectors_free(document);
	vectors_free(referenced);
	json_decref(root);
}

static void our_typ_of_a_list_is_the_published_one(void **state)
{
	json_t *root = vectors_load("token-status-list.json");
	struct span document = vectors_hex(json_string_value(
		json_object_get(json_object_get(root, "tokens"), "status_list_token_cwt_hex")));
	struct cbor_reader r;
	struct span header;

	cbor_reader_init(&r, document);
	cbor_tag(&r);
	cbor_enter_array(&r);
	header = cbor_bytes(&r);
	cbor_reader_init(&r, header);
	assert_int_equal(cbor_enter_map(&r), 2);
	cbor_skip(&r);
	cbor_skip(&r);
	assert_int_equal(cbor_int(&r), 16);
	assert_true(span_is(cbor_text(&r), token_typ(TOKEN_LIST)));
	vectors_free(document);
	json_decref(root);
}

/* --- words ------------------------------------------------------------------------------------- */
static void ids_and_list_names_are_checked(void **state)
{
	static const struct {
		const char *uri, *name;
	} cases[] = {
		{"https://city.example/list/staff", "staff"},
		{"https://city.example/list/a-1", "a-1"},
		{"/x", "x"},
		{"staff", NULL},
		{"", NULL},
		{"https://city.example/list/", NULL},
		{"https://city.example/list/Staff", NULL},
		{"https://city.example/list/staff?x=1", NULL},
		{"https://city.example/list/staff#1", NULL},
		{"https://city.example/keys", NULL},
		{"https://city.example/policy", NULL},
		{"https://city.example/policy1", "policy1"},
		{"https://city.example/123456789012345678901234567890123", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct span name = list_name(span_str(cases[i].uri));

		if (cases[i].name)
			assert_true(span_is(name, cases[i].name));
		else
			assert_null(name.data);
	}
	assert_true(id_valid(span_str("a")));
	assert_true(id_valid(span_str("az09-")));
	assert_false(id_valid(span_of("a\0", 2)));
	assert_false(id_valid(span_str("+")));
	assert_false(id_valid(span_str("a/b")));
	assert_false(id_valid(span_str("#")));
}

static void scopes_and_kinds_have_words(void **state)
{
	for (unsigned i = SCOPE_UNLOCK; i <= SCOPE_READ; i++)
		assert_int_equal(scope_parse(span_str(scope_word((enum scope)i))), i);
	assert_int_equal(scope_parse(span_str("")), SCOPE_NONE);
	assert_int_equal(scope_parse(span_str("unlock lock")), SCOPE_NONE);
	for (unsigned i = 0; i < TOKEN_KINDS; i++)
		assert_true(strlen(token_kind_word((enum token_kind)i)) >= 4);
	assert_string_equal(token_kind_word(TOKEN_KINDS), "");
	assert_int_equal(token_max(TOKEN_KINDS), 0);
}

static int setup(void **state)
{
	uint8_t seed[SEED_LEN] = {42};
	struct signer s;
	int r = crypto_init();

	signer_from_seed(seed, &signer);
	seed[0]++;
	signer_from_seed(seed, &s);
	key_init(&phone, s.pub, 0);
	return r;
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
		cmocka_unit_test(what_is_signed_is_read_back_and_deterministic),
		cmocka_unit_test(every_map_that_is_written_is_sorted),
		cmocka_unit_test(each_kind_has_its_cap),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(the_published_status_list_token_is_read),
		cmocka_unit_test(our_typ_of_a_list_is_the_published_one),
		cmocka_unit_test(ids_and_list_names_are_checked),
		cmocka_unit_test(scopes_and_kinds_have_words),
	};

	return cmocka_run_group_tests_name("token", tests, setup, NULL);
}
