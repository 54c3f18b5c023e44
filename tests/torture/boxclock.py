# SPDX-License-Identifier: Apache-2.0
"""The clocks of one box, as shim-clock.c gives them to the programs that run on it."""

import mmap
import os
import struct
import time

import harness

SHIM = os.path.join(harness.BUILD, "torture", "shim-clock.so")
FORMAT = "=QqqQ"


class BoxClock:
    """env: what the programs of this box need in their environment."""

    def __init__(self, path, env):
        if not os.path.exists(SHIM):
            raise harness.Failure(f"{SHIM} is not built: run make torture-tools")
        self.env = dict(env, LD_PRELOAD=SHIM, LOCKBRIDGE_CLOCK=path)
        with open(path, "wb") as f:
            f.write(bytes(struct.calcsize(FORMAT)))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 0)
        self.generation, self.real, self.boot, self.sets = 0, 0, 0, 0  # ms

    def _write(self):
        for odd in (1, 2):  # odd while the rest does not fit together
            struct.pack_into("=Q", self.map, 0, self.generation + odd)
            if odd == 1:
                struct.pack_into("=qqQ", self.map, 8, self.real, self.boot, self.sets)
        self.generation += 2

    def realtime(self):
        return time.time() + self.real / 1000

    def boottime(self):
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self.boot / 1000

    def set(self, seconds):
        """Somebody sets the clock: an absolute time."""
        self.real = round((seconds - time.time()) * 1000)
        self.sets += 1
        self._write()

    def step(self, seconds):
        self.set(self.realtime() + seconds)

    def pass_(self, seconds, noticed=False):
        """Time goes by: both clocks. noticed: a suspend, of which the kernel tells as of a set clock."""
        self.real += round(seconds * 1000)
        self.boot += round(seconds * 1000)
        self.sets += noticed
        self._write()

    def power_on(self, rtc, since=20):
        """Only while nothing runs: booted `since` seconds ago, with what the RTC says."""
        self.real = round((rtc - time.time()) * 1000)
        self.boot = round((since - time.clock_gettime(time.CLOCK_BOOTTIME)) * 1000)
        self._write()
