# SPDX-License-Identifier: Apache-2.0
"""Who else is on the air: floods, imitations, jammers that record, silence, and a second gateway.

None of them can sign. What they may do is delay; what they must not do is open, make an outcome wrong,
keep a list from a lock for ever, or fill the gateway's memory. An unlock waits for no list.
"""

import json
import time

import wire
from air import Air, Rogue
from fault_radio import went
from harness import Failure, wait_for

LONG = 400000  # entries: a list of 100 kB that does not shrink
GROWTH_KB = 1000  # of a table of 128 devices and what malloc keeps; 10,000 devices would be twice that


def expect(row, text):
    if text:
        row.violation(text)


# --- floods and imitations ------------------------------------------------------------------------------------

def floods(ordeal):
    """10,000 devices and more, each address new; as strangers, and as what looks like locks."""
    wanted = 500 if ordeal.quick else 10000
    with Air(ordeal, {"gw-1": ["lock-1", "lock-2"]}) as air:
        air.start()
        expect(ordeal.row("radio: a door before any flood"), air.opens("lock-1"))
        ordeal.rows[-1].tried()
        floods_of = [("100000 3000", "foreign devices"), ("100000 3000 ours", "imitated locks, each advert a new one"),
                     ("600 2000 ours", "imitated locks, the same again and again")]
        for flood, name in floods_of[:2] if ordeal.quick else floods_of:
            name = "radio: a flood of " + name
            row = ordeal.row(name)
            before, heard = air.resident_kb(), air.stats("gw-1")["reports"]
            air.radio_control(f"flood {flood}")
            while not row.tries or (air.stats("gw-1")["reports"] - heard < wanted and not ordeal.over()):
                lock = ordeal.random.choice(("lock-1", "lock-2"))
                expect(row, air.opens(lock))
                row.tried()
            with_list = air.new_list(6000, seed=7)
            for lock in air.locks:
                air.current(lock)
            devices = air.stats("gw-1")["reports"] - heard
            growth = air.resident_kb() - before
            air.radio_control("flood 0 0")
            if growth > GROWTH_KB:
                row.violation(f"{devices} devices cost {growth} kB")
            row.note(f"{devices} adverts, {growth} kB more, longest turn of the loop "
                     f"{air.counters()['loop-gap-max-us'] // 1000} ms, list {wire.digest(with_list).hex()}")
            air.judge(row, name)


def imitations(ordeal):
    """The lock's own address and words that are not its own, ten times a second and more."""
    row = ordeal.row("radio: adverts with the lock's own address")
    with Air(ordeal, {"gw-1": ["lock-1", "lock-2"]}) as air:
        air.start()
        hci = air.adapter("lock-1")
        air.idle("lock-1")
        connects, moved = air.stats("lock-1")["connects"], air.lock_report("lock-1")["movements"]
        opened = 0
        for n in range(30 if ordeal.quick else 600):
            if row.tries and ordeal.over():
                break
            length = ordeal.random.choice((0, 1, 7, 8, 8, 8, 8, 9, 10))
            data = bytearray(ordeal.random.randbytes(length))
            if length == 8:
                data[:2] = 1, ordeal.random.choice((0, 1, 2, 3, 255))
            if data:
                air.radio_control(f"spoof {hci} {data.hex()}")
            row.tried()
            if n % 100 == 20:
                expect(row, air.opens("lock-1") or air.opens("lock-2"))
                opened += 1
        visits = air.stats("lock-1")["connects"] - connects - opened
        if visits > 40:
            row.violation(f"{visits} visits for {row.tries} imitated adverts")
        row.note(f"{visits} visits to look")
        if air.lock_report("lock-1")["movements"] != moved + opened:
            row.violation(f"{air.lock_report('lock-1')['movements'] - moved} movements for {opened} unlocks")
        air.judge(row, "imitated adverts")


# --- silence: the ladder --------------------------------------------------------------------------------------

RUNGS = ["scan restarted", "adapter off and on", "bluetooth service restarted", "nothing helped"]
COUNTERS = ["radio-scans-restarted", "radio-power-cycles", "radio-service-restarts", "radio-helpless"]


def rungs(air):
    return [e["detail"] for e in air.recorder.events("gw-1", "radio.recovery")]


def ladder(ordeal):
    """A scanner without a word, cured by each rung in turn; and by none, with and without polkit's leave."""
    row = ordeal.row("radio: a silent scanner, cured by each rung, and by none")
    cures = ["scan", "power", "service", "on", "refused"]
    with Air(ordeal, {"gw-1": ["lock-1", "lock-2"]}, silent=1) as air:
        air.start()
        for cure in cures[1:2] if ordeal.quick else cures * 2:
            if row.tries and ordeal.over():
                break
            climbs = min(cures.index(cure) + 1, 4)
            for lock in air.locks:
                air.idle(lock)
            wait_for("it is heard", lambda: not rungs(air) or rungs(air)[-1] == "heard again", 30)
            events, counts, asked = len(rungs(air)), air.counters(), int(air.radio_control("service"))
            air.radio_control(f"set service-allowed {int(cure != 'refused')}")
            air.radio_control(f"scan-silent {air.adapter('gw-1')} {'on' if cure == 'refused' else cure}")
            if cure in ("on", "refused"):
                wait_for("a human is told", lambda: "nothing helped" in rungs(air)[events:], 60)
                codes = wait_for("a problem", lambda: [p["code"] for p in air.recorder.state("gw-1")["problems"]], 20)
                if "radio-silent" not in codes:
                    row.violation(f"{cure}: no problem in the state: {codes}")
                air.radio_control(f"scan-silent {air.adapter('gw-1')} off")
            wait_for("heard again", lambda: rungs(air)[events:] and rungs(air)[-1] == "heard again", 60)
            climbed, now = rungs(air)[events:], air.counters()
            wanted = RUNGS[:climbs]
            if cure == "refused":
                wanted = RUNGS[:3] + ["bluetooth service restarted: refused"] + RUNGS[3:]
            if climbed[:len(wanted)] != wanted:
                row.violation(f"{cure}: climbed {climbed}, not {wanted}")
            for name in COUNTERS[:climbs]:
                if now[name] <= counts[name]:
                    row.violation(f"{cure}: {name} is not counted")
                air.published(name, counts[name] + 1)
            if climbs >= 3 and int(air.radio_control("service")) <= asked:
                row.violation(f"{cure}: systemd was not asked")
            expect(row, air.opens("lock-1"))
            row.tried()
        air.judge(row, "the ladder")


# --- an unlock and a list -------------------------------------------------------------------------------------

def priority(ordeal):
    """100 kB on their way to the same lock, and to another. Counted in frames, not in seconds."""
    row = ordeal.row("radio: an unlock while 100 kB are on their way")
    with Air(ordeal, {"gw-1": ["lock-1", "lock-2"]}, lock_max=128 * 1024) as air:
        air.start()
        log = air.path("frames")
        air.radio_control(f"log {log}")
        for n in range(1 if ordeal.quick else 6):
            if row.tries and ordeal.over():
                break
            target, slow = (("lock-1", "lock-1"), ("lock-1", "lock-2"))[n % 2]
            begun = {k: len(air.recorded(log, k)) for k in air.locks}
            air.new_list(LONG, seed=n)
            some = ordeal.random.randrange(8, 120)
            wait_for("the list is on its way", lambda: len(air.recorded(log, slow)) > begun[slow] + some, 60)
            at, moved = len(air.recorded(log, slow)), air.lock_report(target)["movements"]
            cti = air.order(target)
            event = air.told(cti)
            if air.lock_report(slow)["applied"]["staff"] == air.version:
                row.violation(f"the list was at {slow} before the unlock of {target} had an outcome")
            expect(row, went(air, cti, event))
            if event.get("outcome") != "done" or air.lock_report(target)["movements"] != moved + 1:
                row.violation(f"{target} while {slow} takes its list: {event}")
            between = len(air.recorded(log, slow)) - at
            row.note(f"{target} opened while {slow} had {at - begun[slow]} frames of its list; {between} more meanwhile")
            if target == slow and between > 80:
                row.violation(f"{between} frames of a list went before an unlock of the same lock")
            row.tried()
            if not ordeal.quick:
                for lock in air.locks:
                    air.current(lock, 240)
        air.radio_control("log off")
        air.judge(row, "unlock and list", settle=240)


# --- jammed and recorded ----------------------------------------------------------------------------------------

HEARD = ("command", "write", "lost")
MTU = 100  # several frames to an authorization, and the jammer lets all but the last through


def jam(air, log, seconds):
    """(cti, what the gateway said, the frames that the jammer has)"""
    now, frame = int(time.time()), MTU - 3
    size = len(air.city.relayed("lock-1", bytes(8), 10, now))
    frames = 1 + -(-(size - (frame - 5)) // (frame - 1))
    air.idle("lock-1")
    air.radio_control(f"log {log}")
    before = len(air.recorded(log, "lock-1", HEARD))
    air.trip("lock-1", 4 + frames, "drop")  # after connect, resolve, subscribe and its answer
    cti = air.order("lock-1", seconds=seconds)
    wait_for("it is jammed", lambda: air.tripped("lock-1")[1], 60)
    tape = air.recorded(log, "lock-1", HEARD)[before:before + frames]
    air.radio_control("log off")
    if len(tape) != frames or not tape[-1][0] & 0x40 or not tape[0][0] & 0x80:
        raise Failure(f"not the frames of an authorization: {tape}")
    return cti, tape


def jammed(ordeal):
    """The last frame never arrives, and is recorded; later a rogue plays all to the lock, and to another."""
    row = ordeal.row("radio: jammed, recorded, and played back later")
    with Air(ordeal, {"gw-1": ["lock-1", "lock-2"]}, radio=(f"mtu={MTU}",)) as air:
        air.start()
        rogue, recorded = Rogue(air, air.adapter("phone")), []
        for n in range(1 if ordeal.quick else 4):
            if row.tries and ordeal.over():
                break
            cti, tape = jam(air, air.path("frames"), 8)
            event = air.told(cti)
            if air.lock_report("lock-1")["ctis"].get(cti) or event.get("outcome") == "done":
                row.violation(f"try {n}: it was not jammed, or a lie: {event}")
            recorded.append((cti, tape))
            if n % 2 == 0:
                expect(row, air.opens("lock-1"))  # they try again: another challenge from now on
            else:
                end = time.time() + 9
                wait_for("the lock itself knows that it is over", lambda: air.lock_report("lock-1")["now"] > end, 60)
            row.tried()
        replay(air, row, rogue, recorded)
        air.judge(row, "jammed")
        if not ordeal.quick:
            at_once(ordeal, air, rogue)


def at_once(ordeal, air, rogue):
    """Not defended, but bounded: what the city signed a moment ago opens that door once, and is told."""
    row = ordeal.row("radio: jammed, recorded, and played back at once: once at most, and told")
    cti, tape = jam(air, air.path("frames"), 60)
    first = air.told(cti)
    for _ in range(3):
        rogue.play("lock-1", tape)
        row.tried()
    moved = air.lock_report("lock-1")["ctis"].get(cti, 0)
    if moved > 1:
        row.violation(f"{cti} moved the bolt {moved} times")
    row.note(f"first told as {first.get('outcome')}, moved {moved} times")
    air.judge(row, "played back at once")


def replay(air, row, rogue, recorded):
    moved = {lock: air.lock_report(lock)["movements"] for lock in air.locks}
    for cti, frames in recorded:
        for lock in air.locks:
            rogue.play(lock, frames)
            row.tried()
            if air.lock_report(lock)["movements"] != moved[lock]:
                row.violation(f"recorded frames of {cti} moved {lock}")
                moved[lock] = air.lock_report(lock)["movements"]


# --- two gateways at one lock -------------------------------------------------------------------------------------

def two(ordeal):
    row = ordeal.row("radio: two gateways at one lock")

    class Shared(Air):
        """gw-2 has gw-1's lock as well as its own."""

        def gateway_config(self, gw, **change):
            return super().gateway_config(gw, locks=self.locks if gw == "gw-2" else self.layout[gw], **change)

        def challenge(self, lock="lock-1"):
            found = [c for c in (self.newest(gw, lock) for gw in self.gateways) if c]
            return max(found)[1]

        def newest(self, gw, lock):
            base = f"lockbridge/gw/{gw}/"
            for at, topic, payload, _ in reversed(self.recorder.all(base)):
                said = json.loads(payload) if payload[:1] == b"{" else {}
                if topic == base + "lock/" + lock and "challenge" in said:
                    return at, bytes.fromhex(said["challenge"])
            return None

    with Shared(ordeal, {"gw-1": ["lock-1"], "gw-2": ["lock-2"]}) as air:
        air.start()
        air.give_reader("gw-2", "lock-1")
        wait_for("gw-2 knows the lock", lambda: (air.recorder.lock("gw-2", "lock-1") or {}).get("current"), 60)
        done = 0
        for n in range(2 if ordeal.quick else 25):
            if row.tries and ordeal.over():
                break
            wait_for("both know what the lock wants to see",
                     lambda: air.newest("gw-1", "lock-1")[1] == air.newest("gw-2", "lock-1")[1], 60)
            challenge = air.challenge("lock-1")
            orders = [(air.order("lock-1", gw, cnonce=challenge), gw) for gw in ordeal.random.sample(air.gateways, 2)]
            events = [(cti, air.told(cti, gw)) for cti, gw in orders]
            for cti, event in events:
                expect(row, went(air, cti, {**event, "lock": "lock-1"}))
            opened = sum(air.lock_report("lock-1")["ctis"].get(cti, 0) for cti, _ in events)
            if opened > 1:
                row.violation(f"try {n}: one challenge opened {opened} times")
            done += opened
            row.tried()
        row.note(f"{done} of {row.tries} pairs opened, none twice")
        expect(row, air.opens("lock-1", "gw-1") or air.opens("lock-1", "gw-2"))
        air.judge(row, "two gateways")


def run(ordeal):
    parts = [floods, priority] if ordeal.quick else [floods, imitations, ladder, priority, jammed, two]
    for part in parts:
        begun = time.monotonic()
        part(ordeal)
        ordeal.log(f"{part.__name__}: {time.monotonic() - begun:.0f} s")
