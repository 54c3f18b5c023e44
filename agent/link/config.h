/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * lockbridge.conf, by libconfig; config/lockbridge.conf.example names every setting. Every error
 * names file, line and setting, and what to do. A setting that is not known is an error (a typing
 * mistake must not become a default), and so is @include: one file, one truth.
 */
#include "core/token.h"

#define CONFIG_BROKERS	8
#define CONFIG_LOCKS	64
#define CONFIG_TEXT_MAX (256 * 1024)

struct config_broker {
	char host[256];
	int port; /* never 0: 8883 with ca, 1883 without */
	/* Paths; ca "": no TLS. key and password_file may be a NAME without a slash, a credential of
	 * the service: config_load makes a path of it, config_parse leaves it. */
	char ca[256], certificate[256], key[256];
	char username[65], password_file[256]; /* "": none */
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
	char root_key_file[256];
	uint8_t root_key[PUBLIC_LEN]; /* from root_key_file, PEM; config_load only */
	char state_dir[256];
	uint64_t enrolled; /* seconds since 1970: a floor for the clock; 0: none */
	struct config_broker brokers[CONFIG_BROKERS]; /* in order of preference */
	size_t nbrokers;			      /* at least 1 */
	struct config_lock locks[CONFIG_LOCKS];
	size_t nlocks;
	char adapter[16]; /* "hci0"; "": the first */
	bool stop_scan_to_connect;
	int links_max;
	uint64_t event_keep_s, event_bytes_max;
	int health_s;			    /* seconds between health messages, 60 */
	int silent_s;			    /* without any advert, before the radio is helped: 90 */
	int linger_s;			    /* how long an idle link to a lock is kept: 2 */
	int backoff_min_ms, backoff_max_ms; /* of broker connects: 1000, 60000 */
	int preferred_retry_s;		    /* on a less preferred broker: 900 */
	char log_level[8];		    /* error, warning, notice, info, debug */
};

/* Reads the file, and checks that the files it names can be read. 0 or -errno (-EINVAL: what it
 * says; else what the disk said). error: one line "FILE:LINE: SETTING: what is wrong; what to do",
 * always filled on failure. ret is written only on success; all of it, so that two can be compared
 * with memcmp. */
int config_load(const char *path, struct config *ret, char *error, size_t error_cap);
/* The text alone: touches no file, root_key stays zero. name stands for the file in errors. */
int config_parse(const char *name, struct span text, struct config *ret, char *error,
		 size_t error_cap);

/* The path of a credential of the service: in $CREDENTIALS_DIRECTORY; where that is not set (a check
 * by hand), beside the configuration file. 0 or -ENAMETOOLONG. */
int config_credential(const char *config_path, const char *name, char ret[static 256]);

/* --- writing; libconfig's syntax, by scanners of our own, so that remarks and order stay --- */

/* What holds where nothing is set. */
void config_defaults(struct config *ret);
/* A whole lockbridge.conf with short remarks for whoever opens it; what is as it would be without a
 * setting is left out, and so is root_key. config_parse gives the same back. malloc'd, NULL: out of
 * memory. */
char *config_encode(const struct config *config);
/* text with the lock added behind the others, or without the lock, and nothing else changed. The result
 * has been parsed, and holds what was meant. 0; -EEXIST (id or key is there already), -ENOENT (no
 * such lock), -EINVAL (text is refused, or written in a way that only a person can change) or
 * -ENOMEM, with words as in config_parse. ret: malloc'd. */
int config_add_lock(const char *name, struct span text, const struct config_lock *lock, char **ret,
		    char *error, size_t error_cap);
int config_remove_lock(const char *name, struct span text, const char *lock, char **ret,
		       char *error, size_t error_cap);
