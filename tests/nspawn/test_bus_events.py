# SPDX-License-Identifier: Apache-2.0
"""Events on the box's system bus reach root and the group that may look, and nobody else."""

import subprocess

import pytest

from container import Failure, wait_for

# Says what it hears; "listening" once it is sure to hear, by an answer that came after the match was set.
LISTENER = """
import sys
import dbus, dbus.mainloop.glib
from gi.repository import GLib
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
bus = dbus.SystemBus()
bus.add_signal_receiver(lambda json: print("event", json, flush=True), "Event", "org.lockbridge.Gateway1")
bus.add_signal_receiver(lambda *names: print("owner", *names, flush=True), "NameOwnerChanged",
                        "org.freedesktop.DBus", arg0="org.lockbridge.Gateway1")
bus.get_object("org.freedesktop.DBus", "/org/freedesktop/DBus").GetId(dbus_interface="org.freedesktop.DBus")
print("listening", flush=True)
GLib.MainLoop().run()
"""


class Listener:
    def __init__(self, container, user):
        self.container, self.log = container, f"/tmp/heard-by-{user}"
        as_user = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--"] if user != "root" else []
        self.process = container.start("sh", "-c", f"exec \"$@\" >{self.log} 2>&1", "sh", *as_user, "python3", "-u", "-c",
                                       LISTENER, stdin=subprocess.DEVNULL)
        wait_for(f"{user} listens", lambda: "listening" in self.heard())

    def heard(self):
        return self.container.run("cat", self.log).out

    def stop(self):
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def listeners(enrolled):
    enrolled.run("useradd", "berta").ok()
    enrolled.run("useradd", "--groups", "lockbridge", "olaf").ok()
    made = {}
    try:
        for user in ("root", "olaf", "berta"):
            made[user] = Listener(enrolled, user)
        yield made
    finally:
        for one in made.values():
            one.stop()


def test_events_are_for_root_and_the_group(enrolled, listeners):
    enrolled.run("systemctl", "restart", "lockbridge").ok()
    for user in ("root", "olaf"):
        wait_for(f"{user} hears that the gateway started", lambda: "gateway.started" in listeners[user].heard(), 30)
    # what berta hears comes in order: once she knows of a later restart, the event before it has passed her by
    enrolled.run("systemctl", "restart", "lockbridge").ok()
    wait_for("everybody hears of the name", lambda: listeners["berta"].heard().count("owner") >= 4)
    if "event" in listeners["berta"].heard():
        raise Failure(listeners["berta"].heard())
