/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the files of the store share: its state, checksums of rows, and the head. */
#include "core/crypto.h"
#include "link/db.h"
#include "link/store.h"

#define ROW_SUM_LEN 16 /* of SHA-256 */

/* What must not go missing, written with every change of it, in the same transaction. */
struct store_head {
	uint64_t next; /* seq of the next event */
	uint8_t prev[SHA256_LEN];
	uint64_t events, bytes; /* rows kept, and their payloads */
	uint64_t authorizations;
};

struct store {
	struct db *db;
	struct db *tx;		      /* of store_begin */
	struct store_options options; /* path and error are not ours to use after store_open */
	struct store_head head;	      /* as on disk: set after the commit */
	char stream[33];
	uint64_t now; /* the latest that we were told */
};

/* One letter per table: a row that strays into another does not fit. */
enum row_kind {
	ROW_VALUE = 'v',
	ROW_DOCUMENT = 'd',
	ROW_AUTHORIZATION = 'a',
	ROW_EVENT = 'e',
	ROW_LOCK = 'l',
};

#define ROW_FIELDS_MAX 10
void row_sum(enum row_kind kind, const struct span *fields, size_t n,
	     uint8_t ret[static ROW_SUM_LEN]);
/* A number as a field: 8 bytes, big endian, in the caller's buffer. */
struct span row_number(uint64_t value, uint8_t buf[static 8]);

/* Within a transaction; the caller sets store->head after the commit. */
int store_put_head(struct store *store, const struct store_head *head);
/* Adds an event to head and table, within a transaction. */
int store_add_event(struct store *store, struct store_head *head, const char *payload,
		    struct span correlation);
/* Ends the transaction of a change to a document or value. */
int store_seal(struct store *store, struct db **tx);
int store_check_manifest(struct db *db);
int store_check_documents(struct db *db);
/* At open: are as many rows there as the head says? */
int store_check_events(struct store *store);
int store_check_authorizations(struct store *store);
