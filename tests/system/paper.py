# SPDX-License-Identifier: Apache-2.0
"""A gateway and its locks in Python: a second reading of the contract, for the desk to be tried against.

It checks every document it takes (cbor2, cryptography), and can be told to be slow, deaf or a liar.
"""

import base64
import hashlib
import json
import os
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

import wire
from wire import AUD, CNONCE, CTI, EXP, IAT, ISS, KEYS, RESULT, SCOPE, SUB, CHANGED


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def kid_of(document):
    return wire.cbor2.loads(wire.message(document)[0])[4]


def typ_of(document):
    return wire.cbor2.loads(wire.message(document)[0])[16].rpartition("/")[2]


class Lock:
    """Remembers what it holds, and signs receipts with rising n."""

    def __init__(self, name):
        self.name, self.key = name, wire.Key()
        self.n, self.challenge, self.applied, self.bolt = 0, os.urandom(8), {}, "locked"

    def receipt(self, outcome, cti=None, kept=True, key=None, **result):
        if kept and "n" not in result:
            self.n += 1
            result["n"] = self.n
        body = {"outcome": outcome, "bolt": self.bolt, "challenge": self.challenge, "boot": 1,
                "applied": {name: [iat, digest] for name, (iat, digest) in self.applied.items()},
                **result}
        claims = {ISS: self.name, IAT: int(time.time()), RESULT: body}
        if cti:
            claims[CTI] = cti
        return (key or self.key).sign("lockbridge-receipt+cwt", claims)


class Gateway:
    def __init__(self, port, name, locks, root, start=True):
        self.port, self.name, self.root = port, name, root
        self.locks = {lock.name: lock for lock in locks}
        self.reader = wire.Key()
        self.stream, self.events, self.prev = os.urandom(16).hex(), [], bytes(32)
        self.held = {}          # name -> (document, claims)
        self.keys = {}          # kid -> (public, roles)
        self.authorizations, self.readers, self.replays, self.said = [], {}, [], []
        self.deaf = False       # takes no documents
        self.mute_locks = False  # locks take nothing
        self.answer = self.done
        self.mutex = threading.RLock()
        self.online = threading.Event()
        self.client = None
        if start:
            self.start()

    # --- connection -------------------------------------------------------------------------------

    def topic(self, rest):
        return f"lockbridge/gw/{self.name}/{rest}"

    def start(self):
        c = mqtt.Client(client_id=self.name, protocol=mqtt.MQTTv5)
        c.will_set(self.topic("presence"), "offline", 1, True)
        c.on_connect, c.on_message = self._connected, self._message
        c.reconnect_delay_set(1, 1)
        self.client = c
        c.connect("127.0.0.1", self.port, clean_start=False)
        c.loop_start()
        assert self.online.wait(10), "the paper gateway cannot connect"
        return self

    def stop(self, clean=True):
        if clean:
            self.client.publish(self.topic("presence"), "offline", 1, True).wait_for_publish(5)
        self.client.loop_stop()
        self.client.disconnect()
        self.online.clear()

    def _connected(self, client, *_):
        options = SubscribeOptions(qos=1, retainAsPublished=True,
                                   retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        client.subscribe([("lockbridge/city/#", SubscribeOptions(qos=1)),
                          (self.topic("document"), SubscribeOptions(qos=1)),
                          (self.topic("replay"), SubscribeOptions(qos=1)),
                          (self.topic("authorize"), options)])
        client.publish(self.topic("presence"), "online", 1, True)
        self.tell()
        self.online.set()

    def _message(self, client, user, m):
        with self.mutex:
            self.said.append((m.topic, m.payload))
            if m.topic == self.topic("authorize"):
                self._authorize(m)
            elif m.topic == self.topic("replay"):
                self._replay(json.loads(m.payload))
            elif not self.deaf and m.payload:
                self.take(m.payload)

    # --- documents --------------------------------------------------------------------------------

    def verified(self, document, role):
        """The claims, if a key that is named now with this role signed it."""
        if role == "root" and not self.keys:
            return wire.verify(document, self.root)
        public, roles = self.keys[kid_of(document)]
        assert role in roles, (role, roles)
        return wire.verify(document, public)

    def take(self, document):
        try:
            typ = typ_of(document)
        except (ValueError, EOFError):
            return None  # no CBOR
        if typ == "lockbridge-authorization+cwt":
            claims = self.verified(document, "authorize")
            assert claims[SCOPE] == "read" and claims[EXP] - claims[IAT] <= 7 * 86400
            self.readers[claims[AUD]] = claims
            return self.tell()
        role, name = {"lockbridge-keys+cwt": ("root", "keys"), "lockbridge-policy+cwt": ("policy", "policy"),
                      "statuslist+cwt": ("revoke", None)}[typ]
        try:
            claims = self.verified(document, role)
        except KeyError:
            return None  # a kid that is not named (yet)
        name = name or claims[SUB].rpartition("/")[2]
        now = self.held.get(name)
        alive = now and (name == "keys" or kid_of(now[0]) in self.keys)
        if alive and claims[IAT] <= now[1][IAT] and not (
                name == "keys" and kid_of(document) != kid_of(now[0])):
            return None
        self.held[name] = (document, claims)
        if name == "keys":
            self.keys = {k[2]: (k[-2], k.get(wire.ROLES, [])) for k in claims[KEYS]}
        self.event("document.applied", document={"kind": "list" if role == "revoke" else name,
                                                 "name": name, "iat": claims[IAT],
                                                 "digest": wire.digest(document).hex()})
        if not self.mute_locks:
            for lock in self.locks.values():
                self.give(lock, name)
        return self.tell()

    def give(self, lock, name):
        document, claims = self.held[name]
        lock.applied[name] = (claims[IAT], wire.digest(document))
        self.event("lock.receipt", lock=lock.name,
                   receipt=base64url(lock.receipt("applied", wire.digest(document))))
        self.tell_lock(lock)

    # --- what it says -----------------------------------------------------------------------------

    def tell(self):
        documents = []
        for name, (document, claims) in self.held.items():
            one = {"name": name, "iat": claims[IAT], "digest": wire.digest(document).hex(),
                   "exp": claims.get(EXP, 0)}
            if CHANGED in claims:
                one["changed"] = claims[CHANGED]
            documents.append(one)
        root = self.root if not self.keys else next(p for p, r in self.keys.values() if "root" in r)
        state = {"version": "paper", "time": int(time.time()), "boot": "00" * 16,
                 "stream": self.stream, "seq": len(self.events), "oldest": 1 if self.events else 0,
                 "outbox": 0, "reader": base64.b64encode(self.reader.public).decode(),
                 "clock": {"now": int(time.time()), "synchronised": True, "floor": 0},
                 "root": hashlib.sha256(root).digest()[:8].hex(), "documents": documents,
                 "radio": {"adapter": "hci0", "up": True, "recoveries": 0},
                 "locks": sorted(self.locks), "readers": sorted(self.readers), "problems": []}
        self.client.publish(self.topic("state"), json.dumps(state), 1, True)
        for lock in self.locks.values():
            self.tell_lock(lock)

    def flush(self):
        """Until the broker has what was said so far."""
        self.client.publish("barrier/" + self.name, b"", 1).wait_for_publish(5)

    def tell_lock(self, lock):
        body = {"enforces": "lock", "bolt": lock.bolt, "reachable": True, "seen": int(time.time()),
                "challenge": lock.challenge.hex(), "current": True, "n": lock.n, "problems": [],
                "applied": {n: {"iat": i, "digest": d.hex()} for n, (i, d) in lock.applied.items()}}
        self.client.publish(self.topic("lock/" + lock.name), json.dumps(body), 1, True)

    def event(self, kind, correlation=None, lose=False, **members):
        body = {"stream": self.stream, "seq": len(self.events) + 1, "prev": self.prev.hex(),
                "time": int(time.time()), "synchronised": True, "type": kind, **members}
        if correlation:
            body["correlation"] = correlation.hex()
        text = json.dumps(body).encode()
        self.events.append(text)
        self.prev = hashlib.sha256(text).digest()
        if not lose:
            self.client.publish(self.topic("event"), text, 1)

    def _replay(self, wanted):
        self.replays.append(wanted)
        if "document" in wanted:
            name = wanted["document"].rpartition("/")[2]
            if name in self.held:
                self.event("document.copy", copy=base64url(self.held[name][0]))
        elif wanted["stream"] == self.stream:
            for text in self.events[wanted["from"] - 1:]:
                self.client.publish(self.topic("event"), text, 1)

    # --- authorizations ---------------------------------------------------------------------------

    def _authorize(self, m):
        correlation = getattr(m.properties, "CorrelationData", None)
        self.authorizations.append({
            "document": m.payload, "retain": m.retain, "correlation": correlation, "at": time.time(),
            "expiry": getattr(m.properties, "MessageExpiryInterval", None)})
        claims = self.verified(m.payload, "authorize")
        lock = self.locks[claims[AUD]]
        if claims[CNONCE] != lock.challenge:
            return self.refused(claims, correlation, "stale-challenge", challenge=lock.challenge.hex())
        return self.answer(lock, claims, correlation)

    def about(self, claims):
        return {"lock": claims[AUD], "cti": claims[CTI].hex(), "scope": claims[SCOPE]}

    def refused(self, claims, correlation, reason, **more):
        self.event("authorization.refused", correlation, reason=reason, **self.about(claims), **more)

    def outcome(self, claims, correlation, outcome, receipt=None, **more):
        if receipt:
            more["receipt"] = base64url(receipt)
        self.event("authorization.outcome", correlation, outcome=outcome, **self.about(claims), **more)

    def done(self, lock, claims, correlation, key=None, with_receipt=True, outcome="done", **more):
        self.event("authorization.accepted", correlation, **self.about(claims))
        lock.challenge = os.urandom(8)
        lock.bolt = "locked" if claims[SCOPE] == "lock" else "unlocked"
        receipt = lock.receipt(outcome, claims[CTI], key=key, via="relay")
        self.outcome(claims, correlation, outcome, receipt if with_receipt else None, **more)
        self.tell_lock(lock)


def correlated(data):
    properties = Properties(PacketTypes.PUBLISH)
    properties.CorrelationData = data
    return properties
