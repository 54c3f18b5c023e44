# SPDX-License-Identifier: Apache-2.0
"""The gateway's decision and its reports, over the real broker and bus, with documents from outside."""

import base64
import hashlib
import json
import os
import random
import time

import pytest

import wire
from box import Box, unbase64url
from harness import wait_for


@pytest.fixture(scope="module")
def box():
    with Box({"gw-1": ["lock-1", "lock-2"]}) as b:
        yield b.start()


def now():
    return int(time.time())


def test_an_authorization_opens_and_its_receipt_comes_back(box):
    before = box.lock_report("lock-1")["movements"]
    document = box.city.relayed("lock-1", box.challenge(), 10, now())
    events = box.authorize(document, correlation=b"\x01\xfe correlated")
    assert [e["type"] for e in events] == ["authorization.accepted", "authorization.outcome"]
    assert {e["correlation"] for e in events} == {b"\x01\xfe correlated".hex()}
    assert events[-1]["outcome"] == "done"
    receipt = unbase64url(events[-1]["receipt"])
    claims = wire.verify(receipt, base64.b64decode(box.keys["lock-1"]))
    assert claims[wire.ISS] == "lock-1"
    assert claims[wire.CTI] == wire.claims(document)[wire.CTI]
    assert claims[wire.RESULT]["outcome"] == "done"
    assert claims[wire.RESULT]["via"] == "relay"
    assert claims[wire.RESULT]["bolt"] == "unlocked"
    assert box.lock_report("lock-1")["movements"] == before + 1


def test_lock_unlatch_and_unlock_move_the_bolt(box):
    for scope, bolt in (("lock", "locked"), ("unlatch", "unlocked"), ("lock", "locked")):
        assert box.unlock(scope=scope)["outcome"] == "done"
        assert box.lock_report("lock-1")["bolt"] == bolt


@pytest.mark.parametrize("reason,change", [
    ("wrong-lock", lambda t: {"aud": "lock-9"}),
    ("lifetime-too-long", lambda t: {"exp": t + 1000}),
    ("not-yet-valid", lambda t: {"nbf": t + 500, "iat": t + 500, "exp": t + 550}),
    ("expired", lambda t: {"nbf": t - 500, "iat": t - 500, "exp": t - 450}),
    ("posture-pin", lambda t: {"posture": {"pin": False, "checked": t}}),
    ("posture-pin", lambda t: {"posture": None}),
    ("posture-stale", lambda t: {"posture": {"pin": True, "checked": t - 2 * 86400}}),
    ("posture-stale", lambda t: {"posture": {"pin": True}}),
    ("malformed", lambda t: {"status": None}),
    ("malformed", lambda t: {"cnonce": None}),
    ("malformed", lambda t: {"scope": "explode"}),
])
def test_a_bad_authorization_is_refused_with_its_reason(box, reason, change):
    document = box.city.relayed("lock-1", box.challenge(), 10, now(), **change(now()))
    before = box.lock_report("lock-1")["movements"]
    event = box.authorize(document)[-1]
    assert (event["type"], event["reason"]) == ("authorization.refused", reason)
    assert box.lock_report("lock-1")["movements"] == before


def test_revoked_suspended_outside_and_foreign_lists_open_nothing(box):
    assert box.refused(1) == "revoked"
    assert box.refused(2) == "suspended"
    assert box.refused(1 << 40) == "revoked"
    assert box.refused(status={"status_list": {"idx": 3, "uri": "https://other.example/staff"}}) == "no-list"


def test_locking_needs_no_list_and_no_posture(box):
    event = box.unlock(1, scope="lock", posture=None)
    assert event["outcome"] == "done"


def test_signatures_and_roles_are_checked(box):
    stranger = wire.Key()
    assert box.refused(key=stranger) == "unknown-key"
    assert box.refused(key=box.city.revoke) == "wrong-role"
    good = box.city.relayed("lock-1", box.challenge(), 10, now())
    assert box.authorize(good[:-1] + bytes([good[-1] ^ 1]))[-1]["reason"] == "bad-signature"
    assert box.authorize(box.city.policy(box.born))[-1]["reason"] == "wrong-role"


def test_a_door_authorization_over_mqtt_lacks_its_presentation(box):
    document = box.city.at_door("lock-1", wire.Key(), 10, now())
    assert box.authorize(document)[-1]["reason"] == "presentation-missing"


def test_a_stale_challenge_is_refused_and_the_present_one_told(box):
    event = box.unlock(cnonce=os.urandom(8))
    assert event["reason"] == "stale-challenge"
    assert bytes.fromhex(event["challenge"]) == box.challenge()
    assert box.unlock(cnonce=bytes.fromhex(event["challenge"]))["outcome"] == "done"


def test_a_retained_authorization_is_refused(box):
    document = box.city.relayed("lock-1", box.challenge(), 10, now())
    before = box.lock_report("lock-1")["movements"]
    assert box.authorize(document, retain=True)[-1]["reason"] == "retained"
    box.recorder.publish("lockbridge/gw/gw-1/authorize", b"", retain=True)
    assert box.lock_report("lock-1")["movements"] == before


def test_a_duplicate_moves_nothing_and_is_told_what_happened_first(box):
    document = box.city.relayed("lock-1", box.challenge(), 10, now())
    assert box.authorize(document)[-1]["outcome"] == "done"
    before = box.lock_report("lock-1")["movements"]
    again = box.authorize(document)[-1]
    assert (again["type"], again["reason"], again["first"]) == ("authorization.refused", "replayed", "done")
    refused = box.city.relayed("lock-1", box.challenge(), 1, now())
    assert box.authorize(refused)[-1]["reason"] == "revoked"
    assert box.authorize(refused)[-1]["first"] == "refused"
    assert box.lock_report("lock-1")["movements"] == before


def test_one_at_a_time_per_lock(box):
    box.lock_control("lock-1 motor 1500")
    try:
        challenge = box.challenge()
        first = box.city.relayed("lock-1", challenge, 10, now())
        second = box.city.relayed("lock-1", challenge, 10, now())
        box.recorder.publish("lockbridge/gw/gw-1/authorize", first)
        assert box.authorize(second)[-1]["reason"] == "busy"
        assert box.answer(wire.claims(first)[wire.CTI].hex())[-1]["outcome"] == "done"
    finally:
        box.lock_control("lock-1 motor 150")


def test_two_locks_do_not_wait_for_each_other(box):
    box.lock_control("lock-1 motor 3000")
    try:
        slow = box.city.relayed("lock-1", box.challenge("lock-1"), 10, now())
        box.recorder.publish("lockbridge/gw/gw-1/authorize", slow)
        assert box.unlock(lock="lock-2")["outcome"] == "done"
        done = [e["cti"] for e in box.recorder.events("gw-1", "authorization.outcome")]
        assert wire.claims(slow)[wire.CTI].hex() not in done
        assert box.answer(wire.claims(slow)[wire.CTI].hex())[-1]["outcome"] == "done"
    finally:
        box.lock_control("lock-1 motor 150")


@pytest.mark.parametrize("command,reason", [("jam", "jammed"), ("broken", "lock-error")])
def test_a_lock_that_fails_says_so(box, command, reason):
    box.lock_control(f"lock-1 {command} on")
    try:
        event = box.unlock()
        assert (event["outcome"], event["reason"]) == ("failed", reason)
        assert event["receipt"]
    finally:
        box.lock_control(f"lock-1 {command} off")
    assert box.unlock()["outcome"] == "done"


def test_an_empty_battery_is_a_failure_with_a_name(box):
    box.lock_control("lock-2 battery 2")
    try:
        event = box.unlock(lock="lock-2")
        assert (event["outcome"], event["reason"]) == ("failed", "low-battery")
    finally:
        box.lock_control("lock-2 battery 90")


RUBBISH = {"nothing": b"", "a zero": b"\x00", "breaks": b"\xff" * 100, "tags alone": b"\xd8\x3d\xd2\x84",
           "noise": random.Random(1).randbytes(1024), "a huge array": b"\x9a\x07\xff\xff\xff",
           "text": b"x" * 5000, "depth": b"\x81" * 300}


@pytest.mark.parametrize("kind", RUBBISH)
def test_rubbish_is_refused_and_the_gateway_goes_on(box, kind):
    rubbish = RUBBISH[kind]
    since = time.monotonic()
    box.recorder.publish("lockbridge/gw/gw-1/authorize", rubbish)
    if rubbish:
        wait_for("malformed", lambda: [e for e in box.recorder.events("gw-1", "authorization.refused", since)
                                       if e["reason"] == "malformed"])
    assert box.unlock()["outcome"] == "done"


def test_every_truncation_of_a_good_authorization_is_malformed(box):
    good = box.city.relayed("lock-1", box.challenge(), 10, now())
    before = box.lock_report("lock-1")["movements"]
    cuts = range(1, len(good), 17)
    since = time.monotonic()
    for cut in cuts:
        box.recorder.publish("lockbridge/gw/gw-1/authorize", good[:cut])
    events = wait_for("each refused", lambda: (e := box.recorder.events("gw-1", "authorization.refused", since))
                      and len(e) == len(cuts) and e)
    assert {e["reason"] for e in events} == {"malformed"}
    assert box.lock_report("lock-1")["movements"] == before


def test_events_are_numbered_and_chained(box):
    seen, prev = {}, "00" * 32
    for _, topic, payload, _ in box.recorder.all("lockbridge/gw/gw-1/event"):
        event = json.loads(payload)
        if event["seq"] in seen:
            assert seen[event["seq"]] == payload
            continue
        seen[event["seq"]] = payload
        assert event["seq"] == len(seen)
        assert event["prev"] == prev
        prev = hashlib.sha256(payload).hexdigest()
    assert len(seen) > 20


def test_replay_sends_the_same_bytes_again(box):
    before = {json.loads(m[2])["seq"]: m[2] for m in box.recorder.all("lockbridge/gw/gw-1/event")}
    since = time.monotonic()
    stream = box.recorder.state("gw-1")["stream"]
    box.recorder.publish("lockbridge/gw/gw-1/replay", '{"stream":"%s","from":2}' % stream)
    again = wait_for("all again", lambda: (m := [m for m in box.recorder.all("lockbridge/gw/gw-1/event")
                                                 if m[0] > since]) and len(m) >= len(before) - 1 and m)
    for _, _, payload, _ in again:
        seq = json.loads(payload)["seq"]
        assert before.get(seq, payload) == payload


def test_a_document_held_is_sent_on_request(box):
    box.recorder.publish("lockbridge/gw/gw-1/replay", '{"document":"list/staff"}')
    event = wait_for("a copy", lambda: box.recorder.events("gw-1", "document.copy"))[-1]
    copy = unbase64url(event["copy"])
    assert wire.verify(copy, box.city.revoke.public)[wire.SUB] == box.city.uri


def test_health_is_published_with_counters():
    with Box() as b:
        make = b.gateway_config
        b.gateway_config = lambda gw, **k: make(gw, more="health_s = 1;\nbackoff_min_ms = 100;\n", **k)
        b.start()
        payload = wait_for("health", lambda: b.recorder.last("lockbridge/gw/gw-1/health"))
        health = json.loads(payload)
        assert health["memory_kb"] > 1000 and health["disk_free_kb"] > 0 and health["cpu_ms"] > 0
        assert {"loop-gap-max-us", "adverts", "broker-connects"} <= set(health["counters"])
