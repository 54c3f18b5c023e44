// SPDX-License-Identifier: Apache-2.0
/*
 * lockbridge.conf. The settings stand in tables: name, type, place, bounds; one reader for all of
 * them. libconfig keeps the line of each setting, which is where an error points.
 */
#include "link/config.h"

#include <errno.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/crypto.h"
#include "link/config-file.h"
#include "link/config-text.h"

enum kind {
	KIND_TEXT,
	KIND_ID,
	KIND_TOPIC,
	KIND_PATH,
	KIND_SECRET, /* a path, or the name of a credential */
	KIND_ADDRESS,
	KIND_KEY,
	KIND_DRIVER,
	KIND_LEVEL,
	KIND_BOOL,
	KIND_INT,  /* int */
	KIND_WIDE, /* uint64_t */
};

/* A text that fits into its array, checked when compiled. */
#define set(array, literal)                                                                        \
	do {                                                                                       \
		_Static_assert(sizeof(literal) <= sizeof(array), "too long");                      \
		memcpy(array, literal, sizeof(literal));                                           \
	} while (0)

struct field {
	const char *name;
	size_t at, size; /* in its struct */
	int64_t min, max;
	enum kind kind;
	bool required;
};

#define FIELD(type, member, kind_, ...)                                                            \
	{                                                                                          \
		.name = #member, .kind = kind_, .at = offsetof(struct type, member),               \
		.size = sizeof(((struct type *)0)->member), __VA_ARGS__                            \
	}

static const struct field top[] = {
	FIELD(config, gateway, KIND_ID, .required = true),
	FIELD(config, root_topic, KIND_TOPIC),
	FIELD(config, root_key_file, KIND_PATH, .required = true),
	FIELD(config, state_dir, KIND_PATH),
	FIELD(config, enrolled, KIND_WIDE, .min = 0, .max = 253402300799),
	FIELD(config, adapter, KIND_TEXT),
	FIELD(config, stop_scan_to_connect, KIND_BOOL),
	FIELD(config, links_max, KIND_INT, .min = 1, .max = 8),
	FIELD(config, silent_s, KIND_INT, .min = 1, .max = 86400),
	FIELD(config, event_keep_s, KIND_WIDE, .min = 60, .max = 366 * 86400),
	FIELD(config, event_bytes_max, KIND_WIDE, .min = 64 * 1024, .max = INT64_C(1) << 40),
	FIELD(config, health_s, KIND_INT, .min = 1, .max = 86400),
	FIELD(config, linger_s, KIND_INT, .min = 0, .max = 25),
	FIELD(config, backoff_min_ms, KIND_INT, .min = 10, .max = 3600000),
	FIELD(config, backoff_max_ms, KIND_INT, .min = 10, .max = 3600000),
	FIELD(config, preferred_retry_s, KIND_INT, .min = 1, .max = 86400),
	FIELD(config, log_level, KIND_LEVEL),
};

static const struct field broker_fields[] = {
	FIELD(config_broker, host, KIND_TEXT, .required = true),
	FIELD(config_broker, port, KIND_INT, .min = 1, .max = 65535),
	FIELD(config_broker, ca, KIND_PATH),
	FIELD(config_broker, certificate, KIND_PATH),
	FIELD(config_broker, key, KIND_SECRET),
	FIELD(config_broker, username, KIND_TEXT),
	FIELD(config_broker, password_file, KIND_SECRET),
};

static const struct field lock_fields[] = {
	FIELD(config_lock, id, KIND_ID, .required = true),
	FIELD(config_lock, key, KIND_KEY, .required = true),
	FIELD(config_lock, address, KIND_ADDRESS),
	FIELD(config_lock, driver, KIND_DRIVER),
};

/* Where we are, for errors. */
struct place {
	const char *file;
	char *error;
	size_t cap;
	char group[32]; /* "locks[2]." */
};

static int complain(const struct place *at, const config_setting_t *setting, const char *name,
		    const char *format, ...) __attribute__((format(printf, 4, 5)));

static int complain(const struct place *at, const config_setting_t *setting, const char *name,
		    const char *format, ...)
{
	unsigned line = setting ? config_setting_source_line(setting) : 0;
	char what[512];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	if (line)
		snprintf(at->error, at->cap, "%s:%u: %s%s: %s", at->file, line, at->group, name,
			 what);
	else
		snprintf(at->error, at->cap, "%s: %s%s: %s", at->file, at->group, name, what);
	return -EINVAL;
}

static bool topic_ok(struct span text)
{
	if (text.len == 0 || text.data[0] == '/' || text.data[text.len - 1] == '/')
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char c = (char)text.data[i];

		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./",
			    c))
			return false;
	}
	return true;
}

/* A path, or a name as systemd takes it for a credential; "." and ".." are none. */
static bool secret_ok(struct span text)
{
	if (text.len == 0 || text.data[0] == '/')
		return true;
	for (size_t i = 0; i < text.len; i++) {
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.",
			    (char)text.data[i]))
			return false;
	}
	return text.data[0] != '.';
}

static bool address_ok(struct span text)
{
	if (text.len == 0)
		return true;
	if (text.len != 17)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (i % 3 == 2 ? text.data[i] != ':' : !strchr("0123456789ABCDEF", text.data[i]))
			return false;
	}
	return true;
}

static bool level_ok(struct span text)
{
	return span_is(text, "error") || span_is(text, "warning") || span_is(text, "notice") ||
	       span_is(text, "info") || span_is(text, "debug");
}

/* NULL: good; else what is wrong, and what to do. */
static const char *text_wrong(const struct field *field, struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < 0x20 || text.data[i] == 0x7f)
			return "has a control character in it; type it again";
	}
	if (field->required && text.len == 0)
		return "is empty; fill it in";
	switch (field->kind) {
	case KIND_ID:
		return id_valid(text) ? NULL
				      : "is no id; use 1 to 32 of the characters a-z, 0-9 and -";
	case KIND_TOPIC:
		return topic_ok(text)
			       ? NULL
			       : "is no root topic; use letters, digits and - _ . with / only "
				 "between them, as in \"lockbridge\"";
	case KIND_PATH:
		return text.len == 0 || text.data[0] == '/'
			       ? NULL
			       : "is no absolute path; begin it with /";
	case KIND_SECRET:
		return secret_ok(text)
			       ? NULL
			       : "is neither an absolute path nor the name of a credential; "
				 "begin it with /, or use letters, digits and - _ . only";
	case KIND_ADDRESS:
		return address_ok(text) ? NULL
					: "is no Bluetooth address; write it as "
					  "\"AA:BB:CC:DD:EE:FF\", or leave the setting out";
	case KIND_DRIVER:
		return span_is(text, "open") ? NULL
					     : "is no driver that this version has; use \"open\"";
	case KIND_LEVEL:
		return level_ok(text) ? NULL
				      : "is no level; use error, warning, notice, info or debug";
	case KIND_TEXT:
	case KIND_KEY:
	case KIND_BOOL:
	case KIND_INT:
	case KIND_WIDE:
		break;
	}
	return NULL;
}

static int read_text(const struct place *at, const struct field *field,
		     const config_setting_t *setting, char *ret)
{
	const char *text = config_setting_get_string(setting);
	const char *wrong;

	if (!text)
		return complain(at, setting, field->name,
				"is not a text; put it in quotation marks");
	if (field->kind == KIND_KEY) {
		if (base64_decode(span_str(text), (uint8_t *)ret, field->size) == (int)field->size)
			return 0;
		return complain(at, setting, field->name,
				"is no public key; copy the %d characters of base64 that are "
				"printed on the lock (32 bytes)",
				BASE64_CAP(PUBLIC_LEN) - 1);
	}
	wrong = text_wrong(field, span_str(text));
	if (wrong)
		return complain(at, setting, field->name, "%s", wrong);
	if (strlen(text) >= field->size)
		return complain(at, setting, field->name,
				"is %zu characters long; %zu is the most: use a shorter one",
				strlen(text), field->size - 1);
	memset(ret, 0, field->size);
	memcpy(ret, text, strlen(text) + 1);
	return 0;
}

static int read_number(const struct place *at, const struct field *field,
		       const config_setting_t *setting, void *ret)
{
	int type = config_setting_type(setting);
	long long value;

	if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
		return complain(at, setting, field->name,
				"is not a whole number; write it without quotation marks and "
				"without a decimal point");
	value = type == CONFIG_TYPE_INT ? config_setting_get_int(setting)
					: config_setting_get_int64(setting);
	if (value < field->min || value > field->max)
		return complain(at, setting, field->name,
				"is %lld; choose a number from %lld to %lld", value,
				(long long)field->min, (long long)field->max);
	if (field->kind == KIND_INT)
		*(int *)ret = (int)value;
	else
		*(uint64_t *)ret = (uint64_t)value;
	return 0;
}

static int read_field(const struct place *at, const struct field *field,
		      const config_setting_t *setting, void *ret)
{
	switch (field->kind) {
	case KIND_BOOL:
		if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
			return complain(at, setting, field->name,
					"is neither true nor false; write one of them, without "
					"quotation marks");
		*(bool *)ret = config_setting_get_bool(setting) == CONFIG_TRUE;
		return 0;
	case KIND_INT:
	case KIND_WIDE:
		return read_number(at, field, setting, ret);
	case KIND_TEXT:
	case KIND_ID:
	case KIND_TOPIC:
	case KIND_PATH:
	case KIND_SECRET:
	case KIND_ADDRESS:
	case KIND_KEY:
	case KIND_DRIVER:
	case KIND_LEVEL:
		return read_text(at, field, setting, ret);
	}
	return -EINVAL;
}

/* One group into a struct. also: names that are not in the table but known, ends with NULL. */
static int read_group(const struct place *at, const config_setting_t *group,
		      const struct field *fields, size_t n, const char *const *also, void *ret)
{
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
		const char *name = config_setting_name(setting);
		bool known = false;

		for (size_t k = 0; also[k]; k++)
			known = known || strcmp(name, also[k]) == 0;
		for (size_t k = 0; k < n && !known; k++) {
			int r;

			if (strcmp(name, fields[k].name) != 0)
				continue;
			r = read_field(at, &fields[k], setting, (char *)ret + fields[k].at);
			if (r < 0)
				return r;
			known = true;
		}
		if (!known)
			return complain(at, setting, name,
					"is no setting; correct the spelling, or take the line "
					"out (lockbridge.conf.example has them all)");
	}
	for (size_t k = 0; k < n; k++) {
		if (fields[k].required && !config_setting_get_member(group, fields[k].name))
			return complain(at, config_setting_is_root(group) ? NULL : group,
					fields[k].name, "is missing; add it");
	}
	return 0;
}

static const char *const no_others[] = {NULL};

static int finish_broker(const struct place *at, const config_setting_t *group,
			 struct config_broker *broker)
{
	bool certificate = broker->certificate[0], key = broker->key[0];

	if (certificate != key)
		return complain(at, group, certificate ? "key" : "certificate",
				"is missing; certificate and key go together");
	if (certificate && !broker->ca[0])
		return complain(at, group, "ca",
				"is missing; a certificate is only used with TLS, which needs ca");
	if (broker->password_file[0] && !broker->username[0])
		return complain(at, group, "username", "is missing; a password needs one");
	if (broker->port == 0)
		broker->port = broker->ca[0] ? 8883 : 1883;
	return 0;
}

static int check_lock(const struct place *at, const config_setting_t *group,
		      const struct config *config, const struct config_lock *lock)
{
	for (size_t i = 0; i < config->nlocks; i++) {
		if (strcmp(config->locks[i].id, lock->id) == 0)
			return complain(at, group, "id",
					"\"%s\" is the id of locks[%zu] as well; each lock has its "
					"own",
					lock->id, i);
		if (memcmp(config->locks[i].key, lock->key, PUBLIC_LEN) == 0)
			return complain(at, group, "key",
					"is the key of locks[%zu] (\"%s\") as well; each lock has "
					"its own",
					i, config->locks[i].id);
	}
	return 0;
}

/* NULL and *ret 0 when it is not there. Else it is a list of groups, or an error. */
static int list_of(const struct place *at, const config_setting_t *root, const char *name,
		   size_t max, config_setting_t **ret)
{
	config_setting_t *list = config_setting_get_member(root, name);

	*ret = list;
	if (!list)
		return 0;
	if (config_setting_type(list) != CONFIG_TYPE_LIST)
		return complain(at, list, name,
				"is not a list of groups; write %s = ( { ... }, { ... } );", name);
	if ((size_t)config_setting_length(list) > max)
		return complain(at, list, name, "are %d; %zu is the most: take some out",
				config_setting_length(list), max);
	for (int i = 0; i < config_setting_length(list); i++) {
		const config_setting_t *group = config_setting_get_elem(list, (unsigned)i);

		if (config_setting_type(group) != CONFIG_TYPE_GROUP)
			return complain(at, group, name,
					"has an entry that is no group; write { ... } around it");
	}
	return 0;
}

static int read_brokers(struct place *at, const config_setting_t *root, struct config *ret)
{
	config_setting_t *list;
	int r = list_of(at, root, "brokers", CONFIG_BROKERS, &list);

	if (r < 0)
		return r;
	if (!list || config_setting_length(list) == 0)
		return complain(at, list, "brokers", "%s; write brokers = ( { host = \"...\"; } );",
				list ? "names none" : "is missing");
	for (int i = 0; i < config_setting_length(list); i++) {
		const config_setting_t *group = config_setting_get_elem(list, (unsigned)i);
		struct config_broker *broker = &ret->brokers[ret->nbrokers];

		snprintf(at->group, sizeof(at->group), "brokers[%d].", i);
		r = read_group(at, group, broker_fields, ARRAY_SIZE(broker_fields), no_others,
			       broker);
		if (r == 0)
			r = finish_broker(at, group, broker);
		if (r < 0)
			return r;
		ret->nbrokers++;
	}
	at->group[0] = '\0';
	return 0;
}

static int read_locks(struct place *at, const config_setting_t *root, struct config *ret)
{
	config_setting_t *list;
	int r = list_of(at, root, "locks", CONFIG_LOCKS, &list);

	if (r < 0 || !list)
		return r;
	for (int i = 0; i < config_setting_length(list); i++) {
		const config_setting_t *group = config_setting_get_elem(list, (unsigned)i);
		struct config_lock *lock = &ret->locks[ret->nlocks];

		set(lock->driver, "open");
		snprintf(at->group, sizeof(at->group), "locks[%d].", i);
		r = read_group(at, group, lock_fields, ARRAY_SIZE(lock_fields), no_others, lock);
		if (r == 0)
			r = check_lock(at, group, ret, lock);
		if (r < 0)
			return r;
		ret->nlocks++;
	}
	at->group[0] = '\0';
	return 0;
}

void config_defaults(struct config *c)
{
	memset(c, 0, sizeof(*c));
	set(c->root_topic, "lockbridge");
	set(c->state_dir, "/var/lib/lockbridge");
	c->stop_scan_to_connect = true;
	c->links_max = 2;
	c->silent_s = 90;
	c->event_keep_s = 14 * 86400;
	c->event_bytes_max = 64 * 1024 * 1024;
	c->health_s = 60;
	c->linger_s = 2;
	c->backoff_min_ms = 1000;
	c->backoff_max_ms = 60000;
	c->preferred_retry_s = 900;
	set(c->log_level, "info");
}

static int read_all(struct place *at, const config_setting_t *root, struct config *ret)
{
	static const char *const lists[] = {"brokers", "locks", NULL};
	int r;

	config_defaults(ret);
	r = read_group(at, root, top, ARRAY_SIZE(top), lists, ret);
	if (r == 0)
		r = read_brokers(at, root, ret);
	if (r == 0)
		r = read_locks(at, root, ret);
	if (r == 0 && ret->backoff_max_ms < ret->backoff_min_ms)
		return complain(at, config_setting_get_member(root, "backoff_max_ms"),
				"backoff_max_ms", "is %d, less than backoff_min_ms (%d); raise it",
				ret->backoff_max_ms, ret->backoff_min_ms);
	return r;
}

static int check_path(const struct place *at, const config_setting_t *group, const char *name,
		      const char *path)
{
	char wrong[CONFIG_WRONG_CAP];

	if (!path[0] || config_file_check(path, wrong) == 0)
		return 0;
	return complain(at, config_setting_get_member(group, name), name, "%s", wrong);
}

/* path: the setting, which becomes a path if it was the name of a credential. */
static int check_secret(const struct place *at, const config_setting_t *group, const char *name,
			char path[static 256])
{
	char wrong[CONFIG_WRONG_CAP], credential[256] = "";

	if (!path[0] || path[0] == '/')
		return check_path(at, group, name, path);
	if (config_credential(at->file, path, credential) < 0)
		return complain(at, config_setting_get_member(group, name), name,
				"is too long behind its folder; use a shorter name");
	if (config_file_check_credential(path, credential, wrong) < 0)
		return complain(at, config_setting_get_member(group, name), name, "%s", wrong);
	memcpy(path, credential, sizeof(credential));
	return 0;
}

/* The files that settings name: read now, so that a missing one is told before it is needed. */
static int read_files(struct place *at, const config_setting_t *root, struct config *config)
{
	const config_setting_t *brokers = config_setting_get_member(root, "brokers");
	char wrong[CONFIG_WRONG_CAP];
	int r = config_file_public_key(config->root_key_file, config->root_key, wrong);

	if (r < 0)
		return complain(at, config_setting_get_member(root, "root_key_file"),
				"root_key_file", "%s", wrong);
	for (size_t i = 0; i < config->nbrokers; i++) {
		const config_setting_t *group = config_setting_get_elem(brokers, (unsigned)i);
		struct config_broker *broker = &config->brokers[i];

		snprintf(at->group, sizeof(at->group), "brokers[%zu].", i);
		r = check_path(at, group, "ca", broker->ca);
		if (r == 0)
			r = check_path(at, group, "certificate", broker->certificate);
		if (r == 0)
			r = check_secret(at, group, "key", broker->key);
		if (r == 0)
			r = check_secret(at, group, "password_file", broker->password_file);
		if (r < 0)
			return r;
	}
	at->group[0] = '\0';
	return 0;
}

static int parse(const char *name, struct span text, bool files, struct config *ret, char *error,
		 size_t error_cap)
{
	struct place at = {.file = name, .error = error, .cap = error_cap};
	cleanup(config_destroy) config_t parsed;
	cleanup(freep) struct config *config = malloc(sizeof(*config));
	cleanup(freep) char *copy = NULL;
	const char *wrong;
	unsigned line;
	int r = config ? config_text_prepare(text, &copy, &line, &wrong) : -ENOMEM;

	config_init(&parsed);
	if (r == -ENOMEM)
		snprintf(error, error_cap, "%s: out of memory", name);
	else if (r < 0)
		snprintf(error, error_cap, "%s:%u: %s", name, line, wrong);
	if (r < 0)
		return r;
	if (config_read_string(&parsed, copy) != CONFIG_TRUE) {
		snprintf(error, error_cap,
			 "%s:%d: %s; look for a missing ; or \" or bracket on this line and the "
			 "one before",
			 name, config_error_line(&parsed), config_error_text(&parsed));
		return -EINVAL;
	}
	r = read_all(&at, config_root_setting(&parsed), config);
	if (r == 0 && files)
		r = read_files(&at, config_root_setting(&parsed), config);
	if (r == 0)
		memcpy(ret, config, sizeof(*ret)); /* not an assignment: padding compares equal */
	return r;
}

int config_parse(const char *name, struct span text, struct config *ret, char *error,
		 size_t error_cap)
{
	if (text.len > CONFIG_TEXT_MAX) {
		snprintf(error, error_cap, "%s: the file is larger than %d bytes; make it smaller",
			 name, CONFIG_TEXT_MAX);
		return -EINVAL;
	}
	return parse(name, text, false, ret, error, error_cap);
}

int config_load(const char *path, struct config *ret, char *error, size_t error_cap)
{
	cleanup(freep) char *text = NULL;
	char wrong[CONFIG_WRONG_CAP];
	size_t len;
	int r = config_file_read(path, CONFIG_TEXT_MAX, &text, &len, wrong);

	if (r < 0) {
		snprintf(error, error_cap, "%s: %s", path, wrong);
		return r;
	}
	return parse(path, span_of(text, len), true, ret, error, error_cap);
}
