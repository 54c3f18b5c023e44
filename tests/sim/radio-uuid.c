/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UUIDs as text: the daemon takes short ones and always shows the long form.
 */
#include "sim/radio.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#define BASE "-0000-1000-8000-00805f9b34fb"

static bool hex(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isxdigit((unsigned char)s[i]))
			return false;
	return true;
}

static bool long_form(const char *s)
{
	return hex(s, 8) && s[8] == '-' && hex(s + 9, 4) && s[13] == '-' && hex(s + 14, 4) &&
	       s[18] == '-' && hex(s + 19, 4) && s[23] == '-' && hex(s + 24, 12);
}

int uuid_canonical(const char *text, char ret[UUID_SIZE])
{
	size_t n;

	if (!strncmp(text, "0x", 2))
		text += 2;
	n = strlen(text);
	if ((n == 4 || n == 8) && hex(text, n))
		snprintf(ret, UUID_SIZE, "%08x" BASE, (unsigned)strtoul(text, NULL, 16));
	else if (n == UUID_SIZE - 1 && long_form(text))
		memcpy(ret, text, UUID_SIZE);
	else
		return -EINVAL;
	for (char *p = ret; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return 0;
}

bool uuid_is_short(const char *uuid)
{
	return !strncmp(uuid, "0000", 4) && !strcmp(uuid + 8, BASE);
}
