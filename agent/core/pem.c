// SPDX-License-Identifier: Apache-2.0
/*
 * One fixed DER frame each (RFC 8410 sections 4 and 7): a general ASN.1 reader would only add ways
 * to be wrong. Buffers that held a seed are wiped.
 */
#include "core/pem.h"

#include <errno.h>
#include <stdio.h>

#define LABEL_PRIVATE "PRIVATE KEY"
#define LABEL_PUBLIC  "PUBLIC KEY"

/* PrivateKeyInfo { 0, { 1.3.101.112 }, OCTET STRING { OCTET STRING (32) } } */
static const uint8_t private_head[] = {0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06,
				       0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20};
/* SubjectPublicKeyInfo { { 1.3.101.112 }, BIT STRING (32, no unused bits) } */
static const uint8_t public_head[] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
				      0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};

#define DER_MAX	   (sizeof(private_head) + SEED_LEN)
#define BASE64_MAX (BASE64_CAP(DER_MAX) - 1)

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span trim(struct span s)
{
	while (s.len > 0 && is_space(s.data[0]))
		s = span_of(s.data + 1, s.len - 1);
	while (s.len > 0 && is_space(s.data[s.len - 1]))
		s.len--;
	return s;
}

/* Takes exact text off the front (or the back). */
static bool take(struct span *s, const char *text, bool front)
{
	size_t n = strlen(text);

	if (s->len < n || memcmp(front ? s->data : s->data + s->len - n, text, n) != 0)
		return false;
	*s = span_of(front ? s->data + n : s->data, s->len - n);
	return true;
}

static int decode(struct span text, const char *label, uint8_t der[static DER_MAX])
{
	char begin[32], end[32], base64[BASE64_MAX];
	size_t n = 0;
	int len;

	snprintf(begin, sizeof(begin), "-----BEGIN %s-----", label);
	snprintf(end, sizeof(end), "-----END %s-----", label);
	text = trim(text);
	if (!take(&text, begin, true) || !take(&text, end, false))
		return -EINVAL;
	for (size_t i = 0; i < text.len; i++) {
		if (is_space(text.data[i]))
			continue;
		if (n == sizeof(base64)) {
			crypto_wipe(base64, sizeof(base64));
			return -EINVAL;
		}
		base64[n++] = (char)text.data[i];
	}
	len = base64_decode(span_of(base64, n), der, DER_MAX);
	crypto_wipe(base64, sizeof(base64));
	return len < 0 ? -EINVAL : len;
}

int pem_parse_private(struct span text, struct signer *ret)
{
	uint8_t der[DER_MAX];
	int len = decode(text, LABEL_PRIVATE, der);
	bool good = len == sizeof(der) && memcmp(der, private_head, sizeof(private_head)) == 0;

	if (good)
		signer_from_seed(der + sizeof(private_head), ret);
	crypto_wipe(der, sizeof(der));
	return good ? 0 : -EINVAL;
}

int pem_parse_public(struct span text, uint8_t ret[static PUBLIC_LEN])
{
	uint8_t der[DER_MAX];
	int len = decode(text, LABEL_PUBLIC, der);

	if (len != sizeof(public_head) + PUBLIC_LEN ||
	    memcmp(der, public_head, sizeof(public_head)) != 0)
		return -EINVAL;
	memcpy(ret, der + sizeof(public_head), PUBLIC_LEN);
	return 0;
}

static int encode(const char *label, struct span der, char *ret, size_t cap)
{
	char base64[BASE64_MAX + 1];
	int len = base64_encode(der, base64, sizeof(base64));

	if (len < 0)
		return len;
	len = snprintf(ret, cap, "-----BEGIN %s-----\n%s\n-----END %s-----\n", label, base64,
		       label);
	crypto_wipe(base64, sizeof(base64));
	return len;
}

int pem_encode_private(const struct signer *signer, char ret[static PEM_PRIVATE_CAP])
{
	uint8_t der[DER_MAX];
	int len;

	memcpy(der, private_head, sizeof(private_head));
	memcpy(der + sizeof(private_head), signer->secret, SEED_LEN);
	len = encode(LABEL_PRIVATE, SPAN(der), ret, PEM_PRIVATE_CAP);
	crypto_wipe(der, sizeof(der));
	return len;
}

int pem_encode_public(const uint8_t pub[static PUBLIC_LEN], char ret[static PEM_PUBLIC_CAP])
{
	uint8_t der[sizeof(public_head) + PUBLIC_LEN];

	memcpy(der, public_head, sizeof(public_head));
	memcpy(der + sizeof(public_head), pub, PUBLIC_LEN);
	return encode(LABEL_PUBLIC, SPAN(der), ret, PEM_PUBLIC_CAP);
}
