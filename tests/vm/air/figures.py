# SPDX-License-Identifier: Apache-2.0
"""How long things take over the real bluetoothd and btvirt. Figures, not verdicts: the processor is emulated.

Each line that begins with "figure:" belongs to the table that the host prints.
"""

import random
import statistics
import time

import dbus

from box import Box
from harness import World, wait_for

N = 3
PERSON, PHONE = "19121212-1212", "070-174 06 70"


def figure(name, seconds, more=""):
    ordered = sorted(seconds)
    print(f"figure: {name} | {statistics.median(ordered) * 1000:6.0f} ms "
          f"({ordered[0] * 1000:.0f} to {ordered[-1] * 1000:.0f}, n = {len(ordered)}){more}")


def timed(act):
    start = time.monotonic()
    value = act()
    return time.monotonic() - start, value


def cold(box, act):
    def one():
        wait_for("the link is down", lambda: not box.is_connected("lock-1"), 30)
        return timed(act)[0]
    return [one() for _ in range(N)]


def done(event):
    assert event["outcome"] == "done", event


def test_gateway_and_lock():
    with Box(lock_max=128 * 1024, motor=0) as b:
        b.start()
        figure("unlock, authorize to outcome, cold", cold(b, lambda: done(b.unlock())))
        figure("unlock, authorize to outcome, on a warm link", [timed(lambda: done(b.unlock()))[0] for _ in range(N)])
        during = []
        for _ in range(N):
            done(b.unlock())
            time.sleep(2.3)  # linger_s is over: BlueZ is asked to disconnect, and takes its time
            during.append(timed(lambda: done(b.unlock()))[0])
        figure("unlock that meets the end of the link before", during)
        tests = []
        for _ in range(N):
            wait_for("the link is down", lambda: not b.is_connected("lock-1"), 30)
            tests.append(b.ctl("gw-1", "test", "lock-1", "--json").ok().json)
        connects = [t["connect_ms"] / 1000 for t in tests]
        figure("connect, until services and channels are ready", connects)
        figure("relay there and back on a link", [t["round_trip_ms"] / 1000 for t in tests])
        noise = random.Random(1)
        # The first one makes the lock tell of a gap between frames: from then on each is confirmed.
        for step, (kb, entries) in enumerate(((2, 8192), (8, 32768), (128, 524288)), 1):
            raw = {i: noise.choice((0, 1, 2, 3)) for i in range(entries)}
            document = b.city.list(b.born + step, raw, entries=entries)
            wait_for("the link is down", lambda: not b.is_connected("lock-1"), 30)
            b.hold(document)
            took, _ = timed(lambda: wait_for(
                "it arrived", lambda: b.lock_report("lock-1")["applied"]["staff"] == b.born + step, 115))
            net = max(took - statistics.median(connects), 0.001)
            if kb > 2:
                figure(f"list of {kb} kB, held to applied, connect included", [took],
                       f", {len(document) / 1000 / net:.1f} kB/s without the connect")
        bluez(b)


def bluez(b):
    """What BlueZ alone takes, with the agent out of the way."""
    wait_for("the link is down", lambda: not b.is_connected("lock-1"), 30)
    b.process("gw-1").stop()
    bus = dbus.SystemBus()

    def of(path, interface):
        return dbus.Interface(bus.get_object("org.bluez", path), interface)
    device = of(b.device("lock-1"), "org.bluez.Device1")
    properties = of(b.device("lock-1"), "org.freedesktop.DBus.Properties")
    took = {name: [] for name in ("Connect", "services resolved, after it", "read", "write with response", "Disconnect")}
    for _ in range(N):
        took["Connect"].append(timed(device.Connect)[0])
        took["services resolved, after it"].append(timed(lambda: wait_for(
            "resolved", lambda: properties.Get("org.bluez.Device1", "ServicesResolved"), every=0.005))[0])
        objects = of("/", "org.freedesktop.DBus.ObjectManager").GetManagedObjects()
        chrs = {str(o["org.bluez.GattCharacteristic1"]["UUID"])[7]: path for path, o in objects.items()
                if path.startswith(b.device("lock-1")) and "org.bluez.GattCharacteristic1" in o
                and o["org.bluez.GattCharacteristic1"]["UUID"].startswith("2ff9000")}
        info, inbox = (of(chrs[n], "org.bluez.GattCharacteristic1") for n in "23")
        took["read"] += [timed(lambda: info.ReadValue({}))[0] for _ in range(4)]
        begun = dbus.ByteArray(b"\x80\x00\x10\x00\x00")  # the first of a document that never comes
        request = dbus.Dictionary({"type": "request"}, signature="sv")
        took["write with response"] += [timed(lambda: inbox.WriteValue(begun, request))[0] for _ in range(4)]
        took["Disconnect"].append(timed(device.Disconnect)[0])
        wait_for("it is heard again", lambda: properties.GetAll("org.bluez.Device1")["Connected"] == 0)
    for name, seconds in took.items():
        figure("BlueZ: " + name, seconds)


def test_desk():
    with World({"gw-1": ["lock-1"]}) as w:
        w.start()
        _, public = w.phone_key("carin")
        w.desk("staff", "add", "--person", PERSON, "--phone", PHONE, "--key", public, "--app",
               "se.example.homecare", "--platform", "any").ok()

        def unlock():
            done(w.desk("unlock", "--person", PERSON, "--lock", "lock-1", "--json").json)
        figure("unlock, desk's command to verified receipt, cold", cold(w, unlock))
        figure("the same on a warm link", [timed(unlock)[0] for _ in range(N)])
