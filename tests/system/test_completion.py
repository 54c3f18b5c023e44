# SPDX-License-Identifier: Apache-2.0
"""bash completion: a shell sources it, as a login does, and is asked what it would offer."""

import os
import re
import subprocess

import pytest

from box import Box
from harness import program

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "config", "bash-completion")
ASK = """
set -u
source "$1"; shift
function=$(complete -p "${1##*/}" | sed -n 's/.*-F \\([^ ]*\\) .*/\\1/p')
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
"$function" "${1##*/}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def offered(*words, **options):
    name = words[0]
    done = subprocess.run(["bash", "-c", ASK, "bash", os.path.join(FOLDER, name), program(name), *words[1:]],
                          capture_output=True, text=True, timeout=20, **options)
    assert done.stderr.replace("bash: compopt: ", "") == "" or "compopt" in done.stderr, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("name", ["lockbridged", "lockbridgectl", "lockbridge-desk"])
def test_every_option_of_the_help_is_offered(name):
    told = subprocess.run([program(name), "--help"], capture_output=True, text=True, timeout=20).stdout
    said = set(re.findall(r"(?:^ +|^lockbridge-desk .*|\[)(--[a-z][a-z-]*)", told, re.M))
    assert said and said <= offered(name, "--")


def test_commands_are_offered_by_their_beginning():
    assert offered("lockbridgectl", "d") == {"documents", "diagnose"}
    assert offered("lockbridge-desk", "re") == {"restore", "revoke"}
    assert {"staff", "gateway", "lock", "revoke", "document"} <= offered("lockbridge-desk", "")


def test_the_second_word_of_a_command_is_offered():
    assert offered("lockbridge-desk", "staff", "") == {"add", "posture", "key", "list", "remove"}
    assert offered("lockbridge-desk", "--dir", "/nowhere", "policy", "s") == {"set", "show"}


def test_a_commands_own_options_are_offered():
    assert offered("lockbridge-desk", "staff", "remove", "--no") == {"--no-wait"}
    assert {"--phone", "--person", "--wait", "--no-wait", "--json"} <= offered("lockbridge-desk", "revoke", "--")
    assert "--lock" not in offered("lockbridge-desk", "revoke", "--")


def test_values_that_are_few_are_offered():
    assert offered("lockbridge-desk", "policy", "set", "--require-pin", "") == {"yes", "no"}
    assert offered("lockbridge-desk", "keys", "rotate", "r") == {"root", "revoke"}


def test_nobodys_data_is_offered():
    assert offered("lockbridge-desk", "revoke", "--phone", "") == set()


def test_files_are_offered_where_one_is_wanted(tmp_path):
    (tmp_path / "gw-17.conf").write_text("")
    assert offered("lockbridgectl", "check-config", "gw", cwd=tmp_path) == {"gw-17.conf"}
    assert offered("lockbridged", "--config", "gw", cwd=tmp_path) == {"gw-17.conf"}


def test_locks_are_offered_as_the_agent_knows_them():
    with Box({"gw-1": ["lock-1", "lock-2"]}) as box:
        box.start()
        assert offered("lockbridgectl", "test", "lock-", env=box.env) == {"lock-1", "lock-2"}
