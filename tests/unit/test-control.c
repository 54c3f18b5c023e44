/* SPDX-License-Identifier: Apache-2.0 */
/* control, both sides, over a real dbus-daemon. */
#include "private-bus.h"

#include <dbus/dbus.h>
#include <errno.h>

#include "core/span.h"
#include "link/bus.h"
#include "link/control.h"

struct fixture {
	struct private_bus daemon;
	sd_event *event;
	struct bus *agent, *client;
	struct control *control;
	bool named;
	int named_r;
	unsigned status_calls;
	bool no_json;
	int64_t since;
	uint32_t limit;
	char lock[64];
	struct control_task *tests[CONTROL_TASKS_MAX];
	unsigned n_tests, cancelled;
	uint32_t seconds;
	char document[64];
	int test_r, reload_r;
	/* what the client saw */
	unsigned answers;
	char error[64], text[128], first[128];
	size_t count;
	unsigned events, gone;
	char event_json[64];
	struct control_watch *watch;
};

static char *make_status(void *user)
{
	struct fixture *f = user;

	f->status_calls++;
	return f->no_json ? NULL : strdup("{\"status\":1}");
}

static char *make_locks(void *user)
{
	return strdup("{\"locks\":[]}");
}

static char *make_documents(void *user)
{
	return strdup("{\"documents\":[]}");
}

static char *make_diagnose(void *user)
{
	return strdup("{\"text\":\"\xff is not UTF-8\"}");
}

static int give_events(int64_t since, uint32_t limit, void (*line)(const char *, void *), void *to,
		       void *user)
{
	struct fixture *f = user;
	char json[32];

	f->since = since;
	f->limit = limit;
	if (since < 0)
		return -EINVAL;
	/* More than asked for: the limit holds all the same. */
	for (unsigned i = 0; i < limit + 3; i++) {
		snprintf(json, sizeof(json), "{\"seq\":%u}", (unsigned)since + 1 + i);
		line(json, to);
	}
	return 0;
}

static int begin_test(const char *lock, struct control_task *test, void *user)
{
	struct fixture *f = user;

	snprintf(f->lock, sizeof(f->lock), "%s", lock);
	if (f->test_r < 0)
		return f->test_r;
	f->tests[f->n_tests++] = test;
	return 0;
}

static int begin_scan(uint32_t seconds, struct control_task *task, void *user)
{
	struct fixture *f = user;

	f->seconds = seconds;
	if (seconds > CONTROL_SCAN_MAX)
		return -EINVAL;
	f->tests[f->n_tests++] = task;
	return f->test_r;
}

/* Answered before the call has returned. */
static int take_document(const char *base64url, struct control_task *task, void *user)
{
	struct fixture *f = user;

	snprintf(f->document, sizeof(f->document), "%s", base64url);
	if (f->test_r < 0)
		return f->test_r;
	control_task_done(task, "{\"outcome\":\"applied\"}", NULL);
	return 0;
}

static void cancel(struct control_task *task, void *user)
{
	struct fixture *f = user;

	assert_ptr_equal(task, f->tests[0]);
	f->cancelled++;
}

static int reload(char **text, void *user)
{
	struct fixture *f = user;

	if (f->reload_r < 0)
		*text = strdup("lockbridge.conf:7: gateway: not an id");
	return f->reload_r;
}

static void on_named(int r, void *user)
{
	struct fixture *f = user;

	f->named = true;
	f->named_r = r;
}

static const struct control_ops ops = {
	.status = make_status,
	.locks = make_locks,
	.documents = make_documents,
	.diagnose = make_diagnose,
	.events = give_events,
	.test = begin_test,
	.scan = begin_scan,
	.document = take_document,
	.cancel = cancel,
	.reload = reload,
	.named = on_named,
};

static void on_lost(void *user)
{
	fail_msg("the bus was lost");
}
static const struct bus_ops bus_ops = {.lost = on_lost};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	private_bus_start(&f->daemon);
	assert_true(sd_event_new(&f->event) >= 0);
	assert_int_equal(bus_open(f->event, f->daemon.address, &bus_ops, f, &f->agent), 0);
	assert_int_equal(bus_open(f->event, f->daemon.address, &bus_ops, f, &f->client), 0);
	assert_int_equal(control_new(f->agent, &ops, f, &f->control), 0);
	until(f->event, f->named);
	assert_int_equal(f->named_r, 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	control_unwatch(f->watch);
	control_free(f->control);
	bus_close(f->agent);
	bus_close(f->client);
	sd_event_unref(f->event);
	private_bus_stop(&f->daemon);
	free(f);
	return 0;
}

static void on_answer(const struct control_answer *answer, void *user)
{
	struct fixture *f = user;

	f->answers++;
	snprintf(f->error, sizeof(f->error), "%s", answer->error ? answer->error : "");
	snprintf(f->text, sizeof(f->text), "%s", answer->text ? answer->text : "");
	snprintf(f->first, sizeof(f->first), "%s", answer->count ? answer->lines[0] : "");
	f->count = answer->count;
}

static void ask(struct fixture *f, struct control_question question)
{
	unsigned before = f->answers;

	assert_int_equal(control_ask(f->client, &question, on_answer, f), 0);
	until(f->event, f->answers == before + 1);
}

static void each_text_is_answered(void **state)
{
	struct fixture *f = *state;

	ask(f, (struct control_question){.method = "Status"});
	assert_string_equal(f->first, "{\"status\":1}");
	assert_string_equal(f->error, "");
	ask(f, (struct control_question){.method = "Locks"});
	assert_string_equal(f->first, "{\"locks\":[]}");
	ask(f, (struct control_question){.method = "Documents"});
	assert_string_equal(f->first, "{\"documents\":[]}");
	f->no_json = true;
	ask(f, (struct control_question){.method = "Status"});
	assert_string_equal(f->error, CONTROL_INTERFACE ".Failed");
	assert_int_equal(f->status_calls, 2);
}

static void text_that_is_not_utf8_is_an_error_not_a_crash(void **state)
{
	struct fixture *f = *state;
	struct control_question question = {.method = "Test", .lock = "\xff"};

	ask(f, (struct control_question){.method = "Diagnose"});
	assert_string_equal(f->error, CONTROL_INTERFACE ".Failed");
	assert_int_equal(control_event(f->control, "\xff"), -EINVAL);
	assert_int_equal(control_ask(f->client, &question, on_answer, f), -EINVAL);
	question.method = "no method";
	question.lock = NULL;
	assert_int_equal(control_ask(f->client, &question, on_answer, f), -EINVAL);
}

static void events_are_limited(void **state)
{
	struct fixture *f = *state;

	ask(f, (struct control_question){.method = "Events", .since = 41, .limit = 3});
	assert_int_equal(f->since, 41);
	assert_int_equal(f->limit, 3);
	assert_int_equal(f->count, 3);
	assert_string_equal(f->first, "{\"seq\":42}");
	ask(f, (struct control_question){.method = "Events", .limit = 0});
	assert_int_equal(f->count, 0);
	assert_string_equal(f->error, "");
	ask(f, (struct control_question){.method = "Events", .limit = UINT32_MAX});
	assert_int_equal(f->limit, CONTROL_EVENTS_MAX);
	assert_int_equal(f->count, CONTROL_EVENTS_MAX);
	ask(f, (struct control_question){.method = "Events", .since = -1, .limit = 1});
	assert_string_equal(f->error, CONTROL_INTERFACE ".Failed");
}

static void test_is_answered_when_it_is_over(void **state)
{
	struct fixture *f = *state;
	struct control_question question = {.method = "Test", .lock = "front"};

	assert_int_equal(control_ask(f->client, &question, on_answer, f), 0);
	until(f->event, f->n_tests == 1);
	assert_string_equal(f->lock, "front");
	/* The agent goes on answering others meanwhile. */
	ask(f, (struct control_question){.method = "Locks"});
	control_task_done(f->tests[0], "{\"rssi\":-60}", NULL);
	until(f->event, f->answers == 2);
	assert_string_equal(f->first, "{\"rssi\":-60}");

	assert_int_equal(control_ask(f->client, &question, on_answer, f), 0);
	until(f->event, f->n_tests == 2);
	control_task_done(f->tests[1], NULL, "unreachable");
	until(f->event, f->answers == 3);
	assert_string_equal(f->error, CONTROL_INTERFACE ".Failed");
	assert_string_equal(f->text, "unreachable");
	f->n_tests = 0;
	f->test_r = -ENOENT;
	ask(f, question);
	assert_string_equal(f->error, CONTROL_INTERFACE ".UnknownLock");
	f->test_r = -EBUSY;
	ask(f, question);
	assert_string_equal(f->error, CONTROL_INTERFACE ".Busy");
}

static void tests_at_once_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct control_question question = {.method = "Test", .lock = "front"};

	for (unsigned i = 0; i < CONTROL_TASKS_MAX; i++)
		assert_int_equal(control_ask(f->client, &question, on_answer, f), 0);
	until(f->event, f->n_tests == CONTROL_TASKS_MAX);
	ask(f, question);
	assert_string_equal(f->error, CONTROL_INTERFACE ".Busy");
	/* An agent that stops leaves nobody waiting. */
	control_free(f->control);
	f->control = NULL;
	until(f->event, f->answers == CONTROL_TASKS_MAX + 1);
	assert_string_equal(f->text, "the agent stops");
}

static void caller_that_left_takes_its_question_along(void **state)
{
	static const char *const methods[] = {"Test", "Scan"};
	struct fixture *f = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(methods); i++) {
		struct control_question question = {.method = methods[i], .lock = "front"};

		f->n_tests = 0;
		assert_int_equal(control_ask(f->client, &question, on_answer, f), 0);
		until(f->event, f->n_tests == 1);
		bus_close(f->client);
		until(f->event, f->cancelled == i + 1);
		/* The agent's connection is in order. */
		assert_int_equal(bus_open(f->event, f->daemon.address, &bus_ops, f, &f->client), 0);
		f->answers = 0;
		ask(f, (struct control_question){.method = "Locks"});
		assert_string_equal(f->first, "{\"locks\":[]}");
	}
}

static void scan_and_document_say_what_became_of_them(void **state)
{
	struct fixture *f = *state;
	struct control_question scan = {.method = "Scan", .seconds = 7};
	struct control_question document = {.method = "Document", .document = "2D3ShA"};

	assert_int_equal(control_ask(f->client, &scan, on_answer, f), 0);
	until(f->event, f->n_tests == 1);
	assert_int_equal(f->seconds, 7);
	ask(f, document);
	assert_string_equal(f->document, "2D3ShA");
	assert_string_equal(f->first, "{\"outcome\":\"applied\"}");
	control_task_done(f->tests[0], "[]", NULL);
	until(f->event, f->answers == 2);
	assert_string_equal(f->first, "[]");
	scan.seconds = CONTROL_SCAN_MAX + 1;
	ask(f, scan);
	assert_string_equal(f->error, DBUS_ERROR_INVALID_ARGS);
	f->test_r = -EBUSY;
	ask(f, document);
	assert_string_equal(f->error, CONTROL_INTERFACE ".Busy");
	f->test_r = -ENETDOWN;
	ask(f, document);
	assert_string_equal(f->text, "the radio is down");
	document.document = NULL;
	assert_int_equal(control_ask(f->client, &document, on_answer, f), -EINVAL);
}

static void refused_reload_says_where(void **state)
{
	struct fixture *f = *state;

	ask(f, (struct control_question){.method = "Reload"});
	assert_string_equal(f->error, "");
	assert_int_equal(f->count, 0);
	f->reload_r = -EINVAL;
	ask(f, (struct control_question){.method = "Reload"});
	assert_string_equal(f->error, CONTROL_INTERFACE ".Refused");
	assert_string_equal(f->text, "lockbridge.conf:7: gateway: not an id");
}

static void unknown_method_is_refused(void **state)
{
	struct fixture *f = *state;

	ask(f, (struct control_question){.method = "Unlock"});
	assert_string_equal(f->error, DBUS_ERROR_UNKNOWN_METHOD);
}

static void on_event(const char *json, void *user)
{
	struct fixture *f = user;

	f->events++;
	snprintf(f->event_json, sizeof(f->event_json), "%s", json);
}

static void on_gone(void *user)
{
	struct fixture *f = user;

	f->gone++;
}

static void events_are_followed_until_the_agent_goes(void **state)
{
	static const struct control_watch_ops watch_ops = {.event = on_event, .gone = on_gone};
	struct fixture *f = *state;

	assert_int_equal(control_watch(f->client, &watch_ops, f, &f->watch), 0);
	ask(f, (struct control_question){.method = "Locks"}); /* behind AddMatch and GetNameOwner */
	assert_int_equal(control_event(f->control, "{\"seq\":7}"), 0);
	until(f->event, f->events == 1);
	assert_string_equal(f->event_json, "{\"seq\":7}");
	assert_int_equal(f->gone, 0);
	control_free(f->control);
	f->control = NULL;
	bus_close(f->agent);
	f->agent = NULL;
	until(f->event, f->gone == 1);
}

static void second_agent_does_not_get_the_name(void **state)
{
	struct fixture *f = *state;
	struct control *second = NULL;

	f->named = false;
	assert_int_equal(control_new(f->client, &ops, f, &second), 0);
	until(f->event, f->named);
	assert_int_equal(f->named_r, -EEXIST);
	control_free(second);
}

static void on_xml(struct DBusMessage *reply, void *user)
{
	struct fixture *f = user;
	const char *xml = "";

	f->answers++;
	assert_true(dbus_message_get_args(reply, NULL, DBUS_TYPE_STRING, &xml, DBUS_TYPE_INVALID));
	assert_non_null(strstr(xml, "<method name=\"Events\">"));
	assert_non_null(strstr(xml, "</node>"));
}

static void interface_can_be_introspected(void **state)
{
	struct fixture *f = *state;
	DBusMessage *call = dbus_message_new_method_call(
		CONTROL_NAME, CONTROL_PATH, DBUS_INTERFACE_INTROSPECTABLE, "Introspect");

	assert_int_equal(bus_call(f->client, call, 5000, on_xml, f, NULL), 0);
	dbus_message_unref(call);
	until(f->event, f->answers);
}

int main(void)
{
#define t(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		t(each_text_is_answered),
		t(text_that_is_not_utf8_is_an_error_not_a_crash),
		t(events_are_limited),
		t(test_is_answered_when_it_is_over),
		t(tests_at_once_are_bounded),
		t(caller_that_left_takes_its_question_along),
		t(scan_and_document_say_what_became_of_them),
		t(refused_reload_says_where),
		t(unknown_method_is_refused),
		t(events_are_followed_until_the_agent_goes),
		t(second_agent_does_not_get_the_name),
		t(interface_can_be_introspected),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
