# SPDX-License-Identifier: Apache-2.0
"""What the radio is used for: connections, GATT operations and bytes; battery is the lock's scarcest good.

Counted by the simulated radio, from before an act until the link is down and nothing follows it. An
operation is a subscription, a read, a write or a notification; what BlueZ itself does for a connection
(MTU, services not in its cache) comes with the connection. A day passes faster: gateway, lock and desk
live in the time of tests/torture/shim-day.c, radio and broker in the machine's.
"""

import concurrent.futures
import os
import random
import time

import wire
from box import Box
from harness import BUILD, Failure, World, program, wait_for

PERSON, PHONE = "811218-9876", "+46 70 174 06 50"
QUIET_S = 3.0    # longer than the pause between two visits of a gateway to a lock
PAYLOAD = 509    # of a frame
SHIM = os.path.join(BUILD, "torture", "shim-day.so")
DAY_SPEED = 1440
DAY_ADVERT_MS = 10  # of the machine's: 14 s of the day's, and after 60 a lock counts as not heard
DAY_BEGIN_S = 12    # of the machine's, for the programs to start in


class Budget:
    """What one gateway's radio did between two moments."""

    def __init__(self, world, gateway, lock):
        self.world, self.gateway, self.lock = world, gateway, lock
        self.log = world.path("air.log")
        world.radio_control("log " + self.log)
        self.before = self.counters()

    def counters(self):
        own = self.world.stats(self.gateway)
        mark = f" notify {self.world.adapter(self.lock)} {self.world.adapter(self.gateway)} ".encode()
        with open(self.log, "rb") as f:  # the lock's own count has a phone's among them
            notified = sum(mark in line for line in f)
        return {"connections": own["connects"], "ended": own["disconnects"],
                "subscriptions": own["subscribes"], "reads": own["reads"],
                "writes": own["writes"] + own["commands"], "notifications": notified,
                "out": own["bytes_sent"], "in": own["bytes_received"], "ms": own["connected_ms"]}

    def settled(self, timeout=60):
        """Until the link is down and stays so."""
        seen = {"at": time.monotonic(), "was": None}

        def quiet():
            now = self.counters()
            moved = {name: now[name] for name in now if name != "ms"}
            if moved != seen["was"] or now["connections"] != now["ended"]:
                seen.update(at=time.monotonic(), was=moved)
            return time.monotonic() - seen["at"] > QUIET_S
        wait_for("the radio is quiet again", quiet, timeout, every=0.1)
        return self.taken()

    def taken(self):
        now = self.counters()
        return {name: now[name] - self.before[name] for name in now}


def operations(taken):
    return sum(taken[name] for name in ("subscriptions", "reads", "writes", "notifications"))


def words(taken):
    kinds = ", ".join(f"{taken[name]} {name}" for name in ("subscriptions", "reads", "writes", "notifications")
                      if taken[name])
    return (f"{taken['connections']} connections, {taken['ms'] / 1000:.1f} s connected; {kinds or 'no operation'}; "
            f"{taken['out']:,} bytes to the lock, {taken['in']:,} from it")


def mean(all_taken):
    return {name: sum(taken[name] for taken in all_taken) / len(all_taken) for name in all_taken[0]}


def short(value):
    return int(value) if value == int(value) else value


# --- opening ------------------------------------------------------------------------------------------

def unlock(world):
    done = world.desk("unlock", "--person", PERSON, "--lock", "lock-1", "--json").json
    if done.get("outcome") != "done":
        raise Failure(f"the lock was not opened: {done}")


def employ(world):
    private, public = world.phone_key("phone")
    world.desk("staff", "add", "--person", PERSON, "--phone", PHONE, "--key", public, "--app",
               "se.example.homecare", "--platform", "any").ok()
    world.desk("staff", "posture", "--person", PERSON, "--pin").ok()
    return private


def opening_rows(bench, what, all_taken, floor, aim_connections, note=""):
    taken = mean(all_taken)
    bench.log(f"{what}: {all_taken}")
    bench.row("radio", f"{what}: connections", short(taken["connections"]), "",
              aim=aim_connections is not None and {"at most": aim_connections, "why": "each costs the lock most"} or None)
    bench.row("radio", f"{what}: operations", short(operations(taken)), "", beside=floor,
              aim={"at most": 4, "why": "subscription, write, answer, and one to spare"},
              note=words({name: round(value) for name, value in taken.items()}) + note)


def openings(bench, world, private):
    rounds = 1 if bench.quick else 3
    floor = {"subscription, write, receipt": 3}

    warm = []
    for _ in range(rounds):
        budget = Budget(world, "gw-1", "lock-1")
        unlock(world)
        warm.append(budget.settled())
    opening_rows(bench, "unlock, warm: lock known, no link", warm, floor, 1)

    unlock(world)
    standing = []
    for _ in range(rounds):
        budget = Budget(world, "gw-1", "lock-1")
        unlock(world)
        standing.append(budget.taken())
    opening_rows(bench, "unlock, link standing", standing, {"write, receipt": 2}, 0,
                 note="; the link ends when linger_s have passed")

    Budget(world, "gw-1", "lock-1").settled()
    gateway = world.process("gw-1")
    gateway.stop()
    world.respawn(gateway)
    wait_for("the gateway hears its lock again",
             lambda: (world.recorder.lock("gw-1", "lock-1") or {}).get("reachable"))
    Budget(world, "gw-1", "lock-1").settled()
    budget = Budget(world, "gw-1", "lock-1")
    unlock(world)
    taken = budget.settled()
    opening_rows(bench, "unlock, first after a restart of the gateway", [taken], floor, 1)

    wallet = world.path("wallet")
    world.desk("issue", "--person", PERSON, "--locks", "lock-1", "--for", "8h", "--out", wallet).ok()
    budget = Budget(world, "gw-1", "lock-1")
    done = world.at_door(private, os.path.join(wallet, "lock-1.cose"), "lock-1").json
    if done.get("outcome") != "done":
        raise Failure(f"the phone did not open the lock: {done}")
    taken = budget.settled()
    bench.row("radio", "unlock by a phone at the door: the gateway's operations afterwards", operations(taken), "",
              note=words(taken) + "; it fetches the receipt as a reader")


def first_contact(bench, world):
    """Since the world began: what a new lock takes until it holds everything."""
    budget = Budget(world, "gw-1", "lock-1")
    budget.before = dict.fromkeys(budget.before, 0)
    taken = budget.settled()
    bench.row("radio", "a new lock: info, keys, policy, list, the gateway as reader", operations(taken), "",
              note=words(taken))


# --- lists --------------------------------------------------------------------------------------------

def lists(bench, entries, of):
    """One of `of` is revoked; 2: nothing to pack."""
    with Box({"gw-1": ["lock-1"]}, lock_max=131072) as box:
        box.start()
        Budget(box, "gw-1", "lock-1").settled()
        chance = random.Random(entries)
        statuses = {idx: 1 for idx in chance.sample(range(entries), entries // of)}
        budget = Budget(box, "gw-1", "lock-1")
        document = box.city.list(box.born + 1, statuses, entries=entries)
        box.hold(document, timeout=60)
        wait_for("the lock holds the list", lambda: holds(box, document), 60)
        taken = budget.settled()
    frames = -(-(len(document) + 4) // PAYLOAD)
    name = f"a list of {entries:,} credentials, {len(statuses):,} revoked"
    bench.row("radio", f"{name}: operations", operations(taken), "",
              beside={"its frames, a subscription, a receipt": frames + 2},
              note=words(taken) + ("; the reads keep bluetoothd's queue short, for an unlock to come through"
                                   if taken["reads"] else ""))
    bench.row("radio", f"{name}: bytes", taken["out"], "bytes", beside={"the document": len(document)})


def holds(box, document):
    applied = (box.recorder.lock("gw-1", "lock-1") or {}).get("applied", {})
    return wire.digest(document).hex() in [of["digest"] for of in applied.values()]


# --- a day --------------------------------------------------------------------------------------------

def quicken(world, process, begin):
    """Stops it, and starts it again in the time that passes faster."""
    process.stop()
    process.env = dict(world.env, LD_PRELOAD=SHIM, LOCKBRIDGE_DAY=f"{begin} {DAY_SPEED}")
    process.start()


def day(bench):
    if not os.path.exists(SHIM):
        raise Failure(f"{SHIM} is not built: run make torture-tools")
    hours = 2 if bench.quick else 24
    with World({"gw-1": ["lock-1"]}) as world:
        world.start()
        employ(world)
        Budget(world, "gw-1", "lock-1").settled()
        world.radio_control(f"set interval {DAY_ADVERT_MS}")
        begin = time.monotonic_ns() + DAY_BEGIN_S * 10**9
        said = len(world.process("gw-1").output())
        world.lock_sim.stop()
        quicken(world, world.lock_sim, begin)
        for process in (world.serve, world.process("gw-1")):
            quicken(world, process, begin)
        world.process("gw-1").wait_output("lock is in reach", DAY_BEGIN_S, skip=said)
        settling = Budget(world, "gw-1", "lock-1").settled()  # what the restarts cost is no part of the day
        if time.monotonic_ns() > begin:
            raise Failure(f"the gateway needed more than {DAY_BEGIN_S} s to start: this machine is too busy")
        budget = Budget(world, "gw-1", "lock-1")
        heard = world.stats("gw-1")["reports"]
        health = len(world.recorder.all("lockbridge/gw/gw-1/health"))
        lists_before = len(world.recorder.all("lockbridge/city/list/"))
        time.sleep(max(0, begin / 1e9 - time.monotonic()) + hours * 3600 / DAY_SPEED)
        taken, heard = budget.taken(), world.stats("gw-1")["reports"] - heard
        minutes = len(world.recorder.all("lockbridge/gw/gw-1/health")) - health
        signed = len(world.recorder.all("lockbridge/city/list/")) - lists_before
        bench.log(f"restart: {settling}; day: {taken}; {minutes} minutes of health; {signed} lists signed again")
        if minutes < hours * 60 * 0.8 or not world.process("gw-1").running():
            raise Failure(f"no day passed: the gateway told of its health {minutes} times in {hours} hours")
        reachable = (world.recorder.lock("gw-1", "lock-1") or {}).get("reachable")
        if not reachable:
            raise Failure("the lock was not heard: this says nothing of a day with it in reach")
    bench.row("radio", f"{hours} hours without a change: connections and operations",
              taken["connections"] + operations(taken), "", beside={"adverts heard": heard},
              aim={"at most": 0, "why": "nothing on a day without changes but adverts"},
              note=f"{DAY_SPEED} times as fast; {minutes} health messages, {signed} lists signed again by the desk in it")


# --- all ----------------------------------------------------------------------------------------------

def counted(bench):
    with World({"gw-1": ["lock-1"]}, motor=0) as world:
        world.start()
        first_contact(bench, world)
        private = employ(world)
        Budget(world, "gw-1", "lock-1").settled()
        openings(bench, world, private)
    for entries, of in ((10_000, 50), (100_000, 50), (100_000, 2)):
        lists(bench, entries, of)


def run(bench):
    # side by side: both count, neither measures time
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for part in [pool.submit(counted, bench), pool.submit(day, bench)]:
            part.result()
