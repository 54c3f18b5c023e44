/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connector thread. All that may block is here: reading the TLS and password files, the
 * resolver, connect(2). The TLS handshake itself comes later, in the loop, on a socket that does
 * not block.
 *
 * Who owns a dial is one atomic: RUNNING -> DONE by the thread, RUNNING -> ORPHAN by dial_freep();
 * whoever comes second frees it. A thread in DONE is in its last instructions, so that joining it
 * is short.
 */
#include "link/mqtt-dial.h"

#include <errno.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "link/mqtt-words.h"

#define STACK_SIZE   (512u * 1024)
#define PASSWORD_MAX 1024

enum { IDLE, RUNNING, DONE, ORPHAN };

struct dial {
	_Atomic int state;
	pthread_t thread;
	bool joined;
	int event_fd;
	struct mosquitto *mosq;
	mosquitto_property *properties;
	void *user;
	int keepalive;
	uint16_t port;
	char *host, *ca_file, *cert_file, *key_file, *login, *password_file;

	/* Written by the thread until DONE, by the loop after. */
	int rc;
	bool reached, heard;
	const char *reason;
	char complaint[400];
};

static void dial_destroy(struct dial *d)
{
	if (d->mosq)
		mosquitto_destroy(d->mosq);
	mosquitto_property_free_all(&d->properties);
	if (d->event_fd >= 0)
		close(d->event_fd);
	free(d->host);
	free(d->ca_file);
	free(d->cert_file);
	free(d->key_file);
	free(d->login);
	free(d->password_file);
	free(d);
}

/* Called by whoever has the handle. What does not fit is the consequence of what came first. */
static void on_log(struct mosquitto *mosq, void *object, int level, const char *text)
{
	struct dial *d = object;
	size_t used = strlen(d->complaint);

	if (level == MOSQ_LOG_DEBUG && strstr(text, " received "))
		d->heard = true;
	if (level == MOSQ_LOG_ERR)
		snprintf(d->complaint + used, sizeof(d->complaint) - used, "%s\n", text);
}

/* Without this OpenSSL would ask for a passphrase on the terminal, and wait. */
static int on_passphrase(char *buf, int size, int rwflag, void *object)
{
	return 0;
}

static int read_password(const char *path, char *password, size_t size)
{
	FILE *f = fopen(path, "re");
	bool ok;

	if (!f)
		return -errno;
	ok = fgets(password, (int)size, f) != NULL;
	fclose(f);
	if (!ok)
		return -ENODATA;
	password[strcspn(password, "\r\n")] = '\0';
	return 0;
}

static int set_login(struct dial *d)
{
	char password[PASSWORD_MAX] = "";
	int r;

	if (d->password_file && read_password(d->password_file, password, sizeof(password)) < 0) {
		d->reason = "password file cannot be read";
		return MOSQ_ERR_INVAL;
	}
	r = mosquitto_username_pw_set(d->mosq, d->login, d->password_file ? password : NULL);
	explicit_bzero(password, sizeof(password));
	return r;
}

static int set_tls(struct dial *d)
{
	if (access(d->ca_file, R_OK) < 0)
		d->reason = "CA file cannot be read";
	else if (d->cert_file && access(d->cert_file, R_OK) < 0)
		d->reason = "certificate file cannot be read";
	else if (d->key_file && access(d->key_file, R_OK) < 0)
		d->reason = "key file cannot be read";
	if (d->reason)
		return MOSQ_ERR_TLS;
	return mosquitto_tls_set(d->mosq, d->ca_file, NULL, d->cert_file, d->key_file,
				 on_passphrase);
}

static int connect_blocking(struct dial *d)
{
	int rc = MOSQ_ERR_SUCCESS;

	if (d->ca_file)
		rc = set_tls(d);
	if (!rc && d->login)
		rc = set_login(d);
	if (rc) {
		if (!d->reason)
			d->reason = "TLS files or user name not usable";
		d->reached = true;
		return rc;
	}
	errno = 0;
	rc = mosquitto_connect_bind_v5(d->mosq, d->host, d->port, d->keepalive, NULL,
				       d->properties);
	d->reached = mqtt_words_reached(rc, errno);
	if (rc)
		d->reason = mqtt_words_error(rc, errno, d->complaint);
	return rc;
}

static void *thread_main(void *arg)
{
	struct dial *d = arg;
	int expected = RUNNING;

	d->rc = connect_blocking(d);
	if (!atomic_compare_exchange_strong(&d->state, &expected, DONE)) {
		dial_destroy(d);
		return NULL;
	}
	/* Whoever frees the dial now joins this thread first: the eventfd is still there. */
	if (eventfd_write(d->event_fd, 1) < 0)
		abort();
	return NULL;
}

static int copy_string(const char *from, char **ret)
{
	*ret = from ? strdup(from) : NULL;
	return from && !*ret ? -ENOMEM : 0;
}

static int copy_broker(struct dial *d, const struct mqtt_broker *b)
{
	if (copy_string(b->host, &d->host) < 0 || copy_string(b->ca_file, &d->ca_file) < 0 ||
	    copy_string(b->cert_file, &d->cert_file) < 0 ||
	    copy_string(b->key_file, &d->key_file) < 0 || copy_string(b->user, &d->login) < 0 ||
	    copy_string(b->password_file, &d->password_file) < 0)
		return -ENOMEM;
	d->port = b->port;
	return 0;
}

static int set_up_handle(struct dial *d, const struct mqtt_options *o)
{
	const struct mqtt_publish *will = o->will;
	int rc;

	d->mosq = mosquitto_new(o->client_id, o->clean_start, d);
	if (!d->mosq)
		return -errno;
	mosquitto_log_callback_set(d->mosq, on_log);
	rc = mosquitto_int_option(d->mosq, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5) ||
	     mosquitto_int_option(d->mosq, MOSQ_OPT_RECEIVE_MAXIMUM, o->receive_maximum) ||
	     mosquitto_int_option(d->mosq, MOSQ_OPT_TCP_NODELAY, 1) ||
	     mosquitto_property_add_int32(&d->properties, MQTT_PROP_SESSION_EXPIRY_INTERVAL,
					  o->session_expiry_s) ||
	     mosquitto_property_add_int16(&d->properties, MQTT_PROP_RECEIVE_MAXIMUM,
					  o->receive_maximum) ||
	     /* The library allocates what a header declares. Leave room, so that too large a
	      * message is reported rather than dropped by the broker in silence. */
	     mosquitto_property_add_int32(&d->properties, MQTT_PROP_MAXIMUM_PACKET_SIZE,
					  (uint32_t)DIAL_PACKET_MAX(o));
	if (!rc && will)
		rc = mosquitto_will_set_v5(d->mosq, will->topic, (int)will->payload.len,
					   will->payload.data, will->qos, will->retain, NULL);
	return rc ? -EINVAL : 0;
}

static int fill(struct dial *d, const struct mqtt_options *options,
		const struct mqtt_broker *broker)
{
	int r;

	d->keepalive = (int)options->keepalive_s;
	d->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->event_fd < 0)
		return -errno;
	r = copy_broker(d, broker);
	if (r < 0)
		return r;
	return set_up_handle(d, options);
}

int dial_new(const struct mqtt_options *options, const struct mqtt_broker *broker, void *user,
	     struct dial **ret)
{
	struct dial *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->user = user;
	r = fill(d, options, broker);
	if (r < 0) {
		dial_destroy(d);
		return r;
	}
	*ret = d;
	return 0;
}

int dial_start(struct dial *d)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int r;

	r = pthread_attr_init(&attr);
	if (r)
		return -r;
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	atomic_store(&d->state, RUNNING);
	r = pthread_create(&d->thread, &attr, thread_main, d);
	if (r)
		atomic_store(&d->state, IDLE);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

static void join_once(struct dial *d)
{
	if (!d->joined)
		pthread_join(d->thread, NULL);
	d->joined = true;
}

void dial_freep(struct dial **dp)
{
	struct dial *d = steal(*dp);
	int expected = RUNNING;
	pthread_t thread;

	if (!d)
		return;
	thread = d->thread;
	if (atomic_compare_exchange_strong(&d->state, &expected, ORPHAN)) {
		pthread_detach(thread);
		return;
	}
	if (expected == DONE)
		join_once(d);
	dial_destroy(d);
}

int dial_event_fd(const struct dial *d)
{
	return d->event_fd;
}

int dial_result(struct dial *d, const char **reason)
{
	join_once(d);
	*reason = d->reason;
	return d->rc;
}

bool dial_reached(const struct dial *d)
{
	return d->reached;
}

bool dial_heard(struct dial *d)
{
	bool heard = d->heard;

	d->heard = false;
	return heard;
}

struct mosquitto *dial_handle(struct dial *d)
{
	return d->mosq;
}

void *dial_user(struct dial *d)
{
	return d->user;
}

const char *dial_complaint(const struct dial *d)
{
	return d->complaint;
}
