/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What an agent does with its store, by seed: single steps, and sequences as the gateway makes them. */
#include "power-model.h"

#define HISTORY_QUEUE 24

struct history {
	struct chance *chance;
	uint32_t version; /* of contents, and numbers of authorizations: each once */
	uint64_t now;
	unsigned documents_percent; /* how much of it is documents and values */
	unsigned event_most;	    /* bytes */
	struct step queue[HISTORY_QUEUE];
	unsigned n, next;
};

static struct step *history_add(struct history *h, enum step_kind kind, unsigned which)
{
	struct step *step = &h->queue[h->n++];

	step->kind = kind;
	step->which = which;
	step->version = ++h->version;
	step->phase = 0;
	step->first = 0;
	step->tells = false;
	step->at = 0;
	return step;
}

static void history_part(struct history *h, struct step *step, enum step_kind kind, unsigned which)
{
	step->parts[step->nparts++] = (struct step_part){kind, which, ++h->version};
}

/* As the gateway takes in new keys: what they bury, then the chain without what is no more. */
static void history_keys(struct history *h, const struct model *m)
{
	struct step *step = history_add(h, STEP_TOGETHER, 0);

	step->nparts = 0;
	step->undone = chance_percent(h->chance, 10);
	history_part(h, step, STEP_DOCUMENT, 2);
	history_part(h, step, STEP_DOCUMENT, 3);
	if (m->documents[4])
		history_part(h, step, STEP_DOCUMENT, 4);
	history_part(h, step, STEP_DELETE_DOCUMENTS, 0);
	history_part(h, step, STEP_DOCUMENT, 0);
	if (chance_percent(h->chance, 50))
		history_part(h, step, STEP_DOCUMENT, 1);
	history_part(h, step, STEP_VALUE, 2);
}

/* Accepted, sent, done; the events out, and acknowledged. */
static void history_unlock(struct history *h, const struct model *m)
{
	struct step *step = history_add(h, STEP_ACCEPT, 0);
	uint32_t number = step->version;
	bool told = chance_percent(h->chance, 70);

	step->phase = STORE_ACCEPTED;
	step->tells = true;
	if (told) {
		step = history_add(h, STEP_ACKED, 0);
		step->at = m->next;
	}
	if (chance_percent(h->chance, 20)) {
		step = history_add(h, STEP_PHASE, 0);
		step->version = number;
		step->phase = STORE_UNKNOWN;
		step->first = 3;
		step->tells = true;
		if (chance_percent(h->chance, 50))
			return;
	}
	step = history_add(h, STEP_PHASE, 0);
	step->version = number;
	step->phase = STORE_DONE;
	step->first = (uint8_t)(1 + chance_of(h->chance, 2));
	step->tells = true;
	if (chance_percent(h->chance, 50))
		history_add(h, STEP_LOCK, chance_of(h->chance, MODEL_LOCKS));
	if (!told)
		return;
	step = history_add(h, STEP_ACKED, 0);
	step->at = m->next + 1;
}

/* At a start, what is accepted and has no outcome becomes unknown. */
static void history_restart(struct history *h, const struct model *m)
{
	for (size_t i = 0; i < m->nauths && h->n < HISTORY_QUEUE / 2; i++) {
		struct step *step;

		if (m->auths[i].phase != STORE_ACCEPTED)
			continue;
		step = history_add(h, STEP_PHASE, 0);
		step->version = m->auths[i].number;
		step->phase = STORE_UNKNOWN;
		step->first = 3;
		step->tells = true;
	}
}

static void history_document(struct history *h, const struct model *m)
{
	unsigned which = chance_of(h->chance, MODEL_DOCUMENTS);

	switch (chance_of(h->chance, 8)) {
	case 0:
		if (chance_percent(h->chance, 20))
			history_add(h, STEP_DELETE_DOCUMENTS, chance_of(h->chance, MODEL_PREFIXES));
		else
			history_keys(h, m);
		return;
	case 1:
		if (m->documents[which])
			history_add(h, STEP_DELETE_DOCUMENT, which);
		return;
	case 2:
	case 3:
		history_add(h, STEP_VALUE, chance_of(h->chance, MODEL_VALUES));
		return;
	default:
		history_add(h, STEP_DOCUMENT, chance_percent(h->chance, 50) ? 3 : which);
	}
}

/* The hour's work, and the rest of what happens. */
static void history_other(struct history *h, const struct model *m)
{
	struct step *step;

	switch (chance_of(h->chance, 8)) {
	case 0:
		h->now += chance_of(h->chance, 200);
		step = history_add(h, STEP_TRIM, 0);
		step->at = h->now;
		return;
	case 1:
		step = history_add(h, STEP_FORGET, 0);
		step->at = model_exp(h->version) - chance_of(h->chance, 400);
		return;
	case 2:
		step = history_add(h, STEP_REPLAY, 0);
		step->at = m->next > 20 ? m->next - chance_of(h->chance, 20) : 1;
		return;
	case 3:
		if (m->nauths == 0)
			return;
		step = history_add(h, STEP_ACCEPT_AGAIN, 0);
		step->version = m->auths[chance_of(h->chance, (unsigned)m->nauths)].number;
		return;
	case 4:
		step = history_add(h, STEP_ACCEPT, 0); /* a refusal that is remembered */
		step->phase = STORE_DONE;
		step->first = 4;
		step->tells = true;
		return;
	case 5:
		if (m->locks[0])
			history_add(h, STEP_DELETE_LOCK, 0);
		return;
	default:
		if (m->nevents) {
			step = history_add(h, STEP_ACKED, 0);
			step->at = m->events[chance_of(h->chance, (unsigned)m->nevents)].seq;
		}
	}
}

static void history_plan(struct history *h, const struct model *m)
{
	struct step *step;

	h->n = h->next = 0;
	h->now += chance_of(h->chance, 20);
	if (m->nauths + HISTORY_QUEUE > MODEL_AUTHS && m->nevents + HISTORY_QUEUE <= MODEL_EVENTS) {
		history_restart(h, m);
		step = history_add(h, STEP_FORGET, 0);
		step->at = UINT32_MAX;
	} else if (m->nevents + HISTORY_QUEUE > MODEL_EVENTS) {
		for (size_t i = 0; i < m->nevents && h->n < HISTORY_QUEUE - 1; i++) {
			step = history_add(h, STEP_ACKED, 0);
			step->at = m->events[i].seq;
		}
		h->now += 100000;
		step = history_add(h, STEP_TRIM, 0);
		step->at = h->now;
	} else if (chance_percent(h->chance, h->documents_percent)) {
		history_document(h, m);
	} else if (chance_percent(h->chance, 40)) {
		history_unlock(h, m);
	} else if (chance_percent(h->chance, 30)) {
		step = history_add(h, STEP_EVENT, 0);
		step->tells = true;
		step->at = h->now;
	} else {
		history_other(h, m);
	}
}

/* The next step: what it tells names the event before. NULL: nothing to do in the present state. */
static const struct step *history_next(struct history *h, const struct model *m)
{
	char prev[2 * SHA256_LEN + 1];
	struct step *step;
	int len;

	if (h->next == h->n)
		history_plan(h, m);
	if (h->next == h->n)
		return NULL;
	step = &h->queue[h->next++];
	hex_encode(SPAN(m->prev), prev, sizeof(prev));
	len = snprintf(step->event, sizeof(step->event),
		       "{\"seq\":%llu,\"prev\":\"%s\",\"n\":%u,\"is\":\"",
		       (unsigned long long)m->next, prev, step->version);
	for (unsigned i = chance_of(h->chance, h->event_most); i > 0; i--)
		step->event[len++] = (char)('a' + i % 26);
	strcpy(step->event + len, "\"}");
	return step;
}
