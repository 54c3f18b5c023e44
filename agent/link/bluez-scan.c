/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Discovery: on whenever the adapter is up and no link is connecting. And the ladder: controllers
 * and daemons fall silent without an error, so when nobody at all was heard for a while, ever
 * stronger means are tried, in order, until adverts come again.
 *
 * Only time spent scanning counts as silence, and no rung cuts a link that works.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "link/bluez-internal.h"

#define STOP_MS	     5000u
#define PATIENCE_MAX 40u /* times silent_after_ms: an hour, by default */

static bool is_wanted(const struct bluez *b)
{
	return b->up && (b->options.scan_while_connecting || !bluez_links_pause_scan(b));
}

bool bluez_scan_is_quiet(const struct bluez *b)
{
	return b->options.scan_while_connecting || b->scan.state == SCAN_OFF;
}

/* --- the ladder --- */

static int on_silence(sd_event_source *source, uint64_t usec, void *user);

static uint64_t silence(const struct bluez *b)
{
	const struct bluez_scan *s = &b->scan;

	return s->spent + (s->since ? bluez_now(b) - s->since : 0);
}

static void listen(struct bluez *b, bool on)
{
	struct bluez_scan *s = &b->scan;
	uint64_t limit = (uint64_t)b->options.silent_after_ms * 1000 * s->patience;
	uint64_t spent = silence(b);

	s->spent = spent;
	s->since = on ? bluez_now(b) : 0;
	if (!on)
		bluez_timer_stop(s->silence);
	else
		bluez_timer(b, &s->silence, spent < limit ? (limit - spent) / 1000 + 1 : 1,
			    on_silence, b);
}

void bluez_scan_heard(struct bluez *b)
{
	struct bluez_scan *s = &b->scan;

	s->spent = 0;
	if (s->since)
		s->since = bluez_now(b);
	if (s->rung == BLUEZ_RUNG_NONE)
		return;
	s->rung = BLUEZ_RUNG_NONE;
	s->patience = 1;
	b->counters.rung[BLUEZ_RUNG_NONE]++;
	b->ops->recovery(BLUEZ_RUNG_NONE, false, "adverts are heard again", b->user);
}

static void report(struct bluez *b, const char *what, DBusMessage *reply)
{
	char text[BLUEZ_DETAIL_SIZE - 48], detail[BLUEZ_DETAIL_SIZE];

	if (!message_is_error(reply))
		return;
	bluez_error_text(reply, text, sizeof(text));
	snprintf(detail, sizeof(detail), "%s: %s", what, text);
	b->ops->recovery(b->scan.rung, true, detail, b->user);
}

static void on_switched_off(struct DBusMessage *reply, void *user)
{
	/* The property's signal does the rest: down, and after a pause on again. */
	report(user, "the adapter could not be switched off", reply);
}

static void on_restarted(struct DBusMessage *reply, void *user)
{
	report(user, "bluetooth.service could not be restarted", reply);
}

static void restart_service(struct bluez *b)
{
	cleanup(message_unrefp) DBusMessage *restart = dbus_message_new_method_call(
		"org.freedesktop.systemd1", "/org/freedesktop/systemd1",
		"org.freedesktop.systemd1.Manager", "RestartUnit");
	const char *unit = "bluetooth.service", *mode = "replace";

	if (!restart)
		return;
	dbus_message_set_auto_start(restart, FALSE);
	if (dbus_message_append_args(restart, DBUS_TYPE_STRING, &unit, DBUS_TYPE_STRING, &mode,
				     DBUS_TYPE_INVALID))
		bus_call(b->bus, restart, BUS_TIMEOUT_DEFAULT, on_restarted, b, &b->scan.climb);
}

static void climb(struct bluez *b)
{
	static const char *const words[BLUEZ_RUNGS] = {
		[BLUEZ_RUNG_SCAN] = "discovery is restarted",
		[BLUEZ_RUNG_POWER] = "the adapter is switched off and on",
		[BLUEZ_RUNG_SERVICE] = "bluetooth.service is restarted",
		[BLUEZ_RUNG_HUMAN] = "nothing helped, somebody should look at the adapter",
	};
	struct bluez_scan *s = &b->scan;
	char detail[BLUEZ_DETAIL_SIZE];

	snprintf(detail, sizeof(detail),
		 "no advert from anybody for %u s: ", (unsigned)(silence(b) / 1000000));
	if (s->rung == BLUEZ_RUNG_HUMAN) {
		s->rung = BLUEZ_RUNG_NONE;
		s->patience = s->patience * 2 < PATIENCE_MAX ? s->patience * 2 : PATIENCE_MAX;
	}
	s->rung++;
	s->spent = 0;
	b->counters.rung[s->rung]++;
	strncat(detail, words[s->rung], sizeof(detail) - strlen(detail) - 1);
	bus_call_cancel(s->climb);
	switch (s->rung) {
	case BLUEZ_RUNG_SCAN:
		s->again = true;
		bluez_scan_update(b);
		break;
	case BLUEZ_RUNG_POWER:
		b->cycling = true;
		bluez_set_powered(b, false, on_switched_off, &s->climb);
		break;
	case BLUEZ_RUNG_SERVICE:
		restart_service(b);
		break;
	case BLUEZ_RUNG_HUMAN:
	case BLUEZ_RUNG_NONE:
	case BLUEZ_RUNGS:
		break;
	}
	b->ops->recovery(s->rung, false, detail, b->user);
}

static int on_silence(sd_event_source *source, uint64_t usec, void *user)
{
	struct bluez *b = user;
	uint64_t limit = (uint64_t)b->options.silent_after_ms * 1000 * b->scan.patience;

	if (silence(b) >= limit) {
		if (!bluez_links_any_ready(b)) {
			b->scan.since = bluez_now(b);
			climb(b);
		} else {
			/* The radio works, whatever the scanner does. */
			b->scan.spent = 0;
			b->scan.since = bluez_now(b);
		}
	}
	listen(b, is_wanted(b));
	return 0;
}

/* --- discovery --- */

static int on_retry(sd_event_source *source, uint64_t usec, void *user)
{
	struct bluez *b = user;

	b->scan.failed = false;
	bluez_scan_update(b);
	return 0;
}

static void settle(struct bluez *b, enum scan_state state)
{
	b->scan.state = state;
	bluez_scan_update(b);
	bluez_links_pump(b);
}

static void fail(struct bluez *b)
{
	struct bluez_scan *s = &b->scan;

	b->counters.scan_errors++;
	s->failed = true;
	bluez_timer(b, &s->retry, bluez_back_off(b->options.retry_ms, s->retries++, 30), on_retry,
		    b);
	settle(b, SCAN_OFF);
}

static void on_stopped(struct DBusMessage *reply, void *user)
{
	/* Failed, "No discovery started", is as good. */
	settle(user, SCAN_OFF);
}

static void on_stopped_after_error(struct DBusMessage *reply, void *user)
{
	fail(user);
}

static void on_started(struct DBusMessage *reply, void *user)
{
	struct bluez *b = user;

	if (!message_is_error(reply)) {
		b->scan.retries = 0;
		settle(b, SCAN_ON);
		return;
	}
	/* InProgress: a start of ours that we gave up is alive, or somebody else's is on its way. No
	 * answer: nobody knows. Stopping first makes both definite. */
	b->scan.state = SCAN_STOP;
	if (bluez_call(b, b->adapter->path, BLUEZ_ADAPTER, "StopDiscovery", STOP_MS,
		       on_stopped_after_error, b, &b->scan.call) < 0)
		fail(b);
}

static void start(struct bluez *b)
{
	b->scan.state = SCAN_START;
	if (bluez_call(b, b->adapter->path, BLUEZ_ADAPTER, "StartDiscovery", BLUEZ_CALL_MS,
		       on_started, b, &b->scan.call) < 0)
		fail(b);
}

static void on_filtered(struct DBusMessage *reply, void *user)
{
	struct bluez *b = user;

	if (message_is_error(reply))
		fail(b);
	else if (!is_wanted(b))
		settle(b, SCAN_OFF);
	else
		start(b);
}

/* Transport le, or BlueZ interleaves inquiries; duplicates, or a changed advert goes unseen. The
 * filters of all clients are merged, so more than we asked for may come. */
static DBusMessage *filter_message(struct bluez *b)
{
	cleanup(message_unrefp) DBusMessage *set =
		bluez_message(b->adapter->path, BLUEZ_ADAPTER, "SetDiscoveryFilter");
	const char *transport = "Transport", *le = "le", *duplicate = "DuplicateData";
	DBusMessageIter args, dict, entry, variant;
	dbus_bool_t yes = TRUE;

	if (!set)
		return NULL;
	dbus_message_iter_init_append(set, &args);
	if (!dbus_message_iter_open_container(&args, DBUS_TYPE_ARRAY, "{sv}", &dict) ||
	    !dbus_message_iter_open_container(&dict, DBUS_TYPE_DICT_ENTRY, NULL, &entry) ||
	    !dbus_message_iter_append_basic(&entry, DBUS_TYPE_STRING, &transport) ||
	    !dbus_message_iter_open_container(&entry, DBUS_TYPE_VARIANT, "s", &variant) ||
	    !dbus_message_iter_append_basic(&variant, DBUS_TYPE_STRING, &le) ||
	    !dbus_message_iter_close_container(&entry, &variant) ||
	    !dbus_message_iter_close_container(&dict, &entry) ||
	    !dbus_message_iter_open_container(&dict, DBUS_TYPE_DICT_ENTRY, NULL, &entry) ||
	    !dbus_message_iter_append_basic(&entry, DBUS_TYPE_STRING, &duplicate) ||
	    !dbus_message_iter_open_container(&entry, DBUS_TYPE_VARIANT, "b", &variant) ||
	    !dbus_message_iter_append_basic(&variant, DBUS_TYPE_BOOLEAN, &yes) ||
	    !dbus_message_iter_close_container(&entry, &variant) ||
	    !dbus_message_iter_close_container(&dict, &entry) ||
	    !dbus_message_iter_close_container(&args, &dict))
		return NULL;
	return steal(set);
}

static void begin(struct bluez *b)
{
	cleanup(message_unrefp) DBusMessage *filter = filter_message(b);

	b->scan.again = false;
	b->scan.state = SCAN_FILTER;
	if (!filter || bus_call(b->bus, filter, BLUEZ_CALL_MS, on_filtered, b, &b->scan.call) < 0)
		fail(b);
}

static void stop(struct bluez *b)
{
	b->scan.state = SCAN_STOP;
	if (bluez_call(b, b->adapter->path, BLUEZ_ADAPTER, "StopDiscovery", STOP_MS, on_stopped, b,
		       &b->scan.call) < 0)
		b->scan.state = SCAN_OFF;
}

void bluez_scan_update(struct bluez *b)
{
	struct bluez_scan *s = &b->scan;
	bool wanted = is_wanted(b);

	if (wanted != (s->since != 0))
		listen(b, wanted);
	if (s->call)
		return; /* its end comes back here */
	if (s->state == SCAN_OFF && wanted && !s->failed)
		begin(b);
	else if (s->state == SCAN_ON && (!wanted || s->again))
		stop(b);
}

void bluez_scan_reset(struct bluez *b)
{
	struct bluez_scan *s = &b->scan;

	bus_call_cancel(s->call);
	bluez_timer_stop(s->retry);
	s->state = SCAN_OFF;
	s->again = s->failed = false;
	s->retries = 0;
	listen(b, false);
}

void bluez_scan_free(struct bluez *b)
{
	struct bluez_scan *s = &b->scan;

	if (s->state != SCAN_OFF && b->adapter)
		bluez_tell(b, b->adapter->path, BLUEZ_ADAPTER, "StopDiscovery");
	bus_call_cancel(s->call);
	bus_call_cancel(s->climb);
	sd_event_source_disable_unref(s->retry);
	sd_event_source_disable_unref(s->silence);
}
