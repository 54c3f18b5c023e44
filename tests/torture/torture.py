#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Breaks the system on purpose, and counts what gave: one table, fault, tries, violations.

    torture.py [--seed N] [--minutes M] [--quick] [--jobs N] [NAME ...]

Each fault_NAME.py beside this file has `run(ordeal)` and a doc string whose first line says what it
does. Without --minutes each does all that it was made to do; with it each stops, at the latest, when
its share of M is over. --quick: what `make check` has time for, always with the same seed. The same
seed gives the same order of faults, as far as the kernel's scheduling lets it.

A violation is a broken promise, not a slow one. Exit status 1: there was one, or a fault was never
tried, or a run ended early. What each run said is in BUILD/torture/NAME.log, the table in
BUILD/torture/table.json.
"""

import argparse
import concurrent.futures
import importlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "system")]
BUILD = os.path.abspath(os.environ.get("LOCKBRIDGE_BUILD") or os.path.join(HERE, "..", "..", "build"))
OUT = os.path.join(BUILD, "torture")
SEED = 1


class Row:
    """One line of the table."""

    def __init__(self, fault):
        self.fault, self.tries, self.violations, self.notes = fault, 0, [], []

    def tried(self, n=1):
        self.tries += n

    def violation(self, text):
        """A broken promise; text: what, and how to see it again (seed, step)."""
        self.violations.append(text)
        print(f"VIOLATION: {self.fault}: {text}", flush=True)

    def note(self, text):
        """A figure worth a place beside the table, such as how many points there were."""
        self.notes.append(text)


class Skipped(Exception):
    """This fault cannot be made here, and why."""


class Ordeal:
    """What a fault's run(ordeal) is given. It may raise Skipped before its first row."""

    def __init__(self, name, seed, quick, seconds):
        self.name, self.seed, self.quick = name, seed, quick
        self.random = random.Random(f"{name} {seed}")  # all chance comes from here
        self.deadline = time.monotonic() + seconds if seconds else None
        self.rows = []
        self.dir = tempfile.mkdtemp(prefix="lockbridge-torture-")

    def row(self, fault):
        self.rows.append(Row(fault))
        return self.rows[-1]

    def over(self):
        """Is this fault's share of the time used up? Asked between tries."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def log(self, text):
        print(text, flush=True)


def names():
    return sorted(f[len("fault_"):-3] for f in os.listdir(HERE) if f.startswith("fault_") and f.endswith(".py"))


def run_here(name, args):
    """One fault in this process; its rows go to BUILD/torture/NAME.json."""
    ordeal = Ordeal(name, args.seed, args.quick, args.seconds)
    begun, early, skipped = time.monotonic(), None, None
    try:
        importlib.import_module(f"fault_{name}").run(ordeal)
    except Skipped as why:
        skipped = str(why)
    except BaseException:
        early = traceback.format_exc()
        print(early, flush=True)
    finally:
        shutil.rmtree(ordeal.dir, ignore_errors=True)
    with open(os.path.join(OUT, name + ".json"), "w", encoding="utf-8") as f:
        json.dump({"name": name, "seed": args.seed, "seconds": round(time.monotonic() - begun, 1),
                   "early": early, "skipped": skipped, "rows": [vars(row) for row in ordeal.rows]}, f, indent=1)
    return 0 if early is None else 2


def run_apart(name, args, seconds):
    """One fault in a process of its own: what it breaks stays there."""
    words = [sys.executable, "-B", os.path.abspath(__file__), "--here", "--seed", str(args.seed),
             "--seconds", str(seconds), name] + (["--quick"] if args.quick else [])
    told = os.path.join(OUT, name + ".json")
    if os.path.exists(told):
        os.unlink(told)
    with open(os.path.join(OUT, name + ".log"), "wb") as log:
        status = subprocess.run(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False).returncode
    try:
        with open(told, encoding="utf-8") as f:
            return json.load(f)
    except OSError:
        return {"name": name, "seed": args.seed, "seconds": 0, "early": f"exit status {status}", "rows": []}


def show(results):
    """The table; true if all is well."""
    well = True
    width = max([len(row["fault"]) for r in results for row in r["rows"]] + [5])
    print(f"{'fault':{width}}  {'tries':>8}  violations")
    for result in results:
        for row in result["rows"]:
            print(f"{row['fault']:{width}}  {row['tries']:8}  {len(row['violations']):10}")
            for note in row["notes"]:
                print(f"{'':{width}}  {note}")
            for text in row["violations"][:5]:
                print(f"    {text}")
            well = well and row["tries"] > 0 and not row["violations"]
        if result.get("skipped"):
            print(f"{result['name']}: skipped: {result['skipped']}")
        elif result["early"] or not result["rows"]:
            last = (result["early"] or "it has no row").strip().splitlines()[-1]
            print(f"{result['name']}: ended early, see {os.path.join(OUT, result['name'])}.log: {last}")
            well = False
    return well


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0, help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    unknown = set(args.names) - set(names())
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    args.jobs = args.jobs or (4 if args.quick else 3)  # a short run mostly waits
    os.makedirs(OUT, exist_ok=True)
    if args.here:
        return run_here(args.names[0], args)
    wanted, begun = args.names or names(), time.monotonic()
    share = args.minutes * 60 * args.jobs / len(wanted)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(lambda name: run_apart(name, args, share), wanted))
    well = show(results)
    print(f"seed {args.seed}, {time.monotonic() - begun:.0f} s")
    with open(os.path.join(OUT, "table.json"), "w", encoding="utf-8") as f:
        json.dump(results, f, indent=1)
    return 0 if well else 1


if __name__ == "__main__":
    sys.modules["torture"] = sys.modules["__main__"]  # faults import Skipped from here
    sys.exit(main())
