// SPDX-License-Identifier: Apache-2.0
/* One question to the agent over D-Bus, and its answers shown. See ctl.h. */
#include "ctl/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-event.h>

#include "core/span.h"
#include "core/token.h"
#include "link/bus.h"
#include "link/control.h"

struct asking {
	const struct ctl *ctl;
	sd_event *event;
	const struct ctl_question *question;
	long long last; /* newest event shown */
	enum ctl_exit result;
	bool absent; /* no agent on the bus */
};

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
		asking->question->show(value);
	fflush(stdout);
	if (asking->question->judge)
		asking->result = asking->question->judge(value);
	json_decref(value);
}

bool ctl_not_there(const char *error)
{
	return strcmp(error, "org.freedesktop.DBus.Error.ServiceUnknown") == 0 ||
	       strcmp(error, "org.freedesktop.DBus.Error.NameHasNoOwner") == 0;
}

static void explain(struct asking *asking, const struct control_answer *answer)
{
	if (ctl_not_there(answer->error))
		asking->absent = true;
	else if (strcmp(answer->error, "org.freedesktop.DBus.Error.AccessDenied") == 0)
		fprintf(stderr, "Not allowed to ask the agent.\nNext: run it with sudo.\n");
	else
		fprintf(stderr, "%s\n", *answer->text ? answer->text : answer->error);
}

static void on_answer(const struct control_answer *answer, void *user)
{
	struct asking *asking = user;

	if (answer->error) {
		explain(asking, answer);
		asking->result = CTL_PROBLEM;
		sd_event_exit(asking->event, 0);
		return;
	}
	if (!asking->question->show && !asking->ctl->json)
		puts("Done.");
	for (size_t i = 0; i < answer->count && asking->question->show; i++)
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

	asking->absent = true;
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

enum ctl_exit ctl_ask(const struct ctl *ctl, const struct ctl_question *what, const char *argument)
{
	static const struct bus_ops bus_ops = {.lost = on_lost};
	struct asking asking = {.ctl = ctl, .question = what, .result = CTL_FINE};
	char name[sizeof(CONTROL_NAME_OF) + ID_MAX];
	struct control_watch_ops watch_ops = {.event = on_event, .gone = on_gone};
	struct control_question question = {
		.method = what->method,
		.lock = argument,
		.since = -ctl->limit,
		.limit = (uint32_t)ctl->limit,
		.timeout_ms = strcmp(what->method, "Test") == 0 ? 120000 : 0,
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
	if (asking.absent)
		ctl_explain_absence(ctl);
	return asking.result;
}

/* --- an answer for ourselves -------------------------------------------------------------------- */

struct fetching {
	sd_event *event;
	struct ctl_fetched *fetched;
};

static void on_fetched(const struct control_answer *answer, void *user)
{
	struct fetching *fetching = user;
	struct ctl_fetched *fetched = fetching->fetched;

	if (answer->error) {
		snprintf(fetched->error, sizeof(fetched->error), "%s", answer->error);
		snprintf(fetched->text, sizeof(fetched->text), "%s", answer->text);
	} else if (answer->count > 0) {
		fetched->value = json_loads(answer->lines[0], 0, NULL);
	}
	sd_event_exit(fetching->event, 0);
}

static void on_fetch_lost(void *user)
{
	struct fetching *fetching = user;

	sd_event_exit(fetching->event, 0);
}

void ctl_fetch(const struct ctl *ctl, const char *method, struct ctl_fetched *ret)
{
	static const struct bus_ops ops = {.lost = on_fetch_lost};
	char name[sizeof(CONTROL_NAME_OF) + ID_MAX];
	struct control_question question = {.method = method};
	struct fetching fetching = {.fetched = ret};
	struct bus *bus = NULL;
	int r = sd_event_new(&fetching.event);

	memset(ret, 0, sizeof(*ret));
	if (ctl->gateway) {
		snprintf(name, sizeof(name), CONTROL_NAME_OF "%s", ctl->gateway);
		question.name = name;
	}
	if (r >= 0)
		r = bus_open(fetching.event, ctl->bus, &ops, &fetching, &bus);
	if (r >= 0)
		r = control_ask(bus, &question, on_fetched, &fetching);
	if (r >= 0)
		r = sd_event_loop(fetching.event);
	if (r < 0)
		snprintf(ret->error, sizeof(ret->error), "%s", strerror(-r));
	bus_close(bus);
	sd_event_unref(fetching.event);
}
