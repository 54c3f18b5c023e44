# SPDX-License-Identifier: Apache-2.0
"""Who may what on the box's system bus: the agent with systemd (polkit), people with the agent."""

import pytest

SYSTEMD = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
AGENT = ("org.lockbridge.Gateway1", "/org/lockbridge/gateway", "org.lockbridge.Gateway1")


@pytest.fixture(scope="module")
def people(enrolled):
    """anna is anybody, otto is in the group that may look."""
    enrolled.run("useradd", "anna").ok()
    enrolled.run("useradd", "--groups", "lockbridge", "otto").ok()
    # a stand-in: there is no Bluetooth here, and what is asked is only who may restart it
    enrolled.write("/run/systemd/system/bluetooth.service.d/standin.conf",
                   "[Unit]\nConditionPathIsDirectory=\n[Service]\nType=simple\nBusName=\nRestartSec=50ms\nExecStart=\n"
                   "ExecStart=/bin/sleep infinity\n")
    enrolled.write("/run/systemd/system/other.service", "[Service]\nExecStart=/bin/sleep infinity\n")
    enrolled.run("systemctl", "daemon-reload").ok()
    enrolled.run("systemctl", "start", "bluetooth", "other").ok()
    return enrolled


def manage(container, user, method, *arguments):
    return container.run("busctl", "call", *SYSTEMD, method, *arguments, user=user)


def test_the_agent_may_restart_bluetooth(people):
    pid = people.main_pid("bluetooth")
    manage(people, "lockbridge", "RestartUnit", "ss", "bluetooth.service", "replace").ok()
    people.wait_active("bluetooth", other_than=pid)


@pytest.mark.parametrize("call", [
    ("StopUnit", "ss", "bluetooth.service", "replace"),
    ("StartUnit", "ss", "bluetooth.service", "replace"),
    ("TryRestartUnit", "ss", "bluetooth.service", "replace"),
    ("ReloadUnit", "ss", "bluetooth.service", "replace"),
    ("ReloadOrRestartUnit", "ss", "bluetooth.service", "replace"),
    ("KillUnit", "ssi", "bluetooth.service", "all", "9"),
    ("RestartUnit", "ss", "other.service", "replace"),
    ("RestartUnit", "ss", "lockbridge.service", "replace"),
    ("RestartUnit", "ss", "multi-user.target", "replace"),
    ("MaskUnitFiles", "asbb", "1", "bluetooth.service", "true", "true"),
    ("Reload",), ("Reboot",), ("PowerOff",),
], ids=lambda call: " ".join(call[:1] + call[2:3]))
def test_the_agent_may_do_nothing_else(people, call):
    pids = people.main_pid("bluetooth"), people.main_pid("other"), people.main_pid()
    refused = manage(people, "lockbridge", *call)
    assert refused.status != 0
    assert "authentication required" in refused.err or "denied" in refused.err
    assert (people.main_pid("bluetooth"), people.main_pid("other"), people.main_pid()) == pids


def test_nobody_else_may_restart_bluetooth(people):
    pid = people.main_pid("bluetooth")
    for user in ("anna", "otto", "nobody"):
        group = "nogroup" if user == "nobody" else user
        refused = people.run("setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--", "busctl", "call",
                             *SYSTEMD, "RestartUnit", "ss", "bluetooth.service", "replace")
        assert refused.status != 0, user
    assert people.main_pid("bluetooth") == pid


def test_bluetooth_comes_back_when_it_dies(people):
    """The drop-in: Debian's unit would leave it down."""
    for _ in range(6):
        pid = people.main_pid("bluetooth")
        people.run("kill", "-KILL", str(pid)).ok()
        people.wait_active("bluetooth", other_than=pid)


# --- the agent's own interface ----------------------------------------------------------------------

def ask(container, user, method, *arguments):
    return container.run("busctl", "call", *AGENT, method, *arguments, user=user)


@pytest.mark.parametrize("method", ["Status", "Locks", "Documents", "Diagnose"])
def test_the_group_may_look_and_others_may_not(people, method):
    assert ask(people, "otto", method).ok().out
    assert ask(people, None, method).ok().out
    refused = ask(people, "anna", method)
    assert refused.status != 0 and "denied" in refused.err


@pytest.mark.parametrize("call", [("Reload",), ("Document", "s", "AA"), ("Scan", "u", "1")], ids=lambda call: call[0])
def test_only_root_may_change(people, call):
    assert "denied" not in ask(people, None, *call).err.lower()
    for user in ("anna", "otto"):
        refused = ask(people, user, *call)
        assert refused.status != 0 and "denied" in refused.err.lower(), user


def test_only_the_agent_may_have_its_name(people):
    people.run("systemctl", "stop", "lockbridge").ok()
    try:
        for user in ("anna", "otto", "nobody"):
            group = "nogroup" if user == "nobody" else user
            taken = people.run("setpriv", "--reuid", user, "--regid", group, "--init-groups", "--", "busctl", "call",
                               "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                               "RequestName", "su", "org.lockbridge.Gateway1", "0")
            assert taken.status != 0 and "denied" in taken.err, user
        people.run("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                   "RequestName", "su", "org.lockbridge.Gateway1", "0", user="lockbridge").ok()
    finally:
        people.run("systemctl", "start", "lockbridge").ok()


def test_a_person_without_the_right_is_told_what_to_do(people):
    for words in (["status"], ["diagnose"], ["reload"]):
        refused = people.run("lockbridgectl", *words, user="anna")
        assert refused.status != 0 and "sudo" in refused.out + refused.err, words
        assert "does not run" not in refused.out + refused.err, words
