// SPDX-License-Identifier: Apache-2.0
/* See config-text.h. The tokens are those of libconfig's manual, chapter 2. */
#include "link/config-text.h"

#include <errno.h>
#include <stdlib.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Could be part of a name, a number, or what is neither. */
static bool is_word(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       c == '-' || c == '*' || c == '.' || c == '+';
}

static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Is the word a whole number without an L? */
static bool is_plain_number(const char *word, size_t len)
{
	size_t i = len > 0 && (word[0] == '-' || word[0] == '+');
	bool hex = len > i + 2 && word[i] == '0' && (word[i + 1] == 'x' || word[i + 1] == 'X');

	if (hex)
		i += 2;
	if (i == len)
		return false;
	while (i < len && (hex ? is_hex(word[i]) : is_digit(word[i])))
		i++;
	return i == len;
}

size_t config_text_opaque(const char *text, size_t from, size_t len)
{
	size_t i = from;
	bool block = i + 1 < len && text[i] == '/' && text[i + 1] == '*';

	if (text[i] == '"') {
		for (i++; i < len && text[i] != '"'; i++) {
			if (text[i] == '\\' && i + 1 < len)
				i++;
		}
		return i < len ? i + 1 : len;
	}
	if (block) {
		for (i += 2; i + 1 < len && (text[i] != '*' || text[i + 1] != '/'); i++)
			;
		return i + 1 < len ? i + 2 : len;
	}
	if (text[i] == '#' || (i + 1 < len && text[i] == '/' && text[i + 1] == '/')) {
		while (i < len && text[i] != '\n')
			i++;
	}
	return i;
}

static const char *look_over(struct span text, unsigned *ret_line)
{
	bool start = true; /* nothing but blanks on this line so far */

	*ret_line = 1;
	for (size_t i = 0; i < text.len; i++) {
		char c = (char)text.data[i];

		if (c == '\0')
			return "the file has a NUL byte in it; write it anew as plain text";
		if (c == '@' && start)
			return "@include is not allowed; put all settings into this file";
		*ret_line += c == '\n';
		start = c == '\n' || (start && (c == ' ' || c == '\t' || c == '\r'));
	}
	return NULL;
}

int config_text_prepare(struct span text, char **ret, unsigned *ret_line, const char **ret_wrong)
{
	const char *from = (const char *)text.data;
	cleanup(freep) char *copy = malloc(2 * text.len + 1);
	size_t i = 0, n = 0;

	if (!copy)
		return -ENOMEM;
	*ret_wrong = look_over(text, ret_line);
	if (*ret_wrong)
		return -EINVAL;
	while (i < text.len) {
		size_t end = config_text_opaque(from, i, text.len);
		bool opaque = end > i;

		while (!opaque && end < text.len && is_word(from[end]))
			end++;
		if (end == i)
			end++;
		memcpy(copy + n, from + i, end - i);
		n += end - i;
		if (!opaque && is_plain_number(from + i, end - i))
			copy[n++] = 'L';
		i = end;
	}
	copy[n] = '\0';
	*ret = steal(copy);
	return 0;
}
