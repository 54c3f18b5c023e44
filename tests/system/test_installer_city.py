# SPDX-License-Identifier: Apache-2.0
"""A lock's life from the desk: claimed at a door, undone, released, gone; what the desk makes of it."""

import pytest

from harness import World, program, wait_for
from test_installer import Site


class Town(Site):
    """The same site with a desk for a city: lock-1 is in its registry from the beginning."""

    def start(self):
        self.start_bus()
        self.start_radio()
        self.start_city()
        self.start_locks()
        self.desk("gateway", "add", "gw-1").ok()
        self.add("lock-1")
        self.serve = self.spawn("serve", [program("lockbridge-desk"), "--dir", self.path("desk"), "serve"])
        self.start_gateway("gw-1")
        self.settle()
        private, public = self.phone_key("phone")
        self.desk("staff", "add", "--person", "811218-9876", "--phone", "0701740650", "--key", public).ok()
        self.desk("staff", "posture", "--phone", "0701740650", "--pin", "yes", "--app", "any", "--platform", "any")
        return self

    def add(self, lock, key=None):
        return self.desk("lock", "add", lock, "--key", key or self.keys[lock], "--gateway", "gw-1")

    def paper_of(self, act, lock):
        path = self.path(f"{lock}.{act}")
        self.desk("lock", act, lock, "--out", path).ok()
        return path

    def claim_at_the_door(self, lock):
        self.lock_control(lock + " button")
        said = self.lock("claim", self.paper_of("claim", lock), "--key", self.keys[lock], "--json").ok().json
        assert said["outcome"] == "claimed"
        self.wait_current(lock)

    def row(self, lock):
        return next((r for r in self.desk("lock", "list", "--json").ok().json if r["id"] == lock), None)

    def wait_state(self, lock, state):
        wait_for(f"the desk says {state} of {lock}", lambda: self.row(lock)["state"] == state, 30)

    def exposed(self):
        return [r["lock"] for r in self.desk("exposed", "--json").json]


@pytest.fixture(scope="module")
def town():
    with Town() as t:
        yield t.start()


def test_a_lock_is_new_then_claimed_and_opens(town):
    town.add("new-1").ok()
    assert (town.row("new-1")["state"], town.row("new-1")["claimed"]) == ("new", False)
    assert "new-1" in town.exposed()
    town.claim_at_the_door("new-1")
    town.wait_state("new-1", "claimed")
    assert town.row("new-1")["claimed"] is True
    wait_for("its receipts prove the list", lambda: "new-1" not in town.exposed(), 30)
    said = town.desk("unlock", "--phone", "0701740650", "--lock", "new-1", "--json").json
    assert (said["outcome"], said["verified"]) == ("done", True), said


def test_the_desk_writes_a_paper_as_text_too(town):
    """Without --out the document is shown: copied into a file, it is the same paper."""
    town.add("new-2").ok()
    shown = town.desk("lock", "claim", "new-2").ok().out
    path = town.path("new-2.txt")
    with open(path, "w") as f:
        f.write(shown)
    town.lock_control("new-2 button")
    town.lock("claim", path, "--key", town.keys["new-2"]).ok()
    town.wait_current("new-2")


def test_a_claim_undone_at_the_door_shows_at_the_desk(town):
    town.lock_control("new-2 button")
    town.wait_state("new-2", "unowned")
    town.claim_at_the_door("new-2")
    town.wait_state("new-2", "claimed")


def test_a_released_lock_is_not_counted_any_more(town):
    said = town.lock("release", town.paper_of("release", "new-2"), "--json").ok().json
    assert said == {"lock": "new-2", "outcome": "released", "receipt": True}
    town.wait_state("new-2", "released")
    assert "new-2" not in town.exposed()
    assert town.desk("who-can-open", "new-2", "--json").ok().json == []
    said = town.desk("revoke", "--phone", "0701740650", "--json").ok().json
    assert said["complete"] is True
    assert (said["locks"]["confirmed"], said["locks"]["total"]) == (2, 2), "lock-1 and new-1, not new-2"
    assert town.exposed() == []
    town.desk("lock", "remove", "new-2").ok()
    assert town.row("new-2") is None


def test_a_lock_that_is_gone_for_ever_does_not_stay_exposed(town):
    town.add("new-3").ok()
    assert town.exposed() == ["new-3"]
    said = town.desk("lock", "remove", "new-3")
    assert said.status == 1 and "--destroyed" in said.err + said.out
    town.desk("lock", "remove", "new-3", "--destroyed").ok()
    assert town.exposed() == []
    assert town.desk("lock", "remove", "new-3", "--destroyed").status == 1
    acts = [row["act"] for row in town.desk("log", "--json").ok().json]
    assert acts.count("lock.remove") == 2


def test_another_lock_does_not_get_an_old_locks_name(town):
    said = town.add("new-2", town.keys["new-4"])
    assert said.status == 1 and "another lock" in said.err + said.out
    town.add("new-2").ok()  # the same one again
    assert town.row("new-2")["state"] == "released"
