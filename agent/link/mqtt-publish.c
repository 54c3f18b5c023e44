// SPDX-License-Identifier: Apache-2.0
/* What a publish becomes for the library, and what its answers mean. */
#include "link/mqtt-publish.h"

#include <errno.h>
#include <mqtt_protocol.h>
#include <string.h>

/* Header and its length 5, lengths of topic and properties 6, packet id 2, four properties' heads 14. */
#define OVERHEAD 27

int publish_errno(int rc)
{
	switch (rc) {
	case MOSQ_ERR_SUCCESS:
		return 0;
	case MOSQ_ERR_NOMEM:
		return -ENOBUFS;
	case MOSQ_ERR_PAYLOAD_SIZE:
	case MOSQ_ERR_OVERSIZE_PACKET:
		return -EMSGSIZE;
	case MOSQ_ERR_QOS_NOT_SUPPORTED:
	case MOSQ_ERR_RETAIN_NOT_SUPPORTED:
		return -EOPNOTSUPP;
	case MOSQ_ERR_INVAL:
	case MOSQ_ERR_MALFORMED_UTF8:
		return -EINVAL;
	default:
		return -ENOTCONN;
	}
}

int publish_properties(const struct mqtt_publish *p, mosquitto_property **ret)
{
	int rc = 0;

	if (p->expiry_s)
		rc = mosquitto_property_add_int32(ret, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL,
						  p->expiry_s);
	if (!rc && p->correlation.len)
		rc = mosquitto_property_add_binary(ret, MQTT_PROP_CORRELATION_DATA,
						   p->correlation.data,
						   (uint16_t)p->correlation.len);
	if (!rc && p->content_type)
		rc = mosquitto_property_add_string(ret, MQTT_PROP_CONTENT_TYPE, p->content_type);
	if (!rc && p->response_topic)
		rc = mosquitto_property_add_string(ret, MQTT_PROP_RESPONSE_TOPIC,
						   p->response_topic);
	return rc;
}

/* The library looks itself, a byte or two too late: what is just too large it would not survive. */
bool publish_fits(const struct mqtt_publish *p, uint32_t largest)
{
	size_t len = strlen(p->topic) + p->payload.len + p->correlation.len + OVERHEAD;

	len += p->content_type ? strlen(p->content_type) : 0;
	len += p->response_topic ? strlen(p->response_topic) : 0;
	return !largest || len <= largest;
}
