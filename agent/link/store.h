/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a gateway must not forget, in SQLite (WAL, synchronous=FULL): every put is on disk (fsync)
 * when it returns. Blocking is the one exception to "nothing blocks the loop".
 *
 * 0 or more: success. -ENOENT: no such row (from store_open: no such folder). -EBADMSG: the file is
 * damaged or not ours (never read as "empty"). -EBUSY: another agent holds it. -ENOSPC, -EIO,
 * -EROFS, -EACCES as the disk says. store_error has the words.
 *
 * The file is checked when opened (application id, schema version, integrity_check); each row carries a
 * checksum over its key and content, and is refused when it does not fit. What must not go missing
 * is counted besides: a hash over all documents and values, and the numbers of authorizations and
 * events. So a damaged file tells, and never just holds less. What this cannot see is a whole file
 * put back from an older copy; the city can, by the events' chain and by what state says is held.
 *
 * A damaged file is left as it is: the caller puts it aside, for whoever looks into it, and opens a
 * new one. That has a new stream, and no list: nothing opens until the city has sent one.
 */
#include "core/token.h"

struct store;

struct store_options {
	const char *path;	  /* of the database file; its folder must exist. NULL: in memory */
	bool damaged;		  /* a new file's value "damaged" is "1" from the start */
	uint64_t event_bytes_max; /* of kept events; beyond it the oldest acknowledged go first,
				     then the oldest */
	uint64_t event_keep_s;	  /* how long acknowledged events stay, 14 days by default */
	char *error;		  /* may be NULL: where the words go when store_open fails */
	size_t error_cap;
};

/* Creates the file (mode 0600) with a new stream id if there is none. */
int store_open(const struct store_options *options, struct store **ret);
void store_close(struct store *store);
void store_closep(struct store **store);
const char *store_error(const struct store *store);
/* Gives back the memory that it keeps only to be quick. */
void store_rest(struct store *store);

/*
 * Several changes of documents and values as one: on disk together with the commit, or not at all.
 *
 *	cleanup(store_rollbackp) struct store *tx = NULL;
 *
 *	r = store_begin(store, &tx);
 *	...
 *	return store_commit(&tx);
 *
 * They do not nest (-EINVAL); store_each_document and the rest of the store have to wait. After a
 * change that failed the commit gives -ECANCELED.
 */
int store_begin(struct store *store, struct store **ret_tx);
int store_commit(struct store **tx);
void store_rollbackp(struct store **tx);

/* Small values: "floor", "reader" (seed), ... -ENOENT if missing; -ENOSPC if cap is too small.
 * "stream", "head" and "manifest" are the store's own: -EINVAL. */
int store_put_value(struct store *store, const char *key, struct span value);
int store_get_value(struct store *store, const char *key, void *ret, size_t cap, size_t *ret_len);
/* The random id of this store's event stream, hex. */
const char *store_stream(const struct store *store);

/* --- documents --- */

/* slot: "keys/<root kid>", "policy", "list/<name>", "pending/<topic>", "reader/<lock>". order: the
 * sequence in which store_each_document gives them back (keys before what they name). */
int store_put_document(struct store *store, const char *slot, int order, struct span document,
		       struct span under);
int store_delete_document(struct store *store, const char *slot);
/* All whose slot begins so; none is fine. */
int store_delete_documents(struct store *store, const char *prefix);
typedef int (*store_document_fn)(const char *slot, struct span document, struct span under,
				 void *user); /* < 0 ends it */
/* -EBADMSG if any row is damaged or missing (after the sound ones were given). fn must not change
 * the store. */
int store_each_document(struct store *store, store_document_fn fn, void *user);
/* Those whose slot begins so: a list of 128 KiB need not be read, and summed up, for a small one. */
int store_each_document_of(struct store *store, const char *prefix, store_document_fn fn,
			   void *user);

/* --- authorizations: at most once --- */

enum store_phase {
	STORE_ACCEPTED = 1, /* on disk before the first byte; moves at most once */
	STORE_UNKNOWN = 3,  /* reported as unknown, a receipt may still resolve it */
	STORE_DONE = 4,	    /* outcome known and reported, or refused */
};

struct store_authorization {
	uint8_t cti[CTI_LEN];
	char lock[ID_MAX + 1];
	uint64_t exp;
	enum store_phase phase;
	char first[16]; /* what a replay is told: "pending", "done", "failed", "unknown", "refused"
			 */
	enum scope scope;
	uint8_t correlation[64];
	size_t correlation_len;
};

/*
 * The cti and the event that says so, in one transaction. -EEXIST: seen before (nothing is
 * written). event: the payload, encoded with the seq and prev that store_event_next gave; it
 * becomes the next event, with auth's correlation. NULL: none. Its time, for how long it is kept,
 * is the latest now that store_event or store_trim was told. A refusal that is to be remembered is
 * put with phase STORE_DONE and first "refused".
 */
int store_accept(struct store *store, const struct store_authorization *auth, const char *event);
/* first NULL: as it is. event as above. */
int store_phase(struct store *store, const uint8_t cti[static CTI_LEN], enum store_phase phase,
		const char *first, const char *event);
int store_find(struct store *store, const uint8_t cti[static CTI_LEN],
	       struct store_authorization *ret);
/* Those not yet STORE_DONE, oldest exp first. fn may change the store; < 0 ends it. -EBADMSG if any
 * row is damaged (after the sound ones were given). */
typedef int (*store_authorization_fn)(const struct store_authorization *auth, void *user);
int store_each_open(struct store *store, store_authorization_fn fn, void *user);
/* Forgets ctis whose exp is older than before (after the longest lifetime and the clock's doubts),
 * but none accepted whose outcome is open. The number forgotten. */
int store_forget(struct store *store, uint64_t before);

/* --- events: numbered, chained, kept --- */

/* What the next event must carry. */
int store_event_next(struct store *store, uint64_t *ret_seq, uint8_t ret_prev[static SHA256_LEN]);
/* payload: the encoded event with exactly that seq and prev; another seq: -EINVAL. */
int store_event(struct store *store, uint64_t seq, const char *payload, struct span correlation,
		uint64_t now);
struct store_row {
	uint64_t seq;
	struct span payload, correlation;
	bool acked;
};
/* > 0 stops early, < 0 too and is returned. Must not change the store. */
typedef int (*store_event_fn)(const struct store_row *row, void *user);
/* From seq on (inclusive), at most limit. only_open: those without PUBACK. -EBADMSG at the first
 * damaged row, after those before it. */
int store_each_event(struct store *store, uint64_t from, size_t limit, bool only_open,
		     store_event_fn fn, void *user);
/* The one change that is not synced: lost in a power cut, the event is sent again. -ENOENT: dropped
 * meanwhile. */
int store_acked(struct store *store, uint64_t seq);
/* Marks as open again: from seq on; how many. */
int64_t store_replay(struct store *store, uint64_t from);
/* 0 where there is none; newest counts also what was dropped since. open: without PUBACK. */
int store_event_stats(struct store *store, uint64_t *ret_oldest, uint64_t *ret_newest,
		      uint64_t *ret_open);
/* Drops what is acknowledged and past its time; beyond the disk bound drops more: *ret_dropped
 * counts those that had no PUBACK (the caller makes that an event). */
int store_trim(struct store *store, uint64_t now, uint64_t *ret_dropped);

/* --- locks --- */

struct store_lock {
	uint64_t n; /* receipts up to here are filed, without a gap */
	bool has_challenge;
	uint8_t challenge[CHALLENGE_LEN];
	uint8_t bolt; /* enum bolt */
	bool has_battery;
	uint8_t battery;
	uint64_t seen;
	uint8_t applied[512]; /* encoded applied map, as in receipts */
	size_t applied_len;
};
int store_put_lock(struct store *store, const char *lock, const struct store_lock *state);
int store_get_lock(struct store *store, const char *lock, struct store_lock *ret);
int store_delete_lock(struct store *store, const char *lock);
