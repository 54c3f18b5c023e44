// SPDX-License-Identifier: Apache-2.0
/*
 * Everything on a link but authorizations: reading info, bringing documents, reading the lock's log
 * as a reader. One question at a time; whatever is in hand gives way to a command and is asked
 * again afterwards.
 */
#include "lock-private.h"

#include <stdlib.h>

static bool log_wanted(const struct lock *l, uint64_t now)
{
	return l->reader_auth && !l->reader_refused &&
	       ((l->fetch_at && l->fetch_at <= now) || (l->hint && !l->log_done));
}

static bool has_reason(struct lock *l, uint64_t now)
{
	struct open_push push;

	if (l->hint || l->need_info || log_wanted(l, now))
		return true;
	switch (open_lacks(l->trust, &l->holds, false, &push)) {
	case OPEN_PUSH:
		return true;
	case OPEN_ASK_INFO:
		return !(l->troubles & TROUBLE_UNOWNED);
	case OPEN_NOTHING:
	case OPEN_FOREIGN_OWNER:
		break;
	}
	return false;
}

/* The time for what was refused without a signature. */
static void offer_again(struct lock *l, uint64_t now)
{
	if (l->reader_spoilt && now >= l->fetch_at)
		l->reader_refused = l->reader_spoilt = false;
	if (!l->again_at || now < l->again_at)
		return;
	l->again_at = 0;
	l->holds.nrefused = 0;
}

bool lock_wants_visit(struct lock *l, uint64_t now, uint64_t *ret_at)
{
	uint64_t pace = l->connect_at ? l->connect_at + LOCK_PACE_MS : 0;

	*ret_at = 0;
	if (l->test) {
		*ret_at = pace;
		return now >= pace;
	}
	if (!l->heard || now - l->heard_at > LOCK_HEARD_MS)
		return false; /* its next advert asks again */
	if (l->nforwards) {
		*ret_at = pace;
		return now >= pace;
	}
	offer_again(l, now);
	if (!has_reason(l, now)) {
		if (l->reader_auth && l->fetch_at > now)
			*ret_at = l->fetch_at;
		if (l->again_at && (!*ret_at || l->again_at < *ret_at))
			*ret_at = l->again_at;
		return false;
	}
	*ret_at = l->visit_at;
	return now >= l->visit_at;
}

static void begin(struct lock *l, enum lock_step step)
{
	l->step = step;
	l->step_count++;
	l->step_sent = false;
	l->step_began = lock_now(l);
	l->step_at = l->step_began + LOCK_STEP_MS;
	l->linger_at = 0;
}

void lock_step_send(struct lock *l, enum lock_step step, struct span document)
{
	begin(l, step);
	l->sending = true;
	open_send(&l->open, document);
	lock_pump(l, false);
}

static void ask(struct lock *l, enum lock_step step, enum lock_chr chr)
{
	begin(l, step);
	if (l->reading & 1u << chr)
		return; /* asked before a command cut in: that answer will do */
	if (l->radio->read(chr, l->user) < 0) {
		lock_end_link(l);
		return;
	}
	l->reading |= 1u << chr;
}

void lock_cut_step(struct lock *l)
{
	if (l->step == STEP_NONE)
		return;
	if (l->step != STEP_INFO && l->step != STEP_STATE) {
		if (l->step_sent)
			l->owed++;
		l->step = STEP_NONE;
		l->step_count++;
		l->radio->drop_writes(l->user);
	}
	l->step = STEP_NONE;
	l->sending = l->barrier = false;
	l->burst = 0;
}

static bool send_document(struct lock *l)
{
	struct open_push push;

	switch (open_lacks(l->trust, &l->holds, true, &push)) {
	case OPEN_PUSH:
		memcpy(l->digest, push.digest, DIGEST_LEN);
		l->pushing = push.kind;
		if (push.kind == TOKEN_LIST) {
			l->transfer = true;
			l->link_end = l->up_at + LOCK_TRANSFER_MS;
		}
		lock_step_send(l, STEP_PUSH, push.document);
		return true;
	case OPEN_ASK_INFO:
		if (l->info_fresh) {
			lock_set_trouble(l, TROUBLE_UNOWNED, "the lock obeys nobody yet");
			return false;
		}
		ask(l, STEP_INFO, LOCK_INFO);
		return true;
	case OPEN_FOREIGN_OWNER:
		lock_set_trouble(l, TROUBLE_FOREIGN_OWNER, "the lock obeys another root key");
		return false;
	case OPEN_NOTHING:
		lock_clear_trouble(l, TROUBLE_FOREIGN_OWNER);
		return false;
	}
	return false;
}

static bool read_log(struct lock *l)
{
	int n;

	if (!log_wanted(l, lock_now(l)))
		return false;
	if (!l->has_nonce && !l->reader_ok) {
		ask(l, STEP_INFO, LOCK_INFO);
		return true;
	}
	if (!l->reader_ok) {
		lock_step_send(l, STEP_READER, span_of(l->reader_auth, l->reader_auth_len));
		return true;
	}
	n = since_encode(l->n, l->small, sizeof(l->small));
	if (n < 0)
		return false;
	l->gap = false;
	l->logging = true;
	lock_step_send(l, STEP_SINCE, span_of(l->small, (size_t)n));
	return true;
}

void lock_next_step(struct lock *l)
{
	uint64_t now = lock_now(l);

	if (l->test || l->need_info) {
		ask(l, STEP_INFO, LOCK_INFO);
		return;
	}
	if (l->nforwards) {
		lock_forward_send(l);
		return;
	}
	if (send_document(l) || read_log(l))
		return;
	if (l->reader_ok && l->want_state) {
		l->want_state = false;
		ask(l, STEP_STATE, LOCK_STATE);
		return;
	}
	/* A link that only fetched ends at once: what a hand does then shows in the advert. */
	if (l->reader_ok && l->commanded && !l->subscribed) {
		l->subscribed = true;
		(void)l->radio->subscribe(LOCK_STATE, l->user);
	}
	l->complete = true;
	if (!l->linger_at)
		l->linger_at = now + (l->commanded || l->linger_ms < LOCK_SYNC_LINGER_MS
					      ? l->linger_ms
					      : LOCK_SYNC_LINGER_MS);
}

/* --- answers ------------------------------------------------------------------------------------ */

static void done(struct lock *l)
{
	l->step = STEP_NONE;
	l->sending = false;
}

static void remember_refused(struct lock *l)
{
	size_t max = ARRAY_SIZE(l->holds.refused);

	if (l->holds.nrefused == max) {
		memmove(l->holds.refused[0], l->holds.refused[1], (max - 1) * DIGEST_LEN);
		l->holds.nrefused--;
	}
	memcpy(l->holds.refused[l->holds.nrefused++], l->digest, DIGEST_LEN);
}

static void refused(struct lock *l, enum reason reason)
{
	remember_refused(l);
	lock_set_trouble(l, TROUBLE_DOCUMENT, reason_word(reason));
}

/* Anybody on the air can say so, or spoil a frame: no reason to withhold a list for ever. */
static void refused_unsigned(struct lock *l, unsigned code)
{
	refused(l, open_short_reason(code));
	if (l->again_at)
		return;
	l->again_at = lock_now(l) + l->again_gap;
	if (l->again_gap < LOCK_AGAIN_MAX_MS)
		l->again_gap *= 2;
}

static void pushed(struct lock *l, const struct open_answer *answer)
{
	struct open_push push;

	lock_learn(l, &answer->result);
	lock_publish(l, answer);
	if (answer->result.outcome == OUTCOME_REFUSED) {
		refused(l, answer->result.reason);
	} else if (answer->result.outcome == OUTCOME_HELD &&
		   answer->result.reason == REASON_OLDER) {
		remember_refused(l); /* it is ahead of us, rightly */
		lock_clear_trouble(l, TROUBLE_DOCUMENT);
	} else {
		l->counters.pushes++;
		l->again_gap = LOCK_AGAIN_MIN_MS;
		if (l->pushing == TOKEN_KEYS) {
			l->need_info = true; /* its owner may be the next root now */
			l->holds.nrefused = 0;
		}
		/* It says that it took the document and does not show it: not once more. */
		if (open_lacks(l->trust, &l->holds, true, &push) == OPEN_PUSH &&
		    memcmp(push.digest, l->digest, DIGEST_LEN) == 0 && l->pushing != TOKEN_KEYS)
			refused(l, REASON_LOCK_ERROR);
		else
			lock_clear_trouble(l, TROUBLE_DOCUMENT);
	}
	l->ops->keep(l->user);
	done(l);
}

static bool accepts_reader(const struct open_answer *answer)
{
	return answer->result.outcome != OUTCOME_REFUSED &&
	       answer->result.outcome != OUTCOME_FAILED;
}

static void reader_receipt(struct lock *l, const struct open_answer *answer)
{
	bool yes = l->step == STEP_PRESENT && accepts_reader(answer);

	lock_learn(l, &answer->result);
	done(l);
	if (yes) {
		l->reader_ok = true;
		l->reader_gap = LOCK_AGAIN_MIN_MS;
		lock_clear_trouble(l, TROUBLE_READER);
		return;
	}
	if (answer->result.reason == REASON_STALE_CHALLENGE && !l->reader_again) {
		l->reader_again = true; /* with the nonce that info shows now */
		l->has_nonce = false;
		return;
	}
	l->reader_refused = true;
	l->fetch_at = lock_now(l) + LOCK_READER_MS;
	lock_set_trouble(l, TROUBLE_READER, reason_word(answer->result.reason));
}

static void present(struct lock *l)
{
	int n = open_present(l->reader, l->open.id, l->nonce,
			     span_of(l->reader_cti, l->reader_cti_len), l->small, sizeof(l->small));

	if (n < 0) {
		lock_end_link(l);
		return;
	}
	lock_step_send(l, STEP_PRESENT, span_of(l->small, (size_t)n));
}

/* Where both ends have Enhanced ATT, BlueZ sends commands over several bearers, and those over one
 * may overtake those over another. Requests cannot: each waits for its answer. */
bool lock_gap(struct lock *l)
{
	l->counters.gaps++;
	if (l->confirmed)
		return false;
	l->confirmed = true;
	l->radio->confirm(l->user);
	lock_end_link(l);
	return true;
}

static void reader_refused_unsigned(struct lock *l, unsigned code)
{
	l->reader_ok = false;
	l->reader_refused = l->reader_spoilt = true;
	l->logging = false;
	l->fetch_at = lock_now(l) + l->reader_gap;
	l->reader_gap = l->reader_gap * 2 < LOCK_READER_MS ? l->reader_gap * 2 : LOCK_READER_MS;
	lock_set_trouble(l, TROUBLE_READER, reason_word(open_short_reason(code)));
}

static void short_answer(struct lock *l, unsigned code)
{
	if (l->step == STEP_READER && code == FRAME_GO_ON) {
		present(l);
		return;
	}
	if (code == FRAME_GO_ON)
		return;
	if (code == FRAME_GAP && lock_gap(l))
		return;
	if (l->step == STEP_FORWARD && code != FRAME_GAP) {
		done(l);
		lock_forward_short(l, open_short_reason(code));
		return;
	}
	if (code == FRAME_TRY_LATER || (code == FRAME_GAP && l->gap_again)) {
		lock_session_fails(l, TROUBLE_SILENT, "the lock asks to try later");
		return;
	}
	if (code == FRAME_GAP) {
		l->gap_again = true;
		done(l);
		return;
	}
	if (l->step == STEP_PUSH) {
		refused_unsigned(l, code);
	} else {
		reader_refused_unsigned(l, code);
	}
	done(l);
}

static bool kept(const struct open_answer *answer)
{
	return answer->result.has_n || answer->result.outcome == OUTCOME_HEAD;
}

static void log_answer(struct lock *l, const struct open_answer *answer)
{
	if (answer->result.outcome != OUTCOME_HEAD) {
		lock_log_receipt(l, answer);
		l->step_at = lock_now(l) + LOCK_STEP_MS;
		return;
	}
	l->logging = false;
	l->log_done = true;
	if (l->step == STEP_SINCE)
		done(l);
	lock_log_head(l, answer);
}

bool lock_absorb(struct lock *l, enum open_said said, const struct open_answer *answer,
		 bool expected)
{
	if (expected)
		return false;
	if (said == OPEN_RECEIPT && l->logging && kept(answer)) {
		log_answer(l, answer);
		return true;
	}
	if (said == OPEN_RECEIPT && answer->result.has_n && answer->result.n <= l->n)
		return true; /* told twice */
	/* Overtaken by the log's end, which told of it; a newer one is nobody's answer, and filing it
	 * would hide what the log says of that number. */
	if (l->owed == 0 && said == OPEN_RECEIPT && answer->result.has_n && l->log_done &&
	    answer->result.n <= l->head) {
		lock_publish(l, answer);
		return true;
	}
	if (l->owed == 0 || (said != OPEN_RECEIPT && said != OPEN_SHORT))
		return false;
	l->owed--;
	if (said != OPEN_RECEIPT)
		return true;
	lock_learn(l, &answer->result);
	if (!span_equal(answer->token.cti, span_of(l->reader_cti, l->reader_cti_len)))
		lock_publish(l, answer);
	else if (accepts_reader(answer))
		l->reader_ok = true;
	return true;
}

static bool answers_step(const struct lock *l, const struct open_answer *answer)
{
	switch (l->step) {
	case STEP_PUSH:
		return span_equal(answer->token.cti, SPAN(l->digest));
	case STEP_FORWARD:
		return l->nforwards && span_equal(answer->token.cti, SPAN(l->forwards[0].digest));
	case STEP_READER:
	case STEP_PRESENT:
		return span_equal(answer->token.cti, span_of(l->reader_cti, l->reader_cti_len));
	case STEP_SINCE:
		return kept(answer);
	case STEP_NONE:
	case STEP_INFO:
	case STEP_STATE:
		break;
	}
	return false;
}

void lock_step_answer(struct lock *l, enum open_said said, const struct open_answer *answer)
{
	bool expected = said == OPEN_RECEIPT && answers_step(l, answer);

	if (lock_absorb(l, said, answer, expected))
		return;
	if (said == OPEN_SHORT && l->step != STEP_NONE && l->step != STEP_INFO &&
	    l->step != STEP_STATE) {
		short_answer(l, answer->code);
		return;
	}
	if (!expected) {
		lock_session_fails(l, TROUBLE_RUBBISH,
				   said == OPEN_RUBBISH ? answer->why : "an answer to no question");
		return;
	}
	lock_clear_trouble(l, TROUBLE_RUBBISH);
	lock_clear_trouble(l, TROUBLE_SILENT);
	if (l->step == STEP_SINCE) {
		log_answer(l, answer);
	} else if (l->step == STEP_PUSH) {
		pushed(l, answer);
	} else if (l->step == STEP_FORWARD) {
		done(l);
		lock_learn(l, &answer->result);
		lock_publish(l, answer);
	} else {
		reader_receipt(l, answer);
	}
}

void lock_tested(struct lock *l, const char *why)
{
	struct lock_test_result result = {
		.ok = !why,
		.why = why,
		.connect_ms = l->test_connected ? l->test_connect_ms : 0,
		.round_trip_ms = why ? 0 : (unsigned)(lock_now(l) - l->step_began),
	};

	l->test = l->test_connected = false;
	l->ops->tested(&result, l->user);
}

static void read_info(struct lock *l, int r, struct span value)
{
	struct info info;
	int verdict;

	if (r < 0) {
		lock_session_fails(l, TROUBLE_SILENT, "info cannot be read");
		return;
	}
	verdict = open_info(&l->open, value, &info);
	if (verdict == REASON_WRONG_LOCK) {
		lock_session_fails(l, TROUBLE_STRANGER, "this is another lock");
		l->ops->stranger("its info names another lock or key", l->user);
		return;
	}
	if (verdict != 0) {
		lock_session_fails(l, TROUBLE_RUBBISH, "info that cannot be read");
		return;
	}
	lock_clear_trouble(l,
			   TROUBLE_STRANGER | TROUBLE_UNOWNED | TROUBLE_SILENT | TROUBLE_RUBBISH);
	l->need_info = false;
	l->info_fresh = true;
	l->owner_known = true;
	l->holds.has_owner = info.owned;
	memcpy(l->holds.owner, info.owner, DIGEST_LEN);
	l->holds.max = info.max;
	l->has_nonce = true;
	memcpy(l->nonce, info.nonce, CHALLENGE_LEN);
	lock_learn_holds(l, info.challenge, info.applied, info.napplied);
	l->ops->keep(l->user);
	lock_forward_tell(l, &info);
	if (l->test)
		lock_tested(l, NULL);
}

void lock_step_value(struct lock *l, enum lock_chr chr, int r, struct span value)
{
	struct lock_state state;

	l->reading &= ~(1u << chr);
	if (chr == LOCK_INFO) {
		if (l->step == STEP_INFO)
			done(l);
		read_info(l, r, value);
		return;
	}
	if (chr != LOCK_STATE)
		return;
	if (l->step == STEP_STATE)
		done(l);
	l->barrier = false;
	l->burst = 0;
	if (r < 0 || lock_state_parse(value, &state) != 0 || !state.present)
		return; /* not vital: receipts say the same */
	l->bolt = state.bolt;
	if (state.has_battery) {
		l->has_battery = true;
		l->battery = state.battery;
	}
	l->ops->changed(l->user);
}
