// SPDX-License-Identifier: Apache-2.0
/* init and config: the registry, its settings, and the first documents. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "desk/authority.h"
#include "desk/broker-identity.h"
#include "desk/brokers.h"
#include "desk/command.h"
#include "desk/registry.h"
#include "desk/show.h"
#include "desk/sign.h"
#include "message.h"

#define DEFAULT_URI "https://city.example/lists"
#define LIST_NAME   "phones"
#define ENTRIES_MIN 64

struct settings {
	struct brokers brokers;
	const char *root_topic, *issuer, *uri, *entries, *list_lifetime, *keep_events,
		*certificate_lifetime;
	char list_uri[URI_MAX + 1], city[URI_MAX + 1]; /* derived */
	char lifetime[24], keep[24], certificate[24];
};

static const struct option options[] = {
	{"broker", required_argument, NULL, 'b'},
	{"ca", required_argument, NULL, 'p'},
	{"cert", required_argument, NULL, 'p'},
	{"key", required_argument, NULL, 'p'},
	{"user", required_argument, NULL, 'p'},
	{"password-file", required_argument, NULL, 'p'},
	{"public", required_argument, NULL, 'p'},
	{"root-topic", required_argument, NULL, 't'},
	{"issuer", required_argument, NULL, 'i'},
	{"uri", required_argument, NULL, 'u'},
	{"entries", required_argument, NULL, 'e'},
	{"list-lifetime", required_argument, NULL, 'l'},
	{"keep-events", required_argument, NULL, 'k'},
	{"certificate-lifetime", required_argument, NULL, 'c'},
	{0},
};

static int parse(const struct desk *desk, int argc, char **argv, struct settings *s)
{
	const char *complaint = NULL;
	int c, index;

	while ((c = getopt_long(argc, argv, "", options, &index)) >= 0) {
		switch (c) {
		case 'b':
			complaint = brokers_add(&s->brokers, optarg);
			break;
		case 'p':
			/* before any --broker: SIZE_MAX, which is none */
			complaint = brokers_set(&s->brokers, s->brokers.n - 1, options[index].name,
						optarg);
			break;
		case 't':
			s->root_topic = optarg;
			break;
		case 'i':
			s->issuer = optarg;
			break;
		case 'u':
			s->uri = optarg;
			break;
		case 'e':
			s->entries = optarg;
			break;
		case 'l':
			s->list_lifetime = optarg;
			break;
		case 'k':
			s->keep_events = optarg;
			break;
		case 'c':
			s->certificate_lifetime = optarg;
			break;
		default:
			return command_usage(desk, "%s: no such option, or its value is missing",
					     argv[optind - 1]);
		}
		if (complaint)
			return command_usage(desk, "--%s %s: %s", options[index].name, optarg,
					     complaint);
	}
	return optind < argc ? command_usage(desk, "%s: not expected here", argv[optind]) : 0;
}

static bool topic_fits(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && len < ROOT_TOPIC_MAX && !strpbrk(text, "+#$ ") && text[0] != '/' &&
	       text[len - 1] != '/';
}

/* The list's URI ends in its name; the issuer is its scheme and host unless given. */
static int derive_uris(const struct desk *desk, struct settings *s)
{
	const char *uri = s->uri ? s->uri : DEFAULT_URI, *host, *slash;
	int n;

	n = snprintf(s->list_uri, sizeof(s->list_uri), "%s/" LIST_NAME, uri);
	if (n >= (int)sizeof(s->list_uri) || !list_name(span_str(s->list_uri)).data)
		return command_usage(desk, "--uri %s: a URI of at most %d characters is needed",
				     uri, URI_MAX - 8);
	host = strstr(uri, "://");
	slash = host ? strchr(host + 3, '/') : NULL;
	snprintf(s->city, sizeof(s->city), "%.*s", (int)(slash ? slash - uri : (long)strlen(uri)),
		 uri);
	if (!s->issuer)
		s->issuer = s->city;
	if (!*s->issuer || strlen(s->issuer) > URI_MAX)
		return command_usage(desk, "--issuer: 1 to %d characters", URI_MAX);
	return 0;
}

static int seconds(const struct desk *desk, const char *what, const char *text, char ret[static 24])
{
	uint64_t value;
	int r = command_duration(desk, what, text, &value);

	if (r == 0 && value < 4)
		r = command_usage(desk, "%s: too short", what);
	if (r == 0)
		snprintf(ret, 24, "%" PRIu64, value);
	return r;
}

static int check(const struct desk *desk, struct settings *s)
{
	char *end;

	if (s->root_topic && !topic_fits(s->root_topic))
		return command_usage(desk, "--root-topic %s: no wildcards, blanks or outer slashes",
				     s->root_topic);
	if (s->entries) {
		unsigned long n = strtoul(s->entries, &end, 10);

		if (*end || n < ENTRIES_MIN || n > LIST_BYTES_MAX * 8UL / LIST_BITS || n % 4 != 0)
			return command_usage(desk, "--entries %s: a multiple of 4 from %d to %lu",
					     s->entries, ENTRIES_MIN,
					     LIST_BYTES_MAX * 8UL / LIST_BITS);
	}
	if (s->list_lifetime) {
		int r = seconds(desk, "--list-lifetime", s->list_lifetime, s->lifetime);

		if (r != 0)
			return r;
	}
	if (s->keep_events) {
		int r = seconds(desk, "--keep-events", s->keep_events, s->keep);

		if (r != 0)
			return r;
	}
	if (s->certificate_lifetime)
		return seconds(desk, "--certificate-lifetime", s->certificate_lifetime,
			       s->certificate);
	return 0;
}

static int save(struct db *db, struct settings *s)
{
	const struct {
		const char *name, *value;
	} pairs[] = {
		{"root-topic", s->root_topic},
		{"issuer", s->issuer},
		{"list-uri", s->list_uri[0] ? s->list_uri : NULL},
		{"entries", s->entries},
		{"list-lifetime", s->lifetime[0] ? s->lifetime : NULL},
		{"keep-events", s->keep[0] ? s->keep : NULL},
		{"certificate-lifetime", s->certificate[0] ? s->certificate : NULL},
	};
	int r = s->brokers.n ? brokers_save(db, &s->brokers) : 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(pairs); i++)
		if (pairs[i].value)
			r = setting_put(db, pairs[i].name, pairs[i].value);
	return r;
}

/* --- init ------------------------------------------------------------------------------------- */

static int fill(const struct desk *desk, struct settings *s, char error[KEYRING_ERROR_CAP])
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	uint64_t now = desk_now();
	struct signer signer;
	struct policy policy;
	int r = db_begin(desk->db, &tx);

	if (r == 0)
		r = save(desk->db, s);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(keyring_roles); i++) {
		r = keyring_renew(desk, keyring_roles[i], now, &signer);
		signer_wipe(&signer);
	}
	if (r == 0)
		r = sign_keys(desk, now, error);
	policy_default(&policy);
	if (r == 0)
		r = sign_policy(desk, &policy, now, error);
	if (r == 0)
		r = sign_list(desk, now, true, error);
	if (r >= 0)
		r = desk_log(desk, (struct act){.time = now, .act = "init"});
	if (r == 0)
		r = db_commit(&tx);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(keyring_roles); i++)
		r = keyring_settle(desk, keyring_roles[i]);
	return r;
}

/* It is made on first use, too; now is when somebody looks. */
static int make_authority(const struct desk *desk, char error[AUTHORITY_ERROR_CAP])
{
	cleanup(authority_deinit) struct authority authority = {0};

	return authority_load(desk, desk_now(), &authority, error);
}

static int answer_init(const struct desk *desk)
{
	char kid[HEX_CAP(DIGEST_LEN)] = "";
	struct key root;

	if (keyring_public(desk->db, ROLE_ROOT, &root) == 0)
		hex_encode(SPAN(root.kid), kid, sizeof(kid));
	show_answer(desk, json_pack("{s:s, s:s}", "dir", desk->dir, "root", kid),
		    "The desk is in %s. Gateways need %s/keys/root.pub (kid %s).", desk->dir,
		    desk->dir, kid);
	return DESK_DONE;
}

/* Half a registry is none: the next init starts afresh. */
static void undo(struct desk *desk)
{
	static const char *const files[] = {"desk.db", "desk.db-wal", "desk.db-shm"};

	db_close(steal(desk->db));
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		cleanup(freep) char *path = NULL;

		if (asprintf(&path, "%s/%s", desk->dir, files[i]) < 0)
			path = NULL;
		if (path)
			unlink(path);
	}
}

int command_init(struct desk *desk, int argc, char **argv)
{
	struct settings s = {.root_topic = "lockbridge"};
	char error[512] = "";
	int r = parse(desk, argc, argv, &s);

	if (r == 0)
		r = check(desk, &s);
	if (r == 0)
		r = derive_uris(desk, &s);
	if (r == 0 && s.brokers.n == 0)
		r = command_usage(desk, "--broker HOST:PORT is needed");
	if (r != 0)
		return r;
	if (mkdir(desk->dir, 0700) < 0 && errno != EEXIST)
		r = -errno;
	if (r == 0)
		r = registry_create(desk->dir, error, sizeof(error), &desk->db);
	if (r == 0)
		r = keyring_create(desk->dir);
	if (r == 0)
		r = fill(desk, &s, error);
	if (r == 0)
		r = make_authority(desk, error);
	if (r == 0)
		return answer_init(desk);
	r = desk_fail(desk, DESK_REFUSED, "%s: %s", desk->dir,
		      error[0]	 ? error
		      : desk->db ? db_error(desk->db)
				 : strerror(-r));
	if (desk->db)
		undo(desk);
	return r;
}

/* --- config ----------------------------------------------------------------------------------- */

/* To the new brokers, too, once 'broker files' has made it. */
static int show_own_certificate(const struct desk *desk)
{
	char folder[SETTING_CAP];
	int r = setting_get(desk->db, "broker-files", folder, sizeof(folder));

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = broker_identity_use(desk, NULL);
	return r < 0 ? r : 0;
}

int command_config_set(struct desk *desk, int argc, char **argv)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	struct settings s = {0};
	int r = parse(desk, argc, argv, &s);

	if (r == 0 && (s.uri || s.entries || s.issuer))
		r = command_usage(desk, "issuer, uri and entries are set once, by init: locks and "
					"authorizations name them");
	if (r == 0)
		r = check(desk, &s);
	if (r != 0)
		return r;
	r = db_begin(desk->db, &tx);
	if (r == 0)
		r = save(desk->db, &s);
	if (r == 0 && s.brokers.n)
		r = show_own_certificate(desk);
	if (r == 0)
		r = desk_log(desk, (struct act){.act = "config.set"});
	if (r == 0)
		r = db_commit(&tx);
	if (r < 0)
		return desk_fail_errno(desk, r, "config set");
	return command_config_show(desk, 0, NULL);
}

int command_config_show(struct desk *desk, int argc, char **argv)
{
	static const struct show_column columns[] = {{"name", "SETTING"}, {"value", "VALUE"}, {0}};
	cleanup(db_end) struct db_query q =
		db_query(desk->db, "SELECT name, value FROM setting"
				   " WHERE name NOT IN ('authority', 'crl') ORDER BY name");
	json_t *rows = json_array();
	int r;

	while ((r = db_step(&q)) > 0)
		json_array_append_new(rows, json_pack("{s:s, s:s}", "name", db_text(&q, 0), "value",
						      db_text(&q, 1)));
	if (r < 0) {
		json_decref(rows);
		return desk_fail_errno(desk, r, "config show");
	}
	show_rows(desk, columns, rows, "nothing is set");
	return DESK_DONE;
}
