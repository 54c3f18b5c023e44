# SPDX-License-Identifier: Apache-2.0
"""The D-Bus interface as installed for others to read, against what the running agent says of itself and
what the bus policy names."""

import os
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from box import Box

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "config", "dbus")
NAME = "org.lockbridge.Gateway1"
READING = {"Status", "Locks", "Documents", "Events", "Diagnose", "Test"}
CHANGING = {"Reload", "Scan", "Document"}


def members(node):
    """{("method", "Test"): [("lock", "s", "in"), ("json", "s", "out")], ...}"""
    interface, = [one for one in node.findall("interface") if one.get("name") == NAME]
    return {(one.tag, one.get("name")): [(arg.get("name"), arg.get("type"), arg.get("direction"))
                                         for arg in one.findall("arg")]
            for one in interface if one.tag in ("method", "signal", "property")}


@pytest.fixture(scope="module")
def installed():
    return members(ElementTree.parse(os.path.join(FOLDER, NAME + ".xml")).getroot())


def test_the_agent_says_what_the_file_says(installed):
    with Box() as box:
        box.start()
        done = subprocess.run(["busctl", "--address=" + box.env["DBUS_SYSTEM_BUS_ADDRESS"], "introspect",
                               "--xml-interface", NAME, "/org/lockbridge/gateway"],
                              capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert members(ElementTree.fromstring(done.stdout)) == installed


def test_each_method_is_for_the_group_or_for_root_alone(installed):
    """A method that is new must be put where it belongs, here and in the policy."""
    policy = ElementTree.parse(os.path.join(FOLDER, NAME + ".conf")).getroot()
    group, = [one for one in policy.findall("policy") if one.get("group") == "lockbridge"]
    allowed = {rule.get("send_member") for rule in group if rule.get("send_interface") == NAME}
    assert allowed == READING
    assert {name for kind, name in installed if kind == "method"} == READING | CHANGING
