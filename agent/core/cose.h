/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * COSE_Sign1 (RFC 9052) as the contract uses it: protected header exactly {1: alg, 4: kid, 16:
 * typ}, unprotected empty, external_aad empty, tag 18, with or without the CWT tag 61 outside.
 *
 * typ (RFC 9596) is the whole media type when we write it, "application/statuslist+cwt" as the
 * drafts' own examples have it; readers take it with and without "application/". A signature of
 * another length than 64 bytes is well-formed, and bad.
 */
#include "core/crypto.h"
#include "core/reason.h"

#define COSE_EDDSA   (-8)  /* what most libraries write today */
#define COSE_ED25519 (-19) /* RFC 9864: what we write */

/* Everything points into the document. */
struct cose_sign1 {
	int64_t alg;
	struct span kid;	/* exactly 8 bytes */
	struct span typ;	/* text, with or without the prefix "application/" */
	struct span protected_; /* the content of the protected byte string */
	struct span payload;
	struct span signature;
	bool cwt_tag; /* 61 stood outside */
};

/* 0 or REASON_MALFORMED. */
int cose_parse(struct span document, struct cose_sign1 *ret);
/* The signature alone, over Sig_structure "Signature1". 0, REASON_BAD_SIGNATURE or -ENOMEM. */
int cose_verify(const struct cose_sign1 *message, const uint8_t pub[static PUBLIC_LEN]);
/* Writes the whole document with alg -19; typ as it is to stand there, at most 64 characters. The
 * length, -ENOSPC or -ENOMEM. */
int cose_sign(const struct signer *signer, const char *typ, bool cwt_tag, struct span payload,
	      uint8_t *ret, size_t cap);
/* What cose_sign needs beyond the payload, at most. */
#define COSE_OVERHEAD 192
