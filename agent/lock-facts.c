// SPDX-License-Identifier: Apache-2.0
/*
 * What others want of a lock and what they may know of it: tests, forwarded documents, adverts,
 * problems, the message for the city and the row for the disk.
 */
#include "lock-private.h"

#include <stdio.h>
#include <stdlib.h>

/* --- wishes ------------------------------------------------------------------------------------- */

int lock_test(struct lock *l)
{
	if (l->test)
		return -EBUSY;
	l->test = true;
	l->test_connected = false;
	l->test_end = lock_now(l) + LOCK_TEST_MS;
	l->connect_at = l->link == LINK_NONE ? 0 : l->connect_at;
	lock_advance(l);
	return 0;
}

int lock_set_reader(struct lock *l, struct span authorization)
{
	struct token token;
	uint8_t *copy = NULL;

	if (authorization.len > 0) {
		if (token_parse(authorization, &token) != 0 || token.cti.len > CTI_LEN)
			return -EINVAL;
		copy = malloc(authorization.len);
		if (!copy)
			return -ENOMEM;
		memcpy(copy, authorization.data, authorization.len);
		memcpy(l->reader_cti, token.cti.data, token.cti.len);
		l->reader_cti_len = token.cti.len;
	}
	if (l->step == STEP_READER || l->step == STEP_PRESENT)
		lock_cut_step(l); /* its frames point into what is freed now */
	free(l->reader_auth);
	l->reader_auth = copy;
	l->reader_auth_len = authorization.len;
	l->reader_refused = l->reader_spoilt = l->reader_again = false;
	lock_clear_trouble(l, TROUBLE_READER);
	if (l->fetch_at > lock_now(l))
		l->fetch_at = lock_now(l); /* it waited for this */
	lock_advance(l);
	return 0;
}

void lock_fetch(struct lock *l, uint64_t delay_ms)
{
	uint64_t at = lock_now(l) + delay_ms;

	if (!l->fetch_at || at < l->fetch_at)
		l->fetch_at = at;
	lock_set_alarm(l);
}

void lock_documents_changed(struct lock *l)
{
	if (l->step == STEP_PUSH && l->sending)
		lock_cut_step(l); /* its frames point into what was replaced */
	l->fail_gap = LOCK_GAP_MIN_MS;
	l->again_gap = LOCK_AGAIN_MIN_MS;
	if (l->visit_at > lock_now(l))
		l->visit_at = lock_now(l);
	l->ops->changed(l->user);
	lock_advance(l);
}

bool lock_yield(struct lock *l)
{
	if (l->phase != CMD_NONE || (l->link != LINK_UP && l->link != LINK_CONNECTING))
		return false;
	lock_end_link(l);
	lock_set_alarm(l);
	return true;
}

void lock_set_time(struct lock *l, uint64_t now)
{
	l->time = now;
}

void lock_set_linger(struct lock *l, unsigned ms)
{
	l->linger_ms = ms;
}

void lock_radio_up(struct lock *l)
{
	if (l->link == LINK_NONE) {
		l->connect_at = 0;
		l->visit_at = 0;
	}
	lock_advance(l);
}

/* --- adverts ------------------------------------------------------------------------------------ */

/* What it holds is as we know it, and its random bytes are as before: there is nothing to fetch. Bytes
 * that are new right after our own visit are no exception: a phone may have been there meanwhile. */
static void judge_advert(struct lock *l, const uint8_t seen[static 6])
{
	bool same = l->has_advert && memcmp(l->advert, seen, 2) == 0;
	uint8_t applied[4];

	applied_hash(l->holds.applied, l->holds.napplied, applied);
	same &= memcmp(seen + 2, applied, 4) == 0 || memcmp(seen + 2, l->advert + 2, 4) == 0;
	if (same)
		l->doubt = l->hint;
	else
		l->hint = l->doubt = true;
	if (l->has_advert && memcmp(l->advert, seen, 6) == 0)
		return;
	memcpy(l->advert, seen, 6);
	l->has_advert = true;
	/* Not while something is to be fetched: adverts cost nothing, and a write wears the disk. */
	if (same && !l->hint)
		l->ops->keep(l->user);
}

void lock_advert(struct lock *l, const struct advert *advert, int rssi)
{
	uint64_t now = lock_now(l);
	uint8_t seen[6];

	memcpy(seen, advert->random, 2);
	memcpy(seen + 2, advert->applied, 4);
	l->heard = true;
	l->heard_at = now;
	l->rssi = rssi;
	l->has_rssi = rssi != 127;
	if (l->time)
		l->seen = l->time;
	if (l->link == LINK_NONE)
		judge_advert(l, seen);
	/* Claimed, released or undone at the door, which need not show in what it holds. */
	if (l->link == LINK_NONE && l->owner_known && advert->unowned == l->holds.has_owner)
		l->hint = l->doubt = true;
	if (l->has_rssi && abs(l->rssi - l->rssi_shown) >= 10 &&
	    (!l->shown_at || now - l->shown_at >= 60000)) {
		l->rssi_shown = l->rssi;
		l->shown_at = now;
		l->ops->changed(l->user);
	}
	lock_clear_trouble(l, TROUBLE_UNREACHABLE);
	if (!l->reachable) {
		l->reachable = true;
		l->ops->reachable(true, l->user);
	}
	lock_advance(l);
}

/* --- problems ----------------------------------------------------------------------------------- */

static const struct {
	enum lock_trouble bit;
	const char *code;
} trouble_codes[TROUBLES] = {
	{TROUBLE_UNREACHABLE, "lock-unreachable"},
	{TROUBLE_RUBBISH, "lock-rubbish"},
	{TROUBLE_SILENT, "lock-silent"},
	{TROUBLE_STRANGER, "lock-stranger"},
	{TROUBLE_UNOWNED, "lock-unowned"},
	{TROUBLE_FOREIGN_OWNER, "lock-foreign-owner"},
	{TROUBLE_DOCUMENT, "lock-refuses-document"},
	{TROUBLE_BATTERY, "lock-battery-low"},
	{TROUBLE_READER, "lock-refuses-reader"},
	{TROUBLE_GAP, "lock-log-gap"},
	{TROUBLE_JAMMED, "lock-jammed"},
};

void lock_set_trouble(struct lock *l, enum lock_trouble trouble, const char *detail)
{
	size_t i = (size_t)__builtin_ctz(trouble);

	if ((l->troubles & trouble) && strncmp(l->details[i], detail, sizeof(l->details[i])) == 0)
		return;
	l->troubles |= trouble;
	snprintf(l->details[i], sizeof(l->details[i]), "%s", detail ? detail : "");
	l->ops->changed(l->user);
}

void lock_clear_trouble(struct lock *l, unsigned troubles)
{
	if (!(l->troubles & troubles))
		return;
	l->troubles &= ~troubles;
	l->ops->changed(l->user);
}

/* --- what is known ------------------------------------------------------------------------------ */

const char *lock_id(const struct lock *l)
{
	return l->open.id;
}

void lock_fill(const struct lock *l, struct message_lock *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->bolt = l->bolt;
	ret->has_battery = l->has_battery;
	ret->battery = l->battery;
	ret->has_rssi = l->has_rssi;
	ret->rssi = l->rssi;
	ret->reachable = l->reachable;
	ret->seen = l->seen;
	ret->has_challenge = l->has_challenge;
	memcpy(ret->challenge, l->challenge, CHALLENGE_LEN);
	memcpy(ret->applied, l->holds.applied, sizeof(ret->applied));
	ret->napplied = l->holds.napplied;
	ret->current = open_current(l->trust, &l->holds);
	ret->n = l->n;
	for (size_t i = 0; i < l->trust->nlists; i++) {
		if (l->holds.max && l->trust->lists[i].list->len > l->holds.max)
			problem_add(&ret->problems, "lock-too-small",
				    "list %s is larger than the lock takes",
				    l->trust->lists[i].name);
	}
	for (size_t i = 0; i < TROUBLES; i++) {
		if (l->troubles & trouble_codes[i].bit)
			problem_add(&ret->problems, trouble_codes[i].code, "%s", l->details[i]);
	}
}

void lock_stored(const struct lock *l, struct lock_stored *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->n = l->n;
	ret->has_challenge = l->has_challenge;
	memcpy(ret->challenge, l->challenge, CHALLENGE_LEN);
	ret->bolt = l->bolt;
	ret->has_battery = l->has_battery;
	ret->battery = l->battery;
	ret->seen = l->seen;
	memcpy(ret->applied, l->holds.applied, sizeof(ret->applied));
	ret->napplied = l->holds.napplied;
	/* One that hints at something not fetched yet is no basis for the next life. */
	ret->has_advert = l->has_advert && !l->hint;
	memcpy(ret->advert, l->advert, sizeof(ret->advert));
}

bool lock_challenge(const struct lock *l, uint8_t ret[static CHALLENGE_LEN])
{
	memcpy(ret, l->challenge, CHALLENGE_LEN);
	return l->has_challenge && !l->doubt;
}

int lock_owner(const struct lock *l, uint8_t ret[static DIGEST_LEN])
{
	if (!l->owner_known)
		return -ENODATA;
	memcpy(ret, l->holds.owner, DIGEST_LEN);
	return l->holds.has_owner;
}

bool lock_is_up(const struct lock *l)
{
	return l->link != LINK_NONE;
}

const struct lock_counters *lock_counters(const struct lock *l)
{
	return &l->counters;
}
