// SPDX-License-Identifier: Apache-2.0
/*
 * What a broker alone needs to hand the same bytes to N clients: the limit that a revocation to everyone
 * is held against. Plain sockets and the few packets of MQTT 5 that it takes; nothing is checked, kept
 * or answered but with a PUBACK.
 *
 *   subscribers --broker ADDRESS:PORT --count N --bytes FILE [--rounds R] [--topic T] [--user U --password-file F]
 *
 * ADDRESS is numeric. The bytes are published retained, QoS 1, to a topic of its own (lockbridge-bench/list),
 * each round with its number behind them; in the end the topic is cleared. Prints JSON: per round, the
 * milliseconds from the publish until half of the clients and until all of them had the whole message.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum {
	COUNT_MAX = 15000,
	BYTES_MAX = 160 * 1024,
	ROUNDS_MAX = 100,
	WAIT_MS = 60000,
	AT_ONCE = 64, /* connects before the first of them must be through: the broker's backlog */
};

/* MQTT 5.0, 2.1.2 */
enum packet {
	CONNECT = 0x10,
	CONNACK = 0x20,
	PUBLISH_QOS1 = 0x32,
	PUBLISH = 0x30,
	PUBACK = 0x40,
	SUBSCRIBE = 0x82,
	SUBACK = 0x90,
	DISCONNECT = 0xe0,
};

struct client {
	int fd;
	uint8_t *in; /* what came of the packet that is not whole yet */
	size_t have;
	bool subscribed;
	uint32_t round; /* the last one that it had */
};

struct bench {
	struct sockaddr_in broker;
	const char *topic, *user;
	char password[201];
	size_t count, cap;
	unsigned rounds;
	uint8_t *bytes; /* of the document, and room for the round's number */
	size_t len;
	int epoll;
	struct client *clients; /* the last one publishes */
	size_t subscribed, reached;
	uint32_t round;
	bool acked;
};

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* --- writing packets -------------------------------------------------------------------------- */

static uint8_t *put_string(uint8_t *p, const char *s)
{
	size_t n = strlen(s);

	*p++ = (uint8_t)(n >> 8);
	*p++ = (uint8_t)n;
	memcpy(p, s, n);
	return p + n;
}

static uint8_t *put_length(uint8_t *p, size_t n)
{
	do {
		*p = (uint8_t)(n % 128);
		n /= 128;
		if (n)
			*p |= 0x80;
		p++;
	} while (n);
	return p;
}

/* Blocking: the broker reads all the time, and these are small but for the document. */
static int send_all(int fd, const uint8_t *p, size_t n)
{
	while (n > 0) {
		ssize_t sent = write(fd, p, n);

		if (sent < 0 && errno != EINTR)
			return -errno;
		if (sent > 0) {
			p += sent;
			n -= (size_t)sent;
		}
	}
	return 0;
}

static int send_packet(int fd, enum packet type, const uint8_t *body, size_t len)
{
	uint8_t *packet = malloc(len + 8), *p;
	int r;

	if (!packet)
		return -ENOMEM;
	packet[0] = type;
	p = put_length(packet + 1, len);
	memcpy(p, body, len);
	r = send_all(fd, packet, (size_t)(p - packet) + len);
	free(packet);
	return r;
}

static int send_connect(const struct bench *b, int fd, size_t number)
{
	uint8_t body[600], *p = put_string(body, "MQTT");
	char id[48];

	snprintf(id, sizeof(id), "lockbridge-bench-%d-%zu", getpid(), number);
	*p++ = 5; /* version */
	*p++ = (uint8_t)(0x02 | (b->user ? 0x80 : 0) |
			 (b->password[0] ? 0x40 : 0)); /* clean start */
	*p++ = 0;
	*p++ = 0; /* no keep-alive */
	*p++ = 0; /* no properties */
	p = put_string(p, id);
	if (b->user)
		p = put_string(p, b->user);
	if (b->password[0])
		p = put_string(p, b->password);
	return send_packet(fd, CONNECT, body, (size_t)(p - body));
}

static int send_subscribe(const struct bench *b, int fd)
{
	uint8_t body[300] = {0, 1, 0}, *p = put_string(body + 3, b->topic); /* id, no properties */

	*p++ = 1; /* QoS 1 */
	return send_packet(fd, SUBSCRIBE, body, (size_t)(p - body));
}

static int send_publish(const struct bench *b, int fd, const uint8_t *payload, size_t len)
{
	uint8_t *body = malloc(len + 300), *p;
	int r;

	if (!body)
		return -ENOMEM;
	p = put_string(body, b->topic);
	*p++ = 0;
	*p++ = 1; /* packet id */
	*p++ = 0; /* no properties */
	if (len)
		memcpy(p, payload, len);
	r = send_packet(fd, PUBLISH_QOS1 | 1, body, (size_t)(p - body) + len); /* | 1: retained */
	free(body);
	return r;
}

/* --- reading packets -------------------------------------------------------------------------- */

static void note_publish(struct bench *b, struct client *c, uint8_t first, const uint8_t *p,
			 size_t n)
{
	size_t topic = n >= 2 ? (size_t)(p[0] << 8 | p[1]) : 0;
	size_t qos = first >> 1 & 3, at = 2 + topic;
	uint8_t ack[2];
	uint32_t round;

	if (qos && at + 2 <= n) {
		memcpy(ack, p + at, sizeof(ack));
		send_packet(c->fd, PUBACK, ack, sizeof(ack));
	}
	if (n < b->len) /* from somebody else, or the clearing */
		return;
	memcpy(&round, p + n - sizeof(round), sizeof(round));
	if (round != b->round || c->round == round ||
	    memcmp(p + n - b->len, b->bytes, b->len - sizeof(round)) != 0)
		return;
	c->round = round;
	b->reached++;
}

static int take(struct bench *b, struct client *c, uint8_t first, const uint8_t *p, size_t n)
{
	switch (first & 0xf0) {
	case CONNACK:
		if (n < 2 || p[1] != 0) {
			fprintf(stderr,
				"subscribers: the broker refused a connection, reason 0x%02x\n",
				n < 2 ? 0 : p[1]);
			return -ECONNREFUSED;
		}
		if (c != &b->clients[b->count])
			return send_subscribe(b, c->fd);
		c->subscribed = true;
		b->subscribed++;
		return 0;
	case SUBACK:
		if (n < 4 || p[n - 1] > 2) {
			fprintf(stderr, "subscribers: the broker refused to subscribe to %s\n",
				b->topic);
			return -EACCES;
		}
		b->subscribed += !c->subscribed;
		c->subscribed = true;
		return 0;
	case PUBLISH:
		note_publish(b, c, first, p, n);
		return 0;
	case PUBACK:
		b->acked = true;
		return 0;
	case DISCONNECT:
		fprintf(stderr, "subscribers: the broker ended a connection, reason 0x%02x\n",
			n ? p[0] : 0);
		return -ECONNRESET;
	default:
		return 0;
	}
}

/* 1: the packet at p is whole, *ret_head and *ret_len say where its body is; 0: not yet. */
static int whole(const uint8_t *p, size_t have, size_t *ret_head, size_t *ret_len)
{
	size_t len = 0, i = 1;

	for (unsigned shift = 0; shift <= 21; shift += 7, i++) {
		if (i >= have)
			return 0;
		len |= (size_t)(p[i] & 0x7f) << shift;
		if (!(p[i] & 0x80)) {
			*ret_head = i + 1;
			*ret_len = len;
			return have >= i + 1 + len;
		}
	}
	return -EBADMSG;
}

static int on_readable(struct bench *b, struct client *c)
{
	ssize_t n = recv(c->fd, c->in + c->have, b->cap - c->have, MSG_DONTWAIT);
	size_t at = 0, head, len;
	int r;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	c->have += (size_t)n;
	while ((r = whole(c->in + at, c->have - at, &head, &len)) > 0) {
		r = take(b, c, c->in[at], c->in + at + head, len);
		if (r < 0)
			return r;
		at += head + len;
	}
	memmove(c->in, c->in + at, c->have - at);
	c->have -= at;
	return r < 0 ? r : c->have == b->cap ? -EMSGSIZE : 0;
}

/* Until *what is at least `until`, or too much time has passed. */
static int wait_for(struct bench *b, const size_t *what, size_t until)
{
	struct epoll_event events[256];
	double deadline = now_ms() + WAIT_MS;

	while (*what < until) {
		int n = epoll_wait(b->epoll, events, 256, 1000);

		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n; i++) {
			int r = on_readable(b, events[i].data.ptr);

			if (r < 0)
				return r;
		}
		if (now_ms() > deadline)
			return -ETIMEDOUT;
	}
	return 0;
}

/* --- the measurement -------------------------------------------------------------------------- */

static int open_client(struct bench *b, size_t number)
{
	struct client *c = &b->clients[number];
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

	c->in = malloc(b->cap);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!c->in || c->fd < 0)
		return c->in ? -errno : -ENOMEM;
	if (connect(c->fd, (struct sockaddr *)&b->broker, sizeof(b->broker)) < 0)
		return -errno;
	if (epoll_ctl(b->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
		return -errno;
	return send_connect(b, c->fd, number);
}

static int open_all(struct bench *b)
{
	b->clients = calloc(b->count + 1, sizeof(*b->clients));
	b->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!b->clients || b->epoll < 0)
		return -ENOMEM;
	for (size_t i = 0; i <= b->count; i++) {
		int r = open_client(b, i);

		if (r == 0 && (i % AT_ONCE == AT_ONCE - 1 || i == b->count))
			r = wait_for(b, &b->subscribed, i + 1);
		if (r < 0)
			return r;
	}
	return 0;
}

static int measure(struct bench *b, double *ret_half, double *ret_all)
{
	double begun;
	int r;

	b->round++;
	b->reached = 0;
	memcpy(b->bytes + b->len - sizeof(b->round), &b->round, sizeof(b->round));
	begun = now_ms();
	r = send_publish(b, b->clients[b->count].fd, b->bytes, b->len);
	if (r == 0)
		r = wait_for(b, &b->reached, (b->count + 1) / 2);
	*ret_half = now_ms() - begun;
	if (r == 0)
		r = wait_for(b, &b->reached, b->count);
	*ret_all = now_ms() - begun;
	return r;
}

static int run(struct bench *b)
{
	double half[ROUNDS_MAX], all[ROUNDS_MAX], begun = now_ms(), connected;
	int r = open_all(b);

	connected = now_ms() - begun;
	for (unsigned i = 0; r == 0 && i < b->rounds; i++)
		r = measure(b, &half[i], &all[i]);
	if (b->clients && b->clients[b->count].subscribed)
		send_publish(b, b->clients[b->count].fd, NULL, 0);
	if (r < 0) {
		fprintf(stderr, "subscribers: %s: %zu of %zu are subscribed, %zu had round %u\n",
			strerror(-r), b->subscribed, b->count, b->reached, b->round);
		return r;
	}
	printf("{\"subscribers\": %zu, \"bytes\": %zu, \"connect_ms\": %.1f, \"rounds\": [",
	       b->count, b->len, connected);
	for (unsigned i = 0; i < b->rounds; i++)
		printf("%s{\"half_ms\": %.2f, \"all_ms\": %.2f}", i ? ", " : "", half[i], all[i]);
	puts("]}");
	return 0;
}

/* --- options ---------------------------------------------------------------------------------- */

static int read_bytes(struct bench *b, const char *path)
{
	FILE *f = fopen(path, "re");

	if (!f)
		return -errno;
	b->bytes = malloc(BYTES_MAX);
	if (b->bytes)
		b->len = fread(b->bytes, 1, BYTES_MAX - sizeof(b->round), f) + sizeof(b->round);
	fclose(f);
	b->cap = b->len * 2 + 1024;
	return b->bytes ? 0 : -ENOMEM;
}

static int read_password(struct bench *b, const char *path)
{
	FILE *f = fopen(path, "re");

	if (!f)
		return -errno;
	if (!fgets(b->password, sizeof(b->password), f))
		b->password[0] = '\0';
	b->password[strcspn(b->password, "\n")] = '\0';
	fclose(f);
	return b->password[0] ? 0 : -EINVAL;
}

static int take_broker(struct bench *b, char *text)
{
	char *colon = strrchr(text, ':');
	long port = colon ? strtol(colon + 1, NULL, 10) : 0;

	if (port < 1 || port > UINT16_MAX)
		return -EINVAL;
	*colon = '\0';
	b->broker.sin_family = AF_INET;
	b->broker.sin_port = htons((uint16_t)port);
	return inet_pton(AF_INET, text, &b->broker.sin_addr) == 1 ? 0 : -EINVAL;
}

static int option(struct bench *b, int c)
{
	switch (c) {
	case 'b':
		return take_broker(b, optarg);
	case 'n':
		b->count = strtoul(optarg, NULL, 10);
		return b->count < 1 || b->count > COUNT_MAX ? -EINVAL : 0;
	case 'f':
		return read_bytes(b, optarg);
	case 'r':
		b->rounds = (unsigned)strtoul(optarg, NULL, 10);
		return b->rounds < 1 || b->rounds > ROUNDS_MAX ? -EINVAL : 0;
	case 't':
		b->topic = optarg;
		return strlen(optarg) > 200 ? -EINVAL : 0;
	case 'u':
		b->user = optarg;
		return strlen(optarg) > 200 ? -EINVAL : 0;
	case 'p':
		return read_password(b, optarg);
	default:
		return -EINVAL;
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"broker", required_argument, NULL, 'b'},
		{"count", required_argument, NULL, 'n'},
		{"bytes", required_argument, NULL, 'f'},
		{"rounds", required_argument, NULL, 'r'},
		{"topic", required_argument, NULL, 't'},
		{"user", required_argument, NULL, 'u'},
		{"password-file", required_argument, NULL, 'p'},
		{0},
	};
	struct bench b = {.topic = "lockbridge-bench/list", .rounds = 5};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		int r = option(&b, c);

		if (r < 0) {
			fprintf(stderr, "subscribers: %s: %s\n", argv[optind - 1],
				c == 'f' || c == 'p' ? strerror(-r)
						     : "no such option, or a bad value");
			return 2;
		}
	}
	if (!b.broker.sin_port || !b.count || !b.bytes) {
		fputs("usage: subscribers --broker ADDRESS:PORT --count N --bytes FILE [--rounds "
		      "R]\n"
		      "                   [--topic T] [--user NAME --password-file FILE]\n",
		      stderr);
		return 2;
	}
	return run(&b) < 0;
}
