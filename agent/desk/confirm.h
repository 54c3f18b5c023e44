/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Who holds what the city said. A gateway says so in its state; a lock proves it: the receipt with
 * the highest n names, in `applied`, a document that the desk itself signed and that says what is
 * wanted (contract section 7).
 */
#include "desk/documents.h"
#include "desk/receipts.h"
#include "message.h"

#define CONFIRM_INDEXES_MAX 32

/* What is to be held. */
struct confirm_target {
	char slot[SLOT_CAP]; /* "policy", "list/<name>"; "keys/...": any of the chain */
	uint64_t iat;	     /* at least; lists with indexes: not asked */
	/* a list in which each of these is refused, or (bad false) is not; with a status: by that one,
	 * so that a suspension does not pass for the revocation that was asked for */
	uint64_t indexes[CONFIRM_INDEXES_MAX];
	size_t nindexes;
	bool bad;
	unsigned status; /* 0: any that refuses */
};

struct confirm;

int confirm_new(struct db *db, const struct confirm_target *target, struct confirm **ret);
void confirm_free(struct confirm *c);
void confirm_freep(struct confirm **c);
/* Looks at the filed receipts of all locks anew. */
int confirm_locks(struct confirm *c);
/* A receipt that was verified, and perhaps is not filed yet. It counts from then on, until one with a
 * higher number is filed. */
int confirm_receipt(struct confirm *c, const struct receipt *receipt);
/* 1: each of those is filed by now, so that every other command sees what is counted here. */
int confirm_filed(struct confirm *c);
int confirm_gateway(struct confirm *c, const char *gateway, const struct message_state *state);

struct confirm_counts {
	size_t gateways, gateways_of, locks, locks_of;
};
void confirm_counts(const struct confirm *c, struct confirm_counts *ret);
bool confirm_complete(const struct confirm *c);
/* The missing ones, by id. */
void confirm_each_missing(const struct confirm *c,
			  void (*fn)(bool is_lock, const char *id, void *user), void *user);

/* Does a document with this name, iat and digest say what is wanted? 1, 0, < 0. Also of use without
 * a fleet: see exposed. */
int confirm_says(struct db *db, const struct confirm_target *target, const struct applied *applied,
		 size_t napplied);
