#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Counts how long the paths of rvsock's calls are, in instructions, as "make bench-exact" does,
and compares that with tests/path_lengths.toml: a suite of "make test". As a script ("make
path-lengths") it writes that file, and shows what has changed.

usage: tests/run_path_lengths.py
"""

import pathlib
import re
import subprocess
import sys
import time

CLONE = pathlib.Path(__file__).resolve().parent.parent
sys.path[1:1] = [str(CLONE / "qemu"), str(CLONE / "tests/bench")]
import guest  # noqa: E402
import host  # noqa: E402
import kernels  # noqa: E402
import path_lengths  # noqa: E402
import report  # noqa: E402
import run_bench  # noqa: E402
import run_exact  # noqa: E402
import run_ktap  # noqa: E402

LOGS = CLONE / "build/runs/path-lengths"
# The most that a suite may take.
SECONDS = run_exact.BOOTS * run_exact.BOOT_SECONDS
FAMILIES = ("rvsock", "vsock")
# Compilers leave their versions in what they make.
COMPILERS = {"rustc": rb"rustc version ([\d.]+)", "gcc": rb"GCC: \([^)]*\) ([\d.]+)"}


def tools():
    """What the counts depend on beside the code: the kernel, the module's compilers, QEMU."""
    kernel = kernels.chosen()
    if kernel.debug:
        raise guest.GuestFailed("on the debugging kernel paths are as long as its detectors make "
                                "them; leave out KERNEL=debug")
    module = kernel.built[0].read_bytes()
    told = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True,
                          check=True).stdout
    return {"kernel": (kernel.directory / "release").read_text().strip(),
            **{tool: re.search(version, module)[1].decode() for tool, version in COMPILERS.items()},
            "qemu": re.search(r"version ([\d.]+)", told)[1]}


def words(used):
    """Tools and their versions."""
    return ", ".join(map(" ".join, used.items()))


def count(logs, used, watch=lambda number: None):
    """Boots and counts with these tools; gives the instructions by case and family, and what went wrong."""
    measured, found = run_exact.count(run_exact.BOOTS, watch, logs)
    measured.write(logs / "exact.json", used)
    counted = {}
    for case in measured.cases("exact"):
        medians = {family: measured.median(case, family) for family in FAMILIES}
        counted[case.partition("/")[2]] = {family: round(median) for family, median
                                           in medians.items() if median is not None}
    return counted, found


def judge(suite, entries, used, counted):
    """Adds a test for each case to the suite; gives what else there is to tell."""
    notes = []
    if not path_lengths.entry_of(entries, used):
        notes.append(f"compared beside the C vsock: the file has no entry for {words(used)}")
    for verdict in path_lengths.compare(entries, used, counted):
        suite.check(verdict.good, verdict.text)
        if verdict.good and verdict.text:
            notes.append(verdict.text)
    return notes


def run(entries, logs):
    """Counts, and compares with the file's entries; gives the suite, and what else there is to
    tell."""
    print(f"booting 'exact' {run_exact.BOOTS} times to count instructions, at most {SECONDS} s\n",
          end="", flush=True)
    suite, notes = run_ktap.Suite("path_lengths"), []
    start = time.monotonic()
    try:
        used = tools()
        counted, found = count(logs, used)
        suite.check(not found, "\n".join(["the boots did not end well:", *found]))
        notes = judge(suite, entries, used, counted)
    except (guest.GuestFailed, host.HostFailed) as error:
        suite.fail(str(error))
    suite.seconds = time.monotonic() - start
    return suite, notes


def show(former, counted):
    """Prints what was counted beside what the file had."""
    rows = [["instructions", "were", "are", "", "C vsock"]]
    for case, counts in counted.items():
        was, now = former.get(case, {}).get("rvsock"), counts["rvsock"]
        rows.append([case, f"{was:,}" if was else "", f"{now:,}",
                     f"{now / was - 1:+.1%}" if was else "new",
                     f"{counts['vsock']:,}" if "vsock" in counts else ""])
    report.table(rows, right=range(1, 5))


def main():
    """Writes the file, unless something went wrong; the exit status says whether it did."""
    used, entries = tools(), path_lengths.read()
    print(f"Counting instructions in a guest with {words(used)}", flush=True)
    counted, found = count(LOGS, used, lambda number: print(
        f"  boot {number + 1} of {run_exact.BOOTS} ...", flush=True))
    if found:
        return run_bench.conclude(found)
    former = path_lengths.entry_of(entries, used) or {"instructions": {}}
    show(former["instructions"], counted)
    path_lengths.write(path_lengths.with_entry(entries, {**used, "instructions": counted}))
    print(f"\nwritten to {path_lengths.FILE.relative_to(CLONE)}")
    return 0


if __name__ == "__main__":
    guest.end_with(main)
