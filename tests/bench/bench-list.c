// SPDX-License-Identifier: Apache-2.0
/*
 * bench-list ENTRIES PER-MILLE ROUNDS: CPU time of what must be cheap whatever the size: a revocation
 * list of so many entries, so many of a thousand revoked, verified, inflated and applied; one decision
 * with it; and, to hold both against, its signature alone. Prints one line of JSON; judges nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/frame.h"
#include "core/gate.h"
#include "unit/sign.h"

#define CALLS 2000

struct times {
	double mean, worst; /* us */
};

static double cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void offer(struct trust *trust, struct span document)
{
	struct trust_topic anywhere = {.any = true};
	struct trust_change change;

	sign_must(trust_offer(trust, document, &anywhere, &change) == 0 && change.applied);
}

static struct trust *trust_with_keys(const struct city *city)
{
	struct key root = sign_key(&city->root, ROLE_ROOT);
	struct trust *trust;

	sign_must(trust_new(LIST_BYTES_MAX, &trust) == 0);
	trust_anchor(trust, &root);
	offer(trust, sign_city_keys(city, &city->root, SIGN_NOW, &city->root));
	return trust;
}

/* 500 of 1000 does not pack at all: the largest document there is. */
static void fill(struct status_list *list, size_t entries, unsigned of_1000)
{
	uint64_t x = 88172645463325252ULL;

	sign_must(status_list_init(list, 1, entries) == 0);
	for (size_t i = 0; i < entries; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		if (i != 7)
			status_list_set(list, i, (x >> 20) % 1000 < of_1000);
	}
}

static struct times apply(const struct city *city, struct status_list *list, unsigned rounds,
			  struct span *ret_last)
{
	cleanup(trust_freep) struct trust *trust = trust_with_keys(city);
	struct times t = {0};

	for (unsigned i = 0; i < rounds; i++) {
		struct sign_list l = {.iat = SIGN_NOW + i};
		double begin, took;

		*ret_last = sign_list_of(list, &l, &city->revoke);
		begin = cpu_us();
		offer(trust, *ret_last);
		took = cpu_us() - begin;
		t.worst = took > t.worst ? took : t.worst;
		t.mean += took / rounds;
	}
	return t;
}

static double signature(const struct city *city, struct span document, unsigned rounds)
{
	double begin = cpu_us();
	struct token token;

	for (unsigned i = 0; i < rounds; i++) {
		sign_must(token_parse(document, &token) == 0);
		sign_must(cose_verify(&token.cose, city->revoke.pub) == 0);
	}
	return (cpu_us() - begin) / rounds;
}

static double decide(const struct city *city, struct status_list *list)
{
	cleanup(trust_freep) struct trust *trust = trust_with_keys(city);
	struct sign_auth a = sign_relayed(city);
	struct gate_lock lock = {.id = SIGN_LOCK};
	struct gate_input in = {.trust = trust,
				.locks = &lock,
				.nlocks = 1,
				.time = {.now = SIGN_NOW, .synchronised = true}};
	struct gate_output out;
	double begin;

	offer(trust, sign_list_of(list, &(struct sign_list){.iat = SIGN_NOW}, &city->revoke));
	in.authorization = sign_auth(&a, &city->authorize);
	begin = cpu_us();
	for (unsigned i = 0; i < CALLS; i++)
		sign_must(gate_decide(&in, &out) == 0);
	return (cpu_us() - begin) / CALLS;
}

/* What goes to the lock: the document, and each frame's head. */
static size_t on_the_air(struct span document, unsigned *ret_frames)
{
	uint8_t frame[FRAME_MAX];
	struct frame_cutter c;
	size_t n, sum = 0;

	frame_cut(&c, document);
	for (*ret_frames = 0; (n = frame_next(&c, FRAME_MAX, frame)) > 0; ++*ret_frames)
		sum += n;
	return sum;
}

int main(int argc, char **argv)
{
	static struct status_list list;
	unsigned long entries = argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
	unsigned of_1000 = argc == 4 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	unsigned rounds = argc == 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0, frames;
	struct city city = city_new();
	struct span document = {0};
	struct times applied;
	size_t bytes;

	if (entries < 8 || of_1000 > 1000 || rounds == 0) {
		fprintf(stderr, "bench-list ENTRIES (8 or more) PER-MILLE ROUNDS\n");
		return 2;
	}
	fill(&list, entries, of_1000);
	applied = apply(&city, &list, rounds, &document);
	bytes = on_the_air(document, &frames);
	printf("{\"entries\":%lu,\"per_mille\":%u,\"document\":%zu,\"air\":%zu,\"frames\":%u,"
	       "\"apply_us\":%.1f,\"worst_us\":%.1f,\"signature_us\":%.1f,\"decision_us\":%.2f}\n",
	       entries, of_1000, document.len, bytes, frames, applied.mean, applied.worst,
	       signature(&city, document, rounds), decide(&city, &list));
	sign_forget();
	return 0;
}
