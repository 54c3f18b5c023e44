# SPDX-License-Identifier: Apache-2.0
"""One guest for all tests; figures that tests measured are printed at the end."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from guest import Guest  # noqa: E402

measured = {}


@pytest.fixture(scope="session")
def guest():
    # LOCKBRIDGE_VM_KEEP: a folder for disk, console and share, which then stays
    with Guest(folder=os.environ.get("LOCKBRIDGE_VM_KEEP")) as g:
        yield g.boot()


@pytest.fixture(scope="session")
def figures():
    """name -> seconds, or words."""
    return measured


def pytest_terminal_summary(terminalreporter):
    if measured:
        terminalreporter.section("measured in the guest")
        for name, value in measured.items():
            terminalreporter.write_line(f"{name:64} {value if isinstance(value, str) else f'{value:8.2f} s'}")
