# SPDX-License-Identifier: Apache-2.0
"""What gateways, locks and the city said and did, from any number of witnesses, and what it must never show.

Pure: the observer feeds it, and so do made-up histories in test_observer.py. No check goes by the time at
which something was heard: witnesses miss messages, brokers repeat old ones. What counts is order that
cannot be argued with: a gateway's events by their number, a lock's receipts by theirs.

  movement  at most once per relayed authorization, and none that no gateway accepted. One for the door serves for
            a shift: there each movement has a receipt of its own
  chain     numbers without a gap, each naming the hash of the one before, no number with two contents
  outcome   each accepted authorization has one; done if and only if the bolt moved; once known it stays
  rollback  what a gateway or a lock says that it holds never gets older; a dead signer's may be replaced
  revoked   who holds a list opens nothing for those whom it revokes
  receipt   each movement has the lock's signed word, and a number of a lock has one content only
"""

import base64
import collections
import hashlib
import json
import zlib

import wire

ROOT = "lockbridge/"
LISTS_NOT = ("keys", "policy")


def unbase64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class List:
    """A revocation list that the city signed."""

    def __init__(self, claims):
        self.name, self.iat = claims[wire.SUB].rpartition("/")[2], claims[wire.IAT]
        self.bits = claims[wire.STATUS_LIST]["bits"]
        self.raw = zlib.decompress(claims[wire.STATUS_LIST]["lst"])

    def status(self, idx):
        at = idx * self.bits
        if at // 8 >= len(self.raw):
            return 1  # outside counts as revoked
        return self.raw[at // 8] >> at % 8 & (1 << self.bits) - 1


class History:
    def __init__(self, keys=None):
        self.keys = keys or {}  # lock -> its public key, 32 bytes: receipts are verified where it is known
        self.streams = collections.defaultdict(dict)  # stream -> seq -> payload
        self.events = collections.defaultdict(dict)  # stream -> seq -> what the payload says
        self.owners = {}  # stream -> gateway
        self.states = collections.defaultdict(dict)  # (gateway, stream) -> (seq, documents as text) -> documents
        self.documents = {}  # digest -> (name, iat, kid of the signer)
        self.lists = {}  # digest -> List
        self.issued = {}  # cti -> {"idx", "list", "scope", "door"}
        self.moved = {}  # lock -> Counter of ctis
        self.receipts = collections.defaultdict(dict)  # lock -> n -> (bytes, result, cti)
        self.held = {}  # lock -> name -> iat, as it said last
        self.homeless = set()  # streams of agents that could not open their disk, and ran from memory
        self.store_lost = set()  # gateways of which a new stream is no surprise
        self.set_back = set()  # streams whose store lost its newest part: numbers are given twice, see forked
        self.forked = set()  # those of which that was seen
        self.rerooted = set()  # gateways that were given another root: what the former one signed is gone
        self.forgotten = set()  # their locks: what became of an authorization may be known to nobody
        self.wrong = []  # what was found while listening

    # --- what witnesses say -------------------------------------------------------------------------------

    def hear(self, topic, payload):
        """A message of the broker's; retained ones too: what was once said was said."""
        if not topic.startswith(ROOT) or not payload:
            return
        where = topic[len(ROOT):].split("/")
        if where[0] == "city":
            self.document(payload)
        elif where[0] == "gw" and len(where) >= 3:
            gateway, what = where[1], where[2]
            if what == "event":
                self.event(gateway, payload)
            elif what == "state":
                self.state(gateway, json.loads(payload))
            elif what == "authorize":
                self.authorization(payload)
            elif what == "document":
                self.document(payload)

    def event(self, gateway, payload):
        event = json.loads(payload)
        stream, seq = event["stream"], event["seq"]
        had = self.streams[stream].get(seq)
        if had == payload:
            return
        if had is not None and stream in self.set_back:
            self.forked.add(stream)
            self._carried(event)
            return
        if had is not None:
            self.wrong.append(f"chain: {gateway}: two events with number {seq} in stream {stream}: "
                              f"{had.decode()} and {payload.decode()}")
            return
        if self.owners.setdefault(stream, gateway) != gateway:
            self.wrong.append(f"chain: stream {stream} of {self.owners[stream]} comes from {gateway}")
        self.streams[stream][seq], self.events[stream][seq] = payload, event
        self._carried(event)

    def _carried(self, event):
        if "receipt" in event:
            self.receipt(unbase64url(event["receipt"]))
        if "copy" in event:
            self.document(unbase64url(event["copy"]))

    def _whole(self):
        """Streams whose numbers give an order; what one that was set back did twice, the lock tells."""
        return [stream for stream in self.events if stream not in self.set_back]

    def state(self, gateway, state):
        """What it holds, under the number of its newest event: that orders states, however they come."""
        documents = {d["name"]: (d["iat"], d["digest"]) for d in state["documents"]}
        self.states[gateway, state["stream"]][state["seq"], json.dumps(documents, sort_keys=True)] = documents
        codes = {problem["code"] for problem in state.get("problems", [])}
        if not documents and codes & {"store-failed", "store-full"}:
            self.homeless.add(state["stream"])

    def document(self, payload):
        """A document of the city's that somebody passed on; rubbish is not ours to judge."""
        try:
            header = wire.cbor2.loads(wire.message(payload)[0])
            claims, digest = wire.claims(payload), wire.digest(payload).hex()
            kind = header[16].rpartition("/")[2].rpartition("+")[0]
            if kind == "statuslist":
                self.lists[digest] = List(claims)
                name = self.lists[digest].name
            elif kind in ("lockbridge-keys", "lockbridge-policy"):
                name = kind.rpartition("-")[2]
            else:
                return
            self.documents[digest] = (name, claims[wire.IAT], header[4].hex())
        except Exception:
            return

    def authorization(self, payload):
        try:
            claims = wire.claims(payload)
            status = claims[wire.STATUS]["status_list"]
            self.issue(claims[wire.CTI].hex(), status["idx"], claims[wire.SCOPE], wire.CNF in claims,
                       status["uri"].rpartition("/")[2])
        except Exception:
            return

    def issue(self, cti, idx, scope, door, name=None):
        """What an authorization says; name: of its list, None where the city has but one."""
        self.issued.setdefault(cti, {"idx": idx, "scope": scope, "door": door, "list": name})

    def movements(self, lock, ctis):
        """All that ever moved this bolt."""
        self.moved[lock] = collections.Counter(ctis)

    def receipt(self, payload):
        claims = wire.claims(payload)
        lock, result, cti = claims[wire.ISS], claims[wire.RESULT], claims.get(wire.CTI)
        if lock in self.keys:
            try:
                wire.verify(payload, self.keys[lock])
            except Exception:
                self.wrong.append(f"receipt: one of {lock} is not signed with its key")
                return
        if "n" not in result:
            return
        had = self.receipts[lock].setdefault(result["n"], (payload, result, cti.hex() if cti else None))
        if had[0] != payload:
            self.wrong.append(f"receipt: {lock}: two with the number {result['n']}")

    def holds(self, lock, applied):
        """What a lock says just now that it holds: name -> iat. To be told in the order in which it was asked."""
        before, self.held[lock] = self.held.get(lock, {}), dict(applied)
        for name, iat in before.items():
            now = applied.get(name)
            if now is None or (now < iat and not self.other_signer((name, iat), (name, now))):
                self.wrong.append(f"rollback: {lock} held {name} of {iat}, now {now}")

    # --- what must hold -----------------------------------------------------------------------------------

    def signers(self, name, iat):
        return {kid for n, i, kid in self.documents.values() if (n, i) == (name, iat)}

    def other_signer(self, old, new):
        """Was the older one signed by another key? Then an earlier time is no rollback."""
        a, b = self.signers(*old), self.signers(*new)
        return bool(a and b and not a & b)

    def back(self, before, after):
        """name -> (iat, digest), twice: the first document that got lost or older."""
        for name, (iat, digest) in before.items():
            if name not in after:
                return f"{name} of {iat} is gone"
            now, other = after[name]
            if now < iat and not self.other_signer((name, iat), (name, now)):
                return f"{name} of {iat} became {now}"
            if now == iat and other != digest and not self.other_signer((name, iat), (name, now)):
                return f"{name} of {iat} has two contents"
        return None

    def broken(self):
        """Broken promises, as far as can be said at any moment. Texts."""
        return (self.wrong + self._moved_twice() + self._chains() + self._streams() + self._outcomes()
                + self._gateways_back() + self._locks_back() + self._revoked_accepted() + self._revoked_moved()
                + self._without_list())

    def at_door(self, lock, cti):
        """By what the city issued; else by the lock's word."""
        if cti in self.issued:
            return self.issued[cti]["door"]
        return any(result.get("via") == "door" for result in self.words(lock).get(cti, []))

    def _moved_twice(self):
        return [f"movement: {lock} moved {n} times for {cti}" for lock, ctis in self.moved.items()
                for cti, n in ctis.items() if n > 1 and not self.at_door(lock, cti)]

    def _chains(self):
        found = []
        for stream in self._whole():
            payloads = self.streams[stream]
            for seq, event in self.events[stream].items():
                before = payloads.get(seq - 1)
                if seq > 1 and before is None:
                    continue  # a gap, see missing()
                prev = hashlib.sha256(before).hexdigest() if seq > 1 else "0" * 64
                if event["prev"] != prev:
                    found.append(f"chain: {self.owners[stream]}: event {seq} of stream {stream} does not follow "
                                 "the one before")
        return found

    def _streams(self):
        """A second stream means that a store was lost."""
        of = collections.defaultdict(set)
        for stream, gateway in self.owners.items():
            # one of refusals only: a disk took nothing, and they were told aside
            if stream not in self.homeless and any(event["type"] != "authorization.refused"
                                                   for event in self.events[stream].values()):
                of[gateway].add(stream)
        return [f"rollback: {gateway} lost its store: streams {sorted(streams)}"
                for gateway, streams in of.items() if len(streams) > 1 and gateway not in self.store_lost]

    def told(self, stream):
        """cti -> its events in this stream, in order."""
        told = collections.defaultdict(list)
        for _, event in sorted(self.events[stream].items()):
            if event["type"].startswith("authorization.") and "cti" in event:
                told[event["cti"]].append(event)
        return told

    def _outcomes(self):
        return [text for stream in self._whole() for cti, events in self.told(stream).items()
                for text in self._outcome(self.owners[stream], cti, events)]

    def _outcome(self, gateway, cti, events):
        kinds = [e["type"].rpartition(".")[2] for e in events]
        outcomes = [e for e in events if e["type"] == "authorization.outcome"]
        found = []
        if kinds.count("accepted") > 1:
            found.append(f"movement: {gateway} accepted {cti} twice")
        known = [e["outcome"] for e in outcomes if e["outcome"] != "unknown"]
        if len(set(known)) > 1 or (known and outcomes[-1]["outcome"] == "unknown"):
            found.append(f"outcome: {gateway}: {cti} was {[e['outcome'] for e in outcomes]}")
        for e in outcomes[-1:]:
            moved = self.moved.get(e.get("lock"), {}).get(cti, 0)
            if e["outcome"] == "done" and e.get("lock") in self.moved and not moved:
                found.append(f"outcome: {gateway} says that {cti} is done, and {e['lock']} did not move")
            if e["outcome"] == "failed" and moved and "receipt" not in e:  # with one, the lock itself says so
                found.append(f"outcome: {gateway} says that {cti} failed ({e.get('reason')}), and {e['lock']} moved")
        return found

    def _gateways_back(self):
        found = []
        for (gateway, stream), states in self.states.items():
            if stream in self.set_back:
                continue
            by_seq = collections.defaultdict(list)
            for (seq, _), documents in states.items():
                by_seq[seq].append(documents)
            seqs = sorted(by_seq)
            for before, after in zip(seqs, seqs[1:]):
                texts = {self.back(a, b) for a in by_seq[before] for b in by_seq[after]} - {None}
                if gateway in self.rerooted:
                    texts = {text for text in texts if not text.endswith("is gone")}
                found += [f"rollback: {gateway}: {text}, between events {before} and {after} of {stream}"
                          for text in sorted(texts)]
        for stream in self._whole():
            held = {}
            for seq, e in sorted(self.events[stream].items()):
                d = e.get("document") or {}
                if e["type"] != "document.applied" or d.get("kind") not in ("keys", "policy", "list"):
                    continue
                new = {d["name"]: (d["iat"], d["digest"])}
                text = self.back({n: v for n, v in held.items() if n in new}, new)
                if text:
                    found.append(f"rollback: {self.owners[stream]} applied: {text}, event {seq} of {stream}")
                held.update(new)
        return found

    def _locks_back(self):
        found = []
        for lock, receipts in self.receipts.items():
            before = {}
            for n, (_, result, _) in sorted(receipts.items()):
                applied = {name: (iat, digest.hex()) for name, (iat, digest) in result.get("applied", {}).items()}
                text = self.back(before, applied) if result["outcome"] not in ("claimed", "released") else None
                if text:
                    found.append(f"rollback: {lock}: {text}, with receipt {n}")
                before = {} if result["outcome"] == "released" else applied
        return found

    def revokes(self, digest, cti):
        """Does this list revoke the index that cti names, and did no later one take that back?"""
        revoked, what = self.lists.get(digest), self.issued.get(cti)
        if not revoked or not what or what["scope"] == "lock" or what["list"] not in (None, revoked.name):
            return False
        return revoked.status(what["idx"]) != 0 and not any(
            later.name == revoked.name and later.iat > revoked.iat and later.status(what["idx"]) == 0
            for later in self.lists.values())

    def _revoked_accepted(self):
        """A gateway that held the list, by its own word, and accepted later."""
        found = []
        for stream in self._whole():
            gateway, holds = self.owners[stream], {}  # digest -> from which event on
            for seq, e in self.events[stream].items():
                if e["type"] == "document.applied" and e["document"].get("kind") == "list":
                    holds[e["document"]["digest"]] = seq
            for (seq, _), documents in self.states.get((gateway, stream), {}).items():
                for name, (_, digest) in documents.items():
                    if name not in LISTS_NOT:
                        holds[digest] = min(seq, holds.get(digest, seq))
            for cti, told in self.told(stream).items():
                for e in told:
                    found += [f"revoked: {gateway} held the list {digest} from event {since} on, and accepted "
                              f"{cti} with event {e['seq']}" for digest, since in holds.items()
                              if e["type"] == "authorization.accepted" and e["seq"] > since
                              and self.revokes(digest, cti)]
        return found

    def _without_list(self):
        """A gateway that said that it holds no list, and accepted what needs one. Each start is a new beginning:
        what it found on its disk then is in its next state, which may have been missed."""
        found = []
        for stream in self._whole():
            gateway, bare = self.owners[stream], None
            states = collections.defaultdict(list)
            for (seq, _), documents in self.states.get((gateway, stream), {}).items():
                states[seq].append(all(name in LISTS_NOT for name in documents))
            for seq, e in sorted(self.events[stream].items()):
                if e["type"] == "gateway.started" or (e["type"] == "document.applied"
                                                      and e["document"].get("kind") == "list"):
                    bare = None
                elif bare is not None and e["type"] == "authorization.accepted" and e.get("scope") != "lock":
                    found.append(f"revoked: {gateway} held no list with event {bare}, and accepted {e['cti']} with "
                                 f"event {seq}")
                if states.get(seq):
                    bare = seq if all(states[seq]) else None
        return found

    def _revoked_moved(self):
        """A lock that held the list, by the receipt before, and moved."""
        found = []
        for lock, receipts in self.receipts.items():
            applied = {}
            for n, (_, result, cti) in sorted(receipts.items()):
                if cti in self.moved.get(lock, {}):
                    found += [f"revoked: {lock} held {name} ({digest.hex()}), and moved for {cti}, receipt {n}"
                              for name, (_, digest) in applied.items() if self.revokes(digest.hex(), cti)]
                applied = result.get("applied", {})
        return found

    # --- what must hold once all is quiet -----------------------------------------------------------------

    def missing(self, newest):
        """newest: stream -> its newest number. Gaps in chains that nobody could fill."""
        found = []
        for stream, last in newest.items():
            gaps = [seq for seq in range(1, last + 1) if seq not in self.streams.get(stream, {})]
            if gaps:
                found.append(f"chain: {self.owners.get(stream, stream)}: {len(gaps)} events are missing, "
                             f"from {gaps[0]} on")
        return found

    def open_ends(self):
        return [f"outcome: {self.owners[stream]} accepted {cti}, and says no more"
                for stream in self.events if self.owners[stream] not in self.store_lost
                for cti, events in self.told(stream).items()
                if {"authorization.accepted"} == {e["type"] for e in events
                                                  if e["type"] != "authorization.refused"}]

    def unknown(self):
        """Whose outcome nobody knows, and of which the lock said nothing: once expired, they become `failed`."""
        found = []
        for stream in self.events:
            for cti, events in self.told(stream).items():
                last = [e for e in events if e["type"] == "authorization.outcome"][-1:]
                if last and last[0]["outcome"] == "unknown" and last[0]["lock"] not in self.forgotten \
                        and not self.words(last[0]["lock"])[cti]:
                    found.append(f"outcome: {self.owners[stream]} does not know what became of {cti}")
        return found

    def words(self, lock):
        """cti -> what the lock's receipts say of it, in order."""
        words = collections.defaultdict(list)
        for _, (_, result, cti) in sorted(self.receipts.get(lock, {}).items()):
            if cti:
                words[cti].append(result)
        return words

    def unreported(self):
        """Movements without a receipt, or that nobody accepted, or whose receipt changed nobody's mind."""
        told = collections.defaultdict(list)
        for stream in self.events:
            for cti, events in self.told(stream).items():
                told[cti] += events
        found = []
        for lock, ctis in self.moved.items():
            words = self.words(lock)
            for cti, n in ctis.items():
                if len(words[cti]) < n:
                    found.append(f"receipt: {lock} moved {n} times for {cti}, and there are {len(words[cti])} receipts")
                elif not self.at_door(lock, cti) and lock not in self.forgotten:
                    found += self._unsettled(lock, cti, words[cti][-1]["outcome"], told[cti])
        return found

    def _unsettled(self, lock, cti, word, events):
        """One that moved by relay: word is the lock's."""
        last = [e["outcome"] for e in events if e["type"] == "authorization.outcome"][-1:]
        if "authorization.accepted" not in [e["type"] for e in events]:
            return [f"movement: {lock} moved for {cti}, which no gateway accepted"]
        if last == ["unknown"] and word in ("done", "failed"):
            return [f"outcome: {lock} said {word} of {cti}, and it is still unknown"]
        return []
