#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The long stress run ("make stress"): the stress program (tests/kselftest/stress.c)
in one topology after the other, and a table of what was done and found. The last
row is a million small exchanges, however long they take.

usage: tests/run_stress.py [--seconds=N] [--seed=N] [--topology=ROW]...
"""

import argparse
import json
import pathlib
import re
import resource
import secrets
import sys

CLONE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CLONE / "qemu"))
import guest  # noqa: E402
import kernels  # noqa: E402
import run_alone  # noqa: E402

LOGS = CLONE / "build/runs/stress"
# The program's mode and its threads, by topology.
ROWS = {
    "bare1": ("local", 8), "bare": ("local", 10), "bare4": ("local", 16),
    "peer1": ("peer", 8), "peer": ("peer", 8), "peer4": ("peer", 12),
    "nested": ("remote", 6),
    "exchange": ("exchange", 4),
}
EXCHANGES = 1_000_000
# On a kernel that is so much slower.
EXCHANGES_DEBUG = 100_000
# The most that they may take.
EXCHANGE_SECONDS = 7200
# Beyond the program's own time: it ends its last scenes, waits for closing sockets,
# and may wait for its watchdog.
EXTRA_SECONDS = 150
CALL = re.compile(r"^# ([a-z]+) +(\d+)(  |$)")
TOTAL = re.compile(r"^# ([a-z -]+): (\d+)$")
FIGURES = re.compile(r"^# figures: .* (\d+) processors, ([\d.]+) s, ")


def read_figures(lines):
    """What the program counted: calls, totals, processors and seconds."""
    figures = {"calls": 0, "processors": 0, "seconds": 0.0, "cpu hours": 0.0}
    for line in lines:
        if found := CALL.match(line):
            figures["calls"] += int(found[2])
        elif found := TOTAL.match(line):
            figures[found[1]] = int(found[2])
        elif found := FIGURES.match(line):
            figures["processors"], figures["seconds"] = int(found[1]), float(found[2])
    return figures


def complaints(logs):
    """What a stress program on the host's side found, where there is one."""
    path = logs / "host-results.log"
    text = path.read_text(errors="replace") if path.exists() else ""
    return [line for line in text.splitlines()
            if ("; scene " in line and not line.startswith("# thread")) or "stands still" in line]


def processor_seconds():
    """Processor time of what was started here and has ended: guests, mostly."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(row, seconds, seed):
    """One row of the table."""
    before = processor_seconds()
    mode, threads = ROWS[row]
    kernel = kernels.chosen()
    topology, more = row, ""
    if mode == "exchange":
        topology, seconds = "bare", EXCHANGE_SECONDS
        more = f"--exchanges={EXCHANGES_DEBUG if kernel.debug else EXCHANGES}"
    limit = seconds + EXTRA_SECONDS * kernel.patience
    plan = run_alone.plan(
        "stress", limit,
        f"/tests/stress {mode} --seconds={seconds} --threads={threads} --seed={seed} "
        f"--stall={60 * kernel.patience} {more}", kernel,
        after=["echo; echo '# counters:'; cat /sys/kernel/debug/rvsock/counters"])
    outcome, told = run_alone.boot(topology, LOGS / row, plan, limit + 90 * kernel.patience)
    program = told.programs.get("stress")
    reports = run_alone.findings("stress", outcome, told, kernel)
    reports += [f"host: {line}" for line in complaints(outcome.logs)]
    figures = read_figures(program.lines if program else [])
    figures["cpu hours"] = (processor_seconds() - before) / 3600
    return figures, reports


def main():
    """Runs the rows; the exit status is 0 when nothing was reported."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=120, help="for each row; default: 120")
    parser.add_argument("--seed", type=lambda text: int(text, 0))
    parser.add_argument("--topology", action="append", choices=ROWS)
    arguments = parser.parse_args()
    kernel = (kernels.chosen().directory / "release").read_text().strip()
    shown = []
    for topology in arguments.topology or ROWS:
        seed = arguments.seed or secrets.randbits(32)
        print(f"{topology}: {arguments.seconds} s, SEED={seed:#x} ...", flush=True)
        figures, reports = run(topology, arguments.seconds, seed)
        run_alone.show("  REPORT", reports)
        shown.append((topology, figures, reports))
        with open(LOGS / "figures.jsonl", "a") as file:
            json.dump({"topology": topology, "kernel": kernel, "seed": seed, "figures": figures,
                       "reports": reports}, file)
            file.write("\n")

    # Hours of this machine's processors, as the emulator used them.
    print(f"\nkernel {kernel}")
    print(f"{'topology':10} {'CPUs':>4} {'scenes':>8} {'conversations':>13} {'calls':>9} "
          f"{'MiB':>7} {'CPU hours':>9} {'reports':>7}")
    for topology, figures, reports in shown:
        mib = (figures.get("bytes sent", 0) + figures.get("bytes received", 0)) / 2**20
        print(f"{topology:10} {figures['processors']:4} {figures.get('scenes', 0):8} "
              f"{figures.get('conversations', 0):13} {figures['calls']:9} {mib:7.0f} "
              f"{figures['cpu hours']:9.3f} {len(reports):7}")
    for _, figures, _ in shown:
        if exchanges := figures.get("exchanges"):
            print(f"\n{exchanges} exchanges in {figures['seconds']:.0f} s, "
                  f"{figures.get('signals sent', 0)} signals: {figures.get('switches', 0)} voluntary "
                  f"switches by the kernel's count, {figures.get('wake-ups', 0)} wake-ups by the "
                  f"module's")
    failed = sum(bool(reports) for _, _, reports in shown)
    print(f"\n{len(shown) - failed} of {len(shown)} rows without a report"
          + (f"; logs: {LOGS.relative_to(CLONE)}/TOPOLOGY" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    guest.end_with(main)
