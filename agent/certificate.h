/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The gateway's client certificate on disk, and how another one takes its place. Knows files and
 * X.509, neither broker nor loop; each call reads the files anew.
 *
 * A renewed certificate is on trial until the broker has let the gateway in. Where FILE is the
 * setting `certificate`:
 *
 *   FILE      in use: the connector reads it at each attempt; always whole, the one or the other
 *   FILE.old  while the trial is on: the former one, which the broker took
 *   FILE.new  from the first time that the former one was put back: the renewed one
 *
 * What is on trial is told by these files alone, so that a crash at any point loses nothing: as long
 * as it is undecided both certificates are there, and whichever the broker takes ends it.
 *
 * Functions return 0, -errno of the disk, -EINVAL (a text that is no certificate), -EBADMSG (does
 * not fit the key), or a named refusal above 0.
 */
#include "core/reckoning.h"
#include "link/x509.h"

#define CERTIFICATE_PATH_MAX 512

struct certificate_files {
	char path[CERTIFICATE_PATH_MAX]; /* a link is followed: what it leads to is replaced */
	char key[256], ca[256];		 /* ca: the broker's; may have issued ours, too */
};

/* As a broker of the configuration names them. */
void certificate_files_set(struct certificate_files *files, const char *certificate,
			   const char *key, const char *ca);

enum certificate_refusal {
	CERTIFICATE_GARBAGE = 1, /* not a certificate, or more than X509_PEM_MAX */
	CERTIFICATE_AUTHORITY,	 /* of an authority, not of a gateway */
	CERTIFICATE_OTHER_ID,
	CERTIFICATE_OTHER_KEY,
	CERTIFICATE_OTHER_ISSUER,
	CERTIFICATE_NOT_YET, /* by a synchronised clock; a reckoned time only lags */
	CERTIFICATE_EXPIRED,
	CERTIFICATE_NOT_LONGER, /* ends no later than the one in use */
	CERTIFICATE_HELD,	/* it is the one in use: nothing to do, nothing wrong */
};
/* For a person: "is for another key". */
const char *certificate_refusal_words(enum certificate_refusal refusal);

/* What FILE says, if the key fits. */
int certificate_read(const struct certificate_files *files, struct x509_facts *ret);

struct certificate_judge {
	const char *name; /* the gateway's id */
	struct time_verdict time;
};
/*
 * May it follow the one in use? If that one's issuer is known (from the broker's CA file, or the
 * chain in FILE), the new one must be signed by it; else it must name the same. One that cannot be
 * read any more is followed by any that fits name and key. *ret_pem, malloc'd: what to install.
 */
int certificate_judge(const struct certificate_files *files, struct span offered,
		      const struct certificate_judge *by, char **ret_pem, struct x509_facts *ret);

/* 0: a renewed certificate could be written. */
int certificate_writable(const struct certificate_files *files);
/* Puts pem in use, on trial. Blocks for fsync. */
int certificate_install(const struct certificate_files *files, struct span pem);

/* PKCS#10 by the gateway's key. */
int certificate_request(const struct certificate_files *files, const char *name, char **ret);

enum certificate_trial { CERTIFICATE_SETTLED, CERTIFICATE_NEW_IN_USE, CERTIFICATE_OLD_IN_USE };
/* Also clears away what a crash left of a trial that never began, or is over. */
int certificate_trial(const struct certificate_files *files, enum certificate_trial *ret);
/* Puts the other one in use. >0: CERTIFICATE_EXPIRED, CERTIFICATE_OTHER_KEY: that one is no use. */
int certificate_swap(const struct certificate_files *files, uint64_t now);
/* The broker took the one in use. */
int certificate_settle(const struct certificate_files *files);

/* Less than a third of its life is left. */
bool certificate_due(const struct x509_facts *facts, uint64_t now);
/* Under 14 days, or a sixth of its life if that is less. */
bool certificate_expiring(const struct x509_facts *facts, uint64_t now);
/* Whole days; below 0: expired. */
int64_t certificate_days(uint64_t not_after, uint64_t now);
