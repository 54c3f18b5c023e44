/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmosquitto with an external loop. The library closes its socket whenever it likes, so that the
 * loop watches a copy of the descriptor. It writes at once where it may, and queues inside its own
 * callbacks: after every call into it, EPOLLOUT is set anew. Level-triggered, because the library
 * stops reading after a few packets.
 */
#include "link/mqtt-conn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "link/mqtt-dial.h"
#include "link/mqtt-guard.h"
#include "link/mqtt-publish.h"
#include "link/mqtt-words.h"

#define TICK_USEC	   1000000u
#define TICK_ACCURACY_USEC 250000u
#define HANGUPS_MAX	   32
#define RECEIVE_BUFFER	   (64 * 1024)
#define TLS_MARGIN	   (64u * 1024) /* records, and what OpenSSL reads ahead */

enum state {
	DIALING, /* the thread has the handle */
	HELLO,	 /* connected; TLS handshake and CONNACK to come */
	UP,
	CLOSING, /* DISCONNECT on its way */
	DEAD,
};

struct conn {
	enum state state;
	size_t broker;
	const struct conn_ops *ops;
	void *user;
	struct dial *dial;
	sd_event *event;
	sd_event_source *dialed, *io, *deadline, *tick, *kick;
	unsigned hangups;
	bool blocked; /* the socket takes no more for now */
	bool connack; /* seen, not yet told */
	bool session_present;
	bool gone; /* on_disconnect was called */
	int error; /* of the last failed call, enum mosq_err_t; 0: none */
	const char *reason;
	uint64_t bytes_in, bytes_out;
	uint64_t began;
	uint32_t takes;			/* the largest packet that the broker takes; 0: any */
	uint64_t packet_max, read_mark; /* bytes; taken from the socket before this packet */
	bool reached;
};

static void die(struct conn *c, const char *reason);

static struct mosquitto *handle(const struct conn *c)
{
	return dial_handle(c->dial);
}

static uint64_t boottime(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void drop_source(sd_event_source **source)
{
	*source = sd_event_source_disable_unref(*source);
}

/* Tells of a CONNACK once the library is through with it, and before any message. */
static void announce(struct conn *c)
{
	if (!c->connack || c->state != HELLO)
		return;
	c->connack = false;
	c->state = UP;
	drop_source(&c->deadline);
	c->ops->up(c, c->session_present, c->user);
}

static int rearm(struct conn *c)
{
	uint32_t events = EPOLLIN | (mosquitto_want_write(handle(c)) ? EPOLLOUT : 0);

	return sd_event_source_set_io_events(c->io, events);
}

/* After each call into the library from the loop: tell, re-arm, or notice the end. */
static void settle(struct conn *c)
{
	if (c->state == DIALING || c->state == DEAD)
		return;
	if (!c->gone && !c->error) {
		announce(c);
		if (c->state == DEAD)
			return;
		if (c->io && mosquitto_socket(handle(c)) >= 0 && rearm(c) >= 0)
			return;
	}
	if (!c->reason)
		c->reason = mqtt_words_error(c->error, 0, dial_complaint(c->dial));
	die(c, c->reason);
}

/* The same after a call that came from above: `down` must not come from inside it. */
static void settle_later(struct conn *c)
{
	if (c->state == DIALING || c->state == DEAD)
		return;
	if (c->gone || c->error || mosquitto_socket(handle(c)) < 0 || rearm(c) < 0)
		sd_event_source_set_enabled(c->kick, SD_EVENT_ONESHOT);
}

static int on_kick(sd_event_source *source, void *user)
{
	settle(user);
	return 0;
}

static bool taken(const struct conn *c, uint64_t *ret)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);
	int fd, waiting = 0;

	if (!c->io)
		return false;
	fd = sd_event_source_get_io_fd(c->io);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	    ioctl(fd, FIONREAD, &waiting) < 0)
		return false;
	*ret = info.tcpi_bytes_received - (uint64_t)waiting;
	return true;
}

/* The library allocates whatever length a packet's header declares, and knows no limit: a broker that does
 * not keep to ours is left before what it sends has filled the memory. */
static void bound_packet(struct conn *c)
{
	uint64_t now;

	if (c->error || c->gone || !taken(c, &now))
		return;
	if (dial_heard(c->dial)) {
		c->read_mark = now;
	} else if (now > c->read_mark + c->packet_max) {
		c->error = MOSQ_ERR_OVERSIZE_PACKET;
		c->reason = "the broker sends more than this box told it to";
	}
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *user)
{
	struct conn *c = user;

	/* A reset during the TLS handshake is success to the library, again and again. */
	if ((revents & (EPOLLHUP | EPOLLERR)) && ++c->hangups > HANGUPS_MAX)
		c->error = MOSQ_ERR_CONN_LOST;
	if (!c->error && (revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		c->error = guard_read(handle(c));
	bound_packet(c);
	if (!c->error && !c->gone && (revents & EPOLLOUT)) {
		c->error = mosquitto_loop_write(handle(c), 1);
		c->blocked = !c->error && mosquitto_want_write(handle(c));
	}
	settle(c);
	return 0;
}

static int on_tick(sd_event_source *source, uint64_t now, void *user)
{
	struct conn *c = user;

	sd_event_source_set_time_relative(source, TICK_USEC);
	/* TLS may hold bytes that are decrypted already, of which epoll knows nothing: read without cause. */
	if (!c->error && !c->gone)
		c->error = mosquitto_loop_misc(handle(c));
	if (!c->error && !c->gone)
		c->error = guard_read(handle(c));
	settle(c);
	if (c->state == UP)
		c->ops->tick(c, c->user);
	return 0;
}

static int on_deadline(sd_event_source *source, uint64_t now, void *user)
{
	struct conn *c = user;

	die(c, c->state == DIALING ? "timed out: no answer from resolver or broker"
				   : "timed out: connected, but the broker does not answer");
	return 0;
}

/* --- callbacks of the library; errno is 0 when they return, because the library looks at it --- */

static void on_connect(struct mosquitto *mosq, void *object, int rc, int flags,
		       const mosquitto_property *props)
{
	struct conn *c = dial_user(object);

	c->connack = rc == 0;
	c->session_present = flags & 1;
	mosquitto_property_read_int32(props, MQTT_PROP_MAXIMUM_PACKET_SIZE, &c->takes, false);
	if (rc)
		c->reason = mqtt_words_reason((uint8_t)rc);
	errno = 0;
}

static void on_disconnect(struct mosquitto *mosq, void *object, int rc,
			  const mosquitto_property *props)
{
	struct conn *c = dial_user(object);

	c->gone = true;
	if (c->reason)
		return;
	if (c->state == CLOSING)
		c->reason = "stopped";
	else if (rc >= 0x80)
		c->reason = mqtt_words_reason((uint8_t)rc);
	else
		c->reason = mqtt_words_error(rc, errno, dial_complaint(object));
	errno = 0;
}

static void on_publish(struct mosquitto *mosq, void *object, int mid, int rc,
		       const mosquitto_property *props)
{
	struct conn *c = dial_user(object);
	struct guard *guard = guard_suspend();

	if (c->state != DEAD)
		c->ops->published(c, (uint16_t)mid, (uint8_t)rc, c->user);
	guard_resume(guard);
	errno = 0;
}

static void on_subscribe(struct mosquitto *mosq, void *object, int mid, int n, const int *codes,
			 const mosquitto_property *props)
{
	struct conn *c = dial_user(object);
	struct guard *guard = guard_suspend();

	if (n > 0 && c->state != DEAD)
		c->ops->subscribed(c, (uint16_t)mid, (uint8_t)codes[0], c->user);
	guard_resume(guard);
	errno = 0;
}

static void on_message(struct mosquitto *mosq, void *object, const struct mosquitto_message *m,
		       const mosquitto_property *props)
{
	struct conn *c = dial_user(object);
	cleanup(freep) void *correlation = NULL;
	cleanup(freep) char *response = NULL;
	cleanup(freep) char *type = NULL;
	uint16_t correlation_len = 0;
	struct mqtt_message msg = {
		.topic = m->topic,
		.payload = span_of(m->payload, (size_t)m->payloadlen),
		.qos = m->qos,
		.retain = m->retain,
	};
	struct guard *guard = guard_suspend();

	announce(c);
	mosquitto_property_read_binary(props, MQTT_PROP_CORRELATION_DATA, &correlation,
				       &correlation_len, false);
	mosquitto_property_read_string(props, MQTT_PROP_RESPONSE_TOPIC, &response, false);
	mosquitto_property_read_string(props, MQTT_PROP_CONTENT_TYPE, &type, false);
	msg.has_expiry = mosquitto_property_read_int32(props, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL,
						       &msg.expiry_s, false) != NULL;
	msg.correlation = span_of(correlation, correlation ? correlation_len : 0);
	msg.response_topic = response;
	msg.content_type = type;
	if (c->state == UP || c->state == CLOSING)
		c->ops->message(c, &msg, c->user);
	guard_resume(guard);
	errno = 0;
}

/* --- from the attempt to the end --- */

static int watch(struct conn *c)
{
	/* Small, so that the library, which reads as long as there is something, comes to an end. */
	const int window = RECEIVE_BUFFER;
	int copy = fcntl(mosquitto_socket(handle(c)), F_DUPFD_CLOEXEC, 3);
	int r;

	fcntl(mosquitto_socket(handle(c)), F_SETFD, FD_CLOEXEC); /* the library does not */
	setsockopt(mosquitto_socket(handle(c)), SOL_SOCKET, SO_RCVBUF, &window, sizeof(window));
	if (copy < 0)
		return -errno;
	r = sd_event_add_io(c->event, &c->io, copy, EPOLLIN, on_io, c);
	if (r < 0) {
		close(copy);
		return r;
	}
	r = sd_event_source_set_io_fd_own(c->io, true);
	if (r < 0)
		return r;
	r = sd_event_add_time_relative(c->event, &c->tick, CLOCK_MONOTONIC, TICK_USEC,
				       TICK_ACCURACY_USEC, on_tick, c);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(c->tick, SD_EVENT_ON);
}

static int on_dialed(sd_event_source *source, int fd, uint32_t revents, void *user)
{
	struct conn *c = user;
	const char *reason;
	int rc;

	rc = dial_result(c->dial, &reason);
	drop_source(&c->dialed);
	c->reached = dial_reached(c->dial);
	if (c->state == DEAD) {
		dial_freep(&c->dial);
		c->ops->ended(c, c->user);
		return 0;
	}
	if (rc) {
		die(c, reason);
		return 0;
	}
	c->state = HELLO;
	if (watch(c) < 0)
		c->error = MOSQ_ERR_CONN_LOST;
	settle(c);
	return 0;
}

static void count_bytes(const struct conn *c, uint64_t *in, uint64_t *out)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	*in = c->bytes_in;
	*out = c->bytes_out;
	if (!c->io ||
	    getsockopt(sd_event_source_get_io_fd(c->io), IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return;
	*in = info.tcpi_bytes_received;
	*out = info.tcpi_bytes_acked;
}

/* Leaves a connection whose thread still runs with nothing but the dial and its eventfd. */
static void bury(struct conn *c)
{
	count_bytes(c, &c->bytes_in, &c->bytes_out);
	c->state = DEAD;
	drop_source(&c->io);
	drop_source(&c->deadline);
	drop_source(&c->tick);
	drop_source(&c->kick);
}

static void die(struct conn *c, const char *reason)
{
	bury(c);
	c->ops->down(c, reason, c->user);
}

static int add_sources(struct conn *c, unsigned timeout_ms)
{
	int r;

	r = sd_event_add_defer(c->event, &c->kick, on_kick, c);
	if (r < 0)
		return r;
	r = sd_event_source_set_enabled(c->kick, SD_EVENT_OFF);
	if (r < 0)
		return r;
	r = sd_event_add_io(c->event, &c->dialed, dial_event_fd(c->dial), EPOLLIN, on_dialed, c);
	if (r < 0)
		return r;
	return sd_event_add_time_relative(c->event, &c->deadline, CLOCK_MONOTONIC,
					  timeout_ms * UINT64_C(1000), 1000, on_deadline, c);
}

static void set_callbacks(struct mosquitto *mosq)
{
	mosquitto_connect_v5_callback_set(mosq, on_connect);
	mosquitto_disconnect_v5_callback_set(mosq, on_disconnect);
	mosquitto_publish_v5_callback_set(mosq, on_publish);
	mosquitto_subscribe_v5_callback_set(mosq, on_subscribe);
	mosquitto_message_v5_callback_set(mosq, on_message);
}

int conn_open(sd_event *event, const struct mqtt_options *options, size_t broker,
	      const struct conn_ops *ops, void *user, struct conn **ret)
{
	struct conn *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->event = sd_event_ref(event);
	c->broker = broker;
	c->began = boottime();
	c->packet_max = DIAL_PACKET_MAX(options) + TLS_MARGIN;
	c->ops = ops;
	c->user = user;
	r = dial_new(options, &options->brokers[broker], c, &c->dial);
	if (r == 0)
		r = add_sources(c, options->connect_timeout_ms);
	if (r == 0) {
		set_callbacks(handle(c));
		r = dial_start(c->dial);
	}
	if (r < 0) {
		conn_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void conn_free(struct conn *c)
{
	if (!c)
		return;
	bury(c);
	drop_source(&c->dialed);
	dial_freep(&c->dial);
	sd_event_unref(c->event);
	free(c);
}

size_t conn_broker(const struct conn *c)
{
	return c->broker;
}

uint64_t conn_began(const struct conn *c)
{
	return c->began;
}

bool conn_reached(const struct conn *c)
{
	return c->reached;
}

bool conn_is_up(const struct conn *c)
{
	return c->state == UP;
}

bool conn_is_dead(const struct conn *c)
{
	return c->state == DEAD;
}

bool conn_has_thread(const struct conn *c)
{
	return c->dialed;
}

bool conn_hangs(const struct conn *c)
{
	return c->state == DEAD && c->dialed;
}

/* --- publishing --- */

int conn_publish(struct conn *c, const struct mqtt_publish *p, uint16_t *mid)
{
	mosquitto_property *props = NULL;
	int number = 0, rc, r;

	if (c->state != UP || c->gone)
		return -ENOTCONN;
	if (p->qos == 0 && c->blocked)
		return -ENOBUFS;
	if (!publish_fits(p, c->takes))
		return -EMSGSIZE;
	rc = publish_properties(p, &props);
	if (!rc)
		rc = mosquitto_publish_v5(handle(c), &number, p->topic, (int)p->payload.len,
					  p->payload.data, p->qos, p->retain, props);
	mosquitto_property_free_all(&props);
	r = publish_errno(rc);
	if (r == -ENOTCONN)
		c->error = rc;
	*mid = (uint16_t)number;
	settle_later(c);
	return r;
}

int conn_subscribe(struct conn *c, const char *topic, int qos, unsigned flags, uint16_t *mid)
{
	int options = 0, number = 0, rc;

	if (c->state != UP || c->gone)
		return -ENOTCONN;
	if (flags & MQTT_RETAIN_AS_PUBLISHED)
		options |= MQTT_SUB_OPT_RETAIN_AS_PUBLISHED;
	if (flags & MQTT_SEND_RETAIN_NEVER)
		options |= MQTT_SUB_OPT_SEND_RETAIN_NEVER;
	else if (flags & MQTT_SEND_RETAIN_NEW)
		options |= MQTT_SUB_OPT_SEND_RETAIN_NEW;
	if (flags & MQTT_NO_LOCAL)
		options |= MQTT_SUB_OPT_NO_LOCAL;
	rc = mosquitto_subscribe_v5(handle(c), &number, topic, qos, options, NULL);
	if (publish_errno(rc) == -ENOTCONN)
		c->error = rc;
	*mid = (uint16_t)number;
	settle_later(c);
	return publish_errno(rc);
}

void conn_close(struct conn *c)
{
	int rc;

	if (c->state != UP)
		return;
	c->state = CLOSING;
	rc = mosquitto_disconnect_v5(handle(c), 0, NULL);
	if (rc && !c->error)
		c->error = rc;
	settle_later(c);
}

void conn_drop(struct conn *c)
{
	if (c->state != DEAD)
		bury(c);
}

void conn_bytes(const struct conn *c, uint64_t *in, uint64_t *out)
{
	count_bytes(c, in, out);
}
