// SPDX-License-Identifier: Apache-2.0
/* Keys, policy, list: signed and filed. See sign.h. */
#include "desk/sign.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "desk/registry.h"
#include "desk/staff.h"

int sign_settings_load(struct db *db, struct sign_settings *ret)
{
	int r = setting_get(db, "issuer", ret->issuer, sizeof(ret->issuer));

	if (r == 0)
		r = setting_get(db, "list-uri", ret->list_uri, sizeof(ret->list_uri));
	ret->entries = setting_uint(db, "entries", LIST_ENTRIES);
	ret->list_lifetime = setting_uint(db, "list-lifetime", LIST_LIFETIME_S);
	return r;
}

int sign_list_slot(struct db *db, char ret[static SLOT_CAP])
{
	char uri[URI_MAX + 1];
	struct span name;
	int r = setting_get(db, "list-uri", uri, sizeof(uri));

	if (r < 0)
		return r;
	name = list_name(span_str(uri));
	if (!name.data)
		return -EBADMSG;
	snprintf(ret, SLOT_CAP, "list/%.*s", (int)name.len, (const char *)name.data);
	return 0;
}

static int iat_is_taken(struct db *db, const char *slot, uint64_t iat)
{
	cleanup(db_end) struct db_query q =
		db_query(db, "SELECT 1 FROM document WHERE slot = ? AND iat = ?");

	db_bind_text(&q, slot);
	db_bind_uint(&q, iat);
	return db_step(&q);
}

/*
 * After everything that this key signed in the slot before; and no iat of another key's document:
 * the same content at the same time would have the same digest.
 */
static int next_iat(struct db *db, const char *slot, const struct signer *signer, uint64_t now,
		    uint64_t *ret)
{
	cleanup(document_deinit) struct document last = {0};
	int r = document_newest(db, slot, SPAN(signer->kid), &last);

	if (r < 0 && r != -ENOENT)
		return r;
	*ret = r == 0 && last.iat >= now ? last.iat + 1 : now;
	while ((r = iat_is_taken(db, slot, *ret)) > 0)
		++*ret;
	return r;
}

/* Signs, and files. t: all but iss, which the settings know. */
static int sign_and_file(struct db *db, struct token *t, const struct signer *signer,
			 char error[static KEYRING_ERROR_CAP])
{
	const size_t cap = token_max(t->kind) + COSE_OVERHEAD;
	cleanup(freep) uint8_t *bytes = malloc(cap);
	struct sign_settings settings;
	int r;

	if (!bytes)
		return -ENOMEM;
	r = sign_settings_load(db, &settings);
	if (r == 0) {
		t->has |= CLAIM_ISS;
		t->iss = span_str(settings.issuer);
		r = token_sign(t, signer, bytes, cap);
	}
	if (r > 0)
		r = document_put(db, span_of(bytes, (size_t)r), false);
	if (r < 0)
		snprintf(error, KEYRING_ERROR_CAP, "the %s document: %s", token_kind_word(t->kind),
			 strerror(-r));
	return r;
}

/* --- keys ------------------------------------------------------------------------------------- */

struct in_use {
	struct key keys[KEYS_MAX];
	size_t n;
};

static int add_in_use(const struct keyring_entry *entry, void *user)
{
	struct in_use *set = user;

	if (entry->dropped == 0 && set->n < KEYS_MAX)
		set->keys[set->n++] = entry->key;
	return 0;
}

/* By this root, naming all that are in use. */
static int sign_keys_by(struct db *db, const struct signer *root, uint64_t now,
			char error[static KEYRING_ERROR_CAP])
{
	char kid[HEX_CAP(DIGEST_LEN)], slot[SLOT_CAP];
	uint8_t claim[KEYS_MAX * 128];
	struct token t = {.kind = TOKEN_KEYS, .has = CLAIM_IAT | CLAIM_EXP | CLAIM_KEYS};
	struct in_use set = {0};
	struct cbor_writer w;
	int r = keyring_each(db, add_in_use, &set);

	hex_encode(SPAN(root->kid), kid, sizeof(kid));
	snprintf(slot, sizeof(slot), "keys/%s", kid);
	if (r == 0)
		r = next_iat(db, slot, root, now, &t.iat);
	if (r < 0)
		return r;
	cbor_writer_init(&w, claim, sizeof(claim));
	keyset_put(&w, set.keys, set.n);
	if (w.failed)
		return -ENOSPC;
	t.keys = span_of(claim, w.len);
	t.exp = t.iat + SIGN_KEYS_LIFE_S;
	return sign_and_file(db, &t, root, error);
}

int sign_keys(const struct desk *desk, uint64_t now, char error[static KEYRING_ERROR_CAP])
{
	cleanup(signer_wipe) struct signer root = {0};
	cleanup(db_rollbackp) struct db *tx = NULL;
	int r = db_begin(desk->db, &tx);

	if (r == 0)
		r = keyring_load(desk, ROLE_ROOT, &root, error);
	if (r == 0)
		r = sign_keys_by(desk->db, &root, now, error);
	return r < 0 ? r : db_commit(&tx);
}

/* --- policy ----------------------------------------------------------------------------------- */

int sign_policy_now(struct db *db, struct policy *ret)
{
	cleanup(db_end) struct db_query q = db_query(
		db, "SELECT bytes FROM document WHERE slot = 'policy' ORDER BY id DESC LIMIT 1");
	struct token t;
	int r = db_step(&q);

	policy_default(ret);
	if (r <= 0)
		return r;
	if (token_parse(db_blob(&q, 0), &t) != 0 || policy_parse(t.policy, ret) != 0)
		return -EBADMSG;
	return 0;
}

/* What is older than any authorization can be cuts nothing off any more. */
static void drop_old_cut_offs(struct policy *policy, uint64_t now)
{
	size_t kept = 0;

	for (size_t i = 0; i < policy->ncut_offs; i++)
		if (policy->cut_offs[i].time + policy->max_lifetime >= now)
			policy->cut_offs[kept++] = policy->cut_offs[i];
	policy->ncut_offs = kept;
}

int sign_policy(const struct desk *desk, struct policy *policy, uint64_t now,
		char error[static KEYRING_ERROR_CAP])
{
	cleanup(signer_wipe) struct signer signer = {0};
	cleanup(db_rollbackp) struct db *tx = NULL;
	struct token t = {.kind = TOKEN_POLICY, .has = CLAIM_IAT | CLAIM_EXP | CLAIM_POLICY};
	uint8_t claim[TOKEN_MEDIUM_MAX];
	struct cbor_writer w;
	int r = db_begin(desk->db, &tx);

	if (r == 0)
		r = keyring_load(desk, ROLE_POLICY, &signer, error);
	if (r == 0)
		r = next_iat(desk->db, "policy", &signer, now, &t.iat);
	if (r < 0)
		return r;
	drop_old_cut_offs(policy, now);
	cbor_writer_init(&w, claim, sizeof(claim));
	policy_put(&w, policy);
	if (w.failed)
		return -ENOSPC;
	t.policy = span_of(claim, w.len);
	t.exp = t.iat + SIGN_KEYS_LIFE_S;
	r = sign_and_file(desk->db, &t, &signer, error);
	return r < 0 ? r : db_commit(&tx);
}

/* --- list ------------------------------------------------------------------------------------- */

static int set_entry(uint64_t idx, enum status status, void *user)
{
	return status_list_set(user, idx, status);
}

/* 1: the same entries. */
static int same_content(const struct document *last, const struct status_list *list)
{
	cleanup(freep) struct status_list *old = malloc(sizeof(*old));
	int r;

	if (!old)
		return -ENOMEM;
	r = document_entries(last, old);
	if (r < 0)
		return r;
	return old->bits == list->bits && old->len == list->len &&
	       !memcmp(old->bytes, list->bytes, list->len);
}

static int sign_entries(struct db *db, const struct sign_settings *settings,
			const struct signer *signer, const struct status_list *list, uint64_t iat,
			const struct document *last, bool same,
			char error[static KEYRING_ERROR_CAP])
{
	cleanup(freep) uint8_t *lst = malloc(TOKEN_LIST_MAX);
	struct token t = {
		.kind = TOKEN_LIST,
		.has = CLAIM_SUB | CLAIM_IAT | CLAIM_EXP | CLAIM_TTL | CLAIM_STATUS_LIST |
		       CLAIM_CHANGED,
		.sub = span_str(settings->list_uri),
		.bits = list->bits,
		.ttl = settings->list_lifetime / 2,
	};
	int r;

	if (!lst)
		return -ENOMEM;
	r = status_list_deflate(list, lst, TOKEN_LIST_MAX);
	if (r < 0)
		return r;
	t.lst = span_of(lst, (size_t)r);
	t.iat = iat;
	t.exp = t.iat + settings->list_lifetime;
	t.changed = same ? last->changed : t.iat;
	return sign_and_file(db, &t, signer, error);
}

/* last->bytes NULL: none by the key in use. */
static int sign_list_if(const struct desk *desk, uint64_t now, bool force,
			const struct sign_settings *settings, const char *slot,
			const struct signer *signer, struct document *last,
			char error[static KEYRING_ERROR_CAP])
{
	cleanup(freep) struct status_list *list = malloc(sizeof(*list));
	bool same = false;
	uint64_t iat;
	int r;

	if (!list)
		return -ENOMEM;
	r = status_list_init(list, LIST_BITS, settings->entries);
	if (r == 0)
		r = credential_each_bad(desk->db, set_entry, list);
	if (r == 0 && last->bytes) {
		r = same_content(last, list);
		same = r > 0;
	}
	if (r < 0)
		return r;
	if (same && !force && now < last->iat + (last->exp - last->iat) / 2)
		return 0;
	r = next_iat(desk->db, slot, signer, now, &iat);
	if (r == 0)
		r = sign_entries(desk->db, settings, signer, list, iat, last, same, error);
	return r < 0 ? r : 1;
}

int sign_list(const struct desk *desk, uint64_t now, bool force,
	      char error[static KEYRING_ERROR_CAP])
{
	cleanup(signer_wipe) struct signer signer = {0};
	cleanup(document_deinit) struct document last = {0};
	cleanup(db_rollbackp) struct db *tx = NULL;
	struct sign_settings settings = {0};
	char slot[SLOT_CAP] = "";
	int r, signed_;

	r = db_begin(desk->db, &tx);
	if (r == 0)
		r = sign_settings_load(desk->db, &settings);
	if (r == 0)
		r = sign_list_slot(desk->db, slot);
	if (r == 0)
		r = keyring_load(desk, ROLE_REVOKE, &signer, error);
	if (r == 0)
		r = document_newest(desk->db, slot, SPAN(signer.kid), &last);
	if (r < 0 && r != -ENOENT)
		return r;
	signed_ = sign_list_if(desk, now, force, &settings, slot, &signer, &last, error);
	if (signed_ < 0)
		return signed_;
	r = db_commit(&tx);
	return r < 0 ? r : signed_;
}

/* --- what is due ------------------------------------------------------------------------------ */

static int is_due(struct db *db, const char *slot, enum role role, uint64_t now)
{
	cleanup(document_deinit) struct document last = {0};
	struct key key;
	int r = keyring_public(db, role, &key);

	if (r == 0)
		r = document_newest(db, slot, SPAN(key.kid), &last);
	if (r == -ENOENT)
		return 1;
	return r < 0 ? r : now >= last.iat + SIGN_KEYS_AFTER_S;
}

static int keys_if_due(const struct desk *desk, uint64_t now, char error[static KEYRING_ERROR_CAP])
{
	char kid[HEX_CAP(DIGEST_LEN)], slot[SLOT_CAP];
	struct key root;
	int r = keyring_public(desk->db, ROLE_ROOT, &root);

	if (r < 0)
		return r;
	hex_encode(SPAN(root.kid), kid, sizeof(kid));
	snprintf(slot, sizeof(slot), "keys/%s", kid);
	r = is_due(desk->db, slot, ROLE_ROOT, now);
	if (r <= 0)
		return r;
	r = sign_keys(desk, now, error);
	return r < 0 ? r : 1;
}

static int policy_if_due(const struct desk *desk, uint64_t now,
			 char error[static KEYRING_ERROR_CAP])
{
	struct policy policy;
	int r = is_due(desk->db, "policy", ROLE_POLICY, now);

	if (r <= 0)
		return r;
	r = sign_policy_now(desk->db, &policy);
	if (r == 0)
		r = sign_policy(desk, &policy, now, error);
	return r < 0 ? r : 1;
}

/* The list before all: a root that lies in a safe must not hold up a revocation. */
int sign_due(const struct desk *desk, uint64_t now, char error[static KEYRING_ERROR_CAP])
{
	int list = sign_list(desk, now, false, error), policy, keys;

	if (list < 0)
		return list;
	policy = policy_if_due(desk, now, error);
	keys = keys_if_due(desk, now, error);
	if ((policy < 0 || keys < 0) && !error[0])
		snprintf(error, KEYRING_ERROR_CAP, "keys and policy: %s", db_error(desk->db));
	return list + (policy > 0) + (keys > 0);
}

/* --- rotation --------------------------------------------------------------------------------- */

static int count_root(const struct keyring_entry *entry, void *user)
{
	*(size_t *)user += entry->key.roles == ROLE_ROOT;
	return 0;
}

static int rotate_root(const struct desk *desk, uint64_t now, char error[static KEYRING_ERROR_CAP])
{
	cleanup(signer_wipe) struct signer old = {0}, fresh = {0};
	size_t roots = 0;
	int r = keyring_each(desk->db, count_root, &roots);

	if (r < 0)
		return r;
	if (roots >= SIGN_CHAIN_MAX) {
		snprintf(error, KEYRING_ERROR_CAP,
			 "a box follows at most %d roots: enrol the fleet anew with a fresh root",
			 SIGN_CHAIN_MAX);
		return -ENOSPC;
	}
	r = keyring_load(desk, ROLE_ROOT, &old, error);
	if (r == 0)
		r = keyring_renew(desk, ROLE_ROOT, now, &fresh);
	if (r == 0)
		r = sign_keys_by(desk->db, &old, now, error);
	if (r == 0)
		r = sign_keys_by(desk->db, &fresh, now, error);
	return r;
}

int sign_rotate(const struct desk *desk, enum role role, uint64_t now,
		char error[static KEYRING_ERROR_CAP])
{
	cleanup(signer_wipe) struct signer fresh = {0};
	cleanup(db_rollbackp) struct db *tx = NULL;
	int r = db_begin(desk->db, &tx);

	if (r < 0)
		return r;
	if (role == ROLE_ROOT) {
		r = rotate_root(desk, now, error);
	} else {
		r = keyring_renew(desk, role, now, &fresh);
		if (r == 0)
			r = sign_keys(desk, now, error);
	}
	return r < 0 ? r : db_commit(&tx);
}
