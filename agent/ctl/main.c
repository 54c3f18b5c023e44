// SPDX-License-Identifier: Apache-2.0
/* lockbridgectl: the commands, and the options that all of them take. See ctl.h. */
#include "ctl/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/span.h"
#include "core/token.h"
#include "link/config.h"
#include "link/control.h"

/* Either a question to the agent, or a function of this program with options of its own. Words that
 * share their first one share their function. */
struct command {
	const char *word;
	const char *arguments; /* as usage shows them */
	const char *what;
	struct ctl_question question;
	int (*run)(struct ctl *ctl, int argc, char **argv);
};

static const struct command commands[] = {
	{"status", "", "how the gateway is", {"Status", show_status, judge_status}},
	{"locks", "", "its locks, as it knows them", {"Locks", show_locks, judge_locks}},
	{"documents",
	 "",
	 "what it holds of the city's",
	 {"Documents", show_documents, judge_documents}},
	{"events", "", "what happened; --follow: goes on", {"Events", show_event}},
	{"test", "LOCK", "range and relay test; the bolt does not move", {"Test", show_test}},
	{"diagnose", "", "cause and next step of each problem", .run = ctl_diagnose},
	{"reload", "", "reads the configuration again", {"Reload"}},
	{"lock scan", "", "the locks on air, and whom they obey", .run = ctl_lock},
	{"lock claim", "FILE", "makes a new lock obey the city; lock --help", .run = ctl_lock},
	{"lock release", "FILE", "sets a lock free", .run = ctl_lock},
	{"lock remove", "LOCK", "takes a lock that is gone out of the configuration",
	 .run = ctl_lock},
	{"request", "GATEWAY", "this box's key, and a request for its certificate",
	 .run = ctl_request},
	{"enrol", "FILE", "makes this box a gateway, by the desk's file", .run = ctl_enrol},
	{"check-config", "FILE", "reads FILE, and says what is wrong with it",
	 .run = ctl_check_config},
};

int ctl_usage(FILE *to, int code)
{
	fprintf(to, "Usage: lockbridgectl [--json] COMMAND\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(to, "  %-12s %-8s %s\n", commands[i].word, commands[i].arguments,
			commands[i].what);
	fprintf(to, "\n  --json         the answer as JSON\n"
		    "  --follow       with events: until interrupted\n"
		    "  --limit N      with events: the last N (20)\n"
		    "  --gateway ID   which agent, if several run on one bus\n"
		    "  --bus ADDRESS  another bus than the system's\n\n"
		    "Exit status: 0 all is well, 1 there is a problem, 2 wrong usage.\n");
	return code;
}

int ctl_option(struct ctl *ctl, int option, const char *value)
{
	char *end;

	switch (option) {
	case 'j':
		ctl->json = true;
		return -1;
	case 'f':
		ctl->follow = true;
		return -1;
	case 'b':
		ctl->bus = value;
		return -1;
	case 'g':
		ctl->gateway = value;
		return id_valid(span_str(value)) ? -1 : ctl_usage(stderr, CTL_USAGE);
	case 'n':
		ctl->limit = strtol(value, &end, 10);
		if (*end || ctl->limit < 1 || ctl->limit > (long)CONTROL_EVENTS_MAX)
			return ctl_usage(stderr, CTL_USAGE);
		return -1;
	case 'v':
		puts("lockbridgectl " LOCKBRIDGE_VERSION);
		return CTL_FINE;
	case 'h':
		return ctl_usage(stdout, CTL_FINE);
	default:
		return ctl_usage(stderr, CTL_USAGE);
	}
}

/* From argv[1] on; shape as getopt's. -1, or the program ends with this status. */
static int read_options(struct ctl *ctl, int argc, char **argv, const char *shape)
{
	static const struct option options[] = {CTL_OPTIONS, {NULL, 0, NULL, 0}};
	int option, r = -1;

	optind = 0; /* anew */
	while (r < 0 && (option = getopt_long(argc, argv, shape, options, NULL)) >= 0)
		r = ctl_option(ctl, option, optarg);
	return r;
}

int ctl_check_config(struct ctl *ctl, int argc, char **argv)
{
	static struct config config;
	char error[1024];
	int r = read_options(ctl, argc, argv, CTL_OPTIONS_SHORT);

	if (r >= 0)
		return r;
	if (argc - optind != 1)
		return ctl_usage(stderr, CTL_USAGE);
	r = config_load(argv[optind], &config, error, sizeof(error));
	if (ctl->json) {
		json_t *answer = r < 0 ? json_pack("{s:b,s:s}", "ok", 0, "error", error)
				       : json_pack("{s:b}", "ok", 1);

		json_dumpf(answer, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(answer);
	} else if (r < 0) {
		fprintf(stderr, "%s\n", error);
	} else {
		printf("%s is fine.\n", argv[optind]);
	}
	return r < 0 ? CTL_PROBLEM : CTL_FINE;
}

static int ask(struct ctl *ctl, const struct command *command, int argc, char **argv)
{
	int wanted = *command->arguments != '\0';
	int ended = read_options(ctl, argc, argv, CTL_OPTIONS_SHORT);

	if (ended >= 0)
		return ended;
	if (argc - optind != wanted || (ctl->follow && strcmp(command->word, "events") != 0))
		return ctl_usage(stderr, CTL_USAGE);
	return (int)ctl_ask(ctl, &command->question, wanted ? argv[optind] : NULL);
}

int main(int argc, char **argv)
{
	struct ctl ctl = {.limit = 20};
	/* "+": what stands behind the command's word is the command's */
	int ended = read_options(&ctl, argc, argv, "+" CTL_OPTIONS_SHORT);

	if (ended >= 0)
		return ended;
	argc -= optind;
	argv += optind;
	for (size_t i = 0; i < ARRAY_SIZE(commands) && argc > 0; i++) {
		size_t first = strcspn(commands[i].word, " ");

		if (strlen(argv[0]) != first || memcmp(argv[0], commands[i].word, first) != 0)
			continue;
		if (commands[i].run)
			return commands[i].run(&ctl, argc, argv);
		return ask(&ctl, &commands[i], argc, argv);
	}
	return ctl_usage(stderr, CTL_USAGE);
}
