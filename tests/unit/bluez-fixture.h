/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * bluez on hci0 and two peripherals on hci1 and hci2, over a private bus and radio-sim. What bluez
 * says is recorded; until() waits for it.
 */
#include "bluez-peripheral.h"
#include "private-bus.h"

#include <libgen.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "link/bluez.h"
#include "link/bus.h"

#define RECORDED 64u

struct seen {
	unsigned count;
	int rssi;
	bool random;
	uint8_t data[32];
	size_t len;
};

/* What one link said. */
struct told {
	struct bluez_link *link;
	unsigned ready, frame;
	unsigned reads, writes, notes, subscriptions, closed;
	int read_r, subscribed_r;
	uint8_t value[512];
	size_t len;
	unsigned sent[3]; /* by enum bluez_sent */
	uint8_t note[512];
	size_t note_len;
	unsigned note_chr, misordered;
	unsigned expect; /* of the next note, when it carries a number */
	enum bluez_reason reason;
	char detail[160];
	bool late; /* something came after closed() */
	struct world *world;
	bool again; /* connect again from within closed() */
};

struct world {
	struct private_bus on;
	pid_t radio;
	int ctl;
	sd_event *event;
	struct bus *bus;
	struct bluez *bluez;
	struct peripheral locks[2];
	sd_bus *probe; /* outside the loop, for blocking questions */
	char address[3][BLUEZ_ADDRESS_SIZE];
	struct bluez_options options;
	bool up;
	unsigned ups, downs, lost;
	char detail[160];
	struct seen seen[3];
	unsigned strangers; /* adverts of addresses that are not these */
	unsigned rungs[BLUEZ_RUNGS], refused[BLUEZ_RUNGS];
	char recovery[200];
	struct told a, b;
};

/* Tells the radio; the answer must be "ok". */
static inline void radio(struct world *w, const char *command)
{
	char line[4096];
	ssize_t n;

	assert_int_equal(dprintf(w->ctl, "%s\n", command), strlen(command) + 1);
	n = read(w->ctl, line, sizeof(line) - 1);
	assert_true(n > 0);
	line[n] = '\0';
	if (strncmp(line, "ok", 2) != 0)
		fail_msg("%s: %s", command, line);
}

/* --- what bluez says --- */

static inline void on_lost(void *user)
{
	((struct world *)user)->lost++;
}

static inline void on_adapter(bool up, const char *name, const char *detail, void *user)
{
	struct world *w = user;

	w->up = up;
	*(up ? &w->ups : &w->downs) += 1;
	snprintf(w->detail, sizeof(w->detail), "%s %s", name, detail);
}

static inline void on_advert(const struct bluez_advert *advert, void *user)
{
	struct world *w = user;

	for (unsigned i = 1; i < 3; i++) {
		struct seen *s = &w->seen[i];

		if (strcmp(advert->address, w->address[i]) != 0)
			continue;
		s->count++;
		s->rssi = advert->rssi;
		s->random = advert->random_address;
		memcpy(s->data, advert->data.data, advert->data.len);
		s->len = advert->data.len;
		return;
	}
	w->strangers++;
}

static inline void on_recovery(enum bluez_rung rung, bool failed, const char *detail, void *user)
{
	struct world *w = user;

	if (failed)
		w->refused[rung]++;
	else
		w->rungs[rung]++;
	snprintf(w->recovery, sizeof(w->recovery), "%s", detail);
}

static inline void on_ready(struct bluez_link *link, unsigned frame, void *user)
{
	struct told *t = user;

	t->late |= t->closed;
	t->ready++;
	t->frame = frame;
}

static inline void on_read_done(struct bluez_link *link, unsigned chr, int r, struct span value,
				void *user)
{
	struct told *t = user;

	t->late |= t->closed;
	t->reads++;
	t->read_r = r;
	memcpy(t->value, value.data ? value.data : (const uint8_t *)"", value.len);
	t->len = value.len;
}

static inline void on_write_done(struct bluez_link *link, unsigned chr, enum bluez_sent sent,
				 void *user)
{
	struct told *t = user;

	t->late |= t->closed;
	t->writes++;
	t->sent[sent]++;
}

static inline void on_subscribed(struct bluez_link *link, unsigned chr, int r, void *user)
{
	struct told *t = user;

	t->late |= t->closed;
	t->subscriptions++;
	t->subscribed_r = r;
}

static inline void on_notified(struct bluez_link *link, unsigned chr, struct span value, void *user)
{
	struct told *t = user;
	uint32_t n;

	t->late |= t->closed;
	t->notes++;
	t->note_chr = chr;
	memcpy(t->note, value.data, value.len);
	t->note_len = value.len;
	if (value.len >= sizeof(n)) {
		memcpy(&n, value.data, sizeof(n));
		t->misordered += n != t->expect;
		t->expect = n + 1;
	}
}

static void on_closed(struct bluez_link *link, enum bluez_reason reason, const char *detail,
		      void *user);

static const struct bus_ops bus_ops = {.lost = on_lost};
static const struct bluez_ops bluez_ops = {
	.adapter = on_adapter, .advert = on_advert, .recovery = on_recovery};
static const struct bluez_link_ops link_ops = {
	.ready = on_ready,
	.read_done = on_read_done,
	.write_done = on_write_done,
	.subscribed = on_subscribed,
	.notified = on_notified,
	.closed = on_closed,
};

static const struct bluez_profile profile = {
	.service = SERVICE,
	.chrs = {{"2ff90002-f488-4501-a0b4-1a1753dee155", 0},
		 {"2ff90003-f488-4501-a0b4-1a1753dee155", BLUEZ_COMMAND},
		 {"2ff90004-f488-4501-a0b4-1a1753dee155", BLUEZ_SUBSCRIBE},
		 {"2ff90005-f488-4501-a0b4-1a1753dee155", BLUEZ_OPTIONAL},
		 {"2ff90006-f488-4501-a0b4-1a1753dee155", 0},
		 {"2ff90099-f488-4501-a0b4-1a1753dee155", BLUEZ_OPTIONAL}},
};

static inline int link_to(struct world *w, unsigned lock, struct told *t, bool urgent)
{
	*t = (struct told){.world = w, .again = t->again};
	return bluez_connect(w->bluez, w->address[lock], &profile, urgent, &link_ops, t, &t->link);
}

static inline void on_closed(struct bluez_link *link, enum bluez_reason reason, const char *detail,
			     void *user)
{
	struct told *t = user;

	assert_ptr_equal(link, t->link);
	t->closed++;
	t->reason = reason;
	snprintf(t->detail, sizeof(t->detail), "%s", detail);
	t->link = NULL;
	if (t->again) {
		t->again = false;
		assert_int_equal(link_to(t->world, 1, t, false), 0);
	}
}

/* --- the world --- */

static inline void start_radio(struct world *w)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char self[400], program[450], control[64];
	const char *argv[] = {program,	   "--control",	       control, "--adapters",  "3",
			      "--latency", "disconnect=50:60", "--set", "interval=50", NULL};
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_true(n > 0);
	self[n] = '\0';
	snprintf(program, sizeof(program), "%s/../radio-sim", dirname(self));
	if (access(program, X_OK) != 0)
		fail_msg("%s is not built (make all)", program);
	snprintf(control, sizeof(control), "%s/control", w->on.dir);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", control);
	w->radio = private_spawn(argv, 1);
	w->ctl = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	for (uint64_t end = now_ms() + UNTIL_MS;
	     connect(w->ctl, (struct sockaddr *)&addr, sizeof(addr)) < 0;) {
		assert_true(now_ms() < end);
		usleep(2000);
	}
}

static inline bool flag(struct world *w, unsigned adapter, unsigned peer, const char *name)
{
	char path[64];
	int value = 0;

	snprintf(path, sizeof(path), "/org/bluez/hci%u/dev_%s", adapter, w->address[peer]);
	for (char *c = path; *c; c++)
		*c = *c == ':' ? '_' : *c;
	sd_bus_get_property_trivial(w->probe, "org.bluez", path, "org.bluez.Device1", name, NULL,
				    'b', &value);
	return value;
}

static inline bool connected(struct world *w, unsigned lock)
{
	return flag(w, 0, lock, "Connected");
}

static inline void learn_addresses(struct world *w)
{
	for (unsigned i = 0; i < 3; i++) {
		char path[24], *address = NULL;

		snprintf(path, sizeof(path), "/org/bluez/hci%u", i);
		assert_true(sd_bus_get_property_string(w->probe, "org.bluez", path,
						       "org.bluez.Adapter1", "Address", NULL,
						       &address) >= 0);
		snprintf(w->address[i], sizeof(w->address[i]), "%s", address);
		free(address);
	}
}

static inline void power_on(struct world *w, unsigned adapter)
{
	char path[24];

	snprintf(path, sizeof(path), "/org/bluez/hci%u", adapter);
	assert_true(sd_bus_set_property(w->probe, "org.bluez", path, "org.bluez.Adapter1",
					"Powered", NULL, "b", 1) >= 0);
}

static inline int open_probe(struct world *w, sd_bus **ret)
{
	sd_bus *bus = NULL;

	assert_true(sd_bus_new(&bus) >= 0);
	assert_true(sd_bus_set_address(bus, w->on.address) >= 0);
	assert_true(sd_bus_set_bus_client(bus, 1) >= 0);
	assert_true(sd_bus_start(bus) >= 0);
	*ret = bus;
	return 0;
}

/* Everything but bluez itself. */
static inline int set_up_radio(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	*state = w;
	signal(SIGPIPE, SIG_IGN);
	private_bus_start(&w->on);
	setenv("DBUS_SYSTEM_BUS_ADDRESS", w->on.address, 1);
	start_radio(w);
	open_probe(w, &w->probe);
	learn_addresses(w);
	power_on(w, 1);
	power_on(w, 2);
	assert_true(sd_event_new(&w->event) >= 0);
	for (unsigned i = 0; i < 2; i++)
		assert_true(peripheral_start(&w->locks[i], w->event, w->on.address, i + 1) >= 0);
	until(w->event, w->locks[0].registered == 2 && w->locks[1].registered == 2);
	assert_int_equal(bus_open(w->event, w->on.address, &bus_ops, w, &w->bus), 0);
	/* Short, so that failures are quick; what is measured is order, not time. */
	w->options = (struct bluez_options){.adapter = "hci0",
					    .service = SERVICE,
					    .attempt_ms = 3000,
					    .connect_ms = 15000,
					    .table_ms = 200,
					    .operation_ms = 1000,
					    .back_off_ms = 20,
					    .retry_ms = 50};
	return 0;
}

static inline void start_bluez(struct world *w)
{
	w->up = false;
	assert_int_equal(bluez_new(w->event, w->bus, &w->options, &bluez_ops, w, &w->bluez), 0);
	until(w->event, w->up);
}

/* With the options as they are now. */
static inline void restart_bluez(struct world *w)
{
	bluez_free(w->bluez);
	start_bluez(w);
}

static inline int set_up(void **state)
{
	set_up_radio(state);
	start_bluez(*state);
	return 0;
}

static inline int tear_down(void **state)
{
	struct world *w = *state;
	int status = 0;

	bluez_free(w->bluez);
	bus_close(w->bus);
	for (unsigned i = 0; i < 2; i++)
		peripheral_stop(&w->locks[i]);
	sd_bus_close_unref(w->probe);
	sd_event_unref(w->event);
	close(w->ctl);
	if (w->radio > 0) {
		kill(w->radio, SIGTERM);
		waitpid(w->radio, &status, 0);
	}
	private_bus_stop(&w->on);
	assert_false(w->a.late || w->b.late);
	free(w);
	return status; /* a leak or a crash of the simulator is a failure of the test */
}

static inline void connect_first(struct world *w)
{
	until(w->event, w->seen[1].count);
	assert_int_equal(link_to(w, 1, &w->a, false), 0);
	until(w->event, w->a.ready || w->a.closed);
	assert_int_equal(w->a.ready, 1);
}
