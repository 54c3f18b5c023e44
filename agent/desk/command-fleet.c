// SPDX-License-Identifier: Apache-2.0
/* lock: adding, listing, and the documents that an installer carries. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "desk/command.h"
#include "desk/confirm.h"
#include "desk/current.h"
#include "desk/fleet.h"
#include "desk/issued.h"
#include "desk/registry.h"
#include "desk/show.h"
#include "link/file.h"

static const struct option options[] = {
	{"key", required_argument, NULL, 'k'},
	{"gateway", required_argument, NULL, 'g'},
	{"out", required_argument, NULL, 'o'},
	{"destroyed", no_argument, NULL, 'd'},
	{0},
};

struct fleet_args {
	const char *id, *key, *gateway, *out;
	bool destroyed;
};

static int parse(const struct desk *desk, int argc, char **argv, const char *what,
		 struct fleet_args *a)
{
	int c;

	*a = (struct fleet_args){0};
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'k')
			a->key = optarg;
		else if (c == 'g')
			a->gateway = optarg;
		else if (c == 'o')
			a->out = optarg;
		else if (c == 'd')
			a->destroyed = true;
		else
			return command_usage(desk, "no such option, or its value is missing");
	}
	if (!what)
		return optind < argc ? command_usage(desk, "%s: not expected here", argv[optind])
				     : 0;
	if (argc - optind != 1)
		return command_usage(desk, "one %s id is needed", what);
	a->id = argv[optind];
	return command_id(desk, what, a->id);
}

/* --- locks ------------------------------------------------------------------------------------ */

static int take_gateways(const struct desk *desk, const char *text, struct lock_row *lock)
{
	char id[ID_MAX + 2];
	int r;

	for (const char *list = text; list;) {
		list = command_next_id(list, id);
		r = command_id(desk, "--gateway", id);
		if (r != 0)
			return r;
		if (lock->ngateways == LOCK_GATEWAYS_MAX)
			return command_usage(desk, "--gateway: at most %d", LOCK_GATEWAYS_MAX);
		snprintf(lock->gateways[lock->ngateways++], ID_MAX + 1, "%.32s", id);
	}
	return 0;
}

static int add(const struct desk *desk, const struct lock_row *lock)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	int r = db_begin(desk->db, &tx);

	if (r == 0)
		r = lock_add(desk->db, lock, desk_now());
	if (r == 0)
		r = desk_log(desk, (struct act){.act = "lock.add",
						.lock = lock->id,
						.gateway = lock->gateways[0]});
	return r < 0 ? r : db_commit(&tx);
}

int command_lock_add(struct desk *desk, int argc, char **argv)
{
	struct lock_row lock = {0};
	struct fleet_args a;
	int r = parse(desk, argc, argv, "lock", &a);

	if (r != 0)
		return r;
	if (!a.key || !a.gateway)
		return command_usage(desk, "--key BASE64 and --gateway GW are needed");
	r = take_gateways(desk, a.gateway, &lock);
	if (r != 0)
		return r;
	if (base64_decode(span_str(a.key), lock.pub, sizeof(lock.pub)) != PUBLIC_LEN)
		return command_usage(desk, "--key: 32 bytes in base64 are needed, as printed on "
					   "the lock");
	snprintf(lock.id, sizeof(lock.id), "%s", a.id);
	r = receipt_fits(desk->db, lock.id, lock.pub);
	if (r == 0)
		return desk_fail(desk, DESK_REFUSED,
				 "%s was the name of another lock, whose receipts are filed: a new "
				 "lock has a name of its own, in its info and on its label",
				 a.id);
	if (r > 0)
		r = add(desk, &lock);
	if (r == -EEXIST)
		return desk_fail(desk, DESK_REFUSED,
				 "lock %s is there already, or a gateway was named twice", a.id);
	if (r == -ENOENT)
		return desk_fail(desk, DESK_REFUSED, "%s: no such gateway: 'gateway add' first",
				 a.gateway);
	if (r < 0)
		return desk_fail_errno(desk, r, "lock add");
	show_answer(desk, json_pack("{s:s}", "lock", lock.id), "Lock %s added.", lock.id);
	return DESK_DONE;
}

struct list {
	const struct desk *desk;
	json_t *rows;
	struct confirm_target target;
};

static json_t *gateways_of(const struct lock_row *lock)
{
	json_t *array = json_array();

	for (size_t i = 0; i < lock->ngateways; i++)
		json_array_append_new(array, json_string(lock->gateways[i]));
	return array;
}

/* As receipts prove it; that a claim was undone at the door, only its gateway can tell. */
static const char *state_of(struct db *db, const struct lock_row *lock,
			    const struct receipt *newest)
{
	if (newest && receipt_frees(newest))
		return "released";
	if (lock_said_unowned(db, lock->id) > 0)
		return "unowned";
	return newest ? "claimed" : "new";
}

static int add_row(const struct lock_row *lock, void *user)
{
	struct list *l = user;
	struct receipt newest;
	uint64_t missing, highest;
	char at[SHOW_TIME_CAP] = "";
	char key[BASE64_CAP(PUBLIC_LEN)];
	int r = receipt_newest(l->desk->db, lock->id, &newest), holds = 0;
	bool known = r == 0;

	if (r < 0 && r != -ENOENT)
		return r;
	if (known)
		holds = confirm_says(l->desk->db, &l->target, newest.result.applied,
				     newest.result.napplied);
	r = holds < 0 ? holds : receipt_gaps(l->desk->db, lock->id, &missing, &highest);
	if (r < 0)
		return r;
	base64_encode(SPAN(lock->pub), key, sizeof(key));
	return json_array_append_new(
		l->rows,
		json_pack("{s:s, s:s, s:s, s:o, s:b, s:s, s:I, s:I, s:I, s:s, s:b}", "id", lock->id,
			  "state", state_of(l->desk->db, lock, known ? &newest : NULL), "key", key,
			  "gateways", gateways_of(lock), "current", holds > 0, "bolt",
			  known ? bolt_word(newest.result.bolt) : "", "n", (json_int_t)highest,
			  "missing", (json_int_t)missing, "receipt_at",
			  (json_int_t)(known ? newest.iat : 0), "_receipt_at",
			  show_time(known ? newest.iat : 0, at), "claimed",
			  known && !receipt_frees(&newest)));
}

int command_lock_list(struct desk *desk, int argc, char **argv)
{
	static const struct show_column columns[] = {
		{"id", "LOCK"},
		{"state", "STATE"},
		{"gateways", "GATEWAYS"},
		{"current", "NEWEST LIST"},
		{"bolt", "BOLT"},
		{"n", "RECEIPTS TO"},
		{"missing", "MISSING"},
		{"_receipt_at", "LAST RECEIPT"},
		{0},
	};
	cleanup(current_deinit) struct current current = {0};
	struct list l = {.desk = desk, .rows = json_array()};
	const struct document *list = NULL;
	struct fleet_args a;
	int r = parse(desk, argc, argv, NULL, &a);

	if (r != 0)
		return r;
	r = sign_list_slot(desk->db, l.target.slot);
	if (r == 0)
		r = current_load(desk->db, &current);
	if (r >= 0)
		list = current_find(&current, l.target.slot);
	l.target.iat = list ? list->changed : 0;
	if (r >= 0)
		r = lock_each(desk->db, add_row, &l);
	if (r < 0) {
		json_decref(l.rows);
		return desk_fail_errno(desk, r, "lock list");
	}
	show_rows(desk, columns, l.rows, "no lock has been added");
	return DESK_DONE;
}

/* --- remove ----------------------------------------------------------------------------------- */

static int remove_it(const struct desk *desk, const char *id, bool released)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	int r = db_begin(desk->db, &tx);

	if (r == 0)
		r = lock_remove(desk->db, id);
	if (r == 0)
		r = desk_log(desk, (struct act){.act = "lock.remove",
						.lock = id,
						.detail = released ? "{\"released\":true}"
								   : "{\"destroyed\":true}"});
	return r < 0 ? r : db_commit(&tx);
}

int command_lock_remove(struct desk *desk, int argc, char **argv)
{
	struct lock_row lock;
	struct fleet_args a;
	int released, r = parse(desk, argc, argv, "lock", &a);

	if (r != 0)
		return r;
	if (lock_find(desk->db, a.id, &lock) < 0)
		return desk_fail(desk, DESK_REFUSED, "no such lock: %s", a.id);
	released = receipt_released(desk->db, a.id);
	if (released == 0 && !a.destroyed)
		return desk_fail(
			desk, DESK_REFUSED,
			"nothing proves that %s was released: where it still is, it obeys "
			"this city, and a revocation would not reach it any more; release it "
			"first (lock release), or say --destroyed if it is gone for ever",
			a.id);
	r = released < 0 ? released : remove_it(desk, a.id, released);
	if (r < 0)
		return desk_fail_errno(desk, r, "lock remove");
	show_answer(desk, json_pack("{s:s}", "lock", a.id), "Lock %s removed.", a.id);
	return DESK_DONE;
}

/* --- claim, release --------------------------------------------------------------------------- */

static int carry(struct desk *desk, int argc, char **argv, const char *act,
		 int (*sign)(const struct desk *desk, const char *lock, uint64_t now, uint8_t *ret,
			     size_t cap, char error[static KEYRING_ERROR_CAP]))
{
	uint8_t bytes[TOKEN_SMALL_MAX];
	char error[KEYRING_ERROR_CAP] = "", text[BASE64_CAP(sizeof(bytes))];
	struct lock_row lock;
	struct fleet_args a;
	int len, r = parse(desk, argc, argv, "lock", &a);

	if (r != 0)
		return r;
	if (lock_find(desk->db, a.id, &lock) < 0)
		return desk_fail(desk, DESK_REFUSED, "no such lock: %s", a.id);
	/* logged before it exists: it opens no door, but it gives one away */
	r = desk_log(desk, (struct act){.act = act, .lock = a.id});
	len = r < 0 ? r : sign(desk, a.id, desk_now(), bytes, sizeof(bytes), error);
	if (len < 0)
		return error[0] ? desk_fail(desk, DESK_REFUSED, "%s", error)
				: desk_fail_errno(desk, len, act);
	r = a.out ? file_write(a.out, span_of(bytes, (size_t)len), 0600) : 0;
	if (r < 0)
		return desk_fail(desk, DESK_REFUSED, "%s: %s", a.out, strerror(-r));
	base64url_encode(span_of(bytes, (size_t)len), text, sizeof(text));
	show_answer(desk, json_pack("{s:s, s:s}", "lock", a.id, "document", text), "%s",
		    a.out ? a.out : text);
	return DESK_DONE;
}

int command_lock_claim(struct desk *desk, int argc, char **argv)
{
	return carry(desk, argc, argv, "lock.claim", claim_sign);
}

int command_lock_release(struct desk *desk, int argc, char **argv)
{
	return carry(desk, argc, argv, "lock.release", release_sign);
}
