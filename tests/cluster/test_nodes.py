# SPDX-License-Identifier: Apache-2.0
"""Nodes that die, come back, forget, or remember too much: the fleet finds together again by itself."""

import os
import shutil

import pytest

import ejabberd
import harness
from harness import World, wait_for

ANNA, BO, CARIN = ("19121212-1212", "070-174 06 05"), ("811218-9876", "+46 70 174 06 50"), \
    ("19640823-3234", "070-174 06 35")
MORE = "backoff_min_ms = 100;\nbackoff_max_ms = 1000;\nhealth_s = 5;\npreferred_retry_s = 1;\n"


class Fleet(World):
    """Gateways prefer node a; recorder and tests are on b. desk_on: the nodes of the desk's set."""

    def __init__(self, desk_on="ba"):
        self.desk_on = desk_on
        super().__init__({"gw-1": ["lock-1"], "gw-2": ["lock-2"]})

    def gateway_config(self, gw, **change):
        return super().gateway_config(gw, more=MORE, **change)

    def start(self, serve=True):
        super().start(serve)
        for person, phone in (ANNA, BO, CARIN):
            self.desk("staff", "add", "--person", person, "--phone", phone, "--app", "a", "--platform", "any").ok()
        return self

    def nodes_of(self, gw):
        """The nodes that a gateway is connected to now."""
        pid = str(self.process(gw).popen.pid)
        inodes = set()
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                inodes.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except OSError:
                continue
        with open("/proc/net/tcp", encoding="ascii") as f:
            rows = [line.split() for line in f][1:]
        ports = {int(r[2].rpartition(":")[2], 16) for r in rows if r[3] == "01" and f"socket:[{r[9]}]" in inodes}
        return "".join(name for name, port in sorted(self.node_ports.items()) if port in ports)

    def wait_on(self, node):
        for gw in self.gateways:
            wait_for(f"{gw} is on node {node}", lambda gw=gw: self.nodes_of(gw) == node, 60)

    def kill(self, name):
        self.broker.nodes[name].kill()

    def opens(self, who=ANNA):
        """Asked for anew when nobody answers: that is what people do while a broker is gone."""
        for lock in self.locks:
            def done(lock=lock):
                said = self.desk("unlock", "--json", "--phone", who[1], "--lock", lock)
                return said.json.get("outcome") == "done"
            wait_for(f"{lock} opens", done, 90, 1)

    def all_refuse(self, who):
        """Every gateway and lock holds it, by signed receipts; by itself, without a further command."""
        self.desk("revoke", "--phone", who[1], "--no-wait").ok()

        def proven():
            said = self.desk("revoke", "--json", "--phone", who[1], "--wait", "5")
            return said.status == 0
        wait_for(f"{who[1]} is revoked everywhere", proven, 120, 1)


@pytest.fixture
def fleet():
    with Fleet() as f:
        yield f.start()


def test_a_node_dies_gateways_and_desk_take_the_other_and_go_back(fleet):
    fleet.wait_on("a")
    fleet.opens()
    fleet.kill("a")
    fleet.wait_on("b")
    fleet.opens()
    fleet.all_refuse(BO)
    fleet.broker.up("a")
    fleet.wait_on("a")
    fleet.opens()
    fleet.all_refuse(CARIN)


def test_the_node_that_the_tests_speak_to_dies_and_comes_back(fleet):
    fleet.wait_on("a")
    fleet.kill("b")
    fleet.opens()
    fleet.all_refuse(BO)
    fleet.broker.up("b")
    fleet.opens()
    fleet.all_refuse(CARIN)


def test_both_nodes_are_killed_and_come_back(fleet):
    fleet.broker.kill()
    fleet.broker_up()
    fleet.opens()
    fleet.all_refuse(BO)


def test_one_after_the_other_is_killed_and_both_come_back(fleet):
    """a alone would not listen: it waits for b, which died later and knows more."""
    fleet.kill("a")
    fleet.wait_on("b")
    fleet.all_refuse(BO)
    fleet.kill("b")
    fleet.broker_up()
    fleet.opens()
    fleet.all_refuse(CARIN)


def put_database(fleet, source):
    fleet.broker.kill()
    for name in "ab":
        place = os.path.join(fleet.nodes, name, "db")
        shutil.rmtree(place)
        shutil.copytree(os.path.join(source, name, "db"), place)
    fleet.broker_up()


def test_all_that_was_retained_is_lost(fleet):
    fleet.all_refuse(BO)
    put_database(fleet, ejabberd.joined(harness))
    fleet.opens()
    fleet.all_refuse(CARIN)


def test_what_is_retained_is_older_than_what_the_fleet_holds(fleet):
    """A database put back from before a revocation: the list in it un-revokes nobody."""
    fleet.broker.kill()
    old = fleet.path("old")
    shutil.copytree(fleet.nodes, old)
    fleet.broker_up()
    fleet.opens()
    fleet.all_refuse(BO)
    put_database(fleet, old)
    fleet.opens()
    for lock in fleet.locks:
        said = fleet.desk("unlock", "--json", "--phone", BO[1], "--lock", lock)
        assert said.json.get("outcome") != "done", said.out
    fleet.all_refuse(CARIN)


def test_a_gateway_that_cannot_see_what_is_retained_is_sent_it():
    """The desk is on node b alone, and what it retains there is invisible at a: it sends to who says that it
    holds nothing."""
    with Fleet(desk_on="b") as fleet:
        fleet.start()
        fleet.wait_on("a")
        fleet.opens()
        fleet.all_refuse(BO)
