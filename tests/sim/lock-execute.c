// SPDX-License-Identifier: Apache-2.0
/*
 * What the lock does: authorizations (relayed, at the door, readers'), the motor, the button, the
 * hand. n and cti are in memory before the motor starts; challenge and nonce are spent at that moment, so
 * that the same authorization cannot start it twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sim/lock-firmware.h"

/* The physical truth, for tests: a line per movement, kept beside the memory. */
static void note_movement(struct firmware *fw, const struct lock_open *begun)
{
	char path[420], line[2 * CTI_LEN + 16], cti[HEX_CAP(CTI_LEN)];
	int fd, n;

	fw->movements++;
	hex_encode(SPAN(begun->cti), cti, sizeof(cti));
	n = snprintf(line, sizeof(line), "%s %s\n", cti, scope_word(begun->scope));
	snprintf(path, sizeof(path), "%s/movements", fw->dir);
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (write(fd, line, (size_t)n) != n)
		fprintf(stderr, "lock-sim: %s: movement not noted\n", path);
	close(fd);
}

static int on_motor_done(sd_event_source *source, uint64_t usec, void *user)
{
	struct firmware *fw = user;
	struct lock_open open = fw->memory.open;
	struct answer a = {
		.cti = SPAN(open.cti), .outcome = OUTCOME_DONE, .via = open.via, .n = open.n};

	fw->motor = sd_event_source_unref(source);
	if (fw->jam || fw->broken) {
		a.outcome = OUTCOME_FAILED;
		a.reason = fw->jam ? REASON_JAMMED : REASON_LOCK_ERROR;
		fw->memory.bolt = fw->jam ? BOLT_JAMMED : BOLT_UNKNOWN;
	} else {
		fw->memory.bolt = open.scope == SCOPE_LOCK ? BOLT_LOCKED : BOLT_UNLOCKED;
		fw->physical = fw->memory.bolt;
	}
	fw->state_counter++;
	answer_receipt(fw, &a);
	fw->ops->state(fw->user);
	return 0;
}

static void execute(struct firmware *fw, const struct token *token, enum via via)
{
	struct answer a = {.cti = token->cti, .via = via, .outcome = OUTCOME_FAILED};
	struct lock_open *open = &fw->memory.open;

	if (fw->motor) {
		answer_code(fw, FRAME_TRY_LATER);
		return;
	}
	crypto_random(fw->challenge, sizeof(fw->challenge));
	crypto_random(fw->nonce, sizeof(fw->nonce));
	*open = (struct lock_open){true, ++fw->memory.n, {0}, via, token->scope};
	memcpy(open->cti, token->cti.data, CTI_LEN);
	if (lock_memory_put(fw->dir, &fw->memory) < 0) { /* not durable: the motor stays still */
		open->present = false;
		fw->memory.n--;
		a.reason = REASON_LOCK_ERROR;
		answer_receipt(fw, &a);
		return;
	}
	if (fw->memory.battery < LOCK_BATTERY_MIN) {
		a.n = open->n;
		a.reason = REASON_LOW_BATTERY;
		answer_receipt(fw, &a);
		return;
	}
	if (!fw->jam)
		note_movement(fw, open);
	fw->memory.bolt = BOLT_MOVING;
	fw->state_counter++;
	fw->ops->state(fw->user);
	sd_event_add_time_relative(fw->event, &fw->motor, CLOCK_MONOTONIC,
				   (uint64_t)fw->motor_ms * 1000, 1000, on_motor_done, fw);
}

static void become_reader(struct firmware *fw, const struct token *token)
{
	struct answer a = {.cti = token->cti, .outcome = OUTCOME_DONE, .via = VIA_DOOR};

	fw->reader = true;
	answer_receipt(fw, &a);
}

/* No signature was good, or one was: the first four words of section 4, or a receipt. */
static void refuse(struct firmware *fw, enum reason reason, const struct token *token, enum via via)
{
	struct answer a = {
		.cti = token->cti, .outcome = OUTCOME_REFUSED, .reason = reason, .via = via};

	switch (reason) {
	case REASON_MALFORMED:
	case REASON_UNKNOWN_KEY:
	case REASON_WRONG_ROLE:
	case REASON_BAD_SIGNATURE:
		answer_short(fw, reason);
		return;
	default:
		answer_receipt(fw, &a);
	}
}

void firmware_authorization(struct firmware *fw, struct span document, struct span presentation)
{
	struct gate_lock lock = {
		.id = fw->id, .has_challenge = true, .claimed = fw->memory.claimed};
	struct gate_input in = {
		.side = GATE_LOCK,
		.authorization = document,
		.presentation = presentation,
		.trust = fw->trust,
		.locks = &lock,
		.nlocks = 1,
		.time = firmware_time(fw),
	};
	struct gate_output out = {0};
	struct token token;
	bool reads;
	enum via via;
	int r;

	memcpy(lock.challenge, fw->challenge, CHALLENGE_LEN);
	memcpy(lock.nonce, fw->nonce, CHALLENGE_LEN);
	reads = token_parse(document, &token) == 0 && token.scope == SCOPE_READ;
	r = reads ? gate_decide_reader(&in, NULL, &out) : gate_decide(&in, &out);
	via = out.token.has & CLAIM_CNF ? VIA_DOOR : VIA_RELAY;
	if (r < 0) {
		answer_code(fw, FRAME_TRY_LATER);
	} else if (r == REASON_PRESENTATION_MISSING) {
		memcpy(fw->door, document.data, document.len);
		fw->door_len = document.len;
		fw->door_at = firmware_boottime();
		answer_code(fw, FRAME_GO_ON);
	} else if (r > 0) {
		refuse(fw, (enum reason)r, &out.token, via);
	} else if (reads) {
		become_reader(fw, &out.token);
	} else {
		execute(fw, &out.token, via);
	}
}

int firmware_resume(struct firmware *fw)
{
	uint8_t bytes[TOKEN_SMALL_MAX];
	struct lock_open open = fw->memory.open;
	struct answer a = {
		.cti = SPAN(open.cti), .outcome = OUTCOME_UNKNOWN, .via = open.via, .n = open.n};

	if (!open.present)
		return 0;
	fw->memory.bolt = BOLT_UNKNOWN;
	return answer_make(fw, &a, bytes) < 0 ? -EIO : 0;
}

/* --- owner
 * ------------------------------------------------------------------------------------------- */

void firmware_unowned(struct firmware *fw)
{
	trust_clear(fw->trust);
	fw->memory.owned = false;
	fw->memory.claimed = 0;
	memset(fw->memory.receipts, 0, sizeof(fw->memory.receipts));
	fw->reader = false;
	fw->claimed_at = 0;
	lock_documents_put(fw->dir, fw->trust);
}

bool firmware_pressed(const struct firmware *fw)
{
	return fw->button_at && firmware_boottime() - fw->button_at <= LOCK_CLAIM_WINDOW;
}

/* The minute is over: the advert says so. */
static int on_pressed(sd_event_source *source, uint64_t usec, void *user)
{
	struct firmware *fw = user;

	fw->ops->advert(fw->user);
	return 0;
}

static void show_pressed(struct firmware *fw)
{
	uint64_t usec = (LOCK_CLAIM_WINDOW + 2) * 1000000ull;

	fw->ops->advert(fw->user);
	if (!fw->pressed)
		sd_event_add_time_relative(fw->event, &fw->pressed, CLOCK_BOOTTIME, usec, 0,
					   on_pressed, fw);
	sd_event_source_set_time_relative(fw->pressed, usec);
	sd_event_source_set_enabled(fw->pressed, SD_EVENT_ONESHOT);
}

void firmware_button(struct firmware *fw, unsigned ago)
{
	uint64_t now = firmware_boottime();

	now -= ago < now ? ago : now - 1;
	if (fw->memory.owned && fw->claimed_at && now - fw->claimed_at < LOCK_UNDO_WINDOW) {
		firmware_unowned(fw);
		lock_memory_put(fw->dir, &fw->memory);
	}
	fw->button_at = now;
	show_pressed(fw);
}

void firmware_claim(struct firmware *fw, struct span document, const struct token *token)
{
	struct answer a = {.cti = span_of(token->digest, DIGEST_LEN), .outcome = OUTCOME_REFUSED};
	uint64_t now = firmware_boottime();

	if (!span_equal(token->cose.kid, SPAN(token->key.kid))) {
		answer_short(fw, REASON_UNKNOWN_KEY);
		return;
	}
	if (!key_takes_alg(&token->key, token->cose.alg) ||
	    cose_verify(&token->cose, token->key.pub) != 0) {
		answer_short(fw, REASON_BAD_SIGNATURE);
		return;
	}
	if (!span_is(token->aud, fw->id)) {
		a.reason = REASON_WRONG_LOCK;
	} else if (fw->memory.owned || !firmware_pressed(fw)) {
		answer_code(fw, FRAME_TRY_LATER);
		return;
	} else {
		fw->memory.owned = true;
		fw->memory.owner = token->key;
		fw->memory.owner.roles = ROLE_ROOT;
		fw->memory.claimed = token->iat;
		fw->claimed_at = now;
		trust_anchor(fw->trust, &fw->memory.owner);
		reckoning_learn(&fw->reckoning, token->iat, now);
		a.outcome = OUTCOME_CLAIMED;
		a.n = ++fw->memory.n;
	}
	answer_receipt(fw, &a);
}

void firmware_release(struct firmware *fw, const struct token *token)
{
	const struct key *root = fw->trust->nchain ? fw->trust->keyset.root : &fw->trust->anchor;
	struct answer a = {.cti = span_of(token->digest, DIGEST_LEN), .outcome = OUTCOME_REFUSED};

	if (!fw->memory.owned) {
		answer_code(fw, FRAME_NOT_OWNED);
		return;
	}
	if (!span_equal(token->cose.kid, SPAN(root->kid))) {
		answer_short(fw, REASON_UNKNOWN_KEY);
		return;
	}
	if (!key_takes_alg(root, token->cose.alg) || cose_verify(&token->cose, root->pub) != 0) {
		answer_short(fw, REASON_BAD_SIGNATURE);
		return;
	}
	if (!span_is(token->aud, fw->id)) {
		a.reason = REASON_WRONG_LOCK;
	} else if (token->iat <= fw->memory.claimed) {
		a.reason = REASON_OLDER;
	} else {
		firmware_unowned(fw);
		a.outcome = OUTCOME_RELEASED;
		a.n = ++fw->memory.n;
	}
	answer_receipt(fw, &a);
}

/* A hand at the knob: nobody's business unless the policy says so (section 5). */
void firmware_hand(struct firmware *fw, enum bolt bolt)
{
	struct answer a = {.outcome = OUTCOME_DONE};

	fw->physical = bolt;
	if (!fw->trust->policy.report_manual)
		return;
	fw->memory.bolt = bolt;
	fw->state_counter++;
	a.n = ++fw->memory.n;
	answer_receipt(fw, &a);
	fw->ops->state(fw->user);
}
