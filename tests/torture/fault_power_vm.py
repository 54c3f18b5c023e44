# SPDX-License-Identifier: Apache-2.0
"""A whole box loses its power under traffic: qemu killed at random moments, its state on its own disk.

Kernel, journal of the file system, systemd, bluetoothd and the installed package are the real ones; see
tests/vm. The city is outside and sees what the box says. Cuts come while doors are opened and lists change, and
while the machine starts after the one before.
"""

import os
import shutil
import sys
import time

from torture import Skipped

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.join(HERE, "..", "vm"))

CUTS = 100
TRAFFIC_S = 4.0
MOMENTS = ("any", "any", "any", "starting", "starting", "authorize", "accepted", "moved", "outcome", "list")


def lacks():
    """Why there can be no machine here; None: there can."""
    if os.geteuid() != 0:
        return "the machine's disks take root: run as root"
    if shutil.which("qemu-system-x86_64") is None:
        return "qemu-system-x86_64 is not installed"
    import guest
    import residence
    for path in (os.path.join(guest.KIT, "vmlinux"), residence.PACKAGES):
        if not os.path.exists(path):
            return f"{os.path.relpath(path)} is missing: run make vm once, which makes it"
    return None


class Box:
    """A residence, what was asked of it, and its power."""

    def __init__(self, ordeal, guest, residence):
        self.ordeal, self.random, self.kit = ordeal, ordeal.random, residence
        self.guest, self.suspended = guest, False
        self.home = residence.Residence(guest)
        self.longest, self.to_online = 0.0, 10.0

    def set_up(self):
        self.guest.boot(600)
        self.home.set_up()
        self.home.refuses(self.kit.BO)

    def mark(self):
        return len(self.home.city.recorder.all())

    def heard(self, mark, end, word=b""):
        return any(m[1].endswith(end) and word in m[2] for m in self.home.city.recorder.all()[mark:])

    def toggle(self):
        """A new list on its way: Cleo out, or in again."""
        self.suspended = not self.suspended
        self.home.city.act("suspend" if self.suspended else "restore", self.kit.CLEO, "--no-wait").ok()

    def wait_moment(self, moment):
        """Then some milliseconds more: what follows is cut as well."""
        mark, moved = self.mark(), sum(self.home.movements().values())
        listing = moment == "list" or self.random.random() < 0.3
        delay = self.random.uniform(0, TRAFFIC_S * self.guest.patience)
        if listing:
            self.toggle()
        conditions = {
            "authorize": lambda: self.heard(mark, "/authorize"),
            "accepted": lambda: self.heard(mark, "/event", b"authorization.accepted"),
            "moved": lambda: sum(self.home.movements().values()) > moved,
            "outcome": lambda: self.heard(mark, "/event", b"authorization.outcome"),
            "list": lambda: self.heard(mark, "/list/phones"),
        }
        if moment in conditions:
            self.kit.wait_for(f"the moment: {moment}", conditions[moment],
                              90 * self.guest.patience, 0.002)
            delay = self.random.choice((0, self.random.uniform(0, 0.03), self.random.uniform(0, 0.4)))
        time.sleep(delay)

    def cut(self, moment):
        """And a start, while whoever asked last still waits for his answer. How many cuts that was."""
        with self.kit.Traffic(self.home.city) as traffic:
            traffic.wait_done(timeout=90 * self.guest.patience)
            self.wait_moment("any" if moment == "starting" else moment)
            self.guest.power_cut()
            traffic.over.set()
            more = self.random.randint(1, 3) if moment == "starting" else 0
            for _ in range(more):
                self.guest.power_on()
                time.sleep(self.to_online * self.random.uniform(0.3, 1.2))
                self.guest.power_cut()
            self.start()
        return 1 + more

    def start(self):
        """Until a door opens again; the recorder has had the will before."""
        presence = f"lockbridge/gw/{self.kit.GATEWAY}/presence"
        self.kit.wait_for("the will is told", lambda: self.home.city.recorder.last(presence) == b"offline", 240)
        began, mark = time.monotonic(), self.mark()
        self.guest.power_on()
        self.kit.wait_for(lambda: f"the box is online\n{self.guest.console()[-2000:]}",
                          lambda: self.home.city.recorder.last(presence) == b"online",
                          120 * self.guest.patience)
        self.to_online = time.monotonic() - began
        try:
            self.kit.wait_for("the radio is up", lambda: self.heard(mark, "/state", b'"up":true'), 20)
        except self.kit.Failure:  # a virtual radio may miss its first command: see Guest.radios
            self.guest.connect(120 * self.guest.patience)
            self.guest.radios()
        self.home.settle()
        self.home.opens()
        self.longest = max(self.longest, time.monotonic() - began)

    def verify(self):
        """The residence's promises; who is out stays out; the file system needed no repair."""
        moved = self.home.verify()
        self.home.refuses(self.kit.BO)
        if self.suspended:
            said = self.home.city.unlock(self.kit.CLEO, "--anyway")
            assert said["outcome"] != "done", said
        troubled = [line for line in self.guest.console().splitlines() if "EXT4-fs error" in line or "fsck" in line]
        assert not troubled, troubled
        return moved


def run(ordeal):
    if ordeal.quick:
        raise Skipped("each cut takes half a minute: only in a full run")
    why = lacks()
    if why:
        raise Skipped(why)
    import guest
    import residence
    row = ordeal.row("qemu killed under traffic, the state on its disk")
    with guest.Guest(folder=os.path.join(ordeal.dir, "vm")) as machine:
        box = Box(ordeal, machine, residence)
        try:
            box.set_up()
            moved = cuts(ordeal, row, box)
            machine.shut_down()
            row.note(f"{moved[0]} openings and {moved[1]} events survived; a door opened within {box.longest:.0f} s of "
                     "each start")
        finally:
            box.home.close()


def cuts(ordeal, row, box):
    """CUTS of them; after a broken promise the machine is started on what there is, and the next is tried."""
    moved, broken = (0, 0), 0
    while row.tries < CUTS and not (row.tries and ordeal.over()):
        moment = ordeal.random.choice(MOMENTS)
        began = time.monotonic()
        try:
            row.tried(box.cut(moment))
            moved = box.verify()
        except AssertionError as e:
            row.violation(f"after {row.tries} cuts ({moment}): {e}")
            broken += 1
            if broken == 3:
                break
            if not box.guest.running():
                box.guest.boot()
        ordeal.log(f"cut {row.tries} ({moment}): {time.monotonic() - began:.0f} s, {moved} openings and events")
    return moved
