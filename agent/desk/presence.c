// SPDX-License-Identifier: Apache-2.0
/* See presence.h. */
#include "desk/presence.h"

#include "message.h"

bool presence_heard(struct presence *p, size_t broker, struct span word)
{
	if (span_is(word, MESSAGE_ONLINE))
		p->by[broker] = MESSAGE_ONLINE;
	else if (span_is(word, MESSAGE_OFFLINE))
		p->by[broker] = MESSAGE_OFFLINE;
	else
		return false;
	return true;
}

void presence_at_home(struct presence *p, size_t broker)
{
	p->home = (unsigned)broker + 1;
}

const char *presence_word(const struct presence *p)
{
	const char *word = "";

	if (p->home && p->by[p->home - 1])
		return p->by[p->home - 1];
	/* Nobody knows better than who says "online". */
	for (size_t i = 0; i < MQTT_BROKERS_MAX; i++)
		if (p->by[i] && strcmp(word, MESSAGE_ONLINE) != 0)
			word = p->by[i];
	return word;
}
