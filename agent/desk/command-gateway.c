// SPDX-License-Identifier: Apache-2.0
/* gateway: adding, enrolling, revoking, listing. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "desk/broker-files.h"
#include "desk/broker-identity.h"
#include "desk/command.h"
#include "desk/current.h"
#include "desk/enrol.h"
#include "desk/fleet.h"
#include "desk/keyring.h"
#include "desk/registry.h"
#include "desk/show.h"
#include "link/file.h"

static const struct option options[] = {
	{"request", required_argument, NULL, 'q'},
	{"out", required_argument, NULL, 'o'},
	{"broker", required_argument, NULL, 'b'},
	{"replace", no_argument, NULL, 'r'},
	{0},
};

struct gateway_args {
	const char *id, *request, *out, *broker;
	bool replace;
};

static int parse(const struct desk *desk, int argc, char **argv, struct gateway_args *a)
{
	int c, r;

	*a = (struct gateway_args){0};
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'q')
			a->request = optarg;
		else if (c == 'o')
			a->out = optarg;
		else if (c == 'b')
			a->broker = optarg;
		else if (c == 'r')
			a->replace = true;
		else
			return command_usage(desk, "no such option, or its value is missing");
	}
	if (argc - optind != 1)
		return command_usage(desk, "one gateway id is needed");
	a->id = argv[optind];
	r = command_id(desk, "gateway", a->id);
	/* The brokers know the desk by that name, and let it do everything. */
	if (r == 0 && !strcmp(a->id, BROKER_IDENTITY_NAME))
		return command_usage(desk, "a gateway cannot be called " BROKER_IDENTITY_NAME
					   ": that is the desk's own name at the brokers");
	return r;
}

/* --- add, enrol ------------------------------------------------------------------------------- */

static int add_plain(struct desk *desk, const struct gateway_args *a)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	int r = db_begin(desk->db, &tx);

	if (r == 0)
		r = gateway_add(desk->db, a->id, desk_now());
	if (r == -EEXIST)
		return desk_fail(desk, DESK_REFUSED, "gateway %s is there already", a->id);
	if (r == 0)
		r = desk_log(desk, (struct act){.act = "gateway.add", .gateway = a->id});
	if (r == 0)
		r = db_commit(&tx);
	if (r < 0)
		return desk_fail_errno(desk, r, "gateway add");
	show_answer(desk, json_pack("{s:s}", "gateway", a->id), "Gateway %s added.", a->id);
	return DESK_DONE;
}

/* A request is small; what is longer is none. */
static int read_request(const struct desk *desk, const char *path, char text[X509_PEM_MAX],
			size_t *ret_len)
{
	const char *from = strcmp(path, "-") != 0 ? path : "/dev/stdin";
	int r = file_read(from, text, X509_PEM_MAX, ret_len);

	if (r == -EFBIG)
		return desk_fail(desk, DESK_REFUSED, "%s: too long for a certificate request",
				 path);
	return r < 0 ? desk_fail(desk, DESK_REFUSED, "%s: %s", path, strerror(-r)) : 0;
}

static int show_enrolment(const struct desk *desk, const struct gateway_args *a,
			  const struct enrolment_answer *answer)
{
	char words[BROKER_FILES_WORDS_CAP], until[SHOW_TIME_CAP], kid[HEX_CAP(DIGEST_LEN)] = "";
	struct key root;
	int r = broker_files_update(desk, desk_now(), words);

	if (r < 0)
		return desk_fail_errno(desk, r, "gateway add");
	r = a->out ? file_write(a->out, span_str(answer->text), 0600) : 0;
	if (r < 0)
		return desk_fail(desk, DESK_REFUSED,
				 "%s: %s. Gateway %s is enrolled: run this again for its file",
				 a->out, strerror(-r), a->id);
	if (keyring_public(desk->db, ROLE_ROOT, &root) == 0)
		hex_encode(SPAN(root.kid), kid, sizeof(kid));
	if (!desk->json && !a->out) {
		/* the file alone: it is piped on */
		fputs(answer->text, stdout);
		if (*words)
			fprintf(stderr, "%s\n", words);
		return DESK_DONE;
	}
	show_answer(desk,
		    json_pack("{s:s, s:s, s:I, s:b, s:s, s:s, s:s}", "gateway", a->id, "serial",
			      answer->certificate.serial, "not_after",
			      (json_int_t)answer->certificate.not_after, "replaced",
			      answer->replaced, "root", kid, "enrolment", answer->text, "broker",
			      words),
		    "Gateway %s enrolled%s, certificate until %s. On the box: lockbridgectl enrol "
		    "%s\nand compare: the root's kid is %s.%s%s",
		    a->id, answer->replaced ? " anew: its old key is revoked" : "",
		    show_time(answer->certificate.not_after, until), a->out ? a->out : "FILE", kid,
		    *words ? "\n" : "", words);
	return DESK_DONE;
}

int command_gateway_add(struct desk *desk, int argc, char **argv)
{
	cleanup(enrolment_answer_deinit) struct enrolment_answer answer = {0};
	char request[X509_PEM_MAX], error[ENROL_ERROR_CAP] = "";
	struct enrolment_order order = {.now = desk_now()};
	struct gateway_args a;
	size_t len;
	int r = parse(desk, argc, argv, &a);

	if (r != 0)
		return r;
	if (!a.request)
		return a.replace || a.out || a.broker
			       ? command_usage(desk, "--request FILE is needed as well")
			       : add_plain(desk, &a);
	r = read_request(desk, a.request, request, &len);
	if (r != 0)
		return r;
	order.gateway = a.id;
	order.request = span_of(request, len);
	order.replace = a.replace;
	order.broker = a.broker;
	r = enrol(desk, &order, &answer, error);
	if (r != 0)
		return error[0] ? desk_fail(desk, DESK_REFUSED, "%s", error)
				: desk_fail_errno(desk, r, "gateway add");
	return show_enrolment(desk, &a, &answer);
}

/* --- revoke ----------------------------------------------------------------------------------- */

int command_gateway_revoke(struct desk *desk, int argc, char **argv)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	char words[BROKER_FILES_WORDS_CAP];
	struct gateway_args a;
	bool already = false;
	int r = parse(desk, argc, argv, &a);

	if (r == 0 && (a.request || a.out || a.replace || a.broker))
		r = command_usage(desk, "an id, and no option, is needed");
	if (r != 0)
		return r;
	r = db_begin(desk->db, &tx);
	if (r == 0)
		r = gateway_known(desk->db, a.id);
	if (r == 0)
		return desk_fail(desk, DESK_REFUSED, "no such gateway: %s", a.id);
	if (r > 0)
		r = enrolled_revoke(desk->db, a.id, desk_now());
	already = r > 0;
	if (r == 0)
		r = desk_log(desk, (struct act){.act = "gateway.revoke", .gateway = a.id});
	if (r >= 0)
		r = db_commit(&tx);
	if (r == 0)
		r = broker_files_update(desk, desk_now(), words);
	if (r < 0)
		return desk_fail_errno(desk, r, "gateway revoke");
	show_answer(
		desk,
		json_pack("{s:s, s:b, s:s}", "gateway", a.id, "already", already, "broker", words),
		"Gateway %s %s revoked.%s%s", a.id, already ? "was already" : "is",
		*words ? "\n" : "", words);
	return DESK_DONE;
}

/* --- list ------------------------------------------------------------------------------------- */

static void gateway_words(const struct current *current, const char *state, json_t *row)
{
	cleanup(freep) struct message_state *s = malloc(sizeof(*s));
	char text[80] = "";
	json_t *problems = json_array();
	size_t lacking;

	if (!*state || !s || message_state_parse(span_str(state), s) != 0) {
		json_object_set_new(row, "problems", problems);
		return;
	}
	for (size_t i = 0; i < s->problems.n; i++)
		json_array_append_new(problems, json_string(s->problems.list[i].code));
	lacking = current_lacking(current, s, NULL, NULL);
	snprintf(text, sizeof(text), "%s", lacking ? "behind" : "current");
	json_object_set_new(row, "documents", json_string(text));
	json_object_set_new(row, "version", json_string(s->version));
	if (s->opens.relayed[0]) {
		json_object_set_new(row, "opens",
				    json_pack("{s:s, s:I, s:I, s:b}", "relayed", s->opens.relayed,
					      "relayed_until", (json_int_t)s->opens.relayed_until,
					      "door_until", (json_int_t)s->opens.door_until,
					      "early", s->opens.early));
		json_object_set_new(row, "_opens", json_string(s->opens.relayed));
	}
	json_object_set_new(row, "locks", json_integer((json_int_t)s->nlocks));
	json_object_set_new(row, "problems", problems);
}

/* Days left, "revoked", or nothing for a gateway that was never enrolled. */
static int certificate_words(struct db *db, const char *id, json_t *row)
{
	cleanup(certificate_deinit) struct certificate certificate = {0};
	uint64_t now = desk_now();
	struct enrolled enrolled;
	int64_t days;
	int r = enrolled_find(db, id, &enrolled);

	if (r < 0)
		return r;
	json_object_set_new(row, "revoked", json_boolean(enrolled.revoked));
	if (enrolled.revoked)
		return json_object_set_new(row, "_certificate", json_string("revoked"));
	r = certificate_newest(db, id, &certificate);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	days = ((int64_t)certificate.not_after - (int64_t)now) / 86400;
	json_object_set_new(row, "certificate",
			    json_pack("{s:s, s:I, s:I}", "serial", certificate.serial, "not_after",
				      (json_int_t)certificate.not_after, "days", (json_int_t)days));
	return json_object_set_new(row, "_certificate",
				   certificate.not_after <= now ? json_string("expired")
								: json_sprintf("%d d", (int)days));
}

int command_gateway_list(struct desk *desk, int argc, char **argv)
{
	static const struct show_column columns[] = {
		{"id", "GATEWAY"},	  {"presence", "PRESENCE"},
		{"_said", "SAID LAST"},	  {"documents", "DOCUMENTS"},
		{"_opens", "OPENS"},	  {"version", "VERSION"},
		{"locks", "LOCKS"},	  {"_certificate", "CERTIFICATE"},
		{"problems", "PROBLEMS"}, {0},
	};
	cleanup(current_deinit) struct current current = {0};
	cleanup(db_end) struct db_query q =
		db_query(desk->db, "SELECT id, presence, state, state_at FROM gateway ORDER BY id");
	json_t *rows = json_array();
	int r;

	if (argc != 1) {
		json_decref(rows);
		return command_usage(desk, "%s: not expected here", argv[1]);
	}
	r = current_load(desk->db, &current);
	while (r >= 0 && (r = db_step(&q)) > 0) {
		char said[SHOW_TIME_CAP];
		json_t *row = json_pack("{s:s, s:s, s:I, s:s}", "id", db_text(&q, 0), "presence",
					db_is_null(&q, 1) ? "unknown" : db_text(&q, 1), "said",
					(json_int_t)db_int(&q, 3), "_said",
					show_time(db_uint(&q, 3), said));

		gateway_words(&current, db_text(&q, 2), row);
		r = certificate_words(desk->db, db_text(&q, 0), row);
		json_array_append_new(rows, row);
	}
	if (r < 0) {
		json_decref(rows);
		return desk_fail_errno(desk, r, "gateway list");
	}
	show_rows(desk, columns, rows, "no gateway has been added");
	return DESK_DONE;
}
