// SPDX-License-Identifier: Apache-2.0
/*
 * lockbridgectl request: the box's key, made once and never shown, and a request for a certificate
 * signed by it (PKCS#10), which is what the desk gets.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/box.h"
#include "ctl/ctl.h"
#include "ctl/install.h"
#include "link/file.h"

/* The key gets its name by a link, which fails if there is one by now: never one for another. */
static int put_key(const struct box *box, const char *pem, struct trouble *t)
{
	struct install_file file = {
		.path = box->key,
		.bytes = span_str(pem),
		.mode = 0600,
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
	};
	char words[INSTALL_WORDS_CAP];
	int r = install_stage(&file, words);

	if (r == 0 && install_link(&file, words) < 0)
		r = -EIO;
	install_drop(&file);
	return r < 0 ? trouble(t, "not-written", "nothing was changed", "%s", words) : 0;
}

static int make_key(const struct box *box, char **ret, struct trouble *t)
{
	cleanup(x509_wipe) char *pem = NULL;
	int r;

	if (x509_key_create(&pem) < 0)
		return trouble(t, "memory", "do it again", "no key could be made");
	r = put_key(box, pem, t);
	if (r < 0)
		return r;
	fprintf(stderr, "Made this box's key: %s. It never leaves this box.\n", box->key);
	/* as it is on disk, whoever wrote it */
	r = box_read_key(box, ret, t);
	if (r == -ENOENT)
		trouble_say(t, "key-missing", "do it again", "%s is gone again", box->key);
	return r;
}

static int write_request(const char *pem, const char *out, struct trouble *t)
{
	int r;

	if (!out) {
		if (fputs(pem, stdout) >= 0 && fflush(stdout) == 0)
			return 0;
		return trouble(t, "not-written", "do it again", "the request cannot be printed");
	}
	r = file_write(out, span_str(pem), 0644);
	return r < 0 ? trouble(t, "not-written", "name another file", "cannot write %s: %s", out,
			       strerror(-r))
		     : 0;
}

static int request(const struct box *box, const char *gateway, const char *out, struct trouble *t)
{
	cleanup(x509_wipe) char *key = NULL;
	cleanup(freep) char *pem = NULL;
	int r = box_read_key(box, &key, t);

	if (r == -ENOENT)
		r = make_key(box, &key, t);
	if (r < 0)
		return r;
	if (x509_request_create(span_str(key), gateway, &pem) < 0)
		return trouble(t, "memory", "do it again", "no request could be made");
	r = write_request(pem, out, t);
	if (r < 0)
		return r;
	fprintf(stderr,
		"Next: take the request to the city's desk (lockbridge-desk gateway add %s "
		"--request "
		"FILE), then lockbridgectl enrol with the file that it makes.\n",
		gateway);
	return 0;
}

static int usage(FILE *to, int code)
{
	fprintf(to,
		"Usage: lockbridgectl request GATEWAY [--out FILE]\n"
		"Makes this box's key, once, and prints a request for its certificate. As root.\n\n"
		"  GATEWAY      the id that the city gives this box: 1 to 32 of a-z, 0-9 and -\n"
		"  --out FILE   writes the request there\n"
		"  --etc DIR    another folder than " BOX_ETC "\n");
	return code;
}

int ctl_request(struct ctl *ctl, int argc, char **argv)
{
	enum { OUT = CTL_OWN, ETC };
	static const struct option options[] = {
		{"out", required_argument, NULL, OUT},
		{"etc", required_argument, NULL, ETC},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *out = NULL, *etc = NULL;
	struct trouble t = {0};
	struct box box;
	int option, r;

	optind = 0;
	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (option == OUT)
			out = optarg;
		else if (option == ETC)
			etc = optarg;
		else
			return usage(option == 'h' ? stdout : stderr,
				     option == 'h' ? CTL_FINE : CTL_USAGE);
	}
	if (argc - optind != 1)
		return usage(stderr, CTL_USAGE);
	if (!id_valid(span_str(argv[optind]))) {
		fprintf(stderr, "\"%s\" is no id of a gateway: 1 to 32 of a-z, 0-9 and -\n",
			argv[optind]);
		return CTL_USAGE;
	}
	r = box_init(&box, etc, NULL, &t);
	if (r == 0)
		r = request(&box, argv[optind], out, &t);
	if (r == 0)
		return CTL_FINE;
	fprintf(stderr, "%s\nNext: %s\n", t.what, t.next);
	return CTL_PROBLEM;
}
