// SPDX-License-Identifier: Apache-2.0
/* serve: the desk's daemon. Everything but readers and the words is the hub's (hub.h). */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "desk/broker-files.h"
#include "desk/command.h"
#include "desk/enrol.h"
#include "desk/hub.h"
#include "desk/readers.h"
#include "desk/registry.h"
#include "desk/serving.h"
#include "desk/show.h"
#include "desk/words.h"

#define HOURLY_S	 3600
#define SESSION_EXPIRY_S (14 * 86400)

struct serve {
	const struct desk *desk;
	struct hub *hub;
	int64_t alarm;		   /* the last one said */
	uint64_t trimmed, watched; /* when */
	bool settled;
	bool over;
};

static void say(const struct serve *s, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void say(const struct serve *s, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

static void on_filed(const char *gateway, const struct filed *filed, void *user)
{
	char words[WORDS_CAP];

	if (!filed->is_new)
		return;
	words_event(&filed->event, filed->has_receipt ? &filed->receipt : NULL, words);
	say(user, "%s: %s", gateway, words);
}

static void on_trouble(const char *words, void *user)
{
	say(user, "trouble: %s", words);
}

static void say_alarms(struct serve *s)
{
	cleanup(db_end) struct db_query q =
		db_query(s->desk->db,
			 "SELECT id, kind, subject, detail FROM alarm WHERE id > ? ORDER BY id");

	db_bind_int(&q, s->alarm);
	while (db_step(&q) > 0) {
		s->alarm = db_int(&q, 0);
		say(s, "alarm: %s, %s: %s", db_text(&q, 1), db_text(&q, 2), db_text(&q, 3));
	}
}

static int trim(struct serve *s, uint64_t now)
{
	if (now < s->trimmed + HOURLY_S)
		return 0;
	s->trimmed = now;
	return events_trim(s->desk->db,
			   now - setting_uint(s->desk->db, "keep-events", EVENTS_KEEP_S));
}

/* Certificates about to expire, and the brokers' files: also while no broker answers, since a list
 * out of date may be why. */
static int watch(struct serve *s, uint64_t now)
{
	char words[BROKER_FILES_WORDS_CAP];
	int r;

	if (now < s->watched + HOURLY_S)
		return 0;
	s->watched = now;
	r = hub_flush(s->hub);
	if (r >= 0)
		r = certificates_watch(s->desk->db, now);
	if (r >= 0)
		r = authority_watch(s->desk, now);
	if (r >= 0)
		r = broker_files_update(s->desk, now, words);
	if (r >= 0 && *words)
		say(s, "%s", words);
	return r;
}

/* A transaction of its own: what is being filed must not fail or succeed with it. */
static void on_request(const char *gateway, struct span request, void *user)
{
	struct serve *s = user;
	int r = hub_flush(s->hub);

	if (r >= 0)
		r = enrol_renew(s->desk, hub_session(s->hub), gateway, request, desk_now());
	if (r < 0)
		say(s, "trouble: %s's request for a certificate: %s", gateway, strerror(-r));
}

static void on_worked(bool settled, void *user)
{
	struct serve *s = user;
	const struct hub_gateway *gateways;
	size_t n = hub_gateways(s->hub, &gateways);
	int r = 0;

	if (settled != s->settled)
		say(s, settled ? "on the broker" : "no broker: %s", hub_trouble(s->hub));
	if (settled != s->settled)
		sd_notifyf(0, settled ? "STATUS=on the broker" : "STATUS=no broker: %s",
			   hub_trouble(s->hub));
	s->settled = settled;
	if (watch(s, desk_now()) < 0)
		say(s, "trouble: %s", db_error(s->desk->db));
	say_alarms(s);
	if (!settled || !hub_signed(s->hub))
		return;
	for (size_t i = 0; r >= 0 && i < n; i++)
		r = readers_serve(s->desk, hub_session(s->hub), &gateways[i], desk_now());
	if (r >= 0)
		r = trim(s, desk_now());
	if (r < 0)
		say(s, "trouble: %s", db_error(s->desk->db));
}

static const struct hub_ops hub_ops = {
	.filed = on_filed,
	.request = on_request,
	.worked = on_worked,
	.trouble = on_trouble,
};

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *user)
{
	struct serve *s = user;

	s->over = true;
	return 0;
}

/* One session for ever: what gateways say while this is down waits at the broker. */
static int client_id(struct db *db, char *ret, size_t cap)
{
	uint8_t random[8];
	int r = setting_get(db, "client-id", ret, cap);

	if (r != -ENOENT)
		return r;
	crypto_random(random, sizeof(random));
	memcpy(ret, "desk-", 5);
	hex_encode(SPAN(random), ret + 5, cap - 5);
	return setting_put(db, "client-id", ret);
}

static int catch_signals(struct serve *s, sd_event *event)
{
	sigset_t signals;
	int r;

	/* before the connector threads are made, so that they inherit it */
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return -errno;
	r = sd_event_add_signal(event, NULL, SIGINT, on_signal, s);
	return r < 0 ? r : sd_event_add_signal(event, NULL, SIGTERM, on_signal, s);
}

static int last_alarm(struct db *db, int64_t *ret)
{
	cleanup(db_end) struct db_query q = db_query(db, "SELECT coalesce(max(id), 0) FROM alarm");
	int r = db_step(&q);

	*ret = r > 0 ? db_int(&q, 0) : 0;
	return r < 0 ? r : 0;
}

int command_serve(struct desk *desk, int argc, char **argv)
{
	struct session_options options = {.expiry_s = SESSION_EXPIRY_S};
	struct serve s = {.desk = desk};
	sd_event *event = NULL;
	char id[64];
	int r;

	if (argc != 1)
		return command_usage(desk, "%s: not expected here", argv[1]);
	r = serving_begin(desk);
	if (r == -EWOULDBLOCK)
		return desk_fail(desk, DESK_REFUSED, "serve runs already on %s", desk->dir);
	if (r < 0)
		return desk_fail(desk, DESK_REFUSED, "%s/serve.lock: %s", desk->dir, strerror(-r));
	r = client_id(desk->db, id, sizeof(id));
	options.client_id = id;
	if (r >= 0)
		r = last_alarm(desk->db, &s.alarm);
	if (r >= 0)
		r = sd_event_new(&event);
	if (r >= 0)
		r = catch_signals(&s, event);
	if (r >= 0)
		r = hub_new(event, desk, &options, &hub_ops, &s, &s.hub);
	if (r >= 0)
		r = hub_start(s.hub);
	/* Ready without a broker: to wait for one is its work, and no reason to be started anew. */
	if (r >= 0)
		sd_notify(0, "READY=1\nSTATUS=no broker yet");
	while (r >= 0 && !s.over)
		r = sd_event_run(event, UINT64_MAX);
	sd_notify(0, "STOPPING=1");
	hub_close(&s.hub);
	sd_event_unref(event);
	if (r == -ENOENT)
		return desk_fail(desk, DESK_REFUSED, "no broker is set: 'config set --broker'");
	return r < 0 ? desk_fail_errno(desk, r, "serve") : DESK_DONE;
}
