// SPDX-License-Identifier: Apache-2.0
/* The city's documents as they are out there. See survey.h. */
#include "desk/survey.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "desk/takeover.h"

#define UNKNOWN_MAX  64
#define ASK_AGAIN_S  5
#define SEND_AGAIN_S 5
#define AHEAD_MAX    4

struct shown { /* what one broker keeps in one slot */
	char slot[SLOT_CAP];
	bool present;
	uint8_t digest[DIGEST_LEN];
	uint64_t sent; /* when it was last published there; 0: not */
	uint8_t sent_digest[DIGEST_LEN];
};

struct unknown { /* a digest that only a gateway can explain */
	char gateway[ID_MAX + 1];
	char name[ID_MAX + 8]; /* as replay wants it: "list/<name>", "policy", "keys" */
	uint8_t digest[DIGEST_LEN];
	uint64_t iat, asked;
};

struct ahead { /* TAKEOVER_AHEAD: judged anew until the key is dropped or the clock right */
	uint8_t digest[DIGEST_LEN];
	bool list;
	uint8_t *document; /* owned */
	size_t len;
};

struct survey {
	const struct desk *desk;
	struct session *session;
	struct shown shown[MQTT_BROKERS_MAX][CURRENT_MAX];
	size_t nshown[MQTT_BROKERS_MAX];
	struct unknown unknown[UNKNOWN_MAX];
	size_t nunknown;
	struct ahead ahead[AHEAD_MAX];
	size_t nahead;
	bool locked;
	char words[300];
};

int survey_new(const struct desk *desk, struct session *session, struct survey **ret)
{
	struct survey *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->desk = desk;
	s->session = session;
	*ret = s;
	return 0;
}

void survey_free(struct survey *s)
{
	for (size_t i = 0; s && i < s->nahead; i++)
		free(s->ahead[i].document);
	free(s);
}

void survey_freep(struct survey **s)
{
	survey_free(*s);
}

/* --- brokers ---------------------------------------------------------------------------------- */

void survey_forget(struct survey *s, size_t broker)
{
	s->nshown[broker] = 0;
}

static struct shown *shown_at(struct survey *s, size_t broker, const char *slot, bool make)
{
	struct shown *list = s->shown[broker];

	for (size_t i = 0; i < s->nshown[broker]; i++)
		if (!strcmp(list[i].slot, slot))
			return &list[i];
	if (!make || s->nshown[broker] == CURRENT_MAX)
		return NULL;
	list = &list[s->nshown[broker]++];
	*list = (struct shown){0};
	snprintf(list->slot, sizeof(list->slot), "%s", slot);
	return list;
}

static bool is_ahead(const struct survey *s, const uint8_t *digest)
{
	for (size_t i = 0; i < s->nahead; i++)
		if (!memcmp(s->ahead[i].digest, digest, DIGEST_LEN))
			return true;
	return false;
}

/* More of them than there is room for say nothing that the first do not. */
static int keep_ahead(struct survey *s, struct span document)
{
	struct ahead *a = &s->ahead[s->nahead];
	struct token t;

	if (s->nahead == AHEAD_MAX || token_parse(document, &t) != 0 || is_ahead(s, t.digest))
		return 0;
	a->document = malloc(document.len);
	if (!a->document)
		return -ENOMEM;
	memcpy(a->document, document.data, document.len);
	a->len = document.len;
	a->list = t.kind == TOKEN_LIST;
	memcpy(a->digest, t.digest, DIGEST_LEN);
	s->nahead++;
	return 0;
}

/* 1: no longer in the way. */
static int judge_again(const struct survey *s, const struct ahead *a, uint64_t now)
{
	int r = foreign_known(s->desk->db, SPAN(a->digest));

	if (r != 0)
		return r;
	r = takeover(s->desk, span_of(a->document, a->len), now);
	return r < 0 ? r : r != TAKEOVER_AHEAD;
}

/* A document under city/, from a broker or a gateway. 1: taken over. */
static int meet(struct survey *s, struct span document, uint64_t now, int *ret_verdict)
{
	int r = takeover(s->desk, document, now);

	if (r < 0)
		return r;
	*ret_verdict = r;
	s->locked |= r == TAKEOVER_LOCKED;
	if (r == TAKEOVER_AHEAD)
		return keep_ahead(s, document);
	return r == TAKEOVER_DONE;
}

int survey_city(struct survey *s, size_t broker, const struct mqtt_message *message, uint64_t now)
{
	/* "<root>/city/": the rest is the slot */
	const char *slot = message->topic + strlen(session_root(s->session)) + strlen("/city/");
	struct shown *shown;
	struct token t;
	int verdict;

	if (strlen(slot) >= SLOT_CAP)
		return 0;
	shown = shown_at(s, broker, slot, true);
	if (shown) {
		shown->present = message->payload.len > 0 && token_parse(message->payload, &t) == 0;
		if (shown->present)
			memcpy(shown->digest, t.digest, DIGEST_LEN);
		/* somebody wrote over what was sent: no pause */
		if (!shown->present || memcmp(shown->digest, shown->sent_digest, DIGEST_LEN) != 0)
			shown->sent = 0;
	}
	if (message->payload.len == 0)
		return 0;
	return meet(s, message->payload, now, &verdict);
}

static bool shows(const struct shown *shown, const struct document *d)
{
	return shown && shown->present && !memcmp(shown->digest, d->digest, DIGEST_LEN);
}

int survey_publish(struct survey *s, const struct current *current, uint64_t now)
{
	int n = 0, r = 0;

	for (size_t i = 0; r == 0 && i < current->n; i++) {
		const struct document *d = &current->docs[i];
		bool wanted = false;

		for (size_t b = 0; b < session_brokers(s->session); b++) {
			struct shown *shown = shown_at(s, b, d->slot, true);

			if (!shown || shows(shown, d))
				continue;
			if (shown->sent + SEND_AGAIN_S > now &&
			    !memcmp(shown->sent_digest, d->digest, DIGEST_LEN))
				continue;
			shown->sent = now;
			memcpy(shown->sent_digest, d->digest, DIGEST_LEN);
			wanted = true;
		}
		if (!wanted)
			continue;
		r = session_send_city(s->session, d->slot, document_span(d));
		n++;
	}
	return r < 0 ? r : n;
}

/* --- gateways --------------------------------------------------------------------------------- */

static void ask(struct survey *s, struct unknown *u, uint64_t now)
{
	struct message_replay replay = {0};
	cleanup(freep) char *json = NULL;

	if (u->asked + ASK_AGAIN_S > now)
		return;
	u->asked = now;
	memcpy(replay.document, u->name, sizeof(replay.document));
	json = message_replay_encode(&replay);
	if (json)
		session_send_gateway(s->session, TOPIC_REPLAY, u->gateway, span_str(json));
}

static struct unknown *unknown_at(struct survey *s, const char *gateway, const uint8_t *digest)
{
	for (size_t i = 0; i < s->nunknown; i++)
		if (!memcmp(s->unknown[i].digest, digest, DIGEST_LEN) &&
		    !strcmp(s->unknown[i].gateway, gateway))
			return &s->unknown[i];
	return NULL;
}

static void forget_unknown(struct survey *s, const uint8_t *digest)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->nunknown; i++)
		if (memcmp(s->unknown[i].digest, digest, DIGEST_LEN) != 0)
			s->unknown[kept++] = s->unknown[i];
	s->nunknown = kept;
}

static int meet_digest(struct survey *s, const char *gateway, const struct message_document *d,
		       uint64_t now)
{
	struct span digest = SPAN(d->is.digest);
	struct unknown *u;
	int r = is_ahead(s, d->is.digest) ? 1 : document_known(s->desk->db, digest);

	if (r == 0)
		r = foreign_known(s->desk->db, digest);
	if (r != 0) {
		forget_unknown(s, d->is.digest);
		return r < 0 ? r : 0;
	}
	u = unknown_at(s, gateway, d->is.digest);
	if (!u && s->nunknown < UNKNOWN_MAX) {
		u = &s->unknown[s->nunknown++];
		*u = (struct unknown){.iat = d->is.iat};
		snprintf(u->gateway, sizeof(u->gateway), "%s", gateway);
		snprintf(u->name, sizeof(u->name), "%s%s", d->list ? "list/" : "", d->is.name);
		memcpy(u->digest, d->is.digest, DIGEST_LEN);
	}
	if (u)
		ask(s, u, now);
	return 0;
}

/* A gateway that no longer holds it has nothing to explain. */
static void forget_gone(struct survey *s, const char *gateway, const struct message_state *state)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->nunknown; i++) {
		bool held = strcmp(s->unknown[i].gateway, gateway) != 0;

		for (size_t k = 0; !held && k < state->ndocuments; k++)
			held = !memcmp(state->documents[k].is.digest, s->unknown[i].digest,
				       DIGEST_LEN);
		if (held)
			s->unknown[kept++] = s->unknown[i];
	}
	s->nunknown = kept;
}

int survey_state(struct survey *s, const char *gateway, const struct message_state *state,
		 uint64_t now)
{
	forget_gone(s, gateway, state);
	for (size_t i = 0; i < state->ndocuments; i++) {
		int r = meet_digest(s, gateway, &state->documents[i], now);

		if (r < 0)
			return r;
	}
	return 0;
}

void survey_ask(struct survey *s, uint64_t now)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->nunknown; i++)
		ask(s, &s->unknown[i], now);
	for (size_t i = 0; i < s->nahead; i++) {
		/* a registry that could not be read: it stays in the way */
		if (judge_again(s, &s->ahead[i], now) > 0)
			free(s->ahead[i].document);
		else
			s->ahead[kept++] = s->ahead[i];
	}
	s->nahead = kept;
}

int survey_copy(struct survey *s, const char *gateway, struct span document, uint64_t now)
{
	struct token t;
	int verdict, r = meet(s, document, now, &verdict);

	if (r < 0 || token_parse(document, &t) != 0)
		return r;
	forget_unknown(s, t.digest); /* one from the future is kept by itself */
	if (verdict == TAKEOVER_FOREIGN || verdict == TAKEOVER_DROPPED) {
		int noted =
			foreign_put(s->desk->db, SPAN(t.digest), now,
				    verdict == TAKEOVER_FOREIGN ? "foreign key" : "dropped key");

		if (noted < 0)
			return noted;
	}
	return r;
}

bool survey_clear(const struct survey *s, const char **ret_words)
{
	char digest[HEX_CAP(DIGEST_LEN)];
	struct survey *w = (struct survey *)s;

	if (s->locked) {
		*ret_words = "the fleet obeys keys that this desk does not have: its registry is "
			     "older than a rotation";
		return false;
	}
	for (size_t i = 0; i < s->nahead; i++) {
		if (!s->ahead[i].list)
			continue;
		hex_encode(SPAN(s->ahead[i].digest), digest, sizeof(digest));
		snprintf(w->words, sizeof(w->words),
			 "a list (%s) by this desk's own key is dated ahead of this desk's clock. "
			 "If "
			 "the clock is right, the key is stolen: keys rotate revoke",
			 digest);
		*ret_words = w->words;
		return false;
	}
	for (size_t i = 0; i < s->nunknown; i++) {
		/* An older one than the field had besides: what it revoked is in that, or valid
		 * again. What this registry signed itself proves nothing of the kind. */
		if (strncmp(s->unknown[i].name, "list/", 5) != 0 ||
		    document_taken_over_since(s->desk->db, s->unknown[i].name, s->unknown[i].iat) >
			    0)
			continue;
		hex_encode(SPAN(s->unknown[i].digest), digest, sizeof(digest));
		snprintf(w->words, sizeof(w->words),
			 "gateway %s holds a list (%s) that this registry does not know; it was "
			 "asked for it. If it is not the city's: disown %s",
			 s->unknown[i].gateway, digest, digest);
		*ret_words = w->words;
		return false;
	}
	return true;
}
