// SPDX-License-Identifier: Apache-2.0
/*
 * The store's life: opened, put aside when it is damaged, in trouble while the disk takes nothing.
 */
#include "gateway-private.h"

#include <time.h>

#include "link/db-aside.h"

#define RETRY_US   5000000u
#define OPEN_TRIES 3

/* --- opening ------------------------------------------------------------------------------------ */

static void store_path(const struct gateway *gw, char *ret, size_t cap)
{
	snprintf(ret, cap, "%s/store.db", gw->config.state_dir);
}

/* A crash between putting aside and beginning anew leaves a copy, and no store; a folder that cannot
 * be listed may hold one. */
static bool has_damaged(const char *path)
{
	return db_aside_any(path) != 0;
}

/* A damaged store is put aside, and never read as "nobody revoked": what follows starts empty, says
 * so, and opens nothing until the city has sent its documents again. */
static int open_store(struct gateway *gw, bool fresh, char *error, size_t cap)
{
	char path[300];
	struct store_options options = {
		.path = path,
		.event_bytes_max = gw->config.event_bytes_max,
		.event_keep_s = gw->config.event_keep_s,
		.error = error,
		.error_cap = cap,
	};
	uint8_t flag;
	size_t len;
	int r;

	store_path(gw, path, sizeof(path));
	options.damaged = fresh || has_damaged(path);
	if (fresh) {
		store_close(steal(gw->store));
		r = db_aside(path, (uint64_t)time(NULL));
		if (r < 0) {
			snprintf(error, cap, "%s is damaged and cannot be moved away: %s", path,
				 strerror(-r));
			return r;
		}
	}
	r = store_open(&options, &gw->store);
	if (r == -EBADMSG && !fresh) {
		log_fact(LOG_CRIT,
			 "store is damaged: everything but locking is refused until the "
			 "city's documents are back",
			 "DETAIL", error, NULL);
		return open_store(gw, true, error, cap);
	}
	if (r < 0)
		return r;
	gw->damaged = store_get_value(gw->store, "damaged", &flag, 1, &len) == 0 && len == 1 &&
		      flag == '1';
	return 0;
}

/* Made once; its public half is in `state`, and the city names it in a read authorization. */
static int open_reader(struct gateway *gw)
{
	uint8_t seed[SEED_LEN];
	size_t len;
	int r = store_get_value(gw->store, "reader", seed, sizeof(seed), &len);

	if (r == -ENOENT) {
		crypto_random(seed, sizeof(seed));
		r = store_put_value(gw->store, "reader", SPAN(seed));
	} else if (r == 0 && len != sizeof(seed)) {
		r = -EBADMSG;
	}
	if (r == 0)
		signer_from_seed(seed, &gw->reader);
	crypto_wipe(seed, sizeof(seed));
	return r;
}

static int restore(struct gateway *gw)
{
	int r = open_reader(gw);

	return r < 0 ? r : gateway_documents_restore(gw);
}

static int open_on_disk(struct gateway *gw, char *error, size_t cap)
{
	int r = open_store(gw, false, error, cap);

	if (r < 0)
		return r;
	r = restore(gw);
	if (r < 0)
		snprintf(error, cap, "%s: %s", gw->config.state_dir, store_error(gw->store));
	if (r != -EBADMSG)
		return r;
	log_fact(LOG_CRIT,
		 "stored documents are damaged: everything but locking is refused until "
		 "the city's documents are back",
		 "DETAIL", store_error(gw->store), NULL);
	r = open_store(gw, true, error, cap);
	return r < 0 ? r : restore(gw);
}

static void retry_later(struct gateway *gw);

/* Not a wrong configuration, another agent in possession, or no memory: those end the start. */
static bool is_the_disk(int r)
{
	return r == -EIO || r == -ENOSPC || r == -EROFS || r == -EACCES;
}

int gateway_store_open(struct gateway *gw, char *error, size_t cap)
{
	struct store_options options = {
		.event_bytes_max = gw->config.event_bytes_max,
		.event_keep_s = gw->config.event_keep_s,
		.damaged = true,
	};
	const struct timespec pause = {.tv_nsec = 300000000};
	int trouble, r;

	/* A stumble is not worth a life in memory; nobody waits for the loop yet. */
	for (int tries = 0;; tries++) {
		trouble = open_on_disk(gw, error, cap);
		if (trouble >= 0 || !is_the_disk(trouble))
			return trouble;
		if (tries == OPEN_TRIES - 1)
			break;
		store_close(steal(gw->store));
		nanosleep(&pause, NULL);
	}
	/*
	 * A box whose disk cannot be read goes on telling the city so, and bringing lists to
	 * locks. It moves no bolt: what was opened before is not known, and would not be
	 * remembered.
	 */
	log_fact(LOG_CRIT, "store cannot be opened: nothing opens or locks through this gateway",
		 "DETAIL", error, NULL);
	store_close(steal(gw->store));
	r = store_open(&options, &gw->store);
	if (r < 0)
		return r;
	gw->homeless = gw->damaged = true;
	gw->store_trouble = trouble;
	snprintf(gw->store_words, sizeof(gw->store_words), "%s", error);
	retry_later(gw);
	r = restore(gw);
	gw->ndurable = 0;
	return r;
}

/* Every other module has what it took from memory: it is for the next start to take the right ones. */
static void come_home(struct gateway *gw)
{
	cleanup(store_closep) struct store *store = NULL;
	char path[300], error[600];
	struct store_options options = {
		.path = path,
		.event_bytes_max = gw->config.event_bytes_max,
		.event_keep_s = gw->config.event_keep_s,
		.error = error,
		.error_cap = sizeof(error),
	};
	int r;

	store_path(gw, path, sizeof(path));
	options.damaged = has_damaged(path);
	r = store_open(&options, &store);
	if (r == 0)
		r = store_put_value(store, "probe", span_str("1"));
	if (r == 0 || r == -EBADMSG)
		gateway_fatal(gw, "the store can be opened again: starting anew");
}

/* --- trouble ------------------------------------------------------------------------------------ */

const char *gateway_store_problem(const struct gateway *gw)
{
	return gw->store_trouble == -ENOSPC ? "store-full" : "store-failed";
}

/* While there is trouble, and only then: what waits, and at last a write for its own sake. */
static int on_retry(sd_event_source *source, uint64_t usec, void *user)
{
	struct gateway *gw = user;

	if (gw->homeless)
		come_home(gw);
	gateway_documents_again(gw);
	gateway_unsaid_flush(gw);
	(void)gateway_stored(gw, store_put_value(gw->store, "probe", span_str("1")), "probe");
	if (!gw->store_trouble) {
		gateway_outbox_unacked(gw);
		return 0;
	}
	sd_event_source_set_time_relative(source, RETRY_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void retry_later(struct gateway *gw)
{
	if (!gw->retry) {
		(void)sd_event_add_time_relative(gw->event, &gw->retry, CLOCK_BOOTTIME, RETRY_US,
						 100000, on_retry, gw);
		return;
	}
	sd_event_source_set_time_relative(gw->retry, RETRY_US);
	sd_event_source_set_enabled(gw->retry, SD_EVENT_ONESHOT);
}

/* One success is not the end of it as long as something waits for the disk. */
static void well(struct gateway *gw)
{
	if (!gw->store_trouble || gw->homeless || gw->undurable || gw->nunsaid)
		return;
	gw->store_trouble = 0;
	log_fact(LOG_NOTICE, "the store can be written again", NULL);
	gateway_state_changed(gw, false);
}

int gateway_stored(struct gateway *gw, int r, const char *what)
{
	if (r >= 0 || r == -EEXIST) {
		if (r >= 0)
			well(gw);
		return r;
	}
	if (r == -EBADMSG) /* the next start looks at all of it, and puts it aside */
		gateway_fatal(gw, "the store was damaged while it was open");
	if (!gw->store_trouble) {
		snprintf(gw->store_words, sizeof(gw->store_words), "%s: %s", what,
			 store_error(gw->store));
		log_fact(LOG_ERR, "cannot write to the store", "DETAIL", gw->store_words, NULL);
		retry_later(gw);
	}
	gw->store_trouble = r;
	gateway_state_changed(gw, false);
	return r;
}
