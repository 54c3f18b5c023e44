// SPDX-License-Identifier: Apache-2.0
/*
 * To the journal when stderr is a journal stream (systemd tells by JOURNAL_STREAM), else to stderr.
 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#define FIELDS_MAX 10
#define FIELD_MAX  256

static int level = LOG_INFO;

void log_set_level(const char *word)
{
	static const struct {
		const char *word;
		int level;
	} words[] = {
		{"error", LOG_ERR}, {"warning", LOG_WARNING}, {"notice", LOG_NOTICE},
		{"info", LOG_INFO}, {"debug", LOG_DEBUG},
	};

	level = LOG_INFO;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(word, words[i].word) == 0)
			level = words[i].level;
	}
}

static int to_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

struct line {
	char text[FIELDS_MAX + 2][FIELD_MAX];
	size_t n;
};

static void collect(struct line *line, int priority, const char *message, va_list fields)
{
	const char *name, *value;

	snprintf(line->text[line->n++], FIELD_MAX, "PRIORITY=%d", priority);
	snprintf(line->text[line->n++], FIELD_MAX, "MESSAGE=%s", message);
	while ((name = va_arg(fields, const char *)) && line->n < FIELDS_MAX + 2) {
		value = va_arg(fields, const char *);
		if (value && *value)
			snprintf(line->text[line->n++], FIELD_MAX, "%s=%s", name, value);
	}
	/* Words from outside (a broker's, a driver's) must not forge a second line. */
	for (size_t i = 0; i < line->n; i++) {
		for (char *c = line->text[i]; *c; c++) {
			if ((unsigned char)*c < ' ' || *c == 0x7f)
				*c = ' ';
		}
	}
}

static void print(const struct line *line)
{
	char out[2048];
	size_t used = 0;

	used += (size_t)snprintf(out, sizeof(out), "%s", line->text[1] + strlen("MESSAGE="));
	for (size_t i = 2; i < line->n && used < sizeof(out); i++)
		used += (size_t)snprintf(out + used, sizeof(out) - used, " %s", line->text[i]);
	fprintf(stderr, "%s\n", out);
}

void log_fact(int priority, const char *message, ...)
{
	struct iovec parts[FIELDS_MAX + 2];
	struct line line = {.n = 0};
	va_list fields;

	if (priority > level)
		return;
	va_start(fields, message);
	collect(&line, priority, message, fields);
	va_end(fields);
	if (!to_journal()) {
		print(&line);
		return;
	}
	for (size_t i = 0; i < line.n; i++)
		parts[i] = (struct iovec){line.text[i], strlen(line.text[i])};
	(void)sd_journal_sendv(parts, (int)line.n);
}
