// SPDX-License-Identifier: Apache-2.0
/*
 * What an authority signs: itself, and certificates of clients and servers, with extensions by
 * RFC 5280 section 4.2. See x509.h; x509-list.c has the lists of those revoked.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "link/x509-private.h"

#define NAME_MAX_LEN 253 /* of a host */

/* --- times, numbers --------------------------------------------------------------------------- */

/* UTCTime until 2049, GeneralizedTime from then on: the library does that. By text, since on 32-bit
 * machines its time_t is not ours: Debian 12 built it with 32 bits. */
int x509_set_time(ASN1_TIME *time, uint64_t seconds)
{
	time_t t = (time_t)seconds;
	char text[sizeof("20260101000000Z")];
	struct tm tm;

	if (seconds > TIME_MAX || !gmtime_r(&t, &tm) ||
	    strftime(text, sizeof(text), "%Y%m%d%H%M%SZ", &tm) != sizeof(text) - 1)
		return -EINVAL;
	return ASN1_TIME_set_string_X509(time, text) ? 0 : -EIO;
}

static int set_term(X509 *certificate, const struct x509_term *term)
{
	int r = term->not_before > term->not_after ? -EINVAL : 0;

	if (r == 0)
		r = x509_set_time(X509_getm_notBefore(certificate), term->not_before);
	if (r == 0)
		r = x509_set_time(X509_getm_notAfter(certificate), term->not_after);
	return r;
}

int x509_set_integer(ASN1_INTEGER *integer, struct span bytes)
{
	BIGNUM *n = BN_bin2bn(bytes.data, (int)bytes.len, NULL);
	bool done = n && BN_to_ASN1_INTEGER(n, integer);

	BN_free(n);
	return done ? 0 : -ENOMEM;
}

static int set_random_serial(X509 *certificate)
{
	uint8_t bytes[X509_SERIAL_LEN];

	crypto_random(bytes, sizeof(bytes));
	/* positive, and always as long */
	bytes[0] = (bytes[0] & 0x7f) | 0x40;
	return x509_set_integer(X509_get_serialNumber(certificate), SPAN(bytes));
}

/* --- extensions ------------------------------------------------------------------------------- */

/* value: ours, in OpenSSL's words; never what came from outside. */
static int extend(X509 *certificate, X509V3_CTX *context, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, context, nid, value);
	bool done = e && X509_add_ext(certificate, e, -1) == 1;

	X509_EXTENSION_free(e);
	return done ? 0 : -EIO;
}

struct extension {
	int nid;
	const char *value;
};

static int extend_all(X509 *certificate, X509 *issuer, const struct extension *list, size_t n)
{
	X509V3_CTX context;
	int r = 0;

	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = extend(certificate, &context, list[i].nid, list[i].value);
	return r;
}

static bool is_host_name(const char *text, size_t len)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789.-";

	return len > 0 && len <= NAME_MAX_LEN && strspn(text, allowed) == len && text[0] != '.' &&
	       text[0] != '-';
}

/* A name or an IP address, as RFC 5280 section 4.2.1.6 has each. */
static int add_host(GENERAL_NAMES *names, const char *host)
{
	ASN1_OCTET_STRING *address = a2i_IPADDRESS(host);
	ASN1_STRING *value = address;
	GENERAL_NAME *name;

	if (!address) {
		if (!is_host_name(host, strlen(host)))
			return -EINVAL;
		value = ASN1_IA5STRING_new();
		if (!value || ASN1_STRING_set(value, host, -1) != 1) {
			ASN1_STRING_free(value);
			return -ENOMEM;
		}
	}
	name = GENERAL_NAME_new();
	if (!name) {
		ASN1_STRING_free(value);
		return -ENOMEM;
	}
	GENERAL_NAME_set0_value(name, address ? GEN_IPADD : GEN_DNS, value);
	if (sk_GENERAL_NAME_push(names, name) <= 0) {
		GENERAL_NAME_free(name);
		return -ENOMEM;
	}
	return 0;
}

static void free_names(GENERAL_NAMES **names)
{
	GENERAL_NAMES_free(*names);
}

static int add_hosts(X509 *certificate, const char *hosts)
{
	cleanup(free_names) GENERAL_NAMES *names = GENERAL_NAMES_new();
	int r = names ? 0 : -ENOMEM;

	while (r == 0) {
		size_t len = strcspn(hosts, ",");
		char host[NAME_MAX_LEN + 1];

		if (len >= sizeof(host))
			return -EINVAL;
		memcpy(host, hosts, len);
		host[len] = '\0';
		r = add_host(names, host);
		if (!hosts[len])
			break;
		hosts += len + 1;
	}
	if (r == 0 && X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, 0) != 1)
		r = -EIO;
	return r;
}

/* --- authorities ------------------------------------------------------------------------------ */

int x509_authority_create(const char *name, const struct x509_term *term, char **ret_key,
			  char **ret_certificate)
{
	static const struct extension extensions[] = {
		{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
		{NID_key_usage, "critical,keyCertSign,cRLSign"},
		{NID_subject_key_identifier, "hash"},
		{NID_authority_key_identifier, "keyid:always"},
	};
	X509_QUIETLY;
	cleanup(x509_free_key) EVP_PKEY *key = x509_new_key();
	cleanup(x509_free_certificate) X509 *own = X509_new();
	cleanup(x509_wipe) char *text = NULL;
	int r;

	if (!key || !own)
		return key ? -ENOMEM : -EIO;
	r = x509_set_common_name(X509_get_subject_name(own), name);
	if (r == 0)
		r = set_random_serial(own);
	if (r == 0)
		r = set_term(own, term);
	if (r < 0)
		return r;
	if (X509_set_version(own, X509_VERSION_3) != 1 || X509_set_pubkey(own, key) != 1 ||
	    X509_set_issuer_name(own, X509_get_subject_name(own)) != 1)
		return -EIO;
	r = extend_all(own, own, extensions, ARRAY_SIZE(extensions));
	if (r < 0)
		return r;
	if (X509_sign(own, key, EVP_sha256()) <= 0)
		return -EIO;
	r = x509_key_text(key, &text);
	if (r == 0)
		r = x509_certificate_text(own, ret_certificate);
	if (r == 0)
		*ret_key = steal(text);
	return r;
}

void x509_pair_deinit(struct x509_pair *a)
{
	EVP_PKEY_free(a->key);
	X509_free(a->certificate);
}

int x509_pair_load(const struct x509_authority *by, struct x509_pair *ret)
{
	int r;

	ret->key = x509_parse_key(by->key, &r);
	ret->certificate = ret->key ? x509_parse_certificate(by->certificate, &r) : NULL;
	if (!ret->certificate)
		return r;
	return X509_check_private_key(ret->certificate, ret->key) == 1 &&
			       X509_check_ca(ret->certificate) == 1
		       ? 0
		       : -EBADMSG;
}

/* --- certificates ----------------------------------------------------------------------------- */

static const struct extension *extensions_of(enum x509_use use)
{
	static const struct extension client[] = {
		{NID_basic_constraints, "critical,CA:FALSE"},
		{NID_key_usage, "critical,digitalSignature"},
		{NID_ext_key_usage, "clientAuth"},
		{NID_subject_key_identifier, "hash"},
		{NID_authority_key_identifier, "keyid:always"},
	};
	static const struct extension server[ARRAY_SIZE(client)] = {
		{NID_basic_constraints, "critical,CA:FALSE"},
		{NID_key_usage, "critical,digitalSignature"},
		{NID_ext_key_usage, "serverAuth"},
		{NID_subject_key_identifier, "hash"},
		{NID_authority_key_identifier, "keyid:always"},
	};

	return use == X509_SERVER ? server : client;
}

#define EXTENSIONS 5

/* Nothing of the request but name and key: what else it asks for is not the requester's to say. */
static int fill(X509 *certificate, X509_REQ *request, const struct x509_pair *by,
		const struct x509_term *term)
{
	char name[65];
	int r = x509_common_name(X509_REQ_get_subject_name(request), name);

	if (r == 0)
		r = x509_set_common_name(X509_get_subject_name(certificate), name);
	if (r == 0)
		r = set_random_serial(certificate);
	if (r == 0)
		r = set_term(certificate, term);
	if (r < 0)
		return r;
	return X509_set_version(certificate, X509_VERSION_3) == 1 &&
			       X509_set_pubkey(certificate, X509_REQ_get0_pubkey(request)) == 1 &&
			       X509_set_issuer_name(certificate,
						    X509_get_subject_name(by->certificate)) == 1
		       ? 0
		       : -EIO;
}

int x509_issue(const struct x509_authority *by, struct span request, enum x509_use use,
	       const char *host, const struct x509_term *term, char **ret)
{
	X509_QUIETLY;
	int r;
	cleanup(x509_free_request) X509_REQ *asked = x509_parse_request(request, &r);
	cleanup(x509_pair_deinit) struct x509_pair authority = {0};
	cleanup(x509_free_certificate) X509 *certificate = NULL;

	if (!asked)
		return r;
	if ((use == X509_SERVER) != (host != NULL))
		return -EINVAL;
	certificate = X509_new();
	if (!certificate)
		return -ENOMEM;
	r = x509_pair_load(by, &authority);
	if (r == 0)
		r = fill(certificate, asked, &authority, term);
	if (r == 0)
		r = extend_all(certificate, authority.certificate, extensions_of(use), EXTENSIONS);
	if (r == 0 && host)
		r = add_hosts(certificate, host);
	if (r < 0)
		return r;
	if (X509_sign(certificate, authority.key, EVP_sha256()) <= 0)
		return -EIO;
	return x509_certificate_text(certificate, ret);
}
