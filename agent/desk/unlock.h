/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A relayed authorization from signing to the lock's receipt: the lock's present challenge is taken
 * from what its gateway retained, the answer is awaited, a stale challenge is signed again once.
 */
#include "desk/desk.h"
#include "desk/events.h"
#include "desk/fleet.h"
#include "desk/staff.h"

#define UNLOCK_ANSWER_S 10 /* to accepted or refused */
#define UNLOCK_WAIT_S	60 /* from there to the outcome */

struct unlock_request {
	struct phone phone;
	struct lock_row lock;
	enum scope scope;
	uint64_t wait_s;
	bool anyway; /* also through a gateway that is said to be offline */
};

enum unlock_end {
	UNLOCK_NO_BROKER,
	UNLOCK_OFFLINE, /* every gateway of the lock: nothing was sent */
	UNLOCK_NO_ANSWER,
	UNLOCK_REFUSED,
	UNLOCK_DONE,
	UNLOCK_FAILED,
	UNLOCK_UNKNOWN,
	UNLOCK_UNPROVEN, /* the gateway says done, without a receipt that the lock signed */
};

struct unlock_answer {
	enum unlock_end end;
	enum reason reason;
	char gateway[ID_MAX + 1];
	uint8_t cti[CTI_LEN];
	uint64_t exp; /* until when it may still move the bolt */
	unsigned attempts;
	uint64_t accepted_ms, ms; /* from sending to the gateway's word, to the end */
	bool proven;
	struct receipt receipt; /* if proven */
	char words[256];	/* no broker: why */
};

/* 0, or < 0 with error. */
int unlock_run(const struct desk *desk, const struct unlock_request *request,
	       struct unlock_answer *ret, char error[static 256]);
