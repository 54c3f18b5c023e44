/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The agent's own D-Bus interface, org.lockbridge.Gateway1 at /org/lockbridge/gateway, and the
 * client's side of it for lockbridgectl. Who may call is the bus policy's business.
 *
 *   Status() -> s, Locks() -> s, Documents() -> s, Diagnose() -> s    one JSON text each
 *   Events(x since, u limit) -> as                                   one JSON text per event
 *   Test(s lock) -> s                                                answered when the test is over
 *   Scan(u seconds) -> s             locks on air, configured or not; 0: as heard a moment ago
 *   Document(s base64url) -> s       what gw/<gw>/document takes, answered when its fate is known
 *   Reload()                                                         or error .Refused with the text
 *   signal Event(s)
 *
 * The JSON is in docs/protocol.md section 11. A caller of Test, Scan or Document that leaves the bus
 * takes its question along.
 */
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#define CONTROL_NAME	   "org.lockbridge.Gateway1"
#define CONTROL_NAME_OF	   CONTROL_NAME ".gw-" /* and the gateway's id: one of several agents */
#define CONTROL_PATH	   "/org/lockbridge/gateway"
#define CONTROL_INTERFACE  "org.lockbridge.Gateway1"
#define CONTROL_EVENTS_MAX 1000u /* per call, whatever the limit says */
#define CONTROL_TASKS_MAX  8u	 /* waiting at once; more: error .Busy */
#define CONTROL_SCAN_MAX   60u	 /* seconds */

struct bus;
struct control;
struct control_task;

struct control_ops {
	/* JSON, malloc'd, freed here; NULL: error .Failed */
	char *(*status)(void *user);
	char *(*locks)(void *user);
	char *(*documents)(void *user);
	char *(*diagnose)(void *user);
	/* Calls line() for each event with seq > since, oldest first, at most limit; 0 or -errno.
	 */
	int (*events)(int64_t since, uint32_t limit, void (*line)(const char *json, void *to),
		      void *to, void *user);
	/*
	 * 0: control_task_done(task) follows, exactly once, now or later, unless cancel(task) came
	 * before: then the task is dead. -ENOENT: no such lock; -EBUSY; -EINVAL: not what is to be
	 * given there; -ENETDOWN: no radio.
	 */
	int (*test)(const char *lock, struct control_task *task, void *user);
	int (*scan)(uint32_t seconds, struct control_task *task, void *user);
	int (*document)(const char *base64url, struct control_task *task, void *user);
	/* The caller is gone. */
	void (*cancel)(struct control_task *task, void *user);
	/* 0, or -errno and *text (malloc'd): file, line and setting that were refused */
	int (*reload)(char **text, void *user);
	/* The bus name is ours (0), or is not: -EEXIST, another agent runs. */
	void (*named)(int r, void *user);
};

int control_new(struct bus *bus, const struct control_ops *ops, void *user, struct control **ret);
/* Tasks still waiting are answered with an error, and dead; no cancel(). */
void control_free(struct control *control);
void control_freep(struct control **control);

/* json: the result, or NULL with `error` in words. */
void control_task_done(struct control_task *task, const char *json, const char *error);
/* The signal Event. */
int control_event(struct control *control, const char *json);

/* --- the client's side ----------------------------------------------------------------- */

/* lines: one, but none for Reload and any number for Events. error: D-Bus error name, then text;
 * both NULL when it went well. All borrowed. */
struct control_answer {
	const char *error;
	const char *text;
	const char *const *lines;
	size_t count;
};
struct control_question {
	const char *method;   /* "Status" ... */
	const char *lock;     /* Test */
	const char *document; /* Document: base64url */
	uint32_t seconds;     /* Scan */
	int64_t since;	      /* Events */
	uint32_t limit;
	unsigned timeout_ms; /* 0: 25 s; Test, Scan, Document: give it 120 s */
	const char *name;    /* bus name of the agent; NULL: CONTROL_NAME */
};
int control_ask(struct bus *bus, const struct control_question *question,
		void (*answer)(const struct control_answer *answer, void *user), void *user);

/* The signal Event, as long as the watch lives; gone(): the agent left the bus, or is not there. */
struct control_watch;
struct control_watch_ops {
	void (*event)(const char *json, void *user);
	void (*gone)(void *user);
	const char *name; /* as in the question */
};
int control_watch(struct bus *bus, const struct control_watch_ops *ops, void *user,
		  struct control_watch **ret);
void control_unwatch(struct control_watch *watch);
