/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the core reads in an example, a line each: `name: value`. */
#include <time.h>

#include "unit/protocol-story.h"

static inline void values_hex(FILE *f, const char *name, struct span bytes)
{
	fprintf(f, "%s: ", name);
	for (size_t i = 0; i < bytes.len; i++)
		fprintf(f, "%02x", bytes.data[i]);
	fputc('\n', f);
}

static inline void values_text(FILE *f, const char *name, struct span text)
{
	fprintf(f, "%s: %.*s\n", name, (int)text.len, (const char *)text.data);
}

static inline void values_time(FILE *f, const char *name, uint64_t seconds)
{
	time_t t = (time_t)seconds;
	char text[32];
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	fprintf(f, "%s: %llu (%s UTC)\n", name, (unsigned long long)seconds, text);
}

static inline void values_uint(FILE *f, const char *name, uint64_t value)
{
	fprintf(f, "%s: %llu\n", name, (unsigned long long)value);
}

static inline void values_keys(FILE *f, struct span claim)
{
	static const struct {
		unsigned role;
		const char *word;
	} roles[] = {{ROLE_ROOT, "root"},
		     {ROLE_POLICY, "policy"},
		     {ROLE_REVOKE, "revoke"},
		     {ROLE_AUTHORIZE, "authorize"}};
	struct keyset set;

	assert_int_equal(keyset_parse(claim, &set), 0);
	for (size_t i = 0; i < set.n; i++) {
		for (size_t r = 0; r < ARRAY_SIZE(roles); r++)
			if (set.keys[i].roles & roles[r].role)
				fprintf(f, "%s ", roles[r].word);
		values_hex(f, "key", SPAN(set.keys[i].kid));
	}
	values_hex(f, "signs the next keys", SPAN(set.root->kid));
}

static inline void values_policy(FILE *f, struct span claim)
{
	struct policy policy;

	assert_int_equal(policy_parse(claim, &policy), 0);
	fprintf(f, "require_pin: %s\n", policy.require_pin ? "true" : "false");
	for (size_t i = 0; i < policy.napps; i++)
		fprintf(f, "app: %s\n", policy.apps[i]);
	values_uint(f, "posture_max_age", policy.posture_max_age);
	values_uint(f, "max_relay", policy.max_relay);
	values_uint(f, "max_lifetime", policy.max_lifetime);
	for (size_t i = 0; i < policy.ncut_offs; i++) {
		fprintf(f, "cut_off of %s", policy.cut_offs[i].lock);
		values_time(f, "", policy.cut_offs[i].time);
	}
	fprintf(f, "report_manual: %s\n", policy.report_manual ? "true" : "false");
}

static inline void values_list(FILE *f, const struct token *t)
{
	static struct status_list list;
	size_t n;

	assert_int_equal(status_list_inflate(t->lst, t->bits, LIST_BYTES_MAX, &list), 0);
	n = status_list_entries(&list);
	values_uint(f, "entries", n);
	for (size_t i = 0; i < n; i++)
		if (status_list_get(&list, i) != STATUS_VALID)
			fprintf(f, "status of %zu: %u\n", i, status_list_get(&list, i));
	fprintf(f, "status of %zu: %u (outside)\n", n, status_list_get(&list, n));
}

static inline void values_applied(FILE *f, const struct applied *applied, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		fprintf(f, "applied %s: %llu ", applied[i].name,
			(unsigned long long)applied[i].iat);
		for (size_t k = 0; k < DIGEST_LEN; k++)
			fprintf(f, "%02x", applied[i].digest[k]);
		fputc('\n', f);
	}
}

static inline void values_result(FILE *f, struct span claim)
{
	struct result r;

	assert_int_equal(result_parse(claim, &r), 0);
	fprintf(f, "outcome: %s\n", outcome_word(r.outcome));
	if (r.reason)
		fprintf(f, "reason: %s\n", reason_word(r.reason));
	if (r.via)
		fprintf(f, "via: %s\n", via_word(r.via));
	if (r.has_n)
		values_uint(f, "n", r.n);
	if (r.has_last)
		values_uint(f, "last", r.last);
	fprintf(f, "bolt: %s\n", bolt_word(r.bolt));
	values_uint(f, "battery", r.battery);
	values_uint(f, "boot", r.boot);
	values_hex(f, "challenge", SPAN(r.challenge));
	values_applied(f, r.applied, r.napplied);
}

static inline void values_posture(FILE *f, const struct posture *p)
{
	fprintf(f, "pin: %s\n", p->pin ? "true" : "false");
	values_text(f, "app", p->app);
	values_text(f, "platform", p->platform);
	values_time(f, "checked", p->checked);
}

static inline void values_names(FILE *f, const struct token *t)
{
	if (t->has & CLAIM_ISS)
		values_text(f, "iss", t->iss);
	if (t->has & CLAIM_SUB)
		values_text(f, "sub", t->sub);
	if (t->kind == TOKEN_LIST)
		values_text(f, "name", list_name(t->sub));
	if (t->has & CLAIM_AUD)
		values_text(f, "aud", t->aud);
	if (t->has & CLAIM_SCOPE)
		fprintf(f, "scope: %s\n", scope_word(t->scope));
	if (t->has & CLAIM_IAT)
		values_time(f, "iat", t->iat);
	if (t->has & CLAIM_NBF)
		values_time(f, "nbf", t->nbf);
	if (t->has & CLAIM_EXP)
		values_time(f, "exp", t->exp);
	if (t->has & CLAIM_CTI)
		values_hex(f, "cti", t->cti);
	if (t->has & CLAIM_CNONCE)
		values_hex(f, "cnonce", t->cnonce);
	if (t->has & CLAIM_CNF)
		values_hex(f, "cnf kid", SPAN(t->cnf.kid));
}

static inline void values_token(FILE *f, const struct story *s, const struct example *e)
{
	struct token t;

	assert_int_equal(token_parse(e->bytes, &t), 0);
	fprintf(f, "kind: %s\n", token_kind_word(t.kind));
	values_uint(f, "length", e->bytes.len);
	fprintf(f, "signed by: %s\n", e->signer);
	values_hex(f, "digest", SPAN(t.digest));
	values_names(f, &t);
	if (t.has & CLAIM_STATUS) {
		values_text(f, "list", t.status_uri);
		values_uint(f, "index", t.status_idx);
	}
	if (t.has & CLAIM_POSTURE)
		values_posture(f, &t.posture);
	if (t.has & CLAIM_TTL)
		values_uint(f, "ttl", t.ttl);
	if (t.has & CLAIM_CHANGED)
		values_time(f, "changed", t.changed);
	if (t.kind == TOKEN_LIST)
		values_list(f, &t);
	if (t.has & CLAIM_KEYS)
		values_keys(f, t.keys);
	if (t.has & CLAIM_POLICY)
		values_policy(f, t.policy);
	if (t.has & CLAIM_RESULT)
		values_result(f, t.result);
	if (t.has & CLAIM_KEY)
		values_hex(f, "the root to obey", SPAN(t.key.kid));
}

static inline void values_info(FILE *f, struct span value)
{
	struct info info;

	assert_int_equal(info_parse(value, &info), 0);
	fprintf(f, "id: %s\n", info.id);
	values_uint(f, "profile", info.profile);
	values_hex(f, "key", SPAN(info.key));
	values_hex(f, "owner", span_of(info.owner, info.owned ? DIGEST_LEN : 0));
	values_uint(f, "max", info.max);
	values_applied(f, info.applied, info.napplied);
	values_hex(f, "challenge", SPAN(info.challenge));
	values_hex(f, "nonce", SPAN(info.nonce));
}

static inline void values_advert(FILE *f, struct span data)
{
	struct advert advert;

	assert_true(advert_parse(data, &advert));
	values_uint(f, "profile", advert.profile);
	fprintf(f, "unowned: %s\n", advert.unowned ? "true" : "false");
	fprintf(f, "attention: %s\n", advert.attention ? "true" : "false");
	values_hex(f, "random", SPAN(advert.random));
	values_hex(f, "applied", SPAN(advert.applied));
}

static inline void values_value(FILE *f, const struct example *e)
{
	struct lock_state state;
	uint64_t n;

	if (strcmp(e->name, "info") == 0) {
		values_info(f, e->bytes);
	} else if (strcmp(e->name, "state") == 0) {
		assert_int_equal(lock_state_parse(e->bytes, &state), 0);
		assert_true(state.present && state.has_battery);
		fprintf(f, "bolt: %s\nbattery: %u\n", bolt_word(state.bolt), state.battery);
	} else if (strcmp(e->name, "since") == 0) {
		assert_true(since_parse(e->bytes, &n));
		values_uint(f, "since", n);
	} else if (strcmp(e->name, "advert") == 0) {
		values_advert(f, e->bytes);
	} else {
		values_uint(f, "length", e->bytes.len);
	}
}

/* malloc'd */
static inline char *values_of(const struct story *s, const struct example *e)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (e->signer)
		values_token(f, s, e);
	else
		values_value(f, e);
	fclose(f);
	return text;
}
