/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * lockbridgectl: for the person at the box. Asks the agent over D-Bus and shows its answers as
 * tables, or as the JSON they came in; and what must be done without the agent: enrolment, files.
 */
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum ctl_exit {
	CTL_FINE = 0,
	CTL_PROBLEM = 1, /* something is wrong, with the gateway or with asking it */
	CTL_USAGE = 2,
};

struct ctl {
	const char *bus;     /* address; NULL: the system bus */
	const char *gateway; /* id; NULL: the only agent there is */
	bool json, follow;
	long limit; /* of events */
};

/* main.c: the options that each command takes, before its word and behind it; for the tables of
 * commands with options of their own. Their own values are above CTL_OWN. */
#define CTL_OWN 256
#define CTL_OPTIONS                                                                                \
	{"json", no_argument, NULL, 'j'}, {"follow", no_argument, NULL, 'f'},                      \
		{"bus", required_argument, NULL, 'b'}, {"gateway", required_argument, NULL, 'g'},  \
		{"limit", required_argument, NULL, 'n'}, {"version", no_argument, NULL, 'v'},      \
	{                                                                                          \
		"help", no_argument, NULL, 'h'                                                     \
	}
#define CTL_OPTIONS_SHORT "jfn:h"
/* -1: taken; else the program ends with this status. */
int ctl_option(struct ctl *ctl, int option, const char *value);
int ctl_usage(FILE *to, int code);

/* ask.c: one question to the agent. argument: of Test. */
struct ctl_question {
	const char *method;
	void (*show)(const json_t *value);	     /* NULL: only whether it went well */
	enum ctl_exit (*judge)(const json_t *value); /* NULL: always fine */
};
enum ctl_exit ctl_ask(const struct ctl *ctl, const struct ctl_question *question,
		      const char *argument);

/* The same for further use: value (yours), or a D-Bus error's name and text. */
struct ctl_fetched {
	json_t *value;
	char error[128], text[256];
};
void ctl_fetch(const struct ctl *ctl, const char *method, struct ctl_fetched *ret);
bool ctl_not_there(const char *error); /* nobody has the agent's name */
/* diagnose.c: why not, and what to do, to stderr. */
void ctl_explain_absence(const struct ctl *ctl);

/* Commands with a file of their own; argv[0] is the command's word, and getopt begins anew. */
int ctl_check_config(struct ctl *ctl, int argc, char **argv);
int ctl_request(struct ctl *ctl, int argc, char **argv); /* request.c */
int ctl_enrol(struct ctl *ctl, int argc, char **argv);	 /* enrol.c */
int ctl_diagnose(struct ctl *ctl, int argc, char **argv);
int ctl_lock(struct ctl *ctl, int argc, char **argv);

/* show.c: a value as the agent gave it, for a person. */
void show_status(const json_t *status);
void show_locks(const json_t *locks);
void show_documents(const json_t *documents);
void show_diagnosis(const json_t *problems);
void show_test(const json_t *result);
void show_event(const json_t *event);
/* The exit status that follows from it. */
enum ctl_exit judge_status(const json_t *status);
enum ctl_exit judge_locks(const json_t *locks);
enum ctl_exit judge_documents(const json_t *documents);
enum ctl_exit judge_diagnosis(const json_t *problems);
