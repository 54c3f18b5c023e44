# SPDX-License-Identifier: Apache-2.0
"""What happens to the radio and to locks, one by one, over the real bluetoothd.

Two gateways, each with a lock on an air of its own, under one bluetoothd. After each fault the agent is the
same process as before, its lock opens again, the other one went on, no authorization moved a bolt twice, no
outcome was a lie, and the recovery is counted in health.
"""

import base64
import json
import os
import signal
import time

import pytest

import vmworld
import wire
from box import Box
from harness import wait_for


class Faults(Box):
    def gateway_config(self, gw, **change):
        """A link is kept long enough for a fault to meet it, however slow the machine."""
        return super().gateway_config(gw, more=vmworld.FAST + f"linger_s = {6 if gw == 'gw-1' else 2};\n", **change)

    def start(self):
        super().start()
        for lock in self.locks:
            self.give_reader(lock)
        return self

    def give_reader(self, lock):
        """So that the lock's log can say what became of an authorization."""
        gw = self.gateway_of(lock)
        reader = base64.b64decode(self.recorder.state(gw)["reader"])
        self.recorder.publish(f"lockbridge/gw/{gw}/document", self.city.reader(lock, reader, int(time.time())))
        wait_for("the reader's authorization is held", lambda: lock in self.recorder.state(gw)["readers"])

    def counters(self, gw="gw-1"):
        """As the next health message has them."""
        topic = f"lockbridge/gw/{gw}/health"
        seen = len(self.recorder.all(topic))
        wait_for("a health message", lambda: len(self.recorder.all(topic)) > seen)
        return json.loads(self.recorder.last(topic))["counters"]

    def radio(self, gw="gw-1"):
        return self.recorder.state(gw)["radio"]

    def problems(self, gw="gw-1"):
        return [p["code"] for p in self.recorder.state(gw)["problems"]]

    def movements(self, lock, cti):
        return self.lock_report(lock)["ctis"].get(cti, 0)

    def issue(self, lock="lock-1", **change):
        """Sends an authorization without waiting; its cti."""
        document = self.city.relayed(lock, self.challenge(lock), 10, int(time.time()), **change)
        self.recorder.publish(f"lockbridge/gw/{self.gateway_of(lock)}/authorize", document)
        return wire.claims(document)[wire.CTI].hex()

    def outcomes(self, cti, gw="gw-1"):
        return [e["outcome"] for e in self.recorder.events(gw, "authorization.outcome") if e["cti"] == cti]

    def warm(self, lock="lock-1"):
        """A link that has just served, and is kept for a moment."""
        self.opens(lock)
        assert self.is_connected(lock)

    def opens(self, lock, timeout=60):
        """Signed for the present challenge; anew if that was a stale one."""
        end = time.monotonic() + timeout
        while True:
            event = self.unlock(lock=lock)
            if event.get("outcome") == "done":
                return event
            assert event.get("reason") in ("stale-challenge", "unreachable"), event
            assert time.monotonic() < end, f"{event}\n{self.logs(lock)}"
            wait_for("the lock is heard", lambda: self.recorder.lock(self.gateway_of(lock), lock)["reachable"])

    def logs(self, lock):
        """The last words of both sides."""
        return "\n".join(p.output()[-4000:] for p in (self.process(self.gateway_of(lock)), self.lock_sims[lock]))

    def idle(self, lock="lock-1"):
        wait_for("the link is down", lambda: not self.is_connected(lock), 30)


@pytest.fixture(scope="module")
def box():
    with Faults({"gw-1": ["lock-1"], "gw-2": ["lock-2"]}) as b:
        yield b.start()


@pytest.fixture(autouse=True)
def same_agents(box, request):
    """Nothing here may end an agent, and every lock opens afterwards."""
    pids = [box.process(gw).popen.pid for gw in box.gateways]
    for gw in box.gateways:
        wait_for("the radio is up", lambda gw=gw: box.radio(gw)["up"], 60)
    yield
    for lock in box.locks:
        box.opens(lock)
    if "killed_with_a_link" not in request.node.name:
        assert [box.process(gw).popen.pid for gw in box.gateways] == pids
    assert all(box.process(gw).running() for gw in box.gateways)
    for lock in box.locks:
        assert max(box.lock_report(lock)["ctis"].values()) == 1


def test_bluetoothd_killed_while_a_motor_turns_is_started_again_and_both_gateways_go_on(box):
    """Debian's unit does not restart it: whoever calls for it does. Unknown until the lock's log says done."""
    before, pid = {gw: box.counters(gw) for gw in box.gateways}, vmworld.bluetoothd_pid()
    box.lock_control("lock-1 motor 2500")
    try:
        cti = box.issue()
        wait_for("the motor turns", lambda: box.lock_report("lock-1")["moving"])
        box.kill_bluetoothd()
        assert box.answer(cti)[-1]["outcome"] == "unknown"
    finally:
        box.lock_control("lock-1 motor 150")
    wait_for("another bluetoothd", lambda: vmworld.bluetoothd_pid() not in (0, pid), 30)
    for gw in box.gateways:
        wait_for("the radio is up", lambda gw=gw: box.radio(gw)["up"], 40)
    box.opens("lock-2")
    wait_for("the lock's log resolves it", lambda: box.outcomes(cti) == ["unknown", "done"], 60)
    assert box.movements("lock-1", cti) == 1
    for gw in box.gateways:
        assert box.counters(gw)["radio-daemon-restarts"] == before[gw]["radio-daemon-restarts"] + 1


def test_the_radio_is_pulled_out_and_put_in_again(box):
    box.idle()
    before = box.counters()["radio-adapter-losses"]
    box.air_off("gw-1")
    wait_for("the state says so", lambda: not box.radio()["up"])
    assert [c for c in box.problems() if c.startswith("adapter")], box.problems()
    cti = box.issue(exp=int(time.time()) + 4)
    box.opens("lock-2")
    event = box.answer(cti)[-1]
    assert (event["outcome"], event["reason"]) in (("failed", "unreachable"), ("failed", "expired")), event
    box.air_on("gw-1")
    wait_for("the radio is up again", lambda: box.radio()["up"], 40)
    box.opens("lock-1")
    assert box.movements("lock-1", cti) == 0
    assert box.counters()["radio-adapter-losses"] == before + 1


def test_the_adapter_switched_off_under_a_link_is_switched_on_again(box):
    before = box.counters()["radio-adapter-losses"]
    box.warm()
    vmworld.sh("busctl", "set-property", "org.bluez", f"/org/bluez/{box.adapter('gw-1')}",
               "org.bluez.Adapter1", "Powered", "b", "false")
    wait_for("it was noticed", lambda: box.counters()["radio-adapter-losses"] == before + 1)
    wait_for("it is up again", lambda: box.radio()["up"], 40)
    box.opens("lock-1")


def test_an_adapter_blocked_by_rfkill_is_a_problem_until_it_is_not(box):
    box.idle()
    before = box.counters()["radio-adapter-losses"]
    vmworld.rfkill(box.adapter("gw-1"), True)
    try:
        wait_for("the state says so", lambda: not box.radio()["up"])
        box.opens("lock-2")
        wait_for("a problem", lambda: [c for c in box.problems() if c.startswith("adapter")])
    finally:
        vmworld.rfkill(box.adapter("gw-1"), False)
    wait_for("the radio is up again", lambda: box.radio()["up"], 60)
    box.opens("lock-1")
    assert box.counters()["radio-adapter-losses"] == before + 1


def test_a_radio_that_hangs_with_a_link_up_is_unknown_until_the_log_tells(box):
    """The controller takes everything and says nothing: BlueZ goes on saying Connected. Later it goes on."""
    before = box.counters()
    box.warm()
    btvirt = box.airs["gw-1"][0].popen.pid
    os.kill(btvirt, signal.SIGSTOP)
    try:
        cti = box.issue(exp=int(time.time()) + 8)
        box.opens("lock-2")
        assert box.answer(cti)[-1]["outcome"] == "unknown"
    finally:
        os.kill(btvirt, signal.SIGCONT)
    wait_for("the lock's log tells what it did", lambda: len(box.outcomes(cti)) == 2, 90)
    assert box.outcomes(cti)[1] == ("done" if box.movements("lock-1", cti) else "failed")
    assert box.counters()["unknown"] == before["unknown"] + 1


def test_a_frozen_lock_moves_once_and_a_bluetoothd_that_crashes_over_it_comes_back(box):
    """5.66: a write to a stopped process, the peer hangs up, the process answers: bluetoothd is gone."""
    before, pid = box.counters(), vmworld.bluetoothd_pid()
    box.warm()
    os.kill(box.lock_sims["lock-1"].popen.pid, signal.SIGSTOP)
    try:
        cti = box.issue(exp=int(time.time()) + 8)
        box.opens("lock-2")
        assert box.answer(cti)[-1]["outcome"] == "unknown"
        box.idle()
    finally:
        os.kill(box.lock_sims["lock-1"].popen.pid, signal.SIGCONT)
    wait_for("its log tells what it did", lambda: len(box.outcomes(cti)) == 2, 90)
    assert box.outcomes(cti)[1] == ("done" if box.movements("lock-1", cti) else "failed")
    restarts = box.counters()["radio-daemon-restarts"] - before["radio-daemon-restarts"]
    assert restarts == (vmworld.bluetoothd_pid() != pid)
    print("bluetoothd crashed" if restarts else "bluetoothd did not crash this time")


def test_a_lock_killed_while_its_motor_turns_stays_unknown(box):
    """It finds the movement open when it starts again, and says that it does not know either."""
    before = box.counters()
    box.lock_control("lock-1 motor 3000")
    cti = box.issue()
    wait_for("the motor turns", lambda: box.lock_report("lock-1")["moving"])
    box.lock_sims["lock-1"].kill()
    box.opens("lock-2")
    assert box.answer(cti)[-1]["outcome"] == "unknown"
    box.respawn(box.lock_sims["lock-1"], "ready")
    wait_for("the lock is back", lambda: box.opens("lock-1"))
    assert set(box.outcomes(cti)) == {"unknown"}
    assert box.movements("lock-1", cti) <= 1
    assert box.counters()["radio-links-lost"] >= before["radio-links-lost"] + 1


def test_a_lock_that_is_away_is_unreachable_and_nothing_else_waits_for_it(box):
    box.idle()
    before = box.counters()["failed"]
    # Not by its radio going down: btvirt goes on advertising for it, lets the gateway connect to nobody, and
    # never ends that link in a way that the kernel understands.
    box.lock_sims["lock-1"].kill()
    try:
        cti = box.issue(exp=int(time.time()) + 8)
        box.opens("lock-2")
        event = box.answer(cti)[-1]
        assert (event["outcome"], event["reason"]) in (("failed", "unreachable"), ("failed", "expired")), event
    finally:
        box.respawn(box.lock_sims["lock-1"], "ready")
    assert box.movements("lock-1", cti) == 0
    assert box.counters()["failed"] == before + 1


def test_an_agent_killed_with_a_link_up_leaves_none_behind(box):
    """BlueZ keeps the links of a client that died; the next life cuts them first."""
    box.warm()
    gw = box.process("gw-1")
    gw.kill()
    assert box.is_connected("lock-1")
    since = time.monotonic()
    box.respawn(gw)
    wait_for("it is back", lambda: [m for m in box.recorder.all("lockbridge/gw/gw-1/health") if m[0] > since])
    box.opens("lock-1")
    assert box.counters()["radio-leftovers"] == 1
