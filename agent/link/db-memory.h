/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What SQLite keeps in memory, for a process that is to stay small. */

struct sqlite3;

/* Before the first connection of the process; later it has no effect. */
void db_memory_init(void);
/* A small cache, for a connection that was just opened. 0 or SQLite's code. */
int db_memory_bound(struct sqlite3 *handle);
/* Gives back what it keeps only to be quick. */
void db_memory_release(struct sqlite3 *handle);
