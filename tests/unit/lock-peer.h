/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The lock at the other end of the air: keeps to the contract unless told how not to (enum
 * air_fault).
 */
#include "lock-air.h"

static void air_say(struct air *a, struct span document, bool half)
{
	uint8_t frame[FRAME_MAX];
	struct frame_cutter c;
	size_t n;

	frame_cut(&c, document);
	while ((n = frame_next(&c, half ? 64 : 200, frame)) > 0 && a->up) {
		lock_notified(a->lock, LOCK_OUTBOX, span_of(frame, n));
		if (half)
			return;
	}
}

static void air_code(struct air *a, unsigned code)
{
	uint8_t bytes[2];

	if (a->fault == AIR_SILENT)
		return;
	frame_short(code, bytes);
	lock_notified(a->lock, LOCK_OUTBOX, SPAN(bytes));
}

static struct span air_make(struct air *a, struct span cti, struct result *r, bool kept)
{
	const struct signer *by = a->fault == AIR_FOREIGN_KEY ? &a->city.stranger : &a->city.lock;
	uint8_t other[CTI_LEN] = {0xee};
	struct span document;

	r->bolt = BOLT_LOCKED;
	r->has_battery = !a->no_battery;
	r->battery = 80;
	r->boot = 1;
	memcpy(r->challenge, a->info.challenge, CHALLENGE_LEN);
	memcpy(r->applied, a->info.applied, sizeof(r->applied));
	r->napplied = a->info.napplied;
	if (kept) {
		r->has_n = true;
		r->n = ++a->n;
	}
	document = sign_receipt(a->fault == AIR_OTHER_LOCK ? "lock-2" : SIGN_LOCK, SIGN_NOW,
				a->fault == AIR_FOREIGN_CTI ? SPAN(other) : cti, r, by);
	if (kept)
		a->kept[r->n] = document;
	return document;
}

static void air_answer(struct air *a, struct span document)
{
	static const uint8_t junk[] = {0x05, 1, 2, 3};

	switch (a->fault) {
	case AIR_SILENT:
		return;
	case AIR_RUBBISH:
		lock_notified(a->lock, LOCK_OUTBOX, SPAN(junk));
		return;
	case AIR_HALF:
		air_say(a, document, true);
		return;
	case AIR_FLOOD:
		for (unsigned i = 0; i < 3000 && a->up && !a->closing; i++)
			air_say(a, document, true);
		return;
	case AIR_TWICE:
		air_say(a, document, false);
		break;
	case AIR_HONEST:
	case AIR_SHORT:
	case AIR_FOREIGN_KEY:
	case AIR_FOREIGN_CTI:
	case AIR_OTHER_LOCK:
	case AIR_REFUSES:
	case AIR_FAILS_TO_MOVE:
	case AIR_SPOILT:
		break;
	}
	air_say(a, document, false);
}

static void air_hold(struct air *a, const struct token *t)
{
	struct result r = {.outcome = OUTCOME_APPLIED};
	struct applied *at = NULL;
	struct span name =
		t->kind == TOKEN_LIST ? list_name(t->sub) : span_str(token_kind_word(t->kind));

	if (a->fault == AIR_SPOILT) {
		air_code(a, a->code);
		return;
	}
	for (size_t i = 0; i < a->info.napplied; i++) {
		if (span_is(name, a->info.applied[i].name))
			at = &a->info.applied[i];
	}
	if (a->fault == AIR_REFUSES) {
		r.outcome = OUTCOME_REFUSED;
		r.reason = REASON_OLDER;
	} else if (!at) {
		at = &a->info.applied[a->info.napplied++];
		memcpy(at->name, name.data, name.len);
	}
	if (a->fault != AIR_REFUSES) {
		at->iat = t->iat;
		memcpy(at->digest, t->digest, DIGEST_LEN);
	}
	air_answer(a, air_make(a, SPAN(t->digest), &r, a->fault != AIR_REFUSES));
}

static void air_move(struct air *a, const struct token *t)
{
	struct result r = {.outcome = OUTCOME_DONE};

	if (a->fault == AIR_SHORT) {
		air_code(a, a->code);
		return;
	}
	if (a->fault == AIR_REFUSES) {
		r.outcome = OUTCOME_REFUSED;
		r.reason = REASON_STALE_CHALLENGE;
	} else if (a->fault == AIR_FAILS_TO_MOVE) {
		r.outcome = OUTCOME_FAILED;
		r.reason = REASON_JAMMED;
	} else {
		a->moves++;
	}
	a->info.challenge[0]++;
	a->info.nonce[0]++;
	air_answer(a, air_make(a, t->cti, &r, a->fault != AIR_REFUSES));
}

/* Claim and release; what obeys somebody, or nobody, answers as firmware does. */
static void air_own(struct air *a, const struct token *t)
{
	struct result r = {.outcome = OUTCOME_CLAIMED};

	if (t->kind == TOKEN_RELEASE && !a->info.owned) {
		air_code(a, FRAME_NOT_OWNED);
		return;
	}
	if (t->kind == TOKEN_CLAIM && (a->info.owned || !a->button)) {
		air_code(a, FRAME_TRY_LATER);
		return;
	}
	a->info.owned = t->kind == TOKEN_CLAIM;
	if (a->info.owned) {
		memcpy(a->info.owner, t->key.kid, DIGEST_LEN);
	} else {
		r.outcome = OUTCOME_RELEASED;
		a->info.napplied = 0;
	}
	air_answer(a, air_make(a, SPAN(t->digest), &r, true));
}

static void air_tell(struct air *a, uint64_t since)
{
	struct result head = {.outcome = OUTCOME_HEAD, .has_last = true};
	uint64_t last = a->n;

	a->sinces++;
	for (uint64_t n = since + 1; n <= a->n - a->hidden_tail; n++) {
		if (n > a->lost && n != a->overtaken && n != a->dropped && a->up)
			air_answer(a, a->kept[n]);
	}
	head.last = last;
	air_answer(a, air_make(a, (struct span){0}, &head, false));
	if (a->overtaken > since && a->up)
		air_answer(a, a->kept[a->overtaken]);
	a->dropped = 0;
}

static void air_document(struct air *a, struct span document)
{
	struct result r = {.outcome = OUTCOME_DONE};
	struct token t;
	uint64_t since;

	if (since_parse(document, &since)) {
		if (a->reader)
			air_tell(a, since);
		else
			air_code(a, FRAME_NOT_A_READER);
		return;
	}
	assert_int_equal(token_parse(document, &t), 0);
	a->documents[t.kind]++;
	if (a->fault == AIR_SPOILT && t.scope == SCOPE_READ) {
		air_code(a, a->code);
	} else if (t.kind == TOKEN_AUTHORIZATION && t.scope == SCOPE_READ) {
		memcpy(a->reader_cti, t.cti.data, CTI_LEN);
		air_code(a, FRAME_GO_ON);
	} else if (t.kind == TOKEN_AUTHORIZATION) {
		air_move(a, &t);
	} else if (t.kind == TOKEN_PRESENTATION) {
		a->reader = !a->denies && span_equal(t.cnonce, SPAN(a->info.nonce)) &&
			    cose_verify(&t.cose, a->city.reader.pub) == 0;
		if (!a->reader) {
			r.outcome = OUTCOME_REFUSED;
			r.reason = REASON_STALE_CHALLENGE;
		}
		air_answer(a, air_make(a, SPAN(a->reader_cti), &r, false));
	} else if (t.kind == TOKEN_CLAIM || t.kind == TOKEN_RELEASE) {
		air_own(a, &t);
	} else {
		air_hold(a, &t);
	}
}
