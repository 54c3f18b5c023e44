# SPDX-License-Identifier: Apache-2.0
"""Which documents come into force, through the gateway and in the lock: order, age, keys, topics."""

import time

import pytest

import wire
from box import Box
from harness import wait_for


@pytest.fixture
def box():
    with Box() as b:
        yield b.start()


def refused(box, reason, since):
    return wait_for(f"document.refused {reason}",
                    lambda: [e for e in box.recorder.events("gw-1", "document.refused", since)
                             if e["reason"] == reason])


def lock_holds(box, name, iat):
    wait_for(f"the lock holds {name} of {iat}",
             lambda: box.lock_report("lock-1")["applied"].get(name) == iat, 30)


def test_documents_of_another_encoder_are_accepted_by_gateway_and_lock():
    """Maps in reverse order, integers longer than needed: keys, policy, list, and an authorization."""
    with Box(odd=True) as b:
        b.start()
        assert b.unlock()["outcome"] == "done"
        assert b.refused(1) == "revoked"


def test_older_conflict_and_the_same_again(box):
    since = time.monotonic()
    same = box.city.list(box.born, {1: 1, 2: 2})
    assert wire.digest(same).hex() in box.held()
    box.say(same)
    box.say(box.city.list(box.born - 100, {}))
    refused(box, "older", since)
    box.say(box.city.list(box.born, {}))
    refused(box, "conflict", since)
    assert wire.digest(same).hex() in box.held()
    assert box.refused(1) == "revoked"
    assert len(box.recorder.events("gw-1", "document.refused", since)) == 2


def test_an_empty_message_changes_nothing(box):
    for topic in ("city/policy", "city/list/staff", f"city/keys/{box.city.root.kid.hex()}"):
        box.recorder.publish("lockbridge/" + topic, b"", retain=True)
    assert box.refused(1) == "revoked"
    assert len(box.held()) == 3


def test_a_document_on_the_wrong_topic_is_refused(box):
    since = time.monotonic()
    box.say(box.city.list(box.born + 1, {}), "city/list/other")
    refused(box, "wrong-topic", since)
    box.say(box.city.policy(box.born + 1), "city/list/staff")
    wait_for("two refusals", lambda: len(box.recorder.events("gw-1", "document.refused", since)) == 2)
    assert box.refused(1) == "revoked"


@pytest.mark.parametrize("spoil,reason", [
    (lambda d: d[:-1], "malformed"),
    (lambda d: d + b"\x00", "malformed"),
    (lambda d: d[:len(d) // 2], "malformed"),
    (lambda d: d[:-1] + bytes([d[-1] ^ 1]), "bad-signature"),
    (lambda d: b"\xff" * 200, "malformed"),
])
def test_a_damaged_list_changes_nothing(box, spoil, reason):
    since = time.monotonic()
    box.say(spoil(box.city.list(box.born + 5, {})), "city/list/staff")
    refused(box, reason, since)
    assert box.refused(1) == "revoked"


def test_a_list_too_large_changes_nothing(box):
    since = time.monotonic()
    box.say(box.city.list(box.born + 5, {}, entries=4 * 131072 + 4))
    refused(box, "too-large", since)
    assert box.refused(1) == "revoked"


def test_a_list_larger_than_the_lock_can_hold_is_a_problem_and_not_a_loss(box):
    """The gateway takes it, the lock keeps the one it has, and the state says so."""
    big = box.city.list(box.born + 5, {1: 1, 77: 1}, entries=4 * 20000)
    box.hold(big)
    assert box.refused(77) == "revoked"
    wait_for("the problem is named",
             lambda: "lock-too-small" in [p["code"] for p in box.recorder.lock("gw-1", "lock-1")["problems"]])
    assert box.lock_report("lock-1")["applied"]["staff"] == box.born


def test_lists_and_policy_before_their_keys_are_kept_and_tried_again():
    with Box() as b:
        b.start(documents=False)
        since = time.monotonic()
        b.say(b.city.list(b.born, {1: 1}))
        b.say(b.city.policy(b.born))
        wait_for("both are of an unknown key",
                 lambda: len(b.recorder.events("gw-1", "document.refused", since)) == 2)
        b.say(b.city.keys(b.born))
        wait_for("all three are in force", lambda: len(b.held()) == 3)
        b.settle()
        assert b.refused(1) == "revoked"


def test_a_new_revocation_reaches_a_lock_and_the_door(box):
    phone = wire.Key()
    pass_ = box.city.at_door("lock-1", phone, 30, int(time.time()))
    assert box.door(phone, pass_)["outcome"] == "done"
    box.hold(box.city.list(box.born + 1, {30: 1}))
    lock_holds(box, "staff", box.born + 1)
    assert box.door(phone, pass_)["reason"] == "revoked"
    assert box.refused(30) == "revoked"


def test_a_changed_lock_refuses_what_was_issued_before(box):
    phone, now = wire.Key(), int(time.time())
    old = box.city.at_door("lock-1", phone, 30, now - 5)
    box.hold(box.city.policy(box.born + 1, cut_off={"lock-1": now}))
    lock_holds(box, "policy", box.born + 1)
    assert box.door(phone, old)["reason"] == "cut-off"
    assert box.refused(iat=now - 5, nbf=now - 5) == "cut-off"
    assert box.unlock()["outcome"] == "done"


def test_a_dropped_key_signs_nothing_more_and_its_list_stays_in_force(box):
    """A stolen revoke key jumped ten years ahead; dropped, it blocks nobody."""
    stolen = box.city.revoke
    ahead = int(time.time()) + 10 * 365 * 86400
    box.hold(box.city.list(ahead, {1: 1, 40: 1}))
    assert box.refused(40) == "revoked"
    box.city.revoke = wire.Key()
    box.hold(box.city.keys(box.born + 2))
    assert box.refused(40) == "revoked"
    since = time.monotonic()
    box.say(box.city.list(ahead + 1, {}, key=stolen))
    refused(box, "unknown-key", since)
    box.hold(box.city.list(box.born + 3, {1: 1, 2: 2}))
    lock_holds(box, "staff", box.born + 3)
    assert box.unlock(40)["outcome"] == "done"
    assert box.refused(1) == "revoked"


def test_a_dropped_authorize_key_is_dead_at_once(box):
    old = box.city.authorize
    box.city.authorize = wire.Key()
    box.hold(box.city.keys(box.born + 1))
    assert box.refused(key=old) == "unknown-key"
    lock_holds(box, "keys", box.born + 1)
    phone = wire.Key()
    assert box.door(phone, box.city.at_door("lock-1", phone, 10, int(time.time()), key=old))["reason"] == "unknown-key"
    assert box.unlock()["outcome"] == "done"


def hand_over(box, iat):
    """The city's root signs for another, which is the city's from now on."""
    city, new = box.city, wire.Key()
    records = [new.record("root"), city.policy_key.record("policy"), city.revoke.record("revoke"),
               city.authorize.record("authorize")]
    box.say(city.root.sign("lockbridge-keys+cwt", {wire.IAT: iat, wire.KEYS: records}))
    city.root = new


def test_three_changes_of_root_reach_a_box_and_a_lock_that_slept(box):
    """Each hand-over stays on its own topic: the chain is walked in order, whatever arrives first."""
    box.process("gw-1").stop()
    city = box.city
    for step in range(1, 4):
        hand_over(box, box.born + (1 if step == 1 else -step))
    final = city.keys(box.born - 50)
    box.say(final)
    box.respawn(box.process("gw-1"))
    box.wait_held(final, timeout=20)
    lock_holds(box, "keys", box.born - 50)
    box.hold(city.list(box.born + 1, {1: 1, 50: 1}))
    lock_holds(box, "staff", box.born + 1)
    assert box.refused(50) == "revoked"
    assert box.unlock()["outcome"] == "done"


def test_more_changes_of_root_than_a_chain_holds_outlast_a_restart(box):
    """The 17th root makes the oldest go: box and lock start from the next one then, not from the one that claimed."""
    for step in range(1, 21):
        hand_over(box, box.born + step)
        if step % 10 == 0:  # awake meanwhile: nobody is walked past sixteen
            lock_holds(box, "keys", box.born + step)
    final = box.city.keys(box.born + 30)
    box.hold(final)
    lock_holds(box, "keys", box.born + 30)
    box.lock_sim.kill()
    box.process("gw-1").kill()
    box.respawn(box.lock_sim, "ready")
    box.respawn(box.process("gw-1"))
    box.hold(box.city.list(box.born + 40, {1: 1, 50: 1}), timeout=20)
    lock_holds(box, "staff", box.born + 40)
    assert box.lock_report("lock-1")["applied"]["keys"] == box.born + 30
    assert box.refused(50) == "revoked"
    assert box.unlock()["outcome"] == "done"
