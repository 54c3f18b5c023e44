# SPDX-License-Identifier: Apache-2.0
"""Attacks by name, over the real broker, bus and agent; docs/security.md says which row each belongs to."""

import base64
import json
import os
import random
import shutil
import sqlite3
import sys
import time

import pytest

import wire
from box import Box
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from harness import HERE, World, program, wait_for
from thief import INBOX, Thief

sys.path.insert(0, os.path.join(HERE, "..", "torture"))
from proxy import Proxy  # noqa: E402


def now():
    return int(time.time())


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def movements(box, lock="lock-1"):
    return box.lock_report(lock)["movements"]


def refused(box, lock, act):
    """act() is refused by the lock's own signature, and no bolt moves."""
    before = box.lock_report(lock)
    act()
    wait_for("the lock has refused", lambda: box.lock_report(lock)["refusals"] > before["refusals"])
    assert box.lock_report(lock)["movements"] == before["movements"]


# --- mix-and-match --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two():
    """Two gateways and their locks; one city."""
    with Box({"gw-1": ["lock-1", "lock-2"], "gw-2": ["lock-3"]}) as b:
        b.start()
        b.thief = Thief(b)
        yield b


@pytest.mark.parametrize("lock,gw", [("lock-1", "gw-2"), ("lock-3", "gw-1")])
def test_an_authorization_given_to_another_gateway_opens_nothing(two, lock, gw):
    before = {k: movements(two, k) for k in two.locks}
    event = two.authorize(two.city.relayed(lock, two.challenge(lock), 10, now()), lock, gw=gw)[-1]
    assert event["reason"] == "wrong-lock"
    assert {k: movements(two, k) for k in two.locks} == before


def test_an_authorization_taken_to_another_lock_opens_nothing(two):
    """Both locks' challenges are known to the thief, and the document is good: for the one that it names."""
    document = two.city.relayed("lock-2", two.challenge("lock-1"), 10, now())
    with two.thief.at("lock-1") as visit:
        refused(two, "lock-1", lambda: visit.say(document))


def test_what_another_citys_root_signed_is_obeyed_by_nobody(two):
    other, before = wire.City(), two.held()
    other.uri = two.city.uri
    since = time.monotonic()
    forged = [other.keys(now()), other.policy(now(), require_pin=False), other.list(now(), {})]
    for document in forged:
        two.say(document, "gw/gw-1/document", retain=False)
    wait_for("three refusals", lambda: len([e for e in two.recorder.events("gw-1", "document.refused", since)
                                            if e["reason"] == "unknown-key"]) == 3)
    assert two.held() == before
    applied = two.lock_report("lock-1")["applied"]
    with two.thief.at("lock-1") as visit:
        for document in forged:
            visit.say(document)
    assert two.lock_report("lock-1")["applied"] == applied
    assert two.refused(1) == "revoked"
    assert two.refused(key=other.authorize) == "unknown-key"


def test_a_list_does_not_stand_in_for_another(two):
    """A clean list of the same city, under another name, and under the same name elsewhere."""
    clean = two.city.list(now(), {}, uri="https://city.example/lists/visitors")
    two.hold(clean)
    assert two.refused(1) == "revoked"
    since = time.monotonic()
    two.say(two.city.list(now(), {}, uri="https://elsewhere.example/lists/staff"), "city/list/staff", retain=False)
    wait_for("it is refused", lambda: [e["reason"] for e in two.recorder.events("gw-1", "document.refused", since)]
             == ["conflict"])
    assert two.refused(1) == "revoked"


# --- recorded, withheld, played back ----------------------------------------------------------------------


@pytest.fixture
def box():
    with Box() as b:
        b.start()
        b.thief = Thief(b)
        yield b


def test_what_was_recorded_of_a_relayed_opening_opens_nothing_again(box):
    """The very frames, at once and over a link of the thief's own."""
    assert box.unlock()["outcome"] == "done"
    recorded = box.thief.heard(INBOX)
    assert recorded
    before = movements(box)
    with box.thief.at("lock-1") as visit:
        for frame in recorded:
            visit.write(frame)
    assert movements(box) == before
    assert box.unlock()["outcome"] == "done"


def test_what_was_recorded_at_the_door_opens_nothing_again(box):
    phone = wire.Key()
    assert box.door(phone, box.city.at_door("lock-1", phone, 10, now()))["outcome"] == "done"
    recorded = box.thief.heard(INBOX)
    with box.thief.at("lock-1") as visit:
        refused(box, "lock-1", lambda: [visit.write(frame) for frame in recorded[-4:]])


def presentation(phone, document, nonce):
    return phone.sign("lockbridge-presentation+cwt",
                      {wire.AUD: "lock-1", wire.CNONCE: nonce, wire.CTI: wire.claims(document)[wire.CTI]})


def test_a_live_relay_opens(box):
    """Not defended, and the proof that this thief could open if he was let."""
    before, phone = movements(box), wire.Key()
    with box.thief.at("lock-1") as visit:
        visit.say(box.city.relayed("lock-1", box.challenge(), 10, now()))
        wait_for("the bolt moves", lambda: movements(box) == before + 1)
    document = box.city.at_door("lock-1", phone, 10, now())
    with box.thief.at("lock-1") as visit:
        relayed = presentation(phone, document, visit.read_info()["nonce"])
        visit.say(document)
        visit.say(relayed)
        wait_for("the bolt moves", lambda: movements(box) == before + 2)


@pytest.mark.parametrize("then", ["nothing", "retried", "revoked", "changed", "restarted"])
def test_a_presentation_that_was_jammed_and_kept_is_worth_nothing_after(box, then):
    """It never reached the lock, and the thief has it, whole and good; nothing need happen for it to be worthless."""
    phone = wire.Key()
    document = box.city.at_door("lock-1", phone, 10, now())
    with box.thief.at("lock-1") as visit:
        info = visit.read_info()
    kept = [presentation(phone, document, info[what]) for what in ("nonce", "challenge")]
    if then == "retried":
        assert box.door(phone, document)["outcome"] == "done"
    elif then == "revoked":
        box.hold(box.city.list(box.born + 1, {1: 1, 10: 1}))
        wait_for("the lock has it", lambda: box.lock_report("lock-1")["applied"]["staff"] == box.born + 1, 30)
    elif then == "changed":
        box.hold(box.city.policy(box.born + 1, cut_off={"lock-1": now() + 1}))
        wait_for("the lock has it", lambda: box.lock_report("lock-1")["applied"]["policy"] == box.born + 1, 30)
    elif then == "restarted":
        box.lock_sim.stop()
        box.respawn(box.lock_sim, "ready")
    for old in kept:
        with box.thief.at("lock-1") as visit:
            def play():
                visit.say(document)
                if then not in ("revoked", "changed"):
                    visit.say(old)
            refused(box, "lock-1", play)
    if then == "nothing":
        assert box.door(phone, document)["outcome"] == "done"


def test_an_authorization_that_was_withheld_opens_nothing_once_another_did(box):
    withheld = box.city.relayed("lock-1", box.challenge(), 10, now())
    assert box.unlock()["outcome"] == "done"
    before = movements(box)
    assert box.authorize(withheld)[-1]["reason"] == "stale-challenge"
    with box.thief.at("lock-1") as visit:
        refused(box, "lock-1", lambda: visit.say(withheld))
    assert movements(box) == before


def test_an_authorization_that_was_withheld_past_its_end_opens_nothing(box):
    """Also at the lock itself, which reckons the time from what the root signed."""
    withheld = box.city.relayed("lock-1", box.challenge(), 10, now() - 60)
    assert box.authorize(withheld)[-1]["reason"] == "expired"
    with box.thief.at("lock-1") as visit:
        refused(box, "lock-1", lambda: visit.say(withheld))


def test_a_gateway_whose_store_was_set_back_moves_nothing_twice(box):
    """An older store restored whole: it forgot what it did, and the lock's challenge did not."""
    box.process("gw-1").stop()
    shutil.copytree(box.path("gw-1"), box.path("older"))
    box.respawn(box.process("gw-1"))
    wait_for("it is back", lambda: box.recorder.last("lockbridge/gw/gw-1/presence") == b"online")
    document = box.city.relayed("lock-1", box.challenge(), 10, now())
    assert box.authorize(document)[-1]["outcome"] == "done"
    before = movements(box)
    box.process("gw-1").stop()
    shutil.rmtree(box.path("gw-1"))
    shutil.move(box.path("older"), box.path("gw-1"))
    said = len(box.process("gw-1").output())
    box.respawn(box.process("gw-1"))
    wait_for("it is back", lambda: box.process("gw-1").output()[said:].count("connected") > 0, 30)
    with box.thief.at("lock-1") as visit:
        refused(box, "lock-1", lambda: visit.say(document))
    assert box.authorize(document)[-1].get("outcome") != "done"
    assert movements(box) == before


def test_an_older_list_played_to_the_lock_takes_nothing_back(box):
    older = box.city.list(box.born - 100, {})
    box.hold(box.city.list(box.born + 1, {1: 1, 30: 1}))
    wait_for("the lock has it", lambda: box.lock_report("lock-1")["applied"]["staff"] == box.born + 1, 30)
    with box.thief.at("lock-1") as visit:
        visit.say(older)
    assert box.lock_report("lock-1")["applied"]["staff"] == box.born + 1
    phone = wire.Key()
    assert box.door(phone, box.city.at_door("lock-1", phone, 30, now()))["reason"] == "revoked"


# --- stolen -------------------------------------------------------------------------------------------------


def stolen_secrets(folder):
    """Whatever on a disk could be an Ed25519 key: each value and file of 32 bytes, each window of the small ones."""
    found = set()
    with sqlite3.connect(f"file:{folder}/store.db?mode=ro", uri=True) as db:
        for (content,) in db.execute("SELECT content FROM value"):
            found |= {bytes(content)[i:i + 32] for i in range(0, max(len(content) - 31, 0))}
    return found


def test_a_thief_with_the_boxs_whole_disk_opens_nothing(box):
    """Its keys, its documents, its authorization to read: what they are good for is reading the log."""
    told = wait_for("the reader's key", lambda: (box.recorder.state("gw-1") or {}).get("reader"))
    box.say(box.city.reader("lock-1", base64.b64decode(told), now()), "gw/gw-1/document", retain=False)
    wait_for("it may read", lambda: box.recorder.state("gw-1")["readers"] == ["lock-1"])
    box.process("gw-1").stop()
    with sqlite3.connect(f"file:{box.path('gw-1')}/store.db?mode=ro", uri=True) as db:
        documents = {slot: bytes(content) for slot, content in db.execute("SELECT slot, content FROM document")}
    assert "reader/lock-1" in documents and len(documents) == 4, documents.keys()
    keys = [wire.Key(Ed25519PrivateKey.from_private_bytes(seed)) for seed in stolen_secrets(box.path("gw-1"))]
    assert told.encode() in [base64.b64encode(k.public) for k in keys]  # the search finds keys
    issuers = {box.city.root.kid, box.city.policy_key.kid, box.city.revoke.kid, box.city.authorize.kid}
    assert not issuers & {k.kid for k in keys}
    before, challenge = movements(box), box.phone("info", "--adapter", box.adapter("phone"), "--address",
                                                  box.addresses["lock-1"]).ok().json["challenge"]
    own = next(k for k in keys if base64.b64encode(k.public) == told.encode())
    with box.thief.at("lock-1") as visit:
        visit.say(box.city.relayed("lock-1", bytes.fromhex(challenge), 10, now(), key=own))
        visit.say(box.city.at_door("lock-1", own, 10, now(), key=own))
        for document in documents.values():
            visit.say(document)
    assert movements(box) == before
    said = box.door(own, documents["reader/lock-1"])
    assert (said["outcome"], movements(box)) == ("done", before)  # it reads
    forged = box.city.relayed("lock-1", bytes.fromhex(challenge), 10, now(), scope="unlock", key=own)
    assert box.door(own, forged)["outcome"] != "done"
    assert movements(box) == before


def test_a_changed_lock_ends_a_stolen_gateways_reading(box):
    thiefs = wire.Key()
    old = box.city.reader("lock-1", thiefs.public, now() - 5)
    assert box.door(thiefs, old)["outcome"] == "done"
    box.hold(box.city.policy(box.born + 1, cut_off={"lock-1": now()}))
    wait_for("the lock has it", lambda: box.lock_report("lock-1")["applied"]["policy"] == box.born + 1, 30)
    assert box.door(thiefs, old)["reason"] == "cut-off"


# --- events: forged, changed, dropped ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def city():
    """A desk with serve running, two gateways that the tests speak for while they are stopped."""
    with World({"gw-1": ["lock-1"], "gw-2": ["lock-2"]}) as w:
        w.start()
        w.desk("staff", "add", "--person", "811218-9876", "--phone", "0701740605", "--pin").ok()
        yield w


def alarms(city):
    answer = city.desk("--json", "alarms")
    return [(a["kind"], a["subject"]) for a in answer.json]


def alarmed(city, kind, subject):
    wait_for(f"the desk alarms: {kind}", lambda: (kind, subject) in alarms(city), 20, 0.2)


def speak(city, gw, events):
    """As this gateway's stream goes on, if whoever has its place on the broker says so."""
    last = wait_for("an event", lambda: city.recorder.events(gw))[-1]
    said = []
    for kind, change in events:
        event = {"stream": last["stream"], "seq": last["seq"] + 1 + len(said), "prev": "00" * 32, "time": now(),
                 "synchronised": True, "type": kind, **change}
        said.append(json.dumps(event, separators=(",", ":")))
        city.recorder.publish(f"lockbridge/gw/{gw}/event", said[-1])
    return said


def test_a_forged_event_breaks_the_chain_and_the_true_one_shows_it(city):
    """Whoever has the gateway's place on the broker lacks the hash of what was said before, or says it twice."""
    assert not [a for a in alarms(city) if a[0].startswith("event")]
    city.process("gw-1").kill()
    city.recorder.barrier()
    speak(city, "gw-1", [("lock.reachable", {"lock": "lock-1"})])
    alarmed(city, "event-chain", "gw-1")
    city.respawn(city.process("gw-1"))
    alarmed(city, "event-fork", "gw-1")


def test_a_receipt_by_another_lock_proves_nothing_and_is_an_alarm(city):
    """A stolen lock's key signs for that lock and for no other; nor does a gateway's word make an opening."""
    with open(city.path("locks", "lock-2", "key.pem"), "rb") as f:
        stolen = wire.Key(load_pem_private_key(f.read(), None))
    document = stolen.sign("lockbridge-receipt+cwt", {
        wire.ISS: "lock-1", wire.IAT: now(), wire.CTI: os.urandom(16),
        wire.RESULT: {"outcome": "done", "via": "door", "bolt": "unlocked", "challenge": bytes(8), "boot": 1,
                      "applied": {}, "n": 9999}})
    proven = city.desk("--json", "lock", "list").ok().json
    city.process("gw-2").kill()
    city.recorder.barrier()
    speak(city, "gw-2", [("lock.receipt", {"lock": "lock-1", "receipt": base64url(document)})])
    alarmed(city, "receipt-refused", "gw-2")
    assert city.desk("--json", "lock", "list").ok().json == proven
    city.respawn(city.process("gw-2"))


def test_a_gateway_speaks_for_its_own_locks_only(city):
    """Towards the desk as well: what gw-2 says of gw-1's lock is not taken."""
    said = city.recorder.lock("gw-1", "lock-1")
    said.update(battery=1, problems=[{"code": "lock-unowned", "detail": "it obeys nobody"}])

    def registered(lock):
        with sqlite3.connect(city.path("desk", "desk.db"), timeout=20) as registry:
            return json.loads(registry.execute("SELECT state FROM lock WHERE id = ?", (lock,)).fetchone()[0])
    own = dict(city.recorder.lock("gw-2", "lock-2"), battery=2)

    def filed():
        """Said again each time: the real gateway's next word about its lock replaces ours."""
        city.recorder.publish("lockbridge/gw/gw-2/lock/lock-1", json.dumps(said))
        city.recorder.publish("lockbridge/gw/gw-2/lock/lock-2", json.dumps(own))
        return registered("lock-2")["battery"] == 2
    wait_for("what came after it is filed", filed, every=0.2)
    assert registered("lock-1")["battery"] != 1


def test_events_that_nobody_has_any_more_are_an_alarm(city):
    """A gateway or broker that drops them: the numbers tell."""
    state = city.recorder.state("gw-1")
    state.update(stream="ab" * 16, seq=40, oldest=30)

    def seen():
        city.recorder.publish("lockbridge/gw/gw-1/state", json.dumps(state))
        return ("events-lost", "gw-1") in alarms(city)
    wait_for("the desk alarms", seen, 30, 0.5)


def test_a_clerk_leaves_a_line_that_no_command_takes_back(city):
    """What a rogue clerk does with the desk stands in its log under the operator's name, and so does the undoing."""
    city.desk("--operator", "eve", "unlock", "--phone", "0701740605", "--lock", "lock-1").ok()
    city.desk("--operator", "eve", "revoke", "--phone", "0701740605", timeout=120)
    city.desk("--operator", "eve", "restore", "--phone", "0701740605", timeout=120)
    acts = [line["act"] for line in city.desk("--json", "log").ok().json if line.get("operator") == "eve"]
    assert {"unlock", "revoke", "restore"} <= set(acts), acts
    with sqlite3.connect(city.path("desk", "desk.db"), timeout=20) as registry:
        for words in ("UPDATE log SET operator = 'adam'", "DELETE FROM log"):
            with pytest.raises(sqlite3.DatabaseError, match="append-only"):
                registry.execute(words)


# --- freeze ---------------------------------------------------------------------------------------------------


class Frozen(World):
    """Its gateway reaches the broker through somebody who can keep back what he likes."""

    def start_broker(self, extra=""):
        super().start_broker(extra)
        self.between = Proxy(self.port, random.Random(1))

    def gateway_config(self, gw, **change):
        return super().gateway_config(gw, brokers=[f'{{ host = "127.0.0.1"; port = {self.between.port}; }}'], **change)


def test_a_broker_that_keeps_a_revocation_back_is_shown_until_the_lock_has_proved_it():
    with Frozen({"gw-1": ["lock-1"]}) as w:
        w.start()
        w.desk("staff", "add", "--person", "811218-9876", "--phone", "0701740605", "--pin").ok()
        w.desk("unlock", "--phone", "0701740605", "--lock", "lock-1").ok()
        w.between.lie("swallow", 1.0, lambda client: client == "gw-1")
        told = w.desk("revoke", "--phone", "0701740605", "--wait", "5", timeout=120)
        assert told.status == 4 and "lock-1" in told.out + told.err, (told.status, told.out, told.err)
        exposed = w.desk("--json", "exposed")
        assert "lock-1" in exposed.out, exposed.out
        w.between.honest(cut=True)
        wait_for("the lock has proved it", lambda: "lock-1" not in w.desk("--json", "exposed").out, 60, 0.5)
        w.between.close()


# --- endless data ----------------------------------------------------------------------------------------------


def resident_kb(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


def grown_less(pid, before, kb):
    """Under a sanitizer what was freed stays resident: there the sanitizer itself is the test."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        if "libasan" in maps.read():
            return True
    return resident_kb(pid) - before < kb


def test_a_lock_that_never_stops_talking_costs_no_memory(box):
    pid = box.process("gw-1").popen.pid
    box.unlock()
    before = resident_kb(pid)
    box.lock_control("lock-1 fault much 3")
    for _ in range(3):
        assert box.unlock()["type"] != "authorization.accepted"
        box.recorder.barrier()
    box.lock_control("lock-1 fault none")
    assert grown_less(pid, before, 4096)
    box.lock_sim.stop()
    box.respawn(box.lock_sim, "ready")
    wait_for("a door opens", lambda: box.unlock().get("outcome") == "done", 60)


def test_a_flood_of_messages_costs_no_memory(box):
    """Rubbish on each topic that the gateway listens to, and pending documents of ever new kids."""
    pid, noise = box.process("gw-1").popen.pid, random.Random(7)
    box.unlock()
    before = resident_kb(pid)
    for i in range(300):
        stranger = wire.City()
        box.recorder.publish("lockbridge/gw/gw-1/document", stranger.keys(now()))
        box.recorder.publish(f"lockbridge/city/list/l{i}", b"\xd2" + noise.randbytes(20000))
        box.recorder.publish("lockbridge/gw/gw-1/authorize", b"\xd8" + noise.randbytes(900))
        box.recorder.publish("lockbridge/gw/gw-1/replay", b"[" * 2000)
    box.recorder.barrier()
    wait_for("a door opens", lambda: box.unlock().get("outcome") == "done", 60)
    assert grown_less(pid, before, 8192)


def test_files_without_end_are_refused_at_once(box):
    """A configuration, an enrolment file, a claim."""
    endless = box.path("endless")
    with open(endless, "wb") as f:
        f.truncate(1 << 33)
    for words in (["check-config", endless], ["enrol", endless], ["lock", "claim", endless]):
        begun = time.monotonic()
        said = box.run([program("lockbridgectl"), *words], 30)
        assert said.status not in (0, 3), (words, said.out, said.err)
        assert time.monotonic() - begun < 10


def test_a_question_without_end_is_refused(box):
    pid = box.process("gw-1").popen.pid
    before = resident_kb(pid)
    for text in ("A" * 120000, "_" * 120000, "=" * 100):
        done = box.run(["busctl", "--address=" + box.env["DBUS_SYSTEM_BUS_ADDRESS"], "--timeout=20", "call",
                        "org.lockbridge.Gateway1.gw-gw-1", "/org/lockbridge/gateway", "org.lockbridge.Gateway1",
                        "Document", "s", text])
        assert done.status != 0 or "malformed" in done.out, done.out
    assert grown_less(pid, before, 4096)
    assert box.unlock()["outcome"] == "done"


# --- the root's chain --------------------------------------------------------------------------------------------


def hand_over(box, steps):
    """The root changes hands so many times; each document stays on its own topic."""
    for step in range(steps):
        new = wire.Key()
        records = [new.record("root"), box.city.policy_key.record("policy"), box.city.revoke.record("revoke"),
                   box.city.authorize.record("authorize")]
        box.say(box.city.root.sign("lockbridge-keys+cwt", {wire.IAT: box.born + 1 + step, wire.KEYS: records}))
        box.city.root = new
    return box.say(box.city.keys(box.born + 1 + steps))


@pytest.mark.parametrize("slept", [1, 3, 15])
def test_a_box_and_a_lock_that_slept_are_walked_along_the_roots(box, slept):
    box.process("gw-1").stop()
    final = hand_over(box, slept)
    box.respawn(box.process("gw-1"))
    box.wait_held(final, timeout=30)
    wait_for("the lock obeys the last", lambda: box.lock_report("lock-1")["applied"]["keys"]
             == box.born + 1 + slept, 60)
    box.hold(box.city.list(box.born + 1, {1: 1, 50: 1}))
    assert box.refused(50) == "revoked"
    assert box.unlock()["outcome"] == "done"


def test_a_lock_that_slept_through_seventeen_roots_is_said_to_be_lost_and_revokes_still(box):
    """The chain holds sixteen: it obeys nobody that the gateway knows. Said, and nothing opens by accident."""
    phone = wire.Key()
    refused_before = box.door(phone, box.city.at_door("lock-1", phone, 1, now()))["reason"]
    box.lock_sim.stop()
    final = hand_over(box, 17)
    box.wait_held(final, timeout=30)
    box.respawn(box.lock_sim, "ready")
    wait_for("it is said", lambda: "lock-foreign-owner" in
             [p["code"] for p in box.recorder.lock("gw-1", "lock-1")["problems"]], 60)
    assert box.door(phone, box.city.at_door("lock-1", phone, 1, now()))["reason"] == refused_before == "revoked"


def test_a_box_that_slept_through_seventeen_roots_catches_up_or_says_what_waits(box):
    box.process("gw-1").stop()
    final = hand_over(box, 17)
    box.respawn(box.process("gw-1"))

    def known():
        state = box.recorder.state("gw-1") or {}
        return wire.digest(final).hex() in box.held() or "document-pending" in [p["code"] for p in state["problems"]]
    wait_for("it is there, or says so", known, 60)
    assert box.refused(1) == "revoked"
