#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A fleet on one machine: N real gateways, each with a bus, a radio and a lock of its own, and the city.

    fleet.py [--gateways N] [--broker HOST:PORT [--user NAME --password-file FILE]] [--revoke N] [--stay]

Without --broker it starts a mosquitto of its own. It waits until every gateway is online and every
lock holds what the city says, revokes phones one after the other and says how long each took to reach
all of them, then stops what it started. docs/fleet.md tells how to size a broker with it.

Each home is five processes: dbus-daemon, clock-sim, radio-sim, lock-sim, lockbridged. A bus carries one
home only, because signals go to all who listen: a shared one would cost with the square of the homes.
"""

import argparse
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "system")]

import paho.mqtt.client as mqtt  # noqa: E402
from bench import AIR  # noqa: E402
from harness import BUS_CONFIG, Answer, Failure, Process, free_port, program, wait_for  # noqa: E402

ROLES = ("lockbridged", "lock-sim", "radio-sim", "dbus-daemon", "clock-sim")
ADVERT_MS = 10000  # a real lock's is a second; with thousands of simulated radios that alone fills two cores
WAVE = 40  # homes that start together
PERSON, PHONES = "811218-9876", 8  # as many as one person may have

# As in config/mosquitto/lockbridge.conf, but for the certificates.
MOSQUITTO = """listener {port} 127.0.0.1
allow_anonymous true
user root
max_packet_size 270336
max_keepalive 120
set_tcp_nodelay true
max_inflight_messages 20
max_queued_messages 100000
max_queued_bytes 67108864
memory_limit 536870912
persistence true
persistence_location {folder}/
autosave_interval 60
connection_messages true
log_type error
log_type warning
log_type notice
log_type information
"""


class Observer:
    """Who is online, and which locks are current, by what the gateways say on the broker."""

    def __init__(self, fleet):
        self.presence, self.current, self.mutex = {}, {}, threading.Lock()
        self.subscribed = threading.Event()
        self.client = mqtt.Client(client_id=f"observer-{os.getpid()}-{time.monotonic_ns()}", protocol=mqtt.MQTTv5)
        if fleet.user:
            self.client.username_pw_set(*fleet.user)
        self.client.on_connect = lambda c, *_: c.subscribe([(f"{fleet.root}/gw/+/presence", 1),
                                                            (f"{fleet.root}/gw/+/lock/+", 1)])
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = self._on_message
        self.client.reconnect_delay_set(1, 1)
        self.client.connect(fleet.host, fleet.port)
        self.client.loop_start()
        if not self.subscribed.wait(20):
            raise Failure(f"no subscription at {fleet.host}:{fleet.port}: is it up, and may this client read "
                          f"{fleet.root}/gw/+/presence?")

    def _on_message(self, client, user, m):
        where = m.topic.split("/")
        with self.mutex:
            if where[-1] == "presence":
                self.presence[where[-2]] = (m.payload == b"online", time.monotonic(), m.retain)
            elif m.payload:
                self.current[where[-1]] = json.loads(m.payload).get("current", False)

    def online(self, since=0.0):
        """How many said since then, not before, that they are there."""
        with self.mutex:
            return sum(1 for there, at, retained in self.presence.values()
                       if there and at >= since and not (since and retained))

    def all_current(self, locks):
        with self.mutex:
            return all(self.current.get(lock) for lock in locks)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


class Home:
    """A residence: its processes by role, and its lock's key."""

    def __init__(self, fleet, number):
        self.fleet, self.gateway, self.lock = fleet, f"home-{number:04}", f"door-{number:04}"
        self.dir = os.path.join(fleet.dir, "h", self.gateway)
        self.env = dict(fleet.env, DBUS_SYSTEM_BUS_ADDRESS="unix:path=" + self.path("bus"))
        self.processes, self.key = {}, None
        os.makedirs(self.path("state"), mode=0o700)

    def path(self, name):
        return os.path.join(self.dir, name)

    def spawn(self, role, *words):
        argv = [program(role) if role != "dbus-daemon" else role, *words]
        self.processes[role] = Process(f"{self.gateway} {role}", argv, self.path(role + ".log"), self.env).start()

    def spawn_bus(self):
        with open(self.path("bus.conf"), "w") as f:
            f.write(BUS_CONFIG.format(path=self.path("bus")))
        self.spawn("dbus-daemon", "--nofork", "--config-file=" + self.path("bus.conf"))

    def spawn_radio(self):
        words = ["--adapters", "2", "--set", f"interval={self.fleet.advert_ms}"]
        for name, ms in AIR.items():
            words += ["--latency", f"{name}={ms}:{ms}"]
        self.spawn("clock-sim")
        self.spawn("radio-sim", *words)

    def spawn_lock(self):
        self.spawn("lock-sim", "--state", self.path("lock"), "--owner", self.fleet.root_key, "--motor", "0",
                   "--lock", f"{self.lock}=hci1")

    def said(self, role, text):
        p = self.processes[role]
        if not p.running():
            raise Failure(f"{p.name} ended early, see {p.log}:\n{p.output()[-1000:]}")
        return not text or text in p.output()

    def take_key(self):
        for line in self.processes["lock-sim"].output().splitlines():
            if line.startswith("{"):
                self.key = json.loads(line)["key"]

    def configure(self):
        """The lock's address: radio-sim numbers its radios, hci1 is the second."""
        f = self.fleet
        user = f' username = "{f.user[0]}"; password_file = "{f.password_file}";' if f.user else ""
        with open(self.path("conf"), "w") as out:
            out.write(f'gateway = "{self.gateway}";\nroot_key_file = "{f.root_key}";\n'
                      f'root_topic = "{f.root}";\nstate_dir = "{self.path("state")}";\n'
                      f'brokers = ( {{ host = "{f.host}"; port = {f.port};{user} }} );\n'
                      f'locks = ( {{ id = "{self.lock}"; key = "{self.key}"; address = "00:AA:01:00:00:01"; }} );\n'
                      f'adapter = "hci0";\n')

    def start_gateway(self):
        self.spawn("lockbridged", "--config", self.path("conf"))


class Fleet:
    """n homes, a desk that serves, and a broker: (host, port) of one that is there, else one of its own."""

    def __init__(self, n, folder, broker=None, user=None, password_file=None, root="lockbridge",
                 advert_ms=ADVERT_MS, entries=10000, log=print):
        self.n, self.dir, self.root, self.advert_ms, self.entries, self.log = n, folder, root, advert_ms, entries, log
        self.own_broker = broker is None
        self.host, self.port = broker or ("127.0.0.1", free_port())
        self.password_file, self.user = password_file, None
        if user:
            with open(password_file, encoding="utf-8") as f:
                self.user = (user, f.readline().rstrip("\n"))
        self.env = {k: v for k, v in os.environ.items()
                    if k not in ("INVOCATION_ID", "NOTIFY_SOCKET", "JOURNAL_STREAM")}
        self.root_key = self.path("root.pub.pem")
        self.homes, self.city, self.phones = [], [], []
        self.broker = self.serve = None
        if len(self.path("h", "home-0000", "bus")) > 100:
            raise Failure(f"{folder}: too long a name for the sockets in it; name a shorter folder")

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    # --- the city ---

    def desk(self, *words, timeout=120):
        argv = [program("lockbridge-desk"), "--dir", self.path("desk"), "--json", *words]
        return Answer(argv, subprocess.run(argv, capture_output=True, timeout=timeout, env=self.env, check=False))

    def start_broker(self):
        """Its own; again after it was killed."""
        if not self.broker:
            os.makedirs(self.path("broker"))
            with open(self.path("mosquitto.conf"), "w") as f:
                f.write(MOSQUITTO.format(port=self.port, folder=self.path("broker")))
            self.broker = Process("mosquitto", ["mosquitto", "-c", self.path("mosquitto.conf")],
                                  self.path("mosquitto.log"), self.env)
            self.city.append(self.broker)
        skip = len(self.broker.output())
        self.broker.start()
        self.broker.wait_output(" running", skip=skip)
        return skip

    def start_city(self):
        if self.own_broker:
            self.start_broker()
        words = ["--broker", f"{self.host}:{self.port}"]
        if self.user:
            words += ["--user", self.user[0], "--password-file", self.password_file]
        self.desk("init", *words, "--root-topic", self.root, "--entries", str(self.entries)).ok()
        with open(self.root_key, "w") as f:
            f.write(Answer([], subprocess.run([program("lockbridge-desk"), "--dir", self.path("desk"), "keys", "show",
                                               "root"], capture_output=True, check=True)).out)
        for i in range(PHONES):
            self.phones.append(f"070-174 06 0{i}")
            self.desk("staff", "add", "--person", PERSON, "--phone", self.phones[-1]).ok()
        self.serve = Process("serve", [program("lockbridge-desk"), "--dir", self.path("desk"), "serve"],
                             self.path("serve.log"), self.env).start()
        self.city.append(self.serve)
        self.serve.wait_output("on the broker")

    # --- the homes ---

    def wait_all(self, homes, what, condition, timeout=120):
        left = list(homes)

        def look():
            left[:] = [h for h in left if not condition(h)]
            return not left
        wait_for(what, look, timeout, every=0.05)

    def start_simulators(self, homes):
        for h in homes:
            h.spawn_bus()
        self.wait_all(homes, "buses", lambda h: os.path.exists(h.path("bus")))
        for h in homes:
            h.spawn_radio()
        self.wait_all(homes, "radios", lambda h: h.said("radio-sim", "ready"))
        for h in homes:
            h.spawn_lock()
        self.wait_all(homes, "locks", lambda h: h.said("lock-sim", "ready"))
        for h in homes:
            h.take_key()
            h.configure()

    def enrol(self, homes):
        for h in homes:
            self.desk("gateway", "add", h.gateway).ok()
            self.desk("lock", "add", h.lock, "--key", h.key, "--gateway", h.gateway).ok()

    def start(self, timeout=600):
        """Everything, until it is current; says how long each step took."""
        begun = time.monotonic()
        self.start_city()
        self.homes = [Home(self, i + 1) for i in range(self.n)]
        with concurrent.futures.ThreadPoolExecutor(1) as desk:  # while the next ones start
            waiting = []
            for i in range(0, self.n, WAVE):
                self.start_simulators(self.homes[i:i + WAVE])
                waiting.append(desk.submit(self.enrol, self.homes[i:i + WAVE]))
            simulators = time.monotonic()
            for wave in waiting:
                wave.result()
        enrolled = time.monotonic()
        observer = Observer(self)
        try:
            for i in range(0, self.n, WAVE):
                wave = self.homes[i:i + WAVE]
                for h in wave:
                    h.start_gateway()
                names = {h.gateway for h in wave}
                wait_for("a wave of gateways online: " + self.dir,
                         lambda: all(h.said("lockbridged", "") for h in wave) and names <= observer.presence.keys(),
                         timeout, every=0.05)
            online = time.monotonic()
            locks = [h.lock for h in self.homes]
            wait_for("every lock current: " + self.dir, lambda: observer.all_current(locks), timeout, every=0.2)
        finally:
            observer.close()
        self.log(f"{self.n} homes: simulators {simulators - begun:.1f} s, enrolled {enrolled - simulators:.1f} s "
                 f"after that, gateways online after {online - enrolled:.1f} s more, locks current "
                 f"{time.monotonic() - online:.1f} s later")
        return self

    # --- looking ---

    def settled(self, timeout=300):
        """Until the desk has proof that every gateway and every lock holds its newest documents."""
        def look():
            return self.desk("publish", "--wait", "60s").status == 0
        wait_for("the whole fleet confirmed", look, timeout, every=0.5)

    def revoke(self, phone, wait="120s"):
        """The desk's answer: gateways and locks, how many of how many and after how many ms."""
        answer = self.desk("revoke", "--phone", phone, "--wait", wait, timeout=600)
        if "gateways" not in answer.json:
            raise Failure(f"revoke --phone {phone}: {answer.out}{answer.err}")
        return answer.json

    def document(self, slot="list/"):
        """What the broker keeps under city/: the bytes that a revocation sends to everyone."""
        found, done = [], threading.Event()
        client = mqtt.Client(client_id=f"reader-{time.monotonic_ns()}", protocol=mqtt.MQTTv5)
        if self.user:
            client.username_pw_set(*self.user)

        def on_message(c, u, m):
            found.append(m.payload)
            done.set()
        client.on_connect = lambda c, *_: c.subscribe(f"{self.root}/city/{slot}#", qos=1)
        client.on_message = on_message
        client.connect(self.host, self.port)
        client.loop_start()
        done.wait(20)
        client.disconnect()
        client.loop_stop()
        if not found:
            raise Failure(f"nothing under {self.root}/city/{slot}")
        return found[0]

    def processes(self, role):
        if role == "mosquitto":
            return [self.broker] if self.broker else []
        if role == "serve":
            return [self.serve]
        return [h.processes[role] for h in self.homes if role in h.processes]

    def cpu(self):
        """Seconds of processor time that each role has used up to now."""
        used = {}
        for role in (*ROLES, "mosquitto", "serve"):
            used[role] = 0.0
            for p in self.processes(role):
                if p.running():
                    with open(f"/proc/{p.popen.pid}/schedstat") as f:
                        used[role] += int(f.read().split()[0]) / 1e9
        return used

    def memory(self, role):
        """Pss in KiB, all of a role together."""
        total = 0
        for p in self.processes(role):
            with open(f"/proc/{p.popen.pid}/smaps_rollup") as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        return total

    # --- the end ---

    def close(self):
        """By pid: all at once, then each is waited for. The folder is the caller's."""
        everything = [p for h in self.homes for p in reversed(h.processes.values())] + self.city[::-1]
        for p in everything:
            if p.running():
                p.popen.terminate()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda p: p.stop(), everything))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def difference(before, after):
    return {role: round(after[role] - before[role], 2) for role in after}


def side(answer, name):
    s = answer[name]
    if s["confirmed"] < s["total"]:
        return f"{s['confirmed']}/{s['total']} {name}, NOT all"
    return f"{s['total']} {name} {s['ms'] / 1000:.2f} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateways", type=int, default=20, metavar="N", help="how many homes (20)")
    parser.add_argument("--broker", metavar="HOST:PORT", help="a broker that is there; else one of its own")
    parser.add_argument("--user", help="the user name for that broker, of gateways and desk")
    parser.add_argument("--password-file", metavar="FILE")
    parser.add_argument("--root-topic", default="lockbridge-fleet", help="lockbridge-fleet; never that of a real fleet")
    parser.add_argument("--advert", type=float, default=ADVERT_MS / 1000, metavar="S", help="a lock's adverts, each (10)")
    parser.add_argument("--revoke", type=int, default=3, metavar="N", help=f"how many phones, at most {PHONES} (3)")
    parser.add_argument("--stay", action="store_true", help="until Enter is pressed")
    parser.add_argument("--dir", help="an empty folder on a disk, with a short name; kept")
    args = parser.parse_args()
    if not 1 <= args.gateways <= 5000:
        parser.error("--gateways: 1 to 5000")
    if not 0 <= args.revoke <= PHONES:
        parser.error(f"--revoke: 0 to {PHONES}")
    if bool(args.user) != bool(args.password_file):
        parser.error("--user and --password-file go together")
    broker = None
    if args.broker:
        host, _, port = args.broker.rpartition(":")
        if not host or not port.isdigit():
            parser.error("--broker: HOST:PORT")
        broker = (host, int(port))
    folder = args.dir or tempfile.mkdtemp(prefix="fleet-", dir="/var/tmp")
    if args.dir and os.path.exists(args.dir) and os.listdir(args.dir):
        parser.error(f"--dir {args.dir}: is not empty")
    os.makedirs(folder, exist_ok=True)
    fleet = Fleet(args.gateways, os.path.abspath(folder), broker, args.user, args.password_file, args.root_topic,
                  int(args.advert * 1000))
    try:
        fleet.start()
        pss = {role: fleet.memory(role) for role in (*ROLES, "mosquitto", "serve")}
        print("memory, MiB: " + ", ".join(f"{role} {kib / 1024:.1f}" for role, kib in pss.items()))
        fleet.settled()
        for phone in fleet.phones[:args.revoke]:
            time.sleep(5)  # the radios hang up: 2.65 s
            before = fleet.cpu()
            answer = fleet.revoke(phone)
            print(f"revoked {phone}: {side(answer, 'gateways')}, {side(answer, 'locks')}; CPU s: "
                  + ", ".join(f"{r} {s}" for r, s in difference(before, fleet.cpu()).items()), flush=True)
        if args.stay:
            input(f"desk: lockbridge-desk --dir {fleet.path('desk')} ...; Enter ends the fleet ")
        return 0
    except Failure as failure:
        print(f"fleet.py: {failure}", file=sys.stderr)
        return 1
    finally:
        fleet.close()
        if not args.dir:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
