// SPDX-License-Identifier: Apache-2.0
/* PEM against RFC 8410 section 10 and against the openssl program where there is one. */
#include "unit/vectors.h"

#include "core/pem.h"

#include <errno.h>
#include <unistd.h>

/* RFC 8410 sections 10.1 and 10.3: a pair */
static const char rfc_private[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
	"-----END PRIVATE KEY-----\n";
static const char rfc_public[] = "-----BEGIN PUBLIC KEY-----\n"
				 "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
				 "-----END PUBLIC KEY-----\n";

static void the_pair_of_rfc_8410_is_read_and_written_back(void **state)
{
	char private[PEM_PRIVATE_CAP], public[PEM_PUBLIC_CAP];
	uint8_t pub[PUBLIC_LEN];
	struct signer signer;

	assert_int_equal(pem_parse_private(span_str(rfc_private), &signer), 0);
	assert_int_equal(pem_parse_public(span_str(rfc_public), pub), 0);
	assert_memory_equal(signer.pub, pub, PUBLIC_LEN);
	assert_int_equal(pem_encode_private(&signer, private), strlen(rfc_private));
	assert_string_equal(private, rfc_private);
	assert_int_equal(pem_encode_public(pub, public), strlen(rfc_public));
	assert_string_equal(public, rfc_public);
}

static void white_space_and_crlf_around_the_block_are_accepted(void **state)
{
	static const char crlf[] =
		" \r\n-----BEGIN PUBLIC KEY-----\r\n"
		"MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7\r\nlshQhqowtrbLDFw4rXAxZuE=\r\n"
		"-----END PUBLIC KEY-----\t\n\n";
	uint8_t pub[PUBLIC_LEN], want[PUBLIC_LEN];

	assert_int_equal(pem_parse_public(span_str(rfc_public), want), 0);
	assert_int_equal(pem_parse_public(span_str(crlf), pub), 0);
	assert_memory_equal(pub, want, PUBLIC_LEN);
}

static void what_is_not_exactly_such_a_key_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"-----BEGIN PUBLIC KEY-----",
		"-----BEGIN PUBLIC KEY----------END PUBLIC KEY-----",
		/* one byte short, one byte long */
		"-----BEGIN PUBLIC "
		"KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZg==\n"
		"-----END PUBLIC KEY-----\n",
		"-----BEGIN PUBLIC "
		"KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuEA\n"
		"-----END PUBLIC KEY-----\n",
		/* X25519 */
		"-----BEGIN PUBLIC "
		"KEY-----\nMCowBQYDK2VuAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
		"-----END PUBLIC KEY-----\n",
		"-----BEGIN PUBLIC "
		"KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
		"-----END PUBLIC KEY-----\nmore",
		"# a comment\n-----BEGIN PUBLIC KEY-----\n"
		"MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
		"-----END PUBLIC KEY-----\n",
		/* X25519; version 1 */
		"-----BEGIN PRIVATE "
		"KEY-----\nMC4CAQAwBQYDK2VuBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
		"-----END PRIVATE KEY-----\n",
		"-----BEGIN PRIVATE "
		"KEY-----\nMC4CAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
		"-----END PRIVATE KEY-----\n",
	};
	uint8_t pub[PUBLIC_LEN];
	struct signer signer;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(pem_parse_public(span_str(bad[i]), pub), -EINVAL);
		assert_int_equal(pem_parse_private(span_str(bad[i]), &signer), -EINVAL);
	}
	assert_int_equal(pem_parse_public(span_str(rfc_private), pub), -EINVAL);
	assert_int_equal(pem_parse_private(span_str(rfc_public), &signer), -EINVAL);
}

static void every_truncation_is_refused(void **state)
{
	size_t whole = strlen(rfc_private) - 1; /* without its last newline it is still whole */
	struct signer signer;

	for (size_t n = 0; n < whole; n++) {
		uint8_t *copy = malloc(n ? n : 1);

		assert_non_null(copy);
		memcpy(copy, rfc_private, n);
		assert_int_equal(pem_parse_private(span_of(copy, n), &signer), -EINVAL);
		free(copy);
	}
	assert_int_equal(pem_parse_private(span_of(rfc_private, whole), &signer), 0);
}

static void run_openssl(const char *command, char *ret, size_t cap)
{
	FILE *pipe = popen(command, "r");
	size_t n;

	assert_non_null(pipe);
	n = fread(ret, 1, cap - 1, pipe);
	ret[n] = '\0';
	assert_int_equal(pclose(pipe), 0);
}

static void what_openssl_generates_is_read_and_written_byte_for_byte(void **state)
{
	char dir[] = "/tmp/test-pem.XXXXXX", command[128], text[256], public[256];
	char private_out[PEM_PRIVATE_CAP], public_out[PEM_PUBLIC_CAP];
	uint8_t pub[PUBLIC_LEN];
	struct signer signer;

	if (access("/usr/bin/openssl", X_OK) != 0)
		skip();
	assert_non_null(mkdtemp(dir));
	snprintf(command, sizeof(command), "openssl genpkey -algorithm ed25519 | tee %s/key", dir);
	run_openssl(command, text, sizeof(text));
	snprintf(command, sizeof(command), "openssl pkey -pubout -in %s/key", dir);
	run_openssl(command, public, sizeof(public));
	snprintf(command, sizeof(command), "%s/key", dir);
	unlink(command);
	rmdir(dir);

	assert_int_equal(pem_parse_private(span_str(text), &signer), 0);
	assert_int_equal(pem_parse_public(span_str(public), pub), 0);
	assert_memory_equal(signer.pub, pub, PUBLIC_LEN);
	pem_encode_private(&signer, private_out);
	pem_encode_public(pub, public_out);
	assert_string_equal(private_out, text);
	assert_string_equal(public_out, public);
}

static int setup(void **state)
{
	return crypto_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_pair_of_rfc_8410_is_read_and_written_back),
		cmocka_unit_test(white_space_and_crlf_around_the_block_are_accepted),
		cmocka_unit_test(what_is_not_exactly_such_a_key_is_refused),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(what_openssl_generates_is_read_and_written_byte_for_byte),
	};

	return cmocka_run_group_tests_name("pem", tests, setup, NULL);
}
