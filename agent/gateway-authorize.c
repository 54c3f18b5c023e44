// SPDX-License-Identifier: Apache-2.0
/*
 * Authorizations: decided when they arrive and again right before the first byte goes to the lock;
 * their cti on disk in between; their outcome on disk with the event that tells it. What nobody
 * knows stays open until the lock's log says so.
 */
#include "gateway-private.h"

static const char *hex_cti(const uint8_t cti[static CTI_LEN], char ret[static HEX_CAP(CTI_LEN)])
{
	hex_encode(span_of(cti, CTI_LEN), ret, HEX_CAP(CTI_LEN));
	return ret;
}

void gateway_gate_input(struct gateway *gw, struct gate_input *in,
			struct gate_lock locks[static CONFIG_LOCKS])
{
	for (size_t i = 0; i < gw->nlocks; i++) {
		struct gateway_lock *gl = gw->locks[i];

		locks[i] = (struct gate_lock){.id = gl->config.id, .busy = lock_busy(gl->lock)};
		locks[i].has_challenge = lock_challenge(gl->lock, locks[i].challenge);
	}
	in->side = GATE_GATEWAY;
	in->trust = gw->trust;
	in->locks = locks;
	in->nlocks = gw->nlocks;
	in->time = gateway_time(gw);
}

/* After damage to the store this box cannot know what was revoked: locking only. */
static int decide(struct gateway *gw, const struct gate_input *in, struct gate_output *ret)
{
	int r = gate_decide(in, ret);

	if (r == 0 && gw->homeless)
		return REASON_LOCK_ERROR; /* it would not be remembered */
	if (r == 0 && gw->damaged && ret->token.scope != SCOPE_LOCK)
		return REASON_NO_LIST;
	return r;
}

/* --- refused ------------------------------------------------------------------------------------ */

static void fill_event(struct event *event, const struct token *token, struct span correlation)
{
	event->correlation = correlation;
	if (token->cti.len == CTI_LEN) {
		event->has_cti = true;
		memcpy(event->cti, token->cti.data, CTI_LEN);
	}
	event->scope = token->has & CLAIM_SCOPE ? token->scope : SCOPE_NONE;
	if (id_valid(token->aud))
		memcpy(event->lock, token->aud.data, token->aud.len);
}

static void fill_row(struct store_authorization *row, const struct token *token,
		     struct span correlation)
{
	memcpy(row->cti, token->cti.data, CTI_LEN);
	memcpy(row->lock, token->aud.data, token->aud.len);
	row->exp = token->exp;
	row->scope = token->scope;
	row->correlation_len = correlation.len;
	if (correlation.len)
		memcpy(row->correlation, correlation.data, correlation.len);
}

/* A refused cti is spent too, once the city's signature on it held. */
static void refuse(struct gateway *gw, const struct gate_output *out, enum reason reason,
		   const char *first, struct span correlation)
{
	struct event event = {.type = EVENT_AUTHORIZATION_REFUSED, .reason = reason};
	struct store_authorization row = {.phase = STORE_DONE, .first = "refused"};
	char cti[HEX_CAP(CTI_LEN)] = "";
	cleanup(freep) char *text = NULL;
	int r;

	gw->counters.refused[reason]++;
	fill_event(&event, &out->token, correlation);
	if (first)
		snprintf(event.first, sizeof(event.first), "%s", first);
	if (reason == REASON_STALE_CHALLENGE && out->lock) {
		event.has_challenge = true;
		memcpy(event.challenge, out->lock->challenge, CHALLENGE_LEN);
	}
	if (event.has_cti)
		hex_cti(event.cti, cti);
	log_fact(LOG_NOTICE, "authorization refused", "LOCK", event.lock, "CTI", cti, "REASON",
		 reason_word(reason), NULL);
	if (reason == REASON_LOCK_ERROR && gw->store_trouble)
		snprintf(event.detail, sizeof(event.detail), "%s", gateway_store_problem(gw));
	if (!out->verified || !event.has_cti || first) {
		gateway_event_now(gw, &event);
		return;
	}
	text = gateway_event_encode(gw, &event);
	fill_row(&row, &out->token, correlation);
	r = text ? store_accept(gw->store, &row, text) : -ENOMEM;
	if (gateway_stored(gw, r, "refusal") == 0) {
		gateway_event_stored(gw, text);
	} else if (r == -EEXIST) {
		gateway_event_now(gw, &event);
	} else {
		/* The city waits for a word; that it is spent goes to disk when there is one. */
		gateway_event_aside(gw, &event);
		(void)gateway_unsaid_refusal(gw, &event, row.exp);
	}
}

/* --- accepted ----------------------------------------------------------------------------------- */

static void copy_command(struct lock_command *command, const struct token *token,
			 struct span document, struct span correlation)
{
	memcpy(command->cti, token->cti.data, CTI_LEN);
	command->scope = token->scope;
	command->exp = token->exp;
	memcpy(command->document, document.data, document.len);
	command->len = document.len;
	command->correlation_len = correlation.len;
	if (correlation.len)
		memcpy(command->correlation, correlation.data, correlation.len);
}

static uint64_t patience(const struct token *token, const struct time_verdict *time)
{
	uint64_t left = token->exp > time->now ? (token->exp - time->now) * 1000 : 0;

	return left < GATEWAY_WAIT_MS ? left : GATEWAY_WAIT_MS;
}

static void accept(struct gateway *gw, struct gateway_lock *gl, const struct gate_input *in,
		   const struct gate_output *out, struct span correlation)
{
	struct store_authorization row = {.phase = STORE_ACCEPTED, .first = "pending"};
	struct event event = {.type = EVENT_AUTHORIZATION_ACCEPTED};
	char cti[HEX_CAP(CTI_LEN)];
	struct lock_command command = {0};
	cleanup(freep) char *text = NULL;
	int r;

	/* The radio connects while the disk syncs; nothing is sent before lock_commit(). */
	copy_command(&command, &out->token, in->authorization, correlation);
	if (lock_command(gl->lock, &command, patience(&out->token, &in->time)) < 0) {
		refuse(gw, out, REASON_BUSY, NULL, correlation);
		return;
	}
	fill_event(&event, &out->token, correlation);
	fill_row(&row, &out->token, correlation);
	text = gateway_event_encode(gw, &event);
	r = text ? store_accept(gw->store, &row, text) : -ENOMEM;
	if (gateway_stored(gw, r, "authorization") != 0) {
		/* What cannot be remembered must not move, not even to lock. */
		lock_abandon(gl->lock);
		refuse(gw, out, REASON_LOCK_ERROR, NULL, correlation);
		return;
	}
	lock_commit(gl->lock); /* before all else: somebody stands at the door */
	gw->counters.accepted++;
	log_fact(LOG_INFO, "authorization accepted", "LOCK", gl->config.id, "CTI",
		 hex_cti(command.cti, cti), "SCOPE", scope_word(command.scope), NULL);
	gateway_event_stored(gw, text);
}

/* ret->first: what a replay is told. Could not tell whether it was seen: then it was. */
static bool seen_before(struct gateway *gw, struct span cti, struct store_authorization *ret)
{
	int r = store_find(gw->store, cti.data, ret);

	if (r == 0)
		return true;
	if (r == -ENOENT && !gateway_unsaid_refused(gw, cti))
		return false;
	if (r != -ENOENT)
		(void)gateway_stored(gw, r, "authorization");
	snprintf(ret->first, sizeof(ret->first), "%s", r == -ENOENT ? "refused" : "unknown");
	return true;
}

void gateway_authorize(struct gateway *gw, const struct mqtt_message *message)
{
	struct gate_lock locks[CONFIG_LOCKS];
	struct gate_input in = {.authorization = message->payload, .retained = message->retain};
	struct gate_output out = {0};
	struct store_authorization before = {0};
	struct token token;
	int r;

	if (message->payload.len <= TOKEN_SMALL_MAX && token_parse(message->payload, &token) == 0 &&
	    token.cti.len == CTI_LEN)
		in.seen = seen_before(gw, token.cti, &before);
	gateway_gate_input(gw, &in, locks);
	r = decide(gw, &in, &out);
	if (r != 0) {
		refuse(gw, &out, r > 0 ? (enum reason)r : REASON_LOCK_ERROR,
		       r == REASON_REPLAYED ? before.first : NULL, message->correlation);
		return;
	}
	accept(gw, gateway_lock_find(gw, out.token.aud), &in, &out, message->correlation);
}

int gateway_recheck(struct gateway_lock *gl, const struct lock_command *command)
{
	struct gate_lock locks[CONFIG_LOCKS] = {0};
	struct gate_input in = {.authorization = span_of(command->document, command->len)};
	struct gate_output out = {0};

	gateway_gate_input(gl->gw, &in, locks);
	for (size_t i = 0; i < gl->gw->nlocks; i++)
		locks[i].busy &= gl->gw->locks[i] != gl; /* with this very command */
	return decide(gl->gw, &in, &out);
}

/* --- outcomes ----------------------------------------------------------------------------------- */

/* Beyond the bound: still on disk, and looked for after the next start. */
static void remember(struct gateway *gw, const struct gateway_unknown *unknown)
{
	if (gw->nunknowns < GATEWAY_UNKNOWNS)
		gw->unknowns[gw->nunknowns++] = *unknown;
	else
		log_fact(LOG_WARNING, "too many open outcomes at once", "LOCK", unknown->lock,
			 NULL);
}

static void forget(struct gateway *gw, size_t i)
{
	gw->unknowns[i] = gw->unknowns[--gw->nunknowns];
}

/* One outcome: phase and event in one transaction; once the disk takes it. < 0: not even then. */
static int conclude(struct gateway *gw, struct event *event, enum store_phase phase,
		    const char *first)
{
	cleanup(freep) char *text = NULL;
	char cti[HEX_CAP(CTI_LEN)];
	int r = -EAGAIN;

	gateway_unsaid_flush(gw);
	text = gateway_event_encode(gw, event);
	if (!text)
		r = -ENOMEM;
	else if (gw->nunsaid == 0)
		r = gateway_stored(gw, store_phase(gw->store, event->cti, phase, first, text),
				   "outcome");
	if (r == 0)
		gateway_event_stored(gw, text); /* first: somebody waits for it */
	if (event->outcome == OUTCOME_DONE)
		gw->counters.done++;
	else if (event->outcome == OUTCOME_FAILED)
		gw->counters.failed++;
	else
		gw->counters.unknown++;
	log_fact(event->outcome == OUTCOME_DONE ? LOG_INFO : LOG_NOTICE, "authorization outcome",
		 "LOCK", event->lock, "CTI", hex_cti(event->cti, cti), "OUTCOME",
		 outcome_word(event->outcome), "REASON", reason_word(event->reason), NULL);
	return r < 0 ? gateway_unsaid_outcome(gw, event, phase, first) : 0;
}

void gateway_outcome(struct gateway_lock *gl, const struct lock_command *command,
		     enum outcome outcome, enum reason reason, struct span receipt,
		     const struct result *result)
{
	struct event event = {
		.type = EVENT_AUTHORIZATION_OUTCOME,
		.has_cti = true,
		.scope = command->scope,
		.outcome = outcome,
		.reason = reason,
		.correlation = span_of(command->correlation, command->correlation_len),
		.receipt = receipt,
	};
	bool open = outcome == OUTCOME_UNKNOWN && receipt.len == 0;
	struct gateway_unknown unknown = {.exp = command->exp, .scope = command->scope};

	memcpy(event.cti, command->cti, CTI_LEN);
	snprintf(event.lock, sizeof(event.lock), "%s", gl->config.id);
	if (reason == REASON_STALE_CHALLENGE) {
		/* The desk signs once more, with this one. */
		event.has_challenge = true;
		(void)lock_challenge(gl->lock, event.challenge);
	}
	(void)conclude(gl->gw, &event, open ? STORE_UNKNOWN : STORE_DONE, outcome_word(outcome));
	if (!open)
		return;
	memcpy(unknown.cti, command->cti, CTI_LEN);
	memcpy(unknown.lock, event.lock, sizeof(unknown.lock));
	memcpy(unknown.correlation, command->correlation, command->correlation_len);
	unknown.correlation_len = command->correlation_len;
	remember(gl->gw, &unknown);
}

static void resolved(struct gateway *gw, size_t i, enum outcome outcome, enum reason reason,
		     struct span receipt)
{
	struct gateway_unknown *unknown = &gw->unknowns[i];
	struct event event = {
		.type = EVENT_AUTHORIZATION_OUTCOME,
		.has_cti = true,
		.scope = unknown->scope,
		.outcome = outcome,
		.reason = reason,
		.correlation = span_of(unknown->correlation, unknown->correlation_len),
		.receipt = receipt,
	};

	memcpy(event.cti, unknown->cti, CTI_LEN);
	memcpy(event.lock, unknown->lock, sizeof(event.lock));
	if (conclude(gw, &event, STORE_DONE, outcome_word(outcome)) == 0)
		forget(gw, i);
}

bool gateway_resolve(struct gateway_lock *gl, const struct token *token, struct span document,
		     const struct result *result)
{
	struct gateway *gw = gl->gw;
	enum outcome outcome = result->outcome;

	for (size_t i = 0; i < gw->nunknowns; i++) {
		if (!span_equal(token->cti, SPAN(gw->unknowns[i].cti)) ||
		    strcmp(gw->unknowns[i].lock, gl->config.id) != 0)
			continue;
		if (outcome != OUTCOME_DONE && outcome != OUTCOME_UNKNOWN)
			outcome = OUTCOME_FAILED;
		resolved(gw, i, outcome,
			 outcome == OUTCOME_FAILED && result->reason == REASON_NONE
				 ? REASON_LOCK_REFUSED
				 : result->reason,
			 document);
		return true;
	}
	return false;
}

/* Expired, and the lock's log, complete, has no receipt with its cti: it never came that far. */
void gateway_log_complete(struct gateway_lock *gl, bool gap)
{
	struct gateway *gw = gl->gw;
	struct time_verdict time = gateway_time(gw);

	for (size_t i = gw->nunknowns; i-- > 0;) {
		struct gateway_unknown *unknown = &gw->unknowns[i];

		if (strcmp(unknown->lock, gl->config.id) != 0)
			continue;
		unknown->gap |= gap;
		if (unknown->exp > time.now)
			lock_fetch(gl->lock, (unknown->exp - time.now + 1) * 1000);
		else if (!unknown->gap)
			resolved(gw, i, OUTCOME_FAILED, REASON_TIMEOUT, span_of(NULL, 0));
		else if (gateway_stored(
				 gw, store_phase(gw->store, unknown->cti, STORE_DONE, NULL, NULL),
				 "outcome") == 0)
			forget(gw, i); /* the proof fell out of the lock's log: unknown for good */
	}
}

/* --- at start ----------------------------------------------------------------------------------- */

static int restore_open(const struct store_authorization *row, void *user)
{
	struct gateway *gw = user;
	struct gateway_unknown unknown = {
		.exp = row->exp,
		.scope = row->scope,
		.correlation_len = row->correlation_len,
	};

	memcpy(unknown.cti, row->cti, CTI_LEN);
	memcpy(unknown.lock, row->lock, sizeof(unknown.lock));
	memcpy(unknown.correlation, row->correlation, row->correlation_len);
	if (row->phase != STORE_UNKNOWN) {
		/* Accepted in an earlier life: nobody knows how far it came. */
		struct event event = {
			.type = EVENT_AUTHORIZATION_OUTCOME,
			.has_cti = true,
			.scope = row->scope,
			.outcome = OUTCOME_UNKNOWN,
			.correlation = span_of(unknown.correlation, unknown.correlation_len),
		};

		memcpy(event.cti, row->cti, CTI_LEN);
		memcpy(event.lock, row->lock, sizeof(event.lock));
		(void)conclude(gw, &event, STORE_UNKNOWN, outcome_word(OUTCOME_UNKNOWN));
	}
	remember(gw, &unknown);
	return 0;
}

int gateway_authorize_restore(struct gateway *gw)
{
	int r = store_each_open(gw->store, restore_open, gw);

	if (r < 0)
		(void)gateway_stored(gw, r, "authorizations");
	for (size_t i = 0; i < gw->nunknowns; i++) {
		struct gateway_lock *gl = gateway_lock_find(gw, span_str(gw->unknowns[i].lock));

		if (gl)
			lock_fetch(gl->lock, 1000);
	}
	return r == -ENOMEM ? r : 0;
}
