/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Signing what belongs under city/: keys, policy, lists. Each function files what it signs, in one
 * transaction; the iat of a slot strictly rises under one key, whatever the clock does.
 *
 * error gets the words when a function fails (< 0).
 */
#include "core/policy.h"
#include "desk/documents.h"
#include "desk/keyring.h"

#define SIGN_KEYS_AFTER_S (30 * 86400) /* keys and policy are signed anew so often ... */
#define SIGN_KEYS_LIFE_S  (90 * 86400) /* ... and expire then */
#define LIST_LIFETIME_S	  (2 * 86400)
#define LIST_BITS	  2
#define LIST_ENTRIES	  32768 /* 8 KiB inflated: every lock takes 16 */

struct sign_settings {
	char issuer[URI_MAX + 1];
	char list_uri[URI_MAX + 1];
	uint64_t entries;
	uint64_t list_lifetime;
};
int sign_settings_load(struct db *db, struct sign_settings *ret);
/* "list/<name>" of the desk's list. */
int sign_list_slot(struct db *db, char ret[static SLOT_CAP]);

/* By the root in use, naming it and every key in use. */
int sign_keys(const struct desk *desk, uint64_t now, char error[static KEYRING_ERROR_CAP]);
/* The policy in force at the desk; the default before the first. */
int sign_policy_now(struct db *db, struct policy *ret);
/* Entries of the cut-off that are older than max_lifetime are dropped from it. */
int sign_policy(const struct desk *desk, struct policy *policy, uint64_t now,
		char error[static KEYRING_ERROR_CAP]);
/*
 * The list, if its content changed, its half-time has passed or its signer was dropped; with force
 * in any case. 1: signed, 0: not due.
 */
int sign_list(const struct desk *desk, uint64_t now, bool force,
	      char error[static KEYRING_ERROR_CAP]);
/* Whatever of the three is due. The number of documents signed; < 0: the list failed. If keys or
 * policy could not be signed, that is said in error (else "") and the rest goes on. */
int sign_due(const struct desk *desk, uint64_t now, char error[static KEYRING_ERROR_CAP]);

/* --- rotation -------------------------------------------------------------------------------- */

/*
 * A new key for one role; the old one is dropped from the keys document, and what it had signed is
 * due from then on (sign_due). Root: the old one signs the document that names its successor, who
 * then signs its own at once, so that the old one counts for nothing more. The caller commits, then
 * calls keyring_settle.
 */
int sign_rotate(const struct desk *desk, enum role role, uint64_t now,
		char error[static KEYRING_ERROR_CAP]);
#define SIGN_CHAIN_MAX 16 /* roots that a box can be walked along */
