/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The documents that the desk signed, all of them, and what holds now. A slot is the topic below
 * city/: "keys/<root kid>", "policy", "list/<name>".
 *
 * What holds in a slot is the document with the highest iat by the key in use for its role (keys:
 * by the root in the slot's name). A document by a dropped key is history: receipts may name it.
 */
#include "core/revocation.h"
#include "core/token.h"
#include "link/db.h"

#define SLOT_CAP (ID_MAX + 8)

struct document {
	char slot[SLOT_CAP];
	uint64_t iat, exp, changed;
	uint8_t digest[DIGEST_LEN], kid[DIGEST_LEN];
	uint8_t *bytes; /* owned */
	size_t len;
};
void document_deinit(struct document *document);
static inline struct span document_span(const struct document *d)
{
	return span_of(d->bytes, d->len);
}

/* The slot that a parsed keys, policy or list token belongs in; -EINVAL for other kinds. */
int document_slot(const struct token *token, char ret[static SLOT_CAP]);
/* Files a document that was signed or taken over. The same digest again: quiet. */
int document_put(struct db *db, struct span bytes, bool taken_over);
/* -ENOENT: none. */
int document_newest(struct db *db, const char *slot, struct span kid, struct document *ret);
int document_by_digest(struct db *db, const char *slot, struct span digest, struct document *ret);
/* 1: one of ours, whatever the slot. */
int document_known(struct db *db, struct span digest);
/*
 * What belongs under city/ now, keys in the order of the chain, then policy and lists. The document
 * lives during the call. fn < 0 ends it.
 */
int document_each_current(struct db *db, int (*fn)(const struct document *d, void *user),
			  void *user);

/* Digests that are out there and are not the desk's. */
int foreign_put(struct db *db, struct span digest, uint64_t now, const char *why);
int foreign_known(struct db *db, struct span digest); /* 1, 0 */

/* 1: a document of this slot, newer than iat, was taken over from the field. */
int document_taken_over_since(struct db *db, const char *slot, uint64_t iat);

/* The entries of a list that we hold. Large: allocate. 0 or -EBADMSG, -ENOMEM. */
int document_entries(const struct document *list, struct status_list *ret);
