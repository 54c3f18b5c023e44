// SPDX-License-Identifier: Apache-2.0
/* The small values of the lock's GATT service: info, state, since, the advert's service data. */
#include "core/result.h"

#include <errno.h>

enum { /* what an info must have */
       INFO_ID = 1,
       INFO_PROFILE = 2,
       INFO_KEY = 4,
       INFO_OWNER = 8,
       INFO_BYTES = 16,
       INFO_APPLIED = 32,
       INFO_CHALLENGE = 64,
       INFO_ALL = 127,
       INFO_NONCE = 128, /* may have */
};

static void read_owner(struct cbor_reader *r, struct info *t)
{
	struct span kid;

	if (cbor_peek(r) == CBOR_NULL) {
		cbor_null(r);
		return;
	}
	kid = cbor_bytes(r);
	if (kid.len != DIGEST_LEN) {
		cbor_fail(r);
		return;
	}
	memcpy(t->owner, kid.data, DIGEST_LEN);
	t->owned = true;
}

static unsigned read_member(struct cbor_reader *r, struct span name, struct info *t)
{
	struct span s;

	if (span_is(name, "id")) {
		s = cbor_text(r);
		if (!id_valid(s)) {
			cbor_fail(r);
			return 0;
		}
		memcpy(t->id, s.data, s.len);
		return INFO_ID;
	}
	if (span_is(name, "profile")) {
		uint64_t profile = cbor_uint(r);

		t->profile = profile <= UINT8_MAX ? (unsigned)profile : 0;
		return INFO_PROFILE;
	}
	if (span_is(name, "key")) {
		s = cbor_bytes(r);
		if (s.len != PUBLIC_LEN) {
			cbor_fail(r);
			return 0;
		}
		memcpy(t->key, s.data, PUBLIC_LEN);
		return INFO_KEY;
	}
	if (span_is(name, "owner")) {
		read_owner(r, t);
		return INFO_OWNER;
	}
	if (span_is(name, "max")) {
		t->max = cbor_uint(r);
		return INFO_BYTES;
	}
	if (span_is(name, "applied")) {
		t->napplied = applied_read(r, t->applied);
		return INFO_APPLIED;
	}
	if (span_is(name, "challenge"))
		return challenge_read(r, t->challenge) ? INFO_CHALLENGE : 0;
	if (span_is(name, "nonce"))
		return challenge_read(r, t->nonce) ? INFO_NONCE : 0;
	cbor_skip(r);
	return 0;
}

int info_parse(struct span value, struct info *ret)
{
	struct info t = {0};
	struct cbor_reader r;
	unsigned has = 0;
	size_t n;

	if (value.len > INFO_MAX || !cbor_well_formed(value))
		return REASON_MALFORMED;
	cbor_reader_init(&r, value);
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
	if (!cbor_done(&r) || (has & INFO_ALL) != INFO_ALL || t.profile == 0 ||
	    t.max < INFO_BYTES_MIN)
		return REASON_MALFORMED;
	if (!(has & INFO_NONCE))
		memcpy(t.nonce, t.challenge, CHALLENGE_LEN);
	*ret = t;
	return 0;
}

int info_encode(const struct info *info, uint8_t *ret, size_t cap)
{
	struct cbor_writer w;

	cbor_writer_init(&w, ret, cap);
	cbor_put_map(&w, 8);
	cbor_put_text(&w, span_str("id"));
	cbor_put_text(&w, span_str(info->id));
	cbor_put_text(&w, span_str("key"));
	cbor_put_bytes(&w, SPAN(info->key));
	cbor_put_text(&w, span_str("max"));
	cbor_put_uint(&w, info->max);
	cbor_put_text(&w, span_str("nonce"));
	cbor_put_bytes(&w, SPAN(info->nonce));
	cbor_put_text(&w, span_str("owner"));
	if (info->owned)
		cbor_put_bytes(&w, SPAN(info->owner));
	else
		cbor_put_null(&w);
	cbor_put_text(&w, span_str("applied"));
	applied_put(&w, info->applied, info->napplied);
	cbor_put_text(&w, span_str("profile"));
	cbor_put_uint(&w, info->profile);
	cbor_put_text(&w, span_str("challenge"));
	cbor_put_bytes(&w, SPAN(info->challenge));
	return w.failed ? -ENOSPC : (int)w.len;
}

void applied_hash(const struct applied *applied, size_t n, uint8_t ret[static 4])
{
	uint8_t buf[INFO_MAX], digest[DIGEST_LEN];
	struct cbor_writer w;

	cbor_writer_init(&w, buf, sizeof(buf));
	applied_put(&w, applied, n);
	crypto_digest(span_of(buf, w.failed ? 0 : w.len), digest);
	memcpy(ret, digest, 4);
}

int lock_state_parse(struct span value, struct lock_state *ret)
{
	struct lock_state t = {0};
	struct cbor_reader r;
	bool has_bolt = false;
	size_t n;

	if (value.len == 0) {
		*ret = t;
		return 0;
	}
	if (!cbor_well_formed(value))
		return REASON_MALFORMED;
	t.present = true;
	cbor_reader_init(&r, value);
	n = cbor_enter_map(&r);
	for (size_t i = 0; i < n && !r.failed; i++) {
		struct span name = cbor_text(&r);

		if (span_is(name, "bolt")) {
			t.bolt = bolt_parse(cbor_text(&r));
			has_bolt = true;
		} else if (span_is(name, "battery")) {
			t.has_battery = percent_read(&r, &t.battery);
		} else {
			cbor_skip(&r);
		}
	}
	cbor_leave(&r);
	if (!cbor_done(&r) || !has_bolt)
		return REASON_MALFORMED;
	*ret = t;
	return 0;
}

int lock_state_encode(const struct lock_state *state, uint8_t *ret, size_t cap)
{
	struct cbor_writer w;

	if (!state->present)
		return 0;
	cbor_writer_init(&w, ret, cap);
	cbor_put_map(&w, 1u + state->has_battery);
	cbor_put_text(&w, span_str("bolt"));
	cbor_put_text(&w, span_str(bolt_word(state->bolt)));
	if (state->has_battery) {
		cbor_put_text(&w, span_str("battery"));
		cbor_put_uint(&w, state->battery);
	}
	return w.failed ? -ENOSPC : (int)w.len;
}

int since_encode(uint64_t n, uint8_t *ret, size_t cap)
{
	struct cbor_writer w;

	cbor_writer_init(&w, ret, cap);
	cbor_put_map(&w, 1);
	cbor_put_text(&w, span_str("since"));
	cbor_put_uint(&w, n);
	return w.failed ? -ENOSPC : (int)w.len;
}

bool since_parse(struct span value, uint64_t *ret_n)
{
	struct cbor_reader r;
	uint64_t n;

	if (!cbor_well_formed(value))
		return false;
	cbor_reader_init(&r, value);
	if (cbor_enter_map(&r) != 1 || !span_is(cbor_text(&r), "since"))
		return false;
	n = cbor_uint(&r);
	cbor_leave(&r);
	if (!cbor_done(&r) || n > INT64_MAX)
		return false;
	*ret_n = n;
	return true;
}

enum { FLAG_UNOWNED = 1, FLAG_ATTENTION = 2 };

bool advert_parse(struct span data, struct advert *ret)
{
	struct advert t = {0};

	if (data.len != ADVERT_LEN)
		return false;
	t.profile = data.data[0];
	t.unowned = data.data[1] & FLAG_UNOWNED;
	t.attention = data.data[1] & FLAG_ATTENTION;
	memcpy(t.random, data.data + 2, sizeof(t.random));
	memcpy(t.applied, data.data + 4, sizeof(t.applied));
	*ret = t;
	return true;
}

void advert_encode(const struct advert *advert, uint8_t ret[static ADVERT_LEN])
{
	ret[0] = (uint8_t)advert->profile;
	ret[1] = (uint8_t)((advert->unowned ? FLAG_UNOWNED : 0) |
			   (advert->attention ? FLAG_ATTENTION : 0));
	memcpy(ret + 2, advert->random, sizeof(advert->random));
	memcpy(ret + 4, advert->applied, sizeof(advert->applied));
}
