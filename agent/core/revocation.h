/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Token Status List (IETF, draft -20): the revocation list. Inflated into a buffer of fixed size;
 * a look-up costs the same at any size. 0 valid, 1 revoked, 2 suspended, LSB first.
 */
#include "core/reason.h"
#include "core/span.h"

#define LIST_BYTES_MAX (128 * 1024) /* inflated */

enum status { /* anything else refuses too */
	      STATUS_VALID,
	      STATUS_REVOKED,
	      STATUS_SUSPENDED,
};

struct status_list {
	unsigned bits;			   /* 1, 2, 4 or 8 */
	size_t len;			   /* bytes used */
	uint8_t bytes[LIST_BYTES_MAX + 1]; /* the last: to see that there is more */
};

/* 0; REASON_MALFORMED (not zlib, cut off, trailing bytes, bits); REASON_TOO_LARGE (over max, which
 * is at most LIST_BYTES_MAX); -ENOMEM. On failure ret is undefined. An empty list is one: it
 * revokes everybody. */
int status_list_inflate(struct span lst, unsigned bits, size_t max, struct status_list *ret);
/* For who signs. The length, -ENOSPC or -ENOMEM. */
int status_list_deflate(const struct status_list *list, uint8_t *ret, size_t cap);
/* All zero, entries rounded up to a whole byte. 0 or -EINVAL. */
int status_list_init(struct status_list *list, unsigned bits, size_t entries);
/* The status; outside the list: 1 (revoked). */
unsigned status_list_get(const struct status_list *list, uint64_t idx);
/* 0, -ERANGE. */
int status_list_set(struct status_list *list, uint64_t idx, unsigned status);
size_t status_list_entries(const struct status_list *list);
