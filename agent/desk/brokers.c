// SPDX-License-Identifier: Apache-2.0
/* The set of brokers. See brokers.h. */
#include "desk/brokers.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "desk/registry.h"

/* Names as on the command line and in the setting; field() is the member of each. */
static const char *const fields[] = {"ca", "cert", "key", "user", "password-file"};

static const char **field(struct mqtt_broker *b, size_t k)
{
	const char **members[ARRAY_SIZE(fields)] = {&b->ca_file, &b->cert_file, &b->key_file,
						    &b->user, &b->password_file};

	return members[k];
}

void brokers_deinit(struct brokers *brokers)
{
	for (size_t i = 0; i < brokers->n; i++) {
		free((char *)brokers->list[i].host);
		for (size_t k = 0; k < ARRAY_SIZE(fields); k++)
			free((char *)*field(&brokers->list[i], k));
	}
	brokers->n = 0;
}

const char *brokers_add(struct brokers *brokers, const char *text)
{
	const char *end, *port = NULL;
	struct mqtt_broker b = {0};
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
	b.port = (uint16_t)value;
	b.host = strndup(text, (size_t)(end - text));
	if (!b.host)
		return "out of memory";
	brokers->list[brokers->n++] = b;
	return NULL;
}

const char *brokers_set(struct brokers *brokers, const char *name, const char *value)
{
	struct mqtt_broker *last;
	size_t k = 0;
	char *copy;

	if (brokers->n == 0)
		return "it belongs to the --broker before it, and there is none";
	while (k < ARRAY_SIZE(fields) && strcmp(fields[k], name) != 0)
		k++;
	if (k == ARRAY_SIZE(fields))
		return "no such property of a broker";
	/* Whoever starts the program next stands in another folder. */
	copy = strcmp(name, "user") != 0 ? realpath(value, NULL) : strdup(value);
	if (!copy)
		return strerror(errno);
	last = &brokers->list[brokers->n - 1];
	free((char *)*field(last, k));
	*field(last, k) = copy;
	return NULL;
}

int brokers_save(struct db *db, const struct brokers *brokers)
{
	cleanup(freep) char *text = NULL;
	json_t *array = json_array();
	struct brokers copy = *brokers;

	for (size_t i = 0; i < copy.n; i++) {
		json_t *b = json_pack("{s:s, s:i}", "host", copy.list[i].host, "port",
				      (int)copy.list[i].port);

		for (size_t k = 0; k < ARRAY_SIZE(fields); k++)
			if (*field(&copy.list[i], k))
				json_object_set_new(b, fields[k],
						    json_string(*field(&copy.list[i], k)));
		json_array_append_new(array, b);
	}
	text = json_dumps(array, JSON_COMPACT);
	json_decref(array);
	return text ? setting_put(db, "brokers", text) : -ENOMEM;
}

/* malloc'd; NULL: it is not there, or no memory. */
static char *text_of(const json_t *json, const char *name)
{
	const char *text = json_string_value(json_object_get(json, name));

	return text ? strdup(text) : NULL;
}

static int load_one(const json_t *json, struct mqtt_broker *ret)
{
	json_int_t port = json_integer_value(json_object_get(json, "port"));

	ret->host = text_of(json, "host");
	ret->ca_file = text_of(json, "ca");
	ret->cert_file = text_of(json, "cert");
	ret->key_file = text_of(json, "key");
	ret->user = text_of(json, "user");
	ret->password_file = text_of(json, "password-file");
	for (size_t k = 0; k < ARRAY_SIZE(fields); k++)
		if (json_is_string(json_object_get(json, fields[k])) && !*field(ret, k))
			return -ENOMEM;
	if (!ret->host || port < 0 || port > 65535)
		return -EBADMSG;
	ret->port = (uint16_t)port;
	return 0;
}

int brokers_load(struct db *db, struct brokers *ret)
{
	char text[SETTING_CAP];
	json_t *array, *item;
	size_t i;
	int r = setting_get(db, "brokers", text, sizeof(text));

	*ret = (struct brokers){0};
	if (r < 0)
		return r;
	array = json_loads(text, 0, NULL);
	json_array_foreach(array, i, item)
	{
		if (i == MQTT_BROKERS_MAX)
			break;
		ret->n = i + 1;
		r = load_one(item, &ret->list[i]);
		if (r < 0)
			break;
	}
	json_decref(array);
	if (r == 0 && ret->n == 0)
		r = -ENOENT;
	if (r < 0)
		brokers_deinit(ret);
	return r;
}
