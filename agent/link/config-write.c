// SPDX-License-Identifier: Apache-2.0
/* A whole lockbridge.conf. See config.h; what a setting is without being set is config.c's. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/crypto.h"
#include "link/config-quote.h"
#include "link/config.h"

void config_quote(FILE *to, const char *value)
{
	fputc('"', to);
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			fputc('\\', to);
		fputc(*value, to);
	}
	fputc('"', to);
}

static void text(FILE *to, const char *name, const char *value)
{
	fprintf(to, "%s = ", name);
	config_quote(to, value);
	fputs(";\n", to);
}

/* A line of a group: "    name = value;", left out if it is empty. */
static void member(FILE *to, const char *name, const char *value)
{
	if (!*value)
		return;
	fputs("    ", to);
	text(to, name, value);
}

static void brokers(FILE *to, const struct config *config)
{
	fputs("\n# The city's brokers, in order of preference. The key is a credential of the "
	      "service: the\n# unit hands it over.\n"
	      "brokers = (\n",
	      to);
	for (size_t i = 0; i < config->nbrokers; i++) {
		const struct config_broker *broker = &config->brokers[i];

		fputs("  {\n", to);
		member(to, "host", broker->host);
		fprintf(to, "    port = %d;\n", broker->port);
		member(to, "ca", broker->ca);
		member(to, "certificate", broker->certificate);
		member(to, "key", broker->key);
		member(to, "username", broker->username);
		member(to, "password_file", broker->password_file);
		fprintf(to, "  }%s\n", i + 1 < config->nbrokers ? "," : "");
	}
	fputs(");\n", to);
}

void config_quote_lock(FILE *to, const struct config_lock *lock)
{
	char key[BASE64_CAP(PUBLIC_LEN)];

	base64_encode(SPAN(lock->key), key, sizeof(key));
	fputs("{ id = ", to);
	config_quote(to, lock->id);
	fprintf(to, "; key = \"%s\";", key);
	if (*lock->address) {
		fputs(" address = ", to);
		config_quote(to, lock->address);
		fputc(';', to);
	}
	if (strcmp(lock->driver, "open") != 0) {
		fputs(" driver = ", to);
		config_quote(to, lock->driver);
		fputc(';', to);
	}
	fputs(" }", to);
}

static void locks(FILE *to, const struct config *config)
{
	fputs("\n# The locks in reach. lockbridgectl lock claim adds one.\nlocks = (", to);
	for (size_t i = 0; i < config->nlocks; i++) {
		fputs(i ? ",\n  " : "\n  ", to);
		config_quote_lock(to, &config->locks[i]);
	}
	fputs("\n);\n", to);
}

static void whole(FILE *to, const char *name, uint64_t value, uint64_t without)
{
	if (value != without)
		fprintf(to, "%s = %" PRIu64 ";\n", name, value);
}

static void number(FILE *to, const char *name, int value, int without)
{
	if (value != without)
		fprintf(to, "%s = %d;\n", name, value);
}

/* Settings of this box, and only those that somebody chose. */
static void choices(FILE *to, const struct config *config)
{
	struct config d;

	config_defaults(&d);
	if (strcmp(config->adapter, d.adapter) != 0)
		text(to, "adapter", config->adapter);
	if (config->stop_scan_to_connect != d.stop_scan_to_connect)
		fprintf(to, "stop_scan_to_connect = %s;\n",
			config->stop_scan_to_connect ? "true" : "false");
	number(to, "links_max", config->links_max, d.links_max);
	number(to, "silent_s", config->silent_s, d.silent_s);
	number(to, "linger_s", config->linger_s, d.linger_s);
	whole(to, "event_keep_s", config->event_keep_s, d.event_keep_s);
	whole(to, "event_bytes_max", config->event_bytes_max, d.event_bytes_max);
	number(to, "health_s", config->health_s, d.health_s);
	number(to, "backoff_min_ms", config->backoff_min_ms, d.backoff_min_ms);
	number(to, "backoff_max_ms", config->backoff_max_ms, d.backoff_max_ms);
	number(to, "preferred_retry_s", config->preferred_retry_s, d.preferred_retry_s);
	if (strcmp(config->log_level, d.log_level) != 0)
		text(to, "log_level", config->log_level);
}

static void everything(FILE *to, const struct config *config)
{
	fputs("# lockbridge.conf, written by lockbridgectl enrol. See lockbridge.conf(5) for every "
	      "setting.\n# After a change: lockbridgectl check-config FILE, then systemctl reload "
	      "lockbridge.\n\n"
	      "# Who this gateway is, to the city.\n",
	      to);
	text(to, "gateway", config->gateway);
	text(to, "root_topic", config->root_topic);
	fputs("\n# The city's root key, public: all trust begins here.\n", to);
	text(to, "root_key_file", config->root_key_file);
	if (config->enrolled)
		fprintf(to,
			"\n# The clock is never believed to be before this: seconds since 1970.\n"
			"enrolled = %" PRIu64 ";\n",
			config->enrolled);
	brokers(to, config);
	locks(to, config);
	fputs("\n# This box: the radio (adapter), what is kept and said. What is not set is as "
	      "lockbridge.conf(5)\n# says.\n",
	      to);
	text(to, "state_dir", config->state_dir);
	choices(to, config);
}

char *config_encode(const struct config *config)
{
	char *ret = NULL;
	size_t len;
	FILE *to = open_memstream(&ret, &len);
	bool bad;

	if (!to)
		return NULL;
	everything(to, config);
	bad = ferror(to) != 0;
	bad = fclose(to) != 0 || bad;
	if (bad)
		free(ret);
	return bad ? NULL : ret;
}
