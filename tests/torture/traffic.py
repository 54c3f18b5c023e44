# SPDX-License-Identifier: Apache-2.0
"""Steady traffic in a World: staff who open doors, relayed and at the door; a city that revokes, suspends,
changes policy and rotates keys; and somebody who repeats authorizations that were sent before.

Each thread has its own chance, drawn from the ordeal's. Nobody minds a refusal or silence here: what must
not happen is the observer's business. What is wrong in itself (a command that hangs) is in `errors`.
"""

import collections
import os
import random
import subprocess
import threading
import time

from harness import program, wait_for

NUMBERS = range(605, 700)  # 070-174 06 05 to 06 99: kept for use in fiction


def person_number(n):
    """Numbers that no person has: born in 1912, serial numbers that are used for tests alone."""
    ten = f"12{1 + n // 28:02d}{1 + n % 28:02d}98{n % 10}"
    digits = [int(d) * (2 if i % 2 == 0 else 1) for i, d in enumerate(ten)]
    check = -sum(d // 10 + d % 10 for d in digits) % 10
    return f"19{ten[:6]}-{ten[6:]}{check}"


class Member:
    """One of the staff, and the phone."""

    def __init__(self, n):
        self.person, self.phone = person_number(n), f"070-174 {NUMBERS[n] // 100:02d} {NUMBERS[n] % 100:02d}"
        self.key, self.wallet = None, None


class Traffic:
    """with Traffic(world, random) as t: ...; t.pause() and t.go() in between."""

    def __init__(self, world, chance, staff=6, relayed=3, door=True, repeats=True, patience=6):
        self.patience = str(patience)  # seconds that somebody waits for an answer
        self.world, self.answers, self.errors = world, collections.Counter(), []
        self.mutex, self.n = threading.Lock(), 0
        self.valid, self.revoked, self.suspended = [], [], []
        self.running, self.over = threading.Event(), threading.Event()
        self.idle, self.threads = 0, []
        self.chance = random.Random(chance.getrandbits(64))
        for _ in range(staff):
            self.enrol()
        acts = [self.open_relayed] * relayed + [self.rule] + [self.open_at_door] * door + [self.repeat] * repeats
        for act in acts:
            rng = random.Random(chance.getrandbits(64))
            self.threads.append(threading.Thread(target=self._run, args=(act, rng), daemon=True))

    # --- on and off -----------------------------------------------------------------------------------------

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self.go()

    def __exit__(self, *_):
        self.over.set()
        self.running.set()
        for thread in self.threads:
            thread.join(60)

    def go(self):
        self.running.set()
        return self

    def pause(self):
        """Until nobody is in the middle of anything."""
        self.running.clear()
        wait_for("the traffic stands", lambda: self.idle == sum(t.is_alive() for t in self.threads), 90)

    def _run(self, act, rng):
        while not self.over.is_set():
            with self.mutex:
                self.idle += 1
            self.running.wait()
            with self.mutex:
                self.idle -= 1
            if self.over.is_set():
                return
            try:
                act(rng)
            except subprocess.TimeoutExpired as e:
                self.errors.append(f"a command did not end: {e.cmd[3:]}")
            except OSError:
                pass  # a socket or file that a kill took away

    def note(self, what, answer):
        try:
            said = answer.json
            words = said.get("outcome", "") + (f" ({said['reason']})" if said.get("reason") else "")
        except AssertionError:
            words = f"exit {answer.status}"
        with self.mutex:
            self.answers[f"{what}: {words}"] += 1

    # --- staff ----------------------------------------------------------------------------------------------

    def enrol(self):
        """One more, with a phone that has a key and authorizations for every door; None when numbers run out."""
        if self.n == len(NUMBERS):
            return None
        member, world = Member(self.n), self.world
        self.n += 1
        member.key, public = world.phone_key(f"phone-{self.n}")
        added = world.desk("staff", "add", "--person", member.person, "--phone", member.phone, "--key", public,
                           "--app", "se.example.homecare", "--platform", "any")
        if added.status == 0:
            self.issue(member)
            self.valid.append(member)
        return member

    def issue(self, member):
        """For the shift; again when the keys were rotated."""
        wallet = self.world.path(f"wallet-{member.phone[-5:].replace(' ', '')}-{time.monotonic_ns()}")
        if self.world.desk("issue", "--phone", member.phone, "--locks", ",".join(self.world.locks), "--for", "8h",
                           "--out", wallet, "--anyway").status == 0:
            member.wallet = wallet

    def somebody(self, rng):
        """Mostly somebody who may."""
        with self.mutex:
            return rng.choice((rng.random() < 0.75 and self.valid) or self.revoked or self.suspended or self.valid)

    # --- acts -----------------------------------------------------------------------------------------------

    def open_relayed(self, rng):
        scope = rng.choices(("unlock", "lock", "unlatch"), (8, 2, 1))[0]
        self.note(scope, self.world.desk("--json", scope, "--phone", self.somebody(rng).phone, "--lock",
                                         rng.choice(self.world.locks), "--wait", self.patience, "--anyway"))
        time.sleep(rng.uniform(0, 0.3))

    def open_at_door(self, rng):
        who, lock, world = self.somebody(rng), rng.choice(self.world.locks), self.world
        if who.wallet:
            self.note("at the door", world.run(
                [program("phone-sim"), "open", "--adapter", world.adapter("phone"), "--key", who.key, "--authorization",
                 os.path.join(who.wallet, lock + ".cose"), "--address", world.addresses[lock], "--timeout",
                 self.patience]))
        time.sleep(rng.uniform(0, 0.3))

    def repeat(self, rng):
        """What was sent once more, at once or much later, to the same gateway or another one."""
        time.sleep(rng.uniform(0, 0.8))
        sent = [m for m in self.world.recorder.all("lockbridge/gw/") if m[1].endswith("/authorize")][-40:]
        if sent:
            topic = rng.choice(sent[-3:] if rng.random() < 0.6 else sent)
            where = topic[1] if rng.random() < 0.8 else f"lockbridge/gw/{rng.choice(self.world.gateways)}/authorize"
            self.world.recorder.publish(where, topic[2], retain=rng.random() < 0.05)

    def rule(self, rng):
        """The city; it does not wait for the fleet, its serve follows up."""
        act = rng.choices((self.revoke, self.suspend, self.policy, self.cut_off, self.publish, self.rotate),
                          (5, 3, 2, 1, 2, 1))[0]
        act(rng)
        time.sleep(rng.uniform(1, 4))

    def desk(self, *words):
        answer = self.world.desk(*words, "--no-wait")
        with self.mutex:
            self.answers[f"desk {words[0]}: exit {answer.status}"] += 1

    def revoke(self, rng):
        """For good; a new phone comes for it."""
        if self.n < len(NUMBERS) and len(self.valid) > 2:
            who = self.valid[0]
            self.desk("revoke", "--phone", who.phone)
            with self.mutex:
                self.valid.remove(who)
                self.revoked.append(who)
            self.enrol()

    def suspend(self, rng):
        if self.suspended:
            self.desk("restore", "--phone", self.suspended[0].phone)
            with self.mutex:
                self.valid.append(self.suspended.pop(0))
        elif len(self.valid) > 2:
            self.desk("suspend", "--phone", self.valid[-1].phone)
            with self.mutex:
                self.suspended.append(self.valid.pop())

    def policy(self, rng):
        self.desk("policy", "set", "--max-relay", f"{rng.randrange(30, 60)}s")

    def cut_off(self, rng):
        self.desk("change-lock", rng.choice(self.world.locks))

    def publish(self, rng):
        self.desk("publish")

    def rotate(self, rng):
        role = rng.choices(("policy", "revoke", "authorize", "root"), (3, 3, 3, 1))[0]
        self.desk("keys", "rotate", role)
        if role == "authorize":
            for member in self.valid[:2]:
                self.issue(member)
