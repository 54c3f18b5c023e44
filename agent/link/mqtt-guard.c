// SPDX-License-Identifier: Apache-2.0
/*
 * glibc's __assert_fail, with this one before it: for everybody but libmosquitto within guard_read() it goes
 * on to glibc's. No lock of the library is held where it reads properties, and
 * what it leaves unfinished is one list of them, lost to the heap.
 */
#include "link/mqtt-guard.h"

#include <assert.h>
#include <dlfcn.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

struct guard {
	jmp_buf back;
};

typedef void (*assert_fail_fn)(const char *assertion, const char *file, unsigned int line,
			       const char *function);

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
	((assert_fail_fn)dlsym(RTLD_NEXT, "__assert_fail"))(assertion, file, line, function);
	abort(); /* not reached */
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
