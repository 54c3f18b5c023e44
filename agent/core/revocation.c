// SPDX-License-Identifier: Apache-2.0
/*
 * Token Status List: inflate with a hard bound on what comes out, and look-ups by shift and mask.
 * What is not there reads as revoked: a short list, an empty one, a width that is not ours.
 */
#include "core/revocation.h"

#include <errno.h>
#include <zlib.h>

static bool bits_valid(unsigned bits)
{
	return bits == 1 || bits == 2 || bits == 4 || bits == 8;
}

static int run(z_stream *z, size_t max, struct status_list *ret)
{
	int r;

	/* One byte more than may come: it tells too long from cut off exactly there. */
	z->next_out = ret->bytes;
	z->avail_out = (uInt)max + 1;
	r = inflate(z, Z_FINISH);
	if (r == Z_MEM_ERROR)
		return -ENOMEM;
	if (z->avail_out == 0)
		return REASON_TOO_LARGE;
	if (r != Z_STREAM_END || z->avail_in != 0)
		return REASON_MALFORMED;
	ret->len = max + 1 - z->avail_out;
	return 0;
}

int status_list_inflate(struct span lst, unsigned bits, size_t max, struct status_list *ret)
{
	z_stream z = {0};
	int r;

	if (!bits_valid(bits))
		return REASON_MALFORMED;
	if (max > LIST_BYTES_MAX)
		max = LIST_BYTES_MAX;
	if (lst.len > UINT32_MAX)
		return REASON_TOO_LARGE;
	z.next_in = (z_const Bytef *)lst.data;
	z.avail_in = (uInt)lst.len;
	if (inflateInit(&z) != Z_OK)
		return -ENOMEM;
	ret->bits = bits;
	r = run(&z, max, ret);
	inflateEnd(&z);
	return r;
}

int status_list_deflate(const struct status_list *list, uint8_t *ret, size_t cap)
{
	uLongf len = cap;

	switch (compress2(ret, &len, list->bytes, list->len, Z_BEST_COMPRESSION)) {
	case Z_OK:
		return (int)len;
	case Z_BUF_ERROR:
		return -ENOSPC;
	default:
		return -ENOMEM;
	}
}

int status_list_init(struct status_list *list, unsigned bits, size_t entries)
{
	size_t len;

	if (!bits_valid(bits) || entries > (size_t)LIST_BYTES_MAX * 8 / bits)
		return -EINVAL;
	len = (entries * bits + 7) / 8;
	list->bits = bits;
	list->len = len;
	memset(list->bytes, 0, sizeof(list->bytes));
	return 0;
}

size_t status_list_entries(const struct status_list *list)
{
	return list->len * (8 / list->bits);
}

unsigned status_list_get(const struct status_list *list, uint64_t idx)
{
	unsigned per_byte = 8 / list->bits;

	if (idx / per_byte >= list->len)
		return STATUS_REVOKED;
	return list->bytes[idx / per_byte] >> idx % per_byte * list->bits &
	       ((1U << list->bits) - 1);
}

int status_list_set(struct status_list *list, uint64_t idx, unsigned status)
{
	unsigned per_byte = 8 / list->bits, mask = (1U << list->bits) - 1, shift;
	uint8_t *byte;

	if (status > mask || idx / per_byte >= list->len)
		return -ERANGE;
	shift = (unsigned)(idx % per_byte) * list->bits;
	byte = &list->bytes[idx / per_byte];
	*byte = (uint8_t)((*byte & ~(mask << shift)) | status << shift);
	return 0;
}
