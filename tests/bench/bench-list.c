// SPDX-License-Identifier: Apache-2.0
/*
 * CPU time of what must be cheap: a revocation list of 1,048,576 entries verified, inflated and
 * applied (to stay under 30 ms), and one decision with lists of very different sizes (to cost the
 * same). Prints; asserts nothing about time.
 */
#include <time.h>

#include "core/gate.h"
#include "unit/sign.h"

#define ENTRIES 1048576
#define ROUNDS	50
#define CALLS	2000

static double cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
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

/* of 1000: how many are revoked. 500 does not pack at all: the largest document there is. */
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

static void bench_apply(const struct city *city, unsigned of_1000)
{
	static struct status_list list;
	cleanup(trust_freep) struct trust *trust = trust_with_keys(city);
	double worst = 0, sum = 0;
	size_t len = 0;

	fill(&list, ENTRIES, of_1000);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct sign_list l = {.iat = SIGN_NOW + i};
		struct span document = sign_list_of(&list, &l, &city->revoke);
		double begin = cpu_ms(), took;

		offer(trust, document);
		took = cpu_ms() - begin;
		worst = took > worst ? took : worst;
		sum += took;
		len = document.len;
	}
	printf("%7d entries, %3u of 1000 revoked, %6zu bytes: mean %6.3f ms, worst %6.3f ms\n",
	       ENTRIES, of_1000, len, sum / ROUNDS, worst);
	sign_forget();
}

static void bench_decide(const struct city *city, size_t entries)
{
	static struct status_list list;
	cleanup(trust_freep) struct trust *trust = trust_with_keys(city);
	struct sign_auth a = sign_relayed(city);
	struct gate_lock lock = {.id = SIGN_LOCK};
	struct gate_input in = {.trust = trust,
				.locks = &lock,
				.nlocks = 1,
				.time = {.now = SIGN_NOW, .synchronised = true}};
	struct gate_output out;
	double begin;

	fill(&list, entries, 20);
	offer(trust, sign_list_of(&list, &(struct sign_list){.iat = SIGN_NOW}, &city->revoke));
	in.authorization = sign_auth(&a, &city->authorize);
	begin = cpu_ms();
	for (unsigned i = 0; i < CALLS; i++)
		sign_must(gate_decide(&in, &out) == 0);
	printf("%7zu entries: one decision %6.1f us\n", entries, (cpu_ms() - begin) * 1e3 / CALLS);
	sign_forget();
}

int main(void)
{
	static const unsigned revoked[] = {0, 1, 20, 500};
	static const size_t sizes[] = {8, 1024, ENTRIES};
	struct city city = city_new();

	for (size_t i = 0; i < ARRAY_SIZE(revoked); i++)
		bench_apply(&city, revoked[i]);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		bench_decide(&city, sizes[i]);
	return 0;
}
