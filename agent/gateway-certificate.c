// SPDX-License-Identifier: Apache-2.0
/*
 * The gateway's own certificate: asked for when a third of its life is left, taken from the city,
 * tried beside the connection that stands, and kept only if the broker lets it in. Until that is
 * decided both certificates are on disk, and each is tried in turn: neither a bad certificate nor a
 * broker that stumbles locks the box out while one of them is good. See certificate.h.
 */
#include "gateway-private.h"

#define SECOND_US    1000000ull
#define HOUR_S	     3600u
#define DAY_S	     86400u
#define JITTER_S     (8u * 3600)
#define TOLD_S	     (2u * DAY_S) /* how long a refused one is shown */
#define REFUSALS     3u		  /* in a row, then the other one's turn */
#define REFUSALS_MAX 48u
#define EXPIRY_S     DAY_S /* of a request: the next one comes then */

static uint64_t now_us(void)
{
	return clock_boot_ms() * 1000;
}

/* An attempt that began in the same millisecond may have read the file before. */
static void written(struct gateway *gw)
{
	gw->certificate.written_us = now_us() + 1000;
}

static uint64_t now_of(struct gateway *gw)
{
	return gateway_time(gw).now;
}

/* --- what is said of it ------------------------------------------------------------------------- */

void gateway_certificate_fill(struct gateway *gw, uint64_t now, struct message_certificate *ret)
{
	const struct x509_facts *used = &gw->certificate.used;

	*ret = (struct message_certificate){0};
	if (!gw->certificate.configured)
		return;
	ret->not_after = used->not_after;
	snprintf(ret->serial, sizeof(ret->serial), "%s", used->serial);
	ret->days = certificate_days(used->not_after, now);
}

void gateway_certificate_problems(struct gateway *gw, uint64_t now, struct problems *ret)
{
	struct gateway_certificate *c = &gw->certificate;

	if (!c->configured)
		return;
	if (c->unusable[0])
		problem_add(ret, "certificate-unusable", "%s", c->unusable);
	if (c->used.serial[0] && c->used.not_after <= now)
		problem_add(ret, "certificate-expired", "%lld days ago",
			    -(long long)certificate_days(c->used.not_after, now));
	else if (c->used.serial[0] && certificate_expiring(&c->used, now))
		problem_add(ret, "certificate-expiring", "%lld days left",
			    (long long)certificate_days(c->used.not_after, now));
	if (c->refused[0] && now_us() < c->refused_until)
		problem_add(ret, "certificate-refused", "%s", c->refused);
	if (c->unwritable[0])
		problem_add(ret, "certificate-not-writable", "%s", c->unwritable);
}

static void refuse(struct gateway *gw, const char *serial, const char *why)
{
	struct gateway_certificate *c = &gw->certificate;

	snprintf(c->refused, sizeof(c->refused), "%s%s%s", serial, serial[0] ? " " : "", why);
	c->refused_until = now_us() + TOLD_S * SECOND_US;
	gw->counters.certificate_refusals++;
	log_fact(LOG_WARNING, "a certificate from the city is refused", "SERIAL", serial, "REASON",
		 why, NULL);
	gateway_state_changed(gw, false);
}

/* which: behind the certificate's path, for a person. */
static void trouble(struct gateway *gw, int r, const char *which)
{
	struct gateway_certificate *c = &gw->certificate;
	bool before = c->unwritable[0];

	c->unwritable[0] = '\0';
	if (r < 0)
		snprintf(c->unwritable, sizeof(c->unwritable), "%.80s%s: %s", c->files.path, which,
			 strerror(-r));
	if (r < 0 && !before)
		log_fact(LOG_ERR, "the certificate's files are in the way", "DETAIL", c->unwritable,
			 NULL);
	if (before != (r < 0))
		gateway_state_changed(gw, false);
}

static void unwritable(struct gateway *gw, int r)
{
	trouble(gw, r, "");
}

/* --- what is on disk ---------------------------------------------------------------------------- */

static void look(struct gateway *gw)
{
	struct gateway_certificate *c = &gw->certificate;
	int r = certificate_read(&c->files, &c->held);
	char words[sizeof(c->unusable)] = "";

	if (r == -EBADMSG)
		snprintf(words, sizeof(words), "%.80s does not fit %.60s", c->files.path,
			 c->files.key);
	else if (r == -EINVAL)
		snprintf(words, sizeof(words), "%.80s, or its key, is damaged", c->files.path);
	else if (r < 0)
		snprintf(words, sizeof(words), "%.80s, or its key: %s", c->files.path,
			 strerror(-r));
	if (r < 0)
		c->held = (struct x509_facts){0};
	if (strcmp(words, c->unusable) == 0)
		return;
	if (words[0])
		log_fact(LOG_ERR, "the certificate is not usable", "DETAIL", words, NULL);
	memcpy(c->unusable, words, sizeof(words));
	gateway_state_changed(gw, false);
}

static void look_at_trial(struct gateway *gw)
{
	struct gateway_certificate *c = &gw->certificate;
	int r = certificate_trial(&c->files, &c->trial);

	if (r < 0)
		trouble(gw, r, ".old or .new, to be removed");
	else if (c->trial_stuck && c->trial == CERTIFICATE_SETTLED)
		unwritable(gw, 0);
	c->trial_stuck = r < 0 || (c->trial_stuck && c->trial != CERTIFICATE_SETTLED);
}

/* The files that the connection to a broker uses. */
static void choose(struct gateway *gw, size_t broker)
{
	struct gateway_certificate *c = &gw->certificate;
	const struct config_broker *b = &gw->config.brokers[broker];
	struct certificate_files files;

	c->configured = b->certificate[0] != '\0';
	if (!c->configured)
		return;
	certificate_files_set(&files, b->certificate, b->key, b->ca);
	if (strcmp(files.path, c->files.path) != 0) {
		c->used = (struct x509_facts){0};
		c->failures = 0;
		c->patience = REFUSALS;
	}
	c->files = files;
	look_at_trial(gw);
	look(gw);
}

static bool uses_these(struct gateway *gw, size_t broker)
{
	struct certificate_files files;
	const struct config_broker *b = &gw->config.brokers[broker];

	if (!gw->certificate.configured || !b->certificate[0])
		return false;
	certificate_files_set(&files, b->certificate, b->key, b->ca);
	return strcmp(files.path, gw->certificate.files.path) == 0;
}

/* --- the request -------------------------------------------------------------------------------- */

static void wake_in(struct gateway *gw, uint64_t seconds)
{
	struct gateway_certificate *c = &gw->certificate;

	sd_event_source_set_time_relative(c->timer, seconds * SECOND_US);
	sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
}

static void wake_tomorrow(struct gateway *gw)
{
	uint32_t jitter;

	crypto_random(&jitter, sizeof(jitter));
	wake_in(gw, DAY_S - JITTER_S / 2 + jitter % JITTER_S);
}

/* 0, or what mqtt_publish() says, or -errno of the key. */
static int ask(struct gateway *gw)
{
	struct gateway_certificate *c = &gw->certificate;
	cleanup(freep) char *request = NULL;
	char topic[TOPIC_MAX];
	struct mqtt_publish message = {.topic = topic, .qos = 1, .expiry_s = EXPIRY_S};
	int r = certificate_request(&c->files, gw->config.gateway, &request);

	if (r < 0) {
		log_fact(LOG_ERR, "no request for a certificate can be made", "DETAIL",
			 strerror(-r), NULL);
		return 0; /* the key stays as it is until somebody comes */
	}
	gateway_topic(gw, TOPIC_REQUEST, "", topic);
	message.payload = span_str(request);
	r = mqtt_publish(gw->mqtt, &message, 0);
	if (r < 0)
		return r;
	c->asked = true;
	c->asked_us = now_us();
	gw->counters.certificate_requests++;
	log_fact(LOG_INFO, "asked the city for the next certificate", "SERIAL", c->held.serial,
		 NULL);
	return 0;
}

static bool due(struct gateway *gw)
{
	struct gateway_certificate *c = &gw->certificate;

	return c->configured && c->held.serial[0] && certificate_due(&c->held, now_of(gw));
}

/* Not more often than hourly. */
static uint64_t rest_s(const struct gateway_certificate *c)
{
	uint64_t passed = c->asked ? (now_us() - c->asked_us) / SECOND_US : HOUR_S;

	return passed < HOUR_S ? HOUR_S - passed : 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *user)
{
	struct gateway *gw = user;
	struct gateway_certificate *c = &gw->certificate;

	wake_tomorrow(gw);
	if (!c->configured)
		return 0;
	look_at_trial(gw);
	look(gw);
	if (!due(gw)) {
		unwritable(gw, 0);
		return 0;
	}
	unwritable(gw, certificate_writable(&c->files));
	if (c->unwritable[0] || !gw->was_online)
		return 0; /* what could not be kept is not asked for */
	if (rest_s(c) > 0)
		wake_in(gw, rest_s(c));
	else if (ask(gw) < 0)
		wake_in(gw, 60);
	return 0;
}

/* A connect, or a new idea of the time. */
static void consider(struct gateway *gw)
{
	if (gw->was_online && due(gw))
		wake_in(gw, rest_s(&gw->certificate));
}

void gateway_certificate_clock(struct gateway *gw)
{
	if (gw->certificate.timer)
		consider(gw);
}

/* --- the trial ---------------------------------------------------------------------------------- */

static void try_in(struct gateway *gw, uint64_t ms)
{
	sd_event_source_set_time_relative(gw->certificate.trier, ms * 1000);
	sd_event_source_set_enabled(gw->certificate.trier, SD_EVENT_ONESHOT);
}

static bool quiet(const struct gateway *gw)
{
	for (size_t i = 0; i < gw->nlocks; i++) {
		if (lock_busy(gw->locks[i]->lock))
			return false;
	}
	return !gw->mqtt_stopping;
}

/* Beside the connection that stands, which was made with the one before. */
static int on_try(sd_event_source *source, uint64_t usec, void *user)
{
	struct gateway *gw = user;

	if (gw->certificate.trial != CERTIFICATE_NEW_IN_USE || !gw->was_online)
		return 0; /* the next connect decides */
	if (quiet(gw))
		(void)mqtt_refresh(gw->mqtt);
	else
		try_in(gw, 1000);
	return 0;
}

/* The broker let us in with what is in use. */
static void decide(struct gateway *gw)
{
	struct gateway_certificate *c = &gw->certificate;
	enum certificate_trial trial = c->trial;
	int r;

	if (trial == CERTIFICATE_SETTLED)
		return;
	r = certificate_settle(&c->files);
	trouble(gw, r, ".old or .new, to be removed");
	c->trial_stuck |= r < 0;
	look_at_trial(gw);
	c->failures = 0;
	c->patience = REFUSALS;
	if (trial == CERTIFICATE_OLD_IN_USE)
		return; /* told when it was put back */
	gw->counters.certificate_renewals++;
	c->refused[0] = '\0';
	log_fact(LOG_NOTICE, "the new certificate works", "SERIAL", c->held.serial, NULL);
}

void gateway_certificate_online(struct gateway *gw, size_t broker)
{
	struct gateway_certificate *c = &gw->certificate;
	struct mqtt_stats stats;

	choose(gw, broker);
	if (!c->configured)
		return;
	mqtt_stats(gw->mqtt, &stats);
	if (stats.attempt_began >= c->written_us) {
		decide(gw);
		c->used = c->held;
	} else if (c->trial == CERTIFICATE_NEW_IN_USE) {
		try_in(gw, 1000); /* it began with the file as it was before */
	}
	consider(gw);
}

static void put_other(struct gateway *gw)
{
	struct gateway_certificate *c = &gw->certificate;
	char serial[X509_SERIAL_CAP];
	bool back = c->trial == CERTIFICATE_NEW_IN_USE;
	int r;

	memcpy(serial, c->held.serial, sizeof(serial));
	r = certificate_swap(&c->files, now_of(gw));
	unwritable(gw, r < 0 ? r : 0);
	if (r != 0)
		return; /* the other one is no use: go on with this */
	if (c->patience < REFUSALS_MAX)
		c->patience *= 2;
	written(gw);
	look_at_trial(gw);
	look(gw);
	log_fact(LOG_WARNING,
		 back ? "the former certificate is put back" : "the new certificate's turn again",
		 "SERIAL", c->held.serial, NULL);
	if (!back)
		return;
	refuse(gw, serial, "was not taken by the broker; the former one is in use");
}

void gateway_certificate_failed(struct gateway *gw, size_t broker)
{
	struct gateway_certificate *c = &gw->certificate;
	struct mqtt_stats stats;

	if (c->trial == CERTIFICATE_SETTLED || !uses_these(gw, broker))
		return;
	mqtt_stats(gw->mqtt, &stats);
	if (stats.attempt_reached && stats.attempt_began >= c->written_us &&
	    ++c->failures >= c->patience) {
		c->failures = 0;
		put_other(gw);
	}
	try_in(gw, (uint64_t)gw->config.backoff_max_ms);
}

/* --- what the city sends ------------------------------------------------------------------------ */

static void take(struct gateway *gw, const char *pem, const struct x509_facts *facts)
{
	struct gateway_certificate *c = &gw->certificate;
	int r = certificate_install(&c->files, span_str(pem));

	unwritable(gw, r);
	look_at_trial(gw);
	if (r < 0)
		return;
	written(gw);
	c->failures = 0;
	c->patience = REFUSALS;
	c->refused[0] = '\0';
	look(gw);
	log_fact(LOG_NOTICE, "the city's new certificate is to be tried", "SERIAL", facts->serial,
		 NULL);
	gateway_state_changed(gw, false);
	try_in(gw, 1000);
}

static void judge(struct gateway *gw, struct span payload)
{
	struct gateway_certificate *c = &gw->certificate;
	const struct certificate_judge by = {
		.name = gw->config.gateway,
		.time = gateway_time(gw),
	};
	cleanup(freep) char *pem = NULL;
	struct x509_facts facts = {0};
	int r;

	r = certificate_judge(&c->files, payload, &by, &pem, &facts);
	if (r == 0)
		take(gw, pem, &facts);
	else if (r < 0)
		refuse(gw, facts.serial, "cannot be checked: the key cannot be read");
	else if (r != CERTIFICATE_HELD)
		refuse(gw, facts.serial, certificate_refusal_words((enum certificate_refusal)r));
}

void gateway_certificate_offered(struct gateway *gw, struct span payload)
{
	if (gw->certificate.configured)
		judge(gw, payload);
	else
		refuse(gw, "", "comes to a gateway that is configured without one");
}

void gateway_certificate_oversized(struct gateway *gw)
{
	refuse(gw, "", certificate_refusal_words(CERTIFICATE_GARBAGE));
}

/* --- life --------------------------------------------------------------------------------------- */

void gateway_certificate_configure(struct gateway *gw)
{
	struct gateway_certificate *c = &gw->certificate;
	size_t broker = 0;

	while (broker + 1 < gw->config.nbrokers && !gw->config.brokers[broker].certificate[0])
		broker++;
	choose(gw, broker);
	if (!c->configured)
		c->used = c->held = (struct x509_facts){0};
	if (!c->used.serial[0])
		c->used = c->held;
}

int gateway_certificate_start(struct gateway *gw)
{
	struct gateway_certificate *c = &gw->certificate;
	int r = sd_event_add_time_relative(gw->event, &c->timer, CLOCK_BOOTTIME, DAY_S * SECOND_US,
					   SECOND_US, on_timer, gw);

	if (r < 0)
		return r;
	r = sd_event_add_time_relative(gw->event, &c->trier, CLOCK_BOOTTIME, 0, 100000, on_try, gw);
	if (r < 0)
		return r;
	sd_event_source_set_enabled(c->trier, SD_EVENT_OFF);
	c->patience = REFUSALS;
	gateway_certificate_configure(gw);
	wake_tomorrow(gw);
	return 0;
}

void gateway_certificate_stop(struct gateway *gw)
{
	sd_event_source_disable_unref(gw->certificate.timer);
	sd_event_source_disable_unref(gw->certificate.trier);
}
