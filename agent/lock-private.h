/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Shared by lock.c (life, requests, connecting), lock-command.c (an authorization and its answer),
 * lock-forward.c (claims and releases), lock-sync.c (everything else that goes over a link) and
 * lock-receipt.c (what receipts teach).
 */
#include "lock.h"

#include <errno.h>

#define LOCK_WINDOW	    8u	/* frames handed to the radio at once */
#define LOCK_BURST	    8u	/* frames of a document between two barriers, see lock_pump() */
#define LOCK_WRITES	    64u /* frames not answered yet, at most */
#define LOCK_FORWARDS	    2u
#define LOCK_TRIES	    5u
#define LOCK_DOWN_MS	    10000u /* the radio is away; lock_radio_up() comes before */
#define LOCK_SYNC_LINGER_MS 300u   /* after documents alone: the lock is soon free for a phone */
#define LOCK_PACE_MS	    1000u  /* between tries to connect for a command */
#define LOCK_TAIL_MS	    3000u  /* times the number of tries: a receipt that is being made */
#define LOCK_TEST_MS	    65000u
#define LOCK_READER_MS	    600000u   /* after a refusal as a reader */
#define LOCK_KEPT	    64u	      /* receipts that a lock keeps */
#define LOCK_EARLY	    LOCK_KEPT /* receipt numbers published ahead of a gap */
#define LOCK_ANSWER_MS	    15000u    /* a motor is slow */
#define LOCK_SEND_MS	    10000u    /* a kilobyte over the worst of links */
#define LOCK_STEP_MS	    10000u    /* an answer that needs no motor */
#define LOCK_LINK_MS	    27000u    /* the lock ends a connection at 30 s, */
#define LOCK_TRANSFER_MS    115000u   /* or at 120 s while a list is coming */
#define LOCK_FRESH_MS	    12000u    /* a command starts on a link that is not older */
#define LOCK_HEARD_MS	    60000u    /* no visit to a lock not heard for so long */
#define LOCK_SILENT_MS	    90000u    /* then it counts as unreachable */
#define LOCK_HURRY_MS	    1500u     /* a try to connect that an urgent one does not wait for */
#define LOCK_AGAIN_MIN_MS   10000u    /* a document refused without a signature is offered */
#define LOCK_AGAIN_MAX_MS   3600000u  /* again, ever more seldom */
#define LOCK_GAP_MIN_MS	    2000u
#define LOCK_GAP_MAX_MS	    300000u
#define LOCK_NOTIFIED_MAX   1000u /* notifications in one connection */
#define LOCK_BATTERY_LOW    15u

enum lock_link { LINK_NONE, LINK_CONNECTING, LINK_UP, LINK_CLOSING };

enum lock_phase {
	CMD_NONE,
	CMD_HELD,    /* the store is writing it */
	CMD_READY,   /* may go as soon as there is a link */
	CMD_SENDING, /* first byte handed over, last frame not */
	CMD_AWAITING /* last frame handed over */
};

enum lock_step {
	STEP_NONE,
	STEP_INFO,
	STEP_PUSH,
	STEP_FORWARD,
	STEP_READER,  /* the read authorization: awaits "go on" */
	STEP_PRESENT, /* awaits the receipt for both */
	STEP_SINCE,
	STEP_STATE,
};

enum lock_trouble { /* bits: problems of a lock */
		    TROUBLE_UNREACHABLE = 1,
		    TROUBLE_RUBBISH = 2,
		    TROUBLE_SILENT = 4,
		    TROUBLE_STRANGER = 8,
		    TROUBLE_UNOWNED = 16,
		    TROUBLE_FOREIGN_OWNER = 32,
		    TROUBLE_DOCUMENT = 64,
		    TROUBLE_BATTERY = 128,
		    TROUBLE_READER = 256,
		    TROUBLE_GAP = 512,
		    TROUBLE_JAMMED = 1024,
};
#define TROUBLES 11

struct lock_write { /* one frame on its way */
	bool command, last;
	unsigned step; /* step_count when it was written */
};

struct lock_forward {
	uint8_t *document; /* owned */
	size_t len;
	enum token_kind kind;
	uint8_t digest[DIGEST_LEN];
	unsigned tries;
};

struct lock_told { /* a forwarded one's answer, until info is read */
	bool due;
	enum token_kind kind;
	uint8_t digest[DIGEST_LEN];
	enum outcome outcome;
	enum reason reason;
	size_t len;
	uint8_t receipt[TOKEN_SMALL_MAX];
};

struct lock {
	const struct lock_radio *radio;
	const struct lock_ops *ops;
	void *user;
	const struct trust *trust;
	const struct signer *reader;
	unsigned linger_ms;
	struct open open;
	struct lock_counters counters;
	uint64_t alarm_at, time, born;

	/* what is known */
	struct open_holds holds;
	bool owner_known;	   /* holds.owner comes from info, in this life */
	bool met;		   /* applied, challenge come from the lock itself, some day */
	bool has_challenge, doubt; /* doubt: an advert hints that it changed */
	uint8_t challenge[CHALLENGE_LEN];
	enum bolt bolt;
	bool has_battery;
	uint8_t battery;
	uint64_t seen;
	uint64_t n;    /* filed without a gap */
	uint64_t head; /* the lock's highest n as last told */
	uint64_t early[LOCK_EARLY];
	size_t nearly;
	unsigned troubles;	    /* of enum lock_trouble */
	char details[TROUBLES][64]; /* by bit number */

	/* adverts */
	bool has_advert, hint, reachable, heard;
	uint8_t advert[6];
	uint64_t heard_at, shown_at;
	int rssi, rssi_shown;
	bool has_rssi;

	/* the link */
	enum lock_link link;
	bool urgent;
	uint64_t connect_at, up_at, link_end, linger_at, hurry_at;
	bool confirmed; /* writes are answered one by one, since frames were found out of order */
	bool commanded; /* this link has served a command: another may follow */
	struct lock_write writes[LOCK_WRITES];
	size_t nwrites;
	unsigned step_count, notified;
	bool reader_spoilt; /* refused without a signature: not for ever */
	bool has_nonce;	    /* not any more behind a command: an execution draws another */
	uint8_t nonce[CHALLENGE_LEN];
	bool reader_ok, reader_refused, reader_again, subscribed, learned, gap_again;
	bool failed;			    /* this session was given up: its pause is set */
	bool info_fresh, logging, log_done; /* logging: kept receipts may still come */
	unsigned reading;		    /* bits: 1 << enum lock_chr */
	unsigned burst;			    /* frames since the last barrier */
	bool barrier;			    /* awaiting one */

	/* the command in hand */
	enum lock_phase phase;
	struct lock_command command;
	uint64_t command_end; /* connecting until then */
	uint64_t answer_at;
	bool bytes_out, last_out; /* may have left: any frame, the last frame */
	unsigned owed;		  /* answers to come for documents before the command */

	/* the other exchange in hand */
	enum lock_step step;
	bool sending, step_sent, transfer;
	uint64_t step_at, step_began;
	struct span outgoing; /* of step: points into trust, reader_auth, forwards or small */
	uint8_t small[TOKEN_SMALL_MAX];
	uint8_t digest[DIGEST_LEN];
	uint8_t reader_cti[CTI_LEN];
	size_t reader_cti_len;
	bool gap;

	/* wishes */
	bool need_info, want_state, test, test_connected, complete;
	unsigned test_connect_ms;
	uint64_t test_end;
	uint64_t fetch_at; /* 0: not wanted */
	uint64_t visit_at;
	uint64_t again_at; /* what was refused unsigned is offered again; 0: nothing was */
	unsigned fail_gap, hint_gap, again_gap, reader_gap, tail_tries;
	uint8_t *reader_auth; /* owned */
	size_t reader_auth_len;
	struct lock_forward forwards[LOCK_FORWARDS];
	size_t nforwards;
	struct lock_told told;
	enum token_kind pushing;
};

static inline uint64_t lock_now(const struct lock *l)
{
	return l->ops->now_ms(l->user);
}

/* lock.c */
void lock_advance(struct lock *l); /* at the end of every call from outside */
void lock_set_alarm(struct lock *l);
void lock_end_link(struct lock *l);
void lock_pump(struct lock *l, bool command); /* hands over frames of what open_send was given */
void lock_set_trouble(struct lock *l, enum lock_trouble trouble, const char *detail);
void lock_clear_trouble(struct lock *l, unsigned troubles);
/* The session cannot go on: the command's outcome as far as it went, then the link ends. */
void lock_session_fails(struct lock *l, enum lock_trouble trouble, const char *detail);

/* lock-command.c */
void lock_command_start(struct lock *l);
void lock_command_finish(struct lock *l, enum outcome outcome, enum reason reason,
			 const struct open_answer *answer);
void lock_command_written(struct lock *l, const struct lock_write *write, enum lock_sent sent);
void lock_command_answer(struct lock *l, enum open_said said, const struct open_answer *answer);
void lock_command_link_gone(struct lock *l, enum lock_end end);
/* Due times passed. */
void lock_command_alarm(struct lock *l, uint64_t now);

/* lock-forward.c */
void lock_forward_send(struct lock *l);
void lock_forward_receipt(struct lock *l, const struct open_answer *answer);
void lock_forward_short(struct lock *l, enum reason reason);
void lock_forward_link_gone(struct lock *l);
void lock_forward_tell(struct lock *l, const struct info *info); /* NULL: not read */

/* lock-sync.c */
bool lock_wants_visit(struct lock *l, uint64_t now, uint64_t *ret_at);
void lock_next_step(struct lock *l);
/* The lock told of a gap between frames. true: the link ends, the next one keeps the order. */
bool lock_gap(struct lock *l);
void lock_cut_step(struct lock *l); /* a command comes first */
void lock_step_send(struct lock *l, enum lock_step step, struct span document);
void lock_step_answer(struct lock *l, enum open_said said, const struct open_answer *answer);
void lock_step_value(struct lock *l, enum lock_chr chr, int r, struct span value);
void lock_tested(struct lock *l, const char *why); /* why NULL: it went well */
/* An answer that belongs to something asked earlier on this link; true: taken. */
bool lock_absorb(struct lock *l, enum open_said said, const struct open_answer *answer,
		 bool expected);

/* lock-receipt.c */
/* What the lock says of itself now: challenge, bolt, battery, applied. */
void lock_learn(struct lock *l, const struct result *result);
void lock_learn_holds(struct lock *l, const uint8_t challenge[static CHALLENGE_LEN],
		      const struct applied *applied, size_t napplied);
/* A kept receipt: true if it was not published yet. */
bool lock_file(struct lock *l, uint64_t n);
/* A verified receipt that rides on no outcome. */
void lock_publish(struct lock *l, const struct open_answer *answer);
void lock_log_receipt(struct lock *l, const struct open_answer *answer);
void lock_log_head(struct lock *l, const struct open_answer *answer);
