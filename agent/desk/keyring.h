/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The city's private keys: one PEM file of mode 0600 per role under DIR/keys, and their public
 * parts, also of those dropped, in the registry. The registry says which key is in use; a file that
 * is not that key is an error, never used.
 *
 * A new key is written to <role>.pem.new before the registry's transaction commits, and takes the
 * old one's place (which is gone then) after it. In between, and after a crash there, the key in use
 * is found under either name.
 */
#include "core/keys.h"
#include "desk/desk.h"

#define KEYRING_ERROR_CAP 256

extern const enum role keyring_roles[4];
const char *role_word(enum role role);
/* 0: none of ours. */
enum role role_parse(const char *word);

/* Makes DIR/keys (0700). */
int keyring_create(const char *dir);
/*
 * A new key for a role: file .new, and in the registry the old one dropped and this one in use.
 * Inside the caller's transaction; call keyring_settle after its commit.
 */
int keyring_renew(const struct desk *desk, enum role role, uint64_t now, struct signer *ret);
/* Brings the file of the key in use to its name; keys/root.pub beside it. */
int keyring_settle(const struct desk *desk, enum role role);
/* The key in use. error gets the words. -ENOENT, -EBADMSG (not the key of the registry), ... */
int keyring_load(const struct desk *desk, enum role role, struct signer *ret,
		 char error[static KEYRING_ERROR_CAP]);

/* Public parts. */
int keyring_public(struct db *db, enum role role, struct key *ret);
struct keyring_entry {
	struct key key;		/* roles: its role */
	uint64_t made, dropped; /* 0: in use */
};
/* Any key that the desk ever had. -ENOENT. */
int keyring_find(struct db *db, struct span kid, struct keyring_entry *ret);
/* In the order in which they were made. fn < 0 ends it. */
int keyring_each(struct db *db, int (*fn)(const struct keyring_entry *entry, void *user),
		 void *user);
