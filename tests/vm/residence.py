# SPDX-License-Identifier: Apache-2.0
"""A box with the packages as they were built, a lock at its door, and the city that both belong to.

Box and lock are in the guest: the agent on hci0, lock-sim on hci1. The city is outside, so that the box can lose
its power alone: broker as config/mosquitto shows it, desk, and a recorder of all that was said. The lock's
memory and the record of what its bolt did are in the shared folder, which no power cut of the guest
touches; lock-sim itself loses its power with the box, as a lock whose battery is taken out.
"""

import asyncio
import collections
import glob
import hashlib
import json
import os
import re
import sqlite3
import ssl
import subprocess
import sys
import threading

from guest import HERE, HOST, SHARE, Failure, wait_for

sys.path.insert(0, os.path.join(HERE, "..", "system"))

import harness  # noqa: E402
from secure import SecureWorld  # noqa: E402

PACKAGES = os.environ.get("LOCKBRIDGE_DEB") or os.path.join(HERE, "..", "..", "build", "deb")
GATEWAY, LOCK = "gw-17", "lock-17a"
ANNA, BO, CLEO = (("19121212-1212", "070-174 06 05"), ("811218-9876", "070-174 06 50"),
                  ("640823-3234", "070-174 06 38"))
LOCK_UNIT = f"""[Unit]
Description=A simulated lock on hci1
After=bluetooth.service srv-share.mount
[Service]
ExecStart=/usr/local/bin/lock-sim --state {SHARE}/locks --control /run/lock-sim.sock --motor 300 --adverts 2 --lock {LOCK}=hci1
Restart=always
RestartSec=500ms
[Install]
WantedBy=multi-user.target
"""
BUTTON = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/lock-sim.sock'); " \
    "s.sendall(b'%s\\n'); print(s.recv(65536).decode())"


def package(name):
    """The one .deb of this name that `make deb` built."""
    found = glob.glob(os.path.join(PACKAGES, f"{name}_*.deb"))
    if len(found) != 1:
        raise Failure(f"{len(found)} packages {name}_*.deb in {PACKAGES}: run make deb")
    return found[0]


def repackaged(name, version, folder):
    """The same package as a later version of itself."""
    tree, path = os.path.join(folder, name), os.path.join(folder, f"{name}_{version}.deb")
    subprocess.run(["dpkg-deb", "-R", package(name), tree], check=True)
    control = os.path.join(tree, "DEBIAN", "control")
    with open(control, encoding="utf-8") as f:
        lines = [f"Version: {version}\n" if line.startswith("Version:") else line for line in f]
    with open(control, "w", encoding="utf-8") as f:
        f.writelines(lines)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, path], check=True, stdout=subprocess.DEVNULL)
    return path


class City(SecureWorld):
    """Desk and broker on this machine; the guest knows it by another address."""

    public = HOST

    def __init__(self):
        super().__init__({GATEWAY: [LOCK]})

    def start(self):
        self.start_city()
        for person, phone in (ANNA, BO, CLEO):
            self.desk("staff", "add", "--person", person, "--phone", phone).ok()
        self.serve = self.spawn("serve", [harness.program("lockbridge-desk"), "--dir", self.path("desk"), "serve"])
        return self

    def act(self, verb, who, *words):
        return self.desk("--json", verb, "--phone", who[1], *words)

    def unlock(self, who=ANNA, *words):
        """One attempt; what the desk makes of it."""
        return self.act("unlock", who, "--lock", LOCK, *words).json

    def query(self, sql, *args):
        with sqlite3.connect(f"file:{self.path('desk', 'desk.db')}?mode=ro", uri=True, timeout=10) as db:
            return db.execute(sql, args).fetchall()


class Traffic:
    """Somebody wants in, again and again, until told to stop. answers: what the desk said each time."""

    def __init__(self, city, who=ANNA):
        self.city, self.who, self.answers, self.error = city, who, [], None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            while not self.over.is_set():
                self.answers.append(self.city.unlock(self.who, "--wait", "20"))
        except Exception as e:  # told by stop(), in the test's own thread
            self.error = e

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(120)
        if self.error:
            raise self.error

    def wait_done(self, n=1, timeout=90):
        """Until n more were answered with done."""
        had = self.done()
        wait_for(lambda: f"{n} more openings; the last answers: {self.answers[-3:]}, {self.error}",
                 lambda: self.error or self.done() >= had + n, timeout)

    def done(self):
        return sum(a.get("outcome") == "done" for a in list(self.answers))


class Tunnel:
    """Speaks TLS to the broker in the name of a box that cannot: it does not know the date."""

    def __init__(self, broker_port, authority, certificate, key):
        self.broker_port, self.context = broker_port, ssl.create_default_context(cafile=authority)
        self.context.load_cert_chain(certificate, key)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    async def _serve(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.broker_port, ssl=self.context)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    @staticmethod
    async def _pump(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def _end(self):
        self.server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self):
        self._call(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


class Residence:
    def __init__(self, guest):
        self.guest, self.city = guest, City()
        self.revoked = []

    # --- put up -----------------------------------------------------------------------------------------

    def set_up(self):
        """Packages, the three commands, a lock that is claimed at the door."""
        self.city.start()
        self.install()
        self.start_lock()
        self.enrol()
        self.claim()
        self.settle()
        return self

    def install(self):
        paths = [self.guest.put(package(name)) for name in ("lockbridge", "lockbridge-desk")]
        return self.guest.sh(["dpkg", "--install", *paths])

    def start_lock(self):
        self.guest.radios()
        self.guest.put(harness.program("lock-sim"), "/usr/local/bin/lock-sim")
        self.guest.write("/etc/systemd/system/lock-sim.service", LOCK_UNIT)
        self.guest.sh("systemctl daemon-reload && systemctl enable --now lock-sim")
        told = self.guest.wait("the lock is there", "journalctl -u lock-sim -o cat | grep -m1 '\"key\"'")
        self.key = json.loads(told)["key"]
        self.guest.wait("the lock is registered", "journalctl -u lock-sim -o cat | grep -qx ready")

    def enrol(self, *words):
        request = self.guest.sh(["lockbridgectl", "request", GATEWAY])
        with open(self.city.path("request.pem"), "w") as f:
            f.write(request)
        self.city.desk("gateway", "add", GATEWAY, "--request", self.city.path("request.pem"), "--out",
                       self.city.path("gw.enrol"), *words).ok()
        kid = next(k["kid"] for k in self.city.desk("--json", "keys", "show").json
                   if k["role"] == "root" and not k["dropped"])
        said = self.guest.sh(["lockbridgectl", "enrol", self.guest.put(self.city.path("gw.enrol")), "--root", kid])
        # the guest has the lock's radio as well
        self.guest.sh("echo 'adapter = \"hci0\";' >>/etc/lockbridge/lockbridge.conf && systemctl restart lockbridge")
        return said

    def claim(self):
        self.city.desk("lock", "add", LOCK, "--key", self.key, "--gateway", GATEWAY).ok()
        self.city.desk("lock", "claim", LOCK, "--out", self.city.path("claim")).ok()
        self.control("button")
        self.guest.sh(["lockbridgectl", "lock", "claim", self.guest.put(self.city.path("claim")), "--key", self.key])

    def tunnel(self):
        """The box speaks through a Tunnel from its next start on; call what is returned to end that."""
        files = {"/var/lib/lockbridge/gateway.pem": "box.pem", "/etc/lockbridge/gateway.key": "box.key"}
        for theirs, ours in files.items():
            with open(self.city.path(ours), "w", encoding="ascii") as f:
                f.write(self.guest.sh(["cat", theirs]))
        tunnel = Tunnel(self.city.port, self.city.path("broker-files", "ca.pem"), self.city.path("box.pem"),
                        self.city.path("box.key"))
        config = "/etc/lockbridge/lockbridge.conf"
        was = self.guest.sh(["cat", config])
        text, found = re.subn(r"(?s)\bbrokers\s*=\s*\(.*?\)\s*;",
                              f'brokers = ( {{ host = "{HOST}"; port = {tunnel.port}; }} );', was)
        assert found == 1, was
        self.guest.sh(f"cat >{config}", stdin=text.encode())  # owner and mode stay

        def end():
            tunnel.close()
            self.guest.sh(f"cat >{config}", stdin=was.encode())
        return end

    def control(self, words):
        return self.guest.sh(["python3", "-S", "-c", BUTTON % f"{LOCK} {words}"])

    def settle(self, timeout=90):
        """Online, and the lock holds what the gateway holds, since the box's last start."""
        def settled():
            recorder = self.city.recorder
            return (recorder.last(f"lockbridge/gw/{GATEWAY}/presence") == b"online"
                    and (recorder.lock(GATEWAY, LOCK) or {}).get("current"))
        wait_for(lambda: f"box and lock are current\n{self.journal()[-3000:]}", settled, timeout * self.guest.patience)

    def back(self):
        """After a start of the machine: up, and as good as before."""
        self.guest.radios()
        self.settle()
        self.opens()

    def opens(self, who=ANNA):
        """A door opened, verified by the lock's receipt. After a fault the first tries may find the lock elsewhere."""
        said = []

        def done():
            said.append(self.city.unlock(who))
            return said[-1]["outcome"] == "done"
        wait_for(lambda: f"the door opens: {said[-2:]}\n{self.journal()[-3000:]}", done, 60 * self.guest.patience, 0.2)
        assert said[-1]["verified"] is True
        return said[-1]

    def refuses(self, who):
        """The gateway says revoked, and the bolt stays; also when the desk does not refuse by itself."""
        if who not in self.revoked:
            self.city.act("revoke", who).ok()
            self.revoked.append(who)
        before, said = self.movements(), []

        def not_busy():
            said.append(self.city.unlock(who, "--anyway"))
            return said[-1]["reason"] != "busy"
        wait_for("the lock is not busy", not_busy, 60 * self.guest.patience, 0.2)
        assert (said[-1]["outcome"], said[-1]["reason"]) == ("refused", "revoked"), said
        assert self.movements() == before

    def journal(self):
        return self.guest.ssh("journalctl -u lockbridge -o cat -b").out

    def close(self):
        self.city.close()

    # --- what must hold, whatever happened ---------------------------------------------------------------

    def movements(self):
        """cti -> how often the bolt moved for it."""
        path = self.guest.share("locks", LOCK, "movements")
        if not os.path.exists(path):
            return collections.Counter()
        with open(path, encoding="ascii") as f:
            return collections.Counter(line.split()[0] for line in f)

    def streams(self):
        """stream -> seq -> payload, as the broker passed them on; the same number twice must be the same event."""
        streams = collections.defaultdict(dict)
        for _, _, payload, _ in self.city.recorder.all(f"lockbridge/gw/{GATEWAY}/event"):
            event = json.loads(payload)
            had = streams[event["stream"]].setdefault(event["seq"], payload)
            assert had == payload, (had, payload)
        return streams

    def verify(self):
        """At most once; nothing without an answer; no gap; nobody un-revoked. How many openings, how many events."""
        moved = self.movements()
        assert max(moved.values(), default=0) <= 1, moved
        wait_for(lambda: f"each accepted authorization has an outcome: {self.open_ends()}",
                 lambda: not self.open_ends(), 60 * self.guest.patience)
        wait_for(lambda: f"each movement is at the desk with its receipt: {self.unreported()}",
                 lambda: not self.unreported(), 90 * self.guest.patience)
        events = 0
        for stream in self.streams().values():
            seqs = sorted(stream)
            assert seqs == list(range(1, len(seqs) + 1)), seqs
            for seq in seqs:
                before = hashlib.sha256(stream[seq - 1]).hexdigest() if seq > 1 else "0" * 64
                assert json.loads(stream[seq])["prev"] == before, seq
            events += len(seqs)
        self.no_rollback()
        alarms = self.city.desk("--json", "alarms").json
        assert alarms == [], alarms
        return len(moved), events

    def outcomes(self):
        """cti -> kinds of answer, oldest first."""
        told = collections.defaultdict(list)
        for stream in self.streams().values():
            for _, payload in sorted(stream.items()):
                event = json.loads(payload)
                if event["type"].startswith("authorization."):
                    told[event.get("cti")].append(event["type"].rpartition(".")[2])
        return told

    def open_ends(self):
        return [cti for cti, kinds in self.outcomes().items() if "accepted" in kinds and "outcome" not in kinds]

    def unreported(self):
        """Movements of which the desk has no receipt of the lock."""
        have = {row[0] for row in self.city.query("SELECT lower(hex(cti)) FROM receipt WHERE cti IS NOT NULL")}
        return sorted(set(self.movements()) - have)

    def no_rollback(self):
        """What the gateway says that it holds never gets older."""
        newest = {}
        for _, _, payload, _ in self.city.recorder.all(f"lockbridge/gw/{GATEWAY}/state"):
            for document in json.loads(payload)["documents"] if payload else []:
                name = document.get("name") or document.get("topic") or document["kind"]
                assert document["iat"] >= newest.get(name, 0), (name, document, newest)
                newest[name] = document["iat"]
        return newest
