/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The enrolment file. So that the checksum does not keep everything else from being tried, a text that
 * is an object is also tried with the checksum that fits. What is taken must come out of the encoder
 * in a form that is taken again, and then stays the same.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "message-enrolment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
	if (!ok)
		abort();
}

static int try(struct span text)
{
	static struct enrolment one, two;
	char error[256] = "", *again, *third;
	int r = enrolment_parse(text, &one, error, sizeof(error));

	must(r == 0 || r == -EINVAL || r == -EBADMSG || r == -EOPNOTSUPP);
	must((r == 0) == (error[0] == '\0'));
	if (r < 0)
		return r;
	must(one.nbrokers > 0 && id_valid(span_str(one.gateway)));
	again = enrolment_encode(&one);
	must(again != NULL);
	/* indented it may be longer than what was read */
	if (strlen(again) <= ENROLMENT_MAX) {
		must(enrolment_parse(span_str(again), &two, error, sizeof(error)) == 0);
		third = enrolment_encode(&two);
		must(third && strcmp(again, third) == 0);
		free(third);
		enrolment_deinit(&two);
	}
	free(again);
	enrolment_deinit(&one);
	return 0;
}

static void try_with_a_checksum(struct span text)
{
	json_t *object = json_loadb((const char *)text.data, text.len, 0, NULL);
	char hex[HEX_CAP(SHA256_LEN)], *compact;
	uint8_t sum[SHA256_LEN];

	if (!json_is_object(object)) {
		json_decref(object);
		return;
	}
	json_object_del(object, "checksum");
	compact = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
	must(compact != NULL);
	crypto_sha256(span_str(compact), sum);
	free(compact);
	hex_encode(SPAN(sum), hex, sizeof(hex));
	json_object_set_new(object, "checksum", json_string(hex));
	compact = json_dumps(object, JSON_COMPACT);
	must(compact != NULL);
	if (strlen(compact) <= ENROLMENT_MAX)
		must(try(span_str(compact)) != -EBADMSG);
	free(compact);
	json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try(span_of(data, size));
	try_with_a_checksum(span_of(data, size));
	return 0;
}
