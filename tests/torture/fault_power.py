# SPDX-License-Identifier: Apache-2.0
"""Power cuts under the state files: what was not synced is gone, reordered or torn.

Each seed is a history of calls on files of its own, cut at some call, several times in a row; then the files
must hold what was promised. See power-disk.h and power-cut.h for the disk, power*.c for the promises.
"""

import json
import os
import re
import subprocess

from torture import BUILD

# program and its words, what the table says, seeds in a full run, in a quick one, and in one go
RUNS = [
    (["power"], "power cut under the gateway's store", 10000, 200, 100),
    (["power", "--lies", "100"], "the same, on a disk whose syncs do nothing: it may be damaged or old, and says so",
     1500, 30, 30),
    (["power", "--lies", "20"], "the same, on a disk that leaves out one sync in five", 1500, 30, 30),
    (["power-certificate"], "power cut under a certificate's renewal", 3000, 100, 100),
    (["power-desk"], "power cut under the desk's registry", 3000, 30, 30),
]
FIGURES = ("cuts", "calls", "syncs", "steps", "cut while opening", "said damaged", "fresh", "older", "kept")


def batch(ordeal, row, words, first, count, sums):
    """One process; a seed that failed is named together with the command that shows it again."""
    program = os.path.join(BUILD, "torture", words[0])
    done = subprocess.run([program, *words[1:], str(first), str(count)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", timeout=600, check=False)
    lines = done.stdout.splitlines()
    for line in lines:
        if line.startswith("VIOLATION "):
            seed = re.match(r"VIOLATION seed (\d+): ", line)
            row.violation(f"{line[10:]} (again by: {' '.join([program, *words[1:], seed[1], '1'])})")
    if done.returncode not in (0, 1) or not lines or not lines[-1].startswith("{"):
        row.violation(f"{' '.join([program, *words[1:], str(first), str(count)])} ended with {done.returncode}: "
                      f"{' '.join(lines[-3:])}")
        row.tried(count)
        return
    told = json.loads(lines[-1])
    row.tried(told["seeds"])
    for name in FIGURES:
        sums[name] = sums.get(name, 0) + told.get(name, 0)


def run(ordeal):
    for words, fault, full, quick, at_once in RUNS:
        row, sums = ordeal.row(fault), {}
        # other seeds for other runs: a thousand of them find more than the same thousand again
        first, total = (1, quick) if ordeal.quick else (ordeal.seed * 1000000, full)
        for n in range(0, total, at_once):
            if n and ordeal.over():
                break
            batch(ordeal, row, words, first + n, min(at_once, total - n), sums)
        row.note(", ".join(f"{name} {sums[name]}" for name in FIGURES if sums.get(name)))
        ordeal.log(f"{fault}: {row.tries} seeds, {row.notes}")
