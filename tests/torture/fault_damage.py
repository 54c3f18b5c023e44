# SPDX-License-Identifier: Apache-2.0
"""Damages what the agent keeps: bytes, lengths, pages, files, owners, room. Nobody revoked gets in.

damage.c does it to the store alone, thousands of times. Here a real agent, with a lock, a broker and a
desk's serve, starts on what was damaged, or goes on with a disk that takes nothing. Each time: it is up or says
what is wrong and what to do; a revoked phone is refused from the first moment on; an authorization that moved the
bolt moves it no more; `state` names the problem; and the city's documents bring the box back without a visit.
As root the agent runs as nobody in a mount namespace of its own, on a disk of 6 MiB; else what needs that is
left out, and the row says so.
"""

import ctypes
import glob
import json
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
import time

import harness
import wire
from box import Box
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from harness import Failure, World, wait_for
from observer import Observer
from traffic import NUMBERS, person_number

NOBODY = 65534
GW, LOCK = "gw-1", "lock-1"
ROOT = os.geteuid() == 0
PAGE = 4096
ASIDE_KEPT = 3  # as agent/link/db-aside.h says


def own_mounts():
    """Mounts made from here on are this process's and its children's alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not ROOT or libc.unshare(0x20000) != 0:
        return False
    return subprocess.run(["mount", "--make-rprivate", "/"], check=False).returncode == 0


class Bench(Box):
    """One box with one lock, the city's desk and its serve; and a hand that signs with the city's key."""

    def __init__(self, ordeal, mounts):
        super().__init__({GW: [LOCK]})
        self.ordeal, self.mounts, self.n, self.plain = ordeal, mounts, 0, False

    def start_gateway(self, gw, **change):
        os.chmod(self.dir, 0o755)
        os.makedirs(self.state(), mode=0o700, exist_ok=True)
        if self.mounts:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m,mode=0700", "tmpfs", self.state()], check=True)
        if ROOT:
            os.chown(self.state(), NOBODY, NOBODY)
        agent = super().start_gateway(gw, **change)
        self.argv = agent.argv
        if ROOT:
            agent.kill()
            agent.argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *agent.argv]
            agent.start()
        return agent

    def begin(self):
        harness.BUS_CONFIG = harness.BUS_CONFIG.replace('<allow own="*"/>', '<allow own="*"/><allow user="*"/>')
        World.start(self, serve=True)
        self.agent = self.process(GW)
        self.revoke()
        with open(self.path("desk", "keys", "authorize.pem"), "rb") as f:
            self.city.authorize = wire.Key(load_pem_private_key(f.read(), None))
        self.observer = Observer(self)
        self.observer.expect("opened-by-unknown")  # what is signed here is in nobody's registry
        return self

    def close(self):
        for p in self.processes:
            if p.name == GW:
                p.kill()
        if self.mounts:
            subprocess.run(["umount", "-l", self.state()], check=False, stderr=subprocess.DEVNULL)
        super().close()

    def state(self, *parts):
        return self.path(GW, *parts)

    # --- the city -------------------------------------------------------------------------------------------

    def revoke(self):
        """One phone more, and lost; the list that says so."""
        phone = f"070-174 {NUMBERS[self.n] // 100:02d} {NUMBERS[self.n] % 100:02d}"
        self.desk("staff", "add", "--person", person_number(self.n), "--phone", phone).ok()
        self.n += 1
        before = self.newest_list()
        self.desk("revoke", "--phone", phone, "--no-wait")
        wait_for("a list that says so", lambda: self.newest_list() != before, 30)
        claims = wire.claims(self.newest_list())
        self.city.uri, raw = claims[wire.SUB], wire.zlib.decompress(claims[wire.STATUS_LIST]["lst"])
        status = [raw[i // 4] >> 2 * (i % 4) & 3 for i in range(4 * len(raw))]
        self.lost = [i for i, s in enumerate(status) if s == 1]
        self.good = status.index(0)
        return wire.digest(self.newest_list()).hex()

    def newest_list(self):
        lists = [m[2] for m in self.recorder.all("lockbridge/city/list/") if m[2]]
        return max(lists, key=lambda d: wire.claims(d)[wire.IAT]) if lists else None

    def sign(self, idx, challenge=None, **change):
        document = self.city.relayed(LOCK, challenge or self.challenge(), idx, int(time.time()), **change)
        self.observer.history.issue(self.cti(document), idx, change.get("scope", "unlock"), False)
        return document

    @staticmethod
    def cti(document):
        return wire.claims(document)[wire.CTI].hex()

    def send(self, document):
        self.recorder.publish(f"lockbridge/gw/{GW}/authorize", document)

    def said(self, document, since=0.0):
        """The last word about it, or None."""
        found = [e for e in self.recorder.events(GW, since=since) if e.get("cti") == self.cti(document)
                 and e["type"] in ("authorization.refused", "authorization.outcome")]
        return found[-1] if found else None

    def try_open(self, timeout=15, **change):
        """A good one; its last event, None if none came."""
        document = self.sign(self.good, **change)
        since = time.monotonic()
        self.send(document)
        try:
            event = wait_for("an answer", lambda: self.said(document, since), timeout)
        except Failure:
            return document, None
        return document, event

    def open_now(self, timeout=60):
        """Opens, whatever it takes: the authorization that did."""
        end, challenge = time.monotonic() + timeout, None
        while True:
            self.keep_up()
            document, event = self.try_open(challenge=challenge)
            # events that come late tell old challenges; this one tells the present one, as the desk knows
            challenge = bytes.fromhex((event or {}).get("challenge", ""))
            if event and event.get("outcome") == "done":
                return document
            if time.monotonic() > end:
                raise Failure(f"nothing opens within {timeout} s: {event}, {self.problems()}\n"
                              + self.agent.output()[-1500:])
            time.sleep(0.2)

    def log_told(self, t):
        """Until the desk has all receipts of the lock. A lock keeps 64: a box that is ended as soon as it has opened,
        time and again, never comes to read them, and then they are gone."""
        try:
            wait_for("the lock's log at the desk", lambda: self.observer.query(
                "SELECT count(DISTINCT n) = max(n) FROM receipt WHERE lock = ?", LOCK) == [(1,)], 60, 0.1)
        except Failure:
            t.broken("receipts of the lock never came to the desk")

    def moved(self, document):
        return self.lock_report(LOCK)["ctis"].get(self.cti(document), 0)

    def problems(self, since=0.0):
        """All that state named since, and now."""
        return {p["code"] for at, topic, payload, _ in self.recorder.all(f"lockbridge/gw/{GW}/state")
                if topic.endswith("/state") and at >= since and payload for p in json.loads(payload)["problems"]}

    def problems_now(self):
        return {p["code"] for p in (self.recorder.state(GW) or {"problems": []})["problems"]}

    # --- the box --------------------------------------------------------------------------------------------

    def keep_up(self):
        """What systemd does. What it said when it ended on its own is kept in `ends`."""
        if not self.agent.running():
            code, said = self.agent.popen.returncode, self.agent.output()[self.skip:]
            self.ends.append((code, said))
            time.sleep(0.3)
            self.start_agent()

    def start_agent(self, env=None, plain=False):
        """plain: as root, and with env besides."""
        self.skip = len(self.agent.output())
        keep, self.agent.env = self.agent.env, dict(self.agent.env, **(env or {}))
        argv, self.agent.argv = self.agent.argv, self.argv if plain else self.agent.argv
        self.agent.start()
        self.agent.env, self.agent.argv = keep, argv

    def damaged_files(self):
        """One name for each that was put aside, with or without its log."""
        return {re.sub("-(wal|shm)$", "", f) for f in glob.glob(self.state("store.db.damaged-*"))}

    def spare_room(self):
        for f in glob.glob(self.state("store.db.damaged-*")):
            os.unlink(f)

    def mine(self):
        """Files that this hand made belong to the agent."""
        for f in glob.glob(self.state("*")):
            if ROOT:
                os.chown(f, NOBODY, NOBODY)


# --- one try --------------------------------------------------------------------------------------------------


class Try:
    def __init__(self, bench, row, text):
        self.bench, self.row, self.text = bench, row, text
        row.tried()

    def broken(self, how):
        self.row.violation(f"{how} ({self.text}; seed {self.bench.ordeal.seed})")

    def check_ends(self):
        """Each time that it ended it said why, and what to do."""
        for code, said in self.bench.ends:
            if code < 0:
                self.broken(f"the agent died of signal {-code}: {said[-300:]}")
            elif not re.search(r"starting anew|damaged while it was open|[/.](db|conf|pem|sock)\b.*(;|:)", said, re.S):
                self.broken(f"the agent ended with {code}, without cause and next step: {said[-300:]}")
        self.bench.ends.clear()

    def check_door(self, revoked, before):
        for document in revoked:
            event = self.bench.said(document)
            if event and event["type"] != "authorization.refused":
                self.broken(f"a revoked phone's authorization was not refused: {event}")
            if self.bench.moved(document):
                self.broken("a revoked phone moved the bolt")
        if self.bench.moved(before) != 1:
            self.broken(f"what moved the bolt once did so {self.bench.moved(before)} times")


def start_on(bench, row, text, damage, kill=True, undo=None, wants=None, store=True, log=False):
    """The agent ends, something is damaged, it starts again. undo: by hand, after wants (problems of which one must
    show) were seen; else the city alone must bring it back. log: what is hit may be the store's newest part, and
    what remains is whole and older. The box cannot know; that the desk does is for the observer to see."""
    t = Try(bench, row, text)
    before = bench.open_now()
    bench.agent.kill() if kill else bench.agent.stop()
    files = bench.damaged_files()
    revoked = [bench.sign(bench.lost[0])]
    if log:
        bench.observer.set_back(bench.recorder.state(GW)["stream"])
    t.text += f", {damage()}"
    since = time.monotonic()
    for document in (*revoked, before):
        bench.send(document)  # waits at the broker: the first that the agent hears
    bench.start_agent()
    if undo:
        await_problem(bench, t, since, wants)
        t.check_door(revoked, before)
        undo()
        bench.agent.kill()
        bench.start_agent()
    bench.open_now(90)
    revoked.append(bench.sign(bench.lost[-1]))
    bench.send(revoked[-1])
    bench.send(before)
    wait_for("a revoked one is answered", lambda: bench.said(revoked[-1]), 30)
    t.check_door(revoked, before)
    t.check_ends()
    if store and bench.damaged_files() - files:
        if "store-damaged" not in bench.problems(since):
            t.broken("a damaged store was put aside, and state did not say so")
        row.refused = getattr(row, "refused", 0) + 1
    if len(bench.damaged_files()) > ASIDE_KEPT:
        t.broken(f"more was put aside than is to be kept: {sorted(bench.damaged_files())}")
    if "store-damaged" in bench.problems_now():
        t.broken("it opens, and state still says that the store is damaged")


def await_problem(bench, t, since, wants):
    """Until state names one, or the agent has said several times why it does not run."""
    def shown():
        bench.keep_up()
        return bench.problems(since) & set(wants or ()) or len(bench.ends) > 2
    try:
        wait_for(f"one of {wants}", shown, 40)
    except Failure:
        t.broken(f"state names none of {wants}: {bench.problems(since)}; {bench.agent.output()[-500:]}")
    if wants and not bench.ends:
        document, event = bench.try_open()
        if not event or event["type"] != "authorization.refused":
            t.broken(f"it opened, or gave no answer: {event}")


# --- kinds of damage ------------------------------------------------------------------------------------------


def chance_bytes(bench, name, n):
    def damage():
        path, rng = bench.state(name), bench.ordeal.random
        size = os.path.getsize(path) if os.path.exists(path) else 0
        places = [rng.randrange(size) for _ in range(n)] if size else []
        for at in places:
            with open(path, "r+b") as f:
                f.seek(at)
                old = f.read(1)[0]
                f.seek(at)
                f.write(bytes([old ^ rng.randrange(1, 256)]))
        return f"{name} at {places}"
    return damage


def cut(bench, name):
    def damage():
        path, rng = bench.state(name), bench.ordeal.random
        size = os.path.getsize(path) if os.path.exists(path) else 0
        to = rng.choice([0, 1, rng.randrange(size + 1), size // PAGE // 2 * PAGE])
        if size:
            os.truncate(path, min(to, size))
        return f"{name} cut from {size} to {to}"
    return damage


def pages(bench):
    def damage():
        path, rng = bench.state("store.db"), bench.ordeal.random
        with open(path, "r+b") as f:
            data = bytearray(f.read())
            n = len(data) // PAGE
            a, b = rng.randrange(n), rng.randrange(n)
            if rng.random() < 0.5:
                data[a * PAGE:(a + 1) * PAGE] = bytes(PAGE)
                b = "zeros"
            else:
                one, other = data[a * PAGE:(a + 1) * PAGE], data[b * PAGE:(b + 1) * PAGE]
                data[a * PAGE:(a + 1) * PAGE], data[b * PAGE:(b + 1) * PAGE] = other, one
            f.seek(0)
            f.write(data)
        return f"page {a} is {b}"
    return damage


def missing(bench, names):
    def damage():
        for name in names:
            if os.path.exists(bench.state(name)):
                os.unlink(bench.state(name))
        return f"{' and '.join(names)} gone"
    return damage


def instead(bench):
    """Something else in the file's place."""
    def damage():
        rng, path = bench.ordeal.random, bench.state("store.db")
        os.unlink(path)
        what = rng.choice(["noise", "text", "another database"])
        if what == "another database":
            with sqlite3.connect(path) as db:
                db.execute("CREATE TABLE list(idx INTEGER)")
        else:
            with open(path, "wb") as f:
                f.write(rng.randbytes(9000) if what == "noise" else b"nobody is revoked\n" * 300)
        bench.mine()
        return f"{what} instead"
    return damage


def bytes_kind(ordeal, bench):
    row = ordeal.row("store damaged, then a real agent's start")
    rng = ordeal.random
    kinds = [("bytes of store.db", lambda: chance_bytes(bench, "store.db", rng.choice([1, 1, 3, 40]))),
             ("bytes of the log", lambda: chance_bytes(bench, "store.db-wal", rng.choice([1, 3, 40]))),
             ("cut", lambda: cut(bench, "store.db")),
             ("the log cut", lambda: cut(bench, "store.db-wal")),
             ("pages", lambda: pages(bench)),
             ("files missing", lambda: missing(bench, rng.choice([["store.db"], ["store.db-wal"],
                                                                   ["store.db", "store.db-wal"]]))),
             ("not our file", lambda: instead(bench))]
    tries = kinds[:1] + [kinds[2]] if ordeal.quick else [rng.choice(kinds) for _ in range(80)] + kinds * 2
    for name, make in tries:
        if ordeal.over():
            break
        damage = make()
        start_on(bench, row, name, damage, kill=rng.random() < 0.8, log="log" in name or name == "files missing")
    row.note(f"{getattr(row, 'refused', 0)} stores were put aside, and everything came back from the city")


def permission_kind(ordeal, bench):
    row = ordeal.row("wrong owner or mode, read-only: a real agent's start")
    if not ROOT:
        row.note("left out: needs root")
        row.tried()
        return
    def mode(path, bits, owner=None):
        def damage():
            os.chmod(bench.state(path), bits)
            if owner is not None:
                os.chown(bench.state(path), owner, owner)
            return f"{path or 'folder'} {bits:o}, owner {owner}"
        return damage
    def undo():
        os.chmod(bench.state(), 0o700)
        os.chown(bench.state(), NOBODY, NOBODY)
        bench.mine()
        for f in glob.glob(bench.state("*")):
            os.chmod(f, 0o600)
    wants = ["store-failed", "store-full", "store-damaged"]
    cases = [("folder read-only", mode("", 0o500)), ("file read-only", mode("store.db", 0o400)),
             ("file not to be read", mode("store.db", 0)), ("file of another", mode("store.db", 0o600, 0)),
             ("folder of another", mode("", 0o700, 0))]
    if bench.mounts:
        def read_only():
            subprocess.run(["mount", "-o", "remount,ro", bench.state()], check=True)
            return "the file system read-only"
        def writable():
            subprocess.run(["mount", "-o", "remount,rw", bench.state()], check=True)
        cases.append(("file system", read_only))
    for name, damage in cases[:1] if ordeal.quick else cases * 2:
        if ordeal.over():
            break
        start_on(bench, row, name, damage, undo=writable if name == "file system" else undo, wants=wants,
                 # after a kill the log is there: nothing has to be made in the folder, and all is well
                 kill=name == "file system" or name != "folder read-only" and ordeal.random.random() < 0.5,
                 store=False)


def config_kind(ordeal, bench):
    row = ordeal.row("configuration or root key damaged")
    for _ in range(0 if ordeal.quick else 30):
        if ordeal.over():
            break
        path = bench.path(ordeal.random.choice([GW + ".conf", "root.pub.pem"]))
        with open(path, "rb") as f:
            good = f.read()
        def damage():
            rng, bad = ordeal.random, bytearray(good)
            at = rng.randrange(len(bad))
            bad[at] = rng.randrange(256) if rng.random() < 0.8 else bad[at] ^ 1
            with open(path, "wb") as f:
                f.write(bad if rng.random() < 0.8 else bad[:at])
            return f"{os.path.basename(path)} at {at}"
        t = Try(bench, row, "configuration")
        before = bench.open_now()
        bench.agent.stop()
        revoked = bench.sign(bench.lost[0])
        t.text += f", {damage()}"
        bench.send(revoked)
        bench.send(before)
        bench.start_agent()
        end = time.monotonic() + 3
        while time.monotonic() < end and bench.agent.running():
            time.sleep(0.1)
        bench.keep_up()
        t.check_door([revoked], before)
        with open(path, "wb") as f:
            f.write(good)
        bench.agent.kill()
        bench.start_agent()
        bench.observer.store_lost(GW)
        bench.observer.other_root(GW)  # what the city's signed is gone, until the right one is back
        bench.open_now(90)
        bench.log_told(t)
        t.check_door([revoked], before)
        t.check_ends()
    if ordeal.quick:
        ordeal.rows.remove(row)


def fill(bench):
    """Until nothing fits any more."""
    with open(bench.state("ballast"), "ab", buffering=0) as f:
        for size in (65536, 4096, 1):
            try:
                while True:
                    f.write(bytes(size))
            except OSError:
                continue


def full_kind(ordeal, bench):
    row = ordeal.row("full disk under a running agent")
    if not bench.mounts:
        row.note("left out: needs root and a mount namespace")
        row.tried()
        return
    for n in range(1 if ordeal.quick else 12):
        if ordeal.over():
            break
        t = Try(bench, row, f"full disk {n}")
        bench.spare_room()
        bench.open_now()
        outcome_waits(bench, t)
        before = bench.open_now()
        fill(bench)
        for _ in range(40):
            document, event = bench.try_open()
            if not event:
                t.broken(f"no answer on a full disk: {bench.problems_now()}")
                break
            if event["type"] == "authorization.refused":
                if (event["reason"], event.get("detail")) != ("lock-error", "store-full"):
                    t.broken(f"refused for another reason: {event}")
                break
            fill(bench)
        else:
            t.broken("a full disk takes everything")
        if (bench.try_open(scope="lock")[1] or {}).get("reason") != "lock-error":
            t.broken("it locked, and could not remember it")
        lost = bench.revoke()
        revoked = bench.sign(bench.lost[-1])
        await_refusal(bench, t, revoked)
        if lost in bench.held():
            fill(bench)
        elif "store-full" not in bench.problems_now():
            t.broken(f"the list is not held, and no problem says why: {bench.problems_now()}")
        if n % 2:
            bench.agent.kill()
            bench.start_agent()
            again = bench.sign(bench.lost[-1])
            await_refusal(bench, t, again)
        bench.send(document)
        os.unlink(bench.state("ballast"))
        wait_for("the list is held", lambda: lost in bench.held(), 40)
        wait_for("the problem is over", lambda: "store-full" not in bench.problems_now(), 40)
        # known gap: a crash before there is room forgets what was refused for the lack of it
        if bench.moved(document) > n % 2:
            t.broken("what was refused for lack of room moved the bolt later")
        bench.open_now()
        t.check_door([revoked], before)
        t.check_ends()


def outcome_waits(bench, t):
    """The disk fills up between accepting and the outcome: that waits until there is room, and is not lost."""
    bench.lock_control(f"{LOCK} motor 1500")
    bench.keep_up()
    document = bench.sign(bench.good)
    bench.send(document)
    wait_for("the motor turns", lambda: bench.lock_report(LOCK)["moving"], 20)
    fill(bench)
    wait_for("the bolt has moved", lambda: not bench.lock_report(LOCK)["moving"], 20)
    try:
        wait_for("the problem is named", lambda: "store-full" in bench.problems_now(), 20)
    except Failure:
        t.broken("the outcome cannot be written, and state names no problem")
    os.unlink(bench.state("ballast"))
    bench.lock_control(f"{LOCK} motor {bench.motor}")
    try:
        event = wait_for("its outcome", lambda: bench.said(document), 30)
        if event.get("outcome") != "done" or "receipt" not in event:
            t.broken(f"what was done while the disk was full: {event}")
    except Failure:
        t.broken("an outcome that could not be written at once was never told")
    wait_for("the problem is over", lambda: "store-full" not in bench.problems_now(), 40)


def await_refusal(bench, t, document):
    """A revoked phone's, on a full disk: the list that says so may come a moment later."""
    for _ in range(30):
        bench.keep_up()
        bench.send(document)
        try:
            event = wait_for("an answer", lambda: bench.said(document), 10)
        except Failure:
            continue
        if event["type"] != "authorization.refused":
            t.broken(f"a revoked phone opened on a full disk: {event}")
        return
    t.broken("a revoked phone's authorization has no answer on a full disk")


def failing_kind(ordeal, bench):
    row = ordeal.row("a disk that fails for ever (EIO), then a sound one")
    shim = os.path.join(harness.BUILD, "torture", "shim-call.so")
    for n in range(0 if ordeal.quick else 10):
        if ordeal.over():
            break
        at = ordeal.random.randrange(1, 120)
        t = Try(bench, row, f"from write {at} on")
        before = bench.open_now()
        bench.agent.stop()
        revoked = bench.sign(bench.lost[0])
        bench.send(revoked)
        since = time.monotonic()
        bench.start_agent({"LD_PRELOAD": shim, "TORTURE_CALL": f"kind=disk at={at} do=dead errno=EIO"}, plain=True)
        end = time.monotonic() + 25
        while time.monotonic() < end and "store-failed" not in bench.problems(since) and bench.agent.running():
            bench.try_open(timeout=3)
        if bench.agent.running() and "store-failed" not in bench.problems(since):
            t.broken(f"state does not say that the disk fails: {bench.problems(since)}")
        elif bench.agent.running():
            for _ in range(20):
                event = bench.try_open()[1]
                if (event or {}).get("reason") != "busy":  # with one that is on its way
                    break
            if not event or event.get("reason") != "lock-error":
                t.broken(f"an authorization on a dead disk: {event}")
        bench.agent.kill()
        bench.mine()
        bench.start_agent()
        bench.open_now(90)
        bench.log_told(t)  # what was done on a disk that failed, too
        t.check_door([revoked], before)
        t.check_ends()
    if ordeal.quick:
        ordeal.rows.remove(row)


def older_kind(ordeal, bench):
    """Not to be told from the right one by the box itself: the city must notice, and say it again."""
    row = ordeal.row("an older copy of the whole store put back")
    for n in range(0 if ordeal.quick else 3):
        if ordeal.over():
            break
        t = Try(bench, row, f"older copy {n}")
        bench.open_now()
        bench.agent.stop()
        bench.observer.set_back(bench.recorder.state(GW)["stream"])
        copy = tempfile.mkdtemp(dir=ordeal.dir)
        for f in glob.glob(bench.state("store.db*")):
            shutil.copy(f, copy)
        bench.start_agent()
        bench.open_now()
        newest = bench.revoke()
        wait_for("the list is held", lambda: newest in bench.held(), 30)
        before = bench.open_now()
        bench.agent.kill()
        for f in glob.glob(bench.state("store.db*")):
            os.unlink(f)
        for f in glob.glob(os.path.join(copy, "*")):
            shutil.copy(f, bench.state())
        bench.mine()
        bench.send(before)
        bench.start_agent()
        wait_for("the newest list is back", lambda: newest in bench.held(), 60)
        revoked = bench.sign(bench.lost[-1])
        bench.send(revoked)
        wait_for("it is refused", lambda: bench.said(revoked), 30)
        bench.open_now()
        t.check_door([revoked], before)
        try:
            wait_for("an alarm at the desk", lambda: bench.observer.query(
                "SELECT 1 FROM alarm WHERE kind IN ('event-fork', 'event-chain')"), 30)
        except Failure:
            t.broken("numbers were given twice, and the desk raised no alarm")
    if ordeal.quick:
        ordeal.rows.remove(row)


# --- the store alone ------------------------------------------------------------------------------------------


def alone(ordeal):
    """damage.c: (kind, what the table says, how many places in a quick run)."""
    program = harness.program(os.path.join("torture", "damage"))
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else ordeal.dir
    left = (ordeal.deadline - time.monotonic()) / 8 if ordeal.deadline else 600
    for kind, text, tries in (("flip", "each byte of the store changed", 150), ("log", "each byte of its log changed", 100),
                              ("cut", "store and log cut to each length", 100), ("pages", "pages zeroed, swapped, of before", 100)):
        row = ordeal.row(text)
        folder = tempfile.mkdtemp(dir=shm, prefix="lockbridge-torture-")
        try:
            done = subprocess.run([program, folder, kind, str(ordeal.random.randrange(1 << 30)),
                                   str(tries if ordeal.quick else 0), str(int(left))], capture_output=True, text=True, check=False)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if done.returncode != 0:
            row.tried()
            row.violation(f"damage {kind}: exit {done.returncode}: {done.stderr.strip()}")
            continue
        tries, refused, sound, late, lost = map(int, done.stdout.split())
        row.tried(tries)
        row.note(f"{refused} refused, {sound} harmless, {late} seen at the first write; "
                 f"{lost} lost the log's newest authorizations")


def observe(ordeal, bench):
    row = ordeal.row("all promises, as the observer sees them afterwards")
    row.tried()
    bench.observer.store_lost(GW)
    bench.observer.expect("events-lost")
    for text in bench.observer.violations(120):
        row.violation(text)


def run(ordeal):
    alone(ordeal)
    with Bench(ordeal, own_mounts()) as bench:
        bench.ends, bench.skip = [], 0
        bench.begin()
        bytes_kind(ordeal, bench)
        permission_kind(ordeal, bench)
        full_kind(ordeal, bench)
        failing_kind(ordeal, bench)
        config_kind(ordeal, bench)
        older_kind(ordeal, bench)
        observe(ordeal, bench)
