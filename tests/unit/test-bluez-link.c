/* SPDX-License-Identifier: Apache-2.0 */
/* Links of bluez, against radio-sim. */
#include "bluez-fixture.h"

static struct span text(const char *s)
{
	return span_str(s);
}

static void finish(struct world *w, struct told *t)
{
	bluez_disconnect(t->link);
	until(w->event, t->closed);
	assert_int_equal(t->reason, BLUEZ_CLOSED);
	assert_false(connected(w, 1));
}

/* Seen of bluetoothd 5.66 under load: the answer to Connect, ServicesResolved, and nothing else. */
static void connection_that_is_never_told_is_ready_all_the_same(void **state)
{
	struct world *w = *state;

	radio(w, "set connected-unsaid 1");
	connect_first(w);
	assert_int_equal(bluez_counters(w->bluez)->connect_failed, 0);
	bluez_disconnect(w->a.link);
	until(w->event, w->a.closed);
	assert_int_equal(w->a.reason, BLUEZ_CLOSED);
	assert_false(connected(w, 1));
	connect_first(w);
	radio(w, "drop-link hci1");
	until(w->event, w->a.closed);
	assert_int_equal(w->a.reason, BLUEZ_LOST);
}

/* Is there a line of the radio's log with these bytes in it? */
static bool radio_saw(struct world *w, const char *hex)
{
	char path[500], line[1200];
	bool saw = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/frames", w->on.dir);
	f = fopen(path, "re");
	while (f && !saw && fgets(line, sizeof(line), f))
		saw = strstr(line, hex);
	if (f)
		fclose(f);
	return saw;
}

static void link_reads_writes_and_is_notified(void **state)
{
	struct world *w = *state;

	connect_first(w);
	assert_int_equal(w->a.frame, BLUEZ_FRAME_MAX);
	assert_int_equal(bluez_read(w->a.link, INFO), 0);
	assert_int_equal(bluez_read(w->a.link, INFO), -EBUSY);
	until(w->event, w->a.reads);
	assert_int_equal(w->a.read_r, 0);
	assert_memory_equal(w->a.value, "info 1", 6);

	assert_int_equal(bluez_write(w->a.link, INBOX, text("hello"), false), 0);
	assert_int_equal(w->a.writes, 0);
	until(w->event, w->a.notes);
	assert_int_equal(w->a.sent[BLUEZ_SENT], 1);
	assert_int_equal(w->a.note_chr, OUTBOX);
	assert_memory_equal(w->a.note, "hello", 5);

	assert_int_equal(bluez_write(w->a.link, CONFIRM, text("sure"), true), 0);
	until(w->event, w->a.writes == 2);
	assert_int_equal(w->a.sent[BLUEZ_SENT], 2);
	assert_int_equal(w->locks[0].attributes[CONFIRM].writes, 1);
	assert_true(bluez_is_up(w->bluez));
	finish(w, &w->a);
	assert_int_equal(bluez_counters(w->bluez)->connected, 1);
	assert_int_equal(bluez_counters(w->bluez)->closed[BLUEZ_CLOSED], 1);
}

static void wrong_use_is_refused(void **state)
{
	static const uint8_t big[BLUEZ_FRAME_MAX + 1];
	struct world *w = *state;
	struct bluez_link *other = NULL;

	until(w->event, w->seen[1].count);
	assert_int_equal(
		bluez_connect(w->bluez, "no address", &profile, false, &link_ops, &w->b, &other),
		-EINVAL);
	assert_int_equal(bluez_connect(w->bluez, "aa:bb:cc:dd:ee:ff", &profile, false, &link_ops,
				       &w->b, &other),
			 -EINVAL);
	assert_int_equal(link_to(w, 1, &w->a, false), 0);
	assert_int_equal(link_to(w, 1, &w->b, false), -EEXIST);
	assert_int_equal(bluez_read(w->a.link, INFO), -ENOTCONN);
	assert_int_equal(bluez_write(w->a.link, INBOX, text("x"), false), -ENOTCONN);
	until(w->event, w->a.ready);
	assert_int_equal(bluez_read(w->a.link, CHRS), -ENOENT); /* optional, and absent */
	assert_int_equal(bluez_read(w->a.link, 77), -ENOENT);
	assert_int_equal(bluez_write(w->a.link, INBOX, SPAN(big), false), -EMSGSIZE);
	assert_int_equal(bluez_write(w->a.link, CONFIRM, SPAN(big), true), -EMSGSIZE);
	assert_int_equal(bluez_write(w->a.link, INBOX, text("x"), true), -EINVAL);
	assert_int_equal(bluez_write(w->a.link, CONFIRM, text("x"), false), -EOPNOTSUPP);
	assert_int_equal(bluez_write(w->a.link, INFO, text("x"), true), -EOPNOTSUPP);
	assert_int_equal(bluez_subscribe(w->a.link, OUTBOX), -EALREADY);
	assert_int_equal(bluez_subscribe(w->a.link, CONFIRM), -EOPNOTSUPP);
	for (unsigned i = 0; i < BLUEZ_WRITE_QUEUE; i++)
		assert_int_equal(bluez_write(w->a.link, INBOX, text("x"), false), 0);
	assert_int_equal(bluez_write(w->a.link, INBOX, text("x"), false), -ENOBUFS);
	until(w->event, w->a.writes == BLUEZ_WRITE_QUEUE);
	assert_int_equal(w->a.sent[BLUEZ_SENT], BLUEZ_WRITE_QUEUE);
}

/* More than the channel holds: EAGAIN, and EPOLLOUT goes on. All of it arrives, in order. */
static void long_transfer_arrives_in_order(void **state)
{
	struct world *w = *state;
	uint8_t frame[BLUEZ_FRAME_MAX] = {0};
	uint32_t n = 0;

	connect_first(w);
	for (; n < 300; n++) {
		until(w->event, n - w->a.writes < BLUEZ_WRITE_QUEUE);
		memcpy(frame, &n, sizeof(n));
		assert_int_equal(bluez_write(w->a.link, INBOX, SPAN(frame), false), 0);
	}
	until(w->event, w->a.notes == 300);
	assert_int_equal(w->a.misordered, 0);
	assert_int_equal(w->a.sent[BLUEZ_SENT], 300);
}

/* Somebody at the door waits for no turn of the loop. */
static void first_frame_leaves_before_the_call_returns(void **state)
{
	struct world *w = *state;
	char command[600];

	connect_first(w);
	snprintf(command, sizeof(command), "log %s/frames", w->on.dir);
	radio(w, command);
	assert_int_equal(bluez_write(w->a.link, INBOX, text("hello"), false), 0);
	assert_int_equal(w->a.writes, 0);
	/* The loop stands still: only what is in the channel by now can get there. */
	for (uint64_t end = now_ms() + UNTIL_MS; !radio_saw(w, "68656c6c6f"); usleep(2000))
		assert_true(now_ms() < end);
	assert_int_equal(w->a.writes, 0);
	bluez_drop_writes(w->a.link); /* too late for it */
	until(w->event, w->a.writes == 1);
	assert_int_equal(w->a.sent[BLUEZ_SENT], 1);
}

static void frame_that_left_was_sent_though_the_link_ends(void **state)
{
	struct world *w = *state;

	connect_first(w);
	assert_int_equal(bluez_write(w->a.link, INBOX, text("hello"), false), 0);
	bluez_disconnect(w->a.link);
	until(w->event, w->a.closed);
	assert_int_equal(w->a.sent[BLUEZ_SENT], 1);
	assert_int_equal(w->a.writes, 1);
	assert_false(w->a.late);
}

/* All but the first, which left before the others came. */
static void dropped_writes_were_surely_not_sent(void **state)
{
	struct world *w = *state;

	connect_first(w);
	for (unsigned i = 0; i < BLUEZ_WRITE_QUEUE; i++)
		assert_int_equal(bluez_write(w->a.link, INBOX, text("slow"), false), 0);
	bluez_drop_writes(w->a.link);
	assert_int_equal(w->a.writes, 0);
	/* There is room at once, and the unlock comes first. */
	assert_int_equal(bluez_write(w->a.link, INBOX, text("unlock"), false), 0);
	until(w->event, w->a.writes == BLUEZ_WRITE_QUEUE + 1);
	assert_int_equal(w->a.sent[BLUEZ_NOT_SENT], BLUEZ_WRITE_QUEUE - 1);
	assert_int_equal(w->a.sent[BLUEZ_SENT], 2);
	until(w->event, w->a.notes == 2);
	assert_memory_equal(w->a.note, "unlock", 6);
}

/* --- getting there --- */

static void refused_connects_are_tried_again(void **state)
{
	struct world *w = *state;

	until(w->event, w->seen[1].count);
	radio(w, "refuse connect hci1 2");
	assert_int_equal(link_to(w, 1, &w->a, false), 0);
	until(w->event, w->a.ready || w->a.closed);
	assert_int_equal(w->a.ready, 1);
	assert_int_equal(bluez_counters(w->bluez)->connects, 3);
	assert_int_equal(bluez_counters(w->bluez)->connect_failed, 2);
}

static void four_refusals_are_the_end(void **state)
{
	struct world *w = *state;

	until(w->event, w->seen[1].count);
	radio(w, "refuse connect hci1 100");
	assert_int_equal(link_to(w, 1, &w->a, false), 0);
	until(w->event, w->a.closed);
	assert_int_equal(w->a.ready, 0);
	assert_int_equal(w->a.reason, BLUEZ_UNREACHABLE);
	assert_int_equal(bluez_counters(w->bluez)->connects, 4);
	/* Scanning goes on, and the next connect is a new chance. */
	radio(w, "refuse connect hci1 0");
	until(w->event, bluez_is_scanning(w->bluez));
	connect_first(w);
}

static void address_never_seen_is_unreachable(void **state)
{
	struct world *w = *state;

	w->options.connect_ms = 300;
	restart_bluez(w);
	assert_int_equal(bluez_connect(w->bluez, "00:11:22:33:44:55", &profile, false, &link_ops,
				       &w->a, &w->a.link),
			 0);
	until(w->event, w->a.closed);
	assert_int_equal(w->a.reason, BLUEZ_UNREACHABLE);
	assert_string_equal(w->a.detail, "not seen");
}

static void address_is_sought_until_it_is_seen(void **state)
{
	struct world *w = *state;

	radio(w, "vanish hci1");
	assert_int_equal(link_to(w, 1, &w->a, false), 0);
	/* The other lock is heard meanwhile, so we scan. */
	until(w->event, w->seen[2].count > 2);
	assert_int_equal(w->a.ready + w->a.closed, 0);
	radio(w, "appear hci1");
	until(w->event, w->a.ready || w->a.closed);
	assert_int_equal(w->a.ready, 1);
}

/* BlueZ forgets the device between our decision and its Connect: UnknownObject. */
static void forgotten_device_is_discovered_again(void **state)
{
	struct world *w = *state;
	char path[64];

	until(w->event, w->seen[1].count);
	snprintf(path, sizeof(path), "/org/bluez/hci0/dev_%s", w->address[1]);
	for (char *c = path; *c; c++)
		*c = *c == ':' ? '_' : *c;
	assert_true(sd_bus_call_method(w->probe, "org.bluez", "/org/bluez/hci0",
				       "org.bluez.Adapter1", "RemoveDevice", NULL, NULL, "o",
				       path) >= 0);
	/* Its removal was not read yet: to us it is there. */
	assert_int_equal(link_to(w, 1, &w->a, false), 0);
	until(w->event, w->a.ready || w->a.closed);
	assert_int_equal(w->a.ready, 1);
}

static int on_removed(sd_bus_message *m, void *user, sd_bus_error *e)
{
	const char *path, *face;

	if (sd_bus_message_read(m, "o", &path) >= 0 &&
	    sd_bus_message_enter_container(m, 'a', "s") > 0)
		while (sd_bus_message_read(m, "s", &face) > 0)
			*(unsigned *)user += strcmp(face, "org.bluez.Device1") == 0;
	return 0;
}

static void stale_table_is_thrown_away(void **state)
{
	struct world *w = *state;
	unsigned removed = 0;

	until(w->event, w->seen[1].count);
	assert_true(sd_bus_match_signal(w->locks[1].bus, NULL, "org.bluez", "/",
					"org.freedesktop.DBus.ObjectManager", "InterfacesRemoved",
					on_removed, &removed) >= 0);
	radio(w, "stale hci1 on");
	assert_int_equal(link_to(w, 1, &w->a, false), 0);
	until(w->event, bluez_counters(w->bluez)->stale_tables == 1);
	radio(w, "stale hci1 off");
	until(w->event, w->a.ready || w->a.closed);
	assert_int_equal(w->a.ready, 1);
	assert_true(removed > 0); /* with what BlueZ had cached of it */
	finish(w, &w->a);

	radio(w, "stale hci1 on");
	assert_int_equal(link_to(w, 1, &w->a, false), 0);
	until(w->event, w->a.closed);
	assert_int_equal(w->a.reason, BLUEZ_PROTOCOL);
	assert_int_equal(w->a.ready, 0);
}

static void connect_can_be_given_up(void **state)
{
	struct world *w = *state;

	until(w->event, w->seen[1].count);
	radio(w, "latency connect 2000 2000");
	assert_int_equal(link_to(w, 1, &w->a, false), 0);
	until(w->event, bluez_counters(w->bluez)->connects && !bluez_is_scanning(w->bluez));
	bluez_disconnect(w->a.link);
	bluez_disconnect(w->a.link);
	assert_int_equal(w->a.closed, 0);
	until(w->event, w->a.closed);
	assert_int_equal(w->a.reason, BLUEZ_CLOSED);
	radio(w, "latency connect 25 41");
	w->seen[1].count = 0;
	connect_first(w);
}

static void slow_connect_is_cut_and_tried_again(void **state)
{
	struct world *w = *state;

	w->options.attempt_ms = 400;
	restart_bluez(w);
	until(w->event, w->seen[1].count);
	radio(w, "latency connect 60000 60000");
	assert_int_equal(link_to(w, 1, &w->a, false), 0);
	until(w->event, bluez_counters(w->bluez)->connect_failed == 1);
	radio(w, "latency connect 25 41");
	until(w->event, w->a.ready || w->a.closed);
	assert_int_equal(w->a.ready, 1);
}

static void urgent_connect_goes_first(void **state)
{
	struct world *w = *state;

	until(w->event, w->seen[1].count && w->seen[2].count);
	radio(w, "latency connect 2500 2500");
	assert_int_equal(link_to(w, 1, &w->a, false), 0);
	until(w->event, bluez_counters(w->bluez)->connects && !bluez_is_scanning(w->bluez));
	radio(w, "latency connect 25 41");
	assert_int_equal(link_to(w, 2, &w->b, true), 0);
	until(w->event, w->b.ready || w->b.closed);
	assert_int_equal(w->b.ready, 1);
	until(w->event, w->a.closed);
	assert_int_equal(w->a.reason, BLUEZ_PREEMPTED);
	assert_int_equal(w->a.ready, 0);
}

static void two_locks_are_served_at_once(void **state)
{
	struct world *w = *state;

	until(w->event, w->seen[1].count && w->seen[2].count);
	assert_int_equal(link_to(w, 1, &w->a, false), 0);
	assert_int_equal(link_to(w, 2, &w->b, false), 0);
	until(w->event, w->a.ready && w->b.ready);
	assert_int_equal(bluez_write(w->a.link, INBOX, text("one"), false), 0);
	assert_int_equal(bluez_write(w->b.link, INBOX, text("two"), false), 0);
	until(w->event, w->a.notes && w->b.notes);
	assert_memory_equal(w->a.note, "one", 3);
	assert_memory_equal(w->b.note, "two", 3);
}

static void third_link_waits_for_a_place(void **state)
{
	struct world *w = *state;

	w->options.max_links = 1;
	restart_bluez(w);
	connect_first(w);
	until(w->event, w->seen[2].count);
	assert_int_equal(link_to(w, 2, &w->b, true), 0);
	until(w->event, w->seen[2].count > 3);
	assert_int_equal(w->b.ready, 0);
	bluez_disconnect(w->a.link);
	until(w->event, w->b.ready || w->b.closed);
	assert_int_equal(w->b.ready, 1);
	assert_int_equal(w->a.closed, 1);
}

/* --- the end of it --- */

static void lost_link_says_so_once(void **state)
{
	struct world *w = *state;

	connect_first(w);
	assert_int_equal(bluez_read(w->a.link, INFO), 0);
	radio(w, "drop-link hci1");
	assert_int_equal(bluez_write(w->a.link, INBOX, text("too late"), false), 0);
	until(w->event, w->a.closed);
	assert_int_equal(w->a.reason, BLUEZ_LOST);
	assert_int_equal(w->a.reads, 1);
	assert_true(w->a.read_r < 0);
	assert_int_equal(w->a.writes, 1);
}

static void link_may_be_made_anew_from_within_closed(void **state)
{
	struct world *w = *state;

	connect_first(w);
	w->a.again = true;
	radio(w, "drop-link hci1");
	until(w->event, !w->a.again);
	until(w->event, w->a.ready || w->a.closed);
	assert_int_equal(w->a.ready, 1);
}

/* Connected=false and the notifications before it come by different ways. Here all is there at once. */
static void last_notification_precedes_the_end(void **state)
{
	struct world *w = *state;
	uint64_t end = now_ms() + UNTIL_MS;

	connect_first(w);
	w->locks[0].bye = true;
	assert_int_equal(bluez_write(w->a.link, INBOX, text("receipt"), false), 0);
	until(w->event, w->locks[0].attributes[INBOX].writes);
	while (connected(w, 1))
		assert_true(now_ms() < end);
	until(w->event, w->a.closed);
	assert_int_equal(w->a.reason, BLUEZ_LOST);
	assert_int_equal(w->a.notes, FAREWELLS);
	assert_memory_equal(w->a.note, "receipt", 7);
}

/* The peer's radio is silent, but BlueZ says Connected: our own time-out ends it. */
static void zombie_is_cut(void **state)
{
	struct world *w = *state;

	connect_first(w);
	radio(w, "silent hci1 on");
	assert_int_equal(bluez_read(w->a.link, INFO), 0);
	assert_int_equal(bluez_write(w->a.link, CONFIRM, text("when?"), true), 0);
	assert_int_equal(bluez_write(w->a.link, CONFIRM, text("never begun"), true), 0);
	until(w->event, w->a.closed);
	assert_int_equal(w->a.reason, BLUEZ_TIMEOUT);
	assert_true(w->a.read_r == -ETIMEDOUT || w->a.read_r == -ECONNRESET);
	assert_int_equal(w->a.sent[BLUEZ_UNKNOWN], 1);
	assert_int_equal(w->a.sent[BLUEZ_NOT_SENT], 1);
}

static void failed_write_may_have_arrived(void **state)
{
	struct world *w = *state;

	connect_first(w);
	radio(w, "fail write hci1 1");
	assert_int_equal(bluez_write(w->a.link, CONFIRM, text("0x0e"), true), 0);
	until(w->event, w->a.writes);
	assert_int_equal(w->a.sent[BLUEZ_UNKNOWN], 1);
	/* The link stays. */
	assert_int_equal(bluez_write(w->a.link, CONFIRM, text("again"), true), 0);
	until(w->event, w->a.writes == 2);
	assert_int_equal(w->a.sent[BLUEZ_SENT], 1);
	assert_int_equal(w->a.closed, 0);
}

static void dead_application_ends_the_link(void **state)
{
	struct world *w = *state;

	connect_first(w);
	peripheral_stop(&w->locks[0]);
	until(w->event, w->a.closed);
	assert_int_equal(w->a.reason, BLUEZ_LOST);
	assert_false(connected(w, 1));
}

/* --- what only indicates --- */

static void indications_come_and_reads_are_no_notifications(void **state)
{
	struct world *w = *state;

	connect_first(w);
	assert_int_equal(bluez_subscribe(w->a.link, STATE), 0);
	until(w->event, w->a.subscriptions);
	assert_int_equal(w->a.subscribed_r, 0);
	assert_int_equal(bluez_subscribe(w->a.link, STATE), -EALREADY);
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(bluez_read(w->a.link, STATE), 0);
		until(w->event, w->a.reads == i);
		assert_memory_equal(w->a.value, "state 1", 7);
	}
	assert_int_equal(w->a.notes, 0);
	peripheral_notify(&w->locks[0], STATE, text("moved"));
	until(w->event, w->a.notes);
	assert_int_equal(w->a.notes, 1);
	assert_int_equal(w->a.note_chr, STATE);
	assert_memory_equal(w->a.note, "moved", 5);
}

int main(void)
{
#define t(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		t(link_reads_writes_and_is_notified),
		t(connection_that_is_never_told_is_ready_all_the_same),
		t(wrong_use_is_refused),
		t(long_transfer_arrives_in_order),
		t(first_frame_leaves_before_the_call_returns),
		t(frame_that_left_was_sent_though_the_link_ends),
		t(dropped_writes_were_surely_not_sent),
		t(refused_connects_are_tried_again),
		t(four_refusals_are_the_end),
		t(address_never_seen_is_unreachable),
		t(address_is_sought_until_it_is_seen),
		t(forgotten_device_is_discovered_again),
		t(stale_table_is_thrown_away),
		t(connect_can_be_given_up),
		t(slow_connect_is_cut_and_tried_again),
		t(urgent_connect_goes_first),
		t(two_locks_are_served_at_once),
		t(third_link_waits_for_a_place),
		t(lost_link_says_so_once),
		t(link_may_be_made_anew_from_within_closed),
		t(last_notification_precedes_the_end),
		t(zombie_is_cut),
		t(failed_write_may_have_arrived),
		t(dead_application_ends_the_link),
		t(indications_come_and_reads_are_no_notifications),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
