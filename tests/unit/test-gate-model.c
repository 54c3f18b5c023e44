// SPDX-License-Identifier: Apache-2.0
/*
 * The decision against a model of it, written from contract section 4 and apart from gate.c: both
 * judge the same random cases and must say the same. The model never sees a document: it knows what
 * was put into it. Documents and trusts are drawn from pools, since signing takes longest.
 */
#include "unit/draw.h"
#include "unit/gate-fixture.h"

#include <time.h>

#define AUTHS	    600
#define SHOWS	    400
#define TRUSTS	    40
#define ENTRIES	    16
#define CASES	    100000
#define CASES_LEAST 2000
#ifndef CPU_SECONDS /* -DCPU_SECONDS=60 runs all the cases */
#define CPU_SECONDS 2
#endif

static uint64_t seed = 0x9e3779b97f4a7c15ULL;

static uint64_t draw(uint64_t below)
{
	return draw_from(&seed, below);
}

static bool rarely(void)
{
	return draw(14) == 0;
}

/* Near a bound more often than anywhere else: -2 .. 2, or far off. */
static int64_t near(void)
{
	static const int64_t far[] = {-100000, -200, 200, 100000};

	return draw(4) ? (int64_t)draw(5) - 2 : far[draw(4)];
}

enum form { GOOD, CUT, STRANGER, OTHER_ROLE, SPOILT };

static struct drawn_auth {
	struct sign_auth a;
	enum form form;
	struct span document;
} auths[AUTHS];

static struct drawn_show {
	int kind; /* 0 a presentation, 1 rubbish, 2 spoilt */
	uint8_t aud, cti, nonce;
	bool by_phone;
	struct span document;
} shows[SHOWS];

static struct drawn_trust {
	bool listed;
	unsigned status[ENTRIES];
	struct policy policy;
	struct trust *trust;
} trusts[TRUSTS];

static const char *const locks[] = {"lock-0", "lock-1", "lock-2"};
static const char *const apps[] = {"a", "b", "c"};

struct drawn {
	const struct drawn_auth *auth;
	const struct drawn_show *show; /* NULL: none */
	const struct drawn_trust *trust;
	enum gate_side side;
	bool retained, seen, synchronised, has_challenge, busy;
	uint8_t challenge, nonce;
	int64_t now, claimed;
};

/* --- the model --------------------------------------------------------------------------------- */

static enum reason model_presence(const struct drawn *d)
{
	const struct drawn_show *s = d->show;

	if (d->auth->a.relayed)
		return d->has_challenge && d->auth->a.cnonce[0] != d->challenge
			       ? REASON_STALE_CHALLENGE
			       : REASON_NONE;
	if (d->side == GATE_GATEWAY || !s)
		return REASON_PRESENTATION_MISSING;
	if (s->kind != 0 || !s->by_phone || strcmp(locks[s->aud], d->auth->a.aud) != 0 ||
	    s->cti != d->auth->a.cti[0])
		return REASON_PRESENTATION_BAD;
	return s->nonce != d->nonce ? REASON_STALE_CHALLENGE : REASON_NONE;
}

static enum reason model(const struct drawn *d)
{
	static const enum reason forms[] = {REASON_NONE, REASON_MALFORMED, REASON_UNKNOWN_KEY,
					    REASON_WRONG_ROLE, REASON_BAD_SIGNATURE};
	const struct sign_auth *a = &d->auth->a;
	const struct policy *p = &d->trust->policy;
	bool gateway = d->side == GATE_GATEWAY, posture = gateway && a->relayed;
	bool pin = a->has_posture && a->posture.has_pin && a->posture.pin, app = p->napps == 0;
	int64_t begin = (int64_t)(a->nbf > a->iat ? a->nbf : a->iat), cut = d->claimed;

	if (d->auth->form != GOOD)
		return forms[d->auth->form];
	if (strcmp(a->aud, "lock-2") == 0)
		return REASON_WRONG_LOCK;
	if (gateway && (d->retained || d->seen))
		return d->retained ? REASON_RETAINED : REASON_REPLAYED;
	if (gateway && a->exp - a->iat > (a->relayed ? p->max_relay : p->max_lifetime))
		return REASON_LIFETIME_TOO_LONG;
	if (d->synchronised && begin - d->now > 120)
		return REASON_NOT_YET_VALID;
	if (d->now >= (int64_t)a->exp)
		return REASON_EXPIRED;
	for (size_t i = 0; i < p->ncut_offs; i++)
		if ((p->cut_offs[i].lock[0] == '*' || !strcmp(p->cut_offs[i].lock, a->aud)) &&
		    (int64_t)p->cut_offs[i].time > cut)
			cut = (int64_t)p->cut_offs[i].time;
	if ((int64_t)a->iat < cut)
		return REASON_CUT_OFF;
	if (a->scope != SCOPE_LOCK) {
		unsigned status = a->idx < ENTRIES ? d->trust->status[a->idx] : 1;

		if (!d->trust->listed || strcmp(a->uri, SIGN_URI) != 0)
			return REASON_NO_LIST;
		if (status != 0)
			return status == 2 ? REASON_SUSPENDED : REASON_REVOKED;
		for (size_t i = 0; i < p->napps && a->has_posture; i++)
			app |= a->posture.app.data && a->posture.app.data[0] == p->apps[i][0];
		if (posture && p->require_pin && !pin)
			return REASON_POSTURE_PIN;
		if (posture && !app)
			return REASON_POSTURE_APP;
		if (posture && (!a->has_posture || !a->posture.has_checked ||
				d->now - (int64_t)a->posture.checked > (int64_t)p->posture_max_age))
			return REASON_POSTURE_STALE;
	}
	if (model_presence(d) != REASON_NONE)
		return model_presence(d);
	return gateway && d->busy ? REASON_BUSY : REASON_NONE;
}

/* --- drawing ----------------------------------------------------------------------------------- */

static void draw_auth(struct drawn_auth *d)
{
	struct sign_auth *a = &d->a;
	const struct signer *by = &city.authorize;

	*a = draw(2) ? sign_relayed(&city) : sign_door(&city);
	a->aud = rarely() ? locks[2] : locks[draw(2)];
	a->uri = rarely() ? "https://city.example/list/other" : SIGN_URI;
	a->scope = (enum scope)(SCOPE_UNLOCK + draw(3));
	a->iat = NOW - draw(60) + (rarely() ? 300 : 0);
	a->nbf = a->iat + (rarely() ? 130 : 0);
	a->exp = a->iat + (a->relayed ? 60 : 43200) + (uint64_t)(rarely() ? draw(300) : 0);
	if (a->exp < a->nbf)
		a->exp = a->nbf + 1;
	a->idx = draw(ENTRIES + 1);
	memset(a->cti, (int)draw(3), sizeof(a->cti));
	memset(a->cnonce, rarely() ? 9 : 0, sizeof(a->cnonce));
	a->has_posture = !rarely();
	a->posture.has_pin = !rarely();
	a->posture.pin = !rarely();
	a->posture.app = rarely() ? (struct span){0} : span_str(apps[draw(3)]);
	a->posture.has_checked = !rarely();
	a->posture.checked = NOW - 86400 + (uint64_t)(86400 + near());
	if (rarely())
		a->posture.checked -= 86400 - 300;
	d->form = rarely() ? (enum form)(CUT + draw(4)) : GOOD;
	if (d->form == STRANGER)
		by = &city.stranger;
	else if (d->form == OTHER_ROLE)
		by = draw(2) ? &city.root : &city.revoke;
	d->document = sign_auth(a, by);
	if (d->form == CUT)
		d->document.len -= 1 + draw(d->document.len);
	else if (d->form == SPOILT)
		d->document = sign_spoil(d->document);
}

static void draw_show(struct drawn_show *d)
{
	uint8_t cti[CTI_LEN], nonce[CHALLENGE_LEN];

	d->kind = rarely() ? 1 + (int)draw(2) : 0;
	d->aud = (uint8_t)draw(2);
	d->cti = (uint8_t)draw(3);
	d->nonce = rarely() ? 9 : 3;
	d->by_phone = !rarely();
	memset(cti, d->cti, sizeof(cti));
	memset(nonce, d->nonce, sizeof(nonce));
	d->document = sign_presentation(locks[d->aud], cti, nonce,
					d->by_phone ? &city.phone : &city.reader);
	if (d->kind == 1)
		d->document.len -= 1 + draw(d->document.len);
	else if (d->kind == 2)
		d->document = sign_spoil(d->document);
}

static void draw_policy(struct policy *p)
{
	policy_default(p);
	p->require_pin = draw(2);
	p->posture_max_age = rarely() ? 0 : 86400;
	p->max_relay = rarely() ? 59 : 60 + draw(2);
	p->max_lifetime = rarely() ? 43199 : 43200 + draw(2);
	p->napps = draw(3);
	for (size_t i = 0; i < p->napps; i++)
		strcpy(p->apps[i], apps[i]);
	if (draw(3) == 0) {
		strcpy(p->cut_offs[p->ncut_offs].lock, draw(2) ? "*" : locks[draw(2)]);
		p->cut_offs[p->ncut_offs++].time = NOW - draw(60);
	}
	if (p->ncut_offs == 1 && draw(2)) {
		strcpy(p->cut_offs[1].lock, p->cut_offs[0].lock[0] == '*' ? locks[0] : "*");
		p->cut_offs[p->ncut_offs++].time = NOW - 30 - draw(60);
	}
}

static void draw_trust(struct drawn_trust *d)
{
	struct key root = sign_key(&city.root, ROLE_ROOT);
	struct sign_entry set[ENTRIES];

	d->listed = !rarely();
	draw_policy(&d->policy);
	for (size_t i = 0; i < ENTRIES; i++) {
		d->status[i] = rarely() ? 1 + (unsigned)draw(3) : 0;
		set[i] = (struct sign_entry){i, d->status[i]};
	}
	assert_int_equal(trust_new(LIST_BYTES_MAX, &d->trust), 0);
	trust_anchor(d->trust, &root);
	world_offer(d->trust, sign_city_keys(&city, &city.root, NOW, &city.root));
	world_offer(d->trust, sign_policy(&d->policy, NOW, &city.policy));
	if (d->listed)
		world_offer(d->trust, sign_list(&(struct sign_list){.iat = NOW,
								    .entries = ENTRIES,
								    .set = set,
								    .nset = ENTRIES},
						&city.revoke));
}

static struct drawn draw_case(void)
{
	struct drawn d = {
		.auth = &auths[draw(AUTHS)],
		.show = draw(4) ? &shows[draw(SHOWS)] : NULL,
		.trust = &trusts[draw(TRUSTS)],
		.side = draw(3) ? GATE_GATEWAY : GATE_LOCK,
		.retained = rarely(),
		.seen = rarely(),
		.synchronised = draw(2),
		.has_challenge = !rarely(),
		.busy = rarely(),
		.challenge = rarely() ? 9 : 0,
		.nonce = rarely() ? 9 : 3,
		.now = NOW,
		.claimed = rarely() ? (int64_t)NOW - (int64_t)draw(60) : 0,
	};

	if (draw(3) == 0)
		d.now = (int64_t)d.auth->a.exp + near();
	else if (draw(3) == 0)
		d.now = (int64_t)d.auth->a.nbf - 120 + near();
	return d;
}

static int decide(const struct drawn *d)
{
	struct gate_lock both[2] = {0};
	struct gate_output out;
	struct gate_input in = {.side = d->side,
				.authorization = d->auth->document,
				.retained = d->retained,
				.seen = d->seen,
				.trust = d->trust->trust,
				.locks = both,
				.nlocks = 2,
				.time = {.now = (uint64_t)d->now, .synchronised = d->synchronised}};

	for (size_t i = 0; i < 2; i++) {
		both[i].id = locks[i];
		both[i].has_challenge = d->has_challenge;
		both[i].busy = d->busy;
		both[i].claimed = (uint64_t)d->claimed;
		memset(both[i].challenge, d->challenge, CHALLENGE_LEN);
		memset(both[i].nonce, d->nonce, CHALLENGE_LEN);
	}
	if (d->show)
		in.presentation = d->show->document;
	return gate_decide(&in, &out);
}

static void decision_and_model_agree(void **state)
{
	unsigned reached[REASON_COUNT_] = {0}, n;
	clock_t begin;

	for (size_t i = 0; i < AUTHS; i++)
		draw_auth(&auths[i]);
	for (size_t i = 0; i < SHOWS; i++)
		draw_show(&shows[i]);
	for (size_t i = 0; i < TRUSTS; i++)
		draw_trust(&trusts[i]);
	begin = clock();
	for (n = 0; n < CASES; n++) {
		struct drawn d = draw_case();
		enum reason want = model(&d);
		int r = decide(&d);

		if (r != (int)want)
			fail_msg("case %u: the decision says '%s', the model '%s'", n,
				 reason_word(r), reason_word(want));
		reached[r]++;
		if (n >= CASES_LEAST && clock() - begin > CPU_SECONDS * CLOCKS_PER_SEC)
			break;
	}
	print_message("%u cases agree\n", n);
	assert_true(reached[REASON_NONE] > 0);
	for (unsigned r = REASON_MALFORMED; r <= REASON_BAD_SIGNATURE; r++)
		assert_true(reached[r] > 0);
	for (unsigned r = REASON_WRONG_LOCK; r <= REASON_BUSY; r++)
		if (reached[r] == 0)
			fail_msg("'%s' was never drawn", reason_word(r));
	for (size_t i = 0; i < TRUSTS; i++)
		trust_free(trusts[i].trust);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(decision_and_model_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
