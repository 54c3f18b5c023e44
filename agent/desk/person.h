/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Swedish person ids and phone numbers, checked and brought to one form. Pure.
 *
 * A person id is a personnummer or a samordningsnummer (the day plus 60), as YYMMDDNNNC or
 * YYYYMMDDNNNC, with or without a separator before the last four. With ten digits '+' says that the
 * person has turned 100. The form kept is twelve digits. (Skatteverket, SKV 704 and SKV 707.)
 *
 * A phone number is kept as E.164: '+' and 7 to 15 digits. A leading 0 is a Swedish trunk prefix,
 * 00 an international one.
 */
#include <stddef.h>
#include <stdint.h>

#define PERSON_LEN 12
#define PHONE_CAP  17 /* '+', 15 digits, NUL */

enum person_fault {
	PERSON_OK,
	PERSON_EMPTY,
	PERSON_LETTER,	  /* something that is neither digit nor separator */
	PERSON_LENGTH,	  /* not 10 or 12 digits */
	PERSON_SEPARATOR, /* not before the last four, or '+' for one who is not 100 */
	PERSON_MONTH,
	PERSON_DAY,
	PERSON_FUTURE, /* not born yet */
	PERSON_CHECK,  /* the check digit does not fit */
};

enum phone_fault {
	PHONE_OK,
	PHONE_EMPTY,
	PHONE_LETTER,
	PHONE_PLUS, /* a '+' that is not the first character */
	PHONE_SHORT,
	PHONE_LONG,
	PHONE_PREFIX, /* neither '+', 00 nor a leading 0: which country? */
	PHONE_COUNTRY /* a country code that begins with 0 */
};

/* today: YYYYMMDD; decides the century of ten digits, and who is not born yet. */
enum person_fault person_parse(const char *text, unsigned today, char ret[static PERSON_LEN + 1]);
enum phone_fault phone_parse(const char *text, char ret[static PHONE_CAP]);
/* YYYYMMDD in local time. */
unsigned person_today(uint64_t now);

/* What is wrong and what is expected, for the person at the desk. Repeats nothing of the input. */
const char *person_fault_words(enum person_fault fault);
const char *phone_fault_words(enum phone_fault fault);
