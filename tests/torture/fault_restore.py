# SPDX-License-Identifier: Apache-2.0
"""Restore: a desk comes back from an old backup, with brokers that forgot and gateways that are away.

Each history, by seed: a backup is taken; phones are revoked, suspended, made valid, while some gateways are
away; the backup is put back. Then the broker may have lost everything or just the list, and gateways may be
away. The desk's next list must come after the newest that anybody in the field holds, and un-revoke nobody; as
long as the desk cannot know that list it must sign none, and say why. Real desk, gateways, locks, broker.
"""

import os
import shutil
import zlib

import wire
from harness import Failure, World, wait_for

PEOPLE = [("19121212-1212", "070-174 06 05"), ("811218-9876", "070-174 06 50"), ("850709-9805", "070-174 06 51"),
          ("640823-3234", "070-174 06 52")]
SLOT = "lockbridge/city/list/phones"


def statuses(document):
    raw = zlib.decompress(wire.claims(document)[wire.STATUS_LIST]["lst"])
    return {i: raw[i // 4] >> 2 * (i % 4) & 3 for i in range(4 * len(raw)) if raw[i // 4] >> 2 * (i % 4) & 3}


class Field(World):
    def __init__(self):
        super().__init__({"gw-0": ["lock-0"], "gw-1": ["lock-1"], "gw-2": ["lock-2"]}, motor=20)

    def up(self, gw):
        return self.process(gw).running()

    def lists(self):
        """digest -> list, all that were ever heard."""
        out = {}
        for _, topic, payload, _ in self.recorder.all(SLOT):
            if topic == SLOT and payload:
                out[wire.digest(payload).hex()] = payload
        return out

    def holds(self, gw):
        state = self.recorder.state(gw)
        return next((d["digest"] for d in (state or {"documents": []})["documents"] if d["name"] == "phones"), None)

    def act(self, *words, wait="8"):
        return self.desk("--json", *words, "--wait", wait)

    def empty_broker(self):
        """Its disk is gone. Gateways that are up connect again and say what they hold."""
        self.broker.kill()
        shutil.rmtree(self.path("broker"))
        os.makedirs(self.path("broker"))
        os.chmod(self.path("broker"), 0o777)
        self.broker_up()


class History:
    def __init__(self, ordeal, row, world, n):
        self.chance, self.row, self.world, self.n = ordeal.random, row, world, n
        self.told, self.ordeal = [], ordeal

    def wrong(self, text):
        self.row.violation(f"seed {self.ordeal.seed} history {self.n}: {'; '.join(self.told)}: {text}")

    def say(self, text):
        self.told.append(text)

    def down(self, gateways):
        for gw in gateways:
            self.world.process(gw).kill()

    def everybody_up(self):
        world = self.world
        for gw in world.gateways:
            if not world.up(gw):
                world.respawn(world.process(gw))
        for _, phone in PEOPLE:
            if self.chance.random() < 0.5:
                world.act("restore", "--phone", phone, wait="0")
        done = world.act("publish", wait="60")
        if done.status != 0:
            raise Failure(f"history {self.n} cannot begin: {done.out}{done.err}")

    def forget(self):
        """What will be forgotten; some gateways miss the end of it. The newest list, its holders."""
        world, chance = self.world, self.chance
        holders = set(world.gateways)
        for _ in range(chance.randrange(1, 4)):
            late = [gw for gw in sorted(holders) if len(holders) > 1 and chance.random() < 0.25]
            self.down(late)
            holders -= set(late)
            verb, who = chance.choice(["revoke", "revoke", "suspend", "restore"]), chance.choice(PEOPLE)
            self.say(f"{verb} {PEOPLE.index(who)} without {late or 'nobody missing'}")
            world.act(verb, "--phone", who[1], wait="0")
            newest = self.newest()
            wait_for("those who are up hold it", lambda: all(world.holds(gw) == newest for gw in holders), 40, 0.05)
        return self.newest(), holders

    def newest(self):
        """What the broker serves now; the desk's command returned when the broker had it."""
        self.world.recorder.barrier()
        return wire.digest(self.world.recorder.last(SLOT)).hex()

    def run(self):
        world, chance = self.world, self.chance
        self.everybody_up()
        shutil.rmtree(world.path("backup"), ignore_errors=True)
        shutil.copytree(world.path("desk"), world.path("backup"))
        newest, holders = self.forget()
        lists = world.lists()
        loss = chance.choice(["nothing", "nothing", "its list", "everything"])
        away = set(world.gateways) if chance.random() < 0.3 else {gw for gw in world.gateways if chance.random() < 0.4}
        away |= {gw for gw in world.gateways if not world.up(gw)} if chance.random() < 0.6 else set()
        self.say(f"broker lost {loss}, away {sorted(away)}, holders {sorted(holders)}")
        self.down(away)
        shutil.rmtree(world.path("desk"))
        shutil.copytree(world.path("backup"), world.path("desk"))
        backed_up = self.registry()
        if loss == "its list":
            world.recorder.publish(SLOT, b"", retain=True)
            world.recorder.barrier()
        elif loss == "everything":
            world.empty_broker()
        for gw in set(world.gateways) - away:
            if not world.up(gw):
                world.respawn(world.process(gw))
        world.recorder.barrier()
        self.judge(lists, newest, holders, backed_up, loss, away)

    def registry(self):
        return {p["number"]: (p["index"], p["status"]) for p in self.world.desk("staff", "list", "--json").json}

    def judge(self, lists, newest, holders, backed_up, loss, away):
        world, chance = self.world, self.chance
        there = holders - away
        knowable = loss == "nothing" or there
        must_know = newest not in self.known  # nothing was forgotten, if the backup has it
        who = chance.choice(PEOPLE)
        wanted = dict(statuses(lists[newest]))
        for index, status in backed_up.values():
            if status != "valid":
                wanted[index] = max(wanted.get(index, 0), 0) or (1 if status == "revoked" else 2)
        index = next(i for number, (i, _) in backed_up.items() if number.endswith(who[1].replace(" ", "")[-6:]))
        wanted[index] = 1
        before = len(world.recorder.all(SLOT))
        done = world.act("revoke", "--phone", who[1], wait="4" if not knowable else "20")
        world.recorder.barrier()
        fresh = [m[2] for m in world.recorder.all(SLOT)[before:] if m[2] and wire.digest(m[2]).hex() not in lists]
        self.row.tried()
        if not knowable and must_know:
            if fresh:
                self.wrong(f"it signed {statuses(fresh[-1])} though nobody could tell it the newest list "
                           f"{statuses(lists[newest])}")
            error = done.json.get("error", "")
            if done.status != 4 or "newer list" not in error and "does not know" not in error:
                self.wrong(f"no clear words: {done.out}{done.err}")
            for gw in sorted(away):
                world.respawn(world.process(gw))
            done = world.act("publish", wait="40")
        self.compare(lists, newest, wanted, done)

    def compare(self, lists, newest, wanted, done):
        """The list that is in force in the end."""
        world = self.world
        iat = wire.claims(lists[newest])[wire.IAT]

        def last():
            payload = world.recorder.last(SLOT)
            if payload and wire.digest(payload).hex() not in lists:
                return payload
            # nothing new to sign is fine where the newest says it all
            return lists[newest] if payload and statuses(payload) == wanted else None
        try:
            document = wait_for("a new list", last, 30, 0.05)
        except Failure:
            return self.wrong(f"no list was signed in the end: {done.out}{done.err}")
        if wire.claims(document)[wire.IAT] <= iat and document != lists[newest]:
            self.wrong(f"iat {wire.claims(document)[wire.IAT]} is not after {iat}")
        got = statuses(document)
        # what the backup has as suspended, and the field as revoked, is revoked
        if {i for i in wanted} - set(got) or any(got[i] != 1 for i, s in wanted.items() if s == 1):
            self.wrong(f"somebody is un-revoked: {got}, expected at least {wanted}")
        # a list between the backup and the newest may be met as well: every status but 0 of it is taken over
        met = {i for digest, d in lists.items() if digest not in self.known for i in statuses(d)}
        if set(got) - set(wanted) - met:
            self.wrong(f"somebody is revoked whom nobody revoked: {got}, expected {wanted}")
        return None


def run(ordeal):
    row = ordeal.row("restore: a desk from an old backup, brokers that forgot, gateways away")
    with Field() as world:
        world.start()
        world.serve.stop()
        for person, phone in PEOPLE:
            world.desk("staff", "add", "--person", person, "--phone", phone).ok()
        for n in range(3 if ordeal.quick else 150):
            if ordeal.over():
                break
            history = History(ordeal, row, world, n)
            history.everybody_up()
            history.known = set(world.lists())
            history.run()
            ordeal.log(f"history {n}: {'; '.join(history.told)}")
