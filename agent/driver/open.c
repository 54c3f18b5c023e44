// SPDX-License-Identifier: Apache-2.0
/*
 * The "open" lock's bytes: documents out in frames, answers in, receipts verified before anybody
 * else sees them. See open.h.
 */
#include "driver/open.h"

#include <errno.h>

void open_init(struct open *open, const char *id, const uint8_t key[static PUBLIC_LEN])
{
	size_t len = strlen(id);

	memset(open, 0, sizeof(*open));
	memcpy(open->id, id, len > ID_MAX ? ID_MAX : len);
	memcpy(open->key, key, PUBLIC_LEN);
	open_begin(open, FRAME_MAX);
}

void open_begin(struct open *open, size_t frame)
{
	open->frame = frame < 8 ? 8 : frame > FRAME_MAX ? FRAME_MAX : frame;
	frame_joiner_init(&open->in, open->buf, sizeof(open->buf));
	frame_cut(&open->out, span_of(NULL, 0));
	open->out.begun = true;
}

void open_send(struct open *open, struct span document)
{
	frame_cut(&open->out, document);
}

size_t open_next(struct open *open, uint8_t ret[static FRAME_MAX], bool *ret_last)
{
	size_t n = frame_next(&open->out, open->frame, ret);

	*ret_last = n > 0 && frame_is_last(&open->out);
	return n;
}

int open_present(const struct signer *reader, const char *lock,
		 const uint8_t nonce[static CHALLENGE_LEN], struct span cti, uint8_t *ret,
		 size_t cap)
{
	struct token token = {
		.kind = TOKEN_PRESENTATION,
		.has = CLAIM_AUD | CLAIM_CNONCE | CLAIM_CTI,
		.aud = span_str(lock),
		.cnonce = span_of(nonce, CHALLENGE_LEN),
		.cti = cti,
	};

	return token_sign(&token, reader, ret, cap);
}

static enum open_said rubbish(struct open_answer *ret, const char *why)
{
	ret->why = why;
	return OPEN_RUBBISH;
}

static enum open_said read_receipt(struct open *open, struct open_answer *ret)
{
	struct token *token = &ret->token;

	ret->document = span_of(open->in.buf, open->in.len);
	if (token_parse(ret->document, token) != 0)
		return rubbish(ret, "an answer that is no document");
	if (token->kind != TOKEN_RECEIPT)
		return rubbish(ret, "a document that is no receipt");
	if (!span_is(token->iss, open->id))
		return rubbish(ret, "a receipt in another lock's name");
	if (token->cose.alg != COSE_ED25519 && token->cose.alg != COSE_EDDSA)
		return rubbish(ret, "a receipt signed by an unknown algorithm");
	if (cose_verify(&token->cose, open->key) != 0)
		return rubbish(ret, "a receipt that the lock's key did not sign");
	if (result_parse(token->result, &ret->result) != 0)
		return rubbish(ret, "a receipt without a result");
	return OPEN_RECEIPT;
}

enum open_said open_take(struct open *open, struct span notification, struct open_answer *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (notification.len == 0 || notification.len > FRAME_MAX)
		return rubbish(ret, "a notification of no frame's size");
	switch (frame_take(&open->in, notification, &ret->code)) {
	case FRAME_MORE:
		return OPEN_MORE;
	case FRAME_SHORT:
		return OPEN_SHORT;
	case FRAME_COMPLETE:
		return read_receipt(open, ret);
	case FRAME_ERROR:
		if (ret->code == FRAME_TOO_LARGE)
			return rubbish(ret, "an answer that is too long");
		if (ret->code == FRAME_GAP)
			return rubbish(ret, "an answer with frames missing");
		return rubbish(ret, "an answer that is no frame");
	}
	return rubbish(ret, "an answer that is no frame");
}

int open_info(const struct open *open, struct span value, struct info *ret)
{
	if (info_parse(value, ret) != 0)
		return REASON_MALFORMED;
	if (strcmp(ret->id, open->id) != 0 || memcmp(ret->key, open->key, PUBLIC_LEN) != 0 ||
	    ret->profile != OPEN_PROFILE)
		return REASON_WRONG_LOCK;
	return 0;
}

enum reason open_short_reason(unsigned code)
{
	static const enum reason reasons[FRAME_CODES_] = {
		[FRAME_GO_ON] = REASON_NONE,
		[FRAME_GAP] = REASON_FRAME_GAP,
		[FRAME_TOO_LARGE] = REASON_TOO_LARGE,
		[FRAME_MALFORMED] = REASON_MALFORMED,
		[FRAME_UNKNOWN_KEY] = REASON_UNKNOWN_KEY,
		[FRAME_WRONG_ROLE] = REASON_WRONG_ROLE,
		[FRAME_BAD_SIGNATURE] = REASON_BAD_SIGNATURE,
		[FRAME_NOT_OWNED] = REASON_NOT_OWNED,
		[FRAME_TRY_LATER] = REASON_TRY_LATER,
		[FRAME_NOT_A_READER] = REASON_NOT_A_READER,
	};

	return code < FRAME_CODES_ ? reasons[code] : REASON_LOCK_ERROR;
}
