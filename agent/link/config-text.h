/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * lockbridge.conf as text, before libconfig's reader gets it. What that reader must not see: NUL (it
 * would stop there), @include (it would open files), and numbers beyond 32 bits without an L (1.5
 * wraps them silently: port 65537 + 2^32 would be 65537).
 */
#include "core/span.h"

/* A malloc'd copy, NUL-terminated, every whole number with an L behind it; lines stay lines.
 * 0, -ENOMEM, or -EINVAL with *ret_line and *ret_wrong (a constant). */
int config_text_prepare(struct span text, char **ret, unsigned *ret_line, const char **ret_wrong);
/* Where a text in quotation marks or a remark that begins at `from` ends (one of a line: at its line
 * break); from itself if none begins there. */
size_t config_text_opaque(const char *text, size_t from, size_t len);
