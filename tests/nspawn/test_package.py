# SPDX-License-Identifier: Apache-2.0
"""dpkg: installed, removed, purged, installed again. Nothing is enrolled here."""

import re

from container import wait_for

# What dpkg and the system write for themselves, whatever is installed.
THEIRS = re.compile(r"/(var/(log|cache|tmp)|tmp|run|proc|sys|dev)(/|$)|/var/lib/(dpkg|systemd|polkit-1)(/|$)"
                    r"|/etc/(passwd|group|shadow|gshadow)-$|/etc/\.pwd\.lock$|/root/|/etc/machine-id$")


def ours(files):
    return {path: facts for path, facts in files.items() if not THEIRS.match(path)}


def test_installed_the_service_is_up_and_waits_for_its_enrolment(bare):
    """Not in a loop of restarts: up, and it says what to do."""
    bare.before = ours(bare.files())
    bare.users = bare.read("/etc/passwd"), bare.read("/etc/group")
    bare.install("lockbridge", "lockbridge-desk")
    pid = bare.wait_active()
    assert bare.run("systemctl", "is-enabled", "lockbridge").out == "enabled\n"
    assert "not enrolled" in bare.status()
    assert "lockbridgectl request" in bare.status()
    assert bare.status() in bare.run("systemctl", "status", "lockbridge").out
    told = bare.run("lockbridgectl", "diagnose")
    assert "not enrolled" in told.out + told.err and "lockbridgectl request" in told.out + told.err
    assert bare.restarts() == 0 and bare.main_pid() == pid


def test_files_belong_to_root_and_state_to_the_agent(bare):
    now = bare.files()
    listed = bare.run("dpkg", "--listfiles", "lockbridge", "lockbridge-desk").ok().out.split("\n")
    added = {path for path in ours(now) if path not in bare.before}
    for path in filter(None, listed):
        path = re.sub(r"^/lib/", "/usr/lib/", path)
        if path in added:
            mode, user, group = now[path]
            assert (user, group) == ("root", "root"), path
            assert mode in ("drwxr-xr-x", "-rwxr-xr-x", "-rw-r--r--") or mode.startswith("l"), path
    assert now["/etc/lockbridge"] == ("drwxr-xr-x", "root", "root")
    assert now["/var/lib/lockbridge"] == ("drwx------", "lockbridge", "lockbridge")
    assert "/etc/lockbridge/lockbridge.conf" not in now and "/etc/lockbridge/gateway.key" not in now
    for path in sorted(added):
        mode, user, group = now[path]
        assert not re.match(r"-..[sS]|-.....[sS]|-.......w|d.......w", mode), (path, mode)


def test_the_users_cannot_log_in(bare):
    for name in ("lockbridge", "lockbridge-desk"):
        entry = bare.run("getent", "passwd", name).ok().out.strip().split(":")
        assert 0 < int(entry[2]) < 1000
        assert entry[6] in ("/usr/sbin/nologin", "/sbin/nologin")
        assert bare.run("getent", "shadow", name).out.split(":")[1].startswith(("!", "*"))


def test_removed_it_stops_and_keeps_what_is_the_operators(bare):
    bare.write("/etc/lockbridge/gateway.key", "kept\n", mode="600")
    pid = bare.main_pid()
    bare.dpkg("--remove", "lockbridge", "lockbridge-desk").ok()
    assert bare.sh(f"test -e /proc/{pid}").status == 1
    assert bare.show("lockbridge", "LoadState")["LoadState"] in ("not-found", "masked")
    assert bare.run("systemctl", "is-active", "lockbridge").out == "inactive\n"
    assert bare.read("/etc/lockbridge/gateway.key") == "kept\n"
    assert "lockbridge" not in bare.show("bluetooth", "DropInPaths")["DropInPaths"]
    assert bare.sh("ls /var/lib/lockbridge").status == 0


def test_installed_again_it_goes_on_with_what_was_kept(bare):
    bare.install("lockbridge", "lockbridge-desk")
    bare.wait_active()
    assert bare.read("/etc/lockbridge/gateway.key") == "kept\n"
    assert "lockbridge" in bare.show("bluetooth", "DropInPaths")["DropInPaths"]


def test_purged_nothing_is_left(bare):
    bare.sh("touch /var/lib/lockbridge/something && mkdir -p /var/lib/lockbridge-desk && "
            "touch /etc/lockbridge/something").ok()
    bare.dpkg("--purge", "lockbridge", "lockbridge-desk").ok()
    after = ours(bare.files())
    # the city's registry and keys are not a package's to destroy: debian/lockbridge-desk.postrm
    left = {path for path in after if path not in bare.before and not path.startswith("/var/lib/lockbridge-desk")}
    assert left == set()
    gone = {path for path in bare.before if path not in after}
    assert {path for path in gone if not path.endswith((".wants", ".requires"))} == set(), "empty folders of links"
    assert {path for path in after if path in bare.before and after[path] != bare.before[path]} == set()
    assert bare.run("getent", "passwd", "lockbridge").status != 0
    assert bare.run("getent", "group", "lockbridge").status != 0
    assert bare.sh("ls /var/lib/systemd/deb-systemd-helper-enabled /var/lib/systemd/deb-systemd-helper-masked "
                   "2>/dev/null | grep lockbridge.service").out == ""
    assert bare.run("systemctl", "--failed", "--quiet", "--plain").out == ""


def test_installed_after_the_purge_it_is_as_new(bare):
    bare.install("lockbridge")
    bare.wait_active()
    wait_for("it waits again", lambda: "not enrolled" in bare.status())
    assert bare.sh("ls -A /etc/lockbridge").out == ""
