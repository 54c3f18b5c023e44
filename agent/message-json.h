/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Writing and reading members of JSON objects, for message-*.c only. Both sides keep the first
 * error: write or read everything, then look once.
 *
 * Writing: text that is no UTF-8, or holds control characters, has those bytes replaced by '?':
 * words of other programs must not stop an event. Numbers above INT64_MAX become INT64_MAX.
 * Reading: strict about types, bounds, hex and control characters, blind to unknown members.
 */
#include <jansson.h>

#include "message.h"

struct json_out {
	json_t *object; /* owned; NULL: failed */
	bool failed;
};
void json_outp(struct json_out *out);
struct json_out json_out_begin(void);
/* Consumes out. malloc'd, or NULL. */
char *json_out_end(struct json_out *out);
void put_text(struct json_out *out, const char *key, const char *text);
void put_word(struct json_out *out, const char *key, const char *word); /* left out if "" */
void put_id(struct json_out *out, const char *key, const char *id);	/* left out unless valid */
void put_uint(struct json_out *out, const char *key, uint64_t value);
void put_int(struct json_out *out, const char *key, int64_t value);
void put_bool(struct json_out *out, const char *key, bool value);
void put_hex(struct json_out *out, const char *key, struct span bytes);
void put_base64(struct json_out *out, const char *key, struct span bytes);
void put_base64url(struct json_out *out, const char *key, struct span bytes);
void put_json(struct json_out *out, const char *key, json_t *value);		/* steals value */
void put_object(struct json_out *out, const char *key, struct json_out *value); /* steals value */
void put_problems(struct json_out *out, const struct problems *problems);

struct json_in {
	const json_t *object; /* borrowed; NULL when failed */
	bool failed;
};
/* 0, -EINVAL, -ENOMEM. The root is decref'd by the caller (json_rootp). */
int json_in_begin(struct span text, json_t **ret_root, struct json_in *ret);
void json_rootp(json_t **root);
bool has(const struct json_in *in, const char *key);
/* Missing: error. Optional members are asked for with has() first. */
void get_text(struct json_in *in, const char *key, char *ret, size_t cap);
uint64_t get_uint(struct json_in *in, const char *key);
int64_t get_int(struct json_in *in, const char *key);
bool get_bool(struct json_in *in, const char *key);
void get_hex(struct json_in *in, const char *key, uint8_t *ret, size_t len); /* exactly */
void get_base64(struct json_in *in, const char *key, uint8_t *ret, size_t len);
/* Hex as text, exactly cap - 1 characters. */
void get_hex_text(struct json_in *in, const char *key, char *ret, size_t cap);
/* [a-z0-9-]{1,32} */
void get_id(struct json_in *in, const char *key, char ret[static ID_MAX + 1]);
/* The bytes as text; data NULL when missing or wrong. Borrowed from the root. */
struct span get_string(struct json_in *in, const char *key);
struct json_in get_object(struct json_in *in, const char *key);
/* NULL and failed when missing or no array, or longer than max. */
const json_t *get_array(struct json_in *in, const char *key, size_t max);
struct json_in json_in_of(const json_t *value); /* failed unless it is an object */
void get_problems(struct json_in *in, struct problems *ret);
