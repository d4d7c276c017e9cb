#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Where the instructions of a call are ("make profile CASE=send/stream/64"): the functions of the
kernel and how many instructions each takes of one call, for rvsock beside another family. Counted
and not sampled, in a guest whose time is the number of its instructions, by a plugin of QEMU
(tests/bench/instructions). A case that begins with "sibling" is over the device, in a guest that
talks to another one ("sibling_to/4096": all that a send of 4 KiB takes, also in interrupts).

usage: tests/bench/run_profile.py --case=CASE [--beside=FAMILY]
"""

import argparse
import base64
import bisect
import gzip
import pathlib
import re
import subprocess
import sys

CLONE = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(CLONE / "qemu"))
import figures  # noqa: E402
import guest  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402
import run_bench  # noqa: E402

LOGS = CLONE / "build/runs/profile"
PLUGIN = CLONE / "build/instructions/librvsock_instructions.so"
COUNTED = LOGS / "instructions"
# Longest that the boot may take: emulation that counts, and calls the plugin, is slow.
BOOT_SECONDS = 600
# A function that takes less of a call is not told of by its name.
LEAST = 5
# Where addresses are the kernel's.
KERNEL = 0xffff_8000_0000_0000
# What Rust's names carry to tell crates of one name apart.
HASH = re.compile(r"\[[0-9a-f]+\]")
# As often the program made the call that was counted.
CALLS = re.compile(r"^# (\d+) calls$")
SYMBOL = re.compile(r"^([0-9a-f]+) [tTwW] (\S+)(?:\s+\[(\w+)\])?$", re.M)


class Symbols:
    """The functions of a kernel and its modules, by their addresses."""

    def __init__(self, text):
        found = sorted((int(address, 16), name, module) for address, name, module
                       in SYMBOL.findall(text))
        self._addresses = [address for address, *_ in found]
        names = subprocess.run(["c++filt"], input="\n".join(name for _, name, _ in found),
                               capture_output=True, text=True, check=True).stdout.split("\n")
        self._names = [HASH.sub("", name) + (f" [{module}]" if module else "")
                       for name, (*_, module) in zip(names, found)]

    def name(self, address):
        """The function that an address is in."""
        if address < KERNEL:
            return "(the program)"
        index = bisect.bisect_right(self._addresses, address) - 1
        return self._names[index] if index >= 0 else f"{address:x}"


def boot(case):
    """Boots the guest in which the case is counted, and returns its outcome. When the kernel is done
    with what it tests of itself after it has booted come the calls, and then it tells of its
    functions."""
    if case.startswith("sibling"):
        topology, program, modules = "bench_siblings", "siblings", run_bench.MODULES["bench_siblings"]
    else:
        topology, program, modules = "exact", "exact", run_bench.LOOPBACK
    plan = "sleep 10\n" + run_bench.plan(1, [program], modules).replace(
        "settle\n", "run symbols 200 sh -c 'gzip -c /proc/kallsyms | base64'\nsettle\n")
    run = guest.Run(topology, LOGS, {"plan": plan}, more=run_bench.add_program,
                    emulator=["-plugin", f"{PLUGIN},out={COUNTED}"],
                    sibling_plan=CLONE / "tests/bench/sibling.sh")
    return run.boot(BOOT_SECONDS)


def sections(symbols):
    """What was counted, a section each: instructions of all calls by function."""
    counted = []
    for line in COUNTED.read_text().splitlines():
        section, address, instructions, times = line.split()
        while len(counted) <= int(section):
            counted.append({})
        name = symbols.name(int(address, 16))
        counted[-1][name] = counted[-1].get(name, 0) + int(instructions) * int(times)
    return counted


def measured(text):
    """The sections in their order: case, family, and how many calls were counted. The figure of each
    is the first that comes behind the number of its calls."""
    found = []
    calls = None
    for line in text.splitlines():
        if told := CALLS.match(line):
            calls = int(told[1])
        elif calls is not None and (figure := figures.LINE.match(line)):
            found.append((*figure.group(1, 2), calls))
            calls = None
    return found


def by_case(text, symbols):
    """Instructions of one call by function, by case and family."""
    return {(case.removeprefix("exact/"), family):
            {name: count / calls for name, count in section.items()}
            for (case, family, calls), section in zip(measured(text), sections(symbols))
            if not case.startswith(("sibling_events", "sibling_calls"))}


def table(ours, others, beside):
    """Rows: the functions by what they take."""
    names = sorted({*ours, *others}, key=lambda name: -max(ours.get(name, 0), others.get(name, 0)))
    rows = [["rvsock", beside, "function"],
            [f"{sum(ours.values()):.0f}", f"{sum(others.values()):.0f}", "(all)"]]
    for name in names:
        here, there = ours.get(name, 0), others.get(name, 0)
        if max(here, there) >= LEAST:
            rows.append([f"{here:.0f}" if here else "", f"{there:.0f}" if there else "", name])
    return rows


def main():
    """Counts, and prints the ranked list; the exit status says whether it ran."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", required=True, help="such as send/stream/64, connection/stream or sibling_to/4096")
    parser.add_argument("--beside", choices=figures.FAMILIES[1:-1])
    arguments = parser.parse_args()
    beside = arguments.beside or ("vsock" if arguments.case.startswith("sibling") else "unix")
    print("Counting the instructions of each function, in one boot ...", flush=True)
    outcome = boot(arguments.case)
    told = results.parse(outcome.results())
    found = run_bench.problems(outcome, told, figures.Figures())
    if found or "symbols" not in told.programs:
        return run_bench.conclude(found or ["the guest did not tell of its functions"])
    packed = "".join(told.programs["symbols"].lines)
    symbols = Symbols(gzip.decompress(base64.b64decode(packed)).decode())
    counted = by_case(outcome.results(), symbols)
    case = arguments.case
    if (case, "rvsock") not in counted:
        known = dict.fromkeys(name for name, _ in counted)
        sys.exit(f"error: there is no case '{case}'; there are: {', '.join(known)}")
    print(f"\nInstructions of one call, {arguments.case}")
    report.table(table(counted[case, "rvsock"], counted.get((case, beside), {}), beside),
                 right=(0, 1))
    return 0


if __name__ == "__main__":
    guest.end_with(main)
