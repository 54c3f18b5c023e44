// SPDX-License-Identifier: Apache-2.0
/* The authority's files, and what it issues. See authority.h. */
#include "desk/authority.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "desk/keyring.h"
#include "desk/registry.h"
#include "link/file.h"

#define SETTING	   "authority" /* fingerprint of its key: whose files these must be */
#define LIFETIME_S (3653ULL * 86400)

struct paths {
	char *key, *certificate;
};

static void paths_deinit(struct paths *paths)
{
	free(paths->key);
	free(paths->certificate);
}

static int paths_init(const struct desk *desk, struct paths *ret)
{
	if (asprintf(&ret->key, "%s/keys/ca.key", desk->dir) < 0)
		ret->key = NULL;
	if (asprintf(&ret->certificate, "%s/ca.pem", desk->dir) < 0)
		ret->certificate = NULL;
	return ret->key && ret->certificate ? 0 : -ENOMEM;
}

void authority_deinit(struct authority *authority)
{
	x509_wipe(&authority->key);
	x509_wipe(&authority->certificate);
}

struct x509_authority authority_signer(const struct authority *authority)
{
	return (struct x509_authority){span_str(authority->key), span_str(authority->certificate)};
}

/* --- files ------------------------------------------------------------------------------------ */

/* malloc'd text; x509_wipe frees it. */
static int read_pem(const char *path, char **ret)
{
	cleanup(freep) char *text = malloc(X509_PEM_MAX + 1);
	size_t len;
	int r;

	if (!text)
		return -ENOMEM;
	r = file_read(path, text, X509_PEM_MAX, &len);
	if (r < 0)
		return r;
	text[len] = '\0';
	*ret = steal(text);
	return 0;
}

static int say(char error[static AUTHORITY_ERROR_CAP], const char *path, int r)
{
	snprintf(error, AUTHORITY_ERROR_CAP, "%s: %s", path,
		 r == -ENOENT	? "it is missing; put it back from the backup"
		 : r == -EACCES ? "readable by others, or not by you: mode 0600 is needed"
		 : r == -EINVAL ? "no key or certificate in PEM; put it back from the backup"
		 : r == -EBADMSG
			 ? "not the authority that the registry knows; put it back from the backup"
			 : strerror(-r));
	return r;
}

/* Both files, that fit each other. */
static int read_files(const struct paths *paths, struct authority *ret, struct x509_facts *facts,
		      char error[static AUTHORITY_ERROR_CAP])
{
	struct stat st;
	int r = read_pem(paths->key, &ret->key);

	if (r == 0 && stat(paths->key, &st) == 0 && (st.st_mode & 077) != 0)
		r = -EACCES;
	if (r < 0)
		return say(error, paths->key, r);
	r = read_pem(paths->certificate, &ret->certificate);
	if (r == 0)
		r = x509_certificate_read(span_str(ret->certificate), facts);
	if (r == 0)
		r = x509_key_fits(span_str(ret->key), span_str(ret->certificate));
	if (r == 0 && !facts->authority)
		r = -EBADMSG;
	ret->not_after = facts->not_after;
	return r < 0 ? say(error, paths->certificate, r) : 0;
}

static int make_files(const struct desk *desk, const struct paths *paths, uint64_t now,
		      struct authority *ret, struct x509_facts *facts)
{
	const struct x509_term term = {now - 86400, now + LIFETIME_S};
	char name[65], kid[HEX_CAP(DIGEST_LEN)];
	struct key root;
	int r = keyring_public(desk->db, ROLE_ROOT, &root);

	if (r < 0)
		return r;
	hex_encode(SPAN(root.kid), kid, sizeof(kid));
	snprintf(name, sizeof(name), "lockbridge gateways of %s", kid);
	r = x509_authority_create(name, &term, &ret->key, &ret->certificate);
	if (r == 0)
		r = x509_certificate_read(span_str(ret->certificate), facts);
	/* the key first: a certificate is there only with its key */
	if (r == 0)
		r = file_write(paths->key, span_str(ret->key), 0600);
	if (r == 0)
		r = file_write(paths->certificate, span_str(ret->certificate), 0644);
	ret->not_after = facts->not_after;
	return r;
}

/* --- made once, loaded ------------------------------------------------------------------------ */

/* After a crash between the files and the commit, or in an init that failed behind this, both files
 * are there: those are it. */
static int make(const struct desk *desk, const struct paths *paths, uint64_t now,
		struct authority *ret, char error[static AUTHORITY_ERROR_CAP])
{
	char fingerprint[HEX_CAP(SHA256_LEN)];
	struct x509_facts facts = {0};
	struct stat st;
	int r = stat(paths->certificate, &st) == 0 ? read_files(paths, ret, &facts, error)
						   : make_files(desk, paths, now, ret, &facts);

	if (r < 0)
		return r;
	hex_encode(SPAN(facts.key), fingerprint, sizeof(fingerprint));
	r = setting_put(desk->db, SETTING, fingerprint);
	return r < 0 ? r : desk_log(desk, (struct act){.time = now, .act = "authority.create"});
}

int authority_load(const struct desk *desk, uint64_t now, struct authority *ret,
		   char error[static AUTHORITY_ERROR_CAP])
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	cleanup(paths_deinit) struct paths paths = {0};
	cleanup(authority_deinit) struct authority authority = {0};
	char known[HEX_CAP(SHA256_LEN)], found[HEX_CAP(SHA256_LEN)];
	struct x509_facts facts = {0};
	int r = paths_init(desk, &paths);

	if (r == 0)
		r = db_begin(desk->db, &tx);
	if (r < 0)
		return r;
	r = setting_get(desk->db, SETTING, known, sizeof(known));
	if (r == -ENOENT) {
		r = make(desk, &paths, now, &authority, error);
	} else if (r == 0) {
		r = read_files(&paths, &authority, &facts, error);
		hex_encode(SPAN(facts.key), found, sizeof(found));
		if (r == 0 && strcmp(known, found) != 0)
			r = say(error, paths.certificate, -EBADMSG);
	}
	if (r == 0)
		r = db_commit(&tx);
	if (r < 0)
		return r;
	*ret = authority;
	authority = (struct authority){0};
	return 0;
}

/* --- issuing ---------------------------------------------------------------------------------- */

static int log_issue(const struct desk *desk, const char *gateway, const struct x509_facts *facts,
		     uint64_t now)
{
	char detail[96];

	snprintf(detail, sizeof(detail), "{\"serial\":\"%s\",\"not_after\":%" PRIu64 "}",
		 facts->serial, facts->not_after);
	return desk_log(desk, (struct act){.time = now,
					   .act = "certificate.issue",
					   .gateway = gateway,
					   .detail = detail});
}

int authority_issue(const struct desk *desk, const struct authority *authority, const char *gateway,
		    struct span request, uint64_t now, struct certificate *ret)
{
	const struct x509_authority by = authority_signer(authority);
	uint64_t lifetime = setting_uint(desk->db, "certificate-lifetime", CERTIFICATE_LIFETIME_S);
	struct x509_term term = {now - CERTIFICATE_BACKDATE_S, now + lifetime};
	cleanup(x509_wipe) char *pem = NULL;
	struct x509_facts facts;
	int r;

	if (term.not_after > authority->not_after)
		term.not_after = authority->not_after;
	if (term.not_after <= now)
		return -EKEYEXPIRED;
	r = x509_issue(&by, request, X509_CLIENT, NULL, &term, &pem);
	if (r == 0)
		r = x509_certificate_read(span_str(pem), &facts);
	if (r == 0)
		r = certificate_add(desk->db, gateway, &facts, pem, now);
	if (r == 0)
		r = log_issue(desk, gateway, &facts, now);
	if (r < 0)
		return r;
	*ret = (struct certificate){.issued = now, .not_after = facts.not_after, .pem = steal(pem)};
	memcpy(ret->serial, facts.serial, sizeof(ret->serial));
	return 0;
}

int authority_watch(const struct desk *desk, uint64_t now)
{
	cleanup(authority_deinit) struct authority authority = {0};
	char error[AUTHORITY_ERROR_CAP] = "", known[HEX_CAP(SHA256_LEN)];
	int r = setting_get(desk->db, SETTING, known, sizeof(known));

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = authority_load(desk, now, &authority, error);
	if (r < 0)
		return error[0] ? alarm_raise(desk->db, now, "authority-damaged", "desk", "%s",
					      error)
				: r;
	if (authority.not_after > now + AUTHORITY_WARN_S)
		return 0;
	return alarm_raise(desk->db, now, "authority-expiring", "desk",
			   "ca.pem ends in less than a year, and every certificate with it");
}
