// SPDX-License-Identifier: Apache-2.0
/* COSE_Sign1 against the published Ed25519 example, and the header profile. */
#include "unit/vectors.h"

#include "core/cbor.h"
#include "core/cose.h"

#include <errno.h>

static const uint8_t seed[SEED_LEN] = {1, 2, 3};
#define TYP "application/lockbridge-policy+cwt"

static struct signer signer;

/* The example has its kid in the unprotected header and none of ours in the protected one: taken
 * apart here by hand, refused by cose_parse. */
static void the_published_signature_verifies(void **state)
{
	json_t *root = vectors_load("cose-eddsa-sig-01.json"), *key;
	struct span document = vectors_hex(
		json_string_value(json_object_get(json_object_get(root, "output"), "cbor")));
	struct cose_sign1 m = {.alg = COSE_EDDSA};
	struct cbor_reader r;
	struct span pub;

	key = json_object_get(json_object_get(json_object_get(root, "input"), "sign0"), "key");
	pub = vectors_hex(json_string_value(json_object_get(key, "x_hex")));
	assert_true(cbor_well_formed(document));
	cbor_reader_init(&r, document);
	assert_int_equal(cbor_tag(&r), 18);
	assert_int_equal(cbor_enter_array(&r), 4);
	m.protected_ = cbor_bytes(&r);
	cbor_skip(&r);
	m.payload = cbor_bytes(&r);
	m.signature = cbor_bytes(&r);
	cbor_leave(&r);
	assert_true(cbor_done(&r));
	assert_true(span_is(m.payload, "This is the content."));
	assert_int_equal(cose_verify(&m, pub.data), 0);
	m.payload.len--;
	assert_int_equal(cose_verify(&m, pub.data), REASON_BAD_SIGNATURE);
	assert_int_equal(cose_parse(document, &m), REASON_MALFORMED);
	vectors_free(document);
	vectors_free(pub);
	json_decref(root);
}

static void a_signed_document_is_read_back_and_verifies(void **state)
{
	static const struct span payload = {(const uint8_t *)"\xa1\x06\x01", 3};

	for (int cwt = 0; cwt <= 1; cwt++) {
		uint8_t buf[3 + COSE_OVERHEAD];
		int len = cose_sign(&signer, TYP, cwt, payload, buf, sizeof(buf));
		struct cose_sign1 m;

		assert_true(len > 0);
		assert_int_equal(cose_parse(span_of(buf, len), &m), 0);
		assert_int_equal(m.cwt_tag, cwt);
		assert_int_equal(m.alg, COSE_ED25519);
		assert_true(span_equal(m.kid, SPAN(signer.kid)));
		assert_true(span_is(m.typ, TYP));
		assert_true(span_equal(m.payload, payload));
		assert_int_equal(cose_verify(&m, signer.pub), 0);
		assert_int_equal(cose_sign(&signer, TYP, cwt, payload, buf, (size_t)len - 1),
				 -ENOSPC);
		/* the same again, byte for byte */
		assert_int_equal(cose_sign(&signer, TYP, cwt, payload, buf, (size_t)len), len);
	}
}

static void every_flipped_bit_is_refused(void **state)
{
	uint8_t buf[64 + COSE_OVERHEAD];
	int len = cose_sign(&signer, TYP, true, span_str("payload"), buf, sizeof(buf));

	assert_true(len > 0);
	for (int bit = 0; bit < len * 8; bit++) {
		struct cose_sign1 m;
		int reason;

		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
		reason = cose_parse(span_of(buf, len), &m);
		if (reason == 0)
			reason = cose_verify(&m, signer.pub);
		if (reason != REASON_MALFORMED && reason != REASON_BAD_SIGNATURE)
			fail_msg("bit %d: %d", bit, reason);
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

static void every_truncation_and_any_tail_is_malformed(void **state)
{
	uint8_t buf[64 + COSE_OVERHEAD];
	int len = cose_sign(&signer, TYP, true, span_str("payload"), buf, sizeof(buf) - 1);
	struct cose_sign1 m;

	assert_true(len > 0);
	for (int n = 0; n < len; n++) {
		uint8_t *copy = malloc(n ? (size_t)n : 1);

		assert_non_null(copy);
		memcpy(copy, buf, (size_t)n);
		assert_int_equal(cose_parse(span_of(copy, n), &m), REASON_MALFORMED);
		free(copy);
	}
	buf[len] = 0;
	assert_int_equal(cose_parse(span_of(buf, len + 1), &m), REASON_MALFORMED);
}

/* d2 84 <protected as bstr> <rest>; kid is eight times aa, typ is "t" */
#define KID "0448aaaaaaaaaaaaaaaa"
#define SIG                                                                                        \
	"5840000000000000000000000000000000000000000000000000000000000000000000000000000000000000" \
	"00000000000000000000000000000000000000000000"

static void the_header_is_exactly_alg_kid_and_typ(void **state)
{
	static const struct {
		const char *what, *hex;
		bool good;
	} cases[] = {
		{"as it must be", "d28450a30132" KID "106174a04100" SIG, true},
		{"in another order", "d28450a3" KID "1061740132a04100" SIG, true},
		{"longer integers", "d28453a318013812" KID "18106174a04100" SIG, true},
		{"tag 61 outside", "d83dd28450a30132" KID "106174a04100" SIG, true},
		{"a signature of another length", "d28450a30132" KID "106174a041004100", true},
		{"no tag", "8450a30132" KID "106174a04100" SIG, false},
		{"only tag 61", "d83d8450a30132" KID "106174a04100" SIG, false},
		{"tags the wrong way round", "d2d83d8450a30132" KID "106174a04100" SIG, false},
		{"tag 61 twice", "d83dd83dd28450a30132" KID "106174a04100" SIG, false},
		{"tag 98", "d8628450a30132" KID "106174a04100" SIG, false},
		{"no alg", "d2844ea2" KID "106174a04100" SIG, false},
		{"no kid", "d28446a20132106174a04100" SIG, false},
		{"no typ", "d2844da20132" KID "a04100" SIG, false},
		{"crit", "d28453a40132028110" KID "106174a04100" SIG, false},
		{"content type beside", "d28452a401320300" KID "106174a04100" SIG, false},
		{"alg as text", "d28451a3016132" KID "106174a04100" SIG, false},
		{"typ as a number", "d2844fa30132" KID "1000a04100" SIG, false},
		{"kid of seven", "d2844fa301320447aaaaaaaaaaaaaa106174a04100" SIG, false},
		{"kid of nine", "d28451a301320449aaaaaaaaaaaaaaaaaa106174a04100" SIG, false},
		{"alg twice", "d28452a401320132" KID "106174a04100" SIG, false},
		{"a tail in the header", "d28451a30132" KID "10617400a04100" SIG, false},
		{"empty header", "d28440a04100" SIG, false},
		{"something unprotected", "d28450a30132" KID "106174a104004100" SIG, false},
		{"no payload", "d28450a30132" KID "106174a0f6" SIG, false},
		{"payload as text", "d28450a30132" KID "106174a06100" SIG, false},
		{"three parts", "d28350a30132" KID "106174a04100", false},
		{"five parts", "d28550a30132" KID "106174a04100" SIG "00", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct cose_sign1 m;
		struct span s = vectors_hex(cases[i].hex);
		int reason;

		/* a case that is no CBOR at all would prove nothing of the header */
		if (!cbor_well_formed(s))
			fail_msg("%s: not well-formed", cases[i].what);
		reason = cose_parse(s, &m);
		if (reason != (cases[i].good ? 0 : REASON_MALFORMED))
			fail_msg("%s: %d", cases[i].what, reason);
		if (cases[i].good)
			assert_int_equal(cose_verify(&m, signer.pub), REASON_BAD_SIGNATURE);
		vectors_free(s);
	}
}

static int setup(void **state)
{
	int r = crypto_init();

	signer_from_seed(seed, &signer);
	return r;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_published_signature_verifies),
		cmocka_unit_test(a_signed_document_is_read_back_and_verifies),
		cmocka_unit_test(every_flipped_bit_is_refused),
		cmocka_unit_test(every_truncation_and_any_tail_is_malformed),
		cmocka_unit_test(the_header_is_exactly_alg_kid_and_typ),
	};

	return cmocka_run_group_tests_name("cose", tests, setup, NULL);
}
