// SPDX-License-Identifier: Apache-2.0
/* What a lock says, receipts' results and the GATT values: read, written again, read the same. */
#include "core/result.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool truth)
{
	if (!truth)
		abort();
}

static void try_result(struct span s)
{
	uint8_t first[1024], second[1024];
	struct result a, b;
	struct cbor_writer w, v;

	if (result_parse(s, &a) != 0)
		return;
	must(a.napplied <= APPLIED_MAX && a.outcome != OUTCOME_NONE && a.battery <= 100);
	cbor_writer_init(&w, first, sizeof(first));
	result_put(&w, &a);
	must(!w.failed && result_parse(span_of(first, w.len), &b) == 0);
	cbor_writer_init(&v, second, sizeof(second));
	result_put(&v, &b);
	must(span_equal(span_of(first, w.len), span_of(second, v.len)));
}

static void try_info(struct span s)
{
	uint8_t first[INFO_MAX], second[INFO_MAX], hash_a[4], hash_b[4];
	struct info a, b;
	int n, m;

	if (info_parse(s, &a) != 0)
		return;
	must(strlen(a.id) <= ID_MAX && a.napplied <= APPLIED_MAX);
	n = info_encode(&a, first, sizeof(first));
	must(n > 0 && info_parse(span_of(first, n), &b) == 0);
	m = info_encode(&b, second, sizeof(second));
	must(span_equal(span_of(first, n), span_of(second, m)));
	applied_hash(a.applied, a.napplied, hash_a);
	applied_hash(b.applied, b.napplied, hash_b);
	must(memcmp(hash_a, hash_b, 4) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct span s = span_of(data, len);
	struct lock_state state;
	struct advert advert;
	uint8_t buf[ADVERT_LEN];
	uint64_t n;

	try_result(s);
	try_info(s);
	if (lock_state_parse(s, &state) == 0)
		must(state.present == (len > 0) && state.battery <= 100);
	if (since_parse(s, &n))
		must(n <= INT64_MAX);
	if (advert_parse(s, &advert)) {
		advert_encode(&advert, buf);
		must(buf[0] == data[0] && memcmp(buf + 2, data + 2, 6) == 0);
	}
	return 0;
}
