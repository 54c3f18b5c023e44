# SPDX-License-Identifier: Apache-2.0
"""How cost grows with entries, locks, waiting events and gateways: a line each, and a plot.

The plot is OUT/growth.svg, by gnuplot (gnuplot-nox); its figures are in OUT/growth-*.dat.
"""

import concurrent.futures
import json
import os
import resource
import shutil
import subprocess
import tempfile
import threading
import time

import paho.mqtt.client as mqtt
from crowd import Crowd, held
from harness import Failure, World, program, wait_for

PERSON = "811218-9876"

# name, title, axis of x, axis of y, and the columns after the first
PLOTS = [
    ("entries", "Entries of a list", "entries", "microseconds, bytes",
     ["verify, inflate, apply (us)", "signature alone (us)", "one decision (us)", "to the lock (bytes)"]),
    ("locks", "Locks of a gateway", "locks", "seconds, percent",
     ["a new list in all, links\\_max 2 (s)", "CPU, adverts each second (%)"]),
    ("events", "Events waiting", "events", "milliseconds, seconds",
     ["one more, p50 (ms)", "one more, p99 (ms)", "a synced page, p50 (ms)", "to drain (s)"]),
    ("gateways", "Gateways of a broker", "gateways", "microseconds, KiB",
     ["broker, CPU per state (us)", "desk, CPU per state (us)", "broker, memory per gateway (KiB)"]),
]


def tool(bench, *words):
    done = subprocess.run([program(os.path.join("bench", words[0])), *map(str, words[1:])], capture_output=True,
                          check=False, timeout=300)
    if done.returncode:
        raise Failure(f"{' '.join(map(str, words))}: exit {done.returncode}: {done.stderr.decode()}")
    bench.log(f"{words} {done.stdout.decode().strip()}")
    return json.loads(done.stdout)


def cpu(process):
    """Seconds of processor time that it has used."""
    with open(f"/proc/{process.popen.pid}/schedstat") as f:
        return int(f.read().split()[0]) / 1e9


def resident(process):
    """Private memory in KiB."""
    with open(f"/proc/{process.popen.pid}/smaps_rollup") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("Private_"))


def by(key, results, scale=1):
    """{"10,000": figure} of all but the last."""
    return {f"at {n:,}": r[key] * scale for n, r in list(results.items())[:-1]}


# --- entries of a list --------------------------------------------------------------------------------

def entries(bench):
    sizes = [1000, 10_000, 100_000] if bench.quick else [1000, 10_000, 100_000, 1_000_000]
    rounds = 10 if bench.quick else 50
    found = {n: tool(bench, "bench-list", n, 20, rounds) for n in sizes}
    last = found[sizes[-1]]
    packed = tool(bench, "bench-list", sizes[-1], 500, rounds)
    bench.row("growth", f"a list of {sizes[-1]:,} entries: verify, inflate, apply", last["apply_us"] / 1000, "ms CPU",
              beside={**by("apply_us", found, 1e-3), "its signature alone": last["signature_us"] / 1000},
              note=f"one of fifty revoked; half of them, which cannot be packed: {packed['apply_us'] / 1000:.2f} ms")
    bench.row("growth", f"one decision with {sizes[-1]:,} entries", last["decision_us"], "us CPU",
              beside={**by("decision_us", found), "a signature alone": found[sizes[0]]["signature_us"]})
    bench.row("growth", f"a list of {sizes[-1]:,} entries to a lock", last["air"], "bytes",
              beside={**by("air", found), "the document": last["document"]},
              note=f"{last['frames']} frames; half of them revoked: {packed['air']:,} bytes, {packed['frames']} frames")
    return [(n, r["apply_us"], r["signature_us"], r["decision_us"], r["air"]) for n, r in found.items()]


# --- locks of a gateway -------------------------------------------------------------------------------

def locks_of(bench, n, links=2):
    names = [f"lock-{i}" for i in range(n)]
    window = 3 if bench.quick else 6
    with World({"gw-1": names}, motor=0, radio=["interval=250"]) as world:
        start_gateway = world.start_gateway
        world.start_gateway = lambda gw: start_gateway(
            gw, more=f"backoff_min_ms = 100;\nbackoff_max_ms = 1000;\nlinks_max = {links};\n")
        world.start()
        world.desk("staff", "add", "--person", PERSON, "--phone", "070-174 06 00").ok()
        world.radio_control("set interval 1000")
        if not bench.quick:
            bench.air(world)
        wait_for("every visit is over", lambda: quiet(world), 120, every=0.5)
        gateway = world.process("gw-1")
        used, begun = cpu(gateway), time.monotonic()
        time.sleep(window)
        used = (cpu(gateway) - used) / (time.monotonic() - begun)
        answer = world.desk("revoke", "--phone", "070-174 06 00", "--wait", "400s", "--json", timeout=450).json
        told = answer["locks"]
        if told["confirmed"] != n:
            raise Failure(f"a list reached {told['confirmed']} of {n} locks: {answer}")
    bench.log(f"{n} locks, links_max {links}: {used * 100:.2f} % CPU, {answer}")
    return {"cpu": used * 100, "seconds": told["ms"] / 1000}


def quiet(world):
    before = world.stats("gw-1")
    time.sleep(2.5)
    after = world.stats("gw-1")
    return before["connects"] == after["connects"] == after["disconnects"]


def locks(bench):
    """All sizes at once: their time goes by in waiting for the radio."""
    sizes = [1, 4] if bench.quick else [1, 10, 50]
    with concurrent.futures.ThreadPoolExecutor(len(sizes) + 1) as pool:
        asked = {n: pool.submit(locks_of, bench, n) for n in sizes}
        wide = pool.submit(locks_of, bench, sizes[-1], links=4)
        found, wide = {n: future.result() for n, future in asked.items()}, wide.result()
    last = found[sizes[-1]]
    bench.row("growth", f"a revocation in all {sizes[-1]} locks of a gateway", last["seconds"], "s",
              beside={**by("seconds", found), "with links_max 4": wide["seconds"]},
              note="two links at a time; bluetoothd holds a link 2.7 s after Disconnect, three quarters of all the time")
    bench.row("growth", f"a gateway with {sizes[-1]} locks that only advertise, each a second", last["cpu"], "% CPU",
              beside=by("cpu", found))
    return [(n, r["seconds"], r["cpu"]) for n, r in found.items()]


# --- events waiting -----------------------------------------------------------------------------------

class Watch:
    """Until a gateway says that no event waits any more."""

    def __init__(self, port):
        self.drained, self.events = threading.Event(), 0
        self.client = mqtt.Client(client_id="watch", protocol=mqtt.MQTTv5)
        self.client.on_connect = lambda c, *_: c.subscribe("lockbridge/gw/gw-1/state", qos=1)
        self.client.on_message = self.on_message
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def on_message(self, client, user, message):
        state = json.loads(message.payload)
        if state["outbox"] == 0 and state["seq"] > 0:
            self.drained.set()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def drain(bench, store, n):
    """Seconds from the start of a gateway with this store until its broker has all."""
    with World({"gw-1": ["lock-1"]}) as world:
        world.start_bus()
        world.start_radio()
        world.start_broker()
        world.recorder = None
        with open(world.path("root.pub.pem"), "w") as f:
            f.write(world.phone("keygen", world.path("root.pem")).ok().out)
        world.start_locks()
        os.makedirs(world.path("gw-1"), mode=0o700)
        shutil.copy(store, world.path("gw-1", "store.db"))
        watch = Watch(world.port)
        begun = time.monotonic()
        gateway = world.start_gateway("gw-1", more=f"event_bytes_max = {1 << 36}L;\n")
        gateway.wait_output("broker connected", 60)
        connected = time.monotonic()
        try:
            while not watch.drained.wait(1):
                if not gateway.running():
                    raise Failure(f"the gateway ended:\n{gateway.output()[-2000:]}")
                if time.monotonic() - connected > 300:
                    raise Failure(f"{n} events not drained in 300 s")
            seconds = time.monotonic() - connected
        finally:
            watch.close()
        bench.log(f"{n} events: start {connected - begun:.2f} s, drained in {seconds:.2f} s, CPU {cpu(gateway):.2f} s")
    return seconds


def events(bench):
    sizes = [10, 1000] if bench.quick else [10, 1000, 10_000, 100_000]
    rounds, found = 20 if bench.quick else 200, {}
    growing = os.path.join(in_memory(bench.dir), f"lockbridge-bench-{os.getpid()}.db")
    store, filled = os.path.join(bench.dir, "store.db"), 0
    try:
        for n in sizes:
            tool(bench, "bench-store", "fill", growing, n - filled)
            filled = n
            shutil.copy(growing, store)
            seconds = drain(bench, store, n)
            found[n] = tool(bench, "bench-store", "cost", store, rounds)
            found[n]["drain"] = seconds
    finally:
        for name in (growing, store):
            if os.path.exists(name):
                os.unlink(name)
    return event_rows(bench, sizes, found)


def event_rows(bench, sizes, found):
    last, name = found[sizes[-1]], f"with {sizes[-1]:,} events waiting"
    bench.row("growth", f"{name}: time to drain", last["drain"], "s", beside=by("drain", found),
              note=f"{sizes[-1] / last['drain']:,.0f} events a second, each acknowledged by mosquitto and noted on disk")
    for key, what in (("event_ms", "one more"), ("accept_ms", "an authorization accepted")):
        bench.row("growth", f"{name}: {what}", last[key], "ms",
                  beside={**{at: r["p50"] for at, r in by_pair(key, found)},
                          "a synced page, p50": last["fsync_ms"]["p50"], "p99": last["fsync_ms"]["p99"]})
    bench.row("growth", f"{name}: opening the store", last["open_ms"], "ms", beside=by("open_ms", found))
    return [(n, r["event_ms"]["p50"], r["event_ms"]["p99"], r["fsync_ms"]["p50"], r["drain"])
            for n, r in found.items()]


def by_pair(key, results):
    return [(f"p50 at {n:,}", r[key]) for n, r in list(results.items())[:-1]]


# --- gateways of a broker -----------------------------------------------------------------------------

def desk_knows(world, n, version):
    rows = world.desk("gateway", "list", "--json").json
    return sum(row.get("version") == version for row in rows) == n


def chorus(world, crowd, documents, root, rounds):
    """CPU per state, of broker and desk, in us; until the desk has filed each."""
    n = len(crowd.members)
    used = {p: cpu(p) for p in (world.broker, world.serve)}
    begun = time.monotonic()
    for i in range(rounds):
        crowd.chorus(f"{n}-{i}", documents, root)
        crowd.wait_for("the desk files every state", lambda: desk_knows(world, n, f"{n}-{i}"))
    took = time.monotonic() - begun
    broker, desk = ((cpu(p) - used[p]) * 1e6 / n / rounds for p in (world.broker, world.serve))
    return {"broker": broker, "desk": desk, "seconds": took / rounds}


def gateways(bench):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))  # a socket each, here and in the broker
    sizes = [20, 40] if bench.quick else [100, 300, 600, 1200]
    rounds, found = 2 if bench.quick else 5, {}
    with World({}) as world:
        world.start_city()
        world.serve = None
        enrol(world, [f"gw-{i}" for i in range(sizes[0])])
        documents, root = wait_for("the city's documents", lambda: complete(world))
        crowd, empty = Crowd(world.port), resident(world.broker)
        try:
            for n in sizes:
                fresh = [f"gw-{i}" for i in range(len(crowd.members), n)]
                if n > sizes[0]:
                    enrol(world, fresh)
                crowd.grow(fresh)
                crowd.chorus("first", documents, root)
                found[n] = chorus(world, crowd, documents, root, rounds)
                found[n]["memory"] = (resident(world.broker) - empty) / n
                bench.log(f"{n} gateways: {found[n]}")
        finally:
            crowd.close()
    return gateway_rows(bench, sizes, found)


def enrol(world, names):
    """Adds gateways, in memory: their fsyncs are not what is measured here."""
    desk, memory = world.path("desk"), tempfile.mkdtemp(prefix="lockbridge-bench-", dir=in_memory(world.dir))
    if world.serve:
        world.serve.stop()
    try:
        there = shutil.move(desk, memory)
        for name in names:
            world.run([program("lockbridge-desk"), "--dir", there, "gateway", "add", name]).ok()
        shutil.move(there, desk)
    finally:
        shutil.rmtree(memory)
    if world.serve:
        world.respawn(world.serve, "on the broker")
    else:
        world.serve = world.spawn("serve", [program("lockbridge-desk"), "--dir", desk, "serve"], "on the broker")


def in_memory(otherwise):
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else otherwise


def complete(world):
    documents, root = held(world.recorder.all("lockbridge/city/"))
    return (documents, root) if len(documents) >= 3 else None


def gateway_rows(bench, sizes, found):
    last, name = found[sizes[-1]], f"{sizes[-1]:,} gateways"
    bench.row("growth", f"{name}: broker, per state that a gateway says", last["broker"], "us CPU",
              beside=by("broker", found), note="plain connections; one subscriber to all, the desk, and one more")
    bench.row("growth", f"{name}: desk, per state filed", last["desk"], "us CPU", beside=by("desk", found),
              note=f"all {sizes[-1]:,} at once: filed within {last['seconds']:.1f} s")
    bench.row("growth", f"{name}: broker, memory of each", last["memory"], "KiB", beside=by("memory", found))
    return [(n, r["broker"], r["desk"], r["memory"]) for n, r in found.items()]


# --- the plot -----------------------------------------------------------------------------------------

def plot(bench, figures):
    lines = ["set terminal svg size 1200,900 font 'sans,13' background '#ffffff'",
             f"set output '{os.path.join(bench.out, 'growth.svg')}'", "set multiplot layout 2,2",
             "set logscale xy", "set grid", "set key below", "set format x '%.0s%c'"]
    for name, title, x, y, columns in PLOTS:
        data = os.path.join(bench.out, f"growth-{name}.dat")
        with open(data, "w", encoding="utf-8") as f:
            f.write("# " + x + "; " + "; ".join(columns) + "\n")
            f.writelines(" ".join(f"{value:.6g}" for value in row) + "\n" for row in figures[name])
        lines += [f"set title '{title}'", f"set xlabel '{x}'", f"set ylabel '{y}'",
                  "plot " + ", ".join(f"'{data}' using 1:{i + 2} with linespoints linewidth 2 title '{column}'"
                                      for i, column in enumerate(columns))]
    done = subprocess.run(["gnuplot"], input="\n".join(lines + ["unset multiplot"]).encode(), capture_output=True,
                          check=False)
    if done.returncode or done.stderr:
        raise Failure(f"gnuplot: {done.stderr.decode()}")


def run(bench):
    if not shutil.which("gnuplot"):
        raise Failure("gnuplot is not installed: apt-get install gnuplot-nox")
    parts = {"entries": entries, "locks": locks, "events": events, "gateways": gateways}
    figures = {}
    for name, part in parts.items():
        begun = time.monotonic()
        figures[name] = part(bench)
        bench.log(f"{name}: {time.monotonic() - begun:.1f} s")
    plot(bench, figures)
