/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What the parts of the peripheral share: lock-gatt.c answers bluetoothd, lock-peripheral.c registers. */
#include "sim/lock-peripheral.h"

enum { CHR_INFO = 2, CHR_INBOX, CHR_OUTBOX, CHR_STATE, CHR_END };

struct chr {
	struct peripheral *p;
	unsigned number;
	char path[96];
	bool notifying;
	uint8_t value[FRAME_MAX];
	size_t len;
	sd_bus_slot *slot;
};

struct peripheral {
	sd_event *event;
	sd_bus *bus;
	struct firmware *firmware;
	char adapter[32]; /* object path */
	char root[64], service[80], advert_root[64];
	char device[96]; /* the central, "" when nobody is connected */
	struct chr chrs[CHR_END];
	unsigned adverts;
	bool has_application, frozen;
	unsigned has_adverts; /* how many are registered */
	bool application_pending, advert_pending;
	sd_event_source *retry;
	sd_bus_slot *slots[12];
	size_t nslots;
};

#define LOCK_UUID_CAP 37
void lock_uuid(unsigned number, char ret[static LOCK_UUID_CAP]);

/* The one central. false: somebody else has the lock's attention, and this one is sent away. */
bool peripheral_greet(struct peripheral *p, const char *device);
void peripheral_send_away(struct peripheral *p, const char *device);
void peripheral_notify(struct chr *c, struct span value);
void peripheral_advert_path(const struct peripheral *p, unsigned i, char ret[static 80]);
/* Puts the objects on the bus that bluetoothd will ask for. */
int peripheral_add_gatt(struct peripheral *p);
int peripheral_add_adverts(struct peripheral *p);
sd_bus_slot **peripheral_slot(struct peripheral *p);
