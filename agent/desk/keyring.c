// SPDX-License-Identifier: Apache-2.0
/* Key files and their registry rows. See keyring.h. */
#include "desk/keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/pem.h"
#include "link/file.h"

const enum role keyring_roles[4] = {ROLE_ROOT, ROLE_POLICY, ROLE_REVOKE, ROLE_AUTHORIZE};

const char *role_word(enum role role)
{
	switch (role) {
	case ROLE_ROOT:
		return "root";
	case ROLE_POLICY:
		return "policy";
	case ROLE_REVOKE:
		return "revoke";
	case ROLE_AUTHORIZE:
		return "authorize";
	}
	return "";
}

enum role role_parse(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(keyring_roles); i++)
		if (!strcmp(word, role_word(keyring_roles[i])))
			return keyring_roles[i];
	return 0;
}

static char *key_path(const char *dir, enum role role, const char *suffix)
{
	char *path;

	return asprintf(&path, "%s/keys/%s%s", dir, role_word(role), suffix) < 0 ? NULL : path;
}

int keyring_create(const char *dir)
{
	cleanup(freep) char *path = NULL;

	if (asprintf(&path, "%s/keys", dir) < 0)
		return -ENOMEM;
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* --- the registry's side ---------------------------------------------------------------------- */

static int entry_from(struct db_query *q, struct keyring_entry *ret)
{
	struct span pub = db_blob(q, 1);
	enum role role = role_parse(db_text(q, 0));

	if (pub.len != PUBLIC_LEN || !role)
		return -EBADMSG;
	key_init(&ret->key, pub.data, role);
	ret->made = db_uint(q, 2);
	ret->dropped = db_uint(q, 3);
	return 0;
}

#define ENTRY_COLUMNS "SELECT role, pub, made, dropped FROM key "

int keyring_find(struct db *db, struct span kid, struct keyring_entry *ret)
{
	cleanup(db_end) struct db_query q = db_query(db, ENTRY_COLUMNS "WHERE kid = ?");
	int r;

	db_bind_blob(&q, kid);
	r = db_step(&q);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	return entry_from(&q, ret);
}

int keyring_public(struct db *db, enum role role, struct key *ret)
{
	cleanup(db_end) struct db_query q =
		db_query(db, ENTRY_COLUMNS "WHERE role = ? AND dropped IS NULL");
	struct keyring_entry entry;
	int r;

	db_bind_text(&q, role_word(role));
	r = db_step(&q);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	r = entry_from(&q, &entry);
	if (r < 0)
		return r;
	*ret = entry.key;
	return 0;
}

int keyring_each(struct db *db, int (*fn)(const struct keyring_entry *entry, void *user),
		 void *user)
{
	cleanup(db_end) struct db_query q = db_query(db, ENTRY_COLUMNS "ORDER BY rowid");
	struct keyring_entry entry;
	int r;

	while ((r = db_step(&q)) > 0) {
		r = entry_from(&q, &entry);
		if (r == 0)
			r = fn(&entry, user);
		if (r < 0)
			return r;
	}
	return r;
}

/* --- making ----------------------------------------------------------------------------------- */

static int put_in_use(struct db *db, enum role role, const struct signer *signer, uint64_t now)
{
	cleanup(db_end) struct db_query drop =
		db_query(db, "UPDATE key SET dropped = ? WHERE role = ? AND dropped IS NULL");
	cleanup(db_end) struct db_query add =
		db_query(db, "INSERT INTO key (kid, role, pub, made) VALUES (?, ?, ?, ?)");
	int r;

	db_bind_uint(&drop, now);
	db_bind_text(&drop, role_word(role));
	r = db_run(&drop);
	if (r < 0)
		return r;
	db_bind_blob(&add, SPAN(signer->kid));
	db_bind_text(&add, role_word(role));
	db_bind_blob(&add, SPAN(signer->pub));
	db_bind_uint(&add, now);
	return db_run(&add);
}

int keyring_renew(const struct desk *desk, enum role role, uint64_t now, struct signer *ret)
{
	cleanup(freep) char *path = key_path(desk->dir, role, ".pem.new");
	cleanup(signer_wipe) struct signer signer;
	char pem[PEM_PRIVATE_CAP];
	int r;

	if (!path)
		return -ENOMEM;
	/* a .new that is in use since a crash must not be written over */
	r = keyring_settle(desk, role);
	if (r < 0 && r != -ENOENT)
		return r;
	signer_generate(&signer);
	r = pem_encode_private(&signer, pem);
	if (r > 0)
		r = file_write(path, span_of(pem, (size_t)r), 0600);
	crypto_wipe(pem, sizeof(pem));
	if (r == 0)
		r = put_in_use(desk->db, role, &signer, now);
	if (r < 0)
		return r;
	*ret = signer;
	return 0;
}

/* --- files ------------------------------------------------------------------------------------ */

/* 1: the file holds the key in use; 0: another key; -ENOENT, -EINVAL (not a key), -EACCES (open to
 * others), ... */
static int read_key(const char *path, const struct key *wanted, struct signer *ret)
{
	uint8_t text[1024];
	struct stat st;
	size_t len;
	int r = file_read(path, text, sizeof(text), &len);

	if (r == 0 && stat(path, &st) == 0 && (st.st_mode & 077) != 0)
		r = -EACCES;
	if (r == 0)
		r = pem_parse_private(span_of(text, len), ret);
	crypto_wipe(text, sizeof(text));
	if (r < 0)
		return r;
	return crypto_equal(ret->pub, wanted->pub, PUBLIC_LEN);
}

static int write_public(const struct desk *desk, const struct key *key)
{
	cleanup(freep) char *path = key_path(desk->dir, ROLE_ROOT, ".pub");
	char pem[PEM_PUBLIC_CAP];
	int len = pem_encode_public(key->pub, pem);

	if (!path)
		return -ENOMEM;
	return len < 0 ? len : file_write(path, span_of(pem, (size_t)len), 0644);
}

int keyring_settle(const struct desk *desk, enum role role)
{
	cleanup(freep) char *path = key_path(desk->dir, role, ".pem");
	cleanup(freep) char *fresh = key_path(desk->dir, role, ".pem.new");
	cleanup(signer_wipe) struct signer signer = {0};
	struct key wanted;
	int r;

	if (!path || !fresh)
		return -ENOMEM;
	r = keyring_public(desk->db, role, &wanted);
	if (r < 0)
		return r;
	r = read_key(fresh, &wanted, &signer);
	if (r <= 0)
		return r == -ENOENT || r == 0 ? 0 : r;
	r = file_rename(fresh, path);
	if (r == 0 && role == ROLE_ROOT)
		r = write_public(desk, &wanted);
	return r;
}

int keyring_load(const struct desk *desk, enum role role, struct signer *ret,
		 char error[static KEYRING_ERROR_CAP])
{
	cleanup(freep) char *path = key_path(desk->dir, role, ".pem");
	cleanup(freep) char *fresh = key_path(desk->dir, role, ".pem.new");
	cleanup(signer_wipe) struct signer signer = {0};
	struct key wanted;
	int r;

	if (!path || !fresh)
		return -ENOMEM;
	r = keyring_public(desk->db, role, &wanted);
	if (r == 0)
		r = read_key(path, &wanted, &signer);
	/* inside the transaction that renews it, or after a crash before the rename */
	if ((r == 0 || r == -ENOENT) && read_key(fresh, &wanted, &signer) > 0)
		r = 1;
	if (r == 0)
		r = -EBADMSG;
	if (r > 0) {
		*ret = signer;
		return 0;
	}
	snprintf(error, KEYRING_ERROR_CAP, "%s: %s", path,
		 r == -EBADMSG	? "not the key that the registry has for this role"
		 : r == -EINVAL ? "not an Ed25519 private key in PEM"
		 : r == -EACCES ? "readable by others, or not by you: mode 0600 is needed"
				: strerror(-r));
	return r;
}
