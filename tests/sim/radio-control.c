/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket (unix, SOCK_STREAM): one command per line; one line back, "ok ..." or
 * "error ...".
 *
 *   latency NAME MIN MAX         ms; connect resolve resolve-again read write command notify
 *                                disconnect power
 *   set NAME VALUE               mtu interval connect-timeout temporary att-timeout app-timeout
 *                                supervision retransmit (ms), max-links peripheral-links packet-us
 *                                byte-ns rssi; 0 or 1: connect-waits (for an advert)
 *                                connect-needs-scan (kernels from 6.15) always-temporary
 *                                bearers (2 and more: Enhanced ATT, commands overtake one another)
 *                                connected-unsaid (Connect answered, Connected=true never told)
 *                                service-allowed (systemd restarts bluetooth.service for us)
 *   rssi hciN LEVEL [hciM]       how hciN is heard, by all or by hciM
 *   interval hciN MS             of its adverts; 0: the setting
 *   loss hciN PERCENT            adverts lost, packets late, connections failing
 *   silent hciN on|off           radio dead, link stays (no supervision, as btvirt)
 *   vanish hciN | appear hciN    out of range: no adverts, connects hang, links time out
 *   scan-silent hciN on|off      scans, hears nothing, says nothing
 *   scan-silent hciN scan|power|service   until its scan, power or daemon is restarted
 *   stale hciN on|off            at its peers: ServicesResolved without its services
 *   refuse connect hciN COUNT    the next connects to hciN fail
 *   fail write hciN COUNT        the next writes to hciN fail with 0x0e
 *   drop-link hciN               its links end now
 *   power hciN on|off            as rfkill does it
 *   adapter remove|add hciN      the radio is pulled, put in
 *   flood DEVICES PER-SECOND [ours]  foreign devices; 0 0 ends it; ours: as locks sound
 *   spoof hciN HEX               one advert with its address and this service data of ours
 *   trip hciN STEP error|drop|silent|vanish|garble|off   at the STEP-th step of its links, once:
 *                                connects, tables read, packets each way (radio-trip.c)
 *   tripped hciN                 how many steps since, and 1 if it was sprung
 *   service                      how often systemd was asked to restart the daemon
 *   restart [MS]                 the daemon is killed, and back after MS (1700)
 *   stats                        one line of JSON: what each radio did
 *   log FILE | log off           each value read, written, notified, lost by a drop: usec what from
 *                                to uuid hex; `leaves` (uuid -): a client has just given it to us
 */
#include "sim/radio.h"
#include "sim/sim-control.h"

#include <errno.h>
#include <stdlib.h>

enum { WORDS = 5 };

struct command {
	const char *name, *second; /* second: a fixed word, or NULL */
	int words;		   /* at least */
	int (*run)(struct radio *r, char **w, FILE *out);
};

static int number(const char *text, long low, long high, long *ret)
{
	char *end;
	long n = text ? strtol(text, &end, 10) : 0;

	if (!text || end == text || *end || n < low || n > high)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int on_off(const char *text, bool *ret)
{
	if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
		return -EINVAL;
	*ret = !strcmp(text, "on");
	return 0;
}

/* --- commands ------------------------------------------------------------------- */

static int run_latency(struct radio *r, char **w, FILE *out)
{
	double min = strtod(w[2], NULL), max = strtod(w[3], NULL);

	if (min < 0 || max < min || max > 600000)
		return -EINVAL;
	return radio_latency(r, w[1], (uint32_t)(min * 1000), (uint32_t)(max * 1000));
}

static int run_set(struct radio *r, char **w, FILE *out)
{
	int rc = radio_setting(r, w[1], w[2]);

	advert_wake(r);
	link_kick(r);
	return rc;
}

static int run_rssi(struct radio *r, char **w, FILE *out)
{
	struct board *b = radio_board(r, w[1]), *at = w[3] ? radio_board(r, w[3]) : NULL;
	long level;

	if (!b || (w[3] && !at) || number(w[2], -126, 20, &level) < 0)
		return -EINVAL;
	for (size_t i = 0; i < RADIO_BOARDS; i++)
		if (!at || at->index == (int)i)
			b->rssi[i] = (int8_t)level;
	return 0;
}

static int run_interval(struct radio *r, char **w, FILE *out)
{
	struct board *b = radio_board(r, w[1]);
	long ms;

	if (!b || number(w[2], 0, 60000, &ms) < 0)
		return -EINVAL;
	b->interval_ms = (uint32_t)ms;
	return 0;
}

static int run_loss(struct radio *r, char **w, FILE *out)
{
	struct board *b = radio_board(r, w[1]);
	long percent;

	if (!b || number(w[2], 0, 100, &percent) < 0)
		return -EINVAL;
	b->loss = (int)percent;
	return 0;
}

static const char *const cures[CURES] = {
	[CURE_SCAN] = "scan", [CURE_POWER] = "power", [CURE_SERVICE] = "service"};

static int run_flag(struct radio *r, char **w, FILE *out)
{
	struct board *b = radio_board(r, w[1]);
	bool *flag, on;

	for (int i = CURE_SCAN; b && !strcmp(w[0], "scan-silent") && i < CURES; i++)
		if (!strcmp(w[2], cures[i])) {
			b->scan_silent = true;
			b->cure = (enum cure)i;
			return 0;
		}
	if (!b || on_off(w[2], &on) < 0)
		return -EINVAL;
	flag = !strcmp(w[0], "silent")	? &b->silent
	       : !strcmp(w[0], "stale") ? &b->stale
					: &b->scan_silent;
	*flag = on;
	b->cure = CURE_NONE;
	link_check(r);
	return 0;
}

static int run_range(struct radio *r, char **w, FILE *out)
{
	struct board *b = radio_board(r, w[1]);

	if (!b)
		return -EINVAL;
	b->away = !strcmp(w[0], "vanish");
	link_check(r);
	return 0;
}

static int run_count(struct radio *r, char **w, FILE *out)
{
	struct board *b = radio_board(r, w[2]);
	long n;

	if (!b || number(w[3], 0, 1000000, &n) < 0)
		return -EINVAL;
	*(!strcmp(w[0], "refuse") ? &b->refuse : &b->fail_writes) = (int)n;
	return 0;
}

static struct adapter *adapter_named(struct radio *r, const char *name)
{
	struct board *b = radio_board(r, name);

	return b ? adapter_of(r, b) : NULL;
}

static int run_drop(struct radio *r, char **w, FILE *out)
{
	struct adapter *a = adapter_named(r, w[1]);

	if (!a)
		return -ENODEV;
	link_drop_all(a);
	return 0;
}

static int run_power(struct radio *r, char **w, FILE *out)
{
	struct adapter *a = adapter_named(r, w[1]);
	bool on;

	if (!a || on_off(w[2], &on) < 0)
		return -EINVAL;
	adapter_power(a, on);
	return 0;
}

static int run_remove(struct radio *r, char **w, FILE *out)
{
	struct adapter *a = adapter_named(r, w[2]);

	if (!a)
		return -ENODEV;
	a->board->present = false;
	adapter_free(a, true);
	return 0;
}

static int run_add(struct radio *r, char **w, FILE *out)
{
	struct board *b = radio_board(r, w[2]);
	struct adapter *a;

	if (!b || b->present)
		return -EEXIST;
	b->present = true;
	return r->bus ? adapter_new(r, b, &a) : 0;
}

static int run_flood(struct radio *r, char **w, FILE *out)
{
	long size, rate;

	if (number(w[1], 0, 100000, &size) < 0 || number(w[2], 0, 10000, &rate) < 0)
		return -EINVAL;
	r->flood_ours = w[3] && !strcmp(w[3], "ours");
	r->flood_size = (uint32_t)size;
	r->flood_rate = size ? (uint32_t)rate : 0;
	r->flood = sd_event_source_disable_unref(r->flood);
	advert_wake(r);
	return 0;
}

static int run_spoof(struct radio *r, char **w, FILE *out)
{
	struct board *b = radio_board(r, w[1]);
	uint8_t bytes[32];
	size_t n = strlen(w[2]) / 2;

	if (!b || n > sizeof(bytes))
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (sscanf(w[2] + 2 * i, "%2hhx", &bytes[i]) != 1)
			return -EINVAL;
	return advert_spoof(r, b, bytes, n);
}

static int run_trip(struct radio *r, char **w, FILE *out)
{
	struct board *b = radio_board(r, w[1]);
	long at;

	if (!b || number(w[2], 0, 1000000, &at) < 0)
		return -EINVAL;
	return trip_arm(b, (uint32_t)at, w[3]);
}

static int run_tripped(struct radio *r, char **w, FILE *out)
{
	struct board *b = radio_board(r, w[1]);

	if (!b)
		return -EINVAL;
	fprintf(out, "%u %d", b->steps, b->sprung);
	return 0;
}

static int run_service(struct radio *r, char **w, FILE *out)
{
	fprintf(out, "%llu", (unsigned long long)r->service_calls);
	return 0;
}

static int run_restart(struct radio *r, char **w, FILE *out)
{
	long ms = 1700;

	if (w[1] && number(w[1], 0, 600000, &ms) < 0)
		return -EINVAL;
	return radio_restart(r, (uint64_t)ms * 1000);
}

static int run_log(struct radio *r, char **w, FILE *out)
{
	FILE *f = NULL;

	if (strcmp(w[1], "off") != 0 && !(f = fopen(w[1], "ae")))
		return -errno;
	if (r->log)
		fclose(r->log);
	r->log = f;
	return 0;
}

static int run_stats(struct radio *r, char **w, FILE *out)
{
	const char *between = "";

	fputs("{", out);
	for (size_t i = 0; i < RADIO_BOARDS; i++) {
		struct board *b = &r->boards[i];
		struct adapter *a = adapter_of(r, b);
		struct stats s = b->stats;
		struct link *l;

		if (!b->present)
			continue;
		if (a && a->discovering)
			s.scan_ms += (radio_now(r) - a->scan_since) / 1000;
		for (each(l, &r->links))
			if (link_board(l, 0) == b || link_board(l, 1) == b)
				s.connected_ms += (radio_now(r) - l->since) / 1000;
		fprintf(out,
			"%s\"hci%zu\":{\"adverts\":%llu,\"reports\":%llu,\"connects\":%llu,"
			"\"refused\":%llu,"
			"\"disconnects\":%llu,\"reads\":%llu,\"writes\":%llu,\"commands\":%llu,"
			"\"notifications\":%llu,\"subscribes\":%llu,\"bytes_sent\":%llu,"
			"\"bytes_received\":%llu,\"scan_ms\":%llu,"
			"\"connected_ms\":%llu}",
			between, i, (unsigned long long)s.adverts, (unsigned long long)s.reports,
			(unsigned long long)s.connects, (unsigned long long)s.refused,
			(unsigned long long)s.disconnects, (unsigned long long)s.reads,
			(unsigned long long)s.writes, (unsigned long long)s.commands,
			(unsigned long long)s.notifications, (unsigned long long)s.subscribes,
			(unsigned long long)s.sent, (unsigned long long)s.received,
			(unsigned long long)s.scan_ms, (unsigned long long)s.connected_ms);
		between = ",";
	}
	fputc('}', out);
	return 0;
}

static const struct command commands[] = {
	{"latency", NULL, 4, run_latency},    {"set", NULL, 3, run_set},
	{"rssi", NULL, 3, run_rssi},	      {"interval", NULL, 3, run_interval},
	{"loss", NULL, 3, run_loss},	      {"silent", NULL, 3, run_flag},
	{"scan-silent", NULL, 3, run_flag},   {"stale", NULL, 3, run_flag},
	{"vanish", NULL, 2, run_range},	      {"appear", NULL, 2, run_range},
	{"refuse", "connect", 4, run_count},  {"fail", "write", 4, run_count},
	{"drop-link", NULL, 2, run_drop},     {"power", NULL, 3, run_power},
	{"adapter", "remove", 3, run_remove}, {"adapter", "add", 3, run_add},
	{"flood", NULL, 3, run_flood},	      {"restart", NULL, 1, run_restart},
	{"spoof", NULL, 3, run_spoof},	      {"trip", NULL, 4, run_trip},
	{"tripped", NULL, 2, run_tripped},    {"service", NULL, 1, run_service},
	{"stats", NULL, 1, run_stats},	      {"log", NULL, 2, run_log},
};

static int run(struct radio *r, char *line, FILE *out)
{
	char *w[WORDS + 1] = {}, *save = NULL, *word = strtok_r(line, " \t\r", &save);
	int n = 0;

	for (; word && n < WORDS; word = strtok_r(NULL, " \t\r", &save))
		w[n++] = word;
	for (size_t i = 0; n && i < ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];

		if (!strcmp(c->name, w[0]) && n >= c->words &&
		    (!c->second || !strcmp(c->second, w[1])))
			return c->run(r, w, out);
	}
	return -ENOSYS;
}

static char *on_line(char *line, char **error, void *user)
{
	struct radio *r = user;
	char *body = NULL;
	size_t size;
	FILE *out = open_memstream(&body, &size);
	int rc = out ? run(r, line, out) : -ENOMEM;

	bus_flush(r);
	if (out)
		fclose(out);
	if (rc < 0) {
		*error = strdup(rc == -ENOSYS ? "unknown command" : strerror(-rc));
		free(body);
		return NULL;
	}
	if (body && body[0])
		return body;
	free(body);
	return NULL;
}

int control_open(struct radio *r, const char *path)
{
	return control_socket_open(r->event, path, on_line, r, &r->control);
}
