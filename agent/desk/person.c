// SPDX-License-Identifier: Apache-2.0
/* Person ids and phone numbers. See person.h. */
#include "desk/person.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static unsigned number(const char *digits, size_t n)
{
	unsigned value = 0;

	for (size_t i = 0; i < n; i++)
		value = value * 10 + (unsigned)(digits[i] - '0');
	return value;
}

static unsigned days_of_month(unsigned year, unsigned month)
{
	static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return month == 2 && leap ? 29 : days[month - 1];
}

/* Luhn over ten digits: every other one doubled, from the first; the sum of all digits ends in 0.
 */
static bool luhn_fits(const char *ten)
{
	unsigned sum = 0;

	for (size_t i = 0; i < 10; i++) {
		unsigned d = (unsigned)(ten[i] - '0') * (i % 2 == 0 ? 2 : 1);

		sum += d / 10 + d % 10;
	}
	return sum % 10 == 0;
}

/* Collects digits; the separator may only stand before the last four. */
static enum person_fault read_digits(const char *text, char digits[static PERSON_LEN],
				     size_t *ret_n, char *ret_separator)
{
	size_t n = 0, separator_at = 0;
	char separator = 0;

	text += strspn(text, " \t");
	for (const char *p = text; *p; p++) {
		if (is_digit(*p)) {
			if (n == PERSON_LEN)
				return PERSON_LENGTH;
			digits[n++] = *p;
		} else if (*p == '-' || *p == '+') {
			if (separator)
				return PERSON_SEPARATOR;
			separator = *p;
			separator_at = n;
		} else if (p[strspn(p, " \t\r\n")] == '\0') {
			break;
		} else {
			return PERSON_LETTER;
		}
	}
	if (n == 0)
		return PERSON_EMPTY;
	if (n != 10 && n != 12)
		return PERSON_LENGTH;
	if (separator && separator_at != n - 4)
		return PERSON_SEPARATOR;
	*ret_n = n;
	*ret_separator = separator;
	return PERSON_OK;
}

/* Ten digits name no century: the latest in which the date is not in the future, one earlier after
 * '+'. day: as in the calendar. */
static unsigned year_of_ten(unsigned yy, unsigned month, unsigned day, unsigned today,
			    char separator)
{
	unsigned year = today / 10000 / 100 * 100 + yy;

	if (year * 10000 + month * 100 + day > today)
		year -= 100;
	if (separator == '+')
		year -= 100;
	return year;
}

enum person_fault person_parse(const char *text, unsigned today, char ret[static PERSON_LEN + 1])
{
	char digits[PERSON_LEN], whole[PERSON_LEN + 1];
	const char *ten;
	unsigned year, month, day;
	enum person_fault fault;
	char separator;
	size_t n;

	fault = read_digits(text, digits, &n, &separator);
	if (fault != PERSON_OK)
		return fault;
	ten = digits + n - 10;
	month = number(ten + 2, 2);
	day = number(ten + 4, 2);
	if (day > 60)
		day -= 60;
	if (month < 1 || month > 12)
		return PERSON_MONTH;
	year = n == 12 ? number(digits, 4)
		       : year_of_ten(number(ten, 2), month, day, today, separator);
	if (day < 1 || day > days_of_month(year, month))
		return PERSON_DAY;
	if (n == 12 && separator == '+' && today / 10000 < year + 100)
		return PERSON_SEPARATOR;
	if (year < 1800)
		return PERSON_LENGTH;
	if (year * 10000 + month * 100 + day > today)
		return PERSON_FUTURE;
	if (!luhn_fits(ten))
		return PERSON_CHECK;
	whole[0] = (char)('0' + year / 1000);
	whole[1] = (char)('0' + year / 100 % 10);
	memcpy(whole + 2, ten, 10);
	whole[PERSON_LEN] = '\0';
	memcpy(ret, whole, sizeof(whole));
	return PERSON_OK;
}

/* Digits alone, with the '+' seen or not; what people put between them is skipped. */
static enum phone_fault phone_digits(const char *text, char *digits, size_t cap, size_t *ret_n,
				     bool *ret_plus)
{
	size_t n = 0;

	*ret_plus = false;
	for (const char *p = text; *p; p++) {
		if (is_digit(*p)) {
			if (n == cap)
				return PHONE_LONG;
			digits[n++] = *p;
		} else if (*p == '+') {
			if (n > 0 || *ret_plus)
				return PHONE_PLUS;
			*ret_plus = true;
		} else if (!strchr(" \t\r\n-()./", *p) && !(p[0] == '\xc2' && p[1] == '\xa0') &&
			   !(p[0] == '\xa0' && p > text && p[-1] == '\xc2')) {
			return PHONE_LETTER;
		}
	}
	*ret_n = n;
	return n == 0 ? PHONE_EMPTY : PHONE_OK;
}

enum phone_fault phone_parse(const char *text, char ret[static PHONE_CAP])
{
	char digits[24], whole[PHONE_CAP];
	const char *rest = digits, *country = "";
	enum phone_fault fault;
	size_t n, lead;
	bool plus;

	fault = phone_digits(text, digits, sizeof(digits), &n, &plus);
	if (fault != PHONE_OK)
		return fault;
	if (plus) {
		/* +46 (0)70 ...: the trunk prefix that people write in brackets */
		if (n > 3 && !strncmp(digits, "460", 3)) {
			country = "46";
			rest += 3;
		}
	} else if (n > 1 && digits[0] == '0' && digits[1] == '0') {
		rest += 2;
	} else if (digits[0] == '0') {
		country = "46";
		rest += 1;
	} else {
		return PHONE_PREFIX;
	}
	n -= (size_t)(rest - digits);
	lead = strlen(country);
	if (n == 0)
		return PHONE_SHORT;
	if (lead == 0 && rest[0] == '0')
		return PHONE_COUNTRY;
	if (lead + n < 7)
		return PHONE_SHORT;
	if (lead + n > 15)
		return PHONE_LONG;
	whole[0] = '+';
	memcpy(whole + 1, country, lead);
	memcpy(whole + 1 + lead, rest, n);
	whole[1 + lead + n] = '\0';
	memcpy(ret, whole, 1 + lead + n + 1);
	return PHONE_OK;
}

unsigned person_today(uint64_t now)
{
	time_t t = (time_t)now;
	struct tm tm;

	if (!localtime_r(&t, &tm))
		return 19700101;
	return (unsigned)(tm.tm_year + 1900) * 10000 + (unsigned)(tm.tm_mon + 1) * 100 +
	       (unsigned)tm.tm_mday;
}

const char *person_fault_words(enum person_fault fault)
{
	switch (fault) {
	case PERSON_OK:
		return "";
	case PERSON_EMPTY:
		return "the person id is empty: give 10 or 12 digits, such as YYYYMMDD-NNNN";
	case PERSON_LETTER:
		return "a person id has only digits and one '-' or '+' before the last four";
	case PERSON_LENGTH:
		return "a person id has 10 or 12 digits: YYMMDD-NNNN or YYYYMMDD-NNNN";
	case PERSON_SEPARATOR:
		return "the '-' belongs before the last four digits ('+' from the year in which "
		       "the "
		       "person turns 100)";
	case PERSON_MONTH:
		return "there is no such month: digits are year, month, day, then four more";
	case PERSON_DAY:
		return "there is no such day in that month (a samordningsnummer has the day plus "
		       "60)";
	case PERSON_FUTURE:
		return "the date of birth is in the future";
	case PERSON_CHECK:
		return "the check digit does not fit: a digit is wrong, or two have changed places";
	}
	return "";
}

const char *phone_fault_words(enum phone_fault fault)
{
	switch (fault) {
	case PHONE_OK:
		return "";
	case PHONE_EMPTY:
		return "the phone number is empty";
	case PHONE_LETTER:
		return "a phone number has digits, blanks, '-', and at most one '+' in front";
	case PHONE_PLUS:
		return "a '+' belongs in front of the country code only";
	case PHONE_SHORT:
		return "the phone number is too short";
	case PHONE_LONG:
		return "the phone number is too long: at most 15 digits with the country code";
	case PHONE_PREFIX:
		return "the country is missing: begin with 0 (Sweden), +CODE or 00CODE";
	case PHONE_COUNTRY:
		return "no country code begins with 0";
	}
	return "";
}
