# SPDX-License-Identifier: Apache-2.0
"""A phone at the door: no gateway in the way, the lock decides by itself."""

import time

import pytest

import wire
from box import Box
from harness import wait_for


@pytest.fixture(scope="module")
def box():
    """The gateway brought the documents and is gone."""
    with Box({"gw-1": ["lock-1", "lock-2"]}) as b:
        b.start()
        b.process("gw-1").stop()
        b.broker.stop()
        yield b


@pytest.fixture(scope="module")
def phone():
    return wire.Key()


def good(box, phone, lock="lock-1", idx=10, **change):
    return box.city.at_door(lock, phone, idx, int(time.time()), **change)


def test_it_opens_and_once_only_per_presentation(box, phone):
    document = good(box, phone)
    first = box.door(phone, document)
    assert (first["outcome"], first["verified"], first["bolt"]) == ("done", True, "unlocked")
    assert box.door(phone, document)["outcome"] == "done"  # a shift: presented anew, opens anew
    assert box.lock_report("lock-1")["ctis"][wire.claims(document)[wire.CTI].hex()] == 2


@pytest.mark.parametrize("reason,idx,change", [
    ("revoked", 1, {}),
    ("suspended", 2, {}),
    ("revoked", 999999, {}),
    ("no-list", 10, {"status": {"status_list": {"idx": 10, "uri": "https://other.example/staff"}}}),
    ("expired", 10, {"iat": 1000, "nbf": 1000, "exp": 2000}),
])
def test_refusals(box, phone, reason, idx, change):
    before = box.lock_report("lock-1")["movements"]
    said = box.door(phone, good(box, phone, idx=idx, **change))
    assert (said["outcome"], said["reason"]) == ("refused", reason)
    assert box.lock_report("lock-1")["movements"] == before


def test_wrong_lock(box, phone):
    said = box.door(phone, good(box, phone, "lock-2"), "lock-1", "--fault", "wrong-lock")
    assert (said["outcome"], said["reason"]) == ("refused", "wrong-lock")


@pytest.mark.parametrize("fault,reason", [("other-key", "presentation-bad"), ("other-cti", "presentation-bad"),
                                          ("stale", "stale-challenge")])
def test_a_presentation_must_fit(box, phone, fault, reason):
    before = box.lock_report("lock-1")["movements"]
    said = box.door(phone, good(box, phone), "lock-1", "--fault", fault)
    assert (said["outcome"], said["reason"]) == ("refused", reason)
    assert box.lock_report("lock-1")["movements"] == before


def test_an_authorization_of_another_city_is_of_an_unknown_key(box, phone):
    document = wire.City().at_door("lock-1", phone, 10, int(time.time()))
    assert box.door(phone, document)["reason"] == "unknown-key"


def test_posture_or_a_subject_at_the_door_is_malformed(box, phone):
    """The air is open: what names or describes a phone has no place there."""
    assert box.door(phone, good(box, phone, posture={"pin": True}))["reason"] == "malformed"
    assert box.door(phone, good(box, phone, sub="somebody"))["reason"] == "malformed"


def test_a_lock_that_restarts_keeps_its_list(box, phone):
    box.lock_sim.stop()
    box.respawn(box.lock_sim, "ready")
    assert box.door(phone, good(box, phone, idx=1))["reason"] == "revoked"
    assert box.door(phone, good(box, phone))["outcome"] == "done"


def test_nothing_but_locking_without_any_list(phone):
    with Box() as b:
        b.start(documents=False)
        b.say(b.city.keys(b.born))
        wait_for("the lock has keys", lambda: "keys" in b.lock_report("lock-1")["applied"])
        assert b.door(phone, good(b, phone))["reason"] == "no-list"
        said = b.door(phone, good(b, phone, scope="lock"))
        assert said["outcome"] == "done", said
        assert b.refused() == "no-list"
        event = b.unlock(scope="lock")  # a phone was there meanwhile: the challenge is another
        assert event["reason"] == "stale-challenge"
        assert b.unlock(scope="lock", cnonce=bytes.fromhex(event["challenge"]))["outcome"] == "done"
