/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The decision (contract section 4): one pure function for gateway and lock, all inputs passed in,
 * time included, a verdict out. The first check that fails names the reason. It costs the same at
 * any list size. It runs when an authorization arrives, and again right before the first byte goes
 * to the lock.
 */
#include "core/reckoning.h"
#include "core/trust.h"

enum gate_side {
	GATE_GATEWAY, /* relayed over MQTT: every check; a cnf is presentation-missing */
	GATE_LOCK,    /* the checks marked L */
};

/*
 * Where the contract leaves a choice:
 * - scope `read` in gate_decide, and any other in gate_decide_reader: wrong-role.
 * - A status other than 0, 1, 2: revoked. A status URI that is not exactly that of a list: no-list.
 * - With a synchronised clock an iat in the future is not-yet-valid as nbf is: it would stretch the
 *   lifetime and outlive a cut_off. exp is the first second that is too late.
 * - A presentation is bad if it is not one, is not by the key in cnf, or is about another lock or
 *   cti; with another nonce and otherwise good it is stale-challenge: reading info helps.
 * - A presentation beside a relayed authorization, or at the gateway, is not looked at.
 * - `read` lives for READ_LIFETIME_MAX on both sides; cut_off is for it too.
 */
struct gate_lock { /* one lock that this side answers for */
	const char *id;
	bool has_challenge; /* false: not known yet, stale-challenge is left to the lock */
	uint8_t challenge[CHALLENGE_LEN];
	uint8_t nonce
		[CHALLENGE_LEN]; /* the connection's: what a presentation is over. Lock only. */
	bool busy;
	uint64_t claimed; /* iat of the claim it obeys; 0: born owned */
};

struct gate_input {
	enum gate_side side;
	struct span authorization;
	struct span presentation; /* data NULL: none. Lock only. */
	bool retained;
	bool seen;		   /* the cti is in the store: replayed */
	const struct trust *trust; /* documents, keys, policy */
	const struct gate_lock *locks;
	size_t nlocks;
	struct time_verdict time;
};

struct gate_output { /* filled as far as the checks came; spans point into the authorization */
	struct token token;
	const struct gate_lock *lock; /* NULL: none of ours */
	bool verified;		      /* the signature holds: the claims are the city's words */
};

/* 0: yes. > 0: the reason. -ENOMEM: could not tell (treat as no, say lock-error). */
int gate_decide(const struct gate_input *in, struct gate_output *ret);
/*
 * A reader's authorization (scope read, section 7), for the gateway that keeps it and for the lock
 * that judges it; the lock adds the presentation. holder_kid: of the gateway's own key, with whom a
 * cnf of another is presentation-bad; NULL in the lock.
 */
int gate_decide_reader(const struct gate_input *in, const uint8_t *holder_kid,
		       struct gate_output *ret);
