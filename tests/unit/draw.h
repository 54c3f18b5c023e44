/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Chance that is the same each time: xorshift64. For tests that draw their cases. */
#include <stdint.h>

/* 0 to below - 1. *seed must not be 0. */
static inline uint64_t draw_from(uint64_t *seed, uint64_t below)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (*seed >> 11) % below;
}
