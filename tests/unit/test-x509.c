// SPDX-License-Identifier: Apache-2.0
/* Requests, certificates and revocation lists: our own reading, and the openssl program's. */
#include "unit/vectors.h"

#include "link/x509.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NOW 1790000000ULL

static const struct x509_term ten_years = {NOW - 60, NOW + 3650ULL * 86400};
static const struct x509_term ninety_days = {NOW - 60, NOW + 90ULL * 86400};

struct fixture {
	char dir[64];
	char *ca_key, *ca, *key, *request, *certificate;
	struct x509_authority by;
};

static void put(const struct fixture *f, const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* In the fixture's folder. What it printed, or fails. */
static char *shell(const struct fixture *f, int want_status, const char *format, ...)
{
	static char out[32768];
	char *command = NULL, *whole = NULL;
	va_list args;
	size_t len;
	FILE *pipe;

	va_start(args, format);
	assert_true(vasprintf(&command, format, args) > 0);
	va_end(args);
	assert_true(asprintf(&whole, "cd %s && { %s; } 2>&1", f->dir, command) > 0);
	pipe = popen(whole, "r");
	assert_non_null(pipe);
	len = fread(out, 1, sizeof(out) - 1, pipe);
	out[len] = '\0';
	if (pclose(pipe) >> 8 != want_status)
		fail_msg("%s: not status %d:\n%s", command, want_status, out);
	free(command);
	free(whole);
	return out;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "/tmp/lockbridge-x509-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	assert_int_equal(x509_authority_create("Test city", &ten_years, &f->ca_key, &f->ca), 0);
	assert_int_equal(x509_key_create(&f->key), 0);
	assert_int_equal(x509_request_create(span_str(f->key), "gw-17", &f->request), 0);
	f->by = (struct x509_authority){span_str(f->ca_key), span_str(f->ca)};
	assert_int_equal(x509_issue(&f->by, span_str(f->request), X509_CLIENT, NULL, &ninety_days,
				    &f->certificate),
			 0);
	put(f, "ca.key", f->ca_key);
	put(f, "ca.pem", f->ca);
	put(f, "gw.key", f->key);
	put(f, "gw.csr", f->request);
	put(f, "gw.pem", f->certificate);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	shell(f, 0, "rm -r %s", f->dir);
	x509_wipe(&f->ca_key);
	x509_wipe(&f->ca);
	x509_wipe(&f->key);
	x509_wipe(&f->request);
	x509_wipe(&f->certificate);
	free(f);
	return 0;
}

/* --- what is made ----------------------------------------------------------------------------- */

static void a_request_is_read_back_and_openssl_verifies_it(void **state)
{
	const struct fixture *f = *state;
	struct x509_facts facts;

	assert_int_equal(x509_request_read(span_str(f->request), &facts), 0);
	assert_string_equal(facts.name, "gw-17");
	assert_string_equal(facts.serial, "");
	assert_int_equal(facts.not_after, 0);
	assert_false(facts.authority);
	assert_non_null(strstr(shell(f, 0, "openssl req -in gw.csr -noout -verify -text"),
			       "self-signature verify OK"));
	assert_non_null(
		strstr(shell(f, 0, "openssl req -in gw.csr -noout -text"), "ASN1 OID: prime256v1"));
}

static void a_certificate_says_what_it_was_issued_for(void **state)
{
	const struct fixture *f = *state;
	struct x509_facts facts, request;

	assert_int_equal(x509_certificate_read(span_str(f->certificate), &facts), 0);
	assert_int_equal(x509_request_read(span_str(f->request), &request), 0);
	assert_string_equal(facts.name, "gw-17");
	assert_int_equal(facts.not_before, ninety_days.not_before);
	assert_int_equal(facts.not_after, ninety_days.not_after);
	assert_memory_equal(facts.key, request.key, SHA256_LEN);
	assert_int_equal(strlen(facts.serial), 2 * X509_SERIAL_LEN);
	assert_false(facts.authority);
	assert_int_equal(x509_certificate_read(span_str(f->ca), &facts), 0);
	assert_true(facts.authority);
	assert_int_equal(x509_key_fits(span_str(f->key), span_str(f->certificate)), 0);
	assert_int_equal(x509_issued_by(span_str(f->certificate), span_str(f->ca)), 0);
}

static void openssl_trusts_the_client_certificate_for_its_purpose_alone(void **state)
{
	const struct fixture *f = *state;
	const char *text;

	shell(f, 0,
	      "openssl verify -x509_strict -attime %llu -purpose sslclient -CAfile ca.pem "
	      "gw.pem",
	      NOW);
	shell(f, 2, "openssl verify -attime %llu -purpose sslserver -CAfile ca.pem gw.pem", NOW);
	shell(f, 2, "openssl verify -attime %llu -CAfile ca.pem gw.pem", ninety_days.not_after + 1);
	text = shell(f, 0, "openssl x509 -in gw.pem -noout -text");
	assert_non_null(
		strstr(text, "X509v3 Basic Constraints: critical\n                CA:FALSE"));
	assert_non_null(
		strstr(text, "X509v3 Key Usage: critical\n                Digital Signature\n"));
	assert_non_null(strstr(text, "TLS Web Client Authentication\n"));
	assert_non_null(strstr(text, "X509v3 Subject Key Identifier"));
	assert_non_null(strstr(text, "X509v3 Authority Key Identifier"));
	assert_non_null(strstr(text, "ecdsa-with-SHA256"));
	text = shell(f, 0, "openssl x509 -in ca.pem -noout -text");
	assert_non_null(strstr(text, "CA:TRUE, pathlen:0"));
	assert_non_null(strstr(text, "Certificate Sign, CRL Sign\n"));
}

static void openssl_counts_the_fingerprint_of_the_key_alike(void **state)
{
	const struct fixture *f = *state;
	char hex[HEX_CAP(SHA256_LEN)];
	struct x509_facts facts;

	assert_int_equal(x509_request_read(span_str(f->request), &facts), 0);
	hex_encode(SPAN(facts.key), hex, sizeof(hex));
	assert_non_null(strstr(shell(f, 0,
				     "openssl pkey -in gw.key -pubout -outform DER | "
				     "sha256sum"),
			       hex));
}

static void a_server_certificate_names_its_hosts(void **state)
{
	const struct fixture *f = *state;
	char *server = NULL;

	assert_int_equal(x509_issue(&f->by, span_str(f->request), X509_SERVER,
				    "mqtt.city.example,10.1.2.3,::1", &ninety_days, &server),
			 0);
	put(f, "server.pem", server);
	x509_wipe(&server);
	for (size_t i = 0; i < 3; i++) {
		static const char *const names[] = {"-verify_hostname mqtt.city.example",
						    "-verify_ip 10.1.2.3", "-verify_ip ::1"};

		shell(f, 0,
		      "openssl verify -x509_strict -attime %llu -purpose sslserver %s -CAfile "
		      "ca.pem server.pem",
		      NOW, names[i]);
	}
	shell(f, 2,
	      "openssl verify -attime %llu -verify_hostname evil.example -CAfile ca.pem "
	      "server.pem",
	      NOW);
}

static void a_host_that_is_none_is_refused(void **state)
{
	static const char *const bad[] = {
		"",	  "a,,b", "a b", "a\nDNS:b", "-x", "a,", ",a", "*", "h\xc3\xa4lsa.example",
		"DNS:a.b"};
	const struct fixture *f = *state;
	char longest[300], *none = NULL;

	memset(longest, 'a', sizeof(longest));
	longest[254] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(x509_issue(&f->by, span_str(f->request), X509_SERVER, bad[i],
					    &ninety_days, &none),
				 -EINVAL);
	assert_int_equal(
		x509_issue(&f->by, span_str(f->request), X509_SERVER, longest, &ninety_days, &none),
		-EINVAL);
	assert_int_equal(
		x509_issue(&f->by, span_str(f->request), X509_SERVER, NULL, &ninety_days, &none),
		-EINVAL);
	assert_int_equal(
		x509_issue(&f->by, span_str(f->request), X509_CLIENT, "a.b", &ninety_days, &none),
		-EINVAL);
	assert_null(none);
}

static void what_a_foreign_request_asks_for_beyond_its_name_is_not_granted(void **state)
{
	const struct fixture *f = *state;
	char text[X509_PEM_MAX], *certificate = NULL;
	const char *out;
	struct x509_facts facts;

	shell(f, 0,
	      "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout x.key "
	      "-subj '/O=Evil/CN=gw-18' -addext basicConstraints=critical,CA:TRUE "
	      "-addext subjectAltName=DNS:mqtt.city.example -out x.csr");
	snprintf(text, sizeof(text), "%s", shell(f, 0, "cat x.csr"));
	assert_int_equal(
		x509_issue(&f->by, span_str(text), X509_CLIENT, NULL, &ninety_days, &certificate),
		0);
	assert_int_equal(x509_certificate_read(span_str(certificate), &facts), 0);
	assert_string_equal(facts.name, "gw-18");
	assert_false(facts.authority);
	put(f, "x.pem", certificate);
	x509_wipe(&certificate);
	out = shell(f, 0, "openssl x509 -in x.pem -noout -text");
	assert_null(strstr(out, "Evil"));
	assert_null(strstr(out, "mqtt.city.example"));
}

static void times_change_their_form_in_2050(void **state)
{
	const struct fixture *f = *state;
	/* 2049-12-31 23:59:59, 2050-01-01 00:00:00, and the last second of GeneralizedTime */
	const struct x509_term across = {2524607999, 2524608000}, last = {NOW, TIME_MAX};
	const struct x509_term beyond = {NOW, TIME_MAX + 1}, backward = {NOW, NOW - 1};
	struct x509_facts facts;
	char *pem = NULL;
	const char *out;

	assert_int_equal(x509_issue(&f->by, span_str(f->request), X509_CLIENT, NULL, &across, &pem),
			 0);
	assert_int_equal(x509_certificate_read(span_str(pem), &facts), 0);
	assert_int_equal(facts.not_before, across.not_before);
	assert_int_equal(facts.not_after, across.not_after);
	put(f, "t.pem", pem);
	x509_wipe(&pem);
	out = shell(f, 0, "openssl asn1parse -in t.pem");
	assert_non_null(strstr(out, "UTCTIME           :491231235959Z"));
	assert_non_null(strstr(out, "GENERALIZEDTIME   :20500101000000Z"));
	assert_int_equal(x509_issue(&f->by, span_str(f->request), X509_CLIENT, NULL, &last, &pem),
			 0);
	assert_int_equal(x509_certificate_read(span_str(pem), &facts), 0);
	assert_int_equal(facts.not_after, TIME_MAX);
	x509_wipe(&pem);
	assert_int_equal(x509_issue(&f->by, span_str(f->request), X509_CLIENT, NULL, &beyond, &pem),
			 -EINVAL);
	assert_int_equal(
		x509_issue(&f->by, span_str(f->request), X509_CLIENT, NULL, &backward, &pem),
		-EINVAL);
}

static void no_two_certificates_have_one_serial(void **state)
{
	const struct fixture *f = *state;
	char serials[16][X509_SERIAL_CAP];

	for (size_t i = 0; i < ARRAY_SIZE(serials); i++) {
		struct x509_facts facts;
		char *pem = NULL;

		assert_int_equal(x509_issue(&f->by, span_str(f->request), X509_CLIENT, NULL,
					    &ninety_days, &pem),
				 0);
		assert_int_equal(x509_certificate_read(span_str(pem), &facts), 0);
		x509_wipe(&pem);
		snprintf(serials[i], sizeof(serials[i]), "%s", facts.serial);
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(serials[i], serials[k]);
	}
}

/* --- revocation lists ------------------------------------------------------------------------- */

static void a_revocation_list_refuses_what_it_names_and_nothing_else(void **state)
{
	const struct fixture *f = *state;
	const struct x509_term day = {NOW - 60, NOW + 86400};
	struct x509_revoked revoked[2] = {{.serial = "00ff", .at = NOW}, {.at = NOW - 30}};
	struct x509_facts facts;
	char *crl = NULL;
	const char *out;

	assert_int_equal(x509_revocation_list(&f->by, NULL, 0, 1, &day, &crl), 0);
	put(f, "crl.pem", crl);
	x509_wipe(&crl);
	shell(f, 0, "openssl verify -crl_check -attime %llu -CAfile ca.pem -CRLfile crl.pem gw.pem",
	      NOW);
	assert_int_equal(x509_certificate_read(span_str(f->certificate), &facts), 0);
	snprintf(revoked[1].serial, sizeof(revoked[1].serial), "%s", facts.serial);
	assert_int_equal(x509_revocation_list(&f->by, revoked, 2, 4711, &day, &crl), 0);
	put(f, "crl.pem", crl);
	x509_wipe(&crl);
	out = shell(f, 2,
		    "openssl verify -crl_check -attime %llu -CAfile ca.pem -CRLfile crl.pem gw.pem",
		    NOW);
	assert_non_null(strstr(out, "certificate revoked"));
	out = shell(f, 0, "openssl crl -in crl.pem -CAfile ca.pem -noout -text");
	assert_non_null(strstr(out, "verify OK"));
	assert_non_null(strstr(out, "Version 2"));
	assert_non_null(strstr(out, "4711"));
	assert_non_null(strstr(out, "Serial Number: FF\n"));
	assert_non_null(strstr(out, "X509v3 Authority Key Identifier"));
}

static int note(const struct x509_revoked *revoked, void *user)
{
	char(*serials)[X509_SERIAL_CAP] = user;

	for (size_t i = 0; i < 3; i++)
		if (!serials[i][0]) {
			snprintf(serials[i], X509_SERIAL_CAP, "%s", revoked->serial);
			return revoked->at == NOW ? 0 : -ERANGE;
		}
	return -E2BIG;
}

static void a_revocation_list_is_read_back_if_it_is_the_authoritys(void **state)
{
	const struct fixture *f = *state;
	const struct x509_term day = {NOW - 60, NOW + 86400};
	const struct x509_revoked revoked[] = {{.serial = "7fee", .at = NOW},
					       {.serial = "0102", .at = NOW}};
	char serials[3][X509_SERIAL_CAP] = {0}, *crl = NULL, *key = NULL, *other = NULL;
	uint64_t number = 0;

	assert_int_equal(x509_revocation_list(&f->by, revoked, 2, NOW, &day, &crl), 0);
	assert_int_equal(
		x509_revocation_list_read(span_str(crl), span_str(f->ca), note, serials, &number),
		0);
	assert_int_equal(number, NOW);
	assert_string_equal(serials[0], "0102");
	assert_string_equal(serials[1], "7fee");
	assert_string_equal(serials[2], "");
	/* the same name, another key; text that is no list; an end of the walk */
	assert_int_equal(x509_authority_create("Test city", &ten_years, &key, &other), 0);
	assert_int_equal(
		x509_revocation_list_read(span_str(crl), span_str(other), note, serials, &number),
		-EBADMSG);
	assert_int_equal(
		x509_revocation_list_read(span_str(other), span_str(f->ca), note, serials, &number),
		-EINVAL);
	memset(serials, 'x', sizeof(serials));
	assert_int_equal(
		x509_revocation_list_read(span_str(crl), span_str(f->ca), note, serials, &number),
		-E2BIG);
	for (size_t i = 0; i < strlen(crl) - 30; i++)
		assert_true(x509_revocation_list_read(span_of(crl, i), span_str(f->ca), note,
						      serials, &number) < 0);
	x509_wipe(&crl);
	x509_wipe(&key);
	x509_wipe(&other);
}

static void a_serial_that_is_none_makes_no_list(void **state)
{
	const struct fixture *f = *state;
	struct x509_revoked revoked[] = {{.serial = "xyz", .at = NOW}};
	char *crl = NULL;

	assert_int_equal(x509_revocation_list(&f->by, revoked, 1, 1, &ninety_days, &crl), -EINVAL);
	revoked[0].serial[0] = '\0';
	assert_int_equal(x509_revocation_list(&f->by, revoked, 1, 1, &ninety_days, &crl), -EINVAL);
	assert_null(crl);
}

/* --- what is refused -------------------------------------------------------------------------- */

static void every_changed_byte_of_a_request_is_noticed(void **state)
{
	const struct fixture *f = *state;
	const char *body = strchr(f->request, '\n') + 1;
	size_t from = (size_t)(body - f->request), len = strlen(f->request);
	char *copy = strdup(f->request);
	struct x509_facts facts;

	assert_non_null(copy);
	for (size_t i = from; i + 40 < len; i++) {
		copy[i] = copy[i] == 'A' ? 'B' : 'A';
		assert_true(x509_request_read(span_str(copy), &facts) < 0);
		copy[i] = f->request[i];
	}
	assert_int_equal(x509_request_read(span_str(copy), &facts), 0);
	for (size_t i = 0; i + 30 < len; i++)
		assert_true(x509_request_read(span_of(copy, i), &facts) < 0);
	free(copy);
}

static void what_is_no_request_is_refused(void **state)
{
	static const char *const commands[] = {
		"openssl req -new -newkey rsa:2048 -nodes -keyout /dev/null -subj /CN=gw-17",
		"openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout "
		"/dev/null -subj /CN=gw-17",
		"openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:secp256k1 -nodes -keyout "
		"/dev/null -subj /CN=gw-17",
		"openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -pkeyopt "
		"ec_param_enc:explicit -nodes -keyout /dev/null -subj /CN=gw-17",
		"openssl req -new -newkey ed25519 -nodes -keyout /dev/null -subj /CN=gw-17",
		/* no common name, two, one that is not ASCII */
		"openssl req -new -key gw.key -subj /O=gw-17",
		"openssl req -new -key gw.key -subj /CN=gw-17/CN=gw-18",
		"openssl req -new -key gw.key -utf8 -subj /CN=g\xc3\xa4w",
	};
	const struct fixture *f = *state;
	char text[X509_PEM_MAX];
	struct x509_facts facts;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		snprintf(text, sizeof(text), "%s", shell(f, 0, "%s 2>/dev/null", commands[i]));
		assert_non_null(strstr(text, "BEGIN CERTIFICATE REQUEST"));
		if (x509_request_read(span_str(text), &facts) != -EINVAL)
			fail_msg("not refused: %s", commands[i]);
	}
	assert_int_equal(x509_request_read(span_str(f->certificate), &facts), -EINVAL);
	assert_int_equal(x509_certificate_read(span_str(f->request), &facts), -EINVAL);
	assert_int_equal(x509_request_read(span_of("", 0), &facts), -EINVAL);
}

static void a_request_that_another_key_signed_is_refused(void **state)
{
	const struct fixture *f = *state;
	struct x509_facts facts;
	char text[X509_PEM_MAX];

	/* the key of one request, the signature of another */
	snprintf(text, sizeof(text), "%s",
		 shell(f, 0,
		       "openssl ecparam -name prime256v1 -genkey -noout -out y.key && "
		       "openssl req -new -key y.key -subj /CN=gw-17 -outform DER -out y.der && "
		       "openssl req -in gw.csr -outform DER -out g.der && "
		       "python3 -c 'import base64\n"
		       "a=bytearray(open(\"g.der\",\"rb\").read()); "
		       "b=open(\"y.der\",\"rb\").read()\n"
		       "k=bytes.fromhex(\"034200\"); i=a.index(k); j=b.index(k)\n"
		       "a[i:i+68]=b[j:j+68]\n"
		       "print(\"-----BEGIN CERTIFICATE "
		       "REQUEST-----\\n\"+base64.encodebytes(a).decode()+\"-----END CERTIFICATE "
		       "REQUEST-----\")'"));
	assert_non_null(strstr(text, "BEGIN CERTIFICATE REQUEST"));
	assert_int_equal(x509_request_read(span_str(text), &facts), -EBADMSG);
}

static void keys_and_authorities_of_others_do_not_fit(void **state)
{
	const struct fixture *f = *state;
	char *key = NULL, *ca_key = NULL, *ca = NULL, *both = NULL, *none = NULL;
	struct x509_authority crossed;

	assert_int_equal(x509_key_create(&key), 0);
	assert_int_equal(x509_key_fits(span_str(key), span_str(f->certificate)), -EBADMSG);
	/* the same name, another key */
	assert_int_equal(x509_authority_create("Test city", &ten_years, &ca_key, &ca), 0);
	assert_int_equal(x509_issued_by(span_str(f->certificate), span_str(ca)), -EBADMSG);
	assert_int_equal(x509_issued_by(span_str(f->certificate), span_str(f->certificate)),
			 -EBADMSG);
	assert_int_equal(x509_issued_by(span_str(f->certificate), span_str("no PEM")), -EINVAL);
	/* one of several */
	assert_true(asprintf(&both, "%s%s", ca, f->ca) > 0);
	assert_int_equal(x509_issued_by(span_str(f->certificate), span_str(both)), 0);
	crossed = (struct x509_authority){span_str(ca_key), span_str(f->ca)};
	assert_int_equal(
		x509_issue(&crossed, span_str(f->request), X509_CLIENT, NULL, &ninety_days, &none),
		-EBADMSG);
	/* a client's certificate is no authority */
	crossed = (struct x509_authority){span_str(f->key), span_str(f->certificate)};
	assert_int_equal(
		x509_issue(&crossed, span_str(f->request), X509_CLIENT, NULL, &ninety_days, &none),
		-EBADMSG);
	assert_int_equal(x509_revocation_list(&crossed, NULL, 0, 1, &ninety_days, &none), -EBADMSG);
	assert_null(none);
	x509_wipe(&key);
	x509_wipe(&ca_key);
	x509_wipe(&ca);
	free(both);
}

/* popen gives it a standard input at once empty: a prompt would show as another error or a hang. */
static void a_key_under_a_passphrase_is_refused_without_asking(void **state)
{
	const struct fixture *f = *state;
	char text[X509_PEM_MAX], *request = NULL;

	snprintf(text, sizeof(text), "%s",
		 shell(f, 0, "openssl pkcs8 -topk8 -in gw.key -passout pass:secret"));
	assert_non_null(strstr(text, "ENCRYPTED"));
	assert_int_equal(x509_request_create(span_str(text), "gw-17", &request), -EINVAL);
	snprintf(text, sizeof(text), "%s",
		 shell(f, 0, "openssl ec -in gw.key -aes128 -passout pass:secret 2>/dev/null"));
	assert_non_null(strstr(text, "ENCRYPTED"));
	assert_int_equal(x509_key_fits(span_str(text), span_str(f->certificate)), -EINVAL);
	assert_null(request);
}

static void text_is_bounded_and_holds_no_nul(void **state)
{
	const struct fixture *f = *state;
	static char text[X509_PEM_MAX + 2];
	size_t len = strlen(f->certificate);
	struct x509_facts facts;

	memset(text, '\n', sizeof(text));
	memcpy(text, f->certificate, len);
	assert_int_equal(x509_certificate_read(span_of(text, X509_PEM_MAX), &facts), 0);
	assert_int_equal(x509_certificate_read(span_of(text, X509_PEM_MAX + 1), &facts), -EINVAL);
	text[len + 1] = '\0';
	assert_int_equal(x509_certificate_read(span_of(text, len + 2), &facts), -EINVAL);
}

static void names_are_printable_ascii_of_at_most_64(void **state)
{
	static const char *const bad[] = {"", "a\nb", "a\x7f", "g\xc3\xa4w"};
	const struct fixture *f = *state;
	char longest[66], *request = NULL;
	struct x509_facts facts;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(x509_request_create(span_str(f->key), bad[i], &request), -EINVAL);
	memset(longest, 'a', sizeof(longest));
	longest[65] = '\0';
	assert_int_equal(x509_request_create(span_str(f->key), longest, &request), -EINVAL);
	longest[64] = '\0';
	assert_int_equal(x509_request_create(span_str(f->key), longest, &request), 0);
	assert_int_equal(x509_request_read(span_str(request), &facts), 0);
	assert_string_equal(facts.name, longest);
	x509_wipe(&request);
	assert_null(request);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_read_back_and_openssl_verifies_it),
		cmocka_unit_test(a_certificate_says_what_it_was_issued_for),
		cmocka_unit_test(openssl_trusts_the_client_certificate_for_its_purpose_alone),
		cmocka_unit_test(openssl_counts_the_fingerprint_of_the_key_alike),
		cmocka_unit_test(a_server_certificate_names_its_hosts),
		cmocka_unit_test(a_host_that_is_none_is_refused),
		cmocka_unit_test(what_a_foreign_request_asks_for_beyond_its_name_is_not_granted),
		cmocka_unit_test(times_change_their_form_in_2050),
		cmocka_unit_test(no_two_certificates_have_one_serial),
		cmocka_unit_test(a_revocation_list_refuses_what_it_names_and_nothing_else),
		cmocka_unit_test(a_revocation_list_is_read_back_if_it_is_the_authoritys),
		cmocka_unit_test(a_serial_that_is_none_makes_no_list),
		cmocka_unit_test(every_changed_byte_of_a_request_is_noticed),
		cmocka_unit_test(what_is_no_request_is_refused),
		cmocka_unit_test(a_request_that_another_key_signed_is_refused),
		cmocka_unit_test(keys_and_authorities_of_others_do_not_fit),
		cmocka_unit_test(a_key_under_a_passphrase_is_refused_without_asking),
		cmocka_unit_test(text_is_bounded_and_holds_no_nul),
		cmocka_unit_test(names_are_printable_ascii_of_at_most_64),
	};

	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, setup, teardown);
}
