# SPDX-License-Identifier: Apache-2.0
"""What a gateway weighs and costs while nothing happens: memory, disk, wake-ups, adverts, its start.

One agent over TLS as shipped, with 3 locks and a list of 10,000 entries. Beside it two peers with
certificates of their own on the same broker and bus: `bare`, a C program with the same libraries and
nothing to do (the floor), and a Python gateway that has its libraries imported and scans.
"""

import json
import os
import signal
import socket
import statistics
import subprocess
import time
import zlib

import wire
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from harness import HERE, Failure, Process, program, wait_for
from secure import SecureWorld

AGENT, BARE, PYTHON = "gw-1", "gw-bare", "gw-python"
ENTRIES, MILLION = 10000, 1048576
PACKAGES = os.path.join(HERE, "..", "..", "build", "deb")
# What Debian 12 installs for the imports of PYTHON_GATEWAY, without what is on every system.
PYTHON_PACKAGES = ("python3-bleak", "python3-dbus-fast", "python3-paho-mqtt", "python3-async-timeout",
                   "python3-typing-extensions", "python3", "python3-minimal", "python3.11", "python3.11-minimal",
                   "libpython3.11-minimal", "libpython3.11-stdlib")

PYTHON_GATEWAY = """
import asyncio, sys
from bleak import BleakScanner
import paho.mqtt.client as mqtt

host, port, ca, certificate, key, name, adapter = sys.argv[1:]

async def main():
    client = mqtt.Client(client_id=name, protocol=mqtt.MQTTv5)
    client.tls_set(ca, certificate, key)
    client.on_connect = lambda *_: print("ready", flush=True)
    client.connect(host, int(port))
    client.loop_start()
    async with BleakScanner(lambda device, heard: None, adapter=adapter):
        await asyncio.Event().wait()

asyncio.run(main())
"""


class Scale(SecureWorld):
    """The peers are enrolled as gateways are, and no lockbridged is started for them."""

    def start_gateway(self, gw, **change):
        if gw == AGENT:
            change["more"] = ""  # as shipped
        return super().start_gateway(gw, **change)

    def spawn(self, name, argv, ready=None):
        if name in (BARE, PYTHON) and argv[0] == program("lockbridged"):
            return None
        return super().spawn(name, argv, ready)

    def identity(self, gw):
        return ["127.0.0.1", str(self.port)] + [self.path(f"{gw}.{end}") for end in
                                                ("broker_ca", "certificate", "key")] + [gw]

    def start_peers(self):
        bare = self.spawn(BARE, [program("bench/bare"), *self.identity(BARE)], "ready")
        python = self.spawn(PYTHON, ["/usr/bin/python3", "-c", PYTHON_GATEWAY, *self.identity(PYTHON),
                                     self.adapter(AGENT)], "ready")
        return {"bare C, same libraries": bare, "Python, bleak and paho": python}


# --- what the kernel says of a process -----------------------------------------------------------------

def memory(process):
    """KiB, by name: smaps_rollup."""
    with open(f"/proc/{process.popen.pid}/smaps_rollup", encoding="ascii") as f:
        return {line.split(":")[0]: int(line.split()[1]) for line in f if line.endswith(" kB\n")}


def cpu_us(process):
    """The process's own clock, all threads, microseconds."""
    return time.clock_gettime(~process.popen.pid << 3 | 2) * 1e6


def switches(process):
    """How often any of its threads slept and was woken: voluntary context switches."""
    total = 0
    for task in os.listdir(f"/proc/{process.popen.pid}/task"):
        with open(f"/proc/{process.popen.pid}/task/{task}/status", encoding="ascii") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith("voluntary"))
    return total


# --- rows ------------------------------------------------------------------------------------------------

def weigh(bench, agent, peers):
    time.sleep(3 if bench.quick else 15)  # a benchmark: as it is a while after its last work
    mine = memory(agent)
    others = {name: memory(p) for name, p in peers.items()}
    bench.row("size", "memory of its own, idle (Private_Dirty)", mine["Private_Dirty"], "KiB",
              {name: m["Private_Dirty"] for name, m in others.items()},
              {"at most": 2048, "why": "2 MiB: TLS, 3 locks, a list of 10,000 entries"})
    bench.row("size", "memory, its share of what is shared included (Pss)", mine["Pss"], "KiB",
              {name: m["Pss"] for name, m in others.items()},
              note="libraries are shared with what else runs: broker, bus, simulators")


def wake(bench, world, agent, peers):
    """No adverts: the locks' radios fall silent, which is less than the 90 s that make the agent look."""
    seconds = 4 if bench.quick else 25
    for on in (True, False):
        for lock in world.layout[AGENT]:
            world.radio_control(f"silent {world.adapter(lock)} {'off' if on else 'on'}")
        time.sleep(2)
        before = {name: switches(p) for name, p in [("", agent), *peers.items()]}
        time.sleep(seconds)
        rate = {name: (switches(p) - before[name]) / seconds for name, p in [("", agent), *peers.items()]}
        mine = rate.pop("")
        if on:
            bench.row("size", "wake-ups, 3 locks on air, 4 adverts a second each", mine, "1/s", rate,
                      note="voluntary context switches of all threads; `bare` hears no adverts")
        else:
            bench.row("size", "wake-ups, idle, no adverts", mine, "1/s", rate, {"at most": 2, "why": "no adverts"},
                      note="voluntary context switches of all threads")
    for lock in world.layout[AGENT]:
        world.radio_control(f"silent {world.adapter(lock)} off")


def flood(bench, world, agent, peers, what, devices, rate, count):
    """Processor time per advert of foreign devices, without what the same time costs when they are still."""
    heard = {"": agent, **{name: p for name, p in peers.items() if "Python" in name}}
    pause = min(10, count / rate)
    still = {name: cpu_us(p) for name, p in heard.items()}
    time.sleep(pause)
    still = {name: (cpu_us(p) - still[name]) / pause for name, p in heard.items()}
    ear = Process("adverts", [program("bench/adverts"), str(count)], world.path("adverts.log"), world.env).start()
    try:
        ear.wait_output("ready")
        before, began = {name: cpu_us(p) for name, p in heard.items()}, time.monotonic()
        world.radio_control(f"flood {devices} {rate}")
        wait_for("the adverts", lambda: not ear.running(), 60 + 10 * count / rate)
        took = time.monotonic() - began
        used = {name: cpu_us(p) - before[name] - took * still[name] for name, p in heard.items()}
        world.radio_control("flood 0 0")
        told = ear.output().splitlines()[-1]
        if ear.popen.returncode or not told.startswith("{"):
            raise Failure(f"adverts: {ear.output()}")
        told = json.loads(told)
    finally:
        ear.kill()
    os.unlink(ear.log)
    each = {name: max(0, used[name]) / told["signals"] for name in heard}
    mine = each.pop("")
    bench.row("size", what, mine, "ms per 1,000",
              {"bare C, takes them off the bus": told["cpu_us"] / told["signals"], **each},
              note=f"processor time, {told['signals']} signals of {devices} devices, {rate} a second; the same "
                   "number is microseconds per advert")


def hear(bench, world, agent, peers):
    rate = 300
    flood(bench, world, agent, peers, "adverts of foreign devices, known to BlueZ", 40, rate,
          rate * (2 if bench.quick else 10))


# --- the start -------------------------------------------------------------------------------------------

def until_ready(world, argv):
    """Milliseconds from exec to READY=1 on a socket of ours, and how many of them it was running."""
    path = world.path("notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(30)
        p = Process("start", argv, world.path("start.log"), dict(world.env, NOTIFY_SOCKET=path))
        try:
            begun = time.monotonic()
            p.start()
            while b"READY=1" not in s.recv(4096).split(b"\n"):
                pass
            return (time.monotonic() - begun) * 1000, cpu_us(p) / 1000
        except TimeoutError:
            raise Failure(f"not ready within 30 s:\n{p.output()[-2000:]}") from None
        finally:
            p.kill(signal.SIGTERM)
            os.unlink(path)


def run_ms(argv, env):
    begun = time.monotonic()
    subprocess.run(argv, check=True, env=env, stdout=subprocess.DEVNULL)
    return (time.monotonic() - begun) * 1000


def publish_million(world):
    """The largest list there is, half of it revoked at random, so that it does not pack: signed here, because
    the desk signs two bits per entry."""
    with open(world.path("desk", "keys", "revoke.pem"), "rb") as f:
        key = wire.Key(load_pem_private_key(f.read(), None))
    now = int(time.time())
    packed = zlib.compress(os.urandom(MILLION // 8), 9)
    document = key.sign("statuslist+cwt", {
        wire.SUB: "https://city.example/lists/million", wire.IAT: now, wire.EXP: now + 86400, wire.TTL: 43200,
        wire.CHANGED: now, wire.STATUS_LIST: {"bits": 1, "lst": packed}}, tag61=False)
    world.recorder.publish("lockbridge/city/list/million", document, retain=True)
    wait_for("the gateway holds it", lambda: "million" in json.dumps(world.recorder.state(AGENT)["documents"]), 30)


def start(bench, world, agent):
    tries = 3 if bench.quick else 15
    world.lock_sim.stop()  # nobody to bring it to
    publish_million(world)
    held = memory(agent)["Private_Dirty"]
    agent.stop()
    argv = [program("lockbridged"), "--config", world.path(AGENT + ".conf")]
    mine = [until_ready(world, argv) for _ in range(tries)]
    mine, running = zip(*mine)
    linked = [run_ms([argv[0], "--version"], world.env) for _ in range(tries)]
    python = [run_ms(["/usr/bin/python3", "-c", "import bleak, paho.mqtt.client"], world.env)
              for _ in range(min(tries, 5))]
    bench.row("size", "exec to READY=1, 1,048,576 entries stored", statistics.median(mine), "ms",
              {"of it running": statistics.median(running),
               "its libraries linked (--version)": statistics.median(linked),
               "Python, its imports alone": statistics.median(python)},
              {"at most": 50, "why": "checked, verified and inflated before it says so"},
              note=f"median of {tries}, slowest {max(mine):.0f} ms; the list does not pack: 131 kB")
    bench.row("size", "Private_Dirty with 1,048,576 entries more", held, "KiB",
              {"the list as signed and inflated": 2 * MILLION // 8 // 1024})


# --- on disk ---------------------------------------------------------------------------------------------

def stripped(path, scratch):
    out = os.path.join(scratch, "stripped")
    subprocess.run(["strip", "-o", out, path], check=True)
    return os.path.getsize(out) / 1024


def installed_size(package):
    """KiB, of an installed one."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Installed-Size}", package], capture_output=True, text=True,
                          check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout else 0


def field(deb, name):
    return subprocess.run(["dpkg-deb", "-f", deb, name], capture_output=True, text=True, check=True).stdout.strip()


def disk(bench):
    bench.row("size", "lockbridged, stripped", stripped(program("lockbridged"), bench.dir), "KiB",
              {"lockbridgectl": stripped(program("lockbridgectl"), bench.dir),
               "bare C": stripped(program("bench/bare"), bench.dir)})
    debs = [f for f in os.listdir(PACKAGES) if f.startswith("lockbridge_") and f.endswith(".deb")] \
        if os.path.isdir(PACKAGES) else []
    if not debs:
        bench.log("no package: `make deb` makes it, and then it has a row")
        return
    deb = os.path.join(PACKAGES, sorted(debs)[-1])
    python = {name: installed_size(name) for name in PYTHON_PACKAGES}
    lacking = [name for name, size in python.items() if not size]
    bench.row("size", "package, installed", int(field(deb, "Installed-Size")), "KiB",
              {"Python and what such a gateway imports": sum(python.values())},
              note=f"{os.path.basename(deb)}: {os.path.getsize(deb) / 1024:.0f} KiB to fetch"
                   + (f"; not counted, not installed here: {', '.join(lacking)}" if lacking else ""))


def run(bench):
    with Scale({AGENT: ["lock-1", "lock-2", "lock-3"], BARE: [], PYTHON: []}) as world:
        world.start_bus()
        world.start_radio()
        bench.air(world)
        world.start_city("--entries", str(ENTRIES))
        world.start_locks()
        for gw in world.gateways:
            world.desk("gateway", "add", gw).ok()
            for lock in world.layout[gw]:
                world.desk("lock", "add", lock, "--key", world.keys[lock], "--gateway", gw).ok()
        world.serve = world.spawn("serve", [program("lockbridge-desk"), "--dir", world.path("desk"), "serve"])
        for gw in world.gateways:
            world.start_gateway(gw)
        world.settle(120)
        agent, peers = world.process(AGENT), world.start_peers()
        weigh(bench, agent, peers)
        wake(bench, world, agent, peers)
        hear(bench, world, agent, peers)
        for peer in peers.values():
            peer.kill()
        start(bench, world, agent)
    disk(bench)
