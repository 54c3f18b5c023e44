// SPDX-License-Identifier: Apache-2.0
/* Read authorizations: they open nothing, and let the gateway fetch a lock's log. */
#include "gateway-private.h"

#define ORDER_READER 300
#define PREFIX	     "reader/"

/* For this gateway's own key, judged as of now. */
static int judge(struct gateway *gw, struct span document, struct gate_output *ret)
{
	struct gate_lock locks[CONFIG_LOCKS];
	struct gate_input in = {.authorization = document};
	int r;

	gateway_gate_input(gw, &in, locks);
	r = gate_decide_reader(&in, gw->reader.kid, ret);
	ret->lock = NULL; /* it pointed into locks */
	return r;
}

int gateway_reader_take(struct gateway *gw, struct span payload, struct token *ret)
{
	struct gate_output out = {0};
	struct gateway_lock *gl;
	char slot[ID_MAX + 16];
	int r = judge(gw, payload, &out);

	*ret = out.token;
	if (r != 0)
		return r;
	gl = gateway_lock_find(gw, out.token.aud);
	if (!gl || out.token.iat < gl->reader_iat)
		return 0;
	snprintf(slot, sizeof(slot), PREFIX "%s", gl->config.id);
	/* Used whatever the disk says: lost with a restart, the city sends another. */
	(void)gateway_stored(
		gw, store_put_document(gw->store, slot, ORDER_READER, payload, span_of(NULL, 0)),
		"reader");
	gl->reader_iat = out.token.iat;
	gl->reader_exp = out.token.exp;
	log_fact(LOG_INFO, "may read the lock's log", "LOCK", gl->config.id, NULL);
	if (lock_set_reader(gl->lock, payload) < 0)
		log_fact(LOG_ERR, "read authorization cannot be used", "LOCK", gl->config.id, NULL);
	gateway_state_changed(gw, false);
	return 0;
}

static int restore(const char *slot, struct span document, struct span under, void *user)
{
	struct gateway *gw = user;
	struct gate_output out = {0};
	struct gateway_lock *gl;

	if (judge(gw, document, &out) != 0)
		return 0; /* out of time: the city sends a new one when `state` lacks it */
	gl = gateway_lock_find(gw, out.token.aud);
	if (!gl || gl->reader_exp)
		return 0;
	gl->reader_iat = out.token.iat;
	gl->reader_exp = out.token.exp;
	(void)lock_set_reader(gl->lock, document);
	return 0;
}

void gateway_readers_restore(struct gateway *gw)
{
	(void)store_each_document_of(gw->store, PREFIX, restore, gw);
}

static int drop(const char *slot, struct span document, struct span under, void *user)
{
	struct gateway *gw = user;
	struct gate_output out = {0};
	struct gateway_lock *gl;

	gl = gateway_lock_find(gw, span_str(slot + strlen(PREFIX)));
	if (!gl || !gl->reader_exp || judge(gw, document, &out) == 0)
		return 0;
	gl->reader_exp = 0;
	(void)lock_set_reader(gl->lock, span_of(NULL, 0));
	return 0;
}

void gateway_readers_check(struct gateway *gw)
{
	(void)store_each_document_of(gw->store, PREFIX, drop, gw);
}
