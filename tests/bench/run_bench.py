#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Measures rvsock beside the C vsock, AF_UNIX and TCP ("make bench"): in one guest, in one
run, by one program, over loopback; and beside the C vsock over virtio, with the host and with a
sibling. Times of an emulated machine mean nothing by themselves; the ratios do.

usage: tests/bench/run_bench.py [--rounds=N] [--case=CASE]...
"""

import argparse
import pathlib
import sys

CLONE = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(CLONE / "qemu"))
import figures  # noqa: E402
import guest  # noqa: E402
import kernels  # noqa: E402
import pictures  # noqa: E402
import progress  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402

LOGS = CLONE / "build/runs/bench"
# The topologies, and what is measured in each.
CASES = {
    "bench1": ("scaling",),
    "bench": ("copies", "throughput", "parallel", "roundtrip", "waitall", "connections", "memory",
              "scaling"),
    "bench4": ("scaling",),
    "bench_two": ("remote",),
    "bench_awake": ("remote_awake",),
    "bench_nested": ("remote_nested",),
    "bench_siblings": ("siblings",),
}
# What takes long is measured in one round of so many, and several times in that.
RARE = {"connections": 3}
# Longest that one case of one round may take.
CASE_SECONDS = 300
# rvsock comes first, and takes the first device; then the C side over loopback, or with a device.
_COMMON = ("vsock", "vmw_vsock_virtio_transport_common")
LOOPBACK = ("rvsock", *_COMMON, "vsock_loopback")
_DEVICE = (*_COMMON, "vmw_vsock_virtio_transport")
MODULES = {
    "bench_two": ("rvsock", *_DEVICE),
    "bench_awake": ("rvsock", *_DEVICE),
    "bench_nested": ("rvsock", *_DEVICE),
    # The device takes packets in as many pieces as there are.
    "bench_siblings": ("rvsock tx_descriptors=18", *_DEVICE),
}
# What the kernel of a topology's guest is told.
ARGUMENTS = {"bench_awake": "idle=poll"}


class Progress:
    """Tells how many of the cases of all rounds are done."""

    def __init__(self, rounds, cases):
        self._bar = progress.Bar(sum(-(-rounds // RARE.get(case, 1)) for case in cases))
        self._rounds = rounds
        self._done = 0
        self.end = self._bar.end

    def watch(self, text):
        """Takes what the plan told."""
        for line in text.splitlines():
            match line.split():
                case ["##rvsock", "begin", name, *_]:
                    round_number, case = name.split("/")
                    self._bar.show(self._done, f"round {int(round_number) + 1} of {self._rounds}",
                                   f": {case}")
                case ["##rvsock", "end", *_]:
                    self._done += 1
                case ["##rvsock", "again"]:
                    self._done = 0


def plan(rounds, cases, modules=LOOPBACK):
    """What the guest does."""
    lines = [f"load {module}" for module in modules]
    for round_number in range(rounds):
        lines += [f"run {round_number}/{case} {CASE_SECONDS} /tests/bench {round_number} {case}"
                  for case in cases if round_number % RARE.get(case, 1) == 0]
    return "\n".join([*lines, "settle", "unload rvsock", "tell completed", ""])


def add_program(archive):
    """Adds the program that measures to what a guest boots from."""
    archive.file("tests/bench", CLONE / "build/bench/bench")


def failures(measured):
    """What rvsock could not do, a sentence each."""
    return [f"rvsock: {what}" for family, what in measured.failures if family == "rvsock"]


def problems(outcome, told, measured):
    """What went wrong, a sentence each; what was measured counts all the same."""
    found = [f"in the kernel's log: {line}" for line in outcome.faults()]
    found += failures(measured)
    found += [f"{name}: did not end within {CASE_SECONDS} s" for name, program
              in told.programs.items() if program.timed_out]
    if not told.completed:
        found.append(f"the run did not come to its end; see {outcome.logs.relative_to(CLONE)}/console.log")
    return found


def main():
    """Runs the benchmark; the exit status says whether it ran, and nothing of its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="default: 7")
    parser.add_argument("--case", action="append",
                        choices=[*dict.fromkeys(case for cases in CASES.values() for case in cases)])
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("at least one round")
    release = (kernels.chosen().directory / "release").read_text().strip()
    measured, found = figures.Figures(), []
    for topology, cases in CASES.items():
        cases = [case for case in cases if case in (arguments.case or cases)]
        if cases:
            print(f"Measuring in a guest (QEMU, emulated) with kernel {release}: {', '.join(cases)}",
                  flush=True)
            found += measure(topology, cases, arguments.rounds, measured)
    show(measured)
    measured.write(LOGS / "bench.json", {"kernel": release, "rounds": arguments.rounds})
    print(f"\n±: half the distance between the quartiles of {arguments.rounds} rounds; all samples are in "
          f"{LOGS.relative_to(CLONE)}/bench.json.\nTimes are those of an emulated machine, and longer when "
          "that is busy: compare families, and nothing more.")
    for (family, what), times in measured.failures.items():
        print(f"  {family} could not be measured {times} times: {what}")
    told_of(pictures.overview(measured, LOGS / "bench"))
    return conclude(found)


def told_of(paths):
    """Says where pictures are."""
    if paths:
        print(f"Drawn: {', '.join(str(path.relative_to(CLONE)) for path in paths)}")


def conclude(found):
    """Prints what went wrong, if anything did. Gives the exit status."""
    for problem in found:
        print(f"  - {problem}")
    return 1 if found else 0


def measure(topology, cases, rounds, measured):
    """Boots the topology and takes the figures of the rounds. Returns what went wrong."""
    progress = Progress(rounds, cases)
    run = guest.Run(topology, LOGS / topology,
                    {"plan": plan(rounds, cases, MODULES.get(topology, LOOPBACK))},
                    more=add_program, arguments=ARGUMENTS.get(topology, ""),
                    sibling_plan=CLONE / "tests/bench/sibling.sh")
    outcome = run.boot(rounds * len(cases) * CASE_SECONDS, progress.watch)
    progress.end()
    here = figures.Figures()
    here.read(outcome.results())
    measured.read(outcome.results())
    return problems(outcome, results.parse(outcome.results()), here)


def show(measured):
    """Prints the tables, and the goals."""
    for title, rows in figures.tables(measured):
        print(f"\n{title}")
        report.table(rows, right=range(1, len(rows[0])))
    rows = figures.goals(measured)
    if len(rows) > 1:
        print("\nGoals of rvsock: the median, or its ratio to another family's")
        report.table(rows, right=(2, 3))


if __name__ == "__main__":
    guest.end_with(main)
