// SPDX-License-Identifier: Apache-2.0
/*
 * token_parse on anything, and on anything inside a good outer form of each kind (the first byte
 * chooses). What is read must pass its own check, and once signed by us read the same again.
 */
#include "core/token.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool truth)
{
	if (!truth)
		abort();
}

static const struct signer *signer(void)
{
	static struct signer s;
	static bool ready;

	if (!ready) {
		must(crypto_init() == 0);
		signer_from_seed((const uint8_t[SEED_LEN]){7}, &s);
		ready = true;
	}
	return &s;
}

static void try(struct span document)
{
	static uint8_t again[TOKEN_DOCUMENT_MAX];
	struct token t, u;
	struct keyset set;
	int r = token_parse(document, &t);

	must(r == 0 || r == REASON_MALFORMED || r == REASON_TOO_LARGE);
	if (r != 0)
		return;
	must(t.kind < TOKEN_KINDS && token_check(&t) == 0);
	cose_verify(&t.cose, signer()->pub);
	if (t.kind == TOKEN_KEYS && keyset_parse(t.keys, &set) == 0)
		must(set.root && set.root >= set.keys && set.root < set.keys + set.n);
	r = token_sign(&t, signer(), again, sizeof(again));
	if (r < 0) /* a shorter foreign kid or typ may have left too little room under the cap */
		return;
	must(token_parse(span_of(again, r), &u) == 0);
	must(u.kind == t.kind && u.has == t.has && u.exp == t.exp && u.iat == t.iat);
	must(span_equal(u.cti, t.cti) && u.scope == t.scope && u.status_idx == t.status_idx);
	must(cose_verify(&u.cose, signer()->pub) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t wrapped[TOKEN_DOCUMENT_MAX + COSE_OVERHEAD];
	enum token_kind kind;
	int r;

	try(span_of(data, len));
	if (len == 0 || len > TOKEN_DOCUMENT_MAX)
		return 0;
	kind = (enum token_kind)(data[0] % TOKEN_KINDS);
	r = cose_sign(signer(), token_typ(kind), token_has_cwt_tag(kind),
		      span_of(data + 1, len - 1), wrapped, sizeof(wrapped));
	must(r > 0);
	try(span_of(wrapped, r));
	return 0;
}
