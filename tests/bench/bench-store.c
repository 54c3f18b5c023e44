/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-store fill FILE EVENTS    makes a store in which so many events wait for a PUBACK
 * bench-store cost FILE ROUNDS    what one more costs in a store that is there: an event, an accepted
 *                                 authorization with its event, its phase, an acknowledgement; opening
 *
 * How long the store keeps the loop waiting, wall time, on the disk that FILE is on; beside it what the
 * disk asks for one write of a page that is synced. Prints one line of JSON; judges nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/crypto.h"
#include "link/store.h"

#define PAGE	   4096
#define ROUNDS_MAX 2000
#define EVENT	   400 /* bytes, as one with a receipt has */

struct sample {
	double ms[ROUNDS_MAX];
	size_t n;
};

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void sampled(struct sample *s, double begin)
{
	s->ms[s->n++] = now_ms() - begin;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void show(const char *what, struct sample *s)
{
	qsort(s->ms, s->n, sizeof(s->ms[0]), compare);
	printf("\"%s\":{\"p50\":%.4f,\"p99\":%.4f},", what, s->ms[s->n / 2],
	       s->ms[s->n * 99 / 100]);
}

static void must(int r, const char *what, const struct store *store)
{
	if (r >= 0)
		return;
	fprintf(stderr, "bench-store: %s: %s (%s)\n", what, strerror(-r),
		store ? store_error(store) : "");
	exit(1);
}

static struct store *open_store(const char *path)
{
	char error[600] = "";
	struct store_options options = {.path = path,
					.event_bytes_max = 1ULL << 36,
					.event_keep_s = 1000,
					.error = error,
					.error_cap = sizeof(error)};
	struct store *store = NULL;

	must(store_open(&options, &store), error, NULL);
	return store;
}

/* As the gateway writes them, as far as the store and a broker care. */
static void payload_of(uint64_t seq, char payload[static EVENT + 1])
{
	int n = snprintf(payload, EVENT + 1, "{\"type\":\"bench\",\"seq\":%llu,\"filler\":\"",
			 (unsigned long long)seq);

	memset(payload + n, 'x', EVENT - (size_t)n - 2);
	memcpy(payload + EVENT - 2, "\"}", 3);
}

static void add_event(struct store *store)
{
	uint8_t prev[SHA256_LEN];
	char payload[EVENT + 1];
	uint64_t seq;

	must(store_event_next(store, &seq, prev), "store_event_next", store);
	payload_of(seq, payload);
	must(store_event(store, seq, payload, (struct span){0}, 1), "store_event", store);
}

static int fill(const char *path, unsigned long events)
{
	struct store *store = open_store(path);
	double begin = now_ms();

	for (unsigned long i = 0; i < events; i++)
		add_event(store);
	store_close(store);
	printf("{\"events\":%lu,\"ms\":%.0f}\n", events, now_ms() - begin);
	return 0;
}

static void cost_of_events(struct store *store, size_t rounds)
{
	static struct sample event, acked;
	uint64_t oldest, newest, waiting;

	must(store_event_stats(store, &oldest, &newest, &waiting), "store_event_stats", store);
	printf("\"waiting\":%llu,", (unsigned long long)waiting);
	for (size_t i = 0; i < rounds; i++) {
		double begin = now_ms();

		add_event(store);
		sampled(&event, begin);
		begin = now_ms();
		must(store_acked(store, newest + 1 + i), "store_acked", store);
		sampled(&acked, begin);
	}
	show("event_ms", &event);
	show("acked_ms", &acked);
}

static void cost_of_authorizations(struct store *store, size_t rounds)
{
	static struct sample accept, phase, find;
	struct store_authorization auth = {.lock = "lock-1",
					   .phase = STORE_ACCEPTED,
					   .first = "pending"},
				   found;
	char payload[EVENT + 1];

	payload_of(0, payload);
	for (size_t i = 0; i < rounds; i++) {
		double begin = now_ms();

		crypto_random(auth.cti, CTI_LEN);
		must(store_accept(store, &auth, payload), "store_accept", store);
		sampled(&accept, begin);
		begin = now_ms();
		must(store_find(store, auth.cti, &found), "store_find", store);
		sampled(&find, begin);
		begin = now_ms();
		must(store_phase(store, auth.cti, STORE_DONE, "done", payload), "store_phase",
		     store);
		sampled(&phase, begin);
	}
	show("accept_ms", &accept);
	show("find_ms", &find);
	show("phase_ms", &phase);
}

static void cost_of_documents(struct store *store, size_t rounds)
{
	static struct sample small, large;
	static uint8_t bytes[TOKEN_LIST_MAX];

	crypto_random(bytes, sizeof(bytes));
	for (size_t i = 0; i < rounds / 4 + 1; i++) {
		double begin = now_ms();

		bytes[0]++;
		must(store_put_document(store, "list/small", 1, span_of(bytes, 400),
					(struct span){0}),
		     "store_put_document", store);
		sampled(&small, begin);
		begin = now_ms();
		must(store_put_document(store, "list/large", 2, SPAN(bytes), (struct span){0}),
		     "store_put_document", store);
		sampled(&large, begin);
	}
	show("document_400_ms", &small);
	show("document_144k_ms", &large);
}

/* A page over and over in a file of its own, beside: what one durable write takes at least. */
static void cost_of_the_disk(const char *path, size_t rounds)
{
	static struct sample sync;
	static const uint8_t page[PAGE] = {1};
	char beside[4096];
	int fd;

	snprintf(beside, sizeof(beside), "%s-page", path);
	fd = open(beside, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd < 0 ? -errno : 0, beside, NULL);
	for (size_t i = 0; i < rounds; i++) {
		double begin = now_ms();

		must(pwrite(fd, page, PAGE, (off_t)(i * PAGE)) == PAGE ? 0 : -EIO, beside, NULL);
		must(fdatasync(fd) < 0 ? -errno : 0, beside, NULL);
		sampled(&sync, begin);
	}
	close(fd);
	unlink(beside);
	show("fsync_ms", &sync);
}

static int cost(const char *path, unsigned long rounds)
{
	double begin = now_ms();
	struct store *store = open_store(path);

	printf("{\"open_ms\":%.2f,", now_ms() - begin);
	cost_of_events(store, rounds);
	cost_of_authorizations(store, rounds);
	cost_of_documents(store, rounds);
	cost_of_the_disk(path, rounds);
	store_close(store);
	printf("\"rounds\":%lu}\n", rounds);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long n = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;

	if (argc == 4 && crypto_init() == 0 && n > 0) {
		if (strcmp(argv[1], "fill") == 0)
			return fill(argv[2], n);
		if (strcmp(argv[1], "cost") == 0 && n <= ROUNDS_MAX)
			return cost(argv[2], n);
	}
	fprintf(stderr, "bench-store fill FILE EVENTS | cost FILE ROUNDS (at most %d)\n",
		ROUNDS_MAX);
	return 2;
}
