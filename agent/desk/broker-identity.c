// SPDX-License-Identifier: Apache-2.0
/* The desk's own certificate. See broker-identity.h. */
#include "desk/broker-identity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "link/file.h"

#define LIFETIME_S (3653ULL * 86400)
#define RENEW_S	   (90ULL * 86400)

enum { KEY, CERTIFICATE, AUTHORITY, FILES, GATEWAYS = FILES, PATHS };

static const char *const names[PATHS] = {"keys/desk.key", "desk.pem", "desk-ca.pem", "ca.pem"};

struct identity {
	char *path[PATHS], *pem[FILES];
};

static void identity_deinit(struct identity *id)
{
	for (size_t i = 0; i < PATHS; i++)
		free(id->path[i]);
	for (size_t i = 0; i < FILES; i++)
		x509_wipe(&id->pem[i]);
}

static int identity_init(const struct desk *desk, struct identity *ret)
{
	*ret = (struct identity){0};
	for (size_t i = 0; i < PATHS; i++)
		if (asprintf(&ret->path[i], "%s/%s", desk->dir, names[i]) < 0) {
			ret->path[i] = NULL;
			return -ENOMEM;
		}
	return 0;
}

/* 1: all is there, fits, and lasts. 0: make it. */
static int read_all(struct identity *id, uint64_t now)
{
	struct x509_facts facts;
	size_t len;
	int r = 0;

	for (size_t i = 0; i < FILES; i++) {
		id->pem[i] = calloc(1, X509_PEM_MAX + 1);
		if (!id->pem[i])
			return -ENOMEM;
		if (r == 0)
			r = file_read(id->path[i], id->pem[i], X509_PEM_MAX, &len);
	}
	if (r == 0)
		r = x509_key_fits(span_str(id->pem[KEY]), span_str(id->pem[CERTIFICATE]));
	if (r == 0)
		r = x509_issued_by(span_str(id->pem[CERTIFICATE]), span_str(id->pem[AUTHORITY]));
	if (r == 0)
		r = x509_certificate_read(span_str(id->pem[CERTIFICATE]), &facts);
	return r == 0 && now + RENEW_S < facts.not_after;
}

static int make_all(struct identity *id, uint64_t now)
{
	const struct x509_term term = {now - 86400, now + LIFETIME_S};
	cleanup(x509_wipe) char *request = NULL;
	cleanup(x509_wipe) char *signer = NULL;
	struct x509_authority by;
	int r;

	for (size_t i = 0; i < FILES; i++)
		x509_wipe(&id->pem[i]);
	r = x509_authority_create("lockbridge desk", &term, &signer, &id->pem[AUTHORITY]);
	if (r == 0)
		r = x509_key_create(&id->pem[KEY]);
	if (r == 0)
		r = x509_request_create(span_str(id->pem[KEY]), BROKER_IDENTITY_NAME, &request);
	if (r != 0)
		return r;
	by = (struct x509_authority){span_str(signer), span_str(id->pem[AUTHORITY])};
	return x509_issue(&by, span_str(request), X509_CLIENT, NULL, &term, &id->pem[CERTIFICATE]);
}

int broker_identity(const struct desk *desk, uint64_t now, char **ret_authority,
		    char error[static AUTHORITY_ERROR_CAP])
{
	cleanup(identity_deinit) struct identity id;
	int r = identity_init(desk, &id);

	if (r == 0)
		r = read_all(&id, now);
	if (r < 0)
		return r;
	if (r == 0) {
		r = make_all(&id, now);
		for (size_t i = 0; r == 0 && i < FILES; i++) {
			r = file_write(id.path[i], span_str(id.pem[i]), i == KEY ? 0600 : 0644);
			if (r < 0)
				snprintf(error, AUTHORITY_ERROR_CAP, "%s: %s", id.path[i],
					 strerror(-r));
		}
	}
	if (r < 0)
		return r;
	*ret_authority = steal(id.pem[AUTHORITY]);
	return 0;
}

/* --- used ------------------------------------------------------------------------------------- */

static bool among(const char *hosts, const char *host)
{
	size_t len = strlen(host);

	while (hosts && *hosts) {
		size_t next = strcspn(hosts, ",");

		if (next == len && !memcmp(hosts, host, len))
			return true;
		hosts += next + (hosts[next] != '\0');
	}
	return false;
}

static int use_one(const struct desk *desk, struct brokers *brokers, size_t i, const char *hosts)
{
	const struct mqtt_broker *b = &brokers->list[i];
	cleanup(identity_deinit) struct identity id = {0};
	bool ours = !b->ca_file && among(hosts, b->host);
	const char *complaint = NULL;
	int r;

	if (b->cert_file || b->user || (!b->ca_file && !ours))
		return 0;
	r = identity_init(desk, &id);
	if (r < 0)
		return r;
	if (ours)
		complaint = brokers_set(brokers, i, "ca", id.path[GATEWAYS]);
	if (!complaint)
		complaint = brokers_set(brokers, i, "cert", id.path[CERTIFICATE]);
	if (!complaint)
		complaint = brokers_set(brokers, i, "key", id.path[KEY]);
	return complaint ? -EINVAL : 1;
}

int broker_identity_use(const struct desk *desk, const char *hosts)
{
	cleanup(freep) struct brokers *brokers = malloc(sizeof(*brokers));
	int r = brokers ? brokers_load(desk->db, brokers) : -ENOMEM, n = 0;

	if (r == -ENOENT)
		return 0;
	for (size_t i = 0; r >= 0 && i < brokers->n; i++) {
		r = use_one(desk, brokers, i, hosts);
		n += r > 0;
	}
	if (r >= 0 && n > 0)
		r = brokers_save(desk->db, brokers);
	return r < 0 ? r : n;
}
