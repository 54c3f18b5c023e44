// SPDX-License-Identifier: Apache-2.0
/* lockbridgectl: options and the one question that a command is. See ctl.h. */
#include "ctl/ctl.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-event.h>

#include "core/span.h"
#include "link/bus.h"
#include "link/config.h"
#include "link/control.h"

struct command {
	const char *word, *method;
	void (*show)(const json_t *value);
	enum ctl_exit (*judge)(const json_t *value); /* NULL: always fine */
	const char *argument;			     /* NULL: none */
	const char *what;
};

struct asking {
	const struct ctl *ctl;
	sd_event *event;
	const struct command *command;
	long long last; /* newest event shown */
	enum ctl_exit result;
};

static const struct command commands[] = {
	{"status", "Status", show_status, judge_status, NULL, "how the gateway is"},
	{"locks", "Locks", show_locks, judge_locks, NULL, "its locks, as it knows them"},
	{"documents", "Documents", show_documents, judge_documents, NULL,
	 "what it holds of the city's"},
	{"events", "Events", show_event, NULL, NULL, "what happened; --follow: goes on"},
	{"test", "Test", show_test, NULL, "LOCK", "range and relay test; the bolt does not move"},
	{"diagnose", "Diagnose", show_diagnosis, judge_diagnosis, NULL,
	 "cause and next step of each problem"},
	{"reload", "Reload", NULL, NULL, NULL, "reads the configuration again"},
	{"check-config", NULL, NULL, NULL, "FILE", "reads FILE, and says what is wrong with it"},
};

static enum ctl_exit usage(FILE *to, enum ctl_exit code)
{
	fprintf(to, "Usage: lockbridgectl [--json] COMMAND\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(to, "  %-12s %-5s %s\n", commands[i].word,
			commands[i].argument ? commands[i].argument : "", commands[i].what);
	fprintf(to, "\n  --json         the answer as JSON\n"
		    "  --follow       with events: until interrupted\n"
		    "  --limit N      with events: the last N (20)\n"
		    "  --gateway ID   which agent, if several run on one bus\n"
		    "  --bus ADDRESS  another bus than the system's\n\n"
		    "Exit status: 0 all is well, 1 there is a problem, 2 wrong usage.\n");
	return code;
}

/* --- answers ------------------------------------------------------------------------------------ */

static void show_line(struct asking *asking, const char *line)
{
	json_t *value = json_loads(line, 0, NULL);

	if (!value) {
		fprintf(stderr, "The agent's answer cannot be read.\n");
		asking->result = CTL_PROBLEM;
		return;
	}
	asking->last = json_integer_value(json_object_get(value, "seq"));
	if (asking->ctl->json)
		puts(line);
	else
		asking->command->show(value);
	fflush(stdout);
	if (asking->command->judge)
		asking->result = asking->command->judge(value);
	json_decref(value);
}

static bool not_there(const char *error)
{
	return strcmp(error, "org.freedesktop.DBus.Error.ServiceUnknown") == 0 ||
	       strcmp(error, "org.freedesktop.DBus.Error.NameHasNoOwner") == 0;
}

static void explain(const struct control_answer *answer)
{
	if (not_there(answer->error))
		fprintf(stderr,
			"The lockbridge agent does not run.\n"
			"Next: systemctl start lockbridge, then journalctl -u lockbridge.\n");
	else if (strcmp(answer->error, "org.freedesktop.DBus.Error.AccessDenied") == 0)
		fprintf(stderr, "Not allowed to ask the agent.\nNext: run it with sudo.\n");
	else
		fprintf(stderr, "%s\n", *answer->text ? answer->text : answer->error);
}

static void on_answer(const struct control_answer *answer, void *user)
{
	struct asking *asking = user;

	if (answer->error) {
		explain(answer);
		asking->result = CTL_PROBLEM;
		sd_event_exit(asking->event, 0);
		return;
	}
	if (!asking->command->show && !asking->ctl->json)
		puts("Done.");
	for (size_t i = 0; i < answer->count && asking->command->show; i++)
		show_line(asking, answer->lines[i]);
	if (!asking->ctl->follow)
		sd_event_exit(asking->event, 0);
}

static void on_event(const char *json, void *user)
{
	struct asking *asking = user;
	json_t *value = json_loads(json, 0, NULL);
	/* Between asking for the past and listening to the present some may come twice. */
	bool new = json_integer_value(json_object_get(value, "seq")) > asking->last;

	json_decref(value);
	if (new)
		show_line(asking, json);
}

static void on_gone(void *user)
{
	struct asking *asking = user;

	fprintf(stderr, "The lockbridge agent does not run.\n"
			"Next: systemctl start lockbridge, then journalctl -u lockbridge.\n");
	asking->result = CTL_PROBLEM;
	sd_event_exit(asking->event, 0);
}

static void on_lost(void *user)
{
	struct asking *asking = user;

	fprintf(stderr, "The system bus is gone.\n");
	asking->result = CTL_PROBLEM;
	sd_event_exit(asking->event, 0);
}

/* --- asking ------------------------------------------------------------------------------------- */

static enum ctl_exit ask(const struct ctl *ctl, const struct command *command, const char *argument)
{
	static const struct bus_ops bus_ops = {.lost = on_lost};
	struct asking asking = {.ctl = ctl, .command = command, .result = CTL_FINE};
	char name[sizeof(CONTROL_NAME_OF) + ID_MAX];
	struct control_watch_ops watch_ops = {.event = on_event, .gone = on_gone};
	struct control_question question = {
		.method = command->method,
		.lock = argument,
		.since = -ctl->limit,
		.limit = (uint32_t)ctl->limit,
		.timeout_ms = strcmp(command->method, "Test") == 0 ? 120000 : 0,
	};
	struct control_watch *watch = NULL;
	struct bus *bus = NULL;
	int r = sd_event_default(&asking.event);

	if (ctl->gateway) {
		snprintf(name, sizeof(name), CONTROL_NAME_OF "%s", ctl->gateway);
		question.name = watch_ops.name = name;
	}
	if (r >= 0)
		r = bus_open(asking.event, ctl->bus, &bus_ops, &asking, &bus);
	if (r < 0) {
		fprintf(stderr, "Cannot reach the system bus: %s\nNext: systemctl status dbus.\n",
			strerror(-r));
		sd_event_unref(asking.event);
		return CTL_PROBLEM;
	}
	if (ctl->follow)
		r = control_watch(bus, &watch_ops, &asking, &watch);
	if (r >= 0)
		r = control_ask(bus, &question, on_answer, &asking);
	if (r >= 0)
		r = sd_event_loop(asking.event);
	if (r < 0) {
		fprintf(stderr, "Cannot ask the agent: %s\n", strerror(-r));
		asking.result = CTL_PROBLEM;
	}
	control_unwatch(watch);
	bus_close(bus);
	sd_event_unref(asking.event);
	return asking.result;
}

static enum ctl_exit check_config(const struct ctl *ctl, const char *path)
{
	struct config *config = malloc(sizeof(*config));
	char error[1024];
	int r = config ? config_load(path, config, error, sizeof(error)) : -ENOMEM;

	free(config);
	if (ctl->json) {
		json_t *answer = r < 0 ? json_pack("{s:b,s:s}", "ok", 0, "error", error)
				       : json_pack("{s:b}", "ok", 1);

		json_dumpf(answer, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(answer);
	} else if (r < 0) {
		fprintf(stderr, "%s\n", error);
	} else {
		printf("%s is fine.\n", path);
	}
	return r < 0 ? CTL_PROBLEM : CTL_FINE;
}

static enum ctl_exit run(const struct ctl *ctl, int argc, char **argv)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *command = &commands[i];
		const char *argument = argc > 1 ? argv[1] : NULL;

		if (strcmp(argv[0], command->word) != 0)
			continue;
		if (argc != (command->argument ? 2 : 1) ||
		    (ctl->follow && strcmp(command->word, "events") != 0))
			return usage(stderr, CTL_USAGE);
		return command->method ? ask(ctl, command, argument) : check_config(ctl, argument);
	}
	return usage(stderr, CTL_USAGE);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},	 {"follow", no_argument, NULL, 'f'},
		{"bus", required_argument, NULL, 'b'},	 {"gateway", required_argument, NULL, 'g'},
		{"limit", required_argument, NULL, 'n'}, {"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},	 {NULL, 0, NULL, 0},
	};
	struct ctl ctl = {.limit = 20};
	char *end;
	int option;

	while ((option = getopt_long(argc, argv, "jfn:h", options, NULL)) >= 0) {
		switch (option) {
		case 'j':
			ctl.json = true;
			break;
		case 'f':
			ctl.follow = true;
			break;
		case 'b':
			ctl.bus = optarg;
			break;
		case 'g':
			if (!id_valid(span_str(optarg)))
				return usage(stderr, CTL_USAGE);
			ctl.gateway = optarg;
			break;
		case 'n':
			ctl.limit = strtol(optarg, &end, 10);
			if (*end || ctl.limit < 1 || ctl.limit > (long)CONTROL_EVENTS_MAX)
				return usage(stderr, CTL_USAGE);
			break;
		case 'v':
			puts("lockbridgectl " LOCKBRIDGE_VERSION);
			return CTL_FINE;
		case 'h':
			return usage(stdout, CTL_FINE);
		default:
			return usage(stderr, CTL_USAGE);
		}
	}
	if (optind == argc)
		return usage(stderr, CTL_USAGE);
	return run(&ctl, argc - optind, argv + optind);
}
