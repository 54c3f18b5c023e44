// SPDX-License-Identifier: Apache-2.0
/*
 * One lock's session: its life, what others ask of it, when it connects and when it lets go. See
 * lock.h; an authorization's way is in lock-command.c, everything else on the link in lock-sync.c.
 */
#include "lock-private.h"

#include <stdio.h>
#include <stdlib.h>

static void restore(struct lock *l, const struct lock_stored *stored)
{
	if (!stored)
		return;
	l->n = l->head = stored->n;
	/* It may have moved on while we were away: shown, but not judged by, until an advert agrees
	 * or the lock says so. */
	l->has_challenge = stored->has_challenge;
	l->doubt = true;
	memcpy(l->challenge, stored->challenge, CHALLENGE_LEN);
	l->bolt = stored->bolt;
	l->has_battery = stored->has_battery;
	l->battery = stored->battery;
	l->seen = stored->seen;
	memcpy(l->holds.applied, stored->applied, sizeof(l->holds.applied));
	l->holds.napplied = stored->napplied;
	l->met = stored->has_challenge;
	l->has_advert = stored->has_advert;
	memcpy(l->advert, stored->advert, sizeof(l->advert));
}

int lock_new(const struct lock_options *options, const struct lock_stored *stored,
	     const struct lock_radio *radio, const struct lock_ops *ops, void *user,
	     struct lock **ret)
{
	struct lock *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->radio = radio;
	l->ops = ops;
	l->user = user;
	l->trust = options->trust;
	l->reader = options->reader;
	l->linger_ms = options->linger_ms;
	open_init(&l->open, options->id, options->key);
	l->fail_gap = l->hint_gap = LOCK_GAP_MIN_MS;
	l->again_gap = l->reader_gap = LOCK_AGAIN_MIN_MS;
	restore(l, stored);
	l->born = lock_now(l);
	l->need_info = !l->has_challenge;
	*ret = l;
	return 0;
}

void lock_free(struct lock *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->nforwards; i++)
		free(l->forwards[i].document);
	free(l->reader_auth);
	free(l);
}

void lock_freep(struct lock **lock)
{
	lock_free(*lock);
}

/* --- the link ----------------------------------------------------------------------------------- */

static void connect_link(struct lock *l, bool urgent)
{
	uint64_t now = lock_now(l);
	int r = l->radio->connect(urgent, l->user);

	if (r < 0) {
		/* The radio is away, or the address not known: lock_radio_up() or the alarm. */
		l->visit_at = now + (r == -ENETDOWN ? LOCK_DOWN_MS : LOCK_PACE_MS);
		l->connect_at = now;
		return;
	}
	l->counters.connects++;
	l->link = LINK_CONNECTING;
	l->urgent = urgent;
	l->connect_at = now;
	l->hurry_at = 0;
}

void lock_end_link(struct lock *l)
{
	if (l->link != LINK_UP && l->link != LINK_CONNECTING)
		return;
	l->link = LINK_CLOSING;
	l->linger_at = l->link_end = l->hurry_at = 0;
	l->step = STEP_NONE;
	l->sending = false;
	l->radio->disconnect(l->user);
}

void lock_connected(struct lock *l, unsigned frame)
{
	uint64_t now = lock_now(l);

	if (l->link != LINK_CONNECTING)
		return;
	l->link = LINK_UP;
	l->up_at = l->heard_at = now;
	l->heard = true;
	l->link_end = now + LOCK_LINK_MS;
	l->linger_at = l->hurry_at = 0;
	l->commanded = false;
	l->nwrites = 0;
	l->notified = l->owed = 0;
	l->reader_ok = l->reader_refused = l->reader_again = l->subscribed = false;
	l->has_nonce = false;
	l->learned = l->complete = l->transfer = l->gap_again = false;
	l->info_fresh = l->logging = l->log_done = false;
	l->reading = l->burst = 0;
	l->barrier = false;
	l->step = STEP_NONE;
	l->want_state = true;
	l->need_info |= l->hint; /* the challenge may be another */
	if (l->test) {
		l->test_connect_ms = (unsigned)(now - l->connect_at);
		l->test_connected = true;
	}
	open_begin(&l->open, frame);
	lock_clear_trouble(l, TROUBLE_UNREACHABLE);
	if (!l->reachable) {
		l->reachable = true;
		l->ops->reachable(true, l->user);
	}
	lock_advance(l);
}

/* After a visit: when the next one may be. */
static void visit_ended(struct lock *l, enum lock_end end, uint64_t now)
{
	if (end == LOCK_CLOSED && l->complete) {
		l->counters.visits++;
		l->fail_gap = LOCK_GAP_MIN_MS;
		if (l->learned)
			l->hint_gap = LOCK_GAP_MIN_MS;
		else if (l->hint && l->hint_gap < LOCK_GAP_MAX_MS)
			l->hint_gap *= 2; /* an advert that cries wolf */
		l->hint = false;
		l->visit_at = now + (l->learned ? 0 : l->hint_gap);
		return;
	}
	if (l->failed && end == LOCK_CLOSED)
		return;
	if (end == LOCK_PREEMPTED || end == LOCK_CLOSED) {
		l->visit_at = now + LOCK_GAP_MIN_MS;
		return;
	}
	l->visit_at = now + l->fail_gap;
	if (l->fail_gap < LOCK_GAP_MAX_MS)
		l->fail_gap *= 2;
}

void lock_disconnected(struct lock *l, enum lock_end end, const char *detail)
{
	uint64_t now = lock_now(l);
	l->link = LINK_NONE;
	l->linger_at = l->link_end = l->hurry_at = l->up_at = 0;
	l->step = STEP_NONE;
	l->sending = false;
	l->nwrites = 0;
	visit_ended(l, end, now);
	l->failed = false;
	if (end == LOCK_PROTOCOL)
		lock_set_trouble(l, TROUBLE_STRANGER, detail);
	if (end == LOCK_UNREACHABLE && l->reachable && now - l->heard_at > LOCK_SILENT_MS / 3) {
		l->reachable = false;
		l->ops->reachable(false, l->user);
	}
	if (l->test && end != LOCK_CLOSED && end != LOCK_PREEMPTED)
		lock_tested(l, end == LOCK_UNREACHABLE ? "no connection" : detail);
	lock_forward_link_gone(l);
	lock_command_link_gone(l, end);
	l->complete = false;
	lock_advance(l);
}

/*
 * Between us and the air lie the queues of bluetoothd and of the controller: without a limit a
 * whole list is in there at once, and an unlock behind it. A read is answered only after the
 * commands before it: so many frames, then a small read, then on.
 */
static bool barrier(struct lock *l)
{
	if (l->burst < LOCK_BURST)
		return false;
	if (!l->barrier && !(l->reading & 1u << LOCK_STATE)) {
		if (l->radio->read(LOCK_STATE, l->user) < 0) {
			l->burst = 0; /* it has none: then without */
			return false;
		}
		l->reading |= 1u << LOCK_STATE;
	}
	l->barrier = true;
	return true;
}

/* One frame; false: it cannot be. */
static bool pump_one(struct lock *l, bool command)
{
	uint8_t frame[FRAME_MAX];
	bool last;
	size_t n = open_next(&l->open, frame, &last);
	uint64_t now = lock_now(l);

	if (n == 0 || l->radio->write(span_of(frame, n), l->user) < 0)
		return false;
	l->counters.bytes_out += n;
	l->writes[l->nwrites++] = (struct lock_write){
		.command = command,
		.last = last,
		.step = l->step_count,
	};
	l->sending = !last;
	if (!command) {
		l->burst++;
		l->step_at = now + LOCK_STEP_MS;
		return true;
	}
	l->answer_at = now + (last ? LOCK_ANSWER_MS : LOCK_SEND_MS);
	if (last)
		l->phase = CMD_AWAITING;
	return true;
}

void lock_pump(struct lock *l, bool command)
{
	while (l->sending && l->nwrites < LOCK_WINDOW) {
		if (!command && !l->confirmed && barrier(l))
			return;
		if (!pump_one(l, command)) {
			lock_end_link(l);
			return;
		}
	}
}

void lock_written(struct lock *l, enum lock_sent sent)
{
	struct lock_write write;

	if (l->nwrites == 0)
		return;
	write = l->writes[0];
	memmove(l->writes, l->writes + 1, --l->nwrites * sizeof(l->writes[0]));
	if (write.command) {
		lock_command_written(l, &write, sent);
	} else if (write.last && sent != LOCK_NOT_SENT) {
		if (write.step == l->step_count && l->step != STEP_NONE)
			l->step_sent = true;
		else
			l->owed++; /* a command cut in: its answer comes first */
	} else if (sent == LOCK_NOT_SENT && write.step == l->step_count && l->step != STEP_NONE) {
		lock_end_link(l);
	}
	lock_advance(l);
}

void lock_notified(struct lock *l, enum lock_chr chr, struct span value)
{
	struct open_answer answer;
	enum open_said said;

	if (chr == LOCK_STATE) {
		l->want_state = true;
		lock_advance(l);
		return;
	}
	if (chr != LOCK_OUTBOX || l->link == LINK_NONE || l->link == LINK_CONNECTING)
		return;
	said = open_take(&l->open, value, &answer);
	if (++l->notified > LOCK_NOTIFIED_MAX) {
		said = OPEN_RUBBISH;
		answer.why = "more answers than questions";
	}
	if (said == OPEN_MORE)
		return;
	if (l->link == LINK_CLOSING) {
		/* Too late for the session, but true. */
		if (said == OPEN_RECEIPT)
			lock_publish(l, &answer);
		return;
	}
	if (l->phase == CMD_SENDING || l->phase == CMD_AWAITING)
		lock_command_answer(l, said, &answer);
	else
		lock_step_answer(l, said, &answer);
	lock_advance(l);
}

void lock_value(struct lock *l, enum lock_chr chr, int r, struct span value)
{
	if (l->link == LINK_UP)
		lock_step_value(l, chr, r, value);
	lock_advance(l);
}

void lock_session_fails(struct lock *l, enum lock_trouble trouble, const char *detail)
{
	if (trouble == TROUBLE_RUBBISH)
		l->counters.rubbish++;
	lock_set_trouble(l, trouble, detail);
	if (l->test)
		lock_tested(l, detail);
	l->complete = false;
	if (l->phase == CMD_AWAITING)
		lock_command_finish(l, OUTCOME_UNKNOWN, REASON_LOCK_ERROR, NULL);
	else if (l->phase == CMD_SENDING)
		lock_command_finish(l, l->last_out ? OUTCOME_UNKNOWN : OUTCOME_FAILED,
				    REASON_LOCK_ERROR, NULL);
	lock_end_link(l);
	l->failed = true;
	l->visit_at = lock_now(l) + l->fail_gap;
	if (l->fail_gap < LOCK_GAP_MAX_MS)
		l->fail_gap *= 2;
}

/* --- the next thing to do ------------------------------------------------------------------------ */

static void earliest(uint64_t *at, uint64_t candidate)
{
	if (candidate && (!*at || candidate < *at))
		*at = candidate;
}

void lock_set_alarm(struct lock *l)
{
	uint64_t at = 0, visit = 0;

	if (l->phase != CMD_NONE && l->phase != CMD_SENDING && l->phase != CMD_AWAITING)
		earliest(&at, l->command_end);
	if (l->phase == CMD_SENDING || l->phase == CMD_AWAITING)
		earliest(&at, l->answer_at);
	if (l->link == LINK_UP) {
		earliest(&at, l->link_end);
		earliest(&at, l->linger_at);
		if (l->step != STEP_NONE)
			earliest(&at, l->step_at);
	}
	if (l->link == LINK_CONNECTING)
		earliest(&at, l->hurry_at);
	if (l->link == LINK_NONE) {
		if (l->phase == CMD_READY || l->phase == CMD_HELD)
			earliest(&at, l->connect_at + LOCK_PACE_MS);
		earliest(&at, lock_wants_visit(l, lock_now(l), &visit) ? lock_now(l) : visit);
		if (l->reachable)
			earliest(&at, l->heard_at + LOCK_SILENT_MS);
		else if (!l->heard && !(l->troubles & TROUBLE_UNREACHABLE))
			earliest(&at, l->born + LOCK_SILENT_MS);
	}
	if (l->test)
		earliest(&at, l->test_end);
	if (at != l->alarm_at) {
		l->alarm_at = at;
		l->ops->alarm(at, l->user);
	}
}

static void go_on_link(struct lock *l)
{
	if (l->phase == CMD_READY) {
		l->linger_at = 0;
		lock_command_start(l);
		return;
	}
	if (l->phase == CMD_SENDING) {
		lock_pump(l, true);
		return;
	}
	if (l->phase == CMD_AWAITING)
		return;
	if (l->step != STEP_NONE) {
		lock_pump(l, false);
		return;
	}
	if (l->phase == CMD_NONE)
		lock_next_step(l);
}

void lock_advance(struct lock *l)
{
	uint64_t now = lock_now(l), at;

	if (l->link == LINK_UP) {
		go_on_link(l);
	} else if (l->link == LINK_NONE) {
		if (l->phase == CMD_READY || l->phase == CMD_HELD) {
			if (!l->connect_at || now >= l->connect_at + LOCK_PACE_MS)
				connect_link(l, true);
		} else if (lock_wants_visit(l, now, &at)) {
			connect_link(l, false);
		}
	}
	lock_set_alarm(l);
}

void lock_alarm(struct lock *l)
{
	uint64_t now = lock_now(l);

	l->alarm_at = 0;
	lock_command_alarm(l, now);
	if (l->test && now >= l->test_end)
		lock_tested(l, "no connection in time");
	if (l->link == LINK_UP && l->step != STEP_NONE && now >= l->step_at)
		lock_session_fails(l, TROUBLE_SILENT, "the lock gave no answer");
	if (l->link == LINK_UP && l->link_end && now >= l->link_end && l->phase != CMD_SENDING &&
	    l->phase != CMD_AWAITING)
		lock_end_link(l);
	if (l->link == LINK_UP && l->linger_at && now >= l->linger_at && l->phase == CMD_NONE)
		lock_end_link(l);
	if (l->link == LINK_CONNECTING && l->hurry_at && now >= l->hurry_at) {
		/* Its turn did not come yet: ask again, in front of the others. */
		l->urgent = true;
		lock_end_link(l);
	}
	if (l->link == LINK_NONE && l->reachable && now >= l->heard_at + LOCK_SILENT_MS) {
		l->reachable = false;
		lock_set_trouble(l, TROUBLE_UNREACHABLE, "not heard for a while");
		l->ops->reachable(false, l->user);
	}
	if (!l->heard && now >= l->born + LOCK_SILENT_MS)
		lock_set_trouble(l, TROUBLE_UNREACHABLE, "not heard since the agent started");
	lock_advance(l);
}
