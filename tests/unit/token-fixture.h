/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Tokens to test with, and a writer of the tests' own, which can sort maps the other way round and
 * write integers longer than needed, so that token-encode.c does not vouch for itself.
 */
#include "unit/vectors.h"

#include "core/cbor.h"
#include "core/token.h"

enum { NOW = 1800000000 };
#define URI "https://city.example/list/staff"

static struct signer signer;
static struct key phone;

/* --- the test's own writer ------------------------------------------------------------------- */
struct odd {
	struct cbor_writer w;
	bool odd; /* eight-byte heads, maps from the last pair to the first */
};

static inline void head(struct odd *o, unsigned major, uint64_t arg)
{
	uint8_t b[9] = {(uint8_t)(major << 5 | 27)};

	for (int i = 8; i > 0; i--, arg >>= 8)
		b[i] = (uint8_t)arg;
	cbor_put_raw(&o->w, SPAN(b));
}

static inline void integer(struct odd *o, int64_t v)
{
	if (!o->odd)
		cbor_put_int(&o->w, v);
	else if (v >= 0)
		head(o, 0, (uint64_t)v);
	else
		head(o, 1, (uint64_t)(-1 - v));
}

static inline void string(struct odd *o, unsigned major, struct span s)
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

static inline void text(struct odd *o, const char *s)
{
	string(o, 3, span_str(s));
}

static inline void many(struct odd *o, unsigned major, size_t n)
{
	if (o->odd)
		head(o, major, n);
	else if (major == 4)
		cbor_put_array(&o->w, n);
	else
		cbor_put_map(&o->w, n);
}

static inline void cose_key(struct odd *o, const struct key *key)
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

static inline void status(struct odd *o)
{
	many(o, 5, 1);
	text(o, "status_list");
	many(o, 5, 2);
	text(o, "uri");
	text(o, URI);
	text(o, "idx");
	integer(o, 4711);
}

static inline void status_list(struct odd *o)
{
	many(o, 5, 3);
	text(o, "aggregation_uri");
	text(o, "https://city.example/lists");
	text(o, "bits");
	integer(o, 2);
	text(o, "lst");
	string(o, 2, span_str("zlib"));
}

static inline void posture(struct odd *o)
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

static inline void value(struct odd *o, unsigned bit, const char *scope)
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

static inline struct span payload(unsigned has, const char *scope, bool odd, uint8_t *buf,
				  size_t cap)
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
static inline struct span odd_document(const char *typ, bool cwt_tag, struct span body,
				       uint8_t *buf, size_t cap)
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

static inline int parse_variant(const struct variant *v, unsigned has, bool odd, struct token *ret)
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

/* --- good ones ------------------------------------------------------------------------------ */
static inline struct token relayed(void)
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

static inline struct token list(void)
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

static inline int setup(void **state)
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
