// SPDX-License-Identifier: Apache-2.0
/* People, phones, credentials. See staff.h. */
#include "desk/staff.h"

#include <errno.h>
#include <stdio.h>

#define DRAWS_MAX 1000

const char *status_word(enum status status)
{
	switch (status) {
	case STATUS_VALID:
		return "valid";
	case STATUS_REVOKED:
		return "revoked";
	case STATUS_SUSPENDED:
		return "suspended";
	}
	return "";
}

/* "u-" or "t-" and 8 hex digits. UNIQUE in the table catches what chance does not. */
static void draw_label(char prefix, char ret[static LABEL_CAP])
{
	uint8_t random[4];

	crypto_random(random, sizeof(random));
	ret[0] = prefix;
	ret[1] = '-';
	hex_encode(SPAN(random), ret + 2, LABEL_CAP - 2);
}

/* --- credentials ------------------------------------------------------------------------------ */

/* 1: nobody has it, and nothing that names it can still be alive. */
static int index_is_free(struct db *db, uint64_t idx, uint64_t now)
{
	cleanup(db_end) struct db_query q = db_query(
		db, "SELECT c.until, p.id FROM credential c LEFT JOIN phone p ON p.idx = c.idx"
		    " WHERE c.idx = ?");
	int r;

	db_bind_uint(&q, idx);
	r = db_step(&q);
	if (r < 0)
		return r;
	return r == 0 || (db_is_null(&q, 1) && db_uint(&q, 0) + INDEX_REST_S < now);
}

/* Uniform below n: what lies beyond the last whole multiple is drawn again. */
static uint64_t draw_below(uint64_t n)
{
	const uint64_t limit = UINT64_MAX - UINT64_MAX % n;
	uint64_t value;

	do
		crypto_random(&value, sizeof(value));
	while (value >= limit);
	return value % n;
}

static int credential_draw(struct db *db, uint64_t entries, uint64_t now, uint64_t *ret)
{
	cleanup(db_end) struct db_query q = db_query(
		db,
		"INSERT INTO credential (idx, changed) VALUES (?, ?) ON CONFLICT (idx) DO UPDATE"
		" SET status = 0, until = 0, changed = excluded.changed");
	uint64_t idx = draw_below(entries);
	int r = index_is_free(db, idx, now);

	for (unsigned i = 0; r == 0 && i < DRAWS_MAX; i++) {
		idx = draw_below(entries);
		r = index_is_free(db, idx, now);
	}
	if (r <= 0)
		return r < 0 ? r : -ENOBUFS;
	db_bind_uint(&q, idx);
	db_bind_uint(&q, now);
	r = db_run(&q);
	if (r < 0)
		return r;
	*ret = idx;
	return 0;
}

int credential_set(struct db *db, uint64_t idx, enum status status, uint64_t now)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "INSERT INTO credential (idx, status, changed) VALUES (?, ?, ?)"
			     " ON CONFLICT (idx) DO UPDATE"
			     " SET status = excluded.status, changed = excluded.changed");

	db_bind_uint(&q, idx);
	db_bind_int(&q, status);
	db_bind_uint(&q, now);
	return db_run(&q);
}

int credential_extend(struct db *db, uint64_t idx, uint64_t exp)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "UPDATE credential SET until = max(until, ?) WHERE idx = ?");

	db_bind_uint(&q, exp);
	db_bind_uint(&q, idx);
	return db_run(&q);
}

int credential_each_bad(struct db *db, int (*fn)(uint64_t idx, enum status status, void *user),
			void *user)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT idx, status FROM credential WHERE status <> 0");
	int r;

	while ((r = db_step(&q)) > 0) {
		r = fn(db_uint(&q, 0), (enum status)db_int(&q, 1), user);
		if (r < 0)
			return r;
	}
	return r;
}

/* --- phones ----------------------------------------------------------------------------------- */

#define PHONE_COLUMNS                                                                              \
	"SELECT p.id, p.number, p.label, h.number, h.pseudonym, p.idx, c.status, p.pub, p.pin,"    \
	" p.app, p.platform, p.checked, p.added FROM phone p JOIN person h ON h.id = p.person"     \
	" JOIN credential c ON c.idx = p.idx "

static int phone_from(struct db_query *q, struct phone *ret)
{
	struct span pub = db_blob(q, 7);

	*ret = (struct phone){
		.id = db_int(q, 0),
		.idx = db_uint(q, 5),
		.status = (enum status)db_int(q, 6),
		.has_pub = pub.data,
		.posture = {.has_pin = !db_is_null(q, 8),
			    .pin = db_int(q, 8) != 0,
			    .checked = db_uint(q, 11)},
		.added = db_uint(q, 12),
	};
	if (pub.data && pub.len != PUBLIC_LEN)
		return -EBADMSG;
	if (pub.data)
		memcpy(ret->pub, pub.data, PUBLIC_LEN);
	snprintf(ret->number, sizeof(ret->number), "%s", db_text(q, 1));
	snprintf(ret->label, sizeof(ret->label), "%s", db_text(q, 2));
	snprintf(ret->person_number, sizeof(ret->person_number), "%s", db_text(q, 3));
	snprintf(ret->person, sizeof(ret->person), "%s", db_text(q, 4));
	snprintf(ret->posture.app, sizeof(ret->posture.app), "%s", db_text(q, 9));
	snprintf(ret->posture.platform, sizeof(ret->posture.platform), "%s", db_text(q, 10));
	return 0;
}

static int phone_one(struct db *db, const char *sql, const char *text, struct phone *ret)
{
	cleanup(db_end) struct db_query q = db_query(db, sql);
	int r;

	db_bind_text(&q, text);
	r = db_step(&q);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return phone_from(&q, ret);
}

int phone_find(struct db *db, const char *number, struct phone *ret)
{
	return phone_one(db, PHONE_COLUMNS "WHERE p.number = ?", number, ret);
}

int phone_by_label(struct db *db, const char *label, struct phone *ret)
{
	return phone_one(db, PHONE_COLUMNS "WHERE p.label = ?", label, ret);
}

int phones_of(struct db *db, const char *person_number, struct phone ret[static STAFF_PHONES_MAX])
{
	cleanup(db_end) struct db_query q =
		db_query(db, PHONE_COLUMNS "WHERE h.number = ? ORDER BY p.id");
	int n = 0, r;

	db_bind_text(&q, person_number);
	while ((r = db_step(&q)) > 0 && n < STAFF_PHONES_MAX) {
		r = phone_from(&q, &ret[n++]);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	return n > 0 ? n : -ENOENT;
}

int phone_each(struct db *db, int (*fn)(const struct phone *phone, void *user), void *user)
{
	cleanup(db_end) struct db_query q = db_query(db, PHONE_COLUMNS "ORDER BY h.number, p.id");
	struct phone phone;
	int r;

	while ((r = db_step(&q)) > 0) {
		r = phone_from(&q, &phone);
		if (r == 0)
			r = fn(&phone, user);
		if (r < 0)
			return r;
	}
	return r;
}

static int person_id(struct db *db, const char *number, uint64_t now, int64_t *ret)
{
	cleanup(db_end) struct db_query find =
		db_query(db, "SELECT id FROM person WHERE number = ?");
	cleanup(db_end) struct db_query add =
		db_query(db, "INSERT INTO person (number, pseudonym, added) VALUES (?, ?, ?)");
	char pseudonym[LABEL_CAP];
	int r;

	db_bind_text(&find, number);
	r = db_step(&find);
	if (r > 0)
		*ret = db_int(&find, 0);
	if (r != 0)
		return r < 0 ? r : 0;
	draw_label('u', pseudonym);
	db_bind_text(&add, number);
	db_bind_text(&add, pseudonym);
	db_bind_uint(&add, now);
	r = db_run(&add);
	if (r == 0)
		*ret = db_last_id(db);
	return r;
}

static void bind_posture(struct db_query *q, const struct phone_posture *posture)
{
	if (posture->has_pin)
		db_bind_int(q, posture->pin);
	else
		db_bind_null(q);
	db_bind_text(q, posture->app[0] ? posture->app : NULL);
	db_bind_text(q, posture->platform[0] ? posture->platform : NULL);
	if (posture->checked)
		db_bind_uint(q, posture->checked);
	else
		db_bind_null(q);
}

static int insert_phone(struct db *db, const char *number, int64_t person, uint64_t idx,
			const uint8_t *pub, const struct phone_posture *posture, uint64_t now)
{
	cleanup(db_end) struct db_query q = db_query(
		db, "INSERT INTO phone (number, person, label, idx, pub, added, pin, app, platform,"
		    " checked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
	char label[LABEL_CAP];

	draw_label('t', label);
	db_bind_text(&q, number);
	db_bind_int(&q, person);
	db_bind_text(&q, label);
	db_bind_uint(&q, idx);
	db_bind_blob(&q, pub ? span_of(pub, PUBLIC_LEN) : (struct span){0});
	db_bind_uint(&q, now);
	bind_posture(&q, posture);
	return db_run(&q);
}

int staff_add(struct db *db, const char *person_number, const char *phone_number,
	      const uint8_t *pub, const struct phone_posture *posture, uint64_t now,
	      uint64_t entries, struct phone *ret)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	struct phone others[STAFF_PHONES_MAX];
	int64_t person = 0;
	uint64_t idx = 0;
	int r;

	r = db_begin(db, &tx);
	if (r < 0)
		return r;
	r = phone_find(db, phone_number, ret);
	if (r != -ENOENT)
		return r < 0 ? r : -EEXIST;
	if (phones_of(db, person_number, others) == STAFF_PHONES_MAX)
		return -E2BIG;
	r = person_id(db, person_number, now, &person);
	if (r == 0)
		r = credential_draw(db, entries, now, &idx);
	if (r == 0)
		r = insert_phone(db, phone_number, person, idx, pub, posture, now);
	if (r == 0)
		r = phone_find(db, phone_number, ret);
	return r < 0 ? r : db_commit(&tx);
}

int phone_set_posture(struct db *db, int64_t id, const struct phone_posture *posture)
{
	cleanup(db_end) struct db_query q = db_query(
		db, "UPDATE phone SET pin = ?, app = ?, platform = ?, checked = ? WHERE id = ?");

	bind_posture(&q, posture);
	db_bind_int(&q, id);
	return db_run(&q);
}

int phone_set_key(struct db *db, int64_t id, const uint8_t pub[static PUBLIC_LEN])
{
	cleanup(db_end) struct db_query q = db_query(db, "UPDATE phone SET pub = ? WHERE id = ?");

	db_bind_blob(&q, span_of(pub, PUBLIC_LEN));
	db_bind_int(&q, id);
	return db_run(&q);
}

int phone_remove(struct db *db, const struct phone *phone, uint64_t now)
{
	cleanup(db_end) struct db_query drop = db_query(db, "DELETE FROM phone WHERE id = ?");
	cleanup(db_end) struct db_query leave = db_query(
		db, "DELETE FROM person WHERE number = ?"
		    " AND NOT EXISTS (SELECT 1 FROM phone WHERE phone.person = person.id)");
	cleanup(db_rollbackp) struct db *tx = NULL;
	int r = db_begin(db, &tx);

	if (r == 0)
		r = credential_set(db, phone->idx, STATUS_REVOKED, now);
	db_bind_int(&drop, phone->id);
	if (r == 0)
		r = db_run(&drop);
	db_bind_text(&leave, phone->person_number);
	if (r == 0)
		r = db_run(&leave);
	return r < 0 ? r : db_commit(&tx);
}
