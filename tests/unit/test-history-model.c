// SPDX-License-Identifier: Apache-2.0
/*
 * Random histories against a model of contract sections 2, 4 and 6 that was written apart from the
 * code: documents come, stay away and come again, keys are dropped and roots hand over, phones are
 * revoked and restored, locks changed and claimed anew, authorizations arrive once, twice, late, at
 * the gateway or recorded at the lock; the gateway forgets nothing when it is killed, here at any
 * step. Trust, gate and store are the agent's own, and so is the way to disk and back.
 *
 * The model knows what was put into each document and never reads one.
 */
#include "unit/draw.h"
#include "unit/gate-fixture.h"

#include <time.h>
#include <unistd.h>

#include "gateway-private.h"

#ifndef CPU_SECONDS /* -DCPU_SECONDS=60 for more of them */
#define CPU_SECONDS 2
#endif
#define HISTORIES_LEAST 3
#define STEPS		300
#define ROOTS		12 /* fewer than a chain holds */
#define ISSUERS		3
#define PHONES		8
#define PAPERS		160
#define NONE		(-1)

static uint64_t seed = 0x2545f4914f6cdd1dULL;

static uint64_t draw(uint64_t below)
{
	return draw_from(&seed, below);
}

/* --- what the city signed ----------------------------------------------------------------------- */

enum kind { KEYS, POLICY, LIST, AUTHORIZATION };

struct paper {
	enum kind kind;
	int by; /* which root, or which of its role's keys */
	uint64_t iat;
	int root, issuer[3]; /* keys: the next root; who signs policy, list, authorizations */
	uint64_t cut;	     /* policy */
	unsigned revoked;    /* list: a bit per phone */
	unsigned phone, challenge, cti;
	enum scope scope;
	struct span document;
};

static struct signer roots[ROOTS], issuers[3][ISSUERS];
static struct paper papers[PAPERS];
static size_t npapers;
static uint64_t now;

/* --- the model: who may what -------------------------------------------------------------------- */

struct model {
	int root, issuer[3];	   /* whose turn it is; who is named */
	const struct paper *in[3]; /* in force: keys, policy, list; NULL: none */
	const struct paper *aside[3][ROOTS];
};

static const struct model model_new = {.issuer = {NONE, NONE, NONE}};

static bool model_newer(const struct paper *old, const struct paper *p, bool old_lives)
{
	return !old || !old_lives || p->iat > old->iat;
}

/* Is it in force afterwards that was not before? */
static bool model_takes(struct model *m, const struct paper *p)
{
	const struct paper *old = m->in[p->kind];
	int turn = p->kind == KEYS ? m->root : m->issuer[p->kind - 1];

	if (p == old)
		return false;
	if (p->by != turn) {
		if (p->kind != KEYS || p->by > m->root)
			m->aside[p->kind][p->kind == KEYS ? p->by : 0] = p;
		return false;
	}
	if (!model_newer(old, p, old && old->by == turn))
		return false;
	m->in[p->kind] = p;
	if (p->kind != KEYS)
		return true;
	m->root = p->root;
	memcpy(m->issuer, p->issuer, sizeof(m->issuer));
	for (enum kind k = KEYS; k <= LIST; k++) {
		const struct paper **aside = &m->aside[k][k == KEYS ? m->root : 0], *then = *aside;

		if (!then || then->by != (k == KEYS ? m->root : m->issuer[k - 1]))
			continue;
		*aside = NULL;
		if (model_takes(m, then) && k == KEYS)
			break; /* it has tried the others */
	}
	return true;
}

static bool model_opens(const struct model *m, const struct paper *a, uint64_t claimed)
{
	if (!m->in[KEYS] || a->by != m->issuer[2] || now >= a->iat + 60 || a->iat < claimed)
		return false;
	if (m->in[POLICY] && a->iat < m->in[POLICY]->cut)
		return false;
	return a->scope == SCOPE_LOCK || (m->in[LIST] && !(m->in[LIST]->revoked >> a->phone & 1));
}

/* --- the real ones ------------------------------------------------------------------------------ */

static struct {
	char dir[64], path[96];
	struct gateway gateway; /* its trust and store are used, nothing else of it */
	struct trust *lock;
	struct model gateway_model, lock_model;
	unsigned challenge; /* the lock's present one */
	uint64_t claimed;
	bool seen[PAPERS];
	unsigned moved[PAPERS];
	unsigned steps, opened, refused, applied, restarts;
} it;

static int store_start(void)
{
	struct store_options options = {
		.path = it.path, .event_bytes_max = 1 << 20, .event_keep_s = 3600};

	return store_open(&options, &it.gateway.store);
}

/* Killed, wherever it was, and back: what waits for keys of policy and list is not kept on disk. */
static void restart(void)
{
	store_close(it.gateway.store);
	trust_free(it.gateway.trust);
	it.gateway.trust = NULL;
	assert_int_equal(store_start(), 0);
	assert_int_equal(gateway_documents_restore(&it.gateway), 0);
	it.gateway_model.aside[POLICY][0] = it.gateway_model.aside[LIST][0] = NULL;
	it.restarts++;
}

static void assert_holds(const struct trust *trust, const struct model *m)
{
	const struct trust_list *list = trust_find_list(trust, span_str(SIGN_URI));
	const struct held *held[] = {trust_keys(trust),
				     trust->policy_held.document ? &trust->policy_held : NULL,
				     list ? &list->held : NULL};

	for (enum kind k = KEYS; k <= LIST; k++) {
		const struct paper *want = m->in[k];

		if (!held[k] != !want ||
		    (want && !span_equal(span_of(held[k]->document, held[k]->len), want->document)))
			fail_msg("step %u: %s of iat %" PRIu64 " in force, the model has %" PRIu64,
				 it.steps,
				 k == KEYS     ? "keys"
				 : k == POLICY ? "policy"
					       : "a list",
				 held[k] ? held[k]->iat : 0, want ? want->iat : 0);
	}
	assert_memory_equal(trust_root_kid(trust), roots[m->root].kid, DIGEST_LEN);
	for (unsigned i = 0; list && i < PHONES; i++)
		assert_int_equal(status_list_get(list->list, i), m->in[LIST]->revoked >> i & 1);
}

/* As the gateway: in force, then on disk, then said. Killed in between, it never said so. */
static void to_gateway(const struct paper *p)
{
	struct gateway *gw = &it.gateway;
	struct model before = it.gateway_model;
	struct trust_change change;
	bool killed = draw(16) == 0;
	int r = trust_offer(gw->trust, p->document, &(struct trust_topic){.any = true}, &change),
	    v = r;

	assert_true(r >= 0);
	if (model_takes(&it.gateway_model, p) != change.applied)
		fail_msg("step %u: '%s', the model says otherwise", it.steps, reason_word(r));
	it.applied += change.applied;
	if (killed && change.applied) {
		it.gateway_model = before;
		restart();
		return;
	}
	if (v == 0 && change.applied && change.kind == TOKEN_KEYS)
		while (trust_retry(gw->trust, &v, &change) > 0)
			;
	if (change.kept || p->kind == KEYS)
		assert_int_equal(gateway_keep_all(gw), 0);
	else if (change.applied)
		assert_int_equal(gateway_keep(gw, &change), 0);
}

static void to_lock(const struct paper *p)
{
	struct trust_change change;
	int v = trust_offer(it.lock, p->document, &(struct trust_topic){.any = true}, &change);

	assert_true(v >= 0);
	assert_int_equal(model_takes(&it.lock_model, p), change.applied);
	if (change.applied && p->kind == KEYS)
		while (trust_retry(it.lock, &v, &change) > 0)
			;
}

/* --- authorizations ------------------------------------------------------------------------------ */

static int ask(enum gate_side side, const struct trust *trust, const struct paper *a, bool seen,
	       struct gate_output *ret)
{
	struct gate_lock lock = {.id = SIGN_LOCK, .has_challenge = side == GATE_LOCK};
	struct gate_input in = {.side = side,
				.authorization = a->document,
				.seen = seen,
				.trust = trust,
				.locks = &lock,
				.nlocks = 1,
				.time = {.now = now, .synchronised = side == GATE_GATEWAY}};

	memset(lock.challenge, (int)it.challenge, CHALLENGE_LEN);
	lock.claimed = side == GATE_LOCK ? it.claimed : 0;
	return gate_decide(&in, ret);
}

/* The lock by itself: with a gateway's help or without, what was recorded opens nothing. */
static bool at_lock(const struct paper *a)
{
	struct gate_output out;
	int r = ask(GATE_LOCK, it.lock, a, false, &out);
	bool yes = model_opens(&it.lock_model, a, it.claimed) && a->challenge == it.challenge;

	if ((r == 0) != yes)
		fail_msg("step %u: the lock says '%s', the model %s", it.steps, reason_word(r),
			 yes ? "yes" : "no");
	if (r != 0)
		return false;
	it.moved[a->cti]++;
	it.opened++;
	it.challenge = (it.challenge + 1) % 251;
	if (it.moved[a->cti] > 1)
		fail_msg("step %u: one authorization moved the bolt twice", it.steps);
	return true;
}

static void remember(const struct paper *a, enum store_phase phase, const char *first, int want)
{
	struct store_authorization row = {
		.lock = SIGN_LOCK, .exp = a->iat + 60, .phase = phase, .scope = a->scope};

	memset(row.cti, (int)a->cti, CTI_LEN);
	row.cti[0] = 1;
	strcpy(row.first, first);
	assert_int_equal(store_accept(it.gateway.store, &row, NULL), want);
	it.seen[a->cti] = true;
}

static void through_gateway(const struct paper *a)
{
	struct store_authorization before;
	struct gate_output out = {0};
	uint8_t cti[CTI_LEN];
	bool known, yes = model_opens(&it.gateway_model, a, 0) && !it.seen[a->cti];
	int r;

	memset(cti, (int)a->cti, CTI_LEN);
	cti[0] = 1;
	r = store_find(it.gateway.store, cti, &before);
	assert_true(r == 0 || r == -ENOENT);
	known = r == 0;
	r = ask(GATE_GATEWAY, it.gateway.trust, a, known, &out);
	if ((r == 0) != yes)
		fail_msg("step %u: the gateway says '%s', the model %s", it.steps, reason_word(r),
			 yes ? "yes" : "no");
	if (r != 0) {
		it.refused++;
		if (out.verified && !known)
			remember(a, STORE_DONE, "refused", 0);
		return;
	}
	remember(a, STORE_ACCEPTED, "pending", 0);
	if (draw(6) == 0) { /* killed before the first byte, or after the last */
		if (draw(2))
			at_lock(a);
		restart();
		return;
	}
	at_lock(a);
	assert_int_equal(store_phase(it.gateway.store, cti, STORE_DONE, "done", NULL), 0);
}

/* --- what happens -------------------------------------------------------------------------------- */

static struct paper *new_paper(enum kind kind, int by)
{
	struct paper *p = &papers[npapers++];

	*p = (struct paper){.kind = kind, .by = by};
	/* mostly as it should be; now and then from years ahead, or behind */
	p->iat = now + (draw(12) ? 0 : draw(2) ? 100000000 : -1000);
	return p;
}

static void sign_new_keys(int by)
{
	struct paper *p = new_paper(KEYS, by);
	struct key keys[4];

	p->root = by + (by + 1 < ROOTS && draw(3) == 0);
	keys[0] = sign_key(&roots[p->root], ROLE_ROOT);
	for (unsigned i = 0; i < 3; i++) {
		static const unsigned roles[] = {ROLE_POLICY, ROLE_REVOKE, ROLE_AUTHORIZE};

		p->issuer[i] = draw(3) ? 0 : (int)draw(ISSUERS);
		keys[i + 1] = sign_key(&issuers[i][p->issuer[i]], roles[i]);
	}
	p->document = sign_keys(keys, 4, p->iat, &roots[by]);
}

static void sign_new_policy(int by)
{
	struct paper *p = new_paper(POLICY, by);
	struct policy policy;

	policy_default(&policy);
	if (draw(2)) {
		p->cut = now - draw(40);
		strcpy(policy.cut_offs[0].lock, draw(2) ? "*" : SIGN_LOCK);
		policy.cut_offs[0].time = p->cut;
		policy.ncut_offs = 1;
	}
	p->document = sign_policy(&policy, p->iat, &issuers[0][by]);
}

static void sign_new_list(int by)
{
	struct paper *p = new_paper(LIST, by);
	struct sign_entry set[PHONES];
	struct sign_list list = {.iat = p->iat, .entries = PHONES, .set = set};

	p->revoked = (unsigned)draw(1 << PHONES);
	for (unsigned i = 0; i < PHONES; i++)
		if (p->revoked >> i & 1)
			set[list.nset++] = (struct sign_entry){i, STATUS_REVOKED};
	p->document = sign_list(&list, &issuers[1][by]);
}

static void sign_new_authorization(int by)
{
	struct paper *p = new_paper(AUTHORIZATION, by);
	struct sign_auth a = sign_relayed(&city);

	p->iat = now;
	p->phone = (unsigned)draw(PHONES);
	p->challenge = draw(8) ? it.challenge : (it.challenge + 250) % 251;
	p->cti = (unsigned)npapers - 1;
	p->scope = draw(6) ? SCOPE_UNLOCK : SCOPE_LOCK;
	a.iat = a.nbf = a.posture.checked = now;
	a.exp = now + 60;
	a.idx = p->phone;
	a.scope = p->scope;
	memset(a.cnonce, (int)p->challenge, CHALLENGE_LEN);
	memset(a.cti, (int)p->cti, CTI_LEN);
	a.cti[0] = 1;
	p->document = sign_auth(&a, &issuers[2][by]);
}

/* By whose turn it is, or now and then by a key that was dropped, or is not yet named. */
static void city_signs(void)
{
	const struct model *m = &it.gateway_model;
	int stray = !m->in[KEYS] || draw(5) == 0 ? (int)draw(ISSUERS) : NONE;

	if (npapers == PAPERS)
		return;
	switch (draw(8)) {
	case 0:
		sign_new_keys(draw(5) ? m->root : (int)draw(ROOTS));
		return;
	case 1:
		sign_new_policy(stray == NONE ? m->issuer[0] : stray);
		return;
	case 2:
	case 3:
		sign_new_list(stray == NONE ? m->issuer[1] : stray);
		return;
	default:
		sign_new_authorization(stray == NONE ? m->issuer[2] : stray);
		return;
	}
}

/* The newest, mostly; any that ever was, as one gives it who kept them. */
static const struct paper *some_paper(void)
{
	return &papers[draw(2) ? npapers - 1 - draw(npapers < 4 ? npapers : 4) : draw(npapers)];
}

static void give(const struct paper *p)
{
	uint64_t where = draw(3);

	if (p->kind == AUTHORIZATION && where == 0)
		at_lock(p);
	else if (p->kind == AUTHORIZATION)
		through_gateway(p);
	if (p->kind != AUTHORIZATION && where != 0)
		to_gateway(p);
	if (p->kind != AUTHORIZATION && where != 1)
		to_lock(p);
}

static void step(void)
{
	switch (draw(24)) {
	case 0:
		restart();
		return;
	case 1:
		it.claimed = now; /* released, and claimed anew */
		return;
	case 2:
		assert_true(store_forget(it.gateway.store, now) >= 0);
		return;
	case 3:
	case 4:
	case 5:
		now += draw(40);
		return;
	default:
		if (npapers == 0 || draw(3) == 0)
			city_signs();
		if (npapers)
			give(some_paper());
	}
}

static void begin(void)
{
	struct key root = sign_key(&roots[0], ROLE_ROOT);

	memset(&it, 0, sizeof(it));
	it.gateway_model = it.lock_model = model_new;
	npapers = 0;
	now = SIGN_NOW;
	strcpy(it.dir, access("/dev/shm", W_OK) == 0 ? "/dev/shm/lockbridge-history-XXXXXX"
						     : "/tmp/lockbridge-history-XXXXXX");
	assert_non_null(mkdtemp(it.dir));
	snprintf(it.path, sizeof(it.path), "%s/store.db", it.dir);
	memcpy(it.gateway.config.root_key, roots[0].pub, PUBLIC_LEN);
	assert_int_equal(store_start(), 0);
	assert_int_equal(gateway_documents_restore(&it.gateway), 0);
	assert_int_equal(trust_new(LIST_BYTES_MAX, &it.lock), 0);
	trust_anchor(it.lock, &root);
}

static void end(void)
{
	static const char *const ends[] = {"", "-wal", "-shm"};
	char path[128];

	store_close(it.gateway.store);
	trust_free(it.gateway.trust);
	trust_free(it.lock);
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		snprintf(path, sizeof(path), "%s%s", it.path, ends[i]);
		unlink(path);
	}
	rmdir(it.dir);
	sign_forget();
}

static void histories_and_model_agree(void **state)
{
	unsigned n, steps = 0, opened = 0, refused = 0, applied = 0, restarts = 0;
	clock_t begun = clock();

	for (unsigned i = 0; i < ROOTS; i++)
		roots[i] = sign_signer((uint8_t)(1 + i));
	for (unsigned i = 0; i < 3 * ISSUERS; i++)
		issuers[i / ISSUERS][i % ISSUERS] = sign_signer((uint8_t)(50 + i));
	for (n = 0; n < HISTORIES_LEAST || clock() - begun < CPU_SECONDS * CLOCKS_PER_SEC; n++) {
		begin();
		for (it.steps = 0; it.steps < STEPS; it.steps++) {
			step();
			assert_holds(it.gateway.trust, &it.gateway_model);
			assert_holds(it.lock, &it.lock_model);
		}
		steps += it.steps;
		opened += it.opened;
		refused += it.refused;
		applied += it.applied;
		restarts += it.restarts;
		end();
	}
	print_message("%u histories, %u steps: %u applied, %u opened, %u refused, %u restarts\n", n,
		      steps, applied, opened, refused, restarts);
	assert_true(applied > 0 && opened > 0 && refused > 0 && restarts > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(histories_and_model_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
