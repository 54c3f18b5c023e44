// SPDX-License-Identifier: Apache-2.0
/* Certificates side by side: who issued them, and a text with several. See x509.h. */
#include <errno.h>

#include "link/x509-private.h"

#define CHAIN_MAX 8

int x509_same_issuer(struct span one, struct span other)
{
	X509_QUIETLY;
	int r;
	cleanup(x509_free_certificate) X509 *a = x509_parse_certificate(one, &r);
	cleanup(x509_free_certificate) X509 *b = a ? x509_parse_certificate(other, &r) : NULL;
	const ASN1_OCTET_STRING *of_a, *of_b;

	if (!b)
		return r;
	if (X509_NAME_cmp(X509_get_issuer_name(a), X509_get_issuer_name(b)) != 0)
		return -EBADMSG;
	of_a = X509_get0_authority_key_id(a);
	of_b = X509_get0_authority_key_id(b);
	return !of_a || !of_b || ASN1_OCTET_STRING_cmp(of_a, of_b) == 0 ? 0 : -EBADMSG;
}

int x509_certificates_copy(struct span pem, char **ret)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----";
	X509_QUIETLY;
	cleanup(x509_free_bio) BIO *bio = BIO_new(BIO_s_mem());
	size_t n = 0;

	if (!bio)
		return -ENOMEM;
	if (pem.len > X509_PEM_MAX)
		return -EINVAL;
	for (;;) {
		cleanup(x509_free_certificate) X509 *next = NULL;
		const uint8_t *at = memmem(pem.data, pem.len, begin, strlen(begin));
		int r;

		if (!at)
			break;
		pem = span_of(at, pem.len - (size_t)(at - pem.data));
		next = x509_parse_certificate(pem, &r);
		if (!next || n == CHAIN_MAX)
			return next ? -EINVAL : r;
		if (PEM_write_bio_X509(bio, next) != 1)
			return -EIO;
		pem = span_of(pem.data + 1, pem.len - 1);
		n++;
	}
	return n ? x509_text_of(bio, ret) : -EINVAL;
}
