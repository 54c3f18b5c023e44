// SPDX-License-Identifier: Apache-2.0
/* lockbridgectl lock: scan, claim, release, remove. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/span.h"
#include "ctl/door.h"

#define SCAN_S	5
#define PRESS_S 60

enum { OPTION_KEY = CTL_OWN, OPTION_ADDRESS, OPTION_SECONDS };

static int usage(FILE *to, int code)
{
	fprintf(to, "Usage: lockbridgectl lock ACTION\n\n"
		    "  scan [--seconds N]            the locks on air, and whom they obey\n"
		    "  claim FILE [--key BASE64] [--address ADDRESS] [--seconds N]\n"
		    "                                makes a new lock obey the city: FILE is what\n"
		    "                                `lockbridge-desk lock claim LOCK --out FILE` "
		    "wrote,\n"
		    "                                --key what is printed on the lock; --seconds: "
		    "how\n"
		    "                                long to wait for its button (60)\n"
		    "  release FILE                  sets a lock free: FILE is what\n"
		    "                                `lockbridge-desk lock release LOCK --out "
		    "FILE` wrote\n"
		    "  remove LOCK                   takes a lock that is gone out of the "
		    "configuration\n\n"
		    "Exit status: 0 done, 1 not done, and why, 2 wrong usage.\n");
	return code;
}

/* --- scan --------------------------------------------------------------------------------------- */

static const char *whom(const json_t *row)
{
	const json_t *owner = json_object_get(row, "owner");

	if (!owner)
		return door_yes(row, "unowned") ? "nobody" : "not known";
	return json_is_null(owner)     ? "nobody"
	       : door_yes(row, "ours") ? "this city"
				       : json_string_value(owner);
}

static void show_row(const json_t *row)
{
	const json_t *rssi = json_object_get(row, "rssi");
	const char *id = door_text(row, "id"), *key = door_text(row, "key");
	char signal[16] = "-";

	if (rssi)
		snprintf(signal, sizeof(signal), "%lld dBm", (long long)json_integer_value(rssi));
	printf("%-17s  %-8s  %-16s  %-16s  %-10s  %-7s  %s\n", door_text(row, "address"), signal,
	       *id ? id : "-", whom(row), door_yes(row, "configured") ? "yes" : "no",
	       door_yes(row, "attention") ? "yes" : "no", *key ? key : "-");
}

static void show_scan(const json_t *rows)
{
	const json_t *row;
	size_t i;

	if (json_array_size(rows) == 0) {
		puts("No lock is heard.");
		return;
	}
	printf("%-17s  %-8s  %-16s  %-16s  %-10s  %-7s  %s\n", "ADDRESS", "SIGNAL", "LOCK", "OBEYS",
	       "CONFIGURED", "PRESSED", "KEY");
	json_array_foreach(rows, i, row)
	{
		show_row(row);
	}
}

static int scan(struct door *door, const struct door_options *options)
{
	json_t *rows = door_scan(door, options->seconds);

	if (!rows)
		return door_fail(door);
	if (door->ctl->json) {
		json_dumpf(rows, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		show_scan(rows);
	}
	json_decref(rows);
	return CTL_FINE;
}

/* --- remove ------------------------------------------------------------------------------------- */

static int remove_lock(struct door *door, const struct door_options *options)
{
	json_t *answer;

	if (door_may_write(door) < 0 || door_remove(door, options->file) < 0)
		return door_fail(door);
	if (!door->ctl->json) {
		printf("%s is out of the configuration. It was not released: where it still "
		       "exists, it obeys the city as before.\n",
		       options->file);
		return CTL_FINE;
	}
	answer = json_pack("{s:s,s:s}", "lock", options->file, "outcome", "removed");
	json_dumpf(answer, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(answer);
	return CTL_FINE;
}

/* --- the command line --------------------------------------------------------------------------- */

static const struct action {
	const char *word;
	bool argument;
	unsigned seconds;
	int (*run)(struct door *door, const struct door_options *options);
} actions[] = {
	{"scan", false, SCAN_S, scan},
	{"claim", true, PRESS_S, door_claim},
	{"release", true, 0, door_release},
	{"remove", true, 0, remove_lock},
};

static const struct action *find_action(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		if (strcmp(actions[i].word, word) == 0)
			return &actions[i];
	}
	return NULL;
}

/* -1: go on; else the exit status. */
static int read_options(struct ctl *ctl, int argc, char **argv, struct door_options *ret)
{
	static const struct option options[] = {
		{"key", required_argument, NULL, OPTION_KEY},
		{"address", required_argument, NULL, OPTION_ADDRESS},
		{"seconds", required_argument, NULL, OPTION_SECONDS},
		CTL_OPTIONS,
		{NULL, 0, NULL, 0},
	};
	int option, r = -1;
	char *end;

	optind = 0;
	while (r < 0 && (option = getopt_long(argc, argv, CTL_OPTIONS_SHORT, options, NULL)) >= 0) {
		if (option == OPTION_KEY) {
			ret->key = optarg;
		} else if (option == OPTION_ADDRESS) {
			ret->address = optarg;
		} else if (option == OPTION_SECONDS) {
			ret->seconds = (unsigned)strtoul(optarg, &end, 10);
			if (!*optarg || *end || ret->seconds < 1 ||
			    ret->seconds > CONTROL_SCAN_MAX) {
				fprintf(stderr, "--seconds: 1 to %u are possible.\n",
					CONTROL_SCAN_MAX);
				return CTL_USAGE;
			}
		} else if (option == 'h') {
			return usage(stdout, CTL_FINE);
		} else {
			r = option == '?' ? usage(stderr, CTL_USAGE)
					  : ctl_option(ctl, option, optarg);
		}
	}
	return r;
}

int ctl_lock(struct ctl *ctl, int argc, char **argv)
{
	struct door_options options = {0};
	const struct action *action;
	struct door door;
	int r = read_options(ctl, argc, argv, &options);

	if (r >= 0)
		return r;
	action = optind < argc ? find_action(argv[optind]) : NULL;
	if (!action || argc - optind != 1 + action->argument || ctl->follow ||
	    ((options.key || options.address) && action->run != door_claim))
		return usage(stderr, CTL_USAGE);
	options.file = action->argument ? argv[optind + 1] : NULL;
	if (!options.seconds)
		options.seconds = action->seconds;
	r = door_open(ctl, &door);
	r = r < 0 ? door_fail(&door) : action->run(&door, &options);
	door_close(&door);
	return r;
}
