/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Damaged databases, put aside under PATH.damaged-N with their logs, for whoever looks into them. N
 * is the time, but always above every N there is: clocks go wrong, and nothing is written over.
 *
 * The newest DB_ASIDE_KEPT stay: the last one, and two to compare it with, since what damages a
 * store often comes again, and whether it hits the same place tells a card from a program. More
 * would take the room that the new store needs: each may be as large as event_bytes_max allows.
 */
#include "core/span.h"

#define DB_ASIDE_KEPT 3

/*
 * Moves path, its -wal and its -shm, as far as they are there, and then removes all but the newest
 * DB_ASIDE_KEPT. now: seconds since 1970. 0, or -errno of the move; a copy that cannot be removed
 * is no reason to go on with a damaged file.
 */
int db_aside(const char *path, uint64_t now);
/* 1: there is one; 0: none; -errno: its folder cannot be listed. */
int db_aside_any(const char *path);
