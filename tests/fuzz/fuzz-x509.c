/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates that the city sends, requests that a box sends: PEM by whoever holds the topic. */
#include <stdlib.h>

#include "link/x509.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct x509_facts *facts)
{
	size_t len = strnlen(facts->name, sizeof(facts->name));

	if (len == 0 || len == sizeof(facts->name))
		abort();
	for (size_t i = 0; i < len; i++)
		if (facts->name[i] < 0x20 || facts->name[i] > 0x7e)
			abort();
	if (strnlen(facts->serial, X509_SERIAL_CAP) == X509_SERIAL_CAP)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct x509_facts facts;

	if (x509_certificate_read(span_of(data, size), &facts) == 0) {
		check(&facts);
		if (!facts.serial[0])
			abort();
		/* a certificate that signed itself, or not: no crash either way */
		x509_issued_by(span_of(data, size), span_of(data, size));
	}
	if (x509_request_read(span_of(data, size), &facts) == 0) {
		check(&facts);
		if (facts.serial[0] || facts.not_after)
			abort();
	}
	return 0;
}
