# SPDX-License-Identifier: Apache-2.0
"""What the system tests do with the radio simulator's knobs, or leave out, over the real bluetoothd."""

import base64
import random
import time

import pytest

import wire
from box import Box, unbase64url
from faults import Faults
from harness import wait_for


GATEWAY = "gw-9"  # others run beside, and an agent's name on the bus is its gateway's


class Home(Faults):
    """lock-1 is configured; new-1 obeys nobody yet."""

    unowned = ("new-1",)

    def gateway_config(self, gw, **change):
        return Box.gateway_config(self, gw, locks=["lock-1"])

    def counters(self, gw=GATEWAY):
        return super().counters(gw)

    def hold(self, document, gw=GATEWAY, timeout=10):
        super().hold(document, gw, timeout)

    def settle(self, timeout=60):
        wait_for("lock-1 is current", lambda: (self.recorder.lock(GATEWAY, "lock-1") or {}).get("current"), timeout)

    def paper(self, typ, lock, claims):
        path = self.path(typ)
        claims = {wire.ISS: "city", wire.AUD: lock, wire.IAT: int(time.time()) + (typ == "release"), **claims}
        with open(path, "wb") as f:
            f.write(self.city.root.sign(f"lockbridge-{typ}+cwt", claims))
        return path

    def receipts(self, lock):
        return [wire.verify(unbase64url(e["receipt"]), base64.b64decode(self.keys[lock]))[wire.RESULT]["outcome"]
                for e in self.recorder.events(GATEWAY, "lock.receipt") if e["lock"] == lock]


@pytest.fixture(scope="module")
def home():
    with Home({GATEWAY: ["lock-1", "new-1"]}, lock_max=128 * 1024) as h:
        yield Box.start(h)


def test_a_new_lock_is_found_claimed_brought_up_to_date_opened_and_released(home):
    found = {row["id"]: row for row in home.ctl(GATEWAY, "lock", "scan", "--seconds", "4", "--json").ok().json
             if "id" in row}
    assert found["new-1"]["owner"] is None and found["new-1"]["key"] == home.keys["new-1"]
    home.lock_control("new-1 button")
    record = {1: 1, 2: home.city.root.kid, 3: -19, -1: 6, -2: home.city.root.public}
    home.ctl(GATEWAY, "lock", "claim", home.paper("claim", "new-1", {wire.ROOT_KEY: record}), "--key",
             home.keys["new-1"], timeout=150).ok()
    wait_for("it holds the city's documents", lambda: (home.recorder.lock(GATEWAY, "new-1") or {}).get("current"), 40)
    assert home.receipts("new-1")[0] == "claimed"
    assert set(home.lock_report("new-1")["applied"]) == {"keys", "policy", "staff"}
    assert home.opens("new-1")["receipt"]
    home.ctl(GATEWAY, "lock", "release", home.paper("release", "new-1", {}), timeout=150).ok()
    assert "released" in home.receipts("new-1")
    assert not home.lock_report("new-1")["owned"]


def test_an_unlock_cuts_into_a_list_transfer(home):
    noise = random.Random(1)
    statuses = {i: noise.choice((0, 1, 2, 3)) for i in range(100, 524288)}
    before = home.counters()["lock-bytes-out"]
    home.hold(home.city.list(home.born + 1, statuses, entries=524288))
    wait_for("the transfer has begun", lambda: home.counters()["lock-bytes-out"] > before + 20000, 60)
    assert home.unlock()["outcome"] == "done"
    assert home.lock_report("lock-1")["applied"]["staff"] == home.born, "the list was there before"
    wait_for("the list arrives all the same",
             lambda: home.lock_report("lock-1")["applied"]["staff"] == home.born + 1, 110)


def test_battery_and_bolt_are_read_and_a_hand_is_nobodys_business_until_the_policy_says_so(home):
    home.give_reader("lock-1")
    home.opens("lock-1")
    home.idle()
    home.lock_control("lock-1 battery 42")
    home.unlock(scope="lock")
    wait_for("bolt and battery", lambda: {"bolt": "locked", "battery": 42}.items()
             <= home.recorder.lock(GATEWAY, "lock-1").items())
    home.idle()
    n, since = home.lock_report("lock-1")["n"], time.monotonic()
    home.lock_control("lock-1 hand unlock")
    home.lock_control("lock-1 hand lock")
    heard = home.counters()["adverts"]
    wait_for("it was heard again", lambda: home.counters()["adverts"] > heard + 3)
    assert home.lock_report("lock-1")["n"] == n
    assert not [m for m in home.recorder.all("lockbridge/gw/gw-9/")
                if m[0] > since and not m[1].endswith(("/health", "/presence"))]  # told each second
    home.hold(home.city.policy(home.born + 1, report_manual=True))
    wait_for("the lock knows", lambda: home.lock_report("lock-1")["applied"]["policy"] == home.born + 1, 40)
    home.idle()
    home.lock_control("lock-1 hand unlock")
    wait_for("a hand is told", lambda: home.recorder.lock(GATEWAY, "lock-1")["bolt"] == "unlocked", 40)
    assert [e for e in home.recorder.events(GATEWAY, "lock.receipt", since) if "cti" not in e]
