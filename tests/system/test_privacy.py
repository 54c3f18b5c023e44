# SPDX-License-Identifier: Apache-2.0
"""The canary: what the desk is told of people is nowhere else. Not in a message, a GATT write, a file of a
gateway or a lock, a log, or the memory of the agent."""

import os
import re
import resource
import signal
import subprocess

import pytest

from harness import World, wait_for

PERSON, PHONE = "19121212-1212", "070-174 06 63"
# every form in which they could travel
CANARIES = ["191212121212", "1212121212", "121212-1212", "0701740663", "46701740663", "701740663",
            "070-174 06 63", "070-1740663"]


def forms():
    for text in CANARIES:
        raw = text.encode()
        yield raw
        yield raw.hex().encode()
        yield b"\x00".join(raw[i:i + 1] for i in range(len(raw)))


@pytest.fixture(scope="module")
def world():
    os.environ.pop("LOCKBRIDGE_KEEP", None)
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
    with World({"gw-17": ["lock-17a"], "gw-18": ["lock-18a"]}) as w:
        w.start_bus()
        w.start_radio()
        w.radio_control("log " + w.path("gatt.log"))
        w.start_bus = w.start_radio = lambda: None
        w.start()
        private, public = w.phone_key("anna")
        w.desk("staff", "add", "--person", PERSON, "--phone", PHONE, "--key", public, "--app",
               "se.example.homecare", "--platform", "any").ok()
        w.desk("unlock", "--person", PERSON, "--lock", "lock-17a").ok()
        w.desk("issue", "--person", PERSON, "--locks", "lock-17a,lock-18a", "--for", "8h", "--out",
               w.path("wallet")).ok()
        w.at_door(private, w.path("wallet", "lock-18a.cose"), "lock-18a").ok()
        w.desk("revoke", "--phone", PHONE).ok()
        wait_for("the openings are filed", lambda: len(w.desk("log", "--json").ok().json) > 3)
        yield w


def search(name, content):
    for form in forms():
        assert form not in content, f"{form!r} in {name}"


def test_not_in_any_message(world):
    messages = world.recorder.all()
    assert len(messages) > 20
    for _, topic, payload, _ in messages:
        search(topic, topic.encode() + b"\n" + payload)


def test_not_over_the_air(world):
    with open(world.path("gatt.log"), "rb") as f:
        content = f.read()
    assert content.count(b"\n") > 20
    values = b"".join(bytes.fromhex(v.decode()) + b"\n" for v in re.findall(rb"\b([0-9a-f]{4,})$", content, re.M)
                      if len(v) % 2 == 0)
    assert len(values) > 2000
    search("gatt", values)


def test_not_in_files_and_logs_outside_the_desk(world):
    searched = 0
    for folder, folders, files in os.walk(world.dir):
        if folder == world.dir:
            folders.remove("desk")
        for name in files:
            if not os.path.isfile(os.path.join(folder, name)):
                continue  # a socket
            with open(os.path.join(folder, name), "rb") as f:
                search(os.path.join(folder, name), f.read())
            searched += 1
    assert searched > 10


def test_not_in_what_the_desk_tells_unless_asked(world):
    for words in (["log"], ["log", "--json"], ["who-can-open", "lock-17a"], ["exposed"], ["lock", "list"]):
        answer = world.desk(*words)
        search(" ".join(words), (answer.out + answer.err).encode())


def test_not_in_a_core_of_the_agent(world):
    gw = world.process("gw-17")
    assert gw.running()
    subprocess.run(["gcore", "-o", world.path("core"), str(gw.popen.pid)], check=True, capture_output=True)
    [core] = [f for f in os.listdir(world.dir) if f.startswith("core.")]
    with open(world.path(core), "rb") as f:
        content = f.read()
    assert b"lock-17a" in content, "not the agent's memory"
    search("core", content)
    gw.popen.send_signal(signal.SIGCONT)
