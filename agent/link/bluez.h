/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * BlueZ as a GATT central: hears adverts, carries links to locks. Written for BlueZ 5.66
 * (doc/adapter-api.txt, device-api.txt, gatt-api.txt of that release), tolerant of later ones.
 *
 * Nothing blocks, nothing polls: when idle, only adverts wake the process. No callback fires before
 * the call that caused it has returned, none after bluez_free(), which no callback may call. Times
 * are in milliseconds, 0 in options means the default named there. Calls return 0 or -errno.
 */
#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "core/span.h"

struct bus;
struct bluez;
struct bluez_link;

#define BLUEZ_FRAME_MAX	   510u /* BlueZ 5.66 as a server drops longer write commands silently */
#define BLUEZ_WRITE_QUEUE  64u	/* writes that one link keeps waiting; more: -ENOBUFS */
#define BLUEZ_MAX_CHRS	   8u	/* characteristics in one profile */
#define BLUEZ_ADDRESS_SIZE 18u	/* "AA:BB:CC:DD:EE:FF" */

struct bluez_advert {
	const char *address; /* "AA:BB:CC:DD:EE:FF", upper case; the handle for bluez_connect() */
	bool random_address;
	int rssi;	  /* dBm; BLUEZ_RSSI_UNKNOWN */
	struct span data; /* the service data under our UUID, at most 27 bytes; untrusted */
};
#define BLUEZ_RSSI_UNKNOWN 127

/* Rungs of the ladder against a scanner that fell silent without an error. */
enum bluez_rung {
	BLUEZ_RUNG_NONE,    /* adverts are back; the ladder starts below again */
	BLUEZ_RUNG_SCAN,    /* discovery stopped and started */
	BLUEZ_RUNG_POWER,   /* adapter off and on */
	BLUEZ_RUNG_SERVICE, /* bluetooth.service restarted by systemd */
	BLUEZ_RUNG_HUMAN,   /* nothing helped; the ladder is tried again, ever more seldom */
	BLUEZ_RUNGS,
};

struct bluez_options {
	const char *adapter; /* "hci0"; NULL: the first there is */
	const char *service; /* UUID, lower case: the key of the service data, the mark of ours */
	bool scan_while_connecting; /* for kernels that connect only while discovering */
	unsigned max_links;	    /* connected or connecting at once: 2 */
	unsigned silent_after_ms;   /* no advert from anybody: 90000 */
	unsigned attempt_ms;	    /* one try to connect, services resolved included: 20000 */
	unsigned connect_ms;	    /* all tries: 60000 */
	unsigned attempts;	    /* 4 */
	unsigned table_ms;	    /* services resolved, but not the wanted ones: 2000 */
	unsigned operation_ms;	    /* read, write, subscribe: 10000 */
	unsigned back_off_ms;	    /* before the second try; doubles; plus up to half of it: 250 */
	unsigned retry_ms; /* bluetoothd or adapter not there: first pause, doubles to x30: 1000 */
};

struct bluez_ops {
	/* up: powered, we may connect. Down: reason in words. Fires at changes only. */
	void (*adapter)(bool up, const char *name, const char *detail, void *user);
	/* From our own kind only, duplicates included. */
	void (*advert)(const struct bluez_advert *advert, void *user);
	/* A rung was climbed (or the ladder left), or, failed, was tried in vain after it had been
	 * told; detail: what happened, in words. */
	void (*recovery)(enum bluez_rung rung, bool failed, const char *detail, void *user);
};

struct bluez_counters {
	uint64_t adverts; /* ours */
	uint64_t foreign; /* signals about devices that are not ours */
	uint64_t rung[BLUEZ_RUNGS];
	uint64_t connects, connected, connect_failed; /* attempts, and how they ended */
	uint64_t closed[8];			      /* by enum bluez_reason */
	uint64_t daemon_restarts, adapter_losses;
	uint64_t leftovers;	  /* links of an earlier life that were cut */
	uint64_t stale_tables;	  /* resolved without the wanted characteristics */
	uint64_t scan_errors;	  /* StartDiscovery refused */
	uint64_t devices_dropped; /* ours, beyond what the table holds */
};

int bluez_new(sd_event *event, struct bus *bus, const struct bluez_options *options,
	      const struct bluez_ops *ops, void *user, struct bluez **ret);
/* Links die without a word: no closed() fires. BlueZ is asked to disconnect and to stop scanning.
 */
void bluez_free(struct bluez *bluez);
void bluez_freep(struct bluez **bluez);

bool bluez_is_up(const struct bluez *bluez);
bool bluez_is_scanning(const struct bluez *bluez);
const struct bluez_counters *bluez_counters(const struct bluez *bluez);
/* Of the last advert of a device of ours; BLUEZ_RSSI_UNKNOWN. */
int bluez_rssi(const struct bluez *bluez, const char *address);

/* --- links ----------------------------------------------------------------------------- */

/* What must be there before a link is ready. Characteristics are named by their index from then on.
 */
enum {
	BLUEZ_SUBSCRIBE = 1, /* notifications on before ready() */
	BLUEZ_COMMAND = 2,   /* a write channel without response is opened before ready() */
	BLUEZ_OPTIONAL = 4,  /* ready() also without it */
};
struct bluez_chr {
	const char *uuid; /* lower case */
	unsigned flags;
};
struct bluez_profile {
	const char *service;
	struct bluez_chr chrs[BLUEZ_MAX_CHRS]; /* ends at the first without uuid */
};

enum bluez_reason {
	BLUEZ_CLOSED,	    /* we asked */
	BLUEZ_UNREACHABLE,  /* never seen, or never connected, in all tries */
	BLUEZ_TIMEOUT,	    /* connected, but an operation got no answer */
	BLUEZ_LOST,	    /* was ready, then the peer or the radio let go */
	BLUEZ_ADAPTER_DOWN, /* adapter off or gone, or bluetoothd gone */
	BLUEZ_PROTOCOL,	    /* connects, but never shows what the profile wants */
	BLUEZ_PREEMPTED,    /* gave way to an urgent connect; try again later */
	BLUEZ_REASONS,
};
const char *bluez_reason_text(enum bluez_reason reason); /* one word, stable: "unreachable" */

/* What became of a write: the truth that at-most-once and outcomes rest on. */
enum bluez_sent {
	BLUEZ_SENT, /* the peer confirmed it (response), or BlueZ took it (command): no way back */
	BLUEZ_NOT_SENT, /* surely without effect: never left here, or refused by the peer's ATT */
	BLUEZ_UNKNOWN,	/* may have */
};

struct bluez_link_ops {
	/* bytes of one ATT write without response: at most mtu - 3, and BLUEZ_FRAME_MAX */
	void (*ready)(struct bluez_link *link, unsigned frame, void *user);
	/* r: 0 or -errno: -ETIMEDOUT, -ECONNRESET (link closing), -EIO (refused by the peer),
	 * -ENOENT */
	void (*read_done)(struct bluez_link *link, unsigned chr, int r, struct span value,
			  void *user);
	/* In the order of the writes; one for each bluez_write() that returned 0. */
	void (*write_done)(struct bluez_link *link, unsigned chr, enum bluez_sent sent, void *user);
	/* After bluez_subscribe(); r as above. */
	void (*subscribed)(struct bluez_link *link, unsigned chr, int r, void *user);
	void (*notified)(struct bluez_link *link, unsigned chr, struct span value, void *user);
	/* Exactly once, last of all, from the loop; every read and write was answered before. BlueZ
	 * no longer holds the connection (as far as it can be known), so a new connect may follow
	 * at once, from in here too. The link is freed when this returns. */
	void (*closed)(struct bluez_link *link, enum bluez_reason reason, const char *detail,
		       void *user);
};

/*
 * One link per address (-EEXIST until closed). Tries are made one link after another (a controller
 * sets up one connection at a time), urgent ones first: an urgent connect ends a try that is not
 * (BLUEZ_PREEMPTED), but no link that is ready: with max_links of those, disconnect one yourself.
 * Works also for an address not seen yet: scans until it is, within connect_ms. -ENETDOWN: adapter
 * is down. profile is copied, its strings are not. After connect_ms at the latest: ready or closed.
 */
int bluez_connect(struct bluez *bluez, const char *address, const struct bluez_profile *profile,
		  bool urgent, const struct bluez_link_ops *ops, void *user,
		  struct bluez_link **ret);
/* Any time, more than once; then only *_done for what is pending, and closed(). BlueZ 5.66 takes 2
 * s. */
void bluez_disconnect(struct bluez_link *link);
const char *bluez_link_address(const struct bluez_link *link);

/* After ready(). -ENOTCONN when closing, -ENOENT for an absent optional one, -EBUSY: one read per
 * characteristic at a time. */
int bluez_read(struct bluez_link *link, unsigned chr);
/*
 * Queued, one at a time per link; value is copied, at most BLUEZ_FRAME_MAX bytes (-EMSGSIZE).
 * Without response needs a frame of at most ready()'s size; with response BlueZ splits longer ones.
 * A characteristic opened with BLUEZ_COMMAND takes writes without response only (-EINVAL).
 */
int bluez_write(struct bluez_link *link, unsigned chr, struct span value, bool with_response);
/* Drops the writes that were not begun: each gets write_done(BLUEZ_NOT_SENT), from the loop. So an
 * unlock cuts into a transfer. */
void bluez_drop_writes(struct bluez_link *link);
int bluez_subscribe(struct bluez_link *link, unsigned chr);
