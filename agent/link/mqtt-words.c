/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words. libmosquitto says little about TLS in its return codes; what went wrong there is in
 * the lines that it would log, so these are searched for OpenSSL's reason strings.
 */
#include "link/mqtt-words.h"

#include <errno.h>
#include <mosquitto.h>
#include <string.h>

#include "core/span.h"

/* A broker that refuses a certificate may close before its alert is read. */
#define CLOSED_DURING_TLS                                                                          \
	"closed by the broker during TLS: it may not accept this box's certificate"

const char *mqtt_words_reason(uint8_t code)
{
	switch (code) {
	case 0x01:
	case 0x84:
		return "refused: the broker does not speak MQTT 5";
	case 0x02:
	case 0x85:
		return "refused: client id not valid";
	case 0x03:
	case 0x88:
		return "refused: broker not available";
	case 0x04:
	case 0x86:
		return "refused: wrong user name or password";
	case 0x05:
	case 0x87:
		return "refused: not authorized";
	case 0x81:
		return "the broker could not read what was sent";
	case 0x82:
		return "protocol error";
	case 0x89:
		return "refused: broker busy";
	case 0x8a:
		return "refused: banned";
	case 0x8b:
		return "the broker is shutting down";
	case 0x8d:
		return "the broker heard nothing for too long";
	case 0x8e:
		return "session taken over: another client uses the same client id";
	case 0x95:
		return "refused: message too large";
	case 0x97:
		return "refused: quota exceeded";
	case 0x98:
		return "disconnected by the broker's administrator";
	case 0x9c:
	case 0x9d:
		return "refused: the broker says to use another one";
	case 0x9f:
		return "refused: too many connections at once";
	default:
		return "refused by the broker";
	}
}

static const char *tls_words(const char *complaint)
{
	/* The first that is found counts: what OpenSSL says before what the library makes of it. */
	static const struct {
		const char *sign, *words;
	} table[] = {
		{"host name verification", "certificate is for another host name"},
		{"certificate verify failed",
		 "certificate not trusted (wrong CA, expired, or this box's clock is wrong)"},
		{"alert unknown ca", "refused: the broker does not trust this box's certificate"},
		{"alert certificate required", "refused: the broker wants a client certificate"},
		{"alert certificate expired", "refused: this box's certificate has expired"},
		{"alert certificate revoked", "refused: this box's certificate was revoked"},
		{"alert bad certificate",
		 "refused: the broker does not accept this box's certificate"},
		{"alert handshake failure",
		 "refused: no common way to encrypt, or no client certificate"},
		{"wrong version number", "no TLS at this port"},
		{"key values mismatch", "certificate and key do not belong together"},
		{"Unable to load CA", "CA file not usable"},
		{"Unable to load client certificate", "certificate file not usable"},
		{"Unable to load client key", "key file not usable"},
		{"unexpected eof", CLOSED_DURING_TLS},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (strstr(complaint, table[i].sign))
			return table[i].words;
	return NULL;
}

static const char *errno_words(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return "refused: nobody listens there";
	case ETIMEDOUT:
		return "timed out: no answer from the broker's address";
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENETDOWN:
	case EADDRNOTAVAIL:
		return "no route to the broker (network down?)";
	case EPROTO: /* the library's word for what OpenSSL could not tell, such as a reset */
		return CLOSED_DURING_TLS;
	case EMFILE:
	case ENFILE:
		return "out of file descriptors";
	default:
		return "connection lost";
	}
}

bool mqtt_words_reached(int rc, int error)
{
	switch (rc) {
	case MOSQ_ERR_EAI:
	case MOSQ_ERR_NOMEM:
	case MOSQ_ERR_INVAL:
		return false;
	case MOSQ_ERR_ERRNO: /* of connect(2), or of a handshake that broke off */
		return error == EPROTO || error == ECONNRESET || error == EPIPE;
	default:
		return true;
	}
}

const char *mqtt_words_error(int rc, int error, const char *complaint)
{
	const char *words = tls_words(complaint);

	if (words)
		return words;
	switch (rc) {
	case MOSQ_ERR_EAI:
		return "name not resolved";
	case MOSQ_ERR_ERRNO:
		return errno_words(error);
	case MOSQ_ERR_TLS:
	case MOSQ_ERR_TLS_HANDSHAKE:
		return "TLS failed";
	case MOSQ_ERR_KEEPALIVE:
		return "timed out: the broker no longer answers";
	case MOSQ_ERR_NOMEM:
		return "out of memory";
	case MOSQ_ERR_PROTOCOL:
	case MOSQ_ERR_MALFORMED_PACKET:
		return "protocol error";
	case MOSQ_ERR_OVERSIZE_PACKET:
		return "refused: message too large";
	default:
		return "connection lost";
	}
}
