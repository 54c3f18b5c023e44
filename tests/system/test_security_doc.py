# SPDX-License-Identifier: Apache-2.0
"""docs/security.md names a test for each threat: every one of them is there, and every row has one."""

import os
import re

import pytest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
NAMED = re.compile(r"`(test[-_][a-z0-9_-]+\.(?:c|py)):([a-z0-9_]+)`")
# what the table must speak of, whatever else it does
THREATS = ["rollback", "freeze", "replay", "mix-and-match", "rogue broker", "stolen gateway", "stolen lock", "stolen phone",
           "rogue desk clerk", "lost root", "lost issuer key", "stolen root", "stolen authorize", "stolen revoke",
           "stolen policy", "stolen authority", "root rotation", "clock attacks", "endless data", "malformed documents",
           "event tampering", "privacy", "enrolment file", "installer", "supply", "denial of service", "damaged store"]
PLAIN = ["live relay", "restored whole", "a drill", "jamming", "withholding", "kept by a gateway"]


def text():
    with open(os.path.join(ROOT, "docs", "security.md"), encoding="utf-8") as f:
        return f.read()


def rows(part):
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in part.splitlines()
            if line.startswith("| ") and not line.startswith("| threat")]


def threats():
    return rows(text().partition("\n## Threats\n")[2].partition("\n## What is not defended\n")[0])


def functions():
    """Every test that is run: (file, function)."""
    found = {}
    for folder, _, files in os.walk(os.path.join(ROOT, "tests")):
        for name in files:
            if not re.fullmatch(r"test[-_].*\.(c|py)", name):
                continue
            with open(os.path.join(folder, name), encoding="utf-8") as f:
                content = f.read()
            names = re.findall(r"^def (test_\w+)\(", content, re.M) if name.endswith(".py") else \
                re.findall(r"^static void (\w+)\(void \*\*state\)", content, re.M)
            # a C test that no table names is not run
            run = {n for n in names if name.endswith(".py") or len(re.findall(rf"\b{n}\b", content)) > 1}
            assert name not in found, f"two files are called {name}"
            found[name] = run
    return found


def test_every_named_test_is_there():
    have = functions()
    named = NAMED.findall(text())
    assert len(named) > 90
    missing = [f"{file}:{function}" for file, function in named if function not in have.get(file, ())]
    assert not missing


def test_what_looks_like_a_test_is_read_as_one():
    """A name that is spelt otherwise would not be checked."""
    odd = [word for word in re.findall(r"`([^`]*test[^`]*)`", text())
           if ":" in word and not NAMED.fullmatch(f"`{word}`")]
    assert not odd


def test_every_row_has_four_cells_and_a_test():
    assert len(threats()) > 40
    for row in threats():
        assert len(row) == 4 and NAMED.search(row[3]), row


@pytest.mark.parametrize("threat", THREATS)
def test_each_threat_is_spoken_of(threat):
    assert [row for row in threats() if threat in row[0].lower()]


@pytest.mark.parametrize("limit", PLAIN)
def test_what_is_not_defended_is_said(limit):
    said = rows(text().partition("\n## What is not defended\n")[2])
    assert [row for row in said if limit in row[0].lower()]
