// SPDX-License-Identifier: Apache-2.0
/* Signed documents in the registry. See documents.h. */
#include "desk/documents.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "desk/keyring.h"

void document_deinit(struct document *document)
{
	free(document->bytes);
	document->bytes = NULL;
}

int document_slot(const struct token *token, char ret[static SLOT_CAP])
{
	char kid[HEX_CAP(DIGEST_LEN)];
	struct span name;

	switch (token->kind) {
	case TOKEN_KEYS:
		hex_encode(token->cose.kid, kid, sizeof(kid));
		snprintf(ret, SLOT_CAP, "keys/%s", kid);
		return 0;
	case TOKEN_POLICY:
		snprintf(ret, SLOT_CAP, "policy");
		return 0;
	case TOKEN_LIST:
		name = list_name(token->sub);
		snprintf(ret, SLOT_CAP, "list/%.*s", (int)name.len, (const char *)name.data);
		return 0;
	default:
		return -EINVAL;
	}
}

int document_put(struct db *db, struct span bytes, bool taken_over)
{
	cleanup(db_end) struct db_query q = db_query(
		db, "INSERT INTO document (slot, iat, exp, changed, digest, kid, bytes, taken_over)"
		    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING");
	char slot[SLOT_CAP];
	struct token t;

	if (token_parse(bytes, &t) != 0 || document_slot(&t, slot) < 0)
		return -EINVAL;
	db_bind_text(&q, slot);
	db_bind_uint(&q, t.iat);
	db_bind_uint(&q, t.has & CLAIM_EXP ? t.exp : 0);
	db_bind_uint(&q, t.has & CLAIM_CHANGED ? t.changed : t.iat);
	db_bind_blob(&q, SPAN(t.digest));
	db_bind_blob(&q, t.cose.kid);
	db_bind_blob(&q, bytes);
	db_bind_int(&q, taken_over);
	return db_run(&q);
}

#define DOCUMENT_COLUMNS "SELECT slot, iat, exp, changed, digest, kid, bytes FROM document "

static int document_from(struct db_query *q, struct document *ret)
{
	struct span digest = db_blob(q, 4), kid = db_blob(q, 5), bytes = db_blob(q, 6);

	if (digest.len != DIGEST_LEN || kid.len != DIGEST_LEN || bytes.len == 0)
		return -EBADMSG;
	ret->bytes = malloc(bytes.len);
	if (!ret->bytes)
		return -ENOMEM;
	memcpy(ret->bytes, bytes.data, bytes.len);
	ret->len = bytes.len;
	snprintf(ret->slot, sizeof(ret->slot), "%s", db_text(q, 0));
	ret->iat = db_uint(q, 1);
	ret->exp = db_uint(q, 2);
	ret->changed = db_uint(q, 3);
	memcpy(ret->digest, digest.data, DIGEST_LEN);
	memcpy(ret->kid, kid.data, DIGEST_LEN);
	return 0;
}

int document_newest(struct db *db, const char *slot, struct span kid, struct document *ret)
{
	cleanup(db_end) struct db_query q = db_query(
		db, DOCUMENT_COLUMNS "WHERE slot = ? AND kid = ? ORDER BY iat DESC LIMIT 1");
	int r;

	db_bind_text(&q, slot);
	db_bind_blob(&q, kid);
	r = db_step(&q);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return document_from(&q, ret);
}

int document_by_digest(struct db *db, const char *slot, struct span digest, struct document *ret)
{
	cleanup(db_end) struct db_query q =
		db_query(db, DOCUMENT_COLUMNS "WHERE slot = ? AND digest = ?");
	int r;

	db_bind_text(&q, slot);
	db_bind_blob(&q, digest);
	r = db_step(&q);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return document_from(&q, ret);
}

int document_known(struct db *db, struct span digest)
{
	cleanup(db_end) struct db_query q =
		db_query_kept(db, "SELECT 1 FROM document WHERE digest = ?");

	db_bind_blob(&q, digest);
	return db_step(&q);
}

/* --- what holds now --------------------------------------------------------------------------- */

struct each {
	struct db *db;
	int (*fn)(const struct document *d, void *user);
	void *user;
};

static int give_newest(struct each *e, const char *slot, struct span kid)
{
	cleanup(document_deinit) struct document d = {0};
	int r = document_newest(e->db, slot, kid, &d);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return e->fn(&d, e->user);
}

static int give_keys(const struct keyring_entry *entry, void *user)
{
	char kid[HEX_CAP(DIGEST_LEN)], slot[SLOT_CAP];

	if (entry->key.roles != ROLE_ROOT)
		return 0;
	hex_encode(SPAN(entry->key.kid), kid, sizeof(kid));
	snprintf(slot, sizeof(slot), "keys/%s", kid);
	return give_newest(user, slot, SPAN(entry->key.kid));
}

static int give_lists(struct each *e, struct span kid)
{
	cleanup(db_end) struct db_query q =
		db_query(e->db, "SELECT DISTINCT slot FROM document WHERE slot LIKE 'list/%'"
				" AND kid = ? ORDER BY slot");
	int r;

	db_bind_blob(&q, kid);
	while ((r = db_step(&q)) > 0) {
		r = give_newest(e, db_text(&q, 0), kid);
		if (r < 0)
			return r;
	}
	return r;
}

int document_each_current(struct db *db, int (*fn)(const struct document *d, void *user),
			  void *user)
{
	struct each e = {db, fn, user};
	struct key policy, revoke;
	int r = keyring_each(db, give_keys, &e);

	if (r == 0)
		r = keyring_public(db, ROLE_POLICY, &policy);
	if (r == 0)
		r = give_newest(&e, "policy", SPAN(policy.kid));
	if (r == 0)
		r = keyring_public(db, ROLE_REVOKE, &revoke);
	if (r == 0)
		r = give_lists(&e, SPAN(revoke.kid));
	return r;
}

/* --- not ours --------------------------------------------------------------------------------- */

int foreign_put(struct db *db, struct span digest, uint64_t now, const char *why)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "INSERT INTO foreign_document (digest, noted, why) VALUES (?, ?, ?)"
			     " ON CONFLICT DO NOTHING");

	db_bind_blob(&q, digest);
	db_bind_uint(&q, now);
	db_bind_text(&q, why);
	return db_run(&q);
}

int foreign_known(struct db *db, struct span digest)
{
	cleanup(db_end) struct db_query q =
		db_query_kept(db, "SELECT 1 FROM foreign_document WHERE digest = ?");

	db_bind_blob(&q, digest);
	return db_step(&q);
}

int document_taken_over_since(struct db *db, const char *slot, uint64_t iat)
{
	cleanup(db_end) struct db_query q = db_query(
		db, "SELECT 1 FROM document WHERE slot = ? AND taken_over = 1 AND iat > ?");

	db_bind_text(&q, slot);
	db_bind_uint(&q, iat);
	return db_step(&q);
}

int document_entries(const struct document *list, struct status_list *ret)
{
	struct token t;
	int r;

	if (token_parse(document_span(list), &t) != 0 || t.kind != TOKEN_LIST)
		return -EBADMSG;
	r = status_list_inflate(t.lst, t.bits, LIST_BYTES_MAX, ret);
	return r <= 0 ? r : -EBADMSG;
}
