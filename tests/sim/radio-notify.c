/* SPDX-License-Identifier: Apache-2.0 */
/*
 * StartNotify, AcquireNotify and AcquireWrite at the client's side. Subscriptions belong to bus
 * clients and are made again after a reconnection; sockets end with the link.
 */
#include "sim/radio.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHR "org.bluez.GattCharacteristic1"

static void on_ccc(struct op *op, void *user);

static int write_ccc(struct rchar *c, bool on)
{
	struct device *d = c->service->device;
	uint8_t value[2] = {on ? (c->props & PROP_NOTIFY ? 1 : 2) : 0, 0};

	return att_submit(d->link, d->side, OP_CCC, (uint16_t)(c->handle + 2), 0, value,
			  sizeof(value), on ? on_ccc : NULL, c, on ? &c->ccc : NULL);
}

static void set_notifying(struct rchar *c, bool on)
{
	if (c->notifying == on)
		return;
	c->notifying = on;
	object_changed(c->obj, CHR, "Notifying");
}

static void subscriber_free(struct rchar *c, struct subscriber *s)
{
	TAILQ_REMOVE(&c->subscribers, s, entry);
	sd_bus_message_unref(s->start);
	free(s->owner);
	free(s);
}

static struct subscriber *subscriber_find(struct rchar *c, const char *owner)
{
	struct subscriber *s;

	for (each(s, &c->subscribers))
		if (!strcmp(s->owner, owner))
			return s;
	return NULL;
}

/* --- sockets -------------------------------------------------------------------- */

static void close_write(struct rchar *c)
{
	if (c->write_fd < 0)
		return;
	c->write_io = sd_event_source_disable_unref(c->write_io);
	close(c->write_fd);
	c->write_fd = -1;
	object_changed(c->obj, CHR, "WriteAcquired");
}

static void close_notify(struct rchar *c)
{
	c->acquiring = false;
	c->acquire = sd_bus_message_unref(c->acquire);
	if (c->notify_fd < 0)
		return;
	c->notify_io = sd_event_source_disable_unref(c->notify_io);
	close(c->notify_fd);
	c->notify_fd = -1;
	object_changed(c->obj, CHR, "NotifyAcquired");
	if (c->ccc_on && client_bearer(c))
		write_ccc(c, false);
	c->ccc_on = false;
}

static int on_write_io(sd_event_source *s, int fd, uint32_t events, void *user)
{
	struct rchar *c = user;
	struct device *d = c->service->device;
	uint8_t data[RADIO_VALUE];
	ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0 || !client_bearer(c)) {
		close_write(c);
		return 0;
	}
	if ((size_t)n <= c->obj->radio->set.mtu - 3) /* longer ones are lost without a word */
		att_submit(d->link, d->side, OP_COMMAND, (uint16_t)(c->handle + 1), 0, data,
			   (size_t)n, NULL, NULL, NULL);
	return 0;
}

static int on_notify_hup(sd_event_source *s, int fd, uint32_t events, void *user)
{
	close_notify(user);
	return 0;
}

static int give_socket(struct rchar *c, sd_bus_message *m, int *keep, sd_event_source **io,
		       uint32_t events, sd_event_io_handler_t fn)
{
	struct radio *r = c->obj->radio;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		return refuse(r, m, "Failed", strerror(errno));
	*keep = fds[0];
	sd_event_add_io(r->event, io, fds[0], events, fn, c);
	object_changed(c->obj, CHR, keep == &c->write_fd ? "WriteAcquired" : "NotifyAcquired");
	bus_flush(r);
	sd_bus_reply_method_return(m, "hq", fds[1], (uint16_t)r->set.mtu);
	close(fds[1]);
	return 0;
}

int chr_acquire_write(struct object *o, sd_bus_message *m)
{
	struct rchar *c = o->user;

	if (!client_bearer(c))
		return refuse(o->radio, m, "Failed", "Not connected");
	if (c->write_fd >= 0)
		return refuse(o->radio, m, "NotPermitted", "Write acquired");
	if (!(c->props & PROP_COMMAND))
		return refuse(o->radio, m, "NotSupported", "Operation is not supported");
	return give_socket(c, m, &c->write_fd, &c->write_io, EPOLLIN, on_write_io);
}

int chr_acquire_notify(struct object *o, sd_bus_message *m)
{
	struct rchar *c = o->user;

	if (!client_bearer(c))
		return refuse(o->radio, m, "Failed", "Not connected");
	if (c->acquiring)
		return refuse(o->radio, m, "NotPermitted", "Notify acquired");
	if (!TAILQ_EMPTY(&c->subscribers))
		return refuse(o->radio, m, "InProgress", "In Progress");
	if (!(c->props & PROP_NOTIFY))
		return refuse(o->radio, m, "NotSupported", "Operation is not supported");
	if (write_ccc(c, true) < 0)
		return refuse(o->radio, m, "Failed", "Failed to subscribe");
	c->acquiring = true;
	c->acquire = sd_bus_message_ref(m);
	return 0;
}

/* --- StartNotify ---------------------------------------------------------------- */

static void on_ccc(struct op *op, void *user)
{
	struct rchar *c = user;
	struct radio *r = c->obj->radio;
	struct subscriber *s, *next;

	c->ccc = NULL;
	c->ccc_on = !op->ecode;
	if (c->acquire) {
		cleanup(sd_bus_message_unrefp) sd_bus_message *m = steal(c->acquire);

		if (!op->ecode)
			give_socket(c, m, &c->notify_fd, &c->notify_io, 0, on_notify_hup);
		c->acquiring = !op->ecode; /* an error is never answered: so 5.66 does it */
	}
	for (s = TAILQ_FIRST(&c->subscribers); s; s = next) {
		next = TAILQ_NEXT(s, entry);
		if (!s->start)
			continue;
		if (op->ecode) {
			refuse_att(r, s->start, op->ecode);
			subscriber_free(c, s);
			continue;
		}
		set_notifying(c, true);
		answer(r, s->start);
		s->start = sd_bus_message_unref(s->start);
	}
	if (c->ccc_on && !c->acquiring && TAILQ_EMPTY(&c->subscribers)) { /* stopped meanwhile */
		c->ccc_on = false;
		write_ccc(c, false);
	}
}

static int subscribe(struct rchar *c, struct subscriber *s, sd_bus_message *m)
{
	struct radio *r = c->obj->radio;

	if (!client_bearer(c))
		return answer(r, m); /* "succeeds": made when the device is connected again */
	s->registered = true;
	if (c->ccc_on) {
		set_notifying(c, true);
		return answer(r, m);
	}
	if (!c->ccc && write_ccc(c, true) < 0) {
		subscriber_free(c, s);
		return refuse(r, m, "Failed", "Failed to register notify session");
	}
	s->start = sd_bus_message_ref(m);
	return 0;
}

int chr_start_notify(struct object *o, sd_bus_message *m)
{
	struct rchar *c = o->user;
	const char *owner = sd_bus_message_get_sender(m);
	struct subscriber *s = subscriber_find(c, owner);

	if (c->service->device->disconnect)
		return refuse(o->radio, m, "NotConnected", "Not Connected");
	if (c->acquiring)
		return refuse(o->radio, m, "NotPermitted", "Notify acquired");
	if (!(c->props & (PROP_NOTIFY | PROP_INDICATE)))
		return refuse(o->radio, m, "NotSupported", "Operation is not supported");
	if (s && s->registered)
		return answer(o->radio, m);
	if (s)
		return refuse(o->radio, m, "InProgress", "In Progress");
	s = calloc(1, sizeof(*s));
	if (!s || !(s->owner = strdup(owner))) {
		free(s);
		return -ENOMEM;
	}
	TAILQ_INSERT_TAIL(&c->subscribers, s, entry);
	return subscribe(c, s, m);
}

static void unsubscribed(struct rchar *c)
{
	if (!TAILQ_EMPTY(&c->subscribers))
		return;
	set_notifying(c, false);
	if (c->ccc_on && client_bearer(c))
		write_ccc(c, false);
	c->ccc_on = false;
}

int chr_stop_notify(struct object *o, sd_bus_message *m)
{
	struct rchar *c = o->user;
	struct subscriber *s = subscriber_find(c, sd_bus_message_get_sender(m));

	if (c->acquiring) {
		close_notify(c);
		return answer(o->radio, m);
	}
	if (!s)
		return refuse(o->radio, m, "Failed", "No notify session started");
	subscriber_free(c, s);
	unsubscribed(c);
	return answer(o->radio, m);
}

/* --- what comes from elsewhere -------------------------------------------------- */

void client_gone(struct device *d, const char *owner)
{
	struct rservice *v;
	struct rchar *c;

	for (each(v, &d->services))
		for (each(c, &v->chars)) {
			struct subscriber *s = subscriber_find(c, owner);

			if (!s)
				continue;
			subscriber_free(c, s);
			unsubscribed(c);
		}
}

void client_link_gone(struct device *d)
{
	struct rservice *v;
	struct rchar *c;
	struct subscriber *s;

	for (each(v, &d->services))
		for (each(c, &v->chars)) {
			close_write(c);
			close_notify(c);
			c->ccc_on = false;
			for (each(s, &c->subscribers))
				s->registered = false;
		}
}

void client_ready(struct device *d)
{
	struct rservice *v;
	struct rchar *c;
	struct subscriber *s;

	for (each(v, &d->services))
		for (each(c, &v->chars)) {
			if (TAILQ_EMPTY(&c->subscribers) || c->ccc_on || c->ccc ||
			    write_ccc(c, true) < 0)
				continue;
			set_notifying(c, true);
			for (each(s, &c->subscribers))
				s->registered = true;
		}
}

/* With several subscribed clients the daemon signals once for each of them. */
void client_notified(struct device *d, uint16_t handle, const void *data, size_t len)
{
	struct rservice *v;
	struct rchar *c;
	struct subscriber *s;

	for (each(v, &d->services))
		for (each(c, &v->chars)) {
			if (c->handle + 1 != handle)
				continue;
			if (c->notify_fd >= 0) {
				send(c->notify_fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
				return;
			}
			for (each(s, &c->subscribers)) {
				memcpy(c->access.value, data, len);
				c->access.len = len;
				c->access.cached = true;
				object_changed(c->obj, CHR, "Value");
				bus_flush(c->obj->radio);
			}
			return;
		}
}

void notify_clear(struct rchar *c)
{
	struct subscriber *s;

	att_forget(c->ccc);
	close_write(c);
	c->ccc_on = false;
	close_notify(c);
	while ((s = TAILQ_FIRST(&c->subscribers)))
		subscriber_free(c, s);
}
