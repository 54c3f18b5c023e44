/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ATT over a link: requests one at a time per direction, commands and notifications as they come,
 * all in order. A request that is not answered in 30 s ends the bearer, while the link stays.
 */
#include "sim/radio.h"

#include <errno.h>
#include <stdlib.h>

static void op_start(struct op *op);

static bool is_request(const struct op *op)
{
	return op->kind == OP_READ || op->kind == OP_WRITE || op->kind == OP_CCC;
}

static struct range latency_of(const struct op *op)
{
	const struct settings *s = &op->link->radio->set;

	switch (op->kind) {
	case OP_READ:
		return s->read;
	case OP_COMMAND:
		return s->command;
	case OP_NOTIFY:
		return s->notify;
	case OP_WRITE:
	case OP_CCC:
		break;
	}
	return s->write;
}

/* Lost packets are sent again by the link layer: late, never missing. */
static uint64_t retries(struct link *l)
{
	struct radio *r = l->radio;
	uint32_t percent = (uint32_t)(link_board(l, 0)->loss + link_board(l, 1)->loss);
	uint64_t wait = 0;

	for (int i = 0; i < 100 && radio_random(r, 100) < percent; i++)
		wait += r->set.retransmit_ms * 1000ULL;
	return wait;
}

/* When a packet of `len` bytes that leaves now by `side` arrives: after the one before it. */
static uint64_t arrival(struct link *l, int side, uint64_t earliest, size_t len)
{
	const struct settings *s = &l->radio->set;
	uint64_t after = l->busy[side] + s->packet_us + len * s->byte_ns / 1000;
	uint64_t at = (earliest > after ? earliest : after) + retries(l);

	l->busy[side] = at;
	return at;
}

static int on_air(sd_event_source *s, uint64_t usec, void *user);

static void arm_air(struct link *l, int side)
{
	struct op *op = TAILQ_FIRST(&l->air[side]);

	l->air_timer[side] = sd_event_source_disable_unref(l->air_timer[side]);
	if (op)
		sd_event_add_time(l->radio->event, &l->air_timer[side], CLOCK_MONOTONIC, op->due, 1,
				  on_air, op->link->end[side]);
}

/* 5.66 has three bearers to a peer that has Enhanced ATT, each command takes whichever is free, and the
 * peer reads them in any order (seen between two adapters of one bluetoothd). */
static void overtake(struct op *op, int side)
{
	struct link *l = op->link;
	struct op *before = TAILQ_PREV(op, op_list, aloft);
	uint64_t due;

	if (l->radio->set.bearers < 2 || op->kind != OP_COMMAND || !before ||
	    before->kind != OP_COMMAND || radio_random(l->radio, 2))
		return;
	due = op->due;
	op->due = before->due;
	before->due = due;
	TAILQ_REMOVE(&l->air[side], op, aloft);
	TAILQ_INSERT_BEFORE(before, op, aloft);
}

/* One timer per direction: sd-event does not promise an order among timers that are late. */
static void send_packet(struct op *op, int side, uint64_t earliest)
{
	struct link *l = op->link;

	op->due = arrival(l, side, earliest, op->len);
	op->airborne = side;
	TAILQ_INSERT_TAIL(&l->air[side], op, aloft);
	overtake(op, side);
	if (TAILQ_FIRST(&l->air[side]) == op)
		arm_air(l, side);
}

static bool dead_air(struct link *l)
{
	return l->cut || link_board(l, 0)->silent || link_board(l, 1)->silent ||
	       link_board(l, 0)->away || link_board(l, 1)->away;
}

static void op_free(struct op *op)
{
	TAILQ_REMOVE(&op->link->flying, op, entry);
	if (op->chr)
		TAILQ_REMOVE(&op->chr->asked, op, asked);
	if (op->airborne >= 0)
		TAILQ_REMOVE(&op->link->air[op->airborne], op, aloft);
	sd_event_source_disable_unref(op->deadline);
	sd_event_source_disable_unref(op->app_deadline);
	sd_bus_slot_unref(op->call);
	free(op);
}

static void next_request(struct link *l, int side)
{
	struct op *op = TAILQ_FIRST(&l->queue[side]);

	if (!op || l->current[side])
		return;
	TAILQ_REMOVE(&l->queue[side], op, entry);
	TAILQ_INSERT_TAIL(&l->flying, op, entry);
	l->current[side] = op;
	op_start(op);
}

static void op_finish(struct op *op)
{
	struct link *l = op->link;
	int side = op->side;

	if (l->current[side] == op)
		l->current[side] = NULL;
	if (op->done)
		op->done(op, op->user);
	op_free(op);
	next_request(l, side);
}

/* The bearer is closed: nothing more comes or goes for this end, though the link stands. */
static int on_deadline(sd_event_source *s, uint64_t usec, void *user)
{
	struct op *op = user, *other;
	struct link *l = op->link;
	int side = op->side;

	l->dead[side] = true;
	while ((other = TAILQ_FIRST(&l->queue[side]))) {
		TAILQ_REMOVE(&l->queue[side], other, entry);
		TAILQ_INSERT_TAIL(&l->flying, other, entry);
		other->ecode = ATT_UNLIKELY;
		op_finish(other);
	}
	op->ecode = ATT_UNLIKELY;
	op->len = 0;
	op_finish(op);
	return 0;
}

/* What a jammer hears, and its receiver does not. */
static void log_lost(struct op *op)
{
	struct link *l = op->link;
	struct gdesc *d;
	struct gchr *c = server_find(l->end[!op->side]->adapter, op->handle, &d);

	if (c && !op->answered && (op->kind == OP_COMMAND || op->kind == OP_WRITE))
		radio_log(l->radio, "lost", l, op->side, c->uuid, op->data, op->len);
}

/* true: it goes no further. */
static bool tripped(struct op *op)
{
	struct link *l = op->link;

	if (dead_air(l))
		return false;
	switch (trip_step(l->radio, link_board(l, 0), link_board(l, 1))) {
	case TRIP_ERROR:
		if (op->answered) {
			op->ecode = ATT_UNLIKELY;
			op->len = 0;
			return false;
		}
		if (is_request(op))
			att_answer(op, ATT_UNLIKELY, NULL, 0);
		else
			op_finish(op);
		return true;
	case TRIP_DROP:
		log_lost(op);
		link_cut(l);
		return false;
	case TRIP_GARBLE:
		for (size_t i = 0; i < op->len; i++)
			op->data[i] = (uint8_t)radio_random(l->radio, 256);
		return false;
	case TRIP_NONE:
	case TRIP_SILENT:
	case TRIP_VANISH:
	case TRIPS:
		break;
	}
	return false;
}

static void answered(struct op *op)
{
	struct board *b = link_board(op->link, op->side);

	if (tripped(op) || dead_air(op->link))
		return; /* the deadline finds it */
	b->stats.received += op->kind == OP_READ ? op->len : 0;
	op_finish(op);
}

static void arrived(struct op *op)
{
	struct link *l = op->link;
	struct device *to = l->end[!op->side];

	if (tripped(op))
		return;
	if (dead_air(l)) {
		if (!is_request(op))
			op_finish(op);
		return;
	}
	link_board(l, !op->side)->stats.received += op->len;
	if (op->kind != OP_NOTIFY) {
		server_handle(op);
		return;
	}
	if (!l->dead[!op->side])
		client_notified(to, op->handle, op->data, op->len);
	op_finish(op);
}

/* Nothing that happens here takes the link away: clients are told, applications asked. */
static int on_air(sd_event_source *s, uint64_t usec, void *user)
{
	struct device *from = user;
	struct link *l = from->link;
	int side = from->side;
	struct op *op;

	while ((op = TAILQ_FIRST(&l->air[side])) && op->due <= radio_now(l->radio)) {
		TAILQ_REMOVE(&l->air[side], op, aloft);
		op->airborne = -1;
		if (op->answered)
			answered(op);
		else
			arrived(op);
	}
	arm_air(l, side);
	return 0;
}

static void count(struct op *op)
{
	struct stats *s = &link_board(op->link, op->side)->stats;

	s->reads += op->kind == OP_READ;
	s->writes += op->kind == OP_WRITE;
	s->commands += op->kind == OP_COMMAND;
	s->notifications += op->kind == OP_NOTIFY;
	s->subscribes += op->kind == OP_CCC;
	s->sent += op->len;
}

static void op_start(struct op *op)
{
	struct link *l = op->link;
	struct radio *r = l->radio;
	uint64_t wait = radio_draw(r, latency_of(op));

	op->started = radio_now(r);
	count(op);
	if (is_request(op)) {
		radio_after(r, r->set.att_timeout_ms * 1000ULL, on_deadline, op, &op->deadline);
		wait /= 2; /* the way there; the answer takes the other half */
	}
	send_packet(op, op->side, op->started + wait);
}

void att_answer(struct op *op, int ecode, const void *data, size_t len)
{
	struct link *l = op->link;
	struct radio *r = l->radio;
	uint64_t half = radio_draw(r, latency_of(op)) / 2, now = radio_now(r);
	uint64_t due = op->started + 2 * half, least = now + half / 4;

	if (op->answered)
		return;
	op->answered = true;
	op->app_deadline = sd_event_source_disable_unref(op->app_deadline);
	op->call = sd_bus_slot_unref(op->call);
	if (op->chr) {
		TAILQ_REMOVE(&op->chr->asked, op, asked);
		op->chr = NULL;
	}
	if (!is_request(op)) {
		op_finish(op);
		return;
	}
	op->ecode = ecode;
	op->len = len > sizeof(op->data) ? sizeof(op->data) : len;
	if (op->len)
		memmove(op->data, data, op->len);
	send_packet(op, !op->side, due > least ? due : least);
}

int att_submit(struct link *l, int side, enum op_kind kind, uint16_t handle, uint16_t offset,
	       const void *data, size_t len, void (*done)(struct op *, void *), void *user,
	       struct op **ret)
{
	struct op *op;

	if (!l || l->dead[side])
		return -ENOTCONN;
	if (len > RADIO_VALUE)
		return -EMSGSIZE;
	op = calloc(1, sizeof(*op));
	if (!op)
		return -ENOMEM;
	op->link = l;
	op->side = side;
	op->airborne = -1;
	op->kind = kind;
	op->handle = handle;
	op->offset = offset;
	op->len = len;
	if (len)
		memcpy(op->data, data, len);
	op->done = done;
	op->user = user;
	if (ret)
		*ret = op;
	/* not by the characteristic's name: nothing went through the air yet */
	if (kind == OP_COMMAND || kind == OP_WRITE)
		radio_log(l->radio, "leaves", l, side, "-", data, len);
	if (is_request(op)) {
		TAILQ_INSERT_TAIL(&l->queue[side], op, entry);
		next_request(l, side);
	} else {
		TAILQ_INSERT_TAIL(&l->flying, op, entry);
		op_start(op);
	}
	return 0;
}

void att_forget(struct op *op)
{
	if (op)
		op->done = NULL;
}

/* Pending requests fail as the daemon lets them fail: "unlikely error". */
void att_link_gone(struct link *l)
{
	struct op *op;

	for (int i = 0; i < 2; i++) {
		TAILQ_CONCAT(&l->flying, &l->queue[i], entry);
		l->air_timer[i] = sd_event_source_disable_unref(l->air_timer[i]);
	}
	while ((op = TAILQ_FIRST(&l->flying))) {
		op->ecode = ATT_UNLIKELY;
		op->len = 0;
		if (op->done)
			op->done(op, op->user);
		op_free(op);
	}
}
