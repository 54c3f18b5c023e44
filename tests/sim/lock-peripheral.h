/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One lock as a BLE peripheral: a GATT application and an advertisement, registered with BlueZ over
 * D-Bus (GattManager1, LEAdvertisingManager1), again whenever bluetoothd or the adapter comes back.
 * Each lock has an adapter of its own, as each board has.
 */
#include <systemd/sd-bus.h>

#include "sim/lock.h"

struct peripheral;

struct peripheral_options {
	unsigned number;     /* names its object paths */
	const char *adapter; /* "hci1" */
	unsigned adverts; /* how many advertisements carry the same data: 1 (2 for a controller that
			     reports each only once) */
};

int peripheral_new(sd_event *event, sd_bus *bus, const struct peripheral_options *options,
		   const struct firmware_options *firmware, struct peripheral **ret);
void peripheral_free(struct peripheral *p);
struct firmware *peripheral_firmware(struct peripheral *p);
bool peripheral_registered(const struct peripheral *p);
/* A frozen application takes calls and answers none. */
void peripheral_freeze(struct peripheral *p, bool frozen);
