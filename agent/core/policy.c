// SPDX-License-Identifier: Apache-2.0
/*
 * Policy, read strictly: what cannot be read as it was meant must not pass for something milder.
 */
#include "core/policy.h"

#include <stdlib.h>

#define HOUR 3600

void policy_default(struct policy *ret)
{
	*ret = (struct policy){
		.require_pin = true,
		.posture_max_age = 24 * HOUR,
		.max_relay = 60,
		.max_lifetime = 12 * HOUR,
	};
}

/* A NUL inside would cut the name short: "a.b\0c" must not allow "a.b". */
static bool take_name(struct span text, char *ret, size_t max)
{
	if (text.len == 0 || text.len > max || memchr(text.data, 0, text.len))
		return false;
	memcpy(ret, text.data, text.len);
	ret[text.len] = 0;
	return true;
}

static void read_apps(struct cbor_reader *r, struct policy *ret)
{
	size_t n = cbor_enter_array(r);

	if (n > POLICY_APPS_MAX)
		cbor_fail(r);
	for (size_t i = 0; i < n && !r->failed; i++) {
		if (!take_name(cbor_text(r), ret->apps[i], POLICY_APP_LEN))
			cbor_fail(r);
		ret->napps = i + 1;
	}
	cbor_leave(r);
}

static void read_cut_offs(struct cbor_reader *r, struct policy *ret)
{
	size_t n = cbor_enter_map(r);

	if (n > POLICY_CUT_OFFS_MAX)
		cbor_fail(r);
	for (size_t i = 0; i < n && !r->failed; i++) {
		struct cut_off *c = &ret->cut_offs[i];
		struct span lock = cbor_text(r);

		if ((!id_valid(lock) && !span_is(lock, "*")) || !take_name(lock, c->lock, ID_MAX))
			cbor_fail(r);
		c->time = cbor_uint(r);
		ret->ncut_offs = i + 1;
	}
	cbor_leave(r);
}

static void read_member(struct cbor_reader *r, struct policy *ret)
{
	struct span name = cbor_text(r);

	if (span_is(name, "require_pin"))
		ret->require_pin = cbor_bool(r);
	else if (span_is(name, "apps"))
		read_apps(r, ret);
	else if (span_is(name, "posture_max_age"))
		ret->posture_max_age = cbor_uint(r);
	else if (span_is(name, "max_relay"))
		ret->max_relay = cbor_uint(r);
	else if (span_is(name, "max_lifetime"))
		ret->max_lifetime = cbor_uint(r);
	else if (span_is(name, "cut_off"))
		read_cut_offs(r, ret);
	else if (span_is(name, "report_manual"))
		ret->report_manual = cbor_bool(r);
	else
		cbor_skip(r);
}

int policy_parse(struct span claim, struct policy *ret)
{
	struct cbor_reader r;
	size_t n;

	policy_default(ret);
	if (!cbor_well_formed(claim))
		return REASON_MALFORMED;
	cbor_reader_init(&r, claim);
	for (n = cbor_enter_map(&r); n > 0 && !r.failed; n--)
		read_member(&r, ret);
	cbor_leave(&r);
	return cbor_done(&r) ? 0 : REASON_MALFORMED;
}

/* RFC 8949 section 4.2.1: bytewise by encoded key, so the shorter text first. */
static int by_encoded_name(const void *a, const void *b)
{
	const struct cut_off *x = a, *y = b;
	size_t n = strlen(x->lock), m = strlen(y->lock);

	return n != m ? (n < m ? -1 : 1) : memcmp(x->lock, y->lock, n);
}

static void put_cut_offs(struct cbor_writer *w, const struct policy *policy)
{
	struct cut_off sorted[POLICY_CUT_OFFS_MAX];

	memcpy(sorted, policy->cut_offs, policy->ncut_offs * sizeof(sorted[0]));
	qsort(sorted, policy->ncut_offs, sizeof(sorted[0]), by_encoded_name);
	cbor_put_map(w, policy->ncut_offs);
	for (size_t i = 0; i < policy->ncut_offs; i++) {
		cbor_put_text(w, span_str(sorted[i].lock));
		cbor_put_uint(w, sorted[i].time);
	}
}

void policy_put(struct cbor_writer *w, const struct policy *policy)
{
	cbor_put_map(w, 7);
	cbor_put_text(w, span_str("apps"));
	cbor_put_array(w, policy->napps);
	for (size_t i = 0; i < policy->napps; i++)
		cbor_put_text(w, span_str(policy->apps[i]));
	cbor_put_text(w, span_str("cut_off"));
	put_cut_offs(w, policy);
	cbor_put_text(w, span_str("max_relay"));
	cbor_put_uint(w, policy->max_relay);
	cbor_put_text(w, span_str("require_pin"));
	cbor_put_bool(w, policy->require_pin);
	cbor_put_text(w, span_str("max_lifetime"));
	cbor_put_uint(w, policy->max_lifetime);
	cbor_put_text(w, span_str("report_manual"));
	cbor_put_bool(w, policy->report_manual);
	cbor_put_text(w, span_str("posture_max_age"));
	cbor_put_uint(w, policy->posture_max_age);
}

uint64_t policy_cut_off(const struct policy *policy, struct span lock)
{
	uint64_t latest = 0;

	for (size_t i = 0; i < policy->ncut_offs; i++) {
		const struct cut_off *c = &policy->cut_offs[i];

		if (c->time > latest && (span_is(lock, c->lock) || strcmp(c->lock, "*") == 0))
			latest = c->time;
	}
	return latest;
}

bool policy_app_allowed(const struct policy *policy, struct span app)
{
	for (size_t i = 0; i < policy->napps; i++)
		if (span_is(app, policy->apps[i]))
			return true;
	return policy->napps == 0;
}
