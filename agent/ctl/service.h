/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* lockbridge.service as systemd sees it, and the agent in it: looked at over D-Bus, ordered about by
 * systemctl. */
#include "ctl/ctl.h"

#define SERVICE "lockbridge.service"

struct service {
	bool bus;     /* the bus answered; else the rest is empty */
	bool systemd; /* so did systemd */
	char load[32], active[32], sub[32], result[48], enabled[32];
	char text[600];		  /* what the service said of itself: STATUS= */
	bool agent;		  /* the agent is on the bus */
	char error[128];	  /* its D-Bus error otherwise */
	bool connected;		  /* to the broker */
	char host[256], why[256]; /* which; or why not */
	size_t problems;
};

/* Asks, and waits for the answers: at most some 5 s. */
void service_look(const struct ctl *ctl, struct service *ret);
/* Is systemd in charge of this machine? */
bool service_manager_runs(void);
/* systemctl WORDS, NULL at the end; its exit status, or -errno. It says itself what goes wrong. */
int service_control(const char *const *words);
/* It does not run, or not as it should: cause and next step in words. */
void service_explain(const struct service *service, char cause[static 900], char next[static 400]);
