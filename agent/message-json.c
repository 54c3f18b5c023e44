// SPDX-License-Identifier: Apache-2.0
/* See message-json.h. */
#include "message-json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/crypto.h"

/* --- writing --- */

void json_outp(struct json_out *out)
{
	json_decref(out->object);
	out->object = NULL;
}

struct json_out json_out_begin(void)
{
	struct json_out out = {.object = json_object()};

	out.failed = !out.object;
	return out;
}

char *json_out_end(struct json_out *out)
{
	char *text = NULL;

	if (!out->failed)
		text = json_dumps(out->object, JSON_COMPACT);
	json_outp(out);
	return text;
}

void put_json(struct json_out *out, const char *key, json_t *value)
{
	/* takes the reference in every case, and fails for a NULL value */
	if (json_object_set_new(out->object, key, value) < 0)
		out->failed = true;
}

void put_object(struct json_out *out, const char *key, struct json_out *value)
{
	if (value->failed)
		out->failed = true;
	put_json(out, key, steal(value->object));
}

static bool is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

/* C1 controls are c2 80 to c2 9f in UTF-8: terminals obey those too. */
static bool has_control(const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (is_control(*p) || (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0))
			return true;
	}
	return false;
}

static json_t *text_value(const char *text)
{
	json_t *value = has_control(text) ? NULL : json_string(text);
	cleanup(freep) char *copy = NULL;

	if (value)
		return value;
	copy = strdup(text);
	if (!copy)
		return NULL;
	for (unsigned char *p = (unsigned char *)copy; *p; p++) {
		if (is_control(*p) || *p >= 0x80)
			*p = '?';
	}
	return json_string(copy);
}

void put_text(struct json_out *out, const char *key, const char *text)
{
	put_json(out, key, text_value(text));
}

void put_word(struct json_out *out, const char *key, const char *word)
{
	if (word[0])
		put_text(out, key, word);
}

void put_id(struct json_out *out, const char *key, const char *id)
{
	if (id_valid(span_str(id)))
		put_text(out, key, id);
}

void put_uint(struct json_out *out, const char *key, uint64_t value)
{
	put_json(out, key, json_integer(value > INT64_MAX ? INT64_MAX : (int64_t)value));
}

void put_int(struct json_out *out, const char *key, int64_t value)
{
	put_json(out, key, json_integer(value));
}

void put_bool(struct json_out *out, const char *key, bool value)
{
	put_json(out, key, json_boolean(value));
}

static void put_encoded(struct json_out *out, const char *key, struct span bytes, size_t cap,
			int (*encode)(struct span, char *, size_t))
{
	cleanup(freep) char *text = malloc(cap);
	int len = text ? encode(bytes, text, cap) : -ENOMEM;

	put_json(out, key, len < 0 ? NULL : json_stringn_nocheck(text, (size_t)len));
}

void put_hex(struct json_out *out, const char *key, struct span bytes)
{
	put_encoded(out, key, bytes, HEX_CAP(bytes.len), hex_encode);
}

void put_base64(struct json_out *out, const char *key, struct span bytes)
{
	put_encoded(out, key, bytes, BASE64_CAP(bytes.len), base64_encode);
}

void put_base64url(struct json_out *out, const char *key, struct span bytes)
{
	put_encoded(out, key, bytes, BASE64_CAP(bytes.len), base64url_encode);
}

void put_problems(struct json_out *out, const struct problems *problems)
{
	json_t *list = json_array();

	for (size_t i = 0; i < problems->n; i++) {
		cleanup(json_outp) struct json_out one = json_out_begin();

		put_text(&one, "code", problems->list[i].code);
		put_word(&one, "detail", problems->list[i].detail);
		if (one.failed || json_array_append_new(list, steal(one.object)) < 0)
			out->failed = true;
	}
	put_json(out, "problems", list);
}

/* --- reading --- */

int json_in_begin(struct span text, json_t **ret_root, struct json_in *ret)
{
	json_error_t error;
	json_t *root;

	*ret_root = NULL;
	if (text.len > MESSAGE_TEXT_MAX)
		return -EINVAL;
	root = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &error);
	if (!root)
		return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EINVAL;
	*ret_root = root;
	*ret = json_in_of(root);
	return ret->failed ? -EINVAL : 0;
}

void json_rootp(json_t **root)
{
	json_decref(*root);
	*root = NULL;
}

struct json_in json_in_of(const json_t *value)
{
	if (!json_is_object(value))
		return (struct json_in){.failed = true};
	return (struct json_in){.object = value};
}

bool has(const struct json_in *in, const char *key)
{
	return json_object_get(in->object, key) != NULL;
}

struct span get_string(struct json_in *in, const char *key)
{
	const json_t *value = json_object_get(in->object, key);

	if (!json_is_string(value)) {
		in->failed = true;
		return (struct span){0};
	}
	return span_of(json_string_value(value), json_string_length(value));
}

void get_text(struct json_in *in, const char *key, char *ret, size_t cap)
{
	struct span text = get_string(in, key);

	/* the parser refuses NUL, so that the value is a C string */
	if (!text.data || text.len >= cap || has_control((const char *)text.data)) {
		in->failed = true;
		text.len = 0;
	}
	if (text.len)
		memcpy(ret, text.data, text.len);
	ret[text.len] = '\0';
}

int64_t get_int(struct json_in *in, const char *key)
{
	const json_t *value = json_object_get(in->object, key);

	if (!json_is_integer(value))
		in->failed = true;
	return json_integer_value(value);
}

uint64_t get_uint(struct json_in *in, const char *key)
{
	int64_t value = get_int(in, key);

	if (value < 0)
		in->failed = true;
	return value < 0 ? 0 : (uint64_t)value;
}

bool get_bool(struct json_in *in, const char *key)
{
	const json_t *value = json_object_get(in->object, key);

	if (!json_is_boolean(value))
		in->failed = true;
	return json_is_true(value);
}

void get_hex(struct json_in *in, const char *key, uint8_t *ret, size_t len)
{
	struct span text = get_string(in, key);

	if (!text.data || hex_decode(text, ret, len) != (int)len)
		in->failed = true;
}

void get_hex_text(struct json_in *in, const char *key, char *ret, size_t cap)
{
	get_text(in, key, ret, cap);
	if (strlen(ret) != cap - 1 || strspn(ret, "0123456789abcdef") != cap - 1)
		in->failed = true;
}

void get_base64(struct json_in *in, const char *key, uint8_t *ret, size_t len)
{
	struct span text = get_string(in, key);

	if (!text.data || base64_decode(text, ret, len) != (int)len)
		in->failed = true;
}

void get_id(struct json_in *in, const char *key, char ret[static ID_MAX + 1])
{
	get_text(in, key, ret, ID_MAX + 1);
	if (!id_valid(span_str(ret)))
		in->failed = true;
}

struct json_in get_object(struct json_in *in, const char *key)
{
	struct json_in value = json_in_of(json_object_get(in->object, key));

	in->failed = in->failed || value.failed;
	return value;
}

const json_t *get_array(struct json_in *in, const char *key, size_t max)
{
	const json_t *value = json_object_get(in->object, key);

	if (json_is_array(value) && json_array_size(value) <= max)
		return value;
	in->failed = true;
	return NULL;
}

void get_problems(struct json_in *in, struct problems *ret)
{
	const json_t *list = get_array(in, "problems", PROBLEMS_MAX);

	ret->n = 0;
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct json_in one = json_in_of(json_array_get(list, i));
		struct problem *problem = &ret->list[ret->n++];

		get_text(&one, "code", problem->code, sizeof(problem->code));
		problem->detail[0] = '\0';
		if (has(&one, "detail"))
			get_text(&one, "detail", problem->detail, sizeof(problem->detail));
		in->failed = in->failed || one.failed;
	}
}
