// SPDX-License-Identifier: Apache-2.0
/*
 * The gateway's store under power cuts.
 *
 *	power [--lies PERCENT] FROM COUNT
 *
 * For each seed from FROM on: a history of calls on a store of its own, cut at some call, also in the
 * middle of opening; the store opened from what the disk may then hold, compared with what was promised,
 * and on it goes, several cuts in a row. What a call said is there (0) must be there; what it was at
 * when the power went is there wholly or not at all; the store never calls itself damaged.
 *
 * --lies: so many of the disk's syncs do nothing. Then the promise is less: it may be damaged, if it
 * says so, or as it was at some earlier moment, but never a mixture, and nothing that was never there.
 *
 * Each violation is a line that begins with VIOLATION; the last line is JSON. Exit status 1: there was
 * one.
 */
#include "power-cut.h"
#include "power-history.h"

#include <inttypes.h>
#include <sqlite3.h>

#define PAST 4096 /* steps of one life */

struct vector { /* documents and values of one moment: they change together or not at all */
	uint32_t documents[MODEL_DOCUMENTS], values[MODEL_VALUES];
};

static struct run {
	struct model sure, undecided[MODEL_UNDECIDED];
	size_t nundecided;
	struct history history;
	struct chance chance;
	struct store_options options;
	char root[64], dir[96], path[128], error[600];
	unsigned folders;
	struct store *store;
	/* with a disk that lies */
	struct vector past[PAST];
	uint8_t told[PAST][SHA256_LEN]; /* by seq */
	size_t npast;
} run;

static struct {
	uint64_t seeds, cuts, calls, syncs, steps, opened, cut_open, damaged, fresh, older, kept,
		violations;
} sum;

/* --- what the store holds -------------------------------------------------------------------- */

static const char *check_document(const char *slot, struct span document, struct span under,
				  const uint32_t versions[MODEL_DOCUMENTS], unsigned *ret_which)
{
	struct content content;
	unsigned i = 0;

	while (i < MODEL_DOCUMENTS && strcmp(model_documents[i].slot, slot) != 0)
		i++;
	if (i == MODEL_DOCUMENTS)
		return "a document in a slot that never was";
	*ret_which = i;
	if (!versions[i])
		return "a document that was deleted, or never put";
	model_document(i, versions[i], &content);
	if (!span_equal(document, span_of(content.bytes, content.len)) ||
	    !span_equal(under, span_of(content.under, content.under_len)))
		return "a document that is another";
	return NULL;
}

struct seen {
	const struct model *model;
	const char *wrong;
	size_t n;
	int order;
	bool acked[MODEL_EVENTS];
};

static int see_document(const char *slot, struct span document, struct span under, void *user)
{
	struct seen *seen = user;
	unsigned which = 0;
	const char *wrong = check_document(slot, document, under, seen->model->documents, &which);

	if (!wrong && model_documents[which].order < seen->order)
		wrong = "documents in another order";
	seen->order = model_documents[which].order;
	if (wrong && !seen->wrong)
		seen->wrong = wrong;
	seen->n++;
	return 0;
}

static const char *check_documents(struct store *store, const struct model *m)
{
	struct seen seen = {.model = m};
	size_t n = 0;

	if (store_each_document(store, see_document, &seen) < 0)
		return "documents that are damaged";
	for (size_t i = 0; i < MODEL_DOCUMENTS; i++)
		n += m->documents[i] != 0;
	return seen.wrong ? seen.wrong : seen.n != n ? "a document is missing" : NULL;
}

static bool value_is(struct store *store, unsigned which, uint32_t version)
{
	struct content is, should;
	int r = store_get_value(store, model_values[which], is.bytes, sizeof(is.bytes), &is.len);

	if (!version)
		return r == -ENOENT;
	model_value(which, version, &should);
	return r == 0 && span_equal(span_of(is.bytes, is.len), span_of(should.bytes, should.len));
}

static const char *check_pairs(struct store *store, const struct model *m)
{
	struct store_lock is, should;
	int r;

	for (unsigned i = 0; i < MODEL_VALUES; i++)
		if (!value_is(store, i, m->values[i]))
			return "a value";
	for (unsigned i = 0; i < MODEL_LOCKS; i++) {
		r = store_get_lock(store, model_locks[i], &is);
		should = model_lock(i, m->locks[i]);
		if (m->locks[i] ? r < 0 : r != -ENOENT)
			return "a lock";
		if (m->locks[i] && (is.n != should.n || is.applied_len != should.applied_len ||
				    memcmp(is.applied, should.applied, is.applied_len) != 0))
			return "the state of a lock";
	}
	return NULL;
}

static bool auth_is(const struct store_authorization *is, const struct store_authorization *should)
{
	return memcmp(is->cti, should->cti, CTI_LEN) == 0 && strcmp(is->lock, should->lock) == 0 &&
	       is->exp == should->exp && is->scope == should->scope &&
	       is->correlation_len == should->correlation_len &&
	       memcmp(is->correlation, should->correlation, is->correlation_len) == 0;
}

static int count_open(const struct store_authorization *auth, void *user)
{
	(*(size_t *)user)++;
	return 0;
}

static const char *check_auths(struct store *store, struct model *m, uint32_t numbers)
{
	size_t open = 0, should_open = 0;

	for (uint32_t number = 1; number <= numbers; number++) {
		struct model_auth *kept = model_find(m, number), none = {.number = number};
		struct store_authorization should = model_authorization(kept ? kept : &none), is;
		int r = store_find(store, should.cti, &is);

		if (!kept && r != -ENOENT)
			return "an authorization that was forgotten, or never accepted";
		if (!kept)
			continue;
		if (r < 0)
			return "an authorization is not known any more";
		if (!auth_is(&is, &should))
			return "an authorization that is another";
		if (is.phase != should.phase || strcmp(is.first, should.first) != 0)
			return "an authorization in another phase";
		should_open += should.phase != STORE_DONE;
	}
	if (store_each_open(store, count_open, &open) < 0 || open != should_open)
		return "the open authorizations";
	return NULL;
}

static int see_event(const struct store_row *row, void *user)
{
	struct seen *seen = user;
	const struct model_event *e = &seen->model->events[seen->n];
	uint8_t sha[SHA256_LEN];

	crypto_sha256(row->payload, sha);
	if (seen->n == seen->model->nevents)
		seen->wrong = "an event too many";
	else if (row->seq != e->seq)
		seen->wrong = "an event with another number";
	else if (memcmp(sha, e->sha, SHA256_LEN) != 0)
		seen->wrong = "an event that is another";
	else if (row->acked && !e->acked)
		seen->wrong = "an event acknowledged by nobody";
	else
		seen->acked[seen->n++] = row->acked;
	return seen->wrong != NULL;
}

/* An acknowledgement may be lost: then the model has none from now on. */
static const char *check_events(struct store *store, struct model *m)
{
	struct seen seen = {.model = m};
	uint8_t prev[SHA256_LEN];
	uint64_t next;

	if (store_each_event(store, 0, 100000, false, see_event, &seen) < 0)
		return "events that are damaged";
	if (seen.wrong)
		return seen.wrong;
	store_event_next(store, &next, prev);
	if (seen.n != m->nevents)
		return "an event is missing";
	if (next != m->next || memcmp(prev, m->prev, SHA256_LEN) != 0)
		return "the end of the chain of events";
	for (size_t i = 0; i < m->nevents; i++)
		m->events[i].acked = seen.acked[i];
	return NULL;
}

/* NULL: the store holds what the model says. */
static const char *check(struct store *store, struct model *m)
{
	const char *wrong = NULL;

	if (m->stream[0] && strcmp(m->stream, store_stream(store)) != 0)
		wrong = "another stream: the store began anew";
	if (!wrong)
		wrong = check_documents(store, m);
	if (!wrong)
		wrong = check_pairs(store, m);
	if (!wrong)
		wrong = check_auths(store, m, run.history.version);
	return wrong ? wrong : check_events(store, m);
}

/* --- lives ------------------------------------------------------------------------------------- */

static void violation(uint64_t seed, const char *what, const char *detail)
{
	printf("VIOLATION seed %" PRIu64 ": %s%s%s\n", seed, what, detail[0] ? ": " : "", detail);
	sum.violations++;
}

/* Of all models that the cut allows, the one that the store fits is sure from now on. */
static bool decide(uint64_t seed)
{
	const char *wrong = check(run.store, &run.sure);
	const struct model_event *e;

	for (size_t i = 0; wrong && i < run.nundecided; i++) {
		if (check(run.store, &run.undecided[i]))
			continue;
		run.sure = run.undecided[i];
		wrong = NULL;
	}
	run.nundecided = 0;
	if (wrong) {
		violation(seed, "lost or half", wrong);
		return false;
	}
	snprintf(run.sure.stream, sizeof(run.sure.stream), "%s", store_stream(run.store));
	run.sure.now = 0;
	for (e = run.sure.events; e < run.sure.events + run.sure.nevents; e++)
		if (e->time > run.sure.now)
			run.sure.now = e->time;
	sum.opened++;
	return true;
}

static void folder(char ret[static 96])
{
	snprintf(ret, 96, "%s/%u", run.root, run.folders++);
	if (mkdir(ret, 0700) < 0)
		disk_die(ret);
}

/* false: a violation. */
static bool open_store(uint64_t seed)
{
	int r;

	snprintf(run.path, sizeof(run.path), "%s/store.db", run.dir);
	run.error[0] = '\0';
	r = store_open(&run.options, &run.store);
	if (r == 0)
		return decide(seed);
	if (disk.dead) {
		sum.cut_open++;
		return true;
	}
	violation(seed, r == -EBADMSG ? "calls itself damaged" : "does not open", run.error);
	return false;
}

static bool take(uint64_t seed, const struct step *step)
{
	int r;

	run.nundecided = model_step(&run.sure, step, &run.options, run.undecided);
	r = step_do(run.store, step);
	sum.steps++;
	if (r == 0) {
		run.sure = run.undecided[run.nundecided - 1];
		run.nundecided = 0;
		return true;
	}
	if (disk.dead)
		return true;
	violation(seed, "a step failed", store_error(run.store));
	return false;
}

/* The history until the power goes, or for n steps. */
static bool live(uint64_t seed, unsigned n)
{
	run.history.n = run.history.next = 0;
	while (n-- > 0 && !disk.dead) {
		const struct step *step = history_next(&run.history, &run.sure);

		if (step && !take(seed, step))
			return false;
		if (step && step->tells)
			memcpy(run.told[run.sure.next % PAST], run.sure.prev, SHA256_LEN);
		if (run.npast == PAST)
			return true;
		memcpy(run.past[run.npast].documents, run.sure.documents,
		       sizeof(run.sure.documents));
		memcpy(run.past[run.npast++].values, run.sure.values, sizeof(run.sure.values));
	}
	return true;
}

/* A power cut, wherever the store is; in half of those at rest it was closed before. */
static void pull(void)
{
	char to[96];

	if (!disk.dead && chance_percent(&run.chance, 50))
		store_close(steal(run.store));
	disk.dead = true;
	store_close(steal(run.store));
	folder(to);
	disk_cut(&run.chance, to);
	disk_remove(run.dir);
	memcpy(run.dir, to, sizeof(to));
	sum.cuts++;
}

static void begin(uint64_t seed, unsigned lies)
{
	static const unsigned bytes[] = {3000, 20000, 1 << 24}, keep[] = {20, 1000};
	struct chance c = {seed};

	run.chance = (struct chance){chance_next(&c)};
	disk.chance = (struct chance){chance_next(&c)};
	disk.random = (struct chance){chance_next(&c)};
	disk.lies_percent = lies;
	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(chance_next(&c) % INT_MAX) + 1, NULL);
	run.options = (struct store_options){
		.path = run.path,
		.event_bytes_max = bytes[chance_of(&run.chance, ARRAY_SIZE(bytes))],
		.event_keep_s = keep[chance_of(&run.chance, ARRAY_SIZE(keep))],
		.error = run.error,
		.error_cap = sizeof(run.error),
	};
	run.sure = (struct model){.next = 1};
	run.nundecided = run.npast = 0;
	run.history = (struct history){
		.chance = &run.chance,
		.now = MODEL_START,
		.documents_percent = chance_percent(&run.chance, 50) ? 60 : 5,
		.event_most = chance_percent(&run.chance, 30) ? 3900 : 200,
	};
	folder(run.dir);
	disk_start(run.dir);
}

static void one(uint64_t seed)
{
	/* calls until the cut: into opening, into a step or two, over checkpoints */
	static const unsigned calls[] = {15, 60, 300, 1500, 4000};
	unsigned cuts;
	bool well = true;

	begin(seed, 0);
	cuts = 1 + chance_of(&run.chance, 6);
	for (unsigned i = 0; i <= cuts && well; i++) {
		unsigned most = calls[chance_of(&run.chance, ARRAY_SIZE(calls))];

		/* the last life has no cut: is it as good as ever? */
		disk.cut_at = i == cuts || chance_percent(&run.chance, 10)
				      ? 0
				      : disk.calls + 1 + chance_of(&run.chance, most);
		well = open_store(seed);
		if (well && run.store)
			well = live(seed, disk.cut_at ? 1000 : chance_of(&run.chance, 40));
		if (i < cuts)
			pull();
	}
	store_close(steal(run.store));
	disk_remove(run.dir);
}

/* --- a disk that lies --------------------------------------------------------------------------- */

struct remembered {
	struct vector is;
	const char *wrong;
};

/* Which version is it? The one of any moment. */
static int see_any(const char *slot, struct span document, struct span under, void *user)
{
	struct remembered *seen = user;
	const char *wrong = "a document that was never put";
	unsigned which = 0;

	for (size_t i = run.npast; wrong && i-- > 0;) {
		wrong = check_document(slot, document, under, run.past[i].documents, &which);
		if (!wrong)
			seen->is.documents[which] = run.past[i].documents[which];
	}
	if (wrong)
		seen->wrong = wrong;
	return 0;
}

static bool moment_was(const struct vector *is)
{
	for (size_t i = 0; i < run.npast; i++) {
		bool same =
			memcmp(is->documents, run.past[i].documents, sizeof(is->documents)) == 0;

		for (unsigned v = 0; same && v < MODEL_VALUES; v++)
			same = value_is(run.store, v, run.past[i].values[v]);
		if (same)
			return true;
	}
	return false;
}

static int see_any_event(const struct store_row *row, void *user)
{
	const char **wrong = user;
	uint8_t sha[SHA256_LEN];

	crypto_sha256(row->payload, sha);
	if (memcmp(sha, run.told[(row->seq + 1) % PAST], SHA256_LEN) != 0)
		*wrong = "an event that was never told";
	return 0;
}

/* It opened: nothing may be in it that never was, and documents are of one moment. */
static const char *check_old(bool *ret_says)
{
	struct remembered seen = {.wrong = NULL};
	const char *wrong = NULL;

	*ret_says = store_each_document(run.store, see_any, &seen) < 0;
	if (*ret_says || seen.wrong)
		return seen.wrong;
	if (!moment_was(&seen.is))
		return "documents and values of no one moment";
	for (uint32_t number = 1; number <= run.history.version; number++) {
		struct model_auth any = {.number = number};
		struct store_authorization should = model_authorization(&any), is;
		int r = store_find(run.store, should.cti, &is);

		if (r == 0 && !auth_is(&is, &should))
			return "an authorization that is another";
		*ret_says |= r == -EBADMSG;
	}
	*ret_says |= store_each_event(run.store, 0, 100000, false, see_any_event, &wrong) < 0;
	return wrong;
}

static void one_with_lies(uint64_t seed, unsigned lies)
{
	char stream[33];
	const char *wrong;
	bool says = false;
	int r;

	begin(seed, lies);
	disk.cut_at = 0;
	if (!open_store(seed) || !live(seed, 1))
		return;
	snprintf(stream, sizeof(stream), "%s", run.sure.stream);
	disk.cut_at = disk.calls + 1 + chance_of(&run.chance, 2000);
	if (!live(seed, 1000))
		return;
	/* the step under way may have come, too */
	for (size_t i = 0; i < run.nundecided && run.npast < PAST; i++) {
		memcpy(run.past[run.npast].documents, run.undecided[i].documents,
		       sizeof(run.sure.documents));
		memcpy(run.past[run.npast++].values, run.undecided[i].values,
		       sizeof(run.sure.values));
		memcpy(run.told[run.undecided[i].next % PAST], run.undecided[i].prev, SHA256_LEN);
	}
	pull();
	disk.lies_percent = 0;
	disk.cut_at = 0;
	snprintf(run.path, sizeof(run.path), "%s/store.db", run.dir);
	r = store_open(&run.options, &run.store);
	wrong = NULL;
	if (r < 0)
		says = true;
	else if (strcmp(stream, store_stream(run.store)) != 0)
		sum.fresh++;
	else
		wrong = check_old(&says);
	if (wrong)
		violation(seed, "a mixture, and no word of damage", wrong);
	else if (says)
		sum.damaged++;
	else if (r == 0 && strcmp(stream, store_stream(run.store)) == 0)
		*(check(run.store, &run.sure) ? &sum.older : &sum.kept) += 1;
	store_close(steal(run.store));
	disk_remove(run.dir);
}

/* --- */

int main(int argc, char **argv)
{
	bool lies = argc == 5 && strcmp(argv[1], "--lies") == 0;
	const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	uint64_t from, count;

	if (argc != 3 && !lies) {
		fprintf(stderr, "usage: power [--lies PERCENT] FROM COUNT\n");
		return 2;
	}
	from = strtoull(argv[argc - 2], NULL, 10);
	count = strtoull(argv[argc - 1], NULL, 10);
	snprintf(run.root, sizeof(run.root), "%s/lockbridge-power-XXXXXX", tmp);
	if (crypto_init() < 0 || !mkdtemp(run.root))
		disk_die(run.root);
	for (uint64_t seed = from; seed < from + count; seed++) {
		if (lies)
			one_with_lies(seed, (unsigned)strtoul(argv[2], NULL, 10));
		else
			one(seed);
		sum.seeds++;
	}
	disk_forget();
	disk_remove(run.root);
	printf("{\"seeds\": %" PRIu64 ", \"cuts\": %" PRIu64 ", \"steps\": %" PRIu64
	       ", \"calls\": %" PRIu64 ", \"syncs\": %" PRIu64 ", \"opened\": %" PRIu64
	       ", \"cut while opening\": %" PRIu64 ", \"said damaged\": %" PRIu64
	       ", \"fresh\": %" PRIu64 ", \"older\": %" PRIu64 ", \"kept\": %" PRIu64 "}\n",
	       sum.seeds, sum.cuts, sum.steps, disk.calls, disk.syncs, sum.opened, sum.cut_open,
	       sum.damaged, sum.fresh, sum.older, sum.kept);
	return sum.violations > 0;
}
