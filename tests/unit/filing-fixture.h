/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the desk files, for the tests of receipts, of proof and of streams. */
#include "core/gate.h"
#include "desk-fixture.h"
#include "desk/receipts.h"

static inline int file(struct desk_fixture *f, const struct desk_receipt *r, bool *ret_new)
{
	uint8_t bytes[TOKEN_SMALL_MAX];
	struct receipt receipt;
	size_t len = desk_receipt(r, bytes);

	return receipt_file(f->desk.db, span_of(bytes, len), "gw-1", NOW, &receipt, ret_new);
}

static inline int64_t alarms(struct desk_fixture *f, const char *kind)
{
	cleanup(db_end) struct db_query q =
		db_query(f->desk.db, "SELECT count(*) FROM alarm WHERE kind = ?");

	db_bind_text(&q, kind);
	assert_int_equal(db_step(&q), 1);
	return db_int(&q, 0);
}

/* Signed by this desk, for lock-1. */
static inline struct authorization relayed(struct desk_fixture *f, const struct phone *phone)
{
	static const uint8_t challenge[CHALLENGE_LEN] = {1};
	struct authorization_request request = {.phone = phone,
						.lock = "lock-1",
						.scope = SCOPE_UNLOCK,
						.now = NOW,
						.lifetime = 60,
						.challenge = challenge};
	struct authorization a;

	must(authorization_sign(&f->desk, &request, &a, f->error));
	return a;
}
