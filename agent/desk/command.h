/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The commands of lockbridge-desk, one function each: argv[0] is the last word of the command. */
#include <getopt.h>

#include "core/policy.h"
#include "desk/desk.h"
#include "desk/staff.h"

struct command {
	const char *name;     /* "staff add" */
	const char *synopsis; /* its options */
	const char *help;     /* one line, then more after a line break */
	int (*run)(struct desk *desk, int argc, char **argv);
	bool without_registry;
};

/* What getopt_long gave was '?', or words are wrong: says so, with the hint. DESK_USAGE. */
int command_usage(const struct desk *desk, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Values from the command line, in their one form; the complaint is printed. 0 or DESK_USAGE. */
int command_person(const struct desk *desk, const char *text, char ret[static PERSON_LEN + 1]);
int command_phone(const struct desk *desk, const char *text, char ret[static PHONE_CAP]);
int command_id(const struct desk *desk, const char *what, const char *text);
int command_duration(const struct desk *desk, const char *what, const char *text, uint64_t *ret);
/* The next id of "a,b", cut where it still is none if it is too long: the rest, NULL behind the last.
 */
const char *command_next_id(const char *list, char ret[static ID_MAX + 2]);
/* The one phone that --person and --phone name. 0, DESK_USAGE or DESK_REFUSED (said). */
int command_one_phone(const struct desk *desk, const char *person, const char *phone,
		      struct phone *ret);
/* "yes", "no", "true", "false", "on", "off" */
bool command_bool(const char *text, bool *ret);

int command_init(struct desk *desk, int argc, char **argv);
int command_config_set(struct desk *desk, int argc, char **argv);
int command_config_show(struct desk *desk, int argc, char **argv);
int command_staff_add(struct desk *desk, int argc, char **argv);
int command_staff_posture(struct desk *desk, int argc, char **argv);
int command_staff_key(struct desk *desk, int argc, char **argv);
int command_staff_list(struct desk *desk, int argc, char **argv);
int command_staff_remove(struct desk *desk, int argc, char **argv);
int command_gateway_add(struct desk *desk, int argc, char **argv);
int command_gateway_revoke(struct desk *desk, int argc, char **argv);
int command_gateway_list(struct desk *desk, int argc, char **argv);
int command_lock_add(struct desk *desk, int argc, char **argv);
int command_lock_list(struct desk *desk, int argc, char **argv);
int command_lock_claim(struct desk *desk, int argc, char **argv);
int command_lock_release(struct desk *desk, int argc, char **argv);
int command_lock_remove(struct desk *desk, int argc, char **argv);
int command_unlock(struct desk *desk, int argc, char **argv);
int command_lock(struct desk *desk, int argc, char **argv);
int command_unlatch(struct desk *desk, int argc, char **argv);
int command_issue(struct desk *desk, int argc, char **argv);
int command_revoke(struct desk *desk, int argc, char **argv);
int command_suspend(struct desk *desk, int argc, char **argv);
int command_restore(struct desk *desk, int argc, char **argv);
int command_change_lock(struct desk *desk, int argc, char **argv);
int command_policy_set(struct desk *desk, int argc, char **argv);
int command_policy_show(struct desk *desk, int argc, char **argv);
int command_keys_rotate(struct desk *desk, int argc, char **argv);
int command_keys_show(struct desk *desk, int argc, char **argv);
int command_publish(struct desk *desk, int argc, char **argv);
int command_disown(struct desk *desk, int argc, char **argv);
int command_who_can_open(struct desk *desk, int argc, char **argv);
int command_exposed(struct desk *desk, int argc, char **argv);
int command_log(struct desk *desk, int argc, char **argv);
int command_alarms(struct desk *desk, int argc, char **argv);
int command_watch(struct desk *desk, int argc, char **argv);
int command_broker_files(struct desk *desk, int argc, char **argv);
int command_serve(struct desk *desk, int argc, char **argv);
int command_document_show(struct desk *desk, int argc, char **argv);
