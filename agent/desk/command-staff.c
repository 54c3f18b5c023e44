// SPDX-License-Identifier: Apache-2.0
/* staff: people, their phones, and what was seen of those. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/pem.h"
#include "desk/command.h"
#include "desk/registry.h"
#include "desk/show.h"
#include "desk/sign.h"
#include "desk/spread.h"
#include "link/file.h"

struct staff_args {
	const char *person, *phone, *key;
	struct phone_posture posture;
	bool any_posture, no_wait;
	uint64_t wait_s;
};

static const struct option options[] = {
	{"person", required_argument, NULL, 'p'},
	{"phone", required_argument, NULL, 'n'},
	{"key", required_argument, NULL, 'k'},
	{"pin", no_argument, NULL, 'y'},
	{"no-pin", no_argument, NULL, 'x'},
	{"app", required_argument, NULL, 'a'},
	{"platform", required_argument, NULL, 'f'},
	{"checked", required_argument, NULL, 'c'},
	{"wait", required_argument, NULL, 'w'},
	{"no-wait", no_argument, NULL, 'W'},
	{0},
};

static int take_text(const struct desk *desk, const char *what, const char *text,
		     char ret[static STAFF_TEXT_MAX + 1])
{
	if (!*text || strlen(text) > STAFF_TEXT_MAX)
		return command_usage(desk, "--%s: 1 to %d characters", what, STAFF_TEXT_MAX);
	snprintf(ret, STAFF_TEXT_MAX + 1, "%s", text);
	return 0;
}

static int take(const struct desk *desk, int c, struct staff_args *a)
{
	char *end;

	switch (c) {
	case 'p':
		a->person = optarg;
		return 0;
	case 'n':
		a->phone = optarg;
		return 0;
	case 'k':
		a->key = optarg;
		return 0;
	case 'y':
	case 'x':
		a->any_posture = a->posture.has_pin = true;
		a->posture.pin = c == 'y';
		return 0;
	case 'a':
		a->any_posture = true;
		return take_text(desk, "app", optarg, a->posture.app);
	case 'f':
		a->any_posture = true;
		return take_text(desk, "platform", optarg, a->posture.platform);
	case 'c':
		a->any_posture = true;
		a->posture.checked = strtoull(optarg, &end, 10);
		return *end || !*optarg ? command_usage(desk, "--checked: seconds since 1970") : 0;
	case 'w':
		return command_duration(desk, "--wait", optarg, &a->wait_s);
	case 'W':
		a->no_wait = true;
		return 0;
	default:
		return command_usage(desk, "no such option, or its value is missing");
	}
}

static int parse(const struct desk *desk, int argc, char **argv, struct staff_args *a)
{
	int c, r;

	*a = (struct staff_args){.wait_s = SPREAD_WAIT_S};
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		r = take(desk, c, a);
		if (r != 0)
			return r;
	}
	if (a->any_posture && !a->posture.checked)
		a->posture.checked = desk_now();
	return optind < argc ? command_usage(desk, "%s: not expected here", argv[optind]) : 0;
}

static int read_key(const struct desk *desk, const char *path, uint8_t ret[static PUBLIC_LEN])
{
	uint8_t text[4096];
	size_t len;
	int r = file_read(path, text, sizeof(text), &len);

	if (r == 0)
		r = pem_parse_public(span_of(text, len), ret);
	if (r == 0)
		return 0;
	return desk_fail(desk, DESK_REFUSED, "%s: %s", path,
			 r == -EINVAL ? "not an Ed25519 public key in PEM" : strerror(-r));
}

static int act_on_phone(const struct desk *desk, const char *act, const struct phone *phone)
{
	return desk_log(desk,
			(struct act){.act = act, .person = phone->person, .phone = phone->label});
}

/* --- add -------------------------------------------------------------------------------------- */

static int add(const struct desk *desk, const char *person, const char *number, const uint8_t *pub,
	       const struct phone_posture *posture, struct phone *ret)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	struct sign_settings settings;
	int r = db_begin(desk->db, &tx);

	if (r == 0)
		r = sign_settings_load(desk->db, &settings);
	if (r == 0)
		r = staff_add(desk->db, person, number, pub, posture, desk_now(), settings.entries,
			      ret);
	if (r == 0)
		r = act_on_phone(desk, "staff.add", ret);
	return r < 0 ? r : db_commit(&tx);
}

int command_staff_add(struct desk *desk, int argc, char **argv)
{
	char person[PERSON_LEN + 1], number[PHONE_CAP];
	uint8_t pub[PUBLIC_LEN];
	struct staff_args a;
	struct phone phone = {0};
	int r = parse(desk, argc, argv, &a);

	if (r == 0 && (!a.person || !a.phone))
		r = command_usage(desk, "--person ID and --phone NUMBER are needed");
	if (r == 0)
		r = command_person(desk, a.person, person);
	if (r == 0)
		r = command_phone(desk, a.phone, number);
	if (r == 0 && a.key)
		r = read_key(desk, a.key, pub);
	if (r != 0)
		return r;
	/* Whoever enrols a phone has it in hand: with a PIN, unless told otherwise. */
	if (!a.posture.checked)
		a.posture.checked = desk_now();
	if (!a.posture.has_pin)
		a.posture.has_pin = a.posture.pin = true;
	r = add(desk, person, number, a.key ? pub : NULL, &a.posture, &phone);
	if (r == -EEXIST)
		return desk_fail(desk, DESK_REFUSED, "that phone number is enrolled already");
	if (r == -ENOBUFS)
		return desk_fail(desk, DESK_REFUSED,
				 "the revocation list is full: no credential is free");
	if (r == -E2BIG)
		return desk_fail(desk, DESK_REFUSED, "that person has %d phones already",
				 STAFF_PHONES_MAX);
	if (r < 0)
		return desk_fail_errno(desk, r, "staff add");
	show_answer(desk,
		    json_pack("{s:s, s:s, s:I}", "phone", phone.label, "person", phone.person,
			      "index", (json_int_t)phone.idx),
		    "Enrolled: person %s, phone %s, credential %llu.", phone.person, phone.label,
		    (unsigned long long)phone.idx);
	return DESK_DONE;
}

/* --- posture, key ----------------------------------------------------------------------------- */

static int change(const struct desk *desk, const char *act, const struct phone *phone,
		  const struct phone_posture *posture, const uint8_t *pub)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	int r = db_begin(desk->db, &tx);

	if (r == 0 && posture)
		r = phone_set_posture(desk->db, phone->id, posture);
	if (r == 0 && pub)
		r = phone_set_key(desk->db, phone->id, pub);
	if (r == 0)
		r = act_on_phone(desk, act, phone);
	if (r == 0)
		r = db_commit(&tx);
	if (r < 0)
		return desk_fail_errno(desk, r, act);
	show_answer(desk, json_pack("{s:s}", "phone", phone->label), "Noted for phone %s.",
		    phone->label);
	return DESK_DONE;
}

int command_staff_posture(struct desk *desk, int argc, char **argv)
{
	struct phone_posture *is;
	struct staff_args a;
	struct phone phone;
	int r = parse(desk, argc, argv, &a);

	if (r == 0 && !a.any_posture)
		r = command_usage(desk,
				  "--pin, --no-pin, --app, --platform or --checked is needed");
	if (r == 0)
		r = command_one_phone(desk, a.person, a.phone, &phone);
	if (r != 0)
		return r;
	/* What was not looked at stays as it was; all of it counts as checked now. */
	is = &phone.posture;
	if (a.posture.has_pin) {
		is->has_pin = true;
		is->pin = a.posture.pin;
	}
	if (a.posture.app[0])
		memcpy(is->app, a.posture.app, sizeof(is->app));
	if (a.posture.platform[0])
		memcpy(is->platform, a.posture.platform, sizeof(is->platform));
	is->checked = a.posture.checked;
	return change(desk, "staff.posture", &phone, is, NULL);
}

int command_staff_key(struct desk *desk, int argc, char **argv)
{
	uint8_t pub[PUBLIC_LEN];
	struct staff_args a;
	struct phone phone;
	int r = parse(desk, argc, argv, &a);

	if (r == 0 && !a.key)
		r = command_usage(desk, "--key FILE.pem is needed");
	if (r == 0)
		r = command_one_phone(desk, a.person, a.phone, &phone);
	if (r == 0)
		r = read_key(desk, a.key, pub);
	return r != 0 ? r : change(desk, "staff.key", &phone, NULL, pub);
}

/* --- list, remove ----------------------------------------------------------------------------- */

static int add_row(const struct phone *phone, void *user)
{
	const struct phone_posture *p = &phone->posture;
	char checked[SHOW_TIME_CAP];
	json_t *row =
		json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:s, s:s, s:s, s:I, s:s}", "person",
			  phone->person_number, "pseudonym", phone->person, "number", phone->number,
			  "phone", phone->label, "status", status_word(phone->status), "index",
			  (json_int_t)phone->idx, "key", phone->has_pub, "pin",
			  !p->has_pin ? "unknown"
			  : p->pin    ? "yes"
				      : "no",
			  "app", p->app, "platform", p->platform, "checked", (json_int_t)p->checked,
			  "_checked", show_time(p->checked, checked));

	return row && json_array_append_new(user, row) == 0 ? 0 : -ENOMEM;
}

int command_staff_list(struct desk *desk, int argc, char **argv)
{
	static const struct show_column columns[] = {
		{"person", "PERSON"},	 {"number", "NUMBER"},
		{"phone", "PHONE"},	 {"status", "STATUS"},
		{"key", "KEY"},		 {"pin", "PIN"},
		{"app", "APP"},		 {"platform", "PLATFORM"},
		{"_checked", "CHECKED"}, {0},
	};
	json_t *rows = json_array();
	int r = phone_each(desk->db, add_row, rows);

	if (r < 0) {
		json_decref(rows);
		return desk_fail_errno(desk, r, "staff list");
	}
	show_rows(desk, columns, rows, "nobody is enrolled");
	return DESK_DONE;
}

static int remove_one(const struct desk *desk, const struct phone *phone)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	int r = db_begin(desk->db, &tx);

	if (r == 0)
		r = phone_remove(desk->db, phone, desk_now());
	if (r == 0)
		r = act_on_phone(desk, "staff.remove", phone);
	return r < 0 ? r : db_commit(&tx);
}

int command_staff_remove(struct desk *desk, int argc, char **argv)
{
	struct spread_options s = {
		.target = {.nindexes = 1, .bad = true, .status = STATUS_REVOKED}};
	struct staff_args a;
	struct phone phone;
	char did[64];
	int r = parse(desk, argc, argv, &a);

	if (r == 0)
		r = command_one_phone(desk, a.person, a.phone, &phone);
	if (r != 0)
		return r;
	r = remove_one(desk, &phone);
	if (r == 0)
		r = sign_list_slot(desk->db, s.target.slot);
	if (r < 0)
		return desk_fail_errno(desk, r, "staff remove");
	snprintf(did, sizeof(did), "Phone %s removed and revoked", phone.label);
	s.did = did;
	s.wait_s = a.no_wait ? 0 : a.wait_s;
	s.target.indexes[0] = phone.idx;
	return spread(desk, &s, json_pack("{s:[s]}", "phones", phone.label));
}
