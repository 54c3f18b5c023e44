// SPDX-License-Identifier: Apache-2.0
/*
 * The gateway's life: opens what it stands on, in the order in which the parts need one another,
 * takes a new configuration without letting go of what stays the same, and says goodbye.
 */
#include "gateway-private.h"

#include <systemd/sd-id128.h>

/* --- the outside -------------------------------------------------------------------------------- */

void gateway_fatal(struct gateway *gw, const char *why)
{
	log_fact(LOG_ERR, why, NULL);
	gw->ops->finished(EXIT_FAILURE, gw->user);
}

static void on_bus_lost(void *user)
{
	gateway_fatal(user, "the system bus is gone");
}

static int open_outside(struct gateway *gw, char *error, size_t cap)
{
	static const struct bus_ops bus_ops = {.lost = on_bus_lost};
	int r = bus_open(gw->event, NULL, &bus_ops, gw, &gw->bus);

	if (r < 0) {
		snprintf(error, cap, "cannot reach the system bus: %s", strerror(-r));
		return r;
	}
	r = clock_new(gw->event, gw->bus, &gateway_clock_ops, gw, &gw->clock);
	if (r == 0)
		r = gateway_time_start(gw);
	if (r == 0)
		r = control_new(gw->bus, &gateway_control_ops, gw, &gw->control);
	if (r == 0)
		r = gateway_report_start(gw);
	if (r == 0)
		r = gateway_radio_start(gw);
	if (r == 0)
		r = gateway_locks_sync(gw);
	if (r == 0)
		r = gateway_authorize_restore(gw);
	if (r == 0)
		r = gateway_certificate_start(gw);
	if (r == 0)
		r = gateway_broker_start(gw);
	if (r < 0)
		snprintf(error, cap, "cannot start: %s", strerror(-r));
	return r;
}

int gateway_new(sd_event *event, const char *config_path, const struct gateway_ops *ops, void *user,
		char *error, size_t error_cap, struct gateway **ret)
{
	cleanup(gateway_freep) struct gateway *gw = calloc(1, sizeof(*gw));
	sd_id128_t boot;
	int r;

	if (!gw)
		return -ENOMEM;
	gw->event = sd_event_ref(event);
	gw->ops = ops;
	gw->user = user;
	gw->started_ms = clock_boot_ms();
	snprintf(gw->config_path, sizeof(gw->config_path), "%s", config_path);
	if (sd_id128_get_boot(&boot) == 0)
		sd_id128_to_string(boot, gw->boot);
	r = crypto_init();
	if (r < 0) {
		snprintf(error, error_cap, "no source of random numbers");
		return r;
	}
	r = config_load(config_path, &gw->config, error, error_cap);
	if (r < 0)
		return r;
	log_set_level(gw->config.log_level);
	r = gateway_store_open(gw, error, error_cap);
	if (r < 0)
		return r;
	r = open_outside(gw, error, error_cap);
	if (r < 0)
		return r;
	*ret = steal(gw);
	return 0;
}

void gateway_started(struct gateway *gw)
{
	struct event started = {.type = EVENT_STARTED, .detail = LOCKBRIDGE_VERSION};

	(void)gateway_event(gw, &started);
	gateway_rest(gw);
}

void gateway_free(struct gateway *gw)
{
	if (!gw)
		return;
	for (size_t i = 0; i < gw->nlocks; i++)
		gateway_lock_free(gw->locks[i]);
	bluez_free(gw->bluez);
	while (gw->leaving) {
		struct gateway_lock *gl = gw->leaving;

		gw->leaving = gl->next;
		gateway_lock_free(gl);
	}
	mqtt_free(gw->mqtt);
	bus_call_cancel(gw->naming);
	control_free(gw->control);
	clock_free(gw->clock);
	bus_close(gw->bus);
	sd_event_source_disable_unref(gw->hourly);
	sd_event_source_disable_unref(gw->report);
	sd_event_source_disable_unref(gw->health);
	sd_event_source_disable_unref(gw->scan.timer);
	sd_event_source_disable_unref(gw->door.timer);
	gateway_certificate_stop(gw);
	trust_free(gw->trust);
	sd_event_source_disable_unref(gw->retry);
	gateway_unsaid_free(gw);
	store_close(gw->store);
	signer_wipe(&gw->reader);
	sd_event_unref(gw->event);
	free(gw);
}

void gateway_freep(struct gateway **gw)
{
	gateway_free(*gw);
}

/* --- reload ------------------------------------------------------------------------------------- */

/* What the process stands on cannot change under it. */
static const char *fixed_setting(const struct config *old, const struct config *new)
{
	if (strcmp(old->gateway, new->gateway) != 0)
		return "gateway";
	if (memcmp(old->root_key, new->root_key, PUBLIC_LEN) != 0)
		return "root_key_file";
	if (strcmp(old->state_dir, new->state_dir) != 0)
		return "state_dir";
	if (old->event_bytes_max != new->event_bytes_max || old->event_keep_s != new->event_keep_s)
		return "event_bytes_max, event_keep_s";
	if (strcmp(old->adapter, new->adapter) != 0 || old->links_max != new->links_max ||
	    old->stop_scan_to_connect != new->stop_scan_to_connect ||
	    old->silent_s != new->silent_s)
		return "adapter, links_max, stop_scan_to_connect, silent_s";
	return NULL;
}

static bool same_broker(const struct config *old, const struct config *new)
{
	return strcmp(old->root_topic, new->root_topic) == 0 &&
	       old->nbrokers ==
		       new->nbrokers &&memcmp(old->brokers, new->brokers, sizeof(old->brokers)) ==
		       0 &&
	       old->backoff_min_ms == new->backoff_min_ms &&
	       old->backoff_max_ms == new->backoff_max_ms &&
	       old->preferred_retry_s == new->preferred_retry_s;
}

/* Nobody but us knows that we go: the will does not fire after a DISCONNECT. */
static void say_goodbye(struct gateway *gw)
{
	char topic[TOPIC_MAX];
	struct mqtt_publish offline = {
		.topic = topic,
		.payload = span_str(MESSAGE_OFFLINE),
		.qos = 1,
		.retain = true,
	};

	if (gw->mqtt_stopping)
		return;
	gw->mqtt_stopping = true;
	gateway_topic(gw, TOPIC_PRESENCE, "", topic);
	mqtt_stop(gw->mqtt, &offline);
}

int gateway_reload(struct gateway *gw, char *error, size_t error_cap)
{
	struct config *config = malloc(sizeof(*config));
	cleanup(freep) struct config *owned __attribute__((unused)) = config;
	const char *fixed;
	int r;

	if (!config)
		return -ENOMEM;
	r = config_load(gw->config_path, config, error, error_cap);
	if (r < 0)
		return r;
	fixed = fixed_setting(&gw->config, config);
	if (fixed) {
		snprintf(error, error_cap,
			 "%s: %s: cannot change while running; restart lockbridge.service",
			 gw->config_path, fixed);
		return -EBUSY;
	}
	if (!same_broker(&gw->config, config)) {
		gw->mqtt_renew = true; /* `stopped` starts the new one */
		say_goodbye(gw);
	}
	gw->config = *config;
	log_set_level(gw->config.log_level);
	gateway_certificate_configure(gw);
	r = gateway_locks_sync(gw);
	if (r < 0) {
		snprintf(error, error_cap, "out of memory");
		return r;
	}
	sd_event_source_set_time_relative(gw->health, (uint64_t)gw->config.health_s * 1000000);
	gateway_state_changed(gw, false);
	return 0;
}

void gateway_stop(struct gateway *gw)
{
	if (gw->stopping)
		return;
	gw->stopping = true;
	gw->mqtt_renew = false;
	for (size_t i = 0; i < gw->nlocks; i++)
		(void)lock_yield(gw->locks[i]->lock);
	say_goodbye(gw);
}

void gateway_turn(struct gateway *gw, uint64_t usec)
{
	gw->counters.turns++;
	if (usec > gw->counters.turn_max_us)
		gw->counters.turn_max_us = usec;
}
