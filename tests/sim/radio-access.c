/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ReadValue and WriteValue of characteristics and descriptors, with the errors of 5.66.
 */
#include "sim/radio.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#define CCC "00002902-0000-1000-8000-00805f9b34fb"

struct options {
	uint16_t offset;
	char type[12]; /* empty: not given */
};

static int read_options(sd_bus_message *m, struct options *ret)
{
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		const char *key, *type;

		r = sd_bus_message_read(m, "s", &key);
		if (r >= 0 && !strcasecmp(key, "offset")) {
			r = sd_bus_message_read(m, "v", "q", &ret->offset);
		} else if (r >= 0 && !strcasecmp(key, "type")) {
			r = sd_bus_message_read(m, "v", "s", &type);
			if (r >= 0)
				snprintf(ret->type, sizeof(ret->type), "%s", type);
		} else if (r >= 0) {
			r = sd_bus_message_skip(m, "v");
		}
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r;
}

int refuse_att(struct radio *r, sd_bus_message *m, int ecode)
{
	char text[48];

	switch (ecode) {
	case ATT_READ_NOT_PERMITTED:
		return refuse(r, m, "NotPermitted", "Read not permitted");
	case ATT_WRITE_NOT_PERMITTED:
		return refuse(r, m, "NotPermitted", "Write not permitted");
	case ATT_INVALID_OFFSET:
		return refuse(r, m, "InvalidArguments", "Invalid offset");
	case ATT_INVALID_LENGTH:
		return refuse(r, m, "InvalidArguments", "Invalid Length");
	case ATT_AUTHORIZATION:
		return refuse(r, m, "NotAuthorized", "Operation Not Authorized");
	case ATT_NOT_SUPPORTED:
		return refuse(r, m, "NotSupported", "Operation is not supported");
	}
	snprintf(text, sizeof(text), "Operation failed with ATT error: 0x%02x", (unsigned)ecode);
	return refuse(r, m, "Failed", text);
}

/* Whom a call is for: a characteristic's value or a descriptor. */
struct target {
	struct rchar *chr;
	struct object *obj;
	struct access *access;
	uint16_t handle;
	const char *iface;
};

static struct target of_chr(struct object *o)
{
	struct rchar *c = o->user;

	return (struct target){c, o, &c->access, (uint16_t)(c->handle + 1),
			       "org.bluez.GattCharacteristic1"};
}

static struct target of_desc(struct object *o)
{
	struct rdesc *d = o->user;

	return (struct target){d->chr, o, &d->access, d->handle, "org.bluez.GattDescriptor1"};
}

static struct target of(struct object *o)
{
	return strcmp(o->ifaces[0]->name, "org.bluez.GattDescriptor1") ? of_chr(o) : of_desc(o);
}

/* --- read ----------------------------------------------------------------------- */

static void answer_readers(struct target t, int ecode)
{
	struct access *x = t.access;

	if (!ecode) {
		memcpy(x->value + x->offset, x->buffer + x->offset, x->fill - x->offset);
		x->len = x->fill;
		x->cached = true;
		object_changed(t.obj, t.iface, "Value");
	}
	bus_flush(t.obj->radio);
	for (unsigned i = 0; i < x->waiting; i++) {
		cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL, *m = x->readers[i];

		if (ecode) {
			refuse_att(t.obj->radio, m, ecode);
			continue;
		}
		if (sd_bus_message_new_method_return(m, &reply) >= 0 &&
		    sd_bus_message_append_array(reply, 'y', x->buffer + x->offset,
						x->fill - x->offset) >= 0)
			sd_bus_send(NULL, reply, NULL);
	}
	x->waiting = 0;
}

/* An answer that fills the packet may have more behind it: read on, as a long read does. */
static void on_read(struct op *op, void *user)
{
	struct target t = of(user);
	struct access *x = t.access;
	struct device *d = t.chr->service->device;
	size_t full = op->link->radio->set.mtu - 1;

	x->read = NULL;
	if (op->ecode) {
		answer_readers(t, op->ecode);
		return;
	}
	if (op->len > sizeof(x->buffer) - x->fill)
		op->len = sizeof(x->buffer) - x->fill;
	memcpy(x->buffer + x->fill, op->data, op->len);
	x->fill += op->len;
	if (op->len == full && x->fill < sizeof(x->buffer) &&
	    att_submit(d->link, d->side, OP_READ, t.handle, (uint16_t)x->fill, NULL, 0, on_read,
		       user, &x->read) >= 0)
		return;
	answer_readers(t, 0);
}

static int read_value(struct target t, sd_bus_message *m)
{
	struct radio *r = t.obj->radio;
	struct access *x = t.access;
	struct device *d = t.chr->service->device;
	struct options opt = {};
	int rc;

	if (!client_bearer(t.chr))
		return refuse(r, m, "Failed", "Not connected");
	if (read_options(m, &opt) < 0)
		return refuse(r, m, "InvalidArguments", "Invalid arguments in method call");
	if (opt.offset > sizeof(x->value))
		return refuse_att(r, m, ATT_INVALID_OFFSET);
	if (x->waiting && (x->offset != opt.offset || x->waiting == ARRAY_SIZE(x->readers)))
		return refuse(r, m, "InProgress", "In Progress");
	if (!x->waiting) {
		x->offset = opt.offset;
		x->fill = opt.offset;
		rc = att_submit(d->link, d->side, OP_READ, t.handle, opt.offset, NULL, 0, on_read,
				t.obj, &x->read);
		if (rc < 0)
			return refuse(r, m, "Failed", "Failed to send read request");
	}
	x->readers[x->waiting++] = sd_bus_message_ref(m);
	return 0;
}

int chr_read(struct object *o, sd_bus_message *m)
{
	return read_value(of_chr(o), m);
}

static int desc_read(struct object *o, sd_bus_message *m)
{
	return read_value(of_desc(o), m);
}

/* --- write ---------------------------------------------------------------------- */

static void on_written(struct op *op, void *user)
{
	struct target t = of(user);
	struct access *x = t.access;

	x->write = NULL;
	if (op->ecode)
		refuse_att(t.obj->radio, x->writer, op->ecode);
	else
		answer(t.obj->radio, x->writer);
	x->writer = sd_bus_message_unref(x->writer);
}

static int write_request(struct target t, sd_bus_message *m, const void *data, size_t len,
			 uint16_t offset)
{
	struct device *d = t.chr->service->device;
	int r;

	if (len > RADIO_VALUE)
		return refuse_att(t.obj->radio, m, ATT_INVALID_LENGTH);
	r = att_submit(d->link, d->side, OP_WRITE, t.handle, offset, data, len, on_written, t.obj,
		       &t.access->write);
	if (r < 0)
		return refuse(t.obj->radio, m, "Failed", "Failed to initiate write");
	t.access->writer = sd_bus_message_ref(m);
	return 0;
}

static int write_command(struct target t, sd_bus_message *m, const void *data, size_t len)
{
	struct device *d = t.chr->service->device;
	struct radio *r = t.obj->radio;

	if (len > r->set.mtu - 3 ||
	    att_submit(d->link, d->side, OP_COMMAND, t.handle, 0, data, len, NULL, NULL, NULL) < 0)
		return refuse(r, m, "Failed", "Failed to initiate write");
	return answer(r, m);
}

static int read_arguments(sd_bus_message *m, const void **data, size_t *len, struct options *opt)
{
	int r = sd_bus_message_read_array(m, 'y', data, len);

	return r < 0 ? r : read_options(m, opt);
}

/* Without a type the properties decide: request before command. */
int chr_write(struct object *o, sd_bus_message *m)
{
	struct rchar *c = o->user;
	struct options opt = {};
	const void *data;
	size_t len;

	if (!client_bearer(c))
		return refuse(o->radio, m, "Failed", "Not connected");
	if (c->write_fd >= 0)
		return refuse(o->radio, m, "NotPermitted", "Write acquired");
	if (c->access.write)
		return refuse(o->radio, m, "InProgress", "In Progress");
	if (read_arguments(m, &data, &len, &opt) < 0)
		return refuse(o->radio, m, "InvalidArguments", "Invalid arguments in method call");
	if (!strcasecmp(opt.type, "request") || !strcasecmp(opt.type, "reliable") ||
	    (!opt.type[0] && (c->props & PROP_WRITE)))
		return write_request(of_chr(o), m, data, len, opt.offset);
	if (opt.offset || (opt.type[0] && strcasecmp(opt.type, "command") != 0) ||
	    (!opt.type[0] && !(c->props & PROP_COMMAND)))
		return refuse(o->radio, m, "NotSupported", "Operation is not supported");
	return write_command(of_chr(o), m, data, len);
}

static int desc_write(struct object *o, sd_bus_message *m)
{
	struct rdesc *d = o->user;
	struct options opt = {};
	const void *data;
	size_t len;

	if (!client_bearer(d->chr))
		return refuse(o->radio, m, "Failed", "Not connected");
	if (d->access.write)
		return refuse(o->radio, m, "InProgress", "In Progress");
	if (read_arguments(m, &data, &len, &opt) < 0)
		return refuse(o->radio, m, "InvalidArguments", "Invalid arguments in method call");
	if (!strcmp(d->uuid, CCC))
		return refuse(o->radio, m, "NotPermitted", "Write not permitted");
	return write_request(of_desc(o), m, data, len, opt.offset);
}

/* The object goes while somebody waits: 5.66 cancels and never answers. */
void access_clear(struct access *x)
{
	att_forget(x->read);
	att_forget(x->write);
	for (unsigned i = 0; i < x->waiting; i++)
		sd_bus_message_unref(x->readers[i]);
	x->waiting = 0;
	x->writer = sd_bus_message_unref(x->writer);
}

const struct method desc_methods[] = {
	{"ReadValue", "a{sv}", "ay", desc_read},
	{"WriteValue", "aya{sv}", "", desc_write},
	{},
};
