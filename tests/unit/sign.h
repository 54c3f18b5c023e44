/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A city for tests: keys from fixed seeds, and signed documents of every kind from a few
 *parameters, through token_sign as the desk does it. Documents are allocations of exactly their
 *size, so that a sanitizer sees a read beyond the end; sign_forget frees all of them (teardown).
 *
 *	struct city city = city_new();
 *	struct sign_auth a = sign_relayed(&city);
 *	a.scope = SCOPE_LOCK;
 *	struct span document = sign_auth(&a, &city.authorize);
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/policy.h"
#include "core/result.h"
#include "core/revocation.h"

#define SIGN_ISS  "https://city.example"
#define SIGN_URI  "https://city.example/list/staff" /* the list's name: staff */
#define SIGN_LOCK "lock-1"
#define SIGN_NOW  1800000000U /* the time of these tests */

#define sign_must(ok)                                                                              \
	do {                                                                                       \
		if (!(ok)) {                                                                       \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #ok);                   \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct sign_block {
	struct sign_block *next;
	uint8_t bytes[];
};

static struct sign_block *sign_blocks;

static inline void sign_forget(void)
{
	while (sign_blocks) {
		struct sign_block *block = sign_blocks;

		sign_blocks = block->next;
		free(block);
	}
}

/* A copy that lives until sign_forget. */
static inline struct span sign_keep(struct span bytes)
{
	struct sign_block *block = malloc(sizeof(*block) + bytes.len);

	sign_must(block);
	if (bytes.len > 0)
		memcpy(block->bytes, bytes.data, bytes.len);
	block->next = sign_blocks;
	sign_blocks = block;
	return span_of(block->bytes, bytes.len);
}

/* --- keys --------------------------------------------------------------------------------------
 */

static inline struct signer sign_signer(uint8_t seed)
{
	uint8_t bytes[SEED_LEN];
	struct signer signer;

	memset(bytes, seed, sizeof(bytes));
	signer_from_seed(bytes, &signer);
	return signer;
}

static inline struct key sign_key(const struct signer *signer, unsigned roles)
{
	struct key key;

	key_init(&key, signer->pub, roles);
	return key;
}

struct city {
	struct signer root, policy, revoke, authorize, phone, reader, lock, stranger;
};

static inline struct city city_new(void)
{
	sign_must(crypto_init() == 0);
	return (struct city){
		.root = sign_signer(1),
		.policy = sign_signer(2),
		.revoke = sign_signer(3),
		.authorize = sign_signer(4),
		.phone = sign_signer(5),
		.reader = sign_signer(6),
		.lock = sign_signer(7),
		.stranger = sign_signer(99),
	};
}

/* --- documents ---------------------------------------------------------------------------------
 */

static inline struct span sign_token(const struct token *token, const struct signer *by)
{
	uint8_t *buf = malloc(TOKEN_DOCUMENT_MAX);
	struct span document;
	int r;

	sign_must(buf);
	r = token_sign(token, by, buf, TOKEN_DOCUMENT_MAX);
	sign_must(r > 0);
	document = sign_keep(span_of(buf, r));
	free(buf);
	return document;
}

/* What token_sign would not write: any header, any payload. kid NULL: the signer's. */
static inline struct span sign_cose(int64_t alg, const uint8_t *kid, const char *typ, bool cwt_tag,
				    struct span payload, const struct signer *by)
{
	size_t cap = payload.len + 512;
	uint8_t head[128], signature[SIGNATURE_LEN], *buf = malloc(cap);
	struct cbor_writer h, w;
	struct span document;

	sign_must(buf);
	cbor_writer_init(&h, head, sizeof(head));
	cbor_put_map(&h, 3);
	cbor_put_int(&h, 1);
	cbor_put_int(&h, alg);
	cbor_put_int(&h, 4);
	cbor_put_bytes(&h, span_of(kid ? kid : by->kid, DIGEST_LEN));
	cbor_put_int(&h, 16);
	cbor_put_text(&h, span_str(typ));
	cbor_writer_init(&w, buf, cap);
	cbor_put_array(&w, 4);
	cbor_put_text(&w, span_str("Signature1"));
	cbor_put_bytes(&w, span_of(head, h.len));
	cbor_put_bytes(&w, (struct span){0});
	cbor_put_bytes(&w, payload);
	sign_must(!h.failed && !w.failed);
	signer_sign(by, span_of(buf, w.len), signature);
	cbor_writer_init(&w, buf, cap);
	if (cwt_tag)
		cbor_put_tag(&w, 61);
	cbor_put_tag(&w, 18);
	cbor_put_array(&w, 4);
	cbor_put_bytes(&w, span_of(head, h.len));
	cbor_put_map(&w, 0);
	cbor_put_bytes(&w, payload);
	cbor_put_bytes(&w, SPAN(signature));
	sign_must(!w.failed);
	document = sign_keep(span_of(buf, w.len));
	free(buf);
	return document;
}

/* The same claims with the last byte of the signature changed. */
static inline struct span sign_spoil(struct span document)
{
	struct span copy = sign_keep(document);

	((uint8_t *)copy.data)[copy.len - 1] ^= 1;
	return copy;
}

static inline struct span sign_keys(const struct key *keys, size_t n, uint64_t iat,
				    const struct signer *by)
{
	static uint8_t claim[TOKEN_MEDIUM_MAX];
	struct token t = {.kind = TOKEN_KEYS,
			  .has = CLAIM_ISS | CLAIM_IAT | CLAIM_EXP | CLAIM_KEYS,
			  .iss = span_str(SIGN_ISS),
			  .iat = iat,
			  .exp = iat + 90 * 86400};
	struct cbor_writer w;

	cbor_writer_init(&w, claim, sizeof(claim));
	keyset_put(&w, keys, n);
	sign_must(!w.failed);
	t.keys = span_of(claim, w.len);
	return sign_token(&t, by);
}

/* The city's four keys, and who signs the next. */
static inline struct span sign_city_keys(const struct city *city, const struct signer *next_root,
					 uint64_t iat, const struct signer *by)
{
	struct key keys[] = {
		sign_key(next_root, ROLE_ROOT),
		sign_key(&city->policy, ROLE_POLICY),
		sign_key(&city->revoke, ROLE_REVOKE),
		sign_key(&city->authorize, ROLE_AUTHORIZE),
	};

	return sign_keys(keys, ARRAY_SIZE(keys), iat, by);
}

static inline struct span sign_policy(const struct policy *policy, uint64_t iat,
				      const struct signer *by)
{
	static uint8_t claim[TOKEN_MEDIUM_MAX];
	struct token t = {.kind = TOKEN_POLICY,
			  .has = CLAIM_ISS | CLAIM_IAT | CLAIM_POLICY,
			  .iss = span_str(SIGN_ISS),
			  .iat = iat};
	struct cbor_writer w;

	cbor_writer_init(&w, claim, sizeof(claim));
	policy_put(&w, policy);
	sign_must(!w.failed);
	t.policy = span_of(claim, w.len);
	return sign_token(&t, by);
}

struct sign_entry {
	uint64_t idx;
	unsigned status;
};

struct sign_list {
	const char *uri;
	uint64_t iat, exp, ttl, changed; /* changed 0: claim left out */
	unsigned bits;
	size_t entries;
	const struct sign_entry *set;
	size_t nset;
};

static inline struct span sign_list_of(const struct status_list *list, const struct sign_list *l,
				       const struct signer *by)
{
	static uint8_t lst[TOKEN_LIST_MAX];
	struct token t = {.kind = TOKEN_LIST,
			  .has = CLAIM_ISS | CLAIM_SUB | CLAIM_IAT | CLAIM_EXP | CLAIM_TTL |
				 CLAIM_STATUS_LIST,
			  .iss = span_str(SIGN_ISS),
			  .sub = span_str(l->uri ? l->uri : SIGN_URI),
			  .iat = l->iat,
			  .exp = l->exp ? l->exp : l->iat + 7 * 86400,
			  .ttl = l->ttl ? l->ttl : 3600,
			  .bits = list->bits,
			  .changed = l->changed};
	int r = status_list_deflate(list, lst, sizeof(lst));

	sign_must(r > 0);
	if (l->changed)
		t.has |= CLAIM_CHANGED;
	t.lst = span_of(lst, r);
	return sign_token(&t, by);
}

/* Members that are zero: SIGN_URI, a week, an hour, no changed, 2 bits, 1024 entries. */
static inline struct span sign_list(const struct sign_list *l, const struct signer *by)
{
	static struct status_list list;

	sign_must(status_list_init(&list, l->bits ? l->bits : 2, l->entries ? l->entries : 1024) ==
		  0);
	for (size_t i = 0; i < l->nset; i++)
		sign_must(status_list_set(&list, l->set[i].idx, l->set[i].status) == 0);
	return sign_list_of(&list, l, by);
}

struct sign_auth {
	const char *aud, *uri, *sub;
	uint64_t iat, nbf, exp, idx;
	uint8_t cti[CTI_LEN];
	enum scope scope;
	bool relayed;		       /* cnonce, sub, posture; else cnf */
	uint8_t cnonce[CHALLENGE_LEN]; /* relayed */
	bool has_posture;	       /* relayed */
	struct posture posture;	       /* relayed */
	uint8_t phone[PUBLIC_LEN];     /* at the door */
};

/* Relayed, for SIGN_LOCK, issued at SIGN_NOW for 30 s, challenge and cti of fixed bytes, index 7.
 */
static inline struct sign_auth sign_relayed(const struct city *city)
{
	struct sign_auth a = {.aud = SIGN_LOCK,
			      .uri = SIGN_URI,
			      .sub = "p-4711",
			      .iat = SIGN_NOW,
			      .nbf = SIGN_NOW,
			      .exp = SIGN_NOW + 30,
			      .idx = 7,
			      .scope = SCOPE_UNLOCK,
			      .relayed = true,
			      .has_posture = true,
			      .posture = {.has_pin = true,
					  .pin = true,
					  .app = span_str("se.city.app"),
					  .platform = span_str("android 14"),
					  .has_checked = true,
					  .checked = SIGN_NOW - 60}};

	memset(a.cnonce, 0xc0, sizeof(a.cnonce));
	memset(a.cti, 0x17, sizeof(a.cti));
	memcpy(a.phone, city->phone.pub, PUBLIC_LEN);
	return a;
}

/* At the door, for a shift of eight hours. */
static inline struct sign_auth sign_door(const struct city *city)
{
	struct sign_auth a = sign_relayed(city);

	a.relayed = false;
	a.exp = a.iat + 8 * 3600;
	return a;
}

/* A reader's: scope read, seven days, no status. */
static inline struct sign_auth sign_reader(const struct city *city)
{
	struct sign_auth a = sign_door(city);

	a.scope = SCOPE_READ;
	a.exp = a.iat + READ_LIFETIME_MAX;
	memcpy(a.phone, city->reader.pub, PUBLIC_LEN);
	return a;
}

static inline struct span sign_auth(const struct sign_auth *a, const struct signer *by)
{
	struct token t = {.kind = TOKEN_AUTHORIZATION,
			  .has = CLAIM_ISS | CLAIM_AUD | CLAIM_IAT | CLAIM_NBF | CLAIM_EXP |
				 CLAIM_CTI | CLAIM_SCOPE,
			  .iss = span_str(SIGN_ISS),
			  .aud = span_str(a->aud),
			  .iat = a->iat,
			  .nbf = a->nbf,
			  .exp = a->exp,
			  .cti = SPAN(a->cti),
			  .scope = a->scope,
			  .status_idx = a->idx,
			  .status_uri = span_str(a->uri)};

	if (a->scope != SCOPE_READ)
		t.has |= CLAIM_STATUS;
	if (a->relayed) {
		t.has |= CLAIM_CNONCE | CLAIM_SUB | (a->has_posture ? CLAIM_POSTURE : 0);
		t.cnonce = SPAN(a->cnonce);
		t.sub = span_str(a->sub);
		t.posture = a->posture;
	} else {
		t.has |= CLAIM_CNF;
		key_init(&t.cnf, a->phone, 0);
	}
	return sign_token(&t, by);
}

static inline struct span sign_presentation(const char *aud, const uint8_t cti[static CTI_LEN],
					    const uint8_t nonce[static CHALLENGE_LEN],
					    const struct signer *by)
{
	struct token t = {.kind = TOKEN_PRESENTATION,
			  .has = CLAIM_AUD | CLAIM_CNONCE | CLAIM_CTI,
			  .aud = span_str(aud),
			  .cti = span_of(cti, CTI_LEN),
			  .cnonce = span_of(nonce, CHALLENGE_LEN)};

	return sign_token(&t, by);
}

/* A claim is signed by the root that it names. */
static inline struct span sign_claim(const char *aud, uint64_t iat, const struct signer *root)
{
	struct token t = {.kind = TOKEN_CLAIM,
			  .has = CLAIM_AUD | CLAIM_IAT | CLAIM_KEY,
			  .aud = span_str(aud),
			  .iat = iat,
			  .key = sign_key(root, ROLE_ROOT)};

	return sign_token(&t, root);
}

static inline struct span sign_release(const char *aud, uint64_t iat, const struct signer *root)
{
	struct token t = {.kind = TOKEN_RELEASE,
			  .has = CLAIM_AUD | CLAIM_IAT,
			  .aud = span_str(aud),
			  .iat = iat};

	return sign_token(&t, root);
}

/* cti: of an authorization or the digest of a document; data NULL: none. */
static inline struct span sign_receipt(const char *lock, uint64_t iat, struct span cti,
				       const struct result *result, const struct signer *by)
{
	uint8_t claim[TOKEN_SMALL_MAX];
	struct token t = {.kind = TOKEN_RECEIPT,
			  .has = CLAIM_ISS | CLAIM_IAT | CLAIM_RESULT | (cti.data ? CLAIM_CTI : 0),
			  .iss = span_str(lock),
			  .iat = iat,
			  .cti = cti};
	struct cbor_writer w;

	cbor_writer_init(&w, claim, sizeof(claim));
	result_put(&w, result);
	sign_must(!w.failed);
	t.result = span_of(claim, w.len);
	return sign_token(&t, by);
}
