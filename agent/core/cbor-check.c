// SPDX-License-Identifier: Apache-2.0
/*
 * Is this exactly one item of the profile? One pass, an explicit stack, fixed memory. Keys are
 * compared by value, since 01 and 1801 are the same key.
 */
#include "core/cbor-head.h"

struct key_seen {
	enum cbor_major major;
	uint64_t number; /* an integer's argument; a text's length */
	uint64_t lead;	 /* a text's first bytes: most keys differ here, without a memcmp */
	const uint8_t *text;
};

struct level {
	uint64_t left; /* items; keys and values count each */
	bool map;
	unsigned first; /* of its keys in check.keys */
};

struct check {
	struct cbor_reader r;
	struct level levels[CBOR_DEPTH_MAX];
	unsigned depth;
	struct key_seen keys[CBOR_KEYS_MAX]; /* of all maps that are open */
	unsigned nkeys;
};

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
static bool utf8_valid(struct span s)
{
	size_t i = 0, more;
	uint32_t c, least;

	while (i < s.len) {
		uint8_t b = s.data[i++];

		if (b < 0x80)
			continue;
		if (b >= 0xc2 && b <= 0xdf) {
			more = 1;
			c = b & 0x1f;
			least = 0x80;
		} else if (b >= 0xe0 && b <= 0xef) {
			more = 2;
			c = b & 0x0f;
			least = 0x800;
		} else if (b >= 0xf0 && b <= 0xf4) {
			more = 3;
			c = b & 0x07;
			least = 0x10000;
		} else {
			return false;
		}
		if (s.len - i < more)
			return false;
		while (more-- > 0) {
			if ((s.data[i] & 0xc0) != 0x80)
				return false;
			c = c << 6 | (s.data[i++] & 0x3f);
		}
		if (c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
			return false;
	}
	return true;
}

/* Of the innermost open map. */
static bool key_new(struct check *c, const struct key_seen *key)
{
	for (unsigned i = c->levels[c->depth - 1].first; i < c->nkeys; i++) {
		const struct key_seen *other = &c->keys[i];

		if (other->number != key->number || other->lead != key->lead ||
		    other->major != key->major)
			continue;
		if (key->major != CBOR_MAJOR_TEXT || span_equal(span_of(other->text, other->number),
								span_of(key->text, key->number)))
			return false;
	}
	if (c->nkeys == CBOR_KEYS_MAX)
		return false;
	c->keys[c->nkeys++] = *key;
	return true;
}

static bool open_level(struct check *c, bool map, uint64_t items)
{
	if (c->depth == CBOR_DEPTH_MAX)
		return false;
	c->levels[c->depth++] = (struct level){.left = items, .map = map, .first = c->nkeys};
	return true;
}

/* Takes one item's head, and a string's bytes; opens a level for what holds further items. */
static bool take_item(struct check *c, bool as_key)
{
	struct key_seen key = {0};
	struct span text;
	struct cbor_head h;

	if (!cbor_head_take(&c->r, &h))
		return false;
	key.major = h.major;
	key.number = h.arg;
	switch (h.major) {
	case CBOR_MAJOR_TEXT:
		text = cbor_head_string(&c->r, &h);
		key.text = text.data;
		memcpy(&key.lead, text.data, text.len < 8 ? text.len : 8);
		if (!utf8_valid(text))
			return false;
		break;
	case CBOR_MAJOR_UINT:
	case CBOR_MAJOR_NINT:
		break;
	case CBOR_MAJOR_BYTES:
		cbor_head_string(&c->r, &h);
		return !as_key;
	case CBOR_MAJOR_ARRAY:
		return !as_key && open_level(c, false, h.arg);
	case CBOR_MAJOR_MAP:
		return !as_key && open_level(c, true, 2 * h.arg);
	case CBOR_MAJOR_TAG:
		return !as_key && open_level(c, false, 1);
	case CBOR_MAJOR_SIMPLE:
		return !as_key;
	}
	return !as_key || key_new(c, &key);
}

bool cbor_well_formed(struct span input)
{
	struct check c;

	cbor_reader_init(&c.r, input);
	c.depth = 0;
	c.nkeys = 0;
	if (!take_item(&c, false))
		return false;
	while (c.depth > 0) {
		struct level *level = &c.levels[c.depth - 1];
		bool as_key;

		if (level->left == 0) {
			c.nkeys = level->first;
			c.depth--;
			continue;
		}
		as_key = level->map && level->left % 2 == 0;
		level->left--;
		if (!take_item(&c, as_key))
			return false;
	}
	return cbor_done(&c.r);
}
