// SPDX-License-Identifier: Apache-2.0
/* The desk's registry: people, phones, credentials, fleet, settings, log. */
#include "desk-fixture.h"

static void phone_is_found_by_number_label_and_person(void **state)
{
	struct desk_fixture *f = *state;
	const uint8_t pub[PUBLIC_LEN] = {1, 2, 3};
	struct phone phone = desk_fixture_phone(f, NUMBER, pub), found, all[STAFF_PHONES_MAX];

	must(phone_find(f->desk.db, NUMBER, &found));
	assert_string_equal(found.label, phone.label);
	assert_string_equal(found.person_number, PERSON);
	assert_true(found.has_pub);
	assert_memory_equal(found.pub, pub, sizeof(pub));
	assert_true(found.idx < 256);
	assert_int_equal(found.status, STATUS_VALID);
	must(phone_by_label(f->desk.db, phone.label, &found));
	assert_string_equal(found.number, NUMBER);
	assert_int_equal(phones_of(f->desk.db, PERSON, all), 1);
	assert_int_equal(phones_of(f->desk.db, "191212121212", all), -ENOENT);
	assert_int_equal(phone_find(f->desk.db, "+46700000000", &found), -ENOENT);
}

static void a_number_is_enrolled_once_and_leaves_nothing_when_refused(void **state)
{
	struct desk_fixture *f = *state;
	const struct phone_posture posture = {0};
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL), again, none[STAFF_PHONES_MAX];

	assert_int_equal(
		staff_add(f->desk.db, "191212121212", NUMBER, NULL, &posture, NOW, 256, &again),
		-EEXIST);
	assert_int_equal(phones_of(f->desk.db, "191212121212", none), -ENOENT);
	must(phone_find(f->desk.db, NUMBER, &again));
	assert_string_equal(again.label, phone.label);
}

static void every_phone_has_an_index_of_its_own_until_none_is_free(void **state)
{
	struct desk_fixture *f = *state;
	const struct phone_posture posture = {0};
	bool seen[256] = {0};
	struct phone phone;
	char number[PHONE_CAP], person[PERSON_LEN + 1];
	unsigned distinct = 0, in_order = 0;
	uint64_t last = 0;
	int r = 0;

	for (unsigned i = 0; r == 0; i++) {
		assert_true(i <= 64);
		snprintf(number, sizeof(number), "+467000%05u", i);
		snprintf(person, sizeof(person), "1900%08u", i / 10 % 100000000);
		r = staff_add(f->desk.db, person, number, NULL, &posture, NOW, 64, &phone);
		if (r < 0)
			break;
		assert_true(phone.idx < 64);
		assert_false(seen[phone.idx]);
		seen[phone.idx] = true;
		distinct++;
		in_order += phone.idx == last + 1;
		last = phone.idx;
	}
	assert_int_equal(r, -ENOBUFS);
	/* a thousand draws find the last free ones of 64 all but surely */
	assert_true(distinct >= 60);
	/* drawn, not counted */
	assert_true(in_order < 20);
}

static void an_index_rests_until_all_that_named_it_has_expired(void **state)
{
	struct desk_fixture *f = *state;
	const struct phone_posture posture = {0};
	struct phone phone, next;
	uint64_t later = NOW + 3600 + INDEX_REST_S;

	/* a list of one entry: every draw is that index */
	must(staff_add(f->desk.db, PERSON, NUMBER, NULL, &posture, NOW, 1, &phone));
	must(credential_extend(f->desk.db, phone.idx, NOW + 3600));
	must(phone_remove(f->desk.db, &phone, NOW));
	assert_int_equal(staff_add(f->desk.db, PERSON, NUMBER, NULL, &posture, later, 1, &next),
			 -ENOBUFS);
	must(staff_add(f->desk.db, PERSON, NUMBER, NULL, &posture, later + 1, 1, &next));
	assert_int_equal(next.idx, phone.idx);
	assert_int_equal(next.status, STATUS_VALID);
}

static int count_bad(uint64_t idx, enum status status, void *user)
{
	((unsigned *)user)[status]++;
	return 0;
}

static void a_removed_phone_stays_revoked_and_its_person_is_forgotten(void **state)
{
	struct desk_fixture *f = *state;
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL), found;
	struct phone other = desk_fixture_phone(f, "+46701111111", NULL), all[STAFF_PHONES_MAX];
	unsigned bad[3] = {0};

	must(phone_remove(f->desk.db, &phone, NOW));
	assert_int_equal(phone_find(f->desk.db, NUMBER, &found), -ENOENT);
	must(credential_each_bad(f->desk.db, count_bad, bad));
	assert_int_equal(bad[STATUS_REVOKED], 1);
	assert_int_equal(phones_of(f->desk.db, PERSON, all), 1);
	must(phone_remove(f->desk.db, &other, NOW));
	assert_int_equal(phones_of(f->desk.db, PERSON, all), -ENOENT);
}

static void posture_is_kept_as_seen(void **state)
{
	struct desk_fixture *f = *state;
	struct phone phone = desk_fixture_phone(f, NUMBER, NULL), found;
	const struct phone_posture posture = {
		.has_pin = true, .pin = false, .app = "se.example", .checked = NOW + 5};

	must(phone_set_posture(f->desk.db, phone.id, &posture));
	must(phone_find(f->desk.db, NUMBER, &found));
	assert_true(found.posture.has_pin);
	assert_false(found.posture.pin);
	assert_string_equal(found.posture.app, "se.example");
	assert_string_equal(found.posture.platform, "");
	assert_int_equal(found.posture.checked, NOW + 5);
}

static void a_lock_needs_a_gateway_that_is_known(void **state)
{
	struct desk_fixture *f = *state;
	struct lock_row row = {.id = "lock-2", .gateways = {"gw-1", "gw-9"}, .ngateways = 2}, found;

	assert_int_equal(lock_add(f->desk.db, &row, NOW), -ENOENT);
	assert_int_equal(lock_find(f->desk.db, "lock-2", &found), -ENOENT);
	must(gateway_add(f->desk.db, "gw-9", NOW));
	must(lock_add(f->desk.db, &row, NOW));
	must(lock_find(f->desk.db, "lock-2", &found));
	assert_int_equal(found.ngateways, 2);
	assert_string_equal(found.gateways[0], "gw-1");
	assert_string_equal(found.gateways[1], "gw-9");
	assert_int_equal(lock_add(f->desk.db, &row, NOW), -EEXIST);
	assert_int_equal(gateway_add(f->desk.db, "gw-9", NOW), -EEXIST);
}

static void the_log_can_only_grow(void **state)
{
	struct desk_fixture *f = *state;

	must(desk_log(&f->desk, (struct act){.time = NOW, .act = "revoke", .phone = "t-1"}));
	assert_true(db_exec(f->desk.db, "UPDATE log SET operator = 'nobody'") < 0);
	assert_non_null(strstr(db_error(f->desk.db), "append-only"));
	assert_true(db_exec(f->desk.db, "DELETE FROM log") < 0);
	must(desk_log(&f->desk, (struct act){.time = NOW, .act = "restore"}));
}

static void an_alarm_is_raised_once(void **state)
{
	struct desk_fixture *f = *state;

	assert_int_equal(alarm_raise(f->desk.db, NOW, "test", "gw-1", "event %d", 7), 1);
	assert_int_equal(alarm_raise(f->desk.db, NOW + 9, "test", "gw-1", "event %d", 7), 0);
	assert_int_equal(alarm_raise(f->desk.db, NOW, "test", "gw-1", "event %d", 8), 1);
}

static void a_registry_that_vanished_is_no_fresh_start(void **state)
{
	struct desk_fixture *f = *state;
	char error[256] = "", path[128];
	struct db *other = NULL;

	assert_int_equal(registry_create(f->dir, error, sizeof(error), &other), -EEXIST);
	snprintf(path, sizeof(path), "%s/desk.db", f->dir);
	must(unlink(path));
	assert_int_equal(registry_open(f->dir, error, sizeof(error), &other), -ENOENT);
	assert_non_null(strstr(error, "init"));
	assert_null(other);
}

int main(void)
{
#define test(name) cmocka_unit_test_setup_teardown(name, desk_fixture_setup, desk_fixture_teardown)
	const struct CMUnitTest tests[] = {
		test(phone_is_found_by_number_label_and_person),
		test(a_number_is_enrolled_once_and_leaves_nothing_when_refused),
		test(every_phone_has_an_index_of_its_own_until_none_is_free),
		test(an_index_rests_until_all_that_named_it_has_expired),
		test(a_removed_phone_stays_revoked_and_its_person_is_forgotten),
		test(posture_is_kept_as_seen),
		test(a_lock_needs_a_gateway_that_is_known),
		test(the_log_can_only_grow),
		test(an_alarm_is_raised_once),
		test(a_registry_that_vanished_is_no_fresh_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
