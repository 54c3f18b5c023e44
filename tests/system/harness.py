# SPDX-License-Identifier: Apache-2.0
"""A small world on private sockets and loopback: bus, radio, broker, clock, locks, gateways, city.

Everything in it is the real thing but the air: mosquitto, dbus-daemon, lockbridged, lockbridge-desk;
the locks are lock-sim, the phone phone-sim, bluetoothd is radio-sim. Used by the demo and the system
tests alike. Processes die with the world; nothing is left behind.
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import paho.mqtt.client as mqtt

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("LOCKBRIDGE_BUILD") or os.path.join(HERE, "..", "..", "build")
os.environ["PATH"] += ":/usr/sbin"  # mosquitto's place, and not on a user's PATH
FAST = {"disconnect": "20:40"}  # the real 1.8 to 2.8 s would only make tests slow

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_connections_per_user">4096</limit>
  <limit name="max_match_rules_per_connection">8192</limit>
</busconfig>
"""

libc = ctypes.CDLL(None, use_errno=True)


class Failure(AssertionError):
    """What was expected did not happen; says where the logs are."""


def wait_for(what, condition, timeout=20.0, every=0.02):
    """Waits until condition() is true and returns what it gave; raises Failure with `what`."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"not within {timeout:g} s: {what}")
        time.sleep(every)


ports = {"next": 20000 + os.getpid() * 331 % 12000, "held": []}


def free_port():
    """Below the kernel's own choice for outgoing connections; ours until this process ends, so that no other
    one of these takes it before a server of ours has it."""
    while True:
        ports["next"] += 1
        if ports["next"] > 32000:
            ports["next"] = 20000
        held = socket.socket(socket.AF_UNIX)
        with socket.socket() as s:
            try:
                held.bind(f"\0lockbridge-port-{ports['next']}")
                s.bind(("127.0.0.1", ports["next"]))
            except OSError:
                held.close()
                continue
        ports["held"].append(held)
        return ports["next"]


def program(name):
    path = os.path.join(BUILD, name)
    if not os.path.exists(path):
        raise Failure(f"{path} is not built: run make")
    return path


class Process:
    """One program; its output goes to a file. Ends with its parent, whatever happens."""

    def __init__(self, name, argv, log, env=None):
        self.name, self.argv, self.log, self.env = name, argv, log, env
        self.popen = None

    def start(self):
        def end_with_parent():
            libc.prctl(1, signal.SIGKILL)

        with open(self.log, "ab") as out:
            self.popen = subprocess.Popen(
                self.argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=self.env,
                preexec_fn=end_with_parent, start_new_session=True)
        return self

    def running(self):
        return self.popen is not None and self.popen.poll() is None

    def output(self):
        if not os.path.exists(self.log):
            return ""
        with open(self.log, "rb") as f:
            return f.read().decode("utf-8", "replace")

    def wait_output(self, text, timeout=20.0, skip=0):
        def look():
            if not self.running():
                raise Failure(f"{self.name} ended early:\n{self.output()[-3000:]}")
            return text in self.output()[skip:]
        wait_for(f"{self.name} says {text!r}", look, timeout)
        return self

    def kill(self, sig=signal.SIGKILL):
        if self.running():
            self.popen.send_signal(sig)
        if self.popen is not None:
            self.popen.wait(20)

    def stop(self):
        """SIGTERM, then SIGKILL if it does not listen; the exit status."""
        if not self.running():
            return self.popen.returncode if self.popen else 0
        self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(10)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait(10)
            return -signal.SIGKILL


class Control:
    """A simulator's control socket: a line there, a line back."""

    def __init__(self, path):
        self.path = path

    def __call__(self, line):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(self.path)
            s.sendall(line.encode() + b"\n")
            data = b""
            while not data.endswith(b"\n"):
                part = s.recv(65536)
                if not part:
                    break
                data += part
        answer = data.decode().rstrip("\n")
        if not answer.startswith("ok"):
            raise Failure(f"{line!r}: {answer or 'no answer'}")
        return answer[3:]


class Recorder:
    """A subscriber to everything: keeps each message as (time, topic, payload, retain).

    tls: (authority, certificate, key), for a broker that lets nobody else read all topics.
    """

    def __init__(self, port, tls=None):
        self.messages = []
        self.mutex = threading.Lock()
        self.client = mqtt.Client(client_id=f"recorder-{port}-{time.monotonic_ns()}",
                                  protocol=mqtt.MQTTv5)
        self.subscribed = threading.Event()
        self.everything = "lockbridge/#" if tls else "#"
        if tls:
            context = ssl.create_default_context(cafile=tls[0])
            context.load_cert_chain(*tls[1:])
            self.client.tls_set_context(context)
        self.client.on_connect = lambda c, *_: c.subscribe(self.everything, qos=1)
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = self._on_message
        self.client.reconnect_delay_set(1, 2)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        if not self.subscribed.wait(10):
            raise Failure("the recorder could not subscribe")

    def _on_message(self, client, user, m):
        with self.mutex:
            self.messages.append((time.monotonic(), m.topic, m.payload, m.retain))

    def all(self, prefix=""):
        with self.mutex:
            return [m for m in self.messages if m[1].startswith(prefix)]

    def events(self, gateway, kind=None, since=0.0):
        out = []
        for at, _, payload, _ in self.all(f"lockbridge/gw/{gateway}/event"):
            event = json.loads(payload)
            if at >= since and (kind is None or event["type"] == kind):
                out.append(event)
        return out

    def last(self, topic):
        found = self.all(topic)
        found = [m for m in found if m[1] == topic]
        return found[-1][2] if found else None

    def state(self, gateway):
        payload = self.last(f"lockbridge/gw/{gateway}/state")
        return json.loads(payload) if payload else None

    def lock(self, gateway, lock):
        payload = self.last(f"lockbridge/gw/{gateway}/lock/{lock}")
        return json.loads(payload) if payload else None

    def publish(self, topic, payload, retain=False, qos=1, properties=None):
        self.client.publish(topic, payload, qos=qos, retain=retain, properties=properties)

    def barrier(self):
        """Until the broker has worked off what this client said, and told it what was due before."""
        topic, token = f"lockbridge/barrier/{id(self)}", str(time.monotonic_ns()).encode()
        self.publish(topic, token)
        wait_for("the broker's turn", lambda: self.last(topic) == token)

    def close(self):
        self.client.loop_stop()
        self.client.disconnect()


class Answer:
    """What a command said: exit status, output, and the output as JSON if it is."""

    def __init__(self, argv, done):
        self.argv, self.status = argv, done.returncode
        self.out, self.err = done.stdout.decode(), done.stderr.decode()

    @property
    def json(self):
        try:
            return json.loads(self.out)
        except ValueError:
            raise Failure(f"{' '.join(self.argv)}: exit {self.status}, no JSON\n{self.out}{self.err}") from None

    def ok(self):
        if self.status != 0:
            raise Failure(f"{' '.join(self.argv)}: exit {self.status}\n{self.out}{self.err}")
        return self


class World:
    """layout: gateway id -> its lock ids. Adapters: one per gateway, then the phone's, then the locks'."""

    def __init__(self, layout, keep=None, radio=(), motor=150, lock_max=None):
        self.layout = layout
        self.dir = keep or tempfile.mkdtemp(prefix="lockbridge-")
        self.keep = keep is not None
        os.makedirs(self.dir, exist_ok=True)
        self.gateways = list(layout)
        self.locks = [lock for locks in layout.values() for lock in locks]
        self.radio_settings = list(radio)
        self.motor, self.lock_max = motor, lock_max
        self.port = free_port()
        self.processes = []
        self.recorder = None
        self.keys, self.addresses = {}, {}
        self.env = dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS="unix:path=" + self.path("bus"))
        for name in ("INVOCATION_ID", "NOTIFY_SOCKET", "JOURNAL_STREAM"):
            self.env.pop(name, None)

    # --- places -------------------------------------------------------------------------------------

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def adapter(self, who):
        """hciN of a gateway, of "phone", or of a lock."""
        return f"hci{(self.gateways + ['phone'] + self.locks).index(who)}"

    def gateway_of(self, lock):
        return next(gw for gw, locks in self.layout.items() if lock in locks)

    # --- processes ----------------------------------------------------------------------------------

    def spawn(self, name, argv, ready=None):
        p = Process(name, argv, self.path(name + ".log"), self.env).start()
        self.processes.append(p)
        if ready:
            p.wait_output(ready)
        return p

    def respawn(self, process, ready=None):
        skip = len(process.output())
        process.start()
        if ready:
            process.wait_output(ready, skip=skip)
        return process

    def start_bus(self):
        with open(self.path("bus.conf"), "w") as f:
            f.write(BUS_CONFIG.format(path=self.path("bus")))
        self.bus = self.spawn("bus", ["dbus-daemon", "--nofork", "--print-address",
                                      "--config-file=" + self.path("bus.conf")], "unix:path")
        self.clock = self.spawn("clock", [program("clock-sim"), "--control", self.path("clock.sock")],
                                "ready")
        self.clock_control = Control(self.path("clock.sock"))

    def start_radio(self):
        argv = [program("radio-sim"), "--adapters", str(len(self.gateways) + 1 + len(self.locks)),
                "--control", self.path("radio.sock")]
        for name, value in FAST.items():
            argv += ["--latency", f"{name}={value}"]
        for setting in self.radio_settings:
            argv += ["--set", setting]
        self.radio = self.spawn("radio", argv, "ready")
        self.radio_control = Control(self.path("radio.sock"))

    def start_broker(self, extra=""):
        os.makedirs(self.path("broker"), exist_ok=True)
        with open(self.path("mosquitto.conf"), "w") as f:
            f.write(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
                    f"persistence_location {self.path('broker')}/\nautosave_interval 1\n"
                    f"max_queued_messages 100000\nuser root\n{extra}")
        self.broker = Process("mosquitto", ["mosquitto", "-c", self.path("mosquitto.conf")],
                              self.path("mosquitto.log"), self.env)
        self.processes.append(self.broker)
        self.broker_up()

    def broker_up(self):
        """Until it says so itself: somebody else may listen on the port that was thought to be free."""
        self.respawn(self.broker, " running")

    def start_locks(self):
        argv = [program("lock-sim"), "--state", self.path("locks"), "--control", self.path("locks.sock"),
                "--owner", self.path("root.pub.pem"), "--motor", str(self.motor)]
        if self.lock_max:
            argv += ["--max", str(self.lock_max)]
        for lock in self.locks:
            argv += ["--lock", f"{lock}={self.adapter(lock)}"]
        self.lock_sim = self.spawn("locks", argv, "ready")
        for line in self.lock_sim.output().splitlines():
            if line.startswith("{"):
                told = json.loads(line)
                self.keys[told["id"]] = told["key"]
        self.lock_control = Control(self.path("locks.sock"))
        for lock in self.locks:
            self.addresses[lock] = self.bus_property(f"/org/bluez/{self.adapter(lock)}",
                                                     "org.bluez.Adapter1", "Address")

    def bus_property(self, path, interface, name):
        done = subprocess.run(
            ["busctl", "--address=" + self.env["DBUS_SYSTEM_BUS_ADDRESS"], "--json=short",
             "get-property", "org.bluez", path, interface, name], capture_output=True, check=True)
        return json.loads(done.stdout)["data"]

    def gateway_config(self, gw, **change):
        locks = ",\n".join(
            f'  {{ id = "{lock}"; key = "{self.keys[lock]}"; address = "{self.addresses[lock]}"; }}'
            for lock in change.get("locks", self.layout[gw]))
        brokers = change.get("brokers") or [f'{{ host = "127.0.0.1"; port = {self.port}; }}']
        return (f'gateway = "{gw}";\nroot_key_file = "{self.path("root.pub.pem")}";\n'
                f'state_dir = "{self.path(gw)}";\nbrokers = ( {", ".join(brokers)} );\n'
                f'locks = (\n{locks}\n);\nadapter = "{self.adapter(gw)}";\n'
                + change.get("more", 'backoff_min_ms = 100;\nbackoff_max_ms = 1000;\n'))

    def start_gateway(self, gw, **change):
        os.makedirs(self.path(gw), mode=0o700, exist_ok=True)
        with open(self.path(gw + ".conf"), "w") as f:
            f.write(self.gateway_config(gw, **change))
        return self.spawn(gw, [program("lockbridged"), "--config", self.path(gw + ".conf")])

    def process(self, name):
        return next(p for p in self.processes if p.name == name)

    # --- commands -----------------------------------------------------------------------------------

    def run(self, argv, timeout=90, stdin=b""):
        return Answer(argv, subprocess.run(argv, capture_output=True, timeout=timeout, env=self.env,
                                           input=stdin))

    def desk(self, *words, timeout=90):
        return self.run([program("lockbridge-desk"), "--dir", self.path("desk"), *words], timeout)

    def ctl(self, gw, *words, timeout=60):
        return self.run([program("lockbridgectl"), "--gateway", gw, *words], timeout)

    def phone(self, *words, timeout=60):
        return self.run([program("phone-sim"), *words], timeout)

    def at_door(self, key, authorization, lock, *words):
        """A phone presents an authorization at a lock."""
        return self.phone("open", "--adapter", self.adapter("phone"), "--key", key, "--authorization",
                          authorization, "--address", self.addresses[lock], "--timeout", "20", *words)

    def phone_key(self, name):
        """Makes a phone's key; (private PEM file, public PEM file)."""
        private, public = self.path(name + ".pem"), self.path(name + ".pub.pem")
        made = self.phone("keygen", private).ok()
        with open(public, "w") as f:
            f.write(made.out)
        return private, public

    def lock_report(self, lock):
        return json.loads(self.lock_control(f"{lock} report"))

    def stats(self, who):
        """What the radio counted for somebody's adapter."""
        return json.loads(self.radio_control("stats"))[self.adapter(who)]

    # --- the whole ----------------------------------------------------------------------------------

    def start_city(self, *init):
        """Broker, recorder, and a desk with the keys of a new city; the root's public key as a file."""
        self.start_broker()
        self.recorder = Recorder(self.port)
        self.desk("init", "--broker", f"127.0.0.1:{self.port}", *init).ok()
        root = self.desk("keys", "show", "root").ok()
        with open(self.path("root.pub.pem"), "w") as f:
            f.write(root.out)

    def start(self, serve=True):
        self.start_bus()
        self.start_radio()
        self.start_city()
        self.start_locks()
        for gw in self.gateways:
            self.desk("gateway", "add", gw).ok()
            for lock in self.layout[gw]:
                self.desk("lock", "add", lock, "--key", self.keys[lock], "--gateway", gw).ok()
        if serve:
            self.serve = self.spawn("serve", [program("lockbridge-desk"), "--dir", self.path("desk"),
                                              "serve"])
        for gw in self.gateways:
            self.start_gateway(gw)
        self.settle()
        return self

    def settle(self, timeout=60):
        """Until every gateway is online and every lock holds what its gateway holds."""
        def settled():
            return all((self.recorder.lock(self.gateway_of(k), k) or {}).get("current")
                       for k in self.locks)
        wait_for("every lock current: " + self.dir, settled, timeout)

    def close(self):
        if self.recorder:
            self.recorder.close()
        for p in reversed(self.processes):
            p.stop()
        if not self.keep:
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if os.environ.get("LOCKBRIDGE_KEEP"):
            self.keep = True
            print("kept:", self.dir)
        self.close()


if os.environ.get("LOCKBRIDGE_AIR") == "bluez":  # in the guest, tests/vm: the real air
    import vmworld

    World = vmworld.over_bluetoothd(World, program, wait_for, Process, Control, Failure)

if os.environ.get("LOCKBRIDGE_BROKER") == "ejabberd":  # tests/cluster: two nodes of another broker
    import ejabberd

    World, Recorder = ejabberd.over_cluster(World)
