// SPDX-License-Identifier: Apache-2.0
/* Enrolment and renewal. See enrol.h; broker-files.h is what brokers learn of it. */
#include "desk/enrol.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/pem.h"
#include "desk/broker-files.h"
#include "desk/brokers.h"
#include "desk/fleet.h"
#include "desk/keyring.h"
#include "desk/receipts.h"
#include "desk/registry.h"
#include "link/file.h"
#include "message-enrolment.h"

#define NEW_KEY "move /etc/lockbridge/gateway.key away, then lockbridgectl request %s"

static int refuse(char error[static ENROL_ERROR_CAP], const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static int refuse(char error[static ENROL_ERROR_CAP], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, ENROL_ERROR_CAP, format, args);
	va_end(args);
	return DESK_REFUSED;
}

void enrolment_answer_deinit(struct enrolment_answer *answer)
{
	free(answer->text);
	certificate_deinit(&answer->certificate);
}

/* --- the brokers ------------------------------------------------------------------------------ */

static int append_ca(struct enrolment *e, const char *path, char error[static ENROL_ERROR_CAP])
{
	char pem[X509_PEM_MAX];
	cleanup(freep) char *certificates = NULL;
	char *both;
	size_t len;
	int r = file_read(path, pem, sizeof(pem), &len);

	if (r < 0)
		return refuse(error, "--ca %s: %s", path, strerror(-r));
	r = x509_certificates_copy(span_of(pem, len), &certificates);
	if (r == -ENOMEM)
		return r;
	if (r < 0)
		return refuse(error, "--ca %s: no certificate in PEM", path);
	if (e->broker_ca && strstr(e->broker_ca, certificates))
		return 0;
	if (asprintf(&both, "%s%s", e->broker_ca ? e->broker_ca : "", certificates) < 0)
		return -ENOMEM;
	free(e->broker_ca);
	e->broker_ca = both;
	return strlen(both) <= X509_PEM_MAX
		       ? 0
		       : refuse(error,
				"the brokers' CA certificates are longer than %d bytes "
				"together: leave out what gateways do not need",
				X509_PEM_MAX);
}

static int add_broker(struct enrolment *e, const struct brokers *brokers, size_t i,
		      char error[static ENROL_ERROR_CAP])
{
	const struct mqtt_broker *b = &brokers->list[i];
	struct brokers_place place = brokers_public(brokers, i);

	if (!b->ca_file)
		return refuse(error,
			      "broker %s has no --ca, and gateways are enrolled over TLS "
			      "only: 'config set --broker %s --ca FILE', or let 'broker "
			      "files --host' make its certificate",
			      b->host, b->host);
	snprintf(e->brokers[e->nbrokers].host, sizeof(e->brokers[0].host), "%s", place.host);
	e->brokers[e->nbrokers++].port = place.port;
	return append_ca(e, b->ca_file, error);
}

/* The one of a district, by where gateways find it. -ENOENT. */
static int find_broker(const struct brokers *brokers, const char *text, size_t *ret)
{
	for (size_t i = 0; i < brokers->n; i++) {
		struct brokers_place place = brokers_public(brokers, i);
		char full[BROKER_TEXT_CAP + 8];

		snprintf(full, sizeof(full), strchr(place.host, ':') ? "[%s]:%u" : "%s:%u",
			 place.host, place.port);
		if (strcmp(text, place.host) != 0 && strcmp(text, full) != 0)
			continue;
		*ret = i;
		return 0;
	}
	return -ENOENT;
}

/* The gateway's own broker first, then the set in its order: where it goes when that is away. */
static int fill_brokers(const struct desk *desk, const struct enrolment_order *o,
			struct enrolment *e, char error[static ENROL_ERROR_CAP])
{
	cleanup(freep) struct brokers *brokers = malloc(sizeof(*brokers));
	int r = brokers ? brokers_load(desk->db, brokers) : -ENOMEM;
	size_t first = 0;

	if (r == -ENOENT)
		return refuse(error, "no broker is set: 'config set --broker'");
	if (r == 0 && o->broker && find_broker(brokers, o->broker, &first) < 0)
		return refuse(error,
			      "no broker %s is in the set: 'config show' names them, as gateways "
			      "find them",
			      o->broker);
	if (r == 0)
		r = add_broker(e, brokers, first, error);
	for (size_t i = 0; r == 0 && i < brokers->n; i++)
		if (i != first)
			r = add_broker(e, brokers, i, error);
	return r;
}

/* --- the rest of the file --------------------------------------------------------------------- */

struct filling {
	struct enrolment *e;
	struct db *db;
};

static int add_lock(const struct lock_row *lock, void *user)
{
	const struct filling *filling = user;
	struct enrolment *e = filling->e;
	bool served = false;
	int r = receipt_released(filling->db, lock->id);

	if (r != 0) /* one that was let go is nobody's */
		return r < 0 ? r : 0;

	for (size_t i = 0; i < lock->ngateways; i++)
		served |= !strcmp(lock->gateways[i], e->gateway);
	if (!served)
		return 0;
	if (e->nlocks == ARRAY_SIZE(e->locks))
		return -E2BIG;
	snprintf(e->locks[e->nlocks].id, sizeof(e->locks[0].id), "%s", lock->id);
	memcpy(e->locks[e->nlocks++].key, lock->pub, PUBLIC_LEN);
	return 0;
}

static int fill_root(const struct desk *desk, struct enrolment *e)
{
	char pem[PEM_PUBLIC_CAP];
	struct key root;
	int r = keyring_public(desk->db, ROLE_ROOT, &root);

	if (r == 0)
		r = pem_encode_public(root.pub, pem);
	if (r < 0)
		return r;
	e->root_key = strdup(pem);
	return e->root_key ? 0 : -ENOMEM;
}

static int write_text(const struct desk *desk, const struct enrolment_order *o,
		      const char *certificate, char **ret, char error[static ENROL_ERROR_CAP])
{
	cleanup(enrolment_deinit) struct enrolment e = {.issued = o->now};
	struct filling filling = {&e, desk->db};
	int r;

	snprintf(e.gateway, sizeof(e.gateway), "%s", o->gateway);
	if (setting_get(desk->db, "root-topic", e.root_topic, sizeof(e.root_topic)) < 0)
		snprintf(e.root_topic, sizeof(e.root_topic), "lockbridge");
	e.certificate = strdup(certificate);
	if (!e.certificate)
		return -ENOMEM;
	r = fill_brokers(desk, o, &e, error);
	if (r == 0)
		r = fill_root(desk, &e);
	if (r == 0)
		r = lock_each(desk->db, add_lock, &filling);
	if (r == -E2BIG)
		return refuse(error, "gateway %s has more than %zu locks", o->gateway,
			      ARRAY_SIZE(e.locks));
	if (r != 0)
		return r;
	*ret = enrolment_encode(&e);
	return *ret ? 0 : -ENOMEM;
}

/* --- whose request it is ---------------------------------------------------------------------- */

static int read_request(const struct enrolment_order *o, struct x509_facts *ret,
			char error[static ENROL_ERROR_CAP])
{
	int r = x509_request_read(o->request, ret);

	if (r == -EBADMSG)
		return refuse(error,
			      "the request is damaged or forged: its signature is not by the "
			      "key in it; make it anew on the box (lockbridgectl request %s)",
			      o->gateway);
	if (r == -EINVAL)
		return refuse(error,
			      "that is no certificate request in PEM with a P-256 key and one "
			      "name; make it on the box: lockbridgectl request %s",
			      o->gateway);
	if (r == 0 && strcmp(ret->name, o->gateway) != 0)
		return refuse(error,
			      "the request is of %s, not of %s: is it the file of another box?",
			      ret->name, o->gateway);
	return r;
}

static int check_key(const struct desk *desk, const struct enrolment_order *o,
		     const struct enrolled *before, const uint8_t key[static SHA256_LEN],
		     char error[static ENROL_ERROR_CAP])
{
	char whose[ID_MAX + 1];
	int use = enrolled_key_use(desk->db, o->gateway, key, whose);

	if (use < 0)
		return use;
	switch ((enum key_use)use) {
	case KEY_OWN:
		return 0;
	case KEY_OTHER:
		return refuse(error,
			      "that key is gateway %s's: was a box copied? Make a key of its "
			      "own on this one: " NEW_KEY,
			      whose, o->gateway);
	case KEY_GIVEN_UP:
		return refuse(
			error,
			"that key was revoked or replaced, and is not taken again; make a new "
			"one on the box: " NEW_KEY,
			o->gateway);
	case KEY_FREE:
		break;
	}
	if (before->has_key && !o->replace)
		return refuse(error,
			      "gateway %s %s with another key. For a new box, or a new key in the "
			      "old one: --replace; the old key's certificates are revoked then",
			      o->gateway,
			      before->revoked ? "was revoked, and had been enrolled"
					      : "is enrolled already");
	return 0;
}

/* --- enrolling -------------------------------------------------------------------------------- */

/* The gateway, known from here on, with this key. */
static int take_key(const struct desk *desk, const struct enrolment_order *o,
		    const struct x509_facts *facts, struct enrolment_answer *ret,
		    char error[static ENROL_ERROR_CAP])
{
	struct enrolled before = {0};
	int r = enrolled_find(desk->db, o->gateway, &before);

	if (r == -ENOENT) {
		ret->added = true;
		r = gateway_add(desk->db, o->gateway, o->now);
	}
	if (r == 0)
		r = check_key(desk, o, &before, facts->key, error);
	if (r != 0)
		return r;
	ret->replaced = before.has_key && memcmp(before.key, facts->key, SHA256_LEN) != 0;
	return enrolled_put(desk->db, o->gateway, facts->key, o->now);
}

int enrol(const struct desk *desk, const struct enrolment_order *order,
	  struct enrolment_answer *ret, char error[static ENROL_ERROR_CAP])
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	cleanup(authority_deinit) struct authority authority = {0};
	cleanup(enrolment_answer_deinit) struct enrolment_answer answer = {0};
	struct x509_facts facts;
	int r = read_request(order, &facts, error);

	if (r != 0)
		return r;
	r = db_begin(desk->db, &tx);
	if (r == 0)
		r = authority_load(desk, order->now, &authority, error);
	if (r == 0)
		r = take_key(desk, order, &facts, &answer, error);
	if (r == 0)
		r = authority_issue(desk, &authority, order->gateway, order->request, order->now,
				    &answer.certificate);
	if (r == -EKEYEXPIRED)
		return refuse(error, "the desk's own authority (ca.pem) has expired");
	if (r == 0)
		r = write_text(desk, order, answer.certificate.pem, &answer.text, error);
	if (r == 0)
		r = desk_log(desk, (struct act){.time = order->now,
						.act = answer.replaced ? "gateway.replace"
								       : "gateway.enrol",
						.gateway = order->gateway});
	if (r == 0)
		r = db_commit(&tx);
	if (r != 0)
		return r;
	*ret = answer;
	answer = (struct enrolment_answer){0};
	return DESK_DONE;
}

/* --- renewing --------------------------------------------------------------------------------- */

/* NULL: it gets a certificate. Else why not. */
static const char *fault(const struct desk *desk, const char *gateway, struct span request,
			 int *ret_error)
{
	struct x509_facts facts;
	struct enrolled known;
	int r = enrolled_find(desk->db, gateway, &known);

	*ret_error = r == -ENOENT ? 0 : r;
	if (r < 0)
		return "it is not in the registry";
	if (known.revoked)
		return "it was revoked";
	if (!known.has_key)
		return "it was never enrolled with a key";
	r = x509_request_read(request, &facts);
	if (r == -ENOMEM || r == -EIO)
		*ret_error = r;
	if (r < 0)
		return "its request is damaged, or not signed by the key in it";
	if (strcmp(facts.name, gateway) != 0)
		return "its request names another gateway";
	if (memcmp(facts.key, known.key, SHA256_LEN) != 0)
		return "its request is by another key than it enrolled with: was the box changed "
		       "without enrolling it?";
	return NULL;
}

static int issue(const struct desk *desk, const char *gateway, struct span request, uint64_t now,
		 struct certificate *ret)
{
	cleanup(db_rollbackp) struct db *tx = NULL;
	cleanup(authority_deinit) struct authority authority = {0};
	char error[AUTHORITY_ERROR_CAP] = "";
	int r = db_begin(desk->db, &tx);

	if (r == 0)
		r = certificate_newest(desk->db, gateway, ret);
	/* lost on its way, or asked twice: the same again */
	if (r == 0 && now < ret->issued + (ret->not_after - ret->issued) / 2)
		return 0;
	certificate_deinit(ret);
	if (r == 0 || r == -ENOENT)
		r = authority_load(desk, now, &authority, error);
	if (r == 0)
		r = authority_issue(desk, &authority, gateway, request, now, ret);
	if (r < 0) {
		const char *why = r == -EKEYEXPIRED ? "the desk's authority has expired"
				  : error[0]	    ? error
						    : strerror(-r);

		db_rollbackp(&tx);
		tx = NULL;
		alarm_raise(desk->db, now, "certificate-not-issued", gateway, "%s", why);
		return r;
	}
	return db_commit(&tx);
}

int enrol_renew(const struct desk *desk, struct session *session, const char *gateway,
		struct span request, uint64_t now)
{
	cleanup(certificate_deinit) struct certificate certificate = {0};
	int r;
	const char *why = fault(desk, gateway, request, &r);

	if (r < 0)
		return r;
	if (why) {
		r = alarm_raise(desk->db, now, "certificate-refused", gateway,
				"it asked for a certificate, and got none: %s", why);
		return r < 0 ? r : 0;
	}
	r = issue(desk, gateway, request, now, &certificate);
	if (r < 0)
		return r;
	return session_send_gateway(session, TOPIC_CERTIFICATE, gateway, span_str(certificate.pem));
}
