/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A session (agent/lock.c) with a radio and a lock at the other end that a test moves by hand: time
 * stands still until air_wait(), and nothing happens before air_turn().
 */
#include "lock-peer.h"

static void air_write_one(struct air *a)
{
	size_t len = a->frames[0].len;
	uint8_t frame[FRAME_MAX];
	bool dropped = a->written > 0;
	enum frame_event event;
	unsigned code;

	if (a->overtakes && !a->confirms && !dropped && a->nframes > 1) {
		typeof(a->frames[0]) first = a->frames[0];

		a->frames[0] = a->frames[1];
		a->frames[1] = first;
		len = a->frames[0].len;
	}

	memcpy(frame, a->frames[0].bytes, len);
	memmove(&a->frames[0], &a->frames[1], --a->nframes * sizeof(a->frames[0]));
	if (dropped) {
		a->written--;
		lock_written(a->lock, LOCK_NOT_SENT);
		return;
	}
	lock_written(a->lock, LOCK_SENT);
	event = frame_take(&a->joiner, span_of(frame, len), &code);
	if (event == FRAME_COMPLETE)
		air_document(a, sign_keep(span_of(a->joiner.buf, a->joiner.len)));
	else if (event == FRAME_ERROR && a->overtakes)
		air_code(a, code);
}

static void air_close(struct air *a, enum lock_end end)
{
	while (a->nframes) {
		a->written = a->nframes;
		air_write_one(a);
	}
	a->connecting = a->up = a->closing = a->reader = false;
	a->info.nonce[1]++;
	memset(a->reading, 0, sizeof(a->reading));
	a->closes++;
	lock_disconnected(a->lock, end, "");
}

static bool air_step(struct air *a)
{
	uint8_t value[INFO_MAX];
	int n;

	if (a->closing) {
		air_close(a, LOCK_CLOSED);
		return true;
	}
	if (a->connecting && !a->absent) {
		a->connecting = false;
		a->up = true;
		frame_joiner_init(&a->joiner, a->inbox, sizeof(a->inbox));
		lock_connected(a->lock, (unsigned)a->frame);
		return true;
	}
	if (a->reading[LOCK_INFO]) {
		a->reading[LOCK_INFO] = false;
		n = info_encode(&a->info, value, sizeof(value));
		lock_value(a->lock, LOCK_INFO, 0, span_of(value, (size_t)n));
		return true;
	}
	if (a->reading[LOCK_STATE] && !a->hold_reads) {
		a->reading[LOCK_STATE] = false;
		lock_value(a->lock, LOCK_STATE, 0, span_of("", 0));
		return true;
	}
	if (a->nframes && (a->written || !a->hold_writes)) {
		air_write_one(a);
		return true;
	}
	return false;
}

static void air_turn(struct air *a)
{
	for (unsigned i = 0; i < 5000 && air_step(a); i++)
		;
}

/* Lets time pass, alarms and all. */
static void air_wait(struct air *a, uint64_t ms)
{
	uint64_t end = a->now + ms;

	air_turn(a);
	while (a->alarm && a->alarm <= end) {
		a->now = a->alarm > a->now ? a->alarm : a->now;
		a->alarm = 0;
		lock_alarm(a->lock);
		air_turn(a);
	}
	a->now = end;
}

static void air_advert(struct air *a, uint8_t random)
{
	struct advert advert = {
		.profile = 1, .unowned = !a->info.owned, .random = {random, random}};

	applied_hash(a->info.applied, a->info.napplied, advert.applied);
	lock_advert(a->lock, &advert, -60);
}

static int air_new(void **state)
{
	struct air *a = calloc(1, sizeof(*a));
	struct key root;
	struct lock_options options = {.id = SIGN_LOCK, .linger_ms = 2000};

	sign_must(a);
	a->city = city_new();
	root = sign_key(&a->city.root, ROLE_ROOT);
	a->now = 1000000;
	a->frame = 200;
	sign_must(trust_new(LIST_BYTES_MAX, &a->trust) == 0);
	trust_anchor(a->trust, &root);
	strcpy(a->info.id, SIGN_LOCK);
	a->info.profile = 1;
	a->info.owned = true;
	a->info.max = LIST_BYTES_MAX;
	memcpy(a->info.key, a->city.lock.pub, PUBLIC_LEN);
	memcpy(a->info.owner, a->city.root.kid, DIGEST_LEN);
	memset(a->info.challenge, 0xc0, CHALLENGE_LEN);
	options.key = a->city.lock.pub;
	options.trust = a->trust;
	options.reader = &a->city.reader;
	sign_must(lock_new(&options, NULL, &air_radio, &air_ops, a, &a->lock) == 0);
	*state = a;
	return 0;
}

static int air_free(void **state)
{
	struct air *a = *state;

	lock_free(a->lock);
	trust_free(a->trust);
	free(a);
	sign_forget();
	return 0;
}

static void air_trust(struct air *a, struct span document)
{
	struct trust_topic any = {.any = true};
	struct trust_change change;

	assert_int_equal(trust_offer(a->trust, document, &any, &change), 0);
	assert_true(change.applied);
	lock_documents_changed(a->lock);
}

static void air_city_documents(struct air *a)
{
	struct policy policy;

	policy_default(&policy);
	air_trust(a, sign_city_keys(&a->city, &a->city.root, SIGN_NOW - 1000, &a->city.root));
	air_trust(a, sign_policy(&policy, SIGN_NOW - 1000, &a->city.policy));
	air_trust(a, sign_list(&(struct sign_list){.iat = SIGN_NOW - 1000}, &a->city.revoke));
}

/* One that does not shrink much when packed: dozens of frames. */
__attribute__((unused)) static struct span air_long_list(struct air *a)
{
	static struct sign_entry set[20000];
	uint32_t random = 1;

	for (size_t i = 0; i < ARRAY_SIZE(set); i++) {
		random = random * 1664525 + 1013904223;
		set[i] = (struct sign_entry){random >> 16, 1 + (random >> 15) % 2};
	}
	return sign_list(
		&(struct sign_list){
			.iat = SIGN_NOW, .entries = 65536, .set = set, .nset = ARRAY_SIZE(set)},
		&a->city.revoke);
}

__attribute__((unused)) static void air_reader(struct air *a)
{
	struct sign_auth auth = sign_reader(&a->city);

	memset(auth.cti, 0x5e, sizeof(auth.cti));
	assert_int_equal(lock_set_reader(a->lock, sign_auth(&auth, &a->city.authorize)), 0);
	air_wait(a, 10000);
}

/* Known, current, at rest; the link is let go. */
static void air_settle(struct air *a)
{
	air_city_documents(a);
	air_advert(a, 1);
	air_wait(a, 10000);
	assert_false(a->up);
	air_advert(a, 1);
	air_wait(a, 10000);
	assert_false(a->up);
	a->operations = a->connects = a->reads = 0;
}

static struct lock_command air_command(struct air *a)
{
	struct sign_auth auth = sign_relayed(&a->city);
	struct lock_command command = {.scope = SCOPE_UNLOCK, .exp = auth.exp};
	struct span document;

	memcpy(auth.cnonce, a->info.challenge, CHALLENGE_LEN);
	document = sign_auth(&auth, &a->city.authorize);
	memcpy(command.cti, auth.cti, CTI_LEN);
	memcpy(command.document, document.data, document.len);
	command.len = document.len;
	return command;
}

__attribute__((unused)) static void air_unlock(struct air *a)
{
	struct lock_command command = air_command(a);

	assert_int_equal(lock_command(a->lock, &command, 30000), 0);
	lock_commit(a->lock);
}

static bool air_problem(struct air *a, const char *code)
{
	struct message_lock now;

	lock_fill(a->lock, &now);
	for (size_t i = 0; i < now.problems.n; i++) {
		if (strcmp(now.problems.list[i].code, code) == 0)
			return true;
	}
	return false;
}
