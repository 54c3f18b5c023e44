# SPDX-License-Identifier: Apache-2.0
"""The canary: what the desk is told of people is nowhere else. Not in a message, a GATT write, a file of a
gateway or a lock, a log, or the agent's memory."""

import os
import re

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


def test_not_in_the_memory_of_the_agent(world):
    """What a core would hold: every mapping that can be read (but a sanitizer's shadow, which is huge)."""
    pid, searched, ours = world.process("gw-17").popen.pid, 0, False
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, mode = line.split()[:2]
            start, end = (int(x, 16) for x in span.split("-"))
            if mode[0] != "r" or end - start > 1 << 28 or "[v" in line:
                continue
            memory.seek(start)
            content = memory.read(end - start)
            search(line, content)
            searched += len(content)
            ours = ours or b"lock-17a" in content
    assert ours and searched > 1 << 20
