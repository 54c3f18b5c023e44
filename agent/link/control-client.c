/* SPDX-License-Identifier: Apache-2.0 */
/* The client's side of control, for lockbridgectl. */
#include <dbus/dbus.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/span.h"
#include "link/bus.h"
#include "link/control.h"

struct asking {
	void (*answer)(const struct control_answer *answer, void *user);
	void *user;
};

static void message_unrefp(DBusMessage **message)
{
	if (*message)
		dbus_message_unref(*message);
}

static void tell_error(const struct asking *asking, DBusMessage *reply)
{
	struct control_answer answer = {.error = dbus_message_get_error_name(reply), .text = ""};
	DBusMessageIter iter;

	if (dbus_message_iter_init(reply, &iter) &&
	    dbus_message_iter_get_arg_type(&iter) == DBUS_TYPE_STRING)
		dbus_message_iter_get_basic(&iter, &answer.text);
	asking->answer(&answer, asking->user);
}

static void tell_lines(const struct asking *asking, DBusMessage *reply)
{
	struct control_answer answer = {0};
	DBusMessageIter iter, array;
	const char *one;
	char **lines = NULL;
	int n = 0;

	if (dbus_message_has_signature(reply, "as")) {
		dbus_message_get_args(reply, NULL, DBUS_TYPE_ARRAY, DBUS_TYPE_STRING, &lines, &n,
				      DBUS_TYPE_INVALID);
		answer.lines = (const char *const *)lines;
		answer.count = (size_t)n;
	} else if (dbus_message_has_signature(reply, "s") && dbus_message_iter_init(reply, &iter)) {
		array = iter;
		dbus_message_iter_get_basic(&array, &one);
		answer.lines = &one;
		answer.count = 1;
	} else if (!dbus_message_has_signature(reply, "")) {
		answer.error = DBUS_ERROR_INVALID_SIGNATURE;
		answer.text = "an answer of another version";
	}
	asking->answer(&answer, asking->user);
	dbus_free_string_array(lines);
}

static void on_reply(struct DBusMessage *reply, void *user)
{
	struct asking asking = *(struct asking *)user;

	free(user);
	if (dbus_message_get_type(reply) == DBUS_MESSAGE_TYPE_ERROR)
		tell_error(&asking, reply);
	else
		tell_lines(&asking, reply);
}

static bool takes_text(const struct control_question *question, const char **ret)
{
	*ret = question->lock;
	if (strcmp(question->method, "Document") == 0)
		*ret = question->document;
	return strcmp(question->method, "Test") == 0 || strcmp(question->method, "Document") == 0;
}

static bool append_question(DBusMessage *call, const struct control_question *question)
{
	dbus_int64_t since = question->since;
	dbus_uint32_t limit = question->limit, seconds = question->seconds;
	const char *text;

	if (takes_text(question, &text))
		return dbus_message_append_args(call, DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID);
	if (strcmp(question->method, "Scan") == 0)
		return dbus_message_append_args(call, DBUS_TYPE_UINT32, &seconds,
						DBUS_TYPE_INVALID);
	if (strcmp(question->method, "Events") == 0)
		return dbus_message_append_args(call, DBUS_TYPE_INT64, &since, DBUS_TYPE_UINT32,
						&limit, DBUS_TYPE_INVALID);
	return true;
}

int control_ask(struct bus *bus, const struct control_question *question,
		void (*answer)(const struct control_answer *answer, void *user), void *user)
{
	cleanup(message_unrefp) DBusMessage *call = NULL;
	const char *name = question->name ? question->name : CONTROL_NAME, *text;
	bool needs_text = takes_text(question, &text);
	struct asking *asking;
	int r;

	/* From a command line: libdbus aborts on what is no name or not UTF-8. */
	if (!dbus_validate_member(question->method, NULL) ||
	    (text && !dbus_validate_utf8(text, NULL)) || (needs_text && !text) ||
	    !dbus_validate_bus_name(name, NULL))
		return -EINVAL;
	call = dbus_message_new_method_call(name, CONTROL_PATH, CONTROL_INTERFACE,
					    question->method);
	if (!call || !append_question(call, question))
		return -ENOMEM;
	asking = malloc(sizeof(*asking));
	if (!asking)
		return -ENOMEM;
	*asking = (struct asking){.answer = answer, .user = user};
	r = bus_call_owning(bus, call,
			    question->timeout_ms ? question->timeout_ms : BUS_TIMEOUT_DEFAULT,
			    on_reply, free, asking);
	if (r < 0)
		free(asking);
	return r;
}

/* --- the signal --- */

struct control_watch {
	const struct control_watch_ops *ops;
	void *user;
	struct bus_name *agent;
	struct bus_sub *events;
};

static void on_agent(const char *owner, void *user)
{
	struct control_watch *watch = user;

	if (!owner)
		watch->ops->gone(watch->user);
}

static void on_event(struct DBusMessage *signal, void *user)
{
	struct control_watch *watch = user;
	const char *json;

	if (dbus_message_get_args(signal, NULL, DBUS_TYPE_STRING, &json, DBUS_TYPE_INVALID))
		watch->ops->event(json, watch->user);
}

int control_watch(struct bus *bus, const struct control_watch_ops *ops, void *user,
		  struct control_watch **ret)
{
	struct bus_match match = {.interface = CONTROL_INTERFACE, .member = "Event"};
	struct control_watch *watch = calloc(1, sizeof(*watch));
	int r;

	if (!watch)
		return -ENOMEM;
	watch->ops = ops;
	watch->user = user;
	r = bus_watch_name(bus, ops->name ? ops->name : CONTROL_NAME, on_agent, watch,
			   &watch->agent);
	match.from = watch->agent;
	if (r == 0)
		r = bus_subscribe(bus, &match, on_event, watch, &watch->events);
	if (r < 0) {
		control_unwatch(watch);
		return r;
	}
	*ret = watch;
	return 0;
}

void control_unwatch(struct control_watch *watch)
{
	if (!watch)
		return;
	bus_unsubscribe(watch->events);
	bus_unwatch_name(watch->agent);
	free(watch);
}
