/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The files around lockbridge.conf: read whole and bounded, with words for what went wrong. */
#include "core/crypto.h"

#define CONFIG_WRONG_CAP 640

/* malloc'd, NUL-terminated behind len. 0 or -errno with wrong: "cannot read PATH: why; what to do".
 */
int config_file_read(const char *path, size_t max, char **ret, size_t *ret_len,
		     char wrong[static CONFIG_WRONG_CAP]);
/* Is it a file that we can open? */
int config_file_check(const char *path, char wrong[static CONFIG_WRONG_CAP]);
/* The same of a credential of the service, whose file is path; an empty one is refused as well: so
 * systemd hands over what was not there when the service started. */
int config_file_check_credential(const char *name, const char *path,
				 char wrong[static CONFIG_WRONG_CAP]);
/* A public key in PEM. A private one by mistake is refused with a warning: it does not belong on a
 * gateway. */
int config_file_public_key(const char *path, uint8_t ret[static PUBLIC_LEN],
			   char wrong[static CONFIG_WRONG_CAP]);
