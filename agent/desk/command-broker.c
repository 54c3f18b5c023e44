// SPDX-License-Identifier: Apache-2.0
/* broker files: what a mosquitto needs of the desk. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "desk/broker-files.h"
#include "desk/broker-identity.h"
#include "desk/command.h"
#include "desk/registry.h"
#include "desk/show.h"

#define HOSTS_CAP 2048

static const struct option options[] = {
	{"out", required_argument, NULL, 'o'},
	{"host", required_argument, NULL, 'h'},
	{0},
};

struct broker_args {
	const char *folder;
	char hosts[HOSTS_CAP]; /* separated by commas; "": none */
};

static int parse(const struct desk *desk, int argc, char **argv, struct broker_args *a)
{
	size_t len = 0;
	int c;

	*a = (struct broker_args){0};
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'o') {
			a->folder = optarg;
		} else if (c == 'h') {
			len += (size_t)snprintf(a->hosts + len, sizeof(a->hosts) - len, "%s%s",
						len ? "," : "", optarg);
			if (len >= sizeof(a->hosts))
				return command_usage(desk, "--host: too many names");
		} else {
			return command_usage(desk, "no such option, or its value is missing");
		}
	}
	return optind < argc ? command_usage(desk, "%s: not expected here", argv[optind]) : 0;
}

/* The folder is known by now. */
static int make_server(struct desk *desk, const char *folder, const char *hosts, uint64_t now,
		       char error[static AUTHORITY_ERROR_CAP])
{
	int r = broker_files_server(desk, folder, hosts, now, error);

	if (r == -EINVAL && !error[0])
		snprintf(error, AUTHORITY_ERROR_CAP,
			 "--host %.200s: a host name or an IP address is needed, as gateways and "
			 "this "
			 "desk reach the broker",
			 hosts);
	return r;
}

static int show_done(const struct desk *desk, const char *folder, const struct broker_args *a,
		     bool changed, int used)
{
	char mine[96] = "";

	if (used > 0)
		snprintf(mine, sizeof(mine),
			 "\nThis desk shows its own certificate to %d of its brokers from now on.",
			 used);
	show_answer(desk,
		    json_pack("{s:s, s:b, s:b, s:i}", "folder", folder, "changed",
			      changed || a->hosts[0], "server", a->hosts[0] != '\0', "brokers",
			      used),
		    "%s has ca.pem, crl.pem, acl, desk-ca.pem%s.%s%s", folder,
		    a->hosts[0] ? ", server.pem, server.key" : "",
		    changed || a->hosts[0] ? "\nReload the broker: systemctl reload mosquitto"
					   : " Nothing had to be changed.",
		    mine);
	return DESK_DONE;
}

int command_broker_files(struct desk *desk, int argc, char **argv)
{
	char error[AUTHORITY_ERROR_CAP] = "", folder[SETTING_CAP];
	uint64_t now = desk_now();
	struct broker_args a;
	int used = 0, changed, r = parse(desk, argc, argv, &a);

	if (r != 0)
		return r;
	changed = r = broker_files_write(desk, a.folder, now, error);
	if (r >= 0)
		r = setting_get(desk->db, "broker-files", folder, sizeof(folder));
	if (r == -ENOENT && !error[0])
		return command_usage(desk,
				     "--out FOLDER is needed: where the broker's files are to "
				     "be, from now on");
	if (r == 0 && a.hosts[0])
		r = make_server(desk, folder, a.hosts, now, error);
	if (r == 0)
		r = used = broker_identity_use(desk, a.hosts);
	if (r >= 0)
		r = desk_log(desk, (struct act){.act = "broker.files"});
	if (r < 0)
		return error[0] ? desk_fail(desk, DESK_REFUSED, "%s", error)
				: desk_fail_errno(desk, r, "broker files");
	return show_done(desk, folder, &a, changed > 0, used);
}
