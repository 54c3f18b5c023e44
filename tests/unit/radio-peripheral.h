/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A small peripheral for tests, meant for a process of its own so that it can be stopped and
 * killed: a value to read, an inbox that comes back out of the outbox, a slow door for writes with
 * response.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "core/span.h"

#define SERVICE "2ff90001-f488-4501-a0b4-1a1753dee155"
#define INFO	"2ff90002-f488-4501-a0b4-1a1753dee155"
#define INBOX	"2ff90003-f488-4501-a0b4-1a1753dee155"
#define OUTBOX	"2ff90004-f488-4501-a0b4-1a1753dee155"
#define SLOW	"2ff90009-f488-4501-a0b4-1a1753dee155"
#define PIPE	"2ff9000a-f488-4501-a0b4-1a1753dee155" /* echoes over sockets */
#define CHR	"org.bluez.GattCharacteristic1"

struct attr {
	const char *path, *uuid, *flags[3];
	uint8_t value[512];
	size_t len;
};

static struct attr attrs[] = {
	{"/lock/s/info", INFO, {"read"}, {0}, 300},
	{"/lock/s/inbox", INBOX, {"write", "write-without-response"}, {0}, 0},
	{"/lock/s/outbox", OUTBOX, {"notify"}, {0}, 0},
	{"/lock/s/slow", SLOW, {"write"}, {0}, 0},
	{"/lock/s/pipe", PIPE, {"write-without-response", "notify"}, {0}, 0},
};

static inline int get_uuid(sd_bus *bus, const char *path, const char *iface, const char *p,
			   sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "s", user ? ((struct attr *)user)->uuid : SERVICE);
}

static inline int get_true(sd_bus *bus, const char *path, const char *iface, const char *p,
			   sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "b", 1);
}

static inline int get_service(sd_bus *bus, const char *path, const char *iface, const char *p,
			      sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "o", "/lock/s");
}

static inline int get_flags(sd_bus *bus, const char *path, const char *iface, const char *p,
			    sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append_strv(m, (char **)((struct attr *)user)->flags);
}

static inline int get_value(sd_bus *bus, const char *path, const char *iface, const char *p,
			    sd_bus_message *m, void *user, sd_bus_error *e)
{
	struct attr *a = user;

	return sd_bus_message_append_array(m, 'y', a->value, a->len);
}

static inline uint16_t offset_of(sd_bus_message *m)
{
	uint16_t offset = 0;

	sd_bus_message_enter_container(m, 'a', "{sv}");
	while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
		const char *key;

		sd_bus_message_read(m, "s", &key);
		if (!strcmp(key, "offset"))
			sd_bus_message_read(m, "v", "q", &offset);
		else
			sd_bus_message_skip(m, "v");
		sd_bus_message_exit_container(m);
	}
	return offset;
}

static inline int on_read_value(sd_bus_message *m, void *user, sd_bus_error *e)
{
	struct attr *a = user;
	uint16_t offset = offset_of(m);
	sd_bus_message *reply;
	int r;

	if (offset > a->len)
		return sd_bus_reply_method_errorf(m, "org.bluez.Error.InvalidOffset", "no");
	sd_bus_message_new_method_return(m, &reply);
	sd_bus_message_append_array(reply, 'y', a->value + offset, a->len - offset);
	r = sd_bus_send(NULL, reply, NULL);
	sd_bus_message_unref(reply);
	return r;
}

/* What is written into the inbox comes back out of the outbox. */
static inline int on_write_value(sd_bus_message *m, void *user, sd_bus_error *e)
{
	struct attr *a = user, *out = &attrs[2];
	const void *data;
	int r = sd_bus_message_read_array(m, 'y', &data, &a->len);

	if (r < 0)
		return r;
	memcpy(a->value, data, a->len);
	r = sd_bus_reply_method_return(m, NULL);
	if (a != &attrs[1])
		return r;
	memcpy(out->value, a->value, a->len);
	out->len = a->len;
	return sd_bus_emit_properties_changed(sd_bus_message_get_bus(m), out->path, CHR, "Value",
					      NULL);
}

static inline int on_nothing(sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_reply_method_return(m, NULL);
}

/* AcquireWrite and AcquireNotify: one end for the daemon, one to echo with */
static int pipe_fd[2] = {-1, -1}; /* to read from, to write to */

static int on_acquire(sd_bus_message *m, void *user, sd_bus_error *e)
{
	int fds[2], r, *keep = &pipe_fd[!strcmp(sd_bus_message_get_member(m), "AcquireNotify")];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	if (*keep >= 0)
		close(*keep);
	*keep = fds[0];
	r = sd_bus_reply_method_return(m, "hq", fds[1], 517);
	close(fds[1]);
	return r;
}

static inline void echo_pipe(void)
{
	uint8_t data[512];
	ssize_t n = recv(pipe_fd[0], data, sizeof(data), 0);

	if (n > 0)
		n = send(pipe_fd[1], data, (size_t)n, MSG_NOSIGNAL);
	else if (n == 0 || errno != EAGAIN) {
		close(pipe_fd[0]);
		pipe_fd[0] = -1;
	}
}

static const sd_bus_vtable pipe_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("UUID", "s", get_uuid, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Service", "o", get_service, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Flags", "as", get_flags, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("WriteAcquired", "b", get_true, 0, 0),
	SD_BUS_PROPERTY("NotifyAcquired", "b", get_true, 0, 0),
	SD_BUS_METHOD("AcquireWrite", "a{sv}", "hq", on_acquire, 0),
	SD_BUS_METHOD("AcquireNotify", "a{sv}", "hq", on_acquire, 0),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable service_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("UUID", "s", get_uuid, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Primary", "b", get_true, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable chr_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("UUID", "s", get_uuid, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Service", "o", get_service, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Flags", "as", get_flags, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Value", "ay", get_value, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_METHOD("ReadValue", "a{sv}", "ay", on_read_value, 0),
	SD_BUS_METHOD("WriteValue", "aya{sv}", NULL, on_write_value, 0),
	SD_BUS_METHOD("StartNotify", NULL, NULL, on_nothing, 0),
	SD_BUS_METHOD("StopNotify", NULL, NULL, on_nothing, 0),
	SD_BUS_VTABLE_END,
};

static inline int get_type(sd_bus *bus, const char *path, const char *iface, const char *p,
			   sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "s", "peripheral");
}

static inline int get_data(sd_bus *bus, const char *path, const char *iface, const char *p,
			   sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "a{sv}", 1, SERVICE, "ay", 8, 1, 0, 7, 7, 0xaa, 0xbb, 0xcc,
				     0xdd);
}

static inline int get_too_much(sd_bus *bus, const char *path, const char *iface, const char *p,
			       sd_bus_message *m, void *user, sd_bus_error *e)
{
	return sd_bus_message_append(m, "as", 1, SERVICE);
}

static const sd_bus_vtable advert_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Type", "s", get_type, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("ServiceData", "a{sv}", get_data, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Discoverable", "b", get_true, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_METHOD("Release", NULL, NULL, on_nothing, 0),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable fat_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Type", "s", get_type, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("ServiceData", "a{sv}", get_data, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("ServiceUUIDs", "as", get_too_much, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_VTABLE_END,
};

static inline int on_registered(sd_bus_message *m, void *user, sd_bus_error *e)
{
	char c = sd_bus_message_is_method_error(m, NULL) ? 'E' : 'R';

	return write(*(int *)user, &c, 1) == 1 ? 0 : -EIO;
}

static inline void peripheral(int ready, const char *adapter)
{
	sd_bus *bus;
	int r = sd_bus_open_system(&bus);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t i = 0; i < sizeof(attrs[0].value); i++)
		attrs[0].value[i] = (uint8_t)i;
	r = r < 0 ? r : sd_bus_add_object_manager(bus, NULL, "/lock");
	r = r < 0 ? r
		  : sd_bus_add_object_vtable(bus, NULL, "/lock/s", "org.bluez.GattService1",
					     service_vtable, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(attrs); i++)
		r = r < 0 ? r
			  : sd_bus_add_object_vtable(bus, NULL, attrs[i].path, CHR,
						     strcmp(attrs[i].uuid, PIPE) ? chr_vtable
										 : pipe_vtable,
						     &attrs[i]);
	r = r < 0 ? r
		  : sd_bus_add_object_vtable(bus, NULL, "/adv", "org.bluez.LEAdvertisement1",
					     advert_vtable, NULL);
	r = r < 0 ? r
		  : sd_bus_add_object_vtable(bus, NULL, "/fat", "org.bluez.LEAdvertisement1",
					     fat_vtable, NULL);
	r = r < 0 ? r
		  : sd_bus_call_method_async(bus, NULL, "org.bluez", adapter,
					     "org.bluez.GattManager1", "RegisterApplication",
					     on_registered, &ready, "oa{sv}", "/lock", 0);
	r = r < 0 ? r
		  : sd_bus_call_method_async(
			    bus, NULL, "org.bluez", adapter, "org.bluez.LEAdvertisingManager1",
			    "RegisterAdvertisement", on_registered, &ready, "oa{sv}", "/adv", 0);
	r = r < 0 ? r
		  : sd_bus_call_method_async(
			    bus, NULL, "org.bluez", adapter, "org.bluez.LEAdvertisingManager1",
			    "RegisterAdvertisement", on_registered, &ready, "oa{sv}", "/fat", 0);
	while (r >= 0) {
		r = sd_bus_process(bus, NULL);
		if (r == 0) {
			struct pollfd p[] = {{.fd = sd_bus_get_fd(bus), .events = POLLIN},
					     {.fd = pipe_fd[0], .events = POLLIN}};

			poll(p, 2, -1);
			if (p[1].revents)
				echo_pipe();
		}
	}
	_exit(1);
}
