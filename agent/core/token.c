// SPDX-License-Identifier: Apache-2.0
/*
 * What the claims of each kind must be: the tables, the words, and token_check, which reading
 * (token-read.c) and signing (token-encode.c) share, so that what one writes the other takes.
 */
#include "core/token.h"

#define MEDIA_PREFIX "application/"

static const struct {
	const char *word, *typ;
	size_t max;
	bool cwt_tag;
	unsigned needs, may; /* of enum claim */
} kinds[TOKEN_KINDS] = {
	[TOKEN_KEYS] = {"keys", MEDIA_PREFIX "lockbridge-keys+cwt", TOKEN_MEDIUM_MAX, true,
			CLAIM_IAT | CLAIM_KEYS, CLAIM_ISS | CLAIM_EXP},
	[TOKEN_POLICY] = {"policy", MEDIA_PREFIX "lockbridge-policy+cwt", TOKEN_MEDIUM_MAX, true,
			  CLAIM_IAT | CLAIM_POLICY, CLAIM_ISS | CLAIM_EXP},
	[TOKEN_LIST] = {"list", MEDIA_PREFIX "statuslist+cwt", TOKEN_LIST_MAX, false,
			CLAIM_SUB | CLAIM_IAT | CLAIM_EXP | CLAIM_TTL | CLAIM_STATUS_LIST,
			CLAIM_ISS | CLAIM_CHANGED},
	/* cnonce, cnf, sub, posture and status: see check_authorization */
	[TOKEN_AUTHORIZATION] = {"authorization", MEDIA_PREFIX "lockbridge-authorization+cwt",
				 TOKEN_SMALL_MAX, true,
				 CLAIM_ISS | CLAIM_AUD | CLAIM_IAT | CLAIM_NBF | CLAIM_EXP |
					 CLAIM_CTI | CLAIM_SCOPE,
				 CLAIM_CNONCE | CLAIM_CNF | CLAIM_SUB | CLAIM_POSTURE |
					 CLAIM_STATUS},
	[TOKEN_PRESENTATION] = {"presentation", MEDIA_PREFIX "lockbridge-presentation+cwt",
				TOKEN_SMALL_MAX, true, CLAIM_AUD | CLAIM_CNONCE | CLAIM_CTI, 0},
	[TOKEN_CLAIM] = {"claim", MEDIA_PREFIX "lockbridge-claim+cwt", TOKEN_MEDIUM_MAX, true,
			 CLAIM_AUD | CLAIM_IAT | CLAIM_KEY, CLAIM_ISS | CLAIM_EXP},
	[TOKEN_RELEASE] = {"release", MEDIA_PREFIX "lockbridge-release+cwt", TOKEN_MEDIUM_MAX, true,
			   CLAIM_AUD | CLAIM_IAT, CLAIM_ISS | CLAIM_EXP},
	[TOKEN_RECEIPT] = {"receipt", MEDIA_PREFIX "lockbridge-receipt+cwt", TOKEN_SMALL_MAX, true,
			   CLAIM_ISS | CLAIM_IAT | CLAIM_RESULT, CLAIM_CTI},
};

static const char *const scopes[] = {
	[SCOPE_NONE] = "",	     [SCOPE_UNLOCK] = "unlock", [SCOPE_LOCK] = "lock",
	[SCOPE_UNLATCH] = "unlatch", [SCOPE_READ] = "read",
};

enum token_kind token_kind_of(const struct cose_sign1 *message)
{
	const size_t prefix = strlen(MEDIA_PREFIX);

	for (unsigned i = 0; i < TOKEN_KINDS; i++)
		if (span_is(message->typ, kinds[i].typ) ||
		    span_is(message->typ, kinds[i].typ + prefix))
			return (enum token_kind)i;
	return TOKEN_KINDS;
}

const char *token_kind_word(enum token_kind kind)
{
	return kind < TOKEN_KINDS ? kinds[kind].word : "";
}

const char *token_typ(enum token_kind kind)
{
	return kind < TOKEN_KINDS ? kinds[kind].typ : "";
}

bool token_has_cwt_tag(enum token_kind kind)
{
	return kind < TOKEN_KINDS && kinds[kind].cwt_tag;
}

size_t token_max(enum token_kind kind)
{
	return kind < TOKEN_KINDS ? kinds[kind].max : 0;
}

const char *scope_word(enum scope scope)
{
	return (unsigned)scope < ARRAY_SIZE(scopes) ? scopes[scope] : "";
}

enum scope scope_parse(struct span word)
{
	for (unsigned i = SCOPE_UNLOCK; i < ARRAY_SIZE(scopes); i++)
		if (span_is(word, scopes[i]))
			return (enum scope)i;
	return SCOPE_NONE;
}

bool id_valid(struct span id)
{
	if (id.len == 0 || id.len > ID_MAX)
		return false;
	for (size_t i = 0; i < id.len; i++) {
		uint8_t c = id.data[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-')
			return false;
	}
	return true;
}

struct span list_name(struct span uri)
{
	struct span name = uri;

	for (size_t i = 0; i < uri.len; i++)
		if (uri.data[i] == '/')
			name = span_of(uri.data + i + 1, uri.len - i - 1);
	/* Without a slash there is no path, and no segment of it. */
	if (name.len == uri.len || !id_valid(name) || span_is(name, "keys") ||
	    span_is(name, "policy"))
		return (struct span){0};
	return name;
}

static bool uri_valid(struct span s)
{
	return s.len > 0 && s.len <= URI_MAX;
}

/* Exactly one of challenge and phone key, and what belongs to each. */
static bool check_authorization(const struct token *t)
{
	const unsigned one = CLAIM_CNONCE | CLAIM_CNF;
	const unsigned relayed = CLAIM_SUB | CLAIM_POSTURE;

	if (t->scope == SCOPE_NONE || (t->has & one) == 0 || (t->has & one) == one)
		return false;
	if (t->scope == SCOPE_READ)
		return (t->has & (CLAIM_CNONCE | CLAIM_STATUS | relayed)) == 0;
	if (!(t->has & CLAIM_STATUS))
		return false;
	if (t->has & CLAIM_CNF)
		return (t->has & relayed) == 0;
	return t->has & CLAIM_SUB;
}

static bool check_times(const struct token *t)
{
	const uint64_t times[] = {t->exp, t->nbf, t->iat, t->ttl, t->changed, t->posture.checked};

	for (size_t i = 0; i < ARRAY_SIZE(times); i++)
		if (times[i] > TIME_MAX)
			return false;
	if ((t->has & CLAIM_EXP) && t->exp <= t->iat)
		return false;
	if ((t->has & CLAIM_NBF) && (t->has & CLAIM_EXP) && t->nbf > t->exp)
		return false;
	return true;
}

static bool check_list(const struct token *t)
{
	bool bits = t->bits == 1 || t->bits == 2 || t->bits == 4 || t->bits == 8;

	return list_name(t->sub).data && t->ttl > 0 && bits && t->lst.len > 0 &&
	       (!(t->has & CLAIM_CHANGED) || t->changed <= t->iat);
}

/* Ids and byte strings that were read, whatever the kind. */
static bool check_values(const struct token *t)
{
	bool short_cti = t->kind == TOKEN_RECEIPT && t->cti.len == DIGEST_LEN;

	if ((t->has & CLAIM_AUD) && !id_valid(t->aud))
		return false;
	if ((t->has & CLAIM_ISS) && t->kind == TOKEN_RECEIPT && !id_valid(t->iss))
		return false;
	if ((t->has & CLAIM_ISS) && !uri_valid(t->iss))
		return false;
	if ((t->has & CLAIM_SUB) && !uri_valid(t->sub))
		return false;
	if ((t->has & CLAIM_STATUS) && !uri_valid(t->status_uri))
		return false;
	if ((t->has & CLAIM_CTI) && t->cti.len != CTI_LEN && !short_cti)
		return false;
	return !(t->has & CLAIM_CNONCE) || t->cnonce.len == CHALLENGE_LEN;
}

int token_check(const struct token *t)
{
	unsigned needs, may;

	if (t->kind >= TOKEN_KINDS)
		return REASON_MALFORMED;
	needs = kinds[t->kind].needs;
	may = kinds[t->kind].may;
	if ((t->has & needs) != needs || (t->has & ~(needs | may)) != 0)
		return REASON_MALFORMED;
	if (!check_times(t) || !check_values(t))
		return REASON_MALFORMED;
	if (t->kind == TOKEN_AUTHORIZATION && !check_authorization(t))
		return REASON_MALFORMED;
	if (t->kind == TOKEN_LIST && !check_list(t))
		return REASON_MALFORMED;
	return 0;
}
