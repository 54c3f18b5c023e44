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
/* An empty file of mode 0600 beside path, under a name that nobody has. */
int db_file_temporary(const char *path, char **ret, char words[static DB_WORDS_CAP]);
/* May this process write to the file and its folder? 0 or -errno. */
int db_file_writable(const char *path);
/* Gives the temporary file its name; 0: done; 1: another process was first, ours is gone. */
int db_file_name(const char *temporary, const char *path, char words[static DB_WORDS_CAP]);
