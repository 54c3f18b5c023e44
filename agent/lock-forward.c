// SPDX-License-Identifier: Apache-2.0
/*
 * Claims and releases that are brought to a lock. Each is told once how it went: by the lock's
 * receipt, by a short answer, or by silence. Sent again only when the connection broke before the
 * answer; that one may have taken effect unseen, so the owner that info then names is told too.
 */
#include "lock-private.h"

#include <stdlib.h>

int lock_forward(struct lock *l, struct span document)
{
	struct lock_forward *f = &l->forwards[l->nforwards];
	struct token token;
	uint8_t *copy;

	if (l->nforwards == LOCK_FORWARDS)
		return -EBUSY;
	if (token_parse(document, &token) != 0)
		return -EINVAL;
	copy = malloc(document.len);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, document.data, document.len);
	*f = (struct lock_forward){.document = copy, .len = document.len, .kind = token.kind};
	memcpy(f->digest, token.digest, DIGEST_LEN);
	l->nforwards++;
	l->connect_at = l->link == LINK_NONE ? 0 : l->connect_at;
	if (l->step == STEP_PUSH && l->pushing == TOKEN_LIST)
		lock_cut_step(l); /* somebody stands at the door; the list starts again */
	lock_advance(l);
	return 0;
}

static void drop(struct lock *l, size_t i)
{
	free(l->forwards[i].document);
	memmove(&l->forwards[i], &l->forwards[i + 1],
		(--l->nforwards - i) * sizeof(l->forwards[0]));
}

static size_t find(const struct lock *l, struct span digest)
{
	size_t i = 0;

	while (i < l->nforwards && !span_equal(digest, SPAN(l->forwards[i].digest)))
		i++;
	return i;
}

void lock_forward_drop(struct lock *l, const uint8_t digest[static DIGEST_LEN])
{
	size_t i = find(l, span_of(digest, DIGEST_LEN));

	if (i == l->nforwards)
		return;
	if (i == 0 && l->step == STEP_FORWARD)
		lock_cut_step(l); /* its frames point into what is freed now */
	drop(l, i);
	lock_advance(l);
}

bool lock_hurries(const struct lock *l)
{
	return l->nforwards > 0;
}

void lock_forward_send(struct lock *l)
{
	l->forwards[0].tries++;
	lock_step_send(l, STEP_FORWARD, span_of(l->forwards[0].document, l->forwards[0].len));
}

/* --- how it went -------------------------------------------------------------------------------- */

void lock_forward_tell(struct lock *l, const struct info *info)
{
	struct lock_told *told = &l->told;
	struct lock_forwarded forwarded = {
		.kind = told->kind,
		.outcome = told->outcome,
		.reason = told->reason,
		.receipt = span_of(told->receipt, told->len),
		.has_owner = info != NULL,
		.owned = info && info->owned,
	};

	if (!told->due)
		return;
	told->due = false;
	memcpy(forwarded.digest, told->digest, DIGEST_LEN);
	if (info)
		memcpy(forwarded.owner, info->owner, DIGEST_LEN);
	l->ops->forwarded(&forwarded, l->user);
}

/* Told when info has been read once more, or the link ends before. */
static void done(struct lock *l, size_t i, enum outcome outcome, enum reason reason,
		 struct span receipt)
{
	struct lock_told *told = &l->told;

	lock_forward_tell(l, NULL);
	told->due = true;
	told->kind = l->forwards[i].kind;
	memcpy(told->digest, l->forwards[i].digest, DIGEST_LEN);
	told->outcome = outcome;
	told->reason = reason;
	told->len = receipt.len > sizeof(told->receipt) ? 0 : receipt.len;
	if (told->len)
		memcpy(told->receipt, receipt.data, told->len);
	drop(l, i);
	l->need_info = true;
	l->holds.nrefused = 0;
	if (l->link != LINK_UP)
		lock_forward_tell(l, NULL);
}

void lock_forward_receipt(struct lock *l, const struct open_answer *answer)
{
	size_t i = find(l, answer->token.cti);

	if (i == l->nforwards)
		return;
	/* Found in the log while it was being sent again: those frames point into what is freed. */
	if (i == 0 && l->step == STEP_FORWARD)
		lock_cut_step(l);
	done(l, i, answer->result.outcome, answer->result.reason, answer->document);
}

void lock_forward_short(struct lock *l, enum reason reason)
{
	if (l->nforwards)
		done(l, 0, OUTCOME_REFUSED, reason, span_of(NULL, 0));
}

void lock_forward_link_gone(struct lock *l)
{
	lock_forward_tell(l, NULL);
	if (l->nforwards && l->forwards[0].tries >= LOCK_TRIES)
		done(l, 0, OUTCOME_UNKNOWN, REASON_TIMEOUT, span_of(NULL, 0));
}
