// SPDX-License-Identifier: Apache-2.0
/* What the desk signs, judged by the code that gateways and locks judge it with. */
#include "core/gate.h"
#include "desk-fixture.h"
#include "desk/current.h"
#include "desk/takeover.h"

/* A box enrolled with the first root. */
static struct trust *box(struct desk_fixture *f)
{
	struct trust *trust;
	struct key root;

	must(keyring_public(f->desk.db, ROLE_ROOT, &root));
	must(trust_new(LIST_BYTES_MAX, &trust));
	trust_anchor(trust, &root);
	return trust;
}

static void offer(struct trust *trust, const struct document *d)
{
	struct trust_topic topic = {.any = true};
	struct trust_change change;

	assert_int_equal(trust_offer(trust, document_span(d), &topic, &change), 0);
	assert_true(change.applied);
}

static int offer_current(const struct document *d, void *user)
{
	struct trust_topic topic = {.any = true};
	struct trust_change change;

	assert_int_equal(trust_offer(user, document_span(d), &topic, &change), 0);
	return 0;
}

static unsigned status_in(const struct trust *trust, uint64_t idx)
{
	const struct trust_list *list = trust_find_list(trust, span_str(LIST_URI));

	assert_non_null(list);
	return status_list_get(list->list, idx);
}

static int decide(const struct trust *trust, struct span authorization, enum gate_side side,
		  const uint8_t *challenge, uint64_t now)
{
	struct gate_lock lock = {.id = "lock-1"};
	struct gate_input in = {
		.side = side,
		.authorization = authorization,
		.trust = trust,
		.locks = &lock,
		.nlocks = 1,
		.time = {.now = now, .synchronised = true},
	};
	struct gate_output out;

	if (challenge) {
		lock.has_challenge = true;
		memcpy(lock.challenge, challenge, CHALLENGE_LEN);
	}
	return gate_decide(&in, &out);
}

static void a_box_takes_all_that_the_desk_published(void **state)
{
	struct desk_fixture *f = *state;
	struct trust *trust = box(f);

	must(document_each_current(f->desk.db, offer_current, trust));
	assert_int_equal(trust->nlists, 1);
	assert_int_equal(trust->keyset.n, 4);
	assert_true(trust->policy_held.document != NULL);
	trust_free(trust);
}

static void a_revocation_is_in_the_next_list_which_is_newer_whatever_the_clock(void **state)
{
	struct desk_fixture *f = *state;
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL);
	struct trust *trust = box(f);
	struct document first, second;

	must(document_each_current(f->desk.db, offer_current, trust));
	first = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE);
	must(credential_set(f->desk.db, phone.idx, STATUS_REVOKED, NOW));
	/* the clock went back an hour */
	assert_int_equal(sign_list(&f->desk, NOW - 3600, false, f->error), 1);
	second = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE);
	assert_true(second.iat > first.iat);
	assert_int_equal(second.changed, second.iat);
	offer(trust, &second);
	assert_int_equal(status_in(trust, phone.idx), STATUS_REVOKED);
	must(credential_set(f->desk.db, phone.idx, STATUS_SUSPENDED, NOW));
	assert_int_equal(sign_list(&f->desk, NOW, false, f->error), 1);
	must(document_each_current(f->desk.db, offer_current, trust));
	assert_int_equal(status_in(trust, phone.idx), STATUS_SUSPENDED);
	document_deinit(&first);
	document_deinit(&second);
	trust_free(trust);
}

static void a_list_is_signed_again_at_half_time_and_has_not_changed(void **state)
{
	struct desk_fixture *f = *state;
	struct document first = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE), second;
	uint64_t half = NOW + LIST_LIFETIME_S / 2;

	assert_int_equal(sign_list(&f->desk, half - 1, false, f->error), 0);
	assert_int_equal(sign_list(&f->desk, half, false, f->error), 1);
	second = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE);
	assert_int_equal(second.iat, half);
	assert_int_equal(second.changed, first.changed);
	assert_int_equal(second.exp, half + LIST_LIFETIME_S);
	document_deinit(&first);
	document_deinit(&second);
}

static void keys_and_policy_are_signed_again_after_thirty_days(void **state)
{
	struct desk_fixture *f = *state;
	uint64_t due = NOW + SIGN_KEYS_AFTER_S;

	assert_int_equal(sign_list(&f->desk, due - 1, true, f->error), 1);
	assert_int_equal(sign_due(&f->desk, due - 1, f->error), 0);
	assert_int_equal(sign_due(&f->desk, due, f->error), 2);
	assert_int_equal(sign_due(&f->desk, due, f->error), 0);
}

static void a_root_in_a_safe_does_not_hold_up_a_revocation(void **state)
{
	struct desk_fixture *f = *state;
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL);
	uint64_t due = NOW + SIGN_KEYS_AFTER_S;
	char path[128];

	snprintf(path, sizeof(path), "%s/keys/root.pem", f->dir);
	must(unlink(path));
	must(credential_set(f->desk.db, phone.idx, STATUS_REVOKED, NOW));
	/* list and policy; the keys wait */
	assert_int_equal(sign_due(&f->desk, due, f->error), 2);
	assert_non_null(strstr(f->error, "root.pem"));
}

static void a_relayed_authorization_passes_the_gate_of_a_gateway(void **state)
{
	struct desk_fixture *f = *state;
	const uint8_t challenge[CHALLENGE_LEN] = {1}, stale[CHALLENGE_LEN] = {2};
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL);
	struct authorization_request request = {.phone = &phone,
						.lock = "lock-1",
						.scope = SCOPE_UNLOCK,
						.now = NOW,
						.lifetime = 60,
						.challenge = challenge,
						.gateway = "gw-1"};
	struct trust *trust = box(f);
	struct authorization a;
	struct token t;
	struct span bytes;

	must(document_each_current(f->desk.db, offer_current, trust));
	must(authorization_sign(&f->desk, &request, &a, f->error));
	bytes = span_of(a.bytes, a.len);
	assert_int_equal(decide(trust, bytes, GATE_GATEWAY, challenge, NOW + 1), 0);
	assert_int_equal(decide(trust, bytes, GATE_GATEWAY, stale, NOW + 1),
			 REASON_STALE_CHALLENGE);
	assert_int_equal(decide(trust, bytes, GATE_GATEWAY, challenge, NOW + 61), REASON_EXPIRED);
	must(token_parse(bytes, &t));
	/* a pseudonym, and nothing of the person */
	assert_true(span_is(t.sub, phone.person));
	assert_null(memmem(a.bytes, a.len, NUMBER + 1, strlen(NUMBER) - 1));
	assert_null(memmem(a.bytes, a.len, PERSON, strlen(PERSON)));
	must(credential_set(f->desk.db, phone.idx, STATUS_REVOKED, NOW));
	assert_int_equal(sign_list(&f->desk, NOW, false, f->error), 1);
	must(document_each_current(f->desk.db, offer_current, trust));
	assert_int_equal(decide(trust, bytes, GATE_GATEWAY, challenge, NOW + 1), REASON_REVOKED);
	trust_free(trust);
}

static void no_posture_is_no_pin(void **state)
{
	struct desk_fixture *f = *state;
	const uint8_t challenge[CHALLENGE_LEN] = {1};
	const struct phone_posture unseen = {0}, no_pin = {.has_pin = true, .checked = NOW};
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL);
	struct authorization_request request = {.phone = &phone,
						.lock = "lock-1",
						.scope = SCOPE_UNLOCK,
						.now = NOW,
						.lifetime = 60,
						.challenge = challenge};
	struct trust *trust = box(f);
	struct authorization a;

	must(document_each_current(f->desk.db, offer_current, trust));
	phone.posture = unseen;
	must(authorization_sign(&f->desk, &request, &a, f->error));
	assert_int_equal(decide(trust, span_of(a.bytes, a.len), GATE_GATEWAY, challenge, NOW),
			 REASON_POSTURE_PIN);
	phone.posture = no_pin;
	must(authorization_sign(&f->desk, &request, &a, f->error));
	assert_int_equal(decide(trust, span_of(a.bytes, a.len), GATE_GATEWAY, challenge, NOW),
			 REASON_POSTURE_PIN);
	trust_free(trust);
}

static void one_for_the_door_wants_a_presentation_and_names_nobody(void **state)
{
	struct desk_fixture *f = *state;
	const uint8_t pub[PUBLIC_LEN] = {9};
	struct phone phone = desk_fixture_phone(f, NUMBER, pub);
	struct authorization_request request = {.phone = &phone,
						.lock = "lock-1",
						.scope = SCOPE_UNLOCK,
						.now = NOW,
						.lifetime = 8 * 3600};
	struct trust *trust = box(f);
	struct authorization a;
	struct token t;

	must(document_each_current(f->desk.db, offer_current, trust));
	must(authorization_sign(&f->desk, &request, &a, f->error));
	assert_int_equal(decide(trust, span_of(a.bytes, a.len), GATE_LOCK, NULL, NOW),
			 REASON_PRESENTATION_MISSING);
	must(token_parse(span_of(a.bytes, a.len), &t));
	assert_int_equal(t.has & (CLAIM_SUB | CLAIM_POSTURE), 0);
	assert_memory_equal(t.cnf.pub, pub, PUBLIC_LEN);
	phone.has_pub = false;
	assert_int_equal(authorization_sign(&f->desk, &request, &a, f->error), -ENOKEY);
	trust_free(trust);
}

static void a_dropped_authorize_key_kills_what_it_signed(void **state)
{
	struct desk_fixture *f = *state;
	const uint8_t challenge[CHALLENGE_LEN] = {1};
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL);
	struct authorization_request request = {.phone = &phone,
						.lock = "lock-1",
						.scope = SCOPE_UNLOCK,
						.now = NOW,
						.lifetime = 60,
						.challenge = challenge};
	struct trust *trust = box(f);
	struct authorization a, b;

	must(document_each_current(f->desk.db, offer_current, trust));
	must(authorization_sign(&f->desk, &request, &a, f->error));
	must(sign_rotate(&f->desk, ROLE_AUTHORIZE, NOW, f->error));
	must(keyring_settle(&f->desk, ROLE_AUTHORIZE));
	must(document_each_current(f->desk.db, offer_current, trust));
	assert_int_equal(decide(trust, span_of(a.bytes, a.len), GATE_GATEWAY, challenge, NOW),
			 REASON_UNKNOWN_KEY);
	must(authorization_sign(&f->desk, &request, &b, f->error));
	assert_int_equal(decide(trust, span_of(b.bytes, b.len), GATE_GATEWAY, challenge, NOW), 0);
	trust_free(trust);
}

static void after_a_stolen_revoke_key_the_list_is_signed_anew(void **state)
{
	struct desk_fixture *f = *state;
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL);
	struct trust *trust = box(f);
	struct document before, after;

	must(credential_set(f->desk.db, phone.idx, STATUS_REVOKED, NOW));
	/* the thief jumped a year ahead */
	assert_int_equal(sign_list(&f->desk, NOW + 31536000, true, f->error), 1);
	must(document_each_current(f->desk.db, offer_current, trust));
	before = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE);
	must(sign_rotate(&f->desk, ROLE_REVOKE, NOW, f->error));
	must(keyring_settle(&f->desk, ROLE_REVOKE));
	assert_int_equal(sign_due(&f->desk, NOW, f->error), 1);
	after = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE);
	assert_true(after.iat < before.iat);
	must(document_each_current(f->desk.db, offer_current, trust));
	assert_int_equal(trust_find_list(trust, span_str(LIST_URI))->held.iat, after.iat);
	assert_int_equal(status_in(trust, phone.idx), STATUS_REVOKED);
	document_deinit(&before);
	document_deinit(&after);
	trust_free(trust);
}

static void a_key_that_is_rotated_in_the_second_it_signed_signs_all_the_same(void **state)
{
	struct desk_fixture *f = *state;
	struct document before = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE), after;

	must(sign_rotate(&f->desk, ROLE_REVOKE, before.iat, f->error));
	must(keyring_settle(&f->desk, ROLE_REVOKE));
	/* the same content at the same time: it needs a digest of its own */
	assert_int_equal(sign_due(&f->desk, before.iat, f->error), 1);
	after = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE);
	assert_memory_not_equal(before.digest, after.digest, DIGEST_LEN);
	assert_int_equal(sign_due(&f->desk, before.iat, f->error), 0);
	document_deinit(&before);
	document_deinit(&after);
}

static void a_box_that_slept_is_walked_along_three_roots(void **state)
{
	struct desk_fixture *f = *state;
	struct trust *asleep = box(f);
	struct current current = {0};
	struct key root;

	for (unsigned i = 0; i < 3; i++) {
		must(sign_rotate(&f->desk, ROLE_ROOT, NOW + i, f->error));
		must(keyring_settle(&f->desk, ROLE_ROOT));
	}
	must(keyring_public(f->desk.db, ROLE_ROOT, &root));
	must(document_each_current(f->desk.db, offer_current, asleep));
	assert_memory_equal(trust_root_kid(asleep), root.kid, DIGEST_LEN);
	/* one topic per root, so that the chain stays */
	assert_int_equal(current_load(f->desk.db, &current), 1);
	assert_int_equal(current.n, 4 + 2);
	current_deinit(&current);
	trust_free(asleep);
}

static void a_seventeenth_root_is_refused(void **state)
{
	struct desk_fixture *f = *state;
	int r = 0;
	unsigned n = 1;

	for (; r == 0 && n < 20; n++) {
		r = sign_rotate(&f->desk, ROLE_ROOT, NOW + n, f->error);
		if (r == 0)
			must(keyring_settle(&f->desk, ROLE_ROOT));
	}
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(n, SIGN_CHAIN_MAX + 1);
	assert_non_null(strstr(f->error, "enrol"));
}

static void a_key_is_found_after_a_crash_between_commit_and_rename(void **state)
{
	struct desk_fixture *f = *state;
	struct signer old, fresh;

	must(keyring_load(&f->desk, ROLE_REVOKE, &old, f->error));
	must(sign_rotate(&f->desk, ROLE_REVOKE, NOW, f->error));
	/* no keyring_settle: the power went */
	must(keyring_load(&f->desk, ROLE_REVOKE, &fresh, f->error));
	assert_memory_not_equal(old.kid, fresh.kid, DIGEST_LEN);
	/* the next rotation does not lose it half-way */
	must(sign_rotate(&f->desk, ROLE_REVOKE, NOW, f->error));
	must(keyring_load(&f->desk, ROLE_REVOKE, &old, f->error));
	assert_memory_not_equal(old.kid, fresh.kid, DIGEST_LEN);
}

static void a_rotation_that_is_undone_leaves_the_old_key_at_work(void **state)
{
	struct desk_fixture *f = *state;
	struct signer before, after;

	must(keyring_load(&f->desk, ROLE_POLICY, &before, f->error));
	{
		cleanup(db_rollbackp) struct db *tx = NULL;

		must(db_begin(f->desk.db, &tx));
		must(sign_rotate(&f->desk, ROLE_POLICY, NOW, f->error));
	}
	must(keyring_load(&f->desk, ROLE_POLICY, &after, f->error));
	assert_memory_equal(before.kid, after.kid, DIGEST_LEN);
}

static void a_key_that_others_can_read_is_not_used(void **state)
{
	struct desk_fixture *f = *state;
	struct signer signer;
	struct stat st;
	char path[128];

	snprintf(path, sizeof(path), "%s/keys/revoke.pem", f->dir);
	must(stat(path, &st));
	assert_int_equal(st.st_mode & 0777, 0600);
	must(chmod(path, 0640));
	assert_int_equal(keyring_load(&f->desk, ROLE_REVOKE, &signer, f->error), -EACCES);
	assert_non_null(strstr(f->error, "0600"));
}

static void another_key_in_the_file_is_not_used(void **state)
{
	struct desk_fixture *f = *state;
	char command[256];
	struct signer signer;

	snprintf(command, sizeof(command), "cp %s/keys/policy.pem %s/keys/revoke.pem", f->dir,
		 f->dir);
	must(system(command));
	assert_int_equal(keyring_load(&f->desk, ROLE_REVOKE, &signer, f->error), -EBADMSG);
}

/* --- restored from a backup ------------------------------------------------------------------- */

static void a_restore_un_revokes_nobody(void **state)
{
	struct desk_fixture *f = *state;
	struct phone lost = desk_fixture_phone(f, NUMBER, NULL);
	struct phone away = desk_fixture_phone(f, "+46701111111", NULL);
	struct trust *trust = box(f);
	struct document unknown, signed_;

	desk_fixture_copy(f, "desk.db", "backup.db");
	must(credential_set(f->desk.db, lost.idx, STATUS_REVOKED, NOW));
	must(credential_set(f->desk.db, away.idx, STATUS_SUSPENDED, NOW));
	assert_int_equal(sign_list(&f->desk, NOW + 5000, false, f->error), 1);
	unknown = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE);
	must(document_each_current(f->desk.db, offer_current, trust));

	desk_fixture_copy(f, "backup.db", "desk.db");
	must(phone_find(f->desk.db, NUMBER, &lost));
	assert_int_equal(lost.status, STATUS_VALID);
	assert_int_equal(takeover(&f->desk, document_span(&unknown), NOW), TAKEOVER_DONE);
	assert_int_equal(takeover(&f->desk, document_span(&unknown), NOW), TAKEOVER_KNOWN);
	must(phone_find(f->desk.db, NUMBER, &lost));
	assert_int_equal(lost.status, STATUS_REVOKED);
	must(phone_find(f->desk.db, "+46701111111", &away));
	assert_int_equal(away.status, STATUS_SUSPENDED);
	/* and what it signs next is newer than what the fleet holds */
	assert_int_equal(sign_list(&f->desk, NOW, true, f->error), 1);
	signed_ = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE);
	assert_true(signed_.iat > unknown.iat);
	offer(trust, &signed_);
	assert_int_equal(status_in(trust, lost.idx), STATUS_REVOKED);
	assert_int_equal(status_in(trust, away.idx), STATUS_SUSPENDED);
	document_deinit(&unknown);
	document_deinit(&signed_);
	trust_free(trust);
}

static void what_this_registry_revoked_stays_so_when_an_older_list_is_taken_over(void **state)
{
	struct desk_fixture *f = *state;
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL);
	struct document unknown;

	desk_fixture_copy(f, "desk.db", "backup.db");
	assert_int_equal(sign_list(&f->desk, NOW + 50, true, f->error), 1);
	unknown = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE);
	desk_fixture_copy(f, "backup.db", "desk.db");
	must(credential_set(f->desk.db, phone.idx, STATUS_REVOKED, NOW));
	assert_int_equal(takeover(&f->desk, document_span(&unknown), NOW), TAKEOVER_DONE);
	must(phone_find(f->desk.db, NUMBER, &phone));
	assert_int_equal(phone.status, STATUS_REVOKED);
	document_deinit(&unknown);
}

static void a_desk_from_before_a_rotation_is_locked(void **state)
{
	struct desk_fixture *f = *state;
	struct document keys;
	struct key root;
	char slot[SLOT_CAP], kid[HEX_CAP(DIGEST_LEN)];

	must(keyring_public(f->desk.db, ROLE_ROOT, &root));
	hex_encode(SPAN(root.kid), kid, sizeof(kid));
	snprintf(slot, sizeof(slot), "keys/%s", kid);
	desk_fixture_copy(f, "desk.db", "backup.db");
	must(sign_rotate(&f->desk, ROLE_AUTHORIZE, NOW + 9, f->error));
	must(document_newest(f->desk.db, slot, SPAN(root.kid), &keys));
	desk_fixture_copy(f, "backup.db", "desk.db");
	assert_int_equal(takeover(&f->desk, document_span(&keys), NOW), TAKEOVER_LOCKED);
	document_deinit(&keys);
}

static void what_a_stranger_or_a_dropped_key_signed_is_not_taken_over(void **state)
{
	struct desk_fixture *f = *state;
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL);
	struct document by_dropped;
	uint8_t damaged[8192];

	desk_fixture_copy(f, "desk.db", "backup.db");
	must(credential_set(f->desk.db, phone.idx, STATUS_REVOKED, NOW));
	assert_int_equal(sign_list(&f->desk, NOW, false, f->error), 1);
	by_dropped = desk_fixture_newest(f, LIST_SLOT, ROLE_REVOKE);
	desk_fixture_copy(f, "backup.db", "desk.db");
	assert_true(by_dropped.len < sizeof(damaged));
	memcpy(damaged, by_dropped.bytes, by_dropped.len);
	damaged[by_dropped.len - 1] ^= 1;
	assert_int_equal(takeover(&f->desk, span_of(damaged, by_dropped.len), NOW),
			 TAKEOVER_FOREIGN);
	must(sign_rotate(&f->desk, ROLE_REVOKE, NOW, f->error));
	must(keyring_settle(&f->desk, ROLE_REVOKE));
	assert_int_equal(takeover(&f->desk, document_span(&by_dropped), NOW), TAKEOVER_DROPPED);
	must(phone_find(f->desk.db, NUMBER, &phone));
	assert_int_equal(phone.status, STATUS_VALID);
	assert_int_equal(takeover(&f->desk, span_str("rubbish"), NOW), TAKEOVER_FOREIGN);
	document_deinit(&by_dropped);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, desk_fixture_setup, desk_fixture_teardown)
	const struct CMUnitTest tests[] = {
		test(a_box_takes_all_that_the_desk_published),
		test(a_revocation_is_in_the_next_list_which_is_newer_whatever_the_clock),
		test(a_list_is_signed_again_at_half_time_and_has_not_changed),
		test(keys_and_policy_are_signed_again_after_thirty_days),
		test(a_root_in_a_safe_does_not_hold_up_a_revocation),
		test(a_relayed_authorization_passes_the_gate_of_a_gateway),
		test(no_posture_is_no_pin),
		test(one_for_the_door_wants_a_presentation_and_names_nobody),
		test(a_dropped_authorize_key_kills_what_it_signed),
		test(after_a_stolen_revoke_key_the_list_is_signed_anew),
		test(a_key_that_is_rotated_in_the_second_it_signed_signs_all_the_same),
		test(a_box_that_slept_is_walked_along_three_roots),
		test(a_seventeenth_root_is_refused),
		test(a_key_is_found_after_a_crash_between_commit_and_rename),
		test(a_rotation_that_is_undone_leaves_the_old_key_at_work),
		test(a_key_that_others_can_read_is_not_used),
		test(another_key_in_the_file_is_not_used),
		test(a_restore_un_revokes_nobody),
		test(what_this_registry_revoked_stays_so_when_an_older_list_is_taken_over),
		test(a_desk_from_before_a_rotation_is_locked),
		test(what_a_stranger_or_a_dropped_key_signed_is_not_taken_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
