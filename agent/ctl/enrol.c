// SPDX-License-Identifier: Apache-2.0
/*
 * lockbridgectl enrol: makes this box a gateway of a city. Everything is checked (plan.c) and staged
 * before the first file changes; lockbridge.conf comes last, and with it the box is enrolled. Killed
 * at any point before, the box is as it was or not enrolled, and the same command goes on from there.
 *
 * The store belongs to an enrolment: what another gateway saw, or another city signed, is put aside
 * as store.db.replaced-TIME. A box that is enrolled again as the same gateway keeps its store, and
 * with it what must not be forgotten.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <fcntl.h>

#include "ctl/ctl.h"
#include "ctl/install.h"
#include "ctl/plan.h"
#include "ctl/service.h"
#include "link/file.h"

enum { IDENTITY, ROOT, CA, CERTIFICATE, CONFIG, FILES };

static void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static int not_written(struct trouble *t, const char *words)
{
	return trouble(t, "not-written", "nothing of this enrolment is in force; do it again then",
		       "%s", words);
}

/* --- writing ------------------------------------------------------------------------------------ */

static void name_files(const struct plan *plan, struct install_file files[static FILES])
{
	const struct box *box = &plan->box;
	uid_t root = geteuid() == 0 ? 0 : (uid_t)-1;

	files[IDENTITY] = (struct install_file){.path = box->identity,
						.bytes = span_str(plan->identity),
						.mode = 0600,
						.uid = box->uid,
						.gid = box->gid};
	files[ROOT] = (struct install_file){.path = box->root,
					    .bytes = span_str(plan->file.root_key),
					    .mode = 0644,
					    .uid = root,
					    .gid = root};
	files[CA] = files[ROOT];
	files[CA].path = box->ca;
	files[CA].bytes = span_str(plan->file.broker_ca);
	files[CERTIFICATE] = files[IDENTITY];
	files[CERTIFICATE].path = box->certificate;
	files[CERTIFICATE].bytes = span_str(plan->file.certificate);
	files[CONFIG] = files[ROOT];
	files[CONFIG].path = box->config;
	files[CONFIG].bytes = span_str(plan->text);
	/* not .old beside the certificate: that name is part of the agent's renewal */
	for (size_t i = ROOT; i < FILES; i++) {
		if (!plan_holds(files[i].path, files[i].bytes))
			files[i].old = i == CERTIFICATE ? ".replaced" : ".old";
	}
}

static int stage(struct install_file files[static FILES], struct trouble *t)
{
	char words[INSTALL_WORDS_CAP];

	for (size_t i = 0; i < FILES; i++) {
		if (install_stage(&files[i], words) < 0)
			return trouble(t, "not-written", "nothing was changed", "%s", words);
	}
	return 0;
}

/* The database and what SQLite keeps beside it; the names stay together. */
static int put_store_aside(const struct plan *plan, uint64_t now, struct trouble *t)
{
	static const char *const parts[] = {"-shm", "-wal", ""};
	char from[300], to[300];

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		snprintf(from, sizeof(from), "%s%s", plan->box.store, parts[i]);
		snprintf(to, sizeof(to), "%s.replaced-%llu%s", plan->box.store,
			 (unsigned long long)now, parts[i]);
		if (rename(from, to) < 0 && errno != ENOENT)
			return trouble(t, "not-written", "look after the disk, then do it again",
				       "cannot put %s aside: %s", from, strerror(errno));
	}
	return file_sync_folder(plan->box.store) < 0
		       ? trouble(t, "not-written", "look after the disk, then do it again",
				 "cannot sync %s", plan->box.state)
		       : 0;
}

/* Another gateway, or another city: from here on the box is not enrolled, until CONFIG is in place. */
static int give_up_former(const struct plan *plan, struct trouble *t)
{
	char old[300];
	int r = 0;

	if (!plan->installed || plan->same)
		return 0;
	snprintf(old, sizeof(old), "%s.old", plan->box.config);
	r = file_rename(plan->box.config, old);
	if (r < 0)
		return trouble(t, "not-written", "nothing was changed", "cannot rename %s: %s",
			       plan->box.config, strerror(-r));
	return 0;
}

/* A renewal that the agent had under way is over. */
static void end_renewal(const struct plan *plan)
{
	static const char *const parts[] = {".old", ".new"};
	char path[300];

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		snprintf(path, sizeof(path), "%s%s", plan->box.certificate, parts[i]);
		unlink(path);
	}
}

static int commit(const struct plan *plan, struct install_file files[static FILES], uint64_t now,
		  struct trouble *t)
{
	char words[INSTALL_WORDS_CAP];
	int r = give_up_former(plan, t);

	if (r == 0 && plan->aside)
		r = put_store_aside(plan, now, t);
	if (r < 0)
		return r;
	end_renewal(plan);
	for (size_t i = 0; i < FILES; i++) {
		if (install_commit(&files[i], words) < 0)
			return not_written(t, words);
	}
	return 0;
}

/* StateDirectory= makes it when the service starts, which may not have been yet. */
static int make_state(const struct plan *plan, bool *ret_made, struct trouble *t)
{
	*ret_made = mkdir(plan->box.state, 0700) == 0;
	if (!*ret_made && errno != EEXIST)
		return trouble(t, "state-missing", "nothing was changed", "cannot make %s: %s",
			       plan->box.state, strerror(errno));
	if (*ret_made && chown(plan->box.state, plan->box.uid, plan->box.gid) < 0)
		return trouble(t, "state-missing", "nothing was changed", "cannot give %s away: %s",
			       plan->box.state, strerror(errno));
	return 0;
}

static int install(const struct plan *plan, bool stop, uint64_t now, struct trouble *t)
{
	static const char *const stopping[] = {"systemctl", "stop", SERVICE, NULL};
	struct install_file files[FILES];
	bool made = false;
	int r = make_state(plan, &made, t);

	name_files(plan, files);
	if (r == 0)
		r = stage(files, t);
	/* nobody renews the certificate or writes to the store meanwhile */
	if (r == 0 && stop && (plan->installed || plan->aside) && service_control(stopping) != 0)
		r = trouble(t, "service", "nothing was changed: see why, then do it again",
			    "the service cannot be stopped");
	if (r == 0)
		r = commit(plan, files, now, t);
	for (size_t i = 0; i < FILES; i++)
		install_drop(&files[i]);
	if (r < 0 && made)
		rmdir(plan->box.state);
	return r;
}

/* --- telling, and starting ---------------------------------------------------------------------- */

static void tell(const struct plan *plan, const char *expected)
{
	char until[BOX_TIME_CAP];

	printf("Gateway      %s\n", plan->file.gateway);
	printf("Root key     %s%s\n", plan->kid,
	       expected ? ", as expected"
			: "  <- compare it with the desk's: lockbridge-desk keys show");
	for (size_t i = 0; i < plan->file.nbrokers; i++)
		printf("%s%s:%d\n", i ? "             " : "Broker       ",
		       plan->file.brokers[i].host, plan->file.brokers[i].port);
	printf("Locks        %zu\n", plan->config.nlocks);
	printf("Certificate  until %s\n", box_time(plan->certificate.not_after, until));
	if (*plan->note)
		printf("%s\n", plan->note);
}

static int say_trouble(const char *what, const char *next)
{
	fflush(stdout);
	fprintf(stderr, "%s\nNext: %s\n", what, next);
	return CTL_PROBLEM;
}

static bool given_up(const struct service *s)
{
	return strcmp(s->active, "failed") == 0 || strcmp(s->sub, "auto-restart") == 0;
}

/* Until the gateway is online, or says what ails it; at most some 30 s. */
static int watch_start(const struct ctl *ctl)
{
	const struct timespec pause = {.tv_nsec = 250000000};
	time_t end = time(NULL) + 30;
	char cause[900], next[400], what[1300];
	struct service service;

	do {
		service_look(ctl, &service);
		if (service.agent && service.connected) {
			printf("Online: connected to %s.\n", service.host);
			return CTL_FINE;
		}
		if (given_up(&service))
			break;
		nanosleep(&pause, NULL);
	} while (time(NULL) < end);
	if (service.agent) {
		snprintf(what, sizeof(what),
			 "The box is enrolled and the agent runs, but it is not connected to the "
			 "broker%s%s",
			 *service.why ? ": " : ".", service.why);
		return say_trouble(what, "it goes on trying by itself; lockbridgectl diagnose says "
					 "what is in the way");
	}
	service_explain(&service, cause, next);
	snprintf(what, sizeof(what), "The box is enrolled, but: %s", cause);
	return say_trouble(what, next);
}

static int start(const struct ctl *ctl)
{
	static const char *const enable[] = {"systemctl", "--quiet", "enable", SERVICE, NULL};
	static const char *const restart[] = {"systemctl", "restart", SERVICE, NULL};

	if (service_control(enable) != 0)
		return say_trouble("The box is enrolled, but the service cannot be enabled.",
				   "systemctl enable --now lockbridge");
	(void)service_control(restart); /* what came of it is looked at */
	return watch_start(ctl);
}

struct choices {
	struct plan_order order;
	bool no_start;
};

static int enrol(const struct ctl *ctl, const struct choices *choices)
{
	cleanup(plan_deinit) struct plan plan = {0};
	cleanup(closep) int held = -1;
	struct trouble t = {0};
	bool manage = !choices->no_start;
	int r = plan_make(&choices->order, &plan, &t);

	if (r < 0)
		return say_trouble(t.what, t.next);
	held = open(plan.box.etc, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (held < 0 || flock(held, LOCK_EX | LOCK_NB) < 0)
		return say_trouble("Another enrolment of this box is going on.",
				   "wait for it to end");
	manage = manage && !plan.box.elsewhere && service_manager_runs();
	tell(&plan, choices->order.root);
	r = plan.done ? 0 : install(&plan, manage, choices->order.now, &t);
	if (r < 0)
		return say_trouble(t.what, t.next);
	printf(plan.done ? "Enrolled already, with this file.\n" : "Enrolled.\n");
	if (plan.aside && !plan.done)
		printf("What another gateway or city left here is kept as %s.replaced-%llu.\n",
		       plan.box.store, (unsigned long long)choices->order.now);
	fflush(stdout);
	if (manage)
		return start(ctl);
	if (plan.box.elsewhere)
		printf("Next: lockbridged --config %s\n", plan.box.config);
	else
		printf("Next: systemctl enable --now lockbridge\n");
	return CTL_FINE;
}

static int usage(FILE *to, int code)
{
	fprintf(to,
		"Usage: lockbridgectl enrol FILE [--root KID] [--replace] [--no-start]\n"
		"Makes this box a gateway, by the file that the city's desk wrote. As root.\n\n"
		"  --root KID   refuses the file unless the city's root key is this one (16 hex "
		"digits)\n"
		"  --replace    also if the box is enrolled already; former files stay as *.old\n"
		"  --no-start   does not start the service\n"
		"  --etc DIR    another folder than " BOX_ETC ", and\n"
		"  --state DIR  another one than " BOX_STATE ": for a second gateway, or to try\n");
	return code;
}

int ctl_enrol(struct ctl *ctl, int argc, char **argv)
{
	enum { ROOT_KID = CTL_OWN, REPLACE, NO_START, ETC, STATE };
	static const struct option options[] = {
		{"root", required_argument, NULL, ROOT_KID},
		{"replace", no_argument, NULL, REPLACE},
		{"no-start", no_argument, NULL, NO_START},
		{"etc", required_argument, NULL, ETC},
		{"state", required_argument, NULL, STATE},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct choices c = {.order = {.now = (uint64_t)time(NULL)}};
	uint8_t kid[DIGEST_LEN];
	int option;

	optind = 0;
	while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		if (option == ROOT_KID)
			c.order.root = optarg;
		else if (option == REPLACE)
			c.order.replace = true;
		else if (option == NO_START)
			c.no_start = true;
		else if (option == ETC)
			c.order.etc = optarg;
		else if (option == STATE)
			c.order.state = optarg;
		else
			return usage(option == 'h' ? stdout : stderr,
				     option == 'h' ? CTL_FINE : CTL_USAGE);
	}
	if (argc - optind != 1)
		return usage(stderr, CTL_USAGE);
	if (c.order.root &&
	    hex_decode(span_str(c.order.root), kid, sizeof(kid)) != (int)sizeof(kid)) {
		fprintf(stderr, "--root: \"%s\" is no kid: it has 16 hex digits\n", c.order.root);
		return CTL_USAGE;
	}
	c.order.file = argv[optind];
	return enrol(ctl, &c);
}
