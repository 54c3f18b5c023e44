# SPDX-License-Identifier: Apache-2.0
"""Somebody within radio range who keeps to no rule: hears every GATT value, and writes any frame to any lock."""

import json
import subprocess

import cbor2
from harness import wait_for

CHR = "2ff9000{}-f488-4501-a0b4-1a1753dee155"
INFO, INBOX = CHR.format(2), CHR.format(3)
FIRST, LAST, FRAME = 0x80, 0x40, 200


def frames(document):
    """A document as frames (protocol.md, section 7)."""
    first, rest = document[:FRAME - 5], document[FRAME - 5:]
    parts = [len(document).to_bytes(4, "little") + first]
    while rest:
        parts.append(rest[:FRAME - 1])
        rest = rest[FRAME - 1:]
    return [bytes([(FIRST if i == 0 else 0) | (LAST if i + 1 == len(parts) else 0) | i % 64]) + part
            for i, part in enumerate(parts)]


class Thief:
    def __init__(self, box):
        self.box, self.adapter = box, "/org/bluez/" + box.adapter("phone")
        self.ear = box.path("heard.log")
        box.radio_control("log " + self.ear)

    def heard(self, uuid):
        """Values of a characteristic that went through the air, oldest first."""
        with open(self.ear, encoding="ascii") as f:
            lines = f.read().splitlines()
        found = []
        for line in lines:
            words = line.split()
            if uuid in words and words[-1] != uuid:
                found.append(bytes.fromhex(words[-1]))
        return found

    def busctl(self, *words):
        done = subprocess.run(["busctl", "--address=" + self.box.env["DBUS_SYSTEM_BUS_ADDRESS"], "--json=short",
                               *words], capture_output=True, check=False, timeout=30)
        return json.loads(done.stdout or "null") if done.returncode == 0 else None

    def call(self, path, interface, *words):
        return self.busctl("call", "org.bluez", path, interface, *words)

    def characteristic(self, device, uuid):
        objects = self.busctl("call", "org.bluez", "/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
        for path, interfaces in (objects or {"data": [{}]})["data"][0].items():
            chr_ = interfaces.get("org.bluez.GattCharacteristic1")
            if chr_ and path.startswith(device) and chr_["UUID"]["data"] == uuid:
                return path
        return None

    def at(self, lock):
        """Connected to a lock, for a `with`."""
        return Visit(self, lock)


class Visit:
    def __init__(self, thief, lock):
        self.thief, self.lock = thief, lock
        self.device = f"{thief.adapter}/dev_{thief.box.addresses[lock].replace(':', '_')}"

    def __enter__(self):
        box, thief = self.thief.box, self.thief
        wait_for("the lock is free", lambda: not box.lock_report(self.lock)["connected"], 30)
        found = box.phone("info", "--adapter", box.adapter("phone"), "--address", box.addresses[self.lock])
        found.ok()

        def there():
            thief.call(self.device, "org.bluez.Device1", "Connect")
            return thief.characteristic(self.device, INBOX)
        self.inbox = wait_for("the thief is connected", there, 30, 0.2)
        self.info = thief.characteristic(self.device, INFO)
        return self

    def __exit__(self, *_):
        self.thief.call(self.device, "org.bluez.Device1", "Disconnect")

    def read_info(self):
        told = self.thief.call(self.info, "org.bluez.GattCharacteristic1", "ReadValue", "a{sv}", "0")
        return cbor2.loads(bytes(told["data"][0]))

    def write(self, frame):
        """Returns when the lock has taken it."""
        before = len(self.thief.heard(INBOX))
        self.thief.call(self.inbox, "org.bluez.GattCharacteristic1", "WriteValue", "aya{sv}", str(len(frame)),
                        *map(str, frame), "0")
        wait_for("the write arrives", lambda: len(self.thief.heard(INBOX)) > before)

    def say(self, document):
        for frame in frames(document):
            self.write(frame)
