// SPDX-License-Identifier: Apache-2.0
/*
 * What the lock says: short answers, receipts in frames, the kept receipts for a reader. Faults
 * that a test ordered spoil an answer here and nowhere else.
 */
#include <errno.h>
#include <stdio.h>

#include "sim/lock-firmware.h"

static void send_frames(struct firmware *fw, struct span document, bool half)
{
	uint8_t frame[FRAME_MAX];
	struct frame_cutter c;
	size_t n, max = fw->mtu < FRAME_MAX ? fw->mtu : FRAME_MAX;

	frame_cut(&c, document);
	while ((n = frame_next(&c, half ? 64 : max, frame)) > 0) {
		fw->ops->send(span_of(frame, n), fw->user);
		if (half)
			return;
	}
}

static void send_rubbish(struct firmware *fw, size_t bytes)
{
	uint8_t junk[FRAME_MAX];

	for (; bytes; bytes -= bytes < sizeof(junk) ? bytes : sizeof(junk)) {
		crypto_random(junk, sizeof(junk));
		junk[0] &= 0x3f; /* neither first nor last */
		fw->ops->send(span_of(junk, bytes < sizeof(junk) ? bytes : sizeof(junk)), fw->user);
	}
}

/* A receipt that reads well and is not this lock's, or not about what was asked. */
static void send_false(struct firmware *fw, struct span document, enum lock_fault fault)
{
	uint8_t bytes[TOKEN_SMALL_MAX], cti[CTI_LEN];
	struct signer stranger;
	struct token token;
	int r;

	if (token_parse(document, &token) != 0)
		return;
	signer_generate(&stranger);
	crypto_random(cti, sizeof(cti));
	if (fault == LOCK_FAULT_OTHER)
		token.cti = SPAN(cti);
	r = token_sign(&token, fault == LOCK_FAULT_FOREIGN ? &stranger : &fw->memory.key, bytes,
		       sizeof(bytes));
	if (r > 0)
		send_frames(fw, span_of(bytes, (size_t)r), false);
}

void answer_document(struct firmware *fw, struct span document)
{
	enum lock_fault fault = fw->faults_left ? fw->fault : LOCK_FAULT_NONE;

	if (!fw->connected)
		return;
	if (fw->faults_left)
		fw->faults_left--;
	switch (fault) {
	case LOCK_FAULT_NONE:
		send_frames(fw, document, false);
		return;
	case LOCK_FAULT_RUBBISH:
		send_rubbish(fw, 100);
		return;
	case LOCK_FAULT_HALF:
		send_frames(fw, document, true);
		return;
	case LOCK_FAULT_NOTHING:
		return;
	case LOCK_FAULT_MUCH:
		send_rubbish(fw, 200 << 10);
		return;
	case LOCK_FAULT_FOREIGN:
	case LOCK_FAULT_OTHER:
		send_false(fw, document, fault);
		return;
	case LOCK_FAULT_TWICE:
		send_frames(fw, document, false);
		send_frames(fw, document, false);
		return;
	}
}

static void keep(struct firmware *fw, uint64_t n, struct span receipt)
{
	struct lock_receipt *slot = &fw->memory.receipts[n % LOCK_RECEIPTS];

	slot->n = n;
	slot->len = (uint16_t)receipt.len;
	memcpy(slot->bytes, receipt.data, receipt.len);
}

/* The advert asks a gateway to come, unless one is here and was just given this receipt. */
static void call_gateway(struct firmware *fw, const struct answer *a)
{
	bool from_gateway = a->cti.len && a->via != VIA_DOOR;

	if (fw->connected && from_gateway)
		return;
	crypto_random(fw->random, sizeof(fw->random));
}

int answer_make(struct firmware *fw, const struct answer *a, uint8_t ret[static TOKEN_SMALL_MAX])
{
	struct result result = {
		.outcome = a->outcome,
		.reason = a->reason,
		.via = a->via,
		.bolt = fw->memory.bolt,
		.has_battery = true,
		.battery = fw->memory.battery,
		.boot = fw->memory.boot,
		.has_n = a->n != 0,
		.n = a->n,
		.has_last = a->head,
		.last = fw->memory.n,
	};
	struct token token = {
		.kind = TOKEN_RECEIPT,
		.has = CLAIM_ISS | CLAIM_IAT | CLAIM_RESULT | (a->cti.len ? CLAIM_CTI : 0u),
		.iss = span_str(fw->id),
		.iat = firmware_time(fw).now,
		.cti = a->cti,
	};
	uint8_t claim[TOKEN_SMALL_MAX];
	struct cbor_writer w;
	int r;

	memcpy(result.challenge, fw->challenge, CHALLENGE_LEN);
	result.napplied = trust_applied(fw->trust, result.applied);
	cbor_writer_init(&w, claim, sizeof(claim));
	result_put(&w, &result);
	if (w.failed)
		return -ENOSPC;
	token.result = span_of(claim, w.len);
	r = token_sign(&token, &fw->memory.key, ret, TOKEN_SMALL_MAX);
	if (r < 0 || !a->n)
		return r;
	keep(fw, a->n, span_of(ret, (size_t)r));
	fw->memory.open.present = false;
	return lock_memory_put(fw->dir, &fw->memory) < 0 ? -EIO : r;
}

void answer_receipt(struct firmware *fw, const struct answer *a)
{
	uint8_t bytes[TOKEN_SMALL_MAX];
	int r = answer_make(fw, a, bytes);

	if (a->outcome == OUTCOME_REFUSED)
		fw->refusals++;
	if (r > 0)
		answer_document(fw, span_of(bytes, (size_t)r));
	else
		answer_code(fw, FRAME_TRY_LATER);
	if (!a->n)
		return;
	call_gateway(fw, a);
	fw->ops->advert(fw->user);
}

void answer_code(struct firmware *fw, unsigned code)
{
	uint8_t bytes[2];

	if (!fw->connected)
		return;
	if (fw->faults_left && fw->fault == LOCK_FAULT_NOTHING) {
		fw->faults_left--;
		return;
	}
	frame_short(code, bytes);
	fw->ops->send(SPAN(bytes), fw->user);
}

void answer_short(struct firmware *fw, enum reason reason)
{
	unsigned code = FRAME_TRY_LATER;

	if (reason == REASON_MALFORMED)
		code = FRAME_MALFORMED;
	else if (reason == REASON_UNKNOWN_KEY)
		code = FRAME_UNKNOWN_KEY;
	else if (reason == REASON_WRONG_ROLE)
		code = FRAME_WRONG_ROLE;
	else if (reason == REASON_BAD_SIGNATURE)
		code = FRAME_BAD_SIGNATURE;
	else if (reason == REASON_TOO_LARGE)
		code = FRAME_TOO_LARGE;
	answer_code(fw, code);
	if (code != FRAME_TRY_LATER && ++fw->bad >= LOCK_BAD_MAX)
		fw->ops->disconnect(fw->user);
}

void answer_since(struct firmware *fw, uint64_t n)
{
	struct answer head = {.outcome = OUTCOME_HEAD, .head = true};
	uint64_t first = fw->memory.n >= LOCK_RECEIPTS ? fw->memory.n - LOCK_RECEIPTS + 1 : 1;
	uint64_t i;

	for (i = n + 1 > first ? n + 1 : first; i <= fw->memory.n; i++) {
		const struct lock_receipt *slot = &fw->memory.receipts[i % LOCK_RECEIPTS];

		if (slot->n == i)
			answer_document(fw, span_of(slot->bytes, slot->len));
	}
	answer_receipt(fw, &head);
}
