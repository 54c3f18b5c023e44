// SPDX-License-Identifier: Apache-2.0
/* Documents that the registry forgot. See takeover.h. */
#include "desk/takeover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "desk/documents.h"
#include "desk/keyring.h"
#include "desk/registry.h"
#include "desk/staff.h"

static enum role role_of(enum token_kind kind)
{
	return kind == TOKEN_KEYS ? ROLE_ROOT : kind == TOKEN_POLICY ? ROLE_POLICY : ROLE_REVOKE;
}

/* TAKEOVER_DONE: by a key in use, with its role and a good signature. */
static int judge(struct db *db, const struct token *t)
{
	struct keyring_entry entry;
	struct keyset keys = {.n = 1};
	int r = keyring_find(db, t->cose.kid, &entry);

	if (r < 0)
		return r == -ENOENT ? TAKEOVER_FOREIGN : r;
	keys.keys[0] = entry.key;
	r = keyset_verify(&keys, &t->cose, role_of(t->kind));
	if (r != 0)
		return r < 0 ? r : TAKEOVER_FOREIGN;
	return entry.dropped ? TAKEOVER_DROPPED : TAKEOVER_DONE;
}

static int status_at(struct db *db, uint64_t idx)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT status FROM credential WHERE idx = ?");
	int r;

	db_bind_uint(&q, idx);
	r = db_step(&q);
	return r > 0 ? (int)db_int(&q, 0) : r;
}

/* How many entries changed. */
static int take_list(struct db *db, const struct token *t, uint64_t now)
{
	cleanup(freep) struct status_list *list = malloc(sizeof(*list));
	int changed = 0, r;

	if (!list)
		return -ENOMEM;
	r = status_list_inflate(t->lst, t->bits, LIST_BYTES_MAX, list);
	if (r != 0)
		return r < 0 ? r : -EBADMSG;
	for (uint64_t i = 0; i < status_list_entries(list); i++) {
		unsigned status = status_list_get(list, i);

		if (status == 0)
			continue;
		status = status == 2 ? STATUS_SUSPENDED : STATUS_REVOKED;
		r = status_at(db, i);
		/* What this registry revoked stays revoked, and what it suspended is no less. */
		if (r == 0 || (r == STATUS_SUSPENDED && status == STATUS_REVOKED)) {
			r = credential_set(db, i, (enum status)status, now);
			changed++;
		}
		if (r < 0)
			return r;
	}
	return changed;
}

/* Does each key that it names belong to this desk, in use? */
static int names_ours(struct db *db, const struct token *t)
{
	struct keyring_entry entry;
	struct keyset set;
	int r;

	if (keyset_parse(t->keys, &set) != 0)
		return 0;
	for (size_t i = 0; i < set.n; i++) {
		r = keyring_find(db, SPAN(set.keys[i].kid), &entry);
		if (r == -ENOENT)
			return 0;
		if (r < 0)
			return r;
	}
	return 1;
}

static int take(const struct desk *desk, struct span document, const struct token *t, uint64_t now)
{
	char digest[HEX_CAP(DIGEST_LEN)], detail[200];
	int entries = 0, r;

	if (t->kind == TOKEN_KEYS) {
		r = names_ours(desk->db, t);
		if (r < 0)
			return r;
		if (r == 0)
			return TAKEOVER_LOCKED;
	}
	r = document_put(desk->db, document, true);
	if (r == 0 && t->kind == TOKEN_LIST)
		r = entries = take_list(desk->db, t, now);
	if (r < 0)
		return r;
	hex_encode(SPAN(t->digest), digest, sizeof(digest));
	snprintf(detail, sizeof(detail),
		 "{\"kind\":\"%s\",\"iat\":%" PRIu64 ",\"digest\":\"%s\",\"entries\":%d}",
		 token_kind_word(t->kind), t->iat, digest, entries);
	r = desk_log(desk,
		     (struct act){.time = now, .act = "document.taken-over", .detail = detail});
	return r < 0 ? r : TAKEOVER_DONE;
}

static int alarm_for(struct db *db, int verdict, struct span document, uint64_t now)
{
	char digest[HEX_CAP(DIGEST_LEN)] = "";
	struct token t;

	if (token_parse(document, &t) == 0)
		hex_encode(SPAN(t.digest), digest, sizeof(digest));
	switch ((enum takeover)verdict) {
	case TAKEOVER_KNOWN:
	case TAKEOVER_DONE:
		return 0;
	case TAKEOVER_FOREIGN:
		return alarm_raise(db, now, "document-foreign", "city",
				   "a document (%s) that no key of this desk signed", digest);
	case TAKEOVER_DROPPED:
		return alarm_raise(db, now, "document-by-dropped-key", "city",
				   "a document (%s) by a dropped key that this desk did not sign: "
				   "somebody has that key",
				   digest);
	case TAKEOVER_AHEAD:
		return alarm_raise(db, now, "document-from-the-future", "city",
				   "a %s (%s) by this desk's own key is dated %" PRIu64
				   ", over a day ahead of this desk's clock. If the clock is "
				   "right, the key is stolen: 'keys rotate %s'",
				   token_kind_word(t.kind), digest, t.iat,
				   role_word(role_of(t.kind)));
	case TAKEOVER_LOCKED:
		return alarm_raise(db, now, "keys-unknown", "city",
				   "a keys document (%s) by this desk's root names keys that it "
				   "does not have: the registry is older than a rotation. Nothing "
				   "is signed until the newer keys and registry are back",
				   digest);
	}
	return 0;
}

int takeover(const struct desk *desk, struct span document, uint64_t now)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	struct token t;
	bool readable = token_parse(document, &t) == 0 && t.kind <= TOKEN_LIST;
	int verdict, r;

	/* Each publish comes back like this: no transaction, which might have to wait for a fleet's
	 * events. */
	if (readable) {
		r = document_known(desk->db, SPAN(t.digest));
		if (r != 0)
			return r < 0 ? r : TAKEOVER_KNOWN;
	}
	r = db_begin(desk->db, &tx);
	if (r < 0)
		return r;
	if (!readable)
		verdict = TAKEOVER_FOREIGN;
	else if ((verdict = document_known(desk->db, SPAN(t.digest))) == 0)
		verdict = judge(desk->db, &t);
	else if (verdict > 0)
		verdict = TAKEOVER_KNOWN;
	if (verdict == TAKEOVER_DONE && t.kind != TOKEN_KEYS && t.iat > now + TAKEOVER_AHEAD_S)
		verdict = TAKEOVER_AHEAD;
	if (verdict == TAKEOVER_DONE)
		verdict = take(desk, document, &t, now);
	if (verdict < 0)
		return verdict;
	r = alarm_for(desk->db, verdict, document, now);
	if (r >= 0)
		r = db_commit(&tx);
	return r < 0 ? r : verdict;
}
