// SPDX-License-Identifier: Apache-2.0
/* who-can-open and exposed: what could open which door, as far as receipts prove. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "desk/command.h"
#include "desk/confirm.h"
#include "desk/current.h"
#include "desk/fleet.h"
#include "desk/issued.h"
#include "desk/show.h"

/* What one lock provably holds, and what the desk has since declared dead. */
struct door {
	struct db *db;
	struct policy policy;
	struct key authorize;
	uint64_t keys_iat, policy_iat, list_changed; /* of the newest */
	char list_slot[SLOT_CAP];
	/* of the present lock */
	bool has_receipt;
	struct receipt newest;
	bool keys, policy_held, list; /* proven: the newest */
};

enum life { /* of an authorization for the door */
	    LIFE_GOOD,
	    LIFE_EXPOSED, /* dead at the desk; nothing proves that the lock refuses it */
	    LIFE_DEAD,
};

static int door_init(struct door *d, struct db *db)
{
	cleanup(current_deinit) struct current current = {0};
	const struct document *doc;
	int r = sign_list_slot(db, d->list_slot);

	d->db = db;
	if (r == 0)
		r = sign_policy_now(db, &d->policy);
	if (r == 0)
		r = keyring_public(db, ROLE_AUTHORIZE, &d->authorize);
	if (r == 0)
		r = current_load(db, &current);
	if (r < 0)
		return r;
	doc = current_keys(&current);
	d->keys_iat = doc ? doc->iat : UINT64_MAX;
	doc = current_find(&current, "policy");
	d->policy_iat = doc ? doc->iat : UINT64_MAX;
	doc = current_find(&current, d->list_slot);
	d->list_changed = doc ? doc->changed : UINT64_MAX;
	return 0;
}

static int proven(const struct door *d, const char *slot, uint64_t iat)
{
	struct confirm_target target = {.iat = iat};

	snprintf(target.slot, sizeof(target.slot), "%s", slot);
	return confirm_says(d->db, &target, d->newest.result.applied, d->newest.result.napplied);
}

static int door_look(struct door *d, const char *lock)
{
	int keys = 0, policy = 0, list = 0, r = receipt_newest(d->db, lock, &d->newest);

	if (r < 0 && r != -ENOENT)
		return r;
	d->has_receipt = r == 0;
	if (d->has_receipt) {
		keys = proven(d, "keys/", d->keys_iat);
		policy = proven(d, "policy", d->policy_iat);
		list = proven(d, d->list_slot, d->list_changed);
	}
	if (keys < 0 || policy < 0 || list < 0)
		return -EIO;
	d->keys = keys;
	d->policy_held = policy;
	d->list = list;
	return 0;
}

/* Is this index refused by what the lock provably holds? 1, 0, < 0. */
static int refused_by(const struct door *d, uint64_t idx)
{
	struct confirm_target target = {.indexes = {idx}, .nindexes = 1, .bad = true};

	if (!d->has_receipt)
		return 0;
	memcpy(target.slot, d->list_slot, sizeof(target.slot));
	return confirm_says(d->db, &target, d->newest.result.applied, d->newest.result.napplied);
}

static int status_of(struct db *db, uint64_t idx)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT status FROM credential WHERE idx = ?");
	int r;

	db_bind_uint(&q, idx);
	r = db_step(&q);
	/* an index that is gone was revoked when its phone was removed */
	return r > 0 ? (int)db_int(&q, 0) : r < 0 ? r : STATUS_REVOKED;
}

/* An enum life, or < 0. */
static int life_of(const struct door *d, const struct issued *issued)
{
	bool cut = issued->iat < policy_cut_off(&d->policy, span_str(issued->lock));
	bool dropped = memcmp(issued->kid, d->authorize.kid, DIGEST_LEN) != 0;
	int status = status_of(d->db, issued->idx), refused;

	if (status < 0)
		return status;
	if (status == STATUS_VALID && !cut && !dropped)
		return LIFE_GOOD;
	if ((cut && d->policy_held) || (dropped && d->keys))
		return LIFE_DEAD;
	refused = refused_by(d, issued->idx);
	if (refused < 0)
		return refused;
	return refused ? LIFE_DEAD : LIFE_EXPOSED;
}

/* Members that name people: only when asked for. */
static void reveal(const struct desk *desk, json_t *row, const char *label)
{
	struct phone phone;

	if (!desk->reveal || phone_by_label(desk->db, label, &phone) < 0)
		return;
	json_object_set_new(row, "person", json_string(phone.person_number));
	json_object_set_new(row, "number", json_string(phone.number));
}

/* --- who-can-open ----------------------------------------------------------------------------- */

struct who {
	const struct desk *desk;
	json_t *rows;
	struct door door;
};

static int add_who(struct who *w, const char *phone, const char *person, const char *how,
		   uint64_t exp, const char *until)
{
	json_t *row = json_pack("{s:s, s:s, s:s, s:I, s:s}", "phone", phone, "pseudonym", person,
				"how", how, "until", (json_int_t)exp, "_until", until);

	reveal(w->desk, row, phone);
	return json_array_append_new(w->rows, row) == 0 ? 0 : -ENOMEM;
}

static int add_relayed(const struct phone *phone, void *user)
{
	return phone->status != STATUS_VALID ? 0
					     : add_who(user, phone->label, phone->person, "relayed",
						       0, "as long as enrolled");
}

static int add_door(const struct issued *issued, void *user)
{
	char until[SHOW_TIME_CAP];
	struct who *w = user;
	int life = life_of(&w->door, issued);

	if (life < 0 || life == LIFE_DEAD)
		return life < 0 ? life : 0;
	return add_who(w, issued->phone, issued->person,
		       life == LIFE_GOOD ? "at the door" : "at the door: dead here, not yet there",
		       issued->exp, show_time(issued->exp, until));
}

int command_who_can_open(struct desk *desk, int argc, char **argv)
{
	static const struct show_column columns[] = {
		{"phone", "PHONE"},
		{"pseudonym", "PERSON"},
		{"how", "HOW"},
		{"_until", "UNTIL"},
		{0},
	};
	static const struct show_column revealing[] = {
		{"person", "PERSON"}, {"number", "NUMBER"}, {"phone", "PHONE"},
		{"how", "HOW"},	      {"_until", "UNTIL"},  {0},
	};
	struct who w = {.desk = desk};
	struct lock_row lock;
	int r;

	if (argc != 2)
		return command_usage(desk, "which lock?");
	if (lock_find(desk->db, argv[1], &lock) < 0)
		return desk_fail(desk, DESK_REFUSED, "no such lock: %s", argv[1]);
	w.rows = json_array();
	r = door_init(&w.door, desk->db);
	if (r == 0)
		r = door_look(&w.door, lock.id);
	if (r == 0 && w.door.has_receipt && receipt_frees(&w.door.newest)) {
		show_rows(desk, columns, w.rows, "nobody: the lock was released");
		return DESK_DONE;
	}
	if (r == 0)
		r = phone_each(desk->db, add_relayed, &w);
	if (r == 0)
		r = issued_each_door(desk->db, lock.id, desk_now(), add_door, &w);
	if (r < 0) {
		json_decref(w.rows);
		return desk_fail_errno(desk, r, "who-can-open");
	}
	show_rows(desk, desk->reveal ? revealing : columns, w.rows, "nobody");
	return DESK_DONE;
}

/* --- exposed ---------------------------------------------------------------------------------- */

struct exposed {
	json_t *rows;
	struct door door;
	uint64_t until, authorizations; /* of the present lock */
};

static int count_exposed(const struct issued *issued, void *user)
{
	struct exposed *e = user;
	int life = life_of(&e->door, issued);

	if (life != LIFE_EXPOSED)
		return life < 0 ? life : 0;
	e->authorizations++;
	if (issued->exp > e->until)
		e->until = issued->exp;
	return 0;
}

static int add_exposed(const struct lock_row *lock, void *user)
{
	struct exposed *e = user;
	char until[SHOW_TIME_CAP], holds[SHOW_TIME_CAP] = "nothing proven";
	const struct result *result = &e->door.newest.result;
	uint64_t iat = 0;
	int r = door_look(&e->door, lock->id);

	e->until = e->authorizations = 0;
	if (r == 0 && e->door.has_receipt && receipt_frees(&e->door.newest))
		return 0;
	if (r == 0)
		r = issued_each_door(e->door.db, lock->id, desk_now(), count_exposed, e);
	if (r < 0)
		return r;
	if (e->door.list && e->authorizations == 0)
		return 0;
	for (size_t i = 0; e->door.has_receipt && i < result->napplied; i++)
		if (!strcmp(result->applied[i].name, e->door.list_slot + strlen("list/")))
			iat = result->applied[i].iat;
	if (iat)
		show_time(iat, holds);
	return json_array_append_new(
		e->rows,
		json_pack("{s:s, s:b, s:I, s:s, s:I, s:I, s:s}", "lock", lock->id, "newest_list",
			  e->door.list, "holds", (json_int_t)iat, "_holds", holds, "authorizations",
			  (json_int_t)e->authorizations, "until", (json_int_t)e->until, "_until",
			  e->until ? show_time(e->until, until) : "nothing dead could open it"));
}

int command_exposed(struct desk *desk, int argc, char **argv)
{
	static const struct show_column columns[] = {
		{"lock", "LOCK"},
		{"newest_list", "NEWEST LIST"},
		{"_holds", "HOLDS LIST OF"},
		{"authorizations", "DEAD, COULD OPEN"},
		{"_until", "UNTIL"},
		{0},
	};
	struct exposed e = {0};
	int r;

	if (argc != 1)
		return command_usage(desk, "%s: not expected here", argv[1]);
	e.rows = json_array();
	r = door_init(&e.door, desk->db);
	if (r == 0)
		r = lock_each(desk->db, add_exposed, &e);
	if (r < 0) {
		json_decref(e.rows);
		return desk_fail_errno(desk, r, "exposed");
	}
	r = json_array_size(e.rows) > 0 ? DESK_REFUSED : DESK_DONE;
	show_rows(desk, columns, e.rows, "none: every lock proved that it holds the newest list");
	return r;
}
