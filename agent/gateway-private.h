/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Shared by the gateway's files, one concern each:
 *   gateway.c            life, reload, goodbye
 *   gateway-store.c      the store: opened, put aside when damaged, in trouble
 *   gateway-unsaid.c     what the disk could not take
 *   gateway-time.c       what time it is, the hourly work
 *   gateway-events.c     the event stream and its way to the broker
 *   gateway-documents.c  the city's documents: taken in
 *   gateway-keep.c       on disk, and given back at start
 *   gateway-reader.c     read authorizations
 *   gateway-authorize.c  authorizations and their outcomes
 *   gateway-locks.c      one session per lock
 *   gateway-radio.c      adverts and links
 *   gateway-scan.c       which locks are on air
 *   gateway-broker.c     topics in and out
 *   gateway-certificate.c  the gateway's own certificate, and its renewal
 *   gateway-report.c     presence, state, health, the locks' topics
 *   gateway-control.c    the person at the box
 *   gateway-door.c       a document that they hand over
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "certificate.h"
#include "core/gate.h"
#include "gateway.h"
#include "link/bluez.h"
#include "link/bus.h"
#include "link/clock.h"
#include "link/control.h"
#include "link/mqtt.h"
#include "link/store.h"
#include "lock.h"
#include "log.h"
#include "message.h"

#include <errno.h>

#define GATEWAY_UNKNOWNS    128
#define GATEWAY_UNSAID	    256
#define GATEWAY_STRANGERS   64
#define GATEWAY_HEARD	    64
#define GATEWAY_PAYLOAD_MAX (256u * 1024) /* an event with the copy of a list in it */
#define GATEWAY_WAIT_MS	    60000u	  /* for the radio, on behalf of a command */
#define GATEWAY_FORGET_S    (7u * 86400)  /* ctis after their exp */
#define GATEWAY_HOUR_US	    3600000000ull

struct gateway_lock {
	struct gateway *gw;
	struct config_lock config;
	struct lock *lock;
	char address[BLUEZ_ADDRESS_SIZE]; /* "": not found yet */
	struct bluez_link *link;
	bool ready, announced, dirty;
	bool confirmed; /* writes with response: see lock_radio.confirm */
	sd_event_source *alarm;
	uint64_t reader_iat, reader_exp; /* exp 0: no read authorization */
	struct control_task *test;
	uint8_t advert[6];	   /* as it is on disk */
	struct gateway_lock *next; /* of gw->leaving */
};

/* An outcome that nobody knows yet. */
struct gateway_unknown {
	uint8_t cti[CTI_LEN];
	char lock[ID_MAX + 1];
	uint64_t exp;
	enum scope scope;
	bool gap; /* receipts since were lost in the lock: absence proves nothing */
	uint8_t correlation[CORRELATION_MAX];
	size_t correlation_len;
};

/* A lock on air. Nothing here is proven. */
struct gateway_heard {
	char address[BLUEZ_ADDRESS_SIZE];
	uint64_t heard_ms, info_ms;
	int rssi;
	struct advert advert, at_info; /* at_info: when info was read */
	bool has_info;
	struct info info;
	unsigned scan, tries; /* of the scan with this number */
};

struct gateway_scan {
	struct control_task *task; /* NULL: nobody looks */
	uint64_t since_ms, until_ms;
	unsigned number;
	sd_event_source *timer;
};

struct gateway_door { /* a claim or release that somebody waits for */
	struct control_task *task;
	char lock[ID_MAX + 1];
	uint8_t digest[DIGEST_LEN];
	sd_event_source *timer;
};

struct gateway_counters {
	uint64_t turn_max_us, turns;
	uint64_t refused[REASON_COUNT_];
	uint64_t accepted, done, failed, unknown;
	uint64_t documents_applied, documents_refused, receipts, events_rejected;
	uint64_t certificate_requests, certificate_renewals, certificate_refusals;
};

struct gateway_certificate {
	bool configured;		/* else nothing below counts */
	struct certificate_files files; /* of the broker in use */
	struct x509_facts held;		/* on disk; serial "": not usable */
	struct x509_facts used;		/* of the connection that stands, or last stood */
	enum certificate_trial trial;
	bool trial_stuck;    /* its files could not be read, or removed; unwritable says why */
	uint64_t written_us; /* CLOCK_BOOTTIME: earlier attempts read another one */
	unsigned failures, patience; /* refusals in a row; how many until the other one's turn */
	bool asked;
	uint64_t asked_us, refused_until;
	char unusable[160], refused[160], unwritable[160]; /* for a person; "": nothing wrong */
	sd_event_source *timer, *trier;
};

struct gateway {
	sd_event *event;
	const struct gateway_ops *ops;
	void *user;
	char config_path[512];
	struct config config;
	struct store *store;
	struct trust *trust;
	struct signer reader;
	struct bus *bus;
	struct bluez *bluez;
	struct mqtt *mqtt;
	struct clock *clock;
	struct control *control;
	struct bus_call *naming;
	bool stopping, mqtt_stopping, mqtt_renew;
	uint64_t started_ms, started_cpu_ms;

	/* time */
	struct reckoning reckoning;
	uint64_t floor_stored;
	enum clock_problem clock_problem;
	bool clock_told;
	sd_event_source *hourly;

	/* store */
	bool damaged;	/* everything but `lock` is refused until the city's documents are back */
	bool undurable; /* a document is in force, but not on disk */
	bool homeless;	/* the store is in memory: its file cannot be opened */
	struct applied durable[APPLIED_MAX];
	size_t ndurable;
	int store_trouble; /* -errno of the last write that failed; 0 */
	char store_words[120];
	sd_event_source *retry;			       /* while there is trouble */
	struct gateway_unsaid *unsaid[GATEWAY_UNSAID]; /* owned */
	size_t nunsaid;
	uint64_t unsaid_lost;

	/* events */
	uint64_t sent_up_to;   /* published in this connection */
	uint64_t unacked;      /* from here on a PUBACK may be missing on disk; 0: none */
	uint64_t outbox_shown; /* as the last state said */
	bool outbox_stuck;     /* a row was rejected: tried again with health, after a pause */
	unsigned stuck_for, stuck_pause; /* in healths */
	char aside_stream[STREAM_HEX];	 /* "": never needed; see gateway_event_aside */
	uint64_t aside_seq;
	uint8_t aside_prev[SHA256_LEN];

	/* reports */
	sd_event_source *report, *health;
	bool state_dirty, report_soon;
	bool radio_up, was_online;
	char adapter[16];
	char radio_words[120];
	enum bluez_rung rung;
	uint64_t recoveries;
	char boot[33];

	struct gateway_lock *locks[CONFIG_LOCKS];
	size_t nlocks;
	char gone[CONFIG_LOCKS][ID_MAX + 1]; /* removed: their topics are to be cleared */
	size_t ngone;
	struct gateway_lock *leaving; /* removed, but BlueZ still holds their links; lock NULL */
	struct gateway_unknown unknowns[GATEWAY_UNKNOWNS];
	size_t nunknowns;

	/* finding locks whose address is not configured */
	struct bluez_link *probe;
	bool probe_ready;
	char probing[BLUEZ_ADDRESS_SIZE], found[ID_MAX + 1];
	struct {
		char address[BLUEZ_ADDRESS_SIZE];
		uint64_t until_ms;
	} strangers[GATEWAY_STRANGERS];
	size_t nstrangers;
	struct gateway_heard heard[GATEWAY_HEARD];
	size_t nheard;
	struct gateway_scan scan;
	struct gateway_door door;

	struct gateway_counters counters;
	struct gateway_certificate certificate;
};

/* gateway.c */
void gateway_fatal(struct gateway *gw, const char *why);

/* gateway-store.c */
int gateway_store_open(struct gateway *gw, char *error, size_t cap);
/* What a write to the store gave. A failure is told once, and shown as a problem until writes
 * succeed and nothing waits for one. Returns r. Not for the success of a read. */
int gateway_stored(struct gateway *gw, int r, const char *what);
const char *gateway_store_problem(const struct gateway *gw); /* the problem's code */

/* gateway-unsaid.c: 0: it waits for the disk; < 0: it does not. */
int gateway_unsaid_event(struct gateway *gw, const struct event *event);
int gateway_unsaid_outcome(struct gateway *gw, const struct event *event, enum store_phase phase,
			   const char *first);
int gateway_unsaid_refusal(struct gateway *gw, const struct event *event, uint64_t exp);
bool gateway_unsaid_refused(const struct gateway *gw, struct span cti);
void gateway_unsaid_flush(struct gateway *gw);
void gateway_unsaid_free(struct gateway *gw);

/* gateway-time.c */
int gateway_time_start(struct gateway *gw);
struct time_verdict gateway_time(struct gateway *gw);
void gateway_time_learn(struct gateway *gw, enum token_kind kind, uint64_t iat);
extern const struct clock_ops gateway_clock_ops;

/* gateway-events.c */
/* Fills stream, seq, prev and time; malloc'd text or NULL. To be stored before the next one. */
char *gateway_event_encode(struct gateway *gw, struct event *event);
void gateway_event_stored(struct gateway *gw, const char *text);
/* Encodes, stores, sends. What the disk does not take now is tried again: still -errno. */
int gateway_event(struct gateway *gw, struct event *event);
/* The same for what cannot wait: on failure it is sent in a stream of its own, which nobody keeps. */
void gateway_event_now(struct gateway *gw, struct event *event);
void gateway_event_aside(struct gateway *gw, struct event *event);
void gateway_outbox(struct gateway *gw);
void gateway_outbox_online(struct gateway *gw);
/* With each health: sends again what the broker refused. */
void gateway_outbox_again(struct gateway *gw);
void gateway_outbox_acked(struct gateway *gw, int64_t row);
void gateway_outbox_rejected(struct gateway *gw, int64_t row, uint8_t reason);
void gateway_outbox_lost(struct gateway *gw, int64_t row);
void gateway_outbox_unacked(struct gateway *gw); /* the disk can be written again */
void gateway_replay(struct gateway *gw, struct span payload);
void gateway_trim(struct gateway *gw);

/* gateway-keep.c */
int gateway_documents_restore(struct gateway *gw);
int gateway_keep(struct gateway *gw, const struct trust_change *change);
int gateway_keep_all(struct gateway *gw);
int gateway_keep_pending(struct gateway *gw);

/* gateway-reader.c */
/* 0: taken, or older than what there is; a reason; < 0. *ret: what is known of it. */
int gateway_reader_take(struct gateway *gw, struct span payload, struct token *ret);
void gateway_readers_restore(struct gateway *gw); /* hands the stored ones to the locks */
void gateway_readers_check(struct gateway *gw);	  /* the keys or the policy are others */

/* gateway-documents.c */
/* 0: in force; else the reason. */
int gateway_document(struct gateway *gw, const struct trust_topic *topic, struct span payload);
/* What arrived for this gateway alone: also a reader's authorization, a claim, a release. */
void gateway_own_document(struct gateway *gw, struct span payload);
/* The same, and says: 0: in force, held, or on its way to a lock; else the reason, which was told as
 * an event. */
struct gateway_own {
	enum token_kind kind; /* TOKEN_KINDS: none */
	uint8_t digest[DIGEST_LEN];
	struct gateway_lock *lock; /* not NULL: it is on its way there */
};
int gateway_take_document(struct gateway *gw, struct span payload, struct gateway_own *ret);
/* What a lock said to a claim or release. */
void gateway_forwarded(struct gateway_lock *gl, const struct lock_forwarded *forwarded);
/* Of our chain, or the next in it. */
bool gateway_our_root(const struct gateway *gw, const uint8_t kid[static DIGEST_LEN]);
void gateway_documents_again(struct gateway *gw); /* what could not be written */

/* gateway-authorize.c */
int gateway_authorize_restore(struct gateway *gw);
void gateway_authorize(struct gateway *gw, const struct mqtt_message *message);
int gateway_recheck(struct gateway_lock *gl, const struct lock_command *command);
void gateway_outcome(struct gateway_lock *gl, const struct lock_command *command,
		     enum outcome outcome, enum reason reason, struct span receipt,
		     const struct result *result);
/* A receipt from the log: true if it was the outcome of an authorization. */
bool gateway_resolve(struct gateway_lock *gl, const struct token *token, struct span document,
		     const struct result *result);
void gateway_log_complete(struct gateway_lock *gl, bool gap);
void gateway_gate_input(struct gateway *gw, struct gate_input *in,
			struct gate_lock locks[static CONFIG_LOCKS]);

/* gateway-locks.c */
int gateway_locks_sync(struct gateway *gw); /* makes the sessions what the configuration says */
void gateway_lock_free(struct gateway_lock *gl);
struct gateway_lock *gateway_lock_find(struct gateway *gw, struct span id);
void gateway_locks_documents(struct gateway *gw);
void gateway_locks_cleared(struct gateway *gw); /* the topics of those that are gone */
void gateway_lock_found(struct gateway_lock *gl, const char *address);
void gateway_lock_keep(struct gateway_lock *gl); /* what is known of it, to disk */

/* gateway-radio.c */
int gateway_radio_start(struct gateway *gw);
/* Reads the info of a device, one at a time: gateway_scan_info(). 0 or -errno. */
int gateway_probe(struct gateway *gw, const char *address);
void gateway_strangers_forget(struct gateway *gw);
/* Frees it; its link, if there is one, ends first. */
void gateway_radio_release(struct gateway_lock *gl);
extern const struct lock_radio gateway_lock_radio;

/* gateway-scan.c; 0: the task is answered there */
int gateway_scan(struct gateway *gw, uint32_t seconds, struct control_task *task);
void gateway_scan_cancel(struct gateway *gw, const struct control_task *task);
void gateway_scan_heard(struct gateway *gw, const struct bluez_advert *heard,
			const struct advert *advert);
void gateway_scan_info(struct gateway *gw, const char *address, const struct info *info);
/* Where this lock was met, or NULL. */
const char *gateway_scan_address(struct gateway *gw, const struct config_lock *lock);

/* gateway-door.c; 0: the task is answered there */
int gateway_door(struct gateway *gw, const char *base64url, struct control_task *task);
void gateway_door_cancel(struct gateway *gw, const struct control_task *task);
void gateway_door_forwarded(struct gateway_lock *gl, const struct lock_forwarded *forwarded);
void gateway_door_removed(struct gateway_lock *gl);

/* gateway-broker.c */
int gateway_broker_start(struct gateway *gw);
void gateway_topic(const struct gateway *gw, enum topic_kind kind, const char *name,
		   char ret[static TOPIC_MAX]);

/* gateway-certificate.c */
int gateway_certificate_start(struct gateway *gw);
void gateway_certificate_stop(struct gateway *gw);
void gateway_certificate_configure(struct gateway *gw); /* anew */
void gateway_certificate_online(struct gateway *gw, size_t broker);
void gateway_certificate_failed(struct gateway *gw, size_t broker);
void gateway_certificate_clock(struct gateway *gw); /* the time may be another */
void gateway_certificate_offered(struct gateway *gw, struct span payload);
void gateway_certificate_oversized(struct gateway *gw);
void gateway_certificate_problems(struct gateway *gw, uint64_t now, struct problems *ret);
void gateway_certificate_fill(struct gateway *gw, uint64_t now, struct message_certificate *ret);

/* gateway-report.c */
int gateway_report_start(struct gateway *gw);
void gateway_report_online(struct gateway *gw);
/* State or a lock's topic is not as published: soon. at_once: a new document is held. */
void gateway_state_changed(struct gateway *gw, bool at_once);
void gateway_lock_changed(struct gateway_lock *gl);
void gateway_problems(struct gateway *gw, struct problems *ret);
void gateway_opens(struct gateway *gw, const struct time_verdict *time, struct message_opens *ret);
void gateway_fill_state(struct gateway *gw, struct message_state *ret);
void gateway_fill_lock(struct gateway_lock *gl, struct message_lock *ret);
void gateway_fill_health(struct gateway *gw, struct message_health *ret);

/* gateway-health.c; gives memory back that was needed for a moment */
void gateway_rest(struct gateway *gw);

/* gateway-control.c */
extern const struct control_ops gateway_control_ops;
