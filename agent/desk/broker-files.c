// SPDX-License-Identifier: Apache-2.0
/* The folder of a broker's files. See broker-files.h. */
#include "desk/broker-files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "desk/broker-identity.h"
#include "desk/registry.h"
#include "link/file.h"
#include "message.h"

#define FOLDER	   "broker-files" /* settings */
#define LIST	   "crl"
#define FOLDER_CAP 4096
#define FILE_MAX   (8 * 1024 * 1024)

struct files {
	const struct desk *desk;
	uint64_t now;
	char folder[FOLDER_CAP];
	struct authority authority;
	bool changed;
	char *error; /* AUTHORITY_ERROR_CAP */
};

static void files_deinit(struct files *f)
{
	authority_deinit(&f->authority);
}

static int fail(struct files *f, int r, const char *path)
{
	snprintf(f->error, AUTHORITY_ERROR_CAP, "%s: %s", path, strerror(-r));
	return r;
}

/* malloc'd; NULL with 0: it is not there. */
static int read_file(struct files *f, const char *name, char **ret_path, char **ret,
		     size_t *ret_len)
{
	struct stat st;
	int r;

	*ret = NULL;
	*ret_len = 0;
	if (asprintf(ret_path, "%s/%s", f->folder, name) < 0) {
		*ret_path = NULL;
		return -ENOMEM;
	}
	if (stat(*ret_path, &st) < 0)
		return errno == ENOENT ? 0 : fail(f, -errno, *ret_path);
	*ret = malloc(FILE_MAX);
	if (!*ret)
		return -ENOMEM;
	r = file_read(*ret_path, *ret, FILE_MAX, ret_len);
	return r < 0 ? fail(f, r, *ret_path) : 0;
}

/* For everybody: none of these is a secret, and the broker is another user. */
static int write_if_new(struct files *f, const char *name, struct span text)
{
	cleanup(freep) char *path = NULL;
	cleanup(freep) char *present = NULL;
	size_t len;
	int r = read_file(f, name, &path, &present, &len);

	if (r < 0 || (present && span_equal(span_of(present, len), text)))
		return r;
	r = file_write(path, text, 0644);
	if (r < 0)
		return fail(f, r, path);
	f->changed = true;
	return 0;
}

/* --- revocation list -------------------------------------------------------------------------- */

/*
 * Of the list written last, in the registry. Its number is its thisUpdate: a broker that is reloaded
 * keeps the lists it had, and of several takes the one with the newest thisUpdate, in seconds.
 */
struct list_state {
	uint64_t number, next;
	char serials[HEX_CAP(SHA256_LEN)], file[HEX_CAP(SHA256_LEN)]; /* hashes */
};

static void hash(struct span bytes, char ret[static HEX_CAP(SHA256_LEN)])
{
	uint8_t sha[SHA256_LEN];

	crypto_sha256(bytes, sha);
	hex_encode(SPAN(sha), ret, HEX_CAP(SHA256_LEN));
}

static int state_load(struct db *db, struct list_state *ret)
{
	char text[256];
	int r = setting_get(db, LIST, text, sizeof(text));

	*ret = (struct list_state){0};
	if (r == -ENOENT)
		return 0;
	if (r == 0 && sscanf(text, "%" SCNu64 " %" SCNu64 " %64s %64s", &ret->number, &ret->next,
			     ret->serials, ret->file) != 4)
		*ret = (struct list_state){0};
	return r;
}

static int state_save(struct db *db, const struct list_state *s)
{
	char text[256];

	snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64 " %s %s", s->number, s->next,
		 s->serials, s->file);
	return setting_put(db, LIST, text);
}

static int take_over_one(const struct x509_revoked *revoked, void *user)
{
	char gateway[ID_MAX + 1];
	struct files *f = user;
	int r = certificate_note_revoked(f->desk->db, revoked, f->authority.not_after, gateway);

	if (r > 0 && gateway[0])
		r = alarm_raise(f->desk->db, f->now, "gateway-revoked-before", gateway,
				"this registry is older than its revocation, and has taken it over "
				"from the broker's list");
	return r < 0 ? r : 0;
}

/* A registry from a backup may have forgotten whom it revoked: the list at the broker has not. */
static int take_over(struct files *f, struct list_state *s, struct span present)
{
	uint64_t number = 0;
	int r = x509_revocation_list_read(present, span_str(f->authority.certificate),
					  take_over_one, f, &number);

	if (r == -EINVAL || r == -EBADMSG)
		return 0;
	if (number > s->number && number <= f->now)
		s->number = number;
	return r;
}

static int sign_list(struct files *f, struct list_state *s, const struct x509_revoked *revoked,
		     size_t n, char **ret)
{
	const struct x509_authority by = authority_signer(&f->authority);
	struct x509_term term = {.not_after = f->authority.not_after};

	/* back-dated, so that two in one second differ, and none is from the future */
	if (s->number < f->now - CERTIFICATE_BACKDATE_S)
		s->number = f->now - CERTIFICATE_BACKDATE_S;
	else
		s->number++;
	term.not_before = s->number;
	s->next = term.not_after;
	return x509_revocation_list(&by, revoked, n, s->number, &term, ret);
}

static int write_list(struct files *f)
{
	cleanup(freep) char *path = NULL;
	cleanup(freep) char *present = NULL;
	cleanup(certificates_free) struct x509_revoked *revoked = NULL;
	cleanup(x509_wipe) char *pem = NULL;
	char serials[HEX_CAP(SHA256_LEN)], file[HEX_CAP(SHA256_LEN)] = "";
	struct list_state state = {0};
	size_t len, n = 0;
	int r = read_file(f, "crl.pem", &path, &present, &len);

	if (r == 0)
		r = state_load(f->desk->db, &state);
	if (r < 0)
		return r;
	if (present)
		hash(span_of(present, len), file);
	if (present && strcmp(file, state.file) != 0)
		r = take_over(f, &state, span_of(present, len));
	if (r == 0)
		r = certificates_revoked(f->desk->db, f->now, &revoked, &n);
	if (r < 0)
		return r;
	hash(span_of(revoked, n * sizeof(*revoked)), serials);
	if (!strcmp(serials, state.serials) && !strcmp(file, state.file) &&
	    f->now < state.number + (state.next - state.number) / 2)
		return 0;
	r = sign_list(f, &state, revoked, n, &pem);
	if (r == 0)
		r = write_if_new(f, "crl.pem", span_str(pem));
	if (r != 0)
		return r;
	memcpy(state.serials, serials, sizeof(serials));
	hash(span_str(pem), state.file);
	return state_save(f->desk->db, &state);
}

/* --- access ----------------------------------------------------------------------------------- */

static int deny(const char *gateway, void *user)
{
	fprintf(user, "user %s\ntopic deny #\n\n", gateway);
	return 0;
}

/* mosquitto looks at a user's own rules first, and a deny among them ends the search: it cuts off
 * what is connected at the reload, which the revocation list does not. */
static int print_acl(const struct desk *desk, FILE *out)
{
	static const char *const says[] = {"presence", "state", "health",
					   "lock/+",   "event", "request"};
	static const char *const hears[] = {"document", "authorize", "replay", "certificate"};
	char root[ROOT_TOPIC_MAX + 1];
	int r = setting_get(desk->db, "root-topic", root, sizeof(root));

	if (r < 0)
		return r;
	fputs("# Written by lockbridge-desk: it writes over changes. %u is the common name of a\n"
	      "# gateway's certificate.\n\n# revoked\n",
	      out);
	r = enrolled_each_revoked(desk->db, deny, out);
	fprintf(out, "# the city\nuser desk\ntopic readwrite %s/#\n\n# each gateway\n", root);
	for (size_t i = 0; i < ARRAY_SIZE(says); i++)
		fprintf(out, "pattern write %s/gw/%%u/%s\n", root, says[i]);
	for (size_t i = 0; i < ARRAY_SIZE(hears); i++)
		fprintf(out, "pattern read %s/gw/%%u/%s\n", root, hears[i]);
	fprintf(out, "pattern read %s/city/#\n", root);
	return r;
}

static int write_acl(struct files *f)
{
	cleanup(freep) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int r = out ? print_acl(f->desk, out) : -ENOMEM;

	if (out && fclose(out) != 0 && r == 0)
		r = -ENOMEM;
	return r < 0 ? r : write_if_new(f, "acl", span_of(text, len));
}

/* --- all of them ------------------------------------------------------------------------------ */

/* 1: none is set. */
static int find_folder(struct files *f, const char *folder)
{
	cleanup(freep) char *whole = NULL;
	int r;

	if (!folder) {
		r = setting_get(f->desk->db, FOLDER, f->folder, sizeof(f->folder));
		return r == -ENOENT ? 1 : r;
	}
	/* whatever the umask is: the broker is another user */
	if (mkdir(folder, 0755) == 0 ? chmod(folder, 0755) < 0 : errno != EEXIST)
		return fail(f, -errno, folder);
	/* whoever writes next stands in another folder */
	whole = realpath(folder, NULL);
	if (!whole)
		return fail(f, -errno, folder);
	if ((size_t)snprintf(f->folder, sizeof(f->folder), "%s", whole) >= sizeof(f->folder))
		return fail(f, -ENAMETOOLONG, folder);
	return setting_put(f->desk->db, FOLDER, f->folder);
}

static int write_all(struct files *f)
{
	cleanup(x509_wipe) char *own = NULL;
	int r = write_list(f);

	if (r == 0)
		r = write_acl(f);
	if (r == 0)
		r = write_if_new(f, "ca.pem", span_str(f->authority.certificate));
	if (r == 0)
		r = broker_identity(f->desk, f->now, &own, f->error);
	return r != 0 ? r : write_if_new(f, "desk-ca.pem", span_str(own));
}

int broker_files_write(const struct desk *desk, const char *folder, uint64_t now,
		       char error[static AUTHORITY_ERROR_CAP])
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	cleanup(files_deinit) struct files f = {.desk = desk, .now = now, .error = error};
	int r = db_begin(desk->db, &tx);

	error[0] = '\0';
	if (r == 0)
		r = find_folder(&f, folder);
	if (r != 0)
		return r < 0 ? r : 0;
	r = authority_load(desk, now, &f.authority, error);
	if (r == 0)
		r = write_all(&f);
	if (r == 0)
		r = db_commit(&tx);
	return r < 0 ? r : f.changed;
}

int broker_files_update(const struct desk *desk, uint64_t now,
			char ret_words[static BROKER_FILES_WORDS_CAP])
{
	char error[AUTHORITY_ERROR_CAP];
	int r = broker_files_write(desk, NULL, now, error);

	ret_words[0] = '\0';
	if (r > 0)
		snprintf(
			ret_words, BROKER_FILES_WORDS_CAP,
			"The broker's files have changed: reload it (systemctl reload mosquitto).");
	if (r >= 0)
		return r;
	snprintf(ret_words, BROKER_FILES_WORDS_CAP, "The broker's files were not written: %s",
		 error[0] ? error : db_error(desk->db));
	return alarm_raise(desk->db, now, "broker-files", "mosquitto", "%s", ret_words);
}

/* --- a broker's own certificate --------------------------------------------------------------- */

/* Brokers drop their privileges before they read it: the folder's group is to be theirs. */
static int write_server_key(const char *folder, const char *key,
			    char error[static AUTHORITY_ERROR_CAP])
{
	cleanup(freep) char *path = NULL;
	struct stat st;
	int r;

	if (asprintf(&path, "%s/server.key", folder) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	r = file_write(path, span_str(key), 0600);
	if (r == 0 && stat(folder, &st) < 0)
		r = -errno;
	if (r == 0 && chown(path, (uid_t)-1, st.st_gid) == 0 && chmod(path, 0640) < 0)
		r = -errno;
	if (r < 0)
		snprintf(error, AUTHORITY_ERROR_CAP, "%s: %s", path, strerror(-r));
	return r;
}

int broker_files_server(const struct desk *desk, const char *folder, const char *hosts,
			uint64_t now, char error[static AUTHORITY_ERROR_CAP])
{
	cleanup(authority_deinit) struct authority authority = {0};
	cleanup(x509_wipe) char *key = NULL;
	cleanup(x509_wipe) char *request = NULL;
	cleanup(x509_wipe) char *certificate = NULL;
	cleanup(freep) char *path = NULL;
	int r = authority_load(desk, now, &authority, error);
	struct x509_term term = {now - CERTIFICATE_BACKDATE_S, authority.not_after};

	if (r < 0)
		return r;
	const struct x509_authority by = authority_signer(&authority);

	if (asprintf(&path, "%s/server.pem", folder) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	r = x509_key_create(&key);
	if (r == 0)
		r = x509_request_create(span_str(key), "broker", &request);
	if (r == 0)
		r = x509_issue(&by, span_str(request), X509_SERVER, hosts, &term, &certificate);
	if (r == 0)
		r = write_server_key(folder, key, error);
	if (r != 0)
		return r;
	r = file_write(path, span_str(certificate), 0644);
	if (r < 0)
		snprintf(error, AUTHORITY_ERROR_CAP, "%s: %s", path, strerror(-r));
	return r;
}
