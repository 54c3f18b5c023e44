/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Values as libconfig reads them (its manual, section 2.2), for config-write.c and config-edit.c. */
#include <stdio.h>

#include "link/config.h"

/* In quotation marks. text holds no control characters: config_parse refuses those. */
void config_quote(FILE *to, const char *text);
/* { id = "..."; key = "..."; } */
void config_quote_lock(FILE *to, const struct config_lock *lock);
