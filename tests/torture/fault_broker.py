# SPDX-License-Identifier: Apache-2.0
"""A broker that lies to the gateways or to the desk, forgets, or is killed between PUBACK and its save.

The world is between.py's: real brokers, agents and desk, and a proxy for either side. A try is one episode: traffic,
a lie of one kind for some seconds with a revocation in the middle of it, then honesty. After that the observer's
promises must hold, within a bounded wait and without anyone's help: each gateway and each lock holds the newest
list, the desk knows it and has every event; whom the city revoked is refused at every door; who may, opens.
"""

import contextlib
import os
import random
import shutil
import threading
import time
import traceback

from between import Between
from harness import Failure, wait_for
from lies import LIES
from traffic import Member, Traffic
import wire

SETTLE_S = 200  # the longest back-offs: 60 s without a PUBACK, 120 s between two questions of the desk
ROUNDS = 2
KILLS = 100
STORIES = 12
DOOR = 0.3  # how often the lock itself is asked as well
QUICK = ("older retained", "duplicate")
# What comes down to the desk is what gateways say, unsigned: damage to that is told by the events' chain, as alarms,
# and is a broker's to do. The rest concerns what only gateways are sent.
NOT_FOR_DESKS = ("damaged", "late will", "wrong gateway")
VICTIMS = 4
PORTS = threading.Lock()  # worlds that begin at once must not choose the same


class Scene:
    """One world, its traffic, and those who are suspended and restored in turn."""

    def __init__(self, ordeal, traffic=True, **options):
        self.ordeal, self.random = ordeal, random.Random(ordeal.random.getrandbits(64))
        with PORTS:
            self.world = Between(self.random, **options)
        self.victims, self.suspended, self.good = [], None, None
        try:
            self.world.start()
            self.enrol()
            self.traffic = Traffic(self.world, self.random, staff=4, relayed=2, door=False) if traffic else None
            if traffic:
                self.traffic.__enter__().pause()
        except BaseException:
            self.world.close()
            raise
        self.arm()

    def enrol(self):
        """Numbers from the far end of those that Traffic takes from the front."""
        for n in range(VICTIMS + 1):
            member = Member(94 - n)
            self.world.desk("staff", "add", "--person", member.person, "--phone", member.phone, "--app",
                            "se.example.homecare", "--platform", "any").ok()
            member.index = self.world.index(member.phone)
            self.victims.append(member)
        self.good = self.victims.pop()

    def arm(self):
        """Older documents of the city's own hand, hours old authorizations, and those of another city."""
        pen, now, foreign = self.world.pen(), int(time.time()), wire.City()
        foreign.uri = pen.uri
        name = pen.uri.rpartition("/")[2]
        root = wire.message(self.world.document("keys/%"))[0]
        kid = wire.cbor2.loads(root)[4].hex()
        hours = [now - 3600 * n for n in (1, 5, 20)]
        for proxy in self.world.gates:
            for then in hours:
                proxy.old += [(f"lockbridge/city/list/{name}", pen.list(then, {}, entries=8192)),
                              ("lockbridge/city/policy", pen.policy(then, require_pin=False, max_relay=3600 * 24)),
                              (f"lockbridge/city/keys/{kid}", pen.keys(then)),
                              ("lockbridge/gw/%/document", pen.list(then, {}))]
                proxy.old += [("lockbridge/gw/%/authorize", pen.relayed(lock, os.urandom(8), self.good.index, then))
                              for lock in self.world.locks]
            proxy.foreign += [(f"lockbridge/city/list/{name}", foreign.list(now + 9, {})),
                              ("lockbridge/city/list/other", foreign.list(now + 9, {}, uri="https://x.example/other")),
                              ("lockbridge/city/policy", foreign.policy(now + 9)),
                              (f"lockbridge/city/keys/{foreign.root.kid.hex()}", foreign.keys(now + 9)),
                              (f"lockbridge/city/keys/{kid}", foreign.keys(now + 9)),
                              ("lockbridge/gw/%/document", foreign.list(now + 9, {})),
                              ("lockbridge/gw/%/authorize", foreign.relayed("lock-1", os.urandom(8), 1, now)),
                              ("lockbridge/gw/%/authorize", self.world.document("list/%")),
                              ("lockbridge/gw/%/replay", b'{"stream": "00", "from": 1}')]

    # --- acts -------------------------------------------------------------------------------------------

    def swap(self):
        """Honest times: who was suspended may again."""
        if self.suspended:
            self.world.desk("restore", "--phone", self.suspended.phone, "--no-wait")
        self.suspended = None

    def revoke(self):
        """A new list in the middle of the lie; the answer's exit status tells whether the brokers had it."""
        victim = self.victims.pop(0)
        self.victims.append(victim)
        self.suspended = victim
        return self.world.desk("suspend", "--phone", victim.phone, "--no-wait").status

    def unlock(self, lock, who=None):
        """One command; what the desk said, and how often the bolt moved for what it signed."""
        before = self.world.issued()
        said = self.world.desk("--json", "unlock", "--phone", (who or self.good).phone, "--lock", lock, "--wait", "10")
        return said.json, self.world.movements(lock, self.world.issued() - before)

    # --- the verdict --------------------------------------------------------------------------------------

    def verdict(self, settle=SETTLE_S):
        """All that is wrong, once traffic stands and nobody lies."""
        found, begun = [], time.monotonic()
        if self.suspended:
            try:
                wait_for("the desk signs the new list", lambda: self.world.status_signed(self.suspended.index), settle)
            except Failure as e:
                found.append(str(e))
        found += self.world.observer.violations(settle - (time.monotonic() - begun))
        found += [f"the proxy could not read: {fault}" for fault in self.world.faults()]
        for name in self.world.gateways + ["serve"]:
            if not self.world.process(name).running():
                found.append(f"{name} ended: {self.world.process(name).output()[-500:]}")
        if self.traffic:
            found += self.traffic.errors
        if found:
            return found
        if self.suspended:
            for lock, reason in self.world.refused_everywhere(self.suspended.index).items():
                if reason not in ("suspended", "busy"):
                    found.append(f"{lock}: {self.suspended.phone} is suspended, and the gateway said: {reason}")
        lock = self.random.choice(self.world.locks)
        if self.suspended and self.random.random() < DOOR:
            said = self.world.says_at_the_door(lock, self.suspended.index)
            if said != "suspended":
                found.append(f"{lock}: {self.suspended.phone} is suspended, and the lock said: {said}")
        try:
            wait_for(f"{lock} opens for who may", lambda: self.unlock(lock)[0]["outcome"] == "done", 90, 0.5)
        except Failure as e:
            found.append(str(e))
        return found

    def close(self):
        if self.traffic:
            self.traffic.over.set()
            self.traffic.running.set()
        self.world.close()


@contextlib.contextmanager
def scenes(ordeal, **options):
    """A place for one scene after another: after a violation the next try gets a fresh one."""
    place = {"scene": None}  # the one in use

    def get():
        if not place["scene"]:
            place["scene"] = Scene(ordeal, **options)
        return place["scene"]

    def judge(row, what, found):
        row.tried()
        for text in found:
            row.violation(f"{what}: {text}")
        if found:
            for name in place["scene"].world.gateways + ["serve"]:
                ordeal.log(f"--- {name}\n{place['scene'].world.process(name).output()[-2000:]}")
            place["scene"].close()
            place["scene"] = None
    try:
        yield get, judge
    finally:
        if place["scene"]:
            place["scene"].close()


# --- lies to the gateways -------------------------------------------------------------------------------


def lie_to_gateways(scene, kind, seconds):
    scene.swap()
    proxy = scene.world.gates[0]
    before = proxy.lied
    scene.traffic.go()
    # "connack" and "suback" need a connection that begins under them
    proxy.lie(kind, chance=scene.random.choice((0.3, 0.6, 1.0)))
    begins = kind in ("connack", "suback", "deaf", "older retained")
    if begins:
        proxy.cut()
    end = time.monotonic() + seconds
    while time.monotonic() < end / 2 + (end - seconds) / 2 or proxy.lied == before:
        if time.monotonic() > end + 40:
            break
        time.sleep(0.05)
    scene.revoke()
    while time.monotonic() < end:
        time.sleep(0.05)
    proxy.honest(cut=LIES[kind].sticks or scene.random.random() < 0.3)
    scene.traffic.pause()
    return scene.verdict() + ([] if proxy.lied > before else ["it was never told"])


# --- lies to the desk -----------------------------------------------------------------------------------


def answers_are_true(scene, lock):
    """'done' moved the bolt once, 'refused' not, and no answer at most once."""
    said, moved = scene.unlock(lock)
    scene.ordeal.log(f"  desk: {said['outcome']} {said.get('reason', '')}, moved {moved}")
    if moved > 1 or (said["outcome"] == "done") > moved or (said["outcome"] == "refused" and moved):
        return [f"the desk said {said}, and the bolt moved {moved} times"]
    return []


def lie_to_desk(scene, kind, seconds):
    scene.swap()
    proxy = scene.world.desks[0]
    before, found = proxy.lied, []
    proxy.lie(kind, chance=scene.random.choice((0.3, 0.6, 1.0)))
    if scene.random.random() < 0.5 or kind in ("connack", "suback", "deaf"):
        proxy.cut()
    end = time.monotonic() + seconds
    found += answers_are_true(scene, scene.random.choice(scene.world.locks))
    scene.revoke()
    while time.monotonic() < end or (proxy.lied == before and time.monotonic() < end + 40):
        found += answers_are_true(scene, scene.random.choice(scene.world.locks))
    proxy.honest(cut=LIES[kind].sticks or scene.random.random() < 0.3)
    return found + scene.verdict() + ([] if proxy.lied > before else ["it was never told"])


def tell_lies(ordeal, side, act, kinds, rounds, seconds):
    rows = {kind: ordeal.row(f"{side}: {LIES[kind].words}") for kind in kinds}
    with scenes(ordeal, traffic=act is lie_to_gateways) as (get, judge):
        for n in range(rounds):
            for kind in kinds:
                if ordeal.over() and rows[kind].tries:
                    return
                begun = time.monotonic()
                found = act(get(), kind, seconds)
                ordeal.log(f"{side}: {kind}, round {n}: {time.monotonic() - begun:.1f} s, "
                           f"{len(found)} violations")
                judge(rows[kind], f"{kind}, round {n}", found)


# --- brokers that forget ----------------------------------------------------------------------------------


def kill_at_ack(world, i, topic):
    """SIGKILL in the moment in which the broker's PUBACK for a publish on this topic has come, before it goes on."""
    killed = []

    def on_ack(acked):
        if topic in acked and not killed:
            killed.append(acked)
            os.kill(world.brokers[i].popen.pid, 9)
    world.desks[i].on_ack = on_ack
    return killed


def killed_before_save(scene):
    """A new list is acknowledged, the broker killed, and what it saved before comes back: less, or older."""
    world = scene.world
    scene.swap()
    if scene.random.random() < 0.6:
        world.save()  # an older story; else what it saved in an earlier try, or at the beginning nothing
    if scene.random.random() < 0.5:
        world.gates[0].lie("swallow" if scene.random.random() < 0.3 else "delay", chance=1.0)
    killed = kill_at_ack(world, 0, "/city/list/")
    scene.revoke()
    try:
        wait_for("the list's PUBACK", lambda: killed, 20)
    except Failure:
        world.brokers[0].kill()
    world.brokers[0].kill()
    world.desks[0].on_ack = None
    time.sleep(scene.random.uniform(0, 0.3))
    world.gates[0].honest()
    came = world.raise_broker()
    return ([] if came else ["the broker did not come back"]) + scene.verdict()


def forget_all(scene):
    scene.swap()
    scene.world.brokers[0].kill()
    shutil.rmtree(scene.world.path("broker-0"))
    os.mkdir(scene.world.path("broker-0"))
    scene.revoke()
    return ([] if scene.world.raise_broker() else ["the broker did not come back"]) + scene.verdict()


def damage_database(scene):
    """Truncated, or with some bytes turned; if it will not start with that, its operator takes it away."""
    world = scene.world
    scene.swap()
    world.save()
    world.brokers[0].kill()
    with open(world.database(), "r+b") as f:
        size = f.seek(0, 2)
        if scene.random.random() < 0.5:
            f.truncate(scene.random.randrange(size))
        else:
            for _ in range(scene.random.randrange(1, 20)):
                f.seek(scene.random.randrange(size))
                f.write(scene.random.randbytes(scene.random.randrange(1, 8)))
    scene.revoke()
    if not world.raise_broker():
        scene.ordeal.log("  it did not start with that")
        os.unlink(world.database())
        world.raise_broker()
    return scene.verdict()


def two_stories(scene):
    """While one broker is away the list changes; then the other one goes, and the first comes with its old story."""
    world, first = scene.world, scene.random.randrange(2)
    scene.swap()
    if scene.random.random() < 0.7:
        world.save(first)
    world.brokers[first].kill()
    scene.revoke()
    if scene.random.random() < 0.5:
        time.sleep(scene.random.uniform(0, 2))  # somebody may hold it by then, or nobody
    world.brokers[1 - first].kill()
    world.raise_broker(first)
    found = scene.verdict()
    world.raise_broker(1 - first)
    return found + ([] if found else scene.verdict())


def stories(ordeal, words, act, n, **options):
    row = ordeal.row(words)
    with scenes(ordeal, traffic=False, **options) as (get, judge):
        for i in range(n):
            if ordeal.over() and row.tries:
                break
            begun = time.monotonic()
            found = act(get())
            ordeal.log(f"{words}, {i}: {time.monotonic() - begun:.1f} s, {len(found)} violations")
            judge(row, f"try {i}", found)
    return row


class Lane:
    """An ordeal's share for one thread: chance of its own, so that lanes side by side stay reproducible."""

    def __init__(self, ordeal, work):
        self.random = random.Random(ordeal.random.getrandbits(64))
        self.row, self.over, self.log = ordeal.row, ordeal.over, ordeal.log
        self.broken = None
        self.thread = threading.Thread(target=self._run, args=(work,), daemon=True)

    def _run(self, work):
        try:
            work(self)
        except BaseException:
            self.broken = traceback.format_exc()


def kills(lane):
    stories(lane, "broker killed between PUBACK and its save", killed_before_save, KILLS, saves="")


def others(lane):
    stories(lane, "broker begins with nothing", forget_all, STORIES)
    stories(lane, "broker's database truncated or damaged", damage_database, STORIES)
    stories(lane, "two brokers with different stories", two_stories, STORIES, brokers=2)


def gateways(lane):
    tell_lies(lane, "gateways", lie_to_gateways, list(LIES), ROUNDS, 4)


def desk(lane):
    tell_lies(lane, "desk", lie_to_desk, [k for k in LIES if k not in NOT_FOR_DESKS], ROUNDS, 4)


def quick_brokers(lane):
    stories(lane, "broker killed between PUBACK and its save", killed_before_save, 2, saves="")


def quick_lies(lane):
    tell_lies(lane, "gateways", lie_to_gateways, QUICK, 1, 1)


def run(ordeal):
    lanes = [Lane(ordeal, work) for work in
             ((quick_brokers, quick_lies) if ordeal.quick else (kills, others, gateways, desk))]
    for lane in lanes:
        lane.thread.start()
    for lane in lanes:
        lane.thread.join()
    for lane in lanes:
        if lane.broken:
            raise RuntimeError(lane.broken)
