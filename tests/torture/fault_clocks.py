# SPDX-License-Identifier: Apache-2.0
"""Clocks: wrong at the start, set, lost, lied to, suspended, restored; and a stolen key that jumped ahead.

The table is section 6 of docs/protocol.md, "Time", told in lives of boxes: each case has one cell per chapter. Left of
"|" is what happens before the chapter's time goes by, right of it what happens after; then what the agent must
say of its clock. The city signs what is due in each chapter. After each cell: the agent's verdict is the
table's and the contract's (boxes.py reads it again), the floor has not fallen, a reckoned time lags; an
authorization that is valid opens, one that has expired opens nothing, and one of the future is refused by a
synchronised clock and by no other.
"""

import concurrent.futures
import os
import subprocess

import harness
import wire
from boxes import DAY, YEAR, Boxes
from harness import wait_for

FINE, UNSET, STEPPED, AHEAD, BEHIND = ("", "clock-not-synchronised", "clock-stepped", "clock-ahead",
                                       "clock-behind")
CHAPTERS = (("at the start", 0), ("10 minutes later", 600), ("72 hours later", 3 * DAY),
            ("a month later", 31 * DAY), ("an hour later", 3600))
MONTH = len(CHAPTERS) - 2  # keys and policy are due in it

CASES = (
    ("no RTC, never a time server",
     ("boot 1970", UNSET), ("", UNSET), ("", UNSET), ("", UNSET), ("", UNSET)),
    ("no RTC, starts in 1970, NTP comes late",
     ("boot 1970", UNSET), ("", UNSET), ("ntp 0", FINE), ("", FINE), ("lost", FINE)),
    ("no RTC, starts at the build's time",
     ("boot build", UNSET), ("ntp 0", FINE), ("", FINE), ("off | boot build", UNSET), ("ntp 0", FINE)),
    ("starts ten years ahead",
     (f"boot {10 * YEAR}", UNSET), ("", UNSET), ("", UNSET), ("ntp 0", FINE), ("", FINE)),
    ("NTP lies by ten years",
     (f"boot true, ntp {10 * YEAR}", AHEAD), ("", AHEAD), ("", AHEAD), ("ntp 0", FINE), (f"ntp {10 * YEAR}", AHEAD)),
    ("NTP lost for 72 hours",
     ("boot true, ntp 0", FINE), ("lost", FINE), ("", FINE), ("", FINE), ("ntp 1", FINE)),
    ("NTP lies by a day ahead from the start",
     (f"boot true, ntp {DAY}", FINE), ("", FINE), ("ntp 0", FINE), (f"ntp {DAY}", FINE), ("ntp 0", FINE)),
    ("NTP lies by a day back from the start",
     (f"boot true, ntp {-DAY}", BEHIND), ("", BEHIND), ("ntp 0", FINE), (f"ntp {-DAY}", BEHIND), ("ntp 0", FINE)),
    ("NTP was right, lies by four days, is right again",
     ("boot 1970, ntp 0", FINE), (f"ntp {4 * DAY}", AHEAD), ("ntp 0", FINE), (f"ntp {-4 * DAY}", BEHIND),
     ("ntp 0", FINE)),
    ("jumps ahead while running",
     ("boot true, ntp 0", FINE), (f"step {DAY}", STEPPED), ("", STEPPED), ("ntp 0", FINE), ("step 310", STEPPED)),
    ("jumps back while running, and there and back",
     ("boot true, ntp 0", FINE), (f"step {-DAY}", STEPPED), ("set 0", STEPPED), ("restart", UNSET), ("ntp 0", FINE)),
    ("jumps before it was ever right",
     ("boot 1970", UNSET), (f"step {YEAR}", UNSET), (f"step {-YEAR}", UNSET), ("set 0", UNSET), ("ntp 0", FINE)),
    ("steps of less than five minutes",
     ("boot true, ntp 0", FINE), ("step 290", FINE), ("step -295", FINE), ("step -290", FINE), ("ntp 0", FINE)),
    ("suspended for hours and days, synchronised before",
     ("boot true, ntp 0", FINE), ("suspend", FINE), ("suspend", FINE), ("suspend", FINE), ("suspend, lost", FINE)),
    ("suspended for hours and days, no clock",
     ("boot 1970", UNSET), ("suspend", UNSET), ("suspend", UNSET), ("suspend", UNSET), ("suspend", UNSET)),
    ("off for a month, no RTC, no NTP",
     ("boot true, ntp 0", FINE), ("", FINE), ("", FINE), ("off | boot 1970", UNSET), ("", UNSET)),
    ("off for a month, NTP at once",
     ("boot true, ntp 0", FINE), ("", FINE), ("", FINE), ("off | boot 1970, ntp 0", FINE), ("", FINE)),
    ("killed again and again, no RTC: the floor is on disk hourly",
     ("boot 1970", UNSET), ("restart", UNSET), ("| off, boot 1970", UNSET), ("| off, boot 1970", UNSET),
     ("| off, boot 1970", UNSET)),
    ("an old copy of the box's store comes back",
     ("boot 1970", UNSET), ("save", UNSET), ("", UNSET), ("", UNSET), ("bring-back", UNSET)),
    ("an old copy of the box's store comes back, NTP is right",
     ("boot true, ntp 0", FINE), ("save", FINE), ("", FINE), ("bring-back, ntp 0", FINE), ("", FINE)),
)
QUICK = (1, 4, 6, 7, 8, 9, 10, 15, 17, 18)  # what differs most


def words(cell):
    return [w.strip() for w in cell.split(",") if w.strip()]


class Story:
    """All cases at once: one city, a box each."""

    def __init__(self, ordeal, world, pool):
        self.ordeal, self.world, self.pool = ordeal, world, pool

    def each(self, fn, *lists):
        return list(self.pool.map(fn, self.world.boxes, *lists))

    def converge(self, since):
        """The city has signed what is due since then, and every box that is up holds it."""
        def current():
            documents = {}
            for topic in self.city_topics():
                document = self.world.recorder.last(topic)
                if document:
                    documents[wire.digest(document).hex()] = wire.claims(document)[wire.IAT]
            return documents if documents and min(documents.values()) >= since - 60 else None

        documents = wait_for("the city signs what is due", current, 60, 0.1)

        def holds(box):
            state = self.world.recorder.state(box.gw) or {"documents": []}
            lock = self.world.recorder.lock(box.gw, box.lock) or {}
            return not box.up() or (lock.get("current") and
                                    {d["digest"] for d in state["documents"]} == set(documents))
        wait_for("every box and lock holds what the city signed", lambda: all(map(holds, self.world.boxes)), 90, 0.1)

    def city_topics(self):
        return sorted({m[1] for m in self.world.recorder.all("lockbridge/city/")})

    def chapter(self, seconds, before, after, converged=True):
        """before, after: words per box. Time goes by for all at once, the boxes first: what the city signs is new."""
        suspended = ["suspend" in w for w in after]
        self.each(lambda box, does: [box.do(w) for w in does], before)
        for box, asleep in zip(self.world.boxes, suspended):
            if box.up():
                box.pass_(seconds, asleep, converged)
        self.world.city.pass_(seconds)
        if seconds >= DAY:
            self.world.recorder.barrier()
        self.each(lambda box, does: [box.do(w) for w in does if w != "suspend"], after)


def told(name, box, wrong, row):
    for text in wrong:
        row.violation(f"{name} ({box.gw}): {text}")


TOGETHER = 10  # more of them keep each other waiting


def table(ordeal, row, cases, thieves):
    with Boxes(len(cases)) as world, concurrent.futures.ThreadPoolExecutor(8) as pool:
        world.start_all_but_gateways()
        story = Story(ordeal, world, pool)
        thief = world.thief()

        def look(box, case, wanted):
            wrong = box.check(wanted)
            return wrong + box.probe(thief)

        for n, (chapter, seconds) in enumerate(CHAPTERS):
            cells = [case[n + 1] for case in cases]
            halves = [("", c[0]) if "|" not in c[0] else tuple(c[0].split("|")) for c in cells]
            story.chapter(seconds, [words(h[0]) for h in halves], [words(h[1]) for h in halves])
            story.converge(world.truth() if n == MONTH else 0)
            for case, box, wrong in zip(cases, world.boxes,
                                        story.each(look, cases, [c[1] for c in cells])):
                row.tried()
                told(f"{case[0]}, {chapter}", box, wrong, row)
            ordeal.log(f"{chapter}: {len(cases)} boxes looked at")
        if thieves:
            around_the_limits(ordeal, world, thief)
            stolen_keys(ordeal, story)


def around_the_limits(ordeal, world, thief):
    """The last second in which it opens, and the first in which it does not."""
    row = ordeal.row("clocks: set to around exp, nbf and iat of an authorization")
    box = next(b for b in world.boxes if b.trusted and b.up())
    for claim, at, wanted in (("exp", -25, "done"), ("exp", 0, "expired"), ("exp", 1, "expired"), ("exp", 200, "expired"),
                              ("iat", 0, "done"), ("iat", -90, "done"), ("iat", -118, "done"),
                              ("iat", -140, "not-yet-valid"), ("iat", -250, "not-yet-valid")):
        iat = int(world.truth()) - 10
        box.do(f"ntp {(iat + 60 if claim == 'exp' else iat) + at - world.truth()}")
        wrong = box.check("")
        got = box.authorize(thief, iat, iat + 60)
        row.tried()
        told(f"{at:+d} s from {claim}", box, wrong + ([f"{got}, not {wanted}"] if got != wanted else []), row)
    box.do("ntp 0")


def stolen_keys(ordeal, story):
    """Whoever has the keys signs ten years ahead, revokes all, cuts off all. Then the keys are dropped."""
    row = ordeal.row("clocks: list and policy signed ten years ahead by stolen keys, then dropped")
    world, thief = story.world, story.world.thief()
    ahead = int(world.truth()) + 10 * YEAR
    held = {"list/phones": thief.list(ahead, {i: 1 for i in range(4096)}, lifetime=YEAR),
            "policy": thief.policy(ahead, cut_off={"*": ahead})}
    lie = world.boxes[0]
    lie.do(f"ntp {10 * YEAR + 100}")
    for slot, document in held.items():
        world.recorder.publish("lockbridge/city/" + slot, document, retain=True)

    def poisoned(box):
        return {wire.digest(d).hex() for d in held.values()} <= {
            d["digest"] for d in (world.recorder.state(box.gw) or {"documents": []})["documents"]}
    wait_for("the thief has reached everybody", lambda: all(map(poisoned, world.boxes)), 60, 0.1)
    for box in world.boxes[1:3]:
        row.tried()
        got = box.authorize(thief, world.truth() - 1, world.truth() + 59)
        if got == "done":
            row.violation(f"{box.gw}: with the thief's list and policy: {got}")
    for role in ("revoke", "policy"):
        done = world.desk("keys", "rotate", role, "--wait", "2")
        ordeal.log(f"rotate {role}: {done.out}{done.err}")
    thief = world.thief()  # the city's authorize key, all others are new

    def healed(box):
        mine = {d["name"]: d["iat"] for d in world.recorder.state(box.gw)["documents"]}
        return max(mine.values()) < world.truth() + DAY and (world.recorder.lock(box.gw, box.lock) or {}).get("current")
    wait_for("every box and lock holds the city's own again", lambda: all(map(healed, world.boxes)), 120, 0.2)
    for box, wrong in zip(world.boxes[1:], pool_probe(story, world.boxes[1:], thief)):
        row.tried()
        told("after the drop", box, wrong, row)
    # What the dropped key signed ten years ahead vouches for no clock that is ten years ahead.
    row.tried()
    told("a clock ten years ahead, after the drop", lie, lie.check(AHEAD), row)


def pool_probe(story, boxes, thief):
    return list(story.pool.map(lambda box: box.check() + box.probe(thief), boxes))


def walks(ordeal, row):
    """Anything, in any order, to several boxes at once; the contract read again says what must hold."""
    chance, rounds = ordeal.random, 0
    with Boxes(6) as world, concurrent.futures.ThreadPoolExecutor(6) as pool:
        world.start_all_but_gateways()
        story, thief = Story(ordeal, world, pool), world.thief()
        history = {box.gw: [] for box in world.boxes}

        def anything(box):
            if not box.up():
                return f"boot {chance.choice(['1970', 'build', 'true', '86400', '-86400', str(10 * YEAR)])}"
            error = chance.choice([0, 0, 0, 250, -250, 4000, -4000, DAY, -DAY, 4 * DAY, -4 * DAY, 10 * YEAR, -20 * YEAR])
            return chance.choice([f"ntp {error}", f"ntp {error}", "ntp 0", "ntp 0", "lost", f"set {error}",
                                  f"step {error}", "restart", "off", "suspend", "", ""])

        while rounds < 250 and not ordeal.over():
            seconds = chance.choice([0, 0, 1, 250, 600, 4000, DAY // 2, 2 * DAY, 2 * DAY])
            does = [anything(box) if rounds else "boot true" for box in world.boxes]
            for box, what in zip(world.boxes, does):
                history[box.gw].append(f"{seconds} s, {what}")
            story.chapter(seconds, [[]] * len(does), [words(w) for w in does], False)
            if rounds == 0:
                story.converge(0)
            rounds += 1
            probed = chance.random() < 0.3
            for box, wrong in zip(world.boxes, story.each(
                    lambda box: [] if not box.up() else box.check() + (box.probe(thief) if probed else []))):
                row.tried(box.up())
                told(f"seed {ordeal.seed} step {rounds}: {'; '.join(history[box.gw][-4:])}", box, wrong, row)
    row.note(f"{rounds} steps of 6 boxes")


def model(ordeal):
    row = ordeal.row("clocks: the reckoning against a model, random lives of 60 readings")
    n, part = (20000, 20000) if ordeal.quick else (3000000, 100000)
    seed = ordeal.random.randrange(1 << 30)
    for begun in range(0, n, part):
        done = subprocess.run([os.path.join(harness.BUILD, "torture", "reckon"), str(seed + begun), str(part)],
                              capture_output=True, text=True, check=False)
        row.tried(part)
        if done.returncode != 0:
            row.violation(f"reckon {seed + begun} {part}: {done.stdout}{done.stderr}")
        if ordeal.over():
            break


def run(ordeal):
    row = ordeal.row("clocks: the table of section 6, boxes over chapters")
    cases = [CASES[i] for i in QUICK] if ordeal.quick else CASES
    for begin in range(0, len(cases), TOGETHER):
        table(ordeal, row, cases[begin:begin + TOGETHER], begin == 0)
    if not ordeal.quick:
        walks(ordeal, ordeal.row("clocks: random walks of the clock, each step looked at"))
    model(ordeal)
