// SPDX-License-Identifier: Apache-2.0
/*
 * One lock into a lockbridge.conf, or out of it, with every remark and every byte elsewhere kept. A
 * scanner finds where the list and its entries stand; that the result says what was meant is then
 * asked of the parser, so that a text which fools the scanner is refused, never spoilt. See config.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "link/config-quote.h"
#include "link/config-text.h"
#include "link/config.h"

#define BY_HAND "change it by hand, and check it with lockbridgectl check-config"

/* Places in a text: [from, to). */
struct range {
	size_t from, to;
};

struct places {
	const char *text;
	size_t len;
	bool found;				/* is there a list? */
	size_t open, close;			/* of its brackets */
	struct range entries[CONFIG_LOCKS + 1]; /* one more: too many is seen */
	size_t n;
};

static bool is_name(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '_' || c == '-' || c == '*';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\f';
}

/* The next byte from `at` on that is neither blank nor in a remark; len if there is none. */
static size_t meaningful(const char *text, size_t at, size_t len)
{
	while (at < len) {
		size_t end = text[at] == '"' ? at : config_text_opaque(text, at, len);

		if (end > at)
			at = end;
		else if (is_blank(text[at]) || text[at] == '\n')
			at++;
		else
			break;
	}
	return at;
}

/* Behind one token that begins at `at`: a text, a remark, a word or a single byte. */
static size_t behind_token(const char *text, size_t at, size_t len)
{
	size_t end = config_text_opaque(text, at, len);

	if (end > at)
		return end;
	while (end < len && is_name(text[end]))
		end++;
	return end > at ? end : at + 1;
}

/* From the list's bracket on: its entries, and its end. */
static bool scan_list(struct places *p)
{
	unsigned depth = 0;

	for (size_t at = p->open; at < p->len; at = behind_token(p->text, at, p->len)) {
		char c = p->text[at];

		if (c == '{' && depth == 1 && p->n < ARRAY_SIZE(p->entries))
			p->entries[p->n].from = at;
		depth += c == '(' || c == '{' || c == '[';
		depth -= (c == ')' || c == '}' || c == ']') && depth > 0;
		if (c == '}' && depth == 1 && p->n < ARRAY_SIZE(p->entries))
			p->entries[p->n++].to = at + 1;
		if (depth > 0)
			continue;
		p->close = at;
		return c == ')';
	}
	return false;
}

/* Is the word at `at` the name of the list, with its bracket behind it? */
static bool at_list(struct places *p, size_t at, size_t end)
{
	size_t next = meaningful(p->text, end, p->len);

	if (end - at != strlen("locks") || memcmp(p->text + at, "locks", end - at) != 0)
		return false;
	if (next == p->len || (p->text[next] != '=' && p->text[next] != ':'))
		return false;
	next = meaningful(p->text, next + 1, p->len);
	if (next == p->len || p->text[next] != '(')
		return false;
	p->open = next;
	return true;
}

/* false: brackets that do not fit, or more entries than there may be. */
static bool scan(struct span text, struct places *ret)
{
	unsigned depth = 0;
	size_t end;

	*ret = (struct places){.text = (const char *)text.data, .len = text.len};
	for (size_t at = 0; at < text.len; at = end) {
		char c = ret->text[at];

		end = behind_token(ret->text, at, text.len);
		if (depth == 0 && at_list(ret, at, end)) {
			ret->found = true;
			return scan_list(ret);
		}
		depth += c == '(' || c == '{' || c == '[';
		depth -= (c == ')' || c == '}' || c == ']') && depth > 0;
	}
	return depth == 0;
}

/* --- building the new text --- */

static void copy(FILE *to, const struct places *p, size_t from, size_t end)
{
	fwrite(p->text + from, 1, end - from, to);
}

static size_t line_start(const struct places *p, size_t at)
{
	while (at > 0 && p->text[at - 1] != '\n')
		at--;
	return at;
}

/* Nothing but blanks before it on its line? */
static bool first_on_line(const struct places *p, size_t at)
{
	for (size_t i = line_start(p, at); i < at; i++) {
		if (!is_blank(p->text[i]))
			return false;
	}
	return true;
}

/* As the list has it, or the file. */
static const char *line_break(const struct places *p)
{
	size_t from = p->found ? p->open : 0;
	const char *next = memchr(p->text + from, '\n', p->len - from);

	return next && next > p->text && next[-1] == '\r' ? "\r\n" : "\n";
}

static void new_list(FILE *to, const struct places *p, const struct config_lock *lock)
{
	const char *br = line_break(p);

	copy(to, p, 0, p->len);
	if (p->len > 0 && p->text[p->len - 1] != '\n')
		fputs(br, to);
	fprintf(to, "%slocks = (%s  ", br, br);
	config_quote_lock(to, lock);
	fprintf(to, "%s);%s", br, br);
}

static void first_entry(FILE *to, const struct places *p, const struct config_lock *lock)
{
	bool own_line = first_on_line(p, p->close) && line_start(p, p->close) > p->open;
	size_t at = own_line ? line_start(p, p->close) : p->close;

	copy(to, p, 0, at);
	fprintf(to, "%s  ", own_line ? "" : line_break(p));
	config_quote_lock(to, lock);
	fputs(line_break(p), to);
	copy(to, p, at, p->len);
}

/* What stands behind an entry on its line: its comma (0: none), and the next line's start (0: something
 * else comes before it). */
static void look_behind(const struct places *p, size_t at, size_t *ret_comma, size_t *ret_line)
{
	*ret_comma = *ret_line = 0;
	while (at < p->len && !*ret_line) {
		size_t end = p->text[at] == '"' ? at : config_text_opaque(p->text, at, p->len);

		if (p->text[at] == ',' && !*ret_comma)
			*ret_comma = at;
		else if (p->text[at] == '\n')
			*ret_line = at + 1;
		else if (end == at && !is_blank(p->text[at]))
			return;
		at = end > at ? end : at + 1;
	}
}

static void last_entry(FILE *to, const struct places *p, const struct config_lock *lock)
{
	const struct range *last = &p->entries[p->n - 1];
	size_t comma, line, indent = line_start(p, last->from);

	look_behind(p, last->to, &comma, &line);
	copy(to, p, 0, last->to);
	if (!comma)
		fputc(',', to);
	if (!line) /* the bracket, or a comma and then the bracket */
		fputs(line_break(p), to);
	else
		copy(to, p, last->to, line);
	if (first_on_line(p, last->from))
		copy(to, p, indent, last->from);
	else
		fputs("  ", to);
	config_quote_lock(to, lock);
	if (line)
		fputs(line_break(p), to);
	copy(to, p, line ? line : last->to, p->len);
}

/* An entry that has its line, or lines, to itself goes with them. */
static struct range whole_lines(const struct places *p, struct range r)
{
	size_t end = r.to;

	while (end < p->len && is_blank(p->text[end]))
		end++;
	if (!first_on_line(p, r.from) || (end < p->len && p->text[end] != '\n'))
		return r;
	return (struct range){line_start(p, r.from), end < p->len ? end + 1 : end};
}

static void without(FILE *to, const struct places *p, size_t i)
{
	struct range gone = p->entries[i];
	size_t comma = meaningful(p->text, gone.to, p->len), from = 0;
	bool behind = comma < p->len && p->text[comma] == ',';

	if (!behind && i > 0) { /* the last one: the comma before it goes */
		comma = meaningful(p->text, p->entries[i - 1].to, p->len);
		copy(to, p, 0, comma);
		from = comma + 1;
	}
	if (behind && comma == gone.to) {
		gone.to++;
		behind = false;
	}
	gone = whole_lines(p, gone);
	if (gone.from > from)
		copy(to, p, from, gone.from);
	if (behind) {
		copy(to, p, gone.to > comma ? comma : gone.to, comma);
		gone.to = comma + 1;
	}
	copy(to, p, gone.to, p->len);
}

/* --- the two changes --- */

struct change {
	const struct config_lock *add; /* NULL: takes out */
	size_t out;
};

static char *build(const struct places *p, const struct change *change)
{
	char *ret = NULL;
	size_t len;
	FILE *to = open_memstream(&ret, &len);
	bool bad;

	if (!to)
		return NULL;
	if (!change->add)
		without(to, p, change->out);
	else if (!p->found)
		new_list(to, p, change->add);
	else if (p->n == 0)
		first_entry(to, p, change->add);
	else
		last_entry(to, p, change->add);
	bad = ferror(to) != 0;
	bad = fclose(to) != 0 || bad;
	if (bad)
		free(ret);
	return bad ? NULL : ret;
}

/* want: what the result must say; its locks are those of before. */
static int apply(const char *name, struct span text, struct config *want,
		 const struct change *change, char **ret, char *error, size_t cap)
{
	cleanup(freep) struct places *places = malloc(sizeof(*places));
	cleanup(freep) struct config *got = malloc(sizeof(*got));
	cleanup(freep) char *made = NULL;
	bool fits = places && scan(text, places) && places->n == want->nlocks;

	if (places && got && fits)
		made = build(places, change);
	if (!places || !got || (fits && !made)) {
		snprintf(error, cap, "%s: out of memory", name);
		return -ENOMEM;
	}
	if (change->add) {
		want->locks[want->nlocks++] = *change->add;
	} else {
		want->nlocks--;
		memmove(&want->locks[change->out], &want->locks[change->out + 1],
			(want->nlocks - change->out) * sizeof(want->locks[0]));
		memset(&want->locks[want->nlocks], 0, sizeof(want->locks[0]));
	}
	if (!fits || config_parse(name, span_str(made), got, error, cap) < 0 ||
	    memcmp(got, want, sizeof(*got)) != 0) {
		snprintf(error, cap, "%s: locks: is written in an unusual way; " BY_HAND, name);
		return -EINVAL;
	}
	*ret = steal(made);
	return 0;
}

/* With zeros behind each text, as the parser leaves it. */
static struct config_lock tidy(const struct config_lock *lock)
{
	struct config_lock ret = {0};

	snprintf(ret.id, sizeof(ret.id), "%s", lock->id);
	memcpy(ret.key, lock->key, sizeof(ret.key));
	snprintf(ret.address, sizeof(ret.address), "%s", lock->address);
	snprintf(ret.driver, sizeof(ret.driver), "%s", *lock->driver ? lock->driver : "open");
	return ret;
}

int config_add_lock(const char *name, struct span text, const struct config_lock *lock, char **ret,
		    char *error, size_t error_cap)
{
	cleanup(freep) struct config *config = malloc(sizeof(*config));
	struct config_lock added = tidy(lock);
	struct change change = {.add = &added};
	int r = config ? config_parse(name, text, config, error, error_cap) : -ENOMEM;

	if (!config)
		snprintf(error, error_cap, "%s: out of memory", name);
	if (r < 0)
		return r;
	for (size_t i = 0; i < config->nlocks; i++) {
		bool id = strcmp(config->locks[i].id, added.id) == 0;

		if (!id && memcmp(config->locks[i].key, added.key, PUBLIC_LEN) != 0)
			continue;
		snprintf(error, error_cap,
			 "%s: locks[%zu]: \"%s\" is there already%s; nothing was changed", name, i,
			 config->locks[i].id, id ? "" : ", with this key");
		return -EEXIST;
	}
	if (config->nlocks == CONFIG_LOCKS) {
		snprintf(error, error_cap, "%s: locks: are %d, which is the most; take one out",
			 name, CONFIG_LOCKS);
		return -EINVAL;
	}
	return apply(name, text, config, &change, ret, error, error_cap);
}

int config_remove_lock(const char *name, struct span text, const char *lock, char **ret,
		       char *error, size_t error_cap)
{
	cleanup(freep) struct config *config = malloc(sizeof(*config));
	struct change change = {0};
	int r = config ? config_parse(name, text, config, error, error_cap) : -ENOMEM;

	if (!config)
		snprintf(error, error_cap, "%s: out of memory", name);
	if (r < 0)
		return r;
	while (change.out < config->nlocks && strcmp(config->locks[change.out].id, lock) != 0)
		change.out++;
	if (change.out == config->nlocks) {
		snprintf(error, error_cap, "%s: locks: there is no \"%s\"; nothing was changed",
			 name, lock);
		return -ENOENT;
	}
	return apply(name, text, config, &change, ret, error, error_cap);
}
