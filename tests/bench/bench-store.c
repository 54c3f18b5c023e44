/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-store [FOLDER]: how long the store keeps the loop waiting, on the disk of FOLDER (the
 * present one): accepting an authorization, changing its phase, an event, documents, opening.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/crypto.h"
#include "link/store.h"

#define ROUNDS	 300
#define STANDING 20000 /* events that are there already */

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void show(const char *what, double *ms, size_t n)
{
	qsort(ms, n, sizeof(*ms), compare);
	printf("%-28s n %4zu  median %7.3f ms  p99 %7.3f ms  worst %7.3f ms\n", what, n, ms[n / 2],
	       ms[n * 99 / 100], ms[n - 1]);
}

static void must(int r, const char *what, const struct store *store)
{
	if (r >= 0)
		return;
	fprintf(stderr, "%s: %s (%s)\n", what, strerror(-r), store ? store_error(store) : "");
	exit(1);
}

static void payload_of(char payload[static 400])
{
	memset(payload, 'x', 399);
	payload[399] = '\0';
}

static void bench_authorizations(struct store *store)
{
	static double accept[ROUNDS], phase[ROUNDS], find[ROUNDS];
	struct store_authorization auth = {.lock = "lock-1",
					   .phase = STORE_ACCEPTED,
					   .first = "pending"},
				   found;
	char payload[400];

	payload_of(payload);
	for (int i = 0; i < ROUNDS; i++) {
		double begin = now_ms();

		crypto_random(auth.cti, CTI_LEN);
		must(store_accept(store, &auth, payload), "store_accept", store);
		accept[i] = now_ms() - begin;
		begin = now_ms();
		must(store_find(store, auth.cti, &found), "store_find", store);
		find[i] = now_ms() - begin;
		begin = now_ms();
		must(store_phase(store, auth.cti, STORE_DONE, "done", payload), "store_phase",
		     store);
		phase[i] = now_ms() - begin;
	}
	show("store_accept with event", accept, ROUNDS);
	show("store_phase with event", phase, ROUNDS);
	show("store_find", find, ROUNDS);
}

static void bench_documents(struct store *store)
{
	static double small[50], large[20];
	static uint8_t bytes[TOKEN_LIST_MAX];
	struct span none = {0};

	crypto_random(bytes, sizeof(bytes));
	for (int i = 0; i < 50; i++) {
		double begin = now_ms();

		must(store_put_document(store, "policy", 1, span_of(bytes + i, 400), none),
		     "store_put_document", store);
		small[i] = now_ms() - begin;
	}
	for (int i = 0; i < 20; i++) {
		double begin = now_ms();

		bytes[0] = (uint8_t)i;
		must(store_put_document(store, "list/staff", 2, SPAN(bytes), none),
		     "store_put_document", store);
		large[i] = now_ms() - begin;
	}
	show("store_put_document 400 B", small, 50);
	show("store_put_document 144 KiB", large, 20);
}

static void bench_events(struct store *store)
{
	static double event[ROUNDS], acked[ROUNDS];
	uint8_t prev[SHA256_LEN];
	char payload[400];
	uint64_t seq;

	payload_of(payload);
	for (int i = 0; i < ROUNDS; i++) {
		double begin = now_ms();

		store_event_next(store, &seq, prev);
		must(store_event(store, seq, payload, (struct span){0}, 1), "store_event", store);
		event[i] = now_ms() - begin;
		begin = now_ms();
		must(store_acked(store, seq), "store_acked", store);
		acked[i] = now_ms() - begin;
	}
	show("store_event", event, ROUNDS);
	show("store_acked", acked, ROUNDS);
}

static void fill(struct store *store)
{
	uint8_t prev[SHA256_LEN];
	char payload[400];
	uint64_t seq;

	payload_of(payload);
	for (int i = 0; i < STANDING; i++) {
		store_event_next(store, &seq, prev);
		must(store_event(store, seq, payload, (struct span){0}, 1), "store_event", store);
	}
}

static void bench_open(const struct store_options *options, const char *what)
{
	static double open[10];

	for (int i = 0; i < 10; i++) {
		struct store *store = NULL;
		double begin = now_ms();

		must(store_open(options, &store), options->error, NULL);
		open[i] = now_ms() - begin;
		store_close(store);
	}
	show(what, open, 10);
}

int main(int argc, char **argv)
{
	char dir[300], path[320], error[600] = "";
	struct store_options options = {.path = path,
					.event_bytes_max = 1 << 30,
					.event_keep_s = 1000,
					.error = error,
					.error_cap = sizeof(error)};
	struct store *store = NULL;

	snprintf(dir, sizeof(dir), "%s/bench-store-XXXXXX", argc > 1 ? argv[1] : ".");
	if (crypto_init() < 0 || !mkdtemp(dir)) {
		perror(dir);
		return 1;
	}
	snprintf(path, sizeof(path), "%s/store.db", dir);
	must(store_open(&options, &store), error, NULL);
	bench_authorizations(store);
	bench_events(store);
	bench_documents(store);
	store_close(store);
	bench_open(&options, "store_open, small");
	if (getenv("BENCH_LONG")) {
		struct stat st;

		must(store_open(&options, &store), error, NULL);
		fill(store);
		bench_authorizations(store);
		store_close(store);
		if (stat(path, &st) == 0)
			printf("with %d events, %lld KiB:\n", STANDING,
			       (long long)st.st_size / 1024);
		bench_open(&options, "store_open");
	}
	unlink(path);
	rmdir(dir);
	return 0;
}
