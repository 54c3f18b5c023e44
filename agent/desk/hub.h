/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The desk at work on its brokers, shared by `serve` and the commands that wait for the fleet: what
 * is due is signed, brokers and gateways that are behind are sent what they lack, gaps in event
 * streams are asked for, events and receipts are filed.
 *
 * With a client id it is `serve`'s. Without, and while another process serves, it only looks on: it signs,
 * publishes and follows, and leaves filing, pushing and asking to that one.
 *
 * Nothing is signed before the brokers' retained messages have come, nor while the survey objects.
 */
#include "desk/filing.h"
#include "desk/presence.h"
#include "desk/survey.h"

struct hub;

struct hub_gateway {
	char id[ID_MAX + 1];
	struct presence heard;
	char presence[8];	     /* what comes of it; "" unknown */
	struct message_state *state; /* owned; NULL: none yet */
	/* pushing and asking, with growing pauses */
	uint64_t pushed, push_pause, asked;
	uint8_t pushed_digest[DIGEST_LEN]; /* of all that it was sent: something new, no pause */
	uint64_t behind_since;
	uint64_t asked_blindly;	    /* when; 0: not yet */
	bool looked_up, spoke_once; /* a state of it is on file */
};

struct hub_ops { /* any may be NULL */
	void (*gateway)(const struct hub_gateway *gateway, void *user);
	void (*lock)(const char *gateway, const char *lock, const struct message_lock *state,
		     void *user);
	void (*filed)(const char *gateway, const struct filed *filed, void *user);
	/* A gateway, of the fleet or not, asks for its next certificate. With this op the hub
	 * listens for that. */
	void (*request)(const char *gateway, struct span request, void *user);
	/* After each round of work, once a second and whenever something came to settle. */
	void (*worked)(bool settled, void *user);
	/* For people; the same is said once. */
	void (*trouble)(const char *words, void *user);
};

int hub_new(sd_event *event, const struct desk *desk, const struct session_options *options,
	    const struct hub_ops *ops, void *user, struct hub **ret);
void hub_free(struct hub *hub);
void hub_freep(struct hub **hub);
int hub_start(struct hub *hub);
/* Files what is pending and says goodbye. Not from an op. */
void hub_close(struct hub **hub);
/* Work now, without waiting for the second. */
void hub_work(struct hub *hub);

/* Commits what is being filed: before a transaction that must be on disk when it returns. */
int hub_flush(struct hub *hub);

struct session *hub_session(struct hub *hub);
const struct current *hub_current(const struct hub *hub);
/* All gateways of the registry, by id. */
size_t hub_gateways(const struct hub *hub, const struct hub_gateway **ret);
/* The registry was signed up to date after the brokers had settled. */
bool hub_signed(const struct hub *hub);
const char *hub_trouble(const struct hub *hub);
