/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the city's brokers (mosquitto) need of the desk, as files in one folder:
 *
 *   ca.pem              who certifies gateways: cafile of their listener
 *   crl.pem             which certificates are revoked: crlfile of their listener
 *   acl                 who may say and hear what, with a deny rule per revoked gateway: acl_file
 *   desk-ca.pem         who certifies the desk, and nobody else: cafile of the desk's own listener
 *   server.pem .key     the broker's own certificate, if the desk was asked for one
 *
 * A broker takes a changed file into use when it is reloaded. It refuses every client once a
 * revocation list is past its nextUpdate, so that is the end of the authority's life.
 */
#include "desk/authority.h"

/* Sets the folder; NULL: the one set before. Writes what differs from what should be there, each
 * file at once. 1: something was changed, reload the broker; 0: nothing, or no folder is set. */
int broker_files_write(const struct desk *desk, const char *folder, uint64_t now,
		       char error[static AUTHORITY_ERROR_CAP]);
/* The same, for when something else was the purpose: an error becomes the alarm broker-files, and
 * *ret_words tells the operator what is left to do, "" for nothing. */
#define BROKER_FILES_WORDS_CAP (AUTHORITY_ERROR_CAP + 128)
int broker_files_update(const struct desk *desk, uint64_t now,
			char ret_words[static BROKER_FILES_WORDS_CAP]);
/* A new key and certificate of a broker; hosts: names and addresses, separated by commas. The key is
 * readable for the folder's group. -EINVAL: hosts. */
int broker_files_server(const struct desk *desk, const char *folder, const char *hosts,
			uint64_t now, char error[static AUTHORITY_ERROR_CAP]);
