// SPDX-License-Identifier: Apache-2.0
/* Keys, requests, and what a certificate says. See x509.h; x509-issue.c signs. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/err.h>

#include "link/x509-private.h"

#define SERIAL_MAX 20 /* bytes, RFC 5280 section 4.1.2.2 */

void x509_forget_errors(const int *unused)
{
	ERR_clear_error();
}

void x509_free_key(EVP_PKEY **key)
{
	EVP_PKEY_free(*key);
}

void x509_free_certificate(X509 **certificate)
{
	X509_free(*certificate);
}

void x509_free_request(X509_REQ **request)
{
	X509_REQ_free(*request);
}

void x509_free_crl(X509_CRL **crl)
{
	X509_CRL_free(*crl);
}

void x509_free_time(ASN1_TIME **time)
{
	ASN1_TIME_free(*time);
}

void x509_free_integer(ASN1_INTEGER **integer)
{
	ASN1_INTEGER_free(*integer);
}

void x509_free_bio(BIO **bio)
{
	BIO_free(*bio);
}

static void free_pkey_context(EVP_PKEY_CTX **context)
{
	EVP_PKEY_CTX_free(*context);
}

static void free_bignum(BIGNUM **n)
{
	BN_free(*n);
}

/* --- PEM in and out --------------------------------------------------------------------------- */

/* Without it OpenSSL asks at the terminal. */
static int refuse_passphrase(char *buf, int size, int writing, void *user)
{
	return -1;
}

BIO *x509_open_text(struct span pem, size_t max, int *ret_error)
{
	BIO *bio = NULL;

	*ret_error = -EINVAL;
	if (pem.len == 0 || pem.len > max || memchr(pem.data, '\0', pem.len))
		return NULL;
	bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	if (!bio)
		*ret_error = -ENOMEM;
	return bio;
}

/* The next block of a kind, as DER that the caller gives to OPENSSL_free. */
static int next_block(BIO *bio, const char *kind, unsigned char **ret, long *ret_len)
{
	return PEM_bytes_read_bio(ret, ret_len, NULL, kind, bio, refuse_passphrase, NULL) == 1
		       ? 0
		       : -EINVAL;
}

EVP_PKEY *x509_parse_key(struct span pem, int *ret_error)
{
	cleanup(x509_free_bio) BIO *bio = x509_open_text(pem, X509_PEM_MAX, ret_error);

	return bio ? PEM_read_bio_PrivateKey(bio, NULL, refuse_passphrase, NULL) : NULL;
}

static X509 *next_certificate(BIO *bio)
{
	const unsigned char *p;
	unsigned char *der = NULL;
	X509 *certificate;
	long len = 0;

	if (next_block(bio, PEM_STRING_X509, &der, &len) < 0)
		return NULL;
	p = der;
	certificate = d2i_X509(NULL, &p, len);
	if (certificate && p != der + len) {
		X509_free(certificate);
		certificate = NULL;
	}
	OPENSSL_free(der);
	return certificate;
}

X509 *x509_parse_certificate(struct span pem, int *ret_error)
{
	cleanup(x509_free_bio) BIO *bio = x509_open_text(pem, X509_PEM_MAX, ret_error);

	return bio ? next_certificate(bio) : NULL;
}

bool x509_is_p256(X509_PUBKEY *key)
{
	const ASN1_OBJECT *algorithm;
	const void *curve;
	X509_ALGOR *id;
	int kind;

	/* The curve by its name: one spelled out could be another with the same size. */
	if (!key || X509_PUBKEY_get0_param(NULL, NULL, NULL, &id, key) != 1)
		return false;
	X509_ALGOR_get0(&algorithm, &kind, &curve, id);
	return OBJ_obj2nid(algorithm) == NID_X9_62_id_ecPublicKey && kind == V_ASN1_OBJECT &&
	       OBJ_obj2nid(curve) == NID_X9_62_prime256v1;
}

X509_REQ *x509_parse_request(struct span pem, int *ret_error)
{
	cleanup(x509_free_bio) BIO *bio = x509_open_text(pem, X509_PEM_MAX, ret_error);
	cleanup(x509_free_request) X509_REQ *request = NULL;
	const unsigned char *p;
	unsigned char *der = NULL;
	long len = 0;

	if (!bio || next_block(bio, PEM_STRING_X509_REQ, &der, &len) < 0)
		return NULL;
	p = der;
	request = d2i_X509_REQ(NULL, &p, len);
	if (request && p != der + len) {
		X509_REQ_free(request);
		request = NULL;
	}
	OPENSSL_free(der);
	if (!request || !x509_is_p256(X509_REQ_get_X509_PUBKEY(request)))
		return NULL;
	if (X509_REQ_verify(request, X509_REQ_get0_pubkey(request)) == 1)
		return steal(request);
	*ret_error = -EBADMSG;
	return NULL;
}

int x509_text_of(BIO *bio, char **ret)
{
	char *data, *copy;
	long len = BIO_get_mem_data(bio, &data);

	if (len <= 0)
		return -EIO;
	copy = strndup(data, (size_t)len);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}

/* A memory BIO overwrites what it frees, also when it grows. */
int x509_key_text(EVP_PKEY *key, char **ret)
{
	cleanup(x509_free_bio) BIO *bio = BIO_new(BIO_s_mem());

	if (!bio)
		return -ENOMEM;
	if (PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
		return -EIO;
	return x509_text_of(bio, ret);
}

int x509_certificate_text(X509 *certificate, char **ret)
{
	cleanup(x509_free_bio) BIO *bio = BIO_new(BIO_s_mem());

	if (!bio)
		return -ENOMEM;
	return PEM_write_bio_X509(bio, certificate) == 1 ? x509_text_of(bio, ret) : -EIO;
}

void x509_wipe(char **pem)
{
	if (!*pem)
		return;
	OPENSSL_cleanse(*pem, strlen(*pem));
	free(*pem);
	*pem = NULL;
}

/* --- names ------------------------------------------------------------------------------------ */

int x509_common_name(X509_NAME *subject, char ret[static 65])
{
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	const ASN1_STRING *value;
	unsigned char *text = NULL;
	int len;

	/* Two names: one reader takes the first, another the last. */
	if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
		return -EINVAL;
	value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
	len = value ? ASN1_STRING_to_UTF8(&text, value) : -1;
	for (int i = 0; i < len; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			len = -1;
	if (len > 0 && len <= 64) {
		memcpy(ret, text, (size_t)len);
		ret[len] = '\0';
	}
	OPENSSL_free(text);
	return len > 0 && len <= 64 ? 0 : -EINVAL;
}

int x509_set_common_name(X509_NAME *subject, const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > 64)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if (name[i] < 0x20 || name[i] > 0x7e)
			return -EINVAL;
	return X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
					  (const unsigned char *)name, (int)len, -1, 0) == 1
		       ? 0
		       : -EIO;
}

/* --- keys and requests ------------------------------------------------------------------------ */

EVP_PKEY *x509_new_key(void)
{
	cleanup(free_pkey_context) EVP_PKEY_CTX *context =
		EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY *key = NULL;

	if (!context || EVP_PKEY_keygen_init(context) != 1 ||
	    EVP_PKEY_CTX_set_group_name(context, "P-256") != 1 ||
	    EVP_PKEY_generate(context, &key) != 1)
		return NULL;
	return key;
}

int x509_key_create(char **ret)
{
	X509_QUIETLY;
	cleanup(x509_free_key) EVP_PKEY *key = x509_new_key();

	return key ? x509_key_text(key, ret) : -EIO;
}

int x509_request_create(struct span key, const char *name, char **ret)
{
	X509_QUIETLY;
	int r;
	cleanup(x509_free_key) EVP_PKEY *signer = x509_parse_key(key, &r);
	cleanup(x509_free_request) X509_REQ *request = NULL;
	cleanup(x509_free_bio) BIO *bio = NULL;

	if (!signer)
		return r;
	request = X509_REQ_new();
	bio = BIO_new(BIO_s_mem());
	if (!request || !bio)
		return -ENOMEM;
	r = x509_set_common_name(X509_REQ_get_subject_name(request), name);
	if (r < 0)
		return r;
	if (X509_REQ_set_version(request, X509_REQ_VERSION_1) != 1 ||
	    X509_REQ_set_pubkey(request, signer) != 1)
		return -EIO;
	if (!x509_is_p256(X509_REQ_get_X509_PUBKEY(request)))
		return -EBADMSG;
	if (X509_REQ_sign(request, signer, EVP_sha256()) <= 0 ||
	    PEM_write_bio_X509_REQ(bio, request) != 1)
		return -EIO;
	return x509_text_of(bio, ret);
}

/* --- reading ---------------------------------------------------------------------------------- */

static int fingerprint(X509_PUBKEY *key, uint8_t ret[static SHA256_LEN])
{
	unsigned char *der = NULL;
	int len = i2d_X509_PUBKEY(key, &der);

	if (len <= 0)
		return -EINVAL;
	crypto_sha256(span_of(der, (size_t)len), ret);
	OPENSSL_free(der);
	return 0;
}

int x509_seconds_of(const ASN1_TIME *time, uint64_t *ret)
{
	struct tm tm;
	time_t seconds;

	if (!time || ASN1_TIME_to_tm(time, &tm) != 1)
		return -EINVAL;
	seconds = timegm(&tm);
	*ret = seconds > 0 ? (uint64_t)seconds : 0;
	return 0;
}

int x509_serial_of(const ASN1_INTEGER *serial, char ret[static X509_SERIAL_CAP])
{
	cleanup(free_bignum) BIGNUM *n = ASN1_INTEGER_to_BN(serial, NULL);
	uint8_t bytes[SERIAL_MAX];
	int len = n ? BN_num_bytes(n) : -1;

	if (len < 0 || len > SERIAL_MAX || BN_is_negative(n))
		return -EINVAL;
	if (len == 0) /* a serial of zero, which some make */
		bytes[len++] = 0;
	else
		BN_bn2bin(n, bytes);
	hex_encode(span_of(bytes, (size_t)len), ret, X509_SERIAL_CAP);
	return 0;
}

int x509_request_read(struct span pem, struct x509_facts *ret)
{
	X509_QUIETLY;
	int r;
	cleanup(x509_free_request) X509_REQ *request = x509_parse_request(pem, &r);
	struct x509_facts facts = {0};

	if (!request)
		return r;
	r = x509_common_name(X509_REQ_get_subject_name(request), facts.name);
	if (r == 0)
		r = fingerprint(X509_REQ_get_X509_PUBKEY(request), facts.key);
	if (r == 0)
		*ret = facts;
	return r;
}

int x509_certificate_read(struct span pem, struct x509_facts *ret)
{
	X509_QUIETLY;
	int r;
	cleanup(x509_free_certificate) X509 *certificate = x509_parse_certificate(pem, &r);
	struct x509_facts facts = {0};

	if (!certificate)
		return r;
	r = x509_common_name(X509_get_subject_name(certificate), facts.name);
	if (r == 0)
		r = fingerprint(X509_get_X509_PUBKEY(certificate), facts.key);
	if (r == 0)
		r = x509_seconds_of(X509_get0_notBefore(certificate), &facts.not_before);
	if (r == 0)
		r = x509_seconds_of(X509_get0_notAfter(certificate), &facts.not_after);
	if (r == 0)
		r = x509_serial_of(X509_get0_serialNumber(certificate), facts.serial);
	if (r < 0)
		return r;
	/* 1: basicConstraints says so; above it OpenSSL counts what is so old that it has none */
	facts.authority = X509_check_ca(certificate) == 1;
	*ret = facts;
	return 0;
}

int x509_key_fits(struct span key, struct span certificate)
{
	X509_QUIETLY;
	int r;
	cleanup(x509_free_key) EVP_PKEY *own = x509_parse_key(key, &r);
	cleanup(x509_free_certificate) X509 *of =
		own ? x509_parse_certificate(certificate, &r) : NULL;

	if (!of)
		return r;
	return X509_check_private_key(of, own) == 1 ? 0 : -EBADMSG;
}

int x509_issued_by(struct span certificate, struct span authority)
{
	X509_QUIETLY;
	int r;
	cleanup(x509_free_certificate) X509 *subject = x509_parse_certificate(certificate, &r);
	cleanup(x509_free_bio) BIO *bio =
		subject ? x509_open_text(authority, X509_PEM_MAX, &r) : NULL;
	X509 *issuer;

	if (!bio)
		return r;
	r = -EINVAL;
	while (r != 0 && (issuer = next_certificate(bio))) {
		r = X509_check_issued(issuer, subject) == X509_V_OK &&
				    X509_verify(subject, X509_get0_pubkey(issuer)) == 1
			    ? 0
			    : -EBADMSG;
		X509_free(issuer);
	}
	return r;
}
