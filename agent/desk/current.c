// SPDX-License-Identifier: Apache-2.0
/* What belongs under city/. See current.h. */
#include "desk/current.h"

#include <errno.h>
#include <stdlib.h>

void current_deinit(struct current *current)
{
	for (size_t i = 0; i < current->n; i++)
		document_deinit(&current->docs[i]);
	current->n = 0;
}

static int take(const struct document *d, void *user)
{
	struct current *c = user;
	struct document *copy = &c->docs[c->n];

	if (c->n == CURRENT_MAX)
		return -ENOBUFS;
	*copy = *d;
	/* the bytes are the caller's: ours are a copy */
	copy->bytes = malloc(d->len);
	if (!copy->bytes)
		return -ENOMEM;
	memcpy(copy->bytes, d->bytes, d->len);
	c->n++;
	return 0;
}

int current_load(struct db *db, struct current *current)
{
	struct current fresh = {0};
	bool same;
	int r = document_each_current(db, take, &fresh);

	if (r < 0) {
		current_deinit(&fresh);
		return r;
	}
	same = fresh.n == current->n;
	for (size_t i = 0; same && i < fresh.n; i++)
		same = !strcmp(fresh.docs[i].slot, current->docs[i].slot) &&
		       !memcmp(fresh.docs[i].digest, current->docs[i].digest, DIGEST_LEN);
	current_deinit(current);
	*current = fresh;
	return !same;
}

const struct document *current_find(const struct current *current, const char *slot)
{
	for (size_t i = 0; i < current->n; i++)
		if (!strcmp(current->docs[i].slot, slot))
			return &current->docs[i];
	return NULL;
}

static bool is_keys(const struct document *d)
{
	return !strncmp(d->slot, "keys/", 5);
}

const struct document *current_keys(const struct current *current)
{
	const struct document *last = NULL;

	for (size_t i = 0; i < current->n; i++)
		if (is_keys(&current->docs[i]))
			last = &current->docs[i];
	return last;
}

static bool holds(const struct message_state *state, const char *name, bool list,
		  const struct document *d)
{
	for (size_t i = 0; i < state->ndocuments; i++)
		if (state->documents[i].list == list && !strcmp(state->documents[i].is.name, name))
			return !memcmp(state->documents[i].is.digest, d->digest, DIGEST_LEN);
	return false;
}

size_t current_lacking(const struct current *current, const struct message_state *state,
		       void (*fn)(const struct document *d, void *user), void *user)
{
	const struct document *newest = current_keys(current);
	bool send_keys = newest && !holds(state, "keys", false, newest);
	bool on_chain = false;
	size_t n = 0;

	/* The chain from the root that signs next for this box; from its start if that is none of
	 * ours. */
	for (size_t i = 0; i < current->n; i++)
		on_chain |= is_keys(&current->docs[i]) &&
			    !strcmp(current->docs[i].slot + 5, state->root);
	for (size_t i = 0; i < current->n; i++) {
		const struct document *d = &current->docs[i];
		bool wanted;

		if (is_keys(d)) {
			if (on_chain && !strcmp(d->slot + 5, state->root))
				on_chain = false;
			wanted = send_keys && !on_chain;
		} else if (!strncmp(d->slot, "list/", 5)) {
			wanted = !holds(state, d->slot + 5, true, d);
		} else {
			wanted = !holds(state, d->slot, false, d);
		}
		if (wanted && fn)
			fn(d, user);
		n += wanted;
	}
	return n;
}
