// SPDX-License-Identifier: Apache-2.0
/* COSE_Key records (RFC 9052 section 7, RFC 9053 section 7.2), and who may sign what. */
#include "core/keys.h"

enum { KTY_OKP = 1, CURVE_ED25519 = 6 };
enum {
	LABEL_KTY = 1,
	LABEL_KID = 2,
	LABEL_ALG = 3,
	LABEL_CRV = -1,
	LABEL_X = -2,
	LABEL_D = -4,
	LABEL_ROLES = -70010,
};

static const struct {
	enum role role;
	const char *word;
} roles[] = {
	{ROLE_ROOT, "root"},
	{ROLE_POLICY, "policy"},
	{ROLE_REVOKE, "revoke"},
	{ROLE_AUTHORIZE, "authorize"},
};

void key_init(struct key *key, const uint8_t pub[static PUBLIC_LEN], unsigned role_bits)
{
	*key = (struct key){.alg = COSE_ED25519, .roles = role_bits};
	memcpy(key->pub, pub, PUBLIC_LEN);
	crypto_digest(SPAN(key->pub), key->kid);
}

/* A role that is not known is a later version's: the key may do what is known. */
static unsigned read_roles(struct cbor_reader *r)
{
	size_t n = cbor_enter_array(r);
	unsigned bits = 0;

	for (size_t i = 0; i < n && !r->failed; i++) {
		struct span word = cbor_text(r);

		for (size_t k = 0; k < ARRAY_SIZE(roles); k++)
			if (span_is(word, roles[k].word))
				bits |= roles[k].role;
	}
	cbor_leave(r);
	return bits;
}

/* One value of a COSE_Key whose type is not known yet: other types use other shapes. */
struct record {
	bool other; /* a type, curve or algorithm of another kind */
	bool has_kty, has_crv, has_d;
	struct span kid, x;
	unsigned roles;
};

/* An integer, or false for text and the like: then it is not one of ours. */
static bool read_is(struct cbor_reader *r, int64_t a, int64_t b)
{
	enum cbor_type type = cbor_peek(r);
	int64_t value;

	if (type != CBOR_UINT && type != CBOR_NINT) {
		cbor_skip(r);
		return false;
	}
	value = cbor_int(r);
	return value == a || value == b;
}

static void read_member(struct cbor_reader *r, int64_t label, struct record *rec)
{
	switch (label) {
	case LABEL_KTY:
		rec->has_kty = true;
		rec->other |= !read_is(r, KTY_OKP, KTY_OKP);
		break;
	case LABEL_KID:
		rec->kid = cbor_bytes(r);
		break;
	case LABEL_ALG:
		rec->other |= !read_is(r, COSE_ED25519, COSE_EDDSA);
		break;
	case LABEL_CRV:
		rec->has_crv = true;
		rec->other |= !read_is(r, CURVE_ED25519, CURVE_ED25519);
		break;
	case LABEL_X:
		if (cbor_peek(r) == CBOR_BYTES)
			rec->x = cbor_bytes(r);
		else
			cbor_skip(r);
		break;
	case LABEL_ROLES:
		rec->roles = read_roles(r);
		break;
	case LABEL_D:
		rec->has_d = true;
		cbor_skip(r);
		break;
	default:
		cbor_skip(r);
	}
}

int key_read(struct cbor_reader *r, struct key *ret)
{
	struct record rec = {0};
	size_t n = cbor_enter_map(r);
	struct key key;

	for (size_t i = 0; i < n && !r->failed; i++) {
		if (cbor_peek(r) == CBOR_TEXT) {
			cbor_skip(r);
			cbor_skip(r);
			continue;
		}
		read_member(r, cbor_int(r), &rec);
	}
	cbor_leave(r);
	if (r->failed || !rec.has_kty || rec.has_d)
		return REASON_MALFORMED;
	if (rec.other)
		return KEY_OF_OTHER_TYPE;
	if (!rec.has_crv || rec.x.len != PUBLIC_LEN)
		return REASON_MALFORMED;
	key_init(&key, rec.x.data, rec.roles);
	if (rec.kid.data && !span_equal(rec.kid, SPAN(key.kid)))
		return REASON_MALFORMED;
	*ret = key;
	return 0;
}

void key_put(struct cbor_writer *w, const struct key *key)
{
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
		n += (key->roles & roles[i].role) != 0;
	cbor_put_map(w, n > 0 ? 6 : 5);
	cbor_put_int(w, LABEL_KTY);
	cbor_put_int(w, KTY_OKP);
	cbor_put_int(w, LABEL_KID);
	cbor_put_bytes(w, SPAN(key->kid));
	cbor_put_int(w, LABEL_ALG);
	cbor_put_int(w, key->alg);
	cbor_put_int(w, LABEL_CRV);
	cbor_put_int(w, CURVE_ED25519);
	cbor_put_int(w, LABEL_X);
	cbor_put_bytes(w, SPAN(key->pub));
	if (n == 0)
		return;
	cbor_put_int(w, LABEL_ROLES);
	cbor_put_array(w, n);
	for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
		if (key->roles & roles[i].role)
			cbor_put_text(w, span_str(roles[i].word));
}

const struct key *keyset_find(const struct keyset *set, struct span kid)
{
	for (size_t i = 0; i < set->n; i++)
		if (span_equal(kid, SPAN(set->keys[i].kid)))
			return &set->keys[i];
	return NULL;
}

void keyset_copy(struct keyset *ret, const struct keyset *set)
{
	*ret = *set;
	ret->root = set->root ? &ret->keys[set->root - set->keys] : NULL;
}

int keyset_parse(struct span claim, struct keyset *ret)
{
	struct keyset set = {0};
	struct cbor_reader r;
	struct key key;
	size_t n;
	int reason;

	if (!cbor_well_formed(claim))
		return REASON_MALFORMED;
	cbor_reader_init(&r, claim);
	n = cbor_enter_array(&r);
	for (size_t i = 0; i < n; i++) {
		reason = key_read(&r, &key);
		if (reason == KEY_OF_OTHER_TYPE)
			continue;
		if (reason != 0)
			return REASON_MALFORMED;
		if (set.n == KEYS_MAX || keyset_find(&set, SPAN(key.kid)))
			return REASON_MALFORMED;
		if (key.roles & ROLE_ROOT) {
			if (set.root)
				return REASON_MALFORMED;
			set.root = &set.keys[set.n];
		}
		set.keys[set.n++] = key;
	}
	cbor_leave(&r);
	if (!cbor_done(&r) || !set.root)
		return REASON_MALFORMED;
	keyset_copy(ret, &set);
	return 0;
}

void keyset_put(struct cbor_writer *w, const struct key *keys, size_t n)
{
	cbor_put_array(w, n);
	for (size_t i = 0; i < n; i++)
		key_put(w, &keys[i]);
}

bool key_takes_alg(const struct key *key, int64_t alg)
{
	return key->alg == COSE_ED25519 && (alg == COSE_ED25519 || alg == COSE_EDDSA);
}

int key_verify(const struct key *key, const struct cose_sign1 *message)
{
	if (!key_takes_alg(key, message->alg))
		return REASON_BAD_SIGNATURE;
	return cose_verify(message, key->pub);
}

int keyset_verify(const struct keyset *set, const struct cose_sign1 *message, enum role role)
{
	const struct key *key = keyset_find(set, message->kid);

	if (!key)
		return REASON_UNKNOWN_KEY;
	if (!(key->roles & role))
		return REASON_WRONG_ROLE;
	return key_verify(key, message);
}
