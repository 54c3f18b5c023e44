// SPDX-License-Identifier: Apache-2.0
/*
 * Ed25519, SHA-256, random bytes and text encodings over libsodium, which is included nowhere else.
 * libsodium aborts the process on a buffer too small for an encoding: every size is checked here
 * first.
 */
#include "core/crypto.h"

#include <errno.h>
#include <sodium.h>

_Static_assert(SHA256_LEN == crypto_hash_sha256_BYTES, "SHA-256");
_Static_assert(PUBLIC_LEN == crypto_sign_PUBLICKEYBYTES, "Ed25519 public key");
_Static_assert(SEED_LEN == crypto_sign_SEEDBYTES, "Ed25519 seed");
_Static_assert(SIGNATURE_LEN == crypto_sign_BYTES, "Ed25519 signature");
_Static_assert(sizeof(((struct signer *)0)->secret) == crypto_sign_SECRETKEYBYTES, "secret key");

int crypto_init(void)
{
	return sodium_init() < 0 ? -EIO : 0;
}

void crypto_sha256(struct span bytes, uint8_t ret[static SHA256_LEN])
{
	crypto_hash_sha256(ret, bytes.data, bytes.len);
}

void crypto_sha256_of(const struct span *pieces, size_t n, uint8_t ret[static SHA256_LEN])
{
	crypto_hash_sha256_state state;

	crypto_hash_sha256_init(&state);
	for (size_t i = 0; i < n; i++)
		crypto_hash_sha256_update(&state, pieces[i].data, pieces[i].len);
	crypto_hash_sha256_final(&state, ret);
}

void crypto_digest(struct span bytes, uint8_t ret[static DIGEST_LEN])
{
	uint8_t hash[SHA256_LEN];

	crypto_sha256(bytes, hash);
	memcpy(ret, hash, DIGEST_LEN);
}

void crypto_random(void *ret, size_t len)
{
	randombytes_buf(ret, len);
}

bool crypto_verify(const uint8_t pub[static PUBLIC_LEN], struct span message,
		   const uint8_t signature[static SIGNATURE_LEN])
{
	return crypto_sign_verify_detached(signature, message.data, message.len, pub) == 0;
}

void signer_sign(const struct signer *signer, struct span message,
		 uint8_t ret[static SIGNATURE_LEN])
{
	crypto_sign_detached(ret, NULL, message.data, message.len, signer->secret);
}

void signer_from_seed(const uint8_t seed[static SEED_LEN], struct signer *ret)
{
	crypto_sign_seed_keypair(ret->pub, ret->secret, seed);
	crypto_digest(SPAN(ret->pub), ret->kid);
}

void signer_generate(struct signer *ret)
{
	uint8_t seed[SEED_LEN];

	crypto_random(seed, sizeof(seed));
	signer_from_seed(seed, ret);
	crypto_wipe(seed, sizeof(seed));
}

void signer_wipe(struct signer *signer)
{
	sodium_memzero(signer, sizeof(*signer));
}

void crypto_wipe(void *bytes, size_t len)
{
	sodium_memzero(bytes, len);
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
	return sodium_memcmp(a, b, len) == 0;
}

int hex_encode(struct span bytes, char *ret, size_t cap)
{
	/* The division keeps the size from wrapping. */
	if (cap == 0 || bytes.len > (cap - 1) / 2)
		return -ENOSPC;
	sodium_bin2hex(ret, cap, bytes.data, bytes.len);
	return (int)(2 * bytes.len);
}

int hex_decode(struct span text, uint8_t *ret, size_t cap)
{
	size_t len;

	if (text.len % 2 != 0)
		return -EINVAL;
	if (text.len / 2 > cap)
		return -ENOSPC;
	if (text.len == 0)
		return 0;
	if (sodium_hex2bin(ret, cap, (const char *)text.data, text.len, NULL, &len, NULL) != 0)
		return -EINVAL;
	return (int)len;
}

static int encode64(struct span bytes, char *ret, size_t cap, int variant)
{
	size_t need;

	if (bytes.len > SIZE_MAX / 4)
		return -ENOSPC;
	need = sodium_base64_encoded_len(bytes.len, variant);
	if (cap < need)
		return -ENOSPC;
	sodium_bin2base64(ret, cap, bytes.data, bytes.len, variant);
	return (int)(need - 1);
}

/* bound: how many bytes the text can stand for at most. */
static int decode64(struct span text, size_t bound, uint8_t *ret, size_t cap, int variant)
{
	size_t len;

	if (bound > cap)
		return -ENOSPC;
	if (text.len == 0)
		return 0;
	if (sodium_base642bin(ret, cap, (const char *)text.data, text.len, NULL, &len, NULL,
			      variant) != 0)
		return -EINVAL;
	return (int)len;
}

int base64_encode(struct span bytes, char *ret, size_t cap)
{
	return encode64(bytes, ret, cap, sodium_base64_VARIANT_ORIGINAL);
}

int base64_decode(struct span text, uint8_t *ret, size_t cap)
{
	size_t bound = text.len / 4 * 3;

	if (text.len % 4 != 0)
		return -EINVAL;
	if (text.len > 0 && text.data[text.len - 1] == '=')
		bound -= text.data[text.len - 2] == '=' ? 2 : 1;
	return decode64(text, bound, ret, cap, sodium_base64_VARIANT_ORIGINAL);
}

int base64url_encode(struct span bytes, char *ret, size_t cap)
{
	return encode64(bytes, ret, cap, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

int base64url_decode(struct span text, uint8_t *ret, size_t cap)
{
	size_t bound = text.len / 4 * 3 + text.len % 4 * 3 / 4;

	if (text.len % 4 == 1)
		return -EINVAL;
	return decode64(text, bound, ret, cap, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}
