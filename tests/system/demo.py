# SPDX-License-Identifier: Apache-2.0
"""The main job, seen by a newcomer: `make demo`.

Starts a city, two gateways and three locks on this machine, tells what happens step by step with the
time each took, and ends with status 0 only if every step held. `make demo STAY=1` keeps it running.
"""

import argparse
import json
import os
import re
import shlex
import signal
import sys
import time

from harness import Failure, World, program, wait_for

LAYOUT = {"gw-17": ["lock-17a", "lock-17b"], "gw-18": ["lock-18a"]}
# Numbers that Sweden keeps for use in fiction, and person numbers that no person has.
ANNA = {"person": "19121212-1212", "phone": "070-174 06 05"}
BO = {"person": "811218-9876", "phone": "+46 70 174 06 50"}
TTY = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def paint(text, code):
    return f"\033[{code}m{text}\033[0m" if TTY else text


class Story:
    """Tells a step, does it, says whether it held and how long it took."""

    def __init__(self):
        self.chapters, self.failed = [], []
        self.held = 0

    def chapter(self, title):
        print(f"\n{paint(title, '1')}", flush=True)

    def step(self, title, act):
        print(f"  {title} ", end="", flush=True)
        start = time.monotonic()
        try:
            said = act()
        except (Failure, AssertionError, KeyError, ValueError, OSError, TypeError) as e:
            self.failed.append(title)
            print(paint("FAILED", "31;1"), flush=True)
            print("      " + str(e).replace("\n", "\n      "), flush=True)
            return None
        took = time.monotonic() - start
        self.held += 1
        dots = "." * max(3, 74 - len(title))
        unit = f"{took * 1000:.0f} ms" if took < 1 else f"{took:.1f} s"
        print(f"{paint(dots, '2')} {paint('ok', '32')} {unit:>8}", flush=True)
        if isinstance(said, str):
            print(paint("      " + said.replace("\n", "\n      "), "2"), flush=True)
        return said


def expect(what, got, wanted):
    if got != wanted:
        raise Failure(f"{what}: expected {wanted!r}, got {got!r}")


class Demo:
    def __init__(self, world):
        self.w = world
        self.story = Story()
        self.desk = world.desk

    # --- acts -----------------------------------------------------------------------------------------

    def enrol(self, name, who):
        private, public = self.w.phone_key(name)
        who["key"] = private
        self.desk("staff", "add", "--person", who["person"], "--phone", who["phone"], "--key",
                  public, "--app", "se.example.homecare", "--platform", "any").ok()

    def issue(self, name, who, locks, lifetime):
        out = self.w.path("wallet-" + name)
        self.desk("issue", "--person", who["person"], "--locks", ",".join(locks), "--for", lifetime,
                  "--out", out).ok()
        return {lock: os.path.join(out, lock + ".cose") for lock in locks}

    def relayed(self, who, lock, outcome="done", reason=None, *words):
        done = self.desk("unlock", "--person", who["person"], "--lock", lock, "--json", *words)
        said = done.json
        expect("outcome", said.get("outcome"), outcome)
        if reason:
            expect("reason", said.get("reason"), reason)
        if outcome == "done":
            expect("exit status", done.status, 0)
            expect("receipt verified", said.get("verified"), True)
            expect("bolt", self.w.lock_report(lock)["bolt"], "unlocked")
        return said

    def door(self, who, authorization, lock, outcome="done", reason=None, *words):
        done = self.w.at_door(who["key"], authorization, lock, *words)
        said = done.json
        expect("outcome", said.get("outcome"), outcome)
        if reason:
            expect("reason", said.get("reason"), reason)
        return said

    def movements(self):
        return sum(self.w.lock_report(lock)["movements"] for lock in self.w.locks)

    def unmoved(self, act):
        before = self.movements()
        said = act()
        expect("bolt movements", self.movements() - before, 0)
        return said

    # --- the story ------------------------------------------------------------------------------------

    def refusals(self):
        s, w = self.story, self.w
        s.chapter("3. What must not open a door does not, and says why")
        s.step("the authorization for lock-17a, presented to lock-17b: wrong-lock",
               lambda: self.unmoved(lambda: self.door(ANNA, self.anna["lock-17a"], "lock-17b",
                                                      "refused", "wrong-lock", "--fault",
                                                      "wrong-lock")) and None)
        short = self.issue("anna-short", ANNA, ["lock-17b"], "2s")["lock-17b"]
        end = time.time() + 2

        def expired():
            wait_for("the lock's own reckoning passes the end",
                     lambda: w.lock_report("lock-17b")["now"] > end, 60)
            self.unmoved(lambda: self.door(ANNA, short, "lock-17b", "refused", "expired"))
        s.step("an authorization for two seconds, after its end: expired", expired)

        def no_pin():
            self.desk("staff", "posture", "--person", ANNA["person"], "--no-pin").ok()
            self.unmoved(lambda: self.relayed(ANNA, "lock-17a", "refused", "posture-pin"))
            self.desk("staff", "posture", "--person", ANNA["person"], "--pin").ok()
        s.step("a phone without a PIN: posture-pin", no_pin)

    def revocation(self):
        s, w = self.story, self.w
        s.chapter("4. Bo loses his phone and calls the service desk, which knows the number")

        def revoke():
            done = self.desk("revoke", "--phone", BO["phone"], "--json").ok()
            said = done.json
            expect("gateways", (said["gateways"]["confirmed"], said["gateways"]["total"]), (2, 2))
            expect("locks", (said["locks"]["confirmed"], said["locks"]["total"]), (3, 3))
            bars = [line for line in re.split(r"[\r\n]", done.err) if line.strip()]
            return "\n".join(bars) + "\neach lock by a receipt that it signed and the desk verified"
        s.step("revoke by phone number, until every lock has proven it", revoke)
        s.step("Bo's phone, relayed: refused by the gateway",
               lambda: self.unmoved(lambda: self.stolen_relayed()) and None)
        s.step("Bo's phone at the door: refused by the lock",
               lambda: self.unmoved(lambda: self.door(BO, self.bo["lock-17a"], "lock-17a", "refused",
                                                      "revoked")) and None)

    def stolen_relayed(self):
        """The desk itself would not sign: --anyway shows that the gateway does not rely on it."""
        return self.relayed(BO, "lock-17a", "refused", "revoked", "--anyway")

    def outage(self):
        s, w = self.story, self.w
        s.chapter("5. At 3 a.m. broker and gateways are gone")

        def openings():
            return {line["n"]: line for line in self.desk("log", "--lock", "lock-18a", "--json").ok().json
                    if line.get("via") == "door" and line.get("outcome") == "done"}

        def dark():
            self.known = openings()
            w.broker.kill()
            for gw in w.gateways:
                w.process(gw).kill()
        s.step("mosquitto and both gateways are killed", dark)

        def anna():
            self.opened = self.door(ANNA, self.anna["lock-18a"], "lock-18a")["n"]
            expect("the desk does not know yet", self.opened in openings(), False)
        s.step("Anna's phone opens lock-18a all the same", anna)
        s.step("Bo's still does not: revoked",
               lambda: self.unmoved(lambda: self.door(BO, self.bo["lock-18a"], "lock-18a", "refused",
                                                      "revoked")) and None)

        def back():
            w.broker_up()
            for gw in w.gateways:
                w.respawn(w.process(gw))
            line = wait_for("the desk learns of the opening from the lock's receipts",
                            lambda: openings().get(self.opened), 60)
            expect("the phone", line["phone"] not in {k["phone"] for k in self.known.values()}, True)
            return f"the desk's log: lock-18a, receipt {line['n']}, opened at the door by phone {line['phone']}"
        s.step("they come back; the desk learns from the lock who opened meanwhile", back)

    def change_lock(self):
        s = self.story
        s.chapter('6. "Change the lock": every authorization issued before is dead')
        s.step("change-lock lock-17b, until the lock has proven it",
               lambda: self.desk("change-lock", "lock-17b").ok() and None)
        s.step("Anna's old authorization at lock-17b: cut-off",
               lambda: self.unmoved(lambda: self.door(ANNA, self.anna["lock-17b"], "lock-17b",
                                                      "refused", "cut-off")) and None)

        def fresh():
            new = self.issue("anna-new", ANNA, ["lock-17b"], "8h")
            self.door(ANNA, new["lock-17b"], "lock-17b")
        s.step("one issued after it opens", fresh)

    def privacy(self):
        """Nothing of a person is anywhere but in the desk's registry."""
        digits = [re.sub(r"\D", "", p[k])[-9:] for p in (ANNA, BO) for k in ("person", "phone")]
        for _, topic, payload, _ in self.w.recorder.all():
            for d in digits:
                if d.encode() in payload or d in topic:
                    raise Failure(f"{d} in a message on {topic}")
        for name in self.w.gateways + ["locks"]:
            for folder, _, files in os.walk(self.w.path(name)):
                for f in files:
                    with open(os.path.join(folder, f), "rb") as file:
                        content = file.read()
                    for d in digits:
                        if d.encode() in content:
                            raise Failure(f"{d} in {folder}/{f}")
        return f"{len(self.w.recorder.all())} messages and every file of gateways and locks searched"

    def run(self):
        s, w = self.story, self.w
        s.chapter("1. A city, two gateways, three locks")
        s.step("bus, radio, broker, locks, gateways; every lock holds the city's documents",
               lambda: w.start() and None)
        if s.failed:
            return
        s.step("the service desk enrols Anna and Bo", lambda: (self.enrol("anna", ANNA),
                                                               self.enrol("bo", BO)) and None)
        s.chapter("2. Two ways to open a door")
        s.step("Anna opens lock-17a: phone, city, broker, gateway, lock, and the receipt back",
               lambda: self.relayed(ANNA, "lock-17a") and None)

        def shift():
            self.anna = self.issue("anna", ANNA, w.locks, "8h")
            self.bo = self.issue("bo", BO, w.locks, "8h")
        s.step("both get the authorizations for their shift", shift)
        s.step("Bo's phone opens lock-18a at the door, without any network",
               lambda: self.door(BO, self.bo["lock-18a"], "lock-18a") and None)
        self.refusals()
        self.revocation()
        self.outage()
        self.change_lock()
        s.chapter("7. What was left where")
        s.step("no person id and no phone number outside the desk's registry", self.privacy)
        s.step("the bolts moved as often as somebody was let in, and no more",
               lambda: expect("movements", self.movements(), 4))

    def summary(self):
        s = self.story
        print()
        if s.failed:
            print(paint(f"{s.held} steps held, {len(s.failed)} did not:", "31;1"))
            for title in s.failed:
                print("  " + title)
        else:
            print(paint(f"All {s.held} steps held.", "32;1"))

    def stay(self):
        w = self.w
        bus = w.env["DBUS_SYSTEM_BUS_ADDRESS"]
        ctl, desk = (shlex.quote(program(name)) for name in ("lockbridgectl", "lockbridge-desk"))
        print(f"""
It keeps running until you press Ctrl-C. In another terminal:
  export DBUS_SYSTEM_BUS_ADDRESS={bus} LOCKBRIDGE_DESK_DIR={w.path('desk')}
  mosquitto_sub -p {w.port} -v -t 'lockbridge/#'
  {ctl} --gateway gw-17 status        # also: locks, documents, diagnose, events --follow
  {desk} unlock --person {ANNA['person']} --lock lock-17a
  {desk} revoke --phone '{ANNA['phone']}'
  {desk} exposed                     # also: watch, log, who-can-open lock-17a
Logs and state: {w.dir}""", flush=True)
        signal.signal(signal.SIGINT, lambda *_: print())
        signal.pause()


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--stay", action="store_true")
    stay = args.parse_args().stay
    for ends in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ends, lambda number, _: sys.exit(128 + number))
    with World(LAYOUT) as world:
        demo = Demo(world)
        demo.run()
        demo.summary()
        if stay and not (demo.story.failed and "bus, radio" in demo.story.failed[0]):
            demo.stay()
        return 1 if demo.story.failed else 0


if __name__ == "__main__":
    sys.exit(main())
