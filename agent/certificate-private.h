/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Between certificate.c (judging) and certificate-trial.c (files). */
#include "certificate.h"
#include "core/crypto.h"

/* A certificate's or key's file, whole. span points into bytes. */
struct certificate_text {
	struct span span;
	uint8_t bytes[X509_PEM_MAX];
};
int certificate_text_read(const char *path, struct certificate_text *ret);
/* -EINVAL, or -EBADMSG: not for this key. */
int certificate_text_facts(const struct certificate_files *files,
			   const struct certificate_text *text, struct x509_facts *ret);
