// SPDX-License-Identifier: Apache-2.0
/*
 * The enrolment file. See message-enrolment.h. The checksum is looked at before anything else is
 * believed, so that a damaged file is called damaged, whatever the damage hit.
 */
#include "message-enrolment.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "message-json.h"

#define MARK	"lockbridge-enrolment"
#define VERSION 1
#define ANEW	"get the file from the city's desk anew (lockbridge-desk gateway add)"

#define CHECKSUM_CAP HEX_CAP(SHA256_LEN)

/* --- writing --- */

static int checksum(json_t *object, char ret[static CHECKSUM_CAP])
{
	cleanup(freep) char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
	uint8_t sum[SHA256_LEN];

	if (!text)
		return -ENOMEM;
	crypto_sha256(span_str(text), sum);
	hex_encode(SPAN(sum), ret, CHECKSUM_CAP);
	return 0;
}

/* As it is: put_text() would replace the line breaks. */
static void put_pem(struct json_out *out, const char *key, const char *pem)
{
	put_json(out, key, pem ? json_string(pem) : NULL);
}

static void put_list(struct json_out *out, const char *key, size_t n,
		     struct json_out (*one)(const struct enrolment *, size_t),
		     const struct enrolment *enrolment)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		cleanup(json_outp) struct json_out entry = one(enrolment, i);

		if (entry.failed || json_array_append_new(list, steal(entry.object)) < 0)
			out->failed = true;
	}
	put_json(out, key, list);
}

static struct json_out broker_out(const struct enrolment *enrolment, size_t i)
{
	struct json_out out = json_out_begin();

	put_text(&out, "host", enrolment->brokers[i].host);
	put_int(&out, "port", enrolment->brokers[i].port);
	return out;
}

static struct json_out lock_out(const struct enrolment *enrolment, size_t i)
{
	struct json_out out = json_out_begin();

	put_text(&out, "id", enrolment->locks[i].id);
	put_base64(&out, "key", SPAN(enrolment->locks[i].key));
	return out;
}

char *enrolment_encode(const struct enrolment *enrolment)
{
	cleanup(json_outp) struct json_out out = json_out_begin();
	cleanup(freep) char *text = NULL;
	char sum[CHECKSUM_CAP], *line;

	put_int(&out, MARK, VERSION);
	put_text(&out, "gateway", enrolment->gateway);
	put_uint(&out, "issued", enrolment->issued);
	put_text(&out, "root_topic", enrolment->root_topic);
	put_pem(&out, "root_key", enrolment->root_key);
	put_pem(&out, "broker_ca", enrolment->broker_ca);
	put_pem(&out, "certificate", enrolment->certificate);
	put_list(&out, "brokers", enrolment->nbrokers, broker_out, enrolment);
	put_list(&out, "locks", enrolment->nlocks, lock_out, enrolment);
	if (out.failed || checksum(out.object, sum) < 0)
		return NULL;
	put_text(&out, "checksum", sum);
	text = out.failed ? NULL : json_dumps(out.object, JSON_INDENT(1));
	if (!text || asprintf(&line, "%s\n", text) < 0)
		return NULL;
	return line;
}

/* --- reading --- */

/* Names the first member that was not as it should be. */
struct reading {
	struct json_in in;
	char group[40]; /* "locks[63]." */
	char wrong[80]; /* "": all is well so far */
};

static void seen(struct reading *reading, const char *key)
{
	if (reading->in.failed && !reading->wrong[0])
		snprintf(reading->wrong, sizeof(reading->wrong), "%s%s", reading->group, key);
}

static void read_text(struct reading *reading, const char *key, char *ret, size_t cap)
{
	get_text(&reading->in, key, ret, cap);
	if (!ret[0])
		reading->in.failed = true;
	seen(reading, key);
}

static void read_id(struct reading *reading, const char *key, char ret[static ID_MAX + 1])
{
	get_id(&reading->in, key, ret);
	seen(reading, key);
}

/* A host is written into a configuration and shown on terminals. */
static void read_host(struct reading *reading, char *ret, size_t cap)
{
	read_text(reading, "host", ret, cap);
	for (const char *c = ret; *c; c++) {
		if (*c <= ' ' || *c > '~' || *c == '"' || *c == '\\')
			reading->in.failed = true;
	}
	seen(reading, "host");
}

static char *read_pem(struct reading *reading, const char *key)
{
	struct span text = get_string(&reading->in, key);
	char *copy = NULL;

	for (size_t i = 0; i < text.len; i++) {
		char c = (char)text.data[i];

		if ((c < ' ' && c != '\n' && c != '\r') || c > '~')
			reading->in.failed = true;
	}
	if (text.len == 0)
		reading->in.failed = true;
	seen(reading, key);
	if (!reading->in.failed)
		copy = strndup((const char *)text.data, text.len);
	return copy; /* NULL although all is well so far: out of memory */
}

/* reading->in goes over to entry i of list, and back afterwards. */
static void read_entry(struct reading *reading, const char *name, const json_t *list, size_t i,
		       void (*one)(struct reading *, struct enrolment *, size_t),
		       struct enrolment *ret)
{
	struct json_in outer = reading->in;

	snprintf(reading->group, sizeof(reading->group), "%s[%zu].", name, i);
	reading->in = json_in_of(json_array_get(list, i));
	one(reading, ret, i);
	outer.failed = outer.failed || reading->in.failed;
	reading->in = outer;
	reading->group[0] = '\0';
}

static size_t read_list(struct reading *reading, const char *name, size_t min, size_t max,
			void (*one)(struct reading *, struct enrolment *, size_t),
			struct enrolment *ret)
{
	const json_t *list = get_array(&reading->in, name, max);
	size_t n = json_array_size(list);

	if (n < min)
		reading->in.failed = true;
	seen(reading, name);
	for (size_t i = 0; i < n; i++)
		read_entry(reading, name, list, i, one, ret);
	return n;
}

static void broker_in(struct reading *reading, struct enrolment *ret, size_t i)
{
	int64_t port;

	read_host(reading, ret->brokers[i].host, sizeof(ret->brokers[i].host));
	port = get_int(&reading->in, "port");
	if (port < 1 || port > 65535)
		reading->in.failed = true;
	ret->brokers[i].port = reading->in.failed ? 0 : (int)port;
	seen(reading, "port");
}

static void lock_in(struct reading *reading, struct enrolment *ret, size_t i)
{
	read_id(reading, "id", ret->locks[i].id);
	get_base64(&reading->in, "key", ret->locks[i].key, PUBLIC_LEN);
	seen(reading, "key");
}

static int read_members(struct reading *reading, struct enrolment *ret)
{
	read_id(reading, "gateway", ret->gateway);
	ret->issued = get_uint(&reading->in, "issued");
	seen(reading, "issued");
	read_text(reading, "root_topic", ret->root_topic, sizeof(ret->root_topic));
	ret->root_key = read_pem(reading, "root_key");
	ret->broker_ca = read_pem(reading, "broker_ca");
	ret->certificate = read_pem(reading, "certificate");
	ret->nbrokers = read_list(reading, "brokers", 1, CONFIG_BROKERS, broker_in, ret);
	ret->nlocks = read_list(reading, "locks", 0, CONFIG_LOCKS, lock_in, ret);
	if (reading->in.failed)
		return -EINVAL;
	return ret->root_key && ret->broker_ca && ret->certificate ? 0 : -ENOMEM;
}

static bool has_mark(struct span text)
{
	return memmem(text.data, text.len, "\"" MARK "\"", strlen("\"" MARK "\"")) != NULL;
}

/* 0, or -errno with words. */
static int read_object(struct span text, json_t **ret, char *error, size_t cap)
{
	json_error_t where;
	json_t *root = NULL;

	if (text.len <= ENROLMENT_MAX)
		root = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES,
				  &where);
	*ret = root;
	if (json_is_object(root) && json_object_get(root, MARK))
		return 0;
	if (text.len <= ENROLMENT_MAX && !root &&
	    json_error_code(&where) == json_error_out_of_memory) {
		snprintf(error, cap, "out of memory");
		return -ENOMEM;
	}
	if (text.len <= ENROLMENT_MAX && !root && has_mark(text)) {
		snprintf(error, cap, "the file is damaged in line %d, or cut off; " ANEW,
			 where.line);
		return -EBADMSG;
	}
	snprintf(error, cap, "this is no enrolment file; name the one that the city's desk wrote");
	return -EINVAL;
}

static int check_version(json_t *object, char *error, size_t cap)
{
	const json_t *version = json_object_get(object, MARK);

	if (json_is_integer(version) && json_integer_value(version) == VERSION)
		return 0;
	if (json_is_integer(version) && json_integer_value(version) > VERSION) {
		snprintf(error, cap,
			 "the enrolment file is of version %lld, this lockbridge knows %d; install "
			 "the newer lockbridge on this box",
			 (long long)json_integer_value(version), VERSION);
		return -EOPNOTSUPP;
	}
	snprintf(error, cap, "this is no enrolment file: " MARK " is no version; " ANEW);
	return -EINVAL;
}

static int check_sum(json_t *object, char *error, size_t cap)
{
	char said[CHECKSUM_CAP], is[CHECKSUM_CAP];
	struct json_in in = json_in_of(object);

	get_hex_text(&in, "checksum", said, sizeof(said));
	json_object_del(object, "checksum");
	if (checksum(object, is) < 0) {
		snprintf(error, cap, "out of memory");
		return -ENOMEM;
	}
	if (!in.failed && strcmp(said, is) == 0)
		return 0;
	snprintf(error, cap, "the file is damaged: its checksum does not fit; " ANEW);
	return -EBADMSG;
}

int enrolment_parse(struct span text, struct enrolment *ret, char *error, size_t error_cap)
{
	cleanup(json_rootp) json_t *root = NULL;
	cleanup(enrolment_deinit) struct enrolment enrolment = {0};
	struct reading reading = {0};
	int r = read_object(text, &root, error, error_cap);

	if (r == 0)
		r = check_version(root, error, error_cap);
	if (r == 0)
		r = check_sum(root, error, error_cap);
	if (r < 0)
		return r;
	reading.in = json_in_of(root);
	r = read_members(&reading, &enrolment);
	if (r == -ENOMEM)
		snprintf(error, error_cap, "out of memory");
	else if (r < 0)
		snprintf(error, error_cap,
			 "%s is missing, or not what it should be; " ANEW
			 ", and tell the city's desk if that does not help",
			 reading.wrong);
	if (r < 0)
		return r;
	*ret = enrolment;
	memset(&enrolment, 0, sizeof(enrolment));
	return 0;
}

void enrolment_deinit(struct enrolment *enrolment)
{
	free(enrolment->root_key);
	free(enrolment->broker_ca);
	free(enrolment->certificate);
	enrolment->root_key = enrolment->broker_ca = enrolment->certificate = NULL;
}
