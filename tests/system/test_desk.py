# SPDX-License-Identifier: Apache-2.0
"""The desk against a real broker and a gateway written in Python, which reads and checks what it signs."""

import base64
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import time

import cbor2
import paper
import pytest
import wire
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from harness import Recorder, World, free_port, program, wait_for

ANNA, BO = ("19121212-1212", "070-174 06 05"), ("811218-9876", "+46 70 174 06 50")
CANARIES = [b"191212121212", b"12121212", b"1212121212", b"46701740605", b"701740605", b"8112189876",
            b"46701740650", b"701740650"]


class City(World):
    """A broker, a desk, and gateways on paper: gw-1 with lock-1 and lock-2, gw-2 with lock-3."""

    def __init__(self):
        super().__init__({"gw-1": ["lock-1", "lock-2"], "gw-2": ["lock-3"]})
        self.paper, self.locks_ = {}, {}

    def start(self, serve=False):
        self.start_city()
        self.root = wire_public(self.desk("keys", "show", "--json").json, "root")
        for gw, names in self.layout.items():
            self.desk("gateway", "add", gw).ok()
            locks = [paper.Lock(name) for name in names]
            for lock in locks:
                self.locks_[lock.name] = lock
                self.desk("lock", "add", lock.name, "--key",
                          base64.b64encode(lock.key.public).decode(), "--gateway", gw).ok()
            self.paper[gw] = paper.Gateway(self.port, gw, locks, self.root, start=False)
        for person, phone in (ANNA, BO):
            self.desk("staff", "add", "--person", person, "--phone", phone).ok()
        for gw in self.paper.values():
            gw.start()
        if serve:
            self.start_serve()
        else:
            self.desk("publish").ok()
        return self

    def start_serve(self):
        self.serve = self.spawn("serve", [program("lockbridge-desk"), "--dir", self.path("desk"), "serve"],
                                "on the broker")
        return self.serve

    def stop_serve(self):
        assert self.serve.stop() == 0
        self.processes.remove(self.serve)

    def query(self, sql, *args):
        with sqlite3.connect(self.path("desk", "desk.db")) as db:
            return db.execute(sql, args).fetchall()

    def close(self):
        for gw in self.paper.values():
            if gw.client:
                gw.stop(clean=False)
        super().close()


def wire_public(keys, role):
    return base64.b64decode(next(k["key"] for k in keys if k["role"] == role and not k["dropped"]))


@pytest.fixture
def city():
    with City() as c:
        yield c.start()


@pytest.fixture
def served():
    with City() as c:
        yield c.start(serve=True)


def unlock(city, who=ANNA, lock="lock-1", *words, act="unlock"):
    done = city.desk(act, "--json", "--phone", who[1], "--lock", lock, *words)
    said = done.json
    said["status"] = done.status
    return said


# --- what it signs ---------------------------------------------------------------------------------


def test_every_document_is_deterministic_signed_and_what_the_contract_says(city):
    keys = {k["kid"]: k for k in city.desk("keys", "show", "--json").json}
    seen = set()
    for _, topic, document, _ in city.recorder.all("lockbridge/city/"):
        header, unprotected, payload, _ = wire.message(document)
        fields = cbor2.loads(header)
        assert unprotected == {} and set(fields) == {1, 4, 16} and fields[1] == -19
        assert payload == cbor2.dumps(cbor2.loads(payload), canonical=True), topic
        assert header == cbor2.dumps(fields, canonical=True)
        assert document[:2] == (b"\xd8\x3d" if "list" not in topic else b"\xd2\x84"), topic
        role = keys[fields[4].hex()]["role"]
        claims = wire.verify(document, base64.b64decode(keys[fields[4].hex()]["key"]))
        seen.add((topic.split("/")[2], role, fields[16]))
        if topic.endswith("policy"):
            assert claims[wire.POLICY] == wire.DEFAULT_POLICY
        if "/list/" in topic:
            assert topic.endswith("/" + claims[wire.SUB].rpartition("/")[2])
            assert claims[wire.CHANGED] <= claims[wire.IAT] < claims[wire.EXP]
            assert claims[wire.STATUS_LIST]["bits"] == 2
            assert len(wire.zlib.decompress(claims[wire.STATUS_LIST]["lst"])) == 8192
    assert seen == {("keys", "root", "application/lockbridge-keys+cwt"),
                    ("policy", "policy", "application/lockbridge-policy+cwt"),
                    ("list", "revoke", "application/statuslist+cwt")}


def test_a_relayed_authorization_as_another_program_reads_it(city):
    said = unlock(city)
    assert (said["outcome"], said["status"], said["verified"], said["bolt"]) == ("done", 0, True, "unlocked")
    sent, = city.paper["gw-1"].authorizations
    claims = wire.claims(sent["document"])
    assert claims[wire.AUD] == "lock-1" and claims[wire.SCOPE] == "unlock"
    assert claims[wire.EXP] - claims[wire.IAT] == 60 and len(claims[wire.CTI]) == 16
    assert claims[wire.CTI].hex() == said["cti"]
    assert claims[wire.POSTURE]["pin"] is True and wire.CNF not in claims
    assert claims[wire.SUB].startswith("u-")
    assert not sent["retain"] and 50 <= sent["expiry"] <= 60 and 0 < len(sent["correlation"]) <= 64
    assert city.recorder.last("lockbridge/gw/gw-1/authorize") == sent["document"]


def test_an_authorization_for_the_door_as_another_program_reads_it(city):
    phone, out = wire.Key(), city.path("wallet")
    with open(city.path("phone.pub"), "w") as f:
        f.write(phone.public_pem())
    assert city.desk("issue", "--phone", ANNA[1], "--locks", "lock-1", "--for", "8h").status == 1
    city.desk("staff", "key", "--phone", ANNA[1], "--key", city.path("phone.pub")).ok()
    city.desk("issue", "--phone", ANNA[1], "--locks", "lock-1,lock-3", "--for", "8h", "--out", out).ok()
    ctis = set()
    for lock in ("lock-1", "lock-3"):
        assert os.stat(f"{out}/{lock}.cose").st_mode & 0o777 == 0o600
        with open(f"{out}/{lock}.cose", "rb") as f:
            document = f.read()
        claims = city.paper["gw-1"].verified(document, "authorize")
        assert claims[wire.CNF][1][-2] == phone.public and claims[wire.AUD] == lock
        assert wire.SUB not in claims and wire.POSTURE not in claims and wire.CNONCE not in claims
        assert claims[wire.EXP] - claims[wire.IAT] == 8 * 3600
        ctis.add(claims[wire.CTI])
    assert len(ctis) == 2
    # the city checks at issue: the air is open, and no gateway looks at posture there
    assert city.desk("issue", "--phone", ANNA[1], "--locks", "lock-1", "--for", "13h").status == 1
    city.desk("staff", "posture", "--phone", ANNA[1], "--no-pin").ok()
    refused = city.desk("issue", "--phone", ANNA[1], "--locks", "lock-1", "--for", "8h", "--json")
    assert refused.status == 1 and "posture-pin" in refused.json["error"]
    assert city.desk("issue", "--phone", ANNA[1], "--locks", "lock-1,lock-9", "--for", "1h").status == 1


def test_claim_and_release_name_the_lock_and_are_signed_by_root(city):
    for act, typ in (("claim", "lockbridge-claim+cwt"), ("release", "lockbridge-release+cwt")):
        text = city.desk("lock", act, "lock-1").ok().out.strip()
        document = base64.urlsafe_b64decode(text + "==")
        claims = wire.verify(document, city.root)
        assert claims[wire.AUD] == "lock-1" and paper.typ_of(document) == typ
        if act == "claim":
            assert claims[wire.ROOT_KEY][-2] == city.root
        shown = city.run([program("lockbridge-desk"), "document", "show", "-"], stdin=text.encode()).ok()
        assert json.loads(shown.out)["claims"]["aud"] == "lock-1"


# --- relayed ---------------------------------------------------------------------------------------


def test_lock_and_unlatch_ask_for_their_scope(city):
    assert unlock(city, act="lock")["bolt"] == "locked"
    assert unlock(city, act="unlatch")["outcome"] == "done"
    assert [wire.claims(a["document"])[wire.SCOPE] for a in city.paper["gw-1"].authorizations] == [
        "lock", "unlatch"]


def test_a_stale_challenge_is_signed_again_once_with_a_new_cti(city):
    gw, lock = city.paper["gw-1"], city.locks_["lock-1"]
    shown, lock.challenge = lock.challenge, os.urandom(8)  # moved on; the retained message is old
    said = unlock(city)
    assert (said["outcome"], said["attempts"]) == ("done", 2)
    first, second = (wire.claims(a["document"]) for a in gw.authorizations)
    assert first[wire.CNONCE] == shown and second[wire.CNONCE] != shown
    assert first[wire.CTI] != second[wire.CTI]
    gw.answer = lambda lock, claims, correlation: gw.refused(
        claims, correlation, "stale-challenge", challenge=os.urandom(8).hex())
    said = unlock(city)
    assert (said["outcome"], said["reason"], said["attempts"], said["status"]) == (
        "refused", "stale-challenge", 2, 1)
    assert len(gw.authorizations) == 4


def test_a_second_try_that_meets_silence_has_no_reason_of_the_first(city):
    gw, lock = city.paper["gw-1"], city.locks_["lock-1"]
    lock.challenge = os.urandom(8)
    gw.answer = lambda lock, claims, correlation: gw.event("authorization.accepted", correlation, **gw.about(claims))
    said = unlock(city, ANNA, "lock-1", "--wait", "1s")
    assert (said["outcome"], said["reason"], said["attempts"]) == ("unknown", "", 2)


def test_a_broker_that_lost_the_challenge_costs_one_more_round(city):
    city.recorder.publish("lockbridge/gw/gw-1/lock/lock-1", b"", retain=True)
    city.recorder.barrier()
    said = unlock(city)
    assert (said["outcome"], said["attempts"]) == ("done", 2)


def test_each_refusal_and_failure_has_its_status(city):
    gw = city.paper["gw-1"]
    for reason in ("revoked", "posture-pin", "busy", "wrong-lock", "no-list"):
        gw.answer = lambda lock, claims, correlation: gw.refused(claims, correlation, reason)
        said = unlock(city)
        assert (said["outcome"], said["reason"], said["status"]) == ("refused", reason, 1)

    def ends(outcome, reason=None, receipt=False):
        def answer(lock, claims, correlation):
            gw.event("authorization.accepted", correlation, **gw.about(claims))
            more = {"reason": reason} if reason else {}
            gw.outcome(claims, correlation, outcome,
                       lock.receipt(outcome, claims[wire.CTI], via="relay", **more) if receipt else None, **more)
        return answer
    for outcome, reason, receipt, status in (
            ("failed", "unreachable", False, 1), ("failed", "jammed", True, 1), ("unknown", None, False, 3),
            ("unknown", "timeout", True, 3)):
        gw.answer = ends(outcome, reason, receipt)
        said = unlock(city)
        assert (said["outcome"], said["status"], said["verified"]) == (outcome, status, receipt)
        assert said["reason"] == (reason or "")


def test_a_repeated_authorization_is_no_refusal(city):
    """Who repeats it on the way makes nobody at the desk believe that the door stays shut."""
    gw = city.paper["gw-1"]

    def repeated(reason, **more):
        def answer(lock, claims, correlation):
            gw.event("authorization.accepted", correlation, **gw.about(claims))
            gw.refused(claims, correlation, reason, **more)
            gw.outcome(claims, correlation, "done", lock.receipt("done", claims[wire.CTI], via="relay"))
        return answer
    for reason, more in (("replayed", {"first": "pending"}), ("replayed", {"first": "done"}), ("retained", {}),
                         ("stale-challenge", {"challenge": "00" * 8})):
        gw.answer = repeated(reason, **more)
        said = unlock(city)
        assert (said["outcome"], said["reason"], said["status"], said["attempts"]) == ("done", "", 0, 1), reason
    gw.answer = lambda lock, claims, correlation: gw.refused(claims, correlation, "replayed", first="refused")
    assert unlock(city)["outcome"] == "refused"


def test_done_without_a_receipt_that_the_lock_signed_is_unknown(city):
    gw, lock = city.paper["gw-1"], city.locks_["lock-1"]
    gw.answer = lambda lock, claims, correlation: gw.done(lock, claims, correlation, with_receipt=False)
    said = unlock(city)
    assert (said["outcome"], said["status"], said["verified"]) == ("unknown", 3, False)
    gw.answer = lambda lock, claims, correlation: gw.done(lock, claims, correlation, key=wire.Key())
    said = unlock(city)
    assert (said["outcome"], said["status"], said["verified"]) == ("unknown", 3, False)
    assert "receipt-refused" in [a["kind"] for a in city.desk("alarms", "--json").json]

    def of_another(lock, claims, correlation):
        other = lock.receipt("done", os.urandom(16), via="relay")
        gw.event("authorization.accepted", correlation, **gw.about(claims))
        gw.outcome(claims, correlation, "done", other)
    gw.answer = of_another
    assert unlock(city)["status"] == 3


def test_no_answer_after_ten_seconds(city):
    gw = city.paper["gw-1"]
    gw.answer = lambda *_: None
    begun = time.monotonic()
    said = unlock(city)
    assert (said["outcome"], said["status"]) == ("no-answer", 4)
    assert time.monotonic() - begun > 9.5
    assert len(gw.authorizations) == 1  # never doubled


def test_accepted_and_then_silence_is_unknown_until_a_receipt_says_more(city):
    gw, kept = city.paper["gw-1"], {}

    def accept_only(lock, claims, correlation):
        kept["claims"] = claims
        gw.event("authorization.accepted", correlation, **gw.about(claims))
    gw.answer = accept_only
    said = unlock(city, ANNA, "lock-1", "--wait", "1s")
    assert (said["outcome"], said["status"]) == ("unknown", 3)
    line, = [r for r in city.desk("log", "--json").json if r["act"] == "unlock"]
    assert line["outcome"] == ""
    lock = city.locks_["lock-1"]
    city.start_serve()
    gw.event("lock.receipt", lock="lock-1",
             receipt=paper.base64url(lock.receipt("done", kept["claims"][wire.CTI], via="relay")))

    def learned():
        line, = [r for r in city.desk("log", "--json").json if r["act"] == "unlock"]
        return line["outcome"] == "done" and line["verified"]
    wait_for("the log shows what the receipt said", learned)


def test_a_gateway_that_is_offline_is_sent_nothing(city):
    gw = city.paper["gw-1"]
    gw.stop()
    said = unlock(city)
    assert (said["outcome"], said["status"]) == ("no-answer", 4) and "offline" in said["words"]
    assert not city.recorder.all("lockbridge/gw/gw-1/authorize")


def test_the_second_gateway_of_a_lock_is_taken_when_the_first_is_away(city):
    lock = paper.Lock("lock-4")
    city.desk("lock", "add", "lock-4", "--key", base64.b64encode(lock.key.public).decode(), "--gateway",
              "gw-1,gw-2").ok()
    for gw in city.paper.values():
        gw.locks["lock-4"] = lock
        gw.tell()
        gw.flush()
    assert unlock(city, ANNA, "lock-4")["gateway"] == "gw-1"
    city.paper["gw-1"].stop()
    said = unlock(city, ANNA, "lock-4")
    assert (said["outcome"], said["gateway"]) == ("done", "gw-2")


def test_no_broker_is_no_answer(city):
    city.broker.kill()
    said = unlock(city)
    assert (said["outcome"], said["status"]) == ("no-answer", 4)


def test_the_desk_refuses_early_what_it_revoked_itself(city):
    city.desk("revoke", "--phone", BO[1]).ok()
    said = unlock(city, BO)
    assert (said["outcome"], said["reason"], said["status"]) == ("refused", "revoked", 1)
    assert not city.paper["gw-1"].authorizations
    # locking is the safe side; --anyway is for trying the gateways
    assert unlock(city, BO, act="lock")["outcome"] == "done"
    assert unlock(city, BO, "lock-1", "--anyway")["outcome"] == "done"


# --- revocation ------------------------------------------------------------------------------------


def statuses(city, gw="gw-1"):
    document, claims = city.paper[gw].held["phones"]
    raw = wire.zlib.decompress(claims[wire.STATUS_LIST]["lst"])
    return {i: raw[i // 4] >> 2 * (i % 4) & 3 for i in range(4 * len(raw)) if raw[i // 4] >> 2 * (i % 4) & 3}


def index_of(city, who):
    number = "+46" + "".join(c for c in who[1] if c.isdigit())[-9:]
    return next(p["index"] for p in city.desk("staff", "list", "--json").json if p["number"] == number)


def test_revoke_suspend_restore_reach_every_gateway_and_lock(city):
    idx = index_of(city, BO)
    for act, wanted in (("suspend", {idx: 2}), ("restore", {}), ("revoke", {idx: 1})):
        done = city.desk(act, "--json", "--phone", "0046 70 174 06 50").ok()
        said = done.json
        assert said["complete"] and said["gateways"]["confirmed"] == 2 and said["locks"]["confirmed"] == 3
        assert statuses(city) == wanted and statuses(city, "gw-2") == wanted
        assert "gateways 2/2, locks 3/3" in done.err
    iats = [wire.claims(m[2])[wire.IAT] for m in city.recorder.all("lockbridge/city/list/phones")]
    assert iats == sorted(set(iats)) or len(set(iats)) >= 4


def test_the_progress_bar_is_for_people_at_a_terminal(city):
    master, slave = pty.openpty()
    done = subprocess.run([program("lockbridge-desk"), "--dir", city.path("desk"), "revoke", "--phone", BO[1]],
                          env=city.env, stdout=subprocess.PIPE, stderr=slave, timeout=60, check=True)
    os.close(slave)
    shown = os.read(master, 100000).decode()
    os.close(master)
    frames = [f for f in re.split(r"[\r\n]+", shown) if f]
    assert all(re.fullmatch(r"\[#*\.*\] gateways \d/2  locks \d/3 ", f) and f.index("]") == 31 for f in frames)
    assert frames[-1].startswith("[" + 30 * "#" + "] gateways 2/2  locks 3/3")
    assert b"2/2 gateways hold it, 3/3 locks proved it" in done.stdout


def test_revoke_by_person_takes_all_their_phones(city):
    city.desk("staff", "add", "--person", BO[0], "--phone", "070-174 06 51").ok()
    said = city.desk("revoke", "--json", "--person", BO[0]).ok().json
    assert len(said["phones"]) == 2 and len(statuses(city)) == 2


def test_revoke_names_who_is_missing(city):
    city.paper["gw-2"].stop()
    done = city.desk("revoke", "--json", "--phone", BO[1], "--wait", "3")
    said = done.json
    assert done.status == 4 and not said["complete"] and said["published"]
    assert (said["gateways"]["missing"], said["locks"]["missing"]) == (["gw-2"], ["lock-3"])
    exposed = city.desk("exposed", "--json")
    assert exposed.status == 1 and [e["lock"] for e in exposed.json] == ["lock-3"]
    city.paper["gw-2"].start()
    done = city.desk("publish", "--json").ok().json
    assert done["complete"]
    assert city.desk("exposed").status == 0


def test_a_lock_counts_only_by_a_receipt_that_it_signed(city):
    gw = city.paper["gw-1"]
    gw.mute_locks = True
    done = city.desk("revoke", "--json", "--phone", BO[1], "--wait", "2")
    assert done.status == 4 and done.json["locks"]["missing"] == ["lock-1", "lock-2"]
    document, claims = gw.held["phones"]
    lock = city.locks_["lock-1"]
    held = dict(lock.applied)
    lock.applied["phones"] = (claims[wire.IAT], wire.digest(document))
    # the gateway's own word in the retained message, and a receipt by another key, are no proof
    gw.tell_lock(lock)
    gw.event("lock.receipt", lock="lock-1", receipt=paper.base64url(
        lock.receipt("applied", wire.digest(document), n=lock.n + 1, key=wire.Key())))
    done = city.desk("publish", "--json", "--wait", "2")
    assert done.json["locks"]["missing"] == ["lock-1", "lock-2"]
    # a receipt with an iat that was never signed with this digest
    lock.applied["phones"] = (claims[wire.IAT] + 5, wire.digest(document))
    gw.event("lock.receipt", lock="lock-1", receipt=paper.base64url(lock.receipt("applied")))
    assert city.desk("publish", "--json", "--wait", "2").json["locks"]["missing"] == ["lock-1", "lock-2"]
    lock.applied = held
    gw.give(lock, "phones")  # nobody listens, and the state is older: it is asked for
    assert city.desk("publish", "--json", "--wait", "8").json["locks"]["missing"] == ["lock-2"]


def test_a_revocation_without_a_broker_is_kept_and_sent_by_serve(city):
    city.broker.kill()
    done = city.desk("revoke", "--json", "--phone", BO[1], "--wait", "2")
    assert done.status == 4 and done.json["published"] is False
    assert [p["status"] for p in city.desk("staff", "list", "--json").json].count("revoked") == 1
    city.broker_up()
    city.start_serve()
    wait_for("the gateways hold it", lambda: index_of(city, BO) in statuses(city) and
             index_of(city, BO) in statuses(city, "gw-2"))


def test_change_lock_kills_what_was_issued_and_not_what_comes_after(city):
    said = city.desk("change-lock", "lock-2", "--json").ok().json
    assert said["complete"]
    cut = city.paper["gw-1"].held["policy"][1][wire.POLICY]["cut_off"]
    assert set(cut) == {"lock-2"} and abs(cut["lock-2"] - time.time()) < 5
    assert unlock(city, ANNA, "lock-2")["outcome"] == "done"
    assert wire.claims(city.paper["gw-1"].authorizations[-1]["document"])[wire.IAT] >= cut["lock-2"]
    assert city.desk("change-lock", "lock-9").status == 1
    city.desk("change-lock", "*").ok()
    assert set(city.paper["gw-2"].held["policy"][1][wire.POLICY]["cut_off"]) == {"lock-2", "*"}


def test_policy_set_reaches_the_fleet_as_it_was_meant(city):
    city.desk("policy", "set", "--require-pin", "no", "--app", "se.a", "--app", "se.b", "--max-relay", "30s",
              "--posture-max-age", "2h", "--max-lifetime", "10h", "--report-manual", "yes").ok()
    assert city.paper["gw-2"].held["policy"][1][wire.POLICY] == {
        "require_pin": False, "apps": ["se.a", "se.b"], "posture_max_age": 7200, "max_relay": 30,
        "max_lifetime": 36000, "cut_off": {}, "report_manual": True}
    unlock(city)
    claims = wire.claims(city.paper["gw-1"].authorizations[0]["document"])
    assert claims[wire.EXP] - claims[wire.IAT] == 30
    assert city.desk("policy", "set", "--max-relay", "0").status == 2
    assert city.desk("policy", "set").status == 2


@pytest.mark.parametrize("role", ["policy", "revoke", "authorize", "root"])
def test_a_rotated_key_is_obeyed_and_the_old_one_is_not(city, role):
    city.desk("revoke", "--phone", BO[1]).ok()
    gw, before = city.paper["gw-1"], dict(city.paper["gw-1"].keys)
    old = next(kid for kid, (_, roles) in before.items() if role in roles)
    said = city.desk("keys", "rotate", role, "--json").ok().json
    assert said["complete"]
    assert old not in gw.keys and len(gw.keys) == 4
    # what a dropped key had signed was signed anew at once
    wait_for("all of it is by living keys", lambda: all(
        paper.kid_of(gw.held[name][0]) in gw.keys for name in ("policy", "phones", "keys")), 5)
    assert statuses(city) == {index_of(city, BO): 1}
    assert unlock(city)["outcome"] == "done"
    assert not os.path.exists(city.path("desk", "keys", role + ".pem.new"))
    # a box that slept through it is walked along the chain
    gw.stop()
    slept = paper.Gateway(city.port, "gw-1", list(gw.locks.values()), city.root)
    city.paper["gw-1"] = slept
    wait_for("a fresh box holds all", lambda: set(slept.held) == {"keys", "policy", "phones"}, 10)
    assert slept.keys.keys() == gw.keys.keys()


# --- serve -----------------------------------------------------------------------------------------


def test_serve_publishes_anew_what_the_broker_lost(served):
    wait_for("published", lambda: len({m[1] for m in served.recorder.all("lockbridge/city/")}) == 3)
    served.broker.kill()
    shutil.rmtree(served.path("broker"))
    os.makedirs(served.path("broker"))
    os.chmod(served.path("broker"), 0o777)
    served.broker_up()

    def back():
        with Fresh(served.port) as r:
            return len(r.all("lockbridge/city/")) >= 3
    wait_for("a fresh subscriber is given all", back, 30)


class Fresh:
    """A subscriber who comes new, and is given what is retained."""

    def __init__(self, port):
        self.recorder = Recorder(port)

    def __enter__(self):
        self.recorder.barrier()
        return self.recorder

    def __exit__(self, *_):
        self.recorder.close()


def test_serve_replaces_an_older_list_that_came_back(served):
    wait_for("published", lambda: served.recorder.last("lockbridge/city/list/phones"))
    old = served.recorder.last("lockbridge/city/list/phones")
    served.desk("revoke", "--phone", BO[1]).ok()
    served.recorder.publish("lockbridge/city/list/phones", old, retain=True)

    def newest():
        last = served.recorder.last("lockbridge/city/list/phones")
        return last != old and wire.claims(last)[wire.IAT] > wire.claims(old)[wire.IAT]
    wait_for("the newest is back", newest, 10)


def test_serve_replaces_a_foreign_list_and_an_empty_one(served):
    wait_for("published", lambda: served.recorder.last("lockbridge/city/list/phones"))
    ours = served.recorder.last("lockbridge/city/list/phones")
    thief = wire.City()
    thief.uri = wire.claims(ours)[wire.SUB]
    for wrong in (b"", b"rubbish", thief.list(int(time.time()) + 10**6)):
        served.recorder.publish("lockbridge/city/list/phones", wrong, retain=True)
        wait_for("seen", lambda: served.recorder.last("lockbridge/city/list/phones") == wrong)
        wait_for("ours again", lambda: served.recorder.last("lockbridge/city/list/phones") == ours, 10)
    assert "document-foreign" in [a["kind"] for a in served.desk("alarms", "--json").json]


def test_serve_sends_to_a_gateway_that_is_behind(served):
    gw = served.paper["gw-1"]
    wait_for("it holds all", lambda: set(gw.held) == {"keys", "policy", "phones"})
    gw.deaf, heard = True, len(gw.said)
    served.desk("revoke", "--phone", BO[1], "--no-wait").ok()
    wait_for("the list passes it by", lambda: "lockbridge/city/list/phones" in [t for t, _ in gw.said[heard:]])
    assert statuses(served) == {}
    gw.deaf = False  # what city/ said is gone: only gw/gw-1/document can bring it
    gw.tell()
    wait_for("pushed", lambda: statuses(served) == {index_of(served, BO): 1}, 30)
    assert any(topic == "lockbridge/gw/gw-1/document" for topic, _ in gw.said)


def test_serve_asks_for_events_that_were_lost_and_files_each_once(served):
    gw, lock = served.paper["gw-1"], served.locks_["lock-1"]
    wait_for("it holds all", lambda: set(gw.held) == {"keys", "policy", "phones"})
    for i in range(5):
        gw.event("lock.receipt", lose=i != 4, lock="lock-1",
                 receipt=paper.base64url(lock.receipt("done", os.urandom(16), via="door")))
    gw.tell()
    wait_for("all events are filed", lambda: served.query(
        "SELECT count(*) FROM event WHERE stream = ?", gw.stream)[0][0] == len(gw.events), 30)
    assert any("from" in r for r in gw.replays)
    shown = next(row for row in served.desk("lock", "list", "--json").json if row["id"] == "lock-1")
    assert (shown["n"], shown["missing"]) == (lock.n, 0)
    # openings that this desk did not sign
    assert len([a for a in served.desk("alarms", "--json").json if a["kind"] == "opened-by-unknown"]) == 5


def test_serve_gives_each_gateway_a_reader_for_its_own_locks_only(served):
    gw1, gw2 = served.paper["gw-1"], served.paper["gw-2"]
    wait_for("readers", lambda: set(gw1.readers) == {"lock-1", "lock-2"} and set(gw2.readers) == {"lock-3"}, 15)
    claims = gw1.readers["lock-1"]
    assert claims[wire.CNF][1][-2] == gw1.reader.public and wire.STATUS not in claims
    # a gateway that claims another's lock is given nothing for it
    gw2.locks["lock-1"] = served.locks_["lock-1"]
    gw2.reader = wire.Key()
    gw2.readers.clear()
    gw2.tell()
    wait_for("its own again", lambda: "lock-3" in gw2.readers, 15)
    assert set(gw2.readers) == {"lock-3"}
    # a replaced box has a new key, and is given new ones
    gw1.reader = wire.Key()
    gw1.readers.clear()
    gw1.tell()
    wait_for("new readers", lambda: gw1.readers.get("lock-1", {}).get(wire.CNF, {1: {-2: b""}})[1][-2] ==
             gw1.reader.public, 15)
    # and so they are after the key that signed them was dropped
    old = set(gw1.keys)
    gw1.readers.clear()
    served.desk("keys", "rotate", "authorize").ok()
    assert set(gw1.keys) != old
    wait_for("readers by the new key", lambda: set(gw1.readers) == {"lock-1", "lock-2"}, 15)


def test_a_second_serve_refuses_to_start(served):
    done = served.desk("serve", timeout=10)
    assert done.status == 1 and "runs already" in done.err
    served.serve.kill()
    served.respawn(served.serve, "on the broker")


def test_a_command_leaves_filing_to_serve_and_counts_all_the_same(served):
    """Two that file the same wait for one another, at every message of a fleet."""
    def filed():
        return served.query("SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM receipt)")
    wait_for("all hold all", lambda: all(set(gw.held) == {"keys", "policy", "phones"} for gw in served.paper.values()))
    served.desk("publish").ok()
    served.stop_serve()
    with open(served.path("desk", "serve.lock"), "w") as lock:  # as if it served, and filed nothing yet
        fcntl.lockf(lock, fcntl.LOCK_EX)
        before = filed()
        done = served.desk("revoke", "--json", "--phone", BO[1], "--wait", "20").ok().json
        assert done["complete"] and done["locks"]["confirmed"] == done["locks"]["total"] == 3
        assert filed() == before
    # nobody serves: the command files what it hears
    served.desk("restore", "--phone", BO[1]).ok()
    assert filed() > before
    served.start_serve()
    wait_for("what was said to nobody is filed as well", lambda: served.query(
        "SELECT count(*) FROM stream WHERE whole < (SELECT max(seq) FROM event WHERE event.stream = stream.id)")
        == [(0,)])


def test_serve_hears_what_was_said_while_it_was_down(served):
    gw, lock = served.paper["gw-2"], served.locks_["lock-3"]
    wait_for("it holds all", lambda: set(gw.held) == {"keys", "policy", "phones"})
    served.stop_serve()
    gw.event("lock.receipt", lock="lock-3",
             receipt=paper.base64url(lock.receipt("done", os.urandom(16), via="door")))
    gw.flush()
    served.start_serve()
    wait_for("filed", lambda: served.query("SELECT count(*) FROM receipt WHERE lock = 'lock-3' AND via = 'door'")
             == [(1,)])


def test_a_suspension_is_no_proof_of_a_revocation(city):
    """Nobody takes the new list: that the old one refuses the phone as well does not count."""
    city.desk("suspend", "--phone", BO[1]).ok()
    for gw in city.paper.values():
        gw.deaf = True
    done = city.desk("revoke", "--json", "--phone", BO[1], "--wait", "2")
    assert done.status == 4 and done.json["gateways"]["confirmed"] == 0, done.out


def test_serve_survives_kill_and_works_beside_commands(served):
    wait_for("published", lambda: set(served.paper["gw-1"].held) == {"keys", "policy", "phones"})
    for i in range(4):
        said = len(served.recorder.all("lockbridge/city/list/phones"))
        runs = [subprocess.Popen([program("lockbridge-desk"), "--dir", served.path("desk"), act, "--phone",
                                  BO[1], "--wait", "20"], env=served.env, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL) for act in ("revoke", "suspend")]
        if i % 2:
            wait_for("one has published, or both are through", lambda: all(r.poll() is not None for r in runs)
                     or len(served.recorder.all("lockbridge/city/list/phones")) > said, 40)
        served.serve.kill(signal.SIGKILL)
        served.respawn(served.serve, "on the broker")
        assert all(r.wait(30) in (0, 4) for r in runs)
    served.desk("revoke", "--phone", BO[1]).ok()
    assert statuses(served) == {index_of(served, BO): 1}
    assert served.query("PRAGMA integrity_check") == [("ok",)]
    # one iat, one list: never two contents under one number
    assert served.query("SELECT count(*) - count(DISTINCT iat) FROM document WHERE slot = 'list/phones'") == [(0,)]


# --- restored from a backup --------------------------------------------------------------------------


def backup(city):
    shutil.copytree(city.path("desk"), city.path("backup"))


def restore(city):
    shutil.rmtree(city.path("desk"))
    shutil.copytree(city.path("backup"), city.path("desk"))


def bo_out_and_anna_suspended(city):
    wait_for("both are in the next list", lambda: statuses(city) == {
        index_of(city, BO): 1, index_of(city, ANNA): 2}, 20)


def test_a_restored_desk_takes_over_the_list_from_the_broker(city):
    backup(city)
    city.desk("revoke", "--phone", BO[1]).ok()
    newest = city.paper["gw-1"].held["phones"][1][wire.IAT]
    restore(city)
    assert "revoked" not in [p["status"] for p in city.desk("staff", "list", "--json").json]
    # its first act is about somebody else
    city.desk("suspend", "--phone", ANNA[1]).ok()
    assert statuses(city) == {index_of(city, BO): 1, index_of(city, ANNA): 2}
    assert city.paper["gw-1"].held["phones"][1][wire.IAT] > newest
    assert "document.taken-over" in [r["act"] for r in city.desk("log", "--json").json]


def test_a_restored_desk_asks_a_gateway_for_a_list_that_no_broker_has(city):
    backup(city)
    city.desk("revoke", "--phone", BO[1]).ok()
    restore(city)
    city.recorder.publish("lockbridge/city/list/phones", b"", retain=True)
    city.recorder.barrier()
    city.desk("suspend", "--phone", ANNA[1]).ok()
    assert statuses(city) == {index_of(city, BO): 1, index_of(city, ANNA): 2}
    assert {"document": "list/phones"} in city.paper["gw-1"].replays + city.paper["gw-2"].replays


def test_a_restored_desk_signs_nothing_while_the_list_is_out_of_reach(city):
    backup(city)
    city.desk("revoke", "--phone", BO[1]).ok()
    restore(city)
    city.recorder.publish("lockbridge/city/list/phones", b"", retain=True)
    for gw in city.paper.values():
        gw.stop()  # their states, retained, still name the digest
    city.recorder.barrier()
    count = len(city.recorder.all("lockbridge/city/list/phones"))
    done = city.desk("suspend", "--json", "--phone", ANNA[1], "--wait", "3")
    assert done.status == 4 and not done.json["published"] and "does not know" in done.json["error"]
    assert len(city.recorder.all("lockbridge/city/list/phones")) == count
    # it comes back, and with it the list
    city.paper["gw-1"].start()
    city.start_serve()
    bo_out_and_anna_suspended(city)


def test_a_restored_desk_waits_for_a_gateway_that_an_emptied_broker_does_not_know(city):
    backup(city)
    city.desk("revoke", "--phone", BO[1]).ok()
    restore(city)
    for gw in city.paper.values():
        gw.stop(clean=False)
    city.broker.kill()
    shutil.rmtree(city.path("broker"))
    os.makedirs(city.path("broker"))
    city.broker_up()
    city.recorder.close()
    city.recorder = Recorder(city.port)
    done = city.desk("suspend", "--json", "--phone", ANNA[1], "--wait", "3")
    assert done.status == 4 and not done.json["published"] and "newer list" in done.json["error"], done.out
    assert not city.recorder.all("lockbridge/city/list/phones")
    for gw in city.paper.values():
        gw.start()
    city.start_serve()
    bo_out_and_anna_suspended(city)


def test_a_gateway_that_is_away_with_an_older_list_holds_up_nothing(city):
    backup(city)
    city.desk("suspend", "--phone", ANNA[1]).ok()
    city.paper["gw-2"].stop()  # its state, retained, names a list that the backup does not have
    city.desk("revoke", "--phone", BO[1], "--no-wait").ok()
    wait_for("gw-1 holds it", lambda: index_of(city, BO) in statuses(city))
    restore(city)
    done = city.desk("revoke", "--json", "--phone", ANNA[1], "--wait", "3")
    assert done.json["published"], done.out
    assert statuses(city) == {index_of(city, BO): 1, index_of(city, ANNA): 1}


def test_a_digest_that_is_nobodys_blocks_until_it_is_disowned(city):
    gw = city.paper["gw-1"]
    gw.held["phones"][1]
    real = wire.digest
    lie = bytes.fromhex("00112233445566ff")
    document = gw.held["phones"][0]
    wire.digest = lambda d: lie if d is document else real(d)
    try:
        gw.tell()
        gw._replay = lambda wanted: None
        gw.flush()
        done = city.desk("suspend", "--json", "--phone", ANNA[1], "--wait", "3")
        assert done.status == 4 and "disown 00112233445566ff" in done.json["error"]
        city.desk("disown", lie.hex()).ok()
        city.desk("suspend", "--json", "--phone", ANNA[1], "--wait", "5")
        wait_for("signed again", lambda: index_of(city, ANNA) in statuses(city, "gw-2"), 5)
    finally:
        wire.digest = real


def test_a_list_from_the_future_is_not_taken_over_and_ends_with_its_key(served):
    """A stolen revoke key revokes everybody, ten years ahead; and the policy key cuts every lock off."""
    wait_for("they hold all", lambda: all(len(gw.held) == 3 for gw in served.paper.values()))
    with open(served.path("desk", "keys", "revoke.pem"), "rb") as f:
        revoke = wire.Key(load_pem_private_key(f.read(), None))
    with open(served.path("desk", "keys", "policy.pem"), "rb") as f:
        policy = wire.Key(load_pem_private_key(f.read(), None))
    thief, ahead = wire.City(), int(time.time()) + 10 * 365 * 86400
    thief.revoke, thief.policy_key = revoke, policy
    thief.uri = served.paper["gw-1"].held["phones"][1][wire.SUB]
    served.recorder.publish("lockbridge/city/policy", thief.policy(ahead, cut_off={"*": ahead}), retain=True)
    served.recorder.publish("lockbridge/city/list/phones", thief.list(ahead, {i: 1 for i in range(4096)}), retain=True)
    wait_for("alarms", lambda: [a["kind"] for a in served.desk("alarms", "--json").json].count(
        "document-from-the-future") == 2)
    done = served.desk("suspend", "--json", "--phone", BO[1], "--wait", "2")
    assert done.status == 4 and "keys rotate revoke" in done.json["error"]
    for role in ("revoke", "policy"):
        served.desk("keys", "rotate", role, "--wait", "2")
    wait_for("what the registry says, and no more", lambda: all(
        gw.held["phones"][1][wire.IAT] < ahead and statuses(served, gw.name) == {index_of(served, BO): 2} and
        gw.held["policy"][1][wire.POLICY] == wire.DEFAULT_POLICY for gw in served.paper.values()), 40)
    assert "document-by-dropped-key" in [a["kind"] for a in served.desk("alarms", "--json").json]


# --- people ----------------------------------------------------------------------------------------


def test_no_persons_data_leaves_the_registry(served):
    with open(served.path("phone.pub"), "w") as f:
        f.write(wire.Key().public_pem())
    outputs = []
    watch = served.spawn("watch", [program("lockbridge-desk"), "--dir", served.path("desk"), "--json", "watch"])
    served.desk("staff", "key", "--phone", BO[1], "--key", served.path("phone.pub")).ok()
    wait_for("published", lambda: set(served.paper["gw-1"].held) == {"keys", "policy", "phones"})
    for words in (["unlock", "--phone", ANNA[1], "--lock", "lock-1"],
                  ["issue", "--person", BO[0], "--locks", "lock-1", "--for", "8h", "--out",
                   served.path("wallet")],
                  ["revoke", "--person", BO[0]], ["unlock", "--person", BO[0], "--lock", "lock-1"],
                  ["unlock", "--person", BO[0], "--lock", "lock-1", "--anyway"], ["log"], ["alarms"],
                  ["who-can-open", "lock-1"], ["exposed"], ["lock", "list"], ["gateway", "list"],
                  ["log", "--lock", "lock-1"]):
        for form in ([], ["--json"]):
            done = served.desk(*words, *form)
            outputs.append(done.out + done.err)
    watch.wait_output('"type":"authorization.outcome"')
    assert watch.stop() == 0
    outputs.append(watch.output())
    places = [(topic.encode() + payload, topic) for _, topic, payload, _ in served.recorder.all()]
    places += [(o.encode(), o) for o in outputs]
    for name in ("serve.log", "mosquitto.log"):
        with open(served.path(name), "rb") as f:
            places.append((f.read(), name))
    for name in os.listdir(served.path("wallet")):
        with open(served.path("wallet", name), "rb") as f:
            places.append((f.read(), name))
    assert len(places) > 60
    for content, where in places:
        digits = bytes(c for c in content if chr(c) not in "- +")
        for canary in CANARIES:
            # eight digits alone may be a time or a part of some hex
            assert len(canary) < 9 or canary not in digits, (canary, where)
    # and where it belongs, it is
    with open(served.path("desk", "desk.db"), "rb") as db, open(served.path("desk", "desk.db-wal"), "rb") as wal:
        assert b"46701740605" in db.read() + wal.read()
    assert "+46701740650" in served.desk("log", "--phone", BO[1]).out
    assert "+46701740605" in served.desk("who-can-open", "lock-1", "--reveal").out


def test_removed_people_are_forgotten_and_stay_revoked(city):
    idx = index_of(city, BO)
    city.desk("staff", "remove", "--person", BO[0]).ok()
    assert statuses(city) == {idx: 1}
    assert city.desk("revoke", "--phone", BO[1]).status == 1
    city.query("PRAGMA wal_checkpoint(TRUNCATE)")
    for name in os.listdir(city.path("desk")):
        if name.startswith("desk.db"):
            with open(city.path("desk", name), "rb") as f:
                content = f.read()
            assert b"8112189876" not in content and b"46701740650" not in content, name


def test_every_act_is_in_the_log_with_operator_and_time(city):
    begun = int(time.time())
    city.desk("--operator", "karin", "suspend", "--phone", BO[1]).ok()
    city.desk("unlock", "--phone", ANNA[1], "--lock", "lock-1", "--operator=sven").ok()
    lines = {(r["operator"], r["act"]): r for r in city.desk("log", "--json").json}
    assert {("karin", "suspend"), ("sven", "unlock")} <= set(lines)
    assert all(begun <= lines[k]["time"] <= time.time() for k in (("karin", "suspend"), ("sven", "unlock")))
    assert lines[("sven", "unlock")]["outcome"] == "done" and lines[("sven", "unlock")]["verified"]
    assert "person" not in lines[("karin", "suspend")]
    person = city.desk("log", "--json", "--person", BO[0]).json
    assert person and {r["person"] for r in person} == {"198112189876"}


# --- the command line --------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [
    ["nonsense"], ["unlock"], ["unlock", "--phone", "0701740605"], ["unlock", "--lock", "lock-1"],
    ["unlock", "--phone", "0701740605", "--lock", "lock-1", "--wait", "soon"], ["unlock", "--what"],
    ["revoke"], ["revoke", "--person", "811218-9875"], ["revoke", "--phone", "12"], ["revoke", "x"],
    ["issue", "--phone", "0701740605", "--locks", "lock-1"], ["staff", "add", "--person", "811218-9876"],
    ["staff", "posture", "--phone", "0701740605"], ["gateway", "add", "Gw_1"], ["lock", "add", "lock-1"],
    ["lock", "add", "lock-7", "--key", "AAAA", "--gateway", "gw-1"], ["change-lock"], ["keys", "rotate"],
    ["keys", "rotate", "house"], ["disown", "12"], ["who-can-open"], ["policy", "set", "--require-pin", "maybe"],
    ["document", "show"], ["config", "set", "--broker", "h:0"], ["config", "set", "--ca", "x"],
    ["config", "set", "--root-topic", "a/#"]])
def test_wrong_usage_says_what_and_exits_2(desk_only, words):
    done = desk_only.desk(*words)
    assert done.status == 2 and done.err.startswith("lockbridge-desk: ") and not done.out
    done = desk_only.desk("--json", *words)
    assert done.status == 2 and done.json["error"]


@pytest.fixture(scope="module")
def desk_only():
    with World({}) as w:
        w.desk("init", "--broker", f"127.0.0.1:{free_port()}").ok()
        w.desk("gateway", "add", "gw-1").ok()
        w.desk("lock", "add", "lock-1", "--key", base64.b64encode(bytes(32)).decode(), "--gateway", "gw-1").ok()
        w.desk("staff", "add", "--person", ANNA[0], "--phone", ANNA[1]).ok()
        yield w


def test_help_names_every_command(desk_only):
    out = desk_only.desk("--help").ok().out
    names = [line.split("  ")[1] for line in out.splitlines() if line.startswith("  ")]
    assert len(names) > 30
    for name in names:
        assert desk_only.desk(*name.split(), "--help").ok().out.startswith("lockbridge-desk " + name)


def test_init_does_not_touch_what_is_there(desk_only):
    before = desk_only.desk("keys", "show", "root").ok().out
    assert desk_only.desk("init", "--broker", "h").status == 1
    assert desk_only.desk("keys", "show", "root").ok().out == before


def test_two_brokers_get_the_same_and_both_are_heard(city):
    other = City()
    with other:
        other.start_broker()
        city.desk("config", "set", "--broker", f"127.0.0.1:{city.port}", "--broker",
                  f"127.0.0.1:{other.port}").ok()
        far = city.paper["gw-2"]
        far.stop()
        for rest in ("presence", "state", "lock/lock-3"):
            city.recorder.publish(f"lockbridge/gw/gw-2/{rest}", b"", retain=True)
        city.paper["gw-2"] = paper.Gateway(other.port, "gw-2", list(far.locks.values()), city.root)
        said = city.desk("revoke", "--json", "--phone", BO[1]).ok().json
        assert said["gateways"]["confirmed"] == 2 and said["locks"]["confirmed"] == 3
        assert unlock(city, ANNA, "lock-3")["outcome"] == "done"
        assert unlock(city, ANNA, "lock-1")["outcome"] == "done"
