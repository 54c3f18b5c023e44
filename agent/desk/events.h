/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Event streams of gateways, filed by (stream, seq): each once, whoever receives it first. The
 * chain (prev = SHA-256 of the payload before) is checked as far as the stream is whole; a broken
 * link, the same number with another content, a stream that moved to another gateway, and events
 * that nobody has any more are alarms.
 */
#include "desk/receipts.h"
#include "message.h"

struct filed {
	bool is_new;
	struct event event; /* owned */
	bool has_receipt;   /* it carried one that is good */
	struct receipt receipt;
	bool receipt_is_new;
};
void filed_deinit(struct filed *filed);

/* 0; > 0: refused (alarmed); < 0. What the event says of an authorization, and its receipt, are
 * filed with it. */
int event_file(struct db *db, const char *gateway, struct span payload, uint64_t now,
	       struct filed *ret);

/* The same, as far as it can be told without filing anything: whether it is new is not. For who only
 * looks on. */
int event_read(struct db *db, struct span payload, struct filed *ret);

/* Drops events that were filed before this time and stand in a whole part of their stream; what they
 * told of authorizations and receipts stays. */
#define EVENTS_KEEP_S (14 * 86400)
int events_trim(struct db *db, uint64_t before);

/*
 * What a gateway's state says of its stream: newest and oldest kept. 1: something is missing, ask
 * from *ret_from on; 0: nothing is. Events below the oldest are lost: alarmed, and not waited for.
 */
int stream_missing(struct db *db, const char *gateway, const struct message_state *state,
		   uint64_t now, uint64_t *ret_from);
