# SPDX-License-Identifier: Apache-2.0
"""An installer at the door while the gateway's radio has other things to do: nobody waits who must not."""

import random
import subprocess
import time

import pytest

import test_installer
from harness import program, wait_for
from test_installer import Site

OURS = ["lock-1", "lock-2", "lock-3"]
NEW = ["new-1", "new-2"]


class Busy(Site):
    """Three locks that can hold long lists, two new ones."""

    def __init__(self, more=""):
        super().__init__(lock_max=128 * 1024)
        self.layout = {"gw-1": OURS + NEW}
        self.locks = OURS + NEW
        self.more = more

    def start_locks(self):
        self.start_sim("ours", OURS, "root.pub.pem")
        self.start_sim("new", NEW, None)
        self.lock_control = lambda line: self.controls[line.split()[0]](line)
        for lock in self.locks:
            self.addresses[lock] = self.bus_property(f"/org/bluez/{self.adapter(lock)}",
                                                     "org.bluez.Adapter1", "Address")

    def gateway_config(self, gw, **change):
        return test_installer.Box.gateway_config(
            self, gw, locks=OURS, more="backoff_min_ms = 100;\nbackoff_max_ms = 1000;\n" + self.more)

    def settle(self, timeout=60):
        for lock in OURS:
            self.wait_current(lock)

    def start_claim(self, lock):
        return subprocess.Popen([program("lockbridgectl"), "--gateway", "gw-1", "lock", "claim", self.claim(lock),
                                 "--key", self.keys[lock]], env=self.env, stderr=subprocess.PIPE,
                                stdout=subprocess.PIPE, text=True)


def finish(claim):
    out, err = claim.communicate(timeout=120)
    assert claim.returncode == 0, out + err


def test_a_claim_comes_in_time_while_long_lists_are_on_their_way():
    with Busy() as site:
        site.start()
        noise = random.Random(1)
        statuses = {i: noise.choice((0, 1, 2, 3)) for i in range(524288)}
        before = {lock: site.stats(lock)["bytes_received"] for lock in OURS}
        site.hold(site.city.list(site.born + 1, statuses, entries=524288))
        wait_for("two transfers have begun", lambda: sum(
            site.stats(lock)["bytes_received"] > before[lock] + 5000 for lock in OURS) >= 2, 40)
        site.lock_control("new-1 button")
        finish(site.start_claim("new-1"))
        assert site.obeys("new-1")
        for lock in OURS:
            wait_for(f"{lock} has the list all the same",
                     lambda: site.lock_report(lock)["applied"]["staff"] == site.born + 1, 120)


@pytest.fixture(scope="module")
def narrow():
    """One connection at a time for everything."""
    with Busy("links_max = 1;\n") as s:
        yield s.start()


def test_with_one_link_an_unlock_goes_before_scan_and_claim(narrow):
    narrow.lock_control("new-1 button")
    claim = narrow.start_claim("new-1")
    said = 0
    for line in claim.stderr:
        if "Looking for" in line or "Claiming" in line:
            started = time.monotonic()
            assert narrow.unlock()["outcome"] == "done"
            assert time.monotonic() - started < 15
            said += 1
    assert said == 2 and claim.wait(120) == 0
    assert narrow.obeys("new-1")
    narrow.wait_current("new-1")


def test_an_unlock_of_the_lock_that_is_released_goes_first(narrow):
    """The person at the door gets in; then the lock is let go."""
    narrow.lock_control("new-2 button")
    finish(narrow.start_claim("new-2"))
    narrow.wait_current("new-2")
    document = narrow.city.relayed("new-2", narrow.challenge("new-2"), 10, int(time.time()))
    release = subprocess.Popen([program("lockbridgectl"), "--gateway", "gw-1", "lock", "release",
                                narrow.release("new-2")], env=narrow.env, stderr=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    event = narrow.authorize(document, "new-2")[-1]
    out, err = release.communicate(timeout=120)
    report = narrow.lock_report("new-2")
    # whichever came first: the bolt moved and said so, or it did not
    assert (event.get("outcome") == "done") == (report["movements"] == 1), event
    assert release.returncode == 0, out + err
    assert not report["owned"]
