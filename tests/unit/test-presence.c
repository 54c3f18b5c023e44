// SPDX-License-Identifier: Apache-2.0
#include "desk/presence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void say(struct presence *p, size_t broker, const char *word)
{
	assert_true(presence_heard(p, broker, span_str(word)));
}

static void nothing_heard_is_unknown(void **state)
{
	struct presence p = {0};

	assert_string_equal(presence_word(&p), "");
	assert_false(presence_heard(&p, 0, span_str("")));
	assert_false(presence_heard(&p, 0, span_str("onlin")));
	assert_string_equal(presence_word(&p), "");
	presence_at_home(&p, 3);
	assert_string_equal(presence_word(&p), "");
}

static void without_a_home_online_counts_most(void **state)
{
	for (size_t first = 0; first < 2; first++) {
		struct presence p = {0};

		say(&p, first, "offline");
		assert_string_equal(presence_word(&p), "offline");
		say(&p, 1 - first, "online");
		assert_string_equal(presence_word(&p), "online");
	}
}

static void the_broker_of_the_newest_state_has_the_word(void **state)
{
	struct presence p = {0};

	say(&p, 0, "online");
	presence_at_home(&p, 0);
	say(&p, 1, "online");
	presence_at_home(&p, 1);
	say(&p, 0, "offline"); /* the will of the connection that was left */
	assert_string_equal(presence_word(&p), "online");
	say(&p, 1, "offline");
	say(&p, 0, "online"); /* kept */
	assert_string_equal(presence_word(&p), "offline");
	presence_at_home(&p, 0);
	assert_string_equal(presence_word(&p), "online");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_heard_is_unknown),
		cmocka_unit_test(without_a_home_online_counts_most),
		cmocka_unit_test(the_broker_of_the_newest_state_has_the_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
