// SPDX-License-Identifier: Apache-2.0
/*
 * COSE_Sign1 (RFC 9052 section 4.2): the outer form and the signature. Which key may sign what is
 * decided in keys.c, what the payload says in token.c.
 */
#include "core/cose.h"

#include "core/cbor.h"

#include <errno.h>
#include <stdlib.h>

enum { TAG_SIGN1 = 18, TAG_CWT = 61 };
enum { HEADER_ALG = 1, HEADER_KID = 4, HEADER_TYP = 16 };

/* Exactly alg, kid and typ. Duplicates were refused before, so three members are these three. */
static int parse_protected(struct cose_sign1 *m)
{
	struct cbor_reader r;
	size_t n;

	if (!cbor_well_formed(m->protected_))
		return REASON_MALFORMED;
	cbor_reader_init(&r, m->protected_);
	n = cbor_enter_map(&r);
	if (n != 3)
		return REASON_MALFORMED;
	for (size_t i = 0; i < n; i++) {
		switch (cbor_int(&r)) {
		case HEADER_ALG:
			m->alg = cbor_int(&r);
			break;
		case HEADER_KID:
			m->kid = cbor_bytes(&r);
			break;
		case HEADER_TYP:
			m->typ = cbor_text(&r);
			break;
		default:
			return REASON_MALFORMED;
		}
	}
	cbor_leave(&r);
	if (!cbor_done(&r) || m->kid.len != DIGEST_LEN)
		return REASON_MALFORMED;
	return 0;
}

int cose_parse(struct span document, struct cose_sign1 *ret)
{
	struct cose_sign1 m = {0};
	struct cbor_reader r;
	uint64_t tag;
	int reason;

	if (!cbor_well_formed(document))
		return REASON_MALFORMED;
	cbor_reader_init(&r, document);
	tag = cbor_tag(&r);
	if (tag == TAG_CWT) {
		m.cwt_tag = true;
		tag = cbor_tag(&r);
	}
	if (tag != TAG_SIGN1 || cbor_enter_array(&r) != 4)
		return REASON_MALFORMED;
	m.protected_ = cbor_bytes(&r);
	if (cbor_enter_map(&r) != 0)
		return REASON_MALFORMED;
	cbor_leave(&r);
	m.payload = cbor_bytes(&r);
	m.signature = cbor_bytes(&r);
	cbor_leave(&r);
	if (!cbor_done(&r))
		return REASON_MALFORMED;
	reason = parse_protected(&m);
	if (reason != 0)
		return reason;
	*ret = m;
	return 0;
}

/* Sig_structure (RFC 9052 section 4.4), on the heap: Ed25519 needs the message in one piece. */
static int sig_structure(struct span protected_, struct span payload, uint8_t **ret,
			 size_t *ret_len)
{
	size_t cap = protected_.len + payload.len + 32;
	cleanup(freep) uint8_t *buf = malloc(cap);
	struct cbor_writer w;

	if (!buf)
		return -ENOMEM;
	cbor_writer_init(&w, buf, cap);
	cbor_put_array(&w, 4);
	cbor_put_text(&w, span_str("Signature1"));
	cbor_put_bytes(&w, protected_);
	cbor_put_bytes(&w, (struct span){0});
	cbor_put_bytes(&w, payload);
	if (w.failed)
		return -ENOMEM;
	*ret_len = w.len;
	*ret = steal(buf);
	return 0;
}

int cose_verify(const struct cose_sign1 *message, const uint8_t pub[static PUBLIC_LEN])
{
	cleanup(freep) uint8_t *tbs = NULL;
	size_t len;
	int r;

	if (message->signature.len != SIGNATURE_LEN)
		return REASON_BAD_SIGNATURE;
	r = sig_structure(message->protected_, message->payload, &tbs, &len);
	if (r < 0)
		return r;
	if (!crypto_verify(pub, span_of(tbs, len), message->signature.data))
		return REASON_BAD_SIGNATURE;
	return 0;
}

static void put_protected(struct cbor_writer *w, const struct signer *signer, const char *typ)
{
	cbor_put_map(w, 3);
	cbor_put_int(w, HEADER_ALG);
	cbor_put_int(w, COSE_ED25519);
	cbor_put_int(w, HEADER_KID);
	cbor_put_bytes(w, SPAN(signer->kid));
	cbor_put_int(w, HEADER_TYP);
	cbor_put_text(w, span_str(typ));
}

int cose_sign(const struct signer *signer, const char *typ, bool cwt_tag, struct span payload,
	      uint8_t *ret, size_t cap)
{
	uint8_t protected_[COSE_OVERHEAD], signature[SIGNATURE_LEN];
	cleanup(freep) uint8_t *tbs = NULL;
	struct cbor_writer head, w;
	size_t len;
	int r;

	cbor_writer_init(&head, protected_, sizeof(protected_));
	put_protected(&head, signer, typ);
	if (head.failed)
		return -ENOSPC;
	r = sig_structure(span_of(protected_, head.len), payload, &tbs, &len);
	if (r < 0)
		return r;
	signer_sign(signer, span_of(tbs, len), signature);

	cbor_writer_init(&w, ret, cap);
	if (cwt_tag)
		cbor_put_tag(&w, TAG_CWT);
	cbor_put_tag(&w, TAG_SIGN1);
	cbor_put_array(&w, 4);
	cbor_put_bytes(&w, span_of(protected_, head.len));
	cbor_put_map(&w, 0);
	cbor_put_bytes(&w, payload);
	cbor_put_bytes(&w, SPAN(signature));
	return w.failed ? -ENOSPC : (int)w.len;
}
