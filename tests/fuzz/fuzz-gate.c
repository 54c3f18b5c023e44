// SPDX-License-Identifier: Apache-2.0
/*
 * The decision on any authorization (the first record) and any presentation (the second), in the
 * gateway and in the lock. A yes must have been earned: each condition is looked at again here.
 */
#include "core/gate.h"
#include "fuzz/resign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	return resign_mutate(data, size, max_size, seed);
}

static void offer(struct trust *trust, struct span document)
{
	struct trust_topic anywhere = {.any = true};
	struct trust_change change;

	must(trust_offer(trust, document, &anywhere, &change) == 0 && change.applied);
}

/* Two: with everything, and with neither policy nor list. */
static const struct trust *trust_of(bool bare)
{
	static struct trust *all[2];
	static const struct sign_entry set[] = {{3, STATUS_REVOKED}, {4, STATUS_SUSPENDED}};
	struct city city;
	struct key root;
	struct policy p;

	if (all[bare])
		return all[bare];
	city = city_new();
	root = sign_key(&city.root, ROLE_ROOT);
	must(trust_new(LIST_BYTES_MAX, &all[bare]) == 0);
	trust_anchor(all[bare], &root);
	offer(all[bare], sign_city_keys(&city, &city.root, SIGN_NOW, &city.root));
	if (bare)
		return all[bare];
	policy_default(&p);
	strcpy(p.apps[p.napps++], "se.city.app");
	strcpy(p.cut_offs[p.ncut_offs].lock, SIGN_LOCK);
	p.cut_offs[p.ncut_offs++].time = SIGN_NOW - 100;
	offer(all[bare], sign_policy(&p, SIGN_NOW, &city.policy));
	offer(all[bare],
	      sign_list(&(struct sign_list){.iat = SIGN_NOW, .set = set, .nset = ARRAY_SIZE(set)},
			&city.revoke));
	return all[bare];
}

static void check_yes(const struct gate_input *in, const struct gate_output *out)
{
	const struct token *t = &out->token;
	const struct trust_list *list = trust_find_list(in->trust, t->status_uri);
	struct token shown;

	must(out->verified && out->lock && span_is(t->aud, out->lock->id));
	must(keyset_verify(&in->trust->keyset, &t->cose, ROLE_AUTHORIZE) == 0);
	must(t->kind == TOKEN_AUTHORIZATION && in->time.now < t->exp);
	must(t->iat >= policy_cut_off(&in->trust->policy, t->aud));
	if (t->scope != SCOPE_LOCK && t->scope != SCOPE_READ)
		must(list && status_list_get(list->list, t->status_idx) == STATUS_VALID);
	if (in->side == GATE_LOCK && t->has & CLAIM_CNF) {
		must(in->presentation.data && token_parse(in->presentation, &shown) == 0);
		must(span_equal(shown.cnonce, SPAN(out->lock->nonce)));
	}
	if (in->side == GATE_GATEWAY && t->scope != SCOPE_READ)
		must(t->has & CLAIM_CNONCE && !in->retained && !in->seen && !out->lock->busy);
	if (t->has & CLAIM_CNONCE)
		must(span_equal(t->cnonce, SPAN(out->lock->challenge)));
}

static void decide(const struct gate_input *in)
{
	struct gate_output out;
	int r = gate_decide(in, &out);

	must(r >= 0 && r <= REASON_BUSY);
	if (r == 0) {
		must(out.token.scope != SCOPE_READ);
		check_yes(in, &out);
	}
	r = gate_decide_reader(in, NULL, &out);
	must(r >= 0 && r <= REASON_BUSY);
	if (r == 0) {
		must(out.token.scope == SCOPE_READ);
		check_yes(in, &out);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct resign_record records[RESIGN_RECORDS];
	struct gate_lock lock = {.id = SIGN_LOCK, .has_challenge = true};
	struct gate_input in = {.locks = &lock, .nlocks = 1};
	size_t n;

	if (len < RESIGN_HEAD)
		return 0;
	n = resign_records(data, len, records);
	if (n == 0)
		return 0;
	memset(lock.challenge, 0xc0, CHALLENGE_LEN);
	memset(lock.nonce, 0xc0, CHALLENGE_LEN);
	in.trust = trust_of(data[0] & 1);
	in.retained = data[0] & 2;
	in.seen = data[0] & 4;
	lock.busy = data[0] & 8;
	in.time.synchronised = data[0] & 16;
	in.time.now = data[0] & 32 ? SIGN_NOW - 1000 : SIGN_NOW;
	in.authorization = records[0].document;
	if (n > 1)
		in.presentation = records[1].document;
	in.side = GATE_GATEWAY;
	decide(&in);
	in.side = GATE_LOCK;
	decide(&in);
	return 0;
}
