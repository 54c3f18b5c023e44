/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The examples of docs/protocol.md, made anew: one morning of lock-1. Keys come from the document's
 * own table of seeds; each document names those before it by their digests.
 */
#include "core/frame.h"
#include "unit/protocol-doc.h"
#include "unit/sign.h"

#define STORY_LOCK     "lock-1"
#define STORY_ISS      SIGN_ISS
#define STORY_URI      "https://city.example/lists/staff"
#define STORY_APP      "se.example.homecare"
#define STORY_CLAIM    1799928000U /* 2027-01-14 12:00, UTC */
#define STORY_KEYS     1799971200U /* 2027-01-15 00:00 */
#define STORY_POLICY   1799974800U /* 01:00 */
#define STORY_CHANGED  1799989200U /* 05:00: a phone was revoked */
#define STORY_LIST     1799996400U /* 07:00: the list signed again */
#define STORY_DOOR     1799998200U /* 07:30: a shift begins */
#define STORY_RELAYED  1800000000U /* 08:00 */
#define STORY_LAG      10	   /* the lock's clock lags by the keys' way to it */
#define STORY_HANDOVER 1800090000U /* 2027-01-16 09:00 */
#define STORY_RELEASE  1800176400U /* 2027-01-17 09:00 */
#define STORY_ENTRIES  4096
#define STORY_FRAME    64 /* ATT MTU 67 */
#define STORY_MAX      32

static const struct sign_entry story_statuses[] = {{17, STATUS_SUSPENDED}, {1000, STATUS_REVOKED}};

struct example {
	const char *name, *signer; /* signer NULL: not signed */
	struct span bytes;	   /* sign_keep */
};

struct story {
	struct signer root, next_root, policy, revoke, authorize, phone, reader, lock;
	uint8_t door_challenge[CHALLENGE_LEN], relay_challenge[CHALLENGE_LEN],
		last_challenge[CHALLENGE_LEN], door_nonce[CHALLENGE_LEN],
		reader_nonce[CHALLENGE_LEN];
	uint8_t door_cti[CTI_LEN], relay_cti[CTI_LEN], read_cti[CTI_LEN];
	struct applied applied[3];
	struct example examples[STORY_MAX];
	size_t n;
};

static inline const struct signer *story_signer(const struct story *s, const char *name)
{
	const struct {
		const char *name;
		const struct signer *signer;
	} all[] = {{"root", &s->root},		 {"next root", &s->next_root},
		   {"policy", &s->policy},	 {"revoke", &s->revoke},
		   {"authorize", &s->authorize}, {"phone", &s->phone},
		   {"reader", &s->reader},	 {"lock", &s->lock}};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (strcmp(all[i].name, name) == 0)
			return all[i].signer;
	fail_msg("no key is called %s", name);
	return NULL;
}

/* role | byte that the seed is made of | public key | kid */
static inline void story_keys(struct story *s, const struct doc *doc)
{
	static struct doc_row rows[DOC_ROWS];
	size_t n = doc_table(doc, "example-keys", rows);
	char text[HEX_CAP(PUBLIC_LEN)];

	for (size_t i = 0; i < n; i++) {
		struct signer *signer = (struct signer *)story_signer(s, rows[i].cells[0]);
		uint8_t byte;

		assert_int_equal(hex_decode(span_str(rows[i].cells[1]), &byte, 1), 1);
		*signer = sign_signer(byte);
		hex_encode(SPAN(signer->pub), text, sizeof(text));
		assert_string_equal(rows[i].cells[2], text);
		hex_encode(SPAN(signer->kid), text, sizeof(text));
		assert_string_equal(rows[i].cells[3], text);
	}
	assert_int_equal(n, 8);
}

static inline struct span story_add(struct story *s, const char *name, const char *signer,
				    struct span bytes)
{
	assert_true(s->n < STORY_MAX);
	s->examples[s->n++] = (struct example){name, signer, bytes};
	return bytes;
}

static inline const struct example *story_find(const struct story *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->examples[i].name, name) == 0)
			return &s->examples[i];
	fail_msg("no example is called %s", name);
	return NULL;
}

static inline void story_apply(struct applied *ret, const char *name, struct span document)
{
	struct token t;

	assert_int_equal(token_parse(document, &t), 0);
	*ret = (struct applied){.iat = t.iat};
	strcpy(ret->name, name);
	memcpy(ret->digest, t.digest, DIGEST_LEN);
}

/* --- what the city signs --- */

static inline struct span story_keys_document(const struct story *s, const struct signer *next,
					      uint64_t iat)
{
	static uint8_t claim[TOKEN_MEDIUM_MAX];
	struct key keys[] = {
		sign_key(next, ROLE_ROOT),
		sign_key(&s->policy, ROLE_POLICY),
		sign_key(&s->revoke, ROLE_REVOKE),
		sign_key(&s->authorize, ROLE_AUTHORIZE),
	};
	struct token t = {.kind = TOKEN_KEYS,
			  .has = CLAIM_ISS | CLAIM_IAT | CLAIM_EXP | CLAIM_KEYS,
			  .iss = span_str(STORY_ISS),
			  .iat = iat,
			  .exp = iat + 90 * 86400};
	struct cbor_writer w;

	cbor_writer_init(&w, claim, sizeof(claim));
	keyset_put(&w, keys, ARRAY_SIZE(keys));
	t.keys = span_of(claim, w.len);
	return sign_token(&t, &s->root);
}

static inline struct span story_policy(const struct story *s)
{
	static uint8_t claim[TOKEN_MEDIUM_MAX];
	struct token t = {.kind = TOKEN_POLICY,
			  .has = CLAIM_ISS | CLAIM_IAT | CLAIM_EXP | CLAIM_POLICY,
			  .iss = span_str(STORY_ISS),
			  .iat = STORY_POLICY,
			  .exp = STORY_POLICY + 90 * 86400};
	struct policy policy;
	struct cbor_writer w;

	policy_default(&policy);
	strcpy(policy.apps[policy.napps++], STORY_APP);
	policy.cut_offs[policy.ncut_offs++] = (struct cut_off){"lock-2", STORY_KEYS};
	cbor_writer_init(&w, claim, sizeof(claim));
	policy_put(&w, &policy);
	t.policy = span_of(claim, w.len);
	return sign_token(&t, &s->policy);
}

/* zlib's output may differ from version to version: that of the document is taken as it is. Whether
 * it says what it should is seen in its values. */
static inline struct span story_lst(const struct doc *doc, uint8_t *buf, size_t cap)
{
	static struct status_list list;
	struct span old = doc_hex(doc, "list", 0), lst;
	struct token t;
	int r;

	if (!doc_writes()) {
		assert_int_equal(token_parse(old, &t), 0);
		lst = sign_keep(t.lst);
		free((void *)old.data);
		return lst;
	}
	free((void *)old.data);
	assert_int_equal(status_list_init(&list, 2, STORY_ENTRIES), 0);
	for (size_t i = 0; i < ARRAY_SIZE(story_statuses); i++)
		assert_int_equal(
			status_list_set(&list, story_statuses[i].idx, story_statuses[i].status), 0);
	r = status_list_deflate(&list, buf, cap);
	assert_true(r > 0);
	return span_of(buf, r);
}

static inline struct span story_list(const struct story *s, const struct doc *doc)
{
	static uint8_t buf[TOKEN_MEDIUM_MAX];
	struct token t = {.kind = TOKEN_LIST,
			  .has = CLAIM_ISS | CLAIM_SUB | CLAIM_IAT | CLAIM_EXP | CLAIM_TTL |
				 CLAIM_STATUS_LIST | CLAIM_CHANGED,
			  .iss = span_str(STORY_ISS),
			  .sub = span_str(STORY_URI),
			  .iat = STORY_LIST,
			  .exp = STORY_LIST + 2 * 86400,
			  .ttl = 86400,
			  .changed = STORY_CHANGED,
			  .bits = 2};

	t.lst = story_lst(doc, buf, sizeof(buf));
	return sign_token(&t, &s->revoke);
}

static inline struct span story_relayed(const struct story *s)
{
	struct sign_auth a = {.aud = STORY_LOCK,
			      .uri = STORY_URI,
			      .sub = "p-7f3a",
			      .iat = STORY_RELAYED,
			      .nbf = STORY_RELAYED,
			      .exp = STORY_RELAYED + 30,
			      .idx = 42,
			      .scope = SCOPE_UNLOCK,
			      .relayed = true,
			      .has_posture = true,
			      .posture = {.has_pin = true,
					  .pin = true,
					  .app = span_str(STORY_APP),
					  .platform = span_str("android 14"),
					  .has_checked = true,
					  .checked = STORY_LIST}};

	memcpy(a.cnonce, s->relay_challenge, CHALLENGE_LEN);
	memcpy(a.cti, s->relay_cti, CTI_LEN);
	return sign_auth(&a, &s->authorize);
}

static inline struct span story_held(const struct story *s, enum scope scope, uint64_t lifetime,
				     const uint8_t cti[static CTI_LEN], const struct signer *holder)
{
	struct sign_auth a = {.aud = STORY_LOCK,
			      .uri = STORY_URI,
			      .iat = STORY_DOOR,
			      .nbf = STORY_DOOR,
			      .exp = STORY_DOOR + lifetime,
			      .idx = 1234,
			      .scope = scope};

	memcpy(a.cti, cti, CTI_LEN);
	memcpy(a.phone, holder->pub, PUBLIC_LEN);
	return sign_auth(&a, &s->authorize);
}

static inline void story_city(struct story *s, const struct doc *doc)
{
	struct span keys = story_keys_document(s, &s->root, STORY_KEYS), policy, list;

	story_add(s, "keys", "root", keys);
	story_add(s, "keys-handover", "root",
		  story_keys_document(s, &s->next_root, STORY_HANDOVER));
	policy = story_add(s, "policy", "policy", story_policy(s));
	list = story_add(s, "list", "revoke", story_list(s, doc));
	story_apply(&s->applied[0], "keys", keys);
	story_apply(&s->applied[1], "policy", policy);
	story_apply(&s->applied[2], "staff", list);
	story_add(s, "authorization-relayed", "authorize", story_relayed(s));
	story_add(s, "authorization-door", "authorize",
		  story_held(s, SCOPE_UNLOCK, 8 * 3600, s->door_cti, &s->phone));
	story_add(s, "authorization-read", "authorize",
		  story_held(s, SCOPE_READ, READ_LIFETIME_MAX, s->read_cti, &s->reader));
	story_add(s, "claim", "root", sign_claim(STORY_LOCK, STORY_CLAIM, &s->root));
	story_add(s, "release", "root", sign_release(STORY_LOCK, STORY_RELEASE, &s->root));
}

/* --- what phone, gateway and lock say --- */

static inline void story_receipt(struct story *s, const char *name, uint64_t iat, struct span cti,
				 struct result result)
{
	result.has_battery = true;
	result.battery = 87;
	result.boot = 2;
	memcpy(result.applied, s->applied, sizeof(s->applied));
	result.napplied = ARRAY_SIZE(s->applied);
	story_add(s, name, "lock", sign_receipt(STORY_LOCK, iat, cti, &result, &s->lock));
}

static inline void story_receipts(struct story *s)
{
	struct result applied = {
		.outcome = OUTCOME_APPLIED, .bolt = BOLT_LOCKED, .has_n = true, .n = 4};
	struct result done = {.outcome = OUTCOME_DONE,
			      .via = VIA_RELAY,
			      .bolt = BOLT_UNLOCKED,
			      .has_n = true,
			      .n = 6};
	struct result refused = {.outcome = OUTCOME_REFUSED,
				 .reason = REASON_STALE_CHALLENGE,
				 .via = VIA_DOOR,
				 .bolt = BOLT_UNLOCKED};
	struct result head = {
		.outcome = OUTCOME_HEAD, .bolt = BOLT_UNLOCKED, .has_last = true, .last = 6};

	memcpy(applied.challenge, s->door_challenge, CHALLENGE_LEN);
	memcpy(done.challenge, s->last_challenge, CHALLENGE_LEN);
	memcpy(refused.challenge, s->last_challenge, CHALLENGE_LEN);
	memcpy(head.challenge, s->last_challenge, CHALLENGE_LEN);
	story_receipt(s, "receipt-applied", STORY_LIST + 2 - STORY_LAG, SPAN(s->applied[2].digest),
		      applied);
	story_receipt(s, "receipt-done", STORY_RELAYED + 4 - STORY_LAG, SPAN(s->relay_cti), done);
	story_receipt(s, "receipt-refused", STORY_RELAYED + 300 - STORY_LAG, SPAN(s->door_cti),
		      refused);
	story_receipt(s, "receipt-head", STORY_RELAYED + 360 - STORY_LAG, (struct span){0}, head);
}

/* What a signature of RFC 9052 section 4.4 covers. */
static inline struct span story_signed(struct span document)
{
	uint8_t buf[TOKEN_SMALL_MAX];
	struct cose_sign1 m;
	struct cbor_writer w;

	assert_int_equal(cose_parse(document, &m), 0);
	cbor_writer_init(&w, buf, sizeof(buf));
	cbor_put_array(&w, 4);
	cbor_put_text(&w, span_str("Signature1"));
	cbor_put_bytes(&w, m.protected_);
	cbor_put_bytes(&w, (struct span){0});
	cbor_put_bytes(&w, m.payload);
	assert_false(w.failed);
	return sign_keep(span_of(buf, w.len));
}

static inline struct advert story_advert(const struct story *s)
{
	struct advert advert = {.profile = 1, .random = {0x5e, 0x9a}};

	applied_hash(s->applied, ARRAY_SIZE(s->applied), advert.applied);
	return advert;
}

/* On the air: flags (general discoverable, no BR/EDR), and service data of a 128-bit UUID, whose
 * bytes stand in reverse (Core Specification Supplement, part A, 1.3 and 1.11). */
static inline void story_packet(struct story *s, const uint8_t data[static ADVERT_LEN])
{
	static const char uuid[] = "2ff90001f4884501a0b41a1753dee155";
	uint8_t packet[29] = {2, 0x01, 0x06, 25, 0x21}, forward[16];

	assert_int_equal(hex_decode(span_str(uuid), forward, sizeof(forward)), sizeof(forward));
	for (size_t i = 0; i < sizeof(forward); i++)
		packet[5 + i] = forward[15 - i];
	memcpy(packet + 21, data, ADVERT_LEN);
	story_add(s, "advert-packet", NULL, sign_keep(SPAN(packet)));
}

static inline void story_values(struct story *s)
{
	struct info info = {.id = STORY_LOCK, .profile = 1, .owned = true, .max = 16384};
	struct lock_state state = {true, BOLT_UNLOCKED, true, 87};
	struct advert advert = story_advert(s);
	uint8_t buf[INFO_MAX];
	int n;

	memcpy(info.key, s->lock.pub, PUBLIC_LEN);
	memcpy(info.owner, s->root.kid, DIGEST_LEN);
	memcpy(info.applied, s->applied, sizeof(s->applied));
	info.napplied = ARRAY_SIZE(s->applied);
	memcpy(info.challenge, s->last_challenge, CHALLENGE_LEN);
	memcpy(info.nonce, s->reader_nonce, CHALLENGE_LEN);
	n = info_encode(&info, buf, sizeof(buf));
	assert_true(n > 0);
	story_add(s, "info", NULL, sign_keep(span_of(buf, n)));
	n = lock_state_encode(&state, buf, sizeof(buf));
	assert_true(n > 0);
	story_add(s, "state", NULL, sign_keep(span_of(buf, n)));
	n = since_encode(3, buf, sizeof(buf));
	assert_true(n > 0);
	story_add(s, "since", NULL, sign_keep(span_of(buf, n)));
	advert_encode(&advert, buf);
	story_add(s, "advert", NULL, sign_keep(span_of(buf, ADVERT_LEN)));
	story_packet(s, buf);
}

/* Everything but the frames. */
static inline void story_tell(struct story *s, const struct doc *doc)
{
	assert_int_equal(crypto_init(), 0);
	*s = (struct story){0};
	for (uint8_t i = 0; i < CHALLENGE_LEN; i++) {
		s->door_challenge[i] = 0xd0 + i;
		s->door_nonce[i] = 0x80 + i;
		s->reader_nonce[i] = 0x90 + i;
		s->relay_challenge[i] = 0xc0 + i;
		s->last_challenge[i] = 0xe0 + i;
	}
	memset(s->relay_cti, 0xa1, CTI_LEN);
	memset(s->door_cti, 0xb2, CTI_LEN);
	memset(s->read_cti, 0xc3, CTI_LEN);
	story_keys(s, doc);
	story_city(s, doc);
	story_add(s, "presentation", "phone",
		  sign_presentation(STORY_LOCK, s->door_cti, s->door_nonce, &s->phone));
	story_add(s, "presentation-read", "reader",
		  sign_presentation(STORY_LOCK, s->read_cti, s->reader_nonce, &s->reader));
	story_receipts(s);
	story_add(s, "signed", NULL, story_signed(story_find(s, "presentation")->bytes));
	story_values(s);
}
