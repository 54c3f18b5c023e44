// SPDX-License-Identifier: Apache-2.0
/*
 * Documents by a kid that is not known yet, the last per topic. Nobody has verified them: they are
 * bounded in number per kind, so that a flood of one kind displaces only its own.
 */
#include "core/trust-impl.h"

#include <errno.h>
#include <stdlib.h>

static size_t places(enum token_kind kind)
{
	switch (kind) {
	case TOKEN_KEYS:
		return TRUST_CHAIN;
	case TOKEN_LIST:
		return TRUST_LISTS;
	default:
		return 1;
	}
}

void trust_pending_remove(struct trust *trust, size_t i)
{
	free(trust->pending[i].document);
	trust->npending--;
	memmove(&trust->pending[i], &trust->pending[i + 1],
		(trust->npending - i) * sizeof(trust->pending[0]));
}

/* The one that gives way: of the same topic, else the kind's oldest if its places are taken. */
static bool displaced(const struct trust *trust, const struct trust_pending *by, size_t *ret)
{
	size_t n = 0, oldest = 0;

	for (size_t i = trust->npending; i-- > 0;) {
		if (trust->pending[i].kind != by->kind)
			continue;
		if (strcmp(trust->pending[i].name, by->name) == 0) {
			*ret = i;
			return true;
		}
		n++;
		oldest = i;
	}
	*ret = oldest;
	return n >= places(by->kind);
}

int trust_pending_keep(struct trust *trust, const struct offer *o)
{
	struct trust_pending p = {.kind = o->token.kind, .len = o->document.len};
	size_t i;

	memcpy(p.kid, o->change->kid, DIGEST_LEN);
	if (p.kind == TOKEN_KEYS)
		hex_encode(SPAN(p.kid), p.name, sizeof(p.name));
	else
		memcpy(p.name, o->change->name, sizeof(o->change->name));
	p.document = trust_dup(o->document);
	if (!p.document)
		return -ENOMEM;
	if (displaced(trust, &p, &i))
		trust_pending_remove(trust, i);
	trust->pending[trust->npending++] = p;
	return 0;
}
