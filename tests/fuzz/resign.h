/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Documents in a fuzzer's input, and a mutator that gets behind their signatures: it changes a
 * payload and signs it again with one of the city's keys.
 *
 * Input: a byte of settings, then records: 2 bytes of length (little-endian), and the document.
 */
#include "unit/sign.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

#define RESIGN_HEAD    1
#define RESIGN_RECORDS 24
#define RESIGN_SIGNERS 26 /* enough for more roots than a chain holds */

/* abort() alone would not say which one. */
#define must(truth)                                                                                \
	do {                                                                                       \
		if (!(truth)) {                                                                    \
			fprintf(stderr, "%s:%d: must: %s\n", __FILE__, __LINE__, #truth);          \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct resign_record {
	size_t at; /* of its length */
	struct span document;
};

static inline size_t resign_records(const uint8_t *data, size_t size,
				    struct resign_record ret[static RESIGN_RECORDS])
{
	size_t n = 0, at = RESIGN_HEAD;

	while (n < RESIGN_RECORDS && at + 2 <= size) {
		size_t len = data[at] | (size_t)data[at + 1] << 8;

		if (len > size - at - 2)
			len = size - at - 2;
		ret[n++] = (struct resign_record){at, span_of(data + at + 2, len)};
		at += 2 + len;
	}
	return n;
}

static inline const struct signer *resign_signer(unsigned i)
{
	static struct signer all[RESIGN_SIGNERS];
	static bool ready;

	if (!ready) {
		must(crypto_init() == 0);
		for (unsigned k = 0; k < ARRAY_SIZE(all); k++)
			all[k] = sign_signer((uint8_t)(k + 1)); /* 1 to 7 are city_new's */
		ready = true;
	}
	return &all[i % ARRAY_SIZE(all)];
}

/* Who signed it, if it is one of ours and chance lets it stay so. */
static inline const struct signer *resign_by(const struct cose_sign1 *m, unsigned seed)
{
	if (seed % 4 != 0)
		for (unsigned i = 0; i < RESIGN_SIGNERS; i++)
			if (span_equal(m->kid, SPAN(resign_signer(i)->kid)))
				return resign_signer(i);
	return resign_signer(seed / 4);
}

static inline struct span resign_document(struct span document, unsigned seed)
{
	static uint8_t payload[16384];
	struct cose_sign1 m;
	char typ[64] = {0};
	size_t len;

	if (cose_parse(document, &m) != 0 || m.payload.len > sizeof(payload) / 2 ||
	    m.typ.len >= sizeof(typ))
		return (struct span){0};
	memcpy(typ, m.typ.data, m.typ.len);
	memcpy(payload, m.payload.data, m.payload.len);
	len = LLVMFuzzerMutate(payload, m.payload.len, m.payload.len + 64);
	return sign_cose(seed % 64 == 5 ? -7 : m.alg, NULL, typ, m.cwt_tag, span_of(payload, len),
			 resign_by(&m, seed >> 6));
}

/* Puts a record where another was; the new size. */
static inline size_t resign_replace(uint8_t *data, size_t size, size_t max_size,
				    const struct resign_record *old, struct span by)
{
	size_t after = old->at + 2 + old->document.len;
	size_t grown = size - old->document.len + by.len;

	if (by.len > UINT16_MAX || grown > max_size)
		return size;
	memmove(data + old->at + 2 + by.len, data + after, size - after);
	memcpy(data + old->at + 2, by.data, by.len);
	data[old->at] = (uint8_t)by.len;
	data[old->at + 1] = (uint8_t)(by.len >> 8);
	return grown;
}

/* Once more, at the end: the same document again, or an older one after a newer one. */
static inline size_t resign_repeat(uint8_t *data, size_t size, size_t max_size,
				   const struct resign_record *record)
{
	size_t len = record->document.len + 2;

	if (len > max_size - size)
		return size;
	memmove(data + size, data + record->at, len);
	return size + len;
}

static inline size_t resign_mutate(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	struct resign_record records[RESIGN_RECORDS];
	size_t n = resign_records(data, size, records);
	const struct resign_record *one;
	struct span document;

	if (n == 0 || seed % 8 == 0)
		return LLVMFuzzerMutate(data, size, max_size);
	one = &records[(seed >> 3) % n];
	if (seed % 8 == 1)
		return resign_repeat(data, size, max_size, one);
	document = resign_document(one->document, seed >> 8);
	if (!document.data)
		return LLVMFuzzerMutate(data, size, max_size);
	size = resign_replace(data, size, max_size, one, document);
	sign_forget();
	return size;
}
