# SPDX-License-Identifier: Apache-2.0
"""The demo is a product: every step holds, and it leaves nothing behind."""

import glob
import os
import subprocess
import tempfile

from harness import HERE


def command_lines():
    """Those of every process there is."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                yield f.read()
        except OSError:  # it ended meanwhile
            pass


def test_every_step_of_the_demo_holds_and_nothing_is_left_behind():
    with tempfile.TemporaryDirectory() as tmp:
        env = dict(os.environ, TMPDIR=tmp)
        done = subprocess.run(["/usr/bin/python3", "-B", os.path.join(HERE, "demo.py")], env=env,
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "FAILED" not in done.stdout
        assert glob.glob(os.path.join(tmp, "*")) == []
        assert [line for line in command_lines() if os.fsencode(tmp) in line] == []
