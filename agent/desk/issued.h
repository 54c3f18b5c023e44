/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Authorizations: signing them, and what became of them. Also the two documents that an installer
 * carries to a lock, claim and release.
 */
#include "desk/fleet.h"
#include "desk/sign.h"
#include "desk/staff.h"

struct authorization_request {
	const struct phone *phone;
	const char *lock;
	enum scope scope;
	uint64_t now, lifetime;	  /* seconds */
	const uint8_t *challenge; /* relayed: the lock's present one; NULL: at the door, for the
					phone's key */
	const char *gateway;	  /* relayed */
	struct span correlation;  /* relayed; may be empty */
};

struct authorization {
	uint8_t cti[CTI_LEN];
	uint64_t iat, exp;
	uint8_t bytes[TOKEN_SMALL_MAX];
	size_t len;
};

/* Signs and files it; its index is taken until exp. -ENOKEY: at the door without a phone's key. */
int authorization_sign(const struct desk *desk, const struct authorization_request *request,
		       struct authorization *ret, char error[static KEYRING_ERROR_CAP]);
/* A gateway's `read` authorization for a lock, filed as such. */
int authorization_sign_reader(const struct desk *desk, const char *gateway, const char *lock,
			      const uint8_t pub[static PUBLIC_LEN], uint64_t now,
			      struct authorization *ret, char error[static KEYRING_ERROR_CAP]);
/* The lock is to obey this desk's root; or nobody. By the root in use. The length. */
int claim_sign(const struct desk *desk, const char *lock, uint64_t now, uint8_t *ret, size_t cap,
	       char error[static KEYRING_ERROR_CAP]);
int release_sign(const struct desk *desk, const char *lock, uint64_t now, uint8_t *ret, size_t cap,
		 char error[static KEYRING_ERROR_CAP]);

/* --- what became of them --------------------------------------------------------------------- */

struct issued {
	uint8_t cti[CTI_LEN], kid[DIGEST_LEN];
	char phone[LABEL_CAP], person[LABEL_CAP]; /* label and pseudonym */
	uint64_t idx;
	char lock[ID_MAX + 1];
	char scope[16];
	bool door;
	uint64_t iat, exp;
	char outcome[16]; /* "": none yet */
	bool proven;	  /* by a receipt that the lock signed */
};

int issued_find(struct db *db, struct span cti, struct issued *ret); /* -ENOENT */
/* Those for the door that have not expired, of one lock; whatever has happened since. */
int issued_each_door(struct db *db, const char *lock, uint64_t now,
		     int (*fn)(const struct issued *issued, void *user), void *user);
int issued_accepted(struct db *db, struct span cti, uint64_t at);
/* done and failed stay; unknown becomes one of them; of two alike the one that the lock signed counts.
 * For relayed ones: one for the door is used all through a shift, its receipts tell. */
int issued_outcome(struct db *db, struct span cti, const char *outcome, const char *reason,
		   uint64_t at, bool proven);
/* The newest iat of any authorization for this lock ("*": of all); 0 if none. */
int issued_newest(struct db *db, const char *lock, uint64_t *ret);
