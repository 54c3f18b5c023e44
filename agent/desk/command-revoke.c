// SPDX-License-Identifier: Apache-2.0
/* revoke, suspend, restore, change-lock, publish, disown: what goes out to the whole fleet. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "desk/command.h"
#include "desk/fleet.h"
#include "desk/issued.h"
#include "desk/readers.h"
#include "desk/registry.h"
#include "desk/show.h"
#include "desk/spread.h"

struct wait_args {
	const char *person, *phone;
	uint64_t wait_s;
};

static const struct option options[] = {
	{"person", required_argument, NULL, 'p'},
	{"phone", required_argument, NULL, 'n'},
	{"wait", required_argument, NULL, 'w'},
	{"no-wait", no_argument, NULL, 'W'},
	{0},
};

/* operands: how many words may follow the options. */
static int parse(const struct desk *desk, int argc, char **argv, struct wait_args *a, int operands)
{
	int c, r = 0;

	*a = (struct wait_args){.wait_s = SPREAD_WAIT_S};
	while (r == 0 && (c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'p')
			a->person = optarg;
		else if (c == 'n')
			a->phone = optarg;
		else if (c == 'w')
			r = command_duration(desk, "--wait", optarg, &a->wait_s);
		else if (c == 'W')
			a->wait_s = 0;
		else
			r = command_usage(desk, "no such option, or its value is missing");
	}
	if (r == 0 && argc - optind != operands)
		r = command_usage(desk, argc - optind > operands ? "too many words"
								 : "a word is missing");
	return r;
}

/* --- revoke, suspend, restore ----------------------------------------------------------------- */

/* Phones that --person (all of them) or --phone name; the number, or a printed status as -1 - it. */
static int find_phones(const struct desk *desk, const struct wait_args *a,
		       struct phone ret[static STAFF_PHONES_MAX])
{
	char person[PERSON_LEN + 1];
	int r;

	if (a->phone || !a->person) {
		r = command_one_phone(desk, a->person, a->phone, &ret[0]);
		return r != 0 ? -1 - r : 1;
	}
	r = command_person(desk, a->person, person);
	if (r != 0)
		return -1 - r;
	r = phones_of(desk->db, person, ret);
	if (r == -ENOENT)
		return -1 - desk_fail(desk, DESK_REFUSED, "no such person is enrolled");
	return r < 0 ? -1 - desk_fail_errno(desk, r, "looking for the person") : r;
}

static int set_all(const struct desk *desk, const char *act, const struct phone *phones, int n,
		   enum status status)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	uint64_t now = desk_now();
	int r = db_begin(desk->db, &tx);

	for (int i = 0; r == 0 && i < n; i++) {
		/* when it was first revoked is what openings are judged by */
		if (phones[i].status != status)
			r = credential_set(desk->db, phones[i].idx, status, now);
		if (r == 0)
			r = desk_log(desk, (struct act){.time = now,
							.act = act,
							.person = phones[i].person,
							.phone = phones[i].label});
	}
	return r < 0 ? r : db_commit(&tx);
}

static int set_status(struct desk *desk, int argc, char **argv, const char *act, const char *done,
		      enum status status)
{
	struct spread_options s = {.target = {.bad = status != STATUS_VALID, .status = status}};
	struct phone phones[STAFF_PHONES_MAX] = {0};
	json_t *labels = json_array();
	struct wait_args a;
	char did[512];
	int n = 0, r = parse(desk, argc, argv, &a, 0);

	if (r == 0) {
		n = find_phones(desk, &a, phones);
		r = n < 0 ? -1 - n : 0;
	}
	if (r != 0) {
		json_decref(labels);
		return r;
	}
	r = set_all(desk, act, phones, n, status);
	if (r == 0)
		r = sign_list_slot(desk->db, s.target.slot);
	if (r < 0) {
		json_decref(labels);
		return desk_fail_errno(desk, r, act);
	}
	snprintf(did, sizeof(did), "Phone");
	for (int i = 0; i < n; i++) {
		size_t len = strlen(did);

		s.target.indexes[s.target.nindexes++] = phones[i].idx;
		json_array_append_new(labels, json_string(phones[i].label));
		snprintf(did + len, sizeof(did) - len, "%s %s", i ? "," : "", phones[i].label);
	}
	snprintf(did + strlen(did), sizeof(did) - strlen(did), " %s", done);
	s.did = did;
	s.wait_s = a.wait_s;
	return spread(desk, &s, json_pack("{s:s, s:o}", "act", act, "phones", labels));
}

int command_revoke(struct desk *desk, int argc, char **argv)
{
	return set_status(desk, argc, argv, "revoke", "revoked", STATUS_REVOKED);
}

int command_suspend(struct desk *desk, int argc, char **argv)
{
	return set_status(desk, argc, argv, "suspend", "suspended", STATUS_SUSPENDED);
}

int command_restore(struct desk *desk, int argc, char **argv)
{
	return set_status(desk, argc, argv, "restore", "valid again", STATUS_VALID);
}

/* --- change-lock ------------------------------------------------------------------------------ */

static int put_cut_off(struct policy *policy, const char *lock, uint64_t time)
{
	struct cut_off *c = policy->cut_offs;
	size_t i = 0;

	while (i < policy->ncut_offs && strcmp(c[i].lock, lock) != 0)
		i++;
	if (i == POLICY_CUT_OFFS_MAX)
		return -ENOBUFS;
	if (i == policy->ncut_offs)
		policy->ncut_offs++;
	snprintf(c[i].lock, sizeof(c[i].lock), "%s", lock);
	c[i].time = time;
	return 0;
}

/* Later than every authorization that was issued, also in this second. */
static int change_lock(const struct desk *desk, void *user, char error[static KEYRING_ERROR_CAP])
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	const char *lock = user;
	uint64_t now = desk_now(), newest;
	struct policy policy;
	int r = db_begin(desk->db, &tx);

	if (r == 0)
		r = sign_policy_now(desk->db, &policy);
	if (r == 0)
		r = issued_newest(desk->db, lock, &newest);
	if (r == 0)
		r = put_cut_off(&policy, lock, newest >= now ? newest + 1 : now);
	if (r == -ENOBUFS)
		snprintf(error, KEYRING_ERROR_CAP,
			 "the policy is full of changed locks: change '*' instead");
	if (r == 0)
		r = sign_policy(desk, &policy, now, error);
	if (r == 0)
		r = readers_expire(desk->db, lock);
	if (r == 0)
		r = desk_log(desk, (struct act){.time = now, .act = "change-lock", .lock = lock});
	return r < 0 ? r : db_commit(&tx);
}

int command_change_lock(struct desk *desk, int argc, char **argv)
{
	struct spread_options s = {.target.slot = "policy"};
	struct lock_row row;
	struct wait_args a;
	char did[80];
	char *lock;
	int r = parse(desk, argc, argv, &a, 1);

	if (r != 0)
		return r;
	lock = argv[optind];
	if (strcmp(lock, "*") != 0 && lock_find(desk->db, lock, &row) < 0)
		return desk_fail(desk, DESK_REFUSED, "no such lock: %s", lock);
	snprintf(did, sizeof(did), "Lock %s changed", lock);
	s.prepare = change_lock;
	s.user = lock;
	s.did = did;
	s.wait_s = a.wait_s;
	return spread(desk, &s, json_pack("{s:s, s:s}", "act", "change-lock", "lock", lock));
}

/* --- publish, disown -------------------------------------------------------------------------- */

int command_publish(struct desk *desk, int argc, char **argv)
{
	struct spread_options s = {.did = "Published"};
	struct wait_args a;
	int r = parse(desk, argc, argv, &a, 0);

	if (r != 0)
		return r;
	r = sign_list_slot(desk->db, s.target.slot);
	if (r < 0)
		return desk_fail_errno(desk, r, "publish");
	s.wait_s = a.wait_s;
	return spread(desk, &s, json_pack("{s:s}", "act", "publish"));
}

int command_disown(struct desk *desk, int argc, char **argv)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	uint8_t digest[DIGEST_LEN];
	char detail[64];
	int r;

	if (argc != 2 || hex_decode(span_str(argv[1]), digest, sizeof(digest)) != DIGEST_LEN)
		return command_usage(desk, "a digest of 16 hex digits is needed");
	snprintf(detail, sizeof(detail), "{\"digest\":\"%.16s\"}", argv[1]);
	r = db_begin(desk->db, &tx);
	if (r == 0)
		r = foreign_put(desk->db, SPAN(digest), desk_now(), desk->operator);
	if (r == 0)
		r = desk_log(desk, (struct act){.act = "disown", .detail = detail});
	if (r == 0)
		r = db_commit(&tx);
	if (r < 0)
		return desk_fail_errno(desk, r, "disown");
	show_answer(desk, json_pack("{s:s}", "disowned", argv[1]),
		    "A document with digest %s is not the city's; the desk signs on.", argv[1]);
	return DESK_DONE;
}
