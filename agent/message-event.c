// SPDX-License-Identifier: Apache-2.0
/* The JSON of events; see message.h and docs/protocol.md. */
#include <errno.h>
#include <stdlib.h>

#include "core/crypto.h"
#include "message-json.h"

static const uint8_t no_digest[DIGEST_LEN];

static void put_document(struct json_out *out, const struct event *event)
{
	struct json_out document = json_out_begin();

	/* of a document that could not be read not everything is known */
	if (event->document_kind < TOKEN_KINDS)
		put_text(&document, "kind", token_kind_word(event->document_kind));
	put_id(&document, "name", event->document.name);
	if (event->document.iat)
		put_uint(&document, "iat", event->document.iat);
	if (memcmp(event->document.digest, no_digest, DIGEST_LEN) != 0)
		put_hex(&document, "digest", SPAN(event->document.digest));
	put_object(out, "document", &document);
}

static void get_document(struct json_in *in, struct event *ret)
{
	struct json_in document = get_object(in, "document");
	struct span kind;

	ret->has_document = true;
	ret->document_kind = TOKEN_KINDS;
	if (has(&document, "kind")) {
		kind = get_string(&document, "kind");
		for (int i = 0; i < TOKEN_KINDS; i++) {
			if (span_is(kind, token_kind_word((enum token_kind)i)))
				ret->document_kind = (enum token_kind)i;
		}
	}
	if (has(&document, "name"))
		get_id(&document, "name", ret->document.name);
	if (has(&document, "iat"))
		ret->document.iat = get_uint(&document, "iat");
	if (has(&document, "digest"))
		get_hex(&document, "digest", ret->document.digest, DIGEST_LEN);
	in->failed = in->failed || document.failed;
}

static void put_optional(struct json_out *out, const struct event *event)
{
	put_id(out, "lock", event->lock);
	if (event->has_cti)
		put_hex(out, "cti", SPAN(event->cti));
	if (event->scope != SCOPE_NONE)
		put_text(out, "scope", scope_word(event->scope));
	if (event->outcome != OUTCOME_NONE)
		put_text(out, "outcome", outcome_word(event->outcome));
	put_word(out, "reason", reason_word(event->reason));
	put_word(out, "first", event->first);
	if (event->has_challenge)
		put_hex(out, "challenge", SPAN(event->challenge));
	if (event->correlation.len)
		put_hex(out, "correlation", event->correlation);
	if (event->receipt.len)
		put_base64url(out, "receipt", event->receipt);
	if (event->has_document)
		put_document(out, event);
	if (event->copy.len)
		put_base64url(out, "copy", event->copy);
	if (event->count)
		put_uint(out, "count", event->count);
	put_word(out, "detail", event->detail);
}

char *event_encode(const struct event *event)
{
	cleanup(json_outp) struct json_out out = json_out_begin();

	if (event->type >= EVENT_TYPES)
		return NULL;
	put_text(&out, "stream", event->stream);
	put_uint(&out, "seq", event->seq);
	put_hex(&out, "prev", SPAN(event->prev));
	put_uint(&out, "time", event->time);
	put_bool(&out, "synchronised", event->synchronised);
	put_text(&out, "type", event_type_word(event->type));
	put_optional(&out, event);
	return json_out_end(&out);
}

static enum event_type type_of(struct span word)
{
	int i = 0;

	while (i < EVENT_TYPES && !span_is(word, event_type_word((enum event_type)i)))
		i++;
	return (enum event_type)i;
}

/* Decoded bytes, one behind the other in the block that the event owns. */
struct block {
	uint8_t *next, *end;
};

static struct span get_bytes(struct json_in *in, const char *key, struct block *block, size_t max,
			     int (*decode)(struct span, uint8_t *, size_t))
{
	struct span text = get_string(in, key), bytes = {0};
	size_t cap = (size_t)(block->end - block->next);
	int len = text.data ? decode(text, block->next, cap < max ? cap : max) : -EINVAL;

	if (len <= 0) {
		in->failed = true;
		return bytes;
	}
	bytes = span_of(block->next, (size_t)len);
	block->next += len;
	return bytes;
}

static void get_optional(struct json_in *in, struct block *block, struct event *ret)
{
	if (has(in, "lock"))
		get_id(in, "lock", ret->lock);
	ret->has_cti = has(in, "cti");
	if (ret->has_cti)
		get_hex(in, "cti", ret->cti, CTI_LEN);
	if (has(in, "scope"))
		ret->scope = scope_parse(get_string(in, "scope"));
	if (has(in, "outcome"))
		ret->outcome = outcome_parse(get_string(in, "outcome"));
	if (has(in, "reason")) {
		struct span word = get_string(in, "reason");

		ret->reason =
			word.data ? reason_parse((const char *)word.data, word.len) : REASON_NONE;
	}
	if (has(in, "first"))
		get_text(in, "first", ret->first, sizeof(ret->first));
	ret->has_challenge = has(in, "challenge");
	if (ret->has_challenge)
		get_hex(in, "challenge", ret->challenge, CHALLENGE_LEN);
	if (has(in, "correlation"))
		ret->correlation = get_bytes(in, "correlation", block, CORRELATION_MAX, hex_decode);
	if (has(in, "receipt"))
		ret->receipt = get_bytes(in, "receipt", block, TOKEN_SMALL_MAX, base64url_decode);
	if (has(in, "document"))
		get_document(in, ret);
	if (has(in, "copy"))
		ret->copy = get_bytes(in, "copy", block, TOKEN_DOCUMENT_MAX, base64url_decode);
	if (has(in, "count"))
		ret->count = get_uint(in, "count");
	if (has(in, "detail"))
		get_text(in, "detail", ret->detail, sizeof(ret->detail));
}

int event_parse(struct span text, struct event *ret)
{
	cleanup(json_rootp) json_t *root = NULL;
	cleanup(event_deinit) struct event event = {0};
	struct block block;
	struct json_in in;
	int r = json_in_begin(text, &root, &in);

	if (r < 0)
		return r;
	/* every decoding is shorter than its text */
	event.owned_ = malloc(text.len);
	if (!event.owned_)
		return -ENOMEM;
	block.next = event.owned_;
	block.end = block.next + text.len;
	get_hex_text(&in, "stream", event.stream, sizeof(event.stream));
	event.seq = get_uint(&in, "seq");
	get_hex(&in, "prev", event.prev, SHA256_LEN);
	event.time = get_uint(&in, "time");
	event.synchronised = get_bool(&in, "synchronised");
	event.type = type_of(get_string(&in, "type"));
	get_optional(&in, &block, &event);
	if (in.failed)
		return -EINVAL;
	*ret = event;
	event.owned_ = NULL;
	return 0;
}

void event_deinit(struct event *event)
{
	free(event->owned_);
	event->owned_ = NULL;
}
