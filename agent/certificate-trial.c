// SPDX-License-Identifier: Apache-2.0
/*
 * The files of a trial. Every write leaves the old content or the new one; the order of the writes
 * is such that between any two of them the files tell a state that is true. See certificate.h.
 */
#include "certificate-private.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "link/file.h"

#define MODE 0644 /* a certificate is no secret */

void certificate_files_set(struct certificate_files *files, const char *certificate,
			   const char *key, const char *ca)
{
	char real[PATH_MAX];

	memset(files, 0, sizeof(*files));
	if (!realpath(certificate, real) || strlen(real) + 5 > sizeof(files->path))
		snprintf(real, sizeof(real), "%s", certificate);
	snprintf(files->path, sizeof(files->path), "%.500s", real);
	snprintf(files->key, sizeof(files->key), "%s", key);
	snprintf(files->ca, sizeof(files->ca), "%s", ca);
}

int certificate_text_read(const char *path, struct certificate_text *ret)
{
	size_t len;
	int r = file_read(path, ret->bytes, sizeof(ret->bytes), &len);

	ret->span = span_of(ret->bytes, r < 0 ? 0 : len);
	return r;
}

int certificate_text_facts(const struct certificate_files *files,
			   const struct certificate_text *text, struct x509_facts *ret)
{
	struct certificate_text key;
	int r = x509_certificate_read(text->span, ret);

	if (r < 0)
		return r;
	r = certificate_text_read(files->key, &key);
	if (r < 0)
		return r;
	r = x509_key_fits(key.span, text->span);
	crypto_wipe(&key, sizeof(key));
	return r;
}

/* --- beside FILE ---------------------------------------------------------------------------- */

struct beside {
	char old[CERTIFICATE_PATH_MAX + 4], new[CERTIFICATE_PATH_MAX + 4];
};

static struct beside beside(const struct certificate_files *files)
{
	struct beside ret;

	snprintf(ret.old, sizeof(ret.old), "%s.old", files->path);
	snprintf(ret.new, sizeof(ret.new), "%s.new", files->path);
	return ret;
}

/* Synced: one that a power cut brought back beside what was written since would tell another state. */
static int forget(const char *path)
{
	if (unlink(path) < 0)
		return errno == ENOENT ? 0 : -errno;
	return file_sync_folder(path);
}

/* What is longer than any certificate is one that cannot be used, and no reason to go no further. */
static int same(const char *one, const char *other)
{
	struct certificate_text a, b;
	int r = certificate_text_read(one, &a);

	if (r == 0)
		r = certificate_text_read(other, &b);
	if (r == 0)
		return span_equal(a.span, b.span);
	return r == -EFBIG ? 0 : r;
}

static int copy(const char *from, const char *to)
{
	struct certificate_text text;
	int r = certificate_text_read(from, &text);

	return r < 0 ? r : file_write(to, text.span, MODE);
}

int certificate_writable(const struct certificate_files *files)
{
	return file_folder_writable(files->path);
}

/* --- the trial ------------------------------------------------------------------------------ */

int certificate_trial(const struct certificate_files *files, enum certificate_trial *ret)
{
	struct beside at = beside(files);
	int is_old;

	*ret = CERTIFICATE_SETTLED;
	if (access(at.old, F_OK) < 0)
		return forget(at.new); /* the last step of an end that was cut short */
	is_old = same(files->path, at.old);
	if (is_old < 0 && is_old != -ENOENT)
		return is_old;
	if (is_old != 1) {
		*ret = CERTIFICATE_NEW_IN_USE;
		return 0;
	}
	if (access(at.new, F_OK) < 0)
		return forget(at.old); /* it had not begun, or has ended */
	*ret = CERTIFICATE_OLD_IN_USE;
	return 0;
}

int certificate_install(const struct certificate_files *files, struct span pem)
{
	struct beside at = beside(files);
	enum certificate_trial trial;
	int r = certificate_trial(files, &trial);

	/* What the broker took last is kept, whatever else was tried since. */
	if (r == 0 && trial == CERTIFICATE_SETTLED)
		r = copy(files->path, at.old);
	if (r == -ENOENT || r == -EFBIG)
		r = 0; /* nothing that could be put back */
	if (r == 0)
		r = file_write(files->path, pem, MODE);
	return r < 0 ? r : forget(at.new);
}

int certificate_swap(const struct certificate_files *files, uint64_t now)
{
	struct beside at = beside(files);
	struct certificate_text other;
	enum certificate_trial trial;
	struct x509_facts facts;
	int r = certificate_trial(files, &trial);

	if (r < 0)
		return r;
	if (trial == CERTIFICATE_SETTLED)
		return -ENOENT;
	r = certificate_text_read(trial == CERTIFICATE_NEW_IN_USE ? at.old : at.new, &other);
	if (r < 0)
		return r;
	r = certificate_text_facts(files, &other, &facts);
	if (r == -EBADMSG)
		return CERTIFICATE_OTHER_KEY;
	if (r < 0)
		return r;
	if (facts.not_after <= now)
		return CERTIFICATE_EXPIRED;
	if (trial == CERTIFICATE_NEW_IN_USE)
		r = copy(files->path, at.new);
	if (r == -ENOENT || r == -EFBIG)
		r = 0; /* somebody removed it; or nothing that could be tried again */
	return r < 0 ? r : file_write(files->path, other.span, MODE);
}

int certificate_settle(const struct certificate_files *files)
{
	struct beside at = beside(files);
	enum certificate_trial trial;
	int r = certificate_trial(files, &trial);

	if (r < 0)
		return r;
	/* Whichever goes first, what is left tells the same end. */
	r = forget(trial == CERTIFICATE_OLD_IN_USE ? at.new : at.old);
	return r < 0 ? r : forget(trial == CERTIFICATE_OLD_IN_USE ? at.old : at.new);
}
