/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What can be wrong, in words that a service desk can read aloud: one table for state messages,
 * lockbridgectl diagnose, the desk and docs/protocol.md. The codes are the words on the wire.
 */
#include <stddef.h>

struct problem_text {
	const char *code;
	const char *cause; /* what is wrong and what it means for the doors */
	const char *next;  /* what to do, by whom */
};

/* NULL: not a code of ours (a later version's). */
const struct problem_text *problem_text(const char *code);
/* All of them, in the order of the documentation: NULL behind the last. */
const struct problem_text *problem_text_at(size_t i);
