#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Counts the instructions that calls take ("make bench-exact"): rvsock beside the C vsock,
AF_UNIX and TCP, in loops of one process, in a guest whose time is the number of its
instructions. A boot repeats to the instruction, but where memory happens to lie depends on
the smallest things, so there are several with command lines of different lengths, and the
median counts.

usage: tests/bench/run_exact.py [--boots=N]
"""

import argparse
import pathlib
import sys

CLONE = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(CLONE / "qemu"))
import figures  # noqa: E402
import guest  # noqa: E402
import kernels  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402
import run_bench  # noqa: E402

LOGS = CLONE / "build/runs/bench-exact"
BOOTS = 5
# Longest that a boot may take: emulation with counting is slower.
BOOT_SECONDS = 240


def count(boots, watch=lambda number: None, logs=LOGS):
    """Boots so often; gives the figures, and what went wrong."""
    measured, found = figures.Figures(), []
    for number in range(boots):
        watch(number)
        run = guest.Run("exact", logs / str(number), {"plan": run_bench.plan(1, ["exact"])},
                        more=run_bench.add_program, arguments=f"rvsock_boot={'x' * (7 * number)}")
        outcome = run.boot(BOOT_SECONDS)
        measured.read(outcome.results())
        found += run_bench.problems(outcome, results.parse(outcome.results()), figures.Figures())
    return measured, found + run_bench.failures(measured)


def main():
    """Runs the count; the exit status says whether it ran, and nothing of its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boots", type=int, default=BOOTS, help=f"default: {BOOTS}")
    arguments = parser.parse_args()
    release = (kernels.chosen().directory / "release").read_text().strip()
    print(f"Counting instructions in a guest with kernel {release}", flush=True)
    measured, found = count(arguments.boots, lambda number:
                            print(f"  boot {number + 1} of {arguments.boots} ...", flush=True))
    for title, rows in figures.tables(measured):
        print(f"\n{title}")
        report.table(rows, right=range(1, len(rows[0])))
    measured.write(LOGS / "exact.json", {"kernel": release, "boots": arguments.boots})
    print(f"\n±: half the distance between the quartiles of {arguments.boots} boots; all samples are in "
          f"{LOGS.relative_to(CLONE)}/exact.json")
    return run_bench.conclude(found)


if __name__ == "__main__":
    guest.end_with(main)
