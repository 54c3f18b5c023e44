# SPDX-License-Identifier: Apache-2.0
"""The world of the system tests over the real thing: the kernel's Bluetooth, bluetoothd, btvirt.

Runs as root inside the guest, with LOCKBRIDGE_AIR=bluez, where tests/system/harness.py takes this
class for World. btvirt's controllers reach those of the same btvirt only, one link per controller
at a time; so each gateway gets an air of its own (a btvirt of its own): its adapter, one for a phone,
one per lock.

What radio-sim's control socket can do and no radio can is not there: see faults() for what is.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import struct
import subprocess

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
# What the package installs, for a daemon that runs from a build.
BUS_POLICY = ("config/dbus/org.lockbridge.Gateway1.conf", "/etc/dbus-1/system.d/org.lockbridge.Gateway1.conf")
POLKIT_RULE = ("config/polkit/lockbridge.rules", "/etc/polkit-1/rules.d/60-lockbridge.rules")
FAST = "backoff_min_ms = 100;\nbackoff_max_ms = 1000;\nhealth_s = 1;\n"


def sh(*argv, check=True):
    return subprocess.run(argv, capture_output=True, check=check).stdout.decode()


def adapters():
    """The controllers that the kernel has, in order: hci0, hci1, ..."""
    found = os.listdir("/sys/class/bluetooth") if os.path.isdir("/sys/class/bluetooth") else []
    return sorted((a for a in found if a.startswith("hci") and ":" not in a), key=lambda a: int(a[3:]))


@contextlib.contextmanager
def one_at_a_time():
    """Adapters come and go under numbers that the kernel gives: not for two worlds at once."""
    with open("/run/lockbridge-air.lock", "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def clock_is_synchronized():
    """What a time daemon would tell the kernel; timedated reports it as NTPSynchronized."""
    class Timex(ctypes.Structure):
        _fields_ = [("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long),
                    ("maxerror", ctypes.c_long), ("esterror", ctypes.c_long),
                    ("status", ctypes.c_int), ("rest", ctypes.c_char * 256)]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(ctypes.byref(Timex(modes=0x0004 | 0x0010, maxerror=1000, status=0))) < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")


def place(source, target):
    shutil.copyfile(os.path.join(SOURCE, source), target)
    os.chmod(target, 0o644)


def allow_restart():
    """The agent's user may restart bluetooth.service, and nothing else."""
    os.makedirs(os.path.dirname(POLKIT_RULE[1]), exist_ok=True)
    place(*POLKIT_RULE)
    sh("systemctl", "restart", "polkit.service")


def bluetoothd_pid():
    return int(sh("systemctl", "show", "-P", "MainPID", "bluetooth.service"))


def rfkill(hci, blocked):
    """Blocks or unblocks one radio, as a switch on the case does (linux/rfkill.h: struct rfkill_event)."""
    for name in os.listdir("/sys/class/rfkill"):
        with open(f"/sys/class/rfkill/{name}/name") as f:
            if f.read().strip() != hci:
                continue
        with open("/dev/rfkill", "wb", buffering=0) as f:
            f.write(struct.pack("=IBBBB", int(name[6:]), 2, 2, blocked, 0))
        return
    raise OSError(f"no rfkill for {hci}")


def over_bluetoothd(base, program, wait_for, Process, Control, Failure):
    """base is harness.World; the rest is of harness, too."""
    class VmWorld(base):
        unowned = ()  # locks that obey nobody yet
        def __init__(self, layout, **options):
            super().__init__(layout, **options)
            self.env.pop("DBUS_SYSTEM_BUS_ADDRESS", None)
            self.airs = {}  # gateway -> [process, its adapters]

        # --- the air ----------------------------------------------------------------------------

        def members(self, gw):
            """Who has an adapter in a gateway's air, in order."""
            return [gw, f"phone of {gw}"] + self.layout[gw]

        def adapter(self, who):
            if who == "phone":
                who = f"phone of {self.gateways[0]}"
            for gw, (_, hcis) in self.airs.items():
                if who in self.members(gw):
                    return hcis[self.members(gw).index(who)]
            raise Failure(f"no adapter for {who}")

        def start_bus(self):
            if not os.path.exists(BUS_POLICY[1]):
                sh("systemd-sysusers", os.path.join(SOURCE, "systemd/lockbridge.sysusers"))
                place(*BUS_POLICY)
                sh("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus",
                   "org.freedesktop.DBus", "ReloadConfig")
            clock_is_synchronized()
            self.clock = None

        def start_radio(self):
            sh("systemctl", "start", "bluetooth.service")
            for gw in self.gateways:
                self.airs[gw] = [None, []]
                self.air_on(gw)

        def air_on(self, gw):
            """Starts a gateway's btvirt; its adapters are the ones that were not there before."""
            n = len(self.members(gw))
            with one_at_a_time():
                before = adapters()
                p = Process(f"btvirt-{gw}", ["btvirt", "-L", f"-l{n}"], self.path(f"btvirt-{gw}.log"), self.env)
                self.processes.append(p.start())
                wait_for(f"the air of {gw}", lambda: len(set(adapters()) - set(before)) == n)
                hcis = [a for a in adapters() if a not in before]
            wait_for("bluetoothd has them", lambda: all(self.has_adapter(a) for a in hcis))
            self.airs[gw] = [p, hcis]

        def air_off(self, gw):
            """All radios of this air are gone, as if pulled out. Not with a link up: kernel 6.1 then
            frees the link's channels twice, and takes bluetoothd with it."""
            p, hcis = self.airs[gw]
            with one_at_a_time():
                p.kill()
                wait_for("the adapters are gone", lambda: not set(hcis) & set(adapters()))
            self.processes.remove(p)

        def has_adapter(self, hci):
            try:
                return bool(self.bus_property(f"/org/bluez/{hci}", "org.bluez.Adapter1", "Address"))
            except subprocess.CalledProcessError:
                return False

        def bus_property(self, path, interface, name):
            out = sh("busctl", "--json=short", "get-property", "org.bluez", path, interface, name)
            return json.loads(out)["data"]

        def radio_control(self, line):
            raise Failure(f"{line!r}: the real radio has no such knob; this test is not for the guest")

        def at_door(self, key, authorization, lock, *words):
            """The phone in the air of this lock's gateway. A lock that is connected does not advertise, but btvirt
            would connect to it all the same, and carry nothing."""
            wait_for("the gateway's link is down", lambda: not self.is_connected(lock), 40)
            return self.phone("open", "--adapter", self.adapter(f"phone of {self.gateway_of(lock)}"), "--key", key,
                              "--authorization", authorization, "--address", self.addresses[lock],
                              "--timeout", "20", *words)

        # --- the locks --------------------------------------------------------------------------

        def start_locks(self):
            """A process per lock, so that one can be stopped or killed and the others go on."""
            self.lock_sims, controls = {}, {}
            for lock in self.locks:
                argv = [program("lock-sim"), "--state", self.path("locks"), "--control",
                        self.path(lock + ".sock"), "--motor", str(self.motor), "--adverts", "2", "--lock",
                        f"{lock}={self.adapter(lock)}"]
                if lock not in self.unowned:
                    argv += ["--owner", self.path("root.pub.pem")]
                if self.lock_max:
                    argv += ["--max", str(self.lock_max)]
                self.lock_sims[lock] = self.spawn(lock, argv)
                controls[lock] = Control(self.path(lock + ".sock"))
            for lock, sim in self.lock_sims.items():
                sim.wait_output("ready", 40)
                told = json.loads(next(x for x in sim.output().splitlines() if x.startswith("{")))
                self.keys[lock] = told["key"]
                self.addresses[lock] = self.bus_property(f"/org/bluez/{self.adapter(lock)}",
                                                         "org.bluez.Adapter1", "Address")
            self.lock_sim = self.lock_sims[self.locks[0]]
            self.lock_control = lambda line: controls[line.partition(" ")[0]](line)

        def gateway_config(self, gw, **change):
            # btvirt hands a packet on with the handle of the one who sent it: an adapter's second
            # link reaches nobody.
            change["more"] = change.get("more", FAST) + "links_max = 1;\n"
            return super().gateway_config(gw, **change)

        # --- faults -----------------------------------------------------------------------------

        def kill_bluetoothd(self, sig=signal.SIGKILL):
            pid = bluetoothd_pid()
            os.kill(pid, sig)
            return pid

        def device(self, lock):
            """The gateway's object of a lock."""
            return (f"/org/bluez/{self.adapter(self.gateway_of(lock))}/dev_"
                    + self.addresses[lock].replace(":", "_"))

        def is_connected(self, lock):
            try:
                return self.bus_property(self.device(lock), "org.bluez.Device1", "Connected")
            except subprocess.CalledProcessError:
                return False

        def close(self):
            for p in self.processes:
                if p.name in self.gateways:
                    p.stop()
            ours = [hci for _, hcis in self.airs.values() for hci in hcis]
            for hci in ours:  # the links end before the radios go
                sh("hciconfig", hci, "down", check=False)
            with one_at_a_time():
                super().close()
                wait_for("the adapters are gone", lambda: not set(ours) & set(adapters()))

    return VmWorld
