# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the container tests: one container per module, with the package installed or without."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from city import City, wait_connected  # noqa: E402
from container import Container, private_mounts  # noqa: E402


def pytest_configure(config):
    private_mounts()


@pytest.fixture(scope="session")
def installed():
    """The layer of a container into which both packages were installed; shut down, to lie under others."""
    with Container() as made:
        made.boot().install("lockbridge", "lockbridge-desk")
        made.shut_down()
        yield made.path("upper")


@pytest.fixture(scope="module")
def bare():
    """Booted, without our packages."""
    with Container() as container:
        yield container.boot()


@pytest.fixture(scope="module")
def box(installed):
    """Booted, with both packages, not enrolled."""
    with Container([installed]) as container:
        yield container.boot()


@pytest.fixture(scope="module")
def city(box):
    """A desk and its broker in the box's container; the box knows nothing of them yet."""
    return City(box)


@pytest.fixture(scope="module")
def enrolled(box, city):
    """The box as gw-17 of that city, connected."""
    city.enrol("gw-17").ok()
    wait_connected(box)
    return box
