// SPDX-License-Identifier: Apache-2.0
/*
 * The firmware's centre: one connection, frames in, documents sorted by kind, info, state and
 * advert out; time reckoned from what the root signed. No D-Bus, no BlueZ: lock-peripheral.c has
 * those.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <jansson.h>

#include "sim/lock-firmware.h"

#define INBOX_CAP  TOKEN_DOCUMENT_MAX
#define CONNECTION 30u	/* s */
#define TRANSFER   120u /* s, while a list is coming */

uint64_t firmware_boottime(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec;
}

/* A lock has no clock that anybody synchronises: it reckons. */
struct time_verdict firmware_time(struct firmware *fw)
{
	struct clock_reading reading = {.boottime = firmware_boottime()};
	struct time_verdict v = reckoning_read(&fw->reckoning, &reading);

	v.synchronised = false;
	return v;
}

/* --- documents that the city signs
 * ------------------------------------------------------------------ */

static void learn(struct firmware *fw, const struct trust_change *change)
{
	if (change->kind == TOKEN_KEYS)
		reckoning_learn(&fw->reckoning, change->iat, firmware_boottime());
	lock_documents_put(fw->dir, fw->trust);
}

/* Documents that waited for these keys come into force with receipts of their own, kept, not sent.
 */
static void retry(struct firmware *fw)
{
	struct trust_change change;
	uint8_t bytes[TOKEN_SMALL_MAX];
	int verdict;

	while (trust_retry(fw->trust, &verdict, &change) == 1) {
		struct answer a = {.cti = SPAN(change.digest), .outcome = OUTCOME_APPLIED};

		if (verdict != 0 || !change.applied)
			continue;
		learn(fw, &change);
		a.n = ++fw->memory.n;
		answer_make(fw, &a, bytes);
		crypto_random(fw->random, sizeof(fw->random));
	}
}

static void take_trusted(struct firmware *fw, struct span document)
{
	const struct trust_topic anywhere = {.any = true};
	struct trust_change change = {0};
	struct answer a = {.outcome = OUTCOME_REFUSED};
	int r;

	if (!fw->memory.owned) {
		answer_code(fw, FRAME_NOT_OWNED);
		return;
	}
	r = trust_offer(fw->trust, document, &anywhere, &change);
	a.cti = SPAN(change.digest);
	if (r < 0) {
		answer_code(fw, FRAME_TRY_LATER);
		return;
	}
	if (r == REASON_MALFORMED || r == REASON_UNKNOWN_KEY || r == REASON_WRONG_ROLE ||
	    r == REASON_BAD_SIGNATURE || r == REASON_TOO_LARGE) {
		answer_short(fw, (enum reason)r);
		return;
	}
	if (r == 0 && change.applied) {
		learn(fw, &change);
		a.outcome = OUTCOME_APPLIED;
		a.n = ++fw->memory.n;
	} else if (r == 0 || r == REASON_OLDER) {
		a.outcome = OUTCOME_HELD;
	}
	a.reason = (enum reason)r;
	answer_receipt(fw, &a);
	if (change.kind == TOKEN_KEYS && a.n)
		retry(fw);
}

static void take_presentation(struct firmware *fw, struct span document)
{
	struct span door = span_of(fw->door, fw->door_len);

	fw->door_len = 0;
	if (!door.len || firmware_boottime() - fw->door_at > LOCK_DOOR_WAIT) {
		answer_code(fw, FRAME_GAP);
		return;
	}
	firmware_authorization(fw, door, document);
}

void firmware_document(struct firmware *fw, struct span document)
{
	struct token token;
	uint64_t since;
	int r;

	if (since_parse(document, &since)) {
		if (fw->reader)
			answer_since(fw, since);
		else
			answer_code(fw, FRAME_NOT_A_READER);
		return;
	}
	r = token_parse(document, &token);
	if (r != 0) {
		answer_short(fw, r > 0 ? (enum reason)r : REASON_MALFORMED);
		return;
	}
	switch (token.kind) {
	case TOKEN_KEYS:
	case TOKEN_POLICY:
	case TOKEN_LIST:
		take_trusted(fw, document);
		return;
	case TOKEN_AUTHORIZATION:
		if (fw->memory.owned)
			firmware_authorization(fw, document, (struct span){0});
		else
			answer_code(fw, FRAME_NOT_OWNED);
		return;
	case TOKEN_PRESENTATION:
		take_presentation(fw, document);
		return;
	case TOKEN_CLAIM:
		firmware_claim(fw, document, &token);
		return;
	case TOKEN_RELEASE:
		firmware_release(fw, &token);
		return;
	case TOKEN_RECEIPT:
	case TOKEN_KINDS:
		answer_short(fw, REASON_WRONG_ROLE);
		return;
	}
}

/* --- the connection
 * ---------------------------------------------------------------------------------- */

static int on_limit(sd_event_source *source, uint64_t usec, void *user)
{
	struct firmware *fw = user;

	fw->limit = sd_event_source_unref(source);
	fw->ops->disconnect(fw->user);
	return 0;
}

static void set_limit(struct firmware *fw, unsigned seconds)
{
	fw->limit = sd_event_source_disable_unref(fw->limit);
	sd_event_add_time_relative(fw->event, &fw->limit, CLOCK_MONOTONIC,
				   (uint64_t)seconds * 1000000, 100000, on_limit, fw);
}

void firmware_connected(struct firmware *fw)
{
	if (fw->connected)
		return;
	fw->connected = true;
	fw->connections++;
	fw->bad = 0;
	fw->door_len = 0;
	fw->reader = false;
	frame_joiner_init(&fw->joiner, fw->inbox, INBOX_CAP);
	set_limit(fw, CONNECTION);
}

void firmware_disconnected(struct firmware *fw)
{
	fw->connected = fw->reader = false;
	fw->door_len = 0;
	crypto_random(fw->nonce, sizeof(fw->nonce));
	fw->limit = sd_event_source_disable_unref(fw->limit);
	frame_joiner_init(&fw->joiner, fw->inbox, INBOX_CAP);
}

void firmware_written(struct firmware *fw, struct span frame, size_t mtu)
{
	bool was_open = fw->joiner.open;
	unsigned code;

	firmware_connected(fw);
	fw->mtu = mtu < 20 ? 20 : mtu;
	switch (frame_take(&fw->joiner, frame, &code)) {
	case FRAME_MORE:
		if (!was_open && fw->joiner.total > TOKEN_MEDIUM_MAX)
			set_limit(fw, TRANSFER);
		return;
	case FRAME_COMPLETE:
		firmware_document(fw, span_of(fw->inbox, fw->joiner.len));
		return;
	case FRAME_SHORT: /* the outbox speaks so, nobody else does */
		answer_short(fw, REASON_MALFORMED);
		return;
	case FRAME_ERROR:
		answer_code(fw, code);
		return;
	}
}

int firmware_info(struct firmware *fw, uint8_t *ret, size_t cap)
{
	struct info info = {.profile = 1, .owned = fw->memory.owned, .max = fw->max};

	snprintf(info.id, sizeof(info.id), "%s", fw->id);
	memcpy(info.key, fw->memory.key.pub, PUBLIC_LEN);
	if (info.owned)
		memcpy(info.owner, trust_root_kid(fw->trust), DIGEST_LEN);
	info.napplied = trust_applied(fw->trust, info.applied);
	memcpy(info.challenge, fw->challenge, CHALLENGE_LEN);
	memcpy(info.nonce, fw->nonce, CHALLENGE_LEN);
	return info_encode(&info, ret, cap);
}

int firmware_state(struct firmware *fw, uint8_t *ret, size_t cap)
{
	struct lock_state state = {.present = fw->reader,
				   .bolt = fw->memory.bolt,
				   .has_battery = true,
				   .battery = fw->memory.battery};

	return fw->reader ? lock_state_encode(&state, ret, cap) : 0;
}

uint32_t firmware_state_counter(const struct firmware *fw)
{
	return fw->state_counter;
}

void firmware_advert(const struct firmware *fw, uint8_t ret[static ADVERT_LEN])
{
	struct applied applied[APPLIED_MAX];
	struct advert advert = {
		.profile = 1,
		.unowned = !fw->memory.owned,
		.attention = fw->memory.owned ? fw->memory.battery < 20 : firmware_pressed(fw),
	};

	memcpy(advert.random, fw->random, sizeof(advert.random));
	applied_hash(applied, trust_applied(fw->trust, applied), advert.applied);
	advert_encode(&advert, ret);
}

const uint8_t *firmware_public(const struct firmware *fw)
{
	return fw->memory.key.pub;
}

/* --- the outside world
 * ------------------------------------------------------------------------------- */

static int command_fault(struct firmware *fw, const char *argument)
{
	static const char *const names[] = {"none", "rubbish", "half",	"nothing",
					    "much", "foreign", "other", "twice"};
	char name[16];
	unsigned count = 1;
	size_t i;

	if (sscanf(argument, "%15s %u", name, &count) < 1)
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(name, names[i]) != 0)
			continue;
		fw->fault = (enum lock_fault)i;
		fw->faults_left = i ? count : 0;
		return 0;
	}
	return -EINVAL;
}

int firmware_command(struct firmware *fw, const char *verb, const char *argument)
{
	bool on = strcmp(argument, "on") == 0;

	if (strcmp(verb, "jam") == 0)
		fw->jam = on;
	else if (strcmp(verb, "broken") == 0)
		fw->broken = on;
	else if (strcmp(verb, "door") == 0)
		fw->door_open = strcmp(argument, "open") == 0;
	else if (strcmp(verb, "motor") == 0)
		fw->motor_ms = (unsigned)strtoul(argument, NULL, 10);
	else if (strcmp(verb, "button") == 0)
		firmware_button(fw, (unsigned)strtoul(argument, NULL, 10));
	else if (strcmp(verb, "hand") == 0)
		firmware_hand(fw, strcmp(argument, "lock") == 0 ? BOLT_LOCKED : BOLT_UNLOCKED);
	else if (strcmp(verb, "fault") == 0)
		return command_fault(fw, argument);
	else if (strcmp(verb, "battery") == 0) {
		fw->memory.battery = (uint8_t)strtoul(argument, NULL, 10);
		fw->state_counter++;
		lock_memory_put(fw->dir, &fw->memory);
		fw->ops->state(fw->user);
		fw->ops->advert(fw->user);
	} else {
		return -EINVAL;
	}
	return 0;
}

/* What the motor did, cti by cti, from the file that outlives the process. */
static json_t *movements_by_cti(const struct firmware *fw)
{
	json_t *map = json_object();
	char path[420], cti[2 * CTI_LEN + 1], scope[16];
	FILE *f;

	snprintf(path, sizeof(path), "%s/movements", fw->dir);
	f = fopen(path, "re");
	while (f && fscanf(f, "%32s %15s", cti, scope) == 2)
		json_object_set_new(
			map, cti, json_integer(json_integer_value(json_object_get(map, cti)) + 1));
	if (f)
		fclose(f);
	return map;
}

char *firmware_report(const struct firmware *fw)
{
	struct applied applied[APPLIED_MAX];
	size_t i, n = trust_applied(fw->trust, applied);
	json_t *report, *held = json_object();
	char *text;

	for (i = 0; i < n; i++)
		json_object_set_new(held, applied[i].name,
				    json_integer((json_int_t)applied[i].iat));
	report = json_pack(
		"{s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:i, s:I, s:I, s:b, s:b, s:o, s:o}",
		"id", fw->id, "bolt", bolt_word(fw->memory.bolt), "physical",
		bolt_word(fw->physical), "door", fw->door_open ? "open" : "closed", "owned",
		fw->memory.owned, "n", (json_int_t)fw->memory.n, "boot",
		(json_int_t)fw->memory.boot, "now",
		(json_int_t)reckoning_reckoned(&fw->reckoning, firmware_boottime()), "refusals",
		(json_int_t)fw->refusals, "battery", fw->memory.battery, "connections",
		(json_int_t)fw->connections, "movements", (json_int_t)fw->movements, "connected",
		fw->connected, "moving", fw->motor != NULL, "applied", held, "ctis",
		movements_by_cti(fw));
	text = json_dumps(report, JSON_COMPACT);
	json_decref(report);
	return text;
}

/* --- life
 * -------------------------------------------------------------------------------------------- */

static int on_hour(sd_event_source *source, uint64_t usec, void *user)
{
	struct firmware *fw = user;

	fw->memory.floor = reckoning_reckoned(&fw->reckoning, firmware_boottime());
	lock_memory_put(fw->dir, &fw->memory);
	sd_event_source_set_time_relative(source, 3600ull * 1000000);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int wake_memory(struct firmware *fw, const struct key *born_owner)
{
	int r = lock_memory_open(fw->dir, &fw->memory);

	if (r < 0)
		return r;
	if (fw->memory.boot == 0 && born_owner) {
		fw->memory.owner = *born_owner;
		fw->memory.owner.roles = ROLE_ROOT;
		fw->memory.owned = true;
	}
	fw->memory.boot++;
	if (fw->memory.owned)
		trust_anchor(fw->trust, &fw->memory.owner);
	r = lock_documents_get(fw->dir, fw->trust);
	if (r < 0)
		return r;
	reckoning_init(&fw->reckoning, fw->memory.floor, firmware_boottime());
	if (trust_keys(fw->trust))
		reckoning_learn(&fw->reckoning, trust_keys(fw->trust)->iat, firmware_boottime());
	r = firmware_resume(fw);
	fw->physical = fw->memory.bolt;
	return r < 0 ? r : lock_memory_put(fw->dir, &fw->memory);
}

int firmware_new(sd_event *event, const struct firmware_options *options,
		 const struct firmware_ops *ops, void *user, struct firmware **ret)
{
	struct firmware *fw = calloc(1, sizeof(*fw));
	int r;

	if (!fw)
		return -ENOMEM;
	fw->event = sd_event_ref(event);
	fw->ops = ops;
	fw->user = user;
	fw->max = options->max ?: LOCK_MAX_DEFAULT;
	fw->motor_ms = options->motor_ms;
	fw->inbox = malloc(INBOX_CAP);
	snprintf(fw->id, sizeof(fw->id), "%s", options->id);
	snprintf(fw->dir, sizeof(fw->dir), "%s", options->dir);
	crypto_random(fw->challenge, sizeof(fw->challenge));
	crypto_random(fw->nonce, sizeof(fw->nonce));
	crypto_random(fw->random, sizeof(fw->random));
	r = fw->inbox ? trust_new(fw->max, &fw->trust) : -ENOMEM;
	if (r == 0)
		r = wake_memory(fw, options->owner);
	if (r == 0)
		r = sd_event_add_time_relative(event, &fw->hourly, CLOCK_BOOTTIME,
					       3600ull * 1000000, 0, on_hour, fw);
	if (r < 0) {
		firmware_free(fw);
		return r;
	}
	*ret = fw;
	return 0;
}

void firmware_free(struct firmware *fw)
{
	if (!fw)
		return;
	sd_event_source_disable_unref(fw->limit);
	sd_event_source_disable_unref(fw->motor);
	sd_event_source_disable_unref(fw->pressed);
	sd_event_source_disable_unref(fw->hourly);
	trust_free(fw->trust);
	signer_wipe(&fw->memory.key);
	free(fw->inbox);
	sd_event_unref(fw->event);
	free(fw);
}
