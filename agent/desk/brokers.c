// SPDX-License-Identifier: Apache-2.0
/* The set of brokers. See brokers.h. */
#include "desk/brokers.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "desk/registry.h"

#define TLS_PORT 8883

/* Names as on the command line and in the setting; field() is the member of each. */
static const char *const fields[BROKER_FIELDS] = {"host",	   "ca",    "cert", "key", "user",
						  "password-file", "public"};

static const char **field(struct brokers *brokers, size_t i, size_t k)
{
	struct mqtt_broker *b = &brokers->list[i];
	const char **members[BROKER_FIELDS] = {&b->host,	   &b->ca_file, &b->cert_file,
					       &b->key_file,	   &b->user,	&b->password_file,
					       &brokers->public[i]};

	return members[k];
}

static int put(struct brokers *brokers, size_t i, size_t k, const char *value, size_t len)
{
	char *text = brokers->text[i][k];

	if (len >= BROKER_TEXT_CAP)
		return -ENAMETOOLONG;
	memcpy(text, value, len);
	text[len] = '\0';
	*field(brokers, i, k) = text;
	return 0;
}

/* HOST, HOST:PORT or [V6]:PORT. port 0: none stands there. */
static const char *parse_place(const char *text, struct brokers_place *ret)
{
	const char *end, *port = NULL;
	unsigned long value = 0;
	char *stop;

	if (*text == '[') {
		end = strchr(++text, ']');
		if (!end)
			return "a ']' is missing";
		port = end[1] == ':' ? end + 2 : NULL;
		if (!port && end[1])
			return "a port stands behind a ':'";
	} else {
		end = strrchr(text, ':');
		port = end ? end + 1 : NULL;
		if (!end)
			end = text + strlen(text);
	}
	if (port) {
		value = strtoul(port, &stop, 10);
		if (*stop || value < 1 || value > 65535)
			return "a port is a number from 1 to 65535";
	}
	if (end == text)
		return "the host is missing";
	if ((size_t)(end - text) >= sizeof(ret->host))
		return "the host is too long";
	memcpy(ret->host, text, (size_t)(end - text));
	ret->host[end - text] = '\0';
	ret->port = (uint16_t)value;
	return NULL;
}

const char *brokers_add(struct brokers *brokers, const char *text)
{
	struct brokers_place place;
	const char *complaint = parse_place(text, &place);

	if (brokers->n == MQTT_BROKERS_MAX)
		return "too many brokers";
	if (complaint)
		return complaint;
	put(brokers, brokers->n, 0, place.host, strlen(place.host));
	brokers->list[brokers->n++].port = place.port;
	return NULL;
}

struct brokers_place brokers_public(const struct brokers *brokers, size_t i)
{
	struct brokers_place place = {.port = brokers->list[i].port};

	if (!brokers->public[i] || parse_place(brokers->public[i], &place))
		snprintf(place.host, sizeof(place.host), "%s", brokers->list[i].host);
	if (!place.port)
		place.port = TLS_PORT;
	return place;
}

const char *brokers_set(struct brokers *brokers, size_t i, const char *name, const char *value)
{
	cleanup(freep) char *path = NULL;
	struct brokers_place place;
	const char *complaint;
	size_t k = 1;

	if (i >= brokers->n)
		return "it belongs to the --broker before it, and there is none";
	while (k < BROKER_FIELDS && strcmp(fields[k], name) != 0)
		k++;
	if (k == BROKER_FIELDS)
		return "no such property of a broker";
	if (!strcmp(name, "public")) {
		complaint = parse_place(value, &place);
		if (complaint)
			return complaint;
	} else if (strcmp(name, "user") != 0) {
		/* Whoever starts the program next stands in another folder. */
		path = realpath(value, NULL);
		if (!path)
			return strerror(errno);
		value = path;
	}
	return put(brokers, i, k, value, strlen(value)) < 0 ? "it is too long" : NULL;
}

int brokers_save(struct db *db, struct brokers *brokers)
{
	cleanup(freep) char *text = NULL;
	json_t *array = json_array();

	for (size_t i = 0; i < brokers->n; i++) {
		json_t *b = json_pack("{s:i}", "port", (int)brokers->list[i].port);

		for (size_t k = 0; k < BROKER_FIELDS; k++)
			if (*field(brokers, i, k))
				json_object_set_new(b, fields[k],
						    json_string(*field(brokers, i, k)));
		json_array_append_new(array, b);
	}
	text = json_dumps(array, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(array);
	return text ? setting_put(db, "brokers", text) : -ENOMEM;
}

static int load_one(const json_t *json, struct brokers *ret, size_t i)
{
	json_int_t port = json_integer_value(json_object_get(json, "port"));

	for (size_t k = 0; k < BROKER_FIELDS; k++) {
		const char *value = json_string_value(json_object_get(json, fields[k]));

		if (value && put(ret, i, k, value, strlen(value)) < 0)
			return -EBADMSG;
	}
	if (!ret->list[i].host || port < 0 || port > 65535)
		return -EBADMSG;
	ret->list[i].port = (uint16_t)port;
	return 0;
}

int brokers_load(struct db *db, struct brokers *ret)
{
	char text[SETTING_CAP];
	json_t *array, *item;
	size_t i;
	int r = setting_get(db, "brokers", text, sizeof(text));

	memset(ret, 0, sizeof(*ret));
	if (r < 0)
		return r;
	array = json_loads(text, 0, NULL);
	json_array_foreach(array, i, item)
	{
		if (i == MQTT_BROKERS_MAX)
			break;
		ret->n = i + 1;
		r = load_one(item, ret, i);
		if (r < 0)
			break;
	}
	json_decref(array);
	return r == 0 && ret->n == 0 ? -ENOENT : r;
}
