// SPDX-License-Identifier: Apache-2.0
/* The agent, asked and waited for; documents; lockbridge.conf. See door.h. */
#include "ctl/door.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/install.h"
#include "link/bus.h"
#include "link/config-file.h"

#define TIMEOUT_MS 120000u

/* --- words -------------------------------------------------------------------------------------- */

void door_say(const struct door *door, const char *format, ...)
{
	va_list args;

	if (door->ctl->json)
		return;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	fflush(stderr);
}

int door_wrong(struct door *door, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(door->words, sizeof(door->words), format, args);
	va_end(args);
	return -EINVAL;
}

int door_fail(const struct door *door)
{
	json_t *answer;

	if (!door->ctl->json) {
		fprintf(stderr, "%s\n", door->words);
		return CTL_PROBLEM;
	}
	answer = json_pack("{s:s}", "error", door->words);
	if (answer)
		json_dumpf(answer, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(answer);
	return CTL_PROBLEM;
}

const char *door_text(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

bool door_yes(const json_t *object, const char *name)
{
	return json_is_true(json_object_get(object, name));
}

/* --- asking ------------------------------------------------------------------------------------- */

struct door_call {
	struct door_call *next;
	struct door *door;
};

static void explain(struct door *door, const struct control_answer *answer)
{
	const char *error = answer->error;

	if (strcmp(error, "org.freedesktop.DBus.Error.ServiceUnknown") == 0 ||
	    strcmp(error, "org.freedesktop.DBus.Error.NameHasNoOwner") == 0)
		door_wrong(door,
			   "The lockbridge agent does not run.\n"
			   "Next: systemctl start lockbridge, then journalctl -u lockbridge.");
	else if (strcmp(error, "org.freedesktop.DBus.Error.AccessDenied") == 0)
		door_wrong(door, "Not allowed to ask the agent.\nNext: run it with sudo.");
	else if (strcmp(error, "org.freedesktop.DBus.Error.UnknownMethod") == 0)
		door_wrong(door, "The agent that runs is of an older version.\n"
				 "Next: systemctl restart lockbridge.");
	else
		door_wrong(door, "The agent says: %s.", *answer->text ? answer->text : error);
}

static void on_answer(const struct control_answer *answer, void *user)
{
	const struct door_call *call = user;
	struct door *door = call->door;

	if (call != door->calls)
		return;
	door->answered = true;
	if (answer->error)
		explain(door, answer);
	else if (answer->count == 0)
		door->answer = json_true();
	else if (!(door->answer = json_loads(answer->lines[0], 0, NULL)))
		door_wrong(door, "The agent's answer cannot be read.");
}

static void on_lost(void *user)
{
	struct door *door = user;

	door->interrupted = true;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *user)
{
	struct door *door = user;

	door->interrupted = true;
	return 0;
}

json_t *door_ask(struct door *door, const struct control_question *question)
{
	struct control_question named = *question;
	struct door_call *call = calloc(1, sizeof(*call));
	int r = call ? 0 : -ENOMEM;

	if (call) {
		*call = (struct door_call){.next = door->calls, .door = door};
		door->calls = call;
	}
	named.name = door->name;
	named.timeout_ms = TIMEOUT_MS;
	door->answered = false;
	door->answer = NULL;
	if (r == 0)
		r = control_ask(door->bus, &named, on_answer, call);
	while (r >= 0 && !door->answered && !door->interrupted)
		r = sd_event_run(door->event, UINT64_MAX);
	if (r < 0)
		door_wrong(door, "Cannot ask the agent: %s.", strerror(-r));
	else if (!door->answered)
		door_wrong(door, "Interrupted.");
	return door->answer;
}

json_t *door_scan(struct door *door, unsigned seconds)
{
	return door_ask(door, &(struct control_question){.method = "Scan", .seconds = seconds});
}

static int on_time(sd_event_source *source, uint64_t usec, void *user)
{
	bool *over = user;

	*over = true;
	return 0;
}

void door_sleep(struct door *door, unsigned ms)
{
	sd_event_source *timer = NULL;
	bool over = false;
	int r = sd_event_add_time_relative(door->event, &timer, CLOCK_MONOTONIC, ms * 1000ull, 1000,
					   on_time, &over);

	while (r >= 0 && !over && !door->interrupted)
		r = sd_event_run(door->event, UINT64_MAX);
	sd_event_source_disable_unref(timer);
}

void door_go_on(struct door *door)
{
	door->interrupted = false;
}

/* --- life --------------------------------------------------------------------------------------- */

static int open_bus(struct door *door)
{
	static const struct bus_ops ops = {.lost = on_lost};
	sigset_t signals;
	int r = sd_event_default(&door->event);

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (r >= 0)
		r = sd_event_add_signal(door->event, NULL, SIGINT, on_signal, door);
	if (r >= 0)
		r = sd_event_add_signal(door->event, NULL, SIGTERM, on_signal, door);
	if (r >= 0)
		r = bus_open(door->event, door->ctl->bus, &ops, door, &door->bus);
	if (r < 0)
		door_wrong(door, "Cannot reach the system bus: %s.\nNext: systemctl status dbus.",
			   strerror(-r));
	return r < 0 ? r : 0;
}

int door_open(const struct ctl *ctl, struct door *ret)
{
	json_t *status;
	int r;

	*ret = (struct door){.ctl = ctl};
	snprintf(ret->name, sizeof(ret->name), "%s%s",
		 ctl->gateway ? CONTROL_NAME_OF : CONTROL_NAME, ctl->gateway ? ctl->gateway : "");
	r = open_bus(ret);
	if (r < 0)
		return r;
	status = door_ask(ret, &(struct control_question){.method = "Status"});
	if (!status)
		return -EIO;
	snprintf(ret->gateway, sizeof(ret->gateway), "%s", door_text(status, "gateway"));
	snprintf(ret->config, sizeof(ret->config), "%s", door_text(status, "config"));
	snprintf(ret->root, sizeof(ret->root), "%s",
		 door_text(json_object_get(status, "state"), "root"));
	json_decref(status);
	return 0;
}

void door_close(struct door *door)
{
	bus_close(door->bus);
	sd_event_unref(door->event);
	while (door->calls) {
		struct door_call *call = door->calls;

		door->calls = call->next;
		free(call);
	}
}

/* --- documents ---------------------------------------------------------------------------------- */

/* In base64url, as the desk shows it, with a line's end. */
static void decode_text(struct door_document *d)
{
	uint8_t decoded[TOKEN_MEDIUM_MAX];
	size_t len = d->len;
	int n;

	while (len > 0 && (d->bytes[len - 1] == '\n' || d->bytes[len - 1] == '\r'))
		len--;
	n = base64url_decode(span_of(d->bytes, len), decoded, sizeof(decoded));
	if (n <= 0)
		return;
	memcpy(d->bytes, decoded, (size_t)n);
	d->len = (size_t)n;
}

int door_read(struct door *door, const char *path, enum token_kind kind, struct door_document *ret)
{
	char wrong[CONFIG_WRONG_CAP];
	cleanup(freep) char *text = NULL;
	int r = config_file_read(path, sizeof(ret->bytes), &text, &ret->len, wrong);

	if (r < 0) {
		door_wrong(door, "%s.", wrong);
		return r;
	}
	memcpy(ret->bytes, text, ret->len);
	decode_text(ret);
	if (token_parse(span_of(ret->bytes, ret->len), &ret->token) != 0 || ret->token.kind != kind)
		return door_wrong(door,
				  "%s is no %s for a lock.\nNext: make it at the desk: "
				  "lockbridge-desk lock %s LOCK --out FILE.",
				  path, token_kind_word(kind), token_kind_word(kind));
	memcpy(ret->lock, ret->token.aud.data, ret->token.aud.len);
	ret->lock[ret->token.aud.len] = 0;
	return 0;
}

json_t *door_hand_over(struct door *door, const struct door_document *document)
{
	char text[TOKEN_MEDIUM_MAX * 2];

	if (base64url_encode(span_of(document->bytes, document->len), text, sizeof(text)) < 0) {
		door_wrong(door, "The document is too long.");
		return NULL;
	}
	return door_ask(door, &(struct control_question){.method = "Document", .document = text});
}

/* --- lockbridge.conf ---------------------------------------------------------------------------- */

int door_may_write(struct door *door)
{
	if (access(door->config, W_OK) == 0)
		return 0;
	door_wrong(door, "%s cannot be changed: %s.\nNext: run it with sudo.", door->config,
		   strerror(errno));
	return -EACCES;
}

static int read_config(struct door *door, char **ret, size_t *ret_len)
{
	char wrong[CONFIG_WRONG_CAP];
	int r = config_file_read(door->config, CONFIG_TEXT_MAX, ret, ret_len, wrong);

	if (r < 0)
		door_wrong(door, "%s.", wrong);
	return r;
}

int door_configured(struct door *door, const char *lock, const uint8_t key[static PUBLIC_LEN])
{
	cleanup(freep) struct config *config = malloc(sizeof(*config));
	cleanup(freep) char *text = NULL;
	size_t len;
	int r = config ? read_config(door, &text, &len) : -ENOMEM;

	if (!config)
		door_wrong(door, "Out of memory.");
	if (r == 0)
		r = config_parse(door->config, span_of(text, len), config, door->words,
				 sizeof(door->words));
	if (r != 0)
		return r;
	for (size_t i = 0; i < config->nlocks; i++) {
		bool id = strcmp(config->locks[i].id, lock) == 0;
		bool same = memcmp(config->locks[i].key, key, PUBLIC_LEN) == 0;

		if (id && same)
			return 1;
		if (!id && !same)
			continue;
		door_wrong(door,
			   id ? "%s has another key for %s.\nNext: if the lock was replaced, take "
				"the old one out: lockbridgectl lock remove %s."
			      : "%s has this key for another lock than %s (%s).",
			   door->config, lock, id ? lock : config->locks[i].id);
		return -EEXIST;
	}
	return 0;
}

static int put_config(struct door *door, struct span text)
{
	char words[INSTALL_WORDS_CAP];
	int r = install_replace(door->config, text, words);

	if (r < 0)
		door_wrong(door, "%s.", words);
	return r;
}

static bool reload(struct door *door)
{
	json_t *done = door_ask(door, &(struct control_question){.method = "Reload"});

	json_decref(done);
	return done != NULL;
}

/* lock NULL: `out` goes. */
static int change(struct door *door, const struct config_lock *lock, const char *out)
{
	cleanup(freep) char *before = NULL;
	cleanup(freep) char *after = NULL;
	char words[DOOR_WORDS_CAP];
	size_t len;
	int r = read_config(door, &before, &len);

	if (r < 0)
		return r;
	r = lock ? config_add_lock(door->config, span_of(before, len), lock, &after, door->words,
				   sizeof(door->words))
		 : config_remove_lock(door->config, span_of(before, len), out, &after, door->words,
				      sizeof(door->words));
	if (r == 0)
		r = put_config(door, span_str(after));
	if (r < 0)
		return r;
	if (reload(door))
		return 0;
	memcpy(words, door->words, sizeof(words));
	door_go_on(door);
	if (put_config(door, span_of(before, len)) < 0)
		return -EIO;
	(void)reload(door); /* it may have been no refusal, but no answer */
	memcpy(door->words, words, sizeof(words));
	return -EIO;
}

int door_add(struct door *door, const struct config_lock *lock)
{
	return change(door, lock, NULL);
}

int door_remove(struct door *door, const char *lock)
{
	return change(door, NULL, lock);
}
