// SPDX-License-Identifier: Apache-2.0
/* Rows of certificates, and the keys of gateways. See certificates.h. */
#include "desk/certificates.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "desk/registry.h"

#define STAYS_LISTED_S 86400 /* behind its expiry: the broker's clock may lag */

void certificate_deinit(struct certificate *certificate)
{
	free(certificate->pem);
	certificate->pem = NULL;
}

/* --- enrolled gateways ------------------------------------------------------------------------ */

int enrolled_find(struct db *db, const char *gateway, struct enrolled *ret)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT key, revoked FROM gateway WHERE id = ?");
	struct span key;
	int r;

	db_bind_text(&q, gateway);
	r = db_step(&q);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	key = db_blob(&q, 0);
	if (key.len != 0 && key.len != SHA256_LEN)
		return db_damaged(db, "gateway %s has a key of %zu bytes", gateway, key.len);
	*ret = (struct enrolled){.has_key = key.len != 0, .revoked = db_uint(&q, 1)};
	if (key.len)
		memcpy(ret->key, key.data, SHA256_LEN);
	return 0;
}

int enrolled_key_use(struct db *db, const char *gateway, const uint8_t key[static SHA256_LEN],
		     char ret_whose[static ID_MAX + 1])
{
	cleanup(db_end) struct db_query now =
		db_query(db, "SELECT id, revoked FROM gateway WHERE key = ?");
	cleanup(db_end) struct db_query before =
		db_query(db, "SELECT 1 FROM certificate WHERE key = ? LIMIT 1");
	int r;

	db_bind_blob(&now, span_of(key, SHA256_LEN));
	r = db_step(&now);
	if (r < 0)
		return r;
	if (r > 0) {
		snprintf(ret_whose, ID_MAX + 1, "%s", db_text(&now, 0));
		return !db_is_null(&now, 1)		    ? KEY_GIVEN_UP
		       : !strcmp(db_text(&now, 0), gateway) ? KEY_OWN
							    : KEY_OTHER;
	}
	db_bind_blob(&before, span_of(key, SHA256_LEN));
	r = db_step(&before);
	return r < 0 ? r : r > 0 ? KEY_GIVEN_UP : KEY_FREE;
}

int enrolled_put(struct db *db, const char *gateway, const uint8_t key[static SHA256_LEN],
		 uint64_t now)
{
	cleanup(db_end) struct db_query put =
		db_query(db, "UPDATE gateway SET key = ?, revoked = NULL WHERE id = ?");
	cleanup(db_end) struct db_query old =
		db_query(db, "UPDATE certificate SET revoked_at = ? WHERE gateway = ?"
			     " AND key <> ? AND revoked_at IS NULL");
	int r;

	db_bind_blob(&put, span_of(key, SHA256_LEN));
	db_bind_text(&put, gateway);
	r = db_run(&put);
	if (r < 0)
		return r;
	db_bind_uint(&old, now);
	db_bind_text(&old, gateway);
	db_bind_blob(&old, span_of(key, SHA256_LEN));
	return db_run(&old);
}

int enrolled_revoke(struct db *db, const char *gateway, uint64_t now)
{
	cleanup(db_end) struct db_query mark =
		db_query(db, "UPDATE gateway SET revoked = ? WHERE id = ? AND revoked IS NULL");
	cleanup(db_end) struct db_query all = db_query(
		db,
		"UPDATE certificate SET revoked_at = ? WHERE gateway = ? AND revoked_at IS NULL");
	bool already;
	int r;

	db_bind_uint(&mark, now);
	db_bind_text(&mark, gateway);
	r = db_run(&mark);
	if (r < 0)
		return r;
	already = db_changes(db) == 0;
	db_bind_uint(&all, now);
	db_bind_text(&all, gateway);
	r = db_run(&all);
	return r < 0 ? r : already;
}

int enrolled_each_revoked(struct db *db, int (*fn)(const char *gateway, void *user), void *user)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT id FROM gateway WHERE revoked IS NOT NULL ORDER BY id");
	int r;

	while ((r = db_step(&q)) > 0) {
		r = fn(db_text(&q, 0), user);
		if (r < 0)
			return r;
	}
	return r;
}

/* --- certificates ----------------------------------------------------------------------------- */

int certificate_add(struct db *db, const char *gateway, const struct x509_facts *facts,
		    const char *pem, uint64_t now)
{
	cleanup(db_end) struct db_query q = db_query(
		db, "INSERT INTO certificate (serial, gateway, key, issued, not_after, pem)"
		    " VALUES (?, ?, ?, ?, ?, ?)");

	db_bind_text(&q, facts->serial);
	db_bind_text(&q, gateway);
	db_bind_blob(&q, SPAN(facts->key));
	db_bind_uint(&q, now);
	db_bind_uint(&q, facts->not_after);
	db_bind_text(&q, pem);
	return db_run(&q);
}

int certificate_newest(struct db *db, const char *gateway, struct certificate *ret)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT serial, issued, not_after, pem FROM certificate JOIN gateway"
			     " ON gateway.id = gateway AND gateway.key = certificate.key"
			     " WHERE gateway = ? AND revoked_at IS NULL"
			     " ORDER BY not_after DESC, issued DESC LIMIT 1");
	int r;

	db_bind_text(&q, gateway);
	r = db_step(&q);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	*ret = (struct certificate){.issued = db_uint(&q, 1), .not_after = db_uint(&q, 2)};
	snprintf(ret->serial, sizeof(ret->serial), "%s", db_text(&q, 0));
	ret->pem = strdup(db_text(&q, 3));
	return ret->pem ? 0 : -ENOMEM;
}

void certificates_free(struct x509_revoked **list)
{
	free(*list);
}

int certificates_revoked(struct db *db, uint64_t now, struct x509_revoked **ret, size_t *ret_n)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT serial, revoked_at FROM certificate WHERE revoked_at NOT NULL"
			     " AND not_after + ? > ? ORDER BY serial");
	cleanup(certificates_free) struct x509_revoked *list = NULL;
	size_t n = 0;
	int r;

	db_bind_int(&q, STAYS_LISTED_S);
	db_bind_uint(&q, now);
	while ((r = db_step(&q)) > 0) {
		struct x509_revoked *more = reallocarray(list, n + 1, sizeof(*list));

		if (!more)
			return -ENOMEM;
		list = more;
		/* also what pads it: the list is hashed as it stands */
		memset(&list[n], 0, sizeof(*list));
		list[n].at = db_uint(&q, 1);
		snprintf(list[n++].serial, X509_SERIAL_CAP, "%s", db_text(&q, 0));
	}
	if (r < 0)
		return r;
	*ret = steal(list);
	*ret_n = n;
	return 0;
}

/* --- taken over from a list ------------------------------------------------------------------- */

static int owner_of(struct db *db, const char *serial, char ret[static ID_MAX + 1])
{
	cleanup(db_end) struct db_query q = db_query(
		db, "SELECT id FROM gateway JOIN certificate ON certificate.key = gateway.key"
		    " AND certificate.gateway = id WHERE serial = ? AND revoked IS NULL");
	int r;

	db_bind_text(&q, serial);
	r = db_step(&q);
	snprintf(ret, ID_MAX + 1, "%s", r > 0 ? db_text(&q, 0) : "");
	return r < 0 ? r : 0;
}

int certificate_note_revoked(struct db *db, const struct x509_revoked *revoked, uint64_t until,
			     char ret_gateway[static ID_MAX + 1])
{
	cleanup(db_end) struct db_query q = db_query(
		db, "INSERT INTO certificate (serial, gateway, issued, not_after, revoked_at, pem)"
		    " VALUES (?1, '', ?2, ?3, ?2, '')"
		    " ON CONFLICT (serial) DO UPDATE SET revoked_at = ?2 WHERE revoked_at IS NULL");
	int r;

	ret_gateway[0] = '\0';
	db_bind_text(&q, revoked->serial);
	db_bind_uint(&q, revoked->at);
	db_bind_uint(&q, until);
	r = db_run(&q);
	if (r < 0 || db_changes(db) == 0)
		return r;
	r = owner_of(db, revoked->serial, ret_gateway);
	if (r == 0 && ret_gateway[0])
		r = enrolled_revoke(db, ret_gateway, revoked->at);
	return r < 0 ? r : 1;
}

/* --- about to end ----------------------------------------------------------------------------- */

static int warn(struct db *db, const char *gateway, uint64_t not_after, uint64_t now)
{
	bool over = not_after <= now;
	char day[16];
	time_t t = (time_t)not_after;
	struct tm tm;

	strftime(day, sizeof(day), "%Y-%m-%d", gmtime_r(&t, &tm));
	return over ? alarm_raise(
			      db, now, "certificate-expired", gateway,
			      "its certificate ended on %s: the broker refuses it; enrol it anew",
			      day)
		    : alarm_raise(
			      db, now, "certificate-expiring", gateway,
			      "its certificate ends on %s and it asked for no other: is it online?",
			      day);
}

int certificates_watch(struct db *db, uint64_t now)
{
	/* issued is that of the row with the maximum; gateways ask with a third of a life left */
	cleanup(db_end) struct db_query q = db_query(
		db, "SELECT gateway, max(not_after) AS until, issued FROM certificate JOIN gateway"
		    " ON gateway.id = gateway AND gateway.key = certificate.key"
		    " WHERE revoked_at IS NULL AND revoked IS NULL"
		    " GROUP BY gateway HAVING until < ? + min(?, (until - issued) / 4)");
	int r;

	db_bind_uint(&q, now);
	db_bind_int(&q, CERTIFICATE_WARN_S);
	while ((r = db_step(&q)) > 0) {
		r = warn(db, db_text(&q, 0), db_uint(&q, 1), now);
		if (r < 0)
			return r;
	}
	return r;
}
