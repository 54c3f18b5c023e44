# SPDX-License-Identifier: Apache-2.0
"""Gateways and locks whose air is broken on purpose: what the faults of the radio have in common."""

import base64
import json
import random
import subprocess
import time

import wire
from box import Box
from harness import wait_for
from observer import Observer

# The lock's radio and the agent's patience as they are; what only waits, waits less.
SETTINGS = ("supervision=400", "connect-timeout=3000", "att-timeout=12000", "interval=100")
CONFIG = ("backoff_min_ms = 100;\nbackoff_max_ms = 1000;\nhealth_s = 1;\n"
          "linger_s = {linger};\nlinks_max = {links};\nsilent_s = {silent};\n")
INBOX = "2ff90003-f488-4501-a0b4-1a1753dee155"


class Air(Box):
    def __init__(self, ordeal, layout, radio=(), linger=0, links=3, silent=90, **options):
        super().__init__(layout, radio=(*SETTINGS, *radio), motor=options.pop("motor", 40), **options)
        self.ordeal = ordeal
        self.config = CONFIG.format(linger=linger, links=links, silent=silent)
        self.given = set()

    def gateway_config(self, gw, **change):
        return super().gateway_config(gw, **{"more": self.config, **change})

    def start(self, documents=True):
        super().start(documents)
        self.observer = Observer(self)
        self.version = self.born
        for gw, locks in self.layout.items():
            for lock in locks:
                self.give_reader(gw, lock)
        return self

    def give_reader(self, gw, lock):
        """The city lets the gateway read the lock's log: what is unknown becomes known."""
        reader = base64.b64decode(wait_for(f"{gw}'s state", lambda: self.recorder.state(gw))["reader"])
        self.recorder.publish(f"lockbridge/gw/{gw}/document", self.city.reader(lock, reader, int(time.time())))
        wait_for("the reader's authorization is held",
                 lambda: lock in self.recorder.state(gw)["readers"], 60)

    # --- the city acts --------------------------------------------------------------------------------

    def new_list(self, entries=4096, seed=1):
        """A list of about entries / 4 bytes, for everybody. Nobody from index 10 to 19 is on it."""
        noise, self.version = random.Random(seed), self.version + 1
        statuses = {1: 1, 2: 2, **{i: noise.choice((0, 1, 2, 3)) for i in range(100, entries)}}
        return self.say(self.city.list(self.version, statuses, entries=entries))

    def order(self, lock, gw=None, seconds=30, **change):
        """Sends an authorization for what the lock said last; its cti."""
        now = int(time.time())
        document = self.city.relayed(lock, change.pop("cnonce", None) or self.challenge(lock), 10, now,
                                     exp=now + seconds, **change)
        self.recorder.publish(f"lockbridge/gw/{gw or self.gateway_of(lock)}/authorize", document)
        return wire.claims(document)[wire.CTI].hex()

    def told(self, cti, gw="gw-1", timeout=90):
        """Its last event, as soon as there is one."""
        return self.answer(cti, gw, timeout=timeout)[-1]

    def opens(self, lock, gw=None, tries=8):
        """A person at the door, as patient as this: signs again until it is done."""
        said = []
        for _ in range(tries):
            event = self.told(self.order(lock, gw), gw or self.gateway_of(lock))
            said.append((event["type"].rpartition(".")[2], event.get("outcome"), event.get("reason")))
            if event.get("outcome") == "done":
                return None
            time.sleep(0.5)
        return f"{lock} cannot be opened: {said}"

    # --- what became of it ----------------------------------------------------------------------------

    def idle(self, lock, timeout=60):
        """Until nobody is connected to it: the next visit begins at the beginning."""
        wait_for(f"{lock} is alone", lambda: not self.lock_report(lock)["connected"], timeout)

    def current(self, lock, timeout=120):
        wait_for(f"{lock} holds the newest list",
                 lambda: self.lock_report(lock)["applied"].get("staff") == self.version, timeout)

    def counters(self, gw="gw-1"):
        return self.status(gw)["health"]["counters"]

    def status(self, gw="gw-1"):
        """What it says at the box, now; its exit status is that of its problems."""
        return self.ctl(gw, "--json", "status").json

    def published(self, name, value, gw="gw-1", timeout=30):
        """Waits for a counter in `health`, as the city sees it."""
        def look():
            said = self.recorder.last(f"lockbridge/gw/{gw}/health")
            return said and json.loads(said)["counters"].get(name, 0) >= value
        wait_for(f"health tells {name} >= {value}", look, timeout)

    def resident_kb(self, gw="gw-1"):
        with open(f"/proc/{self.process(gw).popen.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * 4

    def judge(self, row, what, settle=90):
        """All promises, after a fault."""
        for text in self.observer.violations(settle):
            row.violation(f"{what}: {text}")

    def judge_now(self, row, what):
        for text in self.observer.broken():
            row.violation(f"{what}: {text}")

    # --- the air ----------------------------------------------------------------------------------------

    def trip(self, lock, step, action):
        self.radio_control(f"trip {self.adapter(lock)} {step} {action}")

    def tripped(self, lock):
        """(steps since the trip was set, was it sprung)"""
        steps, sprung = self.radio_control(f"tripped {self.adapter(lock)}").split()
        return int(steps), sprung == "1"

    def mend(self, lock):
        """All that may be wrong with a lock's radio is taken back."""
        hci = self.adapter(lock)
        self.radio_control(f"trip {hci} 0 off")
        self.radio_control(f"silent {hci} off")
        self.radio_control(f"stale {hci} off")
        self.radio_control(f"appear {hci}")

    def recorded(self, path, lock, kinds=("command", "write")):
        """Frames that went to a lock's inbox, off the air: [bytes]. kinds: also "lost", with a drop."""
        to, out = self.adapter(lock), []
        with open(path, encoding="ascii") as f:
            for line in f:
                _, what, _, target, uuid, *data = line.split()
                if what in kinds and target == to and uuid == INBOX:
                    out.append(bytes.fromhex(data[0]) if data else b"")
        return out


class Rogue:
    """A central that plays frames to a lock: through BlueZ, as any program on any laptop."""

    def __init__(self, air, adapter):
        self.air, self.adapter = air, f"/org/bluez/{adapter}"

    def call(self, path, interface, member, *words):
        return subprocess.run(
            ["busctl", "--address=" + self.air.env["DBUS_SYSTEM_BUS_ADDRESS"], "--json=short", "--timeout=20",
             "call", "org.bluez", path, interface, member, *words], capture_output=True, check=False)

    def objects(self):
        done = self.call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
        return json.loads(done.stdout)["data"][0]

    def find(self, device, uuid):
        for path, interfaces in self.objects().items():
            chr_ = interfaces.get("org.bluez.GattCharacteristic1")
            if chr_ and path.startswith(device + "/") and chr_["UUID"]["data"] == uuid:
                return path
        return None

    def play(self, lock, frames):
        """Connects, writes each frame as a request, hangs up. How many the lock took."""
        device = self.adapter + "/dev_" + self.air.addresses[lock].replace(":", "_")

        def connected():
            if device not in self.objects():
                return False
            return self.call(device, "org.bluez.Device1", "Connect").returncode == 0
        # busctl's discovery would end with it: the phone looks until the lock is there
        self.air.phone("info", "--adapter", self.adapter.rpartition("/")[2], "--address",
                       self.air.addresses[lock], "--timeout", "20")
        wait_for("the rogue connects", connected, 60, every=0.2)
        inbox = wait_for("the lock's inbox", lambda: self.find(device, INBOX), 20)
        taken = 0
        for frame in frames:
            done = self.call(inbox, "org.bluez.GattCharacteristic1", "WriteValue", "aya{sv}", str(len(frame)),
                             *map(str, frame), "1", "type", "s", "request")
            taken += done.returncode == 0
        self.call(device, "org.bluez.Device1", "Disconnect")
        wait_for("the rogue has left", lambda: not self.air.lock_report(lock)["connected"], 20)
        return taken
