/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Enrolling a gateway: whose request it is, its certificate, and the file that a box is enrolled
 * with. Renewing the certificate, over MQTT: the same request by the same key.
 */
#include "desk/authority.h"
#include "desk/session.h"

#define ENROL_ERROR_CAP 1024

struct enrolment_order {
	const char *gateway;
	struct span request; /* PKCS#10 in PEM */
	const char *broker;  /* HOST or HOST:PORT, the one that it prefers; NULL: the first */
	bool replace;	     /* another key may take the place of the one enrolled before */
	uint64_t now;
};
struct enrolment_answer {
	char *text; /* the enrolment file; owned */
	struct certificate certificate;
	bool replaced, added;
};
void enrolment_answer_deinit(struct enrolment_answer *answer);
/* One transaction. DESK_DONE, DESK_REFUSED with the words, or < 0 (the words, or db_error's). */
int enrol(const struct desk *desk, const struct enrolment_order *order,
	  struct enrolment_answer *ret, char error[static ENROL_ERROR_CAP]);

/* A gateway's request that came over MQTT: answered by a certificate, or by an alarm. */
int enrol_renew(const struct desk *desk, struct session *session, const char *gateway,
		struct span request, uint64_t now);
