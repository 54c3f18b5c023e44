# SPDX-License-Identifier: Apache-2.0
"""A World whose gateways and whose desk each speak to the broker through a proxy that may lie.

What is compared is the truth: what the gateways really said (as the proxy heard it, before any lie), what the desk
really knows (its registry), what the locks' bolts really did. The recorder of a plain World would hear the lies.
"""

import contextlib
import json
import os
import random
import signal
import sqlite3
import threading
import time
import types

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from harness import Failure, Process, World, free_port, wait_for
from history import List
from observer import Observer
from proxy import Proxy
import wire

LAYOUT = {"gw-1": ["lock-1", "lock-2"], "gw-2": ["lock-3"]}


class Ear:
    """Stands where a World has its recorder, for Observer and Traffic: gateways as they spoke, the city as its
    registry has it. Nobody can ask through it: the fleet is to come right without help."""

    def __init__(self, world):
        self.world, self.messages, self.mutex = world, [], threading.Lock()
        self.client = types.SimpleNamespace(on_message=self._keep)

    def hear(self, topic, payload, retain):
        self.client.on_message(self.client, None, types.SimpleNamespace(topic=topic, payload=payload, retain=retain))

    def _keep(self, client, user, m):
        with self.mutex:
            self.messages.append((time.monotonic(), m.topic, m.payload, m.retain))

    def all(self, prefix=""):
        with self.mutex:
            return [m for m in self.messages if m[1].startswith(prefix)]

    def said(self, topic):
        with self.mutex:
            return next((m[2] for m in reversed(self.messages) if m[1] == topic), None)

    def registry(self, column, gw):
        with contextlib.closing(sqlite3.connect(f"file:{self.world.path('desk', 'desk.db')}?mode=ro", uri=True,
                                                timeout=20)) as db:
            row = db.execute(f"SELECT {column} FROM gateway WHERE id = ?", (gw,)).fetchone()
        return row[0] if row else None

    def state(self, gw):
        text = self.registry("state", gw)
        return json.loads(text) if text else None

    def last(self, topic):
        parts = topic.split("/")
        if parts[-1] == "presence":
            return (self.registry("presence", parts[2]) or "").encode()
        return self.said(topic)

    def lock(self, gw, lock):
        payload = self.said(f"lockbridge/gw/{gw}/lock/{lock}")
        return json.loads(payload) if payload else None

    def publish(self, topic, payload, retain=False, qos=1, properties=None):
        """Somebody else at the broker: of what helps a gateway nothing goes through."""
        if not topic.endswith("/replay"):
            self.world.publish(topic, payload, retain)

    def close(self):
        pass


class Between(World):
    """brokers: how many, each with a proxy for the gateways (gates) and one for the desk (desks)."""

    def __init__(self, chance, brokers=1, saves="autosave_interval 1\n", layout=None):
        super().__init__(layout or LAYOUT)
        self.saves, self.ports = saves, [self.port] + [free_port() for _ in range(brokers - 1)]
        self.brokers, self.gates, self.desks = [], [], []
        self.chance = random.Random(chance.getrandbits(64))
        self.speaker = None

    # --- brokers --------------------------------------------------------------------------------------

    def start_brokers(self):
        for i, port in enumerate(self.ports):
            os.makedirs(self.path(f"broker-{i}"), exist_ok=True)
            config = self.path(f"mosquitto-{i}.conf")
            with open(config, "w", encoding="ascii") as f:
                f.write(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\nuser root\n"
                        f"persistence_location {self.path(f'broker-{i}')}/\n{self.saves}")
            broker = Process(f"mosquitto-{i}", ["mosquitto", "-c", config], self.path(f"mosquitto-{i}.log"), self.env)
            self.processes.append(broker)
            self.brokers.append(broker)
            self.raise_broker(i)
            for proxies in (self.gates, self.desks):
                proxies.append(Proxy(port, random.Random(self.chance.getrandbits(64))))
            self.gates[i].on_publish = self._hear

    def _hear(self, up, topic, payload, retain):
        if up or topic.endswith("/authorize"):
            self.recorder.hear(topic, payload, retain)

    def raise_broker(self, i=0):
        """Starts it; False if it does not come up, as with a database that it cannot read."""
        broker = self.brokers[i]
        self.broker, self.port = broker, self.ports[i]
        try:
            self.broker_up()
            return True
        except Failure:
            broker.kill()
            return False

    def database(self, i=0):
        return self.path(f"broker-{i}", "mosquitto.db")

    def save(self, i=0):
        """What autosave would do, now."""
        before = os.stat(self.database(i)).st_mtime_ns if os.path.exists(self.database(i)) else 0
        self.brokers[i].popen.send_signal(signal.SIGUSR1)
        wait_for("the broker saved", lambda: os.path.exists(self.database(i)) and
                 os.stat(self.database(i)).st_mtime_ns != before, 20)

    def publish(self, topic, payload, retain=False):
        """As anybody at the broker may, past the proxies."""
        import paho.mqtt.publish as once
        from paho.mqtt.client import MQTTv5
        for broker, port in zip(self.brokers, self.ports):
            if broker.running():
                with contextlib.suppress(OSError):
                    once.single(topic, payload, qos=1, retain=retain, hostname="127.0.0.1", port=port, protocol=MQTTv5)

    # --- the world -------------------------------------------------------------------------------------

    def gateway_config(self, gw, **change):
        brokers = [f'{{ host = "127.0.0.1"; port = {p.port}; }}' for p in self.gates]
        more = "backoff_min_ms = 100;\nbackoff_max_ms = 1000;\nhealth_s = 2;\n"
        return super().gateway_config(gw, brokers=brokers, more=more, **change)

    def start_city(self, *init):
        self.recorder = Ear(self)
        self.start_brokers()
        words = [word for p in self.desks for word in ("--broker", f"127.0.0.1:{p.port}")]
        self.desk("init", *words, *init).ok()
        with open(self.path("root.pub.pem"), "w", encoding="ascii") as f:
            f.write(self.desk("keys", "show", "root").ok().out)

    def start(self, serve=True):
        super().start(serve)
        self.observer = Observer(self)
        for kind in ("document-foreign", "event-malformed", "document-by-dropped-key"):
            self.observer.expect(kind)  # what a lying broker shows, the desk is to report
        return self

    def proxies(self):
        return self.gates + self.desks

    def status_signed(self, idx):
        """What the desk's newest list says of this index."""
        return List(wire.claims(self.document("list/%"))).status(idx)

    def faults(self):
        return [fault for p in self.proxies() for fault in p.faults]

    def close(self):
        for p in self.proxies():
            p.close()
        super().close()

    # --- the city's own pen, for what must be refused -----------------------------------------------------

    def key(self, role):
        with open(self.path("desk", "keys", role + ".pem"), "rb") as f:
            return wire.Key(load_pem_private_key(f.read(), None))

    def list_uri(self):
        return wire.claims(self.document("list/%"))[wire.SUB]

    def document(self, slot):
        """The newest of the desk's registry."""
        return self.query("SELECT bytes FROM document WHERE slot LIKE ? ORDER BY iat DESC", slot)[0][0]

    def query(self, sql, *args):
        with contextlib.closing(sqlite3.connect(f"file:{self.path('desk', 'desk.db')}?mode=ro", uri=True,
                                                timeout=20)) as db:
            return db.execute(sql, args).fetchall()

    def index(self, phone):
        digits = "+46" + phone.replace("-", "").replace(" ", "")[1:]
        return self.query("SELECT idx FROM phone WHERE number = ?", digits)[0][0]

    def pen(self):
        """A city that signs with the desk's keys."""
        city = wire.City()
        city.root, city.policy_key, city.revoke, city.authorize = (
            self.key(role) for role in ("root", "policy", "revoke", "authorize"))
        city.uri = self.list_uri()
        return city

    def movements(self, lock, ctis=None):
        """How often the bolt moved; ctis: for these."""
        path = self.path("locks", lock, "movements")
        if not os.path.exists(path):
            return 0
        with open(path, encoding="ascii") as f:
            return sum(1 for line in f if ctis is None or line.split()[0] in ctis)

    def issued(self):
        """The ctis of all relayed authorizations that the desk has signed so far."""
        return {row[0].hex() for row in self.query("SELECT cti FROM issued WHERE via = 'relay'")}

    def answers(self, cti):
        """Types and reasons of what a gateway said about one authorization."""
        found = []
        for _, topic, payload, _ in self.recorder.all("lockbridge/gw/"):
            if topic.endswith("/event") and cti.encode() in payload:
                event = json.loads(payload)
                found.append((event["type"], event.get("reason")))
        return found

    def refused_everywhere(self, idx):
        """The reasons that each gateway gives for an authorization of this index, by a city that knows no better."""
        city, found = self.pen(), {}
        for lock in self.locks:
            found[lock] = self.refused(city, lock, idx)
        return found

    def refused(self, city, lock, idx, tries=8):
        """Asked again where nothing comes: a subscription that was refused is made again after a minute or two."""
        gw, before = self.gateway_of(lock), self.movements(lock)
        for _ in range(tries):
            challenge = bytes.fromhex(self.recorder.lock(gw, lock)["challenge"])
            document = city.relayed(lock, challenge, idx, int(time.time()))
            cti = wire.claims(document)[wire.CTI].hex()
            self.publish(f"lockbridge/gw/{gw}/authorize", document)
            with contextlib.suppress(Failure):
                wait_for(f"{gw} answers", lambda: self.answers(cti), 20)
                break
        else:
            return "no answer"
        kind, reason = self.answers(cti)[0]
        moved = self.movements(lock) - before
        return reason if kind == "authorization.refused" and not moved else f"{kind} {reason}, moved {moved}"

    def says_at_the_door(self, lock, idx):
        """What the lock itself says to a phone of this index; its gateway may be in the way for a moment."""
        phone, said = wire.Key(), []
        for name, data in (("key.pem", phone.private_pem().encode()),
                           ("door.cose", self.pen().at_door(lock, phone, idx, int(time.time())))):
            with open(self.path(name), "wb") as f:
                f.write(data)

        def answered():
            with contextlib.suppress(Failure):
                said[:] = [self.at_door(self.path("key.pem"), self.path("door.cose"), lock).json]
            return said and said[0].get("outcome") in ("refused", "done")
        wait_for(f"{lock} answers at the door", answered, 90, 0.2)
        return said[0].get("reason") if said[0]["outcome"] == "refused" else f"it {said[0]['outcome']}"
