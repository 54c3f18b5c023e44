// SPDX-License-Identifier: Apache-2.0
/*
 * A document that the person at the box hands over: the same handling as of one that came over
 * gw/<gw>/document, but somebody stands there and waits to hear what became of it. A claim or
 * release is answered when the lock has said so, everything else at once.
 */
#include <jansson.h>

#include "gateway-private.h"

#define DOOR_WAIT_US 60000000u

static char *dumped(json_t *json)
{
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	return text;
}

static void put_text(json_t *json, const char *name, const char *text)
{
	if (text && *text)
		(void)json_object_set_new(json, name, json_string(text));
}

static json_t *begin(enum token_kind kind, const char *lock, const char *outcome,
		     enum reason reason)
{
	json_t *json = json_pack("{s:s}", "outcome", outcome);

	if (json && kind != TOKEN_KINDS)
		put_text(json, "kind", token_kind_word(kind));
	if (json)
		put_text(json, "lock", lock);
	if (json && reason != REASON_NONE)
		put_text(json, "reason", reason_word(reason));
	return json;
}

static void finish(struct gateway *gw, json_t *json)
{
	struct control_task *task = steal(gw->door.task);
	cleanup(freep) char *text = dumped(json);

	gw->door.timer = sd_event_source_disable_unref(gw->door.timer);
	control_task_done(task, text, "out of memory");
}

static bool is_ours(const struct gateway_lock *gl, const uint8_t *digest)
{
	const struct gateway_door *door = &gl->gw->door;

	return door->task && strcmp(door->lock, gl->config.id) == 0 &&
	       memcmp(door->digest, digest, DIGEST_LEN) == 0;
}

void gateway_door_forwarded(struct gateway_lock *gl, const struct lock_forwarded *forwarded)
{
	struct gateway *gw = gl->gw;
	json_t *json;
	char owner[HEX_CAP(DIGEST_LEN)];
	cleanup(freep) char *receipt = NULL;
	size_t cap = forwarded->receipt.len * 2 + 8;

	if (!is_ours(gl, forwarded->digest))
		return;
	json = begin(forwarded->kind, gl->config.id, outcome_word(forwarded->outcome),
		     forwarded->reason);
	if (json && forwarded->has_owner) {
		hex_encode(SPAN(forwarded->owner), owner, sizeof(owner));
		(void)json_object_set_new(json, "owner",
					  forwarded->owned ? json_string(owner) : json_null());
		(void)json_object_set_new(
			json, "ours",
			json_boolean(forwarded->owned && gateway_our_root(gw, forwarded->owner)));
	}
	if (json && forwarded->receipt.len > 0 && (receipt = malloc(cap)) &&
	    base64url_encode(forwarded->receipt, receipt, cap) > 0)
		put_text(json, "receipt", receipt);
	finish(gw, json);
}

void gateway_door_removed(struct gateway_lock *gl)
{
	struct gateway *gw = gl->gw;

	if (!gw->door.task || strcmp(gw->door.lock, gl->config.id) != 0)
		return;
	gw->door.timer = sd_event_source_disable_unref(gw->door.timer);
	control_task_done(steal(gw->door.task), NULL, "the lock was removed");
}

static void forget(struct gateway *gw)
{
	struct gateway_lock *gl = gateway_lock_find(gw, span_str(gw->door.lock));

	gw->door.timer = sd_event_source_disable_unref(gw->door.timer);
	gw->door.task = NULL;
	if (gl)
		lock_forward_drop(gl->lock, gw->door.digest);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *user)
{
	struct gateway *gw = user;
	struct control_task *task = gw->door.task;

	forget(gw);
	control_task_done(task, NULL,
			  "the lock gave no answer in a minute: it is out of reach, or the radio "
			  "is busy");
	return 0;
}

static int await(struct gateway *gw, const struct gateway_own *own, struct control_task *task)
{
	int r = sd_event_add_time_relative(gw->event, &gw->door.timer, CLOCK_MONOTONIC,
					   DOOR_WAIT_US, 10000, on_timeout, gw);

	gw->door.task = task;
	memcpy(gw->door.digest, own->digest, DIGEST_LEN);
	snprintf(gw->door.lock, sizeof(gw->door.lock), "%s", own->lock->config.id);
	if (r < 0)
		forget(gw);
	return r < 0 ? r : 0;
}

int gateway_door(struct gateway *gw, const char *base64url, struct control_task *task)
{
	size_t cap = strlen(base64url);
	cleanup(freep) uint8_t *bytes = malloc(cap + 1);
	cleanup(freep) char *text = NULL;
	struct gateway_own own;
	int len, r;

	if (gw->door.task)
		return -EBUSY;
	if (!bytes)
		return -ENOMEM;
	len = base64url_decode(span_str(base64url), bytes, cap);
	if (len <= 0 || len > TOKEN_DOCUMENT_MAX)
		return -EINVAL;
	r = gateway_take_document(gw, span_of(bytes, (size_t)len), &own);
	if (r == 0 && own.lock)
		return await(gw, &own, task);
	text = dumped(begin(own.kind, "", r == 0 ? "applied" : "refused", (enum reason)r));
	control_task_done(task, text, "out of memory");
	return 0;
}

void gateway_door_cancel(struct gateway *gw, const struct control_task *task)
{
	if (gw->door.task == task)
		forget(gw);
}
