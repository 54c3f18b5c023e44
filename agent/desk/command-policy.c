// SPDX-License-Identifier: Apache-2.0
/* policy and keys. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/pem.h"
#include "desk/command.h"
#include "desk/registry.h"
#include "desk/show.h"
#include "desk/sign.h"
#include "desk/spread.h"

static const struct option options[] = {
	{"require-pin", required_argument, NULL, 'p'},
	{"app", required_argument, NULL, 'a'},
	{"any-app", no_argument, NULL, 'A'},
	{"posture-max-age", required_argument, NULL, 'g'},
	{"max-relay", required_argument, NULL, 'r'},
	{"max-lifetime", required_argument, NULL, 'l'},
	{"report-manual", required_argument, NULL, 'm'},
	{"wait", required_argument, NULL, 'w'},
	{"no-wait", no_argument, NULL, 'W'},
	{0},
};

/* --- policy ----------------------------------------------------------------------------------- */

static json_t *policy_json(const struct policy *p)
{
	json_t *apps = json_array(), *cut_off = json_object();

	for (size_t i = 0; i < p->napps; i++)
		json_array_append_new(apps, json_string(p->apps[i]));
	for (size_t i = 0; i < p->ncut_offs; i++)
		json_object_set_new(cut_off, p->cut_offs[i].lock,
				    json_integer((json_int_t)p->cut_offs[i].time));
	return json_pack("{s:b, s:o, s:I, s:I, s:I, s:o, s:b}", "require_pin", p->require_pin,
			 "apps", apps, "posture_max_age", (json_int_t)p->posture_max_age,
			 "max_relay", (json_int_t)p->max_relay, "max_lifetime",
			 (json_int_t)p->max_lifetime, "cut_off", cut_off, "report_manual",
			 p->report_manual);
}

int command_policy_show(struct desk *desk, int argc, char **argv)
{
	struct policy p;
	int r = sign_policy_now(desk->db, &p);

	if (r < 0)
		return desk_fail_errno(desk, r, "policy show");
	show_answer(desk, policy_json(&p),
		    "require-pin      %s\nposture-max-age  %" PRIu64 " s\nmax-relay        %" PRIu64
		    " s\nmax-lifetime     %" PRIu64 " s\nreport-manual    %s%s",
		    p.require_pin ? "yes" : "no", p.posture_max_age, p.max_relay, p.max_lifetime,
		    p.report_manual ? "yes" : "no", p.napps ? "" : "\napps             any");
	for (size_t i = 0; !desk->json && i < p.napps; i++)
		printf("app              %s\n", p.apps[i]);
	for (size_t i = 0; !desk->json && i < p.ncut_offs; i++) {
		char at[SHOW_TIME_CAP];

		printf("changed          %s at %s\n", p.cut_offs[i].lock,
		       show_time(p.cut_offs[i].time, at));
	}
	return DESK_DONE;
}

static int add_app(const struct desk *desk, const char *app, struct policy *p)
{
	if (!*app || strlen(app) > POLICY_APP_LEN)
		return command_usage(desk, "--app: 1 to %d characters", POLICY_APP_LEN);
	if (p->napps == POLICY_APPS_MAX)
		return command_usage(desk, "--app: at most %d", POLICY_APPS_MAX);
	snprintf(p->apps[p->napps++], POLICY_APP_LEN + 1, "%s", app);
	return 0;
}

struct policy_args {
	bool any, fresh_apps;
	uint64_t wait_s;
};

static int take(const struct desk *desk, int c, struct policy *p, struct policy_args *a)
{
	a->any |= c != 'w' && c != 'W';
	switch (c) {
	case 'p':
		return command_bool(optarg, &p->require_pin)
			       ? 0
			       : command_usage(desk, "--require-pin: yes or no");
	case 'm':
		return command_bool(optarg, &p->report_manual)
			       ? 0
			       : command_usage(desk, "--report-manual: yes or no");
	case 'A':
		p->napps = 0;
		a->fresh_apps = true;
		return 0;
	case 'a':
		/* the apps given are the allowed ones: those of before go */
		if (!a->fresh_apps)
			p->napps = 0;
		a->fresh_apps = true;
		return add_app(desk, optarg, p);
	case 'g':
		return command_duration(desk, "--posture-max-age", optarg, &p->posture_max_age);
	case 'r':
		return command_duration(desk, "--max-relay", optarg, &p->max_relay);
	case 'l':
		return command_duration(desk, "--max-lifetime", optarg, &p->max_lifetime);
	case 'w':
		return command_duration(desk, "--wait", optarg, &a->wait_s);
	case 'W':
		a->wait_s = 0;
		return 0;
	default:
		return command_usage(desk, "no such option, or its value is missing");
	}
}

struct policy_set {
	int argc;
	char **argv;
	struct policy_args args;
	struct policy policy;
};

/* The options, onto the policy that holds now. 0, or a printed status. */
static int apply(const struct desk *desk, struct policy_set *set)
{
	int c, r = sign_policy_now(desk->db, &set->policy);

	if (r < 0)
		return desk_fail_errno(desk, r, "policy set");
	set->args = (struct policy_args){.wait_s = SPREAD_WAIT_S};
	optind = 0; /* from the start: this runs twice */
	while (r == 0 && (c = getopt_long(set->argc, set->argv, "", options, NULL)) >= 0)
		r = take(desk, c, &set->policy, &set->args);
	if (r == 0 && optind < set->argc)
		r = command_usage(desk, "%s: not expected here", set->argv[optind]);
	return r;
}

/* By now the survey may have taken over a policy that this registry had forgotten. */
static int change(const struct desk *desk, void *user, char error[static KEYRING_ERROR_CAP])
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	cleanup(freep) char *detail = NULL;
	struct policy_set *set = user;
	json_t *json;
	int r = db_begin(desk->db, &tx);

	if (r == 0 && apply(desk, set) != 0)
		r = -EINVAL;
	if (r == 0)
		r = sign_policy(desk, &set->policy, desk_now(), error);
	if (r < 0)
		return r;
	json = policy_json(&set->policy);
	detail = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	r = desk_log(desk, (struct act){.act = "policy.set", .detail = detail});
	return r < 0 ? r : db_commit(&tx);
}

int command_policy_set(struct desk *desk, int argc, char **argv)
{
	struct policy_set set = {.argc = argc, .argv = argv};
	struct spread_options s = {
		.target.slot = "policy",
		.did = "Policy set",
		.prepare = change,
		.user = &set,
	};
	int r = apply(desk, &set);

	if (r == 0 && !set.args.any)
		r = command_usage(desk, "nothing to set");
	if (r == 0 && (set.policy.max_relay < 1 || set.policy.max_lifetime < 1))
		r = command_usage(desk, "a lifetime of 0 would close every door");
	if (r != 0)
		return r;
	s.wait_s = set.args.wait_s;
	return spread(
		desk, &s,
		json_pack("{s:s, s:o}", "act", "policy.set", "policy", policy_json(&set.policy)));
}

/* --- keys ------------------------------------------------------------------------------------- */

struct key_rows {
	json_t *rows;
};

static int add_key(const struct keyring_entry *e, void *user)
{
	char kid[HEX_CAP(DIGEST_LEN)], pub[BASE64_CAP(PUBLIC_LEN)];
	char made[SHOW_TIME_CAP], dropped[SHOW_TIME_CAP];
	struct key_rows *k = user;

	hex_encode(SPAN(e->key.kid), kid, sizeof(kid));
	base64_encode(SPAN(e->key.pub), pub, sizeof(pub));
	return json_array_append_new(k->rows, json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:s}",
							"role", role_word(e->key.roles), "kid", kid,
							"key", pub, "made", (json_int_t)e->made,
							"dropped", (json_int_t)e->dropped, "_made",
							show_time(e->made, made), "_dropped",
							show_time(e->dropped, dropped)));
}

/* One key as PEM: what a gateway's root_key_file is to be. */
static int show_pem(const struct desk *desk, const char *word)
{
	enum role role = role_parse(word);
	char pem[PEM_PUBLIC_CAP];
	struct key key;
	int r;

	if (!role)
		return command_usage(desk, "which key: root, policy, revoke or authorize?");
	r = keyring_public(desk->db, role, &key);
	if (r < 0)
		return desk_fail_errno(desk, r, "keys show");
	pem_encode_public(key.pub, pem);
	if (desk->json)
		show_answer(desk, json_pack("{s:s, s:s}", "role", word, "pem", pem), "%s", "");
	else
		fputs(pem, stdout);
	return DESK_DONE;
}

int command_keys_show(struct desk *desk, int argc, char **argv)
{
	static const struct show_column columns[] = {
		{"role", "ROLE"},  {"kid", "KID"},	    {"key", "PUBLIC KEY"},
		{"_made", "MADE"}, {"_dropped", "DROPPED"}, {0},
	};
	struct key_rows k;
	int r;

	if (argc == 2)
		return show_pem(desk, argv[1]);
	k.rows = json_array();
	r = keyring_each(desk->db, add_key, &k);

	if (r < 0) {
		json_decref(k.rows);
		return desk_fail_errno(desk, r, "keys show");
	}
	show_rows(desk, columns, k.rows, "no keys");
	return DESK_DONE;
}

static int rotate(const struct desk *desk, void *user, char error[static KEYRING_ERROR_CAP])
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	enum role role = *(enum role *)user;
	char detail[64];
	int r = db_begin(desk->db, &tx);

	snprintf(detail, sizeof(detail), "{\"role\":\"%s\"}", role_word(role));
	if (r == 0)
		r = desk_log(desk, (struct act){.act = "keys.rotate", .detail = detail});
	if (r == 0)
		r = sign_rotate(desk, role, desk_now(), error);
	if (r == 0)
		r = db_commit(&tx);
	return r < 0 ? r : keyring_settle(desk, role);
}

static void count_dead(const struct desk *desk, enum role role, uint64_t *ret)
{
	cleanup(db_end) struct db_query q =
		db_query(desk->db, "SELECT count(*) FROM issued WHERE via = 'door' AND exp > ?");

	db_bind_uint(&q, desk_now());
	*ret = role == ROLE_AUTHORIZE && db_step(&q) > 0 ? db_uint(&q, 0) : 0;
}

int command_keys_rotate(struct desk *desk, int argc, char **argv)
{
	struct spread_options s = {.target.slot = "keys/"};
	char did[160];
	struct policy_args a = {.wait_s = SPREAD_WAIT_S};
	struct policy unused = {0};
	enum role role;
	uint64_t dead;
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "", options + 7, NULL)) >= 0)
		r = take(desk, c, &unused, &a);
	if (r != 0)
		return r;
	role = argc - optind == 1 ? role_parse(argv[optind]) : 0;
	if (!role)
		return command_usage(desk, "which key: root, policy, revoke or authorize?");
	count_dead(desk, role, &dead);
	s.prepare = rotate;
	s.user = &role;
	snprintf(did, sizeof(did), "New %s key", role_word(role));
	if (dead)
		snprintf(did, sizeof(did),
			 "New %s key (%" PRIu64 " authorizations for the door died with the old: "
			 "issue them again)",
			 role_word(role), dead);
	s.did = did;
	s.wait_s = a.wait_s;
	return spread(desk, &s,
		      json_pack("{s:s, s:s, s:I}", "act", "keys.rotate", "role", role_word(role),
				"dead", (json_int_t)dead));
}
