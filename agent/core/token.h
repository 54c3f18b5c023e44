/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The documents of the contract, section 2: CWT claims (RFC 8392) inside COSE_Sign1, one struct for
 * reading and for writing. token_parse checks form only: size, header, tags, that each claim the
 * kind demands is there and none that it does not allow. Signatures: keyset_verify, cose_verify.
 */
#include "core/keys.h"

#define TOKEN_SMALL_MAX	   1024		  /* authorization, presentation, receipt */
#define TOKEN_MEDIUM_MAX   8192		  /* keys, policy, claim, release */
#define TOKEN_LIST_MAX	   (144 * 1024)	  /* list, packed */
#define TOKEN_DOCUMENT_MAX TOKEN_LIST_MAX /* any */
#define CTI_LEN		   16
#define CHALLENGE_LEN	   8
#define ID_MAX		   32 /* gateway, lock and list names: [a-z0-9-]{1,32} */
#define URI_MAX		   255
#define READ_LIFETIME_MAX  (7 * 86400)
#define TIME_MAX	   253402300799 /* end of the year 9999: sums of times never wrap */

enum token_kind {
	TOKEN_KEYS,
	TOKEN_POLICY,
	TOKEN_LIST,
	TOKEN_AUTHORIZATION,
	TOKEN_PRESENTATION,
	TOKEN_CLAIM,
	TOKEN_RELEASE,
	TOKEN_RECEIPT,
	TOKEN_KINDS,
};

enum scope {
	SCOPE_NONE,
	SCOPE_UNLOCK,
	SCOPE_LOCK,
	SCOPE_UNLATCH,
	SCOPE_READ,
};

enum claim { /* bits of token.has */
	     CLAIM_ISS = 1 << 0,
	     CLAIM_SUB = 1 << 1,
	     CLAIM_AUD = 1 << 2,
	     CLAIM_EXP = 1 << 3,
	     CLAIM_NBF = 1 << 4,
	     CLAIM_IAT = 1 << 5,
	     CLAIM_CTI = 1 << 6,
	     CLAIM_CNF = 1 << 7,
	     CLAIM_SCOPE = 1 << 8,
	     CLAIM_CNONCE = 1 << 9,
	     CLAIM_STATUS = 1 << 10,
	     CLAIM_TTL = 1 << 11,
	     CLAIM_STATUS_LIST = 1 << 12,
	     CLAIM_POSTURE = 1 << 13,
	     CLAIM_KEYS = 1 << 14,
	     CLAIM_POLICY = 1 << 15,
	     CLAIM_RESULT = 1 << 16,
	     CLAIM_CHANGED = 1 << 17,
	     CLAIM_KEY = 1 << 18,
};

struct posture { /* each may be missing */
	bool has_pin, pin;
	struct span app, platform; /* data NULL: missing */
	bool has_checked;
	uint64_t checked;
};

struct token {
	enum token_kind kind;
	unsigned has; /* of enum claim */
	struct span iss, sub, aud;
	uint64_t exp, nbf, iat; /* seconds since 1970 */
	struct span cti;	/* 16 bytes; in a receipt also the 8-byte digest of a document */
	struct span cnonce;	/* 8 bytes */
	struct key cnf;
	enum scope scope;
	uint64_t status_idx;
	struct span status_uri;
	uint64_t ttl;
	unsigned bits;	 /* of the status list: 1, 2, 4, 8 */
	struct span lst; /* zlib */
	struct posture posture;
	struct span keys, policy,
		result; /* one encoded item: keyset_parse, policy_parse, result_parse */
	uint64_t changed;
	struct key key; /* claim: the root to obey */
	/* set by parse */
	struct cose_sign1 cose;
	uint8_t digest[DIGEST_LEN]; /* of the payload */
};

/* Which kind the typ header names; TOKEN_KINDS if none. For choosing caps and topics. */
enum token_kind token_kind_of(const struct cose_sign1 *message);
const char *token_kind_word(enum token_kind kind); /* "keys", "policy", "list", ... */
size_t token_max(enum token_kind kind);
const char *token_typ(enum token_kind kind);  /* as written: "application/..." */
bool token_has_cwt_tag(enum token_kind kind); /* all but list */
/*
 * Reads any kind; the document must outlive the token. 0 or REASON_MALFORMED (REASON_TOO_LARGE only
 * where a keys, policy, claim, release or list document exceeds its cap). The caller checks kind: a
 * typ of another kind than expected is REASON_WRONG_ROLE. On refusal ret holds what was read before
 * (kind TOKEN_KINDS: not even the outer form), to name it in events; trust none of it.
 */
int token_parse(struct span document, struct token *ret);
/*
 * Do the claims in has fit the kind, and their values the contract? 0 or REASON_MALFORMED.
 *
 *   kind           needs                                   may have
 *   keys           iat keys                                iss exp
 *   policy         iat policy                              iss exp
 *   list           sub iat exp ttl status_list             iss changed (missing: read as iat)
 *   authorization  iss aud iat nbf exp cti scope, and
 *     relayed      cnonce sub status                       posture
 *     at the door  cnf status
 *     read         cnf
 *   presentation   aud cnonce cti
 *   claim          aud iat key                             iss exp
 *   release        aud iat                                 iss exp
 *   receipt        iss iat result                          cti
 *
 * Any other claim, known or not, is superfluous. Inside posture, status_list, key records, policy
 * and result, members that are not known are skipped; inside status and cnf they are refused.
 * exp > iat, nbf <= exp, changed <= iat, ttl > 0, no time above TIME_MAX. aud, and iss of a
 * receipt: id_valid; other iss, sub and uri: 1 to URI_MAX bytes; sub of a list: has a list_name.
 * cti 16 bytes (in a receipt also 8), cnonce 8.
 */
int token_check(const struct token *token);
/* Only the claims of a payload, of any kind and unchecked beyond their types: what token_parse does
 * between the outer form and token_check. 0 or REASON_MALFORMED. */
int token_read_claims(struct span payload, struct token *token);
/* Writes and signs by kind, deterministic; only claims in has. The length, -EINVAL if token_check
 * refuses, -ENOSPC (also: over the kind's cap), -ENOMEM. */
int token_sign(const struct token *token, const struct signer *signer, uint8_t *ret, size_t cap);

const char *scope_word(enum scope scope);
enum scope scope_parse(struct span word); /* SCOPE_NONE: none of ours */
/* [a-z0-9-]{1,32} */
bool id_valid(struct span id);
/* The last path segment (behind the last slash) of a list's URI, if it is a valid list name (not
 * keys, not policy); else data NULL. */
struct span list_name(struct span uri);
