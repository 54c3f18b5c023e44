/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * People, their phones, and the credential of each phone: an index of the revocation list, drawn at
 * random, one per phone, and used again only when every authorization that named it has expired for
 * a week (clocks in locks lag).
 *
 * number: person ids and phone numbers in the form of person.h; they stay in these tables. label
 * and pseudonym are what logs and messages may show.
 */
#include "core/crypto.h"
#include "core/revocation.h"
#include "desk/person.h"
#include "link/db.h"

#define LABEL_CAP	 16
#define STAFF_TEXT_MAX	 64
#define STAFF_PHONES_MAX 16 /* of one person */
#define INDEX_REST_S	 (7 * 86400)

/* enum status: core/revocation.h */

struct phone_posture {
	bool has_pin, pin;
	char app[STAFF_TEXT_MAX + 1], platform[STAFF_TEXT_MAX + 1]; /* "": not known */
	uint64_t checked;					    /* 0: never */
};

struct phone {
	int64_t id;
	char number[PHONE_CAP];
	char label[LABEL_CAP];
	char person_number[PERSON_LEN + 1];
	char person[LABEL_CAP]; /* pseudonym */
	uint64_t idx;
	enum status status;
	bool has_pub;
	uint8_t pub[PUBLIC_LEN];
	struct phone_posture posture;
	uint64_t added;
};

/* Enrols a phone, and the person with the first. -EEXIST: the number is enrolled already;
 * -ENOBUFS: no index is free; -E2BIG: too many phones. pub NULL: relayed unlocks only. */
int staff_add(struct db *db, const char *person_number, const char *phone_number,
	      const uint8_t *pub, const struct phone_posture *posture, uint64_t now,
	      uint64_t entries, struct phone *ret);
int phone_find(struct db *db, const char *number, struct phone *ret); /* -ENOENT */
int phone_by_label(struct db *db, const char *label, struct phone *ret);
/* All phones of a person, the first enrolled first; the number of them. -ENOENT: no such person. */
int phones_of(struct db *db, const char *person_number, struct phone ret[static STAFF_PHONES_MAX]);
int phone_each(struct db *db, int (*fn)(const struct phone *phone, void *user), void *user);
int phone_set_posture(struct db *db, int64_t id, const struct phone_posture *posture);
int phone_set_key(struct db *db, int64_t id, const uint8_t pub[static PUBLIC_LEN]);
/* Forgets number and key, and the person with the last phone. The credential stays, revoked. */
int phone_remove(struct db *db, const struct phone *phone, uint64_t now);

/* --- credentials --------------------------------------------------------------------------- */

int credential_set(struct db *db, uint64_t idx, enum status status, uint64_t now);
/* An authorization that names it lives until exp. */
int credential_extend(struct db *db, uint64_t idx, uint64_t exp);
/* Those that are not valid. */
int credential_each_bad(struct db *db, int (*fn)(uint64_t idx, enum status status, void *user),
			void *user);
const char *status_word(enum status status);
