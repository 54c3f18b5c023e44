// SPDX-License-Identifier: Apache-2.0
/* The open lock's bytes, and what a lock lacks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "driver/open.h"
#include "sign.h"

struct both {
	struct city city;
	struct open open;
	struct open_answer answer;
	struct trust *trust;
	struct open_holds holds;
};

static int set_up(void **state)
{
	struct both *b = calloc(1, sizeof(*b));
	struct key root;

	sign_must(b);
	b->city = city_new();
	root = sign_key(&b->city.root, ROLE_ROOT);
	open_init(&b->open, SIGN_LOCK, b->city.lock.pub);
	sign_must(trust_new(LIST_BYTES_MAX, &b->trust) == 0);
	trust_anchor(b->trust, &root);
	b->holds = (struct open_holds){.has_owner = true, .max = LIST_BYTES_MAX};
	memcpy(b->holds.owner, b->city.root.kid, DIGEST_LEN);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct both *b = *state;

	trust_free(b->trust);
	free(b);
	sign_forget();
	return 0;
}

/* --- answers ------------------------------------------------------------------------------------ */

static struct span receipt(const char *iss, const struct signer *by)
{
	static const uint8_t cti[CTI_LEN] = {1};
	struct result r = {.outcome = OUTCOME_DONE, .bolt = BOLT_LOCKED, .has_n = true, .n = 5};

	return sign_receipt(iss, SIGN_NOW, SPAN(cti), &r, by);
}

/* In frames of `max`; the last verdict. */
static enum open_said say(struct both *b, struct span document, size_t max)
{
	enum open_said said = OPEN_MORE;
	uint8_t frame[FRAME_MAX];
	struct frame_cutter c;
	size_t n;

	frame_cut(&c, document);
	while ((n = frame_next(&c, max, frame)) > 0) {
		assert_int_equal(said, OPEN_MORE);
		said = open_take(&b->open, span_of(frame, n), &b->answer);
	}
	return said;
}

static void a_receipt_comes_through_in_frames_of_any_size(void **state)
{
	struct both *b = *state;

	for (size_t max = 8; max <= FRAME_MAX; max += 7) {
		assert_int_equal(say(b, receipt(SIGN_LOCK, &b->city.lock), max), OPEN_RECEIPT);
		assert_int_equal(b->answer.result.outcome, OUTCOME_DONE);
		assert_int_equal(b->answer.result.n, 5);
	}
}

static void what_is_no_receipt_of_this_lock_is_rubbish(void **state)
{
	struct both *b = *state;
	struct policy policy;

	policy_default(&policy);
	assert_int_equal(say(b, receipt("lock-2", &b->city.lock), 100), OPEN_RUBBISH);
	assert_int_equal(say(b, receipt(SIGN_LOCK, &b->city.stranger), 100), OPEN_RUBBISH);
	assert_int_equal(say(b, sign_spoil(receipt(SIGN_LOCK, &b->city.lock)), 100), OPEN_RUBBISH);
	assert_int_equal(say(b, sign_policy(&policy, SIGN_NOW, &b->city.lock), 100), OPEN_RUBBISH);
	assert_int_equal(say(b, span_str("no document at all"), 100), OPEN_RUBBISH);
	assert_int_equal(open_take(&b->open, span_of("", 0), &b->answer), OPEN_RUBBISH);
	assert_non_null(b->answer.why);
	assert_int_equal(say(b, receipt(SIGN_LOCK, &b->city.lock), 100), OPEN_RECEIPT);
}

static void an_answer_longer_than_any_receipt_is_rubbish(void **state)
{
	struct both *b = *state;
	uint8_t frame[] = {0x80, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3};

	assert_int_equal(open_take(&b->open, SPAN(frame), &b->answer), OPEN_RUBBISH);
}

static void a_missing_frame_is_rubbish_and_the_next_answer_is_heard(void **state)
{
	struct both *b = *state;
	struct span document = receipt(SIGN_LOCK, &b->city.lock);
	uint8_t frame[FRAME_MAX];
	struct frame_cutter c;
	size_t n;

	frame_cut(&c, document);
	n = frame_next(&c, 60, frame);
	assert_int_equal(open_take(&b->open, span_of(frame, n), &b->answer), OPEN_MORE);
	(void)frame_next(&c, 60, frame);
	n = frame_next(&c, 60, frame);
	assert_int_equal(open_take(&b->open, span_of(frame, n), &b->answer), OPEN_RUBBISH);
	assert_int_equal(say(b, document, 60), OPEN_RECEIPT);
}

static void a_short_answer_between_frames_is_heard(void **state)
{
	static const uint8_t code[] = {0xff, FRAME_TRY_LATER};
	struct both *b = *state;

	assert_int_equal(open_take(&b->open, SPAN(code), &b->answer), OPEN_SHORT);
	assert_int_equal(b->answer.code, FRAME_TRY_LATER);
	assert_int_equal(open_short_reason(FRAME_GO_ON), REASON_NONE);
	assert_int_equal(open_short_reason(FRAME_TRY_LATER), REASON_TRY_LATER);
	assert_int_equal(open_short_reason(200), REASON_LOCK_ERROR);
	for (unsigned i = 1; i < FRAME_CODES_; i++)
		assert_int_not_equal(open_short_reason(i), REASON_NONE);
}

static void frames_fit_the_link_and_the_last_is_known(void **state)
{
	struct both *b = *state;
	struct span document = receipt(SIGN_LOCK, &b->city.lock);
	uint8_t frame[FRAME_MAX], buf[TOKEN_SMALL_MAX];
	struct frame_joiner j;
	unsigned code;
	bool last = false;
	size_t n;

	frame_joiner_init(&j, buf, sizeof(buf));
	open_begin(&b->open, 20);
	assert_int_equal(open_next(&b->open, frame, &last), 0); /* nothing to send yet */
	open_send(&b->open, document);
	while ((n = open_next(&b->open, frame, &last)) > 0) {
		assert_in_range(n, 1, 20);
		assert_int_equal(frame_take(&j, span_of(frame, n), &code),
				 last ? FRAME_COMPLETE : FRAME_MORE);
	}
	assert_true(span_equal(span_of(buf, j.len), document));
}

static void info_must_be_of_this_lock(void **state)
{
	struct both *b = *state;
	struct info info = {.profile = 1, .max = INFO_BYTES_MIN, .owned = true}, read;
	uint8_t bytes[INFO_MAX];
	int n;

	strcpy(info.id, SIGN_LOCK);
	memcpy(info.key, b->city.lock.pub, PUBLIC_LEN);
	n = info_encode(&info, bytes, sizeof(bytes));
	assert_int_equal(open_info(&b->open, span_of(bytes, (size_t)n), &read), 0);
	assert_int_equal(open_info(&b->open, span_of(bytes, (size_t)n - 1), &read),
			 REASON_MALFORMED);
	info.key[0] ^= 1;
	n = info_encode(&info, bytes, sizeof(bytes));
	assert_int_equal(open_info(&b->open, span_of(bytes, (size_t)n), &read), REASON_WRONG_LOCK);
	info.key[0] ^= 1;
	strcpy(info.id, "lock-2");
	n = info_encode(&info, bytes, sizeof(bytes));
	assert_int_equal(open_info(&b->open, span_of(bytes, (size_t)n), &read), REASON_WRONG_LOCK);
}

static void a_presentation_is_what_the_lock_expects(void **state)
{
	static const uint8_t cti[CTI_LEN] = {9}, nonce[CHALLENGE_LEN] = {7};
	struct both *b = *state;
	uint8_t bytes[TOKEN_SMALL_MAX];
	struct token t;
	int n = open_present(&b->city.reader, SIGN_LOCK, nonce, SPAN(cti), bytes, sizeof(bytes));

	assert_true(n > 0);
	assert_int_equal(token_parse(span_of(bytes, (size_t)n), &t), 0);
	assert_int_equal(t.kind, TOKEN_PRESENTATION);
	assert_true(span_is(t.aud, SIGN_LOCK));
	assert_true(span_equal(t.cnonce, SPAN(nonce)));
	assert_int_equal(cose_verify(&t.cose, b->city.reader.pub), 0);
}

/* --- what a lock lacks -------------------------------------------------------------------------- */

static void offer(struct both *b, struct span document)
{
	struct trust_topic any = {.any = true};
	struct trust_change change;

	assert_int_equal(trust_offer(b->trust, document, &any, &change), 0);
}

static void offer_all(struct both *b)
{
	struct policy policy;

	policy_default(&policy);
	offer(b, sign_city_keys(&b->city, &b->city.root, SIGN_NOW, &b->city.root));
	offer(b, sign_policy(&policy, SIGN_NOW, &b->city.policy));
	offer(b, sign_list(&(struct sign_list){.iat = SIGN_NOW}, &b->city.revoke));
}

/* The lock takes what it is given. */
static void give(struct both *b, const struct open_push *push)
{
	struct applied *at = NULL;
	struct token t;
	struct span name;

	assert_int_equal(token_parse(push->document, &t), 0);
	name = t.kind == TOKEN_LIST ? list_name(t.sub) : span_str(token_kind_word(t.kind));
	for (size_t i = 0; i < b->holds.napplied; i++) {
		if (span_is(name, b->holds.applied[i].name))
			at = &b->holds.applied[i];
	}
	if (!at)
		at = &b->holds.applied[b->holds.napplied++];
	memset(at, 0, sizeof(*at));
	memcpy(at->name, name.data, name.len);
	at->iat = t.iat;
	memcpy(at->digest, t.digest, DIGEST_LEN);
}

static void expect(struct both *b, enum token_kind kind)
{
	struct open_push push;

	assert_int_equal(open_lacks(b->trust, &b->holds, false, &push), OPEN_PUSH);
	assert_int_equal(push.kind, kind);
	give(b, &push);
}

static void a_new_lock_gets_keys_then_policy_then_lists(void **state)
{
	struct both *b = *state;
	struct open_push push;

	assert_int_equal(open_lacks(b->trust, &b->holds, true, &push), OPEN_NOTHING);
	assert_false(open_current(b->trust, &b->holds)); /* without keys nobody is */
	offer_all(b);
	assert_false(open_current(b->trust, &b->holds));
	expect(b, TOKEN_KEYS);
	expect(b, TOKEN_POLICY);
	expect(b, TOKEN_LIST);
	assert_int_equal(open_lacks(b->trust, &b->holds, true, &push), OPEN_NOTHING);
	assert_true(open_current(b->trust, &b->holds));
}

static void only_signed_again_is_current_and_rides_along(void **state)
{
	struct both *b = *state;
	struct open_push push;

	a_new_lock_gets_keys_then_policy_then_lists(state);
	offer(b, sign_list(&(struct sign_list){.iat = SIGN_NOW + 9, .changed = SIGN_NOW},
			   &b->city.revoke));
	assert_true(open_current(b->trust, &b->holds));
	assert_int_equal(open_lacks(b->trust, &b->holds, false, &push), OPEN_NOTHING);
	assert_int_equal(open_lacks(b->trust, &b->holds, true, &push), OPEN_PUSH);
	offer(b, sign_list(&(struct sign_list){.iat = SIGN_NOW + 20, .changed = SIGN_NOW + 20},
			   &b->city.revoke));
	assert_false(open_current(b->trust, &b->holds));
	expect(b, TOKEN_LIST);
}

static void a_lock_ahead_of_the_gateway_is_asked_once(void **state)
{
	struct both *b = *state;
	struct open_push push;

	a_new_lock_gets_keys_then_policy_then_lists(state);
	for (size_t i = 0; i < b->holds.napplied; i++) {
		b->holds.applied[i].iat += 50;
		b->holds.applied[i].digest[0] ^= 1;
	}
	assert_false(open_current(b->trust, &b->holds));
	while (open_lacks(b->trust, &b->holds, true, &push) == OPEN_PUSH) {
		assert_in_range(push.kind, TOKEN_POLICY, TOKEN_LIST);
		assert_in_range(b->holds.nrefused, 0, 1);
		memcpy(b->holds.refused[b->holds.nrefused++], push.digest, DIGEST_LEN);
	}
	assert_int_equal(b->holds.nrefused, 2); /* a policy and a list, each "older" to the lock */
}

static void a_root_that_handed_over_long_ago_does_not_stop_the_chain(void **state)
{
	struct both *b = *state;
	struct signer second = sign_signer(33);
	struct open_push push;

	offer_all(b);
	offer(b, sign_city_keys(&b->city, &second, SIGN_NOW + 1, &b->city.root));
	offer(b, sign_city_keys(&b->city, &second, SIGN_NOW - 500, &second));
	expect(b, TOKEN_KEYS);
	memcpy(b->holds.owner, second.kid, DIGEST_LEN);
	expect(b, TOKEN_KEYS); /* lower iat, but by the next root */
	assert_int_equal(b->holds.applied[0].iat, SIGN_NOW - 500);
	expect(b, TOKEN_POLICY);
	expect(b, TOKEN_LIST);
	assert_int_equal(open_lacks(b->trust, &b->holds, true, &push), OPEN_NOTHING);
}

static void the_owner_must_be_known_and_ours(void **state)
{
	struct both *b = *state;
	struct open_push push;

	offer_all(b);
	b->holds.has_owner = false;
	assert_int_equal(open_lacks(b->trust, &b->holds, false, &push), OPEN_ASK_INFO);
	b->holds.has_owner = true;
	memcpy(b->holds.owner, b->city.stranger.kid, DIGEST_LEN);
	assert_int_equal(open_lacks(b->trust, &b->holds, false, &push), OPEN_FOREIGN_OWNER);
}

static void the_chain_is_walked_root_by_root(void **state)
{
	struct both *b = *state;
	struct signer second = sign_signer(31), third = sign_signer(32);
	struct open_push push;

	a_new_lock_gets_keys_then_policy_then_lists(state);
	offer(b, sign_city_keys(&b->city, &second, SIGN_NOW + 1, &b->city.root));
	offer(b, sign_city_keys(&b->city, &third, SIGN_NOW + 2, &second));
	expect(b, TOKEN_KEYS);
	/* The lock obeys the second root now; until info says so there is nothing to bring. */
	assert_int_equal(open_lacks(b->trust, &b->holds, false, &push), OPEN_NOTHING);
	memcpy(b->holds.owner, second.kid, DIGEST_LEN);
	expect(b, TOKEN_KEYS);
	memcpy(b->holds.owner, third.kid, DIGEST_LEN);
	assert_int_equal(open_lacks(b->trust, &b->holds, false, &push), OPEN_NOTHING);
	assert_true(open_current(b->trust, &b->holds));
}

static void what_a_dying_key_signed_goes_before_the_keys_that_bury_it(void **state)
{
	struct both *b = *state;
	struct city next = b->city;

	a_new_lock_gets_keys_then_policy_then_lists(state);
	offer(b, sign_list(&(struct sign_list){.iat = SIGN_NOW + 5}, &b->city.revoke));
	next.revoke = sign_signer(41);
	offer(b, sign_city_keys(&next, &b->city.root, SIGN_NOW + 6, &b->city.root));
	expect(b, TOKEN_LIST);
	expect(b, TOKEN_KEYS);
	assert_true(open_current(b->trust, &b->holds));
}

static void what_was_refused_or_does_not_fit_is_not_pressed(void **state)
{
	struct both *b = *state;
	struct open_push push;

	a_new_lock_gets_keys_then_policy_then_lists(state);
	offer(b, sign_list(&(struct sign_list){.iat = SIGN_NOW + 5}, &b->city.revoke));
	assert_int_equal(open_lacks(b->trust, &b->holds, false, &push), OPEN_PUSH);
	memcpy(b->holds.refused[b->holds.nrefused++], push.digest, DIGEST_LEN);
	assert_int_equal(open_lacks(b->trust, &b->holds, true, &push), OPEN_NOTHING);
	b->holds.nrefused = 0;
	b->holds.max = 16;
	assert_int_equal(open_lacks(b->trust, &b->holds, true, &push), OPEN_NOTHING);
	assert_false(open_current(b->trust, &b->holds));
}

int main(void)
{
#define one(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		one(a_receipt_comes_through_in_frames_of_any_size),
		one(what_is_no_receipt_of_this_lock_is_rubbish),
		one(an_answer_longer_than_any_receipt_is_rubbish),
		one(a_missing_frame_is_rubbish_and_the_next_answer_is_heard),
		one(a_short_answer_between_frames_is_heard),
		one(frames_fit_the_link_and_the_last_is_known),
		one(info_must_be_of_this_lock),
		one(a_presentation_is_what_the_lock_expects),
		one(a_new_lock_gets_keys_then_policy_then_lists),
		one(only_signed_again_is_current_and_rides_along),
		one(a_lock_ahead_of_the_gateway_is_asked_once),
		one(a_root_that_handed_over_long_ago_does_not_stop_the_chain),
		one(the_owner_must_be_known_and_ours),
		one(the_chain_is_walked_root_by_root),
		one(what_a_dying_key_signed_goes_before_the_keys_that_bury_it),
		one(what_was_refused_or_does_not_fit_is_not_pressed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
