# SPDX-License-Identifier: Apache-2.0
"""Revocation to everyone: 1,200 gateways with a lock each, one broker, one desk, on this machine.

From `revoke --phone` until the desk has seen in each gateway's state that the list is on its disk, and
until it has a verified receipt from each lock. Beside it what the broker alone needs to hand the same
bytes to as many bare subscribers. Then again with a tenth of the gateways without power, with the
broker killed in the middle, and everybody reconnecting at once.

What the fleet costs besides the product (buses, radios, locks) runs on the same processors: a row says
how much of the time each had.
"""

import json
import os
import pty
import re
import statistics
import subprocess
import threading
import time

from bench import AIR
from fleet import ADVERT_MS, ROLES, Fleet, difference
from harness import Failure, program, wait_for

REST_S = 4  # until the radios have hung up: 2.65 s
ROUNDS = 3
DOWN_S = 1.0


class Revocation:
    """`revoke --phone` in the background, its progress as it draws it for a terminal."""

    def __init__(self, fleet, phone):
        self.gateways = self.locks = 0
        self.begun = time.monotonic()
        master, slave = pty.openpty()
        self.popen = subprocess.Popen(
            [program("lockbridge-desk"), "--dir", fleet.path("desk"), "--json", "revoke", "--phone", phone,
             "--wait", "240s"], stdout=subprocess.PIPE, stderr=slave, stdin=subprocess.DEVNULL, env=fleet.env)
        os.close(slave)
        self.thread = threading.Thread(target=self.follow, args=(master,), daemon=True)
        self.thread.start()

    def follow(self, master):
        text = b""
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:
                part = b""
            if not part:
                break
            text = (text + part)[-400:]
            found = re.findall(rb"gateways (\d+)/\d+  locks (\d+)/\d+ ", text)
            if found:
                self.gateways, self.locks = map(int, found[-1])
        os.close(master)

    def reached(self, gateways, locks, timeout=240):
        """Seconds from the start until so many are drawn."""
        def look():
            if self.popen.poll() is not None:
                return True
            return self.gateways >= gateways and self.locks >= locks
        wait_for(f"{gateways} gateways and {locks} locks, there are {self.gateways} and {self.locks}", look, timeout)
        return time.monotonic() - self.begun

    def end(self):
        """The answer; its ms count from the start."""
        out = self.popen.communicate(timeout=300)[0]
        answer = json.loads(out)
        if not answer.get("complete"):
            raise Failure(f"a revocation did not reach all: {out.decode()[:1000]}")
        return answer


def rest(fleet):
    """Nobody is behind, and no radio is still hanging up."""
    fleet.settled()
    time.sleep(REST_S)


def raw(bench, fleet, document):
    """Seconds the broker alone needs for the same bytes, while the fleet does nothing."""
    path = fleet.path("list.bytes")
    with open(path, "wb") as f:
        f.write(document)
    done = subprocess.run([program("bench/subscribers"), "--broker", f"{fleet.host}:{fleet.port}", "--count",
                           str(fleet.n), "--bytes", path, "--rounds", "5"], capture_output=True, check=False)
    bench.log(f"subscribers: {done.stdout.decode()}{done.stderr.decode()}")
    if done.returncode != 0:
        raise Failure(f"subscribers: {done.stderr.decode()}")
    return statistics.median(r["all_ms"] for r in json.loads(done.stdout)["rounds"]) / 1000


def in_quiet(bench, fleet, limit, size):
    gateways, locks, used = [], [], []
    rounds = 1 if bench.quick else ROUNDS
    for i in range(rounds):
        rest(fleet)
        before = fleet.cpu()
        answer = Revocation(fleet, fleet.phones.pop()).end()
        used.append(difference(before, fleet.cpu()))
        gateways.append(answer["gateways"]["ms"] / 1000)
        locks.append(answer["locks"]["ms"] / 1000)
        bench.log(f"round {i + 1}: gateways {gateways[-1]} s, locks {locks[-1]} s, cpu {used[-1]}")
    note = f"median of {rounds}; the list has {size} bytes; plain TCP on loopback"
    bench.row("fleet", f"revoke until durable on {fleet.n} gateways", round(statistics.median(gateways), 2), "s",
              limit, {"at most": 2, "why": "from then on no gateway relays for a lost phone"}, note)
    air = (AIR["connect"] + AIR["resolve"] + AIR["read"] + AIR["write"]) / 1000
    bench.row("fleet", f"revoke until proven by {fleet.n} locks", round(statistics.median(locks), 2), "s",
              {**limit, "one connection, simulated radio": round(air, 2)},
              {"at most": 10, "why": "from then on no door opens for it, with or without its gateway"}, note)
    per = {role: round(statistics.median(u[role] for u in used) * 1000 / fleet.n, 2) for role in used[0]}
    simulated = sum(per[r] for r in ROLES if r != "lockbridged")
    bench.row("fleet", "processor time of a revocation, per gateway: agent", per["lockbridged"], "ms",
              {"broker": per["mosquitto"], "desk's serve": per["serve"], "simulators and buses": round(simulated, 2)},
              note=f"{os.cpu_count()} processors carry all of it")


def tenth_away(bench, fleet, limit):
    rest(fleet)
    away = fleet.homes[::10]
    for h in away:
        h.processes["lockbridged"].kill()
    rev = Revocation(fleet, fleet.phones.pop())
    there = fleet.n - len(away)
    gateways, locks = rev.reached(there, 0), rev.reached(there, there)
    back = time.monotonic()
    for h in away:
        h.processes["lockbridged"].start()
    answer = rev.end()
    ahead = back - rev.begun
    bench.row("fleet", f"{len(away)} of {fleet.n} without power: the others' gateways", round(gateways, 2), "s",
              {**limit, "and their locks": round(locks, 2)})
    bench.row("fleet", f"{len(away)} come back: their locks have it", round(answer["locks"]["ms"] / 1000 - ahead, 2), "s",
              {"their gateways": round(max(0.0, answer["gateways"]["ms"] / 1000 - ahead), 2)},
              note="from the start of their processes; a lock is heard at its next advert, at most "
                   f"{fleet.advert_ms / 1000:g} s")


def broker_dies(bench, fleet):
    rest(fleet)
    rev = Revocation(fleet, fleet.phones.pop())
    rev.reached(max(1, fleet.n // 10), 0)
    had = rev.gateways
    fleet.broker.kill()
    time.sleep(DOWN_S)
    fleet.start_broker()
    ahead = time.monotonic() - rev.begun
    answer = rev.end()
    bench.row("fleet", "broker killed in the middle, back: all gateways",
              round(max(0.0, answer["gateways"]["ms"] / 1000 - ahead), 2), "s",
              {"all locks": round(max(0.0, answer["locks"]["ms"] / 1000 - ahead), 2)},
              note=f"killed (-9) when {had} had said that they hold it, away for {DOWN_S:g} s; from its return; "
                   "back-off from 1 s, half to one and a half times")


def connects(path, skip):
    """Gateways that the broker let in since then, by its log: how many, and in which seconds."""
    with open(path, "rb") as f:
        f.seek(skip)
        found = re.findall(rb"^(\d+): New client connected .* as (home-\d+) ", f.read(), re.M)
    return [int(at) for at, _ in found], {who for _, who in found}


def all_at_once(bench, fleet):
    rest(fleet)
    path = fleet.path("mosquitto.log")
    fleet.broker.kill()
    time.sleep(DOWN_S)
    begun, skip = time.monotonic(), os.path.getsize(path)
    fleet.start_broker()
    wait_for("everybody at the broker again", lambda: len(connects(path, skip)[1]) == fleet.n, 240, every=0.05)
    took = time.monotonic() - begun
    seconds = connects(path, skip)[0]
    peak = max(seconds.count(s) for s in set(seconds))
    fleet.settled()
    bench.row("fleet", f"{fleet.n} gateways reconnect at once: all are online", round(took, 2), "s",
              {"confirmed by the desk": round(time.monotonic() - begun, 2)},
              note=f"from the start of a broker that was killed; peak {peak} connects in a second, {len(seconds)} in all")
    bench.row("fleet", "peak of connects when all come at once", peak, "1/s", note=f"of {fleet.n}; jitter spreads them")


def run(bench):
    n = 20 if bench.quick else 1200
    fleet = Fleet(n, bench.dir, advert_ms=1000 if bench.quick else ADVERT_MS, log=bench.log)
    try:
        begun = time.monotonic()
        fleet.start()
        bench.row("fleet", f"start of {n} homes until all is current", round(time.monotonic() - begun, 1), "s",
                  note="five processes each: lockbridged, its lock, its radio, its bus, its clock")
        bench.row("fleet", "memory of one agent (Pss)", round(fleet.memory("lockbridged") / n / 1024, 2), "MiB",
                  {"broker": round(fleet.memory("mosquitto") / 1024, 1),
                   "desk's serve": round(fleet.memory("serve") / 1024, 1),
                   "simulators and bus of a home": round(sum(fleet.memory(r) for r in ROLES[1:]) / n / 1024, 2)},
                  note=f"{n} on one machine share their programs and libraries")
        rest(fleet)
        document = fleet.document()
        limit = {f"broker's raw fan-out to {n} bare subscribers": round(raw(bench, fleet, document), 4)}
        in_quiet(bench, fleet, limit, len(document))
        tenth_away(bench, fleet, limit)
        broker_dies(bench, fleet)
        all_at_once(bench, fleet)
    finally:
        fleet.close()
