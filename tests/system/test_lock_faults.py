# SPDX-License-Identifier: Apache-2.0
"""Locks that misbehave and radio that fails: no wrong outcome, and other locks go on."""

import base64
import random
import time

import pytest

import wire
from box import Box
from harness import wait_for


@pytest.fixture(scope="module")
def box():
    with Box({"gw-1": ["lock-1", "lock-2"]}) as b:
        yield b.start()


def give_reader(box, lock, gw="gw-1"):
    """The city lets the gateway read the lock's log."""
    reader = base64.b64decode(box.recorder.state(gw)["reader"])
    box.recorder.publish(f"lockbridge/gw/{gw}/document", box.city.reader(lock, reader, int(time.time())))
    wait_for("the reader's authorization is held", lambda: lock in box.recorder.state(gw)["readers"])


@pytest.mark.parametrize("fault", ["rubbish", "half", "nothing", "much", "foreign", "other"])
def test_a_lock_that_answers_badly_never_makes_a_wrong_outcome(box, fault):
    """It moved, but did not say so: unknown, until its log, read later, tells the truth."""
    give_reader(box, "lock-1")
    before = box.lock_report("lock-1")["movements"]
    box.lock_control(f"lock-1 fault {fault}")
    document = box.city.relayed("lock-1", box.challenge(), 10, int(time.time()))
    cti = wire.claims(document)[wire.CTI].hex()
    try:
        event = box.authorize(document)[-1]
    finally:
        box.lock_control("lock-1 fault none")
    assert event["type"] == "authorization.outcome"
    assert event["outcome"] in ("unknown", "done"), event
    if event["outcome"] == "unknown":
        def resolved():
            return [e for e in box.recorder.events("gw-1", "authorization.outcome")
                    if e["cti"] == cti and e["outcome"] == "done"]
        event = wait_for("the lock's log resolves it", resolved, 40)[-1]
    assert event["receipt"]
    assert box.lock_report("lock-1")["movements"] == before + 1
    assert box.lock_report("lock-1")["ctis"][cti] == 1


def test_a_doubled_answer_is_one_outcome(box):
    box.lock_control("lock-1 fault twice")
    document = box.city.relayed("lock-1", box.challenge(), 10, int(time.time()))
    cti = wire.claims(document)[wire.CTI].hex()
    assert box.authorize(document)[-1]["outcome"] == "done"
    assert box.unlock()["outcome"] == "done"
    outcomes = [e for e in box.recorder.events("gw-1", "authorization.outcome") if e["cti"] == cti]
    assert len(outcomes) == 1


def test_a_lock_out_of_range_fails_and_the_other_goes_on(box):
    box.radio_control(f"vanish {box.adapter('lock-1')}")
    try:
        wait_for("the link is gone", lambda: not box.lock_report("lock-1")["connected"], 40)
        before = box.lock_report("lock-1")["movements"]
        document = box.city.relayed("lock-1", box.challenge(), 10, int(time.time()), exp=int(time.time()) + 8)
        box.recorder.publish("lockbridge/gw/gw-1/authorize", document)
        assert box.unlock(lock="lock-2")["outcome"] == "done"
        event = box.answer(wire.claims(document)[wire.CTI].hex(), timeout=90)[-1]
        assert (event["outcome"], event["reason"]) in (("failed", "unreachable"), ("failed", "expired"))
    finally:
        box.radio_control(f"appear {box.adapter('lock-1')}")
    assert box.lock_report("lock-1")["movements"] == before
    wait_for("it is back", lambda: box.recorder.lock("gw-1", "lock-1")["reachable"], 60)
    assert box.unlock()["outcome"] == "done"


def test_a_refused_connect_is_tried_again(box):
    wait_for("links are down", lambda: not box.lock_report("lock-1")["connected"], 40)
    box.radio_control(f"refuse connect {box.adapter('lock-1')} 2")
    assert box.unlock()["outcome"] == "done"


def test_bluetoothd_restarts_and_nothing_is_lost(box):
    box.radio_control("restart")
    wait_for("the radio is up again", lambda: box.recorder.state("gw-1")["radio"]["up"], 30)
    wait_for("the lock is heard", lambda: box.recorder.lock("gw-1", "lock-1")["reachable"], 60)
    assert box.unlock()["outcome"] == "done"
    assert box.unlock(lock="lock-2")["outcome"] == "done"


def test_the_adapter_is_pulled_out_and_put_back(box):
    hci = box.adapter("gw-1")
    box.radio_control(f"adapter remove {hci}")
    wait_for("the state says so", lambda: not box.recorder.state("gw-1")["radio"]["up"], 20)
    codes = [p["code"] for p in box.recorder.state("gw-1")["problems"]]
    assert [c for c in codes if c.startswith("adapter")], codes
    box.radio_control(f"adapter add {hci}")
    wait_for("the radio is up again", lambda: box.recorder.state("gw-1")["radio"]["up"], 30)
    assert box.unlock()["outcome"] == "done"


def test_a_lock_process_that_froze_gives_unknown_and_moves_nothing_twice(box):
    wait_for("links are down", lambda: not box.lock_report("lock-2")["connected"], 40)
    document = box.city.relayed("lock-2", box.challenge("lock-2"), 10, int(time.time()))
    box.lock_control("lock-2 freeze on")
    try:
        event = box.authorize(document, "lock-2")[-1]
    finally:
        box.lock_control("lock-2 freeze off")
    assert event["outcome"] in ("failed", "unknown"), event
    assert wire.claims(document)[wire.CTI].hex() not in box.lock_report("lock-2")["ctis"]


def test_an_unlock_cuts_into_a_list_transfer():
    """Somebody stands at the door while a long list is on its way."""
    with Box(lock_max=128 * 1024) as b:
        b.start()
        noise = random.Random(1)
        statuses = {i: noise.choice((0, 1, 2, 3)) for i in range(524288)}
        b.hold(b.city.list(b.born + 1, statuses, entries=524288))
        wait_for("the transfer has begun", lambda: b.stats("lock-1")["bytes_received"] > 20000)
        free = next(i for i, s in statuses.items() if not s and i > 100)  # in the old list too
        assert b.unlock(idx=free)["outcome"] == "done"
        assert b.lock_report("lock-1")["applied"]["staff"] == b.born, "the list was there before"
        wait_for("the list arrives all the same",
                 lambda: b.lock_report("lock-1")["applied"]["staff"] == b.born + 1, 90)


def test_a_list_arrives_where_commands_overtake_one_another():
    """Enhanced ATT: BlueZ sends commands over several bearers. The lock tells of a gap, once."""
    with Box(radio=("bearers=3",)) as b:
        b.start()
        noise = random.Random(1)
        statuses = {i: noise.choice((0, 1, 2, 3)) for i in range(100, 32768)}
        b.hold(b.city.list(b.born + 1, statuses, entries=32768))
        wait_for("the list arrives", lambda: b.lock_report("lock-1")["applied"]["staff"] == b.born + 1, 60)
        assert "each is confirmed from now on" in b.process("gw-1").output()
        assert b.unlock()["outcome"] == "done"
