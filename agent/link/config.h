/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * lockbridge.conf, by libconfig. Every error names file, line and setting, and what to do.
 * A setting that is not known is an error (a typing mistake must not become a default).
 */
#include "core/token.h"

#define CONFIG_BROKERS 8
#define CONFIG_LOCKS   64

struct config_broker {
	char host[256];
	int port;
	char ca[256], certificate[256], key[256]; /* paths; ca "": no TLS */
	char username[65], password_file[256];
};

struct config_lock {
	char id[ID_MAX + 1];
	uint8_t key[PUBLIC_LEN];
	char address[18]; /* Bluetooth address "AA:BB:.."; "": any that shows this key in info */
	char driver[16];  /* "open" */
};

struct config {
	char gateway[ID_MAX + 1];
	char root_topic[64];
	uint8_t root_key[PUBLIC_LEN]; /* from root_key_file, PEM */
	char state_dir[256];
	uint64_t enrolled; /* seconds since 1970: a floor for the clock; 0: none */
	struct config_broker brokers[CONFIG_BROKERS];
	size_t nbrokers;
	struct config_lock locks[CONFIG_LOCKS];
	size_t nlocks;
	char adapter[16]; /* "hci0"; "": the first */
	bool stop_scan_to_connect;
	int links_max;
	uint64_t event_keep_s, event_bytes_max;
	int health_s;			    /* seconds between health messages, 60 */
	int linger_s;			    /* how long an idle link to a lock is kept: 2 */
	int backoff_min_ms, backoff_max_ms; /* of broker connects: 1000, 60000 */
	char log_level[8];
};

/* 0 or -errno; error: one line "FILE:LINE: SETTING: what is wrong; what to do", always filled on
 * failure. */
int config_load(const char *path, struct config *ret, char *error, size_t error_cap);
