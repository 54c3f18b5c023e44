/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * lock-sim: a BLE door lock as firmware would be on a board, in three parts that would be parted
 * there too: the firmware (decides, keeps, answers; knows no D-Bus), its memory (what survives a
 * power cut), and the peripheral (GATT application and advertisement, registered with BlueZ over
 * D-Bus). The firmware enforces the contract itself, with the same agent/core as the gateway.
 */
#include <systemd/sd-event.h>

#include "core/frame.h"
#include "core/gate.h"

#define LOCK_RECEIPTS	  64
#define LOCK_MAX_DEFAULT  (16 * 1024) /* bytes of any document, inflated */
#define LOCK_DOOR_WAIT	  10	      /* s between authorization and presentation */
#define LOCK_CLAIM_WINDOW 60	      /* s after the button */
#define LOCK_UNDO_WINDOW  600
#define LOCK_BAD_MAX	  5 /* documents without a good signature end the connection */
#define LOCK_BATTERY_MIN  5 /* percent: below it the motor is not started */

/* --- memory: what is written before it counts
 * ------------------------------------------------------ */

struct lock_open { /* an execution that has begun */
	bool present;
	uint64_t n;
	uint8_t cti[CTI_LEN];
	enum via via;
	enum scope scope;
};

struct lock_memory {
	struct signer key;
	uint64_t boot, n, floor; /* floor: floor + elapsed, written hourly */
	bool owned;
	struct key owner;
	uint64_t claimed; /* iat of the claim; 0: born owned */
	enum bolt bolt;
	uint8_t battery;
	struct lock_open open;
	struct lock_receipt {
		uint64_t n;
		uint16_t len;
		uint8_t bytes[TOKEN_SMALL_MAX];
	} receipts[LOCK_RECEIPTS]; /* ring by n; n 0: free */
};

/* Files in one folder, each replaced whole and synced. 0 or -errno; -EBADMSG: damaged. */
int lock_memory_open(const char *dir, struct lock_memory *ret); /* makes a key on first use */
int lock_memory_put(const char *dir, const struct lock_memory *memory);
int lock_documents_put(const char *dir, const struct trust *trust);
int lock_documents_get(const char *dir, struct trust *trust);

/* --- firmware
 * ---------------------------------------------------------------------------------------- */

/* How an answer is spoilt on command, for tests of the other side. */
enum lock_fault {
	LOCK_FAULT_NONE,
	LOCK_FAULT_RUBBISH, /* bytes that are no frame */
	LOCK_FAULT_HALF,    /* the first frame only */
	LOCK_FAULT_NOTHING,
	LOCK_FAULT_MUCH,    /* 200 KiB of frames */
	LOCK_FAULT_FOREIGN, /* a receipt signed by another key */
	LOCK_FAULT_OTHER,   /* a receipt about another cti */
	LOCK_FAULT_TWICE,   /* the answer, doubled */
};

struct firmware;

struct firmware_ops {
	void (*send)(struct span frame, void *user); /* one notification of the outbox */
	void (*state)(void *user);		     /* the state characteristic's counter moved */
	void (*disconnect)(void *user);
	void (*advert)(void *user); /* what the advert says has changed */
};

struct firmware_options {
	const char *id, *dir;
	const struct key *owner; /* born owned by it; NULL: nobody's */
	size_t max;
	unsigned motor_ms;
};

int firmware_new(sd_event *event, const struct firmware_options *options,
		 const struct firmware_ops *ops, void *user, struct firmware **ret);
void firmware_free(struct firmware *fw);

/* From the peripheral. mtu: what one notification holds. */
void firmware_connected(struct firmware *fw);
void firmware_disconnected(struct firmware *fw);
void firmware_written(struct firmware *fw, struct span frame, size_t mtu);
int firmware_info(struct firmware *fw, uint8_t *ret, size_t cap);  /* length */
int firmware_state(struct firmware *fw, uint8_t *ret, size_t cap); /* 0 for who is no reader */
uint32_t firmware_state_counter(const struct firmware *fw);
void firmware_advert(const struct firmware *fw, uint8_t ret[static ADVERT_LEN]);

/* From the outside world; words as in the control protocol. 0 or -EINVAL. */
int firmware_command(struct firmware *fw, const char *verb, const char *argument);
/* What happened to this lock, as one JSON object: bolt, movements, per cti, ... (malloc'd). */
char *firmware_report(const struct firmware *fw);
const uint8_t *firmware_public(const struct firmware *fw);
