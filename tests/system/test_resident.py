# SPDX-License-Identifier: Apache-2.0
"""The resident's own movements are theirs: a hand at the knob is nobody's business unless the policy says so."""

import base64
import time

import pytest

from box import Box
from harness import wait_for


@pytest.fixture
def box():
    with Box() as b:
        b.start()
        b.unlock(scope="lock")
        wait_for("the link is down", lambda: not b.lock_report("lock-1")["connected"], 20)
        yield b


def said(box, since):
    """Health and presence are told each minute, whatever a hand does."""
    return [m for m in box.recorder.all("lockbridge/gw/gw-1/")
            if m[0] > since and not m[1].endswith(("/health", "/presence"))]


def test_nothing_is_said_of_a_hand(box):
    before, since = box.lock_report("lock-1"), time.monotonic()
    for hand in ("unlock", "lock", "unlock"):
        box.lock_control(f"lock-1 hand {hand}")
    box.lock_control("lock-1 door open")
    assert box.lock_report("lock-1")["door"] == "open"
    adverts = box.stats("lock-1")["adverts"]
    wait_for("ten more adverts were heard", lambda: box.stats("lock-1")["adverts"] >= adverts + 10)
    after = box.lock_report("lock-1")
    assert after["physical"] == "unlocked" and after["bolt"] == before["bolt"] == "locked"
    assert after["n"] == before["n"] and after["connections"] == before["connections"]
    assert said(box, since) == []


def test_with_report_manual_a_hand_is_a_receipt(box):
    box.hold(box.city.policy(box.born + 1, report_manual=True))
    wait_for("the lock knows", lambda: box.lock_report("lock-1")["applied"]["policy"] == box.born + 1)
    reader = base64.b64decode(box.recorder.state("gw-1")["reader"])
    box.recorder.publish("lockbridge/gw/gw-1/document", box.city.reader("lock-1", reader, int(time.time())))
    wait_for("the reader is held", lambda: "lock-1" in box.recorder.state("gw-1")["readers"])
    wait_for("the link is down", lambda: not box.lock_report("lock-1")["connected"], 20)
    since = time.monotonic()
    box.lock_control("lock-1 hand unlock")
    wait_for("its receipt", lambda: [e for e in box.recorder.events("gw-1", "lock.receipt", since)
                                     if "cti" not in e], 40)
    wait_for("the lock's topic", lambda: box.recorder.lock("gw-1", "lock-1")["bolt"] == "unlocked")


def test_only_approved_apps(box):
    box.hold(box.city.policy(box.born + 1, apps=["se.example.other"]))
    assert box.refused() == "posture-app"
    box.hold(box.city.policy(box.born + 2, apps=["se.example.homecare"]))
    assert box.unlock()["outcome"] == "done"
