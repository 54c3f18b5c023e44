/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Gateways and locks as the registry knows them, and what each gateway last said. */
#include "core/token.h"
#include "link/db.h"

#define LOCK_GATEWAYS_MAX 4

struct lock_row {
	char id[ID_MAX + 1];
	uint8_t pub[PUBLIC_LEN];
	char gateways[LOCK_GATEWAYS_MAX][ID_MAX + 1]; /* in order of preference; none revoked */
	size_t ngateways;
	uint64_t added;
};

int gateway_add(struct db *db, const char *id, uint64_t now); /* -EEXIST */
int gateway_known(struct db *db, const char *id);	      /* 1, 0 */
/* But those that are revoked: they are no part of the fleet. */
int gateway_each(struct db *db, int (*fn)(const char *id, void *user), void *user);
/* What it last said, as it came; for answers while no broker can be asked. */
int gateway_put_state(struct db *db, const char *id, struct span json, uint64_t now);
int gateway_has_state(struct db *db, const char *id); /* 1, 0 */
int gateway_put_presence(struct db *db, const char *id, struct span word, uint64_t now);

int lock_add(struct db *db, const struct lock_row *lock, uint64_t now); /* -EEXIST; -ENOENT: a
									   gateway is unknown */
/* Out of the fleet; receipts and the log stay. -ENOENT. */
int lock_remove(struct db *db, const char *id);
int lock_find(struct db *db, const char *id, struct lock_row *ret); /* -ENOENT */
int lock_each(struct db *db, int (*fn)(const struct lock_row *lock, void *user), void *user);
int lock_put_state(struct db *db, const char *id, struct span json, uint64_t now);
/* Its gateway's word: does it obey nobody? 1, 0. Unsigned: for the eye. */
int lock_said_unowned(struct db *db, const char *id);
