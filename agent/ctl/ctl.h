/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * lockbridgectl: for the person at the box. Asks the agent over D-Bus and shows its answers as
 * tables, or as the JSON they came in.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

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
