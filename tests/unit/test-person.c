// SPDX-License-Identifier: Apache-2.0
/* Person ids and phone numbers: one form in, or a clear no. The ids are Skatteverket's test numbers
 * or made up around the check digit; no one's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/span.h"
#include "desk/person.h"

#define TODAY 20250615

static void person_ids_come_to_twelve_digits(void **state)
{
	static const struct {
		const char *text, *is;
	} cases[] = {
		{"8112289874", "198112289874"},	     {"811228-9874", "198112289874"},
		{"198112289874", "198112289874"},    {"19811228-9874", "198112289874"},
		{" 19811228-9874 ", "198112289874"}, {"811228+9874", "188112289874"},
		{"18811228+9874", "188112289874"},   {"7010632391", "197010632391"},
		{"19701063-2391", "197010632391"},   {"2002292387", "202002292387"},
		{"000229-2381", "200002292381"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char is[PERSON_LEN + 1] = "";

		print_message("%s\n", cases[i].text);
		assert_int_equal(person_parse(cases[i].text, TODAY, is), PERSON_OK);
		assert_string_equal(is, cases[i].is);
	}
}

static void bad_person_ids_are_refused_with_their_fault(void **state)
{
	static const struct {
		const char *text;
		enum person_fault fault;
	} cases[] = {
		{"", PERSON_EMPTY},
		{"   ", PERSON_EMPTY},
		{"-", PERSON_EMPTY},
		{"81122a9874", PERSON_LETTER},
		{"811228 9874", PERSON_LETTER},
		{"811228987", PERSON_LENGTH},
		{"81122898741", PERSON_LENGTH},
		{"1981122898741", PERSON_LENGTH},
		{"99999999999999999999999999999999", PERSON_LENGTH},
		{"81-1228-9874", PERSON_SEPARATOR},
		{"81122-89874", PERSON_SEPARATOR},
		{"811228--9874", PERSON_SEPARATOR},
		{"19811228+9874", PERSON_SEPARATOR},
		{"8113289874", PERSON_MONTH},
		{"8100289874", PERSON_MONTH},
		{"8112329874", PERSON_DAY},
		{"8112009874", PERSON_DAY},
		{"8112609874", PERSON_DAY},
		{"8102299874", PERSON_DAY},
		{"8112929874", PERSON_DAY},
		{"203012289874", PERSON_FUTURE},
		{"8112289873", PERSON_CHECK},
		{"8112298874", PERSON_CHECK},
		{"8112289784", PERSON_CHECK},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char is[PERSON_LEN + 1] = "untouched";

		print_message("'%s'\n", cases[i].text);
		assert_int_equal(person_parse(cases[i].text, TODAY, is), cases[i].fault);
		assert_string_equal(is, "untouched");
		assert_true(strlen(person_fault_words(cases[i].fault)) > 10);
	}
}

static void every_wrong_check_digit_is_seen(void **state)
{
	char text[] = "198112289870", is[PERSON_LEN + 1];
	unsigned good = 0;

	for (char c = '0'; c <= '9'; c++) {
		text[11] = c;
		good += person_parse(text, TODAY, is) == PERSON_OK;
	}
	assert_int_equal(good, 1);
}

static void phone_numbers_come_to_e164(void **state)
{
	static const struct {
		const char *text, *is;
	} cases[] = {
		{"070-123 45 67", "+46701234567"},
		{"+46701234567", "+46701234567"},
		{"0046 70 1234567", "+46701234567"},
		{"+46 (0)70-123 45 67", "+46701234567"},
		{"0701234567", "+46701234567"},
		{"+45 12 34 56 78", "+4512345678"},
		{"040-34 10 00", "+4640341000"},
		{"+358 40 1234567", "+358401234567"},
		{"070\xc2\xa0"
		 "123 45 67",
		 "+46701234567"},
		{"+491701234567890", "+491701234567890"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char is[PHONE_CAP] = "";

		print_message("%s\n", cases[i].text);
		assert_int_equal(phone_parse(cases[i].text, is), PHONE_OK);
		assert_string_equal(is, cases[i].is);
	}
}

static void bad_phone_numbers_are_refused_with_their_fault(void **state)
{
	static const struct {
		const char *text;
		enum phone_fault fault;
	} cases[] = {
		{"", PHONE_EMPTY},
		{"+", PHONE_EMPTY},
		{"07O1234567", PHONE_LETTER},
		{"070;123", PHONE_LETTER},
		{"0\xa0", PHONE_LETTER},
		{"070+1234567", PHONE_PLUS},
		{"++46701234567", PHONE_PLUS},
		{"0", PHONE_SHORT},
		{"00", PHONE_SHORT},
		{"0701", PHONE_SHORT},
		{"+4670", PHONE_SHORT},
		{"+4670123456789012", PHONE_LONG},
		{"070123456789012345678901234567890", PHONE_LONG},
		{"701234567", PHONE_PREFIX},
		{"46701234567", PHONE_PREFIX},
		{"+0701234567", PHONE_COUNTRY},
		{"000701234567", PHONE_COUNTRY},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char is[PHONE_CAP] = "untouched";

		print_message("'%s'\n", cases[i].text);
		assert_int_equal(phone_parse(cases[i].text, is), cases[i].fault);
		assert_string_equal(is, "untouched");
		assert_true(strlen(phone_fault_words(cases[i].fault)) > 10);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(person_ids_come_to_twelve_digits),
		cmocka_unit_test(bad_person_ids_are_refused_with_their_fault),
		cmocka_unit_test(every_wrong_check_digit_is_seen),
		cmocka_unit_test(phone_numbers_come_to_e164),
		cmocka_unit_test(bad_phone_numbers_are_refused_with_their_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
