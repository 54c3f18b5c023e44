/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Why a connection failed or ended, in words that a service desk can read aloud. Part of mqtt.
 * The strings returned are constants.
 */
#include <stdbool.h>
#include <stdint.h>

/* A reason code of MQTT 5 (section 2.4) in a CONNACK or DISCONNECT, or a CONNACK code of
 * MQTT 3.1.1. */
const char *mqtt_words_reason(uint8_t code);

/*
 * An error of libmosquitto: rc (enum mosq_err_t), the errno that came with it (0: unknown), and the
 * library's last complaint about TLS ("" if none).
 */
const char *mqtt_words_error(int rc, int error, const char *complaint);

/* Of a connect that failed: there was somebody, and it went wrong between the two of us. */
bool mqtt_words_reached(int rc, int error);
