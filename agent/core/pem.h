/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Ed25519 keys as PEM (RFC 8410, RFC 7468), byte for byte what `openssl genpkey -algorithm ed25519`
 * and `openssl pkey -pubout` write. Pure: files are read and written by the caller.
 */
#include "core/crypto.h"

#define PEM_PRIVATE_CAP 128
#define PEM_PUBLIC_CAP	128

/* 0 or -EINVAL. White space around the block and CRLF are accepted. */
int pem_parse_private(struct span text, struct signer *ret);
int pem_parse_public(struct span text, uint8_t ret[static PUBLIC_LEN]);
/* NUL-terminated; the length. */
int pem_encode_private(const struct signer *signer, char ret[static PEM_PRIVATE_CAP]);
int pem_encode_public(const uint8_t pub[static PUBLIC_LEN], char ret[static PEM_PUBLIC_CAP]);
