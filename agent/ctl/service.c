// SPDX-License-Identifier: Apache-2.0
/* The service as systemd and the bus see it. See service.h. */
#include "ctl/service.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "core/span.h"
#include "core/token.h"
#include "link/bus.h"
#include "link/control.h"

#define SYSTEMD "org.freedesktop.systemd1"
#define UNIT	"/org/freedesktop/systemd1/unit/lockbridge_2eservice" /* as systemd escapes it */

extern char **environ;

bool service_manager_runs(void)
{
	return sd_booted() > 0;
}

int service_control(const char *const *words)
{
	pid_t pid;
	int status = 0;
	int r = posix_spawnp(&pid, words[0], NULL, NULL, (char *const *)words, environ);

	if (r != 0)
		return -r;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

/* --- looking ------------------------------------------------------------------------------------ */

struct property {
	const char *interface, *name;
	size_t at, size; /* in struct service */
};

#define PROPERTY(interface_, name_, member)                                                        \
	{                                                                                          \
		SYSTEMD "." interface_, name_, offsetof(struct service, member),                   \
			sizeof(((struct service *)0)->member)                                      \
	}

static const struct property properties[] = {
	PROPERTY("Unit", "LoadState", load),   PROPERTY("Unit", "ActiveState", active),
	PROPERTY("Unit", "SubState", sub),     PROPERTY("Unit", "UnitFileState", enabled),
	PROPERTY("Service", "Result", result), PROPERTY("Service", "StatusText", text),
};

struct looking {
	sd_event *event;
	struct service *service;
	size_t open; /* answers still to come */
	struct answer {
		struct looking *looking;
		const struct property *property;
	} answers[ARRAY_SIZE(properties)];
};

static void answered(struct looking *looking)
{
	if (--looking->open == 0)
		sd_event_exit(looking->event, 0);
}

static void on_property(const struct bus_value *value, void *user)
{
	struct answer *answer = user;
	struct service *service = answer->looking->service;

	if (value->type == 's') {
		service->systemd = true;
		snprintf((char *)service + answer->property->at, answer->property->size, "%s",
			 value->s);
	}
	answered(answer->looking);
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

static void on_status(const struct control_answer *answer, void *user)
{
	struct looking *looking = user;
	struct service *service = looking->service;
	json_t *status = NULL;
	const json_t *broker;

	if (answer->error)
		snprintf(service->error, sizeof(service->error), "%s", answer->error);
	else if (answer->count > 0)
		status = json_loads(answer->lines[0], 0, NULL);
	if (status) {
		broker = json_object_get(status, "broker");
		service->agent = true;
		service->connected = json_is_true(json_object_get(broker, "connected"));
		snprintf(service->host, sizeof(service->host), "%s", text_of(broker, "host"));
		snprintf(service->why, sizeof(service->why), "%s", text_of(broker, "last_error"));
		service->problems = json_array_size(
			json_object_get(json_object_get(status, "state"), "problems"));
	}
	json_decref(status);
	answered(looking);
}

static void on_lost(void *user)
{
	struct looking *looking = user;

	sd_event_exit(looking->event, 0);
}

static int on_late(sd_event_source *source, uint64_t usec, void *user)
{
	struct looking *looking = user;

	return sd_event_exit(looking->event, 0);
}

static void ask_all(const struct ctl *ctl, struct bus *bus, struct looking *looking)
{
	char name[sizeof(CONTROL_NAME_OF) + ID_MAX];
	struct control_question question = {.method = "Status", .timeout_ms = 5000};

	if (ctl->gateway) {
		snprintf(name, sizeof(name), CONTROL_NAME_OF "%s", ctl->gateway);
		question.name = name;
	}
	for (size_t i = 0; i < ARRAY_SIZE(properties); i++) {
		looking->answers[i] = (struct answer){looking, &properties[i]};
		if (bus_get_property(bus, SYSTEMD, UNIT, properties[i].interface,
				     properties[i].name, on_property, &looking->answers[i],
				     NULL) == 0)
			looking->open++;
	}
	if (control_ask(bus, &question, on_status, looking) == 0)
		looking->open++;
}

void service_look(const struct ctl *ctl, struct service *ret)
{
	static const struct bus_ops ops = {.lost = on_lost};
	struct looking looking = {.service = ret};
	struct bus *bus = NULL;
	int r = sd_event_new(&looking.event);

	memset(ret, 0, sizeof(*ret));
	if (r >= 0)
		r = bus_open(looking.event, ctl->bus, &ops, &looking, &bus);
	if (r >= 0)
		r = sd_event_add_time_relative(looking.event, NULL, CLOCK_MONOTONIC, 6000000, 0,
					       on_late, &looking);
	if (r >= 0) {
		ret->bus = true;
		ask_all(ctl, bus, &looking);
	}
	if (looking.open > 0)
		(void)sd_event_loop(looking.event);
	bus_close(bus);
	sd_event_unref(looking.event);
}

/* --- words -------------------------------------------------------------------------------------- */

static void say_next(char next[static 400], const char *text)
{
	snprintf(next, 400, "%s", text);
}

static void say(char cause[static 900], char next[static 400], const char *c, const char *n)
{
	snprintf(cause, 900, "%s", c);
	say_next(next, n);
}

void service_explain(const struct service *s, char cause[static 900], char next[static 400])
{
	if (!s->bus)
		say(cause, next, "The system bus cannot be reached.", "systemctl status dbus");
	else if (!s->systemd)
		say(cause, next, "The lockbridge agent does not run.",
		    "systemctl start lockbridge, then journalctl -u lockbridge");
	else if (strcmp(s->load, "not-found") == 0)
		say(cause, next, "The lockbridge agent does not run: there is no " SERVICE ".",
		    "install the package lockbridge");
	else if (strcmp(s->load, "masked") == 0)
		say(cause, next, "The lockbridge agent does not run: " SERVICE " is masked.",
		    "systemctl unmask lockbridge, then systemctl start lockbridge");
	else if (strcmp(s->active, "active") == 0)
		say(cause, next,
		    "The lockbridge agent runs, but does not answer on the system bus.",
		    "journalctl -u lockbridge; then systemctl restart lockbridge");
	else if (strcmp(s->sub, "auto-restart") == 0 || strcmp(s->active, "failed") == 0) {
		/* killed, its last word is of better times */
		bool told = *s->text && strcmp(s->result, "exit-code") == 0;

		snprintf(cause, 900,
			 "The lockbridge agent does not run: it was started, and ended (%s)%s%s",
			 s->result, told ? ": " : ".", told ? s->text : "");
		say_next(next,
			 told ? "mend that; the service is then started by itself"
			      : "journalctl -u lockbridge; then systemctl restart lockbridge");
	} else if (strcmp(s->active, "activating") == 0 || strcmp(s->active, "reloading") == 0)
		say(cause, next, "The lockbridge agent is just being started.",
		    "ask again in some seconds; if it stays so, journalctl -u lockbridge");
	else if (strcmp(s->enabled, "enabled") == 0)
		say(cause, next, "The lockbridge agent does not run: somebody stopped it.",
		    "systemctl start lockbridge");
	else
		say(cause, next,
		    "The lockbridge agent does not run: it is stopped, and not started at boot.",
		    "systemctl enable --now lockbridge");
}
