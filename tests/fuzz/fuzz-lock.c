// SPDX-License-Identifier: Apache-2.0
/*
 * Anybody within radio range, at the lock's firmware: raw frames, documents of every kind, signed or
 * not, connections that come and go, the button, restarts. The lock's memory is kept here, in RAM,
 * for a restart to find. Whenever the motor starts, the right to do so is looked at again: by what
 * was sent, what is in force and what moved before.
 *
 * Records as in resign.h. One whose first byte is below OPS is no document but an act, its argument
 * behind it. Settings: 1 born unowned, 2 a document's cnonce of 0xc0.. is replaced by the lock's
 * present one and signed again, 4 small frames.
 */
#include <errno.h>

#include "fuzz/resign.h"
#include "sim/lock-firmware.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

#define LOCK_BYTES 20000

enum { OP_FRAME, OP_LEAVE, OP_BUTTON, OP_RESTART, OP_JAM, OP_HAND, OP_READ, OPS };

/* --- the lock's memory, in place of lock-memory.c ---------------------------------------------- */

static struct flash {
	struct lock_memory memory;
	bool there;
	struct kept {
		struct span document, under;
		uint8_t under_pub[PUBLIC_LEN];
	} kept[TRUST_CHAIN + 1 + TRUST_LISTS];
	size_t nkept;
	struct key anchor;
	bool anchored;
} flash;

/* What was given to the lock since it was made, joined here as it should be there. */
static struct given {
	struct frame_joiner joiner;
	struct span door[64]; /* authorizations, whole */
	size_t ndoor;
	struct token last;
	bool has_last;
	const struct trust *trust;
	struct key root; /* who could release it before the last document came */
	bool pressing, pressed,
		claimed; /* the button: now; within the minute; claimed since start */
} given;

/* Digests of relayed authorizations: a lock remembers no cti, its challenge does. */
static uint8_t moved[64][DIGEST_LEN];
static size_t nmoved;

static bool opens(const struct token *t, const struct lock_memory *memory)
{
	const struct trust_list *list = trust_find_list(given.trust, t->status_uri);
	bool listed = list && status_list_get(list->list, t->status_idx) == STATUS_VALID;

	return span_is(t->aud, SIGN_LOCK) && t->scope == memory->open.scope &&
	       span_equal(t->cti, SPAN(memory->open.cti)) &&
	       keyset_verify(&given.trust->keyset, &t->cose, ROLE_AUTHORIZE) == 0 &&
	       t->iat >= policy_cut_off(&given.trust->policy, t->aud) &&
	       t->iat >= memory->claimed && (listed || t->scope == SCOPE_LOCK);
}

/* A presentation is for one of the authorizations that were given, by the phone's own key. */
static bool shown(const struct lock_memory *memory)
{
	struct token t;

	for (size_t i = 0; i < given.ndoor; i++)
		if (token_parse(given.door[i], &t) == 0 && t.has & CLAIM_CNF && opens(&t, memory) &&
		    span_equal(t.cti, given.last.cti) &&
		    cose_verify(&given.last.cose, t.cnf.pub) == 0)
			return true;
	return false;
}

/* The motor is about to start: n and cti have just been given to the memory. */
static void earned(const struct lock_memory *memory)
{
	must(memory->owned && given.trust && given.has_last);
	must(memory->open.scope == SCOPE_UNLOCK || memory->open.scope == SCOPE_LOCK ||
	     memory->open.scope == SCOPE_UNLATCH);
	given.has_last = false; /* one document, one movement */
	if (given.last.kind == TOKEN_PRESENTATION) {
		must(shown(memory));
		return;
	}
	must(given.last.kind == TOKEN_AUTHORIZATION && given.last.has & CLAIM_CNONCE);
	must(opens(&given.last, memory));
	for (size_t i = 0; i < nmoved; i++)
		must(memcmp(moved[i], given.last.digest, DIGEST_LEN) != 0);
	must(nmoved < ARRAY_SIZE(moved));
	memcpy(moved[nmoved++], given.last.digest, DIGEST_LEN);
}

/* --- whose it is --- */

static void claimed(const struct lock_memory *memory)
{
	const struct token *t = &given.last;

	must(given.has_last && t->kind == TOKEN_CLAIM && span_is(t->aud, SIGN_LOCK));
	must(given.pressed && cose_verify(&t->cose, t->key.pub) == 0);
	must(memcmp(memory->owner.pub, t->key.pub, PUBLIC_LEN) == 0);
	must(memory->claimed == t->iat && memory->n > flash.memory.n);
	given.claimed = true;
}

/* By a root whose chain it obeyed, with a word later than the claim; or by the button, soon after. */
static void released(const struct lock_memory *memory)
{
	const struct token *t = &given.last;

	must(flash.nkept == 0);
	if (given.pressing) {
		must(given.claimed);
	} else {
		must(given.has_last && t->kind == TOKEN_RELEASE && span_is(t->aud, SIGN_LOCK));
		must(cose_verify(&t->cose, given.root.pub) == 0);
		must(t->iat > flash.memory.claimed && memory->n > flash.memory.n);
	}
	for (size_t i = 0; i < LOCK_RECEIPTS; i++)
		must(memory->receipts[i].n == 0 || memory->receipts[i].n > flash.memory.n);
	given.claimed = false;
}

static void changed_hands(const struct lock_memory *memory)
{
	if (memory->owned && !flash.memory.owned)
		claimed(memory);
	else if (!memory->owned && flash.memory.owned)
		released(memory);
	else if (memory->owned)
		must(memory->claimed == flash.memory.claimed &&
		     memcmp(memory->owner.pub, flash.memory.owner.pub, PUBLIC_LEN) == 0);
}

int lock_memory_put(const char *dir, const struct lock_memory *memory)
{
	must(!flash.there || memory->n >= flash.memory.n);
	if (flash.there)
		changed_hands(memory);
	if (memory->open.present && (!flash.memory.open.present || memory->n > flash.memory.n)) {
		must(memory->open.n == memory->n && memory->n > flash.memory.n);
		earned(memory);
	}
	flash.memory = *memory;
	flash.there = true;
	return 0;
}

int lock_memory_open(const char *dir, struct lock_memory *ret)
{
	if (flash.there) {
		*ret = flash.memory;
		return 0;
	}
	*ret = (struct lock_memory){.key = *resign_signer(6), .bolt = BOLT_LOCKED, .battery = 100};
	return 0;
}

static void keep(const struct held *h)
{
	struct kept *k = &flash.kept[flash.nkept++];

	*k = (struct kept){.document = sign_keep(span_of(h->document, h->len))};
	if (!h->under)
		return;
	k->under = sign_keep(span_of(h->under, h->under_len));
	memcpy(k->under_pub, h->under_pub, PUBLIC_LEN);
}

int lock_documents_put(const char *dir, const struct trust *trust)
{
	given.trust = trust;
	flash.nkept = 0;
	flash.anchor = trust->anchor;
	flash.anchored = trust->anchored;
	must(trust->nchain <= TRUST_CHAIN && trust->nlists <= TRUST_LISTS);
	for (size_t i = 0; i < trust->nchain; i++)
		keep(&trust->chain[i]);
	if (trust->policy_held.document)
		keep(&trust->policy_held);
	for (size_t i = 0; i < trust->nlists; i++) {
		must(trust->lists[i].list->len <= LOCK_BYTES);
		keep(&trust->lists[i].held);
	}
	return 0;
}

int lock_documents_get(const char *dir, struct trust *trust)
{
	struct trust_change change;

	given.trust = trust;
	if (flash.anchored && trust->anchored)
		trust_anchor(trust, &flash.anchor);
	for (size_t i = 0; i < flash.nkept; i++) {
		const struct kept *k = &flash.kept[i];

		if (k->under.data)
			trust_restore_former(trust, k->under_pub);
		if (trust_restore(trust, k->document, k->under, &change) != 0)
			return -EBADMSG;
	}
	return 0;
}

/* --- what it says ------------------------------------------------------------------------------ */

static struct frame_joiner said;

static void check_receipt(struct span document)
{
	struct result result;
	struct token t;

	must(token_parse(document, &t) == 0 && t.kind == TOKEN_RECEIPT);
	must(span_is(t.iss, SIGN_LOCK) && cose_verify(&t.cose, resign_signer(6)->pub) == 0);
	must(result_parse(t.result, &result) == 0);
	must(!result.has_n || result.n <= flash.memory.n);
}

static void on_send(struct span frame, void *user)
{
	unsigned code = FRAME_CODES_;

	switch (frame_take(&said, frame, &code)) {
	case FRAME_MORE:
		return;
	case FRAME_COMPLETE:
		check_receipt(span_of(said.buf, said.len));
		return;
	case FRAME_SHORT:
		must(code < FRAME_CODES_);
		return;
	case FRAME_ERROR:
		abort();
	}
}

static void on_nothing(void *user)
{
}

static void on_disconnect(void *user)
{
	*(bool *)user = true;
}

static const struct firmware_ops ops = {on_send, on_nothing, on_disconnect, on_nothing};

/* --- the world around it ----------------------------------------------------------------------- */

struct world {
	sd_event *event;
	struct firmware *fw;
	bool unowned, refresh, away;
	size_t mtu;
};

static void leave(struct world *w)
{
	given.joiner.open = false;
	firmware_disconnected(w->fw);
}

static void turn(struct world *w)
{
	while (sd_event_run(w->event, 0) > 0)
		;
	if (w->away)
		leave(w);
	w->away = false;
}

static void start(struct world *w)
{
	struct key root = sign_key(resign_signer(0), ROLE_ROOT);
	struct firmware_options o = {.id = SIGN_LOCK,
				     .dir = "/dev/null",
				     .owner = w->unowned ? NULL : &root,
				     .max = LOCK_BYTES};

	must(firmware_new(w->event, &o, &ops, &w->away, &w->fw) == 0);
}

static struct info info_of(struct world *w)
{
	uint8_t value[INFO_MAX];
	struct info info;
	int n = firmware_info(w->fw, value, sizeof(value));

	must(n > 0 && info_parse(span_of(value, (size_t)n), &info) == 0);
	return info;
}

/* It obeys whom it obeyed and holds what it held; only the challenge is another. */
static void restart(struct world *w)
{
	struct info before = info_of(w), after;
	uint8_t a[4], b[4];

	leave(w);
	firmware_free(w->fw);
	given.claimed = given.pressed = false;
	start(w);
	after = info_of(w);
	applied_hash(before.applied, before.napplied, a);
	applied_hash(after.applied, after.napplied, b);
	must(before.owned == after.owned && before.napplied == after.napplied);
	must(memcmp(a, b, sizeof(a)) == 0);
	must(!after.owned || memcmp(before.owner, after.owner, DIGEST_LEN) == 0);
	must(memcmp(before.challenge, after.challenge, CHALLENGE_LEN) != 0);
}

/* With the lock's present challenge or nonce in it, as one who is there would write it. */
static struct span refresh(struct world *w, struct span document, struct token *t)
{
	static uint8_t old[CHALLENGE_LEN], buf[TOKEN_SMALL_MAX];
	const struct signer *by = NULL;
	struct info info;
	int r;

	memset(old, 0xc0, sizeof(old));
	for (unsigned i = 0; i < RESIGN_SIGNERS; i++)
		if (span_equal(t->cose.kid, SPAN(resign_signer(i)->kid)))
			by = resign_signer(i);
	if (!w->refresh || !(t->has & CLAIM_CNONCE) || !span_equal(t->cnonce, SPAN(old)) || !by ||
	    cose_verify(&t->cose, by->pub) != 0)
		return document;
	info = info_of(w);
	t->cnonce = t->kind == TOKEN_PRESENTATION ? SPAN(info.nonce) : SPAN(info.challenge);
	r = token_sign(t, by, buf, sizeof(buf));
	return r > 0 ? sign_keep(span_of(buf, (size_t)r)) : document;
}

static void write_frame(struct world *w, struct span frame)
{
	unsigned code;

	given.has_last = false;
	given.root = given.trust->nchain ? *given.trust->keyset.root : given.trust->anchor;
	if (frame_take(&given.joiner, frame, &code) == FRAME_COMPLETE) {
		struct span document = sign_keep(span_of(given.joiner.buf, given.joiner.len));

		given.has_last = token_parse(document, &given.last) == 0;
		if (given.has_last && given.last.kind == TOKEN_AUTHORIZATION &&
		    given.ndoor < ARRAY_SIZE(given.door))
			given.door[given.ndoor++] = document;
	}
	firmware_written(w->fw, frame, w->mtu);
}

static void send_document(struct world *w, struct span document)
{
	uint8_t frame[FRAME_MAX];
	struct frame_cutter c;
	struct token t;
	size_t n;

	if (token_parse(document, &t) == 0)
		document = refresh(w, document, &t);
	frame_cut(&c, document);
	while ((n = frame_next(&c, w->mtu, frame)) > 0)
		write_frame(w, span_of(frame, n));
}

static void press(struct world *w, unsigned ago)
{
	given.pressing = true;
	given.pressed = ago <= LOCK_CLAIM_WINDOW;
	firmware_button(w->fw, ago);
	given.pressing = false;
}

static void act(struct world *w, struct span record)
{
	uint8_t value[INFO_MAX];

	switch (record.data[0]) {
	case OP_FRAME:
		if (record.len - 1 <= FRAME_MAX)
			write_frame(w, span_of(record.data + 1, record.len - 1));
		return;
	case OP_LEAVE:
		leave(w);
		return;
	case OP_BUTTON:
		press(w, record.len > 1 ? record.data[1] : 0);
		return;
	case OP_RESTART:
		restart(w);
		return;
	case OP_JAM:
		must(firmware_command(w->fw, "jam", record.len > 1 ? "on" : "off") == 0);
		return;
	case OP_HAND:
		firmware_hand(w->fw, BOLT_UNLOCKED);
		return;
	default:
		(void)info_of(w);
		must(firmware_state(w->fw, value, sizeof(value)) >= 0);
		return;
	}
}

static void give(struct world *w, struct span record)
{
	if (record.len == 0)
		return;
	if (record.data[0] < OPS)
		act(w, record);
	else
		send_document(w, record);
	turn(w);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	return resign_mutate(data, size, max_size, seed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t inbox[TOKEN_SMALL_MAX], outbox[TOKEN_DOCUMENT_MAX];
	struct resign_record records[RESIGN_RECORDS];
	struct world w = {0};
	size_t n;

	if (len < RESIGN_HEAD)
		return 0;
	resign_signer(0);
	n = resign_records(data, len, records);
	memset(&flash, 0, sizeof(flash));
	memset(&given, 0, sizeof(given));
	nmoved = 0;
	frame_joiner_init(&given.joiner, outbox, sizeof(outbox));
	frame_joiner_init(&said, inbox, sizeof(inbox));
	w.unowned = data[0] & 1;
	w.refresh = data[0] & 2;
	w.mtu = data[0] & 4 ? 20 : FRAME_MAX;
	must(sd_event_new(&w.event) == 0);
	start(&w);
	for (size_t i = 0; i < n; i++)
		give(&w, records[i].document);
	restart(&w);
	firmware_free(w.fw);
	sd_event_unref(w.event);
	sign_forget();
	return 0;
}
