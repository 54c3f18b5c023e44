/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One line per fact, for the journal with its fields, for a terminal as text. Programs, gateway*.c
 * and on_ callbacks only; never a secret, never a payload.
 */
#include <syslog.h>

/* "error", "warning", "notice", "info", "debug"; others: info. */
void log_set_level(const char *word);
/* Fields: pairs of name (LOCK, CTI, REASON, ...) and text, then NULL. A text that is NULL or ""
 * is left out. */
void log_fact(int priority, const char *message, ...) __attribute__((sentinel));
