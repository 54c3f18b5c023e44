// SPDX-License-Identifier: Apache-2.0
/*
 * What the disk could not take: events, outcomes, and ctis that were refused. In memory, in order,
 * until it can. A crash meanwhile loses them, and no truth with them: the row of an authorization
 * then still says accepted, and the number of the last receipt that was filed is not on disk either
 * (gateway_lock_keep), so that the lock is asked again.
 */
#include "gateway-private.h"

enum unsaid_kind {
	UNSAID_EVENT,
	UNSAID_OUTCOME, /* with the phase of its row */
	UNSAID_REFUSAL, /* told already; only the row is missing */
};

struct gateway_unsaid {
	enum unsaid_kind kind;
	struct event event;
	enum store_phase phase;
	char first[16];
	uint64_t exp;
	uint8_t correlation[CORRELATION_MAX], receipt[TOKEN_SMALL_MAX];
};

static int own(struct span *bytes, uint8_t *to, size_t cap)
{
	if (bytes->len > cap)
		return -EMSGSIZE;
	if (bytes->len)
		memcpy(to, bytes->data, bytes->len);
	*bytes = span_of(to, bytes->len);
	return 0;
}

static int add(struct gateway *gw, enum unsaid_kind kind, const struct event *event,
	       struct gateway_unsaid **ret)
{
	cleanup(freep) struct gateway_unsaid *u = NULL;

	if (event->copy.len)
		return -EMSGSIZE; /* a document, asked for: it will be asked for again */
	if (gw->nunsaid == GATEWAY_UNSAID) {
		gw->unsaid_lost++;
		return -ENOBUFS;
	}
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->kind = kind;
	u->event = *event;
	if (own(&u->event.correlation, u->correlation, sizeof(u->correlation)) < 0 ||
	    own(&u->event.receipt, u->receipt, sizeof(u->receipt)) < 0)
		return -EMSGSIZE;
	*ret = gw->unsaid[gw->nunsaid++] = steal(u);
	return 0;
}

int gateway_unsaid_event(struct gateway *gw, const struct event *event)
{
	struct gateway_unsaid *u;

	return add(gw, UNSAID_EVENT, event, &u);
}

int gateway_unsaid_outcome(struct gateway *gw, const struct event *event, enum store_phase phase,
			   const char *first)
{
	struct gateway_unsaid *u;
	int r = add(gw, UNSAID_OUTCOME, event, &u);

	if (r < 0)
		return r;
	u->phase = phase;
	snprintf(u->first, sizeof(u->first), "%s", first);
	return 0;
}

int gateway_unsaid_refusal(struct gateway *gw, const struct event *event, uint64_t exp)
{
	struct gateway_unsaid *u;
	int r = add(gw, UNSAID_REFUSAL, event, &u);

	if (r == 0)
		u->exp = exp;
	return r;
}

bool gateway_unsaid_refused(const struct gateway *gw, struct span cti)
{
	for (size_t i = 0; i < gw->nunsaid; i++) {
		if (gw->unsaid[i]->kind == UNSAID_REFUSAL &&
		    span_equal(cti, SPAN(gw->unsaid[i]->event.cti)))
			return true;
	}
	return false;
}

/* --- when the disk is back ---------------------------------------------------------------------- */

static int write_refusal(struct gateway *gw, const struct gateway_unsaid *u)
{
	struct store_authorization row = {
		.exp = u->exp,
		.phase = STORE_DONE,
		.first = "refused",
		.scope = u->event.scope,
		.correlation_len = u->event.correlation.len,
	};

	memcpy(row.cti, u->event.cti, CTI_LEN);
	memcpy(row.lock, u->event.lock, sizeof(row.lock));
	memcpy(row.correlation, u->correlation, sizeof(row.correlation));
	return store_accept(gw->store, &row, NULL);
}

static int write_again(struct gateway *gw, struct gateway_unsaid *u)
{
	cleanup(freep) char *text = NULL;
	int r;

	if (u->kind == UNSAID_REFUSAL)
		return write_refusal(gw, u);
	text = gateway_event_encode(gw, &u->event);
	if (!text)
		return -ENOMEM;
	if (u->kind == UNSAID_EVENT)
		r = store_event(gw->store, u->event.seq, text, u->event.correlation, u->event.time);
	else
		r = store_phase(gw->store, u->event.cti, u->phase, u->first, text);
	if (r == 0)
		gateway_event_stored(gw, text);
	return r;
}

/* The rows of locks had to wait, too. */
static void all_said(struct gateway *gw)
{
	struct event dropped = {.type = EVENT_DROPPED, .count = gw->unsaid_lost};

	gw->unsaid_lost = 0;
	if (dropped.count)
		(void)gateway_event(gw, &dropped);
	for (size_t i = 0; i < gw->nlocks; i++)
		gateway_lock_keep(gw->locks[i]);
}

void gateway_unsaid_flush(struct gateway *gw)
{
	size_t done = 0;

	if (gw->nunsaid == 0)
		return;
	while (done < gw->nunsaid) {
		int r = write_again(gw, gw->unsaid[done]);

		if (r < 0 && r != -EEXIST && r != -ENOENT) {
			(void)gateway_stored(gw, r, "what waits for the disk");
			break;
		}
		free(gw->unsaid[done++]);
	}
	gw->nunsaid -= done;
	memmove(gw->unsaid, gw->unsaid + done, gw->nunsaid * sizeof(gw->unsaid[0]));
	if (gw->nunsaid == 0)
		all_said(gw);
}

void gateway_unsaid_free(struct gateway *gw)
{
	while (gw->nunsaid)
		free(gw->unsaid[--gw->nunsaid]);
}
