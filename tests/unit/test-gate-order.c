// SPDX-License-Identifier: Apache-2.0
/*
 * Contract section 4: the order of the checks. Each ladder begins with everything wrong at once;
 * the first reason is named, mended, and the next must come to light, up to "yes". What excludes
 * one another by nature (revoked, suspended) is spoilt anew by the rung before.
 */
#include "unit/gate-fixture.h"

struct rung {
	enum reason reason; /* what is said before... */
	void (*mend)(struct world *w);
};

/* --- 1 ----------------------------------------------------------------------------------------- */

static void mend_length(struct world *w)
{
	w->truncated = false;
}

static void mend_stranger(struct world *w)
{
	w->by = &city.policy; /* named, for something else */
}

static void mend_role(struct world *w)
{
	w->by = &city.authorize;
}

static void mend_signature(struct world *w)
{
	w->spoilt = false;
}

/* --- 2 ----------------------------------------------------------------------------------------- */

static void mend_lock(struct world *w)
{
	w->auth.aud = SIGN_LOCK;
}

static void mend_retained(struct world *w)
{
	w->retained = false;
}

static void mend_replayed(struct world *w)
{
	w->seen = false;
}

/* --- 3 ----------------------------------------------------------------------------------------- */

/* From too long (a second over what the policy allows) to not yet valid (a second over the leeway). */
static void mend_lifetime(struct world *w)
{
	w->auth.nbf = NOW + CLOCK_NBF_LEEWAY + 1;
	w->auth.iat = NOW + CLOCK_NBF_LEEWAY - 30;
	w->auth.exp = w->auth.nbf + 1;
}

static void mend_not_yet(struct world *w)
{
	w->auth.iat = w->auth.nbf = NOW - 60;
	w->auth.exp = NOW; /* the first second that is too late */
}

static void mend_expired(struct world *w)
{
	w->auth.exp = NOW + (w->auth.relayed ? 0 : 3600);
	w->auth.iat = w->auth.nbf = NOW - 59;
	w->auth.exp += 1;
}

/* --- 4 ----------------------------------------------------------------------------------------- */

static void mend_cut_off(struct world *w)
{
	w->policy.cut_offs[0].time = w->auth.iat;
	w->policy.cut_offs[1].time = w->auth.iat + 1;
	strcpy(w->policy.cut_offs[1].lock, SIGN_LOCK);
	w->policy.ncut_offs = 2;
}

static void mend_own_cut_off(struct world *w)
{
	w->policy.cut_offs[1].time = w->auth.iat;
}

static void mend_claimed(struct world *w)
{
	w->lock.claimed = w->auth.iat;
}

static void mend_no_list(struct world *w)
{
	w->listed = true;
	w->status.status = STATUS_REVOKED;
}

static void mend_revoked(struct world *w)
{
	w->status.status = STATUS_SUSPENDED;
}

static void mend_suspended(struct world *w)
{
	w->status.status = STATUS_VALID;
}

/* --- 5 ----------------------------------------------------------------------------------------- */

static void mend_pin(struct world *w)
{
	w->auth.posture.pin = true;
}

static void mend_app(struct world *w)
{
	w->auth.posture.app = span_str("se.city.app");
}

static void mend_stale(struct world *w)
{
	w->auth.posture.checked = NOW - w->policy.posture_max_age;
}

/* --- 6 ----------------------------------------------------------------------------------------- */

static void mend_missing(struct world *w)
{
	w->shown = true;
}

static void mend_presenter(struct world *w)
{
	w->shown_by = &city.phone;
}

static void mend_challenge(struct world *w)
{
	memcpy(w->auth.cnonce, w->lock.challenge, CHALLENGE_LEN);
	memcpy(w->shown_nonce, w->lock.nonce, CHALLENGE_LEN);
}

static void mend_busy(struct world *w)
{
	w->lock.busy = false;
}

/* Everything wrong at once. */
static struct world spoilt_world(struct sign_auth auth, enum gate_side side)
{
	struct world w = world_new(auth);

	w.side = side;
	w.truncated = w.spoilt = true;
	w.by = &city.stranger;
	w.auth.aud = "lock-9";
	w.retained = w.seen = true;
	w.auth.iat = NOW - 10;
	w.auth.nbf = NOW - 10;
	w.auth.exp = w.auth.iat + (auth.relayed ? w.policy.max_relay : w.policy.max_lifetime) + 1;
	strcpy(w.policy.cut_offs[0].lock, "*");
	w.policy.cut_offs[0].time = NOW + 1000;
	w.policy.ncut_offs = 1;
	w.lock.claimed = NOW + 1000;
	w.listed = false;
	w.auth.posture.pin = false;
	w.auth.posture.app = span_str("com.other");
	strcpy(w.policy.apps[0], "se.city.app");
	w.policy.napps = 1;
	w.auth.posture.checked = NOW - w.policy.posture_max_age - 1;
	w.shown_by = &city.stranger;
	memset(w.lock.challenge, 0x5a, CHALLENGE_LEN);
	memset(w.lock.nonce, 0x5b, CHALLENGE_LEN);
	w.lock.busy = true;
	return w;
}

static void climb(struct world *w, const struct rung *rungs, size_t n, unsigned *reached)
{
	for (size_t i = 0; i < n; i++) {
		int r = world_decide(w);

		if (r != (int)rungs[i].reason)
			fail_msg("rung %zu: '%s' where '%s' comes first", i, reason_word(r),
				 reason_word(rungs[i].reason));
		if (reached)
			*reached |= 1U << r;
		if (rungs[i].mend)
			rungs[i].mend(w);
	}
}

static const struct rung relayed_at_the_gateway[] = {
	{REASON_MALFORMED, mend_length},
	{REASON_UNKNOWN_KEY, mend_stranger},
	{REASON_WRONG_ROLE, mend_role},
	{REASON_BAD_SIGNATURE, mend_signature},
	{REASON_WRONG_LOCK, mend_lock},
	{REASON_RETAINED, mend_retained},
	{REASON_REPLAYED, mend_replayed},
	{REASON_LIFETIME_TOO_LONG, mend_lifetime},
	{REASON_NOT_YET_VALID, mend_not_yet},
	{REASON_EXPIRED, mend_expired},
	{REASON_CUT_OFF, mend_cut_off},
	{REASON_CUT_OFF, mend_own_cut_off},
	{REASON_CUT_OFF, mend_claimed},
	{REASON_NO_LIST, mend_no_list},
	{REASON_REVOKED, mend_revoked},
	{REASON_SUSPENDED, mend_suspended},
	{REASON_POSTURE_PIN, mend_pin},
	{REASON_POSTURE_APP, mend_app},
	{REASON_POSTURE_STALE, mend_stale},
	{REASON_STALE_CHALLENGE, mend_challenge},
	{REASON_BUSY, mend_busy},
	{REASON_NONE, NULL},
};

/* Posture is not asked for; and however good the rest, over MQTT a cnf moves nothing. */
static const struct rung door_at_the_gateway[] = {
	{REASON_MALFORMED, mend_length},
	{REASON_UNKNOWN_KEY, mend_stranger},
	{REASON_WRONG_ROLE, mend_role},
	{REASON_BAD_SIGNATURE, mend_signature},
	{REASON_WRONG_LOCK, mend_lock},
	{REASON_RETAINED, mend_retained},
	{REASON_REPLAYED, mend_replayed},
	{REASON_LIFETIME_TOO_LONG, mend_lifetime},
	{REASON_NOT_YET_VALID, mend_not_yet},
	{REASON_EXPIRED, mend_expired},
	{REASON_CUT_OFF, mend_cut_off},
	{REASON_CUT_OFF, mend_own_cut_off},
	{REASON_CUT_OFF, mend_claimed},
	{REASON_NO_LIST, mend_no_list},
	{REASON_REVOKED, mend_revoked},
	{REASON_SUSPENDED, mend_suspended},
	{REASON_PRESENTATION_MISSING, mend_missing},
	{REASON_PRESENTATION_MISSING, mend_presenter},
	{REASON_PRESENTATION_MISSING, mend_challenge},
	{REASON_PRESENTATION_MISSING, mend_busy},
	{REASON_PRESENTATION_MISSING, NULL},
};

/* Only what is marked L: retained, replayed, lifetime, posture and busy stay wrong to the end. */
static const struct rung door_in_the_lock[] = {
	{REASON_MALFORMED, mend_length},
	{REASON_UNKNOWN_KEY, mend_stranger},
	{REASON_WRONG_ROLE, mend_role},
	{REASON_BAD_SIGNATURE, mend_signature},
	{REASON_WRONG_LOCK, mend_lock},
	{REASON_CUT_OFF, mend_lifetime}, /* times are good so far, the lifetime is not judged */
	{REASON_NOT_YET_VALID, mend_not_yet},
	{REASON_EXPIRED, mend_expired},
	{REASON_CUT_OFF, mend_cut_off},
	{REASON_CUT_OFF, mend_own_cut_off},
	{REASON_CUT_OFF, mend_claimed},
	{REASON_NO_LIST, mend_no_list},
	{REASON_REVOKED, mend_revoked},
	{REASON_SUSPENDED, mend_suspended},
	{REASON_PRESENTATION_MISSING, mend_missing},
	{REASON_PRESENTATION_BAD, mend_presenter},
	{REASON_STALE_CHALLENGE, mend_challenge},
	{REASON_NONE, NULL},
};

static const struct rung relayed_in_the_lock[] = {
	{REASON_MALFORMED, mend_length},	  {REASON_UNKNOWN_KEY, mend_stranger},
	{REASON_WRONG_ROLE, mend_role},		  {REASON_BAD_SIGNATURE, mend_signature},
	{REASON_WRONG_LOCK, mend_lock},		  {REASON_CUT_OFF, mend_lifetime},
	{REASON_NOT_YET_VALID, mend_not_yet},	  {REASON_EXPIRED, mend_expired},
	{REASON_CUT_OFF, mend_cut_off},		  {REASON_CUT_OFF, mend_own_cut_off},
	{REASON_CUT_OFF, mend_claimed},		  {REASON_NO_LIST, mend_no_list},
	{REASON_REVOKED, mend_revoked},		  {REASON_SUSPENDED, mend_suspended},
	{REASON_STALE_CHALLENGE, mend_challenge}, {REASON_NONE, NULL},
};

/* Locking is the safe side: no list, no posture; all else as ever. */
static const struct rung locking_at_the_gateway[] = {
	{REASON_MALFORMED, mend_length},
	{REASON_UNKNOWN_KEY, mend_stranger},
	{REASON_WRONG_ROLE, mend_role},
	{REASON_BAD_SIGNATURE, mend_signature},
	{REASON_WRONG_LOCK, mend_lock},
	{REASON_RETAINED, mend_retained},
	{REASON_REPLAYED, mend_replayed},
	{REASON_LIFETIME_TOO_LONG, mend_lifetime},
	{REASON_NOT_YET_VALID, mend_not_yet},
	{REASON_EXPIRED, mend_expired},
	{REASON_CUT_OFF, mend_cut_off},
	{REASON_CUT_OFF, mend_own_cut_off},
	{REASON_CUT_OFF, mend_claimed},
	{REASON_STALE_CHALLENGE, mend_challenge},
	{REASON_BUSY, mend_busy},
	{REASON_NONE, mend_no_list}, /* revoked now, and locks all the same */
	{REASON_NONE, NULL},
};

static void the_order_for_a_relayed_authorization_at_the_gateway(void **state)
{
	struct world w = spoilt_world(sign_relayed(&city), GATE_GATEWAY);

	climb(&w, relayed_at_the_gateway, ARRAY_SIZE(relayed_at_the_gateway), NULL);
}

static void the_order_for_one_at_the_door_that_came_over_mqtt(void **state)
{
	struct world w = spoilt_world(sign_door(&city), GATE_GATEWAY);

	climb(&w, door_at_the_gateway, ARRAY_SIZE(door_at_the_gateway), NULL);
}

static void the_order_in_the_lock_for_one_at_the_door(void **state)
{
	struct world w = spoilt_world(sign_door(&city), GATE_LOCK);

	climb(&w, door_in_the_lock, ARRAY_SIZE(door_in_the_lock), NULL);
}

static void the_order_in_the_lock_for_a_relayed_one(void **state)
{
	struct world w = spoilt_world(sign_relayed(&city), GATE_LOCK);

	climb(&w, relayed_in_the_lock, ARRAY_SIZE(relayed_in_the_lock), NULL);
}

static void the_order_for_locking_needs_neither_list_nor_posture(void **state)
{
	struct world w = spoilt_world(sign_relayed(&city), GATE_GATEWAY);

	w.auth.scope = SCOPE_LOCK;
	climb(&w, locking_at_the_gateway, ARRAY_SIZE(locking_at_the_gateway), NULL);
}

static void unlatch_is_judged_as_unlock(void **state)
{
	struct world w = spoilt_world(sign_relayed(&city), GATE_GATEWAY);

	w.auth.scope = SCOPE_UNLATCH;
	climb(&w, relayed_at_the_gateway, ARRAY_SIZE(relayed_at_the_gateway), NULL);
}

static void every_reason_of_the_decision_is_reached(void **state)
{
	struct world a = spoilt_world(sign_relayed(&city), GATE_GATEWAY);
	struct world b = spoilt_world(sign_door(&city), GATE_LOCK);
	unsigned reached = 0;

	climb(&a, relayed_at_the_gateway, ARRAY_SIZE(relayed_at_the_gateway), &reached);
	climb(&b, door_in_the_lock, ARRAY_SIZE(door_in_the_lock), &reached);
	for (unsigned r = REASON_MALFORMED; r <= REASON_BAD_SIGNATURE; r++)
		assert_true(reached & 1U << r);
	for (unsigned r = REASON_WRONG_LOCK; r <= REASON_BUSY; r++)
		assert_true(reached & 1U << r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_order_for_a_relayed_authorization_at_the_gateway),
		TEST(the_order_for_one_at_the_door_that_came_over_mqtt),
		TEST(the_order_in_the_lock_for_one_at_the_door),
		TEST(the_order_in_the_lock_for_a_relayed_one),
		TEST(the_order_for_locking_needs_neither_list_nor_posture),
		TEST(unlatch_is_judged_as_unlock),
		TEST(every_reason_of_the_decision_is_reached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
