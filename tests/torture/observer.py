# SPDX-License-Identifier: Apache-2.0
"""Watches a World of tests/system/harness.py, and says which promises were broken (history.py lists them).

    observer = Observer(world)          # after world.start(); from then on it follows the recorder
    observer.broken()                   # at any moment, also under traffic
    observer.violations(settle=60)      # traffic stopped: waits until all is quiet, then asks everybody
    observer.violations(150, resolve=True)  # and until the last unknown outcome has become known

Three witnesses. The recorder hears the broker; its session there ends with each connection, and what it
missed it misses: a broker's memory of a session is of no use where brokers are killed, and would only
bring old messages back. The desk's registry has each event that serve filed. Whoever has a gap asks the gateway
itself by `replay`. The locks are asked what they hold, and the record of what their bolts did is read from disk.

Each may be absent: a Box has no desk, a killed lock-sim no answer. What a test does on purpose is told:
    observer.store_lost(gw)             # a new stream is no surprise, and what the old one knew may be open
    observer.set_back(stream)           # its store lost its newest part: the desk is to notice numbers given twice
    observer.other_root(gw)             # for a while: it forgets what the city signed
    observer.expect(alarm kind, ...)    # alarms at the desk that the fault is to raise
    observer.without(gw, ...)           # this gateway is not to be waited for (and stays so until .again())
"""

import base64
import contextlib
import json
import os
import sqlite3
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "system"))

from harness import Failure  # noqa: E402
from history import History  # noqa: E402

# What the desk raises when a promise was broken, or when somebody lies; anything else is news.
ALARMS = {"document-foreign", "event-chain", "event-fork", "event-malformed", "events-lost", "opened-by-unknown",
          "receipt-fork", "receipt-refused", "stream-moved", "keys-unknown"}


class Observer:
    def __init__(self, world):
        self.world = world
        self.history = History({lock: base64.b64decode(key) for lock, key in world.keys.items()})
        self.expected, self.absent = set(), set()
        self.mutex = threading.Lock()
        self.heard, self.filed, self.asked = [], 0, {}
        self._follow(world.recorder)

    def _follow(self, recorder):
        """Before the recorder keeps it: tests clear what it keeps."""
        keep = recorder.client.on_message
        with recorder.mutex:
            known = list(recorder.messages)

        def on_message(client, user, m):
            with self.mutex:
                self.heard.append((m.topic, m.payload))
            keep(client, user, m)
        recorder.client.on_message = on_message
        with self.mutex:
            self.heard[:0] = [(topic, payload) for _, topic, payload, _ in known]

    # --- what a test does on purpose ------------------------------------------------------------------------

    def store_lost(self, *gateways):
        self.history.store_lost |= set(gateways)
        self.history.forgotten |= {lock for gw in gateways for lock in self.world.layout[gw]}

    def set_back(self, *streams):
        """Before the next look: what was taken in is judged already."""
        self.history.set_back |= set(streams)

    def other_root(self, *gateways):
        self.history.rerooted |= set(gateways)

    def expect(self, *alarms):
        self.expected |= set(alarms)

    def without(self, *gateways):
        self.absent |= set(gateways)

    def again(self):
        self.absent.clear()

    def gateways(self):
        return [gw for gw in self.world.gateways if gw not in self.absent]

    def locks(self):
        return [(gw, lock) for gw in self.gateways() for lock in self.world.layout[gw]]

    # --- asking the witnesses -------------------------------------------------------------------------------

    def look(self):
        """Takes in what is known by now."""
        with self.mutex:
            heard, self.heard[:] = list(self.heard), []
        for topic, payload in heard:
            self.history.hear(topic, payload)
        self._read_desk()
        for lock in self.world.locks:
            self._read_lock(lock)

    def query(self, sql, *args):
        """Of the desk's registry; nothing where there is none."""
        path = self.world.path("desk", "desk.db")
        if not os.path.exists(path):
            return []
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as db:
            return db.execute(sql, args).fetchall()

    def _read_desk(self):
        since = self.filed
        for gateway, payload, filed in self.query("SELECT gateway, payload, filed FROM event WHERE filed >= ?", since):
            self.history.event(gateway, payload.encode())
            self.filed = max(self.filed, filed)
        for digest, document in self.query("SELECT digest, bytes FROM document"):
            if digest.hex() not in self.history.documents:
                self.history.document(document)
        for cti, idx, scope, via in self.query("SELECT cti, idx, scope, via FROM issued"):
            self.history.issue(cti.hex(), idx, scope, via == "door")
        for (receipt,) in self.query("SELECT bytes FROM receipt WHERE filed >= ?", since):
            self.history.receipt(receipt)

    def _read_lock(self, lock):
        path = self.world.path("locks", lock, "movements")
        if os.path.exists(path):
            with open(path, encoding="ascii") as f:
                self.history.movements(lock, [line.split()[0] for line in f if line.endswith("\n")])
        else:
            self.history.movements(lock, [])
        try:
            self.history.holds(lock, self.world.lock_report(lock)["applied"])
        except (OSError, Failure):
            pass  # lock-sim is down; its memory speaks when it is up again

    def ask(self, gw, what):
        """What a gateway says of itself at the box; None if it does not answer."""
        answer = self.world.ctl(gw, "--json", what)
        try:
            return json.loads(answer.out)
        except ValueError:
            return None

    def replay(self, gw, stream, first):
        """Asks the gateway for its events once more, not too often."""
        if time.monotonic() - self.asked.get(gw, 0) > 5:
            self.asked[gw] = time.monotonic()
            self.world.recorder.publish(f"lockbridge/gw/{gw}/replay", json.dumps({"stream": stream, "from": first}))

    # --- quiet ----------------------------------------------------------------------------------------------

    def unrest(self):
        """What is still to come, or will never come. Texts."""
        self.look()
        found = []
        for gw in self.gateways():
            found += [f"quiet: {gw}: {text}" for text in self._unrest_of(gw)]
        return found + self._awaited(self.history.open_ends() + self.history.unreported())

    def _awaited(self, texts):
        """Without what is about a gateway that is not waited for, or one of its locks."""
        absent = self.absent | {lock for gw in self.absent for lock in self.world.layout[gw]}
        return [text for text in texts if not absent & set(text.replace(":", " ").split())]

    def _unrest_of(self, gw):
        status, locks = self.ask(gw, "status"), self.ask(gw, "locks")
        if status is None or locks is None:
            return ["it does not answer at the box"]
        state, city = status["state"], self.world.recorder.state(gw)
        found = []
        if not status["broker"]["connected"] or self.world.recorder.last(f"lockbridge/gw/{gw}/presence") != b"online":
            found.append(f"it is not online: {status['broker']}")
        if state["outbox"]:
            found.append(f"{state['outbox']} events wait")
        gaps = self.history.missing({state["stream"]: state["seq"]})
        if gaps:
            self.replay(gw, state["stream"], 1)
            found += gaps
        if not city or (city["stream"], city["documents"]) != (state["stream"], state["documents"]):
            found.append("the city does not know what it holds")
        return found + self._behind(state) + [
            f"{lock['id']} does not hold what its gateway holds: {lock['problems']}"
            for lock in locks if lock["id"] in self.world.layout[gw] and not lock["current"]]

    def _behind(self, state):
        """Of each kind the newest that the desk signed with a key that is in use."""
        held = {d["digest"] for d in state["documents"]}
        newest = {}
        for slot, digest in self.query("SELECT d.slot, d.digest FROM document d JOIN key k ON k.kid = d.kid "
                                       "WHERE k.dropped IS NULL ORDER BY d.iat"):
            newest[slot] = digest.hex()
        return [f"it lacks the newest {slot} ({digest})" for slot, digest in newest.items() if digest not in held]

    def desk_lacks(self):
        """Where serve runs, the registry alone must have each stream whole, with nothing lost."""
        serve = getattr(self.world, "serve", None)
        if not serve or not serve.running():
            return []
        found = [f"quiet: the desk's stream {stream} of {gateway} is whole up to {whole}, not {last}"
                 for stream, gateway, whole, last in self.query(
                     "SELECT s.id, s.gateway, s.whole, (SELECT max(seq) FROM event WHERE stream = s.id) FROM stream s")
                 if last is not None and whole < last]
        found += self._beliefs()
        filed = {(lock, cti.hex()): n for lock, cti, n in self.query(
            "SELECT lock, cti, count(DISTINCT n) FROM receipt WHERE cti IS NOT NULL GROUP BY lock, cti")}
        return found + [f"receipt: {lock} moved {n} times for {cti}, the desk has {filed.get((lock, cti), 0)} receipts"
                        for lock, ctis in self.history.moved.items() for cti, n in ctis.items()
                        if filed.get((lock, cti), 0) < n]

    def _beliefs(self):
        """What the desk would tell of a relayed authorization is what the lock said of it."""
        believed = {cti.hex(): outcome for cti, outcome in self.query(
            "SELECT cti, outcome FROM issued WHERE via <> 'door' AND outcome IS NOT NULL")}
        moved = {cti: lock for lock, ctis in self.history.moved.items() for cti in ctis}
        found = [f"outcome: the desk believes that {cti} is done, and nothing moved"
                 for cti, outcome in believed.items() if outcome == "done" and cti not in moved]
        for cti, lock in moved.items():
            said = [result["outcome"] for result in self.history.words(lock).get(cti, [])]
            if cti in believed and said and said[-1] != believed[cti]:
                found.append(f"outcome: the desk believes that {cti} is {believed[cti]}, and {lock} said {said[-1]}")
        return found

    def alarms(self):
        lost = [f"chain: the desk lost {lost} events of {gateway}" for gateway, lost in
                self.query("SELECT gateway, lost FROM stream WHERE lost > 0") if "events-lost" not in self.expected]
        raised = [(kind, subject, detail) for kind, subject, detail in
                  self.query("SELECT kind, subject, detail FROM alarm") if kind in ALARMS - self.expected]
        twice = {stream: [a for a in raised if a[0] in ("event-fork", "event-chain") and stream in a[2]]
                 for stream in self.history.set_back}
        deaf = [f"alarm: numbers of stream {stream} were given twice, and the desk raised none"
                for stream in sorted(self.history.forked) if not twice[stream]]
        allowed = [a for alarms in twice.values() for a in alarms]
        return lost + deaf + [f"alarm: {kind}, {subject}: {detail}"
                              for kind, subject, detail in raised if (kind, subject, detail) not in allowed]

    # --- the verdict ----------------------------------------------------------------------------------------

    def broken(self):
        """What is broken already, whatever is still on its way."""
        self.look()
        return self.history.broken() + self.alarms()

    def violations(self, settle=60, resolve=False):
        """Waits up to `settle` seconds for quiet; every broken promise as a text, none if all hold. resolve: what
        is unknown must become known, which takes until the authorization has expired and the lock was asked."""
        end = time.monotonic() + settle
        while True:
            unrest = self.unrest() or self._awaited(self.desk_lacks() + (self.history.unknown() if resolve else []))
            if not unrest or time.monotonic() > end:
                break
            time.sleep(0.25)
        return self.history.broken() + self.alarms() + unrest
