# SPDX-License-Identifier: Apache-2.0
"""An enrolled box whose package is upgraded with the service running, put back, removed, purged."""

import os
import subprocess

import pytest
from city import wait_connected
from container import package, wait_for

KEPT = ["/etc/lockbridge/lockbridge.conf", "/etc/lockbridge/gateway.key", "/etc/lockbridge/root.pub.pem",
        "/etc/lockbridge/broker-ca.pem", "/var/lib/lockbridge/gateway.pem"]


@pytest.fixture(scope="module")
def higher(enrolled, tmp_path_factory):
    """The same package under a higher version, in the container."""
    folder = str(tmp_path_factory.mktemp("higher"))
    tree = os.path.join(folder, "tree")
    subprocess.run(["dpkg-deb", "-R", package("lockbridge"), tree], check=True)
    control = os.path.join(tree, "DEBIAN", "control")
    with open(control, encoding="utf-8") as f:
        lines = ["Version: 99.0\n" if line.startswith("Version:") else line for line in f]
    with open(control, "w", encoding="utf-8") as f:
        f.writelines(lines)
    built = os.path.join(folder, "higher.deb")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, built], check=True, capture_output=True)
    enrolled.push(built, "/root/higher.deb")
    return "/root/higher.deb"


def facts(container):
    """What must be the same afterwards."""
    state = container.run("lockbridgectl", "--json", "status").json["state"]
    return {"stream": state["stream"], "certificate": state["certificate"]["serial"],
            "documents": sorted(d["digest"] for d in state["documents"]),
            "files": [container.sh(f"stat -c '%a %U:%G' {path}; sha256sum {path}").ok().out for path in KEPT]}


def version(container):
    return container.run("dpkg-query", "-W", "-f", "${Version}", "lockbridge").ok().out


def have_documents(container):
    wait_for("it has the city's documents",
             lambda: len(container.run("lockbridgectl", "--json", "documents").json) >= 3)


def numbers(container):
    told = container.run("lockbridgectl", "--json", "--limit", "1000", "events").out
    return told.count('"seq"')


def test_upgraded_while_it_runs_it_is_restarted_and_has_lost_nothing(enrolled, higher):
    have_documents(enrolled)
    before, pid, events = facts(enrolled), enrolled.main_pid(), numbers(enrolled)
    enrolled.dpkg("--install", higher).ok()
    assert version(enrolled) == "99.0"
    assert enrolled.wait_active() != pid
    wait_connected(enrolled)
    assert facts(enrolled) == before and numbers(enrolled) >= events
    assert enrolled.run("systemctl", "is-enabled", "lockbridge").out == "enabled\n"


def test_a_higher_version_can_be_put_back(enrolled):
    before, pid = facts(enrolled), enrolled.main_pid()
    enrolled.install("lockbridge")
    assert version(enrolled) != "99.0"
    assert enrolled.wait_active() != pid
    wait_connected(enrolled)
    assert facts(enrolled) == before


def test_what_a_person_switched_off_stays_off(enrolled, higher):
    enrolled.run("systemctl", "disable", "--now", "lockbridge").ok()
    enrolled.dpkg("--install", higher).ok()
    assert enrolled.run("systemctl", "is-enabled", "lockbridge").out == "disabled\n"
    assert enrolled.show("lockbridge", "ActiveState")["ActiveState"] == "inactive"
    enrolled.run("systemctl", "enable", "--now", "lockbridge").ok()
    wait_connected(enrolled)


def test_removed_and_installed_again_it_needs_no_enrolment(enrolled):
    before = facts(enrolled)
    enrolled.dpkg("--remove", "lockbridge").ok()
    assert enrolled.run("pidof", "lockbridged").status == 1
    for path in KEPT + ["/var/lib/lockbridge/store.db"]:
        assert enrolled.sh(f"test -e {path}").status == 0, path
    enrolled.install("lockbridge")
    enrolled.wait_active()
    wait_connected(enrolled)
    assert facts(enrolled) == before


def test_purged_no_key_and_no_store_is_left(enrolled):
    enrolled.dpkg("--purge", "lockbridge").ok()
    left = enrolled.sh("find / -xdev \\( -path '*lockbridge*' -o -name 'gateway.*' \\) "
                       "-not -path '*lockbridge-desk*' -not -path '/root/*' -not -path '/tmp/*' "
                       "-not -path '/etc/mosquitto/*' -not -path '/etc/systemd/system/mosquitto*' "
                       "-not -path '/usr/share/doc/*' -not -path '/var/log/*'").out
    assert left == ""
    assert enrolled.run("getent", "passwd", "lockbridge").status != 0


def test_installed_after_that_it_is_another_gateway(enrolled, city):
    """A new key and store: enrolled anew, and the desk says that it replaces what it knew."""
    enrolled.install("lockbridge")
    enrolled.wait_active()
    assert "not enrolled" in enrolled.status()
    request = city.request("gw-17")
    refused = city.desk("gateway", "add", "gw-17", "--request", request, "--out", "/root/again.json")
    assert refused.status != 0 and "--replace" in refused.err
    city.desk("gateway", "add", "gw-17", "--request", request, "--replace", "--out", "/root/again.json").ok()
    enrolled.run("systemctl", "reload", "mosquitto").ok()
    enrolled.run("lockbridgectl", "enrol", "/root/again.json").ok()
    wait_connected(enrolled)
