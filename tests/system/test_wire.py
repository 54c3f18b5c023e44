# SPDX-License-Identifier: Apache-2.0
"""docs/protocol.md against wire.py, which shares no code with the C side: what the document shows is
signed and encoded anew here, byte for byte, from claims written down by hand; and what is signed here,
also as other encoders write it, is read by lockbridge-desk as it was meant.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import zlib

import cbor2
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

import wire
from harness import BUILD
from wire import (AUD, CHANGED, CNF, CNONCE, CTI, EXP, IAT, ISS, KEYS, NBF, POLICY, POSTURE, RESULT,
                  ROOT_KEY, SCOPE, STATUS, STATUS_LIST, SUB, TTL)

PROTOCOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "protocol.md")
with open(PROTOCOL, encoding="utf-8") as f:
    TEXT = f.read()

ISSUER, LIST = "https://city.example", "https://city.example/lists/staff"
LISTED = {"status_list": {"idx": 1234, "uri": LIST}}


def block(kind, name):
    found = re.findall(rf"^<!-- {kind}: {name} -->\n```\w[\w-]*\n(.*?)^```$", TEXT, re.S | re.M)
    assert len(found) == 1, f"{kind} {name} stands {len(found)} times"
    return found[0]


def example(name):
    return bytes.fromhex(block("example", name))


def documented_keys():
    rows = re.findall(r"^\| ([a-z ]+) \| `(..)` \| `([0-9a-f]{64})` \| `([0-9a-f]{16})` \|$", TEXT, re.M)
    keys = {}
    for name, byte, public, kid in rows:
        keys[name] = wire.Key(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(byte) * 32))
        assert keys[name].public.hex() == public and keys[name].kid.hex() == kid
    assert len(keys) == 8
    return keys


KEY = documented_keys()


# --- the examples ------------------------------------------------------------------------------------

def records(root):
    return [KEY[root].record("root"), KEY["policy"].record("policy"), KEY["revoke"].record("revoke"),
            KEY["authorize"].record("authorize")]


def applied():
    return {"keys": [1799971200, wire.digest(example("keys"))],
            "policy": [1799974800, wire.digest(example("policy"))],
            "staff": [1799996400, wire.digest(example("list"))]}


def result(outcome, bolt, challenge, **more):
    return {"outcome": outcome, "bolt": bolt, "battery": 87, "boot": 2,
            "challenge": bytes.fromhex(challenge), "applied": applied(), **more}


def packed():
    """zlib may pack otherwise one day: the document's own, if it holds what it should."""
    lst = wire.claims(example("list"))[STATUS_LIST]["lst"]
    raw = bytearray(1024)
    raw[17 // 4] |= 2 << 2 * (17 % 4)
    raw[1000 // 4] |= 1 << 2 * (1000 % 4)
    assert zlib.decompress(lst) == bytes(raw)
    return lst


def held(scope, lifetime, cti, holder):
    claims = {ISS: ISSUER, AUD: "lock-1", IAT: 1799998200, NBF: 1799998200, EXP: 1799998200 + lifetime,
              CTI: bytes.fromhex(cti) * 16, SCOPE: scope, CNF: KEY[holder].cnf()}
    return claims if scope == "read" else {**claims, STATUS: LISTED}


def documents():
    """name: (signer, typ, claims)"""
    authorization = ("authorize", "lockbridge-authorization+cwt")
    receipt = ("lock", "lockbridge-receipt+cwt")
    presentation = "lockbridge-presentation+cwt"
    return {
        "keys": ("root", "lockbridge-keys+cwt",
                 {ISS: ISSUER, IAT: 1799971200, EXP: 1799971200 + 90 * 86400, KEYS: records("root")}),
        "keys-handover": ("root", "lockbridge-keys+cwt",
                          {ISS: ISSUER, IAT: 1800090000, EXP: 1800090000 + 90 * 86400,
                           KEYS: records("next root")}),
        "policy": ("policy", "lockbridge-policy+cwt",
                   {ISS: ISSUER, IAT: 1799974800, EXP: 1799974800 + 90 * 86400,
                    POLICY: dict(wire.DEFAULT_POLICY, apps=["se.example.homecare"],
                                 cut_off={"lock-2": 1799971200})}),
        "list": ("revoke", "statuslist+cwt",
                 {ISS: ISSUER, SUB: LIST, IAT: 1799996400, EXP: 1799996400 + 2 * 86400, TTL: 86400,
                  CHANGED: 1799989200, STATUS_LIST: {"bits": 2, "lst": packed()}}),
        "authorization-relayed": (*authorization, {
            ISS: ISSUER, SUB: "p-7f3a", AUD: "lock-1", IAT: 1800000000, NBF: 1800000000,
            EXP: 1800000030, CTI: b"\xa1" * 16, SCOPE: "unlock",
            CNONCE: bytes.fromhex("c0c1c2c3c4c5c6c7"),
            STATUS: {"status_list": {"idx": 42, "uri": LIST}},
            POSTURE: {"pin": True, "app": "se.example.homecare", "platform": "android 14",
                      "checked": 1799996400}}),
        "authorization-door": (*authorization, held("unlock", 8 * 3600, "b2", "phone")),
        "authorization-read": (*authorization, held("read", 7 * 86400, "c3", "reader")),
        "presentation": ("phone", presentation, {
            AUD: "lock-1", CTI: b"\xb2" * 16, CNONCE: bytes.fromhex("8081828384858687")}),
        "presentation-read": ("reader", presentation, {
            AUD: "lock-1", CTI: b"\xc3" * 16, CNONCE: bytes.fromhex("9091929394959697")}),
        "claim": ("root", "lockbridge-claim+cwt",
                  {AUD: "lock-1", IAT: 1799928000, ROOT_KEY: KEY["root"].record("root")}),
        "release": ("root", "lockbridge-release+cwt", {AUD: "lock-1", IAT: 1800176400}),
        "receipt-applied": (*receipt, {
            ISS: "lock-1", IAT: 1799996392, CTI: wire.digest(example("list")),
            RESULT: result("applied", "locked", "d0d1d2d3d4d5d6d7", n=4)}),
        "receipt-done": (*receipt, {
            ISS: "lock-1", IAT: 1799999994, CTI: b"\xa1" * 16,
            RESULT: result("done", "unlocked", "e0e1e2e3e4e5e6e7", n=6, via="relay")}),
        "receipt-refused": (*receipt, {
            ISS: "lock-1", IAT: 1800000290, CTI: b"\xb2" * 16,
            RESULT: result("refused", "unlocked", "e0e1e2e3e4e5e6e7", via="door",
                           reason="stale-challenge")}),
        "receipt-head": (*receipt, {
            ISS: "lock-1", IAT: 1800000350,
            RESULT: result("head", "unlocked", "e0e1e2e3e4e5e6e7", last=6)}),
    }


NAMES = sorted(documents())


def test_no_example_is_left_out():
    others = {"signed", "info", "state", "since", "advert", "advert-packet", "frames"}
    assert set(re.findall(r"^<!-- example: (.*) -->$", TEXT, re.M)) == set(NAMES) | others


@pytest.mark.parametrize("name", NAMES)
def test_an_example_verifies_with_its_documented_key_and_says_what_was_meant(name):
    signer, typ, claims = documents()[name]
    document = example(name)
    assert wire.verify(document, KEY[signer].public) == claims
    header, unprotected, _, signature = wire.message(document)
    assert cbor2.loads(header) == {1: -19, 4: KEY[signer].kid, 16: "application/" + typ}
    assert unprotected == {} and len(signature) == 64
    other = "policy" if signer != "policy" else "root"
    with pytest.raises(InvalidSignature):
        wire.verify(document, KEY[other].public)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_signed_to_the_same_bytes_by_another_encoder(name):
    signer, typ, claims = documents()[name]
    assert KEY[signer].sign(typ, claims, tag61=name != "list").hex() == example(name).hex()


@pytest.mark.parametrize("name", NAMES)
def test_length_digest_and_signer_stand_in_the_values(name):
    values = dict(line.split(": ", 1) for line in block("values", name).splitlines())
    assert values["length"] == str(len(example(name)))
    assert values["digest"] == wire.digest(example(name)).hex()
    assert values["signed by"] == documents()[name][0]


def test_the_bytes_under_a_signature():
    header, _, body, _ = wire.message(example("presentation"))
    assert cbor2.loads(example("signed")) == ["Signature1", header, b"", body]


@pytest.mark.parametrize("name, value", [
    ("info", lambda: {"id": "lock-1", "profile": 1, "key": KEY["lock"].public, "owner": KEY["root"].kid,
                      "max": 16384, "applied": applied(), "challenge": bytes.fromhex("e0e1e2e3e4e5e6e7"),
                      "nonce": bytes.fromhex("9091929394959697")}),
    ("state", lambda: {"bolt": "unlocked", "battery": 87}),
    ("since", lambda: {"since": 3}),
])
def test_gatt_values(name, value):
    assert example(name) == cbor2.dumps(value(), canonical=True)


def test_the_advert_hints_at_what_the_lock_holds():
    advert, packet = example("advert"), example("advert-packet")
    hint = hashlib.sha256(cbor2.dumps(applied(), canonical=True)).digest()[:4]
    assert advert == bytes([1, 0]) + bytes.fromhex("5e9a") + hint
    uuid = bytes.fromhex("2ff90001f4884501a0b41a1753dee155")
    assert packet == bytes([2, 1, 6, 25, 0x21]) + uuid[::-1] + advert
    assert len(packet) == 29


def test_the_frames_join_to_the_presentation():
    frames = [bytes.fromhex(part) for part in block("example", "frames").split("\n\n")]
    document = example("presentation")
    assert len(frames) == 3 and all(len(f) <= 64 for f in frames)
    assert frames[0][0] == 0x80 and frames[0][1:5] == len(document).to_bytes(4, "little")
    assert [f[0] for f in frames[1:]] == [0x01, 0x42]
    assert frames[0][5:] + frames[1][1:] + frames[2][1:] == document


def test_the_json_examples_are_of_the_same_morning():
    blocks = re.findall(r"^<!-- example (.*?) -->\n```json\n(.*?)\n```$", TEXT, re.S | re.M)
    events = [(text, json.loads(text)) for kind, text in blocks if kind.startswith("event ")]
    assert len(events) >= 13
    for (before, _), (_, event) in zip(events, events[1:]):
        assert event["prev"] == hashlib.sha256(before.encode()).hexdigest()
    told = {e["type"]: e for _, e in events if e["type"] != "authorization.outcome" or "receipt" in e}

    def decode(text):
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    assert decode(told["lock.receipt"]["receipt"]) == example("receipt-applied")
    assert decode(told["authorization.outcome"]["receipt"]) == example("receipt-done")
    assert decode(told["document.copy"]["copy"]) == example("policy")
    state = next(json.loads(text) for kind, text in blocks if kind == "state")
    assert {d["name"]: [d["iat"], bytes.fromhex(d["digest"])] for d in state["documents"]} == applied()
    assert base64.b64decode(state["reader"]) == KEY["reader"].public
    assert state["root"] == KEY["root"].kid.hex()


# --- what is signed here is read there ---------------------------------------------------------------

class Desk:
    """A registry of its own, whose keys sign here; nothing is published, no broker is asked."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.run("init", "--broker", "127.0.0.1:1")
        self.keys = {}
        for role in ("root", "policy", "revoke", "authorize"):
            with open(os.path.join(self.folder, "keys", role + ".pem"), "rb") as pem:
                self.keys[role] = wire.Key(load_pem_private_key(pem.read(), None))

    def run(self, *words, stdin=b"", status=0):
        done = subprocess.run([os.path.join(BUILD, "lockbridge-desk"), "--dir", self.folder, "--json",
                               *words], input=stdin, capture_output=True, check=False, timeout=20)
        assert done.returncode == status, done.stderr.decode()
        return done.stdout

    def show(self, document, status=0):
        shown = self.run("document", "show", "-", stdin=document, status=status)
        return json.loads(shown) if status == 0 else None


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("desk") / "registry")


def as_shown(claims):
    """The claims as document show names them."""
    names = {ISS: "iss", SUB: "sub", AUD: "aud", EXP: "exp", NBF: "nbf", IAT: "iat", SCOPE: "scope",
             TTL: "ttl", CHANGED: "changed", POLICY: "policy", POSTURE: "posture"}

    def record(key):
        return {"kid": key[2].hex(), "x": key[-2].hex(),
                **({"roles": key[wire.ROLES]} if wire.ROLES in key else {})}

    shown = {names[label]: value for label, value in claims.items() if label in names}
    shown.update({name: claims[label].hex() for label, name in ((CTI, "cti"), (CNONCE, "cnonce"))
                  if label in claims})
    if STATUS in claims:
        shown["status"] = claims[STATUS]["status_list"]
    if CNF in claims:
        shown["cnf"] = record(claims[CNF][1])
    if ROOT_KEY in claims:
        shown["key"] = record(claims[ROOT_KEY])
    if KEYS in claims:
        shown["keys"] = [record(key) for key in claims[KEYS]]
    if STATUS_LIST in claims:
        shown["status_list"] = {"bits": 2, "entries": 4096, "not_valid": {"17": 2, "1000": 1}}
    if RESULT in claims:
        told = dict(claims[RESULT], challenge=claims[RESULT]["challenge"].hex())
        told["applied"] = {k: [iat, d.hex()] for k, (iat, d) in told["applied"].items()}
        shown["result"] = told
    return shown


@pytest.mark.parametrize("odd", [False, True], ids=["deterministic", "odd"])
@pytest.mark.parametrize("name", NAMES)
def test_what_another_city_signs_is_read_as_it_was_meant(desk, name, odd):
    signer, typ, claims = documents()[name]
    key = desk.keys.get(signer, KEY[signer])
    if name == "claim":
        claims = {**claims, ROOT_KEY: key.record("root")}
    document = key.sign(typ, claims, tag61=name != "list", odd=odd)
    if odd:
        assert document != key.sign(typ, claims, tag61=name != "list")
    shown = desk.show(document)
    assert shown["kind"] == name.partition("-")[0]
    assert shown["kid"] == key.kid.hex() and shown["digest"] == wire.digest(document).hex()
    assert shown["claims"] == as_shown(claims)
    if signer in desk.keys:
        assert shown["signature"] == f"good, by the desk's {signer} key"
    else:
        assert shown["signature"].startswith("not checked")


@pytest.mark.parametrize("odd", [False, True], ids=["deterministic", "odd"])
def test_a_signature_that_does_not_fit_is_seen(desk, odd):
    document = desk.keys["root"].sign("lockbridge-release+cwt", {AUD: "lock-1", IAT: 1800176400}, odd=odd)
    assert desk.show(document)["signature"] == "good, by the desk's root key"
    assert desk.show(document[:-1] + bytes([document[-1] ^ 1]))["signature"] == "wrong"
    later = document.replace((1800176400).to_bytes(4, "big"), (1800176401).to_bytes(4, "big"))
    assert later != document and desk.show(later)["signature"] == "wrong"
    stranger = wire.Key().sign("lockbridge-release+cwt", {AUD: "lock-1", IAT: 1}, kid=desk.keys["root"].kid)
    assert desk.show(stranger)["signature"] == "wrong"


def test_both_names_of_the_algorithm_are_read(desk):
    for alg in (-19, -8):
        document = desk.keys["root"].sign("lockbridge-release+cwt", {AUD: "lock-1", IAT: 1}, alg=alg)
        assert desk.show(document)["alg"] == alg
        assert desk.show(document)["signature"] == "good, by the desk's root key"


@pytest.mark.parametrize("what, change", [
    ("a claim that nobody knows", {10: "x"}),
    ("a claim of another kind", {POLICY: wire.DEFAULT_POLICY}),
    ("no aud", {AUD: None}),
    ("an aud that is no id", {AUD: "Lock 1"}),
    ("exp before iat", {EXP: 5}),
    ("a time as text", {IAT: "now"}),
    ("a floating time", {IAT: 1.5}),
])
def test_what_the_contract_does_not_allow_is_no_document(desk, what, change):
    claims = {AUD: "lock-1", IAT: 10}
    desk.show(desk.keys["root"].sign("lockbridge-release+cwt", claims))
    changed = {k: v for k, v in {**claims, **change}.items() if v is not None}
    desk.show(desk.keys["root"].sign("lockbridge-release+cwt", changed), status=1)


def test_tags_and_types_must_fit(desk):
    key, claims = desk.keys["root"], {AUD: "lock-1", IAT: 10}
    good = key.sign("lockbridge-release+cwt", claims)
    desk.show(good)
    desk.show(key.sign("lockbridge-release+cwt", claims, tag61=False), status=1)
    desk.show(key.sign("lockbridge-nothing+cwt", claims), status=1)
    desk.show(good + b"\0", status=1)
    desk.show(good[:-1], status=1)


def test_a_type_without_its_prefix_is_read(desk):
    key = desk.keys["root"]
    header = cbor2.dumps({1: -19, 4: key.kid, 16: "lockbridge-release+cwt"}, canonical=True)
    body = cbor2.dumps({AUD: "lock-1", IAT: 10}, canonical=True)
    signature = key.private.sign(cbor2.dumps(["Signature1", header, b"", body]))
    shown = desk.show(b"\xd8\x3d\xd2" + cbor2.dumps([header, {}, body, signature]))
    assert shown["kind"] == "release" and shown["signature"] == "good, by the desk's root key"
