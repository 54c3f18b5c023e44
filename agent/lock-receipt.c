// SPDX-License-Identifier: Apache-2.0
/*
 * What receipts teach: the lock's present state, and which of its kept receipts are filed. The log
 * is read in order, so that n stands for "everything up to here"; a receipt that came as a direct
 * answer ahead of that is remembered, and not published twice.
 */
#include "lock-private.h"

void lock_learn_holds(struct lock *l, const uint8_t challenge[static CHALLENGE_LEN],
		      const struct applied *applied, size_t napplied)
{
	uint8_t was[4], is[4];

	applied_hash(l->holds.applied, l->holds.napplied, was);
	applied_hash(applied, napplied, is);
	if (!l->has_challenge || memcmp(l->challenge, challenge, CHALLENGE_LEN) != 0 ||
	    memcmp(was, is, sizeof(is)) != 0)
		l->learned = true;
	memcpy(l->challenge, challenge, CHALLENGE_LEN);
	l->has_challenge = true;
	l->doubt = false;
	l->met = true;
	memmove(l->holds.applied, applied, napplied * sizeof(applied[0]));
	l->holds.napplied = napplied;
	if (l->time)
		l->seen = l->time;
	l->ops->changed(l->user);
}

/* Its owner may be the next root now, which only info tells. */
static bool other_keys(const struct lock *l, const struct result *result)
{
	const struct applied *before = open_find(&l->holds, "keys");

	for (size_t i = 0; i < result->napplied; i++)
		if (strcmp(result->applied[i].name, "keys") == 0)
			return !before ||
			       memcmp(before->digest, result->applied[i].digest, DIGEST_LEN) != 0;
	return false;
}

void lock_learn(struct lock *l, const struct result *result)
{
	l->need_info |= other_keys(l, result);
	if (result->bolt != BOLT_UNKNOWN)
		l->bolt = result->bolt;
	if (result->has_battery) {
		l->has_battery = true;
		l->battery = result->battery;
	}
	if (result->has_battery && result->bolt != BOLT_UNKNOWN && result->bolt != BOLT_MOVING)
		l->want_state = false; /* reading it would say the same */
	if (l->has_battery && l->battery < LOCK_BATTERY_LOW)
		lock_set_trouble(l, TROUBLE_BATTERY, "battery is low");
	else
		lock_clear_trouble(l, TROUBLE_BATTERY);
	if (l->bolt == BOLT_JAMMED)
		lock_set_trouble(l, TROUBLE_JAMMED, "the bolt is jammed");
	else
		lock_clear_trouble(l, TROUBLE_JAMMED);
	lock_learn_holds(l, result->challenge, result->applied, result->napplied);
}

static bool take_early(struct lock *l, uint64_t n)
{
	for (size_t i = 0; i < l->nearly; i++) {
		if (l->early[i] != n)
			continue;
		l->early[i] = l->early[--l->nearly];
		return true;
	}
	return false;
}

bool lock_file(struct lock *l, uint64_t n)
{
	bool known;

	if (n <= l->n)
		return false;
	if (n > l->head)
		l->head = n;
	known = take_early(l, n);
	if (n != l->n + 1) {
		/* The ones between must be fetched. A full ring costs doubles, never a loss. */
		if (l->nearly < LOCK_EARLY)
			l->early[l->nearly++] = n;
		if (!l->fetch_at)
			l->fetch_at = lock_now(l);
		return !known;
	}
	l->n = n;
	while (take_early(l, l->n + 1))
		l->n++;
	return !known;
}

/* What lies before n is gone from the lock: what it has is filed, the city sees the gap. */
static void skip_to(struct lock *l, uint64_t n)
{
	if (l->n > 0)
		lock_set_trouble(l, TROUBLE_GAP, "receipts are missing in the lock's log");
	l->gap = true;
	l->n = n;
	for (size_t i = l->nearly; i-- > 0;) {
		if (l->early[i] <= n)
			l->early[i] = l->early[--l->nearly];
	}
	while (take_early(l, l->n + 1))
		l->n++;
}

/* What the lock cannot have any more; of a log never read before, what it did not tell. */
static void skip_lost(struct lock *l, uint64_t last)
{
	uint64_t lost = last > LOCK_KEPT ? last - LOCK_KEPT : 0, least = UINT64_MAX;

	for (size_t i = 0; i < l->nearly; i++)
		least = l->early[i] < least ? l->early[i] : least;
	if (l->n == 0 && l->nearly && least - 1 > lost)
		lost = least - 1;
	if (lost > l->n)
		skip_to(l, lost);
}

void lock_publish(struct lock *l, const struct open_answer *answer)
{
	lock_forward_receipt(l, answer);
	if (answer->result.has_n && !lock_file(l, answer->result.n))
		return;
	l->ops->receipt(&answer->token, answer->document, &answer->result, l->user);
}

void lock_log_receipt(struct lock *l, const struct open_answer *answer)
{
	/* Notifications may overtake one another: what is missing now may come after this one. */
	if (answer->result.n > l->n)
		l->learned = true;
	lock_publish(l, answer);
}

void lock_log_head(struct lock *l, const struct open_answer *answer)
{
	const struct result *result = &answer->result;
	uint64_t last = result->has_last ? result->last : l->n, before = l->head;
	bool gap;

	lock_learn(l, result);
	skip_lost(l, last);
	if (last > l->n && ++l->tail_tries < LOCK_TRIES) {
		/* The newest is not told yet, its motor still moves; or one was overtaken by this. */
		l->head = last;
		l->fetch_at = lock_now(l) + l->tail_tries * LOCK_TAIL_MS;
		l->ops->keep(l->user);
		return;
	}
	l->tail_tries = 0;
	if (last > l->n)
		skip_to(l, last);
	gap = l->gap;
	if (last != before || gap)
		l->ops->receipt(&answer->token, answer->document, result, l->user);
	l->head = last;
	if (!gap)
		lock_clear_trouble(l, TROUBLE_GAP);
	l->gap = false;
	l->fetch_at = 0;
	l->ops->keep(l->user);
	l->ops->log_complete(gap, l->user);
}
