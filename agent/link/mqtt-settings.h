/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* An owned copy of mqtt_options, checked and with its defaults filled in. Part of mqtt. */
#include "link/mqtt.h"

struct settings {
	struct mqtt_options options; /* points into what follows */
	struct mqtt_broker brokers[MQTT_BROKERS_MAX];
	struct mqtt_publish will;
};

/* -EINVAL, -ENOMEM. A settings that failed to copy needs settings_deinit() all the same. */
int settings_copy(struct settings *s, const struct mqtt_options *from);
void settings_deinit(struct settings *s);
