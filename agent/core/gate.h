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

struct gate_lock { /* one lock that this side answers for */
	const char *id;
	bool has_challenge; /* false: not known yet, stale-challenge is left to the lock */
	uint8_t challenge[CHALLENGE_LEN];
	bool busy;
	uint64_t claimed; /* iat of the claim it obeys; 0: born owned */
};

struct gate_input {
	enum gate_side side;
	struct span authorization;
	struct span presentation; /* data NULL: none. Lock only. */
	bool retained;
	bool seen; /* the cti is in the store: replayed */
	const struct trust *trust;
	const struct gate_lock *locks;
	size_t nlocks;
	struct time_verdict time;
};

struct gate_output { /* filled as far as the checks came */
	struct token token;
	const struct gate_lock *lock;
};

/* 0: yes. > 0: the reason. -ENOMEM: could not tell (treat as no, say lock-error). */
int gate_decide(const struct gate_input *in, struct gate_output *ret);
/*
 * A reader's authorization (scope read, section 7), for the gateway that keeps it and for the lock
 * that judges it; the lock adds the presentation. holder: the gateway's own key, NULL in the lock.
 */
int gate_decide_reader(const struct gate_input *in, const uint8_t *holder_kid,
		       struct gate_output *ret);
