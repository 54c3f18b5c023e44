/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads, writes and notifications on a link.
 *
 * Channels (AcquireWrite, AcquireNotify) are preferred: one packet each way per frame, without a
 * method call. Where BlueZ refuses one, WriteValue and StartNotify serve. Writes go one at a time
 * per link: BlueZ answers a second one on the same characteristic with InProgress.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "link/bluez-link.h"

#define CHANNEL_BYTES                                                                              \
	4096	      /* a channel's buffer: little, for what is in there goes before an unlock */
#define AGAIN_MS  20u /* InProgress: first pause, doubles to x16 */
#define DRAIN_MAX 64u

bool gatt_no_answer(DBusMessage *reply)
{
	return dbus_message_is_error(reply, DBUS_ERROR_NO_REPLY) ||
	       dbus_message_is_error(reply, DBUS_ERROR_TIMEOUT) ||
	       dbus_message_is_error(reply, DBUS_ERROR_DISCONNECTED);
}

void gatt_zombie(struct bluez_link *link)
{
	if (link->state == LINK_SETUP)
		link_setup_done(link, BLUEZ_TIMEOUT, "connected, but it does not answer");
	else
		link_close(link, BLUEZ_TIMEOUT, "an operation got no answer");
}

/* --- binding to the table --- */

static const struct bluez_object *find_chr(const struct bluez_device *device, const char *service,
					   const char *uuid)
{
	const struct bluez_object *object;
	size_t len = strlen(service);

	LIST_FOREACH(object, &device->objects, entry)
	if (!object->is_service && strcmp(object->uuid, uuid) == 0 &&
	    strncmp(object->path, service, len) == 0 && object->path[len] == '/')
		return object;
	return NULL;
}

static unsigned frame_of(unsigned mtu)
{
	unsigned frame = mtu > 23 ? mtu - 3 : 20; /* 23: what ATT guarantees */

	return frame < BLUEZ_FRAME_MAX ? frame : BLUEZ_FRAME_MAX;
}

static bool all_there(const struct bluez_link *link, const char *service)
{
	const struct bluez_chr *wanted = link->profile.chrs;

	for (unsigned i = 0; i < BLUEZ_MAX_CHRS && wanted[i].uuid; i++)
		if (!(wanted[i].flags & BLUEZ_OPTIONAL) &&
		    !find_chr(link->device, service, wanted[i].uuid))
			return false;
	return true;
}

static void bind_chr(struct bluez_link *link, unsigned index, const struct bluez_object *object)
{
	struct link_chr *chr = &link->chrs[index];

	*chr = (struct link_chr){.link = link, .index = index, .notify_fd = -1, .write_fd = -1};
	STAILQ_INIT(&chr->held);
	if (!object)
		return;
	chr->path = strdup(object->path);
	chr->flags = object->flags;
	if (object->mtu)
		link->frame = frame_of(object->mtu);
}

int gatt_bind(struct bluez_link *link)
{
	const struct bluez_chr *wanted = link->profile.chrs;
	const struct bluez_object *object, *service = NULL;

	LIST_FOREACH(object, &link->device->objects, entry)
	if (object->is_service && strcmp(object->uuid, link->profile.service) == 0 &&
	    all_there(link, object->path))
		service = object;
	if (!service)
		return -ENOENT;
	gatt_unbind(link);
	link->frame = frame_of(0);
	for (unsigned i = 0; i < BLUEZ_MAX_CHRS && wanted[i].uuid; i++) {
		object = find_chr(link->device, service->path, wanted[i].uuid);
		bind_chr(link, i, object);
		link->n_chrs = i + 1;
		if (object && !link->chrs[i].path)
			return -ENOMEM;
	}
	return 0;
}

static void close_channel(int *fd, sd_event_source **source)
{
	/* Off the loop first: epoll would go on watching a duplicate of the number. */
	*source = sd_event_source_disable_unref(*source);
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void drop_held(struct link_chr *chr)
{
	struct link_held *held;

	while ((held = STAILQ_FIRST(&chr->held))) {
		STAILQ_REMOVE_HEAD(&chr->held, entry);
		free(held);
	}
	chr->n_held = 0;
}

void gatt_unbind(struct bluez_link *link)
{
	for (unsigned i = 0; i < link->n_chrs; i++) {
		struct link_chr *chr = &link->chrs[i];

		bus_call_cancel(chr->read);
		bus_call_cancel(chr->subscribe);
		bus_call_cancel(chr->acquire);
		close_channel(&chr->notify_fd, &chr->notify_io);
		close_channel(&chr->write_fd, &chr->write_io);
		drop_held(chr);
		free(chr->path);
		chr->path = NULL;
	}
	link->n_chrs = 0;
	link->setups = 0;
	write_drop_all(link);
}

struct link_chr *gatt_chr(struct bluez_link *link, unsigned index)
{
	return index < link->n_chrs && link->chrs[index].path ? &link->chrs[index] : NULL;
}

static struct link_chr *chr_by_path(struct bluez_link *link, const char *path)
{
	for (unsigned i = 0; i < link->n_chrs; i++)
		if (link->chrs[i].path && strcmp(link->chrs[i].path, path) == 0)
			return &link->chrs[i];
	return NULL;
}

static int call_with_options(struct link_chr *chr, const char *member,
			     void (*reply)(struct DBusMessage *, void *), struct bus_call **slot)
{
	struct bluez *b = chr->link->bluez;
	cleanup(message_unrefp) DBusMessage *call =
		bluez_message(chr->path, BLUEZ_GATT_CHR, member);
	DBusMessageIter args;

	if (!call)
		return -ENOMEM;
	dbus_message_iter_init_append(call, &args);
	if (!bluez_append_options(&args, NULL, NULL))
		return -ENOMEM;
	return bus_call(b->bus, call, b->options.operation_ms, reply, chr, slot);
}

static int take_channel(DBusMessage *reply, unsigned *mtu)
{
	dbus_uint16_t value = 0;
	int fd = -1;

	if (message_is_error(reply) ||
	    !dbus_message_get_args(reply, NULL, DBUS_TYPE_UNIX_FD, &fd, DBUS_TYPE_UINT16, &value,
				   DBUS_TYPE_INVALID))
		return -1;
	*mtu = value;
	return fd;
}

/* --- notifications --- */

static void notify(struct link_chr *chr, struct span value)
{
	if (chr->link->state == LINK_READY || chr->link->state >= LINK_CLOSING)
		chr->link->ops->notified(chr->link, chr->index, value, chr->link->user);
}

static ssize_t receive(struct link_chr *chr)
{
	uint8_t buffer[BLUEZ_VALUE_MAX + 1];
	ssize_t n = recv(chr->notify_fd, buffer, sizeof(buffer), MSG_DONTWAIT);

	if (n > 0)
		notify(chr, span_of(buffer, (size_t)n));
	return n;
}

static int on_notify_io(sd_event_source *source, int fd, uint32_t events, void *user)
{
	struct link_chr *chr = user;
	ssize_t n = receive(chr);

	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return 0;
	if (n == 0 && !(events & EPOLLHUP)) /* an empty notification */
		return 0;
	/* The peer let go, or its application died; Connected may still say true. */
	close_channel(&chr->notify_fd, &chr->notify_io);
	if (chr->link->state == LINK_READY)
		link_close(chr->link, BLUEZ_LOST, "notifications ended");
	return 0;
}

void gatt_listen(struct bluez_link *link)
{
	for (unsigned i = 0; i < link->n_chrs; i++)
		if (link->chrs[i].notify_io)
			sd_event_source_set_enabled(link->chrs[i].notify_io, SD_EVENT_ON);
}

void gatt_drain(struct bluez_link *link)
{
	/* Connected=false and the last notification come by different ways. */
	for (unsigned i = 0; i < link->n_chrs; i++)
		for (unsigned n = 0; link->chrs[i].notify_fd >= 0 && n < DRAIN_MAX; n++)
			if (receive(&link->chrs[i]) <= 0)
				break;
}

static void setup_step(struct bluez_link *link)
{
	if (--link->setups == 0)
		link_setup_done(link, BLUEZ_CLOSED, NULL);
}

static void subscribed(struct link_chr *chr, int r)
{
	struct bluez_link *link = chr->link;

	if (chr->subscribing) {
		chr->subscribing = false;
		link->ops->subscribed(link, chr->index, r, link->user);
	} else if (link->state == LINK_SETUP && r < 0 &&
		   !(link->profile.chrs[chr->index].flags & BLUEZ_OPTIONAL)) {
		link_setup_done(link, BLUEZ_PROTOCOL, "connected, but notifications are refused");
	} else if (link->state == LINK_SETUP) {
		setup_step(link);
	}
}

static void on_notifying(struct DBusMessage *reply, void *user)
{
	struct link_chr *chr = user;
	struct bluez_link *link = chr->link;

	if (message_is_error(reply) && gatt_no_answer(reply)) {
		gatt_zombie(link);
		subscribed(chr, -ETIMEDOUT);
		return;
	}
	/* BlueZ says yes here even when the link is down by now. */
	chr->by_signal = !message_is_error(reply) && link->device->connected;
	subscribed(chr, chr->by_signal ? 0 : -EIO);
}

static int start_notify(struct link_chr *chr)
{
	struct bluez *b = chr->link->bluez;

	return bluez_call(b, chr->path, BLUEZ_GATT_CHR, "StartNotify", b->options.operation_ms,
			  on_notifying, chr, &chr->subscribe);
}

static void on_notify_channel(struct DBusMessage *reply, void *user)
{
	struct link_chr *chr = user;
	struct bluez_link *link = chr->link;
	unsigned mtu;
	int r;

	if (message_is_error(reply) && gatt_no_answer(reply)) {
		gatt_zombie(link);
		subscribed(chr, -ETIMEDOUT);
		return;
	}
	chr->notify_fd = take_channel(reply, &mtu);
	if (chr->notify_fd < 0) {
		/* NotSupported, NotPermitted: only indicates, or somebody else has it. */
		r = start_notify(chr);
		if (r < 0)
			subscribed(chr, r);
		return;
	}
	r = sd_event_add_io(link->bluez->event, &chr->notify_io, chr->notify_fd, EPOLLIN,
			    on_notify_io, chr);
	if (r >= 0 && link->state != LINK_READY)
		r = sd_event_source_set_enabled(chr->notify_io, SD_EVENT_OFF);
	if (r < 0)
		close_channel(&chr->notify_fd, &chr->notify_io);
	subscribed(chr, r < 0 ? r : 0);
}

static int subscribe(struct link_chr *chr)
{
	/* AcquireNotify refuses what only indicates, until BlueZ 5.80. */
	if (chr->flags & CHR_NOTIFY)
		return call_with_options(chr, "AcquireNotify", on_notify_channel, &chr->subscribe);
	return chr->flags & CHR_INDICATE ? start_notify(chr) : -EOPNOTSUPP;
}

int bluez_subscribe(struct bluez_link *link, unsigned index)
{
	struct link_chr *chr = gatt_chr(link, index);
	int r;

	if (link->state != LINK_READY)
		return -ENOTCONN;
	if (!chr)
		return -ENOENT;
	if (chr->subscribing || chr->by_signal || chr->notify_fd >= 0)
		return -EALREADY;
	r = subscribe(chr);
	if (r == 0)
		chr->subscribing = true;
	return r;
}

/* BlueZ shows what anybody read as a change of Value too, before or after it answers. While a read
 * is under way changes are held; one that equals what was read is its echo. */
void gatt_value_changed(struct bluez_link *link, const char *path, struct span value)
{
	struct link_chr *chr = chr_by_path(link, path);
	struct link_held *held;

	if (!chr || !chr->by_signal || value.len > BLUEZ_VALUE_MAX)
		return;
	if (chr->echo_due && span_equal(value, span_of(chr->echo, chr->echo_len))) {
		chr->echo_due = false;
		return;
	}
	if (!chr->reading || chr->n_held >= DRAIN_MAX) {
		notify(chr, value);
		return;
	}
	held = malloc(sizeof(*held) + value.len);
	if (!held)
		return;
	held->len = value.len;
	if (value.len)
		memcpy(held->data, value.data, value.len);
	STAILQ_INSERT_TAIL(&chr->held, held, entry);
	chr->n_held++;
}

static void release_held(struct link_chr *chr, bool has_read, struct span read)
{
	bool echoed = !has_read;
	struct link_held *held;

	while ((held = STAILQ_FIRST(&chr->held))) {
		struct span value = span_of(held->data, held->len);

		STAILQ_REMOVE_HEAD(&chr->held, entry);
		chr->n_held--;
		if (!echoed && span_equal(value, read))
			echoed = true;
		else
			notify(chr, value);
		free(held);
	}
	chr->echo_due = !echoed && chr->by_signal && read.len <= BLUEZ_VALUE_MAX;
	if (!chr->echo_due)
		return;
	chr->echo_len = read.len;
	if (read.len)
		memcpy(chr->echo, read.data, read.len);
}

/* --- reading --- */

static int read_result(DBusMessage *reply, struct span *value)
{
	DBusMessageIter args;

	*value = span_of(NULL, 0);
	if (!message_is_error(reply))
		return dbus_message_iter_init(reply, &args) && bluez_get_bytes(&args, value) ? 0
											     : -EIO;
	if (gatt_no_answer(reply))
		return -ETIMEDOUT;
	if (bluez_error_is_absent(reply))
		return -ENOENT;
	return dbus_message_is_error(reply, "org.bluez.Error.InProgress") ? -EBUSY : -EIO;
}

static void on_read(struct DBusMessage *reply, void *user)
{
	struct link_chr *chr = user;
	struct bluez_link *link = chr->link;
	struct span value;
	int r = read_result(reply, &value);

	chr->reading = false;
	if (r == -ETIMEDOUT)
		gatt_zombie(link);
	release_held(chr, r == 0, value);
	link->ops->read_done(link, chr->index, r, value, link->user);
}

int bluez_read(struct bluez_link *link, unsigned index)
{
	struct link_chr *chr = gatt_chr(link, index);
	int r;

	if (link->state != LINK_READY)
		return -ENOTCONN;
	if (!chr)
		return -ENOENT;
	if (chr->reading)
		return -EBUSY;
	r = call_with_options(chr, "ReadValue", on_read, &chr->read);
	if (r == 0)
		chr->reading = true;
	return r;
}

/* --- the write channel ----------------------------------------------------------------- */

static int on_write_io(sd_event_source *source, int fd, uint32_t events, void *user)
{
	struct link_chr *chr = user;

	write_pump(chr->link);
	return 0;
}

static void on_write_channel(struct DBusMessage *reply, void *user)
{
	struct link_chr *chr = user;
	struct bluez_link *link = chr->link;
	int size = CHANNEL_BYTES;
	unsigned mtu = 0;

	if (message_is_error(reply) && gatt_no_answer(reply)) {
		gatt_zombie(link);
		return;
	}
	/* Refused: WriteValue will do. */
	chr->write_fd = take_channel(reply, &mtu);
	if (chr->write_fd >= 0) {
		setsockopt(chr->write_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		if (sd_event_add_io(link->bluez->event, &chr->write_io, chr->write_fd, EPOLLOUT,
				    on_write_io, chr) < 0 ||
		    sd_event_source_set_enabled(chr->write_io, SD_EVENT_OFF) < 0)
			close_channel(&chr->write_fd, &chr->write_io);
		else
			link->frame = frame_of(mtu);
	}
	setup_step(link);
}

/* --- beginning and end --- */

void gatt_setup(struct bluez_link *link)
{
	link->setups = 1; /* not done before the last is begun */
	for (unsigned i = 0; i < link->n_chrs && link->state == LINK_SETUP; i++) {
		struct link_chr *chr = &link->chrs[i];
		unsigned flags = chr->path ? link->profile.chrs[i].flags : 0;

		if ((flags & BLUEZ_COMMAND) && (chr->flags & CHR_COMMAND) &&
		    call_with_options(chr, "AcquireWrite", on_write_channel, &chr->acquire) == 0)
			link->setups++;
		if (flags & BLUEZ_SUBSCRIBE) {
			int r;

			link->setups++;
			r = subscribe(chr);
			if (r < 0)
				subscribed(chr, r);
		}
	}
	if (link->state == LINK_SETUP)
		setup_step(link);
}

void gatt_report_all(struct bluez_link *link)
{
	for (unsigned i = 0; i < link->n_chrs; i++) {
		struct link_chr *chr = &link->chrs[i];

		bus_call_cancel(chr->read);
		bus_call_cancel(chr->subscribe);
		release_held(chr, false, span_of(NULL, 0));
		if (chr->subscribing) {
			chr->subscribing = false;
			link->ops->subscribed(link, i, -ECONNRESET, link->user);
		}
		if (chr->reading) {
			chr->reading = false;
			link->ops->read_done(link, i, -ECONNRESET, span_of(NULL, 0), link->user);
		}
	}
	write_report_all(link);
}
