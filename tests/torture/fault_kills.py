# SPDX-License-Identifier: Apache-2.0
"""1,000 SIGKILLs of agent, broker and radio daemon under steady traffic, checked by an observer.

The order, the pauses, for how long a program stays away, and whether a kill is aimed at an authorization on
its way are drawn before the first kill: the same seed, the same plan. The simulated locks and the desk's
serve are killed now and then besides. Under traffic, after each CHECK kills, nothing may be broken; after each REST
kills the traffic stands, everything must come to rest, and every promise is looked at.
"""

import collections
import time

from harness import Failure, World
from observer import Observer
from traffic import Traffic

KILLS, CHECK, REST = 1000, 25, 200
QUICK, EARLY = 20, 12
PROGRAMS = {  # name -> (weight, what the table says)
    "agent": (50, "agent killed"),
    "broker": (20, "broker killed"),
    "radio": (20, "radio daemon killed"),
    "locks": (3, "locks without power"),
    "serve": (5, "desk's serve killed"),
}
COUNTED = ("agent", "broker", "radio")  # what the 1,000 are
LAYOUT = {"gw-1": ["lock-1", "lock-2"], "gw-2": ["lock-3", "lock-4"], "gw-3": ["lock-5", "lock-6"],
          "gw-4": ["lock-7"]}
SMALL = {"gw-1": ["lock-1", "lock-2"], "gw-2": ["lock-3"]}
SETTLE = 180


class Kill:
    """pause: before it, since the one before. away: how long. aim: so long after the next authorization for
    that gateway, None: whatever happens."""

    def __init__(self, program, gateway, pause, away, aim):
        self.program, self.gateway, self.pause, self.away, self.aim = program, gateway, pause, away, aim

    def __str__(self):
        aim = f", {self.aim * 1000:.0f} ms into an authorization" if self.aim is not None else ""
        return f"{self.gateway or self.program} after {self.pause:.2f} s{aim}, away {self.away:.2f} s"


def plan(chance, kills, gateways):
    """So many of those that count, and some of the others among them; each at least once early on."""
    order, found = [], []
    while sum(program in COUNTED for program in order) < kills:
        order.append(chance.choices(list(PROGRAMS), [weight for weight, _ in PROGRAMS.values()])[0])
    for program in PROGRAMS:
        if program not in order[:EARLY]:
            order.insert(chance.randrange(EARLY), program)
    for program in order:
        gateway = chance.choice(gateways) if program == "agent" else None
        again = bool(found) and found[-1].program == program and chance.random() < 0.4
        if again:  # the same one, in the middle of its recovery
            gateway = found[-1].gateway
        pause = chance.uniform(0, 0.25) if again or chance.random() < 0.2 else chance.uniform(0.1, 0.8)
        away = 0.0 if chance.random() < 0.5 else chance.uniform(0, 0.6)
        aim = chance.uniform(0, 0.35) if gateway and not again and chance.random() < 0.5 else None
        found.append(Kill(program, gateway, pause, away, aim))
    return found


class Supervisor:
    """As systemd would: what was killed is started again, after its time away."""

    def __init__(self, world):
        self.world = world
        self.programs = {"broker": world.broker, "radio": world.radio, "locks": world.lock_sim, "serve": world.serve,
                         **{gw: world.process(gw) for gw in world.gateways}}
        self.due = {}  # name -> when it comes back
        self.lives = collections.Counter()

    def kill(self, name, away):
        """False if it is away already."""
        process = self.programs[name]
        if name in self.due or not process.running():
            return False
        process.kill()
        self.due[name] = time.monotonic() + away
        return True

    def work(self):
        """Starts what is due; texts about who ended without having been killed."""
        wrong = []
        for name, process in self.programs.items():
            if name in self.due:
                if time.monotonic() >= self.due[name]:
                    del self.due[name]
                    process.start()
                    self.lives[name] += 1
            elif not process.running():
                wrong.append(f"{name} ended by itself, status {process.popen.returncode}: "
                             f"{process.output()[-500:]}")
                self.due[name] = time.monotonic() + 1
        return wrong

    def all_back(self):
        wrong = []
        while self.due:
            wrong += self.work()
            time.sleep(0.02)
        return wrong


class Kills:
    def __init__(self, ordeal, world):
        self.ordeal, self.world = ordeal, world
        self.rows = {name: ordeal.row(text) for name, (_, text) in PROGRAMS.items()}
        self.observer, self.supervisor = Observer(world), Supervisor(world)
        self.traffic = Traffic(world, ordeal.random, staff=4 if ordeal.quick else 8, relayed=2 if ordeal.quick else 4,
                               patience=3 if ordeal.quick else 6)
        self.plan = plan(ordeal.random, QUICK if ordeal.quick else KILLS, world.gateways)
        self.told, self.last = set(), "agent"
        self.rests = []

    def tell(self, texts, step):
        """Each broken promise once, where the kill before it stands in the table."""
        for text in texts:
            if text not in self.told:
                self.told.add(text)
                self.rows[self.last].violation(f"{text} (seed {self.ordeal.seed}, kill {step})")

    def wait(self, seconds, step):
        end = time.monotonic() + seconds
        while True:
            self.tell(self.supervisor.work(), step)
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.02))

    def aim(self, kill, step):
        """Until an authorization for this gateway was sent; a second at the most."""
        topic, end = f"lockbridge/gw/{kill.gateway}/authorize", time.monotonic() + 1
        at = len(self.world.recorder.messages)
        while time.monotonic() < end:
            if any(m[1] == topic for m in self.world.recorder.messages[at:]):
                self.wait(kill.aim, step)
                return
            self.tell(self.supervisor.work(), step)
            time.sleep(0.002)

    def kill(self, kill, step):
        name = kill.gateway or kill.program
        while name in self.supervisor.due:
            self.wait(0.02, step)
        self.wait(kill.pause, step)
        if kill.aim is not None:
            self.aim(kill, step)
        if self.supervisor.kill(name, kill.away):
            self.rows[kill.program].tried()
            self.last = kill.program

    def rest(self, step, last=False):
        """The traffic stands; everybody comes to rest; every promise is looked at. last: no outcome stays unknown."""
        begun = time.monotonic()
        self.traffic.pause()
        self.tell(self.supervisor.all_back(), step)
        stood = time.monotonic()
        self.tell(self.observer.violations(SETTLE, resolve=last and not self.ordeal.quick), step)
        self.tell(self.supervisor.work(), step)
        self.tell([f"traffic: {text}" for text in self.traffic.errors], step)
        self.rests.append(time.monotonic() - stood)
        self.ordeal.log(f"kill {step}: at rest after {stood - begun:.1f} + {self.rests[-1]:.1f} s; "
                        f"{sum(sum(c.values()) for c in self.observer.history.moved.values())} movements, "
                        f"{sum(map(len, self.observer.history.events.values()))} events")
        self.traffic.go()

    def run(self):
        done = 0
        with self.traffic:
            for step, kill in enumerate(self.plan, 1):
                if self.ordeal.over():
                    break
                self.ordeal.log(f"{step}: {kill}")
                self.kill(kill, step)
                done = step
                if step % CHECK == 0:
                    self.tell(self.observer.broken(), step)
                if step % REST == 0:
                    self.rest(step)
            self.rest(done, last=True)
        self.notes()

    def notes(self):
        history = self.observer.history
        moved = sum(sum(ctis.values()) for ctis in history.moved.values())
        outcomes = collections.Counter(e["outcome"] for events in history.events.values() for e in events.values()
                                       if e["type"] == "authorization.outcome")
        row = self.rows["agent"]
        row.note(f"{moved} movements of {len(history.issued)} authorizations, "
                 f"{sum(map(len, history.events.values()))} events, {len(history.lists)} lists, outcomes "
                 + ", ".join(f"{n} {word}" for word, n in sorted(outcomes.items())))
        row.note(f"at rest after {min(self.rests):.1f} to {max(self.rests):.1f} s")
        for what, n in sorted(self.traffic.answers.items()):
            self.ordeal.log(f"{n:6} {what}")
        if not moved:
            row.violation("no bolt moved at all: no traffic, nothing was tried")


def run(ordeal):
    with World(SMALL if ordeal.quick else LAYOUT, motor=100) as world:
        try:
            world.start()
            Kills(ordeal, world).run()
        except Failure:
            for process in world.processes:
                ordeal.log(f"--- {process.name}:\n{process.output()[-3000:]}")
            raise
