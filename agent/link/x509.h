/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * X.509 for the gateways' client certificates (RFC 5280), by OpenSSL: requests are made on the box,
 * certificates and revocation lists at the desk. Everything is PEM in, PEM out; no file is touched.
 * Keys are P-256. Nothing here opens a door: these certificates let a gateway talk to the broker.
 *
 * Functions return 0, -EINVAL (the text is not what it should be), -EBADMSG (a signature or a key
 * that does not fit), -ENOMEM or -EIO (OpenSSL failed). Times: seconds since 1970.
 */
#include <stdbool.h>

#include "core/crypto.h"
#include "core/token.h"

#define X509_PEM_MAX	16384 /* longest text that is read: a certificate and its chain */
#define X509_SERIAL_LEN 16    /* random, the top bit clear */
#define X509_SERIAL_CAP (2 * 20 + 1)

struct x509_facts {
	char name[65];		 /* common name of the subject; printable ASCII, else -EINVAL */
	uint8_t key[SHA256_LEN]; /* SHA-256 of the SubjectPublicKeyInfo */
	uint64_t not_before, not_after; /* 0 in a request */
	char serial[X509_SERIAL_CAP];	/* lower-case hex; "" in a request */
	bool authority;			/* basicConstraints CA */
};

/* malloc'd PEM; freed with x509_wipe, which overwrites it (a key). */
int x509_key_create(char **ret);
void x509_wipe(char **pem);
/* PKCS#10, signed by the key. */
int x509_request_create(struct span key, const char *name, char **ret);

/* The request's own signature is checked. */
int x509_request_read(struct span pem, struct x509_facts *ret);
/* Of the first certificate in pem. */
int x509_certificate_read(struct span pem, struct x509_facts *ret);
/* -EBADMSG: it is another's. */
int x509_key_fits(struct span key, struct span certificate);
/* By its signature alone: dates are the caller's to judge. pem of the authority may hold several. */
int x509_issued_by(struct span certificate, struct span authority);
/* The same authority by name, and by key identifier where both say one: a hint, no proof. */
int x509_same_issuer(struct span one, struct span other);
/* All certificates in the text, the first one first, and nothing else of it. -EINVAL also if one of
 * them cannot be read: OpenSSL would refuse the whole file. */
int x509_certificates_copy(struct span pem, char **ret);

struct x509_term {
	uint64_t not_before, not_after;
};
/* A self-signed authority: signs certificates and revocation lists, path length 0. */
int x509_authority_create(const char *name, const struct x509_term *term, char **ret_key,
			  char **ret_certificate);

enum x509_use { X509_CLIENT, X509_SERVER };
struct x509_authority {
	struct span key, certificate;
};
/* host: subjectAltName of a server (names and IP addresses, separated by commas); NULL for a
 * client. Name and key come from the request, and nothing else that it may ask for. */
int x509_issue(const struct x509_authority *by, struct span request, enum x509_use use,
	       const char *host, const struct x509_term *term, char **ret);

struct x509_revoked {
	char serial[X509_SERIAL_CAP];
	uint64_t at;
};
/* A complete revocation list (RFC 5280 section 5), with its number. */
int x509_revocation_list(const struct x509_authority *by, const struct x509_revoked *revoked,
			 size_t n, uint64_t number, const struct x509_term *term, char **ret);
/* Every entry of a list by this authority, until fn returns other than 0, which is then returned.
 * -EBADMSG: by another. */
#define X509_LIST_MAX (4 * 1024 * 1024)
int x509_revocation_list_read(struct span pem, struct span authority,
			      int (*fn)(const struct x509_revoked *revoked, void *user), void *user,
			      uint64_t *ret_number);
