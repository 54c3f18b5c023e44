/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The `read` authorizations of gateways: issued to the reader key that a gateway's state names, for
 * the locks that the registry gave it, and renewed before they expire (contract section 7). */
#include "desk/hub.h"

#define READER_RENEW_S 86400
#define READER_AGAIN_S 30 /* it was sent, and the gateway does not say that it holds it */

/* Sends what this gateway needs now. The number sent, or < 0. */
int readers_serve(const struct desk *desk, struct session *session,
		  const struct hub_gateway *gateway, uint64_t now);
/* The lock ("*": every lock) was changed: what was issued for it reads nothing more, new ones are due. */
int readers_expire(struct db *db, const char *lock);
