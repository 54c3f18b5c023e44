// SPDX-License-Identifier: Apache-2.0
/* See config-file.h. */
#include "link/config-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/pem.h"
#include "link/config.h"

#define KEY_FILE_MAX 4096

static void close_fdp(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static int cannot_read(const char *path, int error, char wrong[static CONFIG_WRONG_CAP])
{
	const char *hint = "";

	if (error == ENOENT || error == ENOTDIR)
		hint = "; correct the path, or put the file there";
	else if (error == EACCES || error == EPERM)
		hint = "; let the user that the agent runs as read it";
	else if (error == EISDIR)
		hint = "; name a file";
	snprintf(wrong, CONFIG_WRONG_CAP, "cannot read %s: %s%s", path, strerror(error), hint);
	return -error;
}

static int open_file(const char *path, struct stat *ret_st, char wrong[static CONFIG_WRONG_CAP])
{
	/* nonblock: a FIFO must not hang us */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return cannot_read(path, errno, wrong);
	if (fstat(fd, ret_st) < 0) {
		int error = errno;

		close(fd);
		return cannot_read(path, error, wrong);
	}
	if (S_ISREG(ret_st->st_mode))
		return fd;
	close(fd);
	if (S_ISDIR(ret_st->st_mode))
		return cannot_read(path, EISDIR, wrong);
	snprintf(wrong, CONFIG_WRONG_CAP, "cannot read %s: it is no ordinary file; name one", path);
	return -EINVAL;
}

int config_file_check(const char *path, char wrong[static CONFIG_WRONG_CAP])
{
	struct stat st;
	int fd = open_file(path, &st, wrong);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int config_credential(const char *config_path, const char *name, char ret[static 256])
{
	const char *folder = getenv("CREDENTIALS_DIRECTORY"), *slash = strrchr(config_path, '/');
	char path[256] = "";
	int n;

	if (folder && *folder)
		n = snprintf(path, sizeof(path), "%s/%s", folder, name);
	else
		n = snprintf(path, sizeof(path), "%.*s%s",
			     slash ? (int)(slash - config_path) + 1 : 0, config_path, name);
	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	memcpy(ret, path, sizeof(path));
	return 0;
}

/* Nothing, or what the unit says while there is no key yet. */
static bool is_placeholder(int fd)
{
	char text[8];
	ssize_t n = read(fd, text, sizeof(text));

	return n == 0 || (n == 4 && memcmp(text, "none", 4) == 0);
}

int config_file_check_credential(const char *name, const char *path,
				 char wrong[static CONFIG_WRONG_CAP])
{
	bool service = getenv("CREDENTIALS_DIRECTORY") != NULL;
	struct stat st;
	cleanup(close_fdp) int fd = open_file(path, &st, wrong);

	if (fd >= 0 && !is_placeholder(fd))
		return 0;
	if (fd >= 0)
		snprintf(wrong, CONFIG_WRONG_CAP, "%s is empty; %s", path,
			 service ? "systemctl restart lockbridge hands it over anew"
				 : "put the file there again");
	else if (fd == -EACCES && !service)
		snprintf(wrong, CONFIG_WRONG_CAP, "cannot read %s: %s; run it as root", path,
			 strerror(EACCES));
	else if (fd == -ENOENT && service)
		snprintf(wrong, CONFIG_WRONG_CAP,
			 "the service got no credential %s; the unit needs "
			 "LoadCredential=%s:/etc/lockbridge/%s, and systemctl restart lockbridge",
			 name, name, name);
	return fd < 0 ? fd : -EINVAL;
}

int config_file_read(const char *path, size_t max, char **ret, size_t *ret_len,
		     char wrong[static CONFIG_WRONG_CAP])
{
	struct stat st;
	cleanup(close_fdp) int fd = open_file(path, &st, wrong);
	cleanup(freep) char *text = NULL;
	size_t len = 0;

	if (fd < 0)
		return fd;
	text = malloc(max + 1);
	if (!text) {
		snprintf(wrong, CONFIG_WRONG_CAP, "cannot read %s: out of memory", path);
		return -ENOMEM;
	}
	for (;;) {
		/* one more than allowed, to see that it is too much */
		ssize_t n = read(fd, text + len, max + 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return cannot_read(path, errno, wrong);
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max) {
			snprintf(wrong, CONFIG_WRONG_CAP,
				 "cannot read %s: it is larger than %zu bytes; is it the right "
				 "file?",
				 path, max);
			return -EFBIG;
		}
	}
	text[len] = '\0';
	*ret = steal(text);
	*ret_len = len;
	return 0;
}

int config_file_public_key(const char *path, uint8_t ret[static PUBLIC_LEN],
			   char wrong[static CONFIG_WRONG_CAP])
{
	cleanup(freep) char *text = NULL;
	struct signer private;
	size_t len = 0;
	int r = config_file_read(path, KEY_FILE_MAX, &text, &len, wrong);

	if (r < 0)
		return r;
	if (pem_parse_public(span_of(text, len), ret) == 0) {
		r = 0;
	} else if (pem_parse_private(span_of(text, len), &private) == 0) {
		snprintf(wrong, CONFIG_WRONG_CAP,
			 "%s holds a private key, which must not be on a gateway; take it away, "
			 "treat it as stolen, and put the public key there (openssl pkey -pubout)",
			 path);
		r = -EINVAL;
	} else {
		snprintf(wrong, CONFIG_WRONG_CAP,
			 "%s holds no Ed25519 public key in PEM; get the file from the city's desk "
			 "anew",
			 path);
		r = -EINVAL;
	}
	signer_wipe(&private);
	crypto_wipe(text, len);
	return r;
}
