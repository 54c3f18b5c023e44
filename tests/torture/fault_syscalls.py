# SPDX-License-Identifier: Apache-2.0
"""The agent stopped, or failed, at each of its system calls that write, sync, rename or send.

A whole run: start, apply a newer list, accept an authorization, open the lock, report it, stop. shim-call.c
counts its calls; a try is one run with one fault at the n-th. Afterwards the agent starts without a fault and
must be as good as ever: the observer's promises, a duplicate of the authorization refused, and a credential
of the newest acknowledged list refused. Where a single call failed and the agent lived on, it must have come
to rest by itself before that.

Some worlds of their own run side by side; in each only the agent ends and starts, and every try has a list and
an authorization of its own. A world serves WORLD_TRIES tries, then another takes its place.
"""

import base64
import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import harness
import wire
from box import Box
from harness import Failure, wait_for
from observer import Observer

LANES = 5
FIRST = 150  # a first start has at least so many calls
WORLD_TRIES = 60
STEP = 20  # seconds that a step of an undisturbed run may take
LIFE = 5  # seconds that an authorization lives: after it an unknown outcome can be resolved
OUTSIDE = "kind=disk,bus,radio,broker"  # calls that can fail: not the log, not a wake-up of our own
DISK = "kind=disk"
STARTED = "gateway.started"
CONFIG = "backoff_min_ms = 50;\nbackoff_max_ms = 300;\nhealth_s = 1;\n"

# what the table says -> (words for shim-call, what is counted, the rest of the run after the fault)
DIES, ONCE, BROKEN = "dies", "once", "broken"
KINDS = {
    "killed before the n-th call": ("do=kill-before", "", DIES),
    "killed after the n-th call": ("do=kill-after", "", DIES),
    "killed in the middle of the n-th write": ("do=torn", "only=write", DIES),
    "EIO at the n-th call": ("do=error errno=EIO", OUTSIDE, ONCE),
    "ENOSPC at the n-th call": ("do=error errno=ENOSPC", DISK, ONCE),
    "a short n-th write": ("do=short", "kind=disk,bus,broker only=write", ONCE),
    "EIO for ever from the n-th call on": (None, OUTSIDE, BROKEN),
    "disk full for ever from the n-th call on": ("do=full", DISK, BROKEN),
    "killed at the n-th call, and again in recovery": (None, "", DIES),
}
AGAIN = "killed at the n-th call, and again in recovery"
FOR_EVER = "EIO for ever from the n-th call on"


class Task:
    """One try: which fault, at which call, and where the second one is (0: none)."""

    def __init__(self, kind, n, random, recovery, counted=None):
        do, self.counted, self.after = KINDS[kind]
        self.counted = counted or self.counted
        self.kind, self.n, self.second, self.hit = kind, n, None, None
        if kind == AGAIN:
            do = "do=" + random.choice(["kill-before", "kill-after"])
            self.second = f"at={random.randint(1, recovery)} do=" + random.choice(["kill-before", "kill-after"])
        if kind == FOR_EVER:
            do = f"errno=EIO do={random.choice(['lost', 'lost', 'lost', 'dead'])}"
        self.plan = f"at={n} {do} {self.counted}"

    def __str__(self):
        return f"{self.plan}{'; then ' + self.second if self.second else ''}; hit: {self.hit}"


class Ended(Exception):
    """The agent's process ended in the middle of a run."""


class Lane:
    """One world, whose agent comes and goes."""

    def __init__(self):
        self.box = Box(motor=30)
        self.gw = self.box.gateways[0]
        self.topic = f"lockbridge/gw/{self.gw}/"
        self.tries, self.known, self.marks = 0, None, {}

    def open(self):
        box = self.box
        config = box.gateway_config
        box.gateway_config = lambda gw, **change: config(gw, **{"more": CONFIG, **change})
        box.start()
        self.observer = Observer(box)
        self.agent = box.process(self.gw)
        self.revoked = {1: 1, 2: 2}
        self.born = box.born
        reader = json.loads(box.ctl(self.gw, "--json", "status").ok().out)["state"]["reader"]
        box.recorder.publish(self.topic + "document",
                             box.city.reader("lock-1", base64.b64decode(reader), int(time.time())))
        wait_for("it may read the lock's log",
                 lambda: "lock-1" in (box.recorder.state(self.gw) or {}).get("readers", []))
        wrong = self.quiet([])
        if wrong:
            raise Failure(f"a world that nobody disturbed: {wrong}")
        return self

    def close(self):
        self.box.close()

    # --- the agent ------------------------------------------------------------------------------------

    def start(self, plan=None):
        """A new life, and nothing heard yet."""
        trace = self.trace = self.box.path("trace")
        if os.path.exists(trace):
            os.unlink(trace)
        self.agent.env = dict(self.box.env)
        if plan is not None:
            self.agent.env.update(LD_PRELOAD=os.path.join(harness.BUILD, "torture", "shim-call.so"),
                                  TORTURE_CALL=plan, TORTURE_TRACE=trace)
        with self.box.recorder.mutex:
            self.box.recorder.messages.clear()
        self.said = len(self.agent.output())
        self.agent.start()

    def traced(self):
        try:
            with open(self.trace, encoding="utf-8") as f:
                return f.read().splitlines()
        except FileNotFoundError:
            return []

    def hit(self):
        """The call at which the fault was, as the trace names it; None: it did not come that far."""
        return next((line for line in self.traced() if "<-" in line), None)

    def words(self):
        return self.agent.output()[self.said:]

    def until(self, what, condition, patience):
        """patience: seconds once the fault was hit."""
        begun, hit = time.monotonic(), []

        def look():
            value = condition()
            if value:
                return value
            if not self.agent.running():
                raise Ended(what)
            if not hit and self.hit():
                hit.append(time.monotonic())
            if (hit and time.monotonic() > hit[0] + patience) or time.monotonic() > begun + STEP:
                raise Failure(what)
            return None
        return wait_for(what, look, 2 * STEP)

    # --- a whole run ----------------------------------------------------------------------------------

    def prepare(self):
        """A list that revokes one more, and an authorization, both new."""
        self.tries += 1
        now, self.idx = int(time.time()), 1000 + self.tries
        self.revoked[self.idx] = 1
        self.list = self.box.city.list(self.born + self.tries, self.revoked)
        self.document = self.box.city.relayed("lock-1", self.known, 10, now, exp=now + LIFE)
        self.cti = wire.claims(self.document)[wire.CTI].hex()

    def outcome(self):
        return [e for e in self.box.recorder.events(self.gw) if e.get("cti") == self.cti
                and e["type"] in ("authorization.refused", "authorization.outcome")]

    def online(self):
        return self.box.recorder.last(self.topic + "presence") == b"online" and self.box.recorder.state(self.gw)

    def whole(self, patience):
        """Raises Ended, or Failure when a step does not come about."""
        box, digest = self.box, wire.digest(self.list).hex()
        marks = self.marks = {}
        self.until("online", self.online, patience)
        marks["list"] = len(self.traced())
        box.say(self.list)
        self.until("the list is held", lambda: digest in box.held(self.gw), patience)
        marks["authorize"] = len(self.traced())
        box.recorder.publish(self.topic + "authorize", self.document)
        self.until("an outcome", self.outcome, patience)
        marks["outcome"] = len(self.traced())
        self.until("all is said", lambda: box.recorder.state(self.gw)["outbox"] == 0, patience)
        self.agent.popen.send_signal(signal.SIGTERM)
        wait_for("it stops", lambda: not self.agent.running(), 2 * patience)

    def suffer(self, plan, patience):
        """One run with a fault; what is wrong with how it ended. patience: for each step, once it was hit."""
        found, asked = [], False
        self.start(plan)
        try:
            self.whole(patience)
            asked = True
        except (Ended, Failure):
            pass
        if not self.agent.running():
            found = self.ended(asked)
        return found

    def ended(self, asked):
        """Killed by us, or of its own accord with a clear line."""
        status, words = self.agent.popen.wait(), self.words().strip()
        last = words.splitlines()[-1:] or [""]
        if status == -signal.SIGKILL or (status == 0 and asked):
            return []
        if status == 1 and re.search(r"\w+.*\w+", last[0]):
            return []
        return [f"it ended with {status}, saying {words[-500:]!r}"]

    # --- after it -------------------------------------------------------------------------------------

    def rest(self):
        """At the end of a world: what was unknown is known, as the lock's log is complete and all have expired."""
        history = self.observer.history

        def unknown():
            self.observer.look()
            return [cti for stream in history.events for cti, events in history.told(stream).items()
                    if events[-1].get("outcome") == "unknown"]
        try:
            wait_for("nothing is unknown any more", lambda: not unknown(), LIFE + 25, 0.2)
        except Failure:
            return [f"still unknown: {unknown()}"]
        return self.quiet([])

    def silent_starts(self):
        """What an earlier life accepted and left open must be called unknown before a new life says that it began."""
        found, history = [], self.observer.history
        for events in history.events.values():
            open_ctis = set()
            for _, e in sorted(events.items()):
                if e["type"] == "authorization.accepted":
                    open_ctis.add(e["cti"])
                elif e["type"] == "authorization.outcome":
                    open_ctis.discard(e["cti"])
                elif e["type"] == STARTED and open_ctis:
                    found.append(f"outcome: a start at event {e['seq']} did not say unknown of {open_ctis}")
        return found

    def quiet(self, found, settle=30):
        """All promises, at rest. Remembers the lock's challenge for the next authorization."""
        found += self.observer.violations(settle) + self.silent_starts()
        try:
            self.known = self.box.challenge()
        except Failure:
            found.append("the lock's challenge is not known at the city")
        return found

    def acknowledged(self):
        """Did any state so far say that the present list is held?"""
        digest = wire.digest(self.list).hex()
        return any(digest in [d["digest"] for d in json.loads(payload)["documents"]]
                   for _, _, payload, _ in self.box.recorder.all(self.topic + "state") if payload)

    def refusals(self, since):
        return [e for e in self.box.recorder.events(self.gw, "authorization.refused", since)
                if e.get("cti") == self.cti]

    def again(self, accepted, found):
        """The same authorization once more, and one that the list revokes: neither moves anything."""
        box, since = self.box, time.monotonic()
        now = int(time.time())
        revoked = box.city.relayed("lock-1", self.known, self.idx, now, exp=now + LIFE)
        box.hold(self.list, self.gw, 20)
        for document in (self.document, revoked):
            box.recorder.publish(self.topic + "authorize", document)
        if accepted:
            wait_for("the duplicate is refused", lambda: self.refusals(since), 30)
            if self.refusals(since)[-1].get("reason") != "replayed":
                found.append(f"a duplicate of what was accepted: {self.refusals(since)}")
        else:
            box.answer(self.cti, self.gw, since, 30)
        second = box.answer(wire.claims(revoked)[wire.CTI].hex(), self.gw, since, 30)[-1]
        if (second["type"], second.get("reason")) != ("authorization.refused", "revoked"):
            found.append(f"a revoked credential was not refused: {second}")

    def recover(self, had):
        """A start without a fault. had: the list was acknowledged before."""
        found = []
        self.start()
        try:
            self.until("online", self.online, 30)
            states = self.box.recorder.all(self.topic + "state")
            held = [d["digest"] for d in json.loads(states[0][2])["documents"]]
            if had and wire.digest(self.list).hex() not in held:
                found.append("the first word after the start lacks the list that was acknowledged")
            self.again(self.cti in self.observer_accepted(), found)
        except Ended:
            found.append(f"it does not start again: {self.words()[-500:]!r}")
        except Failure as e:
            found.append(f"after the start: {e}; it says {self.words()[-500:]!r}")
        return self.quiet(found)

    def observer_accepted(self):
        """ctis of which some event said that they were accepted, or that moved the bolt."""
        self.observer.look()
        history = self.observer.history
        told = {e.get("cti") for events in history.events.values() for e in events.values()
                if e["type"] == "authorization.accepted"}
        return told | set(history.moved.get("lock-1", ()))

    def told_of_itself(self):
        """(stream, reader key) in what it said in this life."""
        states = [json.loads(payload) for _, _, payload, _ in self.box.recorder.all(self.topic + "state") if payload]
        return {(state["stream"], state["reader"]) for state in states}

    def first_start(self, n):
        """No store yet, and killed at the n-th call. (hit, texts): whom the city met once it must meet again."""
        found, box = [], self.box
        self.agent.kill()
        shutil.rmtree(box.path(self.gw))
        os.makedirs(box.path(self.gw), mode=0o700)
        self.observer.store_lost(self.gw)
        self.start(f"at={n} do=kill-before")
        try:
            self.until("online", self.online, 3)
            self.until("all documents", lambda: len(box.held(self.gw)) == 3, 3)
            self.until("the lock is current", lambda: (box.recorder.lock(self.gw, "lock-1") or {}).get("current"), 3)
        except (Ended, Failure):
            pass
        hit, told = self.hit(), self.told_of_itself()
        self.agent.kill()
        self.start()
        try:
            self.until("online", self.online, 30)
            self.until("all documents", lambda: len(box.held(self.gw)) == 3, 30)
        except Ended:
            found.append(f"it does not start again: {self.words()[-500:]!r}")
        except Failure as e:
            found.append(f"after the start: {e}; it says {self.words()[-500:]!r}")
        told |= self.told_of_itself()
        if len(told) != 1:
            found.append(f"it is another one than it said: {told}")
        return hit, found + self.observer.violations(30) + self.silent_starts()

    def attempt(self, task):
        """All that one task asks for. Texts of what was broken."""
        self.agent.kill()
        self.prepare()
        found = self.suffer(task.plan, {DIES: 3, ONCE: 3, BROKEN: 1.5}[task.after])
        task.hit = self.hit()
        if task.hit and task.after == ONCE and self.agent.running():
            found += ["by itself: " + text for text in self.quiet([])]
        had = self.acknowledged()
        self.agent.kill()
        if task.second:
            self.start(task.second)
            try:
                self.until("online", self.online, 3)
                self.until("the list is held", lambda: wire.digest(self.list).hex() in self.box.held(self.gw), 3)
                time.sleep(0.3)  # what recovery does beyond that is a point, too
            except (Ended, Failure):
                pass
            had |= self.acknowledged()
            if not self.agent.running():
                found += self.ended(False)
            self.agent.kill()
        return found + self.recover(had)


# --- which calls ----------------------------------------------------------------------------------------

WRITES = ("write", "pwrite", "send", "writev", "pwritev", "pwritev2", "sendmsg")


def counts(counted, line):
    """Does a plan with these words count this call? As the shim does."""
    _, name, kind = line.split()[:3]
    words = dict(word.split("=") for word in counted.split())
    return kind in words.get("kind", kind).split(",") and ("only" not in words or name in WRITES)


class Points:
    """The calls of one undisturbed run, in order, and where its steps begin."""

    def __init__(self, lane):
        for _ in range(3):  # a busy machine may let an authorization expire
            lane.agent.kill()
            lane.prepare()
            wrong = lane.suffer("at=0", 3)
            self.calls, self.marks, told = lane.traced(), dict(lane.marks), lane.outcome()
            had = lane.acknowledged()
            lane.agent.kill()
            wrong += lane.recover(had)
            if not wrong and "outcome" in self.marks and told[-1].get("outcome") == "done":
                return
        raise Failure(f"undisturbed runs went wrong: {wrong}, {told}; the agent says {lane.words()[-2000:]}")

    def number(self, kind):
        """How many points there are for this kind of fault."""
        return sum(counts(KINDS[kind][1], line) for line in self.calls)

    def at(self, index):
        """(n, words) by which a plan meets the call at index: counted among its own kind, the order is steadier."""
        counted = "kind=" + self.calls[index].split()[2]
        return sum(counts(counted, line) for line in self.calls[:index + 1]), counted

    def find(self, since, *words):
        """Index of the first call from `since` on that has all these words."""
        return next(i for i in range(since, len(self.calls)) if set(words) <= set(self.calls[i].split()))

    def tender(self):
        """(kind, index) of calls where much is at stake."""
        listed = self.find(self.marks["list"], "fdatasync")
        accepted = self.find(self.marks["authorize"], "fdatasync")
        frame = self.find(accepted, "radio")
        told = self.find(frame, "fdatasync")
        acked = self.find(self.find(told, "broker"), "pwrite")
        before, after, torn, eio, enospc, _, lost, full, again = KINDS
        return [(after, listed), (before, accepted), (torn, accepted - 1), (after, accepted), (after, frame),
                (before, told), (eio, listed), (eio, accepted), (enospc, told - 1), (eio, acked), (lost, accepted),
                (full, listed - 1), (again, frame)]


class Work:
    """The tries still to come, in an order of chance, so that whatever time there is gives a fair sample."""

    def __init__(self, ordeal, points):
        self.ordeal, self.points, self.mutex = ordeal, points, threading.Lock()
        self.rows = {kind: ordeal.row(kind) for kind in KINDS}
        self.top, self.missed = {}, dict.fromkeys(KINDS, 0)
        if ordeal.quick:
            self.tasks = [self.task(kind, *points.at(index)) for kind, index in points.tender()]
            others = [kind for kind in KINDS if kind not in [task.kind for task in self.tasks]]
            self.tasks += [self.task(kind, ordeal.random.randint(1, points.number(kind)))
                           for kind in others + ordeal.random.sample(list(KINDS), 2)]
        else:
            self.tasks = [self.task(kind, n) for kind in KINDS
                          for n in range(1, self.beyond(kind, points.number(kind)))]
        ordeal.random.shuffle(self.tasks)

    def task(self, kind, n, counted=None):
        return Task(kind, n, self.ordeal.random, self.points.marks["list"] + 30, counted)

    def beyond(self, kind, n):
        """No two runs are alike: some points more, until one is not met any more."""
        self.top[kind] = n + 10
        return n + 11

    def next(self):
        with self.mutex:
            return None if self.ordeal.over() or not self.tasks else self.tasks.pop()

    def done(self, task, found):
        with self.mutex:
            row = self.rows[task.kind]
            self.ordeal.log(f"{task.seconds:.1f} s: {task}: {found or 'well'}")
            if task.hit:
                row.tried()
            else:
                self.missed[task.kind] += 1
            for text in found:
                row.violation(f"{task}: {text}")
            if task.hit and self.top.get(task.kind) == task.n:
                first = task.n + 1
                self.tasks += [self.task(task.kind, n) for n in range(first, self.beyond(task.kind, task.n))]

    def notes(self):
        for kind, row in self.rows.items():
            row.note(f"{self.points.number(kind)} points in a whole run; {self.missed[kind]} runs ended before theirs")


def lane_of_its_own():
    """A world; another one if this one cannot be put up, as when somebody else took its port meanwhile."""
    for last in (False, False, True):
        lane = Lane()
        try:
            return lane.open()
        except Failure:
            lane.close()
            if last:
                raise


def serve(work, lane=None):
    """One lane after the other, until nothing is left to do. lane: one to begin with, closed here."""
    task = work.next()
    while task or lane:
        lane = lane or lane_of_its_own()
        try:
            task = work_off(work, lane, task)
        finally:
            lane.close()
            lane = None


def work_off(work, lane, task):
    """Tries in one world, until it is worn out or broken; the next task."""
    found, last = [], task
    while task and not found and lane.tries < WORLD_TRIES:
        begun = time.monotonic()
        try:
            found = lane.attempt(task)
        except Failure as e:
            found = [f"the try itself went wrong: {e}; the agent says {lane.words()[-1000:]!r}"]
        task.seconds = time.monotonic() - begun
        work.done(task, found)
        last, task = task, work.next()
    if not found:
        for text in lane.rest():
            work.rows[last.kind].violation(f"at the end of a world, the last try was {last}: {text}")
    return task


def first_starts(ordeal, row, some):
    """Every n until a first start comes through; some: how many of them, 0: all."""
    lane = lane_of_its_own()
    try:
        n, hit, found = 0, True, []
        while hit and not found and not (row.tries and ordeal.over()):
            n = ordeal.random.randint(1, FIRST) if some else n + 1
            hit, found = lane.first_start(n)
            ordeal.log(f"first start, call {n}: {hit}: {found or 'well'}")
            if hit:
                row.tried()
            for text in found:
                row.violation(f"at={n}; hit: {hit}: {text}")
            if some and row.tries >= some:
                break
        row.note(f"the last try was at call {n}")
    finally:
        lane.close()


# --- the store alone ------------------------------------------------------------------------------------

def store_alone(ordeal, seconds):
    """calls.c; seconds: a sample, 0: every point."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else ordeal.dir  # the disk's speed proves nothing here
    with tempfile.TemporaryDirectory(prefix="lockbridge-calls-", dir=memory) as folder:
        argv = [harness.program("torture/calls"), folder, str(ordeal.random.randint(1, 1 << 30))]
        done = subprocess.run(argv + ([str(seconds)] if seconds else []), capture_output=True, text=True, check=False)
    ordeal.log(" ".join(argv) + "\n" + done.stdout[-20000:] + done.stderr)
    if done.returncode not in (0, 1):
        raise Failure(f"calls: exit {done.returncode}: {done.stderr}")
    rows, broken = {}, {}
    for line in done.stdout.splitlines():
        if line.startswith("VIOLATION "):
            name, _, text = line[len("VIOLATION "):].partition(": ")[2].partition(": ")
            broken.setdefault("store: " + name, []).append(text)
        elif line.startswith("points "):
            points = line.split()[1:]
        else:
            tries, violations, name = line.split(" ", 2)
            rows[name] = (int(tries), int(violations))
    for name, (tries, violations) in rows.items():
        row = ordeal.row(name)
        row.tried(tries)
        row.note("points: {} where there is no store yet, {} of a store, {} after a kill".format(*points))
        for text in broken.get(name, [])[:violations]:
            row.violation(text)


def run(ordeal):
    left = ordeal.deadline - time.monotonic() if ordeal.deadline else 0
    store_alone(ordeal, 2 if ordeal.quick else max(left / 4, 1) if left else 0)
    first = lane_of_its_own()
    try:
        work = Work(ordeal, Points(first))
    except BaseException:
        first.close()
        raise
    lanes = [first] + [None] * ((3 if ordeal.quick else LANES) - 1)
    starts = ordeal.row("killed before the n-th call of a first start")
    some = 2 if ordeal.quick else 60 if ordeal.deadline else 0
    with concurrent.futures.ThreadPoolExecutor(len(lanes) + 1) as pool:
        jobs = [pool.submit(serve, work, lane) for lane in lanes] + [pool.submit(first_starts, ordeal, starts, some)]
        for job in jobs:
            job.result()
    work.notes()
