/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The cryptography and the text encodings of bytes: the only user of libsodium.
 * Ed25519 (RFC 8032), SHA-256, random bytes, base64, base64url without padding, hex.
 */
#include "core/span.h"

#define SHA256_LEN    32
#define DIGEST_LEN    8 /* first bytes of SHA-256: kid of a key, digest of a document */
#define PUBLIC_LEN    32
#define SEED_LEN      32
#define SIGNATURE_LEN 64

/* A private key in memory. Wipe with signer_wipe (also a cleanup function). */
struct signer {
	uint8_t secret[64]; /* seed and public key, as libsodium keeps it */
	uint8_t pub[PUBLIC_LEN];
	uint8_t kid[DIGEST_LEN];
};

/* Once per program, before anything else. 0 or -EIO. */
int crypto_init(void);
void crypto_sha256(struct span bytes, uint8_t ret[static SHA256_LEN]);
/* Over several pieces, as if they stood in a row. */
void crypto_sha256_of(const struct span *pieces, size_t n, uint8_t ret[static SHA256_LEN]);
void crypto_digest(struct span bytes, uint8_t ret[static DIGEST_LEN]);
void crypto_random(void *ret, size_t len);
bool crypto_verify(const uint8_t pub[static PUBLIC_LEN], struct span message,
		   const uint8_t signature[static SIGNATURE_LEN]);
void signer_sign(const struct signer *signer, struct span message,
		 uint8_t ret[static SIGNATURE_LEN]);
/* A new key, by chance. */
void signer_generate(struct signer *ret);
void signer_from_seed(const uint8_t seed[static SEED_LEN], struct signer *ret);
void signer_wipe(struct signer *signer);
void crypto_wipe(void *bytes, size_t len);
/* In constant time. */
bool crypto_equal(const void *a, const void *b, size_t len);

/* Text of bytes. encode: writes a terminating NUL; -ENOSPC if cap is too small, else the length.
 * decode: strict (no white space, no padding in base64url, padding in base64); the length, or
 * -EINVAL, -ENOSPC. */
#define HEX_CAP(n)    (2 * (n) + 1)
#define BASE64_CAP(n) (((n) + 2) / 3 * 4 + 1)
int hex_encode(struct span bytes, char *ret, size_t cap);
int hex_decode(struct span text, uint8_t *ret, size_t cap); /* lower and upper case */
int base64_encode(struct span bytes, char *ret, size_t cap);
int base64_decode(struct span text, uint8_t *ret, size_t cap);
int base64url_encode(struct span bytes, char *ret, size_t cap);
int base64url_decode(struct span text, uint8_t *ret, size_t cap);
