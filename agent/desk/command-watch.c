// SPDX-License-Identifier: Apache-2.0
/* watch: what gateways and locks report, as it comes. Files nothing: `serve` does. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "desk/command.h"
#include "desk/issued.h"
#include "desk/session.h"
#include "desk/show.h"
#include "desk/words.h"

struct watch {
	const struct desk *desk;
	char presence[64][ID_MAX + 16]; /* "<gateway> <word>" said last */
	size_t npresence;
};

static void line(const struct watch *w, uint64_t time, const char *gateway, const char *words)
{
	char at[SHOW_TIME_CAP];

	printf("%s %s: %s\n", show_time(time, at), gateway, words);
	fflush(stdout);
}

/* Whose authorization it was: label always, person when asked. */
static void add_whose(const struct watch *w, json_t *json, const struct event *e,
		      const struct receipt *receipt)
{
	const uint8_t *cti = e->has_cti			   ? e->cti
			     : receipt && receipt->has_cti ? receipt->cti
							   : NULL;
	struct issued issued;
	struct phone phone;

	if (!cti || issued_find(w->desk->db, span_of(cti, CTI_LEN), &issued) < 0)
		return;
	json_object_set_new(json, "phone", json_string(issued.phone));
	json_object_set_new(json, "pseudonym", json_string(issued.person));
	if (!w->desk->reveal || phone_by_label(w->desk->db, issued.phone, &phone) < 0)
		return;
	json_object_set_new(json, "person", json_string(phone.person_number));
	json_object_set_new(json, "number", json_string(phone.number));
}

static const char *text_of(const json_t *json, const char *name)
{
	const char *text = json_string_value(json_object_get(json, name));

	return text ? text : "";
}

static void show_event(const struct watch *w, const char *gateway, struct span payload)
{
	cleanup(event_deinit) struct event e = {0};
	struct receipt receipt;
	bool good;
	char words[WORDS_CAP];
	json_t *json;

	if (event_parse(payload, &e) != 0)
		return;
	good = e.receipt.len > 0 && receipt_read(w->desk->db, e.receipt, &receipt) == 0;
	words_event(&e, good ? &receipt : NULL, words);
	json = json_loadb((const char *)payload.data, payload.len, 0, NULL);
	if (!json)
		return;
	json_object_set_new(json, "gateway", json_string(gateway));
	json_object_set_new(json, "words", json_string(words));
	if (e.receipt.len > 0)
		json_object_set_new(json, "receipt_verified", json_boolean(good));
	add_whose(w, json, &e, good ? &receipt : NULL);
	if (w->desk->json) {
		show_answer(w->desk, json, "%s", "");
		return;
	}
	if (*text_of(json, "phone")) {
		size_t len = strlen(words);

		snprintf(words + len, sizeof(words) - len, " (%s)",
			 *text_of(json, "person") ? text_of(json, "person")
						  : text_of(json, "phone"));
	}
	json_decref(json);
	line(w, e.time, gateway, words);
}

/* Presence is retained: it is shown once, and when it changes. */
static void show_presence(struct watch *w, const char *gateway, struct span word)
{
	char text[ID_MAX + 16];
	size_t i = 0, len = strlen(gateway);

	snprintf(text, sizeof(text), "%s %.*s", gateway, (int)(word.len < 8 ? word.len : 8),
		 (const char *)word.data);
	while (i < w->npresence &&
	       (strncmp(w->presence[i], gateway, len) != 0 || w->presence[i][len] != ' '))
		i++;
	if (i < w->npresence && !strcmp(w->presence[i], text))
		return;
	if (i < ARRAY_SIZE(w->presence))
		memcpy(w->presence[i], text, sizeof(text));
	if (i == w->npresence && i < ARRAY_SIZE(w->presence))
		w->npresence++;
	if (w->desk->json)
		show_answer(w->desk,
			    json_pack("{s:s, s:s, s:s, s:I}", "type", "presence", "gateway",
				      gateway, "presence", text + len + 1, "time",
				      (json_int_t)desk_now()),
			    "%s", "");
	else
		line(w, desk_now(), gateway, text + len + 1);
}

static void on_message(const struct topic *topic, const struct mqtt_message *m, size_t broker,
		       void *user)
{
	struct watch *w = user;

	if (topic->kind == TOPIC_EVENT)
		show_event(w, topic->gateway, m->payload);
	else if (topic->kind == TOPIC_PRESENCE && m->payload.len > 0)
		show_presence(w, topic->gateway, m->payload);
}

static void on_offline(size_t broker, const char *reason, void *user)
{
	fprintf(stderr, "broker lost: %s; trying again\n", reason);
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *user)
{
	*(bool *)user = true;
	return 0;
}

int command_watch(struct desk *desk, int argc, char **argv)
{
	static const struct session_ops ops = {.message = on_message, .offline = on_offline};
	cleanup(session_freep) struct session *session = NULL;
	const struct session_options options = {0};
	struct watch w = {.desk = desk};
	sd_event *event = NULL;
	bool over = false;
	sigset_t signals;
	int r;

	if (argc != 1)
		return command_usage(desk, "%s: not expected here", argv[1]);
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	r = sd_event_new(&event);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGINT, on_signal, &over);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGTERM, on_signal, &over);
	if (r >= 0)
		r = session_new(event, desk, &options, &ops, &w, &session);
	if (r >= 0)
		r = session_subscribe(session, TOPIC_EVENT, "+", NULL);
	if (r >= 0)
		r = session_subscribe(session, TOPIC_PRESENCE, "+", NULL);
	if (r >= 0)
		r = session_start(session);
	while (r >= 0 && !over)
		r = sd_event_run(event, UINT64_MAX);
	session_close(&session);
	sd_event_unref(event);
	if (r == -ENOENT)
		return desk_fail(desk, DESK_REFUSED, "no broker is set: 'config set --broker'");
	return r < 0 ? desk_fail(desk, DESK_REFUSED, "watch: %s", strerror(-r)) : DESK_DONE;
}
