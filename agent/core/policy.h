/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Policy (contract section 5, claim -70003): the same for all gateways and locks. */
#include "core/token.h"

#define POLICY_APPS_MAX	    32
#define POLICY_APP_LEN	    64
#define POLICY_CUT_OFFS_MAX 128

struct cut_off {
	char lock[ID_MAX + 1]; /* or "*" */
	uint64_t time;
};

struct policy {
	bool require_pin;
	char apps[POLICY_APPS_MAX][POLICY_APP_LEN + 1];
	size_t napps;					   /* 0: any */
	uint64_t posture_max_age, max_relay, max_lifetime; /* seconds */
	struct cut_off cut_offs[POLICY_CUT_OFFS_MAX];
	size_t ncut_offs;
	bool report_manual;
};

/* What holds without a policy document: true, any, 24 h, 60 s, 12 h, none, false. */
void policy_default(struct policy *ret);
/* Members that are missing keep the default; members that are not known are skipped (a later
 * version's); a wrong type, too many entries, an app's name that is empty, longer than
 * POLICY_APP_LEN or has a NUL, a cut_off for what is no lock id: REASON_MALFORMED. */
int policy_parse(struct span claim, struct policy *ret);
/* Deterministic; cut_offs name each lock once. */
void policy_put(struct cbor_writer *w, const struct policy *policy);
/* The later of the lock's own and that of "*"; 0 if none. */
uint64_t policy_cut_off(const struct policy *policy, struct span lock);
bool policy_app_allowed(const struct policy *policy, struct span app);
