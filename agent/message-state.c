// SPDX-License-Identifier: Apache-2.0
/* The JSON of state, lock, health and replay; see message.h and docs/protocol.md. */
#include <errno.h>
#include <stdio.h>

#include "core/crypto.h"
#include "message-json.h"

/* --- parts --- */

static json_t *ids(const char (*list)[ID_MAX + 1], size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(array, json_string(list[i]));
	if (json_array_size(array) == n)
		return array;
	json_decref(array);
	return NULL;
}

static void get_ids(struct json_in *in, const char *key, char (*ret)[ID_MAX + 1], size_t *ret_n)
{
	const json_t *array = get_array(in, key, MESSAGE_LOCKS);

	*ret_n = 0;
	for (size_t i = 0; i < json_array_size(array); i++) {
		const char *id = json_string_value(json_array_get(array, i));

		if (!id || !id_valid(span_str(id))) {
			in->failed = true;
			return;
		}
		snprintf(ret[(*ret_n)++], ID_MAX + 1, "%s", id);
	}
}

static bool name_ok(const char *name)
{
	return id_valid(span_str(name));
}

static json_t *documents(const struct message_state *state)
{
	json_t *array = json_array();

	for (size_t i = 0; i < state->ndocuments; i++) {
		const struct message_document *document = &state->documents[i];
		cleanup(json_outp) struct json_out one = json_out_begin();

		put_text(&one, "name", document->is.name);
		put_uint(&one, "iat", document->is.iat);
		put_hex(&one, "digest", SPAN(document->is.digest));
		put_uint(&one, "exp", document->exp);
		if (document->list)
			put_uint(&one, "changed", document->changed);
		if (!one.failed)
			json_array_append_new(array, steal(one.object));
	}
	if (json_array_size(array) == state->ndocuments)
		return array;
	json_decref(array);
	return NULL;
}

static void get_documents(struct json_in *in, struct message_state *ret)
{
	const json_t *array = get_array(in, "documents", APPLIED_MAX);

	for (size_t i = 0; i < json_array_size(array); i++) {
		struct json_in one = json_in_of(json_array_get(array, i));
		struct message_document *document = &ret->documents[ret->ndocuments++];

		get_id(&one, "name", document->is.name);
		document->is.iat = get_uint(&one, "iat");
		get_hex(&one, "digest", document->is.digest, DIGEST_LEN);
		document->exp = get_uint(&one, "exp");
		document->list = strcmp(document->is.name, "keys") != 0 &&
				 strcmp(document->is.name, "policy") != 0;
		if (document->list)
			document->changed = get_uint(&one, "changed");
		in->failed = in->failed || one.failed;
	}
}

static void put_applied(struct json_out *out, const struct applied *applied, size_t n)
{
	struct json_out map = json_out_begin();

	for (size_t i = 0; i < n; i++) {
		struct json_out one = json_out_begin();

		put_uint(&one, "iat", applied[i].iat);
		put_hex(&one, "digest", SPAN(applied[i].digest));
		put_object(&map, applied[i].name, &one);
	}
	put_object(out, "applied", &map);
}

static void get_applied(struct json_in *in, struct applied *ret, size_t *ret_n)
{
	struct json_in map = get_object(in, "applied");
	const char *name;
	json_t *value;

	*ret_n = 0;
	json_object_foreach((json_t *)map.object, name, value)
	{
		struct json_in one = json_in_of(value);

		if (*ret_n == APPLIED_MAX || !name_ok(name)) {
			in->failed = true;
			return;
		}
		snprintf(ret[*ret_n].name, sizeof(ret[*ret_n].name), "%s", name);
		ret[*ret_n].iat = get_uint(&one, "iat");
		get_hex(&one, "digest", ret[*ret_n].digest, DIGEST_LEN);
		in->failed = in->failed || one.failed;
		(*ret_n)++;
	}
}

/* --- state --- */

static void put_clock(struct json_out *out, const struct message_state *state)
{
	struct json_out clock = json_out_begin();

	put_uint(&clock, "now", state->clock.now);
	put_bool(&clock, "synchronised", state->clock.synchronised);
	if (state->clock.problem != CLOCK_FINE)
		put_text(&clock, "problem", clock_problem_word(state->clock.problem));
	put_uint(&clock, "floor", state->floor);
	put_object(out, "clock", &clock);
}

static void get_clock(struct json_in *in, struct message_state *ret)
{
	static const enum clock_problem all[] = {CLOCK_NOT_SYNCHRONISED, CLOCK_STEPPED, CLOCK_AHEAD,
						 CLOCK_BEHIND};
	struct json_in clock = get_object(in, "clock");

	ret->clock.now = get_uint(&clock, "now");
	ret->clock.synchronised = get_bool(&clock, "synchronised");
	ret->clock.problem = CLOCK_FINE;
	if (has(&clock, "problem")) {
		struct span word = get_string(&clock, "problem");

		/* a word of a later version is a problem all the same */
		ret->clock.problem = CLOCK_NOT_SYNCHRONISED;
		for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
			if (span_is(word, clock_problem_word(all[i])))
				ret->clock.problem = all[i];
		}
	}
	ret->floor = get_uint(&clock, "floor");
	in->failed = in->failed || clock.failed;
}

static void put_opens(struct json_out *out, const struct message_opens *opens)
{
	struct json_out object;

	if (!opens->relayed[0])
		return;
	object = json_out_begin();
	put_text(&object, "relayed", opens->relayed);
	put_uint(&object, "relayed_until", opens->relayed_until);
	put_uint(&object, "door_until", opens->door_until);
	put_bool(&object, "early", opens->early);
	put_object(out, "opens", &object);
}

static void get_opens(struct json_in *in, struct message_opens *ret)
{
	struct json_in object;

	if (!has(in, "opens"))
		return;
	object = get_object(in, "opens");
	get_text(&object, "relayed", ret->relayed, sizeof(ret->relayed));
	ret->relayed_until = get_uint(&object, "relayed_until");
	ret->door_until = get_uint(&object, "door_until");
	ret->early = get_bool(&object, "early");
	in->failed = in->failed || object.failed || !ret->relayed[0];
}

static void put_certificate(struct json_out *out, const struct message_certificate *certificate)
{
	struct json_out object;

	if (!certificate->serial[0])
		return;
	object = json_out_begin();
	put_text(&object, "serial", certificate->serial);
	put_uint(&object, "not_after", certificate->not_after);
	put_int(&object, "days", certificate->days);
	put_object(out, "certificate", &object);
}

static void get_certificate(struct json_in *in, struct message_certificate *ret)
{
	struct json_in object;
	size_t len;

	if (!has(in, "certificate"))
		return;
	object = get_object(in, "certificate");
	get_text(&object, "serial", ret->serial, sizeof(ret->serial));
	len = strlen(ret->serial);
	ret->not_after = get_uint(&object, "not_after");
	ret->days = get_int(&object, "days");
	in->failed = in->failed || object.failed || !len ||
		     strspn(ret->serial, "0123456789abcdef") != len;
}

char *message_state_encode(const struct message_state *state)
{
	cleanup(json_outp) struct json_out out = json_out_begin();
	struct json_out radio = json_out_begin();

	put_text(&out, "version", state->version);
	put_uint(&out, "time", state->time);
	put_text(&out, "boot", state->boot);
	put_text(&out, "stream", state->stream);
	put_uint(&out, "seq", state->seq);
	put_uint(&out, "oldest", state->oldest);
	put_uint(&out, "outbox", state->outbox);
	put_base64(&out, "reader", SPAN(state->reader));
	put_clock(&out, state);
	put_opens(&out, &state->opens);
	put_text(&out, "root", state->root);
	put_json(&out, "documents", documents(state));
	put_text(&radio, "adapter", state->adapter);
	put_bool(&radio, "up", state->radio_up);
	put_uint(&radio, "recoveries", state->recoveries);
	put_object(&out, "radio", &radio);
	put_json(&out, "locks", ids(state->locks, state->nlocks));
	put_json(&out, "readers", ids(state->readers, state->nreaders));
	put_certificate(&out, &state->certificate);
	put_problems(&out, &state->problems);
	return json_out_end(&out);
}

int message_state_parse(struct span text, struct message_state *ret)
{
	cleanup(json_rootp) json_t *root = NULL;
	struct json_in in, radio;
	int r = json_in_begin(text, &root, &in);

	if (r < 0)
		return r;
	*ret = (struct message_state){0};
	get_text(&in, "version", ret->version, sizeof(ret->version));
	ret->time = get_uint(&in, "time");
	get_text(&in, "boot", ret->boot, sizeof(ret->boot));
	get_hex_text(&in, "stream", ret->stream, sizeof(ret->stream));
	ret->seq = get_uint(&in, "seq");
	ret->oldest = get_uint(&in, "oldest");
	ret->outbox = get_uint(&in, "outbox");
	get_base64(&in, "reader", ret->reader, PUBLIC_LEN);
	get_clock(&in, ret);
	get_opens(&in, &ret->opens);
	get_text(&in, "root", ret->root, sizeof(ret->root));
	get_documents(&in, ret);
	radio = get_object(&in, "radio");
	get_text(&radio, "adapter", ret->adapter, sizeof(ret->adapter));
	ret->radio_up = get_bool(&radio, "up");
	ret->recoveries = get_uint(&radio, "recoveries");
	get_ids(&in, "locks", ret->locks, &ret->nlocks);
	get_ids(&in, "readers", ret->readers, &ret->nreaders);
	get_certificate(&in, &ret->certificate);
	get_problems(&in, &ret->problems);
	return in.failed || radio.failed ? -EINVAL : 0;
}

/* --- lock --- */

char *message_lock_encode(const struct message_lock *lock)
{
	cleanup(json_outp) struct json_out out = json_out_begin();

	put_text(&out, "enforces", lock->enforces);
	put_text(&out, "bolt", bolt_word(lock->bolt));
	if (lock->has_battery)
		put_uint(&out, "battery", lock->battery);
	if (lock->has_rssi)
		put_int(&out, "rssi", lock->rssi);
	put_bool(&out, "reachable", lock->reachable);
	put_uint(&out, "seen", lock->seen);
	if (lock->has_challenge)
		put_hex(&out, "challenge", SPAN(lock->challenge));
	put_applied(&out, lock->applied, lock->napplied);
	put_bool(&out, "current", lock->current);
	put_uint(&out, "n", lock->n);
	put_problems(&out, &lock->problems);
	return json_out_end(&out);
}

int message_lock_parse(struct span text, struct message_lock *ret)
{
	cleanup(json_rootp) json_t *root = NULL;
	struct json_in in;
	int r = json_in_begin(text, &root, &in);

	if (r < 0)
		return r;
	*ret = (struct message_lock){0};
	get_text(&in, "enforces", ret->enforces, sizeof(ret->enforces));
	ret->bolt = bolt_parse(get_string(&in, "bolt"));
	ret->has_battery = has(&in, "battery");
	if (ret->has_battery) {
		uint64_t battery = get_uint(&in, "battery");

		in.failed = in.failed || battery > 100;
		ret->battery = (uint8_t)battery;
	}
	ret->has_rssi = has(&in, "rssi");
	if (ret->has_rssi) {
		int64_t rssi = get_int(&in, "rssi");

		in.failed = in.failed || rssi < -128 || rssi > 127;
		ret->rssi = (int)rssi;
	}
	ret->reachable = get_bool(&in, "reachable");
	ret->seen = get_uint(&in, "seen");
	ret->has_challenge = has(&in, "challenge");
	if (ret->has_challenge)
		get_hex(&in, "challenge", ret->challenge, CHALLENGE_LEN);
	get_applied(&in, ret->applied, &ret->napplied);
	ret->current = get_bool(&in, "current");
	ret->n = get_uint(&in, "n");
	get_problems(&in, &ret->problems);
	return in.failed ? -EINVAL : 0;
}

/* --- health --- */

char *message_health_encode(const struct message_health *health)
{
	cleanup(json_outp) struct json_out out = json_out_begin();
	struct json_out counters = json_out_begin();

	put_uint(&out, "time", health->time);
	put_uint(&out, "uptime", health->uptime);
	put_uint(&out, "memory_kb", health->memory_kb);
	put_uint(&out, "cpu_ms", health->cpu_ms);
	put_uint(&out, "disk_free_kb", health->disk_free_kb);
	if (health->has_temperature)
		put_int(&out, "temperature_mc", health->temperature_mc);
	for (size_t i = 0; i < health->ncounters; i++)
		put_uint(&counters, health->counters[i].name, health->counters[i].value);
	put_object(&out, "counters", &counters);
	return json_out_end(&out);
}

static void get_counters(struct json_in *in, struct message_health *ret)
{
	struct json_in map = get_object(in, "counters");
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)map.object, name, value)
	{
		struct counter *counter = &ret->counters[ret->ncounters];

		if (ret->ncounters == ARRAY_SIZE(ret->counters) ||
		    strlen(name) >= sizeof(counter->name)) {
			in->failed = true;
			return;
		}
		snprintf(counter->name, sizeof(counter->name), "%s", name);
		counter->value = get_uint(&map, name);
		ret->ncounters++;
	}
	in->failed = in->failed || map.failed;
}

int message_health_parse(struct span text, struct message_health *ret)
{
	cleanup(json_rootp) json_t *root = NULL;
	struct json_in in;
	int r = json_in_begin(text, &root, &in);

	if (r < 0)
		return r;
	*ret = (struct message_health){0};
	ret->time = get_uint(&in, "time");
	ret->uptime = get_uint(&in, "uptime");
	ret->memory_kb = get_uint(&in, "memory_kb");
	ret->cpu_ms = get_uint(&in, "cpu_ms");
	ret->disk_free_kb = get_uint(&in, "disk_free_kb");
	ret->has_temperature = has(&in, "temperature_mc");
	if (ret->has_temperature) {
		int64_t temperature = get_int(&in, "temperature_mc");

		in.failed = in.failed || temperature < -273150 || temperature > 1000000;
		ret->temperature_mc = in.failed ? 0 : (int)temperature;
	}
	get_counters(&in, ret);
	return in.failed ? -EINVAL : 0;
}

/* --- replay --- */

char *message_replay_encode(const struct message_replay *replay)
{
	cleanup(json_outp) struct json_out out = json_out_begin();

	if (replay->document[0]) {
		put_text(&out, "document", replay->document);
	} else {
		put_text(&out, "stream", replay->stream);
		put_uint(&out, "from", replay->from);
	}
	return json_out_end(&out);
}

int message_replay_parse(struct span text, struct message_replay *ret)
{
	cleanup(json_rootp) json_t *root = NULL;
	struct json_in in;
	int r = json_in_begin(text, &root, &in);

	if (r < 0)
		return r;
	*ret = (struct message_replay){0};
	if (has(&in, "document") == has(&in, "stream"))
		return -EINVAL;
	if (has(&in, "document")) {
		const char *name = ret->document;

		get_text(&in, "document", ret->document, sizeof(ret->document));
		if (strcmp(name, "keys") != 0 && strcmp(name, "policy") != 0 &&
		    (strncmp(name, "list/", 5) != 0 || !name_ok(name + 5)))
			return -EINVAL;
	} else {
		get_hex_text(&in, "stream", ret->stream, sizeof(ret->stream));
		ret->from = get_uint(&in, "from");
	}
	return in.failed ? -EINVAL : 0;
}
