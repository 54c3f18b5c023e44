# SPDX-License-Identifier: Apache-2.0
"""The unit of an enrolled box: what it may, what brings it back, and what it says of itself."""

import json
import re

import pytest
from city import wait_connected
from container import wait_for

DROP_IN = "/run/systemd/system/lockbridge.service.d/test.conf"


@pytest.fixture
def drop_in(enrolled):
    """Settings laid over the unit for one test."""
    def put(text):
        enrolled.write(DROP_IN, text)
        enrolled.run("systemctl", "daemon-reload").ok()
        enrolled.run("systemctl", "restart", "lockbridge").ok()
        wait_connected(enrolled)
        return enrolled.main_pid()
    yield put
    enrolled.run("rm", "-f", DROP_IN)
    enrolled.run("systemctl", "daemon-reload").ok()
    enrolled.run("systemctl", "restart", "lockbridge").ok()
    wait_connected(enrolled)


def comes_back(container, pid):
    container.wait_active(other_than=pid)
    wait_connected(container)


# --- what it may ------------------------------------------------------------------------------------

def test_exposure_is_at_most_1_2(enrolled):
    told = enrolled.run("systemd-analyze", "security", "--no-pager", "lockbridge.service").out
    figure = re.search(r"Overall exposure level for lockbridge.service: ([0-9.]+)", told)
    assert figure and float(figure[1]) <= 1.2, told[-300:]


def test_it_runs_as_its_own_user_with_nothing_more(enrolled):
    pid = enrolled.main_pid()
    status = dict(line.split(":\t", 1) for line in enrolled.read(f"/proc/{pid}/status").splitlines() if ":\t" in line)
    user = enrolled.run("id", "-u", "lockbridge").out.strip()
    assert status["Uid"].split() == [user] * 4
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    limits = enrolled.read(f"/proc/{pid}/limits")
    assert re.search(r"Max core file size +0 ", limits)
    show = enrolled.show("lockbridge", "MemoryMax", "MemoryHigh", "TasksMax", "OOMScoreAdjust", "DynamicUser")
    assert int(show["MemoryHigh"]) < int(show["MemoryMax"]) <= 256 << 20
    assert int(show["TasksMax"]) <= 64 and int(show["OOMScoreAdjust"]) < 0 and show["DynamicUser"] == "no"


PROBE = """
fail() { echo "$1" >>/var/lib/lockbridge/probe; }
: >/var/lib/lockbridge/probe
[ "$(head -n 1 "$CREDENTIALS_DIRECTORY/gateway.key")" = "-----BEGIN PRIVATE KEY-----" ] || fail 'no key'
cat /etc/lockbridge/gateway.key 2>/dev/null && fail 'the key is readable where it is kept'
cat /etc/lockbridge/root.pub.pem >/dev/null || fail 'configuration'
(echo x >"$CREDENTIALS_DIRECTORY/gateway.key") 2>/dev/null && fail 'the key is writable'
(echo x >/etc/lockbridge/x) 2>/dev/null && fail 'configuration is writable'
(echo x >/usr/x) 2>/dev/null && fail '/usr is writable'
(echo x >/dev/shm/x) 2>/dev/null; [ -e /dev/kmsg ] && fail '/dev/kmsg'
ls /root /home 2>/dev/null | grep -q . && fail 'homes'
[ -d /proc/1 ] && fail 'other processes'
[ -e /proc/kcore ] && fail '/proc/kcore'
grep -q . /proc/self/statm || fail 'its own memory'
ls /sys/class/thermal >/dev/null || fail 'thermal zones'
df /var/lib/lockbridge >/dev/null || fail 'free space'
getent ahosts localhost >/dev/null || fail 'names'
getent ahosts "$(hostname)" >/dev/null || fail 'names'
grep -q . /proc/sys/kernel/random/boot_id || fail 'which boot this is'
busctl get-property org.freedesktop.timedate1 /org/freedesktop/timedate1 org.freedesktop.timedate1 \
	NTPSynchronized >/dev/null || fail 'timedate1'
unshare --user true 2>/dev/null && fail 'namespaces'
python3 -c 'import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)' 2>/dev/null && fail 'netlink'
python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)' 2>/dev/null && fail 'packets'
python3 -c 'import mmap; mmap.mmap(-1, 4096, prot=7)' 2>/dev/null && fail 'writable code'
python3 -c 'import socket; socket.create_connection(("localhost", 8883), 5)' || fail 'the broker'
:
"""


def test_its_surroundings_give_what_it_needs_and_nothing_else(enrolled):
    """A shell with the settings of the unit, in place of the agent."""
    unit = enrolled.read("/usr/lib/systemd/system/lockbridge.service")
    unit = re.sub(r"(?m)^(Restart|Exec|Watchdog|StateDirectory).*\n", "", unit)
    unit = unit.replace("Type=notify", "Type=oneshot\nReadWritePaths=/var/lib/lockbridge\n"
                        "ExecStart=/bin/sh /usr/local/probe")
    enrolled.write("/usr/local/probe", PROBE)
    enrolled.write("/run/systemd/system/probe.service", unit)
    enrolled.run("systemctl", "daemon-reload").ok()
    started = enrolled.run("systemctl", "start", "probe")
    assert started.status == 0, enrolled.journal("probe")
    assert enrolled.read("/var/lib/lockbridge/probe") == ""


def test_it_makes_no_forbidden_system_call(enrolled, city, drop_in):
    """Where each would be deadly it lives: started, connected, asked, its clock and documents read."""
    pid = drop_in("[Service]\nSystemCallErrorNumber=kill\n")
    city.desk("publish").ok()
    for words in (["status"], ["locks"], ["documents"], ["events"], ["reload"]):
        enrolled.run("lockbridgectl", *words)
    enrolled.run("lockbridgectl", "lock", "scan")
    wait_for("it has the city's documents",
             lambda: len(enrolled.run("lockbridgectl", "--json", "documents").json) >= 3)
    enrolled.run("systemctl", "restart", "mosquitto").ok()
    wait_for("it notices", lambda: "broker connected" not in enrolled.status())
    wait_connected(enrolled)
    assert enrolled.main_pid() == pid
    enrolled.run("systemctl", "stop", "lockbridge").ok()
    assert enrolled.show("lockbridge", "Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}


# --- what brings it back ----------------------------------------------------------------------------

def test_frozen_it_is_killed_by_the_watchdog_and_started_anew(enrolled, drop_in):
    pid = drop_in("[Service]\nWatchdogSec=1s\nRestartSec=100ms\n")
    enrolled.run("kill", "-STOP", str(pid)).ok()
    comes_back(enrolled, pid)
    assert "Watchdog timeout" in enrolled.journal()
    assert enrolled.restarts() == 1


def test_the_loop_feeds_the_watchdog(enrolled, drop_in):
    """Half of the time is its own: with 1 s it lives through many."""
    pid = drop_in("[Service]\nWatchdogSec=1s\n")
    first = enrolled.show("lockbridge", "WatchdogTimestampMonotonic")["WatchdogTimestampMonotonic"]
    seen = {first}

    def fed():
        seen.add(enrolled.show("lockbridge", "WatchdogTimestampMonotonic")["WatchdogTimestampMonotonic"])
        return len(seen) > 4
    wait_for("it is fed", fed)
    assert enrolled.main_pid() == pid


def test_killed_it_comes_back_as_often_as_it_takes(enrolled, drop_in):
    """Beyond the five in ten seconds, after which systemd by itself would give up."""
    pid = drop_in("[Service]\nRestartSec=0\n")
    for times in range(1, 8):
        enrolled.run("kill", "-KILL", str(pid)).ok()
        pid = enrolled.wait_active(other_than=pid)
        assert enrolled.restarts() == times
    wait_connected(enrolled)


def test_after_a_reboot_it_is_there_by_itself(enrolled):
    before = enrolled.run("lockbridgectl", "--json", "status").json["state"]
    enrolled.run("systemctl", "enable", "mosquitto").ok()
    enrolled.shut_down()
    enrolled.boot()
    enrolled.wait_active()
    wait_connected(enrolled)
    after = enrolled.run("lockbridgectl", "--json", "status").json["state"]
    assert after["stream"] == before["stream"]
    assert re.fullmatch("[0-9a-f]{32}", after["boot"])  # the kernel's: the same for all containers
    assert after["certificate"]["serial"] == before["certificate"]["serial"]


def test_it_waits_for_neither_network_nor_time_nor_radio(enrolled):
    """What stands at the door works without them: nothing that may take long is before it."""
    show = enrolled.show("lockbridge", "After", "Requires", "Requisite", "BindsTo", "Wants")
    assert not re.search(r"network-online|time-sync|time-set|remote-fs", " ".join(show.values()))
    assert "bluetooth" not in show["Requires"] + show["Requisite"] + show["BindsTo"]
    assert enrolled.show("bluetooth", "ActiveState")["ActiveState"] == "inactive"
    assert "radio" in enrolled.status()
    told = enrolled.run("lockbridgectl", "diagnose")
    assert told.status == 1 and "adapter-missing" in told.out


# --- asked and told ---------------------------------------------------------------------------------

def test_a_configuration_that_is_wrong_changes_nothing(enrolled):
    """SIGHUP with a broken file: the old one stays, and the journal says what is wrong."""
    pid, good = enrolled.main_pid(), enrolled.read("/etc/lockbridge/lockbridge.conf")
    enrolled.write("/etc/lockbridge/lockbridge.conf", good + "\nbrokerz = ();\n")
    enrolled.run("systemctl", "reload", "lockbridge").ok()
    wait_for("it is refused", lambda: "configuration refused" in enrolled.journal())
    assert enrolled.main_pid() == pid
    enrolled.write("/etc/lockbridge/lockbridge.conf", good)
    enrolled.run("systemctl", "reload", "lockbridge").ok()
    wait_for("it is taken", lambda: "configuration reloaded" in enrolled.journal())
    assert enrolled.main_pid() == pid


def test_its_figures(enrolled, capsys):
    """What a box needs that has nothing to do; printed, and bounded far above."""
    health = enrolled.run("lockbridgectl", "--json", "status").json["health"]
    status = enrolled.read(f"/proc/{enrolled.main_pid()}/status")
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    with capsys.disabled():
        print(f"\nboot {enrolled.boot_s:.1f} s; agent {health['memory_kb']} kB now, {peak} kB at most, "
              f"{re.search(r'Threads:.(.*)', status)[1]} thread")
    assert peak < 48 * 1024
    assert json.dumps(health)
