/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Between the commands that are done at a door and what they work with: the agent, asked and waited
 * for, and lockbridge.conf. Every function that fails has filled door->words.
 */
#include <systemd/sd-event.h>

#include "core/token.h"
#include "ctl/ctl.h"
#include "link/config.h"
#include "link/control.h"

#define DOOR_WORDS_CAP 1024
#define KID_HEX	       (2 * DIGEST_LEN + 1)

struct bus;

struct door {
	const struct ctl *ctl;
	sd_event *event;
	struct bus *bus;
	char name[sizeof(CONTROL_NAME_OF) + ID_MAX]; /* of the agent */
	char words[DOOR_WORDS_CAP];
	bool interrupted; /* SIGINT, SIGTERM: each question ends; door_go_on() */

	/* what the agent says of itself */
	char gateway[ID_MAX + 1];
	char root[KID_HEX]; /* who signs its next keys */
	char config[512];   /* its lockbridge.conf */

	struct door_call *calls; /* the first is under way; answers to others come too late */
	bool answered;
	json_t *answer;
};

/* Reaches bus and agent. 0 or -errno. */
int door_open(const struct ctl *ctl, struct door *ret);
void door_close(struct door *door);
/* The answer, to be decref'd, or NULL. */
json_t *door_ask(struct door *door, const struct control_question *question);
json_t *door_scan(struct door *door, unsigned seconds);
/* Waits; less if interrupted. */
void door_sleep(struct door *door, unsigned ms);
/* What undoes things is not interrupted. */
void door_go_on(struct door *door);

/* --- the document that the desk wrote, as it is or in base64url ------------------------------- */

struct door_document {
	uint8_t bytes[TOKEN_MEDIUM_MAX];
	size_t len;
	struct token token; /* points into bytes */
	char lock[ID_MAX + 1];
};
/* 0 or -EINVAL, -errno. */
int door_read(struct door *door, const char *path, enum token_kind kind, struct door_document *ret);
/* What the lock, or the agent, made of it; NULL: no answer. */
json_t *door_hand_over(struct door *door, const struct door_document *document);

/* --- lockbridge.conf --------------------------------------------------------------------------- */

/* May we change it? */
int door_may_write(struct door *door);
/* 1: there, with this key; 0: not there; -EEXIST: with another key, or this key under another id. */
int door_configured(struct door *door, const char *lock, const uint8_t key[static PUBLIC_LEN]);
/* The file, and then the agent; if that refuses, the file is as before. 0 or -errno. */
int door_add(struct door *door, const struct config_lock *lock);
int door_remove(struct door *door, const char *lock);

/* --- words ------------------------------------------------------------------------------------- */

/* One line on standard error, where a person reads; nothing with --json. */
void door_say(const struct door *door, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Fills words. Returns -EINVAL, for `return door_wrong(...)`. */
int door_wrong(struct door *door, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* words to who asked: CTL_PROBLEM. */
int door_fail(const struct door *door);
const char *door_text(const json_t *object, const char *name); /* "": not there */
bool door_yes(const json_t *object, const char *name);

/* --- lock.c's commands, each in a file of its own ---------------------------------------------- */

struct door_options {
	const char *file; /* or lock */
	const char *key, *address;
	unsigned seconds;
};
int door_claim(struct door *door, const struct door_options *options);
int door_release(struct door *door, const struct door_options *options);
