// SPDX-License-Identifier: Apache-2.0
/* Events filed in batches. See filing.h. */
#include "desk/filing.h"

#include <errno.h>
#include <stdlib.h>

#define BATCH_US  20000
#define BATCH_MAX 500

struct filing {
	sd_event *event;
	struct db *db;
	filing_fn fn;
	void *user;
	struct db *tx;
	unsigned pending;
	sd_event_source *timer;
};

int filing_new(sd_event *event, struct db *db, filing_fn fn, void *user, struct filing **ret)
{
	struct filing *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->event = sd_event_ref(event);
	f->db = db;
	f->fn = fn;
	f->user = user;
	*ret = f;
	return 0;
}

int filing_flush(struct filing *f)
{
	int r;

	if (!f->tx)
		return 0;
	r = db_commit(&f->tx);
	db_rollbackp(&f->tx);
	f->pending = 0;
	return r;
}

void filing_free(struct filing *f)
{
	if (!f)
		return;
	filing_flush(f);
	sd_event_source_disable_unref(f->timer);
	sd_event_unref(f->event);
	free(f);
}

void filing_freep(struct filing **f)
{
	filing_free(*f);
}

/* What fails to commit is lost here, and found missing by the next state of its gateway. */
static int on_timer(sd_event_source *source, uint64_t usec, void *user)
{
	filing_flush(user);
	return 0;
}

int filing_begin(struct filing *f)
{
	int r;

	if (f->tx)
		return 0;
	r = db_begin(f->db, &f->tx);
	if (r < 0)
		return r;
	if (f->timer) {
		r = sd_event_source_set_time_relative(f->timer, BATCH_US);
		if (r >= 0)
			r = sd_event_source_set_enabled(f->timer, SD_EVENT_ONESHOT);
		return r < 0 ? r : 0;
	}
	return sd_event_add_time_relative(f->event, &f->timer, CLOCK_MONOTONIC, BATCH_US, 1000,
					  on_timer, f);
}

int filing_event(struct filing *f, const char *gateway, struct span payload, uint64_t now)
{
	cleanup(filed_deinit) struct filed filed = {0};
	int r = filing_begin(f), flushed;

	if (r < 0)
		return r;
	r = event_file(f->db, gateway, payload, now, &filed);
	if (r == 0 && f->fn)
		f->fn(gateway, &filed, f->user);
	if (r >= 0 && ++f->pending < BATCH_MAX)
		return r;
	flushed = filing_flush(f);
	return r < 0 || flushed == 0 ? r : flushed;
}
