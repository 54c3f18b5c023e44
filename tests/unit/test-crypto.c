// SPDX-License-Identifier: Apache-2.0
/* Ed25519 against Wycheproof, SHA-256 against FIPS 180-4, base64 against RFC 4648 section 10. */
#include "unit/vectors.h"

#include "core/reason.h"

#include <errno.h>

static void every_wycheproof_signature_is_judged_as_published(void **state)
{
	json_t *root = vectors_load("wycheproof-ed25519.json"), *group, *test;
	size_t i, k, seen = 0, good = 0;

	json_array_foreach(json_object_get(root, "testGroups"), i, group)
	{
		struct span pub = vectors_hex(json_string_value(
			json_object_get(json_object_get(group, "publicKey"), "pk")));

		assert_int_equal(pub.len, PUBLIC_LEN);
		json_array_foreach(json_object_get(group, "tests"), k, test)
		{
			struct span msg =
				vectors_hex(json_string_value(json_object_get(test, "msg")));
			struct span sig =
				vectors_hex(json_string_value(json_object_get(test, "sig")));
			bool want = !strcmp(json_string_value(json_object_get(test, "result")),
					    "valid");
			bool got =
				sig.len == SIGNATURE_LEN && crypto_verify(pub.data, msg, sig.data);

			if (got != want)
				fail_msg("tcId %lld",
					 json_integer_value(json_object_get(test, "tcId")));
			seen++;
			good += want;
			vectors_free(msg);
			vectors_free(sig);
		}
		vectors_free(pub);
	}
	json_decref(root);
	assert_int_equal(seen, 151);
	assert_true(good > 50 && good < 151);
}

static void a_signature_is_the_one_of_rfc_8032(void **state)
{
	/* RFC 8032 section 7.1, test 2 */
	struct span seed =
		vectors_hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
	struct span pub =
		vectors_hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
	struct span want =
		vectors_hex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
			    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
	uint8_t message[] = {0x72}, sig[SIGNATURE_LEN], kid[DIGEST_LEN];
	struct signer signer;

	signer_from_seed(seed.data, &signer);
	assert_memory_equal(signer.pub, pub.data, PUBLIC_LEN);
	crypto_digest(pub, kid);
	assert_memory_equal(signer.kid, kid, DIGEST_LEN);
	signer_sign(&signer, SPAN(message), sig);
	assert_memory_equal(sig, want.data, SIGNATURE_LEN);
	assert_true(crypto_verify(pub.data, SPAN(message), sig));
	message[0] ^= 1;
	assert_false(crypto_verify(pub.data, SPAN(message), sig));
	signer_wipe(&signer);
	for (size_t i = 0; i < sizeof(signer); i++)
		assert_int_equal(((uint8_t *)&signer)[i], 0);
	vectors_free(seed);
	vectors_free(pub);
	vectors_free(want);
}

static void a_generated_key_signs_and_no_two_are_alike(void **state)
{
	const struct span message = span_str("open");
	uint8_t signature[SIGNATURE_LEN], digest[DIGEST_LEN];
	struct signer one, other;

	signer_generate(&one);
	signer_generate(&other);
	assert_memory_not_equal(one.pub, other.pub, PUBLIC_LEN);
	signer_sign(&one, message, signature);
	assert_true(crypto_verify(one.pub, message, signature));
	assert_false(crypto_verify(other.pub, message, signature));
	crypto_digest(SPAN(one.pub), digest);
	assert_memory_equal(one.kid, digest, DIGEST_LEN);
}

static void sha256_is_that_of_fips_180(void **state)
{
	uint8_t hash[SHA256_LEN], again[SHA256_LEN];
	struct span pieces[] = {span_str("a"), {0}, span_str("bc")};
	char hex[HEX_CAP(SHA256_LEN)];

	crypto_sha256(span_str("abc"), hash);
	assert_int_equal(hex_encode(SPAN(hash), hex, sizeof(hex)), 64);
	assert_string_equal(hex,
			    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	crypto_sha256_of(pieces, ARRAY_SIZE(pieces), again);
	assert_memory_equal(hash, again, SHA256_LEN);
	crypto_sha256((struct span){0}, hash);
	hex_encode(SPAN(hash), hex, sizeof(hex));
	assert_string_equal(hex,
			    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void hex_is_strict_and_bounded(void **state)
{
	uint8_t bytes[4];
	char text[HEX_CAP(3)];

	assert_int_equal(hex_decode(span_str("00fFAb"), bytes, sizeof(bytes)), 3);
	assert_memory_equal(bytes, "\x00\xff\xab", 3);
	assert_int_equal(hex_encode(span_of(bytes, 3), text, sizeof(text)), 6);
	assert_string_equal(text, "00ffab");
	assert_int_equal(hex_encode(span_of(bytes, 3), text, 6), -ENOSPC);
	assert_int_equal(hex_encode(span_of(bytes, 0), text, 0), -ENOSPC);
	assert_int_equal(hex_decode(span_str(""), bytes, sizeof(bytes)), 0);
	assert_int_equal(hex_decode(span_str("0"), bytes, sizeof(bytes)), -EINVAL);
	assert_int_equal(hex_decode(span_str("0g"), bytes, sizeof(bytes)), -EINVAL);
	assert_int_equal(hex_decode(span_str("00 1"), bytes, sizeof(bytes)), -EINVAL);
	assert_int_equal(hex_decode(span_str("0011223344"), bytes, sizeof(bytes)), -ENOSPC);
}

static void base64_is_that_of_rfc_4648(void **state)
{
	static const struct {
		const char *plain, *padded, *url;
	} cases[] = {
		{"", "", ""},
		{"f", "Zg==", "Zg"},
		{"fo", "Zm8=", "Zm8"},
		{"foo", "Zm9v", "Zm9v"},
		{"foob", "Zm9vYg==", "Zm9vYg"},
		{"fooba", "Zm9vYmE=", "Zm9vYmE"},
		{"foobar", "Zm9vYmFy", "Zm9vYmFy"},
		{"\xfb\xff\xbf", "+/+/", "-_-_"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t n = strlen(cases[i].plain);
		char text[BASE64_CAP(6)];
		uint8_t bytes[6];

		assert_int_equal(base64_encode(span_str(cases[i].plain), text, BASE64_CAP(n)),
				 strlen(cases[i].padded));
		assert_string_equal(text, cases[i].padded);
		assert_int_equal(base64url_encode(span_str(cases[i].plain), text, sizeof(text)),
				 strlen(cases[i].url));
		assert_string_equal(text, cases[i].url);
		assert_int_equal(base64_decode(span_str(cases[i].padded), bytes, n), n);
		assert_memory_equal(bytes, cases[i].plain, n);
		assert_int_equal(base64url_decode(span_str(cases[i].url), bytes, n), n);
		assert_memory_equal(bytes, cases[i].plain, n);
		if (n == 0)
			continue;
		assert_int_equal(base64_decode(span_str(cases[i].padded), bytes, n - 1), -ENOSPC);
		assert_int_equal(base64url_decode(span_str(cases[i].url), bytes, n - 1), -ENOSPC);
		assert_int_equal(
			base64_encode(span_str(cases[i].plain), text, strlen(cases[i].padded)),
			-ENOSPC);
	}
}

static void sloppy_base64_is_refused(void **state)
{
	static const char *const padded[] = {"Zg",   "Zg=",  "Zg===", "Zh==", "Zm 9v", "Zm9v\n",
					     "-_-_", "====", "Z===",  "=Zg=", "Zm=v"};
	static const char *const url[] = {"Zg==", "Z", "Zh", "+/+/", "Zm9v\n", "Zm 9", "Zm8="};
	uint8_t bytes[16];

	for (size_t i = 0; i < ARRAY_SIZE(padded); i++)
		assert_int_equal(base64_decode(span_str(padded[i]), bytes, sizeof(bytes)), -EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(url); i++)
		assert_int_equal(base64url_decode(span_str(url[i]), bytes, sizeof(bytes)), -EINVAL);
}

static void random_bytes_differ_and_comparison_sees_each_byte(void **state)
{
	uint8_t a[16], b[16];

	crypto_random(a, sizeof(a));
	crypto_random(b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
	memcpy(b, a, sizeof(a));
	assert_true(crypto_equal(a, b, sizeof(a)));
	for (size_t i = 0; i < sizeof(a); i++) {
		b[i] ^= 0x80;
		assert_false(crypto_equal(a, b, sizeof(a)));
		b[i] ^= 0x80;
	}
	crypto_wipe(a, sizeof(a));
	assert_true(crypto_equal(a, (uint8_t[16]){0}, sizeof(a)));
}

static void every_reason_has_a_word_of_its_own_and_reads_back(void **state)
{
	for (unsigned i = 0; i < REASON_COUNT_; i++) {
		const char *word = reason_word((enum reason)i);

		assert_true(i == REASON_NONE ? word[0] == '\0' : strlen(word) >= 4);
		assert_int_equal(reason_parse(word, strlen(word)), i);
	}
	assert_int_equal(reason_parse("revoke", 6), REASON_COUNT_);
	assert_int_equal(reason_parse("revoked ", 8), REASON_COUNT_);
	assert_int_equal(reason_parse(NULL, 0), REASON_NONE);
	assert_string_equal(reason_word(REASON_COUNT_), "");
}

static int setup(void **state)
{
	return crypto_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_wycheproof_signature_is_judged_as_published),
		cmocka_unit_test(a_signature_is_the_one_of_rfc_8032),
		cmocka_unit_test(a_generated_key_signs_and_no_two_are_alike),
		cmocka_unit_test(sha256_is_that_of_fips_180),
		cmocka_unit_test(hex_is_strict_and_bounded),
		cmocka_unit_test(base64_is_that_of_rfc_4648),
		cmocka_unit_test(sloppy_base64_is_refused),
		cmocka_unit_test(random_bytes_differ_and_comparison_sees_each_byte),
		cmocka_unit_test(every_reason_has_a_word_of_its_own_and_reads_back),
	};

	return cmocka_run_group_tests_name("crypto", tests, setup, NULL);
}
