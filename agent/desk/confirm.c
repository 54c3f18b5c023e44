// SPDX-License-Identifier: Apache-2.0
/* Counting who holds what. See confirm.h. */
#include "desk/confirm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "desk/fleet.h"

#define CACHE 16

struct member {
	char id[ID_MAX + 1];
	bool holds;
	bool unfiled; /* what says so */
	uint64_t n;   /* of the receipt that says so: of a lock, the highest seen */
};

struct members {
	struct member *list;
	size_t n, holding;
};

struct confirm {
	struct db *db;
	struct confirm_target target;
	struct members gateways, locks;
	/* Verdicts by iat and digest, as they were named: a fleet names few. */
	struct {
		uint64_t iat;
		uint8_t digest[DIGEST_LEN];
		bool says;
	} cache[CACHE];
	size_t ncache, next;
};

/* --- what a document says --------------------------------------------------------------------- */

static int list_says(const struct document *d, const struct confirm_target *t)
{
	cleanup(freep) struct status_list *list = malloc(sizeof(*list));
	int r;

	if (!list)
		return -ENOMEM;
	r = document_entries(d, list);
	if (r < 0)
		return r;
	for (size_t i = 0; i < t->nindexes; i++) {
		unsigned status = status_list_get(list, t->indexes[i]);

		if ((status != 0) != t->bad || (t->status && status != t->status))
			return 0;
	}
	return 1;
}

static const char *name_in_applied(const struct confirm_target *t)
{
	if (!strncmp(t->slot, "list/", 5))
		return t->slot + 5;
	return strncmp(t->slot, "keys/", 5) != 0 ? t->slot : "keys";
}

static int one_says(struct db *db, const struct confirm_target *t, const struct applied *a)
{
	cleanup(document_deinit) struct document d = {0};
	int r;

	if (!strncmp(t->slot, "keys/", 5)) {
		r = document_known(db, SPAN(a->digest));
		return r <= 0 ? r : a->iat >= t->iat;
	}
	r = document_by_digest(db, t->slot, SPAN(a->digest), &d);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (d.iat != a->iat)
		return 0;
	return t->nindexes ? list_says(&d, t) : d.iat >= t->iat;
}

int confirm_says(struct db *db, const struct confirm_target *target, const struct applied *applied,
		 size_t napplied)
{
	for (size_t i = 0; i < napplied; i++)
		if (!strcmp(applied[i].name, name_in_applied(target)))
			return one_says(db, target, &applied[i]);
	return 0;
}

/* The same, remembered. */
static int says(struct confirm *c, const struct applied *a)
{
	int r;

	if (strcmp(a->name, name_in_applied(&c->target)) != 0)
		return 0;
	for (size_t i = 0; i < c->ncache; i++)
		if (c->cache[i].iat == a->iat && !memcmp(c->cache[i].digest, a->digest, DIGEST_LEN))
			return c->cache[i].says;
	r = one_says(c->db, &c->target, a);
	if (r < 0)
		return r;
	/* What is not known yet may be signed a moment later. */
	if (document_known(c->db, SPAN(a->digest)) <= 0)
		return r;
	c->cache[c->next].iat = a->iat;
	memcpy(c->cache[c->next].digest, a->digest, DIGEST_LEN);
	c->cache[c->next].says = r;
	c->next = (c->next + 1) % CACHE;
	if (c->ncache < CACHE)
		c->ncache++;
	return r;
}

/* --- members ---------------------------------------------------------------------------------- */

static int add(struct members *m, const char *id)
{
	struct member *list = reallocarray(m->list, m->n + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	m->list = list;
	list = &list[m->n++];
	*list = (struct member){0};
	snprintf(list->id, sizeof(list->id), "%s", id);
	return 0;
}

static int add_gateway(const char *id, void *user)
{
	struct confirm *c = user;

	return add(&c->gateways, id);
}

static int add_lock(const struct lock_row *lock, void *user)
{
	struct confirm *c = user;
	int r = receipt_released(c->db, lock->id);

	/* One that was let go has nothing to prove any more. */
	return r < 0 ? r : r > 0 ? 0 : add(&c->locks, lock->id);
}

static int by_id(const void *a, const void *b)
{
	return strcmp(a, ((const struct member *)b)->id);
}

static struct member *find(const struct members *m, const char *id)
{
	return m->n ? bsearch(id, m->list, m->n, sizeof(*m->list), by_id) : NULL;
}

static void set_holds(struct members *m, struct member *member, bool holds)
{
	m->holding += holds;
	m->holding -= member->holds;
	member->holds = holds;
}

int confirm_new(struct db *db, const struct confirm_target *target, struct confirm **ret)
{
	cleanup(confirm_freep) struct confirm *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->db = db;
	c->target = *target;
	r = gateway_each(db, add_gateway, c);
	if (r == 0)
		r = lock_each(db, add_lock, c);
	if (r == 0)
		r = confirm_locks(c);
	if (r < 0)
		return r;
	*ret = steal(c);
	return 0;
}

void confirm_free(struct confirm *c)
{
	if (!c)
		return;
	free(c->gateways.list);
	free(c->locks.list);
	free(c);
}

void confirm_freep(struct confirm **c)
{
	confirm_free(*c);
}

static int judge(struct confirm *c, struct member *m, const struct receipt *receipt)
{
	int r = receipt_frees(receipt);

	for (size_t i = 0; r == 0 && i < receipt->result.napplied; i++)
		r = says(c, &receipt->result.applied[i]);
	if (r < 0)
		return r;
	m->n = receipt->result.n;
	set_holds(&c->locks, m, r > 0);
	return 0;
}

static int look_at_lock(struct confirm *c, struct member *m)
{
	struct receipt newest;
	int r = receipt_newest(c->db, m->id, &newest);

	if (r == -ENOENT || (r == 0 && newest.result.n < m->n))
		return 0;
	m->unfiled = m->unfiled && r < 0;
	return r < 0 ? r : judge(c, m, &newest);
}

int confirm_locks(struct confirm *c)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->locks.n; i++)
		r = look_at_lock(c, &c->locks.list[i]);
	return r;
}

int confirm_receipt(struct confirm *c, const struct receipt *receipt)
{
	struct member *m = find(&c->locks, receipt->lock);
	int r;

	if (!m || !receipt->result.has_n)
		return 0;
	r = look_at_lock(c, m);
	if (r < 0 || receipt->result.n <= m->n)
		return r;
	m->unfiled = true;
	return judge(c, m, receipt);
}

int confirm_filed(struct confirm *c)
{
	for (size_t i = 0; i < c->locks.n; i++) {
		struct member *m = &c->locks.list[i];
		int r = m->unfiled ? look_at_lock(c, m) : 0;

		if (r < 0 || m->unfiled)
			return r < 0 ? r : 0;
	}
	return 1;
}

int confirm_gateway(struct confirm *c, const char *gateway, const struct message_state *state)
{
	struct member *m = find(&c->gateways, gateway);
	int r = 0;

	if (!m)
		return 0;
	for (size_t i = 0; r == 0 && i < state->ndocuments; i++)
		r = says(c, &state->documents[i].is);
	if (r < 0)
		return r;
	set_holds(&c->gateways, m, r > 0);
	return 0;
}

/* --- asking ----------------------------------------------------------------------------------- */

void confirm_counts(const struct confirm *c, struct confirm_counts *ret)
{
	*ret = (struct confirm_counts){
		.gateways = c->gateways.holding,
		.gateways_of = c->gateways.n,
		.locks = c->locks.holding,
		.locks_of = c->locks.n,
	};
}

bool confirm_complete(const struct confirm *c)
{
	return c->gateways.holding == c->gateways.n && c->locks.holding == c->locks.n;
}

void confirm_each_missing(const struct confirm *c,
			  void (*fn)(bool is_lock, const char *id, void *user), void *user)
{
	for (size_t i = 0; i < c->gateways.n; i++)
		if (!c->gateways.list[i].holds)
			fn(false, c->gateways.list[i].id, user);
	for (size_t i = 0; i < c->locks.n; i++)
		if (!c->locks.list[i].holds)
			fn(true, c->locks.list[i].id, user);
}
