// SPDX-License-Identifier: Apache-2.0
/*
 * A session (agent/lock.c) with a lock that may say anything at any moment, also with its own good
 * signature, and a radio that keeps its promises but for how long it takes. The authorization
 * leaves once at most and never before it was committed; a committed command has one outcome; "done"
 * is what the lock's key signed about this very cti.
 *
 * Records as in resign.h. One whose first byte is below ACTS is an act, its argument behind it; any
 * other is a document that the lock notifies, in frames. Settings: 1 the lock starts out with what
 * the gateway holds.
 */
#include <errno.h>

#include "fuzz/resign.h"
#include "lock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	return resign_mutate(data, size, max_size, seed);
}

enum {
	ACT_ADVERT,
	ACT_CONNECTED,
	ACT_INFO,  /* as it comes, or, without argument, an honest one */
	ACT_STATE, /* as it comes */
	ACT_FRAME, /* of the outbox, as it comes */
	ACT_COUNTER,
	ACT_WRITTEN,
	ACT_LOST,
	ACT_TIME,
	ACT_COMMAND,
	ACT_ASK,
	ACT_FORWARD,
	ACT_READER,
	ACT_DOCUMENTS,
	ACT_VERDICT,
	ACT_YIELD,
	ACT_ANSWER, /* what an honest lock says to what it was sent last; by argument less honest */
	ACTS,
};

#define QUEUE_MAX 63 /* what a link keeps waiting */

static struct side {
	struct city city;
	struct trust *trust; /* made once */
	struct lock *lock;
	uint64_t now, alarm;
	bool connecting, up, closing, ending, reading[4];
	unsigned last[QUEUE_MAX]; /* the command whose authorization is complete with this frame */
	size_t queued, dropped;
	struct frame_joiner to_lock;
	struct span asked; /* what was sent whole, last */
	uint64_t n;	   /* the lock's counter */
	uint8_t reader_cti[CTI_LEN];
	int verdict;
	/* the command in hand */
	struct lock_command command;
	bool in_hand, committed;
	unsigned commands, departures[RESIGN_RECORDS + 1];
} side;

/* --- what the session asks of the radio -------------------------------------------------------- */

static int on_connect(bool urgent, void *user)
{
	must(!side.connecting && !side.up && !side.closing);
	side.connecting = true;
	return 0;
}

static void on_confirm(void *user)
{
}

static int on_read(enum lock_chr chr, void *user)
{
	must(side.up && !side.reading[chr]);
	side.reading[chr] = true;
	return 0;
}

static int on_write(struct span frame, void *user)
{
	struct span document;
	unsigned code;

	must(side.up && frame.len >= 1 && frame.len <= FRAME_MAX && side.queued < QUEUE_MAX);
	if (side.ending)
		return -ENOTCONN;
	side.last[side.queued++] = 0;
	if (frame_take(&side.to_lock, frame, &code) != FRAME_COMPLETE)
		return 0;
	document = span_of(side.to_lock.buf, side.to_lock.len);
	side.asked = sign_keep(document);
	if (!span_equal(document, span_of(side.command.document, side.command.len)))
		return 0;
	must(side.committed && side.verdict == 0);
	side.last[side.queued - 1] = side.commands;
	return 0;
}

static void on_drop(void *user)
{
	side.dropped = side.queued;
}

static int on_subscribe(enum lock_chr chr, void *user)
{
	must(side.up);
	return 0;
}

static void on_close(void *user)
{
	side.closing = true;
}

static const struct lock_radio radio = {
	.connect = on_connect,
	.confirm = on_confirm,
	.read = on_read,
	.write = on_write,
	.drop_writes = on_drop,
	.subscribe = on_subscribe,
	.disconnect = on_close,
};

/* --- what it tells ------------------------------------------------------------------------------ */

static uint64_t on_now(void *user)
{
	return side.now;
}

static void on_alarm(uint64_t at, void *user)
{
	side.alarm = at;
}

static int on_recheck(const struct lock_command *command, void *user)
{
	must(side.in_hand);
	return side.verdict;
}

static bool by_the_lock(struct span document, struct token *ret)
{
	return token_parse(document, ret) == 0 && ret->kind == TOKEN_RECEIPT &&
	       span_is(ret->iss, SIGN_LOCK) && cose_verify(&ret->cose, side.city.lock.pub) == 0;
}

static void on_outcome(const struct lock_command *command, enum outcome outcome, enum reason reason,
		       struct span receipt, const struct result *result, void *user)
{
	struct result said;
	struct token t;

	must(side.committed && memcmp(command->cti, side.command.cti, CTI_LEN) == 0);
	must(outcome >= OUTCOME_DONE && outcome <= OUTCOME_UNKNOWN);
	must((receipt.len > 0) == (result != NULL));
	side.in_hand = side.committed = false;
	if (receipt.len > 0) {
		must(by_the_lock(receipt, &t) && span_equal(t.cti, SPAN(command->cti)));
		must(result_parse(t.result, &said) == 0 && said.outcome == result->outcome);
	}
	must(outcome != OUTCOME_DONE || (receipt.len > 0 && said.outcome == OUTCOME_DONE));
	/* "failed" without the lock's word: then its last frame never left */
	must(outcome != OUTCOME_FAILED || receipt.len > 0 || reason != REASON_NONE);
}

static void on_receipt(const struct token *token, struct span document, const struct result *result,
		       void *user)
{
	struct token t;

	must(by_the_lock(document, &t) && span_equal(t.cti, token->cti));
}

static void on_complete(bool gap, void *user)
{
}

static void on_nothing(void *user)
{
}

static void on_reachable(bool yes, void *user)
{
}

static void on_tested(const struct lock_test_result *result, void *user)
{
	must(result->ok || result->why);
}

static void on_forwarded(const struct lock_forwarded *f, void *user)
{
	struct token t;

	must(f->receipt.len == 0 ||
	     (by_the_lock(f->receipt, &t) && span_equal(t.cti, SPAN(f->digest))));
	must((f->outcome != OUTCOME_CLAIMED && f->outcome != OUTCOME_RELEASED) || f->receipt.len);
}

static void on_stranger(const char *why, void *user)
{
	must(why && why[0]);
}

static const struct lock_ops ops = {
	.now_ms = on_now,
	.alarm = on_alarm,
	.recheck = on_recheck,
	.outcome = on_outcome,
	.receipt = on_receipt,
	.log_complete = on_complete,
	.changed = on_nothing,
	.keep = on_nothing,
	.reachable = on_reachable,
	.tested = on_tested,
	.forwarded = on_forwarded,
	.stranger = on_stranger,
};

/* --- what happens to it ------------------------------------------------------------------------- */

static void written_one(enum lock_sent sent)
{
	/* what did not leave for certain may be tried again; anything else may not */
	if (side.last[0] && sent != LOCK_NOT_SENT)
		must(++side.departures[side.last[0]] == 1);
	memmove(&side.last[0], &side.last[1], --side.queued * sizeof(side.last[0]));
	lock_written(side.lock, sent);
}

static void written(enum lock_sent sent)
{
	for (; side.dropped && side.queued; side.dropped--)
		written_one(LOCK_NOT_SENT);
	if (side.queued)
		written_one(sent);
}

static void disconnected(enum lock_end end)
{
	if (!side.connecting && !side.up)
		return;
	side.ending = true;
	while (side.queued)
		written(LOCK_MAYBE_SENT);
	side.connecting = side.up = side.closing = side.ending = false;
	side.dropped = 0;
	memset(side.reading, 0, sizeof(side.reading));
	side.to_lock.open = false;
	lock_disconnected(side.lock, end, "");
}

static void pass(uint64_t ms)
{
	uint64_t end = side.now + ms;

	for (unsigned i = 0; i < 1000 && side.alarm && side.alarm <= end; i++) {
		side.now = side.alarm > side.now ? side.alarm : side.now;
		side.alarm = 0;
		lock_alarm(side.lock);
		if (side.closing)
			disconnected(LOCK_CLOSED);
	}
	side.now = end;
}

static void command(unsigned argument)
{
	struct sign_auth a = sign_relayed(&side.city);
	struct lock_command c = {.scope = SCOPE_UNLOCK, .exp = a.exp};
	struct span document;

	memset(a.cti, 0x17 + (int)side.commands, CTI_LEN);
	document = sign_auth(&a, &side.city.authorize);
	memcpy(c.cti, a.cti, CTI_LEN);
	memcpy(c.document, document.data, document.len);
	c.len = document.len;
	if (lock_busy(side.lock)) {
		must(lock_command(side.lock, &c, 1000) == -EBUSY);
		return;
	}
	must(!side.in_hand);
	side.command = c;
	side.in_hand = true;
	side.commands++;
	must(lock_command(side.lock, &c, 1000 + 100 * argument) == 0);
	if (argument % 8 == 7) {
		side.in_hand = false;
		lock_abandon(side.lock);
		return;
	}
	side.committed = true;
	lock_commit(side.lock);
}

static void honest_info(void)
{
	struct info info = {.profile = 1, .owned = true, .max = 20000};
	uint8_t value[INFO_MAX];
	int n;

	strcpy(info.id, SIGN_LOCK);
	memcpy(info.key, side.city.lock.pub, PUBLIC_LEN);
	memcpy(info.owner, side.city.root.kid, DIGEST_LEN);
	memset(info.challenge, 0xc0, CHALLENGE_LEN);
	info.napplied = trust_applied(side.trust, info.applied);
	n = info_encode(&info, value, sizeof(value));
	lock_value(side.lock, LOCK_INFO, 0, span_of(value, (size_t)n));
}

static void value(enum lock_chr chr, struct span bytes)
{
	if (!side.reading[chr])
		return;
	side.reading[chr] = false;
	if (chr == LOCK_INFO && bytes.len == 0)
		honest_info();
	else if (bytes.len == 1)
		lock_value(side.lock, chr, -EIO, (struct span){0});
	else
		lock_value(side.lock, chr, 0, bytes);
}

static void reader(bool yes)
{
	struct sign_auth a = sign_reader(&side.city);

	lock_set_reader(side.lock, yes ? sign_auth(&a, &side.city.authorize) : (struct span){0});
}

static void ask(unsigned argument)
{
	if (argument & 1)
		lock_fetch(side.lock, 100 * argument);
	else
		(void)lock_test(side.lock);
}

static void advert(struct span bytes)
{
	struct advert a;

	if (advert_parse(bytes, &a))
		lock_advert(side.lock, &a, -60);
}

static void notify(struct span document)
{
	uint8_t frame[FRAME_MAX];
	struct frame_cutter c;
	size_t n;

	frame_cut(&c, document);
	while (side.up && !side.closing && (n = frame_next(&c, 244, frame)) > 0)
		lock_notified(side.lock, LOCK_OUTBOX, span_of(frame, n));
}

/* --- an honest lock, more or less ----------------------------------------------------------------- */

enum {
	LEAVES_OUT = 1,
	ANOTHER_LAST = 2,
	SKIPS = 8,
	FAILS = 16,
	REFUSES = 32,
	STRANGER = 64,
	MOVES_ON = 128
};

static void receipt(struct span cti, struct result *r, unsigned how)
{
	r->bolt = how & FAILS ? BOLT_JAMMED : BOLT_UNLOCKED;
	r->boot = 1;
	r->has_battery = true;
	r->battery = (uint8_t)(how % 101);
	memset(r->challenge, 0xc0 + (int)(side.n % 16), CHALLENGE_LEN);
	r->napplied = trust_applied(side.trust, r->applied);
	if (how & MOVES_ON && r->napplied > 0)
		r->applied[0].iat++;
	notify(sign_receipt(SIGN_LOCK, SIGN_NOW, cti, r,
			    how & STRANGER ? &side.city.stranger : &side.city.lock));
}

static void tell_log(uint64_t since, unsigned how)
{
	struct result head = {.outcome = OUTCOME_HEAD, .has_last = true};
	uint8_t cti[CTI_LEN];

	for (uint64_t n = since + 1; n <= side.n && n < since + 12; n++) {
		struct result r = {.outcome = OUTCOME_DONE, .via = VIA_DOOR, .has_n = true, .n = n};

		memset(cti, 0x17 + (int)(n % 5), CTI_LEN);
		if (!(how & LEAVES_OUT) || n != since + 1)
			receipt(SPAN(cti), &r, how & ~(unsigned)FAILS);
	}
	head.last = side.n + (how & ANOTHER_LAST ? 1 : 0);
	receipt((struct span){0}, &head, how);
}

static void answer_authorization(const struct token *t, unsigned how)
{
	struct result r = {.outcome = OUTCOME_DONE, .via = VIA_RELAY};
	uint8_t go_on[2];

	if (t->scope == SCOPE_READ) {
		memcpy(side.reader_cti, t->cti.data, CTI_LEN);
		frame_short(how & REFUSES ? how % FRAME_CODES_ : FRAME_GO_ON, go_on);
		if (side.up && !side.closing)
			lock_notified(side.lock, LOCK_OUTBOX, SPAN(go_on));
		return;
	}
	if (how & FAILS)
		r = (struct result){.outcome = OUTCOME_FAILED, .reason = REASON_JAMMED};
	if (how & REFUSES)
		r = (struct result){.outcome = OUTCOME_REFUSED, .reason = REASON_STALE_CHALLENGE};
	r.has_n = !(how & REFUSES);
	r.n = r.has_n ? ++side.n : 0;
	receipt(t->cti, &r, how);
}

static void answer(unsigned how)
{
	static const enum outcome outcomes[TOKEN_KINDS] = {
		[TOKEN_KEYS] = OUTCOME_APPLIED,	   [TOKEN_POLICY] = OUTCOME_APPLIED,
		[TOKEN_LIST] = OUTCOME_APPLIED,	   [TOKEN_PRESENTATION] = OUTCOME_DONE,
		[TOKEN_CLAIM] = OUTCOME_CLAIMED,   [TOKEN_RELEASE] = OUTCOME_RELEASED,
		[TOKEN_RECEIPT] = OUTCOME_UNKNOWN, [TOKEN_AUTHORIZATION] = OUTCOME_DONE};
	struct span asked = side.asked;
	struct result r = {0};
	struct token t;
	uint64_t since;

	if (how & SKIPS)
		side.n++; /* somebody was there before */
	side.asked = (struct span){0};
	if (since_parse(asked, &since)) {
		tell_log(since, how);
		return;
	}
	if (token_parse(asked, &t) != 0)
		return;
	if (t.kind == TOKEN_AUTHORIZATION) {
		answer_authorization(&t, how);
		return;
	}
	r.outcome = how & REFUSES ? OUTCOME_REFUSED : outcomes[t.kind];
	r.reason = how & REFUSES ? REASON_TOO_LARGE : REASON_NONE;
	r.has_n = t.kind != TOKEN_PRESENTATION && !(how & REFUSES);
	r.n = r.has_n ? ++side.n : 0;
	receipt(t.kind == TOKEN_PRESENTATION ? SPAN(side.reader_cti) : SPAN(t.digest), &r, how);
}

static void act(unsigned what, struct span rest)
{
	unsigned argument = rest.len ? rest.data[0] : 0;

	switch (what) {
	case ACT_ADVERT:
		advert(rest);
		return;
	case ACT_CONNECTED:
		if (side.connecting) {
			side.connecting = false;
			side.up = true;
			lock_connected(side.lock, 20 + argument);
		}
		return;
	case ACT_INFO:
		value(LOCK_INFO, rest);
		return;
	case ACT_STATE:
		value(LOCK_STATE, rest);
		return;
	case ACT_FRAME:
	case ACT_COUNTER:
		if (side.up && rest.len <= FRAME_MAX)
			lock_notified(side.lock, what == ACT_FRAME ? LOCK_OUTBOX : LOCK_STATE,
				      rest);
		return;
	case ACT_WRITTEN:
		for (unsigned i = 0; i <= argument % 64; i++)
			written(argument < 192 ? LOCK_SENT : (enum lock_sent)(argument % 3));
		return;
	case ACT_LOST:
		disconnected((enum lock_end)(argument % (LOCK_PROTOCOL + 1)));
		return;
	case ACT_TIME:
		pass(50ULL * argument * argument);
		return;
	case ACT_COMMAND:
		command(argument);
		return;
	case ACT_ASK:
		ask(argument);
		return;
	case ACT_FORWARD:
		(void)lock_forward(side.lock,
				   argument & 1 ? sign_release(SIGN_LOCK, SIGN_NOW, &side.city.root)
						: sign_claim(SIGN_LOCK, SIGN_NOW, &side.city.root));
		return;
	case ACT_READER:
		reader(argument & 1);
		return;
	case ACT_DOCUMENTS:
		lock_documents_changed(side.lock);
		return;
	case ACT_VERDICT:
		side.verdict = argument & 1 ? REASON_REVOKED : 0;
		return;
	case ACT_ANSWER:
		answer(argument);
		return;
	default:
		(void)lock_yield(side.lock);
		return;
	}
}

static void give(struct span record)
{
	if (record.len == 0)
		return;
	if (record.data[0] < ACTS)
		act(record.data[0], span_of(record.data + 1, record.len - 1));
	else
		notify(record);
	if (side.closing)
		disconnected(LOCK_CLOSED);
}

static void prepare(bool current)
{
	static uint8_t inbox[TOKEN_DOCUMENT_MAX];
	struct trust_topic any = {.any = true};
	struct lock_stored stored = {0};
	struct lock_options options = {.id = SIGN_LOCK, .linger_ms = 2000};
	struct trust_change change;
	struct trust *trust = side.trust;
	struct key root;

	side = (struct side){.city = city_new(), .trust = trust, .now = 1000000};
	if (!side.trust) {
		root = sign_key(&side.city.root, ROLE_ROOT);
		must(trust_new(LIST_BYTES_MAX, &side.trust) == 0);
		trust_anchor(side.trust, &root);
		must(trust_offer(
			     side.trust,
			     sign_city_keys(&side.city, &side.city.root, SIGN_NOW, &side.city.root),
			     &any, &change) == 0);
		must(trust_offer(side.trust,
				 sign_list(&(struct sign_list){.iat = SIGN_NOW, .entries = 4096},
					   &side.city.revoke),
				 &any, &change) == 0);
	}
	frame_joiner_init(&side.to_lock, inbox, sizeof(inbox));
	if (current)
		stored.napplied = trust_applied(side.trust, stored.applied);
	options.key = side.city.lock.pub;
	options.trust = side.trust;
	options.reader = &side.city.reader;
	must(lock_new(&options, current ? &stored : NULL, &radio, &ops, NULL, &side.lock) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct resign_record records[RESIGN_RECORDS];
	struct message_lock shown;
	size_t n;

	if (len < RESIGN_HEAD)
		return 0;
	resign_signer(0);
	prepare(data[0] & 1);
	n = resign_records(data, len, records);
	for (size_t i = 0; i < n; i++)
		give(records[i].document);
	lock_fill(side.lock, &shown);
	/* whatever was said: in the end there is an outcome */
	disconnected(LOCK_LOST);
	for (unsigned i = 0; i < 20 && side.in_hand; i++) {
		pass(30000);
		disconnected(LOCK_UNREACHABLE);
	}
	must(!side.in_hand);
	lock_free(side.lock);
	sign_forget();
	return 0;
}
