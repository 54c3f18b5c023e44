/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Files put in their place in two steps, so that a full disk or a crash leaves everything as it was:
 * first each is written whole beside its place and synced, then each gets its name by a rename.
 * Errors: -errno, with a line that says which file and what to do.
 */
#include <sys/types.h>

#include "core/span.h"

#define INSTALL_WORDS_CAP 512

struct install_file {
	const char *path; /* borrowed */
	struct span bytes;
	mode_t mode;
	uid_t uid; /* (uid_t)-1 and (gid_t)-1: who runs this */
	gid_t gid;
	const char
		*old; /* what is there now stays under its name with this behind it; NULL: goes */
	char *temporary; /* install_stage's; install_drop frees */
};

int install_stage(struct install_file *file, char words[static INSTALL_WORDS_CAP]);
/* The rename; the folder is synced. */
int install_commit(struct install_file *file, char words[static INSTALL_WORDS_CAP]);
/* The same, but what is there by now stays: that is 0, too. */
int install_link(struct install_file *file, char words[static INSTALL_WORDS_CAP]);
/* What was staged and not committed goes away. */
void install_drop(struct install_file *file);
/* All in one, for a file that is there: owner and mode stay. */
int install_replace(const char *path, struct span bytes, char words[static INSTALL_WORDS_CAP]);
