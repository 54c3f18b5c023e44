/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the parts of the firmware share; nobody outside lock-firmware*.c includes it. */
#include "sim/lock.h"

struct firmware {
	sd_event *event;
	const struct firmware_ops *ops;
	void *user;
	char id[ID_MAX + 1];
	char dir[400];
	size_t max;
	struct lock_memory memory;
	struct trust *trust;
	struct reckoning reckoning;
	uint8_t challenge[CHALLENGE_LEN]; /* new at start and at every execution */
	uint8_t nonce[CHALLENGE_LEN];	  /* the same, and new for each connection */
	uint8_t random[2];		  /* in the advert: something to fetch */
	uint32_t state_counter;

	/* one connection */
	bool connected, reader;
	size_t mtu;
	unsigned bad;
	struct frame_joiner joiner;
	uint8_t *inbox;
	uint8_t door[TOKEN_SMALL_MAX]; /* an authorization that waits for its presentation */
	size_t door_len;
	uint64_t door_at;
	sd_event_source *limit;

	/* the world */
	enum bolt physical; /* where the bolt really is */
	bool jam, broken, door_open;
	unsigned motor_ms;
	uint64_t button_at; /* boottime; 0: never */
	uint64_t claimed_at;
	enum lock_fault fault;
	unsigned faults_left;
	sd_event_source *motor, *hourly, *pressed;
	uint64_t movements, refusals, connections;
};

uint64_t firmware_boottime(void);
struct time_verdict firmware_time(struct firmware *fw);
/* Documents (lock-firmware.c) and what they do (lock-execute.c), answered by lock-answer.c. */
void firmware_document(struct firmware *fw, struct span document);
void firmware_authorization(struct firmware *fw, struct span document, struct span presentation);
void firmware_claim(struct firmware *fw, struct span document, const struct token *token);
void firmware_release(struct firmware *fw, const struct token *token);
void firmware_button(struct firmware *fw, unsigned ago); /* seconds */
bool firmware_pressed(const struct firmware *fw);	 /* a claim would be taken */
void firmware_hand(struct firmware *fw, enum bolt bolt);
int firmware_resume(struct firmware *fw); /* an execution found open at start */
void firmware_unowned(struct firmware *fw);

struct answer {
	struct span cti; /* or a document's digest; len 0: none */
	enum outcome outcome;
	enum reason reason;
	enum via via;
	uint64_t n; /* 0: not kept */
	bool head;
};
/* Signs a receipt; one with a number is in memory (and on disk) when it returns. The length or
 * -errno. */
int answer_make(struct firmware *fw, const struct answer *answer,
		uint8_t ret[static TOKEN_SMALL_MAX]);
void answer_receipt(struct firmware *fw, const struct answer *answer); /* makes and sends */
void answer_document(struct firmware *fw, struct span document);       /* in frames */
/* The short answer of a reason that has one; counts towards LOCK_BAD_MAX where no signature was
 * good. */
void answer_short(struct firmware *fw, enum reason reason);
void answer_code(struct firmware *fw, unsigned code);
void answer_since(struct firmware *fw, uint64_t n);
