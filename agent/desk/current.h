/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What belongs under city/ now, in memory: keys of the chain, policy, lists, in sending order. */
#include "desk/documents.h"
#include "message.h"

#define CURRENT_MAX 24

struct current {
	struct document docs[CURRENT_MAX];
	size_t n;
};
/* Loads anew if the registry changed since (or this is new): 1; else 0. */
int current_load(struct db *db, struct current *current);
void current_deinit(struct current *current);
const struct document *current_find(const struct current *current, const char *slot);
/* The last keys document of the chain; NULL: none. */
const struct document *current_keys(const struct current *current);
/*
 * What a gateway in this state lacks: calls fn for each document it is to be sent, in order. The
 * number of them.
 */
size_t current_lacking(const struct current *current, const struct message_state *state,
		       void (*fn)(const struct document *d, void *user), void *user);
