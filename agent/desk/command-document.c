// SPDX-License-Identifier: Apache-2.0
/* document show: any document of the contract as readable text, for developers and installers. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/result.h"
#include "core/revocation.h"
#include "desk/command.h"
#include "desk/keyring.h"
#include "desk/registry.h"
#include "desk/show.h"
#include "link/file.h"

#define INPUT_MAX (TOKEN_DOCUMENT_MAX / 2 * 4 + 64) /* in hex */

static json_t *text_json(struct span text)
{
	json_t *json = json_stringn((const char *)text.data, text.len);

	return json ? json : json_null();
}

static json_t *key_json(const struct key *key)
{
	json_t *json = json_object(), *roles = json_array();

	json_object_set_new(json, "kid", show_hex(SPAN(key->kid)));
	json_object_set_new(json, "x", show_hex(SPAN(key->pub)));
	for (size_t i = 0; i < ARRAY_SIZE(keyring_roles); i++)
		if (key->roles & keyring_roles[i])
			json_array_append_new(roles, json_string(role_word(keyring_roles[i])));
	if (key->roles)
		json_object_set(json, "roles", roles);
	json_decref(roles);
	return json;
}

static json_t *keys_json(struct span claim)
{
	json_t *array = json_array();
	struct keyset set;

	if (keyset_parse(claim, &set) != 0)
		return array;
	for (size_t i = 0; i < set.n; i++)
		json_array_append_new(array, key_json(&set.keys[i]));
	return array;
}

static json_t *policy_json(struct span claim)
{
	json_t *apps = json_array(), *cut_off = json_object();
	struct policy p;

	if (policy_parse(claim, &p) != 0)
		policy_default(&p);
	for (size_t i = 0; i < p.napps; i++)
		json_array_append_new(apps, json_string(p.apps[i]));
	for (size_t i = 0; i < p.ncut_offs; i++)
		json_object_set_new(cut_off, p.cut_offs[i].lock,
				    json_integer((json_int_t)p.cut_offs[i].time));
	return json_pack("{s:b, s:o, s:I, s:I, s:I, s:o, s:b}", "require_pin", p.require_pin,
			 "apps", apps, "posture_max_age", (json_int_t)p.posture_max_age,
			 "max_relay", (json_int_t)p.max_relay, "max_lifetime",
			 (json_int_t)p.max_lifetime, "cut_off", cut_off, "report_manual",
			 p.report_manual);
}

static json_t *list_json(const struct token *t)
{
	cleanup(freep) struct status_list *list = malloc(sizeof(*list));
	json_t *entries = json_object();
	char idx[24];

	if (!list || status_list_inflate(t->lst, t->bits, LIST_BYTES_MAX, list) != 0) {
		json_decref(entries);
		return json_null();
	}
	for (uint64_t i = 0; i < status_list_entries(list); i++) {
		if (status_list_get(list, i) == 0)
			continue;
		snprintf(idx, sizeof(idx), "%" PRIu64, i);
		json_object_set_new(entries, idx, json_integer(status_list_get(list, i)));
	}
	return json_pack("{s:I, s:I, s:o}", "bits", (json_int_t)t->bits, "entries",
			 (json_int_t)status_list_entries(list), "not_valid", entries);
}

static json_t *result_json(struct span claim)
{
	json_t *json, *applied = json_object();
	struct result r;

	if (result_parse(claim, &r) != 0) {
		json_decref(applied);
		return json_null();
	}
	for (size_t i = 0; i < r.napplied; i++)
		json_object_set_new(applied, r.applied[i].name,
				    json_pack("[I, o]", (json_int_t)r.applied[i].iat,
					      show_hex(SPAN(r.applied[i].digest))));
	json = json_pack("{s:s, s:s, s:o, s:I, s:o}", "outcome", outcome_word(r.outcome), "bolt",
			 bolt_word(r.bolt), "challenge", show_hex(SPAN(r.challenge)), "boot",
			 (json_int_t)r.boot, "applied", applied);
	if (r.reason)
		json_object_set_new(json, "reason", json_string(reason_word(r.reason)));
	if (r.via)
		json_object_set_new(json, "via", json_string(via_word(r.via)));
	if (r.has_battery)
		json_object_set_new(json, "battery", json_integer(r.battery));
	if (r.has_n)
		json_object_set_new(json, "n", json_integer((json_int_t)r.n));
	if (r.has_last)
		json_object_set_new(json, "last", json_integer((json_int_t)r.last));
	return json;
}

static json_t *posture_json(const struct posture *p)
{
	json_t *json = json_object();

	if (p->has_pin)
		json_object_set_new(json, "pin", json_boolean(p->pin));
	if (p->app.data)
		json_object_set_new(json, "app", text_json(p->app));
	if (p->platform.data)
		json_object_set_new(json, "platform", text_json(p->platform));
	if (p->has_checked)
		json_object_set_new(json, "checked", json_integer((json_int_t)p->checked));
	return json;
}

static json_t *claims_json(const struct token *t)
{
	const struct {
		unsigned claim;
		const char *name;
		json_t *value;
	} claims[] = {
		{CLAIM_ISS, "iss", text_json(t->iss)},
		{CLAIM_SUB, "sub", text_json(t->sub)},
		{CLAIM_AUD, "aud", text_json(t->aud)},
		{CLAIM_EXP, "exp", json_integer((json_int_t)t->exp)},
		{CLAIM_NBF, "nbf", json_integer((json_int_t)t->nbf)},
		{CLAIM_IAT, "iat", json_integer((json_int_t)t->iat)},
		{CLAIM_CTI, "cti", t->has & CLAIM_CTI ? show_hex(t->cti) : NULL},
		{CLAIM_CNF, "cnf", key_json(&t->cnf)},
		{CLAIM_SCOPE, "scope", json_string(scope_word(t->scope))},
		{CLAIM_CNONCE, "cnonce", t->has & CLAIM_CNONCE ? show_hex(t->cnonce) : NULL},
		{CLAIM_STATUS, "status",
		 json_pack("{s:I, s:o}", "idx", (json_int_t)t->status_idx, "uri",
			   text_json(t->status_uri))},
		{CLAIM_TTL, "ttl", json_integer((json_int_t)t->ttl)},
		{CLAIM_STATUS_LIST, "status_list",
		 t->has & CLAIM_STATUS_LIST ? list_json(t) : NULL},
		{CLAIM_POSTURE, "posture", posture_json(&t->posture)},
		{CLAIM_KEYS, "keys", t->has & CLAIM_KEYS ? keys_json(t->keys) : NULL},
		{CLAIM_POLICY, "policy", t->has & CLAIM_POLICY ? policy_json(t->policy) : NULL},
		{CLAIM_RESULT, "result", t->has & CLAIM_RESULT ? result_json(t->result) : NULL},
		{CLAIM_CHANGED, "changed", json_integer((json_int_t)t->changed)},
		{CLAIM_KEY, "key", key_json(&t->key)},
	};
	json_t *json = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(claims); i++) {
		if (t->has & claims[i].claim)
			json_object_set(json, claims[i].name, claims[i].value);
		json_decref(claims[i].value);
	}
	return json;
}

/* Whose signature it is, if this desk's registry can tell. */
static const char *signature_words(struct desk *desk, const struct token *t)
{
	static const char *const by[] = {
		"good, by the desk's root key", "good, by the desk's policy key",
		"good, by the desk's revoke key", "good, by the desk's authorize key"};
	struct keyring_entry entry;
	struct keyset keys = {.n = 1};

	if (!desk->db || keyring_find(desk->db, t->cose.kid, &entry) < 0)
		return "not checked: the signer is not a key of this desk";
	keys.keys[0] = entry.key;
	if (keyset_verify(&keys, &t->cose, entry.key.roles) != 0)
		return "wrong";
	for (size_t i = 0; i < ARRAY_SIZE(keyring_roles); i++)
		if (entry.key.roles == keyring_roles[i] && !entry.dropped)
			return by[i];
	return "good, by a key that was dropped";
}

static int read_input(const char *path, uint8_t *buf, size_t cap, size_t *ret_len)
{
	size_t len = 0;

	if (strcmp(path, "-") != 0)
		return file_read(path, buf, cap, ret_len);
	while (len < cap) {
		ssize_t n = read(STDIN_FILENO, buf + len, cap - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret_len = len;
	return 0;
}

/* Binary as it is; base64url as issued on the command line; or hex. */
static size_t decode(uint8_t *input, size_t len, uint8_t *ret, size_t cap)
{
	struct span text;
	int r;

	while (len > 0 && strchr(" \t\r\n", input[len - 1]))
		len--;
	text = span_of(input, len);
	r = hex_decode(text, ret, cap);
	if (r < 0)
		r = base64url_decode(text, ret, cap);
	return r > 0 ? (size_t)r : 0;
}

static json_t *document_json(struct desk *desk, const struct token *t)
{
	json_t *json = json_object();

	json_object_set_new(json, "kind", json_string(token_kind_word(t->kind)));
	json_object_set_new(json, "alg", json_integer(t->cose.alg));
	json_object_set_new(json, "kid", show_hex(t->cose.kid));
	json_object_set_new(json, "digest", show_hex(SPAN(t->digest)));
	json_object_set_new(json, "signature", json_string(signature_words(desk, t)));
	json_object_set_new(json, "claims", claims_json(t));
	return json;
}

int command_document_show(struct desk *desk, int argc, char **argv)
{
	cleanup(freep) uint8_t *input = malloc(INPUT_MAX), *bytes = malloc(TOKEN_DOCUMENT_MAX);
	cleanup(freep) char *text = NULL;
	char error[512];
	struct token t;
	size_t len = 0;
	json_t *json;
	int r;

	if (argc != 2)
		return command_usage(desk, "which file? (- for standard input)");
	r = input && bytes ? read_input(argv[1], input, INPUT_MAX, &len) : -ENOMEM;
	if (r < 0)
		return desk_fail(desk, DESK_REFUSED, "%s: %s", argv[1], strerror(-r));
	if (token_parse(span_of(input, len), &t) != 0) {
		len = decode(input, len, bytes, TOKEN_DOCUMENT_MAX);
		if (len == 0 || token_parse(span_of(bytes, len), &t) != 0)
			return desk_fail(desk, DESK_REFUSED, "%s: not a document of lockbridge",
					 argv[1]);
	}
	/* a registry helps, and is not needed */
	if (registry_open(desk->dir, error, sizeof(error), &desk->db) < 0)
		desk->db = NULL;
	json = document_json(desk, &t);
	text = json_dumps(json, JSON_INDENT(2));
	show_answer(desk, json, "%s", text ? text : "");
	return DESK_DONE;
}
