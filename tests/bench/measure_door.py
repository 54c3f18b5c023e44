# SPDX-License-Identifier: Apache-2.0
"""How long a door waits for the gateway: the agent, a bare relay and a gateway in Python, side by side.

Each has a lock and an adapter of its own on the same simulated radio and the same broker, and opens its door
in turn with the others. The clock starts when the PUBLISH of a freshly signed authorization leaves this
process; "first write" is when the radio was given the first byte for the lock; "outcome" is when the lock's
receipt was back here. The locks keep their state in memory: what is measured is the gateway. Every opening must
end with the lock's "done", and at the end each lock must have moved as often as its door was opened.
"""

import base64
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

import pki
import wire
from bench import AIR
from box import Box
from crowd import packet, text
from harness import BUILD, Failure, Process, free_port, program, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
AGENT, SOCKETS, CALLS, PYTHON = "gw-agent", "gw-sockets", "gw-calls", "gw-python"
NAMES = {AGENT: "agent", SOCKETS: "bare relay, sockets", CALLS: "bare relay, D-Bus calls", PYTHON: "Python"}
PATIENCE = 30
# An agent keeps a link for linger_s after a command, and starts none on one that is older than 12 s; the
# lock itself ends it at 30 s.
AGENT_LINGER, AGENT_AGE, AGENT_RENEWS, LOCK_AGE = 1.7, 11.0, 12.1, 25.0
WRITES = 12 * 1024 + 72  # what the store appends for an authorization, before it waits for the disk
NO_AIR = {name: 0 for name in (*AIR, "command", "notify", "power")}
# There and back on a link took 44 ms.
REAL_AIR = {**AIR, "command": 22, "notify": 22}


# --- the city's client --------------------------------------------------------------------------------

class Client:
    """MQTT 5 on a bare socket: nothing between a clock that was read and the bytes that leave."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.id = b"", 0
        self.socket.sendall(packet(0x10, text("MQTT") + b"\x05\x02\x00\x00\x00" + text("stopwatch")))
        self.expect(2)
        self.socket.sendall(packet(0x82, b"\x00\x01\x00" + text("lockbridge/gw/+/event") + b"\x00"))
        self.expect(9)

    def publish(self, topic, payload):
        """The bytes of a PUBLISH with QoS 1."""
        self.id = self.id % 65535 + 1
        return packet(0x32, text(topic) + struct.pack(">H", self.id) + b"\x00" + payload)

    def expect(self, kind):
        while True:
            got, _ = self.read(time.monotonic() + 10)
            if got[0] >> 4 == kind:
                return

    def read(self, until):
        """The next packet, and the time at which its bytes were here."""
        while True:
            size, at, shift = 0, 1, 0
            while at < len(self.buffer) and at < 5:
                byte = self.buffer[at]
                size |= (byte & 127) << shift
                at, shift = at + 1, shift + 7
                if byte < 128:
                    if len(self.buffer) < at + size:
                        break
                    found, self.buffer = self.buffer[:at + size], self.buffer[at + size:]
                    return found, self.at
            self.socket.settimeout(max(until - time.monotonic(), 0.001))
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                return None, 0.0
            if not data:
                raise Failure("the broker closed the connection")
            self.at = time.monotonic()
            self.buffer += data

    def message(self, until):
        """(topic, payload, time)"""
        while True:
            got, at = self.read(until)
            if got is None:
                return None
            if got[0] >> 4 != 3:
                continue
            start = 1
            while got[start] & 128:
                start += 1
            (n,) = struct.unpack_from(">H", got, start + 1)
            topic = got[start + 3:start + 3 + n].decode()
            properties = start + 3 + n
            size, shift = 0, 0
            while True:
                byte = got[properties]
                size, shift, properties = size | (byte & 127) << shift, shift + 7, properties + 1
                if byte < 128:
                    break
            return topic, got[properties + size:], at


# --- the four doors -----------------------------------------------------------------------------------

class Peer:
    """A gateway and its lock, and what the stopwatch found."""

    def __init__(self, doors, gw):
        self.doors, self.gw, self.name = doors, gw, NAMES[gw]
        self.lock = gw.replace("gw", "lock")
        self.challenge, self.process = None, None
        self.writes, self.outcomes, self.moved, self.apart = [], [], 0, 0
        self.last = self.up = 0.0
        self.words = self.before = 0  # of its output: seen, and an earlier process's

    def forget(self):
        self.writes, self.outcomes, self.apart = [], [], 0

    def said(self):
        """Of a relay: ready or gone, and how often it said so."""
        words = self.process.output()[self.before:].split()
        return (words[-1] if words else ""), len(words)

    def warm(self):
        """Does it hold a link that will last for an opening?"""
        now = time.monotonic()
        if self.gw == AGENT:
            return now - self.last < AGENT_LINGER and now - self.up < AGENT_AGE
        if not self.process.running():
            raise Failure(f"{self.name} ended: {self.process.output()[-500:]}")
        word, n = self.said()
        if n != self.words:
            self.words, self.up = n, now
        return word == "ready" and now - self.up < LOCK_AGE

    def outcome(self, topic, payload, cti):
        """The lock's receipt in a message, or None: it is none of this opening."""
        if topic != f"lockbridge/gw/{self.gw}/event":
            return None
        if self.gw != AGENT:
            if payload[:1] == b"\xff":
                raise Failure(f"{self.name}: the lock said {payload.hex()}")
            return payload[5:] if payload[:1] == b"\xc0" else None
        event = json.loads(payload)
        if event.get("cti") != cti.hex() or event["type"] == "authorization.accepted":
            return None
        if event.get("outcome") != "done":
            raise Failure(f"{self.name}: {payload.decode()}")
        receipt = event["receipt"]
        return base64.urlsafe_b64decode(receipt + "=" * (-len(receipt) % 4))

    def open(self):
        """(seconds to the first write, to the outcome)"""
        doors = self.doors
        document = doors.city.relayed(self.lock, self.challenge, 10, int(time.time()))
        cti = wire.claims(document)[wire.CTI]
        data = doors.client.publish(f"lockbridge/gw/{self.gw}/authorize", document)
        begun = time.monotonic()
        doors.client.socket.sendall(data)
        receipt = None
        while receipt is None:
            got = doors.client.message(begun + PATIENCE)
            if got is None:
                raise Failure(f"{self.name}: no outcome within {PATIENCE} s; logs in {doors.dir}")
            topic, payload, at = got
            receipt = self.outcome(topic, payload, cti)
        claims = wire.verify(receipt, doors.lock_key(self.lock))
        result = claims[wire.RESULT]
        if claims[wire.CTI] != cti or result["outcome"] != "done":
            raise Failure(f"{self.name}: {claims}")
        self.challenge, self.last = result["challenge"], time.monotonic()
        self.moved += 1
        return doors.left(self, document) - begun, at - begun


class Doors(Box):
    """tls: everybody but the stopwatch speaks TLS to the broker."""

    def __init__(self, bench):
        super().__init__({gw: [gw.replace("gw", "lock")] for gw in NAMES}, motor=0,
                         keep=os.path.join(bench.dir, "doors"))
        self.bench, self.tls_port = bench, free_port()
        self.memory = tempfile.mkdtemp(prefix="lockbridge-locks-",
                                       dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        os.symlink(self.memory, self.path("locks"))
        self.peers, self.more = {gw: Peer(self, gw) for gw in NAMES}, ""
        self.client, self.unread = None, ""

    def close(self):
        super().close()
        shutil.rmtree(self.memory, ignore_errors=True)

    def start_broker(self, extra=""):
        """As the shipped configuration has it, apart from who may do what."""
        authority, key = pki.Authority(), pki.new_key()
        for name, content in (("ca.pem", authority.pem), ("server.key", pki.key_pem(key)),
                              ("server.pem", pki.pem(authority.server(key.public_key())))):
            with open(self.path(name), "w", encoding="ascii") as f:
                f.write(content)
        os.makedirs(self.path("broker"))
        with open(self.path("mosquitto.conf"), "w", encoding="ascii") as f:
            f.write(f"user root\nallow_anonymous true\nlistener {self.port} 127.0.0.1\n"
                    f"listener {self.tls_port} 127.0.0.1\ncafile {self.path('ca.pem')}\n"
                    f"certfile {self.path('server.pem')}\nkeyfile {self.path('server.key')}\ntls_version tlsv1.3\n"
                    f"set_tcp_nodelay true\nmax_inflight_messages 20\nmax_queued_messages 100000\n"
                    f"persistence true\npersistence_location {self.path('broker')}/\nautosave_interval 60\n")
        self.broker = Process("mosquitto", ["mosquitto", "-c", self.path("mosquitto.conf")],
                              self.path("mosquitto.log"), self.env)
        self.processes.append(self.broker)
        self.broker_up()

    def gateway_config(self, gw, **change):
        more = "backoff_min_ms = 100;\nbackoff_max_ms = 1000;\n" + self.more
        return super().gateway_config(gw, **{"more": more, **change})

    def start(self, documents=True):
        """The locks get the city's documents from an agent each; then three of those go."""
        super().start(documents)
        log = self.path("air.log")
        self.radio_control("log " + log)
        self.log = open(log, encoding="ascii")  # pylint: disable=consider-using-with
        for peer in self.peers.values():
            peer.challenge = self.challenge(peer.lock)
        for gw in self.gateways:
            self.process(gw).stop()
            self.processes.remove(self.process(gw))
        self.recorder.close()
        self.recorder = None
        self.client = Client(self.port)
        return self

    def serve(self, tls=False, more=""):
        """Starts the four, over TLS or without; those of an earlier call end first."""
        self.more = more
        port, ca = (self.tls_port, self.path("ca.pem")) if tls else (self.port, None)
        for peer in self.peers.values():
            if peer.process:
                peer.process.stop()
                self.processes.remove(peer.process)
                self.radio_control("drop-link " + self.adapter(peer.gw))  # BlueZ keeps what the dead left
            where = [str(port), peer.gw, self.adapter(peer.gw), self.addresses[peer.lock]]
            peer.last = peer.up = peer.words = 0
            peer.before = len(peer.process.output()) if peer.process else 0
            if peer.gw == AGENT:
                said = len(self.said(AGENT))
                broker = f'{{ host = "127.0.0.1"; port = {port}; ' + (f'ca = "{ca}"; }}' if ca else "}")
                peer.process = self.start_gateway(peer.gw, brokers=[broker])
            elif peer.gw == PYTHON:
                python = [sys.executable, "-B", os.path.join(HERE, "gateway.py")]
                peer.process = self.spawn(peer.gw + "-py", python + where + ([ca] if ca else []))
            else:
                relay = [program("bench/relay"), *where] + (["--ca", ca] if ca else [])
                peer.process = self.spawn(peer.gw + "-relay",
                                          relay + (["--sockets"] if peer.gw == SOCKETS else []))
        wait_for("the agent is online", lambda: "broker connected" in self.said(AGENT)[said:])

    def said(self, name):
        with open(self.path(name + ".log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def air(self, times):
        for name, ms in times.items():
            self.radio_control(f"latency {name} {ms} {ms}")
        some = times is not NO_AIR
        self.radio_control(f"set packet-us {2200 if some else 0}")
        self.radio_control(f"set byte-ns {3900 if some else 0}")

    def lock_key(self, lock):
        return base64.b64decode(self.keys[lock])

    def left(self, peer, document):
        """When the first byte of a document was given to the radio."""
        ours, begins = self.adapter(peer.gw), document[:48].hex()
        *lines, self.unread = (self.unread + self.log.read()).split("\n")
        for line in lines:
            usec, what, board, _, _, *data = line.split()
            if what == "leaves" and board == ours and data and begins in data[0]:
                return int(usec) / 1e6
        raise Failure(f"{peer.name}: the radio saw no write")

    def connects(self, peer):
        return self.stats(peer.gw)["connects"]

    def check_movements(self, before):
        """One authorization, one movement: for the others by the lock's challenge."""
        for peer in self.peers.values():
            moved = self.lock_report(peer.lock)["movements"] - before[peer.gw]
            if moved != peer.moved:
                raise Failure(f"{peer.name}: {peer.moved} openings, and the bolt moved {moved} times")

    def forget_the_disk(self):
        """Moves the agent's store, as it is, into memory: there a sync costs nothing."""
        here, there = self.path(AGENT), os.path.join(self.memory, AGENT)
        self.peers[AGENT].process.stop()
        shutil.copytree(here, there)
        shutil.rmtree(here)
        os.symlink(there, here)

    # --- rounds -------------------------------------------------------------------------------------

    def warm_rounds(self, n):
        """n openings of each on a link that is there; and n times the price of one fsync."""
        peers, agent = list(self.peers.values()), self.peers[AGENT]
        for peer in peers:
            peer.forget()
        fsyncs, order, end = [], random.Random(1), time.monotonic() + 60 + n
        while any(len(peer.writes) < n for peer in peers):
            if time.monotonic() > end:
                raise Failure("the links do not stay: " + ", ".join(
                    f"{peer.name} {len(peer.writes)} of {n}" for peer in peers))
            if not all([peer.warm() for peer in peers if peer is not agent]):
                time.sleep(0.02)
                continue
            self.warm_up(agent)
            fsyncs.append(self.fsync())
            order.shuffle(peers)
            for peer in peers:
                self.turn(peer)
        return fsyncs

    def warm_up(self, agent):
        """An opening that does not count makes the link anew, where the agent would not use the one it has."""
        if not agent.warm():
            time.sleep(max(AGENT_RENEWS - (time.monotonic() - agent.up), 0))
            agent.open()
            agent.up, agent.apart = time.monotonic(), agent.apart + 1

    def turn(self, peer):
        before = self.connects(peer)
        write, outcome = peer.open()
        if self.connects(peer) == before:
            peer.writes.append(write)
            peer.outcomes.append(outcome)
        else:
            peer.up, peer.apart = time.monotonic(), peer.apart + 1
        time.sleep(0.01)  # what a gateway does afterwards is no part of the next one's time

    def cold_rounds(self, n):
        """The agent alone: n openings with no link there."""
        peer = self.peers[AGENT]
        peer.forget()
        while len(peer.writes) < n:
            wait_for("the link is down", lambda: not self.lock_report(peer.lock)["connected"], 20)
            time.sleep(0.1)  # and BlueZ has told it
            before = self.connects(peer)
            write, outcome = peer.open()
            if self.connects(peer) == before:
                raise Failure("the link was not down")
            peer.writes.append(write)
            peer.outcomes.append(outcome)

    def fsync(self):
        """Seconds: a write and a wait for the disk, as the store's log does it."""
        with open(self.path("price"), "ab", buffering=0) as f:
            f.write(os.urandom(WRITES))
            begun = time.monotonic()
            os.fdatasync(f.fileno())
            return time.monotonic() - begun


# --- figures ------------------------------------------------------------------------------------------

def percentiles(seconds):
    ordered = sorted(seconds)
    return {name: round(ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000, 3)
            for name, part in (("p50", 0.5), ("p99", 0.99))}


def rows(bench, doors, what, fsyncs, aims=False):
    """Two rows: to the first write, and to the outcome; with aims, two more against Python."""
    peers, fsync = doors.peers, percentiles(fsyncs)
    for kind, of in (("first write", "writes"), ("outcome", "outcomes")):
        times = {gw: percentiles(getattr(peer, of)) for gw, peer in peers.items()}
        floor, aim = min(times[SOCKETS]["p99"], times[CALLS]["p99"]), None
        if aims and of == "writes":
            aim = {"at most": round(2 * floor + fsync["p99"], 3),
                   "why": f"p99: twice the faster bare relay ({floor} ms) and one fsync ({fsync['p99']} ms)"}
        bench.row("door", f"{what}: to {kind}", times[AGENT], "ms",
                  beside={**{NAMES[gw]: times[gw] for gw in (SOCKETS, CALLS, PYTHON)}, "one fsync": fsync},
                  aim=aim, note=f"n = {len(fsyncs)} each, one after another at each turn")
        if aims:
            python = times[PYTHON]["p99"]
            bench.row("door", f"{what}: to {kind}, of Python's p99", round(times[AGENT]["p99"] / python, 3), "",
                      beside={"faster bare relay": round(floor / python, 3),
                              "one fsync": round(fsync["p99"] / python, 3)},
                      aim={"at most": 0.25, "why": "p99: a quarter of what people write today, who wait for no disk"})


def run(bench):
    try:
        subprocess.run([sys.executable, "-c", "import bleak"], check=True, capture_output=True)
    except subprocess.CalledProcessError:
        raise Failure("no bleak for " + sys.executable + ": apt-get install python3-bleak") from None
    many, some, few, cold = (25, 15, 4, 2) if bench.quick else (500, 250, 80, 12)
    bench.log(f"programs of {BUILD}; air: {REAL_AIR}, motor 0 ms")
    with Doors(bench) as doors:
        doors.start()
        doors.air(NO_AIR)
        before = {peer.gw: doors.lock_report(peer.lock)["movements"] for peer in doors.peers.values()}
        doors.serve()
        rows(bench, doors, "door, warm link, radio without latency", doors.warm_rounds(many), aims=True)
        doors.serve(tls=True)
        rows(bench, doors, "door, the same with TLS", doors.warm_rounds(some), aims=True)
        doors.air(REAL_AIR)
        doors.serve()
        rows(bench, doors, "door, warm link, radio as in the VM", doors.warm_rounds(few))
        doors.radio_control("latency disconnect 20 20")
        doors.serve(more="linger_s = 0;\n")
        doors.cold_rounds(cold)
        agent = doors.peers[AGENT]
        for kind, of in (("first write", agent.writes), ("outcome", agent.outcomes)):
            bench.row("door", f"door, no link, radio as in the VM: to {kind}", percentiles(of), "ms",
                      beside={"connect and services": AIR["connect"] + AIR["resolve"]},
                      note=f"n = {cold}; the claim goes to disk while the radio connects")
        doors.forget_the_disk()
        doors.air(NO_AIR)
        doors.serve()
        rows(bench, doors, "door, warm link, no latency, store in memory", doors.warm_rounds(some))
        doors.check_movements(before)
