# SPDX-License-Identifier: Apache-2.0
"""The person at the box: lockbridgectl against a running agent, and against none."""

import json
import os
import subprocess

import pytest

from box import Box
from harness import program, wait_for


@pytest.fixture(scope="module")
def box():
    with Box({"gw-1": ["lock-1", "lock-2"]}) as b:
        yield b.start()


@pytest.mark.parametrize("words", [["status"], ["locks"], ["documents"], ["events"], ["diagnose"],
                                   ["test", "lock-1"]])
def test_each_command_speaks_to_people_and_to_programs(box, words):
    human, machine = box.ctl("gw-1", *words), box.ctl("gw-1", *words, "--json")
    assert human.out.strip() and not human.out.lstrip().startswith("{")
    lines = machine.out.strip().splitlines()
    assert lines and all(json.loads(line) is not None for line in lines)
    assert human.status in (0, 1) and machine.status == human.status


def test_status_names_broker_radio_clock_and_documents(box):
    status = box.ctl("gw-1", "status", "--json").json
    assert status["broker"]["connected"] is True
    assert status["state"]["radio"] == {"adapter": box.adapter("gw-1"), "up": True, "recoveries": 0}
    assert status["state"]["clock"]["synchronised"] is True
    now = status["state"]["clock"]["now"]
    assert status["state"]["opens"] == {"relayed": "yes", "relayed_until": now + 60, "door_until": now + 43200,
                                        "early": False}
    assert "Opens       relayed: what the city signs now; at the door: until" in box.ctl("gw-1", "status").out
    assert {d["name"] for d in status["state"]["documents"]} == {"keys", "policy", "staff"}


def test_the_test_of_a_lock_measures_and_does_not_move_the_bolt(box):
    before = box.lock_report("lock-1")
    said = box.ctl("gw-1", "test", "lock-1", "--json").ok().json
    assert (said["lock"], said["signal"]) == ("lock-1", -60) and said["round_trip_ms"] > 0
    after = box.lock_report("lock-1")
    assert (after["movements"], after["bolt"]) == (before["movements"], before["bolt"])
    assert box.ctl("gw-1", "test", "lock-9").status != 0


def test_diagnose_gives_cause_and_next_step_in_words(box):
    box.radio_control(f"vanish {box.adapter('lock-2')}")
    try:
        wait_for("the links are down", lambda: not box.lock_report("lock-2")["connected"], 40)
        said = box.ctl("gw-1", "test", "lock-2", timeout=120)
        assert said.status == 1
        diagnosis = box.ctl("gw-1", "diagnose")
        assert diagnosis.status == 1
        assert "Cause:" in diagnosis.out and "Next:" in diagnosis.out
    finally:
        box.radio_control(f"appear {box.adapter('lock-2')}")


def test_events_can_be_followed(box):
    follow = subprocess.Popen([program("lockbridgectl"), "--gateway", "gw-1", "events", "--follow", "--json"],
                              env=box.env, stdout=subprocess.PIPE, text=True)
    try:
        first = json.loads(follow.stdout.readline())
        assert first["seq"] >= 1
        event = box.unlock()
        for line in follow.stdout:
            if json.loads(line).get("cti") == event["cti"] and "outcome" in json.loads(line):
                break
        else:
            pytest.fail("the outcome did not come")
    finally:
        follow.terminate()
        follow.wait(10)


def test_check_config_names_file_line_and_setting(box):
    good = box.path("gw-1.conf")
    assert box.run([program("lockbridgectl"), "check-config", good]).status == 0
    bad = box.path("bad.conf")
    with open(good) as f, open(bad, "w") as out:
        out.write(f.read().replace("backoff_min_ms", "backof_min_ms"))
    said = box.run([program("lockbridgectl"), "check-config", bad])
    assert said.status == 1
    assert "bad.conf:" in said.out + said.err and "backof_min_ms" in said.out + said.err


def test_without_an_agent_it_says_so_and_what_to_do():
    with Box() as b:
        b.start_bus()
        said = b.ctl("gw-1", "status")
        assert said.status == 1
        assert "does not run" in said.err + said.out and "systemctl" in said.err + said.out


def test_wrong_usage_is_2(box):
    assert box.run([program("lockbridgectl"), "frobnicate"]).status == 2
    assert box.run([program("lockbridgectl")]).status == 2
    assert box.run([program("lockbridged"), "--nonsense"]).status != 0
    missing = box.run([program("lockbridged"), "--check", "--config", os.path.join(box.dir, "none.conf")])
    assert missing.status != 0 and "none.conf" in missing.err + missing.out
