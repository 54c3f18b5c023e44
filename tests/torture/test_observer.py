# SPDX-License-Identifier: Apache-2.0
"""Each check of the observer can fail: made-up histories, a sound one first, each then broken in one place."""

import base64
import hashlib
import json
import os
import sqlite3
import sys
import threading

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "system")]

import wire  # noqa: E402
from history import History  # noqa: E402
from observer import Observer  # noqa: E402

NOW = 1800000000
CITY, LOCK_KEY = wire.City(), wire.Key()
STREAM = "5f0c3a9be1d24c7788a6b0d2f4e19c35"


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def held(document):
    return [wire.claims(document)[wire.IAT], wire.digest(document)]


class Story:
    """A gateway, a lock, a list that revokes index 1; told as witnesses would."""

    def __init__(self):
        self.history = History({"lock-1": LOCK_KEY.public})
        self.payloads, self.n, self.ctis = [], 0, []
        self.keys, self.list = CITY.keys(NOW), CITY.list(NOW, {1: 1})
        self.applied = {"keys": held(self.keys), "staff": held(self.list)}
        for document in (self.keys, self.list):
            self.history.hear("lockbridge/city/any", document)

    def encoded(self, kind, **more):
        prev = hashlib.sha256(self.payloads[-1]).hexdigest() if self.payloads else "0" * 64
        body = {"stream": STREAM, "seq": len(self.payloads) + 1, "prev": prev, "time": NOW, "type": kind, **more}
        return json.dumps(body).encode()

    def event(self, kind, heard=True, **more):
        self.payloads.append(self.encoded(kind, **more))
        if heard:
            self.history.hear("lockbridge/gw/gw-1/event", self.payloads[-1])
        return self

    def applies(self, document, kind="list", name="staff"):
        iat, digest = held(document)
        return self.event("document.applied", document={"kind": kind, "name": name, "iat": iat, "digest": digest.hex()})

    def state(self, documents, seq=None):
        state = {"stream": STREAM, "seq": seq or len(self.payloads), "documents": [
            {"name": name, "iat": iat, "digest": digest.hex()} for name, (iat, digest) in documents.items()]}
        self.history.hear("lockbridge/gw/gw-1/state", json.dumps(state).encode())
        return self

    def authorization(self, idx=10, **change):
        document = CITY.relayed("lock-1", bytes(8), idx, NOW, **change)
        self.history.hear("lockbridge/gw/gw-1/authorize", document)
        return wire.claims(document)[wire.CTI].hex()

    def receipt(self, cti=None, outcome="done", via="relay", applied=None, n=None, key=LOCK_KEY):
        self.n = n or self.n + 1
        result = {"outcome": outcome, "via": via, "n": self.n, "applied": self.applied if applied is None else applied}
        claims = {wire.ISS: "lock-1", wire.IAT: NOW, wire.RESULT: result}
        if cti:
            claims[wire.CTI] = bytes.fromhex(cti)
        return key.sign("lockbridge-receipt+cwt", claims)

    def files(self, receipt):
        self.event("lock.receipt", lock="lock-1", receipt=base64url(receipt))
        return self

    def moves(self, *ctis):
        self.ctis += ctis
        self.history.movements("lock-1", self.ctis)
        return self

    def accepted(self, cti):
        return self.event("authorization.accepted", lock="lock-1", cti=cti, scope=self.history.issued[cti]["scope"])

    def outcome(self, cti, outcome="done", receipt=None, **more):
        if receipt:
            more["receipt"] = base64url(receipt)
        return self.event("authorization.outcome", lock="lock-1", cti=cti, outcome=outcome, **more)

    def opened(self, idx=10):
        cti = self.authorization(idx)
        self.accepted(cti).moves(cti).outcome(cti, receipt=self.receipt(cti))
        return cti

    def broken(self):
        return self.history.broken()

    def left(self, newest=None):
        return (self.history.missing({STREAM: newest or len(self.payloads)}) + self.history.open_ends()
                + self.history.unreported())


@pytest.fixture
def story():
    """A start, a list, an opening: nothing to complain of."""
    s = Story()
    s.event("gateway.started").moves()
    s.applies(s.keys, "keys", "keys").applies(s.list)
    s.state(s.applied)
    s.files(s.receipt(outcome="applied"))
    s.opened()
    assert s.broken() == [] and s.left() == []
    return s


def only(found, *words):
    """Exactly one complaint, and it says these words."""
    assert len(found) == 1 and all(w in found[0] for w in words), found


# --- at most once ------------------------------------------------------------------------------------------------


def test_a_bolt_that_moved_twice(story):
    story.moves(story.ctis[0])
    only(story.broken(), "movement:", "2 times", story.ctis[0])


def test_an_authorization_accepted_twice(story):
    cti = story.authorization()
    story.accepted(cti).accepted(cti)
    only(story.broken(), "movement:", "accepted", "twice")


def test_a_movement_that_nobody_accepted(story):
    cti = story.authorization()
    story.moves(cti).files(story.receipt(cti))
    assert story.broken() == []
    only(story.left(), "movement:", "no gateway accepted")


def test_movements_at_the_door_need_no_gateway_but_a_receipt_each(story):
    cti = os.urandom(16).hex()
    story.moves(cti, cti).files(story.receipt(cti, via="door"))
    assert story.broken() == []
    only(story.left(), "receipt:", "moved 2 times", "1 receipts")
    story.files(story.receipt(cti, via="door"))
    assert story.left() == []


def test_a_lock_cannot_make_a_relayed_opening_one_for_the_door(story):
    cti = story.authorization()
    story.moves(cti, cti).files(story.receipt(cti, via="door"))
    only(story.broken(), "movement:", "2 times")


# --- nothing that was reported is lost ---------------------------------------------------------------------------


def test_a_number_with_two_contents(story):
    story.history.hear("lockbridge/gw/gw-1/event", story.payloads[-1].replace(b'"done"', b'"failed"'))
    only(story.broken(), "chain:", "two events with number")


def test_an_event_that_does_not_follow_the_one_before(story):
    story.payloads[-1] += b" "
    story.event("lock.reachable", lock="lock-1")
    only(story.broken(), "chain:", "does not follow")


def test_a_first_event_with_a_past(story):
    s = Story()
    s.payloads.append(b"{}")
    first = s.encoded("gateway.started").replace(b'"seq": 2', b'"seq": 1')
    s.history.hear("lockbridge/gw/gw-1/event", first)
    only(s.broken(), "chain:", "does not follow")


def test_a_gap(story):
    story.event("lock.reachable", heard=False).event("lock.reachable")
    assert story.broken() == []
    only(story.left(), "chain:", "1 events are missing")


def test_an_end_that_never_came(story):
    only(story.left(len(story.payloads) + 2), "chain:", "2 events are missing")


def test_a_stream_of_two_gateways(story):
    other = story.encoded("lock.reachable")
    story.history.hear("lockbridge/gw/gw-2/event", other)
    only(story.broken(), "chain:", "comes from gw-2")


def test_a_lost_store(story):
    other = {"stream": "00" * 16, "seq": 1, "prev": "0" * 64, "type": "gateway.started"}
    story.history.hear("lockbridge/gw/gw-1/event", json.dumps(other).encode())
    only(story.broken(), "rollback:", "lost its store")
    story.history.store_lost.add("gw-1")
    assert story.broken() == []


# --- outcomes ----------------------------------------------------------------------------------------------------


def test_accepted_and_no_more_said(story):
    story.accepted(story.authorization())
    assert story.broken() == []
    only(story.left(), "outcome:", "says no more")


def test_done_and_the_bolt_stood_still(story):
    cti = story.authorization()
    story.accepted(cti).outcome(cti)
    only(story.broken(), "outcome:", "is done", "did not move")


def test_failed_and_the_bolt_moved(story):
    cti = story.authorization()
    story.accepted(cti).moves(cti).outcome(cti, "failed", reason="timeout").files(story.receipt(cti, "unknown"))
    only(story.broken(), "outcome:", "failed (timeout)", "moved")


def test_failed_by_the_lock_s_own_word_may_have_moved(story):
    cti = story.authorization()
    story.accepted(cti).moves(cti).outcome(cti, "failed", story.receipt(cti, "failed"), reason="lock-error")
    assert story.broken() == [] and story.left() == []


@pytest.mark.parametrize("words", [("done", "failed"), ("failed", "done"), ("done", "unknown")])
def test_an_outcome_that_was_known_changes(story, words):
    cti = story.authorization()
    story.accepted(cti).moves(cti)
    for word in words:
        story.outcome(cti, word, story.receipt(cti, word))
    only(story.broken(), "outcome:", str(list(words)))


def test_unknown_becomes_what_the_receipt_says(story):
    cti = story.authorization()
    story.accepted(cti).moves(cti).outcome(cti, "unknown")
    only(story.left(), "receipt:", "there are 0 receipts")
    receipt = story.receipt(cti)
    story.files(receipt)
    only(story.left(), "outcome:", "still unknown")
    story.outcome(cti, "done", receipt)
    assert story.broken() == [] and story.left() == []


def test_unknown_for_ever(story):
    cti = story.authorization()
    story.accepted(cti).outcome(cti, "unknown")
    assert story.broken() == [] and story.left() == []
    only(story.history.unknown(), "outcome:", "does not know", cti)
    story.outcome(cti, "failed", reason="timeout")
    assert story.history.unknown() == []


def test_a_lock_that_does_not_know_itself(story):
    cti = story.authorization()
    story.accepted(cti).moves(cti).outcome(cti, "unknown", story.receipt(cti, "unknown"))
    assert story.broken() == [] and story.left() == [] and story.history.unknown() == []


# --- nothing gets older ------------------------------------------------------------------------------------------


def test_a_gateway_that_holds_an_older_list(story):
    old = CITY.list(NOW - 100, {})
    story.history.document(old)
    story.event("gateway.started").state(dict(story.applied, staff=held(old)))
    only(story.broken(), "rollback:", "staff", f"became {NOW - 100}")


def test_a_gateway_that_lost_its_list(story):
    story.event("gateway.started").state({"keys": story.applied["keys"]})
    only(story.broken(), "rollback:", "staff", "is gone")


def test_an_older_state_that_a_broker_repeats_is_no_rollback(story):
    new = CITY.list(NOW + 100, {1: 1})
    story.applies(new).state(dict(story.applied, staff=held(new)))
    story.state(story.applied, seq=4)
    assert story.broken() == []


def test_a_gateway_that_applies_an_older_list(story):
    story.applies(CITY.list(NOW - 100, {}))
    only(story.broken(), "rollback:", "applied", "staff")


def test_a_list_of_the_same_second_with_other_content(story):
    other = CITY.list(NOW, {2: 1})
    story.history.document(other)
    story.applies(other)
    only(story.broken(), "rollback:", "two contents")


def test_a_dead_signer_s_list_may_be_followed_by_an_earlier_one(story):
    ahead = CITY.list(NOW + 99999, {}, key=wire.Key())
    back = CITY.list(NOW + 10, {1: 1})
    for document in (ahead, back):
        story.history.document(document)
        story.applies(document).state(dict(story.applied, staff=held(document)))
    assert story.broken() == []


def test_a_lock_that_holds_an_older_list(story):
    old = CITY.list(NOW - 100, {})
    story.history.document(old)
    story.files(story.receipt(outcome="applied", applied=dict(story.applied, staff=held(old))))
    only(story.broken(), "rollback:", "lock-1", "staff")


def test_a_lock_that_lost_its_list(story):
    story.files(story.receipt(outcome="applied", applied={"keys": story.applied["keys"]}))
    only(story.broken(), "rollback:", "lock-1", "is gone")


def test_a_released_lock_holds_nothing(story):
    story.files(story.receipt(outcome="released", applied={}))
    story.files(story.receipt(outcome="claimed", applied={}))
    assert story.broken() == []


def test_a_lock_that_tells_of_an_older_list(story):
    story.history.holds("lock-1", {"keys": NOW, "staff": NOW})
    story.history.holds("lock-1", {"keys": NOW, "staff": NOW - 100})
    only(story.broken(), "rollback:", "lock-1 held staff")


# --- a revoked credential opens nothing --------------------------------------------------------------------------


def test_a_gateway_that_applied_the_list_and_accepts(story):
    story.opened(1)
    found = story.broken()
    assert [text.partition(":")[0] for text in found] == ["revoked", "revoked"], found
    assert "gw-1 held" in found[0] and "lock-1 held" in found[1]


def test_a_gateway_that_told_of_the_list_in_its_state_and_accepts():
    """The event of its application is not needed: a crash may have come between."""
    s = Story()
    s.event("gateway.started").moves().state(s.applied)
    s.opened(1)
    only(s.broken(), "revoked: gw-1 held")


def test_accepted_before_the_list_came():
    s = Story()
    s.event("gateway.started").moves()
    cti = s.authorization(1)
    s.accepted(cti).moves(cti).applies(s.list).state(s.applied).outcome(cti, receipt=s.receipt(cti))
    assert s.broken() == []


def test_a_lock_that_held_the_list_and_moved():
    s = Story()
    s.event("gateway.started").moves().files(s.receipt(outcome="applied"))
    cti = s.authorization(1)
    s.moves(cti).files(s.receipt(cti, via="door"))
    only(s.broken(), "revoked: lock-1 held staff")


def test_an_index_outside_the_list_is_revoked(story):
    story.opened(5000000)
    assert len(story.broken()) == 2


def test_locking_needs_no_list(story):
    cti = story.authorization(1, scope="lock")
    story.accepted(cti).moves(cti).outcome(cti, receipt=story.receipt(cti))
    assert story.broken() == [] and story.left() == []


def test_an_index_that_is_valid_again(story):
    story.history.document(CITY.list(NOW + 100, {}))
    story.opened(1)
    assert story.broken() == []


def test_an_opening_without_any_list():
    """As after the loss of a store: no list is not "nobody revoked"."""
    s = Story()
    s.event("gateway.started").moves().applies(s.keys, "keys", "keys").state({"keys": s.applied["keys"]})
    s.accepted(s.authorization(scope="lock"))
    assert s.broken() == []
    s.accepted(s.authorization())
    only(s.broken(), "revoked: gw-1 held no list with event 2", "event 4")


def test_a_list_that_came_in_time_or_with_a_start():
    for sign in (lambda s: s.applies(s.list), lambda s: s.event("gateway.started"),
                 lambda s: s.event("lock.reachable").state(s.applied)):
        s = Story()
        s.event("gateway.started").moves().state({})
        sign(s)
        s.accepted(s.authorization())
        assert s.broken() == []


# --- the lock's word ---------------------------------------------------------------------------------------------


def test_a_movement_without_a_receipt(story):
    cti = story.authorization()
    story.accepted(cti).moves(cti).outcome(cti)
    assert story.broken() == []
    only(story.left(), "receipt:", "there are 0 receipts")


def test_two_receipts_with_one_number(story):
    story.files(story.receipt(n=story.n, outcome="held"))
    only(story.broken(), "receipt:", "two with the number")


def test_a_receipt_by_another_key(story):
    story.files(story.receipt(outcome="applied", key=wire.Key()))
    only(story.broken(), "receipt:", "not signed with its key")


# --- the observer's own questions: to gateways at the box, to the desk's registry, to the locks' disks ---------------


class Said:
    """What a command printed."""

    def __init__(self, value):
        self.out = json.dumps(value)


class Running:
    def running(self):
        return True


class MadeUp:
    """A world of one gateway and one lock that answers what the test wants. A registry with the tables that count."""

    def __init__(self, folder, story):
        self.folder, self.recorder, self.client, self.serve = folder, self, self, Running()
        self.gateways, self.locks, self.layout = ["gw-1"], ["lock-1"], {"gw-1": ["lock-1"]}
        self.keys = {"lock-1": base64.b64encode(LOCK_KEY.public).decode()}
        self.mutex, self.messages, self.published = threading.Lock(), [], []
        self.on_message, self.presence = lambda *_: None, b"online"
        self.told = {"stream": STREAM, "seq": len(story.payloads), "outbox": 0, "documents": []}
        self.city, self.broker = dict(self.told), {"connected": True}
        self.locks_said = [{"id": "lock-1", "current": True, "problems": []}]
        self.holds = {"staff": NOW}
        os.makedirs(self.path("desk"))
        self.sql("CREATE TABLE event (gateway, payload, filed, stream, seq)",
                 "CREATE TABLE issued (cti, idx, scope, via, outcome)",
                 "CREATE TABLE document (digest, bytes, slot, iat, kid)", "CREATE TABLE key (kid, dropped)",
                 "CREATE TABLE receipt (lock, n, cti, bytes, filed)", "CREATE TABLE alarm (kind, subject, detail)",
                 "CREATE TABLE stream (id, gateway, whole, lost)",
                 f"INSERT INTO stream VALUES ('{STREAM}', 'gw-1', {len(story.payloads)}, 0)")
        self.sql(*(("INSERT INTO event VALUES ('gw-1', ?, ?, ?, ?)", (payload.decode(), NOW, STREAM, seq))
                   for seq, payload in enumerate(story.payloads, 1)))

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def sql(self, *statements):
        with sqlite3.connect(self.path("desk", "desk.db")) as db:
            db.executescript("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY")
            for one in statements:
                db.execute(*((one,) if isinstance(one, str) else one))
        db.close()

    def moved(self, *ctis):
        os.makedirs(self.path("locks", "lock-1"), exist_ok=True)
        with open(self.path("locks", "lock-1", "movements"), "w", encoding="ascii") as f:
            f.writelines(f"{cti} unlock\n" for cti in ctis)

    def lock_report(self, lock):
        return {"applied": self.holds}

    def ctl(self, gw, option, what):
        return Said({"state": self.told, "broker": self.broker} if what == "status" else self.locks_said)

    def state(self, gw):
        return self.city

    def last(self, topic):
        return self.presence

    def publish(self, topic, payload):
        self.published.append((topic, json.loads(payload)))


@pytest.fixture
def world(story, tmp_path):
    """Told by the registry alone: the story of above."""
    w = MadeUp(str(tmp_path), story)
    cti = story.ctis[0]
    w.moved(cti)
    w.sql(("INSERT INTO issued VALUES (?, 10, 'unlock', 'relay', 'done')", (bytes.fromhex(cti),)))
    for n, (document, result, about) in story.history.receipts["lock-1"].items():
        w.sql(("INSERT INTO receipt VALUES ('lock-1', ?, ?, ?, ?)",
               (n, bytes.fromhex(about) if about else None, document, NOW)))
    assert Observer(w).violations(0) == []
    return w


def says(world, *words):
    only(Observer(world).violations(0), *words)


def test_a_gateway_that_is_not_online(world):
    world.presence = b"offline"
    says(world, "quiet: gw-1", "not online")


def test_events_that_wait(world):
    world.told["outbox"] = 3
    says(world, "quiet: gw-1", "3 events wait")


def test_a_city_that_was_told_something_else(world):
    world.city = dict(world.told, documents=[{"name": "staff", "iat": NOW, "digest": "00" * 8}])
    says(world, "quiet: gw-1", "the city does not know")


def test_a_gap_is_asked_for(world):
    world.told["seq"] += 2
    world.city = dict(world.told)
    says(world, "chain: gw-1", "2 events are missing")
    assert world.published == [("lockbridge/gw/gw-1/replay", {"stream": STREAM, "from": 1})]


def test_a_gateway_that_lacks_the_newest_list(world):
    world.sql("INSERT INTO key VALUES ('k', NULL)", "INSERT INTO key VALUES ('dead', 1)",
              "INSERT INTO document VALUES (x'0011223344556677', x'00', 'list/staff', 5, 'k')",
              "INSERT INTO document VALUES (x'ff11223344556677', x'00', 'list/staff', 9, 'dead')")
    says(world, "quiet: gw-1", "lacks the newest list/staff (0011223344556677)")


def test_a_lock_that_is_not_current(world):
    world.locks_said[0]["current"] = False
    says(world, "quiet: gw-1", "lock-1 does not hold")


def test_a_gateway_that_does_not_answer(world):
    world.ctl = lambda *_: type("Silent", (), {"out": ""})
    world.sql("UPDATE stream SET whole = whole - 1", "DELETE FROM receipt WHERE cti IS NOT NULL")
    says(world, "quiet: gw-1", "does not answer")
    observer = Observer(world)
    observer.without("gw-1")
    assert observer.violations(0) == []
    observer.again()
    assert len(observer.violations(0)) == 1


def test_the_others_are_waited_for(world, story):
    """A gateway that is away excuses nobody else."""
    world.gateways.append("gw-2")
    world.layout["gw-2"] = []
    world.sql("DELETE FROM receipt WHERE cti IS NOT NULL")
    observer = Observer(world)
    observer.without("gw-2")
    only(observer.violations(0), "receipt: lock-1 moved 1 times")


def test_a_desk_that_lacks_an_event_which_the_broker_brought(world, story):
    world.sql("UPDATE stream SET whole = whole - 1")
    says(world, "quiet: the desk's stream", f"whole up to {len(story.payloads) - 1}")


def test_a_desk_that_lost_events(world):
    world.sql("UPDATE stream SET lost = 4")
    says(world, "chain: the desk lost 4 events of gw-1")


def test_a_movement_of_which_the_desk_has_no_receipt(world, story):
    world.sql("DELETE FROM receipt WHERE cti IS NOT NULL")
    says(world, "receipt: lock-1 moved 1 times", "the desk has 0 receipts")


def test_a_desk_that_believes_something_else(world, story):
    world.sql("UPDATE issued SET outcome = 'refused'")
    says(world, "outcome: the desk believes", "refused", "lock-1 said done")
    world.sql("UPDATE issued SET outcome = 'done'", "INSERT INTO issued VALUES (x'00', 10, 'unlock', 'relay', 'done')")
    says(world, "outcome: the desk believes that 00 is done", "nothing moved")


def test_a_bolt_that_moved_twice_by_its_own_record(world, story):
    world.moved(story.ctis[0], story.ctis[0])
    found = Observer(world).violations(0)
    assert found[0].startswith("movement: lock-1 moved 2 times"), found


def test_an_alarm_is_a_violation_unless_it_was_expected(world):
    world.sql("INSERT INTO alarm VALUES ('event-fork', 'gw-1', 'two events with number 3')",
              "INSERT INTO alarm VALUES ('opened-when-revoked', 'lock-1', 'before the list came')")
    says(world, "alarm: event-fork, gw-1")
    observer = Observer(world)
    observer.expect("event-fork")
    assert observer.violations(0) == []


def test_a_store_that_was_set_back_gives_numbers_twice_and_the_desk_notices(world, story):
    again = story.encoded("gateway.started").replace(b'"seq": %d' % (len(story.payloads) + 1), b'"seq": 2')
    message = type("Message", (), {"topic": "lockbridge/gw/gw-1/event", "payload": again})
    observer = Observer(world)
    world.on_message(None, None, message)
    assert any("two events with number 2" in text for text in observer.broken())
    observer = Observer(world)
    observer.set_back(STREAM)
    world.on_message(None, None, message)
    only(observer.broken(), "alarm: numbers of stream", "the desk raised none")
    world.sql(f"INSERT INTO alarm VALUES ('event-fork', 'gw-1', 'two events with number 2 in stream {STREAM}')")
    assert observer.violations(0) == []
    world.sql("INSERT INTO alarm VALUES ('event-fork', 'gw-1', 'two events with number 2 in stream 00')")
    only(observer.broken(), "alarm: event-fork, gw-1")


def test_a_gateway_under_another_root_forgets_and_never_gets_older(story):
    story.event("gateway.started").state({"keys": story.applied["keys"]})
    only(story.broken(), "rollback: gw-1: staff", "is gone")
    story.history.rerooted.add("gw-1")
    assert story.broken() == []
    story.event("gateway.started").state({"keys": [NOW - 5, bytes(8)]})
    only(story.broken(), "rollback: gw-1: keys", "became")


def test_a_lock_is_judged_also_when_its_gateways_store_was_set_back(story):
    story.history.set_back.add(STREAM)
    story.moves(story.ctis[0])
    only(story.broken(), "movement: lock-1 moved 2 times")


def test_a_receipt_on_a_number_given_twice_is_filed(story):
    story.history.set_back.add(STREAM)
    cti = story.authorization()
    twice = json.loads(story.encoded("lock.receipt", lock="lock-1", receipt=base64url(story.receipt(cti))))
    story.history.hear("lockbridge/gw/gw-1/event", json.dumps({**twice, "seq": 2}).encode())
    assert [result["outcome"] for result in story.history.words("lock-1")[cti]] == ["done"]
    assert STREAM in story.history.forked


def test_what_a_lost_store_knew_is_not_asked_for(world, story):
    cti = story.authorization()
    world.sql(("INSERT INTO issued VALUES (?, 10, 'unlock', 'relay', 'done')", (bytes.fromhex(cti),)),
              ("INSERT INTO receipt VALUES ('lock-1', 9, ?, ?, ?)", (bytes.fromhex(cti), story.receipt(cti), NOW)))
    world.moved(story.ctis[0], cti)
    says(world, "movement: lock-1", "no gateway accepted")
    observer = Observer(world)
    observer.store_lost("gw-1")
    assert observer.violations(0) == []


def test_a_lock_asked_twice(world):
    observer = Observer(world)
    observer.look()
    world.holds = {"staff": NOW - 100}
    only(observer.broken(), "rollback: lock-1 held staff")


def test_what_the_recorder_hears_counts_also_when_its_memory_is_cleared(world, story):
    observer = Observer(world)
    event = json.dumps({"stream": "00" * 16, "seq": 1, "prev": "0" * 64, "type": "gateway.started"}).encode()
    world.on_message(None, None, type("Message", (), {"topic": "lockbridge/gw/gw-1/event", "payload": event}))
    world.messages.clear()
    only(observer.broken(), "rollback: gw-1 lost its store")
