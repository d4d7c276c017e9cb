# SPDX-License-Identifier: GPL-2.0
"""The kernel's own vsock_test: which of its cases run, and how each fared in
each cell: loopback or a nested host, rvsock or the C driver in its place."""

import pathlib
import re
import subprocess
import tomllib

import run_ktap

CLONE = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = CLONE / "build/kselftest/vsock_test"
NOT_YET = CLONE / "tests/vsock_test.toml"
LISTED = re.compile(r"^(\d+)\t(.+)$", re.M)
RESULT = re.compile(r"^(ok|not ok) \d+ (.+)$")


class VsockTest:
    """Its cases, and what is told of them."""

    def __init__(self):
        # It only prints; its exit status is 1 whatever it is asked.
        listed = subprocess.run([PROGRAM, "--list"], capture_output=True, text=True).stdout
        self._cases = {name: int(number) for number, name in LISTED.findall(listed)}
        with open(NOT_YET, "rb") as file:
            tables = tomllib.load(file)
        self._not_yet = tables.get("not_yet", {})
        self._alone = tables.get("alone", {})
        self._too_slow = tables.get("too_slow", {})
        self._cells = {}

    def suites(self):
        """The check of tests/vsock_test.toml, when any cell ran: what it leaves out
        is there."""
        suite = run_ktap.Suite("vsock_test.toml")
        gone = [name for name in (*self._not_yet, *self._alone, *self._too_slow)
                if name not in self._cases]
        suite.check(not gone, "\n".join(["cases that vsock_test has no more; strike them:", *gone]))
        return [suite] if self._cells else []

    def picked(self, kernel):
        """The numbers of the cases that run on a kernel, with "--" where a new pair of
        processes is to begin."""
        left_out = {*self._not_yet, *(self._too_slow if kernel.debug else ())}
        run = {name: number for name, number in self._cases.items() if name not in left_out}
        picked = [number for name, number in run.items() if name not in self._alone]
        for name in self._alone:
            if name in run:
                picked += ["--", run[name]]
        return picked

    def note(self, cell, lines):
        """Takes up what a cell's run printed."""
        self._cells[cell] = {found[2]: found[1] == "ok" for found in map(RESULT.match, lines)
                             if found}

    def show(self):
        """Prints the table: a row for each case, a column for each cell."""
        if not self._cells:
            return
        names = {True: "passed", False: "FAILED", None: "-"}
        width = max(map(len, self._cases), default=0)
        cells = sorted(self._cells)
        print(f"\n{'vsock_test of the kernel':{width}}  {'  '.join(cells)}")
        for name in self._cases:
            if name not in self._not_yet:
                row = [f"{names[self._cells[cell].get(name)]:{len(cell)}}" for cell in cells]
                print(f"{name:{width}}  {'  '.join(row)}".rstrip())
        print("not yet there:")
        for name, reason in self._not_yet.items():
            print(f"  {name} ({reason})" + ("" if name in self._cases else ": exists no more"))
