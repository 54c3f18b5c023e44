// SPDX-License-Identifier: Apache-2.0
/* The files of an enrolled box. See files.h. */
#include "ctl/files.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "link/config-file.h"
#include "link/config.h"

bool files_enrolled(const struct box *box)
{
	return access(box->config, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

bool files_add(json_t *problems, const char *code, const char *detail, const char *cause,
	       const char *next)
{
	json_t *one = json_pack("{s:s,s:s,s:s}", "code", code, "cause", cause, "next", next);

	if (one && *detail)
		json_object_set_new(one, "detail", json_string(detail));
	return json_array_append_new(problems, one) == 0;
}

static void found(json_t *problems, const struct trouble *t)
{
	files_add(problems, t->code, "", t->what, t->next);
}

/* 0: read; 1: not ours to read, or a problem that has been added. */
static int read_one(const char *path, size_t max, const char *code, const char *next, char **ret,
		    size_t *ret_len, json_t *problems)
{
	char wrong[CONFIG_WRONG_CAP];
	int r = config_file_read(path, max, ret, ret_len, wrong);

	if (r == 0)
		return 0;
	if (r != -EACCES && r != -EPERM)
		files_add(problems, code, "", wrong, next);
	return 1;
}

static void check_root(const struct config *config, json_t *problems)
{
	static const char next[] = "get the city's root key from the desk anew, and put it there";
	cleanup(freep) char *pem = NULL;
	char kid[KID_CAP];
	struct trouble t = {0};
	size_t len;

	if (read_one(config->root_key_file, X509_PEM_MAX, "root-missing", next, &pem, &len,
		     problems))
		return;
	if (box_root_kid(span_of(pem, len), kid, &t) < 0)
		found(problems, &t);
}

static void judge_ca(const char *path, struct span pem, uint64_t now, json_t *problems)
{
	static const char next[] = "enrol again with --replace, by a new file from the desk";
	char detail[400], end[BOX_TIME_CAP], *all = NULL;
	struct x509_facts facts;
	int r = x509_certificates_copy(pem, &all);

	free(all);
	if (r < 0 || x509_certificate_read(pem, &facts) < 0) {
		snprintf(detail, sizeof(detail), "%s is no list of certificates in PEM", path);
		files_add(problems, "ca-damaged", "", detail, next);
	} else if (now >= facts.not_after) {
		snprintf(detail, sizeof(detail), "The broker's authority in %s ended at %s", path,
			 box_time(facts.not_after, end));
		files_add(problems, "ca-expired", "", detail, next);
	}
}

static void check_ca(const char *path, uint64_t now, json_t *problems)
{
	static const char next[] = "enrol again with --replace, by a new file from the desk";
	cleanup(freep) char *pem = NULL;
	size_t len;

	if (read_one(path, CONFIG_TEXT_MAX, "ca-missing", next, &pem, &len, problems) == 0)
		judge_ca(path, span_of(pem, len), now, problems);
}

/* key: read already, or NULL. */
static void check_certificate(const struct config *config, const struct config_broker *broker,
			      const char *key, uint64_t now, json_t *problems)
{
	static const char next[] = "enrol again with --replace, by a new file from the desk";
	cleanup(freep) char *pem = NULL;
	struct box_claim claim = {.gateway = config->gateway, .now = now};
	struct x509_facts facts;
	struct trouble t = {0};
	size_t len;

	if (read_one(broker->certificate, X509_PEM_MAX, "certificate-missing", next, &pem, &len,
		     problems))
		return;
	claim.certificate = span_of(pem, len);
	claim.key = key ? span_str(key) : span_of(NULL, 0);
	if (box_certificate(&claim, &facts, &t) < 0)
		found(problems, &t);
}

static char *check_key(const struct box *box, const struct config_broker *broker, json_t *problems)
{
	struct box named = *box;
	char detail[600], *key = NULL;
	struct trouble t = {0};
	int r = 0;

	if (broker->key[0] == '/')
		snprintf(named.key, sizeof(named.key), "%s", broker->key);
	else
		r = snprintf(named.key, sizeof(named.key), "%s/%s", box->etc, broker->key);
	if (r >= (int)sizeof(named.key))
		return NULL;
	r = box_read_key(&named, &key, &t);
	if (r == -ENOENT) {
		snprintf(detail, sizeof(detail), "%s is missing", named.key);
		files_add(problems, "key-missing", "", detail,
			  "run lockbridgectl request, take the request to the desk, and enrol with "
			  "--replace");
	} else if (r < 0 && strcmp(t.code, "not-root") != 0) {
		found(problems, &t);
	}
	return key;
}

static bool same_files(const struct config_broker *a, const struct config_broker *b)
{
	return strcmp(a->ca, b->ca) == 0 && strcmp(a->certificate, b->certificate) == 0 &&
	       strcmp(a->key, b->key) == 0;
}

static void check_brokers(const struct box *box, const struct config *config, uint64_t now,
			  json_t *problems)
{
	for (size_t i = 0; i < config->nbrokers; i++) {
		const struct config_broker *broker = &config->brokers[i];
		cleanup(x509_wipe) char *key = NULL;

		if (i > 0 && same_files(broker, &config->brokers[i - 1]))
			continue;
		if (*broker->ca)
			check_ca(broker->ca, now, problems);
		if (!*broker->certificate)
			continue;
		key = check_key(box, broker, problems);
		check_certificate(config, broker, key, now, problems);
	}
}

static void check_state(const struct box *box, const struct config *config, json_t *problems)
{
	const struct passwd *user = box->elsewhere ? NULL : getpwnam(BOX_USER);
	char detail[400], next[400];
	struct stat st;

	if (stat(config->state_dir, &st) < 0) {
		snprintf(detail, sizeof(detail), "%s: %s", config->state_dir, strerror(errno));
		files_add(problems, "state-missing", "", detail,
			  "systemctl restart lockbridge makes it; if not, install the package "
			  "lockbridge again");
	} else if (user && st.st_uid != user->pw_uid) {
		snprintf(detail, sizeof(detail), "%s belongs to user %u, not to " BOX_USER,
			 config->state_dir, (unsigned)st.st_uid);
		snprintf(next, sizeof(next), "chown -R " BOX_USER ":" BOX_USER " %s",
			 config->state_dir);
		files_add(problems, "state-owner", "", detail, next);
	}
}

void files_check(const struct box *box, uint64_t now, json_t *problems)
{
	static const char next[] = "correct it; lockbridgectl check-config tries it, and systemctl "
				   "restart lockbridge takes it over";
	cleanup(freep) struct config *config = malloc(sizeof(*config));
	cleanup(freep) char *text = NULL;
	char error[CONFIG_WRONG_CAP];
	size_t len;

	if (!config || read_one(box->config, CONFIG_TEXT_MAX, "configuration-refused", next, &text,
				&len, problems))
		return;
	if (config_parse(box->config, span_of(text, len), config, error, sizeof(error)) < 0) {
		files_add(problems, "configuration-refused", "", error, next);
		return;
	}
	check_root(config, problems);
	check_brokers(box, config, now, problems);
	check_state(box, config, problems);
}
