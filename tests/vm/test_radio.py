# SPDX-License-Identifier: Apache-2.0
"""The radio's part, over the kernel's Bluetooth, the real bluetoothd and btvirt's controllers.

The system tests run inside the guest, where tests/system/harness.py takes tests/vm/vmworld.py for its world,
and so do those of tests/vm/air. Left out of the system tests is what needs a knob of radio-sim, two links of
one adapter at once, a phone while the gateway may come (btvirt connects to a lock that is connected, too), or
takes long and is no different over a real radio.
"""

import concurrent.futures
import glob
import os
import shutil
import xml.etree.ElementTree

import pytest

import guest as machine

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.abspath(os.path.join(HERE, "..", ".."))
BUILD = os.environ.get("LOCKBRIDGE_BUILD") or os.path.join(SOURCE, "build")
THERE = machine.SHARE + "/radio"
BRING = ("tests/system/*.py", "tests/vm/vmworld.py", "tests/vm/air/*.py", "config/dbus/*.conf", "config/polkit/*.rules",
         "systemd/lockbridge.sysusers")
PROGRAMS = ("lockbridged", "lockbridgectl", "lockbridge-desk", "lock-sim", "phone-sim")

S, A = "tests/system/", "tests/vm/air/"
GROUPS = {  # name -> how many tests at least, and pytest's words
    "relay": (36, [S + "test_gateway.py", "--deselect", S + "test_gateway.py::test_two_locks_do_not_wait_for_each_other"]),
    "door": (6, [S + "test_door.py::" + name for name in (
        "test_it_opens_and_once_only_per_presentation", "test_refusals[revoked-1-change0]",
        "test_refusals[expired-10-change4]", "test_wrong_lock",
        "test_a_presentation_must_fit[stale-stale-challenge]", "test_a_lock_that_restarts_keeps_its_list")]),
    "documents": (3, [S + "test_documents.py::test_three_changes_of_root_reach_a_box_and_a_lock_that_slept",
                      S + "test_documents.py::test_a_dropped_key_signs_nothing_more_and_its_list_stays_in_force",
                      S + "test_restart.py::test_a_gateway_killed_between_accepting_and_the_answer"]),
    "job": (3, [A + "job.py"]),
    # from here on each alone
    "faults": (9, [A + "faults.py"]),
    "ladder": (1, [A + "ladder.py"]),
    "figures": (2, [A + "figures.py"]),
}
BESIDE = ("relay", "door", "job", "documents")


@pytest.fixture(scope="module")
def box():
    """A guest of its own: what is put into it is not what a package leaves."""
    with machine.Guest() as g:
        target = g.share("radio")
        for pattern in BRING:
            for path in glob.glob(os.path.join(SOURCE, pattern)):
                at = os.path.join(target, os.path.relpath(path, SOURCE))
                os.makedirs(os.path.dirname(at), exist_ok=True)
                shutil.copy(path, at)
        os.makedirs(os.path.join(target, "build"))
        for name in PROGRAMS:
            shutil.copy(os.path.join(BUILD, name), os.path.join(target, "build", name))
        yield g.boot()


def run(g, name, words):
    """Runs pytest in the guest; (passed, failures, what it wrote)."""
    report = f"{name}.xml"
    done = g.ssh("cd {0} && LOCKBRIDGE_AIR=bluez LOCKBRIDGE_BUILD={0}/build PYTHONDONTWRITEBYTECODE=1 "
                 "PYTHONPATH=tests/vm:tests/vm/air:tests/system exec /usr/bin/python3 -B -m pytest -q -s --tb=short --durations=20 "
                 "-p no:cacheprovider --junitxml={0}/{1} {2}".format(
                     THERE, report, " ".join(f"'{w}'" for w in words)), timeout=900)
    path = g.share("radio", report)
    if not os.path.exists(path):
        raise machine.Failure(f"{name}: exit {done.status}\n{done.out[-4000:]}{done.err[-2000:]}")
    suite = xml.etree.ElementTree.parse(path).getroot().find("testsuite")
    bad = sum(int(suite.get(word)) for word in ("failures", "errors", "skipped"))
    return int(suite.get("tests")) - bad, bad, done.out


@pytest.fixture(scope="module")
def beside(box):
    """Groups that leave bluetoothd alone, two at a time: they wait more than they work."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(run, box, name, GROUPS[name][1]) for name in BESIDE}


@pytest.mark.parametrize("name", GROUPS)
def test_over_bluetoothd(box, beside, figures, name):
    least, words = GROUPS[name]
    if name not in BESIDE:
        concurrent.futures.wait(beside.values())
    passed, bad, said = beside[name].result() if name in BESIDE else run(box, name, words)
    with open(os.path.join(BUILD, f"vm-{name}.log"), "w", encoding="utf-8") as f:
        f.write(said)
    assert bad == 0 and passed >= least, f"{passed} passed, {bad} did not\n{said[-8000:]}"
    figures[f"over bluetoothd: {name}"] = f"{passed} tests passed"
    for line in said.splitlines():
        if "figure: " in line:  # pytest's dots may stand before it
            what, value = line.split("figure: ")[1].split("|")
            figures[what.strip()] = value.strip()
