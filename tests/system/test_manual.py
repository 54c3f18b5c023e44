# SPDX-License-Identifier: Apache-2.0
"""The manual pages against what the programs say of themselves and what the example configuration shows:
what is in one is in the other."""

import glob
import os
import re
import subprocess

import pytest

from harness import program

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
MAN = os.path.join(ROOT, "docs", "man")
PAGES = {"lockbridged": "lockbridged.8", "lockbridgectl": "lockbridgectl.1",
         "lockbridge-desk": "lockbridge-desk.1"}
# of every command, and described once
COMMON = {"--dir", "--json", "--operator", "--reveal", "--help", "--version"}


def source(name):
    with open(os.path.join(MAN, name), encoding="utf-8") as f:
        return f.read()


def said(*words):
    done = subprocess.run([program(words[0]), *words[1:]], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def options_of_help(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def options_of_page(text):
    """mdoc: Fl, up to the next macro; -x is written for --x, whose one dash Fl brings."""
    found = set()
    for line in text.splitlines():
        if line.startswith("."):
            for run in re.findall(r"\bFl ((?:-[a-z-]+(?: \| | )?)+)", line):
                found |= {"-" + word for word in re.findall(r"-[a-z][a-z-]*", run)}
    return found


def items(text):
    """Command: its item's text. An item begins with .It Cm, whose first words name the command."""
    found = {}
    for part in re.split(r"^(?=\.It )", text, flags=re.M)[1:]:
        head = re.match(r"\.It Cm ((?:[a-z][a-z-]*\s)+)", part)
        if head:
            body = re.split(r"^\.(?:El|S[hs])\b", part, maxsplit=1, flags=re.M)[0]
            assert head.group(1).strip() not in found
            found[head.group(1).strip()] = body
    return found


def commands_of_help(text):
    """The lines of the list: two spaces, words in lower case, then arguments or the description."""
    return {found.strip() for found in re.findall(r"^  ([a-z][a-z-]*(?: [a-z][a-z-]*)*)(?: | {2,})", text, re.M)}


def desk_commands():
    return {found.strip() for found in
            re.findall(r"^  ([a-z][a-z-]*(?: [a-z][a-z-]*)*) +[A-Z]", said("lockbridge-desk", "help"), re.M)}


@pytest.mark.parametrize("page", sorted(os.path.basename(p) for p in glob.glob(os.path.join(MAN, "*.[1-8]"))))
def test_each_page_is_well_formed(page):
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", os.path.join(MAN, page)],
                          capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, "")


def test_each_option_of_the_daemon_stands_in_help_and_in_the_page():
    assert options_of_page(source(PAGES["lockbridged"])) == options_of_help(said("lockbridged", "--help")) | {
        "--help", "--version"}


def test_each_option_of_the_control_program_stands_in_help_and_in_the_page():
    """Some commands have options of their own, which their own help tells."""
    told = options_of_help(said("lockbridgectl", "--help")) | {"--help", "--version"}
    for command in commands_of_help(said("lockbridgectl", "--help")):
        told |= options_of_help(said("lockbridgectl", *command.split(), "--help"))
    assert options_of_page(source(PAGES["lockbridgectl"])) == told


def test_each_command_of_the_control_program_stands_in_help_and_in_the_page():
    commands = commands_of_help(said("lockbridgectl", "--help"))
    assert len(commands) >= 8
    assert set(items(source(PAGES["lockbridgectl"]))) == commands


def test_each_command_of_the_desk_stands_in_help_and_in_the_page():
    commands = desk_commands()
    assert len(commands) >= 34
    assert set(items(source(PAGES["lockbridge-desk"]))) == commands


def test_each_option_of_each_desk_command_stands_in_help_and_in_the_page():
    differ = {}
    for command, text in items(source(PAGES["lockbridge-desk"])).items():
        page, told = options_of_page(text), options_of_help(said("lockbridge-desk", *command.split(), "--help"))
        # "[--ca ...]" stands for what init shows in full
        if (page - COMMON) != (told - COMMON):
            differ[command] = {"page only": page - told - COMMON, "help only": told - page - COMMON}
    assert not differ


def test_the_desks_common_options_stand_in_its_page():
    head = source(PAGES["lockbridge-desk"]).split(".Ss The registry")[0]
    assert options_of_page(head) == COMMON


def test_each_setting_stands_in_the_example_and_in_the_page():
    with open(os.path.join(ROOT, "config", "lockbridge.conf.example"), encoding="utf-8") as f:
        example = f.read()
    # set, or shown behind #; groups' members stand behind { or a line's beginning
    settings = set(re.findall(r"^#?([a-z_]+) = ", example, re.M)) | set(re.findall(r"[{;\s]([a-z_]+) = [\"\d]", example))
    settings |= set(re.findall(r"^#   ([a-z_]+)(?: {2,}|$)", example, re.M))
    page = set(re.findall(r"^\.It Va ([a-z_]+)$", source("lockbridge.conf.5"), re.M))
    assert len(settings) > 20 and page == settings
