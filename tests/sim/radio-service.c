/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Of systemd what concerns the radio: Manager.RestartUnit of bluetooth.service, allowed or not as
 * polkit would have it. On a connection of its own, for it outlives the daemon.
 */
#include "sim/radio.h"

#include <errno.h>

#define RESTART_US 1700000

static int on_restart(sd_bus_message *m, void *user, sd_bus_error *error)
{
	struct radio *r = user;
	const char *unit, *mode;
	int rc = sd_bus_message_read(m, "ss", &unit, &mode);

	if (rc < 0)
		return rc;
	r->service_calls++;
	if (!r->set.service_allowed)
		return sd_bus_reply_method_errorf(
			m, "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
			"Interactive authentication required.");
	if (strcmp(unit, "bluetooth.service") != 0)
		return sd_bus_reply_method_errorf(m, "org.freedesktop.systemd1.NoSuchUnit",
						  "Unit %s not found.", unit);
	rc = sd_bus_reply_method_return(m, "o", "/org/freedesktop/systemd1/job/1");
	if (rc >= 0 && r->bus)
		rc = radio_restart(r, RESTART_US);
	return rc < 0 ? rc : 1;
}

static const sd_bus_vtable manager[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("RestartUnit", "ss", "o", on_restart, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

int service_open(struct radio *r)
{
	int rc = sd_bus_open_system(&r->service);

	if (rc >= 0)
		rc = sd_bus_attach_event(r->service, r->event, SD_EVENT_PRIORITY_NORMAL);
	if (rc >= 0)
		rc = sd_bus_add_object_vtable(r->service, NULL, "/org/freedesktop/systemd1",
					      "org.freedesktop.systemd1.Manager", manager, r);
	if (rc >= 0)
		rc = sd_bus_request_name(r->service, "org.freedesktop.systemd1", 0);
	return rc;
}

void service_close(struct radio *r)
{
	if (!r->service)
		return;
	sd_bus_detach_event(r->service);
	r->service = sd_bus_close_unref(r->service);
}
