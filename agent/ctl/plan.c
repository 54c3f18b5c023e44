// SPDX-License-Identifier: Apache-2.0
/* Everything that is checked before an enrolment writes its first byte. See plan.h. */
#include "ctl/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/keys.h"
#include "link/config-file.h"

/* A text that fits: both sides have the same bounds. */
#define set(array, text) snprintf(array, sizeof(array), "%s", text)

bool plan_holds(const char *path, struct span bytes)
{
	cleanup(freep) char *text = NULL;
	char wrong[CONFIG_WRONG_CAP];
	size_t len;

	return config_file_read(path, CONFIG_TEXT_MAX, &text, &len, wrong) == 0 &&
	       span_equal(span_of(text, len), bytes);
}

/* --- the file ----------------------------------------------------------------------------------- */

static int read_file(const char *path, struct enrolment *ret, struct trouble *t)
{
	cleanup(freep) char *text = NULL;
	char wrong[CONFIG_WRONG_CAP], error[300];
	size_t len;
	int r;

	if (config_file_read(path, ENROLMENT_MAX, &text, &len, wrong) < 0)
		return trouble(t, "file", "name the file that the city's desk wrote", "%s", wrong);
	r = enrolment_parse(span_of(text, len), ret, error, sizeof(error));
	return r < 0 ? trouble(t, "file", "nothing was changed", "%s: %s", path, error) : 0;
}

static int check_key(const struct plan *plan, char **ret, struct trouble *t)
{
	char next[300];
	int r = box_read_key(&plan->box, ret, t);

	if (r != -ENOENT)
		return r;
	snprintf(next, sizeof(next),
		 "lockbridgectl request %s, take the request to the desk, and use the file that it "
		 "makes for it",
		 plan->file.gateway);
	return trouble(t, "key-missing", next,
		       "this box has no key (%s), so this file was made for another box",
		       plan->box.key);
}

static int check_root(struct plan *plan, const char *expected, struct trouble *t)
{
	int r = box_root_kid(span_str(plan->file.root_key), plan->kid, t);

	if (r < 0 || !expected || strcasecmp(expected, plan->kid) == 0)
		return r;
	return trouble(t, "root-other",
		       "do not use this file: ask the desk for its root's kid and for a new file",
		       "the file's root key is %s, not %s: it comes from another city, or from "
		       "somebody else",
		       plan->kid, expected);
}

static int check_clock(const struct plan *plan, uint64_t now, struct trouble *t)
{
	char clock[BOX_TIME_CAP], issued[BOX_TIME_CAP];

	if (now + BOX_CLOCK_LEEWAY >= plan->file.issued)
		return 0;
	return trouble(t, "clock-wrong", box_set_clock,
		       "this box's clock says %s, but the file was made at %s",
		       box_time(now, clock), box_time(plan->file.issued, issued));
}

static int check_authority(const struct plan *plan, uint64_t now, struct trouble *t)
{
	cleanup(freep) char *all = NULL;
	struct span pem = span_str(plan->file.broker_ca);
	struct x509_facts first;
	char end[BOX_TIME_CAP], clock[BOX_TIME_CAP];

	if (x509_certificates_copy(pem, &all) < 0 || x509_certificate_read(pem, &first) < 0)
		return trouble(
			t, "ca-damaged", "get the file from the city's desk anew",
			"the broker's authority (broker_ca) cannot be read, or is more than 8 "
			"certificates");
	if (now < first.not_after)
		return 0;
	return trouble(t, "ca-expired", "the desk has to give out a new one",
		       "the broker's authority ended at %s, and this box's clock says %s",
		       box_time(first.not_after, end), box_time(now, clock));
}

static int check_file(const struct plan_order *order, struct plan *plan, struct trouble *t)
{
	cleanup(x509_wipe) char *key = NULL;
	struct box_claim claim = {.gateway = plan->file.gateway, .now = order->now};
	int r = check_root(plan, order->root, t);

	if (r == 0)
		r = check_key(plan, &key, t);
	if (r == 0)
		r = check_clock(plan, order->now, t);
	if (r < 0 || !key)
		return -EINVAL;
	claim.key = span_str(key);
	claim.certificate = span_str(plan->file.certificate);
	r = box_certificate(&claim, &plan->certificate, t);
	return r == 0 ? check_authority(plan, order->now, t) : r;
}

/* --- what is there already ---------------------------------------------------------------------- */

static bool same_root(const struct config *former, const char *kid)
{
	char wrong[CONFIG_WRONG_CAP], text[KID_CAP];
	uint8_t pub[PUBLIC_LEN];
	struct key key;

	if (config_file_public_key(former->root_key_file, pub, wrong) < 0)
		return false;
	key_init(&key, pub, ROLE_ROOT);
	hex_encode(SPAN(key.kid), text, sizeof(text));
	return strcmp(text, kid) == 0;
}

/* The configuration in force; without one, that which a killed run put aside. 0: there is one. */
static int read_former(struct plan *plan, struct config *ret)
{
	cleanup(freep) char *text = NULL;
	char wrong[CONFIG_WRONG_CAP] = "", path[300];
	size_t len;
	int r = config_file_read(plan->box.config, CONFIG_TEXT_MAX, &text, &len, wrong);

	plan->installed = r != -ENOENT;
	snprintf(path, sizeof(path), "%s%s", plan->box.config, plan->installed ? "" : ".old");
	if (!plan->installed)
		r = config_file_read(path, CONFIG_TEXT_MAX, &text, &len, wrong);
	if (r == 0)
		r = config_parse(path, span_of(text, len), ret, wrong, sizeof(wrong));
	if (r < 0 && plan->installed)
		snprintf(plan->note, sizeof(plan->note),
			 "Nothing of the former configuration is taken over: %s", wrong);
	return r;
}

/* Whose is the store? What enrolment wrote beside it says so; else the former configuration. */
static void judge_store(struct plan *plan, const struct config *former)
{
	struct stat st;

	if (access(plan->box.identity, F_OK) == 0)
		plan->same = plan_holds(plan->box.identity, span_str(plan->identity));
	else
		plan->same = former && strcmp(former->gateway, plan->file.gateway) == 0 &&
			     same_root(former, plan->kid);
	plan->aside = !plan->same && lstat(plan->box.store, &st) == 0;
}

/* --- the configuration -------------------------------------------------------------------------- */

static void put_brokers(struct plan *plan)
{
	for (size_t i = 0; i < plan->file.nbrokers; i++) {
		struct config_broker *broker = &plan->config.brokers[i];

		set(broker->host, plan->file.brokers[i].host);
		broker->port = plan->file.brokers[i].port;
		set(broker->ca, plan->box.ca);
		set(broker->certificate, plan->box.certificate);
		set(broker->key, BOX_KEY);
	}
	plan->config.nbrokers = plan->file.nbrokers;
}

static void put_locks(struct plan *plan)
{
	for (size_t i = 0; i < plan->file.nlocks; i++) {
		struct config_lock *lock = &plan->config.locks[i];

		set(lock->id, plan->file.locks[i].id);
		memcpy(lock->key, plan->file.locks[i].key, PUBLIC_LEN);
		set(lock->driver, "open");
	}
	plan->config.nlocks = plan->file.nlocks;
}

static const struct config_lock *find_lock(const struct config *config,
					   const struct config_lock *lock)
{
	for (size_t i = 0; i < config->nlocks; i++) {
		if (strcmp(config->locks[i].id, lock->id) == 0 ||
		    memcmp(config->locks[i].key, lock->key, PUBLIC_LEN) == 0)
			return &config->locks[i];
	}
	return NULL;
}

/* What belongs to the box, not to the city: the radio, the disk, the journal. */
static void keep_choices(struct config *config, const struct config *former)
{
	memcpy(config->adapter, former->adapter, sizeof(config->adapter));
	memcpy(config->log_level, former->log_level, sizeof(config->log_level));
	config->stop_scan_to_connect = former->stop_scan_to_connect;
	config->links_max = former->links_max;
	config->silent_s = former->silent_s;
	config->event_keep_s = former->event_keep_s;
	config->event_bytes_max = former->event_bytes_max;
	config->health_s = former->health_s;
	config->linger_s = former->linger_s;
	config->backoff_min_ms = former->backoff_min_ms;
	config->backoff_max_ms = former->backoff_max_ms;
	config->preferred_retry_s = former->preferred_retry_s;
}

/* Of a lock in both, how it is reached from here; and, within one enrolment, the locks that were
 * claimed here since the desk looked last. */
static void keep_locks(struct plan *plan, const struct config *former)
{
	struct config *config = &plan->config;

	for (size_t i = 0; i < config->nlocks; i++) {
		const struct config_lock *old = find_lock(former, &config->locks[i]);

		if (old && memcmp(old->key, config->locks[i].key, PUBLIC_LEN) == 0) {
			memcpy(config->locks[i].address, old->address, sizeof(old->address));
			memcpy(config->locks[i].driver, old->driver, sizeof(old->driver));
		}
	}
	for (size_t i = 0; i < former->nlocks && plan->same; i++) {
		if (find_lock(config, &former->locks[i]) || config->nlocks == CONFIG_LOCKS)
			continue;
		config->locks[config->nlocks++] = former->locks[i];
	}
}

static int compose(struct plan *plan, const struct config *former, struct trouble *t)
{
	cleanup(freep) struct config *again = malloc(sizeof(*again));
	char error[800] = "out of memory";

	config_defaults(&plan->config);
	set(plan->config.gateway, plan->file.gateway);
	memset(plan->config.root_topic, 0, sizeof(plan->config.root_topic));
	set(plan->config.root_topic, plan->file.root_topic);
	set(plan->config.root_key_file, plan->box.root);
	memset(plan->config.state_dir, 0, sizeof(plan->config.state_dir));
	set(plan->config.state_dir, plan->box.state);
	plan->config.enrolled = plan->file.issued;
	put_brokers(plan);
	put_locks(plan);
	if (former) {
		keep_choices(&plan->config, former);
		keep_locks(plan, former);
	}
	plan->text = again ? config_encode(&plan->config) : NULL;
	if (plan->text && config_parse("lockbridge.conf", span_str(plan->text), again, error,
				       sizeof(error)) == 0) {
		if (memcmp(again, &plan->config, sizeof(*again)) == 0)
			return 0;
		set(error, "what would be written does not say what was meant");
	}
	return trouble(t, "file", "ask the desk for a new file, and tell it this line",
		       "no configuration can be made of the file: %s", error);
}

static bool is_done(const struct plan *plan)
{
	return plan->installed && plan_holds(plan->box.config, span_str(plan->text)) &&
	       plan_holds(plan->box.root, span_str(plan->file.root_key)) &&
	       plan_holds(plan->box.ca, span_str(plan->file.broker_ca)) &&
	       plan_holds(plan->box.certificate, span_str(plan->file.certificate));
}

static int check_free(const struct plan *plan, const struct config *former, bool replace,
		      struct trouble *t)
{
	if (!plan->installed || plan->done || replace)
		return 0;
	return trouble(
		t, "enrolled",
		"nothing was changed. With --replace this file takes its place; what is there "
		"now is kept as *.old",
		"this box is enrolled already%s%s%s", former ? ", as \"" : "",
		former ? former->gateway : "", former ? "\"" : "");
}

int plan_make(const struct plan_order *order, struct plan *plan, struct trouble *t)
{
	cleanup(freep) struct config *former = malloc(sizeof(*former));
	bool has_former;
	int r = box_init(&plan->box, order->etc, order->state, t);

	if (!former)
		return trouble(t, "memory", "end other programs", "out of memory");
	if (r == 0 && !plan->box.elsewhere && geteuid() != 0)
		r = trouble(t, "not-root", "sudo lockbridgectl enrol ...",
			    "only root can enrol this box");
	if (r == 0)
		r = read_file(order->file, &plan->file, t);
	if (r == 0)
		r = check_file(order, plan, t);
	if (r < 0)
		return r;
	snprintf(plan->identity, sizeof(plan->identity), "%s %s\n", plan->file.gateway, plan->kid);
	has_former = read_former(plan, former) == 0;
	judge_store(plan, has_former ? former : NULL);
	r = compose(plan, has_former ? former : NULL, t);
	if (r < 0)
		return r;
	plan->done = is_done(plan);
	r = check_free(plan, has_former ? former : NULL, order->replace, t);
	return r == 0 ? box_owner(&plan->box, t) : r;
}

void plan_deinit(struct plan *plan)
{
	enrolment_deinit(&plan->file);
	freep(&plan->text);
	plan->text = NULL;
}
