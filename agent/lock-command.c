// SPDX-License-Identifier: Apache-2.0
/*
 * An authorization's way to the lock, at most once. What counts is whether the last frame may have
 * left: before that, nothing moved; from then on, only the lock's verified receipt knows.
 */
#include "lock-private.h"

int lock_command(struct lock *l, const struct lock_command *command, uint64_t wait_ms)
{
	uint64_t now = lock_now(l);

	if (l->phase != CMD_NONE)
		return -EBUSY;
	l->command = *command;
	l->phase = CMD_HELD;
	l->bytes_out = l->last_out = false;
	l->command_end = now + wait_ms;
	l->connect_at = l->link == LINK_CONNECTING ? l->connect_at : 0;
	if (l->link == LINK_CONNECTING && !l->urgent)
		l->hurry_at = now + LOCK_HURRY_MS;
	lock_advance(l);
	return 0;
}

void lock_commit(struct lock *l)
{
	if (l->phase != CMD_HELD)
		return;
	l->phase = CMD_READY;
	lock_advance(l);
}

void lock_abandon(struct lock *l)
{
	if (l->phase != CMD_HELD)
		return;
	l->phase = CMD_NONE;
	lock_advance(l);
}

bool lock_busy(const struct lock *l)
{
	return l->phase != CMD_NONE;
}

void lock_command_finish(struct lock *l, enum outcome outcome, enum reason reason,
			 const struct open_answer *answer)
{
	struct lock_command command = l->command;

	l->phase = CMD_NONE;
	l->has_nonce = false; /* info may have been on its way from before the execution */
	l->answer_at = l->command_end = 0;
	crypto_wipe(&l->command, sizeof(l->command));
	if (outcome == OUTCOME_DONE)
		l->counters.done++;
	else if (outcome == OUTCOME_FAILED)
		l->counters.failed++;
	else
		l->counters.unknown++;
	if (answer && answer->result.has_n)
		lock_file(l, answer->result.n);
	l->ops->outcome(&command, outcome, reason, answer ? answer->document : span_of(NULL, 0),
			answer ? &answer->result : NULL, l->user);
	if (outcome == OUTCOME_UNKNOWN && !answer && !l->fetch_at)
		l->fetch_at = lock_now(l) + 1000;
	if (answer)
		l->ops->keep(l->user);
}

void lock_command_start(struct lock *l)
{
	int r;

	if (lock_now(l) - l->up_at > LOCK_FRESH_MS + (l->transfer ? LOCK_TRANSFER_MS / 2 : 0)) {
		/* The lock may end this connection before its motor stands still. Reconnecting costs
		 * less than an unknown outcome. */
		l->connect_at = 0;
		lock_end_link(l);
		return;
	}
	l->commanded = true;
	r = l->ops->recheck(&l->command, l->user);
	if (r != 0) {
		lock_command_finish(l, OUTCOME_FAILED, r > 0 ? (enum reason)r : REASON_LOCK_ERROR,
				    NULL);
		return;
	}
	lock_cut_step(l);
	l->phase = CMD_SENDING;
	l->sending = true;
	open_send(&l->open, span_of(l->command.document, l->command.len));
	lock_pump(l, true);
}

void lock_command_written(struct lock *l, const struct lock_write *write, enum lock_sent sent)
{
	if (l->phase != CMD_SENDING && l->phase != CMD_AWAITING)
		return;
	if (sent == LOCK_NOT_SENT) {
		if (l->link == LINK_UP)
			lock_end_link(l); /* a frame is missing: the rest makes no sense */
		return;
	}
	l->bytes_out = true;
	if (write->last)
		l->last_out = true;
}

static bool ours(const struct lock *l, const struct open_answer *answer)
{
	return span_equal(answer->token.cti, SPAN(l->command.cti));
}

static void receipt(struct lock *l, const struct open_answer *answer)
{
	enum reason reason = answer->result.reason;

	lock_learn(l, &answer->result);
	switch (answer->result.outcome) {
	case OUTCOME_DONE:
		lock_command_finish(l, OUTCOME_DONE, REASON_NONE, answer);
		return;
	case OUTCOME_FAILED:
		lock_command_finish(l, OUTCOME_FAILED, reason ? reason : REASON_LOCK_ERROR, answer);
		return;
	case OUTCOME_REFUSED:
		lock_command_finish(l, OUTCOME_FAILED, reason ? reason : REASON_LOCK_REFUSED,
				    answer);
		return;
	case OUTCOME_UNKNOWN:
		lock_command_finish(l, OUTCOME_UNKNOWN, reason, answer);
		return;
	case OUTCOME_NONE:
	case OUTCOME_APPLIED:
	case OUTCOME_HELD:
	case OUTCOME_CLAIMED:
	case OUTCOME_RELEASED:
	case OUTCOME_HEAD:
		break;
	}
	lock_session_fails(l, TROUBLE_RUBBISH, "a receipt without an outcome");
}

void lock_command_answer(struct lock *l, enum open_said said, const struct open_answer *answer)
{
	if (lock_absorb(l, said, answer, said == OPEN_RECEIPT && ours(l, answer)))
		return;
	switch (said) {
	case OPEN_MORE:
		return;
	case OPEN_RECEIPT:
		if (ours(l, answer))
			receipt(l, answer);
		else
			lock_session_fails(l, TROUBLE_RUBBISH, "a receipt for something else");
		return;
	case OPEN_SHORT:
		if (answer->code == FRAME_GO_ON)
			return;
		/* Unsigned: no proof that nothing moved, once the last frame may have left. */
		if (l->phase == CMD_SENDING) {
			lock_command_finish(l, OUTCOME_FAILED, open_short_reason(answer->code),
					    NULL);
			lock_end_link(l);
		} else {
			lock_command_finish(l, OUTCOME_UNKNOWN, open_short_reason(answer->code),
					    NULL);
		}
		if (answer->code == FRAME_GAP)
			lock_gap(l);
		return;
	case OPEN_RUBBISH:
		lock_session_fails(l, TROUBLE_RUBBISH, answer->why);
		return;
	}
}

void lock_command_link_gone(struct lock *l, enum lock_end end)
{
	if (l->phase == CMD_AWAITING || l->phase == CMD_SENDING) {
		if (l->last_out) {
			lock_command_finish(l, OUTCOME_UNKNOWN, REASON_TIMEOUT, NULL);
			return;
		}
		if (l->bytes_out) {
			lock_command_finish(l, OUTCOME_FAILED, REASON_UNREACHABLE, NULL);
			return;
		}
		l->phase = CMD_READY; /* not a byte left: the connect may be tried again */
	}
	if (l->phase == CMD_READY || l->phase == CMD_HELD)
		l->connect_at = end == LOCK_CLOSED ? 0 : lock_now(l) - LOCK_PACE_MS + 250;
}

void lock_command_alarm(struct lock *l, uint64_t now)
{
	if ((l->phase == CMD_SENDING || l->phase == CMD_AWAITING) && now >= l->answer_at) {
		bool may = l->phase == CMD_AWAITING;

		lock_set_trouble(l, TROUBLE_SILENT, "the lock gave no answer");
		lock_command_finish(l, may ? OUTCOME_UNKNOWN : OUTCOME_FAILED, REASON_TIMEOUT,
				    NULL);
		lock_end_link(l);
		return;
	}
	if (l->phase == CMD_READY && now >= l->command_end) {
		lock_command_finish(l, OUTCOME_FAILED, REASON_UNREACHABLE, NULL);
		if (l->link == LINK_CONNECTING)
			lock_end_link(l);
	}
}
