// SPDX-License-Identifier: Apache-2.0
/* May a certificate follow another one, and when is it time? See certificate.h; the files are in
 * certificate-trial.c. */
#include "certificate-private.h"

#include <errno.h>
#include <stdio.h>

#define DAY	      86400
#define EXPIRING_DAYS 14

const char *certificate_refusal_words(enum certificate_refusal refusal)
{
	switch (refusal) {
	case CERTIFICATE_GARBAGE:
		return "is no certificate in PEM";
	case CERTIFICATE_AUTHORITY:
		return "is an authority's, not a gateway's";
	case CERTIFICATE_OTHER_ID:
		return "is for another id";
	case CERTIFICATE_OTHER_KEY:
		return "is for another key";
	case CERTIFICATE_OTHER_ISSUER:
		return "is from another authority than the one in use";
	case CERTIFICATE_NOT_YET:
		return "is not valid yet";
	case CERTIFICATE_EXPIRED:
		return "has expired";
	case CERTIFICATE_NOT_LONGER:
		return "ends no later than the one in use";
	case CERTIFICATE_HELD:
		return "is in use already";
	}
	return "";
}

/* --- when ----------------------------------------------------------------------------------- */

static uint64_t life(const struct x509_facts *facts)
{
	return facts->not_after > facts->not_before ? facts->not_after - facts->not_before : 0;
}

static uint64_t left(const struct x509_facts *facts, uint64_t now)
{
	return facts->not_after > now ? facts->not_after - now : 0;
}

bool certificate_due(const struct x509_facts *facts, uint64_t now)
{
	return left(facts, now) < life(facts) / 3 || facts->not_after <= now;
}

bool certificate_expiring(const struct x509_facts *facts, uint64_t now)
{
	uint64_t spare = life(facts) / 6;

	if (spare > EXPIRING_DAYS * DAY)
		spare = EXPIRING_DAYS * DAY;
	return left(facts, now) < spare;
}

int64_t certificate_days(uint64_t not_after, uint64_t now)
{
	if (not_after >= now)
		return (int64_t)((not_after - now) / DAY);
	return -(int64_t)((now - not_after + DAY - 1) / DAY);
}

int certificate_request(const struct certificate_files *files, const char *name, char **ret)
{
	struct certificate_text key;
	int r = certificate_text_read(files->key, &key);

	if (r == 0)
		r = x509_request_create(key.span, name, ret);
	crypto_wipe(&key, sizeof(key));
	return r;
}

/* --- what ----------------------------------------------------------------------------------- */

int certificate_read(const struct certificate_files *files, struct x509_facts *ret)
{
	struct certificate_text text;
	int r = certificate_text_read(files->path, &text);

	return r < 0 ? r : certificate_text_facts(files, &text, ret);
}

static bool known_issuer(struct span certificate, const struct certificate_text *chain,
			 const struct certificate_text *ca)
{
	return x509_issued_by(certificate, chain->span) == 0 ||
	       x509_issued_by(certificate, ca->span) == 0;
}

static int judge_issuer(const struct certificate_files *files, struct span offered,
			const struct certificate_text *present)
{
	struct certificate_text ca;

	if (certificate_text_read(files->ca, &ca) < 0)
		ca.span.len = 0;
	if (known_issuer(present->span, present, &ca))
		return known_issuer(offered, present, &ca) ? 0 : CERTIFICATE_OTHER_ISSUER;
	return x509_same_issuer(offered, present->span) == 0 ? 0 : CERTIFICATE_OTHER_ISSUER;
}

static int judge_time(const struct x509_facts *offered, const struct time_verdict *time)
{
	if (offered->not_after <= time->now)
		return CERTIFICATE_EXPIRED;
	if (time->synchronised && offered->not_before > time->now + CLOCK_NBF_LEEWAY)
		return CERTIFICATE_NOT_YET;
	return 0;
}

static int judge_key(const struct certificate_files *files, struct span offered)
{
	struct certificate_text key;
	int r = certificate_text_read(files->key, &key);

	if (r < 0)
		return r;
	r = x509_key_fits(key.span, offered);
	crypto_wipe(&key, sizeof(key));
	return r == -EBADMSG ? CERTIFICATE_OTHER_KEY : r;
}

/* Against the one in use, if that can still be read. */
static int judge_sequence(const struct certificate_files *files, struct span offered,
			  const struct x509_facts *facts)
{
	struct certificate_text present;
	struct x509_facts held;
	int r;

	if (certificate_text_read(files->path, &present) < 0 ||
	    certificate_text_facts(files, &present, &held) < 0)
		return 0;
	r = judge_issuer(files, offered, &present);
	if (r != 0)
		return r;
	if (strcmp(facts->serial, held.serial) == 0)
		return CERTIFICATE_HELD;
	return facts->not_after > held.not_after ? 0 : CERTIFICATE_NOT_LONGER;
}

static int judge(const struct certificate_files *files, struct span pem,
		 const struct certificate_judge *by, struct x509_facts *ret)
{
	int r;

	if (x509_certificate_read(pem, ret) < 0)
		return CERTIFICATE_GARBAGE;
	if (ret->authority)
		return CERTIFICATE_AUTHORITY;
	if (strcmp(ret->name, by->name) != 0)
		return CERTIFICATE_OTHER_ID;
	r = judge_key(files, pem);
	if (r == 0)
		r = judge_sequence(files, pem, ret);
	if (r == 0)
		r = judge_time(ret, &by->time);
	return r;
}

int certificate_judge(const struct certificate_files *files, struct span offered,
		      const struct certificate_judge *by, char **ret_pem, struct x509_facts *ret)
{
	cleanup(freep) char *pem = NULL;
	int r;

	/* What is judged is what is written: not one block behind or between. */
	r = x509_certificates_copy(offered, &pem);
	if (r == -ENOMEM)
		return r;
	if (r < 0 || strlen(pem) > X509_PEM_MAX)
		return CERTIFICATE_GARBAGE;
	r = judge(files, span_str(pem), by, ret);
	if (r == 0)
		*ret_pem = steal(pem);
	return r;
}
