/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's side of ATT: what arrives over a link becomes calls to the application that
 * registered the attribute, and its Value signals become notifications.
 *
 * A characteristic with write-without-response is acknowledged as soon as the call is sent, even
 * for a write request: that is how 5.66 does it. Others wait for the application, 5 s at most.
 */
#include "sim/radio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHR  "org.bluez.GattCharacteristic1"
#define DESC "org.bluez.GattDescriptor1"

struct gchr *server_find(struct adapter *a, uint16_t handle, struct gdesc **desc)
{
	struct app *app;
	struct gservice *s;
	struct gchr *c;

	*desc = NULL;
	for (each(app, &a->apps))
		for (each(s, &app->services)) {
			if (!app->live || handle < s->handle || handle > s->end)
				continue;
			for (each(c, &s->chrs)) {
				struct gdesc *d;

				if (handle == c->handle + 1 ||
				    (handle == c->handle + 2 &&
				     (c->props & (PROP_NOTIFY | PROP_INDICATE))))
					return c;
				for (each(d, &c->descs))
					if (d->handle == handle) {
						*desc = d;
						return c;
					}
			}
		}
	return NULL;
}

static int error_of(const sd_bus_error *e, int not_permitted)
{
	static const struct {
		const char *name;
		int code;
	} codes[] = {
		{"org.bluez.Error.Failed", ATT_APPLICATION},
		{"org.bluez.Error.NotSupported", ATT_NOT_SUPPORTED},
		{"org.bluez.Error.NotAuthorized", ATT_AUTHORIZATION},
		{"org.bluez.Error.InvalidValueLength", ATT_INVALID_LENGTH},
		{"org.bluez.Error.InvalidOffset", ATT_INVALID_OFFSET},
		{"org.bluez.Error.InProgress", ATT_IN_PROGRESS},
	};

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (sd_bus_error_has_name(e, codes[i].name))
			return codes[i].code;
	return sd_bus_error_has_name(e, "org.bluez.Error.NotPermitted") ? not_permitted
									: ATT_UNLIKELY;
}

static int append_options(sd_bus_message *m, struct link *l, int server, uint16_t offset)
{
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = sd_bus_message_append(m, "{sv}", "device", "o", l->end[server]->obj->path);
	if (r >= 0 && offset)
		r = sd_bus_message_append(m, "{sv}", "offset", "q", offset);
	if (r >= 0)
		r = sd_bus_message_append(m, "{sv}{sv}", "link", "s", "LE", "mtu", "q",
					  (uint16_t)l->radio->set.mtu);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int new_call(struct gchr *c, const char *path, const char *iface, const char *member,
		    sd_bus_message **ret)
{
	return sd_bus_message_new_method_call(c->app->adapter->radio->bus, ret, c->app->owner, path,
					      iface, member);
}

static int on_app_deadline(sd_event_source *s, uint64_t usec, void *user)
{
	att_answer(user, ATT_UNLIKELY, NULL, 0);
	return 0;
}

static int wait_for_app(struct op *op, struct gchr *c)
{
	struct radio *r = op->link->radio;

	op->chr = c;
	TAILQ_INSERT_TAIL(&c->asked, op, asked);
	return radio_after(r, r->set.app_timeout_ms * 1000ULL, on_app_deadline, op,
			   &op->app_deadline);
}

/* --- read ----------------------------------------------------------------------- */

static int on_read(sd_bus_message *m, void *user, sd_bus_error *err)
{
	struct op *op = user;
	size_t len = 0, most = op->link->radio->set.mtu - 1;
	const void *data;

	if (sd_bus_message_is_method_error(m, NULL)) {
		att_answer(op, error_of(sd_bus_message_get_error(m), ATT_READ_NOT_PERMITTED), NULL,
			   0);
		return 0;
	}
	if (sd_bus_message_read_array(m, 'y', &data, &len) < 0) {
		att_answer(op, ATT_NOT_SUPPORTED, NULL, 0);
		return 0;
	}
	if (len > RADIO_VALUE)
		len = RADIO_VALUE;
	if (len > most)
		len = most;
	if (op->chr)
		radio_log(op->link->radio, "read", op->link, !op->side, op->chr->uuid, data, len);
	att_answer(op, 0, data, len);
	return 0;
}

static int ask_read(struct op *op, struct gchr *c, struct gdesc *d)
{
	cleanup(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = new_call(c, d ? d->path : c->path, d ? DESC : CHR, "ReadValue", &m);

	if (r >= 0)
		r = append_options(m, op->link, !op->side, op->offset);
	if (r >= 0)
		r = wait_for_app(op, c);
	return r < 0 ? r : sd_bus_call_async(op->link->radio->bus, &op->call, m, on_read, op, 0);
}

/* --- write ---------------------------------------------------------------------- */

static int on_written(sd_bus_message *m, void *user, sd_bus_error *err)
{
	struct op *op = user;
	int code = sd_bus_message_is_method_error(m, NULL)
			   ? error_of(sd_bus_message_get_error(m), ATT_WRITE_NOT_PERMITTED)
			   : 0;

	att_answer(op, code, NULL, 0);
	return 0;
}

static int ask_write(struct op *op, struct gchr *c, struct gdesc *d)
{
	cleanup(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	sd_bus *bus = op->link->radio->bus;
	int r = new_call(c, d ? d->path : c->path, d ? DESC : CHR, "WriteValue", &m);

	if (r >= 0)
		r = sd_bus_message_append_array(m, 'y', op->data, op->len);
	if (r >= 0)
		r = append_options(m, op->link, !op->side, op->offset);
	if (r < 0)
		return r;
	if (!d && (c->props & PROP_COMMAND)) {
		r = sd_bus_send(bus, m, NULL);
		if (r >= 0)
			att_answer(op, 0, NULL, 0);
		return r;
	}
	if (!op->chr)
		r = wait_for_app(op, c);
	return r < 0 ? r : sd_bus_call_async(bus, &op->call, m, on_written, op, 0);
}

static void close_write(struct gchr *c)
{
	c->write_io = sd_event_source_disable_unref(c->write_io);
	if (c->write_fd >= 0)
		close(c->write_fd);
	c->write_fd = -1;
}

static int on_write_hup(sd_event_source *s, int fd, uint32_t events, void *user)
{
	close_write(user);
	return 0;
}

static void send_to_app(struct op *op, struct gchr *c)
{
	ssize_t n = send(c->write_fd, op->data, op->len, MSG_NOSIGNAL | MSG_DONTWAIT);

	att_answer(op, n < 0 ? ATT_UNLIKELY : 0, NULL, 0);
}

/* The socket or, if the application has none to give, the writes one by one. */
static int on_write_fd(sd_bus_message *m, void *user, sd_bus_error *err)
{
	struct gchr *c = user;
	sd_event *e = c->app->adapter->radio->event;
	int fd = -1;
	struct op *op, *next;

	c->acquire = sd_bus_slot_unref(c->acquire);
	if (!sd_bus_message_is_method_error(m, NULL) &&
	    sd_bus_message_read(m, "hq", &fd, NULL) >= 0)
		c->write_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (c->write_fd >= 0)
		sd_event_add_io(e, &c->write_io, c->write_fd, EPOLLHUP, on_write_hup, c);
	for (op = TAILQ_FIRST(&c->asked); op; op = next) {
		next = TAILQ_NEXT(op, asked);
		if (op->call || op->kind == OP_READ)
			continue;
		if (c->write_fd >= 0)
			send_to_app(op, c);
		else if (ask_write(op, c, NULL) < 0)
			att_answer(op, ATT_UNLIKELY, NULL, 0);
	}
	return 0;
}

static int acquire_write(struct op *op, struct gchr *c)
{
	cleanup(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = wait_for_app(op, c);

	if (r < 0 || c->acquire)
		return r;
	r = new_call(c, c->path, CHR, "AcquireWrite", &m);
	if (r >= 0)
		r = append_options(m, op->link, !op->side, 0);
	return r < 0 ? r
		     : sd_bus_call_async(op->link->radio->bus, &c->acquire, m, on_write_fd, c, 0);
}

static int take_write(struct op *op, struct gchr *c, struct gdesc *d)
{
	if (d)
		return ask_write(op, c, d);
	radio_log(op->link->radio, op->kind == OP_COMMAND ? "command" : "write", op->link, op->side,
		  c->uuid, op->data, op->len);
	if (c->write_fd >= 0) {
		send_to_app(op, c);
		return 0;
	}
	return c->wants_write_fd ? acquire_write(op, c) : ask_write(op, c, NULL);
}

/* --- subscriptions -------------------------------------------------------------- */

static void tell(struct gchr *c, const char *member)
{
	if (c->app->owner && c->app->adapter->radio->bus)
		sd_bus_call_method_async(c->app->adapter->radio->bus, NULL, c->app->owner, c->path,
					 CHR, member, NULL, NULL, NULL);
}

void server_notify(struct gchr *c, const void *data, size_t len)
{
	struct adapter *a = c->app->adapter;
	size_t most = a->radio->set.mtu - 3;

	if (len > RADIO_VALUE)
		len = RADIO_VALUE;
	if (len > most)
		len = most;
	for (unsigned i = 0; i < c->subscribers; i++) {
		struct link *l = c->subscribed[i];
		int side = l->end[0]->adapter == a ? 0 : 1;

		radio_log(a->radio, "notify", l, side, c->uuid, data, len);
		att_submit(l, side, OP_NOTIFY, (uint16_t)(c->handle + 1), 0, data, len, NULL, NULL,
			   NULL);
		if (!(c->props & PROP_NOTIFY))
			tell(c, "Confirm");
	}
}

static void close_notify(struct gchr *c)
{
	c->notify_io = sd_event_source_disable_unref(c->notify_io);
	if (c->notify_fd >= 0)
		close(c->notify_fd);
	c->notify_fd = -1;
}

static int on_notify_io(sd_event_source *s, int fd, uint32_t events, void *user)
{
	struct gchr *c = user;
	uint8_t data[RADIO_VALUE];
	ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

	if (n > 0)
		server_notify(c, data, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		close_notify(c);
	return 0;
}

static int on_notify_fd(sd_bus_message *m, void *user, sd_bus_error *err)
{
	struct gchr *c = user;
	int fd = -1;

	c->acquire = sd_bus_slot_unref(c->acquire);
	if (sd_bus_message_is_method_error(m, NULL) ||
	    sd_bus_message_read(m, "hq", &fd, NULL) < 0) {
		if (!sd_bus_message_is_method_error(m, "org.bluez.Error.Failed"))
			tell(c, "StartNotify");
		return 0;
	}
	c->notify_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (c->notify_fd >= 0)
		sd_event_add_io(c->app->adapter->radio->event, &c->notify_io, c->notify_fd, EPOLLIN,
				on_notify_io, c);
	return 0;
}

static void subscribe(struct gchr *c, struct link *l, int server)
{
	cleanup(sd_bus_message_unrefp) sd_bus_message *m = NULL;

	for (unsigned i = 0; i < c->subscribers; i++)
		if (c->subscribed[i] == l)
			return;
	if (c->subscribers == ARRAY_SIZE(c->subscribed))
		return;
	c->subscribed[c->subscribers++] = l;
	if (!c->app->owner || c->notify_fd >= 0)
		return;
	if (!c->wants_notify_fd || c->acquire) {
		tell(c, "StartNotify");
		return;
	}
	if (new_call(c, c->path, CHR, "AcquireNotify", &m) >= 0 &&
	    append_options(m, l, server, 0) >= 0)
		sd_bus_call_async(l->radio->bus, &c->acquire, m, on_notify_fd, c, 0);
}

static void unsubscribe(struct gchr *c, struct link *l)
{
	unsigned i = 0;

	while (i < c->subscribers && c->subscribed[i] != l)
		i++;
	if (i == c->subscribers)
		return;
	c->subscribed[i] = c->subscribed[--c->subscribers];
	if (c->subscribers)
		return;
	if (c->notify_fd >= 0)
		close_notify(c);
	else
		tell(c, "StopNotify");
}

void server_link_gone(struct link *l)
{
	struct app *app;
	struct gservice *s;
	struct gchr *c;

	for (int i = 0; i < 2; i++)
		for (each(app, &l->end[i]->adapter->apps))
			for (each(s, &app->services))
				for (each(c, &s->chrs))
					unsubscribe(c, l);
}

void server_chr_free(struct gchr *c)
{
	struct op *op;

	sd_bus_slot_unref(c->acquire);
	while ((op = TAILQ_FIRST(&c->asked)))
		att_answer(op, ATT_UNLIKELY, NULL, 0);
	close_write(c);
	close_notify(c);
	free(c->path);
	free(c);
}

/* --- what arrives --------------------------------------------------------------- */

static int check(struct op *op, struct gchr *c, struct gdesc *d)
{
	struct board *b = link_board(op->link, !op->side);
	uint32_t props = d ? d->flags : c->props;

	if (op->kind == OP_READ && !d && op->handle == c->handle + 2)
		return 0; /* the subscription itself */
	if (op->kind == OP_READ)
		return props & PROP_READ && c->app->owner ? 0 : ATT_READ_NOT_PERMITTED;
	if (op->kind == OP_CCC)
		return 0;
	if (!(props & (op->kind == OP_COMMAND ? PROP_COMMAND : PROP_WRITE)) || !c->app->owner)
		return ATT_WRITE_NOT_PERMITTED;
	if (op->len + op->offset > RADIO_WRITE)
		return ATT_INVALID_LENGTH;
	if (b->fail_writes > 0) {
		b->fail_writes--;
		return ATT_UNLIKELY;
	}
	return 0;
}

static void read_ccc(struct op *op, struct gchr *c)
{
	uint8_t value[2] = {};

	for (unsigned i = 0; i < c->subscribers; i++)
		if (c->subscribed[i] == op->link)
			value[0] = c->props & PROP_NOTIFY ? 1 : 2;
	att_answer(op, 0, value, sizeof(value));
}

void server_handle(struct op *op)
{
	struct adapter *a = op->link->end[!op->side]->adapter;
	struct gdesc *d;
	struct gchr *c = server_find(a, op->handle, &d);
	int code = c ? check(op, c, d) : ATT_INVALID_HANDLE, r = 0;

	if (code) {
		att_answer(op, code, NULL, 0);
		return;
	}
	if (op->kind == OP_CCC) {
		if (op->data[0])
			subscribe(c, op->link, !op->side);
		else
			unsubscribe(c, op->link);
		att_answer(op, 0, NULL, 0);
		return;
	}
	if (op->kind == OP_READ && !d && op->handle == c->handle + 2) {
		read_ccc(op, c);
		return;
	}
	r = op->kind == OP_READ ? ask_read(op, c, d) : take_write(op, c, d);
	if (r < 0)
		att_answer(op, ATT_UNLIKELY, NULL, 0);
}
