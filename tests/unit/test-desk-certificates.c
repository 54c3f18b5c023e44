// SPDX-License-Identifier: Apache-2.0
/* The registry of gateways' keys and certificates, and the authority that issues them. */
#include "desk-fixture.h"

#include "desk/authority.h"

#define DAY 86400ULL

static const uint8_t key_1[SHA256_LEN] = {1}, key_2[SHA256_LEN] = {2};

static void add(struct desk_fixture *f, const char *gateway, const char *serial, const uint8_t *key,
		uint64_t not_after)
{
	struct x509_facts facts = {.not_after = not_after};

	snprintf(facts.serial, sizeof(facts.serial), "%s", serial);
	memcpy(facts.key, key, SHA256_LEN);
	must(certificate_add(f->desk.db, gateway, &facts, serial, NOW));
}

static char *newest(struct desk_fixture *f, const char *gateway)
{
	static char serial[X509_SERIAL_CAP];
	struct certificate c = {0};

	if (certificate_newest(f->desk.db, gateway, &c) == -ENOENT)
		return NULL;
	assert_string_equal(c.pem, c.serial);
	snprintf(serial, sizeof(serial), "%s", c.serial);
	certificate_deinit(&c);
	return serial;
}

static void assert_revoked(struct desk_fixture *f, uint64_t now, const char *serials)
{
	struct x509_revoked *list = NULL;
	char all[256] = "";
	size_t n = 0;

	must(certificates_revoked(f->desk.db, now, &list, &n));
	for (size_t i = 0; i < n; i++) {
		strcat(all, list[i].serial);
		strcat(all, " ");
	}
	free(list);
	assert_string_equal(all, serials);
}

static unsigned alarms(struct desk_fixture *f, const char *kind)
{
	cleanup(db_end) struct db_query q =
		db_query(f->desk.db, "SELECT count(*) FROM alarm WHERE kind = ?");

	db_bind_text(&q, kind);
	assert_int_equal(db_step(&q), 1);
	return (unsigned)db_int(&q, 0);
}

static void a_key_is_free_own_anothers_or_given_up(void **state)
{
	struct desk_fixture *f = *state;
	struct db *db = f->desk.db;
	struct enrolled e;
	char whose[ID_MAX + 1];

	must(gateway_add(db, "gw-2", NOW));
	assert_int_equal(enrolled_key_use(db, "gw-1", key_1, whose), KEY_FREE);
	assert_int_equal(enrolled_find(db, "gw-9", &e), -ENOENT);
	must(enrolled_find(db, "gw-1", &e));
	assert_false(e.has_key);
	must(enrolled_put(db, "gw-1", key_1, NOW));
	add(f, "gw-1", "a1", key_1, NOW + 90 * DAY);
	must(enrolled_find(db, "gw-1", &e));
	assert_true(e.has_key);
	assert_memory_equal(e.key, key_1, SHA256_LEN);
	assert_int_equal(enrolled_key_use(db, "gw-1", key_1, whose), KEY_OWN);
	assert_int_equal(enrolled_key_use(db, "gw-2", key_1, whose), KEY_OTHER);
	assert_string_equal(whose, "gw-1");
	/* replaced */
	must(enrolled_put(db, "gw-1", key_2, NOW + 1));
	assert_int_equal(enrolled_key_use(db, "gw-1", key_1, whose), KEY_GIVEN_UP);
	assert_int_equal(enrolled_key_use(db, "gw-2", key_1, whose), KEY_GIVEN_UP);
	assert_int_equal(enrolled_key_use(db, "gw-1", key_2, whose), KEY_OWN);
	/* revoked: its present key is as dead as the one before */
	assert_int_equal(enrolled_revoke(db, "gw-1", NOW + 2), 0);
	assert_int_equal(enrolled_key_use(db, "gw-1", key_2, whose), KEY_GIVEN_UP);
	assert_int_equal(enrolled_revoke(db, "gw-1", NOW + 3), 1);
	must(enrolled_find(db, "gw-1", &e));
	assert_int_equal(e.revoked, NOW + 2);
}

static void the_newest_is_of_the_present_key_and_not_revoked(void **state)
{
	struct desk_fixture *f = *state;

	assert_null(newest(f, "gw-1"));
	must(enrolled_put(f->desk.db, "gw-1", key_1, NOW));
	assert_null(newest(f, "gw-1"));
	add(f, "gw-1", "a1", key_1, NOW + 90 * DAY);
	add(f, "gw-1", "a2", key_1, NOW + 80 * DAY);
	assert_string_equal(newest(f, "gw-1"), "a1");
	must(enrolled_put(f->desk.db, "gw-1", key_2, NOW));
	assert_null(newest(f, "gw-1"));
	add(f, "gw-1", "b1", key_2, NOW + 10 * DAY);
	assert_string_equal(newest(f, "gw-1"), "b1");
	assert_int_equal(enrolled_revoke(f->desk.db, "gw-1", NOW), 0);
	assert_null(newest(f, "gw-1"));
}

static void replaced_and_revoked_are_listed_until_a_day_after_they_expired(void **state)
{
	struct desk_fixture *f = *state;

	must(enrolled_put(f->desk.db, "gw-1", key_1, NOW));
	add(f, "gw-1", "a1", key_1, NOW + 90 * DAY);
	assert_revoked(f, NOW, "");
	/* the same key again revokes nothing */
	must(enrolled_put(f->desk.db, "gw-1", key_1, NOW));
	assert_revoked(f, NOW, "");
	must(enrolled_put(f->desk.db, "gw-1", key_2, NOW));
	add(f, "gw-1", "b1", key_2, NOW + 30 * DAY);
	assert_revoked(f, NOW, "a1 ");
	assert_int_equal(enrolled_revoke(f->desk.db, "gw-1", NOW), 0);
	assert_revoked(f, NOW, "a1 b1 ");
	assert_revoked(f, NOW + 31 * DAY - 1, "a1 b1 ");
	assert_revoked(f, NOW + 31 * DAY, "a1 ");
	assert_revoked(f, NOW + 91 * DAY, "");
}

static void a_list_revokes_what_the_registry_forgot(void **state)
{
	struct desk_fixture *f = *state;
	struct x509_revoked own = {.serial = "a1", .at = NOW - 7},
			    unknown = {.serial = "ff", .at = NOW - 8};
	char gateway[ID_MAX + 1] = "x";
	struct enrolled e;

	must(enrolled_put(f->desk.db, "gw-1", key_1, NOW));
	add(f, "gw-1", "a1", key_1, NOW + 90 * DAY);
	assert_int_equal(certificate_note_revoked(f->desk.db, &unknown, NOW + DAY, gateway), 1);
	assert_string_equal(gateway, "");
	assert_int_equal(certificate_note_revoked(f->desk.db, &unknown, NOW + DAY, gateway), 0);
	assert_int_equal(certificate_note_revoked(f->desk.db, &own, NOW + DAY, gateway), 1);
	assert_string_equal(gateway, "gw-1");
	assert_int_equal(certificate_note_revoked(f->desk.db, &own, NOW + DAY, gateway), 0);
	assert_string_equal(gateway, "");
	must(enrolled_find(f->desk.db, "gw-1", &e));
	assert_int_equal(e.revoked, NOW - 7);
	assert_revoked(f, NOW, "a1 ff ");
}

/* One that was replaced before the backup names no gateway that is alive. */
static void a_list_does_not_revoke_a_gateway_for_its_old_key(void **state)
{
	struct desk_fixture *f = *state;
	struct x509_revoked old = {.serial = "a1", .at = NOW};
	char gateway[ID_MAX + 1];
	struct enrolled e;

	must(enrolled_put(f->desk.db, "gw-1", key_1, NOW));
	add(f, "gw-1", "a1", key_1, NOW + 90 * DAY);
	must(enrolled_put(f->desk.db, "gw-1", key_2, NOW));
	assert_int_equal(certificate_note_revoked(f->desk.db, &old, NOW, gateway), 0);
	must(enrolled_find(f->desk.db, "gw-1", &e));
	assert_int_equal(e.revoked, 0);
}

static void warnings_come_two_weeks_before_or_in_the_last_quarter(void **state)
{
	struct desk_fixture *f = *state;

	must(enrolled_put(f->desk.db, "gw-1", key_1, NOW));
	add(f, "gw-1", "a1", key_1, NOW + 90 * DAY);
	must(certificates_watch(f->desk.db, NOW + 76 * DAY));
	assert_int_equal(alarms(f, "certificate-expiring"), 0);
	must(certificates_watch(f->desk.db, NOW + 76 * DAY + 1));
	must(certificates_watch(f->desk.db, NOW + 80 * DAY));
	assert_int_equal(alarms(f, "certificate-expiring"), 1);
	/* renewed: another one, which warns for itself */
	add(f, "gw-1", "a2", key_1, NOW + 170 * DAY);
	must(certificates_watch(f->desk.db, NOW + 91 * DAY));
	assert_int_equal(alarms(f, "certificate-expired"), 0);
	must(certificates_watch(f->desk.db, NOW + 170 * DAY));
	assert_int_equal(alarms(f, "certificate-expiring"), 1);
	assert_int_equal(alarms(f, "certificate-expired"), 1);
	/* a short life */
	must(gateway_add(f->desk.db, "gw-2", NOW));
	must(enrolled_put(f->desk.db, "gw-2", key_2, NOW));
	add(f, "gw-2", "b1", key_2, NOW + 8 * DAY);
	must(certificates_watch(f->desk.db, NOW + 6 * DAY));
	assert_int_equal(alarms(f, "certificate-expiring"), 1);
	must(certificates_watch(f->desk.db, NOW + 6 * DAY + 1));
	assert_int_equal(alarms(f, "certificate-expiring"), 2);
}

/* --- the authority ---------------------------------------------------------------------------- */

static void the_authority_is_made_once(void **state)
{
	struct desk_fixture *f = *state;
	cleanup(authority_deinit) struct authority first = {0}, again = {0};
	char error[AUTHORITY_ERROR_CAP] = "";

	must(authority_load(&f->desk, NOW, &first, error));
	must(authority_load(&f->desk, NOW + 1, &again, error));
	assert_string_equal(first.certificate, again.certificate);
	assert_string_equal(first.key, again.key);
	assert_true(first.not_after > NOW + 3650 * DAY);
}

/* The files are written before the registry says so: after a crash there, they are it. */
static void an_authority_whose_registry_was_not_committed_is_taken(void **state)
{
	struct desk_fixture *f = *state;
	cleanup(authority_deinit) struct authority first = {0}, again = {0};
	char error[AUTHORITY_ERROR_CAP] = "";
	struct db *tx = NULL;

	must(db_begin(f->desk.db, &tx));
	must(authority_load(&f->desk, NOW, &first, error));
	db_rollbackp(&tx);
	must(authority_load(&f->desk, NOW + 1, &again, error));
	assert_string_equal(first.certificate, again.certificate);
}

static void an_authority_issues_until_it_ends_itself(void **state)
{
	struct desk_fixture *f = *state;
	cleanup(authority_deinit) struct authority authority = {0};
	cleanup(certificate_deinit) struct certificate c = {0};
	cleanup(x509_wipe) char *key = NULL;
	cleanup(x509_wipe) char *request = NULL;
	char error[AUTHORITY_ERROR_CAP] = "";
	struct x509_facts facts;

	must(authority_load(&f->desk, NOW, &authority, error));
	must(x509_key_create(&key));
	must(x509_request_create(span_str(key), "gw-1", &request));
	must(authority_issue(&f->desk, &authority, "gw-1", span_str(request),
			     authority.not_after - DAY, &c));
	assert_int_equal(c.not_after, authority.not_after);
	must(x509_certificate_read(span_str(c.pem), &facts));
	assert_int_equal(facts.not_before, authority.not_after - DAY - CERTIFICATE_BACKDATE_S);
	must(x509_issued_by(span_str(c.pem), span_str(authority.certificate)));
	certificate_deinit(&c);
	assert_int_equal(authority_issue(&f->desk, &authority, "gw-1", span_str(request),
					 authority.not_after, &c),
			 -EKEYEXPIRED);
}

static void an_authority_warns_of_its_end_and_of_damage(void **state)
{
	struct desk_fixture *f = *state;
	cleanup(authority_deinit) struct authority authority = {0};
	char error[AUTHORITY_ERROR_CAP] = "", path[128];

	/* none was ever needed: none is missed */
	assert_int_equal(authority_watch(&f->desk, NOW), 0);
	assert_int_equal(access(f->dir, F_OK), 0);
	must(authority_load(&f->desk, NOW, &authority, error));
	assert_int_equal(authority_watch(&f->desk, NOW), 0);
	assert_int_equal(authority_watch(&f->desk, authority.not_after - AUTHORITY_WARN_S), 1);
	assert_int_equal(authority_watch(&f->desk, authority.not_after - AUTHORITY_WARN_S + 1), 0);
	assert_int_equal(alarms(f, "authority-expiring"), 1);
	snprintf(path, sizeof(path), "%s/keys/ca.key", f->dir);
	must(unlink(path));
	assert_int_equal(authority_watch(&f->desk, NOW), 1);
	assert_int_equal(alarms(f, "authority-damaged"), 1);
}

#define desk_test(name)                                                                            \
	cmocka_unit_test_setup_teardown(name, desk_fixture_setup, desk_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		desk_test(a_key_is_free_own_anothers_or_given_up),
		desk_test(the_newest_is_of_the_present_key_and_not_revoked),
		desk_test(replaced_and_revoked_are_listed_until_a_day_after_they_expired),
		desk_test(a_list_revokes_what_the_registry_forgot),
		desk_test(a_list_does_not_revoke_a_gateway_for_its_old_key),
		desk_test(warnings_come_two_weeks_before_or_in_the_last_quarter),
		desk_test(the_authority_is_made_once),
		desk_test(an_authority_whose_registry_was_not_committed_is_taken),
		desk_test(an_authority_issues_until_it_ends_itself),
		desk_test(an_authority_warns_of_its_end_and_of_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
