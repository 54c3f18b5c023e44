/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Labels and member names on the wire, shared by token-read.c and token-encode.c. */

enum label { /* in the order of their encodings (RFC 8949 section 4.2.1) */
	     LABEL_ISS = 1,
	     LABEL_SUB = 2,
	     LABEL_AUD = 3,
	     LABEL_EXP = 4,
	     LABEL_NBF = 5,
	     LABEL_IAT = 6,
	     LABEL_CTI = 7,
	     LABEL_CNF = 8,
	     LABEL_SCOPE = 9,
	     LABEL_CNONCE = 39,
	     LABEL_STATUS_LIST = 65533,
	     LABEL_TTL = 65534,
	     LABEL_STATUS = 65535,
	     LABEL_POSTURE = -70001,
	     LABEL_KEYS = -70002,
	     LABEL_POLICY = -70003,
	     LABEL_RESULT = -70004,
	     LABEL_CHANGED = -70005,
	     LABEL_KEY = -70006,
};

enum { CNF_COSE_KEY = 1 };
