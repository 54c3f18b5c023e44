/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of writes of a link, and the truth about each: sent, surely not sent, or unknown. One at
 * a time: BlueZ answers a second WriteValue on the same characteristic with InProgress.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "link/bluez-link.h"

#define AGAIN_MS 20u /* InProgress: first pause, doubles to x16 */

void write_pump(struct bluez_link *link)
{
	sd_event_source_set_enabled(link->pump, SD_EVENT_ONESHOT);
}

static void finish_write(struct bluez_link *link, enum bluez_sent sent)
{
	struct link_write *write = STAILQ_FIRST(&link->writes);
	unsigned index = write->index;

	STAILQ_REMOVE_HEAD(&link->writes, entry);
	if (!write->dropped)
		link->n_writes--;
	free(write);
	link->write_begun = false;
	link->write_retries = 0;
	bluez_timer_stop(link->stuck);
	bluez_timer_stop(link->again);
	if (!STAILQ_EMPTY(&link->writes))
		write_pump(link);
	link->ops->write_done(link, index, sent, link->user);
}

static int on_stuck(sd_event_source *source, uint64_t usec, void *user)
{
	struct bluez_link *link = user;

	/* A channel that stayed full, or InProgress all the time: this one was never taken. */
	gatt_zombie(link);
	if (!link->write_begun && !STAILQ_EMPTY(&link->writes))
		finish_write(link, BLUEZ_NOT_SENT);
	return 0;
}

static void may_get_stuck(struct bluez_link *link)
{
	int enabled = 0;

	if (link->stuck)
		sd_event_source_get_enabled(link->stuck, &enabled);
	if (!enabled)
		bluez_timer(link->bluez, &link->stuck, link->bluez->options.operation_ms, on_stuck,
			    link);
}

static int on_again(sd_event_source *source, uint64_t usec, void *user)
{
	write_pump(user);
	return 0;
}

/* The truth about a refused WriteValue. Failed can be anything: an ATT error of a lock that acted
 * first ("ATT error: 0x0e" after 5 s), or a link that was down before. */
static enum bluez_sent judge(DBusMessage *error)
{
	static const char *const refused[] = {
		"org.bluez.Error.NotPermitted",	      "org.bluez.Error.NotSupported",
		"org.bluez.Error.NotAuthorized",      "org.bluez.Error.InvalidArguments",
		"org.bluez.Error.InvalidValueLength", "org.bluez.Error.NotConnected",
		"org.bluez.Error.InvalidOffset",      DBUS_ERROR_ACCESS_DENIED,
	};

	if (bluez_error_is_absent(error))
		return BLUEZ_NOT_SENT;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		if (dbus_message_is_error(error, refused[i]))
			return BLUEZ_NOT_SENT;
	return BLUEZ_UNKNOWN;
}

static void on_written(struct DBusMessage *reply, void *user)
{
	struct bluez_link *link = user;

	link->write_begun = false;
	if (!message_is_error(reply)) {
		finish_write(link, BLUEZ_SENT);
	} else if (dbus_message_is_error(reply, "org.bluez.Error.InProgress") &&
		   link->state == LINK_READY) {
		may_get_stuck(link);
		bluez_timer(link->bluez, &link->again,
			    bluez_back_off(AGAIN_MS, link->write_retries++, 16), on_again, link);
	} else if (dbus_message_is_error(reply, "org.bluez.Error.InProgress")) {
		finish_write(link, BLUEZ_NOT_SENT);
	} else {
		if (gatt_no_answer(reply))
			gatt_zombie(link);
		finish_write(link, judge(reply));
	}
}

static void write_value(struct bluez_link *link, const struct link_write *write)
{
	struct link_chr *chr = &link->chrs[write->index];
	cleanup(message_unrefp) DBusMessage *call =
		bluez_message(chr->path, BLUEZ_GATT_CHR, "WriteValue");
	const uint8_t *data = write->data;
	DBusMessageIter args, bytes;

	if (call)
		dbus_message_iter_init_append(call, &args);
	if (!call || !dbus_message_iter_open_container(&args, DBUS_TYPE_ARRAY, "y", &bytes) ||
	    !dbus_message_iter_append_fixed_array(&bytes, DBUS_TYPE_BYTE, &data, (int)write->len) ||
	    !dbus_message_iter_close_container(&args, &bytes) ||
	    !bluez_append_options(&args, "type", write->with_response ? "request" : "command") ||
	    bus_call(link->bluez->bus, call, link->bluez->options.operation_ms, on_written, link,
		     &link->writing) < 0)
		finish_write(link, BLUEZ_NOT_SENT);
	else
		link->write_begun = true;
}

/* SOCK_SEQPACKET: the frame goes as a whole or not at all. */
static ssize_t give(const struct bluez_link *link, const struct link_write *write)
{
	int fd = link->chrs[write->index].write_fd;

	return send(fd, write->data, write->len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/*
 * A frame before which none waits leaves at once: somebody may stand at the door, and the rest of this turn
 * of the loop has time. Its report comes by the pump: nobody is called from inside a call.
 */
static void give_at_once(struct bluez_link *link, struct link_write *last)
{
	const struct link_write *write;

	if (link->write_begun || link->chrs[last->index].write_fd < 0)
		return;
	for (write = STAILQ_FIRST(&link->writes); write; write = STAILQ_NEXT(write, entry))
		if (write != last && !write->dropped)
			return;
	last->given = give(link, last) == (ssize_t)last->len;
}

static void write_channel(struct bluez_link *link, const struct link_write *write)
{
	struct link_chr *chr = &link->chrs[write->index];
	ssize_t n = give(link, write);

	if (n == (ssize_t)write->len) {
		finish_write(link, BLUEZ_SENT);
	} else if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS)) {
		may_get_stuck(link);
		sd_event_source_set_enabled(chr->write_io, SD_EVENT_ONESHOT);
	} else {
		link_close(link, BLUEZ_LOST, "the write channel was closed");
		finish_write(link, BLUEZ_NOT_SENT);
	}
}

static int on_pump(sd_event_source *source, void *user)
{
	struct bluez_link *link = user;
	struct link_write *write;

	if (link->write_begun)
		return 0;
	while ((write = STAILQ_FIRST(&link->writes)) && write->dropped)
		finish_write(link, BLUEZ_NOT_SENT);
	if (!write || link->state != LINK_READY || link->write_begun)
		return 0;
	if (write->given)
		finish_write(link, BLUEZ_SENT);
	else if (link->chrs[write->index].write_fd >= 0)
		write_channel(link, write);
	else
		write_value(link, write);
	return 0;
}

int bluez_write(struct bluez_link *link, unsigned index, struct span value, bool with_response)
{
	struct link_chr *chr = gatt_chr(link, index);
	struct link_write *write;

	if (link->state != LINK_READY)
		return -ENOTCONN;
	if (!chr)
		return -ENOENT;
	if (with_response && chr->write_fd >= 0)
		return -EINVAL;
	if (chr->write_fd < 0 && !(chr->flags & (with_response ? CHR_WRITE : CHR_COMMAND)))
		return -EOPNOTSUPP;
	if (value.len > (with_response ? BLUEZ_FRAME_MAX : link->frame))
		return -EMSGSIZE;
	if (link->n_writes >= BLUEZ_WRITE_QUEUE)
		return -ENOBUFS;
	write = calloc(1, sizeof(*write) + value.len);
	if (!write)
		return -ENOMEM;
	write->index = index;
	write->with_response = with_response;
	write->len = value.len;
	if (value.len)
		memcpy(write->data, value.data, value.len);
	STAILQ_INSERT_TAIL(&link->writes, write, entry);
	link->n_writes++;
	give_at_once(link, write);
	write_pump(link);
	return 0;
}

void bluez_drop_writes(struct bluez_link *link)
{
	const struct link_write *first = STAILQ_FIRST(&link->writes);
	struct link_write *write;

	for (write = STAILQ_FIRST(&link->writes); write; write = STAILQ_NEXT(write, entry)) {
		if (write->given || write->dropped || (write == first && link->write_begun))
			continue;
		link->n_writes--;
		write->dropped = true;
	}
	write_pump(link);
}

/* --- beginning and end --- */

int write_init(struct bluez_link *link)
{
	int r;

	STAILQ_INIT(&link->writes);
	r = sd_event_add_defer(link->bluez->event, &link->pump, on_pump, link);
	if (r >= 0)
		r = sd_event_source_set_enabled(link->pump, SD_EVENT_OFF);
	return r;
}

void write_report_all(struct bluez_link *link)
{
	const struct link_write *write;

	bus_call_cancel(link->writing);
	while ((write = STAILQ_FIRST(&link->writes)))
		finish_write(link, write->given	       ? BLUEZ_SENT
				   : link->write_begun ? BLUEZ_UNKNOWN
						       : BLUEZ_NOT_SENT);
}

void write_drop_all(struct bluez_link *link)
{
	struct link_write *write;

	bus_call_cancel(link->writing);
	while ((write = STAILQ_FIRST(&link->writes))) {
		STAILQ_REMOVE_HEAD(&link->writes, entry);
		free(write);
	}
}
