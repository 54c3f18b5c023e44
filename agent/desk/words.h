/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Reasons and events in words that a person at the desk can read out. */
#include "core/reason.h"
#include "desk/events.h"

/* "the phone is revoked"; never NULL. */
const char *words_reason(enum reason reason);
/* One line for an event, without time: "lock-1: opened at the door". */
#define WORDS_CAP 256
const char *words_event(const struct event *event, const struct receipt *receipt,
			char ret[static WORDS_CAP]);
