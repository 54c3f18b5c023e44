// SPDX-License-Identifier: Apache-2.0
/*
 * lockbridgectl diagnose: the agent's problems, and those that keep it from telling any: not enrolled,
 * not started, refused, a file that is missing or open to others.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/files.h"
#include "ctl/service.h"

/* An agent on another bus, or one of several, has its files who knows where. */
static bool files_are_known(const struct ctl *ctl)
{
	return !ctl->bus && !ctl->gateway;
}

static void not_enrolled(const struct box *box, struct trouble *t)
{
	bool key = access(box->key, F_OK) == 0;

	trouble_say(
		t, "not-enrolled",
		key ? "if the request has not been taken to the city's desk yet: lockbridgectl "
		      "request GATEWAY prints it again; then lockbridgectl enrol with the file "
		      "that the desk makes for it"
		    : "lockbridgectl request GATEWAY, take what it prints to the city's desk, then "
		      "lockbridgectl enrol with the file that the desk makes for it",
		"This box is not enrolled%s.",
		key ? ", though it has a key" : ": it knows no city, and has no key");
}

/* box: NULL if its files are not known. */
static void absence(const struct ctl *ctl, const struct box *box, struct trouble *t)
{
	struct service service;
	char cause[900], next[400];

	if (box && !files_enrolled(box)) {
		not_enrolled(box, t);
		return;
	}
	service_look(ctl, &service);
	service_explain(&service, cause, next);
	trouble_say(t, "agent-absent", next, "%s", cause);
}

void ctl_explain_absence(const struct ctl *ctl)
{
	struct trouble t = {0};
	struct box box;
	bool known = files_are_known(ctl) && box_init(&box, NULL, NULL, &t) == 0;

	absence(ctl, known ? &box : NULL, &t);
	fprintf(stderr, "%s\nNext: %s.\n", t.what, t.next);
}

static bool has_code(const json_t *problems, const char *code)
{
	const json_t *problem;
	size_t i;

	json_array_foreach(problems, i, problem)
	{
		const char *its = json_string_value(json_object_get(problem, "code"));

		if (its && strcmp(its, code) == 0)
			return true;
	}
	return false;
}

/* What the agent says itself, it says better. */
static void merge(json_t *problems, const json_t *agents)
{
	size_t i = 0;

	while (i < json_array_size(problems)) {
		const json_t *ours = json_array_get(problems, i);

		if (has_code(agents, json_string_value(json_object_get(ours, "code"))))
			json_array_remove(problems, i);
		else
			i++;
	}
	json_array_extend(problems, (json_t *)agents);
}

static int diagnose(const struct ctl *ctl, const struct box *box)
{
	json_t *problems = json_array();
	struct ctl_fetched fetched;
	struct trouble t = {0};
	int status;

	if (box && files_enrolled(box))
		files_check(box, (uint64_t)time(NULL), problems);
	ctl_fetch(ctl, "Diagnose", &fetched);
	if (json_is_array(fetched.value)) {
		merge(problems, fetched.value);
	} else if (strcmp(fetched.error, "org.freedesktop.DBus.Error.AccessDenied") == 0) {
		files_add(problems, "not-allowed", "", "This user may not ask the agent.",
			  "run it with sudo");
	} else {
		absence(ctl, box, &t);
		files_add(problems, t.code, "", t.what, t.next);
	}
	json_decref(fetched.value);
	if (ctl->json) {
		json_dumpf(problems, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		show_diagnosis(problems);
	}
	status = judge_diagnosis(problems);
	json_decref(problems);
	return status;
}

static int usage(FILE *to, int code)
{
	fprintf(to,
		"Usage: lockbridgectl diagnose [--json]\n"
		"Cause and next step of each problem; as root also of the files that only root may "
		"read.\n\n"
		"  --etc DIR    the files of another folder than " BOX_ETC ", and\n"
		"  --state DIR  than " BOX_STATE "\n");
	return code;
}

int ctl_diagnose(struct ctl *ctl, int argc, char **argv)
{
	enum { ETC = CTL_OWN, STATE };
	static const struct option options[] = {
		CTL_OPTIONS,
		{"etc", required_argument, NULL, ETC},
		{"state", required_argument, NULL, STATE},
		{NULL, 0, NULL, 0},
	};
	const char *etc = NULL, *state = NULL;
	struct trouble t = {0};
	struct box box;
	int option, r = -1;

	optind = 0;
	while ((option = getopt_long(argc, argv, CTL_OPTIONS_SHORT, options, NULL)) >= 0) {
		if (option == ETC)
			etc = optarg;
		else if (option == STATE)
			state = optarg;
		else if (option == 'h')
			return usage(stdout, CTL_FINE);
		else
			r = ctl_option(ctl, option, optarg);
		if (r >= 0)
			return r;
	}
	if (argc != optind || ctl->follow)
		return usage(stderr, CTL_USAGE);
	if (!etc && !state && !files_are_known(ctl))
		return diagnose(ctl, NULL);
	if (box_init(&box, etc, state, &t) == 0)
		return diagnose(ctl, &box);
	fprintf(stderr, "%s\nNext: %s\n", t.what, t.next);
	return CTL_USAGE;
}
