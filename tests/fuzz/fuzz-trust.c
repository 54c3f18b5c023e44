// SPDX-License-Identifier: Apache-2.0
/*
 * Documents offered one after the other, whatever they are. After each: what was refused changed
 * nothing, the bounds hold; at the end: what is in force is given back to a second trust, as at a
 * start, and must be taken and be the same.
 */
#include "core/trust.h"
#include "fuzz/resign.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	return resign_mutate(data, size, max_size, seed);
}

struct snapshot {
	struct applied applied[APPLIED_MAX];
	size_t n;
	uint8_t root[DIGEST_LEN];
};

static struct snapshot take(const struct trust *trust)
{
	struct snapshot s;

	memset(&s, 0, sizeof(s));
	s.n = trust_applied(trust, s.applied);
	memcpy(s.root, trust_root_kid(trust), DIGEST_LEN);
	return s;
}

static bool same(const struct snapshot *a, const struct snapshot *b)
{
	if (a->n != b->n || memcmp(a->root, b->root, DIGEST_LEN) != 0)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->applied[i].name, b->applied[i].name) != 0 ||
		    a->applied[i].iat != b->applied[i].iat ||
		    memcmp(a->applied[i].digest, b->applied[i].digest, DIGEST_LEN) != 0)
			return false;
	return true;
}

static void check_bounds(const struct trust *trust)
{
	must(trust->nchain <= TRUST_CHAIN && trust->nlists <= TRUST_LISTS &&
	     trust->npending <= TRUST_PENDING);
	for (size_t i = 0; i < trust->nlists; i++) {
		const struct trust_list *l = &trust->lists[i];

		must(l->list->len <= trust->max);
		must(trust_find_list(trust, span_str(l->uri)) == l);
		must(trust_list_by_name(trust, span_str(l->name)) == l);
		must(!trust_signer_alive(trust, TOKEN_LIST, &l->held) == (l->held.under != NULL));
	}
	for (size_t i = 0; i < trust->nchain; i++)
		must(trust_keys_by(trust, SPAN(trust->chain[i].kid)) == &trust->chain[i]);
}

static void check_verdict(const struct trust *trust, const struct snapshot *before, int r,
			  const struct trust_change *change)
{
	struct snapshot after = take(trust);

	must(r >= 0);
	must(r == 0 || !change->applied);
	must(!change->kept || r == REASON_UNKNOWN_KEY);
	if (!change->applied)
		must(same(before, &after));
	else
		must(change->held && change->held->iat == change->iat &&
		     memcmp(change->held->digest, change->digest, DIGEST_LEN) == 0);
	check_bounds(trust);
}

static void retry(struct trust *trust)
{
	struct trust_change change;
	struct snapshot before = take(trust);
	int verdict;

	while (trust_retry(trust, &verdict, &change) == 1) {
		check_verdict(trust, &before, verdict, &change);
		must(!change.kept);
		before = take(trust);
	}
}

static int give_back(struct trust *to, const struct held *h)
{
	struct span under = h->under ? span_of(h->under, h->under_len) : (struct span){0};
	struct trust_change change;

	return trust_restore(to, span_of(h->document, h->len), under, &change);
}

static void restart(const struct trust *trust)
{
	struct snapshot before = take(trust), after;
	uint8_t former[TRUST_FORMER][PUBLIC_LEN];
	struct trust *again;

	must(trust_new(trust->max, &again) == 0);
	trust_anchor(again, &trust->anchor);
	for (size_t i = trust_former(trust, former); i-- > 0;)
		trust_restore_former(again, former[i]);
	for (size_t i = 0; i < trust->nchain; i++)
		must(give_back(again, &trust->chain[i]) == 0);
	if (trust->policy_held.document)
		must(give_back(again, &trust->policy_held) == 0);
	for (size_t i = 0; i < trust->nlists; i++)
		must(give_back(again, &trust->lists[i].held) == 0);
	after = take(again);
	must(same(&before, &after));
	must(again->npending == 0);
	trust_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct resign_record records[RESIGN_RECORDS];
	struct trust_topic topic = {.any = true};
	struct trust_change change;
	struct trust *trust;
	struct key root;
	size_t n;

	if (len < RESIGN_HEAD)
		return 0;
	root = sign_key(resign_signer(0), ROLE_ROOT);
	n = resign_records(data, len, records);
	must(trust_new(data[0] & 2 ? 16384 : LIST_BYTES_MAX, &trust) == 0);
	trust_anchor(trust, &root);
	if (data[0] & 4)
		topic = (struct trust_topic){.kind = TOKEN_LIST, .name = "staff"};
	for (size_t i = 0; i < n; i++) {
		struct snapshot before = take(trust);
		int r = trust_offer(trust, records[i].document, &topic, &change);

		check_verdict(trust, &before, r, &change);
		if (change.applied && change.kind == TOKEN_KEYS)
			retry(trust);
		topic.any = true;
	}
	restart(trust);
	trust_free(trust);
	sign_forget();
	return 0;
}
