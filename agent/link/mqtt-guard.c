// SPDX-License-Identifier: Apache-2.0
/*
 * glibc's __assert_fail, replaced for the whole program: for everybody but libmosquitto within
 * guard_read() it does what glibc's does. No lock of the library is held where it reads properties, and
 * what it leaves unfinished is one list of them, lost to the heap.
 */
#include "link/mqtt-guard.h"

#include <assert.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct guard {
	jmp_buf back;
};

static _Thread_local struct guard *current;

/* NOLINTNEXTLINE(bugprone-reserved-identifier): it is glibc's name. */
__attribute__((noreturn, visibility("default"))) void
__assert_fail(const char *assertion, const char *file, unsigned int line, const char *function)
{
	struct guard *guard = current;

	if (guard && !strcmp(function, "log__printf")) {
		current = NULL;
		longjmp(guard->back, 1);
	}
	fprintf(stderr, "%s:%u: %s: Assertion `%s' failed.\n", file, line, function, assertion);
	abort();
}

int guard_read(struct mosquitto *mosq)
{
	struct guard guard;
	int rc;

	if (setjmp(guard.back))
		return MOSQ_ERR_MALFORMED_PACKET;
	current = &guard;
	rc = mosquitto_loop_read(mosq, 1);
	current = NULL;
	return rc;
}

struct guard *guard_suspend(void)
{
	struct guard *guard = current;

	current = NULL;
	return guard;
}

void guard_resume(struct guard *guard)
{
	current = guard;
}
