// SPDX-License-Identifier: Apache-2.0
/* A receipt's result map: words, reading, writing. The GATT values are in result-gatt.c. */
#include "core/result.h"

static const char *const outcomes[] = {
	[OUTCOME_NONE] = "",
	[OUTCOME_DONE] = "done",
	[OUTCOME_FAILED] = "failed",
	[OUTCOME_UNKNOWN] = "unknown",
	[OUTCOME_REFUSED] = "refused",
	[OUTCOME_APPLIED] = "applied",
	[OUTCOME_HELD] = "held",
	[OUTCOME_CLAIMED] = "claimed",
	[OUTCOME_RELEASED] = "released",
	[OUTCOME_HEAD] = "head",
};

static const char *const bolts[] = {
	[BOLT_UNKNOWN] = "unknown", [BOLT_LOCKED] = "locked", [BOLT_UNLOCKED] = "unlocked",
	[BOLT_MOVING] = "moving",   [BOLT_JAMMED] = "jammed",
};

static const char *const vias[] = {
	[VIA_NONE] = "",
	[VIA_RELAY] = "relay",
	[VIA_DOOR] = "door",
};

const char *outcome_word(enum outcome outcome)
{
	return (unsigned)outcome < ARRAY_SIZE(outcomes) ? outcomes[outcome] : "";
}

enum outcome outcome_parse(struct span word)
{
	for (unsigned i = OUTCOME_DONE; i < ARRAY_SIZE(outcomes); i++)
		if (span_is(word, outcomes[i]))
			return (enum outcome)i;
	return OUTCOME_NONE;
}

const char *bolt_word(enum bolt bolt)
{
	return (unsigned)bolt < ARRAY_SIZE(bolts) ? bolts[bolt] : bolts[BOLT_UNKNOWN];
}

enum bolt bolt_parse(struct span word)
{
	for (unsigned i = 0; i < ARRAY_SIZE(bolts); i++)
		if (span_is(word, bolts[i]))
			return (enum bolt)i;
	return BOLT_UNKNOWN;
}

const char *via_word(enum via via)
{
	return (unsigned)via < ARRAY_SIZE(vias) ? vias[via] : "";
}

enum via via_parse(struct span word)
{
	for (unsigned i = 0; i < ARRAY_SIZE(vias); i++)
		if (span_is(word, vias[i]))
			return (enum via)i;
	return VIA_NONE;
}

/* "" and a missing reason are the same; a later version's word is still a failure. */
static enum reason reason_read(struct span word)
{
	enum reason reason = reason_parse((const char *)word.data, word.len);

	return reason == REASON_COUNT_ ? REASON_LOCK_ERROR : reason;
}

size_t applied_read(struct cbor_reader *r, struct applied ret[static APPLIED_MAX])
{
	size_t n = cbor_enter_map(r);

	if (n > APPLIED_MAX)
		cbor_fail(r);
	for (size_t i = 0; i < n && !r->failed; i++) {
		struct span name = cbor_text(r), digest;

		if (!id_valid(name) || cbor_enter_array(r) != 2) {
			cbor_fail(r);
			break;
		}
		ret[i] = (struct applied){0};
		memcpy(ret[i].name, name.data, name.len);
		ret[i].iat = cbor_uint(r);
		digest = cbor_bytes(r);
		if (digest.len != DIGEST_LEN || ret[i].iat > TIME_MAX)
			cbor_fail(r);
		else
			memcpy(ret[i].digest, digest.data, DIGEST_LEN);
		cbor_leave(r);
	}
	cbor_leave(r);
	return r->failed ? 0 : n;
}

void applied_put(struct cbor_writer *w, const struct applied *applied, size_t n)
{
	struct {
		uint8_t key[ID_MAX + 2], value[1 + 9 + 1 + DIGEST_LEN];
	} buf[APPLIED_MAX];
	struct cbor_pair pairs[APPLIED_MAX];

	if (n > APPLIED_MAX) {
		w->failed = true;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		struct cbor_writer key, value;

		cbor_writer_init(&key, buf[i].key, sizeof(buf[i].key));
		cbor_put_text(&key, span_str(applied[i].name));
		cbor_writer_init(&value, buf[i].value, sizeof(buf[i].value));
		cbor_put_array(&value, 2);
		cbor_put_uint(&value, applied[i].iat);
		cbor_put_bytes(&value, SPAN(applied[i].digest));
		w->failed |= key.failed || value.failed;
		pairs[i] = (struct cbor_pair){span_of(buf[i].key, key.len),
					      span_of(buf[i].value, value.len)};
	}
	if (!w->failed)
		cbor_put_sorted_map(w, pairs, n);
}

bool percent_read(struct cbor_reader *r, uint8_t *ret)
{
	uint64_t value = cbor_uint(r);

	if (value > 100)
		cbor_fail(r);
	if (r->failed)
		return false;
	*ret = (uint8_t)value;
	return true;
}

bool challenge_read(struct cbor_reader *r, uint8_t ret[static CHALLENGE_LEN])
{
	struct span challenge = cbor_bytes(r);

	if (challenge.len != CHALLENGE_LEN)
		cbor_fail(r);
	if (r->failed)
		return false;
	memcpy(ret, challenge.data, CHALLENGE_LEN);
	return true;
}

enum { /* what must be there */
       HAS_OUTCOME = 1,
       HAS_BOLT = 2,
       HAS_CHALLENGE = 4,
       HAS_BOOT = 8,
       HAS_APPLIED = 16,
       HAS_ALL = 31,
};

static unsigned read_member(struct cbor_reader *r, struct span name, struct result *t)
{
	if (span_is(name, "outcome")) {
		t->outcome = outcome_parse(cbor_text(r));
		return HAS_OUTCOME;
	}
	if (span_is(name, "bolt")) {
		t->bolt = bolt_parse(cbor_text(r));
		return HAS_BOLT;
	}
	if (span_is(name, "challenge"))
		return challenge_read(r, t->challenge) ? HAS_CHALLENGE : 0;
	if (span_is(name, "boot")) {
		t->boot = cbor_uint(r);
		return HAS_BOOT;
	}
	if (span_is(name, "applied")) {
		t->napplied = applied_read(r, t->applied);
		return HAS_APPLIED;
	}
	if (span_is(name, "reason")) {
		t->reason = reason_read(cbor_text(r));
	} else if (span_is(name, "via")) {
		t->via = via_parse(cbor_text(r));
	} else if (span_is(name, "battery")) {
		t->has_battery = percent_read(r, &t->battery);
	} else if (span_is(name, "n")) {
		t->n = cbor_uint(r);
		t->has_n = true;
	} else if (span_is(name, "last")) {
		t->last = cbor_uint(r);
		t->has_last = true;
	} else {
		cbor_skip(r);
	}
	return 0;
}

int result_parse(struct span claim, struct result *ret)
{
	struct result t = {0};
	struct cbor_reader r;
	unsigned has = 0;
	size_t n;

	if (!cbor_well_formed(claim))
		return REASON_MALFORMED;
	cbor_reader_init(&r, claim);
	n = cbor_enter_map(&r);
	for (size_t i = 0; i < n && !r.failed; i++) {
		if (cbor_peek(&r) == CBOR_TEXT) {
			has |= read_member(&r, cbor_text(&r), &t);
			continue;
		}
		cbor_skip(&r);
		cbor_skip(&r);
	}
	cbor_leave(&r);
	if (!cbor_done(&r) || has != HAS_ALL || t.outcome == OUTCOME_NONE)
		return REASON_MALFORMED;
	/* JSON and the desk's registry count in signed 64 bits. */
	if (t.boot > INT64_MAX || t.n > INT64_MAX || t.last > INT64_MAX)
		return REASON_MALFORMED;
	if ((t.outcome == OUTCOME_HEAD) != t.has_last)
		return REASON_MALFORMED;
	*ret = t;
	return 0;
}

static void put_word(struct cbor_writer *w, const char *name, const char *word)
{
	cbor_put_text(w, span_str(name));
	cbor_put_text(w, span_str(word));
}

static void put_uint(struct cbor_writer *w, const char *name, uint64_t value)
{
	cbor_put_text(w, span_str(name));
	cbor_put_uint(w, value);
}

/* Shorter names first, then by letter: that is the order of their encodings. */
void result_put(struct cbor_writer *w, const struct result *t)
{
	bool reason = t->reason != REASON_NONE, via = t->via != VIA_NONE;

	cbor_put_map(w, 5u + t->has_n + via + t->has_last + reason + t->has_battery);
	if (t->has_n)
		put_uint(w, "n", t->n);
	if (via)
		put_word(w, "via", via_word(t->via));
	put_word(w, "bolt", bolt_word(t->bolt));
	put_uint(w, "boot", t->boot);
	if (t->has_last)
		put_uint(w, "last", t->last);
	if (reason)
		put_word(w, "reason", reason_word(t->reason));
	cbor_put_text(w, span_str("applied"));
	applied_put(w, t->applied, t->napplied);
	if (t->has_battery)
		put_uint(w, "battery", t->battery);
	put_word(w, "outcome", outcome_word(t->outcome));
	cbor_put_text(w, span_str("challenge"));
	cbor_put_bytes(w, SPAN(t->challenge));
}
