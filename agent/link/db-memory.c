// SPDX-License-Identifier: Apache-2.0
/*
 * SQLite as delivered takes 87 KiB at once per database and journal, 48 KiB for small pieces, and keeps
 * up to 2 MiB of pages: all that a start's check of the file has read. Here a transaction touches a few
 * pages, and the kernel keeps the file.
 */
#include "link/db-memory.h"

#include <sqlite3.h>
#include <stddef.h>

#define CACHE_PRAGMA "PRAGMA cache_size=-256" /* KiB; a list of 128 KiB fits */

void db_memory_init(void)
{
	(void)sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0);
}

int db_memory_bound(struct sqlite3 *handle)
{
	int code = sqlite3_db_config(handle, SQLITE_DBCONFIG_LOOKASIDE, NULL, 0, 0);

	if (code == SQLITE_OK)
		code = sqlite3_exec(handle, CACHE_PRAGMA, NULL, NULL, NULL);
	return code;
}

void db_memory_release(struct sqlite3 *handle)
{
	(void)sqlite3_db_release_memory(handle);
}
