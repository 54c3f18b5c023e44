# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests: a world per module, and what every test may ask of it."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from harness import World  # noqa: E402


@pytest.fixture(scope="module")
def world():
    """Two gateways, three locks, a city with serve running."""
    with World({"gw-17": ["lock-17a", "lock-17b"], "gw-18": ["lock-18a"]}) as w:
        yield w.start()


@pytest.fixture
def small():
    """One gateway, one lock, of a test's own: for what must not be shared."""
    with World({"gw-1": ["lock-1"]}) as w:
        yield w
