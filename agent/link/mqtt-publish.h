/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A publish's way into libmosquitto. Part of mqtt. */
#include <mosquitto.h>

#include "link/mqtt.h"

/* 0 or -errno, as mqtt_publish() tells it. rc: enum mosq_err_t. */
int publish_errno(int rc);

/* enum mosq_err_t; the properties are the caller's to free, whatever it returns. */
int publish_properties(const struct mqtt_publish *publish, mosquitto_property **ret);

/* largest: bytes of any packet that the broker takes, 0: no limit. */
bool publish_fits(const struct mqtt_publish *publish, uint32_t largest);
