/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Who serves: one `serve` per registry, known by a lock on DIR/serve.lock that ends with its process.
 * While there is one, what gateways say is filed by it alone: a command that filed the same besides
 * would wait for the registry, and make `serve` wait, at every message of a fleet.
 */
#include "desk/desk.h"

/* Until this process ends. -EWOULDBLOCK: another one serves. */
int serving_begin(const struct desk *desk);
/* Does another process serve? What cannot be told is a no. */
bool serving_elsewhere(const struct desk *desk);
