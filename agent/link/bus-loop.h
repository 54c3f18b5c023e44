/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* libdbus's three hooks (watches, timeouts, dispatch status) on sd-event. For bus.c alone. */
#include <systemd/sd-event.h>

struct DBusConnection;
struct bus_loop;

/* Borrows the connection, and must be freed before it is closed. */
int bus_loop_new(sd_event *event, struct DBusConnection *connection, struct bus_loop **ret);
void bus_loop_free(struct bus_loop *loop);
