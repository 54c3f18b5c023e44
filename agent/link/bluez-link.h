/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A link from inside: bluez-link.c owns it, bluez-try.c connects it, bluez-gatt.c, -write.c use it. */
#include "link/bluez-internal.h"

#define LINK_LINGER_MS 3000u /* Disconnect was answered, Connected=false is still due */

enum link_state {
	LINK_SEEKING,	 /* BlueZ does not know the device: scan until it does */
	LINK_WAITING,	 /* for its turn */
	LINK_PAUSING,	 /* between two tries */
	LINK_CLEARING,	 /* turn: Disconnect (and RemoveDevice), before or after a try */
	LINK_QUIETING,	 /* turn: until discovery has stopped */
	LINK_CONNECTING, /* turn: Connect called */
	LINK_RESOLVING,	 /* turn: until ServicesResolved and the wanted table */
	LINK_SETUP,	 /* turn: notifications on, write channel open */
	LINK_READY,
	LINK_CLOSING, /* until BlueZ let go */
	LINK_ENDED,   /* the end source will report and free */
};

/* A change of Value while a read is under way. */
struct link_held {
	STAILQ_ENTRY(link_held) entry;
	size_t len;
	uint8_t data[];
};

struct link_chr {
	struct bluez_link *link;
	unsigned index;
	char *path; /* NULL: an optional one that is absent */
	unsigned flags;
	/* reading */
	struct bus_call *read;
	bool reading; /* read_done is owed */
	/* BlueZ repeats what was read as a change of Value; not to be taken for a notification */
	STAILQ_HEAD(link_helds, link_held) held;
	unsigned n_held;
	bool echo_due;
	uint8_t echo[BLUEZ_VALUE_MAX];
	size_t echo_len;
	/* subscribing */
	struct bus_call *subscribe;
	bool subscribing; /* subscribed() is owed, unless in setup */
	bool by_signal;	  /* StartNotify */
	int notify_fd;
	sd_event_source *notify_io;
	/* write channel */
	struct bus_call *acquire;
	int write_fd;
	sd_event_source *write_io;
};

struct link_write {
	STAILQ_ENTRY(link_write) entry;
	unsigned index;
	bool with_response;
	bool dropped;
	bool given; /* is in the channel: only its report is due */
	size_t len;
	uint8_t data[];
};

struct bluez_link {
	TAILQ_ENTRY(bluez_link) entry;
	struct bluez *bluez;
	struct bluez_device *device;
	const struct bluez_link_ops *ops;
	void *user;
	struct bluez_profile profile;
	bool urgent;
	char address[BLUEZ_ADDRESS_SIZE];

	enum link_state state;
	unsigned attempts;
	bool failed;	       /* clearing after a try, not before one */
	bool forget;	       /* RemoveDevice belongs to the clearing */
	bool cleared;	       /* BlueZ holds neither a connection nor a pending Connect of ours */
	bool table_due;	       /* resolved, and `wait` runs for the table */
	struct bus_call *call; /* Connect, Disconnect or RemoveDevice */
	sd_event_source *total, *attempt, *wait;
	sd_event_source *end; /* defer */
	enum bluez_reason reason;
	char detail[BLUEZ_DETAIL_SIZE];

	struct link_chr chrs[BLUEZ_MAX_CHRS];
	unsigned n_chrs;
	unsigned setups; /* pending */
	unsigned frame;

	STAILQ_HEAD(link_writes, link_write) writes; /* the first may be under way */
	unsigned n_writes;
	struct bus_call *writing;
	bool write_begun; /* the first was handed to WriteValue and not answered */
	unsigned write_retries;
	sd_event_source *pump;	/* defer: the next write */
	sd_event_source *stuck; /* full channel, or InProgress: until when */
	sd_event_source *again; /* InProgress: the next try */
};

/* bluez-link.c */
void link_close(struct bluez_link *link, enum bluez_reason reason, const char *detail);
bool link_has_turn(const struct bluez_link *link);
void link_release_turn(struct bluez_link *link);
void link_set_detail(struct bluez_link *link, enum bluez_reason reason, const char *detail);
void link_end(struct bluez_link *link);

/* bluez-try.c */
void link_try(struct bluez_link *link);		/* its turn has come */
void link_connect_now(struct bluez_link *link); /* discovery is quiet */
/* BLUEZ_CLOSED: all went well */
void link_setup_done(struct bluez_link *link, enum bluez_reason reason, const char *detail);
int link_on_wait(sd_event_source *source, uint64_t usec, void *user);

/* bluez-gatt.c */
int gatt_bind(struct bluez_link *link);	   /* 0, or -ENOENT: not all are there yet */
void gatt_unbind(struct bluez_link *link); /* drops channels, calls and paths; tells nobody */
void gatt_setup(struct bluez_link *link);
void gatt_listen(struct bluez_link *link); /* ready: notifications flow from now on */
void gatt_drain(struct bluez_link *link);  /* what BlueZ had put into the channels before the end */
void gatt_report_all(struct bluez_link *link); /* the link ends: an answer for all that is owed */
void gatt_value_changed(struct bluez_link *link, const char *path, struct span value);
struct link_chr *gatt_chr(struct bluez_link *link, unsigned index); /* NULL: absent */
bool gatt_no_answer(DBusMessage *error);   /* ours or the bus's own time-out */
void gatt_zombie(struct bluez_link *link); /* connected, but does not answer: end it */

/* bluez-write.c */
int write_init(struct bluez_link *link);
void write_pump(struct bluez_link *link); /* go on, from the loop */
void write_report_all(struct bluez_link *link);
void write_drop_all(struct bluez_link *link);
