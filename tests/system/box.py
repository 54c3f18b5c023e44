# SPDX-License-Identifier: Apache-2.0
"""Gateways and locks under a city written in Python: each message can be made as wrong as a test wants."""

import base64
import json
import time

import wire
from harness import Failure, Recorder, World, wait_for
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def unbase64url(text):
    return base64.urlsafe_b64decode(text + "==")


class Box(World):
    def __init__(self, layout=None, odd=False, **options):
        super().__init__(layout or {"gw-1": ["lock-1"]}, **options)
        self.city = wire.City(odd)

    def start(self, documents=True):
        with open(self.path("root.pub.pem"), "w") as f:
            f.write(self.city.root.public_pem())
        self.start_bus()
        self.start_radio()
        self.start_broker()
        self.recorder = Recorder(self.port)
        self.start_locks()
        self.born = int(time.time()) - 10
        if documents:
            self.say(self.city.keys(self.born))
            self.say(self.city.policy(self.born))
            self.say(self.city.list(self.born, {1: 1, 2: 2}))
        for gw in self.gateways:
            self.start_gateway(gw)
        if documents:
            self.settle()
        return self

    # --- the city speaks ------------------------------------------------------------------------------

    def say(self, document, topic=None, retain=True):
        """Publishes a document where it belongs."""
        if topic is None:
            typ = wire.cbor2.loads(wire.message(document)[0])
            kind = typ[16].rpartition("/")[2].rpartition("+")[0]
            topic = {"lockbridge-keys": f"city/keys/{typ[4].hex()}", "lockbridge-policy": "city/policy"}.get(kind)
            if kind == "statuslist":
                topic = "city/list/" + wire.claims(document)[wire.SUB].rpartition("/")[2]
        self.recorder.publish("lockbridge/" + topic, document, retain=retain)
        return document

    def hold(self, document, gw="gw-1", timeout=10):
        """Publishes it and waits until the gateway says that it holds it."""
        self.say(document)
        self.wait_held(document, gw, timeout)

    def wait_held(self, document, gw="gw-1", timeout=10):
        wanted = wire.digest(document).hex()
        wait_for(f"{gw} holds {wanted}", lambda: wanted in self.held(gw), timeout)

    def held(self, gw="gw-1"):
        return [d["digest"] for d in (self.recorder.state(gw) or {"documents": []})["documents"]]

    def challenge(self, lock="lock-1"):
        """The newest that the lock told: in a receipt on an event, or in its retained topic."""
        base = f"lockbridge/gw/{self.gateway_of(lock)}/"
        for _, topic, payload, _ in reversed(self.recorder.all(base)):
            said = json.loads(payload) if payload[:1] == b"{" else {}
            if topic == base + "lock/" + lock and "challenge" in said:
                return bytes.fromhex(said["challenge"])
            if topic == base + "event" and said.get("lock") == lock and "receipt" in said:
                receipt = wire.claims(unbase64url(said["receipt"]))
                return receipt[wire.RESULT]["challenge"]
        raise Failure(f"no challenge of {lock} is known")

    def authorize(self, document, lock="lock-1", correlation=b"", retain=False, gw=None):
        """Sends it and returns all events about its cti up to the last: refused, or outcome."""
        gw = gw or self.gateway_of(lock)
        properties = Properties(PacketTypes.PUBLISH)
        if correlation:
            properties.CorrelationData = correlation
        since = time.monotonic()
        self.recorder.publish(f"lockbridge/gw/{gw}/authorize", document, retain, properties=properties)
        try:
            cti = wire.claims(document)[wire.CTI].hex()
        except Exception:  # not even CBOR: nothing to go by
            cti = None
        return self.answer(cti, gw, since)

    def answer(self, cti, gw="gw-1", since=0.0, timeout=40):
        last = ("authorization.refused", "authorization.outcome")

        def about():
            found = [e for e in self.recorder.events(gw, since=since)
                     if e["type"].startswith("authorization.") and (cti is None or e.get("cti") == cti)]
            return found if any(e["type"] in last for e in found) else None
        return wait_for(f"an answer about {cti}", about, timeout)

    def unlock(self, idx=10, lock="lock-1", **change):
        """Signs a good authorization for the present challenge, changed as told; its last event."""
        document = self.city.relayed(lock, change.pop("cnonce", self.challenge(lock)), idx,
                                     int(time.time()), **change)
        return self.authorize(document, lock)[-1]

    def refused(self, idx=10, lock="lock-1", **change):
        """The reason; fails if the bolt moved."""
        before = self.lock_report(lock)["movements"]
        event = self.unlock(idx, lock, **change)
        assert event["type"] == "authorization.refused", event
        assert self.lock_report(lock)["movements"] == before
        return event["reason"]

    def door(self, phone, document, lock="lock-1", *words):
        """A phone presents a document of ours: the lock's answer."""
        path = self.path("authorization.cose")
        with open(path, "wb") as f:
            f.write(document)
        key = self.path("phone-key.pem")
        with open(key, "w") as f:
            f.write(phone.private_pem())
        return self.at_door(key, path, lock, *words).json
