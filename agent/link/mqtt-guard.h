/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * libmosquitto 2.0.11 logs without a handle when a broker sends a property that does not exist, and
 * its own assertion ends the program: one packet, and a box falls from one restart into the next. Here
 * that assertion ends the call into the library instead, and with it the connection.
 */
#include <mosquitto.h>

/* Reads what there is; MOSQ_ERR_MALFORMED_PACKET after an assertion: the handle is good for nothing
 * but to be destroyed. */
int guard_read(struct mosquitto *mosq);

/* Around whatever a callback of the library does: an assertion in there is not the broker's doing, and
 * ends the program as ever. */
struct guard;
struct guard *guard_suspend(void);
void guard_resume(struct guard *guard);
