# SPDX-License-Identifier: Apache-2.0
"""What the radio is used for: connections, GATT operations and bytes; battery is the lock's scarcest good.

Counted by the simulated radio, from before an act until the link is down and nothing follows it. An
operation is a subscription, a read, a write or a notification; what BlueZ itself does for a connection
(MTU, services not in its cache) comes with the connection. A day passes faster: gateway and lock live in
the time of tests/torture/shim-day.c, radio and broker in the machine's.
"""

import base64
import concurrent.futures
import os
import random
import time

import wire
from box import Box
from harness import BUILD, Failure, World, program, wait_for

PERSON, PHONE = "811218-9876", "+46 70 174 06 50"
QUIET_S = 3.0  # longer than the pause between two visits of a gateway to a lock
PAYLOAD = 509  # of a frame
SHIM = os.path.join(BUILD, "torture", "shim-day.so")
DAY_BEGIN_S = 12  # for the programs to start in, before time hurries


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


def some(n, name):
    return f"{n:,} {name}" if n != 1 else f"one {name.removesuffix('s')}"


def words(taken):
    kinds = ", ".join(some(taken[name], name) for name in ("subscriptions", "reads", "writes", "notifications")
                      if taken[name])
    return (f"{some(taken['connections'], 'connections')}, {taken['ms'] / 1000:.1f} s connected; "
            f"{kinds or 'no operation'}; {taken['out']:,} bytes to the lock, {taken['in']:,} from it")


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
              note=words(taken) + "; here and below bluetoothd holds each link 2.7 s longer after its Disconnect")


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

class Day:
    """A gateway and its lock in a time that passes faster; the city signs anew what it signs anew each day."""

    def __init__(self, box, speed, hours):
        self.box, self.speed, self.hours = box, speed, hours
        self.begin = time.monotonic_ns() + DAY_BEGIN_S * 10**9
        self.begin_real = time.time() + DAY_BEGIN_S
        self.gateway = box.process("gw-1")

    def now(self):
        return int(self.begin_real + max(0, time.monotonic_ns() - self.begin) / 1e9 * self.speed)

    def sleep_until(self, hour):
        time.sleep(max(0, self.begin / 1e9 + hour * 3600 / self.speed - time.monotonic()))

    def quicken(self, process):
        """Stops it, and starts it again in the other time."""
        process.stop()
        process.env = dict(self.box.env, LD_PRELOAD=SHIM, LOCKBRIDGE_DAY=f"{self.begin} {self.speed}")
        process.start()

    def start(self):
        said = len(self.gateway.output())
        self.box.lock_sim.stop()
        self.gateway.stop()
        self.quicken(self.box.lock_sim)
        self.quicken(self.gateway)
        self.gateway.wait_output("lock is in reach", DAY_BEGIN_S, skip=said)
        self.sign_anew()
        settling = Budget(self.box, "gw-1", "lock-1").settled()  # what a restart costs is no part of the day
        if time.monotonic_ns() > self.begin:
            raise Failure(f"the gateway needed more than {DAY_BEGIN_S} s to start: this machine is too busy")
        return settling

    def sign_anew(self):
        """The same list, and the same right to read the lock's log, each with another date."""
        now, box = self.now(), self.box
        box.hold(box.city.list(now, {1: 1, 2: 2}, changed=box.born, lifetime=2 * 86400))
        reader = base64.b64decode(box.recorder.state("gw-1")["reader"])
        box.say(box.city.reader("lock-1", reader, now, exp=now + 7 * 86400), "gw/gw-1/document", retain=False)

    def held_anew(self, skip):
        """False where the machine's standstills had cut the broker off."""
        try:
            self.sign_anew()
        except Failure:
            if not self.disturbed(skip):
                raise
            return False
        return True

    def disturbed(self, skip):
        """A machine that stands still for 50 ms lets a minute pass in which nothing is heard."""
        said = self.gateway.output()[skip:]
        return [line for line in said.splitlines() if "disconnected" in line or "out of reach" in line]


def day(bench, speed, hours):
    """What the radio did; None if the machine was too busy to tell."""
    with Box({"gw-1": ["lock-1"]}) as box:
        box.start()
        Budget(box, "gw-1", "lock-1").settled()
        box.radio_control(f"set interval {max(1, 14400 // speed)}")  # 14 s of the day's; 60 are silence
        day = Day(box, speed, hours)
        settling = day.start()
        budget, skip = Budget(box, "gw-1", "lock-1"), len(day.gateway.output())
        heard, health = box.stats("gw-1")["reports"], len(box.recorder.all("lockbridge/gw/gw-1/health"))
        missed = 0
        for part in range(1, 4):
            day.sleep_until(hours * part / 4)
            missed += not day.held_anew(skip)
        day.sleep_until(hours)
        taken, heard = budget.taken(), box.stats("gw-1")["reports"] - heard
        minutes = len(box.recorder.all("lockbridge/gw/gw-1/health")) - health
        troubles = day.disturbed(skip)
    bench.log(f"speed {speed}: restart: {settling}; day: {taken}; {minutes} minutes of health; {missed} signed anew "
              f"and not held; {len(troubles)} troubles, such as {troubles[:1]}")
    if troubles and (missed or taken["connections"] or minutes < hours * 30):
        return None  # by the machine's standstills, or not: nobody can tell
    if minutes < hours * 54 and not troubles:
        raise Failure(f"no day passed: the gateway told of its health {minutes} times in {hours} hours")
    return taken, heard, minutes


def idle(bench):
    if not os.path.exists(SHIM):
        raise Failure(f"{SHIM} is not built: run make torture-tools")
    for speed, hours in ((1440, 2),) if bench.quick else ((1440, 24), (360, 6)):
        found = day(bench, speed, hours)
        if found:
            break
    else:
        if not bench.quick:
            raise Failure("this machine is too busy to let a day pass in a minute")
        bench.log("no idle hours: this machine is too busy, and the smoke test may run beside others")
        return
    taken, heard, minutes = found
    bench.row("radio", f"{hours} hours without a change: connections and operations",
              taken["connections"] + operations(taken), "", beside={"adverts heard": heard},
              aim={"at most": 0, "why": "nothing on a day without changes but adverts"},
              note=f"{speed} times as fast; {minutes} health messages, list and reader's right signed anew three times"
                   + ("" if not taken["connections"] else "; " + words(taken)))


# --- all ----------------------------------------------------------------------------------------------

def counted(bench):
    with World({"gw-1": ["lock-1"]}, motor=0) as world:
        start_radio = world.start_radio

        def start_radio_and_log():
            start_radio()
            world.radio_control("log " + world.path("air.log"))
        world.start_radio = start_radio_and_log
        world.start()
        first_contact(bench, world)
        private = employ(world)
        Budget(world, "gw-1", "lock-1").settled()
        openings(bench, world, private)
    for entries, of in ((10_000, 50),) if bench.quick else ((10_000, 50), (100_000, 50), (100_000, 2)):
        lists(bench, entries, of)


def run(bench):
    # side by side: both count, neither measures time
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for part in [pool.submit(counted, bench), pool.submit(idle, bench)]:
            part.result()
