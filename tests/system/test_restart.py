# SPDX-License-Identifier: Apache-2.0
"""Processes that die, brokers that lie, stores that rot: nothing forgotten, nothing done twice."""

import base64
import glob
import json
import os
import signal
import time

import pytest

import wire
from box import Box
from harness import wait_for


@pytest.fixture
def box():
    with Box() as b:
        yield b.start()


def test_a_killed_gateway_remembers_the_list_without_a_broker(box):
    """The list is on its disk: no broker has to say it again."""
    gw = box.process("gw-1")
    gw.kill()
    box.broker.stop()
    for f in glob.glob(box.path("broker", "*")):
        os.unlink(f)  # the broker has lost everything, retained documents too
    box.broker_up()
    box.recorder.messages.clear()
    box.respawn(gw)
    wait_for("it says what it holds", lambda: len(box.held()) == 3, 30)
    wait_for("the lock is known", lambda: box.recorder.lock("gw-1", "lock-1"), 30)
    assert box.refused(1) == "revoked"


def test_a_gateway_killed_between_accepting_and_the_answer(box):
    """Unknown first; then what the lock's own log says, once the gateway may read it."""
    box.lock_control("lock-1 motor 2000")
    document = box.city.relayed("lock-1", box.challenge(), 10, int(time.time()))
    cti = wire.claims(document)[wire.CTI].hex()
    box.recorder.publish("lockbridge/gw/gw-1/authorize", document)
    wait_for("the motor turns", lambda: box.lock_report("lock-1")["moving"])
    gw = box.process("gw-1")
    gw.kill()
    box.respawn(gw)
    first = box.answer(cti, timeout=30)[-1]
    assert (first["type"], first["outcome"]) == ("authorization.outcome", "unknown")
    reader = base64.b64decode(box.recorder.state("gw-1")["reader"])
    box.recorder.publish("lockbridge/gw/gw-1/document", box.city.reader("lock-1", reader, int(time.time())))
    wait_for("the lock's receipt resolves it",
             lambda: [e for e in box.recorder.events("gw-1", "authorization.outcome")
                      if e["cti"] == cti and e["outcome"] == "done"], 40)
    again = box.authorize(document)[-1]
    assert again["reason"] == "replayed"
    assert box.lock_report("lock-1")["ctis"] == {cti: 1}


def test_events_survive_an_outage_of_the_broker_and_come_in_order(box):
    box.broker.kill()
    phone = wire.Key()
    for n in range(3):
        box.door(phone, box.city.at_door("lock-1", phone, 10, int(time.time())))
    box.process("gw-1").kill()
    box.respawn(box.process("gw-1"))
    box.broker_up()

    def chain():
        seqs = sorted({json.loads(m[2])["seq"] for m in box.recorder.all("lockbridge/gw/gw-1/event")})
        return seqs and seqs[-1] >= 7 and seqs == list(range(1, seqs[-1] + 1))
    wait_for("no gap", chain, 40)
    wait_for("nothing waits", lambda: box.recorder.state("gw-1")["outbox"] == 0, 20)


def test_a_damaged_store_is_refused_loudly_and_never_read_as_nobody_revoked(box):
    gw = box.process("gw-1")
    gw.stop()
    box.broker.stop()
    for f in glob.glob(box.path("broker", "*")):
        os.unlink(f)
    [db] = glob.glob(box.path("gw-1", "*.db"))
    with open(db, "r+b") as f:
        f.seek(0, 2)
        size = f.tell()
        for at in range(4096, size, 512):
            f.seek(at)
            f.write(b"\xa5" * 64)
    box.broker_up()
    box.recorder.messages.clear()
    skip = len(gw.output())
    gw.start()

    def refuses():
        if not gw.running():
            return "store" in gw.output()[skip:]
        state = box.recorder.state("gw-1")
        return state and "store-damaged" in [p["code"] for p in state["problems"]]
    wait_for("it says that its store is damaged", refuses, 30)
    if gw.running():
        document = box.city.relayed("lock-1", os.urandom(8), 10, int(time.time()))
        assert box.authorize(document)[-1]["reason"] in ("unknown-key", "no-list")


def test_sigterm_says_goodbye(box):
    gw = box.process("gw-1")
    assert gw.stop() == 0
    wait_for("offline", lambda: box.recorder.last("lockbridge/gw/gw-1/presence") == b"offline")
    assert box.process("gw-1").popen.returncode == 0


def test_a_killed_gateway_is_offline_by_its_will(box):
    box.process("gw-1").kill()
    wait_for("the will", lambda: box.recorder.last("lockbridge/gw/gw-1/presence") == b"offline", 60)


def test_a_bad_new_configuration_is_refused_and_the_old_one_stays(box):
    gw = box.process("gw-1")
    good = open(box.path("gw-1.conf")).read()
    with open(box.path("gw-1.conf"), "w") as f:
        f.write(good + "\nlinger_s = \"soon\";\n")
    skip = len(gw.output())
    gw.popen.send_signal(signal.SIGHUP)
    wait_for("it names file, line and setting",
             lambda: "gw-1.conf:" in gw.output()[skip:] and "linger_s" in gw.output()[skip:])
    assert box.unlock()["outcome"] == "done"
    with open(box.path("gw-1.conf"), "w") as f:
        f.write(box.gateway_config("gw-1", locks=[]))
    gw.popen.send_signal(signal.SIGHUP)
    wait_for("a lock that was taken out has its topic cleared",
             lambda: box.recorder.last("lockbridge/gw/gw-1/lock/lock-1") == b"")
