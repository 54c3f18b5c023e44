/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The files of an enrolled box, and what can be wrong with them: for enrolment before it writes, for
 * diagnose afterwards.
 */
#include <errno.h>
#include <stdbool.h>
#include <sys/types.h>

#include "core/crypto.h"
#include "core/token.h"
#include "link/x509.h"

#define BOX_ETC	  "/etc/lockbridge"
#define BOX_STATE "/var/lib/lockbridge"
#define BOX_USER  "lockbridge"
#define BOX_KEY	  "gateway.key" /* also the name of the credential */
#define KID_CAP	  HEX_CAP(DIGEST_LEN)

/* The desk's clock may be ahead of ours by so much; in seconds. */
#define BOX_CLOCK_LEEWAY 300

/* What is wrong, and what to do. */
struct trouble {
	char code[40];
	char what[900];
	char next[500];
};
void trouble_say(struct trouble *trouble, const char *code, const char *next, const char *format,
		 ...) __attribute__((format(printf, 4, 5)));
#define trouble(...) (trouble_say(__VA_ARGS__), -EINVAL)

struct box {
	const char *etc, *state; /* folders; borrowed */
	bool elsewhere;		 /* not this system's: nobody's service is touched */
	char config[256], key[256], root[256], ca[256];	  /* in etc */
	char certificate[256], store[256], identity[256]; /* in state */
	uid_t uid;					  /* of what is in state: box_owner() */
	gid_t gid;
};

/* NULL: this system's. */
int box_init(struct box *box, const char *etc, const char *state, struct trouble *trouble);
/* Who owns the state: the service's user, who must exist; elsewhere: who owns the folder. */
int box_owner(struct box *box, struct trouble *trouble);

/* Both refuse a key that others could have read. -ENOENT: there is none, without trouble.
 * pem is wiped and freed with x509_wipe. */
int box_read_key(const struct box *box, char **ret_pem, struct trouble *trouble);
/* A public key in PEM, and its kid. */
int box_root_kid(struct span pem, char ret[static KID_CAP], struct trouble *trouble);

/* A certificate for this gateway, this key and this time. key: empty if it is not known. */
struct box_claim {
	struct span certificate, key;
	const char *gateway;
	uint64_t now;
};
int box_certificate(const struct box_claim *claim, struct x509_facts *ret, struct trouble *trouble);

#define BOX_TIME_CAP 32
/* "2026-11-23 19:00 UTC" */
const char *box_time(uint64_t seconds, char ret[static BOX_TIME_CAP]);
/* How to set the clock. */
extern const char box_set_clock[];
