// SPDX-License-Identifier: Apache-2.0
/*
 * The decision. Each step below is one line of contract section 4, in its order; the first that
 * fails names the reason. Nothing here loops over anything but the locks of one gateway, the lists
 * (at most 4), and the entries of a policy: a list's size plays no part.
 */
#include "core/gate.h"

static bool at_gateway(const struct gate_input *in)
{
	return in->side == GATE_GATEWAY;
}

static bool at_the_door(const struct token *t)
{
	return t->has & CLAIM_CNF;
}

/* 1. malformed, unknown-key, wrong-role, bad-signature */
static int check_document(const struct gate_input *in, bool reader, struct gate_output *out)
{
	struct token *t = &out->token;
	int r;

	if (in->authorization.len > TOKEN_SMALL_MAX)
		return REASON_MALFORMED;
	if (token_parse(in->authorization, t) != 0)
		return REASON_MALFORMED;
	if (!keyset_find(&in->trust->keyset, t->cose.kid))
		return REASON_UNKNOWN_KEY;
	if (t->kind != TOKEN_AUTHORIZATION || (t->scope == SCOPE_READ) != reader)
		return REASON_WRONG_ROLE;
	r = keyset_verify(&in->trust->keyset, &t->cose, ROLE_AUTHORIZE);
	out->verified = r == 0;
	return r;
}

/* 2. wrong-lock, retained, replayed */
static int check_addressee(const struct gate_input *in, struct gate_output *out)
{
	for (size_t i = 0; i < in->nlocks && !out->lock; i++)
		if (span_is(out->token.aud, in->locks[i].id))
			out->lock = &in->locks[i];
	if (!out->lock)
		return REASON_WRONG_LOCK;
	if (!at_gateway(in))
		return 0;
	if (in->retained)
		return REASON_RETAINED;
	return in->seen ? REASON_REPLAYED : 0;
}

/* 3. lifetime-too-long, not-yet-valid, expired */
static uint64_t lifetime_max(const struct gate_input *in, const struct token *t)
{
	const struct policy *policy = &in->trust->policy;

	if (t->scope == SCOPE_READ)
		return READ_LIFETIME_MAX;
	if (!at_gateway(in))
		return UINT64_MAX;
	return at_the_door(t) ? policy->max_lifetime : policy->max_relay;
}

static int check_time(const struct gate_input *in, const struct token *t)
{
	const struct time_verdict *time = &in->time;
	uint64_t begin = t->nbf > t->iat ? t->nbf : t->iat;

	/* exp > iat: token_check. */
	if (t->exp - t->iat > lifetime_max(in, t))
		return REASON_LIFETIME_TOO_LONG;
	if (time->synchronised && begin > time->now && begin - time->now > CLOCK_NBF_LEEWAY)
		return REASON_NOT_YET_VALID;
	return time->now >= t->exp ? REASON_EXPIRED : 0;
}

/* 4. cut-off, no-list, revoked, suspended */
static int check_cut_off(const struct gate_input *in, const struct gate_output *out)
{
	const struct token *t = &out->token;

	return t->iat < policy_cut_off(&in->trust->policy, t->aud) || t->iat < out->lock->claimed
		       ? REASON_CUT_OFF
		       : 0;
}

static int check_status(const struct gate_input *in, const struct token *t)
{
	const struct trust_list *list;

	if (t->scope == SCOPE_LOCK)
		return 0;
	list = trust_find_list(in->trust, t->status_uri);
	if (!list)
		return REASON_NO_LIST;
	switch (status_list_get(list->list, t->status_idx)) {
	case STATUS_VALID:
		return 0;
	case STATUS_SUSPENDED:
		return REASON_SUSPENDED;
	default:
		return REASON_REVOKED;
	}
}

/* 5. posture-pin, posture-app, posture-stale */
static int check_posture(const struct gate_input *in, const struct token *t)
{
	const struct policy *policy = &in->trust->policy;
	const struct posture *p = &t->posture;

	if (!at_gateway(in) || at_the_door(t) || t->scope == SCOPE_LOCK)
		return 0;
	if (policy->require_pin && !(p->has_pin && p->pin))
		return REASON_POSTURE_PIN;
	if (!policy_app_allowed(policy, p->app))
		return REASON_POSTURE_APP;
	/* A reckoned clock lags: checked may lie ahead of it. */
	if (!p->has_checked ||
	    (in->time.now > p->checked && in->time.now - p->checked > policy->posture_max_age))
		return REASON_POSTURE_STALE;
	return 0;
}

/* 6. presentation-missing, presentation-bad, stale-challenge, busy */
static int check_presentation(const struct gate_input *in, const struct token *t,
			      struct token *ret_shown)
{
	int r;

	if (!in->presentation.data)
		return REASON_PRESENTATION_MISSING;
	if (in->presentation.len > TOKEN_SMALL_MAX || token_parse(in->presentation, ret_shown) != 0)
		return REASON_PRESENTATION_BAD;
	if (ret_shown->kind != TOKEN_PRESENTATION ||
	    !span_equal(ret_shown->cose.kid, SPAN(t->cnf.kid)))
		return REASON_PRESENTATION_BAD;
	r = key_verify(&t->cnf, &ret_shown->cose);
	if (r < 0)
		return r;
	if (r > 0 || !span_equal(ret_shown->aud, t->aud) || !span_equal(ret_shown->cti, t->cti))
		return REASON_PRESENTATION_BAD;
	return 0;
}

static int check_presence(const struct gate_input *in, const struct gate_output *out)
{
	const struct token *t = &out->token;
	struct token shown;
	int r;

	if (!at_the_door(t))
		return out->lock->has_challenge &&
				       !span_equal(t->cnonce, SPAN(out->lock->challenge))
			       ? REASON_STALE_CHALLENGE
			       : 0;
	if (at_gateway(in))
		return REASON_PRESENTATION_MISSING;
	r = check_presentation(in, t, &shown);
	if (r == 0 && !span_equal(shown.cnonce, SPAN(out->lock->nonce)))
		return REASON_STALE_CHALLENGE;
	return r;
}

static int check_busy(const struct gate_input *in, const struct gate_lock *lock)
{
	return at_gateway(in) && lock->busy ? REASON_BUSY : 0;
}

/* 1 to 4, as far as they hold for a reader too */
static int check_common(const struct gate_input *in, bool reader, struct gate_output *out)
{
	int r;

	*out = (struct gate_output){.token.kind = TOKEN_KINDS};
	r = check_document(in, reader, out);
	if (r == 0)
		r = check_addressee(in, out);
	if (r == 0)
		r = check_time(in, &out->token);
	if (r == 0)
		r = check_cut_off(in, out);
	return r;
}

int gate_decide(const struct gate_input *in, struct gate_output *ret)
{
	const struct token *t = &ret->token;
	int r = check_common(in, false, ret);

	if (r == 0)
		r = check_status(in, t);
	if (r == 0)
		r = check_posture(in, t);
	if (r == 0)
		r = check_presence(in, ret);
	if (r == 0)
		r = check_busy(in, ret->lock);
	return r;
}

int gate_decide_reader(const struct gate_input *in, const uint8_t *holder_kid,
		       struct gate_output *ret)
{
	const struct token *t = &ret->token;
	int r = check_common(in, true, ret);

	if (r != 0)
		return r;
	if (!at_gateway(in))
		return check_presence(in, ret);
	if (holder_kid && !span_equal(SPAN(t->cnf.kid), span_of(holder_kid, DIGEST_LEN)))
		return REASON_PRESENTATION_BAD;
	return 0;
}
