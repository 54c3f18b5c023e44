// SPDX-License-Identifier: Apache-2.0
/* The edges of each check of the decision; their order is test-gate-order.c. */
#include "unit/gate-fixture.h"

#include <errno.h>

static void assert_decision(struct world *w, int want)
{
	int r = world_decide(w);

	if (r != want)
		fail_msg("'%s' instead of '%s'", reason_word(r), reason_word(want));
}

/* --- time -------------------------------------------------------------------------------------- */

static void exp_is_the_first_second_that_is_too_late(void **state)
{
	struct world w = world_new(sign_relayed(&city));

	w.time.now = w.auth.exp - 1;
	assert_decision(&w, 0);
	w.time.now = w.auth.exp;
	assert_decision(&w, REASON_EXPIRED);
	/* reckoned time judges exp too */
	w.time.synchronised = false;
	assert_decision(&w, REASON_EXPIRED);
	w.time.now = w.auth.exp - 1;
	assert_decision(&w, 0);
}

static void nbf_has_120_seconds_of_leeway_and_needs_a_synchronised_clock(void **state)
{
	struct world w = world_new(sign_relayed(&city));

	w.auth.exp = NOW + 60;
	w.auth.nbf = NOW + 60;
	w.time.now = NOW - 60;
	assert_decision(&w, 0);
	w.time.now = NOW - 61;
	assert_decision(&w, REASON_NOT_YET_VALID);
	w.time.synchronised = false;
	assert_decision(&w, 0);
	w.time.now = 0;
	assert_decision(&w, 0);
}

/* It would stretch the lifetime, and outlive every cut_off until then. */
static void an_iat_in_the_future_is_not_yet_valid(void **state)
{
	struct world w = world_new(sign_relayed(&city));

	w.auth.nbf = NOW;
	w.auth.iat = NOW + 365 * 86400;
	w.auth.exp = w.auth.iat + 30;
	assert_decision(&w, REASON_NOT_YET_VALID);
	w.auth.iat = NOW + CLOCK_NBF_LEEWAY;
	w.auth.exp = w.auth.iat + 30;
	assert_decision(&w, 0);
}

static void the_longest_lifetime_is_the_policys_for_each_way(void **state)
{
	struct world relayed = world_new(sign_relayed(&city)), door = world_new(sign_door(&city));

	relayed.policy.max_relay = 45;
	relayed.auth.exp = relayed.auth.iat + 45;
	assert_decision(&relayed, 0);
	relayed.auth.exp++;
	assert_decision(&relayed, REASON_LIFETIME_TOO_LONG);

	door.auth.exp = door.auth.iat + door.policy.max_lifetime;
	assert_decision(&door, REASON_PRESENTATION_MISSING);
	door.auth.exp++;
	assert_decision(&door, REASON_LIFETIME_TOO_LONG);
	door.side = GATE_LOCK;
	door.shown = true;
	assert_decision(&door, 0);
}

static void without_a_policy_the_default_holds(void **state)
{
	struct key root = sign_key(&city.root, ROLE_ROOT);
	cleanup(trust_freep) struct trust *trust = NULL;
	struct sign_auth a = sign_relayed(&city);
	struct gate_lock lock = {.id = SIGN_LOCK};
	struct gate_input in = {.locks = &lock, .nlocks = 1, .time = {NOW, true, CLOCK_FINE}};
	struct gate_output out;

	assert_int_equal(trust_new(LIST_BYTES_MAX, &trust), 0);
	in.trust = trust;
	in.authorization = sign_auth(&a, &city.authorize);
	/* nobody's, then no keys, then no list */
	assert_reason(gate_decide(&in, &out), REASON_UNKNOWN_KEY);
	assert_false(out.verified);
	trust_anchor(trust, &root);
	assert_reason(gate_decide(&in, &out), REASON_UNKNOWN_KEY);
	world_offer(trust, sign_city_keys(&city, &city.root, NOW, &city.root));
	assert_reason(gate_decide(&in, &out), REASON_NO_LIST);
	assert_true(out.verified);
	a.scope = SCOPE_LOCK;
	in.authorization = sign_auth(&a, &city.authorize);
	assert_reason(gate_decide(&in, &out), 0);
	/* the root itself authorizes nothing */
	in.authorization = sign_auth(&a, &city.root);
	assert_reason(gate_decide(&in, &out), REASON_WRONG_ROLE);
	world_offer(trust, sign_list(&(struct sign_list){.iat = NOW}, &city.revoke));
	a.scope = SCOPE_UNLOCK;
	in.authorization = sign_auth(&a, &city.authorize);
	assert_reason(gate_decide(&in, &out), 0);
	a.has_posture = false;
	in.authorization = sign_auth(&a, &city.authorize);
	assert_reason(gate_decide(&in, &out), REASON_POSTURE_PIN);
}

/* --- the document ------------------------------------------------------------------------------ */

static void a_document_of_another_kind_is_the_wrong_role(void **state)
{
	struct world w = world_new(sign_relayed(&city));
	cleanup(trust_freep) struct trust *trust = world_trust(&w);
	struct key authorize = sign_key(&city.authorize, ROLE_ROOT);
	struct gate_output out;
	uint8_t cti[CTI_LEN] = {0}, challenge[CHALLENGE_LEN] = {0};
	struct gate_input in = {.trust = trust, .locks = &w.lock, .nlocks = 1, .time = w.time};
	const struct {
		struct span document;
		int want;
	} cases[] = {
		{sign_presentation(SIGN_LOCK, cti, challenge, &city.authorize), REASON_WRONG_ROLE},
		{sign_release(SIGN_LOCK, NOW, &city.authorize), REASON_WRONG_ROLE},
		{sign_keys(&authorize, 1, NOW, &city.authorize), REASON_WRONG_ROLE},
		{sign_policy(&w.policy, NOW, &city.policy), REASON_WRONG_ROLE},
		{sign_release(SIGN_LOCK, NOW, &city.stranger), REASON_UNKNOWN_KEY},
		{sign_spoil(sign_release(SIGN_LOCK, NOW, &city.authorize)), REASON_WRONG_ROLE},
		{{0}, REASON_MALFORMED},
		{span_str("rubbish"), REASON_MALFORMED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		in.authorization = cases[i].document;
		assert_reason(gate_decide(&in, &out), cases[i].want);
		assert_false(out.verified);
	}
}

static void one_kibibyte_exactly_is_judged(void **state)
{
	static char text[TOKEN_SMALL_MAX];
	struct world w = world_new(sign_relayed(&city));
	size_t rest;

	memset(text, 'x', sizeof(text));
	w.auth.posture.platform = span_of(text, 256);
	rest = TOKEN_SMALL_MAX - sign_auth(&w.auth, &city.authorize).len;
	w.auth.posture.platform.len += rest;
	assert_int_equal(sign_auth(&w.auth, &city.authorize).len, TOKEN_SMALL_MAX);
	assert_decision(&w, 0);
}

static void over_one_kibibyte_is_malformed_whatever_it_is(void **state)
{
	struct world w = world_new(sign_relayed(&city));
	cleanup(trust_freep) struct trust *trust = world_trust(&w);
	struct gate_input in = {.trust = trust, .locks = &w.lock, .nlocks = 1, .time = w.time};
	struct gate_output out;
	static struct status_list noise;

	assert_int_equal(status_list_init(&noise, 8, 2000), 0);
	for (size_t i = 0; i < 2000; i++)
		noise.bytes[i] = (uint8_t)(i * i * 31 + i / 7);
	in.authorization = sign_list_of(&noise, &(struct sign_list){.iat = NOW}, &city.authorize);
	assert_true(in.authorization.len > TOKEN_SMALL_MAX);
	assert_reason(gate_decide(&in, &out), REASON_MALFORMED);
}

static void an_algorithm_other_than_the_keys_is_a_bad_signature(void **state)
{
	struct world w = world_new(sign_relayed(&city));
	cleanup(trust_freep) struct trust *trust = world_trust(&w);
	struct gate_input in = {.trust = trust, .locks = &w.lock, .nlocks = 1, .time = w.time};
	struct gate_output out;
	struct token t;

	assert_int_equal(token_parse(sign_auth(&w.auth, &city.authorize), &t), 0);
	in.authorization = sign_cose(-7, NULL, token_typ(TOKEN_AUTHORIZATION), true, t.cose.payload,
				     &city.authorize);
	assert_reason(gate_decide(&in, &out), REASON_BAD_SIGNATURE);
	in.authorization = sign_cose(COSE_EDDSA, NULL, token_typ(TOKEN_AUTHORIZATION), true,
				     t.cose.payload, &city.authorize);
	assert_reason(gate_decide(&in, &out), 0);
}

static void a_kid_that_is_no_longer_named_authorizes_nothing_more(void **state)
{
	struct world w = world_new(sign_relayed(&city));
	cleanup(trust_freep) struct trust *trust = world_trust(&w);
	struct gate_input in = {.trust = trust, .locks = &w.lock, .nlocks = 1, .time = w.time};
	struct key next[] = {sign_key(&city.root, ROLE_ROOT), sign_key(&city.revoke, ROLE_REVOKE)};
	struct gate_output out;

	in.authorization = sign_auth(&w.auth, &city.authorize);
	assert_reason(gate_decide(&in, &out), 0);
	world_offer(trust, sign_keys(next, ARRAY_SIZE(next), NOW, &city.root));
	assert_reason(gate_decide(&in, &out), REASON_UNKNOWN_KEY);
}

static void what_was_read_is_given_with_the_refusal(void **state)
{
	struct world w = world_new(sign_relayed(&city));

	w.status.status = STATUS_REVOKED;
	assert_decision(&w, REASON_REVOKED);
	assert_true(w.out.verified);
	assert_ptr_equal(w.out.lock, &w.lock);
	assert_true(span_equal(w.out.token.cti, SPAN(w.auth.cti)));
	assert_int_equal(w.out.token.scope, SCOPE_UNLOCK);
	w.spoilt = true;
	assert_decision(&w, REASON_BAD_SIGNATURE);
	assert_false(w.out.verified);
	assert_null(w.out.lock);
	w.spoilt = false;
	w.auth.aud = "lock-2";
	w.lock.has_challenge = false;
	w.status.status = STATUS_VALID;
	assert_decision(&w, 0); /* the neighbour, which needs no challenge here */
	assert_null(w.out.lock);
}

/* --- status ------------------------------------------------------------------------------------ */

static void whatever_is_not_0_refuses(void **state)
{
	static const struct {
		unsigned bits, status;
		uint64_t idx;
		int want;
	} cases[] = {
		{1, 0, 7, 0},
		{1, 1, 7, REASON_REVOKED},
		{2, 2, 7, REASON_SUSPENDED},
		{2, 3, 7, REASON_REVOKED},
		{4, 15, 7, REASON_REVOKED},
		{8, 255, 7, REASON_REVOKED},
		{8, 2, 7, REASON_SUSPENDED},
		{2, 1, 8, 0}, /* 7 is revoked, the neighbour is asked for */
		{2, 1, 6, 0},
		{2, 0, 1023, 0},
		{2, 0, 1024, REASON_REVOKED}, /* outside */
		{2, 0, UINT64_MAX, REASON_REVOKED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world w = world_new(sign_relayed(&city));

		w.list.bits = cases[i].bits;
		w.status.status = cases[i].status;
		w.auth.idx = cases[i].idx;
		assert_decision(&w, cases[i].want);
	}
}

static void only_the_list_with_exactly_that_uri_is_asked(void **state)
{
	static const char *const others[] = {
		"https://city.example/list/staff/", "https://city.example/list/staf",
		"https://city.example/list/Staff",  "http://city.example/list/staff",
		"https://else.example/list/staff",  "staff",
	};

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		struct world w = world_new(sign_relayed(&city));

		w.auth.uri = others[i];
		assert_decision(&w, REASON_NO_LIST);
	}
}

static void an_expired_list_is_no_closed_door(void **state)
{
	struct world w = world_new(sign_relayed(&city));

	w.list.iat = NOW - 30 * 86400;
	w.list.exp = NOW - 29 * 86400;
	assert_decision(&w, 0);
	w.status.status = STATUS_REVOKED;
	assert_decision(&w, REASON_REVOKED);
}

/* --- posture ----------------------------------------------------------------------------------- */

static void each_member_of_a_posture_counts_only_where_the_policy_asks(void **state)
{
	struct world w = world_new(sign_relayed(&city));

	w.auth.posture.has_pin = false;
	assert_decision(&w, REASON_POSTURE_PIN);
	w.policy.require_pin = false;
	assert_decision(&w, 0);
	w.auth.posture.app = (struct span){0};
	assert_decision(&w, 0);
	strcpy(w.policy.apps[w.policy.napps++], "se.city.app");
	assert_decision(&w, REASON_POSTURE_APP);
	w.auth.posture.app = span_str("se.city.app");
	assert_decision(&w, 0);
	w.auth.posture.has_checked = false;
	assert_decision(&w, REASON_POSTURE_STALE);
}

static void no_posture_counts_as_no_pin_and_stale(void **state)
{
	struct world w = world_new(sign_relayed(&city));

	w.auth.has_posture = false;
	assert_decision(&w, REASON_POSTURE_PIN);
	w.policy.require_pin = false;
	assert_decision(&w, REASON_POSTURE_STALE);
}

static void a_posture_may_be_as_old_as_the_policy_says(void **state)
{
	struct world w = world_new(sign_relayed(&city));

	w.auth.posture.checked = NOW - 86400;
	assert_decision(&w, 0);
	w.auth.posture.checked--;
	assert_decision(&w, REASON_POSTURE_STALE);
	/* a clock that lags behind the check is no reason */
	w.auth.posture.checked = NOW + 1000;
	assert_decision(&w, 0);
}

/* --- challenge and presentation ---------------------------------------------------------------- */

static void a_challenge_that_the_gateway_does_not_know_is_left_to_the_lock(void **state)
{
	struct world w = world_new(sign_relayed(&city));

	memset(w.auth.cnonce, 1, CHALLENGE_LEN);
	assert_decision(&w, REASON_STALE_CHALLENGE);
	w.lock.has_challenge = false;
	assert_decision(&w, 0);
}

static void a_good_presentation_opens_at_the_door(void **state)
{
	struct world w = world_at_the_door();

	assert_decision(&w, 0);
	assert_ptr_equal(w.out.lock, &w.lock);
	w.shown = false;
	assert_decision(&w, REASON_PRESENTATION_MISSING);
}

static void a_presentation_about_anything_else_is_bad(void **state)
{
	struct world w = world_at_the_door();
	struct sign_auth other = sign_door(&city);
	struct span good = sign_presentation(SIGN_LOCK, w.auth.cti, w.lock.nonce, &city.phone);
	struct token t;

	w.shown_aud = "lock-2";
	assert_decision(&w, REASON_PRESENTATION_BAD);
	w = world_at_the_door();
	w.shown_cti[0] ^= 1;
	assert_decision(&w, REASON_PRESENTATION_BAD);
	w = world_at_the_door();
	w.shown_by = &city.authorize;
	assert_decision(&w, REASON_PRESENTATION_BAD);
	w = world_at_the_door();
	w.shown_bytes = span_str("rubbish");
	assert_decision(&w, REASON_PRESENTATION_BAD);
	w.shown_bytes = span_of(good.data, 0);
	assert_decision(&w, REASON_PRESENTATION_BAD);
	w.shown_bytes = sign_spoil(good);
	assert_decision(&w, REASON_PRESENTATION_BAD);
	/* the phone's key under another's kid, and the other way round */
	assert_int_equal(token_parse(good, &t), 0);
	w.shown_bytes = sign_cose(COSE_ED25519, city.stranger.kid, token_typ(TOKEN_PRESENTATION),
				  true, t.cose.payload, &city.phone);
	assert_decision(&w, REASON_PRESENTATION_BAD);
	w.shown_bytes = sign_cose(COSE_ED25519, city.phone.kid, token_typ(TOKEN_PRESENTATION), true,
				  t.cose.payload, &city.stranger);
	assert_decision(&w, REASON_PRESENTATION_BAD);
	w.shown_bytes = sign_cose(-7, NULL, token_typ(TOKEN_PRESENTATION), true, t.cose.payload,
				  &city.phone);
	assert_decision(&w, REASON_PRESENTATION_BAD);
	/* signed by the phone, but another kind of document */
	w.shown_bytes = sign_auth(&other, &city.phone);
	assert_decision(&w, REASON_PRESENTATION_BAD);
	w.shown_bytes = good;
	assert_decision(&w, 0);
}

static void a_presentation_of_another_connection_is_stale(void **state)
{
	struct world w = world_at_the_door();

	w.shown_nonce[7] ^= 1;
	assert_decision(&w, REASON_STALE_CHALLENGE);
	memcpy(w.shown_nonce, w.lock.challenge, CHALLENGE_LEN); /* which stands longer */
	assert_decision(&w, REASON_STALE_CHALLENGE);
	w.lock.has_challenge = false;
	assert_decision(&w, REASON_STALE_CHALLENGE);
}

static void a_presentation_beside_a_relayed_one_changes_nothing(void **state)
{
	struct world w = world_new(sign_relayed(&city));

	w.side = GATE_LOCK;
	w.shown_bytes = span_str("rubbish");
	assert_decision(&w, 0);
	memset(w.auth.cnonce, 1, CHALLENGE_LEN);
	assert_decision(&w, REASON_STALE_CHALLENGE);
}

/* --- readers ----------------------------------------------------------------------------------- */

static void read_opens_nothing(void **state)
{
	struct world w = world_new(sign_reader(&city));

	w.shown_by = &city.reader;
	assert_decision(&w, REASON_WRONG_ROLE);
	w.side = GATE_LOCK;
	w.shown = true;
	assert_decision(&w, REASON_WRONG_ROLE);
}

static void a_reader_is_let_read_with_its_own_key(void **state)
{
	struct world w = world_new(sign_reader(&city));

	w.reader = true;
	w.listed = false; /* no status, no list */
	assert_decision(&w, 0);
	w.side = GATE_LOCK;
	assert_decision(&w, REASON_PRESENTATION_MISSING);
	w.shown = true;
	assert_decision(&w, REASON_PRESENTATION_BAD);
	w.shown_by = &city.reader;
	assert_decision(&w, 0);
	w.shown_nonce[0] ^= 1;
	assert_decision(&w, REASON_STALE_CHALLENGE);
	w.shown = false;
	w.side = GATE_GATEWAY;
	memcpy(w.auth.phone, city.phone.pub, PUBLIC_LEN);
	assert_decision(&w, REASON_PRESENTATION_BAD);
}

static void a_reader_is_judged_as_any_other_until_then(void **state)
{
	struct world w = world_new(sign_reader(&city));

	w.reader = true;
	w.auth.exp++;
	assert_decision(&w, REASON_LIFETIME_TOO_LONG);
	w.side = GATE_LOCK;
	assert_decision(&w, REASON_LIFETIME_TOO_LONG);
	w = world_new(sign_reader(&city));
	w.reader = true;
	w.auth.aud = "lock-9";
	assert_decision(&w, REASON_WRONG_LOCK);
	w.auth.aud = SIGN_LOCK;
	w.time.now = w.auth.exp;
	assert_decision(&w, REASON_EXPIRED);
	w.time.now = w.auth.nbf - CLOCK_NBF_LEEWAY - 1;
	assert_decision(&w, REASON_NOT_YET_VALID);
	w.time.now = NOW;
	strcpy(w.policy.cut_offs[0].lock, "*");
	w.policy.cut_offs[0].time = w.auth.iat + 1;
	w.policy.ncut_offs = 1;
	assert_decision(&w, REASON_CUT_OFF);
	w.policy.ncut_offs = 0;
	w.lock.claimed = w.auth.iat + 1;
	assert_decision(&w, REASON_CUT_OFF);
	w.lock.claimed = 0;
	w.by = &city.policy;
	assert_decision(&w, REASON_WRONG_ROLE);
	w = world_new(sign_door(&city));
	w.reader = true;
	assert_decision(&w, REASON_WRONG_ROLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(exp_is_the_first_second_that_is_too_late),
		TEST(nbf_has_120_seconds_of_leeway_and_needs_a_synchronised_clock),
		TEST(an_iat_in_the_future_is_not_yet_valid),
		TEST(the_longest_lifetime_is_the_policys_for_each_way),
		TEST(without_a_policy_the_default_holds),
		TEST(a_document_of_another_kind_is_the_wrong_role),
		TEST(one_kibibyte_exactly_is_judged),
		TEST(over_one_kibibyte_is_malformed_whatever_it_is),
		TEST(an_algorithm_other_than_the_keys_is_a_bad_signature),
		TEST(a_kid_that_is_no_longer_named_authorizes_nothing_more),
		TEST(what_was_read_is_given_with_the_refusal),
		TEST(whatever_is_not_0_refuses),
		TEST(only_the_list_with_exactly_that_uri_is_asked),
		TEST(an_expired_list_is_no_closed_door),
		TEST(each_member_of_a_posture_counts_only_where_the_policy_asks),
		TEST(no_posture_counts_as_no_pin_and_stale),
		TEST(a_posture_may_be_as_old_as_the_policy_says),
		TEST(a_challenge_that_the_gateway_does_not_know_is_left_to_the_lock),
		TEST(a_good_presentation_opens_at_the_door),
		TEST(a_presentation_about_anything_else_is_bad),
		TEST(a_presentation_of_another_connection_is_stale),
		TEST(a_presentation_beside_a_relayed_one_changes_nothing),
		TEST(read_opens_nothing),
		TEST(a_reader_is_let_read_with_its_own_key),
		TEST(a_reader_is_judged_as_any_other_until_then),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
