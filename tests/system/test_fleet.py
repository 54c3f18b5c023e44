# SPDX-License-Identifier: Apache-2.0
"""Desk, gateways and locks together: what none of them shows alone."""

from harness import wait_for

PERSON, PHONE = "19121212-1212", "070-174 06 70"


def test_a_changed_lock_is_read_on(world):
    """The gateways' read authorizations are cut off too: the desk issues new ones, and learns of openings."""
    private, public = world.phone_key("carin")
    world.desk("staff", "add", "--person", PERSON, "--phone", PHONE, "--key", public, "--app",
               "se.example.homecare", "--platform", "any").ok()
    wait_for("readers", lambda: set(world.recorder.state("gw-17")["readers"]) == {"lock-17a", "lock-17b"}, 40)
    world.desk("change-lock", "lock-17b").ok()
    world.desk("issue", "--person", PERSON, "--locks", "lock-17b", "--for", "8h", "--out",
               world.path("wallet")).ok()
    opened = world.at_door(private, world.path("wallet", "lock-17b.cose"), "lock-17b").ok().json
    assert opened["outcome"] == "done"
    wait_for("the desk knows of it", lambda: [
        line for line in world.desk("log", "--lock", "lock-17b", "--json").json
        if line.get("n") == opened["n"] and line.get("via") == "door"], 40)
    wait_for("nothing is wrong with the reader", lambda: not [
        p for p in world.recorder.lock("gw-17", "lock-17b")["problems"] if "reader" in p["code"]], 40)


def test_every_key_rotated_and_doors_still_open(world):
    for role in ("authorize", "policy", "revoke", "root"):
        world.desk("keys", "rotate", role).ok()
        wait_for(f"locks are current after {role}", lambda: all(
            world.recorder.lock(gw, lock)["current"] for gw, locks in world.layout.items() for lock in locks), 60)
        said = world.desk("unlock", "--person", PERSON, "--lock", "lock-17a", "--json")
        assert said.json["outcome"] == "done", (role, said.out)
    world.desk("revoke", "--phone", PHONE).ok()
    assert world.desk("unlock", "--person", PERSON, "--lock", "lock-17a", "--anyway", "--json").json["reason"] == "revoked"
