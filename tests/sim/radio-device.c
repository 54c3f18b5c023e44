/* SPDX-License-Identifier: Apache-2.0 */
/*
 * org.bluez.Device1: what one adapter knows of one peer, its life, Connect and Disconnect.
 *
 * A device that was only heard goes when it was silent for TemporaryTimeout; Connect makes it stay
 * (setting always-temporary: it goes all the same).
 */
#include "sim/radio.h"

#include <errno.h>
#include <stdlib.h>

#define DEVICE "org.bluez.Device1"

/* --- Connect -------------------------------------------------------------------- */

void device_connected(struct device *d, const char *error)
{
	d->timeout = sd_event_source_disable_unref(d->timeout);
	d->attempt = sd_event_source_disable_unref(d->attempt);
	if (!d->connect)
		return;
	if (error)
		refuse(d->adapter->radio, d->connect, "Failed", error);
	else
		answer(d->adapter->radio, d->connect);
	d->connect = sd_bus_message_unref(d->connect);
	if (error)
		d->adapter->board->stats.refused++;
	device_linger(d);
}

static int on_connect_timeout(sd_event_source *s, uint64_t usec, void *user)
{
	device_connected(user, "le-connection-abort-by-local");
	return 0;
}

void device_retry(struct device *d)
{
	if (!d->connect || d->attempt || d->link)
		return;
	if (link_attempt(d) == 2)
		device_connected(d, "le-connection-abort-by-local");
}

static int connect_device(struct object *o, sd_bus_message *m)
{
	struct device *d = o->user;
	struct radio *r = o->radio;
	int rc;

	if (d->blocked)
		return refuse(r, m, "Failed", "Connection refused");
	if (d->connect)
		return refuse(r, m, "Failed", "Operation already in progress");
	if (d->connected)
		return answer(r, m);
	if (!d->adapter->powered)
		return refuse(r, m, "Failed", "Input/output error");
	if (!r->set.always_temporary)
		d->temporary = false;
	d->connect = sd_bus_message_ref(m);
	d->expire = sd_event_source_disable_unref(d->expire);
	rc = radio_after(r, r->set.connect_timeout_ms * 1000ULL, on_connect_timeout, d,
			 &d->timeout);
	if (rc >= 0)
		device_retry(d);
	return rc;
}

/* --- Disconnect: the daemon waits two seconds for profiles before it takes the link down --- */

static int on_disconnect(sd_event_source *s, uint64_t usec, void *user)
{
	struct device *d = user;

	d->disconnect = sd_event_source_disable_unref(d->disconnect);
	if (d->link)
		link_drop(d->link);
	return 0;
}

int device_request_disconnect(struct device *d, sd_bus_message *m)
{
	struct radio *r = d->adapter->radio;

	if (d->connect)
		device_connected(d, "br-connection-canceled");
	if (!d->connected)
		return answer(r, m);
	if (d->waiting == ARRAY_SIZE(d->disconnects))
		return refuse(r, m, "Failed", "Operation already in progress");
	d->disconnects[d->waiting++] = sd_bus_message_ref(m);
	if (d->disconnect)
		return 0;
	return radio_after(r, radio_draw(r, r->set.disconnect), on_disconnect, d, &d->disconnect);
}

static int disconnect_device(struct object *o, sd_bus_message *m)
{
	return device_request_disconnect(o->user, m);
}

/* RemoveDevice */
int device_remove(struct device *d, sd_bus_message *m)
{
	struct radio *r = d->adapter->radio;

	d->temporary = true;
	if (d->connected)
		return device_request_disconnect(d, m);
	device_connected(d, "br-connection-canceled");
	device_free(d);
	return answer(r, m);
}

static int not_here(struct object *o, sd_bus_message *m)
{
	return refuse(o->radio, m, "NotAvailable", "Operation currently not available");
}

static const struct method methods[] = {
	{"Disconnect", "", "", disconnect_device},
	{"Connect", "", "", connect_device},
	{"ConnectProfile", "s", "", not_here},
	{"DisconnectProfile", "s", "", not_here},
	{"Pair", "", "", not_here},
	{"CancelPairing", "", "", not_here},
	{},
};

static const struct interface device_interface = {DEVICE, methods, peer_properties};

/* --- life ----------------------------------------------------------------------- */

struct device *device_find(struct adapter *a, const uint8_t addr[6])
{
	struct device *d;

	for (each(d, &a->devices))
		if (!memcmp(d->addr, addr, 6))
			return d;
	return NULL;
}

static int on_expire(sd_event_source *s, uint64_t usec, void *user)
{
	device_free(user);
	return 0;
}

void device_linger(struct device *d)
{
	struct radio *r = d->adapter->radio;

	if (d->temporary && !d->connected && !d->connect)
		radio_after(r, r->set.temporary_ms * 1000ULL, on_expire, d, &d->expire);
}

int device_get(struct adapter *a, const uint8_t addr[6], bool random, struct device **ret)
{
	struct device *d = device_find(a, addr);
	char path[64];
	int r;

	if (d) {
		*ret = d;
		return 0;
	}
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->adapter = a;
	d->random = random;
	d->temporary = true;
	memcpy(d->addr, addr, 6);
	TAILQ_INIT(&d->services);
	snprintf(path, sizeof(path), "%s/dev_%02X_%02X_%02X_%02X_%02X_%02X", a->path, addr[0],
		 addr[1], addr[2], addr[3], addr[4], addr[5]);
	r = object_add(a->radio, path, d, &device_interface, NULL, NULL, &d->obj);
	if (r < 0) {
		free(d);
		return r;
	}
	TAILQ_INSERT_TAIL(&a->devices, d, entry);
	device_linger(d);
	*ret = d;
	return 0;
}

/* Answers who waits for the end of the link; says whether one of them wants the device removed. */
static bool answer_disconnects(struct device *d)
{
	bool remove = false;

	for (unsigned i = 0; i < d->waiting; i++) {
		remove = remove ||
			 !strcmp(sd_bus_message_get_member(d->disconnects[i]), "RemoveDevice");
		answer(d->adapter->radio, d->disconnects[i]);
		sd_bus_message_unref(d->disconnects[i]);
	}
	d->waiting = 0;
	return remove;
}

void device_free(struct device *d)
{
	answer_disconnects(d); /* before the link: device_down() would free d for a RemoveDevice */
	if (d->link)
		link_drop(d->link);
	device_connected(d, "br-connection-canceled");
	client_clear(d);
	TAILQ_REMOVE(&d->adapter->devices, d, entry);
	object_remove(d->obj);
	sd_event_source_disable_unref(d->expire);
	sd_event_source_disable_unref(d->disconnect);
	free(d);
}

void device_up(struct device *d, struct link *l, int side)
{
	d->link = l;
	d->side = side;
	d->connected = true;
	d->expire = sd_event_source_disable_unref(d->expire);
	/* When the kernel's socket is faster than its management event, 5.66 takes the link for one
	 * that it told of already. */
	if (side || !d->adapter->radio->set.connected_unsaid)
		object_changed(d->obj, DEVICE, "Connected");
	device_connected(d, NULL);
}

void device_resolved(struct device *d)
{
	d->resolved = true;
	object_changed(d->obj, DEVICE, "ServicesResolved");
	bus_flush(d->adapter->radio);
}

/*
 * The link is gone. Who asked for it is answered between the two changes, as the daemon does: the
 * answer to Disconnect comes before Connected=false. May free d: RemoveDevice was waiting for this.
 */
void device_down(struct device *d)
{
	bool remove;

	d->link = NULL;
	if (d->resolved)
		object_changed(d->obj, DEVICE, "ServicesResolved");
	d->resolved = false;
	d->disconnect = sd_event_source_disable_unref(d->disconnect);
	client_link_gone(d);
	remove = answer_disconnects(d);
	d->connected = false;
	object_changed(d->obj, DEVICE, "Connected");
	if (remove)
		device_free(d);
	else
		device_linger(d);
}
