# SPDX-License-Identifier: Apache-2.0
"""A box's life: installed, enrolled, updated, killed, without power, without bluetoothd, without the time, purged."""

import json
import time

import pytest
from guest import wait_for
from residence import BO, CLEO, GATEWAY, Residence, Traffic, repackaged


@pytest.fixture(scope="module")
def home(guest):
    h = Residence(guest)
    try:
        yield h.set_up()
    finally:
        h.close()


@pytest.fixture(autouse=True)
def holds(request, figures):
    """After each test: at most once, nothing without an answer, no gap, nobody un-revoked."""
    home = request.getfixturevalue("home") if "home" in request.fixturenames else None
    if home and not home.guest.running():  # a test that failed left it so
        home.guest.boot()
        home.back()
    yield
    if home:
        moved, events = home.verify()
        figures["checked after each of the faults"] = f"{moved} openings, {events} events"


def problems(home):
    return [p["code"] for p in home.city.recorder.state(GATEWAY)["problems"]]


# --- from box to monitored --------------------------------------------------------------------------------


def test_three_commands_and_a_claim_make_a_gateway(home, figures):
    """The fixture gave them; here the box tells how it is, and is its hardened self."""
    state = home.city.recorder.state(GATEWAY)
    assert state["certificate"]["days"] in (89, 90)
    assert problems(home) == []
    assert home.guest.sh("systemctl show -P User lockbridge") == "lockbridge\n"
    assert home.guest.sh("systemctl is-system-running") == "running\n"
    assert home.guest.ssh("lockbridgectl status").status == 0
    assert home.guest.ssh("lockbridgectl diagnose").status == 0
    figures["guest boots in"] = home.guest.boot_times[0]


def test_a_door_opens_with_the_locks_own_signature(home):
    said = home.opens()
    assert (said["bolt"], said["gateway"]) == ("unlocked", GATEWAY)
    assert home.movements()[said["cti"]] == 1


def test_a_revoked_phone_opens_nothing_and_the_lock_proves_it(home):
    said = home.city.act("revoke", BO).ok().json
    assert said["complete"] is True and said["locks"] == {**said["locks"], "confirmed": 1, "total": 1}
    home.refuses(BO)


# --- the service --------------------------------------------------------------------------------------------


def test_the_service_is_killed_while_authorizations_flow(home):
    with Traffic(home.city) as traffic:
        traffic.wait_done()
        for _ in range(3):
            pid = home.guest.sh("systemctl show -P MainPID lockbridge").strip()
            home.guest.sh(f"kill -KILL {pid}")
            home.guest.wait("systemd starts another", f"p=$(systemctl show -P MainPID lockbridge); "
                            f"[ $p != 0 ] && [ $p != {pid} ] && systemctl -q is-active lockbridge")
            traffic.wait_done(2)
    home.settle()


def test_the_package_is_upgraded_while_authorizations_flow(home, tmp_path):
    was = home.guest.sh("dpkg-query -W -f '${Version}' lockbridge")
    newer = home.guest.put(repackaged("lockbridge", was + "+newer1", str(tmp_path)))
    pid = home.guest.sh("systemctl show -P MainPID lockbridge")
    with Traffic(home.city) as traffic:
        traffic.wait_done()
        home.guest.sh(["dpkg", "--install", newer])
        traffic.wait_done(2)
    assert home.guest.sh("dpkg-query -W -f '${Version} ${Status}' lockbridge") == was + "+newer1 install ok installed"
    assert home.guest.sh("systemctl show -P MainPID lockbridge") != pid
    home.settle()
    home.refuses(BO)


# --- the machine -------------------------------------------------------------------------------------------


def test_a_reboot(home, figures):
    """Goodbye on the way out, everything again on the way in."""
    recorder = home.city.recorder
    home.guest.shut_down()
    wait_for("goodbye", lambda: recorder.last(f"lockbridge/gw/{GATEWAY}/presence") == b"offline", 5)
    began = time.monotonic()
    home.guest.boot()
    home.back()
    figures["from power on to a door that opens"] = time.monotonic() - began
    home.refuses(BO)


def authorized(home, mark):
    return any(m[1].endswith("/authorize") for m in home.city.recorder.all()[mark:])


def event(kind):
    def seen(home, mark):
        return any(m[1].endswith("/event") and json.loads(m[2])["type"] == kind for m in home.city.recorder.all()[mark:])
    return seen


def list_signed(home, mark):
    return any("/city/list/" in m[1] for m in home.city.recorder.all()[mark:])


CUTS = {"as it is sent": authorized, "when it is accepted": event("authorization.accepted"),
        "as the bolt moves": None, "when its outcome is told": event("authorization.outcome"),
        "as a list is coming": list_signed}


@pytest.mark.parametrize("when", CUTS)
def test_the_power_is_cut(home, when, figures):
    """What reached the disk is there, what did not was not promised."""
    with Traffic(home.city) as traffic:
        traffic.wait_done()
        mark, moved = len(home.city.recorder.all()), sum(home.movements().values())
        revoking = Suspension(home) if when == "as a list is coming" else None
        condition = CUTS[when] or (lambda home, mark: sum(home.movements().values()) > moved)
        wait_for(f"the moment: {when}", lambda: condition(home, mark), 60, 0.002)
        home.guest.power_cut()
        traffic.over.set()
    held = {d["name"]: d["iat"] for d in home.city.recorder.state(GATEWAY)["documents"]}
    wait_for("the will is told", lambda: home.city.recorder.last(
        f"lockbridge/gw/{GATEWAY}/presence") == b"offline", 240)
    began = time.monotonic()
    home.guest.boot()
    home.back()
    figures[f"power cut {when}: from power on to a door that opens"] = time.monotonic() - began
    now = {d["name"]: d["iat"] for d in home.city.recorder.state(GATEWAY)["documents"]}
    assert all(now[name] >= iat for name, iat in held.items()), (held, now)
    home.refuses(BO)
    if revoking:
        revoking.undo()


class Suspension:
    """A new list on its way, while other things happen."""

    def __init__(self, home):
        self.home = home
        home.city.act("suspend", CLEO, "--no-wait").ok()

    def undo(self):
        self.home.city.act("restore", CLEO).ok()


def test_bluetoothd_is_not_there_at_boot(home):
    """The agent is up and says what is missing; with bluetoothd the door opens."""
    home.guest.sh("systemctl mask bluetooth")
    recorder, mark = home.city.recorder, len(home.city.recorder.all())
    home.guest.reboot()

    def says_so():
        state = [m[2] for m in recorder.all()[mark:] if m[1] == f"lockbridge/gw/{GATEWAY}/state"]
        return state and "adapter-missing" in [p["code"] for p in json.loads(state[-1])["problems"]]
    try:
        wait_for("it says so", says_so, 60)
        assert home.guest.ssh("lockbridgectl diagnose").status == 1
    finally:
        home.guest.sh("systemctl unmask bluetooth && systemctl start bluetooth")
    home.back()
    wait_for(lambda: f"no problem is left: {problems(home)}", lambda: not problems(home), 30)


def test_the_clock_is_years_behind_at_boot(home):
    """Without the time no TLS; the agent says so, and goes on by itself when a time daemon has set it right."""
    guest = home.guest
    guest.shut_down()
    guest.rtc, guest.append = "1970-01-01T00:00:00", "guest.clock=wrong"
    try:
        guest.boot()
        guest.radios()
        guest.wait("it is up", "systemctl -q is-active lockbridge", 60)
        told = guest.wait("it says that the clock is wrong", "lockbridgectl diagnose | grep -i -A2 clock", 60)
        assert told
        guest.sh(f"date -s @{int(time.time())} && /usr/local/sbin/guest-synchronized")
        home.back()
    finally:
        guest.rtc, guest.append = "utc", ""


def test_a_door_opens_on_reckoned_time(home):
    """A clock in 1970 and no time server: the city's last word is the time. The lock's clock is as wrong."""
    guest = home.guest
    end = home.tunnel()
    guest.shut_down()
    guest.rtc, guest.append = "1970-01-01T00:00:00", "guest.clock=wrong"
    try:
        guest.boot()
        home.back()
        # systemd takes the time of its own making for the least that it can be
        assert int(guest.sh("date +%s")) < time.time() - 30 * 86400
        home.refuses(BO)
        assert "clock-not-synchronised" in problems(home)
        clock = home.city.recorder.state(GATEWAY)["clock"]
        assert clock["synchronised"] is False and abs(clock["now"] - time.time()) < 3600, clock
    finally:
        end()
        guest.rtc, guest.append = "utc", ""
        guest.reboot()
    home.back()
    wait_for(lambda: f"no problem is left: {problems(home)}", lambda: not problems(home), 60)


# --- the package's end -----------------------------------------------------------------------------------------


def test_removed_purged_and_installed_again(home):
    """A box that is set up anew is another box for the city, at the same lock."""
    guest = home.guest
    stream = home.city.recorder.state(GATEWAY)["stream"]
    guest.sh("dpkg --remove lockbridge")
    wait_for("it said goodbye", lambda: home.city.recorder.last(
        f"lockbridge/gw/{GATEWAY}/presence") == b"offline", 30)
    assert guest.ssh("pgrep -x lockbridged").status == 1
    assert guest.sh("ls /etc/lockbridge /var/lib/lockbridge")
    guest.sh("dpkg --purge lockbridge lockbridge-desk")
    for path in ("/etc/lockbridge", "/var/lib/lockbridge", "/lib/systemd/system/lockbridge.service",
                 "/usr/sbin/lockbridged", "/etc/systemd/system/multi-user.target.wants/lockbridge.service"):
        assert guest.ssh(["test", "-e", path]).status == 1, path
    assert guest.ssh("getent passwd lockbridge").status == 2
    assert guest.sh("systemctl is-system-running") == "running\n"
    home.install()
    guest.wait("it waits for its enrolment", "systemctl show -P StatusText lockbridge | grep -q 'not enrolled'")
    home.enrol("--replace")
    home.settle()
    assert home.city.recorder.state(GATEWAY)["stream"] != stream
    home.opens()
    home.refuses(BO)
