# SPDX-License-Identifier: Apache-2.0
"""The system tests' fixtures over a cluster: `LOCKBRIDGE_BROKER` is set before their harness is read.

Wants Debian's ejabberd: apt-get install --no-install-recommends ejabberd. Its service is not used.
"""

import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
os.environ["LOCKBRIDGE_BROKER"] = "ejabberd"
for folder in (HERE, os.path.join(HERE, "..", "system")):
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = os.pathsep.join([folder] + os.environ.get("PYTHONPATH", "").split(os.pathsep))

import pytest  # noqa: E402

pytest.register_assert_rewrite("test_desk", "test_fleet", "test_gateway", "test_restart", "test_demo", "test_broker",
                               "test_documents", "test_threats")


def pytest_configure(config):
    if not shutil.which("erl") or not os.path.exists("/usr/sbin/ejabberdctl"):
        raise pytest.UsageError("ejabberd is not installed: apt-get install --no-install-recommends ejabberd")


from harness import World  # noqa: E402


@pytest.fixture(scope="module")
def world():
    with World({"gw-17": ["lock-17a", "lock-17b"], "gw-18": ["lock-18a"]}) as w:
        yield w.start()
