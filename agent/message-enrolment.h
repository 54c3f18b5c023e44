/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The enrolment file: what the desk gives a new box so that it knows its city, as JSON text:
 *
 *   {"lockbridge-enrolment": 1, "gateway": "gw-17", "issued": 1790000000,
 *    "root_topic": "lockbridge", "root_key": PEM, "broker_ca": PEM, "certificate": PEM,
 *    "brokers": [{"host": "mqtt.city.example", "port": 8883}, ...],
 *    "locks": [{"id": "lock-1", "key": base64}, ...],
 *    "checksum": hex}
 *
 * checksum: SHA-256 over the same object without it, in compact form with sorted keys. It tells a
 * damaged file, not a forged one: the file brings the root key, so it must come by a way that nobody
 * else can write to, and its root's kid is to be compared with the desk's. It holds no secret.
 */
#include "link/config.h"

#define ENROLMENT_MAX (128 * 1024) /* bytes of the file */

struct enrolment {
	char gateway[ID_MAX + 1];
	uint64_t issued; /* by the desk's clock */
	char root_topic[64];
	char *root_key, *broker_ca, *certificate; /* PEM; owned, enrolment_deinit frees */
	struct {
		char host[256];
		int port; /* never 0 */
	} brokers[CONFIG_BROKERS];
	size_t nbrokers; /* at least 1 */
	struct {
		char id[ID_MAX + 1];
		uint8_t key[PUBLIC_LEN];
	} locks[CONFIG_LOCKS];
	size_t nlocks;
};

/* malloc'd text with a line break at its end; NULL: out of memory. */
char *enrolment_encode(const struct enrolment *enrolment);
/* 0, -EINVAL (no enrolment file), -EBADMSG (damaged: the checksum differs), -EOPNOTSUPP (of a later
 * version) or -ENOMEM. error: what is wrong and what to do, filled on failure. Shape only: PEM is not
 * looked into. */
int enrolment_parse(struct span text, struct enrolment *ret, char *error, size_t error_cap);
void enrolment_deinit(struct enrolment *enrolment);
