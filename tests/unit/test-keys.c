// SPDX-License-Identifier: Apache-2.0
/* Key records, key sets, and the order of the three checks on a signed document. */
#include "unit/vectors.h"

#include "core/keys.h"

static struct signer signers[4];
static struct key key[4]; /* root, policy + revoke, authorize, no role */

/* A record around an X of 32 bytes: head, then X, then tail. */
static int read_record(const char *head, const uint8_t *x, const char *tail, struct key *ret)
{
	uint8_t buf[256];
	struct cbor_reader r;
	int n = hex_decode(span_str(head), buf, sizeof(buf)), reason;

	assert_true(n >= 0);
	memcpy(buf + n, x, PUBLIC_LEN);
	n += PUBLIC_LEN;
	n += hex_decode(span_str(tail), buf + n, sizeof(buf) - (size_t)n);
	if (!cbor_well_formed(span_of(buf, n)))
		fail_msg("not well-formed: %s..%s", head, tail);
	cbor_reader_init(&r, span_of(buf, n));
	reason = key_read(&r, ret);
	if (reason == 0 || reason == KEY_OF_OTHER_TYPE)
		assert_true(cbor_done(&r));
	return reason;
}

static void a_record_is_read_in_any_order_and_length(void **state)
{
	static const struct {
		const char *what, *head, *tail;
		int reason;
	} cases[] = {
		{"least", "a301012006215820", "", 0},
		{"unsorted", "a3215820", "20060101", 0},
		{"longer integers", "a3180118013800180638015820", "", 0},
		{"alg -8", "a4010103272006215820", "", 0},
		{"alg -19", "a4010103322006215820", "", 0},
		{"alg ES256", "a4010103262006215820", "", KEY_OF_OTHER_TYPE},
		{"alg as text", "a401010361612006215820", "", KEY_OF_OTHER_TYPE},
		{"type EC2", "a301022001215820", "", KEY_OF_OTHER_TYPE},
		{"type as text", "a30161612006215820", "", KEY_OF_OTHER_TYPE},
		{"curve X25519", "a301012004215820", "", KEY_OF_OTHER_TYPE},
		{"no type", "a22006215820", "", REASON_MALFORMED},
		{"no curve", "a20101215820", "", REASON_MALFORMED},
		{"no x", "a301012006055820", "", REASON_MALFORMED},
		{"x of 33 bytes", "a301012006215821", "00", REASON_MALFORMED},
		{"x as text", "a401012006216161055820", "", REASON_MALFORMED},
		{"a private key", "a401012006215820", "2340", REASON_MALFORMED},
		{"another kid", "a40101024800000000000000002006215820", "", REASON_MALFORMED},
		{"kid as text", "a401010261612006215820", "", REASON_MALFORMED},
		{"members of a later version", "a5010120066161820102215820", "38ff00", 0},
		{"roles not an array", "a401012006215820", "3a0001117900", REASON_MALFORMED},
		{"a role not text", "a401012006215820", "3a000111798100", REASON_MALFORMED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct key k = {0};
		int reason;

		reason = read_record(cases[i].head, signers[0].pub, cases[i].tail, &k);
		if (reason != cases[i].reason)
			fail_msg("%s: %d", cases[i].what, reason);
		if (reason != 0)
			continue;
		assert_memory_equal(k.pub, signers[0].pub, PUBLIC_LEN);
		assert_memory_equal(k.kid, signers[0].kid, DIGEST_LEN);
		assert_int_equal(k.alg, COSE_ED25519);
	}
}

static void roles_that_are_not_known_are_skipped(void **state)
{
	struct key k;

	/* ["root", "janitor", "authorize"] */
	assert_int_equal(read_record("a401012006215820", signers[0].pub,
				     "3a000111798364726f6f74676a616e69746f72"
				     "69617574686f72697a65",
				     &k),
			 0);
	assert_int_equal(k.roles, ROLE_ROOT | ROLE_AUTHORIZE);
}

static struct span put_set(const struct key *keys, size_t n, uint8_t *buf, size_t cap)
{
	struct cbor_writer w;

	cbor_writer_init(&w, buf, cap);
	keyset_put(&w, keys, n);
	assert_false(w.failed);
	return span_of(buf, w.len);
}

static void a_set_is_written_and_read_back(void **state)
{
	uint8_t buf[1024];
	struct keyset set, copy;

	assert_int_equal(keyset_parse(put_set(key, 4, buf, sizeof(buf)), &set), 0);
	assert_int_equal(set.n, 4);
	for (size_t i = 0; i < 4; i++) {
		const struct key *found = keyset_find(&set, SPAN(signers[i].kid));

		assert_ptr_equal(found, &set.keys[i]);
		assert_memory_equal(found->pub, signers[i].pub, PUBLIC_LEN);
		assert_int_equal(found->roles, key[i].roles);
	}
	assert_ptr_equal(set.root, &set.keys[0]);
	assert_null(keyset_find(&set, span_of("12345678", 8)));
	assert_null(keyset_find(&set, span_of(signers[0].kid, 7)));
	keyset_copy(&copy, &set);
	assert_ptr_equal(copy.root, &copy.keys[0]);
}

static void a_set_has_exactly_one_root_and_no_key_twice(void **state)
{
	struct key two[2] = {key[0], key[1]}, same[2] = {key[0], key[0]};
	uint8_t buf[8192];
	struct keyset set;

	assert_int_equal(keyset_parse(put_set(two, 2, buf, sizeof(buf)), &set), 0);
	two[1].roles |= ROLE_ROOT;
	assert_int_equal(keyset_parse(put_set(two, 2, buf, sizeof(buf)), &set), REASON_MALFORMED);
	two[0].roles = two[1].roles = ROLE_POLICY;
	assert_int_equal(keyset_parse(put_set(two, 2, buf, sizeof(buf)), &set), REASON_MALFORMED);
	same[1].roles = ROLE_POLICY;
	assert_int_equal(keyset_parse(put_set(same, 2, buf, sizeof(buf)), &set), REASON_MALFORMED);
	assert_int_equal(keyset_parse(put_set(NULL, 0, buf, sizeof(buf)), &set), REASON_MALFORMED);
	assert_int_equal(keyset_parse(span_str(""), &set), REASON_MALFORMED);
	assert_int_equal(keyset_parse(span_of("\xa0", 1), &set), REASON_MALFORMED);
}

static void a_set_holds_32_keys_and_no_more(void **state)
{
	struct key keys[KEYS_MAX + 1];
	uint8_t buf[8192];
	struct keyset set;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		uint8_t pub[PUBLIC_LEN] = {(uint8_t)i};

		key_init(&keys[i], pub, i == 31 ? ROLE_ROOT : ROLE_POLICY);
	}
	assert_int_equal(keyset_parse(put_set(keys, KEYS_MAX, buf, sizeof(buf)), &set), 0);
	assert_int_equal(set.n, KEYS_MAX);
	assert_ptr_equal(set.root, &set.keys[31]);
	assert_int_equal(keyset_parse(put_set(keys, KEYS_MAX + 1, buf, sizeof(buf)), &set),
			 REASON_MALFORMED);
}

static void keys_of_other_types_are_passed_over(void **state)
{
	uint8_t buf[512];
	struct cbor_writer w;
	struct keyset set;

	cbor_writer_init(&w, buf, sizeof(buf));
	cbor_put_array(&w, 2);
	cbor_put_map(&w, 2); /* {1: 2, -1: 1}: P-256 */
	cbor_put_int(&w, 1);
	cbor_put_int(&w, 2);
	cbor_put_int(&w, -1);
	cbor_put_int(&w, 1);
	key_put(&w, &key[0]);
	assert_int_equal(keyset_parse(span_of(buf, w.len), &set), 0);
	assert_int_equal(set.n, 1);
	assert_ptr_equal(set.root, &set.keys[0]);
}

static void the_three_checks_come_in_their_order(void **state)
{
	uint8_t buf[1024], document[256];
	struct cose_sign1 m;
	struct keyset set;
	int len = cose_sign(&signers[1], "t", true, span_str("x"), document, sizeof(document));

	assert_int_equal(keyset_parse(put_set(key, 4, buf, sizeof(buf)), &set), 0);
	assert_int_equal(cose_parse(span_of(document, len), &m), 0);
	assert_int_equal(keyset_verify(&set, &m, ROLE_POLICY), 0);
	assert_int_equal(keyset_verify(&set, &m, ROLE_REVOKE), 0);
	m.alg = COSE_EDDSA; /* accepted; the header's bytes still say -19 */
	assert_int_equal(keyset_verify(&set, &m, ROLE_POLICY), 0);
	m.alg = -7;
	assert_int_equal(keyset_verify(&set, &m, ROLE_POLICY), REASON_BAD_SIGNATURE);
	m.alg = COSE_ED25519;
	m.payload = span_str("y");
	assert_int_equal(keyset_verify(&set, &m, ROLE_POLICY), REASON_BAD_SIGNATURE);
	assert_int_equal(keyset_verify(&set, &m, ROLE_ROOT), REASON_WRONG_ROLE);
	assert_int_equal(keyset_verify(&set, &m, ROLE_AUTHORIZE), REASON_WRONG_ROLE);
	m.kid = SPAN(signers[3].kid);
	assert_int_equal(keyset_verify(&set, &m, ROLE_AUTHORIZE), REASON_WRONG_ROLE);
	m.kid = span_of("12345678", 8);
	assert_int_equal(keyset_verify(&set, &m, ROLE_AUTHORIZE), REASON_UNKNOWN_KEY);
}

static int setup(void **state)
{
	static const unsigned roles[] = {ROLE_ROOT, ROLE_POLICY | ROLE_REVOKE, ROLE_AUTHORIZE, 0};
	int r = crypto_init();

	for (size_t i = 0; i < ARRAY_SIZE(signers); i++) {
		uint8_t seed[SEED_LEN] = {(uint8_t)(i + 1)};

		signer_from_seed(seed, &signers[i]);
		key_init(&key[i], signers[i].pub, roles[i]);
	}
	return r;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_is_read_in_any_order_and_length),
		cmocka_unit_test(roles_that_are_not_known_are_skipped),
		cmocka_unit_test(a_set_is_written_and_read_back),
		cmocka_unit_test(a_set_has_exactly_one_root_and_no_key_twice),
		cmocka_unit_test(a_set_holds_32_keys_and_no_more),
		cmocka_unit_test(keys_of_other_types_are_passed_over),
		cmocka_unit_test(the_three_checks_come_in_their_order),
	};

	return cmocka_run_group_tests_name("keys", tests, setup, NULL);
}
