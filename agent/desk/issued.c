// SPDX-License-Identifier: Apache-2.0
/* Authorizations, signed and followed. See issued.h. */
#include "desk/issued.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* --- signing ---------------------------------------------------------------------------------- */

static int file_issued(struct db *db, const struct authorization_request *q,
		       const struct authorization *a, const struct signer *signer)
{
	cleanup(db_end) struct db_query s = db_query(
		db,
		"INSERT INTO issued (cti, kid, phone, person, idx, lock, gateway, scope, via, iat,"
		" exp, correlation) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
	int r;

	db_bind_blob(&s, SPAN(a->cti));
	db_bind_blob(&s, SPAN(signer->kid));
	db_bind_text(&s, q->phone->label);
	db_bind_text(&s, q->phone->person);
	db_bind_uint(&s, q->phone->idx);
	db_bind_text(&s, q->lock);
	db_bind_text(&s, q->gateway);
	db_bind_text(&s, scope_word(q->scope));
	db_bind_text(&s, q->challenge ? "relay" : "door");
	db_bind_uint(&s, a->iat);
	db_bind_uint(&s, a->exp);
	db_bind_blob(&s, q->correlation.len ? q->correlation : (struct span){0});
	r = db_run(&s);
	return r < 0 ? r : credential_extend(db, q->phone->idx, a->exp);
}

/* Claims of a relayed one: the person's pseudonym, and what is known of the phone. */
static void claims_for_relay(struct token *t, const struct authorization_request *q)
{
	const struct phone_posture *p = &q->phone->posture;

	t->has |= CLAIM_CNONCE | CLAIM_SUB;
	t->cnonce = span_of(q->challenge, CHALLENGE_LEN);
	t->sub = span_str(q->phone->person);
	if (p->checked == 0)
		return;
	t->has |= CLAIM_POSTURE;
	t->posture.has_pin = p->has_pin;
	t->posture.pin = p->pin;
	if (p->app[0])
		t->posture.app = span_str(p->app);
	if (p->platform[0])
		t->posture.platform = span_str(p->platform);
	t->posture.has_checked = true;
	t->posture.checked = p->checked;
}

/* Not before the lock's cut-off: in the second of "changing the lock", a new one is still good. */
static int time_of_issue(struct db *db, const char *lock, uint64_t now, uint64_t *ret)
{
	struct policy policy;
	uint64_t cut_off;
	int r = sign_policy_now(db, &policy);

	if (r < 0)
		return r;
	cut_off = policy_cut_off(&policy, span_str(lock));
	*ret = cut_off > now && cut_off <= now + 2 ? cut_off : now;
	return 0;
}

static int sign_into(const struct desk *desk, struct token *t, uint64_t now, uint64_t lifetime,
		     struct signer *signer, struct authorization *ret,
		     char error[static KEYRING_ERROR_CAP])
{
	struct sign_settings settings;
	char lock[ID_MAX + 1];
	int r = sign_settings_load(desk->db, &settings);

	snprintf(lock, sizeof(lock), "%.*s", (int)t->aud.len, (const char *)t->aud.data);
	if (r == 0)
		r = keyring_load(desk, ROLE_AUTHORIZE, signer, error);
	if (r == 0)
		r = time_of_issue(desk->db, lock, now, &t->iat);
	if (r < 0)
		return r;
	crypto_random(ret->cti, sizeof(ret->cti));
	t->kind = TOKEN_AUTHORIZATION;
	t->has |=
		CLAIM_ISS | CLAIM_AUD | CLAIM_IAT | CLAIM_NBF | CLAIM_EXP | CLAIM_CTI | CLAIM_SCOPE;
	t->iss = span_str(settings.issuer);
	t->nbf = t->iat;
	t->exp = t->iat + lifetime;
	t->cti = SPAN(ret->cti);
	if (t->has & CLAIM_STATUS)
		t->status_uri = span_str(settings.list_uri);
	ret->iat = t->iat;
	ret->exp = t->exp;
	r = token_sign(t, signer, ret->bytes, sizeof(ret->bytes));
	if (r < 0) {
		snprintf(error, KEYRING_ERROR_CAP, "the authorization: %s", strerror(-r));
		return r;
	}
	ret->len = (size_t)r;
	return 0;
}

int authorization_sign(const struct desk *desk, const struct authorization_request *request,
		       struct authorization *ret, char error[static KEYRING_ERROR_CAP])
{
	cleanup(signer_wipe) struct signer signer = {0};
	cleanup(db_rollbackp) struct db *tx = NULL;
	struct token t = {
		.has = CLAIM_STATUS,
		.aud = span_str(request->lock),
		.scope = request->scope,
		.status_idx = request->phone->idx,
	};
	int r;

	if (request->challenge) {
		claims_for_relay(&t, request);
	} else if (request->phone->has_pub) {
		t.has |= CLAIM_CNF;
		key_init(&t.cnf, request->phone->pub, 0);
	} else {
		snprintf(error, KEYRING_ERROR_CAP, "the desk has no public key of that phone");
		return -ENOKEY;
	}
	r = db_begin(desk->db, &tx);
	if (r == 0)
		r = sign_into(desk, &t, request->now, request->lifetime, &signer, ret, error);
	if (r == 0)
		r = file_issued(desk->db, request, ret, &signer);
	return r < 0 ? r : db_commit(&tx);
}

int authorization_sign_reader(const struct desk *desk, const char *gateway, const char *lock,
			      const uint8_t pub[static PUBLIC_LEN], uint64_t now,
			      struct authorization *ret, char error[static KEYRING_ERROR_CAP])
{
	cleanup(signer_wipe) struct signer signer = {0};
	cleanup(db_rollbackp) struct db *tx = NULL;
	cleanup(db_end) struct db_query q = {0};
	struct token t = {
		.has = CLAIM_CNF,
		.aud = span_str(lock),
		.scope = SCOPE_READ,
	};
	int r = db_begin(desk->db, &tx);

	key_init(&t.cnf, pub, 0);
	if (r == 0)
		r = sign_into(desk, &t, now, READ_LIFETIME_MAX, &signer, ret, error);
	if (r < 0)
		return r;
	q = db_query(desk->db, "INSERT INTO reader (gateway, lock, pub, kid, exp, sent)"
			       " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (gateway, lock) DO UPDATE"
			       " SET pub = excluded.pub, kid = excluded.kid, exp = excluded.exp,"
			       " sent = excluded.sent");
	db_bind_text(&q, gateway);
	db_bind_text(&q, lock);
	db_bind_blob(&q, span_of(pub, PUBLIC_LEN));
	db_bind_blob(&q, SPAN(signer.kid));
	db_bind_uint(&q, ret->exp);
	db_bind_uint(&q, now);
	r = db_run(&q);
	return r < 0 ? r : db_commit(&tx);
}

static int sign_for_lock(const struct desk *desk, struct token *t, uint8_t *ret, size_t cap,
			 char error[static KEYRING_ERROR_CAP])
{
	cleanup(signer_wipe) struct signer root = {0};
	struct sign_settings settings;
	int r = sign_settings_load(desk->db, &settings);

	if (r == 0)
		r = keyring_load(desk, ROLE_ROOT, &root, error);
	if (r < 0)
		return r;
	t->iss = span_str(settings.issuer);
	if (t->kind == TOKEN_CLAIM)
		key_init(&t->key, root.pub, 0);
	r = token_sign(t, &root, ret, cap);
	if (r < 0)
		snprintf(error, KEYRING_ERROR_CAP, "the %s document: %s", token_kind_word(t->kind),
			 strerror(-r));
	return r;
}

int claim_sign(const struct desk *desk, const char *lock, uint64_t now, uint8_t *ret, size_t cap,
	       char error[static KEYRING_ERROR_CAP])
{
	struct token t = {
		.kind = TOKEN_CLAIM,
		.has = CLAIM_ISS | CLAIM_AUD | CLAIM_IAT | CLAIM_KEY,
		.aud = span_str(lock),
		.iat = now,
	};

	return sign_for_lock(desk, &t, ret, cap, error);
}

int release_sign(const struct desk *desk, const char *lock, uint64_t now, uint8_t *ret, size_t cap,
		 char error[static KEYRING_ERROR_CAP])
{
	struct token t = {
		.kind = TOKEN_RELEASE,
		.has = CLAIM_ISS | CLAIM_AUD | CLAIM_IAT,
		.aud = span_str(lock),
		.iat = now,
	};

	return sign_for_lock(desk, &t, ret, cap, error);
}

/* --- what became of them ---------------------------------------------------------------------- */

#define ISSUED_COLUMNS                                                                             \
	"SELECT cti, kid, phone, person, idx, lock, scope, via, iat, exp, outcome, proven FROM "   \
	"issued "

static int issued_from(struct db_query *q, struct issued *ret)
{
	struct span cti = db_blob(q, 0), kid = db_blob(q, 1);

	if (cti.len != CTI_LEN || kid.len != DIGEST_LEN)
		return -EBADMSG;
	*ret = (struct issued){
		.idx = db_uint(q, 4),
		.door = !strcmp(db_text(q, 7), "door"),
		.iat = db_uint(q, 8),
		.exp = db_uint(q, 9),
		.proven = db_int(q, 11) != 0,
	};
	memcpy(ret->cti, cti.data, CTI_LEN);
	memcpy(ret->kid, kid.data, DIGEST_LEN);
	snprintf(ret->phone, sizeof(ret->phone), "%s", db_text(q, 2));
	snprintf(ret->person, sizeof(ret->person), "%s", db_text(q, 3));
	snprintf(ret->lock, sizeof(ret->lock), "%s", db_text(q, 5));
	snprintf(ret->scope, sizeof(ret->scope), "%s", db_text(q, 6));
	snprintf(ret->outcome, sizeof(ret->outcome), "%s", db_text(q, 10));
	return 0;
}

int issued_find(struct db *db, struct span cti, struct issued *ret)
{
	cleanup(db_end) struct db_query q = db_query(db, ISSUED_COLUMNS "WHERE cti = ?");
	int r;

	db_bind_blob(&q, cti);
	r = db_step(&q);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return issued_from(&q, ret);
}

int issued_each_door(struct db *db, const char *lock, uint64_t now,
		     int (*fn)(const struct issued *issued, void *user), void *user)
{
	cleanup(db_end) struct db_query q = db_query(
		db, ISSUED_COLUMNS "WHERE via = 'door' AND exp > ? AND lock = ? ORDER BY exp");
	struct issued issued;
	int r;

	db_bind_uint(&q, now);
	db_bind_text(&q, lock);
	while ((r = db_step(&q)) > 0) {
		r = issued_from(&q, &issued);
		if (r == 0)
			r = fn(&issued, user);
		if (r < 0)
			return r;
	}
	return r;
}

int issued_accepted(struct db *db, struct span cti, uint64_t at)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "UPDATE issued SET accepted = ? WHERE cti = ? AND accepted IS NULL");

	db_bind_uint(&q, at);
	db_bind_blob(&q, cti);
	return db_run(&q);
}

#define WEIGHT(x)                                                                                  \
	"CASE " x " WHEN 'done' THEN 3 WHEN 'failed' THEN 3 WHEN 'unknown' THEN 2"                 \
	" WHEN 'refused' THEN 1 ELSE 0 END"

int issued_outcome(struct db *db, struct span cti, const char *outcome, const char *reason,
		   uint64_t at, bool proven)
{
	cleanup(db_end) struct db_query q = db_query(
		db, "UPDATE issued SET outcome = ?1, reason = ?2, outcome_at = ?3, proven = ?4"
		    " WHERE cti = ?5 AND (" WEIGHT("?1") " > " WEIGHT("outcome") " OR (" WEIGHT(
			    "?1") " = " WEIGHT("outcome") " AND ?4 > proven))");

	db_bind_text(&q, outcome);
	db_bind_text(&q, reason);
	db_bind_uint(&q, at);
	db_bind_int(&q, proven);
	db_bind_blob(&q, cti);
	return db_run(&q);
}

int issued_newest(struct db *db, const char *lock, uint64_t *ret)
{
	cleanup(db_end) struct db_query q = db_query(
		db, "SELECT coalesce(max(iat), 0) FROM issued WHERE ?1 = '*' OR lock = ?1");
	int r;

	db_bind_text(&q, lock);
	r = db_step(&q);
	if (r < 0)
		return r;
	*ret = db_uint(&q, 0);
	return 0;
}
