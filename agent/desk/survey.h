/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What the brokers keep and the gateways hold of the city's documents, compared with the registry.
 * Two questions: what must be published again (the broker lost it, or serves an older one), and may
 * the desk sign: not while somebody holds a list that the registry does not know and that could be
 * its own (contract section 6).
 */
#include "desk/current.h"
#include "desk/session.h"

struct survey;

int survey_new(const struct desk *desk, struct session *session, struct survey **ret);
void survey_free(struct survey *s);
void survey_freep(struct survey **s);

/* A message under city/ from this broker. 1: something was taken over. */
int survey_city(struct survey *s, size_t broker, const struct mqtt_message *message, uint64_t now);
/* A gateway's state: asks it for a document that nobody here knows. */
int survey_state(struct survey *s, const char *gateway, const struct message_state *state,
		 uint64_t now);
/* Asks again for what is still not explained, and judges again what was dated ahead. */
void survey_ask(struct survey *s, uint64_t now);
/* The answer to that. 1: something was taken over. */
int survey_copy(struct survey *s, const char *gateway, struct span document, uint64_t now);
/* A broker's connection is new: nothing is known of what it keeps. */
void survey_forget(struct survey *s, size_t broker);
/* Nothing stands against signing. Else *ret_words says what (borrowed until the next call). */
bool survey_clear(const struct survey *s, const char **ret_words);
/* Publishes what a settled broker lacks or has older; how many. */
int survey_publish(struct survey *s, const struct current *current, uint64_t now);
