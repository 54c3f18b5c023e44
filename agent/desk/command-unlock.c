// SPDX-License-Identifier: Apache-2.0
/* unlock, lock, unlatch; issue. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "desk/command.h"
#include "desk/issued.h"
#include "desk/registry.h"
#include "desk/show.h"
#include "desk/unlock.h"
#include "desk/words.h"
#include "link/file.h"

struct act_args {
	const char *person, *phone, *lock, *locks, *out;
	enum scope scope;
	uint64_t wait_s, for_s;
	bool anyway;
};

static const struct option options[] = {
	{"person", required_argument, NULL, 'p'}, {"phone", required_argument, NULL, 'n'},
	{"lock", required_argument, NULL, 'l'},	  {"locks", required_argument, NULL, 'L'},
	{"for", required_argument, NULL, 'f'},	  {"scope", required_argument, NULL, 's'},
	{"out", required_argument, NULL, 'o'},	  {"wait", required_argument, NULL, 'w'},
	{"anyway", no_argument, NULL, 'a'},	  {0},
};

static int take(const struct desk *desk, int c, struct act_args *a)
{
	switch (c) {
	case 'p':
		a->person = optarg;
		return 0;
	case 'n':
		a->phone = optarg;
		return 0;
	case 'l':
		a->lock = optarg;
		return 0;
	case 'L':
		a->locks = optarg;
		return 0;
	case 'o':
		a->out = optarg;
		return 0;
	case 'a':
		a->anyway = true;
		return 0;
	case 'f':
		return command_duration(desk, "--for", optarg, &a->for_s);
	case 'w':
		return command_duration(desk, "--wait", optarg, &a->wait_s);
	case 's':
		a->scope = scope_parse(span_str(optarg));
		return a->scope != SCOPE_NONE && a->scope != SCOPE_READ
			       ? 0
			       : command_usage(desk, "--scope: unlock, lock or unlatch");
	default:
		return command_usage(desk, "no such option, or its value is missing");
	}
}

static int parse(const struct desk *desk, int argc, char **argv, enum scope scope,
		 struct act_args *a)
{
	int c, r;

	*a = (struct act_args){.scope = scope, .wait_s = UNLOCK_WAIT_S};
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		r = take(desk, c, a);
		if (r != 0)
			return r;
	}
	return optind < argc ? command_usage(desk, "%s: not expected here", argv[optind]) : 0;
}

static int find_lock(const struct desk *desk, const char *id, struct lock_row *ret)
{
	int r = lock_find(desk->db, id, ret);

	if (r == -ENOENT)
		return desk_fail(desk, DESK_REFUSED, "no such lock: %s", id);
	return r < 0 ? desk_fail_errno(desk, r, "looking for the lock") : 0;
}

/* --- relayed ---------------------------------------------------------------------------------- */

static const struct {
	const char *word;
	enum desk_exit status;
} ends[] = {
	[UNLOCK_NO_BROKER] = {"no-answer", DESK_NO_ANSWER},
	[UNLOCK_OFFLINE] = {"no-answer", DESK_NO_ANSWER},
	[UNLOCK_NO_ANSWER] = {"no-answer", DESK_NO_ANSWER},
	[UNLOCK_REFUSED] = {"refused", DESK_REFUSED},
	[UNLOCK_DONE] = {"done", DESK_DONE},
	[UNLOCK_FAILED] = {"failed", DESK_REFUSED},
	[UNLOCK_UNKNOWN] = {"unknown", DESK_UNKNOWN},
	[UNLOCK_UNPROVEN] = {"unknown", DESK_UNKNOWN},
};

static void sentence(const struct unlock_request *q, const struct unlock_answer *a,
		     char ret[static 512])
{
	const char *scope = scope_word(q->scope), *because = words_reason(a->reason);
	char until[SHOW_TIME_CAP];

	show_time(a->exp, until);
	switch (a->end) {
	case UNLOCK_NO_BROKER:
		snprintf(ret, 512, "No answer: no broker could be reached%s%s. Nothing was sent.",
			 a->words[0] ? ": " : "", a->words);
		break;
	case UNLOCK_OFFLINE:
		snprintf(ret, 512, "No answer: gateway %s is offline. Nothing was sent.",
			 a->gateway);
		break;
	case UNLOCK_NO_ANSWER:
		snprintf(ret, 512, "No answer from gateway %s. Until %s it may still %s %s.",
			 a->gateway, until, scope, q->lock.id);
		break;
	case UNLOCK_REFUSED:
		snprintf(ret, 512, "Refused: %s (%s).", because, reason_word(a->reason));
		break;
	case UNLOCK_DONE:
		snprintf(ret, 512, "Done: %s is %s, %" PRIu64 " ms%s.", q->lock.id,
			 a->proven ? bolt_word(a->receipt.result.bolt) : "moved", a->ms,
			 a->proven ? ", signed by the lock" : "");
		break;
	case UNLOCK_FAILED:
		snprintf(ret, 512, "Failed: %s (%s).", because, reason_word(a->reason));
		break;
	case UNLOCK_UNKNOWN:
		snprintf(ret, 512,
			 "Unknown: the lock did not confirm%s%s. It may have moved; 'log' "
			 "shows it once its receipt comes.",
			 *because ? ": " : "", because);
		break;
	case UNLOCK_UNPROVEN:
		snprintf(ret, 512,
			 "Unknown: gateway %s says done, but shows no receipt of the lock.",
			 a->gateway);
		break;
	}
}

static int answer(const struct desk *desk, const struct unlock_request *q,
		  const struct unlock_answer *a)
{
	json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:b}", "outcome",
				 ends[a->end].word, "reason", reason_word(a->reason), "lock",
				 q->lock.id, "scope", scope_word(q->scope), "phone", q->phone.label,
				 "gateway", a->gateway, "attempts", (json_int_t)a->attempts,
				 "accepted_ms", (json_int_t)a->accepted_ms, "ms", (json_int_t)a->ms,
				 "verified", a->proven);
	char words[512] = "";

	if (a->attempts) {
		json_object_set_new(json, "cti", show_hex(SPAN(a->cti)));
		json_object_set_new(json, "exp", json_integer((json_int_t)a->exp));
	}
	if (a->proven)
		json_object_update_new(json, json_pack("{s:s, s:I}", "bolt",
						       bolt_word(a->receipt.result.bolt), "n",
						       (json_int_t)a->receipt.result.n));
	sentence(q, a, words);
	json_object_set_new(json, "words", json_string(words));
	show_answer(desk, json, "%s", words);
	return ends[a->end].status;
}

/* The desk knows before anybody else; locking is always the safe side. */
static int refuse_early(const struct desk *desk, const struct unlock_request *q)
{
	struct unlock_answer a = {.end = UNLOCK_REFUSED};
	struct act act = {.act = "refused",
			  .person = q->phone.person,
			  .phone = q->phone.label,
			  .lock = q->lock.id};
	int r;

	if (q->anyway || q->scope == SCOPE_LOCK || q->phone.status == STATUS_VALID)
		return 0;
	a.reason = q->phone.status == STATUS_SUSPENDED ? REASON_SUSPENDED : REASON_REVOKED;
	act.detail = a.reason == REASON_SUSPENDED ? "{\"reason\":\"suspended\",\"by\":\"desk\"}"
						  : "{\"reason\":\"revoked\",\"by\":\"desk\"}";
	r = desk_log(desk, act);
	if (r < 0)
		return desk_fail_errno(desk, r, "the log");
	return answer(desk, q, &a);
}

static int relayed(struct desk *desk, int argc, char **argv, enum scope scope)
{
	struct unlock_request q = {.scope = scope};
	struct unlock_answer a;
	char error[256] = "";
	struct act_args args;
	int r = parse(desk, argc, argv, scope, &args);

	if (r == 0 && !args.lock)
		r = command_usage(desk, "--lock L is needed");
	if (r == 0)
		r = command_one_phone(desk, args.person, args.phone, &q.phone);
	if (r == 0)
		r = find_lock(desk, args.lock, &q.lock);
	if (r == 0 && q.lock.ngateways == 0)
		r = desk_fail(desk, DESK_REFUSED, "lock %s has no gateway that is not revoked",
			      q.lock.id);
	q.wait_s = args.wait_s;
	q.anyway = args.anyway;
	if (r == 0)
		r = refuse_early(desk, &q);
	if (r != 0)
		return r;
	r = unlock_run(desk, &q, &a, error);
	if (r == -ENOENT)
		return desk_fail(desk, DESK_REFUSED, "no broker is set: 'config set --broker'");
	if (r < 0)
		return error[0] ? desk_fail(desk, DESK_REFUSED, "%s", error)
				: desk_fail_errno(desk, r, scope_word(scope));
	return answer(desk, &q, &a);
}

int command_unlock(struct desk *desk, int argc, char **argv)
{
	return relayed(desk, argc, argv, SCOPE_UNLOCK);
}

int command_lock(struct desk *desk, int argc, char **argv)
{
	return relayed(desk, argc, argv, SCOPE_LOCK);
}

int command_unlatch(struct desk *desk, int argc, char **argv)
{
	return relayed(desk, argc, argv, SCOPE_UNLATCH);
}

/* --- at the door ------------------------------------------------------------------------------ */

/* What no gateway will look at later: the city checks at issue. */
static enum reason posture_reason(const struct policy *policy, const struct phone *phone,
				  uint64_t now)
{
	const struct phone_posture *p = &phone->posture;

	if (phone->status != STATUS_VALID)
		return phone->status == STATUS_SUSPENDED ? REASON_SUSPENDED : REASON_REVOKED;
	if (policy->require_pin && !(p->has_pin && p->pin))
		return REASON_POSTURE_PIN;
	if (!policy_app_allowed(policy, span_str(p->app)))
		return REASON_POSTURE_APP;
	if (!p->checked || p->checked + policy->posture_max_age < now)
		return REASON_POSTURE_STALE;
	return REASON_NONE;
}

static int check_issue(const struct desk *desk, const struct phone *phone,
		       const struct act_args *args)
{
	struct policy policy;
	enum reason reason;
	int r = sign_policy_now(desk->db, &policy);

	if (r < 0)
		return desk_fail_errno(desk, r, "the policy");
	if (!phone->has_pub)
		return desk_fail(desk, DESK_REFUSED,
				 "the desk has no public key of that phone: 'staff key' first");
	if (args->anyway)
		return 0;
	if (args->for_s > policy.max_lifetime)
		return desk_fail(desk, DESK_REFUSED,
				 "%" PRIu64 " s is longer than the policy's max-lifetime, %" PRIu64
				 " s: locks would refuse it",
				 args->for_s, policy.max_lifetime);
	reason = posture_reason(&policy, phone, desk_now());
	if (reason == REASON_NONE)
		return 0;
	return desk_fail(desk, DESK_REFUSED, "not issued: %s (%s)", words_reason(reason),
			 reason_word(reason));
}

static int sign_one(const struct desk *desk, const struct phone *phone, const char *lock,
		    const struct act_args *args, json_t *ret, char error[static KEYRING_ERROR_CAP])
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	struct authorization_request request = {
		.phone = phone,
		.lock = lock,
		.scope = args->scope,
		.now = desk_now(),
		.lifetime = args->for_s,
	};
	struct authorization a;
	int r = db_begin(desk->db, &tx);

	if (r == 0)
		r = authorization_sign(desk, &request, &a, error);
	if (r == 0)
		r = desk_log(desk, (struct act){.act = "issue",
						.person = phone->person,
						.phone = phone->label,
						.lock = lock,
						.cti = SPAN(a.cti)});
	if (r == 0)
		r = db_commit(&tx);
	if (r < 0)
		return r;
	if (args->out) {
		cleanup(freep) char *path = NULL;

		if (asprintf(&path, "%s/%s.cose", args->out, lock) < 0)
			return -ENOMEM;
		r = file_write(path, span_of(a.bytes, a.len), 0600);
		if (r < 0)
			snprintf(error, KEYRING_ERROR_CAP, "%s: %s", path, strerror(-r));
	}
	json_array_append_new(ret,
			      json_pack("{s:s, s:o, s:I, s:o}", "lock", lock, "cti",
					show_hex(SPAN(a.cti)), "exp", (json_int_t)a.exp,
					"authorization", show_base64url(span_of(a.bytes, a.len))));
	return r;
}

static int issue_all(const struct desk *desk, const struct phone *phone,
		     const struct act_args *args, json_t *rows)
{
	char error[KEYRING_ERROR_CAP] = "", id[ID_MAX + 2];
	struct lock_row lock;
	int r;

	/* all or none: a phone with half its doors is a surprise at the other half */
	for (const char *list = args->locks; list;) {
		list = command_next_id(list, id);
		r = find_lock(desk, id, &lock);
		if (r != 0)
			return r;
	}
	for (const char *list = args->locks; list;) {
		list = command_next_id(list, id);
		r = sign_one(desk, phone, id, args, rows, error);
		if (r < 0)
			return error[0] ? desk_fail(desk, DESK_REFUSED, "%s", error)
					: desk_fail_errno(desk, r, "issue");
	}
	return 0;
}

int command_issue(struct desk *desk, int argc, char **argv)
{
	struct act_args args;
	struct phone phone;
	json_t *rows = json_array(), *row;
	size_t i;
	int r = parse(desk, argc, argv, SCOPE_UNLOCK, &args);

	if (r == 0 && (!args.locks || !args.for_s))
		r = command_usage(desk, "--locks L,.. and --for 8h are needed");
	if (r == 0)
		r = command_one_phone(desk, args.person, args.phone, &phone);
	if (r == 0)
		r = check_issue(desk, &phone, &args);
	if (r == 0 && args.out && mkdir(args.out, 0700) < 0 && errno != EEXIST)
		r = desk_fail(desk, DESK_REFUSED, "%s: %s", args.out, strerror(errno));
	if (r == 0)
		r = issue_all(desk, &phone, &args, rows);
	if (r == 0 && desk->json) {
		show_answer(desk, json_incref(rows), "%s", "");
	} else if (r == 0) {
		json_array_foreach(rows, i, row)
		{
			const char *lock = json_string_value(json_object_get(row, "lock"));

			if (args.out)
				printf("%s/%s.cose\n", args.out, lock);
			else
				printf("%s %s\n", lock,
				       json_string_value(json_object_get(row, "authorization")));
		}
	}
	json_decref(rows);
	return r;
}
