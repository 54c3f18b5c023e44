#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How much one broker carries on this machine, with clients that do nothing: docs/scaling.md.

    ceiling.py [--counts 1000,5000,10000,15000] [--bytes 4096] [--rounds 5] [--ejabberd]

For each count a new broker and as many bare subscribers (tests/bench/subscribers.c), which connect 64 at a
time, as fast as it takes them. Prints connections, seconds until all had connected and subscribed, memory
and processor time of the broker per connection, and what it hands out per second when one document goes to all.
--ejabberd: two clustered nodes instead of mosquitto, the subscribers on the first.

Half of the processors' time is the clients' own: what a broker can do beside them, on a machine to itself,
is more.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "system"), os.path.join(HERE, "..", "cluster")]

import ejabberd  # noqa: E402
import harness  # noqa: E402

# As fleet.py's, with room for the queue of everybody.
MOSQUITTO = """listener {port} 127.0.0.1
allow_anonymous true
user root
max_keepalive 120
set_tcp_nodelay true
persistence true
persistence_location {folder}/
autosave_interval 60
"""


class Mosquitto:
    options = []

    def __init__(self, folder):
        self.port = harness.free_port()
        with open(os.path.join(folder, "mosquitto.conf"), "w", encoding="ascii") as f:
            f.write(MOSQUITTO.format(port=self.port, folder=folder))
        self.process = harness.Process("mosquitto", ["mosquitto", "-c", f.name], os.path.join(folder, "log"))
        self.process.start().wait_output(" running", 60)
        self.pid = self.process.popen.pid

    def stop(self):
        self.process.stop()


class Ejabberd:
    def __init__(self, folder):
        self.port = harness.free_port()
        template = ejabberd.joined(harness)
        for name in "ab":
            subprocess.run(["cp", "-r", "--parents", name + "/db", folder], cwd=template, check=True)
        self.cluster = ejabberd.Cluster(harness, folder, (self.port, harness.free_port()), dict(os.environ))
        self.cluster.start()
        self.pid = self.cluster.nodes["a"].popen.pid
        password = os.path.join(folder, "password")
        with open(password, "w", encoding="ascii") as f:
            f.write("any\n")
        self.options = ["--user", "test", "--password-file", password]

    def stop(self):
        self.cluster.stop()


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        words = f.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def most_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))


def measure(kind, count, document, rounds):
    """One broker's life with `count` subscribers."""
    with tempfile.TemporaryDirectory(prefix="lockbridge-ceiling-", dir="/var/tmp") as folder:
        broker = kind(folder)
        try:
            before, spent = most_kib(broker.pid), cpu_s(broker.pid)
            idle = subprocess.run(command(broker, count, document, 1), capture_output=True, check=False)
            after = most_kib(broker.pid)
            done = subprocess.run(command(broker, count, document, rounds), capture_output=True, check=False)
            if idle.returncode or done.returncode:
                raise SystemExit(f"{count}: {idle.stderr.decode()}{done.stderr.decode()}")
            said = json.loads(done.stdout)
            took = sorted(r["all_ms"] for r in said["rounds"])[len(said["rounds"]) // 2]
            return {"connections": count, "connect_s": round(said["connect_ms"] / 1000, 2),
                    "KiB_each": round((after - before) / count, 1), "fan_out_ms": round(took),
                    "per_s": round(count / took * 1000),
                    "cpu_s": round(cpu_s(broker.pid) - spent, 2)}
        finally:
            broker.stop()


def command(broker, count, document, rounds):
    return [harness.program("bench/subscribers"), "--broker", f"127.0.0.1:{broker.port}", "--count", str(count),
            "--bytes", document, "--rounds", str(rounds), *broker.options]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="1000,5000,10000,15000")
    parser.add_argument("--bytes", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ejabberd", action="store_true")
    words = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"{'connections':>11} {'all in s':>9} {'KiB each':>9} {'to all ms':>10} {'per second':>11} {'CPU s':>7}")
    with tempfile.NamedTemporaryFile() as document:
        document.write(os.urandom(words.bytes))
        document.flush()
        for count in map(int, words.counts.split(",")):
            row = measure(Ejabberd if words.ejabberd else Mosquitto, count, document.name, words.rounds)
            print("{connections:>11} {connect_s:>9} {KiB_each:>9} {fan_out_ms:>10} {per_s:>11} {cpu_s:>7}".format(**row),
                  flush=True)


if __name__ == "__main__":
    main()
