/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the desk shows its brokers: a client certificate with the name "desk", keys/desk.key and
 * desk.pem in its folder. It is signed by an authority of its own, desk-ca.pem, whose key is thrown
 * away at once: a broker's listener that trusts this one alone lets in the desk and nobody else.
 */
#include "desk/authority.h"
#include "desk/brokers.h"

#define BROKER_IDENTITY_NAME "desk"

/* Makes it if it is not there, damaged, or about to expire. *ret_authority: malloc'd PEM. */
int broker_identity(const struct desk *desk, uint64_t now, char **ret_authority,
		    char error[static AUTHORITY_ERROR_CAP]);
/*
 * Brokers that are reached over TLS are shown it from now on, unless they have a certificate or a user set; so
 * are those without TLS that are among hosts (names separated by commas, or NULL: none), and are
 * trusted by the desk's authority. The number changed, in the setting.
 */
int broker_identity_use(const struct desk *desk, const char *hosts);
