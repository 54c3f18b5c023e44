// SPDX-License-Identifier: Apache-2.0
/* log and alarms: what was done at the desk, and what locks reported. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "desk/certificates.h"
#include "desk/command.h"
#include "desk/registry.h"
#include "desk/show.h"

#define LIMIT 100

struct log_args {
	const char *person, *phone, *lock;
	uint64_t since, limit;
};

static const struct option options[] = {
	{"person", required_argument, NULL, 'p'}, {"phone", required_argument, NULL, 'n'},
	{"lock", required_argument, NULL, 'l'},	  {"since", required_argument, NULL, 's'},
	{"limit", required_argument, NULL, 'm'},  {0},
};

static int take_number(const struct desk *desk, const char *what, uint64_t *ret)
{
	char *end;

	*ret = strtoull(optarg, &end, 10);
	return *end || !*optarg ? command_usage(desk, "--%s: a number is needed", what) : 0;
}

static int parse(const struct desk *desk, int argc, char **argv, struct log_args *a)
{
	int c, r = 0;

	*a = (struct log_args){.limit = LIMIT};
	while (r == 0 && (c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'p')
			a->person = optarg;
		else if (c == 'n')
			a->phone = optarg;
		else if (c == 'l')
			a->lock = optarg;
		else if (c == 's')
			r = take_number(desk, "since", &a->since);
		else if (c == 'm')
			r = take_number(desk, "limit", &a->limit);
		else
			r = command_usage(desk, "no such option, or its value is missing");
	}
	if (r == 0 && optind < argc)
		r = command_usage(desk, "%s: not expected here", argv[optind]);
	return r;
}

/* The pseudonym or label to look for, "" for none. */
static int whose(const struct desk *desk, const struct log_args *a, char person[static LABEL_CAP],
		 char phone[static LABEL_CAP])
{
	struct phone phones[STAFF_PHONES_MAX];
	char id[PERSON_LEN + 1];
	int r;

	person[0] = phone[0] = '\0';
	if (a->phone) {
		r = command_one_phone(desk, a->person, a->phone, &phones[0]);
		if (r == 0)
			memcpy(phone, phones[0].label, LABEL_CAP);
		return r;
	}
	if (!a->person)
		return 0;
	r = command_person(desk, a->person, id);
	if (r != 0)
		return r;
	r = phones_of(desk->db, id, phones);
	if (r == -ENOENT)
		return desk_fail(desk, DESK_REFUSED, "no such person is enrolled");
	if (r < 0)
		return desk_fail_errno(desk, r, "looking for the person");
	memcpy(person, phones[0].person, LABEL_CAP);
	return 0;
}

/* Acts at the desk, what became of relayed ones, and what locks said happened at the door. */
static const char query[] =
	"SELECT * FROM ("
	" SELECT l.time AS time, l.operator AS who, l.act AS what, l.person AS person,"
	"  l.phone AS phone, l.lock AS lock, coalesce(i.outcome, '') AS outcome,"
	"  coalesce(i.reason, json_extract(l.detail, '$.reason'), '') AS reason, l.detail AS "
	"detail, l.id AS place,"
	"  coalesce(i.proven, 0) AS verified, coalesce(i.via, '') AS via, NULL AS n,"
	"  l.gateway AS gateway"
	"  FROM log l LEFT JOIN issued i ON i.cti = l.cti AND i.via = 'relay'"
	" UNION ALL"
	" SELECT r.iat, 'lock', coalesce(i.scope, 'opened'), i.person, i.phone, r.lock, r.outcome,"
	"  r.reason, NULL, r.n, 1, r.via, r.n, r.gateway"
	"  FROM receipt r LEFT JOIN issued i ON i.cti = r.cti"
	"  WHERE length(r.cti) = 16 AND r.via = 'door'"
	") WHERE time >= ?1 AND (?2 = '' OR person = ?2) AND (?3 = '' OR phone = ?3)"
	" AND (?4 = '' OR lock = ?4) ORDER BY time DESC, place DESC LIMIT ?5";

static json_t *row_of(const struct desk *desk, struct db_query *q, bool reveal)
{
	char at[SHOW_TIME_CAP];
	struct phone phone;
	json_t *detail = json_loads(db_text(q, 8), JSON_DECODE_ANY, NULL);
	json_t *row = json_pack(
		"{s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:o, s:s}", "time",
		(json_int_t)db_int(q, 0), "_time", show_time(db_uint(q, 0), at), "operator",
		db_text(q, 1), "act", db_text(q, 2), "pseudonym", db_text(q, 3), "phone",
		db_text(q, 4), "lock", db_text(q, 5), "outcome", db_text(q, 6), "reason",
		db_text(q, 7), "verified", (int)db_int(q, 10), "via", db_text(q, 11), "detail",
		detail ? detail : json_null(), "gateway", db_text(q, 13));

	if (row && !db_is_null(q, 12))
		json_object_set_new(row, "n", json_integer((json_int_t)db_int(q, 12)));
	if (row && reveal && phone_by_label(desk->db, db_text(q, 4), &phone) == 0) {
		json_object_set_new(row, "person", json_string(phone.person_number));
		json_object_set_new(row, "number", json_string(phone.number));
	}
	return row;
}

int command_log(struct desk *desk, int argc, char **argv)
{
	static const struct show_column columns[] = {
		{"_time", "TIME"},	{"operator", "OPERATOR"},
		{"act", "ACT"},		{"via", "VIA"},
		{"phone", "PHONE"},	{"lock", "LOCK"},
		{"gateway", "GATEWAY"}, {"outcome", "OUTCOME"},
		{"reason", "REASON"},	{0},
	};
	static const struct show_column revealing[] = {
		{"_time", "TIME"},
		{"operator", "OPERATOR"},
		{"act", "ACT"},
		{"via", "VIA"},
		{"person", "PERSON"},
		{"number", "NUMBER"},
		{"lock", "LOCK"},
		{"gateway", "GATEWAY"},
		{"outcome", "OUTCOME"},
		{"reason", "REASON"},
		{0},
	};
	char person[LABEL_CAP], phone[LABEL_CAP];
	json_t *rows = json_array();
	struct log_args a;
	bool reveal;
	int r = parse(desk, argc, argv, &a);

	if (r == 0)
		r = whose(desk, &a, person, phone);
	if (r == 0) {
		cleanup(db_end) struct db_query q = db_query(desk->db, query);

		/* who asks with the person knows it already */
		reveal = desk->reveal || a.person || a.phone;
		db_bind_uint(&q, a.since);
		db_bind_text(&q, person);
		db_bind_text(&q, phone);
		db_bind_text(&q, a.lock ? a.lock : "");
		db_bind_uint(&q, a.limit);
		while ((r = db_step(&q)) > 0)
			json_array_insert_new(rows, 0, row_of(desk, &q, reveal));
		if (r == 0) {
			show_rows(desk, reveal ? revealing : columns, rows, "nothing");
			return DESK_DONE;
		}
		r = desk_fail_errno(desk, r, "log");
	}
	json_decref(rows);
	return r;
}

int command_alarms(struct desk *desk, int argc, char **argv)
{
	static const struct show_column columns[] = {{"_time", "TIME"},
						     {"kind", "ALARM"},
						     {"subject", "WHERE"},
						     {"detail", "WHAT"},
						     {0}};
	cleanup(db_end) struct db_query q =
		db_query(desk->db, "SELECT time, kind, subject, detail FROM alarm ORDER BY id");
	json_t *rows = json_array();
	int r = certificates_watch(desk->db, desk_now());

	while (r >= 0 && (r = db_step(&q)) > 0) {
		char at[SHOW_TIME_CAP];

		json_array_append_new(rows, json_pack("{s:I, s:s, s:s, s:s, s:s}", "time",
						      (json_int_t)db_int(&q, 0), "_time",
						      show_time(db_uint(&q, 0), at), "kind",
						      db_text(&q, 1), "subject", db_text(&q, 2),
						      "detail", db_text(&q, 3)));
	}
	if (r < 0) {
		json_decref(rows);
		return desk_fail_errno(desk, r, "alarms");
	}
	show_rows(desk, columns, rows, "no alarms");
	return DESK_DONE;
}
