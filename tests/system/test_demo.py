# SPDX-License-Identifier: Apache-2.0
"""The demo is a product: every step holds, and it leaves nothing behind."""

import glob
import os
import subprocess
import tempfile

from harness import HERE


def test_every_step_of_the_demo_holds_and_nothing_is_left_behind():
    with tempfile.TemporaryDirectory() as tmp:
        env = dict(os.environ, TMPDIR=tmp)
        done = subprocess.run(["/usr/bin/python3", "-B", os.path.join(HERE, "demo.py")], env=env,
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "FAILED" not in done.stdout
        assert glob.glob(os.path.join(tmp, "*")) == []
        left = subprocess.run(["pgrep", "-f", tmp], capture_output=True, text=True).stdout
        assert left == ""
