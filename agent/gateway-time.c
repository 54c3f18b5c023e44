// SPDX-License-Identifier: Apache-2.0
/*
 * What time it is (contract section 6): the floor from disk, build and enrolment, raised by
 * root-signed documents, and the hourly work that keeps it on disk.
 */
#include "gateway-private.h"

/* The day this was written: no document of ours is older. */
#define BUILD_TIME ((uint64_t)LOCKBRIDGE_BUILD_TIME)

static void persist_floor(struct gateway *gw)
{
	uint64_t reckoned = reckoning_reckoned(&gw->reckoning, clock_boot_ms() / 1000);
	uint8_t bytes[8];

	if (reckoned <= gw->floor_stored)
		return;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(reckoned >> (8 * i));
	if (gateway_stored(gw, store_put_value(gw->store, "floor", SPAN(bytes)), "floor") == 0)
		gw->floor_stored = reckoned;
}

static uint64_t stored_floor(struct gateway *gw)
{
	uint8_t bytes[8];
	uint64_t floor = 0;
	size_t len;

	if (store_get_value(gw->store, "floor", bytes, sizeof(bytes), &len) < 0 ||
	    len != sizeof(bytes))
		return 0;
	for (size_t i = 0; i < sizeof(bytes); i++)
		floor |= (uint64_t)bytes[i] << (8 * i);
	return floor;
}

static enum reason refusal(const struct gateway *gw)
{
	if (!trust_keys(gw->trust))
		return REASON_UNKNOWN_KEY;
	if (gw->trust->nlists == 0)
		return REASON_NO_LIST;
	return gw->store_trouble ? REASON_LOCK_ERROR : REASON_NONE;
}

static uint64_t after(uint64_t time, uint64_t seconds)
{
	return time > UINT64_MAX - seconds ? UINT64_MAX : time + seconds;
}

void gateway_opens(struct gateway *gw, const struct time_verdict *time, struct message_opens *ret)
{
	enum reason reason = refusal(gw);

	*ret = (struct message_opens){
		.relayed_until = after(time->now, gw->trust->policy.max_relay),
		.door_until = after(time->now, gw->trust->policy.max_lifetime),
		.early = !time->synchronised,
	};
	snprintf(ret->relayed, sizeof(ret->relayed), "%s",
		 reason == REASON_NONE ? "yes" : reason_word(reason));
}

static void judge(struct gateway *gw, const struct time_verdict *time)
{
	struct event event = {.type = EVENT_CLOCK};

	if (!clock_asked(gw->clock) || (gw->clock_told && time->problem == gw->clock_problem))
		return;
	gw->clock_told = true;
	gw->clock_problem = time->problem;
	snprintf(event.detail, sizeof(event.detail), "%s",
		 time->problem == CLOCK_FINE ? "synchronised" : clock_problem_word(time->problem));
	log_fact(time->problem == CLOCK_FINE ? LOG_INFO : LOG_WARNING, "clock", "STATE",
		 event.detail, NULL);
	(void)gateway_event(gw, &event);
	gateway_state_changed(gw, false);
}

struct time_verdict gateway_time(struct gateway *gw)
{
	struct clock_reading reading = clock_read(gw->clock);

	return reckoning_read(&gw->reckoning, &reading);
}

static void on_clock_changed(void *user)
{
	struct gateway *gw = user;
	struct time_verdict time = gateway_time(gw);

	judge(gw, &time);
	gateway_certificate_clock(gw);
}

const struct clock_ops gateway_clock_ops = {.changed = on_clock_changed};

static void saw(struct gateway *gw, enum token_kind kind, const struct held *held)
{
	if (held->document && trust_signer_alive(gw->trust, kind, held))
		reckoning_saw(&gw->reckoning, held->iat);
}

/* What dropped keys signed stays in force, but a thief's years ahead must not vouch for a clock that
 * is years ahead. */
static void see_documents(struct gateway *gw)
{
	reckoning_forget_seen(&gw->reckoning);
	if (trust_keys(gw->trust))
		reckoning_saw(&gw->reckoning, trust_keys(gw->trust)->iat);
	saw(gw, TOKEN_POLICY, &gw->trust->policy_held);
	for (size_t i = 0; i < gw->trust->nlists; i++)
		saw(gw, TOKEN_LIST, &gw->trust->lists[i].held);
}

void gateway_time_learn(struct gateway *gw, enum token_kind kind, uint64_t iat)
{
	struct time_verdict time;

	see_documents(gw);
	if (kind == TOKEN_KEYS && reckoning_learn(&gw->reckoning, iat, clock_boot_ms() / 1000))
		persist_floor(gw);
	time = gateway_time(gw); /* a clock that was far ahead of all we knew may not be any more */
	judge(gw, &time);
	gateway_certificate_clock(gw);
}

static int on_hour(sd_event_source *source, uint64_t usec, void *user)
{
	struct gateway *gw = user;
	struct time_verdict time = gateway_time(gw);

	judge(gw, &time);
	persist_floor(gw);
	if (time.now > GATEWAY_FORGET_S)
		(void)gateway_stored(gw, store_forget(gw->store, time.now - GATEWAY_FORGET_S),
				     "forgetting");
	gateway_trim(gw);
	gateway_state_changed(gw, false); /* expiry shows by itself */
	sd_event_source_set_time_relative(source, GATEWAY_HOUR_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int gateway_time_start(struct gateway *gw)
{
	uint64_t floor = BUILD_TIME;

	gw->floor_stored = stored_floor(gw);
	if (gw->floor_stored > floor)
		floor = gw->floor_stored;
	if (gw->config.enrolled > floor)
		floor = gw->config.enrolled;
	reckoning_init(&gw->reckoning, floor, clock_boot_ms() / 1000);
	for (size_t i = 0; i < gw->trust->nchain; i++)
		gateway_time_learn(gw, TOKEN_KEYS, gw->trust->chain[i].iat);
	see_documents(gw);
	return sd_event_add_time_relative(gw->event, &gw->hourly, CLOCK_BOOTTIME, GATEWAY_HOUR_US,
					  60000000, on_hour, gw);
}
