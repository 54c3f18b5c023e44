#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures, beside the limit or the peer measured in the same run: one table.

    bench.py [--quick] [--out FOLDER] [NAME ...]

Each measure_NAME.py beside this file has `run(bench)` and a doc string whose first line says what it
measures. All parts one after the other, never two at once. --quick: the same measurements, only smaller.

A figure fails nothing: aims are shown as met or not. Exit status 1: a part ended early or gave no
figure. What each part said is in OUT/NAME.log, the table in OUT/bench.json and OUT/bench.txt.
"""

import argparse
import importlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "system")]
BUILD = os.path.abspath(os.environ.get("LOCKBRIDGE_BUILD") or os.path.join(HERE, "..", "..", "build"))
os.environ["LOCKBRIDGE_BUILD"] = BUILD
GROUPS = ("door", "fleet", "size", "growth", "radio")

# Measured in the virtual machine over bluetoothd 5.66, and what radio-sim is told: `latency NAME ms ms`.
AIR = {"connect": 174, "resolve": 353, "resolve-again": 353, "read": 62, "write": 41, "disconnect": 2650}
AIR_SAID = ("simulated radio, as measured over bluetoothd 5.66: Connect 174 ms, services 353 ms, read 62 ms, "
            "write 41 ms, Disconnect 2,650 ms; the lock's motor 0 ms unless a row says otherwise")


class Skipped(Exception):
    """This cannot be measured here, and why."""


def number(value):
    """Three digits that count, however large."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {number(v)}" for name, v in value.items())
    if not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def verdict(value, aim):
    """met, not met, or nothing where there is no aim. Of percentiles the highest counts."""
    if not aim:
        return ""
    worst = max(value.values()) if isinstance(value, dict) else value
    if not isinstance(worst, (int, float)):
        raise ValueError(f"{value!r} cannot be held against {aim}: a number, or a dict of numbers")
    low, high = aim.get("at least"), aim.get("at most")
    met = (low is None or worst >= low) and (high is None or worst <= high)
    bound = ", ".join(f"{name} {number(v)}" for name, v in aim.items() if name != "why")
    return ("met: " if met else "NOT met: ") + bound


class Bench:
    """What a part's run(bench) is given. It may raise Skipped before its first row."""

    def __init__(self, name, quick, out, scratch):
        self.name, self.quick, self.out, self.dir, self.build = name, quick, out, scratch, BUILD
        self.rows = []

    def row(self, group, what, value, unit, beside=None, aim=None, note=""):
        """value: a number, or {"p50": .., "p99": ..}; beside: {"limit or peer": value}, of the same run;
        aim: {"at most": number, "why": text}."""
        if group not in GROUPS:
            raise ValueError(f"no such group: {group}; there are {', '.join(GROUPS)}")
        row = {"group": group, "what": what, "value": value, "unit": unit, "beside": beside or {},
               "aim": aim, "verdict": verdict(value, aim), "note": note}
        self.rows.append(row)
        self.log(f"ROW {json.dumps(row)}")

    def log(self, text):
        print(text, flush=True)

    def air(self, world):
        """Gives a World's radio the times of AIR."""
        for name, ms in AIR.items():
            world.radio_control(f"latency {name} {ms} {ms}")


def names():
    return sorted(f[len("measure_"):-3] for f in os.listdir(HERE)
                  if f.startswith("measure_") and f.endswith(".py"))


def disk_of(folder):
    return subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True,
                          check=True).stdout.strip()


def scratch_parent(out):
    """Short, for the sockets in it, and on a disk: what is kept in memory costs no fsync."""
    for folder in (os.environ.get("BENCH_SCRATCH"), "/var/tmp", out):
        if folder and os.access(folder, os.W_OK) and disk_of(folder) not in ("tmpfs", "ramfs"):
            return folder
    sys.exit(f"no folder on a disk: {out} and /var/tmp are in memory; name one: BENCH_SCRATCH=FOLDER")


def run_here(args):
    """One part in this process; its rows go to OUT/NAME.json."""
    name = args.names[0]
    tempfile.tempdir = os.environ["TMPDIR"] = args.scratch  # a World's folder, too
    bench = Bench(name, args.quick, args.out, args.scratch)
    early, skipped = None, None
    try:
        importlib.import_module(f"measure_{name}").run(bench)
    except Skipped as why:
        skipped = str(why)
    except BaseException:
        early = traceback.format_exc()
        bench.log(early)
    with open(os.path.join(args.out, name + ".json"), "w", encoding="utf-8") as f:
        json.dump({"name": name, "early": early, "skipped": skipped, "rows": bench.rows}, f, indent=1)
    return 0 if early is None else 2


def run_apart(name, args):
    """One part in a process of its own: what it starts and changes stays there."""
    scratch = tempfile.mkdtemp(prefix="lockbridge-bench-", dir=scratch_parent(args.out))
    words = [sys.executable, "-B", os.path.abspath(__file__), "--here", "--out", args.out, "--scratch", scratch, name]
    told, begun = os.path.join(args.out, name + ".json"), time.monotonic()
    if os.path.exists(told):
        os.unlink(told)
    print(f"{name} ...", end="", flush=True)
    try:
        with open(os.path.join(args.out, name + ".log"), "wb") as log:
            status = subprocess.run(words + (["--quick"] if args.quick else []), stdout=log, stderr=log,
                                    stdin=subprocess.DEVNULL, check=False).returncode
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    try:
        with open(told, encoding="utf-8") as f:
            result = json.load(f)
    except (OSError, ValueError):
        result = {"name": name, "early": f"exit status {status}", "skipped": None, "rows": []}
    result["seconds"] = round(time.monotonic() - begun, 1)
    print(f" {result['seconds']} s", flush=True)
    return result


HEAD = ("what", "measured", "unit", "beside it", "aim")
WIDEST = (56, 22, 10, 44, 24)


def table(results):
    """The table's lines: a row's cells are as high as they need."""
    rows = sorted((row for result in results for row in result["rows"]),
                  key=lambda row: GROUPS.index(row["group"]))
    cells = [[textwrap.wrap(text, wide) or [""] for text, wide in zip(cell, WIDEST)] for cell in
             [HEAD] + [(row["what"], number(row["value"]), row["unit"],
                        "; ".join(f"{name} {number(v)}" for name, v in row["beside"].items()), row["verdict"])
                       for row in rows]]
    width = [max(len(text) for cell in cells for text in cell[i]) for i in range(len(HEAD))]

    def high(cell):
        return ["  ".join(text.rjust(w) if i == 1 else text.ljust(w)
                          for i, (text, w) in enumerate(zip(line, width))).rstrip()
                for line in itertools.zip_longest(*cell, fillvalue="")]

    lines, group = high(cells[0]), None
    for row, cell in zip(rows, cells[1:]):
        if row["group"] != group:
            group = row["group"]
            lines.append(f"--- {group}")
        lines += high(cell)
        why = row["aim"] and row["aim"].get("why")
        for note in ([f"aim: {why}"] if why else []) + ([row["note"]] if row["note"] else []):
            lines += textwrap.wrap(note, sum(width), initial_indent="    ", subsequent_indent="    ")
    return lines


def show(results, args, seconds):
    """Prints and writes the table; true if each part gave figures."""
    well, lines = True, table(results)
    for result in results:
        if result["skipped"]:
            lines.append(f"{result['name']}: skipped: {result['skipped']}")
        elif result["early"] or not result["rows"]:
            last = (result["early"] or "it has no row").strip().splitlines()[-1]
            lines.append(f"{result['name']}: ended early, see {os.path.join(args.out, result['name'])}.log: {last}")
            well = False
    aims = [row["verdict"] for result in results for row in result["rows"] if row["aim"]]
    scratch = scratch_parent(args.out)
    lines += [AIR_SAID, f"scratch: {scratch} ({disk_of(scratch)}); {os.cpu_count()} processors; load at the end "
              f"{os.getloadavg()[0]:.1f}", f"{sum(v.startswith('met') for v in aims)} of {len(aims)} aims met"
              + (" (--quick: too small to judge)" if args.quick else "") + f"; {seconds:.0f} s"]
    print("\n".join([""] + lines))
    with open(os.path.join(args.out, "bench.txt"), "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    with open(os.path.join(args.out, "bench.json"), "w", encoding="utf-8") as f:
        json.dump({"quick": args.quick, "seconds": round(seconds, 1), "processors": os.cpu_count(),
                   "air_ms": AIR, "scratch": disk_of(scratch), "parts": results}, f, indent=1)
    return well


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", default=os.path.join(BUILD, "bench"))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    args.out = os.path.abspath(args.out)
    unknown = set(args.names) - set(names())
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    os.makedirs(args.out, exist_ok=True)
    if args.here:
        return run_here(args)
    begun = time.monotonic()
    order = [name for name in GROUPS if name in names()] + [name for name in names() if name not in GROUPS]
    results = [run_apart(name, args) for name in order if name in (args.names or order)]
    return 0 if show(results, args, time.monotonic() - begun) else 1


if __name__ == "__main__":
    sys.modules["bench"] = sys.modules["__main__"]  # parts import Skipped from here
    sys.exit(main())
