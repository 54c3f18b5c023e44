/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* One authorization, the lock it is for and the documents it is judged by: good as world_new makes
 * it, spoilt member by member by the tests. world_decide signs everything anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/gate.h"
#include "unit/sign.h"

#define NOW SIGN_NOW

static struct city city;

struct world {
	enum gate_side side;
	bool reader; /* gate_decide_reader */
	/* the authorization */
	struct sign_auth auth;
	const struct signer *by;
	bool truncated, spoilt;
	/* the presentation */
	bool shown;
	const struct signer *shown_by;
	const char *shown_aud;
	uint8_t shown_cti[CTI_LEN], shown_nonce[CHALLENGE_LEN];
	struct span shown_bytes; /* instead of a signed one */
	/* what it is judged by */
	struct policy policy;
	bool listed;
	struct sign_list list;
	struct sign_entry status;
	struct gate_lock lock;
	bool retained, seen;
	struct time_verdict time;
	/* afterwards */
	struct gate_output out;
};

static inline struct world world_new(struct sign_auth auth)
{
	struct world w = {.auth = auth,
			  .by = &city.authorize,
			  .shown_by = &city.phone,
			  .shown_aud = SIGN_LOCK,
			  .listed = true,
			  .list = {.iat = NOW - 3600, .nset = 1},
			  .status = {7, STATUS_VALID},
			  .lock = {.id = SIGN_LOCK, .has_challenge = true},
			  .time = {.now = NOW, .synchronised = true}};

	policy_default(&w.policy);
	memcpy(w.lock.challenge, auth.cnonce, CHALLENGE_LEN);
	memset(w.lock.nonce, 0x4e, CHALLENGE_LEN);
	memset(w.shown_nonce, 0x4e, CHALLENGE_LEN);
	memcpy(w.shown_cti, auth.cti, CTI_LEN);
	return w;
}

/* At the door, as the lock sees it: with a good presentation. */
static inline struct world world_at_the_door(void)
{
	struct world w = world_new(sign_door(&city));

	w.side = GATE_LOCK;
	w.shown = true;
	return w;
}

static inline void world_offer(struct trust *trust, struct span document)
{
	struct trust_topic anywhere = {.any = true};
	struct trust_change change;

	assert_int_equal(trust_offer(trust, document, &anywhere, &change), 0);
	assert_true(change.applied);
}

static inline struct trust *world_trust(struct world *w)
{
	struct key root = sign_key(&city.root, ROLE_ROOT);
	struct trust *trust;

	assert_int_equal(trust_new(LIST_BYTES_MAX, &trust), 0);
	trust_anchor(trust, &root);
	world_offer(trust, sign_city_keys(&city, &city.root, NOW - 86400, &city.root));
	world_offer(trust, sign_policy(&w->policy, NOW - 86400, &city.policy));
	w->list.set = &w->status;
	if (w->listed)
		world_offer(trust, sign_list(&w->list, &city.revoke));
	return trust;
}

static inline int world_decide(struct world *w)
{
	static const struct gate_lock neighbour = {.id = "lock-2"};
	struct gate_lock locks[2] = {neighbour, w->lock};
	cleanup(trust_freep) struct trust *trust = world_trust(w);
	struct gate_input in = {.side = w->side,
				.authorization = sign_auth(&w->auth, w->by),
				.retained = w->retained,
				.seen = w->seen,
				.trust = trust,
				.locks = locks,
				.nlocks = ARRAY_SIZE(locks),
				.time = w->time};
	int r;

	if (w->spoilt)
		in.authorization = sign_spoil(in.authorization);
	if (w->truncated)
		in.authorization.len--;
	if (w->shown)
		in.presentation =
			sign_presentation(w->shown_aud, w->shown_cti, w->shown_nonce, w->shown_by);
	if (w->shown_bytes.data)
		in.presentation = w->shown_bytes;
	r = w->reader ? gate_decide_reader(&in, w->side == GATE_GATEWAY ? city.reader.kid : NULL,
					   &w->out)
		      : gate_decide(&in, &w->out);
	if (w->out.lock) /* locks ends here */
		w->out.lock = w->out.lock == &locks[1] ? &w->lock : NULL;
	return r;
}

/* Both in words, so that a failure can be read. */
#define assert_reason(got, want) assert_string_equal(reason_word(got), reason_word(want))

static inline int world_setup(void **state)
{
	city = city_new();
	return 0;
}

static inline int world_teardown(void **state)
{
	sign_forget();
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
