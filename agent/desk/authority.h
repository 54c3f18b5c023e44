/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The desk's own certification authority: keys/ca.key (0600) and ca.pem in its folder, made on
 * first use. It signs the client certificates that let gateways talk to the broker, and the list of
 * those revoked. Neither opens a door: that is for the keys of keyring.h.
 */
#include "desk/certificates.h"
#include "desk/desk.h"

#define AUTHORITY_ERROR_CAP    512
#define CERTIFICATE_LIFETIME_S (90 * 86400)
#define CERTIFICATE_BACKDATE_S 3600 /* for clocks that lag */

struct authority {
	char *key, *certificate; /* PEM, owned */
	uint64_t not_after;
};
/* Makes it if the registry knows of none; inside a transaction of its own. error gets the words. */
int authority_load(const struct desk *desk, uint64_t now, struct authority *ret,
		   char error[static AUTHORITY_ERROR_CAP]);
void authority_deinit(struct authority *authority);
struct x509_authority authority_signer(const struct authority *authority);

/* A client certificate for a gateway by its request, recorded. Inside the caller's transaction; the
 * caller has checked whose request it is. */
int authority_issue(const struct desk *desk, const struct authority *authority, const char *gateway,
		    struct span request, uint64_t now, struct certificate *ret);

/* Raises the alarm authority-expiring, a year before its end: every gateway is to be enrolled anew
 * then. */
#define AUTHORITY_WARN_S (365 * 86400)
int authority_watch(const struct desk *desk, uint64_t now);
