/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What locks signed: receipts, verified with the lock's key from the registry and filed by (lock,
 * n), from any gateway, in any order. The same n with other bytes is an alarm; a gap is shown.
 */
#include "core/result.h"
#include "link/db.h"

struct receipt {
	char lock[ID_MAX + 1];
	uint64_t iat; /* the lock's clock */
	bool has_cti; /* 16 bytes: an authorization's */
	uint8_t cti[CTI_LEN];
	bool has_digest; /* 8 bytes: a document's */
	uint8_t digest[DIGEST_LEN];
	struct result result;
};

/* 0: signed by the lock that it names; > 0: enum reason, not a receipt to believe. */
int receipt_read(struct db *db, struct span bytes, struct receipt *ret);
/*
 * Reads, files, and lets the authorization that it names know. 0 (*ret_new: not filed before), or a
 * reason (alarmed). gateway: who brought it.
 */
int receipt_file(struct db *db, struct span bytes, const char *gateway, uint64_t now,
		 struct receipt *ret, bool *ret_new);
/* The filed receipt of this lock with the highest n. -ENOENT. */
int receipt_newest(struct db *db, const char *lock, struct receipt *ret);
/* The lock proved that it obeys nobody and holds no document: nothing signed here opens it. */
bool receipt_frees(const struct receipt *receipt);
/* 1: so says its newest; 0, also without any. */
int receipt_released(struct db *db, const char *lock);
/* Is what is filed under this name signed by this key? 1 (also: nothing is filed), 0. A name is not
 * used again for other hardware: the old one's higher numbers would prove for the new one. */
int receipt_fits(struct db *db, const char *lock, const uint8_t pub[static PUBLIC_LEN]);
/* How many numbers are missing below the highest filed. */
int receipt_gaps(struct db *db, const char *lock, uint64_t *ret_missing, uint64_t *ret_highest);
