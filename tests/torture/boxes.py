# SPDX-License-Identifier: Apache-2.0
"""Gateways on boxes with clocks of their own, and a second reading of section 6, "Time".

One city, which has the true time; a lock per box. A box is told what happens to its clocks (a word, see
Box.do), and answers with what it thinks of them: Box.check compares that with what the contract says,
worked out here from what was done, and from nothing that the agent said but the documents that it holds.
"""

import os
import subprocess
import time

from cryptography.hazmat.primitives.serialization import load_pem_private_key

import wire
from boxclock import BoxClock
from harness import Answer, Failure, World, program, wait_for

DAY, YEAR = 86400, 365 * 86400
BUILD = 1735689600  # as in the Makefile
SLACK = 4  # seconds between two looks at a clock, on a busy machine


class Boxes(World):
    def __init__(self, n, **more):
        super().__init__({f"gw-{i}": [f"lock-{i}"] for i in range(n)}, motor=20, **more)
        self.city = BoxClock(self.path("city.clock"), self.env)
        self.boxes = [Box(self, gw) for gw in self.gateways]

    def truth(self):
        return self.city.realtime()

    def spawn(self, name, argv, ready=None):
        before = self.env
        clocks = {box.gw: box.clock for box in self.boxes}
        clocks.update(locks=self.city, serve=self.city)
        if name in clocks:
            self.env = clocks[name].env
        try:
            return super().spawn(name, argv, ready)
        finally:
            self.env = before

    def desk(self, *words, timeout=90, clock=None):
        argv = [program("lockbridge-desk"), "--dir", self.path("desk"), *words]
        return Answer(argv, subprocess.run(argv, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL,
                                           env=(clock or self.city).env, check=False))

    def start_all_but_gateways(self):
        self.start_bus()
        self.clock_control("synchronised no")
        self.start_radio()
        self.start_city()
        self.start_locks()
        for gw, locks in self.layout.items():
            self.desk("gateway", "add", gw).ok()
            for lock in locks:
                self.desk("lock", "add", lock, "--key", self.keys[lock], "--gateway", gw).ok()
        self.start_serve()
        return self

    def start_serve(self):
        self.serve = self.spawn("serve", [program("lockbridge-desk"), "--dir", self.path("desk"), "serve"],
                                "on the broker")
        wait_for("the city's list", lambda: self.recorder.last("lockbridge/city/list/phones"))

    def issuer(self, role):
        """A private key of the desk's, as a thief would have it."""
        with open(self.path("desk", "keys", role + ".pem"), "rb") as f:
            return wire.Key(load_pem_private_key(f.read(), None))

    def thief(self):
        """Signs as the city does, with the city's keys."""
        city = wire.City()
        city.authorize, city.revoke, city.policy_key = (self.issuer(r) for r in ("authorize", "revoke", "policy"))
        city.uri = wire.claims(self.recorder.last("lockbridge/city/list/phones"))[wire.SUB]
        return city


class Box:
    """What is done to one box, and what it must think of the time since."""

    def __init__(self, world, gw):
        self.world, self.gw, self.lock = world, gw, world.layout[gw][0]
        self.clock = BoxClock(world.path(gw + ".clock"), world.env)
        self.process = None
        self.kernel = False     # NTPSynchronized
        self.trusted = False    # the system's word stands
        self.stepped = False    # it stood, until the clock jumped
        self.floor = 0          # the newest that `state` has named
        self.base = None        # (floor, boottime before and after it was learned)
        self.looked = 0         # boottime since which the floor cannot have risen unseen
        self.alive = 0          # boottime when it last answered
        self.durable = 0        # at least this must be on disk
        self.saved = None

    # --- what happens to it --------------------------------------------------------------------------------

    def do(self, what):
        """boot RTC | off | restart | ntp ERROR | lost | set ERROR | step S | suspend S | save | bring-back

        RTC: true, 1970, build (when the agent was made), or seconds off the truth. ERROR: seconds off the truth.
        """
        word, _, value = what.partition(" ")
        getattr(self, "_" + word.replace("-", "_"))(value)

    def _boot(self, rtc):
        told = {"1970": 5, "build": BUILD, "true": self.world.truth()}
        self.clock.power_on(told[rtc] if rtc in told else self.world.truth() + float(rtc))
        self.kernel = False
        self._run()

    def _run(self):
        self.trusted = self.stepped = False
        self.base = None
        if self.process is None:
            self.world.start_gateway(self.gw)
            self.process = self.world.process(self.gw)
        else:
            self.world.respawn(self.process)
        self._tell()
        self.started = self.looked = self.alive = self.clock.boottime()

    def _tell(self):
        self.world.clock_control(f"synchronised {'yes' if self.kernel else 'no'} {self.process.popen.pid}")

    def _off(self, _=""):
        """The plug is pulled."""
        self.durable = max(self.durable, self._hourly())
        self.process.kill()

    def _restart(self, _=""):
        """The agent dies and is started again; the box stays up."""
        kernel = self.kernel
        self._off()
        self._run()
        self.kernel = kernel
        self._tell()
        self.trusted = kernel

    def _jumped(self, by):
        """Small steps leave the word as it is; a large one takes it away."""
        if abs(by) > 300:
            self.stepped = self.stepped or self.trusted
            self.trusted = False

    def _set_clock(self, to, kernel):
        self.kernel = kernel
        self._tell()
        self._jumped(to - self.clock.realtime())
        self.clock.set(to)
        if kernel:
            self.trusted, self.stepped = True, False

    def _ntp(self, error):
        """timesyncd or chrony set the clock, and the kernel says so."""
        self._set_clock(self.world.truth() + float(error), True)

    def _lost(self, _=""):
        """No time server answers any more. The kernel gives up after some hours; the clock runs on."""
        self.kernel = False
        self._tell()

    def _set(self, error):
        """Somebody sets the clock by hand: the kernel forgets that it was synchronised."""
        self._set_clock(self.world.truth() + float(error), False)

    def _step(self, seconds):
        self._set_clock(self.clock.realtime() + float(seconds), False)

    def _save(self, _=""):
        """A copy of the state folder, taken while the agent is down."""
        self._off()
        subprocess.run(["cp", "-a", self.world.path(self.gw), self.world.path(self.gw + ".saved")], check=True)
        self.saved = self.floor
        kernel = self.kernel
        self._run()
        self.kernel = kernel
        self._tell()
        self.trusted = kernel

    def _bring_back(self, _=""):
        """An older store restored whole: what it knew then is all that it knows."""
        self._off()
        subprocess.run(["rm", "-rf", self.world.path(self.gw)], check=True)
        os.rename(self.world.path(self.gw + ".saved"), self.world.path(self.gw))
        self.floor = self.durable = self.saved
        self.kernel = False
        self._run()

    def pass_(self, seconds, suspended=False, converged=True):
        """The kernel tells of a suspend as of a clock that was set. converged: no document was on its way."""
        self.clock.pass_(seconds, suspended)
        if converged:
            self.looked = self.clock.boottime()

    def up(self):
        return self.process is not None and self.process.running()

    # --- what it must think --------------------------------------------------------------------------------

    def reckoned(self):
        """The least and the most that it may be."""
        floor, before, after = self.base
        now = self.clock.boottime()
        return floor + now - after, floor + now - before

    def _hourly(self):
        """At least this is on disk by now: written hourly, a minute early or late, while it was seen alive."""
        if not self.base:
            return 0
        floor, _, after = self.base
        hour = self.alive - self.started > 3600 + 60 + SLACK
        return max(floor, floor + self.alive - after - 3600 - 60 - SLACK) if hour else floor

    def expected(self, newest):
        """(problem, least and most of now); the problem None too near to a limit for a test that takes time."""
        real, reckoned = self.clock.realtime(), self.reckoned()
        if not self.trusted:
            return "clock-stepped" if self.stepped else "clock-not-synchronised", reckoned
        ahead = min(real - reckoned[0], real - newest) - 3 * DAY
        behind = reckoned[1] - real - 3600
        if min(abs(ahead), abs(behind)) < 3 * SLACK + reckoned[1] - reckoned[0]:
            return None, (min(real, reckoned[0]), max(real, reckoned[1]))
        if ahead > 0:
            return "clock-ahead", reckoned
        return ("clock-behind", reckoned) if behind > 0 else ("", (real, real))

    # --- what it thinks ------------------------------------------------------------------------------------

    def status(self):
        """Its state, fresh from the agent."""
        def ask():
            if not self.process.running():
                raise Failure(f"{self.gw} ended:\n{self.process.output()[-2000:]}")
            try:
                return self.world.ctl(self.gw, "--json", "status").json.get("state")
            except Failure:
                return None
        return wait_for(f"{self.gw} answers", ask, 60, 0.2)

    def take_in(self, state):
        """Follows the floor; a text if it fell."""
        floor = state["clock"]["floor"]
        fell = None
        if floor < self.floor:
            fell = f"the floor fell from {self.floor} to {floor}"
        if self.base is None and floor < self.durable:
            fell = f"the floor after a start is {floor}, but {self.durable:.0f} was on disk"
        boottime = self.clock.boottime()
        if self.base is None or floor != self.base[0]:
            self.base = (floor, self.looked, boottime)
        self.looked = self.alive = boottime
        self.floor = max(floor, self.floor)
        return fell

    def check(self, wanted=None, seconds=40):
        """Texts of what is broken. wanted: the problem that the table names for it."""
        end, wrong = time.monotonic() + seconds, []
        while True:
            state = self.status()
            fell = self.take_in(state)
            if fell:
                wrong.append(fell)
            clock, codes = state["clock"], [p["code"] for p in state["problems"]]
            problem, (least, most) = self.expected(max([d["iat"] for d in state["documents"]] + [0]))
            said = clock.get("problem", "")
            listed = said in codes or not said
            if problem in (None, said) and listed or time.monotonic() > end:
                break
            time.sleep(0.1)
        where = f"{clock}, real {self.clock.realtime():.0f} reckoned {self.reckoned()} truth {self.world.truth():.0f}"
        if problem is not None and said != problem:
            wrong.append(f"it says '{said}', the contract '{problem}': {where}")
        if wanted is not None and said != wanted:
            wrong.append(f"it says '{said}', the table '{wanted}': {where}")
        if clock["synchronised"] != (said == ""):
            wrong.append(f"synchronised and yet a problem: {where}")
        if not least - SLACK <= clock["now"] <= most + SLACK:
            wrong.append(f"now is not between {least:.0f} and {most:.0f}: {where}")
        if not clock["synchronised"] and clock["now"] > self.world.truth() + 2:
            wrong.append(f"a reckoned time leads: {where}")
        if not listed:
            wrong.append(f"'{said}' is not among the problems {codes}")
        return wrong + self.judge_opens(state)

    @staticmethod
    def judge_opens(state):
        """What still opens, and until when: by its own time and the policy (the default one)."""
        names, now = {d["name"] for d in state["documents"]}, state["clock"]["now"]
        wanted = {"relayed": "unknown-key" if "keys" not in names else "yes" if "phones" in names else "no-list",
                  "relayed_until": now + 60, "door_until": now + 12 * 3600,
                  "early": not state["clock"]["synchronised"]}
        return [] if state.get("opens") == wanted else [f"opens: {state.get('opens')}, not {wanted}"]

    # --- what it does --------------------------------------------------------------------------------------

    def authorize(self, thief, iat, exp, **change):
        """A relayed unlock by the city's key; what came of it: an outcome, or the reason why not."""
        recorder, challenge = self.world.recorder, None
        for _ in range(4):
            told = wait_for(f"{self.lock}'s challenge", lambda: (recorder.lock(self.gw, self.lock) or {})
                            .get("challenge"), 60)
            document = thief.relayed(self.lock, bytes.fromhex(challenge or told), 77, int(iat), exp=int(exp),
                                     cti=os.urandom(16), **change)
            cti = wire.claims(document)[wire.CTI].hex()
            begun = time.monotonic()
            recorder.publish(f"lockbridge/gw/{self.gw}/authorize", document)

            def answer():
                for event in recorder.events(self.gw, since=begun):
                    if event.get("cti") == cti and event["type"] in ("authorization.refused",
                                                                     "authorization.outcome"):
                        return event
                return None
            event = wait_for(f"{self.gw} says what came of {cti}", answer, 120)
            word = event.get("outcome") or event["reason"]
            if word == "failed":
                word = event.get("reason", word)
            challenge = event.get("challenge")
            if word not in ("stale-challenge", "unreachable", "timeout", "busy"):
                return word
        return word

    def probe(self, thief):
        """A valid one, an expired one and one from the future; texts of what went wrong."""
        state = self.status()
        now, synchronised = state["clock"]["now"], state["clock"]["synchronised"]
        truth = int(self.world.truth())
        begin = max(truth, now) + 200
        wrong = []
        for name, iat, exp in (("valid", truth - 1, truth + 59), ("expired", now - 63, now - 3),
                               ("of the future", begin, begin + 50)):
            wanted = "expired" if exp <= now else "done"
            if exp > now and synchronised and iat > now + 120:
                wanted = "not-yet-valid"
            got = self.authorize(thief, iat, exp)
            if got != wanted and not 0 < exp - now < 20:  # may expire on the way
                wrong.append(f"an authorization that is {name} (iat {iat - now:+d}, exp {exp - now:+d}): {got}, not "
                             f"{wanted}; {state['clock']}")
        after = self.status()["clock"]
        # a document that came meanwhile may vouch for the clock, or not any more
        return wrong if after.get("problem") == state["clock"].get("problem") else []
