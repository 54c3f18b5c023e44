/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Which gateway enrolled with which key, and every client certificate that was issued: what the
 * registry knows of them. Keys are fingerprints (SHA-256 of the SubjectPublicKeyInfo).
 */
#include "link/db.h"
#include "link/x509.h"

struct certificate {
	char serial[X509_SERIAL_CAP];
	uint64_t issued, not_after;
	char *pem; /* owned */
};
void certificate_deinit(struct certificate *certificate);

struct enrolled { /* a gateway */
	bool has_key;
	uint8_t key[SHA256_LEN];
	uint64_t revoked; /* when; 0: it is not */
};
int enrolled_find(struct db *db, const char *gateway, struct enrolled *ret); /* -ENOENT */

enum key_use {
	KEY_FREE,     /* nobody enrolled with it */
	KEY_OWN,      /* it is this gateway's */
	KEY_OTHER,    /* another gateway's: *ret_whose */
	KEY_GIVEN_UP, /* it was replaced, or its gateway revoked */
};
/* An enum key_use, or < 0. */
int enrolled_key_use(struct db *db, const char *gateway, const uint8_t key[static SHA256_LEN],
		     char ret_whose[static ID_MAX + 1]);
/* From now on the gateway's key is this one, and it is not revoked. Certificates of another key that
 * it had before are. */
int enrolled_put(struct db *db, const char *gateway, const uint8_t key[static SHA256_LEN],
		 uint64_t now);
/* The gateway and all its certificates. 1: it was revoked already. */
int enrolled_revoke(struct db *db, const char *gateway, uint64_t now);
int enrolled_each_revoked(struct db *db, int (*fn)(const char *gateway, void *user), void *user);

int certificate_add(struct db *db, const char *gateway, const struct x509_facts *facts,
		    const char *pem, uint64_t now);
/* The gateway's newest, of the key that it has now, not revoked. -ENOENT. */
int certificate_newest(struct db *db, const char *gateway, struct certificate *ret);
/* Those revoked that have not expired, by serial; certificates_free. */
int certificates_revoked(struct db *db, uint64_t now, struct x509_revoked **ret, size_t *ret_n);
void certificates_free(struct x509_revoked **list);
/* A revocation list names this one: 1 if the registry did not know it. A gateway whose present key
 * it certifies is revoked with it; ret_gateway tells which, "" if none. */
int certificate_note_revoked(struct db *db, const struct x509_revoked *revoked, uint64_t until,
			     char ret_gateway[static ID_MAX + 1]);

/* Raises the alarms certificate-expiring and certificate-expired, once per certificate. */
#define CERTIFICATE_WARN_S (14 * 86400) /* before its end; of a short life its last quarter */
int certificates_watch(struct db *db, uint64_t now);
