/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One lock's session: when to connect and why, what goes over the link first, what its answers
 * mean. It knows neither BlueZ nor disk nor broker: the radio is a table of functions, the rest
 * goes up through ops. Not one byte of an authorization leaves before lock_commit(), and not before
 * recheck() said yes on that very connection.
 *
 * An authorization is sent at most once. Nothing sent: connecting may be tried again until its
 * deadline. Last frame maybe sent: only the lock's verified receipt says done or failed.
 *
 * Times are milliseconds of one steady clock (ops.now_ms). Calls into lock_ never call lock_ again
 * through ops; radio functions never call back before they return.
 */
#include "driver/open.h"
#include "message.h"

struct lock;

enum lock_chr { LOCK_INFO, LOCK_INBOX, LOCK_OUTBOX, LOCK_STATE };

enum lock_sent { LOCK_SENT, LOCK_NOT_SENT, LOCK_MAYBE_SENT };

enum lock_end {
	LOCK_CLOSED,	  /* we asked */
	LOCK_UNREACHABLE, /* never connected */
	LOCK_LOST,	  /* was up, broke */
	LOCK_RADIO_DOWN,
	LOCK_PREEMPTED, /* another lock's command came first */
	LOCK_PROTOCOL,	/* connects, but is no lock of this kind */
};

/* What the session asks of the radio; 0 or -errno. */
struct lock_radio {
	/* lock_connected() or lock_disconnected() follows. The outbox is subscribed, the inbox open
	 * by then. -EAGAIN: address not known yet; -ENETDOWN. */
	int (*connect)(bool urgent, void *user);
	int (*read)(enum lock_chr chr, void *user);  /* lock_value() follows */
	int (*write)(struct span frame, void *user); /* to the inbox; lock_written() follows */
	/* From the next connect on each write is answered by the lock before the next one leaves. */
	void (*confirm)(void *user);
	void (*drop_writes)(void *user);		 /* each: lock_written(LOCK_NOT_SENT) */
	int (*subscribe)(enum lock_chr chr, void *user); /* nothing follows */
	void (*disconnect)(void *user);			 /* lock_disconnected() follows */
};

struct lock_command {
	uint8_t cti[CTI_LEN];
	enum scope scope;
	uint64_t exp; /* seconds since 1970 */
	uint8_t document[TOKEN_SMALL_MAX];
	size_t len;
	uint8_t correlation[CORRELATION_MAX];
	size_t correlation_len;
};

struct lock_test_result {
	bool ok;
	unsigned connect_ms; /* 0: was connected */
	unsigned round_trip_ms;
	const char *why; /* not ok: in words */
};

/* What became of a claim or release. */
struct lock_forwarded {
	enum token_kind kind;
	uint8_t digest[DIGEST_LEN];
	/* CLAIMED or RELEASED, as the lock signed it; REFUSED; UNKNOWN: sent again and again, and no
	 * answer */
	enum outcome outcome;
	enum reason reason;
	struct span receipt; /* len 0: a short answer, unsigned, or none */
	/* What info said afterwards, unsigned too. A claim or release whose answer was lost is
	 * refused when it is sent again: then this tells. */
	bool has_owner, owned;
	uint8_t owner[DIGEST_LEN];
};

struct lock_ops {
	uint64_t (*now_ms)(void *user);
	/* One alarm, replaced by each call; 0: none. Then lock_alarm(). */
	void (*alarm)(uint64_t at_ms, void *user);
	/* The decision once more, right before the first byte. 0 or a reason. */
	int (*recheck)(const struct lock_command *command, void *user);
	/* Exactly once per committed command: OUTCOME_DONE, _FAILED or _UNKNOWN. receipt: empty or
	 * the lock's, verified; result then, else NULL. */
	void (*outcome)(const struct lock_command *command, enum outcome outcome,
			enum reason reason, struct span receipt, const struct result *result,
			void *user);
	/* A verified receipt that answers no command in hand; each kept one (has_n) once. */
	void (*receipt)(const struct token *token, struct span document,
			const struct result *result, void *user);
	/* The lock's log was read to its head. gap: receipts between were lost in the lock. */
	void (*log_complete)(bool gap, void *user);
	void (*changed)(void *user); /* something that lock_fill() shows */
	void (*keep)(void *user);    /* what lock_stored() gives must go to disk */
	void (*reachable)(bool yes, void *user);
	void (*tested)(const struct lock_test_result *result, void *user);
	/* Once per lock_forward(), unless dropped. */
	void (*forwarded)(const struct lock_forwarded *forwarded, void *user);
	/* What looks like this lock is another one, or cannot prove to be it. */
	void (*stranger)(const char *why, void *user);
};

struct lock_options {
	const char *id;
	const uint8_t *key; /* PUBLIC_LEN */
	const struct trust *trust;
	const struct signer *reader;
	unsigned linger_ms;
};

/* What outlives a restart. */
struct lock_stored {
	uint64_t n; /* receipts up to here are filed */
	bool has_challenge;
	uint8_t challenge[CHALLENGE_LEN];
	enum bolt bolt;
	bool has_battery;
	uint8_t battery;
	uint64_t seen; /* seconds since 1970 */
	struct applied applied[APPLIED_MAX];
	size_t napplied;
	bool has_advert; /* as it was after the last complete visit */
	uint8_t advert[6];
};

struct lock_counters {
	uint64_t connects, visits, done, failed, unknown, rubbish, pushes, bytes_out, gaps;
};

/* stored may be NULL: never met. */
int lock_new(const struct lock_options *options, const struct lock_stored *stored,
	     const struct lock_radio *radio, const struct lock_ops *ops, void *user,
	     struct lock **ret);
/* No op fires. A command in hand has no outcome: its row in the store says so at the next start. */
void lock_free(struct lock *lock);
void lock_freep(struct lock **lock);

/* --- what the gateway wants
 * ---------------------------------------------------------------------- */

/* Takes one command and starts to connect. -EBUSY: one at a time. Nothing is sent before
 * lock_commit(); lock_abandon() instead: it never happened, no outcome. */
int lock_command(struct lock *lock, const struct lock_command *command, uint64_t wait_ms);
void lock_commit(struct lock *lock);
void lock_abandon(struct lock *lock);
bool lock_busy(const struct lock *lock);

/* Measures signal and relay without moving the bolt: tested() follows. -EBUSY: one is running. */
int lock_test(struct lock *lock);
/* A claim or release for this lock: sent as soon as it is heard; forwarded() follows. -EBUSY: queue
 * is full. */
int lock_forward(struct lock *lock, struct span document);
/* Not to be sent any more, as far as it was not. */
void lock_forward_drop(struct lock *lock, const uint8_t digest[static DIGEST_LEN]);
/* Somebody waits for this lock, with less right than one who wants to open a door. */
bool lock_hurries(const struct lock *lock);
/* The `read` authorization; empty: none (any more). */
int lock_set_reader(struct lock *lock, struct span authorization);
/* Fetch the log after delay_ms (as soon as the lock is heard). */
void lock_fetch(struct lock *lock, uint64_t delay_ms);
/* The documents in force changed. */
void lock_documents_changed(struct lock *lock);
/* Another lock's command needs the link: gives it up unless a command is in hand here. true: it
 * does. */
bool lock_yield(struct lock *lock);
/* Time of day for `seen`; 0: not known. */
void lock_set_time(struct lock *lock, uint64_t now);
/* How long a link without more to do is kept, from the next that comes to rest. */
void lock_set_linger(struct lock *lock, unsigned ms);

/* --- what the radio says
 * ------------------------------------------------------------------------- */

void lock_advert(struct lock *lock, const struct advert *advert, int rssi);
void lock_connected(struct lock *lock, unsigned frame);
void lock_value(struct lock *lock, enum lock_chr chr, int r, struct span value);
void lock_written(struct lock *lock, enum lock_sent sent);
void lock_notified(struct lock *lock, enum lock_chr chr, struct span value);
void lock_disconnected(struct lock *lock, enum lock_end end, const char *detail);
void lock_alarm(struct lock *lock);
/* The radio is back, or an address was found: connects that had to wait may go on. */
void lock_radio_up(struct lock *lock);

/* --- what is known
 * ------------------------------------------------------------------------------- */

const char *lock_id(const struct lock *lock);
/* Everything but `enforces`. */
void lock_fill(const struct lock *lock, struct message_lock *ret);
void lock_stored(const struct lock *lock, struct lock_stored *ret);
/* The present challenge, as far as nothing hints that it changed since. */
bool lock_challenge(const struct lock *lock, uint8_t ret[static CHALLENGE_LEN]);
bool lock_is_up(const struct lock *lock); /* a link is held or being made */
/* Whom it obeys, as info last said in this life: 1 and its root's kid, 0 nobody, -ENODATA. */
int lock_owner(const struct lock *lock, uint8_t ret[static DIGEST_LEN]);
const struct lock_counters *lock_counters(const struct lock *lock);
