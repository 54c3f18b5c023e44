/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What an enrolment would do to this box: made, and checked, before anything is written. */
#include "ctl/box.h"
#include "link/config.h"
#include "message-enrolment.h"

struct plan {
	struct box box;
	struct enrolment file;
	char kid[KID_CAP]; /* of the city's root key */
	struct x509_facts certificate;
	char identity[ID_MAX + KID_CAP + 2]; /* whose the store is: "gw-17 0123456789abcdef\n" */
	struct config config;
	char *text; /* of lockbridge.conf; owned, plan_deinit frees */

	bool installed; /* there is a lockbridge.conf */
	bool done;	/* and everything that this enrolment brings is in its place */
	bool same;	/* the same gateway for the same city as before */
	bool aside;	/* the store is another enrolment's: it is put aside */
	char note[700]; /* what of the former configuration was not taken over; "": nothing */
};

struct plan_order {
	const char *file, *root; /* root: the kid to expect, or NULL */
	const char *etc, *state;
	bool replace;
	uint64_t now;
};

/* 0, or < 0 with trouble. */
int plan_make(const struct plan_order *order, struct plan *ret, struct trouble *trouble);
void plan_deinit(struct plan *plan);
/* Does the file hold just this? */
bool plan_holds(const char *path, struct span bytes);
