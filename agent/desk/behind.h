/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A gateway that is behind: sent again what it lacks, and asked for the events that are missing here,
 * with growing pauses. What a broker acknowledged proves nothing about a fleet (contract section 3).
 */
#include "desk/current.h"
#include "desk/hub.h"
#include "desk/session.h"

void behind_push(struct session *session, const struct current *current,
		 struct hub_gateway *gateway, uint64_t now);
/* ready_at: when the brokers had settled first. 0 or < 0. */
int behind_ask(struct db *db, struct session *session, uint64_t ready_at,
	       struct hub_gateway *gateway, uint64_t now);
