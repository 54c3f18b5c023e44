/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Between the files of x509: PEM in and out, bounded, and OpenSSL's objects as cleanup variables.
 */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "link/x509.h"

/*
 * OpenSSL's error queue belongs to the thread, and libmosquitto asks it after each TLS operation:
 * nothing may be left in it. First in every function of x509.h: X509_QUIETLY;
 */
void x509_forget_errors(const int *unused);
#define X509_QUIETLY cleanup(x509_forget_errors) __attribute__((unused)) const int quietly_ = 0

void x509_free_key(EVP_PKEY **key);
void x509_free_certificate(X509 **certificate);
void x509_free_request(X509_REQ **request);
void x509_free_crl(X509_CRL **crl);
void x509_free_time(ASN1_TIME **time);
void x509_free_integer(ASN1_INTEGER **integer);
void x509_free_bio(BIO **bio);

/* NULL with errno-style *ret_error: -EINVAL, -ENOMEM, ... */
BIO *x509_open_text(struct span pem, size_t max, int *ret_error);
EVP_PKEY *x509_parse_key(struct span pem, int *ret_error);
X509 *x509_parse_certificate(struct span pem, int *ret_error);
/* -EBADMSG: not signed by the key in it. */
X509_REQ *x509_parse_request(struct span pem, int *ret_error);

/* 0 or -EINVAL: not exactly one common name of 1 to 64 printable ASCII characters. */
int x509_common_name(X509_NAME *subject, char ret[static 65]);
int x509_set_common_name(X509_NAME *subject, const char *name);
EVP_PKEY *x509_new_key(void);
bool x509_is_p256(X509_PUBKEY *key);
int x509_seconds_of(const ASN1_TIME *time, uint64_t *ret);
int x509_serial_of(const ASN1_INTEGER *serial, char ret[static X509_SERIAL_CAP]);
int x509_set_time(ASN1_TIME *time, uint64_t seconds);
int x509_set_integer(ASN1_INTEGER *integer, struct span bytes);

struct x509_pair { /* of an authority */
	EVP_PKEY *key;
	X509 *certificate;
};
/* -EBADMSG: they do not fit, or it is no authority. x509_pair_deinit in any case. */
int x509_pair_load(const struct x509_authority *by, struct x509_pair *ret);
void x509_pair_deinit(struct x509_pair *pair);

/* What was written into a memory BIO, as malloc'd text. */
int x509_text_of(BIO *bio, char **ret);
int x509_key_text(EVP_PKEY *key, char **ret);
int x509_certificate_text(X509 *certificate, char **ret);
