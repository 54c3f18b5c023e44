/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What db.c asks of the file system, without SQLite. Errors: -errno, with words. */
#include "core/span.h"

#define DB_WORDS_CAP 512

/* "; what a person can do about it", or "". */
const char *db_file_hint(int error);
/* What SQLite would forgive is damage here: an empty file, and a write-ahead log without its file.
 * 0: there; 1: to be made; < 0. */
int db_file_look(const char *path, char words[static DB_WORDS_CAP]);
/*
 * How SQLite is to open it; malloc'd, NULL: no memory. Without powersafe overwrite
 * (https://www.sqlite.org/psow.html): a card that loses its power may lose all of the sector that it
 * writes, so what is committed shares none with what is written next.
 */
char *db_file_uri(const char *path);
/*
 * A file that is made has another name until it is whole: path + ".making-XXXXXX", mode 0600, with a
 * lock of flock(2) on it, which goes with the process, however that ends. So what is unlocked is what
 * a crash left.
 */
struct db_making {
	char *path; /* NULL: none */
	int fd; /* holds the lock; to be closed after SQLite's own, whose locks it would take along */
};
int db_file_make(const char *path, struct db_making *ret, char words[static DB_WORDS_CAP]);
/* Gives it its name; 0: done; 1: another process was first. Ends the making either way. */
int db_file_made(struct db_making *making, const char *path, char words[static DB_WORDS_CAP]);
/* Ends it; the file and its log go. */
void db_making_end(struct db_making *making);
/* Removes what crashes left of earlier ones, and nothing that another process still makes. Best
 * effort: what cannot be removed is in nobody's way. */
void db_file_sweep(const char *path);
/* May this process write to the file and its folder? 0 or -errno. */
int db_file_writable(const char *path);
