/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A desk in a folder that goes away: registry, keys, first documents, one gateway, one lock whose
 * key the test holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/result.h"
#include "desk/documents.h"
#include "desk/fleet.h"
#include "desk/issued.h"
#include "desk/keyring.h"
#include "desk/registry.h"
#include "desk/sign.h"
#include "desk/staff.h"

#define NOW	  1800000000U
#define PERSON	  "198112289874"
#define NUMBER	  "+46701234567"
#define LIST_SLOT "list/phones"
#define LIST_URI  "https://city.example/lists/phones"

#define must(call) assert_int_equal((call), 0)

struct desk_fixture {
	char dir[64];
	struct desk desk;
	struct signer lock; /* lock-1's key */
	char error[KEYRING_ERROR_CAP];
};

static inline void desk_fixture_fill(struct desk_fixture *f)
{
	struct db *db = f->desk.db;
	struct signer signer;
	struct policy policy;

	must(setting_put(db, "issuer", "https://city.example"));
	must(setting_put(db, "list-uri", LIST_URI));
	must(setting_put(db, "entries", "256"));
	must(keyring_create(f->dir));
	for (size_t i = 0; i < ARRAY_SIZE(keyring_roles); i++) {
		must(keyring_renew(&f->desk, keyring_roles[i], NOW, &signer));
		must(keyring_settle(&f->desk, keyring_roles[i]));
	}
	policy_default(&policy);
	must(sign_keys(&f->desk, NOW, f->error));
	must(sign_policy(&f->desk, &policy, NOW, f->error));
	assert_int_equal(sign_list(&f->desk, NOW, false, f->error), 1);
}

static inline void desk_fixture_add_lock(struct desk_fixture *f, const char *id,
					 const struct signer *signer)
{
	struct lock_row row = {.ngateways = 1, .gateways = {"gw-1"}};

	snprintf(row.id, sizeof(row.id), "%s", id);
	memcpy(row.pub, signer->pub, PUBLIC_LEN);
	must(lock_add(f->desk.db, &row, NOW));
}

static inline int desk_fixture_setup(void **state)
{
	struct desk_fixture *f = calloc(1, sizeof(*f));
	uint8_t seed[SEED_LEN] = {7};

	assert_non_null(f);
	must(crypto_init());
	strcpy(f->dir, "/tmp/lockbridge-desk-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->desk = (struct desk){.dir = f->dir, .operator= "test" };
	must(registry_create(f->dir, f->error, sizeof(f->error), &f->desk.db));
	desk_fixture_fill(f);
	signer_from_seed(seed, &f->lock);
	must(gateway_add(f->desk.db, "gw-1", NOW));
	desk_fixture_add_lock(f, "lock-1", &f->lock);
	*state = f;
	return 0;
}

static inline int desk_fixture_teardown(void **state)
{
	struct desk_fixture *f = *state;
	char command[128];

	db_close(f->desk.db);
	snprintf(command, sizeof(command), "rm -rf %s", f->dir);
	must(system(command));
	free(f);
	return 0;
}

static inline struct phone desk_fixture_phone(struct desk_fixture *f, const char *number,
					      const uint8_t *pub)
{
	const struct phone_posture posture = {.has_pin = true, .pin = true, .checked = NOW};
	struct phone phone;

	must(staff_add(f->desk.db, PERSON, number, pub, &posture, NOW, 256, &phone));
	return phone;
}

static inline struct document desk_fixture_newest(struct desk_fixture *f, const char *slot,
						  enum role role)
{
	struct document d;
	struct key key;

	must(keyring_public(f->desk.db, role, &key));
	must(document_newest(f->desk.db, slot, SPAN(key.kid), &d));
	return d;
}

/* The closed registry's file, for "a backup": copies desk.db to or from `name` in its folder. */
static inline void desk_fixture_copy(struct desk_fixture *f, const char *from, const char *to)
{
	char command[256];

	must(db_checkpoint(f->desk.db));
	db_close(f->desk.db);
	snprintf(command, sizeof(command), "cd %s && cp %s %s && rm -f desk.db-wal desk.db-shm",
		 f->dir, from, to);
	must(system(command));
	must(registry_open(f->dir, f->error, sizeof(f->error), &f->desk.db));
}

/* A receipt by lock-1, or whoever holds signer. result NULL: n and outcome applied alone. */
struct desk_receipt {
	const char *lock;
	const struct signer *signer;
	uint64_t n;
	enum outcome outcome;
	enum via via;
	struct span cti;
	struct applied applied[APPLIED_MAX];
	size_t napplied;
	uint64_t iat;
};

static inline size_t desk_receipt(const struct desk_receipt *r, uint8_t ret[static TOKEN_SMALL_MAX])
{
	struct result result = {
		.outcome = r->outcome,
		.via = r->via,
		.bolt = BOLT_UNLOCKED,
		.boot = 1,
		.has_n = r->n > 0,
		.n = r->n,
		.napplied = r->napplied,
	};
	struct token t = {
		.kind = TOKEN_RECEIPT,
		.has = CLAIM_ISS | CLAIM_IAT | CLAIM_RESULT,
		.iss = span_str(r->lock),
		.iat = r->iat ? r->iat : NOW,
	};
	uint8_t claim[512];
	struct cbor_writer w;
	int len;

	memcpy(result.applied, r->applied, sizeof(result.applied));
	cbor_writer_init(&w, claim, sizeof(claim));
	result_put(&w, &result);
	assert_false(w.failed);
	t.result = span_of(claim, w.len);
	if (r->cti.len) {
		t.has |= CLAIM_CTI;
		t.cti = r->cti;
	}
	len = token_sign(&t, r->signer, ret, TOKEN_SMALL_MAX);
	assert_true(len > 0);
	return (size_t)len;
}
