// SPDX-License-Identifier: Apache-2.0
/*
 * The city's documents on disk, and back from there, verified again. A slot's order keeps keys
 * before what they name. What belongs together is one transaction: new keys may cut the chain, move
 * its anchor, and bury the signers of policy and lists, which are then kept with the keys that named
 * them.
 */
#include "gateway-private.h"

#define ORDER_POLICY  100
#define ORDER_LIST    101
#define ORDER_PENDING 200
#define SLOT_MAX      (ID_MAX + 32)

static bool starts(const char *slot, const char *prefix)
{
	return strncmp(slot, prefix, strlen(prefix)) == 0;
}

/* --- to disk ------------------------------------------------------------------------------------ */

static int put(struct gateway *gw, const char *slot, int order, const struct held *held)
{
	return store_put_document(gw->store, slot, order, span_of(held->document, held->len),
				  span_of(held->under, held->under_len));
}

static int put_policy(struct gateway *gw)
{
	return gw->trust->policy_held.document
		       ? put(gw, "policy", ORDER_POLICY, &gw->trust->policy_held)
		       : 0;
}

static int put_list(struct gateway *gw, const struct trust_list *list)
{
	char slot[SLOT_MAX];

	snprintf(slot, sizeof(slot), "list/%s", list->name);
	return put(gw, slot, ORDER_LIST, &list->held);
}

static int put_chain(struct gateway *gw)
{
	const struct trust *trust = gw->trust;
	uint8_t former[TRUST_FORMER][PUBLIC_LEN];
	size_t n = trust_former(trust, former);
	int r = store_delete_documents(gw->store, "keys/");

	for (size_t i = 0; i < trust->nchain && r >= 0; i++) {
		char slot[SLOT_MAX] = "keys/";

		hex_encode(SPAN(trust->chain[i].kid), slot + 5, sizeof(slot) - 5);
		r = put(gw, slot, (int)i, &trust->chain[i]);
	}
	if (r >= 0)
		r = store_put_value(gw->store, "anchor", SPAN(trust->anchor.pub));
	if (r >= 0)
		r = store_put_value(gw->store, "former", span_of(former, n * PUBLIC_LEN));
	return r;
}

/* Keys that wait for the root that signs them: only those are on disk. */
static int put_pending(struct gateway *gw)
{
	int r = store_delete_documents(gw->store, "pending/");

	for (size_t i = 0; i < gw->trust->npending && r >= 0; i++) {
		const struct trust_pending *p = &gw->trust->pending[i];
		char slot[SLOT_MAX];

		if (p->kind != TOKEN_KEYS)
			continue;
		snprintf(slot, sizeof(slot), "pending/%s", p->name);
		r = store_put_document(gw->store, slot, ORDER_PENDING, span_of(p->document, p->len),
				       span_of(NULL, 0));
	}
	return r;
}

int gateway_keep_pending(struct gateway *gw)
{
	cleanup(store_rollbackp) struct store *tx = NULL;
	int r = store_begin(gw->store, &tx);

	if (r == 0)
		r = put_pending(gw);
	return r < 0 ? r : store_commit(&tx);
}

int gateway_keep_all(struct gateway *gw)
{
	cleanup(store_rollbackp) struct store *tx = NULL;
	int r = store_begin(gw->store, &tx);

	if (r == 0)
		r = put_chain(gw);
	if (r == 0)
		r = put_policy(gw);
	for (size_t i = 0; i < gw->trust->nlists && r == 0; i++)
		r = put_list(gw, &gw->trust->lists[i]);
	if (r == 0)
		r = put_pending(gw);
	return r < 0 ? r : store_commit(&tx);
}

int gateway_keep(struct gateway *gw, const struct trust_change *change)
{
	const struct trust_list *list;

	switch (change->kind) {
	case TOKEN_KEYS:
		return gateway_keep_all(gw);
	case TOKEN_POLICY:
		return put_policy(gw);
	case TOKEN_LIST:
		list = trust_list_by_name(gw->trust, span_str(change->name));
		return list ? put_list(gw, list) : -ENOENT;
	case TOKEN_AUTHORIZATION:
	case TOKEN_PRESENTATION:
	case TOKEN_CLAIM:
	case TOKEN_RELEASE:
	case TOKEN_RECEIPT:
	case TOKEN_KINDS:
		break;
	}
	return -EINVAL;
}

/* --- from disk ---------------------------------------------------------------------------------- */

struct restoring {
	struct gateway *gw;
	bool damaged;
};

static int restore_one(const char *slot, struct span document, struct span under, void *user)
{
	struct restoring *restoring = user;
	struct trust *trust = restoring->gw->trust;
	struct trust_topic any = {.any = true};
	struct trust_change change;
	int r;

	if (starts(slot, "reader/"))
		return 0;
	if (starts(slot, "pending/"))
		r = trust_offer(trust, document, &any, &change);
	else
		r = trust_restore(trust, document, under, &change);
	if (r < 0)
		return r;
	if (r > 0 && !starts(slot, "pending/"))
		restoring->damaged = true;
	return 0;
}

/* Enrolled anew with another root: what the old one signed is of no use, and no damage. */
static int other_root(struct gateway *gw)
{
	cleanup(store_rollbackp) struct store *tx = NULL;
	int r = store_begin(gw->store, &tx);

	if (r == 0)
		r = store_delete_documents(gw->store, "");
	if (r == 0)
		r = store_put_value(gw->store, "former", span_of(NULL, 0));
	if (r == 0)
		r = store_put_value(gw->store, "anchor", SPAN(gw->config.root_key));
	if (r == 0)
		r = store_put_value(gw->store, "root", SPAN(gw->config.root_key));
	return r < 0 ? r : store_commit(&tx);
}

static int find_anchor(struct gateway *gw, struct key *ret)
{
	uint8_t pub[PUBLIC_LEN];
	size_t len = 0;
	int r = store_get_value(gw->store, "root", pub, sizeof(pub), &len);

	if (r < 0 && r != -ENOENT)
		return r;
	if (r == -ENOENT || len != PUBLIC_LEN ||
	    memcmp(pub, gw->config.root_key, PUBLIC_LEN) != 0) {
		r = other_root(gw);
		if (r < 0)
			return r;
	}
	r = store_get_value(gw->store, "anchor", pub, sizeof(pub), &len);
	if (r < 0 || len != PUBLIC_LEN)
		return -EBADMSG;
	key_init(ret, pub, ROLE_ROOT);
	return 0;
}

static int restore_former(struct gateway *gw)
{
	uint8_t former[TRUST_FORMER * PUBLIC_LEN];
	size_t len = 0;
	int r = store_get_value(gw->store, "former", former, sizeof(former), &len);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (size_t at = 0; at + PUBLIC_LEN <= len; at += PUBLIC_LEN)
		trust_restore_former(gw->trust, former + at);
	return 0;
}

int gateway_documents_restore(struct gateway *gw)
{
	struct restoring restoring = {.gw = gw};
	struct key anchor;
	int r;

	if (!gw->trust) {
		r = trust_new(LIST_BYTES_MAX, &gw->trust);
		if (r < 0)
			return r;
	}
	r = find_anchor(gw, &anchor);
	if (r < 0)
		return r;
	trust_anchor(gw->trust, &anchor);
	r = restore_former(gw);
	if (r == 0)
		r = store_each_document(gw->store, restore_one, &restoring);
	if (r < 0)
		return r;
	gw->ndurable = trust_applied(gw->trust, gw->durable);
	return restoring.damaged ? -EBADMSG : 0;
}
