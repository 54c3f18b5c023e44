/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a store must hold after a history of calls, told without a database: see link/store.h, which this
 * repeats in plain arrays. Each step is one call of the store, and one transaction, but for trimming, which
 * is up to three.
 */
#include "power-disk.h"

#include "core/crypto.h"
#include "link/store.h"

#define MODEL_AUTHS 400
#define MODEL_EVENTS                                                                               \
	250 /* below TRIM_BATCH of store-event.c: one transaction for each reason to drop */
#define MODEL_UNDECIDED 3
#define MODEL_START	1800000000U

static const struct {
	const char *slot;
	int order;
	unsigned len, under; /* up to */
} model_documents[] = {
	{"keys/0011223344556677", 0, 500, 0},
	{"keys/8899aabbccddeeff", 1, 500, 0},
	{"policy", 20, 300, 500},
	{"list/staff", 21, 30000, 500},
	{"list/partners", 21, 2000, 500},
	{"pending/keys/aabbccddeeff0011", 22, 500, 0},
	{"reader/lock-1", 23, 400, 0},
	{"reader/lock-2", 23, 400, 0},
};
static const char *const model_prefixes[] = {"keys/", "reader/", "pending/"};
static const char *const model_values[] = {"floor", "reader", "anchor", "root", "locks", "damaged"};
static const char *const model_locks[] = {"lock-1", "lock-2", "lock-3"};
static const char *const model_firsts[] = {"pending", "done", "failed", "unknown", "refused"};

#define MODEL_DOCUMENTS ARRAY_SIZE(model_documents)
#define MODEL_VALUES	ARRAY_SIZE(model_values)
#define MODEL_PREFIXES	ARRAY_SIZE(model_prefixes)
#define MODEL_LOCKS	ARRAY_SIZE(model_locks)

struct model_auth {
	uint32_t number; /* everything that does not change follows from it */
	enum store_phase phase;
	uint8_t first;
};

struct model_event {
	uint64_t seq, time;
	size_t len;
	uint8_t sha[SHA256_LEN];
	bool acked;
};

struct model {
	char stream[33]; /* "": not made yet */
	/* 0: none */
	uint32_t documents[MODEL_DOCUMENTS], values[MODEL_VALUES], locks[MODEL_LOCKS];
	struct model_auth auths[MODEL_AUTHS];
	struct model_event events[MODEL_EVENTS];
	size_t nauths, nevents;
	uint64_t next, now, bytes; /* bytes: of the events */
	uint8_t prev[SHA256_LEN];
};

enum step_kind {
	STEP_DOCUMENT,
	STEP_DELETE_DOCUMENT,
	STEP_DELETE_DOCUMENTS, /* of a prefix */
	STEP_VALUE,
	STEP_LOCK,
	STEP_DELETE_LOCK,
	STEP_ACCEPT,
	STEP_ACCEPT_AGAIN,
	STEP_PHASE,
	STEP_EVENT,
	STEP_ACKED,
	STEP_REPLAY,
	STEP_TRIM,
	STEP_FORGET,
	STEP_TOGETHER, /* several of the first four kinds, as one change */
};

#define STEP_PARTS 8
struct step_part {
	enum step_kind kind;
	unsigned which;
	uint32_t version;
};

struct step {
	enum step_kind kind;
	unsigned which;	  /* document, value, lock or prefix */
	uint32_t version; /* of its content; the number of an authorization */
	enum store_phase phase;
	uint8_t first;
	bool tells;  /* an event with it */
	uint64_t at; /* time, or seq */
	struct step_part parts[STEP_PARTS];
	unsigned nparts;
	bool undone;	  /* the parts, instead of committed */
	char event[4096]; /* as payload */
};

/* --- contents --- */

static struct chance model_chance(unsigned kind, unsigned which, uint32_t version)
{
	return (struct chance){(uint64_t)kind << 56 | (uint64_t)which << 40 | version};
}

static size_t model_fill(struct chance *c, uint8_t *ret, size_t len)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t eight = chance_next(c);

		memcpy(ret + i, &eight, len - i < 8 ? len - i : 8);
	}
	return len;
}

struct content {
	uint8_t bytes[30000], under[500];
	size_t len, under_len;
};

static void model_document(unsigned which, uint32_t version, struct content *ret)
{
	struct chance c = model_chance('d', which, version);
	unsigned most = model_documents[which].len;

	if (most > 2000 && chance_percent(&c, 80))
		most = 2000;
	ret->len = model_fill(&c, ret->bytes, 1 + chance_of(&c, most));
	ret->under_len =
		model_fill(&c, ret->under, chance_of(&c, model_documents[which].under + 1));
}

static void model_value(unsigned which, uint32_t version, struct content *ret)
{
	struct chance c = model_chance('v', which, version);

	ret->len = model_fill(&c, ret->bytes, chance_of(&c, 80));
}

static struct store_lock model_lock(unsigned which, uint32_t version)
{
	struct chance c = model_chance('l', which, version);
	struct store_lock lock = {
		.n = version, .seen = MODEL_START + version, .has_challenge = true};

	model_fill(&c, lock.challenge, sizeof(lock.challenge));
	lock.applied_len = model_fill(&c, lock.applied, chance_of(&c, 200));
	return lock;
}

static uint64_t model_exp(uint32_t number)
{
	return MODEL_START + 5 * (uint64_t)number;
}

static struct store_authorization model_authorization(const struct model_auth *is)
{
	struct chance c = model_chance('a', 0, is->number);
	struct store_authorization auth = {
		.exp = model_exp(is->number),
		.phase = is->phase,
		.scope = chance_percent(&c, 80) ? SCOPE_UNLOCK : SCOPE_LOCK,
	};

	strcpy(auth.lock, model_locks[chance_of(&c, MODEL_LOCKS)]);
	strcpy(auth.first, model_firsts[is->first]);
	model_fill(&c, auth.cti, sizeof(auth.cti));
	auth.correlation_len = model_fill(&c, auth.correlation, chance_of(&c, 65));
	return auth;
}

static struct model_auth *model_find(struct model *m, uint32_t number)
{
	for (size_t i = 0; i < m->nauths; i++)
		if (m->auths[i].number == number)
			return &m->auths[i];
	return NULL;
}

/* --- what a step changes --- */

static void model_tell(struct model *m, const char *payload)
{
	struct model_event *e = &m->events[m->nevents++];

	*e = (struct model_event){.seq = m->next++, .time = m->now, .len = strlen(payload)};
	crypto_sha256(span_str(payload), e->sha);
	memcpy(m->prev, e->sha, SHA256_LEN);
	m->bytes += e->len;
}

/* Those for which drops(event) is true, the oldest first, while there are more bytes than `most`. */
#define model_drop(m, most, drops)                                                                 \
	do {                                                                                       \
		size_t kept_ = 0;                                                                  \
		for (size_t i_ = 0; i_ < (m)->nevents; i_++) {                                     \
			const struct model_event *event = &(m)->events[i_];                        \
			if ((m)->bytes > (most) && (drops))                                        \
				(m)->bytes -= event->len;                                          \
			else                                                                       \
				(m)->events[kept_++] = *event;                                     \
		}                                                                                  \
		(m)->nevents = kept_;                                                              \
	} while (0)

static void model_forget(struct model *m, uint64_t before)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->nauths; i++)
		if (m->auths[i].phase == STORE_ACCEPTED || model_exp(m->auths[i].number) >= before)
			m->auths[kept++] = m->auths[i];
	m->nauths = kept;
}

static void model_part(struct model *m, const struct step_part *part)
{
	const char *prefix;

	if (part->kind == STEP_DOCUMENT)
		m->documents[part->which] = part->version;
	if (part->kind == STEP_VALUE)
		m->values[part->which] = part->version;
	if (part->kind == STEP_DELETE_DOCUMENT)
		m->documents[part->which] = 0;
	if (part->kind != STEP_DELETE_DOCUMENTS)
		return;
	prefix = model_prefixes[part->which];
	for (unsigned i = 0; i < MODEL_DOCUMENTS; i++)
		if (strncmp(model_documents[i].slot, prefix, strlen(prefix)) == 0)
			m->documents[i] = 0;
}

/* ret: after the step, and before that (trimming) what a cut may leave between its transactions. The
 * number of them; the last is the end. */
static size_t model_step(const struct model *before, const struct step *step,
			 const struct store_options *options, struct model ret[MODEL_UNDECIDED])
{
	struct model *m = &ret[0];

	*m = *before;
	switch (step->kind) {
	case STEP_DOCUMENT:
	case STEP_DELETE_DOCUMENT:
	case STEP_DELETE_DOCUMENTS:
	case STEP_VALUE:
		model_part(m, &(struct step_part){step->kind, step->which, step->version});
		break;
	case STEP_TOGETHER:
		for (unsigned i = 0; i < step->nparts && !step->undone; i++)
			model_part(m, &step->parts[i]);
		break;
	case STEP_LOCK:
		m->locks[step->which] = step->version;
		break;
	case STEP_DELETE_LOCK:
		m->locks[step->which] = 0;
		break;
	case STEP_ACCEPT:
		m->auths[m->nauths++] =
			(struct model_auth){step->version, step->phase, step->first};
		break;
	case STEP_PHASE:
		*model_find(m, step->version) =
			(struct model_auth){step->version, step->phase, step->first};
		break;
	case STEP_EVENT:
		m->now = step->at;
		break;
	case STEP_ACKED:
	case STEP_REPLAY:
		for (size_t i = 0; i < m->nevents; i++) {
			if (step->kind == STEP_ACKED && m->events[i].seq == step->at)
				m->events[i].acked = true;
			if (step->kind == STEP_REPLAY && m->events[i].seq >= step->at)
				m->events[i].acked = false;
		}
		break;
	case STEP_TRIM:
		m->now = step->at;
		model_drop(m, 0, event->acked && event->time + options->event_keep_s < m->now);
		ret[1] = ret[0];
		model_drop(&ret[1], options->event_bytes_max, event->acked);
		ret[2] = ret[1];
		model_drop(&ret[2], options->event_bytes_max, true);
		return 3;
	case STEP_FORGET:
		model_forget(m, step->at);
		break;
	case STEP_ACCEPT_AGAIN:
		break;
	}
	if (step->tells)
		model_tell(m, step->event);
	return 1;
}

/* --- the same in the store --- */

static int part_do(struct store *store, const struct step_part *part)
{
	struct content content;

	if (part->kind == STEP_DELETE_DOCUMENT)
		return store_delete_document(store, model_documents[part->which].slot);
	if (part->kind == STEP_DELETE_DOCUMENTS)
		return store_delete_documents(store, model_prefixes[part->which]);
	if (part->kind == STEP_VALUE) {
		model_value(part->which, part->version, &content);
		return store_put_value(store, model_values[part->which],
				       span_of(content.bytes, content.len));
	}
	model_document(part->which, part->version, &content);
	return store_put_document(
		store, model_documents[part->which].slot, model_documents[part->which].order,
		span_of(content.bytes, content.len), span_of(content.under, content.under_len));
}

static int together_do(struct store *store, const struct step *step)
{
	cleanup(store_rollbackp) struct store *tx = NULL;
	int r = store_begin(store, &tx);

	for (unsigned i = 0; i < step->nparts && r >= 0; i++)
		r = part_do(store, &step->parts[i]);
	if (r < 0 || step->undone)
		return r < 0 ? r : 0;
	return store_commit(&tx);
}

static int step_do(struct store *store, const struct step *step)
{
	const char *event = step->tells ? step->event : NULL;
	struct model_auth is = {step->version, step->phase, step->first};
	struct store_authorization auth = model_authorization(&is);
	struct store_lock lock;
	uint64_t seq, dropped;
	uint8_t prev[SHA256_LEN];
	int r;

	switch (step->kind) {
	case STEP_DOCUMENT:
	case STEP_DELETE_DOCUMENT:
	case STEP_DELETE_DOCUMENTS:
	case STEP_VALUE:
		r = part_do(store, &(struct step_part){step->kind, step->which, step->version});
		return r < 0 ? r : 0;
	case STEP_TOGETHER:
		return together_do(store, step);
	case STEP_LOCK:
		lock = model_lock(step->which, step->version);
		return store_put_lock(store, model_locks[step->which], &lock);
	case STEP_DELETE_LOCK:
		return store_delete_lock(store, model_locks[step->which]);
	case STEP_ACCEPT:
		return store_accept(store, &auth, event);
	case STEP_ACCEPT_AGAIN:
		r = store_accept(store, &auth, step->event);
		return r == -EEXIST ? 0 : r < 0 ? r : -EALREADY;
	case STEP_PHASE:
		return store_phase(store, auth.cti, step->phase, auth.first, event);
	case STEP_EVENT:
		r = store_event_next(store, &seq, prev);
		return r < 0 ? r
			     : store_event(store, seq, event, span_str("correlation"), step->at);
	case STEP_ACKED:
		return store_acked(store, step->at);
	case STEP_REPLAY:
		return store_replay(store, step->at) < 0 ? -EIO : 0;
	case STEP_TRIM:
		return store_trim(store, step->at, &dropped);
	case STEP_FORGET:
		r = store_forget(store, step->at);
		return r < 0 ? r : 0;
	}
	return -EINVAL;
}
