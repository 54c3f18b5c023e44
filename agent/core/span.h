/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A borrowed run of bytes, and the few macros that every file uses: cleanup attributes and the
 * hand-over of ownership. No allocation here.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const uint8_t *data;
	size_t len;
};

#define SPAN(array)	  ((struct span){(const uint8_t *)(array), sizeof(array)})
#define span_of(ptr, n)	  ((struct span){(const uint8_t *)(ptr), (n)})
#define span_str(literal) ((struct span){(const uint8_t *)(literal), strlen(literal)})

static inline bool span_equal(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool span_is(struct span a, const char *text)
{
	return span_equal(a, span_str(text));
}

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* cleanup(fn): fn(&variable) runs when the variable leaves its scope. */
#define cleanup(fn) __attribute__((__cleanup__(fn)))

/* steal(p): hand over what a pointer owns; the variable becomes NULL. */
#define steal(p)                                                                                   \
	({                                                                                         \
		__typeof__(p) stolen_ = (p);                                                       \
		(p) = NULL;                                                                        \
		stolen_;                                                                           \
	})

/* cleanup for malloc'd memory: cleanup(freep) char *s = NULL; */
static inline void freep(void *p)
{
	void **pp = (void **)p;

	__builtin_free(*pp);
}
