#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The fuzzer for longer ("make fuzz"): the program tests/kselftest/fuzz.c in a guest whose
device sends what follows from a seed, run after run with ever new seeds until the time is
over or something is found. With --seed one run once more, of which the device's log has each
packet.

usage: tests/run_fuzz.py [--seconds=N] [--seed=N]
"""

import argparse
import pathlib
import re
import secrets
import sys

CLONE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CLONE / "qemu"))
import guest  # noqa: E402
import kernels  # noqa: E402
import run_alone  # noqa: E402

LOGS = CLONE / "build/runs/fuzz"
# Beyond the program's own time: it warms up, ends its last run, waits for closing sockets.
EXTRA_SECONDS = 150
RUN = re.compile(r"^# run: seed (0x[0-9a-f]+|0)\b", re.MULTILINE)
FINDING = re.compile(r"^# finding, seed (0x[0-9a-f]+|0)\b", re.MULTILINE)


class Progress:
    """Prints what the program says of its runs, as it comes."""

    def __init__(self):
        self._inside = False

    def __call__(self, text):
        for line in text.splitlines():
            if line.startswith("##rvsock"):
                self._inside = "begin fuzz" in line
            elif self._inside and line.startswith("# "):
                print(line.removeprefix("# "), flush=True)


def run(arguments, kernel):
    """Boots; gives what was found, and the seed of the run that it was found in."""
    limit = arguments.seconds + EXTRA_SECONDS * kernel.patience
    asked = f"--seed={arguments.seed} --told" if arguments.seed is not None else \
        f"--first={secrets.randbits(64):#x} --seconds={arguments.seconds}"
    plan = run_alone.plan("fuzz", limit, f"/tests/fuzz {asked}", kernel,
                          before=[f"export RVSOCK_PATIENCE={kernel.patience}"])
    outcome, told = run_alone.boot(
        "scripted", LOGS, plan, limit + 60 * kernel.patience * (4 if kernel.debug else 1), Progress())
    found = run_alone.findings("fuzz", outcome, told, kernel)
    seeds = FINDING.findall(outcome.results())[:1] or RUN.findall(outcome.results())[-1:]
    return found, "".join(seeds)


def main():
    """The exit status is 0 when nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="how long; default: 60")
    parser.add_argument("--seed", type=lambda text: int(text, 0), help="one run once more")
    arguments = parser.parse_args()
    kernel = kernels.chosen()
    found, seed = run(arguments, kernel)
    run_alone.show("FOUND", found)
    where = LOGS.relative_to(CLONE)
    if not found:
        print("\nnothing found")
    elif seed:
        print(f"\nonce more: make fuzz SEED={seed}{' KERNEL=debug' if kernel.debug else ''}; "
              f"logs: {where}")
    else:
        print(f"\nno run had begun; logs: {where}")
    return 1 if found else 0


if __name__ == "__main__":
    guest.end_with(main)
