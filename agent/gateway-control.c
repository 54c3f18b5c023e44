// SPDX-License-Identifier: Apache-2.0
/*
 * The person at the box (org.lockbridge.Gateway1): the same facts as the city sees, a range test,
 * and for every problem its cause and the next step. JSON goes through message.c where there is a
 * message for it, so that both sides read one shape.
 */
#include <jansson.h>

#include "gateway-private.h"
#include "problem.h"

static json_t *parsed(char *text)
{
	json_t *json = text ? json_loads(text, 0, NULL) : NULL;

	free(text);
	return json;
}

static char *dumped(json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	return text;
}

static json_t *state_json(struct gateway *gw)
{
	cleanup(freep) struct message_state *state = malloc(sizeof(*state));

	if (!state)
		return NULL;
	gateway_fill_state(gw, state);
	return parsed(message_state_encode(state));
}

static json_t *lock_json(struct gateway_lock *gl)
{
	cleanup(freep) struct message_lock *now = malloc(sizeof(*now));
	json_t *json;

	if (!now)
		return NULL;
	gateway_fill_lock(gl, now);
	json = parsed(message_lock_encode(now));
	if (json && json_object_set_new(json, "id", json_string(gl->config.id)) < 0) {
		json_decref(json);
		return NULL;
	}
	return json;
}

static json_t *broker_json(struct gateway *gw)
{
	struct mqtt_stats stats;
	const char *host = "";

	mqtt_stats(gw->mqtt, &stats);
	if (stats.online && stats.broker < gw->config.nbrokers)
		host = gw->config.brokers[stats.broker].host;
	return json_pack("{s:b,s:s,s:s,s:I}", "connected", stats.online, "host", host, "last_error",
			 stats.last_error, "connects", (json_int_t)stats.connects);
}

static json_t *health_json(struct gateway *gw)
{
	cleanup(freep) struct message_health *health = malloc(sizeof(*health));

	if (!health)
		return NULL;
	gateway_fill_health(gw, health);
	return parsed(message_health_encode(health));
}

static char *on_status(void *user)
{
	struct gateway *gw = user;

	return dumped(json_pack("{s:s,s:s,s:o,s:o,s:o}", "gateway", gw->config.gateway, "config",
				gw->config_path, "state", state_json(gw), "broker", broker_json(gw),
				"health", health_json(gw)));
}

static char *on_locks(void *user)
{
	struct gateway *gw = user;
	json_t *all = json_array();

	for (size_t i = 0; all && i < gw->nlocks; i++)
		(void)json_array_append_new(all, lock_json(gw->locks[i]));
	return dumped(all);
}

static char *on_documents(void *user)
{
	json_t *state = state_json(user), *documents = NULL;

	if (state)
		documents = json_incref(json_object_get(state, "documents"));
	json_decref(state);
	return dumped(documents);
}

/* --- diagnose ----------------------------------------------------------------------------------- */

static void explain(json_t *all, const char *lock, const struct problem *problem)
{
	const struct problem_text *text = problem_text(problem->code);
	json_t *one =
		json_pack("{s:s,s:s,s:s,s:s}", "code", problem->code, "detail", problem->detail,
			  "cause", text ? text->cause : "", "next", text ? text->next : "");

	if (one && lock)
		(void)json_object_set_new(one, "lock", json_string(lock));
	(void)json_array_append_new(all, one);
}

static char *on_diagnose(void *user)
{
	struct gateway *gw = user;
	struct problems problems = {.n = 0};
	struct mqtt_stats stats;
	json_t *all = json_array();

	if (!all)
		return NULL;
	mqtt_stats(gw->mqtt, &stats);
	if (!stats.online)
		problem_add(&problems, "broker-unreachable", "%s", stats.last_error);
	gateway_problems(gw, &problems);
	for (size_t i = 0; i < problems.n; i++)
		explain(all, NULL, &problems.list[i]);
	for (size_t i = 0; i < gw->nlocks; i++) {
		struct message_lock now;

		gateway_fill_lock(gw->locks[i], &now);
		for (size_t k = 0; k < now.problems.n; k++)
			explain(all, gw->locks[i]->config.id, &now.problems.list[k]);
	}
	return dumped(all);
}

/* --- events, test, reload ----------------------------------------------------------------------- */

struct lines {
	void (*line)(const char *json, void *to);
	void *to;
};

static int give_line(const struct store_row *row, void *user)
{
	struct lines *lines = user;
	cleanup(freep) char *text = strndup((const char *)row->payload.data, row->payload.len);

	if (!text)
		return -ENOMEM;
	lines->line(text, lines->to);
	return 0;
}

static int on_events(int64_t since, uint32_t limit, void (*line)(const char *json, void *to),
		     void *to, void *user)
{
	struct gateway *gw = user;
	struct lines lines = {line, to};
	uint64_t from = since < 0 ? 1 : (uint64_t)since + 1, oldest, newest, open;

	/* Negative: the last so many. */
	if (since < 0 && store_event_stats(gw->store, &oldest, &newest, &open) == 0 &&
	    newest > (uint64_t)-since)
		from = newest - (uint64_t)-since + 1;
	return store_each_event(gw->store, from, limit, false, give_line, &lines);
}

static void on_cancel(struct control_task *task, void *user)
{
	struct gateway *gw = user;

	for (size_t i = 0; i < gw->nlocks; i++) {
		if (gw->locks[i]->test == task)
			gw->locks[i]->test = NULL;
	}
	gateway_scan_cancel(gw, task);
	gateway_door_cancel(gw, task);
}

static int on_scan(uint32_t seconds, struct control_task *task, void *user)
{
	return gateway_scan(user, seconds, task);
}

static int on_own_document(const char *base64url, struct control_task *task, void *user)
{
	return gateway_door(user, base64url, task);
}

static int on_test(const char *lock, struct control_task *test, void *user)
{
	struct gateway_lock *gl = gateway_lock_find(user, span_str(lock));
	int r;

	if (!gl)
		return -ENOENT;
	if (gl->test)
		return -EBUSY;
	gl->test = test;
	r = lock_test(gl->lock);
	if (r < 0)
		gl->test = NULL;
	return r;
}

static int on_reload(char **text, void *user)
{
	char error[1024] = "";
	int r = gateway_reload(user, error, sizeof(error));

	log_fact(r < 0 ? LOG_ERR : LOG_NOTICE,
		 r < 0 ? "configuration refused" : "configuration reloaded", "DETAIL", error, NULL);
	if (r < 0)
		*text = strdup(error);
	return r;
}

static void on_own_named(int r, void *user)
{
}

/* The name that lockbridgectl asks without --gateway is for the only agent on a bus. */
static void on_named(int r, void *user)
{
	struct gateway *gw = user;
	char name[sizeof(CONTROL_NAME_OF) + ID_MAX];

	snprintf(name, sizeof(name), CONTROL_NAME_OF "%s", gw->config.gateway);
	(void)bus_own_name(gw->bus, name, on_own_named, gw, &gw->naming);
	if (r < 0)
		log_fact(LOG_WARNING,
			 "the bus name is not ours: lockbridgectl reaches this agent only with "
			 "--gateway",
			 "DETAIL", r == -EEXIST ? "another agent has it" : strerror(-r), NULL);
}

const struct control_ops gateway_control_ops = {
	.status = on_status,
	.locks = on_locks,
	.documents = on_documents,
	.diagnose = on_diagnose,
	.events = on_events,
	.test = on_test,
	.scan = on_scan,
	.document = on_own_document,
	.cancel = on_cancel,
	.reload = on_reload,
	.named = on_named,
};
