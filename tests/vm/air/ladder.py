# SPDX-License-Identifier: Apache-2.0
"""A radio that hears nobody: the agent, as its own user, climbs from rung to rung up to systemd, by polkit."""

import os
import shutil
import signal

import pytest

import vmworld
from box import Box
from faults import Faults
from harness import Process, program, wait_for

USER = "lockbridge"


class Ladder(Faults):
    def start_gateway(self, gw, **change):
        """As the unit runs it: without any privilege."""
        os.chmod(self.dir, 0o755)
        os.makedirs(self.path(gw), mode=0o700, exist_ok=True)
        shutil.chown(self.path(gw), USER, USER)
        with open(self.path(gw + ".conf"), "w") as f:
            f.write(Box.gateway_config(self, gw, more=vmworld.FAST + "silent_s = 3;\nlinger_s = 1;\n"))
        log = self.path(gw + ".log")
        p = Process(gw, ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups", program("lockbridged"),
                         "--config", self.path(gw + ".conf")], log, self.env)
        self.processes.append(p.start())
        return p

    def rungs(self):
        return [e["detail"] for e in self.recorder.events("gw-1", "radio.recovery")]


@pytest.fixture
def box():
    vmworld.allow_restart()
    with Ladder({"gw-1": ["lock-1"]}) as b:
        yield b.start()


def test_silence_is_answered_rung_by_rung_and_told(box):
    box.idle()
    pid = vmworld.bluetoothd_pid()
    sim = box.lock_sims["lock-1"]
    sim.kill(signal.SIGTERM)  # nobody in the air any more
    wait_for("a human is called", lambda: "nothing helped" in box.rungs(), 120)
    climbed = box.rungs()[:4]
    assert climbed == ["scan restarted", "adapter off and on", "bluetooth service restarted", "nothing helped"], climbed
    assert vmworld.bluetoothd_pid() not in (0, pid), "bluetooth.service was not restarted"
    wait_for("a problem", lambda: "radio-silent" in box.problems(), 20)
    box.respawn(sim, "ready")
    wait_for("heard again", lambda: box.rungs()[-1] == "heard again", 60)
    wait_for("no problem", lambda: "radio-silent" not in box.problems(), 20)
    box.opens("lock-1")
    counters = box.counters()
    for name in ("scans-restarted", "power-cycles", "service-restarts", "helpless"):
        assert counters["radio-" + name] >= 1, name
    assert counters["radio-daemon-restarts"] >= 1
    assert box.process("gw-1").running()
