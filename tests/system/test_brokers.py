# SPDX-License-Identifier: Apache-2.0
"""Several brokers: a gateway has an ordered list, the desk a set. Real mosquittos, gateway, desk and locks."""

import time

import pytest

from harness import Process, Recorder, World, free_port, wait_for

PERSON, PHONE = "19121212-1212", "070-174 06 05"
OTHER_PERSON, OTHER_PHONE = "811218-9876", "+46 70 174 06 50"


class TwoBrokers(World):
    """gw-1 prefers the first broker, gw-2 the second; the desk has both."""

    def __init__(self, layout=None):
        super().__init__(layout or {"gw-1": ["lock-1"], "gw-2": ["lock-2"]})
        self.second_port, self.second_recorder = free_port(), None

    def start_broker(self, extra=""):
        super().start_broker(extra)
        with open(self.path("second.conf"), "w", encoding="ascii") as f:
            f.write(f"listener {self.second_port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\n"
                    f"user root\n{extra}")
        self.second = Process("second", ["mosquitto", "-c", self.path("second.conf")], self.path("second.log"),
                              self.env)
        self.processes.append(self.second)
        self.respawn(self.second, " running")
        self.second_recorder = Recorder(self.second_port)

    def desk(self, *words, timeout=90):
        if words[0] == "init":
            words = (*words, "--broker", f"127.0.0.1:{self.second_port}")
        return super().desk(*words, timeout=timeout)

    def gateway_config(self, gw, **change):
        both = [f'{{ host = "127.0.0.1"; port = {p}; }}' for p in (self.port, self.second_port)]
        return super().gateway_config(gw, brokers=both if gw == "gw-1" else both[::-1], more=(
            "backoff_min_ms = 100;\nbackoff_max_ms = 1000;\nhealth_s = 3600;\npreferred_retry_s = 1;\n"), **change)

    def settle(self, timeout=60):
        def settled():
            said = [r.lock(self.gateway_of(k), k) for k in self.locks for r in (self.recorder, self.second_recorder)]
            return sum(bool(s and s.get("current")) for s in said) >= len(self.locks)
        wait_for("every lock current: " + self.dir, settled, timeout)

    def enrol(self):
        for person, phone in ((PERSON, PHONE), (OTHER_PERSON, OTHER_PHONE)):
            self.desk("staff", "add", "--person", person, "--phone", phone, "--app", "a", "--platform", "any").ok()

    def unlock(self, lock):
        return self.desk("unlock", "--json", "--phone", PHONE, "--lock", lock).json

    def close(self):
        if self.second_recorder:
            self.second_recorder.close()
        super().close()


@pytest.fixture
def world():
    with TwoBrokers() as w:
        yield w.start()


def online(recorder, gateway, since):
    return [m for m in recorder.all(f"lockbridge/gw/{gateway}/presence") if m[0] > since and m[2] == b"online"]


def test_a_gateway_falls_back_and_returns_and_doors_open_all_the_while(world):
    world.enrol()
    assert world.unlock("lock-1")["outcome"] == "done"
    since = time.monotonic()
    world.broker.kill()
    wait_for("gw-1 is on the second", lambda: online(world.second_recorder, "gw-1", since), 30)
    assert world.unlock("lock-1")["outcome"] == "done"
    assert world.unlock("lock-2")["outcome"] == "done"
    revoked = world.desk("revoke", "--json", "--phone", OTHER_PHONE)
    assert revoked.status == 0, revoked.out
    since = time.monotonic()
    world.broker_up()
    wait_for("gw-1 is on the first again", lambda: online(world.recorder, "gw-1", since), 30)
    assert world.unlock("lock-1")["outcome"] == "done"
    assert [world.lock_report(lock)["movements"] for lock in world.locks] == [3, 1]


def test_what_a_broker_keeps_of_a_gateway_that_left_it_misleads_nobody(world):
    """The second broker says "online" of a gateway that has gone back to the first, with an old challenge."""
    world.enrol()
    since = time.monotonic()
    world.broker.kill()
    wait_for("gw-1 is on the second", lambda: online(world.second_recorder, "gw-1", since), 30)
    since = time.monotonic()
    world.broker_up()
    wait_for("gw-1 is on the first again", lambda: online(world.recorder, "gw-1", since), 30)
    for _ in range(3):
        said = world.unlock("lock-1")
        assert said["outcome"] == "done", said
    assert world.lock_report("lock-1")["movements"] == 3


def presence(world, gateway):
    return next(g["presence"] for g in world.desk("gateway", "list", "--json").json if g["id"] == gateway)


def test_a_will_that_comes_late_from_the_broker_that_was_left_is_not_believed(world):
    world.enrol()
    wait_for("the desk knows", lambda: presence(world, "gw-1") == "online")
    world.second_recorder.publish("lockbridge/gw/gw-1/presence", b"offline", retain=True)
    world.second_recorder.publish("lockbridge/gw/gw-2/presence", b"offline", retain=True)
    wait_for("the desk has read both", lambda: presence(world, "gw-2") == "offline")
    assert presence(world, "gw-1") == "online"
    assert world.unlock("lock-1")["outcome"] == "done"


def test_an_event_that_came_by_two_brokers_counts_once(world):
    world.enrol()
    said = world.unlock("lock-1")
    assert said["outcome"] == "done"
    before = len(world.recorder.all("lockbridge/gw/gw-1/event"))
    counted = world.desk("lock", "list", "--json").json
    for _, topic, payload, _ in world.recorder.all("lockbridge/gw/gw-1/event"):
        world.second_recorder.publish(topic, payload)
    world.second_recorder.barrier()
    wait_for("they went round", lambda: len(world.second_recorder.all("lockbridge/gw/gw-1/event")) == before)
    # what serve heard behind them is there, so are they
    world.second_recorder.publish("lockbridge/gw/gw-2/presence", b"offline", retain=True)
    wait_for("the desk has read them", lambda: presence(world, "gw-2") == "offline")
    assert world.desk("alarms", "--json").json == []
    assert world.desk("lock", "list", "--json").json == counted
    assert "two events with number" not in world.serve.output()


def test_what_waits_for_a_broker_that_is_away_waits_once(world):
    """Its gateway counts as online and behind, so it is sent the same every few seconds, then minutes."""
    world.enrol()
    world.second.kill()
    world.process("gw-2").stop()
    assert world.desk("revoke", "--phone", OTHER_PHONE, "--wait", "18").status == 4  # pushed after 3 and 13 s
    world.second_recorder.messages.clear()
    world.respawn(world.second, " running")

    def told():
        return [m[2] for m in world.second_recorder.all("lockbridge/gw/gw-2/document")]
    # said when the broker has settled, so behind all that waited
    wait_for("the city's documents", lambda: world.second_recorder.all("lockbridge/city/keys"), 60)
    world.second_recorder.barrier()
    assert told() and len(told()) == len(set(told())), "the same waited more than once"
