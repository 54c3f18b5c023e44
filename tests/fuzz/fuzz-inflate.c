// SPDX-License-Identifier: Apache-2.0
/*
 * Lists of any bytes, and bytes of any list: the first byte says the width, whether what follows is
 * to be packed first (so that it gets past zlib's checksum), and the bound.
 */
#include "core/revocation.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct status_list list, again;
static uint8_t packed[LIST_BYTES_MAX + LIST_BYTES_MAX / 8];

static void must(bool truth)
{
	if (!truth)
		abort();
}

/* Every status is within its width; writing all of them again gives the same bytes. */
static void check(size_t max)
{
	size_t n = status_list_entries(&list);

	must(list.len <= max);
	must(status_list_get(&list, n) == STATUS_REVOKED);
	must(status_list_init(&again, list.bits, n) == 0 && again.len == list.len);
	for (size_t i = 0; i < n && i < 4096; i++) {
		unsigned status = status_list_get(&list, i);

		must(status < 1U << list.bits);
		must(status_list_set(&again, i, status) == 0);
	}
	if (n <= 4096)
		must(memcmp(list.bytes, again.bytes, list.len) == 0);
}

static void pack(struct span bytes, unsigned bits)
{
	int r;

	must(status_list_init(&again, bits, 0) == 0);
	again.len = bytes.len;
	memcpy(again.bytes, bytes.data, bytes.len);
	r = status_list_deflate(&again, packed, sizeof(packed));
	must(r > 0);
	must(status_list_inflate(span_of(packed, r), bits, LIST_BYTES_MAX, &list) == 0);
	must(list.len == bytes.len && memcmp(list.bytes, bytes.data, bytes.len) == 0);
	check(LIST_BYTES_MAX);
	must(bytes.len == 0 || status_list_inflate(span_of(packed, r), bits, bytes.len - 1,
						   &list) == REASON_TOO_LARGE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	size_t max;
	unsigned bits;
	int r;

	if (len == 0)
		return 0;
	bits = data[0] & 15;
	max = data[0] & 32 ? 16 * 1024 : LIST_BYTES_MAX;
	if (data[0] & 16 && len <= LIST_BYTES_MAX)
		pack(span_of(data + 1, len - 1), 1U << (bits & 3));
	r = status_list_inflate(span_of(data + 1, len - 1), bits, max, &list);
	must(r == 0 || r == REASON_MALFORMED || r == REASON_TOO_LARGE);
	if (r == 0)
		check(max);
	return 0;
}
