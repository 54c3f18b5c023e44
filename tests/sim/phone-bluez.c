// SPDX-License-Identifier: Apache-2.0
#include "sim/phone-bluez.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BLUEZ "org.bluez"

static const char service_uuid[] = "2ff90001-f488-4501-a0b4-1a1753dee155";

static uint64_t now_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static uint64_t left(const struct phone_radio *radio)
{
	uint64_t now = now_usec();

	return radio->deadline > now ? radio->deadline - now : 1;
}

/* Works off what has come; waits for more at most as long as given. -ETIMEDOUT when the day is
 * over. */
static int turn(struct phone_radio *radio, uint64_t usec)
{
	int r = sd_bus_process(radio->bus, NULL);

	if (r != 0)
		return r;
	if (now_usec() >= radio->deadline)
		return -ETIMEDOUT;
	return sd_bus_wait(radio->bus, usec < left(radio) ? usec : left(radio));
}

static int call(struct phone_radio *radio, const char *path, const char *interface,
		const char *method)
{
	cleanup(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_call(radio->bus, &m, BLUEZ, path, interface, method);

	return r < 0 ? r : sd_bus_call(radio->bus, m, left(radio), NULL, NULL);
}

int phone_open(struct phone_radio *radio, const char *adapter, unsigned timeout_s)
{
	int r;

	memset(radio, 0, sizeof(*radio));
	radio->deadline = now_usec() + (uint64_t)timeout_s * 1000000;
	snprintf(radio->adapter, sizeof(radio->adapter), "/org/bluez/%.16s", adapter);
	r = sd_bus_open_system(&radio->bus);
	if (r < 0)
		return r;
	return sd_bus_set_property(radio->bus, BLUEZ, radio->adapter, "org.bluez.Adapter1",
				   "Powered", NULL, "b", 1);
}

void phone_close(struct phone_radio *radio)
{
	sd_bus_slot_unref(radio->slot);
	sd_bus_flush_close_unref(radio->bus);
}

/* --- walking GetManagedObjects
 * ----------------------------------------------------------------------- */

/* Called for each interface of each object, positioned before its property map, which it must eat.
 */
typedef int (*object_fn)(sd_bus_message *m, const char *path, const char *interface, void *user);

static int each_object(struct phone_radio *radio, object_fn fn, void *user)
{
	cleanup(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
	const char *path, *interface;
	int r = sd_bus_message_new_method_call(radio->bus, &m, BLUEZ, "/",
					       "org.freedesktop.DBus.ObjectManager",
					       "GetManagedObjects");

	if (r >= 0)
		r = sd_bus_call(radio->bus, m, left(radio), NULL, &reply);
	if (r >= 0)
		r = sd_bus_message_enter_container(reply, 'a', "{oa{sa{sv}}}");
	while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "oa{sa{sv}}")) > 0) {
		if ((r = sd_bus_message_read(reply, "o", &path)) < 0 ||
		    (r = sd_bus_message_enter_container(reply, 'a', "{sa{sv}}")) < 0)
			return r;
		while ((r = sd_bus_message_enter_container(reply, 'e', "sa{sv}")) > 0) {
			if ((r = sd_bus_message_read(reply, "s", &interface)) < 0 ||
			    (r = fn(reply, path, interface, user)) < 0 ||
			    (r = sd_bus_message_exit_container(reply)) < 0)
				return r;
		}
		if (r < 0 || (r = sd_bus_message_exit_container(reply)) < 0 ||
		    (r = sd_bus_message_exit_container(reply)) < 0)
			return r;
	}
	return r;
}

/* Stops at each property; the value is a variant that fn_property eats (1) or leaves (0). */
typedef int (*property_fn)(sd_bus_message *m, const char *key, void *user);

static int each_property(sd_bus_message *m, property_fn fn, void *user)
{
	const char *key;
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = sd_bus_message_read(m, "s", &key);
		if (r >= 0)
			r = fn(m, key, user);
		if (r == 0)
			r = sd_bus_message_skip(m, "v");
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* --- finding
 * ----------------------------------------------------------------------------------------- */

struct search {
	struct phone_radio *radio;
	const char *address;
	char (*tried)[96];
	size_t ntried;
	/* the object at hand */
	const char *seen_address;
	bool ours;
	int16_t rssi;
	/* the best so far */
	char best[96];
	int16_t best_rssi;
};

static int service_data(sd_bus_message *m, struct search *s)
{
	const char *uuid;
	int r = sd_bus_message_enter_container(m, 'v', "a{sv}");

	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'a', "{sv}");
	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		r = sd_bus_message_read(m, "s", &uuid);
		if (r >= 0 && strcmp(uuid, service_uuid) == 0)
			s->ours = true;
		if (r >= 0)
			r = sd_bus_message_skip(m, "v");
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	if (r >= 0)
		r = sd_bus_message_exit_container(m);
	return r < 0 ? r : (r = sd_bus_message_exit_container(m)) < 0 ? r : 1;
}

static int device_property(sd_bus_message *m, const char *key, void *user)
{
	struct search *s = user;

	if (strcmp(key, "ServiceData") == 0)
		return service_data(m, s);
	if (strcmp(key, "Address") == 0)
		return sd_bus_message_read(m, "v", "s", &s->seen_address) < 0 ? -EBADMSG : 1;
	if (strcmp(key, "RSSI") == 0)
		return sd_bus_message_read(m, "v", "n", &s->rssi) < 0 ? -EBADMSG : 1;
	return 0;
}

static int device_object(sd_bus_message *m, const char *path, const char *interface, void *user)
{
	struct search *s = user;
	size_t i, len = strlen(s->radio->adapter);
	int r;

	if (strcmp(interface, "org.bluez.Device1") != 0 ||
	    strncmp(path, s->radio->adapter, len) != 0 || path[len] != '/')
		return sd_bus_message_skip(m, "a{sv}");
	s->seen_address = "";
	s->ours = false;
	s->rssi = INT16_MIN;
	r = each_property(m, device_property, s);
	if (r < 0 || !s->ours || (s->address && strcmp(s->address, s->seen_address) != 0))
		return r;
	for (i = 0; i < s->ntried; i++)
		if (strcmp(s->tried[i], path) == 0)
			return 0;
	if (!s->best[0] || s->rssi > s->best_rssi) {
		snprintf(s->best, sizeof(s->best), "%s", path);
		s->best_rssi = s->rssi;
	}
	return 0;
}

static int set_filter(struct phone_radio *radio)
{
	cleanup(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_call(radio->bus, &m, BLUEZ, radio->adapter,
					       "org.bluez.Adapter1", "SetDiscoveryFilter");

	if (r >= 0)
		r = sd_bus_message_append(m, "a{sv}", 2, "Transport", "s", "le", "DuplicateData",
					  "b", 1);
	return r < 0 ? r : sd_bus_call(radio->bus, m, left(radio), NULL, NULL);
}

int phone_find(struct phone_radio *radio, const char *address, char tried[][96], size_t ntried)
{
	struct search s = {.radio = radio, .address = address, .tried = tried, .ntried = ntried};
	int r = set_filter(radio);

	if (r >= 0)
		r = call(radio, radio->adapter, "org.bluez.Adapter1", "StartDiscovery");
	while (r >= 0) {
		r = each_object(radio, device_object, &s);
		if (r >= 0 && s.best[0])
			break;
		if (r >= 0)
			r = turn(radio, 50000);
	}
	call(radio, radio->adapter, "org.bluez.Adapter1", "StopDiscovery");
	if (r >= 0)
		snprintf(radio->device, sizeof(radio->device), "%s", s.best);
	return r < 0 ? r : 0;
}

/* --- connecting
 * -------------------------------------------------------------------------------------- */

struct chr_search {
	struct phone_radio *radio;
	unsigned number;
	bool ours;
};

static int chr_property(sd_bus_message *m, const char *key, void *user)
{
	struct chr_search *s = user;
	const char *uuid;
	char tail[32];

	if (strcmp(key, "UUID") != 0)
		return 0;
	if (sd_bus_message_read(m, "v", "s", &uuid) < 0)
		return -EBADMSG;
	s->ours = sscanf(uuid, "2ff9%4x-%31s", &s->number, tail) == 2 &&
		  strcmp(tail, service_uuid + 9) == 0 && s->number < 6;
	return 1;
}

static int chr_object(sd_bus_message *m, const char *path, const char *interface, void *user)
{
	struct chr_search *s = user;
	size_t len = strlen(s->radio->device);
	int r;

	if (strcmp(interface, "org.bluez.GattCharacteristic1") != 0 ||
	    strncmp(path, s->radio->device, len) != 0 || path[len] != '/')
		return sd_bus_message_skip(m, "a{sv}");
	s->ours = false;
	r = each_property(m, chr_property, s);
	if (r >= 0 && s->ours)
		snprintf(s->radio->chr[s->number], sizeof(s->radio->chr[0]), "%s", path);
	return r;
}

static int on_value(sd_bus_message *m, void *user, sd_bus_error *error)
{
	struct phone_radio *radio = user;
	const char *interface, *key;
	const void *bytes;
	size_t len;

	if (sd_bus_message_read(m, "s", &interface) < 0 ||
	    sd_bus_message_enter_container(m, 'a', "{sv}") < 0)
		return 0;
	while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
		if (sd_bus_message_read(m, "s", &key) < 0)
			return 0;
		if (strcmp(key, "Value") == 0 && sd_bus_message_enter_container(m, 'v', "ay") > 0 &&
		    sd_bus_message_read_array(m, 'y', &bytes, &len) >= 0) {
			size_t slot = radio->tail++ % ARRAY_SIZE(radio->heard);

			if (len > sizeof(radio->heard[0].bytes))
				len = sizeof(radio->heard[0].bytes);
			memcpy(radio->heard[slot].bytes, bytes, len);
			radio->heard[slot].len = len;
			sd_bus_message_exit_container(m);
		} else {
			sd_bus_message_skip(m, "v");
		}
		sd_bus_message_exit_container(m);
	}
	return 0;
}

int phone_connect(struct phone_radio *radio)
{
	struct chr_search s = {.radio = radio};
	int resolved = 0, r;

	memset(radio->chr, 0, sizeof(radio->chr));
	r = call(radio, radio->device, "org.bluez.Device1", "Connect");
	while (r >= 0 && !(resolved && radio->chr[2][0] && radio->chr[3][0] && radio->chr[4][0])) {
		r = sd_bus_get_property_trivial(radio->bus, BLUEZ, radio->device,
						"org.bluez.Device1", "ServicesResolved", NULL, 'b',
						&resolved);
		if (r >= 0 && resolved)
			r = each_object(radio, chr_object, &s);
		if (r >= 0)
			r = turn(radio, 10000);
	}
	if (r < 0)
		return r;
	radio->head = radio->tail = 0;
	radio->slot = sd_bus_slot_unref(radio->slot);
	r = sd_bus_match_signal(radio->bus, &radio->slot, BLUEZ, radio->chr[4],
				"org.freedesktop.DBus.Properties", "PropertiesChanged", on_value,
				radio);
	return r < 0 ? r
		     : call(radio, radio->chr[4], "org.bluez.GattCharacteristic1", "StartNotify");
}

int phone_read(struct phone_radio *radio, unsigned chr, uint8_t *ret, size_t cap)
{
	cleanup(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
	const void *bytes;
	size_t len;
	int r = sd_bus_message_new_method_call(radio->bus, &m, BLUEZ, radio->chr[chr],
					       "org.bluez.GattCharacteristic1", "ReadValue");

	if (r >= 0)
		r = sd_bus_message_append(m, "a{sv}", 0);
	if (r >= 0)
		r = sd_bus_call(radio->bus, m, left(radio), NULL, &reply);
	if (r >= 0)
		r = sd_bus_message_read_array(reply, 'y', &bytes, &len);
	if (r < 0)
		return r;
	if (len > cap)
		return -EMSGSIZE;
	if (len)
		memcpy(ret, bytes, len);
	return (int)len;
}

int phone_write(struct phone_radio *radio, struct span frame)
{
	cleanup(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_call(radio->bus, &m, BLUEZ, radio->chr[3],
					       "org.bluez.GattCharacteristic1", "WriteValue");

	if (r >= 0)
		r = sd_bus_message_append_array(m, 'y', frame.data, frame.len);
	if (r >= 0)
		r = sd_bus_message_append(m, "a{sv}", 1, "type", "s", "request");
	return r < 0 ? r : sd_bus_call(radio->bus, m, left(radio), NULL, NULL);
}

int phone_hear(struct phone_radio *radio, uint8_t *ret, size_t cap)
{
	size_t slot, len;
	int r;

	while (radio->head == radio->tail) {
		r = turn(radio, 1000000);
		if (r < 0)
			return r;
	}
	slot = radio->head++ % ARRAY_SIZE(radio->heard);
	len = radio->heard[slot].len;
	if (len > cap)
		return -EMSGSIZE;
	memcpy(ret, radio->heard[slot].bytes, len);
	return (int)len;
}

void phone_disconnect(struct phone_radio *radio)
{
	if (radio->device[0])
		call(radio, radio->device, "org.bluez.Device1", "Disconnect");
	radio->slot = sd_bus_slot_unref(radio->slot);
}
