// SPDX-License-Identifier: Apache-2.0
/* Revocation lists (RFC 5280 section 5), written and read. See x509.h. */
#include <errno.h>
#include <stdlib.h>

#include "link/x509-private.h"

/* --- writing ---------------------------------------------------------------------------------- */

static int revoke(X509_CRL *crl, const struct x509_revoked *revoked)
{
	cleanup(x509_free_integer) ASN1_INTEGER *serial = ASN1_INTEGER_new();
	cleanup(x509_free_time) ASN1_TIME *at = ASN1_TIME_new();
	uint8_t bytes[X509_SERIAL_CAP / 2];
	X509_REVOKED *entry;
	int len = hex_decode(span_str(revoked->serial), bytes, sizeof(bytes)), r;

	if (len <= 0)
		return -EINVAL;
	if (!serial || !at)
		return -ENOMEM;
	r = x509_set_integer(serial, span_of(bytes, (size_t)len));
	if (r == 0)
		r = x509_set_time(at, revoked->at);
	if (r < 0)
		return r;
	entry = X509_REVOKED_new();
	if (entry && X509_REVOKED_set_serialNumber(entry, serial) == 1 &&
	    X509_REVOKED_set_revocationDate(entry, at) == 1 && X509_CRL_add0_revoked(crl, entry))
		return 0;
	X509_REVOKED_free(entry);
	return -ENOMEM;
}

static int set_number(X509_CRL *crl, X509 *issuer, uint64_t value)
{
	cleanup(x509_free_integer) ASN1_INTEGER *n = ASN1_INTEGER_new();
	X509_EXTENSION *e;
	X509V3_CTX context;
	bool done;

	if (!n || ASN1_INTEGER_set_uint64(n, value) != 1 ||
	    X509_CRL_add1_ext_i2d(crl, NID_crl_number, n, 0, 0) != 1)
		return -ENOMEM;
	X509V3_set_ctx(&context, issuer, NULL, NULL, crl, 0);
	e = X509V3_EXT_conf_nid(NULL, &context, NID_authority_key_identifier, "keyid:always");
	done = e && X509_CRL_add_ext(crl, e, -1) == 1;
	X509_EXTENSION_free(e);
	return done ? 0 : -EIO;
}

static int set_updates(X509_CRL *crl, const struct x509_term *term)
{
	cleanup(x509_free_time) ASN1_TIME *time = ASN1_TIME_new();
	int r = !time ? -ENOMEM : term->not_before > term->not_after ? -EINVAL : 0;

	if (r == 0)
		r = x509_set_time(time, term->not_before);
	if (r == 0 && X509_CRL_set1_lastUpdate(crl, time) != 1)
		r = -ENOMEM;
	if (r == 0)
		r = x509_set_time(time, term->not_after);
	if (r == 0 && X509_CRL_set1_nextUpdate(crl, time) != 1)
		r = -ENOMEM;
	return r;
}

int x509_revocation_list(const struct x509_authority *by, const struct x509_revoked *revoked,
			 size_t n, uint64_t number, const struct x509_term *term, char **ret)
{
	X509_QUIETLY;
	cleanup(x509_pair_deinit) struct x509_pair authority = {0};
	cleanup(x509_free_crl) X509_CRL *crl = X509_CRL_new();
	cleanup(x509_free_bio) BIO *bio = BIO_new(BIO_s_mem());
	int r;

	if (!crl || !bio)
		return -ENOMEM;
	r = x509_pair_load(by, &authority);
	if (r < 0)
		return r;
	if (X509_CRL_set_version(crl, X509_CRL_VERSION_2) != 1 ||
	    X509_CRL_set_issuer_name(crl, X509_get_subject_name(authority.certificate)) != 1)
		return -EIO;
	r = set_updates(crl, term);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = revoke(crl, &revoked[i]);
	if (r == 0)
		r = set_number(crl, authority.certificate, number);
	if (r < 0)
		return r;
	X509_CRL_sort(crl);
	if (X509_CRL_sign(crl, authority.key, EVP_sha256()) <= 0 ||
	    PEM_write_bio_X509_CRL(bio, crl) != 1)
		return -EIO;
	return x509_text_of(bio, ret);
}

/* --- reading ---------------------------------------------------------------------------------- */

static int number_of(X509_CRL *crl, uint64_t *ret)
{
	ASN1_INTEGER *n = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
	bool known = n && ASN1_INTEGER_get_uint64(ret, n) == 1;

	ASN1_INTEGER_free(n);
	return known ? 0 : -EINVAL;
}

static int entry_of(const X509_REVOKED *entry, struct x509_revoked *ret)
{
	int r = x509_serial_of(X509_REVOKED_get0_serialNumber(entry), ret->serial);

	return r < 0 ? r : x509_seconds_of(X509_REVOKED_get0_revocationDate(entry), &ret->at);
}

int x509_revocation_list_read(struct span pem, struct span authority,
			      int (*fn)(const struct x509_revoked *revoked, void *user), void *user,
			      uint64_t *ret_number)
{
	X509_QUIETLY;
	int r;
	cleanup(x509_free_certificate) X509 *issuer = x509_parse_certificate(authority, &r);
	cleanup(x509_free_bio) BIO *bio = issuer ? x509_open_text(pem, X509_LIST_MAX, &r) : NULL;
	cleanup(x509_free_crl) X509_CRL *crl =
		bio ? PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL) : NULL;
	STACK_OF(X509_REVOKED) * entries;

	if (!crl)
		return r;
	if (X509_CRL_verify(crl, X509_get0_pubkey(issuer)) != 1)
		return -EBADMSG;
	r = number_of(crl, ret_number);
	entries = X509_CRL_get_REVOKED(crl);
	for (int i = 0; r == 0 && i < sk_X509_REVOKED_num(entries); i++) {
		struct x509_revoked revoked;

		r = entry_of(sk_X509_REVOKED_value(entries, i), &revoked);
		if (r == 0)
			r = fn(&revoked, user);
	}
	return r;
}
