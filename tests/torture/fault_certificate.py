# SPDX-License-Identifier: Apache-2.0
"""Damages the files by which a gateway shows the broker who it is: certificate, its trial's files, key, authority.

Each try: the agent ends, files are damaged, it starts again. It must not crash. Where one good certificate is
left, in use or beside, it comes online by itself; else it says cause and next step: by `diagnose` at the box, or, of
a file that is not there or not to be read, each time that it refuses to start. When the file is sound again it comes
online by itself, and no problem with its files is left. As root the agent runs
as nobody; else what needs another owner is left out.
"""

import glob
import json
import os
import re
import shutil
import signal
import time

import harness
import pki
from harness import Failure, wait_for
from test_certificate import Renewals

NOBODY = 65534
ROOT = os.geteuid() == 0
FILES = {"certificate": "gw-1/gateway.pem", "key": "gateway.key", "authority": "ca.pem"}
OF_FILES = {"certificate-unusable", "certificate-not-writable", "certificate-expired"}
TROUBLE = OF_FILES | {"broker-unreachable"}


class Bench(Renewals):
    def start_gateway(self, gw, **change):
        agent = super().start_gateway(gw, **change)
        agent.kill()
        if ROOT:
            os.chmod(self.dir, 0o755)
            agent.argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *agent.argv]
            self.mine()
        agent.start()
        self.agent = agent
        return agent

    def mine(self):
        for f in [self.path("gw-1"), self.path("gateway.key"), *glob.glob(self.path("gw-1", "*"))]:
            os.chown(f, NOBODY, NOBODY)

    def lay_out(self, **texts):
        """The files as they are to be; what is not named is gone."""
        for f in glob.glob(self.path("gw-1", "gateway.pem*")):
            shutil.rmtree(f) if os.path.isdir(f) else os.unlink(f)
        for name, text in texts.items():
            path = FILES.get(name) or FILES["certificate"] + "." + name
            if os.path.isdir(self.path(path)):
                os.rmdir(self.path(path))
            self.write(path, text)
            os.chmod(self.path(path), 0o644 if name != "key" else 0o600)
        if ROOT:
            self.mine()

    def ask(self, what):
        try:
            return json.loads(self.ctl("gw-1", "--json", what).out)
        except ValueError:
            return None

    def diagnosis(self):
        return self.ask("diagnose") or []

    def connected(self):
        return (self.ask("status") or {}).get("broker", {}).get("connected", False)


# --- kinds of damage --------------------------------------------------------------------------------------


def flipped(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 3, 40])):
        data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
    return bytes(data)


BYTES = {"flipped": flipped,
         "cut": lambda rng, data: data[:rng.randrange(len(data))],
         "empty": lambda rng, data: b"",
         "noise": lambda rng, data: rng.randbytes(2000),
         "long": lambda rng, data: data * (1 + (1 << 20) // len(data))}


def missing(path):
    os.unlink(path)


def folder(path):
    os.unlink(path)
    os.mkdir(path, 0o700)
    if ROOT:
        os.chown(path, NOBODY, NOBODY)


def not_readable(path):
    os.chmod(path, 0)


def of_another(path):
    os.chmod(path, 0o600)
    os.chown(path, 0, 0)


PLACES = {"missing": missing, "a folder": folder, "not to be read": not_readable,
          **({"of another": of_another} if ROOT else {})}


def damage(bench, rng, name, kind):
    path = bench.path(FILES.get(name) or FILES["certificate"] + "." + name)
    if kind in PLACES:
        PLACES[kind](path)
        return
    with open(path, "rb") as f:
        good = f.read()
    with open(path, "wb") as f:
        f.write(BYTES[kind](rng, good))


# --- one try ------------------------------------------------------------------------------------------------


class Try:
    def __init__(self, ordeal, bench, row, name, kind):
        self.ordeal, self.bench, self.row = ordeal, bench, row
        self.text, self.refusals = f"{name} {kind}", 0
        row.tried()

    def broken(self, how):
        self.row.violation(f"{how} ({self.text}; seed {self.ordeal.seed}): {self.bench.agent.output()[self.skip:][-600:]}")

    def start(self):
        self.skip = len(self.bench.agent.output())
        self.bench.agent.start()

    def alive(self):
        """It may end, if it says why and what to do; systemd starts it again."""
        agent = self.bench.agent
        if agent.running():
            return True
        said = agent.output()[self.skip:]
        if agent.popen.returncode < 0:
            self.broken(f"it died of signal {-agent.popen.returncode}")
        elif not re.search(r"; \w", said):
            self.broken(f"it ended with {agent.popen.returncode}, without cause and next step")
        time.sleep(0.3)
        self.refusals += 1
        self.skip = len(agent.output())
        agent.start()
        return False

    def online(self):
        return self.alive() and self.bench.connected()

    def comes_online(self, why, timeout=60):
        try:
            wait_for("online", self.online, timeout, 0.05)
        except Failure:
            self.broken(f"it does not come online, {why}: {self.bench.diagnosis()}")

    def told(self):
        """Online after all, or what diagnose says of it, or twice refused to start with a word why."""
        if self.online():
            return "online"
        if self.refusals > 1:
            return [{"code": "no start", "cause": "as said", "next": "as said"}]
        return [p for p in self.bench.diagnosis() if p["code"] in TROUBLE]

    def says_why(self):
        try:
            told = wait_for("a word", self.told, 30, 0.1)
        except Failure:
            self.broken(f"it is not online, and diagnose does not say why: {self.bench.diagnosis()}")
            return
        for problem in told if told != "online" else []:
            if not problem.get("cause") or not problem.get("next"):
                self.broken(f"a problem without cause or next step: {problem}")
            self.row.said[problem["code"]] = self.row.said.get(problem["code"], 0) + 1
        self.row.harmless += told == "online"

    def is_well(self):
        self.bench.agent.popen.send_signal(signal.SIGHUP)
        try:
            wait_for("no problem", lambda: not OF_FILES & {p["code"] for p in self.bench.diagnosis()}, 20, 0.1)
        except Failure:
            self.broken(f"all is sound, and a problem stays: {self.bench.diagnosis()}")


def one(ordeal, bench, row, name, kind, good, beside):
    """beside: the trial's other files. One of them may be what is damaged."""
    t = Try(ordeal, bench, row, name, kind)
    rng = ordeal.random
    sound = {"key": pki.key_pem(bench.key), "authority": bench.authority.pem, "certificate": pki.pem(good), **beside}
    bench.agent.kill() if rng.random() < 0.5 else bench.agent.stop()
    bench.lay_out(**sound)
    damage(bench, rng, name, kind)
    t.start()
    # what is not there, or not to be read, is refused at the start, whatever is beside it
    if name in ("old", "new") or (name == "certificate" and "old" in beside and kind in BYTES):
        t.comes_online("though one good certificate is there")
    else:
        t.says_why()
    if name not in ("key", "authority"):
        sound.pop("old", None)
        sound.pop("new", None)
    bench.lay_out(**sound)
    t.comes_online("though its files are sound again", 30)
    t.is_well()


def run(ordeal):
    harness.BUS_CONFIG = harness.BUS_CONFIG.replace('<allow own="*"/>', '<allow own="*"/><allow user="*"/>')
    alone = ordeal.row("the gateway's certificate, key or authority damaged: a start")
    trial = ordeal.row("a file of a certificate's trial damaged: a start")
    for row in (alone, trial):
        row.said, row.harmless = {}, 0
    kinds, rng = [*BYTES, *PLACES], ordeal.random
    with Bench() as bench:
        bench.start()
        good, former = bench.certificate(-1, 89), bench.certificate(-2, 80)
        cases = [(alone, name, kind, {}) for name in FILES for kind in kinds]
        cases += [(trial, name, kind, beside) for kind in kinds for name, beside in (
            ("certificate", {"old": pki.pem(former)}), ("old", {"old": pki.pem(former)}),
            ("new", {"old": pki.pem(good), "new": pki.pem(former)}))]
        cases += [(alone, "certificate", rng.choice(["flipped", "cut"]), {}) for _ in range(60)]
        rng.shuffle(cases)
        for row, name, kind, beside in cases[:6] if ordeal.quick else cases:
            if ordeal.over():
                break
            one(ordeal, bench, row, name, kind, good, beside)
    for row in (alone, trial):
        row.note(f"{row.harmless} harmless; told: " + (", ".join(f"{n} {code}" for code, n in sorted(row.said.items())) or "-"))
        del row.said, row.harmless
        if not row.tries:
            ordeal.rows.remove(row)
