/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What an act changed goes out to the fleet: signed, published, pushed to who is behind, and
 * followed until every gateway and every lock holds it, or the time is up.
 */
#include "desk/confirm.h"
#include "desk/show.h"

#define SPREAD_WAIT_S 30

struct spread_options {
	/* Does the act, once the survey allows it, or at the end if no broker came; no transaction is
	 * open. NULL: it is done already, and the registry says it all. */
	int (*prepare)(const struct desk *desk, void *user, char error[static 256]);
	void *user;
	uint64_t wait_s; /* 0: until it is published, nobody is waited for */
	/* what the confirmations are asked for; iat is filled in from what is signed */
	struct confirm_target target;
	const char *did; /* "revoked t-1234abcd": the answer begins so */
};

/* Prints the answer (members are added to it, and it is taken over). DESK_DONE: all hold it, or
 * with wait_s 0 it is published; DESK_NO_ANSWER: not all, or no broker; DESK_REFUSED: failed. */
int spread(const struct desk *desk, const struct spread_options *options, json_t *answer);
