// SPDX-License-Identifier: Apache-2.0
/* The set of brokers. See brokers.h. */
#include "desk/brokers.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "desk/registry.h"

/* Names as on the command line and in the setting; field() is the member of each. */
static const char *const fields[BROKER_FIELDS] = {"host", "ca",	  "cert",
						  "key",  "user", "password-file"};

static const char **field(struct mqtt_broker *b, size_t k)
{
	const char **members[BROKER_FIELDS] = {&b->host,     &b->ca_file, &b->cert_file,
					       &b->key_file, &b->user,	  &b->password_file};

	return members[k];
}

static int put(struct brokers *brokers, size_t i, size_t k, const char *value, size_t len)
{
	char *text = brokers->text[i][k];

	if (len >= BROKER_TEXT_CAP)
		return -ENAMETOOLONG;
	memcpy(text, value, len);
	text[len] = '\0';
	*field(&brokers->list[i], k) = text;
	return 0;
}

const char *brokers_add(struct brokers *brokers, const char *text)
{
	const char *end, *port = NULL;
	unsigned long value = 0;
	char *stop;

	if (brokers->n == MQTT_BROKERS_MAX)
		return "too many brokers";
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
	if (put(brokers, brokers->n, 0, text, (size_t)(end - text)) < 0)
		return "the host is too long";
	brokers->list[brokers->n++].port = (uint16_t)value;
	return NULL;
}

const char *brokers_set(struct brokers *brokers, const char *name, const char *value)
{
	cleanup(freep) char *path = NULL;
	size_t k = 1;

	if (brokers->n == 0)
		return "it belongs to the --broker before it, and there is none";
	while (k < BROKER_FIELDS && strcmp(fields[k], name) != 0)
		k++;
	if (k == BROKER_FIELDS)
		return "no such property of a broker";
	/* Whoever starts the program next stands in another folder. */
	if (strcmp(name, "user") != 0) {
		path = realpath(value, NULL);
		if (!path)
			return strerror(errno);
		value = path;
	}
	return put(brokers, brokers->n - 1, k, value, strlen(value)) < 0 ? "it is too long" : NULL;
}

int brokers_save(struct db *db, struct brokers *brokers)
{
	cleanup(freep) char *text = NULL;
	json_t *array = json_array();

	for (size_t i = 0; i < brokers->n; i++) {
		json_t *b = json_pack("{s:i}", "port", (int)brokers->list[i].port);

		for (size_t k = 0; k < BROKER_FIELDS; k++)
			if (*field(&brokers->list[i], k))
				json_object_set_new(b, fields[k],
						    json_string(*field(&brokers->list[i], k)));
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
