// SPDX-License-Identifier: Apache-2.0
/* Tokens signed, their caps, those that others published, and words. */
#include "unit/token-fixture.h"

#include <errno.h>
#include <zlib.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_signed_is_read_back_and_deterministic),
		cmocka_unit_test(every_map_that_is_written_is_sorted),
		cmocka_unit_test(each_kind_has_its_cap),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(the_published_status_list_token_is_read),
		cmocka_unit_test(our_typ_of_a_list_is_the_published_one),
		cmocka_unit_test(ids_and_list_names_are_checked),
		cmocka_unit_test(scopes_and_kinds_have_words),
	};

	return cmocka_run_group_tests_name("token-sign", tests, setup, NULL);
}
