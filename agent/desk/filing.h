/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Events on their way into the registry, many to a transaction: a commit costs an fsync, and a
 * fleet that confirms a list sends hundreds of events at once.
 */
#include <systemd/sd-event.h>

#include "desk/events.h"

struct filing;

/* Called as each event is filed; it may still be rolled back if the registry fails. */
typedef void (*filing_fn)(const char *gateway, const struct filed *filed, void *user);

int filing_new(sd_event *event, struct db *db, filing_fn fn, void *user, struct filing **ret);
void filing_free(struct filing *f); /* commits */
void filing_freep(struct filing **f);
/* 0, a reason, or < 0. */
int filing_event(struct filing *f, const char *gateway, struct span payload, uint64_t now);
/* Opens the transaction, if none is open: for what else comes with the events. */
int filing_begin(struct filing *f);
/* Commits what is open. */
int filing_flush(struct filing *f);
