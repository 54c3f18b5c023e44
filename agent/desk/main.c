// SPDX-License-Identifier: Apache-2.0
/*
 * lockbridge-desk: the city's side, as a reference backend. This file finds the command and opens
 * the registry; each command has a function of its own (command.h).
 */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/crypto.h"
#include "desk/command.h"
#include "desk/registry.h"

#define DEFAULT_DIR "/var/lib/lockbridge-desk"

#define WHO  "(--person ID | --phone NUMBER)"
#define WAIT "[--wait S | --no-wait]"

static const struct command commands[] = {
	{"init",
	 "--broker HOST:PORT [--ca FILE --cert FILE --key FILE] [--public HOST:PORT]\n"
	 "    [--broker ...] [--root-topic lockbridge] [--issuer URI] [--uri URI] [--entries "
	 "32768]\n"
	 "    [--certificate-lifetime 90d]",
	 "Makes the registry, the keys and the first documents.", command_init, true},
	{"config set",
	 "[--broker HOST:PORT [--ca ...] ...] [--root-topic T] [--list-lifetime 48h]\n"
	 "    [--keep-events 14d] [--certificate-lifetime 90d]",
	 "Changes settings. The brokers given replace those set before.", command_config_set},
	{"config show", "", "Shows the settings.", command_config_show},
	{"staff add",
	 "--person ID --phone NUMBER [--key FILE.pem]\n"
	 "    [--pin | --no-pin] [--app ID] [--platform NAME]",
	 "Enrols a member of staff with a phone. --key: the phone's public key, for the door.",
	 command_staff_add},
	{"staff posture", WHO " [--pin | --no-pin] [--app ID] [--platform NAME] [--checked TIME]",
	 "Notes what was seen of a phone when it was checked.", command_staff_posture},
	{"staff key", WHO " --key FILE.pem", "Notes a phone's public key.", command_staff_key},
	{"staff list", "", "Lists people and phones.", command_staff_list},
	{"staff remove", WHO " " WAIT, "Revokes, and forgets the person's data.",
	 command_staff_remove},
	{"gateway add", "ID [--request FILE|- [--replace] [--out FILE] [--broker HOST[:PORT]]]",
	 "Adds a gateway; with its request, enrols it.\nWrites the enrolment file of the box, with "
	 "a client certificate for the key in the request.\nAgain with the same key: a new file; "
	 "with another key (a new box): --replace.\n--broker names the one of the set that it "
	 "prefers, as gateways find it; the others follow.",
	 command_gateway_add},
	{"gateway revoke", "ID",
	 "Revokes a gateway: no broker lets it in, no certificate is issued to it.",
	 command_gateway_revoke},
	{"gateway list", "", "Lists the gateways and what they said last.", command_gateway_list},
	{"lock add", "ID --key BASE64 --gateway GW[,GW2]", "Adds a lock and its public key.",
	 command_lock_add},
	{"lock list", "", "Lists the locks and what their receipts prove.", command_lock_list},
	{"lock remove", "ID [--destroyed]",
	 "Takes a lock out of the fleet: one that was released, or is gone for ever.",
	 command_lock_remove},
	{"lock claim", "ID [--out FILE]", "Signs the document that makes a new lock the city's.",
	 command_lock_claim},
	{"lock release", "ID [--out FILE]", "Signs the document that frees a lock from the city.",
	 command_lock_release},
	{"unlock", WHO " --lock L [--wait S] [--anyway]",
	 "Opens a door through its gateway.\nExit status: 0 done, 1 refused or failed, 3 unknown, "
	 "4 no answer.",
	 command_unlock},
	{"lock", WHO " --lock L [--wait S] [--anyway]", "Locks a door through its gateway.",
	 command_lock},
	{"unlatch", WHO " --lock L [--wait S] [--anyway]", "Pulls the latch through the gateway.",
	 command_unlatch},
	{"issue", WHO " --locks L[,L2] --for 8h [--scope unlock] [--out DIR] [--anyway]",
	 "Signs authorizations that the phone carries to the door.", command_issue},
	{"revoke", WHO " " WAIT, "Revokes phones, and follows it to every gateway and lock.",
	 command_revoke},
	{"suspend", WHO " " WAIT, "Suspends phones until 'restore'.", command_suspend},
	{"restore", WHO " " WAIT, "Makes phones valid again.", command_restore},
	{"change-lock", "(L | '*') " WAIT,
	 "Makes every authorization issued so far for a lock worthless.", command_change_lock},
	{"policy set",
	 "[--require-pin yes|no] [--app ID]... [--any-app] [--posture-max-age 24h]\n"
	 "    [--max-relay 60s] [--max-lifetime 12h] [--report-manual yes|no] " WAIT,
	 "Changes the policy.", command_policy_set},
	{"policy show", "", "Shows the policy.", command_policy_show},
	{"keys rotate", "root|policy|revoke|authorize " WAIT,
	 "Makes a new key, drops the old one, signs anew what that one had signed.",
	 command_keys_rotate},
	{"keys show", "[root|policy|revoke|authorize]",
	 "Lists the keys, or prints one public key as PEM: 'keys show root' is for the gateways.",
	 command_keys_show},
	{"publish", WAIT, "Signs what is due and publishes every document.", command_publish},
	{"disown", "DIGEST", "Declares that a list which a gateway holds is not the city's.",
	 command_disown},
	{"who-can-open", "L", "Lists who can open a lock, and how.", command_who_can_open},
	{"exposed", "",
	 "Lists the doors that do not yet hold the newest list, and until when it matters.",
	 command_exposed},
	{"log", "[--person ID | --phone NUMBER] [--lock L] [--since TIME] [--limit N]",
	 "Shows what the desk did, and openings that locks reported.", command_log},
	{"alarms", "", "Shows what somebody should look into.", command_alarms},
	{"watch", "", "Shows events as they come.", command_watch},
	{"broker files", "[--out FOLDER] [--host NAME]...",
	 "Writes what a mosquitto needs: certificates, revocation list, access rules.\nThe folder "
	 "is remembered, and kept up to date. --host: also makes the broker's own certificate,\n"
	 "for a name or address that it is reached under.",
	 command_broker_files},
	{"serve", "", "Keeps documents fresh and the fleet up to date, and collects events.",
	 command_serve},
	{"document show", "FILE | -", "Shows any document as text.", command_document_show, true},
};

static void print_help(void)
{
	puts("lockbridge-desk [--dir DIR] [--json] [--operator NAME] COMMAND ...\n\n"
	     "The city's desk for lockbridge. DIR is also $LOCKBRIDGE_DESK_DIR, else " DEFAULT_DIR
	     ".\n"
	     "--reveal shows persons and phone numbers in log, watch and reports.\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-15s %.*s\n", commands[i].name, (int)strcspn(commands[i].help, "\n"),
		       commands[i].help);
	puts("\nlockbridge-desk COMMAND --help shows a command's options. Persons: personnummer "
	     "or\n"
	     "samordningsnummer. Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 "
	     "unknown,\n"
	     "4 no answer, or not from all.");
}

static int print_command_help(const struct command *c)
{
	printf("lockbridge-desk %s %s\n\n%s\n", c->name, c->synopsis, c->help);
	return DESK_DONE;
}

/* The command that the first words name: two words win over one. */
static const struct command *find_command(int argc, char **argv, int *ret_words)
{
	char two[64] = "";

	if (argc > 1)
		snprintf(two, sizeof(two), "%s %s", argv[0], argv[1]);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, two)) {
			*ret_words = 2;
			return &commands[i];
		}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, argv[0])) {
			*ret_words = 1;
			return &commands[i];
		}
	return NULL;
}

static bool takes(const char *name, int *i, int argc, char **argv, const char **ret)
{
	size_t len = strlen(name);

	if (!strcmp(argv[*i], name) && *i + 1 < argc) {
		*ret = argv[++*i];
		return true;
	}
	if (!strncmp(argv[*i], name, len) && argv[*i][len] == '=') {
		*ret = argv[*i] + len + 1;
		return true;
	}
	return false;
}

/* Takes the options that every command has out of argv, wherever they stand. */
static int take_common(struct desk *desk, int argc, char **argv, bool *ret_help)
{
	int kept = 0, i = 0;

	for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (!strcmp(argv[i], "--json"))
			desk->json = true;
		else if (!strcmp(argv[i], "--reveal"))
			desk->reveal = true;
		else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			*ret_help = true;
		else if (!takes("--dir", &i, argc, argv, &desk->dir) &&
			 !takes("--operator", &i, argc, argv, &desk->operator))
			argv[kept++] = argv[i];
	}
	for (; i < argc; i++)
		argv[kept++] = argv[i];
	argv[kept] = NULL;
	return kept;
}

static const char *default_operator(void)
{
	const char *name = getenv("SUDO_USER");
	const struct passwd *user;

	if (!name)
		name = getenv("USER");
	if (name && *name)
		return name;
	user = getpwuid(getuid());
	return user ? user->pw_name : "unknown";
}

static const char *default_dir(void)
{
	const char *dir = getenv("LOCKBRIDGE_DESK_DIR");

	return dir && *dir ? dir : DEFAULT_DIR;
}

static int run(struct desk *desk, const struct command *command, int argc, char **argv)
{
	char error[512] = "";
	int r, status;

	if (!command->without_registry) {
		r = registry_open(desk->dir, error, sizeof(error), &desk->db);
		if (r < 0)
			return desk_fail(desk, DESK_REFUSED, "%s", error);
	}
	opterr = 0;
	status = command->run(desk, argc, argv);
	db_close(desk->db);
	return status;
}

int main(int argc, char **argv)
{
	struct desk desk = {.operator= default_operator(), .dir = default_dir()};
	const struct command *command;
	bool help = false;
	int words;

	/* keys and the registry are nobody else's */
	umask(077);
	if (crypto_init() < 0)
		return desk_fail(&desk, DESK_REFUSED, "the cryptography library does not start");
	argc = take_common(&desk, argc - 1, argv + 1, &help);
	argv++;
	if (argc > 0 && (!strcmp(argv[0], "--version") || !strcmp(argv[0], "-V"))) {
		puts("lockbridge-desk " LOCKBRIDGE_VERSION);
		return DESK_DONE;
	}
	if (argc == 0 || !strcmp(argv[0], "help")) {
		print_help();
		return help || argc > 0 ? DESK_DONE : DESK_USAGE;
	}
	command = find_command(argc, argv, &words);
	if (!command)
		return command_usage(&desk, "no such command: %s", argv[0]);
	if (help)
		return print_command_help(command);
	return run(&desk, command, argc - words + 1, argv + words - 1);
}
