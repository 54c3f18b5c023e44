// SPDX-License-Identifier: Apache-2.0
/* Who lacks a document is sent it, who holds events is asked for them. See behind.h. */
#include "desk/behind.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "desk/events.h"

#define PUSH_FIRST_S	 3  /* city/ reaches most within this */
#define PUSH_PAUSE_S	 10 /* then doubling ... */
#define PUSH_PAUSE_MAX_S 300
#define ASK_PAUSE_S	 10
#define ASK_BLINDLY_S	 3
#define ASK_AGAIN_S	 120 /* a broker may have lost the newest event and the state that told of it */

/* --- pushing ---------------------------------------------------------------------------------- */

struct push {
	struct session *session;
	struct hub_gateway *gateway;
	bool send;
	struct span digests[CURRENT_MAX];
	size_t n;
};

static void push_one(const struct document *d, void *user)
{
	struct push *p = user;

	p->digests[p->n++] = SPAN(d->digest);
	if (p->send)
		session_send_gateway(p->session, TOPIC_DOCUMENT, p->gateway->id, document_span(d));
}

static bool may_push(struct hub_gateway *g, const uint8_t *digest, uint64_t now)
{
	if (memcmp(g->pushed_digest, digest, DIGEST_LEN) != 0) {
		/* behind by something new: city/ has it, give that a moment */
		memcpy(g->pushed_digest, digest, DIGEST_LEN);
		g->behind_since = now;
		g->push_pause = PUSH_PAUSE_S;
		g->pushed = 0;
	}
	if (g->pushed == 0)
		return now >= g->behind_since + PUSH_FIRST_S;
	if (now < g->pushed + g->push_pause)
		return false;
	if (g->push_pause < PUSH_PAUSE_MAX_S)
		g->push_pause *= 2;
	return true;
}

void behind_push(struct session *session, const struct current *current, struct hub_gateway *g,
		 uint64_t now)
{
	struct push p = {.session = session, .gateway = g};
	uint8_t sha[SHA256_LEN];

	if (!g->state || !strcmp(g->presence, "offline"))
		return;
	if (current_lacking(current, g->state, push_one, &p) == 0)
		return;
	crypto_sha256_of(p.digests, p.n, sha);
	if (!may_push(g, sha, now))
		return;
	g->pushed = now;
	p.send = true;
	p.n = 0;
	current_lacking(current, g->state, push_one, &p);
}

/* --- gaps ------------------------------------------------------------------------------------- */

int behind_ask(struct db *db, struct session *session, uint64_t ready_at, struct hub_gateway *g,
	       uint64_t now)
{
	struct message_replay replay = {0};
	cleanup(freep) char *json = NULL;
	bool blindly;
	int r;

	if (!g->state || !strcmp(g->presence, "offline"))
		return 0;
	if (now < g->asked + (g->asked_blindly ? ASK_PAUSE_S : ASK_BLINDLY_S))
		return 0;
	/* A state may be older than the newest event: somewhat later, and then now and again, it is
	 * asked blindly. What is not missing is not sent. */
	blindly = g->asked && now >= ready_at + ASK_BLINDLY_S &&
		  (!g->asked_blindly || now >= g->asked_blindly + ASK_AGAIN_S);
	if (blindly)
		g->asked_blindly = now;
	g->asked = now;
	r = stream_missing(db, g->id, g->state, now, &replay.from);
	if (r < 0 || (r == 0 && !blindly))
		return r;
	snprintf(replay.stream, sizeof(replay.stream), "%s", g->state->stream);
	json = message_replay_encode(&replay);
	return json ? session_send_gateway(session, TOPIC_REPLAY, g->id, span_str(json)) : -ENOMEM;
}
