// SPDX-License-Identifier: Apache-2.0
/* The files of an enrolled box. See box.h. */
#include "ctl/box.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/keys.h"
#include "core/pem.h"

const char box_set_clock[] =
	"set the clock first: timedatectl set-ntp true, and wait until timedatectl says that it is "
	"synchronized, or timedatectl set-time \"YYYY-MM-DD hh:mm:ss\"; then do it again";

static void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

void trouble_say(struct trouble *trouble, const char *code, const char *next, const char *format,
		 ...)
{
	va_list args;

	snprintf(trouble->code, sizeof(trouble->code), "%s", code);
	snprintf(trouble->next, sizeof(trouble->next), "%s", next);
	va_start(args, format);
	vsnprintf(trouble->what, sizeof(trouble->what), format, args);
	va_end(args);
}

const char *box_time(uint64_t seconds, char ret[static BOX_TIME_CAP])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(ret, BOX_TIME_CAP, "%Y-%m-%d %H:%M UTC", &tm) == 0)
		snprintf(ret, BOX_TIME_CAP, "second %llu", (unsigned long long)seconds);
	return ret;
}

static int path(char ret[static 256], const char *folder, const char *name)
{
	int n = snprintf(ret, 256, "%s/%s", folder, name);

	return n < 0 || n >= 256 ? -ENAMETOOLONG : 0;
}

int box_init(struct box *box, const char *etc, const char *state, struct trouble *t)
{
	*box = (struct box){
		.etc = etc ? etc : BOX_ETC,
		.state = state ? state : BOX_STATE,
		.elsewhere = etc || state,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
	};
	if (box->etc[0] != '/' || box->state[0] != '/')
		return trouble(t, "usage", "begin them with /",
			       "--etc and --state are absolute paths");
	if (path(box->config, box->etc, "lockbridge.conf") < 0 ||
	    path(box->key, box->etc, BOX_KEY) < 0 ||
	    path(box->root, box->etc, "root.pub.pem") < 0 ||
	    path(box->ca, box->etc, "broker-ca.pem") < 0 ||
	    path(box->certificate, box->state, "gateway.pem") < 0 ||
	    path(box->store, box->state, "store.db") < 0 ||
	    path(box->identity, box->state, "enrolment") < 0)
		return trouble(t, "usage", "use shorter ones", "--etc or --state is too long");
	return 0;
}

int box_owner(struct box *box, struct trouble *t)
{
	const struct passwd *user;
	struct stat st;

	if (geteuid() != 0)
		return 0; /* elsewhere: what we write is ours */
	if (box->elsewhere) {
		if (stat(box->state, &st) < 0)
			return trouble(t, "state-missing", "make it, for the agent's user",
				       "%s: %s", box->state, strerror(errno));
		box->uid = st.st_uid;
		box->gid = st.st_gid;
		return 0;
	}
	user = getpwnam(BOX_USER);
	if (!user)
		return trouble(t, "user-missing", "install the package lockbridge, which makes it",
			       "there is no user " BOX_USER " on this box");
	box->uid = user->pw_uid;
	box->gid = user->pw_gid;
	return 0;
}

/* --- the key ------------------------------------------------------------------------------------ */

static int judge_key_file(const struct box *box, const struct stat *st, struct trouble *t)
{
	char next[500];

	if (!S_ISREG(st->st_mode))
		return trouble(t, "key-damaged", "take it away, and run lockbridgectl request",
			       "%s is no ordinary file", box->key);
	if (st->st_uid != 0 && !(box->elsewhere && st->st_uid == geteuid())) {
		snprintf(next, sizeof(next), "chown root:root %s", box->key);
		return trouble(t, "key-owner", next, "%s belongs to user %u, not to root", box->key,
			       (unsigned)st->st_uid);
	}
	if (st->st_mode & 077) {
		snprintf(next, sizeof(next),
			 "chmod 600 %s; if somebody may have read it, remove it instead, run "
			 "lockbridgectl request, and enrol anew",
			 box->key);
		return trouble(t, "key-mode", next,
			       "%s can be read by others than root (mode %04o)", box->key,
			       (unsigned)st->st_mode & 07777);
	}
	return 0;
}

static int cannot_open_key(const struct box *box, int error, struct trouble *t)
{
	if (error == ENOENT)
		return -ENOENT;
	if (error == EACCES || error == EPERM)
		trouble_say(t, "not-root", "run it as root: sudo lockbridgectl ...",
			    "%s can only be read by root", box->key);
	else if (error == ELOOP)
		trouble_say(t, "key-damaged", "put the file itself there, with mode 0600",
			    "%s is a symbolic link", box->key);
	else
		trouble_say(t, "key-damaged", "look after the disk", "cannot read %s: %s", box->key,
			    strerror(error));
	return -EINVAL;
}

int box_read_key(const struct box *box, char **ret_pem, struct trouble *t)
{
	cleanup(closep) int fd = open(box->key, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	cleanup(x509_wipe) char *pem = NULL, *request = NULL;
	struct stat st;
	ssize_t n;
	int r;

	if (fd < 0)
		return cannot_open_key(box, errno, t);
	if (fstat(fd, &st) < 0)
		return cannot_open_key(box, errno, t);
	r = judge_key_file(box, &st, t);
	if (r < 0)
		return r;
	pem = calloc(1, X509_PEM_MAX + 1);
	if (!pem)
		return trouble(t, "memory", "end other programs", "out of memory");
	n = read(fd, pem, X509_PEM_MAX); /* an ordinary file of this size comes in one piece */
	if (n < 0)
		return cannot_open_key(box, errno, t);
	/* whether it is a key shows when it signs */
	if (x509_request_create(span_of(pem, (size_t)n), "probe", &request) < 0)
		return trouble(t, "key-damaged",
			       "remove it, run lockbridgectl request, take the request to the "
			       "desk, and enrol with --replace",
			       "%s holds no private key for a certificate (PEM, P-256)", box->key);
	*ret_pem = steal(pem);
	return 0;
}

/* --- what comes from the city ------------------------------------------------------------------- */

int box_root_kid(struct span pem, char ret[static KID_CAP], struct trouble *t)
{
	struct signer private;
	uint8_t pub[PUBLIC_LEN];
	struct key key;
	bool secret;

	if (pem_parse_public(pem, pub) == 0) {
		key_init(&key, pub, ROLE_ROOT);
		hex_encode(SPAN(key.kid), ret, KID_CAP);
		return 0;
	}
	secret = pem_parse_private(pem, &private) == 0;
	signer_wipe(&private);
	if (secret)
		return trouble(t, "root-damaged",
			       "destroy this file, and tell the desk: whoever has it can sign for "
			       "the city",
			       "the root key is a private one, which must never be on a gateway");
	return trouble(t, "root-damaged", "get the file from the city's desk anew",
		       "the root key is no Ed25519 public key in PEM");
}

static int judge_dates(const struct x509_facts *facts, uint64_t now, struct trouble *t)
{
	char clock[BOX_TIME_CAP], date[BOX_TIME_CAP], next[500];

	box_time(now, clock);
	if (now + BOX_CLOCK_LEEWAY < facts->not_before)
		return trouble(t, "clock-wrong", box_set_clock,
			       "this box's clock says %s, but the certificate only begins at %s",
			       clock, box_time(facts->not_before, date));
	if (now < facts->not_after)
		return 0;
	snprintf(
		next, sizeof(next),
		"if the clock is right, get a new file from the desk (lockbridge-desk gateway add) "
		"and enrol with --replace; if not, %s",
		box_set_clock);
	return trouble(t, "certificate-expired", next,
		       "the certificate ended at %s, and this box's clock says %s",
		       box_time(facts->not_after, date), clock);
}

int box_certificate(const struct box_claim *claim, struct x509_facts *ret, struct trouble *t)
{
	const char *anew = "get the file from the city's desk anew";

	if (x509_certificate_read(claim->certificate, ret) < 0)
		return trouble(t, "certificate-damaged", anew,
			       "the gateway's certificate cannot be read");
	if (ret->authority)
		return trouble(t, "certificate-wrong", anew,
			       "the gateway's certificate is an authority's");
	if (claim->gateway && strcmp(ret->name, claim->gateway) != 0)
		return trouble(t, "certificate-wrong", anew,
			       "the certificate is for \"%s\", not for \"%s\"", ret->name,
			       claim->gateway);
	if (claim->key.len && x509_key_fits(claim->key, claim->certificate) < 0)
		return trouble(t, "certificate-foreign",
			       "run lockbridgectl request on this box, take the request to the "
			       "desk, and use the file that it makes for it",
			       "the certificate was made for another box's request: it does not "
			       "fit this box's key");
	return judge_dates(ret, claim->now, t);
}
