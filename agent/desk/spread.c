// SPDX-License-Identifier: Apache-2.0
/* One act on its way through the fleet. See spread.h. */
#include "desk/spread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "desk/hub.h"

#define PUBLISH_WAIT_S 10 /* for a broker, when nobody else is waited for */
#define DRAW_MS	       100
#define LINE_MS	       1000
#define FILED_WAIT_MS  2000
#define BAR	       30

struct spread {
	const struct desk *desk;
	struct spread_options options;
	struct hub *hub;
	struct confirm *confirm;
	sd_event *event;
	bool ready;	/* signed and handed to the brokers */
	bool published; /* and they have it */
	bool done, prepared;
	int failed; /* -errno of prepare */
	bool tty, drawn;
	uint64_t begun, drawn_at, gateways_ms, locks_ms, complete_at; /* ms */
	struct confirm_counts shown;
	char trouble[256];
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* --- progress --------------------------------------------------------------------------------- */

static void draw_bar(const struct confirm_counts *c)
{
	size_t done = c->gateways + c->locks, of = c->gateways_of + c->locks_of;
	size_t filled = of ? done * BAR / of : BAR;

	fputs("\r[", stderr);
	for (size_t i = 0; i < BAR; i++)
		fputc(i < filled ? '#' : '.', stderr);
	fprintf(stderr, "] gateways %zu/%zu  locks %zu/%zu ", c->gateways, c->gateways_of, c->locks,
		c->locks_of);
	fflush(stderr);
}

static void draw(struct spread *s, bool last)
{
	struct confirm_counts c;
	uint64_t now = now_ms();

	confirm_counts(s->confirm, &c);
	if (s->options.wait_s == 0)
		return;
	if (!last && (now < s->drawn_at + (s->tty ? DRAW_MS : LINE_MS) ||
		      (s->drawn && !memcmp(&c, &s->shown, sizeof(c)))))
		return;
	if (s->tty)
		draw_bar(&c);
	else if (!s->drawn || memcmp(&c, &s->shown, sizeof(c)) != 0)
		fprintf(stderr, "gateways %zu/%zu, locks %zu/%zu\n", c.gateways, c.gateways_of,
			c.locks, c.locks_of);
	if (s->tty && last)
		fputc('\n', stderr);
	s->drawn = true;
	s->drawn_at = now;
	s->shown = c;
}

/* --- following -------------------------------------------------------------------------------- */

/* `serve` files what this heard as well: a moment later, and not at all if it hangs. */
static bool is_filed(struct spread *s, uint64_t now)
{
	if (!s->complete_at)
		s->complete_at = now;
	return confirm_filed(s->confirm) != 0 || now >= s->complete_at + FILED_WAIT_MS;
}

static void look(struct spread *s)
{
	struct confirm_counts c;
	uint64_t now = now_ms();

	confirm_counts(s->confirm, &c);
	if (s->ready && c.gateways == c.gateways_of && !s->gateways_ms)
		s->gateways_ms = now - s->begun + 1;
	if (s->ready && c.locks == c.locks_of && !s->locks_ms)
		s->locks_ms = now - s->begun + 1;
	if (s->ready && session_waiting(hub_session(s->hub)) == 0)
		s->published = true;
	draw(s, false);
	if (s->published && s->options.wait_s == 0)
		s->done = true;
	if (s->published && confirm_complete(s->confirm))
		s->done = is_filed(s, now);
}

/* The iat that the confirmations must name is known once the desk has signed. */
static int aim(struct spread *s)
{
	const struct current *current = hub_current(s->hub);
	struct confirm_target *t = &s->options.target;
	const struct document *d = strncmp(t->slot, "keys/", 5) != 0
					   ? current_find(current, t->slot)
					   : current_keys(current);
	const struct hub_gateway *gateways;
	size_t n;
	int r;

	if (!d)
		return -ENOENT;
	t->iat = strncmp(t->slot, "list/", 5) != 0 ? d->iat : d->changed;
	confirm_free(s->confirm);
	s->confirm = NULL;
	r = confirm_new(s->desk->db, t, &s->confirm);
	n = hub_gateways(s->hub, &gateways);
	for (size_t i = 0; r == 0 && i < n; i++)
		if (gateways[i].state)
			r = confirm_gateway(s->confirm, gateways[i].id, gateways[i].state);
	return r;
}

static void on_gateway(const struct hub_gateway *gateway, void *user)
{
	struct spread *s = user;

	if (!gateway->state)
		return;
	confirm_gateway(s->confirm, gateway->id, gateway->state);
	look(s);
}

static void on_filed(const char *gateway, const struct filed *filed, void *user)
{
	struct spread *s = user;

	if (!filed->has_receipt)
		return;
	confirm_receipt(s->confirm, &filed->receipt);
	look(s);
}

static void prepare(struct spread *s)
{
	s->prepared = true;
	if (!s->options.prepare)
		return;
	s->failed = hub_flush(s->hub);
	if (s->failed == 0)
		s->failed = s->options.prepare(s->desk, s->options.user, s->trouble);
	if (s->failed < 0)
		s->done = true;
}

static void on_worked(bool settled, void *user)
{
	struct spread *s = user;

	if (settled && hub_signed(s->hub) && !s->prepared) {
		prepare(s);
		if (s->options.prepare && !s->done)
			hub_work(s->hub); /* comes back here, prepared */
		if (s->options.prepare)
			return;
	}
	if (settled && hub_signed(s->hub) && !s->ready)
		s->ready = aim(s) == 0;
	/* what `serve` heard and this did not */
	confirm_locks(s->confirm);
	look(s);
}

static void on_trouble(const char *words, void *user)
{
	struct spread *s = user;

	snprintf(s->trouble, sizeof(s->trouble), "%s", words);
}

static const struct hub_ops hub_ops = {
	.gateway = on_gateway,
	.filed = on_filed,
	.worked = on_worked,
	.trouble = on_trouble,
};

static int on_deadline(sd_event_source *source, uint64_t usec, void *user)
{
	struct spread *s = user;

	s->done = true;
	return 0;
}

/* PUBACKs have no op of their own here: a quick look until everything is with the brokers. */
static int on_glance(sd_event_source *source, uint64_t usec, void *user)
{
	struct spread *s = user;

	if (s->ready && (!s->published || s->complete_at))
		look(s);
	else
		draw(s, false);
	sd_event_source_set_time_relative(source, 20000);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int run(struct spread *s)
{
	const struct session_options session = {0};
	uint64_t wait = s->options.wait_s ? s->options.wait_s : PUBLISH_WAIT_S;
	int r = sd_event_new(&s->event);

	if (r >= 0)
		r = confirm_new(s->desk->db, &s->options.target, &s->confirm);
	if (r >= 0)
		r = hub_new(s->event, s->desk, &session, &hub_ops, s, &s->hub);
	if (r >= 0)
		r = sd_event_add_time_relative(s->event, NULL, CLOCK_MONOTONIC, wait * 1000000,
					       1000, on_deadline, s);
	if (r >= 0)
		r = sd_event_add_time_relative(s->event, NULL, CLOCK_MONOTONIC, 20000, 1000,
					       on_glance, s);
	if (r >= 0)
		r = hub_start(s->hub);
	while (r >= 0 && !s->done)
		r = sd_event_run(s->event, UINT64_MAX);
	if (r >= 0 && !s->prepared)
		prepare(s);
	return r < 0 ? r : s->failed;
}

/* --- the answer ------------------------------------------------------------------------------- */

struct missing {
	json_t *gateways, *locks;
};

static void add_missing(bool is_lock, const char *id, void *user)
{
	struct missing *m = user;

	json_array_append_new(is_lock ? m->locks : m->gateways, json_string(id));
}

static void print_missing(const char *what, const json_t *ids)
{
	size_t i;
	json_t *id;

	if (json_array_size(ids) == 0)
		return;
	printf("  missing %s:", what);
	json_array_foreach(ids, i, id) printf(" %s", json_string_value(id));
	putchar('\n');
}

static json_t *side(size_t holding, size_t of, json_t *missing, uint64_t ms)
{
	json_t *side = json_pack("{s:I, s:I, s:o}", "confirmed", (json_int_t)holding, "total",
				 (json_int_t)of, "missing", missing);

	if (ms)
		json_object_set_new(side, "ms", json_integer((json_int_t)ms - 1));
	return side;
}

static int answer_unpublished(struct spread *s, json_t *answer)
{
	const char *why = s->trouble[0] ? s->trouble : hub_trouble(s->hub);

	if (!*why)
		why = "no broker answered";
	json_object_set_new(answer, "complete", json_false());
	json_object_set_new(answer, "published", json_false());
	json_object_set_new(answer, "error", json_string(why));
	show_answer(s->desk, answer,
		    "%s at the desk, but not published: %s.\n"
		    "'serve' or 'publish' will send it when that is mended.",
		    s->options.did, why);
	return DESK_NO_ANSWER;
}

static int answer_published(struct spread *s, json_t *answer)
{
	struct missing m = {json_array(), json_array()};
	bool complete = confirm_complete(s->confirm);
	struct confirm_counts c;

	confirm_counts(s->confirm, &c);
	confirm_each_missing(s->confirm, add_missing, &m);
	json_object_set_new(answer, "complete", json_boolean(complete));
	json_object_set_new(answer, "published", json_true());
	json_object_set_new(answer, "iat", json_integer((json_int_t)s->options.target.iat));
	json_object_set_new(
		answer, "gateways",
		side(c.gateways, c.gateways_of, json_incref(m.gateways), s->gateways_ms));
	json_object_set_new(answer, "locks",
			    side(c.locks, c.locks_of, json_incref(m.locks), s->locks_ms));
	show_answer(s->desk, answer,
		    "%s: %zu/%zu gateways hold it, %zu/%zu locks proved it by their receipts.",
		    s->options.did, c.gateways, c.gateways_of, c.locks, c.locks_of);
	if (!s->desk->json) {
		print_missing("gateways", m.gateways);
		print_missing("locks", m.locks);
	}
	json_decref(m.gateways);
	json_decref(m.locks);
	return complete || s->options.wait_s == 0 ? DESK_DONE : DESK_NO_ANSWER;
}

int spread(const struct desk *desk, const struct spread_options *options, json_t *answer)
{
	struct spread s = {
		.desk = desk,
		.options = *options,
		.begun = now_ms(),
		.tty = isatty(STDERR_FILENO),
	};
	int r = run(&s), status;

	if (s.drawn)
		draw(&s, true);
	if (r < 0) {
		json_decref(answer);
		status = r == -ENOENT
				 ? desk_fail(desk, DESK_REFUSED,
					     "%s at the desk, but no broker is set: 'config set "
					     "--broker HOST:PORT'",
					     options->did)
				 : desk_fail_errno(desk, r, options->did);
	} else if (!s.published) {
		status = answer_unpublished(&s, answer);
	} else {
		status = answer_published(&s, answer);
	}
	hub_close(&s.hub);
	confirm_free(s.confirm);
	sd_event_unref(s.event);
	return status;
}
