/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Topics and JSON messages between city and gateway (contract section 3): one struct per message,
 * one encoder and one parser each, used by both sides. Pure.
 *
 * JSON: times in integer seconds, byte strings in lower-case hex, COSE in base64url, keys in
 * base64. A parser accepts and ignores members that it does not know. encode returns malloc'd text
 * without white space (NULL: out of memory); parse returns 0, -EINVAL (not the message that it
 * should be) or -ENOMEM.
 */
#include "core/reckoning.h"
#include "core/result.h"

#define STREAM_HEX	33 /* 16 random bytes in hex, and NUL */
#define CORRELATION_MAX 64
#define ROOT_TOPIC_MAX	64
#define TOPIC_MAX	(ROOT_TOPIC_MAX + 128)
#define PROBLEMS_MAX	24
#define MESSAGE_LOCKS	64 /* locks of one gateway */
/* Longest text that is read: an event with the copy of a list in it fits. */
#define MESSAGE_TEXT_MAX (256 * 1024)

/* Payloads of presence. */
#define MESSAGE_ONLINE	"online"
#define MESSAGE_OFFLINE "offline"

enum topic_kind {
	TOPIC_OTHER,
	TOPIC_CITY_KEYS, /* name: root kid in hex */
	TOPIC_CITY_POLICY,
	TOPIC_CITY_LIST, /* name: list */
	TOPIC_DOCUMENT,	 /* gw/<gw>/document, and so on */
	TOPIC_AUTHORIZE,
	TOPIC_REPLAY,
	TOPIC_CERTIFICATE, /* PEM: the gateway's next client certificate */
	TOPIC_PRESENCE,	   /* from here on the gateway speaks */
	TOPIC_STATE,
	TOPIC_HEALTH,
	TOPIC_LOCK, /* name: lock */
	TOPIC_EVENT,
	TOPIC_REQUEST, /* PEM: PKCS#10 by the gateway's own key */
};

struct topic {
	enum topic_kind kind;
	char gateway[ID_MAX + 1]; /* "" for city topics; "+" is allowed when encoding */
	char name[2 * DIGEST_LEN + ID_MAX + 1];
};

/* Strict: ids are checked; a foreign topic gives TOPIC_OTHER. */
void topic_parse(const char *root, const char *text, struct topic *ret);
/* name and gateway may be "+" for a filter. */
void topic_encode(const char *root, const struct topic *topic, char ret[static TOPIC_MAX]);

struct problem {
	char code[40]; /* "no-list", "clock-not-synchronised", ...: the table in docs/protocol.md */
	char detail[160]; /* words for a person; no secret, no person's data */
};

struct problems {
	struct problem list[PROBLEMS_MAX];
	size_t n;
};
void problem_add(struct problems *problems, const char *code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

struct message_document {  /* one document that a gateway holds */
	struct applied is; /* name "keys", "policy" or the list's */
	bool list;
	uint64_t exp, changed; /* changed: lists only */
};

#define SERIAL_HEX 41 /* of a certificate: up to 20 bytes in hex, and NUL */

/* The client certificate that the gateway shows to the broker. */
struct message_certificate {
	char serial[SERIAL_HEX]; /* "": none, or none that can be read */
	uint64_t not_after;
	int64_t days; /* whole days left by the gateway's clock; below 0: expired */
};

/* What opens now through this gateway and at its doors, and until when. */
struct message_opens {
	char relayed[24];		    /* "yes", or the reason why none does; "": not told */
	uint64_t relayed_until, door_until; /* what the city signs now is over by then */
	bool early;			    /* also what begins later: nbf and iat are not judged */
};

struct message_state {
	char version[32];
	uint64_t time;
	char boot[33]; /* the machine's boot id */
	char stream[STREAM_HEX];
	uint64_t seq;	 /* of the newest event; 0: none */
	uint64_t oldest; /* of the oldest event still kept; 0: none */
	uint8_t reader[PUBLIC_LEN];
	struct time_verdict clock;
	uint64_t floor;
	struct message_opens opens;
	char root[2 * DIGEST_LEN + 1]; /* kid of the root that signs next */
	struct message_document documents[APPLIED_MAX];
	size_t ndocuments;
	char adapter[16];
	bool radio_up;
	uint64_t recoveries; /* rungs of the ladder climbed since start */
	char locks[MESSAGE_LOCKS][ID_MAX + 1];
	size_t nlocks;
	char readers[MESSAGE_LOCKS][ID_MAX + 1]; /* locks whose read authorization is held and not
						    about to expire */
	size_t nreaders;
	uint64_t outbox; /* events waiting for their PUBACK */
	struct message_certificate certificate;
	struct problems problems;
};

struct message_lock {
	char enforces[8]; /* "lock" or "gateway" */
	enum bolt bolt;
	bool has_battery;
	uint8_t battery;
	bool has_rssi;
	int rssi;
	bool reachable;
	uint64_t seen; /* 0: never */
	bool has_challenge;
	uint8_t challenge[CHALLENGE_LEN];
	struct applied applied[APPLIED_MAX];
	size_t napplied;
	bool current;
	uint64_t n; /* receipts up to this number are with the gateway */
	struct problems problems;
};

struct message_health {
	uint64_t time, uptime; /* seconds; of the process */
	uint64_t memory_kb;    /* resident */
	uint64_t cpu_ms;       /* used since start */
	uint64_t disk_free_kb;
	bool has_temperature;
	int temperature_mc; /* milli-degrees Celsius */
	struct counter {
		char name[40];
		uint64_t value;
	} counters[96];
	size_t ncounters;
};

enum event_type {
	EVENT_STARTED,		      /* gateway.started: detail = version */
	EVENT_AUTHORIZATION_ACCEPTED, /* authorization.accepted */
	EVENT_AUTHORIZATION_REFUSED,  /* .refused: reason; replayed: first; stale-challenge:
					 challenge */
	EVENT_AUTHORIZATION_OUTCOME,  /* .outcome: outcome done|failed|unknown, reason, receipt if
					 there is one */
	EVENT_DOCUMENT_APPLIED,	      /* document.applied: document {kind, name, iat, digest} */
	EVENT_DOCUMENT_REFUSED,	      /* document.refused: the same and reason */
	EVENT_DOCUMENT_COPY,	      /* document.copy: the answer to replay {"document"}: copy */
	EVENT_LOCK_RECEIPT,	      /* lock.receipt: any receipt that rides on no outcome */
	EVENT_LOCK_REACHABLE,	      /* lock.reachable */
	EVENT_LOCK_UNREACHABLE,	      /* lock.unreachable */
	EVENT_RADIO_RECOVERY,	      /* radio.recovery: detail = rung */
	EVENT_CLOCK,		      /* clock.changed: detail = problem word or "synchronised" */
	EVENT_DROPPED,		      /* events.dropped: count */
	EVENT_TYPES,
};
const char *event_type_word(enum event_type type);

/* Strings and spans borrow: when encoding from the caller, when parsing from the event itself
 * (event_deinit frees). */
struct event {
	char stream[STREAM_HEX];
	uint64_t seq;
	uint8_t prev[SHA256_LEN]; /* SHA-256 of the payload before; the first: zeros */
	uint64_t time;
	bool synchronised; /* was the clock, when it was written */
	enum event_type type;
	char lock[ID_MAX + 1]; /* "": none */
	bool has_cti;
	uint8_t cti[CTI_LEN];
	enum scope scope;     /* SCOPE_NONE: none */
	enum outcome outcome; /* OUTCOME_NONE: none */
	enum reason reason;   /* REASON_NONE: none */
	char first[16];	      /* replayed: an outcome word, "refused" or "pending" */
	bool has_challenge;
	uint8_t challenge[CHALLENGE_LEN];
	struct span correlation; /* len 0: none */
	struct span receipt;	 /* COSE; len 0: none */
	bool has_document;
	enum token_kind document_kind;
	struct applied document;
	struct span copy; /* COSE; len 0: none */
	uint64_t count;
	char detail[160];
	void *owned_;
};

struct message_replay {
	char stream[STREAM_HEX]; /* "": not this form */
	uint64_t from;
	char document[ID_MAX + 8]; /* "keys", "policy", "list/<name>"; "": not this form */
};

char *message_state_encode(const struct message_state *state);
int message_state_parse(struct span text, struct message_state *ret);
char *message_lock_encode(const struct message_lock *lock);
int message_lock_parse(struct span text, struct message_lock *ret);
char *message_health_encode(const struct message_health *health);
int message_health_parse(struct span text, struct message_health *ret);
char *event_encode(const struct event *event);
int event_parse(struct span text, struct event *ret);
void event_deinit(struct event *event);
char *message_replay_encode(const struct message_replay *replay);
int message_replay_parse(struct span text, struct message_replay *ret);
