// SPDX-License-Identifier: Apache-2.0
/* The agent's answers in words and columns. See ctl.h. */
#include "ctl/ctl.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define COLUMNS_MAX 8

static const char *text(const json_t *object, const char *name)
{
	const char *value = json_string_value(json_object_get(object, name));

	return value ? value : "";
}

static long long number(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

static bool yes(const json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}

static const char *when(long long seconds, char ret[static 32])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (seconds <= 0 || !localtime_r(&t, &tm)) {
		strcpy(ret, "never");
		return ret;
	}
	strftime(ret, 32, "%Y-%m-%d %H:%M:%S", &tm);
	return ret;
}

/* --- tables ------------------------------------------------------------------------------------- */

struct table {
	size_t columns, rows;
	size_t width[COLUMNS_MAX];
	char cells[128][COLUMNS_MAX][64];
};

static void put(struct table *t, size_t column, const char *value)
{
	char *cell = t->cells[t->rows][column];

	snprintf(cell, sizeof(t->cells[0][0]), "%s", value);
	if (strlen(cell) > t->width[column])
		t->width[column] = strlen(cell);
}

static void next_row(struct table *t)
{
	if (t->rows + 1 < sizeof(t->cells) / sizeof(t->cells[0]))
		t->rows++;
}

static void heads(struct table *t, const char *const *names, size_t n)
{
	memset(t, 0, sizeof(*t));
	t->columns = n;
	for (size_t i = 0; i < n; i++)
		put(t, i, names[i]);
	next_row(t);
}

static void print(const struct table *t)
{
	for (size_t row = 0; row < t->rows; row++) {
		for (size_t i = 0; i < t->columns; i++) {
			if (i + 1 == t->columns)
				printf("%s\n", t->cells[row][i]);
			else
				printf("%-*s  ", (int)t->width[i], t->cells[row][i]);
		}
	}
}

/* --- answers ------------------------------------------------------------------------------------ */

static size_t show_problems(const json_t *problems, const char *indent)
{
	const json_t *problem;
	size_t i;

	json_array_foreach(problems, i, problem)
	{
		printf("%s%s", indent, text(problem, "code"));
		if (*text(problem, "detail"))
			printf(": %s", text(problem, "detail"));
		putchar('\n');
	}
	return json_array_size(problems);
}

static void show_broker(const json_t *broker)
{
	if (yes(broker, "connected"))
		printf("Broker      connected to %s\n", text(broker, "host"));
	else
		printf("Broker      not connected: %s\n", text(broker, "last_error"));
}

static void show_certificate(const json_t *certificate)
{
	long long days = number(certificate, "days");
	char at[32];

	if (!certificate)
		return;
	printf("Certificate valid until %s", when(number(certificate, "not_after"), at));
	if (days < 0)
		printf(", expired\n");
	else
		printf(", %lld day%s left\n", days, days == 1 ? "" : "s");
}

static void show_opens(const json_t *opens)
{
	char at[32];

	if (!opens)
		return;
	if (strcmp(text(opens, "relayed"), "yes") == 0)
		printf("Opens       relayed: what the city signs now");
	else
		printf("Opens       relayed: nothing (%s)", text(opens, "relayed"));
	printf("; at the door: until %s at the latest\n", when(number(opens, "door_until"), at));
	if (yes(opens, "early"))
		puts("            what begins later opens already: the time is only reckoned");
}

void show_status(const json_t *status)
{
	const json_t *state = json_object_get(status, "state");
	const json_t *radio = json_object_get(state, "radio");
	const json_t *clock = json_object_get(state, "clock");
	const json_t *health = json_object_get(status, "health");
	const json_t *problems = json_object_get(state, "problems");
	bool online = yes(json_object_get(status, "broker"), "connected");
	char at[32];

	printf("Gateway     %s, version %s, running for %lld min\n", text(status, "gateway"),
	       text(state, "version"), number(health, "uptime") / 60);
	show_broker(json_object_get(status, "broker"));
	show_certificate(json_object_get(state, "certificate"));
	printf("Radio       %s %s\n", text(radio, "adapter"),
	       yes(radio, "up") ? "is up" : "is down");
	printf("Clock       %s%s\n", when(number(clock, "now"), at),
	       yes(clock, "synchronised") ? "" : ", not synchronised");
	show_opens(json_object_get(state, "opens"));
	printf("Locks       %zu\n", json_array_size(json_object_get(state, "locks")));
	printf("Documents   %zu\n", json_array_size(json_object_get(state, "documents")));
	printf("Events      %lld, of which %lld wait for the broker\n", number(state, "seq"),
	       number(state, "outbox"));
	if (json_array_size(problems) == 0) {
		printf("Problems    %s\n", online ? "none" : "the broker is not connected");
		return;
	}
	printf("Problems\n");
	show_problems(problems, "  ");
	printf("Run `lockbridgectl diagnose` for causes and next steps.\n");
}

void show_locks(const json_t *locks)
{
	static const char *const names[] = {"LOCK",   "IN REACH", "BOLT",	"BATTERY",
					    "SIGNAL", "CURRENT",  "LAST HEARD", "PROBLEMS"};
	static struct table table;
	const json_t *lock;
	char cell[64];
	size_t i;

	heads(&table, names, 8);
	json_array_foreach(locks, i, lock)
	{
		const json_t *problems = json_object_get(lock, "problems");

		put(&table, 0, text(lock, "id"));
		put(&table, 1, yes(lock, "reachable") ? "yes" : "no");
		put(&table, 2, text(lock, "bolt"));
		snprintf(cell, sizeof(cell), "%lld %%", number(lock, "battery"));
		put(&table, 3, json_is_integer(json_object_get(lock, "battery")) ? cell : "-");
		snprintf(cell, sizeof(cell), "%lld dBm", number(lock, "rssi"));
		put(&table, 4, json_is_integer(json_object_get(lock, "rssi")) ? cell : "-");
		put(&table, 5, yes(lock, "current") ? "yes" : "no");
		put(&table, 6, when(number(lock, "seen"), cell));
		snprintf(cell, sizeof(cell), "%zu", json_array_size(problems));
		put(&table, 7, json_array_size(problems) ? cell : "none");
		next_row(&table);
	}
	print(&table);
}

void show_documents(const json_t *documents)
{
	static const char *const names[] = {"DOCUMENT", "SIGNED", "VALID UNTIL", "DIGEST"};
	static struct table table;
	const json_t *document;
	char at[32];
	size_t i;

	heads(&table, names, 4);
	json_array_foreach(documents, i, document)
	{
		put(&table, 0, text(document, "name"));
		put(&table, 1, when(number(document, "iat"), at));
		put(&table, 2, number(document, "exp") ? when(number(document, "exp"), at) : "-");
		put(&table, 3, text(document, "digest"));
		next_row(&table);
	}
	print(&table);
}

void show_diagnosis(const json_t *problems)
{
	const json_t *problem;
	size_t i;

	if (json_array_size(problems) == 0) {
		puts("No problems.");
		return;
	}
	json_array_foreach(problems, i, problem)
	{
		const char *lock = text(problem, "lock");

		printf("%s%s%s%s", i ? "\n" : "", *lock ? "Lock " : "Gateway", lock, ": ");
		printf("%s", text(problem, "code"));
		if (*text(problem, "detail"))
			printf(" (%s)", text(problem, "detail"));
		putchar('\n');
		if (*text(problem, "cause"))
			printf("  Cause:  %s\n", text(problem, "cause"));
		if (*text(problem, "next"))
			printf("  Next:   %s\n", text(problem, "next"));
	}
}

void show_test(const json_t *result)
{
	long long signal = number(result, "signal");

	printf("Lock        %s answers\n", text(result, "lock"));
	if (signal)
		printf("Signal      %lld dBm (%s)\n", signal,
		       signal > -70   ? "good"
		       : signal > -85 ? "weak"
				      : "at the edge: move the gateway closer");
	if (number(result, "connect_ms"))
		printf("Connecting  %lld ms\n", number(result, "connect_ms"));
	else
		printf("Connecting  was connected already\n");
	printf("Round trip  %lld ms\n", number(result, "round_trip_ms"));
}

void show_event(const json_t *event)
{
	const json_t *document = json_object_get(event, "document");
	static const char *const details[] = {"lock",  "scope", "outcome", "reason",
					      "first", "cti",	"detail"};
	char at[32];

	printf("%6lld  %s  %s", number(event, "seq"), when(number(event, "time"), at),
	       text(event, "type"));
	for (size_t i = 0; i < sizeof(details) / sizeof(details[0]); i++) {
		if (*text(event, details[i]))
			printf("  %s", text(event, details[i]));
	}
	if (document)
		printf("  %s", text(document, "name"));
	putchar('\n');
}

/* --- is all well? ------------------------------------------------------------------------------- */

enum ctl_exit judge_status(const json_t *status)
{
	const json_t *problems = json_object_get(json_object_get(status, "state"), "problems");

	return json_array_size(problems) == 0 && yes(json_object_get(status, "broker"), "connected")
		       ? CTL_FINE
		       : CTL_PROBLEM;
}

enum ctl_exit judge_locks(const json_t *locks)
{
	const json_t *lock;
	size_t i;

	json_array_foreach(locks, i, lock)
	{
		if (json_array_size(json_object_get(lock, "problems")))
			return CTL_PROBLEM;
	}
	return CTL_FINE;
}

enum ctl_exit judge_documents(const json_t *documents)
{
	return json_array_size(documents) ? CTL_FINE : CTL_PROBLEM;
}

enum ctl_exit judge_diagnosis(const json_t *problems)
{
	return json_array_size(problems) ? CTL_PROBLEM : CTL_FINE;
}
