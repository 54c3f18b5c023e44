// SPDX-License-Identifier: Apache-2.0
/* Values from the command line. See command.h. */
#include "desk/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/token.h"
#include "desk/show.h"

int command_usage(const struct desk *desk, const char *format, ...)
{
	cleanup(freep) char *text = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	return desk_fail(desk, DESK_USAGE, "%s (--help shows how)", text ? text : "usage");
}

int command_person(const struct desk *desk, const char *text, char ret[static PERSON_LEN + 1])
{
	enum person_fault fault = person_parse(text, person_today(desk_now()), ret);

	return fault == PERSON_OK ? 0
				  : desk_fail(desk, DESK_USAGE, "%s", person_fault_words(fault));
}

int command_phone(const struct desk *desk, const char *text, char ret[static PHONE_CAP])
{
	enum phone_fault fault = phone_parse(text, ret);

	return fault == PHONE_OK ? 0 : desk_fail(desk, DESK_USAGE, "%s", phone_fault_words(fault));
}

int command_id(const struct desk *desk, const char *what, const char *text)
{
	if (text && id_valid(span_str(text)))
		return 0;
	return command_usage(desk, "%s: an id of 1 to 32 of a-z, 0-9 and '-' is needed", what);
}

const char *command_next_id(const char *list, char ret[static ID_MAX + 2])
{
	size_t len = strcspn(list, ",");

	snprintf(ret, ID_MAX + 2, "%.*s", (int)len, list);
	return list[len] ? list + len + 1 : NULL;
}

int command_duration(const struct desk *desk, const char *what, const char *text, uint64_t *ret)
{
	if (show_parse_duration(text, ret))
		return 0;
	return command_usage(desk, "%s: a duration such as 90s, 30m, 8h or 7d is needed", what);
}

bool command_bool(const char *text, bool *ret)
{
	static const char *const yes[] = {"yes", "true", "on"}, *const no[] = {"no", "false",
									       "off"};

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (!strcmp(text, yes[i]) || !strcmp(text, no[i])) {
			*ret = !strcmp(text, yes[i]);
			return true;
		}
	}
	return false;
}

/* Of a person with several phones: the only one that is valid, else the only one. */
static int only_phone(const struct desk *desk, const char *person, struct phone *ret)
{
	struct phone phones[STAFF_PHONES_MAX];
	int n = phones_of(desk->db, person, phones), valid = 0, which = 0;

	if (n == -ENOENT)
		return desk_fail(desk, DESK_REFUSED, "no such person is enrolled");
	if (n < 0)
		return desk_fail_errno(desk, n, "looking for the person");
	for (int i = 0; i < n; i++) {
		if (phones[i].status != STATUS_VALID)
			continue;
		valid++;
		which = i;
	}
	if (n > 1 && valid != 1)
		return command_usage(desk, "that person has %d phones: say which by --phone", n);
	*ret = phones[which];
	return 0;
}

int command_one_phone(const struct desk *desk, const char *person, const char *phone,
		      struct phone *ret)
{
	char number[PHONE_CAP], id[PERSON_LEN + 1];
	int r;

	if (!person && !phone)
		return command_usage(desk, "--person ID or --phone NUMBER is needed");
	if (person && (r = command_person(desk, person, id)) != 0)
		return r;
	if (!phone)
		return only_phone(desk, id, ret);
	r = command_phone(desk, phone, number);
	if (r != 0)
		return r;
	r = phone_find(desk->db, number, ret);
	if (r == -ENOENT)
		return desk_fail(desk, DESK_REFUSED, "no such phone is enrolled");
	if (r < 0)
		return desk_fail_errno(desk, r, "looking for the phone");
	if (person && strcmp(ret->person_number, id) != 0)
		return desk_fail(desk, DESK_REFUSED, "that phone is not that person's");
	return 0;
}
