# SPDX-License-Identifier: Apache-2.0
"""The desk as a service of its own user: not before there is a registry, then within narrow bounds."""

import re

import pytest

from container import wait_for

SERVICE = "lockbridge-desk"
FILES = "/etc/mosquitto/lockbridge"
USER = "lockbridge-desk"


def desk(container, *words):
    return container.run("lockbridge-desk", *words, user=USER)


@pytest.fixture(scope="module")
def office(box):
    """The registry made as README.Debian says; its broker listens nowhere yet."""
    assert box.run("systemctl", "is-enabled", SERVICE).out == "disabled\n"
    assert box.show(SERVICE, "ActiveState")["ActiveState"] == "inactive"
    desk(box, "init", "--broker", "localhost:1883").ok()
    return box


def test_its_registry_is_its_own(office):
    files = office.files()
    assert files["/var/lib/lockbridge-desk"] == ("drwx------", USER, USER)
    assert files["/var/lib/lockbridge-desk/desk.db"] == ("-rw-------", USER, USER)
    keys = {path: facts for path, facts in files.items() if path.startswith("/var/lib/lockbridge-desk/keys/")}
    assert keys and all(facts == ("-rw-------", USER, USER) for path, facts in keys.items() if not path.endswith(".pub"))


def test_it_serves_within_its_bounds(office):
    """Ready without a broker, too: to wait for one is its work."""
    office.run("systemctl", "enable", "--now", SERVICE).ok()
    pid = office.wait_active(SERVICE)
    status = dict(line.split(":\t", 1) for line in office.read(f"/proc/{pid}/status").splitlines() if ":\t" in line)
    assert status["Uid"].split() == [office.run("id", "-u", USER).out.strip()] * 4
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    told = office.run("systemd-analyze", "security", "--no-pager", SERVICE + ".service").out
    figure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told)
    assert figure and float(figure[1]) <= 1.3, told[-300:]
    assert "no broker" in office.status(SERVICE)
    assert "denied" not in office.journal(SERVICE).lower()


def test_killed_it_comes_back(office):
    pid = office.wait_active(SERVICE)
    office.run("kill", "-KILL", str(pid)).ok()
    assert office.wait_active(SERVICE, other_than=pid, timeout=30) != pid


def test_commands_work_beside_it(office):
    desk(office, "gateway", "add", "gw-17").ok()
    assert "gw-17" in desk(office, "gateway", "list").ok().out


def test_it_keeps_a_brokers_files(office):
    """As README.Debian says: the folder is the only one under /etc that it may write to."""
    office.sh(f"install -d -o {USER} -g mosquitto -m 2750 {FILES}").ok()
    desk(office, "broker", "files", "--out", FILES, "--host", "localhost").ok()
    assert office.files()[f"{FILES}/server.key"] == ("-rw-r-----", USER, "mosquitto")
    office.run("systemctl", "restart", SERVICE).ok()
    pid = office.wait_active(SERVICE)
    inside = ["nsenter", "-t", str(pid), "-m", "--", "setpriv", "--reuid", USER, "--regid", USER, "--init-groups", "--"]
    assert office.run(*inside, "touch", f"{FILES}/probe").status == 0
    assert office.run(*inside, "touch", "/etc/mosquitto/probe").status != 0
    assert office.run(*inside, "touch", "/var/lib/lockbridge-desk/probe").status == 0


def test_purged_the_registry_stays(office):
    """With the root key go all locks of a city: that is not a package's to do."""
    done = office.dpkg("--purge", "lockbridge-desk").ok()
    assert "stay in /var/lib/lockbridge-desk" in done.out + done.err
    assert office.files()["/var/lib/lockbridge-desk/desk.db"] == ("-rw-------", USER, USER)
    wait_for("it has ended", lambda: office.run("systemctl", "is-active", SERVICE).out.strip() == "inactive")
