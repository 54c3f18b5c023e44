# SPDX-License-Identifier: Apache-2.0
"""The containers themselves: apart from one another, and gone when they are closed."""

import os

from container import Container, wait_for


def test_two_at_once_are_apart_and_leave_nothing_running():
    with Container() as one, Container() as other:
        one.boot()
        other.boot()
        inits, dirs, cgroups = [one.init, other.init], [one.dir, other.dir], one.cgroups + other.cgroups
        one.run("systemctl", "start", "mosquitto").ok()
        assert other.run("systemctl", "is-active", "mosquitto").out != "active\n"
        assert "mosquitto" not in other.run("ps", "ax").out
        one.close()
        assert other.run("systemctl", "is-system-running").out in ("running\n", "degraded\n")
    for init in inits:
        wait_for("its init is gone", lambda: not os.path.exists(f"/proc/{init}"))
    for path in dirs + cgroups:
        assert not os.path.exists(path), path
