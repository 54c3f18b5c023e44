/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's own D-Bus interface: calls in, through the ops, JSON out. */
#include "link/control.h"

#include <dbus/dbus.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "core/span.h"
#include "link/bus.h"

#define ERROR_FAILED  CONTROL_INTERFACE ".Failed"
#define ERROR_REFUSED CONTROL_INTERFACE ".Refused"
#define ERROR_UNKNOWN CONTROL_INTERFACE ".UnknownLock"
#define ERROR_BUSY    CONTROL_INTERFACE ".Busy"

static const char introspection[] =
	"<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n"
	"\"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n"
	"<node>\n"
	" <interface name=\"org.freedesktop.DBus.Introspectable\">\n"
	"  <method name=\"Introspect\"><arg name=\"xml\" type=\"s\" direction=\"out\"/></method>\n"
	" </interface>\n"
	" <interface name=\"" CONTROL_INTERFACE "\">\n"
	"  <method name=\"Status\"><arg name=\"json\" type=\"s\" direction=\"out\"/></method>\n"
	"  <method name=\"Locks\"><arg name=\"json\" type=\"s\" direction=\"out\"/></method>\n"
	"  <method name=\"Documents\"><arg name=\"json\" type=\"s\" direction=\"out\"/></method>\n"
	"  <method name=\"Diagnose\"><arg name=\"json\" type=\"s\" direction=\"out\"/></method>\n"
	"  <method name=\"Events\">\n"
	"   <arg name=\"since\" type=\"x\" direction=\"in\"/>\n"
	"   <arg name=\"limit\" type=\"u\" direction=\"in\"/>\n"
	"   <arg name=\"lines\" type=\"as\" direction=\"out\"/>\n"
	"  </method>\n"
	"  <method name=\"Test\">\n"
	"   <arg name=\"lock\" type=\"s\" direction=\"in\"/>\n"
	"   <arg name=\"json\" type=\"s\" direction=\"out\"/>\n"
	"  </method>\n"
	"  <method name=\"Scan\">\n"
	"   <arg name=\"seconds\" type=\"u\" direction=\"in\"/>\n"
	"   <arg name=\"json\" type=\"s\" direction=\"out\"/>\n"
	"  </method>\n"
	"  <method name=\"Document\">\n"
	"   <arg name=\"base64url\" type=\"s\" direction=\"in\"/>\n"
	"   <arg name=\"json\" type=\"s\" direction=\"out\"/>\n"
	"  </method>\n"
	"  <method name=\"Reload\"/>\n"
	"  <signal name=\"Event\"><arg name=\"json\" type=\"s\"/></signal>\n"
	" </interface>\n"
	"</node>\n";

/* A call that is answered later; it ends with its caller. */
struct control_task {
	LIST_ENTRY(control_task) entry;
	struct control *control;
	DBusMessage *call;
	struct bus_name *caller;
};

struct control {
	struct bus *bus;
	const struct control_ops *ops;
	void *user;
	struct bus_object *object;
	struct bus_call *naming;
	LIST_HEAD(control_tasks, control_task) tasks;
	unsigned n_tasks;
};

static void message_unrefp(DBusMessage **message)
{
	if (*message)
		dbus_message_unref(*message);
}

/* --- answers --- */

/* libdbus aborts the process when it is given text that is not UTF-8. */
static const char *safe(const char *text)
{
	return dbus_validate_utf8(text, NULL) ? text : "(not UTF-8)";
}

static void answer_error(struct control *c, DBusMessage *call, const char *name, const char *text)
{
	cleanup(message_unrefp) DBusMessage *reply = dbus_message_new_error(call, name, safe(text));

	if (reply)
		bus_send(c->bus, reply);
}

static void answer_text(struct control *c, DBusMessage *call, const char *json)
{
	cleanup(message_unrefp) DBusMessage *reply = NULL;

	if (!json || !dbus_validate_utf8(json, NULL)) {
		answer_error(c, call, ERROR_FAILED, "the answer could not be made");
		return;
	}
	reply = dbus_message_new_method_return(call);
	if (reply && dbus_message_append_args(reply, DBUS_TYPE_STRING, &json, DBUS_TYPE_INVALID))
		bus_send(c->bus, reply);
}

struct lines {
	DBusMessageIter array;
	unsigned left;
	bool failed;
};

static void add_line(const char *json, void *to)
{
	struct lines *lines = to;

	if (!lines->left || !dbus_validate_utf8(json, NULL))
		return;
	lines->left--;
	lines->failed |= !dbus_message_iter_append_basic(&lines->array, DBUS_TYPE_STRING, &json);
}

static void answer_events(struct control *c, DBusMessage *call)
{
	cleanup(message_unrefp) DBusMessage *reply = dbus_message_new_method_return(call);
	dbus_int64_t since = 0;
	dbus_uint32_t limit = 0;
	struct lines lines = {0};
	DBusMessageIter args;
	int r;

	dbus_message_get_args(call, NULL, DBUS_TYPE_INT64, &since, DBUS_TYPE_UINT32, &limit,
			      DBUS_TYPE_INVALID);
	if (!reply)
		return;
	lines.left = limit < CONTROL_EVENTS_MAX ? limit : CONTROL_EVENTS_MAX;
	dbus_message_iter_init_append(reply, &args);
	if (!dbus_message_iter_open_container(&args, DBUS_TYPE_ARRAY, "s", &lines.array))
		return;
	r = c->ops->events(since, lines.left, add_line, &lines, c->user);
	if (!dbus_message_iter_close_container(&args, &lines.array) || lines.failed)
		r = -ENOMEM;
	if (r < 0)
		answer_error(c, call, ERROR_FAILED, strerror(-r));
	else
		bus_send(c->bus, reply);
}

static void answer_reload(struct control *c, DBusMessage *call)
{
	cleanup(message_unrefp) DBusMessage *reply = dbus_message_new_method_return(call);
	cleanup(freep) char *text = NULL;
	int r = c->ops->reload(&text, c->user);

	if (r < 0)
		answer_error(c, call, ERROR_REFUSED, text ? text : strerror(-r));
	else if (reply)
		bus_send(c->bus, reply);
}

/* --- tasks --- */

static void task_free(struct control_task *task)
{
	LIST_REMOVE(task, entry);
	task->control->n_tasks--;
	bus_unwatch_name(task->caller);
	dbus_message_unref(task->call);
	free(task);
}

void control_task_done(struct control_task *task, const char *json, const char *error)
{
	if (json)
		answer_text(task->control, task->call, json);
	else
		answer_error(task->control, task->call, ERROR_FAILED, error ? error : "failed");
	task_free(task);
}

static void on_caller(const char *owner, void *user)
{
	struct control_task *task = user;
	struct control *c = task->control;

	if (owner)
		return;
	c->ops->cancel(task, c->user);
	task_free(task);
}

static void refuse(struct control *c, DBusMessage *call, int r)
{
	static const struct {
		int r;
		const char *name, *text;
	} words[] = {
		{-ENOENT, ERROR_UNKNOWN, "no such lock here"},
		{-EBUSY, ERROR_BUSY, "busy with another one, try again in a moment"},
		{-EINVAL, DBUS_ERROR_INVALID_ARGS, "not what this method takes"},
		{-ENETDOWN, ERROR_FAILED, "the radio is down"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (words[i].r == r) {
			answer_error(c, call, words[i].name, words[i].text);
			return;
		}
	}
	answer_error(c, call, ERROR_FAILED, strerror(-r));
}

static int begin(struct control *c, struct control_task *task)
{
	const char *text = "";
	dbus_uint32_t seconds = 0;

	if (dbus_message_has_signature(task->call, "u"))
		dbus_message_get_args(task->call, NULL, DBUS_TYPE_UINT32, &seconds,
				      DBUS_TYPE_INVALID);
	else
		dbus_message_get_args(task->call, NULL, DBUS_TYPE_STRING, &text, DBUS_TYPE_INVALID);
	if (dbus_message_has_member(task->call, "Scan"))
		return c->ops->scan(seconds, task, c->user);
	if (dbus_message_has_member(task->call, "Document"))
		return c->ops->document(text, task, c->user);
	return c->ops->test(text, task, c->user);
}

static void begin_task(struct control *c, DBusMessage *call)
{
	struct control_task *task;
	int r;

	if (c->n_tasks >= CONTROL_TASKS_MAX) {
		answer_error(c, call, ERROR_BUSY, "too many questions at once");
		return;
	}
	task = calloc(1, sizeof(*task));
	if (!task) {
		refuse(c, call, -ENOMEM);
		return;
	}
	task->control = c;
	task->call = dbus_message_ref(call);
	LIST_INSERT_HEAD(&c->tasks, task, entry);
	c->n_tasks++;
	r = bus_watch_name(c->bus, dbus_message_get_sender(call), on_caller, task, &task->caller);
	if (r == 0)
		r = begin(c, task); /* 0: it is theirs, and may be spent */
	if (r == 0)
		return;
	refuse(c, call, r);
	task_free(task);
}

/* --- the object --- */

static void answer_json(struct control *c, DBusMessage *call, char *(*make)(void *user))
{
	cleanup(freep) char *json = make(c->user);

	answer_text(c, call, json);
}

static bool is(DBusMessage *call, const char *method, const char *signature)
{
	return dbus_message_has_member(call, method) && dbus_message_has_signature(call, signature);
}

static bool on_call(struct DBusMessage *call, void *user)
{
	struct control *c = user;
	const char *interface = dbus_message_get_interface(call);

	if (dbus_message_is_method_call(call, DBUS_INTERFACE_INTROSPECTABLE, "Introspect")) {
		answer_text(c, call, introspection);
		return true;
	}
	if (interface && strcmp(interface, CONTROL_INTERFACE) != 0)
		return false;
	if (is(call, "Status", ""))
		answer_json(c, call, c->ops->status);
	else if (is(call, "Locks", ""))
		answer_json(c, call, c->ops->locks);
	else if (is(call, "Documents", ""))
		answer_json(c, call, c->ops->documents);
	else if (is(call, "Diagnose", ""))
		answer_json(c, call, c->ops->diagnose);
	else if (is(call, "Events", "xu"))
		answer_events(c, call);
	else if (is(call, "Test", "s") || is(call, "Scan", "u") || is(call, "Document", "s"))
		begin_task(c, call);
	else if (is(call, "Reload", ""))
		answer_reload(c, call);
	else
		return false;
	return true;
}

int control_event(struct control *c, const char *json)
{
	cleanup(message_unrefp) DBusMessage *signal = NULL;

	if (!dbus_validate_utf8(json, NULL))
		return -EINVAL;
	signal = dbus_message_new_signal(CONTROL_PATH, CONTROL_INTERFACE, "Event");
	if (!signal ||
	    !dbus_message_append_args(signal, DBUS_TYPE_STRING, &json, DBUS_TYPE_INVALID))
		return -ENOMEM;
	return bus_send(c->bus, signal);
}

static void on_named(int r, void *user)
{
	struct control *c = user;

	c->ops->named(r, c->user);
}

int control_new(struct bus *bus, const struct control_ops *ops, void *user, struct control **ret)
{
	cleanup(control_freep) struct control *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->bus = bus;
	c->ops = ops;
	c->user = user;
	LIST_INIT(&c->tasks);
	/* The object first: who sees the name may call at once. */
	r = bus_export(bus, CONTROL_PATH, on_call, c, &c->object);
	if (r == 0)
		r = bus_own_name(bus, CONTROL_NAME, on_named, c, &c->naming);
	if (r < 0)
		return r;
	*ret = steal(c);
	return 0;
}

void control_free(struct control *c)
{
	struct control_task *task, *next;

	if (!c)
		return;
	for (task = LIST_FIRST(&c->tasks); task; task = next) {
		next = LIST_NEXT(task, entry);
		control_task_done(task, NULL, "the agent stops");
	}
	bus_call_cancel(c->naming);
	bus_unexport(c->object);
	free(c);
}

void control_freep(struct control **c)
{
	control_free(*c);
}
